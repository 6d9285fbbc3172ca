// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty tracking, and commit: what msync and fsync mean on a buffer.
 *
 * Two records are kept of each folio, both as tags of its index in the address
 * space, so that a look at either visits tagged folios only, however large the
 * range. DIRTY, the page cache's own, is set from the first write until the
 * next commit. WRITTEN is set from the first write until somebody clears the
 * dirty bitmap. They are apart because each has a reader of its own: a copier
 * that cleared DIRTY would hide writes from commits, and the other way round.
 *
 * page_mkwrite, write(2) and the kernel's own fill mark the folio, which sets
 * both. Who clears one write-protects every mapping of the folio first, all
 * under the folio lock, under which page_mkwrite marks it again: no write falls
 * between. Eager mappings know no faults, so that what a writable one covers
 * keeps both, for as long as that mapping lives.
 */
#include <linux/eventfd.h>
#include <linux/poll.h>
#include <linux/rcupdate_wait.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <linux/writeback.h>

#include "compat.h"
#include "mmapdev.h"
#include "trace.h"

/* We have no writeback: its third tag is free. */
#define MMAPDEV_TAG_WRITTEN PAGECACHE_TAG_TOWRITE

static void set_written(struct address_space *mapping, struct folio *folio)
{
	unsigned long flags;

	xa_lock_irqsave(&mapping->i_pages, flags);
	if (folio->mapping) /* not truncated meanwhile */
		__xa_set_mark(&mapping->i_pages, folio->index,
			      MMAPDEV_TAG_WRITTEN);
	xa_unlock_irqrestore(&mapping->i_pages, flags);
}

/**
 * mmapdev_dirty_folio - the address space's ->dirty_folio
 * @mapping: the buffer
 * @folio: was written, or is about to be
 *
 * Return: true if it was clean.
 */
bool mmapdev_dirty_folio(struct address_space *mapping, struct folio *folio)
{
	set_written(mapping, folio);

	return filemap_dirty_folio(mapping, folio);
}

/*
 * Takes the tag off a folio whose mark was cleared. Marking sets first the mark
 * and then, under the lock, the tag: a mark that is back here keeps its tag.
 */
static void clear_dirty_tag(struct address_space *mapping, struct folio *folio)
{
	xa_lock_irq(&mapping->i_pages);
	if (!folio_test_dirty(folio))
		__xa_clear_mark(&mapping->i_pages, folio->index,
				PAGECACHE_TAG_DIRTY);
	xa_unlock_irq(&mapping->i_pages);
}

/* Returns the bytes that were dirty. */
static size_t commit_folio(struct mmapdev *dev, struct folio *folio)
{
	struct address_space *mapping = dev->buffer->i_mapping;
	bool dirty;

	folio_lock(folio);
	if (folio->mapping != mapping) {
		dirty = false; /* truncated meanwhile */
	} else if (mmapdev_eager_writable(dev, folio)) {
		dirty = folio_test_dirty(folio);
	} else {
		folio_mkclean(folio);
		dirty = folio_clear_dirty_for_io(folio);
		clear_dirty_tag(mapping, folio);
	}
	/* Here a backing store, if there were one, takes what is dirty. */
	folio_unlock(folio);

	return dirty ? folio_size(folio) : 0;
}

/**
 * mmapdev_notify - wake who waits for commits
 * @dev: the device, after a commit or its removal
 */
void mmapdev_notify(struct mmapdev *dev)
{
	struct mmapdev_file *mfile;

	wake_up_poll(&dev->commit_wait, EPOLLIN | EPOLLRDNORM |
		     (mmapdev_gone(dev) ? EPOLLHUP | EPOLLERR : 0));
	spin_lock(&dev->listeners_lock);
	list_for_each_entry(mfile, &dev->listeners, listener)
		eventfd_signal(mfile->eventfd);
	spin_unlock(&dev->listeners_lock);
}

