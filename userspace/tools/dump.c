// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The command dump, in the form that hexdump -C gave the world.
 *
 * It reads by pread(2) and not by a map: reading a hole leaves it a hole.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "target.h"

#define DUMP_DEFAULT 256
#define DUMP_LINE 16

static void print_line(uint64_t offset, const unsigned char *line, size_t n)
{
	size_t i;

	printf("%08" PRIx64, offset);
	for (i = 0; i < DUMP_LINE; i++) {
		fputs(i % 8 ? " " : "  ", stdout);
		if (i < n)
			printf("%02x", line[i]);
		else
			fputs("  ", stdout);
	}
	fputs("  |", stdout);
	for (i = 0; i < n; i++)
		putchar(line[i] >= ' ' && line[i] < 0x7f ? line[i] : '.');
	fputs("|\n", stdout);
}

/* Lines equal to the one before become a single star. */
struct dump {
	unsigned char last[DUMP_LINE];
	bool any, star;
};

static void print_lines(struct dump *d, uint64_t offset,
			const unsigned char *data, size_t length)
{
	size_t at, n;

	for (at = 0; at < length; at += n) {
		n = length - at < DUMP_LINE ? length - at : DUMP_LINE;
		if (d->any && n == DUMP_LINE &&
		    !memcmp(d->last, data + at, DUMP_LINE)) {
			if (!d->star)
				puts("*");
			d->star = true;
			continue;
		}
		print_line(offset + at, data + at, n);
		memcpy(d->last, data + at, n);
		d->any = n == DUMP_LINE;
		d->star = false;
	}
}

/* A whole number of lines, but for the last: read(2) may stop anywhere. */
static ssize_t read_full(int fd, unsigned char *buf, size_t length,
			 uint64_t offset)
{
	size_t done = 0;

	while (done < length) {
		ssize_t n = pread(fd, buf + done, length - done, offset + done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -ENXIO;
		done += n;
	}
	return done;
}

void print_dump(uint64_t offset, const void *data, size_t length)
{
	struct dump d = { .any = false };

	print_lines(&d, offset, data, length);
}

static int dump(const struct target *t)
{
	static unsigned char buf[64 << 10];
	uint64_t offset = t->offset, left = t->length;
	struct dump d = { .any = false };
	ssize_t n;

	if (t->json) {
		print_json_range(t);
		printf(", \"data\": \"");
	}
	for (; left && !ferror(stdout); offset += n, left -= n) {
		n = read_full(mmapdev_fd(t->dev), buf,
			      left < sizeof(buf) ? left : sizeof(buf), offset);
		if (n < 0)
			return n;
		if (t->raw)
			fwrite(buf, 1, n, stdout);
		else if (t->json)
			print_hex(buf, n);
		else
			print_lines(&d, offset, buf, n);
	}
	if (t->json)
		printf("\"}\n");
	else if (!t->raw && t->length)
		printf("%08" PRIx64 "\n", offset);
	return 0;
}

static int run_dump(int argc, char **argv)
{
	struct target t = { .path = DEVICE };

	if (parse_target(argc, argv, "olrj", &t))
		return EXIT_USAGE;
	if (t.raw && t.json)
		return usage("--raw writes the bytes, --json prints them: want one of them");
	if (argc - optind > 1)
		return usage("one DEVICE at a time, not also '%s'",
			     argv[optind + 1]);
	if (optind < argc)
		t.path = argv[optind];
	if (open_range(&t, O_RDONLY, t.raw ? UINT64_MAX : DUMP_DEFAULT))
		return EXIT_FAILURE;

	return finish(&t, "read", dump(&t));
}

const struct command dump_command = {
	"dump",
	"[DEVICE] [--offset N] [--length N] [--raw|--json]",
	"Print the content as hexdump -C does, 256 bytes unless --length says\n"
	"otherwise; lines equal to the one before become one star. --raw writes the\n"
	"bytes themselves, to the end unless --length says otherwise; --json has them\n"
	"in hexadecimal.\n"
	"\n"
	"  mmapdevctl dump\n"
	"  mmapdevctl dump --offset 1M --length 4K\n"
	"  mmapdevctl dump --raw > copy\n",
	run_dump,
};
