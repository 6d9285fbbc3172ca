// SPDX-License-Identifier: GPL-2.0
/*
 * mmap: two ways to put the buffer's pages into a process.
 *
 * Demand: each touch of a page that is not mapped yet comes to ->fault, which
 * returns the folio of that index, locked. The VMA has no special flag, so
 * that copy on write, fault-around, direct I/O, futexes and fork are the
 * kernel's own.
 *
 * Eager: remap_pfn_range() maps every page of the range at mmap time; no touch
 * ever faults. Such page table entries are frame numbers: the VM keeps neither
 * reference nor reverse map for them. Hence each eager mapping
 *
 * - holds a reference to every folio it shows, until its last VMA is gone;
 * - has a file of its own, on a mapping of its own. Its VMAs must not stand in
 *   the buffer's i_mmap: a reverse-map walk for a folio that a demand mapping
 *   shows too would find the frame number in the eager VMA, and migration would
 *   drop a map count and a reference that were never taken;
 * - if it can be written, registers its span of pages, all of which commit.c
 *   then takes for dirty.
 *
 * All three live in the private data of that file, and the VM counts its users
 * for us through split, fork and exit.
 *
 * remap_pfn_range() maps a copy-on-write VMA in one call only, and leaves the
 * frame number in vm_pgoff, where the process can read it. So MAP_PRIVATE is
 * mapped eagerly where the frames are contiguous and the caller may know them
 * (CAP_SYS_ADMIN, the rule of /proc/PID/pagemap), and on demand elsewhere.
 */
#include <linux/anon_inodes.h>
#include <linux/capability.h>
#include <linux/file.h>
#include <linux/interval_tree_generic.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/sched/signal.h>
#include <linux/user_namespace.h>

#include "compat.h"
#include "mmapdev.h"
#include "uapi/mmapdev.h"

static vm_fault_t mmapdev_fault(struct vm_fault *vmf)
{
	struct mmapdev_file *mfile = vmf->vma->vm_file->private_data;
	struct folio *folio;

	/* Want of memory, too, is SIGBUS: VM_FAULT_OOM would try for ever. */
	folio = mmapdev_folio_lock(mfile->dev, vmf->pgoff);
	if (IS_ERR(folio))
		return VM_FAULT_SIGBUS;

	vmf->page = folio_file_page(folio, vmf->pgoff);

	return VM_FAULT_LOCKED;
}

