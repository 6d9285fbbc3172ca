// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The classic: a file that is memory. A text is written by write(2), read in a
 * mapping, changed there in place, and read back by read(2).
 *
 * Try: ./hello, or without the device: touch /tmp/hello; ./hello /tmp/hello;
 * cat /tmp/hello
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <mmapdev.h>

#include "example.h"

static const char before[] = "hello, file\n";
static const char after[] = "hello, map!\n";

#define LENGTH (sizeof(before) - 1)

static void need_all(ssize_t bytes, const char *what)
{
	if (bytes != LENGTH)
		need(bytes < 0 ? -errno : -EIO, what);
}

int main(int argc, char **argv)
{
	const char *path = object_path(argc, argv);
	struct mmapdev_map_opts opts = { .sz = sizeof(opts), .length = LENGTH };
	struct mmapdev_map *map;
	char back[LENGTH];
	struct mmapdev *dev;
	char *mem;

	need(mmapdev_open(path, O_RDWR, &dev), path);
	need_all(pwrite(mmapdev_fd(dev), before, LENGTH, 0), "write");

	need(mmapdev_map(dev, &opts, &map), "map");
	mem = mmapdev_map_addr(map);
	printf("written by write(2), read in the mapping: %.*s", (int)LENGTH,
	       mem);
	claim(!memcmp(mem, before, LENGTH), "the mapping has what was written");

	/* In place: no buffer, no system call. */
	memcpy(mem + 7, "map!", 4);
	/* To commit it, as msync(2) does. read(2) would see it anyway. */
	need(mmapdev_flush(map, 0, LENGTH), "flush");

	need_all(pread(mmapdev_fd(dev), back, LENGTH, 0), "read");
	printf("changed in the mapping, read by read(2): %.*s", (int)LENGTH,
	       back);
	claim(!memcmp(back, after, LENGTH), "read(2) has what was changed");

	mmapdev_unmap(map);
	mmapdev_close(dev);
	return failed;
}
