/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * The log: what is in the object, and what log*.c share.
 *
 * A header of four pages (superblock, control, slots for writers) and segments
 * of one size. Who appends has a slot. By default a slot *leases* a segment and
 * fills it alone; in an ordered log all fill the same one, by a fetch-and-add
 * each. A ring has N places: segment number n is at place n % N in lap n / N.
 * Without one, places do not end and the lap is 0.
 *
 * Why no acknowledged record is lost or torn, in terms of C11:
 *
 *  1. Publish. A record's bytes are written, then its word, by a release store
 *     or CAS; a reader uses them after an acquire load of that word. Between
 *     processes C11 promises nothing, but lock-free atomics are address-free
 *     (7.17.5), and the mappings are of one memory. Writer and reader are
 *
 *	W: payload = x; store_release(word, COMMITTED)
 *	R: if (load_acquire(word) == COMMITTED) assert(payload == x)
 *
 *     which is message passing: forbidden to fail. A record whose word is not
 *     set is not there. So a writer killed at any instruction leaves either
 *     the whole record or none. In a lease, the word behind the record is
 *     zeroed before that release store: what the dead left there is not read.
 *
 *  2. Reserve (ordered). A writer stores the place into slot.reserving, adds to
 *     the segment's tail, makes the record's word RESERVED, and clears
 *     reserving; all releases. Who finds a zero word at p below a tail T that
 *     he acquired: the add which made p is in the release sequence that he
 *     acquired from, so he sees that owner's reserving, or a later value of it;
 *     and with a later one, that the word was set. So, if after loading T no
 *     live slot has this place in reserving and the word is still zero, its
 *     owner is dead, and up to the next word that is set, or T, nothing can
 *     come: CAS(0, PAD). The order is tail, slots, word; any other fails. In a
 *     ring the place may be of another lap by the time of that CAS, and the
 *     word another record's: there nobody makes pads, and all see the same.
 *     The tail carries the lap, so that who adds to it late learns where the
 *     record came to lie.
 *
 *  3. Death is a fact, never a guess: the process is gone (lib/peer.c), or the
 *     driver said so (MMAPDEV_IOC_WILL). All that it did is seen by whoever
 *     learns it. An administrator may *declare* death; then the writer may wake:
 *
 *	W: store_release(word, COMMITTED); load(slot.state)
 *	E: CAS(slot.state, EVICTED); membarrier; load(word)
 *
 *     is store buffering, with the barrier on one side and, by membarrier(2),
 *     which makes every running thread execute one, on the other. So either E
 *     sees the record, or W sees that it was evicted and says -ESTALE; and W's
 *     appends need no fence. In an ordered log W looks once more behind the CAS
 *     that made its word RESERVED: E finds that word, or W withdraws it. An
 *     evicted slot is used again only when its process is gone. In a ring
 *     memory has a second life; nobody is evicted.
 *
 *  4. Bell. A reader sets its bit and then looks for records; a writer sets a
 *     word and then looks for the bit: the same pattern, the same remedy.
 *
 *  5. Hand over. Slots change hands, and unowned segments of a ring are sealed,
 *     under one robust mutex. Each step there is one store or CAS, and what a
 *     dead holder did not come to the next one does.
 *
 *  6. Numbers. A segment is taken by a CAS of its word; control.next is raised
 *     after it. A writer reads next before it takes, so its numbers rise. A
 *     reader that sees a record in one of a slot's segments looks at the
 *     slot's earlier ones once more, which are then sealed for it to see.
 *
 * No words repeat in time: those of a segment carry the lap, and TAKEN ones, as
 * records do, the slot's generation; positions only grow. What the first consumer
 * of a ring finds it marks as kept, so that who saw it before that comes late.
 * tests/log_*.pml are models of this that spin(1) checks.
 *
 * Trust. The words are read once, checked, then used. A reader that cannot
 * write takes no lock and can be shown anything.
 */
#ifndef MMAPDEV_LOG_H
#define MMAPDEV_LOG_H

