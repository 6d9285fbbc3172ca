// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * What each page of an object is: hole, resident, written, huge, window.
 *
 * Holes and what is not a hole are found by lseek(2), what was written in the
 * device's dirty bitmap, which is not cleared. What of a file is in memory
 * mincore(2) tells, which faults nothing in.
 *
 * Nothing tells which folio a page is of but its frame, and that only shows in
 * the page table of who has mapped it. So there is a view, a map of our own, in
 * which one page is put in place for each folio that there could be. A hole is
 * never touched; only one punched between lseek() and that touch would be
 * filled again, with zeros. Fault-around maps what is resident without a fault
 * of the driver, so that the figures of faults stay as they are.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "survey.h"

/* The page cache knows no folio of two pages, and all begin at their size. */
#define FOLIO_LEAST 4
/* Asked at once. */
#define CHUNK ((uint64_t)1 << 15)

#define PAGEMAP_PRESENT ((uint64_t)1 << 63)
#define PAGEMAP_FRAME (((uint64_t)1 << 55) - 1)
#define KPF_COMPOUND ((uint64_t)3 << 15) /* head or tail */
#define KPF_TAIL ((uint64_t)1 << 16)
#define FLAGS 512 /* read at once */

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

/* Gathers equal neighbours. */
struct run {
	survey_fn fn;
	void *arg;
	uint64_t first, count;
	unsigned int state;
};

static void add(struct run *run, uint64_t count, unsigned int state)
{
	if (run->count && run->state != state) {
		run->fn(run->arg, run->first, run->count, run->state);
		run->first += run->count;
		run->count = 0;
	}
	run->count += count;
	run->state = state;
}

static void open_view(struct survey *s, const struct mmapdev_info *info)
{
	void *view = MAP_FAILED;

	s->unknown.huge = "only root can look into page tables for it";
	s->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	s->kpageflags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	if (s->pagemap < 0 || s->kpageflags < 0)
		return;
	s->unknown.huge = "the device cannot be mapped for it";
	/* An eager map would fill the holes. */
	if (info->mode == MMAPDEV_MODE_DEMAND ||
	    !mmapdev_set_mode(s->dev, MMAPDEV_MODE_DEMAND))
		view = mmap(NULL, info->max_size, PROT_READ,
			    MAP_SHARED | MAP_NORESERVE, mmapdev_fd(s->dev), 0);
	if (view == MAP_FAILED)
		return;
	s->view = view;
	s->unknown.huge = NULL;
}

