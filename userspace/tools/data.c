// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Commands on the content, and what they share: info, fill, sum. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <mmapdev.h>

#include "ctl.h"
#include "target.h"

static const struct option options[] = {
	{ "offset", required_argument, NULL, 'o' },
	{ "length", required_argument, NULL, 'l' },
	{ "json", no_argument, NULL, 'j' },
	{ "raw", no_argument, NULL, 'r' },
	{ "follow", no_argument, NULL, 'f' },
	{ "pid", required_argument, NULL, 'p' },
	{ NULL, 0, NULL, 0 },
};

static int refuse(int option)
{
	size_t i = 0;

	while (options[i].val != option)
		i++;
	return usage("--%s is not an option here", options[i].name);
}

int parse_target(int argc, char **argv, const char *takes, struct target *t)
{
	int option;

	while ((option = next_option(argc, argv, ":", options)) != -1) {
		if (option == '?')
			return EXIT_USAGE;
		if (!strchr(takes, option))
			return refuse(option);
		if (option == 'j')
			t->json = true;
		if (option == 'r')
			t->raw = true;
		if (option == 'f')
			t->follow = true;
		if (option == 'p' && (!parse_u64(optarg, &t->pid) || !t->pid ||
				      t->pid > INT_MAX))
			return usage("--pid %s: want the number of a process",
				     optarg);
		if (option == 'o' && !parse_size(optarg, &t->offset))
			return usage("--offset %s: want bytes, as 4096 or 4K",
				     optarg);
		if (option == 'l' && !parse_size(optarg, &t->length))
			return usage("--length %s: want bytes, as 4096 or 4K",
				     optarg);
		t->has_offset |= option == 'o';
		t->has_length |= option == 'l';
	}
	return 0;
}

static const char *advice(const char *path, int err)
{
	if (err == -ENOENT && !strcmp(path, DEVICE))
		return " (is the module loaded? mmapdevctl load)";
	if (err == -ENOENT && !strncmp(path, DEVICE, strlen(DEVICE)))
		return " (which there are: mmapdevctl list)";
	if (err == -ENODEV)
		return " (neither an mmapdev device nor a regular file)";
	if (err == -EACCES && geteuid())
		return " (try as root, or load with node_mode=0666)";
	return "";
}

int open_target(struct target *t, int oflags)
{
	int ret;

	t->info.sz = sizeof(t->info);
	ret = mmapdev_open(t->path, oflags, &t->dev);
	if (ret) {
		error("%s: %s%s", t->path, strerror(-ret),
		      advice(t->path, ret));
		return EXIT_FAILURE;
	}
	ret = mmapdev_get_info(t->dev, &t->info);
	if (ret) {
		error("%s: %s", t->path, strerror(-ret));
		mmapdev_close(t->dev);
		return EXIT_FAILURE;
	}
	return 0;
}

int open_range(struct target *t, int oflags, uint64_t most)
{
	uint64_t rest;

	if (open_target(t, oflags))
		return EXIT_FAILURE;

	rest = t->offset <= t->info.size ? t->info.size - t->offset : 0;
	if (!t->has_length)
		t->length = rest < most ? rest : most;
	if (t->offset > t->info.size) {
		error("%s: --offset %" PRIu64
		      " is beyond its end, it has %" PRIu64 " bytes",
		      t->path, t->offset, t->info.size);
		mmapdev_close(t->dev);
		return EXIT_FAILURE;
	}
	if (t->length > rest) {
		error("%s: --length %" PRIu64 " at %" PRIu64
		      " goes beyond its end, it has %" PRIu64 " bytes",
		      t->path, t->length, t->offset, t->info.size);
		mmapdev_close(t->dev);
		return EXIT_FAILURE;
	}
	return 0;
}

void print_json_range(const struct target *t)
{
	printf("{\"path\": ");
	print_json_string(t->path);
	printf(", \"offset\": %" PRIu64 ", \"length\": %" PRIu64, t->offset,
	       t->length);
}

int finish(struct target *t, const char *what, int ret)
{
	if (ret)
		error("%s: cannot %s %" PRIu64 " bytes at %" PRIu64 ": %s",
		      t->path, what, t->length, t->offset, strerror(-ret));
	mmapdev_close(t->dev);
	return ret ? EXIT_FAILURE : 0;
}

static const char *kind_name(const struct mmapdev_info *info)
{
	return info->kind == MMAPDEV_KIND_DEVICE ? "device" : "file";
}

static const char *mode_name(const struct mmapdev_info *info)
{
	return info->mode == MMAPDEV_MODE_EAGER ? "eager" : "demand";
}

static const char *const huge_names[] = { "never", "advise", "always" };

static const char *huge_name(const struct mmapdev_info *info)
{
	return info->huge < 3 ? huge_names[info->huge] : "unknown";
}

/* @bytes: of bytes; else a count. */
static void print_figure(const char *name, uint64_t value, bool bytes,
			 bool json)
{
	if (json && value == MMAPDEV_UNKNOWN) {
		printf(", \"%s\": null", name);
	} else if (json) {
		printf(", \"%s\": %" PRIu64, name, value);
	} else if (value != MMAPDEV_UNKNOWN) {
		printf("  %-11s ", name);
		if (bytes)
			print_size(value);
		else
			printf("%" PRIu64, value);
		putchar('\n');
	}
}

