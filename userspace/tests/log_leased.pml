/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
 *
 * The log's leased mode, for spin; tests/model runs it. Each slot has a segment
 * of its own. Its writer may be killed before any access to shared memory; who
 * takes the slot then finds the end by a walk and goes on there. One that lives
 * may be evicted. What was acknowledged is read once, whole and in order.
 *
 * spin's memory is sequentially consistent. Ours is as good, because
 *  - the payload and the terminator are stored before the word that commits
 *    (release), and a reader or walk loads the word (acquire) before them;
 *  - a segment's word is changed by CAS, its first record's word being zero
 *    before it is LEASED (release).
 * One thing is not: x86 lets the load of one's own slot, and of the bell, come
 * before the store that commits is seen. So that store goes into a buffer here,
 * which empties at any time, at a CAS, and at the other's membarrier.
 *
 * A unit stands for 16 bytes and is a record. Words begin as GARBAGE.
 */

#ifndef SIZE
#define SIZE	2
#endif
#ifndef PLACES
#define PLACES	3
#endif
#define RECORDS	2	/* of a writer in slot 0; in slot 1 it is 1 */
#define most(who)	(RECORDS - slot_of(who))
#ifndef KILLS
#define KILLS	1
#endif
#define SLOTS	2
#define IDS	(SLOTS * (KILLS + 1) * RECORDS)

#define OPEN	1
#define EVICTED	2
#define DIED	3
#define STATE(st, who)	((st) | ((who) / SLOTS) << 2)
#define slot_of(who)	((who) % SLOTS)

/* A segment's word; SEALED has the end. The slot owns it, not the writer. */
#define FREE	0
#define TAKEN	1
#define LEASED	2
#define SEALED	3
#define SEGMENT(st, slot, end)	((st) | (slot) << 2 | (end) << 3)
#define st_of(word)	((word) & 3)
#define owner_of(word)	((word) >> 2 & 1)
#define end_of(word)	((word) >> 3)

#define COMMITTED	1
#define GARBAGE		1	/* it looks like a record */
#define NOWHERE		255

byte state[SLOTS];
byte segment[PLACES];
byte next;
byte word[PLACES * SIZE] = GARBAGE;
byte data[PLACES * SIZE];
byte buffer[SLOTS] = NOWHERE;	/* the cell whose commit is not seen yet */

#define ACKNOWLEDGED	1
#define SEEN		2
#define id_of(who, k)	((who) * RECORDS + (k))
byte status[IDS + 1];
byte running = SLOTS;
bool finished;

#define ALIVE \
	if :: state[slot_of(who)] == STATE(DIED, who) -> goto died :: else fi
#define DRAIN(slot) \
	if \
	:: buffer[slot] != NOWHERE -> \
		word[buffer[slot]] = COMMITTED; \
		buffer[slot] = NOWHERE \
	:: else \
	fi
#ifdef BREAK_MEMBARRIER
#define MEMBARRIER	skip
#else
#define MEMBARRIER	atomic { DRAIN(0); DRAIN(1) }
#endif

/* The store buffers empty themselves: what was stored is never lost. */
active [SLOTS] proctype memory()
{
end:
	do
	:: d_step { buffer[_pid] != NOWHERE -> DRAIN(_pid) }
	od
}

active [SLOTS] proctype writer()
{
	byte who, k, at, m, look;

	who = _pid - SLOTS;
life:
	state[slot_of(who)] = STATE(OPEN, who);
	m = 0;
	/* What has the slot? */
	do
	:: atomic { m < PLACES ->
		ALIVE;
		look = segment[m];
		if
		:: st_of(look) == LEASED && owner_of(look) == slot_of(who) ->
			at = 0; goto walk
		:: st_of(look) == TAKEN && owner_of(look) == slot_of(who) ->
			goto zero
		:: else -> m++
		fi
	}
	:: atomic { m == PLACES -> goto lease }
	od;
walk:
	do
	:: atomic { at < SIZE && word[m * SIZE + at] != 0 -> ALIVE; at++ }
#ifdef BREAK_ADVANCE
	:: atomic { else -> look = 0; goto append }
#else
	:: atomic { else -> look = 0; goto advance }
#endif
	od;
lease:
	atomic { ALIVE; m = next; at = 0 };
find:
	atomic {
		ALIVE;
		if
		:: m >= PLACES -> goto done	/* ENOSPC */
		:: else
		fi;
		if
		:: segment[m] == FREE ->
			segment[m] = SEGMENT(TAKEN, slot_of(who), 0)
		:: else -> m++; goto find
		fi
	}
zero:
	atomic { ALIVE; at = 0; word[m * SIZE] = 0 };
	atomic {
		ALIVE;
		if
#ifndef BREAK_LEASED
		:: segment[m] != SEGMENT(TAKEN, slot_of(who), 0) -> goto stale
#endif
		:: else ->
			assert(st_of(segment[m]) != SEALED);
			segment[m] = SEGMENT(LEASED, slot_of(who), 0)
		fi
	}
advance:
	atomic {
		ALIVE;
		look = 0;
		if
		:: next < m + 1 -> next = m + 1
		:: else
		fi
	}
append:
	if
	:: atomic { k == most(who) -> goto done }
	:: atomic { k < most(who) && at == SIZE ->
		ALIVE;
		DRAIN(slot_of(who));
		if
		:: segment[m] == SEGMENT(LEASED, slot_of(who), 0) ->
			segment[m] = SEGMENT(SEALED, slot_of(who), at);
			goto lease
		:: else -> goto stale
		fi }
	:: atomic { k < most(who) && at < SIZE -> k++ }
#ifdef STOP
	:: who == 0 ->
end_stopped:
		false	/* It lives, and does no more. */
#endif
	fi;
	/* One store after the other: none comes before the last commit. */
#ifdef BREAK_EARLY
	atomic { ALIVE; buffer[slot_of(who)] == NOWHERE ->
		buffer[slot_of(who)] = m * SIZE + at };
#endif
	atomic { ALIVE; buffer[slot_of(who)] == NOWHERE ->
		data[m * SIZE + at] = id_of(who, k) };
#ifndef BREAK_TERMINATOR
	atomic {
		ALIVE;
		if
		:: at + 1 < SIZE -> word[m * SIZE + at + 1] = 0
		:: else
		fi
	}
#endif
#ifndef BREAK_EARLY
	atomic { ALIVE; buffer[slot_of(who)] = m * SIZE + at };
#endif
	atomic {
		ALIVE;
		if
#ifdef BREAK_LOOK
		:: true
#else
		:: state[slot_of(who)] == STATE(OPEN, who)
		:: else -> goto stale
#endif
		fi;
		at++;
		if
		:: status[id_of(who, k)] == 0 ->
			status[id_of(who, k)] = ACKNOWLEDGED
		:: else
		fi
	}
	goto append;
stale:
	atomic {
		ALIVE;
		assert((state[slot_of(who)] & 3) == EVICTED);
		goto done
	}
died:
	atomic {
		DRAIN(slot_of(who));
		who = who + SLOTS;
		k = 0; at = 0; m = 0; look = 0;
		goto life
	}
done:
	atomic {
		buffer[slot_of(who)] == NOWHERE;
		running--;
		k = 0; at = 0; m = 0; look = 0
	}
}

