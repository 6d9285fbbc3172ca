// SPDX-License-Identifier: GPL-2.0
/*
 * Wills: what the kernel stores when an open file goes, by whatever end. Each
 * test has cells of 4 bytes in the device, seen by a file that stays open.
 */
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#define NAME	"willed"
#define MIB	1048576ul
#define PAGES	8
#define WILLS	MMAPDEV_IOC_WILLS
#define CANCEL	MMAPDEV_IOC_WILL_CANCEL

/* What a cell is while the file is there, and after. */
#define ALIVE	0xa11fe001u
#define DEAD	0xdead0002u

static __u32 cell_is(const __u32 *cell)
{
	return __atomic_load_n(cell, __ATOMIC_SEQ_CST);
}

static void cell_set(__u32 *cell, __u32 value)
{
	__atomic_store_n(cell, value, __ATOMIC_SEQ_CST);
}

static bool becomes(const __u32 *cell, __u32 value)
{
	time_t end = time(NULL) + 60;

	while (cell_is(cell) != value && time(NULL) < end)
		usleep(1000);
	return cell_is(cell) == value;
}

/* A file with a will for one cell, which is set to what the will expects. */
static int will_of(__u32 *cells, size_t i)
{
	int fd = device_open(O_RDWR, DEMAND);

	cell_set(cells + i, ALIVE);
	if (fd >= 0 && device_will(fd, 0, i * 4, ALIVE, DEAD))
		return -1;
	return fd;
}

FIXTURE(will) {
	int fd;
	size_t size;
	__u32 *cells;
};

FIXTURE_SETUP(will)
{
	self->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	self->size = size_of(self->fd);
	if (self->size < PAGES * PAGE)
		SKIP(return, "needs a device of %d pages", PAGES);
	ASSERT_EQ(0, device_clear(self->fd, PAGES * PAGE));
	self->cells = map(self->fd, PAGES * PAGE, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, self->cells);
}

FIXTURE_TEARDOWN(will)
{
	close(self->fd);
}

TEST_F(will, is_done_when_the_file_is_closed)
{
	int fd = will_of(self->cells, 7);

	ASSERT_LE(0, fd);
	self->cells[6] = ALIVE;
	self->cells[8] = ALIVE;
	EXPECT_EQ(ALIVE, cell_is(self->cells + 7));
	ASSERT_EQ(0, close(fd));
	EXPECT_EQ(DEAD, cell_is(self->cells + 7));
	/* That one and no other, and that once. */
	EXPECT_EQ(ALIVE, cell_is(self->cells + 6));
	EXPECT_EQ(ALIVE, cell_is(self->cells + 8));
	cell_set(self->cells + 7, ALIVE);
	fd = device_open(O_RDWR, DEMAND);
	ASSERT_EQ(0, close(fd));
	EXPECT_EQ(ALIVE, cell_is(self->cells + 7));
}

TEST_F(will, is_not_done_where_the_cell_is_another)
{
	int fd = will_of(self->cells, 7);

	ASSERT_LE(0, fd);
	cell_set(self->cells + 7, ALIVE + 1);
	ASSERT_EQ(0, close(fd));
	EXPECT_EQ(ALIVE + 1, cell_is(self->cells + 7));
}

TEST_F(will, compares_all_of_the_cell)
{
	int bit;

	for (bit = 0; bit < 32; bit++) {
		int fd = will_of(self->cells, 1);

		ASSERT_LE(0, fd);
		cell_set(self->cells + 1, ALIVE ^ 1u << bit);
		close(fd);
		EXPECT_EQ(ALIVE ^ 1u << bit, cell_is(self->cells + 1));
	}
}

TEST_F(will, may_be_for_any_cell_of_the_buffer)
{
	const size_t at[] = {
		0, 4, PAGE - 4, PAGE, PAGE + 12, 3 * PAGE - 4, self->size - 4,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(at); i++) {
		int fd = device_open(O_WRONLY, DEMAND);
		__u32 cell = ALIVE;

		ASSERT_EQ(4, pwrite(self->fd, &cell, 4, at[i]));
		ASSERT_EQ(0, device_will(fd, 0, at[i], ALIVE, DEAD));
		close(fd);
		ASSERT_EQ(4, pread(self->fd, &cell, 4, at[i]));
		EXPECT_EQ(DEAD, cell) TH_LOG("offset %zu", at[i]);
	}
}

TEST_F(will, is_done_by_the_last_descriptor)
{
	int fd = will_of(self->cells, 1);
	int same = dup(fd);

	ASSERT_LE(0, fd);
	ASSERT_LE(0, same);
	close(fd);
	EXPECT_EQ(ALIVE, cell_is(self->cells + 1));
	close(same);
	EXPECT_EQ(DEAD, cell_is(self->cells + 1));
}

