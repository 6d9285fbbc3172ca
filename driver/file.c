// SPDX-License-Identifier: GPL-2.0
/*
 * The node: open, read, write, seek, poll, sync and ioctl.
 *
 * read and write copy between the caller and the buffer's folios, a page at a
 * time. No lock that a page fault takes is held while the caller's memory is
 * touched with faults enabled, because that memory may be a mapping of this
 * very device.
 */
#include <linux/eventfd.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/splice.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "compat.h"
#include "mmapdev.h"
#include "uapi/mmapdev.h"

static int mmapdev_open(struct inode *inode, struct file *file)
{
	struct mmapdev *dev = container_of(file->private_data, struct mmapdev,
					   misc);
	struct mmapdev_file *mfile;

	mfile = kzalloc(sizeof(*mfile), GFP_KERNEL_ACCOUNT);
	if (!mfile)
		return -ENOMEM;

	mmapdev_get(dev);
	mfile->dev = dev;
	mfile->mode = dev->config.mode;
	atomic64_set(&mfile->seen, atomic64_read(&dev->commit_seq));
	INIT_LIST_HEAD(&mfile->listener);
	mmapdev_wills_init(mfile);
	file->private_data = mfile;
	/* Every node that leads here shares the one address space. */
	file->f_mapping = dev->buffer->i_mapping;

	return 0;
}

/* Returns the eventfd that was set before. */
static struct eventfd_ctx *listen(struct mmapdev_file *mfile,
				  struct eventfd_ctx *eventfd)
{
	struct mmapdev *dev = mfile->dev;
	struct eventfd_ctx *old;

	spin_lock(&dev->listeners_lock);
	old = mfile->eventfd;
	mfile->eventfd = eventfd;
	list_del_init(&mfile->listener);
	if (eventfd)
		list_add(&mfile->listener, &dev->listeners);
	spin_unlock(&dev->listeners_lock);

	return old;
}

static int mmapdev_release(struct inode *inode, struct file *file)
{
	struct mmapdev_file *mfile = file->private_data;
	struct eventfd_ctx *eventfd = listen(mfile, NULL);

	if (eventfd)
		eventfd_ctx_put(eventfd);
	mmapdev_wills_do(mfile);
	mmapdev_put(mfile->dev);
	kfree(mfile);

	return 0;
}

static struct mmapdev *file_dev(struct file *file)
{
	struct mmapdev_file *mfile = file->private_data;

	return mfile->dev;
}

static loff_t mmapdev_llseek(struct file *file, loff_t offset, int whence)
{
	struct mmapdev *dev = file_dev(file);
	loff_t size = mmapdev_size(dev);

	if (mmapdev_gone(dev))
		return -ENODEV;

	if (whence == SEEK_DATA || whence == SEEK_HOLE) {
		offset = mmapdev_buffer_seek(dev, offset, whence);
		if (offset < 0)
			return offset;
		/* It lay within the size, which may be another by now. */
		return vfs_setpos(file, offset, dev->config.max_size);
	}

	return fixed_size_llseek(file, offset, whence, size);
}

static __poll_t mmapdev_poll(struct file *file, struct poll_table_struct *wait)
{
	struct mmapdev_file *mfile = file->private_data;
	struct mmapdev *dev = mfile->dev;
	__poll_t events = EPOLLOUT | EPOLLWRNORM;

	poll_wait(file, &dev->commit_wait, wait);
	if (atomic64_read(&dev->commit_seq) != atomic64_read(&mfile->seen))
		events |= EPOLLIN | EPOLLRDNORM;
	if (mmapdev_gone(dev))
		events |= EPOLLHUP | EPOLLERR;

	return events;
}

