// SPDX-License-Identifier: GPL-2.0
/*
 * What becomes of a mapping: its file is closed, its process forks, parts of
 * it are unmapped, protected, moved, shrunk or grown.
 */
#include <sys/socket.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#define PAGES	8

FIXTURE(lifetime) {
	int fd;
	size_t size;
	size_t span;
	unsigned char *data;
};

FIXTURE_VARIANT(lifetime) {
	__u32 mode;
};

FIXTURE_VARIANT_ADD(lifetime, demand) {
	.mode = DEMAND,
};

FIXTURE_VARIANT_ADD(lifetime, eager) {
	.mode = EAGER,
};

static void fill_pages(struct __test_metadata *_metadata, int fd, size_t span)
{
	size_t at;

	for (at = 0; at < span; at += PAGE)
		ASSERT_EQ(0, device_fill(fd, at, PAGE, pattern_of(at / PAGE)));
}

/* Page n of the device is at this address. */
static bool shows(const void *at, unsigned int n)
{
	return pattern_is(at, 0, PAGE, pattern_of(n));
}

FIXTURE_SETUP(lifetime)
{
	self->fd = device_open(O_RDWR, variant->mode);
	ASSERT_LE(0, self->fd);
	self->size = size_of(self->fd);
	self->span = at_most(self->size, PAGES);
	if (self->span < PAGES * PAGE)
		SKIP(return, "needs a device of %d pages", PAGES);
	fill_pages(_metadata, self->fd, self->span);
	self->data = map(self->fd, self->span, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, self->data);
}

FIXTURE_TEARDOWN(lifetime)
{
	close(self->fd);
}

TEST_F(lifetime, a_shared_mapping_outlives_close)
{
	int fd;

	ASSERT_EQ(0, close(self->fd));
	EXPECT_TRUE(shows(self->data, 0));
	pattern_put(self->data, 0, self->span, pattern_of(20));
	fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, fd);
	EXPECT_EQ(pattern_sum(0, self->span, pattern_of(20)),
		  sum_of(fd, 0, self->span));
	ASSERT_EQ(0, device_fill(fd, 0, self->span, pattern_of(21)));
	EXPECT_TRUE(pattern_is(self->data, 0, self->span, pattern_of(21)));
	EXPECT_EQ(0, msync(self->data, self->span, MS_SYNC));
}

TEST_F(lifetime, a_private_mapping_outlives_close)
{
	unsigned char *own = map(self->fd, self->span, RW, MAP_PRIVATE, 0);

	ASSERT_NE(NULL, own);
	ASSERT_EQ(0, close(self->fd));
	own[0] = 0x55;
	EXPECT_EQ(0x55, own[0]);
	EXPECT_TRUE(shows(own + PAGE, 1));
	EXPECT_TRUE(shows(self->data, 0));
}

struct family {
	unsigned char *data;
	size_t span;
	int fd;
	struct gate parent;
	struct gate child;
};

static int child_shares(void *arg)
{
	struct family *family = arg;

	if (!holds(shows(family->data, 0)))
		return 1;
	pattern_put(family->data, 0, PAGE, pattern_of(30));
	gate_open(&family->child);
	gate_wait(&family->parent);
	return !holds(pattern_is(family->data + PAGE, 0, PAGE, pattern_of(31)));
}

TEST_F(lifetime, fork_inherits_a_shared_mapping)
{
	struct family family = {
		.data = self->data,
	};
	pid_t pid;

	ASSERT_EQ(0, gate_make(&family.parent));
	ASSERT_EQ(0, gate_make(&family.child));
	pid = child_start(child_shares, &family);
	gate_wait(&family.child);
	EXPECT_TRUE(pattern_is(self->data, 0, PAGE, pattern_of(30)));
	pattern_put(self->data + PAGE, 0, PAGE, pattern_of(31));
	gate_open(&family.parent);
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_EQ(pattern_sum(0, PAGE, pattern_of(30)),
		  sum_of(self->fd, 0, PAGE));
}

