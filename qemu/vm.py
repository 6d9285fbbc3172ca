# SPDX-License-Identifier: GPL-2.0
"""One virtual machine: made, watched and judged.

The guest speaks through three ports, each a file here: console (printk),
output (the command's stdout and stderr) and control (init's own lines, see
init.c). What they come to is decided in verdict.py.
"""

import contextlib
import ctypes
import fcntl
import glob
import lzma
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time

import initramfs
from verdict import CLEAN_EXIT, VERDICTS, Ktap, Run, failures, verdict  # noqa: F401

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
BUILD = os.path.join(TOP, "build")
DEFAULT_LANE = "6.12"   # where nobody chose, as in `make run`

SILENCE = 40            # seconds without a word from init, which speaks each second
BOOT_TIME = 90          # seconds
PMEM = "64M!256M"       # of the VM's memory: size, and where it begins

# Emulated CPUs sometimes run an int3 of the kernel's live patching after it was
# taken back. No code of ours has one; such a VM says nothing and is run again.
EMULATOR_RACE = re.compile(r"Oops: int3|int3: 0000 \[#1\]")

LIBC = ctypes.CDLL(None)        # loaded before the fork that uses it
RUNNING = set()                 # every QEMU of this process
STOPPING = threading.Event()    # no more of them

Error = initramfs.Error         # something that keeps a VM from being made


def stop_all():
    """End every QEMU of this process; those who watch them see it."""
    STOPPING.set()
    for qemu in list(RUNNING):
        qemu.kill()


def lanes():
    """The kernels of kernels.conf, in order."""
    with open(os.path.join(HERE, "kernels.conf"), encoding="ascii") as f:
        return [line.split()[0] for line in f if line.strip() and line[0] != "#"]


def tool(*argv):
    """What one of our commands prints; its stderr goes to ours."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Error(f"{shlex.join(argv)} failed")
    return done.stdout.strip()


def build_tool():
    """mmapdevctl, which every VM has on its PATH; one is enough at a time."""
    os.makedirs(BUILD, exist_ok=True)
    with open(os.path.join(BUILD, "tool.lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(["make", "-s", "tool"], cwd=TOP, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise Error(f"mmapdevctl does not build:\n{done.stdout.strip()}")


def build_init():
    """The path of PID 1, compiled when its source is newer."""
    source = os.path.join(HERE, "init.c")
    target = os.path.join(BUILD, "qemu", "init")
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if not os.path.exists(target) or os.path.getmtime(target) < os.path.getmtime(source):
        part = f"{target}.{threading.get_native_id()}"
        tool("gcc", "-O2", "-Wall", "-Wextra", "-static", "-o", part, source)
        os.rename(part, target)
    return target


# Accelerator: /dev/kvm may be there and hang, so that only a boot proves it.

def accelerator(kernel):
    """kvm if this machine was seen to boot by it since it was started, else tcg."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as f:
        cache = os.path.join(BUILD, "qemu", "accel-" + f.read().strip())
    try:
        with open(cache, encoding="ascii") as f:
            return f.read()
    except FileNotFoundError:
        pass
    accel = "kvm" if kvm_boots(kernel) else "tcg"
    os.makedirs(os.path.dirname(cache), exist_ok=True)
    part = f"{cache}.{threading.get_native_id()}"
    with open(part, "w", encoding="ascii") as f:
        f.write(accel)
    os.rename(part, cache)
    return accel


def kvm_boots(kernel):
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        if not re.search(r"\b(vmx|svm)\b", f.read()):
            return False
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    argv = ["qemu-system-x86_64", "-M", "q35", "-accel", "kvm", "-m", "512M", "-nodefaults",
            "-display", "none", "-no-reboot", "-kernel", kernel, "-serial", "stdio",
            "-append", "console=ttyS0 panic=-1"]
    try:
        # With no root file system it panics, which is as far as it need come.
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return False
    return b"Kernel panic" in done.stdout


