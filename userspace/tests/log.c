// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * A log that nobody harms: what is appended is read, whole, once and in the
 * order of each writer, in every kind of log; it grows, wraps around, is cut and
 * goes on.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "log.h"

static const char *name; /* of the object, and the kind of log */
static char names[64];

static void test_lengths(struct object *o, const struct kind *kind)
{
	struct mmapdev_log *log = fresh(o, kind);
	struct mmapdev_log_reader *r = reader(log, 0);
	struct mmapdev_log_writer *w = writer(log);
	unsigned int wrong = 0;
	size_t length;

	for (length = 0; length <= MOST; length++) {
		if (length == 300)
			length = MOST - 20;
		wrong += !put(w, length, length);
		wrong += !next_is(r, length, length);
	}
	is(wrong, 0, "records of each length arrive (%s)", name);
	is(try_read(r, 0), -EAGAIN, "and no others (%s)", name);
	is(try_put(w, 0, MOST + 1, 0), -EMSGSIZE,
	   "no segment holds a longer one (%s)", name);
	is(try_put(w, 0, 0, 0), 0, "which does no harm (%s)", name);
	ok(next_is(r, 0, 0), "nothing is a record too (%s)", name);
	mmapdev_log_writer_close(w);
	mmapdev_log_reader_close(r);
	is(mmapdev_log_close(log), 0, "close (%s)", name);
}

static void test_record(struct object *o, const struct kind *kind)
{
	struct mmapdev_log_record record = { .sz = sizeof(record) };
	struct mmapdev_log *log = fresh(o, kind);
	struct mmapdev_log_reader *r = reader(log, 0), *second;
	struct mmapdev_log_writer *a = writer(log), *b = writer(log);
	uint32_t crc = 0;

	put(a, 1, 100);
	is(mmapdev_log_read(r, &record, 0), 0, "read (%s)", name);
	is(record.writer, 1, "the first writer has number 1 (%s)", name);
	is(record.pid, getpid(), "and this process (%s)", name);
	is(record.offset % 16, 0, "data is aligned to 16 (%s)", name);
	is(mmapdev_sum(o->dev, record.offset, 100, &crc), 0, "sum (%s)", name);
	is(crc, slow_crc32c(record.data, 100),
	   "and lies where the record says (%s)", name);
	put(b, 2, 0);
	is(mmapdev_log_read(r, &record, 0), 0, "read (%s)", name);
	is(record.writer, 2, "the second has number 2 (%s)", name);

	second = reader(log, 0);
	ok(next_is(second, 1, 100) && next_is(second, 2, 0),
	   "another reader gets them all too (%s)", name);
	record.sz = sizeof(record.sz);
	is(mmapdev_log_read(second, &record, 0), -EINVAL,
	   "a record without a size (%s)", name);
	is(mmapdev_log_close(log), -EBUSY, "nobody closes a log in use (%s)",
	   name);
	mmapdev_log_reader_close(second);
	mmapdev_log_writer_close(b);
	mmapdev_log_writer_close(a);
	mmapdev_log_reader_close(r);
	mmapdev_log_close(log);
}

