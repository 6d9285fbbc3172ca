// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Commands on commits: commit and wait.
 *
 * Each open file of a device knows which commits it was told of, by info, and
 * poll(2) says when there was another: none is missed between two looks.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include <mmapdev.h>

#include "ctl.h"
#include "target.h"

#define TELL_MS 2000

/*
 * By a map, read only and on demand: it puts no page in place. The object is
 * open for writing: for who could not have written msync(2) does nothing.
 */
static int commit_range(const struct target *t)
{
	struct mmapdev_map_opts opts = {
		.sz = sizeof(opts),
		.flags = MMAPDEV_MAP_READONLY,
		.offset = t->offset - t->offset % t->info.page_size,
	};
	uint64_t lead = t->offset - opts.offset;
	struct mmapdev_map *map;
	int ret = 0;

	if (!t->length)
		return 0;
	opts.length = lead + t->length;
	if (t->info.mode != MMAPDEV_MODE_DEMAND)
		ret = mmapdev_set_mode(t->dev, MMAPDEV_MODE_DEMAND);
	if (!ret)
		ret = mmapdev_map(t->dev, &opts, &map);
	if (ret)
		return ret;
	ret = mmapdev_flush(map, lead, t->length);
	mmapdev_unmap(map);
	return ret;
}

static void print_commit(const struct target *t,
			 const struct mmapdev_info *after)
{
	bool known = after->commit_seq != MMAPDEV_UNKNOWN;
	uint64_t bytes = after->committed - t->info.committed;

	if (t->json) {
		print_json_range(t);
		if (known)
			printf(", \"committed\": %" PRIu64
			       ", \"commit_seq\": %" PRIu64 "}\n",
			       bytes, after->commit_seq);
		else
			printf(", \"committed\": null, \"commit_seq\": null}\n");
	} else if (known) {
		printf("%s: committed ", t->path);
		print_size(bytes);
		printf(", commit %" PRIu64 "\n", after->commit_seq);
	} else {
		printf("%s: committed, what it held is on the storage\n",
		       t->path);
	}
}

static int run_commit(int argc, char **argv)
{
	struct mmapdev_info after = { .sz = sizeof(after) };
	struct target t = { .path = DEVICE };
	bool ranged;
	int ret;

	if (parse_target(argc, argv, "olj", &t))
		return EXIT_USAGE;
	if (argc - optind > 1)
		return usage("one DEVICE at a time, not also '%s'",
			     argv[optind + 1]);
	if (optind < argc)
		t.path = argv[optind];
	ranged = t.has_offset || t.has_length;
	if (open_range(&t, ranged ? O_RDWR : O_RDONLY, UINT64_MAX))
		return EXIT_FAILURE;

	begin_progress("commit");
	if (ranged)
		ret = commit_range(&t);
	else
		ret = mmapdev_commit(t.dev);
	end_progress();
	if (!ret)
		ret = mmapdev_get_info(t.dev, &after);
	if (!ret)
		print_commit(&t, &after);
	return finish(&t, "commit", ret);
}

struct wait {
	uint64_t count;
	uint64_t timeout; /* milliseconds */
	bool has_timeout;
};

static int parse_wait(int argc, char **argv, struct wait *w, struct target *t)
{
	static const struct option options[] = {
		{ "timeout", required_argument, NULL, 't' },
		{ "count", required_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = next_option(argc, argv, ":", options)) != -1) {
		if (option == '?')
			return EXIT_USAGE;
		if (option == 'j')
			t->json = true;
		if (option == 't' && !parse_seconds(optarg, &w->timeout))
			return usage("--timeout %s: want seconds, as 10 or 0.5",
				     optarg);
		if (option == 'c' &&
		    (!parse_u64(optarg, &w->count) || !w->count))
			return usage("--count %s: want a number of commits, from 1 on",
				     optarg);
		w->has_timeout |= option == 't';
	}
	if (argc - optind > 1)
		return usage("one DEVICE at a time, not also '%s'",
			     argv[optind + 1]);
	if (optind < argc)
		t->path = argv[optind];
	return 0;
}

