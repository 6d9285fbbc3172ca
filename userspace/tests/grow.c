// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Maps with a window: they grow where they are, as the object does, with storage
 * behind what they grew by, and are cut to what was used of them.
 */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"
#include "wrap.h"

#define WINDOW (32 * MIB)
#define SIZE (64 * KIB)

static sigjmp_buf jump;

static void on_signal(int sig)
{
	siglongjmp(jump, sig);
}

/* The signal that a store to @at raises, or 0. */
static int store(volatile char *at)
{
	int sig = sigsetjmp(jump, 1);

	if (!sig)
		*at = 1;
	return sig;
}

static bool zeros(const char *at, size_t length)
{
	while (length && !*at)
		at++, length--;
	return !length;
}

static int map_window(struct mmapdev *dev, uint64_t offset, uint64_t length,
		      uint64_t window, uint32_t flags, struct mmapdev_map **map)
{
	struct mmapdev_map_opts opts = {
		.sz = sizeof(opts),
		.offset = offset,
		.length = length,
		.window = window,
		.flags = flags,
	};

	return mmapdev_map(dev, &opts, map);
}

static uint64_t size_of(struct object *o)
{
	struct mmapdev_info info = { .sz = sizeof(info) };

	need(mmapdev_get_info(o->dev, &info), "info");
	return info.size;
}

/* Of the device, which has whole pages only. */
static uint64_t rounded(struct object *o, uint64_t size)
{
	if (strcmp(o->name, "device"))
		return size;
	return (size + page_size() - 1) / page_size() * page_size();
}

static uint64_t blocks(struct object *o)
{
	struct stat st;

	need(fstat(mmapdev_fd(o->dev), &st), "fstat");
	return st.st_blocks * 512;
}

static void anew(struct object *o, uint64_t size)
{
	need(mmapdev_resize(o->dev, 0), "resize");
	need(mmapdev_resize(o->dev, size), "resize");
}

static void test_grow(struct object *o)
{
	struct mmapdev_map *map;
	char *a;

	anew(o, SIZE);
	is(map_window(o->dev, 0, 0, WINDOW, 0, &map), 0, "a window (%s)",
	   o->name);
	a = mmapdev_map_addr(map);
	is(mmapdev_map_size(map), SIZE, "it begins with what there is (%s)",
	   o->name);
	is(mmapdev_map_window(map), WINDOW, "and may become so long (%s)",
	   o->name);
	is(store(a + SIZE - 1), 0, "its last byte is there (%s)", o->name);
	is(store(a + SIZE), SIGBUS, "and nothing beyond (%s)", o->name);

	is(mmapdev_map_grow(map, 3 * MIB), 0, "it grows (%s)", o->name);
	is(mmapdev_map_size(map), 3 * MIB, "to what was asked for (%s)",
	   o->name);
	is(size_of(o), 3 * MIB, "and so has the object (%s)", o->name);
	ok(mmapdev_map_addr(map) == a, "where it was (%s)", o->name);
	ok(zeros(a + SIZE, 3 * MIB - SIZE), "with zeros (%s)", o->name);
	is(store(a + SIZE), 0, "the same address can be touched (%s)",
	   o->name);
	is(store(a + 3 * MIB), SIGBUS, "none beyond (%s)", o->name);
	if (strcmp(o->name, "device"))
		ok(blocks(o) >= 3 * MIB - SIZE, "it has storage (%s)",
		   o->name);

	is(mmapdev_map_grow(map, SIZE), 0, "less is no change (%s)", o->name);
	is(mmapdev_map_size(map), 3 * MIB, "to the map (%s)", o->name);
	is(size_of(o), 3 * MIB, "nor to the object (%s)", o->name);
	is(mmapdev_map_grow(map, WINDOW + 1), -ENXIO,
	   "it grows not beyond its window (%s)", o->name);
	is(mmapdev_map_grow(map, UINT64_MAX), -ENXIO, "by far (%s)", o->name);
	is(size_of(o), 3 * MIB, "and not by half (%s)", o->name);
	is(mmapdev_map_grow(map, WINDOW), 0, "but all of it (%s)", o->name);
	is(store(a + WINDOW - 1), 0, "to the last byte (%s)", o->name);
	is(mmapdev_unmap(map), 0, "it ends (%s)", o->name);
	is(size_of(o), WINDOW, "and the object stays (%s)", o->name);
}

