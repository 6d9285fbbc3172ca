// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The command watch: look, show, wait for the time or a key.
 *
 * It is an observer: it clears no record of what was written and fills no hole.
 * However it ends, the terminal is as before and nothing is traced any more.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <mmapdev.h>

#include "faults.h"
#include "target.h"
#include "watch.h"

#define INTERVAL_LEAST_MS 50
#define HOLDERS_MS 2000
#define JSON_CELLS ((uint64_t)1 << 16)

struct options {
	uint64_t interval; /* milliseconds */
	uint64_t frames;   /* 0: until the end */
	bool json;
};

/* The last frame, which rates are counted from. */
struct last {
	uint64_t at, faults, mkwrites;
	uint64_t holders_at;
};

static int parse_watch(int argc, char **argv, struct options *o,
		       const char **path)
{
	static const struct option options[] = {
		{ "interval", required_argument, NULL, 'i' },
		{ "frames", required_argument, NULL, 'f' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = next_option(argc, argv, ":", options)) != -1) {
		if (option == '?')
			return EXIT_USAGE;
		if (option == 'j')
			o->json = true;
		if (option == 'i' &&
		    (!parse_seconds(optarg, &o->interval) ||
		     o->interval < INTERVAL_LEAST_MS || o->interval > INT_MAX))
			return usage("--interval %s: want seconds from 0.05 on, as 1 or 0.2",
				     optarg);
		if (option == 'f' &&
		    (!parse_u64(optarg, &o->frames) || !o->frames))
			return usage("--frames %s: want a number of frames, from 1 on",
				     optarg);
	}
	if (argc - optind > 1)
		return usage("one DEVICE at a time, not also '%s'",
			     argv[optind + 1]);
	if (optind < argc)
		*path = argv[optind];
	if (!o->frames && (o->json || !isatty(STDOUT_FILENO)))
		o->frames = 1;
	return 0;
}

static void find_holders_again(struct watch *w, struct last *last)
{
	if (last->holders_at && w->now - last->holders_at < HOLDERS_MS)
		return;
	free(w->holders.list);
	memset(&w->holders, 0, sizeof(w->holders));
	find_holders(w->path, &w->holders);
	last->holders_at = w->now;
}

static void set_rates(struct watch *w, struct last *last)
{
	const struct mmapdev_info *info = &w->survey.info;
	double seconds = (w->now - last->at) / 1000.0;

	w->has_rates = last->at && seconds > 0 &&
		       info->faults != MMAPDEV_UNKNOWN;
	if (w->has_rates) {
		w->faults_rate = (info->faults - last->faults) / seconds;
		w->mkwrites_rate = (info->mkwrites - last->mkwrites) / seconds;
	}
	last->at = w->now;
	last->faults = info->faults;
	last->mkwrites = info->mkwrites;
}

static void touch(void *arg, uint64_t page, bool mkwrite)
{
	struct watch *w = arg;

	cells_touch(&w->cells, page, mkwrite, w->now);
}

static int make_cells(struct watch *w, const struct terminal *term, bool json)
{
	const struct mmapdev_info *info = &w->survey.info;
	uint64_t pages, group = 1;

	frame_layout(w, term, &pages, &group);
	if (json) {
		pages = info->max_size == MMAPDEV_UNKNOWN ? info->size :
							    info->max_size;
		pages = (pages + info->page_size - 1) / info->page_size;
		for (group = 1; pages / group > JSON_CELLS;)
			group *= 2;
	}
	return cells_resize(&w->cells, pages, group);
}

/* @again: the same frame, on a screen of another size. */
static int look(struct watch *w, struct faults *faults, struct last *last,
		const struct terminal *term, bool json, bool again)
{
	int ret;

	w->now = now_ms();
	w->survey.info.sz = sizeof(w->survey.info);
	ret = mmapdev_get_info(w->survey.dev, &w->survey.info);
	if (!ret)
		ret = make_cells(w, term, json);
	if (ret)
		return ret;
	cells_clear(&w->cells);
	faults_read(faults, touch, w);
	w->lost = faults->lost;
	if (!json)
		ret = survey_walk(&w->survey, cells_add, &w->cells);
	if (!again)
		set_rates(w, last);
	find_holders_again(w, last);
	return ret;
}

static int show(struct watch *w, const struct terminal *term, bool json,
		bool first)
{
	int ret = 0;

	if (json)
		ret = print_json_frame(w);
	else if (!first && !term->in_place)
		putchar('\n');
	if (!json)
		frame_print(w, term);
	if (fflush(stdout) || ferror(stdout))
		return -EPIPE;
	return ret;
}

static int loop(struct watch *w, const struct options *o,
		struct faults *faults, struct terminal *term)
{
	struct last last = { .at = 0 };
	enum event event = EVENT_TIME;
	uint64_t frames = 0, due = 0;
	int ret = 0;

	do {
		terminal_measure(term);
		ret = look(w, faults, &last, term, o->json,
			   event == EVENT_REDRAW);
		if (!ret)
			ret = show(w, term, o->json, !frames);
		if (event != EVENT_REDRAW) {
			frames++;
			due = w->now + o->interval;
		}
		if (ret || frames == o->frames)
			break;
		event = EVENT_TIME;
		while (event == EVENT_TIME && now_ms() < due)
			event = terminal_wait(due - now_ms());
	} while (event != EVENT_QUIT);
	return ret;
}

static int watch(struct target *t, const struct options *o)
{
	static struct faults faults = { .pipe = -1 };
	struct watch w = { .path = t->path };
	struct terminal term = { .in_place = false };
	int ret;

	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	survey_open(&w.survey, t->dev, &t->info);
	terminal_begin(&term);
	if (o->frames == 1)
		w.no_faults = "one frame shows none: --frames 2";
	else
		w.no_faults = faults_begin(&faults, t->path);

	ret = loop(&w, o, &faults, &term);

	faults_end(&faults);
	terminal_end();
	survey_close(&w.survey);
	free(w.cells.list);
	free(w.holders.list);
	mmapdev_close(t->dev);
	if (ret == -ENODEV)
		error("%s: the device was removed meanwhile", t->path);
	else if (ret && ret != -EPIPE)
		error("%s: cannot look at it: %s", t->path, strerror(-ret));
	terminal_die();
	return ret ? EXIT_FAILURE : 0;
}

static int run_watch(int argc, char **argv)
{
	struct options o = { .interval = 1000 };
	struct target t = { .path = DEVICE };

	if (parse_watch(argc, argv, &o, &t.path))
		return EXIT_USAGE;
	if (open_target(&t, O_RDONLY))
		return EXIT_FAILURE;
	return watch(&t, &o);
}

const struct command watch_command = {
	"watch",
	"[DEVICE] [--interval SEC] [--frames N] [--json]",
	"Show a live map of the buffer: which pages are in memory, were written since\n"
	"the dirty bitmap was last cleared, are in huge folios, lie beyond the size, and\n"
	"where faults land; with the figures of info. q quits. Where the buffer has more\n"
	"pages than the screen has cells, a cell is a group of pages.\n"
	"\n"
	"Looking changes nothing: no hole is filled, no record cleared. As root it also\n"
	"shows faults (tracefs) and huge folios. Not on a terminal, and with --json, it\n"
	"is one frame unless --frames says otherwise; the first knows of no faults yet.\n"
	"\n"
	"  mmapdevctl watch\n"
	"  mmapdevctl watch " DEVICE "1 --interval 0.2\n"
	"  mmapdevctl watch --json | jq '.map[] | select(.written)'\n",
	run_watch,
};
