// SPDX-License-Identifier: GPL-2.0
/*
 * The ioctls: one layout for every caller, arguments that grow by argsz and
 * flags, and no byte read or written outside the argument.
 */
#include <assert.h>
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

static_assert(MMAPDEV_IOC_INFO == 0xbc00, "number of INFO");
static_assert(MMAPDEV_IOC_SET_MODE == 0xbc01, "number of SET_MODE");
static_assert(MMAPDEV_IOC_KFILL == 0xbc02, "number of KFILL");
static_assert(MMAPDEV_IOC_KSUM == 0xbc03, "number of KSUM");

static const struct command {
	unsigned long number;
	__u32 size;
} commands[] = {
	{ MMAPDEV_IOC_INFO, sizeof(struct mmapdev_ioc_info) },
	{ MMAPDEV_IOC_SET_MODE, sizeof(struct mmapdev_ioc_set_mode) },
	{ MMAPDEV_IOC_KFILL, sizeof(struct mmapdev_ioc_kfill) },
	{ MMAPDEV_IOC_KSUM, sizeof(struct mmapdev_ioc_ksum) },
};

#define COMMANDS	ARRAY_SIZE(commands)

/* 0 or errno: zeros are a good argument for each command. */
static int call(int fd, unsigned long command, void *arg)
{
	return ioctl(fd, command, arg) ? errno : 0;
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
	EXPECT_EQ(info.size, info.max_size);
	EXPECT_EQ(PAGE, info.page_size);
	EXPECT_EQ(0, info.dirty);
	EXPECT_GE(info.resident, at_most(self->size, 4));
	EXPECT_LE(info.resident, info.size);
	EXPECT_EQ(DEMAND, info.mode);
}

TEST_F(abi, a_struct_of_the_first_version_is_taken_and_argsz_returned)
{
	size_t i;

	for (i = 0; i < COMMANDS; i++) {
		memset(self->arg, 0, PAGE);
		self->arg[0] = commands[i].size;
		EXPECT_EQ(0, call(self->fd, commands[i].number, self->arg));
		EXPECT_LE(commands[i].size, self->arg[0]);
	}
}

TEST_F(abi, a_shorter_struct_is_einval)
{
	__u32 size;
	size_t i;

	for (i = 0; i < COMMANDS; i++) {
		for (size = 0; size < commands[i].size; size++) {
			memset(self->arg, 0, PAGE);
			self->arg[0] = size;
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
			memset(self->arg, 0, PAGE);
			self->arg[0] = commands[i].size + more;
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
			memset(self->arg, 0, PAGE);
			self->arg[0] = commands[i].size + 24;
			self->edge[commands[i].size + at] = 1;
			ASSERT_EQ(E2BIG, call(self->fd, commands[i].number,
					      self->arg))
				TH_LOG("command %zu tail byte %u", i, at);
		}
	}
}

TEST_F(abi, any_flag_is_einval)
{
	size_t i;
	int bit;

	for (i = 0; i < COMMANDS; i++) {
		for (bit = 0; bit < 32; bit++) {
			memset(self->arg, 0, PAGE);
			self->arg[0] = commands[i].size;
			self->arg[1] = 1u << bit;
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

		memset(self->edge, 0, PAGE);
		*arg = commands[i].size;
		EXPECT_EQ(0, call(self->fd, commands[i].number, arg));
		EXPECT_TRUE(bytes_are(self->edge, 0, PAGE - commands[i].size));
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

		memset(self->edge, 0, PAGE);
		*arg = commands[i].size + 8;
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
	memset(self->arg, 0, PAGE);
	self->arg[0] = sizeof(struct mmapdev_ioc_info);
	ASSERT_EQ(0, mprotect(self->edge, PAGE, PROT_READ));
	EXPECT_EQ(EFAULT, call(self->fd, MMAPDEV_IOC_INFO, self->arg));

	ASSERT_EQ(0, mprotect(self->edge, PAGE, RW));
	self->arg[0] = sizeof(struct mmapdev_ioc_ksum);
	ASSERT_EQ(0, mprotect(self->edge, PAGE, PROT_READ));
	EXPECT_EQ(EFAULT, call(self->fd, MMAPDEV_IOC_KSUM, self->arg));
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

TEST_HARNESS_MAIN
