// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Text in and out: numbers and sizes, misspelt names, JSON; the time. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ctl.h"

#define NAME_MAX_LENGTH 31

static bool parse_prefix(const char *text, uint64_t *value, char **end)
{
	/* strtoull() itself takes blanks and a sign. */
	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	*value = strtoull(text, end, 0);
	return !errno;
}

bool parse_u64(const char *text, uint64_t *value)
{
	char *end;

	return parse_prefix(text, value, &end) && !*end;
}

bool parse_size(const char *text, uint64_t *value)
{
	static const char units[] = "KMG";
	const char *unit;
	uint64_t number;
	char *end;

	if (!parse_prefix(text, &number, &end))
		return false;
	*value = number;
	if (!*end)
		return true;

	unit = strchr(units, toupper((unsigned char)*end));
	if (!unit || end[1])
		return false;
	return !__builtin_mul_overflow(number,
				       (uint64_t)1 << 10 * (unit - units + 1),
				       value);
}

bool parse_seconds(const char *text, uint64_t *ms)
{
	double seconds;
	char *end;

	/* strtod() itself takes blanks, a sign and "inf". */
	if (!isdigit((unsigned char)*text))
		return false;
	seconds = strtod(text, &end);
	*ms = seconds <= 366 * 86400 ? (uint64_t)(seconds * 1000) : 0;
	return !*end && seconds <= 366 * 86400;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* How many letters to add, drop or change, row by row of the usual table. */
static size_t distance(const char *a, const char *b)
{
	size_t row[NAME_MAX_LENGTH + 1], width = strlen(b), i, j;

	if (strlen(a) > NAME_MAX_LENGTH || width > NAME_MAX_LENGTH)
		return SIZE_MAX;
	for (j = 0; j <= width; j++)
		row[j] = j;
	for (i = 1; a[i - 1]; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (j = 1; j <= width; j++) {
			size_t change = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			row[j] = least(change,
				       least(row[j], row[j - 1]) + 1);
		}
	}
	return row[width];
}

const char *nearest(const char *name, const char *const *names)
{
	const char *best = NULL;
	size_t closest = 3;

	for (; *names; names++) {
		size_t d = distance(name, *names);

		if (d < closest && d < strlen(*names)) {
			closest = d;
			best = *names;
		}
	}
	return best;
}

void print_json_string(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		unsigned char c = *text;

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

size_t utf8_length(const void *text, size_t length)
{
	/* The least that so many bytes may stand for. */
	static const uint32_t least_of[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *p = text;
	size_t n, i;
	uint32_t c;

	if (!length)
		return 0;
	n = *p < 0x80 ? 1 : *p >> 5 == 6 ? 2 : *p >> 4 == 14 ? 3 :
	    *p >> 3 == 30 ? 4 : 0;
	if (n < 2 || n > length)
		return n == 1;
	c = *p & (0x7f >> n);
	for (i = 1; i < n; i++) {
		if (p[i] >> 6 != 2)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	return c < least_of[n] || c > 0x10ffff || c >> 11 == 0x1b ? 0 : n;
}

void print_json_text(const void *text, size_t length)
{
	const unsigned char *p = text, *end = p + length;
	size_t n, i;
	uint32_t c;

	putchar('"');
	for (; (n = utf8_length(p, end - p)); p += n) {
		c = n > 1 ? *p & (0x7f >> n) : *p;
		for (i = 1; i < n; i++)
			c = c << 6 | (p[i] & 0x3f);
		if (c > 0xffff)
			printf("\\u%04x\\u%04x", 0xd7c0 + (c >> 10),
			       0xdc00 + (c & 0x3ff));
		else if (c < 0x20 || c >= 0x7f)
			printf("\\u%04x", c);
		else
			printf(c == '"' || c == '\\' ? "\\%c" : "%c", c);
	}
	putchar('"');
}

void print_hex(const void *data, size_t length)
{
	const unsigned char *p = data;
	size_t i;

	for (i = 0; i < length; i++)
		printf("%02x", p[i]);
}

void print_size(uint64_t bytes)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB" };
	size_t unit;

	printf("%" PRIu64, bytes);
	for (unit = 3; unit < 4; unit--) {
		uint64_t one = (uint64_t)1 << 10 * (unit + 1);

		if (bytes && bytes % one == 0) {
			printf(" (%" PRIu64 " %s)", bytes / one, units[unit]);
			return;
		}
	}
}

void short_size(uint64_t bytes, char *text, size_t size)
{
	static const char units[] = "KMGT";
	const char *unit = "";
	size_t i;

	for (i = 0; i < 4 && bytes && bytes % 1024 == 0; i++) {
		bytes /= 1024;
		unit = units + i;
	}
	snprintf(text, size, "%" PRIu64 "%.1s", bytes, unit);
}

uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
