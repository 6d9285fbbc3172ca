// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The command log recover: sets right what dead writers left, and by force what
 * a live one holds. Nothing here is needed for a log to go on after a death:
 * the next writer or reader does as much, when it comes to it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "log.h"

#define SLOTS_MAX 64

struct recover {
	struct target t;
	struct mmapdev_log *log;
	uint64_t slot; /* 0: none was named */
	bool force;
	int count; /* of the dead */
	struct mmapdev_log_slot evicted[SLOTS_MAX];
	uint32_t evictions;
};

static int parse(int argc, char **argv, struct recover *r)
{
	static const struct option options[] = {
		{ "evict", required_argument, NULL, 'e' },
		{ "pid", required_argument, NULL, 'p' },
		{ "force", no_argument, NULL, 'f' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = next_option(argc, argv, ":", options)) != -1) {
		if (option == '?')
			return EXIT_USAGE;
		if (option == 'j')
			r->t.json = true;
		if (option == 'f')
			r->force = true;
		if (option == 'e' && (!parse_u64(optarg, &r->slot) ||
				      !r->slot || r->slot >= SLOTS_MAX))
			return usage("--evict %s: want the number of a writer's slot, 1 to %d, as log stat prints it",
				     optarg, SLOTS_MAX - 1);
		if (option == 'p' && (!parse_u64(optarg, &r->t.pid) ||
				      !r->t.pid || r->t.pid > INT_MAX))
			return usage("--pid %s: want the number of a process",
				     optarg);
	}
	if (r->slot && r->t.pid)
		return usage("--evict names a slot, --pid a process: want one of them");
	if (r->force && !r->slot && !r->t.pid)
		return usage("--force goes with --evict or --pid");
	return log_path(argc, argv, false, &r->t);
}

static int refuse(const struct recover *r, const struct mmapdev_log_slot *slot)
{
	char name[128];

	name_writer(slot, name, sizeof(name));
	error("%s: %s is not known to be dead; to shut it out all the same, so that what it appends from now on is refused: --force",
	      r->t.path, name);
	return EXIT_FAILURE;
}

static int evict_one(struct recover *r, uint32_t i,
		     const struct mmapdev_log_slot *slot)
{
	char what[160], name[128];
	int ret;

	if (!r->force)
		return refuse(r, slot);
	ret = mmapdev_log_evict(r->log, i);
	if (ret == -ESRCH) /* it is dead, or has closed */
		return 0;
	if (!ret) {
		r->evicted[r->evictions++] = *slot;
		return 0;
	}
	name_writer(slot, name, sizeof(name));
	if (ret == -EOPNOTSUPP) {
		error("%s: %s cannot be shut out: this is a ring, whose places are used again, or this kernel has no membarrier; end it instead: kill -KILL %" PRIu32,
		      r->t.path, name, slot->pid);
		return EXIT_FAILURE;
	}
	snprintf(what, sizeof(what), "evict %s", name);
	return log_failed(&r->t, what, ret);
}

/* All that were meant, of those who are taken to live. */
static int evict(struct recover *r)
{
	struct mmapdev_log_slot slot = { .sz = sizeof(slot) };
	bool any = false;
	uint32_t i;
	int ret = 0;

	for (i = 1; i < SLOTS_MAX && !ret; i++) {
		if (r->slot && r->slot != i)
			continue;
		ret = mmapdev_log_get_slot(r->log, i, &slot);
		if (ret)
			return log_failed(&r->t, "look at the writers", ret);
		if (slot.state == MMAPDEV_LOG_SLOT_FREE ||
		    (r->t.pid && slot.pid != r->t.pid))
			continue;
		any = true;
		if (slot.state == MMAPDEV_LOG_SLOT_OPEN)
			ret = evict_one(r, i, &slot);
	}
	if (any)
		return ret;
	if (r->slot)
		error("%s: slot %" PRIu64 " has no writer (which have: mmapdevctl log stat)",
		      r->t.path, r->slot);
	else
		error("%s: process %" PRIu64 " is no writer of it (who is: mmapdevctl log stat)",
		      r->t.path, r->t.pid);
	return EXIT_FAILURE;
}

static void print_done(const struct recover *r)
{
	char name[128];
	uint32_t i;

	if (r->t.json) {
		printf("{\"path\": ");
		print_json_string(r->t.path);
		printf(", \"recovered\": %d, \"evicted\": [", r->count);
		for (i = 0; i < r->evictions; i++)
			printf("%s{\"writer\": %" PRIu32 ", \"pid\": %" PRIu32
			       "}", i ? ", " : "", r->evicted[i].writer,
			       r->evicted[i].pid);
		printf("]}\n");
		return;
	}
	if (!r->count)
		printf("%s: no dead writer had left anything\n", r->t.path);
	else
		printf("%s: what %d dead writer%s left is set right\n",
		       r->t.path, r->count, r->count == 1 ? "" : "s");
	for (i = 0; i < r->evictions; i++) {
		name_writer(&r->evicted[i], name, sizeof(name));
		printf("%s: %s is evicted, what it appended stays\n",
		       r->t.path, name);
	}
}

static int recover(struct recover *r)
{
	int status = 0, ret;

	begin_progress("log recover");
	ret = mmapdev_log_recover(r->log);
	end_progress();
	if (ret < 0)
		return log_failed(&r->t, "recover", ret);
	r->count = ret;
	if (r->slot || r->t.pid)
		status = evict(r);
	/* What an evicted one had begun is settled as of the dead. */
	if (r->evictions)
		ret = mmapdev_log_recover(r->log);
	if (ret < 0)
		status = log_failed(&r->t, "recover", ret);
	if (!status)
		print_done(r);
	return status;
}

static int run(int argc, char **argv)
{
	struct recover r = { .force = false };

	if (parse(argc, argv, &r))
		return EXIT_USAGE;
	if (open_log(&r.t, O_RDWR, &r.log))
		return EXIT_FAILURE;
	return close_log(&r.t, r.log, recover(&r));
}

const struct command log_recover_command = {
	"log recover",
	"[--evict SLOT|--pid PID] [--force] [--json] PATH",
	"Set right what writers left that died, and say of how many. It may be done at\n"
	"any time, and need not be: readers and writers do so when they come to it.\n"
	"\n"
	"  --evict SLOT  also shut out the writer that has this slot (log stat tells\n"
	"                it), which may be alive: readers no longer wait for it, and\n"
	"                what it appends from now on is refused. Not in a ring\n"
	"  --pid PID     the same, of all writers of this process\n"
	"  --force       without it only who is known to be dead is shut out\n"
	"\n"
	"  mmapdevctl log recover some.log\n"
	"  mmapdevctl log recover --evict 3 --force some.log\n"
	"  mmapdevctl log recover --pid 4711 --force some.log\n",
	run,
};
