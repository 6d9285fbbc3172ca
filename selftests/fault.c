// SPDX-License-Identifier: GPL-2.0
/*
 * Bad access is a signal that says what and where, can be caught, and harms
 * nothing: the mapping works afterwards and the device is unchanged.
 */
#include "mmapdev_test.h"
#include "kselftest_harness.h"

FIXTURE(fault) {
	int fd;
	size_t size;
	size_t span;
	__u32 sum;
};

FIXTURE_VARIANT(fault) {
	__u32 mode;
};

FIXTURE_VARIANT_ADD(fault, demand) {
	.mode = DEMAND,
};

FIXTURE_VARIANT_ADD(fault, eager) {
	.mode = EAGER,
};

FIXTURE_SETUP(fault)
{
	self->fd = device_open(O_RDWR, variant->mode);
	ASSERT_LE(0, self->fd);
	self->size = size_of(self->fd);
	self->span = at_most(self->size, 4);
	ASSERT_EQ(0, device_fill(self->fd, 0, self->span, pattern_of(0)));
	self->sum = sum_of(self->fd, 0, self->span);
}

FIXTURE_TEARDOWN(fault)
{
	close(self->fd);
}

static void expect_fault(struct __test_metadata *_metadata, struct fault fault,
			 int sig, int code, void *addr)
{
	EXPECT_EQ(sig, fault.sig);
	EXPECT_EQ(code, fault.code);
	EXPECT_EQ(addr, fault.addr);
}

TEST_F(fault, a_write_to_a_read_only_mapping_is_sigsegv_and_survived)
{
	unsigned char *view = map(self->fd, self->span, PROT_READ, MAP_SHARED,
				  0);
	size_t at;
	int round;

	ASSERT_NE(NULL, view);
	for (round = 0; round < 3; round++) {
		for (at = 0; at < self->span; at += PAGE - 1)
			expect_fault(_metadata, fault_of_write(view + at, 1),
				     SIGSEGV, SEGV_ACCERR, view + at);
	}
	EXPECT_TRUE(pattern_is(view, 0, self->span, pattern_of(0)));
	EXPECT_EQ(self->sum, sum_of(self->fd, 0, self->span));
}

TEST_F(fault, a_write_through_a_read_only_file_is_sigsegv_and_survived)
{
	int fd = device_open(O_RDONLY, variant->mode);
	unsigned char *view;

	ASSERT_LE(0, fd);
	view = map(fd, self->span, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, view);
	expect_fault(_metadata, fault_of_write(view + 5, 1), SIGSEGV,
		     SEGV_ACCERR, view + 5);
	EXPECT_TRUE(pattern_is(view, 0, self->span, pattern_of(0)));
}

TEST_F(fault, a_write_to_a_read_only_private_mapping_is_sigsegv)
{
	unsigned char *view = map(self->fd, self->span, PROT_READ, MAP_PRIVATE,
				  0);

	ASSERT_NE(NULL, view);
	expect_fault(_metadata, fault_of_write(view + 5, 1), SIGSEGV,
		     SEGV_ACCERR, view + 5);
	EXPECT_TRUE(pattern_is(view, 0, self->span, pattern_of(0)));
}

TEST_F(fault, a_touch_of_a_mapping_without_rights_is_sigsegv)
{
	unsigned char *data = map(self->fd, self->span, PROT_NONE, MAP_SHARED,
				  0);

	ASSERT_NE(NULL, data);
	expect_fault(_metadata, fault_of_read(data + 7), SIGSEGV, SEGV_ACCERR,
		     data + 7);
	expect_fault(_metadata, fault_of_write(data + 7, 1), SIGSEGV,
		     SEGV_ACCERR, data + 7);
	ASSERT_EQ(0, mprotect(data, self->span, PROT_READ));
	EXPECT_TRUE(pattern_is(data, 0, self->span, pattern_of(0)));
}

