// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Byte-range locks: between handles of one process and of many, shared and
 * exclusive, ended by unlock, by the handle's end and by death.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common.h"
#include "wrap.h"

#define SIZE (16 * KIB)
#define WORKERS 3
#define WORDS 16
#define TRY MMAPDEV_LOCK_TRY
#define SHARED MMAPDEV_LOCK_SHARED

static struct object *o;
static struct mmapdev *other;

static int try(struct mmapdev *dev, uint64_t offset, uint64_t length,
	       uint32_t flags)
{
	return mmapdev_range_lock(dev, offset, length, flags | TRY);
}

static int unlock_all(struct mmapdev *dev)
{
	return mmapdev_range_unlock(dev, 0, 0);
}

static void test_ranges(void)
{
	is(try(o->dev, 100, 50, 0), 0, "lock 50 bytes (%s)", o->name);
	is(try(other, 99, 1, 0), 0, "the byte before is free (%s)", o->name);
	is(try(other, 100, 1, 0), -EAGAIN, "the first is not (%s)", o->name);
	is(try(other, 149, 1, SHARED), -EAGAIN, "nor the last (%s)", o->name);
	is(try(other, 150, 1, 0), 0, "the next is (%s)", o->name);
	is(try(other, 0, 0, SHARED), -EAGAIN, "all are not (%s)", o->name);
	is(try(o->dev, 100, 50, 0), 0, "one's own is no obstacle (%s)",
	   o->name);
	is(mmapdev_range_unlock(o->dev, 120, 10), 0,
	   "unlock ten of them (%s)", o->name);
	is(try(other, 120, 10, 0), 0, "those are free (%s)", o->name);
	is(try(other, 119, 1, 0), -EAGAIN, "what is before is not (%s)",
	   o->name);
	is(try(other, 130, 1, 0), -EAGAIN, "nor what is behind (%s)", o->name);
	is(unlock_all(o->dev), 0, "unlock all (%s)", o->name);
	is(mmapdev_range_unlock(o->dev, 5, 5), 0, "unlock what is not (%s)",
	   o->name);
	is(try(other, 0, 0, 0), 0, "all are free (%s)", o->name);
	is(unlock_all(other), 0, "unlock all (%s)", o->name);

	is(try(o->dev, SIZE, 0, 0), 0, "all beyond the end (%s)", o->name);
	is(try(other, INT64_MAX, 1, 0), -EAGAIN, "to the very last (%s)",
	   o->name);
	is(try(other, 0, SIZE, 0), 0, "but not before it (%s)", o->name);
	unlock_all(o->dev);
	unlock_all(other);
}

static void test_shared(void)
{
	is(try(o->dev, 0, 10, SHARED), 0, "one reads (%s)", o->name);
	is(try(other, 5, 10, SHARED), 0, "two read (%s)", o->name);
	is(try(other, 5, 10, 0), -EAGAIN, "neither writes (%s)", o->name);
	is(try(o->dev, 0, 10, 0), -EAGAIN, "neither (%s)", o->name);
	is(try(other, 10, 5, 0), 0, "what is one's alone is written (%s)",
	   o->name);
	unlock_all(other);
	is(try(o->dev, 0, 10, 0), 0, "as all is when one leaves (%s)",
	   o->name);
	is(try(other, 5, 10, SHARED), -EAGAIN, "then nobody reads (%s)",
	   o->name);
	is(try(o->dev, 0, 10, SHARED), 0, "until he only reads (%s)", o->name);
	is(try(other, 5, 10, SHARED), 0, "which both can (%s)", o->name);
	unlock_all(o->dev);
	unlock_all(other);
}

