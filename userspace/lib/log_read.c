// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Readers of a log. In an ordered one there is one stream to follow. Else a
 * reader watches the segments that are not read to their end, in the order in
 * which they were taken, and takes records from the first that has any; a live
 * writer has one of them, which may stay without a record for as long as it
 * likes, and holds nobody up.
 */
#include <errno.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log.h"

#define OPTS_FIRST offsetofend(struct mmapdev_log_reader_opts, reserved)
#define RECORD_FIRST offsetofend(struct mmapdev_log_record, pid)

/* Leases of live writers, and as many again that are behind. */
#define WATCH (2 * LOG_SLOTS)

/* In place of an offset: what follows in the segment is damaged. */
#define GIVEN_UP UINT32_MAX

/* No errno: the record is not as it was written, but those behind it may be. */
#define UNSOUND (-4096)

struct watch {
	uint64_t number;
	uint32_t at;
	bool alone; /* its slot's earlier segments were read to the end */
};

struct mmapdev_log_reader {
	struct mmapdev_log *log; /* NULL in the child of a fork */
	bool consumer, ordered;
	bool blocked; /* by a writer that is at it */
	uint32_t state; /* of the consumer's slot */

	/* Ordered: where it is. */
	uint64_t number;
	uint32_t at;

	/* Leased: numbers below seen were met; of a ring, laps of each place. */
	uint64_t seen;
	uint64_t *laps;
	struct watch *watch;
	unsigned int count, room, now;
	bool begun, lost;

	/* Of the record that the caller has. */
	struct log_segment *given;
	uint32_t given_end;
	unsigned char *copy; /* it may be overwritten where it is */
};

struct found {
	unsigned char *segment;
	uint64_t number, word;
	uint32_t at, length, writer;
	const void *data;
};

static struct log_segment *head_of(unsigned char *segment)
{
	return (struct log_segment *)(void *)segment;
}

/* All numbers are below this, whatever control.next says. */
static uint64_t next_of(struct mmapdev_log *log)
{
	uint64_t next = load(&log->control->next);

	return log->ring || next < log->places ? next : log->places;
}

/*
 * The segment of @number, of which @at is to be looked at. What is known of the
 * object may be of before it was made longer.
 */
static unsigned char *segment_of(struct mmapdev_log *log, uint64_t number,
				 uint32_t at, uint32_t *limit)
{
	unsigned char *segment = mmapdev_log_segment(log, number, limit);

	if (segment && (*limit == log->segment ||
			(at < *limit && seg_end(load(&head_of(segment)->word)) <=
						*limit)))
		return segment;
	if (mmapdev_log_refresh(log))
		return NULL;
	return mmapdev_log_segment(log, number, limit);
}

/* What does not fit may have come when the object had been made longer. */
static bool is_longer(struct mmapdev_log *log, uint64_t number, uint32_t limit)
{
	uint32_t now;

	return limit < log->segment && !mmapdev_log_refresh(log) &&
	       mmapdev_log_segment(log, number, &now) && now > limit;
}

/* What is damaged, it seems, may be of the lap that came while we looked. */
static bool is_overtaken(struct mmapdev_log *log, unsigned char *segment,
			 uint64_t number)
{
	__sync_synchronize();
	return segment && log->ring &&
	       seg_lap(load(&head_of(segment)->word)) != log_lap(log, number);
}

/*
 * The record at @at that @word speaks of, if there may be one: 0, -EBADMSG,
 * UNSOUND, or -EOVERFLOW where it was overwritten while we looked. Who is no
 * consumer has no right to what a ring holds, and takes a copy.
 */
