// SPDX-License-Identifier: GPL-2.0
/*
 * PID 1 of the virtual machine: mount what programs expect, load mmapdev.ko,
 * run one command, tell the host how each step went, and leave.
 *
 * What to do is in three files of the initramfs: /etc/mmapdev/command (argv,
 * NUL-terminated words), /etc/mmapdev/params (absent: load nothing) and the
 * module itself. Three ways lead out, so that none can garble another: printk on
 * ttyS0, the command's output on ttyS1, and our own lines byte by byte on
 * QEMU's debug port, which needs no driver and nothing to flush. Every second
 * of the command's life we say "alive": a host that hears nothing knows that
 * the machine hangs, one that hears us knows that the command is merely slow.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define CONTROL_PORT	0xe9	/* isa-debugcon */
#define EXIT_PORT	0xf4	/* isa-debug-exit: QEMU exits (value << 1) | 1 */
#define EXIT_VALUE	16

#define CONFIGFS	"/lib/configfs.ko"
#define MODULE		"/lib/mmapdev.ko"
#define NODE		"/dev/mmapdev"
#define ARGS_MAX	256

static const struct mnt {
	const char *type, *dir, *options;
} mounts[] = {
	{ "proc", "/proc", NULL },
	{ "sysfs", "/sys", NULL },
	{ "devtmpfs", "/dev", NULL },
	{ "devpts", "/dev/pts", NULL },
	{ "tmpfs", "/dev/shm", "mode=1777" },
	{ "tmpfs", "/tmp", "mode=1777" },
	{ "tmpfs", "/run", NULL },
	{ "configfs", "/sys/kernel/config", NULL },
	{ "cgroup2", "/sys/fs/cgroup", NULL },
	{ "debugfs", "/sys/kernel/debug", NULL },
	{ "tracefs", "/sys/kernel/tracing", NULL },
};

static const char *const links[][2] = {
	{ "/proc/self/fd", "/dev/fd" },
	{ "/proc/self/fd/0", "/dev/stdin" },
	{ "/proc/self/fd/1", "/dev/stdout" },
	{ "/proc/self/fd/2", "/dev/stderr" },
};

static void say(const char *format, ...)
{
	char line[256];
	va_list args;
	int len, i;

	va_start(args, format);
	len = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	for (i = 0; i < len && i < (int)sizeof(line) - 1; i++)
		outb(line[i], CONTROL_PORT);
	outb('\n', CONTROL_PORT);
}

static void __attribute__((noreturn)) leave(int output)
{
	if (output >= 0)
		tcdrain(output);
	say("done");
	outb(EXIT_VALUE, EXIT_PORT);
	for (;;)
		pause();
}

