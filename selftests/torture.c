// SPDX-License-Identifier: GPL-2.0
/*
 * Races. In the storm, threads and processes do all that can be done to a
 * device at random, and look at each word they come across: it is zero, or a
 * stamp that tells its page, its only writer and which write it was, and so
 * neither another page's, nor older than what is known to be done. In the
 * duels, one side maps or touches what the other side cuts.
 *
 * MMAPDEV_SEED gives a seed back, MMAPDEV_SECONDS says how long all takes.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#define PARAMS		"size=1M max_size=8M "
#define PAGE_MAX	2048
#define WORDS		(4096 / sizeof(__u64))
/* The storm never shrinks below this: what is here never is SIGBUS. */
#define FLOOR		64
#define PROCESSES	3
#define THREADS		2
#define WORKERS		(PROCESSES * THREADS)
#define SLOTS		4

static unsigned long seed;
static unsigned long budget_ms = 8000;

/* Before the harness forks, so that all of its tests have the one seed. */
static void __attribute__((constructor)) read_environment(void)
{
	const char *given = getenv("MMAPDEV_SEED");
	const char *seconds = getenv("MMAPDEV_SECONDS");
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	seed = now.tv_nsec ^ now.tv_sec;
	if (given)
		seed = strtoul(given, NULL, 0);
	if (seconds)
		budget_ms = strtoul(seconds, NULL, 0) * 1000;
}

static unsigned long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static __u64 next_random(__u64 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

enum op {
	OP_MAP, OP_UNMAP, OP_TRIM, OP_MOVE, OP_STORE, OP_LOAD, OP_WRITE,
	OP_READ, OP_FILL, OP_SUM, OP_PUNCH, OP_GROW, OP_SHRINK, OP_FSYNC,
	OP_MSYNC, OP_DIRTY, OP_INFO, OP_SEEK, OP_ADVISE, OP_PIPE, OP_FORK,
	OP_REOPEN, OPS,
};

/* How often, in proportion. */
static const unsigned char odds[OPS] = {
	[OP_MAP] = 10, [OP_UNMAP] = 3, [OP_TRIM] = 2, [OP_MOVE] = 2,
	[OP_STORE] = 14, [OP_LOAD] = 14, [OP_WRITE] = 8, [OP_READ] = 8,
	[OP_FILL] = 5, [OP_SUM] = 2, [OP_PUNCH] = 6, [OP_GROW] = 3,
	[OP_SHRINK] = 3, [OP_FSYNC] = 2, [OP_MSYNC] = 3, [OP_DIRTY] = 4,
	[OP_INFO] = 3, [OP_SEEK] = 2, [OP_ADVISE] = 4, [OP_PIPE] = 2,
	[OP_FORK] = 1, [OP_REOPEN] = 1,
};

/* What all the workers share. */
static struct world {
	int stop;
	bool huge;
	int failed;
	char why[256];
	/* Of each page: the last stamp that was begun, the last one done. */
	__u32 begun[PAGE_MAX];
	__u32 done[PAGE_MAX];
	/* How often each went well. */
	unsigned long count[OPS];
} *world;

struct slot {
	unsigned char *at;
	size_t page;
	size_t pages;
	bool shared;
	bool eager;
};

struct worker {
	unsigned int number;
	__u64 random;
	int fd;
	int pipe[2];
	struct slot slots[SLOTS];
	__u64 words[4 * WORDS];
};

/* Ends the storm; the first to fail may say why. */
static bool is_first_failure(void)
{
	__atomic_store_n(&world->stop, 1, __ATOMIC_SEQ_CST);
	return !__atomic_exchange_n(&world->failed, 1, __ATOMIC_SEQ_CST);
}

#define fail(...) do {							\
	if (is_first_failure())						\
		snprintf(world->why, sizeof(world->why), __VA_ARGS__);	\
} while (0)

static size_t below(struct worker *w, size_t limit)
{
	return next_random(&w->random) % limit;
}

/*
 * Page, writer, counter, and a hash of these. Stores into private mappings
 * have a writer of their own: nobody else may ever see them.
 */
#define STRANGER	0xee

static __u64 stamp_of(size_t page, unsigned int writer, __u32 counter)
{
	__u64 body = page | (__u64)(writer + 1) << 16 |
		     (__u64)(counter & 0xffffff) << 24;

	return body | (body * 0x9e3779b97f4a7c15ull) >> 48 << 48;
}

static unsigned int owner_of(size_t page)
{
	return page % WORKERS;
}

/*
 * A word that was seen in this page: zero, or its owner's stamp from between
 * two counters. The kernel's copies may go byte by byte, so that one which
 * raced with them is part of one stamp and part of another, or of zeros.
 */
static bool word_is_right(__u64 word, size_t page, __u32 from, __u32 to)
{
	const __u64 fixed = stamp_of(page, owner_of(page), 0);
	__u32 counter = word >> 24 & 0xffffff;
	int byte;

	if (!word)
		return true;
	if (word == stamp_of(page, owner_of(page), counter))
		return counter >= from && counter <= to;
	if (word == stamp_of(word & 0xffff, (word >> 16 & 0xff) - 1, counter))
		return false;
	for (byte = 0; byte < 3; byte++) {
		__u8 seen = word >> 8 * byte;

		if (seen && seen != (__u8)(fixed >> 8 * byte))
			return false;
	}
	return true;
}

static void check_page(const __u64 *words, size_t page,
		       __u32 from, bool shared, const char *where)
{
	__u32 to = __atomic_load_n(&world->begun[page], __ATOMIC_SEQ_CST);
	size_t i;

	for (i = 0; i < WORDS; i++) {
		if (word_is_right(words[i], page, from, to))
			continue;
		if (!shared && words[i] == stamp_of(page, STRANGER, 0))
			continue;
		fail("%s, page %zu (owner %u, writes %u to %u): word %zu is %016llx",
		     where, page, owner_of(page), from, to, i,
		     (unsigned long long)words[i]);
		return;
	}
}

