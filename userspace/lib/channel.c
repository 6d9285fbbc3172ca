// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Channels: messages from many senders to one receiver, through a ring of bytes
 * behind a head page.
 *
 * Order. Positions count bytes since the channel began and never go back. A
 * sender copies a message in and only then stores the tail behind it: a release
 * that whoever acquires this tail, or a later one, pairs with, so he sees the
 * whole message. A sender that is killed before this store leaves no trace. The
 * receiver copies a message out and only then stores the head behind it: a
 * release too, and no sender writes to bytes before it has acquired the head
 * that frees them. Senders take turns by a robust mutex, and whoever gets it
 * from a dead one finds nothing to repair, for all it could change is the tail.
 *
 * Sleep. Each side has a bell (futex.c), which the other one rings behind its
 * position. All of that is sequentially consistent, so that either the bell is
 * rung or the listener sees the position. If a sender is killed between the
 * two, there is the slice: nobody sleeps longer without looking.
 *
 * Death. A peer writes into its place who it is (peer.c). Whoever waits asks
 * once a slice if it is dead. Places are taken under a mutex of their own,
 * fields first and the state last; a change of hands changes the state's
 * generation, so that nobody acts on what he saw of the one before.
 *
 * Trust. All of this is memory that others can write to: it is read once, then
 * checked, then used.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "private.h"

#define OPTS_FIRST offsetofend(struct mmapdev_channel_opts, reserved)

#define MAGIC ((uint64_t)0x6d43 << 48) /* and the number of pages */
#define SENDERS 60
#define SLICE 100 /* ms between two looks at the peers */
#define PATIENCE 1000 /* ms for another one's open to end */
#define SPIN 1000 /* looks at the ring; 12 us where to be woken takes 37 */
#define ALIGN 8 /* of a message in the ring */

/* Two cache lines, which some processors fetch together. */
#define LINE __attribute__((aligned(128)))

/* The low bits of a state; the others are its generation. */
enum { NOBODY, OPEN, CLOSED, DIED };

struct place {
	uint32_t state;
	uint32_t pid;
	uint64_t start; /* /proc/PID/stat, field 22 */
	uint64_t space; /* the namespaces that pid and start belong to */
} __attribute__((aligned(32)));

/* Zeros at first. magic makes it a channel, at one stroke. */
struct head_page {
	uint64_t magic;
	LINE unsigned char turn[MMAPDEV_LOCK_SIZE];   /* to send */
	LINE unsigned char places[MMAPDEV_LOCK_SIZE]; /* to take a place */
	LINE uint64_t tail;
	LINE uint64_t head;
	LINE uint32_t arrived; /* bell of the receiver */
	LINE uint32_t room;    /* bell of the senders */
	LINE uint32_t died;    /* senders did, and nobody was told */
	struct place receiver;
	struct place senders[SENDERS];
};

_Static_assert(sizeof(struct head_page) <= 4096, "the head is one page");
_Static_assert(__atomic_always_lock_free(sizeof(uint64_t), NULL),
	       "a lock of the compiler's is not shared");

struct mmapdev_channel {
	struct head_page *shared;
	unsigned char *ring;
	uint64_t size; /* bytes in the ring, whole pages */
	uint64_t max;  /* bytes in the longest message */
	uint32_t role; /* MMAPDEV_CHANNEL_* */
	unsigned int spin;
	struct mmapdev_mutex *turn, *places;

	struct mmapdev_peer me;
	struct place *mine;
	uint32_t state;	 /* of it, as we left it */
	uint32_t before; /* that of the receiver when we came */
	bool receiving; /* atomic */
	/* Position of the other side, as of late: of receive, or in turn. */
	uint64_t seen;

	pthread_mutex_t lock; /* of all that follows */
	int64_t next_look;    /* at the peers, a deadline */
	struct mmapdev_peer_watch watch[SENDERS];
	pthread_cond_t rearmed;
	pthread_t helper;
	int event; /* atomic; -1: there is no helper */
	bool armed; /* the helper is to look, and event is not readable */
	bool stop;  /* atomic */
};

