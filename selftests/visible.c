// SPDX-License-Identifier: GPL-2.0
/*
 * What can be seen of a device from outside: sysfs tells what INFO tells,
 * counters count, tracepoints fire, and memory is charged to who touches it.
 */
#include <stdarg.h>
#include <sys/stat.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#define NAME	"visible"
#define MIB	1048576ul
#define PAGES	16

/* A device of our own, so that nothing was done with it yet. */
static int make(const char *huge, char *path, size_t room)
{
	int err;

	config_drop(NAME);
	err = config_make(NAME);
	if (!err)
		err = config_set(NAME, "huge", huge);
	if (!err)
		err = config_set(NAME, "size", "16M");
	if (!err)
		err = config_set(NAME, "max_size", "32M");
	return err ? err : config_start(NAME, path, room);
}

FIXTURE(visible) {
	char path[32];
	int fd;
	int eager;
	size_t span;
	unsigned char *data;
};

FIXTURE_SETUP(visible)
{
	if (access(CONFIG, F_OK))
		SKIP(return, "needs " CONFIG);
	ASSERT_EQ(0, make("never", self->path, sizeof(self->path)));
	self->fd = open(self->path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	self->eager = open(self->path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->eager);
	ASSERT_EQ(0, device_set_mode(self->eager, EAGER));
	self->span = PAGES * PAGE;
}

FIXTURE_TEARDOWN(visible)
{
	close(self->fd);
	close(self->eager);
	EXPECT_EQ(0, config_drop(NAME));
}

static bool sysfs_is(const char *node, const char *attribute, const char *value)
{
	char path[128], text[64];

	snprintf(path, sizeof(path), "/sys/class/misc/%s/%s", node + 5,
		 attribute);
	if (file_read(path, text, sizeof(text)) < 0)
		return false;
	if (!strcmp(text, value))
		return true;
	fprintf(stderr, "# %s is %s# not %s", path, text, value);
	return false;
}

static bool sysfs_number_is(const char *node, const char *attribute,
			    __u64 value)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu\n", (unsigned long long)value);
	return sysfs_is(node, attribute, text);
}

/* Each attribute is what INFO says. */
static void expect_sysfs_as_info(struct __test_metadata *_metadata,
				 const char *node, int fd)
{
	static const char * const policy[] = { "never\n", "advise\n", "always\n" };
	struct mmapdev_ioc_info info = info_of(fd);

	EXPECT_TRUE(sysfs_number_is(node, "size", info.size));
	EXPECT_TRUE(sysfs_number_is(node, "max_size", info.max_size));
	EXPECT_TRUE(sysfs_number_is(node, "resident", info.resident));
	EXPECT_TRUE(sysfs_number_is(node, "dirty", info.dirty));
	EXPECT_TRUE(sysfs_number_is(node, "committed", info.committed));
	EXPECT_TRUE(sysfs_number_is(node, "commit_seq", info.commit_seq));
	EXPECT_TRUE(sysfs_number_is(node, "maps", info.maps));
	EXPECT_TRUE(sysfs_number_is(node, "faults", info.faults));
	EXPECT_TRUE(sysfs_number_is(node, "mkwrites", info.mkwrites));
	EXPECT_TRUE(sysfs_number_is(node, "resizes", info.resizes));
	EXPECT_TRUE(sysfs_number_is(node, "punches", info.punches));
	ASSERT_GE(2, info.huge);
	EXPECT_TRUE(sysfs_is(node, "huge", policy[info.huge]));
}