static void test_claim(struct object *o, const struct kind *kind)
{
	struct mmapdev_log *log = fresh(o, kind);
	struct mmapdev_log_reader *r = reader(log, 0);
	struct mmapdev_log_writer *w = writer(log);
	void *data = NULL;

	is(mmapdev_log_commit(w, 0), -EINVAL, "nothing is claimed (%s)", name);
	is(mmapdev_log_abort(w), -EINVAL, "nor to be aborted (%s)", name);
	is(mmapdev_log_claim(w, 1000, 0, &data), 0, "claim (%s)", name);
	is((uintptr_t)data % 16, 0, "it is aligned to 16 (%s)", name);
	is(mmapdev_log_claim(w, 1, 0, &data), -EBUSY, "one at a time (%s)",
	   name);
	is(try_put(w, 0, 1, 0), -EBUSY, "nor may one append (%s)", name);
	is(mmapdev_log_commit(w, 1001), -EINVAL, "commit no more (%s)", name);
	is(try_read(r, 0), -EAGAIN, "what is claimed is not read (%s)", name);
	memset(data, 0xee, 1000);
	pattern(data, 10, 1);
	is(mmapdev_log_commit(w, 10), 0, "but less (%s)", name);
	ok(put(w, 2, 20), "append (%s)", name);
	ok(next_is(r, 1, 10) && next_is(r, 2, 20), "both are there (%s)", name);

	need(mmapdev_log_claim(w, 500, 0, &data), "claim");
	memset(data, 0xee, 500);
	is(mmapdev_log_abort(w), 0, "abort (%s)", name);
	is(mmapdev_log_commit(w, 0), -EINVAL, "it is over (%s)", name);
	ok(put(w, 3, 30), "append (%s)", name);
	ok(next_is(r, 3, 30), "what was aborted is not read (%s)", name);
	need(mmapdev_log_claim(w, MOST, 0, &data), "claim");
	memset(data, 0xee, MOST);
	is(mmapdev_log_commit(w, MOST - 1), 0,
	   "where the rest is not worth a pad (%s)", name);
	is(try_read(r, 0), 0, "it is read (%s)", name);
	need(mmapdev_log_claim(w, 500, 0, &data), "claim");
	memset(data, 0xee, 500);
	is(mmapdev_log_writer_close(w), 0, "close with a claim (%s)", name);
	is(report_of(o->dev).unfinished, 0, "leaves it to nobody (%s)", name);
	is(try_read(r, 0), -EAGAIN, "that is an abort (%s)", name);
	w = writer(log);
	ok(put(w, 4, 40) && next_is(r, 4, 40), "the next goes on (%s)", name);
	mmapdev_log_writer_close(w);
	mmapdev_log_reader_close(r);
	mmapdev_log_close(log);
	is(report_of(o->dev).problem, MMAPDEV_LOG_SOUND, "all is well (%s)",
	   name);
}

static void test_end(struct object *o, const struct kind *kind)
{
	struct mmapdev_log *log = fresh(o, kind);
	struct mmapdev_log_writer *a = writer(log), *b = writer(log);
	struct mmapdev_log_reader *r, *nothing = reader(log, MMAPDEV_LOG_END);
	unsigned int i, wrong = 0;

	for (i = 0; i < 7; i++)
		wrong += !put(a, i, 1000);
	put(b, 7, 10);
	r = reader(log, MMAPDEV_LOG_END);
	is(wrong, 0, "append (%s)", name);
	is(try_read(r, 0), -EAGAIN, "at the end nothing is to read (%s)", name);
	for (i = 0; i < 4; i++) {
		put(a, 10 + i, 1000);
		wrong += !next_is(r, 10 + i, 1000);
		put(b, 20 + i, 1000);
		wrong += !next_is(r, 20 + i, 1000);
	}
	is(wrong, 0, "but what comes from then on (%s)", name);
	is(try_read(r, 0), -EAGAIN, "and that alone (%s)", name);
	ok(!try_read(nothing, 0) || kind->ring,
	   "the end of an empty log is its beginning (%s)", name);
	mmapdev_log_reader_close(r);
	mmapdev_log_reader_close(nothing);
	mmapdev_log_writer_close(a);
	mmapdev_log_writer_close(b);
	mmapdev_log_close(log);
}

/* In a window of ten segments. */
static void test_growth(struct object *o, const struct kind *kind)
{
	struct mmapdev_log_opts opts = {
		.sz = sizeof(opts),
		.flags = kind->flags | MMAPDEV_LOG_CREATE,
		.segment = SEGMENT,
		.window = HEADER + 10 * SEGMENT,
	};
	struct mmapdev_log_writer *w;
	struct mmapdev_log_reader *r;
	struct mmapdev_log *log;
	unsigned int i, wrong = 0;

	mmapdev_resize(o->dev, 0);
	need(mmapdev_log_open(o->dev, &opts, &log), "open");
	w = writer(log);
	r = reader(log, 0);
	for (i = 0; i < 10; i++)
		wrong += !put(w, i, MOST);
	is(wrong, 0, "the object grows as it is filled (%s)", name);
	is(size_of(o->dev), HEADER + 10 * SEGMENT, "as far as it must (%s)",
	   name);
	is(try_put(w, 0, 0, 0), -ENOSPC, "and as far as it may (%s)", name);
	is(try_put(w, 0, 0, 0), -ENOSPC, "which is told each time (%s)", name);
	for (i = 0; i < 10; i++)
		wrong += !next_is(r, i, MOST);
	is(wrong, 0, "all that fitted is there (%s)", name);
	is(try_read(r, 0), -EAGAIN, "and nothing else (%s)", name);
	mmapdev_log_writer_close(w);
	mmapdev_log_reader_close(r);
	is(mmapdev_log_close(log), 0, "close (%s)", name);

	opts.window = WINDOW;
	need(mmapdev_log_open(o->dev, &opts, &log), "open");
	w = writer(log);
	r = reader(log, 0);
	ok(put(w, 10, 10), "with a larger window it goes on (%s)", name);
	for (i = 0; i < 10; i++)
		wrong += !next_is(r, i, MOST);
	ok(!wrong && next_is(r, 10, 10), "behind them (%s)", name);
	mmapdev_log_writer_close(w);
	mmapdev_log_reader_close(r);
	mmapdev_log_close(log);
}

