// SPDX-License-Identifier: GPL-2.0
/*
 * A shared mapping is the buffer itself: one memory for every process, every
 * open file, both ways of mapping, read and write, and the kernel.
 */
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#define PAGES	16
#define WRITERS	16

FIXTURE(share) {
	int fd;
	size_t size;
	size_t span;
	unsigned char *data;
	struct gate ready;
	struct gate go;
};

FIXTURE_VARIANT(share) {
	__u32 mode;
};

FIXTURE_VARIANT_ADD(share, demand) {
	.mode = DEMAND,
};

FIXTURE_VARIANT_ADD(share, eager) {
	.mode = EAGER,
};

FIXTURE_SETUP(share)
{
	self->fd = device_open(O_RDWR, variant->mode);
	ASSERT_LE(0, self->fd);
	self->size = size_of(self->fd);
	self->span = at_most(self->size, PAGES);
	ASSERT_EQ(0, device_clear(self->fd, self->span));
	self->data = map(self->fd, self->span, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, self->data);
	ASSERT_EQ(0, gate_make(&self->ready));
	ASSERT_EQ(0, gate_make(&self->go));
}

FIXTURE_TEARDOWN(share)
{
	munmap(self->data, self->span);
	close(self->fd);
}

/* A process with nothing of ours but the name of the device. */
struct stranger {
	__u32 mode;
	size_t span;
	struct gate *ready;
	struct gate *go;
	__u64 pattern;
	int number;
};

static int stranger_sees(void *arg)
{
	struct stranger *me = arg;
	int fd = device_open(O_RDONLY, me->mode);
	unsigned char *data = map(fd, me->span, PROT_READ, MAP_SHARED, 0);

	if (!holds(data))
		return 1;
	if (!holds(bytes_are(data, 0, me->span)))
		return 1;
	gate_open(me->ready);
	gate_wait(me->go);
	return !holds(pattern_is(data, 0, me->span, me->pattern));
}

TEST_F(share, a_shared_write_is_seen_by_another_process)
{
	struct stranger stranger = {
		.mode = variant->mode,
		.span = self->span,
		.ready = &self->ready,
		.go = &self->go,
		.pattern = pattern_of(1),
	};
	pid_t pid = child_start(stranger_sees, &stranger);

	gate_wait(&self->ready);
	pattern_put(self->data, 0, self->span, pattern_of(1));
	gate_open(&self->go);
	EXPECT_EQ(0, child_wait(pid));
}

TEST_F(share, a_shared_write_is_seen_by_the_kernel)
{
	pattern_put(self->data, 0, self->span, pattern_of(2));
	EXPECT_EQ(pattern_sum(0, self->span, pattern_of(2)),
		  sum_of(self->fd, 0, self->span));
	self->data[self->span - 1] ^= 1;
	EXPECT_NE(pattern_sum(0, self->span, pattern_of(2)),
		  sum_of(self->fd, 0, self->span));
}

TEST_F(share, a_kernel_fill_is_seen_by_a_mapped_reader)
{
	ASSERT_TRUE(bytes_are(self->data, 0, self->span));
	ASSERT_EQ(0, device_fill(self->fd, 0, self->span, pattern_of(3)));
	EXPECT_TRUE(pattern_is(self->data, 0, self->span, pattern_of(3)));
}

TEST_F(share, a_kernel_fill_is_seen_by_a_mapped_reader_elsewhere)
{
	struct stranger stranger = {
		.mode = variant->mode,
		.span = self->span,
		.ready = &self->ready,
		.go = &self->go,
		.pattern = pattern_of(4),
	};
	pid_t pid = child_start(stranger_sees, &stranger);

	gate_wait(&self->ready);
	ASSERT_EQ(0, device_fill(self->fd, 0, self->span, pattern_of(4)));
	gate_open(&self->go);
	EXPECT_EQ(0, child_wait(pid));
}

