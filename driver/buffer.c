// SPDX-License-Identifier: GPL-2.0
/*
 * The buffer: folios in and out of an anonymous inode's address space.
 *
 * Every folio is born here, zeroed and up to date, and dies by truncation. The
 * page cache believes that a clean folio can be read again from somewhere, but
 * ours can not. Three things keep it from acting on that belief:
 *
 * - each folio carries one reference more than the page cache's own, its pin,
 *   from birth to ->free_folio. Whoever wants to drop or steal a folio
 *   (invalidation by soft offlining, splice with SPLICE_F_MOVE, reclaim) first
 *   freezes the expected reference count, and fails;
 * - the mapping is unevictable, so that reclaim does not even try;
 * - ->migrate_folio refuses, so that compaction, offlining and migration leave
 *   the folio in the frame that eager mappings know by number.
 *
 * The kernel splits a huge folio only where a truncation cuts it, only if
 * nobody holds it, and drops a clean one that it could not split. So before a
 * cut we make the folio dirty, keep commits away and take the pin off; after
 * it each part gets a pin of its own. PG_checked tells who has one. And a split
 * gives parts beyond i_size up in a way that needs a real bdi, so that no folio
 * may ever lie across the end of the buffer: cuts come first.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/mount.h>
#include <linux/overflow.h>
#include <linux/pseudo_fs.h>
#include <linux/sched/signal.h>
#include <linux/writeback.h>

#include "compat.h"
#include "mmapdev.h"
#include "trace.h"
#include "uapi/mmapdev.h"

#define MMAPDEV_MAGIC 0x6d6d6170 /* "mmap" */

#define HUGE_PAGES BIT(MMAPDEV_HUGE_ORDER)

/* How often a folio that somebody holds is tried to be split. */
#define CUT_TRIES 20

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

static void folio_pin(struct folio *folio)
{
	folio_get(folio);
	folio_set_checked(folio);
}

static void folio_unpin(struct folio *folio)
{
	folio_clear_checked(folio);
	folio_put(folio);
}

static void mmapdev_free_folio(struct folio *folio)
{
	if (folio_test_checked(folio))
		folio_unpin(folio);
}

static int mmapdev_migrate_folio(struct address_space *mapping,
				 struct folio *dst, struct folio *src,
				 enum migrate_mode mode)
{
	return -EBUSY;
}

static const struct address_space_operations mmapdev_aops = {
	.dirty_folio	= mmapdev_dirty_folio,
	.free_folio	= mmapdev_free_folio,
	.migrate_folio	= mmapdev_migrate_folio,
};

static bool is_hole(struct mmapdev *dev, pgoff_t first, unsigned long nr)
{
	return !xa_find(&dev->buffer->i_mapping->i_pages, &first,
			first + nr - 1, XA_PRESENT);
}

/* A new folio, locked and with a reference for the caller. */
static struct folio *folio_add(struct mmapdev *dev, pgoff_t index,
			       unsigned int order)
{
	struct address_space *mapping = dev->buffer->i_mapping;
	gfp_t gfp = mapping_gfp_mask(mapping) | __GFP_ZERO;
	struct folio *folio;
	int ret;

	if (order) /* a smaller one will do */
		gfp = (gfp & ~__GFP_RETRY_MAYFAIL) | __GFP_NORETRY;

	folio = folio_alloc(gfp, order);
	if (!folio)
		return ERR_PTR(-ENOMEM);

	folio_mark_uptodate(folio);
	folio_pin(folio);
	ret = filemap_add_folio(mapping, folio, index, gfp);
	if (ret) {
		folio_unpin(folio);
		folio_put(folio);
		return ERR_PTR(ret);
	}

	return folio;
}

/*
 * Under the invalidate lock, or the folio could land behind a truncation.
 * Order 1 is left out: the page cache did not know it before 6.8.
 */
