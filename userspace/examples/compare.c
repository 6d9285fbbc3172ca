// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * mmap against read: the same bytes are added up by both ways, in turn, and the
 * medians compared. Neither always wins: who looks at everything once pays a
 * fault for each page or a copy for each byte, and who comes back pays nothing
 * or a system call.
 *
 * Try: ./compare; up to 64 MiB of the object, unless it is empty.
 */
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <mmapdev.h>

#include "example.h"

#define LENGTH_MAX ((uint64_t)64 << 20)
#define PIECE 65536
#define PLACES 100000
#define ROUNDS 7

static struct mmapdev *dev;
static struct mmapdev_map *kept;
static uint64_t length; /* whole pages */

static uint64_t add(const void *data, size_t bytes)
{
	const uint64_t *word = data;
	uint64_t sum = 0;

	for (size_t i = 0; i < bytes / sizeof(*word); i++)
		sum += word[i];
	return sum;
}

static struct mmapdev_map *map_it(void)
{
	struct mmapdev_map_opts opts = { .sz = sizeof(opts), .length = length,
					 .flags = MMAPDEV_MAP_READONLY };
	struct mmapdev_map *map;

	need(mmapdev_map(dev, &opts, &map), "map");
	return map;
}

static uint64_t map_once(void)
{
	struct mmapdev_map *map = map_it();
	uint64_t sum = add(mmapdev_map_addr(map), length);

	mmapdev_unmap(map);
	return sum;
}

static uint64_t map_kept(void)
{
	return add(mmapdev_map_addr(kept), length);
}

static uint64_t read_piece(uint64_t at, size_t bytes)
{
	static uint64_t buffer[PIECE / sizeof(uint64_t)];

	if (pread(mmapdev_fd(dev), buffer, bytes, at) != (ssize_t)bytes)
		need(-EIO, "read");
	return add(buffer, bytes);
}

static uint64_t read_all(void)
{
	uint64_t sum = 0;

	for (uint64_t at = 0; at < length; at += PIECE)
		sum += read_piece(at, length - at < PIECE ? length - at :
							    PIECE);
	return sum;
}

/* The same places each time. */
static uint64_t place(uint64_t n)
{
	return n * 0x9e3779b97f4a7c15 % (length / 64) * 64;
}

static uint64_t map_places(void)
{
	const char *mem = mmapdev_map_addr(kept);
	uint64_t sum = 0;

	for (uint64_t n = 0; n < PLACES; n++)
		sum += add(mem + place(n), 64);
	return sum;
}

static uint64_t read_places(void)
{
	uint64_t sum = 0;

	for (uint64_t n = 0; n < PLACES; n++)
		sum += read_piece(place(n), 64);
	return sum;
}

static double ms(uint64_t (*work)(void), uint64_t *sum)
{
	struct timespec a, b;

	clock_gettime(CLOCK_MONOTONIC, &a);
	*sum = work();
	clock_gettime(CLOCK_MONOTONIC, &b);
	return (b.tv_sec - a.tv_sec) * 1e3 + (b.tv_nsec - a.tv_nsec) / 1e6;
}

static int order(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void compare(const char *what, uint64_t (*by_map)(void),
		    uint64_t (*by_read)(void))
{
	double map[ROUNDS], read[ROUNDS], ratio;
	uint64_t sum_map, sum_read;
	bool same = true;

	for (int i = 0; i < ROUNDS; i++) {
		map[i] = ms(by_map, &sum_map);
		read[i] = ms(by_read, &sum_read);
		same &= sum_map == sum_read;
	}
	qsort(map, ROUNDS, sizeof(*map), order);
	qsort(read, ROUNDS, sizeof(*read), order);
	ratio = read[ROUNDS / 2] / map[ROUNDS / 2];
	claim(same, "%-34s %9.3f ms %9.3f ms  %s by %.1f", what,
	      map[ROUNDS / 2], read[ROUNDS / 2], ratio > 1 ? "map " : "read",
	      ratio > 1 ? ratio : 1 / ratio);
}

int main(int argc, char **argv)
{
	const char *path = object_path(argc, argv);
	struct mmapdev_info info = { .sz = sizeof(info) };

	need(mmapdev_open(path, O_RDONLY, &dev), path);
	need(mmapdev_get_info(dev, &info), "info");
	length = info.size < LENGTH_MAX ? info.size : LENGTH_MAX;
	length -= length % info.page_size;
	need(length ? 0 : -ENXIO, path);
	kept = map_it();

	printf("The median of %d, of %llu KiB:            map         read"
	       "  faster is\n", ROUNDS, (unsigned long long)length / 1024);
	compare("all of it, once, map and unmap", map_once, read_all);
	compare("all of it, by a map that stays", map_kept, read_all);
	compare("64 bytes, at 100000 places", map_places, read_places);

	mmapdev_unmap(kept);
	mmapdev_close(dev);
	return failed;
}
