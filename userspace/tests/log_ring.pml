/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
 *
 * The log's leased mode in a ring that has a consumer, for spin; tests/model
 * runs it. Number n is at place n % 2 in lap n / 2. Writers take the places
 * that the consumer has drained, and may find the number that they began to
 * look at skipped long ago. A writer may be killed before any access to shared
 * memory: who wants its place seals it, or who takes its slot goes on. Each
 * record is read once, whole, and in its writer's order.
 *
 * As in log_leased.pml spin's memory is as good as ours. What is modelled step
 * by step there, a record and the terminator behind it, is one step here. Only
 * who has the turn deals with what the dead took, so that TAKEN words need no
 * generation. Nobody is evicted from a ring, so no store is late.
 */

#ifndef SIZE
#define SIZE	1
#endif
#ifndef KILLS
#define KILLS	1
#endif
#ifndef RECORDS
#define RECORDS	3	/* of the writers in slot 0; in slot 1 it is 1 */
#endif
#define PLACES	2
#define most(slot)	((slot) == 0 -> RECORDS : 1)

#define CLOSED	0
#define OPEN	1
#define DIED	2

/* A segment's word: of one that is SEALED with the end, and KEPT by keep(). */
#define FREE	0
#define TAKEN	1
#define LEASED	2
#define SEALED	3
#define DRAINED	4
#define SEGMENT(st, slot, end, lap) \
	((st) | (slot) << 3 | (end) << 4 | (lap) << 7)
#define st_of(word)	((word) & 7)
#define owner_of(word)	((word) >> 3 & 1)
#define end_of(word)	((word) >> 4 & 3)
#define KEPT		(1 << 6)
#define lap_of(word)	((word) >> 7)
#define LAP	(n / PLACES)
#define PLACE	(n % PLACES)

byte state[2];
byte held[2];		/* number + 1, before it is taken */
short segment[PLACES];
byte cell[PLACES * SIZE];	/* slot | count of its records << 1 */
byte next;
byte turn;		/* slot + 1 */
byte written[2];
byte seen[2];
byte running = 2;
#ifdef LATE
bool consumed;		/* The consumer comes at any time. */
#else
#define consumed	true
#endif

#define ALIVE	if :: state[slot] == DIED -> goto died :: else fi
/* The lock is robust. */
#define CAN_TURN	(turn == 0 || state[turn - 1] == DIED)
#define LEAVE_TURN	if :: turn == slot + 1 -> turn = 0 :: else fi
#define MINE(st)	SEGMENT(st, slot, 0, LAP)
#ifdef BREAK_DRAINED
#define recyclable(w)	(st_of(w) >= SEALED)
#else
#define recyclable(w) \
	(st_of(w) == DRAINED || st_of(w) == SEALED && !consumed)
#endif
#define WALK(place) \
	at = 0; \
	do \
	:: at < SIZE && cell[(place) * SIZE + at] != 0 -> at++ \
	:: else -> break \
	od

#define ORPHAN(p) \
	((st_of(segment[p]) == TAKEN || st_of(segment[p]) == LEASED) && \
	 state[owner_of(segment[p])] != OPEN)

