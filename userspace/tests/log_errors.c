// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * What a log refuses; what it says of bytes that are none of it, or damaged; and
 * that a call which fails half way leaves nothing and harms nothing.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"

static struct object *object;
static const char *name;
static const struct kind leased = { "leased", LEASED, 0 };
static const struct kind leased_crc = { "leased, crc", CRC, 0 };
static const struct kind ordered_crc = { "ordered, crc", ORDERED | CRC, 0 };
static const struct kind ring = { "ring", LEASED, PLACES };
static const struct kind ring_crc = { "ring, crc", CRC, PLACES };

/* Of the object, as bytes. */
static unsigned char *mem;
static struct mmapdev_map *mem_map;

static void look_in(void)
{
	need(mmapdev_map(object->dev, NULL, &mem_map), "map");
	mem = mmapdev_map_addr(mem_map);
}

static void look_away(void)
{
	mmapdev_unmap(mem_map);
	mem_map = NULL;
}

static int open_with(struct mmapdev *dev, uint32_t flags, uint32_t segment,
		     uint32_t places, uint64_t window)
{
	struct mmapdev_log_opts opts = {
		.sz = sizeof(opts),
		.flags = flags,
		.segment = segment,
		.ring = places,
		.window = window,
	};
	struct mmapdev_log *log = (void *)-1;
	int ret = mmapdev_log_open(dev, &opts, &log);

	if (!ret)
		mmapdev_log_close(log);
	else if (log != (void *)-1)
		return -EXFULL; /* it is to be left alone */
	return ret;
}

#define CREATE MMAPDEV_LOG_CREATE

static void test_options(void)
{
	struct { struct mmapdev_log_opts opts; uint64_t more; } longer = {
		.opts = { .sz = sizeof(longer), .flags = CREATE },
	};
	struct mmapdev *dev = object->dev;
	struct mmapdev_log *log;

	mmapdev_resize(dev, 0);
	is(mmapdev_log_open(NULL, NULL, &log), -EINVAL, "no object (%s)", name);
	is(mmapdev_log_open(dev, NULL, NULL), -EINVAL, "no result (%s)", name);
	is(open_with(dev, 1u << 31, 0, 0, 0), -EINVAL, "a flag (%s)", name);
	is(open_with(dev, CREATE, 5000, 0, 0), -EINVAL, "a size (%s)", name);
	is(open_with(dev, CREATE, 2048, 0, 0), -EINVAL, "small (%s)", name);
	is(open_with(dev, CREATE, 32 * MIB, 0, 0), -EINVAL, "large (%s)", name);
	is(open_with(dev, CREATE, 0, 1, 0), -EINVAL, "a ring of 1 (%s)", name);
	is(open_with(dev, CREATE, 0, 1025, 0), -EINVAL, "of 1025 (%s)", name);
	is(open_with(dev, CREATE, 0, 0, 4096), -ENOSPC, "no window (%s)", name);
	is(open_with(dev, CREATE, 4096, 8, HEADER + 7 * 4096), -ENOSPC,
	   "a ring is whole (%s)", name);
	longer.opts.sz = offsetof(struct mmapdev_log_opts, reserved);
	is(mmapdev_log_open(dev, &longer.opts, &log), -EINVAL,
	   "options too short (%s)", name);
	longer.opts.sz = sizeof(longer);
	longer.more = 1;
	is(mmapdev_log_open(dev, &longer.opts, &log), -E2BIG,
	   "of a later release (%s)", name);
	longer.more = 0;
	longer.opts.reserved = 1;
	is(mmapdev_log_open(dev, &longer.opts, &log), -EINVAL,
	   "reserved (%s)", name);
	longer.opts.reserved = 0;
	mmapdev_resize(dev, 0);
	is(open_with(dev, 0, 0, 0, 0), -ENODATA, "no log (%s)", name);
	is(mmapdev_log_open(dev, &longer.opts, &log), 0,
	   "a longer struct of zeros (%s)", name);
	is(mmapdev_log_close(log), 0, "close (%s)", name);
	is(mmapdev_log_close(NULL), 0, "close nobody's (%s)", name);

	mmapdev_resize(dev, 0);
	is(open_with(dev, CREATE, 4096, 0, 0), 0, "create (%s)", name);
	is(open_with(dev, CREATE, 8192, 0, 0), -EEXIST, "another (%s)", name);
	is(open_with(dev, CREATE, 0, 2, 0), -EEXIST, "a ring (%s)", name);
	is(open_with(dev, CRC, 0, 0, 0), -EEXIST, "with sums (%s)", name);
	is(open_with(dev, ORDERED, 0, 0, 0), -EEXIST, "in order (%s)", name);
	is(open_with(dev, CREATE, 4096, 0, 0), 0, "the same (%s)", name);
}

