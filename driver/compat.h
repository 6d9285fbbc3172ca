/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between the kernels that mmapdev builds for, and nothing else.
 * Kbuild looks into the kernel's headers and defines MMAPDEV_HAS_*.
 */
#ifndef MMAPDEV_COMPAT_H
#define MMAPDEV_COMPAT_H

#include <linux/crc32.h>
#include <linux/eventfd.h>
#include <linux/fs.h>
#include <linux/mm.h>

/* 7.1 calls the header of struct folio_batch by its name. */
#ifdef MMAPDEV_HAS_PAGEVEC_H
#include <linux/pagevec.h>
#else
#include <linux/folio_batch.h>
#endif

/* From 6.3 on vm_flags are written through functions only. */
#ifndef MMAPDEV_HAS_VM_FLAGS_CLEAR
static inline void vm_flags_set(struct vm_area_struct *vma,
				unsigned long flags)
{
	vma->vm_flags |= flags;
}

static inline void vm_flags_clear(struct vm_area_struct *vma,
				  unsigned long flags)
{
	vma->vm_flags &= ~flags;
}
#endif

/* Until 6.16 x86 notes in a VMA that one remap_pfn_range() covers all of it. */
#if !defined(MMAPDEV_HAS_VM_PAT) || !defined(CONFIG_X86)
#define VM_PAT VM_NONE
#endif

/* 6.5 renamed the splice that goes through ->read_iter. */
#ifndef MMAPDEV_HAS_COPY_SPLICE_READ
#define copy_splice_read generic_file_splice_read
#endif

/* Until 6.8 it is told what to add. */
#ifndef MMAPDEV_HAS_EVENTFD_SIGNAL_1
#define eventfd_signal(ctx) eventfd_signal(ctx, 1)
#endif

/*
 * Until 6.15 crc32c() lives in a module of its own, which insmod would not
 * load. Its generic form is built into every kernel.
 */
#ifndef MMAPDEV_HAS_CRC32C
#define crc32c __crc32c_le
#endif

#endif /* MMAPDEV_COMPAT_H */