/* Until there may be a commit, or something else is to be done. */
static int poll_commit(const struct target *t, uint64_t until)
{
	struct pollfd commit = { .fd = mmapdev_fd(t->dev), .events = POLLIN };
	uint64_t now = now_ms();
	int ms = 0;

	if (until > now)
		ms = until - now < INT_MAX ? (int)(until - now) : INT_MAX;
	if (poll(&commit, 1, until == UINT64_MAX ? -1 : ms) < 0)
		return errno == EINTR ? 0 : -errno;
	return commit.revents & (POLLHUP | POLLERR) ? -ENODEV : 0;
}

static int wait_for(struct target *t, const struct wait *w)
{
	uint64_t first = t->info.commit_seq, begun = now_ms();
	uint64_t end = w->has_timeout ? begun + w->timeout : UINT64_MAX;
	uint64_t tell = begun + TELL_MS;
	int ret;

	for (;;) {
		bool late = now_ms() >= end;

		ret = mmapdev_get_info(t->dev, &t->info);
		if (ret || t->info.commit_seq - first >= w->count)
			return ret;
		if (late)
			return -ETIMEDOUT;
		if (now_ms() >= tell) {
			tell = UINT64_MAX;
			fprintf(stderr, "mmapdevctl wait: %s is at commit %"
				PRIu64 ", waiting\n", t->path,
				t->info.commit_seq);
		}
		ret = poll_commit(t, tell < end ? tell : end);
		if (ret)
			return ret;
	}
}

static int run_wait(int argc, char **argv)
{
	struct target t = { .path = DEVICE };
	struct wait w = { .count = 1 };
	uint64_t first;
	int ret;

	if (parse_wait(argc, argv, &w, &t))
		return EXIT_USAGE;
	if (open_target(&t, O_RDONLY))
		return EXIT_FAILURE;
	if (t.info.kind != MMAPDEV_KIND_DEVICE) {
		error("%s: nobody is told of commits to a file, only of those to a device",
		      t.path);
		mmapdev_close(t.dev);
		return EXIT_FAILURE;
	}

	first = t.info.commit_seq;
	ret = wait_for(&t, &w);
	if (ret == -ETIMEDOUT)
		error("%s: %" PRIu64 " of %" PRIu64
		      " commits in %g seconds, it is at commit %" PRIu64,
		      t.path, t.info.commit_seq - first, w.count,
		      w.timeout / 1000.0, t.info.commit_seq);
	else if (ret == -ENODEV)
		error("%s: the device was removed meanwhile", t.path);
	else if (ret)
		error("%s: cannot wait for it: %s", t.path, strerror(-ret));
	else if (t.json) {
		printf("{\"path\": ");
		print_json_string(t.path);
		printf(", \"commit_seq\": %" PRIu64 ", \"commits\": %" PRIu64
		       "}\n", t.info.commit_seq, t.info.commit_seq - first);
	} else {
		printf("%" PRIu64 "\n", t.info.commit_seq);
	}
	mmapdev_close(t.dev);
	return ret ? EXIT_FAILURE : 0;
}

const struct command commit_command = {
	"commit",
	"[DEVICE] [--offset N] [--length N] [--json]",
	"Commit what was written, all of it or the pages of a range, and print how\n"
	"much that was and the number of the commit; what others commit meanwhile is\n"
	"counted with it. Of a file: fsync or msync, and no figures.\n"
	"\n"
	"  mmapdevctl commit\n"
	"  mmapdevctl commit --offset 1M --length 64K\n"
	"  mmapdevctl commit --json | jq .committed\n",
	run_commit,
};

const struct command wait_command = {
	"wait",
	"[DEVICE] [--timeout SEC] [--count N] [--json]",
	"Wait for the next commit, or for N of them, and print the number of the\n"
	"last. Exit status 1: the time was up before, or the device was removed.\n"
	"\n"
	"  mmapdevctl wait\n"
	"  mmapdevctl wait --timeout 0.5\n"
	"  while mmapdevctl wait; do cp " DEVICE " image; done\n"
	"  mmapdevctl wait --count 10 --json | jq .commit_seq\n",
	run_wait,
};
