// SPDX-License-Identifier: GPL-2.0
/*
 * The bitmap of written pages: one bit for each page that was written since
 * the last clear, by whatever way, apart from what commits clear; and a copy
 * loop built on it, which loses no write while writers run.
 *
 * MMAPDEV_SEED gives a seed back, MMAPDEV_SECONDS says how long a copy takes.
 */
#include <stdatomic.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#define DISK	"/dev/nvme0n1"
#define CLEAR	MMAPDEV_IOC_DIRTY_CLEAR
#define PAGES	64
#define MOST	128

/* The bits of a range of pages as text, "0110", or what is wrong with them. */
static const char *bits(int fd, __u32 flags, size_t first, size_t pages)
{
	static char text[MOST + 1];
	unsigned char map[MOST / 8 + 16];
	size_t bytes = (pages + 7) / 8;
	size_t i, set = 0;
	__u64 count = -1;
	int err;

	memset(map, 0xa5, sizeof(map));
	err = device_dirty(fd, flags, first * PAGE, pages * PAGE, map, &count);
	if (err)
		return strerror(-err);
	for (i = 0; i < 8 * sizeof(map); i++) {
		bool bit = map[i / 8] >> i % 8 & 1;

		if (i < pages) {
			text[i] = '0' + bit;
			set += bit;
		} else if (i < 8 * bytes && bit) {
			return "a bit beyond the range";
		}
	}
	text[pages] = 0;
	for (i = bytes; i < sizeof(map); i++) {
		if (map[i] != 0xa5)
			return "a byte beyond the bitmap";
	}
	return set == count ? text : "a wrong number of pages";
}

static const char *look(int fd, size_t first, size_t pages)
{
	return bits(fd, 0, first, pages);
}

static const char *clear(int fd, size_t first, size_t pages)
{
	return bits(fd, CLEAR, first, pages);
}

FIXTURE(dirty) {
	int fd;
	size_t size;
	size_t span;
	unsigned char *data;
	/* Two pages: the second can't be touched. */
	unsigned char *edge;
	char none[PAGES + 1];
	char all[PAGES + 1];
};

/* Clean, and no bit set, with all pages there and touched by the mapping. */
FIXTURE_SETUP(dirty)
{
	self->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	self->size = size_of(self->fd);
	self->span = PAGES * PAGE;
	if (self->size < self->span)
		SKIP(return, "needs a device of %d pages", PAGES);
	self->data = map(self->fd, self->span, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, self->data);
	memset(self->data, 0, self->span);
	ASSERT_EQ(0, fsync(self->fd));
	memset(self->none, '0', PAGES);
	memset(self->all, '1', PAGES);
	clear(self->fd, 0, PAGES);
	ASSERT_STREQ(self->none, look(self->fd, 0, PAGES));
	ASSERT_EQ(0, info_of(self->fd).dirty);
	self->edge = map(-1, 2 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, 0);
	ASSERT_NE(NULL, self->edge);
	ASSERT_EQ(0, mprotect(self->edge + PAGE, PAGE, PROT_NONE));
}

FIXTURE_TEARDOWN(dirty)
{
	EXPECT_EQ(0, device_resize(self->fd, self->size));
	close(self->fd);
}

TEST_F(dirty, page_i_is_bit_i_modulo_8_of_byte_i_through_8)
{
	unsigned char map[PAGES / 8];
	__u64 count;
	size_t i, j;

	for (i = 0; i < PAGES; i++) {
		self->data[i * PAGE + i] = 1;
		memset(map, 0xff, sizeof(map));
		ASSERT_EQ(0, device_dirty(self->fd, CLEAR, 0, self->span, map,
					  &count));
		ASSERT_EQ(1, count);
		for (j = 0; j < sizeof(map); j++)
			ASSERT_EQ(j == i / 8 ? 1 << i % 8 : 0, map[j])
				TH_LOG("page %zu, byte %zu", i, j);
	}
}

TEST_F(dirty, any_range_of_pages_has_its_bits_and_no_more)
{
	size_t i, first, pages;

	for (i = 0; i < PAGES; i++) {
		if (i * i % 11 < 5)
			self->all[i] = '0';
		else
			self->data[i * PAGE] = 1;
	}
	for (first = 0; first < 18; first++) {
		for (pages = 0; pages <= PAGES - first; pages++) {
			const char *text = look(self->fd, first, pages);

			ASSERT_EQ(pages, strlen(text))
				TH_LOG("%zu pages from %zu: %s", pages, first,
				       text);
			ASSERT_EQ(0, memcmp(self->all + first, text, pages))
				TH_LOG("%zu pages from %zu", pages, first);
		}
	}
}

TEST_F(dirty, no_pages_have_no_bits)
{
	__u64 count = 1;

	self->data[0] = 1;
	EXPECT_EQ(0, device_dirty(self->fd, CLEAR, 0, 0, NULL, &count));
	EXPECT_EQ(0, count);
	count = 1;
	EXPECT_EQ(0, device_dirty(self->fd, CLEAR, self->size, 0, NULL,
				  &count));
	EXPECT_EQ(0, count);
	EXPECT_STREQ("10", look(self->fd, 0, 2));
}

TEST_F(dirty, a_look_forgets_nothing_and_a_clear_its_range)
{
	memset(self->data, 1, 8 * PAGE);
	EXPECT_STREQ("11111111", look(self->fd, 0, 8));
	EXPECT_STREQ("11111111", look(self->fd, 0, 8));
	EXPECT_STREQ("111", clear(self->fd, 2, 3));
	EXPECT_STREQ("000", look(self->fd, 2, 3));
	EXPECT_STREQ("11000111", look(self->fd, 0, 8));
	EXPECT_STREQ("110001110", clear(self->fd, 0, 9));
	EXPECT_STREQ("000000000", clear(self->fd, 0, 9));
}

