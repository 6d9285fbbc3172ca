// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Processes append to one log, and are killed at any moment, thousands of them.
 * Each numbers its records, and notes in memory of its own which of them were
 * acknowledged. When all are dead every acknowledged record is there, once,
 * whole and in order, of each process at most one more, and nothing else: so
 * says a parser of ours, and so do the library's readers. And the log goes on.
 *
 *   MMAPDEV_SEED=N    makes the same choices again, as far as they are ours
 *   MMAPDEV_KILLS=N   so many on each object, or a few more
 */
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
#include "log_raw.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#define WRITERS 4
#define PROCESSES (WRITERS + 2)
#define CONSUMER WRITERS
#define OBSERVER (WRITERS + 1)
#define BATCH 100 /* times some are killed before the log is made anew */
#define INCARNATIONS 4096 /* of writers, in a batch */

static const struct mode {
	const char *name;
	uint32_t flags, segment, ring;
	uint64_t window; /* of one that grows */
} modes[] = {
	{ "leased", 0, 4096, 0, 16 * MIB },
	{ "ordered", MMAPDEV_LOG_ORDERED, 4096, 0, 16 * MIB },
	{ "leased ring", 0, 4096, 8, 0 },
	{ "ordered ring", MMAPDEV_LOG_ORDERED, 4096, 4, 0 },
	{ "leased, crc", MMAPDEV_LOG_CRC, 8192, 0, 4 * MIB },
	{ "ordered, crc", MMAPDEV_LOG_ORDERED | MMAPDEV_LOG_CRC, 8192, 0,
	  4 * MIB },
	{ "leased ring, crc", MMAPDEV_LOG_CRC, 8192, 6, 0 },
	{ "ordered ring, crc", MMAPDEV_LOG_ORDERED | MMAPDEV_LOG_CRC, 4096, 2,
	  0 },
};

#define MODES (sizeof(modes) / sizeof(*modes))

/* What outlives all; sequences begin with 1. */
static struct {
	uint64_t acknowledged[INCARNATIONS];
	/* By consumers: the last of each incarnation, and the last of all. */
	uint64_t got[INCARNATIONS];
	uint64_t last; /* incarnation << 40 | sequence */
	/* What one had and did not acknowledge comes again, once. */
	uint64_t again[INCARNATIONS];
	uint32_t incarnations; /* that there were */
	uint64_t read; /* by observers */
	uint32_t full; /* no segment is left */
	uint32_t wrong;
	char what[200];
} *noted;

static struct object *object;
static const struct mode *mode;
static uint64_t seed, dice, kills, records;
static pid_t parent;

static struct process {
	pid_t pid;
	bool stopped;
} processes[PROCESSES];
static uint32_t incarnation; /* in a child: of its writer */

/* splitmix64 */
static uint64_t mix(uint64_t *state)
{
	uint64_t z = *state += 0x9E3779B97F4A7C15u;

	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
	z = (z ^ z >> 27) * 0x94D049BB133111EBu;
	return z ^ z >> 31;
}

static uint32_t below(uint32_t limit)
{
	return mix(&dice) % limit;
}

static PRINTF(1) void wrong(const char *what, ...)
{
	va_list args;

	if (__atomic_fetch_add(&noted->wrong, 1, __ATOMIC_RELAXED))
		return;
	va_start(args, what);
	vsnprintf(noted->what, sizeof(noted->what), what, args);
	va_end(args);
}

/* Of a child it is the end, and of the parent. */
static void failed(const char *what, int ret)
{
	wrong("%s of incarnation %u: %s", what, incarnation, strerror(-ret));
	if (getpid() != parent)
		_exit(1);
	need(ret, noted->what);
}

static struct mmapdev_log_opts log_opts(void)
{
	struct mmapdev_log_opts opts = {
		.sz = sizeof(opts),
		.flags = mode->flags | MMAPDEV_LOG_CREATE,
		.segment = mode->segment,
		.ring = mode->ring,
		.window = mode->window,
	};

	/* Who comes when all are dead has room. */
	if (mode->window && getpid() == parent)
		opts.window += MIB;
	return opts;
}

/* Who has the turn may be stopped for a while. */
static struct mmapdev_log *open_log(struct mmapdev *dev, bool create)
{
	struct mmapdev_log_opts opts = log_opts();
	struct mmapdev_log *log;
	int ret;

