// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * What is at the beginning of an object, before anything in it is believed.
 *
 * The magic is the last thing that a maker writes. Zeros with or without the
 * fields before it are no log yet, and all else that lacks the magic is
 * somebody's data.
 */
#include <errno.h>
#include <stddef.h>

#include "log.h"

uint32_t mmapdev_log_super_crc(const struct log_super *super)
{
	struct mmapdev_crc32c_table table;

	mmapdev_crc32c_init(&table);
	return mmapdev_crc32c(&table, 0, &super->version,
			      offsetof(struct log_super, crc) -
				      offsetof(struct log_super, version));
}

static bool zeros(const unsigned char *p, const unsigned char *end)
{
	while (p < end && !*p)
		p++;
	return p == end;
}

static bool is_or_will_be(uint32_t field, uint32_t value)
{
	return !field || field == value;
}

/* Whether nothing is there but what a maker may have left, in any order. */
static bool unmade(const unsigned char *base, uint64_t size)
{
	const struct log_super *super = (const void *)base;
	const unsigned char *lock = base + LOG_CONTROL;
	uint64_t end = size < LOG_HEADER ? size : LOG_HEADER;

	if (size < sizeof(*super))
		return zeros(base, base + size);
	if (!is_or_will_be(super->version, LOG_VERSION) ||
	    !is_or_will_be(super->order, LOG_ORDER) ||
	    !is_or_will_be(super->header, LOG_HEADER) || super->reserved)
		return false;
	if (end < LOG_HEADER)
		return zeros(base + sizeof(*super), base + end);
	/* Both locks may have been made. */
	return zeros(base + sizeof(*super), lock) &&
	       zeros(lock + offsetof(struct log_control, next), base + end);
}

static bool geometry(const struct log_super *super)
{
	return super->header == LOG_HEADER &&
	       super->segment >= LOG_SEGMENT_MIN &&
	       super->segment <= LOG_SEGMENT_MAX &&
	       !(super->segment & (super->segment - 1)) && super->ring != 1 &&
	       super->ring <= LOG_RING_MAX && !(super->flags & ~LOG_FORMAT);
}

uint32_t mmapdev_log_judge(const unsigned char *base, uint64_t size,
			   struct log_super *super)
{
	static const char none[sizeof(super->magic)];
	uint64_t magic, end;

	if (!size)
		return MMAPDEV_LOG_NOTHING;
	if (size < sizeof(*super))
		return unmade(base, size) ? MMAPDEV_LOG_NOTHING :
					    MMAPDEV_LOG_FOREIGN;
	/* What is judged is the copy, which nobody else can change. */
	magic = load((const uint64_t *)(const void *)base);
	memcpy(super, base, sizeof(*super));
	memcpy(super->magic, &magic, sizeof(magic));
	if (!memcmp(super->magic, none, sizeof(none)))
		return unmade(base, size) ? MMAPDEV_LOG_NOTHING :
					    MMAPDEV_LOG_FOREIGN;
	if (memcmp(super->magic, LOG_MAGIC, sizeof(super->magic)))
		return MMAPDEV_LOG_FOREIGN;
	if (super->order == __builtin_bswap32(LOG_ORDER))
		return MMAPDEV_LOG_ENDIAN;
	if (super->version != LOG_VERSION)
		return MMAPDEV_LOG_VERSION;
	if (super->crc != mmapdev_log_super_crc(super) ||
	    super->order != LOG_ORDER || !geometry(super))
		return MMAPDEV_LOG_HEADER;
	end = LOG_HEADER + (uint64_t)super->ring * super->segment;
	return size < end ? MMAPDEV_LOG_SHORT : MMAPDEV_LOG_SOUND;
}

int mmapdev_log_error(uint32_t problem)
{
	switch (problem) {
	case MMAPDEV_LOG_SOUND:
		return 0;
	case MMAPDEV_LOG_NOTHING:
		return -ENODATA;
	case MMAPDEV_LOG_FOREIGN:
		return -EMEDIUMTYPE;
	case MMAPDEV_LOG_VERSION:
	case MMAPDEV_LOG_ENDIAN:
		return -EPROTONOSUPPORT;
	}
	return -EBADMSG;
}

const char *mmapdev_log_problem(uint32_t problem)
{
	static const char *const words[] = {
		[MMAPDEV_LOG_SOUND] = "nothing is wrong",
		[MMAPDEV_LOG_NOTHING] = "there is no log yet, only zeros",
		[MMAPDEV_LOG_FOREIGN] = "this is no log",
		[MMAPDEV_LOG_VERSION] = "the log's format is of another version",
		[MMAPDEV_LOG_ENDIAN] = "the log is of the other byte order",
		[MMAPDEV_LOG_HEADER] = "the log's header is damaged",
		[MMAPDEV_LOG_SHORT] = "the object is shorter than the log",
		[MMAPDEV_LOG_SEGMENT] = "a segment's header is damaged",
		[MMAPDEV_LOG_RECORD] = "a record's length or state is damaged",
		[MMAPDEV_LOG_CHECKSUM] = "a record's checksum does not match",
	};

	if (problem >= sizeof(words) / sizeof(*words))
		return "a problem that this library does not know";
	return words[problem];
}
