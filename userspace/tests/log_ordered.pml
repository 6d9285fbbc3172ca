/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
 *
 * The log's ordered mode, for spin; tests/model runs it. All writers add to the
 * tail of one segment. Each may be killed before any access to shared memory,
 * another takes its slot, one that lives may be evicted. The reader gives up
 * for the dead what they reserved. Nothing that was acknowledged may be lost,
 * torn, read twice or out of its writer's order.
 *
 * spin's memory is sequentially consistent. Ours is as good, because
 *  - a slot's `reserving` is stored before the fetch_add of the tail (release),
 *    and a reader loads the tail (acquire) before the slots;
 *  - `reserving` is cleared (release) after the CAS of the record's word, and
 *    loaded (acquire) before the words are scanned;
 *  - the payload is stored before the word becomes COMMITTED (release), and
 *    loaded after the word (acquire);
 *  - that commit is a CAS, which x86 does not let a later load overtake, so
 *    that the look at one's own slot comes after it; elsewhere the evicting
 *    one's membarrier does it, as in log_leased.pml.
 *
 * A unit stands for 16 bytes, and a record has its word and payload in its
 * first unit. PLACES segments of SIZE units; with RING they are used anew.
 */

#ifndef PLACES
#define PLACES	2
#endif
#ifndef SIZE
#define SIZE	3
#endif
#ifndef RECORDS
#define RECORDS	1	/* of one writer; of each other, 1 */
#endif
#ifndef LENGTH
#define LENGTH	2	/* at most, in units */
#endif
#ifndef KILLS
#define KILLS	1
#endif
#ifndef EVICTIONS
#define EVICTIONS 0
#endif
#ifndef NUMBERS
#define NUMBERS	PLACES	/* of segments, in a ring more than places */
#endif

#define SLOTS	2
#define LIVES	(KILLS + 1)
#define IDS	(SLOTS * LIVES * RECORDS)

/* A slot's state: with its generation it names one writer. */
#define OPEN	1
#define EVICTED	2
#define DIED	3
#define STATE(st, who)	((st) | ((who) / SLOTS) << 2)
#define slot_of(who)	((who) % SLOTS)
#ifdef BREAK_GENERATION
#define dead(who, state)	(((state) & 3) != OPEN)
#else
#define dead(who, state)	((state) != STATE(OPEN, who))
#endif

/* A record's word. */
#define RESERVED	1
#define COMMITTED	2
#define PAD		3
#define WORD(st, units, who)	((st) | (units) << 2 | (who) << 4)
#define st_of(word)	((word) & 3)
#define length_of(word)	((word) >> 2 & 3)
#define who_of(word)	((word) >> 4)

/* A segment's word. FREE and SEALED are one here: who has drained it, seals. */
#define FREE	0
#define TAKEN	1
#define SHARED	2
#define SEGMENT(st, who, lap)	((st) | (who) << 2 | (lap) << 5)
#define taker_of(word)	((word) >> 2 & 7)
#define lap_in(word)	((word) >> 5)

/* The tail has the lap, so that a late fetch_add learns where it has added. */
#define TAIL(lap, pos)	((lap) << 5 | (pos))
#define pos_of(tail)	((tail) & 31)
#define lap_of(tail)	((tail) >> 5)

#define place(n)	((n) % PLACES)
#define lap(n)		((n) / PLACES)
#define cell(n, p)	(place(n) * SIZE + (p))

byte state[SLOTS];
byte reserving[SLOTS];		/* number + 1 */
byte segment[PLACES];
byte tail[PLACES];
byte consumed[PLACES];
byte current;
byte word[PLACES * SIZE];
byte data[PLACES * SIZE];

/* What only the verifier knows. */
#define ACKNOWLEDGED	1
#define SEEN		2
#define id_of(who, k)	((who) * RECORDS + (k))
byte status[IDS + 1];
byte running = SLOTS;
bool finished;

#define CAS(x, old, new, otherwise) \
	atomic { if :: x == (old) -> x = new :: else -> otherwise fi }

/* Death comes before any access: each begins with this. */
#define ALIVE \
	if :: state[slot_of(who)] == STATE(DIED, who) -> goto died :: else fi
#define TRY(x, old, new, otherwise) \
	atomic { ALIVE; CAS(x, old, new, otherwise) }

