// SPDX-License-Identifier: GPL-2.0
/*
 * Many devices: as many as the parameter says, each as the lists say, and
 * those made and removed at run time under configfs. Needs the module's file,
 * MMAPDEV_KO, and puts MMAPDEV_PARAMS back at the end.
 */
#include <pthread.h>
#include <sys/stat.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#define KIB	1024ull
#define MIB	(1024 * KIB)
#define NEVER	MMAPDEV_IOC_HUGE_NEVER
#define ADVISE	MMAPDEV_IOC_HUGE_ADVISE
#define ALWAYS	MMAPDEV_IOC_HUGE_ALWAYS

/* The node of device n. */
static const char *node(int n)
{
	static char path[32];

	snprintf(path, sizeof(path), n ? DEVICE "%d" : DEVICE, n);
	return path;
}

static int node_open(int n, int flags)
{
	return open(node(n), flags | O_CLOEXEC);
}

/* How many of the first hundred nodes there are, and have a class device. */
static int nodes(void)
{
	char path[64];
	int n, found = 0;

	for (n = 0; n < 100; n++) {
		bool there = !access(node(n), F_OK);

		snprintf(path, sizeof(path), "/sys/class/misc/%s", node(n) + 5);
		if (there != !access(path, F_OK))
			return -1;
		found += there;
	}
	return found;
}

/* All of the module is gone. */
static bool nothing_left(void)
{
	return !nodes() && access("/sys/module/mmapdev", F_OK) &&
	       access(CONFIG, F_OK);
}

FIXTURE(devices) {
	int kmsg;
};

FIXTURE_SETUP(devices)
{
	int err;

	if (!module_known())
		SKIP(return, "needs MMAPDEV_KO");
	config_clear();
	err = module_unload();
	if (err)
		ASSERT_EQ(-ENOENT, err);
	ASSERT_TRUE(nothing_left());
	self->kmsg = log_open();
	ASSERT_LE(0, self->kmsg);
}

FIXTURE_TEARDOWN(devices)
{
	config_clear();
	EXPECT_EQ(0, module_reload(NULL));
}

TEST_F_TIMEOUT(devices, as_many_are_made_as_the_parameter_says, 60)
{
	const int many[] = { 1, 2, 3, 5, 64 };
	char params[64];
	size_t i;
	int n;

	for (i = 0; i < ARRAY_SIZE(many); i++) {
		snprintf(params, sizeof(params), "size=64K devices=%d", many[i]);
		ASSERT_EQ(0, module_load(params));
		EXPECT_EQ(many[i], nodes());
		for (n = 0; n < many[i]; n++) {
			int fd = node_open(n, O_RDWR);

			ASSERT_LE(0, fd);
			EXPECT_EQ(64 * KIB, size_of(fd));
			close(fd);
		}
		ASSERT_EQ(0, module_unload());
		EXPECT_TRUE(nothing_left());
	}
}

TEST_F(devices, none_are_made_when_asked_for_none)
{
	ASSERT_EQ(0, module_load("devices=0"));
	EXPECT_EQ(0, nodes());
	EXPECT_EQ(0, access(CONFIG, F_OK));
	EXPECT_EQ(0, module_unload());
	EXPECT_TRUE(nothing_left());
}

struct wanted {
	__u64 size;
	__u64 max_size;
	__u32 mode;
	__u32 huge;
};

/* Device n is as wanted. */
static void expect_device(struct __test_metadata *_metadata, int n,
			  const struct wanted *wanted)
{
	int fd = node_open(n, O_RDWR);
	struct mmapdev_ioc_info info;

	ASSERT_LE(0, fd);
	info = info_of(fd);
	EXPECT_EQ(wanted->size, info.size)
		TH_LOG("device %d", n);
	EXPECT_EQ(wanted->max_size, info.max_size)
		TH_LOG("device %d", n);
	EXPECT_EQ(wanted->mode, info.mode)
		TH_LOG("device %d", n);
	EXPECT_EQ(wanted->huge, info.huge)
		TH_LOG("device %d", n);
	close(fd);
}

TEST_F(devices, lists_give_each_device_its_own)
{
	const struct wanted wanted[] = {
		{ 16 * MIB, 32 * MIB, DEMAND, ALWAYS },
		{ 1 * MIB, 8 * MIB, EAGER, ADVISE },
	};
	const char *params =
		"devices=2 size=16M,1M max_size=32M,8M mode=demand,eager huge=always,advise";
	int n;

	ASSERT_EQ(0, module_load(params));
	for (n = 0; n < 2; n++)
		expect_device(_metadata, n, &wanted[n]);
	EXPECT_EQ(2, nodes());
}

