// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * A log whose processes die, stop, fork or are declared dead: what they appended
 * stays, what they had not is not read, and whoever lives goes on.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"

static const char *name; /* of the object, and the kind of log */
static char names[64];
static struct object *object;
static const struct kind *kind;

#define FAILED 99 /* a child's status when nothing works */

/* The handles of a child: its own, for the parent's are not there. */
static struct mmapdev_log_writer *childs_writer(void)
{
	return writer(open_log(reopen(object, O_RDWR), kind));
}

/* Comes back when the child has stopped, or ended. */
static bool until_stopped(pid_t pid)
{
	int status;

	return waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status);
}

static pid_t spawn_until_stopped(int (*work)(void *arg), void *arg)
{
	pid_t pid = spawn(work, arg);

	if (!until_stopped(pid))
		need(-ECHILD, "a child that stops");
	return pid;
}

static int go_on(pid_t pid)
{
	kill(pid, SIGCONT);
	return reap(pid);
}

#define CHILDREN 4
#define EACH 300

struct message {
	uint32_t who, n;
};

static int append_many(void *arg)
{
	struct mmapdev_log_writer *w = childs_writer();
	struct message m[10] = { { .who = (uintptr_t)arg } };
	int ret = 0;

	for (m->n = 0; m->n < EACH && !ret; m->n++)
		ret = mmapdev_log_append(w, m, sizeof(*m) * (1 + m->n % 10),
					 60000);
	mmapdev_log_writer_close(w);
	return -ret;
}

static void test_processes(void)
{
	struct mmapdev_log_record record = { .sz = sizeof(record) };
	struct mmapdev_log *log = fresh(object, kind);
	struct mmapdev_log_reader *r;
	uint32_t next[CHILDREN] = { 0 };
	unsigned int i, wrong = 0;
	pid_t pid[CHILDREN];

	r = reader(log, kind->ring ? MMAPDEV_LOG_CONSUME : 0);
	for (i = 0; i < CHILDREN; i++)
		pid[i] = spawn(append_many, (void *)(uintptr_t)i);
	for (i = 0; i < CHILDREN * EACH; i++) {
		const struct message *m;

		if (mmapdev_log_read(r, &record, 60000)) {
			wrong++;
			break;
		}
		m = record.data;
		wrong += m->who >= CHILDREN || m->n != next[m->who]++;
		wrong += record.pid && record.pid != (uint32_t)pid[m->who];
	}
	is(wrong, 0, "of many processes each record, in its order (%s)", name);
	for (i = 0; i < CHILDREN; i++)
		wrong += reap(pid[i]) != 0;
	is(wrong, 0, "they all could append (%s)", name);
	is(try_read(r, 0), -EAGAIN, "and nothing came twice (%s)", name);
	mmapdev_log_reader_close(r);
	mmapdev_log_close(log);
}

/* Two records, and one that is claimed and half written; then it stops. */
static int claim_and_stop(void *arg)
{
	struct mmapdev_log_writer *w = childs_writer();
	void *data;
	int ret;

	(void)arg;
	ret = try_put(w, 1, 100, 0);
	if (!ret)
		ret = try_put(w, 2, 200, 0);
	if (!ret)
		ret = mmapdev_log_claim(w, 300, 0, &data);
	if (ret)
		return FAILED;
	memset(data, 0xee, 200);
	raise(SIGSTOP);
	pattern(data, 300, 3);
	ret = mmapdev_log_commit(w, 300);
	if (!ret)
		ret = mmapdev_log_writer_close(w);
	return -ret;
}

