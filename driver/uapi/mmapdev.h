/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * mmapdev: a kernel buffer that programs map.
 *
 * How the ioctls grow: every argument is a struct that begins with @argsz and
 * @flags. The caller zeroes the struct and sets @argsz to its size. The kernel
 * takes a shorter struct of an earlier header (never shorter than the first
 * version: EINVAL) and a longer one of a later header whose unknown tail is
 * zero (else E2BIG). On return @argsz is the size of the kernel's own struct:
 * fields beyond it were not filled. Unknown flags are EINVAL, an unknown
 * command is ENOTTY. That is why the numbers carry no size (_IO, as in VFIO
 * and iommufd), and every struct has one layout for 32-bit and 64-bit callers.
 *
 * Offsets and lengths are bytes of the buffer. A range which overflows is
 * EOVERFLOW, one which ends beyond the buffer's size is ENXIO. A device that
 * was removed while open answers every call with ENODEV.
 */
#ifndef _UAPI_LINUX_MMAPDEV_H
#define _UAPI_LINUX_MMAPDEV_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define MMAPDEV_IOC_TYPE	0xBC

/* How an mmap of the device puts its pages in place. */
#define MMAPDEV_IOC_DEMAND	0	/* at the first touch of each page */
#define MMAPDEV_IOC_EAGER	1	/* all of them, at mmap time */

/* When the buffer takes folios of more than one page. */
#define MMAPDEV_IOC_HUGE_NEVER	0
#define MMAPDEV_IOC_HUGE_ADVISE	1	/* a touch under madvise(MADV_HUGEPAGE) */
#define MMAPDEV_IOC_HUGE_ALWAYS	2	/* wherever one fits */

/**
 * struct mmapdev_ioc_info - argument of MMAPDEV_IOC_INFO
 * @argsz: size of this struct
 * @flags: 0
 * @size: bytes that the buffer has now
 * @max_size: the most bytes that it may have, and that a mapping may span
 * @resident: bytes for which it holds memory
 * @dirty: bytes written since they were last committed, in whole folios
 * @commit_seq: number of commits since the device was made
 * @committed: bytes that all these commits found dirty
 * @mode: how this open file maps, MMAPDEV_IOC_DEMAND or MMAPDEV_IOC_EAGER
 * @page_size: bytes in the smallest folio
 * @folio_max: bytes in the largest folio that the buffer may take
 * @huge: MMAPDEV_IOC_HUGE_NEVER, _ADVISE or _ALWAYS
 * @maps: mmaps of the device so far
 * @faults: page faults that came to the driver
 * @mkwrites: first writes to a clean page of a mapping
 * @resizes: changes of the size
 * @punches: holes punched
 *
 * Of an older kernel the struct ends before @folio_max. Reading it is what
 * poll() calls having seen the commits up to @commit_seq.
 */
struct mmapdev_ioc_info {
	__u32 argsz;
	__u32 flags;
	__u64 size;
	__u64 max_size;
	__u64 resident;
	__u64 dirty;
	__u64 commit_seq;
	__u64 committed;
	__u32 mode;
	__u32 page_size;
	__u32 folio_max;
	__u32 huge;
	__u64 maps;
	__u64 faults;
	__u64 mkwrites;
	__u64 resizes;
	__u64 punches;
};

#define MMAPDEV_IOC_INFO	_IO(MMAPDEV_IOC_TYPE, 0x00)

/**
 * struct mmapdev_ioc_set_mode - argument of MMAPDEV_IOC_SET_MODE
 * @argsz: size of this struct
 * @flags: 0
 * @mode: MMAPDEV_IOC_DEMAND or MMAPDEV_IOC_EAGER (else EINVAL)
 *
 * Decides how later mmaps of this open file map. Mappings which exist stay as
 * they are, and so do other open files.
 */
struct mmapdev_ioc_set_mode {
	__u32 argsz;
	__u32 flags;
	__u32 mode;
};

#define MMAPDEV_IOC_SET_MODE	_IO(MMAPDEV_IOC_TYPE, 0x01)

