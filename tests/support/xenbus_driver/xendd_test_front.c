// SPDX-License-Identifier: GPL-3.0-or-later
/* Copyright (c) 2026, the xen.driver_domains authors
 *
 * The frontend of a device that does nothing but connect. Comments say what a real one would do, and where.
 */

#include <linux/module.h>
#include <linux/version.h>
#include <xen/xen.h>
#include <xen/xenbus.h>

static int front_probe(struct xenbus_device *dev, const struct xenbus_device_id *id)
{
	/* A real driver allocates its data here. The backend speaks first: wait for its InitWait. */
	dev_info(&dev->dev, "probe of %s, backend %s\n", dev->nodename, dev->otherend);
	return 0;
}

static void front_backend_changed(struct xenbus_device *dev, enum xenbus_state backend)
{
	dev_info(&dev->dev, "backend is %s\n", xenbus_strstate(backend));
	switch (backend) {
	case XenbusStateInitWait:
		if (dev->state != XenbusStateInitialising)
			break;
		/* A real driver makes its ring and event channel here and writes their numbers into its directory. */
		xenbus_switch_state(dev, XenbusStateInitialised);
		break;
	case XenbusStateConnected:
		if (dev->state != XenbusStateInitialised)
			break;
		xenbus_switch_state(dev, XenbusStateConnected);
		dev_info(&dev->dev, "connected\n");
		break;
	case XenbusStateClosed:
		if (dev->state == XenbusStateClosed)
			break;
		fallthrough;
	case XenbusStateClosing:
		/* A real driver stops its traffic here. */
		xenbus_frontend_closed(dev);
		break;
	default:
		break;
	}
}

/* The toolstack has removed the directory, or this module is unloaded. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
static void front_remove(struct xenbus_device *dev)
{
	dev_info(&dev->dev, "removed\n");
}
#else
static int front_remove(struct xenbus_device *dev)
{
	dev_info(&dev->dev, "removed\n");
	return 0;
}
#endif

static const struct xenbus_device_id front_ids[] = {
	{ "xendd-test" },
	{ "" },
};

static struct xenbus_driver front_driver = {
	.name = KBUILD_MODNAME,
	.ids = front_ids,
	.probe = front_probe,
	.otherend_changed = front_backend_changed,
	.remove = front_remove,
};

static int __init front_init(void)
{
	return xen_domain() ? xenbus_register_frontend(&front_driver) : -ENODEV;
}
module_init(front_init);

static void __exit front_exit(void)
{
	xenbus_unregister_driver(&front_driver);
}
module_exit(front_exit);

MODULE_DESCRIPTION("Frontend of the test device of xen.driver_domains");
MODULE_LICENSE("GPL");
MODULE_ALIAS("xen:xendd-test");
