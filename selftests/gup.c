// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel takes pages of a demand mapping by themselves: O_DIRECT to and
 * from a disk without a copy, vmsplice, process_vm_readv, ptrace, futexes.
 */
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#define DISK	"/dev/nvme0n1"
#define PAGES	16

FIXTURE(gup) {
	int fd;
	size_t span;
	unsigned char *data;
	unsigned char *copy;
};

FIXTURE_VARIANT(gup) {
	int flags;
};

FIXTURE_VARIANT_ADD(gup, shared) {
	.flags = MAP_SHARED,
};

FIXTURE_VARIANT_ADD(gup, private) {
	.flags = MAP_PRIVATE,
};

FIXTURE_SETUP(gup)
{
	self->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	self->span = at_most(size_of(self->fd), PAGES);
	ASSERT_EQ(0, device_fill(self->fd, 0, self->span, pattern_of(0)));
	ASSERT_EQ(0, fsync(self->fd));
	self->data = map(self->fd, self->span, RW, variant->flags, 0);
	ASSERT_NE(NULL, self->data);
	self->copy = malloc(self->span);
	ASSERT_NE(NULL, self->copy);
}

FIXTURE_TEARDOWN(gup)
{
	close(self->fd);
}

/* What the device holds after the mapping was written with a pattern. */
static __u32 sum_after(int flags, size_t length, __u64 pattern)
{
	return pattern_sum(0, length, flags == MAP_SHARED ? pattern :
			   pattern_of(0));
}

TEST_F(gup, o_direct_writes_a_mapping_to_disk)
{
	int direct = open(DISK, O_RDWR | O_DIRECT | O_CLOEXEC);
	int disk = open(DISK, O_RDONLY | O_CLOEXEC);

	if (direct < 0)
		SKIP(return, "no scratch disk " DISK);
	/* First pages that were not touched yet, then written ones. */
	ASSERT_EQ(self->span, pwrite(direct, self->data, self->span, 0));
	ASSERT_EQ(self->span, pread(disk, self->copy, self->span, 0));
	EXPECT_TRUE(pattern_is(self->copy, 0, self->span, pattern_of(0)));
	EXPECT_EQ(0, info_of(self->fd).dirty);

	pattern_put(self->data, 0, self->span, pattern_of(1));
	ASSERT_EQ(self->span, pwrite(direct, self->data, self->span, 0));
	ASSERT_EQ(self->span, pread(disk, self->copy, self->span, 0));
	EXPECT_TRUE(pattern_is(self->copy, 0, self->span, pattern_of(1)));
}

TEST_F(gup, o_direct_reads_from_disk_into_a_mapping)
{
	int direct = open(DISK, O_RDWR | O_DIRECT | O_CLOEXEC);
	int disk = open(DISK, O_RDWR | O_CLOEXEC);

	if (direct < 0)
		SKIP(return, "no scratch disk " DISK);
	pattern_put(self->copy, 0, self->span, pattern_of(2));
	ASSERT_EQ(self->span, pwrite(disk, self->copy, self->span, 0));
	ASSERT_EQ(0, fsync(disk));
	ASSERT_EQ(self->span, pread(direct, self->data, self->span, 0));
	EXPECT_TRUE(pattern_is(self->data, 0, self->span, pattern_of(2)));
	EXPECT_EQ(sum_after(variant->flags, self->span, pattern_of(2)),
		  sum_of(self->fd, 0, self->span));
	EXPECT_EQ(variant->flags == MAP_SHARED ? self->span : 0,
		  info_of(self->fd).dirty);
}

TEST_F(gup, an_o_direct_read_dirties_only_its_pages)
{
	int direct = open(DISK, O_RDWR | O_DIRECT | O_CLOEXEC);
	size_t dirty = variant->flags == MAP_SHARED ? PAGE : 0;
	int i;

	if (direct < 0)
		SKIP(return, "no scratch disk " DISK);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(512, pread(direct, self->data + self->span - 512, 512,
				     0));
		EXPECT_EQ(dirty, info_of(self->fd).dirty);
		ASSERT_EQ(0, fsync(self->fd));
		EXPECT_EQ(0, info_of(self->fd).dirty);
	}
}

TEST_F(gup, vmsplice_gives_the_pages_to_a_pipe)
{
	struct iovec iov = {
		.iov_base = self->data,
		.iov_len = self->span,
	};
	size_t at = 0;
	ssize_t count;
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(self->span, vmsplice(fds[1], &iov, 1, SPLICE_F_NONBLOCK));
	while (at < self->span) {
		count = read(fds[0], self->copy + at, self->span - at);
		ASSERT_LT(0, count);
		at += count;
	}
	EXPECT_TRUE(pattern_is(self->copy, 0, self->span, pattern_of(0)));
	EXPECT_EQ(0, info_of(self->fd).dirty);
}