/**
 * mmapdev_commit - commit the dirty folios of a range
 * @dev: the device
 * @start: first byte
 * @end: last byte
 *
 * The sequence number rises by one for each commit that ran to its end, dirty
 * folios or not.
 *
 * Return: 0, -ENODEV, or -EINTR when the caller is being killed.
 */
int mmapdev_commit(struct mmapdev *dev, loff_t start, loff_t end)
{
	struct address_space *mapping = dev->buffer->i_mapping;
	pgoff_t index = start >> PAGE_SHIFT;
	pgoff_t last = end >> PAGE_SHIFT;
	struct folio_batch fbatch;
	unsigned int i;
	u64 bytes = 0;
	int ret = 0;

	if (mutex_lock_killable(&dev->commit_lock))
		return -EINTR;

	folio_batch_init(&fbatch);
	while (filemap_get_folios_tag(mapping, &index, last,
				      PAGECACHE_TAG_DIRTY, &fbatch)) {
		for (i = 0; i < folio_batch_count(&fbatch); i++)
			bytes += commit_folio(dev, fbatch.folios[i]);
		folio_batch_release(&fbatch);

		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			break;
		}
		cond_resched();
	}

	atomic64_add(bytes, &dev->committed);
	if (mmapdev_gone(dev))
		ret = -ENODEV;
	if (!ret) {
		u64 seq = atomic64_inc_return(&dev->commit_seq);

		trace_mmapdev_commit(dev, start, end, bytes, seq);
		mmapdev_notify(dev);
	}
	mutex_unlock(&dev->commit_lock);

	return ret;
}

/**
 * mmapdev_dirty_bytes - count the bytes that a commit of all would find dirty
 * @dev: the device
 *
 * Return: bytes in dirty folios; a snapshot, while others write.
 */
u64 mmapdev_dirty_bytes(struct mmapdev *dev)
{
	XA_STATE(xas, &dev->buffer->i_mapping->i_pages, 0);
	struct folio *folio;
	u64 bytes = 0;

	rcu_read_lock();
	xas_for_each_marked(&xas, folio, ULONG_MAX, PAGECACHE_TAG_DIRTY) {
		if (xas_retry(&xas, folio))
			continue;
		bytes += folio_size(folio);
		if (need_resched()) {
			if (fatal_signal_pending(current))
				break; /* nobody will read the sum */
			xas_pause(&xas);
			cond_resched_rcu();
		}
	}
	rcu_read_unlock();

	return bytes;
}

/* Forgets that a folio was written. Returns whether it was. */
static bool clear_written(struct mmapdev *dev, struct folio *folio)
{
	struct address_space *mapping = dev->buffer->i_mapping;
	bool written = false;

	folio_lock(folio);
	if (folio->mapping != mapping) {
		/* truncated meanwhile: a hole has no record */
	} else if (mmapdev_eager_writable(dev, folio)) {
		written = true;
	} else {
		folio_mkclean(folio);
		xa_lock_irq(&mapping->i_pages);
		written = xa_get_mark(&mapping->i_pages, folio->index,
				      MMAPDEV_TAG_WRITTEN);
		__xa_clear_mark(&mapping->i_pages, folio->index,
				MMAPDEV_TAG_WRITTEN);
		xa_unlock_irq(&mapping->i_pages);
	}
	folio_unlock(folio);

	return written;
}

/* The part of a dirty bitmap that is gathered at once. */
struct chunk {
	pgoff_t first;		/* page of the first bit */
	unsigned long nr;	/* of bits */
	unsigned int lead;	/* bits of the chunk before, in the first byte */
	void *bits;
};

/* Half a page of bits, for @lead; it ends where no folio goes across. */
#define CHUNK_FOLIO	BIT(MMAPDEV_HUGE_ORDER)
#define CHUNK_PAGES	(PAGE_SIZE * BITS_PER_BYTE / 2)

