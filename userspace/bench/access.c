// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * What a touch through a mapping costs, against the system call that copies the
 * same bytes: in memory that is warm, and from holes, where
 * the mapping pays for page faults and loses.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define AREA (64 * MIB) /* larger than the caches that matter */
#define WORK (32 * MIB) /* bytes of a round */
#define HOLE (16 * MIB) /* bytes that are cold */

/* Bits of a case's mode. */
#define CALL 1
#define STORE 2

static struct mmapdev *dev;
static struct mmapdev_map *map;
static char *buffer;

static void setup(void)
{
	dev = bench_object(AREA);
	bench_need(mmapdev_map(dev, NULL, &map), "map");
	buffer = malloc(MIB);
	if (!buffer)
		bench_need(-ENOMEM, "buffer");
	memset(buffer, 1, MIB);
	memset(mmapdev_map_addr(map), 1, AREA);
}

static void finish(void)
{
	mmapdev_unmap(map);
	mmapdev_close(dev);
	free(buffer);
}

static void one(int fd, char *mem, uint64_t at, size_t size, int mode)
{
	ssize_t n = size;

	if (!(mode & CALL)) {
		if (mode & STORE)
			memcpy(mem + at, buffer, size);
		else
			memcpy(buffer, mem + at, size);
		bench_keep(buffer);
		return;
	}
	n = mode & STORE ? pwrite(fd, buffer, size, at) :
			   pread(fd, buffer, size, at);
	if (n != (ssize_t)size)
		bench_need(n < 0 ? -errno : -EIO, "pread or pwrite");
}

/* Nanoseconds each of WORK bytes in pieces of the case's size, at random. */
static double warm(const struct bench_case *self)
{
	uint64_t n = WORK / self->size, i, at, start = bench_now();
	uint64_t x = 88172645463325252ull;

	for (i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		at = x % (AREA / self->size) * self->size;
		one(mmapdev_fd(dev), mmapdev_map_addr(map), at, self->size,
		    self->mode);
	}
	return (double)(bench_now() - start) / n;
}

/* Holes, from the first byte to the last; mapping them is a part. */
static double cold(const struct bench_case *self)
{
	struct mmapdev_map_opts opts = { .sz = sizeof(opts), .length = HOLE };
	struct mmapdev_map *m = NULL;
	uint64_t at, start, end;

	bench_need(mmapdev_punch(dev, 0, HOLE), "punch");
	start = bench_now();
	if (!(self->mode & CALL))
		bench_need(mmapdev_map(dev, &opts, &m), "map");
	for (at = 0; at < HOLE; at += self->size)
		one(mmapdev_fd(dev), mmapdev_map_addr(m), at, self->size,
		    self->mode);
	bench_need(mmapdev_unmap(m), "unmap");
	end = bench_now();
	memset(mmapdev_map_addr(map), 1, HOLE);
	return (double)(end - start) / (HOLE / self->size);
}

#define PAIR(text, run, bytes, bits)                                           \
	{ "load " text, "ns", "pread " text, run, bytes, bits },               \
	{ "pread " text, "ns", NULL, run, bytes, (bits) | CALL },              \
	{ "store " text, "ns", "pwrite " text, run, bytes, (bits) | STORE },   \
	{ "pwrite " text, "ns", NULL, run, bytes, (bits) | STORE | CALL }

static const struct bench_case cases[] = {
	PAIR("64 B", warm, 64, 0),
	PAIR("512 B", warm, 512, 0),
	PAIR("4 KiB", warm, 4 * KIB, 0),
	PAIR("64 KiB", warm, 64 * KIB, 0),
	PAIR("1 MiB", warm, MIB, 0),
	PAIR("4 KiB, once, cold", cold, 4 * KIB, 0),
	PAIR("1 MiB, once, cold", cold, MIB, 0),
};

int main(int argc, char **argv)
{
	static const struct bench bench = {
		.about = "Loads and stores in a shared mapping against pread(2) "
			 "and pwrite(2) of the same\nbytes: at random in 64 MiB "
			 "that are warm, then once through 16 MiB of\nholes, "
			 "where each page that is mapped costs a fault (mmap(2) "
			 "and munmap(2)\nincluded).\n",
		.cases = cases,
		.count = sizeof(cases) / sizeof(*cases),
		.setup = setup,
		.finish = finish,
	};

	return bench_main(argc, argv, &bench);
}