/* filemap_page_mkwrite() without the time stamp: the node is not the buffer. */
static vm_fault_t mmapdev_page_mkwrite(struct vm_fault *vmf)
{
	struct folio *folio = page_folio(vmf->page);

	folio_lock(folio);
	if (folio->mapping != vmf->vma->vm_file->f_mapping) {
		folio_unlock(folio);
		return VM_FAULT_NOPAGE; /* truncated meanwhile: look again */
	}
	folio_mark_dirty(folio);

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
 * @start: its first page in the buffer
 * @nr: number of @folios
 * @writable: it is in @dev->spans
 * @node: there, under @dev->spans_lock
 * @subtree_last: the last page of all spans below @node
 * @folios: the folio of each page, with a reference each
 */
struct mmapdev_eager {
	struct mmapdev *dev;
	pgoff_t start;
	unsigned long nr;
	bool writable;
	struct rb_node node;
	pgoff_t subtree_last;
	struct folio *folios[];
};

static pgoff_t eager_start(const struct mmapdev_eager *eager)
{
	return eager->start;
}

static pgoff_t eager_last(const struct mmapdev_eager *eager)
{
	return eager->start + eager->nr - 1;
}

/* The kernel's interval_tree_insert() is not built into every kernel. */
INTERVAL_TREE_DEFINE(struct mmapdev_eager, node, pgoff_t, subtree_last,
		     eager_start, eager_last, static __maybe_unused, span)

static void eager_free(struct mmapdev_eager *eager)
{
	while (eager->nr) {
		folio_put(eager->folios[--eager->nr]);
		cond_resched();
	}
	kvfree(eager);
}

static int eager_release(struct inode *inode, struct file *file)
{
	struct mmapdev_eager *eager = file->private_data;
	struct mmapdev *dev = eager->dev;

	if (eager->writable) {
		spin_lock(&dev->spans_lock);
		span_remove(eager, &dev->spans);
		spin_unlock(&dev->spans_lock);
	}
	eager_free(eager);

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

/* Nothing ever faults; without a table the VMA would be anonymous. */
static const struct vm_operations_struct mmapdev_eager_ops = {};

/**
 * mmapdev_eager_writable - can an eager mapping write a folio unseen?
 * @dev: the device
 * @folio: a folio of its buffer, locked
 *
 * Return: true while a writable eager mapping covers any part of it.
 */
bool mmapdev_eager_writable(struct mmapdev *dev, struct folio *folio)
{
	unsigned long last = folio->index + folio_nr_pages(folio) - 1;
	bool covered;

	spin_lock(&dev->spans_lock);
	covered = span_iter_first(&dev->spans, folio->index, last);
	spin_unlock(&dev->spans_lock);

	return covered;
}

/* Number of pages from @from on that lie in consecutive frames. */
static unsigned long eager_run(const struct mmapdev_eager *eager,
			       unsigned long from)
{
	unsigned long pfn = folio_pfn(eager->folios[from]);
	unsigned long n = 1;

	while (from + n < eager->nr &&
	       folio_pfn(eager->folios[from + n]) == pfn + n)
		n++;

	return n;
}

/*
 * Gathers the folios of a range. Returns NULL where @one_run is asked for and
 * they do not lie in consecutive frames.
 */
static struct mmapdev_eager *eager_alloc(struct mmapdev *dev, pgoff_t start,
					 unsigned long nr, bool one_run)
{
	struct mmapdev_eager *eager;
	struct folio *folio;

	eager = kvzalloc(struct_size(eager, folios, nr),
			 GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!eager)
		return ERR_PTR(-ENOMEM);

	eager->dev = dev;
	eager->start = start;

	while (eager->nr < nr) {
		folio = mmapdev_folio_lock(dev, start + eager->nr);
		if (IS_ERR(folio)) {
			eager_free(eager);
			return ERR_CAST(folio);
		}
		folio_unlock(folio);
		eager->folios[eager->nr++] = folio;

		if (one_run && folio_pfn(folio) !=
			       folio_pfn(eager->folios[0]) + eager->nr - 1) {
			eager_free(eager);
			return NULL;
		}
		if (fatal_signal_pending(current)) {
			eager_free(eager);
			return ERR_PTR(-EINTR);
		}
		cond_resched();
	}

	return eager;
}

/* From here on the mapping may write any of its pages at any time. */
static int eager_set_writable(struct mmapdev_eager *eager)
{
	struct mmapdev *dev = eager->dev;
	unsigned long i;

	spin_lock(&dev->spans_lock);
	span_insert(eager, &dev->spans);
	spin_unlock(&dev->spans_lock);
	eager->writable = true;

	for (i = 0; i < eager->nr; i++) {
		folio_lock(eager->folios[i]);
		folio_mark_dirty(eager->folios[i]);
		folio_unlock(eager->folios[i]);
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}

	return 0;
}

static int eager_remap(const struct mmapdev_eager *eager,
		       struct vm_area_struct *vma)
{
	unsigned long i, n;
	int ret;

	for (i = 0; i < eager->nr; i += n) {
		n = eager_run(eager, i);
		ret = remap_pfn_range(vma, vma->vm_start + i * PAGE_SIZE,
				      folio_pfn(eager->folios[i]),
				      n * PAGE_SIZE, vma->vm_page_prot);
		if (ret)
			return ret;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}

	return 0;
}

static int mmapdev_mmap_eager(struct mmapdev *dev, struct vm_area_struct *vma)
{
	unsigned long kind = vma->vm_flags & (VM_SHARED | VM_MAYWRITE);
	bool cow = kind == VM_MAYWRITE;
	struct mmapdev_eager *eager;
	struct file *file;
	int ret;

	if (cow && !ns_capable_noaudit(&init_user_ns, CAP_SYS_ADMIN))
		return 0; /* stays on demand */

	eager = eager_alloc(dev, vma->vm_pgoff, vma_pages(vma), cow);
	if (IS_ERR_OR_NULL(eager))
		return PTR_ERR_OR_ZERO(eager); /* none: stays on demand */

	/* On a file system of our own its last put could come after us. */
	file = anon_inode_getfile("mmapdev-eager", &mmapdev_eager_fops, eager,
				  O_RDWR);
	if (IS_ERR(file)) {
		eager_free(eager);
		return PTR_ERR(file);
	}
	file->f_mapping = dev->eager->i_mapping;
	/*
	 * On an error below the caller puts the file and undoes the page
	 * tables; release comes after both, when this task leaves the kernel.
	 */
	vma_set_file(vma, file);
	fput(file);
	vma->vm_ops = &mmapdev_eager_ops;

	if (kind == (VM_SHARED | VM_MAYWRITE)) {
		ret = eager_set_writable(eager);
		if (ret)
			return ret;
	}

	return eager_remap(eager, vma);
}

/**
 * mmapdev_mmap - map a range of the buffer
 * @file: an open file of the device
 * @vma: the new VMA
 *
 * Return: 0 or a negative errno: -EACCES for PROT_EXEC, -EOVERFLOW, -ENXIO for
 * a range that ends beyond the buffer, and for an eager mapping -ENOMEM,
 * -ENFILE, -EINTR.
 */
int mmapdev_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct mmapdev_file *mfile = file->private_data;
	struct mmapdev *dev = mfile->dev;
	pgoff_t end;

	if (vma->vm_flags & VM_EXEC)
		return -EACCES;

	if (check_add_overflow(vma->vm_pgoff, vma_pages(vma), &end))
		return -EOVERFLOW;

	if (end > mmapdev_size(dev) >> PAGE_SHIFT)
		return -ENXIO;

	vm_flags_clear(vma, VM_MAYEXEC);
	vma->vm_ops = &mmapdev_demand_ops;

	if (READ_ONCE(mfile->mode) == MMAPDEV_IOC_EAGER)
		return mmapdev_mmap_eager(dev, vma);

	return 0;
}
