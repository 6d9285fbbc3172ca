// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The library's side of the ioctls, with a memfd that passes for a device: what
 * it asks the driver, and what it makes of each answer. That the driver gives
 * these answers is for selftests/ to show.
 */
#include <string.h>

#include <linux/mmapdev.h>

#include "common.h"
#include "wrap.h"

#define SIZE (64 * KIB)

/* The driver, as far as it matters here. */
static struct {
	uint32_t mode;
	int err;	/* of every command but INFO */
	bool silent;	/* INFO answers 0 and fills nothing */
	bool old;	/* INFO is that of driver 1.0 */
	uint64_t size;
	struct mmapdev_ioc_kfill fill;
	struct mmapdev_ioc_ksum sum;
	struct mmapdev_ioc_resize resize;
	struct mmapdev_ioc_punch punch;
	struct mmapdev_ioc_dirty dirty;
	struct mmapdev_ioc_eventfd eventfd;
	unsigned int bad_calls;
} driver;

static void check_flags(const void *arg, uint32_t size, uint32_t flags)
{
	uint32_t head[2];

	memcpy(head, arg, sizeof(head));
	driver.bad_calls += head[0] != size || head[1] & ~flags;
}

static void check_header(const void *arg, uint32_t size)
{
	check_flags(arg, size, 0);
}

static int answer_info(struct mmapdev_ioc_info *info)
{
	check_header(info, sizeof(*info));
	if (driver.silent)
		return 0;
	info->size = driver.size;
	info->max_size = 2 * driver.size;
	info->resident = 3;
	info->dirty = 4;
	info->commit_seq = 5;
	info->committed = 6;
	info->mode = driver.mode;
	info->page_size = page_size();
	if (driver.old) {
		info->argsz = offsetof(struct mmapdev_ioc_info, folio_max);
		return 0;
	}
	info->folio_max = 7;
	info->huge = MMAPDEV_IOC_HUGE_ALWAYS;
	info->maps = 8;
	info->faults = 9;
	info->mkwrites = 10;
	info->resizes = 11;
	info->punches = 12;
	return 0;
}

static int answer(unsigned long command, void *arg)
{
	struct mmapdev_ioc_set_mode *set_mode = arg;

	if (command == MMAPDEV_IOC_INFO)
		return answer_info(arg);
	if (driver.err)
		return driver.err;

	switch (command) {
	case MMAPDEV_IOC_SET_MODE:
		check_header(arg, sizeof(*set_mode));
		driver.mode = set_mode->mode;
		return 0;
	case MMAPDEV_IOC_KFILL:
		check_header(arg, sizeof(driver.fill));
		memcpy(&driver.fill, arg, sizeof(driver.fill));
		return 0;
	case MMAPDEV_IOC_KSUM:
		check_header(arg, sizeof(driver.sum));
		memcpy(&driver.sum, arg, sizeof(driver.sum));
		((struct mmapdev_ioc_ksum *)arg)->crc32c = 0xcafe;
		return 0;
	case MMAPDEV_IOC_RESIZE:
		check_flags(arg, sizeof(driver.resize),
			    MMAPDEV_IOC_RESIZE_GROW);
		memcpy(&driver.resize, arg, sizeof(driver.resize));
		return 0;
	case MMAPDEV_IOC_PUNCH:
		check_header(arg, sizeof(driver.punch));
		memcpy(&driver.punch, arg, sizeof(driver.punch));
		return 0;
	case MMAPDEV_IOC_DIRTY:
		check_flags(arg, sizeof(driver.dirty), ~0u);
		memcpy(&driver.dirty, arg, sizeof(driver.dirty));
		((struct mmapdev_ioc_dirty *)arg)->pages = 88;
		return 0;
	case MMAPDEV_IOC_EVENTFD:
		check_header(arg, sizeof(driver.eventfd));
		memcpy(&driver.eventfd, arg, sizeof(driver.eventfd));
		return 0;
	default:
		return ENOTTY;
	}
}

static int answer_nothing(unsigned long command, void *arg)
{
	(void)command;
	(void)arg;
	return ENOTTY;
}

static struct mmapdev *device(void)
{
	struct mmapdev *memfd, *dev;

	memset(&driver, 0, sizeof(driver));
	driver.size = SIZE;
	wrap_reset();
	need(mmapdev_open_memfd("device", 2 * SIZE, &memfd), "memfd");
	wrap_device(answer);
	need(mmapdev_open_fd(mmapdev_fd(memfd), &dev), "open_fd");
	mmapdev_close(memfd);
	return dev;
}

static void test_open(void)
{
	struct mmapdev *memfd, *dev;

	wrap_reset();
	need(mmapdev_open_memfd("device", SIZE, &memfd), "memfd");
	wrap_device(answer_nothing);
	is(mmapdev_open_fd(mmapdev_fd(memfd), &dev), -ENODEV,
	   "a device that knows no INFO is not ours");
	driver.silent = true;
	wrap_device(answer);
	is(mmapdev_open_fd(mmapdev_fd(memfd), &dev), -ENODEV,
	   "nor is one that says yes to everything");
	wrap_reset();
	mmapdev_close(memfd);
}

