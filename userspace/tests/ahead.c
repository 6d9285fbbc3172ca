// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Map-ahead: what its statistics say is in place is touched without a fault, and
 * nothing of it is ever changed. Tests wait for statistics, never for time.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
#include "wrap.h"

#ifndef MADV_POPULATE_READ /* Linux 5.14 */
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

#define SIZE (8 * MIB)
#define WINDOW MIB

/* The sanitizers' own memory faults too: they are to know nothing of these. */
#define PLAIN __attribute__((noinline, no_sanitize("address"),                 \
			     no_sanitize("thread"), no_sanitize("undefined")))

static long faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_minflt + usage.ru_majflt;
}

PLAIN static void write_pages(volatile char *at, size_t length, size_t page)
{
	for (; length >= page; length -= page, at += page)
		*at = *at;
}

PLAIN static void read_pages(volatile char *at, size_t length, size_t page)
{
	for (; length >= page; length -= page, at += page)
		(void)*at;
}

static long faults_of(void (*touch)(volatile char *, size_t, size_t),
		      struct mmapdev_map *map, uint64_t offset, uint64_t length)
{
	volatile char *mem = mmapdev_map_addr(map);
	size_t page = page_size();
	long before = faults();

	touch(mem + offset, length, page);
	return faults() - before;
}

/* Lets others run, and is false when what is waited for has not come for long. */
static bool waits_since(uint64_t begun)
{
	sched_yield();
	return milliseconds() - begun < 60000;
}

/* Of a range, the pages that are not in place, as /proc tells. */
static long absent(struct mmapdev_map *map, uint64_t offset, uint64_t length)
{
	uint64_t first = (uintptr_t)mmapdev_map_addr(map) + offset, entry, i;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	long count = 0;

	for (i = first / page_size(); i < (first + length) / page_size(); i++) {
		need(pread(fd, &entry, 8, i * 8) == 8 ? 0 : -EIO, "pagemap");
		count += !(entry >> 63);
	}
	close(fd);
	return count;
}

/*
 * Pages that a disk is written from are written to by a fault once more,
 * whenever the system sees fit to write them: of a file that is no proof.
 */
static long faults_of_writer(struct object *o, struct mmapdev_map *map,
			     uint64_t offset, uint64_t length)
{
	long pages = absent(map, offset, length);
	long count = faults_of(write_pages, map, offset, length);

	return strcmp(o->name, "file") ? count : pages;
}

static struct mmapdev_ahead_stats stats_of(struct mmapdev_ahead *a)
{
	struct mmapdev_ahead_stats stats = { .sz = sizeof(stats) };

	need(mmapdev_ahead_get_stats(a, &stats), "stats");
	return stats;
}

/* The helper has nothing more to do then, where @done is all that is asked. */
static uint64_t wait_for(struct mmapdev_ahead *a, uint64_t done)
{
	uint64_t begun = milliseconds();

	while (stats_of(a).done < done && waits_since(begun))
		;
	return stats_of(a).done;
}

static struct mmapdev_ahead *start(struct mmapdev_map *map, uint64_t window,
				   uint32_t flags)
{
	struct mmapdev_ahead_opts opts = {
		.sz = sizeof(opts),
		.window = window,
		.flags = flags,
	};
	struct mmapdev_ahead *a = NULL;

	need(mmapdev_ahead_start(map, &opts, &a), "start");
	return a;
}

static struct mmapdev_map *map_it(struct mmapdev *dev, uint32_t flags,
				  uint64_t length, uint64_t window)
{
	struct mmapdev_map_opts opts = {
		.sz = sizeof(opts),
		.flags = flags,
		.length = length,
		.window = window,
	};
	struct mmapdev_map *map = NULL;

	need(mmapdev_map(dev, &opts, &map), "map");
	return map;
}

/* Each wakeup has it say anew from where on it is to be told. */
static bool wants_to_be_told_at(struct mmapdev_ahead *a, uint64_t offset)
{
	struct mmapdev_ahead_head *head = (void *)a;
	uint64_t begun = milliseconds();

	do {
		if (__atomic_load_n(&head->wake, __ATOMIC_RELAXED) == offset)
			return true;
		mmapdev_ahead_wake(a);
	} while (waits_since(begun));
	return false;
}

