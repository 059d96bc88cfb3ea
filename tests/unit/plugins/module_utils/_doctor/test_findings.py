# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each finding: a host in good health has none, breaking it in one way causes one, and mending that ends it."""

from __future__ import annotations

import dataclasses
import re
import shutil
import struct
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._doctor.finding import SEVERITIES, TROUBLES
from ansible_collections.xen.driver_domains.plugins.module_utils._doctor.reserved_memory import ReservedFor, reserved_memory
from ansible_collections.xen.driver_domains.tests.unit.fakes.whole_host import (
    BACKEND,
    CARD,
    FRONTEND,
    GUEST,
    HOST_CARD,
    NET_DD,
    OTHER_CARD,
    VIF,
    WholeHost,
)

ROOT = Path(__file__).resolve().parents[5]
#: Breaks a host, yields what must be found then, and mends it.
Case = t.Callable[[WholeHost], t.Iterator[dict[str, str]]]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    CASES[function.__name__.replace("_", "-")] = function
    return function


@pytest.fixture(name="host")
def make_host(tmp_path: Path) -> t.Iterator[WholeHost]:
    with WholeHost(tmp_path) as host:
        yield host


def found(host: WholeHost) -> dict[str, str]:
    """The objects by id."""
    return {finding.id: finding.object for finding in host.examine()}


# The host


