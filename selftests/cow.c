// SPDX-License-Identifier: GPL-2.0
/*
 * A private mapping copies a page when it is first written: the writer sees
 * its own copy, and nobody else, nor the device, sees anything.
 */
#include <pthread.h>
#include <sched.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#define WRITERS	24
#define ROUNDS	8
#define PAGES	8

FIXTURE(cow) {
	int fd;
	size_t span;
	__u32 sum;
};

FIXTURE_VARIANT(cow) {
	__u32 mode;
};

FIXTURE_VARIANT_ADD(cow, demand) {
	.mode = DEMAND,
};

FIXTURE_VARIANT_ADD(cow, eager) {
	.mode = EAGER,
};

FIXTURE_SETUP(cow)
{
	self->fd = device_open(O_RDWR, variant->mode);
	ASSERT_LE(0, self->fd);
	self->span = at_most(size_of(self->fd), PAGES);
	ASSERT_EQ(0, device_fill(self->fd, 0, self->span, pattern_of(0)));
	ASSERT_EQ(0, fsync(self->fd));
	self->sum = sum_of(self->fd, 0, self->span);
}

FIXTURE_TEARDOWN(cow)
{
	close(self->fd);
}

struct writer {
	__u32 mode;
	int number;
	bool same_file;
	int fd;
	pthread_barrier_t *barrier;
};

static int write_privately(void *arg)
{
	struct writer *me = arg;
	__u64 pattern = 0;
	unsigned char *data;
	int round;

	if (!me->same_file)
		me->fd = device_open(O_RDWR, me->mode);
	data = map(me->fd, 4096, RW, MAP_PRIVATE, 0);
	if (!holds(data) || !holds(pattern_is(data, 0, 4096, pattern_of(0))))
		_exit(1);
	pthread_barrier_wait(me->barrier);
	for (round = 0; round < ROUNDS; round++) {
		pattern = pattern_of(1 + me->number * ROUNDS + round);
		pattern_put(data, 0, 4096, pattern);
		pthread_barrier_wait(me->barrier);
		if (!holds(pattern_is(data, 0, 4096, pattern)))
			return 1;
		pthread_barrier_wait(me->barrier);
	}
	return 0;
}

static void run_writers(struct __test_metadata *_metadata,
			struct writer *writer)
{
	pthread_barrierattr_t shared;
	pid_t pid[WRITERS];
	int i;

	writer->barrier = map(-1, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, 0);
	ASSERT_NE(NULL, writer->barrier);
	pthread_barrierattr_init(&shared);
	pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(writer->barrier, &shared, WRITERS);
	for (i = 0; i < WRITERS; i++) {
		writer->number = i;
		pid[i] = child_start(write_privately, writer);
	}
	for (i = 0; i < WRITERS; i++)
		EXPECT_EQ(0, child_wait(pid[i]));
}

TEST_F_TIMEOUT(cow, many_private_writers_of_one_page_never_see_each_other, 120)
{
	struct writer writer = {
		.mode = variant->mode,
	};

	run_writers(_metadata, &writer);
	EXPECT_EQ(self->sum, sum_of(self->fd, 0, self->span));
	EXPECT_EQ(0, info_of(self->fd).dirty);
}

TEST_F_TIMEOUT(cow, many_private_writers_of_one_open_file_neither, 120)
{
	struct writer writer = {
		.same_file = true,
		.fd = self->fd,
	};

	run_writers(_metadata, &writer);
	EXPECT_EQ(self->sum, sum_of(self->fd, 0, self->span));
	EXPECT_EQ(0, info_of(self->fd).dirty);
}

TEST_F(cow, a_private_write_changes_neither_the_device_nor_what_is_dirty)
{
	unsigned char *own = map(self->fd, self->span, RW, MAP_PRIVATE, 0);
	unsigned char *device = map(self->fd, self->span, PROT_READ, MAP_SHARED,
				    0);
	int fd = device_open(O_RDONLY, DEMAND);
	unsigned char *copy = malloc(self->span);

	ASSERT_NE(NULL, own);
	ASSERT_NE(NULL, device);
	ASSERT_NE(NULL, copy);
	pattern_put(own, 0, self->span, pattern_of(1));
	EXPECT_TRUE(pattern_is(own, 0, self->span, pattern_of(1)));
	EXPECT_TRUE(pattern_is(device, 0, self->span, pattern_of(0)));
	ASSERT_EQ(self->span, pread(self->fd, copy, self->span, 0));
	EXPECT_TRUE(pattern_is(copy, 0, self->span, pattern_of(0)));
	EXPECT_EQ(self->sum, sum_of(self->fd, 0, self->span));
	ASSERT_EQ(0, munmap(device, self->span));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(0, info_of(fd).dirty);
	free(copy);
}

