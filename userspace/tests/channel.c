// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Channels between threads and processes: what is sent arrives once, whole and
 * in order, whoever is killed; nobody sleeps for ever; and nothing that is
 * written to the shared memory brings a peer down.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"
#include "wrap.h"

/* The head page is an ABI: processes of two releases may share a channel. */
#define AT_MAGIC 0
#define AT_TURN 128
#define AT_TAIL 384
#define AT_HEAD 512
#define AT_ARRIVED 640
#define AT_ROOM 768
#define AT_DIED 896
#define AT_RECEIVER 928
#define AT_SENDERS 960
#define AT_END 2880
#define SENDERS 60

struct place {
	uint32_t state, pid;
	uint64_t start, space, unused;
};

#define SIZE (64 * KIB)
#define LONG (256 * KIB)

static const char *name; /* of the object */
static struct mmapdev_map *map;
static unsigned char *mem;
static unsigned char sent[LONG], got[LONG];

static int try_open(uint32_t role, uint64_t offset, uint64_t length,
		    struct mmapdev_channel **out)
{
	struct mmapdev_channel_opts opts = {
		.sz = sizeof(opts),
		.offset = offset,
		.length = length,
		.role = role,
	};

	return mmapdev_channel_open(map, &opts, out);
}

/* Of all the map but its first page, from which everything is cut off. */
static struct mmapdev_channel *opened(uint32_t role)
{
	struct mmapdev_channel *ch = NULL;

	need(try_open(role, page_size(), 0, &ch), "open");
	return ch;
}

/* Of two pages: the ring is one. */
static struct mmapdev_channel *small(uint32_t role)
{
	struct mmapdev_channel *ch = NULL;

	need(try_open(role, page_size(), 2 * page_size(), &ch), "open");
	return ch;
}

#define RECEIVER MMAPDEV_CHANNEL_RECEIVER
#define SENDER MMAPDEV_CHANNEL_SENDER

static void anew(void)
{
	wrap_reset();
	memset(mem, 0, mmapdev_map_size(map));
}

static unsigned char *head_page(void)
{
	return mem + page_size();
}

static uint64_t *word(size_t at)
{
	return (uint64_t *)(void *)(head_page() + at);
}

static struct place *place(size_t at)
{
	return (struct place *)(void *)(head_page() + at);
}

static void pattern(unsigned char *data, size_t length, unsigned int seed)
{
	size_t i;

	for (i = 0; i < length; i++)
		data[i] = seed * 31 + i * 7 + (i >> 8);
}

static bool send_one(struct mmapdev_channel *ch, size_t length,
		     unsigned int seed, int timeout)
{
	pattern(sent, length, seed);
	return !mmapdev_channel_send(ch, sent, length, timeout);
}

static bool receive_one(struct mmapdev_channel *ch, size_t length,
			unsigned int seed, int timeout)
{
	ssize_t n;

	memset(got, 0xee, length + 1);
	n = mmapdev_channel_receive(ch, got, sizeof(got), timeout);
	pattern(sent, length, seed);
	return n == (ssize_t)length && !memcmp(got, sent, length) &&
	       got[length] == 0xee;
}

static void test_sizes(void)
{
	struct mmapdev_channel *s, *r;
	size_t max = page_size() - 4, length;
	unsigned int wrong = 0;

	anew();
	s = small(SENDER);
	r = small(RECEIVER);
	for (length = 0; length <= max; length++) {
		wrong += !send_one(s, length, length, 0);
		wrong += !receive_one(r, length, length, 0);
	}
	is(wrong, 0, "each length from 0 to the longest (%s)", name);
	is(mmapdev_channel_send(s, sent, max + 1, -1), -EMSGSIZE,
	   "none is longer (%s)", name);

	for (length = 0; length < page_size(); length += 8) {
		/* Each odd step moves the next one on by 8 bytes. */
		wrong += !send_one(s, max, length, 0);
		wrong += !receive_one(r, max, length, 0);
		wrong += !send_one(s, 4, 1, 0) || !receive_one(r, 4, 1, 0);
	}
	is(wrong, 0, "a message is split wherever the ring ends (%s)", name);

	ok(send_one(s, 100, 7, 0), "a message (%s)", name);
	is(mmapdev_channel_receive(r, got, 99, 0), -EMSGSIZE,
	   "is too long for its receiver (%s)", name);
	ok(receive_one(r, 100, 7, 0), "and stays (%s)", name);
	ok(send_one(s, 0, 0, 0), "a message of nothing (%s)", name);
	is(mmapdev_channel_receive(r, NULL, 0, 0), 0, "is one (%s)", name);
	is(mmapdev_channel_receive(r, NULL, 0, 0), -EAGAIN,
	   "and no second (%s)", name);
	mmapdev_channel_close(s);
	mmapdev_channel_close(r);
}

static void test_whole_ring(void)
{
	struct mmapdev_channel *s, *r;
	unsigned int n;

	anew();
	s = small(SENDER);
	for (n = 0; send_one(s, n % 40, n, 0); n++)
		;
	is(mmapdev_channel_send(s, "", 40, 0), -EAGAIN,
	   "a ring without a receiver fills up (%s)", name);
	r = small(RECEIVER);
	for (n = 0; receive_one(r, n % 40, n, 0); n++)
		;
	ok(n >= page_size() / 48 && n < page_size() / 8,
	   "a receiver who comes late finds all of it (%s)", name);
	is(mmapdev_channel_receive(r, got, sizeof(got), 0), -EAGAIN,
	   "and that is that (%s)", name);
	mmapdev_channel_close(s);
	mmapdev_channel_close(r);
}

/* Who sends, from a thread or a process, to a receiver in the test. */
struct sender {
	pthread_t thread;
	unsigned int id;
	unsigned int count;
	size_t longest;
	int error;
};

struct message {
	uint32_t id;
	uint32_t seq;
	unsigned char data[512];
};

static size_t length_of(const struct sender *s, unsigned int seq)
{
	return 8 + (s->longest ? seq * 37 % s->longest : 0);
}

static void *sending(void *arg)
{
	struct sender *s = arg;
	struct mmapdev_channel *ch = NULL;
	struct message m = { .id = s->id };
	int ret = try_open(SENDER, page_size(), 0, &ch);

	while (!ret && m.seq < s->count) {
		size_t length = length_of(s, ++m.seq);

		pattern(m.data, length - 8, m.id ^ m.seq);
		ret = mmapdev_channel_send(ch, &m, length, -1);
	}
	mmapdev_channel_close(ch);
	s->error = ret;
	return NULL;
}

static int send_process(void *arg)
{
	struct sender *s = arg;

	sending(s);
	return s->error != 0;
}

/* Each sender's are in order and whole: how many are not. */
static unsigned int check(const struct message *m, ssize_t n, uint32_t *seq)
{
	unsigned char data[sizeof(m->data)];

	if (n < 8)
		return 1;
	pattern(data, n - 8, m->id ^ m->seq);
	return m->seq != ++seq[m->id] || memcmp(data, m->data, n - 8);
}

