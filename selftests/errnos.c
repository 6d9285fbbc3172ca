// SPDX-License-Identifier: GPL-2.0
/*
 * Every errno of mmap(2), and of the calls that change a mapping, which can
 * be provoked on a device. After each the mapping and the device still work.
 */
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#ifndef MAP_SYNC
#define MAP_SYNC	0x080000
#endif

FIXTURE(errnos) {
	int fd;
	int readable;
	int writable;
	size_t size;
	unsigned char *data;
};

FIXTURE_VARIANT(errnos) {
	__u32 mode;
};

FIXTURE_VARIANT_ADD(errnos, demand) {
	.mode = DEMAND,
};

FIXTURE_VARIANT_ADD(errnos, eager) {
	.mode = EAGER,
};

FIXTURE_SETUP(errnos)
{
	self->fd = device_open(O_RDWR, variant->mode);
	ASSERT_LE(0, self->fd);
	self->readable = device_open(O_RDONLY, variant->mode);
	ASSERT_LE(0, self->readable);
	self->writable = device_open(O_WRONLY, variant->mode);
	ASSERT_LE(0, self->writable);
	self->size = size_of(self->fd);
	ASSERT_EQ(0, device_fill(self->fd, 0, PAGE, pattern_of(0)));
	self->data = map(self->fd, PAGE, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, self->data);
}

FIXTURE_TEARDOWN(errnos)
{
	EXPECT_TRUE(pattern_is(self->data, 0, PAGE, pattern_of(0)));
	EXPECT_EQ(pattern_sum(0, PAGE, pattern_of(0)),
		  sum_of(self->fd, 0, PAGE));
}

/* 0 or the errno of a system call's result. */
static int errno_of(long result)
{
	return result == -1 ? errno : 0;
}

/* The errno of an mmap; where there is none the mapping goes away again. */
static int mmap_at(void *at, int fd, size_t length, int prot, int flags,
		   off_t offset)
{
	void *data = mmap(at, length, prot, flags, fd, offset);

	if (data == MAP_FAILED)
		return errno;
	munmap(data, length);
	return 0;
}

static int mmap_errno(int fd, size_t length, int prot, int flags, off_t offset)
{
	return mmap_at(NULL, fd, length, prot, flags, offset);
}

/* A file on a file system without exec says EPERM before the driver can. */
static int exec_errno(int fd)
{
	struct statvfs fs;

	return !fstatvfs(fd, &fs) && fs.f_flag & ST_NOEXEC ? EPERM : EACCES;
}

TEST_F(errnos, prot_exec_is_eacces)
{
	int none = exec_errno(self->fd);

	EXPECT_EQ(none, mmap_errno(self->fd, PAGE, PROT_EXEC, MAP_SHARED, 0));
	EXPECT_EQ(none, mmap_errno(self->fd, PAGE, PROT_EXEC | PROT_READ,
				   MAP_SHARED, 0));
	EXPECT_EQ(none, mmap_errno(self->fd, PAGE, PROT_EXEC | RW, MAP_PRIVATE,
				   0));
	EXPECT_EQ(none, mmap_errno(self->readable, PAGE, PROT_EXEC | PROT_READ,
				   MAP_PRIVATE, 0));
}

TEST_F(errnos, prot_exec_by_mprotect_is_eacces)
{
	unsigned char *own = map(self->fd, PAGE, RW, MAP_PRIVATE, 0);

	ASSERT_NE(NULL, own);
	EXPECT_EQ(EACCES, errno_of(mprotect(self->data, PAGE, PROT_EXEC)));
	EXPECT_EQ(EACCES, errno_of(mprotect(self->data, PAGE, RW | PROT_EXEC)));
	EXPECT_EQ(EACCES, errno_of(mprotect(own, PAGE, PROT_READ | PROT_EXEC)));
	EXPECT_EQ(0, fault_of_write(own, 1).sig);
}

