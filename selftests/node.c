// SPDX-License-Identifier: GPL-2.0
/*
 * The device is what its number names, not the node: a second node, made by
 * mknod on another file system, opens the same memory with the same commits.
 */
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#define PAGES	8

FIXTURE(node) {
	char folder[32];
	int fd;
	int other;
	size_t span;
	unsigned char *data;
	unsigned char *theirs;
};

FIXTURE_VARIANT(node) {
	__u32 mode;
	__u32 other;
};

FIXTURE_VARIANT_ADD(node, demand) {
	.mode = DEMAND,
	.other = DEMAND,
};

FIXTURE_VARIANT_ADD(node, eager) {
	.mode = EAGER,
	.other = EAGER,
};

FIXTURE_VARIANT_ADD(node, demand_and_eager) {
	.mode = DEMAND,
	.other = EAGER,
};

FIXTURE_SETUP(node)
{
	char path[64];
	struct stat st;

	self->fd = device_open(O_RDWR, variant->mode);
	ASSERT_LE(0, self->fd);
	self->span = at_most(size_of(self->fd), PAGES);
	ASSERT_EQ(0, device_clear(self->fd, self->span));

	mkdir("/tmp", 01777);
	snprintf(self->folder, sizeof(self->folder), "/tmp/mmapdev.XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->folder));
	ASSERT_EQ(0, mount("none", self->folder, "tmpfs", 0, NULL));
	ASSERT_EQ(0, fstat(self->fd, &st));
	snprintf(path, sizeof(path), "%s/elsewhere", self->folder);
	ASSERT_EQ(0, mknod(path, S_IFCHR | 0600, st.st_rdev));
	self->other = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->other);
	ASSERT_EQ(0, device_set_mode(self->other, variant->other));

	self->data = map(self->fd, self->span, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, self->data);
	self->theirs = map(self->other, self->span, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, self->theirs);
}

FIXTURE_TEARDOWN(node)
{
	umount2(self->folder, MNT_DETACH);
	rmdir(self->folder);
}

TEST_F(node, a_second_node_maps_the_same_memory)
{
	size_t at;

	for (at = 0; at < self->span; at += PAGE / 2) {
		self->data[at] = 1;
		ASSERT_EQ(1, self->theirs[at]);
		self->theirs[at + 1] = 2;
		ASSERT_EQ(2, self->data[at + 1]);
	}
}

TEST_F(node, a_second_node_reads_and_writes_the_same_memory)
{
	unsigned char *copy = malloc(self->span);

	ASSERT_NE(NULL, copy);
	pattern_put(self->data, 0, self->span, pattern_of(1));
	ASSERT_EQ(self->span, pread(self->other, copy, self->span, 0));
	EXPECT_TRUE(pattern_is(copy, 0, self->span, pattern_of(1)));
	pattern_put(copy, 0, self->span, pattern_of(2));
	ASSERT_EQ(self->span, pwrite(self->other, copy, self->span, 0));
	EXPECT_TRUE(pattern_is(self->data, 0, self->span, pattern_of(2)));
	EXPECT_EQ(sum_of(self->fd, 0, self->span),
		  sum_of(self->other, 0, self->span));
}

TEST_F(node, a_fill_through_one_is_seen_through_the_other)
{
	ASSERT_EQ(0, device_fill(self->other, 0, self->span, pattern_of(3)));
	EXPECT_TRUE(pattern_is(self->data, 0, self->span, pattern_of(3)));
	ASSERT_EQ(0, device_fill(self->fd, 0, self->span, pattern_of(4)));
	EXPECT_TRUE(pattern_is(self->theirs, 0, self->span, pattern_of(4)));
}

TEST_F(node, both_tell_the_same)
{
	struct mmapdev_ioc_info one, two;

	self->data[0] = 1;
	one = info_of(self->fd);
	two = info_of(self->other);
	EXPECT_EQ(one.size, two.size);
	EXPECT_EQ(one.max_size, two.max_size);
	EXPECT_EQ(one.resident, two.resident);
	EXPECT_EQ(one.dirty, two.dirty);
	EXPECT_EQ(one.commit_seq, two.commit_seq);
	EXPECT_EQ(one.committed, two.committed);
}

TEST_F(node, a_commit_through_one_is_seen_through_the_other)
{
	__u64 seq = info_of(self->fd).commit_seq;

	ASSERT_EQ(0, msync(self->theirs, self->span, MS_SYNC));
	EXPECT_EQ(seq + 1, info_of(self->fd).commit_seq);
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(seq + 2, info_of(self->other).commit_seq);
}

TEST_F(node, a_commit_through_one_commits_what_the_other_wrote)
{
	struct mmapdev_ioc_info before;

	if (variant->other == EAGER)
		ASSERT_EQ(0, munmap(self->theirs, self->span));
	if (variant->mode == EAGER)
		ASSERT_EQ(0, munmap(self->data, self->span));
	ASSERT_EQ(0, fsync(self->fd));
	before = info_of(self->fd);
	EXPECT_EQ(0, before.dirty);
	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 0));
	EXPECT_EQ(PAGE, info_of(self->other).dirty);
	ASSERT_EQ(0, fsync(self->other));
	EXPECT_EQ(0, info_of(self->fd).dirty);
	EXPECT_EQ(before.committed + PAGE, info_of(self->fd).committed);
}

TEST_F(node, a_node_that_is_gone_leaves_its_mapping)
{
	ASSERT_EQ(0, umount2(self->folder, MNT_DETACH));
	ASSERT_EQ(0, close(self->other));
	pattern_put(self->theirs, 0, self->span, pattern_of(5));
	EXPECT_TRUE(pattern_is(self->data, 0, self->span, pattern_of(5)));
	EXPECT_EQ(0, msync(self->theirs, self->span, MS_SYNC));
}

TEST_F(node, a_store_does_not_stamp_the_node)
{
	const struct timespec long_ago[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
	struct stat st;

	ASSERT_EQ(0, fsync(self->fd));
	ASSERT_EQ(0, futimens(self->fd, long_ago));
	self->data[0]++;
	self->theirs[0]++;
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ(1, st.st_mtim.tv_sec);
}

TEST_HARNESS_MAIN