static void nap(long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

/* The whole file as a string which the caller frees; NULL if there is none. */
static char *slurp(const char *path, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = malloc(1 << 20);
	ssize_t n;

	*len = 0;
	if (fd < 0 || !text) {
		free(text);
		return NULL;
	}
	while ((n = read(fd, text + *len, (1 << 20) - 1 - *len)) > 0)
		*len += n;
	text[*len] = '\0';
	close(fd);
	return text;
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		say("note %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static unsigned long taint(void)
{
	size_t len;
	char *text = slurp("/proc/sys/kernel/tainted", &len);
	unsigned long bits = text ? strtoul(text, NULL, 10) : 0;

	free(text);
	return bits;
}

static void bring_up_loopback(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (sock < 0 || ioctl(sock, SIOCSIFFLAGS, &ifr))
		say("note lo: %s", strerror(errno));
	if (sock >= 0)
		close(sock);
}

/* 0 or errno. */
static int insert(const char *path, const char *params)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0 || syscall(SYS_finit_module, fd, params, 0))
		err = errno;
	if (fd >= 0)
		close(fd);
	return err;
}

static void set_up(void)
{
	size_t i;
	int err;

	/* Of Debian's kernels it is a module, and makes the folder to mount on. */
	err = insert(CONFIGFS, "");
	if (err && err != ENOENT)
		say("note %s: %s", CONFIGFS, strerror(err));
	for (i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		const struct mnt *m = &mounts[i];

		mkdir(m->dir, 0755);
		if (mount(m->type, m->dir, m->type, 0, m->options))
			say("note mount %s: %s", m->dir, strerror(errno));
	}
	for (i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		if (symlink(links[i][0], links[i][1]))
			say("note %s: %s", links[i][1], strerror(errno));
	put("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	bring_up_loopback();
	sethostname("mmapdev", 7);
	/* The boot was quiet, but what the driver says is all wanted. */
	put("/proc/sys/kernel/printk", "8");
}

static int open_output(void)
{
	int fd = open("/dev/ttyS1", O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios raw;

	if (fd < 0 || tcgetattr(fd, &raw)) {
		say("note ttyS1: %s", strerror(errno));
		return fd;
	}
	cfmakeraw(&raw);
	cfsetspeed(&raw, B115200);
	tcsetattr(fd, TCSANOW, &raw);
	return fd;
}

/* 0, or the errno that tells why there is no device. */
static int load(const char *params)
{
	int err = insert(MODULE, params);
	struct stat st;
	int tries;

	if (err)
		return err;
	for (tries = 0; tries < 500; tries++) {
		if (!stat(NODE, &st))
			return 0;
		nap(10);
	}
	return ENODEV;
}

/* The last reference may go a moment after its process: deferred fput. */
static int unload(void)
{
	int tries;

	for (tries = 0; tries < 200; tries++) {
		if (!syscall(SYS_delete_module, "mmapdev", O_NONBLOCK))
			return 0;
		if (errno != EAGAIN && errno != EBUSY)
			break;
		nap(10);
	}
	return errno;
}

static void __attribute__((noreturn)) command(char **argv, int output,
					      const char *params)
{
	int null = open("/dev/null", O_RDWR);
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	dup2(null, 0);
	dup2(output, 1);
	dup2(output, 2);
	closefrom(3);
	ioperm(CONTROL_PORT, 1, 0);
	ioperm(EXIT_PORT, 4, 0);
	clearenv();
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	setenv("TERM", "dumb", 1);
	setenv("MMAPDEV_KO", MODULE, 1);
	if (params)
		setenv("MMAPDEV_PARAMS", params, 1);
	if (chdir("/work"))
		perror("/work");
	execvp(argv[0], argv);
	dprintf(2, "%s: %s\n", argv[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

/* Reap everybody until the command has ended; -1 can't happen to PID 1. */
static int wait_for(pid_t pid)
{
	const struct timespec second = { 1, 0 };
	sigset_t chld;
	int status;
	pid_t dead;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	for (;;) {
		while ((dead = waitpid(-1, &status, WNOHANG)) > 0)
			if (dead == pid)
				return status;
		if (sigtimedwait(&chld, NULL, &second) < 0 && errno == EAGAIN)
			say("alive");
	}
}

/* What the command left behind must not hold the device. */
static void kill_the_rest(void)
{
	int tries;
	pid_t dead;

	kill(-1, SIGKILL);
	for (tries = 0; tries < 500; tries++) {
		while ((dead = waitpid(-1, NULL, WNOHANG)) > 0)
			;
		if (dead < 0)
			return;
		nap(10);
	}
	say("note a process survived SIGKILL");
}

int main(void)
{
	char *argv[ARGS_MAX + 1] = { NULL };
	unsigned long before;
	char *params, *words;
	size_t len, at;
	sigset_t chld;
	int argc = 0, err, output, status;
	pid_t pid;

	if (ioperm(CONTROL_PORT, 1, 1) || ioperm(EXIT_PORT, 4, 1)) {
		perror("init: ioperm");
		return 1;
	}
	set_up();
	before = taint();
	say("booted");

	output = open_output();
	params = slurp("/etc/mmapdev/params", &len);
	if (params) {
		err = load(params);
		if (err) {
			say("load-failed %d", err);
			leave(output);
		}
		say("loaded");
	}

	words = slurp("/etc/mmapdev/command", &len);
	for (at = 0; words && at < len && argc < ARGS_MAX; at += strlen(words + at) + 1)
		argv[argc++] = words + at;
	if (!argc || at < len) {
		say("note /etc/mmapdev/command: missing, empty or over %d words", ARGS_MAX);
		leave(output);
	}

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	say("start");
	pid = fork();
	if (pid == 0)
		command(argv, output, params);
	status = wait_for(pid);
	if (WIFSIGNALED(status))
		say("signal %d", WTERMSIG(status));
	else
		say("exit %d", WEXITSTATUS(status));
	kill_the_rest();
	say("unload %d", unload());
	say("taint %lu %lu", before, taint());
	leave(output);
}
