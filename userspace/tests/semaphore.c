// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The semaphore in a mapping: what is posted is taken once, nobody sleeps while
 * there is something to take, and neither changes when one who posts or waits is
 * killed, after whichever instruction.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "wrap.h"

#define SIZE (16 * KIB)
#define WORKERS 3
#define WORDS 16
#define VALUE_MAX ((1u << 30) - 1)

static struct area {
	unsigned char semaphore[MMAPDEV_LOCK_SIZE];
	unsigned char second[MMAPDEV_LOCK_SIZE];
	/* What a semaphore of 1 keeps whole. */
	uint64_t word[WORDS];
	/* Atomics. */
	uint64_t taken;
	uint32_t go;
} *area;

static const char *name;
static struct mmapdev_map *map;
static struct mmapdev_semaphore *semaphore, *second;

/* As new, with @value; the second with 0. */
static void anew(uint32_t value)
{
	memset(area, 0, sizeof(*area));
	need(mmapdev_semaphore_init(map, 0, value, &semaphore), "init");
	need(mmapdev_semaphore_init(map, MMAPDEV_LOCK_SIZE, 0, &second),
	     "init");
}

/* What is left in it, which is taken. */
static unsigned int left(struct mmapdev_semaphore *s)
{
	unsigned int count = 0;

	while (!mmapdev_semaphore_wait(s, 0))
		count++;
	return count;
}

static void test_place(void)
{
	struct mmapdev_semaphore *again;
	size_t size = mmapdev_map_size(map);

	anew(3);
	is(mmapdev_semaphore_init(map, 0, 5, &again), 0,
	   "who comes later (%s)", name);
	ok(again == semaphore, "finds the same (%s)", name);
	is(left(again), 3, "with the value of the first (%s)", name);
	is(mmapdev_semaphore_init(map, 0, 5, &again), 0, "and later (%s)",
	   name);
	is(left(again), 0, "what is left of it (%s)", name);
	again = NULL;
	is(mmapdev_semaphore_init(map, size - 64, 0, &again), 0,
	   "there is room for one at the very end (%s)", name);
	again = NULL;
	is(mmapdev_semaphore_init(map, size, 0, &again), -ERANGE,
	   "not beyond (%s)", name);
	is(mmapdev_semaphore_init(map, 8, 0, &again), -EINVAL,
	   "an offset between the places (%s)", name);
	is(mmapdev_semaphore_init(map, 0, VALUE_MAX + 1, &again), -EINVAL,
	   "a value that it cannot have (%s)", name);
	is(mmapdev_semaphore_init(NULL, 0, 0, &again), -EINVAL, "no map (%s)",
	   name);
	is(mmapdev_semaphore_init(map, 0, 0, NULL), -EINVAL, "no result (%s)",
	   name);
	is(mmapdev_semaphore_wait(NULL, 0), -EINVAL, "wait for nothing (%s)",
	   name);
	is(mmapdev_semaphore_post(NULL), -EINVAL, "post nothing (%s)", name);
	ok(!again, "what fails leaves the result alone (%s)", name);
}

static void test_foreign(void)
{
	struct mmapdev_mutex *mutex;
	uint32_t *word = (uint32_t *)area->semaphore;
	unsigned int refused = 0, i;

	for (i = 0; i < MMAPDEV_LOCK_SIZE / sizeof(*word); i++) {
		memset(area, 0, sizeof(*area));
		word[i] = 0x10001;
		refused += mmapdev_semaphore_init(map, 0, 0, &semaphore) ==
			   -EBADMSG;
	}
	is(refused, i, "what is neither zeros nor a semaphore (%s)", name);

	memset(area, 0, sizeof(*area));
	need(mmapdev_mutex_init(map, 0, &mutex), "mutex_init");
	is(mmapdev_semaphore_init(map, 0, 0, &semaphore), -EBADMSG,
	   "a mutex is no semaphore (%s)", name);
	need(mmapdev_mutex_lock(mutex, -1, NULL, NULL), "lock");
	is(mmapdev_semaphore_init(map, 0, 0, &semaphore), -EBADMSG,
	   "not when it is locked either (%s)", name);
	need(mmapdev_mutex_unlock(mutex), "unlock");

	anew(1);
	memset(area, 0, sizeof(*area));
	is(mmapdev_semaphore_wait(semaphore, -1), -EBADMSG,
	   "who waits finds it gone (%s)", name);
	is(mmapdev_semaphore_post(semaphore), -EBADMSG, "who posts too (%s)",
	   name);
}

