// SPDX-License-Identifier: GPL-2.0
/*
 * An eager mapping has every page in place from the start, and pays for it:
 * the kernel sees frames and no pages. What it then refuses it refuses with
 * an errno, and goes on working.
 */
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#define DISK	"/dev/nvme0n1"
#define PAGES	8

FIXTURE(eager) {
	int fd;
	size_t size;
	size_t span;
	unsigned char *data;
	unsigned char *copy;
};

FIXTURE_SETUP(eager)
{
	self->fd = device_open(O_RDWR, EAGER);
	ASSERT_LE(0, self->fd);
	self->size = size_of(self->fd);
	self->span = at_most(self->size, PAGES);
	ASSERT_EQ(0, device_fill(self->fd, 0, self->span, pattern_of(0)));
	self->data = map(self->fd, self->span, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, self->data);
	self->copy = malloc(self->span);
	ASSERT_NE(NULL, self->copy);
}

/* Whatever was refused: it is still the same memory. */
FIXTURE_TEARDOWN(eager)
{
	EXPECT_EQ(crc32c(self->data, self->span),
		  sum_of(self->fd, 0, self->span));
	pattern_put(self->data, 0, self->span, pattern_of(9));
	EXPECT_EQ(pattern_sum(0, self->span, pattern_of(9)),
		  sum_of(self->fd, 0, self->span));
}

TEST_F(eager, it_is_mapped_by_frame_number)
{
	EXPECT_TRUE(vma_has(self->data, "pf"));
	EXPECT_TRUE(vma_has(self->data, "de"));
	EXPECT_TRUE(vma_has(self->data, "dd"));
}

static long faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt + usage.ru_majflt;
}

TEST_F(eager, a_touch_never_faults)
{
	unsigned char *data = map(self->fd, self->span, RW, MAP_SHARED, 0);
	size_t at;
	long before;

	ASSERT_NE(NULL, data);
	/* Twice, as the first round faults in what this code itself needs. */
	before = faults();
	before = faults();
	for (at = 0; at < self->span; at += PAGE)
		__atomic_fetch_add(data + at, 1, __ATOMIC_SEQ_CST);
	EXPECT_EQ(before, faults());
	ASSERT_EQ(0, fsync(self->fd));
	before = faults();
	for (at = 0; at < self->span; at += PAGE)
		__atomic_fetch_add(data + at, 1, __ATOMIC_SEQ_CST);
	EXPECT_EQ(before, faults());
}

TEST_F(eager, it_can_be_any_part_of_the_device)
{
	size_t from;

	for (from = 0; from < self->span; from += PAGE) {
		unsigned char *part = map(self->fd, self->span - from, RW,
					  MAP_SHARED, from);

		ASSERT_NE(NULL, part);
		EXPECT_TRUE(vma_has(part, "pf"));
		part[0] = from / PAGE + 1;
		EXPECT_EQ(from / PAGE + 1, self->data[from]);
		EXPECT_EQ(0, munmap(part, self->span - from));
	}
}

