// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The command log stat: a log, and who writes to it.
 *
 * It opens the log read only. Whether a process is there the library says, and
 * /proc what it is called: its name is of the pid that has the slot now.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ctl.h"
#include "log.h"

#define NS_PER_S 1000000000

static const char *const state_names[] = {
	[MMAPDEV_LOG_SLOT_FREE] = "free",
	[MMAPDEV_LOG_SLOT_OPEN] = "open",
	[MMAPDEV_LOG_SLOT_CLOSED] = "closed",
	[MMAPDEV_LOG_SLOT_DIED] = "died",
	[MMAPDEV_LOG_SLOT_EVICTED] = "evicted",
};

static const char *state_name(const struct mmapdev_log_slot *slot)
{
	if (slot->state >= sizeof(state_names) / sizeof(*state_names))
		return "unknown";
	return state_names[slot->state];
}

/* "2026-11-21 18:05:03 (3 min ago)" */
static void when(uint64_t ns, char *text, size_t size)
{
	static const struct {
		const char *name;
		int64_t seconds;
	} units[] = { { "d", 86400 }, { "h", 3600 }, { "min", 60 }, { "s", 1 } };
	time_t then = ns / NS_PER_S;
	int64_t ago = time(NULL) - then;
	struct tm tm;
	size_t n, i = 0;

	n = localtime_r(&then, &tm) ?
		    strftime(text, size, "%Y-%m-%d %H:%M:%S", &tm) : 0;
	if (ago < 0) {
		snprintf(text + n, size - n, " (to come?)");
		return;
	}
	while (units[i].seconds > 1 && ago < units[i].seconds)
		i++;
	snprintf(text + n, size - n, " (%" PRId64 " %s ago)",
		 ago / units[i].seconds, units[i].name);
}

/* Of the segments that were taken, how much is in use, in percent. */
static unsigned int fill(const struct mmapdev_log_info *info)
{
	uint64_t segments = info->segments;

	if (info->ring && segments > info->ring)
		segments = info->ring;
	if (!segments)
		return 0;
	return info->bytes * 100 / (segments * info->segment);
}

static void print_log(const struct target *t,
		      const struct mmapdev_log_info *info)
{
	char made[64];

	when(info->created, made, sizeof(made));
	printf("%s\n", t->path);
	printf("  made        %s, format %" PRIu32 "\n", made, info->version);
	printf("  order       %s\n", info->flags & MMAPDEV_LOG_ORDERED ?
	       "one of all writers" : "each writer's own");
	printf("  checksums   %s\n",
	       info->flags & MMAPDEV_LOG_CRC ? "yes" : "no");
	printf("  size        ");
	print_size(info->size);
	printf("\n  segments    %" PRIu64 " of ", info->segments);
	print_size(info->segment);
	if (info->ring)
		printf(", in a ring of %" PRIu32, info->ring);
	printf("\n  bytes       ");
	print_size(info->bytes);
	printf(", %u%% full\n  writers     %" PRIu32 " so far\n", fill(info),
	       info->writers);
}

static void print_json_log(const struct target *t,
			   const struct mmapdev_log_info *info)
{
	printf("{\"path\": ");
	print_json_string(t->path);
	printf(", \"version\": %" PRIu32 ", \"created\": %" PRIu64
	       ", \"ordered\": %s, \"crc\": %s, \"size\": %" PRIu64
	       ", \"segment\": %" PRIu32 ", \"ring\": ", info->version,
	       info->created,
	       info->flags & MMAPDEV_LOG_ORDERED ? "true" : "false",
	       info->flags & MMAPDEV_LOG_CRC ? "true" : "false", info->size,
	       info->segment);
	if (info->ring)
		printf("%" PRIu32, info->ring);
	else
		printf("null");
	printf(", \"segments\": %" PRIu64 ", \"bytes\": %" PRIu64
	       ", \"fill_percent\": %u, \"writers\": %" PRIu32
	       ", \"slots\": [", info->segments, info->bytes, fill(info),
	       info->writers);
}

static bool stopped(const struct mmapdev_log_slot *slot,
		    const struct process *process)
{
	return slot->state == MMAPDEV_LOG_SLOT_OPEN &&
	       (process->state == 'T' || process->state == 't');
}