static void test_many(unsigned int senders, unsigned int count, size_t longest,
		      bool processes)
{
	struct sender s[8] = { 0 };
	uint32_t seq[8] = { 0 };
	struct mmapdev_channel *r;
	unsigned int i, total = 0, wrong = 0;
	pid_t pids[8];
	struct message m;
	ssize_t n;

	anew();
	for (i = 0; i < senders; i++) {
		s[i].id = i;
		s[i].count = count;
		s[i].longest = longest;
		if (processes)
			pids[i] = spawn(send_process, &s[i]);
		else
			pthread_create(&s[i].thread, NULL, sending, &s[i]);
	}
	r = opened(RECEIVER);
	for (total = 0; total < senders * count; total++) {
		n = mmapdev_channel_receive(r, &m, sizeof(m), -1);
		/* All who have come may have gone already. */
		if (n == -EPIPE) {
			total--;
			continue;
		}
		if (n < 0 || m.id >= senders)
			break;
		wrong += check(&m, n, seq);
	}
	is(total, senders * count, "%u %s send %u messages each (%s)", senders,
	   processes ? "processes" : "threads", count, name);
	is(wrong, 0, "which come whole and in order (%s)", name);
	for (i = 0; i < senders; i++) {
		if (processes)
			wrong += reap(pids[i]) != 0;
		else
			pthread_join(s[i].thread, NULL);
		wrong += s[i].error != 0;
	}
	is(wrong, 0, "and no sender met an error (%s)", name);
	is(mmapdev_channel_receive(r, &m, sizeof(m), -1), -EPIPE,
	   "then all have closed (%s)", name);
	mmapdev_channel_close(r);
}

#define SHARED 25000

static void *send_shared(void *arg)
{
	static unsigned int ids;
	struct message m = {
		.id = __atomic_fetch_add(&ids, 1, __ATOMIC_RELAXED) % 4,
	};

	for (m.seq = 1; m.seq <= SHARED; m.seq++)
		if (mmapdev_channel_send(arg, &m, 8, -1))
			break;
	return NULL;
}