static void test_killed(void)
{
	struct mmapdev_log *log = fresh(object, kind);
	struct mmapdev_log_reader *r = reader(log, 0);
	struct mmapdev_log_writer *w;
	bool ordered = kind->flags & ORDERED;
	pid_t pid;

	pid = spawn_until_stopped(claim_and_stop, NULL);
	ok(next_is(r, 1, 100) && next_is(r, 2, 200),
	   "what a writer has appended is there (%s)", name);
	is(try_read(r, 0), -EAGAIN, "what it has claimed is not (%s)", name);
	is(report_of(object->dev).unfinished, ordered,
	   "verify tells what is unfinished (%s)", name);
	slay(pid);
	is(try_read(r, 0), -EAGAIN, "nor when it is dead (%s)", name);
	is(slot_of(log, 1).state, MMAPDEV_LOG_SLOT_DIED, "it died (%s)", name);
	is(slot_of(log, 1).pid, pid, "by its pid (%s)", name);
	is(mmapdev_log_recover(log), 1, "recover finds one (%s)", name);
	is(mmapdev_log_recover(log), 0, "once (%s)", name);
	is(slot_of(log, 1).state, MMAPDEV_LOG_SLOT_CLOSED,
	   "that is settled (%s)", name);
	/* In a ring nobody writes into what may be another's by now. */
	is(report_of(object->dev).unfinished, ordered && kind->ring,
	   "its record is void (%s)", name);

	w = writer(log);
	ok(put(w, 4, 40), "another goes on (%s)", name);
	ok(next_is(r, 4, 40), "which is read next (%s)", name);
	is(info_of(log).segments, 1, "in the same segment (%s)", name);
	is(slot_of(log, 1).state, MMAPDEV_LOG_SLOT_OPEN, "in its slot (%s)",
	   name);
	is(report_of(object->dev).problem, MMAPDEV_LOG_SOUND,
	   "all is well (%s)", name);
	mmapdev_log_writer_close(w);
	mmapdev_log_reader_close(r);
	mmapdev_log_close(log);
}

/* Without recover, too, whoever comes by does what is to do. */
static void test_killed_alone(void)
{
	struct mmapdev_log *log = fresh(object, kind);
	struct mmapdev_log_writer *w = writer(log);
	struct mmapdev_log_reader *r = reader(log, 0);
	unsigned int i, wrong = 0;
	pid_t pid;

	pid = spawn_until_stopped(claim_and_stop, NULL);
	for (i = 10; i < 20; i++)
		wrong += !put(w, i, 10);
	slay(pid);
	is(try_read(r, 0) + try_read(r, 0), 0, "the dead one's records (%s)",
	   name);
	for (i = 10; i < 20; i++)
		wrong += try_read(r, 0) != 0;
	is(wrong, 0, "do not hide those of the living (%s)", name);
	is(try_read(r, 0), -EAGAIN, "and no others are read (%s)", name);
	mmapdev_log_reader_close(r);
	mmapdev_log_writer_close(w);
	mmapdev_log_close(log);
	is(report_of(object->dev).records, 12, "verify counts them (%s)", name);
}

/* A writer that is stopped lives, however long. */
static void test_stopped(void)
{
	struct mmapdev_log *log = fresh(object, kind);
	struct mmapdev_log_reader *r = reader(log, 0);
	struct mmapdev_log_writer *w;
	bool ordered = kind->flags & ORDERED;
	struct mmapdev_log_slot slot;
	pid_t pid;

	pid = spawn_until_stopped(claim_and_stop, NULL);
	w = writer(log);
	is(mmapdev_log_recover(log), 0, "who is stopped is not dead (%s)",
	   name);
	ok(put(w, 10, 10), "others append (%s)", name);
	slot = slot_of(log, 1);
	is(slot.state, MMAPDEV_LOG_SLOT_OPEN, "its slot is its own (%s)", name);
	is(slot.pid, pid, "and names it (%s)", name);
	/* Its claim, and what is behind it. */
	is(slot.blocked, ordered ? 16 + 304 + 16 + 16 : 0,
	   "and how much it blocks (%s)", name);
	is(slot_of(log, 2).blocked, 0, "the other blocks nothing (%s)", name);

	ok(next_is(r, 1, 100) && next_is(r, 2, 200), "its records (%s)", name);
	if (ordered) {
		is(try_read(r, 0), -EAGAIN, "readers wait for it (%s)", name);
		is(try_read(r, 30), -ETIMEDOUT, "as they do (%s)", name);
	} else {
		ok(next_is(r, 10, 10), "readers pass it by (%s)", name);
	}
	is(go_on(pid), 0, "it goes on, and nobody minds (%s)", name);
	ok(next_is(r, 3, 300), "what it claimed is there (%s)", name);
	if (ordered)
		ok(next_is(r, 10, 10), "and then what was behind (%s)", name);
	is(try_read(r, 0), -EAGAIN, "and that is all (%s)", name);
	is(slot_of(log, 1).blocked, 0, "it blocks nobody (%s)", name);
	mmapdev_log_reader_close(r);
	mmapdev_log_writer_close(w);
	mmapdev_log_close(log);
}