static void test_access(void)
{
	struct mmapdev *ro, *wo;
	struct mmapdev_log *log;
	struct mmapdev_log_writer *w;
	struct mmapdev_log_reader *r;

	mmapdev_resize(object->dev, 0);
	mmapdev_resize(object->dev, 64 * KIB);
	ro = reopen(object, O_RDONLY);
	wo = reopen(object, O_WRONLY);
	is(open_with(wo, 0, 0, 0, 0), -EBADF, "a log is read (%s)", name);
	is(open_with(ro, CREATE, 0, 0, 0), -EBADF, "and written (%s)", name);
	log = fresh(object, &ring_crc);
	w = writer(log);
	put(w, 1, 10);
	is(open_with(ro, MMAPDEV_LOG_AHEAD, 0, 0, 0), -EBADF,
	   "nobody who reads is ahead (%s)", name);
	mmapdev_log_writer_close(w);
	mmapdev_log_close(log);

	need(mmapdev_log_open(ro, NULL, &log), "open");
	is(mmapdev_log_writer_open(log, &w), -EBADF, "writer (%s)", name);
	is(try_reader(log, MMAPDEV_LOG_CONSUME, &r), -EBADF, "consumer (%s)",
	   name);
	is(mmapdev_log_recover(log), -EBADF, "recover (%s)", name);
	is(mmapdev_log_evict(log, 1), -EBADF, "evict (%s)", name);
	is(try_reader(log, 0, &r), 0, "who may not write may read (%s)", name);
	ok(next_is(r, 1, 10), "what there is (%s)", name);
	is(try_read(r, 0), -EAGAIN, "and no more (%s)", name);
	is(try_read(r, 15), -ETIMEDOUT, "or wait (%s)", name);
	mmapdev_log_reader_close(r);
	is(mmapdev_log_close(log), 0, "close (%s)", name);
	is(report_of(ro).problem, MMAPDEV_LOG_SOUND, "and verify (%s)", name);
	mmapdev_close(ro);
	mmapdev_close(wo);
}

static void *append_later(void *arg)
{
	usleep(1000);
	put(arg, 2, 20);
	return NULL;
}

/* It cannot ask to be woken. */
static void test_observer(const struct kind *kind)
{
	struct mmapdev *ro;
	struct mmapdev_log *log = fresh(object, kind), *seen;
	struct mmapdev_log_writer *w = writer(log);
	struct mmapdev_log_reader *r;
	unsigned int i, wrong = 0;
	pthread_t thread;

	ro = reopen(object, O_RDONLY);
	need(mmapdev_log_open(ro, NULL, &seen), "open");
	r = reader(seen, 0);
	is(try_read(r, 0), -EAGAIN, "an observer (%s)", name);
	put(w, 1, 10);
	ok(next_is(r, 1, 10), "sees what comes (%s)", name);
	pthread_create(&thread, NULL, append_later, w);
	is(try_read(r, 60000), 0, "and waits for it (%s)", name);
	pthread_join(thread, NULL);
	for (i = 0; i < 30; i++) {
		wrong += !put(w, i, 1000);
		wrong += !next_is(r, i, 1000);
	}
	is(wrong, 0, "however long the log becomes (%s)", name);
	mmapdev_log_reader_close(r);
	mmapdev_log_close(seen);
	mmapdev_log_writer_close(w);
	mmapdev_log_close(log);
	mmapdev_close(ro);
}