/**
 * struct mmapdev_ioc_kfill - argument of MMAPDEV_IOC_KFILL
 * @argsz: size of this struct
 * @flags: 0
 * @offset: first byte to fill
 * @length: bytes to fill
 * @pattern: the byte at buffer offset o becomes (@pattern >> (8 * (o % 8))) & 0xff
 *
 * The kernel fills the range. The file must be open for writing (EBADF). A
 * signal (EINTR) or want of memory (ENOMEM) leaves the first part filled.
 */
struct mmapdev_ioc_kfill {
	__u32 argsz;
	__u32 flags;
	__u64 offset;
	__u64 length;
	__u64 pattern;
};

#define MMAPDEV_IOC_KFILL	_IO(MMAPDEV_IOC_TYPE, 0x02)

/**
 * struct mmapdev_ioc_ksum - argument of MMAPDEV_IOC_KSUM
 * @argsz: size of this struct
 * @flags: 0
 * @offset: first byte to sum
 * @length: bytes to sum
 * @crc32c: result: CRC-32C (RFC 3720, as iSCSI and ext4 use it) of the range
 * @reserved: result: 0
 *
 * The kernel reads the range. Holes count as zeros and stay holes. The file
 * must be open for reading (EBADF). A signal ends it with EINTR.
 */
struct mmapdev_ioc_ksum {
	__u32 argsz;
	__u32 flags;
	__u64 offset;
	__u64 length;
	__u32 crc32c;
	__u32 reserved;
};

#define MMAPDEV_IOC_KSUM	_IO(MMAPDEV_IOC_TYPE, 0x03)

/* Only if the size becomes more: else nothing is done, which is no error. */
#define MMAPDEV_IOC_RESIZE_GROW	0x1

/**
 * struct mmapdev_ioc_resize - argument of MMAPDEV_IOC_RESIZE
 * @argsz: size of this struct
 * @flags: 0 or MMAPDEV_IOC_RESIZE_GROW
 * @size: what the buffer's size becomes: whole pages (else EINVAL), at most
 *	max_size (else ENXIO); 0 is a size
 *
 * Growing adds zeros: touches beyond the old size, SIGBUS until now, work.
 * Shrinking takes every page beyond the new size out of every mapping, private
 * copies too, and frees it: touches of it are SIGBUS, and zeros after growing
 * again. The file must be open for writing (EBADF). On an error the size is as
 * it was: EINTR, ENOMEM (prealloc), EBUSY (the new end cuts a huge folio that
 * direct I/O or a private eager mapping holds).
 *
 * With MMAPDEV_IOC_RESIZE_GROW many may grow one buffer, each as far as it
 * needs, and none undoes what another did.
 */
struct mmapdev_ioc_resize {
	__u32 argsz;
	__u32 flags;
	__u64 size;
};

#define MMAPDEV_IOC_RESIZE	_IO(MMAPDEV_IOC_TYPE, 0x04)

/**
 * struct mmapdev_ioc_punch - argument of MMAPDEV_IOC_PUNCH
 * @argsz: size of this struct
 * @flags: 0
 * @offset: first byte, at the start of a page (else EINVAL)
 * @length: bytes, whole pages (else EINVAL); 0 does nothing
 *
 * The range becomes a hole: its memory is freed, and it reads as zeros, in
 * mappings as well; private copies stay. The file must be open for writing
 * (EBADF). A huge folio that the range cuts and that something holds is
 * zeroed there instead of freed.
 */
struct mmapdev_ioc_punch {
	__u32 argsz;
	__u32 flags;
	__u64 offset;
	__u64 length;
};

#define MMAPDEV_IOC_PUNCH	_IO(MMAPDEV_IOC_TYPE, 0x05)

/* Forget, in the same step, that the pages were written. */
#define MMAPDEV_IOC_DIRTY_CLEAR	0x1