TEST_F(share, a_mapped_write_is_seen_by_read)
{
	unsigned char *copy = malloc(self->span);

	ASSERT_NE(NULL, copy);
	pattern_put(self->data, 0, self->span, pattern_of(5));
	ASSERT_EQ(self->span, pread(self->fd, copy, self->span, 0));
	EXPECT_TRUE(pattern_is(copy, 0, self->span, pattern_of(5)));
	free(copy);
}

TEST_F(share, a_written_byte_is_seen_by_a_mapped_reader)
{
	unsigned char *copy = malloc(self->span);

	ASSERT_NE(NULL, copy);
	ASSERT_TRUE(bytes_are(self->data, 0, self->span));
	pattern_put(copy, 0, self->span, pattern_of(6));
	ASSERT_EQ(self->span, pwrite(self->fd, copy, self->span, 0));
	EXPECT_TRUE(pattern_is(self->data, 0, self->span, pattern_of(6)));
	free(copy);
}

TEST_F(share, a_demand_and_an_eager_mapping_are_one_memory)
{
	int fd = device_open(O_RDWR, variant->mode == EAGER ? DEMAND : EAGER);
	unsigned char *other;
	size_t at;
	int round;

	ASSERT_LE(0, fd);
	other = map(fd, self->span, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, other);
	EXPECT_NE(vma_has(self->data, "pf"), vma_has(other, "pf"));
	for (round = 0; round < 4; round++) {
		for (at = 0; at < self->span; at += PAGE / 2) {
			self->data[at + 1] = round + 1;
			ASSERT_EQ(round + 1, other[at + 1]);
			other[at + 2] = round + 101;
			ASSERT_EQ(round + 101, self->data[at + 2]);
		}
		ASSERT_EQ(0, fsync(fd));
	}
	ASSERT_EQ(0, device_fill(fd, 0, self->span, pattern_of(7)));
	EXPECT_TRUE(pattern_is(self->data, 0, self->span, pattern_of(7)));
	EXPECT_TRUE(pattern_is(other, 0, self->span, pattern_of(7)));
}

TEST_F(share, a_mapping_keeps_the_mode_it_was_made_in)
{
	unsigned char *other;

	EXPECT_EQ(variant->mode == EAGER, vma_has(self->data, "pf"));
	ASSERT_EQ(0, device_set_mode(self->fd, variant->mode == EAGER ?
				     DEMAND : EAGER));
	EXPECT_EQ(variant->mode == EAGER, vma_has(self->data, "pf"));
	other = map(self->fd, self->span, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, other);
	EXPECT_EQ(variant->mode != EAGER, vma_has(other, "pf"));
	pattern_put(other, 0, self->span, pattern_of(8));
	EXPECT_TRUE(pattern_is(self->data, 0, self->span, pattern_of(8)));
}

TEST_F(share, a_partial_mapping_shows_its_own_offset)
{
	size_t from, to, length;
	unsigned char *part;

	for (from = 0; from < self->span; from += PAGE)
		ASSERT_EQ(0, device_fill(self->fd, from, PAGE,
					 pattern_of(from / PAGE)));
	for (from = 0; from < self->span; from += PAGE) {
		for (to = from + PAGE; to <= self->span; to += 3 * PAGE) {
			length = to - from;
			part = map(self->fd, length, RW, MAP_SHARED, from);
			ASSERT_NE(NULL, part);
			EXPECT_TRUE(pattern_is(part, 0, PAGE,
					       pattern_of(from / PAGE)));
			EXPECT_TRUE(pattern_is(part + length - PAGE, 0, PAGE,
					       pattern_of(to / PAGE - 1)));
			EXPECT_EQ(0, munmap(part, length));
		}
	}
}

TEST_F(share, a_write_through_a_partial_mapping_lands_at_its_offset)
{
	unsigned char *part;
	size_t from;

	for (from = 0; from < self->span; from += PAGE) {
		part = map(self->fd, PAGE, RW, MAP_SHARED, from);
		ASSERT_NE(NULL, part);
		pattern_put(part, 0, PAGE, pattern_of(from / PAGE + 40));
		EXPECT_EQ(0, munmap(part, PAGE));
	}
	for (from = 0; from < self->span; from += PAGE)
		EXPECT_TRUE(pattern_is(self->data + from, 0, PAGE,
				       pattern_of(from / PAGE + 40)));
}

