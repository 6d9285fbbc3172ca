/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/* The copy of a device that may be written, punched and resized meanwhile. */
#ifndef CTL_FOLLOW_H
#define CTL_FOLLOW_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include <mmapdev.h>

struct follow {
	struct mmapdev *dev;
	int fd;	   /* the copy: a file of our own, for reading and writing */
	bool once; /* one pass, whoever writes meanwhile */
	volatile sig_atomic_t *stop;	      /* becomes set: -EINTR */
	void (*tick)(const struct follow *);  /* often; may be NULL */
	bool (*may_end)(const struct follow *); /* NULL: at any time */

	/* how far it is, and at the end, how far it came */
	uint64_t rounds; /* passes so far, the current one included */
	uint64_t pages;	 /* to look at in this round */
	uint64_t done;	 /* of them, those looked at */
	uint64_t bytes;	 /* written to the copy, in all rounds */
	unsigned int stuck; /* rounds since fewer pages than ever were left */
	bool file_failed;   /* the error is of the copy, not of the device */

	/* follow.c's own */
	struct mmapdev_info info; /* now */
	struct mmapdev_info have; /* as of the last pass over everything */
	uint64_t fewest;
	unsigned char *bitmap;
};

/*
 * 0: the copy holds what the device did at one moment, for pages that nobody
 * wrote then; else -errno. -ESTALE: once, and its size changed meanwhile.
 */
int follow(struct follow *f);

#endif /* CTL_FOLLOW_H */