static struct folio *folio_make(struct mmapdev *dev, pgoff_t index,
				pgoff_t pages, bool huge)
{
	unsigned int order = huge ? MMAPDEV_HUGE_ORDER : 0;
	struct folio *folio;
	pgoff_t first;

	if (index >= pages)
		return ERR_PTR(-ENXIO);

	for (; order; order = order > 2 ? order - 1 : 0) {
		first = round_down(index, 1UL << order);
		if (pages - first < 1UL << order ||
		    !is_hole(dev, first, 1UL << order))
			continue;
		folio = folio_add(dev, first, order);
		if (!IS_ERR(folio))
			return folio;
	}

	return folio_add(dev, index, 0);
}

static pgoff_t mmapdev_pages(struct mmapdev *dev)
{
	return mmapdev_size(dev) >> PAGE_SHIFT;
}

/**
 * mmapdev_folio_lock - the folio at an index, made if there is none
 * @dev: the device
 * @index: page index in the buffer
 * @huge: make a huge one if that is possible
 *
 * Shrinking lowers the size before it truncates, and truncation locks each
 * folio: an index found within the size under the folio lock stays valid until
 * unlock.
 *
 * Return: the folio, locked, up to date and with a reference for the caller,
 * or an ERR_PTR(): -ENXIO beyond the size, -ENOMEM.
 */
struct folio *mmapdev_folio_lock(struct mmapdev *dev, pgoff_t index, bool huge)
{
	struct address_space *mapping = dev->buffer->i_mapping;
	struct folio *folio;

	for (;;) {
		folio = __filemap_get_folio(mapping, index, FGP_LOCK, 0);
		if (!IS_ERR_OR_NULL(folio))
			break;
		filemap_invalidate_lock_shared(mapping);
		folio = folio_make(dev, index, mmapdev_pages(dev), huge);
		filemap_invalidate_unlock_shared(mapping);
		if (folio != ERR_PTR(-EEXIST)) /* another was faster */
			break;
	}
	if (IS_ERR(folio))
		return folio;

