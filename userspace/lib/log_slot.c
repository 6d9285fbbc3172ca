// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The slots of a log: who has them, who is dead, and what is done about it.
 */
#include <errno.h>
#include <linux/membarrier.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log.h"

#define SLOT_FIRST offsetofend(struct mmapdev_log_slot, reserved)

/* Whether the process that has, or had, the slot is gone. */
static int process_gone(struct mmapdev_log *log, struct log_slot *slot,
			uint32_t state)
{
	struct mmapdev_peer who = {
		.pid = load32(&slot->who.pid),
		.start = load(&slot->who.start),
		.space = load(&slot->who.space),
		.boot = load(&slot->who.boot),
	};

	/* Or another has it by now. */
	if (load32(&slot->state) != state)
		return 0;
	return mmapdev_peer_dead(&who, &log->me);
}

int mmapdev_log_gone(struct mmapdev_log *log, uint32_t i)
{
	struct log_slot *slot = &log->slot[i];
	uint32_t state = load32(&slot->state);
	int ret;

	if ((state & SLOT_STATE) != MMAPDEV_LOG_SLOT_OPEN)
		return 1;
	ret = process_gone(log, slot, state);
	if (ret > 0 && log->writable)
		__atomic_compare_exchange_n(&slot->state, &state,
					    state - MMAPDEV_LOG_SLOT_OPEN +
						    MMAPDEV_LOG_SLOT_DIED,
					    false, __ATOMIC_ACQ_REL,
					    __ATOMIC_RELAXED);
	return ret;
}

int mmapdev_log_taker_gone(struct mmapdev_log *log, uint64_t word)
{
	uint32_t i = seg_slot(word);

	/* The slot is another's by now. */
	if (seg_taken(i, load32(&log->slot[i].state), seg_lap(word)) != word)
		return 1;
	return mmapdev_log_gone(log, i);
}

/* Whether a live writer may be about to set a word in this place. */
static int reserving(struct mmapdev_log *log, uint64_t place)
{
	uint32_t i;
	int gone;

	for (i = 1; i < LOG_SLOTS; i++) {
		if (load(&log->slot[i].reserving) != place + 1)
			continue;
		gone = mmapdev_log_gone(log, i);
		if (gone <= 0)
			return gone ? gone : 1;
	}
	return 0;
}

/*
 * In a ring the place may have come to another lap before what we found is
 * written: there, as for who may not write, what is dead is only seen to be.
 */
static bool may_fill(const struct mmapdev_log *log)
{
	return log->writable && !log->ring;
}

/* Nobody who lives will set the word at @at: a pad up to the next that is. */
static uint64_t fill_hole(struct mmapdev_log *log, unsigned char *segment,
			  uint32_t at, uint32_t end)
{
	uint64_t word = 0, pad;
	uint32_t next = at + LOG_ALIGN;

	while (next < end && !load(&record_at(segment, next)->word))
		next += LOG_ALIGN;
	pad = rec_word(REC_PAD, 0, 0, next - at - LOG_ALIGN);
	if (may_fill(log))
		swap(&record_at(segment, at)->word, &word, pad);
	else
		word = load(&record_at(segment, at)->word);
	return word ? word : pad;
}

/* The owner of a reserved record is dead: unless it was faster, a pad. */
static uint64_t fill_reserved(struct mmapdev_log *log, struct log_record *record,
			      uint64_t word)
{
	uint64_t pad = rec_word(REC_PAD, 0, 0,
				rec_extent(rec_length(word)) - LOG_ALIGN);

	if (may_fill(log))
		return swap(&record->word, &word, pad) ? pad : word;
	word = load(&record->word);
	return rec_state(word) == REC_RESERVED ? pad : word;
}

static int owner_gone(struct mmapdev_log *log, uint64_t word)
{
	uint32_t i = word >> 3 & (LOG_SLOTS - 1);
	uint32_t state = load32(&log->slot[i].state);

	/* The slot is another's by now. */
	if (rec_word(REC_RESERVED, i, state, rec_length(word)) != word)
		return 1;
	return mmapdev_log_gone(log, i);
}