static ssize_t mmapdev_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	struct mmapdev *dev = file_dev(iocb->ki_filp);
	ssize_t done = 0;

	if (mmapdev_gone(dev))
		return -ENODEV;

	while (iov_iter_count(to)) {
		loff_t left = mmapdev_size(dev) - iocb->ki_pos;
		size_t offset = offset_in_page(iocb->ki_pos);
		struct folio *folio;
		size_t len, copied;

		if (left <= 0)
			return done ?: (mmapdev_gone(dev) ? -ENODEV : 0);

		len = min_t(u64, left, PAGE_SIZE - offset);
		len = min(len, iov_iter_count(to));
		folio = mmapdev_folio_find(dev, iocb->ki_pos >> PAGE_SHIFT);
		if (folio) {
			flush_dcache_folio(folio);
			copied = copy_folio_to_iter(folio,
						    offset_in_folio(folio, iocb->ki_pos),
						    len, to);
			folio_put(folio);
		} else {
			copied = iov_iter_zero(len, to);
		}

		iocb->ki_pos += copied;
		done += copied;
		if (copied < len)
			return done ?: -EFAULT;
		if (fatal_signal_pending(current))
			return done ?: -EINTR;
		cond_resched();
	}

	return done;
}

/*
 * Copies into one locked folio. The caller's memory was faulted in before, but
 * may be gone again: then less is copied, perhaps nothing.
 */
static size_t write_folio(struct folio *folio, loff_t pos, size_t len,
			  struct iov_iter *from)
{
	size_t copied;
	void *to;

	to = kmap_local_folio(folio, offset_in_folio(folio, pos));
	pagefault_disable();
	copied = copy_from_iter(to, len, from);
	pagefault_enable();
	kunmap_local(to);

	if (copied) {
		flush_dcache_folio(folio);
		folio_mark_dirty(folio);
	}

	return copied;
}

static ssize_t mmapdev_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	struct mmapdev *dev = file_dev(iocb->ki_filp);
	ssize_t done = 0, err = 0;

	if (mmapdev_gone(dev))
		return -ENODEV;

	if (iocb->ki_flags & IOCB_APPEND)
		iocb->ki_pos = mmapdev_size(dev);

	while (iov_iter_count(from)) {
		loff_t left = mmapdev_size(dev) - iocb->ki_pos;
		struct folio *folio;
		size_t len, copied;

		if (left <= 0) {
			err = -ENOSPC;
			break;
		}

		len = min_t(u64, left,
			    PAGE_SIZE - offset_in_page(iocb->ki_pos));
		len = min(len, iov_iter_count(from));
		if (fault_in_iov_iter_readable(from, len) == len) {
			err = -EFAULT;
			break;
		}

		folio = mmapdev_folio_lock(dev, iocb->ki_pos >> PAGE_SHIFT,
					   mmapdev_huge_always(dev));
		if (IS_ERR(folio)) {
			err = PTR_ERR(folio);
			if (err == -ENXIO)
				err = -ENOSPC; /* shrunk meanwhile */
			break;
		}
		copied = write_folio(folio, iocb->ki_pos, len, from);
		folio_unlock(folio);
		folio_put(folio);

		iocb->ki_pos += copied;
		done += copied;
		if (fatal_signal_pending(current)) {
			err = -EINTR;
			break;
		}
		cond_resched();
	}

	if (err && mmapdev_gone(dev))
		err = -ENODEV;

	return done ? generic_write_sync(iocb, done) : err;
}

static int mmapdev_fsync(struct file *file, loff_t start, loff_t end,
			 int datasync)
{
	return mmapdev_commit(file_dev(file), start, end);
}

/* What every ioctl argument begins with; here @argsz is the caller's. */
struct ioc_head {
	u32 argsz;
	u32 flags;
};

/*
 * The rule of struct growth, see uapi/mmapdev.h. @first is version one's size,
 * @flags those that there are.
 */