TEST_F(gup, vmsplice_gives_the_memory_and_not_a_copy)
{
	struct iovec iov = {
		.iov_base = self->data,
		.iov_len = PAGE,
	};
	int fds[2];

	if (variant->flags == MAP_PRIVATE)
		memset(self->data, 0, 1);
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(PAGE, vmsplice(fds[1], &iov, 1, 0));
	pattern_put(self->data, 0, PAGE, pattern_of(3));
	ASSERT_EQ(PAGE, read(fds[0], self->copy, PAGE));
	EXPECT_TRUE(pattern_is(self->copy, 0, PAGE, pattern_of(3)));
}

TEST_F(gup, vmsplice_fills_a_mapping_from_a_pipe)
{
	struct iovec iov = {
		.iov_base = self->data,
		.iov_len = PAGE,
	};
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	pattern_put(self->copy, 0, PAGE, pattern_of(4));
	ASSERT_EQ(PAGE, write(fds[1], self->copy, PAGE));
	ASSERT_EQ(PAGE, vmsplice(fds[0], &iov, 1, 0));
	EXPECT_TRUE(pattern_is(self->data, 0, PAGE, pattern_of(4)));
	EXPECT_EQ(sum_after(variant->flags, PAGE, pattern_of(4)),
		  sum_of(self->fd, 0, PAGE));
}

static int wait_for_gate(void *arg)
{
	gate_wait(arg);
	return 0;
}

TEST_F(gup, process_vm_readv_reads_a_mapping)
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
	EXPECT_EQ(self->span, process_vm_readv(pid, &here, 1, &there, 1, 0));
	EXPECT_TRUE(pattern_is(self->copy, 0, self->span, pattern_of(0)));
	EXPECT_EQ(0, info_of(self->fd).dirty);
	gate_open(&gate);
	EXPECT_EQ(0, child_wait(pid));
}

TEST_F(gup, process_vm_writev_writes_a_mapping)
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

	pattern_put(self->copy, 0, self->span, pattern_of(5));
	ASSERT_EQ(0, gate_make(&gate));
	pid = child_start(wait_for_gate, &gate);
	EXPECT_EQ(self->span, process_vm_writev(pid, &here, 1, &there, 1, 0));
	EXPECT_EQ(sum_after(variant->flags, self->span, pattern_of(5)),
		  sum_of(self->fd, 0, self->span));
	EXPECT_TRUE(pattern_is(self->data, 0, self->span,
			       pattern_of(variant->flags == MAP_SHARED ?
					  5 : 0)));
	EXPECT_EQ(variant->flags == MAP_SHARED ? self->span : 0,
		  info_of(self->fd).dirty);
	gate_open(&gate);
	EXPECT_EQ(0, child_wait(pid));
}

TEST_F(gup, ptrace_reads_and_writes_a_mapping)
{
	struct gate gate;
	pid_t pid;
	long word;

	ASSERT_EQ(0, gate_make(&gate));
	pid = child_start(wait_for_gate, &gate);
	ASSERT_EQ(0, ptrace(PTRACE_ATTACH, pid, NULL, NULL));
	ASSERT_EQ(pid, waitpid(pid, NULL, __WALL));
	errno = 0;
	word = ptrace(PTRACE_PEEKDATA, pid, self->data, NULL);
	EXPECT_EQ(0, errno);
	EXPECT_TRUE(pattern_is(&word, 0, sizeof(word), pattern_of(0)));
	EXPECT_EQ(0, ptrace(PTRACE_POKEDATA, pid, self->data, 0x1234));
	EXPECT_EQ(0x1234, ptrace(PTRACE_PEEKDATA, pid, self->data, NULL));
	EXPECT_EQ(variant->flags == MAP_SHARED,
		  sum_of(self->fd, 0, 8) != pattern_sum(0, 8, pattern_of(0)));
	EXPECT_EQ(0, ptrace(PTRACE_DETACH, pid, NULL, NULL));
	gate_open(&gate);
	EXPECT_EQ(0, child_wait(pid));
}

TEST_F(gup, proc_self_mem_reads_and_writes_a_mapping)
{
	int mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	off_t at = (uintptr_t)self->data;

	ASSERT_LE(0, mem);
	ASSERT_EQ(PAGE, pread(mem, self->copy, PAGE, at));
	EXPECT_TRUE(pattern_is(self->copy, 0, PAGE, pattern_of(0)));
	pattern_put(self->copy, 0, PAGE, pattern_of(6));
	ASSERT_EQ(PAGE, pwrite(mem, self->copy, PAGE, at));
	EXPECT_TRUE(pattern_is(self->data, 0, PAGE, pattern_of(6)));
	EXPECT_EQ(sum_after(variant->flags, PAGE, pattern_of(6)),
		  sum_of(self->fd, 0, PAGE));
}

TEST_HARNESS_MAIN
