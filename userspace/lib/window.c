// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The window: an object that grows, shrinks and has holes below its maps.
 *
 * A map may be longer than the device is now. Growing is then all it takes for
 * the touch that was SIGBUS to work at the same address. A file grows by the
 * same call, and takes the same sizes and ranges: what a program tries out on a
 * file, the device does not refuse.
 *
 * A map that has a window was mapped for all of it, beyond the object's end, so
 * that to grow is to lengthen the object: no system call touches the map, which
 * others are writing to, and no pointer moves.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "private.h"

/* What mmapdev_reserve adds to a map at least and at most: it doubles it. */
#define STEP_MIN ((uint64_t)1 << 20)
#define STEP_MAX ((uint64_t)64 << 20)

static bool whole_pages(uint64_t bytes)
{
	return bytes % sysconf(_SC_PAGESIZE) == 0;
}

static int resize_file(struct mmapdev *dev, uint64_t size)
{
	int ret;

	ret = mmapdev_check_access(dev, O_WRONLY);
	if (ret)
		return ret;
	if (!whole_pages(size))
		return -EINVAL;
	if (size > INT64_MAX)
		return -EFBIG;

	return ftruncate(dev->fd, size) ? -errno : 0;
}

int mmapdev_resize(struct mmapdev *dev, uint64_t size)
{
	struct mmapdev_ioc_resize arg = {
		.argsz = sizeof(arg),
		.size = size,
	};

	if (!dev)
		return -EINVAL;
	if (dev->kind == MMAPDEV_KIND_FILE)
		return resize_file(dev, size);

	return ioctl(dev->fd, MMAPDEV_IOC_RESIZE, &arg) ? -errno : 0;
}

static int punch_file(struct mmapdev *dev, uint64_t offset, uint64_t length)
{
	int ret;

	ret = mmapdev_check_access(dev, O_WRONLY);
	if (ret)
		return ret;
	if (!whole_pages(offset) || !whole_pages(length))
		return -EINVAL;
	ret = mmapdev_check_file(dev, O_WRONLY, offset, length);
	/* To fallocate(2) nothing is EINVAL. */
	if (ret || !length)
		return ret;

	return fallocate(dev->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 offset, length) ? -errno : 0;
}

int mmapdev_punch(struct mmapdev *dev, uint64_t offset, uint64_t length)
{
	struct mmapdev_ioc_punch arg = {
		.argsz = sizeof(arg),
		.offset = offset,
		.length = length,
	};

	if (!dev)
		return -EINVAL;
	if (dev->kind == MMAPDEV_KIND_FILE)
		return punch_file(dev, offset, length);

	return ioctl(dev->fd, MMAPDEV_IOC_PUNCH, &arg) ? -errno : 0;
}

size_t mmapdev_map_window(const struct mmapdev_map *map)
{
	return map ? map->window : 0;
}

/*
 * In pieces, each of which a signal may interrupt and make begin anew: a timer
 * can hold up a piece, never the whole.
 */