TEST_F(visible, sysfs_tells_what_info_tells)
{
	unsigned char *data;

	expect_sysfs_as_info(_metadata, self->path, self->fd);
	EXPECT_TRUE(sysfs_number_is(self->path, "size", 16 * MIB));
	EXPECT_TRUE(sysfs_number_is(self->path, "max_size", 32 * MIB));
	EXPECT_TRUE(sysfs_number_is(self->path, "resident", 0));
	/* Different numbers, so that none is taken for another. */
	ASSERT_EQ(0, device_fill(self->fd, 0, 10 * PAGE, 1));
	ASSERT_EQ(0, fsync(self->fd));
	ASSERT_EQ(0, fsync(self->fd));
	data = map(self->fd, 32 * PAGE, RW, MAP_SHARED, 64 * PAGE);
	ASSERT_NE(NULL, data);
	for (size_t at = 0; at < 7 * PAGE; at += PAGE)
		data[at] = 1;
	for (size_t at = 8 * PAGE; at < 12 * PAGE; at += PAGE)
		fault_of_read(data + at);
	for (int i = 0; i < 5; i++)
		ASSERT_EQ(0, device_resize(self->fd, (16 + i % 2) * MIB + PAGE));
	for (int i = 0; i < 9; i++)
		ASSERT_EQ(0, device_punch(self->fd, i * PAGE, PAGE));
	expect_sysfs_as_info(_metadata, self->path, self->fd);
	EXPECT_TRUE(sysfs_number_is(self->path, "resident", 12 * PAGE));
	EXPECT_TRUE(sysfs_number_is(self->path, "dirty", 7 * PAGE));
	EXPECT_TRUE(sysfs_number_is(self->path, "committed", 10 * PAGE));
	EXPECT_TRUE(sysfs_number_is(self->path, "commit_seq", 2));
	EXPECT_TRUE(sysfs_number_is(self->path, "resizes", 5));
	EXPECT_TRUE(sysfs_number_is(self->path, "punches", 9));
	munmap(data, 32 * PAGE);
}

TEST_F(visible, sysfs_tells_how_it_was_made)
{
	static const char * const set[][2] = {
		{ "mode", "eager" }, { "huge", "advise" }, { "prealloc", "1" },
		{ "live", "1" },
	};
	size_t i;

	EXPECT_TRUE(sysfs_is(self->path, "mode", "demand\n"));
	EXPECT_TRUE(sysfs_is(self->path, "huge", "never\n"));
	EXPECT_TRUE(sysfs_is(self->path, "prealloc", "0\n"));
	/* What one file chose is not what the device is. */
	ASSERT_EQ(0, device_set_mode(self->fd, EAGER));
	EXPECT_TRUE(sysfs_is(self->path, "mode", "demand\n"));
	ASSERT_EQ(0, config_set(NAME, "live", "0"));
	for (i = 0; i < ARRAY_SIZE(set); i++)
		ASSERT_EQ(0, config_set(NAME, set[i][0], set[i][1]));
	EXPECT_TRUE(sysfs_is(self->path, "mode", "eager\n"));
	EXPECT_TRUE(sysfs_is(self->path, "huge", "advise\n"));
	EXPECT_TRUE(sysfs_is(self->path, "prealloc", "1\n"));
	EXPECT_TRUE(sysfs_number_is(self->path, "resident", 16 * MIB));
}

/* What the counters did in one step, all of them. */
struct moved {
	__u64 maps;
	__u64 faults;
	__u64 mkwrites;
	__u64 resizes;
	__u64 punches;
};

#define EXPECT_MOVED(step, ...) do {					\
	struct moved want_ = { __VA_ARGS__ };				\
	struct moved got_ = moved_in(step);				\
	EXPECT_EQ(want_.maps, got_.maps);				\
	EXPECT_EQ(want_.faults, got_.faults);				\
	EXPECT_EQ(want_.mkwrites, got_.mkwrites);			\
	EXPECT_EQ(want_.resizes, got_.resizes);				\
	EXPECT_EQ(want_.punches, got_.punches);				\
} while (0)

/* And begins the next one. */
static struct moved moved_in(struct step *step)
{
	struct mmapdev_ioc_info *was = &step->before;
	struct mmapdev_ioc_info is = info_of(step->fd);
	struct moved moved = {
		.maps = is.maps - was->maps,
		.faults = is.faults - was->faults,
		.mkwrites = is.mkwrites - was->mkwrites,
		.resizes = is.resizes - was->resizes,
		.punches = is.punches - was->punches,
	};

	*was = is;
	return moved;
}

