// SPDX-License-Identifier: GPL-2.0
/*
 * mmap: two ways to put the buffer's pages into a process.
 *
 * Demand: each touch of a page that is not mapped yet comes to ->fault, which
 * returns the folio of that index, locked. The VMA has no special flag, so
 * that copy on write, fault-around, huge entries, direct I/O, futexes and fork
 * are the kernel's own.
 *
 * Eager: remap_pfn_range() maps every page of the range at mmap time; no touch
 * of it ever faults. Such page table entries are frame numbers: the VM keeps
 * neither reference nor reverse map for them. Hence each eager mapping
 *
 * - holds a reference for every page it shows, until truncation took the page
 *   out of all its VMAs, or its last VMA is gone;
 * - has a file of its own, with an address space of its own. Its VMAs must not
 *   stand in the buffer's i_mmap: a reverse-map walk for a folio that a demand
 *   mapping shows too would find the frame number in the eager VMA, and
 *   migration would drop a map count and a reference that were never taken;
 * - stands in @dev->eagers, where truncation finds it, and commit.c if it can
 *   be written: then all that it spans counts as dirty.
 *
 * The VM counts the users of that file for us through split, fork and exit. The
 * VMA can be found in its address space a moment after ->mmap has returned, not
 * before: until then the mapping is fresh, and truncation has to wait for it.
 *
 * What was beyond the end at mmap time, or was truncated, comes by ->fault, and
 * is an entry without reference like the others.
 *
 * remap_pfn_range() maps a copy-on-write VMA in one call only, and leaves the
 * frame number in vm_pgoff, where the process can read it. So MAP_PRIVATE is
 * mapped eagerly where the frames are contiguous and the caller may know them
 * (CAP_SYS_ADMIN, the rule of /proc/PID/pagemap), and on demand elsewhere. To
 * the VM an entry of such a VMA is special if it has the frame number that
 * vm_pgoff tells, so that no other page may ever come to lie there: those
 * frames are kept until the mapping ends, and ->fault gives copies.
 */
#include <linux/anon_inodes.h>
#include <linux/capability.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/highmem.h>
#include <linux/interval_tree_generic.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/refcount.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>
#include <linux/xarray.h>

#include "compat.h"
#include "mmapdev.h"
#include "trace.h"

/* Is a fault of this VMA to be served by a huge folio? */
static bool wants_huge(struct mmapdev *dev, struct vm_area_struct *vma)
{
	if (vma->vm_flags & VM_HUGEPAGE)
		return dev->config.huge != MMAPDEV_IOC_HUGE_NEVER;

	return mmapdev_huge_always(dev) && !(vma->vm_flags & VM_NOHUGEPAGE);
}

/* mmapdev_folio_lock() for a fault, which is counted and traced. */
static struct folio *fault_folio(struct mmapdev *dev, struct vm_fault *vmf,
				 pgoff_t index)
{
	struct folio *folio;

	folio = mmapdev_folio_lock(dev, index, wants_huge(dev, vmf->vma));
	mmapdev_count(dev, MMAPDEV_FAULTS);
	trace_mmapdev_fault(dev, index, vmf->flags & FAULT_FLAG_WRITE,
			    IS_ERR(folio) ? -1 : folio_order(folio),
			    PTR_ERR_OR_ZERO(folio));

	return folio;
}

static vm_fault_t mmapdev_fault(struct vm_fault *vmf)
{
	struct mmapdev_file *mfile = vmf->vma->vm_file->private_data;
	struct folio *folio;

	/* Want of memory, too, is SIGBUS: VM_FAULT_OOM would try for ever. */
	folio = fault_folio(mfile->dev, vmf, vmf->pgoff);
	if (IS_ERR(folio))
		return VM_FAULT_SIGBUS;

	vmf->page = folio_file_page(folio, vmf->pgoff);

	return VM_FAULT_LOCKED;
}

