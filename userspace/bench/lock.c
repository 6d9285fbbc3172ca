// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * A lock and its unlock while nobody else wants it, and two threads that wake
 * each other in turn: the locks of the library and those of the C library and
 * the kernel.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/file.h>
#include <sys/mman.h>

#include "bench.h"

#define ROUNDS 200000
#define CALLS 20000 /* where each is a system call */
#define TURNS 5000

enum { MUTEX, PLAIN, ROBUST, SEMAPHORE, SEM_T, RANGE, FLOCK };

static struct mmapdev *dev;
static struct mmapdev_map *map;
static struct mmapdev_mutex *mutex;
static struct mmapdev_semaphore *semaphore[2];
static struct shared { /* between processes, as it would be */
	_Alignas(128) pthread_mutex_t plain;
	_Alignas(128) pthread_mutex_t robust;
	_Alignas(128) sem_t sem[2];
} *shared;

static void setup(void)
{
	pthread_mutexattr_t attr;
	int i;

	/* The file locks need an object, the others memory. */
	dev = bench_object(64 * KIB);
	bench_need(mmapdev_map(dev, NULL, &map), "map");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		bench_need(-errno, "shared memory");

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&shared->plain, &attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&shared->robust, &attr);
	bench_need(mmapdev_mutex_init(map, 0, &mutex), "mutex");
	for (i = 0; i < 2; i++) {
		bench_need(mmapdev_semaphore_init(map, 4096 + i * 128, !i,
						  &semaphore[i]), "semaphore");
		sem_init(&shared->sem[i], 1, !i);
	}
}

static int lock(int mode)
{
	switch (mode) {
	case MUTEX:
		return mmapdev_mutex_lock(mutex, -1, NULL, NULL);
	case PLAIN:
		return pthread_mutex_lock(&shared->plain);
	case ROBUST:
		return pthread_mutex_lock(&shared->robust);
	case SEMAPHORE:
		return mmapdev_semaphore_wait(semaphore[0], -1);
	case SEM_T:
		return sem_wait(&shared->sem[0]);
	case RANGE:
		return mmapdev_range_lock(dev, 0, 64, 0);
	default:
		return flock(mmapdev_fd(dev), LOCK_EX);
	}
}

static int unlock(int mode)
{
	switch (mode) {
	case MUTEX:
		return mmapdev_mutex_unlock(mutex);
	case PLAIN:
		return pthread_mutex_unlock(&shared->plain);
	case ROBUST:
		return pthread_mutex_unlock(&shared->robust);
	case SEMAPHORE:
		return mmapdev_semaphore_post(semaphore[0]);
	case SEM_T:
		return sem_post(&shared->sem[0]);
	case RANGE:
		return mmapdev_range_unlock(dev, 0, 64);
	default:
		return flock(mmapdev_fd(dev), LOCK_UN);
	}
}

static double alone(const struct bench_case *self)
{
	uint64_t start = bench_now(), i;
	int wrong = 0;

	for (i = 0; i < self->size; i++)
		wrong |= lock(self->mode) | unlock(self->mode);
	bench_need(wrong ? -EIO : 0, self->name);
	return (double)(bench_now() - start) / self->size;
}

/* Waits for its own turn, and gives it to the other. */
static int take_turns(int mode, int self)
{
	int i, wrong = 0;

	for (i = 0; i < TURNS; i++) {
		if (mode == SEM_T)
			wrong |= sem_wait(&shared->sem[self]) |
				 sem_post(&shared->sem[!self]);
		else
			wrong |= mmapdev_semaphore_wait(semaphore[self], -1) |
				 mmapdev_semaphore_post(semaphore[!self]);
	}
	return wrong;
}

static void *other(void *arg)
{
	bench_need(take_turns(*(const int *)arg, 1) ? -EIO : 0, "turns");
	return NULL;
}

static double turns(const struct bench_case *self)
{
	int mode = self->mode;
	pthread_t thread;
	uint64_t start;

	bench_need(-pthread_create(&thread, NULL, other, &mode), "thread");
	start = bench_now();
	bench_need(take_turns(mode, 0) ? -EIO : 0, self->name);
	pthread_join(thread, NULL);
	return (double)(bench_now() - start) / (2 * TURNS);
}

#define A_MUTEX "mmapdev_mutex"
#define A_SEMAPHORE "mmapdev_semaphore"
#define A_RANGE "mmapdev_range_lock"
#define A_TURN "mmapdev_semaphore, a turn"

static const struct bench_case cases[] = {
	{ A_MUTEX, "ns", NULL, alone, ROUNDS, MUTEX },
	{ "pthread mutex, robust, checking", "ns", A_MUTEX, alone, ROUNDS,
	  ROBUST },
	{ "pthread mutex, plain", "ns", A_MUTEX, alone, ROUNDS, PLAIN },
	{ A_SEMAPHORE, "ns", NULL, alone, ROUNDS, SEMAPHORE },
	{ "sem_t", "ns", A_SEMAPHORE, alone, ROUNDS, SEM_T },
	{ A_RANGE, "ns", NULL, alone, CALLS, RANGE },
	{ "flock(2), of the whole", "ns", A_RANGE, alone, CALLS, FLOCK },
	{ A_TURN, "ns", NULL, turns, 0, SEMAPHORE },
	{ "sem_t, a turn", "ns", A_TURN, turns, 0, SEM_T },
};

int main(int argc, char **argv)
{
	static const struct bench bench = {
		.about = "A lock and its unlock that nobody disputes, and a "
			 "turn of two threads that wake\neach other; all "
			 "locks are shared between processes.\n",
		.cases = cases,
		.count = sizeof(cases) / sizeof(*cases),
		.setup = setup,
	};

	return bench_main(argc, argv, &bench);
}
