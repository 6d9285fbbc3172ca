# SPDX-License-Identifier: GPL-2.0
"""The root file system of the virtual machine, as one cpio archive.

It is written here rather than by cpio(1), so that it needs no root (for
/dev/console), is the same for the same input (sorted, no times, no owners), and
can take host programs along: each brings the shared libraries that ldd names.
"""

import os
import re
import stat
import subprocess

BUSYBOX = "/bin/busybox"

FILES = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    "/etc/group": "root:x:0:\nnogroup:x:65534:\n",
}
DIRS = ("/proc", "/sys", "/dev", "/tmp", "/run", "/root", "/mnt", "/var/tmp", "/work")


class Error(Exception):
    """Something that was to go into the image can't."""


def libraries(path):
    """The shared libraries that the ELF program at path loads."""
    with open(path, "rb") as f:
        head = f.read(18)
    if head[:4] != b"\x7fELF" or head[16] not in (2, 3):
        return []
    ldd = subprocess.run(["ldd", path], capture_output=True, text=True,
                         env={**os.environ, "LC_ALL": "C"})
    missing = re.findall(r"(\S+) => not found", ldd.stdout)
    if missing:
        raise Error(f"{path} needs {', '.join(missing)}, not found here: "
                    "set LD_LIBRARY_PATH, or link with -static")
    return re.findall(r"(/\S+) \(0x", ldd.stdout) if ldd.returncode == 0 else []


class Image:
    """A tree of files to be; a path that is added twice holds the later one."""

    def __init__(self):
        self.nodes = {}
        for path in DIRS:
            self.directory(path)
        for path, text in FILES.items():
            self.data(path, text.encode())
        self.node("/dev/console", stat.S_IFCHR | 0o600, rdev=(5, 1))

    def node(self, path, mode, data=b"", rdev=(0, 0)):
        parent = os.path.dirname(path)
        if parent != "/":
            self.directory(parent)
        self.nodes[path] = (mode, data, rdev)

    def directory(self, path, mode=0o755):
        if path not in self.nodes:
            self.node(path, stat.S_IFDIR | mode)

    def data(self, path, content, mode=0o644):
        self.node(path, stat.S_IFREG | mode, content)

    def symlink(self, path, target):
        self.node(path, stat.S_IFLNK | 0o777, target.encode())

    def file(self, path, source, tree=None):
        """Copy one host file, and the libraries it loads if it is a program; those
        of tree = (host directory, its place here) are copied with that."""
        with open(source, "rb") as f:
            self.data(path, f.read(), stat.S_IMODE(os.stat(source).st_mode))
        for library in map(os.path.normpath, libraries(source)):
            place = library
            # Elsewhere than the loader looks by itself.
            if not library.startswith(("/lib", "/usr/lib")):
                place = "/lib/" + os.path.basename(library)
            if tree and library.startswith(tree[0] + "/"):
                self.symlink(place, tree[1] + library[len(tree[0]):])
            elif place not in self.nodes:
                with open(library, "rb") as f:
                    self.data(place, f.read(), 0o755)

    def tree(self, path, source, top=None):
        """Copy a host file, or a directory with all in it."""
        top = top or (os.path.abspath(source), path)
        if os.path.islink(source):
            self.symlink(path, os.readlink(source))
        elif os.path.isdir(source):
            self.directory(path)
            for name in os.listdir(source):
                self.tree(os.path.join(path, name), os.path.join(source, name), top)
        elif os.path.isfile(source):
            self.file(path, source, top)
        else:
            raise Error(f"{source}: neither file nor directory")

    def busybox(self):
        self.file(BUSYBOX, BUSYBOX)
        applets = subprocess.run([BUSYBOX, "--list-full"], check=True,
                                 capture_output=True, text=True).stdout.split()
        for applet in applets:
            path = "/" + applet
            if path not in self.nodes:
                self.symlink(path, BUSYBOX)

    def write(self, path):
        with open(path, "wb") as out:
            for number, name in enumerate(sorted(self.nodes), 1):
                out.write(record(name[1:], number, *self.nodes[name]))
            out.write(record("TRAILER!!!", 0, 0))


def record(name, inode, mode, data=b"", rdev=(0, 0)):
    """One member in the "newc" format of cpio."""
    name = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, *rdev, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