/* What the calls of one who was declared dead return. */
static int *shared_ret;

static int be_evicted(void *arg)
{
	struct mmapdev_log_writer *w = childs_writer();
	void *data;

	(void)arg;
	if (!put(w, 1, 100) || mmapdev_log_claim(w, 300, 0, &data))
		return FAILED;
	raise(SIGSTOP);
	pattern(data, 300, 3);
	shared_ret[0] = mmapdev_log_commit(w, 300);
	shared_ret[1] = try_put(w, 4, 40, 0);
	raise(SIGSTOP);
	shared_ret[2] = kind->flags & CRC ? mmapdev_log_sync(w) : -ESTALE;
	shared_ret[3] = mmapdev_log_writer_close(w);
	return 0;
}

static void test_evicted(void)
{
	struct mmapdev_log *log = fresh(object, kind);
	struct mmapdev_log_reader *r = reader(log, 0);
	struct mmapdev_log_writer *w;
	pid_t pid;

	is(mmapdev_log_evict(log, 1), -ESRCH, "nobody is there (%s)", name);
	pid = spawn_until_stopped(be_evicted, NULL);
	w = writer(log);
	ok(put(w, 10, 10), "append (%s)", name);
	is(mmapdev_log_evict(log, 1), 0, "declare it dead (%s)", name);
	is(mmapdev_log_evict(log, 1), -ESRCH, "once (%s)", name);
	is(slot_of(log, 1).state, MMAPDEV_LOG_SLOT_EVICTED, "it is (%s)", name);
	is(slot_of(log, 1).pid, pid, "by its pid (%s)", name);
	is(report_of(object->dev).unfinished, 0, "its claim is void (%s)",
	   name);
	ok(next_is(r, 1, 100) && next_is(r, 10, 10),
	   "nobody waits for it (%s)", name);
	is(try_read(r, 0), -EAGAIN, "nor reads its claim (%s)", name);

	kill(pid, SIGCONT);
	ok(until_stopped(pid), "it wakes (%s)", name);
	is(returned("mmapdev_log_commit", shared_ret[0]), -ESTALE,
	   "and is told by commit (%s)", name);
	is(returned("mmapdev_log_append", shared_ret[1]), -ESTALE,
	   "and by append (%s)", name);
	is(try_read(r, 0), -EAGAIN, "nobody reads what it wrote (%s)", name);
	mmapdev_log_writer_close(w);
	w = writer(log);
	is(slot_of(log, 1).state, MMAPDEV_LOG_SLOT_EVICTED,
	   "its slot is nobody's while it lives (%s)", name);
	is(go_on(pid), 0, "it ends (%s)", name);
	is(returned("mmapdev_log_sync", shared_ret[2]), -ESTALE,
	   "having been told by sync (%s)", name);
	is(returned("mmapdev_log_writer_close", shared_ret[3]), -ESTALE,
	   "and by close (%s)", name);
	ok(put(w, 11, 11) && next_is(r, 11, 11), "others go on (%s)", name);
	is(report_of(object->dev).problem, MMAPDEV_LOG_SOUND,
	   "all is well (%s)", name);
	is(report_of(object->dev).records, 3, "with what was read (%s)", name);
	mmapdev_log_reader_close(r);
	mmapdev_log_writer_close(w);
	mmapdev_log_close(log);
}

static void test_eviction_refused(void)
{
	struct mmapdev_log *log = fresh(object, kind);

	is(mmapdev_log_evict(log, 0), -EINVAL, "the consumer is not evicted (%s)",
	   name);
	is(mmapdev_log_evict(log, 64), -EINVAL, "there are 64 slots (%s)",
	   name);
	is(mmapdev_log_evict(NULL, 1), -EINVAL, "of a log (%s)", name);
	if (kind->ring)
		is(mmapdev_log_evict(log, 1), -EOPNOTSUPP,
		   "nobody is evicted from a ring (%s)", name);
	wrap_fail(W_SYSCALL, 1, ENOSYS);
	is(mmapdev_log_evict(log, 1), -EOPNOTSUPP,
	   "nor where there is no barrier (%s)", name);
	wrap_reset();
	mmapdev_log_close(log);
}

