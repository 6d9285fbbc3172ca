// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Maps: what they show, what they keep to themselves, what they refuse. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common.h"
#include "wrap.h"

#define PAGES 8

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

static int map_range(struct mmapdev *dev, uint64_t offset, uint64_t length,
		     uint32_t flags, struct mmapdev_map **map)
{
	struct mmapdev_map_opts opts = {
		.sz = sizeof(opts),
		.offset = offset,
		.length = length,
		.flags = flags,
	};

	return mmapdev_map(dev, &opts, map);
}

static char byte_at(struct object *o, uint64_t offset)
{
	char byte = '?';

	if (pread(mmapdev_fd(o->dev), &byte, 1, offset) != 1)
		return '?';
	return byte;
}

static void test_shared(struct object *o)
{
	struct mmapdev_map *one, *two;
	char *a, *b;

	is(mmapdev_map(o->dev, NULL, &one), 0, "the whole is mapped (%s)",
	   o->name);
	is(mmapdev_map_size(one), PAGES * page_size(), "to its end (%s)",
	   o->name);
	is(map_range(o->dev, page_size(), page_size(), 0, &two), 0,
	   "a part too (%s)", o->name);
	is(mmapdev_map_size(two), page_size(), "of its length (%s)", o->name);
	a = mmapdev_map_addr(one);
	b = mmapdev_map_addr(two);

	a[page_size() + 7] = 'x';
	is(b[7], 'x', "shared maps see one memory (%s)", o->name);
	is(byte_at(o, page_size() + 7), 'x', "which the object holds (%s)",
	   o->name);
	is(mmapdev_unmap(one), 0, "one is unmapped (%s)", o->name);
	is(b[7], 'x', "the other stays (%s)", o->name);
	is(mmapdev_unmap(two), 0, "until it goes too (%s)", o->name);
	is(store(b), SIGSEGV, "then its memory is gone (%s)", o->name);
}

static void test_rest(struct object *o)
{
	uint64_t size = PAGES * page_size() - 1000;
	struct mmapdev_map *map;

	need(ftruncate(mmapdev_fd(o->dev), size), "ftruncate");
	is(map_range(o->dev, 2 * page_size(), 0, 0, &map), 0,
	   "length 0 maps the rest (%s)", o->name);
	is(mmapdev_map_size(map), size - 2 * page_size(),
	   "to the last byte, though a page is not full (%s)", o->name);
	mmapdev_unmap(map);
	need(ftruncate(mmapdev_fd(o->dev), PAGES * page_size()), "ftruncate");
}

static void test_private(struct object *o)
{
	struct mmapdev_map *one, *two, *shared;
	char *a, *b, *s;

	need(mmapdev_map(o->dev, NULL, &shared), "map");
	is(map_range(o->dev, 0, 0, MMAPDEV_MAP_PRIVATE, &one), 0,
	   "a private map (%s)", o->name);
	is(map_range(o->dev, 0, 0, MMAPDEV_MAP_PRIVATE, &two), 0,
	   "and a second (%s)", o->name);
	a = mmapdev_map_addr(one);
	b = mmapdev_map_addr(two);
	s = mmapdev_map_addr(shared);

	s[0] = 's';
	ok(a[0] == 's' && b[0] == 's', "both show the object (%s)", o->name);
	a[0] = 'a';
	b[0] = 'b';
	ok(a[0] == 'a' && b[0] == 'b', "each keeps its own writes (%s)",
	   o->name);
	ok(s[0] == 's' && byte_at(o, 0) == 's', "the object none (%s)",
	   o->name);
	is(mmapdev_flush(one, 0, 1), -EINVAL, "so it flushes none (%s)",
	   o->name);
	is(mmapdev_flush(one, 0, 0), -EINVAL, "not even nothing (%s)", o->name);
	mmapdev_unmap(one);
	mmapdev_unmap(two);
	mmapdev_unmap(shared);
}