static void test_one_handle(void)
{
	struct mmapdev_channel *s, *r;
	unsigned int i, wrong = 0;
	uint32_t seq[4] = { 0 };
	pthread_t threads[4];
	struct message m;

	anew();
	s = small(SENDER);
	r = small(RECEIVER);
	for (i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, send_shared, s);
	/* The time is for a test that fails. */
	for (i = 0; i < 4 * SHARED && !wrong; i++)
		wrong += mmapdev_channel_receive(r, &m, 520, 20000) != 8 ||
			 m.id > 3 || m.seq != ++seq[m.id];
	is(wrong, 0, "four threads send by one handle (%s)", name);
	for (i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	mmapdev_channel_close(s);
	mmapdev_channel_close(r);
}

static void test_no_system_calls(void)
{
	struct mmapdev_channel *s, *r;
	unsigned int i, wrong = 0;

	anew();
	s = opened(SENDER);
	r = opened(RECEIVER);
	wrap_reset();
	for (i = 0; i < 10000; i++) {
		wrong += mmapdev_channel_send(s, &i, sizeof(i), -1) != 0;
		wrong += mmapdev_channel_receive(r, got, 4, -1) != 4;
	}
	is(wrong, 0, "10000 messages there and back (%s)", name);
	is(wrap_calls(W_SYSCALL) + wrap_calls(W_POLL), 0,
	   "take no system call where nobody waits (%s)", name);
	mmapdev_channel_close(s);
	mmapdev_channel_close(r);
}

/* As if somebody slept. */
static void test_bells(void)
{
	struct mmapdev_channel *s, *r;
	unsigned int n = 0;

	anew();
	s = small(SENDER);
	r = small(RECEIVER);
	/* Now it has a pidfd. */
	mmapdev_channel_receive(r, got, 1, 0);
	wrap_reset();
	*word(AT_ARRIVED) = 7;
	ok(send_one(s, 4, 0, 0) && send_one(s, 4, 0, 0), "two are sent (%s)",
	   name);
	is(wrap_calls(W_SYSCALL), 1, "the first one rings the bell (%s)", name);
	is(*word(AT_ARRIVED), 8, "which then is still (%s)", name);
	while (send_one(s, 4, 0, 0))
		;
	*word(AT_ROOM) = 1;
	wrap_reset();
	while (receive_one(r, 4, 0, 0) && !wrap_calls(W_SYSCALL))
		n++;
	is(n, page_size() / 16 - 1, "half a ring is free when it rings (%s)",
	   name);
	is(*word(AT_ROOM), 2, "the other bell (%s)", name);
	while (receive_one(r, 4, 0, 0))
		;
	is(wrap_calls(W_SYSCALL), 1, "once (%s)", name);
	*word(AT_ARRIVED) = 1;
	*word(AT_ROOM) = 1;
	mmapdev_channel_close(s);
	is(*word(AT_ARRIVED), 2, "a sender that closes rings (%s)", name);
	mmapdev_channel_close(r);
	is(*word(AT_ROOM), 2, "a receiver too (%s)", name);
}

/*
 * Waits and deaths. A child does as it is told once the test is asleep. Nothing
 * of it passes by luck, only more slowly.
 */
enum act { SEND, CLOSE, DIE };

struct child {
	enum act act;
	uint32_t role;
	uint32_t messages; /* that it sends first */
	pid_t parent;
};

static int child(void *arg)
{
	struct child *c = arg;
	struct mmapdev_channel *ch = small(c->role);
	uint32_t i, n = 0;

	for (i = 0; i < c->messages; i++)
		if (!send_one(ch, 16, i, -1))
			return 2;
	/* Then the parent begins, and sleeps. */
	__atomic_store_n(mem, 1, __ATOMIC_SEQ_CST);
	until_asleep(c->parent);
	switch (c->act) {
	case SEND:
		n = !send_one(ch, 16, 99, -1);
		break;
	case CLOSE:
		break;
	case DIE:
		raise(SIGKILL);
	}
	mmapdev_channel_close(ch);
	return n;
}

static pid_t begin(enum act act, uint32_t role, uint32_t messages)
{
	struct child c = {
		.act = act,
		.role = role,
		.messages = messages,
		.parent = getpid(),
	};
	pid_t pid;

	__atomic_store_n(mem, 0, __ATOMIC_SEQ_CST);
	pid = spawn(child, &c);
	/* It waits until this one sleeps, which it does not here. */
	while (!__atomic_load_n(mem, __ATOMIC_SEQ_CST))
		;
	return pid;
}

static void test_receiver_waits(void)
{
	struct mmapdev_channel *r;
	unsigned int i, wrong = 0;
	pid_t pid;

	anew();
	r = small(RECEIVER);
	pid = begin(SEND, SENDER, 0);
	ok(receive_one(r, 16, 99, -1), "a receiver asleep is woken (%s)",
	   name);
	is(mmapdev_channel_receive(r, got, sizeof(got), -1), -EPIPE,
	   "then the only sender closes (%s)", name);
	is(reap(pid), 0, "which did well (%s)", name);

	pid = begin(CLOSE, SENDER, 0);
	is(mmapdev_channel_receive(r, got, sizeof(got), -1), -EPIPE,
	   "another closes while the receiver sleeps (%s)", name);
	reap(pid);

	pid = begin(DIE, SENDER, 5);
	for (i = 0; i < 5; i++)
		wrong += !receive_one(r, 16, i, -1);
	is(wrong, 0, "of a third all messages come (%s)", name);
	is(mmapdev_channel_receive(r, got, sizeof(got), -1), -ECONNRESET,
	   "and that it died, which nobody waited for yet (%s)", name);
	is(mmapdev_channel_receive(r, got, sizeof(got), -1), -EPIPE,
	   "is told once (%s)", name);
	reap(pid);
	is(place(AT_SENDERS)->state & 3, 2, "it is as good as closed (%s)",
	   name);
	mmapdev_channel_close(r);
}

static void test_sender_waits(void)
{
	struct mmapdev_channel *s, *r;
	unsigned int zero = 0;
	pid_t pid;

	anew();
	s = small(SENDER);
	while (!mmapdev_channel_send(s, &zero, 4, 0))
		;
	pid = begin(DIE, RECEIVER, 0);
	is(mmapdev_channel_send(s, &zero, 4, -1), -ECONNRESET,
	   "a receiver dies on a sender asleep (%s)", name);
	is(mmapdev_channel_send(s, &zero, 4, 0), -ECONNRESET,
	   "and stays dead (%s)", name);
	reap(pid);

	r = small(RECEIVER);
	is(mmapdev_channel_send(s, &zero, 4, 20), -ETIMEDOUT,
	   "until another takes its place (%s)", name);
	mmapdev_channel_close(r);

	pid = begin(CLOSE, RECEIVER, 0);
	is(mmapdev_channel_send(s, &zero, 4, -1), -EPIPE,
	   "a receiver closes on a sender asleep (%s)", name);
	is(mmapdev_channel_send(s, &zero, 4, -1), -EPIPE,
	   "and it stays closed (%s)", name);
	reap(pid);
	mmapdev_channel_close(s);
}

/* Empties the ring once the parent is asleep. */
static int drain(void *arg)
{
	struct mmapdev_channel *ch = small(RECEIVER);
	pid_t *parent = arg;
	int n = 0;

	__atomic_store_n(mem, 1, __ATOMIC_SEQ_CST);
	until_asleep(*parent);
	while (mmapdev_channel_receive(ch, got, 4, -1) == 4)
		n++;
	return n != (int)page_size() / 8 + 1;
}

static void test_room(void)
{
	struct mmapdev_channel *s;
	pid_t pid, me = getpid();
	unsigned int n = 0;

	anew();
	s = small(SENDER);
	while (!mmapdev_channel_send(s, &n, 4, 0))
		n++;
	is(n, page_size() / 8, "as many as fit (%s)", name);
	pid = spawn(drain, &me);
	while (!__atomic_load_n(mem, __ATOMIC_SEQ_CST))
		;
	is(mmapdev_channel_send(s, &n, 4, -1), 0,
	   "a sender asleep is woken when there is room (%s)", name);
	mmapdev_channel_close(s);
	is(reap(pid), 0, "and the receiver had all of them (%s)", name);
}

static void test_stopped(void)
{
	struct mmapdev_channel *r;
	pid_t pid;

	anew();
	r = small(RECEIVER);
	pid = begin(DIE, SENDER, 0);
	kill(pid, SIGSTOP);
	is(mmapdev_channel_receive(r, got, sizeof(got), 250), -ETIMEDOUT,
	   "a sender that is stopped is not dead (%s)", name);
	kill(pid, SIGKILL);
	is(mmapdev_channel_receive(r, got, sizeof(got), -1), -ECONNRESET,
	   "a zombie is (%s)", name);
	reap(pid);
	mmapdev_channel_close(r);
}

static void nothing(int sig)
{
	(void)sig;
}

static void test_interrupted(void)
{
	struct itimerval often = { { 0, 5000 }, { 0, 5000 } }, never = { 0 };
	struct sigaction act = {
		.sa_handler = nothing,
		.sa_flags = SA_RESTART,
	};
	struct mmapdev_channel *s, *r;

	anew();
	s = small(SENDER);
	r = small(RECEIVER);
	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	is(mmapdev_channel_receive(r, got, sizeof(got), -1), -EINTR,
	   "a signal interrupts a receiver (%s)", name);
	while (send_one(s, 0, 0, 0))
		;
	is(mmapdev_channel_send(s, NULL, 0, -1), -EINTR,
	   "and a sender (%s)", name);
	setitimer(ITIMER_REAL, &never, NULL);
	mmapdev_channel_close(s);
	mmapdev_channel_close(r);
}

static void test_timeouts(void)
{
	struct mmapdev_channel *s, *r;
	uint64_t before;
	struct timespec ts;

	anew();
	s = small(SENDER);
	r = small(RECEIVER);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	before = ts.tv_sec * 1000000000ull + ts.tv_nsec;
	is(mmapdev_channel_receive(r, got, sizeof(got), 30), -ETIMEDOUT,
	   "no message in time (%s)", name);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ok(ts.tv_sec * 1000000000ull + ts.tv_nsec - before >= 30000000,
	   "and not before (%s)", name);
	is(mmapdev_channel_receive(r, got, sizeof(got), 0), -EAGAIN,
	   "no message now (%s)", name);
	while (send_one(s, 0, 0, 0))
		;
	is(mmapdev_channel_send(s, NULL, 0, 3), -ETIMEDOUT,
	   "no room in time (%s)", name);
	is(mmapdev_channel_send(s, NULL, 0, 0), -EAGAIN, "no room now (%s)",
	   name);
	is(mmapdev_channel_receive(r, got, 0, 3), 0,
	   "what is there is had at once (%s)", name);
	mmapdev_channel_close(s);
	mmapdev_channel_close(r);
}

/* Senders that are killed at any moment: acked[life] messages were accepted. */
#define LIVES 100

struct kills {
	uint32_t acked[LIVES];
	uint32_t seen[LIVES];
	uint32_t stop;
};

static struct kills *kills;

static int mortal(void *arg)
{
	struct sender s = { .longest = 500 };
	struct message m = { .id = *(unsigned int *)arg };
	struct mmapdev_channel *ch;
	int ret = try_open(SENDER, page_size(), 4 * page_size(), &ch);

	while (!ret && !__atomic_load_n(&kills->stop, __ATOMIC_RELAXED)) {
		size_t length = length_of(&s, ++m.seq);

		pattern(m.data, length - 8, m.id ^ m.seq);
		ret = mmapdev_channel_send(ch, &m, length, -1);
		if (!ret)
			__atomic_store_n(&kills->acked[m.id], m.seq,
					 __ATOMIC_RELEASE);
	}
	if (!ret)
		ret = mmapdev_channel_close(ch);
	return ret != 0;
}

static void test_killed_senders(void)
{
	unsigned int life = 0, i, n, wrong = 0, lost = 0, errors = 0;
	struct mmapdev_channel *r;
	pid_t pids[4];
	struct message m;
	ssize_t ret;

	anew();
	memset(kills, 0, sizeof(*kills));
	need(try_open(RECEIVER, page_size(), 4 * page_size(), &r), "open");
	for (i = 0; i < 4; i++) {
		pids[i] = spawn(mortal, &life);
		life++;
	}
	srand(1);
	while (life < LIVES) {
		for (n = rand() % 100; n; n--) {
			ret = mmapdev_channel_receive(r, &m, sizeof(m), -1);
			errors += ret < 0;
			if (ret > 0 && m.id < LIVES)
				wrong += check(&m, ret, kills->seen);
		}
		i = rand() % 4;
		slay(pids[i]);
		pids[i] = spawn(mortal, &life);
		life++;
	}
	__atomic_store_n(&kills->stop, 1, __ATOMIC_RELAXED);
	while ((ret = mmapdev_channel_receive(r, &m, sizeof(m), -1)) > 0)
		wrong += m.id >= LIVES || check(&m, ret, kills->seen);
	is(ret, -ECONNRESET, "some died (%s)", name);
	for (i = 0; i < 4; i++)
		errors += reap(pids[i]) != 0;
	for (i = 0; i < LIVES; i++)
		lost += kills->seen[i] < kills->acked[i] ||
			kills->seen[i] > kills->acked[i] + 1;
	is(errors, 0, "%d of 4 senders are killed (%s)", LIVES - 4, name);
	is(wrong, 0, "no message is torn or out of order (%s)", name);
	is(lost, 0, "none that was sent is lost (%s)", name);
	mmapdev_channel_close(r);
}

/* Receivers that are killed at any moment. */
#define NUMBERS 40000

struct taken {
	uint32_t times[NUMBERS];
	uint32_t disorder;
};

static struct taken *taken;

static int mortal_receiver(void *arg)
{
	struct mmapdev_channel *ch;
	uint32_t number, last = 0;
	ssize_t ret;

	(void)arg;
	if (try_open(RECEIVER, page_size(), 2 * page_size(), &ch))
		return 3;
	while ((ret = mmapdev_channel_receive(ch, &number, 4, -1)) == 4) {
		if (number >= NUMBERS || number < last)
			__atomic_store_n(&taken->disorder, 1,
					 __ATOMIC_RELAXED);
		else
			__atomic_add_fetch(&taken->times[number], 1,
					   __ATOMIC_RELAXED);
		last = number;
	}
	return ret == -EPIPE ? 0 : 4;
}

static void test_killed_receivers(void)
{
	unsigned int i, deaths = 0, twice = 0, never = 0, errors = 0;
	struct mmapdev_channel *s;
	uint32_t number = 0;
	pid_t pid;
	int ret;

	anew();
	memset(taken, 0, sizeof(*taken));
	srand(2);
	s = small(SENDER);
	pid = spawn(mortal_receiver, NULL);
	while (number < NUMBERS) {
		i = rand() % 600;
		while (i && number < NUMBERS) {
			ret = mmapdev_channel_send(s, &number, 4, -1);
			number += !ret;
			i -= !ret;
			/* Until the next one has come. */
			errors += ret && ret != -ECONNRESET;
		}
		slay(pid);
		deaths++;
		pid = spawn(mortal_receiver, NULL);
	}
	mmapdev_channel_close(s);
	is(reap(pid), 0, "the last of the receivers ends well (%s)", name);
	for (i = 0; i < NUMBERS; i++) {
		twice += taken->times[i] > 1;
		never += !taken->times[i];
	}
	is(errors, 0, "%u receivers are killed (%s)", deaths, name);
	is(twice, 0, "no message is received twice (%s)", name);
	is(taken->disorder, 0, "or out of order (%s)", name);
	ok(never <= deaths, "each takes one with it at most (%s)", name);
}

static void test_places(void)
{
	struct mmapdev_channel *s[SENDERS + 1], *r, *other;
	unsigned int i;

	anew();
	r = small(RECEIVER);
	is(try_open(RECEIVER, page_size(), 2 * page_size(), &other), -EBUSY,
	   "there is one receiver (%s)", name);
	for (i = 0; i < SENDERS; i++)
		s[i] = small(SENDER);
	is(try_open(SENDER, page_size(), 2 * page_size(), &s[i]), -EUSERS,
	   "and %d senders (%s)", SENDERS, name);
	mmapdev_channel_close(s[7]);
	s[7] = small(SENDER);
	ok(s[7], "one who leaves makes room for another (%s)", name);

	/* Another process of the same pid was here before. */
	place(AT_SENDERS + 32)->start--;
	other = small(SENDER);
	ok(other, "so does one who died (%s)", name);
	is(*word(AT_DIED) & 1, 1, "of which there is a note (%s)", name);
	for (i = 0; i < SENDERS; i++)
		is(mmapdev_channel_close(s[i]), 0, "close (%s)", name);
	is(mmapdev_channel_receive(r, got, 1, 0), -EAGAIN,
	   "the last one is left (%s)", name);
	mmapdev_channel_close(other);
	is(mmapdev_channel_receive(r, got, 1, 0), -ECONNRESET,
	   "and it is told that one had died (%s)", name);

	place(AT_RECEIVER)->space++;
	is(try_open(RECEIVER, page_size(), 2 * page_size(), &other), -EXDEV,
	   "whether a receiver elsewhere lives cannot be known (%s)", name);
	place(AT_RECEIVER)->space--;
	place(AT_RECEIVER)->start++;
	is(try_open(RECEIVER, page_size(), 2 * page_size(), &other), 0,
	   "the place of a dead one is taken (%s)", name);
	mmapdev_channel_close(r);
	is(place(AT_RECEIVER)->state & 3, 1,
	   "for good: the old one closes its own, if any (%s)", name);
	mmapdev_channel_close(other);
	is(place(AT_RECEIVER)->state & 3, 2, "as the new one does (%s)", name);
}

static void test_before_and_after(void)
{
	struct mmapdev_channel *s, *r;

	anew();
	r = small(RECEIVER);
	is(mmapdev_channel_receive(r, got, 1, 1), -ETIMEDOUT,
	   "a receiver waits for the first sender (%s)", name);
	s = small(SENDER);
	ok(send_one(s, 9, 1, 0), "a message (%s)", name);
	mmapdev_channel_close(s);
	ok(receive_one(r, 9, 1, 0), "outlives its sender (%s)", name);
	is(mmapdev_channel_receive(r, got, 1, 1), -EPIPE,
	   "that was the last one (%s)", name);
	s = small(SENDER);
	is(mmapdev_channel_receive(r, got, 1, 1), -ETIMEDOUT,
	   "until another comes (%s)", name);
	mmapdev_channel_close(r);
	is(mmapdev_channel_send(s, "", 1, -1), -EPIPE,
	   "who sends to nobody (%s)", name);
	r = small(RECEIVER);
	ok(send_one(s, 5, 5, 0) && receive_one(r, 5, 5, 0),
	   "until there is a receiver again (%s)", name);
	mmapdev_channel_close(s);
	place(AT_RECEIVER)->start--;
	mmapdev_channel_close(r);
	place(AT_RECEIVER)->state -= 1;
	r = small(RECEIVER);
	is(mmapdev_channel_receive(r, got, 1, 1), -EPIPE,
	   "who follows one who died is told what that one would be (%s)",
	   name);
	mmapdev_channel_close(r);
	r = small(RECEIVER);
	is(mmapdev_channel_receive(r, got, 1, 1), -ETIMEDOUT,
	   "who follows one who closed begins anew (%s)", name);
	mmapdev_channel_close(r);
	s = small(SENDER);
	ok(send_one(s, 4, 4, 0), "so does a sender, before there is one (%s)",
	   name);
	r = small(RECEIVER);
	ok(receive_one(r, 4, 4, 0), "who finds what it sent (%s)", name);
	ok(send_one(s, 5, 5, 0), "and all else (%s)", name);
	mmapdev_channel_close(r);
	is(mmapdev_channel_send(s, "", 1, 1), -EPIPE, "until he closes (%s)",
	   name);
	mmapdev_channel_close(s);
	r = small(RECEIVER);
	ok(receive_one(r, 5, 5, 0), "what is left is received (%s)", name);
	is(mmapdev_channel_receive(r, got, 1, 1), -EPIPE,
	   "and the end of it (%s)", name);
	mmapdev_channel_close(r);
	is(mmapdev_channel_close(NULL), 0, "close nobody's (%s)", name);
}

static size_t ending;
static struct mmapdev_channel *last_words;

/* While it is asked whether it lives, the peer closes, and then it ends. */
static void end_well(enum wrapped call)
{
	if (call != W_OPEN)
		return;
	if (last_words)
		send_one(last_words, 9, 9, 0);
	place(ending)->state += 1;
}

static void test_closed_and_ended(void)
{
	struct mmapdev_channel *s, *r;

	anew();
	s = small(SENDER);
	r = small(RECEIVER);
	ending = AT_SENDERS;
	place(ending)->start--;
	wrap_before(end_well);
	is(mmapdev_channel_receive(r, got, 1, 0), -EPIPE,
	   "who closed and then ended has not died (%s)", name);
	wrap_reset();
	is(mmapdev_channel_receive(r, got, 1, 0), -EPIPE, "nor later (%s)",
	   name);

	place(ending)->state += 3;
	place(ending)->start--;
	last_words = s;
	wrap_before(end_well);
	ok(receive_one(r, 9, 9, 0), "what it said last is heard (%s)", name);
	wrap_reset();
	last_words = NULL;

	while (send_one(s, 0, 0, 0))
		;
	ending = AT_RECEIVER;
	place(ending)->start--;
	wrap_before(end_well);
	is(mmapdev_channel_send(s, "", 1, 101), -EPIPE,
	   "nor has a receiver (%s)", name);
	wrap_reset();
	mmapdev_channel_close(s);
	mmapdev_channel_close(r);
}

static int open_elsewhere(void *arg)
{
	struct mmapdev_channel *ch;

	(void)arg;
	return -try_open(SENDER, page_size(), 2 * page_size(), &ch);
}

/* Its child has a pid of its own, of which /proc knows nothing. */
static int unshared(void *arg)
{
	return unshare(CLONE_NEWPID) ? EXDEV : reap(spawn(open_elsewhere, arg));
}

static void test_elsewhere(void)
{
	struct mmapdev_channel *s, *r, *other;

	anew();
	is(reap(spawn(unshared, NULL)), EXDEV,
	   "a /proc of others is no use (%s)", name);
	s = small(SENDER);
	r = small(RECEIVER);
	place(AT_SENDERS)->space++;
	is(try_open(SENDER, page_size(), 2 * page_size(), &other), -EXDEV,
	   "a sender takes no turns with one elsewhere (%s)", name);
	place(AT_SENDERS)->start--;
	is(mmapdev_channel_receive(r, got, 1, 0), -EAGAIN,
	   "a sender elsewhere is taken to live (%s)", name);
	place(AT_SENDERS)->space--;
	place(AT_SENDERS)->start++;
	mmapdev_channel_close(r);
	r = small(RECEIVER);
	wrap_fail(W_OPEN, 1, ENOENT);
	is(mmapdev_channel_receive(r, got, 1, 0), -EAGAIN,
	   "so is one whom /proc hides, if he does (%s)", name);
	mmapdev_channel_close(s);
	mmapdev_channel_close(r);
}

static int readable(int fd, int timeout)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, timeout);
}