static int ioc_get(void *karg, size_t ksize, size_t first, u32 flags,
		   const void __user *uarg)
{
	struct ioc_head *head = karg;
	u32 argsz;
	int ret;

	/* The answer goes there too: better to know now than when it is done. */
	if (get_user(argsz, (u32 __user *)uarg) ||
	    put_user(argsz, (u32 __user *)uarg))
		return -EFAULT;
	if (argsz < first)
		return -EINVAL;
	if (argsz > PAGE_SIZE)
		return -E2BIG;

	ret = copy_struct_from_user(karg, ksize, uarg, argsz);
	if (ret)
		return ret;
	if (head->flags & ~flags)
		return -EINVAL;
	head->argsz = argsz;

	return 0;
}

static int ioc_put(void *karg, size_t ksize, void __user *uarg)
{
	struct ioc_head *head = karg;
	size_t len = min_t(size_t, head->argsz, ksize);

	head->argsz = ksize;

	return copy_to_user(uarg, karg, len) ? -EFAULT : 0;
}

static int ioc_range(struct mmapdev *dev, u64 offset, u64 length)
{
	u64 end;

	if (check_add_overflow(offset, length, &end))
		return -EOVERFLOW;
	if (end > mmapdev_size(dev))
		return -ENXIO;

	return 0;
}

static int ioc_info(struct mmapdev_file *mfile, void __user *uarg)
{
	struct mmapdev *dev = mfile->dev;
	struct mmapdev_ioc_info info;
	int ret;

	ret = ioc_get(&info, sizeof(info),
		      offsetofend(struct mmapdev_ioc_info, page_size), 0, uarg);
	if (ret)
		return ret;

	/* The counts first: what they count is in the figures below. */
	info.maps = mmapdev_counted(dev, MMAPDEV_MAPS);
	info.faults = mmapdev_counted(dev, MMAPDEV_FAULTS);
	info.mkwrites = mmapdev_counted(dev, MMAPDEV_MKWRITES);
	info.resizes = mmapdev_counted(dev, MMAPDEV_RESIZES);
	info.punches = mmapdev_counted(dev, MMAPDEV_PUNCHES);
	info.commit_seq = atomic64_read(&dev->commit_seq);
	info.committed = atomic64_read(&dev->committed);
	info.size = mmapdev_size(dev);
	info.max_size = dev->config.max_size;
	info.resident = (u64)dev->buffer->i_mapping->nrpages << PAGE_SHIFT;
	info.dirty = mmapdev_dirty_bytes(dev);
	info.mode = READ_ONCE(mfile->mode);
	info.page_size = PAGE_SIZE;
	info.folio_max = mmapdev_folio_max(dev);
	info.huge = dev->config.huge;

	ret = ioc_put(&info, sizeof(info), uarg);
	if (!ret)
		atomic64_set(&mfile->seen, info.commit_seq);

	return ret;
}

static int ioc_set_mode(struct mmapdev_file *mfile, void __user *uarg)
{
	struct mmapdev_ioc_set_mode arg;
	int ret;

	ret = ioc_get(&arg, sizeof(arg),
		      offsetofend(struct mmapdev_ioc_set_mode, mode), 0, uarg);
	if (ret)
		return ret;
	if (arg.mode > MMAPDEV_IOC_EAGER)
		return -EINVAL;

	WRITE_ONCE(mfile->mode, arg.mode);

	return ioc_put(&arg, sizeof(arg), uarg);
}

static int ioc_kfill(struct file *file, void __user *uarg)
{
	struct mmapdev *dev = file_dev(file);
	struct mmapdev_ioc_kfill arg;
	int ret;

	ret = ioc_get(&arg, sizeof(arg),
		      offsetofend(struct mmapdev_ioc_kfill, pattern), 0, uarg);
	if (ret)
		return ret;
	if (!(file->f_mode & FMODE_WRITE))
		return -EBADF;

	ret = ioc_range(dev, arg.offset, arg.length);
	if (ret)
		return ret;

	ret = mmapdev_buffer_fill(dev, arg.offset, arg.length, arg.pattern);
	if (ret)
		return ret;

	return ioc_put(&arg, sizeof(arg), uarg);
}

