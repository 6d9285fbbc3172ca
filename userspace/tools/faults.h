/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/* Where the faults of a device land, out of the kernel's tracing. */
#ifndef CTL_FAULTS_H
#define CTL_FAULTS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct faults {
	char instance[PATH_MAX]; /* "": nothing is traced */
	int pipe;
	uint64_t lost; /* there were too many of */
	char text[1 << 16];
	size_t length;
};

typedef void (*fault_fn)(void *arg, uint64_t page, bool mkwrite);

/* NULL, or why nothing can be traced; @path is of a device. */
const char *faults_begin(struct faults *f, const char *path);
/* All since the last time. */
void faults_read(struct faults *f, fault_fn fn, void *arg);
/* Leaves nothing behind; also after faults_begin() failed. */
void faults_end(struct faults *f);

#endif /* CTL_FAULTS_H */
