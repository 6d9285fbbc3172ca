/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The inside of the module.
 *
 * A device's buffer is an address space: the folios in @buffer->i_mapping are
 * the memory, @buffer->i_size is its size. open() points file->f_mapping at
 * it, so that every node that leads to the device shares one memory, and the
 * page cache's own code faults, cleans and frees it. Unlike in a file system
 * a clean folio is still the only copy of its data: buffer.c keeps the page
 * cache from dropping or moving one.
 */
#ifndef MMAPDEV_H
#define MMAPDEV_H

#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/rbtree.h>
#include <linux/spinlock.h>
#include <linux/types.h>

/**
 * struct mmapdev - one device
 * @misc: its node under /dev
 * @buffer: inode whose i_mapping holds the folios and whose i_size the size
 * @eager: inode whose i_mapping holds the eager VMAs, see mapping.c
 * @mode: MMAPDEV_IOC_DEMAND or _EAGER, what a new open file begins with
 * @commit_lock: one commit at a time
 * @commit_seq: commits so far, written under @commit_lock
 * @committed: bytes that these found dirty, written under @commit_lock
 * @spans_lock: protects @spans
 * @spans: page ranges that eager mappings may write at any time
 */
struct mmapdev {
	struct miscdevice misc;
	struct inode *buffer;
	struct inode *eager;
	u32 mode;
	struct mutex commit_lock;	/* commit_seq, committed */
	atomic64_t commit_seq;
	atomic64_t committed;
	spinlock_t spans_lock;		/* spans */
	struct rb_root_cached spans;
};

/**
 * struct mmapdev_file - one open file of a device
 * @dev: the device
 * @mode: MMAPDEV_IOC_DEMAND or _EAGER, how its later mmaps map
 */
struct mmapdev_file {
	struct mmapdev *dev;
	u32 mode;
};

static inline loff_t mmapdev_size(const struct mmapdev *dev)
{
	return i_size_read(dev->buffer);
}

/* buffer.c */
int mmapdev_fs_init(void);
void mmapdev_fs_exit(void);
int mmapdev_buffer_init(struct mmapdev *dev, loff_t size);
void mmapdev_buffer_destroy(struct mmapdev *dev);
struct folio *mmapdev_folio_lock(struct mmapdev *dev, pgoff_t index);
struct folio *mmapdev_folio_find(struct mmapdev *dev, pgoff_t index);
int mmapdev_buffer_fill(struct mmapdev *dev, loff_t pos, u64 length,
			u64 pattern);
int mmapdev_buffer_sum(struct mmapdev *dev, loff_t pos, u64 length, u32 *sum);

/* commit.c */
int mmapdev_commit(struct mmapdev *dev, loff_t start, loff_t end);
u64 mmapdev_dirty_bytes(struct mmapdev *dev);

/* mapping.c */
int mmapdev_mmap(struct file *file, struct vm_area_struct *vma);
bool mmapdev_eager_writable(struct mmapdev *dev, struct folio *folio);

/* file.c */
extern const struct file_operations mmapdev_fops;

#endif /* MMAPDEV_H */
