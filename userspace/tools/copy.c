// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The command copy.
 *
 * It writes a file of its own, beside FILE, which takes the name FILE when it is
 * whole and on the storage, and is removed otherwise: what is called FILE is
 * what was there before, or a whole copy. Only SIGKILL leaves the other behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <mmapdev.h>

#include "ctl.h"
#include "follow.h"
#include "target.h"

#define TICK_MS 2000
#define STUCK_ROUNDS 10

static volatile sig_atomic_t stop;

static struct {
	uint64_t next;	/* when to say something */
	bool explained; /* why it does not end */
} progress;

static void on_signal(int number)
{
	stop = number;
}

static void catch_signals(void)
{
	/* No SA_RESTART: what waits is to end. */
	struct sigaction action = { .sa_handler = on_signal }, old;
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	size_t i;

	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (!sigaction(signals[i], NULL, &old) &&
		    old.sa_handler != SIG_IGN)
			sigaction(signals[i], &action, NULL);
}

static void print_progress(const struct follow *f)
{
	if (now_ms() < progress.next)
		return;
	progress.next = now_ms() + TICK_MS;

	fprintf(stderr,
		"mmapdevctl copy: round %" PRIu64 ": %" PRIu64 " of %" PRIu64
		" pages\n",
		f->rounds, f->done, f->pages);
	if (f->stuck < STUCK_ROUNDS || progress.explained)
		return;
	progress.explained = true;
	fprintf(stderr,
		"mmapdevctl copy: in %u rounds there were never fewer than %" PRIu64
		" pages to copy. It cannot end before the writers pause; of what is mapped eagerly every page counts as written, and none may change.\n",
		f->stuck, f->fewest);
}

/* A process that was named is to be gone; it shows so when nothing is its own. */
static int process = -1;

static bool is_gone(const struct follow *f)
{
	struct pollfd end = { .fd = process, .events = POLLIN };

	(void)f;
	return poll(&end, 1, 0) > 0;
}

static int open_process(const struct target *t)
{
	process = syscall(SYS_pidfd_open, (pid_t)t->pid, 0);
	if (process >= 0 || errno == ESRCH)
		return 0;
	error("--pid %" PRIu64 ": %s", t->pid, strerror(errno));
	return EXIT_FAILURE;
}

/*
 * Of two who clear the marks, each would miss what the other was told. The lock
 * is on a byte that no program will have a use for.
 */
static int claim(const struct target *t)
{
	struct flock lock = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = INT64_MAX,
		.l_len = 1,
	};

	if (t->info.kind != MMAPDEV_KIND_DEVICE) {
		error("%s: a file keeps no record of what is written: copy it without --follow",
		      t->path);
		return EXIT_FAILURE;
	}
	if (fcntl(mmapdev_fd(t->dev), F_OFD_SETLK, &lock) &&
	    (errno == EAGAIN || errno == EACCES)) {
		error("%s: another copy --follow is at work on it", t->path);
		return EXIT_FAILURE;
	}
	return 0;
}

struct file {
	const char *name;     /* as it was said */
	char path[PATH_MAX];  /* the same, links followed */
	char part[PATH_MAX];  /* what is written */
	struct stat old;      /* what is there */
	bool exists;
	int fd;
};

static int open_part(struct file *file)
{
	int length;

	file->exists = !stat(file->name, &file->old);
	if (!file->exists && errno != ENOENT) {
		error("%s: %s", file->name, strerror(errno));
		return EXIT_FAILURE;
	}
	if (file->exists && !S_ISREG(file->old.st_mode)) {
		error("%s: not a regular file", file->name);
		return EXIT_FAILURE;
	}
	if (!file->exists || !realpath(file->name, file->path))
		snprintf(file->path, sizeof(file->path), "%s", file->name);

	length = snprintf(file->part, sizeof(file->part), "%s.part-XXXXXX",
			  file->path);
	if (length >= (int)sizeof(file->part))
		errno = ENAMETOOLONG;
	file->fd = length < (int)sizeof(file->part) ?
			   mkostemp(file->part, O_CLOEXEC) : -1;
	if (file->fd < 0) {
		error("%s: cannot write a file beside it: %s", file->name,
		      strerror(errno));
		return EXIT_FAILURE;
	}
	return 0;
}

/* As open(2) would make it, or as what it replaces. */
static int set_owner_and_mode(const struct file *file)
{
	mode_t mask = umask(0);

	umask(mask);
	if (!file->exists)
		return fchmod(file->fd, 0666 & ~mask);
	/* Only root gives files away; the mode would not outlive a later try. */
	if (fchown(file->fd, file->old.st_uid, file->old.st_gid) &&
	    errno != EPERM)
		return -1;
	return fchmod(file->fd, file->old.st_mode & 07777);
}

/* A name lasts when its directory does. */
static int sync_directory(const char *path)
{
	char copy[PATH_MAX];
	int fd, ret;

	snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ret = fsync(fd);
	close(fd);
	/* Some file systems cannot, and need not. */
	return ret && errno != EINVAL ? -1 : 0;
}