active [2] proctype writer()
{
	byte slot, n, end, at, p;
	short w;
	bool has;

	slot = _pid;
life:
	atomic { CAN_TURN -> turn = slot + 1; state[slot] = OPEN };
	atomic {
		ALIVE;
		if
		:: held[slot] == 0 -> goto entered
		:: else -> n = held[slot] - 1
		fi;
		if
		:: segment[PLACE] == MINE(TAKEN) -> goto zero
		:: segment[PLACE] == MINE(LEASED) -> goto walk
		:: else -> n = 0; goto entered
		fi
	}
walk:
	atomic {
		ALIVE;
		WALK(PLACE);
		has = true;
#ifdef BREAK_ADVANCE
		goto entered
#else
		goto advance
#endif
	};
lease:
	skip;	/* A jump from one atomic to another would be one step. */
	/* This may be used late. */
	atomic { ALIVE; has = false; at = 0; n = next; end = n + PLACES };
	do
	:: atomic { n == end -> n = 0; end = 0; goto retire }
	:: atomic { n < end ->
		ALIVE;
		w = segment[PLACE];
		if
		:: w == 0 || recyclable(w) && lap_of(w) < LAP ->
			held[slot] = n + 1
		:: else -> n++; w = 0; goto pass
		fi
	   }
	   atomic {
		ALIVE;
		if
		:: segment[PLACE] == w ->
			segment[PLACE] = MINE(TAKEN);
			w = 0; end = 0;
			goto zero
		:: else -> n++; w = 0
		fi
	   }
pass:
	   skip
	od;
zero:
	skip;
	atomic {
		ALIVE;
#ifndef BREAK_ZERO
		cell[PLACE * SIZE] = 0
#endif
	};
	atomic {
		ALIVE;
		assert(segment[PLACE] == MINE(TAKEN));
		segment[PLACE] = MINE(LEASED);
		has = true; at = 0
	}
advance:
	atomic {
		ALIVE;
		if
		:: next < n + 1 -> next = n + 1
		:: else
		fi;
entered:
		LEAVE_TURN
	};
append:
	if
	:: atomic { written[slot] == most(slot) -> goto done }
	:: atomic { written[slot] < most(slot) && !has -> goto lease }
	:: atomic { written[slot] < most(slot) && has && at == SIZE ->
		ALIVE;
		assert(segment[PLACE] == MINE(LEASED));
		segment[PLACE] = SEGMENT(SEALED, slot, at, LAP);
		goto lease }
	:: atomic { written[slot] < most(slot) && has && at < SIZE ->
		ALIVE;
		assert(segment[PLACE] == MINE(LEASED));
		if
		:: at + 1 < SIZE -> cell[PLACE * SIZE + at + 1] = 0
		:: else
		fi;
		written[slot]++;
		cell[PLACE * SIZE + at] = slot | written[slot] << 1;
		at++ }
#ifdef STOP
	:: slot == 0 ->
end_stopped:
		false	/* It lives, and does no more. */
#endif
	fi;
	goto append;
retire:
	/* In vain this changes nothing, and we do not go there. */
	atomic {
		if
		:: !ORPHAN(0) && !ORPHAN(1) -> goto lease
		:: else -> ALIVE
		fi;
#ifndef BREAK_TURN
		if
		:: CAN_TURN -> turn = slot + 1
		:: else -> goto lease
		fi
#endif
	};
	do
	:: atomic { p == PLACES -> ALIVE; p = 0; LEAVE_TURN; goto lease }
	:: atomic { p < PLACES ->
		ALIVE;
		w = segment[p];
		if
		:: ORPHAN(p) && st_of(w) == LEASED -> WALK(p)
		:: ORPHAN(p) && st_of(w) == TAKEN
		:: else -> goto kept
		fi
	   }
	   atomic {
		ALIVE;
		if
		:: segment[p] == w -> segment[p] =
			SEGMENT(SEALED, owner_of(w), at, lap_of(w))
		:: else
		fi
	   }
kept:
	   atomic { p++; w = 0; at = 0 }
	od;
died:
	atomic { n = 0; end = 0; at = 0; p = 0; w = 0; has = false; goto life }
done:
	atomic {
		ALIVE;
		state[slot] = CLOSED;
		running--;
		n = 0; at = 0; has = false
	}
}

#if KILLS > 0
active proctype killer()
{
	byte kills;

end:
	do
	:: atomic { kills < KILLS && state[0] == OPEN ->
		state[0] = DIED; kills++ }
	:: atomic { kills < KILLS && state[1] == OPEN ->
		state[1] = DIED; kills++ }
	od
}
#endif

#define SOME(p) \
	(watched[p] && at[p] < SIZE && cell[(p) * SIZE + at[p]] != 0 && \
	 (st_of(segment[p]) == LEASED || at[p] < end_of(segment[p])))
#define LEFT(p)	(todo[p] && watched[p])
#ifdef BREAK_SKIPPED
#define NEWS	(next != known)
#else
#define NEWS	true
#endif

/*
 * It looks at what it watches in any order, and for more at any time: whatever
 * it does, it gives no record before those that its writer wrote before. To
 * come to an end it begins with the lowest number, as it does in truth.
 */
