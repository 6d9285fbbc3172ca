// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Maps: a range of an object in memory, and its commit.
 *
 * mmap(2) itself lets a program map far beyond the end of a file and dies of
 * SIGBUS at the first touch there. The library refuses such a range while the
 * program can still be told.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "private.h"

#define OPTS_FIRST offsetofend(struct mmapdev_map_opts, reserved)
#define MAP_FLAGS                                                              \
	(MMAPDEV_MAP_PRIVATE | MMAPDEV_MAP_READONLY | MMAPDEV_MAP_POPULATE |    \
	 MMAPDEV_MAP_SYNC)

/* No object, no window, nothing to be read that nobody could write. */
#define ANONYMOUS_FLAGS (MMAPDEV_MAP_PRIVATE | MMAPDEV_MAP_POPULATE)

_Static_assert(offsetof(struct mmapdev_map, head) == 0,
	       "the inline functions find the head of a map");

int mmapdev_check_range(uint64_t offset, uint64_t length, uint64_t size)
{
	uint64_t end;

	if (__builtin_add_overflow(offset, length, &end))
		return -EOVERFLOW;
	return end > size ? -ENXIO : 0;
}

static bool flags_fit(const struct mmapdev_map_opts *opts)
{
	const uint32_t private = opts->flags & MMAPDEV_MAP_PRIVATE;

	if (opts->flags & ~MAP_FLAGS || opts->reserved)
		return false;
	/* Copies neither grow with the object nor persist. */
	return !private ||
	       (!(opts->flags & MMAPDEV_MAP_SYNC) && !opts->window);
}

/*
 * Checks @opts against the object, and turns a length of 0 into the rest, and a
 * window into the whole pages that it takes.
 */
static int resolve(struct mmapdev *dev, struct mmapdev_map_opts *opts,
		   bool *eager)
{
	struct mmapdev_info info = { .sz = sizeof(info) };
	uint64_t page = sysconf(_SC_PAGESIZE), limit;
	int ret;

	if (!flags_fit(opts) || opts->offset % page)
		return -EINVAL;

	ret = mmapdev_get_info(dev, &info);
	if (ret)
		return ret;
	*eager = info.mode == MMAPDEV_MODE_EAGER;
	/* What a window has beyond the object, it has by growing. */
	limit = opts->window || info.max_size == MMAPDEV_UNKNOWN ?
			info.size :
			info.max_size;

	if (!opts->length) {
		/* A window may begin with nothing. */
		if (opts->offset > info.size ||
		    (opts->offset == info.size && !opts->window))
			return -ENXIO;
		opts->length = info.size - opts->offset;
	}
	if (opts->length > SIZE_MAX || opts->window > SIZE_MAX - page)
		return -EOVERFLOW;
	ret = mmapdev_check_range(opts->offset, opts->length, limit);
	if (ret || !opts->window)
		return ret;

	if (opts->window < opts->length)
		return -EINVAL;
	opts->window = (opts->window + page - 1) / page * page;
	return mmapdev_check_range(opts->offset, opts->window,
				   info.max_size == MMAPDEV_UNKNOWN ?
					   INT64_MAX :
					   info.max_size);
}

static int protection(struct mmapdev *dev, uint32_t flags)
{
	int oflags;

	if (flags & MMAPDEV_MAP_READONLY)
		return PROT_READ;
	if (flags & MMAPDEV_MAP_PRIVATE)
		return PROT_READ | PROT_WRITE;

	oflags = fcntl(dev->fd, F_GETFL);
	if (oflags < 0)
		return -errno;
	return (oflags & O_ACCMODE) == O_RDWR ? PROT_READ | PROT_WRITE :
						PROT_READ;
}

static int populate(const struct mmapdev_map *map, uint64_t offset,
		    uint64_t length, int advice)
{
	int ret;

	do {
		ret = madvise((char *)map->head.addr + offset, length, advice);
	} while (ret && errno == EINTR);

	return ret ? -errno : 0;
}

int mmapdev_populate_by(const struct mmapdev_map *map, uint64_t offset,
			uint64_t length, int advice)
{
	int ret = populate(map, offset, length, advice);

	/* While it is tracked it may be read-only. */
	if (ret == -EINVAL && __atomic_load_n(&map->tracked, __ATOMIC_RELAXED))
		ret = populate(map, offset, length, MADV_POPULATE_READ);
	if (ret != -EINVAL)
		return ret;
	/* The kernel populates no VM_PFNMAP mapping: an eager one is whole. */
	return map->eager ? 0 : -EOPNOTSUPP;
}

/*
 * A shared page is made writable now, so that the first store to it does not
 * fault either. A private one is only read: a copy of each would be a waste
 * where most are never written. Of an anonymous map that would be zeros only.
 */