	if (!create)
		opts.flags &= ~MMAPDEV_LOG_CREATE;
	do {
		ret = mmapdev_log_open(dev, &opts, &log);
		if (ret == -ENODATA)
			usleep(100);
	} while (ret == -ETIMEDOUT || (ret == -ENODATA && !create));
	if (ret)
		failed("log_open", ret);
	return log;
}

static struct mmapdev_log_writer *open_writer(struct mmapdev_log *log)
{
	struct mmapdev_log_writer *writer;
	int ret;

	do {
		ret = mmapdev_log_writer_open(log, &writer);
	} while (ret == -ETIMEDOUT);
	if (ret)
		failed("writer_open", ret);
	return writer;
}

static struct mmapdev_log_reader *open_reader(struct mmapdev_log *log,
					      uint32_t flags)
{
	struct mmapdev_log_reader_opts opts = {
		.sz = sizeof(opts),
		.flags = flags,
	};
	struct mmapdev_log_reader *reader;
	int ret;

	do {
		ret = mmapdev_log_reader_open(log, &opts, &reader);
	} while (ret == -ETIMEDOUT);
	if (ret)
		failed("reader_open", ret);
	return reader;
}

/* Most are small, some are as large as can be. */
static uint32_t any_length(void)
{
	uint32_t most = mode->segment - 80;

	if (!below(100))
		return most - below(64);
	return sizeof(struct entry) + below(below(8) ? 200 : most / 2);
}

/* The next of this process, by append, or by claim and commit. */
static int append_one(struct mmapdev_log_writer *writer, uint64_t sequence)
{
	static const int timeouts[] = { 0, 20, -1 };
	int timeout = timeouts[below(3)], ret;
	uint32_t length = any_length();
	static unsigned char bytes[8192];
	void *data;

	if (below(2)) {
		entry_make(bytes, incarnation, sequence, length);
		return mmapdev_log_append(writer, bytes, length, timeout);
	}
	ret = mmapdev_log_claim(writer, length, timeout, &data);
	if (ret)
		return ret;
	if (!below(8)) {
		memset(data, 0xEE, length);
		ret = mmapdev_log_abort(writer);
		return ret ? ret : -EAGAIN;
	}
	if (below(2))
		length -= below(length - sizeof(struct entry) + 1);
	entry_make(data, incarnation, sequence, length);
	return mmapdev_log_commit(writer, length);
}

static void append_some(struct mmapdev_log_writer *writer)
{
	uint32_t left = 1 + below(2000);
	uint64_t sequence = 0;
	int ret;

	for (; left; left--) {
		ret = append_one(writer, sequence + 1);
		if (!ret)
			__atomic_store_n(&noted->acknowledged[incarnation],
					 ++sequence, __ATOMIC_RELEASE);
		else if (ret == -ENOSPC && !mode->ring)
			noted->full = 1;
		else if (ret != -EAGAIN && ret != -ETIMEDOUT)
			failed("append", ret);
		while (noted->full)
			pause();
		if (!below(256))
			usleep(below(100));
	}
}

/* In order are the records of one writer; the next one has another name. */
static uint32_t next_incarnation(void)
{
	uint32_t next = __atomic_fetch_add(&noted->incarnations, 1,
					   __ATOMIC_RELAXED);

	while (next >= INCARNATIONS) {
		noted->full = 1;
		pause();
	}
	return next;
}

/* Now and then it closes all and begins again; it never ends. */
static int work_as_writer(void *arg)
{
	struct mmapdev *dev = reopen(object, O_RDWR);
	struct mmapdev_log_writer *writer;
	struct mmapdev_log *log = NULL;
	int ret;

	(void)arg;
	while (!noted->wrong) {
		if (!log)
			log = open_log(dev, true);
		incarnation = next_incarnation();
		writer = open_writer(log);
		append_some(writer);
		ret = mmapdev_log_writer_close(writer);
		if (ret)
			failed("writer_close", ret);
		if (below(2))
			continue;
		ret = mmapdev_log_close(log);
		if (ret && ret != -ETIMEDOUT)
			failed("log_close", ret);
		log = NULL;
	}
	return 0;
}

