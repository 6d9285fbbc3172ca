// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty tracking, and commit: what msync and fsync mean on a buffer.
 *
 * A folio is dirty from its first write until the next commit that covers it.
 * page_mkwrite, write(2) and the kernel's own fill mark the folio, which tags its
 * index in the address space, so that a commit visits dirty folios only, however
 * large the range.
 *
 * Commit write-protects every mapping of the folio before it clears the mark,
 * all under the folio lock, under which page_mkwrite sets the mark again: no
 * write falls between. Eager mappings know no faults, so that what a writable
 * one covers keeps its mark, for as long as that mapping lives.
 */
#include <linux/rcupdate_wait.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/writeback.h>

#include "compat.h"
#include "mmapdev.h"

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
	if (!ret)
		atomic64_inc(&dev->commit_seq);
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
