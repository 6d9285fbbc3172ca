/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/* What the commands on logs share: opening one, and what is wrong, in words. */
#ifndef CTL_LOG_H
#define CTL_LOG_H

#include <mmapdev.h>

#include "target.h"

/* What a segment and a record have before the first byte of what was written. */
#define LOG_OVERHEAD 80

/*
 * The arguments are to be one PATH, and @more ones behind it may be: 0 or
 * EXIT_USAGE.
 */
int log_path(int argc, char **argv, bool more, struct target *t);

/* What is cut or removed while it is in use ends with a word about it. */
void catch_sigbus(void);

/* Opens object and log. On failure all is closed and reported. */
int open_log(struct target *t, int oflags, struct mmapdev_log **log);
/*
 * Makes a log where only zeros are, or no file at all, or opens the one that is
 * there, unless it is to be @fresh.
 */
int make_log(struct target *t, const struct mmapdev_log_opts *opts, bool fresh,
	     struct mmapdev_log **log);
/* Closes both, and returns @status, or EXIT_FAILURE if closing failed. */
int close_log(struct target *t, struct mmapdev_log *log, int status);

/* "cannot @what: ", why, and what to do; returns EXIT_FAILURE. */
int log_failed(const struct target *t, const char *what, int err);
/* What mmapdev_log_verify() found, on the standard error output. */
void explain_problem(const struct target *t,
		     const struct mmapdev_log_report *report);

/* A process, as far as /proc tells of it. */
struct process {
	char name[64]; /* "" where it is not known */
	char state;    /* 'R', 'S', 'T' ...; 0 likewise */
};

void find_process(uint32_t pid, struct process *process);
/* "writer 3 (pid 41, sleep)" */
void name_writer(const struct mmapdev_log_slot *slot, char *text, size_t size);
/* Says on stderr who holds up readers since before, and what can be done. */
void tell_blocked(const struct target *t, const struct mmapdev_log_slot *slot,
		  uint32_t index, bool ring);

/* As text of one line: what is not printable becomes an escape. */
void print_escaped(const void *data, size_t length);

#endif /* CTL_LOG_H */