TEST_F(eager, growing_by_mremap_is_efault)
{
	EXPECT_EQ(MAP_FAILED, mremap(self->data, self->span, self->span + PAGE,
				     MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(MAP_FAILED, mremap(self->data, self->span, self->span + PAGE,
				     0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(MAP_FAILED, mremap(self->data, 0, self->span,
				     MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
}

TEST_F(eager, mremap_dontunmap_is_einval)
{
	EXPECT_EQ(MAP_FAILED, mremap(self->data, self->span, self->span,
				     MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(eager, madvise_of_pages_is_einval)
{
	const int advice[] = {
		MADV_DONTNEED, MADV_POPULATE_READ, MADV_POPULATE_WRITE,
		MADV_COLD, MADV_PAGEOUT, MADV_FREE,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(advice); i++) {
		EXPECT_EQ(-1, madvise(self->data, self->span, advice[i]))
			TH_LOG("advice %d", advice[i]);
		EXPECT_EQ(EINVAL, errno);
	}
	EXPECT_TRUE(pattern_is(self->data, 0, self->span, pattern_of(0)));
}

static int wait_for_gate(void *arg)
{
	gate_wait(arg);
	return 0;
}

TEST_F(eager, process_vm_readv_and_writev_are_efault)
{
	struct iovec here = {
		.iov_base = self->copy,
		.iov_len = self->span,
	};
	struct iovec there = {
		.iov_base = self->data,
		.iov_len = self->span,
	};
	struct gate gate;
	pid_t pid;

	ASSERT_EQ(0, gate_make(&gate));
	pid = child_start(wait_for_gate, &gate);
	EXPECT_EQ(-1, process_vm_readv(pid, &here, 1, &there, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, process_vm_writev(pid, &here, 1, &there, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	gate_open(&gate);
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_TRUE(pattern_is(self->data, 0, self->span, pattern_of(0)));
}

TEST_F(eager, o_direct_is_efault)
{
	int direct = open(DISK, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (direct < 0)
		SKIP(return, "no scratch disk " DISK);
	EXPECT_EQ(-1, pwrite(direct, self->data, PAGE, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pread(direct, self->data, PAGE, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_TRUE(pattern_is(self->data, 0, self->span, pattern_of(0)));
}

TEST_F(eager, vmsplice_is_efault)
{
	struct iovec iov = {
		.iov_base = self->data,
		.iov_len = PAGE,
	};
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	EXPECT_EQ(-1, vmsplice(fds[1], &iov, 1, 0));
	EXPECT_EQ(EFAULT, errno);
}

TEST_F(eager, plain_reads_and_writes_of_it_work)
{
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(PAGE, write(fds[1], self->data, PAGE));
	pattern_put(self->data, 0, PAGE, pattern_of(1));
	ASSERT_EQ(PAGE, read(fds[0], self->data, PAGE));
	EXPECT_TRUE(pattern_is(self->data, 0, PAGE, pattern_of(0)));
}

TEST_F(eager, a_shared_futex_is_efault)
{
	struct timespec soon = {
		.tv_nsec = 1000000,
	};
	int *word = (int *)self->data;

	*word = 0;
	EXPECT_EQ(-1, syscall(SYS_futex, word, FUTEX_WAIT, 0, &soon, NULL, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0));
	EXPECT_EQ(EFAULT, errno);
}

TEST_F(eager, a_shared_futex_of_a_demand_mapping_works)
{
	struct timespec soon = {
		.tv_nsec = 1000000,
	};
	int *word;

	ASSERT_EQ(0, device_set_mode(self->fd, DEMAND));
	word = map(self->fd, PAGE, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, word);
	*word = 0;
	EXPECT_EQ(-1, syscall(SYS_futex, word, FUTEX_WAIT, 0, &soon, NULL, 0));
	EXPECT_EQ(ETIMEDOUT, errno);
	EXPECT_EQ(0, syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0));
}

TEST_F(eager, userfaultfd_is_einval)
{
	struct uffdio_api api = {
		.api = UFFD_API,
	};
	struct uffdio_register range = {
		.range.start = (uintptr_t)self->data,
		.range.len = self->span,
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (uffd < 0)
		SKIP(return, "no userfaultfd in this kernel");
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_API, &api));
	EXPECT_EQ(-1, ioctl(uffd, UFFDIO_REGISTER, &range));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(eager, locking_it_does_nothing_and_no_harm)
{
	void *locked;

	EXPECT_EQ(0, mlock(self->data, self->span));
	EXPECT_EQ(0, munlock(self->data, self->span));
	EXPECT_EQ(0, mlockall(MCL_CURRENT));
	EXPECT_EQ(0, munlockall());
	locked = map(self->fd, self->span, RW, MAP_SHARED | MAP_LOCKED, 0);
	EXPECT_NE(NULL, locked);
	EXPECT_TRUE(pattern_is(locked, 0, self->span, pattern_of(0)));
}

TEST_F(eager, a_mapping_that_is_refused_leaves_nothing_behind)
{
	__u64 dirty;

	ASSERT_EQ(0, munmap(self->data, self->span));
	ASSERT_EQ(0, fsync(self->fd));
	dirty = info_of(self->fd).dirty;
	EXPECT_EQ(0, dirty);
	EXPECT_EQ(NULL, map(self->fd, self->size + PAGE, RW, MAP_SHARED, 0));
	EXPECT_EQ(ENXIO, errno);
	EXPECT_EQ(NULL, map(self->fd, PAGE, RW | PROT_EXEC, MAP_SHARED, 0));
	EXPECT_EQ(0, info_of(self->fd).dirty);
	self->data = map(self->fd, self->span, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, self->data);
}

TEST_F(eager, the_whole_device_can_be_mapped)
{
	unsigned char *all = map(self->fd, self->size, RW, MAP_SHARED, 0);

	ASSERT_NE(NULL, all);
	EXPECT_TRUE(vma_has(all, "pf"));
	EXPECT_GE(info_of(self->fd).resident, self->size);
	EXPECT_EQ(self->size, info_of(self->fd).dirty);
	EXPECT_TRUE(pattern_is(all, 0, self->span, pattern_of(0)));
	EXPECT_EQ(0, munmap(all, self->size));
}

/*
 * Private and eager: by frame number only for who may know frame numbers, and
 * only where the frames follow each other.
 */
FIXTURE(eager_private) {
	int fd;
	size_t size;
	size_t span;
};

FIXTURE_SETUP(eager_private)
{
	self->fd = device_open(O_RDWR, EAGER);
	ASSERT_LE(0, self->fd);
	self->size = size_of(self->fd);
	self->span = at_most(self->size, PAGES);
	ASSERT_EQ(0, device_fill(self->fd, 0, self->span, pattern_of(0)));
}

FIXTURE_TEARDOWN(eager_private)
{
	EXPECT_EQ(pattern_sum(0, self->span, pattern_of(0)),
		  sum_of(self->fd, 0, self->span));
}

TEST_F(eager_private, one_page_is_mapped_by_frame_number)
{
	unsigned char *own;
	size_t from;

	for (from = 0; from < self->span; from += PAGE) {
		own = map(self->fd, PAGE, RW, MAP_PRIVATE, from);
		ASSERT_NE(NULL, own);
		EXPECT_TRUE(vma_has(own, "pf"));
		EXPECT_TRUE(pattern_is(own, 0, PAGE, pattern_of(0)));
		own[5] ^= 1;
	}
}

TEST_F(eager_private, any_range_is_mapped_one_way_or_the_other)
{
	unsigned char *own;
	size_t from, at;

	for (from = 0; from < self->span; from += PAGE) {
		own = map(self->fd, self->span - from, RW, MAP_PRIVATE, from);
		ASSERT_NE(NULL, own);
		EXPECT_TRUE(pattern_is(own, 0, self->span - from,
				       pattern_of(0)));
		for (at = 0; at < self->span - from; at += PAGE)
			own[at] ^= 0xff;
		EXPECT_FALSE(munmap(own, self->span - from));
	}
}

TEST_F(eager_private, the_whole_device_can_be_mapped)
{
	unsigned char *own = map(self->fd, self->size, RW, MAP_PRIVATE, 0);

	ASSERT_NE(NULL, own);
	EXPECT_TRUE(pattern_is(own, 0, self->span, pattern_of(0)));
	own[0] ^= 1;
	own[self->size - 1] ^= 1;
}

/* As somebody who may not know it: no frame number where an offset belongs. */
static int offsets_are_true(void *arg)
{
	int fd = *(int *)arg;
	size_t size = size_of(fd);
	size_t span = at_most(size, PAGES);
	const int prot[] = { PROT_NONE, PROT_READ, RW };
	unsigned char *own;
	struct vma vma;
	size_t from, i;

	if (!holds(!become_nobody()))
		return 1;
	for (from = 0; from < span; from += PAGE) {
		for (i = 0; i < ARRAY_SIZE(prot); i++) {
			own = map(fd, PAGE, prot[i], MAP_PRIVATE, from);
			if (!holds(own) || !holds(!vma_at(own, &vma)) ||
			    !holds(vma.offset == from) ||
			    !holds(!vma_has(own, "pf")))
				return 1;
			munmap(own, PAGE);
		}
	}
	own = map(fd, span, RW, MAP_PRIVATE, 0);
	if (!holds(own))
		return 1;
	own[0] ^= 1;
	own[span - 1] ^= 1;
	return !(holds(!vma_at(own, &vma)) && holds(vma.offset == 0));
}

TEST_F(eager_private, the_unprivileged_never_see_a_frame_number)
{
	EXPECT_EQ(0, child_run(offsets_are_true, &self->fd));
}

static int shared_offsets_are_true(void *arg)
{
	int fd = *(int *)arg;
	size_t span = at_most(size_of(fd), PAGES);
	unsigned char *data;
	struct vma vma;
	size_t from;

	if (!holds(!become_nobody()))
		return 1;
	for (from = 0; from < span; from += PAGE) {
		data = map(fd, PAGE, RW, MAP_SHARED, from);
		if (!holds(data) || !holds(!vma_at(data, &vma)) ||
		    !holds(vma.offset == from) || !holds(vma_has(data, "pf")))
			return 1;
	}
	return 0;
}

TEST_F(eager_private, a_shared_mapping_shows_its_true_offset_to_all)
{
	EXPECT_EQ(0, child_run(shared_offsets_are_true, &self->fd));
}

static int writes_its_copy(void *arg)
{
	unsigned char *own = arg;

	if (!holds(own[0] == (unsigned char)pattern_of(0)))
		return 1;
	own[0] ^= 1;
	return 0;
}

TEST_F(eager_private, a_fork_before_the_first_write_works)
{
	unsigned char *own = map(self->fd, PAGE, RW, MAP_PRIVATE, 0);

	ASSERT_NE(NULL, own);
	EXPECT_EQ(0, child_run(writes_its_copy, own));
	EXPECT_TRUE(pattern_is(own, 0, PAGE, pattern_of(0)));
}

static int sees_the_copy(void *arg)
{
	return !holds(*(unsigned char *)arg == 0x42);
}

static int does_nothing(void *arg)
{
	(void)arg;
	return 0;
}

/* x86 would look its first frame up in the page table, and find the copy. */
TEST_F(eager_private, a_fork_after_the_first_write_works)
{
	unsigned char *own = map(self->fd, PAGE, RW, MAP_PRIVATE, 0);

	ASSERT_NE(NULL, own);
	EXPECT_TRUE(vma_has(own, "pf"));
	own[0] = 0x42;
	EXPECT_EQ(0, child_run(sees_the_copy, own));
	EXPECT_EQ(0x42, own[0]);
	ASSERT_EQ(0, munmap(own, PAGE));
	EXPECT_EQ(0, child_run(does_nothing, NULL));
}

TEST_F(eager_private, madv_dontneed_is_einval_and_keeps_the_copy)
{
	unsigned char *own = map(self->fd, PAGE, RW, MAP_PRIVATE, 0);

	ASSERT_NE(NULL, own);
	own[0] = 0x42;
	EXPECT_EQ(-1, madvise(own, PAGE, MADV_DONTNEED));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0x42, own[0]);
}

TEST_HARNESS_MAIN
