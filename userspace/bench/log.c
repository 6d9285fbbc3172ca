// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Two writers append records of 64 bytes to one log, by each of the ways there
 * are; threads of one process, and two processes. The memory is warm: there is
 * room for all, and each page was put in place for each process, before the
 * clock starts. Then the same into an object that is empty at first; and what a
 * record costs who reads it.
 *
 * They begin each burst of records together. The time of a burst is that from
 * the first start to the last end, of a round the median of its bursts: so that
 * both run at once, where others want the processors too. Of memory that is
 * cold this is the usual burst, not the worst: see log_wait.c for stalls.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define RECORD 64
#define BURST 2048 /* records */
#define BURSTS 64
#define RECORDS (BURST * BURSTS) /* of each writer */
#define AREA ((uint64_t)2 * RECORDS * RECORD)
/* Records of the log have headers, and so have its segments. */
#define LOG_AREA (AREA / 2 * 3)

enum way {
	APPEND, CLAIM, /* of a log */
	ALONE, MUTEX, TUTORIAL, WRITE, PMEMLOG, /* what else there is */
};

/* The low bits of a case's size; the flags of the log are above. */
enum { THREADS = 0, PROCESSES = 1, ONE = 2, COLD = 4, FORCE = 8 };
#define LOG(flags) ((uint64_t)(flags) << 8)
#define WORK(turns) ((uint64_t)(turns) << 16)

struct shared { /* between processes */
	_Alignas(128) uint32_t ready;
	struct {
		_Alignas(128) uint64_t start, end;
	} time[2][BURSTS];
	double result; /* of a child */
};

/* At the beginning of the mapping that is written to. */
struct cursor {
	_Alignas(128) pthread_mutex_t mutex;
	uint64_t at;
	_Alignas(128) uint32_t locked; /* of the tutorials' spinlock */
	uint64_t next;
	_Alignas(128) uint32_t writers; /* that are in */
};

#define FIRST sizeof(struct cursor)

/* libpmemlog.h, of which only the library need be there. */
static struct {
	void *(*create)(const char *path, size_t size, mode_t mode);
	void (*close)(void *pool);
	int (*append)(void *pool, const void *data, size_t length);
	void (*rewind)(void *pool);
} pmemlog;

static struct shared *shared;
static struct mmapdev *dev;
static struct mmapdev_log *the_log; /* of threads */
static struct mmapdev_map *map;
static void *the_pool;
static int file = -1;

static void setup(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		bench_need(-errno, "shared memory");
}

/* As a program that makes a record: something that takes time. */
static void make_record(char *record, uint64_t turns)
{
	uint64_t x = (uintptr_t)record;

	while (turns--)
		x = x * 6364136223846793005 + 1442695040888963407;
	bench_keep((const void *)(uintptr_t)x);
	bench_keep(record);
}

static void populate(void *addr, uint64_t size)
{
	if (madvise(addr, size, MADV_POPULATE_WRITE))
		bench_need(-errno, "populate");
}

/* Both are here, and running, each on a processor, before each burst. */
static void in_bursts(const struct bench_case *self, int i,
		      void (*burst)(const struct bench_case *self, void *arg),
		      void *arg)
{
	const uint32_t count = self->size & ONE ? 1 : 2;
	unsigned int n;
	cpu_set_t cpu;

	/* Where it cannot have that one, any is good enough. */
	CPU_ZERO(&cpu);
	CPU_SET(i, &cpu);
	sched_setaffinity(0, sizeof(cpu), &cpu);
	for (n = 0; n < BURSTS; n++) {
		__atomic_add_fetch(&shared->ready, 1, __ATOMIC_ACQ_REL);
		while (__atomic_load_n(&shared->ready, __ATOMIC_ACQUIRE) <
		       count * (n + 1))
			;
		shared->time[i][n].start = bench_now();
		burst(self, arg);
		shared->time[i][n].end = bench_now();
	}
}

