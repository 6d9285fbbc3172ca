// SPDX-License-Identifier: GPL-2.0
/*
 * Four processes add to one counter in the device, each by a read, a yield
 * and a write. Without a lock that loses; with each kind of lock that Linux
 * has it doesn't, and a robust mutex survives the death of its owner.
 */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/file.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#define WRITERS	4
#define TIMES	200

/* What lies in the device: one page. */
struct board {
	pthread_mutex_t mutex;
	sem_t sem;
	atomic_int ready;
	atomic_ulong atomic;
	unsigned long plain;
	unsigned long after_death;
};

enum lock {
	NONE,
	MUTEX,
	SEMAPHORE,
	ATOMICS,
	FCNTL,
	OFD,
	FLOCK,
};

struct writer {
	__u32 mode;
	enum lock lock;
	int fd;
	struct board *board;
};

static bool lock_file(int fd, int command, short type)
{
	struct flock range = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = 0,
		.l_len = 1,
	};

	return !fcntl(fd, command, &range);
}

static bool take(struct writer *me)
{
	switch (me->lock) {
	case MUTEX:
		return !pthread_mutex_lock(&me->board->mutex);
	case SEMAPHORE:
		return !sem_wait(&me->board->sem);
	case FCNTL:
		return lock_file(me->fd, F_SETLKW, F_WRLCK);
	case OFD:
		return lock_file(me->fd, F_OFD_SETLKW, F_WRLCK);
	case FLOCK:
		return !flock(me->fd, LOCK_EX);
	default:
		return true;
	}
}

static bool give(struct writer *me)
{
	switch (me->lock) {
	case MUTEX:
		return !pthread_mutex_unlock(&me->board->mutex);
	case SEMAPHORE:
		return !sem_post(&me->board->sem);
	case FCNTL:
		return lock_file(me->fd, F_SETLK, F_UNLCK);
	case OFD:
		return lock_file(me->fd, F_OFD_SETLK, F_UNLCK);
	case FLOCK:
		return !flock(me->fd, LOCK_UN);
	default:
		return true;
	}
}

static void add_slowly(unsigned long *counter)
{
	unsigned long seen = __atomic_load_n(counter, __ATOMIC_RELAXED);

	sched_yield();
	__atomic_store_n(counter, seen + 1, __ATOMIC_RELAXED);
}

/* Opens and maps for itself: nothing is inherited. */
static int count(void *arg)
{
	struct writer me = *(struct writer *)arg;
	int i;

	me.fd = device_open(O_RDWR, me.mode);
	me.board = map(me.fd, PAGE, RW, MAP_SHARED, 0);
	if (!holds(me.board))
		return 1;
	atomic_fetch_add(&me.board->ready, 1);
	while (atomic_load(&me.board->ready) < WRITERS)
		sched_yield();
	for (i = 0; i < TIMES; i++) {
		if (me.lock == ATOMICS) {
			atomic_fetch_add(&me.board->atomic, 1);
			continue;
		}
		if (!holds(take(&me)))
			return 1;
		add_slowly(&me.board->plain);
		if (!holds(give(&me)))
			return 1;
	}
	return 0;
}

FIXTURE(writers) {
	int fd;
	struct board *board;
};

FIXTURE_VARIANT(writers) {
	__u32 mode;
};

FIXTURE_VARIANT_ADD(writers, demand) {
	.mode = DEMAND,
};

FIXTURE_VARIANT_ADD(writers, eager) {
	.mode = EAGER,
};

FIXTURE_SETUP(writers)
{
	pthread_mutexattr_t attr;

	self->fd = device_open(O_RDWR, variant->mode);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, device_clear(self->fd, PAGE));
	self->board = map(self->fd, PAGE, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, self->board);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	ASSERT_EQ(0, pthread_mutex_init(&self->board->mutex, &attr));
	ASSERT_EQ(0, sem_init(&self->board->sem, 1, 1));
}

FIXTURE_TEARDOWN(writers)
{
	close(self->fd);
}

static void run_writers(struct __test_metadata *_metadata, __u32 mode,
			enum lock lock)
{
	struct writer writer = {
		.mode = mode,
		.lock = lock,
	};
	pid_t pid[WRITERS];
	int i;

	for (i = 0; i < WRITERS; i++)
		pid[i] = child_start(count, &writer);
	for (i = 0; i < WRITERS; i++)
		EXPECT_EQ(0, child_wait(pid[i]));
}

/* The control: if this one lost nothing, the others would prove nothing. */
TEST_F_TIMEOUT(writers, without_a_lock_they_lose, 120)
{
	bool lost = false;
	int try;

	for (try = 0; try < 10 && !lost; try++) {
		self->board->plain = 0;
		self->board->ready = 0;
		run_writers(_metadata, variant->mode, NONE);
		lost = self->board->plain < WRITERS * TIMES;
	}
	EXPECT_TRUE(lost);
}

TEST_F_TIMEOUT(writers, with_c11_atomics_they_lose_nothing, 120)
{
	run_writers(_metadata, variant->mode, ATOMICS);
	EXPECT_EQ(WRITERS * TIMES, self->board->atomic);
}

TEST_F_TIMEOUT(writers, with_an_fcntl_lock_they_lose_nothing, 120)
{
	run_writers(_metadata, variant->mode, FCNTL);
	EXPECT_EQ(WRITERS * TIMES, self->board->plain);
}

TEST_F_TIMEOUT(writers, with_an_ofd_lock_they_lose_nothing, 120)
{
	run_writers(_metadata, variant->mode, OFD);
	EXPECT_EQ(WRITERS * TIMES, self->board->plain);
}