active proctype reader()
{
	byte p, c, known, at[PLACES], laps[PLACES];
	short w;
	bool watched[PLACES], alone[PLACES], second, more, dry, todo[PLACES];
#ifdef LATE
	byte from[2];

	consumed = true;
#ifndef BREAK_KEPT
	do
	:: atomic { p < PLACES ->
		if
		:: st_of(segment[p]) == SEALED ->
			segment[p] = segment[p] | KEPT
		:: else
		fi;
		p++ }
	:: atomic { p == PLACES -> p = 0; break }
	od;
#endif
	/* What was lost before is lost. */
	atomic { from[0] = written[0]; from[1] = written[1] };
#endif
again:
	skip;
	atomic {
		if
#ifdef LIVE
		:: LEFT(0) && !(LEFT(1) && laps[1] < laps[0]) -> p = 0; goto look
		:: LEFT(1) && !(LEFT(0) && laps[0] <= laps[1]) -> p = 1; goto look
		:: !LEFT(0) && !LEFT(1) ->
			todo[0] = true; todo[1] = true;
			if
			:: NEWS -> known = next
			:: else -> goto again
			fi;
#else
		:: watched[0] -> p = 0; goto look
		:: watched[1] -> p = 1; goto look
		:: true ->
#endif
			dry = (running == 0)
		fi
	}
	do
	:: atomic { p == PLACES && more ->
		p = 0;
		more = false;
#ifdef BREAK_SCAN
		goto again
#endif
	   }
	:: atomic { p == PLACES && !more ->
		p = 0;
		if
		:: dry && !SOME(0) && !SOME(1) -> goto ended
		:: else -> dry = false; goto again
		fi }
	:: atomic { p < PLACES ->
		w = segment[p];
		if
		:: st_of(w) == FREE || st_of(w) == TAKEN ||
		   lap_of(w) < laps[p]
		:: else ->
			laps[p] = lap_of(w) + 1;
			assert(!watched[p] && st_of(w) != DRAINED);
			watched[p] = true;
			more = true
		fi;
		p++; w = 0 }
	od;
other:
	skip;
look:
	atomic {
		w = segment[p];
		assert(lap_of(w) + 1 == laps[p] && st_of(w) >= LEASED);
		if
		:: st_of(w) == SEALED && at[p] == end_of(w) -> goto drain
		:: st_of(w) == SEALED && at[p] < end_of(w)
		:: st_of(w) == LEASED && at[p] < SIZE
		:: st_of(w) == LEASED && at[p] == SIZE -> goto nothing
		fi
	}
	atomic {
		c = cell[p * SIZE + at[p]];
		if
		:: c == 0 -> goto nothing
		:: else
		fi
	}
#ifndef BREAK_SECOND
	/* The slot's earlier one, if that is watched, ends first. */
	atomic {
		if
		:: !second && !alone[p] && watched[1 - p] &&
		   owner_of(segment[1 - p]) == owner_of(segment[p]) &&
		   laps[1 - p] < laps[p] + p ->
			p = 1 - p; second = true; c = 0;
			goto other
		:: second
		:: else -> alone[p] = true
		fi
	}
#endif
	d_step {
#ifdef LATE
		assert(c >> 1 > seen[c & 1]);
		assert(c >> 1 == seen[c & 1] + 1 ||
		       seen[c & 1] < from[c & 1]);
#else
		assert(c >> 1 == seen[c & 1] + 1);
#endif
		seen[c & 1] = c >> 1
	}
	/* So long the record is the caller's. */
	d_step {
		assert(cell[p * SIZE + at[p]] == c);
		at[p] = at[p] + 1;
		second = false; p = 0; c = 0; w = 0
	}
	goto again;
nothing:
	atomic {
		assert(!second && st_of(w) == LEASED);
		todo[p] = false;
		p = 0; w = 0
	}
	goto again;
drain:
	atomic {
		assert(segment[p] == w);
		segment[p] = SEGMENT(DRAINED, owner_of(w), end_of(w), lap_of(w));
		watched[p] = false; alone[p] = false; at[p] = 0; w = 0;
		if
		:: second -> second = false; p = 1 - p; goto other
		:: else -> p = 0; goto again
		fi
	}
ended:
#ifdef LATE
	assert(seen[0] == most(0) || from[0] == most(0));
	assert(seen[1] == most(1) || from[1] == most(1));
#else
	assert(seen[0] == most(0) && seen[1] == most(1));
#endif
	skip
}

#ifdef LIVE
#ifdef STOP
ltl progress { <> (seen[1] == 1) }
#else
ltl progress { <> (seen[0] == RECORDS && seen[1] == 1) }
#endif
#endif