/* Any 64 bits may be there: calls end, and touch nothing else. */
static void test_garbage(void)
{
	static const unsigned char zeros[MMAPDEV_LOCK_SIZE];
	unsigned int round, wrong = 0;
	uint64_t *state = (uint64_t *)area->semaphore;

	srandom(1);
	for (round = 0; round < 10000; round++) {
		anew(0);
		*state = (uint64_t)random() << 33 ^ (uint64_t)random() << 11 ^
			 random();
		mmapdev_semaphore_post(semaphore);
		mmapdev_semaphore_wait(semaphore, 0);
		mmapdev_semaphore_init(map, 0, 1, &semaphore);
		wrong += !!memcmp(area->semaphore + 8, zeros, 56);
	}
	is(wrong, 0, "garbage does no harm (%s)", name);
}

static void test_value(void)
{
	uint64_t since;

	anew(VALUE_MAX);
	is(mmapdev_semaphore_post(semaphore), -EOVERFLOW,
	   "more than it can hold (%s)", name);
	is(mmapdev_semaphore_wait(semaphore, 0), 0, "take one (%s)", name);
	is(mmapdev_semaphore_post(semaphore), 0, "post one (%s)", name);

	anew(1);
	is(mmapdev_semaphore_wait(semaphore, -1), 0, "there is one (%s)", name);
	is(mmapdev_semaphore_wait(semaphore, 0), -EAGAIN, "not two (%s)", name);
	since = milliseconds();
	is(mmapdev_semaphore_wait(semaphore, 20), -ETIMEDOUT,
	   "nor soon (%s)", name);
	ok(milliseconds() - since >= 20, "all of it is waited for (%s)", name);
	/* Who waited left a flag, which the first post clears. */
	is(mmapdev_semaphore_post(semaphore), 0, "post (%s)", name);
	wrap_reset();
	is(mmapdev_semaphore_post(semaphore), 0, "post, nobody waits (%s)",
	   name);
	is(mmapdev_semaphore_wait(semaphore, 1000), 0, "take (%s)", name);
	is(mmapdev_semaphore_wait(semaphore, -1), 0, "take (%s)", name);
	is(wrap_calls(W_SYSCALL), 0, "without a system call (%s)", name);
}

static int wait_for(void *arg)
{
	return -mmapdev_semaphore_wait(semaphore, *(int *)arg);
}

static void test_wakes(void)
{
	int timeout[] = { -1, 60000, -1 };
	pid_t pid[WORKERS];
	unsigned int i;

	anew(0);
	for (i = 0; i < WORKERS; i++)
		pid[i] = spawn(wait_for, &timeout[i]);
	for (i = 0; i < WORKERS; i++)
		until_asleep(pid[i]);
	for (i = 0; i < WORKERS; i++)
		is(mmapdev_semaphore_post(semaphore), 0, "a post (%s)", name);
	for (i = 0; i < WORKERS; i++)
		is(reap(pid[i]), 0, "ends a wait (%s)", name);
	is(left(semaphore), 0, "one each (%s)", name);
}

/* The probe wakes who waits there. */
static int wake_always(void *arg)
{
	while (!mmapdev_futex_probe(arg, 0))
		sched_yield();
	return 1;
}

static void test_woken_in_vain(void)
{
	pid_t pid;

	anew(0);
	pid = spawn(wake_always, map);
	is(mmapdev_semaphore_wait(semaphore, 50), -ETIMEDOUT,
	   "a timeout is of all sleeps together (%s)", name);
	slay(pid);
}

