// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Load, so that it either works or says why.
 *
 * The kernel ignores a parameter that the module does not have, answers most
 * other mistakes with one errno for all, and returns before udev has made the
 * node. So names and values are checked against the module first, the errno is
 * read together with what the kernel logged, and the node is waited for.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <mmapdev.h>

#include "ctl.h"
#include "kmod.h"

#define NODE_DEADLINE_MS 5000
#define POLL_MS 10

static void no_log(void *data, int priority, const char *file, int line,
		   const char *function, const char *format, va_list args)
{
	(void)data;
	(void)priority;
	(void)file;
	(void)line;
	(void)function;
	(void)format;
	(void)args;
}

struct kmod_ctx *quiet_kmod(void)
{
	struct kmod_ctx *ctx = kmod_new(NULL, NULL);

	if (ctx)
		kmod_set_log_fn(ctx, no_log, NULL);
	return ctx;
}

uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* What modprobe.d says, then what was asked for: the kernel takes the last. */
static char *join(const char *configured, char **args)
{
	size_t room = 2 + (configured ? strlen(configured) : 0);
	char *options, *end;
	char **arg;

	for (arg = args; *arg; arg++)
		room += strlen(*arg) + 1;
	options = malloc(room);
	if (!options)
		return NULL;

	end = stpcpy(options, configured ? configured : "");
	for (arg = args; *arg; arg++) {
		*end++ = ' ';
		end = stpcpy(end, *arg);
	}
	return options;
}

