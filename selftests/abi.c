// SPDX-License-Identifier: GPL-2.0
/*
 * The ioctls: one layout for every caller, arguments that grow by argsz and
 * flags, and no byte read or written outside the argument.
 */
#include <assert.h>
#include <limits.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

/* The offsets and the size of the whole give the size of each field. */
#define AT(type, field)	offsetof(struct mmapdev_ioc_##type, field)

static_assert(AT(info, argsz) == 0, "info");
static_assert(AT(info, flags) == 4, "info");
static_assert(AT(info, size) == 8, "info");
static_assert(AT(info, max_size) == 16, "info");
static_assert(AT(info, resident) == 24, "info");
static_assert(AT(info, dirty) == 32, "info");
static_assert(AT(info, commit_seq) == 40, "info");
static_assert(AT(info, committed) == 48, "info");
static_assert(AT(info, mode) == 56, "info");
static_assert(AT(info, page_size) == 60, "info");
static_assert(AT(info, folio_max) == 64, "info");
static_assert(AT(info, huge) == 68, "info");
static_assert(AT(info, maps) == 72, "info");
static_assert(AT(info, faults) == 80, "info");
static_assert(AT(info, mkwrites) == 88, "info");
static_assert(AT(info, resizes) == 96, "info");
static_assert(AT(info, punches) == 104, "info");
static_assert(sizeof(struct mmapdev_ioc_info) == 112, "info");
static_assert(AT(set_mode, argsz) == 0, "set_mode");
static_assert(AT(set_mode, flags) == 4, "set_mode");
static_assert(AT(set_mode, mode) == 8, "set_mode");
static_assert(sizeof(struct mmapdev_ioc_set_mode) == 12, "set_mode");
static_assert(AT(kfill, argsz) == 0, "kfill");
static_assert(AT(kfill, flags) == 4, "kfill");
static_assert(AT(kfill, offset) == 8, "kfill");
static_assert(AT(kfill, length) == 16, "kfill");
static_assert(AT(kfill, pattern) == 24, "kfill");
static_assert(sizeof(struct mmapdev_ioc_kfill) == 32, "kfill");
static_assert(AT(ksum, argsz) == 0, "ksum");
static_assert(AT(ksum, flags) == 4, "ksum");
static_assert(AT(ksum, offset) == 8, "ksum");
static_assert(AT(ksum, length) == 16, "ksum");
static_assert(AT(ksum, crc32c) == 24, "ksum");
static_assert(AT(ksum, reserved) == 28, "ksum");
static_assert(sizeof(struct mmapdev_ioc_ksum) == 32, "ksum");
static_assert(AT(resize, argsz) == 0, "resize");
static_assert(AT(resize, flags) == 4, "resize");
static_assert(AT(resize, size) == 8, "resize");
static_assert(sizeof(struct mmapdev_ioc_resize) == 16, "resize");
static_assert(AT(punch, argsz) == 0, "punch");
static_assert(AT(punch, flags) == 4, "punch");
static_assert(AT(punch, offset) == 8, "punch");
static_assert(AT(punch, length) == 16, "punch");
static_assert(sizeof(struct mmapdev_ioc_punch) == 24, "punch");
static_assert(AT(dirty, argsz) == 0, "dirty");
static_assert(AT(dirty, flags) == 4, "dirty");
static_assert(AT(dirty, offset) == 8, "dirty");
static_assert(AT(dirty, length) == 16, "dirty");
static_assert(AT(dirty, bitmap) == 24, "dirty");
static_assert(AT(dirty, pages) == 32, "dirty");
static_assert(sizeof(struct mmapdev_ioc_dirty) == 40, "dirty");
static_assert(AT(eventfd, argsz) == 0, "eventfd");
static_assert(AT(eventfd, flags) == 4, "eventfd");
static_assert(AT(eventfd, fd) == 8, "eventfd");
static_assert(sizeof(struct mmapdev_ioc_eventfd) == 12, "eventfd");
static_assert(AT(will, argsz) == 0, "will");
static_assert(AT(will, flags) == 4, "will");
static_assert(AT(will, offset) == 8, "will");
static_assert(AT(will, expect) == 16, "will");
static_assert(AT(will, value) == 20, "will");
static_assert(sizeof(struct mmapdev_ioc_will) == 24, "will");

static_assert(MMAPDEV_IOC_INFO == 0xbc00, "number of INFO");
static_assert(MMAPDEV_IOC_SET_MODE == 0xbc01, "number of SET_MODE");
static_assert(MMAPDEV_IOC_KFILL == 0xbc02, "number of KFILL");
static_assert(MMAPDEV_IOC_KSUM == 0xbc03, "number of KSUM");
static_assert(MMAPDEV_IOC_RESIZE == 0xbc04, "number of RESIZE");
static_assert(MMAPDEV_IOC_RESIZE_GROW == 1, "flag of RESIZE");
static_assert(MMAPDEV_IOC_PUNCH == 0xbc05, "number of PUNCH");
static_assert(MMAPDEV_IOC_DIRTY == 0xbc06, "number of DIRTY");
static_assert(MMAPDEV_IOC_EVENTFD == 0xbc07, "number of EVENTFD");
static_assert(MMAPDEV_IOC_WILL == 0xbc08, "number of WILL");
static_assert(MMAPDEV_IOC_WILL_CANCEL == 1, "flag of WILL");
static_assert(MMAPDEV_IOC_WILLS == 64, "most of WILL");