static void print_info(const struct target *t)
{
	const struct mmapdev_info *info = &t->info;
	const struct {
		const char *name;
		uint64_t value;
		bool bytes;
	} figures[] = {
		{ "size", info->size, true },
		{ "max_size", info->max_size, true },
		{ "page_size", info->page_size, true },
		{ "folio_max", info->folio_max, true },
		{ "resident", info->resident, true },
		{ "dirty", info->dirty, true },
		{ "committed", info->committed, true },
		{ "commit_seq", info->commit_seq, false },
		{ "maps", info->maps, false },
		{ "faults", info->faults, false },
		{ "mkwrites", info->mkwrites, false },
		{ "resizes", info->resizes, false },
		{ "punches", info->punches, false },
	};
	size_t i;

	if (t->json) {
		printf("{\"path\": ");
		print_json_string(t->path);
		printf(", \"kind\": \"%s\", \"mode\": \"%s\"", kind_name(info),
		       mode_name(info));
	} else {
		printf("%s\n  %-11s %s\n  %-11s %s\n", t->path, "kind",
		       kind_name(info), "mode", mode_name(info));
	}
	if (t->json && info->kind == MMAPDEV_KIND_FILE)
		printf(", \"huge\": null");
	else if (t->json)
		printf(", \"huge\": \"%s\"", huge_name(info));
	else if (info->kind == MMAPDEV_KIND_DEVICE)
		printf("  %-11s %s\n", "huge", huge_name(info));
	for (i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
		print_figure(figures[i].name, figures[i].value,
			     figures[i].bytes, t->json);
	if (t->json)
		printf("}\n");
}

static int run_info(int argc, char **argv)
{
	struct target t = { .path = DEVICE };

	if (parse_target(argc, argv, "j", &t))
		return EXIT_USAGE;
	if (argc - optind > 1)
		return usage("one DEVICE at a time, not also '%s'",
			     argv[optind + 1]);
	if (optind < argc)
		t.path = argv[optind];
	if (open_target(&t, O_RDONLY))
		return EXIT_FAILURE;

	print_info(&t);
	mmapdev_close(t.dev);
	return 0;
}

static int run_fill(int argc, char **argv)
{
	struct target t = { .path = DEVICE };
	uint64_t pattern;
	int ret;

	if (parse_target(argc, argv, "olj", &t))
		return EXIT_USAGE;
	if (optind == argc)
		return usage("a PATTERN is needed, as 0 or 0xa5a5a5a5a5a5a5a5");
	if (argc - optind > 2)
		return usage("want [DEVICE] PATTERN, not also '%s'",
			     argv[optind + 2]);
	if (!parse_u64(argv[argc - 1], &pattern))
		return usage("PATTERN '%s': want a number of up to 64 bits, as 0xa5",
			     argv[argc - 1]);
	if (argc - optind == 2)
		t.path = argv[optind];
	if (open_range(&t, O_RDWR, UINT64_MAX))
		return EXIT_FAILURE;

	begin_progress("fill");
	ret = mmapdev_fill(t.dev, t.offset, t.length, pattern);
	end_progress();
	if (!ret && t.json) {
		print_json_range(&t);
		printf(", \"pattern\": \"%#" PRIx64 "\"}\n", pattern);
	}
	return finish(&t, "fill", ret);
}

static int run_sum(int argc, char **argv)
{
	struct target t = { .path = DEVICE };
	uint32_t crc = 0;
	int ret;

	if (parse_target(argc, argv, "olj", &t))
		return EXIT_USAGE;
	if (argc - optind > 1)
		return usage("one DEVICE at a time, not also '%s'",
			     argv[optind + 1]);
	if (optind < argc)
		t.path = argv[optind];
	if (open_range(&t, O_RDONLY, UINT64_MAX))
		return EXIT_FAILURE;

	begin_progress("sum");
	ret = mmapdev_sum(t.dev, t.offset, t.length, &crc);
	end_progress();
	if (!ret && t.json) {
		print_json_range(&t);
		printf(", \"crc32c\": \"%08x\"}\n", crc);
	} else if (!ret) {
		printf("%08x  %s\n", crc, t.path);
	}
	return finish(&t, "sum", ret);
}

const struct command info_command = {
	"info",
	"[DEVICE] [--json]",
	"Print what a device is now: its size, how much of it is in memory, how\n"
	"much of that was written since the last commit. A figure that a file does\n"
	"not have is left out (null with --json).\n"
	"\n"
	"  mmapdevctl info\n"
	"  mmapdevctl info --json | jq .dirty\n",
	run_info,
};

const struct command fill_command = {
	"fill",
	"[DEVICE] [--offset N] [--length N] PATTERN [--json]",
	"Let the kernel fill a range, to the end unless --length says otherwise.\n"
	"PATTERN is a number of eight bytes, lowest first, which repeats from the\n"
	"start of the buffer: 0xa5 is one byte a5 and seven of 0.\n"
	"\n"
	"  mmapdevctl fill 0                              # all zeros\n"
	"  mmapdevctl fill 0xa5a5a5a5a5a5a5a5             # all a5\n"
	"  mmapdevctl fill --offset 4K --length 4K 1      # the second page\n"
	"  mmapdevctl fill some.file 0xff                 # on a file\n",
	run_fill,
};

const struct command sum_command = {
	"sum",
	"[DEVICE] [--offset N] [--length N] [--json]",
	"Let the kernel read a range, to the end unless --length says otherwise,\n"
	"and print its CRC-32C (the one of iSCSI, ext4 and btrfs) and the path.\n"
	"\n"
	"  mmapdevctl sum\n"
	"  mmapdevctl sum --offset 1M --length 64K\n"
	"  mmapdevctl sum --json | jq -r .crc32c\n",
	run_sum,
};
