// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Persist: which lines a range touches, that each method that this CPU has does
 * no harm, and which way a map takes.
 *
 * No test can see whether a line has left a cache. What is proved is that the
 * right lines are given to the right instruction; in a VM with persistent memory
 * $MMAPDEV_PMEM is a folder whose files can be mapped MAP_SYNC.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../lib/private.h"
#include "common.h"
#include "wrap.h"

#define LINE 64
#define AREA (4 * LINE + 200)

/* How often each line was given; one more on either side, for those too many. */
static struct {
	const char *base;
	unsigned int times[AREA / LINE + 3];
	unsigned int wrong;
} seen;

static void note(const void *line)
{
	ptrdiff_t at = (const char *)line - seen.base + LINE;

	if (at < 0 || at % LINE || (size_t)at / LINE >= sizeof(seen.times) / 4)
		seen.wrong++;
	else
		seen.times[at / LINE]++;
}

/* By the definition: a line is touched if it has a byte of the range. */
static unsigned int missed(size_t offset, size_t length)
{
	unsigned int wrong = seen.wrong, line, wanted;
	size_t i;

	for (line = 0; line < sizeof(seen.times) / 4; line++) {
		wanted = 0;
		for (i = offset; i < offset + length; i++)
			wanted |= i / LINE + 1 == line;
		wrong += seen.times[line] != wanted;
	}
	return wrong;
}

static void test_lines(void)
{
	static _Alignas(2 * LINE) char area[AREA];
	unsigned int wrong = 0;
	size_t offset, length;

	for (offset = 0; offset <= 130; offset++)
		for (length = 0; length <= 200; length++) {
			memset(&seen, 0, sizeof(seen));
			seen.base = area;
			mmapdev_each_line(area + offset, length, LINE, note);
			wrong += missed(offset, length);
		}
	is(wrong, 0, "each line with a byte of the range is given once, and no "
		     "other: 131 offsets, 201 lengths");

	memset(&seen, 0, sizeof(seen));
	seen.base = area;
	mmapdev_each_line(area + 1, 130, 128, note);
	ok(!seen.wrong && seen.times[1] == 1 && seen.times[3] == 1 &&
	   !seen.times[2], "lines of 128 bytes too");
}

static void test_method(int method)
{
	static _Alignas(LINE) unsigned char area[AREA], wanted[AREA];
	int wrong = 0, ret = 0;
	size_t i, length;

	for (i = 0; i < AREA; i++)
		area[i] = wanted[i] = i * 7;
	for (i = 0; i <= 130 && !wrong; i++)
		for (length = 0; length <= 200; length += 3) {
			/* Dirty, and so written back. */
			area[i] = wanted[i] = i + length;
			ret = mmapdev_persist_by(method, area + i, length);
			wrong += ret != method;
		}
	if (ret == -EOPNOTSUPP) {
		printf("# method %d: not on this CPU\n", method);
		return;
	}
	ok(!wrong && !memcmp(area, wanted, AREA),
	   "method %d runs at every alignment and changes no byte", method);
}

#if defined(__x86_64__)
/* What the kernel found, which asked the CPU for itself. */
static int best_of_cpuinfo(void)
{
	static const char *const names[] = { "", " clflush ", " clflushopt ",
					     " clwb " };
	FILE *f = fopen("/proc/cpuinfo", "r");
	char line[8192] = "";
	int best = 3;

	while (f && fgets(line, sizeof(line), f) && strncmp(line, "flags", 5))
		;
	if (f)
		fclose(f);
	line[strcspn(line, "\n")] = ' ';
	while (best && !strstr(line, names[best]))
		best--;
	return best;
}
#endif

