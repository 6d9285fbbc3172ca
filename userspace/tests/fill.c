// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Fill and sum, against the same done by hand. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../lib/private.h"
#include "common.h"
#include "wrap.h"

#define SIZE (300 * KIB + 5)
#define PATTERN 0x8877665544332211ull

static unsigned char model[SIZE];

static bool by_table; /* though the processor has an instruction */

static uint32_t fast_crc(const void *data, size_t length)
{
	struct mmapdev_crc32c_table *table = malloc(sizeof(*table));
	uint32_t crc;

	if (!table)
		need(-ENOMEM, "malloc");
	mmapdev_crc32c_init(table);
	if (by_table)
		table->instruction = false;
	crc = mmapdev_crc32c(table, 0, data, length / 3);
	crc = mmapdev_crc32c(table, crc, (const char *)data + length / 3,
			     length - length / 3);
	free(table);
	return crc;
}

/* RFC 3720, appendix B.4: the vectors, as the words of the CRC read. */
static void test_crc32c(void)
{
	unsigned char data[4096];
	const char *how = by_table ? "by table" : "as it comes";
	unsigned int i, same = 0;

	is(fast_crc("123456789", 9), 0xE3069283, "the check value (%s)", how);
	is(slow_crc32c("123456789", 9), 0xE3069283, "the check of the check (%s)",
	   how);
	memset(data, 0, 32);
	is(fast_crc(data, 32), 0x8A9136AA, "32 bytes of zeros (%s)", how);
	memset(data, 0xff, 32);
	is(fast_crc(data, 32), 0x62A8AB43, "32 bytes of ones (%s)", how);
	for (i = 0; i < 32; i++)
		data[i] = i;
	is(fast_crc(data, 32), 0x46DD794E, "32 bytes that count up (%s)", how);
	for (i = 0; i < 32; i++)
		data[i] = 31 - i;
	is(fast_crc(data, 32), 0x113FDB5C, "32 bytes that count down (%s)", how);
	is(fast_crc(data, 0), 0, "nothing (%s)", how);

	srand(1);
	for (i = 0; i < sizeof(data); i++)
		data[i] = rand();
	for (i = 0; i < 500; i++)
		same += fast_crc(data + i % 16, i * 8 + i % 7) ==
			slow_crc32c(data + i % 16, i * 8 + i % 7);
	is(same, 500, "500 lengths and alignments (%s)", how);
}

static void fill_model(uint64_t offset, uint64_t length, uint64_t pattern)
{
	uint64_t i;

	for (i = offset; i < offset + length; i++)
		model[i] = pattern_byte(pattern, i);
}

/* By a map: pread is among the calls that are made to fail. */
static bool holds_model(struct object *o)
{
	struct mmapdev_map *map;
	bool same;

	need(mmapdev_map(o->dev, NULL, &map), "map");
	same = mmapdev_map_size(map) == SIZE &&
	       !memcmp(mmapdev_map_addr(map), model, SIZE);
	mmapdev_unmap(map);
	return same;
}

static void check(struct object *o, uint64_t offset, uint64_t length,
		  uint64_t pattern)
{
	uint32_t crc = 0;

	fill_model(offset, length, pattern);
	is(mmapdev_fill(o->dev, offset, length, pattern), 0,
	   "%llu bytes at %llu are filled (%s)", (unsigned long long)length,
	   (unsigned long long)offset, o->name);
	ok(holds_model(o), "with the pattern, and no others (%s)", o->name);
	is(mmapdev_sum(o->dev, offset, length, &crc), 0, "and summed (%s)",
	   o->name);
	is(crc, slow_crc32c(model + offset, length), "as by hand (%s)",
	   o->name);
}

static void test_ranges(struct object *o)
{
	memset(model, 0, SIZE);
	check(o, 0, SIZE, 0);
	check(o, 0, 1, 0xff);
	check(o, 7, 3, PATTERN);
	check(o, 0, SIZE, PATTERN);
	check(o, 3, 128 * KIB, ~PATTERN);
	check(o, 128 * KIB - 1, 128 * KIB + 2, 0x0102030405060708ull);
	check(o, SIZE - 1, 1, 0xab);
	check(o, SIZE, 0, 1);

	wrap_reset();
	wrap_short(1001);
	check(o, 5, 40 * KIB, PATTERN >> 3);
	ok(wrap_calls(W_PWRITE) >= 41, "in pieces of any size (%s)", o->name);
	wrap_reset();
	wrap_fail(W_PWRITE, 2, EINTR);
	wrap_fail(W_PREAD, 2, EINTR);
	check(o, 9, 9999, 1);
	is(wrap_calls(W_PWRITE) + wrap_calls(W_PREAD), 6,
	   "a signal ends neither (%s)", o->name);
	wrap_reset();
}