TEST_F(dirty, all_open_files_share_the_bits)
{
	int other = device_open(O_RDWR, DEMAND);

	ASSERT_LE(0, other);
	self->data[PAGE] = 1;
	EXPECT_STREQ("010", look(other, 0, 3));
	EXPECT_STREQ("010", clear(other, 0, 3));
	EXPECT_STREQ("000", look(self->fd, 0, 3));
}

TEST_F(dirty, no_whole_pages_and_unknown_flags_are_einval)
{
	const struct {
		__u64 offset;
		__u64 length;
	} bad[] = {
		{ 1, PAGE }, { PAGE / 2, PAGE }, { PAGE - 1, 0 }, { 0, 1 },
		{ 0, PAGE - 1 }, { 0, PAGE + 1 }, { PAGE, 3 * PAGE / 2 },
	};
	unsigned char map[PAGES / 8];
	__u64 count;
	size_t i;

	memset(map, 0xa5, sizeof(map));
	memset(self->data, 1, self->span);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_EQ(-EINVAL, device_dirty(self->fd, CLEAR, bad[i].offset,
						bad[i].length, map, &count))
			TH_LOG("range %zu", i);
	for (i = 1; i < 32; i++)
		EXPECT_EQ(-EINVAL, device_dirty(self->fd, CLEAR | 1u << i, 0,
						self->span, map, &count))
			TH_LOG("flag %zu", i);
	EXPECT_TRUE(bytes_are(map, 0xa5, sizeof(map)));
	EXPECT_STREQ(self->all, look(self->fd, 0, PAGES));
}

TEST_F(dirty, a_range_that_overflows_is_eoverflow)
{
	const struct {
		__u64 offset;
		__u64 length;
	} bad[] = {
		{ PAGE, -PAGE }, { -PAGE, PAGE }, { -PAGE, -PAGE },
		{ 1ull << 63, 1ull << 63 },
	};
	unsigned char map[PAGES / 8];
	__u64 count;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_EQ(-EOVERFLOW, device_dirty(self->fd, 0, bad[i].offset,
						   bad[i].length, map, &count))
			TH_LOG("range %zu", i);
}

TEST_F(dirty, a_range_beyond_the_end_is_enxio)
{
	const struct {
		__u64 offset;
		__u64 length;
	} bad[] = {
		{ 0, self->size + PAGE }, { self->size, PAGE },
		{ self->size + PAGE, 0 }, { self->size - PAGE, 2 * PAGE },
		{ 1ull << 62, PAGE }, { 0, 1ull << 63 },
	};
	unsigned char map[PAGES / 8];
	__u64 count;
	size_t i;

	self->data[0] = 1;
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_EQ(-ENXIO, device_dirty(self->fd, CLEAR, bad[i].offset,
					       bad[i].length, map, &count))
			TH_LOG("range %zu", i);
	EXPECT_STREQ("10", look(self->fd, 0, 2));
}

TEST_F(dirty, a_look_needs_a_readable_file_and_a_clear_a_writable_one)
{
	int reader = device_open(O_RDONLY, DEMAND);
	int writer = device_open(O_WRONLY, DEMAND);
	unsigned char map = 0xa5;
	__u64 count;

	ASSERT_LE(0, reader);
	ASSERT_LE(0, writer);
	self->data[0] = 1;
	EXPECT_STREQ("10", look(reader, 0, 2));
	EXPECT_EQ(-EBADF, device_dirty(reader, CLEAR, 0, PAGE, &map, &count));
	EXPECT_EQ(-EBADF, device_dirty(writer, CLEAR, 0, PAGE, &map, &count));
	EXPECT_EQ(-EBADF, device_dirty(writer, 0, 0, PAGE, &map, &count));
	EXPECT_EQ(0xa5, map);
	EXPECT_STREQ("10", look(self->fd, 0, 2));
}

TEST_F(dirty, a_bitmap_that_cannot_be_stored_is_efault_and_loses_no_bit)
{
	void *fixed = map(-1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, 0);
	void *bad[] = {
		NULL, (void *)1, self->edge + PAGE, fixed, (void *)(~0ul - 8),
		(void *)(~0ul << 47),
	};
	__u64 count;
	size_t i;

	memset(self->data, 1, self->span);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EFAULT, device_dirty(self->fd, CLEAR, 0, self->span,
						bad[i], &count))
			TH_LOG("bitmap %zu", i);
		EXPECT_STREQ(self->all, look(self->fd, 0, PAGES))
			TH_LOG("bitmap %zu", i);
	}
}

/* What the call stored it may have cleared; what it did not it has not. */
TEST_F(dirty, a_bitmap_that_can_be_stored_in_part_loses_no_bit)
{
	size_t inside, i;
	__u64 count;

	for (inside = 1; inside < PAGES / 8; inside++) {
		unsigned char *map = self->edge + PAGE - inside;
		const char *later;

		memset(self->edge, 0, PAGE);
		memset(self->data, inside, self->span);
		ASSERT_EQ(-EFAULT, device_dirty(self->fd, CLEAR, 0, self->span,
						map, &count));
		later = look(self->fd, 0, PAGES);
		for (i = 0; i < PAGES; i++)
			ASSERT_TRUE(later[i] == '1' ||
				    (i / 8 < inside && map[i / 8] >> i % 8 & 1))
				TH_LOG("page %zu, %zu bytes", i, inside);
	}
}

TEST_F(dirty, a_result_that_cannot_be_stored_is_efault_and_loses_no_bit)
{
	struct mmapdev_ioc_dirty *arg = (void *)self->edge;
	unsigned char map[PAGES / 8] = {};
	const char *later;
	size_t i;

	memset(self->data, 1, self->span);
	arg->argsz = sizeof(*arg);
	arg->flags = CLEAR;
	arg->length = self->span;
	arg->bitmap = (uintptr_t)map;
	ASSERT_EQ(0, mprotect(self->edge, PAGE, PROT_READ));
	EXPECT_EQ(-1, ioctl(self->fd, MMAPDEV_IOC_DIRTY, arg));
	EXPECT_EQ(EFAULT, errno);
	later = look(self->fd, 0, PAGES);
	for (i = 0; i < PAGES; i++)
		ASSERT_TRUE(later[i] == '1' || map[i / 8] >> i % 8 & 1)
			TH_LOG("page %zu", i);
}

