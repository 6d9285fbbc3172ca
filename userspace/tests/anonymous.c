// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Maps with no object behind them: memory, for a family of processes or one. */
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"
#include "wrap.h"

#define SIZE (64 * KIB)

static int map_anonymous(uint64_t length, uint32_t flags,
			 struct mmapdev_map **map)
{
	struct mmapdev_map_opts opts = {
		.sz = sizeof(opts),
		.length = length,
		.flags = flags,
	};

	return mmapdev_map_anonymous(&opts, map);
}

/* What the parent reads when a child has written 5. */
static int after_child(uint32_t flags)
{
	struct mmapdev_map *map;
	char *mem;
	pid_t pid;
	int byte;

	need(map_anonymous(SIZE, flags, &map), "map");
	mem = mmapdev_map_addr(map);
	mem[1] = 1;
	pid = fork();
	if (!pid) {
		mem[1] += 4;
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	byte = mem[1];
	mmapdev_unmap(map);
	return byte;
}

static void test_kinds(void)
{
	struct mmapdev_map *map;
	size_t i, set = 0;
	char *mem;

	is(map_anonymous(SIZE + 1, 0, &map), 0, "memory is mapped");
	is(mmapdev_map_size(map), SIZE + 1, "to the byte");
	is(mmapdev_map_window(map), SIZE + 1, "and grows not");
	mem = mmapdev_map_addr(map);
	for (i = 0; i <= SIZE; i++)
		set += !!mem[i];
	is(set, 0, "it is zeros");
	mem[SIZE] = 1;
	is(mmapdev_flush(map, 0, SIZE), 0, "to commit it does nothing");
	is(mmapdev_map_grow(map, SIZE + 1), 0, "as long it is already");
	is(mmapdev_map_grow(map, SIZE + 2), -ENXIO, "longer it won't be");
	is(mmapdev_map_cut(map, 1), -EINVAL, "nor shorter");
	is(mmapdev_unmap(map), 0, "it ends");

	is(after_child(0), 5, "shared: a child's write is the parent's");
	is(after_child(MMAPDEV_MAP_PRIVATE), 1, "private: it is not");
}

static void test_populate(uint32_t flags)
{
	unsigned char there[SIZE / 4096];
	struct mmapdev_map *map;
	size_t i, missing = 0;

	is(map_anonymous(SIZE, MMAPDEV_MAP_POPULATE | flags, &map), 0,
	   "memory is populated (%u)", flags);
	mincore(mmapdev_map_addr(map), SIZE, there);
	for (i = 0; i < SIZE / page_size(); i++)
		missing += !(there[i] & 1);
	is(missing, 0, "all of it (%u)", flags);
	mmapdev_unmap(map);
}

static void test_refused(void)
{
	struct mmapdev_map_opts good = { .sz = sizeof(good), .length = SIZE };
	struct mmapdev_map_opts opts = good;
	struct mmapdev_map *map = NULL;

	is(mmapdev_map_anonymous(NULL, &map), -EINVAL, "how much?");
	is(mmapdev_map_anonymous(&good, NULL), -EINVAL, "for whom?");
	is(map_anonymous(0, 0, &map), -EINVAL, "nothing");
	is(map_anonymous(UINT64_MAX, 0, &map), -ENOMEM, "far too much");
	is(map_anonymous(SIZE, MMAPDEV_MAP_READONLY, &map), -EINVAL,
	   "only to be read");
	is(map_anonymous(SIZE, MMAPDEV_MAP_SYNC, &map), -EINVAL,
	   "persistent memory");
	is(map_anonymous(SIZE, 1u << 31, &map), -EINVAL, "an unknown flag");
	opts.offset = page_size();
	is(mmapdev_map_anonymous(&opts, &map), -EINVAL, "an offset in what?");
	opts = good;
	opts.window = 2 * SIZE;
	is(mmapdev_map_anonymous(&opts, &map), -EINVAL, "a window");
	opts = good;
	opts.reserved = 1;
	is(mmapdev_map_anonymous(&opts, &map), -EINVAL, "what is reserved");
	opts = good;
	opts.sz = 8;
	is(mmapdev_map_anonymous(&opts, &map), -EINVAL, "no such struct");
	opts.sz = 5000;
	is(mmapdev_map_anonymous(&opts, &map), -E2BIG, "nor such");

	wrap_reset();
	wrap_fail(W_CALLOC, 1, ENOMEM);
	is(map_anonymous(SIZE, 0, &map), -ENOMEM, "no memory for the handle");
	wrap_fail(W_MMAP, 1, EAGAIN);
	is(map_anonymous(SIZE, 0, &map), -EAGAIN, "too much is locked");
	wrap_fail(W_MADVISE, 1, ENOMEM);
	is(map_anonymous(SIZE, MMAPDEV_MAP_POPULATE, &map), -ENOMEM,
	   "no memory to populate it with");
	wrap_fail(W_MADVISE, 1, EINVAL);
	is(map_anonymous(SIZE, MMAPDEV_MAP_POPULATE, &map), -EOPNOTSUPP,
	   "nor a kernel that could");
	is(wrap_calls(W_MMAP) - wrap_calls(W_MUNMAP), 1, "no map is left");
	ok(!map, "and no result");
	wrap_reset();
}

int main(void)
{
	test_kinds();
	test_populate(0);
	test_populate(MMAPDEV_MAP_PRIVATE);
	test_refused();
	return done();
}