TEST_F_TIMEOUT(will, waits_for_a_descriptor_in_a_socket, 120)
{
	char room_for_fd[CMSG_SPACE(sizeof(int))] = {};
	struct iovec iov = {
		.iov_base = "",
		.iov_len = 1,
	};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = room_for_fd,
		.msg_controllen = sizeof(room_for_fd),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	int fd = will_of(self->cells, 1);
	int pair[2];

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	ASSERT_EQ(1, sendmsg(pair[0], &msg, 0));
	close(fd);
	EXPECT_EQ(ALIVE, cell_is(self->cells + 1));
	close(pair[0]);
	close(pair[1]);
	EXPECT_TRUE(becomes(self->cells + 1, DEAD));
}

TEST_F(will, waits_for_the_last_part_of_a_mapping)
{
	int fd = will_of(self->cells, 1);
	unsigned char *data = map(fd, 3 * PAGE, RW, MAP_SHARED, 0);
	unsigned char *to = map(-1, PAGE, PROT_NONE,
				MAP_PRIVATE | MAP_ANONYMOUS, 0);

	ASSERT_NE(NULL, data);
	ASSERT_NE(NULL, to);
	close(fd);
	EXPECT_EQ(ALIVE, cell_is(self->cells + 1));
	ASSERT_EQ(0, munmap(data + PAGE, PAGE));
	ASSERT_EQ(to, mremap(data, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			     to));
	EXPECT_EQ(ALIVE, cell_is(self->cells + 1));
	ASSERT_EQ(0, munmap(data + 2 * PAGE, PAGE));
	EXPECT_EQ(ALIVE, cell_is(self->cells + 1));
	/* What takes its place is an end as well. */
	ASSERT_EQ(to, mmap(to, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
			   -1, 0));
	EXPECT_EQ(DEAD, cell_is(self->cells + 1));
}

TEST_F(will, waits_for_mappings_to_read_and_private_ones)
{
	int fd = will_of(self->cells, 1);
	void *view = map(fd, PAGE, PROT_READ, MAP_SHARED, 3 * PAGE);
	void *own = map(fd, PAGE, RW, MAP_PRIVATE, 0);

	ASSERT_NE(NULL, view);
	ASSERT_NE(NULL, own);
	close(fd);
	ASSERT_EQ(0, munmap(view, PAGE));
	EXPECT_EQ(ALIVE, cell_is(self->cells + 1));
	ASSERT_EQ(0, munmap(own, PAGE));
	EXPECT_EQ(DEAD, cell_is(self->cells + 1));
}

TEST_F(will, waits_for_the_descriptor_when_the_mapping_is_gone)
{
	int fd = will_of(self->cells, 1);
	void *data = map(fd, PAGE, RW, MAP_SHARED, 0);

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, munmap(data, PAGE));
	EXPECT_EQ(ALIVE, cell_is(self->cells + 1));
	close(fd);
	EXPECT_EQ(DEAD, cell_is(self->cells + 1));
}

TEST_F(will, does_not_wait_for_an_eager_mapping)
{
	int fd = will_of(self->cells, 1);
	__u32 *cells;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, device_set_mode(fd, EAGER));
	cells = map(fd, PAGE, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, cells);
	EXPECT_EQ(ALIVE, cell_is(cells + 1));
	close(fd);
	/* And both kinds see the store. */
	EXPECT_EQ(DEAD, cell_is(self->cells + 1));
	EXPECT_EQ(DEAD, cell_is(cells + 1));
	munmap(cells, PAGE);
}

TEST_F(will, is_replaced_by_another_for_the_same_cell)
{
	int fd = will_of(self->cells, 1);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, device_will(fd, 0, 4, ALIVE + 1, DEAD + 1));
	close(fd);
	EXPECT_EQ(ALIVE, cell_is(self->cells + 1));

	fd = will_of(self->cells, 1);
	ASSERT_EQ(0, device_will(fd, 0, 4, ALIVE + 1, DEAD + 1));
	cell_set(self->cells + 1, ALIVE + 1);
	close(fd);
	EXPECT_EQ(DEAD + 1, cell_is(self->cells + 1));
}

TEST_F(will, can_be_cancelled)
{
	int fd = will_of(self->cells, 1);
	int other = will_of(self->cells, 2);

	ASSERT_LE(0, fd);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, device_will(fd, 0, 12, 0, DEAD));
	/* Neither another cell's nor another file's. */
	EXPECT_EQ(-ENOENT, device_will(fd, CANCEL, 0, 0, 0));
	EXPECT_EQ(-ENOENT, device_will(fd, CANCEL, 8, 0, 0));
	EXPECT_EQ(0, device_will(fd, CANCEL, 4, 0, 0));
	EXPECT_EQ(-ENOENT, device_will(fd, CANCEL, 4, 0, 0));
	close(fd);
	EXPECT_EQ(ALIVE, cell_is(self->cells + 1));
	EXPECT_EQ(ALIVE, cell_is(self->cells + 2));
	EXPECT_EQ(DEAD, cell_is(self->cells + 3));
	close(other);
	EXPECT_EQ(DEAD, cell_is(self->cells + 2));
}

