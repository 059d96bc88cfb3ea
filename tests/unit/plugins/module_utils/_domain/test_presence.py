# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was detached from a running domain is kept by libxl, and only XenStore shows that it is gone."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.aside import WaitingDevice
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.devices import VBD, VIF, PvDevice
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.presence import Presence, without_detached

VIF_0 = PvDevice(VIF, 3, 0, "", 0, "", made={"mac": "00:16:3E:00:00:0A"})
DISK = PvDevice(VBD, 3, 51712, "", 0, "", made={"dev": "xvda"})


@pytest.mark.parametrize(
    ("kind", "device", "gone"),
    [
        ("nics", {"mac": "00:16:3e:00:00:0a", "devid": 7}, ""),
        ("nics", {"mac": "00:16:3e:00:00:0b", "devid": 0}, "vif 00:16:3e:00:00:0b"),
        ("nics", {"devid": 0}, ""),
        ("nics", {"devid": 1}, "vif 1"),
        ("nics", {"bridge": "xenbr0"}, ""),
        ("disks", {"vdev": "xvda"}, ""),
        # Another name of the same.
        ("disks", {"vdev": "d0"}, ""),
        ("disks", {"vdev": "xvdb"}, "disk xvdb"),
        ("disks", {"vdev": "xvdb", "specification": "xen"}, "disk xvdb"),
        # It has another directory in XenStore.
        ("disks", {"vdev": "xvdb", "specification": "virtio"}, ""),
        ("disks", {"pdev_path": "/dev/vg/a"}, ""),
        ("disks", {"vdev": "xvdb\x1b"}, "disk xvdb\\x1b"),
        ("pcidevs", {"dev": 3}, ""),
    ],
)
def test_what_is_there(kind: str, device: dict[str, t.Any], gone: str) -> None:
    configuration = {"c_info": {"name": "web1"}, kind: [device]}
    left, names = without_detached(configuration, Presence([VIF_0, DISK]))
    assert names == ([gone] if gone else [])
    assert left == ({**configuration, kind: []} if gone else configuration)


@pytest.mark.parametrize(
    ("device", "there"),
    [
        (WaitingDevice("web1", VIF, "00:16:3e:00:00:0a", 0), {"nics": [{"mac": "00:16:3E:00:00:0a"}]}),
        (WaitingDevice("web1", VIF, "00:16:3e:00:00:0a", 3), {"nics": [{"devid": 3}]}),
        (WaitingDevice("web1", VBD, "xvda"), {"disks": [{"vdev": "d0"}]}),
    ],
)
def test_what_the_service_attaches_again_is_not_detached(device: WaitingDevice, there: dict[str, t.Any]) -> None:
    assert without_detached(there, Presence([], [device])) == (there, [])
    assert without_detached(there, Presence([]))[1]
