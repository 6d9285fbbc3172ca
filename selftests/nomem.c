// SPDX-License-Identifier: GPL-2.0
/*
 * No memory for a page: the caller is told, nobody is killed, and what was
 * there stays. A memory cgroup smaller than the device makes it so.
 */
#include <sys/resource.h>
#include <sys/stat.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#define CGROUP	"/sys/fs/cgroup"
#define GROUP	CGROUP "/mmapdev_nomem"
#define MIB	1048576ul
#define LIMIT	"8388608"
#define SIZE	(16 * MIB)

FIXTURE(nomem) {
	int fd;
};

FIXTURE_SETUP(nomem)
{
	if (!module_known())
		SKIP(return, "needs MMAPDEV_KO for a new device");
	ASSERT_EQ(0, module_reload("size=16M"));
	self->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	file_write(CGROUP "/cgroup.subtree_control", "+memory");
	rmdir(GROUP);
	ASSERT_EQ(0, mkdir(GROUP, 0755));
	ASSERT_EQ(0, file_write(GROUP "/memory.max", LIMIT));
	/* A page from before, whose content must stay. */
	ASSERT_EQ(0, device_fill(self->fd, 0, PAGE, pattern_of(7)));
}

FIXTURE_TEARDOWN(nomem)
{
	char text[4096];
	char *kills;

	EXPECT_EQ(pattern_sum(0, PAGE, pattern_of(7)),
		  sum_of(self->fd, 0, PAGE));
	EXPECT_LT(0, file_read(GROUP "/memory.events", text, sizeof(text)));
	kills = strstr(text, "oom_kill ");
	EXPECT_TRUE(kills && !strtol(kills + 9, NULL, 10));
	close(self->fd);
	EXPECT_EQ(0, module_reload(NULL));
	EXPECT_EQ(0, rmdir(GROUP));
}

static bool join_the_group(void)
{
	char pid[32];

	snprintf(pid, sizeof(pid), "%d", getpid());
	return !file_write(GROUP "/cgroup.procs", pid);
}

static int fill(void *arg)
{
	int fd = *(int *)arg;

	return !(holds(join_the_group()) &&
		 holds(device_fill(fd, PAGE, SIZE - PAGE, 1) == -ENOMEM) &&
		 holds(info_of(fd).resident < SIZE));
}

TEST_F_TIMEOUT(nomem, a_kernel_fill_is_enomem, 60)
{
	EXPECT_EQ(0, child_run(fill, &self->fd));
}

static int write_all(void *arg)
{
	static char block[65536];
	int fd = *(int *)arg;
	ssize_t n;

	if (!holds(join_the_group()) || !holds(lseek(fd, PAGE, SEEK_SET) > 0))
		return 1;
	do {
		n = write(fd, block, sizeof(block));
	} while (n > 0);
	return !holds(n < 0 && errno == ENOMEM);
}

TEST_F_TIMEOUT(nomem, a_write_is_short_and_then_enomem, 60)
{
	EXPECT_EQ(0, child_run(write_all, &self->fd));
}

static int map_all_eagerly(void *arg)
{
	int fd = *(int *)arg;

	return !(holds(join_the_group()) &&
		 holds(!device_set_mode(fd, EAGER)) &&
		 holds(!map(fd, SIZE, RW, MAP_SHARED, 0) && errno == ENOMEM));
}

TEST_F_TIMEOUT(nomem, an_eager_mmap_is_enomem, 60)
{
	EXPECT_EQ(0, child_run(map_all_eagerly, &self->fd));
}

static int touch_all(void *arg)
{
	int fd = *(int *)arg;
	unsigned char *data = map(fd, SIZE, RW, MAP_SHARED, 0);
	struct fault fault = {};
	size_t at;

	if (!holds(data) || !holds(join_the_group()))
		return 1;
	for (at = PAGE; at < SIZE && !fault.sig; at += PAGE)
		fault = fault_of_write(data + at, 1);
	/* It goes on with what it has. */
	return !(holds(fault.sig == SIGBUS) && holds(data[PAGE] == 1));
}

TEST_F_TIMEOUT(nomem, a_touch_is_sigbus_and_survived, 60)
{
	EXPECT_EQ(0, child_run(touch_all, &self->fd));
}

static int populate_all(void *arg)
{
	int fd = *(int *)arg;
	unsigned char *data = map(fd, SIZE, RW, MAP_SHARED, 0);

	return !(holds(data) && holds(join_the_group()) &&
		 holds(madvise(data, SIZE, MADV_POPULATE_WRITE) < 0) &&
		 holds(errno == EFAULT));
}

TEST_F_TIMEOUT(nomem, populating_is_told, 60)
{
	EXPECT_EQ(0, child_run(populate_all, &self->fd));
}

static int grow_preallocated(void *arg)
{
	int fd = *(int *)arg;

	return !(holds(join_the_group()) &&
		 holds(device_resize(fd, 2 * SIZE) == -ENOMEM) &&
		 holds(size_of(fd) == SIZE) &&
		 holds(info_of(fd).resident == SIZE) &&
		 holds(!device_resize(fd, SIZE + PAGE)) &&
		 holds(info_of(fd).resident == SIZE + PAGE));
}

