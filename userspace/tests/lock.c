// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The mutex in a mapping: found by all who come, held by one, and passed on when
 * its owner dies, after whichever instruction. What it keeps whole is a record
 * of many words.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "wrap.h"

#define SIZE (16 * KIB)
#define WORKERS 3
#define WORDS 16

static struct area {
	unsigned char mutex[MMAPDEV_LOCK_SIZE];
	unsigned char other[MMAPDEV_LOCK_SIZE];
	/* The record: each of sum is all of done, while nobody holds mutex. */
	uint64_t done[WORKERS];
	uint64_t sum[WORDS];
	uint64_t repairs;
	/* Atomics that no lock covers. */
	uint64_t told[WORKERS];
	uint32_t go;
} *area;

static const char *name;
static struct mmapdev_map *map;
static struct mmapdev_mutex *mutex;

/* ThreadSanitizer takes for a bug what the mutex is to refuse. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "report_mutex_bugs=0";
}

/* As new; what was there is forgotten. */
static void anew(void)
{
	memset(area, 0, sizeof(*area));
	need(mmapdev_mutex_init(map, 0, &mutex), "mutex_init");
}

static void add(unsigned int worker)
{
	size_t i;

	area->done[worker]++;
	for (i = 0; i < WORDS; i++)
		area->sum[i]++;
}

/* The same, and others run while it is half done. */
static void add_slowly(unsigned int worker)
{
	uint64_t was[WORDS];
	size_t i;

	memcpy(was, area->sum, sizeof(was));
	area->done[worker]++;
	sched_yield();
	for (i = 0; i < WORDS; i++)
		area->sum[i] = was[i] + 1;
}

static uint64_t all_done(void)
{
	uint64_t all = 0;
	size_t i;

	for (i = 0; i < WORKERS; i++)
		all += area->done[i];
	return all;
}

static bool whole(void)
{
	uint64_t all = all_done();
	size_t i;

	for (i = 0; i < WORDS && area->sum[i] == all; i++)
		;
	return i == WORDS;
}

static int repair(void *arg)
{
	uint64_t all = all_done();
	size_t i;

	(void)arg;
	area->repairs++;
	for (i = 0; i < WORDS; i++)
		area->sum[i] = all;
	return 0;
}

static int refuse(void *arg)
{
	area->repairs++;
	return *(int *)arg;
}

static void signal_go(void)
{
	__atomic_store_n(&area->go, 1, __ATOMIC_RELEASE);
}

static void await_go(void)
{
	while (!__atomic_load_n(&area->go, __ATOMIC_ACQUIRE))
		sched_yield();
}

struct worker {
	pthread_t thread;
	unsigned int index;
	int timeout;
	unsigned int rounds;
	int wrong;
};

static int lock(int timeout)
{
	int ret;

	do {
		ret = mmapdev_mutex_lock(mutex, timeout, repair, NULL);
		if (ret == -EAGAIN)
			sched_yield();
	} while (ret == -EAGAIN || ret == -ETIMEDOUT);
	return ret;
}

static int work(void *arg)
{
	struct worker *w = arg;
	unsigned int i;

	for (i = 0; i < w->rounds; i++) {
		w->wrong |= lock(w->timeout);
		w->wrong |= !whole();
		if (i % 8)
			add(w->index);
		else
			add_slowly(w->index);
		w->wrong |= mmapdev_mutex_unlock(mutex);
		__atomic_add_fetch(&area->told[w->index], 1, __ATOMIC_RELAXED);
	}
	return !!w->wrong;
}

static void *work_thread(void *arg)
{
	work(arg);
	return NULL;
}

/* One waits for ever, one asks again and again, one waits for a while. */
static const int timeouts[WORKERS] = { -1, 0, 1000 };

static void test_threads(void)
{
	struct worker workers[WORKERS] = { 0 };
	unsigned int i;
	int wrong = 0;

	anew();
	for (i = 0; i < WORKERS; i++) {
		workers[i].index = i;
		workers[i].timeout = timeouts[i];
		workers[i].rounds = 1000;
		need(-pthread_create(&workers[i].thread, NULL, work_thread,
				     &workers[i]), "pthread_create");
	}
	for (i = 0; i < WORKERS; i++) {
		pthread_join(workers[i].thread, NULL);
		wrong |= workers[i].wrong;
	}
	is(wrong, 0, "no thread sees a record half written (%s)", name);
	is(area->sum[0], 1000 * WORKERS, "nor is a write lost (%s)", name);
}

