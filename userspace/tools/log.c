// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Logs: opening and making one, and what is wrong with it, in words.
 *
 * The library judges an object before it believes anything in it. Here its
 * verdict is told with what was expected, what was found, and what to do.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "log.h"

#define FORMAT_KNOWN 1
/* Of it the library says whether it is a log's or nothing. */
#define LOG_HEADER 16384
#define SHOWN 8 /* bytes of what is no log */

int log_path(int argc, char **argv, bool more, struct target *t)
{
	if (optind == argc)
		return usage("a PATH is needed: a device or a file, as " DEVICE);
	if (!more && argc - optind > 1)
		return usage("one PATH at a time, not also '%s'",
			     argv[optind + 1]);
	t->path = argv[optind++];
	return 0;
}

/* What was mapped is no more: who cut it did not ask. */
static void on_sigbus(int sig)
{
	static const char text[] =
		"mmapdevctl log: the log was cut short or its device removed while it was in use, or there is no memory left for it\n";

	(void)sig;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(EXIT_FAILURE);
	_exit(EXIT_FAILURE);
}

void catch_sigbus(void)
{
	struct sigaction action = { .sa_handler = on_sigbus };

	sigaction(SIGBUS, &action, NULL);
}

/* The first byte from @from on that is not 0: 1 if there is one, or -errno. */
static int find_nonzero(const struct target *t, uint64_t from, uint64_t *at)
{
	static unsigned char buf[64 << 10];
	int fd = mmapdev_fd(t->dev);
	ssize_t n, i;
	off_t data;

	for (;; from += n) {
		data = lseek(fd, from, SEEK_DATA);
		if (data < 0)
			return errno == ENXIO ? 0 : -errno;
		from = data;
		n = pread(fd, buf, sizeof(buf), from);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n <= 0)
			return n ? -errno : 0;
		for (i = 0; i < n && !buf[i]; i++)
			;
		*at = from + i;
		if (i < n)
			return 1;
	}
}

/* "at 0 is 68 65 6c 6c 6f (hello)" */
static void show_bytes(const struct target *t, uint64_t at, char *text,
		       size_t size)
{
	unsigned char bytes[SHOWN];
	ssize_t n = pread(mmapdev_fd(t->dev), bytes, sizeof(bytes), at), i;
	char hex[3 * SHOWN + 1] = "", ascii[SHOWN + 1] = "";

	for (i = 0; i < n; i++) {
		sprintf(hex + 3 * i, " %02x", bytes[i]);
		ascii[i] = bytes[i] >= ' ' && bytes[i] < 0x7f ? bytes[i] : '.';
	}
	snprintf(text, size, "at %" PRIu64 " is%s (%s)", at, hex, ascii);
}

static void explain_foreign(const struct target *t)
{
	uint64_t at = 0;
	char found[80];

	if (find_nonzero(t, 0, &at) < 0)
		at = 0;
	show_bytes(t, at, found, sizeof(found));
	error("%s: this is no log: it should begin with mmapdlog, but %s; is it the right one? A log is made only in an empty file or a device of zeros",
	      t->path, found);
}

static void explain_version(const struct target *t)
{
	struct {
		char magic[8];
		uint32_t version;
	} begin = { .version = 0 };

	if (pread(mmapdev_fd(t->dev), &begin, sizeof(begin), 0) < 0)
		begin.version = 0;
	error("%s: %s: it is %" PRIu32
	      ", this mmapdevctl knows %d; take the mmapdevctl of the program that made it",
	      t->path, mmapdev_log_problem(MMAPDEV_LOG_VERSION), begin.version,
	      FORMAT_KNOWN);
}

