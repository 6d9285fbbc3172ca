// SPDX-License-Identifier: GPL-2.0
/*
 * Loading and unloading: what each parameter does, that a bad value fails the
 * load and is named in the log, and that nothing in use goes away. Needs
 * the module's file, MMAPDEV_KO, and puts MMAPDEV_PARAMS back at the end.
 */
#include <sys/stat.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

FIXTURE(module) {
	int kmsg;
};

FIXTURE_SETUP(module)
{
	int err;

	if (!module_known())
		SKIP(return, "needs MMAPDEV_KO");
	err = module_unload();
	if (err)
		ASSERT_EQ(-ENOENT, err);
	self->kmsg = log_open();
	ASSERT_LE(0, self->kmsg);
}

FIXTURE_TEARDOWN(module)
{
	EXPECT_EQ(0, module_reload(NULL));
	EXPECT_EQ(0, access(DEVICE, F_OK));
}

TEST_F(module, it_loads_without_parameters)
{
	int fd;

	EXPECT_EQ(-1, access(DEVICE, F_OK));
	ASSERT_EQ(0, module_load(""));
	fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, fd);
	EXPECT_LE(4096, size_of(fd));
	EXPECT_EQ(0, info_of(fd).resident);
	EXPECT_EQ(0, info_of(fd).dirty);
	EXPECT_EQ(0, info_of(fd).commit_seq);
	EXPECT_EQ(0, info_of(fd).committed);
	EXPECT_EQ(-EEXIST, module_load(""));
	close(fd);
}

TEST_F_TIMEOUT(module, size_is_the_size_of_the_device, 120)
{
	const struct {
		const char *params;
		__u64 size;
	} good[] = {
		{ "size=4096", 4096 },
		{ "size=4K", 4096 },
		{ "size=12288", 12288 },
		{ "size=16M", 16 << 20 },
		{ "size=1G", 1 << 30 },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(good); i++) {
		int fd;

		ASSERT_EQ(0, module_load(good[i].params));
		fd = device_open(O_RDWR, DEMAND);
		ASSERT_LE(0, fd);
		EXPECT_EQ(good[i].size, info_of(fd).size);
		EXPECT_EQ(good[i].size, info_of(fd).max_size);
		EXPECT_EQ(good[i].size, lseek(fd, 0, SEEK_END));
		EXPECT_EQ(0, info_of(fd).resident);
		EXPECT_EQ(1, pwrite(fd, "x", 1, good[i].size - 1));
		close(fd);
		ASSERT_EQ(0, module_unload());
	}
}

TEST_F(module, mode_is_how_a_new_file_maps)
{
	void *eager, *demand;
	int fd;

	ASSERT_EQ(0, module_load("mode=eager"));
	fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(EAGER, info_of(fd).mode);
	eager = map(fd, PAGE, RW, MAP_SHARED, 0);
	EXPECT_TRUE(vma_has(eager, "pf"));
	EXPECT_EQ(0, device_set_mode(fd, DEMAND));
	demand = map(fd, PAGE, RW, MAP_SHARED, 0);
	EXPECT_FALSE(vma_has(demand, "pf"));
	munmap(eager, PAGE);
	munmap(demand, PAGE);
	close(fd);
}

TEST_F(module, demand_is_the_mode_when_none_is_named)
{
	int fd;

	ASSERT_EQ(0, module_load(""));
	fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(DEMAND, info_of(fd).mode);
	close(fd);
	ASSERT_EQ(0, module_unload());
	ASSERT_EQ(0, module_load("mode=demand"));
	fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(DEMAND, info_of(fd).mode);
	close(fd);
}

