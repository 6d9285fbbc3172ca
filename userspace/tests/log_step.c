// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Who appends to a log, joins, leaves or reads it is killed in the middle: after
 * each instruction of short paths, and of long ones after such as changed the
 * object. Then what was acknowledged is there, what was not is there as a
 * whole or not at all, and those who live, or come, go on.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
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

#define SEGMENT 4096
#define WINDOW (1 * MIB)
#define LENGTH 1000 /* three such records in a segment */
#define SHORT 40    /* with their sums, which take time */
#define IMAGE (64 * KIB) /* of the object, that is looked at */
#define POINTS 8192
#define LOOK UINT32_MAX
#define PATIENCE 60000 /* ms, of one who is not to wait at all */

/* Whose records there are. */
enum { CHILD, DEAD, LIVING, SUCCESSOR, WHO };

static struct {
	uint64_t acknowledged[WHO];
	uint64_t got; /* of LIVING, by a consumer */
} *noted;

struct path {
	const char *name;
	uint32_t flags, ring;
	unsigned int fill; /* records that come before */
	int (*work)(void);
	unsigned int how;
};

#define CONSUMED 1 /* there is a consumer, who reads all */
#define DOOMED 2   /* another was killed before, with a record claimed */
#define ALONE 4	   /* nobody else has the log open */
#define READS 8	   /* it is a consumer itself */
#define EACH 16	   /* it is killed after each instruction */

static struct object *object;
static const struct path *path;
static uint64_t seen[WHO], top[WHO], kills;
static char problem[200];

/* Of whichever process. */
static struct mmapdev_log *ours;
static struct mmapdev_log_writer *writer;
static struct mmapdev_log_reader *reader;
static unsigned char bytes[LENGTH];

static PRINTF(1) bool wrong(const char *what, ...)
{
	va_list args;

	if (problem[0])
		return false;
	va_start(args, what);
	vsnprintf(problem, sizeof(problem), what, args);
	va_end(args);
	return false;
}

static unsigned int length(void)
{
	return path->flags & MMAPDEV_LOG_CRC ? SHORT : LENGTH;
}

static int open_log(struct mmapdev *dev)
{
	struct mmapdev_log_opts opts = {
		.sz = sizeof(opts),
		.flags = path->flags | MMAPDEV_LOG_CREATE,
		.segment = SEGMENT,
		.ring = path->ring,
		.window = path->ring ? 0 : WINDOW,
	};

	return mmapdev_log_open(dev, &opts, &ours);
}

static int open_reader(uint32_t flags, struct mmapdev_log_reader **out)
{
	struct mmapdev_log_reader_opts opts = {
		.sz = sizeof(opts),
		.flags = flags,
	};

	return mmapdev_log_reader_open(ours, &opts, out);
}

static int acknowledged(int ret, unsigned int who)
{
	if (!ret)
		noted->acknowledged[who]++;
	return ret;
}

static int append(struct mmapdev_log_writer *w, unsigned int who)
{
	entry_make(bytes, who, noted->acknowledged[who] + 1, length());
	return acknowledged(mmapdev_log_append(w, bytes, length(), PATIENCE),
			    who);
}

/* What is killed; the record is made before. */
static int append_it(void)
{
	int ret = mmapdev_log_append(writer, bytes, length(), PATIENCE);

	return acknowledged(ret, CHILD);
}

static int claim_it(void)
{
	void *data;
	int ret;

	ret = mmapdev_log_claim(writer, 2 * length(), PATIENCE, &data);
	if (ret)
		return ret;
	memcpy(data, bytes, length());
	return acknowledged(mmapdev_log_commit(writer, length()), CHILD);
}

static int abort_it(void)
{
	void *data;
	int ret;

	ret = mmapdev_log_claim(writer, length(), PATIENCE, &data);
	if (ret)
		return ret;
	memcpy(data, bytes, length());
	return mmapdev_log_abort(writer);
}