static void test_info(void)
{
	struct mmapdev_info info = { .sz = sizeof(info) };
	struct mmapdev *dev = device();

	driver.mode = MMAPDEV_IOC_EAGER;
	is(mmapdev_get_info(dev, &info), 0, "info");
	is(info.kind, MMAPDEV_KIND_DEVICE, "of a device");
	is(info.size, SIZE, "size");
	is(info.max_size, 2 * SIZE, "max_size");
	is(info.resident, 3, "resident");
	is(info.dirty, 4, "dirty");
	is(info.commit_seq, 5, "commit_seq");
	is(info.committed, 6, "committed");
	is(info.mode, MMAPDEV_MODE_EAGER, "mode");
	is(info.page_size, page_size(), "page_size");
	is(info.folio_max, 7, "folio_max");
	is(info.huge, MMAPDEV_HUGE_ALWAYS, "huge");
	is(info.maps, 8, "maps");
	is(info.faults, 9, "faults");
	is(info.mkwrites, 10, "mkwrites");
	is(info.resizes, 11, "resizes");
	is(info.punches, 12, "punches");

	driver.old = true;
	is(mmapdev_get_info(dev, &info), 0, "info of a driver of 1.0");
	is(info.committed, 6, "tells what it knows");
	ok(info.folio_max == MMAPDEV_UNKNOWN && info.maps == MMAPDEV_UNKNOWN &&
		   info.faults == MMAPDEV_UNKNOWN &&
		   info.mkwrites == MMAPDEV_UNKNOWN &&
		   info.resizes == MMAPDEV_UNKNOWN &&
		   info.punches == MMAPDEV_UNKNOWN,
	   "and UNKNOWN of the rest");
	is(info.huge, MMAPDEV_HUGE_NEVER, "which knew one size of folio");
	driver.old = false;

	wrap_fail(W_IOCTL, 1, ENODEV);
	is(mmapdev_get_info(dev, &info), -ENODEV, "until it is removed");
	mmapdev_close(dev);
}

static void test_calls(void)
{
	static const int errors[] = { EINTR, ENOMEM,	EBADF,	ENXIO,
				      EBUSY, EOVERFLOW, EFAULT, ENODEV };
	struct mmapdev *dev = device();
	unsigned char bitmap[2];
	uint64_t pages = 5;
	uint32_t crc = 1;
	size_t i;

	is(mmapdev_set_mode(dev, MMAPDEV_MODE_EAGER), 0, "set_mode");
	is(driver.mode, MMAPDEV_IOC_EAGER, "asks the driver");
	is(mmapdev_fill(dev, UINT64_MAX, 22, 33), 0, "fill");
	ok(driver.fill.offset == UINT64_MAX && driver.fill.length == 22 &&
		   driver.fill.pattern == 33,
	   "leaves the range to the driver");
	is(mmapdev_sum(dev, 44, UINT64_MAX, &crc), 0, "sum");
	ok(driver.sum.offset == 44 && driver.sum.length == UINT64_MAX,
	   "leaves the range to the driver");
	is(crc, 0xcafe, "and returns its answer");
	is(mmapdev_resize(dev, 5), 0, "resize");
	ok(driver.resize.size == 5 && !driver.resize.flags,
	   "leaves the size to the driver");
	is(mmapdev_punch(dev, 1, UINT64_MAX), 0, "punch");
	ok(driver.punch.offset == 1 && driver.punch.length == UINT64_MAX,
	   "leaves the range to the driver");
	is(mmapdev_dirty(dev, 3, UINT64_MAX, MMAPDEV_DIRTY_CLEAR | 8, bitmap,
			 &pages), 0, "dirty");
	ok(driver.dirty.offset == 3 && driver.dirty.length == UINT64_MAX &&
		   driver.dirty.flags == (MMAPDEV_IOC_DIRTY_CLEAR | 8) &&
		   driver.dirty.bitmap == (uintptr_t)bitmap,
	   "leaves range and flags to the driver");
	is(pages, 88, "and returns its answer");
	is(mmapdev_dirty(dev, 0, 0, 0, bitmap, NULL), 0,
	   "which need not be wanted");
	is(mmapdev_notify(dev, 77), 0, "notify");
	is(driver.eventfd.fd, 77, "tells the driver");
	is(mmapdev_notify(dev, -1), 0, "and again");
	is(driver.eventfd.fd, -1, "that nobody is to be told");
	is(driver.bad_calls, 0, "each struct says its size, and no flag");

	for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		driver.err = errors[i];
		is(mmapdev_set_mode(dev, 0), -errors[i], "set_mode fails");
		is(mmapdev_fill(dev, 0, 1, 0), -errors[i], "fill fails");
		is(mmapdev_sum(dev, 0, 1, &crc), -errors[i], "sum fails");
		is(mmapdev_resize(dev, 0), -errors[i], "resize fails");
		is(mmapdev_punch(dev, 0, 1), -errors[i], "punch fails");
		is(mmapdev_dirty(dev, 0, 1, 0, bitmap, &pages), -errors[i],
		   "dirty fails");
		is(mmapdev_notify(dev, 1), -errors[i], "notify fails");
	}
	is(crc, 0xcafe, "the result is left alone");
	is(pages, 88, "that of dirty too");

	is(mmapdev_dirty(dev, 0, 1, 0, NULL, &pages), -EINVAL,
	   "dirty wants a bitmap");
	is(mmapdev_dirty(NULL, 0, 1, 0, bitmap, &pages), -EINVAL,
	   "and a device");
	is(mmapdev_notify(NULL, 1), -EINVAL, "as notify does");
	mmapdev_close(dev);
}