static_assert(MMAPDEV_IOC_DEMAND == 0, "mode");
static_assert(MMAPDEV_IOC_EAGER == 1, "mode");
static_assert(MMAPDEV_IOC_HUGE_NEVER == 0, "huge");
static_assert(MMAPDEV_IOC_HUGE_ADVISE == 1, "huge");
static_assert(MMAPDEV_IOC_HUGE_ALWAYS == 2, "huge");
static_assert(MMAPDEV_IOC_DIRTY_CLEAR == 1, "flag of DIRTY");

/* Of each its number, the size of its first version and of the kernel's. */
static const struct command {
	unsigned long number;
	__u32 first;
	__u32 size;
	__u32 flags;
} commands[] = {
	{ MMAPDEV_IOC_INFO, 64, sizeof(struct mmapdev_ioc_info), 0 },
	{ MMAPDEV_IOC_SET_MODE, 12, sizeof(struct mmapdev_ioc_set_mode), 0 },
	{ MMAPDEV_IOC_KFILL, 32, sizeof(struct mmapdev_ioc_kfill), 0 },
	{ MMAPDEV_IOC_KSUM, 32, sizeof(struct mmapdev_ioc_ksum), 0 },
	{ MMAPDEV_IOC_RESIZE, 16, sizeof(struct mmapdev_ioc_resize),
	  MMAPDEV_IOC_RESIZE_GROW },
	{ MMAPDEV_IOC_PUNCH, 24, sizeof(struct mmapdev_ioc_punch), 0 },
	{ MMAPDEV_IOC_DIRTY, 40, sizeof(struct mmapdev_ioc_dirty),
	  MMAPDEV_IOC_DIRTY_CLEAR },
	{ MMAPDEV_IOC_EVENTFD, 12, sizeof(struct mmapdev_ioc_eventfd), 0 },
	{ MMAPDEV_IOC_WILL, 24, sizeof(struct mmapdev_ioc_will),
	  MMAPDEV_IOC_WILL_CANCEL },
};

#define COMMANDS	ARRAY_SIZE(commands)

/* 0 or errno. */
static int call(int fd, unsigned long command, void *arg)
{
	return ioctl(fd, command, arg) ? errno : 0;
}

/*
 * An argument that is good for a command and changes nothing: zeros are, but
 * that a size of 0 is one, and that 0 may be a descriptor. The rest of the
 * page becomes zeros.
 */
static void put_good(__u32 *arg, size_t i, __u32 argsz, size_t size)
{
	memset((void *)((uintptr_t)arg & -PAGE), 0, PAGE);
	arg[0] = argsz;
	if (commands[i].number == MMAPDEV_IOC_RESIZE)
		((struct mmapdev_ioc_resize *)arg)->size = size;
	if (commands[i].number == MMAPDEV_IOC_EVENTFD)
		((struct mmapdev_ioc_eventfd *)arg)->fd = -1;
}

FIXTURE(abi) {
	int fd;
	size_t size;
	/* Two pages: the second can't be touched. */
	unsigned char *edge;
	__u32 *arg;
};

FIXTURE_SETUP(abi)
{
	self->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	self->size = size_of(self->fd);
	ASSERT_EQ(0, device_clear(self->fd, at_most(self->size, 4)));
	self->edge = map(-1, 2 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, 0);
	ASSERT_NE(NULL, self->edge);
	ASSERT_EQ(0, mprotect(self->edge + PAGE, PAGE, PROT_NONE));
	self->arg = (__u32 *)self->edge;
}

FIXTURE_TEARDOWN(abi)
{
	close(self->fd);
}

TEST_F(abi, info_describes_the_device)
{
	struct mmapdev_ioc_info info = info_of(self->fd);

	EXPECT_EQ(sizeof(info), info.argsz);
	EXPECT_EQ(0, info.flags);
	EXPECT_GE(info.size, 4096);
	EXPECT_EQ(0, info.size % info.page_size);
	EXPECT_LE(info.size, info.max_size);
	EXPECT_EQ(PAGE, info.page_size);
	EXPECT_LE(PAGE, info.folio_max);
	EXPECT_EQ(0, info.folio_max & (info.folio_max - 1));
	EXPECT_GE(MMAPDEV_IOC_HUGE_ALWAYS, info.huge);
	EXPECT_EQ(0, info.dirty);
	EXPECT_GE(info.resident, at_most(self->size, 4));
	EXPECT_LE(info.resident, info.size);
	EXPECT_EQ(DEMAND, info.mode);
}

TEST_F(abi, a_struct_of_the_first_version_is_taken_and_argsz_returned)
{
	size_t i;

	for (i = 0; i < COMMANDS; i++) {
		put_good(self->arg, i, commands[i].first, self->size);
		EXPECT_EQ(0, call(self->fd, commands[i].number, self->arg))
			TH_LOG("command %zu", i);
		EXPECT_EQ(commands[i].size, self->arg[0]);
		/* What was not asked for is not told. */
		EXPECT_TRUE(bytes_are(self->edge + commands[i].first, 0,
				      PAGE - commands[i].first));
	}
}