static int take(struct mmapdev_log_reader *r, struct found *found,
		uint64_t number, uint32_t at, uint32_t limit, uint64_t word)
{
	const struct log_record *record = record_at(found->segment, at);
	struct mmapdev_log *log = r->log;
	uint64_t length = rec_length(word);
	uint32_t crc = record->crc;

	if (rec_extent(length) > limit - at)
		return -EBADMSG;
	found->number = number;
	found->word = word;
	found->at = at;
	found->length = length;
	found->writer = record->writer;
	found->data = record + 1;
	if (r->copy) {
		memcpy(r->copy, record + 1, length);
		found->data = r->copy;
		__sync_synchronize();
		if (seg_lap(load(&head_of(found->segment)->word)) !=
		    log_lap(log, number))
			return -EOVERFLOW;
	}
	if (log->table && crc != mmapdev_log_crc(log, number, at,
						 found->writer, found->data,
						 length))
		return UNSOUND;
	return 0;
}

/* Everything in the segment was read, and acknowledged. */
static void drain(struct mmapdev_log_reader *r, unsigned char *segment,
		  uint32_t end)
{
	struct log_segment *head = head_of(segment);
	uint64_t word = load(&head->word);

	if (!r->consumer)
		return;
	store(&head->consumed, end);
	if (!r->log->ring || seg_state(word) == SEG_DRAINED)
		return;
	swap(&head->word, &word, seg_word(SEG_DRAINED, seg_slot(word), end,
					  seg_lap(word)));
	mmapdev_bell_ring(&r->log->control->room);
}

/* Where to begin in a segment that was not met before. */
static uint32_t begin_at(struct mmapdev_log_reader *r, unsigned char *segment,
			 uint32_t limit)
{
	uint64_t word = load(&head_of(segment)->word);
	uint64_t at = load(&head_of(segment)->consumed);

	/* Of one that is only taken it may be of the lap before. */
	if (!r->consumer || seg_state(word) == SEG_TAKEN || at < LOG_FIRST || at > limit || at % LOG_ALIGN)
		return LOG_FIRST;
	return at;
}

/* False if the object ends before it. */
static bool admit_one(struct mmapdev_log_reader *r, uint64_t number)
{
	unsigned int i = r->count++;
	unsigned char *segment;
	uint32_t limit = 0;

	for (; i && r->watch[i - 1].number > number; i--)
		r->watch[i] = r->watch[i - 1];
	segment = segment_of(r->log, number, LOG_FIRST, &limit);
	r->watch[i] = (struct watch){
		.number = number,
		.at = segment ? begin_at(r, segment, limit) : LOG_FIRST,
	};
	r->now = 0;
	return segment;
}

/* In a ring numbers are skipped, and may be taken later: each place is seen. */
static void admit_places(struct mmapdev_log_reader *r)
{
	struct mmapdev_log *log = r->log;
	unsigned char *segment;
	uint64_t word, place;
	uint32_t limit;

	for (place = 0; place < log->ring && r->count < r->room; place++) {
		segment = mmapdev_log_segment(log, place, &limit);
		word = segment ? load(&head_of(segment)->word) : 0;
		if (!word || seg_state(word) == SEG_TAKEN ||
		    seg_lap(word) < r->laps[place])
			continue;
		/* A lap in between was overwritten before we saw it. */
		if (r->begun && r->laps[place] <
				load(&head_of(segment)->before))
			r->lost = !r->consumer;
		r->laps[place] = seg_lap(word) + 1;
		if (seg_state(word) != SEG_DRAINED || !r->consumer)
			admit_one(r, seg_lap(word) * log->ring + place);
	}
}

/* True if there may be more than before. */
static bool admit(struct mmapdev_log_reader *r, bool all)
{
	uint64_t next = next_of(r->log);
	unsigned int before = r->count, found;

	if (r->log->ring && (all || next != r->seen)) {
		/* Whatever came before what is seen here is seen the next time. */
		do {
			found = r->count;
			admit_places(r);
		} while (r->count > found);
		r->seen = next;
	}
	while (r->seen < next && r->count < r->room) {
		if (!admit_one(r, r->seen++))
			r->seen = next;
	}
	return r->count > before;
}

