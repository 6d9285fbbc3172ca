// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Is a log as it should be? All of it is read and nothing written, whatever
 * the object is. Of a log in use it tells of a moment, or of several.
 */
#include <errno.h>
#include <stdlib.h>

#include "log.h"

#define REPORT_FIRST offsetofend(struct mmapdev_log_report, problems)

struct check {
	struct mmapdev_log log;
	struct mmapdev_log_report report;
};

static void complain(struct check *check, uint32_t problem, uint64_t offset)
{
	if (check->report.problems++)
		return;
	check->report.problem = problem;
	check->report.offset = offset;
}

static uint64_t offset_in(const struct check *check, const void *at)
{
	return (const unsigned char *)at - check->log.base;
}

/* Then what lies behind the map came later, and is not looked at. */
static bool is_longer(const struct check *check)
{
	struct mmapdev_info info = { .sz = sizeof(info) };

	return !mmapdev_get_info(check->log.dev, &info) &&
	       info.size > mmapdev_map_size(check->log.map);
}

/* Whose word was not set when those behind it were. */
static uint32_t skip_hole(unsigned char *segment, uint32_t at, uint32_t end)
{
	do {
		at += LOG_ALIGN;
	} while (at < end && !load(&record_at(segment, at)->word));
	return at;
}

/* The records up to @end; from @tail on there may be none. */
static void check_records(struct check *check, unsigned char *segment,
			  uint64_t number, uint32_t end, uint32_t tail)
{
	bool ordered = check->log.flags & MMAPDEV_LOG_ORDERED;
	struct log_record *record;
	uint32_t at = LOG_FIRST;
	uint64_t word, extent;

	while (at < end) {
		record = record_at(segment, at);
		word = load(&record->word);
		extent = rec_extent(rec_length(word));
		if (!word && at >= tail)
			return;
		if (!word && ordered) {
			check->report.unfinished++;
			at = skip_hole(segment, at, tail);
			continue;
		}
		if (extent > end - at && end < check->log.segment &&
		    is_longer(check))
			return;
		if (rec_state(word) == REC_NONE || rec_state(word) > REC_PAD ||
		    extent > end - at ||
		    (rec_state(word) != REC_COMMITTED && !ordered)) {
			complain(check, MMAPDEV_LOG_RECORD,
				 offset_in(check, record));
			return;
		}
		if (rec_state(word) == REC_RESERVED) {
			check->report.unfinished++;
		} else if (rec_state(word) == REC_COMMITTED &&
			   !mmapdev_log_sound(&check->log, segment, number, at,
					      rec_length(word))) {
			complain(check, MMAPDEV_LOG_CHECKSUM,
				 offset_in(check, record));
		} else if (rec_state(word) == REC_COMMITTED) {
			check->report.records++;
			check->report.bytes += rec_length(word);
		}
		at += extent;
	}
}

/* Bytes that were reserved, the segment's header with them. */
static uint32_t tail_of(const struct log_segment *head, uint32_t limit)
{
	uint64_t tail = LOG_FIRST + (uint32_t)load(&head->tail);

	return tail < limit ? tail : limit;
}