static int ioc_ksum(struct file *file, void __user *uarg)
{
	struct mmapdev *dev = file_dev(file);
	struct mmapdev_ioc_ksum arg;
	int ret;

	ret = ioc_get(&arg, sizeof(arg),
		      offsetofend(struct mmapdev_ioc_ksum, reserved), 0, uarg);
	if (ret)
		return ret;
	if (!(file->f_mode & FMODE_READ))
		return -EBADF;

	ret = ioc_range(dev, arg.offset, arg.length);
	if (ret)
		return ret;

	ret = mmapdev_buffer_sum(dev, arg.offset, arg.length, &arg.crc32c);
	if (ret)
		return ret;
	arg.reserved = 0;

	return ioc_put(&arg, sizeof(arg), uarg);
}

static int ioc_resize(struct file *file, void __user *uarg)
{
	struct mmapdev *dev = file_dev(file);
	struct mmapdev_ioc_resize arg;
	int ret;

	ret = ioc_get(&arg, sizeof(arg),
		      offsetofend(struct mmapdev_ioc_resize, size),
		      MMAPDEV_IOC_RESIZE_GROW, uarg);
	if (ret)
		return ret;
	if (!(file->f_mode & FMODE_WRITE))
		return -EBADF;
	if (!PAGE_ALIGNED(arg.size))
		return -EINVAL;
	if (arg.size > dev->config.max_size)
		return -ENXIO;

	ret = mmapdev_buffer_resize(dev, arg.size,
				    arg.flags & MMAPDEV_IOC_RESIZE_GROW);
	if (ret)
		return ret;

	return ioc_put(&arg, sizeof(arg), uarg);
}

/* A range of whole pages. */
static int ioc_page_range(struct mmapdev *dev, u64 offset, u64 length)
{
	if (!PAGE_ALIGNED(offset | length))
		return -EINVAL;

	return ioc_range(dev, offset, length);
}

static int ioc_punch(struct file *file, void __user *uarg)
{
	struct mmapdev *dev = file_dev(file);
	struct mmapdev_ioc_punch arg;
	int ret;

	ret = ioc_get(&arg, sizeof(arg),
		      offsetofend(struct mmapdev_ioc_punch, length), 0, uarg);
	if (ret)
		return ret;
	if (!(file->f_mode & FMODE_WRITE))
		return -EBADF;

	ret = ioc_page_range(dev, arg.offset, arg.length);
	if (ret)
		return ret;

	ret = mmapdev_buffer_punch(dev, arg.offset, arg.length);
	if (ret)
		return ret;

	return ioc_put(&arg, sizeof(arg), uarg);
}

static int ioc_dirty(struct file *file, void __user *uarg)
{
	struct mmapdev *dev = file_dev(file);
	struct mmapdev_ioc_dirty arg;
	bool clear;
	int ret;

	ret = ioc_get(&arg, sizeof(arg),
		      offsetofend(struct mmapdev_ioc_dirty, pages),
		      MMAPDEV_IOC_DIRTY_CLEAR, uarg);
	if (ret)
		return ret;
	clear = arg.flags & MMAPDEV_IOC_DIRTY_CLEAR;
	if (!(file->f_mode & FMODE_READ) ||
	    (clear && !(file->f_mode & FMODE_WRITE)))
		return -EBADF;

	ret = ioc_page_range(dev, arg.offset, arg.length);
	if (ret)
		return ret;

	ret = mmapdev_dirty_pages(dev, arg.offset, arg.length, clear,
				  u64_to_user_ptr(arg.bitmap), &arg.pages);
	if (ret)
		return ret;

	return ioc_put(&arg, sizeof(arg), uarg);
}

