// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Logs that nobody would write. Whatever the bytes are, a reader touches none
 * but the log's, comes to the end of each call, and to the end of the log; a
 * writer harms nobody but the log. Input is made by libFuzzer (tests/fuzz);
 * here it is the files of a folder, tests/corpus/log if none is named.
 *
 * It begins with which log (or raw bytes), options, and a size. Then come
 * patches of a word, whose place is named by what is there, so that a few bytes
 * reach deep. A live patch comes and goes with every look at its word, as if
 * another process wrote there at the worst moments.
 *
 * Wherever a word beyond the object is touched there is a page that cannot be.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__SANITIZE_ADDRESS__) || defined(__clang__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(addr, size) ((void)(addr), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(addr, size) ((void)(addr), (void)(size))
#endif

#include "../lib/log.h"
#include "common.h"
#include "wrap.h"

#define SEGMENT 4096
#define ROOM (64 * KIB) /* the longest log */
#define LIVE 16
#define CALLS 4096 /* of a reader, where words come and go */

static const struct {
	uint32_t flags, ring;
	bool consumer;
} kinds[] = {
	{ 0, 0, false },
	{ MMAPDEV_LOG_CRC, 0, true },
	{ MMAPDEV_LOG_ORDERED, 0, false },
	{ MMAPDEV_LOG_ORDERED | MMAPDEV_LOG_CRC, 0, true },
	{ 0, 4, false },
	{ MMAPDEV_LOG_CRC, 4, true },
	{ MMAPDEV_LOG_ORDERED, 3, false },
	{ MMAPDEV_LOG_ORDERED | MMAPDEV_LOG_CRC, 3, true },
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct input {
	uint8_t kind;
	uint8_t options;
	uint8_t size[2];
};

enum {
	KEEP_CRC = 1, /* of the superblock, whatever is patched there */
	DEAD = 2,     /* all who have a slot */
	SHORT = 4,    /* the object ends at size */
	RECOVER = 8,
	NO_LEASES = 16, /* slots hold no segments to go on with */
};

struct patch {
	uint8_t where;
	uint8_t index;
	uint8_t what;
	uint8_t value[8];
};

enum { ANY, HEAD, WORD, RECORD, CONTROL, SLOT, SUPER };
#define LIVELY 0x80
#define SECOND 0x08 /* the other half of a record's header */

static struct {
	unsigned char bytes[ROOM];
	size_t size;
} __attribute__((aligned(4096))) made[KINDS], image;

static struct {
	size_t at;
	uint64_t value[2];
	unsigned int looks;
} live[LIVE];
static unsigned int lives;
static bool lively; /* words come and go now */

static struct mmapdev *rw, *ro;
static unsigned char *mine; /* the object, for live patches */

static void must(bool truth, const char *what, long long value)
{
	if (truth)
		return;
	fprintf(stderr, "# log_fuzz: %s (%lld)\n", what, value);
	abort();
}

static void toggle(unsigned int i)
{
	uint64_t *word = (void *)(mine + live[i].at);

	if (live[i].at + 8 <= image.size)
		__atomic_store_n(word, live[i].value[++live[i].looks & 1],
				 __ATOMIC_RELAXED);
}

static void toggle_all(void)
{
	unsigned int i;

	for (i = 0; i < lives; i++)
		toggle(i);
}

void log_fuzz_look(const volatile void *word);
void log_fuzz_look(const volatile void *word)
{
	size_t at = (uintptr_t)word - (uintptr_t)wrap_guarded();
	unsigned int i;

	/* The superblock is not read by words. */
	for (i = 0; lively && i < lives; i++) {
		if (at / 8 == live[i].at / 8 ||
		    live[i].at < sizeof(struct log_super))
			toggle(i);
	}
}

/* The logs to begin with */

static void append(struct mmapdev_log_writer *w, size_t length)
{
	char data[2048];
	int ret;

	memset(data, 'a' + length % 26, sizeof(data));
	ret = mmapdev_log_append(w, data, length, 0);
	must(!ret || ret == -EAGAIN, "append", ret);
}

static void read_some(struct mmapdev_log_reader *r, int count)
{
	struct mmapdev_log_record record = { .sz = sizeof(record) };

	while (r && count--)
		if (mmapdev_log_read(r, &record, 0))
			break;
}

/* Reserved, and then nobody came back. */
static void leave_hole(struct mmapdev_log *log, uint32_t length)
{
	uint64_t next = load(&log->control->next);
	struct log_segment *head;
	uint32_t limit;

	head = (void *)mmapdev_log_segment(log, next - 1, &limit);
	if (SEGMENT - LOG_FIRST > (uint32_t)load(&head->tail) + length)
		__atomic_fetch_add(&head->tail, length, __ATOMIC_RELEASE);
}

static void fill(struct mmapdev_log *log, unsigned int kind,
		 struct mmapdev_log_writer **w, struct mmapdev_log_reader *r)
{
	unsigned int i, rounds = kinds[kind].ring ? 24 : 12;
	void *data;

	for (i = 0; i < rounds; i++) {
		append(w[0], 40 * i % 1500);
		append(w[1], i % 3 ? 700 : 0);
		if (i % 4 == 0)
			append(w[2], 13);
		read_some(r, 3);
	}
	must(!mmapdev_log_writer_close(w[1]), "close", 0);
	if (kinds[kind].flags & MMAPDEV_LOG_ORDERED)
		leave_hole(log, 48);
	mmapdev_log_claim(w[2], 30, 0, &data);
	append(w[0], 17);
	append(w[0], 5);
}

static void make(unsigned int kind)
{
	struct mmapdev_log_reader_opts consume = {
		.sz = sizeof(consume), .flags = MMAPDEV_LOG_CONSUME,
	};
	struct mmapdev_log_opts o = {
		.sz = sizeof(o),
		.flags = kinds[kind].flags | MMAPDEV_LOG_CREATE,
		.segment = SEGMENT,
		.ring = kinds[kind].ring,
		.window = ROOM,
	};
	struct mmapdev_log_writer *w[3];
	struct mmapdev_log_reader *r = NULL;
	struct mmapdev_log *log;
	struct mmapdev *dev;
	unsigned int i;

	need(mmapdev_open_memfd("made", 0, &dev), "memfd");
	need(mmapdev_log_open(dev, &o, &log), "log");
	for (i = 0; i < 3; i++)
		need(mmapdev_log_writer_open(log, &w[i]), "writer");
	if (kinds[kind].consumer)
		need(mmapdev_log_reader_open(log, &consume, &r), "consumer");
	fill(log, kind, w, r);
	made[kind].size = pread(mmapdev_fd(dev), made[kind].bytes, ROOM, 0);

	mmapdev_log_writer_close(w[0]);
	mmapdev_log_writer_close(w[2]);
	mmapdev_log_reader_close(r);
	need(mmapdev_log_close(log), "close");
	mmapdev_close(dev);
}

static void prepare(void)
{
	char path[32];
	unsigned int i;

	for (i = 0; i < KINDS; i++)
		make(i);
	need(mmapdev_open_memfd("fuzz", 0, &rw), "memfd");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", mmapdev_fd(rw));
	need(mmapdev_open(path, O_RDONLY, &ro), path);
	mine = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED,
		    mmapdev_fd(rw), 0);
	need(mine == MAP_FAILED ? -errno : 0, "mmap");
}

/* What the input makes of them */

static uint64_t get(size_t at)
{
	uint64_t value;

	memcpy(&value, image.bytes + at, sizeof(value));
	return value;
}

static void put(size_t at, uint64_t value)
{
	memcpy(image.bytes + at, &value, sizeof(value));
}

/* The @n-th record of a segment, if it has so many. */
static size_t find_record(size_t at, unsigned int n)
{
	size_t end = at + SEGMENT < image.size ? at + SEGMENT : image.size;
	size_t next;

	for (at += LOG_FIRST; n-- && at + LOG_ALIGN < end; at = next) {
		next = at + rec_extent(rec_length(get(at)));
		if (next + LOG_ALIGN > end)
			break;
	}
	return at;
}

static size_t place_of(const struct patch *p)
{
	static const size_t control[] = {
		offsetof(struct log_control, next),
		offsetof(struct log_control, bell),
		offsetof(struct log_control, room),
		offsetof(struct log_control, writers),
		offsetof(struct log_control, drained),
		offsetof(struct log_control, started),
		offsetof(struct log_control, done),
		offsetof(struct log_control, failed),
	};
	size_t segments = (image.size - LOG_HEADER) / SEGMENT + 1;
	size_t segment = LOG_HEADER + p->index % segments * SEGMENT;

	switch (p->where & 7) {
	case HEAD:
		return segment + p->what % 8 * 8;
	case WORD:
		return segment + p->what * LOG_ALIGN;
	case RECORD:
		return find_record(segment, p->what) +
		       (p->where & SECOND ? 8 : 0);
	case CONTROL:
		return LOG_CONTROL +
		       control[p->what % (sizeof(control) / sizeof(*control))];
	case SLOT:
		return LOG_SLOTS_AT +
		       p->index % LOG_SLOTS * sizeof(struct log_slot) +
		       p->what % 8 * 8;
	case SUPER:
		return p->what % (sizeof(struct log_super) / 8) * 8;
	}
	return (p->index << 8 | p->what) * 8;
}

/* A lock that anybody can write to is trusted: it has no other bytes. */
static bool in_locks(size_t at)
{
	return at >= LOG_CONTROL &&
	       at < LOG_CONTROL + offsetof(struct log_control, next);
}

static void apply(const struct patch *p)
{
	size_t at = place_of(p);
	uint64_t value;

	memcpy(&value, p->value, sizeof(value));
	if (at + 8 > image.size || in_locks(at))
		return;
	if (!(p->where & LIVELY)) {
		put(at, value);
	} else if (lives < LIVE) {
		live[lives].at = at;
		live[lives].value[0] = get(at);
		live[lives].value[1] = value;
		live[lives++].looks = 0;
	}
}

static void set_slots(uint8_t options)
{
	struct log_slot *slot = (void *)(image.bytes + LOG_SLOTS_AT);
	unsigned int i;

	for (i = 0; i < LOG_SLOTS; i++) {
		if (options & DEAD)
			slot[i].who.boot ^= 1;
		if (options & NO_LEASES)
			slot[i].held = 0;
	}
}

static void build(const uint8_t *data, size_t size)
{
	struct input in = { 0 };
	struct patch p;
	uint16_t length;

	memcpy(&in, data, sizeof(in));
	data += sizeof(in);
	size -= sizeof(in);
	length = in.size[0] | in.size[1] << 8;
	lives = 0;
	if (in.kind % (KINDS + 1) == KINDS) {
		image.size = length;
		memset(image.bytes, 0, sizeof(image.bytes));
		memcpy(image.bytes, data, size < length ? size : length);
		memset(image.bytes + LOG_CONTROL, 0,
		       offsetof(struct log_control, next));
		size = 0;
	} else {
		image = made[in.kind % (KINDS + 1)];
	}
	if (image.size >= LOG_HEADER)
		set_slots(in.options);
	for (; size >= sizeof(p); size -= sizeof(p), data += sizeof(p)) {
		memcpy(&p, data, sizeof(p));
		apply(&p);
	}
	if (in.options & KEEP_CRC)
		((struct log_super *)(void *)image.bytes)->crc =
			mmapdev_log_super_crc((void *)image.bytes);
	if (in.options & SHORT && length < image.size)
		image.size = length;
}

static void restore(void)
{
	int fd = mmapdev_fd(rw);

	need(ftruncate(fd, 0), "ftruncate");
	need(ftruncate(fd, image.size), "ftruncate");
	memcpy(mine, image.bytes, image.size);
}

/* Readers */

static void check_record(const struct mmapdev_log *log,
			 const struct mmapdev_log_record *record)
{
	static unsigned char copy[SEGMENT * 16];
	/* One of no bytes may end where its segment does. */
	uint64_t at = record->offset - LOG_HEADER - LOG_ALIGN;

	must(record->offset >= LOG_HEADER + LOG_ALIGN &&
	     at % log->segment >= LOG_FIRST,
	     "a record in a header", record->offset);
	must(at % log->segment + LOG_ALIGN + record->length <= log->segment,
	     "a record out of its segment", record->length);
	must(record->offset + record->length <= mmapdev_map_size(log->map),
	     "a record out of the object", record->length);
	must(record->length <= sizeof(copy), "a long record", record->length);
	memcpy(copy, record->data, record->length);
}

/* Each call says something new, until one says that there is nothing. */
static uint64_t read_to_end(struct mmapdev_log *log,
			    struct mmapdev_log_reader *r, uint64_t *errors)
{
	struct mmapdev_log_record record = { .sz = sizeof(record) };
	uint64_t records = 0, calls = 0, most;
	int ret;

	most = mmapdev_map_size(log->map) / LOG_ALIGN + 4 * log->ring + 64;
	*errors = 0;
	lively = true;
	while ((ret = mmapdev_log_read(r, &record, 0)) != -EAGAIN) {
		lively = false;
		if (!ret)
			check_record(log, &record);
		must(!ret || ret == -EBADMSG || ret == -EOVERFLOW, "read", ret);
		records += !ret;
		*errors += !!ret;
		must(lives || calls < most, "no end of", records);
		if (++calls > CALLS + most)
			break;
		toggle_all();
		lively = true;
	}
	lively = false;
	if (!lives)
		must(mmapdev_log_read(r, &record, 0) == -EAGAIN,
		     "more after the end", records);
	return records;
}

static struct mmapdev_log_reader *reader(struct mmapdev_log *log,
					 uint32_t flags)
{
	struct mmapdev_log_reader_opts o = { .sz = sizeof(o), .flags = flags };
	struct mmapdev_log_reader *r = NULL;
	int ret;

	lively = true;
	ret = mmapdev_log_reader_open(log, &o, &r);
	lively = false;
	must(!ret || (flags & MMAPDEV_LOG_CONSUME && ret == -EBUSY),
	     "reader_open", ret);
	return r;
}

static uint64_t read_all(struct mmapdev_log *log, uint32_t flags,
			 uint64_t *errors)
{
	struct mmapdev_log_reader *r = reader(log, flags);
	uint64_t records;

	if (!r)
		return 0;
	records = read_to_end(log, r, errors);
	must(!mmapdev_log_reader_close(r), "reader_close", 0);
	return records;
}

static void look_around(struct mmapdev_log *log)
{
	struct mmapdev_log_slot slot = { .sz = sizeof(slot) };
	struct mmapdev_log_info info = { .sz = sizeof(info) };
	uint32_t i;

	lively = true;
	must(!mmapdev_log_get_info(log, &info), "get_info", 0);
	must(info.bytes <= info.size, "more bytes than there are", info.bytes);
	for (i = 0; i < LOG_SLOTS; i++) {
		must(!mmapdev_log_get_slot(log, i, &slot), "get_slot", i);
		must(slot.blocked < info.size, "blocked", slot.blocked);
	}
	lively = false;
}

/*
 * The window is longer than the object: beyond that is SIGBUS, or poison. Who
 * can write may be led to fill it.
 */
static int open_log(struct mmapdev *dev, struct mmapdev_log **log)
{
	struct mmapdev_log_opts o = {
		.sz = sizeof(o),
		.window = dev == ro ? 1024 * MIB : 2 * ROOM,
	};
	int ret;

	lively = true;
	ret = mmapdev_log_open(dev, &o, log);
	lively = false;
	must(!ret || ret == -ENODATA || ret == -EMEDIUMTYPE ||
	     ret == -EPROTONOSUPPORT || ret == -EBADMSG || ret == -ENOSPC,
	     "open", ret);
	return ret;
}

/* No slot has a segment behind one that it did not seal, which none does. */
static bool leases_are_last(void)
{
	bool leased[LOG_SLOTS] = { false };
	uint64_t word;
	size_t at;

	for (at = LOG_HEADER; at + LOG_FIRST <= image.size; at += SEGMENT) {
		word = get(at);
		if (leased[seg_slot(word)])
			return false;
		leased[seg_slot(word)] = seg_state(word) == SEG_LEASED;
	}
	return true;
}

/* What is sound for one is sound for the other. */
static void compare(const struct mmapdev_log *log, uint64_t records,
		    uint64_t errors)
{
	struct mmapdev_log_report report = { .sz = sizeof(report) };

	lively = true;
	must(!mmapdev_log_verify(ro, &report), "verify", 0);
	lively = false;
	must(!report.problem == !report.problems, "verify", report.problem);
	must(report.records <= image.size / LOG_ALIGN, "sound records",
	     report.records);
	if (!log || lives)
		return;
	must(report.problem != MMAPDEV_LOG_HEADER, "a header", errors);
	if (log->ring || report.problem || !leases_are_last())
		return;
	must(!errors, "sound, and errors", errors);
	must(records <= report.records, "sound, and more", records);
	must(records == report.records || report.unfinished,
	     "sound, and fewer", records);
}

static void observe(void)
{
	struct mmapdev_log *log;
	uint64_t records, errors, none;
	size_t tail = image.size % page_size();

	restore();
	if (open_log(ro, &log)) {
		compare(NULL, 0, 0);
		return;
	}
	tail = tail ? page_size() - tail : 0;
	ASAN_POISON_MEMORY_REGION(log->base + image.size, tail);
	look_around(log);
	records = read_all(log, 0, &errors);
	read_all(log, MMAPDEV_LOG_END, &none);
	ASAN_UNPOISON_MEMORY_REGION(log->base + image.size, tail);
	compare(log, records, errors);
	must(!mmapdev_log_close(log), "close", 0);
}

/* Who may write */

static void no_more_than(int ret, int most)
{
	must(ret <= most && ret > -4096, "no errno", ret);
}

static void write_some(struct mmapdev_log *log)
{
	static const size_t lengths[] = { 0, 1, 100, 3000, 4016, 4017 };
	static const char bytes[SEGMENT];
	struct mmapdev_log_writer *w;
	struct mmapdev_log_info info = { .sz = sizeof(info) };
	size_t i, n = sizeof(lengths) / sizeof(lengths[0]);
	void *data;
	int ret;

	/* A header may come to life with segments of another size. */
	if (mmapdev_log_get_info(log, &info))
		return;
	/* It looks at what others left; to append is to rely on them. */
	lively = true;
	ret = mmapdev_log_writer_open(log, &w);
	lively = false;
	no_more_than(ret, 0);
	if (ret)
		return;
	for (i = 0; i < n; i++) {
		ret = mmapdev_log_append(w, bytes, lengths[i], 0);
		no_more_than(ret, 0);
		must((ret == -EMSGSIZE) == (lengths[i] > info.segment - 80),
		     "length", lengths[i]);
	}
	if (!mmapdev_log_claim(w, 200, 0, &data)) {
		memset(data, 1, 200);
		no_more_than(mmapdev_log_commit(w, 50), 0);
	}
	if (!mmapdev_log_claim(w, 60, 0, &data))
		no_more_than(mmapdev_log_abort(w), 0);
	no_more_than(mmapdev_log_sync(w), 0);
	no_more_than(mmapdev_log_writer_close(w), 0);
}

static void take_part(uint8_t options)
{
	struct mmapdev_log_reader *end;
	struct mmapdev_log *log;
	uint64_t errors;

	restore();
	if (open_log(rw, &log))
		return;
	look_around(log);
	end = reader(log, MMAPDEV_LOG_END);
	read_all(log, 0, &errors);
	if (options & RECOVER)
		no_more_than(mmapdev_log_recover(log), LOG_SLOTS);
	read_all(log, MMAPDEV_LOG_CONSUME, &errors);
	write_some(log);
	read_to_end(log, end, &errors);
	read_all(log, MMAPDEV_LOG_CONSUME, &errors);
	no_more_than(mmapdev_log_recover(log), LOG_SLOTS);
	look_around(log);
	must(!mmapdev_log_reader_close(end), "reader_close", 0);
	no_more_than(mmapdev_log_close(log), 0);
}

/* The one that the next file gets. */
static int lowest_fd(void)
{
	int fd = dup(mmapdev_fd(rw));

	close(fd);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd;

	if (!mine)
		prepare();
	if (size < sizeof(struct input))
		return -1;
	build(data, size);
	fd = lowest_fd();
	wrap_guard(true);
	observe();
	take_part(data[offsetof(struct input, options)]);
	wrap_guard(false);
	must(lowest_fd() == fd, "open files", fd);
	return 0;
}

#ifndef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
static void replay(const char *path, const char *name)
{
	uint8_t data[ROOM];
	ssize_t size;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	need(fd < 0 ? -errno : 0, path);
	size = read(fd, data, sizeof(data));
	close(fd);
	fprintf(stderr, "# %s\n", name);
	LLVMFuzzerTestOneInput(data, size);
	ok(true, "readers come to the end of %s", name);
}

int main(int argc, char **argv)
{
	const char *folder = argc > 1 ? argv[1] : "tests/corpus/log";
	struct dirent **list;
	int i, count = scandir(folder, &list, NULL, alphasort);
	char path[512];

	need(count < 0 ? -errno : 0, folder);
	for (i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, list[i]->d_name);
		if (list[i]->d_name[0] != '.')
			replay(path, list[i]->d_name);
		free(list[i]);
	}
	free(list);
	return done();
}
#endif