TEST_F(abi, a_shorter_struct_is_einval)
{
	__u32 size;
	size_t i;

	for (i = 0; i < COMMANDS; i++) {
		for (size = 0; size < commands[i].first; size++) {
			put_good(self->arg, i, size, self->size);
			ASSERT_EQ(EINVAL, call(self->fd, commands[i].number,
					       self->arg))
				TH_LOG("command %zu size %u", i, size);
		}
	}
}

TEST_F(abi, a_longer_struct_with_a_zero_tail_is_taken)
{
	__u32 more;
	size_t i;

	for (i = 0; i < COMMANDS; i++) {
		for (more = 1; more <= 1024; more += more) {
			put_good(self->arg, i, commands[i].size + more,
				 self->size);
			ASSERT_EQ(0, call(self->fd, commands[i].number,
					  self->arg))
				TH_LOG("command %zu with %u more", i, more);
			EXPECT_EQ(commands[i].size, self->arg[0]);
			EXPECT_TRUE(bytes_are(self->edge + commands[i].size, 0,
					      more));
		}
	}
}

TEST_F(abi, a_longer_struct_with_a_tail_not_zero_is_e2big)
{
	__u32 at;
	size_t i;

	for (i = 0; i < COMMANDS; i++) {
		for (at = 0; at < 24; at++) {
			put_good(self->arg, i, commands[i].size + 24,
				 self->size);
			self->edge[commands[i].size + at] = 1;
			ASSERT_EQ(E2BIG, call(self->fd, commands[i].number,
					      self->arg))
				TH_LOG("command %zu tail byte %u", i, at);
		}
	}
}

TEST_F(abi, any_unknown_flag_is_einval)
{
	size_t i;
	int bit;

	for (i = 0; i < COMMANDS; i++) {
		for (bit = 0; bit < 32; bit++) {
			if (commands[i].flags & 1u << bit)
				continue;
			put_good(self->arg, i, commands[i].size, self->size);
			self->arg[1] = 1u << bit;
			ASSERT_EQ(EINVAL, call(self->fd, commands[i].number,
					       self->arg))
				TH_LOG("command %zu flag %d", i, bit);
			self->arg[1] |= commands[i].flags;
			ASSERT_EQ(EINVAL, call(self->fd, commands[i].number,
					       self->arg))
				TH_LOG("command %zu flag %d", i, bit);
		}
	}
}

TEST_F(abi, an_unknown_command_is_enotty)
{
	const unsigned long unknown[] = {
		_IO(MMAPDEV_IOC_TYPE, 0x7f),
		_IO(MMAPDEV_IOC_TYPE, 0xff),
		_IO(MMAPDEV_IOC_TYPE - 1, 0x00),
		_IO(MMAPDEV_IOC_TYPE + 1, 0x00),
		_IO(0, 0x03),
		_IOR(MMAPDEV_IOC_TYPE, 0x00, struct mmapdev_ioc_info),
		_IOWR(MMAPDEV_IOC_TYPE, 0x00, struct mmapdev_ioc_info),
		_IOW(MMAPDEV_IOC_TYPE, 0x01, struct mmapdev_ioc_set_mode),
		_IOW(MMAPDEV_IOC_TYPE, 0x04, struct mmapdev_ioc_resize),
		_IOWR(MMAPDEV_IOC_TYPE, 0x06, struct mmapdev_ioc_dirty),
		_IOW(MMAPDEV_IOC_TYPE, 0x08, struct mmapdev_ioc_will),
		_IO(MMAPDEV_IOC_TYPE, 0x09),
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(unknown); i++) {
		memset(self->arg, 0, PAGE);
		self->arg[0] = 64;
		EXPECT_EQ(ENOTTY, call(self->fd, unknown[i], self->arg))
			TH_LOG("command %lx", unknown[i]);
	}
}

TEST_F(abi, no_byte_beyond_the_struct_is_touched)
{
	size_t i;

	for (i = 0; i < COMMANDS; i++) {
		__u32 *arg = (__u32 *)(self->edge + PAGE - commands[i].size);

		put_good(arg, i, commands[i].size, self->size);
		EXPECT_EQ(0, call(self->fd, commands[i].number, arg))
			TH_LOG("command %zu", i);
		EXPECT_TRUE(bytes_are(self->edge, 0, PAGE - commands[i].size));

		/* Nor where a caller of the first version has its end. */
		arg = (__u32 *)(self->edge + PAGE - commands[i].first);
		put_good(arg, i, commands[i].first, self->size);
		EXPECT_EQ(0, call(self->fd, commands[i].number, arg))
			TH_LOG("command %zu", i);
		EXPECT_TRUE(bytes_are(self->edge, 0, PAGE - commands[i].first));
	}
}

