// SPDX-License-Identifier: GPL-2.0
/*
 * read, write and their kin against the buffer and its mappings: where they
 * stop, what a hole is, and buffers that lie in the device itself.
 */
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#define PAGES	8

FIXTURE(rw) {
	int fd;
	size_t size;
	size_t span;
	unsigned char *copy;
};

FIXTURE_SETUP(rw)
{
	self->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	self->size = size_of(self->fd);
	self->span = at_most(self->size, PAGES);
	ASSERT_EQ(0, device_fill(self->fd, 0, self->span, pattern_of(0)));
	self->copy = map(-1, PAGES * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, 0);
	ASSERT_NE(NULL, self->copy);
}

FIXTURE_TEARDOWN(rw)
{
	close(self->fd);
}

TEST_F(rw, read_goes_on_where_it_stopped)
{
	size_t at, step;

	for (at = 0; at < self->span; at += step) {
		step = at + 1000 < self->span ? 1000 : self->span - at;
		ASSERT_EQ(step, read(self->fd, self->copy + at, step));
	}
	EXPECT_TRUE(pattern_is(self->copy, 0, self->span, pattern_of(0)));
	EXPECT_EQ(self->span, lseek(self->fd, 0, SEEK_CUR));
}

TEST_F(rw, write_goes_on_where_it_stopped)
{
	size_t at, step;

	pattern_put(self->copy, 0, self->span, pattern_of(1));
	for (at = 0; at < self->span; at += step) {
		step = at + 1000 < self->span ? 1000 : self->span - at;
		ASSERT_EQ(step, write(self->fd, self->copy + at, step));
	}
	EXPECT_EQ(self->span, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(pattern_sum(0, self->span, pattern_of(1)),
		  sum_of(self->fd, 0, self->span));
}

TEST_F(rw, a_write_changes_its_bytes_and_no_others)
{
	/* Across pages, where there is more than one. */
	size_t at = self->span / 2 - 2;

	ASSERT_EQ(3, pwrite(self->fd, "abc", 3, at));
	ASSERT_EQ(self->span, pread(self->fd, self->copy, self->span, 0));
	EXPECT_TRUE(pattern_is(self->copy, 0, at, pattern_of(0)));
	EXPECT_EQ(0, memcmp(self->copy + at, "abc", 3));
	EXPECT_TRUE(pattern_is(self->copy + at + 3, at + 3,
			       self->span - at - 3, pattern_of(0)));
}

TEST_F(rw, pread_and_pwrite_leave_the_position)
{
	ASSERT_EQ(5, lseek(self->fd, 5, SEEK_SET));
	ASSERT_EQ(8, pread(self->fd, self->copy, 8, 100));
	ASSERT_EQ(8, pwrite(self->fd, self->copy, 8, 200));
	EXPECT_EQ(5, lseek(self->fd, 0, SEEK_CUR));
}

TEST_F(rw, readv_and_writev_scatter_and_gather)
{
	const size_t most = self->span / 2;
	struct iovec iov[] = {
		{ .iov_base = self->copy, .iov_len = 1 },
		{ .iov_base = self->copy + PAGE, .iov_len = most },
		{ .iov_base = self->copy + 1, .iov_len = 7 },
	};

	ASSERT_EQ(most + 8, readv(self->fd, iov, 3));
	EXPECT_TRUE(pattern_is(self->copy, 0, 1, pattern_of(0)));
	EXPECT_TRUE(pattern_is(self->copy + PAGE, 1, most, pattern_of(0)));
	EXPECT_TRUE(pattern_is(self->copy + 1, most + 1, 7, pattern_of(0)));
	memset(self->copy, 1, 8);
	memset(self->copy + PAGE, 2, most);
	ASSERT_EQ(most + 8, pwritev(self->fd, iov, 3, 0));
	ASSERT_EQ(most + 8, pread(self->fd, self->copy, most + 8, 0));
	EXPECT_EQ(1, self->copy[0]);
	EXPECT_TRUE(bytes_are(self->copy + 1, 2, most));
	EXPECT_TRUE(bytes_are(self->copy + most + 1, 1, 7));
}

TEST_F(rw, a_read_at_the_end_is_zero)
{
	EXPECT_EQ(0, pread(self->fd, self->copy, 1, self->size));
	EXPECT_EQ(0, pread(self->fd, self->copy, PAGE, self->size + 12345));
	ASSERT_EQ(self->size, lseek(self->fd, 0, SEEK_END));
	EXPECT_EQ(0, read(self->fd, self->copy, PAGE));
}

TEST_F(rw, a_read_across_the_end_is_short)
{
	EXPECT_EQ(10, pread(self->fd, self->copy, 100, self->size - 10));
	EXPECT_EQ(10, pread(self->fd, self->copy, PAGE + 1, self->size - 10));
}

TEST_F(rw, a_write_across_the_end_is_short_and_then_enospc)
{
	memset(self->copy, 7, 100);
	ASSERT_EQ(self->size - 10, lseek(self->fd, -10, SEEK_END));
	EXPECT_EQ(10, write(self->fd, self->copy, 100));
	EXPECT_EQ(self->size, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(-1, write(self->fd, self->copy, 100));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(self->size, lseek(self->fd, 0, SEEK_CUR));
	memset(self->copy, 0, 10);
	ASSERT_EQ(10, pread(self->fd, self->copy, 10, self->size - 10));
	EXPECT_TRUE(bytes_are(self->copy, 7, 10));
}

TEST_F(rw, a_write_beyond_the_end_is_enospc)
{
	EXPECT_EQ(-1, pwrite(self->fd, "x", 1, self->size));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(-1, pwrite(self->fd, "x", 1, self->size + PAGE));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(self->size, size_of(self->fd));
}

TEST_F(rw, an_append_is_enospc)
{
	int fd = device_open(O_RDWR | O_APPEND, DEMAND);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, write(fd, "x", 1));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(pattern_sum(0, self->span, pattern_of(0)),
		  sum_of(self->fd, 0, self->span));
}

TEST_F(rw, nothing_to_read_or_write_is_no_error)
{
	EXPECT_EQ(0, read(self->fd, self->copy, 0));
	EXPECT_EQ(0, write(self->fd, self->copy, 0));
	EXPECT_EQ(0, pwrite(self->fd, self->copy, 0, self->size));
	EXPECT_EQ(pattern_sum(0, self->span, pattern_of(0)),
		  sum_of(self->fd, 0, self->span));
}

TEST_F(rw, a_negative_offset_is_einval)
{
	EXPECT_EQ(-1, pread(self->fd, self->copy, 1, -1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pwrite(self->fd, self->copy, 1, -1));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(rw, a_file_not_open_for_it_is_ebadf)
{
	int readable = device_open(O_RDONLY, DEMAND);
	int writable = device_open(O_WRONLY, DEMAND);

	ASSERT_LE(0, readable);
	ASSERT_LE(0, writable);
	EXPECT_EQ(-1, write(readable, "x", 1));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(-1, read(writable, self->copy, 1));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(1, write(writable, "x", 1));
	EXPECT_EQ(1, read(readable, self->copy, 1));
	EXPECT_EQ('x', self->copy[0]);
}

TEST_F(rw, a_bad_buffer_is_efault)
{
	void *bad = map(-1, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, 0);

	ASSERT_NE(NULL, bad);
	EXPECT_EQ(-1, pread(self->fd, bad, 8, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pwrite(self->fd, bad, 8, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(pattern_sum(0, self->span, pattern_of(0)),
		  sum_of(self->fd, 0, self->span));
}

TEST_F(rw, a_buffer_that_ends_too_soon_gives_a_short_count)
{
	unsigned char *edge = self->copy + (PAGES - 1) * PAGE;
	ssize_t count;

	ASSERT_EQ(0, mprotect(edge, PAGE, PROT_NONE));
	count = pread(self->fd, edge - 100, 200, 50);
	EXPECT_LT(0, count);
	EXPECT_GE(100, count);
	EXPECT_TRUE(pattern_is(edge - 100, 50, count, pattern_of(0)));
	memset(edge - 100, 9, 100);
	count = pwrite(self->fd, edge - 100, 200, 50);
	EXPECT_LT(0, count);
	EXPECT_GE(100, count);
	ASSERT_EQ(300, pread(self->fd, self->copy, 300, 0));
	EXPECT_TRUE(pattern_is(self->copy, 0, 50, pattern_of(0)));
	EXPECT_TRUE(bytes_are(self->copy + 50, 9, count));
	EXPECT_TRUE(pattern_is(self->copy + 150, 150, 150, pattern_of(0)));
}

TEST_F(rw, seek_goes_to_every_place_in_the_device)
{
	off_t end = self->size;

	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_SET));
	EXPECT_EQ(7, lseek(self->fd, 7, SEEK_SET));
	EXPECT_EQ(9, lseek(self->fd, 2, SEEK_CUR));
	EXPECT_EQ(4, lseek(self->fd, -5, SEEK_CUR));
	EXPECT_EQ(end, lseek(self->fd, 0, SEEK_END));
	EXPECT_EQ(end - 3, lseek(self->fd, -3, SEEK_END));
	EXPECT_EQ(0, lseek(self->fd, -end, SEEK_END));
	EXPECT_EQ(end, lseek(self->fd, end, SEEK_SET));
}

TEST_F(rw, seek_outside_the_device_is_einval)
{
	off_t end = self->size;

	ASSERT_EQ(3, lseek(self->fd, 3, SEEK_SET));
	EXPECT_EQ(-1, lseek(self->fd, -1, SEEK_SET));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, lseek(self->fd, end + 1, SEEK_SET));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, lseek(self->fd, -4, SEEK_CUR));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, lseek(self->fd, end, SEEK_CUR));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, lseek(self->fd, 1, SEEK_END));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, lseek(self->fd, -end - 1, SEEK_END));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, lseek(self->fd, 0, 99));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(3, lseek(self->fd, 0, SEEK_CUR));
}