/* filemap_page_mkwrite() without the time stamp: the node is not the buffer. */
static vm_fault_t mmapdev_page_mkwrite(struct vm_fault *vmf)
{
	struct mmapdev_file *mfile = vmf->vma->vm_file->private_data;
	struct folio *folio = page_folio(vmf->page);

	folio_lock(folio);
	if (folio->mapping != vmf->vma->vm_file->f_mapping) {
		folio_unlock(folio);
		return VM_FAULT_NOPAGE; /* truncated meanwhile: look again */
	}
	folio_mark_dirty(folio);
	mmapdev_count(mfile->dev, MMAPDEV_MKWRITES);
	trace_mmapdev_mkwrite(mfile->dev, vmf->pgoff);

	return VM_FAULT_LOCKED;
}

static const struct vm_operations_struct mmapdev_demand_ops = {
	.fault		= mmapdev_fault,
	.map_pages	= filemap_map_pages,
	.page_mkwrite	= mmapdev_page_mkwrite,
};

/**
 * struct mmapdev_eager - what lives as long as one eager mapping
 * @dev: the device
 * @users: its file, and who waits while it is fresh
 * @start: its first page in the buffer
 * @last: its last page in the buffer
 * @writable: stores through it reach the buffer
 * @cow: stores through it make copies
 * @pfn: the frame of @start, if @cow
 * @fresh: its VMA may not be in @mapping yet, under @dev->eagers_lock
 * @ended: its file is gone
 * @settling: in the list of mmapdev_eager_settle(), under @dev->resize_lock
 * @mapping: has its VMAs, by page of the buffer, or if @cow by frame number
 * @pages: its pages, by page of the buffer, with a reference each
 * @node: in @dev->eagers, under @dev->eagers_lock
 * @subtree_last: the last page of all spans below @node
 */
struct mmapdev_eager {
	struct mmapdev *dev;
	refcount_t users;
	pgoff_t start;
	pgoff_t last;
	bool writable;
	bool cow;
	unsigned long pfn;
	bool fresh;
	bool ended;
	struct list_head settling;
	struct address_space mapping;
	struct xarray pages;
	struct rb_node node;
	pgoff_t subtree_last;
};

#define EAGER_START(eager)	((eager)->start)
#define EAGER_LAST(eager)	((eager)->last)

/* The kernel's interval_tree_insert() is not built into every kernel. */
INTERVAL_TREE_DEFINE(struct mmapdev_eager, node, pgoff_t, subtree_last,
		     EAGER_START, EAGER_LAST, static __maybe_unused, eagers)

/* Where a page of the buffer is in the mapping's VMAs. */
static pgoff_t eager_pgoff(const struct mmapdev_eager *eager, pgoff_t index)
{
	return eager->cow ? eager->pfn + (index - eager->start) : index;
}

static pgoff_t eager_index(const struct mmapdev_eager *eager, pgoff_t pgoff)
{
	return eager->cow ? eager->start + (pgoff - eager->pfn) : pgoff;
}

static void eager_drop_pages(struct mmapdev_eager *eager, pgoff_t first,
			     pgoff_t last)
{
	unsigned long index;
	struct page *page;

	xa_for_each_range(&eager->pages, index, page, first, last) {
		xa_erase(&eager->pages, index);
		put_page(page);
		cond_resched();
	}
}

static void eager_put(struct mmapdev_eager *eager)
{
	if (!refcount_dec_and_test(&eager->users))
		return;

	eager_drop_pages(eager, eager->start, eager->last);
	mmapdev_put(eager->dev);
	kfree(eager);
}

/* It is found from now on. */
static struct mmapdev_eager *eager_begin(struct mmapdev *dev,
					 struct vm_area_struct *vma)
{
	unsigned long kind = vma->vm_flags & (VM_SHARED | VM_MAYWRITE);
	struct mmapdev_eager *eager;

	eager = kzalloc(sizeof(*eager), GFP_KERNEL_ACCOUNT);
	if (!eager)
		return NULL;

	mmapdev_get(dev);
	eager->dev = dev;
	refcount_set(&eager->users, 1);
	eager->start = vma->vm_pgoff;
	eager->last = vma->vm_pgoff + vma_pages(vma) - 1;
	eager->writable = kind == (VM_SHARED | VM_MAYWRITE);
	eager->cow = kind == VM_MAYWRITE;
	eager->fresh = true;
	address_space_init_once(&eager->mapping);
	eager->mapping.host = dev->buffer;
	eager->mapping.a_ops = &empty_aops;
	xa_init_flags(&eager->pages, XA_FLAGS_ACCOUNT);

