// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * What it costs to know which pages were written: the first write to a page by
 * each method, and to read the record of all pages and clear it. The peer is
 * what programs do by hand: mprotect(2), and a handler of SIGSEGV that marks the
 * page.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define SIZE (64 * MIB)
#define SPARSE 256 /* one page in so many is written before a read */

enum { NONE = -1, HAND = -2 };

static struct mmapdev_map *map;
static volatile unsigned char *mem;
static unsigned char bitmap[SIZE / 4096 / 8]; /* no page is smaller */
static uint64_t page, pages;

static void mark(int sig, siginfo_t *info, void *context)
{
	uint64_t at = (unsigned char *)info->si_addr - mem;

	(void)context;
	(void)sig;
	at /= page;
	bitmap[at / 8] |= 1 << at % 8;
	mprotect((void *)(mem + at * page), page, PROT_READ | PROT_WRITE);
}

static double write_every(uint64_t step)
{
	uint64_t i, start = bench_now();

	for (i = 0; i < pages; i += step)
		mem[i * page] = i;
	return (double)(bench_now() - start) / (pages / step);
}

static void setup(void)
{
	page = sysconf(_SC_PAGESIZE);
	pages = SIZE / page;
}

static void begin(void)
{
	map = bench_map(SIZE, MMAPDEV_MAP_POPULATE);
	mem = mmapdev_map_addr(map);
	memset((void *)mem, 1, SIZE);
}

static double write_by_hand(void)
{
	struct sigaction action = {
		.sa_sigaction = mark,
		.sa_flags = SA_SIGINFO,
	}, before;
	double ret;

	sigaction(SIGSEGV, &action, &before);
	if (mprotect((void *)mem, SIZE, PROT_READ))
		bench_need(-errno, "mprotect");
	ret = write_every(1);
	if (mprotect((void *)mem, SIZE, PROT_READ | PROT_WRITE))
		bench_need(-errno, "mprotect");
	sigaction(SIGSEGV, &before, NULL);
	return ret;
}

static int start(int method, struct mmapdev_track **track)
{
	int ret = mmapdev_track_start(map, method, track);

	if (ret != -EOPNOTSUPP)
		bench_need(ret, "track");
	return ret;
}

static double written(const struct bench_case *self)
{
	struct mmapdev_track *track = NULL;
	double ret = BENCH_NONE;

	begin();
	if (self->mode == HAND)
		ret = write_by_hand();
	else if (self->mode == NONE || !start(self->mode, &track))
		ret = write_every(1);
	bench_need(mmapdev_track_stop(track), "stop");
	bench_need(mmapdev_unmap(map), "unmap");
	return ret;
}

static double was_read(const struct bench_case *self)
{
	struct mmapdev_track *track;
	double ret = BENCH_NONE;
	uint64_t found, begun;

	begin();
	if (!start(self->mode, &track)) {
		write_every(SPARSE);
		begun = bench_now();
		bench_need(mmapdev_track_read(track, 0, SIZE,
					      MMAPDEV_DIRTY_CLEAR, bitmap,
					      &found), "read");
		ret = (double)(bench_now() - begun) / pages;
		if (found != pages / SPARSE)
			bench_need(-EBADMSG, "pages written");
		bench_need(mmapdev_track_stop(track), "stop");
	}
	bench_need(mmapdev_unmap(map), "unmap");
	return ret;
}

#define HAND_NAME "write: SIGSEGV by hand"
#define READ_NAME "read: PROTECT"

static const struct bench_case cases[] = {
	{ HAND_NAME, "ns", NULL, written, 0, HAND },
	{ "write: PROTECT", "ns", HAND_NAME, written, 0,
	  MMAPDEV_TRACK_PROTECT },
	{ "write: UFFD", "ns", HAND_NAME, written, 0, MMAPDEV_TRACK_UFFD },
	{ "write: DEVICE", "ns", HAND_NAME, written, 0, MMAPDEV_TRACK_DEVICE },
	{ "write: not tracked", "ns", HAND_NAME, written, 0, NONE },
	{ READ_NAME, "ns", NULL, was_read, 0, MMAPDEV_TRACK_PROTECT },
	{ "read: UFFD", "ns", READ_NAME, was_read, 0, MMAPDEV_TRACK_UFFD },
	{ "read: DEVICE", "ns", READ_NAME, was_read, 0, MMAPDEV_TRACK_DEVICE },
};

int main(int argc, char **argv)
{
	static const struct bench bench = {
		.about = "What tracking costs, per page of 64 MiB that is in "
			 "place: the first write to it,\n"
			 "and to read and clear the record when one in 256 was "
			 "written.\n",
		.cases = cases,
		.count = sizeof(cases) / sizeof(*cases),
		.setup = setup,
	};

	return bench_main(argc, argv, &bench);
}