static void test_processes(void)
{
	struct worker w = { .rounds = 1000 };
	pid_t pid[WORKERS];
	int wrong = 0;

	anew();
	for (w.index = 0; w.index < WORKERS; w.index++) {
		w.timeout = timeouts[w.index];
		pid[w.index] = spawn(work, &w);
	}
	while (w.index--)
		wrong |= reap(pid[w.index]);
	is(wrong, 0, "no process sees a record half written (%s)", name);
	is(area->sum[0], 1000 * WORKERS, "nor is a write lost (%s)", name);
	ok(whole() && !area->repairs, "nobody died of it (%s)", name);
}

static int come(void *arg)
{
	await_go();
	return mmapdev_mutex_init(map, 0, &mutex) || work(arg);
}

static void test_first_to_come(void)
{
	struct worker w = { .rounds = 1, .timeout = -1 };
	pid_t pid[WORKERS];
	int wrong = 0, round;

	for (round = 0; round < 20; round++) {
		memset(area, 0, sizeof(*area));
		for (w.index = 0; w.index < WORKERS; w.index++)
			pid[w.index] = spawn(come, &w);
		signal_go();
		while (w.index--)
			wrong |= reap(pid[w.index]);
		wrong |= !whole() || area->sum[0] != WORKERS;
	}
	is(wrong, 0, "all who come at once find one mutex (%s)", name);
}

static int make(void *arg)
{
	(void)arg;
	return mmapdev_mutex_init(map, 0, &mutex);
}

/* What is in memory after each instruction is what its maker's death leaves. */
static void test_maker_killed(void)
{
	unsigned char was[MMAPDEV_LOCK_SIZE] = { 0 };
	struct mmapdev_mutex *other = NULL;
	int wrong = 0, states = 1;
	pid_t pid;

	on_one_cpu(true);
	memset(area, 0, sizeof(*area));
	pid = spawn_stopped(make, NULL);
	while (step(pid)) {
		if (!memcmp(was, area->mutex, sizeof(was)))
			continue;
		states++;
		memcpy(was, area->mutex, sizeof(was));
		memcpy(area->other, was, sizeof(was));
		wrong |= mmapdev_mutex_init(map, sizeof(was), &other);
		wrong |= mmapdev_mutex_lock(other, -1, NULL, NULL);
		wrong |= mmapdev_mutex_unlock(other);
	}
	on_one_cpu(false);
	is(states, 2, "a place is zeros or a mutex, never in between (%s)",
	   name);
	is(wrong, 0, "whoever comes later finds it (%s)", name);
}

static void test_place(void)
{
	struct mmapdev_mutex *again, *last;
	size_t size = mmapdev_map_size(map);

	anew();
	is(mmapdev_mutex_init(map, 0, &again), 0, "who comes later (%s)", name);
	ok(again == mutex && mutex == mmapdev_map_addr(map),
	   "finds it where it is (%s)", name);
	is(mmapdev_mutex_init(map, size - MMAPDEV_LOCK_SIZE, &last), 0,
	   "there is room for one at the very end (%s)", name);
	again = NULL;
	is(mmapdev_mutex_init(map, size, &again), -ERANGE,
	   "not beyond (%s)", name);
	is(mmapdev_mutex_init(map, -(uint64_t)MMAPDEV_LOCK_SIZE, &again),
	   -ERANGE, "not far beyond (%s)", name);
	is(mmapdev_mutex_init(map, 32, &again), -EINVAL,
	   "an offset between the places (%s)", name);
	is(mmapdev_mutex_init(NULL, 0, &again), -EINVAL, "no map (%s)", name);
	is(mmapdev_mutex_init(map, 0, NULL), -EINVAL, "no result (%s)", name);
	is(mmapdev_mutex_lock(NULL, 0, NULL, NULL), -EINVAL,
	   "lock nothing (%s)", name);
	is(mmapdev_mutex_unlock(NULL), -EINVAL, "unlock nothing (%s)", name);
	ok(!again, "what fails leaves the result alone (%s)", name);
}

