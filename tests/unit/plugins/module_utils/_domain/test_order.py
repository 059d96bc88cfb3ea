# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who serves whom, and in which order domains are stopped and started."""

from __future__ import annotations

import typing as t
from itertools import permutations
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.order import ServedDevice, device_backends, services, stop_order
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import Refused
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import FakeHost

KINDS = ["vif", "vbd", "9pfs", "vtpm", "vusb", "qusb", "vscsi", "vkbd", "vfb", "pvcalls", "mydevice"]


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


#: The domains in the order of the list, who serves whom, and the order in which they are stopped.
STOPS: dict[str, tuple[list[str], list[tuple[str, str]], list[str]]] = {
    "nobody serves": (["a", "b", "c"], [], ["c", "b", "a"]),
    "backend first in the list": (["dd", "web"], [("dd", "web")], ["web", "dd"]),
    "backend last in the list": (["web", "dd"], [("dd", "web")], ["web", "dd"]),
    "a chain": (["web", "net", "store"], [("net", "web"), ("store", "net")], ["web", "net", "store"]),
    "two backends": (["web", "net", "store"], [("net", "web"), ("store", "web")], ["web", "store", "net"]),
    "others do not count": (["web", "net"], [("net", "else"), ("else", "web")], ["net", "web"]),
    "itself": (["web"], [("web", "web")], ["web"]),
    "each other, and what serves them": (["store", "a", "b"], [("a", "b"), ("b", "a"), ("store", "a")], ["b", "a", "store"]),
    "each other, and what they serve": (["a", "b", "web"], [("a", "b"), ("b", "a"), ("b", "web")], ["web", "b", "a"]),
}


@pytest.mark.parametrize(("names", "serves", "order"), STOPS.values(), ids=STOPS.keys())
def test_the_order_of_stopping(names: list[str], serves: list[tuple[str, str]], order: list[str]) -> None:
    assert stop_order(names, serves) == order


def test_a_backend_never_stops_before_its_client_whatever_the_list() -> None:
    serves = [("store", "net"), ("net", "web"), ("store", "web"), ("net", "mail")]
    for names in permutations(["store", "net", "web", "mail"]):
        order = stop_order(names, serves)
        assert all(order.index(client) < order.index(backend) for backend, client in serves)


@pytest.mark.parametrize("state", ["stopped", "absent"])
@pytest.mark.parametrize("kind", KINDS)
def test_clients_are_stopped_first_as_xenstore_says(kind: str, state: str, host: FakeHost) -> None:
    for name in ("web1", "store-dd"):
        host.adopt(name)
    host.serve(kind, "web1", "store-dd")
    host.run_plan([{"name": "web1", "state": state}, {"name": "store-dd", "state": state}])
    assert host.calls == [("shutdown", "web1"), ("shutdown", "store-dd")]


@pytest.mark.parametrize(
    "devices",
    [
        {"disks": [{"vdev": "xvda", "target": "/d", "backend": "store-dd"}]},
        {"vifs": [{"backend": "store-dd"}]},
        {"options": {"p9": ["tag=share,path=/srv,security_model=none,backend=store-dd"]}},
        {"options": {"vtpm": ["backend=store-dd,uuid=0"]}},
        {"options": {"usbctrl": ["type=pv,backend = store-dd"]}},
        {"options": {"vkb": ["backend=store-dd"]}},
        {"options": {"vsnd": [["card, backend=store-dd, pcm-device-0", "stream"]]}},
    ],
    ids=["disk", "vif", "9pfs", "vtpm", "usb", "keyboard", "sound"],
)
@pytest.mark.parametrize("state", ["stopped", "absent"])
def test_clients_are_stopped_first_as_the_list_says(devices: dict[str, t.Any], state: str, host: FakeHost) -> None:
    for name in ("web1", "store-dd"):
        host.adopt(name)
    host.run_plan([{"name": "web1", "state": state, **devices}, {"name": "store-dd", "state": state}])
    assert host.calls == [("shutdown", "web1"), ("shutdown", "store-dd")]


def test_what_runs_counts_more_than_what_the_list_says(host: FakeHost) -> None:
    for name in ("a", "b"):
        host.adopt(name)
    host.serve("vif", "b", "a")
    host.run_plan([{"name": "b", "state": "stopped"}, {"name": "a", "state": "stopped", "vifs": [{"backend": "b"}]}])
    assert host.calls == [("shutdown", "b"), ("shutdown", "a")]