static void test_arguments(void)
{
	struct mmapdev_log_reader_opts opts = { .sz = sizeof(opts) };
	struct mmapdev_log_record record = { .sz = 5000 };
	struct mmapdev_log_report report = { .sz = 5000 };
	struct mmapdev_log_info info = { .sz = 5000 };
	struct mmapdev_log_slot slot = { .sz = 5000 };
	struct mmapdev_log *log = fresh(object, &leased);
	struct mmapdev_log_writer *w = writer(log);
	struct mmapdev_log_reader *r = reader(log, 0);
	void *data;

	is(mmapdev_log_writer_open(NULL, &w), -EINVAL, "writer (%s)", name);
	is(mmapdev_log_writer_open(log, NULL), -EINVAL, "writer (%s)", name);
	is(mmapdev_log_writer_close(NULL), 0, "writer (%s)", name);
	is(mmapdev_log_append(NULL, "", 1, 0), -EINVAL, "append (%s)", name);
	is(mmapdev_log_append(w, NULL, 1, 0), -EINVAL, "append (%s)", name);
	is(mmapdev_log_append(w, "", 1, -2), -EINVAL, "append (%s)", name);
	is(mmapdev_log_append(w, "", SIZE_MAX, 0), -EMSGSIZE, "append (%s)",
	   name);
	is(mmapdev_log_claim(NULL, 1, 0, &data), -EINVAL, "claim (%s)", name);
	is(mmapdev_log_claim(w, 1, 0, NULL), -EINVAL, "claim (%s)", name);
	is(mmapdev_log_claim(w, 1, -2, &data), -EINVAL, "claim (%s)", name);
	is(mmapdev_log_claim(w, MOST + 1, 0, &data), -EMSGSIZE, "claim (%s)",
	   name);
	is(mmapdev_log_commit(NULL, 0), -EINVAL, "commit (%s)", name);
	is(mmapdev_log_abort(NULL), -EINVAL, "abort (%s)", name);
	is(mmapdev_log_sync(NULL), -EINVAL, "sync (%s)", name);
	is(mmapdev_log_sync(w), -EOPNOTSUPP, "no sync without sums (%s)", name);

	is(mmapdev_log_reader_open(NULL, NULL, &r), -EINVAL, "reader (%s)",
	   name);
	is(mmapdev_log_reader_open(log, NULL, NULL), -EINVAL, "reader (%s)",
	   name);
	is(try_reader(log, 1u << 31, &r), -EINVAL, "reader (%s)", name);
	is(try_reader(log, MMAPDEV_LOG_CONSUME | MMAPDEV_LOG_END, &r), -EINVAL,
	   "a consumer does not begin at the end (%s)", name);
	opts.reserved = 1;
	is(mmapdev_log_reader_open(log, &opts, &r), -EINVAL, "reader (%s)",
	   name);
	opts.sz = 5000;
	is(mmapdev_log_reader_open(log, &opts, &r), -E2BIG, "reader (%s)",
	   name);
	opts.sz = 0;
	is(mmapdev_log_reader_open(log, &opts, &r), -EINVAL, "reader (%s)",
	   name);
	is(mmapdev_log_reader_close(NULL), 0, "reader (%s)", name);
	is(mmapdev_log_read(NULL, &record, 0), -EINVAL, "read (%s)", name);
	is(mmapdev_log_read(r, NULL, 0), -EINVAL, "read (%s)", name);
	is(mmapdev_log_read(r, &record, -2), -EINVAL, "read (%s)", name);
	put(w, 1, 1);
	is(mmapdev_log_read(r, &record, 0), -E2BIG, "read (%s)", name);
	ok(next_is(r, 1, 1), "which reads nothing (%s)", name);

	is(mmapdev_log_get_info(NULL, &info), -EINVAL, "info (%s)", name);
	is(mmapdev_log_get_info(log, NULL), -EINVAL, "info (%s)", name);
	is(mmapdev_log_get_info(log, &info), -E2BIG, "info (%s)", name);
	info.sz = 1;
	is(mmapdev_log_get_info(log, &info), -EINVAL, "info (%s)", name);
	is(mmapdev_log_get_slot(NULL, 0, &slot), -EINVAL, "slot (%s)", name);
	is(mmapdev_log_get_slot(log, 0, NULL), -EINVAL, "slot (%s)", name);
	is(mmapdev_log_get_slot(log, 64, &slot), -EINVAL, "slot (%s)", name);
	is(mmapdev_log_get_slot(log, 0, &slot), -E2BIG, "slot (%s)", name);
	slot.sz = 1;
	is(mmapdev_log_get_slot(log, 0, &slot), -EINVAL, "slot (%s)", name);
	is(mmapdev_log_recover(NULL), -EINVAL, "recover (%s)", name);
	is(mmapdev_log_verify(NULL, &report), -EINVAL, "verify (%s)", name);
	is(mmapdev_log_verify(object->dev, NULL), -EINVAL, "verify (%s)", name);
	is(mmapdev_log_verify(object->dev, &report), -E2BIG, "verify (%s)",
	   name);
	report.sz = 1;
	is(mmapdev_log_verify(object->dev, &report), -EINVAL, "verify (%s)",
	   name);
	mmapdev_log_writer_close(w);
	mmapdev_log_reader_close(r);
	mmapdev_log_close(log);
}

