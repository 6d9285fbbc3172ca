// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Tracking by the kernel: userfaultfd(2) protects the pages, and the kernel
 * lets the first write to each through by itself (WP_ASYNC) and remembers it in
 * the page table, where the ioctl PAGEMAP_SCAN reads it and protects the page
 * again in one step.
 *
 * A page that is not there is protected by a marker in its place. So all of the
 * window gets its page tables at the start: a page that has no marker counts as
 * written, as one must that was written and then evicted.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/ioctl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "track.h"

#ifndef UFFD_FEATURE_WP_ASYNC /* Linux 6.7, as the rest */
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

#ifndef PAGEMAP_SCAN
#define PAGE_IS_WRITTEN (1 << 1)
#define PM_SCAN_WP_MATCHING (1 << 0)
#define PM_SCAN_CHECK_WPASYNC (1 << 1)

struct page_region {
	__u64 start;
	__u64 end;
	__u64 categories;
};

struct pm_scan_arg {
	__u64 size;
	__u64 flags;
	__u64 start;
	__u64 end;
	__u64 walk_end;
	__u64 vec;
	__u64 vec_len;
	__u64 max_pages;
	__u64 category_inverted;
	__u64 category_mask;
	__u64 category_anyof_mask;
	__u64 return_mask;
};

#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)
#endif

/* What an older kernel, a sandbox, or another kind of memory says. */
static int refusal(int err)
{
	switch (err) {
	case EACCES:
	case EINVAL:
	case ENOENT:
	case ENOSYS:
	case ENOTTY:
	case EPERM:
	case ESRCH:
		return -EOPNOTSUPP;
	}
	return -err;
}

static struct uffdio_range range_of(const struct mmapdev_track *track)
{
	return (struct uffdio_range){
		.start = (uintptr_t)track->map->head.addr,
		.len = track->pages * track->page,
	};
}

static int protect(struct mmapdev_track *track)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_WP_ASYNC, /* of all memory */
	};
	struct uffdio_register reg = {
		.range = range_of(track),
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_writeprotect wp = {
		.range = range_of(track),
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	if (ioctl(track->uffd, UFFDIO_API, &api) ||
	    ioctl(track->uffd, UFFDIO_REGISTER, &reg) ||
	    ioctl(track->uffd, UFFDIO_WRITEPROTECT, &wp))
		return refusal(errno);
	return 0;
}

static int uffd_start(struct mmapdev_track *track)
{
	int ret;

	/* No fault of the kernel's own comes here: anyone may do this. */
	track->uffd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (track->uffd < 0)
		return refusal(errno);
	track->pagemap = open("/proc/thread-self/pagemap", O_RDONLY | O_CLOEXEC);
	if (track->pagemap < 0) {
		ret = refusal(errno);
		goto close_uffd;
	}
	ret = protect(track);
	if (!ret)
		return 0;

	close(track->pagemap);
close_uffd:
	/* Which ends what was registered. */
	close(track->uffd);
	return ret;
}

static uint64_t set_bits(unsigned char *bitmap, uint64_t from, uint64_t to)
{
	uint64_t i;

	for (i = from; i < to; i++)
		bitmap[i / 8] |= 1 << i % 8;
	return to - from;
}

static int uffd_read(struct mmapdev_track *track, uint64_t first,
		     uint64_t count, uint32_t flags, unsigned char *bitmap,
		     uint64_t *written)
{
	struct page_region regions[128];
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.flags = PM_SCAN_CHECK_WPASYNC,
		.vec = (uintptr_t)regions,
		.vec_len = sizeof(regions) / sizeof(regions[0]),
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
	uint64_t begin;
	int n, i;

	if (flags & MMAPDEV_DIRTY_CLEAR)
		scan.flags |= PM_SCAN_WP_MATCHING;
	begin = (uintptr_t)track->map->head.addr + first * track->page;
	scan.start = begin;
	scan.end = begin + count * track->page;

	for (; scan.start < scan.end; scan.start = scan.walk_end) {
		n = ioctl(track->pagemap, PAGEMAP_SCAN, &scan);
		if (n < 0)
			return -errno;
		for (i = 0; i < n; i++)
			*written += set_bits(bitmap,
				(regions[i].start - begin) / track->page,
				(regions[i].end - begin) / track->page);
	}
	return 0;
}

static int uffd_stop(struct mmapdev_track *track)
{
	struct uffdio_range range = range_of(track);

	/* Not by close(2) alone: a child made by fork(2) may have it too. */
	if (ioctl(track->uffd, UFFDIO_UNREGISTER, &range))
		return -errno;
	close(track->pagemap);
	close(track->uffd);
	return 0;
}

const struct mmapdev_track_ops mmapdev_track_uffd = {
	.method = MMAPDEV_TRACK_UFFD,
	.start = uffd_start,
	.read = uffd_read,
	.stop = uffd_stop,
};
