#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xl_domain
short_description: Define, start, stop and remove Xen domains
version_added: 0.1.0
description:
  - Writes the definition files of domains in C(/etc/xen), starts and stops the domains with C(xl), and waits until they serve.
  - One call handles any number of domains. Domains are started in the given order, except that a domain waits for those of its
    backends that the same call starts. They are stopped in the reverse order, except that a domain is stopped, and waited for, before
    its backends. Who serves whom is read from XenStore and from the parameters, for devices of every kind.
  - A running domain whose definition changed is not touched but reported in RV(pending_restart), unless O(restart_changed=true). It is
    compared with the configuration that Xen's toolstack keeps of it, with which it also comes back when it reboots itself.
  - Vifs and disks of running domains that can no longer work, because their backend was restarted, their hotplug script failed or their
    backend does not answer for 10 s, are detached and attached again, as by M(xen.driver_domains.xl_vif) and M(xen.driver_domains.xl_vbd);
    the domain runs on. So are those that somebody detached since the domain was started from this very definition. A guest gets
    input/output errors for what it had not yet written to such a disk. Devices of other kinds are not attached again, nor are those whose
    backend does not run. RV(pending_restart) lists these domains.
  - Before a device is detached, the domain that is to serve it must report that it does, by its O(domains[].ready) or by
    C(data/driver-domain/status) below its home; else the device stays, and the task fails. A domain that reports nothing serves.
  - When the host shuts down, C(xen-driver-domains-shutdown.service) stops the domains that this module has defined, and those of others
    that these serve, before C(xendomains) stops the rest. Clients stop before their backends, as XenStore then says who serves whom. A
    domain that does not shut down within 300 s is destroyed. Those that serve dom0 are stopped by their own units, after what dom0 has
    mounted.
  - While the module changes something, the recovery service (M(xen.driver_domains.domain_recovery)) and other runs wait. A domain that the
    module stops as requested is not brought back by the service, even if the run fails later, until the module starts it again.
  - A hotplug script that fails in a driver domain often leaves no trace in XenStore. The vif then does not connect within
    O(domains[].wait_timeout), and C(/var/log/xen) in the driver domain says why.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
requirements:
  - Xen 4.17 or newer and its tools on the host, in Debian the package C(xen-utils).
extends_documentation_fragment:
  - xen.driver_domains.attributes