static void test_protection(struct object *o)
{
	struct mmapdev *reader = reopen(o, O_RDONLY);
	struct mmapdev *writer = reopen(o, O_WRONLY);
	struct mmapdev_map *map;

	need(mmapdev_map(reader, NULL, &map), "map");
	is(store(mmapdev_map_addr(map)), SIGSEGV,
	   "opened for reading, mapped for reading (%s)", o->name);
	mmapdev_unmap(map);
	need(map_range(reader, 0, 0, MMAPDEV_MAP_PRIVATE, &map), "map");
	is(store(mmapdev_map_addr(map)), 0,
	   "a private map can be written all the same (%s)", o->name);
	mmapdev_unmap(map);
	need(map_range(o->dev, 0, 0, MMAPDEV_MAP_READONLY, &map), "map");
	is(store(mmapdev_map_addr(map)), SIGSEGV,
	   "READONLY is read only (%s)", o->name);
	mmapdev_unmap(map);
	need(map_range(o->dev, 0, 0,
		       MMAPDEV_MAP_READONLY | MMAPDEV_MAP_PRIVATE, &map),
	     "map");
	is(store(mmapdev_map_addr(map)), SIGSEGV, "also a private one (%s)",
	   o->name);
	mmapdev_unmap(map);
	is(mmapdev_map(writer, NULL, &map), -EACCES,
	   "what cannot be read cannot be mapped (%s)", o->name);
	mmapdev_close(reader);
	mmapdev_close(writer);
}

static void test_refused(struct object *o)
{
	struct mmapdev_map *const untouched = (struct mmapdev_map *)-1;
	struct mmapdev_map *map = untouched;
	uint64_t page = page_size(), end = PAGES * page;

	wrap_reset();
	is(mmapdev_map(NULL, NULL, &map), -EINVAL, "no handle (%s)", o->name);
	is(mmapdev_map(o->dev, NULL, NULL), -EINVAL, "no result (%s)", o->name);
	is(map_range(o->dev, 0, 0, 1u << 4, &map), -EINVAL,
	   "an unknown flag (%s)", o->name);
	is(map_range(o->dev, 0, 0, 1u << 31, &map), -EINVAL,
	   "another one (%s)", o->name);
	is(map_range(o->dev, 1, 0, 0, &map), -EINVAL,
	   "an offset inside a page (%s)", o->name);
	is(map_range(o->dev, page - 1, 1, 0, &map), -EINVAL,
	   "at its end (%s)", o->name);
	is(map_range(o->dev, end, 0, 0, &map), -ENXIO, "the end (%s)", o->name);
	is(map_range(o->dev, end + page, 0, 0, &map), -ENXIO,
	   "beyond the end (%s)", o->name);
	is(map_range(o->dev, 0, end + 1, 0, &map), -ENXIO,
	   "one byte beyond the end (%s)", o->name);
	is(map_range(o->dev, end - page, 2 * page, 0, &map), -ENXIO,
	   "half beyond the end (%s)", o->name);
	is(map_range(o->dev, -page, page, 0, &map), -EOVERFLOW,
	   "offset and length that overflow (%s)", o->name);
	is(map_range(o->dev, page, UINT64_MAX, 0, &map), -EOVERFLOW,
	   "a length that overflows (%s)", o->name);
	is(map_range(o->dev, 0, UINT64_MAX, 0, &map), -ENXIO,
	   "16 EiB (%s)", o->name);
	is(wrap_calls(W_MMAP), 0, "the kernel is not asked (%s)", o->name);
	ok(map == untouched, "the result is left alone (%s)", o->name);

	need(ftruncate(mmapdev_fd(o->dev), 0), "ftruncate");
	is(mmapdev_map(o->dev, NULL, &map), -ENXIO, "an empty object (%s)",
	   o->name);
	need(ftruncate(mmapdev_fd(o->dev), end), "ftruncate");
}

/* sysfs says that its files have a page, and maps none of them. */
static void test_unmappable(void)
{
	struct mmapdev_map *map;
	struct mmapdev *dev;

	need(mmapdev_open("/sys/kernel/uevent_seqnum", O_RDONLY, &dev),
	     "a file of sysfs");
	is(mmapdev_map(dev, NULL, &map), -ENODEV,
	   "a file system that cannot map");
	mmapdev_close(dev);
}

static void test_no_room(struct object *o)
{
	struct rlimit old, low;
	struct mmapdev_map *map;

	need(getrlimit(RLIMIT_AS, &old), "getrlimit");
	low = old;
	low.rlim_cur = page_size();
	need(setrlimit(RLIMIT_AS, &low), "setrlimit");
	is(mmapdev_map(o->dev, NULL, &map), -ENOMEM,
	   "no address space is left (%s)", o->name);
	need(setrlimit(RLIMIT_AS, &old), "setrlimit");
}