struct wait {
	uint32_t *bell;
	/* Whether there may be an end to it: 1, 0 or -errno. */
	int (*ready)(struct mmapdev_channel *ch, uint64_t bytes);
	uint64_t bytes;
	unsigned int spin;
	int timeout;	  /* ms */
	int64_t deadline; /* 0: the clock has not started */
};

/* Milliseconds that are left, -1 for ever. The first call starts the clock. */
static int left(struct wait *wait)
{
	if (wait->timeout > 0 && !wait->deadline)
		wait->deadline = mmapdev_deadline(wait->timeout);
	return wait->timeout > 0 ? mmapdev_left(wait->deadline) : wait->timeout;
}

static unsigned int state_of(const struct place *who)
{
	return who->state & 3;
}

/* @who is nobody's while the place changes hands. */
static int look(const struct place *place, struct place *who)
{
	uint32_t state = __atomic_load_n(&place->state, __ATOMIC_SEQ_CST);

	*who = (struct place){
		.pid = __atomic_load_n(&place->pid, __ATOMIC_ACQUIRE),
		.start = __atomic_load_n(&place->start, __ATOMIC_ACQUIRE),
		.space = __atomic_load_n(&place->space, __ATOMIC_ACQUIRE),
	};
	if (__atomic_load_n(&place->state, __ATOMIC_RELAXED) == state)
		who->state = state;
	if (state_of(who) == OPEN && (!who->pid || who->pid > INT32_MAX))
		return -EBADMSG;
	return 0;
}

static struct mmapdev_peer peer_of(const struct place *who)
{
	return (struct mmapdev_peer){
		.pid = who->pid,
		.start = who->start,
		.space = who->space,
	};
}

static int dead(struct mmapdev_channel *ch, struct mmapdev_peer_watch *watch,
		const struct place *who)
{
	struct mmapdev_peer peer = peer_of(who);

	return mmapdev_peer_watch(watch, &peer, &ch->me);
}

static int dead_now(struct mmapdev_channel *ch, const struct place *who)
{
	struct mmapdev_peer peer = peer_of(who);

	return mmapdev_peer_dead(&peer, &ch->me);
}