TEST_F(will, can_be_made_anew_after_a_cancel)
{
	int fd = will_of(self->cells, 1);

	ASSERT_EQ(0, device_will(fd, CANCEL, 4, 0, 0));
	ASSERT_EQ(0, device_will(fd, 0, 4, ALIVE, DEAD + 1));
	close(fd);
	EXPECT_EQ(DEAD + 1, cell_is(self->cells + 1));
}

TEST_F(will, of_one_file_there_are_64)
{
	int fd = device_open(O_RDWR, DEMAND);
	int other = device_open(O_RDWR, DEMAND);
	size_t i;

	EXPECT_EQ(64, WILLS);
	for (i = 0; i < WILLS; i++)
		ASSERT_EQ(0, device_will(fd, 0, i * 4, 0, i + 1));
	EXPECT_EQ(-ENOSPC, device_will(fd, 0, WILLS * 4, 0, DEAD));
	/* There is room for one that has its place, and in another file. */
	EXPECT_EQ(0, device_will(fd, 0, 0, 0, DEAD));
	EXPECT_EQ(0, device_will(other, 0, WILLS * 4, 0, ALIVE));
	EXPECT_EQ(0, device_will(fd, CANCEL, 4, 0, 0));
	EXPECT_EQ(0, device_will(fd, 0, (WILLS + 1) * 4, 0, DEAD));
	EXPECT_EQ(-ENOSPC, device_will(fd, 0, 4, 0, DEAD));

	close(fd);
	EXPECT_EQ(DEAD, cell_is(self->cells));
	EXPECT_EQ(0, cell_is(self->cells + 1));
	for (i = 2; i < WILLS; i++)
		EXPECT_EQ(i + 1, cell_is(self->cells + i));
	EXPECT_EQ(0, cell_is(self->cells + WILLS));
	EXPECT_EQ(DEAD, cell_is(self->cells + WILLS + 1));
	close(other);
	EXPECT_EQ(ALIVE, cell_is(self->cells + WILLS));
}

struct watch {
	__u32 *cells;
	__u32 round;
	int early;
};

/* The last cell first: when it has changed, all the others must have. */
static void *watch_order(void *arg)
{
	struct watch *me = arg;
	size_t i;

	for (i = 0; i < WILLS; i++) {
		size_t cell = WILLS - 1 - i;

		if (!i) {
			while (cell_is(me->cells + cell) != me->round)
				continue;
		} else if (cell_is(me->cells + cell) != me->round) {
			me->early++;
		}
	}
	return NULL;
}

TEST_F_TIMEOUT(will, is_done_in_the_order_of_the_making, 120)
{
	struct watch watch = {
		.cells = self->cells,
	};
	size_t i;

	for (watch.round = 1; watch.round <= 200; watch.round++) {
		int fd = device_open(O_RDWR, DEMAND);
		pthread_t thread;

		for (i = 0; i < WILLS; i++)
			ASSERT_EQ(0, device_will(fd, 0, i * 4, 0, watch.round));
		/* To replace one does not change its place. */
		for (i = 0; i < WILLS; i += 2)
			ASSERT_EQ(0, device_will(fd, 0, i * 4, watch.round - 1,
						 watch.round));
		for (i = 1; i < WILLS; i += 2)
			ASSERT_EQ(0, device_will(fd, 0, i * 4, watch.round - 1,
						 watch.round));
		ASSERT_EQ(0, pthread_create(&thread, NULL, watch_order, &watch));
		close(fd);
		pthread_join(thread, NULL);
	}
	EXPECT_EQ(0, watch.early);
}

TEST_F(will, for_no_cell_is_refused)
{
	const struct {
		__u64 offset;
		int err;
	} bad[] = {
		{ 1, EINVAL }, { 2, EINVAL }, { 3, EINVAL }, { 6, EINVAL },
		{ self->size - 1, EINVAL }, { self->size + 2, EINVAL },
		{ ~0ull, EINVAL }, { self->size, ENXIO },
		{ self->size + 4, ENXIO }, { 1ull << 32, ENXIO },
		{ 1ull << 63, ENXIO }, { ~7ull, ENXIO }, { ~3ull, EOVERFLOW },
	};
	int fd = device_open(O_RDWR, DEMAND);
	size_t i;

	ASSERT_LE(0, fd);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		bool aligned = bad[i].err != EINVAL;

		EXPECT_EQ(-bad[i].err, device_will(fd, 0, bad[i].offset, 0, 1))
			TH_LOG("offset %llx", (unsigned long long)bad[i].offset);
		/* There can be none to be cancelled. */
		EXPECT_EQ(aligned ? -ENOENT : -EINVAL,
			  device_will(fd, CANCEL, bad[i].offset, 0, 0))
			TH_LOG("offset %llx", (unsigned long long)bad[i].offset);
	}
	close(fd);
}