static void test_foreign(void)
{
	struct mmapdev_semaphore *semaphore;
	uint32_t *word = (uint32_t *)area->mutex;
	int refused = 0;
	size_t i;

	for (i = 0; i < MMAPDEV_LOCK_SIZE / sizeof(*word); i++) {
		memset(area, 0, sizeof(*area));
		word[i] = 0x10001;
		refused += mmapdev_mutex_init(map, 0, &mutex) == -EBADMSG;
	}
	is(refused, i, "what is neither zeros nor a mutex is refused (%s)",
	   name);
	memset(area, 0, sizeof(*area));
	need(mmapdev_semaphore_init(map, 0, 0, &semaphore), "semaphore_init");
	is(mmapdev_mutex_init(map, 0, &mutex), -EBADMSG,
	   "a semaphore is no mutex (%s)", name);
}

static void test_maps(struct mmapdev *dev)
{
	struct mmapdev_map_opts opts = {
		.sz = sizeof(opts),
		.flags = MMAPDEV_MAP_READONLY,
	};
	struct mmapdev_map *other;
	struct mmapdev_mutex *same;

	anew();
	need(mmapdev_map(dev, NULL, &other), "map");
	is(mmapdev_mutex_init(other, 0, &same), 0, "in another map (%s)", name);
	need(mmapdev_mutex_lock(mutex, -1, NULL, NULL), "lock");
	ok(same != mutex &&
		   mmapdev_mutex_lock(same, 0, NULL, NULL) == -EDEADLK,
	   "it is the same mutex (%s)", name);
	is(mmapdev_mutex_unlock(same), 0, "and unlocked there (%s)", name);
	mmapdev_unmap(other);

	need(mmapdev_map(dev, &opts, &other), "read-only map");
	is(mmapdev_mutex_init(other, 0, &same), -EBADF,
	   "none in a map that is read-only (%s)", name);
	is(mmapdev_futex_probe(other, 0), 0, "where one can wait (%s)", name);
	mmapdev_unmap(other);

	opts.flags = 0;
	opts.length = 100;
	need(mmapdev_map(dev, &opts, &other), "small map");
	is(mmapdev_mutex_init(other, 64, &same), -ERANGE,
	   "none that would end behind the map (%s)", name);
	mmapdev_unmap(other);

	opts.length = 0;
	opts.flags = MMAPDEV_MAP_PRIVATE;
	need(mmapdev_map(dev, &opts, &other), "private map");
	is(mmapdev_mutex_init(other, 0, &same), -EOPNOTSUPP,
	   "none in a private map (%s)", name);
	is(mmapdev_futex_probe(other, 0), -EOPNOTSUPP,
	   "nobody else would see who waits there (%s)", name);
	mmapdev_unmap(other);
}

static void test_probe(void)
{
	size_t size = mmapdev_map_size(map);

	is(mmapdev_futex_probe(map, 0), 0, "here one can wait (%s)", name);
	is(mmapdev_futex_probe(map, size - 4), 0, "at the end too (%s)", name);
	is(mmapdev_futex_probe(map, size), -ERANGE, "not beyond (%s)", name);
	is(mmapdev_futex_probe(map, -(uint64_t)4), -ERANGE,
	   "not far beyond (%s)", name);
	is(mmapdev_futex_probe(map, 2), -EINVAL, "half a word (%s)", name);
	is(mmapdev_futex_probe(NULL, 0), -EINVAL, "no map (%s)", name);

	wrap_reset();
	wrap_fail(W_SYSCALL, 1, EFAULT);
	is(mmapdev_futex_probe(map, 0), -EOPNOTSUPP,
	   "a page, and no futex (%s)", name);
	wrap_fail(W_SYSCALL, 1, EFAULT);
	wrap_fail(W_MADVISE, 1, EHWPOISON);
	is(mmapdev_futex_probe(map, 0), -EHWPOISON, "no page (%s)", name);
	wrap_fail(W_SYSCALL, 1, ENOSYS);
	is(mmapdev_futex_probe(map, 0), -ENOSYS, "no futex(2) at all (%s)",
	   name);
	wrap_reset();
}