/* Storing it faults in pages of the very range that is looked at. */
TEST_F(dirty, a_bitmap_in_the_device_itself_works)
{
	int eager_fd = device_open(O_RDWR, EAGER);
	unsigned char *bitmap;
	__u64 count;
	size_t i;
	int kind;

	ASSERT_LE(0, eager_fd);
	for (kind = 0; kind < 4; kind++) {
		/* Not touched yet, a hole, touched, eager. */
		if (kind == 1)
			ASSERT_EQ(0, device_punch(self->fd, 40 * PAGE, PAGE));
		bitmap = map(kind == 3 ? eager_fd : self->fd, PAGE, RW,
			     MAP_SHARED, 40 * PAGE);
		ASSERT_NE(NULL, bitmap);
		if (kind == 2)
			bitmap[0] = 1;
		memset(self->data, 1, 40 * PAGE);
		ASSERT_EQ(0, device_dirty(self->fd, CLEAR, 0, self->span,
					  bitmap, &count));
		EXPECT_LE(40, count);
		EXPECT_TRUE(bytes_are(bitmap, 0xff, 5));
		EXPECT_TRUE(bytes_are(bitmap + 6, 0, 2));
		EXPECT_EQ(0, memcmp(bitmap, self->data + 40 * PAGE, 8));
		for (i = 0; i < 40; i++)
			self->none[i] = '0';
		EXPECT_EQ(0, memcmp(self->none, look(self->fd, 0, 40), 40));
		ASSERT_EQ(0, munmap(bitmap, PAGE));
		clear(self->fd, 0, PAGES);
	}
}

TEST_F(dirty, reading_sets_no_bit)
{
	int direct = open(DISK, O_RDWR | O_DIRECT | O_CLOEXEC);
	unsigned char *own = map(self->fd, self->span, RW, MAP_PRIVATE, 0);
	unsigned char *more = map(self->fd, self->span, RW, MAP_SHARED, 0);
	unsigned char *copy = malloc(self->span);
	int fds[2];
	loff_t at;

	ASSERT_NE(NULL, own);
	ASSERT_NE(NULL, more);
	ASSERT_NE(NULL, copy);
	ASSERT_EQ(0, pipe(fds));
	/* Of pages that are there, and then of holes. */
	EXPECT_TRUE(bytes_are(self->data, 0, self->span));
	EXPECT_TRUE(bytes_are(more, 0, self->span));
	EXPECT_TRUE(bytes_are(own, 0, self->span));
	EXPECT_STREQ(self->none, look(self->fd, 0, PAGES));
	ASSERT_EQ(0, device_punch(self->fd, 0, self->span));
	EXPECT_STREQ(self->none, look(self->fd, 0, PAGES));
	ASSERT_EQ(self->span, pread(self->fd, copy, self->span, 0));
	sum_of(self->fd, 0, self->span);
	at = 0;
	ASSERT_LT(0, splice(self->fd, &at, fds[1], NULL, 4 * PAGE, 0));
	EXPECT_STREQ(self->none, look(self->fd, 0, PAGES));
	EXPECT_TRUE(bytes_are(self->data, 0, PAGE));
	EXPECT_TRUE(bytes_are(more + PAGE, 0, PAGE));
	EXPECT_TRUE(bytes_are(own + 2 * PAGE, 0, PAGE));
	EXPECT_EQ(0, madvise(more + 3 * PAGE, PAGE, MADV_POPULATE_READ));
	if (direct >= 0)
		EXPECT_EQ(PAGE, pwrite(direct, more + 4 * PAGE, PAGE, 0));
	EXPECT_STREQ(self->none, look(self->fd, 0, PAGES));
	EXPECT_EQ(0, info_of(self->fd).dirty);
}

TEST_F(dirty, private_writes_set_no_bit)
{
	unsigned char *own = map(self->fd, self->span, RW, MAP_PRIVATE, 0);

	ASSERT_NE(NULL, own);
	own[0] = 1;
	fault_of_read(own + PAGE);
	own[PAGE] = 1;
	ASSERT_EQ(0, device_punch(self->fd, 2 * PAGE, PAGE));
	own[2 * PAGE] = 1;
	EXPECT_STREQ(self->none, look(self->fd, 0, PAGES));
}

static int touch_nothing(void *arg)
{
	(void)arg;
	return 0;
}

TEST_F(dirty, calls_that_write_nothing_set_no_bit)
{
	struct iovec iov = {};

	EXPECT_EQ(0, child_run(touch_nothing, NULL));
	EXPECT_EQ(0, mprotect(self->data, self->span, PROT_READ));
	EXPECT_EQ(0, mprotect(self->data, self->span, RW));
	EXPECT_EQ(0, msync(self->data, self->span, MS_SYNC));
	EXPECT_EQ(0, msync(self->data, self->span, MS_ASYNC));
	EXPECT_EQ(0, fsync(self->fd));
	EXPECT_EQ(0, madvise(self->data, self->span, MADV_DONTNEED));
	EXPECT_EQ(0, pwrite(self->fd, "", 0, 0));
	EXPECT_EQ(0, pwritev(self->fd, &iov, 1, 0));
	EXPECT_EQ(-1, pwrite(self->fd, self->edge + PAGE, PAGE, 0));
	EXPECT_EQ(0, device_fill(self->fd, PAGE, 0, 1));
	EXPECT_EQ(0, device_set_mode(self->fd, EAGER));
	EXPECT_EQ(0, device_set_mode(self->fd, DEMAND));
	EXPECT_EQ(0, device_resize(self->fd, self->size));
	EXPECT_STREQ(self->none, look(self->fd, 0, PAGES));
}