/* Noted in an order of which any part will do: see begin_consumption(). */
static bool consumed(const struct entry *entry)
{
	uint64_t *got = &noted->got[entry->incarnation];
	uint64_t *again = &noted->again[entry->incarnation];
	bool twice = *again && *again == entry->sequence;

	if (!twice && entry->sequence != *got + 1) {
		wrong("a consumer got %u:%" PRIu64 " behind %" PRIu64,
		      entry->incarnation, entry->sequence, *got);
		return false;
	}
	__atomic_store_n(&noted->last, (uint64_t)entry->incarnation << 40 |
					       entry->sequence,
			 __ATOMIC_RELEASE);
	__atomic_store_n(got, entry->sequence, __ATOMIC_RELEASE);
	__atomic_store_n(again, 0, __ATOMIC_RELEASE);
	return true;
}

static const struct entry *entry_read(const struct mmapdev_log_record *record)
{
	const struct entry *entry = entry_of(record->data, record->length);

	if (entry && entry->incarnation < INCARNATIONS)
		return entry;
	wrong("a reader got a record that is torn");
	return NULL;
}

static void begin_consumption(void)
{
	uint64_t sequence = noted->last & (((uint64_t)1 << 40) - 1);
	uint32_t i = noted->last >> 40;

	if (noted->got[i] < sequence)
		noted->got[i] = sequence;
	noted->again[i] = sequence;
}

static int work_as_consumer(void *arg)
{
	struct mmapdev_log_record record = { .sz = sizeof(record) };
	struct mmapdev_log_reader *reader;
	const struct entry *entry;
	int ret;

	(void)arg;
	reader = open_reader(open_log(reopen(object, O_RDWR), false),
			     MMAPDEV_LOG_CONSUME);
	begin_consumption();
	while (!noted->wrong) {
		ret = mmapdev_log_read(reader, &record, below(3) ? -1 : 0);
		if (ret == -EAGAIN)
			continue;
		if (ret)
			failed("a consumer's read", ret);
		entry = entry_read(&record);
		if (entry)
			consumed(entry);
	}
	return 0;
}

/* True if it may come behind those that came before. */
static bool observed(uint64_t *last, const struct entry *entry)
{
	uint64_t *before = &last[entry->incarnation];
	bool right;

	/* A ring does not wait for it. */
	right = mode->ring ? entry->sequence > *before :
			     entry->sequence == *before + 1;
	if (!right)
		wrong("an observer got %u:%" PRIu64 " behind %" PRIu64,
		      entry->incarnation, entry->sequence, *before);
	*before = entry->sequence;
	return right;
}

static int work_as_observer(void *arg)
{
	struct mmapdev_log_record record = { .sz = sizeof(record) };
	struct mmapdev_log_reader *reader;
	static uint64_t last[INCARNATIONS];
	const struct entry *entry;
	int ret;

	(void)arg;
	reader = open_reader(open_log(reopen(object, below(2) ? O_RDWR :
							 O_RDONLY), false), 0);
	while (!noted->wrong) {
		ret = mmapdev_log_read(reader, &record, -1);
		if (ret == -EOVERFLOW && mode->ring)
			continue;
		if (ret)
			failed("an observer's read", ret);
		entry = entry_read(&record);
		noted->read += entry && observed(last, entry);
	}
	return 0;
}

static void start(unsigned int i)
{
	static int (*const work[])(void *arg) = {
		[CONSUMER] = work_as_consumer,
		[OBSERVER] = work_as_observer,
	};
	uint64_t ours = dice;

	/* Its choices are its own. */
	dice = seed ^ mix(&ours);
	processes[i].stopped = false;
	processes[i].pid = spawn(i < WRITERS ? work_as_writer : work[i], NULL);
	dice = ours;
}

/* All of them at once, before anybody is there to go on for them. */
static void kill_all(unsigned int set)
{
	unsigned int i;
	int ret;

	for (i = 0; i < PROCESSES; i++)
		if (set & 1u << i)
			kill(processes[i].pid, SIGKILL);
	for (i = 0; i < PROCESSES; i++) {
		if (!(set & 1u << i))
			continue;
		ret = reap(processes[i].pid);
		if (ret != -SIGKILL)
			wrong("process %u ended by itself: %d", i, ret);
		kills++;
	}
}

static void stop_or_continue(void)
{
	unsigned int i = below(PROCESSES);

	for (i = 0; i < PROCESSES; i++) {
		if (processes[i].stopped && !below(3)) {
			kill(processes[i].pid, SIGCONT);
			processes[i].stopped = false;
		} else if (!processes[i].stopped && !below(30)) {
			kill(processes[i].pid, SIGSTOP);
			processes[i].stopped = true;
		}
	}
}