/* The object is shorter than its map. */
static void test_shrunk(struct mmapdev *dev)
{
	need(mmapdev_resize(dev, 0), "resize");
	is(mmapdev_futex_probe(map, 0), -EFAULT,
	   "a page beyond the end has no futex (%s)", name);
	is(mmapdev_mutex_init(map, 0, &mutex), -EFAULT, "and no mutex (%s)",
	   name);
	need(mmapdev_resize(dev, SIZE), "resize");
}

static const struct {
	const char *what;
	enum wrapped fails;
	int err;
	int wanted;
} cases[] = {
	{ "no futex", W_SYSCALL, EFAULT, -EOPNOTSUPP },
	{ "no page", W_MADVISE, EFAULT, -EFAULT },
	{ "no memory", W_MADVISE, ENOMEM, -ENOMEM },
	{ "Linux before 5.14", W_MADVISE, EINVAL, 0 },
	{ "pthread_mutex_init fails", W_PTHREAD_MUTEX_INIT, EAGAIN, -EAGAIN },
	{ "another C library", W_PTHREAD_MUTEX_INIT, 0, -EOPNOTSUPP },
};

static void test_cases(void)
{
	static const unsigned char zeros[MMAPDEV_LOCK_SIZE];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(area, 0, sizeof(*area));
		wrap_reset();
		wrap_fail(cases[i].fails, 1, cases[i].err);
		is(mmapdev_mutex_init(map, 0, &mutex), cases[i].wanted,
		   "mutex: %s (%s)", cases[i].what, name);
		if (cases[i].wanted)
			ok(!memcmp(area->mutex, zeros, sizeof(zeros)),
			   "the place is as it was (%s)", name);
		is(mmapdev_mutex_init(map, 0, &mutex), 0,
		   "the next call works (%s)", name);
	}
	wrap_reset();
}

/* Comes into its possession and never lets go. */
static int keep(void *arg)
{
	if (mmapdev_mutex_lock(mutex, -1, *(mmapdev_repair *)arg, NULL))
		return 1;
	add(0);
	area->sum[WORDS / 2]--;
	signal_go();
	for (;;)
		pause();
}

static void die_as_owner(void)
{
	mmapdev_repair none = repair;
	pid_t pid = spawn(keep, &none);

	await_go();
	slay(pid);
	__atomic_store_n(&area->go, 0, __ATOMIC_RELAXED);
}

static void test_held(void)
{
	mmapdev_repair none = repair;
	uint64_t since;
	pid_t pid;

	anew();
	need(mmapdev_mutex_lock(mutex, -1, NULL, NULL), "lock");
	is(mmapdev_mutex_lock(mutex, -1, NULL, NULL), -EDEADLK,
	   "who has it does not wait for it (%s)", name);
	is(mmapdev_mutex_lock(mutex, 10, NULL, NULL), -EDEADLK,
	   "not for a while either (%s)", name);
	is(mmapdev_mutex_lock(mutex, 0, NULL, NULL), -EDEADLK,
	   "and has it when it asks (%s)", name);
	is(mmapdev_mutex_unlock(mutex), 0, "it lets go (%s)", name);
	is(mmapdev_mutex_unlock(mutex), -EPERM, "but once (%s)", name);

	pid = spawn(keep, &none);
	await_go();
	is(mmapdev_mutex_lock(mutex, 0, NULL, NULL), -EAGAIN,
	   "what another has (%s)", name);
	since = milliseconds();
	is(mmapdev_mutex_lock(mutex, 20, NULL, NULL), -ETIMEDOUT,
	   "is not to be had in time (%s)", name);
	ok(milliseconds() - since >= 20, "all of it is waited for (%s)", name);
	is(mmapdev_mutex_unlock(mutex), -EPERM, "nor unlocked (%s)", name);
	slay(pid);
}

static int inherit(void *arg)
{
	(void)arg;
	return mmapdev_mutex_unlock(mutex) != -EPERM ||
	       mmapdev_mutex_lock(mutex, 0, NULL, NULL) != -EAGAIN ||
	       mmapdev_mutex_lock(mutex, -1, NULL, NULL) ||
	       mmapdev_mutex_unlock(mutex);
}

static void test_fork(void)
{
	pid_t pid;

	anew();
	need(mmapdev_mutex_lock(mutex, -1, NULL, NULL), "lock");
	pid = spawn(inherit, NULL);
	until_asleep(pid);
	is(mmapdev_mutex_unlock(mutex), 0, "its parent's lock (%s)", name);
	is(reap(pid), 0, "is not a child's, until it is free (%s)", name);
}

