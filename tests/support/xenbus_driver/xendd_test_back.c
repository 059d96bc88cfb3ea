// SPDX-License-Identifier: GPL-3.0-or-later
/* Copyright (c) 2026, the xen.driver_domains authors
 *
 * The backend of a device that does nothing but connect. Comments say what a real one would do, and where.
 */

#include <linux/module.h>
#include <linux/version.h>
#include <xen/xen.h>
#include <xen/xenbus.h>

static int back_probe(struct xenbus_device *dev, const struct xenbus_device_id *id)
{
	/* A real driver allocates its data here, and writes what it offers into its directory. */
	dev_info(&dev->dev, "probe of %s, frontend %s\n", dev->nodename, dev->otherend);
	return xenbus_switch_state(dev, XenbusStateInitWait);
}

static void back_frontend_changed(struct xenbus_device *dev, enum xenbus_state frontend)
{
	dev_info(&dev->dev, "frontend is %s\n", xenbus_strstate(frontend));
	switch (frontend) {
	case XenbusStateInitialised:
		if (dev->state != XenbusStateInitWait)
			break;
		/* A real driver reads the numbers of ring and event channel from the frontend's directory and maps them here. */
		xenbus_switch_state(dev, XenbusStateConnected);
		dev_info(&dev->dev, "connected\n");
		break;
	case XenbusStateClosing:
		xenbus_switch_state(dev, XenbusStateClosing);
		break;
	case XenbusStateClosed:
		/* A real driver unmaps the ring here. */
		xenbus_switch_state(dev, XenbusStateClosed);
		if (xenbus_dev_is_online(dev))
			break;
		fallthrough;
	case XenbusStateUnknown:
		/* The toolstack took the device away, or the frontend's domain is gone. */
		device_unregister(&dev->dev);
		break;
	default:
		break;
	}
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
static void back_remove(struct xenbus_device *dev)
{
	dev_info(&dev->dev, "removed\n");
}
#else
static int back_remove(struct xenbus_device *dev)
{
	dev_info(&dev->dev, "removed\n");
	return 0;
}
#endif

static const struct xenbus_device_id back_ids[] = {
	{ "xendd-test" },
	{ "" },
};

static struct xenbus_driver back_driver = {
	.name = KBUILD_MODNAME,
	.ids = back_ids,
	.probe = back_probe,
	.otherend_changed = back_frontend_changed,
	.remove = back_remove,
};

static int __init back_init(void)
{
	return xen_domain() ? xenbus_register_backend(&back_driver) : -ENODEV;
}
module_init(back_init);

static void __exit back_exit(void)
{
	xenbus_unregister_driver(&back_driver);
}
module_exit(back_exit);

MODULE_DESCRIPTION("Backend of the test device of xen.driver_domains");
MODULE_LICENSE("GPL");
MODULE_ALIAS("xen-backend:xendd-test");