static struct mmapdev_log *parents_log;
static struct mmapdev_log_writer *parents_writer;
static struct mmapdev_log_reader *parents_reader;
static void *parents_page;

/* All calls, on what is the parent's. */
static int use_parents(void *arg)
{
	struct mmapdev_log_record record = { .sz = sizeof(record) };
	struct mmapdev_log_info info = { .sz = sizeof(info) };
	struct mmapdev_log_slot slot = { .sz = sizeof(slot) };
	struct mmapdev_log_writer *w;
	struct mmapdev_log_reader *r;
	int *ret = shared_ret;
	void *data;

	(void)arg;
	*ret++ = mmapdev_log_append(parents_writer, "", 1, 0);
	*ret++ = mmapdev_log_claim(parents_writer, 1, 0, &data);
	*ret++ = mmapdev_log_commit(parents_writer, 1);
	*ret++ = mmapdev_log_abort(parents_writer);
	*ret++ = mmapdev_log_sync(parents_writer);
	*ret++ = mmapdev_log_read(parents_reader, &record, 0);
	*ret++ = mmapdev_log_writer_open(parents_log, &w);
	*ret++ = mmapdev_log_reader_open(parents_log, NULL, &r);
	*ret++ = mmapdev_log_get_info(parents_log, &info);
	*ret++ = mmapdev_log_get_slot(parents_log, 1, &slot);
	*ret++ = mmapdev_log_recover(parents_log);
	*ret++ = mmapdev_log_evict(parents_log, 1);
	*ret++ = mmapdev_log_writer_close(parents_writer);
	*ret++ = mmapdev_log_reader_close(parents_reader);
	*ret++ = mmapdev_log_close(parents_log);
	/* Nor is the mapping there, which would hold the open file. */
	*ret++ = msync(parents_page, page_size(), MS_ASYNC) ? -errno : 0;
	return 0;
}

static void test_fork(void)
{
	static const char *const calls[] = {
		"mmapdev_log_append", "mmapdev_log_claim",
		"mmapdev_log_commit", "mmapdev_log_abort",
		"mmapdev_log_sync", "mmapdev_log_read",
		"mmapdev_log_writer_open", "mmapdev_log_reader_open",
		"mmapdev_log_get_info", "mmapdev_log_get_slot",
		"mmapdev_log_recover", "mmapdev_log_evict",
	};
	const int n = sizeof(calls) / sizeof(*calls);
	struct mmapdev_log *log = fresh(object, kind);
	struct mmapdev_log_writer *w = writer(log);
	struct mmapdev_log_reader *r = reader(log, 0);
	void *data;
	int i;

	put(w, 1, 10);
	need(mmapdev_log_claim(w, 100, 0, &data), "claim");
	parents_log = log;
	parents_writer = w;
	parents_reader = r;
	parents_page = (char *)data - (uintptr_t)data % page_size();
	is(reap(spawn(use_parents, NULL)), 0, "a child of a fork (%s)", name);
	for (i = 0; i < n; i++)
		is(returned(calls[i], shared_ret[i]), -ESTALE, "%s (%s)",
		   calls[i], name);
	for (; i < n + 3; i++)
		is(shared_ret[i], 0, "but it may close (%s)", name);
	is(shared_ret[i], -ENOMEM, "it has nothing mapped (%s)", name);
	is(mmapdev_log_commit(w, 5), 0, "the parent did not notice (%s)", name);
	ok(next_is(r, 1, 10) && !try_read(r, 0), "it reads on (%s)", name);
	is(slot_of(log, 1).state, MMAPDEV_LOG_SLOT_OPEN, "and writes (%s)",
	   name);
	mmapdev_log_writer_close(w);
	mmapdev_log_reader_close(r);
	is(mmapdev_log_close(log), 0, "and closes (%s)", name);
}

static int die_of_fork(void *arg)
{
	struct mmapdev_log_writer *w = childs_writer();
	pid_t pid;

	(void)arg;
	if (!put(w, 1, 10))
		return FAILED;
	pid = fork();
	if (!pid) {
		raise(SIGSTOP);
		_exit(0);
	}
	shared_ret[0] = pid;
	raise(SIGSTOP);
	return 0;
}

