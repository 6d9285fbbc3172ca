/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
 *
 * The log's bell, for spin; tests/model runs it. A writer stores a record's word
 * and then loads the bell, a reader stores that it listens and then loads the
 * word. x86 lets both loads come before the other's store is seen: the writer's
 * store is in a buffer here, which empties at any time. The reader pays for
 * both, by a membarrier; else it may sleep though a record is there.
 */

#define RECORDS	2

byte stored, word;	/* records: those above `word` are in the buffer */
byte bell;		/* counts the rings, and is the futex's value */
bool listening;
bool finished;

active proctype memory()
{
end:
	do
	:: atomic { word < stored -> word++ }
	od
}

active proctype writer()
{
	byte k;

	do
	:: k < RECORDS ->
		atomic { stored++; k++ }
		if
		:: listening ->
			/* A locked instruction: the buffer is empty. */
			atomic { word = stored; listening = false; bell++ }
		:: else
		fi
	:: else -> break
	od
}

active proctype reader()
{
	byte seen, value;

	do
	:: seen == RECORDS -> break
	:: seen < RECORDS && word > seen -> seen++
	:: seen < RECORDS && word == seen ->
		value = bell;
		listening = true;
#ifndef BREAK_MEMBARRIER
		word = stored;
#endif
		if
#ifdef BREAK_AGAIN
		:: bell != value
#else
		:: word > seen
		:: word == seen -> bell != value	/* asleep */
#endif
		fi
	od;
	finished = true
}

ltl progress { <> finished }
