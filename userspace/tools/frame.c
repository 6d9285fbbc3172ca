// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * A frame of the command watch: figures, the map, what its signs mean.
 *
 * Each state has a letter of its own, so that nothing is lost without colours.
 * The width of a row is a power of two: offsets are round, as in a hex dump.
 * The buffer decides the scale; its window gets two rows at most.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "watch.h"

#define LABEL 8 /* columns of the offset, before a row */
#define BLOCK 8 /* cells between blanks */
#define WINDOW_ROWS 2
#define HEAD 4 /* lines above the map */

static const char *const colours[] = {
	[LOOK_HOLE] = "90",
	[LOOK_PARTLY] = "32",
	[LOOK_RESIDENT] = "30;42",
	[LOOK_RESIDENT_HUGE] = "30;46",
	[LOOK_WRITTEN] = "30;43",
	[LOOK_WRITTEN_HUGE] = "97;45",
	[LOOK_STORED] = "36",
	[LOOK_WINDOW] = "34",
};

/* What is printed so far. */
struct page {
	const struct terminal *term;
	int lines;
};

/* False when the screen is full. */
static bool begin_line(struct page *p)
{
	if (p->term->in_place && p->lines >= p->term->lines)
		return false;
	if (p->term->in_place && p->lines)
		putchar('\n');
	p->lines++;
	return true;
}

static void end_line(struct page *p)
{
	if (p->term->in_place)
		printf("\033[K");
	else
		putchar('\n');
}

__attribute__((format(printf, 2, 3)))
static void line(struct page *p, const char *format, ...)
{
	char text[1024];
	va_list args;
	int i;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (!begin_line(p))
		return;
	/* Names of files and processes are anybody's. */
	for (i = 0; text[i] && i < p->term->columns; i++)
		putchar(isprint((unsigned char)text[i]) ? text[i] : '?');
	end_line(p);
}

static const char *short_text(uint64_t bytes, char text[32])
{
	if (bytes == MMAPDEV_UNKNOWN)
		snprintf(text, 32, "-");
	else
		short_size(bytes, text, 32);
	return text;
}

static void rate_text(const struct watch *w, double rate, char text[32])
{
	*text = '\0';
	if (w->has_rates)
		snprintf(text, 32, " (%.*f/s)", rate < 10 ? 1 : 0, rate);
}

static void print_holders_line(struct page *p, const struct watch *w)
{
	char text[512] = "";
	size_t i, length = 0;

	for (i = 0; i < w->holders.count && length < sizeof(text); i++) {
		const struct holder *h = &w->holders.list[i];

		length += snprintf(text + length, sizeof(text) - length,
				   "%s%s %d%s", i ? ", " : "", h->name, h->pid,
				   h->mapped ? " (mapped)" : "");
	}
	line(p, "held by %s%s", *text ? text : "nobody else",
	     !w->holders.partial ? "" :
	     *text		 ? ", perhaps others" :
				   " that can be seen");
}

static void print_scale(struct page *p, const struct watch *w)
{
	const struct mmapdev_info *info = &w->survey.info;
	uint64_t shown = w->cells.count * w->cells.group * info->page_size;
	char text[32], rest[64] = "";

	if (info->max_size != MMAPDEV_UNKNOWN && info->max_size > shown) {
		short_size(info->max_size - shown, text, sizeof(text));
		snprintf(rest, sizeof(rest), "; %s more of the window", text);
	}
	short_size(w->cells.group * info->page_size, text, sizeof(text));
	line(p, "a cell is %" PRIu64 " page%s, %s%s%s", w->cells.group,
	     w->cells.group > 1 ? "s" : "", text, rest,
	     p->term->in_place ? "; q quits" : "");
}

static void print_head(struct page *p, const struct watch *w)
{
	const struct mmapdev_info *info = &w->survey.info;
	char size[32], most[32], resident[32], dirty[32], rate[32], rate2[32];

	short_text(info->size, size);
	short_text(info->max_size, most);
	short_text(info->resident, resident);
	short_text(info->dirty, dirty);
	rate_text(w, w->faults_rate, rate);
	rate_text(w, w->mkwrites_rate, rate2);
	if (info->kind == MMAPDEV_KIND_FILE) {
		line(p, "%s  size %s", w->path, size);
		line(p, "a file: nobody counts its faults, writes and commits");
	} else {
		line(p, "%s  size %s  max_size %s  resident %s  dirty %s  commit_seq %"
		     PRIu64, w->path, size, most, resident, dirty,
		     info->commit_seq);
		line(p, "faults %" PRId64 "%s  mkwrites %" PRId64 "%s  maps %"
		     PRId64 "  resizes %" PRId64 "  punches %" PRId64,
		     info->faults, rate, info->mkwrites, rate2, info->maps,
		     info->resizes, info->punches);
	}
	print_holders_line(p, w);
	print_scale(p, w);
}

static void set_colour(const struct terminal *term, const char *colour)
{
	if (term->colour)
		printf("\033[%sm", colour);
}

static void print_cell(const struct watch *w, const struct terminal *term,
		       const struct cell *cell, const char **colour)
{
	char letter = cell_letter(cell, w->now);
	const char *wanted = colours[cell_look(cell)];

	if (letter == '*')
		wanted = "97;41";
	if (*colour != wanted)
		set_colour(term, "0");
	if (*colour != wanted)
		set_colour(term, wanted);
	*colour = wanted;
	putchar(letter);
}

static int row_width(const struct terminal *term)
{
	int width = 8;

	/* With a blank between blocks, and one before each. */
	while (LABEL + 2 * width + 2 * width / BLOCK <= term->columns)
		width *= 2;
	return width;
}