static __thread sigjmp_buf bus_env;
static __thread int bus_armed;

static void on_bus(int sig)
{
	if (bus_armed)
		siglongjmp(bus_env, 1);
	signal(sig, SIG_DFL);
}

static void catch_bus(void)
{
	struct sigaction action = {
		.sa_handler = on_bus,
		.sa_flags = SA_NODEFER,
	};

	sigaction(SIGBUS, &action, NULL);
}

static void arm(int armed)
{
	__atomic_store_n(&bus_armed, armed, __ATOMIC_SEQ_CST);
}

/* Both return false for SIGBUS. */
static bool load_words(__u64 *to, const void *at, size_t count)
{
	const __u64 *from = at;
	size_t i;

	if (sigsetjmp(bus_env, 0)) {
		arm(0);
		return false;
	}
	arm(1);
	for (i = 0; i < count; i++)
		to[i] = __atomic_load_n(from + i, __ATOMIC_RELAXED);
	arm(0);
	return true;
}

static bool store_words(void *at, __u64 word, size_t count)
{
	__u64 *to = at;
	size_t i;

	if (sigsetjmp(bus_env, 0)) {
		arm(0);
		return false;
	}
	arm(1);
	for (i = 0; i < count; i++)
		__atomic_store_n(to + i, word, __ATOMIC_RELAXED);
	arm(0);
	return true;
}

/* One of my mappings, NULL if that one is none. */
static struct slot *any_slot(struct worker *w)
{
	struct slot *slot = &w->slots[below(w, SLOTS)];

	return slot->at ? slot : NULL;
}

static void drop(struct slot *slot)
{
	if (slot->at && munmap(slot->at, slot->pages * PAGE))
		fail("munmap: %s", strerror(errno));
	memset(slot, 0, sizeof(*slot));
}

static bool do_map(struct worker *w)
{
	struct slot *slot = &w->slots[below(w, SLOTS)];
	size_t limit;

	drop(slot);
	slot->shared = below(w, 4);
	slot->eager = below(w, 2);
	/* Most are short and near the start, so that they meet. */
	slot->page = below(w, below(w, 2) ? FLOOR : PAGE_MAX);
	limit = PAGE_MAX - slot->page;
	slot->pages = 1 + below(w, below(w, 16) && limit > 64 ? 64 : limit);
	if (device_set_mode(w->fd, slot->eager ? EAGER : DEMAND)) {
		fail("SET_MODE: %s", strerror(errno));
		return false;
	}
	slot->at = map(w->fd, slot->pages * PAGE, RW,
		       slot->shared ? MAP_SHARED : MAP_PRIVATE,
		       slot->page * PAGE);
	if (!slot->at)
		fail("mmap of %zu pages at %zu, %s, %s: %s",
		     slot->pages, slot->page, slot->eager ? "eager" : "demand",
		     slot->shared ? "shared" : "private", strerror(errno));
	return slot->at;
}

static bool do_trim(struct worker *w)
{
	struct slot *slot = any_slot(w);
	size_t cut;

	if (!slot || slot->pages < 2)
		return false;
	cut = 1 + below(w, slot->pages - 1);
	if (munmap(slot->at, cut * PAGE)) {
		fail("munmap of a part: %s", strerror(errno));
		return false;
	}
	slot->at += cut * PAGE;
	slot->page += cut;
	slot->pages -= cut;
	return true;
}

static bool do_move(struct worker *w)
{
	struct slot *slot = any_slot(w);
	size_t size;
	void *to;

	if (!slot)
		return false;
	size = slot->pages * PAGE;
	to = map(-1, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, 0);
	if (!to || mremap(slot->at, size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
			  to) != to) {
		fail("mremap: %s", strerror(errno));
		return false;
	}
	slot->at = to;
	return true;
}

static __u32 begin_write(size_t page)
{
	return __atomic_add_fetch(&world->begun[page], 1, __ATOMIC_SEQ_CST);
}

static void end_write(size_t page, __u32 counter)
{
	__atomic_store_n(&world->done[page], counter, __ATOMIC_SEQ_CST);
}

static __u32 done_of(size_t page)
{
	return __atomic_load_n(&world->done[page], __ATOMIC_SEQ_CST);
}

/* One of my pages; every page has but one writer. */
static size_t my_page(struct worker *w)
{
	size_t limit = below(w, 2) ? FLOOR : PAGE_MAX;
	size_t page = below(w, limit / WORKERS) * WORKERS + w->number;

	return page;
}

/* A page of mine in this mapping, or PAGE_MAX. */
static size_t my_page_in(struct worker *w, struct slot *slot)
{
	size_t page = slot->page + below(w, slot->pages);

	page += (w->number + WORKERS - owner_of(page)) % WORKERS;
	return page < slot->page + slot->pages ? page : PAGE_MAX;
}

static unsigned char *address_of(struct slot *slot, size_t page)
{
	return slot->at + (page - slot->page) * PAGE;
}

static bool do_store(struct worker *w)
{
	struct slot *slot = any_slot(w);
	__u32 counter;
	size_t page;
	bool well;

	if (!slot)
		return false;
	if (!slot->shared) {
		page = slot->page + below(w, slot->pages);
		well = store_words(address_of(slot, page),
				   stamp_of(page, STRANGER, 0), WORDS);
	} else {
		page = my_page_in(w, slot);
		if (page == PAGE_MAX)
			return false;
		counter = begin_write(page);
		well = store_words(address_of(slot, page),
				   stamp_of(page, w->number, counter), WORDS);
		if (well)
			end_write(page, counter);
	}
	if (!well && page < FLOOR)
		fail("store to page %zu: SIGBUS", page);
	return well;
}

