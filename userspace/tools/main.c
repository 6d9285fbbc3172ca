// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * mmapdevctl: the module and its device from the command line.
 *
 * Text is for people and may change; what --json prints is for programs, and
 * only gains members.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <mmapdev.h>

#include "ctl.h"

static const struct command *const commands[] = {
	&load_command,	 &unload_command, &status_command, &list_command,
	&create_command, &remove_command, &info_command,   &resize_command,
	&punch_command,	 &fill_command,	  &sum_command,	   &dump_command,
	&copy_command,	 &commit_command, &wait_command,   &watch_command,
};

#define OPTIONS_MAX 16
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct command *current;

static void verror(const char *format, va_list args)
{
	fflush(stdout);
	fprintf(stderr, "mmapdevctl%s%s: ", current ? " " : "",
		current ? current->name : "");
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
}

void error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	verror(format, args);
	va_end(args);
}

int usage(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	verror(format, args);
	va_end(args);
	fprintf(stderr, "Try: mmapdevctl%s%s --help\n", current ? " " : "",
		current ? current->name : "");
	return EXIT_USAGE;
}

static int no_such_option(const char *name, const struct option *options)
{
	const char *names[OPTIONS_MAX + 1] = { NULL };
	const char *near;
	size_t i;

	for (i = 0; i < OPTIONS_MAX && options[i].name; i++)
		names[i] = options[i].name;
	near = nearest(name + strspn(name, "-"), names);
	return usage("%s is not an option%s%s%s", name,
		     near ? ", did you mean '--" : "", near ? near : "",
		     near ? "'?" : "");
}

int next_option(int argc, char **argv, const char *letters,
		const struct option *options)
{
	int option = getopt_long(argc, argv, letters, options, NULL);
	const char *name = argv[optind - 1];

	if (option == ':')
		usage("%s needs a value", name);
	else if (option == '?' && optopt && !strncmp(name, "--", 2))
		usage("%s: this option takes no value", name);
	else if (option == '?' && optopt)
		usage("-%c is not an option", optopt);
	else if (option == '?')
		no_such_option(name, options);
	return option == ':' ? '?' : option;
}

static void print_help(void)
{
	size_t i;

	printf("Load the mmapdev module, and work with the buffer that it gives.\n"
	       "\n"
	       "Usage:\n");
	for (i = 0; i < COMMANDS; i++)
		printf("  mmapdevctl %s %s\n", commands[i]->name,
		       commands[i]->synopsis);
	printf("  mmapdevctl COMMAND --help\n"
	       "  mmapdevctl --version\n"
	       "\n"
	       "DEVICE is " DEVICE " unless said otherwise; a regular file will do too.\n"
	       "Numbers are as in C: 16, 0x10, 020; sizes take K, M or G.\n"
	       "\n"
	       "  mmapdevctl load size=16M        # then there is " DEVICE "\n"
	       "  mmapdevctl fill 0xa5            # the kernel writes to it\n"
	       "  mmapdevctl sum                  # and reads it\n"
	       "  mmapdevctl unload               # or says who holds it\n"
	       "\n"
	       "Exit status: 0 done, 1 it failed, 2 it was not understood.\n");
}

static void print_command_help(void)
{
	printf("Usage: mmapdevctl %s %s\n\n%s", current->name,
	       current->synopsis, current->help);
}

static void print_version(void)
{
	uint32_t version = mmapdev_version();

	printf("mmapdevctl %d.%d.%d, libmmapdev %u.%u.%u\n",
	       MMAPDEV_VERSION_MAJOR, MMAPDEV_VERSION_MINOR,
	       MMAPDEV_VERSION_PATCH, version >> 16, version >> 8 & 0xff,
	       version & 0xff);
}

static int no_such_command(const char *name)
{
	const char *names[COMMANDS + 1] = { NULL };
	const char *near;
	size_t i;

	for (i = 0; i < COMMANDS; i++)
		names[i] = commands[i]->name;
	near = nearest(name, names);
	return usage("there is no command '%s'%s%s%s", name,
		     near ? ", did you mean '" : "", near ? near : "",
		     near ? "'?" : "");
}

static bool asks_for_help(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc && strcmp(argv[i], "--"); i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return false;
}

static int run(int argc, char **argv)
{
	size_t i;

	if (argc < 2)
		return usage("a command is needed");
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
	    !strcmp(argv[1], "help")) {
		print_help();
		return 0;
	}
	if (!strcmp(argv[1], "--version")) {
		print_version();
		return 0;
	}

	for (i = 0; i < COMMANDS; i++)
		if (!strcmp(argv[1], commands[i]->name))
			current = commands[i];
	if (!current)
		return no_such_command(argv[1]);
	if (asks_for_help(argc - 1, argv + 1)) {
		print_command_help();
		return 0;
	}
	return current->run(argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
	int status = run(argc, argv);

	if (fflush(stdout) || ferror(stdout)) {
		error("cannot write the output: %m");
		return EXIT_FAILURE;
	}
	return status;
}