active [SLOTS] proctype writer()
{
	byte who, k, n, p, units, look, i;

	who = _pid;
life:
	reserving[slot_of(who)] = 0;
	state[slot_of(who)] = STATE(OPEN, who);
append:
	atomic {
		ALIVE;
		n = current; p = 0; look = 0; i = 0;
		if
		:: k == (who == 1 -> RECORDS : 1) -> goto done
		:: else -> k++
		fi;
		units = 1 + (LENGTH - 1) * slot_of(who + k + 1)
	}
reserve:
#ifndef BREAK_RESERVING
	atomic { ALIVE; reserving[slot_of(who)] = n + 1 };
#endif
	atomic {
		ALIVE;
		p = pos_of(tail[place(n)]);
#ifndef BREAK_PLACE
		n = lap_of(tail[place(n)]) * PLACES + place(n);
#endif
		tail[place(n)] = tail[place(n)] + units;
		assert(p + units < 32);
		if
		:: p + units <= SIZE -> goto mark
		:: p >= SIZE -> goto over
		:: else
		fi
	}
	TRY(word[cell(n, p)], 0, WORD(PAD, SIZE - p, 0), skip);
over:
	atomic { ALIVE; reserving[slot_of(who)] = 0 };
next:
	atomic {
		ALIVE;
		if
		:: n + 1 == NUMBERS -> goto done	/* ENOSPC */
		:: else
		fi;
		look = segment[place(n + 1)];
		p = 0;
		if
		:: lap_in(look) > lap(n + 1) -> goto shared
		:: lap_in(look) < lap(n + 1) -> goto drained
		:: else
		fi;
		if
		:: (look & 3) == SHARED -> goto shared
		:: (look & 3) == FREE -> goto take
		:: (look & 3) == TAKEN
		fi
	}
	/* By one who lives? */
	atomic {
		ALIVE;
		if
		:: dead(taker_of(look), state[slot_of(taker_of(look))]) ->
			goto take
		:: else -> goto next
		fi
	}
drained:
	atomic {
		ALIVE;
		if
#ifndef BREAK_DRAINED
		:: consumed[place(n + 1)] < SIZE -> goto next
#endif
		:: else
		fi
	}
take:
	TRY(segment[place(n + 1)], look,
	    SEGMENT(TAKEN, who, lap(n + 1)), goto next);
#ifdef RING
	/* The dead one whose work this is may have got this far. */
	atomic {
		ALIVE;
		if
		:: lap_of(tail[place(n + 1)]) == lap(n + 1) -> goto share
		:: else
		fi
	}
	do
	:: atomic { i < SIZE -> ALIVE; word[cell(n + 1, i)] = 0; i++ }
	:: atomic { i == SIZE -> i = 0; break }
	od;
	atomic { ALIVE; consumed[place(n + 1)] = 0 };
	atomic { ALIVE; tail[place(n + 1)] = TAIL(lap(n + 1), 0) };
share:
#endif
	TRY(segment[place(n + 1)], SEGMENT(TAKEN, who, lap(n + 1)),
	    SEGMENT(SHARED, 0, lap(n + 1)), skip);
shared:
	atomic {
		ALIVE;
		n++;
		look = 0;
		if
		:: current < n -> current = n
		:: else
		fi
	}
	goto reserve;
mark:
#ifdef BREAK_CLEAR
	atomic { ALIVE; reserving[slot_of(who)] = 0 };
#endif
#ifdef BREAK_EARLY
	TRY(word[cell(n, p)], 0, WORD(COMMITTED, units, who), goto stale);
#else
	TRY(word[cell(n, p)], 0, WORD(RESERVED, units, who), goto stale);
#endif
#ifndef BREAK_CLEAR
	atomic { ALIVE; reserving[slot_of(who)] = 0 };
#endif
	atomic { ALIVE; data[cell(n, p)] = id_of(who, k) };
#ifdef BREAK_CAS
	atomic { ALIVE; word[cell(n, p)] = WORD(COMMITTED, units, who) };
#elif !defined(BREAK_EARLY)
	if
	:: true ->
		TRY(word[cell(n, p)], WORD(RESERVED, units, who),
		    WORD(COMMITTED, units, who), goto stale)
#ifdef STOP
	:: who == 0 ->
end_stopped:
		false	/* It lives, and does no more. */
#endif
#ifdef ABORT
	:: true ->
		TRY(word[cell(n, p)], WORD(RESERVED, units, who),
		    WORD(PAD, units, 0), goto stale);
		goto append
#endif
	fi;
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
		if
		:: status[id_of(who, k)] == 0 ->
			status[id_of(who, k)] = ACKNOWLEDGED
		:: else
		fi
	}
	goto append;
stale:
	/* Only the evicted are told so. */
	atomic {
		ALIVE;
		assert((state[slot_of(who)] & 3) == EVICTED);
		goto done
	}
died:
	atomic {
		who = who + SLOTS;
		k = 0; n = 0; p = 0; units = 0; look = 0; i = 0;
		goto life
	}
done:
	atomic {
		running--;
		k = 0; n = 0; p = 0; units = 0; look = 0; i = 0
	}
}