/* A node of the device elsewhere, on a file system with these flags. */
static int node_elsewhere(struct __test_metadata *_metadata, int fd,
			  unsigned long flags)
{
	char folder[] = "/tmp/mmapdev.XXXXXX";
	char node[64];
	struct stat st;
	int other;

	mkdir("/tmp", 01777);
	ASSERT_NE(NULL, mkdtemp(folder));
	ASSERT_EQ(0, mount("none", folder, "tmpfs", flags, NULL));
	ASSERT_EQ(0, fstat(fd, &st));
	snprintf(node, sizeof(node), "%s/node", folder);
	ASSERT_EQ(0, mknod(node, S_IFCHR | 0600, st.st_rdev));
	other = open(node, O_RDWR | O_CLOEXEC);
	if (other < 0)
		other = -errno;
	umount2(folder, MNT_DETACH);
	rmdir(folder);
	return other;
}

TEST_F(errnos, prot_exec_is_eacces_where_files_may_be_executed)
{
	int fd = node_elsewhere(_metadata, self->fd, 0);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, device_set_mode(fd, variant->mode));
	EXPECT_EQ(EACCES, mmap_errno(fd, PAGE, PROT_READ | PROT_EXEC,
				     MAP_SHARED, 0));
	EXPECT_EQ(EACCES, mmap_errno(fd, PAGE, PROT_READ | PROT_EXEC,
				     MAP_PRIVATE, 0));
}

TEST_F(errnos, prot_exec_is_eperm_where_files_may_not)
{
	int fd = node_elsewhere(_metadata, self->fd, MS_NOEXEC);

	ASSERT_LE(0, fd);
	EXPECT_EQ(EPERM, mmap_errno(fd, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED,
				    0));
	EXPECT_EQ(0, mmap_errno(fd, PAGE, RW, MAP_SHARED, 0));
}

TEST_F(errnos, a_node_on_a_mount_without_devices_is_eacces)
{
	EXPECT_EQ(-EACCES, node_elsewhere(_metadata, self->fd, MS_NODEV));
	EXPECT_EQ(0, mmap_errno(self->fd, PAGE, RW, MAP_SHARED, 0));
}

TEST_F(errnos, a_file_not_open_for_reading_is_eacces)
{
	EXPECT_EQ(EACCES, mmap_errno(self->writable, PAGE, PROT_READ,
				     MAP_SHARED, 0));
	EXPECT_EQ(EACCES, mmap_errno(self->writable, PAGE, PROT_WRITE,
				     MAP_SHARED, 0));
	EXPECT_EQ(EACCES, mmap_errno(self->writable, PAGE, PROT_NONE,
				     MAP_PRIVATE, 0));
}

TEST_F(errnos, a_shared_writable_mapping_of_a_read_only_file_is_eacces)
{
	unsigned char *view;

	EXPECT_EQ(EACCES, mmap_errno(self->readable, PAGE, RW, MAP_SHARED, 0));
	EXPECT_EQ(EACCES, mmap_errno(self->readable, PAGE, PROT_WRITE,
				     MAP_SHARED, 0));
	EXPECT_EQ(EACCES, mmap_errno(self->readable, PAGE, RW,
				     MAP_SHARED_VALIDATE, 0));
	EXPECT_EQ(0, mmap_errno(self->readable, PAGE, PROT_READ, MAP_SHARED,
				0));
	EXPECT_EQ(0, mmap_errno(self->readable, PAGE, RW, MAP_PRIVATE, 0));

	view = map(self->readable, PAGE, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, view);
	EXPECT_EQ(EACCES, errno_of(mprotect(view, PAGE, RW)));
	EXPECT_EQ(SEGV_ACCERR, fault_of_write(view, 1).code);
}

TEST_F(errnos, a_bad_descriptor_is_ebadf)
{
	int closed = dup(self->fd);
	int path = open(DEVICE, O_PATH | O_CLOEXEC);

	close(closed);
	EXPECT_EQ(EBADF, mmap_errno(-1, PAGE, RW, MAP_SHARED, 0));
	EXPECT_EQ(EBADF, mmap_errno(closed, PAGE, RW, MAP_SHARED, 0));
	EXPECT_EQ(EBADF, mmap_errno(path, PAGE, PROT_READ, MAP_SHARED, 0));
}