static void *leave(void *arg)
{
	*(int *)arg = mmapdev_mutex_lock(mutex, -1, NULL, NULL);
	return NULL;
}

static void test_thread_ends(void)
{
	pthread_t thread;
	int ret = 1;

	anew();
	need(-pthread_create(&thread, NULL, leave, &ret), "pthread_create");
	pthread_join(thread, NULL);
	is(ret, 0, "a thread ends with the lock (%s)", name);
	is(mmapdev_mutex_lock(mutex, -1, repair, NULL), 0,
	   "the next has it (%s)", name);
	is(area->repairs, 1, "after a repair (%s)", name);
	mmapdev_mutex_unlock(mutex);
}

static int try(void *arg)
{
	int ret = mmapdev_mutex_lock(mutex, 0, repair, NULL);

	(void)arg;
	return ret ? -ret : -mmapdev_mutex_unlock(mutex);
}

/* Nobody else is let in, the repairer not twice. */
static int guarded(void *arg)
{
	*(int *)arg = reap(spawn(try, NULL)) == EAGAIN &&
		      mmapdev_mutex_lock(mutex, 0, NULL, NULL) == -EDEADLK;
	return repair(NULL);
}

static void test_repair(void)
{
	int timeout[] = { -1, 0, 1000 }, held = 0;
	size_t i;

	for (i = 0; i < sizeof(timeout) / sizeof(timeout[0]); i++) {
		anew();
		die_as_owner();
		ok(!whole(), "an owner dies and leaves it broken (%s)", name);
		is(mmapdev_mutex_lock(mutex, timeout[i], guarded, &held), 0,
		   "the next has it, timeout %d (%s)", timeout[i], name);
		ok(held, "as it had during the repair (%s)", name);
		ok(whole(), "which made it whole (%s)", name);
		is(mmapdev_mutex_unlock(mutex), 0, "unlock (%s)", name);
		is(mmapdev_mutex_lock(mutex, -1, repair, NULL), 0,
		   "who comes then has it (%s)", name);
		is(area->repairs, 1, "without a repair (%s)", name);
		is(mmapdev_mutex_unlock(mutex), 0, "unlock again (%s)", name);
	}

	die_as_owner();
	is(mmapdev_mutex_lock(mutex, -1, NULL, NULL), 0,
	   "nothing to repair (%s)", name);
	is(mmapdev_mutex_unlock(mutex), 0, "and nothing lost (%s)", name);
	is(mmapdev_mutex_lock(mutex, -1, refuse, NULL), 0,
	   "nor asked of the next (%s)", name);
	mmapdev_mutex_unlock(mutex);
}

static void test_repair_fails(void)
{
	int err = -ENOSPC, odd = 7;

	anew();
	die_as_owner();
	is(mmapdev_mutex_lock(mutex, -1, refuse, &err), -ENOSPC,
	   "a repair fails, and says so (%s)", name);
	is(mmapdev_mutex_unlock(mutex), -EPERM, "the lock is free (%s)", name);
	is(mmapdev_mutex_lock(mutex, 0, refuse, &err), -ENOSPC,
	   "the next is to repair (%s)", name);
	is(mmapdev_mutex_lock(mutex, 10, refuse, &odd), 7,
	   "and the next, whatever it says (%s)", name);
	is(area->repairs, 3, "each of them tried (%s)", name);
	is(reap(spawn(try, NULL)), 0, "another process can (%s)", name);
	ok(whole(), "it is whole (%s)", name);
	is(mmapdev_mutex_lock(mutex, -1, refuse, &err), 0,
	   "its death, or its repair, is over (%s)", name);
	mmapdev_mutex_unlock(mutex);
}

static int die(void *arg)
{
	(void)arg;
	area->repairs++;
	raise(SIGKILL);
	return 0;
}

static int die_repairing(void *arg)
{
	(void)arg;
	return mmapdev_mutex_lock(mutex, -1, die, NULL);
}

