# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""At boot: devices that came to the addresses of others, and the domains that would get them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError
from ansible_collections.xen.driver_domains.plugins.module_utils._held_back import held_back
from ansible_collections.xen.driver_domains.plugins.module_utils._pci import boot_check
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.bdf import Bdf
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.boot_check import Domains, check_devices
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.host import PciHost
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.records import Record
from ansible_collections.xen.driver_domains.tests.unit.fakes.sysfs import plain_server
from ansible_collections.xen.driver_domains.tests.unit.fakes.xen import FakeXen

CARD = "0000:00:04.0"
FAR_CARD = "0000:03:00.0"
RECORD = Record("uplink0", CARD, "8086:10d3", "0000:00/04.0", "52:54:00:aa:00:02", "eth1", "e1000e")


class Host:
    """A host with domains that xendomains starts."""

    def __init__(self, root: Path) -> None:
        self.xen = FakeXen(plain_server(root))
        self.auto = root / "auto"
        self.auto.mkdir()
        self.definitions = root / "xen"
        self.definitions.mkdir()

    def domain(self, name: str, text: str) -> None:
        (self.definitions / f"{name}.cfg").write_text(text)
        (self.auto / f"10-{name}.cfg").symlink_to(self.definitions / f"{name}.cfg")

    def record(self, **changes: str) -> None:
        self.xen.machine.records.save(Record(**{**vars(RECORD), **changes}))

    @property
    def domains(self) -> Domains:
        root = self.auto.parent
        return Domains(str(self.auto), str(self.definitions), str(root / "units"), str(root / "held"))

    def check(self) -> list[str]:
        return list(check_devices(self.xen.host(), self.domains))

    @property
    def starts(self) -> list[str]:
        """What xendomains starts: what a shell finds with `*`."""
        return sorted(path.name for path in self.auto.iterdir() if not path.name.startswith("."))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.domain("net-dd", f'name = "net-dd"\npci = ["{CARD},permissive=1"]\n')
    host.domain("web", 'name = "web"\nvif = ["mac=00:16:3e:00:00:11,backend=net-dd"]\n')
    host.xen.machine.hold(CARD)
    return host


def test_devices_that_agree_stay(host: Host) -> None:
    host.record()
    assert host.check() == []
    assert (host.xen.machine.driver(CARD), host.starts) == ("pciback", ["10-net-dd.cfg", "10-web.cfg"])


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"vendor_device": "8086:10c9"}, "8086:10d3 in slot 0000:00/04.0 instead of 8086:10c9 in slot 0000:00/04.0"),
        ({"slot": "0000:00/1c.0/00.0"}, "8086:10d3 in slot 0000:00/04.0 instead of 8086:10d3 in slot 0000:00/1c.0/00.0"),
        ({"serial": "52-54-00-ff-ff-aa-00-09"}, "serial number 52-54-00-ff-ff-aa-00-02 instead of 52-54-00-ff-ff-aa-00-09"),
    ],
    ids=["ids", "slot", "serial number"],
)
def test_another_device_gets_its_driver_and_the_domain_is_not_started(host: Host, changes: dict[str, str], difference: str) -> None:
    host.xen.machine.set_serial(CARD, "52-54-00-ff-ff-aa-00-02")
    host.record(**changes)
    assert host.check() == [
        f"10-net-dd.cfg is not started at this boot, because it would get {CARD}, which is not uplink0 any more",
        f"{CARD} is not uplink0 any more: {difference}; it was returned to dom0",
    ]
    assert (host.xen.machine.driver(CARD), host.xen.machine.slots, host.starts) == ("e1000e", [], ["10-web.cfg"])


def test_domains_are_held_back_even_if_the_device_cannot_be_returned(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_host: PciHost, bdf: Bdf) -> None:
        raise DriverDomainsError(f"The kernel refused {bdf}")

    monkeypatch.setattr(PciHost, "release", refuse)
    host.record(vendor_device="8086:10c9")
    with pytest.raises(DriverDomainsError, match="The kernel refused"):
        host.check()
    assert host.starts == ["10-web.cfg"]


def test_a_card_with_another_mac_address(host: Host) -> None:
    host.xen.machine.release(CARD)
    host.xen.machine.probe(CARD)
    host.record(mac="52:54:00:aa:00:09")
    lines = host.check()
    assert lines[-1] == f"{CARD} is not uplink0 any more: MAC address 52:54:00:aa:00:02 instead of 52:54:00:aa:00:09"
    assert host.starts == ["10-web.cfg"]


