// SPDX-License-Identifier: GPL-2.0
/*
 * The window: the device's size moves up and down under mappings that are as
 * long as it may ever be. What is beyond the size is SIGBUS, what comes within
 * works at the address it always had, and what is cut is freed and forgotten.
 */
#include <pthread.h>
#include <sys/uio.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#define DISK	"/dev/nvme0n1"
#define BASE	(16 * PAGE)
#define LARGE	((size_t)32 << 20)

/* A device of BASE bytes with a pattern, all of it committed. */
static int start_anew(int fd)
{
	int err = device_resize(fd, 0);

	if (!err)
		err = device_resize(fd, BASE);
	if (!err)
		err = device_fill(fd, 0, BASE, pattern_of(0));
	if (!err && fsync(fd))
		err = -errno;
	return err;
}

/* A pattern of 0 is zeros. */
static bool device_has(int fd, __u64 offset, size_t length, __u64 pattern)
{
	return sum_of(fd, offset, length) ==
	       pattern_sum(offset, length, pattern);
}

static bool is_sigbus(struct fault fault, void *at)
{
	return fault.sig == SIGBUS && fault.code == BUS_ADRERR &&
	       fault.addr == at;
}

/* Both a read and a write of it say that there is no such memory. */
static bool is_beyond(unsigned char *at)
{
	return is_sigbus(fault_of_read(at), at) &&
	       is_sigbus(fault_of_write(at, 1), at);
}

static int device_grow(int fd, __u64 size)
{
	struct mmapdev_ioc_resize arg = {
		.argsz = sizeof(arg),
		.flags = MMAPDEV_IOC_RESIZE_GROW,
		.size = size,
	};

	return ioctl(fd, MMAPDEV_IOC_RESIZE, &arg) ? -errno : 0;
}

FIXTURE(window) {
	int fd;
	__u64 max;
	struct step step;
};

FIXTURE_SETUP(window)
{
	self->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	self->max = info_of(self->fd).max_size;
	if (self->max < LARGE)
		SKIP(return, "needs a max_size of 32M");
	ASSERT_EQ(0, start_anew(self->fd));
	step_begin(&self->step, self->fd);
}

FIXTURE_TEARDOWN(window)
{
	close(self->fd);
}

static __u64 resizes_since(struct step *step)
{
	return info_of(step->fd).resizes - step->before.resizes;
}

TEST_F(window, a_size_is_told_wherever_it_is_asked)
{
	const size_t sizes[] = {
		BASE, 0, PAGE, 3 * PAGE, self->max, self->max - PAGE, 0, BASE,
	};
	size_t i;

	for (i = 1; i < ARRAY_SIZE(sizes); i++) {
		ASSERT_EQ(0, device_resize(self->fd, sizes[i]));
		EXPECT_EQ(sizes[i], info_of(self->fd).size);
		EXPECT_EQ(sizes[i], lseek(self->fd, 0, SEEK_END));
		EXPECT_EQ(self->max, info_of(self->fd).max_size);
		EXPECT_EQ(i, resizes_since(&self->step));
	}
}

TEST_F(window, the_same_size_is_no_change)
{
	EXPECT_EQ(0, device_resize(self->fd, BASE));
	EXPECT_EQ(0, resizes_since(&self->step));
	EXPECT_TRUE(device_has(self->fd, 0, BASE, pattern_of(0)));
}

TEST_F(window, what_is_to_grow_never_shrinks)
{
	EXPECT_EQ(0, device_grow(self->fd, BASE + PAGE));
	EXPECT_EQ(BASE + PAGE, size_of(self->fd));
	EXPECT_EQ(1, resizes_since(&self->step));
	EXPECT_EQ(0, device_grow(self->fd, BASE));
	EXPECT_EQ(0, device_grow(self->fd, 0));
	EXPECT_EQ(0, device_grow(self->fd, BASE + PAGE));
	EXPECT_EQ(BASE + PAGE, size_of(self->fd));
	EXPECT_EQ(1, resizes_since(&self->step));
	EXPECT_EQ(-EINVAL, device_grow(self->fd, 2 * BASE + 1));
	EXPECT_EQ(-ENXIO, device_grow(self->fd, self->max + PAGE));
	EXPECT_EQ(BASE + PAGE, size_of(self->fd));
	EXPECT_TRUE(device_has(self->fd, 0, BASE, pattern_of(0)));
}

struct grower {
	pthread_t thread;
	int fd;
	__u64 first;
	int wrong;
};

/* Asks for sizes in turn; the device never has less than was asked for. */
static void *grow(void *arg)
{
	struct grower *g = arg;
	__u64 size;

	for (size = g->first; size <= LARGE; size += 3 * PAGE)
		if (device_grow(g->fd, size) || size_of(g->fd) < size)
			g->wrong++;
	return NULL;
}