options:
  domains:
    description: The domains. Other domains of the host are not touched.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Name of the domain; also names its definition file.
          - 1 to 64 letters, digits and V(_.+-). The first is a letter or digit, and the name is not a number.
        type: str
        required: true
      state:
        description:
          - V(running) - defined, started (or unpaused), and serving.
          - V(stopped) - defined and shut down.
          - V(present) - defined; neither started nor stopped.
          - V(absent) - shut down, definition and unit removed. Disks and images are never removed. Also works on a host that
            does not run Xen, if all domains are V(absent).
          - V(restarted) - shut down, if it runs, and started with the definition that the host has. That always changes something.
          - V(previous) - as V(running), but with the definition with which it ran before, C(/etc/xen/NAME.cfg.previous), and the disks
            that were kept when they were rebuilt. The present definition is withdrawn - as long as it is requested, the domain keeps the
            older one, with a warning, unless O(force) has V(withdrawn_definition).
          - For V(restarted) and V(previous), only O(domains[].name), O(domains[].ready) and O(domains[].wait_timeout) matter. The unit of
            such a domain stays as it is.
        type: str
        choices: [running, stopped, present, absent, restarted, previous]
        default: running
      autostart:
        description:
          - Whether the domain starts with the host, by a unit of systemd, C(xen-domain@NAME.service). It is active when the domain
            serves, or when O(domains[].wait_timeout) is over. Domains start after their backends, driver domains also before those
            that C(xendomains) starts, and otherwise all at the same time. A host with another init system is refused.
          - The module starts and stops the units together with the domains. Links in C(/etc/xen/auto) to the definition are removed.
        type: bool
        default: false
      type:
        description:
          - Kind of guest. An x86 V(pvh) domain cannot own PCI devices up to Xen 4.22.
          - With V(auto), a domain that this module defined keeps its type. A new one is V(pvh) if the host can run that, or else V(pv),
            with a warning. One with PCI devices is V(pv), unless it is V(hvm) already.
          - V(pvh) and V(hvm) are refused on a host without C(hvm) and C(hap) in C(virt_caps) of C(xl info).
          - For V(hvm), the host needs a device model (in Debian the package C(qemu-system-xen)), memory in dom0 for it, and a kernel that
            is a bzImage, if there is one.
        type: str
        choices: [auto, pv, pvh, hvm]
        default: pv
      memory:
        description: Memory in MiB. Required where the definition is not already on the host.
        type: int
      maxmem:
        description: Memory in MiB to which the domain may grow. A domain with PCI devices cannot grow.
        type: int
      vcpus:
        description: Number of virtual CPUs.
        type: int
        default: 1
      kernel:
        description: Path of the kernel in dom0.
        type: path
      ramdisk:
        description: Path of the initial ramdisk in dom0.
        type: path
      cmdline:
        description: Kernel command line. A PV guest gets at most 1023 bytes of it.
        type: str
      driver_domain:
        description: Whether the domain may act as a backend for other domains.
        type: bool
        default: false
      pci:
        description: PCI devices that the domain owns.
        type: list
        elements: dict
        suboptions:
          device:
            description: Name of the device in O(pci_devices).
            type: str
            required: true
          permissive:
            description: Whether the domain may write the whole configuration space. This is less safe.
            type: bool
          msitranslate:
            description: See the manual page C(xl-pci-configuration).
            type: bool
          seize:
            description:
              - Whether C(xl) takes the device from its driver when it is not assignable. Not needed for devices that
                M(xen.driver_domains.xl_pci_assignable) made assignable, which checks first what depends on them.
            type: bool
          vslot:
            description: Number of the slot in which the domain has the device, in hexadecimal digits.
            type: str
          power_mgmt:
            description: See the manual page C(xl-pci-configuration); HVM only.
            type: bool
          rdm_policy:
            description: What to do about reserved device memory; HVM only.
            type: str
            choices: [strict, relaxed]
      vifs:
        description:
          - Virtual network interfaces (vifs), in order.
          - A bridge must exist, unless O(domains[].vifs[].script), or C(vif.default.script) in C(/etc/xen/xl.conf), is a script other than
            C(vif-bridge).
          - Only dom0 can serve an emulated card (O(domains[].vifs[].type=ioemu)). In a domain of type V(hvm), V(vif) is the default for a
            vif with a backend.
        type: list
        elements: dict
        suboptions:
          mac:
            description:
              - MAC address. By default it is derived from the domain's name, the backend and the bridge, and stays the same. Vifs with the
                same backend and bridge are numbered in their order.
            type: str
          bridge:
            description: Bridge in the backend domain of which the vif becomes a port.
            type: str
          backend:
            description: Name of the domain that serves the vif; dom0 by default.
            type: str
          type:
            description: See the manual page C(xl-network-configuration).
            type: str
            choices: [vif, ioemu]
          model:
            description: See the manual page C(xl-network-configuration).
            type: str
          script:
            description: Hotplug script; runs in the backend domain.
            type: str
          ip:
            description: IP address that is passed to the hotplug script.
            type: str
          vifname:
            description: Name of the interface in the backend domain.
            type: str
          rate:
            description: Limit of the outgoing rate, e.g. V(10MB/s).
            type: str
          mtu:
            description: MTU of the interface.
            type: int
          gatewaydev:
            description: Interface in the backend domain towards the gateway, for the script C(vif-route).
            type: str
          vlan:
            description: VLANs of the port, for a script that knows them; since Xen 4.19. See the manual page C(xl-network-configuration).
            type: str
          trusted:
            description:
              - Whether the frontend trusts its backend. By default it trusts dom0, and no other domain.
              - A frontend that does not trust its backend (Linux since 5.19) shares only copies of its packets with it, which costs time.
              - Before Xen 4.17, C(xl) does not accept V(false), so set V(true) there.
            type: bool
      disks:
        description: Virtual disks, in order.
        type: list
        elements: dict
        suboptions:
          target:
            description:
              - Block device or image file, a path in dom0 or in the backend domain; or what O(domains[].disks[].script) or QEMU takes,
                such as V(rbd:pool/image).
              - A disk in dom0 is refused if dom0 uses it itself (mounted, swap, part of LVM or RAID), or if another domain has it, or
                something that it is made of or that is made of it, and one of the two writes. Not checked if there is a script.
            type: str
          source:
            description:
              - Image file in dom0 from which O(domains[].disks[].target) is copied when it does not exist.
              - An existing disk is never overwritten, and a missing block device (below C(/dev)) is refused. A file beside it says from
                which image it was copied. If that differs from O(domains[].disks[].source), the domain keeps its older disk, and the
                kernel and ramdisk from the directory of the older image, unless O(force) has V(rebuild_disk).
            type: path
          vdev:
            description: Name in the guest, e.g. V(xvda).
            type: str
            required: true
          format:
            description: Format of the target.
            type: str
            choices: [raw, qcow2, qcow, vhd, qed]
            default: raw
          access:
            description: Whether the guest may write.
            type: str
            choices: [rw, ro]
            default: rw
          backend:
            description: Name of the domain that serves the disk; dom0 by default.
            type: str
          backendtype:
            description: See the manual page C(xl-disk-configuration).
            type: str
            choices: [phy, qdisk, standalone]
          specification:
            description:
              - What the disk is for the guest, one of Xen or of virtio. See the manual page C(xl-disk-configuration).
            type: str
            choices: [xen, virtio]
          grant_usage:
            description: Whether the backend of a virtio disk reaches only what the guest grants to it; since Xen 4.19.
            type: bool
          script:
            description: Hotplug script of the disk.
            type: str
          devtype:
            description: What the disk looks like in an HVM guest.
            type: str
            choices: [disk, cdrom]
            default: disk
          direct_io_safe:
            description: See the manual page C(xl-disk-configuration).
            type: bool
          discard:
            description: Whether the guest may discard blocks.
            type: bool
          trusted:
            description:
              - Whether the frontend trusts its backend. By default it trusts dom0, and no other domain.
              - A frontend that does not trust its backend (Linux since 5.19) shares only copies of its blocks with it, which costs time.
              - Before Xen 4.19, C(xl) does not accept V(false) for a disk. By default a frontend then trusts every backend, with a warning.
            type: bool
      on_poweroff:
        description:
          - What happens when the domain shuts down, including when this module asks it to. A domain that runs with a value that starts it
            again is therefore not stopped or restarted, unless O(force) contains V(destroy).
        type: str
        choices: &actions [destroy, restart, rename-restart, preserve, coredump-destroy, coredump-restart, soft-reset]
      on_reboot:
        description: What happens when the domain reboots itself.
        type: str
        choices: *actions
      on_crash:
        description: What happens when the domain crashes.
        type: str
        choices: *actions
      on_watchdog:
        description:
          - What happens when the domain no longer resets the watchdog of Xen that it started. The images of the role
            P(xen.driver_domains.guest_image#role) start one in driver domains.
        type: str
        choices: *actions
      options:
        description: Other settings of C(xl.cfg), as text, number, boolean or list. Settings that have an option of their own are refused.
        type: dict
      ready:
        description:
          - How the domain reports that it serves - a XenStore key below its home that gets a certain value.
          - Without it a domain counts as ready when all of its vifs are connected.
        type: dict
        suboptions:
          key:
            description: Path of the key, relative to C(/local/domain/DOMID).
            type: str
            required: true
          value:
            description: Value that means ready. The value V(error) means that it failed.
            type: str
            required: true
          error_key:
            description: Path of the key that then holds the reason.
            type: str
      wait_timeout:
        description: Seconds to wait until the domain is ready and its vifs are connected.
        type: float
        default: 300
  pci_devices:
    description: The devices to which O(domains[].pci) refers by name.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the device.
        type: str
        required: true
      match:
        description: What identifies it. See M(xen.driver_domains.xl_pci_assignable).
        type: dict
        required: true
      match_all:
        description: Whether the entry stands for all devices that match, called V(NAME.0), V(NAME.1) and so on.
        type: bool
        default: false
  restart_changed:
    description:
      - Whether to restart a running domain whose definition changed, or that has a device that cannot be attached again.
      - The domains that a restarted domain serves run on. Their vifs and disks are attached again as soon as it is ready, also those of
        domains that are not among O(domains).
    type: bool
    default: false
  rollback:
    description:
      - Whether a domain that was restarted with a new definition, and cannot be started, ends, or reports an error with it, is started
        with the previous one again, with its disks. So is a driver domain (O(domains[].driver_domain)) that is not ready in time; a guest
        may only be slow, and runs on. A guest that reports an error is shut down, and left as it is if it does not, unless O(force) has
        V(destroy). The task fails in any case. The new definition is withdrawn, as with O(domains[].state=previous).
      - With V(false), the domain is left as it is, for example to inspect it.
    type: bool
    default: true
  save_at_shutdown:
    description:
      - Whether C(xendomains) may save running domains when the host shuts down. By default the setting is left as it is.
      - V(false) makes it shut all domains down, by a line in C(/etc/default/xendomains). A driver domain that was saved comes back
        without its device, and guests come back before their backends.
      - V(true) removes that line, so that the host's own setting takes effect again.
    type: bool
  force:
    description:
      - Guard rails to override, by name.
      - V(serves_clients) - stop a domain even if it serves devices of any kind to running domains.
      - V(foreign_definition) - overwrite or remove a definition that this collection did not write, or take over a running domain that
        was not started from the definition that this collection wrote.
      - V(destroy) - destroy a domain that does not shut down in time, or that xl starts again when it has shut down
        (C(on_poweroff=restart)).
      - V(rebuild_disk) - with O(restart_changed=true), copy the disk of a domain again when its O(domains[].disks[].source) is that of
        another image than before. The new disk is made before the domain is stopped, with C(.next) after its name. The old disk is kept
        beside the new one, its name followed by the key of its image. Without this, such a domain keeps disk, kernel and ramdisk of the
        image that it has, with a warning.
      - V(withdrawn_definition) - use a definition again from which the domain was taken back, by O(rollback) or
        O(domains[].state=previous).
    type: list
    elements: str
    choices: [serves_clients, foreign_definition, destroy, rebuild_disk, withdrawn_definition]
    default: []
  create_timeout:
    description: Seconds that C(xl create) may take for one domain.
    type: float
    default: 180
  shutdown_timeout:
    description: Seconds that a domain may take to shut down.
    type: float
    default: 90
seealso:
  - module: xen.driver_domains.xl_domain_info
  - module: xen.driver_domains.xl_pci_assignable
"""

EXAMPLES = r"""
- name: Start a driver domain with a network card, and a guest that it serves
  xen.driver_domains.xl_domain:
    pci_devices:
      - {name: uplink0, match: {mac: "52:54:00:aa:00:02"}}
    domains:
      - name: net-dd
        memory: 256
        kernel: /var/lib/xen/images/vmlinux
        ramdisk: /var/lib/xen/images/net-dd.cpio.gz
        cmdline: console=hvc0 iommu=soft
        driver_domain: true
        autostart: true
        pci:
          - device: uplink0
      - name: web1
        memory: 512
        kernel: /var/lib/xen/images/vmlinux
        cmdline: root=/dev/xvda console=hvc0
        disks:
          - {vdev: xvda, target: /var/lib/xen/images/web1.img}
        vifs:
          - {backend: net-dd, bridge: xenbr0, mac: "00:16:3e:00:00:11"}

- name: Restart a driver domain while its guests run
  xen.driver_domains.xl_domain:
    domains:
      - name: net-dd
        state: restarted
        ready: {key: data/driver-domain/status, value: ready, error_key: data/driver-domain/error}
    force: [serves_clients]

- name: Remove a guest
  xen.driver_domains.xl_domain:
    domains:
      - name: web1
        state: absent
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be done, in order.
  returned: always
  type: list
  elements: str
  sample: ["write /etc/xen/web1.cfg", "start domain web1"]
domains:
  description: The domains as they are now. In check mode only their names and the requested states.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the domain.
      type: str
      returned: always
    state:
      description: Its state.
      type: str
      returned: always
    domid:
      description: Its number, if it runs.
      type: int
      returned: always
    vifs:
      description: Its vifs, as in RV(xen.driver_domains.xl_domain_info#module:domains[].vifs).
      type: list
      elements: dict
      returned: always
  sample:
    - name: web1
      state: running
      domid: 7
      vifs:
        - devid: 0
          mac: "00:16:3e:00:00:11"
          backend: net-dd
          backend_id: 6
          bridge: xenbr0
          frontend_state: "4"
          backend_state: "4"
          hotplug_status: connected
          hotplug_error: ""
          backend_path: /local/domain/6/backend/vif/7/0
          connected: true
recovery:
  description:
    - Stands for the recovery service that is installed, its program and its configuration. Empty if there is nothing of one. Another text
      if a part of it is missing, or it is not enabled, or does not run. The roles do not call M(xen.driver_domains.domain_recovery) when
      it is the one that they would install.
  returned: success
  type: str
  sample: 5b0c...
cut_off:
  description:
    - The running domains that are without their backends while these are restarted, or stopped. C(other_backends) serve them meanwhile.
  returned: success
  type: list
  elements: dict
  contains:
    domain:
      description: Name of the domain.
      type: str
      returned: always
    backend:
      description: Name of the backend domain that it lacks.
      type: str
      returned: always
    kinds:
      description: Kinds of its devices there.
      type: list
      elements: str
      returned: always
    other_backends:
      description: Backend domains that it still has.
      type: list
      elements: str
      returned: always
  sample: [{domain: web1, backend: net-dd, kinds: [vif], other_backends: [dmz-dd]}]
rolled_back:
  description: Domains that were restarted with new definitions in vain, and run with the previous ones again.
  returned: failure
  type: list
  elements: str
  sample: [net-dd]
pending_restart:
  description: Domains that run with an outdated definition, or with a device whose backend is gone and that cannot be attached again.
  returned: success
  type: list
  elements: str
  sample: [net-dd]
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.definition import definitions
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.disk_units import keep_units
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.host import read_host
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.kinds import settle_types
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.paths import Paths
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.plan import plan_domains
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.revisions import GUARD, on_host
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.shutdown import plan_saving
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.steps import DomainSteps, Limits
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.vbd_options import trusting
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.vif_options import VIF_OPTIONS
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.host import PciHost
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.match import choose, parse_requests
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.files import installed_digest
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner
from ansible_collections.xen.driver_domains.plugins.module_utils._turn import take_turn
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.host import require_dom0, require_root, xen_version
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xl import Xl
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore

ACTIONS = ["destroy", "restart", "rename-restart", "preserve", "coredump-destroy", "coredump-restart", "soft-reset"]

ARGUMENTS = {
    "domains": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "state": {
                "type": "str",
                "choices": ["running", "stopped", "present", "absent", "restarted", "previous"],
                "default": "running",
            },
            "autostart": {"type": "bool", "default": False},
            "type": {"type": "str", "choices": ["auto", "pv", "pvh", "hvm"], "default": "pv"},
            "memory": {"type": "int"},
            "maxmem": {"type": "int"},
            "vcpus": {"type": "int", "default": 1},
            "kernel": {"type": "path"},
            "ramdisk": {"type": "path"},
            "cmdline": {"type": "str"},
            "driver_domain": {"type": "bool", "default": False},
            "pci": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "device": {"type": "str", "required": True},
                    "permissive": {"type": "bool"},
                    "msitranslate": {"type": "bool"},
                    "seize": {"type": "bool"},
                    "vslot": {"type": "str"},
                    "power_mgmt": {"type": "bool"},
                    "rdm_policy": {"type": "str", "choices": ["strict", "relaxed"]},
                },
            },
            "vifs": {
                "type": "list",
                "elements": "dict",
                "options": VIF_OPTIONS,
            },
            "disks": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "target": {"type": "str"},
                    "source": {"type": "path"},
                    "vdev": {"type": "str", "required": True},
                    "format": {"type": "str", "choices": ["raw", "qcow2", "qcow", "vhd", "qed"], "default": "raw"},
                    "access": {"type": "str", "choices": ["rw", "ro"], "default": "rw"},
                    "backend": {"type": "str"},
                    "backendtype": {"type": "str", "choices": ["phy", "qdisk", "standalone"]},
                    "specification": {"type": "str", "choices": ["xen", "virtio"]},
                    "script": {"type": "str"},
                    "devtype": {"type": "str", "choices": ["disk", "cdrom"], "default": "disk"},
                    **{name: {"type": "bool"} for name in ("direct_io_safe", "discard", "grant_usage", "trusted")},
                },
            },
            "on_poweroff": {"type": "str", "choices": ACTIONS},
            "on_reboot": {"type": "str", "choices": ACTIONS},
            "on_crash": {"type": "str", "choices": ACTIONS},
            "on_watchdog": {"type": "str", "choices": ACTIONS},
            "options": {"type": "dict"},
            "ready": {
                "type": "dict",
                "no_log": False,
                "options": {
                    "key": {"type": "str", "required": True, "no_log": False},
                    "value": {"type": "str", "required": True},
                    "error_key": {"type": "str", "no_log": False},
                },
            },
            "wait_timeout": {"type": "float", "default": 300},
        },
    },
    "pci_devices": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "match": {"type": "dict", "required": True},
            "match_all": {"type": "bool", "default": False},
        },
    },
    "restart_changed": {"type": "bool", "default": False},
    "rollback": {"type": "bool", "default": True},
    "save_at_shutdown": {"type": "bool"},
    "force": {
        "type": "list",
        "elements": "str",
        "choices": ["serves_clients", "foreign_definition", "destroy", "rebuild_disk", "withdrawn_definition"],
        "default": [],
    },
    "create_timeout": {"type": "float", "default": 180},
    "shutdown_timeout": {"type": "float", "default": 90},
}


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read the host and plan."""
    # Definitions can be removed without Xen: no domain can be running.
    version = xen_version()
    under_xen = version is not None or any(domain["state"] != "absent" for domain in parameters["domains"])
    if under_xen:
        require_dom0()
    else:
        require_root()
    runner, paths = Runner(), Paths()
    xl, store = Xl(runner), XenStore() if under_xen else None
    requests = parse_requests(parameters["pci_devices"])
    devices = dict(choose(requests, PciHost(store=store).devices())) if requests else {}
    typed = settle_types(parameters["domains"], paths, xl.info)
    disks = {domain["name"]: trusting(domain["disks"] or [], version, domain["name"]) for domain in typed.domains}
    domains = [{**domain, "disks": disks[domain["name"]][0]} for domain in typed.domains]
    units = keep_units(domains, rebuild=parameters["restart_changed"] and "rebuild_disk" in parameters["force"])
    requested = {domain.name: domain.text for domain in definitions(units.requested, devices)}
    wanted = definitions(units.domains, devices)
    wanted = on_host(wanted, paths.definition, xl, GUARD in parameters["force"], units.warnings, requested)
    limits = Limits(create=parameters["create_timeout"], shutdown=parameters["shutdown_timeout"])
    steps = DomainSteps(xl, store, runner, paths, limits)
    host = read_host(wanted, xl, store, paths, steps.attacher.stuck if store else None)
    plan = plan_domains(wanted, host, steps, parameters["restart_changed"], parameters["rollback"])
    plan.results["recovery"] = installed_digest()
    plan.warnings += typed.warnings + units.warnings + [warning for _disks, found in disks.values() for warning in found]
    plan.refusals += units.refusals
    if parameters["save_at_shutdown"] is not None:
        plan_saving(plan, parameters["save_at_shutdown"])
    return plan


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, prepare, first=take_turn)


if __name__ == "__main__":
    main()