TEST_F(will, that_was_refused_leaves_the_one_before)
{
	int fd = will_of(self->cells, 1);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-EINVAL, device_will(fd, CANCEL, 4, ALIVE, 0));
	EXPECT_EQ(-EINVAL, device_will(fd, CANCEL, 4, 0, DEAD));
	EXPECT_EQ(-EINVAL, device_will(fd, CANCEL, 4, ALIVE, DEAD));
	EXPECT_EQ(-EINVAL, device_will(fd, CANCEL, 5, 0, 0));
	EXPECT_EQ(-EINVAL, device_will(fd, 2, 4, ALIVE, DEAD + 1));
	EXPECT_EQ(-EINVAL, device_will(fd, 2 | CANCEL, 4, 0, 0));
	EXPECT_EQ(-EINVAL, device_will(fd, 0, 5, ALIVE, DEAD + 1));
	close(fd);
	EXPECT_EQ(DEAD, cell_is(self->cells + 1));
}

TEST_F(will, needs_a_file_open_for_writing)
{
	int fd = device_open(O_RDONLY, DEMAND);
	int path = open(DEVICE, O_PATH | O_CLOEXEC);

	ASSERT_LE(0, fd);
	cell_set(self->cells + 1, ALIVE);
	EXPECT_EQ(-EBADF, device_will(fd, 0, 4, ALIVE, DEAD));
	EXPECT_EQ(-EBADF, device_will(fd, CANCEL, 4, 0, 0));
	EXPECT_EQ(-EBADF, device_will(path, 0, 4, ALIVE, DEAD));
	close(fd);
	close(path);
	EXPECT_EQ(ALIVE, cell_is(self->cells + 1));
}

/* 1 if the first page has been written and no other, 0 if none has. */
static __u64 written(int fd, __u32 flags)
{
	unsigned char bits[PAGES] = {};
	__u64 pages = 0;

	device_dirty(fd, flags, 0, PAGES * PAGE, bits, &pages);
	return pages == 1 && bits[0] == 1 ? 1 : pages ? 100 : 0;
}

TEST_F(will, is_a_write_to_commits_and_the_dirty_bitmap)
{
	int fd = will_of(self->cells, 1);
	struct step step;

	ASSERT_LE(0, fd);
	written(self->fd, MMAPDEV_IOC_DIRTY_CLEAR);
	ASSERT_EQ(0, fsync(self->fd));
	ASSERT_EQ(0, written(self->fd, 0));
	ASSERT_EQ(0, info_of(self->fd).dirty);
	step_begin(&step, self->fd);
	close(fd);
	EXPECT_EQ(1, written(self->fd, 0));
	EXPECT_EQ(PAGE, info_of(self->fd).dirty);
	/* To commit is left to others. */
	EXPECT_EQ(0, step_commits(&step));
	ASSERT_EQ(0, msync(self->cells, PAGES * PAGE, MS_SYNC));
	EXPECT_EQ(PAGE, step_committed(&step));
	EXPECT_EQ(0, info_of(self->fd).dirty);
}

TEST_F(will, that_is_not_done_makes_nothing_dirty)
{
	int fd = will_of(self->cells, 1);

	ASSERT_LE(0, fd);
	cell_set(self->cells + 1, 0);
	written(self->fd, MMAPDEV_IOC_DIRTY_CLEAR);
	ASSERT_EQ(0, fsync(self->fd));
	close(fd);
	EXPECT_EQ(0, written(self->fd, 0));
	EXPECT_EQ(0, info_of(self->fd).dirty);
}

TEST_F(will, leaves_a_hole_alone)
{
	int fd = will_of(self->cells, 3 * PAGE / 4);
	int zero = device_open(O_RDWR, DEMAND);
	__u64 resident;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, device_will(zero, 0, 3 * PAGE, 0, DEAD));
	ASSERT_EQ(0, device_will(zero, 0, 4, 0, DEAD));
	ASSERT_EQ(0, device_punch(self->fd, 3 * PAGE, PAGE));
	resident = info_of(self->fd).resident;
	close(fd);
	close(zero);
	EXPECT_EQ(resident, info_of(self->fd).resident);
	EXPECT_EQ(4 * PAGE, lseek(self->fd, 3 * PAGE, SEEK_DATA));
	EXPECT_EQ(0, cell_is(self->cells + 3 * PAGE / 4));
	/* The others are done. */
	EXPECT_EQ(DEAD, cell_is(self->cells + 1));
}