static int child_diverges(void *arg)
{
	struct family *family = arg;

	if (!holds(shows(family->data, 0)) ||
	    !holds(shows(family->data + PAGE, 1)))
		return 1;
	pattern_put(family->data, 0, PAGE, pattern_of(32));
	gate_open(&family->child);
	gate_wait(&family->parent);
	return !(holds(pattern_is(family->data, 0, PAGE, pattern_of(32))) &&
		 holds(shows(family->data + PAGE, 1)));
}

TEST_F(lifetime, fork_inherits_a_private_mapping)
{
	struct family family = {
		.data = map(self->fd, 2 * PAGE, RW, MAP_PRIVATE, 0),
	};
	pid_t pid;

	ASSERT_NE(NULL, family.data);
	EXPECT_TRUE(shows(family.data, 0));
	ASSERT_EQ(0, gate_make(&family.parent));
	ASSERT_EQ(0, gate_make(&family.child));
	pid = child_start(child_diverges, &family);
	gate_wait(&family.child);
	EXPECT_TRUE(shows(family.data, 0));
	pattern_put(family.data + PAGE, 0, PAGE, pattern_of(33));
	gate_open(&family.parent);
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_TRUE(shows(self->data, 0));
	EXPECT_TRUE(shows(self->data + PAGE, 1));
}

static int child_keeps(void *arg)
{
	struct family *family = arg;

	gate_wait(&family->parent);
	if (!holds(shows(family->data, 0)))
		return 1;
	pattern_put(family->data, 0, PAGE, pattern_of(34));
	return 0;
}

TEST_F(lifetime, a_forked_mapping_outlives_the_parents)
{
	struct family family = {
		.data = self->data,
	};
	pid_t pid;

	ASSERT_EQ(0, gate_make(&family.parent));
	pid = child_start(child_keeps, &family);
	ASSERT_EQ(0, munmap(self->data, self->span));
	gate_open(&family.parent);
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_EQ(pattern_sum(0, PAGE, pattern_of(34)),
		  sum_of(self->fd, 0, PAGE));
}

static int child_lacks(void *arg)
{
	return !holds(fault_of_read(arg).code == SEGV_MAPERR);
}

TEST_F(lifetime, madv_dontfork_keeps_a_mapping_from_the_child)
{
	ASSERT_EQ(0, madvise(self->data, self->span, MADV_DONTFORK));
	EXPECT_EQ(0, child_run(child_lacks, self->data));
	EXPECT_TRUE(shows(self->data, 0));
}

static void without_the_middle(struct __test_metadata *_metadata,
			       unsigned char *data)
{
	size_t middle;

	ASSERT_EQ(0, munmap(data + 2 * PAGE, 3 * PAGE));
	for (middle = 2; middle < 5; middle++) {
		struct fault fault = fault_of_read(data + middle * PAGE);

		EXPECT_EQ(SIGSEGV, fault.sig);
		EXPECT_EQ(SEGV_MAPERR, fault.code);
	}
	EXPECT_TRUE(shows(data, 0));
	EXPECT_TRUE(shows(data + PAGE, 1));
	EXPECT_TRUE(shows(data + 5 * PAGE, 5));
	EXPECT_TRUE(shows(data + 7 * PAGE, 7));
	pattern_put(data + PAGE, 0, PAGE, pattern_of(40));
	pattern_put(data + 5 * PAGE, 0, PAGE, pattern_of(41));
	EXPECT_TRUE(pattern_is(data + PAGE, 0, PAGE, pattern_of(40)));
	EXPECT_TRUE(pattern_is(data + 5 * PAGE, 0, PAGE, pattern_of(41)));
}

