#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_image
version_added: 0.1.0
short_description: Build kernels, ramdisks and root file systems for domains
description:
  - Builds images from Debian packages with C(mmdebstrap), on the machine on which the module runs, and keeps them in a cache.
  - Each image has a key, a hash of everything that goes into the build. The same input gives the same image, byte for byte,
    as long as the archive serves the same packages. An image in the cache is not built again; change
    O(images[].revision) to get one with current packages.
  - While a build runs, C(build.log) in O(cache_dir) shows how far it is.
  - Works as root and as an ordinary user. An ordinary user needs user namespaces and subordinate user ids (C(uidmap)).
  - Ramdisks and disks have the mode 0600, since they may hold files that only root of the domain may read.
  - Kernels for x86 are unpacked when the image is built, which makes C(xl create) much faster, unless O(images[].bzimage=true).
author:
  - The xen.driver_domains authors (@xen-driver-domains)
requirements:
  - C(mmdebstrap), C(zstd) and, for disks, C(e2fsprogs) where the images are built; without root also C(uidmap) and C(fakeroot).
extends_documentation_fragment:
  - xen.driver_domains.attributes
options:
  images:
    description: The images; list all of them in one call.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the image in results and messages. It does not affect the image itself.
        type: str
        required: true
      format:
        description:
          - V(ramdisk) builds an initramfs with C(initramfs-tools). The rest of the system is discarded, so the hooks in
            O(images[].files) decide what the initramfs contains. For that, packages are only unpacked. Their scripts, such as
            C(postinst), do not run, so there are no alternatives, users or other results of these scripts.
          - V(disk) builds an ext4 file system that can be upgraded, and an initramfs that mounts it.
        type: str
        choices: [ramdisk, disk]
        default: ramdisk
      suite:
        description: The Debian suite, for example V(trixie).
        type: str
        required: true
      architecture:
        description: The Debian architecture. The default is that of the machine on which the module runs.
        type: str
      packages:
        description: Packages to install, without the packages that they recommend. Kernel and C(initramfs-tools) are added if needed.
        type: list
        elements: str
        default: []
      files:
        description: Files to add to the system after its packages, including hooks and scripts for C(initramfs-tools).
        type: list
        elements: dict
        default: []
        suboptions:
          path:
            description: Absolute path in the image.
            type: path
            required: true
          content:
            description: The content of the file.
            type: str
            required: true
          mode:
            description: The mode in octal, in quotes. The owner is root.
            type: str
            default: "0644"
      kernel:
        description: Whether to export the kernel to which the modules of the ramdisk belong.
        type: bool
        default: true
      bzimage:
        description:
          - Whether the kernel stays as it is in its package, a bzImage, which is what an HVM domain boots. Only for x86.
          - Otherwise it is unpacked to an ELF file, which is what PV and PVH domains boot fastest, and HVM domains cannot boot.
        type: bool
        default: false
      modules:
        description: Kernel modules that the initramfs contains and loads first, with their dependencies.
        type: list
        elements: str
        default: []
      nonfree_firmware:
        description:
          - Kernel modules whose firmware is added from the component C(non-free-firmware) of the suite, with that of the modules that they
            need. Which files a module may ask for is known from the module, in which packages they are from the archive's index
            C(Contents-all).
          - A ramdisk gets only these files, a disk their packages.
        type: list
        elements: str
        default: []
      size:
        description: Size of the file system of a disk, a number with V(M) or V(G). The default is V(2G). The file is sparse.
        type: str
      mirror:
        description:
          - Lines for C(sources.list), which begin with C(deb), or addresses of mirrors.
          - By default, C(mmdebstrap) chooses them for the suite.
        type: list
        elements: str
        default: []
      revision:
        description: Any text. Change it to build the image again, with the packages that the archive has at that time.
        type: str
  cache_dir:
    description: Directory of the images. Each image is a subdirectory named by its key.
    type: path
    default: ~/.cache/xen-driver-domains/images
  state:
    description:
      - V(present) builds the images that the cache lacks. An image counts as present if its files have the checksums in its manifest.
      - V(absent) removes the images, except those that a running domain uses or that a file in C(/etc/xen) names. These are kept,
        with a warning.
      - V(cleaned) removes images other than O(images) that no running domain uses, that no file in C(/etc/xen) names, and that were
        built or delivered more than 30 days ago.
    type: str
    choices: [present, absent, cleaned]
    default: present
  timeout:
    description: Time limit in seconds for each step of a build, and for the wait for another build to end.
    type: int
    default: 1800
