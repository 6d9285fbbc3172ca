// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define ROUNDS 9
#define PATIENCE 2000000000ull /* ns without a word */

static const char *path;
static bool is_device;

struct row {
	double *round; /* sorted at the end */
	double median, min, max;
};

uint64_t bench_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

void bench_need(int64_t ret, const char *what)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what,
		strerror(-ret));
	exit(1);
}

static struct mmapdev *new_file(uint64_t size)
{
	int fd = open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	struct mmapdev *dev;

	if (fd < 0 || ftruncate(fd, size))
		bench_need(-errno, path);
	bench_need(mmapdev_open_fd(fd, &dev), path);
	close(fd);
	return dev;
}

struct mmapdev *bench_object(uint64_t size)
{
	struct mmapdev *dev;

	if (!path) {
		bench_need(mmapdev_open_memfd("bench", size, &dev), "memfd");
		return dev;
	}
	if (!is_device)
		return new_file(size);

	bench_need(mmapdev_open(path, O_RDWR, &dev), path);
	bench_need(mmapdev_resize(dev, 0), "empty the device");
	if (mmapdev_resize(dev, size) < 0) {
		fprintf(stderr, "%s: %s cannot have %llu MiB: see max_size\n",
			program_invocation_short_name, path,
			(unsigned long long)(size / MIB));
		exit(1);
	}
	return dev;
}

struct mmapdev_map *bench_map(uint64_t size, uint32_t flags)
{
	struct mmapdev_map_opts opts = { .sz = sizeof(opts), .flags = flags };
	struct mmapdev *dev = bench_object(size);
	struct mmapdev_map *map;

	bench_need(mmapdev_map(dev, &opts, &map), "map");
	mmapdev_close(dev);
	return map;
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void sum_up(struct row *row, int rounds)
{
	double *v = row->round;

	qsort(v, rounds, sizeof(*v), by_value);
	row->min = v[0];
	row->max = v[rounds - 1];
	row->median = rounds % 2 ? v[rounds / 2] :
				   (v[rounds / 2 - 1] + v[rounds / 2]) / 2;
}

static void progress(const char *name, int round, int rounds)
{
	static uint64_t last;

	if (!last)
		last = bench_now();
	if (bench_now() - last < PATIENCE)
		return;
	last = bench_now();
	fprintf(stderr, isatty(2) ? "\r%s: round %d of %d, %s\033[K" :
				    "%s: round %d of %d, %s\n",
		program_invocation_short_name, round + 1, rounds, name);
}

static struct row *measure(const struct bench *b, int rounds)
{
	struct row *rows = calloc(b->count, sizeof(*rows));
	size_t i;
	int r;

	for (i = 0; rows && i < b->count; i++) {
		rows[i].round = calloc(rounds, sizeof(double));
		if (!rows[i].round)
			rows = NULL;
	}
	if (!rows)
		bench_need(-ENOMEM, "results");