TEST_F(window, those_who_grow_at_once_get_what_they_asked_for)
{
	struct grower growers[3];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(growers); i++) {
		growers[i] = (struct grower){
			.fd = self->fd,
			.first = (i + 1) * PAGE,
		};
		ASSERT_EQ(0, pthread_create(&growers[i].thread, NULL, grow,
					    &growers[i]));
	}
	for (i = 0; i < ARRAY_SIZE(growers); i++) {
		ASSERT_EQ(0, pthread_join(growers[i].thread, NULL));
		EXPECT_EQ(0, growers[i].wrong);
	}
	EXPECT_EQ(LARGE, size_of(self->fd));
}

TEST_F(window, a_size_that_cannot_be_is_refused)
{
	const struct {
		__u64 size;
		int err;
	} bad[] = {
		{ 1, -EINVAL }, { PAGE - 1, -EINVAL }, { PAGE + 1, -EINVAL },
		{ BASE - 512, -EINVAL }, { self->max - 1, -EINVAL },
		{ self->max + PAGE, -ENXIO }, { 1ULL << 62, -ENXIO },
		{ 1ULL << 63, -ENXIO }, { -(__u64)PAGE, -ENXIO },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(bad[i].err, device_resize(self->fd, bad[i].size))
			TH_LOG("size %llx", (unsigned long long)bad[i].size);
	}
	EXPECT_EQ(BASE, size_of(self->fd));
	EXPECT_EQ(BASE, info_of(self->fd).resident);
	EXPECT_EQ(0, resizes_since(&self->step));
	EXPECT_TRUE(device_has(self->fd, 0, BASE, pattern_of(0)));
}

TEST_F(window, only_a_file_open_for_writing_resizes)
{
	int ro = device_open(O_RDONLY, DEMAND);
	int wo = device_open(O_WRONLY, DEMAND);

	ASSERT_LE(0, ro);
	ASSERT_LE(0, wo);
	EXPECT_EQ(-EBADF, device_resize(ro, 2 * BASE));
	EXPECT_EQ(-EBADF, device_resize(ro, 0));
	EXPECT_EQ(-EBADF, device_resize(ro, BASE));
	EXPECT_EQ(BASE, size_of(self->fd));
	EXPECT_TRUE(device_has(self->fd, 0, BASE, pattern_of(0)));
	EXPECT_EQ(0, device_resize(wo, 2 * BASE));
	EXPECT_EQ(2 * BASE, size_of(self->fd));
}

struct files {
	int ro;
	int rw;
};

static int try_as_nobody(void *arg)
{
	struct files *files = arg;

	return !(holds(!become_nobody()) &&
		 holds(device_resize(files->ro, 0) == -EBADF) &&
		 holds(size_of(files->ro) == BASE) &&
		 holds(!device_resize(files->rw, 2 * BASE)) &&
		 holds(size_of(files->ro) == 2 * BASE));
}

TEST_F(window, the_open_file_and_no_privilege_decides)
{
	struct files files = {
		.ro = device_open(O_RDONLY, DEMAND),
		.rw = self->fd,
	};

	ASSERT_LE(0, files.ro);
	EXPECT_EQ(0, child_run(try_as_nobody, &files));
}

TEST_F(window, a_mapping_ends_within_max_size)
{
	const int flags[] = { MAP_SHARED, MAP_PRIVATE };
	const __u64 max = self->max;
	const struct {
		__u64 offset;
		size_t length;
		int err;
	} cases[] = {
		{ 0, max, 0 }, { 0, BASE + PAGE, 0 }, { BASE, PAGE, 0 },
		{ BASE - PAGE, max - BASE + PAGE, 0 }, { max - PAGE, PAGE, 0 },
		{ 0, max + 1, ENXIO }, { 0, max + PAGE, ENXIO },
		{ PAGE, max, ENXIO }, { max, PAGE, ENXIO },
		{ max - PAGE, 2 * PAGE, ENXIO }, { 2 * max, PAGE, ENXIO },
		{ -(__u64)PAGE, PAGE, EOVERFLOW },
		{ -(__u64)PAGE, 2 * PAGE, EOVERFLOW },
	};
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		for (j = 0; j < 4; j++) {
			void *at;

			ASSERT_EQ(0, device_set_mode(self->fd,
						     j / 2 ? EAGER : DEMAND));
			errno = 0;
			at = map(self->fd, cases[i].length, RW, flags[j % 2],
				 cases[i].offset);
			EXPECT_EQ(!cases[i].err, !!at);
			EXPECT_EQ(cases[i].err, errno)
				TH_LOG("%zx bytes at %llx", cases[i].length,
				       (unsigned long long)cases[i].offset);
			if (at)
				munmap(at, cases[i].length);
		}
	}
	/* None of them gave memory to what is beyond the size. */
	EXPECT_EQ(BASE, info_of(self->fd).resident);
}