static void test_memory(void)
{
	char byte = 0;
	int method, best = mmapdev_persist_lines(&byte, 1);

	for (method = 1; method <= 4; method++)
		test_method(method);
	/* What persist_lines passes on where best() has found no method. */
	is(returned("mmapdev_persist_lines", mmapdev_persist_by(0, &byte, 1)),
	   -EOPNOTSUPP,
	   "any memory cannot be msynced");
#if defined(__x86_64__)
	ok(best >= MMAPDEV_PERSIST_CLFLUSH && best <= MMAPDEV_PERSIST_CLWB,
	   "every x86-64 has one of the three (%d)", best);
	is(best, best_of_cpuinfo(), "it is the best that the kernel lists");
#else
	ok(best == MMAPDEV_PERSIST_CVAP || best == -EOPNOTSUPP,
	   "dc cvap or nothing (%d)", best);
#endif
	if (best > 0) {
		is(mmapdev_persist_by(best, &byte, 1), best,
		   "the best is one that it has");
		for (method = best + 1; method <= 4; method++)
			is(mmapdev_persist_by(method, &byte, 1), -EOPNOTSUPP,
			   "and it has none that is better (%d)", method);
		is(mmapdev_persist_lines(NULL, 0), best, "nothing is flushed");
	}
	is(mmapdev_persist_lines(NULL, 1), -EINVAL, "there is nothing at NULL");
	is(mmapdev_persist_lines(&byte, SIZE_MAX), -EINVAL, "an overflow");
}

static void refused(struct mmapdev_map *map, uint64_t size, const char *name)
{
	is(mmapdev_persist(map, 5, 0), 0, "nothing persists (%s)", name);
	is(mmapdev_persist(map, size, 0), 0, "at the end too (%s)", name);
	is(mmapdev_persist(map, size + 1, 0), -ERANGE, "beyond it ERANGE (%s)",
	   name);
	is(mmapdev_persist(map, 0, size + 1), -ERANGE, "a byte too many (%s)",
	   name);
	is(mmapdev_persist(map, size, 1), -ERANGE, "a byte too far (%s)", name);
	is(mmapdev_persist(map, 8, UINT64_MAX), -ERANGE, "an overflow (%s)",
	   name);
}

static void test_msync(struct object *o)
{
	uint64_t page = page_size(), size = 4 * page;
	struct mmapdev_map_opts opts = {
		.sz = sizeof(opts),
		.flags = MMAPDEV_MAP_PRIVATE,
	};
	struct mmapdev_map *map;
	struct wrap_call call;

	need(mmapdev_map(o->dev, NULL, &map), "map");
	is(mmapdev_persist_method(map), MMAPDEV_PERSIST_MSYNC,
	   "a map of no persistent memory is msynced (%s)", o->name);
	wrap_reset();
	is(mmapdev_persist(map, page + 1, page), 0, "which works (%s)",
	   o->name);
	call = wrap_last(W_MSYNC);
	ok(wrap_calls(W_MSYNC) == 1 &&
	   call.addr == (char *)mmapdev_map_addr(map) + page &&
	   call.length == page + 1, "on the pages of the range (%s)", o->name);
	wrap_fail(W_MSYNC, 1, EIO);
	is(mmapdev_persist(map, 0, size), -EIO,
	   "and what the storage says comes back (%s)", o->name);
	is(mmapdev_persist(map, 0, size), 0, "once (%s)", o->name);
	refused(map, size, o->name);
	mmapdev_unmap(map);

	need(mmapdev_map(o->dev, &opts, &map), "map");
	is(mmapdev_persist(map, 0, 1), -EINVAL,
	   "copies cannot persist (%s)", o->name);
	is(mmapdev_persist_method(map), -EINVAL, "by any method (%s)", o->name);
	mmapdev_unmap(map);
}

/* A map passed off as one that the kernel took MAP_SYNC for. */
static void test_as_if(struct object *o)
{
	struct mmapdev_map *map;
	int best = mmapdev_persist_lines(NULL, 0);
	char *mem;

	need(mmapdev_map(o->dev, NULL, &map), "map");
	mem = mmapdev_map_addr(map);
	map->flags |= MMAPDEV_MAP_SYNC;
	is(mmapdev_persist_method(map), best > 0 ? best : MMAPDEV_PERSIST_MSYNC,
	   "MAP_SYNC: the best of this CPU (%s)", o->name);
	wrap_reset();
	mem[4095] = 1;
	is(mmapdev_persist(map, 4095, 2), 0, "MAP_SYNC: it persists (%s)",
	   o->name);
	is(wrap_calls(W_MSYNC), best > 0 ? 0 : 1,
	   "MAP_SYNC: without a system call (%s)", o->name);
	refused(map, 4 * page_size(), o->name);
	mmapdev_unmap(map);
}