TEST_F(rw, opening_to_truncate_truncates_nothing)
{
	int fd = device_open(O_RDWR | O_TRUNC | O_CREAT, DEMAND);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, ftruncate(fd, 0));
	EXPECT_EQ(self->size, size_of(fd));
	EXPECT_EQ(pattern_sum(0, self->span, pattern_of(0)),
		  sum_of(fd, 0, self->span));
}

TEST_F(rw, splice_brings_the_device_into_a_pipe)
{
	loff_t at = 100;
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(2000, splice(self->fd, &at, fds[1], NULL, 2000, 0));
	EXPECT_EQ(2100, at);
	ASSERT_EQ(2000, read(fds[0], self->copy, 2000));
	EXPECT_TRUE(pattern_is(self->copy, 100, 2000, pattern_of(0)));
	at = self->size;
	EXPECT_EQ(0, splice(self->fd, &at, fds[1], NULL, 2000, 0));
}

TEST_F(rw, splice_brings_a_pipe_into_the_device)
{
	loff_t at = 1001;
	size_t left;
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	pattern_put(self->copy, 1001, 3000, pattern_of(2));
	ASSERT_EQ(3000, write(fds[1], self->copy, 3000));
	for (left = 3000; left;) {
		ssize_t count = splice(fds[0], NULL, self->fd, &at, left, 0);

		ASSERT_LT(0, count);
		left -= count;
	}
	EXPECT_EQ(4001, at);
	EXPECT_EQ(pattern_sum(1001, 3000, pattern_of(2)),
		  sum_of(self->fd, 1001, 3000));
	EXPECT_EQ(pattern_sum(0, 1001, pattern_of(0)),
		  sum_of(self->fd, 0, 1001));

	at = self->size;
	ASSERT_EQ(1, write(fds[1], "x", 1));
	EXPECT_EQ(-1, splice(fds[0], NULL, self->fd, &at, 1, 0));
	EXPECT_EQ(ENOSPC, errno);
}

