// SPDX-License-Identifier: GPL-2.0
/*
 * The buffer: folios in and out of an anonymous inode's address space.
 *
 * Every folio is born here, zeroed and up to date, and dies by truncation. The
 * page cache believes that a clean folio can be read again from somewhere, but
 * ours can not. Three things keep it from acting on that belief:
 *
 * - each folio carries one reference more than the page cache's own, from
 *   birth to ->free_folio. Whoever wants to drop or steal a folio (invalidation
 *   by soft offlining, splice with SPLICE_F_MOVE, reclaim) first freezes the
 *   expected reference count, and fails;
 * - the mapping is unevictable, so that reclaim does not even try;
 * - ->migrate_folio refuses, so that compaction, offlining and migration leave
 *   the folio in the frame that eager mappings know by number.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/highmem.h>
#include <linux/mount.h>
#include <linux/overflow.h>
#include <linux/pseudo_fs.h>
#include <linux/sched/signal.h>
#include <linux/writeback.h>

#include "compat.h"
#include "mmapdev.h"

#define MMAPDEV_MAGIC 0x6d6d6170 /* "mmap" */

static struct vfsmount *mmapdev_mnt;

static int mmapdev_init_fs_context(struct fs_context *fc)
{
	return init_pseudo(fc, MMAPDEV_MAGIC) ? 0 : -ENOMEM;
}

/* No .owner: the mount would pin the module by it. */
static struct file_system_type mmapdev_fs = {
	.name		 = KBUILD_MODNAME,
	.init_fs_context = mmapdev_init_fs_context,
	.kill_sb	 = kill_anon_super,
};

int mmapdev_fs_init(void)
{
	mmapdev_mnt = kern_mount(&mmapdev_fs);

	return PTR_ERR_OR_ZERO(mmapdev_mnt);
}

void mmapdev_fs_exit(void)
{
	kern_unmount(mmapdev_mnt);
}

static void mmapdev_free_folio(struct folio *folio)
{
	folio_put(folio);
}

static int mmapdev_migrate_folio(struct address_space *mapping,
				 struct folio *dst, struct folio *src,
				 enum migrate_mode mode)
{
	return -EBUSY;
}

static const struct address_space_operations mmapdev_aops = {
	.dirty_folio	= filemap_dirty_folio,
	.free_folio	= mmapdev_free_folio,
	.migrate_folio	= mmapdev_migrate_folio,
};

/**
 * mmapdev_buffer_init - give a device its buffer
 * @dev: the device
 * @size: bytes, a multiple of PAGE_SIZE
 *
 * The buffer begins as one hole: memory comes at the first touch.
 *
 * Return: 0 or a negative errno.
 */