TEST_F(will, beyond_the_size_is_left_alone)
{
	size_t at = self->size - PAGE;
	int fd = device_open(O_RDWR, DEMAND);
	int gone = device_open(O_RDWR, DEMAND);
	__u32 cell = ALIVE;

	ASSERT_EQ(4, pwrite(self->fd, &cell, 4, at));
	ASSERT_EQ(0, device_will(fd, 0, at, ALIVE, DEAD));
	ASSERT_EQ(0, device_will(fd, 0, at + 4, 0, DEAD));
	ASSERT_EQ(0, device_will(fd, 0, 4, 0, DEAD));
	ASSERT_EQ(0, device_will(gone, 0, at, ALIVE, DEAD));
	ASSERT_EQ(0, device_resize(self->fd, at));
	EXPECT_EQ(-ENXIO, device_will(fd, 0, at, ALIVE, DEAD));
	EXPECT_EQ(0, device_will(gone, CANCEL, at, 0, 0));
	close(gone);
	close(fd);
	EXPECT_EQ(DEAD, cell_is(self->cells + 1));
	ASSERT_EQ(0, device_resize(self->fd, self->size));
	ASSERT_EQ(4, pread(self->fd, &cell, 4, at));
	EXPECT_EQ(0, cell);
	EXPECT_EQ(0, sum_of(self->fd, at, PAGE) ^ pattern_sum(0, PAGE, 0));
}

/*
 * Processes that end. @keep_fd: else only the mapping holds the file.
 * @alone: a child of the process has neither.
 */
struct process {
	__u32 *cells;
	size_t cell;
	bool keep_fd;
	bool alone;
	bool threads;
	int fd;
	struct gate ready;
	struct gate go;
};

static int begin(struct process *me, void **data)
{
	me->fd = will_of(me->cells, me->cell);
	*data = map(me->fd, PAGE, RW, MAP_SHARED, 0);
	if (!holds(me->fd >= 0) || !holds(*data))
		return 1;
	if (!me->keep_fd)
		close(me->fd);
	if (me->alone && !holds(!madvise(*data, PAGE, MADV_DONTFORK)))
		return 1;
	return 0;
}

static void *touch_on(void *arg)
{
	__u32 *cell = arg;

	for (;;) {
		cell_set(cell, cell_is(cell) + 1);
		usleep(100);
	}
	return NULL;
}

static int stay(void *arg)
{
	struct process *me = arg;
	pthread_t thread;
	void *data;
	int i;

	if (begin(me, &data))
		return 1;
	for (i = 0; me->threads && i < 4; i++)
		pthread_create(&thread, NULL, touch_on,
			       (__u32 *)data + PAGE / 4 - 1 - i);
	gate_open(&me->ready);
	gate_wait(&me->go);
	return 0;
}

FIXTURE(ending) {
	int fd;
	__u32 *cells;
	struct process process;
};

FIXTURE_VARIANT(ending) {
	bool keep_fd;
};

FIXTURE_VARIANT_ADD(ending, by_mapping) {
	.keep_fd = false,
};

FIXTURE_VARIANT_ADD(ending, by_descriptor_too) {
	.keep_fd = true,
};

FIXTURE_SETUP(ending)
{
	self->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, device_clear(self->fd, PAGE));
	self->cells = map(self->fd, PAGE, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, self->cells);
	self->process.cells = self->cells;
	self->process.cell = 5;
	self->process.keep_fd = variant->keep_fd;
	ASSERT_EQ(0, gate_make(&self->process.ready));
	ASSERT_EQ(0, gate_make(&self->process.go));
}

FIXTURE_TEARDOWN(ending)
{
	close(self->fd);
}

TEST_F_TIMEOUT(ending, a_process_that_exits, 120)
{
	pid_t pid = child_start(stay, &self->process);

	gate_wait(&self->process.ready);
	EXPECT_EQ(ALIVE, cell_is(self->cells + 5));
	gate_open(&self->process.go);
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_TRUE(becomes(self->cells + 5, DEAD));
}

TEST_F_TIMEOUT(ending, a_process_that_is_killed, 120)
{
	pid_t pid = child_start(stay, &self->process);

	gate_wait(&self->process.ready);
	EXPECT_EQ(ALIVE, cell_is(self->cells + 5));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(-SIGKILL, child_wait(pid));
	EXPECT_TRUE(becomes(self->cells + 5, DEAD));
}

/* Nobody needs to have waited for it. */
TEST_F_TIMEOUT(ending, a_zombie, 120)
{
	pid_t pid = child_start(stay, &self->process);

	gate_wait(&self->process.ready);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_TRUE(becomes(self->cells + 5, DEAD));
	EXPECT_EQ(-SIGKILL, child_wait(pid));
}

