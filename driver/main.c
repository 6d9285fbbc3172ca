// SPDX-License-Identifier: GPL-2.0
/*
 * mmapdev: a kernel buffer that programs map.
 *
 * Parameters, the device, init and exit. A bad parameter fails the load, with
 * a message that names it, before anything has been made.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/ctype.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "mmapdev.h"
#include "uapi/mmapdev.h"

static const char * const mode_names[] = {
	[MMAPDEV_IOC_DEMAND]	= "demand",
	[MMAPDEV_IOC_EAGER]	= "eager",
};

static u64 param_size = 16 << 20;
static u32 param_mode = MMAPDEV_IOC_DEMAND;
static u16 param_node_mode = 0600;

/* A decimal, octal or hex number, and perhaps K, M or G. */
static int parse_size(const char *val, u64 *size)
{
	char buf[24], *digits;
	int shift = 0, ret;
	size_t len;

	if (strscpy(buf, val, sizeof(buf)) < 0)
		return -EINVAL;

	digits = strim(buf);
	len = strlen(digits);
	switch (len ? toupper(digits[len - 1]) : '\0') {
	case 'G':
		shift += 10;
		fallthrough;
	case 'M':
		shift += 10;
		fallthrough;
	case 'K':
		shift += 10;
		digits[len - 1] = '\0';
	}

	ret = kstrtou64(digits, 0, size);
	if (ret)
		return ret;

	return check_shl_overflow(*size, shift, size) ? -ERANGE : 0;
}

static int set_size(const char *val, const struct kernel_param *kp)
{
	u64 size;

	if (parse_size(val, &size) || !size || size % PAGE_SIZE ||
	    size > MAX_LFS_FILESIZE) {
		pr_err("size=%s: want a multiple of %lu up to %lld bytes, with K, M or G if you like\n",
		       val, PAGE_SIZE, MAX_LFS_FILESIZE);
		return -EINVAL;
	}
	if (size >> PAGE_SHIFT > totalram_pages())
		pr_notice("size=%s: more than this machine's memory\n", val);
	*(u64 *)kp->arg = size;

	return 0;
}

static int get_size(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%llu\n", *(u64 *)kp->arg);
}

static const struct kernel_param_ops size_ops = {
	.set = set_size,
	.get = get_size,
};

module_param_cb(size, &size_ops, &param_size, 0444);
MODULE_PARM_DESC(size, "bytes of the buffer, K, M and G understood (16M)");
__MODULE_PARM_TYPE(size, "size");

static int set_mode(const char *val, const struct kernel_param *kp)
{
	int mode = sysfs_match_string(mode_names, val);

	if (mode < 0) {
		pr_err("mode=%s: want demand or eager\n", val);
		return -EINVAL;
	}
	*(u32 *)kp->arg = mode;

	return 0;
}

static int get_mode(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%s\n", mode_names[*(u32 *)kp->arg]);
}

static const struct kernel_param_ops mode_ops = {
	.set = set_mode,
	.get = get_mode,
};

module_param_cb(mode, &mode_ops, &param_mode, 0444);
MODULE_PARM_DESC(mode, "how mmap maps: demand (at first touch) or eager (at mmap time) (demand)");
__MODULE_PARM_TYPE(mode, "mode");

static int set_node_mode(const char *val, const struct kernel_param *kp)
{
	u16 bits;

	if (kstrtou16(val, 8, &bits) || bits > 0777) {
		pr_err("node_mode=%s: want octal permission bits, 0 to 0777\n",
		       val);
		return -EINVAL;
	}
	*(u16 *)kp->arg = bits;

	return 0;
}

static int get_node_mode(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%#o\n", *(u16 *)kp->arg);
}

static const struct kernel_param_ops node_mode_ops = {
	.set = set_node_mode,
	.get = get_node_mode,
};

module_param_cb(node_mode, &node_mode_ops, &param_node_mode, 0444);
MODULE_PARM_DESC(node_mode, "permission bits of the node, octal (0600)");
__MODULE_PARM_TYPE(node_mode, "octal");

static struct mmapdev *mmapdev_create(loff_t size, u32 mode, umode_t node_mode)
{
	struct mmapdev *dev;
	int ret;

	dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	if (!dev)
		return ERR_PTR(-ENOMEM);

	dev->mode = mode;
	mutex_init(&dev->commit_lock);
	spin_lock_init(&dev->spans_lock);
	dev->spans = RB_ROOT_CACHED;

	ret = mmapdev_buffer_init(dev, size);
	if (ret)
		goto free_dev;

	dev->misc.minor = MISC_DYNAMIC_MINOR;
	dev->misc.name = KBUILD_MODNAME;
	dev->misc.fops = &mmapdev_fops;
	/* 0 means 0600 to misc_register(): S_IFCHR alone says no permission. */
	dev->misc.mode = node_mode | S_IFCHR;
	ret = misc_register(&dev->misc);
	if (ret)
		goto destroy_buffer;

	return dev;

destroy_buffer:
	mmapdev_buffer_destroy(dev);
free_dev:
	kfree(dev);

	return ERR_PTR(ret);
}

static void mmapdev_destroy(struct mmapdev *dev)
{
	misc_deregister(&dev->misc);
	mmapdev_buffer_destroy(dev);
	kfree(dev);
}

static struct mmapdev *mmapdev;

static int __init mmapdev_init(void)
{
	int ret;

	ret = mmapdev_fs_init();
	if (ret)
		return ret;

	mmapdev = mmapdev_create(param_size, param_mode, param_node_mode);
	if (IS_ERR(mmapdev)) {
		mmapdev_fs_exit();
		return PTR_ERR(mmapdev);
	}

	return 0;
}
module_init(mmapdev_init);

static void __exit mmapdev_exit(void)
{
	mmapdev_destroy(mmapdev);
	mmapdev_fs_exit();
}
module_exit(mmapdev_exit);

MODULE_DESCRIPTION("A kernel buffer that programs map");
MODULE_AUTHOR("The mmapdev authors");
MODULE_VERSION("1.0.0");
MODULE_LICENSE("GPL");
