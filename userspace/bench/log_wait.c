// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * What one waits for at a log: the writer for room, as the object grows; a
 * reader that sleeps, for the record that is appended; and a reader that stands
 * before the record of a writer in the moment that this one is killed.
 *
 * The writer looks at the clock between any two appends. On a machine that is
 * not alone there are stalls without any cause of ours: a loop that appends
 * nothing has its row as well.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define RECORD 64
#define RECORDS (64 * KIB)
#define AREA (RECORDS * RECORD * 2)
#define TURNS 200 /* of work for each record */
#define WAKES 200
#define ASLEEP 300000	/* ns until the other one surely sleeps */
#define WAITING 30000000 /* the same of one who looks now and then */

enum { IDLE, WARM, COLD, FUTEX, LOG };

static struct shared { /* between processes */
	_Alignas(128) uint32_t word;
	_Alignas(128) uint32_t met;
	_Alignas(128) uint64_t sent; /* when, ns */
	uint64_t sum;
} *shared;

static struct mmapdev *dev;
static uint32_t gap[RECORDS], often;
static char record[RECORD];

static void setup(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		bench_need(-errno, "shared memory");
}

static struct mmapdev_log *open_log(uint32_t flags)
{
	struct mmapdev_log_opts opts = {
		.sz = sizeof(opts),
		.window = AREA,
		.flags = MMAPDEV_LOG_CREATE | flags,
	};
	struct mmapdev_log *log;

	bench_need(mmapdev_log_open(dev, &opts, &log), "log");
	return log;
}

static struct mmapdev_log_writer *open_writer(struct mmapdev_log *log)
{
	struct mmapdev_log_writer *writer;

	bench_need(mmapdev_log_writer_open(log, &writer), "writer");
	return writer;
}

static struct mmapdev_log_reader *open_reader(struct mmapdev_log *log)
{
	struct mmapdev_log_reader *reader;

	bench_need(mmapdev_log_reader_open(log, NULL, &reader), "reader");
	return reader;
}

static void append(struct mmapdev_log_writer *writer)
{
	bench_need(mmapdev_log_append(writer, record, RECORD, -1), "append");
}

static struct mmapdev_log_record receive(struct mmapdev_log_reader *reader)
{
	struct mmapdev_log_record got = { .sz = sizeof(got) };

	bench_need(mmapdev_log_read(reader, &got, -1), "read");
	return got;
}

/* The whole of the log, which a record tells where it is. */
static void warm(struct mmapdev_log *log, struct mmapdev_log_writer *writer)
{
	struct mmapdev_log_reader *reader = open_reader(log);
	struct mmapdev_log_record got;

	append(writer);
	got = receive(reader);
	if (madvise((char *)got.data - got.offset, AREA, MADV_POPULATE_WRITE))
		bench_need(-errno, "populate");
	mmapdev_log_reader_close(reader);
}

static void write_on(struct mmapdev_log_writer *writer)
{
	uint64_t x = 1, last = bench_now(), now;
	unsigned int i, turn;

	for (i = 0; i < RECORDS; i++) {
		for (turn = 0; turn < TURNS; turn++)
			x = x * 6364136223846793005 + 1442695040888963407;
		bench_keep((const void *)(uintptr_t)x);
		if (writer)
			append(writer);
		now = bench_now();
		gap[i] = now - last < UINT32_MAX ? now - last : UINT32_MAX;
		last = now;
	}
}