TEST_F_TIMEOUT(writers, with_flock_they_lose_nothing, 120)
{
	run_writers(_metadata, variant->mode, FLOCK);
	EXPECT_EQ(WRITERS * TIMES, self->board->plain);
}

/* Locks that sleep on the memory itself: an eager mapping has no futexes. */
FIXTURE(futex_writers) {
	int fd;
	struct board *board;
};

FIXTURE_SETUP(futex_writers)
{
	pthread_mutexattr_t attr;

	self->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, device_clear(self->fd, PAGE));
	self->board = map(self->fd, PAGE, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, self->board);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	ASSERT_EQ(0, pthread_mutex_init(&self->board->mutex, &attr));
	ASSERT_EQ(0, sem_init(&self->board->sem, 1, 1));
}

FIXTURE_TEARDOWN(futex_writers)
{
	close(self->fd);
}

TEST_F_TIMEOUT(futex_writers, with_a_robust_mutex_they_lose_nothing, 120)
{
	run_writers(_metadata, DEMAND, MUTEX);
	EXPECT_EQ(WRITERS * TIMES, self->board->plain);
}

TEST_F_TIMEOUT(futex_writers, with_a_semaphore_they_lose_nothing, 120)
{
	run_writers(_metadata, DEMAND, SEMAPHORE);
	EXPECT_EQ(WRITERS * TIMES, self->board->plain);
}

TEST_F_TIMEOUT(futex_writers, commits_beside_them_lose_nothing, 120)
{
	struct writer writer = {
		.mode = DEMAND,
		.lock = MUTEX,
	};
	pid_t pid[WRITERS];
	int i;

	for (i = 0; i < WRITERS; i++)
		pid[i] = child_start(count, &writer);
	for (i = 0; i < 100; i++)
		EXPECT_EQ(0, msync(self->board, PAGE, MS_SYNC));
	for (i = 0; i < WRITERS; i++)
		EXPECT_EQ(0, child_wait(pid[i]));
	EXPECT_EQ(WRITERS * TIMES, self->board->plain);
}

struct murder {
	struct gate held;
};

static int hold_for_ever(void *arg)
{
	struct murder *murder = arg;
	int fd = device_open(O_RDWR, DEMAND);
	struct board *board = map(fd, PAGE, RW, MAP_SHARED, 0);

	if (!holds(board) || !holds(!pthread_mutex_lock(&board->mutex)))
		return 1;
	/* Half of a change: the next owner has to finish it. */
	board->plain++;
	gate_open(&murder->held);
	pause();
	return 0;
}

static int count_after_death(void *arg)
{
	int fd = device_open(O_RDWR, DEMAND);
	struct board *board = map(fd, PAGE, RW, MAP_SHARED, 0);
	int i, err;

	(void)arg;
	if (!holds(board))
		return 1;
	atomic_fetch_add(&board->ready, 1);
	for (i = 0; i < TIMES; i++) {
		err = pthread_mutex_lock(&board->mutex);
		if (err == EOWNERDEAD) {
			board->after_death++;
			board->plain--;
			err = pthread_mutex_consistent(&board->mutex);
		}
		if (!holds(!err))
			return 1;
		add_slowly(&board->plain);
		if (!holds(!pthread_mutex_unlock(&board->mutex)))
			return 1;
	}
	return 0;
}

TEST_F_TIMEOUT(futex_writers, the_mutex_of_a_killed_owner_is_inherited, 120)
{
	struct murder murder;
	pid_t victim;

	ASSERT_EQ(0, gate_make(&murder.held));
	victim = child_start(hold_for_ever, &murder);
	gate_wait(&murder.held);
	ASSERT_EQ(EBUSY, pthread_mutex_trylock(&self->board->mutex));
	ASSERT_EQ(0, kill(victim, SIGKILL));
	ASSERT_EQ(-SIGKILL, child_wait(victim));
	ASSERT_EQ(EOWNERDEAD, pthread_mutex_lock(&self->board->mutex));
	EXPECT_EQ(1, self->board->plain);
	ASSERT_EQ(0, pthread_mutex_consistent(&self->board->mutex));
	ASSERT_EQ(0, pthread_mutex_unlock(&self->board->mutex));
	ASSERT_EQ(0, pthread_mutex_lock(&self->board->mutex));
	ASSERT_EQ(0, pthread_mutex_unlock(&self->board->mutex));
}

TEST_F_TIMEOUT(futex_writers, an_owner_killed_beside_waiters_loses_nothing, 120)
{
	struct murder murder;
	pid_t pid[WRITERS];
	pid_t victim;
	int i;

	ASSERT_EQ(0, gate_make(&murder.held));
	victim = child_start(hold_for_ever, &murder);
	gate_wait(&murder.held);
	for (i = 0; i < WRITERS; i++)
		pid[i] = child_start(count_after_death, NULL);
	/* They come to sleep on the mutex. */
	while (atomic_load(&self->board->ready) < WRITERS)
		sched_yield();
	usleep(200000);
	EXPECT_EQ(1, self->board->plain);
	ASSERT_EQ(0, kill(victim, SIGKILL));
	ASSERT_EQ(-SIGKILL, child_wait(victim));
	for (i = 0; i < WRITERS; i++)
		EXPECT_EQ(0, child_wait(pid[i]));
	EXPECT_EQ(1, self->board->after_death);
	EXPECT_EQ(WRITERS * TIMES, self->board->plain);
}

TEST_HARNESS_MAIN