static void print_slot(uint32_t index, const struct mmapdev_log_slot *slot,
		       const struct process *process)
{
	char number[16] = "reads", segment[24] = "-", since[64];

	if (slot->writer)
		snprintf(number, sizeof(number), "%" PRIu32, slot->writer);
	if (slot->segment)
		snprintf(segment, sizeof(segment), "%" PRIu64, slot->segment);
	when(slot->since, since, sizeof(since));
	printf("%4" PRIu32 " %6s %7" PRIu32 " %-15s %-7s %10s %7" PRIu64
	       "  %s\n", index, number, slot->pid,
	       *process->name ? process->name : "-",
	       stopped(slot, process) ? "stopped" : state_name(slot), segment, slot->blocked,
	       since);
}

static void print_json_slot(uint32_t index, const struct mmapdev_log_slot *slot,
			    const struct process *process, bool first)
{
	printf("%s{\"slot\": %" PRIu32 ", \"writer\": ", first ? "" : ", ",
	       index);
	if (slot->writer)
		printf("%" PRIu32, slot->writer);
	else
		printf("null");
	printf(", \"pid\": %" PRIu32 ", \"name\": ", slot->pid);
	if (*process->name)
		print_json_string(process->name);
	else
		printf("null");
	printf(", \"state\": \"%s\", \"stopped\": %s, \"since\": %" PRIu64
	       ", \"segment\": ", state_name(slot),
	       stopped(slot, process) ? "true" : "false", slot->since);
	if (slot->segment)
		printf("%" PRIu64, slot->segment);
	else
		printf("null");
	printf(", \"blocked\": %" PRIu64 "}", slot->blocked);
}

static int print_slots(const struct target *t, struct mmapdev_log *log,
		       uint32_t slots)
{
	struct mmapdev_log_slot slot = { .sz = sizeof(slot) };
	struct process process;
	bool first = true;
	uint32_t i;
	int ret;

	for (i = 0; i < slots; i++) {
		ret = mmapdev_log_get_slot(log, i, &slot);
		if (ret)
			return log_failed(t, "look at the writers", ret);
		if (slot.state == MMAPDEV_LOG_SLOT_FREE)
			continue;
		memset(&process, 0, sizeof(process));
		if (slot.state == MMAPDEV_LOG_SLOT_OPEN ||
		    slot.state == MMAPDEV_LOG_SLOT_EVICTED)
			find_process(slot.pid, &process);
		if (!t->json && first)
			printf("SLOT WRITER     PID NAME            STATE      SEGMENT BLOCKED  SINCE\n");
		if (t->json)
			print_json_slot(i, &slot, &process, first);
		else
			print_slot(i, &slot, &process);
		first = false;
	}
	return 0;
}

static void tell_all_blocked(const struct target *t, struct mmapdev_log *log,
			     const struct mmapdev_log_info *info)
{
	struct mmapdev_log_slot slot = { .sz = sizeof(slot) };
	uint32_t i;

	for (i = 1; i < info->slots; i++)
		if (!mmapdev_log_get_slot(log, i, &slot) && slot.blocked)
			tell_blocked(t, &slot, i, info->ring);
}

static int stat_log(const struct target *t, struct mmapdev_log *log)
{
	struct mmapdev_log_info info = { .sz = sizeof(info) };
	int ret;

	begin_progress("log stat");
	ret = mmapdev_log_get_info(log, &info);
	end_progress();
	if (ret)
		return log_failed(t, "look at the log", ret);
	if (t->json)
		print_json_log(t, &info);
	else
		print_log(t, &info);
	ret = print_slots(t, log, info.slots);
	if (t->json)
		printf("]}\n");
	else if (!ret)
		tell_all_blocked(t, log, &info);
	return ret;
}

static int run(int argc, char **argv)
{
	struct target t = { .path = NULL };
	struct mmapdev_log *log;

	if (parse_target(argc, argv, "j", &t) ||
	    log_path(argc, argv, false, &t))
		return EXIT_USAGE;
	if (open_log(&t, O_RDONLY, &log))
		return EXIT_FAILURE;
	return close_log(&t, log, stat_log(&t, log));
}

const struct command log_stat_command = {
	"log stat",
	"[--json] PATH",
	"Print what a log is, how much is in it, and its slots: which writer of which\n"
	"process has or had it, since when, and what segment it fills. In an ordered\n"
	"log readers wait for a record that is begun and not finished: BLOCKED are the\n"
	"bytes behind it, and who is waited for is told, with what can be done.\n"
	"\n"
	"  mmapdevctl log stat some.log\n"
	"  mmapdevctl log stat --json some.log | jq '.slots[] | select(.blocked > 0)'\n",
	run,
};
