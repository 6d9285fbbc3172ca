/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/* What a command on the content works on: a device or file, and a range of it. */
#ifndef CTL_TARGET_H
#define CTL_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include <mmapdev.h>

struct target {
	const char *path;
	struct mmapdev *dev;
	struct mmapdev_info info;
	uint64_t offset;
	uint64_t length;
	bool has_offset;
	bool has_length;
	bool json;
	bool raw;
	bool follow;
	uint64_t pid; /* 0: none was named */
};

/*
 * @takes: which options the command has, of o(ffset), l(ength), j(son), r(aw),
 * f(ollow), p(id).
 */
int parse_target(int argc, char **argv, const char *takes, struct target *t);
/* Opens it, and asks what it is. */
int open_target(struct target *t, int oflags);
/* Also: the range becomes one that it has, of @most bytes if none is said. */
int open_range(struct target *t, int oflags, uint64_t most);
/* The members path, offset and length, after a "{". */
void print_json_range(const struct target *t);
/* Closes it, and reports what the library answered. */
int finish(struct target *t, const char *what, int ret);

#endif /* CTL_TARGET_H */
