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

#ifndef MADV_POPULATE_READ /* Linux 5.14 */
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

#define OPTS_FIRST offsetofend(struct mmapdev_map_opts, reserved)
#define MAP_FLAGS                                                              \
	(MMAPDEV_MAP_PRIVATE | MMAPDEV_MAP_READONLY | MMAPDEV_MAP_POPULATE)

int mmapdev_check_range(uint64_t offset, uint64_t length, uint64_t size)
{
	uint64_t end;

	if (__builtin_add_overflow(offset, length, &end))
		return -EOVERFLOW;
	return end > size ? -ENXIO : 0;
}

/* Checks @opts against the object, and turns a length of 0 into the rest. */
static int resolve(struct mmapdev *dev, struct mmapdev_map_opts *opts)
{
	struct mmapdev_info info = { .sz = sizeof(info) };
	uint64_t limit;
	int ret;

	if (opts->flags & ~MAP_FLAGS || opts->reserved)
		return -EINVAL;
	if (opts->offset % sysconf(_SC_PAGESIZE))
		return -EINVAL;

	ret = mmapdev_get_info(dev, &info);
	if (ret)
		return ret;
	limit = info.max_size == MMAPDEV_UNKNOWN ? info.size : info.max_size;

	if (!opts->length) {
		if (opts->offset >= info.size)
			return -ENXIO;
		opts->length = info.size - opts->offset;
	}
	if (opts->length > SIZE_MAX)
		return -EOVERFLOW;
	return mmapdev_check_range(opts->offset, opts->length, limit);
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

/* The kernel populates no VM_PFNMAP mapping: an eager one is whole already. */
static int populate_refused(struct mmapdev *dev)
{
	struct mmapdev_info info = { .sz = sizeof(info) };
	int ret;

	if (dev->kind != MMAPDEV_KIND_DEVICE)
		return -EOPNOTSUPP;
	ret = mmapdev_get_info(dev, &info);
	if (ret)
		return ret;
	return info.mode == MMAPDEV_MODE_EAGER ? 0 : -EOPNOTSUPP;
}

/*
 * A shared page is made writable now, so that the first store to it does not
 * fault either. A private one is only read: a copy of each would be a waste
 * where most are never written.
 */
static int populate(struct mmapdev *dev, const struct mmapdev_map *map,
		    int prot)
{
	int advice = MADV_POPULATE_READ;
	int ret;

	if (prot & PROT_WRITE && !(map->flags & MMAPDEV_MAP_PRIVATE))
		advice = MADV_POPULATE_WRITE;

	do {
		ret = madvise(map->addr, map->size, advice);
	} while (ret && errno == EINTR);

	if (!ret)
		return 0;
	return errno == EINVAL ? populate_refused(dev) : -errno;
}

int mmapdev_map(struct mmapdev *dev, const struct mmapdev_map_opts *opts,
		struct mmapdev_map **out)
{
	struct mmapdev_map_opts o = { .sz = sizeof(o) };
	struct mmapdev_map *map;
	int prot, ret = 0;

	if (!dev || !out)
		return -EINVAL;
	if (opts)
		ret = mmapdev_struct_in(&o, sizeof(o), OPTS_FIRST, opts);
	if (!ret)
		ret = resolve(dev, &o);
	if (ret)
		return ret;
	prot = protection(dev, o.flags);
	if (prot < 0)
		return prot;

	map = calloc(1, sizeof(*map));
	if (!map)
		return -ENOMEM;
	map->size = o.length;
	map->flags = o.flags;
	map->addr = mmap(NULL, map->size, prot,
			 o.flags & MMAPDEV_MAP_PRIVATE ? MAP_PRIVATE :
							 MAP_SHARED,
			 dev->fd, o.offset);
	if (map->addr == MAP_FAILED) {
		ret = -errno;
		goto free;
	}
	if (o.flags & MMAPDEV_MAP_POPULATE)
		ret = populate(dev, map, prot);
	if (ret)
		goto unmap;

	*out = map;
	return 0;

unmap:
	munmap(map->addr, map->size);
free:
	free(map);
	return ret;
}

int mmapdev_unmap(struct mmapdev_map *map)
{
	if (!map)
		return 0;
	if (munmap(map->addr, map->size))
		return -errno;

	free(map);
	return 0;
}

void *mmapdev_map_addr(const struct mmapdev_map *map)
{
	return map ? map->addr : NULL;
}

size_t mmapdev_map_size(const struct mmapdev_map *map)
{
	return map ? map->size : 0;
}

int mmapdev_flush(struct mmapdev_map *map, uint64_t offset, uint64_t length)
{
	size_t page = sysconf(_SC_PAGESIZE);
	uint64_t end, first;

	if (!map || map->flags & MMAPDEV_MAP_PRIVATE)
		return -EINVAL;
	if (__builtin_add_overflow(offset, length, &end) || end > map->size)
		return -ERANGE;
	if (!length)
		return 0;

	first = offset - offset % page;
	return msync((char *)map->addr + first, end - first, MS_SYNC) ? -errno :
									0;
}
