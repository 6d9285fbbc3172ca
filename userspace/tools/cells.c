// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Pages in groups. A cell shows the strongest of what its pages are: written,
 * then resident; a capital letter says that huge folios are among them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cells.h"
#include "survey.h"

int cells_resize(struct cells *cells, uint64_t pages, uint64_t group)
{
	size_t count = (pages + group - 1) / group;
	struct cell *list;

	if (cells->list && count == cells->count && group == cells->group)
		return 0;
	list = calloc(count ? count : 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	if (cells->list && group == cells->group)
		memcpy(list, cells->list,
		       (count < cells->count ? count : cells->count) *
			       sizeof(*list));
	free(cells->list);
	cells->list = list;
	cells->count = count;
	cells->group = group;
	return 0;
}

void cells_clear(struct cells *cells)
{
	size_t i;

	for (i = 0; i < cells->count; i++)
		cells->list[i] = (struct cell){
			.touched = cells->list[i].touched,
		};
}

void cells_add(void *arg, uint64_t first, uint64_t count, unsigned int state)
{
	struct cells *cells = arg;

	while (count && first / cells->group < cells->count) {
		struct cell *cell = &cells->list[first / cells->group];
		uint64_t n = cells->group - first % cells->group;

		if (n > count)
			n = count;
		cell->pages += state & PAGE_WINDOW ? 0 : n;
		cell->data += state & PAGE_DATA ? n : 0;
		cell->resident += state & PAGE_RESIDENT ? n : 0;
		cell->written += state & PAGE_WRITTEN ? n : 0;
		cell->huge += state & PAGE_HUGE ? n : 0;
		first += n;
		count -= n;
	}
}

void cells_touch(struct cells *cells, uint64_t page, bool mkwrite,
		 uint64_t now)
{
	struct cell *cell;

	if (page / cells->group >= cells->count)
		return;
	cell = &cells->list[page / cells->group];
	cell->faults += !mkwrite;
	cell->mkwrites += mkwrite;
	cell->touched = now;
}

enum look cell_look(const struct cell *cell)
{
	if (!cell->pages)
		return LOOK_WINDOW;
	if (cell->written)
		return cell->huge ? LOOK_WRITTEN_HUGE : LOOK_WRITTEN;
	if (cell->resident && cell->huge)
		return LOOK_RESIDENT_HUGE;
	if (cell->resident)
		return cell->resident == cell->pages ? LOOK_RESIDENT :
						       LOOK_PARTLY;
	return cell->data ? LOOK_STORED : LOOK_HOLE;
}

char look_letter(enum look look)
{
	return ".-rRwWd~"[look];
}

char cell_letter(const struct cell *cell, uint64_t now)
{
	if (cell->faults || cell->mkwrites)
		return '*';
	if (cell->touched && now - cell->touched < FADE_MS)
		return '+';
	return look_letter(cell_look(cell));
}