TEST_F_TIMEOUT(nomem, growing_what_is_preallocated_is_enomem, 60)
{
	close(self->fd);
	ASSERT_EQ(0, module_reload("size=16M max_size=64M prealloc=1"));
	self->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, device_fill(self->fd, 0, PAGE, pattern_of(7)));
	EXPECT_EQ(SIZE, info_of(self->fd).resident);
	EXPECT_EQ(0, child_run(grow_preallocated, &self->fd));
}

static int load_preallocated(void *arg)
{
	(void)arg;
	return !(holds(join_the_group()) &&
		 holds(module_load("size=16M prealloc=1") == -ENOMEM));
}

TEST_F_TIMEOUT(nomem, preallocating_at_load_is_enomem, 60)
{
	close(self->fd);
	ASSERT_EQ(0, module_unload());
	EXPECT_EQ(0, child_run(load_preallocated, NULL));
	EXPECT_EQ(-1, access(DEVICE, F_OK));
	ASSERT_EQ(0, module_load("size=16M prealloc=1"));
	self->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	EXPECT_EQ(SIZE, info_of(self->fd).resident);
	ASSERT_EQ(0, device_fill(self->fd, 0, PAGE, pattern_of(7)));
}

#define FILES	1000

/* Makes wills in file after file; returns how many until *err. */
static int make_wills(const int *fds, int most, int *err)
{
	int made = 0;

	*err = 0;
	while (made < most && !*err) {
		*err = device_will(fds[made / MMAPDEV_IOC_WILLS], 0,
				   made % MMAPDEV_IOC_WILLS * 4, 0, 0);
		made += !*err;
	}
	return made;
}

static int cancel_wills(const int *fds, int made)
{
	int i, bad = 0;

	for (i = 0; i < made; i++)
		bad += !!device_will(fds[i / MMAPDEV_IOC_WILLS],
				     MMAPDEV_IOC_WILL_CANCEL,
				     i % MMAPDEV_IOC_WILLS * 4, 0, 0);
	return bad;
}

/* Memory of its own is touched before: it must not want any in the group. */
static int make_many_wills(void *arg)
{
	const struct rlimit limit = { 4 * FILES, 4 * FILES };
	int fds[2 * FILES];
	int i, made, err;

	if (!holds(!setrlimit(RLIMIT_NOFILE, &limit)))
		return 1;
	for (i = 0; i < 2 * FILES; i++)
		fds[i] = device_open(O_RDWR, DEMAND);
	if (!holds(fds[2 * FILES - 1] >= 0) ||
	    !holds(device_will(fds[0], 0, 1, 0, 0) == -EINVAL) ||
	    !holds(!file_write(GROUP "/memory.max", arg)) ||
	    !holds(join_the_group()))
		return 1;

	made = make_wills(fds, FILES * MMAPDEV_IOC_WILLS, &err);
	if (!holds(err == -ENOMEM) || !holds(made > 1000) ||
	    !holds(!device_will(fds[0], 0, 0, 0, 1)))
		return 1;
	/* Those that are cancelled, and those that were done, are freed. */
	if (!holds(!cancel_wills(fds, made)) ||
	    !holds(make_wills(fds, made / 2, &err) == made / 2))
		return 1;
	for (i = 0; i < FILES; i++)
		close(fds[i]);
	return !holds(make_wills(fds + FILES, made / 4 * 3, &err) == made / 4 * 3);
}

TEST_F_TIMEOUT(nomem, wills_are_enomem, 60)
{
	EXPECT_EQ(0, child_run(make_many_wills, "2097152"));
}

/* Growing takes no memory, so it cannot want any: the touch does. */
static int grow_and_touch(void *arg)
{
	int fd = *(int *)arg;
	unsigned char *data;
	size_t at;

	if (!holds(join_the_group()) || !holds(!device_resize(fd, 4 * SIZE)))
		return 1;
	data = map(fd, 4 * SIZE, RW, MAP_SHARED, 0);
	if (!holds(data))
		return 1;
	for (at = PAGE; at < 4 * SIZE; at += PAGE) {
		if (fault_of_write(data + at, 1).sig)
			break;
	}
	return !(holds(at > PAGE) && holds(at < 4 * SIZE) &&
		 holds(!device_resize(fd, PAGE)) &&
		 holds(!device_resize(fd, SIZE)) &&
		 holds(!fault_of_write(data + PAGE, 1).sig));
}

TEST_F_TIMEOUT(nomem, memory_that_a_shrink_frees_can_be_had_again, 60)
{
	close(self->fd);
	ASSERT_EQ(0, module_reload("size=16M max_size=64M"));
	self->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, device_fill(self->fd, 0, PAGE, pattern_of(7)));
	EXPECT_EQ(0, child_run(grow_and_touch, &self->fd));
}

TEST_HARNESS_MAIN