void explain_problem(const struct target *t,
		     const struct mmapdev_log_report *report)
{
	const char *words = mmapdev_log_problem(report->problem);

	switch (report->problem) {
	case MMAPDEV_LOG_SOUND:
		return;
	case MMAPDEV_LOG_NOTHING:
		error("%s: there is no log yet, %s; make one: mmapdevctl log create",
		      t->path, t->info.size ? "only zeros" : "it is empty");
		return;
	case MMAPDEV_LOG_FOREIGN:
		explain_foreign(t);
		return;
	case MMAPDEV_LOG_VERSION:
		explain_version(t);
		return;
	case MMAPDEV_LOG_ENDIAN:
		error("%s: %s: it was made on a machine which begins numbers at the other end; read it on such a one",
		      t->path, words);
		return;
	case MMAPDEV_LOG_HEADER:
		error("%s: %s: its first 64 bytes do not match their checksum, or say what cannot be; take a copy of it that is whole",
		      t->path, words);
		return;
	case MMAPDEV_LOG_SHORT:
		error("%s: %s: it ends at %" PRIu64
		      ", where segments should follow; was all of it copied?",
		      t->path, words, t->info.size);
		return;
	case MMAPDEV_LOG_SEGMENT:
		error("%s: %s, at offset %" PRIu64
		      ": its first 8 bytes say what cannot be; log tail skips it and shows the others",
		      t->path, words, report->offset);
		return;
	case MMAPDEV_LOG_RECORD:
		error("%s: %s, at offset %" PRIu64
		      ": it should end inside its segment; log tail skips the rest of that one and shows the others",
		      t->path, words, report->offset);
		return;
	case MMAPDEV_LOG_CHECKSUM:
		error("%s: %s, at offset %" PRIu64
		      ": its bytes are not those that were appended; log tail skips it and shows the others",
		      t->path, words, report->offset);
		return;
	}
	error("%s: %s, at offset %" PRIu64, t->path, words, report->offset);
}

/* What an errno means here, and what to do. */
static const char *log_words(const struct target *t, int err)
{
	bool device = t->info.kind == MMAPDEV_KIND_DEVICE;

	switch (err) {
	case -EEXIST:
		return "there is a log already, of another kind than asked for (mmapdevctl log stat tells which)";
	case -EOPNOTSUPP:
		return "nobody can wait for another in it: it has no shared futexes";
	case -ENOSPC:
		return device ? "the device's max_size is too small for it, or no memory is left" :
				"the storage is full";
	case -EFBIG:
		return "the file would become larger than is allowed (ulimit -f)";
	case -EUSERS:
		return "all slots have writers that live (mmapdevctl log stat tells which)";
	case -EXDEV:
		return "/proc is of another pid namespace, so that nobody could tell who is dead; mount one of this namespace";
	case -EFAULT: /* of a wait; a touch is SIGBUS */
		return "it was cut short, or its device removed, while it was in use";
	case -ESTALE:
		return "this writer was evicted (mmapdevctl log recover --evict); what it appends is no longer taken";
	case -EBADMSG:
		return "the log is damaged (mmapdevctl log verify tells where)";
	case -ETIMEDOUT:
		return "another process does not end its turn; is it stopped? (mmapdevctl status tells who has it open)";
	}
	return strerror(-err);
}

int log_failed(const struct target *t, const char *what, int err)
{
	error("%s: cannot %s: %s", t->path, what, log_words(t, err));
	return EXIT_FAILURE;
}

/* A verdict on the header is told in full, all else by its errno. */
static void explain_open(struct target *t, int err)
{
	struct mmapdev_log_report report = { .sz = sizeof(report) };
	bool verdict = err == -ENODATA || err == -EMEDIUMTYPE ||
		       err == -EPROTONOSUPPORT || err == -EBADMSG;

	if (verdict && !mmapdev_log_verify(t->dev, &report) && report.problem)
		explain_problem(t, &report);
	else
		log_failed(t, "open the log", err);
}

int open_log(struct target *t, int oflags, struct mmapdev_log **log)
{
	int ret;

	if (open_target(t, oflags))
		return EXIT_FAILURE;
	catch_sigbus();
	ret = mmapdev_log_open(t->dev, NULL, log);
	if (!ret)
		return 0;
	explain_open(t, ret);
	mmapdev_close(t->dev);
	return EXIT_FAILURE;
}