/* A device has whole pages, a file any number of bytes. */
static uint64_t in_object(struct object *o, uint64_t size)
{
	uint64_t page = page_size();

	return strcmp(o->name, "device") ? size :
					   (size + page - 1) / page * page;
}

static void test_cut(struct object *o, const struct kind *kind)
{
	struct mmapdev_log *log = fresh(o, kind), *other;
	struct mmapdev_log_writer *w;
	struct mmapdev_log_reader *r;
	uint64_t end = HEADER;

	mmapdev_log_close(log);
	is(size_of(o->dev), HEADER, "an empty log is its header (%s)", name);
	log = open_log(o->dev, kind);
	other = open_log(o->dev, kind);
	w = writer(other);
	put(w, 1, 100);
	put(w, 2, 200);
	is(mmapdev_log_close(log), 0, "close while another writes (%s)", name);
	is(size_of(o->dev), HEADER + SEGMENT, "cuts nothing (%s)", name);
	mmapdev_log_writer_close(w);
	is(mmapdev_log_close(other), 0, "the last one closes (%s)", name);
	/* Its header, two records, and the word that ends them. */
	end += FIRST + 16 + 112 + 16 + 208 + 16;
	is(size_of(o->dev), in_object(o, end),
	   "the object ends behind the last record (%s)", name);
	is(report_of(o->dev).records, 2, "with both (%s)", name);

	log = open_log(o->dev, kind);
	r = reader(log, 0);
	ok(next_is(r, 1, 100) && next_is(r, 2, 200), "they are read (%s)",
	   name);
	is(try_read(r, 0), -EAGAIN, "to the end (%s)", name);
	other = open_log(o->dev, kind);
	w = writer(other);
	ok(put(w, 3, 3000), "it grows again (%s)", name);
	ok(next_is(r, 3, 3000), "for those who read meanwhile (%s)", name);
	is(info_of(log).segments, 1, "the segment was not full (%s)", name);
	mmapdev_log_writer_close(w);
	mmapdev_log_reader_close(r);
	mmapdev_log_close(other);
	mmapdev_log_close(log);
}

static void test_again(struct object *o, const struct kind *kind)
{
	struct mmapdev_log *log = fresh(o, kind);
	struct mmapdev_log_writer *w;
	struct mmapdev_log_reader *r;
	unsigned int i, n, wrong = 0;

	for (i = 0; i < 20; i++) {
		w = writer(log);
		wrong += !put(w, i, 60);
		mmapdev_log_writer_close(w);
		mmapdev_log_close(log);
		need(mmapdev_log_open(o->dev, NULL, &log), "open");
		r = reader(log, 0);
		for (n = 0; n <= i; n++)
			wrong += !next_is(r, n, 60);
		wrong += try_read(r, 0) != -EAGAIN;
		mmapdev_log_reader_close(r);
	}
	is(wrong, 0, "each writer goes on where one before was (%s)", name);
	is(info_of(log).segments, 1, "in one segment (%s)", name);
	is(info_of(log).writers, 20, "with a number of its own (%s)", name);
	mmapdev_log_close(log);
}

