#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dom0_boot
short_description: Set the boot options of a Xen host
version_added: 0.1.0
description:
  - Makes Xen the default entry of GRUB, sets options of Xen and of dom0's kernel, and makes C(xen-pciback) take devices before
    any driver does (hides them from dom0).
  - Options become permanent only when the host is reached while it runs with them. Until then they are B(tried once). The next boot takes
    an additional entry of GRUB's menu, and the boot after that takes the entry that was the default before. A host that cannot be reached,
    or does not come up, comes back as it was when its power is switched off and on. One that panics, or whose initramfs does not find the
    root file system, reboots by itself.
  - To make them permanent, run the module again after the boot, which is over a new connection then. Options that the running host has
    already become permanent at once. A list of hidden devices counts as such if C(xen-pciback) holds them now.
  - An option of an earlier run that is no longer requested, but that the host runs with, is removed in the same way. The next boot tries
    the options without it. An option that others set as well stays.
  - While the options are tried, a run that does not come over SSH is refused (V(local_trial)), because it does not show that the host can
    be reached. Nothing is changed then, and the next boot takes the entry that was the default before. Hosts that are managed without SSH
    need O(force) with that guard. At the console of a host that is cut off, other options can be set, and are tried at the next boot.
  - Until Xen was booted once, the default entry is set back to what it would be without Debian's package of Xen. To have that from the
    installation of the package on, use O(state=prepared) before.
  - Options that were tried once, and with which the host was not reached, are refused (V(failed_trial)) until they change, or until
    O(force) names that guard.
  - Where GRUB cannot write its environment block (C(/boot/grub) on LVM, md, btrfs or ZFS, or encrypted), it cannot boot an entry once.
    Options become permanent at once there, with a warning.
  - Installs C(xen-driver-domains-check.service) if devices are hidden. At each boot, before domains start, it compares the devices at the
    recorded addresses with the records of M(xen.driver_domains.xl_pci_assignable), by IDs, slot, serial number and MAC address. Where
    another device is at such an address now, that device gets its own driver, and domains with that address are not started at this boot.
    The journal says so.
  - Writes only files of its own (C(zz-xen-driver-domains.cfg) in C(/etc/default/grub.d), C(99_xen_driver_domains) in C(/etc/grub.d),
    C(xen-driver-domains.conf) in C(/etc/modprobe.d) and C(/etc/modules-load.d), and the service) and runs C(update-grub) and
    C(update-initramfs) when they changed. Options that others wrote stay; if both set the same option, this module's takes effect.
  - The guard rails of M(xen.driver_domains.xl_pci_assignable) also apply to devices that are hidden at boot.
  - Only one list of hidden devices can be in effect. It includes what others hide in GRUB's options or in modprobe.d, as far as that list
    would be in effect. The guard rails apply to these devices, too.
  - Refuses a host that boots with Secure Boot and does not run Xen yet, because GRUB would not start Xen.
  - Never reboots. RV(reboot_required) says whether the running system differs from the options, and RV(trial) what the next boot is.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
requirements:
  - Debian's C(update-grub) and C(update-initramfs) on the host.
extends_documentation_fragment:
  - xen.driver_domains.attributes
  - xen.driver_domains.pci_devices.guards
options:
  hypervisor_options:
    description:
      - Options for Xen, one list item for each. Each item that sets dom0's memory needs at least 256 MiB. Xen reads a number without a unit
        as KiB.
      - Options that take devices from dom0 are refused. O(hide) is for that.
    type: list
    elements: str
    default: []
  kernel_options:
    description:
      - Options for dom0's kernel when it runs under Xen, one list item for each.
      - Options that take devices from dom0, such as C(xen-pciback.hide) or C(vfio-pci.ids), are refused. O(hide) is for that.
    type: list
    elements: str
    default: []
  hide:
    description: BDFs of the devices that C(xen-pciback) takes at boot. Each one must be present now.
    type: list
    elements: str
    default: []
  load_after_pciback:
    description: Kernel modules that could take a hidden device, so C(xen-pciback) has to be loaded before them.
    type: list
    elements: str
    default: []
  assignable:
    description:
      - Those devices in O(hide) that an earlier task has made assignable, so that the host was reached without them.
      - Only check mode needs it, because there the earlier task has not taken them.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(absent) removes the files of this module and every option in them.
      - V(prepared) is for before Debian's package of Xen is installed, which makes Xen the default entry at once. It keeps the present
        default, and reports what V(present) would refuse. It changes nothing else, and nothing on a host that runs Xen.
    type: str
    choices: [present, prepared, absent]
    default: present
seealso:
  - module: xen.driver_domains.xl_pci_assignable
"""

EXAMPLES = r"""
- name: Boot Xen by default, with 2 GiB for dom0 and a network card hidden from it
  xen.driver_domains.dom0_boot:
    hypervisor_options:
      - dom0_mem=2048M,max:2048M
      - dom0_max_vcpus=2
    hide:
      - "0000:03:00.0"
    load_after_pciback:
      - e1000e
  register: boot

- name: Reboot into the trial
  ansible.builtin.reboot:
  when: boot.trial == 'next_boot'

- name: Make the options permanent, now that the host was reached again
  xen.driver_domains.dom0_boot:
    hypervisor_options:
      - dom0_mem=2048M,max:2048M
      - dom0_max_vcpus=2
    hide:
      - "0000:03:00.0"
    load_after_pciback:
      - e1000e