static void test_outlives(struct object *o)
{
	struct mmapdev *dev = reopen(o, O_RDWR);
	struct mmapdev_map *map;
	char *a;

	need(mmapdev_map(dev, NULL, &map), "map");
	mmapdev_close(dev);
	a = mmapdev_map_addr(map);
	a[3] = 'c';
	is(byte_at(o, 3), 'c', "a map outlives its handle (%s)", o->name);
	is(mmapdev_flush(map, 0, 4), 0, "can be flushed (%s)", o->name);
	is(mmapdev_unmap(map), 0, "and unmapped (%s)", o->name);
}

static long faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt + usage.ru_majflt;
}

static long faults_of_writes(struct mmapdev_map *map)
{
	volatile char *a = mmapdev_map_addr(map);
	long before = faults();
	size_t i;

	for (i = 0; i < mmapdev_map_size(map); i += page_size())
		a[i] = 1;
	return faults() - before;
}

static void test_populate(struct object *o)
{
	uint64_t pages = 512;
	unsigned char resident[512];
	struct mmapdev_map *map;
	unsigned int i, here = 0;

	need(ftruncate(mmapdev_fd(o->dev), pages * page_size()), "ftruncate");
	wrap_reset();
	is(map_range(o->dev, 0, 0, MMAPDEV_MAP_POPULATE, &map), 0,
	   "a shared map is populated (%s)", o->name);
	is(wrap_last(W_MADVISE).flags, 23, "for writing (%s)", o->name);
	need(mincore(mmapdev_map_addr(map), pages * page_size(), resident),
	     "mincore");
	for (i = 0; i < pages; i++)
		here += resident[i] & 1;
	is(here, pages, "every page is there (%s)", o->name);
	/*
	 * Not 0: the shadow that ASan keeps of 512 pages is 64 pages. And what
	 * the system writes to a disk in between faults once more.
	 */
	if (strcmp(o->name, "file"))
		ok(faults_of_writes(map) < 128, "512 stores do not fault (%s)",
		   o->name);
	mmapdev_unmap(map);

	is(map_range(o->dev, 0, 0, MMAPDEV_MAP_POPULATE | MMAPDEV_MAP_READONLY,
		     &map),
	   0, "a read-only one (%s)", o->name);
	is(wrap_last(W_MADVISE).flags, 22, "for reading (%s)", o->name);
	mmapdev_unmap(map);
	is(map_range(o->dev, 0, 0, MMAPDEV_MAP_POPULATE | MMAPDEV_MAP_PRIVATE,
		     &map),
	   0, "a private one (%s)", o->name);
	is(wrap_last(W_MADVISE).flags, 22, "for reading too (%s)", o->name);
	ok(faults_of_writes(map) >= 512,
	   "each page of it is copied at the first store (%s)", o->name);
	mmapdev_unmap(map);

	need(mmapdev_map(o->dev, NULL, &map), "map");
	is(wrap_calls(W_MADVISE), 3, "nothing unless asked (%s)", o->name);
	mmapdev_unmap(map);
	need(ftruncate(mmapdev_fd(o->dev), PAGES * page_size()), "ftruncate");
}

static void test_shrunk(struct object *o)
{
	struct mmapdev_map *map;
	char *a;

	need(mmapdev_map(o->dev, NULL, &map), "map");
	a = mmapdev_map_addr(map);
	need(ftruncate(mmapdev_fd(o->dev), page_size()), "ftruncate");
	is(store(a), 0, "what is left of a shrunken object holds (%s)",
	   o->name);
	is(store(a + page_size()), SIGBUS, "the rest is SIGBUS (%s)", o->name);
	need(ftruncate(mmapdev_fd(o->dev), PAGES * page_size()), "ftruncate");
	is(store(a + page_size()), 0, "until it grows again (%s)", o->name);
	mmapdev_unmap(map);
}

static void test_object(struct object *o)
{
	test_shared(o);
	test_rest(o);
	test_private(o);
	test_protection(o);
	test_refused(o);
	test_no_room(o);
	test_outlives(o);
	test_populate(o);
	test_shrunk(o);
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	on_each_object(PAGES * page_size(), test_object);
	test_unmappable();

	is(mmapdev_unmap(NULL), 0, "no map is unmapped already");
	ok(!mmapdev_map_addr(NULL), "and is nowhere");
	is(mmapdev_map_size(NULL), 0, "and has no bytes");
	return done();
}