TEST_F(abi, a_struct_that_crosses_into_bad_memory_is_efault)
{
	__u32 inside;
	size_t i;

	for (i = 0; i < COMMANDS; i++) {
		for (inside = 4; inside < commands[i].size; inside += 4) {
			__u32 *arg = (__u32 *)(self->edge + PAGE - inside);

			memset(self->edge, 0, PAGE);
			*arg = commands[i].size;
			ASSERT_EQ(EFAULT, call(self->fd, commands[i].number,
					       arg))
				TH_LOG("command %zu, %u inside", i, inside);
		}
	}
}

TEST_F(abi, a_tail_that_crosses_into_bad_memory_is_efault)
{
	size_t i;

	for (i = 0; i < COMMANDS; i++) {
		__u32 *arg = (__u32 *)(self->edge + PAGE - commands[i].size);

		put_good(arg, i, commands[i].size + 8, self->size);
		EXPECT_EQ(EFAULT, call(self->fd, commands[i].number, arg));
	}
}

TEST_F(abi, a_bad_pointer_is_efault)
{
	void *bad[] = {
		NULL, (void *)1, self->edge + PAGE,
		(void *)(~0ul - 8), (void *)(uintptr_t)(~0ull << 47),
	};
	size_t i, j;

	for (i = 0; i < COMMANDS; i++) {
		for (j = 0; j < ARRAY_SIZE(bad); j++) {
			EXPECT_EQ(EFAULT, call(self->fd, commands[i].number,
					       bad[j]));
		}
	}
}

TEST_F(abi, an_argument_that_cannot_be_written_is_efault)
{
	struct mmapdev_ioc_info before, after;
	size_t i;

	ASSERT_EQ(0, device_set_mode(self->fd, EAGER));
	before = info_of(self->fd);
	for (i = 0; i < COMMANDS; i++) {
		put_good(self->arg, i, commands[i].first, self->size - PAGE);
		ASSERT_EQ(0, mprotect(self->edge, PAGE, PROT_READ));
		EXPECT_EQ(EFAULT,
			  call(self->fd, commands[i].number, self->arg));
		ASSERT_EQ(0, mprotect(self->edge, PAGE, RW));
	}
	/* and nothing was done. */
	after = info_of(self->fd);
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
}

TEST_F(abi, info_fills_every_field)
{
	struct mmapdev_ioc_info one, two;

	memset(&one, 0xa5, sizeof(one));
	one.argsz = sizeof(one);
	one.flags = 0;
	memset(&two, 0x5a, sizeof(two));
	two.argsz = sizeof(two);
	two.flags = 0;
	ASSERT_EQ(0, call(self->fd, MMAPDEV_IOC_INFO, &one));
	ASSERT_EQ(0, call(self->fd, MMAPDEV_IOC_INFO, &two));
	EXPECT_EQ(0, memcmp(&one, &two, sizeof(one)));
	EXPECT_EQ(self->size, one.size);
	EXPECT_EQ(0, one.flags);
}

TEST_F(abi, results_are_filled_whatever_was_there)
{
	struct mmapdev_ioc_ksum ksum;
	struct mmapdev_ioc_dirty dirty;
	unsigned char bits[8];

	memset(&ksum, 0xa5, sizeof(ksum));
	ksum.argsz = sizeof(ksum);
	ksum.flags = 0;
	ksum.offset = 0;
	ksum.length = 0;
	ASSERT_EQ(0, call(self->fd, MMAPDEV_IOC_KSUM, &ksum));
	EXPECT_EQ(crc32c("", 0), ksum.crc32c);
	EXPECT_EQ(0, ksum.reserved);

	memset(bits, 0xa5, sizeof(bits));
	memset(&dirty, 0xa5, sizeof(dirty));
	dirty.argsz = sizeof(dirty);
	dirty.flags = MMAPDEV_IOC_DIRTY_CLEAR;
	dirty.offset = 0;
	dirty.length = self->size;
	dirty.bitmap = (uintptr_t)map(-1, self->size / PAGE / 8 + 1, RW,
				      MAP_PRIVATE | MAP_ANONYMOUS, 0);
	ASSERT_EQ(0, call(self->fd, MMAPDEV_IOC_DIRTY, &dirty));
	dirty.flags = 0;
	dirty.length = PAGE;
	dirty.bitmap = (uintptr_t)bits;
	dirty.pages = ~0ull;
	ASSERT_EQ(0, call(self->fd, MMAPDEV_IOC_DIRTY, &dirty));
	EXPECT_EQ(0, dirty.pages);
	/* One byte holds the bit of one page, and seven of none. */
	EXPECT_EQ(0, bits[0]);
	EXPECT_TRUE(bytes_are(bits + 1, 0xa5, 7));
}

TEST_F(abi, an_argument_in_the_device_itself_works)
{
	struct mmapdev_ioc_info *info;
	struct mmapdev_ioc_ksum *ksum;

	info = map(self->fd, PAGE, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, info);
	info->argsz = sizeof(*info);
	EXPECT_EQ(0, call(self->fd, MMAPDEV_IOC_INFO, info));
	EXPECT_EQ(self->size, info->size);

	ksum = (void *)info;
	memset(ksum, 0, sizeof(*info));
	ksum->argsz = sizeof(*ksum);
	ksum->length = PAGE;
	EXPECT_EQ(0, call(self->fd, MMAPDEV_IOC_KSUM, ksum));
	EXPECT_NE(0, ksum->crc32c);
}