static void forget(struct mmapdev_log_reader *r, unsigned int i)
{
	struct log_control *control = r->log->control;

	r->count--;
	memmove(&r->watch[i], &r->watch[i + 1],
		(r->count - i) * sizeof(*r->watch));
	r->now = 0;
	/* Where the next consumer begins. */
	if (r->consumer && !r->log->ring && !i)
		store(&control->drained,
		      r->count ? r->watch[0].number : r->seen);
}

/* Bytes of the segment that may hold records: 0 where it is not leased yet. */
static int end_of(struct mmapdev_log *log, uint64_t word, uint64_t number,
		  uint32_t limit, uint32_t *end)
{
	if (seg_lap(word) != log_lap(log, number))
		return log->ring ? -EOVERFLOW : -EBADMSG;
	switch (seg_state(word)) {
	case SEG_LEASED:
		*end = limit;
		return 0;
	case SEG_TAKEN:
		*end = 0;
		return 0;
	case SEG_SEALED:
	case SEG_DRAINED:
		*end = seg_end(word);
		return *end < LOG_FIRST || *end > limit ? -EBADMSG : 0;
	}
	return -EBADMSG;
}

/*
 * The next record of a segment: 1, 0 where there is none yet, or an error;
 * *@over: nothing more will come from it.
 */
static int look_once(struct mmapdev_log_reader *r, struct watch *watch,
		     struct found *found, bool *over, uint32_t *limit)
{
	uint32_t end;
	uint64_t word;
	int ret;

	found->segment = segment_of(r->log, watch->number, watch->at,
				    limit);
	*over = true;
	if (!found->segment)
		return -EBADMSG;
	word = load(&head_of(found->segment)->word);
	ret = end_of(r->log, word, watch->number, *limit, &end);
	if (ret)
		return ret;
	*over = seg_state(word) == SEG_SEALED || seg_state(word) == SEG_DRAINED;
	if (watch->at >= end) {
		if (*over)
			drain(r, found->segment, end);
		return 0;
	}
	word = load(&record_at(found->segment, watch->at)->word);
	if (!word && !*over)
		return 0;
	*over = rec_state(word) != REC_COMMITTED;
	if (*over)
		return -EBADMSG;
	ret = take(r, found, watch->number, watch->at, end, word);
	*over = ret == -EBADMSG || ret == -EOVERFLOW;
	if (!*over)
		watch->at += rec_extent(found->length);
	return ret ? ret : 1;
}

/*
 * A ring's place is not given up by a consumer that forgets it: of what is
 * damaged the rest is passed by, and it is drained when it is sealed.
 */
static bool pass_by(struct mmapdev_log_reader *r, struct watch *watch,
		    struct found *found, uint32_t limit)
{
	uint64_t word;
	uint32_t end;

	if (!r->consumer || !r->log->ring || !found->segment ||
	    watch->at == r->log->segment)
		return false;
	word = load(&head_of(found->segment)->word);
	if (end_of(r->log, word, watch->number, limit, &end))
		return false;
	watch->at = r->log->segment;
	return true;
}

static int look(struct mmapdev_log_reader *r, struct watch *watch,
		struct found *found, bool *over)
{
	uint32_t limit = 0;
	int ret;

	do {
		ret = look_once(r, watch, found, over, &limit);
	} while (ret == -EBADMSG && is_longer(r->log, watch->number, limit));
	if (ret != -EBADMSG)
		return ret;
	if (is_overtaken(r->log, found->segment, watch->number)) {
		*over = true;
		return -EOVERFLOW;
	}
	*over = !pass_by(r, watch, found, limit);
	return ret;
}