static void test_writer(struct object *o)
{
	struct mmapdev_map *map = map_it(o->dev, 0, 0, 0);
	struct mmapdev_ahead *a;

	need(mmapdev_fill(o->dev, 0, WINDOW / 2, 0x0102030405060708), "fill");
	wrap_reset();
	a = start(map, WINDOW, 0);
	is(wait_for(a, WINDOW), WINDOW, "a window is put in place (%s)",
	   o->name);
	is(wrap_last(W_MADVISE).flags, MADV_POPULATE_WRITE,
	   "for writing (%s)", o->name);
	is(faults_of_writer(o, map, 0, WINDOW), 0,
	   "and written to without a fault (%s)", o->name);
	ok(wants_to_be_told_at(a, WINDOW / 2),
	   "it is told when half of it is used up (%s)", o->name);
	mmapdev_ahead_at(a, WINDOW / 4);
	ok(wants_to_be_told_at(a, WINDOW / 4 + WINDOW * 3 / 8) &&
	   stats_of(a).done == WINDOW, "and does nothing before (%s)", o->name);
	mmapdev_ahead_at(a, WINDOW / 2);
	is(wait_for(a, WINDOW + WINDOW / 2), WINDOW + WINDOW / 2,
	   "and half is added (%s)", o->name);
	is(faults_of_writer(o, map, WINDOW, WINDOW / 2), 0,
	   "which does not fault either (%s)", o->name);
	is(stats_of(a).late, 0, "the caller was never there first (%s)",
	   o->name);
	is(stats_of(a).window, WINDOW, "the window is as was asked (%s)",
	   o->name);
	is(mmapdev_ahead_stop(a), 0, "it stops (%s)", o->name);
	ok(((char *)mmapdev_map_addr(map))[WINDOW / 2 - 1] == 1 &&
	   ((char *)mmapdev_map_addr(map))[WINDOW / 2] == 0,
	   "what was there is there (%s)", o->name);
	mmapdev_unmap(map);
}

static void test_reader(struct object *o)
{
	struct mmapdev_map *map = map_it(o->dev, 0, 0, 0);
	struct mmapdev *reader = reopen(o, O_RDONLY);
	struct mmapdev_ahead *a;

	wrap_reset();
	a = start(map, WINDOW, MMAPDEV_AHEAD_READ);
	wait_for(a, WINDOW);
	is(wrap_last(W_MADVISE).flags, MADV_POPULATE_READ,
	   "a reader's is for reading (%s)", o->name);
	is(faults_of(read_pages, map, 0, WINDOW), 0,
	   "and read without a fault (%s)", o->name);
	is(mmapdev_ahead_stop(a), 0, "a reader's stops (%s)", o->name);
	mmapdev_unmap(map);

	map = map_it(reader, 0, 0, 0);
	is(mmapdev_ahead_start(map, NULL, &a), -EBADF,
	   "a writer of what is read only: EBADF (%s)", o->name);
	a = start(map, WINDOW, MMAPDEV_AHEAD_READ);
	wait_for(a, WINDOW);
	is(faults_of(read_pages, map, 0, WINDOW), 0,
	   "a reader of it reads without a fault (%s)", o->name);
	mmapdev_ahead_stop(a);
	mmapdev_unmap(map);
	mmapdev_close(reader);
}

static void test_private(struct object *o)
{
	struct mmapdev_map *map = map_it(o->dev, MMAPDEV_MAP_PRIVATE, 0, 0);
	struct mmapdev_ahead *a = start(map, WINDOW, 0);

	wait_for(a, WINDOW);
	is(faults_of(write_pages, map, 0, WINDOW), 0,
	   "the copies of a private map are made ahead too (%s)", o->name);
	mmapdev_ahead_stop(a);
	mmapdev_unmap(map);
}

/* Whose pages are read-only until they are written. */
static void test_tracked(struct object *o)
{
	struct mmapdev_map *map = map_it(o->dev, 0, 0, 0);
	struct mmapdev_track *track = NULL;
	struct mmapdev_ahead *a;

	need(mmapdev_track_start(map, MMAPDEV_TRACK_PROTECT, &track), "track");
	a = start(map, WINDOW, 0);
	ok(wait_for(a, WINDOW) >= WINDOW,
	   "pages that are tracked are put in place as well (%s)", o->name);
	is(mmapdev_ahead_stop(a), 0, "without an error (%s)", o->name);
	mmapdev_track_stop(track);
	mmapdev_unmap(map);
}