#define BURSTS 20000

static void test_poll(bool processes)
{
	struct sender s = { .count = BURSTS, .longest = 100 };
	unsigned int n = 0, wrong = 0, polls = 0;
	uint32_t seq[1] = { 0 };
	struct mmapdev_channel *r;
	struct message m;
	ssize_t ret = 0;
	pid_t pid = 0;
	int fd;

	anew();
	r = opened(RECEIVER);
	if (processes)
		pid = spawn(send_process, &s);
	fd = mmapdev_channel_fd(r);
	ok(fd >= 0, "a channel has a descriptor (%s)", name);
	is(mmapdev_channel_fd(r), fd, "which is always the same (%s)", name);
	if (!processes)
		pthread_create(&s.thread, NULL, sending, &s);
	while (ret != -EPIPE && readable(fd, 20000) == 1) {
		polls++;
		while ((ret = mmapdev_channel_receive(r, &m, 520, 0)) > 0) {
			wrong += check(&m, ret, seq);
			n++;
		}
		if (ret != -EAGAIN)
			break;
	}
	is(n, BURSTS, "poll tells of each message of a %s (%s)",
	   processes ? "process" : "thread", name);
	is(wrong, 0, "in order (%s)", name);
	is(ret, -EPIPE, "and of the end (%s)", name);
	is(readable(fd, 0), 1, "which stays (%s)", name);
	if (processes)
		is(reap(pid), 0, "a good one (%s)", name);
	else
		pthread_join(s.thread, NULL);
	mmapdev_channel_close(r);
	is(fcntl(fd, F_GETFD), -1, "close closes the descriptor (%s)", name);
}