def test_serial_numbers_that_are_not_known_say_nothing(host: Host) -> None:
    host.record(serial="52-54-00-ff-ff-aa-00-09")
    assert host.check() == []
    host.xen.machine.set_serial(CARD, "52-54-00-ff-ff-aa-00-02")
    host.record(serial="")
    assert host.check() == []


def test_domains_with_units_are_held_back_as_well(host: Host) -> None:
    (host.auto.parent / "units").mkdir()
    for name, text in {"own": f'pci = ["{CARD}"]\n', "a+b": f'pci = ["{CARD}"]\n', "other": 'pci = ["0000:05:00.0"]\n'}.items():
        (host.definitions / f"{name}.cfg").write_text(text)
        (host.auto.parent / f"units/xen-domain@{name}.service".replace("+", "\\x2b")).write_text("")
    host.record(vendor_device="8086:10c9")
    lines = host.check()
    reason = f"it would get {CARD}, which is not uplink0 any more"
    assert lines[:2] == [f"{name} is not started at this boot, because {reason}" for name in ("a+b", "own")]
    assert [held_back(name, host.domains.held_back) for name in ("own", "a+b", "other", "net-dd")] == [reason, reason, "", ""]


def test_a_device_that_is_not_there_holds_nothing_back(host: Host) -> None:
    """A virtual function appears only after the check, with its driver. Of one that is gone, xl says so itself."""
    host.record(bdf="0000:03:10.0", vendor_device="8086:10ca", slot="0000:00/1c.0/10.0")
    host.domain("far", 'pci = ["03:10.0"]\n')
    assert host.check() == ["0000:03:10.0, which is uplink0, is not there at this time"]
    assert host.starts == ["10-far.cfg", "10-net-dd.cfg", "10-web.cfg"]


@pytest.mark.parametrize("text", ['"0000:00:04.0"', "'00:04.0'", '"0:4.0"', '"00:04.*"', '"bdf=0000:00:04.0,seize=1"', '"00:04.0@5"'])
def test_every_spelling_of_an_address_is_found(host: Host, text: str) -> None:
    host.domain("other", f"pci = [{text}]\n")
    host.record(vendor_device="8086:10c9")
    host.check()
    assert host.starts == ["10-web.cfg"]


@pytest.mark.parametrize("text", ['"0000:00:04.1"', '"0001:00:04.0"', '"10:04.0"', '"0000:00:14.0"', '"00:04.00"'])
def test_other_addresses_are_not(host: Host, text: str) -> None:
    host.domain("other", f"pci = [{text}]\n")
    host.record(vendor_device="8086:10c9")
    host.check()
    assert host.starts == ["10-other.cfg", "10-web.cfg"]


def test_a_domain_is_held_back_at_one_boot_only(host: Host) -> None:
    host.record(vendor_device="8086:10c9")
    host.check()
    host.record()
    assert host.check() == []
    assert sorted(path.name for path in host.auto.iterdir()) == ["10-net-dd.cfg", "10-web.cfg"]


def test_a_domain_that_was_made_to_start_again_meanwhile(host: Host) -> None:
    host.record(vendor_device="8086:10c9")
    host.check()
    (host.auto / "10-net-dd.cfg").symlink_to(host.definitions / "net-dd.cfg")
    host.record()
    host.check()
    assert sorted(path.name for path in host.auto.iterdir()) == ["10-net-dd.cfg", "10-web.cfg"]


def test_a_host_without_domains_and_records(tmp_path: Path) -> None:
    xen = FakeXen(plain_server(tmp_path))
    assert list(check_devices(xen.host(), Domains(*[str(tmp_path / "none")] * 4))) == []


def test_a_damaged_record_is_an_error(host: Host) -> None:
    host.record()
    (host.xen.machine.root / "records" / f"{CARD}.json").write_text("{")
    host.domain("other", 'pci = ["0000:05:00.0"]\n')
    lines = iter(check_devices(host.xen.host(), host.domains))
    said = [next(lines), next(lines)]
    with pytest.raises(DriverDomainsError, match="does not hold the record"):
        next(lines)
    assert all("would get a PCI device, and the devices could not be compared" in line for line in said)
    # Whose device it is, is not known.
    assert host.starts == ["10-web.cfg"]


def test_the_program(host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(boot_check, "PciHost", host.xen.host)
    monkeypatch.setattr(check_devices, "__defaults__", (host.domains,))
    host.record(vendor_device="8086:10c9")
    assert boot_check.main() == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{CARD} is not uplink0 any more")
    (host.xen.machine.root / "records" / f"{CARD}.json").write_text("{")
    assert boot_check.main() == 1
    assert "could not be compared" in capsys.readouterr().err