	mutex_lock(&dev->eagers_lock);
	eagers_insert(eager, &dev->eagers);
	mutex_unlock(&dev->eagers_lock);

	return eager;
}

static void eager_end(struct mmapdev_eager *eager)
{
	struct mmapdev *dev = eager->dev;

	WRITE_ONCE(eager->ended, true);
	mutex_lock(&dev->eagers_lock);
	eagers_remove(eager, &dev->eagers);
	mutex_unlock(&dev->eagers_lock);
	eager_put(eager);
}

static int eager_release(struct inode *inode, struct file *file)
{
	eager_end(file->private_data);

	return 0;
}

static int eager_fsync(struct file *file, loff_t start, loff_t end,
		       int datasync)
{
	struct mmapdev_eager *eager = file->private_data;

	return mmapdev_commit(eager->dev, start, end);
}

static const struct file_operations mmapdev_eager_fops = {
	.owner		= THIS_MODULE,
	.release	= eager_release,
	.fsync		= eager_fsync,
};

/**
 * mmapdev_eager_writable - can an eager mapping write a folio unseen?
 * @dev: the device
 * @folio: a folio of its buffer, locked
 *
 * Return: true while a writable eager mapping spans any part of it.
 */
bool mmapdev_eager_writable(struct mmapdev *dev, struct folio *folio)
{
	pgoff_t first = folio->index;
	pgoff_t last = folio_next_index(folio) - 1;
	struct mmapdev_eager *eager;

	mutex_lock(&dev->eagers_lock);
	eager = eagers_iter_first(&dev->eagers, first, last);
	while (eager && !eager->writable)
		eager = eagers_iter_next(eager, first, last);
	mutex_unlock(&dev->eagers_lock);

	return eager;
}

/**
 * mmapdev_eager_settle - wait for eager mmaps that are under way
 * @dev: the device, with resize_lock held
 * @first: first page of a range
 * @last: last page of the range
 *
 * Afterwards mmapdev_eager_zap() reaches each mapping of the range that was
 * begun before. To wait for the mmap_lock instead would be to wait for whatever
 * else its process does under it, and a FUSE server can make that last.
 */
void mmapdev_eager_settle(struct mmapdev *dev, pgoff_t first, pgoff_t last)
{
	struct mmapdev_eager *eager, *next;
	LIST_HEAD(fresh);

	mutex_lock(&dev->eagers_lock);
	eager = eagers_iter_first(&dev->eagers, first, last);
	for (; eager; eager = eagers_iter_next(eager, first, last)) {
		if (eager->fresh) {
			refcount_inc(&eager->users);
			list_add(&eager->settling, &fresh);
		}
	}
	mutex_unlock(&dev->eagers_lock);

	list_for_each_entry_safe(eager, next, &fresh, settling) {
		while (!mapping_mapped(&eager->mapping) &&
		       !READ_ONCE(eager->ended))
			usleep_range(50, 100);
		mutex_lock(&dev->eagers_lock);
		eager->fresh = false;
		mutex_unlock(&dev->eagers_lock);
		eager_put(eager);
	}
}

/**
 * mmapdev_eager_zap - take a range out of all eager mappings
 * @dev: the device
 * @first: first page of the range
 * @last: last page of the range
 * @even_cows: private copies as well
 *
 * Under the invalidate lock, and after the truncation of the range, if it is
 * truncated: so that no fault can bring back what is zapped.
 *
 * Return: true if there is a fresh mapping, which could not be reached.
 */
bool mmapdev_eager_zap(struct mmapdev *dev, pgoff_t first, pgoff_t last,
		       bool even_cows)
{
	struct mmapdev_eager *eager;
	bool fresh = false;

	mutex_lock(&dev->eagers_lock);
	eager = eagers_iter_first(&dev->eagers, first, last);
	for (; eager; eager = eagers_iter_next(eager, first, last)) {
		pgoff_t from = max(first, eager->start);
		pgoff_t to = min(last, eager->last);

		if (eager->fresh) {
			fresh = true;
			continue;
		}
		unmap_mapping_pages(&eager->mapping, eager_pgoff(eager, from),
				    to - from + 1, even_cows);
		if (!eager->cow)
			eager_drop_pages(eager, from, to);
	}
	mutex_unlock(&dev->eagers_lock);

	return fresh;
}