TEST_F(window, reads_and_writes_know_the_new_end)
{
	char *block = calloc(4, BASE);

	ASSERT_NE(NULL, block);
	EXPECT_EQ(0, pread(self->fd, block, BASE, BASE));
	EXPECT_EQ(-1, pwrite(self->fd, block, 1, BASE));
	EXPECT_EQ(ENOSPC, errno);

	ASSERT_EQ(0, device_resize(self->fd, 2 * BASE));
	EXPECT_EQ(2 * BASE, pread(self->fd, block, 4 * BASE, 0));
	EXPECT_TRUE(pattern_is(block, 0, BASE, pattern_of(0)));
	EXPECT_TRUE(bytes_are(block + BASE, 0, BASE));
	EXPECT_EQ(BASE, info_of(self->fd).resident);
	pattern_put(block, BASE, 2 * BASE, pattern_of(1));
	EXPECT_EQ(BASE, pwrite(self->fd, block, 2 * BASE, BASE));
	EXPECT_TRUE(device_has(self->fd, BASE, BASE, pattern_of(1)));
	EXPECT_EQ(-1, pwrite(self->fd, block, 1, 2 * BASE));
	EXPECT_EQ(ENOSPC, errno);

	/* A position that the end has passed. */
	ASSERT_EQ(BASE, lseek(self->fd, BASE, SEEK_SET));
	ASSERT_EQ(0, device_resize(self->fd, PAGE));
	EXPECT_EQ(0, read(self->fd, block, PAGE));
	EXPECT_EQ(-1, write(self->fd, block, PAGE));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(PAGE, pread(self->fd, block, BASE, 0));
	EXPECT_EQ(1, pread(self->fd, block, BASE, PAGE - 1));
	EXPECT_EQ(1, pwrite(self->fd, block, BASE, PAGE - 1));
}

TEST_F(window, the_kernel_fills_and_sums_up_to_the_new_end)
{
	__u32 sum;

	EXPECT_EQ(-ENXIO, device_fill(self->fd, BASE, PAGE, 1));
	EXPECT_EQ(-ENXIO, device_sum(self->fd, BASE - PAGE, 2 * PAGE, &sum));
	ASSERT_EQ(0, device_resize(self->fd, 2 * BASE));
	EXPECT_TRUE(device_has(self->fd, BASE, BASE, 0));
	EXPECT_EQ(0, device_fill(self->fd, PAGE, 2 * BASE - PAGE,
				 pattern_of(1)));
	EXPECT_TRUE(device_has(self->fd, 0, PAGE, pattern_of(0)));
	EXPECT_TRUE(device_has(self->fd, PAGE, 2 * BASE - PAGE, pattern_of(1)));
	EXPECT_EQ(-ENXIO, device_fill(self->fd, PAGE, 2 * BASE, 1));
	ASSERT_EQ(0, device_resize(self->fd, PAGE));
	EXPECT_EQ(-ENXIO, device_fill(self->fd, PAGE, PAGE, 1));
	EXPECT_EQ(-ENXIO, device_sum(self->fd, PAGE, PAGE, &sum));
}

TEST_F(window, what_is_cut_is_dirty_no_more)
{
	unsigned char *data = map(self->fd, self->max, RW, MAP_SHARED, 0);

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, device_resize(self->fd, 2 * BASE));
	EXPECT_EQ(0, info_of(self->fd).dirty);
	pattern_put(data, 0, 2 * PAGE, pattern_of(1));
	ASSERT_EQ(0, device_fill(self->fd, BASE, BASE, pattern_of(1)));
	EXPECT_EQ(BASE + 2 * PAGE, info_of(self->fd).dirty);
	ASSERT_EQ(0, device_resize(self->fd, BASE + 3 * PAGE));
	EXPECT_EQ(5 * PAGE, info_of(self->fd).dirty);
	ASSERT_EQ(0, device_resize(self->fd, PAGE));
	EXPECT_EQ(PAGE, info_of(self->fd).dirty);
	ASSERT_EQ(0, device_resize(self->fd, 2 * BASE));
	EXPECT_EQ(PAGE, info_of(self->fd).dirty);

	/* A commit of all that is mapped, there or not. */
	step_begin(&self->step, self->fd);
	EXPECT_EQ(0, msync(data, self->max, MS_SYNC));
	EXPECT_EQ(1, step_commits(&self->step));
	EXPECT_EQ(PAGE, step_committed(&self->step));
	EXPECT_EQ(0, self->step.after.dirty);
	data[BASE] = 1;
	EXPECT_EQ(PAGE, info_of(self->fd).dirty);
}