TEST_F(errnos, a_place_that_is_taken_is_eexist)
{
	EXPECT_EQ(EEXIST, mmap_at(self->data, self->fd, PAGE, RW,
				  MAP_SHARED | MAP_FIXED_NOREPLACE, 0));
}

TEST_F(errnos, no_length_is_einval)
{
	EXPECT_EQ(EINVAL, mmap_errno(self->fd, 0, RW, MAP_SHARED, 0));
	EXPECT_EQ(EINVAL, mmap_errno(self->fd, 0, RW, MAP_PRIVATE, 0));
}

TEST_F(errnos, an_unaligned_offset_is_einval)
{
	EXPECT_EQ(EINVAL, mmap_errno(self->fd, PAGE, RW, MAP_SHARED, 1));
	EXPECT_EQ(EINVAL, mmap_errno(self->fd, PAGE, RW, MAP_SHARED, 512));
	EXPECT_EQ(EINVAL, mmap_errno(self->fd, 1, RW, MAP_PRIVATE, PAGE - 1));
}

TEST_F(errnos, an_unaligned_fixed_address_is_einval)
{
	EXPECT_EQ(EINVAL, mmap_at(self->data + 1, self->fd, PAGE, RW,
				  MAP_SHARED | MAP_FIXED, 0));
}

TEST_F(errnos, neither_shared_nor_private_is_einval)
{
	int type;

	EXPECT_EQ(EINVAL, mmap_errno(self->fd, PAGE, RW, 0, 0));
	EXPECT_EQ(EINVAL, mmap_errno(self->fd, PAGE, RW, MAP_NORESERVE, 0));
	/* 3, both of them, is MAP_SHARED_VALIDATE. */
	for (type = 4; type <= 15; type++)
		EXPECT_EQ(EINVAL, mmap_errno(self->fd, PAGE, RW, type, 0));
	EXPECT_EQ(0, mmap_errno(self->fd, PAGE, RW, MAP_SHARED | MAP_PRIVATE,
				0));
}

TEST_F(errnos, huge_pages_of_a_device_are_einval)
{
	EXPECT_EQ(EINVAL, mmap_errno(self->fd, PAGE, RW,
				     MAP_SHARED | MAP_HUGETLB, 0));
	EXPECT_EQ(EINVAL, mmap_errno(self->fd, PAGE, RW,
				     MAP_PRIVATE | MAP_HUGETLB, 0));
}

TEST_F(errnos, map_sync_and_unknown_flags_are_eopnotsupp)
{
	const int shared = MAP_SHARED_VALIDATE;

	EXPECT_EQ(EOPNOTSUPP, mmap_errno(self->fd, PAGE, RW, shared | MAP_SYNC,
					 0));
	EXPECT_EQ(EOPNOTSUPP, mmap_errno(self->fd, PAGE, RW, shared | 1 << 21,
					 0));
	EXPECT_EQ(EOPNOTSUPP, mmap_errno(self->fd, PAGE, RW, shared | 1 << 23,
					 0));
	EXPECT_EQ(0, mmap_errno(self->fd, PAGE, RW, shared, 0));
	EXPECT_EQ(0, mmap_errno(self->fd, PAGE, RW, shared | MAP_POPULATE, 0));
	/* MAP_SHARED does not look. */
	EXPECT_EQ(0, mmap_errno(self->fd, PAGE, RW, MAP_SHARED | 1 << 21, 0));
}

