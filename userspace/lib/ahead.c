// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Map-ahead: a thread puts pages in place before one who goes through a map in
 * order comes to them, so that the page faults are taken on another CPU.
 *
 * The caller stores where it is, and compares that to where the helper wants to
 * be told. The helper keeps a window ahead of it, and sleeps while half of that
 * or more is left. It never touches the memory: a store of even a zero would
 * undo what another thread writes there in the same moment, so MADV_POPULATE_*
 * it is.
 *
 * The store and the compare are not ordered, so the helper may fall asleep on
 * an old offset; and who steps back is below the offset to be told at. Neither
 * is noticed by the caller. So the helper looks again after TICK, and sleeps
 * for good only when the caller was seen to rest, with the next move of any
 * kind to wake it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "private.h"

#define BATCH ((uint64_t)256 << 10)	 /* bytes of one madvise(2) */
#define WINDOW_MIN ((uint64_t)256 << 10) /* of a window that is measured */
#define WINDOW_MAX ((uint64_t)64 << 20)
#define TICK 20		 /* milliseconds */
#define SAMPLE 50	 /* microseconds over which speed is measured */
#define NEVER UINT64_MAX /* an offset that nobody comes to */

#define OPTS_FIRST offsetofend(struct mmapdev_ahead_opts, reserved)
#define STATS_FIRST offsetofend(struct mmapdev_ahead_stats, late)

struct mmapdev_ahead {
	struct mmapdev_ahead_head head;
	char apart[128]; /* from the line that the caller stores to */

	/* Atomic. */
	uint32_t quiet; /* a futex: 1 from each look on, until it is woken */
	uint32_t stop;
	bool grows; /* the object too, where it ends */
	uint64_t woken; /* microseconds: when the caller last did that */
	uint64_t window, done, late;

	/* Of the helper alone. */
	struct mmapdev_map *map;
	int advice; /* MADV_POPULATE_* */
	bool measured;
	bool overtaken;	       /* the last time that it looked */
	uint64_t begin, front; /* what is in place */
	uint64_t target;       /* where front is to be */
	uint64_t looked;       /* the caller, as of the last look */
	uint64_t at, seen;     /* the same, and when, as measured */
	uint64_t speed;	       /* bytes a microsecond */
	uint64_t latency, took; /* microseconds to wake up, and for a batch */
	int error;
	pthread_t thread;
};

_Static_assert(offsetof(struct mmapdev_ahead, head) == 0,
	       "the inline function finds the head");

static uint64_t load(const uint64_t *value)
{
	return __atomic_load_n(value, __ATOMIC_RELAXED);
}

static void store(uint64_t *value, uint64_t now)
{
	__atomic_store_n(value, now, __ATOMIC_RELAXED);
}

static uint64_t microseconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static uint64_t page_down(uint64_t offset)
{
	return offset - offset % sysconf(_SC_PAGESIZE);
}

/* The most of late: each is forgotten by eighths. */
static void take(uint64_t *peak, uint64_t sample)
{
	*peak -= *peak / 8;
	if (sample > *peak)
		*peak = sample;
}

/*
 * While the helper wakes up and does one batch, the caller goes on. Half the
 * window is twice as much as that.
 */
static void adapt(struct mmapdev_ahead *a)
{
	uint64_t window = 4 * a->speed * (a->latency + a->took);

	if (!a->measured)
		return;
	if (window < WINDOW_MIN)
		window = WINDOW_MIN;
	if (window > WINDOW_MAX)
		window = WINDOW_MAX;
	store(&a->window, page_down(window));
}

/* No more than a window: the rest of a jump is no speed. */
static void measure(struct mmapdev_ahead *a, uint64_t at)
{
	uint64_t now = microseconds(), moved = at - a->at;

	if (at >= a->at && now - a->seen < SAMPLE)
		return;
	if (at > a->at)
		take(&a->speed, (moved < a->window ? moved : a->window) /
					(now - a->seen));
	a->at = at;
	a->seen = now;
	adapt(a);
}

/*
 * Begins anew where the caller is, which is not where it was expected. One who
 * was faster before is met farther on, not raced for each page.
 */
static void restart(struct mmapdev_ahead *a, uint64_t at)
{
	bool overtaken = at > a->front;

	a->begin = page_down(at);
	a->front = a->begin;
	if (overtaken) {
		store(&a->late, a->late + 1);
		if (a->overtaken)
			a->front += a->window < 2 * BATCH ?
					    page_down(a->window / 2) : BATCH;
	}
	a->overtaken = overtaken;
}

/* Where the caller is, and so how far pages are to be in place. */
static void look(struct mmapdev_ahead *a)
{
	uint64_t at = load(&a->head.at), size = mmapdev_map_size(a->map);
	uint64_t most = __atomic_load_n(&a->grows, __ATOMIC_RELAXED) ?
				mmapdev_map_window(a->map) : size;

	a->looked = at;
	measure(a, at);
	if (at >= size) {
		a->target = 0;
		return;
	}

	if (at < a->begin || at > a->front)
		restart(a, at);
	else
		a->overtaken = false;
	if (a->front > size)
		a->front = size; /* the map was cut */
	if (a->front <= at || a->front - at <= a->window / 2)
		a->target = at + a->window;
	if (a->target > most)
		a->target = most;
}

static int put_batch(struct mmapdev_ahead *a)
{
	uint64_t from = page_down(a->front), start = microseconds();
	uint64_t end = a->target;
	int ret;

	if (end - from > BATCH)
		end = from + BATCH;
	/* Where there is no room the caller will meet that, and can say so. */
	if (end > mmapdev_map_size(a->map) && mmapdev_map_grow(a->map, end)) {
		__atomic_store_n(&a->grows, false, __ATOMIC_RELAXED);
		return 0;
	}
	ret = mmapdev_populate_by(a->map, from, end - from, a->advice);
	if (ret)
		return ret;

	take(&a->took, microseconds() - start);
	store(&a->done, a->done + end - a->front);
	a->front = end;
	return 0;
}

