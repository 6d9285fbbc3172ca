// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Flush: which pages a range of bytes stands for, and what it refuses. */
#include <fcntl.h>
#include <sys/mman.h>

#include "common.h"
#include "wrap.h"

#define PAGES 16

static void covers(struct object *o, struct mmapdev_map *map, uint64_t offset,
		   uint64_t length, uint64_t first, uint64_t pages)
{
	uint64_t page = page_size(), start, end;
	struct wrap_call call;

	wrap_reset();
	is(mmapdev_flush(map, offset, length), 0, "%llu bytes at %llu (%s)",
	   (unsigned long long)length, (unsigned long long)offset, o->name);
	is(wrap_calls(W_MSYNC), 1, "are one msync (%s)", o->name);
	call = wrap_last(W_MSYNC);
	start = (char *)call.addr - (char *)mmapdev_map_addr(map);
	end = start + (call.length + page - 1) / page * page;
	ok(start == first * page && end == (first + pages) * page,
	   "of page %llu and %llu in all (%s)", (unsigned long long)first,
	   (unsigned long long)pages, o->name);
	is(call.flags, MS_SYNC, "by MS_SYNC (%s)", o->name);
}

static void test_ranges(struct object *o)
{
	uint64_t page = page_size(), size = PAGES * page;
	struct mmapdev_map *map;

	need(mmapdev_map(o->dev, NULL, &map), "map");
	covers(o, map, 0, size, 0, PAGES);
	covers(o, map, 0, 1, 0, 1);
	covers(o, map, page - 1, 1, 0, 1);
	covers(o, map, page - 1, 2, 0, 2);
	covers(o, map, page, page, 1, 1);
	covers(o, map, page + 1, page, 1, 2);
	covers(o, map, size - 1, 1, PAGES - 1, 1);
	covers(o, map, 3 * page + 5, 4 * page, 3, 5);

	wrap_reset();
	is(mmapdev_flush(map, 5, 0), 0, "nothing is flushed (%s)", o->name);
	is(mmapdev_flush(map, size, 0), 0, "at the end too (%s)", o->name);
	is(mmapdev_flush(map, size + 1, 0), -ERANGE, "beyond it ERANGE (%s)",
	   o->name);
	is(mmapdev_flush(map, 0, size + 1), -ERANGE, "a byte too many (%s)",
	   o->name);
	is(mmapdev_flush(map, size, 1), -ERANGE, "a byte too far (%s)",
	   o->name);
	is(mmapdev_flush(map, 8, UINT64_MAX), -ERANGE, "an overflow (%s)",
	   o->name);
	is(mmapdev_flush(map, UINT64_MAX, 1), -ERANGE, "another one (%s)",
	   o->name);
	is(mmapdev_flush(NULL, 0, 0), -EINVAL, "no map (%s)", o->name);
	is(wrap_calls(W_MSYNC), 0, "none of these is an msync (%s)", o->name);
	mmapdev_unmap(map);
}

static void test_part(struct object *o)
{
	struct mmapdev_map_opts opts = {
		.sz = sizeof(opts),
		.offset = 4 * page_size(),
		.length = 2 * page_size() - 100,
	};
	struct mmapdev_map *map;

	need(mmapdev_map(o->dev, &opts, &map), "map");
	covers(o, map, page_size(), page_size() - 100, 1, 1);
	is(mmapdev_flush(map, 0, 2 * page_size()), -ERANGE,
	   "a range ends with the map, not with its last page (%s)", o->name);
	mmapdev_unmap(map);
}

static void test_read_only(struct object *o)
{
	struct mmapdev_info info = { .sz = sizeof(info) };
	struct mmapdev *dev = reopen(o, O_RDONLY);
	struct mmapdev_map *map;

	need(mmapdev_fill(o->dev, 0, page_size(), 1), "fill");
	need(mmapdev_map(dev, NULL, &map), "map");
	wrap_reset();
	is(mmapdev_flush(map, 0, 1), 0, "a reader may flush (%s)", o->name);
	is(wrap_calls(W_FSYNC), 1, "which commits the object (%s)", o->name);
	need(mmapdev_get_info(dev, &info), "info");
	ok(info.dirty == 0 || info.dirty == MMAPDEV_UNKNOWN,
	   "so that nothing is dirty (%s)", o->name);
	is(mmapdev_flush(map, 0, 0), 0, "of nothing (%s)", o->name);
	is(wrap_calls(W_FSYNC), 1, "it commits nothing (%s)", o->name);
	is(mmapdev_commit(dev), 0, "and may commit (%s)", o->name);
	mmapdev_unmap(map);
	mmapdev_close(dev);
}

static void test_errors(struct object *o)
{
	static const int errors[] = { EIO,    ENOSPC, EDQUOT,
				      ENOMEM, EINTR,  ENODEV };
	struct mmapdev_map *map;
	size_t i;

	need(mmapdev_map(o->dev, NULL, &map), "map");
	wrap_reset();
	for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		wrap_fail(W_MSYNC, 1, errors[i]);
		is(mmapdev_flush(map, 0, 1), -errors[i],
		   "no error of msync is lost (%s)", o->name);
		wrap_fail(W_FSYNC, 1, errors[i]);
		is(mmapdev_commit(o->dev), -errors[i],
		   "no error of fsync is lost (%s)", o->name);
	}
	is(wrap_calls(W_FSYNC), i, "and none is tried again (%s)", o->name);
	mmapdev_unmap(map);
}

static void test_object(struct object *o)
{
	test_ranges(o);
	test_part(o);
	test_read_only(o);
	test_errors(o);
}

int main(void)
{
	on_every_object(PAGES * page_size(), test_object);
	return done();
}
