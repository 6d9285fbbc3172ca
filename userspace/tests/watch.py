# SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
"""mmapdevctl watch on a terminal: python3 watch.py CASE MMAPDEVCTL FILE

FILE has 3 MiB, of which 300 KiB at 1 MiB are no hole. Each case is a function
below; it fails by an exception.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

ENTER, LEAVE = "\033[?1049h\033[?25l", "\033[m\033[?25h\033[?1049l"
DEADLINE = 20


class Terminal:
    """A shell's part: the tool is a job in the foreground of a pty of its own."""

    def __init__(self, *args, size=(24, 80), **env):
        self.seen = ""
        self.told, tell = os.pipe()
        ready, go = os.pipe()
        leader, self.fd = pty.fork()
        if not leader:
            os.close(go)
            os.read(ready, 1)
            self.lead(tell, args, env)
        self.resize(*size)
        self.before = termios.tcgetattr(self.fd)
        os.close(tell)
        os.close(go)
        self.job = int(self.report())

    def lead(self, tell, args, env):
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        job = os.fork()
        if not job:
            os.setpgid(0, 0)
            os.tcsetpgrp(0, os.getpid())
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)
            os.environ.pop("NO_COLOR", None)
            os.environ.update({"TERM": "xterm", **env})
            os.execv(args[0], args)
        os.write(tell, b"%d\n" % job)
        while True:
            _, status = os.waitpid(job, os.WUNTRACED)
            os.write(tell, b"%d\n" % status)
            if not os.WIFSTOPPED(status):
                os._exit(0)

    def report(self):
        """A line of the leader's: the job's number, then each change of its status."""
        line = b""
        while not line.endswith(b"\n"):
            assert select.select([self.told], [], [], DEADLINE)[0], f"no end: {self.seen!r}"
            line += os.read(self.told, 1)
        return line

    def resize(self, lines, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))

    def wait(self, pattern):
        """Until it was printed, since the last time."""
        end = time.monotonic() + DEADLINE
        while not (found := re.search(pattern, self.seen, re.S)):
            left = end - time.monotonic()
            assert left > 0 and select.select([self.fd], [], [], left)[0], \
                f"no {pattern!r} in {self.seen!r}"
            self.read()
        before, self.seen = self.seen[:found.end()], self.seen[found.end():]
        return before

    def read(self):
        self.seen += os.read(self.fd, 65536).decode()

    def frame(self):
        """The lines of the next whole frame."""
        self.wait(re.escape("\033[H"))
        text = self.wait(re.escape("\033[J"))
        return re.sub(r"\033\[[0-9;]*[a-zA-Z]", "", text).split("\r\n")

    def type(self, text):
        os.write(self.fd, text)

    def end(self):
        """The job's exit status, as of waitpid(2); what is left was printed."""
        status = int(self.report())
        while select.select([self.fd], [], [], 0.1)[0]:
            try:
                self.read()
            except OSError:
                break
        return status

    def restored(self):
        assert termios.tcgetattr(self.fd)[3] == self.before[3], "keys are as before"


def cells(lines):
    """The map, without offsets and blanks; in memory or not is all the same."""
    rows = [line for line in lines if re.match(r" *[0-9]+[KMG]? [.rd-]{8}", line)]
    text = "".join("".join(row.split()[1:]) for row in rows)
    return rows, re.sub("[rd]", "x", text)


EXPECTED = "." * 256 + "x" * 75 + "." * 437


def draws(ctl, file):
    t = Terminal(ctl, "watch", file)
    t.wait(re.escape(ENTER))
    lines = t.frame()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80, lines
    assert lines[0].startswith(file) and lines[0].endswith("size 3M"), lines
    assert lines[3] == "a cell is 1 page, 4K; q quits", lines
    rows, text = cells(lines)
    assert text == EXPECTED, text
    assert rows[4].startswith("      1M "), rows
    assert lines[-1].startswith(". hole  d data"), lines
    t.frame()  # again, in place
    t.type(b"q")
    assert t.end() == 0
    assert t.seen.endswith(LEAVE), t.seen
    t.restored()


def shows_a_change(ctl, file):
    t = Terminal(ctl, "watch", file, "--interval", "0.05")
    t.frame()
    os.truncate(file, 2 << 20)
    while cells(t.frame())[1] != EXPECTED[:512]:
        pass
    os.truncate(file, 3 << 20)
    while cells(t.frame())[1] != EXPECTED:
        pass
    t.type(b"q")
    assert t.end() == 0