/* From nothing, to a size that is no whole page. */
static void test_empty(struct object *o)
{
	struct mmapdev_map *map;
	char *a;

	anew(o, 0);
	is(map_window(o->dev, 0, 0, WINDOW - 1, 0, &map), 0,
	   "a window over nothing (%s)", o->name);
	a = mmapdev_map_addr(map);
	is(mmapdev_map_size(map), 0, "which is empty (%s)", o->name);
	is(mmapdev_map_window(map), WINDOW, "and whole pages (%s)", o->name);
	is(store(a), SIGBUS, "there is no first byte (%s)", o->name);
	is(mmapdev_map_grow(map, 100), 0, "a hundred bytes (%s)", o->name);
	is(mmapdev_map_size(map), 100, "are a hundred (%s)", o->name);
	is(size_of(o), rounded(o, 100), "in the object too (%s)", o->name);
	memset(a, 7, 100);
	is(mmapdev_flush(map, 0, 100), 0, "they are committed (%s)", o->name);
	is(mmapdev_flush(map, 0, 101), -ERANGE, "and no more (%s)", o->name);
	is(mmapdev_map_grow(map, 101), 0, "one more (%s)", o->name);
	is(a[99] * 16 + a[100], 7 * 16, "after what there is (%s)", o->name);
	mmapdev_unmap(map);
}

static void test_cut(struct object *o)
{
	uint64_t page = page_size();
	struct mmapdev_map *map, *other;
	char *a;

	anew(o, 0);
	need(map_window(o->dev, 0, 0, WINDOW, 0, &map), "map");
	a = mmapdev_map_addr(map);
	need(mmapdev_map_grow(map, 2 * MIB), "grow");
	memset(a, 3, 2 * MIB);

	is(mmapdev_map_cut(map, 2 * MIB + 1), -ERANGE,
	   "it is not cut to more than it has (%s)", o->name);
	is(mmapdev_map_cut(map, MIB + 1), 0, "it is cut (%s)", o->name);
	is(mmapdev_map_size(map), MIB + 1, "to the byte (%s)", o->name);
	is(size_of(o), rounded(o, MIB + 1), "with the object (%s)", o->name);
	is(store(a + MIB), 0, "the rest is there (%s)", o->name);
	is(store(a + MIB + page), SIGBUS, "and no more (%s)", o->name);
	is(mmapdev_map_grow(map, 2 * MIB), 0, "it grows again (%s)", o->name);
	ok(zeros(a + MIB + page, MIB - page), "with zeros (%s)", o->name);

	need(map_window(o->dev, 0, 0, WINDOW, 0, &other), "map");
	is(mmapdev_map_cut(other, page), 0, "another cuts it (%s)", o->name);
	is(mmapdev_map_cut(map, MIB), -ENXIO,
	   "what is cut away is not cut (%s)", o->name);
	is(size_of(o), page, "nor added (%s)", o->name);
	is(mmapdev_map_cut(map, 0), 0, "nothing is left (%s)", o->name);
	is(size_of(o), 0, "of the object (%s)", o->name);
	mmapdev_unmap(other);
	mmapdev_unmap(map);
}

/* Of the second page on; the handle is closed. */
static void test_offset(struct object *o)
{
	uint64_t page = page_size();
	struct mmapdev *dev;
	struct mmapdev_map *map;
	char *a;

	anew(o, 2 * page);
	dev = reopen(o, O_RDWR);
	is(map_window(dev, page, 0, WINDOW - page, 0, &map), 0,
	   "a window from the second page on (%s)", o->name);
	mmapdev_close(dev);
	a = mmapdev_map_addr(map);
	is(mmapdev_map_size(map), page, "has the rest (%s)", o->name);
	is(mmapdev_map_grow(map, MIB), 0,
	   "it grows though its handle is closed (%s)", o->name);
	is(size_of(o), MIB + page, "as far as it has to (%s)", o->name);
	is(store(a + MIB - 1), 0, "its last byte is there (%s)", o->name);
	is(mmapdev_map_cut(map, 1), 0, "it is cut (%s)", o->name);
	is(size_of(o), rounded(o, page + 1), "where it begins (%s)", o->name);
	mmapdev_unmap(map);

	is(map_window(o->dev, rounded(o, size_of(o)) + page, 0, WINDOW / 2, 0,
		      &map),
	   strcmp(o->name, "device") ? -EINVAL : -ENXIO,
	   "none begins beyond the end (%s)", o->name);
}