/* The end of the kernel's log, to read from there what an insertion adds. */
static int open_log(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

static void print_log(int fd)
{
	char record[1024], *text;
	ssize_t n;

	while (fd >= 0) {
		n = read(fd, record, sizeof(record) - 1);
		if (n < 0 && errno == EPIPE) /* the oldest was overwritten */
			continue;
		if (n <= 0)
			return;
		record[n] = '\0';
		text = strchr(record, ';');
		if (!text || !strstr(text, MODULE))
			continue;
		text[strcspn(text, "\n")] = '\0';
		fprintf(stderr, "  kernel: %s\n", text + 1);
	}
}

static void explain(int err, const struct module_info *info)
{
	struct utsname kernel = { .release = "?" };

	uname(&kernel);
	switch (err) {
	case -EEXIST:
		error("the module is loaded already: mmapdevctl status");
		break;
	case -EPERM:
		error(geteuid() ?
			"not permitted: run as root" :
			"not permitted, though root: kernel lockdown, kernel.modules_disabled or a container");
		break;
	case -EKEYREJECTED:
	case -ENOKEY:
		error("this kernel takes signed modules only (Secure Boot): sign it and enrol the key, or switch Secure Boot off");
		break;
	case -ENOEXEC:
		error("it was built for another kernel: for %.*s, this is %s; make modules KDIR=/lib/modules/%s/build",
		      info->vermagic ? (int)strcspn(info->vermagic, " ") : 1,
		      info->vermagic ? info->vermagic : "?", kernel.release,
		      kernel.release);
		break;
	case -EINVAL:
	case -ERANGE:
		error("the kernel refuses a value: %s", strerror(-err));
		break;
	case -ENOENT:
		error("it needs a symbol that this kernel lacks, or a parameter has no such value");
		break;
	case -ENOMEM:
		error("there is not enough memory for it");
		break;
	case -ENOSYS:
		error("this kernel loads no modules");
		break;
	default:
		error("%s", strerror(-err));
	}
}

static int wait_for_node(void)
{
	struct mmapdev_info info = { .sz = sizeof(info) };
	uint64_t deadline = now_ms() + NODE_DEADLINE_MS;
	struct mmapdev *dev;
	int ret;

	while ((ret = mmapdev_open(DEVICE, O_RDONLY, &dev)) &&
	       ret != -EACCES && now_ms() < deadline)
		usleep(POLL_MS * 1000);
	if (ret == -EACCES)
		return 0;
	if (ret) {
		error("the module is loaded, but after %d seconds " DEVICE
		      " is not there (%s): is /dev a devtmpfs, does udev run?",
		      NODE_DEADLINE_MS / 1000, strerror(-ret));
		return EXIT_FAILURE;
	}
	if (!mmapdev_get_info(dev, &info)) {
		printf("%s: size ", DEVICE);
		print_size(info.size);
		printf(", mode %s\n",
		       info.mode == MMAPDEV_MODE_EAGER ? "eager" : "demand");
	}
	mmapdev_close(dev);
	return 0;
}

static int insert(struct kmod_module *module, const struct module_info *info,
		  bool installed, char **args)
{
	char *options;
	int log, ret;

	options = join(installed ? kmod_module_get_options(module) : NULL,
		       args);
	if (!options) {
		error("%m");
		return EXIT_FAILURE;
	}
	log = open_log();
	ret = kmod_module_insert_module(module, 0, options);
	if (ret) {
		explain(ret, info);
		print_log(log);
	}
	if (log >= 0)
		close(log);
	free(options);
	return ret ? EXIT_FAILURE : wait_for_node();
}

/* -m, else the one that was just built here, else the installed one. */
static struct kmod_module *find_module(struct kmod_ctx *ctx, const char *path,
				       bool *installed)
{
	struct kmod_module *module = NULL;
	struct kmod_list *list = NULL;
	int ret;

	if (!path && !access("./" MODULE ".ko", F_OK))
		path = "./" MODULE ".ko";
	*installed = !path;
	if (path) {
		ret = kmod_module_new_from_path(ctx, path, &module);
		if (ret)
			error("%s: %s", path, strerror(-ret));
		return module;
	}

	ret = kmod_module_new_from_lookup(ctx, MODULE, &list);
	if (!ret && list)
		module = kmod_module_get_module(list);
	kmod_module_unref_list(list);
	if (!module)
		error("there is no ./" MODULE ".ko, and none is installed for this kernel: make modules, or name it with -m PATH");
	return module;
}

static int load(struct kmod_module *module, bool installed, char **args)
{
	struct module_info info;
	char **arg;
	int ret;

	ret = read_info(module, &info);
	if (ret) {
		error("%s: %s", kmod_module_get_path(module),
		      access(kmod_module_get_path(module), R_OK) ?
			      strerror(errno) :
			      "this is no kernel module");
		ret = EXIT_FAILURE;
	} else if (info.name && strcmp(info.name, MODULE)) {
		error("%s is the module '%s', not " MODULE,
		      kmod_module_get_path(module), info.name);
		ret = EXIT_FAILURE;
	}
	for (arg = args; !ret && *arg; arg++)
		ret = check_param(&info, *arg);
	if (!ret)
		ret = insert(module, &info, installed, args);
	free_info(&info);
	return ret;
}

static int run_load(int argc, char **argv)
{
	static const struct option options[] = {
		{ "module", required_argument, NULL, 'm' },
		{ NULL, 0, NULL, 0 },
	};
	struct kmod_module *module;
	const char *path = NULL;
	int option, status = EXIT_FAILURE;
	struct kmod_ctx *ctx;
	bool installed;

	while ((option = next_option(argc, argv, ":m:", options)) != -1) {
		if (option == '?')
			return EXIT_USAGE;
		path = optarg;
	}

	ctx = quiet_kmod();
	if (!ctx) {
		error("cannot set up libkmod: %m");
		return EXIT_FAILURE;
	}
	module = find_module(ctx, path, &installed);
	if (module) {
		status = load(module, installed, argv + optind);
		kmod_module_unref(module);
	}
	kmod_unref(ctx);
	return status;
}

const struct command load_command = {
	"load",
	"[-m PATH.ko] [NAME=VALUE...]",
	"Load the module and wait for " DEVICE ". Names and values of parameters\n"
	"are checked first: the kernel would ignore a misspelt one. Without -m it is\n"
	"./" MODULE ".ko if there is one, else what is installed for this kernel.\n"
	"\n"
	"  size=BYTES       of the buffer, with K, M or G\n"
	"  mode=MODE        demand: map each page at its first touch; eager: all at\n"
	"                   mmap time\n"
	"  node_mode=BITS   permissions of the node, octal\n"
	"\n"
	"  mmapdevctl load\n"
	"  mmapdevctl load size=64M mode=eager node_mode=0666\n"
	"  mmapdevctl load -m ./" MODULE ".ko size=16M\n",
	run_load,
};
