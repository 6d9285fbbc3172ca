// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/class/misc/mmapdev: what MMAPDEV_IOC_INFO tells, a file for each figure.
 * Documentation/ABI/testing/sysfs-class-misc-mmapdev says what each means.
 */
#include <linux/device.h>
#include <linux/sysfs.h>

#include "mmapdev.h"

/* The files of a device go before the device does. */
static struct mmapdev *to_mmapdev(struct device *device)
{
	struct miscdevice *misc = dev_get_drvdata(device);

	return container_of(misc, struct mmapdev, misc);
}

/* mmapdev_attr(NAME, VALUE): NAME shows VALUE, an expression of dev */
#define mmapdev_attr(name, format, value)				\
static ssize_t name##_show(struct device *device,			\
			   struct device_attribute *attr, char *buf)	\
{									\
	struct mmapdev *dev = to_mmapdev(device);			\
									\
	return sysfs_emit(buf, format "\n", value);			\
}									\
static DEVICE_ATTR_RO(name)

mmapdev_attr(size, "%lld", mmapdev_size(dev));
mmapdev_attr(max_size, "%llu", dev->config.max_size);
mmapdev_attr(mode, "%s", mmapdev_mode_names[dev->config.mode]);
mmapdev_attr(huge, "%s", mmapdev_huge_names[dev->config.huge]);
mmapdev_attr(prealloc, "%d", dev->config.prealloc);
mmapdev_attr(resident, "%llu",
	     (u64)dev->buffer->i_mapping->nrpages << PAGE_SHIFT);
mmapdev_attr(dirty, "%llu", mmapdev_dirty_bytes(dev));
mmapdev_attr(committed, "%lld", (s64)atomic64_read(&dev->committed));
mmapdev_attr(commit_seq, "%lld", (s64)atomic64_read(&dev->commit_seq));
mmapdev_attr(maps, "%llu", mmapdev_counted(dev, MMAPDEV_MAPS));
mmapdev_attr(faults, "%llu", mmapdev_counted(dev, MMAPDEV_FAULTS));
mmapdev_attr(mkwrites, "%llu", mmapdev_counted(dev, MMAPDEV_MKWRITES));
mmapdev_attr(resizes, "%llu", mmapdev_counted(dev, MMAPDEV_RESIZES));
mmapdev_attr(punches, "%llu", mmapdev_counted(dev, MMAPDEV_PUNCHES));

static struct attribute *mmapdev_attrs[] = {
	&dev_attr_size.attr,
	&dev_attr_max_size.attr,
	&dev_attr_mode.attr,
	&dev_attr_huge.attr,
	&dev_attr_prealloc.attr,
	&dev_attr_resident.attr,
	&dev_attr_dirty.attr,
	&dev_attr_committed.attr,
	&dev_attr_commit_seq.attr,
	&dev_attr_maps.attr,
	&dev_attr_faults.attr,
	&dev_attr_mkwrites.attr,
	&dev_attr_resizes.attr,
	&dev_attr_punches.attr,
	NULL
};

static const struct attribute_group mmapdev_group = {
	.attrs = mmapdev_attrs,
};

const struct attribute_group *mmapdev_groups[] = {
	&mmapdev_group,
	NULL
};