static int ioc_eventfd(struct mmapdev_file *mfile, void __user *uarg)
{
	struct mmapdev_ioc_eventfd arg;
	struct eventfd_ctx *eventfd = NULL;
	int ret;

	ret = ioc_get(&arg, sizeof(arg),
		      offsetofend(struct mmapdev_ioc_eventfd, fd), 0, uarg);
	if (ret)
		return ret;

	if (arg.fd != -1)
		eventfd = eventfd_ctx_fdget(arg.fd);
	if (IS_ERR(eventfd))
		return PTR_ERR(eventfd);

	eventfd = listen(mfile, eventfd);
	if (eventfd)
		eventfd_ctx_put(eventfd);

	return ioc_put(&arg, sizeof(arg), uarg);
}

/* A will beyond the size can be cancelled: the size may have been another. */
static int will_change(struct mmapdev_file *mfile,
		       const struct mmapdev_ioc_will *arg)
{
	int ret;

	if (!IS_ALIGNED(arg->offset, sizeof(u32)))
		return -EINVAL;

	if (arg->flags & MMAPDEV_IOC_WILL_CANCEL)
		return arg->expect || arg->value ? -EINVAL :
		       mmapdev_will_cancel(mfile, arg->offset);

	ret = ioc_range(mfile->dev, arg->offset, sizeof(u32));
	if (ret)
		return ret;

	return mmapdev_will(mfile, arg->offset, arg->expect, arg->value);
}

static int ioc_will(struct file *file, void __user *uarg)
{
	struct mmapdev_ioc_will arg;
	int ret;

	ret = ioc_get(&arg, sizeof(arg),
		      offsetofend(struct mmapdev_ioc_will, value),
		      MMAPDEV_IOC_WILL_CANCEL, uarg);
	if (ret)
		return ret;
	if (!(file->f_mode & FMODE_WRITE))
		return -EBADF;

	ret = will_change(file->private_data, &arg);
	if (ret)
		return ret;

	return ioc_put(&arg, sizeof(arg), uarg);
}

static int ioc_do(struct file *file, unsigned int cmd, void __user *uarg)
{
	switch (cmd) {
	case MMAPDEV_IOC_INFO:
		return ioc_info(file->private_data, uarg);
	case MMAPDEV_IOC_SET_MODE:
		return ioc_set_mode(file->private_data, uarg);
	case MMAPDEV_IOC_KFILL:
		return ioc_kfill(file, uarg);
	case MMAPDEV_IOC_KSUM:
		return ioc_ksum(file, uarg);
	case MMAPDEV_IOC_RESIZE:
		return ioc_resize(file, uarg);
	case MMAPDEV_IOC_PUNCH:
		return ioc_punch(file, uarg);
	case MMAPDEV_IOC_DIRTY:
		return ioc_dirty(file, uarg);
	case MMAPDEV_IOC_EVENTFD:
		return ioc_eventfd(file->private_data, uarg);
	case MMAPDEV_IOC_WILL:
		return ioc_will(file, uarg);
	default:
		return -ENOTTY;
	}
}

static long mmapdev_ioctl(struct file *file, unsigned int cmd,
			  unsigned long arg)
{
	struct mmapdev *dev = file_dev(file);
	int ret;

	if (mmapdev_gone(dev))
		return -ENODEV;

	ret = ioc_do(file, cmd, (void __user *)arg);

	/* Whatever it met, that was why. */
	return ret && mmapdev_gone(dev) ? -ENODEV : ret;
}

const struct file_operations mmapdev_fops = {
	.owner		= THIS_MODULE,
	.open		= mmapdev_open,
	.release	= mmapdev_release,
	.llseek		= mmapdev_llseek,
	.read_iter	= mmapdev_read_iter,
	.write_iter	= mmapdev_write_iter,
	.splice_read	= copy_splice_read,
	.splice_write	= iter_file_splice_write,
	.poll		= mmapdev_poll,
	.mmap		= mmapdev_mmap,
	.get_unmapped_area = thp_get_unmapped_area,
	.fsync		= mmapdev_fsync,
	.unlocked_ioctl	= mmapdev_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
};