TEST_F(abi, set_mode_takes_only_the_two_modes)
{
	__u32 bad[] = { 2, 3, 0x100, 0x80000000, ~0u };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_EQ(-EINVAL, device_set_mode(self->fd, bad[i]));
	EXPECT_EQ(DEMAND, info_of(self->fd).mode);
	EXPECT_EQ(0, device_set_mode(self->fd, EAGER));
	EXPECT_EQ(EAGER, info_of(self->fd).mode);
	EXPECT_EQ(0, device_set_mode(self->fd, DEMAND));
	EXPECT_EQ(DEMAND, info_of(self->fd).mode);
}

TEST_F(abi, set_mode_is_for_one_open_file)
{
	int other = device_open(O_RDONLY, EAGER);
	int same = dup(self->fd);

	ASSERT_LE(0, other);
	ASSERT_LE(0, same);
	EXPECT_EQ(DEMAND, info_of(self->fd).mode);
	EXPECT_EQ(EAGER, info_of(other).mode);
	EXPECT_EQ(0, device_set_mode(self->fd, EAGER));
	EXPECT_EQ(EAGER, info_of(same).mode);
	EXPECT_EQ(0, device_set_mode(other, DEMAND));
	EXPECT_EQ(EAGER, info_of(self->fd).mode);
}

TEST_F(abi, kfill_needs_a_file_open_for_writing)
{
	int fd = device_open(O_RDONLY, DEMAND);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-EBADF, device_fill(fd, 0, 8, 1));
	EXPECT_EQ(crc32c("\0\0\0\0\0\0\0", 8), sum_of(self->fd, 0, 8));
}

TEST_F(abi, ksum_needs_a_file_open_for_reading)
{
	int fd = device_open(O_WRONLY, DEMAND);
	__u32 sum;

	ASSERT_LE(0, fd);
	EXPECT_EQ(-EBADF, device_sum(fd, 0, 8, &sum));
	EXPECT_EQ(0, device_fill(fd, 0, 8, 0));
	EXPECT_EQ(self->size, size_of(fd));
}

TEST_F(abi, a_range_that_overflows_is_eoverflow)
{
	const struct {
		__u64 offset;
		__u64 length;
	} bad[] = {
		{ ~0ull, 1 }, { ~0ull, ~0ull }, { 1, ~0ull }, { 8, -8ull },
		{ 1ull << 63, 1ull << 63 }, { PAGE, -(__u64)PAGE },
	};
	__u32 sum;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EOVERFLOW, device_fill(self->fd, bad[i].offset,
						  bad[i].length, 1));
		EXPECT_EQ(-EOVERFLOW, device_sum(self->fd, bad[i].offset,
						 bad[i].length, &sum));
	}
	EXPECT_EQ(0, info_of(self->fd).dirty);
}

TEST_F(abi, a_range_beyond_the_end_is_enxio)
{
	const struct {
		__u64 offset;
		__u64 length;
	} bad[] = {
		{ 0, self->size + 1 }, { self->size, 1 }, { 1, self->size },
		{ self->size + 1, 0 }, { self->size - 8, 9 },
		{ 1ull << 62, 1 }, { 0, 1ull << 63 },
	};
	__u32 sum;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-ENXIO, device_fill(self->fd, bad[i].offset,
					      bad[i].length, 1))
			TH_LOG("range %zu", i);
		EXPECT_EQ(-ENXIO, device_sum(self->fd, bad[i].offset,
					     bad[i].length, &sum))
			TH_LOG("range %zu", i);
	}
	EXPECT_EQ(0, info_of(self->fd).dirty);
}

TEST_F(abi, an_empty_range_is_no_error)
{
	__u32 sum = 1;

	EXPECT_EQ(0, device_fill(self->fd, 0, 0, 1));
	EXPECT_EQ(0, device_fill(self->fd, self->size, 0, 1));
	EXPECT_EQ(0, info_of(self->fd).dirty);
	EXPECT_EQ(0, device_sum(self->fd, self->size, 0, &sum));
	EXPECT_EQ(crc32c("", 0), sum);
}

TEST_F(abi, ksum_is_the_crc32c_of_rfc3720)
{
	struct mmapdev_ioc_ksum ksum = {
		.argsz = sizeof(ksum),
		.length = 32,
		.reserved = 1,
	};
	char ones[32];

	EXPECT_EQ(0x8a9136aa, sum_of(self->fd, 0, 32));
	memset(ones, 0xff, sizeof(ones));
	ASSERT_EQ(32, pwrite(self->fd, ones, 32, 0));
	EXPECT_EQ(0x62a8ab43, sum_of(self->fd, 0, 32));
	ASSERT_EQ(9, pwrite(self->fd, "123456789", 9, 7));
	EXPECT_EQ(0xe3069283, sum_of(self->fd, 7, 9));
	EXPECT_EQ(0xe3069283, crc32c("123456789", 9));

	ASSERT_EQ(0, call(self->fd, MMAPDEV_IOC_KSUM, &ksum));
	EXPECT_EQ(0, ksum.reserved);
}