TEST_F(fault, a_touch_outside_the_mapping_is_sigsegv_and_survived)
{
	unsigned char *room = map(-1, self->span + 2 * PAGE, PROT_NONE,
				  MAP_PRIVATE | MAP_ANONYMOUS, 0);
	unsigned char *data = room + PAGE;
	unsigned char *after = data + self->span;

	ASSERT_NE(NULL, room);
	ASSERT_EQ(0, munmap(room, self->span + 2 * PAGE));
	ASSERT_EQ(data, mmap(data, self->span, RW,
			     MAP_SHARED | MAP_FIXED_NOREPLACE, self->fd, 0));
	expect_fault(_metadata, fault_of_read(data - 1), SIGSEGV, SEGV_MAPERR,
		     data - 1);
	expect_fault(_metadata, fault_of_write(data - 1, 1), SIGSEGV,
		     SEGV_MAPERR, data - 1);
	expect_fault(_metadata, fault_of_read(after), SIGSEGV, SEGV_MAPERR,
		     after);
	expect_fault(_metadata, fault_of_write(after, 1), SIGSEGV, SEGV_MAPERR,
		     after);
	EXPECT_TRUE(pattern_is(data, 0, self->span, pattern_of(0)));
	data[self->span - 1] ^= 1;
	EXPECT_NE(self->sum, sum_of(self->fd, 0, self->span));
}

static struct {
	unsigned char *data;
	size_t span;
	int count;
} guarded;

static void unguard(int sig, siginfo_t *info, void *context)
{
	uintptr_t page = (uintptr_t)info->si_addr & ~(PAGE - 1);

	(void)context;
	if (sig != SIGSEGV || info->si_code != SEGV_ACCERR ||
	    (unsigned char *)page < guarded.data ||
	    (unsigned char *)page >= guarded.data + guarded.span)
		_exit(77);
	guarded.count++;
	if (mprotect((void *)page, PAGE, RW))
		_exit(78);
}

TEST_F(fault, a_handler_that_lifts_write_protection_goes_on)
{
	struct sigaction action = {
		.sa_sigaction = unguard,
		.sa_flags = SA_SIGINFO,
	};
	unsigned char *data = map(self->fd, self->span, PROT_READ, MAP_SHARED,
				  0);

	ASSERT_NE(NULL, data);
	guarded.data = data;
	guarded.span = self->span;
	guarded.count = 0;
	ASSERT_EQ(0, sigaction(SIGSEGV, &action, NULL));
	pattern_put(data, 0, self->span, pattern_of(1));
	pattern_put(data, 0, self->span, pattern_of(2));
	signal(SIGSEGV, SIG_DFL);
	EXPECT_EQ(self->span / PAGE, guarded.count);
	EXPECT_EQ(pattern_sum(0, self->span, pattern_of(2)),
		  sum_of(self->fd, 0, self->span));
}

TEST_F(fault, a_handler_that_lifts_protection_of_private_pages_goes_on)
{
	struct sigaction action = {
		.sa_sigaction = unguard,
		.sa_flags = SA_SIGINFO,
	};
	unsigned char *data = map(self->fd, self->span, PROT_READ, MAP_PRIVATE,
				  0);

	ASSERT_NE(NULL, data);
	guarded.data = data;
	guarded.span = self->span;
	guarded.count = 0;
	ASSERT_EQ(0, sigaction(SIGSEGV, &action, NULL));
	pattern_put(data, 0, self->span, pattern_of(3));
	signal(SIGSEGV, SIG_DFL);
	EXPECT_EQ(self->span / PAGE, guarded.count);
	EXPECT_TRUE(pattern_is(data, 0, self->span, pattern_of(3)));
	EXPECT_EQ(self->sum, sum_of(self->fd, 0, self->span));
}

static int child_segfaults(void *arg)
{
	*(char *)arg = 1;
	return 0;
}

TEST_F(fault, a_signal_not_caught_ends_that_process_only)
{
	unsigned char *view = map(self->fd, self->span, PROT_READ, MAP_SHARED,
				  0);

	ASSERT_NE(NULL, view);
	EXPECT_EQ(-SIGSEGV, child_run(child_segfaults, view));
	EXPECT_TRUE(pattern_is(view, 0, self->span, pattern_of(0)));
	EXPECT_EQ(self->sum, sum_of(self->fd, 0, self->span));
}

TEST_F(fault, a_system_call_on_a_read_only_mapping_is_efault)
{
	unsigned char *view = map(self->fd, self->span, PROT_READ, MAP_SHARED,
				  0);
	int fds[2];

	ASSERT_NE(NULL, view);
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(4, write(fds[1], "abcd", 4));
	EXPECT_EQ(-1, read(fds[0], view, 4));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(self->sum, sum_of(self->fd, 0, self->span));
}

