// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Writers of a log. Where there is room in the lease, to append is a copy and
 * two stores, none of them shared with another writer; in an ordered log it is
 * a fetch-and-add and two compare-and-swaps.
 */
#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log.h"

#define MAX_ERRNO 4095

struct mmapdev_log_writer {
	struct mmapdev_log *log; /* NULL in the child of a fork */
	struct log_slot *slot;
	uint32_t *bell;
	unsigned char *segment; /* NULL: none yet */
	uint64_t number;	/* of the segment */
	uint64_t committed;	/* word of a record of no length */
	uint32_t size;		/* bytes of each segment */
	uint32_t at;		/* leased: the end; ordered: what is claimed */
	uint32_t length;	/* most that may be committed */
	uint32_t state;		/* of the slot while it is ours */
	uint32_t index;		/* of the slot */
	uint32_t id;
	bool ordered, claimed;
	uint64_t from, to; /* in the object: what is not synced; to 0: nothing */
};

static struct log_segment *head_of(unsigned char *segment)
{
	return (struct log_segment *)(void *)segment;
}

static bool stale(const struct mmapdev_log_writer *w)
{
	return __atomic_load_n(&w->slot->state, __ATOMIC_RELAXED) != w->state;
}

/* Who fills it, since when: for those who look. */
static void sign(struct mmapdev_log_writer *w, struct log_segment *head)
{
	__atomic_store_n(&head->writer, w->id, __ATOMIC_RELAXED);
	__atomic_store_n(&head->pid, w->log->me.pid, __ATOMIC_RELAXED);
	__atomic_store_n(&head->since, mmapdev_log_now(), __ATOMIC_RELAXED);
}

/* Whether what the place holds may be overwritten by number @n. */
static bool recyclable(struct mmapdev_log *log, uint64_t word, uint64_t n)
{
	if (!word)
		return true;
	if (seg_lap(word) >= log_lap(log, n))
		return false;
	return seg_state(word) == SEG_DRAINED ||
	       (seg_state(word) == SEG_SEALED &&
		!load32(&log->control->consumed));
}

/* Taken, to leased: nothing of the lap before is to be read. */
static int begin_lease(struct mmapdev_log_writer *w, unsigned char *segment,
		       uint64_t number, uint64_t word, uint64_t before)
{
	struct log_segment *head = head_of(segment);

	/* Who copies meanwhile sees that, or none of what is to come. */
	__sync_synchronize();
	store(&head->before, before);
	store(&head->consumed, 0);
	store(&record_at(segment, LOG_FIRST)->word, 0);
	if (!swap(&head->word, &word, seg_word(SEG_LEASED, w->index, 0,
					       log_lap(w->log, number))))
		return -ESTALE;
	return 0;
}

/* The segment is ours, up to @at. */
static void settle_in(struct mmapdev_log_writer *w, unsigned char *segment,
		      uint64_t number, uint32_t at)
{
	mmapdev_log_raise(&w->log->control->next, number + 1);
	sign(w, head_of(segment));
	w->number = number;
	w->at = at;
	w->segment = segment;
	if (w->log->ahead)
		mmapdev_ahead_at(w->log->ahead, segment - w->log->base);
}

static int lease_new(struct mmapdev_log_writer *w)
{
	uint64_t n = load(&w->log->control->next), word;
	unsigned char *segment;
	int ret;

	for (;; n++) {
		ret = mmapdev_log_reach(w->log, n, &segment);
		if (ret)
			return ret;
		/* Said before it is done: see resume(). */
		store(&w->slot->held, n + 1);
		word = 0;
		if (swap(&head_of(segment)->word, &word,
			 seg_word(SEG_LEASED, w->index, 0, 0))) {
			settle_in(w, segment, n, LOG_FIRST);
			return 0;
		}
	}
}

static int lease_place(struct mmapdev_log_writer *w)
{
	struct mmapdev_log *log = w->log;
	uint64_t next = load(&log->control->next), n, word, taken;
	unsigned char *segment;
	uint32_t limit;
	int ret;

	for (n = next; n < next + log->ring; n++) {
		segment = mmapdev_log_segment(log, n, &limit);
		if (!segment)
			return -EBADMSG;
		word = load(&head_of(segment)->word);
		if (!recyclable(log, word, n))
			continue;
		taken = seg_taken(w->index, w->state, log_lap(log, n));
		store(&w->slot->held, n + 1);
		if (!swap(&head_of(segment)->word, &word, taken))
			continue;
		ret = begin_lease(w, segment, n, taken,
				  word ? seg_lap(word) + 1 : 0);
		if (!ret)
			settle_in(w, segment, n, LOG_FIRST);
		return ret;
	}
	return -EAGAIN;
}

