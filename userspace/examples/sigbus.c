// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The touch that kills, survived: a map may go on beyond the end of its object,
 * and a touch there raises SIGBUS. A guard makes an error of it, and tells the
 * address. When the object has grown the same address works.
 *
 * Try: ./sigbus; a file, or a device that may grow (max_size); not empty.
 */
#include <errno.h>
#include <fcntl.h>

#include <mmapdev.h>

#include "example.h"

/* 0, or what became of it. */
static int touch(struct mmapdev_guard *guard, char *at)
{
	if (!mmapdev_guard_begin(guard, at, 1))
		*(volatile char *)at = 42;
	return mmapdev_guard_end(guard);
}

int main(int argc, char **argv)
{
	const char *path = object_path(argc, argv);
	struct mmapdev_info info = { .sz = sizeof(info) };
	struct mmapdev_map_opts opts = { .sz = sizeof(opts) };
	struct mmapdev_guard guard;
	struct mmapdev_map *map;
	struct mmapdev *dev;
	size_t page, size;
	char *beyond;
	int ret;

	need(mmapdev_open(path, O_RDWR, &dev), path);
	need(mmapdev_get_info(dev, &info), "info");
	page = info.page_size;

	/* What there is of the object's last page, and room for more. */
	opts.offset = (info.size - 1) / page * page;
	opts.window = 2 * page;
	need(mmapdev_map(dev, &opts, &map), "map");
	size = mmapdev_map_size(map);
	beyond = (char *)mmapdev_map_addr(map) + page;

	ret = touch(&guard, beyond);
	claim(ret == -ENXIO, "a touch of the page beyond the end: %s",
	      strerror(-ret));
	claim(guard.addr == beyond, "that byte is %td bytes into the map",
	      (const char *)guard.addr - (char *)mmapdev_map_addr(map));

	need(mmapdev_map_grow(map, 2 * page), "grow");
	ret = touch(&guard, beyond);
	claim(!ret && *beyond == 42, "after growing, the same address: %s",
	      strerror(-ret));

	need(mmapdev_map_cut(map, size), "cut");
	ret = touch(&guard, beyond);
	claim(ret == -ENXIO, "cut to its size again: %s", strerror(-ret));

	mmapdev_unmap(map);
	mmapdev_close(dev);
	return failed;
}