static void test_info(struct object *o, const struct kind *kind)
{
	struct mmapdev_log *log = fresh(o, kind);
	struct mmapdev_log_info info = info_of(log);
	struct mmapdev_log_slot slot = slot_of(log, 1);
	struct mmapdev_log_writer *w;
	struct mmapdev_log_reader *r;
	uint64_t since = info.created;

	is(info.flags, kind->flags, "info: flags (%s)", name);
	is(info.segment, SEGMENT, "info: segment (%s)", name);
	is(info.ring, kind->ring, "info: ring (%s)", name);
	is(info.slots, 64, "info: slots (%s)", name);
	is(info.version, 1, "info: version (%s)", name);
	is(info.segments + info.bytes + info.writers, 0, "info: none yet (%s)",
	   name);
	is(info.size, size_of(o->dev), "info: size (%s)", name);
	ok(info.created > 1700000000ull * 1000000000, "info: created (%s)",
	   name);
	is(slot.state, MMAPDEV_LOG_SLOT_FREE, "slot: free (%s)", name);

	w = writer(log);
	put(w, 1, 100);
	put(w, 2, 8);
	info = info_of(log);
	is(info.writers, 1, "info: a writer (%s)", name);
	is(info.segments, 1, "info: a segment (%s)", name);
	is(info.bytes, 16 + 112 + 16 + 16, "info: bytes (%s)", name);
	slot = slot_of(log, 1);
	is(slot.state, MMAPDEV_LOG_SLOT_OPEN, "slot: open (%s)", name);
	is(slot.pid, getpid(), "slot: pid (%s)", name);
	is(slot.writer, 1, "slot: writer (%s)", name);
	ok(slot.since > since, "slot: since (%s)", name);
	is(slot.segment, kind->flags & ORDERED ? 0 : HEADER,
	   "slot: segment (%s)", name);
	is(slot.blocked, 0, "slot: blocks nobody (%s)", name);
	mmapdev_log_writer_close(w);
	slot = slot_of(log, 1);
	is(slot.state, MMAPDEV_LOG_SLOT_CLOSED, "slot: closed (%s)", name);
	is(slot.pid, getpid(), "slot: pid of before (%s)", name);

	is(slot_of(log, 0).state, MMAPDEV_LOG_SLOT_FREE, "no consumer (%s)",
	   name);
	r = reader(log, MMAPDEV_LOG_CONSUME);
	slot = slot_of(log, 0);
	is(slot.state, MMAPDEV_LOG_SLOT_OPEN, "slot 0: open (%s)", name);
	is(slot.writer, 0, "slot 0: is no writer's (%s)", name);
	mmapdev_log_reader_close(r);
	is(slot_of(log, 0).state, MMAPDEV_LOG_SLOT_CLOSED, "slot 0: closed (%s)",
	   name);
	is(mmapdev_log_recover(log), 0, "nobody died (%s)", name);
	mmapdev_log_close(log);
}

static void test_consumer(struct object *o, const struct kind *kind)
{
	struct mmapdev_log *log = fresh(o, kind);
	struct mmapdev_log_writer *w = writer(log);
	struct mmapdev_log_reader *r = reader(log, MMAPDEV_LOG_CONSUME), *s;
	unsigned int i, wrong = 0;

	is(try_reader(log, MMAPDEV_LOG_CONSUME, &s), -EBUSY,
	   "there is one consumer (%s)", name);
	for (i = 0; i < 8; i++)
		wrong += !put(w, i, 1000);
	for (i = 0; i < 5; i++)
		wrong += !next_is(r, i, 1000);
	mmapdev_log_reader_close(r);
	r = reader(log, MMAPDEV_LOG_CONSUME);
	for (; i < 8; i++)
		wrong += !next_is(r, i, 1000);
	is(wrong, 0, "the next goes on where one closed (%s)", name);
	is(try_read(r, 0), -EAGAIN, "to the end (%s)", name);
	mmapdev_log_reader_close(r);
	mmapdev_log_writer_close(w);
	mmapdev_log_close(log);

	log = open_log(o->dev, kind);
	r = reader(log, MMAPDEV_LOG_CONSUME);
	is(try_read(r, 0), -EAGAIN, "nothing comes again (%s)", name);
	w = writer(log);
	for (i = 0; i < 40; i++) {
		wrong += !put(w, i, 1000);
		wrong += !next_is(r, i, 1000);
	}
	is(wrong, 0, "and then what is new (%s)", name);
	mmapdev_log_reader_close(r);
	mmapdev_log_writer_close(w);
	mmapdev_log_close(log);
}