/* Others see what was grown by others. */
static void test_reader(struct object *o)
{
	struct mmapdev_map *writer, *reader;
	struct mmapdev *dev;

	anew(o, SIZE);
	dev = reopen(o, O_RDONLY);
	need(map_window(o->dev, 0, 0, WINDOW, 0, &writer), "map");
	is(map_window(dev, 0, 0, WINDOW, 0, &reader), 0,
	   "a reader has a window (%s)", o->name);
	is(mmapdev_map_grow(reader, MIB), -EBADF,
	   "which cannot make the object grow (%s)", o->name);
	is(mmapdev_map_size(reader), SIZE, "nor grows alone (%s)", o->name);
	is(mmapdev_map_cut(reader, 1), -EBADF, "nor cuts it (%s)", o->name);
	need(mmapdev_map_grow(writer, MIB), "grow");
	((char *)mmapdev_map_addr(writer))[MIB - 1] = 5;
	is(mmapdev_map_grow(reader, MIB), 0, "it follows the writer (%s)",
	   o->name);
	is(((char *)mmapdev_map_addr(reader))[MIB - 1], 5,
	   "and sees what that wrote (%s)", o->name);
	mmapdev_unmap(writer);
	mmapdev_unmap(reader);
	mmapdev_close(dev);
}

static void test_populate(struct object *o)
{
	unsigned char there[MIB / 4096];
	struct mmapdev_map *map;
	size_t i, pages = MIB / page_size(), missing = 0;

	anew(o, 0);
	need(map_window(o->dev, 0, 0, WINDOW, MMAPDEV_MAP_POPULATE, &map),
	     "map");
	is(mmapdev_map_grow(map, MIB), 0, "a populated one grows (%s)",
	   o->name);
	need(mincore(mmapdev_map_addr(map), MIB, there) ? -errno : 0,
	     "mincore");
	for (i = 0; i < pages; i++)
		missing += !(there[i] & 1);
	is(missing, 0, "with all its pages (%s)", o->name);

	wrap_reset();
	wrap_fail(W_MADVISE, 1, ENOMEM);
	is(mmapdev_map_grow(map, 2 * MIB), -ENOMEM,
	   "that there is no memory is told (%s)", o->name);
	is(mmapdev_map_size(map), MIB, "the map is as it was (%s)", o->name);
	wrap_fail(W_MADVISE, 1, EFAULT);
	is(mmapdev_map_grow(map, 2 * MIB), -EFAULT, "and that it went (%s)",
	   o->name);
	wrap_fail(W_MADVISE, 1, EHWPOISON);
	is(mmapdev_map_grow(map, 2 * MIB), -EHWPOISON,
	   "and that it is bad (%s)", o->name);
	is(mmapdev_map_grow(map, 2 * MIB), 0, "the next call works (%s)",
	   o->name);
	wrap_reset();
	mmapdev_unmap(map);
}

static void test_refused(struct object *o)
{
	uint64_t page = page_size();
	struct mmapdev_map *map;

	anew(o, SIZE);
	is(map_window(o->dev, 0, 0, WINDOW, MMAPDEV_MAP_PRIVATE, &map),
	   -EINVAL, "copies have no window (%s)", o->name);
	is(map_window(o->dev, 0, 0, SIZE - 1, 0, &map), -EINVAL,
	   "no window is less than the map (%s)", o->name);
	is(map_window(o->dev, 0, 0, UINT64_MAX, 0, &map), -EOVERFLOW,
	   "nor more than a size (%s)", o->name);
	is(map_window(o->dev, page, 0, INT64_MAX, 0, &map), -ENXIO,
	   "nor ends where no object can (%s)", o->name);
	if (strcmp(o->name, "device"))
		is(map_window(o->dev, 0, 0, (uint64_t)1 << 60, 0, &map),
		   -ENOMEM, "nor has more than the address space (%s)",
		   o->name);
	else
		is(map_window(o->dev, 0, 0, (uint64_t)1 << 40, 0, &map),
		   -ENXIO, "nor ends beyond max_size");
	is(mmapdev_map_grow(NULL, 1), -EINVAL, "nobody grows (%s)", o->name);
	is(mmapdev_map_cut(NULL, 1), -EINVAL, "or is cut (%s)", o->name);
	is(mmapdev_map_window(NULL), 0, "or has a window (%s)", o->name);

	need(map_window(o->dev, 0, 0, 0, 0, &map), "map");
	is(mmapdev_map_window(map), SIZE, "without a window (%s)", o->name);
	is(mmapdev_map_grow(map, SIZE + 1), -ENXIO, "it cannot grow (%s)",
	   o->name);
	is(mmapdev_map_cut(map, SIZE / 2), 0, "but be cut (%s)", o->name);
	mmapdev_unmap(map);
	need(map_window(o->dev, 0, 0, 0, MMAPDEV_MAP_PRIVATE, &map), "map");
	is(mmapdev_map_grow(map, SIZE), -ENXIO, "a private one not (%s)",
	   o->name);
	is(mmapdev_map_cut(map, 1), -EINVAL, "nor that (%s)", o->name);
	mmapdev_unmap(map);
}