int mmapdev_buffer_init(struct mmapdev *dev, loff_t size)
{
	struct inode *buffer, *eager;

	buffer = alloc_anon_inode(mmapdev_mnt->mnt_sb);
	if (IS_ERR(buffer))
		return PTR_ERR(buffer);

	eager = alloc_anon_inode(mmapdev_mnt->mnt_sb);
	if (IS_ERR(eager)) {
		iput(buffer);
		return PTR_ERR(eager);
	}

	buffer->i_mapping->a_ops = &mmapdev_aops;
	/* No OOM killer: no task's end would free any of the buffer. */
	mapping_set_gfp_mask(buffer->i_mapping,
			     GFP_HIGHUSER | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
	mapping_set_unevictable(buffer->i_mapping);
	i_size_write(buffer, size);

	dev->buffer = buffer;
	dev->eager = eager;

	return 0;
}

/**
 * mmapdev_buffer_destroy - free a device's buffer with all its folios
 * @dev: the device, no longer open or mapped
 */
void mmapdev_buffer_destroy(struct mmapdev *dev)
{
	iput(dev->eager);
	iput(dev->buffer);
}

static bool mmapdev_has(struct mmapdev *dev, pgoff_t index)
{
	return index < mmapdev_size(dev) >> PAGE_SHIFT;
}

/* Under the invalidate lock, or the folio could land behind a truncation. */
static struct folio *mmapdev_folio_make(struct mmapdev *dev, pgoff_t index)
{
	struct address_space *mapping = dev->buffer->i_mapping;
	struct folio *folio;

	if (!mmapdev_has(dev, index))
		return ERR_PTR(-ENXIO);

	folio = __filemap_get_folio(mapping, index, FGP_LOCK | FGP_CREAT,
				    mapping_gfp_mask(mapping) | __GFP_ZERO);
	if (IS_ERR_OR_NULL(folio))
		return ERR_PTR(-ENOMEM);

	if (!folio_test_uptodate(folio)) {
		folio_get(folio); /* put by ->free_folio */
		folio_mark_uptodate(folio);
	}

	return folio;
}

/**
 * mmapdev_folio_lock - the folio at an index, made if there is none
 * @dev: the device
 * @index: page index in the buffer
 *
 * Shrinking lowers the size before it truncates, and truncation locks each
 * folio: an index found within the size under the folio lock stays valid until
 * unlock.
 *
 * Return: the folio, locked, up to date and with a reference for the caller,
 * or an ERR_PTR(): -ENXIO beyond the size, -ENOMEM.
 */
struct folio *mmapdev_folio_lock(struct mmapdev *dev, pgoff_t index)
{
	struct address_space *mapping = dev->buffer->i_mapping;
	struct folio *folio;

	folio = __filemap_get_folio(mapping, index, FGP_LOCK, 0);
	if (IS_ERR_OR_NULL(folio)) {
		filemap_invalidate_lock_shared(mapping);
		folio = mmapdev_folio_make(dev, index);
		filemap_invalidate_unlock_shared(mapping);
		if (IS_ERR(folio))
			return folio;
	}

	if (!mmapdev_has(dev, index)) {
		folio_unlock(folio);
		folio_put(folio);
		return ERR_PTR(-ENXIO);
	}

	return folio;
}

/**
 * mmapdev_folio_find - the folio at an index, if there is one
 * @dev: the device
 * @index: page index in the buffer
 *
 * Return: the folio, not locked, with a reference for the caller; NULL for a
 * hole, which reads as zeros.
 */
struct folio *mmapdev_folio_find(struct mmapdev *dev, pgoff_t index)
{
	struct folio *folio = filemap_get_folio(dev->buffer->i_mapping, index);

	if (IS_ERR_OR_NULL(folio))
		return NULL;

	if (!folio_test_uptodate(folio)) {
		folio_put(folio);
		return NULL;
	}

	return folio;
}

/* Byte o of the buffer becomes byte o % 8 of the little-endian pattern. */
static void fill_bytes(u8 *to, loff_t pos, size_t len, u64 pattern)
{
	const __le64 le = cpu_to_le64(pattern);
	const u8 *bytes = (const u8 *)&le;
	size_t words;

	for (; len && pos % sizeof(le); len--)
		*to++ = bytes[pos++ % sizeof(le)];

	words = len / sizeof(le);
	memset64((u64 *)to, (__force u64)le, words);
	to += words * sizeof(le);

	memcpy(to, bytes, len % sizeof(le));
}

/* Bytes from @pos to the end of its page, @left at the most. */
static size_t in_page(loff_t pos, u64 left)
{
	return min_t(u64, left, PAGE_SIZE - offset_in_page(pos));
}

/**
 * mmapdev_buffer_fill - the kernel writes a range of the buffer
 * @dev: the device
 * @pos: first byte
 * @length: bytes; @pos + @length does not overflow
 * @pattern: what to write, see struct mmapdev_ioc_kfill
 *
 * Return: 0 or a negative errno, with the first part filled: -EINTR, -ENOMEM,
 * -ENXIO.
 */
int mmapdev_buffer_fill(struct mmapdev *dev, loff_t pos, u64 length,
			u64 pattern)
{
	while (length) {
		size_t len = in_page(pos, length);
		struct folio *folio;
		u8 *to;

		folio = mmapdev_folio_lock(dev, pos >> PAGE_SHIFT);
		if (IS_ERR(folio))
			return PTR_ERR(folio);

		to = kmap_local_folio(folio, offset_in_folio(folio, pos));
		fill_bytes(to, pos, len, pattern);
		kunmap_local(to);
		flush_dcache_folio(folio);
		folio_mark_dirty(folio);
		folio_unlock(folio);
		folio_put(folio);

		pos += len;
		length -= len;
		if (length && signal_pending(current))
			return -EINTR;
		cond_resched();
	}

	return 0;
}

/**
 * mmapdev_buffer_sum - the kernel reads a range of the buffer
 * @dev: the device
 * @pos: first byte
 * @length: bytes; @pos + @length does not overflow
 * @sum: result, CRC-32C of the range
 *
 * Return: 0 or a negative errno: -EINTR, -ENXIO.
 */
int mmapdev_buffer_sum(struct mmapdev *dev, loff_t pos, u64 length, u32 *sum)
{
	u32 crc = ~0;

	while (length) {
		size_t len = in_page(pos, length);
		struct folio *folio;
		const void *from;

		if (!mmapdev_has(dev, pos >> PAGE_SHIFT))
			return -ENXIO;

		folio = mmapdev_folio_find(dev, pos >> PAGE_SHIFT);
		if (folio) {
			flush_dcache_folio(folio);
			from = kmap_local_folio(folio,
						offset_in_folio(folio, pos));
			crc = crc32c(crc, from, len);
			kunmap_local(from);
			folio_put(folio);
		} else {
			from = page_address(ZERO_PAGE(0));
			crc = crc32c(crc, from, len);
		}

		pos += len;
		length -= len;
		if (length && signal_pending(current))
			return -EINTR;
		cond_resched();
	}

	*sum = ~crc;

	return 0;
}
