# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check in a board's dom0 that the domains of the inventory run, own their devices, and serve each other."""

from __future__ import annotations

import typing as t

import pytest

if t.TYPE_CHECKING:
    from testinfra.host import Host

    Board = dict[str, t.Any]


@pytest.fixture(scope="module")
def board(host: Host) -> Board:
    """The variables of the inventory."""
    variables: Board = host.ansible.get_variables()
    assert variables["board_domus"] and variables["board_vifs"] and variables["board_pings"], "nothing would be tested"
    return variables


def names(board: Board) -> list[str]:
    return [domu["name"] for domu in board["board_domus"] if domu.get("boot", True)]


def test_xen_started_the_domains_in_order_and_they_have_their_names(host: Host, board: Board) -> None:
    rows = [line.split() for line in host.check_output("xl list").splitlines()[1:]]
    assert [(row[0], int(row[1])) for row in rows][: len(names(board)) + 1] == [
        ("Domain-0", 0),
        *((name, domid) for domid, name in enumerate(names(board), 1)),
    ]


def test_devices_belong_to_their_domains(host: Host, board: Board) -> None:
    """Xen assigned them, and they are disabled in the device tree that it made for dom0 (write_properties in domain_build.c)."""
    paths = [path for domu in board["board_domus"] for path in domu.get("passthrough_paths", [])]
    assert paths, "no domain owns a device"
    assert "Failed to assign" not in host.check_output("xl dmesg")
    for path in paths:
        assert host.check_output(f"cat '/proc/device-tree{path}/status'").rstrip("\0") == "disabled", path


def test_vifs_are_connected_to_the_backends_that_the_inventory_names(host: Host, board: Board) -> None:
    domids = {"Domain-0": 0, **{name: domid for domid, name in enumerate(names(board), 1)}}
    for vif in board["board_vifs"]:
        rows = [line.split() for line in host.check_output(f"xl network-list {vif['domain']}").splitlines()[1:]]
        backends = [int(row[1]) for row in rows if row[4] == "4"]
        assert domids[vif["backend"]] in backends, f"{vif}: {rows}"


def test_traffic_goes_through_the_driver_domain(host: Host, board: Board) -> None:
    for address in board["board_pings"]:
        assert ", 0% packet loss" in host.check_output(f"ping -c 3 -w 60 {address}")
