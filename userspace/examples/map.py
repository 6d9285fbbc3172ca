#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
"""Python needs no binding: its mmap maps the device, its ctypes calls libmmapdev.

  map.py [PATH]      /dev/mmapdev, or a file that is not empty
"""
import ctypes
import mmap
import os
import sys

lib = ctypes.CDLL("libmmapdev.so.1")
lib.mmapdev_map_addr.restype = ctypes.c_void_p


def call(name, *args):
    ret = getattr(lib, name)(*args)
    if ret < 0:
        raise OSError(-ret, f"{name}: {os.strerror(-ret)}")
    return ret


def check(truth, sentence):
    print(sentence if truth else f"It is not so: {sentence}")
    if not truth:
        sys.exit(1)


path = sys.argv[1] if len(sys.argv) > 1 else "/dev/mmapdev"
dev, view = ctypes.c_void_p(), ctypes.c_void_p()
call("mmapdev_open", path.encode(), os.O_RDWR, ctypes.byref(dev))
fd = call("mmapdev_fd", dev)
# To fstat(2), from which mmap.mmap(fd, 0) takes it, a device has no size.
length = os.lseek(fd, 0, os.SEEK_END)
memory = mmap.mmap(fd, length)

u64 = ctypes.c_uint64
call("mmapdev_fill", dev, u64(0), u64(length), u64(0x0102030405060708))
check(memory[:8] == bytes([8, 7, 6, 5, 4, 3, 2, 1]), "Python sees what the kernel filled in.")

call("mmapdev_map", dev, None, ctypes.byref(view))
memory[:5] = b"hello"
check(ctypes.string_at(lib.mmapdev_map_addr(view), 5) == b"hello",
      "A map of the library sees what Python wrote.")
memory.flush()  # msync(2), the commit
call("mmapdev_unmap", view)
lib.mmapdev_close(dev)