static int join_it(void)
{
	int ret = mmapdev_log_writer_open(ours, &writer);

	return ret ? ret : append_it();
}

static int leave_it(void)
{
	int ret = mmapdev_log_writer_close(writer);

	return ret ? ret : mmapdev_log_close(ours);
}

static int read_it(void)
{
	struct mmapdev_log_record record = { .sz = sizeof(record) };
	int ret = mmapdev_log_read(reader, &record, PATIENCE);

	if (!ret)
		noted->got++;
	return ret;
}

static int doomed_work(void *arg)
{
	struct mmapdev_log_writer *w;
	void *data;

	(void)arg;
	if (open_log(reopen(object, O_RDWR)) ||
	    mmapdev_log_writer_open(ours, &w) || append(w, DEAD) ||
	    mmapdev_log_claim(w, length(), PATIENCE, &data))
		return 1;
	memset(data, 0xEE, length() / 2);
	return raise(SIGKILL);
}

static int prepare(void)
{
	unsigned int i;
	int ret;

	ret = open_log(reopen(object, O_RDWR));
	if (!ret && path->how & READS)
		ret = open_reader(MMAPDEV_LOG_CONSUME, &reader);
	else if (!ret && path->work != join_it)
		ret = mmapdev_log_writer_open(ours, &writer);
	for (i = 0; i < path->fill && !ret; i++)
		ret = path->how & READS ? read_it() : append(writer, CHILD);
	return ret;
}

/* It stops once more, for the others to come. */
static int child_work(void *arg)
{
	(void)arg;
	need(prepare(), "prepare");
	entry_make(bytes, CHILD, noted->acknowledged[CHILD] + 1, length());
	raise(SIGSTOP);
	need(path->work(), path->name);
	return 0;
}

static pid_t spawn_prepared(void)
{
	pid_t pid = spawn_stopped(child_work, NULL);
	int status = 0;

	if (ptrace(PTRACE_CONT, pid, NULL, NULL) ||
	    waitpid(pid, &status, 0) != pid)
		need(-errno, "PTRACE_CONT");
	if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGSTOP)
		need(-ECHILD, "what comes before");
	return pid;
}

/* A ring that nobody consumes goes on over what was not read. */
static bool loses(void)
{
	return path->ring && !(path->how & (CONSUMED | READS));
}

static bool is_next(const struct entry *entry, uint64_t *last)
{
	uint64_t before;

	if (!entry || entry->incarnation >= WHO)
		return wrong("a record is torn");
	before = last[entry->incarnation];
	if (loses() ? entry->sequence <= before : entry->sequence != before + 1)
		return wrong("%u:%" PRIu64 " comes behind %" PRIu64,
			     entry->incarnation, entry->sequence, before);
	last[entry->incarnation] = entry->sequence;
	return true;
}

/* Nobody who lives is at a record: it never waits. */
static bool read_all(struct mmapdev_log_reader *r, uint64_t *last)
{
	struct mmapdev_log_record record = { .sz = sizeof(record) };
	int ret;

	for (;;) {
		ret = mmapdev_log_read(r, &record, 0);
		if (ret == -EOVERFLOW && loses())
			continue;
		if (ret)
			break;
		if (!is_next(entry_of(record.data, record.length), last))
			return false;
	}
	return ret == -EAGAIN ? true : wrong("read: %s", strerror(-ret));
}

/* Of a ring the first ones may be gone. */
static const char *count_raw(const struct entry *entry)
{
	uint64_t *last;

	if (entry->incarnation >= WHO)
		return "a record is of nobody";
	last = &top[entry->incarnation];
	if (entry->sequence != *last + 1 && !(path->ring && !*last))
		return "a record is missing, out of order, or there twice";
	*last = entry->sequence;
	return NULL;
}

