// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Tracking, by each method that works here, on each kind of memory: what was
 * written is told, nothing else is, and no write is lost, whoever writes while
 * the record is read, cleared, begun or ended.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"
#include "wrap.h"

#define PAGES 64
#define ALL UINT64_MAX
#define BIT(page) ((uint64_t)1 << (page))

/* A way to track a kind of memory. */
struct way {
	struct object *o;
	uint32_t flags; /* MMAPDEV_MAP_PRIVATE or 0 */
	uint32_t method;
	char name[64];
};

static struct object anonymous = { .name = "anonymous" };
static size_t page;
static bool has_uffd;

static int map_as(const struct way *w, uint64_t length, uint64_t window,
		  uint32_t flags, struct mmapdev_map **map)
{
	struct mmapdev_map_opts opts = {
		.sz = sizeof(opts),
		.length = length,
		.window = window,
		.flags = w->flags | flags,
	};

	return w->o->dev ? mmapdev_map(w->o->dev, &opts, map) :
			   mmapdev_map_anonymous(&opts, map);
}

static struct mmapdev_map *map_of(const struct way *w)
{
	struct mmapdev_map *map;

	need(map_as(w, PAGES * page, 0, 0, &map), w->name);
	return map;
}

static struct mmapdev_track *track_of(const struct way *w,
				      struct mmapdev_map *map)
{
	struct mmapdev_track *track;

	need(mmapdev_track_start(map, w->method, &track), w->name);
	return track;
}

static void end(struct mmapdev_track *track, struct mmapdev_map *map)
{
	need(mmapdev_track_stop(track), "stop");
	need(mmapdev_unmap(map), "unmap");
}

/* Bit i: page @first + i was written; ~0 as well where pages differs. */
static uint64_t written(struct mmapdev_track *track, uint64_t first,
			uint64_t count, uint32_t flags)
{
	unsigned char bitmap[8];
	uint64_t bits = 0, pages = 0, i;

	memset(bitmap, 0xff, sizeof(bitmap));
	need(mmapdev_track_read(track, first * page, count * page, flags,
				bitmap, &pages), "read");
	for (i = 0; i < (count + 7) / 8; i++)
		bits |= (uint64_t)bitmap[i] << 8 * i;
	return pages == (uint64_t)__builtin_popcountll(bits) ? bits : ALL;
}

static uint64_t taken(struct mmapdev_track *track)
{
	return written(track, 0, PAGES, MMAPDEV_DIRTY_CLEAR);
}

static void write_to(struct mmapdev_map *map, uint64_t at)
{
	((volatile unsigned char *)mmapdev_map_addr(map))[at * page]++;
}

static void write_all(struct mmapdev_map *map, uint64_t bits)
{
	uint64_t i;

	for (i = 0; i < 64; i++)
		if (bits >> i & 1)
			write_to(map, i);
}

static void test_exact(const struct way *w)
{
	struct mmapdev_map *map = map_of(w);
	volatile unsigned char *mem = mmapdev_map_addr(map);
	struct mmapdev_track *track;
	uint64_t some = BIT(0) | BIT(3) | BIT(40) | BIT(63);
	unsigned char bitmap[8];
	int sum = 0, i;

	memset(mmapdev_map_addr(map), 0, PAGES * page);
	write_all(map, BIT(1) | BIT(3));
	track = track_of(w, map);
	is(mmapdev_track_method(track), w->method, "the method is told (%s)",
	   w->name);
	is(taken(track), 0, "what was written before is not in it (%s)",
	   w->name);
	for (i = 0; i < PAGES; i++)
		sum += mem[i * page];
	is(written(track, 0, PAGES, 0), 0, "nor what is read (%s)", w->name);

	write_all(map, some);
	is(written(track, 0, PAGES, 0), some, "what is written is (%s)",
	   w->name);
	is(written(track, 0, PAGES, 0), some, "until it is cleared (%s)",
	   w->name);
	is(taken(track), some, "by who reads it (%s)", w->name);
	is(taken(track), 0, "then it is clean (%s)", w->name);
	write_all(map, BIT(3) | BIT(5));
	is(taken(track), BIT(3) | BIT(5), "until it is written again (%s)",
	   w->name);

	write_all(map, BIT(6) | BIT(7) | BIT(10) | BIT(18) | BIT(19));
	is(written(track, 7, 11, MMAPDEV_DIRTY_CLEAR), BIT(0) | BIT(3),
	   "a part is read, counted from its first page (%s)", w->name);
	is(written(track, 7, 11, 0), 0, "and cleared (%s)", w->name);
	is(written(track, 0, PAGES, 0), BIT(6) | BIT(18) | BIT(19),
	   "the rest is not (%s)", w->name);
	is(mmapdev_track_read(track, 0, PAGES * page, MMAPDEV_DIRTY_CLEAR,
			      bitmap, NULL), 0, "nobody need count (%s)",
	   w->name);
	is(written(track, PAGES, 0, 0), 0, "nothing is a range (%s)", w->name);
	write_all(map, ALL);
	is(taken(track), ALL, "all of it is written (%s)", w->name);
	ok(sum == 2 && mem[0] == 2 && mem[3 * page] == 4 && mem[7 * page] == 2,
	   "the memory is what was written (%s)", w->name);
	end(track, map);
}

