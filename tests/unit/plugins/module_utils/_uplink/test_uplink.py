# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How dom0 moves from its only network card to a vif of the driver domain that gets the card, and back, whatever fails on the way."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError, InvalidInput, Refused
from ansible_collections.xen.driver_domains.plugins.module_utils._held_back import HOLD_REASON
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.records import Records
from ansible_collections.xen.driver_domains.plugins.module_utils._uplink.plan import REVERT_UNIT
from ansible_collections.xen.driver_domains.plugins.module_utils._uplink.program import RETURN_UNIT, SWITCH_UNIT
from ansible_collections.xen.driver_domains.tests.unit.fakes.uplink import CARD, IFNAME, MAC, WORDS, FakeOneCard


@pytest.fixture
def host(tmp_path: Path) -> t.Iterator[FakeOneCard]:
    with FakeOneCard(tmp_path) as fake:
        yield fake


@pytest.fixture
def moved(host: FakeOneCard) -> FakeOneCard:
    """A host whose dom0 has moved, and is confirmed."""
    host.apply()
    assert host.begin() == 0
    host.apply("confirmed")
    host.changes()
    return host


def has_card(host: FakeOneCard) -> bool:
    """Whether dom0 is reached by its card, as before."""
    return host.card_is_with() == "e1000e" and host.interfaces == [IFNAME] and not host.vifs


def has_vif(host: FakeOneCard) -> bool:
    return host.card_is_with() == "pciback" and host.interfaces == [IFNAME] and host.vifs == ["0"]


# The way there


def test_the_timer_is_armed_before_anything_is_changed(host: FakeOneCard) -> None:
    result = host.apply()
    assert result["pending"] and result["interface"] == IFNAME
    commands = [call for call in host.calls if "systemd-run" in call]
    assert [f"--unit={REVERT_UNIT}" in commands[0], f"--unit={SWITCH_UNIT}" in commands[1]] == [True, True]
    assert "--on-active=210s" in commands[0] and commands[0].endswith("revert " + " ".join(WORDS))
    assert host.state.exists() and not json.loads(host.record.read_text())["confirmed"]
    assert has_card(host)


def test_from_the_card_to_the_vif(host: FakeOneCard) -> None:
    host.apply()
    host.changes()
    assert host.begin() == 0
    assert has_vif(host)
    assert f"xl network-attach 0 mac={MAC},bridge=xenbr0,backend=net-dd,untrusted" in host.calls
    assert host.calls.index(f"xl pci-assignable-add {CARD}") < host.calls.index("systemctl restart xen-domain@net-dd.service")
    result = host.apply("confirmed")
    assert (result["changed"], result["pending"]) == (True, False)
    assert not host.state.exists() and json.loads(host.record.read_text())["confirmed"]
    # The timer of systemd could not do anything any more.
    assert host.fire() == 0 and has_vif(host)


def test_a_second_run_changes_nothing(moved: FakeOneCard) -> None:
    assert moved.apply() == {"interface": IFNAME, "pending": False, "changed": False, "actions": []}
    assert moved.calls == []


def test_check_mode_changes_nothing(host: FakeOneCard) -> None:
    plan = host.plan()
    assert plan.apply(check_mode=True)["changed"]
    assert host.calls == [] and not host.record.exists() and has_card(host)


def test_while_the_host_moves_it_is_pending(host: FakeOneCard) -> None:
    host.apply()
    assert host.apply("confirmed")["pending"]
    assert host.state.exists()


def test_a_limit_is_recorded_and_nothing_moves(moved: FakeOneCard) -> None:
    assert moved.apply(limit=200)["changed"]
    assert json.loads(moved.record.read_text())["limit"] == 200
    assert has_vif(moved) and not [call for call in moved.calls if "systemd-run" in call]


def test_ifupdown_is_told(host: FakeOneCard) -> None:
    host.ifupdown = True
    host.apply()
    host.changes()
    host.begin()
    calls = [call for call in host.calls if call.startswith(("if", "xl"))]
    assert calls[0] == f"ifdown --force {IFNAME}" and calls[-2:] == [f"ifdown --force {IFNAME}", f"ifup --force {IFNAME}"]


def test_an_interface_with_an_address_is_left_alone(moved: FakeOneCard) -> None:
    moved.addressed.add(IFNAME)
    assert moved.program().up() == 0
    assert moved.calls == []


def test_networkd_is_told(host: FakeOneCard) -> None:
    host.active.add("systemd-networkd.service")
    host.apply()
    host.begin()
    assert host.calls[-2:] == [f"ip link set dev {IFNAME} up", f"networkctl reconfigure {IFNAME}"]


# Back again