/* True if a file was made, of which only we know yet. */
static bool make_file(const char *path)
{
	int fd;

	/* A device that is not there does not become a file. */
	if (!strncmp(path, DEVICE, strlen(DEVICE)))
		return false;
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static int told(const struct target *t, const char *what)
{
	error("%s: %s; nothing was written", t->path, what);
	return 1;
}

/* Negative: an error that is not told yet. */
static int open_new(struct target *t, const struct mmapdev_log_opts *opts,
		    bool fresh, struct mmapdev_log **log)
{
	static const char there[] =
		"there is a log already (mmapdevctl log stat tells of it, log append adds to it)";
	struct mmapdev_log_opts o = *opts;
	char found[80], what[160];
	uint64_t at;
	int ret;

	/* One that is there already needs no zeros, nor to be of this kind. */
	ret = mmapdev_log_open(t->dev, fresh ? &o : NULL, log);
	if (fresh && !ret)
		mmapdev_log_close(*log);
	if (fresh && (!ret || ret == -EEXIST))
		return told(t, there);
	if (ret != -ENODATA)
		return ret;
	ret = find_nonzero(t, LOG_HEADER, &at);
	o.flags |= MMAPDEV_LOG_CREATE;
	if (ret > 0) {
		/* Or it is the first record of who was faster. */
		ret = mmapdev_log_open(t->dev, fresh ? opts : NULL, log);
		if (ret != -ENODATA)
			return ret;
		show_bytes(t, at, found, sizeof(found));
		snprintf(what, sizeof(what),
			 "a log is made only in zeros, but %s (to clear it: mmapdevctl fill PATH 0)",
			 found);
		return told(t, what);
	}
	return ret ? ret : mmapdev_log_open(t->dev, &o, log);
}

int make_log(struct target *t, const struct mmapdev_log_opts *opts, bool fresh,
	     struct mmapdev_log **log)
{
	bool made = make_file(t->path);
	int ret;

	ret = open_target(t, O_RDWR);
	if (ret)
		goto out;
	catch_sigbus();
	begin_progress("log create");
	ret = open_new(t, opts, fresh, log);
	end_progress();
	if (ret) {
		if (ret < 0)
			explain_open(t, ret);
		mmapdev_close(t->dev);
	}
out:
	if (ret && made)
		unlink(t->path);
	return ret ? EXIT_FAILURE : 0;
}

int close_log(struct target *t, struct mmapdev_log *log, int status)
{
	int ret = mmapdev_log_close(log);

	if (ret)
		status = log_failed(t, "close the log", ret);
	mmapdev_close(t->dev);
	return status;
}

void find_process(uint32_t pid, struct process *process)
{
	char path[32], text[256], *open, *close;
	FILE *stat;
	size_t n;

	memset(process, 0, sizeof(*process));
	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/stat", pid);
	stat = fopen(path, "re");
	if (!stat)
		return;
	n = fread(text, 1, sizeof(text) - 1, stat);
	fclose(stat);
	text[n] = '\0';
	/* "41 (a name, in which anything may be) S 1 ..." */
	open = strchr(text, '(');
	close = strrchr(text, ')');
	if (!open || !close || close < open || strlen(close) < 3)
		return;
	*close = '\0';
	snprintf(process->name, sizeof(process->name), "%.63s", open + 1);
	for (open = process->name; *open; open++)
		if ((unsigned char)*open < ' ' || *open == 0x7f)
			*open = '?';
	process->state = close[2];
}

void name_writer(const struct mmapdev_log_slot *slot, char *text, size_t size)
{
	struct process process = { .state = 0 };

	if (slot->state == MMAPDEV_LOG_SLOT_OPEN)
		find_process(slot->pid, &process);
	snprintf(text, size, "writer %" PRIu32 " (pid %" PRIu32 "%s%s)",
		 slot->writer, slot->pid, *process.name ? ", " : "",
		 process.name);
}

void tell_blocked(const struct target *t, const struct mmapdev_log_slot *slot,
		  uint32_t index, bool ring)
{
	struct process process;
	char name[128];

	find_process(slot->pid, &process);
	name_writer(slot, name, sizeof(name));
	fflush(stdout);
	fprintf(stderr, "%s: %s has begun a record and not finished it%s: %"
		PRIu64 " bytes wait for it\n", t->path, name,
		process.state == 'T' || process.state == 't' ?
			", and is stopped" : "",
		slot->blocked);
	fprintf(stderr, "  let it go on:     kill -CONT %" PRIu32 "\n"
		"  or end it:        kill -KILL %" PRIu32 "\n", slot->pid,
		slot->pid);
	if (!ring)
		fprintf(stderr, "  or shut it out:   mmapdevctl log recover --evict %"
			PRIu32 " --force %s\n", index, t->path);
}

void print_escaped(const void *data, size_t length)
{
	const unsigned char *p = data, *end = p + length;
	size_t n;

	for (; p < end; p += n) {
		n = utf8_length(p, end - p);
		if (n > 1 && !(n == 2 && *p == 0xc2 && p[1] < 0xa0)) {
			fwrite(p, 1, n, stdout);
			continue;
		}
		n = 1;
		if (*p == '\\')
			fputs("\\\\", stdout);
		else if (*p == '\n')
			fputs("\\n", stdout);
		else if (*p == '\t')
			fputs("\\t", stdout);
		else if (*p < ' ' || *p >= 0x7f)
			printf("\\x%02x", *p);
		else
			putchar(*p);
	}
}