/* Leases of slots that nobody has end, where their places are wanted. */
static int retire(struct mmapdev_log *log)
{
	unsigned char *segment;
	uint64_t word;
	uint32_t i, limit, end;
	int ret, count = 0;

	ret = mmapdev_log_lock(log->turn, 0);
	if (ret)
		return ret;
	for (i = 0; i < log->ring && ret >= 0; i++) {
		segment = mmapdev_log_segment(log, i, &limit);
		word = segment ? load(&head_of(segment)->word) : 0;
		if (seg_state(word) != SEG_LEASED &&
		    seg_state(word) != SEG_TAKEN)
			continue;
		ret = mmapdev_log_vacant(log, seg_slot(word), true);
		if (ret <= 0)
			continue;
		end = LOG_FIRST;
		if (seg_state(word) == SEG_LEASED)
			end = mmapdev_log_walk(segment, limit);
		else
			store(&head_of(segment)->before, seg_lap(word));
		count += swap(&head_of(segment)->word, &word,
			      seg_word(SEG_SEALED, seg_slot(word), end,
				       seg_lap(word)));
	}
	if (mmapdev_mutex_unlock(log->turn))
		ret = -EBADMSG;
	return ret < 0 ? ret : count;
}

static int seal(struct mmapdev_log_writer *w)
{
	uint64_t lap = log_lap(w->log, w->number);
	uint64_t word = seg_word(SEG_LEASED, w->index, 0, lap);

	if (!w->segment)
		return 0;
	if (!swap(&head_of(w->segment)->word, &word,
		  seg_word(SEG_SEALED, w->index, w->at, lap)))
		return -ESTALE;
	w->segment = NULL;
	return 0;
}

/* The lease came to one who was evicted. */
static int give_back(struct mmapdev_log_writer *w)
{
	seal(w);
	w->segment = NULL;
	return -ESTALE;
}

static int lease(struct mmapdev_log_writer *w, struct log_wait *wait)
{
	struct mmapdev_log *log = w->log;
	uint32_t value;
	int ret;

	if (stale(w))
		return -ESTALE;
	ret = seal(w);
	if (ret)
		return ret;
	if (!log->ring) {
		ret = lease_new(w);
		/* Who evicts us either seals this, or we see that. */
		return !ret && stale(w) ? give_back(w) : ret;
	}

	for (;;) {
		ret = lease_place(w);
		if (ret != -EAGAIN)
			return ret;
		value = mmapdev_bell_listen(&log->control->room);
		ret = retire(log);
		if (ret < 0 && ret != -EAGAIN)
			return ret;
		ret = lease_place(w);
		if (ret != -EAGAIN)
			return ret;
		ret = mmapdev_log_wait(wait, &log->control->room, value,
				       LOG_SLICE);
		if (ret)
			return ret;
	}
}

/* All records of a place are in: 1, 0 or -errno. */
static int finished(struct mmapdev_log *log, unsigned char *segment,
		    uint64_t number, uint32_t limit)
{
	uint32_t at = LOG_FIRST;
	uint64_t word;
	int ret;

	while (at < limit) {
		ret = mmapdev_log_settle(log, segment, number, at, limit,
					 &word);
		/* It is full: what has no end there is damaged, and given up. */
		if (ret == -EBADMSG || (!ret && !word)) {
			ret = mmapdev_log_busy(log, segment, number);
			return ret < 0 ? ret : !ret;
		}
		if (ret)
			return ret == -EAGAIN ? 0 : ret;
		at += rec_extent(rec_length(word));
	}
	return 1;
}

/*
 * What the lap before left goes, then the tail begins anew; one who is late adds
 * to the tail at any time, so this is done once, whoever of us dies.
 */
