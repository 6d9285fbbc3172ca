/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/* What the examples share: arguments, giving up, and claims. */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool failed; /* what main() returns */

static inline void usage(char **argv, const char *arguments)
{
	fprintf(stderr, "usage: %s %s\n", argv[0], arguments);
	exit(2);
}

/* The device or file to work on, which is there already. */
static inline const char *object_path(int argc, char **argv)
{
	if (argc > 2 || (argc == 2 && argv[1][0] == '-'))
		usage(argv, "[DEVICE-OR-FILE]");
	return argc == 2 ? argv[1] : "/dev/mmapdev";
}

/* What follows cannot work without it. */
static inline void need(int ret, const char *what)
{
	if (ret >= 0)
		return;
	fflush(stdout);
	fprintf(stderr, "%s: %s\n", what, strerror(-ret));
	exit(1);
}

/* What the example says is checked. */
__attribute__((format(printf, 2, 3)))
static inline void claim(bool holds, const char *sentence, ...)
{
	va_list args;

	va_start(args, sentence);
	printf("%s ", holds ? "ok  " : "FAIL");
	vprintf(sentence, args);
	printf("\n");
	va_end(args);
	failed |= !holds;
}

#endif /* EXAMPLE_H */
