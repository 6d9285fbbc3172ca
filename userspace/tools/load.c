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
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <mmapdev.h>

#include "ctl.h"
#include "kmod.h"
#include "nodes.h"

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

static void print_json_node(const char *path, const struct mmapdev_info *info)
{
	printf("{\"node\": ");
	print_json_string(path);
	printf(", \"size\": %" PRIu64 ", \"max_size\": %" PRIu64
	       ", \"mode\": \"%s\"}",
	       info->size, info->max_size,
	       info->mode == MMAPDEV_MODE_EAGER ? "eager" : "demand");
}

/* Not of one that this user may not open. */
static bool print_node(const char *path, const char *before, bool json)
{
	struct mmapdev_info info = { .sz = sizeof(info) };
	struct mmapdev *dev;

	if (mmapdev_open(path, O_RDONLY, &dev))
		return false;
	if (mmapdev_get_info(dev, &info)) {
		mmapdev_close(dev);
		return false;
	}
	if (json) {
		printf("%s", before);
		print_json_node(path, &info);
	} else {
		printf("%s: size ", path);
		print_size(info.size);
		printf(", mode %s\n",
		       info.mode == MMAPDEV_MODE_EAGER ? "eager" : "demand");
	}
	mmapdev_close(dev);
	return true;
}

/* The kernel has told sysfs of all of them by now, and udev will hear of it. */
static int wait_for_nodes(bool json)
{
	char path[PATH_MAX];
	const char *before = "";
	struct nodes nodes;
	int ret = 0;
	size_t i;

	if (find_nodes(&nodes))
		return EXIT_FAILURE;
	/* All before anything is printed: half of a JSON object is none. */
	for (i = 0; i < nodes.count && !ret; i++) {
		node_path(&nodes.list[i], path);
		if (*nodes.list[i].name)
			ret = wait_for_node(path);
	}
	if (json && !ret)
		printf("{\"devices\": [");
	for (i = 0; i < nodes.count && !ret; i++) {
		node_path(&nodes.list[i], path);
		if (*nodes.list[i].name && print_node(path, before, json))
			before = ", ";
	}
	if (json && !ret)
		printf("]}\n");
	else if (!nodes.count)
		printf("loaded, without a device: mmapdevctl create\n");
	free(nodes.list);
	return ret;
}

/*
 * The kernel's own loader, which is what insmod has, loads nothing else first.
 * What this module asks for it can do without.
 */
static void load_dependencies(struct kmod_ctx *ctx,
			      const struct module_info *info)
{
	char *names = strdup(info->depends ? info->depends : ""), *name, *rest;
	struct kmod_list *list, *entry;
	char path[PATH_MAX];
	int ret;

	for (name = names ? strtok_r(names, ",", &rest) : NULL; name;
	     name = strtok_r(NULL, ",", &rest)) {
		snprintf(path, sizeof(path), "/sys/module/%s", name);
		if (!access(path, F_OK))
			continue;
		list = NULL;
		ret = kmod_module_new_from_lookup(ctx, name, &list);
		if (!ret && !list)
			ret = -ENOENT;
		kmod_list_foreach(entry, list) {
			struct kmod_module *module =
				kmod_module_get_module(entry);

			ret = kmod_module_probe_insert_module(
				module, KMOD_PROBE_IGNORE_LOADED, NULL, NULL,
				NULL, NULL);
			kmod_module_unref(module);
		}
		kmod_module_unref_list(list);
		if (ret)
			error("going on without %s, which cannot be loaded (%s): mmapdevctl create will not work",
			      name, strerror(ret < 0 ? -ret : EPERM));
	}
	free(names);
}

static int insert(struct kmod_ctx *ctx, struct kmod_module *module,
		  const struct module_info *info, bool installed, char **args,
		  bool json)
{
	char *options;
	int log, ret;

	options = join(installed ? kmod_module_get_options(module) : NULL,
		       args);
	if (!options) {
		error("%m");
		return EXIT_FAILURE;
	}
	load_dependencies(ctx, info);
	log = open_kmsg();
	begin_progress("load");
	ret = kmod_module_insert_module(module, 0, options);
	if (ret) {
		explain(ret, info);
		print_kmsg(log);
	}
	if (log >= 0)
		close(log);
	free(options);
	ret = ret ? EXIT_FAILURE : wait_for_nodes(json);
	end_progress();
	return ret;
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

static int load(struct kmod_ctx *ctx, struct kmod_module *module,
		bool installed, char **args, bool json)
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
		ret = insert(ctx, module, &info, installed, args, json);
	free_info(&info);
	return ret;
}

static int run_load(int argc, char **argv)
{
	static const struct option options[] = {
		{ "module", required_argument, NULL, 'm' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	struct kmod_module *module;
	const char *path = NULL;
	int option, status = EXIT_FAILURE;
	struct kmod_ctx *ctx;
	bool installed, json = false;

	while ((option = next_option(argc, argv, ":m:", options)) != -1) {
		if (option == '?')
			return EXIT_USAGE;
		if (option == 'j')
			json = true;
		else
			path = optarg;
	}

	ctx = quiet_kmod();
	if (!ctx) {
		error("cannot set up libkmod: %m");
		return EXIT_FAILURE;
	}
	module = find_module(ctx, path, &installed);
	if (module) {
		status = load(ctx, module, installed, argv + optind, json);
		kmod_module_unref(module);
	}
	kmod_unref(ctx);
	return status;
}

const struct command load_command = {
	"load",
	"[-m|--module PATH.ko] [NAME=VALUE...] [--json]",
	"Load the module and wait for its nodes. Names and values of parameters are\n"
	"checked first: the kernel would ignore a misspelt one. Without -m it is\n"
	"./" MODULE ".ko if there is one, else what is installed for this kernel.\n"
	"What it depends on, configfs, is loaded before it.\n"
	"\n"
	"  devices=N        how many to make, 0 to 64\n"
	"  size=BYTES *     of the buffer, with K, M or G\n"
	"  max_size=BYTES * that it may become\n"
	"  mode=MODE *      demand: map each page at its first touch; eager: all at\n"
	"                   mmap time\n"
	"  huge=WHEN *      folios of more than a page: never, advise or always\n"
	"  prealloc=0|1     take all of the memory at once\n"
	"  node_mode=BITS   permissions of the nodes, octal\n"
	"\n"
	"Those with * may be lists, with commas, of a value for each device.\n"
	"\n"
	"  mmapdevctl load\n"
	"  mmapdevctl load size=64M mode=eager node_mode=0666\n"
	"  mmapdevctl load devices=2 size=16M,1M max_size=1G\n"
	"  mmapdevctl load -m ./" MODULE ".ko size=16M\n"
	"  mmapdevctl load devices=2 --json | jq -r '.devices[].node'\n",
	run_load,
};