static void test_jumps(struct object *o)
{
	const struct timespec rest = { .tv_nsec = 70000000 };
	struct mmapdev_map *map = map_it(o->dev, 0, 0, 0);
	struct mmapdev_ahead *a = start(map, WINDOW, 0);
	uint64_t late;

	wait_for(a, WINDOW);
	mmapdev_ahead_at(a, 4 * MIB);
	is(wait_for(a, 2 * WINDOW), 2 * WINDOW, "a jump ahead is followed (%s)",
	   o->name);
	is(faults_of_writer(o, map, 4 * MIB, WINDOW), 0,
	   "a window from there on does not fault (%s)", o->name);
	is(stats_of(a).late, 1, "the caller was there first (%s)", o->name);
	mmapdev_ahead_at(a, 2 * MIB);
	is(wait_for(a, 3 * WINDOW), 3 * WINDOW, "a step back too (%s)",
	   o->name);
	is(faults_of_writer(o, map, 2 * MIB, WINDOW), 0,
	   "that does not fault either (%s)", o->name);

	/* Whether or not it sleeps for good by then. */
	nanosleep(&rest, NULL);
	mmapdev_ahead_at(a, MIB);
	is(wait_for(a, 4 * WINDOW), 4 * WINDOW, "even after a rest (%s)",
	   o->name);
	mmapdev_ahead_at(a, SIZE - page_size());
	is(wait_for(a, 4 * WINDOW + page_size()), 4 * WINDOW + page_size(),
	   "at the end it is the rest (%s)", o->name);
	late = stats_of(a).late;
	mmapdev_ahead_at(a, SIZE + MIB);
	ok(wants_to_be_told_at(a, SIZE + MIB + 1) && stats_of(a).late == late,
	   "who is beyond the end came nowhere first (%s)", o->name);
	mmapdev_ahead_at(a, SIZE);
	mmapdev_ahead_at(a, UINT64_MAX - 1);
	mmapdev_ahead_at(a, UINT64_MAX);
	mmapdev_ahead_wake(a);
	is(mmapdev_ahead_stop(a), 0, "beyond the end is nothing (%s)", o->name);
	mmapdev_unmap(map);
}

static void test_grows(struct object *o)
{
	struct mmapdev_map *map = map_it(o->dev, 0, 0, SIZE);
	struct mmapdev_ahead *a;

	need(mmapdev_map_cut(map, MIB), "cut");
	a = start(map, 4 * MIB, 0);
	is(wait_for(a, MIB), MIB, "no more than the map has (%s)", o->name);
	need(mmapdev_map_grow(map, 2 * MIB), "grow");
	mmapdev_ahead_wake(a);
	is(wait_for(a, 2 * MIB), 2 * MIB, "and more when it grows (%s)",
	   o->name);
	is(faults_of_writer(o, map, 0, 2 * MIB), 0,
	   "all of which does not fault (%s)", o->name);
	/* Half of a size that it did not have before. */
	need(mmapdev_map_cut(map, MIB / 2), "cut");
	ok(wants_to_be_told_at(a, MIB / 4), "it is told of a cut (%s)",
	   o->name);
	need(mmapdev_map_grow(map, 2 * MIB), "grow");
	mmapdev_ahead_wake(a);
	is(wait_for(a, 3 * MIB + MIB / 2), 3 * MIB + MIB / 2,
	   "and does again what was cut (%s)", o->name);
	is(mmapdev_ahead_stop(a), 0, "it went well (%s)", o->name);
	mmapdev_unmap(map);
	need(mmapdev_resize(o->dev, 0), "resize");
	need(mmapdev_resize(o->dev, SIZE), "resize");
}

static void test_truncated(struct object *o)
{
	struct mmapdev_map *map = map_it(o->dev, 0, 0, 0);
	struct mmapdev_ahead *a;
	char *mem = mmapdev_map_addr(map);
	uint64_t begun;
	int calls;

	wrap_reset();
	a = start(map, WINDOW, 0);
	wait_for(a, WINDOW);
	need(mmapdev_resize(o->dev, MIB), "resize");
	calls = wrap_calls(W_MADVISE);
	mmapdev_ahead_at(a, 2 * MIB);
	begun = milliseconds();
	while (wrap_calls(W_MADVISE) == calls && waits_since(begun))
		;
	is(mmapdev_ahead_stop(a), -EFAULT,
	   "beyond an end that came nearer: EFAULT (%s)", o->name);
	mem[0] = 1;
	ok(mem[0], "and no signal (%s)", o->name);
	mmapdev_unmap(map);
	need(mmapdev_resize(o->dev, SIZE), "resize");
}

static int injected;

/* The first call of the helper; the one before it is of the start. */
static void fail_second(enum wrapped call)
{
	static int calls;

	if (call == W_CALLOC)
		calls = 0;
	if (call == W_MADVISE && ++calls == 2)
		wrap_fail(W_MADVISE, 1, injected);
}