TEST_F(window, what_a_pipe_holds_outlives_the_cut)
{
	unsigned char *data = map(self->fd, self->max, RW, MAP_SHARED, 0);
	unsigned char *copy = malloc(BASE);
	struct iovec iov = {
		.iov_base = data,
		.iov_len = BASE,
	};
	size_t got = 0;
	int fds[2];

	ASSERT_NE(NULL, data);
	ASSERT_NE(NULL, copy);
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(BASE, vmsplice(fds[1], &iov, 1, 0));
	ASSERT_EQ(0, device_resize(self->fd, 0));
	EXPECT_EQ(0, info_of(self->fd).resident);
	EXPECT_TRUE(is_beyond(data));
	ASSERT_EQ(0, device_resize(self->fd, BASE));
	EXPECT_TRUE(bytes_are(data, 0, BASE));
	pattern_put(data, 0, BASE, pattern_of(1));
	while (got < BASE) {
		ssize_t more = read(fds[0], copy + got, BASE - got);

		ASSERT_LT(0, more);
		got += more;
	}
	EXPECT_TRUE(pattern_is(copy, 0, BASE, pattern_of(0)));
	EXPECT_TRUE(device_has(self->fd, 0, BASE, pattern_of(1)));
}

struct disk_io {
	unsigned char *data;
	int *stop;
	int *done; /* reads and writes so far */
};

/* Pages that the disk reads or writes while they are cut, or there are none. */
static int do_disk_io(void *arg)
{
	struct disk_io *io = arg;
	int disk = open(DISK, O_RDWR | O_DIRECT | O_CLOEXEC);
	int i;

	if (!holds(disk >= 0))
		return 1;
	for (i = 0; !__atomic_load_n(io->stop, __ATOMIC_RELAXED); i++) {
		ssize_t n = i % 2 ? pread(disk, io->data, BASE, 0) :
				    pwrite(disk, io->data, BASE, 0);

		if (!holds(n >= 0 || errno == EFAULT) ||
		    !holds(n % 512 == 0 || n < 0))
			return 1;
		__atomic_store_n(io->done, i + 1, __ATOMIC_RELAXED);
	}
	return 0;
}

TEST_F_TIMEOUT(window, direct_io_goes_on_while_its_pages_are_cut, 60)
{
	struct disk_io io = {
		.data = map(self->fd, self->max, RW, MAP_SHARED, 0),
		.stop = map(-1, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, 0),
	};
	pid_t pid;
	int i;

	ASSERT_NE(NULL, io.data);
	ASSERT_NE(NULL, io.stop);
	io.done = io.stop + 1;
	pid = child_start(do_disk_io, &io);
	for (i = 0; i < 100 || __atomic_load_n(io.done, __ATOMIC_RELAXED) < 2;
	     i++) {
		ASSERT_EQ(0, device_resize(self->fd, i % 3 * PAGE));
		ASSERT_EQ(0, device_resize(self->fd, BASE));
		if (i % 2)
			usleep(1000);
	}
	*io.stop = 1;
	EXPECT_EQ(0, child_wait(pid));
	pattern_put(io.data, 0, BASE, pattern_of(1));
	EXPECT_TRUE(device_has(self->fd, 0, BASE, pattern_of(1)));
	ASSERT_EQ(0, device_resize(self->fd, 0));
	EXPECT_EQ(0, info_of(self->fd).resident);
}

/* The whole window, mapped in each way. */
FIXTURE(view) {
	int fd;
	int other;
	__u64 max;
	unsigned char *data;
};

FIXTURE_VARIANT(view) {
	__u32 mode;
	int flags;
};

FIXTURE_VARIANT_ADD(view, demand_shared) {
	.mode = DEMAND,
	.flags = MAP_SHARED,
};

FIXTURE_VARIANT_ADD(view, demand_private) {
	.mode = DEMAND,
	.flags = MAP_PRIVATE,
};

FIXTURE_VARIANT_ADD(view, eager_shared) {
	.mode = EAGER,
	.flags = MAP_SHARED,
};

FIXTURE_VARIANT_ADD(view, eager_private) {
	.mode = EAGER,
	.flags = MAP_PRIVATE,
};

FIXTURE_SETUP(view)
{
	self->fd = device_open(O_RDWR, variant->mode);
	ASSERT_LE(0, self->fd);
	self->other = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->other);
	self->max = info_of(self->fd).max_size;
	if (self->max < LARGE)
		SKIP(return, "needs a max_size of 32M");
	ASSERT_EQ(0, start_anew(self->fd));
	self->data = map(self->fd, self->max, RW, variant->flags, 0);
	ASSERT_NE(NULL, self->data);
}

FIXTURE_TEARDOWN(view)
{
	close(self->other);
}

/* What the device has where the mapping was written with a pattern. */
static bool stored(int flags, int fd, __u64 offset, size_t length,
		   unsigned int number, __u64 before)
{
	return device_has(fd, offset, length, flags == MAP_SHARED ?
			  pattern_of(number) : before);
}