TEST_F_TIMEOUT(ending, a_process_with_threads_that_is_killed, 120)
{
	pid_t pid;

	self->process.threads = true;
	pid = child_start(stay, &self->process);
	gate_wait(&self->process.ready);
	EXPECT_EQ(ALIVE, cell_is(self->cells + 5));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(-SIGKILL, child_wait(pid));
	EXPECT_TRUE(becomes(self->cells + 5, DEAD));
}

/* What exec makes of a process: it tells that it runs, and stays. */
#define EXECUTED	"MMAPDEV_WILL_EXECUTED"

static void __attribute__((constructor)) be_executed(void)
{
	const char *given = getenv(EXECUTED);
	struct gate ready, go;

	if (!given || sscanf(given, "%d %d", &ready.fds[1], &go.fds[0]) != 2)
		return;
	gate_open(&ready);
	gate_wait(&go);
	_exit(0);
}

static int execute(void *arg)
{
	struct process *me = arg;
	char gates[32];
	void *data;

	snprintf(gates, sizeof(gates), "%d %d", me->ready.fds[1], me->go.fds[0]);
	setenv(EXECUTED, gates, 1);
	if (begin(me, &data))
		return 1;
	execl("/proc/self/exe", "will", NULL);
	return !holds(false);
}

TEST_F_TIMEOUT(ending, a_process_that_executes_another, 120)
{
	pid_t pid = child_start(execute, &self->process);

	/* The descriptor is O_CLOEXEC. */
	gate_wait(&self->process.ready);
	EXPECT_TRUE(becomes(self->cells + 5, DEAD));
	gate_open(&self->process.go);
	EXPECT_EQ(0, child_wait(pid));
}

static int execute_with_fd(void *arg)
{
	struct process *me = arg;
	int fd = will_of(me->cells, me->cell);

	fcntl(fd, F_SETFD, 0);
	me->cell++;
	return execute(me);
}

TEST_F_TIMEOUT(ending, a_descriptor_that_exec_leaves_open_is_no_end, 120)
{
	pid_t pid = child_start(execute_with_fd, &self->process);

	gate_wait(&self->process.ready);
	EXPECT_TRUE(becomes(self->cells + 6, DEAD));
	EXPECT_EQ(ALIVE, cell_is(self->cells + 5));
	gate_open(&self->process.go);
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_TRUE(becomes(self->cells + 5, DEAD));
}

static int wait_only(void *arg)
{
	struct process *me = arg;

	gate_open(&me->ready);
	gate_wait(&me->go);
	return 0;
}

TEST_F_TIMEOUT(ending, a_forked_child_holds_the_file, 120)
{
	void *data;
	pid_t pid;

	ASSERT_EQ(0, begin(&self->process, &data));
	pid = child_start(wait_only, &self->process);
	gate_wait(&self->process.ready);
	ASSERT_EQ(0, munmap(data, PAGE));
	if (variant->keep_fd)
		close(self->process.fd);
	EXPECT_EQ(ALIVE, cell_is(self->cells + 5));
	gate_open(&self->process.go);
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_TRUE(becomes(self->cells + 5, DEAD));
}

/* But not from a descriptor, of which every child has a copy. */
TEST_F_TIMEOUT(ending, madv_dontfork_keeps_a_child_from_the_mapping, 120)
{
	void *data;
	pid_t pid;

	self->process.alone = true;
	ASSERT_EQ(0, begin(&self->process, &data));
	pid = child_start(wait_only, &self->process);
	gate_wait(&self->process.ready);
	EXPECT_EQ(ALIVE, cell_is(self->cells + 5));
	ASSERT_EQ(0, munmap(data, PAGE));
	if (variant->keep_fd)
		close(self->process.fd);
	EXPECT_EQ(variant->keep_fd ? ALIVE : DEAD, cell_is(self->cells + 5));
	gate_open(&self->process.go);
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_TRUE(becomes(self->cells + 5, DEAD));
}

/* So that a crash of one is seen by who shares the device, each time. */
#define KILLED	500
#define AT_ONCE	50

TEST_F_TIMEOUT(ending, five_hundred_processes_that_are_killed, 300)
{
	pid_t pids[AT_ONCE];
	int i, killed, done = 0;

	for (killed = 0; killed < KILLED; killed += AT_ONCE) {
		for (i = 0; i < AT_ONCE; i++) {
			self->process.cell = killed + i;
			pids[i] = child_start(stay, &self->process);
			ASSERT_LT(0, pids[i]);
		}
		for (i = 0; i < AT_ONCE; i++)
			gate_wait(&self->process.ready);
		for (i = 0; i < AT_ONCE; i++) {
			EXPECT_EQ(ALIVE, cell_is(self->cells + killed + i));
			ASSERT_EQ(0, kill(pids[i], SIGKILL));
		}
		for (i = 0; i < AT_ONCE; i++) {
			EXPECT_EQ(-SIGKILL, child_wait(pids[i]));
			done += cell_is(self->cells + killed + i) == DEAD;
			EXPECT_TRUE(becomes(self->cells + killed + i, DEAD))
				TH_LOG("process %d", killed + i);
		}
	}
	/* Who looks at them in /proc meanwhile can hold some up. */
	fprintf(stderr, "# %d of %d were done when wait told\n", done, KILLED);
}