static void test_level(void)
{
	struct mmapdev_channel *s, *r;
	pid_t pid;
	int fd;

	anew();
	r = small(RECEIVER);
	s = small(SENDER);
	fd = mmapdev_channel_fd(r);
	is(mmapdev_channel_fd(s), -EINVAL, "a sender has none (%s)", name);
	is(readable(fd, 0), 0, "nothing to read (%s)", name);
	send_one(s, 1, 1, 0);
	is(readable(fd, 20000), 1, "something to read (%s)", name);
	send_one(s, 1, 2, 0);
	ok(receive_one(r, 1, 1, 0), "one is received (%s)", name);
	is(readable(fd, 0), 1, "another is there (%s)", name);
	ok(receive_one(r, 1, 2, 0), "and received (%s)", name);
	is(mmapdev_channel_receive(r, got, 1, 0), -EAGAIN,
	   "now there is none (%s)", name);
	is(readable(fd, 0), 0, "and the descriptor knows (%s)", name);

	/* poll(2) sleeps, and the child dies then. */
	mmapdev_channel_close(s);
	is(readable(fd, 20000), 1, "all have closed (%s)", name);
	is(mmapdev_channel_receive(r, got, 1, 0), -EPIPE, "so it is (%s)",
	   name);
	mmapdev_channel_close(r);

	anew();
	r = small(RECEIVER);
	pid = begin(DIE, SENDER, 0);
	fd = mmapdev_channel_fd(r);
	is(readable(fd, 20000), 1, "the only sender dies (%s)", name);
	is(mmapdev_channel_receive(r, got, 1, 0), -ECONNRESET,
	   "so it is (%s)", name);
	reap(pid);
	mmapdev_channel_close(r);
}

