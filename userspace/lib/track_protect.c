// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Tracking by the MMU: pages are read-only until they are written. The write
 * raises SIGSEGV, and the handler notes the page and makes it writable.
 *
 * Two steps, to note and to make writable, stand against two of who reads with
 * CLEAR, to take the notes and to protect again. Interleaved, a page ends up
 * writable with no note, whichever comes first in either pair. So handlers
 * share a lock that everybody else takes alone. Then a page is writable only
 * while it is noted, and what was written to it before it is protected again is
 * in the memory: mprotect(2) returns when no CPU has the old translation.
 *
 * Handlers wait for who is alone. He therefore blocks all signals, whose
 * handlers might write to a tracked page, and touches no memory but our own.
 * Handlers block them too: theirs might leave by siglongjmp(3).
 *
 * A thread may be told that a page is protected, and arrive here when it is no
 * longer: another thread was faster, or the tracker is stopped. It tries again;
 * that is why a map is watched until it is unmapped. If nothing was protected
 * since, another fault at the same byte is not ours: a jump there, or the
 * caller's own mprotect(2).
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "track.h"

/* A map that is or was tracked. */
struct mmapdev_watch {
	struct mmapdev_watch *next;
	char *addr;
	uint64_t pages;
	size_t page;
	unsigned char *written; /* one for each page; NULL: not tracked now */
};

/* Global, as the handler is. */
static struct mmapdev_watch *watches;
static uint64_t rounds; /* of being alone */

#define ALONE (1u << 31)
static uint32_t lock; /* ALONE, and how many handlers are in it */

/*
 * The last fault of this thread, and how often. One that comes again may be
 * that which a signal handler, run before ours began, has dealt with meanwhile:
 * once for each signal, for they may be nested.
 */
static __thread struct {
	const char *addr;
	uint64_t round;
	int times;
} last __attribute__((tls_model("initial-exec"))); /* allocates nothing */

static void block(sigset_t *unblocked)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, unblocked);
}

static void unblock(const sigset_t *unblocked)
{
	pthread_sigmask(SIG_SETMASK, unblocked, NULL);
}

static void begin_shared(void)
{
	uint32_t now = __atomic_load_n(&lock, __ATOMIC_RELAXED);

	for (;;) {
		if (now & ALONE) {
			mmapdev_futex_wait(&lock, now, -1);
			now = __atomic_load_n(&lock, __ATOMIC_RELAXED);
		} else if (__atomic_compare_exchange_n(&lock, &now, now + 1,
						       true, __ATOMIC_ACQUIRE,
						       __ATOMIC_RELAXED)) {
			return;
		}
	}
}

static void end_shared(void)
{
	if (__atomic_sub_fetch(&lock, 1, __ATOMIC_RELEASE) == ALONE)
		mmapdev_futex_wake(&lock, INT_MAX);
}

/* New handlers wait from here on, those that are in there leave. */
static void begin_alone(sigset_t *unblocked)
{
	uint32_t now;

	block(unblocked);
	while ((now = __atomic_fetch_or(&lock, ALONE, __ATOMIC_ACQUIRE)) &
	       ALONE)
		mmapdev_futex_wait(&lock, now, -1);
	while ((now = __atomic_load_n(&lock, __ATOMIC_ACQUIRE)) != ALONE)
		mmapdev_futex_wait(&lock, now, -1);
	rounds++;
}

static void end_alone(const sigset_t *unblocked)
{
	__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
	mmapdev_futex_wake(&lock, INT_MAX);
	unblock(unblocked);
}

/* Those who held it are not in the child. */
static void in_child(void)
{
	__atomic_store_n(&lock, 0, __ATOMIC_RELAXED);
}

static int install(void)
{
	static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
	static bool installed;
	int ret = 0;

	pthread_mutex_lock(&once);
	if (!installed)
		ret = -pthread_atfork(NULL, NULL, in_child);
	installed = !ret;
	pthread_mutex_unlock(&once);
	return ret ? ret : mmapdev_signal_install();
}

static int protect(const struct mmapdev_watch *watch, uint64_t first,
		   uint64_t count, int prot)
{
	return mprotect(watch->addr + first * watch->page, count * watch->page,
			prot) ? -errno : 0;
}

static int make_writable(struct mmapdev_watch *watch, uint64_t at)
{
	uint64_t i;

	__atomic_store_n(&watch->written[at], 1, __ATOMIC_RELAXED);
	if (!protect(watch, at, 1, PROT_READ | PROT_WRITE))
		return 0;

	/* Too many mappings (vm.max_map_count): back to one. */
	for (i = 0; i < watch->pages; i++)
		__atomic_store_n(&watch->written[i], 1, __ATOMIC_RELAXED);
	return protect(watch, 0, watch->pages, PROT_READ | PROT_WRITE);
}

static bool may_be_ours(const char *addr)
{
	if (last.addr != addr || last.round != rounds)
		last.times = 0;
	last.addr = addr;
	last.round = rounds;
	return last.times++ < NSIG;
}