TEST_F(lifetime, munmap_of_the_middle_leaves_both_ends)
{
	without_the_middle(_metadata, self->data);
	EXPECT_EQ(pattern_sum(0, PAGE, pattern_of(40)),
		  sum_of(self->fd, PAGE, PAGE));
	EXPECT_EQ(pattern_sum(0, PAGE, pattern_of(41)),
		  sum_of(self->fd, 5 * PAGE, PAGE));
	EXPECT_EQ(pattern_sum(0, PAGE, pattern_of(3)),
		  sum_of(self->fd, 3 * PAGE, PAGE));
}

TEST_F(lifetime, munmap_of_the_middle_of_a_private_mapping_too)
{
	unsigned char *own = map(self->fd, self->span, RW, MAP_PRIVATE, 0);
	size_t at;

	ASSERT_NE(NULL, own);
	without_the_middle(_metadata, own);
	for (at = 0; at < self->span; at += PAGE)
		EXPECT_TRUE(shows(self->data + at, at / PAGE));
}

TEST_F(lifetime, a_hole_in_a_mapping_can_be_mapped_again)
{
	ASSERT_EQ(0, munmap(self->data + 2 * PAGE, PAGE));
	ASSERT_EQ(self->data + 2 * PAGE,
		  mmap(self->data + 2 * PAGE, PAGE, RW,
		       MAP_SHARED | MAP_FIXED_NOREPLACE, self->fd, 6 * PAGE));
	EXPECT_TRUE(shows(self->data + PAGE, 1));
	EXPECT_TRUE(shows(self->data + 2 * PAGE, 6));
	EXPECT_TRUE(shows(self->data + 3 * PAGE, 3));
	self->data[2 * PAGE] ^= 1;
	EXPECT_EQ(self->data[2 * PAGE], self->data[6 * PAGE]);
}

TEST_F(lifetime, munmap_of_either_end_leaves_the_rest)
{
	ASSERT_EQ(0, munmap(self->data, 2 * PAGE));
	ASSERT_EQ(0, munmap(self->data + 6 * PAGE, 2 * PAGE));
	EXPECT_EQ(SEGV_MAPERR, fault_of_read(self->data + PAGE).code);
	EXPECT_EQ(SEGV_MAPERR, fault_of_read(self->data + 6 * PAGE).code);
	EXPECT_TRUE(shows(self->data + 2 * PAGE, 2));
	EXPECT_TRUE(shows(self->data + 5 * PAGE, 5));
}

TEST_F(lifetime, mprotect_takes_writing_away_and_gives_it_back)
{
	struct fault fault;

	pattern_put(self->data, 0, PAGE, pattern_of(50));
	ASSERT_EQ(0, mprotect(self->data, self->span, PROT_READ));
	fault = fault_of_write(self->data + 9, 1);
	EXPECT_EQ(SIGSEGV, fault.sig);
	EXPECT_EQ(SEGV_ACCERR, fault.code);
	EXPECT_EQ(self->data + 9, fault.addr);
	EXPECT_TRUE(pattern_is(self->data, 0, PAGE, pattern_of(50)));
	ASSERT_EQ(0, mprotect(self->data, self->span, RW));
	pattern_put(self->data, 0, self->span, pattern_of(51));
	EXPECT_EQ(pattern_sum(0, self->span, pattern_of(51)),
		  sum_of(self->fd, 0, self->span));
}

TEST_F(lifetime, mprotect_takes_reading_away_and_gives_it_back)
{
	ASSERT_EQ(0, mprotect(self->data, self->span, PROT_NONE));
	EXPECT_EQ(SEGV_ACCERR, fault_of_read(self->data).code);
	EXPECT_EQ(SEGV_ACCERR, fault_of_write(self->data, 1).code);
	ASSERT_EQ(0, mprotect(self->data, self->span, PROT_READ));
	EXPECT_TRUE(shows(self->data, 0));
	EXPECT_TRUE(shows(self->data + 7 * PAGE, 7));
}