def test_nobody_confirms(host: FakeOneCard) -> None:
    host.apply()
    host.begin()
    assert host.fire() == 0
    assert has_card(host) and not host.record.exists() and not host.state.exists()
    # What is left would take a card back that is passed through later on.
    assert not host.link.is_symlink()
    assert "xl destroy net-dd" in host.calls and host.held.read_text() == HOLD_REASON
    with pytest.raises(DriverDomainsError, match="no new connection has shown in time"):
        host.plan("confirmed")


@pytest.mark.parametrize(
    "failure",
    [
        lambda host: host.failing.add("systemctl restart"),
        lambda host: setattr(host, "status", "failed"),
        lambda host: setattr(host, "status", ""),
        lambda host: setattr(host, "hotplug", "error"),
        lambda host: host.failing.add("xl network-attach"),
        lambda host: setattr(host.xen, "bind_fails", True),
    ],
    ids=["domain", "error", "silence", "hotplug", "attach", "pciback"],
)
def test_a_step_that_fails_goes_back_at_once(host: FakeOneCard, failure: t.Callable[[FakeOneCard], None]) -> None:
    failure(host)
    host.apply()
    host.begin()
    assert has_card(host) and not host.record.exists()
    with pytest.raises(DriverDomainsError, match="dom0 has its network card"):
        host.plan("confirmed")
    # What was held back starts with the next attempt.
    host.failing.clear()
    host.status, host.hotplug, host.xen.bind_fails = "ready", "connected", False
    host.active.clear()
    host.apply()
    assert host.begin() == 0 and has_vif(host) and not host.held.exists()


class Killed(BaseException):
    """The power is cut, or the run is killed."""


def test_a_switch_that_is_killed_anywhere_is_undone_by_the_timer(tmp_path: Path) -> None:
    count = 0
    for number in range(1, 200):
        root = tmp_path / str(number)
        root.mkdir()
        with FakeOneCard(root) as host:
            host.apply()
            left = number

            def step(_what: str) -> None:
                nonlocal left
                left -= 1
                if left == 0:
                    raise Killed

            host.machine.step = step
            try:
                host.begin()
            except Killed:
                count += 1
            else:
                break
            host.machine.step = lambda what: None
            assert host.fire() == 0
            assert has_card(host) and not host.record.exists(), number
    assert count > 5


def test_a_power_cut_during_the_switch_boots_with_the_card(host: FakeOneCard) -> None:
    host.apply()
    host.begin()
    host.reboot(hidden=False)
    assert host.program().boot() == 0
    assert has_card(host) and not host.record.exists()


def test_a_run_that_is_killed_before_the_timer_is_armed(host: FakeOneCard) -> None:
    plan = host.plan()
    for action in plan.actions:
        if action.description.startswith("go back"):
            break
        action.apply()
    assert has_card(host)
    assert host.apply()["pending"]
    assert host.begin() == 0 and has_vif(host)


# Each boot


def test_a_boot_connects_dom0(moved: FakeOneCard) -> None:
    moved.reboot()
    moved.start()
    assert moved.program().boot() == 0
    assert has_vif(moved)
    assert moved.said == []


@pytest.mark.parametrize("status", [None, "", "failed"])
def test_a_boot_without_the_driver_domain_returns_the_card(
    moved: FakeOneCard, capsys: pytest.CaptureFixture[str], status: str | None
) -> None:
    moved.reboot()
    if status is not None:
        moved.status = status
        moved.start()
    assert moved.program().boot() == 0
    assert has_card(moved)
    lines = [line for line in capsys.readouterr().out.splitlines() if "gets its network card back" in line]
    assert len(lines) == 1 and "net-dd did not report within 90 s that it serves" in lines[0]
    # The next run moves it again.
    moved.status = "ready"
    assert moved.apply()["pending"]
    assert moved.begin() == 0 and has_vif(moved)


def test_a_boot_that_does_not_hide_the_card(moved: FakeOneCard) -> None:
    moved.reboot(hidden=False)
    assert moved.program().boot() == 0
    assert has_card(moved) and moved.record.exists()


def test_each_boot_without_a_record_returns_the_card(moved: FakeOneCard) -> None:
    moved.record.unlink()
    for _boot in range(2):
        moved.reboot()
        moved.start()
        assert moved.program().boot() == 0
        assert has_card(moved)
        # As long as the card is hidden, the next boot needs the unit as well.
        assert moved.link.is_symlink()
    moved.reboot(hidden=False)
    assert moved.program().boot() == 0
    assert has_card(moved) and not moved.link.is_symlink()


