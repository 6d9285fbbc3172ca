// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Structs that begin with their size: callers older and newer than we are. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"

/* The struct of 1.0 ended before folio_max. */
#define FIRST offsetof(struct mmapdev_info, folio_max)

static void test_info(struct object *o)
{
	struct mmapdev_info info = { .sz = sizeof(info) };

	is(mmapdev_get_info(o->dev, &info), 0, "info answers (%s)", o->name);
	is(info.sz, sizeof(info), "sz stays as it was set (%s)", o->name);
	is(info.size, 10000, "the size in bytes (%s)", o->name);
	is(info.kind, MMAPDEV_KIND_FILE, "the kind is file (%s)", o->name);
	is(info.mode, MMAPDEV_MODE_DEMAND, "it maps on demand (%s)", o->name);
	is(info.page_size, page_size(), "in pages (%s)", o->name);
	is(info.huge, MMAPDEV_HUGE_NEVER, "of one size (%s)", o->name);
	ok(info.max_size == MMAPDEV_UNKNOWN &&
		   info.resident == MMAPDEV_UNKNOWN &&
		   info.dirty == MMAPDEV_UNKNOWN &&
		   info.commit_seq == MMAPDEV_UNKNOWN &&
		   info.committed == MMAPDEV_UNKNOWN &&
		   info.folio_max == MMAPDEV_UNKNOWN &&
		   info.maps == MMAPDEV_UNKNOWN &&
		   info.faults == MMAPDEV_UNKNOWN &&
		   info.mkwrites == MMAPDEV_UNKNOWN &&
		   info.resizes == MMAPDEV_UNKNOWN &&
		   info.punches == MMAPDEV_UNKNOWN,
	   "what a file does not know is UNKNOWN (%s)", o->name);

	need(ftruncate(mmapdev_fd(o->dev), 12345), "ftruncate");
	is(mmapdev_get_info(o->dev, &info), 0, "asked again (%s)", o->name);
	is(info.size, 12345, "it says the size of now (%s)", o->name);
}

static void test_info_sizes(struct object *o)
{
	struct {
		struct mmapdev_info info;
		unsigned char tail[64], after[64];
	} newer;
	size_t i;
	bool zero = true, beyond = true;

	memset(&newer, 0xee, sizeof(newer));
	newer.info.sz = sizeof(newer.info) + sizeof(newer.tail);
	is(mmapdev_get_info(o->dev, &newer.info), 0,
	   "a newer program is answered (%s)", o->name);
	for (i = 0; i < sizeof(newer.tail); i++) {
		zero &= newer.tail[i] == 0;
		beyond &= newer.after[i] == 0xee;
	}
	ok(zero, "what this library does not know is zero (%s)", o->name);
	ok(beyond, "and nothing behind the struct is touched (%s)", o->name);

	memset(&newer, 0xee, sizeof(newer));
	newer.info.sz = FIRST;
	is(mmapdev_get_info(o->dev, &newer.info), 0,
	   "a program of 1.0 is answered (%s)", o->name);
	is(newer.info.size, 10000, "with the size (%s)", o->name);
	is(newer.info.folio_max, 0xeeeeeeeeeeeeeeee,
	   "and nothing behind its struct is touched (%s)", o->name);

	newer.info.sz = FIRST - 1;
	is(mmapdev_get_info(o->dev, &newer.info), -EINVAL,
	   "shorter than the first version is EINVAL (%s)", o->name);
	newer.info.sz = 0;
	is(mmapdev_get_info(o->dev, &newer.info), -EINVAL,
	   "so is a size of 0 (%s)", o->name);
	newer.info.sz = SIZE_MAX;
	is(mmapdev_get_info(o->dev, &newer.info), -E2BIG,
	   "a size that was never set is E2BIG (%s)", o->name);
	is(mmapdev_get_info(NULL, &newer.info), -EINVAL, "no handle (%s)",
	   o->name);
	is(mmapdev_get_info(o->dev, NULL), -EINVAL, "no struct (%s)", o->name);
}

/* The struct ends where the heap block does: ASan sees a byte too many. */
static void test_exact_block(struct object *o)
{
	struct mmapdev_info *info = malloc(sizeof(*info));
	struct mmapdev_map_opts *opts = calloc(1, sizeof(*opts));
	struct mmapdev_map *map;

	if (!info || !opts)
		need(-ENOMEM, "malloc");
	info->sz = sizeof(*info);
	is(mmapdev_get_info(o->dev, info), 0, "info on the heap (%s)", o->name);
	opts->sz = sizeof(*opts);
	is(mmapdev_map(o->dev, opts, &map), 0, "opts on the heap (%s)",
	   o->name);
	mmapdev_unmap(map);
	free(info);
	free(opts);
}

static void test_opts_sizes(struct object *o)
{
	struct {
		struct mmapdev_map_opts opts;
		unsigned char tail[64];
	} newer = { .opts.sz = sizeof(newer) };
	struct mmapdev_map *map = NULL;

	is(mmapdev_map(o->dev, &newer.opts, &map), 0,
	   "options of a newer program, which asks for nothing new (%s)",
	   o->name);
	is(mmapdev_unmap(map), 0, "map and unmap (%s)", o->name);

	newer.tail[63] = 1;
	is(mmapdev_map(o->dev, &newer.opts, &map), -E2BIG,
	   "a byte that is set in the tail is E2BIG (%s)", o->name);
	newer.opts.sz = sizeof(newer) - 1;
	is(mmapdev_map(o->dev, &newer.opts, &map), 0,
	   "a byte behind the tail is not looked at (%s)", o->name);
	is(mmapdev_unmap(map), 0, "map and unmap (%s)", o->name);

	/* What it has beyond is of no more account than a tail. */
	newer.opts.window = 1;
	newer.opts.sz = offsetof(struct mmapdev_map_opts, window);
	is(mmapdev_map(o->dev, &newer.opts, &map), 0,
	   "options of a program of 1.1 (%s)", o->name);
	is(mmapdev_unmap(map), 0, "map and unmap (%s)", o->name);
	newer.opts.window = 0;

	newer.opts.sz = offsetof(struct mmapdev_map_opts, window) - 1;
	is(mmapdev_map(o->dev, &newer.opts, &map), -EINVAL,
	   "shorter than the first version is EINVAL (%s)", o->name);
	newer.opts.sz = 0;
	is(mmapdev_map(o->dev, &newer.opts, &map), -EINVAL,
	   "so is a size of 0 (%s)", o->name);
	newer.opts.sz = SIZE_MAX;
	is(mmapdev_map(o->dev, &newer.opts, &map), -E2BIG,
	   "a size that was never set is E2BIG (%s)", o->name);
	newer.opts.sz = sizeof(newer.opts);
	newer.opts.reserved = 1;
	is(mmapdev_map(o->dev, &newer.opts, &map), -EINVAL,
	   "reserved must be 0 (%s)", o->name);
}

int main(void)
{
	on_each_object(10000, test_info);
	on_each_object(10000, test_info_sizes);
	on_each_object(10000, test_opts_sizes);
	on_each_object(10000, test_exact_block);
	return done();
}
