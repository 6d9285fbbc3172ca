// SPDX-License-Identifier: GPL-2.0
/*
 * mmapdev: a kernel buffer that programs map.
 *
 * Parameters, devices, init and exit. A bad parameter fails the load, with a
 * message that names it, and nothing of what had been made is left.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/ctype.h>
#include <linux/idr.h>
#include <linux/kstrtox.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "mmapdev.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

#define DEVICES_MAX 64

const char * const mmapdev_mode_names[] = {
	[MMAPDEV_IOC_DEMAND]		= "demand",
	[MMAPDEV_IOC_EAGER]		= "eager",
	NULL
};

const char * const mmapdev_huge_names[] = {
	[MMAPDEV_IOC_HUGE_NEVER]	= "never",
	[MMAPDEV_IOC_HUGE_ADVISE]	= "advise",
	[MMAPDEV_IOC_HUGE_ALWAYS]	= "always",
	NULL
};

/* What a device is where nothing else is said. */
#define DEFAULT_CONFIG {			\
	.size		= 16 << 20,		\
	.mode		= MMAPDEV_IOC_DEMAND,	\
	.huge		= MMAPDEV_IOC_HUGE_NEVER, \
	.node_mode	= 0600,			\
}

const struct mmapdev_config mmapdev_config_default = DEFAULT_CONFIG;

/**
 * mmapdev_parse_size - parse the size of a buffer
 * @val: a decimal, octal or hex number, and perhaps K, M or G
 * @size: result
 *
 * Return: 0, -EINVAL for what is no positive multiple of the page size or too
 * large for a file.
 */
int mmapdev_parse_size(const char *val, u64 *size)
{
	char buf[24], *digits;
	int shift = 0;
	size_t len;
	u64 bytes;

	if (strscpy(buf, val, sizeof(buf)) < 0)
		return -EINVAL;

	digits = strim(buf);
	len = strlen(digits);
	switch (len ? toupper(digits[len - 1]) : '\0') {
	case 'G':
		shift += 10;
		fallthrough;
	case 'M':
		shift += 10;
		fallthrough;
	case 'K':
		shift += 10;
		digits[len - 1] = '\0';
	}

	if (kstrtou64(digits, 0, &bytes) ||
	    check_shl_overflow(bytes, shift, &bytes) ||
	    !bytes || !PAGE_ALIGNED(bytes) || bytes > MAX_LFS_FILESIZE)
		return -EINVAL;
	*size = bytes;

	return 0;
}

static int parse_name(const char * const *names, const char *val, u32 *which)
{
	int i = __sysfs_match_string(names, -1, val);

	if (i < 0)
		return i;
	*which = i;

	return 0;
}

/**
 * mmapdev_parse_mode - parse a name of mmapdev_mode_names
 * @val: the name, perhaps with a newline
 * @mode: result
 *
 * Return: 0 or -EINVAL.
 */
int mmapdev_parse_mode(const char *val, u32 *mode)
{
	return parse_name(mmapdev_mode_names, val, mode);
}

/**
 * mmapdev_parse_huge - parse a name of mmapdev_huge_names
 * @val: the name, perhaps with a newline
 * @huge: result
 *
 * Return: 0 or -EINVAL.
 */
int mmapdev_parse_huge(const char *val, u32 *huge)
{
	return parse_name(mmapdev_huge_names, val, huge);
}

/**
 * mmapdev_parse_node_mode - parse permission bits
 * @val: an octal number up to 0777
 * @bits: result
 *
 * Return: 0 or -EINVAL.
 */
int mmapdev_parse_node_mode(const char *val, u16 *bits)
{
	u16 number;

	if (kstrtou16(val, 8, &number) || number > 0777)
		return -EINVAL;
	*bits = number;

	return 0;
}

static unsigned int param_devices = 1;

/* The parameters of each device, before it is known how many there are. */
static struct mmapdev_config configs[DEVICES_MAX] = {
	[0 ... DEVICES_MAX - 1] = DEFAULT_CONFIG,
};

/**
 * struct list - a parameter that is a list, one value for each device
 * @count: how many values were given
 * @wanted: what a value is to be
 * @set: parses a value into the config of one device
 * @get: prints it
 */