class Spec:
    """What to boot and run."""

    def __init__(self, lane, command, **options):
        self.lane = lane
        self.command = command
        self.params = options.get("params", "size=16M")     # None: no module
        self.smp = options.get("smp", 2)
        self.mem = options.get("mem", "1G")
        self.add = options.get("add", [])
        self.timeout = options.get("timeout", 120)
        self.ktap = options.get("ktap", False)
        self.allow_skip = options.get("allow_skip", [])
        self.kernel = options.get("kernel")                 # a file, for tests
        self.append = options.get("append", "")             # kernel parameters, for tests
        self.pmem = options.get("pmem", False)
        if self.pmem:
            self.append += f" memmap={PMEM}"
        self.gdb = options.get("gdb", False)
        if self.gdb:
            self.append += " nokaslr"

    def reproduce(self):
        """The command line that does it again."""
        argv = ["qemu/run", "--kernel", self.lane]
        if self.params is None:
            argv.append("--no-module")
        else:
            argv += ["--params", self.params]
        argv += ["--smp", str(self.smp), "--mem", self.mem, "--timeout", str(self.timeout)]
        argv += ["--pmem"] if self.pmem else []
        argv += ["--ktap"] if self.ktap else []
        for pattern in self.allow_skip:
            argv += ["--allow-skip", pattern]
        for path in self.add:
            argv += ["--add", os.path.relpath(path, TOP) if path.startswith(TOP) else path]
        return shlex.join(argv + ["--"] + self.command)


def kernel_module(lane, path):
    """The bytes of a module of the kernel's own; None where it is built in."""
    tree = tool(os.path.join(HERE, "fetch"), lane)
    for lib in ("lib", "usr/lib"):
        for found in glob.glob(f"{tree}/{lib}/modules/*/kernel/{path}.ko*"):
            with (lzma.open if found.endswith(".xz") else open)(found, "rb") as f:
                return f.read()
    return None


def add_pmem(root, spec):
    """What makes persistent memory of a part of the VM's, see qemu/pmem."""
    for name in ("libnvdimm", "nd_btt", "nd_pmem", "nd_e820"):
        module = kernel_module(spec.lane, f"drivers/nvdimm/{name}")
        if not module:
            raise Error(f"kernel {spec.lane} has no module {name}")
        root.data(f"/lib/pmem/{name}.ko", module)
    root.file("/lib/pmem/pmem", os.path.join(HERE, "pmem"))
    root.file("/lib/pmem/mke2fs", "/sbin/mke2fs")


def image(spec, path):
    """Write the initramfs of a spec."""
    root = initramfs.Image()
    root.busybox()
    root.file("/init", build_init())
    module = kernel_module(spec.lane, "fs/configfs/configfs")   # mmapdev.ko uses it
    if module:
        root.data("/lib/configfs.ko", module)
    root.file("/lib/mmapdev.ko", tool(os.path.join(HERE, "module"), spec.lane))
    if spec.params is not None:
        root.data("/etc/mmapdev/params", spec.params.encode())
    ctl = os.path.join(BUILD, "userspace", "mmapdevctl")
    if os.path.exists(ctl):
        root.file("/usr/bin/mmapdevctl", ctl)
    if spec.pmem:
        add_pmem(root, spec)
    command = ["/lib/pmem/pmem", *spec.command] if spec.pmem else spec.command
    root.data("/etc/mmapdev/command", b"".join(w.encode() + b"\0" for w in command))
    for source in spec.add:
        root.tree("/work/" + os.path.basename(os.path.normpath(source)), source)
    root.write(path)


def die_with_parent():
    """In the child: QEMU goes when we go, however we go."""
    os.setsid()
    LIBC.prctl(1, signal.SIGKILL)


def command_line(spec, kernel, work):
    append = ("console=ttyS0 quiet panic=-1 oops=panic printk.devkmsg=on "
              "sysctl.kernel.hung_task_panic=1 "
              "sysctl.kernel.hung_task_timeout_secs=60 sysctl.kernel.softlockup_panic=1 "
              f"sysctl.kernel.watchdog_thresh=30 {spec.append}")
    argv = ["qemu-system-x86_64", "-M", "q35", "-accel", accelerator(kernel),
            "-smp", str(spec.smp), "-m", spec.mem, "-nodefaults", "-display", "none", "-no-reboot",
            "-kernel", kernel, "-initrd", f"{work}/initrd", "-append", append]
    for port in ("console", "output"):
        argv += ["-chardev", f"file,id={port},path={work}/{port}", "-serial", f"chardev:{port}"]
    argv += ["-chardev", f"file,id=control,path={work}/control",
             "-device", "isa-debugcon,iobase=0xe9,chardev=control",
             "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04",
             # A disk for direct I/O: Debian's kernels have NVMe built in.
             "-drive", f"if=none,id=scratch,format=raw,file={work}/scratch,cache=unsafe",
             "-device", "nvme,serial=scratch,drive=scratch"]
    # What writes cache lines back is not in QEMU's default CPU.
    argv += ["-cpu", "max"] if spec.pmem else []
    return argv + (["-s", "-S"] if spec.gdb else [])


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read().decode("utf-8", "replace").replace("\r\n", "\n")
    except FileNotFoundError:
        return ""


