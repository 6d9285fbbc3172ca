// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * A program of a user, C99 and C++11 at once: each inline function of the header
 * and its one macro. With -DDLSYM it asks the shared library for the inline
 * functions, as the binding of another language does.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mmapdev.h>

#ifdef DLSYM
#define CALL(name) ((__typeof__(&name))symbol(#name))
#else
#define CALL(name) name
#endif

#define PAGE 65536 /* a multiple of every page size */

static void need(int truth, const char *what)
{
	if (truth)
		return;
	fprintf(stderr, "not so: %s\n", what);
	exit(1);
}

#ifdef DLSYM
typedef void (*function)(void);

static function symbol(const char *name)
{
	void *address = dlsym(RTLD_DEFAULT, name);
	function f;

	need(address != NULL, name);
	memcpy(&f, &address, sizeof(f));
	return f;
}
#endif

static struct mmapdev_map *map_window(struct mmapdev *dev)
{
	struct mmapdev_map *map = NULL;
#ifdef __cplusplus
	mmapdev_map_opts opts = mmapdev_map_opts();

	opts.sz = sizeof(opts);
	opts.window = 4 * PAGE;
#else
	struct mmapdev_map_opts opts = {
		.sz = sizeof(opts),
		.window = 4 * PAGE,
	};
#endif
	need(mmapdev_map(dev, &opts, &map) == 0, "a window is mapped");
	return map;
}

static void look_ahead(struct mmapdev_map *map)
{
	struct mmapdev_ahead *ahead;

	need(mmapdev_ahead_start(map, NULL, &ahead) == 0, "ahead begins");
	CALL(mmapdev_ahead_at)(ahead, PAGE);
	need(mmapdev_ahead_stop(ahead) == 0, "ahead ends");
}

/* Within the map, and then beyond the end of what is behind it. */
static int touch(char *addr, size_t length)
{
	struct mmapdev_guard guard;
	volatile char *last = addr + length - 1;

	if (!mmapdev_guard_begin(&guard, addr, length))
		*last = 1;
	return mmapdev_guard_end(&guard);
}

int main(void)
{
	struct mmapdev_map *map;
	struct mmapdev *dev;
	uint64_t cursor = 0;
	char *addr;

	need(mmapdev_open_memfd("user", PAGE, &dev) == 0, "a memfd");
	map = map_window(dev);
	addr = (char *)CALL(mmapdev_map_addr)(map);
	need(addr != NULL && !CALL(mmapdev_map_addr)(NULL), "it has an address");
	need(CALL(mmapdev_map_size)(map) == PAGE, "and a size");
	need(CALL(mmapdev_reserve)(map, &cursor, 5) == 0, "room for 5 bytes");
	need(CALL(mmapdev_reserve)(map, &cursor, PAGE) == 5, "and for a page");
	need(CALL(mmapdev_map_size)(map) >= PAGE + 5, "for which it grew");
	need(cursor == PAGE + 5, "as the cursor says");
	look_ahead(map);
	need(touch(addr, PAGE) == 0, "its bytes can be touched");
	need(mmapdev_map_cut(map, 0) == 0, "it is cut");
	need(touch(addr, 2 * PAGE) < 0, "and then they cannot");
	need(mmapdev_unmap(map) == 0, "it goes");
	mmapdev_close(dev);
	return 0;
}