static int begin_shared(struct mmapdev_log_writer *w, unsigned char *segment,
			uint64_t number, uint64_t taken)
{
	struct log_segment *head = head_of(segment);
	uint64_t lap = log_lap(w->log, number);

	if (load(&head->tail) >> 32 != lap) {
		/* Who copies meanwhile sees TAKEN, or nothing of this. */
		__sync_synchronize();
		memset(segment + LOG_FIRST, 0, w->size - LOG_FIRST);
		store(&head->consumed, 0);
		store(&head->tail, lap << 32);
	}
	sign(w, head);
	if (!swap(&head->word, &taken, seg_word(SEG_SHARED, 0, 0, lap)))
		return -EAGAIN;
	mmapdev_bell_ring(&w->log->control->room);
	return 0;
}

/* The place of number @n in a ring: 0 when it is shared. */
static int share_place(struct mmapdev_log_writer *w, uint64_t n)
{
	struct mmapdev_log *log = w->log;
	uint64_t lap = log_lap(log, n), word, taken;
	uint64_t before = n - log->ring;
	unsigned char *segment;
	uint32_t limit;
	int ret;

	segment = mmapdev_log_segment(log, n, &limit);
	if (!segment)
		return -EBADMSG;
	word = load(&head_of(segment)->word);
	taken = seg_taken(w->index, w->state, lap);
	/* We may be late by more than a lap, but nobody takes what is not next. */
	if (word && seg_lap(word) > lap) {
		n += (seg_lap(word) - lap) * log->ring;
		return load(&log->control->next) < n ? -EBADMSG : 0;
	}
	if (word && seg_lap(word) == lap) {
		if (seg_state(word) != SEG_TAKEN)
			return 0;
		ret = mmapdev_log_taker_gone(log, word);
		if (ret <= 0)
			return ret < 0 ? ret : -EAGAIN;
	} else if (seg_state(word) == SEG_SHARED) {
		ret = load32(&log->control->consumed) ? 0 :
			finished(log, segment, before, limit);
		/* What is no record may be one of a lap that came meanwhile. */
		if (ret < 0 && load(&head_of(segment)->word) != word)
			ret = 0;
		if (ret <= 0)
			return ret < 0 ? ret : -EAGAIN;
	} else if (!recyclable(log, word, n)) {
		return -EAGAIN;
	}
	store(&w->slot->held, n + 1);
	if (!swap(&head_of(segment)->word, &word, taken))
		return -EAGAIN;
	return begin_shared(w, segment, n, taken);
}

/* Number @n is shared when this returns 0, by whomever. */
static int share(struct mmapdev_log_writer *w, uint64_t n)
{
	unsigned char *segment;
	uint64_t word = 0;
	int ret;

	if (w->log->ring)
		return share_place(w, n);

	ret = mmapdev_log_reach(w->log, n, &segment);
	if (ret)
		return ret;
	if (!swap(&head_of(segment)->word, &word, seg_word(SEG_SHARED, 0, 0, 0)))
		return seg_state(word) == SEG_SHARED ? 0 : -EBADMSG;
	sign(w, head_of(segment));
	return 0;
}

/* After a crash of the machine the number may be there, and no segment. */
static int check_shared(struct mmapdev_log_writer *w, uint64_t number)
{
	unsigned char *segment;
	uint64_t word = 0;
	int ret;

	ret = mmapdev_log_reach(w->log, number, &segment);
	if (ret)
		return ret;
	if (!w->log->ring)
		swap(&head_of(segment)->word, &word,
		     seg_word(SEG_SHARED, 0, 0, 0));
	w->segment = segment;
	w->number = number;
	/* Who looks for what we have begun need not look before that. */
	if (!w->log->ring)
		store(&w->slot->held, number + 1);
	return 0;
}

/* On to the segment that is filled now; it is not the one that we know. */
static int advance(struct mmapdev_log_writer *w, struct log_wait *wait)
{
	struct log_control *control = w->log->control;
	uint32_t value;
	uint64_t next;
	int ret;

	for (;;) {
		next = load(&control->next);
		if (next && (!w->segment || next - 1 != w->number))
			break;
		ret = share(w, next);
		if (ret == -EAGAIN) {
			value = mmapdev_bell_listen(&control->room);
			ret = load(&control->next) == next ? share(w, next) : 0;
			if (ret == -EAGAIN)
				ret = mmapdev_log_wait(wait, &control->room,
						       value, LOG_SLICE_SHORT);
			if (ret)
				return ret;
			continue;
		}
		if (ret)
			return ret;
		mmapdev_log_raise(&control->next, next + 1);
	}
	ret = check_shared(w, next - 1);
	if (ret)
		return ret;
	if (w->log->ahead)
		mmapdev_ahead_at(w->log->ahead, w->segment - w->log->base);
	return 0;
}