TEST_F(module, memory_is_taken_at_once_with_prealloc)
{
	const size_t size = 1 << 20;
	unsigned char *data;
	int fd;

	ASSERT_EQ(0, module_load("size=1M max_size=4M prealloc=1"));
	fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, fd);
	EXPECT_EQ(size, info_of(fd).resident);
	EXPECT_EQ(0, info_of(fd).dirty);
	EXPECT_EQ(pattern_sum(0, size, 0), sum_of(fd, 0, size));
	data = map(fd, 4 * size, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, data);
	EXPECT_TRUE(bytes_are(data, 0, size));
	EXPECT_EQ(size, info_of(fd).resident);

	/* So is what a resize adds, and only that: a hole stays one. */
	ASSERT_EQ(0, device_punch(fd, 0, PAGE));
	EXPECT_EQ(size - PAGE, info_of(fd).resident);
	ASSERT_EQ(0, device_resize(fd, 2 * size));
	EXPECT_EQ(2 * size - PAGE, info_of(fd).resident);
	EXPECT_EQ(pattern_sum(0, size, 0), sum_of(fd, size, size));
	ASSERT_EQ(0, device_resize(fd, PAGE));
	EXPECT_EQ(0, info_of(fd).resident);
	ASSERT_EQ(0, device_resize(fd, 4 * size));
	EXPECT_EQ(4 * size - PAGE, info_of(fd).resident);
	munmap(data, 4 * size);
	close(fd);

	ASSERT_EQ(0, module_unload());
	ASSERT_EQ(0, module_load("size=1M prealloc=0"));
	fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, info_of(fd).resident);
	close(fd);
}

TEST_F(module, node_mode_is_the_permission_of_the_node)
{
	const struct {
		const char *params;
		mode_t mode;
	} good[] = {
		{ "", 0600 },
		{ "node_mode=0644", 0644 },
		{ "node_mode=0666", 0666 },
		{ "node_mode=0", 0 },
	};
	struct stat st;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(good); i++) {
		ASSERT_EQ(0, module_load(good[i].params));
		ASSERT_EQ(0, stat(DEVICE, &st));
		EXPECT_TRUE(S_ISCHR(st.st_mode));
		EXPECT_EQ(good[i].mode, st.st_mode & 07777);
		ASSERT_EQ(0, module_unload());
	}
}

TEST_F_TIMEOUT(module, a_bad_value_fails_the_load_and_is_named, 120)
{
	static const char * const bad[][2] = {
		{ "size", "0" }, { "size", "1" }, { "size", "4095" },
		{ "size", "5000" }, { "size", "abc" }, { "size", "-1" },
		{ "size", "-4096" }, { "size", "4096x" }, { "size", "" },
		{ "size", "99999999999G" }, { "size", "16777216T" },
		{ "size", "18446744073709551616" },
		{ "mode", "lazy" }, { "mode", "" }, { "mode", "demand2" },
		{ "mode", "1" },
		{ "node_mode", "9999" }, { "node_mode", "abc" },
		{ "node_mode", "-1" }, { "node_mode", "" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		char params[64];
		int err;

		snprintf(params, sizeof(params), "%s=%s", bad[i][0], bad[i][1]);
		err = module_load(params);
		EXPECT_TRUE(err == -EINVAL || err == -ERANGE)
			TH_LOG("%s: %d", params, err);
		EXPECT_TRUE(log_says(self->kmsg, bad[i][0], bad[i][1]))
			TH_LOG("%s is not named in the log", params);
		EXPECT_EQ(-1, access(DEVICE, F_OK));
		if (!err)
			module_unload();
	}
}

TEST_F(module, an_open_device_is_not_unloaded)
{
	int fd;

	ASSERT_EQ(0, module_load(""));
	fd = device_open(O_RDONLY, DEMAND);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EAGAIN, module_unload());
	EXPECT_EQ(0, access(DEVICE, F_OK));
	close(fd);
	EXPECT_EQ(0, module_unload());
	EXPECT_EQ(-1, access(DEVICE, F_OK));
}

TEST_F(module, a_mapped_device_is_not_unloaded)
{
	const int type[] = { MAP_SHARED, MAP_PRIVATE };
	unsigned int i;

	ASSERT_EQ(0, module_load("size=64K"));
	for (i = 0; i < 4; i++) {
		int fd = device_open(O_RDWR, i / 2 ? EAGER : DEMAND);
		unsigned char *data = map(fd, 4 * PAGE, RW, type[i % 2], 0);

		ASSERT_NE(NULL, data);
		close(fd);
		EXPECT_EQ(-EAGAIN, module_unload());
		data[PAGE] = 1;
		ASSERT_EQ(0, munmap(data, 2 * PAGE));
		EXPECT_EQ(-EAGAIN, module_unload());
		data[2 * PAGE] = 1;
		ASSERT_EQ(0, munmap(data + 2 * PAGE, 2 * PAGE));
	}
	EXPECT_EQ(0, module_unload());
}