#include <string.h>

#include "private.h"

#define LOG_MAGIC "mmapdlog"
#define LOG_VERSION 1
#define LOG_ORDER 0x01020304u /* as this machine writes it */
#define LOG_FORMAT (MMAPDEV_LOG_ORDERED | MMAPDEV_LOG_CRC) /* flags kept */

#define LOG_HEADER ((uint64_t)16384)
#define LOG_CONTROL 4096
#define LOG_SLOTS 64
#define LOG_SLOTS_AT 8192
#define LOG_SEGMENT_MIN 4096
#define LOG_SEGMENT_MAX (16 << 20)
#define LOG_SEGMENT_DEFAULT 65536
#define LOG_RING_MAX 1024
#define LOG_ALIGN 16
#define LOG_SLICE 100	   /* ms between two looks where nothing is to come */
#define LOG_SLICE_SHORT 5  /* and where a writer holds others up */

/* Two cache lines, which some processors fetch together. */
#define LOG_LINE __attribute__((aligned(128)))

struct log_super {
	char magic[8]; /* the last to be written */
	uint32_t version;
	uint32_t order;
	uint32_t header; /* bytes */
	uint32_t segment;
	uint32_t ring;
	uint32_t flags;
	uint64_t created; /* ns since 1970 */
	uint32_t reserved;
	uint32_t crc; /* of all before */
};

struct log_control {
	unsigned char turn[MMAPDEV_LOCK_SIZE];	    /* to a slot */
	LOG_LINE unsigned char sync[MMAPDEV_LOCK_SIZE]; /* to msync */
	LOG_LINE uint64_t next;	    /* all numbers below were taken */
	LOG_LINE uint32_t bell;	    /* of readers */
	LOG_LINE uint32_t room;	    /* of writers without a segment */
	LOG_LINE uint32_t writers;  /* numbers given to writers */
	uint32_t consumed;	    /* there was a consumer */
	uint64_t drained;	    /* numbers below which it has read all */
	LOG_LINE uint64_t started;  /* msyncs, under sync */
	uint64_t done;
	uint32_t failed; /* errno of one */
};

/* The low bits of a slot's state; the others are its generation. */
#define SLOT_BITS 3
#define SLOT_STATE 7u

struct log_slot {
	uint32_t state;	    /* generation << 3 | MMAPDEV_LOG_SLOT_* */
	uint32_t writer;    /* its number */
	uint64_t reserving; /* place + 1, before the tail is added to */
	uint64_t held;	    /* number + 1, before it is taken, or filled */
	uint64_t since;	    /* ns since 1970 */
	struct mmapdev_peer who;
} __attribute__((aligned(128)));

_Static_assert(sizeof(struct log_control) <= LOG_SLOTS_AT - LOG_CONTROL,
	       "control is a page");
_Static_assert(sizeof(struct log_slot) == 128, "64 slots are two pages");
_Static_assert(offsetof(struct log_slot, who.start) == 40,
	       "programs of 32 bits see the same");

/*
 * The first words of a segment. State 3 bits, slot 6, end 22 (in units of
 * LOG_ALIGN), kept 1, lap 32; of a TAKEN one its slot's generation is in place
 * of end and kept.
 */
enum { SEG_FREE, SEG_TAKEN, SEG_LEASED, SEG_SHARED, SEG_SEALED, SEG_DRAINED };

/* It was there when the first consumer came: who saw it before then is late. */
#define SEG_KEPT (UINT64_C(1) << 31)

struct log_segment {
	uint64_t word;
	uint64_t tail;	   /* ordered: lap << 32 | bytes behind this header */
	uint64_t consumed; /* the consumer goes on here; 0: at the first */
	uint64_t since;	   /* ns since 1970 */
	uint32_t writer;   /* of the lease: its number */
	uint32_t pid;
	uint64_t before;   /* leased, in a ring: the place's last lap + 1 */
	uint64_t reserved[2];
};