static void is_problem(uint32_t problem, uint64_t offset, int error,
		       const char *what)
{
	struct mmapdev_log_report report = report_of(object->dev);

	is(report.problem, problem, "%s: %s (%s)", what,
	   mmapdev_log_problem(problem), name);
	is(report.offset, offset, "%s: at (%s)", what, name);
	is(open_with(object->dev, 0, 0, 0, 0), error, "%s: open (%s)", what,
	   name);
}

/* In place of the 4 bytes at @at, @value; and back again. */
static void is_damage(uint64_t at, uint32_t value, uint32_t problem, int error)
{
	uint32_t *word, before;

	look_in();
	word = (uint32_t *)(void *)(mem + at);
	before = *word;
	*word = value;
	is_problem(problem, 0, error, "superblock");
	*word = before;
	look_away();
	is(report_of(object->dev).problem, MMAPDEV_LOG_SOUND,
	   "that was the damage (%s)", name);
}

/* As lib/log.h has it: magic, version, order, header, segment, ring, flags. */
static void test_superblock(void)
{
	mmapdev_resize(object->dev, 0);
	is_problem(MMAPDEV_LOG_NOTHING, 0, -ENODATA, "empty");
	mmapdev_resize(object->dev, 64 * KIB);
	is_problem(MMAPDEV_LOG_NOTHING, 0, -ENODATA, "zeros");
	mmapdev_fill(object->dev, 20000, 8, 0x4242);
	is(report_of(object->dev).problem, MMAPDEV_LOG_NOTHING,
	   "verify looks no further (%s)", name);
	is(open_with(object->dev, CREATE, 0, 0, 0), -EMEDIUMTYPE,
	   "who is to write does (%s)", name);
	mmapdev_fill(object->dev, 8192, 8, 0x4242);
	is_problem(MMAPDEV_LOG_FOREIGN, 0, -EMEDIUMTYPE, "others' bytes");
	is(open_with(object->dev, CREATE, 0, 0, 0), -EMEDIUMTYPE,
	   "are not overwritten (%s)", name);

	mmapdev_log_close(fresh(object, &ring_crc));
	is_damage(0, 0x21212121, MMAPDEV_LOG_FOREIGN, -EMEDIUMTYPE);
	is_damage(8, 2, MMAPDEV_LOG_VERSION, -EPROTONOSUPPORT);
	is_damage(12, 0x04030201, MMAPDEV_LOG_ENDIAN, -EPROTONOSUPPORT);
	is_damage(12, 0x11111111, MMAPDEV_LOG_HEADER, -EBADMSG);
	is_damage(20, 8192, MMAPDEV_LOG_HEADER, -EBADMSG);
	is_damage(32, 0, MMAPDEV_LOG_HEADER, -EBADMSG);
	mmapdev_resize(object->dev, 16 * KIB);
	is_problem(MMAPDEV_LOG_SHORT, 0, -EBADMSG, "cut");
}

static void test_problems(void)
{
	unsigned int i, k, same = 0;

	for (i = 0; i <= MMAPDEV_LOG_CHECKSUM + 1; i++)
		for (k = 0; k < i; k++)
			same += !strcmp(mmapdev_log_problem(i),
					mmapdev_log_problem(k));
	is(same, 0, "each problem has words of its own (%s)", name);
	ok(!strcmp(mmapdev_log_problem(UINT32_MAX),
		   mmapdev_log_problem(MMAPDEV_LOG_CHECKSUM + 1)),
	   "but those that are none (%s)", name);
}

