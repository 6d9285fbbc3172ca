// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The terminal, by plain escape sequences: the alternate screen, no cursor, and
 * keys that come one by one without echo.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "ctl.h"
#include "terminal.h"

#define ENTER "\033[?1049h\033[?25l\033[2J"
#define LEAVE "\033[m\033[?25h\033[?1049l"

static volatile sig_atomic_t ended, resized, suspended, continued;

static struct {
	bool in_place;
	bool keys; /* stdin is the terminal */
	struct termios before;
	sigset_t outside; /* which signals were blocked */
} state;

static void on_signal(int number)
{
	if (number == SIGWINCH)
		resized = 1;
	else if (number == SIGTSTP)
		suspended = 1;
	else if (number == SIGCONT)
		continued = 1;
	else
		ended = number;
}

static void catch_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT,
				       SIGWINCH, SIGTSTP, SIGCONT };
	struct sigaction action = { .sa_handler = on_signal }, old;
	sigset_t all;
	size_t i;

	sigemptyset(&all);
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaddset(&all, signals[i]);
	sigprocmask(SIG_BLOCK, &all, &state.outside);
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (!sigaction(signals[i], NULL, &old) &&
		    old.sa_handler != SIG_IGN)
			sigaction(signals[i], &action, NULL);
	/* Who reads us has gone: that shows when we write. */
	signal(SIGPIPE, SIG_IGN);
}

static void take_screen(void)
{
	struct termios keys = state.before;

	if (!state.in_place)
		return;
	fputs(ENTER, stdout);
	fflush(stdout);
	keys.c_lflag &= ~(ICANON | ECHO);
	if (state.keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &keys);
}

static void give_screen_back(void)
{
	if (!state.in_place)
		return;
	fputs(LEAVE, stdout);
	fflush(stdout);
	if (state.keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &state.before);
}

static bool is_set(const char *name)
{
	const char *value = getenv(name);

	return value && *value;
}

void terminal_begin(struct terminal *term)
{
	bool dumb = !is_set("TERM") || !strcmp(getenv("TERM"), "dumb");

	term->in_place = isatty(STDOUT_FILENO) && !dumb;
	term->colour = term->in_place && !is_set("NO_COLOR");
	state.in_place = term->in_place;
	state.keys = isatty(STDOUT_FILENO) &&
		     !tcgetattr(STDIN_FILENO, &state.before);
	catch_signals();
	take_screen();
}

void terminal_end(void)
{
	give_screen_back();
	state.in_place = false;
}

static int number_of(const char *name, int otherwise)
{
	uint64_t value;

	if (!is_set(name) || !parse_u64(getenv(name), &value) || !value ||
	    value > 10000)
		return otherwise;
	return value;
}

void terminal_measure(struct terminal *term)
{
	struct winsize size;

	term->columns = number_of("COLUMNS", 80);
	term->lines = number_of("LINES", 24);
	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col &&
	    size.ws_row) {
		term->columns = size.ws_col;
		term->lines = size.ws_row;
	}
}

/* Stops as if nothing had been caught. */
static void suspend(void)
{
	struct sigaction stop = { .sa_handler = SIG_DFL }, caught;
	sigset_t tstp;

	give_screen_back();
	sigemptyset(&tstp);
	sigaddset(&tstp, SIGTSTP);
	sigaction(SIGTSTP, &stop, &caught);
	raise(SIGTSTP);
	sigprocmask(SIG_UNBLOCK, &tstp, NULL); /* here it stops */
	sigprocmask(SIG_BLOCK, &tstp, NULL);
	sigaction(SIGTSTP, &caught, NULL);
	continued = 1;
}

enum event terminal_wait(int ms)
{
	struct timespec time = { ms / 1000, ms % 1000 * 1000000L };
	struct pollfd keys = { .fd = state.keys ? STDIN_FILENO : -1,
			       .events = POLLIN };
	char key;

	if (ppoll(&keys, 1, &time, &state.outside) > 0 &&
	    (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q'))
		return EVENT_QUIT;
	if (ended)
		return EVENT_QUIT;
	if (suspended) {
		suspended = 0;
		suspend();
	}
	if (continued) {
		continued = 0;
		take_screen();
		return EVENT_REDRAW;
	}
	if (resized) {
		resized = 0;
		return EVENT_REDRAW;
	}
	return EVENT_TIME;
}

void terminal_die(void)
{
	sigset_t one;

	if (!ended)
		return;
	fflush(stdout);
	sigemptyset(&one);
	sigaddset(&one, ended);
	signal(ended, SIG_DFL);
	raise(ended);
	sigprocmask(SIG_UNBLOCK, &one, NULL);
}