static void nothing(int signal)
{
	(void)signal;
}

static int interrupt(void *arg)
{
	pid_t pid = *(pid_t *)arg;

	until_asleep(pid);
	return kill(pid, SIGUSR1);
}

static void test_signal(void)
{
	struct sigaction action = { .sa_handler = nothing };
	int timeout[] = { -1, 60000 };
	pid_t self = getpid(), pid;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		anew(0);
		/* A wait with a timeout is not restarted. */
		action.sa_flags = i ? SA_RESTART : 0;
		sigaction(SIGUSR1, &action, NULL);
		pid = spawn(interrupt, &self);
		is(mmapdev_semaphore_wait(semaphore, timeout[i]), -EINTR,
		   "a signal ends a wait (%s)", name);
		reap(pid);
		is(left(semaphore), 0, "with nothing (%s)", name);
	}
}

static void test_cases(void)
{
	static const unsigned char zeros[MMAPDEV_LOCK_SIZE];

	memset(area, 0, sizeof(*area));
	wrap_reset();
	wrap_fail(W_SYSCALL, 1, EFAULT);
	is(mmapdev_semaphore_init(map, 0, 1, &semaphore), -EOPNOTSUPP,
	   "no futex, no semaphore (%s)", name);
	wrap_fail(W_MADVISE, 1, EFAULT);
	is(mmapdev_semaphore_init(map, 0, 1, &semaphore), -EFAULT,
	   "no page, no semaphore (%s)", name);
	ok(!memcmp(area->semaphore, zeros, sizeof(zeros)),
	   "the place is as it was (%s)", name);

	anew(0);
	wrap_fail(W_SYSCALL, 1, EFAULT);
	is(mmapdev_semaphore_wait(semaphore, -1), -EFAULT,
	   "what futex(2) says to who waits (%s)", name);
	wrap_fail(W_SYSCALL, 1, EFAULT);
	is(mmapdev_semaphore_post(semaphore), -EFAULT, "and to who posts (%s)",
	   name);
	is(mmapdev_semaphore_wait(semaphore, -1), 0, "posted it is (%s)", name);
	wrap_fail(W_SYSCALL, 3, EAGAIN);
	is(mmapdev_semaphore_wait(semaphore, 10), -ETIMEDOUT,
	   "awake without a reason, it sleeps again (%s)", name);
	is(wrap_calls(W_SYSCALL) > 4, 1, "each time (%s)", name);
	wrap_reset();
}

static void test_maps(struct mmapdev *dev)
{
	struct mmapdev_map_opts opts = {
		.sz = sizeof(opts),
		.flags = MMAPDEV_MAP_READONLY,
	};
	struct mmapdev_semaphore *same;
	struct mmapdev_map *other;

	anew(0);
	need(mmapdev_map(dev, NULL, &other), "map");
	need(mmapdev_semaphore_init(other, 0, 7, &same), "init");
	is(mmapdev_semaphore_post(same), 0, "posted in one map (%s)", name);
	is(mmapdev_semaphore_wait(semaphore, 0), 0, "taken in another (%s)",
	   name);
	mmapdev_unmap(other);

	need(mmapdev_map(dev, &opts, &other), "read-only map");
	is(mmapdev_semaphore_init(other, 0, 0, &same), -EBADF,
	   "none in a map that is read-only (%s)", name);
	mmapdev_unmap(other);
	opts.flags = MMAPDEV_MAP_PRIVATE;
	need(mmapdev_map(dev, &opts, &other), "private map");
	is(mmapdev_semaphore_init(other, 0, 0, &same), -EOPNOTSUPP,
	   "none in a private map (%s)", name);
	mmapdev_unmap(other);
}

struct worker {
	pthread_t thread;
	int timeout;
	unsigned int rounds;
	int wrong;
};

static int take(struct mmapdev_semaphore *s, int timeout)
{
	int ret;

	do {
		ret = mmapdev_semaphore_wait(s, timeout);
		if (ret == -EAGAIN)
			sched_yield();
	} while (ret == -EAGAIN || ret == -ETIMEDOUT);
	return ret;
}

