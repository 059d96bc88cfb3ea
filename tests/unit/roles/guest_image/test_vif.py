# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hotplug script of the images, run by the shells of both profiles, with stubs for what it starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[4] / "roles/guest_image/files"
SHELLS = (("dash",), ("busybox", "sh"))
BACKEND = "backend/vif/7/1"
MAC = "00:16:3e:00:00:11"

#: Each logs its call. The file `fails` names one that does not work.
STUB = r"""#!/bin/sh
printf '%s\n' "${0##*/} $*" >>"$XENDD_ROOT/calls"
read -r fails <"$XENDD_ROOT/fails" || :
[ "$fails" != "${0##*/}" ] || exit 1
"""
KINDS = ("bridge", "route", "nat", "openvswitch")
EFFECTS = {
    "xenstore-list": "cd \"$XENDD_ROOT/store/$1\" && printf '%s\\n' *\n",
    "xenstore-read": 'cd "$XENDD_ROOT/store" && for key; do cat "$key" || exit 1; done\n',
    "xenstore-write": "",
    "ip": 'case $* in *master*) mkdir -p "$XENDD_ROOT/sys/class/net/$4/brport" ;; esac\n',
    "bridge": "",
    "ovs-vsctl": "",
    "nft": 'cat >"$XENDD_ROOT/nft"\n',
}


class Domain:
    """A driver domain with a bridge and a new vif."""

    def __init__(self, root: Path, shell: t.Sequence[str]) -> None:
        self.root, self.shell = root, shell
        self.environment = {"vif": "vif7.1", "XENBUS_PATH": BACKEND}
        for name, text in {
            "sys/class/net/xenbr0/mtu": "1500\n",
            "sys/class/net/xenbr0/bridge/vlan_filtering": "0\n",
            "sys/class/net/vif7.1/mtu": "1500\n",
            f"store/{BACKEND}/bridge": "xenbr0\n",
            f"store/{BACKEND}/mac": f"{MAC}\n",
            f"store/{BACKEND}/script": "/etc/xen/scripts/vif-bridge\n",
            "var/log/xen/xen-hotplug.log": "",
            "fails": "\n",
        }.items():
            self.write(name, text)
        for name, effect in EFFECTS.items():
            self.program(f"bin/{name}", STUB + effect)
        for kind in KINDS:
            self.program(f"scripts/vif-{kind}.xen", STUB)
            shutil.copy(FILES / "vif", root / f"scripts/vif-{kind}")
        for directory in ("usr/lib/xendd", "run/xendd"):
            (root / directory).mkdir(parents=True)
        shutil.copy(FILES / "vif-rules", root / "usr/lib/xendd")

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text, encoding="utf-8")

    def program(self, name: str, text: str) -> None:
        self.write(name, text)
        (self.root / name).chmod(0o755)

    def run(self, *arguments: str, kind: str = "bridge", fails: bool = False) -> list[str]:
        """Run the script, and return what it started, apart from what only reads."""
        environment = {"PATH": f"{self.root}/bin:{os.environ['PATH']}", "XENDD_ROOT": str(self.root), **self.environment}
        ended = subprocess.run([*self.shell, str(self.root / f"scripts/vif-{kind}"), *arguments], env=environment, check=False, timeout=30)
        assert ended.returncode == int(fails)
        calls = self.root / "calls"
        lines = calls.read_text(encoding="utf-8").splitlines() if calls.exists() else []
        return [line for line in lines if not line.startswith(("xenstore-list", "xenstore-read"))]


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def domain(tmp_path: Path, request: pytest.FixtureRequest) -> Domain:
    return Domain(tmp_path, request.param)


ONLINE, OFFLINE = ("online", "type_if=vif"), ("offline", "type_if=vif")


def written(mtu: str) -> str:
    return f"xenstore-write /local/domain/7/device/vif/1/mtu {mtu} {BACKEND}/hotplug-status connected"


def test_a_new_vif_becomes_a_port(domain: Domain) -> None:
    assert domain.run(*ONLINE) == ["ip link set dev vif7.1 address fe:ff:ff:ff:ff:ff mtu 1500 master xenbr0 up", written("1500")]
    assert "vif7.1 is a port of xenbr0" in (domain.root / "var/log/xen/xen-hotplug.log").read_text()


