// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* A frame of the command watch, for programs: all runs of like pages. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "watch.h"

static const char *state_name(unsigned int state)
{
	if (state & PAGE_WINDOW)
		return "window";
	if (state & PAGE_RESIDENT)
		return "resident";
	return state & PAGE_DATA ? "stored" : "hole";
}

static void print_bool(const char *name, bool value, bool known)
{
	printf(", \"%s\": %s", name,
	       !known ? "null" : value ? "true" : "false");
}

static void print_run(void *arg, uint64_t first, uint64_t count,
		      unsigned int state)
{
	const struct watch *w = arg;
	uint64_t size = w->survey.info.page_size;

	printf("%s{\"offset\": %" PRIu64 ", \"length\": %" PRIu64
	       ", \"state\": \"%s\"", first ? ", " : "", first * size,
	       count * size, state_name(state));
	print_bool("written", state & PAGE_WRITTEN, !w->survey.unknown.written);
	print_bool("huge", state & PAGE_HUGE, !w->survey.unknown.huge);
	printf("}");
}

static void print_u64(const char *name, uint64_t value)
{
	if (value == MMAPDEV_UNKNOWN)
		printf(", \"%s\": null", name);
	else
		printf(", \"%s\": %" PRIu64, name, value);
}

static void print_rate(const char *name, double value, bool known)
{
	if (known)
		printf(", \"%s\": %.1f", name, value);
	else
		printf(", \"%s\": null", name);
}

static void print_why(const char *before, const char *name, const char *why)
{
	printf("%s\"%s\": ", before, name);
	if (why)
		print_json_string(why);
	else
		printf("null");
}

static void print_touched(const struct watch *w)
{
	uint64_t bytes = w->cells.group * w->survey.info.page_size;
	const char *before = "";
	size_t i;

	if (w->no_faults) {
		printf(", \"touched\": null");
		return;
	}
	printf(", \"touched\": [");
	for (i = 0; i < w->cells.count; i++) {
		const struct cell *c = &w->cells.list[i];

		if (!c->faults && !c->mkwrites)
			continue;
		printf("%s{\"offset\": %" PRIu64 ", \"length\": %" PRIu64
		       ", \"faults\": %" PRIu64 ", \"mkwrites\": %" PRIu64 "}",
		       before, i * bytes, bytes, c->faults, c->mkwrites);
		before = ", ";
	}
	printf("], \"lost\": %" PRIu64, w->lost);
}

int print_json_frame(struct watch *w)
{
	const struct mmapdev_info *info = &w->survey.info;
	int ret;

	printf("{\"path\": ");
	print_json_string(w->path);
	print_u64("page_size", info->page_size);
	print_u64("size", info->size);
	print_u64("max_size", info->max_size);
	print_u64("resident", info->resident);
	print_u64("dirty", info->dirty);
	print_u64("commit_seq", info->commit_seq);
	print_u64("faults", info->faults);
	print_u64("mkwrites", info->mkwrites);
	print_rate("faults_per_second", w->faults_rate, w->has_rates);
	print_rate("mkwrites_per_second", w->mkwrites_rate, w->has_rates);
	print_touched(w);
	print_json_holders(&w->holders);
	printf(", \"map\": [");
	ret = survey_walk(&w->survey, print_run, w);
	/* After the map: some of it only the walk finds out. */
	print_why("], \"unknown\": {", "resident", w->survey.unknown.resident);
	print_why(", ", "written", w->survey.unknown.written);
	print_why(", ", "huge", w->survey.unknown.huge);
	print_why(", ", "touched", w->no_faults);
	printf("}}\n");
	return ret;
}
