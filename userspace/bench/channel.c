// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Two processes and one way from the one to the other: how long a word of it
 * takes, to one who looks and to one who sleeps, and what a message costs when
 * there are many.
 */
#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define SIZE (256 * KIB) /* of each channel */
#define TRIPS 20000	 /* there and back */
#define WAKES 200
#define ASLEEP 300000 /* ns until the other one surely sleeps */
#define STREAM (16 * MIB)

enum { SPIN, FUTEX, PIPE, EVENTFD, SOCKET, CHANNEL };

/* There, and back. */
struct way {
	_Alignas(128) uint32_t word;
	_Alignas(128) uint64_t sent; /* when, ns */
	uint64_t result;
};

static struct way *ways;
static struct mmapdev_map *map;
static int pipes[2][2], sockets[2], events[2];
static struct mmapdev_channel *tx, *rx;
static uint32_t seen; /* of the word */
static char data[4096];

static void setup(void)
{
	int i;

	ways = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ways == MAP_FAILED)
		bench_need(-errno, "shared memory");
	for (i = 0; i < 2; i++) {
		bench_need(pipe(pipes[i]) ? -errno : 0, "pipe");
		events[i] = eventfd(0, 0);
		bench_need(events[i] < 0 ? -errno : 0, "eventfd");
	}
	bench_need(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets) ? -errno : 0,
		   "socketpair");
}

/* Each of the two comes to both channels, at one end of each. */
static void open_channels(int mine)
{
	struct mmapdev_channel_opts opts = {
		.sz = sizeof(opts),
		.length = SIZE,
		.offset = mine * SIZE,
		.role = MMAPDEV_CHANNEL_SENDER,
	};

	bench_need(mmapdev_channel_open(map, &opts, &tx), "channel");
	opts.offset = !mine * SIZE;
	opts.role = MMAPDEV_CHANNEL_RECEIVER;
	bench_need(mmapdev_channel_open(map, &opts, &rx), "channel");
}

static void send_by(int mode, int way, size_t size)
{
	const uint64_t one = 1;
	ssize_t ret = 0;

	switch (mode) {
	case SPIN:
	case FUTEX:
		__atomic_add_fetch(&ways[way].word, 1, __ATOMIC_SEQ_CST);
		if (mode == FUTEX)
			ret = syscall(SYS_futex, &ways[way].word, FUTEX_WAKE, 1,
				      NULL, NULL, 0);
		break;
	case PIPE:
		ret = write(pipes[way][1], data, size);
		break;
	case EVENTFD:
		ret = write(events[way], &one, sizeof(one));
		break;
	case SOCKET:
		ret = write(sockets[way], data, size);
		break;
	case CHANNEL:
		bench_need(mmapdev_channel_send(tx, data, size, -1), "send");
		break;
	}
	bench_need(ret < 0 ? -errno : 0, "send");
}

static void receive_by(int mode, int way, size_t size)
{
	uint64_t count;
	ssize_t ret = 1;

	switch (mode) {
	case SPIN:
	case FUTEX:
		while (__atomic_load_n(&ways[way].word, __ATOMIC_ACQUIRE) ==
		       seen)
			if (mode == FUTEX)
				syscall(SYS_futex, &ways[way].word, FUTEX_WAIT,
					seen, NULL, NULL, 0);
		seen++;
		break;
	case PIPE:
		ret = read(pipes[way][0], data, size);
		break;
	case EVENTFD:
		ret = read(events[way], &count, sizeof(count));
		break;
	case SOCKET:
		ret = read(sockets[!way], data, size);
		break;
	case CHANNEL:
		ret = mmapdev_channel_receive(rx, data, size, -1);
		bench_need(ret, "receive");
		break;
	}
	bench_need(ret < 0 ? -errno : 0, "receive");
}

/* Way 0 leads to the child, way 1 to the parent. */
static double two(const struct bench_case *self,
		  double (*parent)(const struct bench_case *self),
		  void (*child)(const struct bench_case *self))
{
	double ret;
	int status;
	pid_t pid;

	map = bench_map(2 * SIZE, MMAPDEV_MAP_POPULATE);
	ways[0].word = ways[1].word = seen = 0;
	pid = fork();
	bench_need(pid < 0 ? -errno : 0, "fork");
	if (self->mode == CHANNEL)
		open_channels(!pid);
	if (!pid) {
		child(self);
		_exit(0);
	}
	ret = parent(self);
	if (waitpid(pid, &status, 0) < 0 || status)
		bench_need(-ECHILD, "child");
	if (self->mode == CHANNEL) {
		mmapdev_channel_close(tx);
		mmapdev_channel_close(rx);
	}
	bench_need(mmapdev_unmap(map), "unmap");
	return ret;
}