#define NEXT_SHARED \
	(n + 1 < NUMBERS && \
	 segment[place(n + 1)] == SEGMENT(SHARED, 0, lap(n + 1)))

/* It consumes, and does for the dead what they left. */
active proctype reader()
{
	byte n, o, limit, w, i, x, id;

again:
	do
	:: atomic {
		o < SIZE && !(running == 0 && pos_of(tail[place(n)]) <= o) ->
		i = 0; x = 0; limit = 0;
		w = word[cell(n, o)];
		if
		:: st_of(w) == COMMITTED -> break
		:: st_of(w) == PAD ->
			o = o + length_of(w);
			consumed[place(n)] = o
		:: st_of(w) == RESERVED -> goto reserved
		:: w == 0 -> goto hole
		fi
	}
	:: atomic {
		o == SIZE && NEXT_SHARED ->
		n++;
		o = 0
	}
	:: atomic {
		running == 0 && (o == SIZE ->
			!NEXT_SHARED : pos_of(tail[place(n)]) <= o) ->
		goto ended
	}
	od;

	/* COMMITTED */
	id = data[cell(n, o)];
	d_step {
		assert(id > 0 && status[id] != SEEN);
		assert((id - 1) / RECORDS == who_of(w));
		assert(id % RECORDS == 0 || status[id + 1] != SEEN);
		status[id] = SEEN;
		o = o + length_of(w);
		consumed[place(n)] = o;
		id = 0; w = 0
	}
	goto again;
reserved:
	atomic {
		if
		:: dead(who_of(w), state[slot_of(who_of(w))])
		:: else -> goto again
		fi
	}
	CAS(word[cell(n, o)], w, WORD(PAD, length_of(w), 0), skip);
	goto again;
hole:
#ifndef BREAK_TAIL
	atomic {
		limit = pos_of(tail[place(n)]);
		if
		:: limit <= o -> goto again
		:: limit > SIZE -> limit = SIZE
		:: else
		fi
	}
#endif
	do
	:: atomic { i < SLOTS && x == 0 ->
		x = state[i] & 3;
		if
		:: x != OPEN -> i++; x = 0
		:: else
		fi
	   }
	:: atomic { x != 0 ->
		x = 0;
		if
		:: reserving[i] != 0 &&
#ifdef BREAK_PLACE
		   reserving[i] - 1 == n ->
#else
		   place(reserving[i] - 1) == place(n) ->
#endif
			goto again
		:: else -> i++
		fi
	   }
	:: atomic { i == SLOTS -> i = o; break }
	od;
#ifdef BREAK_TAIL
	atomic {
		limit = pos_of(tail[place(n)]);
		if
		:: limit <= o -> goto again
		:: limit > SIZE -> limit = SIZE
		:: else
		fi
	}
#endif
#ifdef BREAK_SCAN
	limit = SIZE;
#endif
	do
	:: atomic { i < limit && word[cell(n, i)] == 0 -> i++ }
	:: atomic { else -> break }
	od;
	atomic {
		if
		:: i > o -> CAS(word[cell(n, o)], 0, WORD(PAD, i - o, 0), skip)
		:: else
		fi
	}
	goto again;
ended:
	atomic {
		/* All that was acknowledged was read. */
		id = 1;
		do
		:: id <= IDS ->
			assert(status[id] != ACKNOWLEDGED);
			id++
		:: else -> break
		od;
#ifndef RING
		/* Who reads it once more reads the same. */
		n = 0; o = 0;
		do
		:: st_of(word[cell(n, o)]) >= COMMITTED ->
			if
			:: st_of(word[cell(n, o)]) == COMMITTED ->
				assert(status[data[cell(n, o)]] == SEEN);
				status[data[cell(n, o)]] = 0
			:: else
			fi;
			o = o + length_of(word[cell(n, o)]);
			if
			:: o == SIZE && n + 1 < NUMBERS -> n++; o = 0
			:: else
			fi;
			if
			:: o == SIZE -> break
			:: else
			fi
		:: else -> break
		od;
		id = 1;
		do
		:: id <= IDS -> assert(status[id] == 0); id++
		:: else -> break
		od
#endif
	}
	finished = true
}

#if KILLS > 0
active proctype killer()
{
	byte kills;

end:
	do
	:: atomic { kills < KILLS && running > 0 ->
		if
		:: (state[0] & 3) == OPEN ->
			state[0] = state[0] | DIED
		:: (state[1] & 3) == OPEN ->
			state[1] = state[1] | DIED
		fi;
		kills++
	}
	od
}
#endif

#if EVICTIONS > 0
active proctype administrator()
{
end:
	if
	:: d_step { state[0] == STATE(OPEN, 0) ->
		state[0] = STATE(EVICTED, 0) }
	fi
}
#endif

#ifdef LIVE
ltl progress { <> finished }
#endif
