// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* The command log verify: whatever the object is, it is read and not written. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "ctl.h"
#include "log.h"

static void print_json_report(const struct target *t,
			      const struct mmapdev_log_report *report)
{
	printf("{\"path\": ");
	print_json_string(t->path);
	printf(", \"sound\": %s, \"problem\": ",
	       report->problem ? "false" : "true");
	if (report->problem)
		print_json_string(mmapdev_log_problem(report->problem));
	else
		printf("null");
	printf(", \"offset\": ");
	if (report->problem)
		printf("%" PRIu64, report->offset);
	else
		printf("null");
	printf(", \"problems\": %" PRIu32 ", \"records\": %" PRIu64
	       ", \"bytes\": %" PRIu64 ", \"unfinished\": %" PRIu64 "}\n",
	       report->problems, report->records, report->bytes,
	       report->unfinished);
}

static void print_report(const struct target *t,
			 const struct mmapdev_log_report *report)
{
	bool in_log = report->problem == MMAPDEV_LOG_SOUND ||
		      report->problem >= MMAPDEV_LOG_SEGMENT;

	if (!in_log)
		return;
	printf("%s: %" PRIu64 " sound record%s, ", t->path, report->records,
	       report->records == 1 ? "" : "s");
	print_size(report->bytes);
	printf(" bytes, %" PRIu32 " problem%s\n", report->problems,
	       report->problems == 1 ? "" : "s");
	if (report->unfinished)
		printf("%" PRIu64 " of them begun and not finished: by a writer that is at it, or dead (mmapdevctl log recover)\n",
		       report->unfinished);
}

static int run(int argc, char **argv)
{
	struct mmapdev_log_report report = { .sz = sizeof(report) };
	struct target t = { .path = NULL };
	int ret;

	if (parse_target(argc, argv, "j", &t) ||
	    log_path(argc, argv, false, &t))
		return EXIT_USAGE;
	if (open_target(&t, O_RDONLY))
		return EXIT_FAILURE;
	catch_sigbus();
	begin_progress("log verify");
	ret = mmapdev_log_verify(t.dev, &report);
	end_progress();
	if (ret) {
		ret = log_failed(&t, "verify", ret);
	} else {
		if (t.json)
			print_json_report(&t, &report);
		else
			print_report(&t, &report);
		explain_problem(&t, &report);
		ret = report.problem ? EXIT_FAILURE : 0;
	}
	mmapdev_close(t.dev);
	return ret;
}

const struct command log_verify_command = {
	"log verify",
	"[--json] PATH",
	"Read all of a log, and say whether it is as it should be: how many records\n"
	"are sound, and of the first problem what and where it is. Only in a log with\n"
	"checksums are the bytes of records looked at. Any file may be given; nothing\n"
	"is written to it. Exit status 1: there is a problem.\n"
	"\n"
	"  mmapdevctl log verify some.log\n"
	"  mmapdevctl log verify --json some.log | jq .records\n",
	run,
};