static int by_value(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* The longest time of an append, in microseconds. */
static double worst(const struct bench_case *self)
{
	struct mmapdev_log_writer *writer = NULL;
	struct mmapdev_log *log = NULL;

	dev = bench_object(self->mode == WARM ? AREA : 0);
	if (self->mode != IDLE) {
		log = open_log(self->size);
		writer = open_writer(log);
	}
	if (self->mode == WARM)
		warm(log, writer);
	write_on(writer);
	bench_need(mmapdev_log_writer_close(writer), "writer");
	bench_need(mmapdev_log_close(log), "log");
	mmapdev_close(dev);

	qsort(gap, RECORDS, sizeof(*gap), by_value);
	often = gap[RECORDS - RECORDS / 1000];
	return gap[RECORDS - 1] / 1e3;
}

/* What one append in a thousand takes, or more; of the case before. */
static double thousandth(const struct bench_case *self)
{
	(void)self;
	return often / 1e3;
}

static pid_t split(void)
{
	pid_t pid = fork();

	bench_need(pid < 0 ? -errno : 0, "fork");
	return pid;
}

static void sleep_until_woken(const struct bench_case *self)
{
	struct mmapdev_log *log = NULL;
	struct mmapdev_log_reader *reader = NULL;
	uint32_t i;

	if (self->mode == LOG) {
		log = open_log(0);
		reader = open_reader(log);
	}
	for (i = 0; i < WAKES; i++) {
		if (reader)
			receive(reader);
		else
			while (__atomic_load_n(&shared->word,
					       __ATOMIC_ACQUIRE) == i)
				syscall(SYS_futex, &shared->word, FUTEX_WAIT, i,
					NULL, NULL, 0);
		shared->sum += bench_now() -
			       __atomic_load_n(&shared->sent, __ATOMIC_ACQUIRE);
		__atomic_store_n(&shared->met, i + 1, __ATOMIC_RELEASE);
	}
}

static void wake(struct mmapdev_log_writer *writer)
{
	__atomic_store_n(&shared->sent, bench_now(), __ATOMIC_RELEASE);
	if (writer) {
		append(writer);
		return;
	}
	__atomic_add_fetch(&shared->word, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &shared->word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Microseconds from before the append to after the read. */
static double wakes(const struct bench_case *self)
{
	struct mmapdev_log_writer *writer = NULL;
	struct mmapdev_log *log = NULL;
	uint64_t until;
	uint32_t i;
	int status;
	pid_t pid;

	dev = bench_object(0);
	if (self->mode == LOG) {
		log = open_log(self->size);
		writer = open_writer(log);
	}
	shared->word = shared->met = 0;
	shared->sum = 0;
	pid = split();
	if (!pid) {
		sleep_until_woken(self);
		_exit(0);
	}
	for (i = 0; i < WAKES; i++) {
		until = bench_now() + ASLEEP;
		while (bench_now() < until)
			;
		wake(writer);
		while (__atomic_load_n(&shared->met, __ATOMIC_ACQUIRE) <= i)
			;
	}
	if (waitpid(pid, &status, 0) < 0 || status)
		bench_need(-ECHILD, self->name);
	bench_need(mmapdev_log_writer_close(writer), "writer");
	bench_need(mmapdev_log_close(log), "log");
	mmapdev_close(dev);
	return shared->sum / 1e3 / WAKES;
}

/* A record is begun, and its writer will not end it. */
static pid_t leave_reserved(void)
{
	void *data;
	pid_t pid;

	shared->met = 0;
	pid = split();
	if (!pid) {
		bench_need(mmapdev_log_claim(open_writer(open_log(0)), RECORD,
					     -1, &data), "claim");
		__atomic_store_n(&shared->met, 1, __ATOMIC_RELEASE);
		for (;;)
			pause();
	}
	while (!__atomic_load_n(&shared->met, __ATOMIC_ACQUIRE))
		sched_yield();
	return pid;
}

static pid_t kill_later(pid_t pid)
{
	struct timespec ts = { .tv_nsec = WAITING + bench_now() % WAITING };
	pid_t killer = split();

	if (killer)
		return killer;
	nanosleep(&ts, NULL);
	shared->sent = bench_now();
	kill(pid, SIGKILL);
	_exit(0);
}

/* Milliseconds from the kill until a reader is past the record. */
static double recovery(const struct bench_case *self)
{
	struct mmapdev_log_reader *reader;
	struct mmapdev_log_writer *writer;
	struct mmapdev_log *log;
	pid_t pid, killer;
	uint64_t end;

	dev = bench_object(0);
	log = open_log(self->size);
	writer = open_writer(log);
	reader = open_reader(log);
	pid = leave_reserved();
	append(writer);
	killer = kill_later(pid);
	receive(reader);
	end = bench_now();
	waitpid(killer, NULL, 0);
	waitpid(pid, NULL, 0);
	mmapdev_log_reader_close(reader);
	bench_need(mmapdev_log_writer_close(writer), "writer");
	bench_need(mmapdev_log_close(log), "log");
	mmapdev_close(dev);
	return (end - shared->sent) / 1e6;
}

#define IDLE_NAME "stall of an idle loop"
#define STALL(name, peer, thousandths, flags, mode)                            \
	{ name, "us", peer, worst, flags, mode },                              \
	{ name ", 99.9 %", "us", thousandths, thousandth, 0, 0 }
#define STALL_OF(name, flags, mode)                                            \
	STALL(name, IDLE_NAME, IDLE_NAME ", 99.9 %", flags, mode)

static const struct bench_case cases[] = {
	STALL(IDLE_NAME, NULL, NULL, 0, IDLE),
	STALL_OF("append, warm", 0, WARM),
	STALL_OF("append, it grows", 0, COLD),
	STALL_OF("append, map-ahead", MMAPDEV_LOG_AHEAD, COLD),
	{ "wake-up: futex", "us", NULL, wakes, 0, FUTEX },
	{ "wake-up: log", "us", "wake-up: futex", wakes, 0, LOG },
	{ "wake-up: log, ordered", "us", "wake-up: futex", wakes,
	  MMAPDEV_LOG_ORDERED, LOG },
	{ "recovery, ordered", "ms", NULL, recovery, MMAPDEV_LOG_ORDERED, 0 },
};

int main(int argc, char **argv)
{
	static const struct bench bench = {
		.about = "append:   the longest time that one of 64 Ki records "
			 "takes, with the work of 200\n"
			 "          dependent multiplications each, and the "
			 "longest of 999 in 1000\n"
			 "wake-up:  from an append to the return of a read "
			 "that slept, of another process\n"
			 "recovery: from the kill of a writer with a record "
			 "reserved until a reader that\n"
			 "          waits for it has the one behind it\n",
		.cases = cases,
		.count = sizeof(cases) / sizeof(*cases),
		.setup = setup,
	};

	return bench_main(argc, argv, &bench);
}
