// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The command log append: arguments, lines or a file become records.
 *
 * Each is acknowledged by itself. When one fails, those before it are there.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "log.h"

#define TELL_MS 2000

struct append {
	struct target t;
	struct mmapdev_log *log;
	struct mmapdev_log_writer *writer;
	uint32_t segment;
	uint64_t records, bytes;
	const char *file;
	bool create, sync;
};

static int parse(int argc, char **argv, struct append *a)
{
	static const struct option options[] = {
		{ "create", no_argument, NULL, 'c' },
		{ "file", required_argument, NULL, 'f' },
		{ "sync", no_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = next_option(argc, argv, ":", options)) != -1) {
		if (option == '?')
			return EXIT_USAGE;
		if (option == 'c')
			a->create = true;
		if (option == 'f')
			a->file = optarg;
		if (option == 's')
			a->sync = true;
		if (option == 'j')
			a->t.json = true;
	}
	if (log_path(argc, argv, true, &a->t))
		return EXIT_USAGE;
	if (a->file && optind < argc)
		return usage("--file %s or text: want one of them, not also '%s'",
			     a->file, argv[optind]);
	return 0;
}

static const char *so_far(const struct append *a)
{
	static char text[64];

	snprintf(text, sizeof(text), "%" PRIu64 " record%s appended before",
		 a->records, a->records == 1 ? " was" : "s were");
	return text;
}

static int too_long(const struct append *a, const char *length)
{
	error("%s: record %" PRIu64 " has %s bytes, and one has room for %"
	      PRIu32 " (log create --segment); %s", a->t.path, a->records + 1,
	      length, a->segment - LOG_OVERHEAD, so_far(a));
	return EXIT_FAILURE;
}

static int append(struct append *a, const void *data, size_t length)
{
	char text[32];
	bool told = false;
	int ret;

	do {
		ret = mmapdev_log_append(a->writer, data, length, TELL_MS);
		if (ret == -ETIMEDOUT && !told)
			fprintf(stderr, "mmapdevctl log append: %s is full of what its consumer has not read, waiting\n",
				a->t.path);
		told = true;
	} while (ret == -ETIMEDOUT || ret == -EINTR);
	if (ret == -EMSGSIZE) {
		snprintf(text, sizeof(text), "%zu", length);
		return too_long(a, text);
	}
	if (ret) {
		log_failed(&a->t, "append", ret);
		error("%s: %s", a->t.path, so_far(a));
		return EXIT_FAILURE;
	}
	a->records++;
	a->bytes += length;
	return 0;
}

static int append_lines(struct append *a)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t n;
	int status = 0;

	while (!status && (n = getline(&line, &room, stdin)) >= 0) {
		if (n && line[n - 1] == '\n')
			n--;
		status = append(a, line, n);
	}
	if (!status && ferror(stdin)) {
		error("cannot read the standard input: %m; %s", so_far(a));
		status = EXIT_FAILURE;
	}
	free(line);
	return status;
}

/* As much as there is, up to @room. */
static ssize_t read_all(int fd, char *buf, size_t room)
{
	size_t done = 0;
	ssize_t n = 1;

	while (n && done < room) {
		n = read(fd, buf + done, room - done);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			done += n;
	}
	return done;
}

static int append_file(struct append *a)
{
	/* A byte more than there is room for. */
	size_t room = a->segment - LOG_OVERHEAD + 1;
	int fd = open(a->file, O_RDONLY | O_CLOEXEC), status;
	char *buf = malloc(room);
	ssize_t n = -ENOMEM;

	if (fd < 0)
		n = -errno;
	else if (buf)
		n = read_all(fd, buf, room);
	if (n < 0) {
		error("--file %s: cannot read it: %s", a->file, strerror(-n));
		status = EXIT_FAILURE;
	} else if ((size_t)n == room) {
		status = too_long(a, "more");
	} else {
		status = append(a, buf, n);
	}
	if (fd >= 0)
		close(fd);
	free(buf);
	return status;
}

static int append_all(struct append *a, int argc, char **argv)
{
	int status = 0;

	if (a->file)
		return append_file(a);
	if (optind == argc)
		return append_lines(a);
	for (; optind < argc && !status; optind++)
		status = append(a, argv[optind], strlen(argv[optind]));
	return status;
}