/* One more page that the mapping shows. @folio is locked. */
static int eager_add_page(struct mmapdev_eager *eager, pgoff_t index,
			  struct folio *folio)
{
	struct page *page = folio_file_page(folio, index);
	int ret;

	/* A child of fork() may have been first. */
	if (xa_load(&eager->pages, index))
		return 0;

	get_page(page);
	ret = xa_err(xa_store(&eager->pages, index, page, GFP_KERNEL_ACCOUNT));
	if (ret) {
		put_page(page);
		return ret;
	}
	if (eager->writable)
		folio_mark_dirty(folio);

	return 0;
}

/*
 * Gathers the pages that the buffer has of the range. Returns 1 where a
 * copy-on-write mapping can't have them: not all are there, or they do not lie
 * in consecutive frames.
 */
static int eager_gather(struct mmapdev_eager *eager)
{
	struct mmapdev *dev = eager->dev;
	bool huge = mmapdev_huge_always(dev);
	struct folio *folio;
	unsigned long pfn;
	pgoff_t index;
	int ret;

	for (index = eager->start; index <= eager->last; index++) {
		folio = mmapdev_folio_lock(dev, index, huge);
		if (folio == ERR_PTR(-ENXIO))
			return eager->cow;
		if (IS_ERR(folio))
			return PTR_ERR(folio);

		ret = eager_add_page(eager, index, folio);
		pfn = page_to_pfn(folio_file_page(folio, index));
		folio_unlock(folio);
		folio_put(folio);
		if (ret)
			return ret;

		if (index == eager->start)
			eager->pfn = pfn;
		if (eager->cow && pfn != eager_pgoff(eager, index))
			return 1;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}

	return 0;
}

/* Maps what was gathered, each run of consecutive frames by one call. */
static int eager_remap(struct mmapdev_eager *eager, struct vm_area_struct *vma)
{
	unsigned long addr, pfn, run;
	unsigned long index;
	struct page *page;
	int ret;

	xa_for_each(&eager->pages, index, page) {
		addr = vma->vm_start + (index - eager->start) * PAGE_SIZE;
		pfn = page_to_pfn(page);
		for (run = 1; ; run++) {
			page = xa_load(&eager->pages, index + run);
			if (!page || page_to_pfn(page) != pfn + run)
				break;
		}
		ret = remap_pfn_range(vma, addr, pfn, run * PAGE_SIZE,
				      vma->vm_page_prot);
		if (ret)
			return ret;
		index += run - 1;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}

	/*
	 * x86 would track the frames by what it finds in the page tables when
	 * the VMA is copied or zapped, and fail or warn where the first page is
	 * a copy by then, or gone. Of RAM there is nothing to track.
	 */
	vm_flags_clear(vma, VM_PAT);

	return 0;
}

/*
 * A copy-on-write VMA: no page but a fresh one may lie in it, see above. What
 * is to be written the VM copies by itself.
 */
static vm_fault_t eager_fault_cow(struct vm_fault *vmf, struct folio *folio,
				  struct page *page)
{
	struct page *copy;

	if (vmf->cow_page) {
		vmf->page = page;
		return VM_FAULT_LOCKED;
	}

	copy = alloc_page(GFP_HIGHUSER | __GFP_ACCOUNT | __GFP_RETRY_MAYFAIL |
			  __GFP_NOWARN);
	if (copy) {
		copy_highpage(copy, page);
		SetPageUptodate(copy);
	}
	folio_unlock(folio);
	folio_put(folio);
	vmf->page = copy;

	return copy ? 0 : VM_FAULT_SIGBUS;
}