TEST_F(cow, an_unwritten_private_page_follows_the_device)
{
	unsigned char *own = map(self->fd, self->span, RW, MAP_PRIVATE, 0);
	int i;

	ASSERT_NE(NULL, own);
	for (i = 1; i < 4; i++) {
		ASSERT_EQ(0, device_fill(self->fd, 0, self->span,
					 pattern_of(i)));
		EXPECT_TRUE(pattern_is(own, 0, self->span, pattern_of(i)));
	}
}

TEST_F(cow, a_written_private_page_follows_the_device_no_more)
{
	unsigned char *own = map(self->fd, self->span, RW, MAP_PRIVATE, 0);

	ASSERT_NE(NULL, own);
	own[PAGE - 1] = 0x77;
	ASSERT_EQ(0, device_fill(self->fd, 0, self->span, pattern_of(2)));
	EXPECT_TRUE(pattern_is(own, 0, PAGE - 1, pattern_of(0)));
	EXPECT_EQ(0x77, own[PAGE - 1]);
	/* The pages beside it were not written. */
	EXPECT_TRUE(pattern_is(own + PAGE, 0, self->span - PAGE,
			       pattern_of(2)));
}

TEST_F(cow, the_first_write_copies_what_the_device_holds_then)
{
	unsigned char *own = map(self->fd, self->span, RW, MAP_PRIVATE, 0);

	ASSERT_NE(NULL, own);
	EXPECT_TRUE(pattern_is(own, 0, self->span, pattern_of(0)));
	ASSERT_EQ(0, device_fill(self->fd, 0, self->span, pattern_of(3)));
	own[0] = 0x11;
	ASSERT_EQ(0, device_fill(self->fd, 0, self->span, pattern_of(4)));
	EXPECT_EQ(0x11, own[0]);
	EXPECT_TRUE(pattern_is(own + 1, 1, PAGE - 1, pattern_of(3)));
}

TEST_F(cow, a_read_only_file_can_be_mapped_private_and_written)
{
	int fd = device_open(O_RDONLY, variant->mode);
	unsigned char *own;

	ASSERT_LE(0, fd);
	own = map(fd, self->span, RW, MAP_PRIVATE, 0);
	ASSERT_NE(NULL, own);
	pattern_put(own, 0, self->span, pattern_of(5));
	EXPECT_TRUE(pattern_is(own, 0, self->span, pattern_of(5)));
	EXPECT_EQ(self->sum, sum_of(self->fd, 0, self->span));
}

TEST_F(cow, two_private_mappings_of_one_process_are_apart)
{
	unsigned char *one = map(self->fd, PAGE, RW, MAP_PRIVATE, 0);
	unsigned char *two = map(self->fd, PAGE, RW, MAP_PRIVATE, 0);

	ASSERT_NE(NULL, one);
	ASSERT_NE(NULL, two);
	pattern_put(one, 0, PAGE, pattern_of(6));
	EXPECT_TRUE(pattern_is(two, 0, PAGE, pattern_of(0)));
	pattern_put(two, 0, PAGE, pattern_of(7));
	EXPECT_TRUE(pattern_is(one, 0, PAGE, pattern_of(6)));
	EXPECT_EQ(self->sum, sum_of(self->fd, 0, self->span));
}