TEST_F(dirty, a_hole_has_no_bit)
{
	memset(self->data, 1, 8 * PAGE);
	ASSERT_EQ(0, device_punch(self->fd, 2 * PAGE, 3 * PAGE));
	EXPECT_STREQ("11000111", look(self->fd, 0, 8));
	fault_of_read(self->data + 2 * PAGE);
	self->data[3 * PAGE] = 1;
	EXPECT_STREQ("11010111", look(self->fd, 0, 8));
	EXPECT_STREQ("11010111", clear(self->fd, 0, 8));
	ASSERT_EQ(0, device_punch(self->fd, 0, 8 * PAGE));
	EXPECT_STREQ("00000000", look(self->fd, 0, 8));
}

TEST_F(dirty, what_was_cut_off_has_no_bit_after_growing_again)
{
	size_t cut = PAGES / 2;

	memset(self->data, 1, self->span);
	ASSERT_EQ(0, device_resize(self->fd, cut * PAGE));
	EXPECT_STREQ(strerror(ENXIO), look(self->fd, 0, PAGES));
	EXPECT_STREQ(self->all + cut, look(self->fd, 0, cut));
	ASSERT_EQ(0, device_resize(self->fd, self->size));
	EXPECT_STREQ(self->none + cut, look(self->fd, cut, PAGES - cut));
	fault_of_read(self->data + cut * PAGE);
	EXPECT_STREQ("0000", look(self->fd, cut, 4));
	self->data[(cut + 1) * PAGE] = 1;
	EXPECT_STREQ("0100", look(self->fd, cut, 4));
	EXPECT_STREQ(self->all + cut, look(self->fd, 0, cut));
}

TEST_F(dirty, a_commit_clears_no_bit)
{
	memset(self->data, 1, 4 * PAGE);
	ASSERT_EQ(0, msync(self->data, 2 * PAGE, MS_SYNC));
	EXPECT_STREQ("111100", look(self->fd, 0, 6));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(0, info_of(self->fd).dirty);
	EXPECT_STREQ("111100", look(self->fd, 0, 6));
	EXPECT_STREQ("111100", clear(self->fd, 0, 6));
	EXPECT_EQ(0, info_of(self->fd).dirty);
}

TEST_F(dirty, a_clear_hides_nothing_from_the_next_commit)
{
	struct step step;

	memset(self->data, 1, 4 * PAGE);
	EXPECT_STREQ("111100", clear(self->fd, 0, 6));
	EXPECT_EQ(4 * PAGE, info_of(self->fd).dirty);
	step_begin(&step, self->fd);
	ASSERT_EQ(0, msync(self->data, self->span, MS_SYNC));
	EXPECT_EQ(4 * PAGE, step_committed(&step));
	EXPECT_EQ(0, step.after.dirty);
	EXPECT_STREQ("000000", look(self->fd, 0, 6));
}

/* Processes that all have the page mapped and written; each stores when told. */
#define PEERS	4

struct peer {
	bool inherits;
	unsigned char *data;
	struct gate go;
	struct gate done;
};

static int store_when_told(void *arg)
{
	struct peer *me = arg;
	int round;

	if (!me->inherits) {
		int fd = device_open(O_RDWR, DEMAND);

		me->data = map(fd, PAGES * PAGE, RW, MAP_SHARED, 0);
		if (!holds(me->data))
			return 1;
	}
	me->data[3 * PAGE] = 1;
	gate_open(&me->done);
	for (round = 0; round < 8; round++) {
		gate_wait(&me->go);
		me->data[3 * PAGE + round] = round;
		gate_open(&me->done);
	}
	return 0;
}

TEST_F(dirty, after_a_clear_the_next_store_of_any_process_sets_the_bit)
{
	struct peer peers[PEERS] = {};
	pid_t pid[PEERS];
	int i, round;

	self->data[3 * PAGE] = 1;
	for (i = 0; i < PEERS; i++) {
		peers[i].inherits = i % 2;
		peers[i].data = self->data;
		ASSERT_EQ(0, gate_make(&peers[i].go));
		ASSERT_EQ(0, gate_make(&peers[i].done));
		pid[i] = child_start(store_when_told, &peers[i]);
		gate_wait(&peers[i].done);
	}
	ASSERT_STREQ("00010", clear(self->fd, 0, 5));
	for (round = 0; round < 8; round++) {
		/* Commits in between are of no matter. */
		if (round & 1)
			ASSERT_EQ(0, fsync(self->fd));
		for (i = 0; i < PEERS; i++) {
			EXPECT_STREQ("00000", look(self->fd, 0, 5));
			gate_open(&peers[i].go);
			gate_wait(&peers[i].done);
			EXPECT_STREQ("00010", clear(self->fd, 0, 5))
				TH_LOG("round %d, process %d", round, i);
		}
		self->data[3 * PAGE] = 2;
		EXPECT_STREQ("00010", clear(self->fd, 0, 5))
			TH_LOG("round %d, myself", round);
	}
	for (i = 0; i < PEERS; i++)
		EXPECT_EQ(0, child_wait(pid[i]));
}

/* Every way to write a page of the device. */
struct way {
	int fd;
	unsigned char *data;
};

static bool by_store(struct way *way, size_t at)
{
	way->data[at + 17] = 1;
	return true;
}

static bool by_atomic(struct way *way, size_t at)
{
	__atomic_fetch_add((int *)(way->data + at), 1, __ATOMIC_SEQ_CST);
	return true;
}

static bool by_write(struct way *way, size_t at)
{
	return pwrite(way->fd, "x", 1, at + 4095) == 1;
}

static bool by_writev(struct way *way, size_t at)
{
	struct iovec iov[] = {
		{ .iov_base = "ab", .iov_len = 2 },
		{ .iov_base = "c", .iov_len = 1 },
	};

	return pwritev(way->fd, iov, 2, at + 8) == 3;
}