	for (r = 0; r < rounds; r++)
		for (i = 0; i < b->count; i++) {
			progress(b->cases[i].name, r, rounds);
			rows[i].round[r] = b->cases[i].run(&b->cases[i]);
		}
	for (i = 0; i < b->count; i++)
		sum_up(&rows[i], rounds);
	if (isatty(2))
		fputs("\r\033[K", stderr);
	return rows;
}

/* NaN where there is no peer, or it could not be measured. */
static double ratio(const struct bench *b, const struct row *rows, size_t i)
{
	size_t p;

	for (p = 0; b->cases[i].peer && p < b->count; p++)
		if (!strcmp(b->cases[p].name, b->cases[i].peer))
			return rows[i].median / rows[p].median;
	return BENCH_NONE;
}

static const char *cpu_model(void)
{
	static char line[256];
	FILE *f = fopen("/proc/cpuinfo", "re");
	char *at;

	while (f && fgets(line, sizeof(line), f)) {
		at = strchr(line, ':');
		if (!at || strncmp(line, "model name", 10))
			continue;
		fclose(f);
		at[strcspn(at, "\n")] = 0;
		return at + 2;
	}
	if (f)
		fclose(f);
	return "unknown";
}

static const char *file_system(void)
{
	static const struct {
		long magic;
		const char *name;
	} known[] = {
		{ 0xef53, "ext4" },	  { 0x01021994, "tmpfs" },
		{ 0x58465342, "xfs" },	  { 0x9123683e, "btrfs" },
		{ 0x794c7630, "overlay" }, { 0x6969, "nfs" },
	};
	static char other[32];
	struct statfs fs;
	size_t i;

	if (statfs(path, &fs))
		bench_need(-errno, path);
	for (i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (fs.f_type == known[i].magic)
			return known[i].name;
	snprintf(other, sizeof(other), "file system %#lx", (long)fs.f_type);
	return other;
}

static const char *object(void)
{
	static char text[300];
	static const char *const mode[] = { "demand", "eager" };
	static const char *const huge[] = { "never", "advise", "always" };
	struct mmapdev_info info = { .sz = sizeof(info) };
	struct mmapdev *dev;

	if (!path)
		return "a memfd";
	if (!is_device) {
		snprintf(text, sizeof(text), "a file in %s, %s", path,
			 file_system());
		return text;
	}
	bench_need(mmapdev_open(path, O_RDWR, &dev), path);
	bench_need(mmapdev_get_info(dev, &info), path);
	mmapdev_close(dev);
	snprintf(text, sizeof(text), "%s, mode %s, huge %s", path,
		 mode[info.mode % 2], huge[info.huge % 3]);
	return text;
}

static void print_text(const struct bench *b, const struct row *rows)
{
	const struct bench_case *c;
	size_t i;

	printf("%-34s %10s %10s .. %-10s %-5s %s\n", "case", "median", "min",
	       "max", "unit", "ratio to");
	for (i = 0; i < b->count; i++) {
		c = &b->cases[i];
		if (!(rows[i].median >= 0)) {
			printf("%-34s cannot be done here\n", c->name);
			continue;
		}
		printf("%-34s %10.2f %10.2f .. %-10.2f %-5s", c->name,
		       rows[i].median, rows[i].min, rows[i].max, c->unit);
		if (ratio(b, rows, i) >= 0)
			printf(" %.2f %s", ratio(b, rows, i), c->peer);
		putchar('\n');
	}
}

static void print_number(const char *name, double value)
{
	if (value >= 0)
		printf(", \"%s\": %.6g", name, value);
	else
		printf(", \"%s\": null", name);
}

static void print_json(const struct bench *b, const struct row *rows)
{
	const struct bench_case *c;
	size_t i;

	for (i = 0; i < b->count; i++) {
		c = &b->cases[i];
		printf("%s    {\"case\": \"%s\", \"unit\": \"%s\"",
		       i ? ",\n" : "", c->name, c->unit);
		print_number("median", rows[i].median);
		print_number("min", rows[i].min);
		print_number("max", rows[i].max);
		if (c->peer)
			printf(", \"peer\": \"%s\"", c->peer);
		print_number("ratio", ratio(b, rows, i));
		putchar('}');
	}
	puts("\n  ]\n}");
}

static void print_setting(bool json, int rounds)
{
	const uint32_t v = mmapdev_version();
	struct utsname u;

	uname(&u);
	printf(json ? "{\n  \"bench\": \"%s\",\n  \"kernel\": \"%s %s\",\n"
		      "  \"cpu\": \"%s\",\n  \"cpus\": %ld,\n"
		      "  \"object\": \"%s\",\n  \"page_size\": %ld,\n"
		      "  \"library\": \"%u.%u.%u\",\n  \"rounds\": %d,\n"
		      "  \"cases\": [\n" :
		      "%s: %s %s, %s, %ld CPUs\n"
		      "on %s, pages of %ld bytes, libmmapdev %u.%u.%u, "
		      "%d rounds\n\n",
	       program_invocation_short_name, u.release, u.machine, cpu_model(),
	       sysconf(_SC_NPROCESSORS_ONLN), object(), sysconf(_SC_PAGESIZE),
	       v >> 16, v >> 8 & 0xff, v & 0xff, rounds);
	fflush(stdout);
}

static void help(const struct bench *b)
{
	printf("usage: %s [--json] [--rounds N] [PATH]\n\n%s\n"
	       "PATH is a mmapdev device, whose contents are lost, or a "
	       "directory in which to\nmake a file that has no name. Without "
	       "one it is a memfd.\n\n"
	       "  --json      for programs\n"
	       "  --rounds N  how often each case is measured, default %d\n"
	       "  --help      this\n\n"
	       "The rounds of all cases are interleaved. A row is the median of "
	       "them, the\nleast and the most, and the median divided by that of "
	       "the case named last:\nonly ratios of one run mean anything on a "
	       "machine that is not alone.\n",
	       program_invocation_short_name, b->about, ROUNDS);
}

static int number(const char *text)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (*end || end == text || n < 1 || n > 100000) {
		fprintf(stderr, "%s: --rounds wants 1 to 100000, not '%s'\n",
			program_invocation_short_name, text);
		exit(2);
	}
	return n;
}

static void set_path(const char *arg)
{
	struct stat st;

	path = arg;
	if (stat(path, &st))
		bench_need(-errno, path);
	is_device = S_ISCHR(st.st_mode);
	if (is_device || S_ISDIR(st.st_mode))
		return;
	fprintf(stderr, "%s: %s is no device and no directory\n",
		program_invocation_short_name, path);
	exit(2);
}

int bench_main(int argc, char **argv, const struct bench *bench)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "json", no_argument, NULL, 'j' },
		{ "rounds", required_argument, NULL, 'r' },
		{ 0 }
	};
	int rounds = ROUNDS, option;
	struct row *rows;
	bool json = false;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (option == 'j') {
			json = true;
		} else if (option == 'r') {
			rounds = number(optarg);
		} else if (option == 'h') {
			help(bench);
			return 0;
		} else {
			fprintf(stderr, "See %s --help.\n", argv[0]);
			return 2;
		}
	}
	if (argc - optind > 1) {
		fprintf(stderr, "One PATH at most: see %s --help.\n", argv[0]);
		return 2;
	}
	if (optind < argc)
		set_path(argv[optind]);

	print_setting(json, rounds);
	if (bench->setup)
		bench->setup();
	rows = measure(bench, rounds);
	if (bench->finish)
		bench->finish();
	(json ? print_json : print_text)(bench, rows);
	return ferror(stdout) || fflush(stdout);
}