/* A writer's child, that holds all that one inherits, is not the writer. */
static void test_survivor(void)
{
	struct mmapdev_log *log = fresh(object, kind);
	pid_t pid = spawn_until_stopped(die_of_fork, NULL);

	is(mmapdev_log_recover(log), 0, "a writer lives (%s)", name);
	slay(pid);
	is(mmapdev_log_recover(log), 1, "dead it is though its child lives (%s)",
	   name);
	/* It has the device open, of which the kernel would tell later. */
	slay(shared_ret[0]);
	mmapdev_log_close(log);
}

#define SLOTS 63

static int take_all(void *arg)
{
	struct mmapdev_log *log = open_log(reopen(object, O_RDWR), kind);
	struct mmapdev_log_writer *w;
	int i;

	(void)arg;
	for (i = 0; !(shared_ret[1] = mmapdev_log_writer_open(log, &w)); i++)
		;
	shared_ret[0] = i;
	raise(SIGSTOP);
	return 0;
}

static void test_slots(void)
{
	struct mmapdev_log *log = fresh(object, kind);
	struct mmapdev_log_writer *w[SLOTS + 1] = { NULL };
	unsigned int i, wrong = 0;
	pid_t pid;

	for (i = 0; i < SLOTS; i++)
		wrong += mmapdev_log_writer_open(log, &w[i]) != 0;
	is(wrong, 0, "there are 63 writers (%s)", name);
	is(mmapdev_log_writer_open(log, &w[i]), -EUSERS, "and no more (%s)",
	   name);
	mmapdev_log_writer_close(w[30]);
	is(mmapdev_log_writer_open(log, &w[30]), 0, "until one closes (%s)",
	   name);
	for (i = 0; i < SLOTS; i++)
		mmapdev_log_writer_close(w[i]);

	pid = spawn_until_stopped(take_all, NULL);
	is(shared_ret[0], SLOTS, "another process has them all (%s)", name);
	is(mmapdev_log_writer_open(log, &w[0]), -EUSERS, "while it lives (%s)",
	   name);
	slay(pid);
	for (i = 0; i < SLOTS; i++)
		wrong += mmapdev_log_writer_open(log, &w[i]) != 0;
	is(wrong, 0, "the dead need none (%s)", name);
	for (i = 0; i < SLOTS; i++)
		mmapdev_log_writer_close(w[i]);
	mmapdev_log_close(log);
}

static int consume_three(void *arg)
{
	struct mmapdev_log *log = open_log(reopen(object, O_RDWR), kind);
	struct mmapdev_log_reader *r = reader(log, MMAPDEV_LOG_CONSUME);
	unsigned int i;

	(void)arg;
	for (i = 0; i < 3; i++)
		if (!next_is(r, i, 1000))
			return FAILED;
	raise(SIGSTOP);
	return 0;
}

static void test_consumer(void)
{
	struct mmapdev_log *log = fresh(object, kind);
	struct mmapdev_log_writer *w = writer(log);
	struct mmapdev_log_reader *r;
	unsigned int i, wrong = 0;
	pid_t pid;

	for (i = 0; i < 8; i++)
		wrong += !put(w, i, 1000);
	pid = spawn_until_stopped(consume_three, NULL);
	is(try_reader(log, MMAPDEV_LOG_CONSUME, &r), -EBUSY,
	   "a stopped consumer is one (%s)", name);
	is(slot_of(log, 0).pid, pid, "slot 0 is its (%s)", name);
	slay(pid);
	is(try_reader(log, MMAPDEV_LOG_CONSUME, &r), 0, "a dead one is not (%s)",
	   name);
	for (i = 2; i < 8; i++)
		wrong += !next_is(r, i, 1000);
	is(wrong, 0, "the record that it had comes again (%s)", name);
	is(try_read(r, 0), -EAGAIN, "and all others once (%s)", name);
	mmapdev_log_reader_close(r);
	mmapdev_log_writer_close(w);
	mmapdev_log_close(log);
}