TEST_F(visible, maps_counts_every_mmap)
{
	const int type[] = { MAP_SHARED, MAP_PRIVATE };
	struct step step;
	unsigned char *data;
	int i;

	step_begin(&step, self->fd);
	for (i = 0; i < 4; i++) {
		data = map(i / 2 ? self->eager : self->fd, self->span, RW,
			   type[i % 2], 0);
		ASSERT_NE(NULL, data);
		EXPECT_MOVED(&step, .maps = 1);
		/* Nothing else that makes a mapping is an mmap. */
		ASSERT_EQ(0, mprotect(data + PAGE, PAGE, PROT_READ));
		ASSERT_EQ(0, munmap(data + 2 * PAGE, PAGE));
		ASSERT_EQ(0, munmap(data, self->span));
		EXPECT_MOVED(&step);
	}
	EXPECT_EQ(NULL, map(self->fd, PAGE, RW, MAP_SHARED, 32 * MIB));
	EXPECT_EQ(NULL, map(self->fd, PAGE, RW | PROT_EXEC, MAP_SHARED, 0));
	EXPECT_MOVED(&step);
}

TEST_F(visible, faults_counts_touches_of_holes)
{
	unsigned char *data = map(self->fd, self->span, RW, MAP_SHARED, 0);
	struct step step;
	int i;

	ASSERT_NE(NULL, data);
	step_begin(&step, self->fd);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, fault_of_read(data + i * PAGE).sig);
	EXPECT_MOVED(&step, .faults = 3);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, fault_of_read(data + i * PAGE).sig);
	EXPECT_MOVED(&step);
	for (i = 4; i < 9; i++)
		EXPECT_EQ(0, fault_of_write(data + i * PAGE, 1).sig);
	EXPECT_MOVED(&step, .faults = 5, .mkwrites = 5);
	for (i = 4; i < 9; i++)
		EXPECT_EQ(0, fault_of_write(data + i * PAGE, 2).sig);
	EXPECT_MOVED(&step);
	ASSERT_EQ(0, munmap(data, self->span));
}

TEST_F(visible, mkwrites_counts_first_writes_to_clean_pages)
{
	unsigned char *data = map(self->fd, self->span, RW, MAP_SHARED, 0);
	struct step step;
	int i;

	ASSERT_NE(NULL, data);
	for (i = 0; i < PAGES; i++)
		fault_of_read(data + i * PAGE);
	step_begin(&step, self->fd);
	for (i = 0; i < 3; i++)
		data[i * PAGE] = 1;
	EXPECT_MOVED(&step, .mkwrites = 3);
	for (i = 0; i < 3; i++)
		data[i * PAGE] = 2;
	EXPECT_MOVED(&step);
	ASSERT_EQ(0, msync(data, self->span, MS_SYNC));
	for (i = 0; i < 5; i++)
		data[i * PAGE] = 3;
	EXPECT_MOVED(&step, .mkwrites = 5);
	ASSERT_EQ(0, munmap(data, self->span));
}

TEST_F(visible, private_and_eager_mappings_count_no_mkwrites)
{
	struct step step;
	unsigned char *data;
	int i;

	ASSERT_EQ(0, device_fill(self->fd, 0, self->span, 1));
	data = map(self->fd, self->span, RW, MAP_PRIVATE, 0);
	ASSERT_NE(NULL, data);
	for (i = 0; i < PAGES; i++)
		data[i * PAGE] = 1;
	step_begin(&step, self->fd);
	ASSERT_EQ(0, munmap(data, self->span));
	EXPECT_EQ(0, step.before.mkwrites);

	data = map(self->eager, self->span, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, data);
	for (i = 0; i < PAGES; i++)
		data[i * PAGE] = 2;
	EXPECT_MOVED(&step, .maps = 1);
	ASSERT_EQ(0, munmap(data, self->span));
}

TEST_F(visible, a_huge_folio_is_one_fault)
{
	struct step step;
	unsigned char *data;
	size_t at;

	close(self->fd);
	close(self->eager);
	ASSERT_EQ(0, make("always", self->path, sizeof(self->path)));
	self->fd = open(self->path, O_RDWR | O_CLOEXEC);
	self->eager = -1;
	ASSERT_LE(0, self->fd);
	data = map(self->fd, 4 * MIB, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, data);
	step_begin(&step, self->fd);
	for (at = 0; at < 2 * MIB; at += PAGE)
		data[at] = 1;
	EXPECT_EQ(2 * MIB, info_of(self->fd).resident);
	EXPECT_MOVED(&step, .faults = 1, .mkwrites = 1);
	ASSERT_EQ(0, munmap(data, 4 * MIB));
}