static void test_errors(struct object *o)
{
	static const int errors[] = { ENOMEM, EFAULT, EHWPOISON, EIO };
	struct mmapdev_map *map = map_it(o->dev, 0, 0, 0);
	volatile char *mem = mmapdev_map_addr(map);
	struct mmapdev_ahead *a;
	unsigned int i;
	uint64_t begun;

	for (i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
		wrap_reset();
		injected = errors[i];
		wrap_before(fail_second);
		a = start(map, WINDOW, 0);
		begun = milliseconds();
		while (wrap_calls(W_MADVISE) < 2 && waits_since(begun))
			;
		mmapdev_ahead_at(a, WINDOW);
		mem[WINDOW] = 1;
		is(stats_of(a).done, 0, "the helper ends (%s, %d)", o->name,
		   errors[i]);
		is(mmapdev_ahead_stop(a), -errors[i], "and says why (%s, %d)",
		   o->name, errors[i]);
		wrap_reset();
	}
	mmapdev_unmap(map);
}

/* Those that there are, and one that was joined is for a moment yet. */
static pid_t known[64];
static size_t known_count;

static bool is_known(pid_t tid)
{
	size_t i;

	for (i = 0; i < known_count && known[i] != tid; i++)
		;
	return i < known_count;
}

/* Calls @what with each thread of this process, and adds up its answers. */
static int each_thread(int (*what)(pid_t tid))
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	int count = 0;

	need(dir ? 0 : -errno, "/proc/self/task");
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			count += what(atoi(entry->d_name));
	closedir(dir);
	return count;
}

static int know(pid_t tid)
{
	if (known_count < sizeof(known) / sizeof(*known))
		known[known_count++] = tid;
	return 1;
}

static void know_threads(void)
{
	known_count = 0;
	each_thread(know);
}

static int is_new(pid_t tid)
{
	return !is_known(tid);
}

/* How many there are that are not known, when they are @wanted or never. */
static int new_threads(int wanted)
{
	uint64_t begun = milliseconds();

	while (each_thread(is_new) != wanted && waits_since(begun))
		;
	return each_thread(is_new);
}

/* All but SIGKILL, SIGSTOP, and two that are libc's own. */
static int is_new_and_blocks_all(pid_t tid)
{
	const char *all = "SigBlk:\tfffffffe7ffbfeff";
	char path[64], line[300];
	int found = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", tid);
	f = is_known(tid) ? NULL : fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		found |= !strncmp(line, all, strlen(all));
	if (f)
		fclose(f);
	return found;
}

static void test_refused(struct object *o)
{
	struct {
		struct mmapdev_ahead_opts opts;
		uint64_t later;
	} o2 = { .opts.sz = sizeof(o2) };
	struct mmapdev_ahead_stats stats = { .sz = sizeof(stats) };
	struct mmapdev_map *map = map_it(o->dev, 0, 0, 0);
	struct mmapdev_ahead *a = NULL;

	know_threads();
	is(mmapdev_ahead_start(NULL, NULL, &a), -EINVAL, "no map");
	is(mmapdev_ahead_start(map, NULL, NULL), -EINVAL, "nowhere to store");
	o2.opts.flags = 2;
	is(mmapdev_ahead_start(map, &o2.opts, &a), -EINVAL, "unknown flag");
	o2.opts.flags = 0;
	o2.opts.reserved = 1;
	is(mmapdev_ahead_start(map, &o2.opts, &a), -EINVAL, "reserved");
	o2.opts.reserved = 0;
	o2.later = 1;
	is(mmapdev_ahead_start(map, &o2.opts, &a), -E2BIG, "a later option");
	o2.opts.sz = 8;
	is(mmapdev_ahead_start(map, &o2.opts, &a), -EINVAL, "too short");
	is(mmapdev_ahead_get_stats(NULL, &stats), -EINVAL, "nobody's figures");
	is(mmapdev_ahead_stop(NULL), 0, "nobody is stopped");
	mmapdev_ahead_wake(NULL);

	wrap_reset();
	wrap_fail(W_CALLOC, 1, ENOMEM);
	is(mmapdev_ahead_start(map, NULL, &a), -ENOMEM, "no memory");
	wrap_fail(W_PTHREAD_CREATE, 1, EAGAIN);
	is(mmapdev_ahead_start(map, NULL, &a), -EAGAIN, "no thread");
	wrap_fail(W_MADVISE, 1, EINVAL);
	is(mmapdev_ahead_start(map, NULL, &a), -EOPNOTSUPP, "an old kernel");
	ok(!a && !new_threads(0), "no thread is left");

	a = start(map, 1, 0);
	is(stats_of(a).window, page_size(), "a window is whole pages");
	mmapdev_ahead_stop(a);
	a = start(map, UINT64_MAX, 0);
	is(stats_of(a).window, SIZE, "and no more than the map may have");
	mmapdev_ahead_stop(a);

	need(mmapdev_ahead_start(map, NULL, &a), "start");
	is(new_threads(1), 1, "there is one, with the next call");
	is(mmapdev_ahead_get_stats(a, NULL), -EINVAL, "figures to nowhere");
	stats.sz = 8;
	is(mmapdev_ahead_get_stats(a, &stats), -EINVAL, "figures too short");
	is(mmapdev_ahead_stop(a), 0, "it stops");
	is(new_threads(0), 0, "and none again");
	mmapdev_unmap(map);
}