	if (index >= mmapdev_pages(dev)) {
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

	return IS_ERR_OR_NULL(folio) ? NULL : folio;
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

		folio = mmapdev_folio_lock(dev, pos >> PAGE_SHIFT,
					   mmapdev_huge_always(dev));
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

		if (pos >= mmapdev_size(dev))
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

/**
 * mmapdev_buffer_exchange - the kernel replaces 4 bytes, if they are as expected
 * @dev: the device
 * @pos: first of them, a multiple of 4
 * @expect: what they must be
 * @value: what they become
 *
 * One atomic step to all who have the page. Takes no memory: a hole stays one,
 * and beyond the size nothing is done.
 */
void mmapdev_buffer_exchange(struct mmapdev *dev, loff_t pos, u32 expect,
			     u32 value)
{
	struct folio *folio;
	u32 *at;

	folio = __filemap_get_folio(dev->buffer->i_mapping, pos >> PAGE_SHIFT,
				    FGP_LOCK, 0);
	if (IS_ERR_OR_NULL(folio))
		return;

	if (pos < mmapdev_size(dev)) {
		flush_dcache_folio(folio);
		at = kmap_local_folio(folio, offset_in_folio(folio, pos));
		if (cmpxchg(at, expect, value) == expect)
			folio_mark_dirty(folio);
		kunmap_local(at);
		flush_dcache_folio(folio);
	}
	folio_unlock(folio);
	folio_put(folio);
}

/**
 * mmapdev_buffer_seek - find data, or a hole
 * @dev: the device
 * @pos: where to begin
 * @whence: SEEK_DATA or SEEK_HOLE
 *
 * Data is what has memory; the end of the buffer is a hole.
 *
 * Return: the first such byte not before @pos; -ENXIO for a @pos not within the
 * size, or when no data follow it; -EINTR when the caller is being killed.
 */
loff_t mmapdev_buffer_seek(struct mmapdev *dev, loff_t pos, int whence)
{
	struct address_space *mapping = dev->buffer->i_mapping;
	loff_t size = mmapdev_size(dev);
	pgoff_t index, end, next;
	struct folio_batch fbatch;
	loff_t found = -1;
	unsigned int i;

	if (pos < 0 || pos >= size)
		return -ENXIO;

	index = pos >> PAGE_SHIFT;
	end = size >> PAGE_SHIFT;
	next = index; /* where data found so far end */
	folio_batch_init(&fbatch);
	while (found < 0 &&
	       filemap_get_folios(mapping, &index, end - 1, &fbatch)) {
		for (i = 0; found < 0 && i < folio_batch_count(&fbatch); i++) {
			struct folio *folio = fbatch.folios[i];

			if (whence == SEEK_DATA)
				found = folio_pos(folio);
			else if (folio->index > next)
				found = (loff_t)next << PAGE_SHIFT;
			else
				next = folio_next_index(folio);
		}
		folio_batch_release(&fbatch);
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}

	if (found < 0 && whence == SEEK_DATA)
		return -ENXIO;
	if (found < 0)
		found = min((loff_t)next << PAGE_SHIFT, size);

	return max(found, pos);
}

/* Memory for every page of a range that may lie beyond the size. */
static int buffer_populate(struct mmapdev *dev, pgoff_t first, pgoff_t end)
{
	struct address_space *mapping = dev->buffer->i_mapping;
	bool huge = mmapdev_huge_always(dev);
	struct folio *folio;

	while (first < end) {
		filemap_invalidate_lock_shared(mapping);
		folio = is_hole(dev, first, 1) ?
			folio_make(dev, first, end, huge) : NULL;
		filemap_invalidate_unlock_shared(mapping);
		if (IS_ERR(folio) && PTR_ERR(folio) != -EEXIST)
			return PTR_ERR(folio);
		if (IS_ERR_OR_NULL(folio)) {
			first++;
		} else {
			first = folio_next_index(folio);
			folio_unlock(folio);
			folio_put(folio);
		}

		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}

	return 0;
}

static int buffer_grow(struct mmapdev *dev, loff_t size)
{
	loff_t old = mmapdev_size(dev);
	int ret = 0;

	if (dev->config.prealloc)
		ret = buffer_populate(dev, old >> PAGE_SHIFT,
				      size >> PAGE_SHIFT);
	if (ret) {
		truncate_inode_pages_range(dev->buffer->i_mapping, old, -1);
		return ret;
	}

	i_size_write(dev->buffer, size);

	return 0;
}

/* The huge folio that has pages on both sides of @index, or NULL. */
static struct folio *folio_across(struct mmapdev *dev, pgoff_t index)
{
	struct folio *folio = index ? mmapdev_folio_find(dev, index - 1) : NULL;

	if (folio && folio_next_index(folio) <= index) {
		folio_put(folio);
		return NULL;
	}

	return folio;
}

/*
 * Splits the folio across @index, under commit_lock and invalidate_lock. It is
 * the truncation of an empty range inside it, from the second byte of a page to
 * the first, that makes the kernel do it and harms no data. Returns -EBUSY if
 * somebody holds the folio, who may let go of it soon.
 */
static int buffer_cut(struct mmapdev *dev, pgoff_t index)
{
	struct address_space *mapping = dev->buffer->i_mapping;
	loff_t pos = (loff_t)index << PAGE_SHIFT;
	struct folio *folio = folio_across(dev, index);
	struct folio_batch fbatch;
	pgoff_t first, last;
	unsigned int i;

	if (!folio)
		return 0;

	/* What is mapped is held; it is faulted in again. */
	first = folio->index;
	last = folio_next_index(folio) - 1;
	mmapdev_eager_zap(dev, first, last, false);
	unmap_mapping_pages(mapping, first, last - first + 1, false);

	/* The page cache's references, the pin and ours. */
	if (folio_ref_count(folio) != folio_nr_pages(folio) + 2) {
		folio_put(folio);
		return -EBUSY;
	}

	folio_lock(folio);
	folio_mark_dirty(folio);
	folio_unpin(folio);
	folio_unlock(folio);
	folio_put(folio);

	truncate_inode_pages_range(mapping, pos + 1, pos);

	folio_batch_init(&fbatch);
	while (filemap_get_folios(mapping, &first, last, &fbatch)) {
		for (i = 0; i < folio_batch_count(&fbatch); i++) {
			if (!folio_test_checked(fbatch.folios[i]))
				folio_pin(fbatch.folios[i]);
		}
		folio_batch_release(&fbatch);
	}

	folio = folio_across(dev, index);
	if (!folio)
		return 0;
	folio_put(folio);

	return -EBUSY;
}

/* The kernel zeroes a part of a folio that can't be split, if it is dirty. */
static void buffer_dirty_across(struct mmapdev *dev, pgoff_t index)
{
	struct folio *folio = folio_across(dev, index);

	if (folio) {
		folio_lock(folio);
		folio_mark_dirty(folio);
		folio_unlock(folio);
		folio_put(folio);
	}
}

/* Folios can be taken away between these two, and no commit runs. */
static void buffer_lock(struct mmapdev *dev)
{
	mutex_lock(&dev->commit_lock);
	filemap_invalidate_lock(dev->buffer->i_mapping);
}

static void buffer_unlock(struct mmapdev *dev)
{
	filemap_invalidate_unlock(dev->buffer->i_mapping);
	mutex_unlock(&dev->commit_lock);
}

/*
 * Takes buffer_lock() with no folio across @first and @end, and every eager
 * mapping within reach that was begun before; or returns -EINTR or -EBUSY. Waits
 * a little, without the locks, for who is just reading from or writing to such
 * a folio.
 */
static int buffer_lock_cut(struct mmapdev *dev, pgoff_t first, pgoff_t end)
{
	unsigned int tries;

	for (tries = 0; tries < CUT_TRIES; tries++) {
		int ret;

		if (tries)
			usleep_range(500, 1000);
		/* Of a huge folio, the part that stays matters as well. */
		mmapdev_eager_settle(dev, round_down(first, HUGE_PAGES),
				     round_up(end, HUGE_PAGES) - 1);
		buffer_lock(dev);
		ret = buffer_cut(dev, first) ?: buffer_cut(dev, end);
		if (!ret)
			return 0;
		buffer_unlock(dev);
		if (fatal_signal_pending(current))
			return -EINTR;
	}

	return -EBUSY;
}

/*
 * Eager mappings let go of what was truncated. One whose mmap is still under
 * way can't be reached yet; it is waited for.
 */
static void buffer_zap_eager(struct mmapdev *dev, pgoff_t first, pgoff_t last,
			     bool even_cows)
{
	struct address_space *mapping = dev->buffer->i_mapping;

	mmapdev_eager_settle(dev, first, last);
	filemap_invalidate_lock(mapping);
	mmapdev_eager_zap(dev, first, last, even_cows);
	filemap_invalidate_unlock(mapping);
}

static int buffer_shrink(struct mmapdev *dev, loff_t size)
{
	pgoff_t end = size >> PAGE_SHIFT;
	bool fresh;
	int ret;

	ret = buffer_lock_cut(dev, end, ULONG_MAX);
	if (ret)
		return ret;

	i_size_write(dev->buffer, size);
	truncate_pagecache(dev->buffer, size);
	fresh = mmapdev_eager_zap(dev, end, ULONG_MAX, true);
	buffer_unlock(dev);
	if (fresh)
		buffer_zap_eager(dev, end, ULONG_MAX, true);

	return 0;
}

/**
 * mmapdev_buffer_resize - change the size
 * @dev: the device
 * @size: bytes, a multiple of PAGE_SIZE
 * @grow: make it larger or leave it as it is
 *
 * Return: 0, or a negative errno and the size is as it was: -EINTR, -ENODEV,
 * -ENXIO above max_size, -ENOMEM with prealloc, -EBUSY when the end cuts a huge
 * folio that somebody holds.
 */
int mmapdev_buffer_resize(struct mmapdev *dev, loff_t size, bool grow)
{
	loff_t old;
	int ret = 0;

	if (mutex_lock_killable(&dev->resize_lock))
		return -EINTR;

	old = mmapdev_size(dev);
	if (grow)
		size = max(size, old);
	if (dev->gone)
		ret = -ENODEV;
	else if (size > dev->config.max_size)
		ret = -ENXIO;
	else if (size > old)
		ret = buffer_grow(dev, size);
	else if (size < old)
		ret = buffer_shrink(dev, size);
	if (!ret && size != old) {
		mmapdev_count(dev, MMAPDEV_RESIZES);
		trace_mmapdev_resize(dev, old, size);
	}
	mutex_unlock(&dev->resize_lock);

	return ret;
}

/**
 * mmapdev_buffer_punch - make a range a hole
 * @dev: the device
 * @pos: first byte, a multiple of PAGE_SIZE
 * @length: bytes, a multiple of PAGE_SIZE; @pos + @length does not overflow
 *
 * Return: 0, or a negative errno and nothing has changed: -EINTR, -ENODEV,
 * -ENXIO beyond the size.
 */
int mmapdev_buffer_punch(struct mmapdev *dev, loff_t pos, u64 length)
{
	pgoff_t first = pos >> PAGE_SHIFT;
	pgoff_t end = first + (length >> PAGE_SHIFT);
	bool fresh;
	int ret = 0;

	if (mutex_lock_killable(&dev->resize_lock))
		return -EINTR;

	if (dev->gone)
		ret = -ENODEV;
	else if (pos + length > mmapdev_size(dev))
		ret = -ENXIO;
	if (ret || !length)
		goto unlock;

	ret = buffer_lock_cut(dev, first, end);
	if (ret == -EINTR)
		goto unlock;
	if (ret == -EBUSY) {
		buffer_lock(dev);
		buffer_dirty_across(dev, first);
		buffer_dirty_across(dev, end);
		ret = 0;
	}
	truncate_pagecache_range(dev->buffer, pos, pos + length - 1);
	fresh = mmapdev_eager_zap(dev, first, end - 1, false);
	buffer_unlock(dev);
	if (fresh)
		buffer_zap_eager(dev, first, end - 1, false);
	mmapdev_count(dev, MMAPDEV_PUNCHES);
	trace_mmapdev_punch(dev, pos, length);

unlock:
	mutex_unlock(&dev->resize_lock);

	return ret;
}

/**
 * mmapdev_buffer_revoke - take the buffer from all who use it
 * @dev: the device
 *
 * From now on calls fail with ENODEV and touches raise SIGBUS.
 */
void mmapdev_buffer_revoke(struct mmapdev *dev)
{
	mutex_lock(&dev->resize_lock);
	WRITE_ONCE(dev->gone, true);
	buffer_shrink(dev, 0);
	mutex_unlock(&dev->resize_lock);
	trace_mmapdev_revoke(dev);
}

/**
 * mmapdev_buffer_init - give a device its buffer
 * @dev: the device, with its config
 *
 * The buffer begins as one hole: memory comes at the first touch, or here with
 * prealloc.
 *
 * Return: 0 or a negative errno.
 */
int mmapdev_buffer_init(struct mmapdev *dev)
{
	struct inode *buffer;
	int ret;

	buffer = alloc_anon_inode(mmapdev_mnt->mnt_sb);
	if (IS_ERR(buffer))
		return PTR_ERR(buffer);

	buffer->i_mapping->a_ops = &mmapdev_aops;
	/* No OOM killer: no task's end would free any of the buffer. */
	mapping_set_gfp_mask(buffer->i_mapping,
			     GFP_HIGHUSER | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
	mapping_set_unevictable(buffer->i_mapping);
	if (dev->config.huge != MMAPDEV_IOC_HUGE_NEVER)
		mapping_set_large_folios(buffer->i_mapping);

	dev->buffer = buffer;
	ret = buffer_grow(dev, dev->config.size);
	if (ret)
		iput(buffer);

	return ret;
}

/**
 * mmapdev_buffer_destroy - free a device's buffer with all its folios
 * @dev: the device, no longer open or mapped
 */
void mmapdev_buffer_destroy(struct mmapdev *dev)
{
	iput(dev->buffer);
}