TEST_F(visible, resizes_counts_changes_of_the_size)
{
	struct step step;

	step_begin(&step, self->fd);
	ASSERT_EQ(0, device_resize(self->fd, 8 * MIB));
	EXPECT_MOVED(&step, .resizes = 1);
	ASSERT_EQ(0, device_resize(self->fd, 8 * MIB));
	EXPECT_MOVED(&step, .resizes = 0);
	ASSERT_EQ(0, device_resize(self->fd, 0));
	ASSERT_EQ(0, device_resize(self->fd, 32 * MIB));
	EXPECT_MOVED(&step, .resizes = 2);
	EXPECT_EQ(-ENXIO, device_resize(self->fd, 32 * MIB + PAGE));
	EXPECT_EQ(-EINVAL, device_resize(self->fd, 1));
	EXPECT_MOVED(&step);
}

TEST_F(visible, punches_counts_holes_punched)
{
	struct step step;

	ASSERT_EQ(0, device_fill(self->fd, 0, self->span, 1));
	step_begin(&step, self->fd);
	ASSERT_EQ(0, device_punch(self->fd, 0, PAGE));
	EXPECT_MOVED(&step, .punches = 1);
	/* Also where there was a hole. */
	ASSERT_EQ(0, device_punch(self->fd, 0, 2 * PAGE));
	EXPECT_MOVED(&step, .punches = 1);
	EXPECT_EQ(-EINVAL, device_punch(self->fd, 1, PAGE));
	EXPECT_EQ(-ENXIO, device_punch(self->fd, 16 * MIB, PAGE));
	ASSERT_EQ(0, device_punch(self->fd, 0, 0));
	EXPECT_MOVED(&step);
}

#define TRACING	"/sys/kernel/tracing"
#define EVENTS	TRACING "/events/mmapdev"

FIXTURE(trace) {
	char path[32];
	int fd;
	int eager;
	int dev;
	unsigned char *data;
};

/* All that was traced since the last time; the caller frees it. */
static char *traced(void)
{
	char *text = calloc(1, 1 << 18);
	int fd = open(TRACING "/trace", O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t got;

	while ((got = read(fd, text + length, (1 << 18) - 1 - length)) > 0)
		length += got;
	close(fd);
	/* This empties it. */
	fd = open(TRACING "/trace", O_WRONLY | O_TRUNC | O_CLOEXEC);
	close(fd);
	return text;
}

/* How many events of a name there are in the text. */
static int count_of(const char *text, const char *event)
{
	char word[64];
	int count = 0;

	snprintf(word, sizeof(word), " mmapdev_%s: ", event);
	while ((text = strstr(text, word))) {
		count++;
		text++;
	}
	return count;
}

/* There is an event of the name, with these fields and no others. */
static bool says(const char *text, const char *event, const char *format, ...)
{
	char line[512], fields[256];
	va_list args;

	va_start(args, format);
	vsnprintf(fields, sizeof(fields), format, args);
	va_end(args);
	snprintf(line, sizeof(line), " mmapdev_%s: %s\n", event, fields);
	if (strstr(text, line))
		return true;
	fprintf(stderr, "# not traced:%s", line);
	while ((text = strstr(text, " mmapdev_"))) {
		fprintf(stderr, "# but:%.*s\n", (int)strcspn(text, "\n"), text);
		text++;
	}
	return false;
}

FIXTURE_SETUP(trace)
{
	if (access(CONFIG, F_OK) || access(EVENTS, F_OK))
		SKIP(return, "needs " CONFIG " and " EVENTS);
	ASSERT_EQ(0, make("never", self->path, sizeof(self->path)));
	self->dev = atoi(self->path + strlen(DEVICE));
	ASSERT_LT(0, self->dev);
	self->fd = open(self->path, O_RDWR | O_CLOEXEC);
	self->eager = open(self->path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	ASSERT_LE(0, self->eager);
	ASSERT_EQ(0, device_set_mode(self->eager, EAGER));
	self->data = map(self->fd, 16 * PAGE, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, self->data);
	ASSERT_EQ(0, file_write(EVENTS "/filter", "0"));
	free(traced());
	ASSERT_EQ(0, file_write(EVENTS "/enable", "1"));
}

FIXTURE_TEARDOWN(trace)
{
	EXPECT_EQ(0, file_write(EVENTS "/enable", "0"));
	EXPECT_EQ(0, file_write(EVENTS "/filter", "0"));
	munmap(self->data, 16 * PAGE);
	close(self->fd);
	close(self->eager);
	config_drop(NAME);
}

static const char * const events[] = {
	"map", "fault", "mkwrite", "commit", "resize", "punch", "revoke",
};

/* Nothing was traced but so many of one. */
static void expect_only(struct __test_metadata *_metadata, const char *text,
			const char *event, int count)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(events); i++) {
		EXPECT_EQ(strcmp(events[i], event) ? 0 : count,
			  count_of(text, events[i]))
			TH_LOG("%s", events[i]);
	}
}