/* As next_is(), where it may be told more than once that some are gone. */
static bool next_left(struct mmapdev_log_reader *r, unsigned int seed,
		      size_t length)
{
	struct mmapdev_log_record record = { .sz = sizeof(record) };
	int ret, n = 0;

	do {
		ret = mmapdev_log_read(r, &record, 0);
	} while (ret == -EOVERFLOW && n++ < PLACES);
	return !ret && is_record(&record, seed, length);
}

/* What nobody wants is overwritten, the oldest first. */
static void test_overwrite(struct object *o, const struct kind *kind)
{
	struct mmapdev_log *log = fresh(o, kind);
	struct mmapdev_log_writer *w = writer(log);
	struct mmapdev_log_reader *r = reader(log, 0), *late;
	unsigned int i, wrong = 0, first;

	wrong += !put(w, 0, MOST) || !next_is(r, 0, MOST);
	for (i = 1; i < 11; i++)
		wrong += !put(w, i, MOST);
	is(wrong, 0, "a ring takes all that comes (%s)", name);
	is(size_of(o->dev), HEADER + PLACES * SEGMENT, "and does not grow (%s)",
	   name);
	is(try_read(r, 0), -EOVERFLOW, "a slow reader misses some (%s)", name);
	late = reader(log, 0);
	for (first = 7; first < 9 && !next_is(late, first, MOST); first++) {
		mmapdev_log_reader_close(late);
		late = reader(log, 0);
	}
	ok(first < 9, "the oldest that is left (%s)", name);
	for (i = first + 1; i < 11; i++)
		wrong += !next_is(late, i, MOST);
	is(wrong, 0, "and all behind it (%s)", name);
	for (i = first; i < 11; i++)
		wrong += !next_left(r, i, MOST);
	is(wrong, 0, "the slow one goes on there too (%s)", name);
	is(try_read(r, 0), -EAGAIN, "to the end (%s)", name);
	mmapdev_log_reader_close(late);
	mmapdev_log_reader_close(r);
	mmapdev_log_writer_close(w);
	mmapdev_log_close(log);
}

/* Of the first thread. */
static unsigned int system_calls;

static void count_ours(enum wrapped call)
{
	if (call == W_SYSCALL && syscall(SYS_gettid) == getpid())
		system_calls++;
}

static struct mmapdev_log *shared_log;
static pid_t waiting; /* a thread, when it waits */

static void *append_one(void *arg)
{
	struct mmapdev_log_writer *w = arg;

	__atomic_store_n(&waiting, syscall(SYS_gettid), __ATOMIC_RELEASE);
	return (void *)(intptr_t)try_put(w, 100, MOST, -1);
}

static void until_waiting(void)
{
	while (!__atomic_load_n(&waiting, __ATOMIC_ACQUIRE))
		sched_yield();
	until_asleep(waiting);
	waiting = 0;
}

/* What a consumer has not read is not. */
static void test_full(struct object *o, const struct kind *kind)
{
	struct mmapdev_log *log = fresh(o, kind);
	struct mmapdev_log_writer *w = writer(log);
	struct mmapdev_log_reader *r = reader(log, MMAPDEV_LOG_CONSUME);
	unsigned int i, n, wrong = 0;
	pthread_t thread;
	void *ret;

	for (n = 0; n < 100 && put(w, n, MOST); n++)
		;
	ok(n >= PLACES - 1 && n <= PLACES, "a ring is full (%s)", name);
	is(try_put(w, 0, MOST, 0), -EAGAIN, "which is told (%s)", name);
	is(try_put(w, 0, MOST, 5), -ETIMEDOUT, "or waited for (%s)", name);
	wrong += !next_is(r, 0, MOST);
	is(try_put(w, 0, MOST, 0), -EAGAIN,
	   "the record that a consumer has is still there (%s)", name);

	need(-pthread_create(&thread, NULL, append_one, w), "thread");
	until_waiting();
	system_calls = 0;
	wrap_before(count_ours);
	for (i = 1; i < n; i++)
		wrong += !next_is(r, i, MOST);
	wrap_before(NULL);
	ok(system_calls > 0, "who waits for room is woken (%s)", name);
	is(try_read(r, 60000), 0, "what waited for room comes (%s)", name);
	pthread_join(thread, &ret);
	is((intptr_t)ret, 0, "room was made by the consumer (%s)", name);
	is(wrong, 0, "and nothing was lost (%s)", name);
	is(try_read(r, 0), -EAGAIN, "nor came twice (%s)", name);

	mmapdev_log_reader_close(r);
	for (n = 0; n < 100 && put(w, n, MOST); n++)
		;
	ok(n <= PLACES, "without its consumer a ring fills (%s)", name);
	mmapdev_log_writer_close(w);
	mmapdev_log_close(log);
}

