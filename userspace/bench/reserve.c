// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Two threads append records of 64 bytes, by each of the ways to agree on where
 * the next one goes. The memory is warm but where a case says otherwise, and a
 * round is the time from the first start to the last end, a record of either.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define RECORD 64
#define RECORDS (256 * KIB) /* of each thread */
#define AREA (2 * RECORDS * RECORD)

enum { ALONE, ADD, RESERVE, GROW, MUTEX, WRITE };

struct shared { /* between processes, as it would be */
	_Alignas(128) uint64_t cursor;
	_Alignas(128) pthread_mutex_t mutex;
};

struct appender {
	pthread_t thread;
	const struct bench_case *self;
	uint64_t own, start, end;
};

static struct shared *shared;
static struct mmapdev_map *map;
static pthread_barrier_t barrier;
static int log_fd = -1;

static void setup(void)
{
	pthread_mutexattr_t attr;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		bench_need(-errno, "shared memory");
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&shared->mutex, &attr);
	pthread_barrier_init(&barrier, NULL, 2);
}

static uint64_t place(struct appender *a)
{
	uint64_t at;
	int64_t got;

	switch (a->self->mode) {
	case RESERVE:
	case GROW:
		got = mmapdev_reserve(map, &shared->cursor, RECORD);
		bench_need(got, "reserve");
		return got;
	case ADD:
		return __atomic_fetch_add(&shared->cursor, RECORD,
					  __ATOMIC_RELAXED);
	case MUTEX:
		pthread_mutex_lock(&shared->mutex);
		at = shared->cursor;
		shared->cursor += RECORD;
		pthread_mutex_unlock(&shared->mutex);
		return at;
	default:
		return a->own += RECORD;
	}
}

static void *append(void *arg)
{
	struct appender *a = arg;
	char record[RECORD] = { 1 };
	char *mem = mmapdev_map_addr(map);
	unsigned int i;

	pthread_barrier_wait(&barrier);
	a->start = bench_now();
	for (i = 0; i < RECORDS; i++) {
		bench_keep(record);
		if (a->self->mode != WRITE)
			memcpy(mem + place(a), record, RECORD);
		else if (write(log_fd, record, RECORD) != RECORD)
			bench_need(-errno, "write");
	}
	a->end = bench_now();
	return NULL;
}

static double both(const struct bench_case *self)
{
	struct appender a[2] = {
		{ .self = self, .own = -(uint64_t)RECORD },
		{ .self = self, .own = AREA / 2 - RECORD },
	};
	uint64_t start, end;
	int i;

	shared->cursor = 0;
	for (i = 0; i < 2; i++)
		bench_need(-pthread_create(&a[i].thread, NULL, append, &a[i]),
			   "thread");
	for (i = 0; i < 2; i++)
		pthread_join(a[i].thread, NULL);
	start = a[0].start < a[1].start ? a[0].start : a[1].start;
	end = a[0].end > a[1].end ? a[0].end : a[1].end;
	return (double)(end - start) / (2 * RECORDS);
}

static double in_memory(const struct bench_case *self)
{
	double ret;

	/* A device is one object, which the case that grows begins anew. */
	map = bench_map(AREA, 0);
	memset(mmapdev_map_addr(map), 1, AREA);
	ret = both(self);
	bench_need(mmapdev_unmap(map), "unmap");
	return ret;
}

static double growing(const struct bench_case *self)
{
	struct mmapdev_map_opts opts = { .sz = sizeof(opts), .window = AREA };
	struct mmapdev *dev = bench_object(0);
	double ret;

	bench_need(mmapdev_map(dev, &opts, &map), "map");
	mmapdev_close(dev);
	ret = both(self);
	bench_need(mmapdev_unmap(map), "unmap");
	return ret;
}

static double by_write(const struct bench_case *self)
{
	double ret;

	log_fd = memfd_create("log", MFD_CLOEXEC);
	/* Its pages are there too; O_APPEND goes by the size, which is 0. */
	if (log_fd < 0 || fcntl(log_fd, F_SETFL, O_APPEND) ||
	    fallocate(log_fd, FALLOC_FL_KEEP_SIZE, 0, AREA))
		bench_need(-errno, "memfd");
	map = NULL;
	ret = both(self);
	close(log_fd);
	return ret;
}

#define RESERVED "mmapdev_reserve"

static const struct bench_case cases[] = {
	{ RESERVED, "ns", NULL, in_memory, 0, RESERVE },
	{ "nothing shared (the floor)", "ns", RESERVED, in_memory, 0, ALONE },
	{ "fetch_add, without a bound", "ns", RESERVED, in_memory, 0, ADD },
	{ "process-shared mutex", "ns", RESERVED, in_memory, 0, MUTEX },
	{ "write(2), O_APPEND, a memfd", "ns", RESERVED, by_write, 0, WRITE },
	{ RESERVED ", cold, it grows", "ns", RESERVED, growing, 0, GROW },
};

int main(int argc, char **argv)
{
	static const struct bench bench = {
		.about = "Appends of 64 bytes by two threads at once: "
			 "mmapdev_reserve() and memcpy(3) against\n"
			 "a mutex around the cursor, write(2), and two threads "
			 "that share nothing.\n",
		.cases = cases,
		.count = sizeof(cases) / sizeof(*cases),
		.setup = setup,
	};

	return bench_main(argc, argv, &bench);
}
