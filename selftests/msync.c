// SPDX-License-Identifier: GPL-2.0
/*
 * Commit: msync(MS_SYNC) and fsync commit exactly what is dirty in their
 * range, once for each call that reaches the driver, and nothing else does.
 */
#include <sys/uio.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#define PAGES	16

FIXTURE(msync) {
	int fd;
	size_t span;
	unsigned char *data;
	struct step step;
};

FIXTURE_SETUP(msync)
{
	self->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	self->span = at_most(size_of(self->fd), PAGES);
	if (self->span < PAGES * PAGE)
		SKIP(return, "needs a device of %d pages", PAGES);
	ASSERT_EQ(0, device_clear(self->fd, self->span));
	self->data = map(self->fd, self->span, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, self->data);
	ASSERT_EQ(0, info_of(self->fd).dirty);
	step_begin(&self->step, self->fd);
}

FIXTURE_TEARDOWN(msync)
{
	close(self->fd);
}

TEST_F(msync, a_page_written_is_a_page_dirty)
{
	size_t n;

	for (n = 1; n <= PAGES; n++) {
		self->data[(n - 1) * PAGE + n] = 1;
		EXPECT_EQ(n * PAGE, info_of(self->fd).dirty);
		self->data[(n - 1) * PAGE] = 2;
		EXPECT_EQ(n * PAGE, info_of(self->fd).dirty);
	}
	EXPECT_EQ(0, step_commits(&self->step));
}

TEST_F(msync, a_page_read_is_not_dirty)
{
	EXPECT_TRUE(bytes_are(self->data, 0, self->span));
	EXPECT_EQ(0, info_of(self->fd).dirty);
}

TEST_F(msync, a_page_read_first_is_dirty_when_written)
{
	EXPECT_TRUE(bytes_are(self->data, 0, self->span));
	self->data[3 * PAGE] = 1;
	EXPECT_EQ(PAGE, info_of(self->fd).dirty);
}

TEST_F(msync, a_populated_page_is_not_dirty)
{
	void *all = map(self->fd, self->span, RW, MAP_SHARED | MAP_POPULATE, 0);

	ASSERT_NE(NULL, all);
	EXPECT_EQ(0, madvise(self->data, self->span, MADV_POPULATE_READ));
	EXPECT_EQ(0, info_of(self->fd).dirty);
	EXPECT_EQ(0, madvise(self->data, 3 * PAGE, MADV_POPULATE_WRITE));
	EXPECT_EQ(3 * PAGE, info_of(self->fd).dirty);
}

TEST_F(msync, a_written_byte_dirties_its_page)
{
	ASSERT_EQ(1, pwrite(self->fd, "x", 1, PAGE + 5));
	EXPECT_EQ(PAGE, info_of(self->fd).dirty);
	ASSERT_EQ(2, pwrite(self->fd, "xy", 2, 4 * PAGE - 1));
	EXPECT_EQ(3 * PAGE, info_of(self->fd).dirty);
}

TEST_F(msync, a_kernel_fill_dirties_its_pages)
{
	ASSERT_EQ(0, device_fill(self->fd, 7, 1, 1));
	EXPECT_EQ(PAGE, info_of(self->fd).dirty);
	ASSERT_EQ(0, device_fill(self->fd, 3 * PAGE - 1, PAGE + 2, 1));
	EXPECT_EQ(4 * PAGE, info_of(self->fd).dirty);
}

TEST_F(msync, reads_and_sums_dirty_nothing)
{
	unsigned char *copy = malloc(self->span);

	ASSERT_EQ(self->span, pread(self->fd, copy, self->span, 0));
	sum_of(self->fd, 0, self->span);
	EXPECT_EQ(0, info_of(self->fd).dirty);
	EXPECT_EQ(0, step_commits(&self->step));
	free(copy);
}