/**
 * struct mmapdev_ioc_dirty - argument of MMAPDEV_IOC_DIRTY
 * @argsz: size of this struct
 * @flags: 0 or MMAPDEV_IOC_DIRTY_CLEAR
 * @offset: first byte, at the start of a page (else EINVAL)
 * @length: bytes, whole pages (else EINVAL)
 * @bitmap: address of a bitmap with one bit for each page of the range: page i
 *	is bit i % 8, counted from the lowest, of byte i / 8; bits of the last
 *	byte beyond the range are written as 0
 * @pages: result: number of bits set
 *
 * A bit says that the page was written since the last clear that covered it.
 * This record is apart from the one that commits clear: neither hides a write
 * from the other. With MMAPDEV_IOC_DIRTY_CLEAR a write either is in the memory
 * by the time the call returns, or sets the bit for the next call, or both.
 * All pages of a folio share one record, which only a range that covers all of
 * the folio clears. Pages that a writable eager mapping spans always count as
 * written. A hole has no bit: INFO's punches and resizes tell of those.
 *
 * The file must be open for reading, to clear also for writing (EBADF). A
 * page whose bit could not be stored (EFAULT, EINTR) keeps its record.
 */
struct mmapdev_ioc_dirty {
	__u32 argsz;
	__u32 flags;
	__u64 offset;
	__u64 length;
	__u64 bitmap;
	__u64 pages;
};

#define MMAPDEV_IOC_DIRTY	_IO(MMAPDEV_IOC_TYPE, 0x06)

/**
 * struct mmapdev_ioc_eventfd - argument of MMAPDEV_IOC_EVENTFD
 * @argsz: size of this struct
 * @flags: 0
 * @fd: an eventfd (else EBADF, EINVAL), -1 for none
 *
 * One is added to the eventfd at every commit of the device, by whomever, and
 * when the device is removed. An open file has one eventfd: a second call
 * replaces it, close() of the last descriptor ends it.
 */
struct mmapdev_ioc_eventfd {
	__u32 argsz;
	__u32 flags;
	__s32 fd;
};

#define MMAPDEV_IOC_EVENTFD	_IO(MMAPDEV_IOC_TYPE, 0x07)

/* Take the will for this offset back. */
#define MMAPDEV_IOC_WILL_CANCEL	0x1

/* The most wills that an open file has. */
#define MMAPDEV_IOC_WILLS	64

/**
 * struct mmapdev_ioc_will - argument of MMAPDEV_IOC_WILL
 * @argsz: size of this struct
 * @flags: 0 or MMAPDEV_IOC_WILL_CANCEL
 * @offset: first of 4 bytes of the buffer, a multiple of 4 (else EINVAL)
 * @expect: what they must be; to cancel, 0 (else EINVAL)
 * @value: what they become; to cancel, 0 (else EINVAL)
 *
 * When this open file goes the kernel stores @value in the 4 bytes at @offset,
 * if they are @expect then: native byte order, one atomic compare-and-exchange.
 * The file goes when its last descriptor is closed and the last mapping made
 * from it is gone, by munmap, exec, exit or a kill. Descriptors which fork()
 * copied or a socket carries hold it, and so do a child's mappings, for which
 * there is MADV_DONTFORK. An eager mapping does not hold it.
 *
 * A second will for the same offset replaces the first. An open file has at
 * most MMAPDEV_IOC_WILLS (else ENOSPC); they are done in the order in which
 * their offsets were first given. The file must be open for writing (EBADF).
 * ENOENT says that there is nothing to cancel, ENOMEM that memory is wanting.
 *
 * The store is a write like any other to DIRTY and commits. Where the page is
 * a hole when the file goes, or beyond the size, or the device was removed,
 * nothing is done.
 */
struct mmapdev_ioc_will {
	__u32 argsz;
	__u32 flags;
	__u64 offset;
	__u32 expect;
	__u32 value;
};

#define MMAPDEV_IOC_WILL	_IO(MMAPDEV_IOC_TYPE, 0x08)

#endif /* _UAPI_LINUX_MMAPDEV_H */