TEST_F(trace, map_tells_the_range_and_how)
{
	unsigned char *data[3];
	char *text;

	data[0] = map(self->fd, 4 * PAGE, RW, MAP_SHARED, PAGE);
	data[1] = map(self->eager, 2 * PAGE, RW, MAP_SHARED, 0);
	data[2] = map(self->fd, PAGE, RW, MAP_PRIVATE, 8 * PAGE);
	EXPECT_EQ(NULL, map(self->fd, PAGE, RW, MAP_SHARED, 32 * MIB));
	text = traced();
	EXPECT_TRUE(says(text, "map", "dev=%d offset=4096 length=16384 shared=1 eager=0 ret=0",
			 self->dev));
	EXPECT_TRUE(says(text, "map", "dev=%d offset=0 length=8192 shared=1 eager=1 ret=0",
			 self->dev));
	EXPECT_TRUE(says(text, "map", "dev=%d offset=32768 length=4096 shared=0 eager=0 ret=0",
			 self->dev));
	EXPECT_TRUE(says(text, "map", "dev=%d offset=33554432 length=4096 shared=1 eager=0 ret=%d",
			 self->dev, -ENXIO));
	expect_only(_metadata, text, "map", 4);
	free(text);
	munmap(data[0], 4 * PAGE);
	munmap(data[1], 2 * PAGE);
	munmap(data[2], PAGE);
}

TEST_F(trace, fault_tells_the_page_and_why)
{
	char fault[80];
	char *text;

	fault_of_read(self->data + 3 * PAGE);
	text = traced();
	snprintf(fault, sizeof(fault),
		 " mmapdev_fault: dev=%d index=3 write=0 order=0 ret=",
		 self->dev);
	EXPECT_NE(NULL, strstr(text, fault));
	expect_only(_metadata, text, "fault", 1);
	free(text);
}

TEST_F(trace, fault_of_a_write_and_its_mkwrite)
{
	char *text;

	fault_of_write(self->data + 5 * PAGE, 1);
	text = traced();
	EXPECT_EQ(1, count_of(text, "fault"));
	EXPECT_TRUE(strstr(text, " index=5 write=1 order=0 ret="));
	EXPECT_EQ(1, count_of(text, "mkwrite"));
	EXPECT_TRUE(says(text, "mkwrite", "dev=%d index=5", self->dev));
	free(text);
}

TEST_F(trace, mkwrite_tells_the_page)
{
	char *text;

	fault_of_read(self->data + 7 * PAGE);
	free(traced());
	fault_of_write(self->data + 7 * PAGE, 1);
	text = traced();
	EXPECT_TRUE(says(text, "mkwrite", "dev=%d index=7", self->dev));
	expect_only(_metadata, text, "mkwrite", 1);
	free(text);
}

TEST_F(trace, commit_tells_the_range_and_what_it_found)
{
	__u64 seq = info_of(self->fd).commit_seq;
	char *text;

	ASSERT_EQ(0, device_fill(self->fd, 0, 4 * PAGE, 1));
	free(traced());
	ASSERT_EQ(0, msync(self->data + PAGE, 2 * PAGE, MS_SYNC));
	text = traced();
	/* The end is the last byte, as fsync has it. */
	EXPECT_TRUE(says(text, "commit", "dev=%d start=4096 end=12287 bytes=8192 seq=%llu",
			 self->dev, (unsigned long long)seq + 1));
	expect_only(_metadata, text, "commit", 1);
	free(text);
	ASSERT_EQ(0, fsync(self->fd));
	text = traced();
	EXPECT_EQ(1, count_of(text, "commit"));
	EXPECT_TRUE(strstr(text, " start=0 end=9223372036854775807 bytes=8192 seq="));
	free(text);
}

