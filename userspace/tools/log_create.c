// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* The command log create. */
#include <inttypes.h>
#include <stdio.h>

#include "ctl.h"
#include "log.h"

#define SEGMENT_MIN 4096
#define SEGMENT_MAX (16 << 20)
#define RING_MAX 1024

static int parse_segment(const char *text, uint32_t *segment)
{
	uint64_t size;

	if (!parse_size(text, &size) || size < SEGMENT_MIN ||
	    size > SEGMENT_MAX || size & (size - 1))
		return usage("--segment %s: want a power of two from 4K to 16M",
			     text);
	*segment = size;
	return 0;
}

static int parse_ring(const char *text, uint32_t *ring)
{
	uint64_t count;

	if (!parse_u64(text, &count) || count < 2 || count > RING_MAX)
		return usage("--ring %s: want a number of segments, from 2 to %d",
			     text, RING_MAX);
	*ring = count;
	return 0;
}

static int parse(int argc, char **argv, struct mmapdev_log_opts *opts,
		 struct target *t)
{
	static const struct option options[] = {
		{ "ordered", no_argument, NULL, 'o' },
		{ "ring", required_argument, NULL, 'r' },
		{ "segment", required_argument, NULL, 's' },
		{ "crc", no_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = next_option(argc, argv, ":", options)) != -1) {
		if (option == '?')
			return EXIT_USAGE;
		if (option == 'j')
			t->json = true;
		if (option == 'o')
			opts->flags |= MMAPDEV_LOG_ORDERED;
		if (option == 'c')
			opts->flags |= MMAPDEV_LOG_CRC;
		if (option == 'r' && parse_ring(optarg, &opts->ring))
			return EXIT_USAGE;
		if (option == 's' && parse_segment(optarg, &opts->segment))
			return EXIT_USAGE;
	}
	return log_path(argc, argv, false, t);
}

static void print_made(const struct target *t,
		       const struct mmapdev_log_info *info)
{
	bool ordered = info->flags & MMAPDEV_LOG_ORDERED;
	bool crc = info->flags & MMAPDEV_LOG_CRC;

	if (t->json) {
		printf("{\"path\": ");
		print_json_string(t->path);
		printf(", \"ordered\": %s, \"crc\": %s, \"segment\": %" PRIu32
		       ", \"ring\": ", ordered ? "true" : "false",
		       crc ? "true" : "false", info->segment);
		if (info->ring)
			printf("%" PRIu32 "}\n", info->ring);
		else
			printf("null}\n");
		return;
	}
	printf("%s: %s log%s, ", t->path, ordered ? "an ordered" : "a",
	       crc ? " with checksums" : "");
	if (info->ring)
		printf("a ring of %" PRIu32 " segments of ", info->ring);
	else
		printf("which grows by segments of ");
	print_size(info->segment);
	putchar('\n');
}

static int run(int argc, char **argv)
{
	struct mmapdev_log_info info = { .sz = sizeof(info) };
	struct mmapdev_log_opts opts = { .sz = sizeof(opts) };
	struct target t = { .path = NULL };
	struct mmapdev_log *log;
	int ret;

	if (parse(argc, argv, &opts, &t))
		return EXIT_USAGE;
	if (make_log(&t, &opts, true, &log))
		return EXIT_FAILURE;
	ret = mmapdev_log_get_info(log, &info);
	if (!ret)
		print_made(&t, &info);
	return close_log(&t, log,
			 ret ? log_failed(&t, "look at the log", ret) : 0);
}

const struct command log_create_command = {
	"log create",
	"[--ordered] [--ring SEGMENTS] [--segment SIZE] [--crc] [--json] PATH",
	"Make a log: many processes append records to it at once, and one that is\n"
	"killed at it loses nothing that was acknowledged. PATH is a file, which may\n"
	"be new, or a device; it grows, and must hold nothing but zeros.\n"
	"\n"
	"  --ordered        one order of all writers' records; slower with many.\n"
	"                   Else each writer's records keep their order, no more\n"
	"  --ring SEGMENTS  2 to 1024: does not grow, the oldest is overwritten\n"
	"  --segment SIZE   4K to 16M, 64K unless said otherwise; a record has room\n"
	"                   in a segment, less 80 bytes\n"
	"  --crc            a checksum of each record; log append --sync needs them\n"
	"\n"
	"  mmapdevctl log create some.log\n"
	"  mmapdevctl log create --crc --ordered orders.log\n"
	"  mmapdevctl log create --ring 16 --segment 1M " DEVICE "\n",
	run,
};