struct list {
	unsigned int count;
	const char *wanted;
	int (*set)(struct mmapdev_config *config, const char *val);
	int (*get)(const struct mmapdev_config *config, char *buf, int at);
};

/* The last value given holds for the devices that are left. */
static int set_list(const char *val, const struct kernel_param *kp)
{
	struct list *list = kp->arg;
	char *copy, *rest, *word;
	int ret = -EINVAL;
	unsigned int i;

	copy = kstrdup(val, GFP_KERNEL);
	if (!copy)
		return -ENOMEM;

	rest = copy;
	for (i = 0; i < DEVICES_MAX; i++) {
		if (rest) {
			word = strsep(&rest, ",");
			list->count = i + 1;
		}
		ret = list->set(&configs[i], word);
		if (ret) {
			pr_err("%s=%s: '%s': want %s\n", kp->name, val, word,
			       list->wanted);
			break;
		}
	}
	if (!ret && rest) {
		pr_err("%s=%s: want at most %d values\n", kp->name, val,
		       DEVICES_MAX);
		ret = -EINVAL;
	}
	kfree(copy);

	return ret;
}

static int get_list(char *buf, const struct kernel_param *kp)
{
	const struct list *list = kp->arg;
	unsigned int i;
	int len = 0;

	for (i = 0; i < max(list->count, 1U); i++) {
		if (i)
			len += sysfs_emit_at(buf, len, ",");
		len += list->get(&configs[i], buf, len);
	}
	len += sysfs_emit_at(buf, len, "\n");

	return len;
}

static const struct kernel_param_ops list_ops = {
	.set = set_list,
	.get = get_list,
};

#define SIZE_WANTED "a multiple of the page size, as 65536, 64K, 16M or 1G"

static int set_size(struct mmapdev_config *config, const char *val)
{
	return mmapdev_parse_size(val, &config->size);
}

static int get_size(const struct mmapdev_config *config, char *buf, int at)
{
	return sysfs_emit_at(buf, at, "%llu", config->size);
}

static struct list size_list = {
	.wanted	= SIZE_WANTED,
	.set	= set_size,
	.get	= get_size,
};

module_param_cb(size, &list_ops, &size_list, 0444);
MODULE_PARM_DESC(size, "bytes of the buffer, K, M and G understood; a list has one value for each device (16M)");
__MODULE_PARM_TYPE(size, "list of sizes");

static int set_max_size(struct mmapdev_config *config, const char *val)
{
	return mmapdev_parse_size(val, &config->max_size);
}

static int get_max_size(const struct mmapdev_config *config, char *buf, int at)
{
	return sysfs_emit_at(buf, at, "%llu",
			     config->max_size ?: config->size);
}

static struct list max_size_list = {
	.wanted	= SIZE_WANTED,
	.set	= set_max_size,
	.get	= get_max_size,
};

module_param_cb(max_size, &list_ops, &max_size_list, 0444);
MODULE_PARM_DESC(max_size, "bytes that the buffer may become; list (size)");
__MODULE_PARM_TYPE(max_size, "list of sizes");

static int set_mode(struct mmapdev_config *config, const char *val)
{
	return mmapdev_parse_mode(val, &config->mode);
}

static int get_mode(const struct mmapdev_config *config, char *buf, int at)
{
	return sysfs_emit_at(buf, at, "%s", mmapdev_mode_names[config->mode]);
}

static struct list mode_list = {
	.wanted	= "demand or eager",
	.set	= set_mode,
	.get	= get_mode,
};

module_param_cb(mode, &list_ops, &mode_list, 0444);
MODULE_PARM_DESC(mode, "how mmap maps: demand (at first touch) or eager (at mmap time); list (demand)");
__MODULE_PARM_TYPE(mode, "list of modes");

static int set_huge(struct mmapdev_config *config, const char *val)
{
	return mmapdev_parse_huge(val, &config->huge);
}

static int get_huge(const struct mmapdev_config *config, char *buf, int at)
{
	return sysfs_emit_at(buf, at, "%s", mmapdev_huge_names[config->huge]);
}

static struct list huge_list = {
	.wanted	= "never, advise or always",
	.set	= set_huge,
	.get	= get_huge,
};