/* What only the storage of a file can say. */
static void test_storage(struct object *o)
{
	struct mmapdev_map *map;

	if (!strcmp(o->name, "device"))
		return;
	anew(o, 0);
	need(map_window(o->dev, 0, 0, WINDOW, 0, &map), "map");
	wrap_reset();
	wrap_fail(W_FALLOCATE, 5, EINTR);
	is(mmapdev_map_grow(map, MIB), 0, "signals do not keep it (%s)",
	   o->name);
	is(wrap_calls(W_FALLOCATE), 6, "not five (%s)", o->name);
	wrap_fail(W_FALLOCATE, 1, EOPNOTSUPP);
	is(mmapdev_map_grow(map, 2 * MIB), -EOPNOTSUPP,
	   "a file system that promises no storage is told (%s)", o->name);
	wrap_fail(W_FALLOCATE, 1, EFBIG);
	is(mmapdev_map_grow(map, 2 * MIB), -EFBIG, "or no such size (%s)",
	   o->name);
	is(mmapdev_map_size(map), MIB, "the map is as it was (%s)", o->name);
	wrap_fail(W_FTRUNCATE, 1, EINTR);
	is(mmapdev_map_cut(map, 1), -EINTR, "a cut that fails (%s)", o->name);
	is(mmapdev_map_size(map), MIB, "changes nothing (%s)", o->name);
	wrap_fail(W_FSTAT, 1, EIO);
	is(mmapdev_map_cut(map, 1), -EIO, "or cannot look (%s)", o->name);
	wrap_reset();
	mmapdev_unmap(map);

	if (strcmp(o->name, "memfd"))
		return;
	anew(o, SIZE);
	need(map_window(o->dev, 0, 0, WINDOW, 0, &map), "map");
	need(fcntl(mmapdev_fd(o->dev), F_ADD_SEALS,
		   F_SEAL_GROW | F_SEAL_SHRINK) ? -errno : 0, "seal");
	is(mmapdev_map_grow(map, MIB), -EPERM, "a seal on growing");
	is(mmapdev_map_cut(map, 1), -EPERM, "a seal on shrinking");
	mmapdev_unmap(map);
}

/* A file system of 1 MiB, in a namespace that goes with the process. */
static int small_disk(const char *path)
{
	if (unshare(CLONE_NEWNS) && unshare(CLONE_NEWUSER | CLONE_NEWNS))
		return -errno;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", path, "tmpfs", 0, "size=1M"))
		return -errno;
	return 0;
}

static int on_full_disk(const char *dir)
{
	struct object o = { .name = "full disk" };
	struct mmapdev_map *map;
	uint64_t cursor;

	need(small_disk(dir), "a small file system");
	snprintf(o.path, sizeof(o.path), "%.50s/file", dir);
	need(mmapdev_open(o.path, O_RDWR | O_CREAT, &o.dev), "open");
	need(map_window(o.dev, 0, 0, WINDOW, 0, &map), "map");
	is(mmapdev_map_grow(map, 2 * MIB), -ENOSPC,
	   "what cannot be stored is ENOSPC, no SIGBUS later");
	is(mmapdev_map_size(map), 0, "the map is as it was");
	is(mmapdev_map_grow(map, MIB / 2), 0, "what can be is there");
	memset(mmapdev_map_addr(map), 1, MIB / 2);
	cursor = MIB / 2;
	is(mmapdev_reserve(map, &cursor, 4096), MIB / 2,
	   "where there is no room for many there is for one");
	is(mmapdev_reserve(map, &cursor, MIB), -ENOSPC,
	   "a reservation without storage is refused");
	is(cursor, MIB / 2 + 4096, "and takes nothing");
	return done() | fflush(stdout);
}

static void test_full_disk(void)
{
	char dir[] = "/tmp/mmapdev.XXXXXX";
	int status = -1;
	pid_t pid;

	if (!mkdtemp(dir))
		need(-errno, dir);
	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(on_full_disk(dir));
	waitpid(pid, &status, 0);
	rmdir(dir);
	is(status, 0, "a full disk, in a process of its own");
}

static void test_object(struct object *o)
{
	test_grow(o);
	test_empty(o);
	test_cut(o);
	test_offset(o);
	test_reader(o);
	test_populate(o);
	test_refused(o);
	test_storage(o);
}

int main(void)
{
	signal(SIGBUS, on_signal);
	test_full_disk();
	on_every_object(SIZE, test_object);
	return done();
}