static void test_repairer_dies(void)
{
	int err = -EIO, i, killed = 0;

	anew();
	die_as_owner();
	for (i = 0; i < 5; i++)
		killed += reap(spawn(die_repairing, NULL)) == -SIGKILL;
	is(killed, 5, "repairer after repairer dies (%s)", name);
	is(mmapdev_mutex_lock(mutex, -1, refuse, &err), -EIO,
	   "one fails (%s)", name);
	is(reap(spawn(die_repairing, NULL)), -SIGKILL, "one dies (%s)", name);
	is(mmapdev_mutex_lock(mutex, -1, repair, NULL), 0,
	   "one does it (%s)", name);
	ok(whole(), "it is whole (%s)", name);
	is(area->repairs, 8, "all had their turn (%s)", name);
	is(mmapdev_mutex_unlock(mutex), 0, "unlock (%s)", name);
}

static jmp_buf escape;

static int jump(void *arg)
{
	(void)arg;
	area->repairs++;
	longjmp(escape, 1);
}

/* As under a guard, where what it repairs cannot be touched. */
static void test_repair_leaves(void)
{
	anew();
	die_as_owner();
	if (!setjmp(escape))
		mmapdev_mutex_lock(mutex, -1, jump, NULL);
	is(area->repairs, 1, "a repair ends by longjmp (%s)", name);
	is(mmapdev_mutex_unlock(mutex), 0, "the lock is there (%s)", name);
	is(mmapdev_mutex_lock(mutex, -1, repair, NULL), 0,
	   "the next has it (%s)", name);
	ok(area->repairs == 2 && whole(), "and repairs (%s)", name);
	mmapdev_mutex_unlock(mutex);
}

/* A stranger who takes the C library's mutex, and does not repair. */
static void test_lost(void)
{
	anew();
	die_as_owner();
	is(pthread_mutex_lock((pthread_mutex_t *)mutex), EOWNERDEAD,
	   "a stranger has it (%s)", name);
	pthread_mutex_unlock((pthread_mutex_t *)mutex);
	is(mmapdev_mutex_lock(mutex, -1, repair, NULL), -ENOTRECOVERABLE,
	   "and loses it for all (%s)", name);
	anew();
	is(mmapdev_mutex_lock(mutex, -1, repair, NULL), 0,
	   "zeros make it new (%s)", name);
	mmapdev_mutex_unlock(mutex);
}

static int one_round(void *arg)
{
	int ret = mmapdev_mutex_lock(mutex, -1, repair, NULL);

	(void)arg;
	if (ret)
		return 1;
	add(0);
	return -mmapdev_mutex_unlock(mutex);
}

/* One by one would take the square of their number, of which sanitizers add. */
static unsigned int stride(void)
{
	unsigned int steps = 0;
	pid_t pid = spawn_stopped(one_round, NULL);

	while (step(pid))
		steps++;
	return steps * steps / 30000 + 1;
}

/* True when all was right; *@over when it was not killed, but ended. */
static bool killed_after(unsigned int steps, bool broken, bool *over)
{
	bool right;
	pid_t pid;

	anew();
	if (broken)
		die_as_owner();
	pid = spawn_stopped(one_round, NULL);
	while (steps && step(pid))
		steps--;
	*over = steps;
	if (!*over)
		slay(pid);

	right = !mmapdev_mutex_lock(mutex, 0, repair, NULL) && whole();
	area->repairs = 0;
	right = !mmapdev_mutex_unlock(mutex) && right;
	right = !mmapdev_mutex_lock(mutex, 0, repair, NULL) && right;
	right = !mmapdev_mutex_unlock(mutex) && right;
	return right && !area->repairs;
}

static void test_killed_anywhere(bool broken)
{
	static unsigned int turn; /* not after the same ones on each object */
	unsigned int steps, by, wrong = 0;
	bool over;

	on_one_cpu(true);
	by = stride();
	steps = turn++ / 2 % by;
	do {
		wrong += !killed_after(steps, broken, &over);
		steps += by;
	} while (!over);
	on_one_cpu(false);
	is(wrong, 0, "killed after each %u of %u instructions of %s (%s)", by,
	   steps, broken ? "repair and unlock" : "lock and unlock", name);
}

static int work_on(void *arg)
{
	struct worker *w = arg;

	w->rounds = UINT32_MAX;
	return work(w);
}

static uint64_t all_told(void)
{
	uint64_t all = 0;
	size_t i;

	for (i = 0; i < WORKERS; i++)
		all += __atomic_load_n(&area->told[i], __ATOMIC_RELAXED);
	return all;
}