def test_a_client_that_moves_to_another_backend_is_stopped_before_the_old_one(host: FakeHost) -> None:
    host.run_plan([{"name": "old-dd"}, {"name": "new-dd"}, {"name": "web1", "vifs": [{"backend": "old-dd"}]}])
    host.calls.clear()
    wanted = [{"name": "web1", "vifs": [{"backend": "new-dd"}]}, {"name": "old-dd", "state": "absent"}]
    host.run_plan(wanted, restart_changed=True)
    assert host.calls == [("shutdown", "web1"), ("shutdown", "old-dd"), ("create", "web1")]


@pytest.mark.parametrize("toolstack", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_backend_of_any_kind_is_not_stopped_while_it_serves(kind: str, toolstack: bool, host: FakeHost) -> None:
    for name in ("web1", "store-dd"):
        host.adopt(name)
    host.serve(kind, "web1", "store-dd", toolstack=toolstack)
    with pytest.raises(Refused, match=rf"store-dd: it serves the {kind} of the running domain web1 \[serves_clients\]"):
        host.run_plan([{"name": "store-dd", "state": "stopped"}])
    assert host.calls == []


def test_a_backend_cannot_hide_a_client(host: FakeHost) -> None:
    for name in ("web1", "store-dd"):
        host.adopt(name)
    host.serve("vbd", "web1", "store-dd")
    host.store.values = {key: value for key, value in host.store.values.items() if "/backend/vbd/" not in key}
    with pytest.raises(Refused, match="it serves the vbd of the running domain web1"):
        host.run_plan([{"name": "store-dd", "state": "stopped"}])


def test_clients_that_are_gone_or_dead_do_not_count(host: FakeHost) -> None:
    for name in ("web1", "web2", "store-dd"):
        host.adopt(name)
    for guest in ("web1", "web2"):
        host.serve("vbd", guest, "store-dd")
    host.remove("web1")
    host.flag("web2", "c")
    host.run_plan([{"name": "store-dd", "state": "stopped"}])
    assert host.calls == [("shutdown", "store-dd")]


def test_an_empty_directory_is_no_device(host: FakeHost) -> None:
    """An old Xen leaves them behind."""
    domid = host.adopt("web1")
    host.adopt("store-dd")
    host.store.values[f"/local/domain/2/backend/vbd/{domid}"] = ""
    host.run_plan([{"name": "store-dd", "state": "stopped"}])
    assert host.calls == [("shutdown", "store-dd")]


def test_the_device_model_of_a_domain_goes_with_it(host: FakeHost) -> None:
    for name in ("web1", "web1-dm", "net-dd"):
        host.adopt(name)
    host.serve("vif", "web1-dm", "net-dd")
    host.run_plan([{"name": "net-dd", "state": "stopped"}, {"name": "web1", "state": "stopped"}])
    assert host.calls == [("shutdown", "web1"), ("shutdown", "net-dd")]


@pytest.mark.parametrize("option", ["p9", "vtpm", "usbctrl", "vkb", "vdispl", "pvcalls"])
def test_a_backend_in_options_is_checked_and_started_first(option: str, host: FakeHost) -> None:
    guest = {"name": "web1", "options": {option: ["backend=store-dd,type=pv"]}}
    with pytest.raises(Refused, match="Domain web1: its backend domain 'store-dd' does not run"):
        host.run_plan([guest])
    host.run_plan([guest, {"name": "store-dd"}])
    assert host.calls == [("create", "store-dd"), ("create", "web1")]


def test_arguments_of_programs_name_no_backend(host: FakeHost) -> None:
    host.run_plan([{"name": "web1", "options": {"device_model_args": ["-object", "rng,backend=rng0"]}}])
    assert host.calls == [("create", "web1")]


@pytest.mark.parametrize("backend", ["", "nonsense", "/local/domain/x/backend/vif/2/0", "/local/domain/1/device/vif/2/0"])
def test_a_path_that_is_no_backend_counts_as_none(backend: str, host: FakeHost) -> None:
    host.adopt("net-dd")
    host.adopt("web1")
    host.store.values["/libxl/2/device/vif/0/backend"] = backend
    store: t.Any = host.store
    assert device_backends(store, [1, 2]) == {1: [], 2: []}
    assert services(store, [1, 2]) == []


def test_the_devices_of_a_domain(host: FakeHost) -> None:
    host.adopt("net-dd")
    host.adopt("web1")
    host.serve("vbd", "web1", "net-dd", 51712)
    host.serve("vif", "web1", "Domain-0")
    store: t.Any = host.store
    assert device_backends(store, [2]) == {2: [ServedDevice("vbd", "51712", 1), ServedDevice("vif", "0", 0)]}
