# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules return for the hosts of a fleet, for tests of the report."""

from __future__ import annotations

import typing as t

INFO = {"xen": True, "dom0": True, "version": "4.20", "iommu": True, "free_memory": 2048, "total_memory": 16279}
RMRR = {
    "id": "rmrr",
    "severity": "warning",
    "object": "0000:03:00.0",
    "problem": "shares memory with the firmware",
    "meaning": "The firmware uses memory of this device.",
    "remedy": "Choose another device.",
}


def device(kind: str, devid: int, backend: str, backend_id: int, **values: t.Any) -> dict[str, t.Any]:
    """A device as xl_domain_info returns it, connected unless `values` say otherwise."""
    own = {"mac": f"00:16:3e:00:{backend_id:02x}:{devid:02x}", "bridge": "xenbr0"} if kind == "vif" else {"vdev": "xvda"}
    states = {"frontend_state": "4", "backend_state": "4", "hotplug_status": "connected", "hotplug_error": "", "connected": True}
    return {**own, "devid": devid, "backend": backend, "backend_id": backend_id, "backend_path": "", **states, **values}


def domain(name: str, domid: int, *devices: dict[str, t.Any], **values: t.Any) -> dict[str, t.Any]:
    """A domain as xl_domain_info returns it."""
    plain = {"name": name, "domid": domid, "memory": 256, "vcpus": 1, "alive": True, "flags": "b", "status": "", "reason": "", "pci": []}
    lists = {"vifs": [item for item in devices if "mac" in item], "vbds": [item for item in devices if "vdev" in item]}
    return {**plain, **lists, **values}


def recovery(**values: t.Any) -> dict[str, t.Any]:
    """What the recovery service says about itself."""
    lists: dict[str, t.Any] = {key: [] for key in ("backends", "clients", "waiting", "gone", "aside", "given_up", "recoveries")}
    return {**lists, "standing_aside_for_a_playbook": False, **values}


def host(*domains: dict[str, t.Any], **values: t.Any) -> dict[str, t.Any]:
    """What the playbook has of a host that was read."""
    found = {"domains": [domain("Domain-0", 0, memory=1024), *domains], "recovery": recovery()}
    return {"info": INFO, "domains": found, "doctor": {}, "drivers": [], "guests": [], **values}


def serving_host(guests: int = 8) -> dict[str, t.Any]:
    """A host whose two driver domains serve all guests."""
    net = domain("net-dd", 1, device("vbd", 51712, "Domain-0", 0), status="ready", pci=["0000:03:00.0"])
    store = domain("store-dd", 2, status="ready", pci=["0000:04:00.0"])
    clients = [
        domain(f"web{number}", number + 2, device("vif", 0, "net-dd", 1), device("vbd", 51712, "store-dd", 2))
        for number in range(1, guests + 1)
    ]
    return host(net, store, *clients, doctor={"findings": []})


def troubled_host(hostile: str = "no such bridge: xenbr7") -> dict[str, t.Any]:
    """A host on which much is wrong, and domains wrote `hostile` wherever they can."""
    broken = {"connected": False, "hotplug_status": "error", "hotplug_error": hostile}
    gone = {"backend": "", "backend_id": 9}
    found = host(
        domain("net-dd", 1, status="ready", pci=["0000:03:00.0"]),
        domain("wifi-dd", 2, status="error", reason=hostile),
        domain("web1", 3, device("vif", 0, "net-dd", 1), device("vif", 1, "net-dd", 1, **broken), device("vbd", 51712, "Domain-0", 0)),
        domain("web2", 4, {**device("vif", 0, "net-dd", 1), **gone}),
        domain("web3", 5, device("vif", 0, "wifi-dd", 2, connected=False, frontend_state="3", backend_state="2", hotplug_status="")),
        domain("web4", 6, device("vif", 0, "net-dd", 1), flags="p"),
        domain("web5", 7, flags="c"),
        drivers=["net-dd", "usb-dd"],
        guests=["web1", "db1"],
        doctor={"findings": [{**RMRR, "object": "web1: vif 1", "id": "hotplug-failed", "severity": "error", "problem": hostile}, RMRR]},
    )
    lines = [f"2026-11-26T01:30:0{second}Z web1: vif 0 works again at net-dd (domain 1), after 2.4 s" for second in range(7)]
    found["domains"]["recovery"] = recovery(given_up=["uuid/vif/0@9"], recoveries=lines)
    return found


def mixed_fleet(count: int) -> dict[str, dict[str, t.Any]]:
    """A fleet in which most hosts are in order."""
    lost = {"info": {"unreachable": True, "msg": "Failed to connect to the host via ssh: connect to host xen port 22: No route to host"}}
    hosts = {}
    for number in range(1, count + 1):
        found = lost if number % 17 == 3 else troubled_host() if number % 13 == 2 else serving_host()
        hosts[f"xen{number}.example.org"] = found
    return hosts