static void test_again(const struct way *w)
{
	struct mmapdev_map *map = map_of(w);
	struct mmapdev_track *track;
	int i;

	for (i = 0; i < 3; i++) {
		track = track_of(w, map);
		write_all(map, BIT(i));
		is(taken(track), BIT(i), "round %d of a map (%s)", i, w->name);
		is(mmapdev_track_stop(track), 0, "ends (%s)", w->name);
		write_all(map, ALL);
	}
	mmapdev_unmap(map);
}

/* A map of 4 pages, in a window of all. */
static void test_window(const struct way *w)
{
	struct mmapdev_track *track;
	struct mmapdev_map *map;

	if (w->flags & MMAPDEV_MAP_PRIVATE || !w->o->dev)
		return;
	need(mmapdev_resize(w->o->dev, 4 * page), "resize");
	need(map_as(w, 4 * page, PAGES * page, MMAPDEV_MAP_POPULATE, &map),
	     "map");
	track = track_of(w, map);
	write_all(map, BIT(2));
	is(written(track, 0, PAGES, 0), BIT(2), "a window is read (%s)",
	   w->name);
	is(mmapdev_map_grow(map, 8 * page), 0, "it grows (%s)", w->name);
	taken(track);
	write_all(map, BIT(6));
	is(taken(track), BIT(6), "so does what is tracked (%s)", w->name);

	need(mmapdev_resize(w->o->dev, 16 * page), "resize");
	write_all(map, BIT(3) | BIT(12));
	is(taken(track), BIT(3), "a page that it has not grown to is not told (%s)",
	   w->name);
	is(mmapdev_map_grow(map, 12 * page + 1), 0, "until it has (%s)",
	   w->name);
	ok(taken(track) & BIT(12), "then it is (%s)", w->name);
	is(mmapdev_map_cut(map, 2 * page), 0, "it is cut (%s)", w->name);
	write_all(map, BIT(1));
	is(taken(track), BIT(1), "and read (%s)", w->name);
	end(track, map);
	need(mmapdev_resize(w->o->dev, PAGES * page), "resize");
}

static void test_guarded(const struct way *w)
{
	struct mmapdev_map *map = map_of(w);
	struct mmapdev_track *track = track_of(w, map);
	char *mem = mmapdev_map_addr(map);
	struct mmapdev_guard guard;

	if (!mmapdev_guard_begin(&guard, mem, PAGES * page))
		write_all(map, BIT(4));
	is(mmapdev_guard_end(&guard), 0, "a write under a guard succeeds (%s)",
	   w->name);
	is(taken(track), BIT(4), "and is told (%s)", w->name);
	if (w->o->dev) {
		need(mmapdev_resize(w->o->dev, 8 * page), "resize");
		if (!mmapdev_guard_begin(&guard, mem, PAGES * page))
			write_to(map, 20);
		is(mmapdev_guard_end(&guard), -ENXIO,
		   "one beyond the end fails (%s)", w->name);
		need(mmapdev_resize(w->o->dev, PAGES * page), "resize");
	}
	end(track, map);
}

static void test_kernel_writes(const struct way *w)
{
	struct mmapdev_map *map = map_of(w);
	struct mmapdev_track *track = track_of(w, map);
	char *mem = mmapdev_map_addr(map);
	int fd = open("/dev/zero", O_RDONLY), ret;

	ret = read(fd, mem + 9 * page, 8) < 0 ? -errno : 0;
	if (w->method == MMAPDEV_TRACK_PROTECT) {
		is(ret, -EFAULT, "the kernel does not write (%s)", w->name);
		write_all(map, BIT(9));
		is(read(fd, mem + 9 * page, 8), 8,
		   "before the program has (%s)", w->name);
	} else {
		is(ret, 0, "the kernel writes (%s)", w->name);
	}
	is(taken(track), BIT(9), "that is told (%s)", w->name);
	close(fd);
	end(track, map);
}

static int write_in_child(void *arg)
{
	write_all(arg, BIT(1) | BIT(2));
	return ((char *)mmapdev_map_addr(arg))[page] != 1;
}

static void test_fork(const struct way *w)
{
	struct mmapdev_map *map = map_of(w);
	struct mmapdev_track *track = track_of(w, map);
	bool seen = w->method == MMAPDEV_TRACK_DEVICE;

	memset(mmapdev_map_addr(map), 0, PAGES * page);
	taken(track);
	is(reap(spawn(write_in_child, map)), 0, "a child writes (%s)", w->name);
	is(taken(track), seen ? BIT(1) | BIT(2) : 0,
	   "which is %s (%s)", seen ? "told" : "its own affair", w->name);
	write_all(map, BIT(2));
	is(taken(track), BIT(2), "the parent's is told as before (%s)",
	   w->name);
	end(track, map);
}

