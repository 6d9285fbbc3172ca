/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * What the ways to track the writes to a map have in common. Pages are numbered
 * from where the map begins, to the end of its window.
 */
#ifndef MMAPDEV_TRACK_H
#define MMAPDEV_TRACK_H

#include "private.h"

struct mmapdev_track {
	struct mmapdev_map *map;
	const struct mmapdev_track_ops *ops;
	size_t page;	/* bytes */
	uint64_t pages; /* in the window */
	int uffd, pagemap; /* descriptors of track_uffd.c */
};

struct mmapdev_track_ops {
	int method; /* MMAPDEV_TRACK_* */
	/* -EOPNOTSUPP: not of this map, or not on this system. */
	int (*start)(struct mmapdev_track *track);
	/*
	 * Sets the bits of @count pages from page @first in @bitmap, which
	 * holds zeros, and adds their number to @written.
	 */
	int (*read)(struct mmapdev_track *track, uint64_t first, uint64_t count,
		    uint32_t flags, unsigned char *bitmap, uint64_t *written);
	/* After an error the tracker goes on. */
	int (*stop)(struct mmapdev_track *track);
};

extern const struct mmapdev_track_ops mmapdev_track_protect;
extern const struct mmapdev_track_ops mmapdev_track_uffd;

#endif /* MMAPDEV_TRACK_H */
