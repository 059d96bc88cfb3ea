# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The emulated machine and its QEMU command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from testbed import hardware

FILES = hardware.Files(Path("/d/disk"), Path("/d/serial,log"), Path("/r/qmp"), Path("/d/pid"))


def values(args: list[str], option: str) -> list[str]:
    """Return what follows each occurrence of an option."""
    return [args[number + 1] for number, arg in enumerate(args) if arg == option]


@pytest.mark.parametrize("kind", hardware.HARDWARE)
def test_devices_do_not_collide(kind: str) -> None:
    nics = (hardware.MANAGEMENT, *hardware.HARDWARE[kind].nics)
    devices = [device.split(",") for device in values(hardware.qemu_args(FILES, 1, hardware=kind), "-device")]
    places = [tuple(word for word in words if word.startswith(("addr=", "bus="))) for words in devices if "addr=" in ",".join(words)]
    assert len(set(places)) == len(places)
    assert len({nic.mac for nic in nics}) == len(nics)


@pytest.mark.parametrize(("kind", "networks"), [("plain", 3), ("varied", 4), ("modular", 4), ("moved", 4)])
def test_cards_on_one_network_are_on_a_hub(kind: str, networks: int) -> None:
    args = hardware.qemu_args(FILES, 1, hardware=kind)
    netdevs = [dict(word.partition("=")[::2] for word in netdev.split(",")) for netdev in values(args, "-netdev")]
    assert sum("user" in netdev for netdev in netdevs) == networks
    hubs = [netdev for netdev in netdevs if "hubport" in netdev]
    assert [netdev["id"] for netdev in hubs] == (["hub1", "net1", "net2"] if kind == "plain" else [])
    assert {netdev["hubid"] for netdev in hubs} <= {"1"}
    cards = [dict(word.partition("=")[::2] for word in device.split(",")) for device in values(args, "-device") if "netdev=" in device]
    assert sorted(card["netdev"] for card in cards) == ["net0", "net1", "net2", "net3"]


def test_a_card_behind_a_root_port() -> None:
    (card,) = (nic for nic in hardware.HARDWARE["varied"].nics if nic.port)
    assert card.bdf == "0000:02:00.0"
    args = hardware.qemu_args(FILES, 1, hardware="varied")
    assert any(f"mac={card.mac}" in device and device.endswith("bus=port2") for device in values(args, "-device"))


def test_cards_that_changed_places() -> None:
    before, moved = ({nic.mac: nic.bdf for nic in hardware.HARDWARE[kind].nics} for kind in ("modular", "moved"))
    first, second, third = before
    assert (moved[first], moved[second], moved[third]) == (before[second], before[first], before[third])
    assert hardware.HARDWARE["modular"].management == hardware.HARDWARE["moved"].management


def test_kinds_have_saved_states_of_their_own() -> None:
    assert hardware.fingerprint("plain") != hardware.fingerprint("varied")
    assert not any("root-port" in arg for arg in hardware.fingerprint("plain"))


@pytest.mark.parametrize("kind", hardware.HARDWARE)
def test_each_disk_has_a_device(kind: str) -> None:
    args = hardware.qemu_args(FILES, 1, hardware=kind)
    drives = {word.partition("=")[2] for drive in values(args, "-drive") for word in drive.split(",") if word.startswith("id=")}
    assert drives == set(hardware.HARDWARE[kind].disks)
    assert drives == {word[6:] for device in hardware.HARDWARE[kind].devices for word in device.split(",") if word.startswith("drive=")}


def test_a_machine_with_an_nvme_disk_cannot_be_saved() -> None:
    """QEMU has its state marked as one that cannot migrate."""
    kinds = {name: kind for name, kind in hardware.HARDWARE.items() if any(device.startswith("nvme,") for device in kind.devices)}
    assert list(kinds) == ["controllers"] and not any(kind.saved for kind in kinds.values())


def test_there_are_two_models_to_give_away() -> None:
    assert len({nic.model for nic in hardware.SPARE}) >= 2


def test_addresses_follow_from_the_table() -> None:
    first = hardware.nics_for_inventory("plain")[0]
    assert first == {
        "model": "e1000e",
        "mac": "52:54:00:aa:00:02",
        "bdf": "0000:00:04.0",
        "gateway": "10.0.3.2",
        "network": "10.0.3.0/24",
    }


def test_only_the_management_network_leads_out() -> None:
    first, *others = values(hardware.qemu_args(FILES, 2222), "-netdev")
    assert first.endswith("hostfwd=tcp:127.0.0.1:2222-10.0.2.15:22")
    assert all(other.endswith("restrict=on") for other in others if not other.startswith("hubport,"))
    assert sum(other.startswith("user,") for other in others) == len(hardware.SPARE) - 1


def test_passthrough_needs_an_iommu() -> None:
    assert "intel-iommu,intremap=on" in values(hardware.qemu_args(FILES, 1), "-device")


def test_reboots_are_real() -> None:
    assert "-no-reboot" not in hardware.qemu_args(FILES, 1)


def test_paths_with_commas() -> None:
    args = hardware.qemu_args(FILES, 1)
    assert values(args, "-chardev") == ["file,id=serial0,path=/d/serial,,log"]
    assert json.loads(values(args, "-blockdev")[0])["file"]["filename"] == "/d/disk"


def test_going_on_from_a_snapshot() -> None:
    assert hardware.qemu_args(FILES, 1, "fresh") == [*hardware.qemu_args(FILES, 1), "-loadvm", "fresh"]


def test_going_back_to_another_snapshot() -> None:
    fresh = hardware.qemu_args(FILES, 1)
    assert hardware.qemu_args_from(fresh, "later") == [*fresh, "-loadvm", "later"]
    assert hardware.qemu_args_from([*fresh, "-loadvm", "fresh"], "later") == [*fresh, "-loadvm", "later"]


def test_the_fingerprint_is_the_same_for_every_machine() -> None:
    text = " ".join(hardware.fingerprint("plain"))
    assert "/d/" not in text
    assert hardware.MANAGEMENT.mac in text


@pytest.mark.parametrize("kind", hardware.HARDWARE)
def test_it_boots_its_own_disk(kind: str) -> None:
    """SeaBIOS tries one disk alone. Kinds without other disks keep their saved states."""
    (disk,) = (word for word in values(hardware.qemu_args(FILES, 1, hardware=kind), "-device") if f"drive={hardware.DISK_NODE}" in word)
    assert disk.endswith(",bootindex=0") == bool(hardware.HARDWARE[kind].disks)