static int sync_all(struct append *a)
{
	int ret;

	begin_progress("log append");
	ret = mmapdev_log_sync(a->writer);
	end_progress();
	if (!ret)
		return 0;
	log_failed(&a->t, "make it durable", ret);
	error("%s: %s, but a crash of the machine may lose them", a->t.path,
	      so_far(a));
	return EXIT_FAILURE;
}

/* The number of our writer: the last that this process opened. */
static uint32_t our_number(struct mmapdev_log *log, uint32_t slots)
{
	struct mmapdev_log_slot slot = { .sz = sizeof(slot) };
	uint32_t i, number = 0;

	for (i = 1; i < slots; i++)
		if (!mmapdev_log_get_slot(log, i, &slot) &&
		    slot.state == MMAPDEV_LOG_SLOT_OPEN &&
		    slot.pid == (uint32_t)getpid() && slot.writer > number)
			number = slot.writer;
	return number;
}

static void print_done(const struct append *a, uint32_t number)
{
	if (a->t.json) {
		printf("{\"path\": ");
		print_json_string(a->t.path);
		printf(", \"records\": %" PRIu64 ", \"bytes\": %" PRIu64
		       ", \"writer\": %" PRIu32 ", \"pid\": %d, \"synced\": %s}\n",
		       a->records, a->bytes, number, getpid(),
		       a->sync ? "true" : "false");
		return;
	}
	printf("%s: %" PRIu64 " record%s, %" PRIu64 " bytes, by writer %" PRIu32
	       "%s\n", a->t.path, a->records, a->records == 1 ? "" : "s",
	       a->bytes, number, a->sync ? ", durable" : "");
}

static int with_writer(struct append *a, int argc, char **argv)
{
	struct mmapdev_log_info info = { .sz = sizeof(info) };
	uint32_t number;
	int ret, status;

	ret = mmapdev_log_get_info(a->log, &info);
	if (ret)
		return log_failed(&a->t, "look at the log", ret);
	a->segment = info.segment;
	if (a->sync && !(info.flags & MMAPDEV_LOG_CRC)) {
		error("%s: --sync needs a log with checksums, by which a crash's whole records are told from the others (log create --crc); nothing was written",
		      a->t.path);
		return EXIT_FAILURE;
	}
	ret = mmapdev_log_writer_open(a->log, &a->writer);
	if (ret)
		return log_failed(&a->t, "append", ret);

	number = our_number(a->log, info.slots);
	status = append_all(a, argc, argv);
	if (!status && a->sync)
		status = sync_all(a);
	if (!status)
		print_done(a, number);
	ret = mmapdev_log_writer_close(a->writer);
	return ret ? log_failed(&a->t, "close the writer", ret) : status;
}

static int run(int argc, char **argv)
{
	struct mmapdev_log_opts opts = { .sz = sizeof(opts) };
	struct append a = { .records = 0 };
	int status;

	if (parse(argc, argv, &a))
		return EXIT_USAGE;
	/* Of one that is made here. */
	if (a.sync)
		opts.flags = MMAPDEV_LOG_CRC;
	if (a.create)
		status = make_log(&a.t, &opts, false, &a.log);
	else
		status = open_log(&a.t, O_RDWR, &a.log);
	if (status)
		return EXIT_FAILURE;
	return close_log(&a.t, a.log, with_writer(&a, argc, argv));
}

const struct command log_append_command = {
	"log append",
	"[--create] [--sync] [--file FILE] [--json] PATH [TEXT...]",
	"Append records to a log: each TEXT, or the bytes of FILE, or each line of the\n"
	"standard input as it comes. Others may append at the same time.\n"
	"\n"
	"  --create     make the log if there is none, as log create does, and with\n"
	"               --sync one with checksums\n"
	"  --sync       say that it is done when it would survive a crash of the\n"
	"               machine; the log must have checksums\n"
	"  --file FILE  the whole of it is one record\n"
	"\n"
	"  mmapdevctl log append --create some.log 'it begins'\n"
	"  make 2>&1 | mmapdevctl log append some.log\n"
	"  mmapdevctl log append --sync orders.log \"$order\" && echo taken\n"
	"  mmapdevctl log append --file picture.png some.log\n",
	run,
};
