// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Writing through memory that was never touched, from the first byte to the
 * last, with a thread that puts the pages in place ahead and without; and the
 * same memory once it is warm, which is as good as it gets.
 *
 * How much a writer does with each page decides whether one helper keeps up: so
 * it is done by one who only stores, and by one who works for what he stores.
 */
#include <string.h>

#include "bench.h"

#define AREA (32 * MIB)
#define PAGE (4 * KIB)
#define RECORD 64

enum { COLD, AHEAD, POPULATE, WARM };

static volatile uint64_t work;

/* As a program that makes a record: @turns of something that takes time. */
static void write_record(char *at, uint64_t turns)
{
	char record[RECORD] = { 1 };
	uint64_t x = (uintptr_t)at;

	while (turns--)
		x = x * 6364136223846793005 + 1442695040888963407;
	work = x;
	bench_keep(record);
	memcpy(at, record, RECORD);
}

static void write_all(struct mmapdev_map *map, struct mmapdev_ahead *ahead,
		      uint64_t turns)
{
	char *mem = mmapdev_map_addr(map);
	uint64_t at;

	for (at = 0; at < AREA; at += RECORD) {
		if (ahead)
			mmapdev_ahead_at(ahead, at);
		write_record(mem + at, turns);
	}
}

/* Nanoseconds for 4 KiB, what had to be started for it included. */
static double run(const struct bench_case *self)
{
	struct mmapdev_map_opts opts = { .sz = sizeof(opts) };
	struct mmapdev *dev = bench_object(AREA);
	struct mmapdev_ahead *ahead = NULL;
	struct mmapdev_map *map;
	uint64_t start, end;

	start = bench_now();
	if (self->mode == POPULATE)
		opts.flags = MMAPDEV_MAP_POPULATE;
	bench_need(mmapdev_map(dev, &opts, &map), "map");
	if (self->mode == AHEAD)
		bench_need(mmapdev_ahead_start(map, NULL, &ahead), "start");
	if (self->mode == WARM) {
		memset(mmapdev_map_addr(map), 1, AREA);
		start = bench_now();
	}
	write_all(map, ahead, self->size);
	end = bench_now();
	bench_need(mmapdev_ahead_stop(ahead), "stop");
	bench_need(mmapdev_unmap(map), "unmap");
	mmapdev_close(dev);
	return (double)(end - start) / (AREA / PAGE);
}

#define FOUR(turns, text)                                                      \
	{ text "warm", "ns", NULL, run, turns, WARM },                         \
	{ text "map-ahead", "ns", text "warm", run, turns, AHEAD },            \
	{ text "populated first", "ns", text "warm", run, turns, POPULATE },   \
	{ text "cold", "ns", text "warm", run, turns, COLD }

static const struct bench_case cases[] = {
	FOUR(0, "stores only, "),
	FOUR(10, "10 steps a record, "),
	FOUR(50, "50 steps a record, "),
	FOUR(200, "200 steps a record, "),
};

int main(int argc, char **argv)
{
	static const struct bench bench = {
		.about = "32 MiB of holes are written in order, in records of "
			 "64 bytes that take so many\n"
			 "dependent multiplications each to make: the time of "
			 "4 KiB, with the window that\n"
			 "mmapdev_ahead_start() measures, populated by "
			 "MMAPDEV_MAP_POPULATE, cold, and in\n"
			 "memory that is warm.\n",
		.cases = cases,
		.count = sizeof(cases) / sizeof(*cases),
	};

	return bench_main(argc, argv, &bench);
}
