/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/* What one look of the command watch found, and who shows it. */
#ifndef CTL_WATCH_H
#define CTL_WATCH_H

#include "cells.h"
#include "ctl.h"
#include "survey.h"
#include "terminal.h"

struct watch {
	const char *path;
	struct survey survey; /* with the figures */
	struct cells cells;
	const char *no_faults; /* why none is shown, or NULL */
	uint64_t lost;	       /* faults that were too many to be shown */
	bool has_rates;
	double faults_rate, mkwrites_rate; /* in a second */
	struct holders holders;
	uint64_t now;
};

/* frame.c: for people */
/* How many pages the cells span, and in groups of how many. */
void frame_layout(const struct watch *w, const struct terminal *term,
		  uint64_t *pages, uint64_t *group);
void frame_print(const struct watch *w, const struct terminal *term);

/* watch_json.c: for programs, a line; 0 or -errno */
int print_json_frame(struct watch *w);

#endif /* CTL_WATCH_H */