/* The first that is watched below @i and of the same slot, or gone, or @i. */
static unsigned int same_slot(struct mmapdev_log_reader *r, unsigned int i)
{
	unsigned char *segment;
	uint32_t limit, slot;
	uint64_t word;
	unsigned int k;

	segment = mmapdev_log_segment(r->log, r->watch[i].number, &limit);
	if (!segment)
		return i;
	slot = seg_slot(load(&head_of(segment)->word));
	for (k = 0; k < i; k++) {
		segment = mmapdev_log_segment(r->log, r->watch[k].number,
					      &limit);
		word = segment ? load(&head_of(segment)->word) : 0;
		if (segment &&
		    (seg_slot(word) == slot ||
		     seg_lap(word) != log_lap(r->log, r->watch[k].number)))
			return k;
	}
	return i;
}

/*
 * From the segment @i: as look(). A record that is there may not be given while
 * an earlier segment of its slot has any. That one is sealed then, for us too.
 */
static int look_at(struct mmapdev_log_reader *r, unsigned int i,
		   struct found *found)
{
	struct watch *watch = &r->watch[i];
	uint32_t at = watch->at;
	unsigned int first;
	bool over;
	int ret;

	ret = look(r, watch, found, &over);
	while (ret > 0 && !watch->alone) {
		first = same_slot(r, i);
		if (first == i) {
			watch->alone = true;
			break;
		}
		watch->at = at;
		ret = look(r, &r->watch[first], found, &over);
		if (ret && !over)
			return ret;
		forget(r, first);
		/* With nothing, its end is not where it should be. */
		if (ret || !over)
			return ret ? ret : -EBADMSG;
		watch = &r->watch[--i];
		ret = look(r, watch, found, &over);
	}
	if (over)
		forget(r, i);
	else if (ret > 0)
		r->now = i;
	return ret;
}

/* Said once, and before what came after it. */
static bool is_lost(struct mmapdev_log_reader *r)
{
	bool lost = r->lost;

	r->lost = false;
	return lost;
}

static int next_leased(struct mmapdev_log_reader *r, struct found *found)
{
	unsigned int i, count;
	bool again;
	int ret;

	admit(r, false);
	r->begun = true;
	if (is_lost(r))
		return -EOVERFLOW;
	/* On where we were, and then from the first. */
	if (r->now < r->count) {
		ret = look_at(r, r->now, found);
		if (ret)
			return ret;
	}
	do {
		for (i = 0; i < r->count; ) {
			count = r->count;
			ret = look_at(r, i, found);
			if (ret)
				return ret;
			if (r->count == count)
				i++;
		}
		again = admit(r, true);
		if (is_lost(r))
			return -EOVERFLOW;
	} while (again);
	return 0;
}

/* The oldest number that there may be where @next is the next. */
static uint64_t oldest(const struct mmapdev_log *log, uint64_t next)
{
	return log->ring && next > log->ring ? next - log->ring : 0;
}

static void begin_ordered(struct mmapdev_log_reader *r, bool end)
{
	struct mmapdev_log *log = r->log;
	uint64_t drained = load(&log->control->drained);
	uint64_t next = next_of(log), n = oldest(log, next), tail;
	unsigned char *segment;
	uint32_t limit;

	if (r->consumer && drained > n)
		n = drained;
	if (end && next)
		n = next - 1;
	r->number = n < next ? n : next;
	r->at = LOG_FIRST;
	segment = segment_of(log, r->number, LOG_FIRST, &limit);
	if (!segment || seg_lap(load(&head_of(segment)->word)) !=
			log_lap(log, r->number))
		return;
	tail = LOG_FIRST + (uint32_t)load(&head_of(segment)->tail);
	if (!end)
		r->at = begin_at(r, segment, limit);
	else
		r->at = tail < log->segment ? tail / LOG_ALIGN * LOG_ALIGN :
					      log->segment;
}

static void go_on(struct mmapdev_log_reader *r)
{
	r->number++;
	r->at = LOG_FIRST;
}

/* The same, but not before @number. */
static void go_on_from(struct mmapdev_log_reader *r, uint64_t number)
{
	go_on(r);
	if (r->number < number)
		r->number = number;
}