TEST_F(abi, ksum_sums_any_range)
{
	size_t span = at_most(self->size, 4);
	unsigned char *copy = malloc(span);
	size_t i, at;

	ASSERT_NE(NULL, copy);
	for (i = 0; i < span; i++)
		copy[i] = i * 7 + i / 251;
	ASSERT_EQ(span, pwrite(self->fd, copy, span, 0));
	EXPECT_EQ(crc32c(copy, span), sum_of(self->fd, 0, span));
	for (at = 1; at < span; at += 997)
		EXPECT_EQ(crc32c(copy + at, span - at),
			  sum_of(self->fd, at, span - at));
	free(copy);
}

TEST_F(abi, kfill_fills_the_range_and_no_more)
{
	const struct {
		size_t offset;
		size_t length;
	} range[] = {
		{ 0, 1 }, { 1, 1 }, { 3, 9 }, { 7, 8 }, { 4095, 1 },
		{ 5, 4001 }, { 0, 4096 }, { 4090, 12 }, { 8191, 4098 },
	};
	size_t span = at_most(self->size, 4);
	unsigned char *data;
	size_t i, end;

	data = map(self->fd, span, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, data);
	for (i = 0; i < ARRAY_SIZE(range); i++) {
		end = range[i].offset + range[i].length;
		if (end > span)
			continue;
		ASSERT_EQ(0, device_fill(self->fd, 0, span, 0));
		ASSERT_EQ(0, device_fill(self->fd, range[i].offset,
					 range[i].length, pattern_of(i)));
		EXPECT_TRUE(bytes_are(data, 0, range[i].offset));
		EXPECT_TRUE(pattern_is(data + range[i].offset, range[i].offset,
				       range[i].length, pattern_of(i)));
		EXPECT_TRUE(bytes_are(data + end, 0, span - end));
	}
}

TEST_F(abi, kfill_puts_the_lowest_byte_at_offset_zero)
{
	unsigned char seen[8];
	int i;

	ASSERT_EQ(0, device_fill(self->fd, 0, 16, 0x0807060504030201));
	ASSERT_EQ(8, pread(self->fd, seen, 8, 8));
	for (i = 0; i < 8; i++)
		EXPECT_EQ(i + 1, seen[i]);
}

/*
 * What is refused changes nothing. The content is known, one page is dirty,
 * and one is a hole.
 */
FIXTURE(refusal) {
	int fd;
	int readable;
	int writable;
	size_t size;
	struct mmapdev_ioc_info before;
	unsigned char bits[64];
};

#define REFUSAL_PAGES	4

static __u64 dirty_pages(int fd, __u32 flags, __u64 length)
{
	unsigned char bits[64] = {};
	struct mmapdev_ioc_dirty arg = {
		.argsz = sizeof(arg),
		.flags = flags,
		.length = length,
		.bitmap = (uintptr_t)bits,
	};

	return call(fd, MMAPDEV_IOC_DIRTY, &arg) ? ~0ull : arg.pages;
}

FIXTURE_SETUP(refusal)
{
	self->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	self->readable = device_open(O_RDONLY, DEMAND);
	ASSERT_LE(0, self->readable);
	self->writable = device_open(O_WRONLY, DEMAND);
	ASSERT_LE(0, self->writable);
	self->size = size_of(self->fd);
	if (self->size < REFUSAL_PAGES * PAGE)
		SKIP(return, "needs a device of %d pages", REFUSAL_PAGES);
	ASSERT_EQ(0, device_fill(self->fd, 0, REFUSAL_PAGES * PAGE,
				 pattern_of(1)));
	ASSERT_EQ(0, fsync(self->fd));
	ASSERT_LE(0, dirty_pages(self->fd, MMAPDEV_IOC_DIRTY_CLEAR,
				 REFUSAL_PAGES * PAGE));
	ASSERT_EQ(0, device_fill(self->fd, PAGE, 8, pattern_of(1)));
	self->before = info_of(self->fd);
	ASSERT_LE(PAGE, self->before.dirty);
}

FIXTURE_TEARDOWN(refusal)
{
	struct mmapdev_ioc_info after = info_of(self->fd);

	/* Not even the counters: nothing was done. */
	EXPECT_EQ(0, memcmp(&self->before, &after, sizeof(after)));
	EXPECT_EQ(pattern_sum(0, REFUSAL_PAGES * PAGE, pattern_of(1)),
		  sum_of(self->fd, 0, REFUSAL_PAGES * PAGE));
	EXPECT_LE(1, dirty_pages(self->fd, 0, REFUSAL_PAGES * PAGE));
}

TEST_F(refusal, a_size_that_is_not_of_whole_pages_is_einval)
{
	__u64 bad[] = {
		1, 8, 4095, 4097, self->size - 1, self->size + 1,
		self->size - 512,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, device_resize(self->fd, bad[i]))
			TH_LOG("%llu", (unsigned long long)bad[i]);
	}
}

TEST_F(refusal, a_size_beyond_the_window_is_enxio)
{
	__u64 most = self->before.max_size;
	__u64 bad[] = {
		most + PAGE, 2 * most, 1ull << 40, 1ull << 62, 1ull << 63,
		-(__u64)PAGE, 1ull << 32 | PAGE,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-ENXIO, device_resize(self->fd, bad[i]))
			TH_LOG("%llu", (unsigned long long)bad[i]);
	}
}