TEST_F(msync, ms_sync_commits_exactly_the_dirty_pages_of_its_range)
{
	size_t n;

	/* Dirty: 1, 3, 5, … In the range 4..10 that is 5, 7 and 9. */
	for (n = 1; n < PAGES; n += 2)
		self->data[n * PAGE] = 1;
	ASSERT_EQ(PAGES / 2 * PAGE, info_of(self->fd).dirty);
	ASSERT_EQ(0, msync(self->data + 4 * PAGE, 7 * PAGE, MS_SYNC));
	EXPECT_EQ(1, step_commits(&self->step));
	EXPECT_EQ(3 * PAGE, step_committed(&self->step));
	EXPECT_EQ((PAGES / 2 - 3) * PAGE, self->step.after.dirty);

	/* What was left is still there to be committed. */
	ASSERT_EQ(0, msync(self->data, self->span, MS_SYNC));
	EXPECT_EQ(2, step_commits(&self->step));
	EXPECT_EQ(PAGES / 2 * PAGE, step_committed(&self->step));
	EXPECT_EQ(0, self->step.after.dirty);
}

TEST_F(msync, ms_sync_of_one_page_leaves_its_neighbours)
{
	memset(self->data, 1, 3 * PAGE);
	ASSERT_EQ(0, msync(self->data + PAGE, PAGE, MS_SYNC));
	EXPECT_EQ(PAGE, step_committed(&self->step));
	EXPECT_EQ(2 * PAGE, self->step.after.dirty);
	/* The middle is clean, so only it can become dirty anew. */
	self->data[PAGE] = 2;
	EXPECT_EQ(3 * PAGE, info_of(self->fd).dirty);
	self->data[0] = 2;
	self->data[2 * PAGE] = 2;
	EXPECT_EQ(3 * PAGE, info_of(self->fd).dirty);
}

TEST_F(msync, the_length_is_rounded_up_to_pages)
{
	memset(self->data, 1, 3 * PAGE);
	ASSERT_EQ(0, msync(self->data, PAGE + 1, MS_SYNC));
	EXPECT_EQ(2 * PAGE, step_committed(&self->step));
	EXPECT_EQ(PAGE, self->step.after.dirty);
}

TEST_F(msync, the_range_is_of_the_device_not_of_the_mapping)
{
	unsigned char *part = map(self->fd, 4 * PAGE, RW, MAP_SHARED, 6 * PAGE);

	ASSERT_NE(NULL, part);
	memset(self->data, 1, self->span);
	ASSERT_EQ(0, msync(part + PAGE, 2 * PAGE, MS_SYNC));
	EXPECT_EQ(2 * PAGE, step_committed(&self->step));
	ASSERT_EQ(0, msync(self->data + 7 * PAGE, 2 * PAGE, MS_SYNC));
	EXPECT_EQ(2 * PAGE, step_committed(&self->step));
	EXPECT_EQ(2, step_commits(&self->step));
}

TEST_F(msync, a_commit_of_nothing_dirty_is_a_commit)
{
	int i;

	for (i = 1; i <= 3; i++) {
		ASSERT_EQ(0, msync(self->data, self->span, MS_SYNC));
		EXPECT_EQ(i, step_commits(&self->step));
	}
	EXPECT_EQ(0, step_committed(&self->step));
}

TEST_F(msync, a_page_written_after_a_commit_is_dirty_again)
{
	int i;

	for (i = 1; i <= 5; i++) {
		self->data[2 * PAGE] = i;
		ASSERT_EQ(PAGE, info_of(self->fd).dirty);
		ASSERT_EQ(0, msync(self->data, self->span, MS_SYNC));
		ASSERT_EQ(0, info_of(self->fd).dirty);
		EXPECT_EQ(i, step_commits(&self->step));
		EXPECT_EQ(i * PAGE, step_committed(&self->step));
	}
	EXPECT_EQ(5, self->data[2 * PAGE]);
}

static int write_page_two(void *arg)
{
	((unsigned char *)arg)[2 * PAGE] = 0x77;
	return 0;
}

static int commit_inherited(void *arg)
{
	unsigned char *data = arg;

	if (!holds(!msync(data, PAGES * PAGE, MS_SYNC)))
		return 1;
	data[PAGE] = 0x66;
	return 0;
}

