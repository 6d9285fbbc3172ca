// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The command log tail: what is in a log, and what comes.
 *
 * It is an observer. It opens the log read only, takes no lock and no slot, and
 * so can neither hold up a writer nor be waited for by one.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "log.h"

#define SLICE_MS 250 /* until it looks whether it is to end */
#define IDLE_SLICES 8
#define LAST_MAX 1000000

struct tail {
	struct target t;
	struct mmapdev_log *log;
	struct mmapdev_log_reader *reader;
	uint64_t last, writer;
	bool has_last, has_writer, from_end, hex;
	uint64_t damaged, overtaken;
	uint32_t told; /* number of the writer that was told to hold us up */

	/* The last records so far, from @oldest on. */
	struct mmapdev_log_record *kept;
	uint64_t count, oldest;
};

static volatile sig_atomic_t ended;

static void on_end(int sig)
{
	(void)sig;
	ended = 1;
}

static void catch_end(void)
{
	struct sigaction action = { .sa_handler = on_end };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

static int parse_option(struct tail *tail, int option)
{
	switch (option) {
	case 'f':
		tail->t.follow = true;
		return 0;
	case 'e':
		tail->from_end = true;
		return 0;
	case 'n':
		tail->has_last = true;
		if (parse_u64(optarg, &tail->last) && tail->last <= LAST_MAX)
			return 0;
		return usage("--last %s: want a number of records, up to %d",
			     optarg, LAST_MAX);
	case 'w':
		tail->has_writer = true;
		if (parse_u64(optarg, &tail->writer) && tail->writer &&
		    tail->writer <= UINT32_MAX)
			return 0;
		return usage("--writer %s: want the number of a writer, as log stat and log tail print it",
			     optarg);
	case 'x':
		tail->hex = true;
		return 0;
	case 'r':
		tail->t.raw = true;
		return 0;
	case 'j':
		tail->t.json = true;
		return 0;
	}
	return EXIT_USAGE;
}

static int parse(int argc, char **argv, struct tail *tail)
{
	static const struct option options[] = {
		{ "follow", no_argument, NULL, 'f' },
		{ "from-end", no_argument, NULL, 'e' },
		{ "last", required_argument, NULL, 'n' },
		{ "writer", required_argument, NULL, 'w' },
		{ "hex", no_argument, NULL, 'x' },
		{ "raw", no_argument, NULL, 'r' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = next_option(argc, argv, ":fn:", options)) != -1)
		if (parse_option(tail, option))
			return EXIT_USAGE;
	if (tail->hex + tail->t.raw + tail->t.json > 1)
		return usage("--hex, --raw and --json are three ways to print: want one of them");
	if (tail->from_end && tail->has_last)
		return usage("--from-end shows nothing that is there, --last N some of it: want one of them");
	if (tail->from_end && !tail->t.follow)
		return usage("--from-end goes with --follow: it shows what is appended from now on");
	return log_path(argc, argv, false, &tail->t);
}

static void print_json_record(const struct mmapdev_log_record *record)
{
	const unsigned char *p = record->data;
	size_t length = record->length, n;

	while ((n = utf8_length(p, length))) {
		p += n;
		length -= n;
	}
	printf("{\"offset\": %" PRIu64 ", \"writer\": %" PRIu32 ", \"pid\": ",
	       record->offset, record->writer);
	if (record->pid)
		printf("%" PRIu32, record->pid);
	else
		printf("null");
	printf(", \"length\": %zu, \"text\": ", record->length);
	if (length) {
		printf("null, \"data\": \"");
		print_hex(record->data, record->length);
		printf("\"}\n");
	} else {
		print_json_text(record->data, record->length);
		printf(", \"data\": null}\n");
	}
}

static void print_record(const struct tail *tail,
			 const struct mmapdev_log_record *record)
{
	char pid[16] = "?";

	if (tail->t.raw) {
		fwrite(record->data, 1, record->length, stdout);
		return;
	}
	if (tail->t.json) {
		print_json_record(record);
		return;
	}
	if (record->pid)
		snprintf(pid, sizeof(pid), "%" PRIu32, record->pid);
	if (tail->hex) {
		printf("pid %s writer %" PRIu32 ": %zu bytes\n", pid,
		       record->writer, record->length);
		print_dump(record->offset, record->data, record->length);
		return;
	}
	printf("%7s %3" PRIu32 "  ", pid, record->writer);
	print_escaped(record->data, record->length);
	putchar('\n');
}

/* In place of the oldest, if there are as many as wanted. */
static int keep(struct tail *tail, const struct mmapdev_log_record *record)
{
	struct mmapdev_log_record *to;
	void *data;

	if (!tail->last)
		return 0;
	data = malloc(record->length + 1);
	if (!data)
		return -ENOMEM;
	memcpy(data, record->data, record->length);
	if (tail->count < tail->last) {
		to = &tail->kept[tail->count++];
	} else {
		to = &tail->kept[tail->oldest];
		tail->oldest = (tail->oldest + 1) % tail->last;
		free((void *)to->data);
	}
	*to = *record;
	to->data = data;
	return 0;
}

/* The end was reached: from here on all is shown at once. */
static void print_kept(struct tail *tail)
{
	uint64_t i;

	for (i = 0; i < tail->count; i++) {
		struct mmapdev_log_record *record =
			&tail->kept[(tail->oldest + i) % tail->last];

		print_record(tail, record);
		free((void *)record->data);
	}
	tail->count = 0;
	tail->has_last = false;
}

static void tell_skipped(struct tail *tail, int err)
{
	fflush(stdout);
	if (err == -EBADMSG && !tail->damaged++)
		fprintf(stderr, "mmapdevctl log tail: %s: something damaged is skipped (mmapdevctl log verify tells where)\n",
			tail->t.path);
	if (err == -EOVERFLOW && !tail->overtaken++)
		fprintf(stderr, "mmapdevctl log tail: %s: the writers of this ring were faster, records were lost before they could be shown\n",
			tail->t.path);
}

static void tell_who_blocks(struct tail *tail)
{
	struct mmapdev_log_info info = { .sz = sizeof(info) };
	struct mmapdev_log_slot slot = { .sz = sizeof(slot) };
	uint32_t i;

	if (mmapdev_log_get_info(tail->log, &info))
		return;
	for (i = 1; i < info.slots; i++) {
		if (mmapdev_log_get_slot(tail->log, i, &slot) ||
		    !slot.blocked || slot.writer == tail->told)
			continue;
		tail->told = slot.writer;
		tell_blocked(&tail->t, &slot, i, info.ring);
		return;
	}
}

static int show(struct tail *tail, const struct mmapdev_log_record *record)
{
	if (tail->has_writer && record->writer != tail->writer)
		return 0;
	if (tail->has_last)
		return keep(tail, record);
	print_record(tail, record);
	return 0;
}

/* Nothing is there to be read: 1 when that is the end of it all. */
static int at_end(struct tail *tail, unsigned int *idle)
{
	if (tail->has_last)
		print_kept(tail);
	end_progress();
	if (!tail->t.follow || ++*idle == IDLE_SLICES)
		tell_who_blocks(tail);
	return !tail->t.follow || fflush(stdout);
}

static int show_all(struct tail *tail)
{
	struct mmapdev_log_record record = { .sz = sizeof(record) };
	unsigned int idle = 0;
	bool wait = false;
	int ret = 0;

	while (!ended && !ferror(stdout) && !ret) {
		ret = mmapdev_log_read(tail->reader, &record,
				       wait ? SLICE_MS : 0);
		wait = ret == -EAGAIN || ret == -ETIMEDOUT;
		if (!ret) {
			idle = 0;
			ret = show(tail, &record);
		} else if (ret == -EBADMSG || ret == -EOVERFLOW) {
			tell_skipped(tail, ret);
			ret = 0;
		} else if (wait) {
			ret = at_end(tail, &idle);
		} else if (ret == -EINTR) {
			ret = 0;
		}
	}
	return ret < 0 ? ret : 0;
}

static int with_reader(struct tail *tail)
{
	struct mmapdev_log_reader_opts opts = {
		.sz = sizeof(opts),
		.flags = tail->from_end ? MMAPDEV_LOG_END : 0,
	};
	int ret;

	ret = mmapdev_log_reader_open(tail->log, &opts, &tail->reader);
	if (ret)
		return log_failed(&tail->t, "read", ret);
	if (tail->has_last)
		begin_progress("log tail");
	ret = show_all(tail);
	end_progress();
	mmapdev_log_reader_close(tail->reader);
	/* A signal came before the end. */
	if (tail->has_last && !ret)
		print_kept(tail);
	fflush(stdout);
	if (tail->damaged > 1)
		error("%s: skipped %" PRIu64 " damaged records or segments",
		      tail->t.path, tail->damaged);
	if (tail->overtaken > 1)
		error("%s: records were lost at %" PRIu64 " places",
		      tail->t.path, tail->overtaken);
	if (ret)
		return log_failed(&tail->t, "read", ret);
	return tail->damaged || tail->overtaken ? EXIT_FAILURE : 0;
}

static int run(int argc, char **argv)
{
	struct tail tail = { .last = 0 };
	int status;

	if (parse(argc, argv, &tail))
		return EXIT_USAGE;
	if (open_log(&tail.t, O_RDONLY, &tail.log))
		return EXIT_FAILURE;
	catch_end();
	if (tail.last)
		tail.kept = calloc(tail.last, sizeof(*tail.kept));
	if (tail.last && !tail.kept)
		status = log_failed(&tail.t, "read", -ENOMEM);
	else
		status = with_reader(&tail);
	free(tail.kept);
	return close_log(&tail.t, tail.log, status);
}

const struct command log_tail_command = {
	"log tail",
	"[-f|--follow] [-n|--last N] [--from-end] [--writer N] [--hex|--raw|--json] PATH",
	"Print the records of a log, a line each: the process and the number of the\n"
	"writer, and what it wrote. Bytes that are no text are \\n, \\t, \\\\ or \\x00.\n"
	"It only looks, and holds nobody up.\n"
	"\n"
	"  -f, --follow  go on with what is appended, until Ctrl-C\n"
	"  -n, --last N  only the last N of those that are there\n"
	"  --from-end    none of those that are there\n"
	"  --writer N    only of one writer\n"
	"  --hex         as hexdump -C, with the offsets in the log\n"
	"  --raw         the bytes themselves, and nothing between records\n"
	"  --json        an object in a line for each record\n"
	"\n"
	"Exit status 1 if something was damaged or overwritten and so not shown.\n"
	"\n"
	"  mmapdevctl log tail some.log\n"
	"  mmapdevctl log tail -f -n 10 " DEVICE "\n"
	"  mmapdevctl log tail --raw -n 1 some.log > picture.png\n"
	"  mmapdevctl log tail -f --json some.log | jq -r .text\n",
	run,
};