/* Bytes reserved of the segment that we know: its length or more if full. */
static uint64_t tail_of(struct mmapdev_log_writer *w)
{
	return LOG_FIRST + (uint32_t)load(&head_of(w->segment)->tail);
}

/*
 * Whoever took the place for lap @lap made its tail, and may be stopped or dead
 * before what is left to do. We have a record there: no other lap comes now.
 */
static void finish_taking(struct mmapdev_log_writer *w, uint64_t lap)
{
	struct log_segment *head = head_of(w->segment);
	uint64_t word = load(&head->word);

	/* Another may take it from the dead at the same time. */
	while (seg_state(word) == SEG_TAKEN &&
	       !swap(&head->word, &word, seg_word(SEG_SHARED, 0, 0, lap)))
		;
	mmapdev_log_raise(&w->log->control->next, w->number + 1);
}

/*
 * One fetch-and-add. The place may have come to another lap since we looked;
 * the tail says to which, and the record is where it says.
 */
static int try_reserve(struct mmapdev_log_writer *w, uint32_t length)
{
	uint64_t place = log_place(w->log, w->number), word = 0, tail, at;
	uint64_t extent = rec_extent(length);
	struct log_record *record;
	int ret = -EAGAIN;

	store(&w->slot->reserving, place + 1);
	tail = __atomic_fetch_add(&head_of(w->segment)->tail, extent,
				  __ATOMIC_ACQ_REL);
	at = LOG_FIRST + (uint32_t)tail;
	record = record_at(w->segment, at);
	if (at % LOG_ALIGN) {
		ret = -EBADMSG;
	} else if (at < w->size && extent <= w->size - at) {
		if (swap(&record->word, &word,
			 rec_word(REC_RESERVED, w->index, w->state, length)))
			ret = 0;
	} else if (at < w->size) {
		swap(&record->word, &word,
		     rec_word(REC_PAD, 0, 0, w->size - at - LOG_ALIGN));
	}
	store(&w->slot->reserving, 0);
	if (ret)
		return ret;
	w->at = at;
	if (tail >> 32 == log_lap(w->log, w->number))
		return 0;
	w->number = (tail >> 32) * w->log->ring + place;
	finish_taking(w, tail >> 32);
	return 0;
}

/* In place of what is reserved, a pad. */
static int withdraw(struct mmapdev_log_writer *w, uint32_t length)
{
	uint64_t word = rec_word(REC_RESERVED, w->index, w->state, length);
	uint64_t pad = rec_word(REC_PAD, 0, 0, rec_extent(length) - LOG_ALIGN);

	return swap(&record_at(w->segment, w->at)->word, &word, pad) ? 0 :
								       -ESTALE;
}

static int reserve(struct mmapdev_log_writer *w, uint32_t length,
		   struct log_wait *wait)
{
	int ret;

	do {
		/* Who is late adds to a tail that is over at most once. */
		while (!w->segment || tail_of(w) >= w->size) {
			ret = advance(w, wait);
			if (ret)
				return ret;
		}
		ret = try_reserve(w, length);
		if (ret != -EAGAIN && ret)
			return ret;
	} while (ret && !stale(w));
	/* Who evicts us either knows of this record, or we of that. */
	if (!stale(w))
		return 0;
	if (!ret)
		withdraw(w, length);
	return -ESTALE;
}

/* Not inlined: most who append leave its registers and its stack alone. */
static __attribute__((noinline)) int
make_room(struct mmapdev_log_writer *w, uint32_t length, int timeout)
{
	struct log_wait wait = { .timeout = timeout };

	return w->ordered ? reserve(w, length, &wait) : lease(w, &wait);
}

/* The next record of the writer is to be at w->at. */
static inline int claim(struct mmapdev_log_writer *w, size_t length,
			int timeout)
{
	int ret;

	if (!w->log)
		return -ESTALE;
	if (w->claimed)
		return -EBUSY;
	if (length > w->size - LOG_FIRST - LOG_ALIGN)
		return -EMSGSIZE;
	if (w->ordered || !w->segment || rec_extent(length) > w->size - w->at) {
		ret = make_room(w, length, timeout);
		if (ret)
			return ret;
	}
	w->length = length;
	return 0;
}

