// SPDX-License-Identifier: GPL-2.0
/*
 * Devices made and removed at run time, through configfs.
 *
 * A directory under /sys/kernel/config/mmapdev is a device to be: its attributes
 * are the module's parameters for one device, writing 1 to "live" makes it,
 * writing 0 or rmdir removes it, from under its users if need be.
 *
 * configfs is a module of its own in most kernels, which insmod would not load.
 * So we refer to it weakly: without it the module has no such directory, and
 * the devices of its parameters are all there are. modprobe loads it first.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/configfs.h>
#include <linux/kstrtox.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>

#include "mmapdev.h"

#pragma weak config_group_init
#pragma weak config_item_init_type_name
#pragma weak config_item_put
#pragma weak configfs_register_subsystem
#pragma weak configfs_unregister_subsystem

/**
 * struct mmapdev_item - a directory
 * @item: its configfs part
 * @lock: protects @config and @dev
 * @config: what its attributes say
 * @dev: the device while it is live, else NULL
 */
struct mmapdev_item {
	struct config_item item;
	struct mutex lock;	/* config, dev */
	struct mmapdev_config config;
	struct mmapdev *dev;
};

static struct mmapdev_item *to_mmapdev_item(struct config_item *item)
{
	return container_of(item, struct mmapdev_item, item);
}

/* Keeps what @change made of a copy of the config, unless it is in use. */
static ssize_t item_change(struct config_item *item, const char *page,
			   size_t count,
			   int (*change)(struct mmapdev_config *config,
					 const char *page))
{
	struct mmapdev_item *mitem = to_mmapdev_item(item);
	struct mmapdev_config config;
	int ret;

	mutex_lock(&mitem->lock);
	config = mitem->config;
	ret = mitem->dev ? -EBUSY : change(&config, page);
	if (!ret)
		mitem->config = config;
	mutex_unlock(&mitem->lock);

	return ret ?: count;
}

/* item_attr(NAME, FORMAT, VALUE): VALUE is an expression of config */
#define item_attr(name, format, value)					\
static ssize_t item_##name##_show(struct config_item *item, char *page)	\
{									\
	struct mmapdev_item *mitem = to_mmapdev_item(item);		\
	struct mmapdev_config *config = &mitem->config;			\
	ssize_t ret;							\
									\
	mutex_lock(&mitem->lock);					\
	ret = sysfs_emit(page, format "\n", value);			\
	mutex_unlock(&mitem->lock);					\
									\
	return ret;							\
}									\
static ssize_t item_##name##_store(struct config_item *item,		\
				   const char *page, size_t count)	\
{									\
	return item_change(item, page, count, set_##name);		\
}									\
CONFIGFS_ATTR(item_, name)

static int set_size(struct mmapdev_config *config, const char *page)
{
	return mmapdev_parse_size(page, &config->size);
}

static int set_max_size(struct mmapdev_config *config, const char *page)
{
	return mmapdev_parse_size(page, &config->max_size);
}

static int set_mode(struct mmapdev_config *config, const char *page)
{
	return mmapdev_parse_mode(page, &config->mode);
}

static int set_huge(struct mmapdev_config *config, const char *page)
{
	return mmapdev_parse_huge(page, &config->huge);
}

static int set_prealloc(struct mmapdev_config *config, const char *page)
{
	return kstrtobool(page, &config->prealloc);
}

static int set_node_mode(struct mmapdev_config *config, const char *page)
{
	return mmapdev_parse_node_mode(page, &config->node_mode);
}

item_attr(size, "%llu", config->size);
item_attr(max_size, "%llu", config->max_size ?: config->size);
item_attr(mode, "%s", mmapdev_mode_names[config->mode]);
item_attr(huge, "%s", mmapdev_huge_names[config->huge]);
item_attr(prealloc, "%d", config->prealloc);
item_attr(node_mode, "%#o", config->node_mode);

static ssize_t item_live_show(struct config_item *item, char *page)
{
	struct mmapdev_item *mitem = to_mmapdev_item(item);

	return sysfs_emit(page, "%d\n", !!READ_ONCE(mitem->dev));
}

static ssize_t item_live_store(struct config_item *item, const char *page,
			       size_t count)
{
	struct mmapdev_item *mitem = to_mmapdev_item(item);
	struct mmapdev *dev;
	bool live;
	int ret;

	ret = kstrtobool(page, &live);
	if (ret)
		return ret;

	mutex_lock(&mitem->lock);
	if (live && !mitem->dev) {
		dev = mmapdev_create(&mitem->config);
		if (IS_ERR(dev))
			ret = PTR_ERR(dev);
		else
			WRITE_ONCE(mitem->dev, dev);
	} else if (!live && mitem->dev) {
		mmapdev_remove(mitem->dev);
		WRITE_ONCE(mitem->dev, NULL);
	}
	mutex_unlock(&mitem->lock);

	return ret ?: count;
}
CONFIGFS_ATTR(item_, live);

static ssize_t item_node_show(struct config_item *item, char *page)
{
	struct mmapdev_item *mitem = to_mmapdev_item(item);
	ssize_t ret;

	mutex_lock(&mitem->lock);
	ret = sysfs_emit(page, "%s\n", mitem->dev ? mitem->dev->name : "none");
	mutex_unlock(&mitem->lock);

	return ret;
}
CONFIGFS_ATTR_RO(item_, node);

static struct configfs_attribute *item_attrs[] = {
	&item_attr_size,
	&item_attr_max_size,
	&item_attr_mode,
	&item_attr_huge,
	&item_attr_prealloc,
	&item_attr_node_mode,
	&item_attr_live,
	&item_attr_node,
	NULL
};

static void item_release(struct config_item *item)
{
	kfree(to_mmapdev_item(item));
}

static struct configfs_item_operations item_ops = {
	.release	= item_release,
};

static const struct config_item_type item_type = {
	.ct_item_ops	= &item_ops,
	.ct_attrs	= item_attrs,
	.ct_owner	= THIS_MODULE,
};

static struct config_item *group_make_item(struct config_group *group,
					   const char *name)
{
	struct mmapdev_item *mitem = kzalloc(sizeof(*mitem), GFP_KERNEL);

	if (!mitem)
		return ERR_PTR(-ENOMEM);

	mutex_init(&mitem->lock);
	mitem->config = mmapdev_config_default;
	config_item_init_type_name(&mitem->item, name, &item_type);

	return &mitem->item;
}

static void group_drop_item(struct config_group *group,
			    struct config_item *item)
{
	struct mmapdev_item *mitem = to_mmapdev_item(item);

	/* Its attributes are dead by now. */
	if (mitem->dev)
		mmapdev_remove(mitem->dev);
	config_item_put(item);
}

static struct configfs_group_operations group_ops = {
	.make_item	= group_make_item,
	.drop_item	= group_drop_item,
};

static const struct config_item_type group_type = {
	.ct_group_ops	= &group_ops,
	.ct_owner	= THIS_MODULE,
};

static struct configfs_subsystem mmapdev_subsys = {
	.su_group.cg_item = {
		.ci_namebuf	= KBUILD_MODNAME,
		.ci_type	= &group_type,
	},
};

int mmapdev_config_init(void)
{
	if (!configfs_register_subsystem) {
		pr_info("configfs is not loaded: no devices at run time\n");
		return 0;
	}

	config_group_init(&mmapdev_subsys.su_group);
	mutex_init(&mmapdev_subsys.su_mutex);

	return configfs_register_subsystem(&mmapdev_subsys);
}

void mmapdev_config_exit(void)
{
	if (configfs_unregister_subsystem)
		configfs_unregister_subsystem(&mmapdev_subsys);
}