static bool fault_at(const char *addr)
{
	struct mmapdev_watch *watch = watches;

	while (watch && (addr < watch->addr ||
			 addr >= watch->addr + watch->pages * watch->page))
		watch = watch->next;
	if (!watch || !may_be_ours(addr))
		return false;
	return !watch->written ||
	       !make_writable(watch, (addr - watch->addr) / watch->page);
}

bool mmapdev_track_fault(int signal, const siginfo_t *info)
{
	sigset_t unblocked;
	bool ours;

	if (signal != SIGSEGV || info->si_code != SEGV_ACCERR)
		return false;

	block(&unblocked);
	begin_shared();
	ours = fault_at(info->si_addr);
	end_shared();
	unblock(&unblocked);
	return ours;
}

static struct mmapdev_watch *watch_of(struct mmapdev_track *track)
{
	struct mmapdev_watch *watch = track->map->watch;

	if (watch)
		return watch;
	watch = calloc(1, sizeof(*watch));
	if (!watch)
		return NULL;
	watch->addr = track->map->head.addr;
	watch->pages = track->pages;
	watch->page = track->page;
	return watch;
}

static int begin(struct mmapdev_map *map, struct mmapdev_watch *watch,
		 unsigned char *written)
{
	sigset_t unblocked;
	int ret;

	begin_alone(&unblocked);
	/* First, for the child of a fork that comes in between. */
	watch->written = written;
	if (!map->watch) {
		watch->next = watches;
		watches = watch;
		map->watch = watch;
	}
	ret = protect(watch, 0, watch->pages, PROT_READ);
	if (ret) {
		/* A part may be. */
		protect(watch, 0, watch->pages, PROT_READ | PROT_WRITE);
		watch->written = NULL;
	}
	end_alone(&unblocked);
	return ret;
}

static int protect_start(struct mmapdev_track *track)
{
	struct mmapdev_watch *watch;
	unsigned char *written;
	int ret;

	ret = install();
	if (ret)
		return ret;
	written = calloc(track->pages, 1);
	if (!written)
		return -ENOMEM;
	watch = watch_of(track);
	ret = watch ? begin(track->map, watch, written) : -ENOMEM;
	if (!ret)
		return 0;

	if (!track->map->watch)
		free(watch);
	free(written);
	return ret;
}

#define CHUNK 4096 /* pages, whose bits fill whole bytes */

/* The notes of some pages, and where the first and the last of them are. */
struct notes {
	unsigned char bits[CHUNK / 8];
	uint64_t count, first, end;
};

static void look(const unsigned char *written, uint64_t count,
		 struct notes *notes)
{
	uint64_t i;

	memset(notes, 0, sizeof(*notes));
	for (i = 0; i < count; i++) {
		if (!__atomic_load_n(&written[i], __ATOMIC_RELAXED))
			continue;
		if (!notes->count++)
			notes->first = i;
		notes->end = i + 1;
		notes->bits[i / 8] |= 1 << i % 8;
	}
}

static int take(struct mmapdev_watch *watch, uint64_t first, uint64_t count,
		struct notes *notes)
{
	sigset_t unblocked;
	uint64_t i;
	int ret;

	begin_alone(&unblocked);
	look(watch->written + first, count, notes);
	ret = protect(watch, first + notes->first, notes->end - notes->first,
		      PROT_READ);
	for (i = notes->first; !ret && i < notes->end; i++)
		__atomic_store_n(&watch->written[first + i], 0,
				 __ATOMIC_RELAXED);
	end_alone(&unblocked);
	return ret;
}

static int protect_read(struct mmapdev_track *track, uint64_t first,
			uint64_t count, uint32_t flags, unsigned char *bitmap,
			uint64_t *written)
{
	struct mmapdev_watch *watch = track->map->watch;
	struct notes notes;
	uint64_t length;
	int ret;

	while (count) {
		length = count < CHUNK ? count : CHUNK;
		look(watch->written + first, length, &notes);
		if (notes.count && flags & MMAPDEV_DIRTY_CLEAR) {
			ret = take(watch, first, length, &notes);
			if (ret)
				return ret;
		}
		if (notes.count)
			memcpy(bitmap, notes.bits, (length + 7) / 8);
		*written += notes.count;
		bitmap += CHUNK / 8;
		first += length;
		count -= length;
	}
	return 0;
}

static int protect_stop(struct mmapdev_track *track)
{
	struct mmapdev_watch *watch = track->map->watch;
	unsigned char *written = watch->written;
	sigset_t unblocked;
	int ret;

	begin_alone(&unblocked);
	ret = protect(watch, 0, watch->pages, PROT_READ | PROT_WRITE);
	if (!ret)
		watch->written = NULL;
	end_alone(&unblocked);
	if (!ret)
		free(written);
	return ret;
}

void mmapdev_track_forget(struct mmapdev_map *map)
{
	struct mmapdev_watch **at = &watches;
	sigset_t unblocked;

	if (!map->watch)
		return;
	begin_alone(&unblocked);
	while (*at != map->watch)
		at = &(*at)->next;
	*at = map->watch->next;
	end_alone(&unblocked);
	free(map->watch);
}

const struct mmapdev_track_ops mmapdev_track_protect = {
	.method = MMAPDEV_TRACK_PROTECT,
	.start = protect_start,
	.read = protect_read,
	.stop = protect_stop,
};