/* The semaphore is the lock of what it keeps whole. */
static int work(void *arg)
{
	struct worker *w = arg;
	unsigned int round, i;

	for (round = 0; round < w->rounds; round++) {
		w->wrong |= take(semaphore, w->timeout);
		for (i = 0; i < WORDS; i++)
			w->wrong |= area->word[i] != area->word[WORDS - 1];
		for (i = 0; i < WORDS; i++) {
			area->word[i]++;
			/* Others run while it is half done. */
			if (i == WORDS / 2 && !(round % 8))
				sched_yield();
		}
		w->wrong |= mmapdev_semaphore_post(semaphore);
	}
	return !!w->wrong;
}

static void *work_thread(void *arg)
{
	work(arg);
	return NULL;
}

static const int timeouts[WORKERS] = { -1, 0, 1000 };

static void test_threads(void)
{
	struct worker workers[WORKERS] = { 0 };
	unsigned int i;
	int wrong = 0;

	anew(1);
	for (i = 0; i < WORKERS; i++) {
		workers[i].timeout = timeouts[i];
		workers[i].rounds = 1000;
		need(-pthread_create(&workers[i].thread, NULL, work_thread,
				     &workers[i]), "pthread_create");
	}
	for (i = 0; i < WORKERS; i++) {
		pthread_join(workers[i].thread, NULL);
		wrong |= workers[i].wrong;
	}
	is(area->word[0], 1000 * WORKERS, "threads lose no write (%s)", name);
	ok(!wrong && left(semaphore) == 1, "nor see one half done (%s)", name);
}

static void test_processes(void)
{
	struct worker w = { .rounds = 1000 };
	pid_t pid[WORKERS];
	int wrong = 0;
	size_t i;

	anew(1);
	for (i = 0; i < WORKERS; i++) {
		w.timeout = timeouts[i];
		pid[i] = spawn(work, &w);
	}
	while (i--)
		wrong |= reap(pid[i]);
	is(area->word[0], 1000 * WORKERS, "processes lose no write (%s)", name);
	ok(!wrong && left(semaphore) == 1, "nor see one half done (%s)", name);
}

/* Each needs the other awake for each of its steps. */
static int play(void *arg)
{
	bool first = *(bool *)arg;
	int round, ret = 0;

	for (round = 0; !ret && round < 2000; round++) {
		ret = mmapdev_semaphore_wait(first ? semaphore : second, -1);
		if (!ret)
			ret = mmapdev_semaphore_post(first ? second :
							     semaphore);
	}
	return -ret;
}

static void test_ping_pong(void)
{
	bool first = true;
	pid_t pid;

	anew(1);
	pid = spawn(play, &first);
	first = false;
	is(play(&first), 0, "back and forth, 2,000 times (%s)", name);
	is(reap(pid), 0, "nobody was left asleep (%s)", name);
}

static int come(void *arg)
{
	unsigned int *value = arg;

	while (!__atomic_load_n(&area->go, __ATOMIC_ACQUIRE))
		sched_yield();
	return mmapdev_semaphore_init(map, 0, *value, &semaphore) ||
	       mmapdev_semaphore_wait(semaphore, -1);
}

static void test_first_to_come(void)
{
	unsigned int value, wrong = 0, round;
	pid_t pid[WORKERS];

	for (round = 0; round < 20; round++) {
		memset(area, 0, sizeof(*area));
		for (value = 0; value < WORKERS; value++) {
			unsigned int more = value + WORKERS;

			pid[value] = spawn(come, &more);
		}
		__atomic_store_n(&area->go, 1, __ATOMIC_RELEASE);
		while (value--)
			wrong |= reap(pid[value]);
		need(mmapdev_semaphore_init(map, 0, 9, &semaphore), "init");
		wrong |= left(semaphore) >= WORKERS;
	}
	is(wrong, 0, "all who come at once find one semaphore (%s)", name);
}

static int make(void *arg)
{
	return mmapdev_semaphore_init(map, 0, 4, &semaphore) + !!arg;
}