"""

EXAMPLES = r"""
- name: Build a ramdisk with the drivers of one network interface card
  xen.driver_domains.guest_image:
    images:
      - name: rescue
        suite: trixie
        packages: [busybox, kmod, zstd]
        modules: [xen-pcifront, e1000e]
        files:
          - path: /etc/initramfs-tools/conf.d/rescue
            content: "BUSYBOX=y\n"
  delegate_to: localhost

- name: Build a root file system
  xen.driver_domains.guest_image:
    cache_dir: /var/lib/xen-driver-domains/images
    images:
      - name: guest
        format: disk
        suite: bookworm
        size: 4G
        packages: [systemd-sysv, openssh-server]
        revision: "2026-08"
"""

RETURN = r"""
images:
  description: The images, in the order of O(images). Check mode returns their paths too, although it builds nothing.
  returned: success
  type: list
  elements: dict
  sample:
    - name: rescue
      key: 3f0c5b2c96294aa1
      directory: /root/.cache/xen-driver-domains/images/3f0c5b2c96294aa1
      kernel: /root/.cache/xen-driver-domains/images/3f0c5b2c96294aa1/kernel
      ramdisk: /root/.cache/xen-driver-domains/images/3f0c5b2c96294aa1/ramdisk
      disk: ""
      present: true
      size_bytes: 61234567
      files:
        kernel: {size: 57000000, sha256: "0123456789abcdef"}
        ramdisk: {size: 4234567, sha256: "0123456789abcdef"}
  contains:
    name:
      description: Name of the image.
      type: str
    key:
      description: Hash of everything that goes into the build.
      type: str
    directory:
      description: Directory of the image. The file C(manifest.json) in it lists the versions of its packages.
      type: str
    kernel:
      description: Path of the kernel, or an empty string.
      type: str
    ramdisk:
      description: Path of the initramfs, or an empty string.
      type: str
    disk:
      description: Path of the file system, or an empty string.
      type: str
    present:
      description: Whether the image is in the cache after the task.
      type: bool
    size_bytes:
      description: Total size of its files in bytes, or 0 if the image is not in the cache.
      type: int
    files:
      description: Size and SHA-256 of each file, by its name.
      type: dict
actions:
  description: What was done, or would be done in check mode.
  returned: always
  type: list
  elements: str
  sample: ["Build image rescue (3f0c5b2c96294aa1)"]
log:
  description: The end of the log of a build that failed.
  returned: failure
  type: list
  elements: str
  sample: ["E: Unable to locate package xen-utils-9.9"]
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.build import Builder, dpkg_architecture
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.cache import ImageCache
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.plan import plan_images
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.specification import read_images
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read the cache and plan what to build or remove."""
    runner = Runner()
    cache = ImageCache(parameters["cache_dir"])
    images = read_images(parameters["images"], lambda: dpkg_architecture(runner))
    return plan_images(images, parameters["state"], cache, Builder(cache, runner, parameters["timeout"]))


def main() -> None:
    """Run the module."""
    file = {
        "path": {"type": "path", "required": True},
        "content": {"type": "str", "required": True},
        "mode": {"type": "str", "default": "0644"},
    }
    image = {
        "name": {"type": "str", "required": True},
        "format": {"type": "str", "choices": ["ramdisk", "disk"], "default": "ramdisk"},
        "suite": {"type": "str", "required": True},
        "architecture": {"type": "str"},
        "packages": {"type": "list", "elements": "str", "default": []},
        "files": {"type": "list", "elements": "dict", "default": [], "options": file},
        "kernel": {"type": "bool", "default": True},
        "bzimage": {"type": "bool", "default": False},
        "modules": {"type": "list", "elements": "str", "default": []},
        "nonfree_firmware": {"type": "list", "elements": "str", "default": []},
        "size": {"type": "str"},
        "mirror": {"type": "list", "elements": "str", "default": []},
        "revision": {"type": "str"},
    }
    run_module(
        {
            "images": {"type": "list", "elements": "dict", "required": True, "options": image},
            "cache_dir": {"type": "path", "default": "~/.cache/xen-driver-domains/images"},
            "state": {"type": "str", "choices": ["present", "absent", "cleaned"], "default": "present"},
            "timeout": {"type": "int", "default": 1800},
        },
        prepare,
    )


if __name__ == "__main__":
    main()