static bool check_raw(void)
{
	const char *what;
	unsigned int i;

	memset(top, 0, sizeof(top));
	what = log_raw(object->path, count_raw);
	if (what)
		return wrong("in the object, %s", what);
	for (i = 0; i < WHO; i++) {
		if (path->ring && top[i] < seen[i])
			top[i] = seen[i];
		if (top[i] < noted->acknowledged[i] ||
		    top[i] > noted->acknowledged[i] + (i == CHILD))
			return wrong("of %u are %" PRIu64 " there, %" PRIu64
				     " acknowledged", i, top[i],
				     noted->acknowledged[i]);
	}
	return true;
}

static bool all_seen(const uint64_t *last)
{
	unsigned int i;

	for (i = 0; i < WHO; i++)
		if (last[i] != top[i])
			return wrong("of %u are %" PRIu64 " read, not %" PRIu64,
				     i, last[i], top[i]);
	return true;
}

/* Round a ring, and into the third segment where there is none. */
static bool goes_on(struct mmapdev_log_writer *w, unsigned int who)
{
	unsigned int i;
	int ret;

	for (i = 0; i < 6 + 3 * path->ring; i++) {
		ret = append(w, who);
		if (ret)
			return wrong("%u cannot append: %s", who,
				     strerror(-ret));
		if (!read_all(reader, seen))
			return false;
		if (seen[who] != noted->acknowledged[who])
			return wrong("what %u appended is not read", who);
	}
	return true;
}

/* The next consumer is given again what may have been lost, and no more. */
static bool consume_again(void)
{
	struct mmapdev_log_record record = { .sz = sizeof(record) };
	const struct entry *entry;
	int ret;

	ret = open_reader(MMAPDEV_LOG_CONSUME, &reader);
	if (!ret)
		ret = mmapdev_log_read(reader, &record, 0);
	if (ret)
		return wrong("the next consumer: %s", strerror(-ret));
	entry = entry_of(record.data, record.length);
	if (!entry || entry->incarnation != LIVING ||
	    (entry->sequence != noted->got &&
	     entry->sequence != noted->got + 1))
		return wrong("the next consumer begins elsewhere");
	seen[LIVING] = entry->sequence;
	return true;
}

static bool come_late(struct mmapdev_log_writer **living)
{
	int ret = open_log(object->dev);

	if (!ret)
		ret = mmapdev_log_writer_open(ours, living);
	if (!ret)
		ret = open_reader(0, &reader);
	return ret ? wrong("who comes late: %s", strerror(-ret)) : true;
}

static bool check_anew(void)
{
	struct mmapdev_log_report report = { .sz = sizeof(report) };
	struct mmapdev_log_reader *r;
	uint64_t last[WHO] = { 0 };
	int ret;

	ret = mmapdev_log_verify(object->dev, &report);
	if (ret || report.problem != MMAPDEV_LOG_SOUND)
		return wrong("verify: %s", ret ? strerror(-ret) :
			     mmapdev_log_problem(report.problem));
	if (path->ring)
		return true;
	ret = open_reader(0, &r);
	if (ret)
		return wrong("the last reader: %s", strerror(-ret));
	if (read_all(r, last))
		all_seen(last);
	mmapdev_log_reader_close(r);
	return true;
}

/* So that the slots of the dead are taken before others. */
static void see_the_dead(void)
{
	struct mmapdev_log_slot slot = { .sz = sizeof(slot) };
	unsigned int i;

	for (i = 0; i < 4; i++)
		need(mmapdev_log_get_slot(ours, i, &slot), "get_slot");
}

/* Who comes next takes the slot of the dead, before others look or after. */
static void check(struct mmapdev_log_writer *living, bool early)
{
	struct mmapdev_log_writer *successor = NULL;
	bool right = check_raw();
	int ret;

	if (right && path->how & ALONE)
		right = come_late(&living);
	if (right && path->how & READS)
		right = consume_again();
	if (right && early) {
		see_the_dead();
		ret = mmapdev_log_writer_open(ours, &successor);
		right = !ret || wrong("writer_open: %s", strerror(-ret));
	}
	right = right && read_all(reader, seen) && all_seen(seen) &&
		goes_on(living, LIVING);
	if (right && !early) {
		ret = mmapdev_log_writer_open(ours, &successor);
		right = !ret || wrong("writer_open: %s", strerror(-ret));
	}
	noted->acknowledged[CHILD] = top[CHILD];
	right = right && goes_on(successor, SUCCESSOR) &&
		goes_on(living, LIVING) && check_raw() && all_seen(seen) &&
		check_anew();
	mmapdev_log_writer_close(successor);
	mmapdev_log_writer_close(living);
}