TEST_F(devices, the_last_of_a_short_list_holds_for_the_rest)
{
	const struct wanted wanted[] = {
		{ 16 * MIB, 64 * MIB, EAGER, NEVER },
		{ 1 * MIB, 64 * MIB, DEMAND, NEVER },
		{ 1 * MIB, 64 * MIB, DEMAND, ALWAYS },
		{ 1 * MIB, 64 * MIB, DEMAND, ALWAYS },
		{ 1 * MIB, 64 * MIB, DEMAND, ALWAYS },
	};
	const char *params =
		"devices=5 size=16M,1M max_size=64M mode=eager,demand huge=never,never,always";
	int n;

	ASSERT_EQ(0, module_load(params));
	for (n = 0; n < 5; n++)
		expect_device(_metadata, n, &wanted[n]);
}

TEST_F(devices, max_size_is_each_size_where_none_is_named)
{
	const struct wanted wanted[] = {
		{ 2 * MIB, 2 * MIB, DEMAND, NEVER },
		{ 1 * MIB, 1 * MIB, DEMAND, NEVER },
		{ 1 * MIB, 1 * MIB, DEMAND, NEVER },
	};
	int n;

	ASSERT_EQ(0, module_load("devices=3 size=2M,1M"));
	for (n = 0; n < 3; n++)
		expect_device(_metadata, n, &wanted[n]);
}

TEST_F(devices, prealloc_takes_the_memory_of_all_at_once)
{
	const __u64 sizes[] = { 4 * MIB, 1 * MIB };
	int n;

	ASSERT_EQ(0, module_load("devices=2 size=4M,1M max_size=8M prealloc=1"));
	for (n = 0; n < 2; n++) {
		int fd = node_open(n, O_RDWR);

		ASSERT_LE(0, fd);
		EXPECT_EQ(sizes[n], info_of(fd).resident);
		EXPECT_EQ(0, info_of(fd).dirty);
		ASSERT_EQ(0, device_resize(fd, 8 * MIB));
		EXPECT_EQ(8 * MIB, info_of(fd).resident);
		close(fd);
	}
	ASSERT_EQ(0, module_unload());
	ASSERT_EQ(0, module_load("size=4M prealloc=0"));
	n = node_open(0, O_RDWR);
	EXPECT_EQ(0, info_of(n).resident);
	close(n);
}

TEST_F(devices, node_mode_is_for_all_of_them)
{
	struct stat st;
	int n;

	ASSERT_EQ(0, module_load("devices=3 node_mode=0640"));
	for (n = 0; n < 3; n++) {
		ASSERT_EQ(0, stat(node(n), &st));
		EXPECT_TRUE(S_ISCHR(st.st_mode));
		EXPECT_EQ(0640, st.st_mode & 07777);
	}
}

TEST_F(devices, sysfs_tells_what_they_were_loaded_with)
{
	static const char * const told[][2] = {
		{ "devices", "3\n" }, { "size", "16777216,1048576\n" },
		{ "max_size", "33554432\n" }, { "mode", "eager\n" },
		{ "huge", "never,advise\n" }, { "prealloc", "N\n" },
		{ "node_mode", "0640\n" },
	};
	const char *params =
		"devices=3 size=16M,1M max_size=32M mode=eager huge=never,advise node_mode=0640";
	char path[64], text[4096];
	size_t i;

	ASSERT_EQ(0, module_load(params));
	for (i = 0; i < ARRAY_SIZE(told); i++) {
		snprintf(path, sizeof(path), "/sys/module/mmapdev/parameters/%s",
			 told[i][0]);
		EXPECT_LT(0, file_read(path, text, sizeof(text)));
		EXPECT_STREQ(told[i][1], text);
	}
	/* Where no window was named they are told as they are. */
	ASSERT_EQ(0, module_reload("devices=3 size=16M,1M"));
	EXPECT_LT(0, file_read("/sys/module/mmapdev/parameters/max_size", text,
			       sizeof(text)));
	EXPECT_STREQ("16777216,1048576\n", text);
}