/*
 * Only a demand mapping can reach beyond the end of the device: mmap refuses
 * to, mremap does not.
 */
FIXTURE(beyond) {
	int fd;
	size_t size;
	unsigned char *last;
	unsigned char *end;
};

FIXTURE_VARIANT(beyond) {
	int flags;
};

FIXTURE_VARIANT_ADD(beyond, shared) {
	.flags = MAP_SHARED,
};

FIXTURE_VARIANT_ADD(beyond, private) {
	.flags = MAP_PRIVATE,
};

FIXTURE_SETUP(beyond)
{
	self->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	self->size = size_of(self->fd);
	ASSERT_EQ(0, device_fill(self->fd, self->size - PAGE, PAGE,
				 pattern_of(0)));
	self->last = map(self->fd, PAGE, RW, variant->flags, self->size - PAGE);
	ASSERT_NE(NULL, self->last);
	self->last = mremap(self->last, PAGE, 3 * PAGE, MREMAP_MAYMOVE);
	ASSERT_NE(MAP_FAILED, self->last);
	self->end = self->last + PAGE;
}

FIXTURE_TEARDOWN(beyond)
{
	close(self->fd);
}

TEST_F(beyond, a_touch_beyond_the_end_is_sigbus_and_survived)
{
	int round;

	for (round = 0; round < 20; round++) {
		expect_fault(_metadata, fault_of_read(self->end), SIGBUS,
			     BUS_ADRERR, self->end);
		expect_fault(_metadata, fault_of_write(self->end + 9, 1),
			     SIGBUS, BUS_ADRERR, self->end + 9);
		expect_fault(_metadata, fault_of_read(self->end + 2 * PAGE - 1),
			     SIGBUS, BUS_ADRERR, self->end + 2 * PAGE - 1);
		EXPECT_EQ(0, fault_of_read(self->end - 1).sig);
	}
	EXPECT_TRUE(pattern_is(self->last, 0, PAGE, pattern_of(0)));
	pattern_put(self->last, 0, PAGE, pattern_of(1));
	EXPECT_TRUE(pattern_is(self->last, 0, PAGE, pattern_of(1)));
	EXPECT_EQ(pattern_sum(0, PAGE, pattern_of(variant->flags ==
						  MAP_SHARED)),
		  sum_of(self->fd, self->size - PAGE, PAGE));
}

TEST_F(beyond, a_system_call_beyond_the_end_is_efault)
{
	char byte = 1;
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	EXPECT_EQ(-1, write(fds[1], self->end, 1));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(1, write(fds[1], &byte, 1));
	EXPECT_EQ(-1, read(fds[0], self->end, 1));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pread(self->fd, self->end, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pwrite(self->fd, self->end, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_TRUE(pattern_is(self->last, 0, PAGE, pattern_of(0)));
}

static int child_touches(void *arg)
{
	return *(char *)arg == 1;
}

TEST_F(beyond, a_sigbus_not_caught_ends_that_process_only)
{
	EXPECT_EQ(-SIGBUS, child_run(child_touches, self->end));
	EXPECT_TRUE(pattern_is(self->last, 0, PAGE, pattern_of(0)));
}

TEST_F(beyond, populating_beyond_the_end_fails)
{
	EXPECT_EQ(-1, madvise(self->last, 3 * PAGE, MADV_POPULATE_READ));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, madvise(self->last, 3 * PAGE, MADV_POPULATE_WRITE));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_TRUE(pattern_is(self->last, 0, PAGE, pattern_of(0)));
}

TEST_F(beyond, msync_and_shrinking_beyond_the_end_work)
{
	EXPECT_EQ(0, msync(self->last, 3 * PAGE, MS_SYNC));
	EXPECT_EQ(0, msync(self->end, PAGE, MS_SYNC));
	EXPECT_EQ(self->last, mremap(self->last, 3 * PAGE, PAGE, 0));
	EXPECT_TRUE(pattern_is(self->last, 0, PAGE, pattern_of(0)));
}

TEST_HARNESS_MAIN