/* 1 when the segment we are at can be looked into. */
static int can_look(struct mmapdev_log_reader *r, uint64_t word, uint64_t next)
{
	struct mmapdev_log *log = r->log;
	uint64_t lap = log_lap(log, r->number);

	if (seg_lap(word) > lap) {
		go_on_from(r, oldest(log, next));
		return log->ring ? -EOVERFLOW : -EBADMSG;
	}
	/* It was shared before the next number was raised. */
	switch (seg_lap(word) == lap ? seg_state(word) : SEG_FREE) {
	case SEG_SHARED:
	case SEG_SEALED:
	case SEG_DRAINED:
		return 1;
	}
	go_on(r);
	return -EBADMSG;
}

/* On, behind what is damaged. A ring's place is to be taken anew for all that. */
static void give_up(struct mmapdev_log_reader *r)
{
	if (r->consumer && r->log->ring)
		r->at = GIVEN_UP;
	else
		go_on(r);
}

/* Whether anybody may yet write to the segment that was given up. */
static bool in_work(struct mmapdev_log_reader *r, unsigned char *segment,
		    uint64_t next)
{
	return r->number + 1 == next ||
	       mmapdev_log_busy(r->log, segment, r->number);
}

static int next_ordered(struct mmapdev_log_reader *r, struct found *found)
{
	struct mmapdev_log *log = r->log;
	uint64_t word, next;
	uint32_t limit;
	int ret;

	for (;;) {
		next = next_of(log);
		if (r->number >= next)
			return 0;
		found->segment = segment_of(log, r->number, r->at, &limit);
		if (!found->segment) {
			go_on(r);
			/* None behind it is there. */
			if (!log->ring)
				r->number = next;
			return -EBADMSG;
		}
		ret = can_look(r, load(&head_of(found->segment)->word), next);
		/* One that died had read it, and was about to say so. */
		if (ret == -EOVERFLOW && r->consumer)
			continue;
		if (ret <= 0)
			return ret;
		if (r->at == GIVEN_UP && in_work(r, found->segment, next))
			return 0;
		if (r->at >= log->segment) {
			drain(r, found->segment, log->segment);
			go_on(r);
			if (r->consumer)
				store(&log->control->drained, r->number);
			continue;
		}
		if (r->at >= limit)
			return 0;
		ret = mmapdev_log_settle(log, found->segment, r->number, r->at,
					 limit, &word);
		r->blocked = ret == -EAGAIN;
		if (r->blocked || (!ret && !word && r->number + 1 == next))
			return 0;
		/* It was full before there was a next one. */
		if (!ret && !word)
			ret = -EBADMSG;
		if (!ret && rec_state(word) == REC_COMMITTED)
			ret = take(r, found, r->number, r->at, limit, word);
		if (ret == -EBADMSG && is_longer(log, r->number, limit))
			continue;
		if (ret == -EBADMSG &&
		    is_overtaken(log, found->segment, r->number))
			ret = -EOVERFLOW;
		if (ret == -EOVERFLOW)
			go_on_from(r, oldest(log, next));
		else if (ret == -EBADMSG)
			give_up(r);
		else if (!ret || ret == UNSOUND)
			r->at += rec_extent(rec_length(word));
		if (ret)
			return ret;
		if (rec_state(word) == REC_COMMITTED)
			return 1;
	}
}

/* 1, 0 or -errno. */
static int next_record(struct mmapdev_log_reader *r, struct found *found)
{
	int ret = r->ordered ? next_ordered(r, found) : next_leased(r, found);

	return ret == UNSOUND ? -EBADMSG : ret;
}

/* The caller is done with the record that it had. */
static void acknowledge(struct mmapdev_log_reader *r)
{
	if (r->given && r->consumer)
		store(&r->given->consumed, r->given_end);
	r->given = NULL;
}