TEST_F(view, beyond_the_size_is_sigbus)
{
	size_t at;

	EXPECT_TRUE(pattern_is(self->data, 0, BASE, pattern_of(0)));
	for (at = BASE; at < self->max; at += at / 2) {
		EXPECT_TRUE(is_beyond(self->data + at))
			TH_LOG("at %zx", at);
	}
	EXPECT_TRUE(is_beyond(self->data + BASE + PAGE - 1));
	EXPECT_TRUE(is_beyond(self->data + self->max - 1));
	EXPECT_EQ(BASE, info_of(self->fd).resident);
	EXPECT_FALSE(fault_of_write(self->data + BASE - 1, 1).sig);
}

TEST_F(view, growing_makes_the_same_address_work)
{
	EXPECT_TRUE(is_beyond(self->data + BASE));
	EXPECT_TRUE(is_beyond(self->data + 3 * BASE - 1));
	ASSERT_EQ(0, device_resize(self->fd, 3 * BASE));
	EXPECT_TRUE(bytes_are(self->data + BASE, 0, 2 * BASE));
	EXPECT_TRUE(pattern_is(self->data, 0, BASE, pattern_of(0)));
	EXPECT_TRUE(is_beyond(self->data + 3 * BASE));

	/* A kernel's store is seen where no copy was made. */
	ASSERT_EQ(0, device_fill(self->fd, BASE, BASE, pattern_of(2)));
	EXPECT_TRUE(pattern_is(self->data + BASE, BASE, BASE, pattern_of(2)));
	pattern_put(self->data, 0, 3 * BASE, pattern_of(1));
	EXPECT_TRUE(pattern_is(self->data, 0, 3 * BASE, pattern_of(1)));
	EXPECT_TRUE(stored(variant->flags, self->fd, 0, BASE, 1,
			   pattern_of(0)));
	EXPECT_TRUE(stored(variant->flags, self->fd, BASE, BASE, 1,
			   pattern_of(2)));
	EXPECT_TRUE(stored(variant->flags, self->fd, 2 * BASE, BASE, 1, 0));
}

TEST_F(view, it_grows_page_by_page_and_to_the_end)
{
	size_t size;

	for (size = BASE; size < 2 * BASE; size += PAGE) {
		EXPECT_TRUE(is_beyond(self->data + size));
		ASSERT_EQ(0, device_resize(self->fd, size + PAGE));
		EXPECT_FALSE(fault_of_write(self->data + size, 7).sig);
		EXPECT_EQ(7, self->data[size]);
		EXPECT_EQ(0, self->data[size + PAGE - 1]);
	}
	EXPECT_EQ(2 * BASE, info_of(self->fd).resident);
	ASSERT_EQ(0, device_resize(self->fd, self->max));
	EXPECT_FALSE(fault_of_write(self->data + self->max - 1, 7).sig);
	EXPECT_EQ(7, self->data[self->max - 1]);
	EXPECT_EQ(7, self->data[BASE]);
	EXPECT_EQ(2 * BASE + PAGE, info_of(self->fd).resident);
}

TEST_F(view, shrinking_takes_what_is_beyond_and_nothing_else)
{
	ASSERT_EQ(0, device_resize(self->fd, 2 * BASE));
	pattern_put(self->data, 0, 2 * BASE, pattern_of(1));
	EXPECT_EQ(2 * BASE, info_of(self->fd).resident);
	ASSERT_EQ(0, device_resize(self->fd, BASE / 2));
	EXPECT_EQ(BASE / 2, info_of(self->fd).resident);
	EXPECT_TRUE(is_beyond(self->data + BASE / 2));
	EXPECT_TRUE(is_beyond(self->data + BASE));
	EXPECT_TRUE(is_beyond(self->data + 2 * BASE - 1));
	/* With the private copies of what is left. */
	EXPECT_TRUE(pattern_is(self->data, 0, BASE / 2, pattern_of(1)));
	EXPECT_TRUE(stored(variant->flags, self->fd, 0, BASE / 2, 1,
			   pattern_of(0)));
}

TEST_F(view, what_was_cut_comes_back_as_zeros)
{
	ASSERT_EQ(0, device_resize(self->fd, 2 * BASE));
	ASSERT_EQ(0, device_fill(self->fd, 0, 2 * BASE, pattern_of(2)));
	pattern_put(self->data, 0, BASE + PAGE, pattern_of(1));
	ASSERT_EQ(0, device_resize(self->fd, PAGE));
	ASSERT_EQ(0, device_resize(self->fd, 2 * BASE));
	EXPECT_EQ(PAGE, info_of(self->fd).resident);
	EXPECT_TRUE(device_has(self->fd, PAGE, 2 * BASE - PAGE, 0));
	/* Copies beyond the end are gone, those below it are not. */
	EXPECT_TRUE(pattern_is(self->data, 0, PAGE, pattern_of(1)));
	EXPECT_TRUE(bytes_are(self->data + PAGE, 0, 2 * BASE - PAGE));
	pattern_put(self->data, 0, 2 * BASE, pattern_of(3));
	EXPECT_TRUE(pattern_is(self->data, 0, 2 * BASE, pattern_of(3)));
	EXPECT_TRUE(stored(variant->flags, self->fd, 0, PAGE, 3,
			   pattern_of(2)));
	EXPECT_TRUE(stored(variant->flags, self->fd, PAGE, 2 * BASE - PAGE, 3,
			   0));
}

