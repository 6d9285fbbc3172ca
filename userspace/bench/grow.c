// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * A mapping grows page by page while a thread writes to it: in a window, and by
 * the ways that change the mapping itself. All of them extend the object by the
 * same call first, so that what differs is what is done to the mapping.
 *
 * The writer looks at the clock between any two writes, and the longest time
 * between them is its worst stall. On a machine that is not alone there are
 * stalls without any cause of ours: the last row is a loop that does nothing.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "bench.h"

#define HOT (4 * MIB)	/* what is written to, from the start of the mapping */
#define STEP (4 * KIB)
#define STEPS 4096
#define WHOLE (HOT + STEPS * STEP)

enum { WINDOW, FIXED, REMAP, UNMAP };

static struct mmapdev *dev;
static struct mmapdev_map *map;
static char *base; /* of the mapping that is written to */
static pthread_rwlock_t moves = PTHREAD_RWLOCK_INITIALIZER;
static bool may_move, idle, begun, stop;
static double stall;

static void *write_on(void *arg)
{
	uint64_t last = bench_now(), now, worst = 0, x = 1;

	__atomic_store_n(&begun, true, __ATOMIC_RELAXED);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		now = bench_now();
		if (now - last > worst)
			worst = now - last;
		last = now;
		if (idle)
			continue;
		x = x * 6364136223846793005 + 1442695040888963407;
		if (may_move)
			pthread_rwlock_rdlock(&moves);
		base[x >> 33 & (HOT - 1)] = 1;
		if (may_move)
			pthread_rwlock_unlock(&moves);
	}
	stall = worst / 1e3;
	return arg;
}

static void *map_object(void *addr, size_t length, off_t at, int flags)
{
	return mmap(addr, length, PROT_READ | PROT_WRITE, MAP_SHARED | flags,
		    mmapdev_fd(dev), at);
}

static void *extended(int mode, size_t from, size_t to)
{
	void *addr = base;

	switch (mode) {
	case FIXED:
		addr = map_object(base + from, to - from, from, MAP_FIXED);
		return addr == MAP_FAILED ? addr : base;
	case REMAP:
		return mremap(base, from, to, MREMAP_MAYMOVE);
	case UNMAP:
		if (munmap(base, from))
			return MAP_FAILED;
		return map_object(NULL, to, 0, 0);
	}
	return addr;
}

/* Microseconds a step; 0 or -errno in @err. */
static double grow(int mode, int *err)
{
	uint64_t size, start = bench_now();
	void *addr = base;

	for (size = HOT; size < WHOLE && addr != MAP_FAILED; size += STEP) {
		bench_need(mmapdev_map_grow(map, size + STEP), "grow");
		if (mode == WINDOW)
			continue;
		if (may_move)
			pthread_rwlock_wrlock(&moves);
		addr = extended(mode, size, size + STEP);
		if (addr != MAP_FAILED)
			base = addr;
		else
			*err = -errno;
		if (may_move)
			pthread_rwlock_unlock(&moves);
	}
	return (bench_now() - start) / 1e3 / STEPS;
}

/* The mapping to begin with, all of it touched. */
static void begin(int mode)
{
	struct mmapdev_map_opts opts = { .sz = sizeof(opts), .window = WHOLE };

	dev = bench_object(HOT);
	bench_need(mmapdev_map(dev, &opts, &map), "map");
	base = mmapdev_map_addr(map);
	if (mode == FIXED) {
		base = mmap(NULL, WHOLE, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (base == MAP_FAILED)
			bench_need(-errno, "mmap");
		base = map_object(base, HOT, 0, MAP_FIXED);
	} else if (mode != WINDOW) {
		base = map_object(NULL, HOT, 0, 0);
	}
	if (base == MAP_FAILED)
		bench_need(-errno, "mmap");
	memset(base, 1, HOT);
	may_move = mode == REMAP || mode == UNMAP;
}

static pthread_t start_writer(void)
{
	pthread_t writer;

	stop = begun = false;
	bench_need(-pthread_create(&writer, NULL, write_on, NULL), "thread");
	while (!__atomic_load_n(&begun, __ATOMIC_RELAXED))
		;
	return writer;
}

static void stop_writer(pthread_t writer)
{
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(writer, NULL);
}

static double grown(const struct bench_case *self)
{
	pthread_t writer;
	int err = 0;
	double ret;

	begin(self->mode);
	idle = false;
	writer = start_writer();
	ret = grow(self->mode, &err);
	stop_writer(writer);
	if (self->mode != WINDOW)
		munmap(base, WHOLE);
	bench_need(mmapdev_unmap(map), "unmap");
	mmapdev_close(dev);
	return err ? BENCH_NONE : ret;
}

/* Of the case before. */
static double stalled(const struct bench_case *self)
{
	(void)self;
	return stall;
}

static double idled(const struct bench_case *self)
{
	const struct timespec ts = { .tv_nsec = 20000000 };
	pthread_t loop;

	idle = true;
	loop = start_writer();
	nanosleep(&ts, NULL);
	stop_writer(loop);
	return stalled(self);
}

#define WINDOW_NAME "mmapdev_map_grow"
#define IDLE_NAME "stall of an idle loop, 20 ms"
#define CASE(name, mode)                                                       \
	{ name, "us", WINDOW_NAME, grown, 0, mode },                           \
	{ name ", stall", "us", IDLE_NAME, stalled, 0, mode }

static const struct bench_case cases[] = {
	CASE(WINDOW_NAME, WINDOW),
	CASE("mmap(2) of the rest", FIXED),
	CASE("mremap, a rwlock", REMAP),
	CASE("munmap, mmap, a rwlock", UNMAP),
	{ IDLE_NAME, "us", NULL, idled, 0, 0 },
};

int main(int argc, char **argv)
{
	static const struct bench bench = {
		.about = "A mapping of 4 MiB grows by 4096 pages, one at a time, "
			 "while another thread writes\n"
			 "to it: the time of a step (the object's own growth "
			 "included), and the longest time\n"
			 "that the writer could not write in.\n",
		.cases = cases,
		.count = sizeof(cases) / sizeof(*cases),
	};

	return bench_main(argc, argv, &bench);
}