/* The errno of PUNCH and of DIRTY, which clears, for one range. */
static int punch_errno(int fd, __u64 offset, __u64 length)
{
	return -device_punch(fd, offset, length);
}

static int dirty_errno(int fd, __u32 flags, __u64 offset, __u64 length,
		       void *bits)
{
	struct mmapdev_ioc_dirty arg = {
		.argsz = sizeof(arg),
		.flags = flags,
		.offset = offset,
		.length = length,
		.bitmap = (uintptr_t)bits,
	};

	return call(fd, MMAPDEV_IOC_DIRTY, &arg);
}

#define CLEAR	MMAPDEV_IOC_DIRTY_CLEAR

TEST_F(refusal, a_range_that_is_not_of_whole_pages_is_einval)
{
	const struct {
		__u64 offset;
		__u64 length;
	} bad[] = {
		{ 1, PAGE }, { 0, 1 }, { 0, PAGE - 1 }, { 0, PAGE + 1 },
		{ 512, PAGE }, { PAGE - 1, 1 }, { PAGE, 2 * PAGE - 8 }, { 8, 0 },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(EINVAL, punch_errno(self->fd, bad[i].offset,
					      bad[i].length))
			TH_LOG("range %zu", i);
		EXPECT_EQ(EINVAL, dirty_errno(self->fd, CLEAR, bad[i].offset,
					      bad[i].length, self->bits))
			TH_LOG("range %zu", i);
	}
}

TEST_F(refusal, a_range_of_pages_that_overflows_is_eoverflow)
{
	const __u64 page = PAGE;
	const struct {
		__u64 offset;
		__u64 length;
	} bad[] = {
		{ -page, 2 * page }, { page, -page }, { 2 * page, -page },
		{ 1ull << 63, 1ull << 63 }, { -page, -page },
		{ 1ull << 63, (1ull << 63) + page },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(EOVERFLOW, punch_errno(self->fd, bad[i].offset,
						 bad[i].length))
			TH_LOG("range %zu", i);
		EXPECT_EQ(EOVERFLOW, dirty_errno(self->fd, CLEAR, bad[i].offset,
						 bad[i].length, self->bits))
			TH_LOG("range %zu", i);
	}
}

TEST_F(refusal, a_range_of_pages_beyond_the_size_is_enxio)
{
	const __u64 page = PAGE, size = self->size;
	const struct {
		__u64 offset;
		__u64 length;
	} bad[] = {
		{ size, page }, { size - page, 2 * page }, { 0, size + page },
		{ size + page, 0 }, { 1ull << 62, page }, { 0, 1ull << 62 },
		{ 1ull << 32, page }, { page, (1ull << 32) + page },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(ENXIO, punch_errno(self->fd, bad[i].offset,
					     bad[i].length))
			TH_LOG("range %zu", i);
		EXPECT_EQ(ENXIO, dirty_errno(self->fd, CLEAR, bad[i].offset,
					     bad[i].length, self->bits))
			TH_LOG("range %zu", i);
	}
	EXPECT_TRUE(bytes_are(self->bits, 0, sizeof(self->bits)));
}

TEST_F(refusal, a_file_not_open_for_writing_is_ebadf)
{
	EXPECT_EQ(-EBADF, device_resize(self->readable, PAGE));
	EXPECT_EQ(-EBADF, device_resize(self->readable, 0));
	EXPECT_EQ(-EBADF, device_resize(self->readable, self->size));
	EXPECT_EQ(-EBADF, device_punch(self->readable, 0, PAGE));
	EXPECT_EQ(-EBADF, device_punch(self->readable, 0, 0));
	EXPECT_EQ(EBADF, dirty_errno(self->readable, CLEAR, 0, PAGE, self->bits));
	EXPECT_EQ(0, dirty_errno(self->readable, 0, 0, 2 * PAGE, self->bits));
	EXPECT_EQ(2, self->bits[0] & 2);
}

TEST_F(refusal, a_file_not_open_for_reading_is_ebadf)
{
	EXPECT_EQ(EBADF, dirty_errno(self->writable, 0, 0, PAGE, self->bits));
	EXPECT_EQ(EBADF, dirty_errno(self->writable, CLEAR, 0, PAGE, self->bits));
	EXPECT_TRUE(bytes_are(self->bits, 0, sizeof(self->bits)));
}

