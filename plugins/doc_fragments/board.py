# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """How modules let the user describe what an Arm board boots."""

    DOCUMENTATION = r"""
notes:
  - Options marked I(newer) need an ImageBuilder that is newer than release 2023.2, or M(xen.driver_domains.uboot_script).
  - What a Xen can do is read from the file itself (its build options, which C(CONFIG_HYPFS_CONFIG) puts there). Debian's Xen for arm64 has
    no static memory, null scheduler, boot-time cpupools or cache colouring, and runs with C(xsm=silo) unless told otherwise.
options:
  directory:
    description:
      - Where the board's files are, on the machine where the module runs. The board loads them from there by TFTP, or finds them on
        its SD card or disk.
      - File names in the other options are relative to it. Files outside of it are refused.
    type: path
    required: true
  memory_start:
    description: Start of the RAM that files are loaded into, for example V(0x40000000). A multiple of 2 MiB.
    type: str
    required: true
  memory_end:
    description: End of the RAM that files are loaded into. A multiple of 2 MiB.
    type: str
    required: true
  ram:
    description: RAM of the board in MiB, to check whether all domains fit. By default what O(device_tree) says, if it says so.
    type: int
  device_tree:
    description: The board's device tree blob.
    type: str
    required: true
  xen:
    description: Xen, as an unpacked arm64 Image, such as V(/boot/xen-4.20-arm64) of Debian.
    type: str
    required: true
  xen_cmdline:
    description:
      - Xen's command line.
      - Memory and CPUs of dom0 are added by O(dom0.memory) and O(dom0.vcpus).
      - For driver domains among O(domus), it needs C(xsm=dummy) when Xen was built with silo as default.
    type: str
    default: console=dtuart bootscrub=0
  xen_colors:
    description: Cache colours of Xen, such as V(0-3).
    type: str
  xen_load_command:
    description: Load command for Xen and the device tree, instead of O(load_command). I(Newer).
    type: str
  xen_policy:
    description: XSM policy for FLASK. I(Newer).
    type: str
  static_heap:
    description: Regions of RAM that Xen's heap is made of. I(Newer).
    type: list
    elements: dict
    default: []
    suboptions: &region
      start:
        description: Start address, in whole pages of 4 KiB.
        type: str
        required: true
      size:
        description: Size in bytes, in whole pages of 4 KiB, for example V(0x10000000).
        type: str
        required: true
  dom0:
    description: The control domain. Without it, Xen starts just O(domus), which is called true dom0less.
    type: dict
    suboptions:
      kernel:
        description: Its kernel, an arm64 Image, which may be packed with gzip.
        type: str
        required: true
      ramdisk:
        description: Its ramdisk, a cpio archive, which may be packed.
        type: str
      cmdline:
        description: Its kernel's command line. ImageBuilder adds C(root=/dev/ram0) when it names no C(root=).
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
      colors:
        description: Cache colours, such as V(4-7).
        type: str
      rootfs:
        description: Archive that ImageBuilder's C(disk_image) makes a partition of.
        type: str
      load_command:
        description: Load command for its files, instead of O(load_command). I(Newer).
        type: str
  domus:
    description: Domains that Xen starts at boot. They get the numbers 1, 2, and so on, in the order listed.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name, for messages and for the other modules; Xen itself gives dom0less domains no names.
        type: str
        required: true
      kernel:
        description: Its kernel, an arm64 Image, which may be packed with gzip. Needed unless O(domus[].boot=false).
        type: str
      ramdisk:
        description: Its ramdisk, a cpio archive, which may be packed.
        type: str
      cmdline:
        description: Its kernel's command line.
        type: str
        default: console=ttyAMA0
      memory:
        description: Memory in MiB; 512, or the size of O(domus[].static_memory), by default.
        type: int
      vcpus:
        description: Number of virtual CPUs.
        type: int
        default: 1
      passthrough_dtb:
        description: Partial device tree blob with the devices that the domain owns. Goes together with O(domus[].passthrough_paths).
        type: str
      passthrough_paths:
        description: Nodes of O(device_tree) that are taken from dom0 for this domain.
        type: list
        elements: str
        default: []
      boot:
        description: Whether Xen starts it. Otherwise its devices are set aside, and dom0 starts it later.
        type: bool
        default: true
      enhanced:
        description:
          - Whether the domain has what PV drivers need.
          - V(enabled) is the default with a dom0, V(disabled) without. V(no-xenstore) is I(newer) in ImageBuilder.
        type: str
        choices: [enabled, no-xenstore, disabled]
      static_memory:
        description: Regions of RAM that its memory is made of. Needs a Xen with static memory.
        type: list
        elements: dict
        default: []
        suboptions: *region
      direct_map:
        description: Whether its memory has the same addresses in the domain. Only with O(domus[].static_memory), and then the default.
        type: bool
      cpupool:
        description: Index in O(cpupools) of the pool that it runs in.
        type: int
      colors:
        description: Cache colours, such as V(8-11).
        type: str
      vpl011:
        description: Whether it has an emulated UART, which is its console C(ttyAMA0).
        type: bool
        default: true
      nr_spis:
        description: Number of shared interrupts of its interrupt controller. I(Newer).
        type: int
      grant_version:
        description: Highest version of grant tables. I(Newer).
        type: int
        choices: [1, 2]
      grant_frames:
        description: Highest number of frames of its grant table. I(Newer).
        type: int
      maptrack_frames:
        description: Highest number of frames for grants that it maps. I(Newer).
        type: int
      capabilities:
        description: What it may do, for Xen 4.21 and later. I(Newer).
        type: list
        elements: str
        choices: [control, hardware, xenstore]
        default: []
      vcpu_affinity:
        description:
          - CPUs that its virtual CPUs run on, such as V(0-1,3), by the number of the virtual CPU. I(Newer).
        type: dict
        default: {}
      trap_unmapped:
        description: Whether it is stopped when it accesses an address where nothing is. I(Newer).
        type: bool
      shared_memory:
        description: Memory that it shares with another domain. ImageBuilder only, and I(newer).
        type: dict
        suboptions:
          id:
            description: Name of the memory, the same in both domains.
            type: str
            required: true
          host_address:
            description: Where it is in the board's RAM; Xen chooses by default.
            type: str
          guest_address:
            description: Where it is in the domain.
            type: str
            required: true
          size:
            description: Size in bytes.
            type: str
            required: true
      static_event_channels:
        description: Event channels that are there from the start, in ImageBuilder's syntax. ImageBuilder only, and I(newer).
        type: str
      rootfs:
        description: Archive that ImageBuilder's C(disk_image) makes a partition of.
        type: str
      driver_domain:
        description: Whether ImageBuilder's C(disk_image) writes C(driver_domain) into the definition for C(xl).
        type: bool
        default: false
      load_command:
        description: Load command for its files, instead of O(load_command). I(Newer).
        type: str
  overlays:
    description: Device tree overlays that U-Boot applies to O(device_tree).
    type: list
    elements: str
    default: []
  cpupools:
    description: Pools of CPUs that Xen makes at boot. Needs a Xen with boot-time cpupools.
    type: list
    elements: dict
    default: []
    suboptions:
      cpus:
        description: Names of nodes below C(/cpus), such as V(cpu@1).
        type: list
        elements: str
        required: true
      scheduler:
        description: Scheduler of the pool, such as V("null"), in quotes. Xen's default unless given.
        type: str
  bitstream:
    description: Bit stream for the board's FPGA.
    type: str
  extra_commands_file:
    description: ASCII text with U-Boot commands that run before Xen is started.
    type: str
  load_command:
    description:
      - How U-Boot loads files, V(tftp), V(sd) (C(load mmc 0:1)), V(scsi) (C(load scsi 0:1)), V(usb) (C(fatload usb 0:1)), or a command
        such as V(load mmc 1:2).
    type: str
    default: tftp
  boot_command:
    description: How U-Boot starts Xen. With V(none) the script only sets C(host_kernel_addr) and C(host_fdt_addr).
    type: str
    choices: [booti, bootm, bootefi, none]
    default: booti
  force:
    description:
      - Guards to override. V(dma_without_iommu) refuses to give away a device that accesses memory by itself when no IOMMU watches it and
        its domain is not mapped 1:1.
    type: list
    elements: str
    choices: [dma_without_iommu]
    default: []
"""
