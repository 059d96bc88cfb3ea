# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Choosing PCI devices."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.match import CLASSES, choose, parse_requests
from ansible_collections.xen.driver_domains.tests.unit.fakes.sysfs import plain_server
from ansible_collections.xen.driver_domains.tests.unit.fakes.xen import FakeXen

CARD = "0000:00:04.0"
FAR_CARD = "0000:03:00.0"


def request(name: str = "uplink0", **match: t.Any) -> dict[str, t.Any]:
    # "class" is no name for a parameter
    return {"name": name, "match": {key.rstrip("_"): value for key, value in match.items()}}


def chosen(xen: FakeXen, *requests: dict[str, t.Any]) -> list[str]:
    return [str(device.bdf) for _name, device in choose(parse_requests(requests), xen.host().devices())]


@pytest.mark.parametrize(
    ("match", "bdf"),
    [
        ({"bdf": "0000:00:04.0"}, CARD),
        ({"bdf": "00:04.0"}, CARD),
        ({"bdf": "03:00.*"}, FAR_CARD),
        ({"mac": "52:54:00:aa:00:02"}, CARD),
        ({"mac": "52:54:00:AA:00:03"}, FAR_CARD),
        ({"ifname": "eth1"}, CARD),
        ({"slot": "0000:00/04.0"}, CARD),
        ({"slot": "0000:00/1C.0/00.0"}, FAR_CARD),
        ({"vendor_device": "8086:100e"}, "0000:00:03.0"),
        ({"vendor_device": "8086:10D3:8086:A01F"}, CARD),
        ({"vendor_device": "8086:10d3", "slot": "0000:00/1c.0/00.0"}, FAR_CARD),
        ({"class_": "network", "ifname": "eth2"}, FAR_CARD),
        ({"class_": "storage"}, "0000:00:1f.2"),
        ({"class_": "0106"}, "0000:00:1f.2"),
        ({"class_": "010601"}, "0000:00:1f.2"),
        ({"class_": "0C0330"}, "0000:00:1e.0"),
        ({"class_": "USB", "bdf": "00:1d.0"}, "0000:00:1d.0"),
        ({"mac": "52:54:00:aa:00:02", "bdf": None}, CARD),
    ],
)
def test_one_device_fits(tmp_path: Path, match: dict[str, t.Any], bdf: str) -> None:
    assert chosen(FakeXen(plain_server(tmp_path)), request(**match)) == [bdf]


@pytest.mark.parametrize(
    "match",
    [
        {"bdf": "0000:00:05.0"},
        {"bdf": "0001:00:04.0"},
        {"mac": "52:54:00:aa:00:09"},
        {"ifname": "eth9"},
        {"slot": "0000:00/1c.0/01.0"},
        {"vendor_device": "8086:ffff"},
        {"vendor_device": "8086:10d3:8086:ffff"},
        {"class_": "wireless"},
        {"bdf": "00:04.0", "mac": "52:54:00:aa:00:03"},
    ],
)
def test_no_device_fits_and_what_there_is_gets_listed(tmp_path: Path, match: dict[str, t.Any]) -> None:
    with pytest.raises(InvalidInput, match=r"devices\[0\]: no device of this host matches 'uplink0'") as caught:
        chosen(FakeXen(plain_server(tmp_path)), request(**match))
    assert "0000:00:04.0 8086:10d3 driver e1000e eth1 52:54:00:aa:00:02" in caught.value.problem
    assert "0000:00:1c.0" not in caught.value.problem


@pytest.mark.parametrize(
    ("match", "candidates"),
    [
        ({"vendor_device": "8086:10d3"}, [CARD, FAR_CARD]),
        ({"class_": "network"}, ["0000:00:03.0", CARD, FAR_CARD]),
        ({"class_": "ethernet", "vendor_device": "8086:10d3"}, [CARD, FAR_CARD]),
        ({"class_": "display"}, ["0000:00:01.0", "0000:00:02.0"]),
    ],
)
def test_several_devices_fit_and_get_listed(tmp_path: Path, match: dict[str, t.Any], candidates: list[str]) -> None:
    with pytest.raises(InvalidInput, match=rf"{len(candidates)} devices of this host match 'uplink0'.*Add a criterion") as caught:
        chosen(FakeXen(plain_server(tmp_path)), request(**match))
    assert [candidate["bdf"] for candidate in caught.value.details["candidates"]] == candidates
    for candidate in caught.value.details["candidates"]:
        for value in (candidate["bdf"], candidate["vendor_device"], candidate["driver"], candidate["mac"]):
            assert value in caught.value.problem


