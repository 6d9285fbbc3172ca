// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Tracking: which pages of a map were written.
 *
 * A device keeps a record of its own; of other memory the kernel must be made
 * to tell (track_uffd.c), or the MMU (track_protect.c). All begin with a clean
 * map and keep one promise: a write is in the memory and in what a read
 * returns, or it is in what the next read returns.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "track.h"

static uint64_t in_pages(const struct mmapdev_track *track, uint64_t bytes)
{
	return bytes / track->page + !!(bytes % track->page);
}

/* How many of @count pages of the map from @first the device has now. */
static int on_device(struct mmapdev_track *track, uint64_t first,
		     uint64_t *count)
{
	struct mmapdev_info info = { .sz = sizeof(info) };
	uint64_t begin = track->map->offset / track->page + first, end;
	int ret;

	ret = mmapdev_get_info(track->map->dev, &info);
	if (ret)
		return ret;
	end = info.size / track->page;
	if (end < begin)
		*count = 0;
	else if (*count > end - begin)
		*count = end - begin;
	return 0;
}

static int device_read(struct mmapdev_track *track, uint64_t first,
		       uint64_t count, uint32_t flags, unsigned char *bitmap,
		       uint64_t *written)
{
	struct mmapdev_map *map = track->map;
	uint64_t pages = 0;
	int ret = 0;

	/*
	 * What it has not got it refuses; it may shrink after it was asked. It
	 * is not asked first, for that is to poll(2) as having seen the commits.
	 */
	while (count) {
		ret = mmapdev_dirty(map->dev,
				    map->offset + first * track->page,
				    count * track->page, flags, bitmap, &pages);
		if (-ret != ENXIO)
			break;
		ret = on_device(track, first, &count);
		if (ret)
			return ret;
	}
	if (!ret)
		*written += pages;
	return ret;
}

static int device_start(struct mmapdev_track *track)
{
	struct mmapdev_map *map = track->map;
	unsigned char bitmap[4096];
	uint64_t first, count, written = 0;
	int ret = 0;

	if (!map->dev || map->dev->kind != MMAPDEV_KIND_DEVICE ||
	    map->flags & MMAPDEV_MAP_PRIVATE)
		return -EOPNOTSUPP;

	for (first = 0; !ret && first < track->pages; first += count) {
		count = track->pages - first;
		if (count > 8 * sizeof(bitmap))
			count = 8 * sizeof(bitmap);
		ret = device_read(track, first, count, MMAPDEV_DIRTY_CLEAR,
				  bitmap, &written);
	}
	return ret;
}

static int device_stop(struct mmapdev_track *track)
{
	(void)track;
	return 0;
}

static const struct mmapdev_track_ops device = {
	.method = MMAPDEV_TRACK_DEVICE,
	.start = device_start,
	.read = device_read,
	.stop = device_stop,
};

static const struct mmapdev_track_ops *const methods[] = {
	[MMAPDEV_TRACK_PROTECT] = &mmapdev_track_protect,
	[MMAPDEV_TRACK_UFFD] = &mmapdev_track_uffd,
	[MMAPDEV_TRACK_DEVICE] = &device,
};

#define METHODS (sizeof(methods) / sizeof(methods[0]))

static int start_by(struct mmapdev_track *track, uint32_t method)
{
	track->ops = methods[method];
	return track->ops->start(track);
}

static int start(struct mmapdev_track *track, uint32_t method)
{
	int ret = -EOPNOTSUPP;

	if (method != MMAPDEV_TRACK_BEST)
		return start_by(track, method);

	for (method = METHODS - 1; method && ret == -EOPNOTSUPP; method--)
		ret = start_by(track, method);
	return ret;
}

int mmapdev_track_start(struct mmapdev_map *map, uint32_t method,
			struct mmapdev_track **out)
{
	struct mmapdev_track *track;
	int ret = -ENOMEM;

	if (!map || !out || method >= METHODS)
		return -EINVAL;
	if (!(map->prot & PROT_WRITE))
		return -EACCES;
	if (__atomic_exchange_n(&map->tracked, true, __ATOMIC_ACQ_REL))
		return -EBUSY;

	track = calloc(1, sizeof(*track));
	if (!track)
		goto untrack;
	track->map = map;
	track->page = sysconf(_SC_PAGESIZE);
	track->pages = in_pages(track, map->window);
	ret = start(track, method);
	if (ret)
		goto free;

	*out = track;
	return 0;

free:
	free(track);
untrack:
	__atomic_store_n(&map->tracked, false, __ATOMIC_RELEASE);
	return ret;
}

int mmapdev_track_read(struct mmapdev_track *track, uint64_t offset,
		       uint64_t length, uint32_t flags, void *bitmap,
		       uint64_t *pages)
{
	uint64_t first, count, size, written = 0;
	int ret = 0;

	if (!track || !bitmap || flags & ~MMAPDEV_DIRTY_CLEAR ||
	    offset % track->page || length % track->page)
		return -EINVAL;
	first = offset / track->page;
	count = length / track->page;
	if (first > track->pages || count > track->pages - first)
		return -ERANGE;

	memset(bitmap, 0, count / 8 + !!(count % 8));
	/* What the map has not grown to yet keeps its record. */
	size = in_pages(track, mmapdev_map_size(track->map));
	if (size < first)
		count = 0;
	else if (count > size - first)
		count = size - first;
	if (count)
		ret = track->ops->read(track, first, count, flags, bitmap,
				       &written);
	if (!ret && pages)
		*pages = written;
	return ret;
}

int mmapdev_track_method(const struct mmapdev_track *track)
{
	return track ? track->ops->method : -EINVAL;
}

int mmapdev_track_stop(struct mmapdev_track *track)
{
	struct mmapdev_map *map;
	int ret;

	if (!track)
		return 0;
	ret = track->ops->stop(track);
	if (ret)
		return ret;

	map = track->map;
	free(track);
	__atomic_store_n(&map->tracked, false, __ATOMIC_RELEASE);
	return 0;
}