static bool by_sync_write(struct way *way, size_t at)
{
	struct iovec iov = { .iov_base = "s", .iov_len = 1 };

	return pwritev2(way->fd, &iov, 1, at, RWF_SYNC) == 1;
}

static bool by_kernel_fill(struct way *way, size_t at)
{
	return !device_fill(way->fd, at + 5, 1, 1);
}

static bool by_splice(struct way *way, size_t at)
{
	loff_t to = at + 1;
	bool good;
	int fds[2];

	if (pipe(fds))
		return false;
	good = write(fds[1], "pipe", 4) == 4 &&
	       splice(fds[0], NULL, way->fd, &to, 4, 0) == 4;
	close(fds[0]);
	close(fds[1]);
	return good;
}

static bool by_read_into_it(struct way *way, size_t at)
{
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	bool good = read(zero, way->data + at + 100, 9) == 9;

	close(zero);
	return good;
}

static bool by_direct_io(struct way *way, size_t at)
{
	int disk = open(DISK, O_RDONLY | O_DIRECT | O_CLOEXEC);
	bool good = pread(disk, way->data + at + 512, 512, 0) == 512;

	close(disk);
	return good;
}

static bool by_another_process(struct way *way, size_t at)
{
	struct iovec from = { .iov_base = "peer", .iov_len = 4 };
	struct iovec to = { .iov_base = way->data + at, .iov_len = 4 };

	return process_vm_writev(getpid(), &from, 1, &to, 1, 0) == 4;
}

FIXTURE(writes) {
	struct way way;
};

FIXTURE_VARIANT(writes) {
	bool (*write)(struct way *way, size_t at);
	/* It leaves nothing to commit. */
	bool commits;
};

FIXTURE_VARIANT_ADD(writes, store) { .write = by_store };
FIXTURE_VARIANT_ADD(writes, atomic) { .write = by_atomic };
FIXTURE_VARIANT_ADD(writes, write) { .write = by_write };
FIXTURE_VARIANT_ADD(writes, writev) { .write = by_writev };
FIXTURE_VARIANT_ADD(writes, sync_write) {
	.write = by_sync_write,
	.commits = true,
};

FIXTURE_VARIANT_ADD(writes, kernel_fill) { .write = by_kernel_fill };
FIXTURE_VARIANT_ADD(writes, splice) { .write = by_splice };
FIXTURE_VARIANT_ADD(writes, read_into_it) { .write = by_read_into_it };
FIXTURE_VARIANT_ADD(writes, direct_io) { .write = by_direct_io };
FIXTURE_VARIANT_ADD(writes, another_process) { .write = by_another_process };

FIXTURE_SETUP(writes)
{
	self->way.fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->way.fd);
	self->way.data = map(self->way.fd, 8 * PAGE, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, self->way.data);
	if (variant->write == by_direct_io && access(DISK, R_OK))
		SKIP(return, "no scratch disk " DISK);
	ASSERT_EQ(0, device_punch(self->way.fd, 0, 8 * PAGE));
	ASSERT_EQ(0, fsync(self->way.fd));
	ASSERT_STREQ("00000000", look(self->way.fd, 0, 8));
}

FIXTURE_TEARDOWN(writes)
{
	close(self->way.fd);
}

TEST_F(writes, set_the_bit_of_their_page_and_no_other)
{
	int round;

	/* A hole first, then the same page over and over. */
	for (round = 0; round < 4; round++) {
		ASSERT_TRUE(variant->write(&self->way, 2 * PAGE));
		EXPECT_STREQ("00100000", look(self->way.fd, 0, 8));
		ASSERT_TRUE(variant->write(&self->way, 2 * PAGE));
		EXPECT_STREQ("00100000", clear(self->way.fd, 0, 8));
	}
	EXPECT_STREQ("00000000", clear(self->way.fd, 0, 8));
}

/* From each of the four states of "to commit" and "to copy". */
TEST_F(writes, are_to_commit_and_to_copy_whatever_was_before)
{
	const size_t dirty = variant->commits ? 0 : PAGE;
	int state;

	for (state = 0; state < 4; state++) {
		self->way.data[PAGE] = 1;
		if (state & 1)
			ASSERT_EQ(0, fsync(self->way.fd));
		if (state & 2)
			ASSERT_STREQ("010", clear(self->way.fd, 0, 3));
		ASSERT_TRUE(variant->write(&self->way, PAGE));
		EXPECT_STREQ("010", look(self->way.fd, 0, 3))
			TH_LOG("state %d", state);
		EXPECT_EQ(dirty, info_of(self->way.fd).dirty)
			TH_LOG("state %d", state);
		ASSERT_EQ(0, fsync(self->way.fd));
		EXPECT_STREQ("010", look(self->way.fd, 0, 3));
		EXPECT_EQ(0, info_of(self->way.fd).dirty);
		EXPECT_STREQ("010", clear(self->way.fd, 0, 3));
	}
}

/* Nothing tells of a store through an eager mapping. */
FIXTURE(eager) {
	int fd;
	unsigned char *all;
};

FIXTURE_SETUP(eager)
{
	self->fd = device_open(O_RDWR, EAGER);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, device_clear(self->fd, 8 * PAGE));
	clear(self->fd, 0, 8);
	ASSERT_STREQ("00000000", look(self->fd, 0, 8));
}

FIXTURE_TEARDOWN(eager)
{
	close(self->fd);
}

TEST_F(eager, a_live_mapping_counts_as_written)
{
	unsigned char *data = map(self->fd, 4 * PAGE, RW, MAP_SHARED, 2 * PAGE);
	int i;

	ASSERT_NE(NULL, data);
	for (i = 0; i < 3; i++) {
		EXPECT_STREQ("00111100", look(self->fd, 0, 8));
		EXPECT_STREQ("00111100", clear(self->fd, 0, 8));
		data[i] = i;
		ASSERT_EQ(0, fsync(self->fd));
	}
	EXPECT_STREQ("11", clear(self->fd, 3, 2));
}