def boot(spec, keep=None, stream=None):
    """Run one VM to its end. Its files stay in the folder keep, if given."""
    with (contextlib.nullcontext(keep) if keep
          else tempfile.TemporaryDirectory(prefix="mmapdev-vm-")) as work:
        os.makedirs(work, exist_ok=True)
        for name in ("console", "output", "control"):
            with open(f"{work}/{name}", "wb"):
                pass
        with open(f"{work}/scratch", "wb") as f:
            f.truncate(64 << 20)
        kernel = spec.kernel or os.path.join(tool(os.path.join(HERE, "fetch"), spec.lane),
                                             "vmlinuz")
        image(spec, f"{work}/initrd")
        try:
            return watch(spec, command_line(spec, kernel, work), work, stream)
        finally:
            for name in ("initrd", "scratch", "pid"):
                if os.path.exists(f"{work}/{name}"):
                    os.unlink(f"{work}/{name}")


def watch(spec, argv, work, stream):
    begun = time.monotonic()
    if STOPPING.is_set():
        raise Error("stopped")
    try:
        qemu = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
    except OSError as e:
        return Run(qemu_error=f"{argv[0]}: {e.strerror}")
    RUNNING.add(qemu)
    with open(f"{work}/pid", "w", encoding="ascii") as f:
        f.write(str(qemu.pid))
    run = Run()
    shown, sizes = 0, None
    heard, started, booted = begun, None, False
    try:
        while qemu.poll() is None:
            time.sleep(0.05)
            now = time.monotonic()
            seen = [os.path.getsize(f"{work}/{n}") for n in ("console", "output", "control")]
            if seen != sizes:
                sizes, heard = seen, now
            shown = copy_new(f"{work}/output", shown, stream)
            if spec.gdb:
                continue
            if started is None:
                control = read(f"{work}/control")
                if "\nstart\n" in "\n" + control:
                    started = now
                booted = "booted\n" in control
                if not booted and now - begun > BOOT_TIME:
                    run.stopped = "boot"
                # Between these two the module loads, and may never return.
                if booted and started is None and now - begun > 2 * BOOT_TIME:
                    run.stopped = "hang"
            if started is not None and now - started > spec.timeout:
                run.stopped = "timeout"
            if now - heard > SILENCE and booted:
                run.stopped = "hang"
            if run.stopped:
                break
    finally:
        if qemu.poll() is None:
            qemu.kill()
        error = qemu.communicate()[1].strip()
        RUNNING.discard(qemu)
    copy_new(f"{work}/output", shown, stream)
    run.qemu_rc = qemu.returncode
    run.console = read(f"{work}/console")
    run.output = read(f"{work}/output")
    run.control = read(f"{work}/control")
    run.seconds = time.monotonic() - begun
    if error and run.qemu_rc != CLEAN_EXIT and not run.stopped and not run.console:
        run.qemu_error = error.splitlines()[-1]
    return run


def copy_new(path, shown, stream):
    if stream is None:
        return shown
    with open(path, "rb") as f:
        f.seek(shown)
        new = f.read()
    stream.write(new)
    stream.flush()
    return shown + len(new)


def boot_surely(spec, keep=None, stream=None):
    """boot(), and again where the emulator itself failed, before anything of ours ran."""
    for _ in range(3):
        run = boot(spec, keep, stream)
        if accelerator("") != "tcg":
            break
        if EMULATOR_RACE.search(run.console):
            why = "the emulator ran a stale int3"
        elif run.stopped == "boot":
            why = f"no boot within {BOOT_TIME} s"
        else:
            break
        print(f"vm: {spec.lane}: {why}, once more", file=sys.stderr)
    return run


def explain(spec, run, name, reason):
    """What a person needs who sees the failure: name, console, and how to repeat it."""
    lines = [f"{name}: {reason}"]
    console = run.console.splitlines()[-40:]
    if console:
        lines.append("  last lines of the console:")
        lines += ["    " + line for line in console]
    lines += ["  again:", "    " + spec.reproduce()]
    return "\n".join(lines)
