/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * What the parts of libmmapdev share.
 *
 * A handle never changes once it is made, and a map knows nothing of the
 * handle it came from. That is the whole of the locking: many threads may use
 * either, and a map outlives its handle.
 */
#ifndef MMAPDEV_PRIVATE_H
#define MMAPDEV_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/mmapdev.h>
#include <mmapdev.h>

struct mmapdev {
	int fd;
	uint32_t kind; /* MMAPDEV_KIND_* */
};

struct mmapdev_map {
	void *addr;
	size_t size;
	uint32_t flags; /* MMAPDEV_MAP_* */
};

#define offsetofend(type, member)                                              \
	(offsetof(type, member) + sizeof(((type *)0)->member))

/*
 * The struct-size rule, both ways: @ours is the size of the library's own
 * struct, @first that of its first version.
 */
int mmapdev_struct_in(void *to, size_t ours, size_t first, const void *from);
int mmapdev_struct_out(void *to, size_t ours, size_t first, const void *from);

/* @info is zeroed here, so that 0 from a stranger's ioctl is found out. */
int mmapdev_device_info(int fd, struct mmapdev_ioc_info *info);

/* 0 when [@offset, @offset + @length) lies in the first @size bytes. */
int mmapdev_check_range(uint64_t offset, uint64_t length, uint64_t size);

/* -EBADF where @dev is not open for @need, O_RDONLY or O_WRONLY. */
int mmapdev_check_access(struct mmapdev *dev, int need);
/* What the driver checks of a range, for a file: the access, then the range. */
int mmapdev_check_file(struct mmapdev *dev, int need, uint64_t offset,
		       uint64_t length);

/* Begin with a @crc of 0, go on with what the call before returned. */
struct mmapdev_crc32c_table {
	uint32_t word[8][256];
};

void mmapdev_crc32c_init(struct mmapdev_crc32c_table *table);
uint32_t mmapdev_crc32c(const struct mmapdev_crc32c_table *table, uint32_t crc,
			const void *data, size_t length);

#endif /* MMAPDEV_PRIVATE_H */