def test_a_boot_returns_the_card_when_nobody_has_confirmed(moved: FakeOneCard) -> None:
    """The host may have been cut off by the driver domain, which serves."""
    record = json.loads(moved.record.read_text())
    moved.record.write_text(json.dumps({**record, "confirmed": False}))
    moved.reboot()
    moved.start()
    assert moved.program().boot() == 0
    assert has_card(moved) and moved.link.is_symlink() and not moved.record.exists()


@pytest.mark.parametrize("way", ["revert", "return"])
def test_what_is_undone_while_the_card_is_hidden_leaves_a_unit_that_returns_it(moved: FakeOneCard, way: str) -> None:
    moved.hide(True)
    if way == "revert":
        moved.destroy("net-dd")
        moved.program().give_up()
        moved.apply()
        moved.begin()
        moved.fire()
    else:
        moved.apply("absent")
        moved.active.clear()
        moved.program().return_()
    assert has_card(moved) and moved.link.is_symlink() and not moved.record.exists()
    plan = moved.plan("absent")
    assert "uplink0 (0000:00:03.0) is still hidden at boot" in plan.warnings[0] and plan.actions == []
    moved.reboot()
    moved.start()
    assert moved.program().boot() == 0
    assert has_card(moved)
    moved.hide(False)
    assert moved.apply("absent")["changed"] and not moved.link.is_symlink()
    assert not moved.apply("absent")["changed"]


def test_a_second_attempt_of_a_boot_goes_on(moved: FakeOneCard) -> None:
    """The first one ended when the card was back, and before its interface was configured."""
    moved.reboot()
    moved.host().release(moved.host().devices()[0].bdf)
    moved.host().clear_claims(moved.host().devices()[0].bdf)
    moved.host().probe(moved.host().devices()[0].bdf)
    moved.network().call(IFNAME, "eth0")
    moved.changes()
    assert moved.program().boot() == 0
    assert has_card(moved)
    assert "systemctl start xen-driver-domains-uplink-up.service" in moved.calls


def test_a_card_that_keeps_another_address_gets_its_own(moved: FakeOneCard) -> None:
    moved.destroy("net-dd")
    moved.machine.set_address(CARD, "02:54:00:aa:00:01")
    assert moved.program().give_up() == 0
    assert has_card(moved)
    assert (moved.machine.sys / f"class/net/{IFNAME}/address").read_text().strip() == MAC
    assert f"ip link set dev {IFNAME} up" in moved.calls[moved.calls.index(f"ip link set dev {IFNAME} address {MAC}") :]


def test_an_address_that_the_host_has_set_stays(moved: FakeOneCard) -> None:
    moved.machine.set_address(CARD, "52:54:00:00:00:99")
    moved.reboot(hidden=False)
    moved.changes()
    assert moved.program().boot() == 0
    assert has_card(moved) and not [call for call in moved.calls if call.startswith("ip link set") and call.split()[-1] != "up"]


def test_records_of_other_cards_do_not_keep_it(moved: FakeOneCard) -> None:
    (Path(moved.host().records.directory) / "0000:00:09.0.json").write_text("{")
    with pytest.raises(DriverDomainsError, match="does not hold the record of a PCI device"):
        moved.plan()
    assert Records(moved.host().records.directory, strict=False).load()[0].bdf == CARD


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"name": 1}', "\x00"])
def test_a_boot_with_a_damaged_record_returns_the_card(moved: FakeOneCard, text: str) -> None:
    moved.record.write_text(text)
    with pytest.raises(DriverDomainsError, match="does not hold the record of dom0's network card"):
        moved.plan()
    moved.reboot()
    moved.start()
    assert moved.program().boot() == 0
    assert has_card(moved) and not moved.record.exists()


def test_a_boot_without_xenstore_returns_the_card(moved: FakeOneCard) -> None:
    moved.reboot()
    moved.no_xenstore = True
    assert moved.program().boot() == 0
    assert has_card(moved)


def test_the_recovery_service_gives_up(moved: FakeOneCard) -> None:
    assert moved.program().give_up() == 0
    assert has_vif(moved)
    moved.destroy("net-dd")
    assert moved.program().give_up() == 0
    assert has_card(moved) and moved.record.exists()


# Undoing it


def test_the_card_returns_on_request(moved: FakeOneCard) -> None:
    result = moved.apply("absent")
    assert result["pending"] and f"--unit={RETURN_UNIT}" in moved.calls[-1]
    assert moved.apply("absent") == {"interface": IFNAME, "pending": True, "changed": False, "actions": []}
    moved.active.clear()
    assert moved.program().return_() == 0
    assert has_card(moved) and not moved.held.exists()
    assert "xl shutdown 1" in moved.calls
    result = moved.apply("absent")
    assert result["changed"] and not result["pending"]
    assert not list(moved.root.glob("etc/**/*uplink*")) + list(moved.root.glob("usr/**/*uplink*"))
    assert moved.apply("absent") == {"interface": "", "pending": False, "changed": False, "actions": []}