TEST_F(lifetime, mprotect_of_one_page_leaves_its_neighbours)
{
	ASSERT_EQ(0, mprotect(self->data + 3 * PAGE, PAGE, PROT_READ));
	EXPECT_EQ(0, fault_of_write(self->data + 3 * PAGE - 1, 1).sig);
	EXPECT_EQ(SEGV_ACCERR, fault_of_write(self->data + 3 * PAGE, 1).code);
	EXPECT_EQ(SEGV_ACCERR,
		  fault_of_write(self->data + 4 * PAGE - 1, 1).code);
	EXPECT_EQ(0, fault_of_write(self->data + 4 * PAGE, 1).sig);
	EXPECT_TRUE(shows(self->data + 3 * PAGE, 3));
}

TEST_F(lifetime, mprotect_lets_a_read_only_mapping_be_written)
{
	unsigned char *view = map(self->fd, self->span, PROT_READ, MAP_SHARED,
				  0);
	unsigned char *own = map(self->fd, self->span, PROT_READ, MAP_PRIVATE,
				 0);

	ASSERT_NE(NULL, view);
	ASSERT_NE(NULL, own);
	EXPECT_TRUE(shows(own, 0));
	ASSERT_EQ(0, mprotect(view, self->span, RW));
	ASSERT_EQ(0, mprotect(own, self->span, RW));
	pattern_put(own, 0, self->span, pattern_of(52));
	EXPECT_TRUE(shows(self->data, 0));
	pattern_put(view, 0, self->span, pattern_of(53));
	EXPECT_TRUE(pattern_is(self->data, 0, self->span, pattern_of(53)));
	EXPECT_TRUE(pattern_is(own, 0, self->span, pattern_of(52)));
}

/* Room that nothing else takes. */
static unsigned char *room(size_t length)
{
	return map(-1, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, 0);
}