int mmapdev_log_settle(struct mmapdev_log *log, unsigned char *segment,
		       uint64_t number, uint32_t at, uint32_t limit,
		       uint64_t *word)
{
	struct log_record *record = record_at(segment, at);
	uint32_t end = mmapdev_log_reserved(log, segment, number, limit);
	int ret;

	/* The tail before the slots, the slots before the word. */
	*word = load(&record->word);
	if (!*word && at >= end)
		return 0;
	if (!*word) {
		ret = reserving(log, log_place(log, number));
		if (ret)
			return ret < 0 ? ret : -EAGAIN;
		*word = load(&record->word);
		/* What follows is nobody's to write now. */
		if (!*word)
			*word = fill_hole(log, segment, at, end);
	}
	if (rec_state(*word) == REC_RESERVED &&
	    rec_extent(rec_length(*word)) <= limit - at) {
		ret = owner_gone(log, *word);
		if (ret <= 0)
			return ret < 0 ? ret : -EAGAIN;
		*word = fill_reserved(log, record, *word);
	}
	if (rec_state(*word) != REC_COMMITTED && rec_state(*word) != REC_PAD)
		return -EBADMSG;
	return rec_extent(rec_length(*word)) > limit - at ? -EBADMSG : 0;
}

int mmapdev_log_busy(struct mmapdev_log *log, unsigned char *segment,
		     uint64_t number)
{
	int ret = reserving(log, log_place(log, number));
	uint64_t word;
	uint32_t at;

	for (at = LOG_FIRST; at < log->segment && !ret; at += LOG_ALIGN) {
		word = load(&record_at(segment, at)->word);
		if (rec_state(word) != REC_RESERVED)
			continue;
		ret = owner_gone(log, word);
		ret = ret < 0 ? ret : !ret;
	}
	return ret;
}

/* The kernel is to say when we are gone; only the device's can. */
static int make_will(struct mmapdev_log *log, uint32_t i, uint32_t generation)
{
	struct mmapdev_ioc_will will = {
		.argsz = sizeof(will),
		.offset = LOG_SLOTS_AT + i * sizeof(struct log_slot) +
			  offsetof(struct log_slot, state),
		.expect = generation | MMAPDEV_LOG_SLOT_OPEN,
		.value = generation | MMAPDEV_LOG_SLOT_DIED,
	};

	if (!log->file)
		return 0;
	if (!ioctl(log->file->fd, MMAPDEV_IOC_WILL, &will))
		return 0;
	/* A driver before 1.3 does not know it. */
	return errno == ENOTTY ? 0 : -errno;
}

int mmapdev_log_enter(struct mmapdev_log *log, uint32_t i, uint32_t writer,
		      uint32_t *state)
{
	struct log_slot *slot = &log->slot[i];
	uint32_t before = load32(&slot->state), generation;
	int ret;

	/* A will for a log that was here before must not fit this one. */
	generation = before ? before >> SLOT_BITS :
				    (uint32_t)log->super.created;
	generation = (generation + 1) << SLOT_BITS;
	/* Records of the one before are nobody's from here on. */
	__atomic_store_n(&slot->state, generation | MMAPDEV_LOG_SLOT_CLOSED,
			 __ATOMIC_RELEASE);
	ret = make_will(log, i, generation);
	if (ret)
		return ret;
	store(&slot->reserving, 0);
	store(&slot->since, mmapdev_log_now());
	__atomic_store_n(&slot->writer, writer, __ATOMIC_RELEASE);
	__atomic_store_n(&slot->who.pid, log->me.pid, __ATOMIC_RELEASE);
	store(&slot->who.start, log->me.start);
	store(&slot->who.space, log->me.space);
	store(&slot->who.boot, log->me.boot);
	*state = generation | MMAPDEV_LOG_SLOT_OPEN;
	__atomic_store_n(&slot->state, *state, __ATOMIC_SEQ_CST);
	return 0;
}