static int hold_mapping(void *arg)
{
	gate_wait(arg);
	return 0;
}

TEST_F(module, a_device_mapped_by_a_child_is_not_unloaded)
{
	unsigned char *data;
	struct gate gate;
	pid_t pid;
	int fd;

	ASSERT_EQ(0, module_load(""));
	fd = device_open(O_RDWR, DEMAND);
	data = map(fd, PAGE, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, data);
	close(fd);
	ASSERT_EQ(0, gate_make(&gate));
	pid = child_start(hold_mapping, &gate);
	ASSERT_EQ(0, munmap(data, PAGE));
	EXPECT_EQ(-EAGAIN, module_unload());
	gate_open(&gate);
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_EQ(0, module_unload());
}

TEST_F_TIMEOUT(module, unloading_gives_its_memory_back, 180)
{
	const size_t size = 16 << 20;
	unsigned long before = 0;
	int i;

	for (i = 0; i < 12; i++) {
		int fd;

		/* The first rounds fill the lists of free pages of each CPU. */
		if (i == 4)
			before = free_memory();
		ASSERT_EQ(0, module_load("size=16M"));
		fd = device_open(O_RDWR, i % 2 ? EAGER : DEMAND);
		ASSERT_LE(0, fd);
		/* No trace of the device that was. */
		EXPECT_EQ(0, info_of(fd).resident);
		ASSERT_EQ(0, device_fill(fd, 0, size, pattern_of(i)));
		EXPECT_EQ(size, info_of(fd).resident);
		if (i % 2)
			munmap(map(fd, size, RW, MAP_SHARED, 0), size);
		close(fd);
		ASSERT_EQ(0, module_unload());
	}
	/* Of 128 MiB not an eighth is amiss. */
	EXPECT_LT(before, free_memory() + size);
}

TEST_F_TIMEOUT(module, prealloc_of_more_than_there_is_is_enomem, 120)
{
	unsigned long memory = free_memory();
	char params[96];
	int fd, i;

	/* A quarter more than there is. */
	snprintf(params, sizeof(params), "size=%luM prealloc=1",
		 memory / 4 * 5 >> 20);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(-ENOMEM, module_load(params));
		EXPECT_EQ(-1, access(DEVICE, F_OK));
		EXPECT_LT(memory / 8 * 7, free_memory());
	}

	snprintf(params, sizeof(params), "size=64K max_size=%luM prealloc=1",
		 memory / 4 * 5 >> 20);
	ASSERT_EQ(0, module_load(params));
	fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, device_fill(fd, 0, 16 * PAGE, pattern_of(0)));
	EXPECT_EQ(-ENOMEM, device_resize(fd, info_of(fd).max_size));
	EXPECT_EQ(16 * PAGE, size_of(fd));
	EXPECT_EQ(16 * PAGE, info_of(fd).resident);
	EXPECT_EQ(0, info_of(fd).resizes);
	EXPECT_EQ(pattern_sum(0, 16 * PAGE, pattern_of(0)),
		  sum_of(fd, 0, 16 * PAGE));
	EXPECT_LT(memory / 8 * 7, free_memory());
	EXPECT_EQ(0, device_resize(fd, 1 << 20));
	EXPECT_EQ(1 << 20, info_of(fd).resident);
	close(fd);
}

TEST_F(module, a_new_device_is_zeros)
{
	unsigned char *data;
	int fd;

	ASSERT_EQ(0, module_load("size=64K"));
	fd = device_open(O_RDWR, DEMAND);
	ASSERT_EQ(0, device_fill(fd, 0, 16 * PAGE, pattern_of(1)));
	close(fd);
	ASSERT_EQ(0, module_unload());
	ASSERT_EQ(0, module_load("size=64K"));
	fd = device_open(O_RDWR, EAGER);
	data = map(fd, 16 * PAGE, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, data);
	EXPECT_TRUE(bytes_are(data, 0, 16 * PAGE));
	ASSERT_EQ(0, munmap(data, 16 * PAGE));
	close(fd);
}

TEST_F(module, the_log_of_a_good_load_has_no_warning)
{
	ASSERT_EQ(0, module_load("size=16M mode=eager node_mode=0600"));
	EXPECT_FALSE(log_says(self->kmsg, "mmapdev", "WARNING"));
}

TEST_HARNESS_MAIN