static void check_segment(struct check *check, uint64_t place)
{
	bool ordered = check->log.flags & MMAPDEV_LOG_ORDERED;
	uint32_t ring = check->log.ring, limit, end;
	struct log_segment *head;
	unsigned char *segment;
	uint64_t word, number;

	segment = mmapdev_log_segment(&check->log, place, &limit);
	if (!segment && is_longer(check))
		return;
	if (!segment) {
		complain(check, MMAPDEV_LOG_SHORT,
			 mmapdev_map_size(check->log.map));
		return;
	}
	head = (struct log_segment *)(void *)segment;
	word = load(&head->word);
	number = seg_lap(word) * ring + place;
	end = seg_end(word);
	switch (ring || !seg_lap(word) ? seg_state(word) : SEG_FREE) {
	case SEG_TAKEN:
		if (ring)
			return;
		break;
	case SEG_LEASED:
		if (ordered)
			break;
		check_records(check, segment, number, limit, LOG_FIRST);
		return;
	case SEG_SHARED:
		if (!ordered)
			break;
		check_records(check, segment, number, limit,
			      tail_of(head, limit));
		return;
	case SEG_SEALED:
	case SEG_DRAINED:
		/* What all fill is filled. */
		if (end < (ordered ? check->log.segment : LOG_FIRST) ||
		    end > limit)
			break;
		check_records(check, segment, number, end, end);
		return;
	case SEG_FREE:
		if (!word && ring)
			return;
	}
	complain(check, MMAPDEV_LOG_SEGMENT, offset_in(check, segment));
}

/* Where nobody is about to raise it, no segment is behind the last number. */
static void check_next(struct check *check, uint64_t next)
{
	struct mmapdev_log *log = &check->log;
	unsigned char *segment;
	uint32_t limit, i;

	for (i = 1; i < LOG_SLOTS; i++)
		if ((load32(&log->slot[i].state) & SLOT_STATE) ==
		    MMAPDEV_LOG_SLOT_OPEN)
			return;
	segment = mmapdev_log_segment(log, next, &limit);
	if (segment && load((uint64_t *)(void *)segment) &&
	    load(&log->control->next) == next)
		complain(check, MMAPDEV_LOG_SEGMENT, offset_in(check, segment));
}

static void check_all(struct check *check)
{
	struct mmapdev_log *log = &check->log;
	uint64_t end = load(&log->control->next), place;

	if (log->ring)
		end = log->ring;
	else
		check_next(check, end);
	/* Once is enough for all that are not there. */
	for (place = 0; place < end && place <= log->places; place++)
		check_segment(check, place);
}

static int start(struct check *check)
{
	struct mmapdev_log *log = &check->log;
	const struct log_super *super = &log->super;

	log->segment = super->segment;
	log->ring = super->ring;
	log->flags = super->flags;
	/* The last may be cut. */
	log->places = (log->window - LOG_HEADER + log->segment - 1) /
		      log->segment;
	log->control = (void *)(log->base + LOG_CONTROL);
	log->slot = (void *)(log->base + LOG_SLOTS_AT);
	if (log->flags & MMAPDEV_LOG_CRC) {
		log->table = malloc(sizeof(*log->table));
		if (!log->table)
			return -ENOMEM;
		mmapdev_crc32c_init(log->table);
	}
	check_all(check);
	free(log->table);
	return 0;
}

int mmapdev_log_verify(struct mmapdev *dev, struct mmapdev_log_report *report)
{
	struct mmapdev_map_opts o = {
		.sz = sizeof(o),
		.flags = MMAPDEV_MAP_READONLY,
	};
	struct mmapdev_info info = { .sz = sizeof(info) };
	struct check check = { .report.problem = MMAPDEV_LOG_SOUND };
	uint32_t problem = MMAPDEV_LOG_NOTHING;
	int ret;

	if (!dev || !report)
		return -EINVAL;
	ret = mmapdev_get_info(dev, &info);
	if (!ret && info.size)
		ret = mmapdev_map(dev, &o, &check.log.map);
	if (ret)
		return ret;
	if (info.size) {
		check.log.dev = dev;
		check.log.base = mmapdev_map_addr(check.log.map);
		check.log.window = mmapdev_map_size(check.log.map);
		problem = mmapdev_log_judge(check.log.base, check.log.window,
					    &check.log.super);
	}
	if (problem == MMAPDEV_LOG_SOUND)
		ret = start(&check);
	else
		complain(&check, problem, 0);
	mmapdev_unmap(check.log.map);
	return ret ? ret : mmapdev_struct_out(report, sizeof(check.report),
					      REPORT_FIRST, &check.report);
}