TEST_F(trace, resize_and_punch_tell_the_range)
{
	char *text;

	ASSERT_EQ(0, device_resize(self->fd, 20 * MIB));
	text = traced();
	EXPECT_TRUE(says(text, "resize", "dev=%d from=16777216 to=20971520",
			 self->dev));
	expect_only(_metadata, text, "resize", 1);
	free(text);
	ASSERT_EQ(0, device_punch(self->fd, 8 * PAGE, 4 * PAGE));
	text = traced();
	EXPECT_TRUE(says(text, "punch", "dev=%d offset=32768 length=16384",
			 self->dev));
	expect_only(_metadata, text, "punch", 1);
	free(text);
}

TEST_F(trace, revoke_tells_the_device)
{
	char *text;

	ASSERT_EQ(0, config_set(NAME, "live", "0"));
	text = traced();
	EXPECT_TRUE(says(text, "revoke", "dev=%d", self->dev));
	expect_only(_metadata, text, "revoke", 1);
	free(text);
}

TEST_F(trace, each_event_is_told_apart_by_device)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	char filter[32];
	char *text;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fsync(fd));
	text = traced();
	EXPECT_NE(NULL, strstr(text, " mmapdev_commit: dev=0 "));
	free(text);
	snprintf(filter, sizeof(filter), "dev == %d", self->dev);
	ASSERT_EQ(0, file_write(EVENTS "/filter", filter));
	ASSERT_EQ(0, fsync(fd));
	ASSERT_EQ(0, fsync(self->fd));
	text = traced();
	expect_only(_metadata, text, "commit", 1);
	EXPECT_EQ(NULL, strstr(text, " mmapdev_commit: dev=0 "));
	free(text);
	close(fd);
}

TEST_F(trace, each_event_can_be_had_alone_and_switched_off)
{
	char *text;

	ASSERT_EQ(0, file_write(EVENTS "/enable", "0"));
	ASSERT_EQ(0, file_write(EVENTS "/mmapdev_punch/enable", "1"));
	fault_of_write(self->data, 1);
	ASSERT_EQ(0, fsync(self->fd));
	ASSERT_EQ(0, device_punch(self->fd, 0, PAGE));
	text = traced();
	expect_only(_metadata, text, "punch", 1);
	free(text);
	ASSERT_EQ(0, file_write(EVENTS "/enable", "0"));
	fault_of_write(self->data, 1);
	ASSERT_EQ(0, device_punch(self->fd, 0, PAGE));
	ASSERT_EQ(0, device_resize(self->fd, 20 * MIB));
	text = traced();
	expect_only(_metadata, text, "none", 0);
	free(text);
}

#define CGROUP	"/sys/fs/cgroup"
#define SHARE	(8 * MIB)

FIXTURE(charge) {
	char path[32];
	int fd;
};

FIXTURE_VARIANT(charge) {
	const char *huge;
};

FIXTURE_VARIANT_ADD(charge, pages) {
	.huge = "never",
};

FIXTURE_VARIANT_ADD(charge, huge_folios) {
	.huge = "always",
};

static const char * const groups[] = {
	CGROUP "/mmapdev_one", CGROUP "/mmapdev_two",
};

