/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * What the tests of the log share: its kinds, a small log of each, and records
 * whose bytes tell which they are.
 */
#ifndef TESTS_LOG_H
#define TESTS_LOG_H

#include <string.h>

#include "common.h"
#include "wrap.h"

/* The format is an ABI: a file is read by later releases too. */
#define HEADER (16 * KIB)
#define AT_CONTROL 4096
#define AT_NEXT (AT_CONTROL + 256)
#define AT_SLOTS 8192
#define SLOT 128
#define AT_PID 32
#define AT_BOOT 56
#define FIRST 64	/* of a segment, its first record */

#define SEGMENT ((uint64_t)4096)
#define PLACES 4 /* of a ring */
#define WINDOW (2 * MIB)
#define MOST (SEGMENT - 80)
#define LEASED 0
#define ORDERED MMAPDEV_LOG_ORDERED
#define CRC MMAPDEV_LOG_CRC

struct kind {
	const char *name;
	uint32_t flags, ring;
};

static const struct kind kinds[] = {
	{ "leased", LEASED, 0 },
	{ "ordered", ORDERED, 0 },
	{ "leased, crc", LEASED | CRC, 0 },
	{ "ordered, crc", ORDERED | CRC, 0 },
	{ "ring", LEASED, PLACES },
	{ "ordered ring", ORDERED, PLACES },
	{ "ring, crc", LEASED | CRC, PLACES },
	{ "ordered ring, crc", ORDERED | CRC, PLACES },
};

#define KINDS (sizeof(kinds) / sizeof(*kinds))

static inline int try_log(struct mmapdev *dev, const struct kind *kind,
			  struct mmapdev_log **log)
{
	struct mmapdev_log_opts opts = {
		.sz = sizeof(opts),
		.flags = kind->flags | MMAPDEV_LOG_CREATE,
		.ring = kind->ring,
		.segment = SEGMENT,
		.window = WINDOW,
	};

	return mmapdev_log_open(dev, &opts, log);
}

static inline struct mmapdev_log *open_log(struct mmapdev *dev,
					   const struct kind *kind)
{
	struct mmapdev_log *log = NULL;

	need(try_log(dev, kind, &log), "log_open");
	return log;
}

/* In place of whatever the object held. */
static inline struct mmapdev_log *fresh(struct object *o,
					const struct kind *kind)
{
	wrap_reset();
	need(mmapdev_resize(o->dev, 0), "resize");
	return open_log(o->dev, kind);
}

static inline struct mmapdev_log_writer *writer(struct mmapdev_log *log)
{
	struct mmapdev_log_writer *w = NULL;

	need(mmapdev_log_writer_open(log, &w), "writer_open");
	return w;
}

static inline int try_reader(struct mmapdev_log *log, uint32_t flags,
			     struct mmapdev_log_reader **r)
{
	struct mmapdev_log_reader_opts opts = {
		.sz = sizeof(opts),
		.flags = flags,
	};

	return mmapdev_log_reader_open(log, &opts, r);
}

static inline struct mmapdev_log_reader *reader(struct mmapdev_log *log,
						uint32_t flags)
{
	struct mmapdev_log_reader *r = NULL;

	need(try_reader(log, flags, &r), "reader_open");
	return r;
}

static inline void pattern(unsigned char *data, size_t length,
			   unsigned int seed)
{
	size_t i;

	for (i = 0; i < length; i++)
		data[i] = seed * 31 + i * 7 + (i >> 8);
}

static inline int try_put(struct mmapdev_log_writer *w, unsigned int seed,
			  size_t length, int timeout)
{
	unsigned char data[SEGMENT];

	pattern(data, length, seed);
	return mmapdev_log_append(w, data, length, timeout);
}

static inline bool put(struct mmapdev_log_writer *w, unsigned int seed,
		       size_t length)
{
	return !try_put(w, seed, length, 0);
}

static inline int try_read(struct mmapdev_log_reader *r, int timeout)
{
	struct mmapdev_log_record record = { .sz = sizeof(record) };

	return mmapdev_log_read(r, &record, timeout);
}

static inline bool is_record(const struct mmapdev_log_record *record,
			     unsigned int seed, size_t length)
{
	unsigned char data[SEGMENT];

	pattern(data, length, seed);
	return record->length == length && !memcmp(record->data, data, length);
}

/* Whether the next record is that one, and is there. */
static inline bool next_is(struct mmapdev_log_reader *r, unsigned int seed,
			   size_t length)
{
	struct mmapdev_log_record record = { .sz = sizeof(record) };

	return !mmapdev_log_read(r, &record, 0) &&
	       is_record(&record, seed, length);
}

static inline struct mmapdev_log_info info_of(struct mmapdev_log *log)
{
	struct mmapdev_log_info info = { .sz = sizeof(info) };

	need(mmapdev_log_get_info(log, &info), "get_info");
	return info;
}

static inline struct mmapdev_log_slot slot_of(struct mmapdev_log *log,
					      uint32_t i)
{
	struct mmapdev_log_slot slot = { .sz = sizeof(slot) };

	need(mmapdev_log_get_slot(log, i, &slot), "get_slot");
	return slot;
}

static inline uint64_t size_of(struct mmapdev *dev)
{
	struct mmapdev_info info = { .sz = sizeof(info) };

	need(mmapdev_get_info(dev, &info), "get_info");
	return info.size;
}

static inline struct mmapdev_log_report report_of(struct mmapdev *dev)
{
	struct mmapdev_log_report report = { .sz = sizeof(report) };

	need(mmapdev_log_verify(dev, &report), "verify");
	return report;
}

#endif /* TESTS_LOG_H */