static struct mmapdev_log *open_log(const struct bench_case *self)
{
	struct mmapdev_log_opts opts = {
		.sz = sizeof(opts),
		.window = LOG_AREA,
		.flags = MMAPDEV_LOG_CREATE | (self->size >> 8 & 0xff),
	};
	struct mmapdev_log *log;

	bench_need(mmapdev_log_open(dev, &opts, &log), "log");
	return log;
}

/* The whole of the log, which a record tells where it is. */
static void warm_log(struct mmapdev_log *log, struct mmapdev_log_writer *writer)
{
	struct mmapdev_log_record record = { .sz = sizeof(record) };
	struct mmapdev_log_reader *reader;

	bench_need(mmapdev_log_append(writer, "", 1, 0), "append");
	bench_need(mmapdev_log_reader_open(log, NULL, &reader), "reader");
	bench_need(mmapdev_log_read(reader, &record, 0), "read");
	populate((char *)record.data - record.offset, LOG_AREA);
	bench_need(mmapdev_log_reader_close(reader), "reader");
}

static int append_claimed(struct mmapdev_log_writer *writer, const char *record)
{
	void *at;
	int ret = mmapdev_log_claim(writer, RECORD, -1, &at);

	if (ret)
		return ret;
	memcpy(at, record, RECORD);
	return mmapdev_log_commit(writer, RECORD);
}

static void log_burst(const struct bench_case *self, void *writer)
{
	const uint64_t turns = self->size >> 16;
	char record[RECORD] = { 1 };
	unsigned int n;
	int ret = 0;

	for (n = 0; n < BURST && !ret; n++) {
		make_record(record, turns);
		if (self->mode == CLAIM)
			ret = append_claimed(writer, record);
		else
			ret = mmapdev_log_append(writer, record, RECORD, -1);
	}
	bench_need(ret, "append");
}

static void write_log(const struct bench_case *self, int i)
{
	struct mmapdev_log *log = the_log;
	struct mmapdev_log_writer *writer;

	if (self->size & PROCESSES)
		log = open_log(self);
	bench_need(mmapdev_log_writer_open(log, &writer), "writer");
	if (!(self->size & COLD))
		warm_log(log, writer);
	in_bursts(self, i, log_burst, writer);
	bench_need(mmapdev_log_writer_close(writer), "writer");
	if (self->size & PROCESSES)
		bench_need(mmapdev_log_close(log), "log");
}

/* Who writes holds the lock, for readers not to meet half a record. */
static void append_locked(char *mem, const char *record)
{
	struct cursor *cursor = (void *)mem;

	pthread_mutex_lock(&cursor->mutex);
	memcpy(mem + cursor->at, record, RECORD);
	cursor->at += RECORD;
	pthread_mutex_unlock(&cursor->mutex);
}

/*
 * A lock around the place and the number of those who write, who are waited for
 * before the mapping is moved. There is room here, so it never is.
 */
static void append_tutorial(char *mem, const char *record)
{
	struct cursor *cursor = (void *)mem;
	uint64_t at;

	while (__atomic_exchange_n(&cursor->locked, 1, __ATOMIC_ACQUIRE))
		while (__atomic_load_n(&cursor->locked, __ATOMIC_RELAXED))
			;
	at = cursor->next;
	if (at + RECORD > FIRST + AREA)
		bench_need(-ENOSPC, "append");
	cursor->next = at + RECORD;
	__atomic_add_fetch(&cursor->writers, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&cursor->locked, 0, __ATOMIC_RELEASE);
	memcpy(mem + at, record, RECORD);
	__atomic_sub_fetch(&cursor->writers, 1, __ATOMIC_RELEASE);
}

static void map_burst(const struct bench_case *self, void *arg)
{
	char *mem = mmapdev_map_addr(map), **own = arg;
	char record[RECORD] = { 1 };
	unsigned int n;

	for (n = 0; n < BURST; n++) {
		bench_keep(record);
		if (self->mode == MUTEX)
			append_locked(mem, record);
		else if (self->mode == TUTORIAL)
			append_tutorial(mem, record);
		else
			memcpy(*own + n * RECORD, record, RECORD);
	}
	*own += BURST * RECORD;
}