static int map_it(struct mmapdev *dev, uint64_t length, uint32_t flags,
		  size_t *size)
{
	struct mmapdev_map_opts opts = {
		.sz = sizeof(opts),
		.length = length,
		.flags = flags,
	};
	struct mmapdev_map *map;
	int ret = mmapdev_map(dev, &opts, &map);

	if (ret)
		return ret;
	*size = mmapdev_map_size(map);
	return mmapdev_unmap(map);
}

static void test_map(void)
{
	struct mmapdev *dev = device();
	size_t size = 0;

	is(map_it(dev, 0, 0, &size), 0, "length 0 maps the device");
	is(size, SIZE, "to its size of now");
	is(map_it(dev, 2 * SIZE, 0, &size), 0, "a length up to max_size");
	is(size, 2 * SIZE, "is mapped whole");
	is(map_it(dev, 2 * SIZE + 1, 0, &size), -ENXIO, "beyond it is not");

	wrap_fail(W_MADVISE, 1, EINVAL);
	is(map_it(dev, 0, MMAPDEV_MAP_POPULATE, &size), -EOPNOTSUPP,
	   "on demand, a kernel that cannot populate is an error");
	driver.mode = MMAPDEV_IOC_EAGER;
	wrap_fail(W_MADVISE, 1, EINVAL);
	is(map_it(dev, 0, MMAPDEV_MAP_POPULATE, &size), 0,
	   "an eager map is populated, though the kernel says EINVAL");
	wrap_fail(W_MADVISE, 1, ENOMEM);
	is(map_it(dev, 0, MMAPDEV_MAP_POPULATE, &size), -ENOMEM,
	   "any other error counts");
	mmapdev_close(dev);
}

static void test_grow(void)
{
	static const int errors[] = { ENODEV, ENOMEM };
	struct mmapdev *dev = device();
	struct mmapdev_map_opts opts = {
		.sz = sizeof(opts),
		.length = SIZE + 1,
		.window = 2 * SIZE,
	};
	struct mmapdev_map *map;
	size_t i;

	is(mmapdev_map(dev, &opts, &map), -ENXIO,
	   "a window begins with what there is");
	opts.length = 0;
	opts.window = 2 * SIZE + 1;
	is(mmapdev_map(dev, &opts, &map), -ENXIO, "and ends with max_size");
	opts.window = 2 * SIZE;
	need(mmapdev_map(dev, &opts, &map), "map");
	is(mmapdev_map_grow(map, SIZE + 1), 0, "it grows");
	is(driver.resize.size, SIZE + page_size(), "by whole pages");
	is(driver.resize.flags, MMAPDEV_IOC_RESIZE_GROW, "and only that");
	is(mmapdev_map_size(map), SIZE + 1, "to the byte");
	for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		driver.err = errors[i];
		is(mmapdev_map_grow(map, 2 * SIZE), -errors[i], "grow fails");
	}
	driver.err = EINVAL;
	is(mmapdev_map_grow(map, 2 * SIZE), -EOPNOTSUPP,
	   "a driver before 1.2 cannot");
	is(mmapdev_map_size(map), SIZE + 1, "which changes nothing");
	driver.err = EBUSY;
	is(mmapdev_map_cut(map, 1), -EBUSY, "a cut through what is held");
	is(mmapdev_map_size(map), SIZE + 1, "is none");
	driver.err = 0;
	is(mmapdev_map_cut(map, page_size() + 1), 0, "a cut");
	is(driver.resize.size, 2 * page_size(), "is whole pages");
	is(driver.resize.flags, 0, "and may shrink");
	is(driver.bad_calls, 0, "each struct is as it should be");
	mmapdev_unmap(map);
	mmapdev_close(dev);
}

int main(void)
{
	test_open();
	test_grow();
	test_info();
	test_calls();
	test_map();
	wrap_reset();
	return done();
}