int mmapdev_populate(const struct mmapdev_map *map, uint64_t offset,
		     uint64_t length)
{
	bool copies = map->dev && map->flags & MMAPDEV_MAP_PRIVATE;

	return mmapdev_populate_by(map, offset, length,
				   map->prot & PROT_WRITE && !copies ?
					   MADV_POPULATE_WRITE :
					   MADV_POPULATE_READ);
}

static int map_flags(const struct mmapdev_map *map)
{
	int flags = map->dev ? 0 : MAP_ANONYMOUS;

	if (map->flags & MMAPDEV_MAP_PRIVATE)
		return flags | MAP_PRIVATE;
	if (map->flags & MMAPDEV_MAP_SYNC)
		return flags | MAP_SHARED_VALIDATE | MAP_SYNC;
	return flags | MAP_SHARED;
}

/* @dev NULL: of memory alone. The options are resolved. */
static int map_new(struct mmapdev *dev, const struct mmapdev_map_opts *opts,
		   int prot, bool eager, struct mmapdev_map **out)
{
	struct mmapdev_map *map;
	int ret = 0;

	map = calloc(1, sizeof(*map));
	if (!map)
		return -ENOMEM;
	map->dev = dev;
	map->head.size = opts->length;
	map->window = opts->window ? opts->window : opts->length;
	map->offset = opts->offset;
	map->flags = opts->flags;
	map->prot = prot;
	map->eager = eager;
	/* All of a window at once: nothing needs to be mapped as it grows. */
	map->head.addr = mmap(NULL, map->window, prot, map_flags(map),
			      dev ? dev->fd : -1, map->offset);
	if (map->head.addr == MAP_FAILED) {
		ret = -errno;
		goto free;
	}
	if (map->flags & MMAPDEV_MAP_POPULATE && map->head.size)
		ret = mmapdev_populate(map, 0, map->head.size);
	if (ret)
		goto unmap;

	if (dev)
		mmapdev_get(dev);
	*out = map;
	return 0;

unmap:
	munmap(map->head.addr, map->window);
free:
	free(map);
	return ret;
}

int mmapdev_map(struct mmapdev *dev, const struct mmapdev_map_opts *opts,
		struct mmapdev_map **out)
{
	struct mmapdev_map_opts o = { .sz = sizeof(o) };
	bool eager = false;
	int prot, ret = 0;

	if (!dev || !out)
		return -EINVAL;
	if (opts)
		ret = mmapdev_struct_in(&o, sizeof(o), OPTS_FIRST, opts);
	if (!ret)
		ret = resolve(dev, &o, &eager);
	if (ret)
		return ret;
	prot = protection(dev, o.flags);
	if (prot < 0)
		return prot;

	return map_new(dev, &o, prot, eager, out);
}

int mmapdev_map_anonymous(const struct mmapdev_map_opts *opts,
			  struct mmapdev_map **out)
{
	struct mmapdev_map_opts o;
	int ret;

	if (!opts || !out)
		return -EINVAL;
	ret = mmapdev_struct_in(&o, sizeof(o), OPTS_FIRST, opts);
	if (ret)
		return ret;
	if (!o.length || o.offset || o.window || o.reserved ||
	    o.flags & ~ANONYMOUS_FLAGS)
		return -EINVAL;
	if (o.length > SIZE_MAX)
		return -EOVERFLOW;

	return map_new(NULL, &o, PROT_READ | PROT_WRITE, false, out);
}

int mmapdev_unmap(struct mmapdev_map *map)
{
	if (!map)
		return 0;
	if (__atomic_load_n(&map->tracked, __ATOMIC_ACQUIRE))
		return -EBUSY;
	if (munmap(map->head.addr, map->window))
		return -errno;

	mmapdev_track_forget(map);
	mmapdev_put(map->dev);
	free(map);
	return 0;
}

int mmapdev_flush(struct mmapdev_map *map, uint64_t offset, uint64_t length)
{
	size_t page = sysconf(_SC_PAGESIZE);
	uint64_t end, first;

	if (!map || map->flags & MMAPDEV_MAP_PRIVATE)
		return -EINVAL;
	if (__builtin_add_overflow(offset, length, &end) ||
	    end > mmapdev_map_size(map))
		return -ERANGE;
	if (!length)
		return 0;
	/* msync(2) passes over what this process cannot write to. */
	if (map->dev && !(map->prot & PROT_WRITE) &&
	    mmapdev_check_access(map->dev, O_WRONLY))
		return mmapdev_commit(map->dev);

	first = offset - offset % page;
	if (msync((char *)map->head.addr + first, end - first, MS_SYNC))
		return -errno;
	return 0;
}