@pytest.mark.parametrize(("mtu", "expected"), [("9000", "9000"), (None, "1400")])
def test_its_mtu_is_that_of_the_device_or_of_the_bridge(domain: Domain, mtu: str | None, expected: str) -> None:
    domain.write("sys/class/net/xenbr0/mtu", "1400\n")
    if mtu:
        domain.write(f"store/{BACKEND}/mtu", f"{mtu}\n")
    assert domain.run(*ONLINE)[-1] == written(expected)


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize(("mac", "own"), [("52:54:00:aa:00:01", "02:54:00:aa:00:01"), ("02:54:00:aa:00:01", "06:54:00:aa:00:01")])
def test_a_vif_with_the_address_of_a_card_gets_it(domain: Domain, mac: str, own: str, live: bool) -> None:
    """A bridge keeps frames to the addresses of its ports for itself."""
    for port, address in (("eth0", mac), ("vif3.0", "fe:ff:ff:ff:ff:ff")):
        domain.write(f"sys/class/net/{port}/address", f"{address}\n")
        domain.write(f"sys/class/net/xenbr0/brif/{port}/state", "3\n")
    domain.write(f"store/{BACKEND}/mac", f"{mac}\n")
    if not live:
        busy = '[ "$*" != "link set dev eth0 address ' + own + '" ] || [ -e "$XENDD_ROOT/down" ] || exit 2\n'
        domain.program("bin/ip", STUB + 'case $* in *down) : >"$XENDD_ROOT/down" ;; esac\n' + busy + EFFECTS["ip"])
    change = f"ip link set dev eth0 address {own}"
    changes = [change] if live else [change, "ip link set dev eth0 down", change, "ip link set dev eth0 up"]
    assert domain.run(*ONLINE)[:-1] == [*changes, "ip link set dev vif7.1 address fe:ff:ff:ff:ff:ff mtu 1500 master xenbr0 up"]
    assert (domain.root / "run/xendd/address.eth0").read_text() == f"{mac}\n"


def test_a_vif_that_is_removed(domain: Domain) -> None:
    assert domain.run(*OFFLINE) == []
    domain.write("sys/class/net/vif7.1/brport/state", "")
    assert domain.run(*OFFLINE) == ["ip link set dev vif7.1 nomaster down"]


@pytest.mark.parametrize("what", ["a name", "no bridge", "another bridge", "hooks"])
def test_what_is_unusual_is_left_to_xen(domain: Domain, what: str) -> None:
    if what == "a name":
        domain.write(f"store/{BACKEND}/vifname", "web1\n")
    elif what == "no bridge":
        (domain.root / f"store/{BACKEND}/bridge").unlink()
    elif what == "another bridge":
        domain.write(f"store/{BACKEND}/bridge", "xenbr1\n")
    else:
        (domain.root / "scripts/vif-post.d").mkdir()
    assert domain.run(*ONLINE) == ["vif-bridge.xen online type_if=vif"]


@pytest.mark.parametrize("arguments", [("add", "type_if=tap"), ("online", "type_if=tap"), ("online",), ()])
def test_other_calls_are_left_to_xen(domain: Domain, arguments: tuple[str, ...]) -> None:
    assert [line.rstrip() for line in domain.run(*arguments)] == [" ".join(("vif-bridge.xen", *arguments))]


@pytest.mark.parametrize("missing", ["vif", "XENBUS_PATH"])
def test_without_its_environment(domain: Domain, missing: str) -> None:
    del domain.environment[missing]
    assert domain.run(*ONLINE) == ["vif-bridge.xen online type_if=vif"]


@pytest.mark.parametrize("program", ["ip", "xenstore-write"])
def test_what_fails_is_left_to_xen_which_says_why(domain: Domain, program: str) -> None:
    domain.write("fails", f"{program}\n")
    assert domain.run(*ONLINE)[-1] == "vif-bridge.xen online type_if=vif"


def failure(reason: str) -> str:
    return f"xenstore-write {BACKEND}/hotplug-error {reason} {BACKEND}/hotplug-status error"


@pytest.mark.parametrize("program", ["xenstore-list", "xenstore-read"])
def test_without_its_keys_a_vif_is_not_connected(domain: Domain, program: str) -> None:
    """There may be addresses to hold it to."""
    domain.write("fails", f"{program}\n")
    assert domain.run(*ONLINE, fails=True) == [failure(f"cannot read {BACKEND}")]