/* Many at a time: threads of one file, and ends that meet. */
#define THREADS	4
#define ROUNDS	5000
#define FIXED	8

struct maker {
	int fd;
	unsigned int number;
	int bad;
};

/* Each has a will of its own, and all have the first. */
static void *make_and_cancel(void *arg)
{
	struct maker *me = arg;
	__u64 own = (FIXED + me->number) * 4;
	int i, err;

	for (i = 0; i < ROUNDS; i++) {
		me->bad += !!device_will(me->fd, 0, own, 0, DEAD);
		me->bad += !!device_will(me->fd, CANCEL, own, 0, 0);
		if (i % 2)
			err = device_will(me->fd, 0, 0, 0, DEAD);
		else
			err = device_will(me->fd, CANCEL, 0, 0, 0);
		me->bad += err && (i % 2 || err != -ENOENT);
	}
	return NULL;
}

TEST_F_TIMEOUT(will, threads_make_and_cancel_those_of_one_file, 300)
{
	struct maker makers[THREADS] = {};
	pthread_t threads[THREADS];
	int fd = device_open(O_RDWR, DEMAND);
	size_t i;

	ASSERT_LE(0, fd);
	for (i = 0; i < FIXED; i++)
		ASSERT_EQ(0, device_will(fd, 0, i * 4, 0, i + 1));
	for (i = 0; i < THREADS; i++) {
		makers[i].fd = fd;
		makers[i].number = i;
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, make_and_cancel,
					    &makers[i]));
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, makers[i].bad);
	}
	/* None was lost, and none is left: there is room for all but those. */
	device_will(fd, CANCEL, 0, 0, 0);
	for (i = 0; i < WILLS - FIXED + 1; i++)
		EXPECT_EQ(0, device_will(fd, 0, (100 + i) * 4, 0, DEAD));
	EXPECT_EQ(-ENOSPC, device_will(fd, 0, (100 + i) * 4, 0, DEAD));
	close(fd);
	EXPECT_EQ(0, cell_is(self->cells));
	for (i = 1; i < FIXED; i++)
		EXPECT_EQ(i + 1, cell_is(self->cells + i));
	for (; i < 100; i++)
		EXPECT_EQ(0, cell_is(self->cells + i));
	for (i = 0; i < WILLS - FIXED + 1; i++)
		EXPECT_EQ(DEAD, cell_is(self->cells + 100 + i));
}

struct rival {
	__u32 *cell;
	bool stop;
	int done;
	int lost;
};