/* A child of fork(2) that closes what is not its own. */
static int closes(void *arg)
{
	return mmapdev_channel_close(arg);
}

static void test_fork(void)
{
	struct mmapdev_channel *s, *r;
	int i, fd, wrong = 0;

	anew();
	s = small(SENDER);
	r = small(RECEIVER);
	fd = mmapdev_channel_fd(r);
	is(reap(spawn(closes, s)), 0, "a child closes a sender (%s)", name);
	is(reap(spawn(closes, r)), 0, "and a receiver (%s)", name);
	ok(send_one(s, 3, 3, 0), "which leaves the parent's alone (%s)", name);
	/* The thread behind it, which the child has not, now rests. */
	is(readable(fd, 20000), 1, "with its descriptor (%s)", name);
	for (i = 0; i < 20; i++)
		wrong += reap(spawn(closes, r));
	is(wrong, 0, "whatever its thread is doing (%s)", name);
	ok(receive_one(r, 3, 3, 0), "nothing is lost by it (%s)", name);
	mmapdev_channel_close(s);
	mmapdev_channel_close(r);
}

static void *wait_long(void *arg)
{
	char byte;

	return (void *)(intptr_t)mmapdev_channel_receive(arg, &byte, 1, -1);
}

static void test_two_threads_receive(void)
{
	struct mmapdev_channel *s, *r;
	pthread_t thread;
	void *result;

	anew();
	s = small(SENDER);
	r = small(RECEIVER);
	pthread_create(&thread, NULL, wait_long, r);
	/* It listens for the bell. */
	while (!(__atomic_load_n(word(AT_ARRIVED), __ATOMIC_SEQ_CST) & 1))
		;
	is(mmapdev_channel_receive(r, got, 1, 0), -EBUSY,
	   "one thread receives at a time (%s)", name);
	send_one(s, 1, 1, 0);
	pthread_join(thread, &result);
	is((intptr_t)result, 1, "which has its message (%s)", name);
	mmapdev_channel_close(s);
	mmapdev_channel_close(r);
}

static void test_refused(struct object *o)
{
	struct mmapdev_channel_opts opts = { .sz = sizeof(opts) };
	struct mmapdev_map_opts reader = {
		.sz = sizeof(reader),
		.flags = MMAPDEV_MAP_READONLY,
	};
	struct mmapdev_map_opts private = {
		.sz = sizeof(private),
		.flags = MMAPDEV_MAP_PRIVATE,
	};
	struct mmapdev_map *whole = map, *other;
	struct mmapdev_mutex *turn;
	struct mmapdev *eager;
	uint64_t page = page_size(), size = mmapdev_map_size(map);
	struct mmapdev_channel *ch = NULL, *s, *r;
	struct {
		struct mmapdev_channel_opts opts;
		uint64_t more;
	} longer = { { .sz = sizeof(longer) }, 1 };

	anew();
	is(mmapdev_channel_open(NULL, &opts, &ch), -EINVAL, "no map (%s)",
	   name);
	is(mmapdev_channel_open(map, NULL, &ch), -EINVAL, "no options (%s)",
	   name);
	is(mmapdev_channel_open(map, &opts, NULL), -EINVAL, "no result (%s)",
	   name);
	opts.sz--;
	is(mmapdev_channel_open(map, &opts, &ch), -EINVAL,
	   "too short a struct (%s)", name);
	is(mmapdev_channel_open(map, &longer.opts, &ch), -E2BIG,
	   "options of the future (%s)", name);
	opts.sz++;
	opts.reserved = 1;
	is(mmapdev_channel_open(map, &opts, &ch), -EINVAL, "reserved (%s)",
	   name);
	is(try_open(2, 0, 0, &ch), -EINVAL, "a third role (%s)", name);
	is(try_open(0, 8, 0, &ch), -EINVAL, "offsets are pages (%s)", name);
	is(try_open(0, 0, 2 * page + 8, &ch), -EINVAL,
	   "lengths are pages (%s)", name);
	is(try_open(0, 0, page, &ch), -EINVAL, "and two at least (%s)", name);
	is(try_open(0, size - page, 0, &ch), -EINVAL,
	   "of the rest too (%s)", name);
	is(try_open(0, size, 0, &ch), -ERANGE, "at the end (%s)", name);
	is(try_open(0, size + page, 0, &ch), -ERANGE, "beyond it (%s)", name);
	is(try_open(0, page, size, &ch), -ERANGE, "too long (%s)", name);
	is(try_open(0, page, -page, &ch), -ERANGE, "an overflow (%s)", name);
	need(mmapdev_map(o->dev, &reader, &map), "map");
	is(try_open(0, page, 0, &ch), -EBADF, "a reader's map (%s)", name);
	other = map;
	mmapdev_unmap(other);
	need(mmapdev_map(o->dev, &private, &map), "map");
	is(try_open(0, page, 0, &ch), -EINVAL, "a private map (%s)", name);
	mmapdev_unmap(map);
	map = whole;
	ok(!ch, "none of these made a channel (%s)", name);

	if (!strcmp(name, "device")) {
		eager = reopen(o, O_RDWR);
		need(mmapdev_set_mode(eager, MMAPDEV_MODE_EAGER), "eager");
		need(mmapdev_map(eager, NULL, &map), "map");
		is(try_open(0, page, 0, &ch), -EOPNOTSUPP,
		   "an eager map has no futexes (%s)", name);
		mmapdev_unmap(map);
		mmapdev_close(eager);
		map = whole;
	}

	s = small(SENDER);
	r = small(RECEIVER);
	is(try_open(0, page, 3 * page, &ch), -EBADMSG,
	   "a channel of other size (%s)", name);
	need(mmapdev_mutex_init(map, page + AT_TURN, &turn), "turn");
	need(mmapdev_mutex_lock(turn, 0, NULL, NULL), "turn");
	is(mmapdev_channel_send(s, "", 1, 0), -EDEADLK,
	   "in the middle of a send (%s)", name);
	need(mmapdev_mutex_unlock(turn), "turn");
	is(mmapdev_channel_send(NULL, "", 1, 0), -EINVAL, "send (%s)", name);
	is(mmapdev_channel_send(s, NULL, 1, 0), -EINVAL, "nothing (%s)", name);
	is(mmapdev_channel_send(s, "", 1, -2), -EINVAL, "timeout (%s)", name);
	is(mmapdev_channel_send(r, "", 1, 0), -EINVAL, "role (%s)", name);
	is(mmapdev_channel_receive(NULL, got, 1, 0), -EINVAL, "receive (%s)",
	   name);
	is(mmapdev_channel_receive(r, NULL, 1, 0), -EINVAL, "nowhere (%s)",
	   name);
	is(mmapdev_channel_receive(r, got, 1, -2), -EINVAL, "timeout (%s)",
	   name);
	is(mmapdev_channel_receive(s, got, 1, 0), -EINVAL, "role (%s)", name);
	is(mmapdev_channel_fd(NULL), -EINVAL, "descriptor (%s)", name);
	mmapdev_channel_close(s);
	mmapdev_channel_close(r);
}