- name: Boot as before
  xen.driver_domains.dom0_boot:
    state: absent
"""

RETURN = r"""
actions:
  description: What was done, in order; in check mode, what would be done.
  returned: always
  type: list
  elements: str
  sample: ["write /etc/default/grub.d/zz-xen-driver-domains.cfg", "update-grub"]
reboot_required:
  description: Whether the running system lacks Xen or a requested option, or has one of an earlier run that is no longer requested.
  returned: success
  type: bool
  sample: true
reboot_reasons:
  description: What the running system lacks, and what it has of an earlier run.
  returned: success
  type: list
  elements: str
  sample: ["Xen runs without dom0_max_vcpus=2"]
trial:
  description:
    - V(next_boot) the next boot tries the options once. They become permanent when the module is run again while they are in effect.
    - V(impossible) they are permanent although the running system lacks them, because GRUB cannot boot an entry once on this host.
    - V(none) they are permanent.
    - With O(state=prepared), it is what V(present) would return.
  returned: success
  type: str
  sample: next_boot
hidden_at_boot:
  description: Whether the list of the running kernel has exactly the devices in O(hide) and those that others hide.
  returned: success
  type: bool
  sample: false
not_hidden:
  description:
    - Devices in O(hide) that C(xen-pciback) does not hold now, each as one line with address, IDs, driver and interface. They are
      hidden from the next boot on. After that boot, the list should be empty.
  returned: success
  type: list
  elements: str
  sample: ["0000:03:00.0 8086:10d3 driver e1000e eth1 52:54:00:aa:00:02"]
outdated_hides:
  description:
    - Devices that are hidden by mistake. New hardware moved them to an address that the list of the running kernel has, but O(hide)
      does not.
    - The entries can be passed to O(xen.driver_domains.xl_pci_assignable#module:devices) with
      O(xen.driver_domains.xl_pci_assignable#module:state=absent), which returns them to dom0.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: A name for the device.
      type: str
      returned: always
    match:
      description: How it is found.
      type: dict
      returned: always
      contains:
        bdf:
          description: PCI address.
          type: str
          returned: always
  sample:
    - name: stray0
      match:
        bdf: "0000:04:00.0"
refusals:
  description: The guard rails that blocked the task.
  returned: when a guard rail refused the task
  type: list
  elements: dict
  contains:
    guard:
      description: Name of the guard rail, as O(force) takes it.
      type: str
      returned: always
    subject:
      description: The device that it protects.
      type: str
      returned: always
    reason:
      description: Why.
      type: str
      returned: always
  sample: []
"""

import os
import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._dom0_boot import (
    BootOptions,
    hidden_at_boot,
    hidden_by_others,
    plan_boot,
    proved_by_host,
    reboot_reasons,
    refuse_local_proof,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._files import read_text
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.confirm_timer import ConfirmTimer
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.guards import PCI_GUARDS, Guards
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.hidden_at_boot import check_hidden, not_hidden, outdated_hides
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.host import PciHost
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.host import require_root, xen_version
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xl import Xl

ARGUMENTS = {
    "hypervisor_options": {"type": "list", "elements": "str", "default": []},
    "kernel_options": {"type": "list", "elements": "str", "default": []},
    "hide": {"type": "list", "elements": "str", "default": []},
    "load_after_pciback": {"type": "list", "elements": "str", "default": []},
    "assignable": {"type": "list", "elements": "str", "default": []},
    "force": {"type": "list", "elements": "str", "choices": list(PCI_GUARDS), "default": []},
    "state": {"type": "str", "choices": ["present", "prepared", "absent"], "default": "present"},
}


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read the host and plan."""
    require_root()
    if parameters["state"] == "absent":
        plan = plan_boot(None, Runner())
        plan.results.update(reboot_required=False, reboot_reasons=[], hidden_at_boot=False, not_hidden=[], outdated_hides=[])
        return plan
    others, warnings = hidden_by_others()
    options = BootOptions(
        hypervisor=tuple(parameters["hypervisor_options"]),
        kernel=tuple(parameters["kernel_options"]),
        hide=tuple(parameters["hide"]),
        foreign_hides=others,
        load_after_pciback=tuple(parameters["load_after_pciback"]),
    )
    runner = Runner()
    kernel_line = read_text("/proc/cmdline") or ""
    hypervisor_line = Xl().info().get("xen_commandline", "") if xen_version() else ""
    reasons = reboot_reasons(options, hypervisor_line, kernel_line)
    host = PciHost()
    devices = host.devices()
    missing = not_hidden(options, devices)
    to_come = [device for device in missing if str(device.bdf) not in parameters["assignable"]]
    over_ssh = bool(ConfirmTimer(runner).session())
    proved = proved_by_host(options, reasons, to_come, kernel_line, over_ssh=over_ssh)
    plan = plan_boot(options, runner, proved=proved, prepare=parameters["state"] == "prepared")
    plan.warnings += warnings
    refuse_local_proof(plan, options, kernel_line, over_ssh)
    check_hidden(plan, options, devices, host, Guards(devices, runner), f"/lib/modules/{os.uname().release}")
    plan.results.update(
        reboot_required=bool(reasons),
        reboot_reasons=reasons,
        hidden_at_boot=hidden_at_boot(options, kernel_line),
        not_hidden=list(map(str, missing)),
        outdated_hides=outdated_hides(options, kernel_line, devices),
    )
    return plan


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, prepare)


if __name__ == "__main__":
    main()