static bool cell_swap(__u32 *cell, __u32 from, __u32 to)
{
	return __atomic_compare_exchange_n(cell, &from, to, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* The will may change what is ALIVE, and never what is in between. */
static void *toggle_on(void *arg)
{
	struct rival *me = arg;

	while (!__atomic_load_n(&me->stop, __ATOMIC_SEQ_CST)) {
		if (!cell_swap(me->cell, ALIVE, 1))
			me->done++;
		else if (cell_swap(me->cell, 1, ALIVE))
			continue;
		else
			me->lost++;
		cell_set(me->cell, ALIVE);
	}
	return NULL;
}

TEST_F_TIMEOUT(will, comes_before_another_change_or_after, 120)
{
	struct rival rival = {
		.cell = self->cells + 1,
	};
	pthread_t thread;
	int round;

	cell_set(rival.cell, ALIVE);
	ASSERT_EQ(0, pthread_create(&thread, NULL, toggle_on, &rival));
	for (round = 0; round < 2 * ROUNDS; round++) {
		int fd = device_open(O_RDWR, DEMAND);

		ASSERT_EQ(0, device_will(fd, 0, 4, ALIVE, DEAD));
		close(fd);
	}
	__atomic_store_n(&rival.stop, true, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	fprintf(stderr, "# %d of %d were done\n", rival.done, round);
	EXPECT_EQ(0, rival.lost);
}

/* Devices of their own, so that they can be of huge folios, and removed. */
FIXTURE(device) {
	char path[32];
	int fd;
};

FIXTURE_VARIANT(device) {
	const char *huge;
};

FIXTURE_VARIANT_ADD(device, pages) {
	.huge = "never",
};

FIXTURE_VARIANT_ADD(device, huge_folios) {
	.huge = "always",
};

FIXTURE_SETUP(device)
{
	if (access(CONFIG, F_OK))
		SKIP(return, "needs " CONFIG);
	config_drop(NAME);
	ASSERT_EQ(0, config_make(NAME));
	ASSERT_EQ(0, config_set(NAME, "size", "4M"));
	ASSERT_EQ(0, config_set(NAME, "huge", variant->huge));
	ASSERT_EQ(0, config_start(NAME, self->path, sizeof(self->path)));
	self->fd = open(self->path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, device_fill(self->fd, 0, 4 * MIB, 0));
}

FIXTURE_TEARDOWN(device)
{
	close(self->fd);
	config_drop(NAME);
}

TEST_F(device, finds_the_cell_in_any_page_of_a_folio)
{
	const __u64 at[] = {
		0, MIB + 3 * PAGE + 8, 2 * MIB - 4, 2 * MIB, 3 * MIB + PAGE - 4,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(at); i++) {
		int fd = open(self->path, O_RDWR | O_CLOEXEC);
		__u32 cell = 0;

		ASSERT_EQ(0, device_will(fd, 0, at[i], 0, DEAD));
		close(fd);
		ASSERT_EQ(4, pread(self->fd, &cell, 4, at[i]));
		EXPECT_EQ(DEAD, cell) TH_LOG("offset %llx",
					     (unsigned long long)at[i]);
		/* No other changed. */
		ASSERT_EQ(0, device_fill(self->fd, at[i], 4, 0));
		EXPECT_EQ(pattern_sum(0, 4 * MIB, 0),
			  sum_of(self->fd, 0, 4 * MIB));
	}
}

TEST_F(device, that_was_removed_is_left_alone)
{
	int fd = open(self->path, O_RDWR | O_CLOEXEC);
	int mapped = open(self->path, O_RDWR | O_CLOEXEC);
	void *data = map(mapped, PAGE, RW, MAP_SHARED, 0);
	char path[32];
	__u32 cell = 1;
	size_t i;

	ASSERT_NE(NULL, data);
	for (i = 0; i < WILLS; i++) {
		ASSERT_EQ(0, device_will(fd, 0, i * 65536, 0, DEAD));
		ASSERT_EQ(0, device_will(mapped, 0, i * 65536 + 4, 0, DEAD));
	}
	close(mapped);
	ASSERT_EQ(0, config_drop(NAME));
	EXPECT_EQ(-ENODEV, device_will(fd, 0, 0, 0, DEAD));
	EXPECT_EQ(-ENODEV, device_will(fd, CANCEL, 0, 0, 0));

	/* Nor is one that has its number by now changed. */
	ASSERT_EQ(0, config_live(NAME, "4M", path, sizeof(path)));
	EXPECT_STREQ(self->path, path);
	close(self->fd);
	self->fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_EQ(0, device_fill(self->fd, 0, 4 * MIB, 0));
	ASSERT_EQ(0, munmap(data, PAGE));
	close(fd);
	EXPECT_EQ(pattern_sum(0, 4 * MIB, 0), sum_of(self->fd, 0, 4 * MIB));
	ASSERT_EQ(4, pread(self->fd, &cell, 4, 0));
	EXPECT_EQ(0, cell);
}

/* Files that go while the pages of their wills are taken away. */
struct closer {
	const char *path;
	bool stop;
	int bad;
	unsigned long closed;
};

static void *close_on(void *arg)
{
	struct closer *me = arg;
	size_t i;

	while (!__atomic_load_n(&me->stop, __ATOMIC_SEQ_CST)) {
		int fd = open(me->path, O_RDWR | O_CLOEXEC);

		if (fd < 0)
			me->bad++;
		for (i = 0; i < 8; i++) {
			int err = device_will(fd, 0, i * 512 * 1024, 0, DEAD);

			if (err && err != -ENXIO)
				me->bad++;
		}
		close(fd);
		me->closed++;
	}
	return NULL;
}

TEST_F_TIMEOUT(device, whose_pages_are_taken_meanwhile, 120)
{
	struct closer closer = {
		.path = self->path,
	};
	pthread_t threads[2];
	__u32 cell;
	int round;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(threads); i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, close_on,
					    &closer));
	for (round = 0; round < 50; round++) {
		int err = device_resize(self->fd, round % 2 * MIB + PAGE);

		EXPECT_TRUE(!err || err == -EBUSY);
		EXPECT_EQ(0, device_resize(self->fd, 4 * MIB));
		EXPECT_EQ(0, device_fill(self->fd, 0, 4 * MIB, 0));
		EXPECT_EQ(0, device_punch(self->fd, MIB, MIB));
		EXPECT_EQ(0, fsync(self->fd));
	}
	__atomic_store_n(&closer.stop, true, __ATOMIC_SEQ_CST);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(0, closer.bad);
	EXPECT_LT(0, closer.closed);
	for (i = 0; i < 8; i++) {
		ASSERT_EQ(4, pread(self->fd, &cell, 4, i * 512 * 1024));
		EXPECT_TRUE(cell == 0 || cell == DEAD);
	}
}

TEST_HARNESS_MAIN