FIXTURE_SETUP(charge)
{
	int i;

	if (access(CONFIG, F_OK))
		SKIP(return, "needs " CONFIG);
	ASSERT_EQ(0, make(variant->huge, self->path, sizeof(self->path)));
	self->fd = open(self->path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	file_write(CGROUP "/cgroup.subtree_control", "+memory");
	for (i = 0; i < 2; i++) {
		rmdir(groups[i]);
		ASSERT_EQ(0, mkdir(groups[i], 0755));
	}
}

FIXTURE_TEARDOWN(charge)
{
	close(self->fd);
	EXPECT_EQ(0, config_drop(NAME));
	EXPECT_EQ(0, rmdir(groups[0]));
	EXPECT_EQ(0, rmdir(groups[1]));
}

/* What memory.stat of a group has for pages of files. */
static long charged(int group)
{
	char path[64], text[8192];
	char *at;

	snprintf(path, sizeof(path), "%s/memory.stat", groups[group]);
	if (file_read(path, text, sizeof(text)) < 0)
		return -1;
	at = strstr(text, "\nfile ");
	return at ? atol(at + 6) : -1;
}

enum means {
	BY_TOUCH,
	BY_WRITE,
	BY_FILL,
	BY_EAGER_MMAP,
};

struct user {
	int fd;
	int group;
	size_t offset;
	enum means means;
};

/* From within a group, gives the device memory for a range. */
static int use(void *arg)
{
	struct user *user = arg;
	char path[64], pid[32];
	char *block;
	size_t at;

	snprintf(path, sizeof(path), "%s/cgroup.procs", groups[user->group]);
	snprintf(pid, sizeof(pid), "%d", getpid());
	if (!holds(!file_write(path, pid)))
		return 1;
	switch (user->means) {
	case BY_TOUCH:
		block = map(user->fd, SHARE, RW, MAP_SHARED, user->offset);
		for (at = 0; block && at < SHARE; at += PAGE)
			block[at] = 1;
		return !holds(block);
	case BY_WRITE:
		block = calloc(1, MIB);
		for (at = 0; at < SHARE; at += MIB)
			if (!holds(pwrite(user->fd, block, MIB,
					  user->offset + at) == MIB))
				return 1;
		return 0;
	case BY_FILL:
		return !holds(!device_fill(user->fd, user->offset, SHARE, 1));
	case BY_EAGER_MMAP:
		return !(holds(!device_set_mode(user->fd, EAGER)) &&
			 holds(map(user->fd, SHARE, RW, MAP_SHARED,
				   user->offset)));
	}
	return 1;
}

static void expect_charges(struct __test_metadata *_metadata, int fd,
			   enum means means)
{
	struct user user = {
		.fd = fd,
		.means = means,
	};

	ASSERT_EQ(0, child_run(use, &user));
	EXPECT_LE((long)SHARE, charged(0));
	EXPECT_GT((long)MIB, charged(1));
	user.group = 1;
	user.offset = SHARE;
	ASSERT_EQ(0, child_run(use, &user));
	EXPECT_LE((long)SHARE, charged(1));
	EXPECT_GT((long)(SHARE + MIB), charged(0));
	/* Who comes second pays nothing. */
	user.offset = 0;
	ASSERT_EQ(0, child_run(use, &user));
	EXPECT_GT((long)(SHARE + MIB), charged(1));
	EXPECT_EQ(2 * SHARE, info_of(fd).resident);

	ASSERT_EQ(0, device_punch(fd, 0, SHARE));
	EXPECT_GT((long)MIB, charged(0));
	EXPECT_LE((long)SHARE, charged(1));
	ASSERT_EQ(0, device_resize(fd, SHARE));
	EXPECT_GT((long)MIB, charged(1));
}

TEST_F_TIMEOUT(charge, a_touch_is_charged_to_who_does_it, 60)
{
	expect_charges(_metadata, self->fd, BY_TOUCH);
}

TEST_F_TIMEOUT(charge, a_write_is_charged_to_who_does_it, 60)
{
	expect_charges(_metadata, self->fd, BY_WRITE);
}

TEST_F_TIMEOUT(charge, a_kernel_fill_is_charged_to_who_asks, 60)
{
	expect_charges(_metadata, self->fd, BY_FILL);
}

TEST_F_TIMEOUT(charge, an_eager_mmap_is_charged_to_who_does_it, 60)
{
	expect_charges(_metadata, self->fd, BY_EAGER_MMAP);
}

TEST_F_TIMEOUT(charge, a_removed_device_charges_nobody, 60)
{
	struct user user = {
		.fd = self->fd,
	};

	ASSERT_EQ(0, child_run(use, &user));
	EXPECT_LE((long)SHARE, charged(0));
	ASSERT_EQ(0, config_set(NAME, "live", "0"));
	EXPECT_GT((long)MIB, charged(0));
}

TEST_HARNESS_MAIN