module_param_cb(huge, &list_ops, &huge_list, 0444);
MODULE_PARM_DESC(huge, "huge folios: never, advise (under MADV_HUGEPAGE) or always; list (never)");
__MODULE_PARM_TYPE(huge, "list of never, advise, always");

static int set_devices(const char *val, const struct kernel_param *kp)
{
	unsigned int devices;

	if (kstrtouint(val, 0, &devices) || devices > DEVICES_MAX) {
		pr_err("devices=%s: want a number from 0 to %d\n", val,
		       DEVICES_MAX);
		return -EINVAL;
	}
	*(unsigned int *)kp->arg = devices;

	return 0;
}

static const struct kernel_param_ops devices_ops = {
	.set = set_devices,
	.get = param_get_uint,
};

module_param_cb(devices, &devices_ops, &param_devices, 0444);
MODULE_PARM_DESC(devices, "how many devices to make, 0 to 64 (1)");
__MODULE_PARM_TYPE(devices, "uint");

static bool param_prealloc;
module_param_named(prealloc, param_prealloc, bool, 0444);
MODULE_PARM_DESC(prealloc, "take the memory of the whole size at once (0)");

static u16 param_node_mode = 0600;

static int set_node_mode(const char *val, const struct kernel_param *kp)
{
	if (mmapdev_parse_node_mode(val, kp->arg)) {
		pr_err("node_mode=%s: want octal permission bits, 0 to 0777\n",
		       val);
		return -EINVAL;
	}

	return 0;
}

static int get_node_mode(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%#o\n", *(u16 *)kp->arg);
}

static const struct kernel_param_ops node_mode_ops = {
	.set = set_node_mode,
	.get = get_node_mode,
};

module_param_cb(node_mode, &node_mode_ops, &param_node_mode, 0444);
MODULE_PARM_DESC(node_mode, "permission bits of the nodes, octal (0600)");
__MODULE_PARM_TYPE(node_mode, "octal");

/**
 * mmapdev_counted - what a counter has come to
 * @dev: the device
 * @which: the counter
 *
 * Return: the sum over all CPUs; a snapshot.
 */
u64 mmapdev_counted(const struct mmapdev *dev, enum mmapdev_counter which)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu_ptr(dev->counters, cpu)->n[which]);

	return sum;
}

static DEFINE_IDA(numbers);

static struct mmapdev *mmapdev_alloc(const struct mmapdev_config *config)
{
	struct mmapdev *dev;
	int ret;

	dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	if (!dev)
		return ERR_PTR(-ENOMEM);

	kref_init(&dev->ref);
	dev->config = *config;
	if (!dev->config.max_size)
		dev->config.max_size = config->size;
	mutex_init(&dev->resize_lock);
	mutex_init(&dev->commit_lock);
	init_waitqueue_head(&dev->commit_wait);
	spin_lock_init(&dev->listeners_lock);
	INIT_LIST_HEAD(&dev->listeners);
	mutex_init(&dev->eagers_lock);
	dev->eagers = RB_ROOT_CACHED;

	dev->counters = alloc_percpu(struct mmapdev_counters);
	if (!dev->counters) {
		ret = -ENOMEM;
		goto free_dev;
	}

	ret = mmapdev_buffer_init(dev);
	if (ret)
		goto free_counters;

	return dev;

free_counters:
	free_percpu(dev->counters);
free_dev:
	kfree(dev);

	return ERR_PTR(ret);
}

static void mmapdev_free(struct kref *ref)
{
	struct mmapdev *dev = container_of(ref, struct mmapdev, ref);

	mmapdev_buffer_destroy(dev);
	free_percpu(dev->counters);
	kfree(dev);
}

/**
 * mmapdev_get - hold a device
 * @dev: the device, held already
 */
void mmapdev_get(struct mmapdev *dev)
{
	kref_get(&dev->ref);
}

/**
 * mmapdev_put - let go of a device, which frees it if nobody else holds it
 * @dev: the device
 */
void mmapdev_put(struct mmapdev *dev)
{
	kref_put(&dev->ref, mmapdev_free);
}

