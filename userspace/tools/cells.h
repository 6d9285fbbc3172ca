/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/* The map of an object: pages in groups, a cell for each. */
#ifndef CTL_CELLS_H
#define CTL_CELLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cell {
	uint64_t pages; /* up to the size; of these: */
	uint64_t data, resident, written, huge;
	uint64_t faults, mkwrites; /* since the last frame */
	uint64_t touched;	   /* when the last was; 0: never */
};

struct cells {
	struct cell *list;
	size_t count;
	uint64_t group; /* pages of a cell */
};

/* Room for @pages. What was touched is kept if nothing else changes. */
int cells_resize(struct cells *cells, uint64_t pages, uint64_t group);
/* Before a new frame. */
void cells_clear(struct cells *cells);
/* A survey_fn. */
void cells_add(void *cells, uint64_t first, uint64_t count,
	       unsigned int state);
void cells_touch(struct cells *cells, uint64_t page, bool mkwrite,
		 uint64_t now);

/* How long a fault is shown. */
#define FADE_MS 5000

/* How a cell is shown. */
enum look {
	LOOK_HOLE,
	LOOK_PARTLY,
	LOOK_RESIDENT,
	LOOK_RESIDENT_HUGE,
	LOOK_WRITTEN,
	LOOK_WRITTEN_HUGE,
	LOOK_STORED,
	LOOK_WINDOW,
};

enum look cell_look(const struct cell *cell);
/* '*' for a fault since the last frame, '+' for an older, else its look's. */
char cell_letter(const struct cell *cell, uint64_t now);
char look_letter(enum look look);

#endif /* CTL_CELLS_H */