/* Unless it has closed since, and then ended. */
static void bury(struct mmapdev_channel *ch, struct place *place,
		 const struct place *who)
{
	uint32_t state = who->state;

	if (__atomic_compare_exchange_n(&place->state, &state,
					state - OPEN + DIED, false,
					__ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		__atomic_store_n(&ch->shared->died, 1, __ATOMIC_SEQ_CST);
}

/* Senders in state @from are in state @to. */
static void senders_become(struct mmapdev_channel *ch, uint32_t from,
			   uint32_t to)
{
	struct place *place, who;

	for (place = ch->shared->senders; place < ch->shared->senders + SENDERS;
	     place++)
		if (!look(place, &who) && state_of(&who) == from)
			__atomic_compare_exchange_n(&place->state, &who.state,
						    who.state - from + to,
						    false, __ATOMIC_SEQ_CST,
						    __ATOMIC_RELAXED);
}

/* The receiver was told of those who died, or need not know. */
static void forget_died(struct mmapdev_channel *ch)
{
	__atomic_store_n(&ch->shared->died, 0, __ATOMIC_SEQ_CST);
	senders_become(ch, DIED, CLOSED);
}

static int look_at_sender(struct mmapdev_channel *ch, unsigned int i)
{
	struct place *place = &ch->shared->senders[i], who;
	int ret = look(place, &who);

	if (ret || state_of(&who) != OPEN) {
		mmapdev_peer_unwatch(&ch->watch[i]);
		return ret;
	}
	ret = dead(ch, &ch->watch[i], &who);
	if (ret > 0)
		bury(ch, place, &who);
	return ret < 0 ? ret : 0;
}

/* What is to be said when the ring is empty. */
static int senders_left(struct mmapdev_channel *ch, bool thoroughly)
{
	bool were = false, are = false, died;
	struct place who;
	unsigned int i;
	int ret = 0;

	died = __atomic_load_n(&ch->shared->died, __ATOMIC_SEQ_CST);
	for (i = 0; i < SENDERS && !ret; i++) {
		if (thoroughly)
			ret = look_at_sender(ch, i);
		if (!ret)
			ret = look(&ch->shared->senders[i], &who);
		if (ret)
			break;
		are |= state_of(&who) == OPEN;
		were |= state_of(&who) == CLOSED;
		died |= state_of(&who) == DIED;
	}
	if (ret || are)
		return ret;
	if (died)
		return -ECONNRESET;
	return were ? -EPIPE : 0;
}

/* One that closed before we came is not the one that we send to. */
static bool has_closed(const struct mmapdev_channel *ch, uint32_t state)
{
	return (state & 3) == CLOSED && state != ch->before;
}

static int receiver_left(struct mmapdev_channel *ch, bool thoroughly)
{
	struct place who;
	uint32_t state;
	int ret = look(&ch->shared->receiver, &who);

	if (ret)
		return ret;
	if (has_closed(ch, who.state))
		return -EPIPE;
	if (state_of(&who) != OPEN || !thoroughly)
		return 0;
	ret = dead(ch, &ch->watch[0], &who);
	if (ret <= 0)
		return ret;

	/* It may have closed, and then ended; or there is another. */
	state = __atomic_load_n(&ch->shared->receiver.state, __ATOMIC_SEQ_CST);
	if (state == who.state)
		return -ECONNRESET;
	return (state & 3) == CLOSED ? -EPIPE : 0;
}

/* 0 while there is, or may come, somebody at the other end. */
static int peers_left(struct mmapdev_channel *ch)
{
	bool thoroughly;
	int ret;

	pthread_mutex_lock(&ch->lock);
	thoroughly = !mmapdev_left(ch->next_look);
	if (ch->role == MMAPDEV_CHANNEL_RECEIVER)
		ret = senders_left(ch, thoroughly);
	else
		ret = receiver_left(ch, thoroughly);
	if (thoroughly && !ret)
		ch->next_look = mmapdev_deadline(SLICE);
	pthread_mutex_unlock(&ch->lock);
	return ret;
}

/* Bytes in use from @head on: 0 to the size of the ring, or -EBADMSG. */
static int64_t used(struct mmapdev_channel *ch, uint64_t head, uint64_t tail)
{
	uint64_t bytes = tail - head;

	if (head % ALIGN || tail % ALIGN || bytes > ch->size)
		return -EBADMSG;
	return bytes;
}

/*
 * The same, of one who is alone with neither position: they are of one moment
 * if the head has not moved. If it has, -EAGAIN.
 */
static int64_t used_now(struct mmapdev_channel *ch)
{
	const uint64_t *shared = &ch->shared->head;
	uint64_t head = __atomic_load_n(shared, __ATOMIC_SEQ_CST);
	uint64_t tail = __atomic_load_n(&ch->shared->tail, __ATOMIC_SEQ_CST);

	if (__atomic_load_n(shared, __ATOMIC_SEQ_CST) != head)
		return -EAGAIN;
	return used(ch, head, tail);
}

static int has_message(struct mmapdev_channel *ch, uint64_t bytes)
{
	int64_t n = used_now(ch);

	(void)bytes;
	if (n == -EAGAIN)
		return 1;
	return n < 0 ? n : n > 0;
}

static int has_room(struct mmapdev_channel *ch, uint64_t bytes)
{
	int64_t n = used_now(ch);

	if (n == -EAGAIN)
		return 1;
	return n < 0 ? n : ch->size - n >= bytes;
}

/* 0 when it is ready, or -errno. */
static int await(struct mmapdev_channel *ch, struct wait *wait)
{
	unsigned int spin = wait->timeout ? wait->spin : 0;
	uint32_t value = 0;
	int ms, ret, gone;

	while (!(ret = wait->ready(ch, wait->bytes)) && spin--)
		mmapdev_relax();

	while (!ret) {
		if (wait->timeout)
			value = mmapdev_bell_listen(wait->bell);
		gone = peers_left(ch);
		/* The last act of a peer may have been what is waited for. */
		ret = wait->ready(ch, wait->bytes);
		if (ret || gone)
			return ret < 0 ? ret : ret ? 0 : gone;

		ms = left(wait);
		if (!ms)
			return wait->timeout ? -ETIMEDOUT : -EAGAIN;
		if (ms < 0 || ms > SLICE)
			ms = SLICE;
		ret = mmapdev_futex_wait(wait->bell, value, ms);
		if (ret == -ETIMEDOUT || !ret)
			ret = wait->ready(ch, wait->bytes);
	}
	return ret < 0 ? ret : 0;
}

/* Bytes that a message takes in the ring. */
static uint64_t extent(uint64_t length)
{
	return (sizeof(uint32_t) + length + ALIGN - 1) / ALIGN * ALIGN;
}

/* Of the message at @position, whatever others made of that. */
static uint32_t *length_at(struct mmapdev_channel *ch, uint64_t position)
{
	uint64_t at = position % ch->size / ALIGN * ALIGN;

	return (uint32_t *)(void *)(ch->ring + at);
}

static int nothing_to_repair(void *arg)
{
	(void)arg;
	return 0;
}

static int lock(struct mmapdev_mutex *mutex, int timeout)
{
	int ret = mmapdev_mutex_lock(mutex, timeout, nothing_to_repair, NULL);

	/* It was a mutex when the channel was opened. */
	return ret == -EINVAL ? -EBADMSG : ret;
}

/* Another sender has it for as long as a copy takes. */
static int take_turn(struct mmapdev_channel *ch, struct wait *wait)
{
	unsigned int spin = ch->spin;
	int ret;

	while ((ret = lock(ch->turn, 0)) == -EAGAIN && spin--)
		mmapdev_relax();
	return ret == -EAGAIN && wait->timeout ? lock(ch->turn, left(wait)) :
						 ret;
}

/* In turn: 0, or -EAGAIN where there is no room. */
static int put(struct mmapdev_channel *ch, const void *data, uint32_t length)
{
	struct head_page *shared = ch->shared;
	uint64_t tail = __atomic_load_n(&shared->tail, __ATOMIC_RELAXED);
	uint64_t at = tail % ch->size / ALIGN * ALIGN + sizeof(length);
	uint64_t first = ch->size - at < length ? ch->size - at : length;
	int64_t n = used(ch, ch->seen, tail);

	if (n < 0 || ch->size - n < extent(length)) {
		ch->seen = __atomic_load_n(&shared->head, __ATOMIC_ACQUIRE);
		n = used(ch, ch->seen, tail);
	}
	if (n < 0)
		return n;
	if (ch->size - n < extent(length))
		return -EAGAIN;

	__atomic_store_n(length_at(ch, tail), length, __ATOMIC_RELAXED);
	if (first)
		memcpy(ch->ring + at, data, first);
	if (length > first)
		memcpy(ch->ring, (const char *)data + first, length - first);
	__atomic_store_n(&shared->tail, tail + extent(length),
			 __ATOMIC_SEQ_CST);
	return 0;
}

static bool receiver_closed(struct mmapdev_channel *ch)
{
	return has_closed(ch, __atomic_load_n(&ch->shared->receiver.state,
					      __ATOMIC_RELAXED));
}

static int try_send(struct mmapdev_channel *ch, const void *data,
		    size_t length, struct wait *wait)
{
	int ret;

	ret = take_turn(ch, wait);
	if (ret)
		return ret;
	ret = receiver_closed(ch) ? -EPIPE : put(ch, data, length);
	return mmapdev_mutex_unlock(ch->turn) ? -EBADMSG : ret;
}

int mmapdev_channel_send(struct mmapdev_channel *ch, const void *data,
			 size_t length, int timeout)
{
	struct wait wait = { .ready = has_room, .timeout = timeout };
	int ret;

	if (!ch || ch->role != MMAPDEV_CHANNEL_SENDER || (!data && length) ||
	    timeout < -1)
		return -EINVAL;
	if (length > ch->max)
		return -EMSGSIZE;
	wait.bell = &ch->shared->room;
	wait.bytes = extent(length);
	wait.spin = ch->spin;

	ret = try_send(ch, data, length, &wait);
	while (ret == -EAGAIN) {
		ret = await(ch, &wait);
		if (ret)
			return ret;
		/* Others may be faster to take the room, time and again. */
		ret = try_send(ch, data, length, &wait);
		if (ret == -EAGAIN && !left(&wait))
			return timeout ? -ETIMEDOUT : -EAGAIN;
	}
	if (!ret)
		mmapdev_bell_ring(&ch->shared->arrived);
	return ret;
}

/* The message at @head, which there is: its length. */
static ssize_t take(struct mmapdev_channel *ch, uint64_t head, void *data,
		    size_t size)
{
	struct head_page *shared = ch->shared;
	int64_t n = used(ch, head, ch->seen);
	uint64_t at = head % ch->size / ALIGN * ALIGN, first;
	uint32_t length;

	if (n <= 0)
		return -EBADMSG;
	length = __atomic_load_n(length_at(ch, head), __ATOMIC_RELAXED);
	if (length > ch->max || extent(length) > (uint64_t)n)
		return -EBADMSG;
	if (length > size)
		return -EMSGSIZE;

	at += sizeof(length);
	first = ch->size - at < length ? ch->size - at : length;
	if (first)
		memcpy(data, ch->ring + at, first);
	if (length > first)
		memcpy((char *)data + first, ch->ring, length - first);
	__atomic_store_n(&shared->head, head + extent(length),
			 __ATOMIC_SEQ_CST);
	/* Who fills each gap at once had to be woken for each message. */
	if (n - extent(length) <= ch->size / 2)
		mmapdev_bell_ring(&shared->room);
	return length;
}

/* Nothing is there: event says so, and the helper looks out for more. */
static void rearm(struct mmapdev_channel *ch)
{
	eventfd_t count;

	if (__atomic_load_n(&ch->event, __ATOMIC_ACQUIRE) < 0)
		return;
	pthread_mutex_lock(&ch->lock);
	if (!ch->armed) {
		eventfd_read(ch->event, &count);
		ch->armed = true;
		pthread_cond_signal(&ch->rearmed);
	}
	pthread_mutex_unlock(&ch->lock);
}

static ssize_t receive(struct mmapdev_channel *ch, void *data, size_t size,
		       int timeout)
{
	struct wait wait = {
		.bell = &ch->shared->arrived,
		.ready = has_message,
		.spin = ch->spin,
		.timeout = timeout,
	};
	uint64_t head = __atomic_load_n(&ch->shared->head, __ATOMIC_RELAXED);
	ssize_t ret = 0;

	if (ch->seen == head) {
		ret = await(ch, &wait);
		ch->seen = __atomic_load_n(&ch->shared->tail, __ATOMIC_ACQUIRE);
	}
	if (!ret)
		ret = take(ch, head, data, size);
	if (ret == -EBADMSG)
		ch->seen = head;
	if (ret == -EAGAIN || ret == -ETIMEDOUT)
		rearm(ch);
	if (ret == -ECONNRESET)
		forget_died(ch);
	return ret;
}

ssize_t mmapdev_channel_receive(struct mmapdev_channel *ch, void *data,
				size_t size, int timeout)
{
	ssize_t ret;

	if (!ch || ch->role != MMAPDEV_CHANNEL_RECEIVER || (!data && size) ||
	    timeout < -1)
		return -EINVAL;

	if (__atomic_exchange_n(&ch->receiving, true, __ATOMIC_ACQUIRE))
		return -EBUSY;
	ret = receive(ch, data, size, timeout);
	__atomic_store_n(&ch->receiving, false, __ATOMIC_RELEASE);
	return ret;
}

static int helper_ready(struct mmapdev_channel *ch, uint64_t bytes)
{
	if (__atomic_load_n(&ch->stop, __ATOMIC_SEQ_CST))
		return 1;
	return has_message(ch, bytes);
}

/*
 * What poll(2) sees. A futex is no descriptor: a thread waits for it, as
 * receive would, and then makes event readable. It stays so until receive finds
 * nothing, which then has the thread look once more, at what may have come in
 * between. An error is an event as well: receive will meet it.
 */
static void *help(void *arg)
{
	struct mmapdev_channel *ch = arg;
	pthread_mutex_lock(&ch->lock);
	while (!ch->stop) {
		struct wait wait = {
			.bell = &ch->shared->arrived,
			.ready = helper_ready,
			.timeout = -1,
		};

		if (!ch->armed) {
			pthread_cond_wait(&ch->rearmed, &ch->lock);
			continue;
		}
		pthread_mutex_unlock(&ch->lock);
		await(ch, &wait);
		pthread_mutex_lock(&ch->lock);
		ch->armed = false;
		eventfd_write(ch->event, 1);
	}
	pthread_mutex_unlock(&ch->lock);
	return NULL;
}

static int helper_start(struct mmapdev_channel *ch)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	sigset_t all, old;
	int ret;

	if (fd < 0)
		return -errno;

	ch->armed = true;
	__atomic_store_n(&ch->event, fd, __ATOMIC_RELEASE);
	/* The program's signals are not for a thread unknown to it. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = -pthread_create(&ch->helper, NULL, help, ch);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!ret)
		return 0;

	__atomic_store_n(&ch->event, -1, __ATOMIC_RELAXED);
	close(fd);
	return ret;
}

int mmapdev_channel_fd(struct mmapdev_channel *ch)
{
	int ret = 0;

	if (!ch || ch->role != MMAPDEV_CHANNEL_RECEIVER)
		return -EINVAL;

	pthread_mutex_lock(&ch->lock);
	if (ch->event < 0)
		ret = helper_start(ch);
	if (!ret)
		ret = ch->event;
	pthread_mutex_unlock(&ch->lock);
	return ret;
}

static void helper_stop(struct mmapdev_channel *ch)
{
	if (ch->event < 0)
		return;
	pthread_mutex_lock(&ch->lock);
	__atomic_store_n(&ch->stop, true, __ATOMIC_SEQ_CST);
	pthread_cond_signal(&ch->rearmed);
	pthread_mutex_unlock(&ch->lock);
	mmapdev_bell_ring(&ch->shared->arrived);
	pthread_join(ch->helper, NULL);
}

/* The fields of a place that is nobody's, and then its state. */
static void settle(struct mmapdev_channel *ch, struct place *place)
{
	uint32_t state = __atomic_load_n(&place->state, __ATOMIC_RELAXED);

	state = ((state >> 2) + 1) << 2;
	__atomic_store_n(&place->state, state | NOBODY, __ATOMIC_SEQ_CST);
	__atomic_store_n(&place->pid, ch->me.pid, __ATOMIC_RELEASE);
	__atomic_store_n(&place->start, ch->me.start, __ATOMIC_RELEASE);
	__atomic_store_n(&place->space, ch->me.space, __ATOMIC_RELEASE);
	ch->state = state | OPEN;
	__atomic_store_n(&place->state, ch->state, __ATOMIC_SEQ_CST);
	ch->mine = place;
}

static int settle_receiver(struct mmapdev_channel *ch)
{
	struct place *place = &ch->shared->receiver, who;
	int ret = look(place, &who);

	if (ret)
		return ret;
	if (state_of(&who) == OPEN) {
		if (who.space != ch->me.space)
			return -EXDEV;
		ret = dead_now(ch, &who);
		if (ret <= 0)
			return ret ? ret : -EBUSY;
	}
	/* After one that died it goes on as that one would have. */
	if (state_of(&who) == CLOSED && !used_now(ch)) {
		forget_died(ch);
		senders_become(ch, CLOSED, NOBODY);
	}
	settle(ch, place);
	return 0;
}

/* 1 if the place is free, or becomes so, 0 if not, or -errno. */
static int vacant(struct mmapdev_channel *ch, struct place *place, bool ask)
{
	struct place who;
	int ret = look(place, &who);

	if (ret)
		return ret;
	if (state_of(&who) == OPEN) {
		ret = ask ? dead_now(ch, &who) : 0;
		if (ret <= 0)
			return ret;
		bury(ch, place, &who);
	}
	/* The place is no note of it any longer. */
	if (state_of(&who) == DIED)
		__atomic_store_n(&ch->shared->died, 1, __ATOMIC_SEQ_CST);
	return 1;
}

/* To the mutex a thread is its number, which another may have elsewhere. */
static int is_foreign(struct mmapdev_channel *ch, const struct place *place)
{
	struct place who;
	int ret = look(place, &who);

	if (ret)
		return ret;
	return state_of(&who) == OPEN &&
	       (uint32_t)who.space != (uint32_t)ch->me.space;
}

/* Those who live are asked when no place is free. */
static int settle_sender(struct mmapdev_channel *ch)
{
	struct place *place;
	unsigned int i;
	int ret;

	for (i = 0; i < SENDERS; i++) {
		ret = is_foreign(ch, &ch->shared->senders[i]);
		if (ret)
			return ret < 0 ? ret : -EXDEV;
	}
	for (i = 0; i < 2 * SENDERS; i++) {
		place = &ch->shared->senders[i % SENDERS];
		ret = vacant(ch, place, i >= SENDERS);
		if (ret > 0)
			settle(ch, place);
		if (ret)
			return ret < 0 ? ret : 0;
	}
	return -EUSERS;
}

static int join(struct mmapdev_channel *ch)
{
	int ret = lock(ch->places, PATIENCE);

	/* It is not this thread that has it, but one with its number. */
	if (ret)
		return ret == -EDEADLK ? -EXDEV : ret;
	if (ch->role == MMAPDEV_CHANNEL_RECEIVER)
		ret = settle_receiver(ch);
	else
		ret = settle_sender(ch);
	ch->before = __atomic_load_n(&ch->shared->receiver.state,
				     __ATOMIC_RELAXED);
	ch->seen = __atomic_load_n(&ch->shared->head, __ATOMIC_ACQUIRE);
	if (mmapdev_mutex_unlock(ch->places) && !ret)
		ret = -EBADMSG;
	return ret;
}

/* The other side is told. */
static void leave(struct mmapdev_channel *ch)
{
	uint32_t state = ch->state;

	if (!ch->mine)
		return;
	__atomic_compare_exchange_n(&ch->mine->state, &state,
				    state - OPEN + CLOSED, false,
				    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	mmapdev_bell_ring(ch->role == MMAPDEV_CHANNEL_RECEIVER ? &ch->shared->room :
							 &ch->shared->arrived);
}

/* Where nobody was before there is not a byte set. */
static int make(struct head_page *shared, uint64_t magic)
{
	const uint64_t *word = (const uint64_t *)(const void *)shared;
	uint64_t found = __atomic_load_n(&shared->magic, __ATOMIC_ACQUIRE);
	bool zeros = true;
	size_t i;

	for (i = 1; !found && i < sizeof(*shared) / sizeof(*word); i++)
		zeros &= !__atomic_load_n(&word[i], __ATOMIC_ACQUIRE);
	if (!found && !zeros)
		found = __atomic_load_n(&shared->magic, __ATOMIC_ACQUIRE);
	if (!found && !zeros)
		return -EBADMSG;
	if (!found)
		__atomic_compare_exchange_n(&shared->magic, &found, magic,
					    false, __ATOMIC_ACQ_REL,
					    __ATOMIC_ACQUIRE);
	return !found || found == magic ? 0 : -EBADMSG;
}

/* Checks @opts against the map, and turns a length of 0 into the rest. */
static int resolve(struct mmapdev_map *map, struct mmapdev_channel_opts *opts)
{
	uint64_t size = mmapdev_map_size(map), page = sysconf(_SC_PAGESIZE);
	uint64_t end;

	if (opts->role > MMAPDEV_CHANNEL_RECEIVER || opts->reserved ||
	    opts->offset % page || opts->length % page ||
	    map->flags & MMAPDEV_MAP_PRIVATE)
		return -EINVAL;
	if (!(map->prot & PROT_WRITE))
		return -EBADF;
	if (opts->offset > size)
		return -ERANGE;
	if (!opts->length)
		opts->length = (size - opts->offset) / page * page;
	if (opts->length && opts->length < 2 * page)
		return -EINVAL;
	if (!opts->length ||
	    __builtin_add_overflow(opts->offset, opts->length, &end) ||
	    end > size)
		return -ERANGE;
	return 0;
}

static int enter(struct mmapdev_channel *ch, struct mmapdev_map *map,
		 const struct mmapdev_channel_opts *opts)
{
	const uint64_t page = sysconf(_SC_PAGESIZE);
	int ret;

	ret = mmapdev_peer_self(&ch->me);
	if (!ret)
		ret = mmapdev_futex_probe(map, opts->offset +
				offsetof(struct head_page, arrived));
	if (ret)
		return ret;
	/* Before Linux 5.14 a full disk stays a matter of SIGBUS. */
	ret = mmapdev_populate(map, opts->offset, opts->length);
	if (!ret || ret == -EOPNOTSUPP)
		ret = make(ch->shared, MAGIC | opts->length / page);
	if (!ret)
		ret = mmapdev_mutex_init(map, opts->offset +
				offsetof(struct head_page, turn), &ch->turn);
	if (!ret)
		ret = mmapdev_mutex_init(map, opts->offset +
				offsetof(struct head_page, places),
				&ch->places);
	return ret ? ret : join(ch);
}

static void channel_free(struct mmapdev_channel *ch)
{
	unsigned int i;

	for (i = 0; i < SENDERS; i++)
		mmapdev_peer_unwatch(&ch->watch[i]);
	if (ch->event >= 0)
		close(ch->event);
	/* In the child of a fork a thread that is not there may be in them. */
	if (ch->me.pid == (uint32_t)getpid()) {
		pthread_cond_destroy(&ch->rearmed);
		pthread_mutex_destroy(&ch->lock);
	}
	free(ch);
}

int mmapdev_channel_open(struct mmapdev_map *map,
			 const struct mmapdev_channel_opts *opts,
			 struct mmapdev_channel **out)
{
	struct mmapdev_channel_opts o;
	struct mmapdev_channel *ch;
	unsigned int i;
	int ret;

	if (!map || !opts || !out)
		return -EINVAL;
	ret = mmapdev_struct_in(&o, sizeof(o), OPTS_FIRST, opts);
	if (!ret)
		ret = resolve(map, &o);
	if (ret)
		return ret;

	ch = calloc(1, sizeof(*ch));
	if (!ch)
		return -ENOMEM;
	ch->shared = (void *)((char *)mmapdev_map_addr(map) + o.offset);
	ch->size = o.length - sysconf(_SC_PAGESIZE);
	ch->ring = (unsigned char *)ch->shared + sysconf(_SC_PAGESIZE);
	ch->max = ch->size - sizeof(uint32_t);
	if (ch->max > INT32_MAX)
		ch->max = INT32_MAX;
	ch->role = o.role;
	/* Where there is one processor the other side is not at work. */
	ch->spin = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? SPIN : 0;
	ch->event = -1;
	for (i = 0; i < SENDERS; i++)
		ch->watch[i].pidfd = -1;
	pthread_mutex_init(&ch->lock, NULL);
	pthread_cond_init(&ch->rearmed, NULL);

	ret = enter(ch, map, &o);
	if (ret) {
		leave(ch);
		channel_free(ch);
		return ret;
	}
	*out = ch;
	return 0;
}

int mmapdev_channel_close(struct mmapdev_channel *ch)
{
	if (!ch)
		return 0;
	/* The child of a fork has neither the place nor the thread. */
	if (ch->me.pid == (uint32_t)getpid()) {
		helper_stop(ch);
		leave(ch);
	}
	channel_free(ch);
	return 0;
}