TEST_F(rw, splice_into_the_device_dirties_it)
{
	loff_t at = 0;
	int fds[2];

	ASSERT_EQ(0, fsync(self->fd));
	ASSERT_EQ(0, info_of(self->fd).dirty);
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(4, write(fds[1], "abcd", 4));
	ASSERT_EQ(4, splice(fds[0], NULL, self->fd, &at, 4, 0));
	EXPECT_EQ(PAGE, info_of(self->fd).dirty);
}

static int send_all(void *arg)
{
	int *fds = arg;
	off_t at = 0;
	off_t end = fds[2];

	while (at < end) {
		if (!holds(sendfile(fds[1], fds[0], &at, end - at) > 0))
			return 1;
	}
	return 0;
}

static void expect_sent(struct __test_metadata *_metadata, int fd, int to,
			int from, unsigned char *copy, size_t span)
{
	int fds[] = { fd, to, span };
	pid_t pid = child_start(send_all, fds);
	size_t at = 0;

	while (at < span) {
		ssize_t count = read(from, copy + at, span - at);

		ASSERT_LT(0, count);
		at += count;
	}
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_TRUE(pattern_is(copy, 0, span, pattern_of(0)));
}

TEST_F(rw, sendfile_sends_the_device_into_a_pipe)
{
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	expect_sent(_metadata, self->fd, fds[1], fds[0], self->copy,
		    self->span);
}