/**
 * mmapdev_create - make a device, with its node
 * @config: what it is to be
 *
 * Return: the device, for mmapdev_remove(), or an ERR_PTR(): -EINVAL when
 * max_size is less than size, -ENOMEM, -EBUSY when there are no more minors.
 */
struct mmapdev *mmapdev_create(const struct mmapdev_config *config)
{
	struct mmapdev *dev;
	int ret;

	if (config->max_size && config->max_size < config->size) {
		pr_err("max_size=%llu: want no less than size=%llu\n",
		       config->max_size, config->size);
		return ERR_PTR(-EINVAL);
	}
	if (config->size >> PAGE_SHIFT > totalram_pages())
		pr_notice("size=%llu: more than this machine's memory\n",
			  config->size);

	dev = mmapdev_alloc(config);
	if (IS_ERR(dev))
		return dev;

	ret = ida_alloc(&numbers, GFP_KERNEL);
	if (ret < 0)
		goto put_dev;

	dev->number = ret;
	if (dev->number)
		snprintf(dev->name, sizeof(dev->name), KBUILD_MODNAME "%d",
			 dev->number);
	else
		strscpy(dev->name, KBUILD_MODNAME, sizeof(dev->name));
	dev->misc.minor = MISC_DYNAMIC_MINOR;
	dev->misc.name = dev->name;
	dev->misc.fops = &mmapdev_fops;
	dev->misc.groups = mmapdev_groups;
	/* 0 means 0600 to misc_register(): S_IFCHR alone says no permission. */
	dev->misc.mode = config->node_mode | S_IFCHR;
	ret = misc_register(&dev->misc);
	if (ret)
		goto free_number;

	return dev;

free_number:
	ida_free(&numbers, dev->number);
put_dev:
	mmapdev_put(dev);

	return ERR_PTR(ret);
}

/**
 * mmapdev_remove - remove a device, from under its users if it has any
 * @dev: the device; freed when the last of them has gone
 */
void mmapdev_remove(struct mmapdev *dev)
{
	misc_deregister(&dev->misc);
	mmapdev_buffer_revoke(dev);
	mmapdev_notify(dev);
	ida_free(&numbers, dev->number);
	mmapdev_put(dev);
}

static struct mmapdev *devices[DEVICES_MAX];

static void remove_devices(void)
{
	unsigned int i;

	for (i = 0; i < DEVICES_MAX && devices[i]; i++)
		mmapdev_remove(devices[i]);
}

static int create_devices(void)
{
	struct mmapdev *dev;
	unsigned int i;

	for (i = 0; i < param_devices; i++) {
		configs[i].prealloc = param_prealloc;
		configs[i].node_mode = param_node_mode;
		dev = mmapdev_create(&configs[i]);
		if (IS_ERR(dev)) {
			remove_devices();
			return PTR_ERR(dev);
		}
		devices[i] = dev;
	}

	return 0;
}

static int check_list(const char *name, const struct list *list)
{
	if (list->count <= max(param_devices, 1U))
		return 0;
	pr_err("%s: %u values for devices=%u\n", name, list->count,
	       param_devices);

	return -EINVAL;
}

static int __init mmapdev_init(void)
{
	int ret;

	ret = check_list("size", &size_list) ?:
	      check_list("max_size", &max_size_list) ?:
	      check_list("mode", &mode_list) ?:
	      check_list("huge", &huge_list);
	if (ret)
		return ret;
	if (!max_size_list.count) /* then it shows the sizes */
		max_size_list.count = size_list.count;

	ret = mmapdev_fs_init();
	if (ret)
		return ret;

	ret = create_devices();
	if (ret)
		goto exit_fs;

	ret = mmapdev_config_init();
	if (ret)
		goto remove;

	return 0;

remove:
	remove_devices();
exit_fs:
	mmapdev_fs_exit();

	return ret;
}
module_init(mmapdev_init);

static void __exit mmapdev_exit(void)
{
	mmapdev_config_exit();
	remove_devices();
	mmapdev_fs_exit();
}
module_exit(mmapdev_exit);

MODULE_DESCRIPTION("A kernel buffer that programs map");
MODULE_AUTHOR("The mmapdev authors");
MODULE_VERSION("1.3.0");
MODULE_LICENSE("GPL");