@case
def not_readable(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.failing = {"xl dmesg", "systemctl"}
    assert {(finding.id, finding.object) for finding in host.examine()} == {
        ("not-readable", "xl dmesg"),
        ("not-readable", "units of systemd"),
    }
    host.failing, host.uid = set(), 1000
    yield {"not-readable": "everything else"}
    host.uid = 0


@case
def no_xen(host: WholeHost) -> t.Iterator[dict[str, str]]:
    shutil.move(host.root / "sys/hypervisor", host.root / "elsewhere")
    yield {"no-xen": "host"}
    shutil.move(host.root / "elsewhere", host.root / "sys/hypervisor")


@case
def not_dom0(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.file("proc/xen/capabilities", "")
    yield {"not-dom0": "host"}
    host.file("proc/xen/capabilities", "control_d\n")


@case
def xenstore_silent(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.store.silent = True
    host.calls.clear()
    yield {"xenstore-silent": "XenStore"}
    # It would hang.
    assert not [call for call in host.calls if call[0] == "xl"]
    host.store.silent = False


@case
def tools_missing(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.failing = {"xl"}
    assert found(host) == {"not-readable": "xl info"}
    host.file("usr/lib/xen-4.17/bin/xl", "")
    yield {"tools-missing": "Xen"}
    host.failing = set()


@case
def other_xen_next_boot(host: WholeHost) -> t.Iterator[dict[str, str]]:
    newer = host.file("boot/xen-4.21-amd64.gz", "")
    yield {"other-xen-next-boot": "Xen"}
    newer.unlink()


@case
def no_iommu(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.info["virt_caps"] = "pv hvm hap"
    yield {"no-iommu": "Xen"}
    host.info["virt_caps"] = "pv hvm hvm_directio"


@case
def no_interrupt_remapping(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.dmesg = host.dmesg.replace("(XEN) Interrupt remapping enabled", "(XEN) Interrupt remapping disabled")
    yield {"no-interrupt-remapping": "Xen"}
    # Arm has none.
    host.info["machine"] = "aarch64"


@case
def interrupt_remapping_unknown(host: WholeHost) -> t.Iterator[dict[str, str]]:
    before, host.dmesg = host.dmesg, "(d1) Interrupt remapping enabled\n"
    yield {"interrupt-remapping-unknown": "Xen"}
    host.dmesg = before


@case
def xsm_silo(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.dmesg += "(XEN) Initialising XSM SILO mode\n"
    yield {"xsm-silo": "Xen"}
    host.info["xen_commandline"] += " xsm=dummy"


@case
def dma_fault(host: WholeHost) -> t.Iterator[dict[str, str]]:
    before = host.dmesg
    host.dmesg += f"(d1) [VT-D]DMAR:[DMA Write] Request device [{HOST_CARD}] fault addr 0\n"
    host.dmesg += f"(XEN) [    9.1] [VT-D]DMAR:[DMA Write] Request device [{CARD}] fault addr 4e1a1000\n"
    yield {"dma-fault": CARD}
    host.dmesg = before + f"(XEN) AMD-Vi: IO_PAGE_FAULT: {CARD} d1 addr 00000000fdf8020c flags 0x8 I\n"
    assert found(host) == {"dma-fault": CARD}
    host.dmesg = before


@case
def dom0_memory_not_fixed(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.file("etc/xen/xl.conf", 'autoballoon="on"\n')
    assert found(host) == {"dom0-memory-not-fixed": "dom0"}
    host.file("etc/xen/xl.conf", "")
    before, host.info["xen_commandline"] = host.info["xen_commandline"], "placeholder"
    yield {"dom0-memory-not-fixed": "dom0"}
    host.info["xen_commandline"] = before


@case
def dom0_ballooned(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.domains[0] = ("Domain-0", 512, "r-----")
    yield {"dom0-ballooned": "dom0"}
    # Sizes of other forms say nothing.
    host.info["xen_commandline"] = "dom0_mem=min:256M,max:50%"


@case
def dom0_memory_low(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.file("proc/meminfo", "MemAvailable:     40000 kB\n")
    yield {"dom0-memory-low": "dom0"}
    host.file("proc/meminfo", "MemAvailable:     400000 kB\n")


@case
def not_enough_memory(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.info["free_memory"] = "100"
    assert not found(host)
    kernel = host.root / "images/net-dd/vmlinux"
    text = (host.root / "etc/xen/net-dd.cfg").read_text().partition("name")[0]
    host.file("etc/xen/web1.cfg", f'{text}name = "web1"\nmemory = 512\nkernel = "{kernel}"\n')
    host.file("units/xen-domain@web1.service", "")
    yield {"not-enough-memory": "Xen"}
    host.store.set("/tool/xen-driver-domains/recovery/stopped", "web1")


@case
def unit_failed(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.failed = ["xen-domain@guest1.service"]
    yield {"unit-failed": "xen-domain@guest1.service"}
    host.failed = []


@case
def held_back(host: WholeHost) -> t.Iterator[dict[str, str]]:
    file = host.file("run/held-back/net-dd", f"it would get {CARD}, which is not uplink0 any more")
    yield {"held-back": "net-dd"}
    file.unlink()


# Devices


@case
def pciback_missing(host: WholeHost) -> t.Iterator[dict[str, str]]:
    drivers = host.machine.sys / "bus/pci/drivers"
    host.machine.bind(CARD, "e1000e")
    shutil.move(drivers / "pciback", host.root / "pciback")
    yield {"pciback-missing": "dom0", "definition-device": "net-dd"}
    shutil.move(host.root / "pciback", drivers / "pciback")
    host.machine.bind(CARD, "pciback")


@case
def hide_malformed(host: WholeHost) -> t.Iterator[dict[str, str]]:
    line = (host.root / "proc/cmdline").read_text()
    host.file("proc/cmdline", line.replace(f"({CARD})", f"({CARD})(0b::00.1)"))
    yield {"hide-malformed": "hide list"}
    host.file("proc/cmdline", line.replace(f"({CARD})", f"({CARD})" * 80))
    assert found(host) == {"hide-malformed": "hide list"}
    host.file("proc/cmdline", line)


@case
def hide_overridden(host: WholeHost) -> t.Iterator[dict[str, str]]:
    line = (host.root / "proc/cmdline").read_text()
    host.file("proc/cmdline", f"xen-pciback.hide=({OTHER_CARD}) {line}")
    yield {"hide-overridden": "hide list"}
    host.file("proc/cmdline", line)


@case
def hide_not_taken(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.machine.bind(CARD, "e1000e")
    grub = (host.root / "boot/grub/grub.cfg").read_text()
    yield {"hide-not-taken": f"uplink0 ({CARD})", "definition-device": "net-dd"}
    # One that was returned to dom0 is still in the list of this boot.
    host.file("boot/grub/grub.cfg", "")
    host.machine.records.forget(host.machine.records.load()[0])
    assert found(host) == {"definition-device": "net-dd"}
    host.file("boot/grub/grub.cfg", grub)
    host.machine.bind(CARD, "pciback")


@case
def hide_without_device(host: WholeHost) -> t.Iterator[dict[str, str]]:
    # What the driver has, not what the command line says.
    file = host.file("sys/module/xen_pciback/parameters/hide", f"({CARD})(0000:09:00.*)\n")
    assert not found(host)
    host.file("boot/grub/grub.cfg", f"\tmodule2 /vmlinuz xen-pciback.hide=({CARD})(0000:09:00.*)\n")
    yield {"hide-without-device": "0000:09:00.*"}
    file.write_text("(null)\n")


@case
def device_lost(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.file("proc/cmdline", "placeholder\n")
    host.machine.bind(CARD, "e1000e")
    yield {"device-lost": f"uplink0 ({CARD})", "definition-device": "net-dd"}
    host.machine.bind(CARD, "pciback")


@case
def record_mismatch(host: WholeHost) -> t.Iterator[dict[str, str]]:
    record = host.machine.records.load()[0]
    host.machine.records.save(dataclasses.replace(record, slot="0000:00/05.0", bdf=HOST_CARD))
    yield {"record-mismatch": f"uplink0 ({HOST_CARD})"}
    host.machine.records.forget(host.machine.records.load()[1 if host.machine.records.load()[0].bdf == CARD else 0])
    host.machine.records.save(record)


@case
def device_silent(host: WholeHost) -> t.Iterator[dict[str, str]]:
    config = host.machine.device(CARD) / "config"
    before = config.read_bytes()
    config.write_bytes(b"\xff" * 64)
    yield {"device-silent": f"uplink0 ({CARD})"}
    config.write_bytes(before)


@case
def no_reset(host: WholeHost) -> t.Iterator[dict[str, str]]:
    (host.machine.device(CARD) / "reset_method").write_text("\n")
    yield {"no-reset": f"uplink0 ({CARD})"}
    (host.machine.device(CARD) / "reset_method").write_text("pm\n")


def dmar(*devices: bytes) -> bytes:
    """An ACPI table that reserves memory for devices: type, padding, number, bus, and device and function of each step."""
    scopes = b"".join(struct.pack("<BBH", device[0], len(device) + 3, 0) + device[1:] for device in devices)
    reserved = struct.pack("<HHHHQQ", 1, 24 + len(scopes), 0, 0, 0xABC000, 0xABCFFF) + scopes
    remapping = struct.pack("<HHBBHQ", 0, 16, 1, 0, 0, 0xFED90000)
    return b"XMAR".ljust(48, b"\0") + remapping + reserved


@case
def rmrr(host: WholeHost) -> t.Iterator[dict[str, str]]:
    table = host.file("sys/firmware/acpi/tables/XMAR", dmar(bytes([1, 0, 0, 4, 0])))
    yield {"rmrr": f"uplink0 ({CARD})"}
    # That of another device does not matter.
    table.write_bytes(dmar(bytes([1, 0, 0, 3, 0])))


@case
def shared_interrupt(host: WholeHost) -> t.Iterator[dict[str, str]]:
    for bdf in (CARD, HOST_CARD, "0000:00:1c.0"):
        (host.machine.device(bdf) / "irq").write_text("16\n")
    yield {"shared-interrupt": f"uplink0 ({CARD})"}
    # What signals by messages does not use the line.
    (host.machine.device(HOST_CARD) / "msi_irqs").mkdir()
    (host.machine.device(HOST_CARD) / "msi_irqs/30").write_text("msi\n")


@case
def shared_page(host: WholeHost) -> t.Iterator[dict[str, str]]:
    for number, bdf in enumerate((CARD, OTHER_CARD)):
        start = 0xFEB00000 + 0x800 * number
        (host.machine.device(bdf) / "resource").write_text(f"{start:#018x} {start + 0x7FF:#018x} 0x0000000000040200\n")
    yield {"shared-page": f"uplink0 ({CARD})"}
    # Two domains with a device each, and then both with the same domain.
    host.machine.hold(OTHER_CARD)
    owner = f"/libxl/pci/{OTHER_CARD.replace(':', '-').replace('.', '-')}/domid"
    host.store.set(owner, str(GUEST))
    assert {(finding.id, finding.object) for finding in host.examine()} == {
        ("shared-page", f"uplink0 ({CARD})"),
        ("shared-page", OTHER_CARD),
    }
    host.store.set(owner, str(NET_DD))


@case
def stale_owner(host: WholeHost) -> t.Iterator[dict[str, str]]:
    owner = f"/libxl/pci/{CARD.replace(':', '-').replace('.', '-')}/domid"
    host.store.set(owner, "77")
    yield {"stale-owner": f"uplink0 ({CARD})"}
    host.store.remove(owner)


@case
def definition_device(host: WholeHost) -> t.Iterator[dict[str, str]]:
    text = (host.root / "etc/xen/net-dd.cfg").read_text()
    host.file("etc/xen/net-dd.cfg", text.replace(CARD, OTHER_CARD))
    yield {"definition-device": "net-dd"}
    host.file("etc/xen/net-dd.cfg", text)


# Domains


@case
def zombie_domain(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.domains[9] = ("(null)", 3, "--p--d")
    yield {"zombie-domain": "(null) (9)"}
    del host.domains[9]


@case
def domain_kept(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.domains[GUEST] = ("guest1", 128, "---sc-")
    yield {"domain-kept": "guest1"}
    host.domains[GUEST] = ("guest1", 128, "-b----")


@case
def domain_suspended(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.domains[GUEST] = ("guest1", 128, "---ss-")
    yield {"domain-suspended": "guest1"}
    host.domains[GUEST] = ("guest1", 128, "-b----")


@case
def domain_paused(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.domains[GUEST] = ("guest1", 128, "--p---")
    yield {"domain-paused": "guest1"}
    host.domains[GUEST] = ("guest1", 128, "-b----")


@case
def domain_unfinished(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.domains[9] = ("web1", 0, "--p---")
    yield {"domain-unfinished": "web1"}
    del host.domains[9]


@case
def domain_unwatched(host: WholeHost) -> t.Iterator[dict[str, str]]:
    link = host.root / f"proc/{100 + GUEST}/fd/0"
    link.unlink()
    yield {"domain-unwatched": "guest1"}
    host.domains[GUEST] = ("guest1", 128, "--p---")
    assert found(host) == {"domain-paused": "guest1", "domain-unwatched": "guest1"}
    host.domains[GUEST] = ("guest1", 128, "-b----")
    # The log of an earlier start has another name then.
    link.symlink_to("/var/log/xen/xl-guest1.log.1")


@case
def domain_ended(host: WholeHost) -> t.Iterator[dict[str, str]]:
    (host.root / "run/units/web1").mkdir()
    kernel = host.root / "images/net-dd/vmlinux"
    text = (host.root / "etc/xen/net-dd.cfg").read_text().partition("name")[0]
    host.file("etc/xen/web1.cfg", f'{text}name = "web1"\nmemory = 512\nkernel = "{kernel}"\n')
    yield {"domain-ended": "web1"}
    (host.root / "run/units/web1").rmdir()


@case
def domain_error(host: WholeHost) -> t.Iterator[dict[str, str]]:
    home = f"/local/domain/{NET_DD}/data/driver-domain"
    host.store.set(f"{home}/error", "there is no \x1b[31mport\nerror: forged")
    host.store.set(f"{home}/status", "error")
    assert host.examine()[0].problem == "there is no \\x1b[31mport\\nerror: forged"
    yield {"domain-error": "net-dd"}
    host.store.set(f"{home}/status", "ready")


@case
def domain_not_ready(host: WholeHost) -> t.Iterator[dict[str, str]]:
    status = f"/local/domain/{NET_DD}/data/driver-domain/status"
    host.store.set(status, "starting")
    yield {"domain-not-ready": "net-dd"}
    # A key of its own.
    configuration = (host.root / "recovery.json").read_text()
    host.file("recovery.json", configuration.replace("data/driver-domain/status", "data/mine").replace('"ready"', '"up"'))
    host.store.set(f"/local/domain/{NET_DD}/data/mine", "up")


@case
def readiness_unknown(host: WholeHost) -> t.Iterator[dict[str, str]]:
    status = f"/local/domain/{NET_DD}/data/driver-domain/status"
    host.store.remove(status)
    # A guest that reports nothing is no matter.
    host.store.remove(status.replace(str(NET_DD), str(GUEST)))
    yield {"readiness-unknown": "net-dd"}
    host.store.set(status, "ready")


@case
def keeps_after_crash(host: WholeHost) -> t.Iterator[dict[str, str]]:
    kept = {"c_info": {"name": "net-dd"}, "b_info": {"max_memkb": 1}}
    host.keep(GUEST, {**kept, "on_crash": "preserve"})
    host.keep(NET_DD, {**kept, "on_crash": "preserve"})
    yield {"keeps-after-crash": "net-dd"}
    host.keep(NET_DD, {**kept, "on_crash": "restart"})


@case
def bridge_missing(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.store.set(f"{VIF}/bridge", "xenbr1")
    yield {"bridge-missing": "guest1: vif 0"}
    # Other scripts take what they like for a bridge.
    host.store.set(f"{VIF}/script", "/etc/xen/scripts/vif-openvswitch")


@case
def stale_vif_backend(host: WholeHost) -> t.Iterator[dict[str, str]]:
    net_dd = host.domains.pop(NET_DD)
    name = host.store.tree[f"/local/domain/{NET_DD}/name"]
    host.store.remove(f"/local/domain/{NET_DD}/name")
    yield {"stale-vif-backend": "guest1: vif 0", "domain-ended": "net-dd", "stale-owner": f"uplink0 ({CARD})"}
    host.domains[NET_DD] = net_dd
    host.store.set(f"/local/domain/{NET_DD}/name", name)


def plug(host: WholeHost, kind: str, devid: int, back_kind: str, backend: int) -> tuple[str, str]:
    """Give the guest a device; return where the toolstack has it, and where its backend."""
    home, back = f"/libxl/{GUEST}/device/{kind}/{devid}", f"/local/domain/{backend}/backend/{back_kind}/{GUEST}/{devid}"
    for path, value in ((f"{home}/backend", back), (f"{home}/dev", "xvda"), (f"{back}/state", "4")):
        host.store.set(path, value)
    host.store.set(f"/local/domain/{GUEST}/device/{kind}/{devid}/state", "4")
    return home, back


@case
def stale_vbd_backend(host: WholeHost) -> t.Iterator[dict[str, str]]:
    home, back = plug(host, "vbd", 51712, "vbd", NET_DD)
    assert not found(host)
    host.store.remove(back)
    yield {"stale-vbd-backend": "guest1: disk xvda"}
    host.store.remove(home)


@case
def stale_backend(host: WholeHost) -> t.Iterator[dict[str, str]]:
    home, _back = plug(host, "9pfs", 0, "9pfs", 44)
    yield {"stale-backend": "guest1: 9pfs 0"}
    host.store.remove(home)


@case
def hotplug_failed(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.store.set(f"{BACKEND}/hotplug-status", "error")
    host.store.set(f"{BACKEND}/hotplug-error", "Could not find bridge device\x07 xenbr0")
    host.file("log/xl-net-dd.log", "first\nthe last line\n")
    (finding,) = host.examine()
    assert "Could not find bridge device\\x07 xenbr0" in finding.problem
    assert "ends with: the last line); its backend is net-dd" in finding.problem
    yield {"hotplug-failed": "guest1: vif 0"}
    host.store.remove(f"{BACKEND}/hotplug-error")
    host.store.set(f"{BACKEND}/hotplug-status", "connected")


@case
def not_connected(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.store.set(f"{FRONTEND}/state", "1")
    yield {"not-connected": "guest1: vif 0"}
    host.store.set(f"{FRONTEND}/state", "4")


@case
def left_behind(host: WholeHost) -> t.Iterator[dict[str, str]]:
    path = f"/local/domain/{NET_DD}/backend/vif/66"
    host.store.set(path, "")
    assert not found(host)
    host.store.set(f"{path}/0/state", "6")
    yield {"left-behind": "net-dd"}
    host.store.remove(path)


@case
def xenstore_quota(host: WholeHost) -> t.Iterator[dict[str, str]]:
    top = f"/local/domain/{GUEST}/data"
    for number in range(30):
        host.store.set(f"{top}/{number}", "")
    assert host.read().quota == 1000
    host.file("etc/xen/oxenstored.conf", "# quota-maxentity = 1\nquota-maxentity = 40\n")
    yield {"xenstore-quota": "guest1"}
    # Its own count, and not those that dom0 has there.
    for number in range(20):
        host.store.set_perms(f"{top}/{number}", "n0", f"r{GUEST}")


@pytest.mark.parametrize(
    ("cmdline", "quota"), [("", 1000), ("-E\0" + "900", 900), ("--entry-nb=800", 800), ("--quota\0memory=9\0--quota\0nodes=700", 700)]
)
def test_the_quota_of_the_other_xenstored(host: WholeHost, cmdline: str, quota: int) -> None:
    host.process(40, "xenstored", cmdline=f"/usr/sbin/xenstored\0{cmdline}\0")
    assert host.read().quota == quota


@case
def definition_file(host: WholeHost) -> t.Iterator[dict[str, str]]:
    kernel = host.root / "images/guest1/vmlinux"
    kernel.rename(host.root / "away")
    yield {"definition-file": "guest1"}
    (host.root / "away").rename(kernel)


# Recovery


@case
def no_recovery(host: WholeHost) -> t.Iterator[dict[str, str]]:
    for name in ("recovery.pyz", "recovery.json", "units/xen-domain-recovery.service"):
        (host.root / name).rename(host.root / f"{name}.away")
    link = host.root / "units/multi-user.target.wants/xen-domain-recovery.service"
    link.unlink()
    # Orders to a service that is not there any more do not matter.
    host.store.set("/tool/xen-driver-domains/recovery/paused", "net-dd")
    yield {"no-recovery": "dom0"}
    host.store.set("/tool/xen-driver-domains/recovery/paused", "")
    for name in ("recovery.pyz", "recovery.json", "units/xen-domain-recovery.service"):
        (host.root / f"{name}.away").rename(host.root / name)
    link.symlink_to(host.root / "units/xen-domain-recovery.service")


@case
def recovery_stopped(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.stop_service()
    yield {"recovery-stopped": "xen-domain-recovery.service"}
    host.start_service()


@case
def recovery_paused(host: WholeHost) -> t.Iterator[dict[str, str]]:
    paused = "/tool/xen-driver-domains/recovery/paused"
    host.store.set(paused, "*")
    assert found(host) == {"recovery-paused": "all domains"}
    host.store.set(paused, "net-dd")
    yield {"recovery-paused": "net-dd"}
    host.store.set(paused, "")


@case
def recovery_given_up(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.report(given_up=["uuid-guest1/vif/0"])
    yield {"recovery-given-up": "guest1/vif/0"}
    host.report()


@case
def recovery_waiting(host: WholeHost) -> t.Iterator[dict[str, str]]:
    host.report(waiting=[{"name": "guest1", "kind": "vif", "identity": "00:16:3e:00:00:12", "devid": 1, "backend": "net-dd"}])
    yield {"recovery-waiting": "guest1: vif 00:16:3e:00:00:12"}
    host.report()


@case
def not_recovered(host: WholeHost) -> t.Iterator[dict[str, str]]:
    configuration = (host.root / "recovery.json").read_text()
    host.file("recovery.json", '{"domains": [], "attempts": 5}')
    yield {"not-recovered": "net-dd"}
    host.file("recovery.json", configuration)


# All of them


def test_a_host_in_good_health_has_none(host: WholeHost) -> None:
    assert host.examine() == []
    # No command runs twice, and none per domain or device.
    host.calls.clear()
    host.read()
    assert sorted(call[:2] for call in host.calls) == [("systemctl", "list-units"), ("xl", "dmesg"), ("xl", "info"), ("xl", "list")]
    assert host.store.writes == []


@pytest.mark.parametrize("name", TROUBLES)
def test_each_finding_comes_and_goes(host: WholeHost, name: str) -> None:
    for expected in CASES[name](host):
        assert found(host) == expected
        assert name in expected
    assert found(host) == {}
    assert host.store.writes == []


def test_there_are_no_other_cases() -> None:
    assert set(CASES) == set(TROUBLES)


def test_errors_come_first(host: WholeHost) -> None:
    host.info["virt_caps"] = "pv"
    host.dmesg = ""
    host.domains[GUEST] = ("guest1", 128, "--p---")
    host.store.remove(f"/local/domain/{NET_DD}/data/driver-domain/status")
    severities = [finding.severity for finding in host.examine()]
    assert severities == sorted(severities, key=SEVERITIES.index) and set(severities) == set(SEVERITIES)
    assert host.examine()[0].as_dict() == {
        "id": "no-iommu",
        "object": "Xen",
        "problem": "virt_caps of 'xl info' is pv, without pv_directio",
        "severity": "error",
        "meaning": TROUBLES["no-iommu"].meaning,
        "remedy": TROUBLES["no-iommu"].remedy,
    }


def test_what_is_damaged_is_a_finding(host: WholeHost) -> None:
    host.file("records/0000:00:09.0.json", "{")
    host.file("etc/xen/guest1.cfg", (host.root / "etc/xen/guest1.cfg").read_text() + 'pci = ["nonsense"]\n')
    host.file("recovery.json", "{}")
    host.file("lib/userdata-d.2.uuid-guest1.libxl-json", "{")
    unread = {finding.object for finding in host.examine() if finding.id == "not-readable"}
    assert unread == {
        "records of PCI devices",
        "PCI devices",
        str(host.root / "etc/xen/guest1.cfg"),
        "configuration of the recovery service",
    }


def test_reserved_memory_of_bridges_and_of_a_table_that_is_cut_off() -> None:
    table = dmar(bytes([1, 0, 0, 0x1C, 0, 0, 0]), bytes([2, 0, 3, 1, 0]), bytes([3, 0, 0, 5, 0]))
    card, bridge = reserved_memory(table)
    assert card == ReservedFor("0000:00/1c.0/00.0", False, 0xABC000, 0xABCFFF)
    assert bridge == ReservedFor("0000:03/01.0", True, 0xABC000, 0xABCFFF)
    assert card.covers("0000:00/1c.0/00.0") and not card.covers("0000:00/1c.0")
    assert bridge.covers("0000:03/01.0/02.0") and not bridge.covers("0000:03/01.0")
    for length in range(len(table)):
        assert len(reserved_memory(table[:length])) <= 2


@pytest.mark.parametrize("name", TROUBLES)
def test_the_guide_has_a_section_for_each(name: str) -> None:
    guide = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    section = re.split(r"\n#+ ", guide.partition(f"\n### {name}\n")[2])[0]
    text = " ".join(section.split())
    trouble = TROUBLES[name]
    assert text.startswith(f"**{trouble.severity.capitalize()}.** {trouble.meaning} {trouble.remedy}")


def test_the_guide_has_no_other_sections() -> None:
    guide = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8").partition("\n## Findings of the doctor\n")[2].split("\n## ")[0]
    assert re.findall(r"^### (.+)$", guide, re.MULTILINE) == list(TROUBLES)
