// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Resize and punch, by the device's rules; and what a file says it cannot. */
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"

#define PAGES 64

static uint64_t size_of(struct object *o)
{
	struct mmapdev_info info = { .sz = sizeof(info) };

	need(mmapdev_get_info(o->dev, &info), "info");
	return info.size;
}

/* -1 where the pages are not all @byte. */
static int holds(struct object *o, uint64_t page, uint64_t pages, int byte)
{
	uint64_t at;

	for (at = page * page_size(); at < (page + pages) * page_size(); at++) {
		unsigned char got;

		if (pread(mmapdev_fd(o->dev), &got, 1, at) != 1 || got != byte)
			return -1;
	}
	return byte;
}

static uint64_t blocks(struct object *o)
{
	struct stat st;

	need(fstat(mmapdev_fd(o->dev), &st), "fstat");
	return st.st_blocks;
}

static void test_resize(struct object *o)
{
	uint64_t page = page_size();

	need(mmapdev_fill(o->dev, 0, 4 * page, 0x0101010101010101 * 7), "fill");
	is(mmapdev_resize(o->dev, 8 * page), 0, "it grows (%s)", o->name);
	is(size_of(o), 8 * page, "to the size that was asked for (%s)",
	   o->name);
	is(holds(o, 0, 4, 7), 7, "with what it had (%s)", o->name);
	is(holds(o, 4, 4, 0), 0, "and zeros (%s)", o->name);
	is(mmapdev_resize(o->dev, page), 0, "it shrinks (%s)", o->name);
	is(size_of(o), page, "to the size that was asked for (%s)", o->name);
	is(mmapdev_resize(o->dev, 4 * page), 0, "and grows again (%s)",
	   o->name);
	is(holds(o, 0, 1, 7), 7, "what stayed is there (%s)", o->name);
	is(holds(o, 1, 3, 0), 0, "what was cut off is not (%s)", o->name);
	is(mmapdev_resize(o->dev, 0), 0, "0 is a size (%s)", o->name);
	is(size_of(o), 0, "which it has then (%s)", o->name);
	is(mmapdev_resize(o->dev, 4 * page), 0, "for a while (%s)", o->name);
}

static void test_punch(struct object *o)
{
	uint64_t page = page_size(), before;
	struct mmapdev_map *map;
	unsigned char *mem;

	need(mmapdev_resize(o->dev, PAGES * page), "resize");
	need(mmapdev_fill(o->dev, 0, PAGES * page, 0x0101010101010101 * 9),
	     "fill");
	need(mmapdev_map(o->dev, NULL, &map), "map");
	mem = mmapdev_map_addr(map);
	before = blocks(o);

	is(mmapdev_punch(o->dev, page, (PAGES - 2) * page), 0,
	   "a hole is made (%s)", o->name);
	ok(blocks(o) <= before - (PAGES - 2) * page / 512,
	   "its memory is free (%s)", o->name);
	is(holds(o, 0, 1, 9), 9, "behind the first page (%s)", o->name);
	is(holds(o, 1, PAGES - 2, 0), 0, "it is zeros (%s)", o->name);
	is(holds(o, PAGES - 1, 1, 9), 9, "before the last page (%s)", o->name);
	is(size_of(o), PAGES * page, "the size is as it was (%s)", o->name);
	ok(mem[page - 1] == 9 && !mem[page] && !mem[(PAGES - 1) * page - 1],
	   "maps show it (%s)", o->name);
	mmapdev_unmap(map);

	is(mmapdev_punch(o->dev, 0, 0), 0, "a hole of nothing (%s)", o->name);
	is(mmapdev_punch(o->dev, PAGES * page, 0), 0, "also at the end (%s)",
	   o->name);
	is(holds(o, 0, 1, 9), 9, "changes nothing (%s)", o->name);
	is(mmapdev_punch(o->dev, 0, PAGES * page), 0, "a hole of all (%s)",
	   o->name);
	is(holds(o, 0, PAGES, 0), 0, "is all zeros (%s)", o->name);
}

static void test_refused(struct object *o)
{
	uint64_t page = page_size(), size = PAGES * page;
	struct mmapdev *reader = reopen(o, O_RDONLY);
	struct mmapdev *writer = reopen(o, O_WRONLY);

	need(mmapdev_resize(o->dev, size), "resize");
	is(mmapdev_resize(o->dev, size + 1), -EINVAL,
	   "sizes are whole pages (%s)", o->name);
	is(mmapdev_resize(o->dev, (uint64_t)INT64_MAX + 1), -EFBIG,
	   "no file is larger than off_t can say (%s)", o->name);
	is(mmapdev_resize(NULL, size), -EINVAL, "resize nobody's (%s)",
	   o->name);
	is(mmapdev_resize(reader, page), -EBADF, "a reader resizes not (%s)",
	   o->name);
	is(size_of(o), size, "all this leaves the size alone (%s)", o->name);

	is(mmapdev_punch(o->dev, 1, page), -EINVAL,
	   "punch: offsets are whole pages (%s)", o->name);
	is(mmapdev_punch(o->dev, 0, page - 1), -EINVAL,
	   "punch: lengths are whole pages (%s)", o->name);
	is(mmapdev_punch(o->dev, size, page), -ENXIO,
	   "punch beyond the end (%s)", o->name);
	is(mmapdev_punch(o->dev, 0, size + page), -ENXIO,
	   "punch a page too many (%s)", o->name);
	is(mmapdev_punch(o->dev, -page, 2 * page), -EOVERFLOW,
	   "punch a range that overflows (%s)", o->name);
	is(mmapdev_punch(NULL, 0, page), -EINVAL, "punch nobody's (%s)",
	   o->name);
	is(mmapdev_punch(reader, 0, page), -EBADF, "a reader punches not (%s)",
	   o->name);
	is(mmapdev_punch(reader, 0, 0), -EBADF, "not even nothing (%s)",
	   o->name);
	is(mmapdev_punch(writer, 0, page), 0, "who only writes does (%s)",
	   o->name);
	is(mmapdev_resize(writer, size + page), 0, "and resizes (%s)",
	   o->name);
	mmapdev_close(reader);
	mmapdev_close(writer);
}

static void test_device_only(struct object *o)
{
	unsigned char bitmap[PAGES / 8 + 1];
	int fd = eventfd(0, EFD_CLOEXEC);
	uint64_t pages = 3;

	is(mmapdev_dirty(o->dev, 0, page_size(), 0, bitmap, &pages),
	   -EOPNOTSUPP, "a file keeps no record of writes (%s)", o->name);
	is(pages, 3, "the result is left alone (%s)", o->name);
	is(mmapdev_notify(o->dev, fd), -EOPNOTSUPP, "nor tells of commits (%s)",
	   o->name);
	close(fd);
}

static void test_sealed(void)
{
	struct object o = { .name = "memfd" };

	need(mmapdev_open_memfd("sealed", 2 * page_size(), &o.dev), "memfd");
	need(fcntl(mmapdev_fd(o.dev), F_ADD_SEALS,
		   F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), "seal");
	is(mmapdev_resize(o.dev, page_size()), -EPERM, "a seal on shrinking");
	is(mmapdev_resize(o.dev, 3 * page_size()), -EPERM,
	   "a seal on growing");
	is(mmapdev_punch(o.dev, 0, page_size()), -EPERM, "a seal on writing");
	mmapdev_close(o.dev);
}

static void test_object(struct object *o)
{
	test_resize(o);
	test_punch(o);
	test_refused(o);
	test_device_only(o);
}

int main(void)
{
	on_each_object(4 * page_size(), test_object);
	test_sealed();
	return done();
}