TEST_F(errnos, a_range_beyond_the_device_is_enxio)
{
	const struct {
		size_t length;
		off_t offset;
	} bad[] = {
		{ self->size + 1, 0 }, { self->size + PAGE, 0 },
		{ PAGE, self->size }, { 1, self->size },
		{ 2 * PAGE, self->size - PAGE }, { self->size, PAGE },
		{ PAGE, 1ll << 40 }, { PAGE, 1ll << 62 },
	};
	const int type[] = { MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE };
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		for (j = 0; j < ARRAY_SIZE(type); j++) {
			EXPECT_EQ(ENXIO, mmap_errno(self->fd, bad[i].length, RW,
						    type[j], bad[i].offset))
				TH_LOG("range %zu", i);
		}
		EXPECT_EQ(ENXIO, mmap_errno(self->readable, bad[i].length,
					    PROT_READ, MAP_SHARED,
					    bad[i].offset));
	}
	EXPECT_EQ(0, mmap_errno(self->fd, self->size, RW, MAP_SHARED, 0));
	EXPECT_EQ(0, mmap_errno(self->fd, 1, RW, MAP_SHARED,
				self->size - PAGE));
}

TEST_F(errnos, an_offset_that_overflows_is_eoverflow)
{
	EXPECT_EQ(EOVERFLOW, mmap_errno(self->fd, PAGE, RW, MAP_SHARED, -PAGE));
	EXPECT_EQ(EOVERFLOW, mmap_errno(self->fd, 4 * PAGE, RW, MAP_PRIVATE,
					-2 * PAGE));
}

TEST_F(errnos, a_length_no_process_has_is_enomem)
{
	EXPECT_EQ(ENOMEM, mmap_errno(self->fd, -PAGE, RW, MAP_SHARED, 0));
	EXPECT_EQ(ENOMEM, mmap_errno(self->fd, 1ul << 62, RW, MAP_SHARED, 0));
	EXPECT_EQ(ENOMEM, mmap_errno(self->fd, ~0ul, RW, MAP_PRIVATE, 0));
	EXPECT_EQ(ENOMEM, mmap_at((void *)(~0ul << 12), self->fd, PAGE, RW,
				  MAP_SHARED | MAP_FIXED, 0));
}

static int set_limit(int which, rlim_t limit)
{
	struct rlimit rlimit = {
		.rlim_cur = limit,
		.rlim_max = RLIM_INFINITY,
	};

	getrlimit(which, &rlimit);
	rlimit.rlim_cur = limit;
	return setrlimit(which, &rlimit);
}

TEST_F(errnos, beyond_rlimit_as_is_enomem)
{
	int shared, own;

	ASSERT_EQ(0, set_limit(RLIMIT_AS, PAGE));
	shared = mmap_errno(self->fd, PAGE, RW, MAP_SHARED, 0);
	own = mmap_errno(self->fd, PAGE, RW, MAP_PRIVATE, 0);
	ASSERT_EQ(0, set_limit(RLIMIT_AS, RLIM_INFINITY));
	EXPECT_EQ(ENOMEM, shared);
	EXPECT_EQ(ENOMEM, own);
	EXPECT_EQ(0, mmap_errno(self->fd, PAGE, RW, MAP_SHARED, 0));
}

TEST_F(errnos, beyond_rlimit_data_a_private_mapping_is_enomem)
{
	int shared, own;

	ASSERT_EQ(0, set_limit(RLIMIT_DATA, PAGE));
	shared = mmap_errno(self->fd, PAGE, RW, MAP_SHARED, 0);
	own = mmap_errno(self->fd, PAGE, RW, MAP_PRIVATE, 0);
	ASSERT_EQ(0, set_limit(RLIMIT_DATA, RLIM_INFINITY));
	EXPECT_EQ(0, shared);
	EXPECT_EQ(ENOMEM, own);
}

#define MAX_MAPS	"/proc/sys/vm/max_map_count"
#define FEW		200

TEST_F(errnos, too_many_mappings_are_enomem)
{
	char usual[32];
	void *many[FEW];
	int maps = 0;
	int err = 0;
	int split;

	ASSERT_LT(0, file_read(MAX_MAPS, usual, sizeof(usual)));
	ASSERT_EQ(0, file_write(MAX_MAPS, "120"));
	/* By turns of another kind, or they are merged. */
	while (maps < FEW && !err) {
		void *data = mmap(NULL, PAGE, maps % 2 ? RW : PROT_READ,
				  MAP_SHARED, self->fd, 0);

		if (data == MAP_FAILED)
			err = errno;
		else
			many[maps++] = data;
	}
	split = errno_of(mprotect(self->data, PAGE, PROT_READ));
	ASSERT_EQ(0, file_write(MAX_MAPS, usual));
	EXPECT_EQ(ENOMEM, err);
	EXPECT_EQ(0, split);
	while (maps)
		EXPECT_EQ(0, munmap(many[--maps], PAGE));
	EXPECT_EQ(0, mprotect(self->data, PAGE, RW));
}