def test_a_vif_with_addresses_has_its_rules_before_it_is_a_port(domain: Domain) -> None:
    domain.write(f"store/{BACKEND}/ip", "10.0.3.15 2001:db8::5\n")
    assert [line.split()[0] for line in domain.run(*ONLINE)] == ["nft", "ip", "xenstore-write"]
    rules = domain.root.joinpath("nft").read_text()
    assert f"ether saddr != {MAC} " in rules
    assert "ip saddr 10.0.3.15 accept" in rules
    assert "ip6 saddr 2001:db8::5 goto" in rules
    assert "with the addresses 10.0.3.15 2001:db8::5 alone" in (domain.root / "var/log/xen/xen-hotplug.log").read_text()


def test_the_addresses_that_it_gives_itself_where_the_driver_domain_is_the_router(domain: Domain) -> None:
    domain.write(f"store/{BACKEND}/ip", "10.0.3.15\n")
    domain.write("run/xendd/bridge.xenbr0", "fd00:50::/64\n")
    domain.run(*ONLINE)
    assert "ip6 saddr fd00:0050:0000:0000:0216:3eff:fe00:0011 goto" in domain.root.joinpath("nft").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_set_whatever_the_vif_is_attached_to(domain: Domain, kind: str) -> None:
    domain.write(f"store/{BACKEND}/ip", "10.0.3.15\n")
    domain.write(f"store/{BACKEND}/bridge", "elsewhere\n")
    assert domain.run(*ONLINE, kind=kind) == ["nft -f -", f"vif-{kind}.xen online type_if=vif"]


@pytest.mark.parametrize("trouble", ["nft fails", "no address", "no MAC address", "half an address"])
def test_without_its_rules_a_vif_is_not_connected(domain: Domain, trouble: str) -> None:
    domain.write(f"store/{BACKEND}/ip", {"no address": "web1", "half an address": "2001:db8::12345"}.get(trouble, "10.0.3.15") + "\n")
    if trouble == "nft fails":
        domain.write("fails", "nft\n")
    elif trouble == "no MAC address":
        (domain.root / f"store/{BACKEND}/mac").unlink()
    calls = domain.run(*ONLINE, fails=True)
    assert calls[-1].startswith(f"xenstore-write {BACKEND}/hotplug-error ")
    assert not any(line.startswith(("ip ", "vif-")) for line in calls)


@pytest.mark.parametrize("kind", ["rules", "switch"])
def test_what_cannot_be_written_is_reported(domain: Domain, kind: str) -> None:
    domain.write(f"store/{BACKEND}/ip", "10.0.3.15\n")
    if kind == "switch":
        domain.write("run/xendd/switch.ovs0", "")
        domain.write("sys/class/net/ovs0/mtu", "1500\n")
        domain.write(f"store/{BACKEND}/bridge", "ovs0\n")
    (domain.root / f"run/xendd/{kind}.vif7.1").mkdir()
    assert domain.run(*ONLINE, fails=True)[-1] == failure(f"cannot write to {domain.root}/run/xendd")


@pytest.mark.parametrize("kind", KINDS)
def test_its_rules_go_with_it(domain: Domain, kind: str) -> None:
    domain.write(f"store/{BACKEND}/ip", "10.0.3.15\n")
    domain.run(*ONLINE, kind=kind)
    assert "nft -f -" in domain.run(*OFFLINE, kind=kind)[2:]
    left = [line for line in domain.root.joinpath("nft").read_text().splitlines() if "rule" in line]
    assert not left
    assert domain.run(*OFFLINE, kind=kind).count("nft -f -") == 2


def test_vlans_are_set_before_the_port_is_up(domain: Domain) -> None:
    domain.write("sys/class/net/xenbr0/bridge/vlan_filtering", "1\n")
    domain.write(f"store/{BACKEND}/vlan", "10p/20/30-35t/40u\n")
    assert domain.run(*ONLINE) == [
        "ip link set dev vif7.1 address fe:ff:ff:ff:ff:ff mtu 1500 master xenbr0",
        "bridge vlan del dev vif7.1 vid 1",
        "bridge vlan add dev vif7.1 vid 10 pvid untagged",
        "bridge vlan add dev vif7.1 vid 20",
        "bridge vlan add dev vif7.1 vid 30-35",
        "bridge vlan add dev vif7.1 vid 40 untagged",
        "ip link set dev vif7.1 up",
        written("1500"),
    ]


