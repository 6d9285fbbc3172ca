// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Commands on how much there is: resize and punch. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <mmapdev.h>

#include "ctl.h"
#include "target.h"

static int run_resize(int argc, char **argv)
{
	struct target t = { .path = DEVICE };
	uint64_t size;
	int ret;

	if (parse_target(argc, argv, "j", &t))
		return EXIT_USAGE;
	if (optind == argc)
		return usage("a SIZE is needed, as 64M");
	if (argc - optind > 2)
		return usage("want [DEVICE] SIZE, not also '%s'",
			     argv[optind + 2]);
	if (!parse_size(argv[argc - 1], &size))
		return usage("SIZE '%s': want bytes, as 65536, 64K, 16M or 1G",
			     argv[argc - 1]);
	if (argc - optind == 2)
		t.path = argv[optind];
	if (open_target(&t, O_RDWR))
		return EXIT_FAILURE;

	begin_progress("resize");
	ret = mmapdev_resize(t.dev, size);
	end_progress();
	if (ret == -EINVAL)
		error("%s: a size is a multiple of %" PRIu32 ", not %" PRIu64,
		      t.path, t.info.page_size, size);
	else if (ret == -ENXIO)
		error("%s: %" PRIu64 " is beyond its max_size, %" PRIu64,
		      t.path, size, t.info.max_size);
	else if (ret == -EBUSY)
		error("%s: the new end cuts a huge folio that somebody holds: mmapdevctl status %s",
		      t.path, t.path);
	else if (ret)
		error("%s: cannot resize it to %" PRIu64 " bytes: %s", t.path,
		      size, strerror(-ret));
	if (!ret && t.json) {
		printf("{\"path\": ");
		print_json_string(t.path);
		printf(", \"size\": %" PRIu64 ", \"before\": %" PRIu64 "}\n",
		       size, t.info.size);
	}
	mmapdev_close(t.dev);
	return ret ? EXIT_FAILURE : 0;
}

static int run_punch(int argc, char **argv)
{
	struct target t = { .path = DEVICE };
	int ret;

	if (parse_target(argc, argv, "olj", &t))
		return EXIT_USAGE;
	if (!t.has_offset || !t.has_length)
		return usage("want --offset and --length: what they span is lost");
	if (argc - optind > 1)
		return usage("one DEVICE at a time, not also '%s'",
			     argv[optind + 1]);
	if (optind < argc)
		t.path = argv[optind];
	if (open_range(&t, O_RDWR, 0))
		return EXIT_FAILURE;

	begin_progress("punch");
	ret = mmapdev_punch(t.dev, t.offset, t.length);
	end_progress();
	if (ret == -EINVAL) {
		error("%s: --offset and --length are multiples of %" PRIu32,
		      t.path, t.info.page_size);
		mmapdev_close(t.dev);
		return EXIT_FAILURE;
	}
	if (!ret && t.json) {
		print_json_range(&t);
		printf("}\n");
	}
	return finish(&t, "punch", ret);
}

const struct command resize_command = {
	"resize",
	"[DEVICE] SIZE [--json]",
	"Change the size, up to the max_size of the device. What is added is zeros;\n"
	"what is cut off is lost, and a touch of it in a mapping is SIGBUS.\n"
	"\n"
	"  mmapdevctl resize 64M\n"
	"  mmapdevctl resize " DEVICE "1 1G\n"
	"  mmapdevctl resize 64M --json | jq .before      # what it was\n",
	run_resize,
};

const struct command punch_command = {
	"punch",
	"[DEVICE] --offset N --length N [--json]",
	"Make a range of whole pages a hole: its memory is freed, it reads as zeros.\n"
	"\n"
	"  mmapdevctl punch --offset 1M --length 64K\n",
	run_punch,
};