/* 0 or -errno; then the name is not taken. */
static int complete(struct file *file)
{
	if (set_owner_and_mode(file) || fsync(file->fd) || stop ||
	    rename(file->part, file->path))
		return stop ? -EINTR : -errno;
	*file->part = '\0';
	return 0;
}

static void explain(const struct target *t, const struct file *file,
		    const struct follow *f, int err)
{
	const char *left = file->exists ? "is as it was" : "was not written";

	if (err == -EINTR && stop)
		error("stopped by a signal in round %" PRIu64 ": %s %s",
		      f->rounds, file->name, left);
	else if (f->file_failed)
		error("%s: cannot write it: %s; it %s", file->name,
		      strerror(-err), left);
	else if (err == -ENODEV)
		error("%s: the device was removed meanwhile: %s %s", t->path,
		      file->name, left);
	else if (err == -ESTALE)
		error("%s: its size changed meanwhile, which --follow copes with: %s %s",
		      t->path, file->name, left);
	else if (err == -ENOTTY)
		error("%s: this driver is older than 1.1 and cannot be followed: %s %s",
		      t->path, file->name, left);
	else
		error("%s: cannot read it: %s; %s %s", t->path, strerror(-err),
		      file->name, left);
}

static void print_result(const struct target *t, const struct file *file,
			 const struct follow *f)
{
	if (t->json) {
		printf("{\"path\": ");
		print_json_string(t->path);
		printf(", \"file\": ");
		print_json_string(file->name);
		printf(", \"size\": %" PRIu64 ", \"rounds\": %" PRIu64
		       ", \"written\": %" PRIu64 "}\n",
		       f->info.size, f->rounds, f->bytes);
		return;
	}
	printf("%s: size ", file->name);
	print_size(f->info.size);
	printf(", %" PRIu64 " round%s, ", f->rounds, f->rounds > 1 ? "s" : "");
	print_size(f->bytes);
	printf(" written\n");
}

static int copy(struct target *t, const char *name)
{
	static struct file file;
	struct follow f = {
		.dev = t->dev,
		.once = !t->follow,
		.stop = &stop,
		.tick = print_progress,
		.may_end = process >= 0 ? is_gone : NULL,
	};
	int ret;

	file.name = name;
	if (open_part(&file))
		return EXIT_FAILURE;
	f.fd = file.fd;
	progress.next = now_ms() + TICK_MS;

	ret = follow(&f);
	if (!ret) {
		ret = complete(&file);
		f.file_failed = ret && ret != -EINTR;
	}
	if (*file.part)
		unlink(file.part);
	close(file.fd);
	if (ret) {
		explain(t, &file, &f, ret);
	} else if (sync_directory(file.path)) {
		ret = -errno;
		error("%s is whole, but its name may not outlive a crash: %m",
		      file.name);
	} else {
		print_result(t, &file, &f);
	}
	return ret ? EXIT_FAILURE : 0;
}

static int run_copy(int argc, char **argv)
{
	struct target t = { .path = DEVICE };
	int status;

	if (parse_target(argc, argv, "jfp", &t))
		return EXIT_USAGE;
	if (t.pid && !t.follow)
		return usage("--pid goes with --follow");
	if (argc - optind < 2)
		return usage("want DEVICE FILE, as " DEVICE " image");
	if (argc - optind > 2)
		return usage("want DEVICE FILE, not also '%s'",
			     argv[optind + 2]);
	t.path = argv[optind];

	/* To clear marks is to write. */
	if (open_target(&t, t.follow ? O_RDWR : O_RDONLY))
		return EXIT_FAILURE;
	status = t.follow ? claim(&t) : 0;
	if (!status && t.pid)
		status = open_process(&t);
	if (!status) {
		catch_signals();
		status = copy(&t, argv[optind + 1]);
	}
	mmapdev_close(t.dev);
	return status;
}

const struct command copy_command = {
	"copy",
	"DEVICE FILE [--follow [--pid PID]] [--json]",
	"Copy the content of DEVICE into FILE, which gets its size; holes stay\n"
	"holes. FILE is replaced when the copy is whole and on the storage, and else\n"
	"left as it was; FILE.part-* is what is being written.\n"
	"\n"
	"--follow is for a device in use: what is written meanwhile is copied again,\n"
	"round by round, until nothing is. All that was written before the last look\n"
	"is then in FILE, holes and changes of the size as well. Others must not clear\n"
	"the device's dirty bitmap meanwhile. Progress goes to stderr. With --pid it\n"
	"goes on until that process is gone, and FILE has all that it wrote.\n"
	"\n"
	"  mmapdevctl copy " DEVICE " image\n"
	"  mmapdevctl copy " DEVICE " image --follow\n"
	"  mmapdevctl copy " DEVICE " image --follow --json | jq .rounds\n",
	run_copy,
};
