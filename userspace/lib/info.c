// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * What an object is now, and how it will map.
 *
 * A file keeps no account of what is resident, dirty or committed; those
 * figures are MMAPDEV_UNKNOWN rather than a guess.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "private.h"

/* huge has the place of what 1.0 called reserved. */
#define INFO_FIRST offsetofend(struct mmapdev_info, huge)

_Static_assert(MMAPDEV_MODE_DEMAND == MMAPDEV_IOC_DEMAND &&
		       MMAPDEV_MODE_EAGER == MMAPDEV_IOC_EAGER,
	       "library and kernel number the modes alike");
_Static_assert(MMAPDEV_HUGE_NEVER == MMAPDEV_IOC_HUGE_NEVER &&
		       MMAPDEV_HUGE_ADVISE == MMAPDEV_IOC_HUGE_ADVISE &&
		       MMAPDEV_HUGE_ALWAYS == MMAPDEV_IOC_HUGE_ALWAYS,
	       "and when folios are huge");

int mmapdev_device_info(int fd, struct mmapdev_ioc_info *info)
{
	memset(info, 0, sizeof(*info));
	info->argsz = sizeof(*info);
	if (ioctl(fd, MMAPDEV_IOC_INFO, info))
		return -errno;
	return info->page_size ? 0 : -ENODEV;
}

/* What 1.1 added, and nobody but a driver of 1.1 keeps. */
static void info_unknown(struct mmapdev_info *info)
{
	info->huge = MMAPDEV_HUGE_NEVER;
	info->folio_max = MMAPDEV_UNKNOWN;
	info->maps = MMAPDEV_UNKNOWN;
	info->faults = MMAPDEV_UNKNOWN;
	info->mkwrites = MMAPDEV_UNKNOWN;
	info->resizes = MMAPDEV_UNKNOWN;
	info->punches = MMAPDEV_UNKNOWN;
}

static int info_of_device(int fd, struct mmapdev_info *info)
{
	struct mmapdev_ioc_info ioc;
	int ret;

	ret = mmapdev_device_info(fd, &ioc);
	if (ret)
		return ret;

	info->size = ioc.size;
	info->max_size = ioc.max_size;
	info->resident = ioc.resident;
	info->dirty = ioc.dirty;
	info->commit_seq = ioc.commit_seq;
	info->committed = ioc.committed;
	info->mode = ioc.mode;
	info->page_size = ioc.page_size;
	/* The driver says how long its own struct is. */
	if (ioc.argsz < offsetofend(struct mmapdev_ioc_info, punches)) {
		info_unknown(info);
		return 0;
	}

	info->huge = ioc.huge;
	info->folio_max = ioc.folio_max;
	info->maps = ioc.maps;
	info->faults = ioc.faults;
	info->mkwrites = ioc.mkwrites;
	info->resizes = ioc.resizes;
	info->punches = ioc.punches;
	return 0;
}

static int info_of_file(int fd, struct mmapdev_info *info)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;

	info->size = st.st_size;
	info->max_size = MMAPDEV_UNKNOWN;
	info->resident = MMAPDEV_UNKNOWN;
	info->dirty = MMAPDEV_UNKNOWN;
	info->commit_seq = MMAPDEV_UNKNOWN;
	info->committed = MMAPDEV_UNKNOWN;
	info->mode = MMAPDEV_MODE_DEMAND;
	info->page_size = sysconf(_SC_PAGESIZE);
	info_unknown(info);
	return 0;
}

int mmapdev_get_info(struct mmapdev *dev, struct mmapdev_info *info)
{
	struct mmapdev_info ours = { .sz = sizeof(ours) };
	int ret;

	if (!dev || !info)
		return -EINVAL;

	ours.kind = dev->kind;
	if (dev->kind == MMAPDEV_KIND_DEVICE)
		ret = info_of_device(dev->fd, &ours);
	else
		ret = info_of_file(dev->fd, &ours);
	if (ret)
		return ret;

	return mmapdev_struct_out(info, sizeof(ours), INFO_FIRST, &ours);
}

int mmapdev_set_mode(struct mmapdev *dev, uint32_t mode)
{
	struct mmapdev_ioc_set_mode arg = {
		.argsz = sizeof(arg),
		.mode = mode,
	};

	if (!dev)
		return -EINVAL;

	if (dev->kind == MMAPDEV_KIND_DEVICE)
		return ioctl(dev->fd, MMAPDEV_IOC_SET_MODE, &arg) ? -errno : 0;

	switch (mode) {
	case MMAPDEV_MODE_DEMAND:
		return 0;
	case MMAPDEV_MODE_EAGER:
		return -EOPNOTSUPP;
	default:
		return -EINVAL;
	}
}
