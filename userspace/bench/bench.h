/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * What every bench program needs. A program has a table of cases, each of which
 * does one round of its work when called and returns what that cost. The rounds
 * of all cases are interleaved, so that whatever else the machine does hits all
 * of them; the median of each is set against that of the peer that it names.
 *
 * A bench asserts no time. It fails only where its work does.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mmapdev.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

/* What run returns where the case cannot be done here; its row says so. */
#define BENCH_NONE __builtin_nan("")

struct bench_case {
	const char *name;
	const char *unit; /* of what run returns, such as "ns" */
	const char *peer; /* name of a case, or NULL */
	double (*run)(const struct bench_case *self);
	/* The rest is for run. */
	uint64_t size;
	int mode;
};

struct bench {
	const char *about; /* what is compared, for --help: whole lines */
	const struct bench_case *cases;
	size_t count;
	void (*setup)(void); /* before the first round, or NULL */
	void (*finish)(void); /* after the last, or NULL */
};

/* All of main: options, rounds, table. */
int bench_main(int argc, char **argv, const struct bench *bench);

/*
 * A new object of @size bytes, all holes: what PATH says, else a memfd. A
 * device is resized to nothing and back, so there is only one at a time.
 */
struct mmapdev *bench_object(uint64_t size);
/* The same, mapped shared with @flags; mmapdev_unmap() frees all of it. */
struct mmapdev_map *bench_map(uint64_t size, uint32_t flags);

uint64_t bench_now(void); /* nanoseconds, monotonic */
/* Ends the program where @ret is negative. */
void bench_need(int64_t ret, const char *what);

/* The compiler must take it that the memory at @p is read and written here. */
static inline void bench_keep(const void *p)
{
	__asm__ volatile("" : : "r"(p) : "memory");
}

#endif /* BENCH_H */