#define LOG_FIRST sizeof(struct log_segment)

/* State 3 bits, slot 6, generation 23, length 32. */
enum { REC_NONE, REC_RESERVED, REC_COMMITTED, REC_PAD };

struct log_record {
	uint64_t word;
	uint32_t crc;
	uint32_t writer;
};

_Static_assert(sizeof(struct log_segment) == 64, "a cache line");
_Static_assert(sizeof(struct log_record) == LOG_ALIGN, "a pad fits anywhere");
_Static_assert(__atomic_always_lock_free(sizeof(uint64_t), NULL),
	       "a lock of the compiler's is not shared");

static inline uint64_t seg_word(unsigned int state, uint32_t slot, uint32_t end,
				uint64_t lap)
{
	return state | slot << 3 | (uint64_t)(end / LOG_ALIGN) << 9 |
	       lap << 32;
}

/* The low bits of the generation that the state of a slot has. */
static inline uint64_t log_generation(uint32_t slot_state)
{
	return slot_state >> SLOT_BITS & ((1u << 23) - 1);
}

static inline uint64_t seg_taken(uint32_t slot, uint32_t slot_state,
				 uint64_t lap)
{
	return SEG_TAKEN | slot << 3 | log_generation(slot_state) << 9 |
	       lap << 32;
}

static inline unsigned int seg_state(uint64_t word)
{
	return word & 7;
}

static inline uint32_t seg_slot(uint64_t word)
{
	return word >> 3 & (LOG_SLOTS - 1);
}

static inline uint32_t seg_end(uint64_t word)
{
	return (word >> 9 & ((1u << 22) - 1)) * LOG_ALIGN;
}

static inline uint64_t seg_lap(uint64_t word)
{
	return word >> 32;
}

static inline uint64_t rec_word(unsigned int state, uint32_t slot,
				uint32_t slot_state, uint32_t length)
{
	return state | slot << 3 | log_generation(slot_state) << 9 |
	       (uint64_t)length << 32;
}

static inline unsigned int rec_state(uint64_t word)
{
	return word & 7;
}

static inline uint32_t rec_length(uint64_t word)
{
	return word >> 32;
}

/* Bytes that a record of @length takes. */
static inline uint64_t rec_extent(uint64_t length)
{
	return (sizeof(struct log_record) + length + LOG_ALIGN - 1) /
	       LOG_ALIGN * LOG_ALIGN;
}

/* An open log. Its pages are zeros in the child of a fork. */
struct mmapdev_log {
	struct mmapdev *dev;  /* the caller's, NULL in a child */
	struct mmapdev *file; /* an open file of our own, where there is one */
	struct mmapdev_map *map;
	unsigned char *base;
	struct log_super super; /* as it was when it was judged */
	struct log_control *control;
	struct log_slot *slot;
	struct mmapdev_mutex *turn, *sync;
	struct mmapdev_ahead *ahead;
	struct mmapdev_crc32c_table *table; /* with MMAPDEV_LOG_CRC */
	struct mmapdev_peer me;
	uint64_t window;
	uint64_t places; /* segments that there is room for */
	uint32_t segment, ring, flags;
	bool writable;
	unsigned int refs; /* atomic: writers and readers */
};