void mmapdev_log_leave(struct mmapdev_log *log, uint32_t i, uint32_t state)
{
	__atomic_compare_exchange_n(&log->slot[i].state, &state,
				    state - MMAPDEV_LOG_SLOT_OPEN +
					    MMAPDEV_LOG_SLOT_CLOSED,
				    false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

int mmapdev_log_vacant(struct mmapdev_log *log, uint32_t i, bool ask)
{
	struct log_slot *slot = &log->slot[i];
	uint32_t state = load32(&slot->state);

	switch (state & SLOT_STATE) {
	case MMAPDEV_LOG_SLOT_OPEN:
		return ask ? mmapdev_log_gone(log, i) : 0;
	case MMAPDEV_LOG_SLOT_EVICTED:
		return ask ? process_gone(log, slot, state) : 0;
	}
	return 1;
}

/* The first segment below @next in which the slot may have begun a record. */
static uint64_t begun(struct mmapdev_log *log, uint32_t i, uint64_t next)
{
	uint64_t held;

	if (log->ring)
		return next > log->ring ? next - log->ring : 0;
	held = load(&log->slot[i].held);
	return held ? held - 1 : next;
}

static int settle_from(struct mmapdev_log *log, uint64_t number)
{
	uint64_t word, next = load(&log->control->next);
	unsigned char *segment;
	uint32_t at, limit;
	int ret;

	/* The object was made longer before next was raised. */
	ret = mmapdev_log_refresh(log);
	if (ret)
		return ret;
	if (log->ring && next > log->ring)
		number = next - log->ring;
	for (; number < next; number++) {
		segment = mmapdev_log_segment(log, number, &limit);
		if (!segment)
			return -EBADMSG;
		if (seg_lap(load((uint64_t *)(void *)segment)) !=
		    log_lap(log, number))
			continue;
		for (at = LOG_FIRST; at < limit; ) {
			ret = mmapdev_log_settle(log, segment, number, at,
						 limit, &word);
			/* One that somebody is at can be passed by. */
			if ((ret && ret != -EAGAIN) || !word)
				break;
			at += rec_extent(rec_length(word));
		}
		if (ret && ret != -EAGAIN)
			return ret;
	}
	return 0;
}

int mmapdev_log_recover(struct mmapdev_log *log)
{
	uint32_t i, state;
	int ret, count = 0;

	if (!log)
		return -EINVAL;
	if (!mmapdev_log_here(log))
		return -ESTALE;
	if (!log->writable)
		return -EBADF;
	ret = mmapdev_log_refresh(log);
	if (!ret)
		ret = mmapdev_log_lock(log->turn, LOG_PATIENCE);
	if (ret)
		return ret;

	for (i = 0; i < LOG_SLOTS && ret >= 0; i++) {
		ret = mmapdev_log_gone(log, i);
		state = load32(&log->slot[i].state);
		if (ret <= 0 || (state & SLOT_STATE) != MMAPDEV_LOG_SLOT_DIED)
			continue;
		/* Nobody else changes it while we have the turn. */
		__atomic_store_n(&log->slot[i].state,
				 state - MMAPDEV_LOG_SLOT_DIED +
					 MMAPDEV_LOG_SLOT_CLOSED,
				 __ATOMIC_RELEASE);
		count++;
	}
	if (ret >= 0 && log->flags & MMAPDEV_LOG_ORDERED)
		ret = settle_from(log, 0);
	if (mmapdev_mutex_unlock(log->turn) && ret >= 0)
		ret = -EBADMSG;
	return ret < 0 ? ret : count;
}

/* What the slot has leased ends with what is there. */
static void seal_held(struct mmapdev_log *log, uint32_t i)
{
	uint64_t held = load(&log->slot[i].held), word;
	unsigned char *segment;
	uint32_t limit, end;

	if (!held)
		return;
	segment = mmapdev_log_segment(log, held - 1, &limit);
	if (!segment)
		return;
	word = load((uint64_t *)(void *)segment);
	if (seg_state(word) != SEG_LEASED || seg_slot(word) != i)
		return;
	end = mmapdev_log_walk(segment, limit);
	swap((uint64_t *)(void *)segment, &word,
	     seg_word(SEG_SEALED, i, end, seg_lap(word)));
}

static int evict(struct mmapdev_log *log, uint32_t i)
{
	uint32_t state = load32(&log->slot[i].state);
	int ret;

	if ((state & SLOT_STATE) != MMAPDEV_LOG_SLOT_OPEN ||
	    !__atomic_compare_exchange_n(&log->slot[i].state, &state,
					 state - MMAPDEV_LOG_SLOT_OPEN +
						 MMAPDEV_LOG_SLOT_EVICTED,
					 false, __ATOMIC_SEQ_CST,
					 __ATOMIC_RELAXED))
		return -ESRCH;
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
		return -errno;
	/* What it has reserved so far is made pads; later it knows better. */
	if (log->flags & MMAPDEV_LOG_ORDERED)
		return settle_from(log, begun(log, i,
					      load(&log->control->next)));
	/* It may have made the object longer for its lease. */
	ret = mmapdev_log_refresh(log);
	if (!ret)
		seal_held(log, i);
	return ret;
}

int mmapdev_log_evict(struct mmapdev_log *log, uint32_t i)
{
	int ret;

	if (!log || !i || i >= LOG_SLOTS)
		return -EINVAL;
	if (!mmapdev_log_here(log))
		return -ESTALE;
	if (!log->writable)
		return -EBADF;
	if (log->ring)
		return -EOPNOTSUPP;
	/* Some kernels have no such barrier (nohz_full). */
	ret = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
	if (ret < 0 || !(ret & MEMBARRIER_CMD_GLOBAL))
		return -EOPNOTSUPP;

	ret = mmapdev_log_refresh(log);
	if (!ret)
		ret = mmapdev_log_lock(log->turn, LOG_PATIENCE);
	if (ret)
		return ret;
	ret = evict(log, i);
	if (mmapdev_mutex_unlock(log->turn) && !ret)
		ret = -EBADMSG;
	return ret;
}

/* From the first record of this segment that the slot has begun to the tail. */
static uint32_t blocked_in(struct mmapdev_log *log, unsigned char *segment,
			   uint64_t number, uint32_t end, uint32_t i)
{
	uint32_t state = load32(&log->slot[i].state), at = LOG_FIRST;
	uint64_t word;

	while (at < end) {
		word = load(&record_at(segment, at)->word);
		if (word == rec_word(REC_RESERVED, i, state, rec_length(word)))
			return end - at;
		if (!word)
			return load(&log->slot[i].reserving) ==
			       log_place(log, number) + 1 ? end - at : 0;
		if (rec_extent(rec_length(word)) > end - at)
			break;
		at += rec_extent(rec_length(word));
	}
	return 0;
}

/* It may be in any segment that others went on from. */
static uint64_t blocked(struct mmapdev_log *log, uint32_t i)
{
	uint64_t next = load(&log->control->next), number, bytes = 0;
	unsigned char *segment;
	uint32_t limit, end;

	if (!(log->flags & MMAPDEV_LOG_ORDERED))
		return 0;
	for (number = begun(log, i, next); number < next; number++) {
		segment = mmapdev_log_segment(log, number, &limit);
		if (!segment)
			break;
		end = mmapdev_log_reserved(log, segment, number, limit);
		if (bytes)
			bytes += end - LOG_FIRST;
		else
			bytes = blocked_in(log, segment, number, end, i);
	}
	return bytes;
}

int mmapdev_log_get_slot(struct mmapdev_log *log, uint32_t index,
			 struct mmapdev_log_slot *out)
{
	struct mmapdev_log_slot ours;
	struct log_slot *slot;
	unsigned char *segment;
	uint32_t state, limit;
	uint64_t held, word;
	int gone;

	if (!log || !out || index >= LOG_SLOTS)
		return -EINVAL;
	if (!mmapdev_log_here(log))
		return -ESTALE;
	slot = &log->slot[index];
	gone = mmapdev_log_gone(log, index);
	state = load32(&slot->state);

	memset(&ours, 0, sizeof(ours));
	ours.state = state & SLOT_STATE;
	/* Who only looks cannot write it down. */
	if (gone > 0 && !log->writable && ours.state == MMAPDEV_LOG_SLOT_OPEN)
		ours.state = MMAPDEV_LOG_SLOT_DIED;
	ours.since = load(&slot->since);
	ours.pid = load32(&slot->who.pid);
	ours.writer = load32(&slot->writer);
	held = load(&slot->held);
	segment = held ? mmapdev_log_segment(log, held - 1, &limit) : NULL;
	word = segment ? load((uint64_t *)(void *)segment) : 0;
	if (seg_state(word) == SEG_LEASED && seg_slot(word) == index)
		ours.segment = log_offset(log, held - 1);
	if (ours.state == MMAPDEV_LOG_SLOT_OPEN)
		ours.blocked = blocked(log, index);
	return mmapdev_struct_out(out, sizeof(ours), SLOT_FIRST, &ours);
}