static int allocate(struct mmapdev *dev, uint64_t from, uint64_t to)
{
	const uint64_t piece = (uint64_t)16 << 20;

	while (from < to) {
		uint64_t length = to - from < piece ? to - from : piece;

		if (!fallocate(dev->fd, 0, from, length))
			from += length;
		else if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* Storage up to @end of the object, which is never made shorter. */
static int extend(struct mmapdev_map *map, uint64_t from, uint64_t end)
{
	uint64_t page = sysconf(_SC_PAGESIZE);
	struct mmapdev_ioc_resize arg = {
		.argsz = sizeof(arg),
		.flags = MMAPDEV_IOC_RESIZE_GROW,
		.size = (end + page - 1) / page * page,
	};

	if (map->dev->kind == MMAPDEV_KIND_FILE)
		return allocate(map->dev, from, end);

	if (!ioctl(map->dev->fd, MMAPDEV_IOC_RESIZE, &arg))
		return 0;
	/* A driver before 1.2 does not know the flag. */
	return errno == EINVAL ? -EOPNOTSUPP : -errno;
}

/* A reader's map grows as others make it. */
static int extended(struct mmapdev_map *map, uint64_t end)
{
	struct mmapdev_info info = { .sz = sizeof(info) };
	int ret;

	ret = mmapdev_get_info(map->dev, &info);
	if (ret)
		return ret;
	return info.size >= end ? 0 : -EBADF;
}

/* The pages that hold [@from, @to) of the map. */
static int populate(struct mmapdev_map *map, uint64_t from, uint64_t to)
{
	from -= from % sysconf(_SC_PAGESIZE);
	return mmapdev_populate(map, from, to - from);
}

int mmapdev_map_grow(struct mmapdev_map *map, uint64_t size)
{
	size_t now = mmapdev_map_size(map);
	int ret;

	if (!map)
		return -EINVAL;
	if (size <= now)
		return 0;
	if (size > map->window)
		return -ENXIO;

	if (map->prot & PROT_WRITE)
		ret = extend(map, map->offset + now, map->offset + size);
	else
		ret = extended(map, map->offset + size);
	if (!ret && map->flags & MMAPDEV_MAP_POPULATE)
		ret = populate(map, now, size);
	if (ret)
		return ret;

	/* Another thread may have grown it further. */
	while (now < size &&
	       !__atomic_compare_exchange_n(&map->head.size, &now, size, true,
					    __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
	return 0;
}

int mmapdev_map_cut(struct mmapdev_map *map, uint64_t size)
{
	struct mmapdev_info info = { .sz = sizeof(info) };
	uint64_t page = sysconf(_SC_PAGESIZE), end;
	int ret;

	if (!map || !map->dev || map->flags & MMAPDEV_MAP_PRIVATE)
		return -EINVAL;
	if (!(map->prot & PROT_WRITE))
		return -EBADF;
	if (size > mmapdev_map_size(map))
		return -ERANGE;

	end = map->offset + size;
	ret = mmapdev_get_info(map->dev, &info);
	if (!ret && info.size < end)
		ret = -ENXIO; /* others have cut it, and it is not to grow */
	if (ret)
		return ret;
	if (map->dev->kind == MMAPDEV_KIND_FILE)
		ret = ftruncate(map->dev->fd, end) ? -errno : 0;
	else
		ret = mmapdev_resize(map->dev, (end + page - 1) / page * page);
	if (!ret)
		__atomic_store_n(&map->head.size, size, __ATOMIC_RELEASE);
	return ret;
}

/* Ahead of the need, so that one in many who reserve must make a system call. */
static int grow_for(struct mmapdev_map *map, uint64_t end)
{
	uint64_t size = mmapdev_map_size(map), step = size;

	if (end > map->window)
		return -ENXIO;
	if (step < STEP_MIN)
		step = STEP_MIN;
	if (step > STEP_MAX)
		step = STEP_MAX;
	step = map->window - size < step ? map->window : size + step;

	if (step > end && !mmapdev_map_grow(map, step))
		return 0;
	/* There may be room for what is asked. */
	return mmapdev_map_grow(map, end);
}

/* First the room, then the place in it. */
static int64_t take(struct mmapdev_map *map, uint64_t *cursor, uint64_t length)
{
	uint64_t at = __atomic_load_n(cursor, __ATOMIC_RELAXED), end;
	int ret;

	do {
		if (__builtin_add_overflow(at, length, &end))
			return -EOVERFLOW;
		ret = end > mmapdev_map_size(map) ? grow_for(map, end) : 0;
		if (ret)
			return ret;
	} while (!__atomic_compare_exchange_n(cursor, &at, end, true,
					      __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	return at;
}

int64_t mmapdev_reserve_grow(struct mmapdev_map *map, uint64_t *cursor,
			     uint64_t length, uint64_t at)
{
	uint64_t end = at + length;
	int ret;

	if (!map || !cursor)
		return -EINVAL;
	if (at == UINT64_MAX)
		return map->prot & PROT_WRITE ? take(map, cursor, length) :
						-EBADF;

	/* What it took lies beyond the end. */
	if (!(map->prot & PROT_WRITE))
		ret = -EBADF;
	else if (end < at)
		ret = -EOVERFLOW;
	else
		ret = end > mmapdev_map_size(map) ? grow_for(map, end) : 0;
	if (!ret)
		return at;
	/* Unless others have taken more, it goes back. */
	__atomic_compare_exchange_n(cursor, &end, at, false, __ATOMIC_RELAXED,
				    __ATOMIC_RELAXED);
	return ret;
}
