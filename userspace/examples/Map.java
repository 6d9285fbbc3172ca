// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

import com.sun.jna.Library;
import com.sun.jna.Native;
import com.sun.jna.NativeLong;
import com.sun.jna.Pointer;
import com.sun.jna.ptr.PointerByReference;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/**
 * A buffer of Java that is the memory of a file, or of a device.
 *
 * <p>A file is mapped by FileChannel. That asks fstat(2) for the size, by which a
 * device has none, so a device is mapped by libmmapdev, which JNA calls.
 *
 * <pre>
 *   javac -cp /usr/share/java/jna.jar Map.java
 *   java -cp /usr/share/java/jna.jar:. Map PATH...
 * </pre>
 */
public class Map {
    interface Mmapdev extends Library {
        int O_RDWR = 2;

        int mmapdev_open(String path, int oflags, PointerByReference dev);

        int mmapdev_map(Pointer dev, Pointer opts, PointerByReference map);

        Pointer mmapdev_map_addr(Pointer map);

        NativeLong mmapdev_map_size(Pointer map);

        int mmapdev_fill(Pointer dev, long offset, long length, long pattern);

        int mmapdev_flush(Pointer map, long offset, long length);

        int mmapdev_unmap(Pointer map);

        void mmapdev_close(Pointer dev);
    }

    static final Mmapdev lib = Native.load("libmmapdev.so.1", Mmapdev.class);

    static void need(int ret, String what) throws IOException {
        if (ret < 0) {
            throw new IOException(what + ": errno " + -ret);
        }
    }

    static void check(boolean truth, String sentence) {
        if (!truth) {
            throw new AssertionError("it is not so that " + sentence);
        }
        System.out.println("  " + sentence);
    }

    /** What both do with it: one memory, whoever maps it and however. */
    static void share(ByteBuffer mine, ByteBuffer library, Pointer dev) throws IOException {
        need(lib.mmapdev_fill(dev, 0, 8, 0x0102030405060708L), "fill");
        check(mine.get(0) == 8 && mine.get(7) == 1, "Java sees what was filled in");
        mine.put(0, "hello".getBytes());
        check(library.get(0) == 'h' && library.get(4) == 'o', "others see what Java put");
    }

    static void file(Path path, ByteBuffer library, Pointer dev) throws IOException {
        try (FileChannel channel =
                FileChannel.open(path, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            var mine = channel.map(FileChannel.MapMode.READ_WRITE, 0, channel.size());

            share(mine, library, dev);
            mine.force();
            check(true, "FileChannel mapped it, and force() wrote it");
        }
    }

    static void device(Pointer dev, ByteBuffer library) throws IOException {
        var map = new PointerByReference();

        need(lib.mmapdev_map(dev, null, map), "map");
        share(buffer(map.getValue()), library, dev);
        need(lib.mmapdev_flush(map.getValue(), 0, 5), "flush");
        check(true, "libmmapdev mapped it, and committed it");
        need(lib.mmapdev_unmap(map.getValue()), "unmap");
    }

    /** Not to be used after mmapdev_unmap: Java cannot know that it is gone. */
    static ByteBuffer buffer(Pointer map) {
        return lib.mmapdev_map_addr(map).getByteBuffer(0, lib.mmapdev_map_size(map).longValue());
    }

    static void map(Path path) throws IOException {
        var dev = new PointerByReference();
        var map = new PointerByReference();

        System.out.println(path + ":");
        need(lib.mmapdev_open(path.toString(), Mmapdev.O_RDWR, dev), "open");
        need(lib.mmapdev_map(dev.getValue(), null, map), "map");
        if (Files.isRegularFile(path)) {
            file(path, buffer(map.getValue()), dev.getValue());
        } else {
            device(dev.getValue(), buffer(map.getValue()));
        }
        need(lib.mmapdev_unmap(map.getValue()), "unmap");
        lib.mmapdev_close(dev.getValue());
    }

    public static void main(String[] args) throws IOException {
        for (String path : args.length > 0 ? args : new String[] {"/dev/mmapdev"}) {
            map(Path.of(path));
        }
    }
}