int mmapdev_log_claim(struct mmapdev_log_writer *w, size_t length, int timeout,
		      void **data)
{
	int ret;

	if (!w || !data || timeout < -1)
		return -EINVAL;
	ret = claim(w, length, timeout);
	if (ret)
		return ret;
	w->claimed = true;
	*data = record_at(w->segment, w->at) + 1;
	return 0;
}

/* The record is there for all to see. Were we still who was to write it? */
static int acknowledge(struct mmapdev_log_writer *w)
{
	/* A real barrier is with those who need one: log.h, 3 and 4. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (stale(w))
		return -ESTALE;
	if (__atomic_load_n(w->bell, __ATOMIC_RELAXED) & 1)
		mmapdev_bell_ring(w->bell);
	return 0;
}

static void note_unsynced(struct mmapdev_log_writer *w, uint32_t extent)
{
	uint64_t from = w->segment - w->log->base;
	uint64_t to = from + w->at + extent;

	if (!w->to || from < w->from)
		w->from = from;
	if (to > w->to)
		w->to = to;
}

/* Reserved becomes committed, and what was not needed a pad. */
static int publish_shared(struct mmapdev_log_writer *w,
			  struct log_record *record, uint32_t length)
{
	uint64_t extent = rec_extent(length);
	uint64_t rest = rec_extent(w->length) - extent;
	uint64_t old = rec_word(REC_RESERVED, w->index, w->state, w->length);

	if (rest)
		store(&record_at(w->segment, w->at + extent)->word,
		      rec_word(REC_PAD, 0, 0, rest - LOG_ALIGN));
	if (!swap(&record->word, &old, w->committed | (uint64_t)length << 32))
		return -ESTALE;
	return acknowledge(w);
}

static inline int commit(struct mmapdev_log_writer *w, uint32_t length)
{
	struct log_record *record = record_at(w->segment, w->at);
	uint64_t extent = rec_extent(length);

	record->writer = w->id;
	if (w->log->table) {
		record->crc = mmapdev_log_crc(w->log, w->number, w->at, w->id,
					      record + 1, length);
		note_unsynced(w, extent);
	}
	if (w->ordered)
		return publish_shared(w, record, length);

	/* What the dead may have left behind it is not to be read. */
	if (w->at + extent < w->size)
		__atomic_store_n(&record_at(w->segment, w->at + extent)->word,
				 0, __ATOMIC_RELAXED);
	store(&record->word, w->committed | (uint64_t)length << 32);
	w->at += extent;
	return acknowledge(w);
}

int mmapdev_log_commit(struct mmapdev_log_writer *w, size_t length)
{
	if (!w)
		return -EINVAL;
	if (!w->log)
		return -ESTALE;
	if (!w->claimed || length > w->length)
		return -EINVAL;
	w->claimed = false;
	return commit(w, length);
}

int mmapdev_log_append(struct mmapdev_log_writer *w, const void *data,
		       size_t length, int timeout)
{
	int ret;

	if (!w || (!data && length) || timeout < -1)
		return -EINVAL;
	ret = claim(w, length, timeout);
	if (ret)
		return ret;
	if (length)
		memcpy(record_at(w->segment, w->at) + 1, data, length);
	return commit(w, length);
}

int mmapdev_log_abort(struct mmapdev_log_writer *w)
{
	if (!w)
		return -EINVAL;
	if (!w->log)
		return -ESTALE;
	if (!w->claimed)
		return -EINVAL;
	w->claimed = false;
	return w->ordered ? withdraw(w, w->length) : 0;
}

/* All that anybody has appended; others who wait have theirs by it as well. */
static int sync_all(struct mmapdev_log *log)
{
	struct log_control *control = log->control;
	uint32_t failed;
	uint64_t want;
	int ret;

	/* A flush that begins after this sees what we wrote. */
	__sync_synchronize();
	want = load(&control->started) + 1;
	ret = mmapdev_log_lock(log->sync, -1);
	if (ret)
		return ret;
	failed = load32(&control->failed);
	ret = failed > MAX_ERRNO ? -EIO : -(int)failed;
	if (!ret && load(&control->done) < want) {
		uint64_t mine = load(&control->started) + 1;

		store(&control->started, mine);
		__sync_synchronize();
		ret = mmapdev_commit(log->dev);
		/* The kernel says it once; what is lost stays lost. */
		if (ret && ret != -EINTR)
			__atomic_store_n(&control->failed, -ret,
					 __ATOMIC_RELEASE);
		if (!ret)
			store(&control->done, mine);
	}
	if (mmapdev_mutex_unlock(log->sync) && !ret)
		ret = -EBADMSG;
	return ret;
}

/* The cache lines that we wrote, and those by which they are found. */
static int sync_lines(struct mmapdev_log_writer *w)
{
	int ret = mmapdev_persist(w->log->map, 0, LOG_HEADER);

	return ret ? ret : mmapdev_persist(w->log->map, w->from,
					   w->to - w->from);
}

int mmapdev_log_sync(struct mmapdev_log_writer *w)
{
	int ret;

	if (!w)
		return -EINVAL;
	if (!w->log)
		return -ESTALE;
	/* What tells, after a crash, the whole records from the others. */
	if (!w->log->table)
		return -EOPNOTSUPP;
	if (stale(w))
		return -ESTALE;
	if (!w->to)
		return 0;
	if (mmapdev_persist_method(w->log->map) == MMAPDEV_PERSIST_MSYNC)
		ret = sync_all(w->log);
	else
		ret = sync_lines(w);
	if (!ret)
		w->to = 0;
	return ret;
}

/* Whether records were left as a crash of the machine leaves them. */
static bool all_sound(struct mmapdev_log *log, unsigned char *segment,
		      uint64_t number, uint32_t end)
{
	uint32_t at = LOG_FIRST, length;

	while (log->table && at < end) {
		length = rec_length(load(&record_at(segment, at)->word));
		if (rec_extent(length) > end - at ||
		    !mmapdev_log_sound(log, segment, number, at, length))
			return false;
		at += rec_extent(length);
	}
	return true;
}

/*
 * What the slot was at when its owner before went, as slot.held says: a lease
 * goes on, a place that was taken is made usable. What is not ours by its word
 * never was, or is done with.
 */
static int resume(struct mmapdev_log_writer *w)
{
	uint64_t held = load(&w->slot->held), number = held - 1, word, taken;
	struct mmapdev_log *log = w->log;
	unsigned char *segment;
	uint32_t limit, at;
	int ret;

	if (!held)
		return 0;
	segment = mmapdev_log_segment(log, number, &limit);
	word = segment ? load(&head_of(segment)->word) : 0;
	if ((seg_state(word) != SEG_TAKEN && seg_state(word) != SEG_LEASED) ||
	    seg_slot(word) != w->index || seg_lap(word) != log_lap(log, number))
		return 0;
	ret = mmapdev_log_reach(log, number, &segment);
	if (ret)
		return ret;
	if (seg_state(word) == SEG_TAKEN) {
		taken = seg_taken(w->index, w->state, seg_lap(word));
		/* Others may have taken it from the dead one. */
		if (!swap(&head_of(segment)->word, &word, taken))
			return 0;
		/* Which lap was before, the dead one alone knew: any. */
		ret = w->ordered ? begin_shared(w, segment, number, taken) :
				   begin_lease(w, segment, number, taken,
					       seg_lap(taken));
	}
	if (ret || w->ordered)
		return ret;
	at = mmapdev_log_walk(segment, log->segment);
	if (all_sound(log, segment, number, at)) {
		if (at < log->segment)
			store(&record_at(segment, at)->word, 0);
		settle_in(w, segment, number, at);
		return 0;
	}
	mmapdev_log_raise(&log->control->next, number + 1);
	w->segment = segment;
	w->number = number;
	w->at = at;
	return seal(w);
}

/* One whose lease can go on, else any that nobody has. */
static int find_slot(struct mmapdev_log *log)
{
	uint32_t i, pass;
	int ret;

	for (pass = 0; pass < 3; pass++) {
		for (i = 1; i < LOG_SLOTS; i++) {
			if (!pass && !load(&log->slot[i].held))
				continue;
			ret = mmapdev_log_vacant(log, i, pass != 1);
			if (ret)
				return ret < 0 ? ret : (int)i;
		}
	}
	return -EUSERS;
}

static bool nobody_writes(struct mmapdev_log *log)
{
	uint32_t i;

	for (i = 1; i < LOG_SLOTS; i++)
		if (mmapdev_log_vacant(log, i, true) <= 0)
			return false;
	return true;
}

/* What is reserved behind the tail must find zeros: else the segment is full. */
static void check_tail(struct mmapdev_log *log, unsigned char *segment,
		       uint64_t number, uint32_t limit)
{
	uint32_t at = mmapdev_log_reserved(log, segment, number, limit);

	while (at < limit && !load(&record_at(segment, at)->word))
		at += LOG_ALIGN;
	if (at < limit)
		store(&head_of(segment)->tail, log_lap(log, number) << 32 |
					       (log->segment - LOG_FIRST));
}

/*
 * A crash of the machine may leave a tail of before the records behind it, and a
 * next of before the segments behind that.
 */
static int check_tails(struct mmapdev_log *log)
{
	uint64_t n = load(&log->control->next), word;
	unsigned char *segment;
	uint32_t limit;
	int ret;

	ret = mmapdev_log_refresh(log);
	if (ret)
		return ret;
	for (n -= n > 0;; n++) {
		segment = mmapdev_log_segment(log, n, &limit);
		word = segment ? load(&head_of(segment)->word) : 0;
		if (seg_state(word) != SEG_SHARED ||
		    seg_lap(word) != log_lap(log, n))
			return 0;
		check_tail(log, segment, n, limit);
	}
}

/* Under turn: slot @i is ours, and what it was at goes on. */
static int settle_down(struct mmapdev_log_writer *w, uint32_t i)
{
	struct mmapdev_log *log = w->log;
	int ret;

	ret = w->ordered && nobody_writes(log) ? check_tails(log) : 0;
	if (ret)
		return ret;
	w->index = i;
	w->slot = &log->slot[i];
	w->id = __atomic_add_fetch(&log->control->writers, 1, __ATOMIC_RELAXED);
	ret = mmapdev_log_enter(log, i, w->id, &w->state);
	if (ret)
		return ret;
	w->committed = rec_word(REC_COMMITTED, i, w->state, 0);
	/*
	 * Nobody cuts the object while a slot is taken, and who had ours before
	 * makes it no longer: until now he did.
	 */
	ret = mmapdev_log_refresh(log);
	if (!ret)
		ret = resume(w);
	if (ret)
		mmapdev_log_leave(log, i, w->state);
	return ret;
}

static int take_slot(struct mmapdev_log_writer *w)
{
	int ret;

	ret = mmapdev_log_lock(w->log->turn, LOG_PATIENCE);
	if (ret)
		return ret;
	ret = find_slot(w->log);
	if (ret > 0)
		ret = settle_down(w, ret);
	if (mmapdev_mutex_unlock(w->log->turn) && !ret)
		ret = -EBADMSG;
	return ret;
}

int mmapdev_log_writer_open(struct mmapdev_log *log,
			    struct mmapdev_log_writer **out)
{
	struct mmapdev_log_writer *w;
	int ret;

	if (!log || !out)
		return -EINVAL;
	if (!mmapdev_log_here(log))
		return -ESTALE;
	if (!log->writable)
		return -EBADF;
	w = mmapdev_log_handle(sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->log = log;
	w->size = log->segment;
	w->bell = &log->control->bell;
	w->ordered = log->flags & MMAPDEV_LOG_ORDERED;
	/* So that readers' barriers reach this process; else they look often. */
	syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0);

	ret = take_slot(w);
	if (ret) {
		mmapdev_log_handle_free(w, sizeof(*w));
		return ret;
	}
	__atomic_add_fetch(&log->refs, 1, __ATOMIC_RELAXED);
	*out = w;
	return 0;
}

int mmapdev_log_writer_close(struct mmapdev_log_writer *w)
{
	int ret = 0;

	if (!w)
		return 0;
	if (w->log) {
		if (w->claimed)
			mmapdev_log_abort(w);
		ret = stale(w) ? -ESTALE : 0;
		mmapdev_log_leave(w->log, w->index, w->state);
		/* Its place in a ring may be wanted. */
		mmapdev_bell_ring(&w->log->control->room);
		__atomic_sub_fetch(&w->log->refs, 1, __ATOMIC_RELEASE);
	}
	mmapdev_log_handle_free(w, sizeof(*w));
	return ret;
}