TEST_F(devices, each_has_its_own_memory_and_commits)
{
	struct mmapdev_ioc_info info;
	unsigned char *data[3];
	int fds[3];
	int n;

	ASSERT_EQ(0, module_load("devices=3 size=64K max_size=128K"));
	for (n = 0; n < 3; n++) {
		fds[n] = node_open(n, O_RDWR);
		ASSERT_LE(0, fds[n]);
		data[n] = map(fds[n], 128 * KIB, RW, MAP_SHARED, 0);
		ASSERT_NE(NULL, data[n]);
		pattern_put(data[n], 0, 64 * KIB, pattern_of(n));
	}
	for (n = 0; n < 3; n++) {
		EXPECT_TRUE(pattern_is(data[n], 0, 64 * KIB, pattern_of(n)));
		EXPECT_EQ(pattern_sum(0, 64 * KIB, pattern_of(n)),
			  sum_of(fds[n], 0, 64 * KIB));
	}
	ASSERT_EQ(0, device_punch(fds[0], 0, 32 * KIB));
	ASSERT_EQ(0, device_resize(fds[1], 128 * KIB));
	ASSERT_EQ(0, fsync(fds[2]));

	info = info_of(fds[0]);
	EXPECT_EQ(32 * KIB, info.resident);
	EXPECT_EQ(32 * KIB, info.dirty);
	EXPECT_EQ(64 * KIB, info.size);
	EXPECT_EQ(0, info.commit_seq);
	EXPECT_EQ(1, info.punches);
	EXPECT_EQ(0, info.resizes);
	info = info_of(fds[1]);
	EXPECT_EQ(64 * KIB, info.resident);
	EXPECT_EQ(64 * KIB, info.dirty);
	EXPECT_EQ(128 * KIB, info.size);
	EXPECT_EQ(0, info.commit_seq);
	EXPECT_EQ(0, info.punches);
	EXPECT_EQ(1, info.resizes);
	info = info_of(fds[2]);
	EXPECT_EQ(64 * KIB, info.resident);
	EXPECT_EQ(0, info.dirty);
	EXPECT_EQ(64 * KIB, info.size);
	EXPECT_EQ(1, info.commit_seq);
	EXPECT_EQ(0, info.punches);
	EXPECT_EQ(0, info.resizes);
	EXPECT_EQ(SIGBUS, fault_of_read(data[2] + 64 * KIB).sig);
	EXPECT_EQ(0, fault_of_read(data[1] + 64 * KIB).sig);
	for (n = 0; n < 3; n++) {
		EXPECT_EQ(0, munmap(data[n], 128 * KIB));
		close(fds[n]);
	}
}

TEST_F(devices, one_of_many_that_is_open_keeps_the_module)
{
	int n;

	ASSERT_EQ(0, module_load("devices=4 size=64K"));
	for (n = 0; n < 4; n++) {
		int fd = node_open(n, O_RDONLY);

		ASSERT_LE(0, fd);
		EXPECT_EQ(-EAGAIN, module_unload());
		EXPECT_EQ(4, nodes());
		close(fd);
	}
	EXPECT_EQ(0, module_unload());
	EXPECT_TRUE(nothing_left());
}

/* Fails to load, says so in the log, and leaves nothing. */
static void expect_refused(struct __test_metadata *_metadata, int kmsg,
			   const char *params, const char *parameter,
			   const char *value)
{
	int err = module_load(params);

	EXPECT_TRUE(err == -EINVAL || err == -ERANGE || err == -ENOSPC)
		TH_LOG("%s: %d", params, err);
	EXPECT_TRUE(log_says(kmsg, parameter, value))
		TH_LOG("%s: the log does not tell of %s and %s", params,
		       parameter, value);
	EXPECT_TRUE(nothing_left())
		TH_LOG("%s left something", params);
	if (!err)
		module_unload();
}

