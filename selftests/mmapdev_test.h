/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the mmapdev tests share: the device and its ioctls, patterns and sums
 * to compare memory with, faults that are caught and told, children that are
 * waited for, and what /proc says of a mapping.
 */
#ifndef MMAPDEV_TEST_H
#define MMAPDEV_TEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>
#include <linux/mmapdev.h>

#define DEVICE	"/dev/mmapdev"
#define PAGE	((size_t)sysconf(_SC_PAGESIZE))

#define DEMAND	MMAPDEV_IOC_DEMAND
#define EAGER	MMAPDEV_IOC_EAGER

#define RW	(PROT_READ | PROT_WRITE)
#define NOBODY	65534

/* The device. All of these return 0 or a descriptor, else -errno. */
int device_open(int flags, __u32 mode);
int device_set_mode(int fd, __u32 mode);
int device_info(int fd, struct mmapdev_ioc_info *info);
int device_fill(int fd, __u64 offset, __u64 length, __u64 pattern);
int device_sum(int fd, __u64 offset, __u64 length, __u32 *crc32c);
int device_resize(int fd, __u64 size);
int device_punch(int fd, __u64 offset, __u64 length);
int device_dirty(int fd, __u32 flags, __u64 offset, __u64 length, void *bitmap,
		 __u64 *pages);
int device_will(int fd, __u32 flags, __u64 offset, __u32 expect, __u32 value);
/* Fills with zeros, and commits all that is dirty. */
int device_clear(int fd, size_t length);

/* For what can't fail on a good device: these end the process when it does. */
struct mmapdev_ioc_info info_of(int fd);
__u32 sum_of(int fd, __u64 offset, __u64 length);
size_t size_of(int fd);
size_t at_most(size_t size, size_t pages);

/* INFO before and after one step. */
struct step {
	int fd;
	struct mmapdev_ioc_info before;
	struct mmapdev_ioc_info after;
};

void step_begin(struct step *step, int fd);
/* How many commits there were since then, and how many bytes in them. */
__u64 step_commits(struct step *step);
__u64 step_committed(struct step *step);

/* Maps at an address of the kernel's choice; NULL and errno on failure. */
void *map(int fd, size_t length, int prot, int flags, off_t offset);

/* A different pattern for each number, with no zero byte and no two alike. */
__u64 pattern_of(unsigned int number);
void pattern_put(void *to, __u64 offset, size_t length, __u64 pattern);
bool pattern_is(const void *at, __u64 offset, size_t length, __u64 pattern);
bool bytes_are(const void *at, int byte, size_t length);
/* CRC-32C, bit by bit from its definition (RFC 3720). */
__u32 crc32c(const void *data, size_t length);
/* The sum of a range that holds this pattern. */
__u32 pattern_sum(__u64 offset, size_t length, __u64 pattern);

/* A fault that was caught. No signal: sig is 0. */
struct fault {
	int sig;
	int code;
	void *addr;
};

struct fault fault_of_read(const void *at);
struct fault fault_of_write(void *at, unsigned char byte);

/* Runs fn in a child. Status: its exit status, or -signal. */
pid_t child_start(int (*fn)(void *arg), void *arg);
int child_wait(pid_t pid);
int child_run(int (*fn)(void *arg), void *arg);

/* For children, whose failures the harness doesn't see: false is reported. */
#define holds(cond)	say_unless((cond), #cond, __FILE__, __LINE__)
bool say_unless(bool cond, const char *what, const char *file, int line);

/* One side waits until the other has come so far. */
struct gate {
	int fds[2];
};

int gate_make(struct gate *gate);
void gate_open(struct gate *gate);
void gate_wait(struct gate *gate);

/* Gives up every privilege for good. */
int become_nobody(void);

/* What /proc/self says of the mapping at an address. */
struct vma {
	unsigned long start;
	unsigned long end;
	unsigned long long offset;
	char perms[5];
	char flags[256];
};

int vma_at(const void *at, struct vma *vma);
bool vma_has(const void *at, const char *flag);
/* The frame that a page of ours lies in, for root; 0 if none. */
__u64 frame_of(const void *at);

/* The module under test; the file is in the environment as MMAPDEV_KO. */
bool module_known(void);
int module_load(const char *params);
int module_unload(void);
/* Unloads it if need be and loads it with these, or MMAPDEV_PARAMS if NULL. */
int module_reload(const char *params);

/* Free memory, and what each CPU keeps to itself; MemFree is without that. */
unsigned long free_memory(void);

/* The kernel's log from now on; a line since the last look has both words. */
int log_open(void);
bool log_says(int kmsg, const char *one, const char *two);

/* Devices made at run time, each described by a directory: 0 or -errno. */
#define CONFIG	"/sys/kernel/config/mmapdev"
int config_make(const char *name);
int config_drop(const char *name);
int config_set(const char *name, const char *attribute, const char *value);
bool config_is(const char *name, const char *attribute, const char *value);
/* Makes the device; its node's path goes to a buffer. */
int config_start(const char *name, char *node, size_t room);
/* All of it in one call. */
int config_live(const char *name, const char *size, char *node, size_t room);
/* Removes all of them. */
void config_clear(void);

int file_write(const char *path, const char *text);
ssize_t file_read(const char *path, char *text, size_t room);

#endif
