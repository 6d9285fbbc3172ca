/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * A screen that is drawn again in place, and the signals that go with it.
 *
 * Signals are taken in terminal_wait() only, so that whatever was begun is
 * undone by the one who began it.
 */
#ifndef CTL_TERMINAL_H
#define CTL_TERMINAL_H

#include <stdbool.h>

struct terminal {
	bool in_place; /* else frames follow each other, as text */
	bool colour;
	int columns, lines;
};

/* As the environment and stdout have it; with @in_place it takes the screen. */
void terminal_begin(struct terminal *term);
/* As it was before; may be called twice. */
void terminal_end(void);
/* Sets columns and lines. */
void terminal_measure(struct terminal *term);

enum event { EVENT_TIME, EVENT_REDRAW, EVENT_QUIT };

/* What came first; @ms 0: whether something came. */
enum event terminal_wait(int ms);
/* Dies of the signal that ended it, if it was one. */
void terminal_die(void);

#endif /* CTL_TERMINAL_H */
