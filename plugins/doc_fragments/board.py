# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The options that describe what an Arm board boots. A unit test compares them with the table in module_utils."""

    DOCUMENTATION = r"""
notes:
  - Options marked I(newer) need an ImageBuilder that is newer than release 2023.2, or M(xen.driver_domains.uboot_script).
  - The build options of Xen are read from the file itself, where C(CONFIG_HYPFS_CONFIG) puts them. Debian's Xen for arm64 has no static
    memory, null scheduler or cache colouring, and runs with C(xsm=silo) by default.
options:
  directory:
    description:
      - Where the board's files are, on the machine where the module runs. The board loads them from there by TFTP, or finds them on
        its SD card or disk.
      - File names in the other options are relative to it. Files outside of it are refused.
    type: path
    required: true
  pending:
    description:
      - Files that are still to be copied into O(directory), by their names in it. They are read from these paths until then.
      - Set it to RV(xen.driver_domains.boot_set_files#module:pending), so that check mode checks a boot set whose files are not copied yet.
    type: dict
    default: {}
  memory_start:
    description: Start of the RAM that files are loaded into, e.g. V(0x40000000). A multiple of 2 MiB.
    type: str
    required: true
  memory_end:
    description: End of the RAM that files are loaded into. A multiple of 4 KiB.
    type: str
    required: true
  ram:
    description: RAM of the board in MiB, to check whether all domains fit. By default the amount in O(device_tree), if that has it.
    type: int
  device_tree:
    description: The board's device tree blob.
    type: str
    required: true
  xen:
    description: Xen, as an uncompressed arm64 Image, such as Debian's C(/boot/xen-4.20-arm64).
    type: str
    required: true
  xen_cmdline:
    description:
      - Xen's command line. Like all command lines, at most 1023 characters, with what is added.
      - The options for dom0's memory and CPUs are added from O(dom0.memory) and O(dom0.vcpus).
      - Cache colours of Xen and dom0 belong here (C(xen-llc-colors=0-3), C(dom0-llc-colors=4-7)).
      - Driver domains among O(domus) need C(xsm=dummy) if Xen was built with silo as its default.
    type: str
    default: console=dtuart bootscrub=0
  static_heap:
    description: Regions of RAM for Xen's heap. Needs a Xen with static memory. I(Newer).
    type: list
    elements: dict
    default: []
    suboptions: &region
      start:
        description: Start address, in whole pages of 4 KiB.
        type: str
        required: true
      size:
        description: Size in bytes, in whole pages of 4 KiB, e.g. V(0x10000000).
        type: str
        required: true
  dom0:
    description: The control domain. Without it, Xen starts only O(domus), which is called true dom0less.
    type: dict
    suboptions:
      kernel:
        description: Its kernel, an arm64 Image, which may be compressed with gzip.
        type: str
        required: true
      ramdisk:
        description: Its ramdisk, a cpio archive, which may be compressed.
        type: str
      cmdline:
        description: Its kernel's command line. ImageBuilder adds C(root=/dev/ram0) if it has no C(root=).
        type: str
        default: console=hvc0 earlycon=xenboot
      memory:
        description: Memory in MiB.
        type: int
        default: 1024
      vcpus:
        description: Number of virtual CPUs.
        type: int
        default: 1
  domus:
    description: Domains that Xen starts at boot. They get the domids 1, 2, and so on, in the order listed.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name, for messages and for other modules. Xen itself gives dom0less domains no names.
        type: str
        required: true
      kernel:
        description: Its kernel, an arm64 Image, which may be compressed with gzip. Needed unless O(domus[].boot=false).
        type: str
      ramdisk:
        description: Its ramdisk, a cpio archive, which may be compressed.
        type: str
      cmdline:
        description: Its kernel's command line.
        type: str
        default: console=ttyAMA0
      memory:
        description: Memory in MiB. By default 512, or the size of O(domus[].static_memory).
        type: int
      vcpus:
        description: Number of virtual CPUs.
        type: int
        default: 1
      passthrough_dtb:
        description:
          - Partial device tree blob that describes the devices which the domain owns. Needs O(domus[].passthrough_paths).
          - M(xen.driver_domains.passthrough_device_tree) makes it.
        type: str
      passthrough_paths:
        description:
          - Nodes of O(device_tree), or of O(overlays), that are taken from dom0. They are passed through to this domain, or share a page or
            an interrupt with what is.
        type: list
        elements: str
        default: []
      boot:
        description: Whether Xen starts it. If not, its devices are reserved, and dom0 starts it later.
        type: bool
        default: true
      enhanced:
        description:
          - Whether the domain gets what PV drivers need.
          - The default is V(enabled) with a dom0, V(disabled) without one.
        type: str
        choices: [enabled, no-xenstore, disabled]
      static_memory:
        description: Regions of RAM that are its memory. Needs a Xen with static memory.
        type: list
        elements: dict
        default: []
        suboptions: *region
      direct_map:
        description:
          - Whether its memory has the same addresses in the domain as in the board's RAM. A device that accesses memory by itself (DMA)
            needs this where there is no IOMMU.
          - Needs O(domus[].static_memory), and is then the default.
          - Before Xen 4.21, XenStore is possible in only one such domain (O(domus[].enhanced=enabled)), and only if the board has free RAM
            at 0x39000000. The domain gets 2 MiB there in addition, and C(mem=) on its command line, which keeps Linux from using them as
            memory. Its O(domus[].static_memory) must end below.
        type: bool
      colors:
        description: Cache colours, such as V(8-11). Needs a Xen with cache colouring.
        type: str
      vpl011:
        description:
          - Whether it has an emulated UART, which is its console C(ttyAMA0). V(false) is I(newer) in ImageBuilder.
          - With O(domus[].direct_map), it has the addresses of Xen's own console, which must be at least 4 KiB. Those of a Raspberry Pi 4
            are not. Such a domain has no console.
        type: bool
        default: true
      grant_version:
        description: Highest version of grant tables that it may use. I(Newer).
        type: int
        choices: [1, 2]
      grant_frames:
        description: Maximum number of frames of its grant table. I(Newer).
        type: int
      maptrack_frames:
        description: Maximum number of frames for grants that it maps. A backend for many domains needs more. I(Newer).
        type: int
      capabilities:
        description: Privileges of the domain. Needs Xen 4.21 or later. I(Newer).
        type: list
        elements: str
        choices: [control, hardware, xenstore]
        default: []
      shared_memory:
        description: Memory that it shares with another domain. Needs a Xen with static shared memory. ImageBuilder only. I(Newer).
        type: dict
        suboptions:
          id:
            description: Name of the memory, the same in both domains.
            type: str
            required: true
          host_address:
            description: Its address in the board's RAM. By default Xen chooses it.
            type: str
          guest_address:
            description: Its address in the domain.
            type: str
            required: true
          size:
            description: Size in bytes.
            type: str
            required: true
  overlays:
    description: Device tree overlays that U-Boot applies to O(device_tree).
    type: list
    elements: str
    default: []
  extra_commands_file:
    description: ASCII text with U-Boot commands that run before Xen is started.
    type: str
  load_command:
    description:
      - How U-Boot loads files. One of V(tftp), V(sd) (C(load mmc 0:1)), V(scsi) (C(load scsi 0:1)), V(usb) (C(fatload usb 0:1)), or a
        command such as V(load mmc 1:2).
    type: str
    default: tftp
  boot_command:
    description:
      - How U-Boot starts Xen. V(bootm) needs ImageBuilder.
      - With V(none) the script only sets C(host_kernel_addr) and C(host_fdt_addr).
    type: str
    choices: [booti, bootm, bootefi, none]
    default: booti
  force:
    description:
      - Guards to override. V(dma_without_iommu) refuses to pass through a device that accesses memory by itself (DMA) if there is no IOMMU
        in front of it and its domain is not mapped 1:1. A device may do so unless it is known not to.
    type: list
    elements: str
    choices: [dma_without_iommu]
    default: []
"""
