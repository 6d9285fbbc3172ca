/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The inside of the module.
 *
 * A device's buffer is an address space: the folios in @buffer->i_mapping are
 * the memory. open() points file->f_mapping at it, so that every node that
 * leads to the device shares one memory, and the page cache's own code faults,
 * cleans and frees it. Unlike in a file system a clean folio is still the only
 * copy of its data: buffer.c keeps the page cache from dropping or moving one.
 *
 * Locks, the outer ones first:
 *
 *   resize_lock
 *     commit_lock
 *       invalidate_lock of the buffer: held while folios are taken away, shared
 *       while one is added
 *         folio lock
 *           eagers_lock
 *             i_mmap_rwsem and page table locks, inside the kernel's zap
 *
 * A page fault and ->mmap hold a mmap_lock and take those from invalidate_lock
 * on. No lock that a page fault takes is held while a caller's memory is touched
 * with faults enabled. An open file's wills_lock is held alone.
 */
#ifndef MMAPDEV_H
#define MMAPDEV_H

#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/percpu.h>
#include <linux/rbtree.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>

#include "uapi/mmapdev.h"

/* The order of the largest folios: what one PMD maps. */
#ifdef CONFIG_TRANSPARENT_HUGEPAGE
#define MMAPDEV_HUGE_ORDER HPAGE_PMD_ORDER
#else
#define MMAPDEV_HUGE_ORDER 0
#endif

/* What INFO and sysfs count. */
enum mmapdev_counter {
	MMAPDEV_MAPS,
	MMAPDEV_FAULTS,
	MMAPDEV_MKWRITES,
	MMAPDEV_RESIZES,
	MMAPDEV_PUNCHES,
	MMAPDEV_COUNTERS,
};

struct mmapdev_counters {
	unsigned long n[MMAPDEV_COUNTERS];
};

/**
 * struct mmapdev_config - what a device is made from
 * @size: bytes of the buffer at first
 * @max_size: bytes that it may become, 0 for @size
 * @mode: MMAPDEV_IOC_DEMAND or _EAGER, what a new open file begins with
 * @huge: MMAPDEV_IOC_HUGE_NEVER, _ADVISE or _ALWAYS
 * @prealloc: memory for all of the size, always
 * @node_mode: permission bits of the node
 */
struct mmapdev_config {
	u64 size;
	u64 max_size;
	u32 mode;
	u32 huge;
	bool prealloc;
	u16 node_mode;
};

/**
 * struct mmapdev - one device
 * @ref: counts the module's own use, open files and eager mappings
 * @number: 0 for /dev/mmapdev, n for /dev/mmapdevn
 * @name: of the node
 * @misc: the node
 * @config: how it was made; constant
 * @buffer: inode whose i_mapping holds the folios and whose i_size the size,
 *	written under @resize_lock
 * @gone: it was removed; set under @resize_lock
 * @resize_lock: one change of the size, punch or removal at a time
 * @commit_lock: one commit at a time, and none while a huge folio is split
 * @commit_seq: commits so far, written under @commit_lock
 * @committed: bytes that these found dirty, written under @commit_lock
 * @commit_wait: who polls for commits
 * @listeners_lock: protects @listeners
 * @listeners: open files that have an eventfd
 * @eagers_lock: protects @eagers
 * @eagers: eager mappings, by the pages that they span, see mapping.c
 * @counters: what happened so far
 */
struct mmapdev {
	struct kref ref;
	int number;
	char name[24];
	struct miscdevice misc;
	struct mmapdev_config config;
	struct inode *buffer;
	bool gone;
	struct mutex resize_lock;	/* i_size of buffer, gone */
	struct mutex commit_lock;	/* commit_seq, committed */
	atomic64_t commit_seq;
	atomic64_t committed;
	wait_queue_head_t commit_wait;
	spinlock_t listeners_lock;	/* listeners */
	struct list_head listeners;
	struct mutex eagers_lock;	/* eagers */
	struct rb_root_cached eagers;
	struct mmapdev_counters __percpu *counters;
};

struct eventfd_ctx;

/**
 * struct mmapdev_file - one open file of a device
 * @dev: the device
 * @mode: MMAPDEV_IOC_DEMAND or _EAGER, how its later mmaps map
 * @seen: the commit sequence number that it was last told
 * @listener: in @dev->listeners, under @dev->listeners_lock
 * @eventfd: told at every commit, or NULL, under @dev->listeners_lock
 * @wills_lock: protects @wills and @nr_wills
 * @wills: what is done when it goes, in order, see will.c
 * @nr_wills: how many there are
 */
