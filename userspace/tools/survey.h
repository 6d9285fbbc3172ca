/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/* What each page of an object is, found out without touching any. */
#ifndef CTL_SURVEY_H
#define CTL_SURVEY_H

#include <stdbool.h>
#include <stdint.h>

#include <mmapdev.h>

/* Of a page; none of them: a hole. */
#define PAGE_DATA (1u << 0)	/* has storage; of a device, memory */
#define PAGE_RESIDENT (1u << 1) /* is in memory */
#define PAGE_WRITTEN (1u << 2)	/* since the dirty bitmap was last cleared */
#define PAGE_HUGE (1u << 3)	/* in a folio of more than one page */
#define PAGE_WINDOW (1u << 4)	/* beyond the size, the object may grow to it */

/* Why a thing is not known; NULL: it is. */
struct unknown {
	const char *resident;
	const char *written;
	const char *huge;
};

struct survey {
	struct mmapdev *dev;
	struct mmapdev_info info; /* as the walk began */
	struct unknown unknown;
	char *view; /* a map to ask for frames through, or NULL */
	int pagemap, kpageflags;
};

/* @count pages from @first on are all like this. */
typedef void (*survey_fn)(void *arg, uint64_t first, uint64_t count,
			  unsigned int state);

void survey_open(struct survey *s, struct mmapdev *dev,
		 const struct mmapdev_info *info);
/* In order, without gap: up to the size, and the window; 0 or -errno. */
int survey_walk(struct survey *s, survey_fn fn, void *arg);
void survey_close(struct survey *s);

#endif /* CTL_SURVEY_H */