TEST_F(msync, a_commit_counts_every_process_and_every_mapping)
{
	unsigned char *other = map(self->fd, self->span, RW, MAP_SHARED, 0);

	ASSERT_NE(NULL, other);
	EXPECT_EQ(0, child_run(write_page_two, self->data));
	EXPECT_EQ(PAGE, info_of(self->fd).dirty);
	other[2 * PAGE] = 1;
	self->data[2 * PAGE] = 2;
	EXPECT_EQ(PAGE, info_of(self->fd).dirty);
	EXPECT_EQ(0, child_run(commit_inherited, self->data));
	EXPECT_EQ(1, step_commits(&self->step));
	EXPECT_EQ(PAGE, step_committed(&self->step));
	/* Clean for all of them: each one's next write is seen. */
	EXPECT_EQ(PAGE, self->step.after.dirty);
	other[2 * PAGE] = 3;
	EXPECT_EQ(2 * PAGE, info_of(self->fd).dirty);
	ASSERT_EQ(0, fsync(self->fd));
	self->data[2 * PAGE] = 4;
	EXPECT_EQ(PAGE, info_of(self->fd).dirty);
}

TEST_F(msync, dirty_survives_munmap_and_close)
{
	int fd;

	self->data[PAGE] = 1;
	ASSERT_EQ(0, munmap(self->data, self->span));
	EXPECT_EQ(PAGE, info_of(self->fd).dirty);
	ASSERT_EQ(0, close(self->fd));
	fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, fd);
	EXPECT_EQ(PAGE, info_of(fd).dirty);
	ASSERT_EQ(0, fsync(fd));
	EXPECT_EQ(0, info_of(fd).dirty);
}

TEST_F(msync, fsync_commits_the_whole)
{
	memset(self->data, 1, 5 * PAGE);
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(1, step_commits(&self->step));
	EXPECT_EQ(5 * PAGE, step_committed(&self->step));
	EXPECT_EQ(0, self->step.after.dirty);
}

TEST_F(msync, fdatasync_commits_the_whole)
{
	memset(self->data, 1, 5 * PAGE);
	ASSERT_EQ(0, fdatasync(self->fd));
	EXPECT_EQ(1, step_commits(&self->step));
	EXPECT_EQ(5 * PAGE, step_committed(&self->step));
	EXPECT_EQ(0, self->step.after.dirty);
}

TEST_F(msync, fsync_of_a_read_only_file_commits)
{
	int fd = device_open(O_RDONLY, DEMAND);

	ASSERT_LE(0, fd);
	self->data[0] = 1;
	ASSERT_EQ(0, fsync(fd));
	EXPECT_EQ(1, step_commits(&self->step));
	EXPECT_EQ(0, self->step.after.dirty);
}

TEST_F(msync, ms_async_never_reaches_the_driver)
{
	self->data[0] = 1;
	EXPECT_EQ(0, msync(self->data, self->span, MS_ASYNC));
	EXPECT_EQ(0, msync(self->data, self->span, MS_ASYNC | MS_INVALIDATE));
	EXPECT_EQ(0, step_commits(&self->step));
	EXPECT_EQ(PAGE, self->step.after.dirty);
}

TEST_F(msync, ms_invalidate_never_reaches_the_driver)
{
	self->data[0] = 1;
	EXPECT_EQ(0, msync(self->data, self->span, MS_INVALIDATE));
	EXPECT_EQ(0, step_commits(&self->step));
	EXPECT_EQ(PAGE, self->step.after.dirty);
	EXPECT_EQ(1, self->data[0]);
}

TEST_F(msync, no_flag_at_all_never_reaches_the_driver)
{
	self->data[0] = 1;
	EXPECT_EQ(0, msync(self->data, self->span, 0));
	EXPECT_EQ(0, step_commits(&self->step));
	EXPECT_EQ(PAGE, self->step.after.dirty);
}

TEST_F(msync, ms_sync_and_ms_invalidate_together_commit)
{
	self->data[0] = 1;
	EXPECT_EQ(0, msync(self->data, self->span, MS_SYNC | MS_INVALIDATE));
	EXPECT_EQ(1, step_commits(&self->step));
	EXPECT_EQ(0, self->step.after.dirty);
	EXPECT_EQ(1, self->data[0]);
}