struct mmapdev_file {
	struct mmapdev *dev;
	u32 mode;
	atomic64_t seen;
	struct list_head listener;
	struct eventfd_ctx *eventfd;
	struct mutex wills_lock;	/* wills, nr_wills */
	struct list_head wills;
	unsigned int nr_wills;
};

static inline loff_t mmapdev_size(const struct mmapdev *dev)
{
	return i_size_read(dev->buffer);
}

static inline bool mmapdev_gone(const struct mmapdev *dev)
{
	return READ_ONCE(dev->gone);
}

/* Does memory that no mapping asked for come in huge folios? */
static inline bool mmapdev_huge_always(const struct mmapdev *dev)
{
	return dev->config.huge == MMAPDEV_IOC_HUGE_ALWAYS;
}

/* Bytes in the largest folio that the buffer may take. */
static inline u32 mmapdev_folio_max(const struct mmapdev *dev)
{
	return dev->config.huge == MMAPDEV_IOC_HUGE_NEVER ?
	       PAGE_SIZE : PAGE_SIZE << MMAPDEV_HUGE_ORDER;
}

static inline void mmapdev_count(struct mmapdev *dev, enum mmapdev_counter which)
{
	this_cpu_inc(dev->counters->n[which]);
}

/* main.c */
extern const char * const mmapdev_mode_names[];
extern const char * const mmapdev_huge_names[];
extern const struct mmapdev_config mmapdev_config_default;
int mmapdev_parse_size(const char *val, u64 *size);
int mmapdev_parse_mode(const char *val, u32 *mode);
int mmapdev_parse_huge(const char *val, u32 *huge);
int mmapdev_parse_node_mode(const char *val, u16 *bits);
u64 mmapdev_counted(const struct mmapdev *dev, enum mmapdev_counter which);
struct mmapdev *mmapdev_create(const struct mmapdev_config *config);
void mmapdev_remove(struct mmapdev *dev);
void mmapdev_get(struct mmapdev *dev);
void mmapdev_put(struct mmapdev *dev);

/* config.c */
int mmapdev_config_init(void);
void mmapdev_config_exit(void);

/* sysfs.c */
extern const struct attribute_group *mmapdev_groups[];

/* buffer.c */
int mmapdev_fs_init(void);
void mmapdev_fs_exit(void);
int mmapdev_buffer_init(struct mmapdev *dev);
void mmapdev_buffer_destroy(struct mmapdev *dev);
struct folio *mmapdev_folio_lock(struct mmapdev *dev, pgoff_t index, bool huge);
struct folio *mmapdev_folio_find(struct mmapdev *dev, pgoff_t index);
int mmapdev_buffer_fill(struct mmapdev *dev, loff_t pos, u64 length,
			u64 pattern);
int mmapdev_buffer_sum(struct mmapdev *dev, loff_t pos, u64 length, u32 *sum);
void mmapdev_buffer_exchange(struct mmapdev *dev, loff_t pos, u32 expect,
			     u32 value);
loff_t mmapdev_buffer_seek(struct mmapdev *dev, loff_t pos, int whence);
int mmapdev_buffer_resize(struct mmapdev *dev, loff_t size, bool grow);
int mmapdev_buffer_punch(struct mmapdev *dev, loff_t pos, u64 length);
void mmapdev_buffer_revoke(struct mmapdev *dev);

/* commit.c */
bool mmapdev_dirty_folio(struct address_space *mapping, struct folio *folio);
int mmapdev_commit(struct mmapdev *dev, loff_t start, loff_t end);
void mmapdev_notify(struct mmapdev *dev);
u64 mmapdev_dirty_bytes(struct mmapdev *dev);
int mmapdev_dirty_pages(struct mmapdev *dev, loff_t pos, u64 length, bool clear,
			void __user *bitmap, u64 *pages);

/* mapping.c */
int mmapdev_mmap(struct file *file, struct vm_area_struct *vma);
bool mmapdev_eager_writable(struct mmapdev *dev, struct folio *folio);
void mmapdev_eager_settle(struct mmapdev *dev, pgoff_t first, pgoff_t last);
bool mmapdev_eager_zap(struct mmapdev *dev, pgoff_t first, pgoff_t last,
		       bool even_cows);

/* will.c */
void mmapdev_wills_init(struct mmapdev_file *mfile);
int mmapdev_will(struct mmapdev_file *mfile, u64 offset, u32 expect, u32 value);
int mmapdev_will_cancel(struct mmapdev_file *mfile, u64 offset);
void mmapdev_wills_do(struct mmapdev_file *mfile);

/* file.c */
extern const struct file_operations mmapdev_fops;

#endif /* MMAPDEV_H */