static struct mmapdev_log_writer *others(void)
{
	struct mmapdev_log_writer *living;
	unsigned int i;

	need(open_log(object->dev), "log_open");
	need(mmapdev_log_writer_open(ours, &living), "writer_open");
	for (i = 0; i < (path->how & READS ? 5 : 1); i++)
		need(append(living, LIVING), "append");
	return living;
}

static void anew(void)
{
	memset(noted, 0, sizeof(*noted));
	memset(seen, 0, sizeof(seen));
	problem[0] = 0;
	ours = NULL;
	reader = NULL;
	need(mmapdev_resize(object->dev, 0), "resize");
}

/* The object as it was before the last instruction. */
static unsigned char image[2][IMAGE];
static ssize_t sizes[2];

static bool changed(int fd)
{
	static unsigned int now;

	now = !now;
	sizes[now] = pread(fd, image[now], IMAGE, 0);
	need(sizes[now] < 0 ? -errno : 0, "pread");
	return sizes[0] != sizes[1] || memcmp(image[0], image[1], sizes[0]);
}

/* After how many instructions something in the object had changed. */
static unsigned int points[POINTS], count;

/* What is copied or cleared goes by in many steps that are alike. */
static void thin_out(void)
{
	unsigned int i, left = 0, before = 0, at;

	for (i = 0; i < count; i++) {
		at = points[i];
		if (at > before + 8 || i == count - 1 ||
		    points[i + 1] > at + 8 || !(i % 32))
			points[left++] = at;
		before = at;
	}
	count = left;
}

static unsigned int step_and_look(pid_t pid)
{
	int fd = open(object->path, O_RDONLY);
	unsigned int steps = 0;

	need(fd < 0 ? -errno : 0, object->path);
	changed(fd);
	for (count = 0; step(pid); ) {
		steps++;
		if (changed(fd) && count < POINTS)
			points[count++] = steps;
	}
	close(fd);
	thin_out();
	return steps;
}

static unsigned int step_to(pid_t pid, unsigned int steps)
{
	unsigned int i = 0;

	while (i < steps && step(pid))
		i++;
	if (i == steps)
		slay(pid);
	kills++;
	return i;
}

/* Returns how many instructions it did: to the end, or @steps. */
static unsigned int killed_after(unsigned int steps, bool early)
{
	struct mmapdev_log_writer *living = NULL;
	pid_t pid;

	anew();
	if (!(path->how & ALONE))
		living = others();
	if (path->how & DOOMED)
		kills += reap(spawn(doomed_work, NULL)) == -SIGKILL;
	pid = spawn_prepared();
	if (!(path->how & (ALONE | READS))) {
		need(open_reader(path->how & CONSUMED ? MMAPDEV_LOG_CONSUME : 0,
				 &reader), "reader_open");
		read_all(reader, seen);
	}
	steps = steps == LOOK ? step_and_look(pid) : step_to(pid, steps);
	if (!problem[0])
		check(living, early);
	mmapdev_log_reader_close(reader);
	mmapdev_log_close(ours);
	if (problem[0])
		printf("# %s, killed after %u, %s: %s\n", path->name, steps,
		       early ? "early" : "late", problem);
	return steps;
}

/* Of short paths each instruction: the object may not be all that counts. */
static bool after_each(void)
{
	static unsigned int turn;
	unsigned int steps = 0, bad = 0;

	do {
		killed_after(steps, turn++ % 2);
		bad += !!problem[0];
	} while (points[count - 1] + 20 > steps++);
	return is(bad, 0, "killed after each of %u instructions: %s (%s)",
		  steps, path->name, object->name);
}