TEST_F(eager, its_end_is_found_by_the_next_clear_and_by_no_later_one)
{
	unsigned char *data = map(self->fd, 4 * PAGE, RW, MAP_SHARED, 2 * PAGE);

	ASSERT_NE(NULL, data);
	EXPECT_STREQ("00111100", clear(self->fd, 0, 8));
	data[0] = 1;
	data[3 * PAGE] = 1;
	ASSERT_EQ(0, munmap(data, 4 * PAGE));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_STREQ("00111100", look(self->fd, 0, 8));
	EXPECT_STREQ("00111100", clear(self->fd, 0, 8));
	EXPECT_STREQ("00000000", clear(self->fd, 0, 8));
}

TEST_F(eager, pages_beside_it_are_told_exactly)
{
	int fd = device_open(O_RDWR, DEMAND);
	unsigned char *data = map(fd, 8 * PAGE, RW, MAP_SHARED, 0);

	ASSERT_NE(NULL, data);
	ASSERT_NE(NULL, map(self->fd, 2 * PAGE, RW, MAP_SHARED, PAGE));
	EXPECT_STREQ("01100000", clear(self->fd, 0, 8));
	data[3 * PAGE] = 1;
	data[2 * PAGE] = 1;
	EXPECT_STREQ("01110000", clear(self->fd, 0, 8));
	EXPECT_STREQ("01100000", clear(self->fd, 0, 8));
}

TEST_F(eager, what_can_write_nothing_does_not_count)
{
	int reader = device_open(O_RDONLY, EAGER);
	unsigned char *own;

	ASSERT_LE(0, reader);
	ASSERT_NE(NULL, map(reader, 4 * PAGE, PROT_READ, MAP_SHARED, 0));
	own = map(self->fd, PAGE, RW, MAP_PRIVATE, 4 * PAGE);
	ASSERT_NE(NULL, own);
	own[0] = 1;
	EXPECT_STREQ("00000000", look(self->fd, 0, 8));
}

TEST_F(eager, what_may_be_made_writable_counts)
{
	unsigned char *data = map(self->fd, 2 * PAGE, PROT_READ, MAP_SHARED, 0);

	ASSERT_NE(NULL, data);
	EXPECT_STREQ("1100", clear(self->fd, 0, 4));
	ASSERT_EQ(0, mprotect(data, 2 * PAGE, RW));
	data[0] = 1;
	EXPECT_STREQ("1100", clear(self->fd, 0, 4));
}

static int hold_mapping(void *arg)
{
	gate_wait(arg);
	return 0;
}

TEST_F(eager, one_that_a_child_inherited_counts)
{
	unsigned char *data = map(self->fd, 2 * PAGE, RW, MAP_SHARED, 0);
	struct gate gate;
	pid_t pid;

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, gate_make(&gate));
	pid = child_start(hold_mapping, &gate);
	ASSERT_EQ(0, munmap(data, 2 * PAGE));
	EXPECT_STREQ("1100", clear(self->fd, 0, 4));
	EXPECT_STREQ("1100", clear(self->fd, 0, 4));
	gate_open(&gate);
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_STREQ("1100", clear(self->fd, 0, 4));
	EXPECT_STREQ("0000", clear(self->fd, 0, 4));
}

TEST_F(eager, a_hole_under_it_has_no_bit_until_it_is_touched)
{
	unsigned char *data = map(self->fd, 4 * PAGE, RW, MAP_SHARED, 0);

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, device_punch(self->fd, PAGE, 2 * PAGE));
	EXPECT_STREQ("10010", clear(self->fd, 0, 5));
	data[PAGE] = 1;
	EXPECT_STREQ("11010", clear(self->fd, 0, 5));
	data[PAGE] = 2;
	EXPECT_STREQ("11010", clear(self->fd, 0, 5));
}

/* A range of more pages than one page of bitmap has bits. */
#define BIG	65536ul

static const size_t sparse[] = {
	0, 1, 7, 8, 63, 511, 4095, 32766, 32767, 32768, 32769, 40001, 65528,
	65534, 65535,
};

FIXTURE(big) {
	int fd;
	unsigned char *data;
	/* The bits and a page behind them, or one that can't be touched. */
	unsigned char *map;
	unsigned char *edge;
};

FIXTURE_SETUP(big)
{
	size_t i;

	if (!module_known())
		SKIP(return, "needs MMAPDEV_KO for a new device");
	ASSERT_EQ(0, module_reload("size=256M"));
	self->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	self->data = map(self->fd, BIG * PAGE, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, self->data);
	for (i = 0; i < ARRAY_SIZE(sparse); i++)
		self->data[sparse[i] * PAGE] = 1;
	self->map = map(-1, BIG / 8 + PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, 0);
	ASSERT_NE(NULL, self->map);
	self->edge = self->map + BIG / 8;
	memset(self->map, 0xff, BIG / 8 + PAGE);
}

FIXTURE_TEARDOWN(big)
{
	munmap(self->data, BIG * PAGE);
	close(self->fd);
	EXPECT_EQ(0, module_reload(NULL));
}

static bool is_sparse(size_t page)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sparse); i++) {
		if (sparse[i] == page)
			return true;
	}
	return false;
}

/* All bits of a range are as they were written. */
static void expect_sparse(struct __test_metadata *_metadata,
			  const unsigned char *map, size_t first, size_t pages,
			  __u64 count)
{
	size_t i, set = 0;

	for (i = 0; i < pages; i++) {
		ASSERT_EQ(is_sparse(first + i), map[i / 8] >> i % 8 & 1)
			TH_LOG("page %zu of %zu", i, pages);
		set += is_sparse(first + i);
	}
	for (; i % 8; i++)
		ASSERT_EQ(0, map[i / 8] >> i % 8 & 1);
	ASSERT_EQ(0xff, map[i / 8]);
	EXPECT_EQ(set, count);
}