/* From nothing to a few milliseconds, often less. */
static void a_while(void)
{
	uint32_t most = 1u << below(12);
	struct timespec ts = { .tv_nsec = 1000L * below(most) };

	if (below(4))
		nanosleep(&ts, NULL);
}

static void kill_some(void)
{
	unsigned int set, i;

	a_while();
	stop_or_continue();
	do {
		set = below(1u << WRITERS) & below(1u << WRITERS);
	} while (!set);
	if (!below(4))
		set |= 1u << CONSUMER;
	if (!below(4))
		set |= 1u << OBSERVER;
	kill_all(set);
	for (i = 0; i < PROCESSES; i++)
		if (set & 1u << i)
			start(i);
}

static uint32_t incarnations(void)
{
	return noted->incarnations < INCARNATIONS ? noted->incarnations :
						    INCARNATIONS;
}

/* Of each incarnation the last record that is there. */
static uint64_t top[INCARNATIONS];

/* What a consumer took may not be there any more, or not all. */
static const char *count_raw(const struct entry *entry)
{
	uint64_t *last;

	if (entry->incarnation >= INCARNATIONS)
		return "a record is of nobody";
	last = &top[entry->incarnation];
	if (!*last && mode->ring) {
		if (entry->sequence > noted->got[entry->incarnation] + 1)
			return "a record is missing";
	} else if (entry->sequence != *last + 1 &&
		   /* The later of two places may be taken anew first. */
		   !(mode->ring && entry->sequence > *last &&
		     entry->sequence <= noted->got[entry->incarnation] + 1)) {
		return "a record is missing, out of order, or there twice";
	}
	*last = entry->sequence;
	return NULL;
}

static void check_raw(void)
{
	const char *what;
	uint32_t i, all = incarnations();

	memset(top, 0, sizeof(top));
	what = log_raw(object->path, count_raw);
	if (what)
		wrong("in the object, %s", what);
	for (i = 0; i < all; i++) {
		if (top[i] < noted->got[i] && mode->ring)
			top[i] = noted->got[i];
		records += top[i];
		if (top[i] < noted->acknowledged[i])
			wrong("%u:%" PRIu64 " was acknowledged, %" PRIu64
			      " are there", i, noted->acknowledged[i], top[i]);
		if (top[i] > noted->acknowledged[i] + 1)
			wrong("of %u are %" PRIu64 " there, %" PRIu64
			      " were acknowledged", i, top[i],
			      noted->acknowledged[i]);
	}
}

static void check_verify(void)
{
	struct mmapdev_log_report report = { .sz = sizeof(report) };
	int ret = mmapdev_log_verify(object->dev, &report);

	if (ret)
		wrong("verify: %s", strerror(-ret));
	else if (report.problem != MMAPDEV_LOG_SOUND)
		wrong("verify: %s at %" PRIu64,
		      mmapdev_log_problem(report.problem), report.offset);
}

static void check_same(const uint64_t *last, const char *who)
{
	uint32_t i, all = incarnations();

	for (i = 0; i < all; i++)
		if (last[i] != top[i])
			wrong("%s got %" PRIu64 " of %u, not %" PRIu64, who,
			      last[i], i, top[i]);
}

/* It never waits: nobody is left to wait for. */
static void observe_all(struct mmapdev *dev)
{
	struct mmapdev_log_record record = { .sz = sizeof(record) };
	static uint64_t last[INCARNATIONS];
	struct mmapdev_log *log = open_log(dev, true);
	struct mmapdev_log_reader *reader = open_reader(log, 0);
	const struct entry *entry;
	int ret;

	memset(last, 0, sizeof(last));
	while (!(ret = mmapdev_log_read(reader, &record, 0))) {
		entry = entry_read(&record);
		if (!entry || !observed(last, entry))
			break;
	}
	if (ret && ret != -EAGAIN)
		wrong("an observer's last read: %s", strerror(-ret));
	if (!mode->ring)
		check_same(last, "an observer");
	mmapdev_log_reader_close(reader);
	mmapdev_log_close(log);
}

static void consume_all(struct mmapdev_log_reader *reader)
{
	struct mmapdev_log_record record = { .sz = sizeof(record) };
	const struct entry *entry;
	int ret;

	begin_consumption();
	while (!(ret = mmapdev_log_read(reader, &record, 0))) {
		entry = entry_read(&record);
		if (!entry || !consumed(entry))
			break;
	}
	if (ret && ret != -EAGAIN)
		wrong("a consumer's last read: %s", strerror(-ret));
	check_same(noted->got, "consumers");
}