TEST_F(rw, sendfile_sends_the_device_into_a_socket)
{
	int fds[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	expect_sent(_metadata, self->fd, fds[1], fds[0], self->copy,
		    self->span);
}

TEST_F(rw, sendfile_copies_the_device_to_a_file_and_back)
{
	int file = memfd_create("copy", MFD_CLOEXEC);
	int fds[] = { self->fd, file, self->span };
	int back[] = { file, self->fd, self->span };

	ASSERT_LE(0, file);
	ASSERT_EQ(0, send_all(fds));
	ASSERT_EQ(self->span, pread(file, self->copy, self->span, 0));
	EXPECT_TRUE(pattern_is(self->copy, 0, self->span, pattern_of(0)));
	ASSERT_EQ(0, device_fill(self->fd, 0, self->span, 0));
	ASSERT_EQ(0, lseek(self->fd, 0, SEEK_SET));
	ASSERT_EQ(0, send_all(back));
	EXPECT_EQ(pattern_sum(0, self->span, pattern_of(0)),
		  sum_of(self->fd, 0, self->span));
}

TEST_F(rw, fstat_says_a_character_device)
{
	struct stat st;

	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_TRUE(S_ISCHR(st.st_mode));
}

/*
 * The buffer of a read or write is itself a mapping of the device, whose
 * pages the copy has to fault in: no lock may be held that a fault needs.
 */
FIXTURE(self_copy) {
	int fd;
	int other;
	size_t span;
};

FIXTURE_VARIANT(self_copy) {
	__u32 mode;
	int flags;
};

FIXTURE_VARIANT_ADD(self_copy, demand_shared) {
	.mode = DEMAND,
	.flags = MAP_SHARED,
};

FIXTURE_VARIANT_ADD(self_copy, demand_private) {
	.mode = DEMAND,
	.flags = MAP_PRIVATE,
};

FIXTURE_VARIANT_ADD(self_copy, eager_shared) {
	.mode = EAGER,
	.flags = MAP_SHARED,
};

FIXTURE_VARIANT_ADD(self_copy, eager_private) {
	.mode = EAGER,
	.flags = MAP_PRIVATE,
};

FIXTURE_SETUP(self_copy)
{
	self->fd = device_open(O_RDWR, variant->mode);
	ASSERT_LE(0, self->fd);
	self->span = at_most(size_of(self->fd), PAGES);
	if (self->span < PAGES * PAGE)
		SKIP(return, "needs a device of %d pages", PAGES);
	ASSERT_EQ(0, device_fill(self->fd, 0, self->span, pattern_of(0)));
	ASSERT_EQ(0, fsync(self->fd));
}

FIXTURE_TEARDOWN(self_copy)
{
	close(self->fd);
}

TEST_F(self_copy, write_from_another_page_of_the_device)
{
	unsigned char *data = map(self->fd, self->span, RW, variant->flags, 0);

	ASSERT_NE(NULL, data);
	ASSERT_EQ(2 * PAGE, pwrite(self->fd, data + 3 * PAGE + 5, 2 * PAGE, 0));
	EXPECT_EQ(pattern_sum(5, 2 * PAGE, pattern_of(0)),
		  sum_of(self->fd, 0, 2 * PAGE));
	EXPECT_EQ(pattern_sum(0, PAGE, pattern_of(0)),
		  sum_of(self->fd, 2 * PAGE, PAGE));
}

TEST_F(self_copy, write_from_the_same_page_of_the_device)
{
	unsigned char *data = map(self->fd, self->span, RW, variant->flags, 0);

	ASSERT_NE(NULL, data);
	ASSERT_EQ(50, pwrite(self->fd, data + 101, 50, 0));
	EXPECT_EQ(pattern_sum(101, 50, pattern_of(0)),
		  sum_of(self->fd, 0, 50));
	EXPECT_EQ(pattern_sum(50, PAGE - 50, pattern_of(0)),
		  sum_of(self->fd, 50, PAGE - 50));
}

TEST_F(self_copy, write_of_pages_onto_themselves)
{
	unsigned char *data = map(self->fd, self->span, RW, variant->flags, 0);

	ASSERT_NE(NULL, data);
	ASSERT_EQ(self->span, pwrite(self->fd, data, self->span, 0));
	EXPECT_EQ(pattern_sum(0, self->span, pattern_of(0)),
		  sum_of(self->fd, 0, self->span));
}

TEST_F(self_copy, read_into_another_page_of_the_device)
{
	unsigned char *data = map(self->fd, self->span, RW, variant->flags, 0);

	ASSERT_NE(NULL, data);
	ASSERT_EQ(2 * PAGE, pread(self->fd, data + 3 * PAGE, 2 * PAGE, 5));
	EXPECT_TRUE(pattern_is(data + 3 * PAGE, 5, 2 * PAGE, pattern_of(0)));
	EXPECT_TRUE(pattern_is(data + 5 * PAGE, 0, PAGE, pattern_of(0)));
}

TEST_F(self_copy, read_into_the_same_page_of_the_device)
{
	unsigned char *data = map(self->fd, self->span, RW, variant->flags, 0);

	ASSERT_NE(NULL, data);
	ASSERT_EQ(50, pread(self->fd, data + 101, 50, 0));
	EXPECT_TRUE(pattern_is(data + 101, 0, 50, pattern_of(0)));
	EXPECT_TRUE(pattern_is(data, 0, 101, pattern_of(0)));
}

TEST_F(self_copy, read_of_pages_onto_themselves)
{
	unsigned char *data = map(self->fd, self->span, RW, variant->flags, 0);

	ASSERT_NE(NULL, data);
	ASSERT_EQ(self->span, pread(self->fd, data, self->span, 0));
	EXPECT_TRUE(pattern_is(data, 0, self->span, pattern_of(0)));
}

/* Memory that was never written: on a device fresh from the module loader. */
FIXTURE(hole) {
	int fd;
	size_t size;
	size_t span;
	unsigned char *copy;
};

FIXTURE_SETUP(hole)
{
	self->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	if (info_of(self->fd).resident) {
		close(self->fd);
		if (!module_known())
			SKIP(return, "needs a fresh device, or MMAPDEV_KO");
		ASSERT_EQ(0, module_reload(NULL));
		self->fd = device_open(O_RDWR, DEMAND);
		ASSERT_LE(0, self->fd);
	}
	self->size = size_of(self->fd);
	self->span = at_most(self->size, PAGES);
	self->copy = malloc(self->span);
	ASSERT_NE(NULL, self->copy);
	ASSERT_EQ(0, info_of(self->fd).resident);
}

FIXTURE_TEARDOWN(hole)
{
	close(self->fd);
}

TEST_F(hole, a_read_of_a_hole_is_zeros_and_allocates_nothing)
{
	memset(self->copy, 1, self->span);
	ASSERT_EQ(self->span, pread(self->fd, self->copy, self->span, 0));
	EXPECT_TRUE(bytes_are(self->copy, 0, self->span));
	EXPECT_EQ(0, info_of(self->fd).resident);
	EXPECT_EQ(0, info_of(self->fd).dirty);
}

TEST_F(hole, a_sum_of_a_hole_is_of_zeros_and_allocates_nothing)
{
	EXPECT_EQ(pattern_sum(0, self->span, 0),
		  sum_of(self->fd, 0, self->span));
	EXPECT_EQ(0, info_of(self->fd).resident);
}

TEST_F(hole, a_splice_of_a_hole_is_zeros_and_allocates_nothing)
{
	loff_t at = 0;
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(PAGE, splice(self->fd, &at, fds[1], NULL, PAGE, 0));
	memset(self->copy, 1, PAGE);
	ASSERT_EQ(PAGE, read(fds[0], self->copy, PAGE));
	EXPECT_TRUE(bytes_are(self->copy, 0, PAGE));
	EXPECT_EQ(0, info_of(self->fd).resident);
}

TEST_F(hole, a_written_byte_allocates_its_page_among_zeros)
{
	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 5));
	EXPECT_EQ(PAGE, info_of(self->fd).resident);
	EXPECT_EQ(PAGE, info_of(self->fd).dirty);
	ASSERT_EQ(self->span, pread(self->fd, self->copy, self->span, 0));
	EXPECT_TRUE(bytes_are(self->copy, 0, 5));
	EXPECT_EQ('x', self->copy[5]);
	EXPECT_TRUE(bytes_are(self->copy + 6, 0, self->span - 6));
	EXPECT_EQ(PAGE, info_of(self->fd).resident);
}

