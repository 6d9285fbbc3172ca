// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Locks in the mapping: a mutex and a semaphore that many processes share.
 *
 * Neither has a moment at which it is half made. A new mutex of the C library
 * differs from zeros in one word, its kind; a semaphore is one word. So zeros
 * become a lock by one compare-and-swap, which one of many wins, and which is
 * done or not done whenever its maker is killed.
 *
 * Waiting needs futexes, which not every mapping has. The C library finds that
 * out when threads first contend, and aborts the program; it is asked here.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "private.h"

#define LOCK_WORDS (MMAPDEV_LOCK_SIZE / sizeof(uint32_t))

/* The C library's mutex, and what it lacks. */
struct mmapdev_mutex {
	union {
		pthread_mutex_t mutex;
		uint32_t word[sizeof(pthread_mutex_t) / sizeof(uint32_t)];
	};
	uint32_t broken; /* atomic: an owner died, and nobody repaired yet */
};

_Static_assert(sizeof(struct mmapdev_mutex) <= MMAPDEV_LOCK_SIZE,
	       "a mutex has its place");

/* The place of a lock: its storage is there, and threads can wait at it. */
static int place(struct mmapdev_map *map, uint64_t offset, void **out)
{
	size_t size = mmapdev_map_size(map), page = sysconf(_SC_PAGESIZE);
	int ret;

	if (!map || offset % MMAPDEV_LOCK_SIZE)
		return -EINVAL;
	if (!(map->prot & PROT_WRITE))
		return -EBADF;
	if (size < MMAPDEV_LOCK_SIZE || offset > size - MMAPDEV_LOCK_SIZE)
		return -ERANGE;

	/* Before Linux 5.14 a full disk stays a matter of SIGBUS. */
	ret = mmapdev_populate(map, offset - offset % page, page);
	if (ret && ret != -EOPNOTSUPP)
		return ret;
	ret = mmapdev_futex_probe(map, offset);
	if (ret)
		return ret;

	*out = (char *)mmapdev_map_addr(map) + offset;
	return 0;
}

/* Whether the words of a place are all zeros, from the word @i on. */
static bool zeros_from(size_t i, const void *lock)
{
	const uint32_t *word = lock;

	while (i < LOCK_WORDS && !__atomic_load_n(&word[i], __ATOMIC_ACQUIRE))
		i++;
	return i == LOCK_WORDS;
}

/*
 * Of the kinds that the C library has, the one for processes that may die
 * (robust), and that says so where a thread locks twice, or unlocks what is
 * another's (error checking).
 */
static int new_pthread_mutex(pthread_mutex_t *mutex)
{
	pthread_mutexattr_t attr;
	int ret;

	ret = pthread_mutexattr_init(&attr);
	if (ret)
		return -ret;
	ret = pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
	if (!ret)
		ret = pthread_mutexattr_setpshared(&attr,
						   PTHREAD_PROCESS_SHARED);
	if (!ret)
		ret = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	if (!ret)
		ret = pthread_mutex_init(mutex, &attr);
	pthread_mutexattr_destroy(&attr);
	return -ret;
}

/* Which word of a new mutex is not zero; the C library may have another form. */
static int find_kind(size_t *index, uint32_t *kind)
{
	struct mmapdev_mutex made;
	size_t i, found = 0;
	int ret;

	memset(&made, 0, sizeof(made));
	ret = new_pthread_mutex(&made.mutex);
	if (ret)
		return ret;
	for (i = 0; i < sizeof(made.word) / sizeof(made.word[0]); i++) {
		if (!made.word[i])
			continue;
		*index = i;
		*kind = made.word[i];
		found++;
	}
	pthread_mutex_destroy(&made.mutex);
	return found == 1 ? 0 : -EOPNOTSUPP;
}

int mmapdev_mutex_init(struct mmapdev_map *map, uint64_t offset,
		       struct mmapdev_mutex **out)
{
	struct mmapdev_mutex *mutex;
	uint32_t kind = 0, zero = 0;
	size_t i = 0;
	void *lock;
	int ret;

	if (!out)
		return -EINVAL;
	ret = find_kind(&i, &kind);
	if (!ret)
		ret = place(map, offset, &lock);
	if (ret)
		return ret;

	mutex = lock;
	if (zeros_from(0, mutex))
		__atomic_compare_exchange_n(&mutex->word[i], &zero, kind, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	/* The kind is seen by all before the owner is. */
	__sync_synchronize();
	if (__atomic_load_n(&mutex->word[i], __ATOMIC_ACQUIRE) != kind)
		return -EBADMSG;

	*out = mutex;
	return 0;
}

static int lock_until(pthread_mutex_t *mutex, int timeout)
{
	struct timespec ts;
	int64_t deadline;
	int ret;

	if (timeout < 0)
		return pthread_mutex_lock(mutex);
	if (!timeout) {
		ret = pthread_mutex_trylock(mutex);
		return ret == EBUSY ? EAGAIN : ret;
	}
	deadline = mmapdev_deadline(timeout);
	ts.tv_sec = deadline / NSEC_PER_SEC;
	ts.tv_nsec = deadline % NSEC_PER_SEC;
	return pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &ts);
}

/* Called, and left with 0, as the owner. */
static int mend(struct mmapdev_mutex *mutex, mmapdev_repair repair, void *arg)
{
	int ret = repair ? repair(arg) : 0;

	if (ret) {
		mmapdev_mutex_unlock(mutex);
		return ret;
	}
	__atomic_store_n(&mutex->broken, 0, __ATOMIC_RELEASE);
	return 0;
}

