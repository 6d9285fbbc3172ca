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
	&log_create_command, &log_append_command, &log_tail_command,
	&log_stat_command,   &log_verify_command, &log_recover_command,
};

#define OPTIONS_MAX 16
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct command *current;

/* Whether @command has two words, of which @group is the first. */
static bool is_in(const struct command *command, const char *group)
{
	size_t length = strlen(group);

	return !strncmp(command->name, group, length) &&
	       command->name[length] == ' ';
}

static bool is_group(const char *group)
{
	size_t i;

	for (i = 0; i < COMMANDS; i++)
		if (is_in(commands[i], group))
			return true;
	return false;
}

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
	       "  mmapdevctl log append --create some.log 'hello'\n"
	       "  mmapdevctl log tail some.log    # who wrote what\n"
	       "\n"
	       "Exit status: 0 done, 1 it failed, 2 it was not understood.\n");
}

/* Those of two words that begin with @group. */
static void print_group_help(const char *group)
{
	size_t i;

	printf("Usage:\n");
	for (i = 0; i < COMMANDS; i++)
		if (is_in(commands[i], group))
			printf("  mmapdevctl %s %s\n", commands[i]->name,
			       commands[i]->synopsis);
	printf("  mmapdevctl %s COMMAND --help\n", group);
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

static bool is_help(const char *arg)
{
	return !strcmp(arg, "--help") || !strcmp(arg, "-h");
}

static bool asks_for_help(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc && strcmp(argv[i], "--"); i++)
		if (is_help(argv[i]))
			return true;
	return false;
}

/* @words: how many of the arguments are the name of the command */
static int run_command(const char *name, int words, int argc, char **argv)
{
	size_t i;

	for (i = 0; i < COMMANDS; i++)
		if (!strcmp(name, commands[i]->name))
			current = commands[i];
	if (!current)
		return no_such_command(name);
	if (asks_for_help(argc - words, argv + words)) {
		print_command_help();
		return 0;
	}
	return current->run(argc - words, argv + words);
}

static int run_group(int argc, char **argv)
{
	char name[64];

	if (argc < 3)
		return usage("%s: a second word is needed, of those that mmapdevctl %s --help tells",
			     argv[1], argv[1]);
	if (is_help(argv[2]) || !strcmp(argv[2], "help")) {
		print_group_help(argv[1]);
		return 0;
	}
	snprintf(name, sizeof(name), "%s %s", argv[1], argv[2]);
	return run_command(name, 2, argc, argv);
}

static int run(int argc, char **argv)
{
	if (argc < 2)
		return usage("a command is needed");
	if (is_help(argv[1]) || !strcmp(argv[1], "help")) {
		print_help();
		return 0;
	}
	if (!strcmp(argv[1], "--version")) {
		print_version();
		return 0;
	}
	if (is_group(argv[1]))
		return run_group(argc, argv);
	return run_command(argv[1], 1, argc, argv);
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
