// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The driver's trace events mmapdev_fault and mmapdev_mkwrite, read in an
 * instance of tracing of our own, so that nobody else's tracing is changed.
 * SIGKILL leaves it behind: the next to come removes those of processes that are
 * gone.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <mntent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl.h"
#include "faults.h"
#include "nodes.h"

#define INSTANCE "mmapdevctl-"
/* More would keep the terminal waiting. */
#define READ_MS 100

static bool find_instances(char *path, size_t size)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *mount;
	bool found = false;

	while (mounts && !found && (mount = getmntent(mounts))) {
		found = !strcmp(mount->mnt_type, "tracefs");
		if (found)
			snprintf(path, size, "%s/instances", mount->mnt_dir);
	}
	if (mounts)
		endmntent(mounts);
	return found;
}

static void remove_left_over(const char *instances)
{
	DIR *dir = opendir(instances);
	struct dirent *entry;
	uint64_t pid;

	while (dir && (entry = readdir(dir)))
		if (!strncmp(entry->d_name, INSTANCE, strlen(INSTANCE)) &&
		    parse_u64(entry->d_name + strlen(INSTANCE), &pid) &&
		    kill(pid, 0) && errno == ESRCH)
			unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
	if (dir)
		closedir(dir);
}

static int put(const struct faults *f, const char *name, const char *value)
{
	char path[PATH_MAX + 64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", f->instance, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = write(fd, value, strlen(value));
	close(fd);
	return n < 0 ? -1 : 0;
}

static int enable(struct faults *f, const char *filter)
{
	char pipe[PATH_MAX + 64];

	if (put(f, "events/mmapdev/mmapdev_fault/filter", filter) ||
	    put(f, "events/mmapdev/mmapdev_mkwrite/filter", filter) ||
	    put(f, "events/mmapdev/mmapdev_fault/enable", "1") ||
	    put(f, "events/mmapdev/mmapdev_mkwrite/enable", "1"))
		return -1;
	snprintf(pipe, sizeof(pipe), "%s/trace_pipe", f->instance);
	f->pipe = open(pipe, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return f->pipe < 0 ? -1 : 0;
}

const char *faults_begin(struct faults *f, const char *path)
{
	char filter[96], node[32];

	memset(f, 0, sizeof(*f));
	f->pipe = -1;
	if (node_of(path, node, sizeof(node)))
		return "files are not traced";
	if (!find_instances(f->instance, sizeof(f->instance))) {
		*f->instance = '\0';
		return "tracefs is not mounted: mount -t tracefs tracefs /sys/kernel/tracing";
	}
	remove_left_over(f->instance);
	snprintf(f->instance + strlen(f->instance),
		 sizeof(f->instance) - strlen(f->instance), "/" INSTANCE "%d",
		 getpid());
	if (mkdir(f->instance, 0700)) {
		*f->instance = '\0';
		return errno == EACCES || errno == EPERM ?
			       "only root may trace" :
			       "this kernel gives no tracing instance";
	}
	/* What survey.c touches is not to be shown. */
	snprintf(filter, sizeof(filter), "dev == %d && common_pid != %d",
		 atoi(node + strlen(MODULE)), getpid());
	if (enable(f, filter)) {
		faults_end(f);
		return "this kernel does not trace the driver";
	}
	return NULL;
}

/* "  writer-123  [000] .....  1.5: mmapdev_fault: dev=0 index=5 write=1 ..." */
static void read_line(struct faults *f, const char *line, fault_fn fn,
		      void *arg)
{
	const char *event = strstr(line, ": mmapdev_");
	const char *lost = strstr(line, "[LOST ");
	const char *index = strstr(line, " index=");
	uint64_t page, count;

	if (lost && sscanf(lost, "[LOST %" SCNu64 " EVENTS]", &count) == 1)
		f->lost += count;
	if (event && index && sscanf(index, " index=%" SCNu64, &page) == 1)
		fn(arg, page, !strncmp(event, ": mmapdev_mkwrite:", 18));
}

static void read_lines(struct faults *f, fault_fn fn, void *arg)
{
	char *line = f->text, *end;

	f->text[f->length] = '\0';
	for (; (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		read_line(f, line, fn, arg);
	}
	f->length -= line - f->text;
	memmove(f->text, line, f->length);
}

void faults_read(struct faults *f, fault_fn fn, void *arg)
{
	uint64_t until = now_ms() + READ_MS;
	ssize_t n;

	while (f->pipe >= 0 && now_ms() < until) {
		if (f->length == sizeof(f->text) - 1)
			f->length = 0; /* no line is that long */
		n = read(f->pipe, f->text + f->length,
			 sizeof(f->text) - 1 - f->length);
		if (n <= 0)
			return;
		f->length += n;
		read_lines(f, fn, arg);
	}
}

void faults_end(struct faults *f)
{
	if (f->pipe >= 0)
		close(f->pipe);
	f->pipe = -1;
	if (*f->instance)
		rmdir(f->instance);
	*f->instance = '\0';
}