TEST_F(errnos, splitting_into_too_many_mappings_is_enomem)
{
	size_t span = 3 * PAGE;
	int middle, protect;
	char usual[32];
	void *data;

	if (self->size < span)
		SKIP(return, "needs a device of 3 pages");
	data = map(self->fd, span, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, data);
	ASSERT_LT(0, file_read(MAX_MAPS, usual, sizeof(usual)));
	ASSERT_EQ(0, file_write(MAX_MAPS, "2"));
	middle = errno_of(munmap(data + PAGE, PAGE));
	protect = errno_of(mprotect(data + PAGE, PAGE, PROT_READ));
	ASSERT_EQ(0, file_write(MAX_MAPS, usual));
	EXPECT_EQ(ENOMEM, middle);
	EXPECT_EQ(ENOMEM, protect);
	EXPECT_EQ(0, fault_of_read(data + PAGE).sig);
	EXPECT_TRUE(pattern_is(data, 0, PAGE, pattern_of(0)));
}

struct locker {
	int fd;
	size_t length;
	rlim_t limit;
	void *data;
};

/* Exit status: the errno of mmap, or 200 where something else failed. */
static int map_locked(void *arg)
{
	struct locker *me = arg;

	if (set_limit(RLIMIT_MEMLOCK, me->limit) || become_nobody())
		return 200;
	return mmap_errno(me->fd, me->length, RW, MAP_SHARED | MAP_LOCKED, 0);
}

TEST_F(errnos, locking_more_than_allowed_is_eagain)
{
	struct locker locker = {
		.fd = self->fd,
		.length = PAGE,
		.limit = 1,
	};

	EXPECT_EQ(EAGAIN, child_run(map_locked, &locker));
	locker.limit = PAGE;
	EXPECT_EQ(0, child_run(map_locked, &locker));
}

TEST_F(errnos, locking_where_nothing_is_allowed_is_eperm)
{
	struct locker locker = {
		.fd = self->fd,
		.length = PAGE,
		.limit = 0,
	};

	EXPECT_EQ(EPERM, child_run(map_locked, &locker));
}

static int lock_mapping(void *arg)
{
	struct locker *me = arg;

	if (set_limit(RLIMIT_MEMLOCK, me->limit) || become_nobody())
		return 200;
	return errno_of(mlock(me->data, me->length));
}

TEST_F(errnos, mlock_of_more_than_allowed_is_enomem)
{
	struct locker locker = {
		.data = self->data,
		.length = PAGE,
		.limit = 1,
	};

	EXPECT_EQ(ENOMEM, child_run(lock_mapping, &locker));
	locker.limit = 0;
	EXPECT_EQ(EPERM, child_run(lock_mapping, &locker));
}

static int map_at_zero(void *arg)
{
	if (become_nobody())
		return 200;
	return mmap_at(NULL, *(int *)arg, PAGE, RW, MAP_SHARED | MAP_FIXED, 0);
}

TEST_F(errnos, an_address_below_mmap_min_addr_is_eperm)
{
	EXPECT_EQ(EPERM, child_run(map_at_zero, &self->fd));
}

TEST_F(errnos, munmap_of_a_bad_range_is_einval)
{
	EXPECT_EQ(EINVAL, errno_of(munmap(self->data + 1, PAGE)));
	EXPECT_EQ(EINVAL, errno_of(munmap(self->data, 0)));
	EXPECT_EQ(EINVAL, errno_of(munmap(self->data, -PAGE)));
	EXPECT_EQ(EINVAL, errno_of(munmap((void *)(~0ul << 12), PAGE)));
}