TEST_F(hole, a_failed_write_to_a_hole_shows_no_old_memory)
{
	void *bad = map(-1, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, 0);

	ASSERT_NE(NULL, bad);
	EXPECT_EQ(-1, pwrite(self->fd, bad, 100, 0));
	EXPECT_EQ(EFAULT, errno);
	memset(self->copy, 1, PAGE);
	ASSERT_EQ(PAGE, pread(self->fd, self->copy, PAGE, 0));
	EXPECT_TRUE(bytes_are(self->copy, 0, PAGE));
}

TEST_F(hole, a_mapped_hole_is_zeros)
{
	unsigned char *data = map(self->fd, self->span, RW, MAP_SHARED, 0);

	ASSERT_NE(NULL, data);
	EXPECT_TRUE(bytes_are(data, 0, self->span));
	EXPECT_EQ(0, info_of(self->fd).dirty);
	data[0] = 1;
	EXPECT_EQ(PAGE, info_of(self->fd).dirty);
	EXPECT_EQ(self->span, info_of(self->fd).resident);
}

TEST_F(hole, an_eagerly_mapped_hole_is_zeros_and_resident)
{
	unsigned char *data;

	ASSERT_EQ(0, device_set_mode(self->fd, EAGER));
	data = map(self->fd, self->span, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, data);
	EXPECT_EQ(self->span, info_of(self->fd).resident);
	EXPECT_TRUE(bytes_are(data, 0, self->span));
}

TEST_F(hole, a_written_byte_is_seen_by_who_mapped_the_hole)
{
	unsigned char *data = map(self->fd, PAGE, PROT_READ, MAP_SHARED, 0);

	ASSERT_NE(NULL, data);
	EXPECT_EQ(0, data[5]);
	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 5));
	EXPECT_EQ('x', data[5]);
}

TEST_HARNESS_MAIN
