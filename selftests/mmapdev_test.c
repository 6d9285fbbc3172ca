// SPDX-License-Identifier: GPL-2.0
/* What the mmapdev tests share: see mmapdev_test.h. */
#include "mmapdev_test.h"

#include <dirent.h>
#include <setjmp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Without the module there is nothing to test: that is a skip, said once. */
static void __attribute__((constructor)) need_the_device(void)
{
	if (getenv("MMAPDEV_KO") || !access(DEVICE, R_OK | W_OK))
		return;
	printf("TAP version 13\n1..0 # SKIP %s: %s\n", DEVICE, strerror(errno));
	exit(4);
}

int device_set_mode(int fd, __u32 mode)
{
	struct mmapdev_ioc_set_mode arg = {
		.argsz = sizeof(arg),
		.mode = mode,
	};

	return ioctl(fd, MMAPDEV_IOC_SET_MODE, &arg) ? -errno : 0;
}

int device_open(int flags, __u32 mode)
{
	int fd = open(DEVICE, flags | O_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	err = device_set_mode(fd, mode);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

int device_info(int fd, struct mmapdev_ioc_info *info)
{
	memset(info, 0, sizeof(*info));
	info->argsz = sizeof(*info);
	return ioctl(fd, MMAPDEV_IOC_INFO, info) ? -errno : 0;
}

int device_fill(int fd, __u64 offset, __u64 length, __u64 pattern)
{
	struct mmapdev_ioc_kfill arg = {
		.argsz = sizeof(arg),
		.offset = offset,
		.length = length,
		.pattern = pattern,
	};

	return ioctl(fd, MMAPDEV_IOC_KFILL, &arg) ? -errno : 0;
}

int device_sum(int fd, __u64 offset, __u64 length, __u32 *sum)
{
	struct mmapdev_ioc_ksum arg = {
		.argsz = sizeof(arg),
		.offset = offset,
		.length = length,
	};

	if (ioctl(fd, MMAPDEV_IOC_KSUM, &arg))
		return -errno;
	*sum = arg.crc32c;
	return 0;
}

int device_resize(int fd, __u64 size)
{
	struct mmapdev_ioc_resize arg = {
		.argsz = sizeof(arg),
		.size = size,
	};

	return ioctl(fd, MMAPDEV_IOC_RESIZE, &arg) ? -errno : 0;
}

int device_punch(int fd, __u64 offset, __u64 length)
{
	struct mmapdev_ioc_punch arg = {
		.argsz = sizeof(arg),
		.offset = offset,
		.length = length,
	};

	return ioctl(fd, MMAPDEV_IOC_PUNCH, &arg) ? -errno : 0;
}

int device_dirty(int fd, __u32 flags, __u64 offset, __u64 length, void *bitmap,
		 __u64 *pages)
{
	struct mmapdev_ioc_dirty arg = {
		.argsz = sizeof(arg),
		.flags = flags,
		.offset = offset,
		.length = length,
		.bitmap = (uintptr_t)bitmap,
	};

	if (ioctl(fd, MMAPDEV_IOC_DIRTY, &arg))
		return -errno;
	*pages = arg.pages;
	return 0;
}

int device_will(int fd, __u32 flags, __u64 offset, __u32 expect, __u32 value)
{
	struct mmapdev_ioc_will arg = {
		.argsz = sizeof(arg),
		.flags = flags,
		.offset = offset,
		.expect = expect,
		.value = value,
	};

	return ioctl(fd, MMAPDEV_IOC_WILL, &arg) ? -errno : 0;
}

int device_clear(int fd, size_t length)
{
	int err = device_fill(fd, 0, length, 0);

	if (err)
		return err;
	return fsync(fd) ? -errno : 0;
}

static void must(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "# %s of the device: %s\n", what, strerror(-err));
	abort();
}

struct mmapdev_ioc_info info_of(int fd)
{
	struct mmapdev_ioc_info info;

	must(device_info(fd, &info), "INFO");
	return info;
}

__u32 sum_of(int fd, __u64 offset, __u64 length)
{
	__u32 sum = 0;

	must(device_sum(fd, offset, length, &sum), "KSUM");
	return sum;
}

size_t size_of(int fd)
{
	return info_of(fd).size;
}

size_t at_most(size_t size, size_t pages)
{
	return size < pages * PAGE ? size : pages * PAGE;
}

void step_begin(struct step *step, int fd)
{
	step->fd = fd;
	step->before = info_of(fd);
}

__u64 step_commits(struct step *step)
{
	step->after = info_of(step->fd);
	return step->after.commit_seq - step->before.commit_seq;
}

__u64 step_committed(struct step *step)
{
	step->after = info_of(step->fd);
	return step->after.committed - step->before.committed;
}

void *map(int fd, size_t length, int prot, int flags, off_t offset)
{
	void *at = mmap(NULL, length, prot, flags, fd, offset);

	return at == MAP_FAILED ? NULL : at;
}

__u64 pattern_of(unsigned int number)
{
	__u64 pattern = (number + 1) * 0x9e3779b97f4a7c15ull;

	return pattern | 0x0101010101010101ull;
}

static unsigned char pattern_byte(__u64 offset, __u64 pattern)
{
	return pattern >> (8 * (offset % 8));
}

void pattern_put(void *to, __u64 offset, size_t length, __u64 pattern)
{
	unsigned char *byte = to;
	size_t i;

	for (i = 0; i < length; i++)
		byte[i] = pattern_byte(offset + i, pattern);
}

bool pattern_is(const void *at, __u64 offset, size_t length, __u64 pattern)
{
	const unsigned char *byte = at;
	size_t i;

	for (i = 0; i < length; i++) {
		if (byte[i] == pattern_byte(offset + i, pattern))
			continue;
		fprintf(stderr, "# byte %llu is %02x, not %02x\n",
			(unsigned long long)offset + i, byte[i],
			pattern_byte(offset + i, pattern));
		return false;
	}
	return true;
}

bool bytes_are(const void *at, int byte, size_t length)
{
	return pattern_is(at, 0, length, byte * 0x0101010101010101ull);
}

static __u32 crc32c_more(__u32 crc, const void *data, size_t length)
{
	static __u32 table[256];
	const unsigned char *byte = data;
	int i, bit;

	for (i = 0; !table[255] && i < 256; i++) {
		__u32 rest = i;

		for (bit = 0; bit < 8; bit++)
			rest = rest >> 1 ^ (rest & 1 ? 0x82f63b78 : 0);
		table[i] = rest;
	}
	while (length--)
		crc = crc >> 8 ^ table[(crc ^ *byte++) & 0xff];
	return crc;
}

__u32 crc32c(const void *data, size_t length)
{
	return ~crc32c_more(~0u, data, length);
}

__u32 pattern_sum(__u64 offset, size_t length, __u64 pattern)
{
	__u32 crc = ~0u;
	size_t i;

	for (i = 0; i < length; i++) {
		unsigned char byte = pattern_byte(offset + i, pattern);

		crc = crc32c_more(crc, &byte, 1);
	}
	return ~crc;
}

static sigjmp_buf fault_env;
static struct fault fault_seen;

static void fault_caught(int sig, siginfo_t *info, void *context)
{
	(void)context;
	fault_seen.sig = sig;
	fault_seen.code = info->si_code;
	fault_seen.addr = info->si_addr;
	siglongjmp(fault_env, 1);
}

static struct fault fault_of(unsigned char *at, int byte)
{
	struct sigaction action = {
		.sa_sigaction = fault_caught,
		.sa_flags = SA_SIGINFO,
	};
	struct sigaction segv, bus;

	sigaction(SIGSEGV, &action, &segv);
	sigaction(SIGBUS, &action, &bus);
	memset(&fault_seen, 0, sizeof(fault_seen));
	if (!sigsetjmp(fault_env, 1)) {
		if (byte < 0)
			__atomic_load_n(at, __ATOMIC_SEQ_CST);
		else
			__atomic_store_n(at, byte, __ATOMIC_SEQ_CST);
	}
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGBUS, &bus, NULL);
	return fault_seen;
}