static void write_map(const struct bench_case *self, int i)
{
	char *mem = mmapdev_map_addr(map), *own = mem + FIRST + i * AREA / 2;

	populate(mem, FIRST + AREA);
	in_bursts(self, i, map_burst, &own);
}

static void file_burst(const struct bench_case *self, void *fd)
{
	char record[RECORD] = { 1 };
	unsigned int n;

	(void)self;
	for (n = 0; n < BURST; n++) {
		bench_keep(record);
		if (write(*(int *)fd, record, RECORD) != RECORD)
			bench_need(-errno, "write");
	}
}

static void write_file(const struct bench_case *self, int i)
{
	char path[32];
	int fd;

	/* An open file of its own: its position is locked as well. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0)
		bench_need(-errno, path);
	in_bursts(self, i, file_burst, &fd);
	close(fd);
}

static void pool_burst(const struct bench_case *self, void *pool)
{
	char record[RECORD] = { 1 };
	unsigned int n;

	(void)self;
	for (n = 0; n < BURST; n++) {
		bench_keep(record);
		if (pmemlog.append(pool, record, RECORD))
			bench_need(-errno, "pmemlog_append");
	}
}

static void write_on(const struct bench_case *self, int i)
{
	switch (self->mode) {
	case APPEND:
	case CLAIM:
		write_log(self, i);
		break;
	case WRITE:
		write_file(self, i);
		break;
	case PMEMLOG:
		in_bursts(self, i, pool_burst, the_pool);
		break;
	default:
		write_map(self, i);
	}
}

struct writer {
	const struct bench_case *self;
	int i;
	pthread_t thread;
	pid_t pid;
};

static void *write_thread(void *arg)
{
	struct writer *writer = arg;

	write_on(writer->self, writer->i);
	return NULL;
}

static void start(struct writer *writer)
{
	if (!(writer->self->size & PROCESSES)) {
		bench_need(-pthread_create(&writer->thread, NULL, write_thread,
					   writer), "thread");
		return;
	}
	writer->pid = fork();
	bench_need(writer->pid < 0 ? -errno : 0, "fork");
	if (!writer->pid) {
		write_on(writer->self, writer->i);
		_exit(0);
	}
}

static void finish(struct writer *writer)
{
	int status;

	if (!(writer->self->size & PROCESSES))
		pthread_join(writer->thread, NULL);
	else if (waitpid(writer->pid, &status, 0) < 0 || status)
		bench_need(-ECHILD, writer->self->name);
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static uint64_t median_burst(int count)
{
	uint64_t took[BURSTS], first, last;
	unsigned int n;
	int i;

	for (n = 0; n < BURSTS; n++) {
		first = shared->time[0][n].start;
		last = shared->time[0][n].end;
		for (i = 1; i < count; i++) {
			if (shared->time[i][n].start < first)
				first = shared->time[i][n].start;
			if (shared->time[i][n].end > last)
				last = shared->time[i][n].end;
		}
		took[n] = last - first;
	}
	qsort(took, BURSTS, sizeof(*took), by_value);
	return took[BURSTS / 2];
}

/* Nanoseconds a record. */
static double all_writers(const struct bench_case *self)
{
	const int count = self->size & ONE ? 1 : 2;
	struct writer writer[2] = { { self, 0, 0, 0 }, { self, 1, 0, 0 } };
	int i;

	shared->ready = 0;
	for (i = 0; i < count; i++)
		start(&writer[i]);
	for (i = 0; i < count; i++)
		finish(&writer[i]);
	return (double)median_burst(count) / (count * BURST);
}

static double to_log(const struct bench_case *self)
{
	double ret;

	dev = bench_object(self->size & COLD ? 0 : LOG_AREA);
	if (!(self->size & PROCESSES))
		the_log = open_log(self);
	ret = all_writers(self);
	if (!(self->size & PROCESSES))
		bench_need(mmapdev_log_close(the_log), "log");
	mmapdev_close(dev);
	return ret;
}

static double to_map(const struct bench_case *self)
{
	pthread_mutexattr_t attr;
	struct cursor *cursor;
	double ret;

	map = bench_map(AREA + 4 * KIB, 0);
	cursor = mmapdev_map_addr(map);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&cursor->mutex, &attr);
	cursor->at = cursor->next = FIRST;
	ret = all_writers(self);
	bench_need(mmapdev_unmap(map), "unmap");
	return ret;
}

