// SPDX-License-Identifier: GPL-2.0
/*
 * What counts as dirty under an eager mapping: no fault tells of its writes, so
 * that all it covers does, for as long as it lives and may be written.
 */
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#define PAGES	16

FIXTURE(eager_dirty) {
	int fd;
	size_t span;
	struct step step;
};

FIXTURE_SETUP(eager_dirty)
{
	self->fd = device_open(O_RDWR, EAGER);
	ASSERT_LE(0, self->fd);
	self->span = at_most(size_of(self->fd), PAGES);
	if (self->span < PAGES * PAGE)
		SKIP(return, "needs a device of %d pages", PAGES);
	ASSERT_EQ(0, device_clear(self->fd, self->span));
	step_begin(&self->step, self->fd);
}

FIXTURE_TEARDOWN(eager_dirty)
{
	close(self->fd);
}

TEST_F(eager_dirty, a_live_mapping_counts_as_dirty)
{
	unsigned char *data = map(self->fd, 4 * PAGE, RW, MAP_SHARED, PAGE);

	ASSERT_NE(NULL, data);
	EXPECT_EQ(4 * PAGE, info_of(self->fd).dirty);
	ASSERT_EQ(0, msync(data, 4 * PAGE, MS_SYNC));
	EXPECT_EQ(1, step_commits(&self->step));
	EXPECT_EQ(4 * PAGE, step_committed(&self->step));
	EXPECT_EQ(4 * PAGE, self->step.after.dirty);
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(4 * PAGE, info_of(self->fd).dirty);
}

TEST_F(eager_dirty, one_commit_after_munmap_makes_it_clean)
{
	unsigned char *data = map(self->fd, 4 * PAGE, RW, MAP_SHARED, PAGE);

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, fsync(self->fd));
	data[0] = 1;
	ASSERT_EQ(0, munmap(data, 4 * PAGE));
	EXPECT_EQ(4 * PAGE, info_of(self->fd).dirty);
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(0, info_of(self->fd).dirty);
}

TEST_F(eager_dirty, ms_sync_commits_only_its_range)
{
	unsigned char *data = map(self->fd, 8 * PAGE, RW, MAP_SHARED, 0);

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, msync(data + PAGE, 3 * PAGE, MS_SYNC));
	EXPECT_EQ(1, step_commits(&self->step));
	EXPECT_EQ(3 * PAGE, step_committed(&self->step));
	EXPECT_EQ(8 * PAGE, self->step.after.dirty);
}

TEST_F(eager_dirty, the_pages_beside_it_are_tracked_exactly)
{
	int fd = device_open(O_RDWR, DEMAND);
	unsigned char *data = map(self->fd, 2 * PAGE, RW, MAP_SHARED, 0);
	unsigned char *all = map(fd, self->span, RW, MAP_SHARED, 0);

	ASSERT_NE(NULL, data);
	ASSERT_NE(NULL, all);
	ASSERT_EQ(0, fsync(fd));
	all[PAGE] = 1;
	EXPECT_EQ(2 * PAGE, info_of(fd).dirty);
	all[2 * PAGE] = 1;
	EXPECT_EQ(3 * PAGE, info_of(fd).dirty);
	ASSERT_EQ(0, fsync(fd));
	EXPECT_EQ(2 * PAGE, info_of(fd).dirty);
}

TEST_F(eager_dirty, a_page_twice_mapped_counts_once)
{
	unsigned char *one = map(self->fd, 3 * PAGE, RW, MAP_SHARED, 0);
	unsigned char *two = map(self->fd, 3 * PAGE, RW, MAP_SHARED, 2 * PAGE);

	ASSERT_NE(NULL, one);
	ASSERT_NE(NULL, two);
	EXPECT_EQ(5 * PAGE, info_of(self->fd).dirty);
	ASSERT_EQ(0, munmap(one, 3 * PAGE));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(3 * PAGE, info_of(self->fd).dirty);
}

TEST_F(eager_dirty, all_of_a_mapping_counts_until_its_last_part_goes)
{
	unsigned char *data = map(self->fd, 8 * PAGE, RW, MAP_SHARED, 0);

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, munmap(data + 2 * PAGE, 3 * PAGE));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(8 * PAGE, info_of(self->fd).dirty);
	ASSERT_EQ(0, munmap(data, 2 * PAGE));
	ASSERT_EQ(0, munmap(data + 5 * PAGE, 3 * PAGE));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(0, info_of(self->fd).dirty);
}

static int hold_mapping(void *arg)
{
	struct gate *gate = arg;

	gate_wait(gate);
	return 0;
}

TEST_F(eager_dirty, a_mapping_that_a_child_inherited_counts)
{
	unsigned char *data = map(self->fd, 2 * PAGE, RW, MAP_SHARED, 0);
	struct gate gate;
	pid_t pid;

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, gate_make(&gate));
	pid = child_start(hold_mapping, &gate);
	ASSERT_EQ(0, munmap(data, 2 * PAGE));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(2 * PAGE, info_of(self->fd).dirty);
	gate_open(&gate);
	EXPECT_EQ(0, child_wait(pid));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(0, info_of(self->fd).dirty);
}

TEST_F(eager_dirty, a_mapping_moved_by_mremap_counts)
{
	unsigned char *data = map(self->fd, 2 * PAGE, RW, MAP_SHARED, 0);
	void *to = map(-1, 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, 0);

	ASSERT_NE(NULL, data);
	ASSERT_NE(NULL, to);
	ASSERT_EQ(to, mremap(data, 2 * PAGE, 2 * PAGE,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(2 * PAGE, info_of(self->fd).dirty);
	ASSERT_EQ(0, munmap(to, 2 * PAGE));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(0, info_of(self->fd).dirty);
}

TEST_F(eager_dirty, a_mapping_that_can_never_be_written_is_not_dirty)
{
	int fd = device_open(O_RDONLY, EAGER);

	ASSERT_LE(0, fd);
	ASSERT_NE(NULL, map(fd, 4 * PAGE, PROT_READ, MAP_SHARED, 0));
	EXPECT_EQ(0, info_of(self->fd).dirty);
	ASSERT_NE(NULL, map(self->fd, 4 * PAGE, RW, MAP_PRIVATE, 0));
	EXPECT_EQ(0, info_of(self->fd).dirty);
}

TEST_F(eager_dirty, a_mapping_made_writable_later_is_dirty)
{
	unsigned char *data = map(self->fd, 2 * PAGE, PROT_READ, MAP_SHARED, 0);

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, fsync(self->fd));
	ASSERT_EQ(0, mprotect(data, 2 * PAGE, RW));
	data[0] = 1;
	data[PAGE] = 1;
	EXPECT_EQ(2 * PAGE, info_of(self->fd).dirty);
	ASSERT_EQ(0, munmap(data, 2 * PAGE));
	EXPECT_EQ(2 * PAGE, info_of(self->fd).dirty);
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(0, info_of(self->fd).dirty);
}

TEST_F(eager_dirty, ms_async_ms_invalidate_and_private_do_nothing)
{
	unsigned char *data = map(self->fd, PAGE, RW, MAP_SHARED, 0);
	unsigned char *own = map(self->fd, PAGE, RW, MAP_PRIVATE, 0);

	ASSERT_NE(NULL, data);
	ASSERT_NE(NULL, own);
	EXPECT_EQ(0, msync(data, PAGE, MS_ASYNC));
	EXPECT_EQ(0, msync(data, PAGE, MS_INVALIDATE));
	EXPECT_EQ(0, msync(own, PAGE, MS_SYNC));
	EXPECT_EQ(0, step_commits(&self->step));
}

TEST_HARNESS_MAIN