TEST_F(msync, bad_arguments_are_einval_and_commit_nothing)
{
	const struct {
		size_t offset;
		int flags;
	} bad[] = {
		{ 0, MS_SYNC | MS_ASYNC },
		{ 0, MS_SYNC | MS_ASYNC | MS_INVALIDATE },
		{ 1, MS_SYNC }, { PAGE - 1, MS_SYNC }, { 8, MS_ASYNC },
		{ 0, 8 }, { 0, MS_SYNC | 0x100 }, { 0, -1 },
	};
	size_t i;

	self->data[0] = 1;
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-1, msync(self->data + bad[i].offset, PAGE,
				    bad[i].flags));
		EXPECT_EQ(EINVAL, errno);
	}
	EXPECT_EQ(0, step_commits(&self->step));
	EXPECT_EQ(PAGE, self->step.after.dirty);
}

TEST_F(msync, no_length_is_no_commit)
{
	EXPECT_EQ(0, msync(self->data, 0, MS_SYNC));
	EXPECT_EQ(0, step_commits(&self->step));
}

TEST_F(msync, a_length_that_overflows_is_enomem)
{
	EXPECT_EQ(-1, msync(self->data, -PAGE, MS_SYNC));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(0, step_commits(&self->step));
}

TEST_F(msync, a_hole_is_enomem_after_the_rest_was_committed)
{
	memset(self->data, 1, self->span);
	ASSERT_EQ(0, munmap(self->data + 4 * PAGE, 2 * PAGE));
	EXPECT_EQ(-1, msync(self->data, self->span, MS_SYNC));
	EXPECT_EQ(ENOMEM, errno);
	/* Two mappings were left, and each is told to commit. */
	EXPECT_EQ(2, step_commits(&self->step));
	EXPECT_EQ((PAGES - 2) * PAGE, step_committed(&self->step));
	EXPECT_EQ(2 * PAGE, self->step.after.dirty);
}

TEST_F(msync, an_unmapped_range_is_enomem)
{
	ASSERT_EQ(0, munmap(self->data, self->span));
	EXPECT_EQ(-1, msync(self->data, PAGE, MS_SYNC));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(0, step_commits(&self->step));
}

TEST_F(msync, one_call_over_two_mappings_commits_twice)
{
	ASSERT_EQ(0, mprotect(self->data + 2 * PAGE, self->span - 2 * PAGE,
			      PROT_READ));
	memset(self->data, 1, 2 * PAGE);
	EXPECT_EQ(0, msync(self->data, self->span, MS_SYNC));
	EXPECT_EQ(2, step_commits(&self->step));
	EXPECT_EQ(2 * PAGE, step_committed(&self->step));
}

TEST_F(msync, a_private_mapping_never_reaches_the_driver)
{
	unsigned char *own = map(self->fd, self->span, RW, MAP_PRIVATE, 0);

	ASSERT_NE(NULL, own);
	memset(own, 1, self->span);
	self->data[PAGE] = 2;
	EXPECT_EQ(0, msync(own, self->span, MS_SYNC));
	EXPECT_EQ(0, msync(own, self->span, MS_SYNC | MS_INVALIDATE));
	EXPECT_EQ(0, step_commits(&self->step));
	EXPECT_EQ(PAGE, self->step.after.dirty);
	EXPECT_TRUE(bytes_are(self->data, 0, PAGE));
}

TEST_F(msync, a_read_only_file_never_reaches_the_driver)
{
	int fd = device_open(O_RDONLY, DEMAND);
	unsigned char *view;

	ASSERT_LE(0, fd);
	view = map(fd, self->span, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, view);
	self->data[PAGE] = 2;
	EXPECT_EQ(0, msync(view, self->span, MS_SYNC));
	EXPECT_EQ(0, step_commits(&self->step));
	EXPECT_EQ(PAGE, self->step.after.dirty);
}

TEST_F(msync, a_read_only_mapping_of_a_writable_file_commits)
{
	unsigned char *view = map(self->fd, self->span, PROT_READ, MAP_SHARED,
				  0);

	ASSERT_NE(NULL, view);
	self->data[PAGE] = 2;
	EXPECT_EQ(0, msync(view, self->span, MS_SYNC));
	EXPECT_EQ(1, step_commits(&self->step));
	EXPECT_EQ(0, self->step.after.dirty);
}