static inline uint64_t load(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline uint32_t load32(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline void store(uint64_t *p, uint64_t value)
{
	__atomic_store_n(p, value, __ATOMIC_RELEASE);
}

static inline bool swap(uint64_t *p, uint64_t *old, uint64_t value)
{
	return __atomic_compare_exchange_n(p, old, value, false,
					   __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static inline struct log_record *record_at(unsigned char *segment, uint32_t at)
{
	return (struct log_record *)(void *)(segment + at);
}

static inline uint64_t log_place(const struct mmapdev_log *log, uint64_t number)
{
	return log->ring ? number % log->ring : number;
}

/* Of the segment, in the object. */
static inline uint64_t log_offset(const struct mmapdev_log *log,
				  uint64_t number)
{
	return LOG_HEADER + log_place(log, number) * log->segment;
}

static inline uint64_t log_lap(const struct mmapdev_log *log, uint64_t number)
{
	return log->ring ? number / log->ring : 0;
}

/* log.c */
void *mmapdev_log_handle(size_t size);
void mmapdev_log_handle_free(void *handle, size_t size);
/* False in the child of a fork. */
bool mmapdev_log_here(const struct mmapdev_log *log);
uint64_t mmapdev_log_now(void);
/* @p becomes @value if that is more. */
void mmapdev_log_raise(uint64_t *p, uint64_t value);

#define LOG_PATIENCE 1000 /* ms for another's turn to end */

int mmapdev_log_lock(struct mmapdev_mutex *mutex, int timeout);
/* Looks how long the object is now. */
int mmapdev_log_refresh(struct mmapdev_log *log);
/*
 * Where the segment of @number is, of which the object is known to hold @limit
 * bytes, or NULL; and the same for who is to write to all of it.
 */
unsigned char *mmapdev_log_segment(struct mmapdev_log *log, uint64_t number,
				   uint32_t *limit);
int mmapdev_log_reach(struct mmapdev_log *log, uint64_t number,
		      unsigned char **segment);
/* Where the records of a lease end, by their words. */
uint32_t mmapdev_log_walk(unsigned char *segment, uint32_t limit);
/* And what was reserved of a shared segment, by its tail. */
uint32_t mmapdev_log_reserved(struct mmapdev_log *log, unsigned char *segment,
			      uint64_t number, uint32_t limit);
uint32_t mmapdev_log_crc(const struct mmapdev_log *log, uint64_t number,
			 uint32_t at, uint32_t writer, const void *data,
			 uint32_t length);
/* Whether the record at @at, @length bytes, is as it was written. */
bool mmapdev_log_sound(const struct mmapdev_log *log, unsigned char *segment,
		       uint64_t number, uint32_t at, uint32_t length);

/* How long one waits, and from when on. */
struct log_wait {
	int timeout;	  /* ms */
	int64_t deadline; /* 0: the clock has not started */
};

/* After a bell was listened to: 0 to look again, -EAGAIN or -ETIMEDOUT. */
int mmapdev_log_wait(struct log_wait *wait, uint32_t *bell, uint32_t value,
		     int slice);

/* log_slot.c */
/* Whether who has the slot is: 1, 0 or -errno; and who took a segment. */
int mmapdev_log_gone(struct mmapdev_log *log, uint32_t i);
int mmapdev_log_taker_gone(struct mmapdev_log *log, uint64_t word);
/*
 * What the word at @at of a shared segment says once the dead are dealt with;
 * 0: nothing was reserved there. -EAGAIN: somebody is at it.
 */
int mmapdev_log_settle(struct mmapdev_log *log, unsigned char *segment,
		       uint64_t number, uint32_t at, uint32_t limit,
		       uint64_t *word);
/*
 * Of a place of a ring that is full, and damaged, so that its records cannot be
 * followed: 1 where what may be one's word is reserved by one who lives.
 */
int mmapdev_log_busy(struct mmapdev_log *log, unsigned char *segment,
		     uint64_t number);
/* Under turn. 1 where another may have the slot; who lives is asked if @ask. */
int mmapdev_log_vacant(struct mmapdev_log *log, uint32_t i, bool ask);
int mmapdev_log_enter(struct mmapdev_log *log, uint32_t i, uint32_t writer,
		      uint32_t *state);
void mmapdev_log_leave(struct mmapdev_log *log, uint32_t i, uint32_t state);

/* log_judge.c */
uint32_t mmapdev_log_super_crc(const struct log_super *super);
/* Unless a problem is returned *@super is sound, whatever becomes of the log. */
uint32_t mmapdev_log_judge(const unsigned char *base, uint64_t size,
			   struct log_super *super);
int mmapdev_log_error(uint32_t problem);

#endif /* MMAPDEV_LOG_H */
