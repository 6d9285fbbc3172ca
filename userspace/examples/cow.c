// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Copy on write: a thousand private mappings of one buffer of 4,096 bytes. Each
 * is written to, and none sees another's writes; nor does the buffer.
 *
 * Try: ./cow; an object of 4,096 bytes or more.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <mmapdev.h>

#include "example.h"

#define BUFFER 4096
#define WORDS (BUFFER / sizeof(uint32_t))
#define MAPS 1000
#define OF_THE_BUFFER 0x62756666

/* Even words are written in a copy, odd ones stay as the buffer has them. */
static bool holds(const uint32_t *mem, uint32_t even)
{
	for (size_t i = 0; i < WORDS; i++)
		if (mem[i] != (i % 2 ? OF_THE_BUFFER : even))
			return false;
	return true;
}

int main(int argc, char **argv)
{
	const char *path = object_path(argc, argv);
	struct mmapdev_map_opts opts = { .sz = sizeof(opts), .length = BUFFER,
					 .flags = MMAPDEV_MAP_PRIVATE };
	struct mmapdev_map *maps[MAPS];
	uint32_t buffer[WORDS], *mem;
	struct mmapdev *dev;
	uint32_t good = 0;

	need(mmapdev_open(path, O_RDWR, &dev), path);
	for (size_t i = 0; i < WORDS; i++)
		buffer[i] = OF_THE_BUFFER;
	if (pwrite(mmapdev_fd(dev), buffer, BUFFER, 0) != BUFFER)
		need(-errno, "write");

	for (uint32_t n = 0; n < MAPS; n++) {
		need(mmapdev_map(dev, &opts, &maps[n]), "map");
		mem = mmapdev_map_addr(maps[n]);
		good += holds(mem, OF_THE_BUFFER);
	}
	claim(good == MAPS, "%u of %u private mappings begin as the buffer",
	      good, MAPS);

	for (uint32_t n = 0; n < MAPS; n++) {
		mem = mmapdev_map_addr(maps[n]);
		for (size_t i = 0; i < WORDS; i += 2)
			mem[i] = n;
	}
	good = 0;
	for (uint32_t n = 0; n < MAPS; n++)
		good += holds(mmapdev_map_addr(maps[n]), n);
	claim(good == MAPS, "%u of %u hold what was written there alone", good,
	      MAPS);

	if (pread(mmapdev_fd(dev), buffer, BUFFER, 0) != BUFFER)
		need(-errno, "read");
	claim(holds(buffer, OF_THE_BUFFER), "the buffer is as it was");

	for (uint32_t n = 0; n < MAPS; n++)
		mmapdev_unmap(maps[n]);
	mmapdev_close(dev);
	return failed;
}