static void test_path(void)
{
	unsigned int budget = getenv("MMAPDEV_DEVICE") ? 500 : 10000;
	unsigned int i, by, bad = 0, all, runs = 0;
	static unsigned int turn; /* not after the same ones on each object */

	/* Of sanitizers' instructions there are too many. */
	if (SANITIZED) {
		killed_after(100, false);
		is(!!problem[0], 0, "%s (%s)", path->name, object->name);
		return;
	}
	all = killed_after(LOOK, false);
	bad += !!problem[0];
	need(count ? 0 : -ENODATA, "what changes the object");
	if (path->how & EACH && budget == 10000) {
		after_each();
		return;
	}
	by = 1 + count * all / 2 / budget;
	for (i = turn++ % by % count; i < count; i += by, runs++) {
		killed_after(points[i], (runs + turn) % 2);
		bad += !!problem[0];
	}
	is(bad, 0, "killed after %u of %u changes, %u instructions: %s (%s)",
	   runs, count, all, path->name, object->name);
}

#define ORDERED MMAPDEV_LOG_ORDERED
#define CRC MMAPDEV_LOG_CRC

static const struct path paths[] = {
	{ "an append", 0, 0, 1, append_it, EACH },
	{ "an append with its sum", CRC, 0, 1, append_it, 0 },
	{ "an append to another segment", 0, 0, 3, append_it, 0 },
	{ "a claim, committed shorter", 0, 0, 1, claim_it, 0 },
	{ "an ordered append", ORDERED, 0, 1, append_it, EACH },
	{ "an ordered append behind a segment's end", ORDERED, 0, 2,
	  append_it, 0 },
	{ "an ordered claim, committed shorter", ORDERED | CRC, 0, 0,
	  claim_it, 0 },
	{ "an ordered claim, aborted", ORDERED, 0, 1, abort_it, 0 },
	{ "an append in a ring", 0, 4, 9, append_it, 0 },
	{ "an append in a ring, consumed", 0, 4, 9, append_it,
	  CONSUMED },
	{ "an ordered append in a ring", ORDERED, 2, 5, append_it, 0 },
	{ "an ordered append in a ring, consumed", ORDERED, 2, 5, append_it,
	  CONSUMED },
	{ "a writer that joins", 0, 0, 0, join_it, 0 },
	{ "one that goes on for a dead one", 0, 0, 0, join_it,
	  DOOMED },
	{ "one that goes on for a dead one, ordered", ORDERED, 0, 0, join_it,
	  DOOMED },
	{ "one that goes on for a dead one, in a ring", 0, 4, 0, join_it,
	  DOOMED | CONSUMED },
	{ "a writer that leaves", 0, 0, 1, leave_it, 0 },
	{ "the last that leaves", 0, 0, 4, leave_it, ALONE },
	{ "the last that leaves, ordered", ORDERED, 0, 4, leave_it,
	  ALONE },
	{ "a consumer", 0, 0, 3, read_it, READS },
	{ "a consumer, ordered", ORDERED, 0, 3, read_it, READS },
	{ "a consumer of a ring", 0, 4, 3, read_it, READS },
	{ "a consumer of a ring, ordered", ORDERED, 2, 3, read_it,
	  READS },
};

static void test(struct object *on)
{
	unsigned int i;

	object = on;
	/* In a VM steps take long; the others were done outside. */
	if (getenv("MMAPDEV_DEVICE") && strcmp(on->name, "device"))
		return;
	for (i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		path = &paths[i];
		test_path();
	}
}

int main(void)
{
	noted = mmap(NULL, sizeof(*noted), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	need(noted == MAP_FAILED ? -errno : 0, "mmap");
	on_one_cpu(true);
	on_every_object(0, test);
	printf("# %" PRIu64 " SIGKILLs\n", kills);
	return done();
}
