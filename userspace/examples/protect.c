// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Write protection, caught. A map that is only for reading finds out a stray
 * store: a guard makes an error of it and tells the page. And a tracker protects
 * pages to find out which are written: it lets the first store to each pass, and
 * keeps a record.
 *
 * Try: ./protect; an object of 8 pages or more.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <mmapdev.h>

#include "example.h"

#define PAGES 8

static size_t page;

static struct mmapdev_map *map_pages(struct mmapdev *dev, uint32_t flags)
{
	struct mmapdev_map_opts opts = { .sz = sizeof(opts), .flags = flags,
					 .length = PAGES * page };
	struct mmapdev_map *map;

	need(mmapdev_map(dev, &opts, &map), "map");
	return map;
}

static void forbid(struct mmapdev *dev)
{
	struct mmapdev_map *map = map_pages(dev, MMAPDEV_MAP_READONLY);
	char *mem = mmapdev_map_addr(map);
	struct mmapdev_guard guard;
	char before = mem[5 * page];
	int ret;

	if (!mmapdev_guard_begin(&guard, mem, PAGES * page))
		*(volatile char *)(mem + 5 * page) = before + 1;
	ret = mmapdev_guard_end(&guard);

	claim(ret == -EACCES, "a store to a read-only map: %s", strerror(-ret));
	claim(guard.addr == mem + 5 * page, "it was to page %td",
	      ((const char *)guard.addr - mem) / (ptrdiff_t)page);
	claim(mem[5 * page] == before, "the page is as it was");
	mmapdev_unmap(map);
}

static uint8_t written(struct mmapdev_track *track)
{
	uint8_t bitmap = 0;

	need(mmapdev_track_read(track, 0, PAGES * page, MMAPDEV_DIRTY_CLEAR,
				&bitmap, NULL), "read the record");
	printf("     written since then: pages");
	for (int i = 0; i < PAGES; i++)
		if (bitmap & 1 << i)
			printf(" %d", i);
	printf("%s\n", bitmap ? "" : ": none");
	return bitmap;
}

static void record(struct mmapdev *dev)
{
	struct mmapdev_map *map = map_pages(dev, 0);
	volatile char *mem = mmapdev_map_addr(map);
	struct mmapdev_track *track;

	need(mmapdev_track_start(map, MMAPDEV_TRACK_PROTECT, &track), "track");
	mem[1 * page] = 'a';
	mem[3 * page] = 'b';
	mem[4 * page - 1] = 'c';
	claim(mem[1 * page] == 'a' && mem[3 * page] == 'b' &&
		      mem[4 * page - 1] == 'c',
	      "three stores to a protected map went on as if it were not");
	claim(written(track) == (1 << 1 | 1 << 3), "their two pages are known");

	mem[1 * page] += mem[2 * page];
	claim(written(track) == 1 << 1,
	      "then one was stored to, another only read");
	claim(written(track) == 0, "then none");

	need(mmapdev_track_stop(track), "stop");
	mmapdev_unmap(map);
}

int main(int argc, char **argv)
{
	const char *path = object_path(argc, argv);
	struct mmapdev *dev;

	page = sysconf(_SC_PAGESIZE);
	need(mmapdev_open(path, O_RDWR, &dev), path);
	forbid(dev);
	record(dev);
	mmapdev_close(dev);
	return failed;
}
