// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * What a guard costs: around touches that work, and where one fails, against
 * the ways that others have to survive a SIGBUS. The same function does the
 * touching with a guard and without.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define SIZE (16 * MIB)
#define WORK (32 * MIB) /* bytes of a round */
#define TOUCHES 1000000
#define FAULTS 2000

static struct mmapdev *dev;
static struct mmapdev_map *map;
static char *mem, *end, *buffer; /* what is at end is beyond it */
static size_t page;

static void setup(void)
{
	struct mmapdev_map_opts opts = { .sz = sizeof(opts) };

	page = sysconf(_SC_PAGESIZE);
	opts.window = SIZE + page;
	dev = bench_object(SIZE);
	bench_need(mmapdev_map(dev, &opts, &map), "map");
	mem = mmapdev_map_addr(map);
	end = mem + SIZE;
	buffer = malloc(SIZE);
	if (!buffer)
		bench_need(-ENOMEM, "buffer");
	memset(buffer, 1, SIZE);
	memset(mem, 1, SIZE);
}

static void finish(void)
{
	mmapdev_unmap(map);
	mmapdev_close(dev);
	free(buffer);
}

static void __attribute__((noinline)) touch(const char *at, size_t bytes)
{
	const volatile uint64_t *word = (const volatile uint64_t *)at;

	for (bytes /= sizeof(*word); bytes; bytes--)
		(void)*word++;
}

static int guarded(const char *at, size_t bytes)
{
	struct mmapdev_guard guard;

	if (!mmapdev_guard_begin(&guard, mem, SIZE + page))
		touch(at, bytes);
	return mmapdev_guard_end(&guard);
}

/* Nanoseconds a touch of so many bytes; mode: under a guard. */
static double touches(const struct bench_case *self)
{
	size_t n = self->size == 8 ? TOUCHES : WORK / self->size, i;
	uint64_t start = bench_now();

	for (i = 0; i < n; i++)
		if (self->mode)
			bench_need(guarded(mem, self->size), "guard");
		else
			touch(mem, self->size);
	return (double)(bench_now() - start) / n;
}

/* Nanoseconds a copy of so many bytes; mode: by mmapdev_guard_copy. */
static double copies(const struct bench_case *self)
{
	size_t n = WORK / self->size, i, at;
	uint64_t start = bench_now();

	for (i = 0; i < n; i++) {
		at = i * self->size % SIZE;
		if (self->mode)
			bench_need(mmapdev_guard_copy(buffer + at, mem + at,
						      self->size, NULL),
				   "copy");
		else
			memcpy(buffer + at, mem + at, self->size);
		bench_keep(buffer);
	}
	return (double)(bench_now() - start) / n;
}

enum { GUARD, JUMP, PAGE };

static sigjmp_buf back;

static void jump(int signal)
{
	siglongjmp(back, signal);
}

/* A page of zeros, as systemd does; the object's is put back for the next. */
static void put_page(int signal)
{
	(void)signal;
	if (mmap(end, page, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS,
		 -1, 0) == MAP_FAILED)
		_exit(1);
}

static void fault(int mode)
{
	if (mode == GUARD) {
		if (guarded(end, 8) != -ENXIO)
			bench_need(-EIO, "guard");
	} else if (mode == PAGE) {
		touch(end, 8);
		if (mmap(end, page, PROT_READ | PROT_WRITE,
			 MAP_FIXED | MAP_SHARED, mmapdev_fd(dev), SIZE) ==
		    MAP_FAILED)
			bench_need(-errno, "mmap");
	} else if (!sigsetjmp(back, 1)) {
		touch(end, 8);
	}
}

/* Nanoseconds a touch that fails and is survived. */
static double faults(const struct bench_case *self)
{
	const struct sigaction action = {
		.sa_handler = self->mode == JUMP ? jump : put_page,
	};
	struct sigaction library;
	uint64_t start;
	int i;

	bench_need(guarded(mem, 8), "guard");
	bench_need(sigaction(SIGBUS, NULL, &library), "sigaction");
	if (self->mode != GUARD)
		bench_need(sigaction(SIGBUS, &action, NULL), "sigaction");
	start = bench_now();
	for (i = 0; i < FAULTS; i++)
		fault(self->mode);
	start = bench_now() - start;
	bench_need(sigaction(SIGBUS, &library, NULL), "sigaction");
	return (double)start / FAULTS;
}

#define TOUCH(text, bytes)                                                     \
	{ "touch " text, "ns", NULL, touches, bytes, false },                  \
	{ "touch " text ", guard", "ns", "touch " text, touches, bytes, true }
#define COPY(text, bytes)                                                      \
	{ "memcpy " text, "ns", NULL, copies, bytes, false },                  \
	{ "guard_copy " text, "ns", "memcpy " text, copies, bytes, true }

static const struct bench_case cases[] = {
	TOUCH("8 B", 8),
	TOUCH("4 KiB", 4 * KIB),
	TOUCH("1 MiB", MIB),
	COPY("64 B", 64),
	COPY("4 KiB", 4 * KIB),
	COPY("64 KiB", 64 * KIB),
	COPY("16 MiB", SIZE),
	{ "fault, guard", "ns", "fault, siglongjmp", faults, 0, GUARD },
	{ "fault, siglongjmp", "ns", NULL, faults, 0, JUMP },
	{ "fault, a page put there", "ns", "fault, siglongjmp", faults, 0,
	  PAGE },
};

int main(int argc, char **argv)
{
	static const struct bench bench = {
		.about = "Touches of a shared mapping, and copies from it, under "
			 "a guard and without; then\ntouches beyond the end, "
			 "survived by a guard, by a handler of one's own with\n"
			 "sigsetjmp(3), and by putting a page there (and the "
			 "object's back, for the next).\n",
		.cases = cases,
		.count = sizeof(cases) / sizeof(*cases),
		.setup = setup,
		.finish = finish,
	};

	return bench_main(argc, argv, &bench);
}