def follows_the_size(ctl, file):
    t = Terminal(ctl, "watch", "--interval", "60", file)
    assert len(cells(t.frame())[0]) == 12
    t.resize(60, 200)
    lines = t.frame()
    rows, text = cells(lines)
    assert len(rows) == 6 and text == EXPECTED, lines
    t.resize(10, 80)
    lines = t.frame()
    assert len(lines) <= 10, lines
    rows, text = cells(lines)
    assert "a cell is 4 pages, 16K; q quits" in lines, lines
    assert text == "." * 64 + "x" * 18 + "-" + "." * 109, text
    t.resize(3, 20)
    lines = t.frame()
    assert len(lines) <= 3 and max(map(len, lines)) <= 20, lines
    t.type(b"q")
    assert t.end() == 0


def groups(ctl, file):
    os.truncate(file, 1 << 40)
    t = Terminal(ctl, "watch", file)
    lines = t.frame()
    os.truncate(file, 3 << 20)
    assert lines[3] == "a cell is 262144 pages, 1G; q quits", lines
    assert cells(lines)[1] == "-" + "." * 1023, lines
    t.type(b"q")
    assert t.end() == 0


def dies_of(number, keys=None):
    def case(ctl, file):
        t = Terminal(ctl, "watch", file)
        t.frame()
        assert termios.tcgetattr(t.fd)[3] != t.before[3], "keys come one by one"
        if keys:
            t.type(keys)
        else:
            os.kill(t.job, number)
        assert os.WTERMSIG(t.end()) == number
        assert t.seen.endswith(LEAVE), t.seen
        t.restored()
    return case


def stops_and_goes_on(ctl, file):
    t = Terminal(ctl, "watch", file)
    t.frame()
    t.type(b"\x1a")
    assert os.WIFSTOPPED(int(t.report()))
    t.wait(re.escape(LEAVE))
    t.restored()
    os.kill(t.job, signal.SIGCONT)
    t.wait(re.escape(ENTER))
    assert cells(t.frame())[1] == EXPECTED
    t.type(b"q")
    assert t.end() == 0
    t.restored()


def stops_unasked(ctl, file):
    t = Terminal(ctl, "watch", file)
    t.frame()
    os.kill(t.job, signal.SIGSTOP)
    assert os.WIFSTOPPED(int(t.report()))
    termios.tcsetattr(t.fd, termios.TCSANOW, t.before)  # as a shell does
    os.kill(t.job, signal.SIGCONT)
    t.wait(re.escape(ENTER))
    t.frame()
    assert termios.tcgetattr(t.fd)[3] != t.before[3], "keys come one by one again"
    t.type(b"q")
    assert t.end() == 0


def other_keys(ctl, file):
    t = Terminal(ctl, "watch", "--interval", "0.05", file)
    t.frame()
    t.type(b"x\x1b[A\n ")
    t.wait("(" + re.escape("\033[H") + ".*){3}")
    t.type(b"Q")
    assert t.end() == 0


def counted(ctl, file):
    t = Terminal(ctl, "watch", "--frames", "3", "--interval", "0.05", file)
    assert t.end() == 0
    assert t.seen.count("\033[H") == 3 and t.seen.endswith(LEAVE), t.seen
    t.restored()


def coloured(ctl, file):
    t = Terminal(ctl, "watch", "--frames", "1", file)
    assert t.end() == 0
    assert re.search("\033\\[[39]", t.seen), t.seen


def no_colour(ctl, file):
    t = Terminal(ctl, "watch", "--frames", "1", file, NO_COLOR="1")
    assert t.end() == 0
    assert not re.search("\033\\[[0-9;]+m", t.seen), t.seen


def dumb(ctl, file):
    t = Terminal(ctl, "watch", "--interval", "0.05", file, TERM="dumb")
    t.wait("(size 3M.*){3}")
    t.type(b"q\n")
    assert t.end() == 0
    assert "\033" not in t.seen
    t.restored()


def says_what_fails(ctl, file):
    t = Terminal(ctl, "watch", file + ".none")
    assert os.WEXITSTATUS(t.end()) == 1
    assert "No such file" in t.seen and "\033" not in t.seen, t.seen


CASES = {
    "ctrl-c": dies_of(signal.SIGINT, b"\x03"),
    "sigterm": dies_of(signal.SIGTERM),
    "sighup": dies_of(signal.SIGHUP),
}

if __name__ == "__main__":
    name = sys.argv[1]
    CASES.get(name, globals().get(name))(*sys.argv[2:])