static void test_hole(struct object *o)
{
	uint32_t crc;

	need(ftruncate(mmapdev_fd(o->dev), 0), "ftruncate");
	need(ftruncate(mmapdev_fd(o->dev), SIZE), "ftruncate");
	memset(model, 0, SIZE);
	is(mmapdev_sum(o->dev, 0, SIZE, &crc), 0, "a hole is summed (%s)",
	   o->name);
	is(crc, slow_crc32c(model, SIZE), "as zeros (%s)", o->name);
	is(mmapdev_sum(o->dev, 17, 0, &crc), 0, "nothing is summed (%s)",
	   o->name);
	is(crc, 0, "as 0 (%s)", o->name);
}

static void test_refused(struct object *o)
{
	uint32_t crc = 77;

	is(mmapdev_fill(o->dev, SIZE, 1, 0), -ENXIO, "fill at the end (%s)",
	   o->name);
	is(mmapdev_fill(o->dev, SIZE + 1, 0, 0), -ENXIO,
	   "fill nothing beyond the end (%s)", o->name);
	is(mmapdev_fill(o->dev, 0, SIZE + 1, 0), -ENXIO,
	   "fill a byte too many (%s)", o->name);
	is(mmapdev_fill(o->dev, UINT64_MAX, 2, 0), -EOVERFLOW,
	   "fill a range that overflows (%s)", o->name);
	is(mmapdev_fill(NULL, 0, 1, 0), -EINVAL, "fill nobody's (%s)", o->name);
	is(mmapdev_sum(o->dev, SIZE, 1, &crc), -ENXIO, "sum at the end (%s)",
	   o->name);
	is(mmapdev_sum(o->dev, 0, SIZE + 1, &crc), -ENXIO,
	   "sum a byte too many (%s)", o->name);
	is(mmapdev_sum(o->dev, 2, UINT64_MAX, &crc), -EOVERFLOW,
	   "sum a range that overflows (%s)", o->name);
	is(mmapdev_sum(NULL, 0, 1, &crc), -EINVAL, "sum nobody's (%s)",
	   o->name);
	is(mmapdev_sum(o->dev, 0, 1, NULL), -EINVAL, "sum for nobody (%s)",
	   o->name);
	is(crc, 77, "the result is left alone (%s)", o->name);
}

static void test_open_mode(struct object *o)
{
	struct mmapdev *reader = reopen(o, O_RDONLY);
	struct mmapdev *writer = reopen(o, O_WRONLY);
	struct mmapdev *appender = reopen(o, O_RDWR | O_APPEND);
	uint32_t crc;

	is(mmapdev_fill(reader, 0, 1, 0), -EBADF, "a reader fills not (%s)",
	   o->name);
	is(mmapdev_fill(reader, 0, 0, 0), -EBADF, "not even nothing (%s)",
	   o->name);
	is(mmapdev_sum(reader, 0, 1, &crc), 0, "but sums (%s)", o->name);
	is(mmapdev_sum(writer, 0, 1, &crc), -EBADF, "a writer sums not (%s)",
	   o->name);
	is(mmapdev_fill(writer, 0, 1, 0), 0, "but fills (%s)", o->name);
	is(mmapdev_fill(appender, 0, 1, 0), -EOPNOTSUPP,
	   "an appender would fill the wrong place (%s)", o->name);
	is(mmapdev_sum(appender, 0, 1, &crc), 0, "its sum is right (%s)",
	   o->name);
	mmapdev_close(reader);
	mmapdev_close(writer);
	mmapdev_close(appender);
}

static void test_object(struct object *o)
{
	test_ranges(o);
	test_hole(o);
	test_refused(o);
	test_open_mode(o);
}

int main(void)
{
	test_crc32c();
	by_table = true;
	test_crc32c();
	on_each_object(SIZE, test_object);
	return done();
}
