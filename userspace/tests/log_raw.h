/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * What the tests that kill writers of a log append, and another eye on what is
 * there: a parser of the format in lib/log.h that shares no code with it.
 */
#ifndef TESTS_LOG_RAW_H
#define TESTS_LOG_RAW_H

#include "common.h"

/* A record; the rest of its bytes follow from these. */
struct entry {
	uint32_t incarnation;
	uint32_t length; /* of the record */
	uint64_t sequence;
};

void entry_make(void *to, uint32_t incarnation, uint64_t sequence,
		uint32_t length);
/* The entry, or NULL if it is not as it was made. */
const struct entry *entry_of(const void *data, uint64_t length);

/*
 * Hands all committed records of the object at @path, whose writers are dead,
 * to @each, in the order of the segments' numbers. What is wrong, or NULL.
 */
const char *log_raw(const char *path,
		    const char *(*each)(const struct entry *entry));

#endif /* TESTS_LOG_RAW_H */