static void test_maker_killed(void)
{
	unsigned char was[MMAPDEV_LOCK_SIZE] = { 0 };
	int wrong = 0, states = 1;
	pid_t pid;

	on_one_cpu(true);
	memset(area, 0, sizeof(*area));
	pid = spawn_stopped(make, NULL);
	while (step(pid)) {
		if (!memcmp(was, area->semaphore, sizeof(was)))
			continue;
		states++;
		memcpy(was, area->semaphore, sizeof(was));
		memcpy(area->second, was, sizeof(was));
		wrong |= mmapdev_semaphore_init(map, sizeof(was), 7, &second);
		wrong |= left(second) != 4;
	}
	on_one_cpu(false);
	is(states, 2, "a place is zeros or a semaphore (%s)", name);
	is(wrong, 0, "whoever comes later finds it (%s)", name);
}

static int post(void *arg)
{
	(void)arg;
	return -mmapdev_semaphore_post(semaphore);
}

/*
 * Who posts is killed after @steps instructions while two wait. Two posts later
 * both have come, and nothing is left but what the dead one posted.
 */
static bool poster_killed(unsigned int steps, bool *over)
{
	int timeout[] = { -1, -1 };
	pid_t waiter[2], pid;
	bool right;
	int i;

	anew(0);
	for (i = 0; i < 2; i++)
		waiter[i] = spawn(wait_for, &timeout[i]);
	for (i = 0; i < 2; i++)
		until_asleep(waiter[i]);

	pid = spawn_stopped(post, NULL);
	while (steps && step(pid))
		steps--;
	*over = steps;
	if (!*over)
		slay(pid);

	right = !mmapdev_semaphore_post(semaphore);
	right = !mmapdev_semaphore_post(semaphore) && right;
	right = !reap(waiter[0]) && !reap(waiter[1]) && right;
	return left(semaphore) <= 1 && right;
}

static int take_one(void *arg)
{
	(void)arg;
	return take(semaphore, 0);
}

/* Killed while it takes; and a bystander, who is not to sleep on. */
static bool taker_killed(unsigned int steps, bool *over)
{
	int timeout = -1;
	pid_t waiter, pid;
	bool right;

	anew(1);
	pid = spawn_stopped(take_one, NULL);
	while (steps && step(pid))
		steps--;
	*over = steps;
	if (!*over)
		slay(pid);

	waiter = spawn(wait_for, &timeout);
	right = !mmapdev_semaphore_post(semaphore);
	right = !reap(waiter) && right;
	return left(semaphore) <= 1 && right;
}

/* One by one would take the square of their number, of which sanitizers add. */
static unsigned int stride(void)
{
	unsigned int steps = 0;
	pid_t pid;

	anew(1);
	pid = spawn_stopped(post, NULL);
	while (step(pid))
		steps++;
	return steps * steps / 10000 + 1;
}

static void killed_anywhere(bool (*killed)(unsigned int steps, bool *over),
			    const char *what)
{
	static unsigned int turn; /* not after the same ones on each object */
	unsigned int steps, by, wrong = 0;
	bool over = false;

	on_one_cpu(true);
	by = stride();
	for (steps = turn++ / 2 % by; !over; steps += by)
		wrong += !killed(steps, &over);
	on_one_cpu(false);
	is(wrong, 0, "%s killed after each %u of %u instructions (%s)", what,
	   by, steps, name);
}

static int take_and_tell(void *arg)
{
	int ret = mmapdev_semaphore_wait(semaphore, 0);

	(void)arg;
	if (!ret)
		__atomic_add_fetch(&area->taken, 1, __ATOMIC_RELAXED);
	return ret;
}

static int post_and_tell(void *arg)
{
	(void)arg;
	__atomic_sub_fetch(&area->taken, 1, __ATOMIC_RELAXED);
	return mmapdev_semaphore_post(semaphore);
}