/* Two segments; the first has three records, of 1000 bytes. */
static struct mmapdev_log *with_records(const struct kind *kind)
{
	struct mmapdev_log *log = fresh(object, kind);
	struct mmapdev_log_writer *w = writer(log);
	unsigned int i, wrong = 0;

	for (i = 0; i < 4; i++)
		wrong += !put(w, i, 1000);
	is(wrong, 0, "append (%s)", name);
	mmapdev_log_writer_close(w);
	look_in();
	return log;
}

#define EXTENT 1024 /* of a record of 1000 bytes */
#define RECORD(n) (HEADER + FIRST + (n) * EXTENT)

static void done_with(struct mmapdev_log *log)
{
	look_away();
	mmapdev_log_close(log);
}

static void is_report(uint32_t problem, uint64_t at, unsigned int records)
{
	struct mmapdev_log_report report = report_of(object->dev);

	is(report.problem, problem, "%s (%s)", mmapdev_log_problem(problem),
	   name);
	is(report.offset, at, "where it is (%s)", name);
	is(report.problems, problem != MMAPDEV_LOG_SOUND, "how many (%s)",
	   name);
	is(report.records, records, "the others are sound (%s)", name);
	is(report.bytes, 1000 * records, "all their bytes (%s)", name);
}

static void test_checksum(const struct kind *kind)
{
	struct mmapdev_log *log = with_records(kind);
	struct mmapdev_log_reader *r = reader(log, 0);
	unsigned int i, wrong = 0;

	is_report(MMAPDEV_LOG_SOUND, 0, 4);
	for (i = 16; i < 16 + 1000; i += 41) {
		mem[RECORD(1) + i] ^= 0x10;
		wrong += report_of(object->dev).problem != MMAPDEV_LOG_CHECKSUM;
		mem[RECORD(1) + i] ^= 0x10;
	}
	is(wrong, 0, "a bit that is wrong is seen (%s)", name);
	mem[RECORD(1) + 500] ^= 1;
	is_report(MMAPDEV_LOG_CHECKSUM, RECORD(1), 3);
	ok(next_is(r, 0, 1000), "a record (%s)", name);
	is(try_read(r, 0), -EBADMSG, "a damaged one (%s)", name);
	ok(next_is(r, 2, 1000) && next_is(r, 3, 1000), "and the others (%s)",
	   name);
	mmapdev_log_reader_close(r);
	done_with(log);
}

static void test_record(const struct kind *kind)
{
	struct mmapdev_log *log = with_records(kind);
	struct mmapdev_log_reader *r = reader(log, 0);
	uint64_t *word = (uint64_t *)(void *)(mem + RECORD(1)), before = *word;

	*word = before | (uint64_t)1 << 60;
	is_report(MMAPDEV_LOG_RECORD, RECORD(1), 2);
	ok(next_is(r, 0, 1000), "a record (%s)", name);
	is(try_read(r, 0), -EBADMSG, "where one has no end (%s)", name);
	ok(next_is(r, 3, 1000), "the next segment is read (%s)", name);
	is(try_read(r, 0), -EAGAIN, "to its end (%s)", name);
	mmapdev_log_reader_close(r);
	*word = before | 7;
	is_report(MMAPDEV_LOG_RECORD, RECORD(1), 2);
	done_with(log);
}

static void test_segment(void)
{
	struct mmapdev_log *log = with_records(&leased_crc);
	struct mmapdev_log_reader *r = reader(log, 0);
	uint64_t *word = (uint64_t *)(void *)(mem + HEADER);
	uint64_t *next = (uint64_t *)(void *)(mem + AT_NEXT);

	*word |= (uint64_t)0x7fff << 9;
	is_report(MMAPDEV_LOG_SEGMENT, HEADER, 1);
	is(try_read(r, 0), -EBADMSG, "a segment without an end (%s)", name);
	ok(next_is(r, 3, 1000), "the next is read (%s)", name);
	mmapdev_log_reader_close(r);
	done_with(log);

	log = with_records(&leased_crc);
	(*next)++;
	is_report(MMAPDEV_LOG_SHORT, HEADER + 2 * SEGMENT, 4);
	r = reader(log, 0);
	is(try_read(r, 0) + try_read(r, 0) + try_read(r, 0) + try_read(r, 0), 0,
	   "of a log that ends early (%s)", name);
	is(try_read(r, 0), -EBADMSG, "that is said (%s)", name);
	is(try_read(r, 0), -EAGAIN, "once (%s)", name);
	mmapdev_log_reader_close(r);
	(*next)--;
	done_with(log);
}