struct fault fault_of_read(const void *at)
{
	return fault_of((unsigned char *)at, -1);
}

struct fault fault_of_write(void *at, unsigned char byte)
{
	return fault_of(at, byte);
}

pid_t child_start(int (*fn)(void *arg), void *arg)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	_exit(fn(arg));
}

int child_wait(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 255;
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int child_run(int (*fn)(void *arg), void *arg)
{
	return child_wait(child_start(fn, arg));
}

bool say_unless(bool cond, const char *what, const char *file, int line)
{
	if (!cond)
		fprintf(stderr, "# %s:%d: not so: %s (errno %d)\n", file, line,
			what, errno);
	return cond;
}

int gate_make(struct gate *gate)
{
	return pipe(gate->fds);
}

void gate_open(struct gate *gate)
{
	if (write(gate->fds[1], "", 1) != 1)
		abort();
}

void gate_wait(struct gate *gate)
{
	char byte;

	if (read(gate->fds[0], &byte, 1) != 1)
		abort();
}

int become_nobody(void)
{
	if (setresgid(NOBODY, NOBODY, NOBODY))
		return -errno;
	return setresuid(NOBODY, NOBODY, NOBODY) ? -errno : 0;
}

int vma_at(const void *at, struct vma *vma)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	unsigned long where = (unsigned long)at;
	bool found = false;
	char line[512];

	if (!smaps)
		return -errno;
	memset(vma, 0, sizeof(*vma));
	while (fgets(line, sizeof(line), smaps)) {
		struct vma seen = {};

		if (sscanf(line, "%lx-%lx %4s %llx", &seen.start, &seen.end,
			   seen.perms, &seen.offset) == 4) {
			if (found)
				break;
			found = where >= seen.start && where < seen.end;
			if (found)
				*vma = seen;
		} else if (found && !strncmp(line, "VmFlags:", 8)) {
			snprintf(vma->flags, sizeof(vma->flags), "%.250s",
				 line + 8);
		}
	}
	fclose(smaps);
	return found ? 0 : -ENOENT;
}