static void test_refused(const struct way *w)
{
	struct mmapdev_map *map = map_of(w), *reader;
	struct mmapdev_track *track = track_of(w, map), *other = NULL;
	unsigned char bitmap[8];
	uint64_t pages = 77;

	is(mmapdev_track_start(map, w->method, &other), -EBUSY,
	   "one tracker at a time (%s)", w->name);
	is(mmapdev_track_start(map, MMAPDEV_TRACK_BEST, &other), -EBUSY,
	   "by whatever method (%s)", w->name);
	is(mmapdev_unmap(map), -EBUSY, "a tracked map stays (%s)", w->name);
	is(mmapdev_track_start(NULL, w->method, &other), -EINVAL,
	   "start: of nothing (%s)", w->name);
	is(mmapdev_track_start(map, w->method, NULL), -EINVAL,
	   "start: for nobody (%s)", w->name);
	is(mmapdev_track_start(map, 4, &other), -EINVAL,
	   "start: an unknown method (%s)", w->name);
	need(map_as(w, PAGES * page, 0,
		    w->o->dev ? MMAPDEV_MAP_READONLY : 0, &reader), "map");
	if (w->o->dev)
		is(mmapdev_track_start(reader, w->method, &other), -EACCES,
		   "start: who only reads (%s)", w->name);
	ok(!other, "the result is left alone (%s)", w->name);
	mmapdev_unmap(reader);

	is(mmapdev_track_read(NULL, 0, page, 0, bitmap, &pages), -EINVAL,
	   "read: nobody's (%s)", w->name);
	is(mmapdev_track_read(track, 0, page, 0, NULL, &pages), -EINVAL,
	   "read: to nowhere (%s)", w->name);
	is(mmapdev_track_read(track, 0, page, 2, bitmap, &pages), -EINVAL,
	   "read: an unknown flag (%s)", w->name);
	is(mmapdev_track_read(track, 1, page, 0, bitmap, &pages), -EINVAL,
	   "read: offsets are whole pages (%s)", w->name);
	is(mmapdev_track_read(track, 0, page + 1, 0, bitmap, &pages), -EINVAL,
	   "read: lengths are whole pages (%s)", w->name);
	is(mmapdev_track_read(track, 0, (PAGES + 1) * page, 0, bitmap, &pages),
	   -ERANGE, "read: a page too many (%s)", w->name);
	is(mmapdev_track_read(track, (PAGES + 1) * page, 0, 0, bitmap, &pages),
	   -ERANGE, "read: nothing, beyond the end (%s)", w->name);
	is(mmapdev_track_read(track, page, -page, 0, bitmap, &pages), -ERANGE,
	   "read: a range that overflows (%s)", w->name);
	is(pages, 77, "the count is left alone (%s)", w->name);
	is(mmapdev_track_method(NULL), -EINVAL, "the method of nothing (%s)",
	   w->name);
	is(mmapdev_track_stop(NULL), 0, "to stop nothing is easy (%s)",
	   w->name);
	end(track, map);
}

/*
 * Writers, and one who copies what is told. Each writer has a word in every
 * page, stores ever larger numbers there, and says so after each.
 */
#define WRITERS 3
#define ROUNDS 25
#define COPIED 400 /* pages, at least */

struct writer {
	pthread_t thread;
	uint64_t *mem;
	unsigned int index;
	uint64_t said; /* number << 8 | page */
};

static struct writer writers[WRITERS];
static bool stop_writers;