#ifdef EVICT
bool evicting;
active proctype administrator()
{
	byte m, at;

end:
	atomic {
		(state[0] == STATE(OPEN, 0)) ->
		state[0] = STATE(EVICTED, 0);
		evicting = true
	}
	MEMBARRIER;
	do
	:: atomic { m == PLACES -> break }
	:: atomic { m < PLACES && (st_of(segment[m]) == FREE ||
		    st_of(segment[m]) == SEALED ||
		    owner_of(segment[m]) != 0) -> m++ }
	:: atomic { m < PLACES && segment[m] == SEGMENT(TAKEN, 0, 0) ->
		segment[m] = SEGMENT(SEALED, 0, 0) }
	:: atomic { m < PLACES && segment[m] == SEGMENT(LEASED, 0, 0) ->
		at = 0 }
	   do
	   :: atomic { at < SIZE && word[m * SIZE + at] != 0 -> at++ }
	   :: atomic { else -> break }
	   od;
	   atomic {
		if
		:: segment[m] == SEGMENT(LEASED, 0, 0) ->
			segment[m] = SEGMENT(SEALED, 0, at)
		:: else
		fi
	   }
	od;
	evicting = false
}
#else
#define evicting false
#endif

#if KILLS > 0
active proctype killer()
{
	byte kills;

end:
	do
	:: atomic { kills < KILLS && running > 0 ->
		if
		:: (state[0] & 3) == OPEN -> state[0] = state[0] | DIED
		:: (state[1] & 3) == OPEN -> state[1] = state[1] | DIED
		fi;
		kills++
	}
	od
}
#endif

/* It goes through the segments, each as far as there is something. */
active proctype reader()
{
	byte m, j, w, s, id, at[PLACES];
	bool idle, last;

again:
	atomic {
		last = running == 0 && !evicting; idle = true; m = 0
	}
	do
	:: atomic { m == PLACES || m >= next -> break }
	:: atomic { m < PLACES && m < next ->
		w = segment[m];
		if
		:: st_of(w) < LEASED || at[m] >= SIZE ||
		   st_of(w) == SEALED && at[m] >= end_of(w) -> m++; goto pass
		:: else -> j = 0
		fi
	   }
#ifndef BREAK_EARLIER
	   /* An earlier one of that slot must be read to its end first. */
	   do
	   :: atomic { j < m ->
		s = segment[j];
		if
		:: st_of(s) == SEALED && at[j] >= end_of(s) -> j++
		:: st_of(s) != FREE && owner_of(s) != owner_of(w) -> j++
		:: else -> m++; goto pass
		fi
	      }
	   :: atomic { j == m -> break }
	   od;
#endif
	   atomic {
		if
		:: word[m * SIZE + at[m]] == 0 -> m++; goto pass
		:: else
		fi
	   }
	   id = data[m * SIZE + at[m]];
	   d_step {
		assert(id > 0 && status[id] != SEEN);
		assert(id % RECORDS == 0 || status[id + 1] != SEEN);
		status[id] = SEEN;
		at[m] = at[m] + 1;
		idle = false;
		id = 0
	   }
pass:
	   atomic { w = 0; s = 0; j = 0 }
	od;
	if
	:: !idle -> goto again
	:: idle && last -> goto ended
	:: idle && !last
	fi;
	goto again;
ended:
	atomic {
		id = 1;
		do
		:: id <= IDS -> assert(status[id] != ACKNOWLEDGED); id++
		:: else -> break
		od;
		finished = true
	}
}

#ifdef STOP
/* The other's record, in slot 1. */
ltl progress { <> (status[2 + 1] == SEEN) }
#elif defined(LIVE)
ltl progress { <> finished }
#endif