TEST_F(msync, ms_invalidate_of_locked_memory_is_ebusy)
{
	ASSERT_EQ(0, mlock(self->data, self->span));
	EXPECT_EQ(-1, msync(self->data, self->span, MS_INVALIDATE));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(-1, msync(self->data, self->span, MS_SYNC | MS_INVALIDATE));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(0, step_commits(&self->step));
	EXPECT_EQ(0, msync(self->data, self->span, MS_SYNC));
	EXPECT_EQ(1, step_commits(&self->step));
}

TEST_F(msync, locked_memory_is_tracked_too)
{
	ASSERT_EQ(0, mlock(self->data, self->span));
	ASSERT_EQ(0, fsync(self->fd));
	ASSERT_EQ(0, info_of(self->fd).dirty);
	self->data[3 * PAGE] = 1;
	EXPECT_EQ(PAGE, info_of(self->fd).dirty);
}

TEST_F(msync, an_o_sync_write_commits_what_it_wrote)
{
	int fd = device_open(O_RDWR | O_SYNC, DEMAND);

	ASSERT_LE(0, fd);
	ASSERT_EQ(2, pwrite(fd, "xy", 2, 2 * PAGE - 1));
	EXPECT_EQ(1, step_commits(&self->step));
	EXPECT_EQ(2 * PAGE, step_committed(&self->step));
	EXPECT_EQ(0, self->step.after.dirty);
}

TEST_F(msync, an_o_dsync_write_commits_what_it_wrote)
{
	int fd = device_open(O_RDWR | O_DSYNC, DEMAND);

	ASSERT_LE(0, fd);
	ASSERT_EQ(1, pwrite(fd, "x", 1, 0));
	EXPECT_EQ(1, step_commits(&self->step));
	EXPECT_EQ(PAGE, step_committed(&self->step));
}

TEST_F(msync, a_plain_write_commits_nothing)
{
	struct iovec iov = {
		.iov_base = "x",
		.iov_len = 1,
	};

	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 0));
	EXPECT_EQ(0, step_commits(&self->step));
	EXPECT_EQ(PAGE, self->step.after.dirty);
	ASSERT_EQ(1, pwritev2(self->fd, &iov, 1, 0, RWF_DSYNC));
	EXPECT_EQ(1, step_commits(&self->step));
	EXPECT_EQ(0, self->step.after.dirty);
}

TEST_F(msync, what_was_committed_is_what_was_written)
{
	pattern_put(self->data, 0, self->span, pattern_of(9));
	ASSERT_EQ(0, msync(self->data, self->span, MS_SYNC));
	EXPECT_TRUE(pattern_is(self->data, 0, self->span, pattern_of(9)));
	EXPECT_EQ(pattern_sum(0, self->span, pattern_of(9)),
		  sum_of(self->fd, 0, self->span));
}

/*
 * Several processes write while one commits: when all have stopped, one more
 * commit finds what they wrote last, and then nothing is dirty.
 */
static int keep_writing(void *arg)
{
	unsigned char *data = arg;
	int i;

	for (i = 1; i <= 20000; i++)
		data[i % PAGES * PAGE + 8] = i;
	return 0;
}

TEST_F_TIMEOUT(msync, no_write_is_lost_by_a_commit_beside_it, 120)
{
	pid_t pid[3];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(pid); i++)
		pid[i] = child_start(keep_writing, self->data);
	for (i = 0; i < 200; i++)
		ASSERT_EQ(0, msync(self->data, self->span, MS_SYNC));
	for (i = 0; i < ARRAY_SIZE(pid); i++)
		EXPECT_EQ(0, child_wait(pid[i]));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(201, step_commits(&self->step));
	EXPECT_EQ(0, self->step.after.dirty);
	for (i = 0; i < PAGES; i++)
		self->data[i * PAGE]++;
	EXPECT_EQ(self->span, info_of(self->fd).dirty);
}

TEST_HARNESS_MAIN