static void test_torture(void)
{
	struct worker workers[WORKERS] = { 0 };
	uint64_t kills[WORKERS] = { 0 }, until;
	pid_t pid[WORKERS];
	unsigned int i, k, wrong = 0;

	anew();
	srandom(1);
	for (i = 0; i < WORKERS; i++) {
		workers[i].index = i;
		workers[i].timeout = timeouts[i];
		pid[i] = spawn(work_on, &workers[i]);
	}
	for (k = 0; k < 100; k++) {
		/* Often at once: the victim may be a repairer. */
		until = k % 2 ? all_told() + random() % 50 : 0;
		while (all_told() < until)
			sched_yield();
		i = random() % WORKERS;
		slay(pid[i]);
		kills[i]++;
		pid[i] = spawn(work_on, &workers[i]);
	}
	for (i = 0; i < WORKERS; i++) {
		slay(pid[i]);
		kills[i]++;
	}
	is(mmapdev_mutex_lock(mutex, -1, repair, NULL), 0,
	   "it outlives %u owners and waiters (%s)", k + WORKERS, name);
	ok(whole(), "with what it guards (%s)", name);
	for (i = 0; i < WORKERS; i++)
		wrong += area->done[i] < area->told[i] ||
			 area->done[i] > area->told[i] + kills[i];
	is(wrong, 0, "no write that was told of is lost or repeated (%s)",
	   name);
	ok(area->repairs, "%llu repairs (%s)",
	   (unsigned long long)area->repairs, name);
	mmapdev_mutex_unlock(mutex);
}

static void test_map(void)
{
	area = mmapdev_map_addr(map);
	test_probe();
	test_place();
	test_foreign();
	test_cases();
	test_held();
	test_fork();
	test_repair();
	test_repair_fails();
	test_repairer_dies();
	test_repair_leaves();
	test_thread_ends();
	test_lost();
	test_first_to_come();
	test_maker_killed();
	test_threads();
	test_processes();
	test_killed_anywhere(false);
	test_killed_anywhere(true);
	test_torture();
}

static void test_object(struct object *o)
{
	name = o->name;
	need(mmapdev_map(o->dev, NULL, &map), "map");
	test_map();
	test_maps(o->dev);
	test_shrunk(o->dev);
	mmapdev_unmap(map);
}

static void test_anonymous(void)
{
	struct mmapdev_map_opts opts = { .sz = sizeof(opts), .length = SIZE };

	name = "anonymous";
	need(mmapdev_map_anonymous(&opts, &map), "anonymous map");
	test_map();
	mmapdev_unmap(map);
}

static void *contend(void *arg)
{
	pthread_mutex_lock(arg);
	return NULL;
}

/* What a program does that does not ask first. */
static int naive(void *arg)
{
	pthread_mutexattr_t attr;
	pthread_mutex_t *plain = mmapdev_map_addr(arg);
	pthread_t thread;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	if (pthread_mutex_init(plain, &attr) || pthread_mutex_lock(plain) ||
	    pthread_create(&thread, NULL, contend, plain))
		return 1;
	pthread_join(thread, NULL);
	return 2;
}

static void test_eager(struct object *o)
{
	struct mmapdev_semaphore *semaphore;
	struct mmapdev *dev;

	if (strcmp(o->name, "device"))
		return;
	name = "device, eager";
	dev = reopen(o, O_RDWR);
	need(mmapdev_set_mode(dev, MMAPDEV_MODE_EAGER), "eager");
	need(mmapdev_map(dev, NULL, &map), "map");
	is(mmapdev_futex_probe(map, 0), -EOPNOTSUPP, "nobody waits (%s)", name);
	is(mmapdev_mutex_init(map, 0, &mutex), -EOPNOTSUPP, "no mutex (%s)",
	   name);
	is(mmapdev_semaphore_init(map, 0, 0, &semaphore), -EOPNOTSUPP,
	   "no semaphore (%s)", name);
	is(reap(spawn(naive, map)), -SIGABRT,
	   "where a plain mutex kills the program (%s)", name);
	mmapdev_unmap(map);
	mmapdev_close(dev);
}

int main(void)
{
	on_every_object(SIZE, test_object);
	on_every_object(SIZE, test_eager);
	test_anonymous();
	return done();
}