static void test_signals(struct object *o)
{
	struct mmapdev_map *map = map_it(o->dev, 0, 0, 0);
	struct mmapdev_ahead *a;
	sigset_t mask;

	know_threads();
	a = start(map, 0, 0);
	wait_for(a, 1);
	is(each_thread(is_new_and_blocks_all), 1,
	   "the helper takes no signal of the program's");
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	is(sigismember(&mask, SIGUSR1), 0, "which goes on to take them");
	mmapdev_ahead_stop(a);
	mmapdev_unmap(map);
}

/* Writes all of the map as fast as it can, in pieces of 64 bytes. */
static void write_all(struct mmapdev_map *map, struct mmapdev_ahead *a)
{
	uint64_t *mem = mmapdev_map_addr(map), at;

	for (at = 0; at < SIZE; at += 64) {
		mmapdev_ahead_at(a, at);
		mem[at / 8] = at + 1;
	}
}

static void test_fast(struct object *o)
{
	struct mmapdev_map *map = map_it(o->dev, 0, 0, 0);
	struct mmapdev_ahead *a = start(map, 0, 0);
	uint64_t *mem = mmapdev_map_addr(map), at, wrong = 0;
	struct mmapdev_ahead_stats stats;
	int i;

	for (i = 0; i < 4; i++)
		write_all(map, a);
	stats = stats_of(a);
	is(mmapdev_ahead_stop(a), 0, "a window of its own measure (%s)",
	   o->name);
	for (at = 0; at < SIZE; at += 64)
		wrong += mem[at / 8] != at + 1;
	is(wrong, 0, "and no store is lost (%s)", o->name);
	ok(stats.window >= 256 * KIB && stats.window <= 64 * MIB &&
	   !(stats.window % page_size()), "between its bounds (%s)", o->name);
	mmapdev_unmap(map);
}

static void test_stop(struct object *o)
{
	struct mmapdev_map *map = map_it(o->dev, 0, 0, 0);
	struct mmapdev_ahead *a;
	int i, wrong = 0;

	know_threads();
	for (i = 0; i < 72; i++) {
		a = start(map, i % 3 * 64 * KIB, i % 2);
		if (i % 4 == 1)
			wait_for(a, 64 * KIB);
		if (i % 4 >= 2)
			mmapdev_ahead_at(a, (uint64_t)i * 1000 * 8 % SIZE);
		wrong += !!mmapdev_ahead_stop(a);
	}
	is(wrong, 0, "it stops at any time (%s)", o->name);
	is(new_threads(0), 0, "and leaves no thread (%s)", o->name);
	mmapdev_unmap(map);
}

static void test_eager(struct object *o)
{
	struct mmapdev_ahead *a;
	struct mmapdev_map *map;

	need(mmapdev_set_mode(o->dev, MMAPDEV_MODE_EAGER), "mode");
	map = map_it(o->dev, 0, 0, 0);
	a = start(map, WINDOW, 0);
	is(wait_for(a, WINDOW), WINDOW, "an eager map is whole already (%s)",
	   o->name);
	is(mmapdev_ahead_stop(a), 0, "which is no error (%s)", o->name);
	mmapdev_unmap(map);
	need(mmapdev_set_mode(o->dev, MMAPDEV_MODE_DEMAND), "mode");
}

static void test_object(struct object *o)
{
	test_writer(o);
	test_reader(o);
	test_private(o);
	test_tracked(o);
	test_jumps(o);
	test_grows(o);
	test_truncated(o);
	test_errors(o);
	test_fast(o);
	test_stop(o);
	if (!strcmp(o->name, "device"))
		test_eager(o);
	if (strcmp(o->name, "memfd"))
		return;
	test_refused(o);
	test_signals(o);
}

int main(void)
{
	on_every_object(SIZE, test_object);
	return done();
}
