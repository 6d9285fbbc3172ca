// SPDX-License-Identifier: GPL-2.0
/*
 * Wills: what an open file leaves to be stored in the buffer when it goes.
 *
 * A process that was killed can't say so, but its files are closed and its
 * mappings undone by the kernel, whatever became of it. So ->release, which
 * comes once and after the last of both, is where the wills are done.
 *
 * It may be any task that comes there, even a dying one. So nothing is allocated,
 * and all that is waited for is a folio lock, which nobody holds for long.
 */
#include <linux/slab.h>

#include "mmapdev.h"

/**
 * struct mmapdev_will - 4 bytes of the buffer, and what they are to become
 * @list: in the @wills of its file, under its @wills_lock
 * @offset: where they are, of no other will of the file
 * @expect: what they must be
 * @value: what they become
 */
struct mmapdev_will {
	struct list_head list;
	u64 offset;
	u32 expect;
	u32 value;
};

/**
 * mmapdev_wills_init - begin without a will
 * @mfile: a new open file
 */
void mmapdev_wills_init(struct mmapdev_file *mfile)
{
	mutex_init(&mfile->wills_lock);
	INIT_LIST_HEAD(&mfile->wills);
}

static struct mmapdev_will *will_find(struct mmapdev_file *mfile, u64 offset)
{
	struct mmapdev_will *will;

	list_for_each_entry(will, &mfile->wills, list) {
		if (will->offset == offset)
			return will;
	}

	return NULL;
}

/* The will for an offset, a new one if there is none; or an ERR_PTR(). */
static struct mmapdev_will *will_get(struct mmapdev_file *mfile, u64 offset)
{
	struct mmapdev_will *will = will_find(mfile, offset);

	if (will)
		return will;
	if (mfile->nr_wills == MMAPDEV_IOC_WILLS)
		return ERR_PTR(-ENOSPC);

	/* Who has no memory left for it is told, not killed. */
	will = kmalloc(sizeof(*will), GFP_KERNEL_ACCOUNT |
		       __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
	if (!will)
		return ERR_PTR(-ENOMEM);

	will->offset = offset;
	list_add_tail(&will->list, &mfile->wills);
	mfile->nr_wills++;

	return will;
}

/**
 * mmapdev_will - make a will, or replace the one for the same offset
 * @mfile: an open file
 * @offset: first of 4 bytes of the buffer, a multiple of 4
 * @expect: what they must be when the file goes
 * @value: what they become
 *
 * Return: 0, -ENOSPC or -ENOMEM.
 */
int mmapdev_will(struct mmapdev_file *mfile, u64 offset, u32 expect, u32 value)
{
	struct mmapdev_will *will;

	mutex_lock(&mfile->wills_lock);
	will = will_get(mfile, offset);
	if (!IS_ERR(will)) {
		will->expect = expect;
		will->value = value;
	}
	mutex_unlock(&mfile->wills_lock);

	return PTR_ERR_OR_ZERO(will);
}

static void will_drop(struct mmapdev_file *mfile, struct mmapdev_will *will)
{
	list_del(&will->list);
	mfile->nr_wills--;
	kfree(will);
}

/**
 * mmapdev_will_cancel - take a will back
 * @mfile: an open file
 * @offset: which one
 *
 * Return: 0 or -ENOENT.
 */
int mmapdev_will_cancel(struct mmapdev_file *mfile, u64 offset)
{
	struct mmapdev_will *will;

	mutex_lock(&mfile->wills_lock);
	will = will_find(mfile, offset);
	if (will)
		will_drop(mfile, will);
	mutex_unlock(&mfile->wills_lock);

	return will ? 0 : -ENOENT;
}

/**
 * mmapdev_wills_do - do all wills of an open file
 * @mfile: the file, which nobody else has any more
 */
void mmapdev_wills_do(struct mmapdev_file *mfile)
{
	struct mmapdev_will *will, *next;

	list_for_each_entry_safe(will, next, &mfile->wills, list) {
		mmapdev_buffer_exchange(mfile->dev, will->offset, will->expect,
					will->value);
		will_drop(mfile, will);
	}
}