static void test_refused(void)
{
	struct mmapdev *reader = reopen(o, O_RDONLY);
	struct mmapdev *writer = reopen(o, O_WRONLY);
	const uint64_t far = (uint64_t)INT64_MAX + 1;

	is(mmapdev_range_lock(NULL, 0, 1, 0), -EINVAL, "lock nobody's (%s)",
	   o->name);
	is(mmapdev_range_unlock(NULL, 0, 1), -EINVAL, "unlock nobody's (%s)",
	   o->name);
	is(mmapdev_range_lock(o->dev, 0, 1, 4), -EINVAL, "a flag (%s)",
	   o->name);
	is(try(o->dev, far, 1, 0), -EOVERFLOW, "an offset too far (%s)",
	   o->name);
	is(try(o->dev, 0, far, 0), -EOVERFLOW, "a length too long (%s)",
	   o->name);
	is(try(o->dev, INT64_MAX, 2, 0), -EOVERFLOW, "both together (%s)",
	   o->name);
	is(mmapdev_range_unlock(o->dev, far, 1), -EOVERFLOW,
	   "unlock too far (%s)", o->name);
	is(try(reader, 0, 1, 0), -EBADF, "who reads locks no others out (%s)",
	   o->name);
	is(try(reader, 0, 1, SHARED), 0, "but writers (%s)", o->name);
	is(try(writer, 0, 1, 0), -EAGAIN, "who wait (%s)", o->name);
	is(try(writer, 1, 1, SHARED), -EBADF, "and do not read (%s)", o->name);
	mmapdev_close(reader);
	is(try(writer, 0, 1, 0), 0, "until the reader is gone (%s)", o->name);
	mmapdev_close(writer);
	is(try(o->dev, 0, 0, 0), 0, "nothing of this is left (%s)", o->name);
	unlock_all(o->dev);

	wrap_reset();
	wrap_fail(W_FCNTL, 1, ENOLCK);
	is(try(o->dev, 0, 1, 0), -ENOLCK, "no more locks (%s)", o->name);
	wrap_fail(W_FCNTL, 1, EINTR);
	is(mmapdev_range_unlock(o->dev, 0, 1), -EINTR,
	   "what fcntl(2) says to unlock (%s)", o->name);
	is(try(o->dev, 0, 1, 0), 0, "the next call works (%s)", o->name);
	wrap_reset();
	unlock_all(o->dev);
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

static int wait_for_it(void *arg)
{
	struct mmapdev *dev = reopen(o, O_RDWR);

	(void)arg;
	return -mmapdev_range_lock(dev, 0, 1, 0);
}

static void test_waits(void)
{
	struct sigaction action = { .sa_handler = nothing };
	pid_t self = getpid(), pid;

	sigaction(SIGUSR1, &action, NULL);
	need(try(o->dev, 0, 1, 0), "lock");
	pid = spawn(interrupt, &self);
	is(mmapdev_range_lock(other, 0, 1, 0), -EINTR,
	   "a signal ends the wait (%s)", o->name);
	reap(pid);

	pid = spawn(wait_for_it, NULL);
	until_asleep(pid);
	is(unlock_all(o->dev), 0, "so does the unlock (%s)", o->name);
	is(reap(pid), 0, "of which another process hears (%s)", o->name);
	is(try(o->dev, 0, 1, 0), 0, "and dies with the lock (%s)", o->name);
	unlock_all(o->dev);
}

static int hold(void *arg)
{
	struct mmapdev *dev = reopen(o, O_RDWR);

	(void)arg;
	if (mmapdev_range_lock(dev, 0, 1, 0) ||
	    mmapdev_range_unlock(other, 1, 1))
		return 1;
	for (;;)
		pause();
}

static void test_killed(void)
{
	pid_t pid;

	/* It says that it has the first byte by what it does to the second. */
	need(try(other, 1, 1, 0), "lock");
	pid = spawn(hold, NULL);
	need(mmapdev_range_lock(o->dev, 1, 1, 0), "lock");
	is(try(o->dev, 0, 1, 0), -EAGAIN, "another process has it (%s)",
	   o->name);
	kill(pid, SIGKILL);
	is(mmapdev_range_lock(o->dev, 0, 1, 0), 0, "until it is killed (%s)",
	   o->name);
	reap(pid);
	unlock_all(o->dev);
}

/* A map holds on to the open file, to which the locks belong. */
static void test_close(void)
{
	struct mmapdev *dev = reopen(o, O_RDWR), *twin;
	struct mmapdev_map *map;

	need(mmapdev_map(dev, NULL, &map), "map");
	need(try(dev, 0, 0, 0), "lock");
	is(try(other, 0, 1, 0), -EAGAIN, "a handle has a lock (%s)", o->name);
	mmapdev_close(dev);
	is(try(other, 0, 1, 0), 0, "its end is the lock's, map or not (%s)",
	   o->name);
	*(volatile char *)mmapdev_map_addr(map) = 1;
	is(mmapdev_unmap(map), 0, "the map was left (%s)", o->name);
	unlock_all(other);

	/* Two handles of one open file are one to the locks. */
	dev = reopen(o, O_RDWR);
	need(mmapdev_open_fd(mmapdev_fd(dev), &twin), "open_fd");
	is(try(dev, 0, 1, 0), 0, "a lock (%s)", o->name);
	is(try(twin, 0, 1, 0), 0, "is its twin's too (%s)", o->name);
	need(mmapdev_range_unlock(twin, 0, 1), "unlock");
	is(try(other, 0, 1, 0), 0, "who can unlock it (%s)", o->name);
	unlock_all(other);
	need(try(dev, 0, 1, 0), "lock");
	unlock_all(twin);
	need(try(dev, 0, 1, 0), "lock");
	mmapdev_close(dev);
	is(try(other, 0, 1, 0), 0, "it ends with who locked (%s)", o->name);
	unlock_all(other);
	mmapdev_close(twin);

	dev = reopen(o, O_RDWR);
	need(mmapdev_open_fd(mmapdev_fd(dev), &twin), "open_fd");
	need(try(dev, 0, 1, 0), "lock");
	mmapdev_close(twin);
	is(try(other, 0, 1, 0), -EAGAIN, "not with who did not (%s)", o->name);
	mmapdev_close(dev);
}

static int close_inherited(void *arg)
{
	mmapdev_close(arg);
	return 0;
}

static void test_fork(void)
{
	struct mmapdev *dev = reopen(o, O_RDWR);
	struct mmapdev_map *map;

	need(mmapdev_map(dev, NULL, &map), "map");
	need(try(dev, 0, 1, 0), "lock");
	reap(spawn(close_inherited, dev));
	is(try(other, 0, 1, 0), -EAGAIN,
	   "a child that closes leaves its parent's lock (%s)", o->name);
	mmapdev_close(dev);
	mmapdev_unmap(map);
	is(try(other, 0, 1, 0), 0, "until that closes (%s)", o->name);
	unlock_all(other);
}

struct worker {
	pthread_t thread;
	uint64_t *word;
	struct mmapdev *dev;
	uint32_t flags;
	unsigned int rounds;
	int wrong;
};

/* Readers of one range among writers of it. */
static int work(void *arg)
{
	struct worker *w = arg;
	unsigned int round, i;
	int ret;

	for (round = 0; round < w->rounds; round++) {
		bool reads = round % 4 == 3;

		do {
			ret = mmapdev_range_lock(w->dev, 64, WORDS * 8,
						 w->flags |
						 (reads ? SHARED : 0));
		} while (ret == -EAGAIN);
		w->wrong |= ret;
		for (i = 0; i < WORDS; i++) {
			w->wrong |= w->word[i] != w->word[WORDS - 1];
			/* Others run while it is half done. */
			if (i == WORDS / 2 && !(round % 8))
				sched_yield();
		}
		for (i = 0; i < WORDS && !reads; i++) {
			w->word[i]++;
			if (i == WORDS / 2 && !(round % 8))
				sched_yield();
		}
		w->wrong |= mmapdev_range_unlock(w->dev, 64, WORDS * 8);
	}
	return !!w->wrong;
}

static int work_process(void *arg)
{
	struct worker *w = arg;

	w->dev = reopen(o, O_RDWR);
	return work(w);
}

static void test_processes(void)
{
	struct worker w = { .rounds = 800 };
	struct mmapdev_map *map;
	pid_t pid[WORKERS];
	int wrong = 0;
	size_t i;

	need(mmapdev_map(o->dev, NULL, &map), "map");
	w.word = mmapdev_map_addr(map);
	memset(w.word, 0, WORDS * sizeof(*w.word));
	for (i = 0; i < WORKERS; i++) {
		w.flags = i ? 0 : TRY;
		pid[i] = spawn(work_process, &w);
	}
	while (i--)
		wrong |= reap(pid[i]);
	is(wrong, 0, "no process sees a write half done (%s)", o->name);
	is(w.word[0], 600 * WORKERS, "nor is one lost (%s)", o->name);
	mmapdev_unmap(map);
}

static void *work_thread(void *arg)
{
	work(arg);
	return NULL;
}

static void test_threads(void)
{
	struct worker workers[WORKERS] = { 0 };
	struct mmapdev_map *map;
	uint64_t *word;
	int wrong = 0;
	size_t i;

	need(mmapdev_map(o->dev, NULL, &map), "map");
	word = mmapdev_map_addr(map);
	memset(word, 0, WORDS * sizeof(*word));
	for (i = 0; i < WORKERS; i++) {
		workers[i].word = word;
		workers[i].rounds = 800;
		workers[i].flags = i ? 0 : TRY;
		workers[i].dev = reopen(o, O_RDWR);
		need(-pthread_create(&workers[i].thread, NULL, work_thread,
				     &workers[i]), "pthread_create");
	}
	for (i = 0; i < WORKERS; i++) {
		pthread_join(workers[i].thread, NULL);
		wrong |= workers[i].wrong;
		mmapdev_close(workers[i].dev);
	}
	is(wrong, 0, "no thread with a handle of its own sees one (%s)",
	   o->name);
	is(word[0], 600 * WORKERS, "nor is one lost (%s)", o->name);
	mmapdev_unmap(map);
}

/* Nor are an eventfd's commits told of when its handle is gone. */
static void test_eventfd(void)
{
	struct mmapdev *dev = reopen(o, O_RDWR);
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct mmapdev_map *map;
	uint64_t count;

	need(mmapdev_map(dev, NULL, &map), "map");
	need(mmapdev_notify(dev, fd), "notify");
	reap(spawn(close_inherited, dev));
	need(mmapdev_commit(o->dev), "commit");
	ok(read(fd, &count, sizeof(count)) == sizeof(count),
	   "a child that closes leaves its parent's eventfd (%s)", o->name);
	mmapdev_close(dev);
	need(mmapdev_commit(o->dev), "commit");
	ok(read(fd, &count, sizeof(count)) < 0 && errno == EAGAIN,
	   "which hears of no commit when that closes (%s)", o->name);
	mmapdev_unmap(map);
	close(fd);
}

static void test_object(struct object *object)
{
	o = object;
	other = reopen(o, O_RDWR);
	test_ranges();
	test_shared();
	test_refused();
	test_waits();
	test_killed();
	test_close();
	test_fork();
	test_processes();
	test_threads();
	if (!strcmp(o->name, "device"))
		test_eventfd();
	mmapdev_close(other);
}

int main(void)
{
	on_every_object(SIZE, test_object);
	return done();
}