static double trips(const struct bench_case *self)
{
	uint64_t start = bench_now();
	int i;

	for (i = 0; i < TRIPS; i++) {
		send_by(self->mode, 0, self->size);
		receive_by(self->mode, 1, self->size);
	}
	return (double)(bench_now() - start) / TRIPS / 2;
}

static void echo(const struct bench_case *self)
{
	int i;

	for (i = 0; i < TRIPS; i++) {
		receive_by(self->mode, 0, self->size);
		send_by(self->mode, 1, self->size);
	}
}

static double hot(const struct bench_case *self)
{
	return two(self, trips, echo);
}

static double wakes(const struct bench_case *self)
{
	uint64_t until;
	int i;

	for (i = 0; i < WAKES; i++) {
		until = bench_now() + ASLEEP;
		while (bench_now() < until)
			;
		__atomic_store_n(&ways[0].sent, bench_now(), __ATOMIC_RELEASE);
		send_by(self->mode, 0, self->size);
		/* Not for its time: the next one is sent when this has come. */
		while (__atomic_load_n(&ways[1].word, __ATOMIC_ACQUIRE) <=
		       (uint32_t)i)
			;
	}
	return (double)__atomic_load_n(&ways[0].result, __ATOMIC_ACQUIRE) /
	       WAKES;
}

static void sleeper(const struct bench_case *self)
{
	uint64_t sum = 0;
	int i;

	for (i = 0; i < WAKES; i++) {
		receive_by(self->mode, 0, self->size);
		sum += bench_now() -
		       __atomic_load_n(&ways[0].sent, __ATOMIC_ACQUIRE);
		__atomic_store_n(&ways[0].result, sum, __ATOMIC_RELEASE);
		__atomic_add_fetch(&ways[1].word, 1, __ATOMIC_SEQ_CST);
	}
}

static double cold(const struct bench_case *self)
{
	return two(self, wakes, sleeper);
}

static double gulp(const struct bench_case *self)
{
	uint64_t start, i, n = STREAM / self->size;

	receive_by(self->mode, 1, self->size);
	start = bench_now();
	for (i = 1; i < n; i++)
		receive_by(self->mode, 1, self->size);
	return (double)(bench_now() - start) / (n - 1);
}

static void pour(const struct bench_case *self)
{
	uint64_t i;

	for (i = 0; i < STREAM / self->size; i++)
		send_by(self->mode, 1, self->size);
}

static double stream(const struct bench_case *self)
{
	return two(self, gulp, pour);
}

static const struct bench_case cases[] = {
	{ "hot: a word", "ns", NULL, hot, 8, SPIN },
	{ "hot: channel", "ns", "hot: a word", hot, 8, CHANNEL },
	{ "cold: futex", "ns", NULL, cold, 8, FUTEX },
	{ "cold: pipe", "ns", "cold: futex", cold, 8, PIPE },
	{ "cold: eventfd", "ns", "cold: futex", cold, 8, EVENTFD },
	{ "cold: channel", "ns", "cold: futex", cold, 8, CHANNEL },
	{ "64 B: pipe", "ns", NULL, stream, 64, PIPE },
	{ "64 B: socketpair", "ns", "64 B: pipe", stream, 64, SOCKET },
	{ "64 B: channel", "ns", "64 B: pipe", stream, 64, CHANNEL },
	{ "4 KiB: pipe", "ns", NULL, stream, 4096, PIPE },
	{ "4 KiB: socketpair", "ns", "4 KiB: pipe", stream, 4096, SOCKET },
	{ "4 KiB: channel", "ns", "4 KiB: pipe", stream, 4096, CHANNEL },
};

static const struct bench bench = {
	.about = "hot:   one way of a word there and back, both look at it\n"
		 "cold:  from the send to the return of one who slept\n"
		 "64 B, 4 KiB: a message of many, one way, between processes\n",
	.cases = cases,
	.count = sizeof(cases) / sizeof(cases[0]),
	.setup = setup,
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv, &bench);
}