/* One who comes when all are dead fills more than a ring holds. */
static void check_late(struct mmapdev_log *log,
		       struct mmapdev_log_reader *reader)
{
	struct mmapdev_log_record record = { .sz = sizeof(record) };
	struct mmapdev_log_writer *writer = open_writer(log);
	uint64_t n, all = 8 + 4 * mode->ring;
	const struct entry *entry;
	unsigned char bytes[2000];
	int ret = 0;

	for (n = 1; n <= all && !ret; n++) {
		entry_make(bytes, INCARNATIONS, n, sizeof(bytes));
		ret = mmapdev_log_append(writer, bytes, sizeof(bytes), 60000);
		if (!ret)
			ret = mmapdev_log_read(reader, &record, 60000);
		if (ret)
			break;
		entry = entry_of(record.data, record.length);
		if (!entry || entry->incarnation != INCARNATIONS ||
		    entry->sequence != n)
			wrong("what was appended last is not what was read");
	}
	if (ret)
		wrong("when all were dead: %s", strerror(-ret));
	mmapdev_log_writer_close(writer);
}

static void check(void)
{
	struct mmapdev *dev = reopen(object, O_RDWR);
	struct mmapdev_log_reader *reader;
	struct mmapdev_log *log;

	check_raw();
	/* Some batches end before there is a log. */
	if (!noted->wrong)
		observe_all(dev);
	if (!noted->wrong)
		check_verify();
	if (!noted->wrong) {
		log = open_log(dev, true);
		reader = open_reader(log, MMAPDEV_LOG_CONSUME);
		consume_all(reader);
		if (!noted->wrong)
			check_late(log, reader);
		mmapdev_log_reader_close(reader);
		mmapdev_log_close(log);
	}
	mmapdev_close(dev);
}

/* From then on a ring keeps what nobody has consumed. */
static void be_first_consumer(void)
{
	struct mmapdev *dev = reopen(object, O_RDWR);
	struct mmapdev_log *log = open_log(dev, true);

	mmapdev_log_reader_close(open_reader(log, MMAPDEV_LOG_CONSUME));
	mmapdev_log_close(log);
	mmapdev_close(dev);
}

static void batch(uint64_t most)
{
	unsigned int i, left = BATCH;

	memset(noted, 0, sizeof(*noted));
	need(mmapdev_resize(object->dev, 0), "resize");
	if (mode->ring)
		be_first_consumer();
	for (i = 0; i < PROCESSES; i++)
		start(i);
	for (; left && kills < most && !noted->full && !noted->wrong; left--)
		kill_some();
	kill_all((1u << PROCESSES) - 1);
	if (!noted->wrong)
		check();
	if (noted->wrong)
		printf("# %s, %s, seed %" PRIu64 ", after %" PRIu64
		       " kills: %s (and %u more)\n", mode->name, object->name,
		       seed, kills, noted->what, noted->wrong - 1);
}

static uint64_t wanted(void)
{
	const char *text = getenv("MMAPDEV_KILLS");

	if (text)
		return strtoull(text, NULL, 10);
	if (SANITIZED)
		return 200;
	if (!getenv("MMAPDEV_DEVICE"))
		return 5000;
	/* There are three kernels. */
	return strcmp(object->name, "device") ? 50 : 350;
}

static void test(struct object *on)
{
	uint64_t all, before, had, bad = 0;
	uint32_t i;

	object = on;
	all = wanted();
	for (i = 0; i < MODES; i++) {
		mode = &modes[i];
		before = kills;
		had = records;
		do {
			batch(before + all / MODES + 1);
			bad += noted->wrong;
		} while (!bad && kills < before + all / MODES + 1);
		is(bad, 0, "%s: of %" PRIu64 " killed all is there (%s)",
		   mode->name, kills - before, object->name);
		printf("# %" PRIu64 " records\n", records - had);
		bad = 0;
	}
}

int main(void)
{
	const char *text = getenv("MMAPDEV_SEED");

	seed = text ? strtoull(text, NULL, 10) :
		      (uint64_t)time(NULL) << 20 ^ getpid();
	dice = seed;
	parent = getpid();
	printf("# MMAPDEV_SEED=%" PRIu64 "\n", seed);
	noted = mmap(NULL, sizeof(*noted), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	need(noted == MAP_FAILED ? -errno : 0, "mmap");
	on_every_object(0, test);
	printf("# %" PRIu64 " SIGKILLs\n", kills);
	return done();
}