TEST_F(share, mappings_that_overlap_are_one_memory)
{
	unsigned char *same = map(self->fd, self->span, RW, MAP_SHARED, 0);
	unsigned char *last = map(self->fd, PAGE, RW, MAP_SHARED,
				  self->span - PAGE);

	ASSERT_NE(NULL, same);
	ASSERT_NE(NULL, last);
	pattern_put(last, 0, PAGE, pattern_of(9));
	EXPECT_TRUE(pattern_is(same + self->span - PAGE, 0, PAGE,
			       pattern_of(9)));
	pattern_put(same, 0, self->span, pattern_of(10));
	EXPECT_TRUE(pattern_is(last, 0, PAGE, pattern_of(10)));
	EXPECT_TRUE(pattern_is(self->data, 0, self->span, pattern_of(10)));
}

TEST_F(share, the_whole_device_can_be_mapped)
{
	unsigned char *all = map(self->fd, self->size, RW, MAP_SHARED, 0);
	unsigned char byte;

	ASSERT_NE(NULL, all);
	all[0] = 0x5a;
	all[self->size - 1] = 0xa5;
	EXPECT_EQ(0x5a, self->data[0]);
	ASSERT_EQ(1, pread(self->fd, &byte, 1, self->size - 1));
	EXPECT_EQ(0xa5, byte);
	ASSERT_EQ(0, device_fill(self->fd, self->size - 1, 1, 0));
	EXPECT_EQ(0, all[self->size - 1]);
}

TEST_F(share, map_populate_maps_the_content)
{
	unsigned char *all;

	ASSERT_EQ(0, device_fill(self->fd, 0, self->span, pattern_of(11)));
	all = map(self->fd, self->span, RW, MAP_SHARED | MAP_POPULATE, 0);
	ASSERT_NE(NULL, all);
	EXPECT_TRUE(pattern_is(all, 0, self->span, pattern_of(11)));
	pattern_put(all, 0, self->span, pattern_of(12));
	EXPECT_TRUE(pattern_is(self->data, 0, self->span, pattern_of(12)));
}

TEST_F(share, a_reader_with_a_read_only_file_sees_writes)
{
	int fd = device_open(O_RDONLY, variant->mode);
	unsigned char *view;

	ASSERT_LE(0, fd);
	view = map(fd, self->span, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, view);
	pattern_put(self->data, 0, self->span, pattern_of(13));
	EXPECT_TRUE(pattern_is(view, 0, self->span, pattern_of(13)));
}

static int stranger_writes(void *arg)
{
	struct stranger *me = arg;
	int fd = device_open(O_RDWR, me->mode);
	unsigned char *data = map(fd, me->span, RW, MAP_SHARED, 0);
	size_t at;

	if (!holds(data))
		return 1;
	gate_wait(me->go);
	for (at = me->number; at < me->span; at += WRITERS)
		data[at] = me->number + 1;
	return 0;
}

TEST_F(share, bytes_of_sixteen_writers_all_arrive)
{
	struct stranger stranger = {
		.mode = variant->mode,
		.span = self->span,
		.go = &self->go,
	};
	pid_t pid[WRITERS];
	size_t at;
	int i;

	for (i = 0; i < WRITERS; i++) {
		stranger.number = i;
		pid[i] = child_start(stranger_writes, &stranger);
	}
	for (i = 0; i < WRITERS; i++)
		gate_open(&self->go);
	for (i = 0; i < WRITERS; i++)
		EXPECT_EQ(0, child_wait(pid[i]));
	for (at = 0; at < self->span; at++)
		ASSERT_EQ(at % WRITERS + 1, self->data[at]);
	EXPECT_EQ(crc32c(self->data, self->span),
		  sum_of(self->fd, 0, self->span));
}

TEST_HARNESS_MAIN
