"""A nested Xen on emulated hardware, to test the collection on."""