TEST_F(lifetime, mremap_moves_a_mapping)
{
	unsigned char *to = room(self->span);

	ASSERT_NE(NULL, to);
	ASSERT_EQ(to, mremap(self->data, self->span, self->span,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_EQ(SEGV_MAPERR, fault_of_read(self->data).code);
	EXPECT_TRUE(shows(to, 0));
	EXPECT_TRUE(shows(to + 7 * PAGE, 7));
	pattern_put(to, 0, self->span, pattern_of(60));
	EXPECT_EQ(pattern_sum(0, self->span, pattern_of(60)),
		  sum_of(self->fd, 0, self->span));
	EXPECT_EQ(0, munmap(to, self->span));
}

TEST_F(lifetime, mremap_moves_the_middle_of_a_mapping)
{
	unsigned char *to = room(2 * PAGE);

	ASSERT_NE(NULL, to);
	ASSERT_EQ(to, mremap(self->data + 3 * PAGE, 2 * PAGE, 2 * PAGE,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_TRUE(shows(to, 3));
	EXPECT_TRUE(shows(to + PAGE, 4));
	EXPECT_TRUE(shows(self->data + 2 * PAGE, 2));
	EXPECT_EQ(SEGV_MAPERR, fault_of_read(self->data + 3 * PAGE).code);
	EXPECT_TRUE(shows(self->data + 5 * PAGE, 5));
	pattern_put(to, 0, PAGE, pattern_of(61));
	EXPECT_EQ(pattern_sum(0, PAGE, pattern_of(61)),
		  sum_of(self->fd, 3 * PAGE, PAGE));
}

TEST_F(lifetime, mremap_moves_a_private_copy)
{
	unsigned char *own = map(self->fd, self->span, RW, MAP_PRIVATE, 0);
	unsigned char *to = room(self->span);

	ASSERT_NE(NULL, own);
	ASSERT_NE(NULL, to);
	pattern_put(own + PAGE, 0, PAGE, pattern_of(62));
	ASSERT_EQ(to, mremap(own, self->span, self->span,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_TRUE(shows(to, 0));
	EXPECT_TRUE(pattern_is(to + PAGE, 0, PAGE, pattern_of(62)));
	EXPECT_TRUE(shows(to + 2 * PAGE, 2));
	pattern_put(to, 0, PAGE, pattern_of(63));
	EXPECT_TRUE(shows(self->data, 0));
	EXPECT_TRUE(shows(self->data + PAGE, 1));
}

TEST_F(lifetime, mremap_shrinks_a_mapping)
{
	ASSERT_EQ(self->data, mremap(self->data, self->span, 2 * PAGE, 0));
	EXPECT_TRUE(shows(self->data + PAGE, 1));
	EXPECT_EQ(SEGV_MAPERR, fault_of_read(self->data + 2 * PAGE).code);
	pattern_put(self->data, 0, PAGE, pattern_of(64));
	EXPECT_EQ(pattern_sum(0, PAGE, pattern_of(64)),
		  sum_of(self->fd, 0, PAGE));
}

TEST_F(lifetime, mlock_and_munlock_do_no_harm)
{
	EXPECT_EQ(0, mlock(self->data, self->span));
	EXPECT_TRUE(shows(self->data, 0));
	EXPECT_EQ(0, munlock(self->data, self->span));
	pattern_put(self->data, 0, self->span, pattern_of(65));
	EXPECT_EQ(pattern_sum(0, self->span, pattern_of(65)),
		  sum_of(self->fd, 0, self->span));
}

static int child_receives(void *arg)
{
	struct family *family = arg;
	char room_for_fd[CMSG_SPACE(sizeof(int))] = {};
	char byte;
	struct iovec iov = {
		.iov_base = &byte,
		.iov_len = 1,
	};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = room_for_fd,
		.msg_controllen = sizeof(room_for_fd),
	};
	unsigned char *data;
	int fd;

	if (!holds(recvmsg(family->fd, &msg, 0) == 1))
		return 1;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	data = map(fd, PAGE, RW, MAP_SHARED, PAGE);
	if (!holds(data) || !holds(shows(data, 1)))
		return 1;
	pattern_put(data, 0, PAGE, pattern_of(66));
	return 0;
}

TEST_F(lifetime, a_file_sent_over_a_socket_maps_the_same_memory)
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
	struct family family = {};
	int pair[2];
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	family.fd = pair[1];
	pid = child_start(child_receives, &family);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &self->fd, sizeof(int));
	ASSERT_EQ(1, sendmsg(pair[0], &msg, 0));
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_TRUE(pattern_is(self->data + PAGE, 0, PAGE, pattern_of(66)));
}

/* What only a demand mapping can: eager.c tests how an eager one refuses. */
FIXTURE(demand_lifetime) {
	int fd;
	size_t size;
	size_t span;
};

FIXTURE_SETUP(demand_lifetime)
{
	self->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	self->size = size_of(self->fd);
	self->span = at_most(self->size, PAGES);
	if (self->span < PAGES * PAGE)
		SKIP(return, "needs a device of %d pages", PAGES);
	fill_pages(_metadata, self->fd, self->span);
}

FIXTURE_TEARDOWN(demand_lifetime)
{
	close(self->fd);
}

TEST_F(demand_lifetime, mremap_grows_a_mapping)
{
	unsigned char *data = map(self->fd, 2 * PAGE, RW, MAP_SHARED, PAGE);
	unsigned char *grown;

	ASSERT_NE(NULL, data);
	grown = mremap(data, 2 * PAGE, 6 * PAGE, MREMAP_MAYMOVE);
	ASSERT_NE(MAP_FAILED, grown);
	EXPECT_TRUE(shows(grown, 1));
	EXPECT_TRUE(shows(grown + 5 * PAGE, 6));
	pattern_put(grown, 0, 6 * PAGE, pattern_of(70));
	EXPECT_EQ(pattern_sum(0, 6 * PAGE, pattern_of(70)),
		  sum_of(self->fd, PAGE, 6 * PAGE));
}

TEST_F(demand_lifetime, mremap_grows_a_mapping_in_place)
{
	unsigned char *place = room(PAGES * PAGE);

	ASSERT_NE(NULL, place);
	ASSERT_EQ(0, munmap(place, PAGES * PAGE));
	ASSERT_EQ(place, mmap(place, PAGE, RW, MAP_SHARED | MAP_FIXED,
			      self->fd, 0));
	ASSERT_EQ(place, mremap(place, PAGE, PAGES * PAGE, 0));
	EXPECT_TRUE(shows(place + 7 * PAGE, 7));
}

TEST_F(demand_lifetime, mremap_grows_a_private_mapping)
{
	unsigned char *own = map(self->fd, 2 * PAGE, RW, MAP_PRIVATE, 0);
	unsigned char *grown;

	ASSERT_NE(NULL, own);
	pattern_put(own, 0, PAGE, pattern_of(71));
	grown = mremap(own, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE);
	ASSERT_NE(MAP_FAILED, grown);
	EXPECT_TRUE(pattern_is(grown, 0, PAGE, pattern_of(71)));
	EXPECT_TRUE(shows(grown + PAGE, 1));
	EXPECT_TRUE(shows(grown + 3 * PAGE, 3));
	EXPECT_EQ(pattern_sum(0, PAGE, pattern_of(0)),
		  sum_of(self->fd, 0, PAGE));
}

TEST_F(demand_lifetime, mremap_of_no_length_makes_a_second_mapping)
{
	unsigned char *data = map(self->fd, self->span, RW, MAP_SHARED, 0);
	unsigned char *second;

	ASSERT_NE(NULL, data);
	second = mremap(data, 0, self->span, MREMAP_MAYMOVE);
	ASSERT_NE(MAP_FAILED, second);
	EXPECT_TRUE(shows(second + PAGE, 1));
	pattern_put(second, 0, self->span, pattern_of(72));
	EXPECT_TRUE(pattern_is(data, 0, self->span, pattern_of(72)));
}

TEST_F(demand_lifetime, mremap_dontunmap_leaves_a_mapping_behind)
{
	unsigned char *data = map(self->fd, self->span, RW, MAP_SHARED, 0);
	unsigned char *second;

	ASSERT_NE(NULL, data);
	pattern_put(data, 0, PAGE, pattern_of(73));
	second = mremap(data, self->span, self->span,
			MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	ASSERT_NE(MAP_FAILED, second);
	EXPECT_TRUE(pattern_is(second, 0, PAGE, pattern_of(73)));
	EXPECT_TRUE(pattern_is(data, 0, PAGE, pattern_of(73)));
	EXPECT_TRUE(shows(data + PAGE, 1));
	data[0] ^= 1;
	EXPECT_EQ(data[0], second[0]);
}

TEST_F(demand_lifetime, madv_dontneed_of_a_shared_mapping_loses_nothing)
{
	unsigned char *data = map(self->fd, self->span, RW, MAP_SHARED, 0);

	ASSERT_NE(NULL, data);
	pattern_put(data, 0, self->span, pattern_of(74));
	ASSERT_EQ(0, madvise(data, self->span, MADV_DONTNEED));
	EXPECT_TRUE(pattern_is(data, 0, self->span, pattern_of(74)));
}

TEST_F(demand_lifetime, mlock_keeps_a_mapping_resident)
{
	unsigned char *data = map(self->fd, self->span, RW, MAP_SHARED, 0);

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, mlock(data, self->span));
	EXPECT_TRUE(vma_has(data, "lo"));
	EXPECT_EQ(-1, madvise(data, self->span, MADV_DONTNEED));
	EXPECT_EQ(EINVAL, errno);
	ASSERT_EQ(0, munlock(data, self->span));
	EXPECT_FALSE(vma_has(data, "lo"));
}

TEST_HARNESS_MAIN