TEST_F_TIMEOUT(devices, a_bad_value_fails_the_load_and_is_named, 60)
{
	static const char * const bad[][3] = {
		{ "devices=65", "devices", "65" },
		{ "devices=-1", "devices", "-1" },
		{ "devices=2x", "devices", "2x" },
		{ "devices=", "devices", "" },
		{ "devices=99999999999", "devices", "99999999999" },
		{ "max_size=0", "max_size", "0" },
		{ "size=4K max_size=4097", "max_size", "4097" },
		{ "max_size=1T1", "max_size", "1T1" },
		{ "max_size=-4096", "max_size", "-4096" },
		{ "max_size=", "max_size", "" },
		{ "huge=sometimes", "huge", "sometimes" },
		{ "huge=", "huge", "" },
		{ "huge=1", "huge", "1" },
		{ "huge=alwaysnever", "huge", "alwaysnever" },
		{ "prealloc=2", "prealloc", "2" },
		{ "prealloc=maybe", "prealloc", "maybe" },
		{ "node_mode=01000", "node_mode", "01000" },
		{ "node_mode=08", "node_mode", "08" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		expect_refused(_metadata, self->kmsg, bad[i][0], bad[i][1],
			       bad[i][2]);
}

TEST_F_TIMEOUT(devices, a_bad_value_in_a_list_fails_the_load_and_is_named, 60)
{
	static const char * const bad[][3] = {
		{ "devices=2 size=1M,0", "size", "0" },
		{ "devices=2 size=5000,1M", "size", "5000" },
		{ "devices=3 size=1M,,2M", "size", "1M,,2M" },
		{ "devices=3 size=1M,2M,", "size", "1M,2M," },
		{ "devices=3 size=,1M", "size", ",1M" },
		{ "devices=2 size=1M,abc", "size", "abc" },
		{ "devices=2 max_size=32M,1", "max_size", "1" },
		{ "devices=2 mode=eager,lazy", "mode", "lazy" },
		{ "devices=2 mode=eager,", "mode", "eager," },
		{ "devices=3 huge=never,always,no", "huge", "no" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		expect_refused(_metadata, self->kmsg, bad[i][0], bad[i][1],
			       bad[i][2]);
}

TEST_F_TIMEOUT(devices, a_list_longer_than_the_devices_fails_the_load, 60)
{
	static const char * const bad[][3] = {
		{ "size=1M,2M", "size: 2", "devices=1" },
		{ "devices=2 size=1M,2M,3M", "size: 3", "devices=2" },
		{ "max_size=32M,64M", "max_size: 2", "devices=1" },
		{ "mode=eager,demand", "mode: 2", "devices=1" },
		{ "devices=2 huge=never,never,never", "huge: 3", "devices=2" },
	};
	char many[512] = "devices=64 mode=eager";
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		expect_refused(_metadata, self->kmsg, bad[i][0], bad[i][1],
			       bad[i][2]);
	for (i = 1; i < 64; i++)
		strcat(many, ",eager");
	EXPECT_EQ(0, module_load(many));
	EXPECT_EQ(64, nodes());
	EXPECT_EQ(0, module_unload());
	strcat(many, ",eager");
	expect_refused(_metadata, self->kmsg, many, "mode", "eager");
}

TEST_F(devices, a_max_size_below_the_size_fails_the_load)
{
	static const char * const bad[][2] = {
		{ "size=1M max_size=64K", "max_size=65536" },
		{ "max_size=15M", "max_size=15728640" },
		{ "devices=2 size=1M,4M max_size=2M", "max_size=2097152" },
		{ "devices=3 size=1M max_size=1M,1M,1020K", "max_size=1044480" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		expect_refused(_metadata, self->kmsg, bad[i][0], bad[i][1],
			       "size");
	EXPECT_EQ(0, module_load("size=1M max_size=1M"));
}

TEST_F(devices, no_memory_for_prealloc_fails_the_load)
{
	int err = module_load("devices=2 size=1M,512G prealloc=1");

	EXPECT_EQ(-ENOMEM, err);
	EXPECT_TRUE(nothing_left());
}

FIXTURE(config) {
	int fd;
};

FIXTURE_SETUP(config)
{
	if (!module_known())
		SKIP(return, "needs MMAPDEV_KO");
	config_clear();
	ASSERT_EQ(0, module_reload("size=64K devices=2"));
	ASSERT_EQ(2, nodes());
}

FIXTURE_TEARDOWN(config)
{
	config_clear();
	EXPECT_EQ(2, nodes());
	EXPECT_EQ(0, module_reload(NULL));
}

static const char * const defaults[][2] = {
	{ "size", "16777216" }, { "max_size", "16777216" },
	{ "mode", "demand" }, { "huge", "never" }, { "prealloc", "0" },
	{ "node_mode", "0600" }, { "live", "0" }, { "node", "none" },
};

static void expect_defaults(struct __test_metadata *_metadata, const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(defaults); i++)
		EXPECT_TRUE(config_is(name, defaults[i][0], defaults[i][1]));
}

TEST_F(config, a_new_directory_has_the_defaults_and_no_device)
{
	ASSERT_EQ(0, config_make("one"));
	expect_defaults(_metadata, "one");
	EXPECT_EQ(2, nodes());
	EXPECT_EQ(-EEXIST, config_make("one"));
	EXPECT_EQ(0, config_drop("one"));
	EXPECT_EQ(-ENOENT, config_drop("one"));
	EXPECT_EQ(2, nodes());
}

TEST_F(config, an_attribute_reads_as_it_was_written)
{
	static const char * const good[][3] = {
		{ "size", "1M", "1048576" }, { "size", "64K\n", "65536" },
		{ "size", "4096", "4096" }, { "size", "2g", "2147483648" },
		{ "size", "8M", "8388608" },
		{ "max_size", "1G\n", "1073741824" },
		{ "max_size", "8388608", "8388608" },
		{ "mode", "eager", "eager" }, { "mode", "demand\n", "demand" },
		{ "huge", "always", "always" }, { "huge", "never\n", "never" },
		{ "huge", "advise\n", "advise" },
		{ "prealloc", "1", "1" }, { "prealloc", "0\n", "0" },
		{ "node_mode", "0644", "0644" }, { "node_mode", "600", "0600" },
		{ "node_mode", "0\n", "0" }, { "node_mode", "0777", "0777" },
	};
	size_t i;

	ASSERT_EQ(0, config_make("one"));
	for (i = 0; i < ARRAY_SIZE(good); i++) {
		EXPECT_EQ(0, config_set("one", good[i][0], good[i][1]))
			TH_LOG("%s %s", good[i][0], good[i][1]);
		EXPECT_TRUE(config_is("one", good[i][0], good[i][2]));
	}
	EXPECT_TRUE(config_is("one", "live", "0"));
	EXPECT_TRUE(config_is("one", "node", "none"));
}

TEST_F(config, a_max_size_that_was_not_written_is_the_size)
{
	char path[32];
	int fd;

	ASSERT_EQ(0, config_make("one"));
	ASSERT_EQ(0, config_set("one", "size", "1M"));
	EXPECT_TRUE(config_is("one", "max_size", "1048576"));
	ASSERT_EQ(0, config_set("one", "size", "32M"));
	EXPECT_TRUE(config_is("one", "max_size", "33554432"));
	ASSERT_EQ(0, config_live("two", "8K", path, sizeof(path)));
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(8192, info_of(fd).size);
	EXPECT_EQ(8192, info_of(fd).max_size);
	close(fd);
}

TEST_F(config, a_bad_value_is_einval_and_changes_nothing)
{
	static const char * const bad[][2] = {
		{ "size", "0" }, { "size", "1" }, { "size", "4095" },
		{ "size", "5000" }, { "size", "abc" }, { "size", "-1" },
		{ "size", "-4096" }, { "size", "4096x" }, { "size", "\n" },
		{ "size", "1M,2M" }, { "size", "1M 2M" },
		{ "size", "99999999999G" }, { "size", "18446744073709551616" },
		{ "max_size", "1" }, { "max_size", "abc" },
		{ "max_size", "8M,16M" }, { "max_size", "-4096" },
		{ "mode", "lazy" }, { "mode", "\n" }, { "mode", "1" },
		{ "mode", "demand eager" }, { "mode", "demand,eager" },
		{ "huge", "sometimes" }, { "huge", "2" }, { "huge", "\n" },
		{ "prealloc", "2" }, { "prealloc", "x" }, { "prealloc", "\n" },
		{ "node_mode", "9" }, { "node_mode", "01000" },
		{ "node_mode", "abc" }, { "node_mode", "-1" },
		{ "node_mode", "\n" },
		{ "live", "2" }, { "live", "x" }, { "live", "\n" },
		{ "live", "-1" },
	};
	size_t i;
	int err;

	ASSERT_EQ(0, config_make("one"));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		err = config_set("one", bad[i][0], bad[i][1]);
		/* For a number that no integer holds either is fine. */
		EXPECT_TRUE(err == -EINVAL || err == -ERANGE)
			TH_LOG("%s %s: %d", bad[i][0], bad[i][1], err);
	}
	expect_defaults(_metadata, "one");
	EXPECT_EQ(2, nodes());
}

TEST_F(config, a_max_size_below_the_size_makes_no_device)
{
	int set, live;

	ASSERT_EQ(0, config_make("one"));
	ASSERT_EQ(0, config_set("one", "size", "1M"));
	set = config_set("one", "max_size", "64K");
	live = config_set("one", "live", "1");
	EXPECT_TRUE(set == -EINVAL || (!set && live == -EINVAL))
		TH_LOG("max_size %d, live %d", set, live);
	if (!set) {
		EXPECT_TRUE(config_is("one", "live", "0"));
		EXPECT_EQ(2, nodes());
	}
	/* It can be mended. */
	config_set("one", "live", "0");
	EXPECT_EQ(0, config_set("one", "max_size", "2M"));
	EXPECT_EQ(0, config_set("one", "live", "1"));
	EXPECT_EQ(3, nodes());
}

TEST_F(config, the_device_is_as_its_directory_says)
{
	static const char * const set[][2] = {
		{ "size", "64K" }, { "max_size", "4M" }, { "mode", "eager" },
		{ "huge", "always" }, { "prealloc", "1" },
		{ "node_mode", "0640" }, { "live", "1" },
	};
	const struct wanted wanted = { 64 * KIB, 4 * MIB, EAGER, ALWAYS };
	struct mmapdev_ioc_info info;
	struct stat st;
	size_t i;
	int fd;

	ASSERT_EQ(0, config_make("one"));
	for (i = 0; i < ARRAY_SIZE(set); i++)
		ASSERT_EQ(0, config_set("one", set[i][0], set[i][1]));
	EXPECT_TRUE(config_is("one", "live", "1"));
	EXPECT_TRUE(config_is("one", "node", "mmapdev2"));
	ASSERT_EQ(0, stat(node(2), &st));
	EXPECT_EQ(0640, st.st_mode & 07777);
	fd = node_open(2, O_RDWR);
	ASSERT_LE(0, fd);
	info = info_of(fd);
	EXPECT_EQ(wanted.size, info.size);
	EXPECT_EQ(wanted.max_size, info.max_size);
	EXPECT_EQ(wanted.mode, info.mode);
	EXPECT_EQ(wanted.huge, info.huge);
	EXPECT_EQ(64 * KIB, info.resident);
	ASSERT_EQ(0, device_resize(fd, 4 * MIB));
	EXPECT_EQ(4 * MIB, info_of(fd).resident);
	/* The description is what it was made with. */
	EXPECT_TRUE(config_is("one", "size", "65536"));
	close(fd);
}

TEST_F(config, the_attributes_of_a_live_device_are_busy)
{
	static const char * const busy[][2] = {
		{ "size", "1M" }, { "max_size", "64M" }, { "mode", "eager" },
		{ "huge", "always" }, { "prealloc", "1" },
		{ "node_mode", "0644" },
	};
	const struct wanted wanted = { 1 * MIB, 64 * MIB, EAGER, ALWAYS };
	size_t i;

	ASSERT_EQ(0, config_make("one"));
	ASSERT_EQ(0, config_set("one", "live", "1"));
	for (i = 0; i < ARRAY_SIZE(busy); i++) {
		EXPECT_EQ(-EBUSY, config_set("one", busy[i][0], busy[i][1]))
			TH_LOG("%s", busy[i][0]);
		EXPECT_TRUE(config_is("one", defaults[i][0], defaults[i][1]));
	}
	EXPECT_EQ(-EACCES, config_set("one", "node", "mmapdev7"));
	EXPECT_TRUE(config_is("one", "node", "mmapdev2"));
	ASSERT_EQ(0, config_set("one", "live", "0"));
	for (i = 0; i < ARRAY_SIZE(busy); i++)
		EXPECT_EQ(0, config_set("one", busy[i][0], busy[i][1]));
	ASSERT_EQ(0, config_set("one", "live", "1"));
	expect_device(_metadata, 2, &wanted);
}

TEST_F(config, live_makes_and_removes_the_device)
{
	int i, fd;

	ASSERT_EQ(0, config_make("one"));
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, config_set("one", "live", i % 2 ? "1" : "1\n"));
		EXPECT_EQ(3, nodes());
		EXPECT_TRUE(config_is("one", "live", "1"));
		EXPECT_TRUE(config_is("one", "node", "mmapdev2"));
		fd = node_open(2, O_RDWR);
		ASSERT_LE(0, fd);
		EXPECT_EQ(0, info_of(fd).resident);
		EXPECT_EQ(1, pwrite(fd, "x", 1, 0));
		close(fd);
		ASSERT_EQ(0, config_set("one", "live", "0"));
		EXPECT_EQ(2, nodes());
		EXPECT_TRUE(config_is("one", "live", "0"));
		EXPECT_TRUE(config_is("one", "node", "none"));
	}
}

TEST_F(config, live_written_again_leaves_the_device_as_it_is)
{
	int fd;

	ASSERT_EQ(0, config_make("one"));
	config_set("one", "live", "0");
	EXPECT_EQ(2, nodes());
	ASSERT_EQ(0, config_set("one", "live", "1"));
	fd = node_open(2, O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, device_fill(fd, 0, 4096, pattern_of(1)));
	config_set("one", "live", "1");
	EXPECT_EQ(3, nodes());
	EXPECT_TRUE(config_is("one", "node", "mmapdev2"));
	EXPECT_EQ(pattern_sum(0, 4096, pattern_of(1)), sum_of(fd, 0, 4096));
	close(fd);
}

TEST_F(config, a_node_takes_the_lowest_number_that_is_free)
{
	ASSERT_EQ(0, config_make("a"));
	ASSERT_EQ(0, config_make("b"));
	ASSERT_EQ(0, config_make("c"));
	ASSERT_EQ(0, config_make("d"));
	/* By the order of coming to life, not of the directories. */
	ASSERT_EQ(0, config_set("c", "live", "1"));
	ASSERT_EQ(0, config_set("a", "live", "1"));
	ASSERT_EQ(0, config_set("b", "live", "1"));
	EXPECT_TRUE(config_is("c", "node", "mmapdev2"));
	EXPECT_TRUE(config_is("a", "node", "mmapdev3"));
	EXPECT_TRUE(config_is("b", "node", "mmapdev4"));
	ASSERT_EQ(0, config_set("a", "live", "0"));
	ASSERT_EQ(0, config_drop("c"));
	EXPECT_EQ(-1, access(node(2), F_OK));
	EXPECT_EQ(-1, access(node(3), F_OK));
	EXPECT_EQ(0, access(node(4), F_OK));
	ASSERT_EQ(0, config_set("d", "live", "1"));
	EXPECT_TRUE(config_is("d", "node", "mmapdev2"));
	ASSERT_EQ(0, config_set("a", "live", "1"));
	EXPECT_TRUE(config_is("a", "node", "mmapdev3"));
	EXPECT_TRUE(config_is("b", "node", "mmapdev4"));
}

TEST_F(config, the_first_node_may_be_made_at_run_time)
{
	ASSERT_EQ(0, module_reload("devices=0"));
	ASSERT_EQ(0, config_make("one"));
	ASSERT_EQ(0, config_make("two"));
	ASSERT_EQ(0, config_set("one", "live", "1"));
	ASSERT_EQ(0, config_set("two", "live", "1"));
	EXPECT_TRUE(config_is("one", "node", "mmapdev"));
	EXPECT_TRUE(config_is("two", "node", "mmapdev1"));
	EXPECT_EQ(2, nodes());
	config_clear();
	EXPECT_EQ(0, nodes());
	ASSERT_EQ(0, module_reload("size=64K devices=2"));
}

TEST_F(config, a_directory_may_have_any_name)
{
	static const char * const names[] = {
		"mmapdev", "mmapdev1", "size", "a b", "-", "ä",
		"12345678901234567890123456789012345678901234567890",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		ASSERT_EQ(0, config_make(names[i]));
		ASSERT_EQ(0, config_set(names[i], "live", "1"));
	}
	EXPECT_EQ(2 + (int)i, nodes());
	for (i = 0; i < ARRAY_SIZE(names); i++)
		EXPECT_EQ(0, config_drop(names[i]));
}

TEST_F(config, nothing_can_be_made_in_a_directory)
{
	ASSERT_EQ(0, config_make("one"));
	EXPECT_EQ(-EPERM, config_make("one/two"));
	EXPECT_EQ(-1, symlink(CONFIG "/one", CONFIG "/one/link"));
	EXPECT_EQ(-1, symlink(CONFIG "/one", CONFIG "/link"));
	EXPECT_EQ(-1, creat(CONFIG "/one/file", 0600));
	EXPECT_EQ(-1, unlink(CONFIG "/one/size"));
}

static int try_as_nobody(void *arg)
{
	(void)arg;
	return become_nobody() ||
	       !(holds(config_make("two") == -EACCES) &&
		 holds(config_drop("one") == -EACCES) &&
		 holds(config_set("one", "live", "0") == -EACCES) &&
		 holds(config_set("one", "size", "1M") == -EACCES) &&
		 holds(config_is("one", "live", "1")) &&
		 holds(node_open(2, O_RDONLY) < 0 && errno == EACCES));
}

TEST_F(config, an_unprivileged_process_makes_and_removes_nothing)
{
	ASSERT_EQ(0, config_make("one"));
	ASSERT_EQ(0, config_set("one", "live", "1"));
	EXPECT_EQ(0, child_run(try_as_nobody, NULL));
	EXPECT_EQ(3, nodes());
}

TEST_F(config, a_directory_keeps_the_module)
{
	ASSERT_EQ(0, config_make("one"));
	EXPECT_EQ(-EAGAIN, module_unload());
	ASSERT_EQ(0, config_set("one", "live", "1"));
	EXPECT_EQ(-EAGAIN, module_unload());
	ASSERT_EQ(0, config_set("one", "live", "0"));
	EXPECT_EQ(-EAGAIN, module_unload());
	EXPECT_EQ(2, nodes());
	ASSERT_EQ(0, config_drop("one"));
	EXPECT_EQ(0, module_unload());
	EXPECT_TRUE(nothing_left());
	ASSERT_EQ(0, module_load("size=64K devices=2"));
}

TEST_F(config, an_attribute_held_open_outlives_its_directory)
{
	char text[64];
	int size, live;

	ASSERT_EQ(0, config_make("one"));
	ASSERT_EQ(0, config_set("one", "live", "1"));
	size = open(CONFIG "/one/size", O_RDONLY | O_CLOEXEC);
	live = open(CONFIG "/one/live", O_WRONLY | O_CLOEXEC);
	ASSERT_LE(0, size);
	ASSERT_LE(0, live);
	ASSERT_EQ(0, config_drop("one"));
	EXPECT_EQ(2, nodes());
	EXPECT_GE(0, read(size, text, sizeof(text)));
	EXPECT_EQ(-1, write(live, "1", 1));
	EXPECT_EQ(2, nodes());
	close(size);
	close(live);
}

TEST_F(config, a_process_in_a_directory_does_not_keep_it)
{
	ASSERT_EQ(0, config_make("one"));
	ASSERT_EQ(0, chdir(CONFIG "/one"));
	ASSERT_EQ(0, config_set("one", "live", "1"));
	EXPECT_EQ(0, config_drop("one"));
	EXPECT_EQ(-1, access("size", F_OK));
	ASSERT_EQ(0, chdir("/"));
	EXPECT_EQ(2, nodes());
}

TEST_F_TIMEOUT(config, a_device_is_made_and_removed_100_times, 120)
{
	unsigned long before = 0;
	char path[32];
	int i, fd;

	for (i = 0; i < 100; i++) {
		/* The first rounds fill the lists of free pages of each CPU. */
		if (i == 10)
			before = free_memory();
		ASSERT_EQ(0, config_live("one", "2M", path, sizeof(path)));
		EXPECT_STREQ(node(2), path);
		fd = open(path, O_RDWR | O_CLOEXEC);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, info_of(fd).resident);
		ASSERT_EQ(0, device_fill(fd, 0, 2 * MIB, pattern_of(i)));
		close(fd);
		/* By turns in two steps, and in one. */
		if (i % 2)
			ASSERT_EQ(0, config_set("one", "live", "0"));
		ASSERT_EQ(0, config_drop("one"));
		ASSERT_EQ(-1, access(path, F_OK));
	}
	/* Of 180 MiB not a tenth is amiss. */
	EXPECT_LT(before, free_memory() + 18 * MIB);
}

TEST_F_TIMEOUT(config, sixty_devices_at_once, 120)
{
	char name[16], path[32];
	__u64 seen;
	int i, fd;

	for (i = 0; i < 60; i++) {
		snprintf(name, sizeof(name), "many%d", i);
		ASSERT_EQ(0, config_live(name, "64K", path, sizeof(path)));
		ASSERT_STREQ(node(2 + i), path);
		fd = open(path, O_RDWR | O_CLOEXEC);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, device_fill(fd, 0, 4096, pattern_of(i)));
		close(fd);
	}
	EXPECT_EQ(62, nodes());
	for (i = 0; i < 60; i++) {
		fd = node_open(2 + i, O_RDONLY);
		ASSERT_EQ(8, pread(fd, &seen, 8, 0));
		EXPECT_EQ(pattern_of(i), seen);
		close(fd);
	}
}