static void test_foreign(void)
{
	struct mmapdev_channel *ch;
	uint64_t page = page_size();

	anew();
	*word(AT_MAGIC) = 0x7f454c46;
	is(try_open(SENDER, page, 0, &ch), -EBADMSG, "foreign contents (%s)",
	   name);
	*word(AT_MAGIC) = 0;
	*word(AT_END - 8) = 1;
	is(try_open(SENDER, page, 0, &ch), -EBADMSG,
	   "that begin with zeros (%s)", name);
	is(*word(AT_MAGIC), 0, "stay as they are (%s)", name);
	*word(AT_END - 8) = 0;
	memset(mem + 2 * page, 0xff, page);
	is(try_open(SENDER, page, 2 * page, &ch), 0,
	   "the ring may hold what it likes (%s)", name);
	is(*word(AT_MAGIC), (0x6d43ull << 48) | 2, "a magic, and pages (%s)",
	   name);
	is(place(AT_SENDERS)->pid, getpid(), "a pid (%s)", name);
	mmapdev_channel_close(ch);
}

/* Everything is called: whether something else than an error is returned. */
static void call_all(struct mmapdev_channel *s, struct mmapdev_channel *r)
{
	struct mmapdev_channel *ch;
	int i;

	for (i = 0; i < 3; i++) {
		mmapdev_channel_send(s, sent, i * 100, 0);
		mmapdev_channel_send(s, sent, page_size() - 4, 0);
		mmapdev_channel_receive(r, got, page_size(), 0);
		mmapdev_channel_receive(r, got, page_size(), 0);
	}
	mmapdev_channel_send(s, sent, page_size() - 4, 1);
	mmapdev_channel_receive(r, got, page_size(), 1);
	if (!try_open(SENDER, page_size(), 2 * page_size(), &ch))
		mmapdev_channel_close(ch);
	if (!try_open(RECEIVER, page_size(), 2 * page_size(), &ch))
		mmapdev_channel_close(ch);
}

static uint64_t random_word(void)
{
	static const uint64_t likely[] = {
		0, 1, 4, 8, 4088, 4096, 4104, 1ull << 31, 1ull << 32,
		1ull << 63, ~0ull, ~7ull, 0xffffffff,
	};
	uint64_t r = (uint64_t)rand() << 32 ^ (uint64_t)rand() << 16 ^ rand();

	switch (rand() % 3) {
	case 0:
		return likely[r % (sizeof(likely) / sizeof(likely[0]))];
	case 1:
		return r & ~7ull;
	default:
		return r;
	}
}

/* The C library's mutexes are the only words that are left alone. */
static size_t random_place(void)
{
	static const size_t places[] = { AT_TAIL, AT_HEAD, AT_ARRIVED, AT_ROOM,
					 AT_DIED };
	size_t at = rand() % (AT_END / 8) * 8;

	if (rand() % 2)
		return places[rand() % 5];
	return at < AT_TAIL ? AT_RECEIVER + at % 64 : at;
}

static void test_corrupt(void)
{
	struct mmapdev_channel *s, *r;
	uint64_t page = page_size();
	unsigned int i, j;

	srand(3);
	anew();
	memset(mem, 0x5a, page);
	memset(mem + 3 * page, 0x5a, page);
	for (i = 0; i < 150; i++) {
		memset(head_page(), 0, 2 * page);
		s = small(SENDER);
		r = small(RECEIVER);
		send_one(s, 100, i, 0);
		for (j = 0; j < 4; j++) {
			if (rand() % 4)
				*word(random_place()) = random_word();
			else
				*word(page + rand() % (page / 8) * 8) =
					random_word();
			call_all(s, r);
		}
		mmapdev_channel_close(s);
		mmapdev_channel_close(r);
	}
	for (i = 0, j = 0; i < page; i++)
		j += mem[i] != 0x5a || mem[3 * page + i] != 0x5a;
	is(j, 0, "garbage leads nobody out of the channel (%s)", name);
}