/* All of @late comes after @steps instructions of @early. */
static bool interleaved(int (*early)(void *arg), int (*late)(void *arg),
			unsigned int steps, bool *over)
{
	pid_t pid;

	anew(1);
	pid = spawn_stopped(early, NULL);
	while (steps && step(pid))
		steps--;
	*over = steps;
	late(NULL);
	while (!*over && step(pid))
		;
	return left(semaphore) == 1 - (unsigned int)area->taken;
}

static void test_interleaved(void)
{
	static int (*const work[])(void *arg) = { take_and_tell,
						  post_and_tell };
	unsigned int i, by, steps, wrong = 0;
	bool over;

	on_one_cpu(true);
	by = stride();
	for (i = 0; i < 4; i++)
		for (steps = 0, over = false; !over; steps += by)
			wrong += !interleaved(work[i / 2], work[i % 2], steps,
					      &over);
	on_one_cpu(false);
	is(wrong, 0, "between any two instructions another takes or posts");
}

/* Woken, and killed before it ran: another takes what is there. */
static void test_woken_killed(void)
{
	int timeout = -1, wrong = 0, round;
	pid_t victim, other;

	for (round = 0; round < 50; round++) {
		anew(0);
		victim = spawn(wait_for, &timeout);
		until_asleep(victim);
		other = spawn(wait_for, &timeout);
		until_asleep(other);

		/* Stopped, it is woken all the same, and takes nothing. */
		kill(victim, SIGSTOP);
		wrong |= mmapdev_semaphore_post(semaphore);
		slay(victim);
		wrong |= reap(other);
	}
	is(wrong, 0, "who was woken dies, the other has it (%s)", name);
}

static int consume(void *arg)
{
	int *timeout = arg;

	while (!take(semaphore, *timeout))
		__atomic_add_fetch(&area->taken, 1, __ATOMIC_RELAXED);
	return 1;
}

/* Consumers die all the time; what is posted is taken all the same. */
static void test_torture(void)
{
	int timeout[WORKERS] = { -1, 1000, -1 };
	unsigned int i, k, posted = 0;
	pid_t pid[WORKERS];

	anew(0);
	srandom(1);
	for (i = 0; i < WORKERS; i++)
		pid[i] = spawn(consume, &timeout[i]);
	for (k = 0; k < 100; k++) {
		unsigned int posts = random() % 20;

		posted += posts;
		while (posts--)
			need(mmapdev_semaphore_post(semaphore), "post");
		i = random() % WORKERS;
		slay(pid[i]);
		pid[i] = spawn(consume, &timeout[i]);
	}
	/* Each of the dead may have taken one more than it told of. */
	while (__atomic_load_n(&area->taken, __ATOMIC_RELAXED) + k < posted)
		sched_yield();
	for (i = 0; i < WORKERS; i++) {
		until_asleep(pid[i]);
		slay(pid[i]);
	}
	is(left(semaphore), 0, "all of %u that were posted are taken (%s)",
	   posted, name);
	ok(area->taken <= posted, "none of them twice (%s)", name);
}

static void test_map(void)
{
	area = mmapdev_map_addr(map);
	test_place();
	test_foreign();
	test_garbage();
	test_value();
	test_wakes();
	test_woken_in_vain();
	test_signal();
	test_cases();
	test_threads();
	test_processes();
	test_ping_pong();
	test_first_to_come();
	test_maker_killed();
	killed_anywhere(poster_killed, "who posts");
	killed_anywhere(taker_killed, "who takes");
	test_woken_killed();
	test_torture();
}

static void test_object(struct object *o)
{
	name = o->name;
	need(mmapdev_map(o->dev, NULL, &map), "map");
	test_map();
	test_maps(o->dev);
	mmapdev_unmap(map);
}

static void test_anonymous(void)
{
	struct mmapdev_map_opts opts = { .sz = sizeof(opts), .length = SIZE };

	name = "anonymous";
	need(mmapdev_map_anonymous(&opts, &map), "anonymous map");
	test_map();
	test_interleaved();
	mmapdev_unmap(map);
}

int main(void)
{
	on_every_object(SIZE, test_object);
	test_anonymous();
	return done();
}