/* When half of what is ahead is used up. */
static uint64_t next_wake(const struct mmapdev_ahead *a, uint64_t at)
{
	return at < a->front ? at + (a->front - at + 1) / 2 : at + 1;
}

/*
 * Returns how often in a row the caller was seen to rest, of which @rested were
 * before. From the first time on each of its moves comes to mmapdev_ahead_wake.
 */
static unsigned int sleep_on(struct mmapdev_ahead *a, unsigned int rested)
{
	uint64_t at = a->looked, woken;
	int ret;

	store(&a->head.wake, rested ? 0 : next_wake(a, at));
	ret = mmapdev_futex_wait(&a->quiet, 1, rested < 2 ? TICK : -1);

	if (__atomic_load_n(&a->quiet, __ATOMIC_ACQUIRE)) {
		if (ret && load(&a->head.at) == at)
			return rested + 1;
	} else {
		woken = load(&a->woken);
		take(&a->latency, microseconds() - woken);
	}
	store(&a->head.wake, NEVER);
	return 0;
}

/*
 * Before a look: what comes to mmapdev_ahead_wake before this is seen by it, and
 * what comes later keeps the helper from falling asleep.
 */
static bool goes_on(struct mmapdev_ahead *a)
{
	__atomic_exchange_n(&a->quiet, 1, __ATOMIC_ACQ_REL);
	return !a->error && !__atomic_load_n(&a->stop, __ATOMIC_RELAXED);
}

static void *help(void *arg)
{
	struct mmapdev_ahead *a = arg;
	unsigned int rested = 0;

	while (goes_on(a)) {
		look(a);
		if (a->front < a->target) {
			store(&a->head.wake, NEVER);
			a->error = put_batch(a);
			rested = 0;
		} else {
			rested = sleep_on(a, rested);
		}
	}
	store(&a->head.wake, NEVER);
	return NULL;
}

/* Its signals are the caller's to handle. */
static int start_helper(struct mmapdev_ahead *a)
{
	sigset_t all, before;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ret = -pthread_create(&a->thread, NULL, help, a);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return ret;
}

static int check(const struct mmapdev_map *map,
		 const struct mmapdev_ahead_opts *opts)
{
	if (opts->flags & ~MMAPDEV_AHEAD_READ || opts->reserved)
		return -EINVAL;
	if (!(opts->flags & MMAPDEV_AHEAD_READ) && !(map->prot & PROT_WRITE))
		return -EBADF;
	return 0;
}

/* Whole pages, one at least and no more than there can be. */
static uint64_t whole_window(const struct mmapdev_map *map, uint64_t window)
{
	uint64_t page = sysconf(_SC_PAGESIZE);

	if (!window)
		return WINDOW_MIN;
	if (window > mmapdev_map_window(map))
		window = mmapdev_map_window(map);
	return page_down(window + page - 1);
}

int mmapdev_ahead_start(struct mmapdev_map *map,
			const struct mmapdev_ahead_opts *opts,
			struct mmapdev_ahead **out)
{
	struct mmapdev_ahead_opts o = { .sz = sizeof(o) };
	struct mmapdev_ahead *a;
	int ret = 0;

	if (!map || !out)
		return -EINVAL;
	if (opts)
		ret = mmapdev_struct_in(&o, sizeof(o), OPTS_FIRST, opts);
	if (!ret)
		ret = check(map, &o);
	if (ret)
		return ret;

	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->map = map;
	a->head.wake = NEVER;
	a->measured = !o.window;
	a->window = whole_window(map, o.window);
	a->seen = microseconds();
	/* For a writer the pages of a private map are copied: it needs them. */
	a->advice = o.flags & MMAPDEV_AHEAD_READ ? MADV_POPULATE_READ :
						   MADV_POPULATE_WRITE;
	/* Nothing is put in place, but what the kernel lacks it says now. */
	ret = mmapdev_populate_by(map, 0, 0, a->advice);
	if (!ret)
		ret = start_helper(a);
	if (ret) {
		free(a);
		return ret;
	}
	*out = a;
	return 0;
}

void mmapdev_ahead_grow(struct mmapdev_ahead *ahead)
{
	__atomic_store_n(&ahead->grows, true, __ATOMIC_RELAXED);
}

void mmapdev_ahead_wake(struct mmapdev_ahead *ahead)
{
	if (!ahead)
		return;

	store(&ahead->woken, microseconds());
	if (__atomic_exchange_n(&ahead->quiet, 0, __ATOMIC_ACQ_REL))
		mmapdev_futex_wake(&ahead->quiet, 1);
}

int mmapdev_ahead_stop(struct mmapdev_ahead *ahead)
{
	int ret;

	if (!ahead)
		return 0;

	__atomic_store_n(&ahead->stop, 1, __ATOMIC_RELAXED);
	mmapdev_ahead_wake(ahead);
	pthread_join(ahead->thread, NULL);
	ret = ahead->error;
	free(ahead);
	return ret;
}

int mmapdev_ahead_get_stats(struct mmapdev_ahead *ahead,
			    struct mmapdev_ahead_stats *stats)
{
	struct mmapdev_ahead_stats ours;

	if (!ahead || !stats)
		return -EINVAL;

	ours.window = load(&ahead->window);
	ours.done = load(&ahead->done);
	ours.late = load(&ahead->late);
	return mmapdev_struct_out(stats, sizeof(ours), STATS_FIRST, &ours);
}
