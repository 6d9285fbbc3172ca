// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Signs of life. What takes long is one system call, in which no handler of a
 * signal could run: a thread of its own says so.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "ctl.h"

#define TICK_S 2

static struct {
	const char *name;
	uint64_t begun;
	timer_t timer;
	bool armed;
} progress;

static void on_tick(union sigval unused)
{
	(void)unused;
	fprintf(stderr, "mmapdevctl %s: still at it after %" PRIu64 " s\n",
		progress.name, (now_ms() - progress.begun + 500) / 1000);
}

void begin_progress(const char *name)
{
	static const struct itimerspec every = { { TICK_S, 0 }, { TICK_S, 0 } };
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD,
		.sigev_notify_function = on_tick,
	};

	progress.name = name;
	progress.begun = now_ms();
	/* Without it the work is done as well. */
	progress.armed = !timer_create(CLOCK_MONOTONIC, &event,
				       &progress.timer);
	if (progress.armed)
		timer_settime(progress.timer, 0, &every, NULL);
}

void end_progress(void)
{
	if (progress.armed)
		timer_delete(progress.timer);
	progress.armed = false;
}