TEST_F_TIMEOUT(big, all_its_bits_come_in_one_call, 60)
{
	const struct {
		size_t first;
		size_t pages;
	} range[] = {
		{ 0, BIG }, { 0, BIG / 2 }, { 0, BIG / 2 + 1 }, { 3, BIG - 3 },
		{ 5, BIG / 2 + 11 }, { 32766, 4 }, { BIG - 1, 1 },
	};
	__u64 count;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(range); i++) {
		memset(self->map, 0xff, BIG / 8 + PAGE);
		ASSERT_EQ(0, device_dirty(self->fd, 0, range[i].first * PAGE,
					  range[i].pages * PAGE, self->map,
					  &count));
		expect_sparse(_metadata, self->map, range[i].first,
			      range[i].pages, count);
	}
	/* Looking takes no memory. */
	EXPECT_EQ(ARRAY_SIZE(sparse) * PAGE, info_of(self->fd).resident);

	memset(self->map, 0xff, BIG / 8 + PAGE);
	ASSERT_EQ(0, device_dirty(self->fd, CLEAR, 0, BIG * PAGE, self->map,
				  &count));
	expect_sparse(_metadata, self->map, 0, BIG, count);
	for (i = 0; i < ARRAY_SIZE(sparse); i++)
		self->data[sparse[i] * PAGE] = 2;
	ASSERT_EQ(0, device_dirty(self->fd, CLEAR, 0, BIG * PAGE, self->map,
				  &count));
	expect_sparse(_metadata, self->map, 0, BIG, count);
	ASSERT_EQ(0, device_dirty(self->fd, CLEAR, 0, BIG * PAGE, self->map,
				  &count));
	EXPECT_EQ(0, count);
	EXPECT_TRUE(bytes_are(self->map, 0, BIG / 8));
}

TEST_F_TIMEOUT(big, a_bitmap_that_ends_too_early_loses_no_bit, 60)
{
	size_t inside;

	ASSERT_EQ(0, mprotect(self->edge, PAGE, PROT_NONE));
	for (inside = BIG / 8 - 1; inside > 4000; inside -= 1027) {
		unsigned char *map = self->edge - inside;
		unsigned char later[BIG / 8];
		__u64 count;
		size_t i;

		for (i = 0; i < ARRAY_SIZE(sparse); i++)
			self->data[sparse[i] * PAGE] = inside;
		memset(self->map, 0, BIG / 8);
		ASSERT_EQ(-EFAULT, device_dirty(self->fd, CLEAR, 0, BIG * PAGE,
						map, &count));
		ASSERT_EQ(0, device_dirty(self->fd, 0, 0, BIG * PAGE, later,
					  &count));
		for (i = 0; i < BIG; i++)
			ASSERT_TRUE(!is_sparse(i) ||
				    later[i / 8] >> i % 8 & 1 ||
				    (i / 8 < inside && map[i / 8] >> i % 8 & 1))
				TH_LOG("page %zu, %zu bytes", i, inside);
	}
}

/*
 * The copy loop: writers run in bursts while one clears and copies what was
 * found. After each burst one more round leaves the copy identical, and the
 * one after that finds nothing. Many short bursts, for a write that is lost
 * shows only where nobody writes the page again.
 */
#define WRITERS	3

static unsigned long seed;
static unsigned int seconds = 8;

/* Before the harness forks, so that all of its tests have the one seed. */
static void __attribute__((constructor)) choose_seed(void)
{
	const char *given = getenv("MMAPDEV_SEED");
	const char *box = getenv("MMAPDEV_SECONDS");
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	seed = given ? strtoul(given, NULL, 0) : (now.tv_nsec ^ now.tv_sec) & 0xffffff;
	if (box)
		seconds = strtoul(box, NULL, 0);
}

static unsigned long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ul + now.tv_nsec / 1000000;
}

/* xorshift64* */
static __u64 next(__u64 *random)
{
	*random ^= *random >> 12;
	*random ^= *random << 25;
	*random ^= *random >> 27;
	return *random * 0x2545f4914f6cdd1dull;
}

/* What the processes share. */
struct board {
	/* The burst that is on, and 0 between two. */
	atomic_uint burst;
	atomic_uint begun;
	atomic_uint ended;
	atomic_bool over;
	atomic_ulong writes;
};

struct writer {
	struct board *board;
	int number;
	__u32 mode;
	size_t span;
	int fd;
	unsigned char *data;
	__u64 random;
};

static bool write_once(struct writer *me)
{
	static unsigned char block[3 * 4096];
	size_t at = next(&me->random) % me->span;
	size_t length = next(&me->random) % sizeof(block);
	unsigned char byte = next(&me->random);

	if (length > me->span - at)
		length = me->span - at;
	switch (next(&me->random) % 64) {
	case 0 ... 5:
		memset(block, byte, sizeof(block));
		return pwrite(me->fd, block, length, at) == (ssize_t)length;
	case 6 ... 8:
		return !device_fill(me->fd, at, length, next(&me->random));
	case 9 ... 11:
		memset(me->data + at, byte, length);
		return true;
	case 12:
		return !msync(me->data, me->span, MS_SYNC);
	case 13:
		return !msync(me->data + at / PAGE * PAGE, PAGE, MS_SYNC);
	case 14:
		return me->mode == EAGER ||
		       !madvise(me->data, me->span, MADV_DONTNEED);
	default:
		me->data[at] = byte;
		return true;
	}
}