static vm_fault_t mmapdev_eager_fault(struct vm_fault *vmf)
{
	struct mmapdev_eager *eager = vmf->vma->vm_file->private_data;
	pgoff_t index = eager_index(eager, vmf->pgoff);
	vm_fault_t ret = VM_FAULT_SIGBUS;
	struct folio *folio;
	struct page *page;

	folio = fault_folio(eager->dev, vmf, index);
	if (IS_ERR(folio))
		return VM_FAULT_SIGBUS;

	page = folio_file_page(folio, index);
	if (eager->cow)
		return eager_fault_cow(vmf, folio, page);

	/* Under the folio lock: a truncation will zap it after that. */
	if (!eager_add_page(eager, index, folio))
		ret = vmf_insert_pfn(vmf->vma, vmf->address, page_to_pfn(page));
	folio_unlock(folio);
	folio_put(folio);

	return ret;
}

static const struct vm_operations_struct mmapdev_eager_ops = {
	.fault		= mmapdev_eager_fault,
};

/* Returns 1 if the mapping is to be on demand. */
static int mmap_eager(struct mmapdev *dev, struct vm_area_struct *vma)
{
	unsigned long kind = vma->vm_flags & (VM_SHARED | VM_MAYWRITE);
	char name[sizeof(dev->name) + 8];
	struct mmapdev_eager *eager;
	struct file *file;
	int ret;

	if (kind == VM_MAYWRITE &&
	    !ns_capable_noaudit(&init_user_ns, CAP_SYS_ADMIN))
		return 1;

	eager = eager_begin(dev, vma);
	if (!eager)
		return -ENOMEM;

	ret = eager_gather(eager);
	if (ret) {
		eager_end(eager);
		return ret;
	}

	/* On a file system of our own its last put could come after us. */
	snprintf(name, sizeof(name), "%s-eager", dev->name);
	file = anon_inode_getfile(name, &mmapdev_eager_fops, eager, O_RDWR);
	if (IS_ERR(file)) {
		eager_end(eager);
		return PTR_ERR(file);
	}
	file->f_mapping = &eager->mapping;
	/*
	 * On an error below the caller puts the file and undoes the page
	 * tables; release comes after both, when this task leaves the kernel.
	 */
	vma_set_file(vma, file);
	fput(file);
	vma->vm_ops = &mmapdev_eager_ops;
	/* As remap_pfn_range() does, which may have nothing to map yet. */
	vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);

	return eager_remap(eager, vma);
}

/* *eager tells how it was mapped. */
static int mmap_window(struct mmapdev_file *mfile, struct vm_area_struct *vma,
		       bool *eager)
{
	struct mmapdev *dev = mfile->dev;
	pgoff_t end;
	int ret;

	if (mmapdev_gone(dev))
		return -ENODEV;

	if (vma->vm_flags & VM_EXEC)
		return -EACCES;

	if (check_add_overflow(vma->vm_pgoff, vma_pages(vma), &end))
		return -EOVERFLOW;

	if (end > dev->config.max_size >> PAGE_SHIFT)
		return -ENXIO;

	vm_flags_clear(vma, VM_MAYEXEC);
	vma->vm_ops = &mmapdev_demand_ops;
	if (READ_ONCE(mfile->mode) == MMAPDEV_IOC_DEMAND)
		return 0;

	ret = mmap_eager(dev, vma);
	*eager = ret <= 0;

	return min(ret, 0);
}

/**
 * mmapdev_mmap - map a range of the window
 * @file: an open file of the device
 * @vma: the new VMA
 *
 * Return: 0 or a negative errno: -EACCES for PROT_EXEC, -EOVERFLOW, -ENXIO for
 * a range that ends beyond max_size, -ENODEV, and for an eager mapping -ENOMEM,
 * -ENFILE, -EINTR.
 */
int mmapdev_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct mmapdev_file *mfile = file->private_data;
	loff_t offset = (loff_t)vma->vm_pgoff << PAGE_SHIFT;
	bool eager = false;
	int ret;

	ret = mmap_window(mfile, vma, &eager);
	if (!ret)
		mmapdev_count(mfile->dev, MMAPDEV_MAPS);
	trace_mmapdev_map(mfile->dev, offset, vma->vm_end - vma->vm_start,
			  vma->vm_flags & VM_MAYSHARE, eager, ret);

	return ret;
}