static void test_locks(void)
{
	struct mmapdev_log *log = fresh(object, &leased_crc);
	struct mmapdev_log_writer *w;

	mmapdev_fill(object->dev, AT_CONTROL, 64, 0x55);
	is(mmapdev_log_writer_open(log, &w), -EBADMSG, "no lock (%s)", name);
	is(open_with(object->dev, 0, 0, 0, 0), -EBADMSG, "nor for others (%s)",
	   name);
	is(mmapdev_log_close(log), -EBADMSG, "nor to close (%s)", name);
}

/* The words by which writers find their way. */
static void test_words(void)
{
	struct mmapdev_log *log = with_records(&ordered_crc);
	struct mmapdev_log_writer *w = writer(log);
	uint64_t *word = (uint64_t *)(void *)(mem + RECORD(1));
	uint64_t *tail = (uint64_t *)(void *)(mem + HEADER + SEGMENT + 8);

	*word |= (uint64_t)1 << 60;
	is(mmapdev_log_recover(log), -EBADMSG, "a record without an end (%s)",
	   name);
	*tail += 8;
	is(mmapdev_log_append(w, "", 1, 0), -EBADMSG, "an odd tail (%s)",
	   name);
	mmapdev_log_writer_close(w);
	done_with(log);
}

/* Of a writer of this machine, but of another boot. */
static void test_crash(void)
{
	struct mmapdev_log *log = with_records(&ordered_crc);
	struct mmapdev_log_writer *w = writer(log);

	*(uint64_t *)(void *)(mem + AT_SLOTS + SLOT + AT_BOOT) ^= 1;
	is(mmapdev_log_recover(log), 1, "who was before the boot is dead (%s)",
	   name);
	is(mmapdev_log_append(w, "", 1, 0), -ESTALE, "whoever says so (%s)",
	   name);
	mmapdev_log_writer_close(w);
	done_with(log);
}

/* Below: the @n-th call of a kind fails. */
static struct {
	enum wrapped call;
	int n, err;
} plan;

static void fail_planned(enum wrapped call)
{
	if (call == plan.call && !--plan.n)
		wrap_fail(call, 1, plan.err);
}