@pytest.mark.parametrize(
    ("match", "problem"),
    [
        ({"bdf": "180.0"}, "'180.0' is not a PCI address"),
        ({"bdf": 180.0}, "'180.0' is not a PCI address"),
        ({"bdf": "3:0.0"}, "'3:0.0' is not a PCI address"),
        ({"mac": "52:54:00:aa:00"}, "'52:54:00:aa:00' is not a MAC address"),
        ({"mac": "52-54-00-aa-00-02"}, "'52-54-00-aa-00-02' is not a MAC address"),
        ({"mac": 40454120296}, "'40454120296' is not a MAC address"),
        ({"mac": ""}, "'' is not a MAC address"),
        ({"vendor_device": "8086"}, "'8086' is not a pair of PCI ids"),
        ({"vendor_device": "0x8086:0x10d3"}, "'0x8086:0x10d3' is not a pair of PCI ids"),
        ({"vendor_device": "8086:10d3:8086"}, "'8086:10d3:8086' is not a pair of PCI ids"),
        ({"ifname": "eth 1"}, "'eth 1' is not the name of a network interface"),
        ({"ifname": "../eth1"}, "'../eth1' is not the name of a network interface"),
        ({"ifname": "."}, "'.' is not the name of a network interface"),
        ({"ifname": "sixteen-letters-"}, "'sixteen-letters-' is not the name of a network interface"),
        ({"class_": 128}, "'128' is not a PCI class"),
        ({"class_": 8192}, "'8192' is not a PCI class"),
        ({"class_": "02"}, "'02' is not a PCI class"),
        ({"class_": "netwrok"}, "'netwrok' is not a PCI class"),
        ({"slot": "1c.0/00.0"}, "'1c.0/00.0' is not a slot path"),
        ({"slot": "0000:00"}, "'0000:00' is not a slot path"),
        ({"slot": "0000:00/2c.0"}, "'0000:00/2c.0' is not a slot path"),
        ({"colour": "red", "mac": "52:54:00:aa:00:02"}, "unknown criteria colour"),
        ({}, "match names no criterion"),
        ({"mac": None}, "match names no criterion"),
    ],
)
def test_malformed_criteria_are_refused_with_place_rule_and_value(match: dict[str, t.Any], problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_requests([request("first", bdf="00:03.0"), request(**match)])
    assert caught.value.problem == f"devices[1] (uplink0): {problem}"
    assert caught.value.rule


@pytest.mark.parametrize("key", ["bdf", "vendor_device", "mac", "ifname", "class", "slot"])
def test_every_malformed_criterion_has_a_remedy(key: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_requests([{"name": "uplink0", "match": {key: "no / such"}}])
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["", "a b", "a,b", "-n", "03:00.0", "a" * 65, "ä", "a\n", None])
def test_names_that_xl_could_misread_are_refused(name: str | None) -> None:
    with pytest.raises(InvalidInput, match=r"devices\[0\]: .* cannot be the name of a device.*1 to 64 letters"):
        parse_requests([{"name": name, "match": {"mac": "52:54:00:aa:00:02"}}])


@pytest.mark.parametrize("name", ["a", "uplink0", "Net.card_1-b", "a" * 64, "0"])
def test_names_that_xl_takes_are_taken(name: str) -> None:
    assert parse_requests([{"name": name, "match": {"mac": "52:54:00:aa:00:02"}}])[0].name == name


def test_a_name_twice_is_refused_with_both_places() -> None:
    with pytest.raises(InvalidInput, match=r"devices\[0\] and devices\[2\] have the same name 'a'"):
        parse_requests([request("a", ifname="eth0"), request("b", ifname="eth1"), request("a", ifname="eth2")])


def test_a_device_twice_is_refused_with_both_places(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInput, match=r"devices\[0\] 'a' \(ifname eth1\) and devices\[2\] 'c' \(bdf 0000:00:04\.0\) are the same device"
    ):
        chosen(FakeXen(plain_server(tmp_path)), request("a", ifname="eth1"), request("b", ifname="eth2"), request("c", bdf="00:04.0"))


def named(xen: FakeXen, *requests: dict[str, t.Any]) -> list[tuple[str, str]]:
    return [(name, str(device.bdf)) for name, device in choose(parse_requests(requests), xen.host().devices())]


@pytest.mark.parametrize(
    ("match", "bdfs"),
    [
        ({"vendor_device": "8086:10d3"}, [CARD, FAR_CARD]),
        ({"class_": "network"}, ["0000:00:03.0", CARD, FAR_CARD]),
        ({"bdf": "00:04.*"}, [CARD]),
        ({"mac": "52:54:00:aa:00:02"}, [CARD]),
    ],
)
def test_all_that_fit_are_numbered(tmp_path: Path, match: dict[str, str], bdfs: list[str]) -> None:
    found = named(FakeXen(plain_server(tmp_path)), {**request(**match), "match_all": True})
    assert found == [(f"uplink0.{number}", bdf) for number, bdf in enumerate(bdfs)]


def test_what_is_numbered_keeps_its_number(tmp_path: Path) -> None:
    """A card in a slot before the others, and one that is gone, do not change what the others are called."""
    xen = FakeXen(plain_server(tmp_path))
    cards = {**request("lan", vendor_device="8086:10d3"), "match_all": True}
    xen.apply("present", [cards])
    xen.machine.pci("0000:00:02.1", "8086:10d3", "020000", driver="e1000e")
    assert named(xen, cards) == [("lan.2", "0000:00:02.1"), ("lan.0", CARD), ("lan.1", FAR_CARD)]
    far = {**request("lan", vendor_device="8086:10d3", slot="0000:00/1c.0/00.0"), "match_all": True}
    assert named(xen, far) == [("lan.1", FAR_CARD)]
    assert [name for name, _bdf in named(xen, {**cards, "name": "other"})] == ["other.0", "other.1", "other.2"]


def test_the_device_of_a_running_domain_keeps_its_name_before_all_others(tmp_path: Path) -> None:
    xen = FakeXen(plain_server(tmp_path))
    cards = {**request("lan", vendor_device="8086:10d3"), "match_all": True}
    xen.apply("present", [cards])
    xen.store.values["/libxl/pci/0000-03-00-0/name"] = "lan.0"
    xen.assign(FAR_CARD, 7)
    xen.store.running[7] = "net-dd"
    assert named(xen, cards) == [("lan.1", CARD), ("lan.0", FAR_CARD)]


def test_all_of_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no device of this host matches"):
        named(FakeXen(plain_server(tmp_path)), {**request(class_="wireless"), "match_all": True})


def test_a_number_that_is_another_device_s_name_is_refused_with_both_places(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"devices\[0\] 'a\.0' \(ifname eth0\) and devices\[1\] 'a' .* both call a device 'a\.0'"):
        named(
            FakeXen(plain_server(tmp_path)),
            request("a.0", ifname="eth0"),
            {**request("a", vendor_device="8086:10d3"), "match_all": True},
        )


def test_a_device_of_all_that_has_an_entry_of_its_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="are the same device"):
        named(FakeXen(plain_server(tmp_path)), request("a", ifname="eth1"), {**request("b", class_="network"), "match_all": True})