/* Takes back what clear_written() did to the pages of a chunk. */
static void restore_written(struct mmapdev *dev, const struct chunk *chunk)
{
	unsigned long i;

	for (i = 0; i < chunk->nr; i++) {
		struct folio *folio;

		if (!test_bit_le(chunk->lead + i, chunk->bits))
			continue;
		folio = mmapdev_folio_find(dev, chunk->first + i);
		if (folio) {
			set_written(dev->buffer->i_mapping, folio);
			folio_put(folio);
		}
	}
}

/*
 * Sets the bits of the written pages of a chunk. A folio that is not wholly
 * between @start and @end keeps its record. Returns the number of bits, or
 * -EINTR.
 */
static int gather_written(struct mmapdev *dev, const struct chunk *chunk,
			  bool clear, pgoff_t start, pgoff_t end)
{
	struct address_space *mapping = dev->buffer->i_mapping;
	pgoff_t index = chunk->first, last = index + chunk->nr - 1;
	struct folio_batch fbatch;
	unsigned int i;
	int count = 0;

	folio_batch_init(&fbatch);
	while (filemap_get_folios_tag(mapping, &index, last,
				      MMAPDEV_TAG_WRITTEN, &fbatch)) {
		for (i = 0; i < folio_batch_count(&fbatch); i++) {
			struct folio *folio = fbatch.folios[i];
			pgoff_t from = folio->index;
			pgoff_t to = folio_next_index(folio);

			if (clear && from >= start && to <= end &&
			    !clear_written(dev, folio))
				continue;
			from = max(from, chunk->first);
			to = min(to, last + 1);
			/* Pages that change folios meanwhile may come twice. */
			for (; from < to; from++)
				if (!__test_and_set_bit_le(chunk->lead + from -
							   chunk->first,
							   chunk->bits))
					count++;
		}
		folio_batch_release(&fbatch);

		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}

	return count;
}

/**
 * mmapdev_dirty_pages - tell which pages were written
 * @dev: the device
 * @pos: first byte, a multiple of PAGE_SIZE
 * @length: bytes, a multiple of PAGE_SIZE; @pos + @length does not overflow
 * @clear: forget it in the same step
 * @bitmap: result, a bit for each page, see struct mmapdev_ioc_dirty
 * @pages: result, the number of bits set
 *
 * Return: 0, -EFAULT, -EINTR or -ENOMEM. What could not be told then is not
 * forgotten.
 */
int mmapdev_dirty_pages(struct mmapdev *dev, loff_t pos, u64 length, bool clear,
			void __user *bitmap, u64 *pages)
{
	pgoff_t start = pos >> PAGE_SHIFT;
	pgoff_t end = start + (length >> PAGE_SHIFT);
	struct chunk chunk = { .first = start };
	u8 *bits;
	int ret = 0;

	bits = (u8 *)__get_free_page(GFP_KERNEL);
	if (!bits)
		return -ENOMEM;
	chunk.bits = bits;
	bits[0] = 0;

	*pages = 0;
	while (chunk.first < end) {
		size_t bytes;

		chunk.nr = min(end - chunk.first,
			       CHUNK_PAGES - chunk.first % CHUNK_FOLIO);
		bytes = DIV_ROUND_UP(chunk.lead + chunk.nr, BITS_PER_BYTE);
		memset(bits + 1, 0, bytes);
		ret = gather_written(dev, &chunk, clear, start, end);
		if (ret >= 0) {
			*pages += ret;
			ret = copy_to_user(bitmap, bits, bytes) ? -EFAULT : 0;
		}
		if (ret) {
			if (clear)
				restore_written(dev, &chunk);
			break;
		}

		/* A byte that is not full yet begins the next chunk. */
		chunk.first += chunk.nr;
		chunk.lead = (chunk.lead + chunk.nr) % BITS_PER_BYTE;
		bitmap += bytes - !!chunk.lead;
		bits[0] = chunk.lead ? bits[bytes - 1] : 0;
	}
	free_page((unsigned long)bits);

	return ret;
}