static int fds(void)
{
	int n = 0, fd;

	for (fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* KiB of address space that are of the object, or hold a handle. */
static long maps(void)
{
	char line[512];
	FILE *smaps = fopen("/proc/self/smaps", "r");
	bool ours = false;
	long sum = 0, size = 0;

	need(smaps ? 0 : -errno, "smaps");
	while (fgets(line, sizeof(line), smaps)) {
		if (strstr(line, "memfd:") || strstr(line, "mmapdev"))
			ours = true;
		sscanf(line, "Size: %ld", &size);
		if (strncmp(line, "VmFlags:", 8))
			continue;
		if (ours || strstr(line, " wf"))
			sum += size;
		ours = false;
	}
	fclose(smaps);
	return sum;
}

static struct mmapdev_log *the_log;
static struct mmapdev_log_writer *the_writer;

static int do_open(void)
{
	struct mmapdev_log *log;
	int ret = try_log(object->dev, &ring_crc, &log);

	return ret ? ret : mmapdev_log_close(log);
}

static int do_writer(void)
{
	struct mmapdev_log_writer *w;
	int ret = mmapdev_log_writer_open(the_log, &w);

	return ret ? ret : mmapdev_log_writer_close(w);
}

static int do_reader(void)
{
	struct mmapdev_log_reader *r;
	int ret = mmapdev_log_reader_open(the_log, NULL, &r);

	return ret ? ret : mmapdev_log_reader_close(r);
}

static int do_append(void)
{
	return try_put(the_writer, 0, MOST, 0);
}

static int do_info(void)
{
	struct mmapdev_log_info info = { .sz = sizeof(info) };

	return mmapdev_log_get_info(the_log, &info);
}

static int do_recover(void)
{
	return mmapdev_log_recover(the_log);
}

static int do_evict(void)
{
	int ret = mmapdev_log_evict(the_log, 60);

	return ret == -ESRCH ? 0 : ret;
}

static int do_verify(void)
{
	struct mmapdev_log_report report = { .sz = sizeof(report) };

	return mmapdev_log_verify(object->dev, &report);
}

static void anew(void)
{
	mmapdev_resize(object->dev, 0);
}

static void nothing(void)
{
}

/* Each call of a kind fails in its turn, until there is none left to. */
static void fail_each(const char *what, void (*before)(void), int (*call)(void),
		      enum wrapped kind, int err, int wanted, int least)
{
	int n, ret = 0, left = fds(), wrong = 0, leaks = 0, after = 0;
	long mapped = maps();
	int first = 0;

	for (n = 1; n < 100; n++) {
		before();
		wrap_reset();
		plan.call = kind;
		plan.n = n;
		plan.err = err;
		wrap_before(fail_planned);
		ret = call();
		wrap_before(NULL);
		wrap_reset();
		if (plan.n > 0)
			break;
		if (n == 1)
			first = ret;
		wrong += ret != wanted;
		leaks += fds() != left || maps() != mapped;
		after += call() != 0;
	}
	is(first, wanted, "%s: it fails (%s)", what, name);
	is(wrong, 0, "%s: so it does each time (%s)", what, name);
	is(ret, 0, "%s: at last all goes well (%s)", what, name);
	ok(n > least, "%s: after %d failures (%s)", what, n - 1, name);
	is(leaks, 0, "%s: and left nothing (%s)", what, name);
	is(after, 0, "%s: not even a trouble (%s)", what, name);
}

static void test_open_fails(void)
{
	bool file = strcmp(name, "device");

	fail_each("open: mmap", anew, do_open, W_MMAP, ENOMEM, -ENOMEM, 2);
	fail_each("open: madvise", anew, do_open, W_MADVISE, ENOMEM, -ENOMEM,
		  3);
	fail_each("open: malloc", anew, do_open, W_MALLOC, ENOMEM, -ENOMEM, 1);
	fail_each("open: calloc", anew, do_open, W_CALLOC, ENOMEM, -ENOMEM, 1);
	fail_each("open: open", anew, do_open, W_OPEN, EMFILE, -EMFILE, 4);
	fail_each("open: pread", anew, do_open, W_PREAD, EIO, -EIO, 2);
	fail_each("open: futex", anew, do_open, W_SYSCALL, EFAULT, -EOPNOTSUPP,
		  2);
	anew();
	wrap_fail(W_OPEN, 1, ENOENT);
	is(do_open(), -ENOENT, "open: no /proc (%s)", name);
	wrap_fail(W_PREAD, 1, 0);
	is(do_open(), -EIO, "open: nothing in /proc (%s)", name);
	wrap_reset();
	if (!file)
		return;
	fail_each("open: fstat", anew, do_open, W_FSTAT, EIO, -EIO, 3);
	fail_each("open: fallocate", anew, do_open, W_FALLOCATE, ENOSPC,
		  -ENOSPC, 2);
}

/* Closed it is, though not cut. */
static void test_close_fails(enum wrapped call)
{
	struct mmapdev_log_writer *w;
	struct mmapdev_log *log;
	int left = fds();

	log = fresh(object, &leased);
	w = writer(log);
	put(w, 1, 10);
	mmapdev_log_writer_close(w);
	wrap_fail(call, 1, EIO);
	is(mmapdev_log_close(log), -EIO, "close: it fails (%s)", name);
	wrap_reset();
	is(fds(), left, "close: and left nothing (%s)", name);
	log = open_log(object->dev, &leased);
	is(info_of(log).segments, 1, "close: all is there (%s)", name);
	is(mmapdev_log_close(log), 0, "close: the next works (%s)", name);
}

static void test_handles_fail(void)
{
	bool file = strcmp(name, "device");

	the_log = fresh(object, &ring_crc);
	fail_each("writer: mmap", nothing, do_writer, W_MMAP, ENOMEM, -ENOMEM,
		  1);
	fail_each("writer: madvise", nothing, do_writer, W_MADVISE, ENOMEM,
		  -ENOMEM, 1);
	fail_each("reader: mmap", nothing, do_reader, W_MMAP, ENOMEM, -ENOMEM,
		  1);
	fail_each("reader: madvise", nothing, do_reader, W_MADVISE, ENOMEM,
		  -ENOMEM, 1);
	fail_each("reader: malloc", nothing, do_reader, W_MALLOC, ENOMEM,
		  -ENOMEM, 1);
	fail_each("reader: calloc", nothing, do_reader, W_CALLOC, ENOMEM,
		  -ENOMEM, 2);
	fail_each("verify: mmap", nothing, do_verify, W_MMAP, ENOMEM, -ENOMEM,
		  1);
	fail_each("verify: calloc", nothing, do_verify, W_CALLOC, ENOMEM,
		  -ENOMEM, 1);
	fail_each("verify: malloc", nothing, do_verify, W_MALLOC, ENOMEM,
		  -ENOMEM, 1);
	if (file) {
		fail_each("writer: fstat", nothing, do_writer, W_FSTAT, EIO,
			  -EIO, 1);
		fail_each("info: fstat", nothing, do_info, W_FSTAT, EIO, -EIO,
			  1);
		fail_each("recover: fstat", nothing, do_recover, W_FSTAT, EIO,
			  -EIO, 1);
	}
	mmapdev_log_close(the_log);
}

/* To ask if another lives takes a descriptor. */
static void test_asking_fails(void)
{
	struct mmapdev_log_reader *r;

	the_log = fresh(object, &leased);
	the_writer = writer(the_log);
	fail_each("recover: pidfd", nothing, do_recover, W_SYSCALL, EMFILE,
		  -EMFILE, 1);
	fail_each("recover: poll", nothing, do_recover, W_POLL, ENOMEM, -ENOMEM,
		  1);
	fail_each("recover: open", nothing, do_recover, W_OPEN, ENFILE, -ENFILE,
		  1);
	wrap_fail(W_SYSCALL, 1, ENOSYS);
	is(mmapdev_log_recover(the_log), -ENOSYS, "an old kernel (%s)", name);
	wrap_reset();
	r = reader(the_log, MMAPDEV_LOG_CONSUME);
	wrap_fail(W_SYSCALL, 1, EMFILE);
	is(try_reader(the_log, MMAPDEV_LOG_CONSUME, &r), -EMFILE,
	   "who asks for the consumer's place (%s)", name);
	wrap_reset();
	mmapdev_log_reader_close(r);
	mmapdev_log_writer_close(the_writer);
	mmapdev_log_close(the_log);
}

static void test_growth_fails(const struct kind *kind)
{
	struct mmapdev_log_reader *r;
	unsigned int i, n = 0;

	the_log = fresh(object, kind);
	the_writer = writer(the_log);
	r = reader(the_log, 0);
	if (strcmp(name, "device")) {
		fail_each("append: fallocate", nothing, do_append, W_FALLOCATE,
			  ENOSPC, -ENOSPC, 1);
		for (i = 0; i < 10; i++)
			n += !try_read(r, 0);
		is(n, 2, "what failed was not appended (%s)", name);
		fail_each("evict: fstat", nothing, do_evict, W_FSTAT, EIO,
			  -EIO, 1);
	}
	mmapdev_log_writer_close(the_writer);
	mmapdev_log_reader_close(r);
	is(mmapdev_log_close(the_log), 0, "close (%s)", name);
	is(report_of(object->dev).problem, MMAPDEV_LOG_SOUND, "sound (%s)",
	   name);
}

static void test_object(struct object *o)
{
	object = o;
	name = o->name;
	test_options();
	test_access();
	test_observer(&leased);
	test_observer(&ordered_crc);
	test_observer(&ring);
	test_arguments();
	test_superblock();
	test_problems();
	test_checksum(&leased_crc);
	test_checksum(&ordered_crc);
	test_record(&leased_crc);
	test_record(&ordered_crc);
	test_segment();
	test_locks();
	test_words();
	test_crash();
	test_open_fails();
	test_close_fails(strcmp(name, "device") ? W_FTRUNCATE : W_IOCTL);
	test_close_fails(strcmp(name, "device") ? W_FSTAT : W_IOCTL);
	test_handles_fail();
	test_asking_fails();
	test_growth_fails(&leased_crc);
	test_growth_fails(&ordered_crc);
}

int main(void)
{
	on_every_object(0, test_object);
	return done();
}