TEST_F(view, a_size_of_nothing_and_back)
{
	int i;

	for (i = 0; i < 3; i++) {
		self->data[0] = 0x55;
		ASSERT_EQ(0, device_resize(self->fd, 0));
		EXPECT_EQ(0, info_of(self->fd).resident);
		EXPECT_TRUE(is_beyond(self->data));
		ASSERT_EQ(0, device_resize(self->fd, PAGE));
		EXPECT_EQ(0, self->data[0]);
		EXPECT_TRUE(is_beyond(self->data + PAGE));
	}
}

TEST_F(view, a_mapping_of_what_is_yet_to_come)
{
	unsigned char *data = map(self->fd, BASE, RW, variant->flags, 2 * BASE);

	ASSERT_NE(NULL, data);
	EXPECT_TRUE(is_beyond(data));
	ASSERT_EQ(0, device_resize(self->fd, 2 * BASE));
	EXPECT_TRUE(is_beyond(data));
	ASSERT_EQ(0, device_resize(self->fd, 2 * BASE + PAGE));
	EXPECT_FALSE(fault_of_read(data).sig);
	EXPECT_TRUE(is_beyond(data + PAGE));
	ASSERT_EQ(0, device_resize(self->fd, 3 * BASE));
	pattern_put(data, 2 * BASE, BASE, pattern_of(1));
	EXPECT_TRUE(stored(variant->flags, self->fd, 2 * BASE, BASE, 1, 0));
	EXPECT_TRUE(device_has(self->fd, 0, BASE, pattern_of(0)));
	EXPECT_TRUE(pattern_is(self->data + 2 * BASE, 2 * BASE, BASE,
			       variant->flags == MAP_SHARED ?
			       pattern_of(1) : 0));
}

TEST_F(view, the_file_may_be_closed)
{
	ASSERT_EQ(0, close(self->fd));
	ASSERT_EQ(0, device_resize(self->other, 2 * BASE));
	pattern_put(self->data, 0, 2 * BASE, pattern_of(1));
	ASSERT_EQ(0, device_resize(self->other, PAGE));
	EXPECT_TRUE(is_beyond(self->data + PAGE));
	EXPECT_TRUE(pattern_is(self->data, 0, PAGE, pattern_of(1)));
	ASSERT_EQ(0, device_resize(self->other, BASE));
	EXPECT_TRUE(bytes_are(self->data + PAGE, 0, BASE - PAGE));
}

TEST_F(view, protection_holds_in_what_was_added)
{
	unsigned char *at = self->data + BASE;

	ASSERT_EQ(0, mprotect(self->data, self->max, PROT_READ));
	EXPECT_EQ(SIGBUS, fault_of_read(at).sig);
	ASSERT_EQ(0, device_resize(self->fd, 2 * BASE));
	EXPECT_EQ(0, fault_of_read(at).sig);
	EXPECT_EQ(SIGSEGV, fault_of_write(at, 1).sig);
	ASSERT_EQ(0, mprotect(self->data, self->max, PROT_NONE));
	EXPECT_EQ(SIGSEGV, fault_of_read(at).sig);
	ASSERT_EQ(0, mprotect(self->data, self->max, RW));
	pattern_put(at, BASE, BASE, pattern_of(1));
	EXPECT_TRUE(stored(variant->flags, self->fd, BASE, BASE, 1, 0));
}