/* On tmpfs whatever PATH says; its pages are there, its size is 0. */
static double to_file(const struct bench_case *self)
{
	double ret;

	file = memfd_create("log", MFD_CLOEXEC);
	if (file < 0 || fallocate(file, FALLOC_FL_KEEP_SIZE, 0, AREA))
		bench_need(-errno, "memfd");
	ret = all_writers(self);
	close(file);
	return ret;
}

static bool load_pmemlog(void)
{
	void *library = dlopen("libpmemlog.so.1", RTLD_NOW);

	if (!library)
		return false;
	pmemlog.create = dlsym(library, "pmemlog_create");
	pmemlog.close = dlsym(library, "pmemlog_close");
	pmemlog.append = dlsym(library, "pmemlog_append");
	pmemlog.rewind = dlsym(library, "pmemlog_rewind");
	return pmemlog.create && pmemlog.close && pmemlog.append &&
	       pmemlog.rewind;
}

/* On tmpfs too: it wants a file that has a name, and only for itself. */
static void fill_pool(const struct bench_case *self)
{
	char path[64], record[RECORD] = { 0 };
	unsigned int n;

	snprintf(path, sizeof(path), "/dev/shm/bench-log-%d", (int)getpid());
	the_pool = pmemlog.create(path, 2 * AREA, 0600);
	if (!the_pool)
		bench_need(-errno, path);
	unlink(path);
	for (n = 0; n < 2 * RECORDS; n++)
		if (pmemlog.append(the_pool, record, RECORD))
			bench_need(-errno, "pmemlog_append");
	pmemlog.rewind(the_pool);
	shared->result = all_writers(self);
	pmemlog.close(the_pool);
}

/* What it takes the memory for, it asks the environment once, when loaded. */
static double to_pool(const struct bench_case *self)
{
	int status;
	pid_t pid;

	pid = fork();
	bench_need(pid < 0 ? -errno : 0, "fork");
	if (!pid) {
		setenv("PMEM_IS_PMEM_FORCE", self->size & FORCE ? "1" : "0", 1);
		if (!load_pmemlog() || access("/dev/shm", W_OK))
			_exit(77);
		fill_pool(self);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) < 0)
		bench_need(-errno, "child");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		return BENCH_NONE;
	bench_need(status ? -ECHILD : 0, self->name);
	return shared->result;
}

static double read_log(const struct bench_case *self)
{
	struct mmapdev_log_record record = { .sz = sizeof(record) };
	struct mmapdev_log_reader *reader;
	uint64_t from, took, count = 0, sum = 0;
	int ret;

	dev = bench_object(LOG_AREA);
	the_log = open_log(self);
	all_writers(self);
	bench_need(mmapdev_log_reader_open(the_log, NULL, &reader), "reader");
	from = bench_now();
	while (!(ret = mmapdev_log_read(reader, &record, 0))) {
		sum += *(const char *)record.data;
		count++;
	}
	took = bench_now() - from;
	bench_keep((const void *)(uintptr_t)sum);
	if (ret != -EAGAIN || count < 2 * RECORDS)
		bench_need(ret == -EAGAIN ? -EIO : ret, "read");
	bench_need(mmapdev_log_reader_close(reader), "reader");
	bench_need(mmapdev_log_close(the_log), "log");
	mmapdev_close(dev);
	return (double)took / count;
}