static bool do_load(struct worker *w)
{
	struct slot *slot = any_slot(w);
	char where[64];
	size_t page;
	__u32 from;

	if (!slot)
		return false;
	page = slot->page + below(w, slot->pages);
	from = slot->shared ? done_of(page) : 0;
	if (!load_words(w->words, address_of(slot, page), WORDS)) {
		if (page < FLOOR)
			fail("load of page %zu: SIGBUS", page);
		return false;
	}
	snprintf(where, sizeof(where), "a load, %s %s",
		 slot->eager ? "eager" : "demand",
		 slot->shared ? "shared" : "private");
	check_page(w->words, page, from, slot->shared, where);
	return true;
}

static bool do_write(struct worker *w)
{
	size_t page = my_page(w);
	__u32 counter = begin_write(page);
	ssize_t done;
	size_t i;

	for (i = 0; i < WORDS; i++)
		w->words[i] = stamp_of(page, w->number, counter);
	done = pwrite(w->fd, w->words, PAGE, page * PAGE);
	if (done == (ssize_t)PAGE)
		end_write(page, counter);
	else if (page < FLOOR || done >= 0 || errno != ENOSPC)
		fail("write of page %zu: %zd, %s", page, done,
		     strerror(errno));
	return done > 0;
}

static bool do_read(struct worker *w)
{
	size_t pages = 1 + below(w, 4);
	size_t page = below(w, below(w, 2) ? FLOOR - 4 : PAGE_MAX - 4);
	__u32 from[4];
	ssize_t got;
	size_t i;

	for (i = 0; i < pages; i++)
		from[i] = done_of(page + i);
	got = pread(w->fd, w->words, pages * PAGE, page * PAGE);
	if (got < 0 || got % PAGE ||
	    (page + pages <= FLOOR && got != (ssize_t)(pages * PAGE))) {
		fail("read of %zu pages at %zu: %zd, %s", pages, page,
		     got, strerror(errno));
		return false;
	}
	for (i = 0; i < got / PAGE; i++)
		check_page(w->words + i * WORDS, page + i, from[i], true,
			   "a read");
	return got > 0;
}

/* An ioctl of a range: beyond the size it is ENXIO. */
static bool ranged(const char *what, int err, size_t end)
{
	if (err && (err != -ENXIO || end <= FLOOR))
		fail("%s up to page %zu: %s", what, end,
		     strerror(-err));
	return !err;
}

static bool do_fill(struct worker *w)
{
	size_t page = my_page(w);
	__u32 counter = begin_write(page);
	int err = device_fill(w->fd, page * PAGE, PAGE,
			      stamp_of(page, w->number, counter));

	if (!err)
		end_write(page, counter);
	return ranged("KFILL", err, page + 1);
}

static bool do_sum(struct worker *w)
{
	size_t page = below(w, PAGE_MAX / 4);
	size_t pages = 1 + below(w, 16);
	__u32 sum;

	return ranged("KSUM", device_sum(w->fd, page * PAGE, pages * PAGE,
					    &sum), page + pages);
}

static bool do_punch(struct worker *w)
{
	size_t page = below(w, below(w, 2) ? FLOOR : PAGE_MAX);
	size_t limit = below(w, 4) ? 16 : 600;
	size_t pages = below(w, page + limit > PAGE_MAX ? PAGE_MAX - page + 1 :
			     limit);

	return ranged("PUNCH", device_punch(w->fd, page * PAGE,
					       pages * PAGE), page + pages);
}

static bool do_resize(struct worker *w, bool grow)
{
	size_t half = PAGE_MAX / 2;
	size_t pages = grow ? half + below(w, half + 1) :
			      FLOOR + below(w, below(w, 2) ? 64 : half);
	int err = device_resize(w->fd, pages * PAGE);

	/* Somebody may hold a huge folio that is to be cut. */
	if (err && !(err == -EBUSY && world->huge))
		fail("RESIZE to %zu pages: %s", pages, strerror(-err));
	return !err;
}

static bool do_sync(struct worker *w)
{
	if (fsync(w->fd)) {
		fail("fsync: %s", strerror(errno));
		return false;
	}
	return true;
}

static bool do_msync(struct worker *w)
{
	struct slot *slot = any_slot(w);

	if (!slot)
		return false;
	if (msync(slot->at, slot->pages * PAGE, MS_SYNC)) {
		fail("msync: %s", strerror(errno));
		return false;
	}
	return true;
}

static bool do_dirty(struct worker *w)
{
	size_t page = below(w, PAGE_MAX / 2);
	size_t pages = 1 + below(w, 200);
	unsigned char bits[200 / 8 + 2];
	struct mmapdev_ioc_dirty arg = {
		.argsz = sizeof(arg),
		.flags = below(w, 2) ? MMAPDEV_IOC_DIRTY_CLEAR : 0,
		.offset = page * PAGE,
		.length = pages * PAGE,
		.bitmap = (uintptr_t)bits,
	};
	size_t bytes = (pages + 7) / 8;
	size_t i, set = 0;

	memset(bits, 0xff, sizeof(bits));
	if (ioctl(w->fd, MMAPDEV_IOC_DIRTY, &arg))
		return ranged("DIRTY", -errno, page + pages);
	for (i = 0; i < 8 * bytes; i++)
		set += bits[i / 8] >> i % 8 & 1;
	if (set != arg.pages || set > pages || bits[bytes] != 0xff)
		fail("DIRTY of %zu pages: %zu bits, says %llu", pages,
		     set, (unsigned long long)arg.pages);
	return true;
}

static bool size_can_be(__u64 size)
{
	return size >= FLOOR * PAGE && size <= PAGE_MAX * PAGE &&
	       !(size % PAGE);
}

static bool do_info(struct worker *w)
{
	struct mmapdev_ioc_info info;
	int err = device_info(w->fd, &info);

	if (err || !size_can_be(info.size) ||
	    info.max_size != PAGE_MAX * PAGE || info.resident % PAGE ||
	    info.resident > info.max_size || info.dirty % PAGE)
		fail("INFO: %s, size %llx, resident %llx, dirty %llx",
		     strerror(-err), (unsigned long long)info.size,
		     (unsigned long long)info.resident,
		     (unsigned long long)info.dirty);
	return !err;
}