static void print_rows(struct page *p, const struct watch *w)
{
	size_t width = row_width(p->term), first, i;
	char label[32];

	for (first = 0; first < w->cells.count; first += width) {
		const char *colour = NULL;

		if (!begin_line(p))
			return;
		short_size(first * w->cells.group * w->survey.info.page_size,
			   label, sizeof(label));
		printf("%*s", LABEL, label);
		for (i = first; i < first + width && i < w->cells.count; i++) {
			if (i % BLOCK == 0) {
				set_colour(p->term, "0");
				putchar(' ');
				colour = NULL;
			}
			print_cell(w, p->term, &w->cells.list[i], &colour);
		}
		set_colour(p->term, "0");
		end_line(p);
	}
}

/* An entry of the legend; a look, or the letters without one. */
struct entry {
	enum look look;
	const char *letters, *colour, *text;
	bool shown;
};

#define ENTRIES 10

static void list_entries(const struct watch *w, struct entry *e, bool grouped)
{
	const struct mmapdev_info *info = &w->survey.info;
	bool device = info->kind == MMAPDEV_KIND_DEVICE, huge = w->survey.view;
	const struct entry all[ENTRIES] = {
		{ LOOK_HOLE, NULL, NULL, "hole", true },
		{ LOOK_STORED, NULL, NULL, "data, not in memory", !device },
		{ LOOK_PARTLY, NULL, NULL, "partly in memory", grouped },
		{ LOOK_RESIDENT, NULL, NULL, "in memory", true },
		{ LOOK_RESIDENT_HUGE, NULL, NULL, "in huge folios", huge },
		{ LOOK_WRITTEN, NULL, NULL,
		  "written since the bitmap was last cleared",
		  device && !w->survey.unknown.written },
		{ LOOK_WRITTEN_HUGE, NULL, NULL, "in huge folios", huge },
		{ LOOK_WINDOW, NULL, NULL, "beyond the size",
		  device && info->max_size > info->size },
		{ LOOK_HOLE, "*", "97;41", "touched since the last frame",
		  !w->no_faults },
		{ LOOK_HOLE, "+", "0", "in the last 5 s", !w->no_faults },
	};

	memcpy(e, all, sizeof(all));
}

/* Returns the lines that it takes; only counts them where @p is NULL. */
static int print_legend(struct page *p, const struct watch *w,
			const struct terminal *term, bool grouped)
{
	struct entry entries[ENTRIES];
	int column = 0, lines = 0;
	size_t i;

	list_entries(w, entries, grouped);
	for (i = 0; i < ENTRIES; i++) {
		const struct entry *e = &entries[i];
		int length = strlen(e->text) + 2;

		if (!e->shown)
			continue;
		if (!column || column + 2 + length > term->columns) {
			if (p && column)
				end_line(p);
			if (p && !begin_line(p))
				return lines;
			lines++;
			column = 0;
		} else {
			column += 2;
			if (p)
				printf("  ");
		}
		column += length;
		if (!p)
			continue;
		set_colour(term, e->letters ? e->colour : colours[e->look]);
		putchar(e->letters ? *e->letters : look_letter(e->look));
		set_colour(term, "0");
		printf(" %s", e->text);
	}
	if (p && column)
		end_line(p);
	return lines;
}

/* Returns the lines that it takes; only counts them where @p is NULL. */
static int print_notes(struct page *p, const struct watch *w)
{
	bool device = w->survey.info.kind == MMAPDEV_KIND_DEVICE;
	const struct {
		const char *what, *why;
	} notes[] = {
		{ "in memory", w->survey.unknown.resident },
		/* Of a file the legend does not have them either. */
		{ "written", device ? w->survey.unknown.written : NULL },
		{ "huge folios", device ? w->survey.unknown.huge : NULL },
		{ "faults", device ? w->no_faults : NULL },
	};
	int lines = !!w->lost;
	size_t i;

	for (i = 0; i < sizeof(notes) / sizeof(notes[0]); i++) {
		lines += !!notes[i].why;
		if (p && notes[i].why)
			line(p, "%s: unknown, %s", notes[i].what,
			     notes[i].why);
	}
	if (p && w->lost)
		line(p, "%" PRIu64 " faults were too many to be shown",
		     w->lost);
	return lines;
}

static void print_foot(struct page *p, const struct watch *w)
{
	line(p, "%s", "");
	print_legend(p, w, p->term, w->cells.group > 1);
	print_notes(p, w);
}

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

void frame_layout(const struct watch *w, const struct terminal *term,
		  uint64_t *pages, uint64_t *group)
{
	const struct mmapdev_info *info = &w->survey.info;
	uint64_t size = info->page_size, width = row_width(term), most;
	uint64_t used = (info->size + size - 1) / size;
	int rows;

	/* All that is below the map, were there something of everything. */
	rows = term->lines - HEAD - 1 - print_legend(NULL, w, term, true) -
	       print_notes(NULL, w);
	if (rows < 3)
		rows = term->lines > HEAD + 1 ? term->lines - HEAD : 1;
	for (*group = 1; (used + *group - 1) / *group > width * rows;)
		*group *= 2;

	most = round_up(used, width * *group) + WINDOW_ROWS * width * *group;
	if (most > rows * width * *group)
		most = rows * width * *group;
	*pages = info->max_size == MMAPDEV_UNKNOWN ? used :
						     info->max_size / size;
	if (*pages > most)
		*pages = most;
}

void frame_print(const struct watch *w, const struct terminal *term)
{
	struct page p = { .term = term };

	if (term->in_place)
		printf("\033[H");
	print_head(&p, w);
	print_rows(&p, w);
	print_foot(&p, w);
	if (term->in_place)
		printf("\033[J");
}
