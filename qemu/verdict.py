# SPDX-License-Identifier: GPL-2.0
"""What a run of a virtual machine comes to.

verdict() decides from nothing but what the machine said and how it ended, so
that qemu/selfproof can try it on texts.
"""

import os
import re

# Each way in which a VM can fail, and what it means.
VERDICTS = {
    "PASS": "the command ended, and nothing else happened",
    "FAIL": "the command or one of its tests failed",
    "SKIP": "a test was skipped that is not listed as allowed to",
    "NO-PLAN": "the KTAP report is missing, has no plan or ends too early",
    "SPLAT": "the kernel complained on the console",
    "TAINT": "the kernel got a taint beyond out-of-tree and unsigned",
    "UNLOAD": "the module could not be unloaded afterwards",
    "LOAD-FAIL": "the module did not load",
    "PANIC": "the kernel panicked",
    "TIMEOUT": "the command ran longer than it may",
    "HANG": "the machine stopped to react",
    "BOOT-FAIL": "the kernel did not come up",
    "QEMU": "QEMU did not start, or ended on its own",
}

CLEAN_EXIT = 33         # isa-debug-exit of 16; a panic under -no-reboot gives 0
ALLOWED_TAINT = 4096 | 8192     # out-of-tree, unsigned

# ": WARNING:" is how the kernel tells of a CPU's weakness; no fault reads so.
SPLAT = re.compile(
    r"BUG:|(?<!: )WARNING:|cut here|Oops|general protection|kernel BUG at|Call Trace:|"
    r"INFO: task .* blocked|INFO: rcu_|rcu: INFO|soft lockup|hard LOCKUP|"
    r"list_(add|del) corruption|Bad (page|rss)|bad pte|UBSAN:|KASAN:|KCSAN:|KFENCE:|"
    r"refcount_t:|DEBUG_LOCKS_WARN|possible .* detected|inconsistent lock state|"
    r"x86/PAT:|unreferenced object|cannot create duplicate|Unable to handle|"
    r"Internal error|Object .* on stack|corrupted|scheduling while atomic|"
    r"page allocation failure")


class Run:
    """What came of it."""

    def __init__(self, console="", output="", control="", qemu_rc=None, stopped=None,
                 qemu_error=""):
        self.console = console
        self.output = output
        self.control = control
        self.qemu_rc = qemu_rc
        self.stopped = stopped      # why we ended it: "timeout", "hang", "boot"
        self.qemu_error = qemu_error
        self.seconds = 0.0

    def told(self, word):
        """The arguments of init's line of that name, None if it said none."""
        for line in self.control.splitlines():
            words = line.split()
            if words and words[0] == word:
                return words[1:]
        return None


class Ktap:
    """A KTAP report of one level."""

    def __init__(self, text):
        self.planned = None
        self.results = []       # (name, "ok" | "not ok" | "skip", reason)
        self.numbers = []
        for line in text.splitlines():
            plan = re.match(r"1\.\.(\d+)\s*(#.*)?$", line)
            if plan and self.planned is None:
                self.planned = int(plan.group(1))
                whole = re.match(r"# *SKIP\b\s*(.*)", plan.group(2) or "")
                if whole and self.planned == 0:
                    # A program that skips itself is one test that was skipped.
                    self.planned = 1
                    self.numbers.append(1)
                    self.results.append((whole.group(1) or "all", "skip", whole.group(1)))
            test = re.match(r"(ok|not ok) (\d+)\s*(?:- )?(.*?)\s*(?:# *(SKIP|XFAIL)\b\s*(.*))?$",
                            line, re.IGNORECASE)
            if test:
                result = test.group(1)
                if result == "ok" and (test.group(4) or "").upper() == "SKIP":
                    result = "skip"
                self.numbers.append(int(test.group(2)))
                name = test.group(3) or test.group(5) or f"test {test.group(2)}"
                self.results.append((name, result, test.group(5) or ""))

    def count(self, result):
        return sum(1 for _, r, _ in self.results if r == result)

    def complete(self):
        """All that was planned was told, once each and in order."""
        return bool(self.planned) and self.numbers == list(range(1, self.planned + 1))

    def skips_beyond(self, allowed):
        return [name for name, result, _ in self.results
                if result == "skip" and not any(re.search(a, name) for a in allowed)]


def failures(output):
    """Of a report, the lines that tell of failed tests: the results, what a selftest
    says before its own, and the comments with which tests/run explains one."""
    lines, before, failed = [], [], False
    for line in output.splitlines():
        if line.startswith(("ok ", "not ok ")):
            failed = line.startswith("not ok ")
            if failed:
                lines += before + [line]
            before = []
        elif failed and line.startswith("#") and not line.startswith("#  RUN "):
            lines.append(line)
        else:
            failed = False
            before.append(line)
    return lines


def verdict(run, ktap=False, allow_skip=()):
    """(name, reason): the first of VERDICTS, worst first, that the run shows."""
    if run.qemu_error:
        return "QEMU", run.qemu_error
    panic = re.search(r"Kernel panic - not syncing.*", run.console)
    if run.told("booted") is None:
        if panic:
            return "BOOT-FAIL", panic.group(0)
        if run.qemu_rc is not None and run.stopped is None:
            return "BOOT-FAIL", f"QEMU ended with {run.qemu_rc} before init ran"
        return "BOOT-FAIL", "init did not run in time"
    if panic:
        return "PANIC", panic.group(0)
    if run.stopped == "hang":
        doing = "the module was loading" if run.told("start") is None else "the command ran"
        return "HANG", f"the machine fell silent while {doing}"
    if run.stopped == "timeout":
        return "TIMEOUT", "the command did not end in time"
    if run.qemu_rc != CLEAN_EXIT:
        return "QEMU", f"QEMU ended with {run.qemu_rc}, not by the exit device ({CLEAN_EXIT})"
    failed = run.told("load-failed")
    if failed is not None:
        return "LOAD-FAIL", f"the module did not load: {os.strerror(int(failed[0]))}"
    status, signalled = run.told("exit"), run.told("signal")
    if status is None and signalled is None:
        return "QEMU", "init did not tell how the command ended"
    splat = SPLAT.search(run.console)
    if splat:
        line = next(l for l in run.console.splitlines() if splat.group(0) in l)
        return "SPLAT", line.strip()
    taint = run.told("taint")
    if taint is None or int(taint[1]) & ~int(taint[0]) & ~ALLOWED_TAINT:
        return "TAINT", f"/proc/sys/kernel/tainted: {' to '.join(taint or ['not told'])}"
    unload = run.told("unload")
    if unload is not None and int(unload[0]) not in (0, 2):
        return "UNLOAD", f"the module did not unload: {os.strerror(int(unload[0]))}"
    if ktap:
        report = Ktap(run.output)
        if not report.complete():
            end = f"signal {signalled[0]}" if signalled else f"status {status[0]}"
            return "NO-PLAN", (f"{len(report.results)} results, planned: {report.planned}; "
                               f"the command ended with {end}")
        bad = [name for name, result, _ in report.results if result == "not ok"]
        if bad:
            return "FAIL", f"{len(bad)} of {report.planned} tests failed: {', '.join(bad)}"
        skips = report.skips_beyond(allow_skip)
        if skips:
            return "SKIP", f"not allowed to be skipped: {', '.join(skips)}"
        if status == ["4"] and report.count("skip") == report.planned:
            return "PASS", "all skipped, as listed"
    if signalled is not None:
        return "FAIL", f"the command was killed by signal {signalled[0]}"
    if status != ["0"]:
        return "FAIL", f"the command ended with status {status[0]}"
    return "PASS", ""