static bool do_seek(struct worker *w)
{
	off_t from = below(w, PAGE_MAX * PAGE);
	bool data = below(w, 2);
	off_t end = lseek(w->fd, 0, SEEK_END);
	off_t at = lseek(w->fd, from, data ? SEEK_DATA : SEEK_HOLE);

	if (!size_can_be(end))
		fail("SEEK_END: %llx", (long long)end);
	if (at < 0 ? errno != ENXIO :
	    at < from || at > (off_t)(PAGE_MAX * PAGE))
		fail("seek from %llx for %s: %llx, %s",
		     (long long)from, data ? "data" : "a hole", (long long)at,
		     strerror(errno));
	if (at < 0 && !data && from < (off_t)(FLOOR * PAGE))
		fail("no hole from %llx on", (long long)from);
	return at >= 0;
}

static bool do_advise(struct worker *w)
{
	const int advice[] = {
		MADV_DONTNEED, MADV_POPULATE_READ, MADV_POPULATE_WRITE,
		MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_COLD, MADV_PAGEOUT,
	};
	struct slot *slot = any_slot(w);
	size_t i = below(w, ARRAY_SIZE(advice));
	size_t pages;

	if (!slot)
		return false;
	pages = 1 + below(w, slot->pages);
	/* What stays different in a part makes two mappings of one. */
	if (advice[i] == MADV_HUGEPAGE || advice[i] == MADV_NOHUGEPAGE)
		pages = slot->pages;
	if (!madvise(slot->at, pages * PAGE, advice[i]))
		return true;
	if (slot->eager && errno == EINVAL)
		return true;
	/* Pages beyond the size. */
	if (errno == EFAULT && (i == 1 || i == 2) && slot->page + pages > FLOOR)
		return false;
	fail("madvise %d of %zu pages at %zu, %s: %s", advice[i],
	     pages, slot->page, slot->eager ? "eager" : "demand",
	     strerror(errno));
	return false;
}

/* Holds a page while the others cut it, and then looks at it. */
static bool do_pipe(struct worker *w)
{
	struct slot *slot = any_slot(w);
	struct iovec iov = {
		.iov_len = PAGE,
	};
	size_t page;
	__u32 from;

	if (!slot)
		return false;
	page = slot->page + below(w, slot->pages);
	iov.iov_base = address_of(slot, page);
	from = slot->shared ? done_of(page) : 0;
	if (vmsplice(w->pipe[1], &iov, 1, 0) != (ssize_t)PAGE) {
		/* Eager ones are frames and no pages. */
		if (errno != EFAULT || (page < FLOOR && !slot->eager))
			fail("vmsplice of page %zu, %s: %s", page,
			     slot->eager ? "eager" : "demand", strerror(errno));
		return false;
	}
	sched_yield();
	if (read(w->pipe[0], w->words, PAGE) != (ssize_t)PAGE) {
		fail("read of a pipe: %s", strerror(errno));
		return false;
	}
	check_page(w->words, page, from, slot->shared, "a pipe");
	return true;
}

/* The child is the same worker for a while; its parent waits for it. */
static bool do_fork(struct worker *w)
{
	pid_t pid = fork();
	int i;

	if (pid < 0) {
		/* x86, of an eager private mapping that was written first. */
		if (errno != ENOMEM)
			fail("fork: %s", strerror(errno));
		return false;
	}
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (i = 0; i < 8; i++) {
			do_load(w);
			do_store(w);
		}
		if (w->number % 2)
			do_punch(w);
		_exit(0);
	}
	i = child_wait(pid);
	if (i)
		fail("a child of worker %u: %d", w->number, i);
	return true;
}

static bool do_reopen(struct worker *w)
{
	close(w->fd);
	w->fd = device_open(O_RDWR, DEMAND);
	if (w->fd < 0)
		fail("open: %s", strerror(-w->fd));
	return w->fd >= 0;
}

