# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stopping domains in order: clients before their backends, each waited for."""

from __future__ import annotations

import threading
import time
import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain import stopping
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.stopping import clients_of, stop_domains, with_clients
from ansible_collections.xen.driver_domains.tests.unit.fakes.running import RunningDomains


@pytest.fixture
def host() -> t.Iterator[RunningDomains]:
    with RunningDomains() as host:
        yield host


def stop(host: RunningDomains, *names: str, limit: float = 20.0) -> list[str]:
    fake: t.Any = host
    began = time.monotonic()
    stop_domains(host.store, fake, names, host.said.append, limit)
    assert time.monotonic() < began + 20
    assert host.server.watches == []
    return host.calls


def test_clients_stop_first_whatever_the_kind_of_their_device(host: RunningDomains) -> None:
    host.add("store-dd")
    host.add("net-dd", "store-dd", kind="vbd")
    host.add("web1", "net-dd")
    host.add("db1", "store-dd", kind="9pfs")
    calls = stop(host, "store-dd", "net-dd", "web1", "db1")
    assert calls == ["shutdown web1", "shutdown db1", "shutdown net-dd", "shutdown store-dd"]
    assert host.said[0] == "Stopping web1" and host.said[-1].startswith("store-dd has stopped, after ")


def test_what_nothing_orders_stops_at_the_same_time(host: RunningDomains) -> None:
    host.add("net-dd")
    first, last = host.add("web1", "net-dd"), host.add("web2", "net-dd")
    host.reactions = {"web1": lambda domid: None, "web2": lambda domid: host.end(last, first)}
    assert stop(host, "net-dd", "web1", "web2") == ["shutdown web1", "shutdown web2", "shutdown net-dd"]


def test_a_backend_is_not_asked_while_a_client_runs(host: RunningDomains) -> None:
    host.add("net-dd")
    host.add("web1", "net-dd")
    host.reactions["web1"] = lambda domid: None
    assert stop(host, "net-dd", "web1", limit=0.3) == ["shutdown web1", "destroy web1", "shutdown net-dd"]
    assert "Destroying web1: it did not shut down within 0.3 s" in host.said


def test_a_client_that_ends_is_waited_for_when_it_has_no_devices_any_more(host: RunningDomains) -> None:
    backend = host.add("net-dd")
    client = host.add("web1", "net-dd")

    def end_slowly(domid: int) -> None:
        host.server.remove(f"/libxl/{domid}/device/vif/0/backend")
        for path in [path for path in host.server.tree if path.startswith(f"/local/domain/{backend}/backend/vif/{domid}/0")]:
            host.server.remove(path)
        host.leave(domid)
        threading.Timer(0.5, host.end, [client]).start()

    host.reactions["web1"] = end_slowly
    assert stop(host, "net-dd", "web1") == ["shutdown web1", "shutdown net-dd"]
    assert host.said[1].startswith("web1 has stopped")


def test_those_that_serve_each_other(host: RunningDomains) -> None:
    a, b = host.add("a"), host.add("b", "a")
    host.serve(a, b)
    assert sorted(stop(host, "a", "b")) == ["shutdown a", "shutdown b"]


def test_others_go_on(host: RunningDomains) -> None:
    host.add("net-dd")
    host.add("other")
    assert stop(host, "net-dd") == ["shutdown net-dd"]
    assert stop(host, "gone") == ["shutdown net-dd"]


def test_a_domain_that_nobody_removes_when_it_has_shut_down(host: RunningDomains, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "REMOVED", 0.2)
    host.add("web1")
    host.reactions["web1"] = host.leave
    assert stop(host, "web1") == ["shutdown web1", "destroy web1"]
    assert "Destroying web1: it has shut down, and nobody else removes it" in host.said


def test_a_domain_that_xl_is_about_to_remove(host: RunningDomains, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "REMOVED", 0.1)
    monkeypatch.setattr(stopping, "is_watched", lambda name: name == "web1")
    host.add("web1")
    host.reactions["web1"] = lambda domid: (host.leave(domid), threading.Timer(1.0, host.end, [domid]).start())[0]
    assert stop(host, "web1") == ["shutdown web1"]


def test_a_domain_that_xl_does_not_remove(host: RunningDomains, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "REMOVED_BY_XL", 0.2)
    monkeypatch.setattr(stopping, "is_watched", lambda name: True)
    host.add("web1")
    host.reactions["web1"] = host.leave
    assert stop(host, "web1") == ["shutdown web1", "destroy web1"]


def test_a_domain_that_xl_starts_again(host: RunningDomains) -> None:
    def restart(domid: int) -> None:
        host.add("web1", "net-dd")
        host.end(domid)

    host.add("net-dd")
    host.add("web1", "net-dd")
    host.reactions["web1"] = restart
    assert stop(host, "web1", "net-dd") == ["shutdown web1", "destroy web1", "shutdown net-dd"]
    assert "Destroying web1: it was started again when it had shut down" in host.said


def test_what_cannot_be_destroyed_is_not_waited_for(host: RunningDomains, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "REMOVED", 0.2)
    host.add("net-dd")
    host.add("web1", "net-dd")
    host.reactions["web1"] = lambda domid: None
    host.indestructible.add("web1")
    assert stop(host, "web1", "net-dd", limit=0.2) == ["shutdown web1", "destroy web1", "shutdown net-dd"]
    assert "web1: web1 stays." in host.said
    assert "web1 does not end: nothing waits for it any more" in host.said


def test_a_paused_domain_can_only_shut_down_when_it_runs(host: RunningDomains) -> None:
    host.add("web1", flags="p")
    assert stop(host, "web1") == ["unpause web1", "shutdown web1"]


def test_a_stub_domain_goes_with_its_principal(host: RunningDomains) -> None:
    host.add("net-dd")
    principal = host.add("hvm1")
    stub = host.add("hvm1-dm", "net-dd")
    host.reactions["hvm1"] = lambda domid: host.end(principal, stub)
    assert with_clients(host.store, {"net-dd"}) == {"net-dd", "hvm1"}
    assert stop(host, "net-dd", "hvm1") == ["shutdown hvm1", "shutdown net-dd"]


def test_who_is_served(host: RunningDomains) -> None:
    host.add("net-dd")
    host.add("vpn", "net-dd")
    host.add("web1", "vpn")
    host.add("other")
    host.serve(0, host.domid("net-dd"))
    # dom0 is not stopped.
    assert with_clients(host.store, {"net-dd", "not running"}) == {"net-dd", "vpn", "web1"}
    assert with_clients(host.store, {"other"}) == {"other"}
    assert clients_of(host.store, "net-dd") == ["Domain-0", "vpn"]