TEST_F(refusal, a_bitmap_that_cannot_be_written_is_efault)
{
	unsigned char *edge = map(-1, 2 * PAGE, RW,
				  MAP_PRIVATE | MAP_ANONYMOUS, 0);
	__u64 length = REFUSAL_PAGES * PAGE;
	size_t i;

	ASSERT_NE(NULL, edge);
	ASSERT_EQ(0, mprotect(edge + PAGE, PAGE, PROT_NONE));
	{
		const __u64 bad[] = {
			0, 1, (uintptr_t)edge + PAGE, ~0ull, ~0ull << 47,
			-(__u64)PAGE, 1ull << 63, 1ull << 47,
		};

		for (i = 0; i < ARRAY_SIZE(bad); i++) {
			struct mmapdev_ioc_dirty arg = {
				.argsz = sizeof(arg),
				.flags = CLEAR,
				.length = length,
				.bitmap = bad[i],
			};

			EXPECT_EQ(EFAULT, call(self->fd, MMAPDEV_IOC_DIRTY, &arg))
				TH_LOG("address %llx",
				       (unsigned long long)bad[i]);
		}
	}
	ASSERT_EQ(0, mprotect(edge, PAGE, PROT_READ));
	EXPECT_EQ(EFAULT, dirty_errno(self->fd, CLEAR, 0, length, edge));
	/* All of its bytes are there, and no more. */
	ASSERT_EQ(0, mprotect(edge, PAGE, RW));
	EXPECT_EQ(0, dirty_errno(self->fd, 0, 0, length, edge + PAGE - 1));
	EXPECT_EQ(2, edge[PAGE - 1] & 2);
}

TEST_F(refusal, a_bitmap_that_leaves_good_memory_is_efault)
{
	unsigned char *edge = map(-1, 2 * PAGE, RW,
				  MAP_PRIVATE | MAP_ANONYMOUS, 0);

	if (self->size < 16 * PAGE)
		SKIP(return, "needs a device of 16 pages");
	ASSERT_NE(NULL, edge);
	ASSERT_EQ(0, mprotect(edge + PAGE, PAGE, PROT_NONE));
	EXPECT_EQ(EFAULT, dirty_errno(self->fd, 0, 0, 16 * PAGE,
				      edge + PAGE - 1));
	EXPECT_EQ(0, dirty_errno(self->fd, 0, 0, 16 * PAGE, edge + PAGE - 2));
}

TEST_F(refusal, an_eventfd_that_is_none_is_told)
{
	int pipes[2], closed = dup(self->fd);
	int path = open(DEVICE, O_PATH | O_CLOEXEC);
	struct mmapdev_ioc_eventfd arg = {};
	size_t i;

	ASSERT_EQ(0, pipe(pipes));
	close(closed);
	{
		const struct {
			int fd;
			int err;
		} bad[] = {
			{ closed, EBADF }, { -2, EBADF }, { 0x7fffffff, EBADF },
			{ INT_MIN, EBADF }, { path, EBADF },
			{ self->fd, EINVAL }, { pipes[1], EINVAL },
		};

		for (i = 0; i < ARRAY_SIZE(bad); i++) {
			arg.argsz = sizeof(arg);
			arg.fd = bad[i].fd;
			EXPECT_EQ(bad[i].err, call(self->fd, MMAPDEV_IOC_EVENTFD,
						   &arg))
				TH_LOG("fd %d", bad[i].fd);
		}
	}
}

TEST_F(refusal, a_bitmap_on_top_of_its_argument_is_harmless)
{
	struct mmapdev_ioc_dirty arg = {
		.argsz = sizeof(arg),
		.length = REFUSAL_PAGES * PAGE,
		.bitmap = (uintptr_t)&arg,
	};

	EXPECT_EQ(0, call(self->fd, MMAPDEV_IOC_DIRTY, &arg));
	EXPECT_LE(1, arg.pages);
	EXPECT_GE(REFUSAL_PAGES, arg.pages);
}

TEST_F(abi, a_bitmap_in_the_device_itself_works)
{
	size_t span = at_most(self->size, 4);
	unsigned char *data = map(self->fd, span, RW, MAP_SHARED, 0);
	int i;

	ASSERT_NE(NULL, data);
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, dirty_errno(self->fd, CLEAR, 0, span, data + i));
		/* To store it was a write. */
		EXPECT_LE(1, dirty_pages(self->fd, 0, span));
	}
	munmap(data, span);
}

TEST_F(abi, a_resize_to_the_size_it_has_is_no_error)
{
	ASSERT_EQ(0, device_fill(self->fd, 0, PAGE, pattern_of(2)));
	EXPECT_EQ(0, device_resize(self->fd, self->size));
	EXPECT_EQ(self->size, size_of(self->fd));
	EXPECT_EQ(pattern_sum(0, PAGE, pattern_of(2)), sum_of(self->fd, 0, PAGE));
}

TEST_F(abi, an_empty_range_of_pages_is_no_error)
{
	__u64 resident = info_of(self->fd).resident;

	EXPECT_EQ(0, device_punch(self->fd, 0, 0));
	EXPECT_EQ(0, device_punch(self->fd, self->size, 0));
	EXPECT_EQ(0, dirty_errno(self->fd, CLEAR, 0, 0, NULL));
	EXPECT_EQ(0, dirty_errno(self->fd, CLEAR, self->size, 0, NULL));
	EXPECT_EQ(resident, info_of(self->fd).resident);
}

TEST_F(abi, an_eventfd_may_be_none)
{
	struct mmapdev_ioc_eventfd arg = {
		.argsz = sizeof(arg),
		.fd = -1,
	};

	EXPECT_EQ(0, call(self->fd, MMAPDEV_IOC_EVENTFD, &arg));
	EXPECT_EQ(-1, arg.fd);
}

TEST_HARNESS_MAIN