static void *read_one(void *arg)
{
	__atomic_store_n(&waiting, syscall(SYS_gettid), __ATOMIC_RELEASE);
	return (void *)(intptr_t)try_read(arg, 60000);
}

static void on_signal(int sig)
{
	(void)sig;
}

static void interrupt_soon(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct itimerval timer = {
		.it_value.tv_usec = 5000,
		.it_interval.tv_usec = 5000,
	};

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

static void interrupt_no_more(void)
{
	struct itimerval none = { .it_value.tv_usec = 0 };

	setitimer(ITIMER_REAL, &none, NULL);
}

static void test_waits(struct object *o, const struct kind *kind)
{
	struct mmapdev_log *log = fresh(o, kind);
	struct mmapdev_log_writer *w = writer(log);
	struct mmapdev_log_reader *r = reader(log, 0);
	uint64_t then = milliseconds();
	unsigned int i, wrong = 0;
	pthread_t thread;
	void *ret;

	is(try_read(r, 20), -ETIMEDOUT, "a time is over (%s)", name);
	ok(milliseconds() - then >= 20, "not before (%s)", name);
	put(w, 0, 8);
	next_is(r, 0, 8);
	system_calls = 0;
	wrap_before(count_ours);
	put(w, 0, 8);
	is(system_calls, 0, "to append takes no system call (%s)", name);
	next_is(r, 0, 8);
	for (i = 0; i < 3; i++) {
		need(-pthread_create(&thread, NULL, read_one, r), "thread");
		until_waiting();
		system_calls = 0;
		wrong += !put(w, i, 8);
		wrong += system_calls != 1;
		pthread_join(thread, &ret);
		wrong += (intptr_t)ret != 0;
	}
	wrap_before(NULL);
	is(wrong, 0, "but to wake a reader that waits (%s)", name);
	interrupt_soon();
	is(try_read(r, -1), -EINTR, "or interrupted (%s)", name);
	interrupt_no_more();
	mmapdev_log_reader_close(r);
	if (kind->ring) {
		r = reader(log, MMAPDEV_LOG_CONSUME);
		while (put(w, 0, MOST))
			;
		interrupt_soon();
		is(try_put(w, 0, MOST, -1), -EINTR,
		   "so is a writer that waits (%s)", name);
		interrupt_no_more();
		mmapdev_log_reader_close(r);
	}
	mmapdev_log_writer_close(w);
	mmapdev_log_close(log);
}

#define WRITERS 4
#define EACH 1000

struct message {
	uint32_t who, n;
	unsigned char rest[120];
};

static void *append_many(void *arg)
{
	struct mmapdev_log_writer *w = writer(shared_log);
	struct message m = { .who = (uintptr_t)arg };
	int ret = 0;

	for (m.n = 0; m.n < EACH && !ret; m.n++) {
		memset(m.rest, m.n, sizeof(m.rest));
		ret = mmapdev_log_append(w, &m, 8 + m.n % 121, 60000);
	}
	mmapdev_log_writer_close(w);
	return (void *)(intptr_t)ret;
}

/* Whether it is whole, and the next of its writer. */
static bool in_turn(const struct mmapdev_log_record *record, uint32_t *next)
{
	const struct message *m = record->data;
	size_t i;

	if (record->length < 8 || m->who >= WRITERS || m->n != next[m->who] ||
	    record->length != 8 + m->n % 121)
		return false;
	for (i = 0; i < record->length - 8; i++)
		if (m->rest[i] != (unsigned char)m->n)
			return false;
	next[m->who]++;
	return true;
}

static void test_threads(struct object *o, const struct kind *kind)
{
	struct mmapdev_log_record record = { .sz = sizeof(record) };
	uint32_t next[WRITERS] = { 0 };
	struct mmapdev_log_reader *r;
	pthread_t thread[WRITERS];
	unsigned int i, wrong = 0;
	void *ret;

	shared_log = fresh(o, kind);
	r = reader(shared_log, kind->ring ? MMAPDEV_LOG_CONSUME : 0);
	for (i = 0; i < WRITERS; i++)
		need(-pthread_create(&thread[i], NULL, append_many,
				     (void *)(uintptr_t)i), "thread");
	for (i = 0; i < WRITERS * EACH; i++)
		if (mmapdev_log_read(r, &record, 60000) ||
		    !in_turn(&record, next))
			wrong++;
	is(wrong, 0, "of many writers each record, in its order (%s)", name);
	is(try_read(r, 0), -EAGAIN, "and once (%s)", name);
	for (i = 0; i < WRITERS; i++) {
		pthread_join(thread[i], &ret);
		wrong += ret != NULL;
	}
	is(wrong, 0, "they were told so (%s)", name);
	mmapdev_log_reader_close(r);
	is(mmapdev_log_close(shared_log), 0, "close (%s)", name);
	is(report_of(o->dev).problem, MMAPDEV_LOG_SOUND, "all is well (%s)",
	   name);
	if (!kind->ring)
		is(report_of(o->dev).records, WRITERS * EACH,
		   "and is there (%s)", name);
}

/* In an ordered log all readers see one order, whoever wrote when. */
static void test_order(struct object *o, const struct kind *kind)
{
	struct mmapdev_log *log = fresh(o, kind);
	struct mmapdev_log_writer *w[3];
	struct mmapdev_log_reader *r = reader(log, 0);
	unsigned int i, wrong = 0;

	for (i = 0; i < 3; i++)
		w[i] = writer(log);
	for (i = 0; i < 300; i++)
		wrong += !put(w[i * 7 % 3], i, i);
	for (i = 0; i < 300; i++)
		wrong += !next_is(r, i, i);
	is(wrong, 0, "the order is that of time (%s)", name);
	for (i = 0; i < 3; i++)
		mmapdev_log_writer_close(w[i]);
	mmapdev_log_reader_close(r);
	mmapdev_log_close(log);
}

/* A thread that puts pages in place changes nothing else. */
static void test_ahead(struct object *o, const struct kind *kind)
{
	struct mmapdev_log_opts opts = {
		.sz = sizeof(opts),
		.flags = kind->flags | MMAPDEV_LOG_CREATE | MMAPDEV_LOG_AHEAD,
	};
	struct mmapdev_log_writer *w;
	struct mmapdev_log_reader *r;
	struct mmapdev_log *log;
	unsigned int i, wrong = 0;

	mmapdev_resize(o->dev, 0);
	need(mmapdev_log_open(o->dev, &opts, &log), "open");
	is(info_of(log).segment, 64 * KIB, "segments are of 64 KiB (%s)", name);
	w = writer(log);
	r = reader(log, 0);
	for (i = 0; i < 500; i++) {
		wrong += !put(w, i, 2000);
		wrong += !next_is(r, i, 2000);
	}
	is(wrong, 0, "with pages put in place ahead (%s)", name);
	mmapdev_log_writer_close(w);
	mmapdev_log_reader_close(r);
	is(mmapdev_log_close(log), 0, "close (%s)", name);
	ok(size_of(o->dev) < HEADER + 17 * 64 * KIB,
	   "what was ahead is cut off (%s)", name);
}

#define SYNCERS 8

static struct syncer {
	struct mmapdev_log_writer *writer;
	pthread_t thread;
	pid_t tid;
} syncers[SYNCERS];
static unsigned int flushing;

/* The first flush ends when all others wait for it. */
static void hold_first(enum wrapped call)
{
	unsigned int i;
	pid_t tid;

	if (call != W_FSYNC ||
	    __atomic_fetch_add(&flushing, 1, __ATOMIC_RELAXED))
		return;
	for (i = 1; i < SYNCERS; i++) {
		do {
			sched_yield();
			tid = __atomic_load_n(&syncers[i].tid,
					      __ATOMIC_ACQUIRE);
		} while (!tid);
		until_asleep(tid);
	}
}

static void *sync_one(void *arg)
{
	struct syncer *s = arg;

	/* The others come when the first is at it. */
	while (s != syncers && !__atomic_load_n(&flushing, __ATOMIC_RELAXED))
		sched_yield();
	__atomic_store_n(&s->tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	return (void *)(intptr_t)mmapdev_log_sync(s->writer);
}

static void test_group(struct object *o, const struct kind *kind)
{
	struct mmapdev_log *log = fresh(o, kind);
	unsigned int i, wrong = 0;
	void *ret;

	flushing = 0;
	memset(syncers, 0, sizeof(syncers));
	for (i = 0; i < SYNCERS; i++) {
		syncers[i].writer = writer(log);
		put(syncers[i].writer, i, 100);
	}
	wrap_before(hold_first);
	for (i = 0; i < SYNCERS; i++)
		need(-pthread_create(&syncers[i].thread, NULL, sync_one,
				     &syncers[i]), "thread");
	for (i = 0; i < SYNCERS; i++) {
		pthread_join(syncers[i].thread, &ret);
		wrong += ret != NULL;
		mmapdev_log_writer_close(syncers[i].writer);
	}
	wrap_before(NULL);
	is(wrong, 0, "many sync at once (%s)", name);
	is(wrap_calls(W_FSYNC), 2, "who waits for one has it by the next (%s)",
	   name);
	mmapdev_log_close(log);
}

static void test_sync(struct object *o, const struct kind *kind)
{
	struct mmapdev_log *log = fresh(o, kind);
	struct mmapdev_log_writer *a = writer(log), *b = writer(log);

	is(mmapdev_log_sync(a), 0, "sync of nothing (%s)", name);
	is(wrap_calls(W_FSYNC), 0, "is nothing (%s)", name);
	put(a, 1, 100);
	put(b, 2, 100);
	is(mmapdev_log_sync(a), 0, "sync (%s)", name);
	is(wrap_calls(W_FSYNC), 1, "is one fsync (%s)", name);
	is(mmapdev_log_sync(a), 0, "sync again (%s)", name);
	is(wrap_calls(W_FSYNC), 1, "has nothing to do (%s)", name);
	is(mmapdev_log_sync(b), 0, "another's sync (%s)", name);
	put(a, 3, 100);
	put(b, 4, 100);
	wrap_fail(W_FSYNC, 1, EINTR);
	is(mmapdev_log_sync(a), -EINTR, "a signal may interrupt it (%s)", name);
	is(mmapdev_log_sync(a), 0, "and it be called again (%s)", name);
	put(a, 5, 100);
	wrap_fail(W_FSYNC, 1, EIO);
	is(mmapdev_log_sync(a), -EIO, "a disk fails (%s)", name);
	is(mmapdev_log_sync(a), -EIO, "what is lost stays lost (%s)", name);
	is(mmapdev_log_sync(b), -EIO, "for all (%s)", name);
	mmapdev_log_writer_close(a);
	mmapdev_log_writer_close(b);
	mmapdev_log_close(log);
	log = open_log(o->dev, kind);
	a = writer(log);
	put(a, 6, 100);
	is(mmapdev_log_sync(a), -EIO, "and who comes later (%s)", name);
	mmapdev_log_writer_close(a);
	mmapdev_log_close(log);
}

static void test_kind(struct object *o, const struct kind *kind)
{
	snprintf(names, sizeof(names), "%s, %s", o->name, kind->name);
	name = names;
	test_lengths(o, kind);
	test_record(o, kind);
	test_claim(o, kind);
	test_end(o, kind);
	test_again(o, kind);
	test_info(o, kind);
	test_consumer(o, kind);
	test_waits(o, kind);
	test_threads(o, kind);
	if (kind->ring) {
		test_overwrite(o, kind);
		test_full(o, kind);
	} else {
		test_growth(o, kind);
		test_cut(o, kind);
		test_ahead(o, kind);
	}
	if (kind->flags & ORDERED && !kind->ring)
		test_order(o, kind);
	if (kind->flags & CRC)
		test_sync(o, kind);
	if (kind->flags & CRC && !kind->ring)
		test_group(o, kind);
}

static void test_object(struct object *o)
{
	size_t i;

	for (i = 0; i < KINDS; i++)
		test_kind(o, &kinds[i]);
}

int main(void)
{
	on_every_object(0, test_object);
	return done();
}