/* Of the process whose writer has this number, if that can be told. */
static uint32_t pid_of(struct mmapdev_log *log, const struct found *found)
{
	const struct log_segment *head = head_of(found->segment);
	const struct log_slot *slot;

	if (!(log->flags & MMAPDEV_LOG_ORDERED) &&
	    __atomic_load_n(&head->writer, __ATOMIC_RELAXED) ==
		    found->writer)
		return __atomic_load_n(&head->pid, __ATOMIC_RELAXED);
	slot = &log->slot[found->word >> 3 & (LOG_SLOTS - 1)];
	return load32(&slot->writer) == found->writer ? load32(&slot->who.pid) : 0;
}

static int give(struct mmapdev_log_reader *r, const struct found *found,
		struct mmapdev_log_record *record)
{
	struct mmapdev_log_record ours = {
		.data = found->data,
		.length = found->length,
		.offset = found->segment - r->log->base + found->at +
			  sizeof(struct log_record),
		.writer = found->writer,
		.pid = pid_of(r->log, found),
	};

	r->given = head_of(found->segment);
	r->given_end = found->at + rec_extent(found->length);
	return mmapdev_struct_out(record, sizeof(ours), RECORD_FIRST, &ours);
}

/* Returns what the bell shows until a record comes; see log.h, 4. */
static uint32_t listen_for(struct mmapdev_log *log)
{
	uint32_t value;

	if (!log->writable)
		return load32(&log->control->bell);
	value = mmapdev_bell_listen(&log->control->bell);
	/* Where there is no such call a slice is the longest to be missed. */
	syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
	return value;
}

int mmapdev_log_read(struct mmapdev_log_reader *r,
		     struct mmapdev_log_record *record, int timeout)
{
	struct log_wait wait = { .timeout = timeout };
	struct found found;
	uint32_t value;
	size_t size;
	int ret;

	if (!r || !record || timeout < -1)
		return -EINVAL;
	if (!r->log)
		return -ESTALE;
	/* Not when a record was found, which would be lost. */
	ret = mmapdev_struct_size(record, RECORD_FIRST, &size);
	if (ret)
		return ret;
	acknowledge(r);
	while (!(ret = next_record(r, &found))) {
		if (!timeout)
			return -EAGAIN;
		value = listen_for(r->log);
		ret = next_record(r, &found);
		if (ret)
			break;
		/* Nobody rings for who cannot say that it listens. */
		ret = mmapdev_log_wait(&wait, &r->log->control->bell, value,
				       r->blocked || !r->log->writable ?
					       LOG_SLICE_SHORT : LOG_SLICE);
		if (ret)
			return ret;
	}
	return ret < 0 ? ret : give(r, &found, record);
}

/*
 * A writer that saw a segment, and then that there never was a consumer, may
 * take it at any time. Not when its word has changed.
 */
static void keep(struct mmapdev_log *log)
{
	unsigned char *segment;
	uint64_t word, *at;
	uint32_t place, limit;

	for (place = 0; place < log->ring; place++) {
		segment = mmapdev_log_segment(log, place, &limit);
		if (!segment)
			continue;
		at = &head_of(segment)->word;
		word = load(at);
		while ((seg_state(word) == SEG_SEALED ||
			seg_state(word) == SEG_SHARED) &&
		       !swap(at, &word, word | SEG_KEPT))
			;
	}
}

static int become_consumer(struct mmapdev_log_reader *r)
{
	struct mmapdev_log *log = r->log;
	int ret;

	if (!log->writable)
		return -EBADF;
	ret = mmapdev_log_lock(log->turn, LOG_PATIENCE);
	if (ret)
		return ret;
	ret = mmapdev_log_vacant(log, 0, true);
	if (!ret)
		ret = -EBUSY;
	if (ret > 0)
		ret = mmapdev_log_enter(log, 0, 0, &r->state);
	if (!ret) {
		__atomic_store_n(&log->control->consumed, 1, __ATOMIC_SEQ_CST);
		/* Who did not see that had his look before ours. */
		__sync_synchronize();
		keep(log);
	}
	if (mmapdev_mutex_unlock(log->turn) && !ret)
		ret = -EBADMSG;
	r->consumer = !ret;
	return ret;
}

