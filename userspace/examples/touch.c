// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Single touches of a mapping, each where it is told, for who wants to see what
 * they do: beside it, run mmapdevctl watch.
 *
 *   touch DEVICE {r|w}OFFSET...
 *
 * Try: ./touch /dev/mmapdev r0 w8192 w0x200000
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mmapdev.h>

static int fail(const char *what, int ret)
{
	fprintf(stderr, "touch: %s: %s\n", what, strerror(-ret));
	return 1;
}

int main(int argc, char **argv)
{
	struct mmapdev_map *map;
	struct mmapdev *dev;
	volatile char *mem;
	int i, ret;

	if (argc < 3)
		return fail("DEVICE {r|w}OFFSET...", -EINVAL);
	ret = mmapdev_open(argv[1], O_RDWR, &dev);
	if (ret)
		return fail(argv[1], ret);
	ret = mmapdev_map(dev, NULL, &map);
	if (ret)
		return fail("map", ret);

	mem = mmapdev_map_addr(map);
	for (i = 2; i < argc; i++) {
		size_t offset = strtoull(argv[i] + 1, NULL, 0);

		if (offset >= mmapdev_map_size(map))
			return fail(argv[i], -ERANGE);
		if (*argv[i] == 'w')
			mem[offset] = 1;
		else
			(void)mem[offset];
	}
	mmapdev_unmap(map);
	mmapdev_close(dev);
	return 0;
}