int mmapdev_mutex_lock(struct mmapdev_mutex *mutex, int timeout,
		       mmapdev_repair repair, void *arg)
{
	int ret;

	if (!mutex)
		return -EINVAL;

	ret = lock_until(&mutex->mutex, timeout);
	if (ret == EOWNERDEAD) {
		/*
		 * The C library's own word for it would make the mutex useless
		 * for ever, where one unlocks who could not repair, or whose
		 * repair never returned.
		 */
		__atomic_store_n(&mutex->broken, 1, __ATOMIC_RELEASE);
		/* Fails where it is so already. */
		pthread_mutex_consistent(&mutex->mutex);
		ret = 0;
	}
	if (ret)
		return -ret;

	if (__atomic_load_n(&mutex->broken, __ATOMIC_RELAXED))
		return mend(mutex, repair, arg);
	return 0;
}

int mmapdev_mutex_unlock(struct mmapdev_mutex *mutex)
{
	return mutex ? -pthread_mutex_unlock(&mutex->mutex) : -EINVAL;
}

/*
 * The state of a semaphore, one word: its value, two flags, and above them a
 * count of posts, which tells a poster that nothing happened since its own.
 */
#define VALUE_MAX (((uint32_t)1 << 30) - 1)
#define WAITERS ((uint32_t)1 << 30)
#define READY ((uint32_t)1 << 31)
#define POST ((uint64_t)1 << 32)

struct mmapdev_semaphore {
	uint64_t state; /* atomic */
};

/* The value and the flags, which is what waiters sleep on. */
static const uint32_t *futex(const struct mmapdev_semaphore *semaphore)
{
	const uint32_t *half = (const uint32_t *)&semaphore->state;

	return half + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}

int mmapdev_semaphore_init(struct mmapdev_map *map, uint64_t offset,
			   uint32_t value, struct mmapdev_semaphore **out)
{
	struct mmapdev_semaphore *semaphore;
	uint64_t zero = 0;
	void *lock;
	int ret;

	if (!out || value > VALUE_MAX)
		return -EINVAL;
	ret = place(map, offset, &lock);
	if (ret)
		return ret;

	semaphore = lock;
	if (!zeros_from(sizeof(*semaphore) / sizeof(uint32_t), semaphore))
		return -EBADMSG;
	__atomic_compare_exchange_n(&semaphore->state, &zero, READY | value,
				    false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
	if (!(__atomic_load_n(&semaphore->state, __ATOMIC_ACQUIRE) & READY))
		return -EBADMSG;

	*out = semaphore;
	return 0;
}

static int take(struct mmapdev_semaphore *semaphore)
{
	uint64_t state = __atomic_load_n(&semaphore->state, __ATOMIC_RELAXED);

	do {
		if (!(state & READY))
			return -EBADMSG;
		if (!(state & VALUE_MAX))
			return -EAGAIN;
	} while (!__atomic_compare_exchange_n(&semaphore->state, &state,
					      state - 1, true, __ATOMIC_ACQUIRE,
					      __ATOMIC_RELAXED));
	return 0;
}

/* Sleeps while the value is 0, and whoever posts knows. */
static int await_post(struct mmapdev_semaphore *semaphore, int timeout)
{
	uint64_t state = __atomic_fetch_or(&semaphore->state, WAITERS,
					   __ATOMIC_RELAXED);

	if (state & VALUE_MAX)
		return 0;
	return mmapdev_futex_wait(futex(semaphore), READY | WAITERS, timeout);
}

int mmapdev_semaphore_wait(struct mmapdev_semaphore *semaphore, int timeout)
{
	int64_t deadline;
	int left, ret;

	if (!semaphore)
		return -EINVAL;

	ret = take(semaphore);
	if (ret != -EAGAIN || !timeout)
		return ret;
	deadline = mmapdev_deadline(timeout);
	do {
		left = mmapdev_left(deadline);
		ret = left ? await_post(semaphore, left) : -ETIMEDOUT;
		if (!ret)
			ret = take(semaphore);
	} while (ret == -EAGAIN);
	return ret;
}

int mmapdev_semaphore_post(struct mmapdev_semaphore *semaphore)
{
	uint64_t state, next;
	int ret;

	if (!semaphore)
		return -EINVAL;

	state = __atomic_load_n(&semaphore->state, __ATOMIC_RELAXED);
	do {
		if (!(state & READY))
			return -EBADMSG;
		if ((state & VALUE_MAX) == VALUE_MAX)
			return -EOVERFLOW;
		next = state + POST + 1;
	} while (!__atomic_compare_exchange_n(&semaphore->state, &state, next,
					      true, __ATOMIC_RELEASE,
					      __ATOMIC_RELAXED));
	if (!(next & WAITERS))
		return 0;

	/*
	 * All of them: one alone may be killed before it takes what was posted,
	 * and the others would sleep on. And before the flag goes, so that the
	 * next poster wakes them when this one is killed here. While nobody
	 * posted or took, nobody has gone to sleep again.
	 */
	ret = mmapdev_futex_wake(futex(semaphore), INT_MAX);
	__atomic_compare_exchange_n(&semaphore->state, &next, next & ~WAITERS,
				    false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	return ret < 0 ? ret : 0;
}