@pytest.mark.parametrize(
    ("vlan", "filters", "reason"),
    [
        ("10p", "0", "vlan is 10p, but the bridge xenbr0 does not filter VLANs"),
        ("ten", "1", "'ten' is not a list of VLANs"),
        ("10p//20", "1", "'10p//20' is not a list of VLANs"),
    ],
)
def test_a_vif_that_would_be_in_other_vlans_is_not_connected(domain: Domain, vlan: str, filters: str, reason: str) -> None:
    domain.write("sys/class/net/xenbr0/bridge/vlan_filtering", f"{filters}\n")
    domain.write(f"store/{BACKEND}/vlan", f"{vlan}\n")
    calls = domain.run(*ONLINE, fails=True)
    assert calls[-1] == failure(reason)
    assert "ip link set dev vif7.1 up" not in calls


@pytest.mark.parametrize(
    ("bridge", "port"),
    [("ovs0", ""), ("ovs0.10", " tag=10"), ("ovs0:20:30", " trunks=20,30"), ("ovs0.10:20", " trunks=20 tag=10")],
)
def test_a_port_of_open_vswitch(domain: Domain, bridge: str, port: str) -> None:
    domain.write("run/xendd/switch.ovs0", "")
    domain.write("sys/class/net/ovs0/mtu", "9000\n")
    domain.write(f"store/{BACKEND}/bridge", f"{bridge}\n")
    assert domain.run(*ONLINE) == [
        "ip link set dev vif7.1 address fe:ff:ff:ff:ff:ff mtu 9000",
        f"ovs-vsctl --timeout=30 -- --if-exists del-port vif7.1 -- add-port ovs0 vif7.1{port}"
        f' -- set interface vif7.1 external-ids:attached-mac="{MAC}"',
        "ip link set dev vif7.1 up",
        written("9000"),
    ]
    assert domain.run(*OFFLINE)[4:] == ["ovs-vsctl --timeout=30 --if-exists del-port vif7.1"]
    assert domain.run(*OFFLINE)[5:] == []


def test_a_port_that_open_vswitch_does_not_take(domain: Domain) -> None:
    domain.write("run/xendd/switch.ovs0", "")
    domain.write("sys/class/net/ovs0/mtu", "1500\n")
    domain.write(f"store/{BACKEND}/bridge", "ovs0\n")
    domain.write("fails", "ovs-vsctl\n")
    assert domain.run(*ONLINE, fails=True)[-1].startswith(f"xenstore-write {BACKEND}/hotplug-error Open vSwitch does not take vif7.1")


@pytest.mark.parametrize(("ip", "reserved"), [("10.0.3.15 fd00::5", f"{MAC},10.0.3.15\n"), ("fd00::5 10.0.3.0/24", None), ("", None)])
def test_its_address_is_reserved_where_the_driver_domain_hands_them_out(domain: Domain, ip: str, reserved: str | None) -> None:
    domain.write("run/xendd/dhcp.xenbr0", "")
    (domain.root / "run/xendd/hosts").mkdir()
    if ip:
        domain.write(f"store/{BACKEND}/ip", f"{ip}\n")
    # It ends by itself, and hears the signal even if the tests run under nohup.
    waits = "trap 'echo again' HUP; echo ready; for _time in $(seq 1200); do sleep 0.05; done"
    with subprocess.Popen(["env", "--default-signal=HUP", "sh", "-c", waits], stdout=subprocess.PIPE) as server:
        assert server.stdout
        server.stdout.readline()
        domain.write("run/xendd/dnsmasq.pid", f"{server.pid}\n")
        domain.write(f"proc/{server.pid}/comm", "dnsmasq\n")
        domain.run(*ONLINE)
        hosts = domain.root / "run/xendd/hosts/vif7.1"
        assert (hosts.read_text() if hosts.exists() else None) == reserved
        domain.run(*OFFLINE)
        assert server.stdout.readline() == b"again\n"
        server.kill()
    assert not hosts.exists()


def test_another_process_that_has_the_number_of_dnsmasq_gets_no_signal(domain: Domain) -> None:
    domain.write("run/xendd/dhcp.xenbr0", "")
    (domain.root / "run/xendd/hosts").mkdir()
    domain.write(f"store/{BACKEND}/ip", "10.0.3.15\n")
    with subprocess.Popen(["env", "--default-signal=HUP", "sleep", "60"]) as other:
        domain.write("run/xendd/dnsmasq.pid", f"{other.pid}\n")
        domain.write(f"proc/{other.pid}/comm", "sleep\n")
        domain.run(*ONLINE)
        assert (domain.root / "run/xendd/hosts/vif7.1").exists()
        assert other.poll() is None
        other.kill()
