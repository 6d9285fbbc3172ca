/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * What every test program needs: TAP lines, and the two kinds of object that
 * stand in for the device. A program exits 0, 1 (a line was not ok) or 77 (it
 * cannot run here).
 */
#ifndef TESTS_COMMON_H
#define TESTS_COMMON_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <mmapdev.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)

#define PRINTF(at) __attribute__((format(printf, at, at + 1)))

/* One line each, a sentence that is true when it says ok. */
bool ok(bool truth, const char *sentence, ...) PRINTF(2);
bool is(long long got, long long wanted, const char *sentence, ...) PRINTF(3);

/*
 * Between a test and each call of the API. An error that is() then wants of it
 * is proved: tests/errnos holds these against the man pages.
 */
long long returned(const char *function, long long ret);
#include <tests/returned.h>

/* Ends the program with 1: what follows could not work. */
void need(int ret, const char *what);
int done(void);

struct object {
	const char *name;    /* "file", "memfd" or "device" */
	char path[64];	     /* opens the same object again */
	struct mmapdev *dev; /* open for reading and writing */
};

/* Runs @test once on a new file and once on a new memfd of @size bytes. */
void on_each_object(uint64_t size, void (*test)(struct object *));

/* And on the device that $MMAPDEV_DEVICE names, if it does, resized to @size. */
void on_every_object(uint64_t size, void (*test)(struct object *));

/* Runs @work in a new process, which exits with what it returns. */
pid_t spawn(int (*work)(void *arg), void *arg);
/* Waits for its end: what it returned, or minus the signal that ended it. */
int reap(pid_t pid);
/* Kills it, and waits for its end. */
void slay(pid_t pid);
/* Returns when it is asleep, in whatever it waits for. */
void until_asleep(pid_t pid);

/* As spawn(), stopped before the first instruction of @work. */
pid_t spawn_stopped(int (*work)(void *arg), void *arg);
/* Does one instruction of it; false, and it is reaped, when it is done. */
bool step(pid_t pid);
/* Which is faster where both are on one CPU: this process, and its new ones. */
void on_one_cpu(bool one);

struct mmapdev *reopen(struct object *object, int oflags);
uint64_t page_size(void);
/* Of CLOCK_MONOTONIC. */
uint64_t milliseconds(void);

/* By the definitions, a bit and a byte at a time. */
uint32_t slow_crc32c(const void *data, size_t length);
unsigned char pattern_byte(uint64_t pattern, uint64_t offset);

#endif /* TESTS_COMMON_H */