/* To others, mincore() says that all of it is in memory. */
static bool may_ask_mincore(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && (!geteuid() || st.st_uid == geteuid() ||
				   (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR);
}

void survey_open(struct survey *s, struct mmapdev *dev,
		 const struct mmapdev_info *info)
{
	memset(s, 0, sizeof(*s));
	s->dev = dev;
	s->info = *info;
	s->pagemap = s->kpageflags = -1;
	if (info->kind == MMAPDEV_KIND_FILE) {
		s->unknown.written = "of a file nobody keeps a record";
		s->unknown.huge = "of a file it cannot be seen";
		if (!may_ask_mincore(mmapdev_fd(dev)))
			s->unknown.resident = "only its owner is told";
	} else if (info->folio_max != MMAPDEV_UNKNOWN &&
		   info->folio_max > info->page_size) {
		open_view(s, info);
	}
}

void survey_close(struct survey *s)
{
	if (s->view)
		munmap(s->view, s->info.max_size);
	if (s->pagemap >= 0)
		close(s->pagemap);
	if (s->kpageflags >= 0)
		close(s->kpageflags);
}

static bool read_u64(int fd, uint64_t index, uint64_t *value)
{
	return pread(fd, value, sizeof(*value), index * sizeof(*value)) ==
	       sizeof(*value);
}

/* How many pages, up to @most, the huge folio of @page has; 0: it is small. */
static uint64_t folio_pages(struct survey *s, uint64_t page, uint64_t most)
{
	size_t size = s->info.page_size;
	char *at = s->view + page * size;
	uint64_t entry, flags[FLAGS], n;
	ssize_t got;

	if (!read_u64(s->pagemap, (uintptr_t)at / size, &entry))
		return 0;
	if (!(entry & PAGEMAP_PRESENT) &&
	    (madvise(at, size, MADV_POPULATE_READ) ||
	     !read_u64(s->pagemap, (uintptr_t)at / size, &entry)))
		return 0;
	if (!(entry & PAGEMAP_FRAME)) {
		s->unknown.huge = "this kernel does not show frames";
		return 0;
	}
	got = pread(s->kpageflags, flags, sizeof(flags),
		    (entry & PAGEMAP_FRAME) * sizeof(*flags));
	if (got < (ssize_t)sizeof(*flags) || !(flags[0] & KPF_COMPOUND))
		return 0;
	for (n = 1; n < most && n < got / sizeof(*flags); n++)
		if ((flags[n] & KPF_COMPOUND) != KPF_TAIL)
			break;
	return n;
}

/* [first, end) is resident, as is what follows up to @hole. */
static int walk_resident(struct survey *s, struct run *run, uint64_t first,
			 uint64_t end, uint64_t hole)
{
	static unsigned char bitmap[CHUNK / 8];
	uint64_t page, next;
	int ret = 0;

	memset(bitmap, 0, sizeof(bitmap));
	if (!s->unknown.written)
		ret = mmapdev_dirty(s->dev, first * s->info.page_size,
				    (end - first) * s->info.page_size, 0,
				    bitmap, NULL);
	if (ret == -ENOTTY)
		s->unknown.written = "the driver is older than 1.1";
	else if (ret && ret != -ENXIO) /* it shrank meanwhile */
		return ret;

	for (page = first; page < end; page = next) {
		unsigned int state = PAGE_DATA | PAGE_RESIDENT;
		uint64_t n = 0;

		next = s->view ? page - page % FOLIO_LEAST + FOLIO_LEAST : end;
		if (s->view && page % FOLIO_LEAST == 0 && next <= hole)
			n = folio_pages(s, page, hole - page);
		if (n) {
			next = page + n;
			state |= PAGE_HUGE;
		}
		for (; page < next && page < end; page++)
			add(run, 1, bitmap[(page - first) / 8] >>
					    (page - first) % 8 & 1 ?
				    state | PAGE_WRITTEN : state);
	}
	return 0;
}

static int walk_file(struct survey *s, struct run *run, uint64_t first,
		     uint64_t end)
{
	size_t size = s->info.page_size, length = (end - first) * size;
	static unsigned char in_core[CHUNK];
	void *view = MAP_FAILED;
	uint64_t page;
	int ret = 0;

	if (!s->unknown.resident)
		view = mmap(NULL, length, PROT_READ, MAP_SHARED,
			    mmapdev_fd(s->dev), first * size);
	if (view == MAP_FAILED || mincore(view, length, in_core)) {
		if (!s->unknown.resident)
			s->unknown.resident = strerror(errno);
		memset(in_core, 0, sizeof(in_core));
	}
	if (view != MAP_FAILED)
		munmap(view, length);
	for (page = first; page < end; page++)
		add(run, 1, in_core[page - first] & 1 ?
				    PAGE_DATA | PAGE_RESIDENT : PAGE_DATA);
	return ret;
}

static int walk_data(struct survey *s, struct run *run, uint64_t data,
		     uint64_t hole)
{
	uint64_t first, end;
	int ret = 0;

	for (first = data; first < hole && !ret; first = end) {
		end = first - first % CHUNK + CHUNK;
		if (end > hole)
			end = hole;
		if (s->info.kind == MMAPDEV_KIND_FILE)
			ret = walk_file(s, run, first, end);
		else
			ret = walk_resident(s, run, first, end, hole);
	}
	return ret;
}

/* The next page of data or hole, at most @pages; -errno. */
static int64_t seek(const struct survey *s, uint64_t page, int whence,
		    uint64_t pages)
{
	uint64_t size = s->info.page_size;
	off_t at = lseek(mmapdev_fd(s->dev), page * size, whence);

	if (at < 0 && errno == ENXIO) /* only holes follow, or it shrank */
		return pages;
	if (at < 0)
		return -errno;
	/* A file's hole may begin within a page, which has data then. */
	at = whence == SEEK_HOLE ? (at + size - 1) / size : at / size;
	return (uint64_t)at < pages ? (uint64_t)at : pages;
}

int survey_walk(struct survey *s, survey_fn fn, void *arg)
{
	struct run run = { .fn = fn, .arg = arg };
	uint64_t pages, page = 0;
	int ret;

	s->info.sz = sizeof(s->info);
	ret = mmapdev_get_info(s->dev, &s->info);
	if (ret)
		return ret;
	pages = (s->info.size + s->info.page_size - 1) / s->info.page_size;
	while (page < pages) {
		int64_t data = seek(s, page, SEEK_DATA, pages), hole;

		if (data < 0)
			return data;
		if ((uint64_t)data > page)
			add(&run, data - page, 0);
		hole = seek(s, data, SEEK_HOLE, pages);
		if (hole < 0)
			return hole;
		if (hole == data) /* a hole by now */
			hole = data < (int64_t)pages ? data + 1 : data;
		ret = walk_data(s, &run, data, hole);
		if (ret)
			return ret;
		page = hole;
	}
	if (s->info.max_size != MMAPDEV_UNKNOWN &&
	    s->info.max_size > s->info.size)
		add(&run, s->info.max_size / s->info.page_size - pages,
		    PAGE_WINDOW);
	if (run.count)
		fn(arg, run.first, run.count, run.state);
	return 0;
}