static int write_in_bursts(void *arg)
{
	struct writer *me = arg;
	struct board *board = me->board;
	unsigned int burst, done = 0;

	me->random = (seed * WRITERS + me->number + 1) * 0x9e3779b97f4a7c15ull;
	me->fd = device_open(O_RDWR, me->mode);
	if (!holds(me->fd >= 0))
		return 1;
	while (!atomic_load(&board->over)) {
		burst = atomic_load(&board->burst);
		if (!burst || burst == done) {
			usleep(500);
			continue;
		}
		me->data = map(me->fd, me->span, RW, MAP_SHARED, 0);
		if (!holds(me->data))
			return 1;
		atomic_fetch_add(&board->begun, 1);
		while (atomic_load(&board->burst) == burst) {
			if (!holds(write_once(me)))
				return 1;
			atomic_fetch_add(&board->writes, 1);
		}
		/* An eager mapping counts as written for as long as it is. */
		munmap(me->data, me->span);
		done = burst;
		atomic_fetch_add(&board->ended, 1);
	}
	return 0;
}

struct copier {
	int fd;
	size_t span;
	unsigned char *data;
	unsigned char *image;
	unsigned char *bitmap;
	__u64 random;
};

FIXTURE(copy) {
	struct copier copier;
	unsigned char *truth;
	struct board *board;
};

FIXTURE_VARIANT(copy) {
	const char *params;
	/* Of the last writer. */
	__u32 mode;
};

FIXTURE_VARIANT_ADD(copy, of_demand_mappings) {
	.params = "size=1M",
	.mode = DEMAND,
};

FIXTURE_VARIANT_ADD(copy, of_an_eager_one_too) {
	.params = "size=1M",
	.mode = EAGER,
};

FIXTURE_VARIANT_ADD(copy, of_huge_folios) {
	.params = "size=9M huge=always",
	.mode = DEMAND,
};

FIXTURE_SETUP(copy)
{
	struct copier *copier = &self->copier;

	if (!module_known())
		SKIP(return, "needs MMAPDEV_KO for a new device");
	fprintf(stderr, "# seed %lu\n", seed);
	copier->random = (seed + 1) * 0x9e3779b97f4a7c15ull;
	ASSERT_EQ(0, module_reload(variant->params));
	copier->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, copier->fd);
	copier->span = size_of(copier->fd);
	copier->data = map(copier->fd, copier->span, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, copier->data);
	copier->image = calloc(1, copier->span);
	self->truth = calloc(1, copier->span);
	copier->bitmap = calloc(1, copier->span / PAGE / 8 + 1);
	ASSERT_TRUE(copier->image && self->truth && copier->bitmap);
	self->board = map(-1, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, 0);
	ASSERT_NE(NULL, self->board);
}

FIXTURE_TEARDOWN(copy)
{
	munmap(self->copier.data, self->copier.span);
	close(self->copier.fd);
	EXPECT_EQ(0, module_reload(NULL));
}

/* Clears a range and copies what it found: the number of pages, or -errno. */
static long copy_range(struct copier *copier, size_t first, size_t pages)
{
	bool by_read = next(&copier->random) & 1;
	__u64 count;
	size_t i;
	int err;

	err = device_dirty(copier->fd, CLEAR, first * PAGE, pages * PAGE,
			   copier->bitmap, &count);
	if (err)
		return err;
	for (i = 0; i < pages; i++) {
		size_t at = (first + i) * PAGE;

		if (!(copier->bitmap[i / 8] >> i % 8 & 1))
			continue;
		if (!by_read)
			memcpy(copier->image + at, copier->data + at, PAGE);
		else if (pread(copier->fd, copier->image + at, PAGE, at) < 0)
			return -EIO;
	}
	return count;
}

TEST_F_TIMEOUT(copy, ends_identical, 300)
{
	struct copier *copier = &self->copier;
	const size_t pages = copier->span / PAGE;
	const unsigned long end = now_ms() + seconds * 1000ul;
	struct writer writers[WRITERS] = {};
	struct board *board = self->board;
	unsigned long copied = 0;
	unsigned int burst = 0;
	pid_t pid[WRITERS];
	int i;

	for (i = 0; i < WRITERS; i++) {
		writers[i].board = self->board;
		writers[i].number = i;
		writers[i].span = copier->span;
		writers[i].mode = i == WRITERS - 1 ? variant->mode : DEMAND;
		pid[i] = child_start(write_in_bursts, &writers[i]);
	}
	while (now_ms() < end) {
		unsigned long pause = now_ms() + 20 +
				      next(&copier->random) % 180;
		unsigned long before = board->writes;
		long found;

		atomic_store(&board->begun, 0);
		atomic_store(&board->ended, 0);
		atomic_store(&board->burst, ++burst);
		while (now_ms() < pause || atomic_load(&board->begun) < WRITERS) {
			size_t first = next(&copier->random) % pages;
			size_t some = 1 + next(&copier->random) % (pages - first);

			if (next(&copier->random) & 1)
				found = copy_range(copier, 0, pages);
			else
				found = copy_range(copier, first, some);
			ASSERT_LE(0, found);
			copied += found;
			for (i = 0; i < WRITERS; i++)
				ASSERT_EQ(0, waitpid(pid[i], NULL, WNOHANG));
		}
		atomic_store(&board->burst, 0);
		while (atomic_load(&board->ended) < WRITERS)
			usleep(500);
		ASSERT_LT(before, board->writes);
		ASSERT_LE(0, copy_range(copier, 0, pages));
		ASSERT_EQ(0, copy_range(copier, 0, pages))
			TH_LOG("seed %lu, burst %u: not quiet", seed, burst);
		ASSERT_EQ(copier->span, pread(copier->fd, self->truth,
					      copier->span, 0));
		for (i = 0; i < (int)pages; i++)
			ASSERT_EQ(0, memcmp(self->truth + i * PAGE,
					    copier->image + i * PAGE, PAGE))
				TH_LOG("seed %lu, burst %u: page %d differs",
				       seed, burst, i);
	}
	atomic_store(&board->over, true);
	for (i = 0; i < WRITERS; i++)
		EXPECT_EQ(0, child_wait(pid[i]));
	EXPECT_LT(0, copied);
	fprintf(stderr, "# %u bursts, %lu writes, %lu pages copied\n", burst,
		(unsigned long)board->writes, copied);
}

TEST_HARNESS_MAIN