struct maker {
	pthread_t thread;
	int number;
	bool own;
	const char *bad;
};

/* Makes and removes a device, by a directory of its own or one for all. */
static void *make_and_remove(void *arg)
{
	struct maker *me = arg;
	char name[16], path[32];
	__u64 seen = 0;
	int i, fd;

	snprintf(name, sizeof(name), "thread%d", me->number);
	for (i = 0; i < 40 && !me->bad; i++) {
		if (!me->own) {
			config_set("one", "live", (i + me->number) % 2 ? "1" : "0");
			continue;
		}
		if (config_live(name, "64K", path, sizeof(path))) {
			me->bad = "it can't be made";
			break;
		}
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			me->bad = "it can't be opened";
		else if (device_fill(fd, 0, 4096, pattern_of(me->number)) ||
			 pread(fd, &seen, 8, 8) != 8)
			me->bad = "it can't be used";
		else if (seen != pattern_of(me->number) ||
			 info_of(fd).resident != 4096)
			me->bad = "it is the device of another";
		close(fd);
		if (config_drop(name))
			me->bad = "it can't be removed";
	}
	return NULL;
}

static void run_makers(struct __test_metadata *_metadata, bool own)
{
	struct maker makers[4] = {};
	int i;

	for (i = 0; i < 4; i++) {
		makers[i].number = i;
		makers[i].own = own;
		ASSERT_EQ(0, pthread_create(&makers[i].thread, NULL,
					    make_and_remove, &makers[i]));
	}
	for (i = 0; i < 4; i++) {
		pthread_join(makers[i].thread, NULL);
		EXPECT_EQ(NULL, makers[i].bad)
			TH_LOG("thread %d: %s", i, makers[i].bad);
	}
}

TEST_F_TIMEOUT(config, threads_make_and_remove_devices_at_once, 120)
{
	run_makers(_metadata, true);
	EXPECT_EQ(2, nodes());
}

TEST_F_TIMEOUT(config, threads_switch_one_device_on_and_off_at_once, 120)
{
	ASSERT_EQ(0, config_make("one"));
	run_makers(_metadata, false);
	/* It ended one way or the other, and is whole. */
	EXPECT_EQ(access(CONFIG "/one/live", F_OK), 0);
	config_set("one", "live", "0");
	EXPECT_TRUE(config_is("one", "live", "0"));
	EXPECT_EQ(2, nodes());
	ASSERT_EQ(0, config_set("one", "live", "1"));
	EXPECT_EQ(3, nodes());
}

TEST_HARNESS_MAIN
