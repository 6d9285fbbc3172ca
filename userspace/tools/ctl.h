/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * mmapdevctl: what its commands share.
 *
 * A command returns an exit status: 0, EXIT_FAILURE when the thing could not be
 * done, EXIT_USAGE when it could not be meant. Whoever finds an error reports
 * it, in one line that names the value and says what to do.
 */
#ifndef CTL_H
#define CTL_H

#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

#define EXIT_USAGE 2

#define MODULE "mmapdev"
#define DEVICE "/dev/mmapdev"

struct command {
	const char *name; /* one word, or two: "log tail" */
	const char *synopsis;
	const char *help;
	int (*run)(int argc, char **argv);
};

extern const struct command load_command, unload_command, status_command,
	list_command, create_command, remove_command, info_command,
	resize_command, punch_command, fill_command, sum_command, dump_command,
	copy_command, commit_command, wait_command, watch_command,
	log_create_command, log_append_command, log_tail_command,
	log_stat_command, log_verify_command, log_recover_command;

/* main.c */
__attribute__((format(printf, 1, 2))) void error(const char *format, ...);
/* Like error(), but points to --help; returns EXIT_USAGE. */
__attribute__((format(printf, 1, 2))) int usage(const char *format, ...);

/* As getopt_long(3), -1 at the end; '?' was reported already. */
int next_option(int argc, char **argv, const char *letters,
		const struct option *options);

/* text.c: numbers, names, JSON */
bool parse_u64(const char *text, uint64_t *value);
bool parse_size(const char *text, uint64_t *value); /* with K, M, G */
bool parse_seconds(const char *text, uint64_t *ms); /* 1, 0.25; to a year */
/* The entry of @names (NULL ends it) that @name was probably to be, or NULL. */
const char *nearest(const char *name, const char *const *names);
void print_json_string(const char *text);
/* As far as it is UTF-8; every character beyond ASCII by its number. */
void print_json_text(const void *text, size_t length);
/* Bytes of the character that @text begins with, 0 where there is none. */
size_t utf8_length(const void *text, size_t length);
void print_hex(const void *data, size_t length); /* "68656c6c6f" */
void print_size(uint64_t bytes); /* "65536 (64 KiB)" */
void short_size(uint64_t bytes, char *text, size_t size); /* "64K" */
uint64_t now_ms(void);

/* progress.c: says on stderr that @name goes on, from two seconds on */
void begin_progress(const char *name);
void end_progress(void);

/* dump.c: as hexdump -C, where the first byte is at @offset */
void print_dump(uint64_t offset, const void *data, size_t length);

/*
 * params.c: whether a value can be right for a parameter of this type; @type
 * NULL: for the attribute that one device has of this name
 */
bool param_fits(const char *name, const char *type, const char *value,
		const char **wanted);

/* kmsg.c: the end of the kernel's log, and what was added to it since */
int open_kmsg(void);
void print_kmsg(int fd);

/* holders.c: who has an object open or mapped */
struct holder {
	char path[PATH_MAX]; /* of what it holds */
	pid_t pid;
	char name[64];
	bool opened, mapped;
};

struct holders {
	struct holder *list;
	size_t count;
	bool partial; /* there were processes that could not be looked into */
};

/*
 * Adds to @holders, which begins as zeros; 0 or -errno of finding the device at
 * all. @path NULL: who holds devices that were removed.
 */
int find_holders(const char *path, struct holders *holders);
/* @headings: "PATH is held by" before those of each path. */
void print_holders(const struct holders *holders, bool headings);
/* The members "holders" and "holders_complete". */
void print_json_holders(const struct holders *holders);

#endif /* CTL_H */