/* Writes garbage while the others are at work. */
static void *vandal(void *arg)
{
	unsigned int seed = 4;
	int *stop = arg;

	while (!__atomic_load_n(stop, __ATOMIC_RELAXED)) {
		size_t at = rand_r(&seed) % 2 ? AT_TAIL : AT_HEAD;

		__atomic_store_n(word(at), rand_r(&seed) % 4096 * 8,
				 __ATOMIC_RELAXED);
		__atomic_store_n((uint32_t *)(void *)word(page_size() +
				 rand_r(&seed) % 512 * 8),
				 rand_r(&seed) % 8192, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void test_vandal(void)
{
	uint64_t page = page_size();
	struct mmapdev_channel *s, *r;
	unsigned int i, wrong = 0;
	int stop = 0;
	pthread_t thread;

#ifdef __SANITIZE_THREAD__
	/* It races by intention. */
	return;
#endif
	anew();
	memset(mem, 0x5a, page);
	memset(mem + 3 * page, 0x5a, page);
	s = small(SENDER);
	r = small(RECEIVER);
	pthread_create(&thread, NULL, vandal, &stop);
	for (i = 0; i < 200000; i++) {
		mmapdev_channel_send(s, sent, i % 4093, 0);
		mmapdev_channel_receive(r, got, i % 4093, 0);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	for (i = 0; i < page; i++)
		wrong += mem[i] != 0x5a || mem[3 * page + i] != 0x5a;
	is(wrong, 0, "nor while it is written (%s)", name);
	mmapdev_channel_close(s);
	mmapdev_channel_close(r);
}

static void test_corrupt_words(void)
{
	struct mmapdev_channel *s, *r;

	anew();
	s = small(SENDER);
	r = small(RECEIVER);
	*word(AT_TAIL) = 4;
	is(mmapdev_channel_send(s, "", 1, -1), -EBADMSG, "no tail (%s)", name);
	is(mmapdev_channel_receive(r, got, 1, -1), -EBADMSG,
	   "for either (%s)", name);
	*word(AT_TAIL) = page_size() + 8;
	is(mmapdev_channel_receive(r, got, 1, -1), -EBADMSG,
	   "more than fits (%s)", name);
	*word(AT_TAIL) = 8;
	*word(page_size()) = 5;
	is(mmapdev_channel_receive(r, got, 10, -1), -EBADMSG,
	   "a message beyond the tail (%s)", name);
	*word(page_size()) = 0xfffffffc;
	is(mmapdev_channel_receive(r, got, 10, -1), -EBADMSG,
	   "beyond everything (%s)", name);
	*word(page_size()) = 3;
	is(mmapdev_channel_receive(r, got, 10, -1), 3, "and a good one (%s)",
	   name);
	place(AT_SENDERS)->pid = 0;
	is(mmapdev_channel_receive(r, got, 10, -1), -EBADMSG,
	   "no sender's pid (%s)", name);
	mmapdev_channel_close(s);
	mmapdev_channel_close(r);
}

/* The n-th of the calls of one kind fails. */
static struct {
	enum wrapped call;
	int n;
	int err;
} plan;

static void fail_planned(enum wrapped call)
{
	if (call == plan.call && !--plan.n)
		wrap_fail(call, 1, plan.err);
}

static int do_open(void)
{
	struct mmapdev_channel *ch;
	int ret = try_open(SENDER, page_size(), 2 * page_size(), &ch);

	return ret ? ret : mmapdev_channel_close(ch);
}

/* In the place of one who died: that is asked of the system too. */
static int do_take_over(void)
{
	struct mmapdev_channel *ch;
	int ret;

	place(AT_RECEIVER)->state = 1;
	place(AT_RECEIVER)->pid = getpid();
	place(AT_RECEIVER)->start = 1;
	place(AT_RECEIVER)->space = place(AT_SENDERS)->space;
	ret = try_open(RECEIVER, page_size(), 2 * page_size(), &ch);
	return ret ? ret : mmapdev_channel_close(ch);
}

static struct mmapdev_channel *waiting;

static int do_receive(void)
{
	static struct place *at;
	int ret;

	/* In another place each time, where nobody is watched yet. */
	if (!at || !at->state)
		at = place(AT_SENDERS);
	at[1] = at[0];
	at++->state = 0;
	ret = mmapdev_channel_receive(waiting, got, 1, 101);
	return ret == -ETIMEDOUT ? 0 : ret;
}

static int fds(void)
{
	int n = 0, fd;

	for (fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Each call of a kind fails in its turn, until there is none left to. */
static void fail_each(const char *what, int (*call)(void), enum wrapped kind,
		      int err, int wanted, int least)
{
	int n, ret = wanted, left = fds(), wrong = 0, leaks = 0, after = 0;
	int first = 0;

	for (n = 1; n < 100; n++) {
		wrap_reset();
		plan.call = kind;
		plan.n = n;
		plan.err = err;
		wrap_before(fail_planned);
		ret = call();
		wrap_reset();
		if (plan.n > 0)
			break;
		if (n == 1)
			first = ret;
		wrong += ret != wanted;
		leaks += call != do_receive && fds() != left;
		after += call() != 0;
	}
	is(first, wanted, "%s: it fails (%s)", what, name);
	is(wrong, 0, "%s: so it does each time (%s)", what, name);
	is(ret, 0, "%s: at last all goes well (%s)", what, name);
	ok(n > least, "%s: after %d failures (%s)", what, n - 1, name);
	is(leaks, 0, "%s: and left nothing (%s)", what, name);
	is(after, 0, "%s: not even a trouble (%s)", what, name);
}

static void test_failures(void)
{
	struct mmapdev_channel *s;
	int left;

	anew();
	fail_each("open: calloc", do_open, W_CALLOC, ENOMEM, -ENOMEM, 1);
	fail_each("open: open", do_open, W_OPEN, EMFILE, -EMFILE, 3);
	wrap_fail(W_OPEN, 1, ENOENT);
	is(do_open(), -ENOENT, "open: no /proc (%s)", name);
	fail_each("open: fstat", do_open, W_FSTAT, EIO, -EIO, 2);
	fail_each("open: pread", do_open, W_PREAD, EIO, -EIO, 1);
	fail_each("open: no text", do_open, W_PREAD, 0, -EIO, 1);
	fail_each("open: madvise", do_open, W_MADVISE, EFAULT, -EFAULT, 1);
	fail_each("open: no futex", do_open, W_SYSCALL, EFAULT, -EOPNOTSUPP, 1);

	anew();
	is(do_open(), 0, "a channel (%s)", name);
	fail_each("takeover: open", do_take_over, W_OPEN, EMFILE, -EMFILE, 4);
	fail_each("takeover: pread", do_take_over, W_PREAD, EIO, -EIO, 2);

	anew();
	s = small(SENDER);
	waiting = small(RECEIVER);
	fail_each("receive: pidfd", do_receive, W_SYSCALL, EMFILE, -EMFILE, 1);
	wrap_fail(W_SYSCALL, 1, ENOSYS);
	is(do_receive(), -ENOSYS, "receive: an old kernel (%s)", name);
	fail_each("receive: poll", do_receive, W_POLL, ENOMEM, -ENOMEM, 1);
	fail_each("receive: stat", do_receive, W_OPEN, ENFILE, -ENFILE, 1);
	mmapdev_channel_close(s);
	mmapdev_channel_close(waiting);

	anew();
	waiting = small(RECEIVER);
	left = fds();
	wrap_fail(W_EVENTFD, 1, EMFILE);
	is(mmapdev_channel_fd(waiting), -EMFILE, "fd: eventfd (%s)", name);
	wrap_fail(W_PTHREAD_CREATE, 1, EAGAIN);
	is(mmapdev_channel_fd(waiting), -EAGAIN, "fd: thread (%s)", name);
	is(fds(), left, "fd: nothing is left (%s)", name);
	ok(mmapdev_channel_fd(waiting) >= 0, "fd: the next call (%s)", name);
	mmapdev_channel_close(waiting);
}

static void run_all(void)
{
	int left = fds();

	mem = mmapdev_map_addr(map);
	test_sizes();
	test_whole_ring();
	test_before_and_after();
	test_closed_and_ended();
	test_timeouts();
	test_no_system_calls();
	test_bells();
	test_receiver_waits();
	test_sender_waits();
	test_room();
	test_stopped();
	test_interrupted();
	test_one_handle();
	test_many(4, 10000, 500, true);
	test_many(4, 10000, 500, false);
	test_places();
	test_elsewhere();
	test_level();
	test_poll(true);
	test_poll(false);
	test_fork();
	test_two_threads_receive();
	test_foreign();
	test_corrupt_words();
	test_corrupt();
	test_vandal();
	test_failures();
	is(fds(), left, "no descriptor is left (%s)", name);
}

static void test_object(struct object *o)
{
	name = o->name;
	need(mmapdev_map(o->dev, NULL, &map), "map");
	run_all();
	test_refused(o);
	/* To fork takes its time, and a memfd is a file to these. */
	if (strcmp(name, "memfd")) {
		test_killed_senders();
		test_killed_receivers();
	}
	mmapdev_unmap(map);
}

static void *shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	need(p == MAP_FAILED ? -errno : 0, "mmap");
	return p;
}

static void test_anonymous(void)
{
	struct mmapdev_map_opts opts = { .sz = sizeof(opts), .length = SIZE };

	name = "anonymous";
	need(mmapdev_map_anonymous(&opts, &map), "map");
	run_all();
	test_many(1, 1000000, 0, false);
	mmapdev_unmap(map);
}

int main(void)
{
	kills = shared(sizeof(*kills));
	taken = shared(sizeof(*taken));
	on_every_object(SIZE, test_object);
	test_anonymous();
	return done();
}