bool vma_has(const void *at, const char *flag)
{
	char word[8];
	struct vma vma;

	if (vma_at(at, &vma))
		return false;
	vma.flags[strcspn(vma.flags, "\n")] = ' ';
	snprintf(word, sizeof(word), " %s ", flag);
	return strstr(vma.flags, word);
}

__u64 frame_of(const void *at)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	off_t where = (uintptr_t)at / PAGE * sizeof(__u64);
	__u64 entry = 0;

	if (pread(pagemap, &entry, sizeof(entry), where) != sizeof(entry))
		entry = 0;
	close(pagemap);
	return entry & ((1ULL << 55) - 1);
}

bool module_known(void)
{
	const char *file = getenv("MMAPDEV_KO");

	return file && !access(file, R_OK);
}

int module_load(const char *params)
{
	const char *file = getenv("MMAPDEV_KO");
	int err = 0;
	int fd;

	fd = open(file ? file : "", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (syscall(SYS_finit_module, fd, params, 0))
		err = -errno;
	close(fd);
	return err;
}

int module_unload(void)
{
	return syscall(SYS_delete_module, "mmapdev", O_NONBLOCK) ? -errno : 0;
}

int module_reload(const char *params)
{
	const char *usual = getenv("MMAPDEV_PARAMS");
	int err = module_unload();

	if (err && err != -ENOENT)
		return err;
	if (!params)
		params = usual ? usual : "";
	return module_load(params);
}

int log_open(void)
{
	int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (kmsg >= 0)
		lseek(kmsg, 0, SEEK_END);
	return kmsg;
}

bool log_says(int kmsg, const char *one, const char *two)
{
	char record[2048];
	bool found = false;
	ssize_t count;

	for (;;) {
		count = read(kmsg, record, sizeof(record) - 1);
		if (count < 0 && errno == EPIPE)
			continue;
		if (count <= 0)
			return found;
		record[count] = 0;
		if (strstr(record, one) && strstr(record, two))
			found = true;
	}
}

static void config_path(char *path, size_t room, const char *name,
			const char *attribute)
{
	snprintf(path, room, "%s/%s/%s", CONFIG, name, attribute);
}

int config_make(const char *name)
{
	char path[512];

	config_path(path, sizeof(path), name, "");
	return mkdir(path, 0755) ? -errno : 0;
}

int config_drop(const char *name)
{
	char path[512];

	config_path(path, sizeof(path), name, "");
	return rmdir(path) ? -errno : 0;
}

int config_set(const char *name, const char *attribute, const char *value)
{
	char path[512];

	config_path(path, sizeof(path), name, attribute);
	return file_write(path, value);
}

bool config_is(const char *name, const char *attribute, const char *value)
{
	char path[512], text[4096];

	config_path(path, sizeof(path), name, attribute);
	if (file_read(path, text, sizeof(text)) < 0)
		return false;
	text[strcspn(text, "\n")] = 0;
	if (!strcmp(text, value))
		return true;
	fprintf(stderr, "# %s is %s, not %s\n", path, text, value);
	return false;
}

int config_start(const char *name, char *node, size_t room)
{
	int err = config_set(name, "live", "1");
	char path[512];
	ssize_t got;

	if (err)
		return err;
	config_path(path, sizeof(path), name, "node");
	memcpy(node, "/dev/", 5);
	got = file_read(path, node + 5, room - 5);
	node[strcspn(node, "\n")] = 0;
	return got < 0 ? got : 0;
}

int config_live(const char *name, const char *size, char *node, size_t room)
{
	int err = config_make(name);

	if (!err)
		err = config_set(name, "size", size);
	return err ? err : config_start(name, node, room);
}

void config_clear(void)
{
	DIR *dir = opendir(CONFIG);
	struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			config_drop(entry->d_name);
	closedir(dir);
}

int file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

ssize_t file_read(const char *path, char *text, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return -errno;
	got = read(fd, text, room - 1);
	if (got < 0)
		got = -errno;
	text[got < 0 ? 0 : got] = 0;
	close(fd);
	return got;
}

unsigned long free_memory(void)
{
	unsigned long pages = 0;
	unsigned long more;
	char line[256];
	FILE *zones;

	file_write("/proc/sys/vm/drop_caches", "3");
	zones = fopen("/proc/zoneinfo", "re");
	if (!zones)
		return 0;
	while (fgets(line, sizeof(line), zones)) {
		if (sscanf(line, " nr_free_pages %lu", &more) == 1 ||
		    sscanf(line, " count: %lu", &more) == 1)
			pages += more;
	}
	fclose(zones);
	return pages * PAGE;
}