TEST_F(errnos, mprotect_of_a_bad_range_is_einval_or_enomem)
{
	unsigned char *own = map(self->fd, PAGE, RW, MAP_PRIVATE, 0);

	ASSERT_NE(NULL, own);
	EXPECT_EQ(EINVAL, errno_of(mprotect(self->data + 1, PAGE, PROT_READ)));
	EXPECT_EQ(EINVAL, errno_of(mprotect(self->data, PAGE,
					    PROT_GROWSUP | PROT_GROWSDOWN)));
	EXPECT_EQ(EINVAL, errno_of(mprotect(self->data, PAGE, 0x1000)));
	ASSERT_EQ(0, munmap(own, PAGE));
	EXPECT_EQ(ENOMEM, errno_of(mprotect(own, PAGE, PROT_READ)));
}

static int mremap_errno(void *from, size_t old, size_t new, int flags,
			void *to)
{
	return mremap(from, old, new, flags, to) == MAP_FAILED ? errno : 0;
}

TEST_F(errnos, mremap_of_a_bad_range_is_einval_or_efault)
{
	void *hole = map(-1, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, 0);
	unsigned char *own = map(self->fd, PAGE, RW, MAP_PRIVATE, 0);

	ASSERT_NE(NULL, hole);
	ASSERT_NE(NULL, own);
	ASSERT_EQ(0, munmap(hole, PAGE));
	EXPECT_EQ(EINVAL, mremap_errno(self->data + 1, PAGE, PAGE, 0, NULL));
	EXPECT_EQ(EINVAL, mremap_errno(self->data, PAGE, 0, 0, NULL));
	EXPECT_EQ(EINVAL, mremap_errno(self->data, PAGE, PAGE, 0x80, NULL));
	EXPECT_EQ(EINVAL, mremap_errno(self->data, PAGE, PAGE, MREMAP_FIXED,
				       hole));
	EXPECT_EQ(EINVAL, mremap_errno(self->data, PAGE, PAGE,
				       MREMAP_MAYMOVE | MREMAP_FIXED,
				       self->data));
	EXPECT_EQ(EINVAL, mremap_errno(self->data, PAGE, PAGE,
				       MREMAP_MAYMOVE | MREMAP_FIXED,
				       hole + 1));
	EXPECT_EQ(EINVAL, mremap_errno(own, 0, PAGE, MREMAP_MAYMOVE, NULL));
	EXPECT_EQ(EFAULT, mremap_errno(hole, PAGE, 2 * PAGE, MREMAP_MAYMOVE,
				       NULL));
	/* More than any hole, less than all of the address space. */
	EXPECT_EQ(variant->mode == EAGER ? EFAULT : ENOMEM,
		  mremap_errno(self->data, PAGE, (1ul << 47) - 2 * PAGE,
			       MREMAP_MAYMOVE, NULL));
}

TEST_F(errnos, madvise_of_a_bad_range_is_einval_or_enomem)
{
	void *hole = map(-1, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, 0);

	ASSERT_NE(NULL, hole);
	ASSERT_EQ(0, munmap(hole, PAGE));
	EXPECT_EQ(EINVAL, errno_of(madvise(self->data + 1, PAGE, MADV_NORMAL)));
	EXPECT_EQ(EINVAL, errno_of(madvise(self->data, PAGE, 12345)));
	EXPECT_EQ(EINVAL, errno_of(madvise(self->data, -PAGE, MADV_NORMAL)));
	EXPECT_EQ(EINVAL, errno_of(madvise(self->data, PAGE, MADV_FREE)));
	EXPECT_EQ(EINVAL, errno_of(madvise(self->data, PAGE,
					   MADV_WIPEONFORK)));
	EXPECT_EQ(ENOMEM, errno_of(madvise(hole, PAGE, MADV_NORMAL)));
}

TEST_F(errnos, populating_against_the_protection_is_einval)
{
	unsigned char *view = map(self->readable, PAGE, PROT_READ, MAP_SHARED,
				  0);

	ASSERT_NE(NULL, view);
	EXPECT_EQ(EINVAL, errno_of(madvise(view, PAGE, MADV_POPULATE_WRITE)));
}