TEST_F(cow, a_private_mapping_at_an_offset_copies_its_own_pages)
{
	unsigned char *own;
	size_t from;

	for (from = 0; from < self->span; from += PAGE)
		ASSERT_EQ(0, device_fill(self->fd, from, PAGE,
					 pattern_of(from / PAGE)));
	for (from = 0; from < self->span; from += PAGE) {
		own = map(self->fd, self->span - from, RW, MAP_PRIVATE, from);
		ASSERT_NE(NULL, own);
		own[0] = 0x33;
		own[self->span - from - 1] = 0x44;
		EXPECT_TRUE(pattern_is(own + 1, 1, PAGE - 2,
				       pattern_of(from / PAGE)));
		EXPECT_EQ(0, munmap(own, self->span - from));
	}
}

TEST_F(cow, shared_writes_and_private_copies_live_side_by_side)
{
	unsigned char *own = map(self->fd, self->span, RW, MAP_PRIVATE, 0);
	unsigned char *all = map(self->fd, self->span, RW, MAP_SHARED, 0);
	size_t at;

	ASSERT_NE(NULL, own);
	ASSERT_NE(NULL, all);
	for (at = 0; at < self->span; at += PAGE) {
		own[at] = 1;
		all[at] = 2;
		EXPECT_EQ(1, own[at]);
		all[at + 1] = 3;
		EXPECT_EQ(pattern_of(0) >> 8 & 0xff, own[at + 1]);
	}
	ASSERT_EQ(0, munmap(own, self->span));
	EXPECT_EQ(2, all[0]);
	EXPECT_EQ(3, all[1]);
}

/* Eager and private: see eager.c. */
FIXTURE(demand_cow) {
	int fd;
	size_t span;
	unsigned char *own;
};

FIXTURE_SETUP(demand_cow)
{
	self->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	self->span = at_most(size_of(self->fd), PAGES);
	ASSERT_EQ(0, device_fill(self->fd, 0, self->span, pattern_of(0)));
	self->own = map(self->fd, self->span, RW, MAP_PRIVATE, 0);
	ASSERT_NE(NULL, self->own);
}

FIXTURE_TEARDOWN(demand_cow)
{
	close(self->fd);
}

TEST_F(demand_cow, madv_dontneed_brings_the_device_content_back)
{
	pattern_put(self->own, 0, self->span, pattern_of(1));
	ASSERT_EQ(0, madvise(self->own, PAGE, MADV_DONTNEED));
	EXPECT_TRUE(pattern_is(self->own, 0, PAGE, pattern_of(0)));
	EXPECT_TRUE(pattern_is(self->own + PAGE, 0, self->span - PAGE,
			       pattern_of(1)));
	ASSERT_EQ(0, device_fill(self->fd, 0, self->span, pattern_of(2)));
	EXPECT_TRUE(pattern_is(self->own, 0, PAGE, pattern_of(2)));
	ASSERT_EQ(0, madvise(self->own, self->span, MADV_DONTNEED));
	EXPECT_TRUE(pattern_is(self->own, 0, self->span, pattern_of(2)));
	self->own[0] = 9;
	EXPECT_EQ(9, self->own[0]);
}

static int child_diverges(void *arg)
{
	unsigned char *own = arg;

	if (!holds(pattern_is(own, 0, PAGE, pattern_of(1))))
		return 1;
	pattern_put(own, 0, PAGE, pattern_of(2));
	return !holds(pattern_is(own, 0, PAGE, pattern_of(2)));
}

TEST_F(demand_cow, a_forked_copy_diverges_from_its_parent)
{
	pattern_put(self->own, 0, PAGE, pattern_of(1));
	EXPECT_EQ(0, child_run(child_diverges, self->own));
	EXPECT_TRUE(pattern_is(self->own, 0, PAGE, pattern_of(1)));
	EXPECT_EQ(pattern_sum(0, self->span, pattern_of(0)),
		  sum_of(self->fd, 0, self->span));
}

TEST_F(demand_cow, populating_for_write_copies_and_dirties_nothing)
{
	ASSERT_EQ(0, fsync(self->fd));
	ASSERT_EQ(0, madvise(self->own, self->span, MADV_POPULATE_WRITE));
	EXPECT_EQ(0, info_of(self->fd).dirty);
	ASSERT_EQ(0, device_fill(self->fd, 0, self->span, pattern_of(3)));
	EXPECT_TRUE(pattern_is(self->own, 0, self->span, pattern_of(0)));
}

TEST_HARNESS_MAIN
