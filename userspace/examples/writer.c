// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * A device in use: writes to random pages of it for some seconds, commits now
 * and then, and keeps one page mapped eagerly meanwhile.
 *
 *   writer [DEVICE [SECONDS [SIZE]]]
 *
 * SIZE bytes from the start on are written, all that there are if it is not
 * said. Try: ./writer /dev/mmapdev 10 & mmapdevctl copy --follow --pid $! \
 * /dev/mmapdev image
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <mmapdev.h>

static void need(int ret, const char *what)
{
	if (!ret)
		return;
	fprintf(stderr, "writer: %s: %s\n", what, strerror(-ret));
	exit(1);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* A file maps on demand only, which will do. */
static uint64_t *map_eagerly(const char *path, size_t length)
{
	struct mmapdev_map_opts opts = { .sz = sizeof(opts), .length = length };
	struct mmapdev_map *map;
	struct mmapdev *dev;

	need(mmapdev_open(path, O_RDWR, &dev), path);
	mmapdev_set_mode(dev, MMAPDEV_MODE_EAGER);
	need(mmapdev_map(dev, &opts, &map), "map a page eagerly");
	mmapdev_close(dev);
	return mmapdev_map_addr(map);
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "/dev/mmapdev";
	double end = now() + (argc > 2 ? atof(argv[2]) : 5);
	struct mmapdev_info info = { .sz = sizeof(info) };
	struct mmapdev_map_opts opts = { .sz = sizeof(opts) };
	uint64_t writes = 0, commits = 0, pages;
	volatile uint64_t *eager;
	struct mmapdev_map *map;
	struct mmapdev *dev;
	char *mem;

	need(mmapdev_open(path, O_RDWR, &dev), path);
	need(mmapdev_set_mode(dev, MMAPDEV_MODE_DEMAND), "set the mode");
	need(mmapdev_get_info(dev, &info), "info");
	opts.length = argc > 3 ? strtoull(argv[3], NULL, 0) : info.size;
	need(mmapdev_map(dev, &opts, &map), "map");
	mem = mmapdev_map_addr(map);
	pages = opts.length / info.page_size;
	eager = map_eagerly(path, info.page_size);

	srandom(1);
	for (; now() < end; writes++) {
		uint64_t page = random() % pages;

		/* Beside the counter, which has the first bytes. */
		mem[page * info.page_size + 8 +
		    random() % (info.page_size - 8)] = random();
		eager[0]++;
		if (random() % 256)
			continue;
		need(mmapdev_flush(map, page * info.page_size,
				   info.page_size), "flush");
		commits++;
	}
	printf("%" PRIu64 " writes, %" PRIu64 " commits\n", writes, commits);
	mmapdev_unmap(map);
	mmapdev_close(dev);
	return 0;
}