/* What a file was opened for is what it may do, whoever has it. */
static int change_nothing(void *arg)
{
	int fd = *(int *)arg;
	unsigned char bits;
	struct mmapdev_ioc_dirty dirty = {
		.argsz = sizeof(dirty),
		.flags = MMAPDEV_IOC_DIRTY_CLEAR,
		.length = PAGE,
		.bitmap = (uintptr_t)&bits,
	};
	struct mmapdev_ioc_info before, after;
	__u32 sum;

	if (!holds(!become_nobody()))
		return 1;
	before = info_of(fd);
	if (!(holds(device_resize(fd, before.size) == -EBADF) &&
	      holds(device_resize(fd, 0) == -EBADF) &&
	      holds(device_punch(fd, 0, PAGE) == -EBADF) &&
	      holds(device_fill(fd, 0, PAGE, 1) == -EBADF) &&
	      holds(errno_of(ioctl(fd, MMAPDEV_IOC_DIRTY, &dirty)) == EBADF) &&
	      holds(device_will(fd, 0, 0, 0, 1) == -EBADF) &&
	      holds(errno_of(write(fd, "x", 1)) == EBADF) &&
	      holds(mmap_errno(fd, PAGE, RW, MAP_SHARED, 0) == EACCES)))
		return 1;
	after = info_of(fd);
	/* It may look, and try things out on copies of its own. */
	dirty.flags = 0;
	return !(holds(!memcmp(&before, &after, sizeof(after))) &&
		 holds(!device_sum(fd, 0, PAGE, &sum)) &&
		 holds(sum == pattern_sum(0, PAGE, pattern_of(0))) &&
		 holds(!ioctl(fd, MMAPDEV_IOC_DIRTY, &dirty)) &&
		 holds(dirty.pages == 1) &&
		 holds(!mmap_errno(fd, PAGE, PROT_READ, MAP_SHARED, 0)) &&
		 holds(!mmap_errno(fd, PAGE, RW, MAP_PRIVATE, 0)));
}

TEST_F(errnos, an_unprivileged_reader_changes_nothing)
{
	EXPECT_EQ(0, child_run(change_nothing, &self->readable));
}

static int open_as_nobody(void *arg)
{
	int fd;

	(void)arg;
	if (!holds(!become_nobody()))
		return 1;
	fd = open(DEVICE, O_RDONLY | O_CLOEXEC);
	return !(holds(fd >= 0) && holds(!change_nothing(&fd)) &&
		 holds(errno_of(open(DEVICE, O_RDWR)) == EACCES) &&
		 holds(errno_of(open(DEVICE, O_WRONLY)) == EACCES));
}

TEST_F(errnos, a_node_for_readers_lets_nobody_write)
{
	struct stat st;
	int opened;

	ASSERT_EQ(0, stat(DEVICE, &st));
	ASSERT_EQ(0, chmod(DEVICE, 0644));
	opened = child_run(open_as_nobody, NULL);
	ASSERT_EQ(0, chmod(DEVICE, st.st_mode & 07777));
	EXPECT_EQ(0, opened);
}

static int look_as_nobody(void *arg)
{
	(void)arg;
	return !(holds(!become_nobody()) &&
		 holds(errno_of(open(DEVICE, O_RDONLY)) == EACCES) &&
		 holds(errno_of(open("/sys/class/misc/mmapdev/size",
				     O_WRONLY)) == EACCES) &&
		 holds(errno_of(open("/sys/module/mmapdev/parameters/size",
				     O_WRONLY)) == EACCES));
}

TEST_F(errnos, a_private_node_is_closed_to_others)
{
	struct stat st;

	ASSERT_EQ(0, stat(DEVICE, &st));
	ASSERT_EQ(0, chmod(DEVICE, 0600));
	EXPECT_EQ(0, child_run(look_as_nobody, NULL));
	ASSERT_EQ(0, chmod(DEVICE, st.st_mode & 07777));
}

TEST_HARNESS_MAIN