TEST_F(view, it_can_be_moved_and_cut_up)
{
	unsigned char *to = map(-1, self->max, PROT_NONE,
				MAP_PRIVATE | MAP_ANONYMOUS, 0);

	ASSERT_NE(NULL, to);
	self->data[0] = 0x55;
	ASSERT_EQ(to, mremap(self->data, self->max, self->max,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_EQ(0x55, to[0]);
	EXPECT_TRUE(is_beyond(to + BASE));
	ASSERT_EQ(0, device_resize(self->fd, 2 * BASE));
	pattern_put(to, 0, 2 * BASE, pattern_of(1));
	EXPECT_TRUE(stored(variant->flags, self->fd, BASE, BASE, 1, 0));

	/* The tail goes, and a hole comes, within the size and beyond it. */
	ASSERT_EQ(to, mremap(to, self->max, 4 * BASE, 0));
	ASSERT_EQ(0, munmap(to + PAGE, PAGE));
	ASSERT_EQ(0, munmap(to + 3 * BASE, PAGE));
	ASSERT_EQ(0, device_resize(self->fd, PAGE));
	EXPECT_TRUE(is_beyond(to + 2 * PAGE));
	EXPECT_EQ(SIGSEGV, fault_of_read(to + PAGE).sig);
	ASSERT_EQ(0, device_resize(self->fd, 4 * BASE));
	EXPECT_TRUE(pattern_is(to, 0, PAGE, pattern_of(1)));
	EXPECT_TRUE(bytes_are(to + 2 * PAGE, 0, 3 * BASE - 2 * PAGE));
	EXPECT_TRUE(bytes_are(to + 3 * BASE + PAGE, 0, BASE - PAGE));
	EXPECT_EQ(SIGSEGV, fault_of_read(to + PAGE).sig);
	EXPECT_EQ(SIGSEGV, fault_of_read(to + 3 * BASE).sig);
}

struct watcher {
	unsigned char *data;
	int fd;
	int flags;
	struct gate go;
	struct gate done;
};

/* Sees the size go from BASE to 2 BASE, to PAGE, and to BASE. */
static int watch(void *arg)
{
	struct watcher *w = arg;
	unsigned char *data = w->data;

	if (!data)
		data = map(w->fd, info_of(w->fd).max_size, RW, w->flags, 0);
	if (!holds(data) || !holds(is_beyond(data + BASE)))
		return 1;
	data[0] = 0x55;
	gate_open(&w->done);

	gate_wait(&w->go);
	if (!holds(bytes_are(data + BASE, 0, BASE)) ||
	    !holds(is_beyond(data + 2 * BASE)))
		return 1;
	data[PAGE] = 0x66;
	gate_open(&w->done);

	gate_wait(&w->go);
	if (!holds(is_beyond(data + PAGE)) ||
	    !holds(is_beyond(data + 2 * BASE - 1)) || !holds(data[0] == 0x55))
		return 1;
	gate_open(&w->done);

	gate_wait(&w->go);
	return !(holds(bytes_are(data + PAGE, 0, BASE - PAGE)) &&
		 holds(data[0] == 0x55) && holds(is_beyond(data + BASE)));
}

static void step_watchers(struct watcher *w, int count)
{
	int i;

	for (i = 0; i < count; i++)
		gate_open(&w[i].go);
	for (i = 0; i < count; i++)
		gate_wait(&w[i].done);
}

/* One has the mapping from its parent, who drops it, the other makes one. */
TEST_F(view, every_process_sees_each_change)
{
	struct watcher w[] = {
		{ .data = self->data },
		{ .fd = self->fd, .flags = variant->flags },
	};
	pid_t pids[2];
	size_t i;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, gate_make(&w[i].go));
		ASSERT_EQ(0, gate_make(&w[i].done));
		pids[i] = child_start(watch, &w[i]);
		gate_wait(&w[i].done);
	}
	ASSERT_EQ(0, munmap(self->data, self->max));
	ASSERT_EQ(0, close(self->fd));
	ASSERT_EQ(0, device_resize(self->other, 2 * BASE));
	step_watchers(w, 2);
	ASSERT_EQ(0, device_resize(self->other, PAGE));
	step_watchers(w, 2);
	EXPECT_EQ(PAGE, info_of(self->other).resident);
	ASSERT_EQ(0, device_resize(self->other, BASE));
	for (i = 0; i < 2; i++) {
		gate_open(&w[i].go);
		EXPECT_EQ(0, child_wait(pids[i]));
	}
}

static int shrink_and_grow(void *arg)
{
	unsigned char *data = arg;
	int fd = device_open(O_RDWR, DEMAND);

	return !(holds(fd >= 0) && holds(!fault_of_write(data + BASE, 1).sig) &&
		 holds(is_beyond(data + 2 * BASE)) &&
		 holds(!device_resize(fd, PAGE)) &&
		 holds(is_beyond(data + PAGE)) &&
		 holds(!device_resize(fd, 2 * BASE)) &&
		 holds(bytes_are(data + PAGE, 0, 2 * BASE - PAGE)));
}

TEST_F(view, a_child_born_after_growth_shrinks_for_its_parent)
{
	ASSERT_EQ(0, device_resize(self->fd, 2 * BASE));
	pattern_put(self->data, 0, 2 * BASE, pattern_of(1));
	EXPECT_EQ(0, child_run(shrink_and_grow, self->data));
	EXPECT_TRUE(pattern_is(self->data, 0, PAGE, pattern_of(1)));
	EXPECT_TRUE(bytes_are(self->data + PAGE, 0, 2 * BASE - PAGE));
}