static void reader_free(struct mmapdev_log_reader *r)
{
	free(r->laps);
	free(r->watch);
	free(r->copy);
	mmapdev_log_handle_free(r, sizeof(*r));
}

/* What is sealed goes by, and what is in the others now. */
static void skip_leased(struct mmapdev_log_reader *r)
{
	unsigned char *segment;
	unsigned int i;
	uint32_t limit;
	bool more;

	do {
		more = admit(r, true);
		for (i = r->count; i--; ) {
			segment = segment_of(r->log, r->watch[i].number,
					     LOG_FIRST, &limit);
			if (segment && seg_state(load(&head_of(segment)->word)) ==
				       SEG_LEASED)
				r->watch[i].at = mmapdev_log_walk(segment,
								  limit);
			else
				forget(r, i);
		}
	} while (more);
}

static int begin_leased(struct mmapdev_log_reader *r, bool end)
{
	struct mmapdev_log *log = r->log;

	/* Of a place the lap before may not be given up yet. */
	r->room = WATCH + 2 * log->ring;
	r->watch = calloc(r->room, sizeof(*r->watch));
	if (log->ring)
		r->laps = calloc(log->ring, sizeof(*r->laps));
	if (!r->watch || (log->ring && !r->laps))
		return -ENOMEM;
	if (r->consumer && !log->ring)
		r->seen = load(&log->control->drained);
	if (end)
		skip_leased(r);
	return 0;
}

static int reader_begin(struct mmapdev_log_reader *r, uint32_t flags)
{
	struct mmapdev_log *log = r->log;
	int ret = 0;

	r->ordered = log->flags & MMAPDEV_LOG_ORDERED;
	if (flags & MMAPDEV_LOG_CONSUME)
		ret = become_consumer(r);
	if (ret)
		return ret;
	if (log->ring && !r->consumer) {
		r->copy = malloc(log->segment);
		if (!r->copy)
			return -ENOMEM;
	}
	if (!r->ordered)
		return begin_leased(r, flags & MMAPDEV_LOG_END);
	begin_ordered(r, flags & MMAPDEV_LOG_END);
	return 0;
}

int mmapdev_log_reader_open(struct mmapdev_log *log,
			    const struct mmapdev_log_reader_opts *opts,
			    struct mmapdev_log_reader **out)
{
	struct mmapdev_log_reader_opts o = { .sz = sizeof(o) };
	struct mmapdev_log_reader *r;
	int ret = 0;

	if (!log || !out)
		return -EINVAL;
	if (opts)
		ret = mmapdev_struct_in(&o, sizeof(o), OPTS_FIRST, opts);
	if (ret)
		return ret;
	/* A consumer that begins at the end would leave what nobody reads. */
	if (o.flags & ~(MMAPDEV_LOG_CONSUME | MMAPDEV_LOG_END) || o.reserved ||
	    o.flags == (MMAPDEV_LOG_CONSUME | MMAPDEV_LOG_END))
		return -EINVAL;
	if (!mmapdev_log_here(log))
		return -ESTALE;

	r = mmapdev_log_handle(sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->log = log;
	ret = reader_begin(r, o.flags);
	if (ret) {
		if (r->consumer)
			mmapdev_log_leave(log, 0, r->state);
		reader_free(r);
		return ret;
	}
	__atomic_add_fetch(&log->refs, 1, __ATOMIC_RELAXED);
	*out = r;
	return 0;
}

int mmapdev_log_reader_close(struct mmapdev_log_reader *r)
{
	if (!r)
		return 0;
	if (r->log) {
		acknowledge(r);
		if (r->consumer)
			mmapdev_log_leave(r->log, 0, r->state);
		__atomic_sub_fetch(&r->log->refs, 1, __ATOMIC_RELEASE);
	}
	reader_free(r);
	return 0;
}