def test_forget_the_vif_of_a_card_that_dom0_has(moved: FakeOneCard) -> None:
    moved.reboot(hidden=False)
    result = moved.apply("absent")
    assert not result["pending"] and not moved.record.exists() and has_card(moved)


# What is refused


@pytest.mark.parametrize("change", [{"bridge": "xenbr1"}, {"backend": "other"}, {"mac": "00:16:3e:00:00:01"}])
def test_a_changed_entry_is_refused(moved: FakeOneCard, change: dict[str, str]) -> None:
    with pytest.raises(Refused, match="First return the card: set state: absent"):
        moved.apply(**change)
    assert has_vif(moved) and moved.calls == []


def test_a_card_that_carries_a_bridge_is_refused(host: FakeOneCard) -> None:
    (host.machine.sys / f"class/net/{IFNAME}/upper_br0").mkdir()
    with pytest.raises(Refused, match="carries br0"):
        host.apply()


INDEX = {"match": {"op": "==", "left": {"meta": {"key": "iif"}}, "right": IFNAME}}
NAME = {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": IFNAME}}


@pytest.mark.parametrize(
    ("item", "refused"),
    [
        ({"rule": {"expr": [INDEX, {"accept": None}]}}, True),
        ({"rule": {"expr": [{"match": {"left": {"meta": {"key": "oif"}}, "right": {"set": ["lo", IFNAME]}}}]}}, True),
        ({"rule": {"expr": [{"vmap": {"key": {"meta": {"key": "iif"}}, "data": {"set": [[IFNAME, {"accept": None}]]}}}]}}, True),
        ({"set": {"name": "inside", "type": "iface_index", "elem": [IFNAME]}}, True),
        (
            {"map": {"name": "inside", "type": ["iface_index", "inet_service"], "elem": [[{"concat": [IFNAME, 22]}, {"accept": None}]]}},
            True,
        ),
        ({"chain": {"name": "early", "hook": "ingress", "dev": IFNAME}}, True),
        ({"flowtable": {"name": "fast", "dev": [IFNAME, "eth1"]}}, True),
        ({"rule": {"expr": [NAME, {"accept": None}]}}, False),
        ({"rule": {"expr": [{"match": {"left": {"meta": {"key": "iif"}}, "right": "lo"}}]}}, False),
        ({"set": {"name": "inside", "type": "ifname", "elem": [IFNAME]}}, False),
        ({"metainfo": {"version": "1.0.6"}}, False),
    ],
)
def test_rules_that_would_not_apply_to_the_vif_are_refused(host: FakeOneCard, item: dict[str, t.Any], refused: bool) -> None:
    for values in item.values():
        values.update(family="inet", table="filter")
    host.nftables = json.dumps({"nftables": [item]})
    if refused:
        with pytest.raises(Refused, match=r"has its interface enp0s3 by its number \(table inet filter\).*Use iifname"):
            host.apply()
    else:
        assert host.apply()["pending"]


def test_a_driver_domain_that_runs_without_the_card_is_refused(host: FakeOneCard) -> None:
    host.server.set("/local/domain/7/name", "net-dd")
    with pytest.raises(Refused, match="runs already, without uplink0"):
        host.apply()


def test_a_driver_domain_that_does_not_start_with_the_host_is_refused(host: FakeOneCard) -> None:
    (host.root / "etc/systemd/system/xen-domain@net-dd.service").unlink()
    with pytest.raises(Refused, match="does not start with the host"):
        host.apply()
    assert host.plan().apply(check_mode=True)["changed"]


def test_a_card_that_dom0_has_not_had_is_refused(host: FakeOneCard) -> None:
    host.xen.apply("present", [{"name": "uplink0", "match": {"mac": MAC}}], force=["management_route", "default_route"])
    with pytest.raises(DriverDomainsError, match="is not dom0's network card"):
        host.plan()


@pytest.mark.parametrize("value", [{"mac": "x"}, {"limit": 0}, {"bridge": "a b"}, {"backend": "-x"}])
def test_values_that_no_command_could_take(host: FakeOneCard, value: dict[str, t.Any]) -> None:
    with pytest.raises(InvalidInput, match="dom0 cannot get a vif in the place of uplink0"):
        host.plan(**value)


def test_a_domain_that_calls_itself_ready_is_no_backend(moved: FakeOneCard) -> None:
    """Another domain may write what it likes below its own home."""
    moved.reboot()
    moved.server.set("/local/domain/9/name", "guest1")
    moved.server.set("/local/domain/9/data/driver-domain/status", "ready")
    assert moved.program().boot() == 0
    assert has_card(moved)
