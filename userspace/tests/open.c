// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Handles: how they are made, what they refuse, how they end. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"

#define UNTOUCHED ((struct mmapdev *)-1)

static int try_open(const char *path, int oflags)
{
	struct mmapdev *dev = UNTOUCHED;
	int ret = mmapdev_open(path, oflags, &dev);

	if (!ret)
		mmapdev_close(dev);
	else if (dev != UNTOUCHED)
		ok(false, "a failed open leaves the result alone (%s)", path);
	return ret;
}

static int try_open_fd(int fd)
{
	struct mmapdev *dev;
	int ret = mmapdev_open_fd(fd, &dev);

	if (!ret)
		mmapdev_close(dev);
	return ret;
}

static int try_memfd(const char *name, uint64_t size)
{
	struct mmapdev *dev;
	int ret = mmapdev_open_memfd(name, size, &dev);

	if (!ret)
		mmapdev_close(dev);
	return ret;
}

static int lowest_free_fd(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

static void test_handle(struct object *o)
{
	struct mmapdev *other;
	int fd = mmapdev_fd(o->dev);

	ok(fd >= 0, "a handle has a descriptor (%s)", o->name);
	is(fcntl(fd, F_GETFD), FD_CLOEXEC, "which exec closes (%s)", o->name);

	is(mmapdev_open_fd(fd, &other), 0, "a handle from one (%s)", o->name);
	ok(mmapdev_fd(other) != fd, "has its own (%s)", o->name);
	is(fcntl(mmapdev_fd(other), F_GETFD), FD_CLOEXEC,
	   "which exec closes too (%s)", o->name);
	mmapdev_close(other);
	is(fcntl(fd, F_GETFD), FD_CLOEXEC,
	   "closing it leaves the first open (%s)", o->name);

	is(mmapdev_set_mode(o->dev, MMAPDEV_MODE_DEMAND), 0,
	   "it maps on demand (%s)", o->name);
	is(mmapdev_set_mode(o->dev, MMAPDEV_MODE_EAGER), -EOPNOTSUPP,
	   "and not eagerly (%s)", o->name);
	is(mmapdev_set_mode(o->dev, 2), -EINVAL, "there is no mode 2 (%s)",
	   o->name);
	is(mmapdev_commit(o->dev), 0, "it commits (%s)", o->name);
}

static void test_memfd(void)
{
	char name[512];

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	is(try_memfd("m", 0), 0, "a memfd may be empty");
	is(try_memfd("m", UINT64_MAX), -EFBIG, "but not of 16 EiB");
	is(try_memfd("m", (uint64_t)INT64_MAX + 1), -EFBIG, "nor of 8 EiB");
	is(try_memfd(name, 1), -EINVAL, "nor with a name of 511 bytes");
	is(try_memfd(NULL, 1), -EINVAL, "nor with none");
	is(mmapdev_open_memfd("m", 1, NULL), -EINVAL, "nor for nobody");
}

static void test_seals(void)
{
	struct mmapdev_map_opts opts = { .sz = sizeof(opts) };
	struct mmapdev_map *map;
	struct mmapdev *dev;

	need(mmapdev_open_memfd("sealed", 4 * KIB, &dev), "memfd");
	is(fcntl(mmapdev_fd(dev), F_ADD_SEALS, F_SEAL_WRITE), 0,
	   "a memfd can be sealed");
	is(mmapdev_map(dev, NULL, &map), -EPERM,
	   "a sealed one is not mapped for writing");
	is(mmapdev_fill(dev, 0, 1, 0), -EPERM, "nor filled");
	opts.flags = MMAPDEV_MAP_PRIVATE;
	is(mmapdev_map(dev, &opts, &map), 0, "a private map it allows");
	is(mmapdev_unmap(map), 0, "and gives up");
	mmapdev_close(dev);
}

static void test_not_a_device(void)
{
	int pair[2];

	is(try_open("/dev/null", O_RDWR), -ENODEV,
	   "/dev/null is no mmapdev device");
	is(try_open("/dev/zero", O_RDWR), -ENODEV, "neither is /dev/zero");
	is(try_open("/", O_RDONLY), -ENODEV, "nor a directory");
	need(pipe(pair), "pipe");
	is(try_open_fd(pair[0]), -ENODEV, "nor a pipe");
	close(pair[0]);
	close(pair[1]);
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
	is(try_open_fd(pair[0]), -ENODEV, "nor a socket");
	close(pair[0]);
	close(pair[1]);
}

static void test_errors(void)
{
	struct rlimit old, low = { 0 };
	char path[5000], dir[] = "/tmp/mmapdev.XXXXXX";

	is(try_open(NULL, O_RDONLY), -EINVAL, "no path");
	is(mmapdev_open("/dev/null", O_RDONLY, NULL), -EINVAL, "no result");
	is(mmapdev_open_fd(0, NULL), -EINVAL, "no result, from a descriptor");
	is(try_open_fd(-1), -EBADF, "no descriptor");
	is(try_open_fd(1000000), -EBADF, "a descriptor that is not open");
	is(try_open("/nowhere/at/all", O_RDONLY), -ENOENT, "no such file");
	is(try_open("/", O_RDWR), -EISDIR, "a directory, for writing");
	is(try_open("/dev/null/x", O_RDONLY), -ENOTDIR, "a file as directory");
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	is(try_open(path, O_RDONLY), -ENAMETOOLONG, "a name of 4,999 bytes");

	if (!mkdtemp(dir))
		need(-errno, "mkdtemp");
	snprintf(path, sizeof(path), "%s/loop", dir);
	need(symlink("loop", path), "symlink");
	is(try_open(path, O_RDONLY), -ELOOP, "a link to itself");
	unlink(path);

	umask(022);
	is(try_open(path, O_RDWR | O_CREAT | O_EXCL), 0, "O_CREAT creates");
	is(try_open(path, O_RDWR | O_CREAT | O_EXCL), -EEXIST, "once");
	{
		struct stat st;

		need(stat(path, &st), path);
		is(st.st_mode, S_IFREG | 0644, "with 0666 less the umask");
	}
	unlink(path);
	rmdir(dir);

	need(getrlimit(RLIMIT_NOFILE, &old), "getrlimit");
	low.rlim_max = old.rlim_max;
	low.rlim_cur = lowest_free_fd();
	need(setrlimit(RLIMIT_NOFILE, &low), "setrlimit");
	is(try_open("/dev/null", O_RDONLY), -EMFILE, "no descriptor is left");
	is(try_memfd("m", 1), -EMFILE, "for a memfd neither");
	need(setrlimit(RLIMIT_NOFILE, &old), "setrlimit");
}

/* Root may open anything, so it asks as somebody else. */
static void test_permission(void)
{
	uid_t user = geteuid();

	if (!user)
		need(seteuid(65534), "seteuid");
	is(try_open("/proc/1/mem", O_RDONLY), -EACCES,
	   "a file of another user is EACCES");
	need(seteuid(user), "seteuid");
}

int main(void)
{
	int before = lowest_free_fd();

	is(mmapdev_version(), 1 << 16 | 3 << 8,
	   "the library is of the header's version");
	on_each_object(4 * KIB, test_handle);
	test_memfd();
	test_seals();
	test_not_a_device();
	test_errors();
	test_permission();

	mmapdev_close(NULL);
	is(mmapdev_fd(NULL), -EINVAL, "no handle has no descriptor");
	is(mmapdev_set_mode(NULL, 0), -EINVAL, "and no mode");
	is(mmapdev_commit(NULL), -EINVAL, "and no commit");
	is(lowest_free_fd(), before, "no descriptor was lost on the way");
	return done();
}