/* Leases of the dead do not use up a ring. */
static void test_ring_of_the_dead(void)
{
	struct mmapdev_log *log = fresh(object, kind);
	struct mmapdev_log_reader *r = reader(log, MMAPDEV_LOG_CONSUME);
	struct mmapdev_log_writer *w = writer(log);
	unsigned int i, tries, wrong = 0;
	pid_t pid[PLACES];

	for (i = 0; i < PLACES; i++)
		pid[i] = spawn_until_stopped(claim_and_stop, NULL);
	for (i = 0; i < PLACES; i++)
		slay(pid[i]);
	for (i = 0; i < 2 * PLACES; i++)
		wrong += try_read(r, 0) != 0;
	is(wrong, 0, "the records of the dead are read (%s)", name);
	for (i = 0; i < 5 * PLACES; i++) {
		/* Room is made by a consumer that sees that all is read. */
		for (tries = 0; tries < PLACES && !put(w, i, MOST); tries++)
			wrong += try_read(r, 0) != -EAGAIN;
		wrong += !next_is(r, i, MOST);
	}
	is(wrong, 0, "and take no room (%s)", name);
	mmapdev_log_reader_close(r);
	mmapdev_log_writer_close(w);
	mmapdev_log_close(log);
}

static int lock_and_stop(void *arg)
{
	struct mmapdev_mutex *turn;
	struct mmapdev_map *map;

	(void)arg;
	if (mmapdev_map(object->dev, NULL, &map) ||
	    mmapdev_mutex_init(map, AT_CONTROL, &turn) ||
	    mmapdev_mutex_lock(turn, 0, NULL, NULL))
		return FAILED;
	raise(SIGSTOP);
	return 0;
}

/* Slots change hands under a lock, and nobody waits for it for ever. */
static void test_turn(void)
{
	struct mmapdev_log *log = fresh(object, kind);
	struct mmapdev_log *other = open_log(object->dev, kind);
	struct mmapdev_log_writer *w = writer(log), *late;
	struct mmapdev_log_reader *r;
	pid_t pid = spawn_until_stopped(lock_and_stop, NULL);

	is(mmapdev_log_writer_open(log, &late), -ETIMEDOUT,
	   "one is stopped while it opens (%s)", name);
	is(try_reader(log, MMAPDEV_LOG_CONSUME, &r), -ETIMEDOUT,
	   "a consumer (%s)", name);
	is(mmapdev_log_recover(log), -ETIMEDOUT, "recover (%s)", name);
	is(mmapdev_log_close(other), -ETIMEDOUT, "close (%s)", name);
	r = reader(log, 0);
	ok(put(w, 1, 10) && next_is(r, 1, 10), "to write and read goes on (%s)",
	   name);
	slay(pid);
	is(mmapdev_log_recover(log), 0, "with its death all does (%s)", name);
	mmapdev_log_reader_close(r);
	mmapdev_log_writer_close(w);
	mmapdev_log_close(log);
}

static int open_elsewhere(void *arg)
{
	struct mmapdev_log *log;

	(void)arg;
	return -try_log(object->dev, kind, &log);
}

/* Its child has a pid of its own, of which /proc knows nothing. */
static int unshared(void *arg)
{
	return unshare(CLONE_NEWPID) ? EXDEV : reap(spawn(open_elsewhere, arg));
}

static void test_elsewhere(void)
{
	struct mmapdev_log *log = fresh(object, kind);

	is(returned("mmapdev_log_open", -reap(spawn(unshared, NULL))), -EXDEV,
	   "where /proc is another's nobody can tell who lives (%s)", name);
	mmapdev_log_close(log);
}

static void test_kind(void)
{
	snprintf(names, sizeof(names), "%s, %s", object->name, kind->name);
	name = names;
	test_processes();
	test_killed();
	test_killed_alone();
	test_stopped();
	test_eviction_refused();
	test_fork();
	test_survivor();
	test_slots();
	test_consumer();
	test_elsewhere();
	if (kind == kinds)
		test_turn();
	if (kind->ring)
		test_ring_of_the_dead();
	else
		test_evicted();
}

static void test_object(struct object *o)
{
	size_t i;

	object = o;
	for (i = 0; i < KINDS; i++) {
		kind = &kinds[i];
		test_kind();
	}
}

int main(void)
{
	shared_ret = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	need(shared_ret == MAP_FAILED ? -errno : 0, "mmap");
	/* Whose parent dies becomes ours. */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1))
		need(-errno, "PR_SET_CHILD_SUBREAPER");
	on_every_object(0, test_object);
	return done();
}