static void *write_on(void *arg)
{
	struct writer *w = arg;
	uint64_t x = w->index + 1, number = 0, at;

	while (!__atomic_load_n(&stop_writers, __ATOMIC_RELAXED)) {
		x = x * 6364136223846793005 + 1442695040888963407;
		at = x >> 33 & (PAGES - 1);
		number++;
		__atomic_store_n(&w->mem[at * page / 8 + w->index], number,
				 __ATOMIC_RELEASE);
		__atomic_store_n(&w->said, number << 8 | at, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void start_writers(struct mmapdev_map *map)
{
	unsigned int i;

	stop_writers = false;
	memset(mmapdev_map_addr(map), 0, PAGES * page);
	for (i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){ .index = i };
		writers[i].mem = mmapdev_map_addr(map);
		need(-pthread_create(&writers[i].thread, NULL, write_on,
				     &writers[i]), "pthread_create");
	}
	for (i = 0; i < WRITERS; i++)
		while (!__atomic_load_n(&writers[i].said, __ATOMIC_RELAXED))
			sched_yield();
}

static void join_writers(void)
{
	unsigned int i;

	__atomic_store_n(&stop_writers, true, __ATOMIC_RELAXED);
	for (i = 0; i < WRITERS; i++)
		pthread_join(writers[i].thread, NULL);
}

static uint64_t shadow[PAGES][WRITERS];

/* How many words were not the newest that was said before. */
static int copy_round(struct mmapdev_track *track, const uint64_t *mem,
		      uint64_t *copied)
{
	uint64_t said[WRITERS], bits, i, at;
	int stale = 0;

	for (i = 0; i < WRITERS; i++)
		said[i] = __atomic_load_n(&writers[i].said, __ATOMIC_ACQUIRE);
	bits = taken(track);
	for (at = 0; at < PAGES; at++) {
		if (!(bits >> at & 1))
			continue;
		++*copied;
		for (i = 0; i < WRITERS; i++)
			shadow[at][i] = __atomic_load_n(
				&mem[at * page / 8 + i], __ATOMIC_RELAXED);
	}
	for (i = 0; i < WRITERS; i++)
		stale += shadow[said[i] & 0xff][i] < said[i] >> 8;
	return stale;
}

static void test_copy(const struct way *w)
{
	struct mmapdev_map *map = map_of(w);
	struct mmapdev_track *track = track_of(w, map);
	const uint64_t *mem = mmapdev_map_addr(map);
	uint64_t copied = 0, lost = 0, at, i;
	int stale = 0, rounds = 0;

	start_writers(map);
	memset(shadow, 0, sizeof(shadow));
	while (copied < COPIED || rounds++ < ROUNDS)
		stale += copy_round(track, mem, &copied), sched_yield();
	join_writers();
	stale += copy_round(track, mem, &copied);

	for (at = 0; at < PAGES; at++)
		for (i = 0; i < WRITERS; i++)
			lost += shadow[at][i] != mem[at * page / 8 + i];
	is(lost, 0, "the copy is what was written (%s)", w->name);
	is(stale, 0, "each read told what was written before it (%s)", w->name);
	is(taken(track), 0, "in the end all is clean (%s)", w->name);
	end(track, map);
}

static void test_stop_under_writers(const struct way *w)
{
	struct mmapdev_map *map = map_of(w);
	const uint64_t *mem = mmapdev_map_addr(map);
	int round, wrong = 0;
	unsigned int i;

	start_writers(map);
	for (round = 0; round < ROUNDS; round++) {
		struct mmapdev_track *track = track_of(w, map);

		if (round % 2)
			taken(track);
		wrong += !!mmapdev_track_stop(track);
	}
	join_writers();
	is(wrong, 0, "it starts and stops while others write (%s)", w->name);
	for (i = 0; i < WRITERS; i++) {
		uint64_t said = writers[i].said;

		wrong += mem[(said & 0xff) * page / 8 + i] != said >> 8;
	}
	is(wrong, 0, "who do not notice (%s)", w->name);
	mmapdev_unmap(map);
}

/*
 * ThreadSanitizer wants no threads across fork(2), and calls the handlers of
 * signals later, even in code that blocks them.
 */
#ifndef __SANITIZE_THREAD__
static int child_with_writers(void *arg)
{
	write_all(arg, ALL);
	return 0;
}

/* Handlers and who clears are caught by fork(2) wherever they are. */
static void test_fork_under_writers(const struct way *w)
{
	struct mmapdev_map *map = map_of(w);
	struct mmapdev_track *track = track_of(w, map);
	uint64_t copied = 0;
	int wrong = 0, i;

	start_writers(map);
	memset(shadow, 0, sizeof(shadow));
	for (i = 0; i < 10; i++) {
		copy_round(track, mmapdev_map_addr(map), &copied);
		wrong += reap(spawn(child_with_writers, map));
	}
	join_writers();
	is(wrong, 0, "children of many threads write (%s)", w->name);
	end(track, map);
}

static struct mmapdev_map *tick_map;
static volatile sig_atomic_t ticks;
static sigjmp_buf tick_jump;
static volatile sig_atomic_t jump_on;

static void on_tick(int sig)
{
	(void)sig;
	write_to(tick_map, ticks++ % PAGES);
	if (jump_on)
		siglongjmp(tick_jump, 1);
}

/* Signals come anywhere, and their handlers write, or jump out of it all. */
static void test_signals(const struct way *w)
{
	struct itimerval timer = { { 0, 500 }, { 0, 500 } };
	struct sigaction action = { .sa_handler = on_tick }, old;
	struct mmapdev_map *map = map_of(w);
	struct mmapdev_track *track = track_of(w, map);

	tick_map = map;
	ticks = jump_on = 0;
	sigaction(SIGALRM, &action, &old);
	setitimer(ITIMER_REAL, &timer, NULL);
	while (ticks < 40) {
		write_all(map, ALL);
		taken(track);
	}
	sigsetjmp(tick_jump, 1);
	jump_on = ticks < 80;
	while (ticks < 80) {
		uint64_t i;

		/* No call to leave half done: what faults is a store. */
		for (i = 0; i < PAGES * page; i += page)
			((volatile char *)mmapdev_map_addr(map))[i]++;
		/* The next round of stores is to fault again. */
		jump_on = 0;
		taken(track);
		jump_on = 1;
	}
	timer = (struct itimerval){ 0 };
	setitimer(ITIMER_REAL, &timer, NULL);
	sigaction(SIGALRM, &old, NULL);
	ok(ticks >= 80, "signal handlers write to it, and jump (%s)", w->name);
	end(track, map);
}
#endif

/* Several maps, each in a thread of its own. */
static void *track_own(void *arg)
{
	const struct way *w = arg;
	uint64_t wrong = 0, i;

	for (i = 0; i < 20; i++) {
		struct mmapdev_map *map = map_of(w);
		struct mmapdev_track *track = track_of(w, map);

		write_all(map, BIT(i) | BIT(63));
		wrong += taken(track) != (BIT(i) | BIT(63));
		wrong += !!mmapdev_track_stop(track);
		wrong += !!mmapdev_unmap(map);
	}
	return (void *)(uintptr_t)wrong;
}

static void test_many_maps(const struct way *w)
{
	uintptr_t wrong = 0;
	pthread_t thread[3];
	void *ret;
	int i;

	/* Who records for everybody records the other threads' too. */
	if (w->method == MMAPDEV_TRACK_DEVICE)
		return;
	for (i = 0; i < 3; i++)
		need(-pthread_create(&thread[i], NULL, track_own, (void *)w),
		     "pthread_create");
	for (i = 0; i < 3; i++) {
		pthread_join(thread[i], &ret);
		wrong += (uintptr_t)ret;
	}
	is(wrong, 0, "three threads, each with a map (%s)", w->name);
}

static void on_every_way(struct object *o, void (*test)(const struct way *))
{
	static const char *const methods[] = { "best", "protect", "uffd",
					       "device" };
	struct way w = { .o = o };

	for (w.flags = 0; w.flags <= MMAPDEV_MAP_PRIVATE; w.flags++)
		for (w.method = 1; w.method <= 3; w.method++) {
			struct mmapdev_map *map = map_of(&w);
			struct mmapdev_track *track;
			int ret = mmapdev_track_start(map, w.method, &track);

			snprintf(w.name, sizeof(w.name), "%s %s, %s",
				 w.flags ? "private" : "shared", o->name,
				 methods[w.method]);
			if (!ret) {
				end(track, map);
				test(&w);
				continue;
			}
			if (ret != -EOPNOTSUPP)
				need(ret, w.name);
			mmapdev_unmap(map);
		}
}

/* Which of the methods an object has, and that the best of them is taken. */
static void test_methods(struct object *o)
{
	bool device = !strcmp(o->name, "device");
	struct way w = { .o = o };

	for (w.flags = 0; w.flags <= MMAPDEV_MAP_PRIVATE; w.flags++) {
		const char *kind = w.flags ? "private" : "shared";
		struct mmapdev_map *map = map_of(&w);
		struct mmapdev_track *track = NULL;
		bool record = device && !w.flags;
		int best = MMAPDEV_TRACK_PROTECT;

		is(mmapdev_track_start(map, MMAPDEV_TRACK_DEVICE, &track),
		   record ? 0 : -EOPNOTSUPP, "%s %s: %s record", kind, o->name,
		   record ? "has a" : "has no");
		mmapdev_track_stop(track);
		track = NULL;
		if (!mmapdev_track_start(map, MMAPDEV_TRACK_UFFD, &track))
			best = MMAPDEV_TRACK_UFFD;
		ok(device || (best == MMAPDEV_TRACK_UFFD) == has_uffd,
		   "%s %s: userfaultfd is as of all memory", kind, o->name);
		printf("# %s %s: uffd %s\n", kind, o->name,
		       best == MMAPDEV_TRACK_UFFD ? "works" : "does not work");
		mmapdev_track_stop(track);
		if (record)
			best = MMAPDEV_TRACK_DEVICE;
		need(mmapdev_track_start(map, MMAPDEV_TRACK_BEST, &track),
		     "best");
		is(mmapdev_track_method(track), best, "%s %s: the best of them",
		   kind, o->name);
		end(track, map);
	}
}

/* Whoever handled faults before the library did. */
static sigjmp_buf old_jump;
static const void *old_addr;

static void old_handler(int sig, siginfo_t *info, void *context)
{
	(void)context;
	old_addr = info->si_addr;
	siglongjmp(old_jump, sig);
}

static int store(volatile unsigned char *at)
{
	int sig = sigsetjmp(old_jump, 1);

	if (!sig)
		*at = 1;
	return sig;
}

static int load(volatile unsigned char *at)
{
	int sig = sigsetjmp(old_jump, 1);

	if (!sig)
		sig = -*at;
	return sig;
}

static int jump_to(void *at)
{
	int sig = sigsetjmp(old_jump, 1);
	void (*code)(void);

	memcpy(&code, &at, sizeof(code));
	if (!sig)
		code();
	return sig;
}

static void test_old_handler(void)
{
	struct way w = {
		.o = &anonymous,
		.method = MMAPDEV_TRACK_PROTECT,
	};
	struct mmapdev_map *map = map_of(&w);
	struct mmapdev_track *track = track_of(&w, map);
	unsigned char *mem = mmapdev_map_addr(map), *other;

	other = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	is(store(other), SIGSEGV, "a write elsewhere has its handler");
	ok(old_addr == other, "which is told where");
	need(mprotect(other, page, PROT_NONE), "mprotect");
	is(load(other), SIGSEGV, "so has a read");
	is(load(mem), 0, "a tracked page is read");
	is(jump_to(mem + 5 * page), SIGSEGV, "but no code");
	mem[6 * page] = 1;
	is(jump_to(mem + 6 * page), SIGSEGV, "nor after it was written");

	mem[8 * page] = 1;
	need(mprotect(mem + 8 * page, page, PROT_NONE), "mprotect");
	mprotect(mem + 8 * page, page, PROT_READ | PROT_WRITE);
	taken(track);
	is(store(mem + 8 * page), 0, "a protection that was lifted is over");
	taken(track);
	munmap(mem + 20 * page, page);
	is(store(mem + 20 * page), SIGSEGV, "where there is no memory");
	is(taken(track), 0, "nothing is written");
	need(mmap(mem + 20 * page, page, PROT_READ | PROT_WRITE, MAP_SHARED |
		  MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED ? -ENOMEM : 0,
	     "mmap");
	need(mmapdev_track_stop(track), "stop");
	need(mprotect(mem + 9 * page, page, PROT_READ), "mprotect");
	is(store(mem + 9 * page + 3), SIGSEGV,
	   "the program's own protection, when the tracker has stopped");
	ok(old_addr == mem + 9 * page + 3, "is told where it is hurt");
	need(mmapdev_unmap(map), "unmap");

	need(mmap(mem, page, PROT_READ,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
		     mem ? 0 : -ENOMEM, "mmap");
	wrap_reset();
	is(store(mem), SIGSEGV, "what is mapped there later is not tracked");
	ok(wrap_calls(W_PTHREAD_SIGMASK) < 10, "nor tried again");
	munmap(mem, page);
	munmap(other, page);
}

/* What comes at the worst of times: before it is in, or alone in, the lock. */
static struct mmapdev_map *late_map;
static struct mmapdev_track *late_track;
static void (*late)(void);

static enum wrapped late_at;

static void be_late(enum wrapped call)
{
	void (*what)(void) = late;

	if (call != late_at || !late)
		return;
	late = NULL;
	what();
}

/* A thread that waits to be told, for none can be made in a handler. */
enum { WAIT, GO, DONE };

static int other_step;

static void other_until(int step)
{
	while (__atomic_load_n(&other_step, __ATOMIC_ACQUIRE) != step)
		sched_yield();
}

static void (*other_does)(void);

static void *other_thread(void *arg)
{
	other_until(GO);
	other_does();
	__atomic_store_n(&other_step, DONE, __ATOMIC_RELEASE);
	return arg;
}

static void let_other(void)
{
	__atomic_store_n(&other_step, GO, __ATOMIC_RELEASE);
	other_until(DONE);
}

static void write_here(void)
{
	write_to(late_map, 9);
}

#ifndef __SANITIZE_THREAD__
static int fork_ret;

static void fork_here(void)
{
	fork_ret = reap(spawn(child_with_writers, late_map));
}
#endif

static void read_here(void)
{
	taken(late_track);
}

static void stop_here(void)
{
	need(mmapdev_track_stop(late_track), "stop");
	late_track = NULL;
}

static void at_worst(enum wrapped call, void (*what)(void))
{
	wrap_reset();
	late_at = call;
	late = what;
	wrap_before(be_late);
}

static pthread_t other_to(void (*what)(void))
{
	pthread_t thread;

	other_does = what;
	other_step = WAIT;
	need(-pthread_create(&thread, NULL, other_thread, NULL),
	     "pthread_create");
	return thread;
}

/*
 * ThreadSanitizer calls handlers with all signals blocked, and wants no fork(2)
 * of many threads.
 */
static void test_nested(struct object *o)
{
#ifndef __SANITIZE_THREAD__
	pthread_t other;

	at_worst(W_PTHREAD_SIGMASK, write_here);
	is(store((unsigned char *)mmapdev_map_addr(late_map) + 9 * page), 0,
	   "a signal handler has written the same byte meanwhile (%s)",
	   o->name);
	is(taken(late_track), BIT(9), "which is told (%s)", o->name);

	other = other_to(fork_here);
	write_to(late_map, 3);
	at_worst(W_MPROTECT, let_other);
	is(taken(late_track), BIT(3), "another thread forks meanwhile (%s)",
	   o->name);
	pthread_join(other, NULL);
	is(fork_ret, 0, "its child writes (%s)", o->name);
	taken(late_track);
#else
	(void)o;
#endif
}

static void test_late(struct object *o)
{
	struct way w = { .o = o, .method = MMAPDEV_TRACK_PROTECT };
	pthread_t other;

	late_map = map_of(&w);
	late_track = track_of(&w, late_map);
	write_all(late_map, BIT(3) | BIT(12));
	other = other_to(write_here);
	at_worst(W_PTHREAD_SIGMASK, let_other);
	is(taken(late_track), BIT(3) | BIT(9) | BIT(12),
	   "who reads sees what is written meanwhile (%s)", o->name);
	pthread_join(other, NULL);
	other = other_to(write_here);
	at_worst(W_PTHREAD_SIGMASK, let_other);
	write_to(late_map, 9);
	is(taken(late_track), BIT(9), "two write to one page (%s)", o->name);
	pthread_join(other, NULL);
	test_nested(o);
	at_worst(W_PTHREAD_SIGMASK, read_here);
	write_to(late_map, 9);
	is(taken(late_track), BIT(9), "a clear comes before the note (%s)",
	   o->name);
	other = other_to(stop_here);
	at_worst(W_PTHREAD_SIGMASK, let_other);
	is(store((unsigned char *)mmapdev_map_addr(late_map) + 8 * page), 0,
	   "the tracker was stopped meanwhile (%s)", o->name);
	pthread_join(other, NULL);
	ok(!late_track && !late, "in the midst of a fault (%s)", o->name);
	wrap_reset();
	need(mmapdev_unmap(late_map), "unmap");
}

/* What fails is call number @nth of a kind, from 0. */
static enum wrapped fails;
static int fails_at, fails_with;

static void fail_later(enum wrapped call)
{
	if (call == fails && !fails_at--)
		wrap_fail(call, 1, fails_with);
}

static void fail(enum wrapped call, int nth, int err)
{
	wrap_reset();
	fails = call;
	fails_at = nth;
	fails_with = err;
	wrap_before(fail_later);
}

static int descriptors(void)
{
	int fd, count = 0;

	for (fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static const struct start_case {
	const char *name;
	uint32_t method;
	enum wrapped call;
	int nth, err, wanted;
} start_cases[] = {
	{ "memory for the tracker", 1, W_CALLOC, 0, ENOMEM, -ENOMEM },
	{ "protect: memory for notes", 1, W_CALLOC, 1, ENOMEM, -ENOMEM },
	{ "protect: memory to watch", 1, W_CALLOC, 2, ENOMEM, -ENOMEM },
	{ "protect: no more mappings", 1, W_MPROTECT, 0, ENOMEM, -ENOMEM },
	{ "protect: a seal", 1, W_MPROTECT, 0, EACCES, -EACCES },
	{ "uffd: no such call", 2, W_SYSCALL, 0, ENOSYS, -EOPNOTSUPP },
	{ "uffd: a sandbox", 2, W_SYSCALL, 0, EPERM, -EOPNOTSUPP },
	{ "uffd: no descriptors", 2, W_SYSCALL, 0, EMFILE, -EMFILE },
	{ "uffd: none in the system", 2, W_SYSCALL, 0, ENFILE, -ENFILE },
	{ "uffd: no /proc", 2, W_OPEN, 0, ENOENT, -EOPNOTSUPP },
	{ "uffd: no /proc for us", 2, W_OPEN, 0, EACCES, -EOPNOTSUPP },
	{ "uffd: one descriptor", 2, W_OPEN, 0, EMFILE, -EMFILE },
	{ "uffd: an older kernel", 2, W_IOCTL, 0, EINVAL, -EOPNOTSUPP },
	{ "uffd: no tracker of this memory", 2, W_IOCTL, 1, EINVAL,
	  -EOPNOTSUPP },
	{ "uffd: somebody else's", 2, W_IOCTL, 1, EBUSY, -EBUSY },
	{ "uffd: no page tables", 2, W_IOCTL, 2, ENOMEM, -ENOMEM },
	{ "best: uffd refused", 0, W_IOCTL, 0, EINVAL, 0 },
	{ "best: uffd not there", 0, W_SYSCALL, 0, ENOSYS, 0 },
	{ "best: no descriptors", 0, W_SYSCALL, 0, EMFILE, -EMFILE },
};

static void test_start_fails(const struct start_case *c)
{
	struct way w = { .o = &anonymous, .method = c->method };
	struct mmapdev_map *map = map_of(&w);
	struct mmapdev_track *track = NULL;
	int before = descriptors();

	if (c->method == MMAPDEV_TRACK_UFFD && !has_uffd)
		goto unmap;
	fail(c->call, c->nth, c->err);
	is(mmapdev_track_start(map, c->method, &track), c->wanted, "start: %s",
	   c->name);
	wrap_reset();
	if (!c->wanted)
		is(mmapdev_track_method(track), MMAPDEV_TRACK_PROTECT,
		   "by the next best");
	mmapdev_track_stop(track);
	is(descriptors(), before, "no descriptor is left");
	write_all(map, ALL);
	need(mmapdev_track_start(map, c->method, &track), c->name);
	write_all(map, BIT(1));
	is(taken(track), BIT(1), "the next start works");
	need(mmapdev_track_stop(track), "stop");
unmap:
	need(mmapdev_unmap(map), "unmap");
}

/* Later calls: they fail, and the tracker is as it was. */
static void test_calls_fail(uint32_t method, enum wrapped call)
{
	struct way w = { .o = &anonymous, .method = method };
	const char *name = method == MMAPDEV_TRACK_UFFD ? "uffd" : "protect";
	struct mmapdev_map *map = map_of(&w);
	struct mmapdev_track *track = track_of(&w, map);
	unsigned char bitmap[8];
	uint64_t pages = 77;

	write_all(map, BIT(1) | BIT(9));
	fail(call, 0, ENOMEM);
	is(mmapdev_track_read(track, 0, PAGES * page, MMAPDEV_DIRTY_CLEAR,
			      bitmap, &pages), -ENOMEM, "%s: read fails", name);
	is(pages, 77, "%s: the count is left alone", name);
	wrap_reset();
	is(taken(track), BIT(1) | BIT(9), "%s: the record is as it was", name);
	fail(call, 0, ENOMEM);
	is(mmapdev_track_stop(track), -ENOMEM, "%s: stop fails", name);
	wrap_reset();
	is(mmapdev_unmap(map), -EBUSY, "%s: the map is tracked still", name);
	write_all(map, BIT(2));
	is(taken(track), BIT(2), "%s: what is written is told", name);
	is(mmapdev_track_stop(track), 0, "%s: the next stop works", name);
	need(mmapdev_unmap(map), "unmap");
}

/* The handler, once it is in place, stays: this comes first. */
static void test_install_fails(void)
{
	struct way w = { .o = &anonymous, .method = MMAPDEV_TRACK_PROTECT };
	struct mmapdev_map *map = map_of(&w);
	struct mmapdev_track *track = NULL;

	fail(W_PTHREAD_ATFORK, 0, ENOMEM);
	is(mmapdev_track_start(map, w.method, &track), -ENOMEM,
	   "start: no memory for fork(2)");
	fail(W_SIGACTION, 0, EINVAL);
	is(mmapdev_track_start(map, w.method, &track), -EINVAL,
	   "start: no handler");
	wrap_reset();
	is(mmapdev_unmap(map), 0, "the map is not tracked then");
}

/* No mapping can be split any more: all counts as written, nobody dies. */
static void test_no_mappings(struct object *o)
{
	struct way w = { .o = o, .method = MMAPDEV_TRACK_PROTECT };
	struct mmapdev_map *map = map_of(&w);
	struct mmapdev_track *track = track_of(&w, map);

	fail(W_MPROTECT, 0, ENOMEM);
	write_to(map, 7);
	wrap_reset();
	is(taken(track), ALL, "where mappings cannot be split, all is written (%s)",
	   o->name);
	write_all(map, BIT(8));
	is(taken(track), BIT(8), "until the next clear (%s)", o->name);
	fail(W_MPROTECT, 0, ENOMEM);
	write_to(map, 7);
	is(wrap_calls(W_MPROTECT), 2, "all is made writable at once (%s)",
	   o->name);
	wrap_reset();
	need(mmapdev_track_stop(track), "stop");

	track = track_of(&w, map);
	wrap_reset();
	wrap_fail(W_MPROTECT, 2, ENOMEM);
	is(store(mmapdev_map_addr(map)), SIGSEGV,
	   "if that fails too it is for others (%s)", o->name);
	wrap_reset();
	end(track, map);
}

/* As above, by the limit itself. */
static void test_map_count(void)
{
	struct mmapdev_map_opts opts = { .sz = sizeof(opts) };
	struct mmapdev_track *track;
	struct mmapdev_map *map;
	unsigned char *bitmap;
	uint64_t count = 0, pages, i;
	FILE *f = fopen("/proc/sys/vm/max_map_count", "r");

	if (!f || fscanf(f, "%" SCNu64, &count) != 1 || count > 100000) {
		printf("# vm.max_map_count is %" PRIu64 "\n", count);
		goto close;
	}
	count += 100;
	opts.length = count * page;
	bitmap = malloc(count / 8 + 1);
	need(mmapdev_map_anonymous(&opts, &map), "map");
	need(mmapdev_track_start(map, MMAPDEV_TRACK_PROTECT, &track), "start");
	for (i = 0; i < count / 2; i++)
		write_to(map, 2 * i);
	is(mmapdev_track_read(track, 0, opts.length, MMAPDEV_DIRTY_CLEAR,
			      bitmap, &pages), 0,
	   "every second of %" PRIu64 " pages is written", count);
	ok(pages > count - count / 8, "more than the mappings that there may be: %"
	   PRIu64 " are told", pages);
	write_to(map, count - 1);
	need(mmapdev_track_read(track, 0, opts.length, MMAPDEV_DIRTY_CLEAR,
				bitmap, &pages), "read");
	is(pages, 1, "then it is exact again");
	end(track, map);
	free(bitmap);
close:
	if (f)
		fclose(f);
}

static void test_alone(void)
{
	size_t i;

	test_old_handler();
	for (i = 0; i < sizeof(start_cases) / sizeof(start_cases[0]); i++)
		test_start_fails(&start_cases[i]);
	test_calls_fail(MMAPDEV_TRACK_PROTECT, W_MPROTECT);
	if (has_uffd)
		test_calls_fail(MMAPDEV_TRACK_UFFD, W_IOCTL);
	test_no_mappings(&anonymous);
	test_map_count();
}

static void test_object(struct object *o)
{
	test_methods(o);
	test_late(o);
	on_every_way(o, test_exact);
	on_every_way(o, test_again);
	on_every_way(o, test_window);
	on_every_way(o, test_guarded);
	on_every_way(o, test_kernel_writes);
	on_every_way(o, test_fork);
	on_every_way(o, test_refused);
	on_every_way(o, test_copy);
	on_every_way(o, test_stop_under_writers);
	on_every_way(o, test_many_maps);
#ifndef __SANITIZE_THREAD__
	on_every_way(o, test_signals);
	on_every_way(o, test_fork_under_writers);
#endif
}

/* Linux 6.7; of what it is then, test_methods() tells. */
static bool probe_uffd(void)
{
	struct way w = { .o = &anonymous };
	struct mmapdev_map *map = map_of(&w);
	struct mmapdev_track *track = NULL;
	int ret = mmapdev_track_start(map, MMAPDEV_TRACK_UFFD, &track);

	end(track, map);
	return !ret;
}

int main(void)
{
	struct sigaction action = {
		.sa_sigaction = old_handler,
		.sa_flags = SA_SIGINFO,
	};

	page = page_size();
	has_uffd = probe_uffd();
	sigaction(SIGSEGV, &action, NULL);
	test_install_fails();
	test_alone();
	on_every_object(PAGES * page, test_object);
	test_object(&anonymous);
	return done();
}