/* The buffer's and the copies, while the mapping lives. */
TEST_F_TIMEOUT(view, shrinking_gives_memory_back, 120)
{
	size_t frees = variant->flags == MAP_SHARED ? LARGE : 2 * LARGE;
	unsigned long before;
	size_t at;

	ASSERT_EQ(0, device_resize(self->fd, LARGE));
	ASSERT_EQ(0, device_fill(self->fd, 0, LARGE, pattern_of(1)));
	munmap(self->data, self->max);
	self->data = map(self->fd, self->max, RW, variant->flags, 0);
	ASSERT_NE(NULL, self->data);
	for (at = 0; at < LARGE; at += PAGE)
		self->data[at]++;
	EXPECT_EQ(LARGE, info_of(self->fd).resident);
	before = free_memory();
	ASSERT_EQ(0, device_resize(self->fd, BASE));
	EXPECT_EQ(BASE, info_of(self->fd).resident);
	EXPECT_LT(before + frees - LARGE / 8, free_memory());
	EXPECT_TRUE(is_beyond(self->data + BASE));
	EXPECT_EQ((unsigned char)(pattern_of(1) + 1), self->data[0]);
}

/* Private and by frame number: for the privileged, in consecutive frames. */
FIXTURE(frames) {
	int fd;
	unsigned char *own;
};

FIXTURE_SETUP(frames)
{
	self->fd = device_open(O_RDWR, EAGER);
	ASSERT_LE(0, self->fd);
	if (info_of(self->fd).max_size < LARGE)
		SKIP(return, "needs a max_size of 32M");
	ASSERT_EQ(0, start_anew(self->fd));
	/* One page always is consecutive. */
	self->own = map(self->fd, PAGE, RW, MAP_PRIVATE, BASE - PAGE);
	ASSERT_NE(NULL, self->own);
	ASSERT_TRUE(vma_has(self->own, "pf"));
}

FIXTURE_TEARDOWN(frames)
{
	close(self->fd);
}

TEST_F(frames, a_page_that_was_cut_is_sigbus_and_then_zeros)
{
	EXPECT_TRUE(pattern_is(self->own, BASE - PAGE, PAGE, pattern_of(0)));
	ASSERT_EQ(0, device_resize(self->fd, BASE - PAGE));
	EXPECT_EQ(BASE - PAGE, info_of(self->fd).resident);
	EXPECT_TRUE(is_beyond(self->own));
	ASSERT_EQ(0, device_resize(self->fd, BASE));
	EXPECT_TRUE(bytes_are(self->own, 0, PAGE));
	pattern_put(self->own, BASE - PAGE, PAGE, pattern_of(1));
	EXPECT_TRUE(pattern_is(self->own, BASE - PAGE, PAGE, pattern_of(1)));
	EXPECT_TRUE(device_has(self->fd, BASE - PAGE, PAGE, 0));
}

TEST_F(frames, a_copy_that_was_cut_is_sigbus_and_then_zeros)
{
	pattern_put(self->own, BASE - PAGE, PAGE, pattern_of(1));
	ASSERT_EQ(0, device_resize(self->fd, PAGE));
	EXPECT_TRUE(is_beyond(self->own));
	ASSERT_EQ(0, device_resize(self->fd, 2 * BASE));
	EXPECT_TRUE(bytes_are(self->own, 0, PAGE));
	EXPECT_TRUE(device_has(self->fd, PAGE, 2 * BASE - PAGE, 0));
}

TEST_F(frames, what_is_written_before_the_next_touch_is_seen)
{
	ASSERT_EQ(0, device_resize(self->fd, PAGE));
	ASSERT_EQ(0, device_resize(self->fd, 2 * BASE));
	ASSERT_EQ(0, device_fill(self->fd, 0, 2 * BASE, pattern_of(2)));
	EXPECT_TRUE(pattern_is(self->own, BASE - PAGE, PAGE, pattern_of(2)));
	pattern_put(self->own, BASE - PAGE, PAGE, pattern_of(1));
	EXPECT_TRUE(pattern_is(self->own, BASE - PAGE, PAGE, pattern_of(1)));
	EXPECT_TRUE(device_has(self->fd, 0, 2 * BASE, pattern_of(2)));
}

TEST_F(frames, a_cut_elsewhere_changes_nothing)
{
	ASSERT_EQ(0, device_resize(self->fd, 2 * BASE));
	ASSERT_EQ(0, device_fill(self->fd, BASE, BASE, pattern_of(2)));
	ASSERT_EQ(0, device_resize(self->fd, BASE));
	EXPECT_TRUE(pattern_is(self->own, BASE - PAGE, PAGE, pattern_of(0)));
	pattern_put(self->own, BASE - PAGE, PAGE, pattern_of(1));
	ASSERT_EQ(0, device_resize(self->fd, 2 * BASE));
	ASSERT_EQ(0, device_resize(self->fd, BASE));
	EXPECT_TRUE(pattern_is(self->own, BASE - PAGE, PAGE, pattern_of(1)));
	EXPECT_TRUE(device_has(self->fd, 0, BASE, pattern_of(0)));
}

TEST_HARNESS_MAIN