static double read_file(const struct bench_case *self)
{
	char record[RECORD];
	uint64_t from, took, i;
	const uint64_t n = RECORDS / 4;

	(void)self;
	file = memfd_create("log", MFD_CLOEXEC);
	if (file < 0 || ftruncate(file, n * RECORD) ||
	    fallocate(file, 0, 0, n * RECORD))
		bench_need(-errno, "memfd");
	from = bench_now();
	for (i = 0; i < n; i++)
		if (read(file, record, RECORD) != RECORD)
			bench_need(-errno, "read");
	took = bench_now() - from;
	close(file);
	return (double)took / n;
}

#define ORDERED LOG(MMAPDEV_LOG_ORDERED)
#define CRC LOG(MMAPDEV_LOG_CRC)
#define AHEAD LOG(MMAPDEV_LOG_AHEAD)

#define OF_A_LOG(who, flags)                                                   \
	{ who "leased", "ns", NULL, to_log, flags, APPEND },                   \
	{ who "leased, claim, commit", "ns", who "leased", to_log, flags,      \
	  CLAIM },                                                             \
	{ who "leased, CRC", "ns", who "leased", to_log, flags | CRC,          \
	  APPEND },                                                            \
	{ who "ordered", "ns", who "leased", to_log, flags | ORDERED, APPEND }

#define OTHERS(who, flags)                                                     \
	{ who "nothing shared (the floor)", "ns", who "leased", to_map, flags, \
	  ALONE },                                                             \
	{ who "process-shared mutex", "ns", who "leased", to_map, flags,       \
	  MUTEX },                                                             \
	{ who "spinlock and refcount", "ns", who "leased", to_map, flags,      \
	  TUTORIAL },                                                          \
	{ who "write(2), O_APPEND, tmpfs", "ns", who "leased", to_file, flags, \
	  WRITE }

#define COLD_OF(text, warm, turns)                                             \
	{ text "cold", "ns", warm, to_log, PROCESSES | COLD | WORK(turns),     \
	  APPEND },                                                            \
	{ text "cold, map-ahead", "ns", warm, to_log,                          \
	  PROCESSES | COLD | AHEAD | WORK(turns), APPEND }

#define WORKING(text, turns)                                                   \
	{ text "warm", "ns", NULL, to_log, PROCESSES | WORK(turns), APPEND },  \
	COLD_OF(text, text "warm", turns)

static const struct bench_case cases[] = {
	OF_A_LOG("threads, ", THREADS),
	{ "one thread, leased", "ns", "threads, leased", to_log, ONE, APPEND },
	OTHERS("threads, ", THREADS),
	{ "threads, libpmemlog, msync(2)", "ns", "threads, leased", to_pool, 0,
	  PMEMLOG },
	{ "threads, libpmemlog, cache lines", "ns", "threads, leased", to_pool,
	  FORCE, PMEMLOG },
	OF_A_LOG("processes, ", PROCESSES),
	OTHERS("processes, ", PROCESSES),
	COLD_OF("processes, leased, ", "processes, leased", 0),
	WORKING("50 steps a record, ", 50),
	WORKING("200 steps a record, ", 200),
	{ "read, leased", "ns", NULL, read_log, 0, APPEND },
	{ "read, CRC", "ns", "read, leased", read_log, CRC, APPEND },
	{ "read, ordered", "ns", "read, leased", read_log, ORDERED, APPEND },
	{ "read(2), tmpfs", "ns", "read, leased", read_file, 0, 0 },
};

int main(int argc, char **argv)
{
	static const struct bench bench = {
		.about = "Appends of 64 bytes by two at once, a record of "
			 "either. Cold is an object that is\n"
			 "empty at first, and grows; there a record takes so "
			 "many dependent multiplications\n"
			 "to make. libpmemlog is measured where it is "
			 "installed, once as it comes and once\n"
			 "with PMEM_IS_PMEM_FORCE=1. read: what was written, "
			 "by one reader. Each of the two\n"
			 "has a processor, and a round is the median of 64 "
			 "bursts that they begin together.\n",
		.cases = cases,
		.count = sizeof(cases) / sizeof(*cases),
		.setup = setup,
	};

	return bench_main(argc, argv, &bench);
}