def test_numbers_need_room_in_the_name() -> None:
    with pytest.raises(InvalidInput, match="1 to 60 letters"):
        parse_requests([{**request("a" * 61, ifname="eth1"), "match_all": True}])


def test_devices_come_in_the_order_of_the_requests(tmp_path: Path) -> None:
    assert chosen(FakeXen(plain_server(tmp_path)), request("a", ifname="eth2"), request("b", ifname="eth1")) == [FAR_CARD, CARD]


@pytest.mark.parametrize("match", [{"mac": "52:54:00:aa:00:02"}, {"ifname": "eth1"}])
def test_a_held_device_is_matched_by_its_record_alone(tmp_path: Path, match: dict[str, str]) -> None:
    xen = FakeXen(plain_server(tmp_path))
    card = next(device for device in xen.host().devices() if str(device.bdf) == CARD)
    xen.machine.hold(CARD)
    with pytest.raises(InvalidInput, match="only if that was recorded"):
        chosen(xen, request(**match))
    xen.machine.records.save(card.as_record("uplink0"))
    assert chosen(xen, request(**match)) == [CARD]


def test_a_present_interface_counts_more_than_the_record(tmp_path: Path) -> None:
    xen = FakeXen(plain_server(tmp_path))
    card = next(device for device in xen.host().devices() if str(device.bdf) == CARD)
    xen.machine.records.save(card.as_record("uplink0"))
    (xen.machine.sys / "class/net/eth1/address").write_text("52:54:00:cc:00:02\n")
    assert chosen(xen, request(mac="52:54:00:cc:00:02")) == [CARD]
    with pytest.raises(InvalidInput, match="no device"):
        chosen(xen, request(mac="52:54:00:aa:00:02"))


def test_class_names_stand_for_hexadecimal_digits() -> None:
    for name, digits in CLASSES.items():
        assert parse_requests([request(class_=name)])[0].criteria == (("class", digits),)
        assert int(digits, 16) >= 0