static bool do_op(struct worker *w, enum op op)
{
	switch (op) {
	case OP_MAP:
		return do_map(w);
	case OP_UNMAP:
		drop(&w->slots[below(w, SLOTS)]);
		return true;
	case OP_TRIM:
		return do_trim(w);
	case OP_MOVE:
		return do_move(w);
	case OP_STORE:
		return do_store(w);
	case OP_LOAD:
		return do_load(w);
	case OP_WRITE:
		return do_write(w);
	case OP_READ:
		return do_read(w);
	case OP_FILL:
		return do_fill(w);
	case OP_SUM:
		return do_sum(w);
	case OP_PUNCH:
		return do_punch(w);
	case OP_GROW:
	case OP_SHRINK:
		return do_resize(w, op == OP_GROW);
	case OP_FSYNC:
		return do_sync(w);
	case OP_MSYNC:
		return do_msync(w);
	case OP_DIRTY:
		return do_dirty(w);
	case OP_INFO:
		return do_info(w);
	case OP_SEEK:
		return do_seek(w);
	case OP_ADVISE:
		return do_advise(w);
	case OP_PIPE:
		return do_pipe(w);
	case OP_FORK:
		return do_fork(w);
	default:
		return do_reopen(w);
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	size_t i, sum = 0;

	for (i = 0; i < OPS; i++)
		sum += odds[i];
	if (pipe(w->pipe))
		fail("pipe: %s", strerror(errno));
	w->fd = -1;
	do_reopen(w);
	while (!__atomic_load_n(&world->stop, __ATOMIC_RELAXED)) {
		size_t draw = below(w, sum);
		enum op op = 0;

		while (draw >= odds[op])
			draw -= odds[op++];
		if (do_op(w, op))
			__atomic_add_fetch(&world->count[op], 1,
					   __ATOMIC_RELAXED);
	}
	/* The others leave their mappings to exit(). */
	for (i = 0; i < SLOTS && w->number % 2; i++)
		drop(&w->slots[i]);
	return NULL;
}

static int run_workers(void *arg)
{
	static struct worker workers[THREADS];
	unsigned int process = *(unsigned int *)arg;
	pthread_t threads[THREADS];
	int i;

	catch_bus();
	for (i = 0; i < THREADS; i++) {
		struct worker *w = &workers[i];

		w->number = process * THREADS + i;
		w->random = (seed + w->number + 1) * 0x9e3779b97f4a7c15ull;
		if (pthread_create(&threads[i], NULL, work, w))
			return 1;
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

FIXTURE(storm) {
	unsigned long memory;
	int fd;
};

FIXTURE_VARIANT(storm) {
	const char *params;
};

FIXTURE_VARIANT_ADD(storm, of_pages) {
	.params = PARAMS "huge=never",
};

FIXTURE_VARIANT_ADD(storm, of_huge_folios) {
	.params = PARAMS "huge=always",
};

FIXTURE_SETUP(storm)
{
	if (!module_known())
		SKIP(return, "needs MMAPDEV_KO for a device of its own");
	fprintf(stderr, "# seed %lu\n", seed);
	ASSERT_EQ(0, module_reload(variant->params));
	world = map(-1, sizeof(*world), RW, MAP_SHARED | MAP_ANONYMOUS, 0);
	ASSERT_NE(NULL, world);
	world->huge = strstr(variant->params, "always");
	self->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	self->memory = free_memory();
}

/* Nobody holds a page, so that nothing may hold the module. */
FIXTURE_TEARDOWN(storm)
{
	close(self->fd);
	EXPECT_EQ(0, module_reload(NULL));
}

/* How many bytes SEEK_DATA and SEEK_HOLE find data in. */
static __u64 data_of(int fd)
{
	off_t data, hole = 0;
	__u64 sum = 0;

	for (;;) {
		data = lseek(fd, hole, SEEK_DATA);
		if (data < 0)
			return sum;
		hole = lseek(fd, data, SEEK_HOLE);
		sum += hole - data;
	}
}

/* Now that all is quiet: nothing but zeros and the last stamp of each page. */
static void check_last_stamps(const __u64 *words, size_t pages)
{
	size_t i;

	for (i = 0; i < pages * WORDS; i++) {
		size_t page = i / WORDS;

		if (words[i] && words[i] != stamp_of(page, owner_of(page),
						     world->begun[page]))
			fail("at rest, page %zu, last write %u: word %zu is %016llx",
			     page, world->begun[page], i % WORDS,
			     (unsigned long long)words[i]);
	}
}

TEST_F_TIMEOUT(storm, all_that_can_be_done_at_once, 120)
{
	unsigned int numbers[PROCESSES];
	pid_t pids[PROCESSES];
	unsigned char *copy, *demand, *eager;
	struct mmapdev_ioc_info info;
	unsigned long begun, ops = 0;
	size_t i, size;

	for (i = 0; i < PROCESSES; i++) {
		numbers[i] = i;
		pids[i] = child_start(run_workers, &numbers[i]);
	}
	/* On a slow machine until each of them went well once. */
	begun = now_ms();
	do {
		usleep(10000);
		for (i = 0; i < OPS && world->count[i]; i++)
			;
	} while (!world->stop && (now_ms() - begun < budget_ms / 3 ||
				  (i < OPS && now_ms() - begun < 30000)));
	__atomic_store_n(&world->stop, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < PROCESSES; i++)
		EXPECT_EQ(0, child_wait(pids[i]));
	ASSERT_FALSE(world->failed)
		TH_LOG("seed %lu: %s", seed, world->why);
	for (i = 0; i < OPS; i++) {
		ops += world->count[i];
		EXPECT_LT(0, world->count[i])
			TH_LOG("operation %zu never went well", i);
	}
	fprintf(stderr, "# %lu operations went well\n", ops);

	/* A size that is quick to look at, and cuts what there is once more. */
	ASSERT_EQ(0, device_resize(self->fd, 301 * PAGE));
	info = info_of(self->fd);
	size = info.size;
	EXPECT_EQ(301 * PAGE, size);
	EXPECT_LE(info.resident, size);
	EXPECT_LE(info.dirty, info.resident);
	EXPECT_EQ(info.resident, data_of(self->fd));
	copy = malloc(size);
	ASSERT_EQ(size, pread(self->fd, copy, size, 0));
	EXPECT_EQ(info.resident, info_of(self->fd).resident);
	demand = map(self->fd, size, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, demand);
	ASSERT_EQ(0, device_set_mode(self->fd, EAGER));
	eager = map(self->fd, size, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, eager);
	EXPECT_EQ(0, memcmp(copy, demand, size));
	EXPECT_EQ(0, memcmp(copy, eager, size));
	EXPECT_EQ(crc32c(copy, size), sum_of(self->fd, 0, size));
	check_last_stamps((__u64 *)copy, size / PAGE);
	EXPECT_FALSE(world->failed)
		TH_LOG("seed %lu: %s", seed, world->why);

	/* It is one memory still, and goes when it should. */
	for (i = 0; i < size; i += PAGE) {
		eager[i] = i / PAGE;
		demand[i + 1] = i / PAGE;
	}
	ASSERT_EQ(size, pread(self->fd, copy, size, 0));
	EXPECT_EQ(0, memcmp(copy, demand, size));
	EXPECT_EQ(0, memcmp(copy, eager, size));
	free(copy);
	ASSERT_EQ(0, device_resize(self->fd, 0));
	EXPECT_EQ(0, info_of(self->fd).resident);
	EXPECT_EQ(0, info_of(self->fd).dirty);
	munmap(demand, size);
	munmap(eager, size);
	EXPECT_LT(self->memory, free_memory() + (8 << 20));
}

/*
 * The duels. Both sides meet at the start and at the end of each round, and
 * dawdle in between for as long as chance will have it.
 */
#define ARENA	(16 * PAGE)
#define SPOT	(4 * PAGE)

struct duel {
	int fd;
	pthread_barrier_t barrier;
	bool over;
	bool enough;
	void (*cut)(struct duel *duel, unsigned int round);
	__u64 random;
	int err;
};

static void meet(struct duel *duel)
{
	pthread_barrier_wait(&duel->barrier);
}

/* Both sides have a CPU of their own, if there are two. */
static void stay_on(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void dawdle(__u64 *random)
{
	unsigned int i = next_random(random) % 3000;

	while (i--)
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void *cutter(void *arg)
{
	struct duel *duel = arg;
	__u64 random = seed * 2 + 1;
	unsigned int round;

	stay_on(1);
	for (round = 0;; round++) {
		meet(duel);
		if (duel->over)
			return NULL;
		dawdle(&random);
		duel->cut(duel, round);
		meet(duel);
	}
}

/* Ends with a device of ARENA, or of half of it. */
static void cut_somehow(struct duel *duel, unsigned int round)
{
	int err = 0;

	switch (round % 4) {
	case 0:
		err = device_punch(duel->fd, 0, ARENA);
		break;
	case 1:
		err = device_punch(duel->fd, SPOT, PAGE);
		break;
	case 2:
		err = device_resize(duel->fd, ARENA / 2);
		break;
	default:
		err = device_resize(duel->fd, PAGE);
		if (!err)
			err = device_resize(duel->fd, ARENA);
	}
	if (err)
		duel->err = err;
}

FIXTURE(duel) {
	struct duel duel;
	pthread_t thread;
	unsigned long until;
	unsigned int rounds;
};

FIXTURE_VARIANT(duel) {
	__u32 mode;
	int flags;
};

FIXTURE_VARIANT_ADD(duel, eager_shared) {
	.mode = EAGER,
	.flags = MAP_SHARED,
};

FIXTURE_VARIANT_ADD(duel, eager_private) {
	.mode = EAGER,
	.flags = MAP_PRIVATE,
};

FIXTURE_VARIANT_ADD(duel, demand_shared) {
	.mode = DEMAND,
	.flags = MAP_SHARED,
};

FIXTURE_VARIANT_ADD(duel, demand_private) {
	.mode = DEMAND,
	.flags = MAP_PRIVATE,
};

FIXTURE_SETUP(duel)
{
	fprintf(stderr, "# seed %lu\n", seed);
	self->duel.fd = device_open(O_RDWR, variant->mode);
	ASSERT_LE(0, self->duel.fd);
	self->duel.random = seed * 3 + 1;
	self->duel.cut = cut_somehow;
	if (info_of(self->duel.fd).max_size < ARENA)
		SKIP(return, "needs a max_size of 16 pages");
	catch_bus();
	self->until = now_ms() + budget_ms / 24;
	ASSERT_EQ(0, pthread_barrier_init(&self->duel.barrier, NULL, 2));
	ASSERT_EQ(0, pthread_create(&self->thread, NULL, cutter, &self->duel));
	stay_on(0);
}

FIXTURE_TEARDOWN(duel)
{
	self->duel.over = true;
	meet(&self->duel);
	pthread_join(self->thread, NULL);
	EXPECT_EQ(0, self->duel.err);
	fprintf(stderr, "# %u rounds\n", self->rounds);
	close(self->duel.fd);
}

/* Until the time is up, but for a while in any case. */
static bool goes_on(unsigned long until, unsigned int rounds)
{
	return rounds < 16 || now_ms() < until;
}

/* What it maps and what read() gives are one, up to a size, then SIGBUS. */
static bool views_agree(int fd, unsigned char *data)
{
	size_t size = size_of(fd);
	__u64 seen[WORDS], file[WORDS];
	size_t at;

	/* Nor is there a page that came in behind the cut. */
	if (info_of(fd).resident > size)
		return false;
	for (at = 0; at < ARENA; at += PAGE) {
		bool is_there = at < size;

		if (load_words(seen, data + at, WORDS) != is_there)
			return false;
		if (!is_there)
			continue;
		if (pread(fd, file, PAGE, at) != (ssize_t)PAGE ||
		    memcmp(seen, file, PAGE))
			return false;
	}
	return true;
}

/* And stay so when the device is written, and when a shared mapping is. */
static bool views_stay(int fd, unsigned char *data, int flags, __u64 stamp)
{
	size_t size = size_of(fd);
	__u64 word;
	size_t at;

	if (device_fill(fd, 0, size, stamp) || !views_agree(fd, data))
		return false;
	for (at = 0; at < size; at += PAGE) {
		if (!store_words(data + at, ~stamp, 1) ||
		    pread(fd, &word, sizeof(word), at) != sizeof(word) ||
		    word != (flags == MAP_SHARED ? ~stamp : stamp))
			return false;
	}
	return true;
}

TEST_F_TIMEOUT(duel, a_mapping_made_during_a_cut_is_of_what_is_left, 60)
{
	struct duel *duel = &self->duel;
	const int fd = duel->fd;
	unsigned char *data;
	size_t at, size;
	__u64 word;

	while (goes_on(self->until, self->rounds)) {
		__u64 stamp = pattern_of(self->rounds++);
		bool frames;

		/* Of one page at times: always consecutive frames. */
		size = self->rounds % 16 < 12 ? ARENA : PAGE;
		at = size == PAGE ? SPOT : 0;
		ASSERT_EQ(0, device_resize(fd, ARENA));
		ASSERT_EQ(0, device_fill(fd, 0, ARENA, stamp));
		meet(duel);
		dawdle(&duel->random);
		data = map(fd, size, RW, variant->flags, at);
		if (data)
			load_words(&word, data, 1);
		meet(duel);
		ASSERT_NE(NULL, data);
		/*
		 * Private and by frames, what was touched again after a cut
		 * is a copy from then on: then of zeros.
		 */
		frames = variant->flags == MAP_PRIVATE && vma_has(data, "pf");
		if (size == ARENA) {
			ASSERT_TRUE(views_agree(fd, data))
				TH_LOG("seed %lu, round %u", seed, self->rounds);
			ASSERT_TRUE(frames || self->rounds % 8 > 3 ||
				    views_stay(fd, data, variant->flags, stamp))
				TH_LOG("seed %lu, round %u", seed, self->rounds);
		} else {
			ASSERT_EQ(0, device_fill(fd, at, PAGE, ~stamp));
			ASSERT_TRUE(load_words(&word, data, 1));
			ASSERT_TRUE(word == ~stamp || (frames && !word))
				TH_LOG("seed %lu, round %u: %llx", seed,
				       self->rounds, (unsigned long long)word);
		}
		ASSERT_EQ(0, munmap(data, size));
	}
}

TEST_F_TIMEOUT(duel, a_touch_during_a_cut_is_of_what_is_left, 60)
{
	struct duel *duel = &self->duel;
	const int fd = duel->fd;
	unsigned char *data = map(fd, ARENA, RW, variant->flags, 0);
	unsigned char *fresh;
	__u64 word = 0;
	size_t at;

	ASSERT_NE(NULL, data);
	if (vma_has(data, "pf") && variant->flags == MAP_PRIVATE)
		data = NULL;
	while (goes_on(self->until, self->rounds)) {
		__u64 stamp = pattern_of(self->rounds++);
		bool frames;

		ASSERT_EQ(0, device_resize(fd, ARENA));
		/* Pages that are there, or that the touches bring in. */
		ASSERT_EQ(0, self->rounds / 4 % 2 ?
			     device_fill(fd, 0, ARENA, stamp) :
			     device_punch(fd, 0, ARENA));
		fresh = map(fd, ARENA, RW, variant->flags, 0);
		ASSERT_NE(NULL, fresh);
		meet(duel);
		dawdle(&duel->random);
		for (at = 0; at < ARENA; at += PAGE) {
			unsigned char *from = fresh;

			if (data && at % (2 * PAGE))
				from = data;
			if (!load_words(&word, from + at, 1))
				continue;
			if (word && word != stamp)
				break;
		}
		meet(duel);
		ASSERT_EQ(ARENA, at)
			TH_LOG("seed %lu, round %u: %llx", seed, self->rounds,
			       (unsigned long long)word);
		ASSERT_TRUE(!data || views_agree(fd, data));
		ASSERT_TRUE(views_agree(fd, fresh));
		frames = variant->flags == MAP_PRIVATE && vma_has(fresh, "pf");
		ASSERT_TRUE(frames || self->rounds % 8 > 3 ||
			    views_stay(fd, fresh, variant->flags, stamp))
			TH_LOG("seed %lu, round %u", seed, self->rounds);
		ASSERT_EQ(0, munmap(fresh, ARENA));
	}
}

/* A shrink; no page may come in behind it. */
static int shrink(int fd, size_t size)
{
	int err = device_resize(fd, size);

	if (!err && info_of(fd).resident > size)
		err = -ERANGE;
	return err;
}

/* Between two sizes, until the other side has seen enough. */
static void resize_to_and_fro(struct duel *duel, unsigned int round)
{
	(void)round;
	do {
		int err;

		dawdle(&duel->random);
		err = device_resize(duel->fd, ARENA);
		dawdle(&duel->random);
		if (!err)
			err = shrink(duel->fd, ARENA / 2);
		if (err)
			duel->err = err;
	} while (!__atomic_load_n(&duel->enough, __ATOMIC_SEQ_CST));
}

FIXTURE(size) {
	struct duel duel;
	pthread_t thread;
	char *block;
};

FIXTURE_SETUP(size)
{
	fprintf(stderr, "# seed %lu\n", seed);
	self->duel.fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->duel.fd);
	self->duel.random = seed * 3 + 1;
	self->duel.cut = resize_to_and_fro;
	self->block = malloc(2 * ARENA);
	ASSERT_NE(NULL, self->block);
	if (info_of(self->duel.fd).max_size < ARENA)
		SKIP(return, "needs a max_size of 16 pages");
	ASSERT_EQ(0, device_resize(self->duel.fd, ARENA / 2));
	ASSERT_EQ(0, pthread_barrier_init(&self->duel.barrier, NULL, 2));
	ASSERT_EQ(0, pthread_create(&self->thread, NULL, cutter, &self->duel));
	stay_on(0);
}

FIXTURE_TEARDOWN(size)
{
	self->duel.over = true;
	meet(&self->duel);
	pthread_join(self->thread, NULL);
	EXPECT_EQ(0, self->duel.err);
	close(self->duel.fd);
}

TEST_F_TIMEOUT(size, all_see_the_old_one_or_the_new_one, 60)
{
	const unsigned long until = now_ms() + budget_ms / 24;
	const int fd = self->duel.fd;
	unsigned int seen[2] = {};
	unsigned int i;

	while (now_ms() < until || !seen[0] || !seen[1]) {
		__atomic_store_n(&self->duel.enough, false, __ATOMIC_SEQ_CST);
		meet(&self->duel);
		for (i = 0; i < 50; i++) {
			struct mmapdev_ioc_info info = info_of(fd);
			off_t end = lseek(fd, 0, SEEK_END);
			ssize_t n = pread(fd, self->block, 2 * ARENA, 0);
			__u32 sum;
			int err;

			EXPECT_TRUE(info.size == ARENA ||
				    info.size == ARENA / 2);
			EXPECT_TRUE(end == (off_t)ARENA ||
				    end == (off_t)ARENA / 2);
			/* Each page of a call for itself, in order. */
			EXPECT_TRUE(n >= (ssize_t)ARENA / 2 &&
				    n <= (ssize_t)ARENA && n % PAGE == 0)
				TH_LOG("read %zd", n);
			n = pwrite(fd, self->block, 2 * ARENA, 0);
			EXPECT_TRUE(n >= (ssize_t)ARENA / 2 &&
				    n <= (ssize_t)ARENA && n % PAGE == 0)
				TH_LOG("wrote %zd", n);
			err = device_fill(fd, 0, ARENA, 0);
			EXPECT_TRUE(!err || err == -ENXIO);
			seen[!err]++;
			err = device_sum(fd, 0, ARENA, &sum);
			EXPECT_TRUE(!err || err == -ENXIO);
			err = device_punch(fd, ARENA / 2, ARENA / 2);
			EXPECT_TRUE(!err || err == -ENXIO);
		}
		__atomic_store_n(&self->duel.enough, true, __ATOMIC_SEQ_CST);
		meet(&self->duel);
		EXPECT_EQ(ARENA / 2, size_of(fd));
		EXPECT_LE(info_of(fd).resident, ARENA / 2);
	}
}

/* A huge folio that somebody reads and writes while it is cut in two. */
#define HUGE	((size_t)2 << 20)
#define MARK	0x5a

static void cut_huge_folios(struct duel *duel, unsigned int round)
{
	(void)round;
	do {
		size_t pages = HUGE / PAGE - 8;
		size_t hole = next_random(&duel->random) % pages * PAGE;
		size_t end = next_random(&duel->random) % pages * PAGE;
		int err;

		err = device_punch(duel->fd, 0, HUGE);
		if (!err)
			err = device_fill(duel->fd, 0, 8, ~0ull / 255 * MARK);
		if (!err && next_random(&duel->random) % 2)
			err = device_punch(duel->fd, hole, 8 * PAGE);
		if (!err)
			err = shrink(duel->fd, end);
		/* For a moment others may hold it: then nothing was cut. */
		if (err == -EBUSY && size_of(duel->fd) == HUGE)
			err = 0;
		if (!err)
			err = device_resize(duel->fd, HUGE);
		if (err)
			duel->err = err;
	} while (!__atomic_load_n(&duel->enough, __ATOMIC_SEQ_CST));
}

FIXTURE(folio) {
	struct duel duel;
	pthread_t thread;
	unsigned char *block;
	unsigned char *data;
	int pipe[2];
};

FIXTURE_SETUP(folio)
{
	if (!module_known())
		SKIP(return, "needs MMAPDEV_KO for a device of its own");
	fprintf(stderr, "# seed %lu\n", seed);
	ASSERT_EQ(0, module_reload("size=2M huge=always"));
	self->duel.fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->duel.fd);
	self->duel.random = seed * 3 + 1;
	self->duel.cut = cut_huge_folios;
	self->block = malloc(16 * PAGE);
	ASSERT_NE(NULL, self->block);
	self->data = map(self->duel.fd, HUGE, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, self->data);
	ASSERT_EQ(0, pipe(self->pipe));
	catch_bus();
	ASSERT_EQ(0, pthread_barrier_init(&self->duel.barrier, NULL, 2));
	ASSERT_EQ(0, pthread_create(&self->thread, NULL, cutter, &self->duel));
	stay_on(0);
}

FIXTURE_TEARDOWN(folio)
{
	self->duel.over = true;
	meet(&self->duel);
	pthread_join(self->thread, NULL);
	EXPECT_EQ(0, self->duel.err);
	munmap(self->data, HUGE);
	close(self->duel.fd);
	EXPECT_EQ(0, module_reload(NULL));
}

/* A read that meets a hole in the making may see either in each byte. */
static bool are_marks_or_zeros(const unsigned char *bytes, ssize_t count)
{
	while (count-- > 0) {
		if (bytes[count] && bytes[count] != MARK)
			return false;
	}
	return true;
}

TEST_F_TIMEOUT(folio, a_huge_one_is_cut_while_in_use, 60)
{
	const unsigned long until = now_ms() + budget_ms / 12;
	struct duel *duel = &self->duel;
	const int fd = duel->fd;
	__u64 random = seed * 5 + 1;
	struct iovec iov = {
		.iov_len = PAGE,
	};
	ssize_t held = 0;
	unsigned int i;
	ssize_t n;
	size_t at;
	__u32 sum;
	int err;

	while (now_ms() < until) {
		__atomic_store_n(&duel->enough, false, __ATOMIC_SEQ_CST);
		meet(duel);
		for (i = 0; i < 200; i++) {
			at = next_random(&random) % (HUGE / PAGE - 16) * PAGE;
			n = pread(fd, self->block, 16 * PAGE, at);
			EXPECT_LE(0, n);
			EXPECT_TRUE(are_marks_or_zeros(self->block, n));
			n = load_words((__u64 *)self->block, self->data + at,
				       WORDS) ? PAGE : 0;
			EXPECT_TRUE(are_marks_or_zeros(self->block, n));
			store_words(self->data + at,
				    ~0ull / 255 * MARK, WORDS);
			memset(self->block, MARK, PAGE);
			n = pwrite(fd, self->block, PAGE, at);
			EXPECT_TRUE(n == (ssize_t)PAGE || errno == ENOSPC);
			err = device_sum(fd, at, 16 * PAGE, &sum);
			EXPECT_TRUE(!err || err == -ENXIO);
			if (i % 8 == 0)
				EXPECT_EQ(0, fsync(fd));
			/* For a while a pipe holds it, too long to wait for. */
			iov.iov_base = self->data + at;
			if (i % 40 == 30)
				held = vmsplice(self->pipe[1], &iov, 1, 0);
			if (i % 40 != 39 || held <= 0)
				continue;
			usleep(50000);
			EXPECT_EQ(PAGE, read(self->pipe[0], self->block, PAGE));
			EXPECT_TRUE(are_marks_or_zeros(self->block, PAGE));
			held = 0;
		}
		__atomic_store_n(&duel->enough, true, __ATOMIC_SEQ_CST);
		meet(duel);
		ASSERT_EQ(0, device_punch(fd, 0, HUGE));
		ASSERT_EQ(0, info_of(fd).resident);
	}
}

TEST_HARNESS_MAIN