static void test_not_sync(struct object *o)
{
	struct mmapdev_map_opts opts = {
		.sz = sizeof(opts),
		.flags = MMAPDEV_MAP_SYNC,
	};
	struct mmapdev_map *map;

	is(mmapdev_map(o->dev, &opts, &map), -EOPNOTSUPP,
	   "the kernel tells that this is no persistent memory (%s)", o->name);
}

static void test_object(struct object *o)
{
	test_msync(o);
	test_as_if(o);
	test_not_sync(o);
}

/* Real persistent memory. */
static void test_pmem(const char *folder)
{
	struct mmapdev_map_opts opts = {
		.sz = sizeof(opts),
		.flags = MMAPDEV_MAP_SYNC,
		.window = 64 * page_size(),
	};
	struct mmapdev_map *map;
	struct mmapdev *dev;
	char path[256];
	char *mem;

	snprintf(path, sizeof(path), "%s/persist", folder);
	need(mmapdev_open(path, O_RDWR | O_CREAT, &dev), path);
	need(mmapdev_resize(dev, 4 * page_size()), "resize");
	is(mmapdev_map(dev, &opts, &map), 0,
	   "the kernel maps persistent memory MAP_SYNC");
	ok(mmapdev_persist_method(map) > 0, "it persists by instructions (%d)",
	   mmapdev_persist_method(map));
	wrap_reset();
	mem = mmapdev_map_addr(map);
	memset(mem, 1, 4 * page_size());
	is(mmapdev_persist(map, 0, 4 * page_size()), 0, "all of it");
	is(mmapdev_map_grow(map, 64 * page_size()), 0, "it grows");
	mem[63 * page_size() + 5] = 7;
	is(mmapdev_persist(map, 63 * page_size() + 5, 1), 0,
	   "what is new persists");
	is(wrap_calls(W_MSYNC), 0, "without a system call");
	refused(map, 64 * page_size(), "pmem");
	mmapdev_unmap(map);
	mmapdev_close(dev);
	unlink(path);
}

static void test_log(const char *folder)
{
	struct mmapdev_log_opts opts = {
		.sz = sizeof(opts),
		.flags = MMAPDEV_LOG_CREATE | MMAPDEV_LOG_CRC,
		.segment = 4096,
	};
	struct mmapdev_log_report report = { .sz = sizeof(report) };
	struct mmapdev_log_writer *writer;
	struct mmapdev_log *log;
	struct mmapdev *dev;
	int i, wrong = 0;
	char path[256];

	snprintf(path, sizeof(path), "%s/log", folder);
	need(mmapdev_open(path, O_RDWR | O_CREAT, &dev), path);
	need(mmapdev_log_open(dev, &opts, &log), "log");
	need(mmapdev_log_writer_open(log, &writer), "writer");
	wrap_reset();
	for (i = 0; i < 300; i++) {
		wrong += !!mmapdev_log_append(writer, &i, sizeof(i), 0);
		wrong += !!mmapdev_log_sync(writer);
	}
	is(wrong, 0, "a log there is synced");
	is(wrap_calls(W_FSYNC) + wrap_calls(W_MSYNC), 0,
	   "without a system call, too");
	mmapdev_log_writer_close(writer);
	mmapdev_log_close(log);
	need(mmapdev_log_verify(dev, &report), "verify");
	is(report.records, 300, "and has it all");
	mmapdev_close(dev);
	unlink(path);
}

int main(void)
{
	test_lines();
	test_memory();
	is(mmapdev_persist(NULL, 0, 0), -EINVAL, "no map");
	is(mmapdev_persist_method(NULL), -EINVAL, "no method");
	on_every_object(4 * page_size(), test_object);
	if (getenv("MMAPDEV_PMEM")) {
		test_pmem(getenv("MMAPDEV_PMEM"));
		test_log(getenv("MMAPDEV_PMEM"));
	}
	return done();
}
