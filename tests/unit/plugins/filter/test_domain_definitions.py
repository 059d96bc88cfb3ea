# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the inventory's model to the modules' parameters."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.xen.driver_domains.plugins.filter.domain_definitions import DEFAULTS, FOREIGN, OWN, FilterModule
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.adopt import Devices, adopt
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.files import (
    INCOMPLETE,
    Places,
    configuration_of,
    configuration_text,
    installed_digest,
    life_file,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.program import pack
from ansible_collections.xen.driver_domains.plugins.module_utils._turn import Turn
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xlcfg_reader import read

FILTERS = FilterModule().filters()
DEVICES = [
    {"name": "uplink0", "mac": "52:54:00:aa:00:02", "kernel_modules": ["e1000e"]},
    {"name": "uplink1", "mac": "52:54:00:aa:00:03", "kernel_modules": ["igb"]},
    {"name": "disk0", "mac": "", "kernel_modules": ["nvme"]},
]
NET = {
    "name": "net-dd",
    "pci": ["uplink0", {"device": "uplink1", "permissive": True}],
    "bridges": [{"name": "xenbr0", "ports": ["uplink0"], "address": "10.0.3.9/24"}],
}
IMAGES = {
    "domain-net-dd": {"kernel": "/i/k", "ramdisk": "/i/dd", "disk": ""},
    "guest-minimal": {"kernel": "/i/k", "ramdisk": "/i/g", "disk": ""},
    "guest-debian": {"kernel": "/i/k", "ramdisk": "/i/r", "disk": "/i/d"},
}


def definitions(domain: dict[str, t.Any], role: str, **options: t.Any) -> dict[str, t.Any]:
    (definition,) = FILTERS["domain_definitions"]([domain], role, images=IMAGES, devices=DEVICES, **options)
    return definition


def test_driver_domain() -> None:
    definition = definitions(NET, "driver_domain")
    assert definition["cmdline"].split() == [
        "console=hvc0",
        "net.ifnames=0",
        "boot=xendd",
        "iommu=soft",
        "xendd.hostname=net-dd",
        "xendd.backend=1",
        "xendd.watchdog=60",
        "xen_privcmd.unrestricted=1",
        "xendd.bridge=xenbr0,52:54:00:aa:00:02",
        "xendd.address=xenbr0,10.0.3.9/24",
    ]
    assert definition["pci"] == [{"device": "uplink0"}, {"device": "uplink1", "permissive": True}]
    assert (definition["kernel"], definition["ramdisk"], definition["memory"], definition["driver_domain"]) == ("/i/k", "/i/dd", 256, True)
    assert definition["ready"]["key"] == "data/driver-domain/status"
    assert (definition["on_crash"], definition["on_watchdog"]) == ("restart", "restart")
    assert definitions({**NET, "on_crash": "preserve"}, "driver_domain")["on_crash"] == "preserve"
    assert "bridges" not in definition
    assert "image" not in definition


def test_driver_domains_have_an_image_each_with_the_modules_of_their_devices() -> None:
    second = {"name": "dd2", "pci": ["uplink1"], "packages": ["tcpdump"]}
    assert FILTERS["domain_images"]([NET, second], "driver_domain", devices=DEVICES) == [
        {"name": "domain-net-dd", "profile": "minimal", "backends": ["vif"], "modules": ["e1000e", "igb"]},
        {"name": "domain-dd2", "profile": "minimal", "backends": ["vif"], "modules": ["igb"], "packages": ["tcpdump"]},
    ]


def test_plain_guests_share_the_image_of_a_profile() -> None:
    guests = [
        {"name": "a", "image": "minimal"},
        {"name": "b", "image": "minimal"},
        {"name": "c"},
        {"name": "d", "kernel": "/k"},
        {"name": "e", "image": "none"},
        {"name": "f", "image": "foreign"},
    ]
    assert [image["name"] for image in FILTERS["domain_images"](guests, "domu")] == ["guest-minimal", "guest-debian"]


def test_guest_with_a_disk_image_gets_a_disk_of_its_own() -> None:
    guest = {
        "name": "web1",
        "vifs": [{"backend": "net-dd", "bridge": "xenbr0", "address": "10.0.3.5/24", "gateway": "10.0.3.2"}],
        "disks": [{"vdev": "xvdb", "target": "/data"}],
    }
    definition = definitions(guest, "domu", disk_dir="/disks")
    assert definition["disks"] == [{"vdev": "xvda", "target": "/disks/web1.img", "source": "/i/d"}, {"vdev": "xvdb", "target": "/data"}]
    assert definition["vifs"] == [{"backend": "net-dd", "bridge": "xenbr0", "ip": "10.0.3.5"}]
    assert "root=/dev/xvda rw" in definition["cmdline"]
    assert "xendd.address=eth0,10.0.3.5/24,10.0.3.2" in definition["cmdline"]
    assert "boot=xendd" not in definition["cmdline"]


PAIR = [{"backend": "net-a", "bridge": "xenbr0"}, {"backend": "net-b", "bridge": "xenbr0"}]


@pytest.mark.parametrize(
    ("bond", "words"),
    [
        ({"gateway": "10.0.3.2"}, ["xendd.bond=bond0,10.0.3.2,eth0,eth1", "xendd.address=bond0,10.0.3.5/24,10.0.3.2"]),
        ({"vifs": [1, "0"], "gateway": "10.0.3.2"}, ["xendd.bond=bond0,10.0.3.2,eth1,eth0", "xendd.address=bond0,10.0.3.5/24,10.0.3.2"]),
        ({"arp_targets": ["10.0.3.7", "10.0.3.8"]}, ["xendd.bond=bond0,10.0.3.7/10.0.3.8,eth0,eth1", "xendd.address=bond0,10.0.3.5/24"]),
    ],
)
def test_a_bond(bond: dict[str, t.Any], words: list[str]) -> None:
    guest = {"name": "a", "image": "minimal", "vifs": PAIR, "bonds": [{"name": "bond0", "address": "10.0.3.5/24", **bond}]}
    definition = definitions(guest, "domu")
    assert definition["cmdline"].split()[-2:] == words
    assert "bonds" not in definition
    assert definition["vifs"] == [{**vif, "ip": "10.0.3.5"} for vif in PAIR]


def test_other_vifs_stay_what_they_are() -> None:
    own = {"backend": "net-a", "bridge": "inside", "address": "10.0.9.5/24"}
    bond = {"name": "lan", "vifs": [1, 2], "address": "10.0.3.5/24", "gateway": "10.0.3.2"}
    words = definitions({"name": "a", "vifs": [own, *PAIR], "bonds": [bond]}, "domu")["cmdline"].split()
    assert words[-3:] == ["xendd.bond=lan,10.0.3.2,eth1,eth2", "xendd.address=lan,10.0.3.5/24,10.0.3.2", "xendd.address=eth0,10.0.9.5/24"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"vifs": [0]}, "bond0: it has 1 vif. Rule: a bond has two or more vifs that different domains serve"),
        ({"vifs": []}, "bond0: it has 0 vifs"),
        ({"vifs": [0, 2]}, "bond0: it has 2 vifs, all of them served by net-a"),
        ({"vifs": [0, 3]}, "bond0: vif 3 has an address or a gateway of its own"),
        ({"vifs": [0, 0]}, "bond0: vif 0 is in bond0 already"),
        ({"vifs": [0, 4]}, "bond0: there is no vif 4. Rule: vifs are numbered from 0, and this domain has 4"),
        ({"vifs": [0, -1]}, "bond0: -1 is not the number of a vif"),
        ({"vifs": [0, True]}, "bond0: True is not the number of a vif"),
        ({"vifs": ["eth0", 1]}, "bond0: 'eth0' is not the number of a vif"),
        ({"name": "eth0"}, "bonds: the name 'eth0' is taken"),
        ({"name": "lo"}, "bonds: the name 'lo' is taken"),
        ({"name": "bonding_masters"}, "is taken"),
        ({"name": "b/0"}, "bonds: 'b/0' is not a valid bond"),
        ({"name": "b 0 init=/bin/sh"}, "is not a valid bond"),
        ({"address": None}, "bond0: it has no static address"),
        ({"address": "dhcp"}, "bond0: it has no static address"),
        ({"address": "10.0.3.5"}, "bond0: '10.0.3.5' has no prefix length"),
        ({"address": "2001:db8::5/64"}, "is not an IPv4 address"),
        ({"gateway": None}, "bond0: it has neither a gateway nor arp_targets"),
        ({"gateway": "10.0.4.2"}, "bond0: 10.0.4.2 cannot be asked by ARP"),
        ({"gateway": "10.0.3.5"}, "bond0: 10.0.3.5 cannot be asked by ARP"),
        ({"gateway": "2001:db8::1"}, "bond0: 2001:db8::1 cannot be asked by ARP"),
        ({"arp_targets": ["10.0.3.2", "10.0.3.2"]}, "10.0.3.2 is listed twice"),
        ({"arp_targets": ["10.0.3.2/24"]}, "bond0: '10.0.3.2/24'"),
        ({"arp_targets": [f"10.0.3.{number}" for number in range(10, 27)]}, "bond0: it has 17 arp_targets"),
    ],
)
def test_a_bond_that_cannot_work_is_refused(change: dict[str, t.Any], problem: str) -> None:
    vifs = [*PAIR, {"backend": "net-a", "bridge": "xenbr1"}, {"backend": "net-b", "address": "10.0.9.5/24"}]
    bond = {"name": "bond0", "vifs": [0, 1], "address": "10.0.3.5/24", "gateway": "10.0.3.2", **change}
    with pytest.raises(AnsibleFilterError, match=problem):
        definitions({"name": "a", "image": "minimal", "vifs": vifs, "bonds": [bond]}, "domu")


def test_two_bonds_share_neither_a_name_nor_a_vif() -> None:
    bond = {"name": "bond0", "address": "10.0.3.5/24", "gateway": "10.0.3.2", "vifs": [0, 1]}
    guest = {"name": "a", "image": "minimal", "vifs": [*PAIR, *PAIR]}
    with pytest.raises(AnsibleFilterError, match="the name 'bond0' is taken"):
        definitions({**guest, "bonds": [bond, {**bond, "vifs": [2, 3]}]}, "domu")
    with pytest.raises(AnsibleFilterError, match="bond1: vif 1 is in bond0 already"):
        definitions({**guest, "bonds": [bond, {**bond, "name": "bond1", "vifs": [1, 2]}]}, "domu")


def test_a_bond_needs_an_image_that_makes_it() -> None:
    bond = {"name": "bond0", "address": "10.0.3.5/24", "gateway": "10.0.3.2"}
    with pytest.raises(AnsibleFilterError, match="bond0 is for an image of the collection"):
        definitions({"name": "a", "kernel": "/k", "vifs": PAIR, "bonds": [bond]}, "domu")


def test_a_kernel_of_the_users_own_needs_no_image() -> None:
    definition = definitions({"name": "own", "kernel": "/k", "ramdisk": "/r", "cmdline": "quiet"}, "domu")
    assert (definition["kernel"], definition["ramdisk"]) == ("/k", "/r")
    assert "ready" not in definition
    assert definition["cmdline"].endswith(" quiet")


COMMON = "console=hvc0 net.ifnames=0"


@pytest.mark.parametrize(
    ("domain", "role", "cmdline"),
    [
        (
            {"kernel": "/k", "pci": ["nic0"], "cmdline": "root=/dev/xvda"},
            "driver_domain",
            "iommu=soft xendd.hostname=own xendd.backend=1 root=/dev/xvda",
        ),
        ({"kernel": "/k", "pci": ["nic0"], "type": "hvm"}, "driver_domain", "xendd.hostname=own xendd.backend=1"),
        ({"kernel": "/k", "pci": ["nic0"]}, "domu", "iommu=soft xendd.hostname=own"),
        ({"kernel": "/k", "pci": ["nic0"], "type": "auto"}, "domu", "iommu=soft xendd.hostname=own"),
        ({"kernel": "/k", "cmdline": "quiet"}, "domu", "xendd.hostname=own quiet"),
        ({"options": {"bootloader": "pygrub"}}, "domu", "xendd.hostname=own"),
        ({"kernel": "/k", "vifs": [{"address": "10.0.3.5/24"}]}, "domu", "xendd.hostname=own xendd.address=eth0,10.0.3.5/24"),
    ],
)
def test_a_linux_of_the_users_own_has_what_a_guest_needs(domain: dict[str, t.Any], role: str, cmdline: str) -> None:
    """The words are those of the first release: without the software IOTLB, a PV driver domain does not serve."""
    assert definitions({"name": "own", "image": "none", **domain}, role)["cmdline"] == f"{COMMON} {cmdline}"


def test_what_is_imported_is_booted_as_it_was() -> None:
    """Nothing is added but what was asked for."""
    assert definitions({"name": "own", "image": "foreign", "kernel": "/k", "cmdline": "quiet"}, "domu")["cmdline"] == "quiet"
    assert definitions({"name": "own", "image": "foreign", "options": {"bootloader": "pygrub"}}, "domu")["cmdline"] is None
    assert definitions({"name": "own", "image": "foreign", "kernel": "/k", "pci": ["nic0"]}, "driver_domain")["cmdline"] is None
    served = {"name": "own", "image": "foreign", "kernel": "/k", "vifs": [{"address": "10.0.3.5/24"}]}
    assert definitions(served, "domu")["cmdline"] == "xendd.address=eth0,10.0.3.5/24"
    driver = definitions({**NET, "image": "foreign", "kernel": "/k", "cmdline": "quiet"}, "driver_domain")
    assert driver["cmdline"] == "xendd.bridge=xenbr0,52:54:00:aa:00:02 xendd.address=xenbr0,10.0.3.9/24 quiet"
    assert "ready" not in driver and FILTERS["recovered_domains"]([{"name": "d", "image": "foreign"}]) == [{"name": "d"}]


@pytest.mark.parametrize("role", ["driver_domain", "domu"])
def test_the_role_takes_what_the_import_writes(role: str) -> None:
    text = (Path(__file__).parents[4] / f"roles/{role}/meta/argument_specs.yml").read_text()
    options = yaml.safe_load(text)["argument_specs"]["main"]["options"][f"{role}_domains"]["options"]
    image = adopt(read('name = "a"\nmemory = 64\nkernel = "/k"\n'), Devices()).domain["image"]
    assert image == FOREIGN and {OWN, FOREIGN} < set(options["image"]["choices"])
    assert {key: options[key]["default"] for key in ("type", "image")} == {key: DEFAULTS[role][key] for key in ("type", "image")}


def test_a_guest_that_is_called_like_a_shared_image_has_one_of_its_own() -> None:
    images = FILTERS["domain_images"]([{"name": "guest-debian", "authorized_keys": ["ssh-ed25519 A"]}, {"name": "b"}], "domu")
    assert [("authorized_keys" in image, image["name"]) for image in images] == [(True, "domain-guest-debian"), (False, "guest-debian")]


def test_absent_needs_nothing_but_the_name() -> None:
    assert FILTERS["domain_definitions"]([{**NET, "state": "absent"}], "driver_domain") == [{"name": "net-dd", "state": "absent"}]
    assert FILTERS["domain_images"]([{**NET, "state": "absent"}], "driver_domain", devices=DEVICES) == []


@pytest.mark.parametrize("state", ["running", "stopped", "present"])
def test_define_only_starts_and_stops_nothing(state: str) -> None:
    """Not even a domain with a state of its own; one that is to be removed would have to be stopped."""
    domains = [{"name": "a", "kernel": "/k"}, {"name": "b", "kernel": "/k", "state": state}, {"name": "c", "state": "absent"}]
    found = FILTERS["domain_definitions"](domains, "domu", define_only=True)
    assert [(domain["name"], domain["state"]) for domain in found] == [("a", "present"), ("b", "present")]


@pytest.mark.parametrize(
    ("state", "own", "expected"), [("stopped", None, "stopped"), ("stopped", "running", "running"), ("running", None, "running")]
)
def test_state_of_the_role_and_of_the_domain(state: str, own: str | None, expected: str) -> None:
    domain = {**NET, **({"state": own} if own else {})}
    assert definitions(domain, "driver_domain", state=state)["state"] == expected


@pytest.mark.parametrize(("port", "problem"), [("nic9", "not one of the devices"), ("disk0", "without a known MAC")])
def test_a_port_must_be_a_network_card(port: str, problem: str) -> None:
    with pytest.raises(AnsibleFilterError, match=problem):
        definitions({"name": "net-dd", "bridges": [{"name": "br", "ports": [port]}]}, "driver_domain")


@pytest.mark.parametrize(
    ("domain", "problem"),
    [
        ({"bridges": [{"name": "xen br0"}]}, "Domain net-dd, bridges: 'xen br0' is not a valid bridge"),
        ({"bridges": [{"name": "xenbr0,52:54:00:aa:00:01"}]}, "is not a valid bridge"),
        ({"bridges": [{"name": "a-name-that-is-long"}]}, "1 to 15 letters"),
        ({"bridges": [{"name": "br", "address": "10.0.3.9"}]}, "Domain net-dd, br: '10.0.3.9' has no prefix length"),
        ({"bridges": [{"name": "br", "address": "10.0.3.9/24 init=/bin/sh"}]}, "10.0.3.9/24 init=/bin/sh"),
        ({"vifs": [{"address": "10.0.3.9/24", "gateway": "10.0.3.2/24"}]}, "Domain net-dd, eth0: '10.0.3.2/24'"),
        ({"bridges": [{"name": "br", "address": "fe80::1%x init=/bin/sh/64"}]}, "Domain net-dd, br: .* is not an address"),
        ({"bridges": [{"name": "br", "address": "10.0.3.9/24", "gateway": "fe80::1%eth0 xendd.backend=1"}]}, "is not an address"),
        ({"vifs": [{"address": "fe80::1%$(reboot)/64"}]}, "is not an address"),
        ({"vifs": [{"address": "dhcp", "gateway": "dhcp init=/bin/sh"}]}, "is not an address"),
        ({"vifs": [{"address": "dhcp", "gateway": "10.0.3.2"}]}, "eth0: there is a gateway '10.0.3.2' beside dhcp"),
        ({"vifs": [{"address": "dhcp\n"}]}, "is not an address"),
        ({"name": "a init=/bin/sh"}, "'a init=/bin/sh' is not a valid domain name"),
        ({"name": "a\tb"}, "is not a valid domain name"),
        ({"name": "a\n"}, "is not a valid domain name"),
        ({"name": "a;reboot"}, "is not a valid domain name"),
        ({"name": 'a"b'}, "is not a valid domain name"),
        ({"name": "../a"}, "is not a valid domain name"),
        ({"name": "\u00e4"}, "is not a valid domain name"),
        ({"bridges": [{"name": "br\u00a00"}]}, "is not a valid bridge"),
        ({"bridges": [{"name": "-br0"}]}, "is not a valid bridge"),
        ({"bridges": [{"name": "br0\n"}]}, "is not a valid bridge"),
        ({"bridges": [{"name": "../../x"}]}, "is not a valid bridge"),
        ({"cmdline": "quiet \0 init=/bin/sh"}, "cmdline: .* holds the character"),
        ({"cmdline": "quiet \x1b[2J"}, "cmdline: .* holds the character"),
    ],
)
def test_what_a_kernel_command_line_cannot_carry_is_refused(domain: dict[str, t.Any], problem: str) -> None:
    with pytest.raises(AnsibleFilterError, match=problem):
        definitions({"name": "net-dd", **domain}, "driver_domain")


@pytest.mark.parametrize("mac", ["52:54:00:aa:00:02 init=/bin/sh", "52:54:00:aa:00:02,52:54:00:aa:00:03", "52:54:00:aa:00:0\n", "eth0"])
def test_what_a_host_reports_as_a_mac_address_is_a_mac_address(mac: str) -> None:
    domain = {"name": "net-dd", "bridges": [{"name": "br0", "ports": ["uplink0"]}]}
    with pytest.raises(AnsibleFilterError, match="is not a valid MAC address"):
        FILTERS["domain_definitions"]([domain], "driver_domain", images=IMAGES, devices=[{"name": "uplink0", "mac": mac}])


def test_a_command_line_of_several_lines_is_one() -> None:
    """The kernel would take a line break for a blank, but xendd reads the first line only."""
    assert definitions({"name": "a", "kernel": "/k", "cmdline": " quiet\n  debug=1 \n"}, "domu")["cmdline"].endswith("=a quiet debug=1")


def test_an_address_by_dhcp_or_of_ipv6() -> None:
    bridges = [{"name": "br0", "address": "dhcp"}, {"name": "br1", "address": "2001:db8::2/64", "gateway": "2001:db8::1"}]
    words = definitions({"name": "net-dd", "bridges": bridges}, "driver_domain")["cmdline"].split()
    assert words[-3:] == ["xendd.address=br0,dhcp", "xendd.bridge=br1", "xendd.address=br1,2001:db8::2/64,2001:db8::1"]


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="'dom0' is not a role"):
        FILTERS["domain_images"]([], "dom0")


def test_a_driver_domain_with_disks_serves_disks_too() -> None:
    disks = [{"target": "/dev/vg/data", "vdev": "xvda"}]
    images = FILTERS["domain_images"]([{"name": "store", "disks": disks}], "driver_domain")
    assert [image["backends"] for image in images] == [["vif", "vbd"]]
    assert FILTERS["domain_images"]([{"name": "web1", "disks": disks}], "domu")[0]["backends"] == []


def test_backends_of_declared_and_of_running_domains() -> None:
    declared = [{"name": "a", "vifs": [{"backend": "net-dd"}, {"bridge": "xenbr0"}]}, {"name": "b"}]
    running = [{"name": "a", "vifs": [{"backend": "net-dd", "connected": True}, {"backend": "Domain-0"}]}, {"name": "b", "vifs": []}]
    backends = [["a", "net-dd"], ["a", "Domain-0"]]
    assert FILTERS["domain_backends"](declared) == FILTERS["domain_backends"](running) == backends


def test_the_recovery_service_knows_the_domains_that_should_run() -> None:
    own = {"key": "data/up", "value": "1"}
    domains = [NET, {"name": "b", "state": "stopped"}, {"name": "c", "kernel": "/k", "ready": own}, {"name": "d", "image": "none"}]
    recovered = FILTERS["recovered_domains"](domains)
    assert [domain["name"] for domain in recovered] == ["net-dd", "c", "d"]
    assert [domain.get("ready", {}).get("key") for domain in recovered] == ["data/driver-domain/status", "data/up", None]
    assert [domain["name"] for domain in FILTERS["recovered_domains"](domains, "stopped")] == []
    assert FILTERS["recovered_domains"]([{**NET, "wait_timeout": 90}])[0]["wait_timeout"] == 90
    assert "wait_timeout" not in recovered[0]


@pytest.mark.parametrize("names", ["net-dd", " other, net-dd", ["net-dd", "other"]])
def test_domains_by_name(names: t.Any) -> None:
    domains = [{"name": "dmz-dd"}, {"name": "net-dd", "wait_timeout": 900}, {"name": "net-dd2"}]
    assert FILTERS["chosen_domains"](domains, names) == [domains[1]]


def test_domains_that_the_host_has_the_definitions_of() -> None:
    domains = [{"name": "a", "wait_timeout": 900}, {"name": "b", "image": "none"}, {"name": "c", "state": "stopped"}]
    found = FILTERS["defined_domains"](domains, "restarted")
    ready = {"key": "data/driver-domain/status", "value": "ready", "error_key": "data/driver-domain/error"}
    assert found == [{"name": "a", "state": "restarted", "ready": ready, "wait_timeout": 900}, {"name": "b", "state": "restarted"}]
    assert FILTERS["defined_domains"](domains, "previous", "stopped") == []


def test_the_digest_is_that_of_what_the_module_installs(tmp_path: Path) -> None:
    recovered = FILTERS["recovered_domains"]([NET])
    places = Places(*(str(tmp_path / name) for name in ("recovery.pyz", "units", "recovery.json", "run", "metrics", "textfiles")))
    program, configuration, unit, link = (Path(path) for path in (places.program, places.configuration, places.unit, places.enabled))
    assert installed_digest(places) == ""
    program.write_bytes(pack())
    # The module fills in what is missing.
    full = [{"definition": None, "wait_timeout": 300.0, **domain, "ready": {**domain["ready"]}} for domain in recovered]
    configuration.write_text(configuration_text(configuration_of(full, 5)))
    link.parent.mkdir(parents=True)
    unit.write_text("")
    link.symlink_to(unit)
    assert installed_digest(places) == INCOMPLETE
    life = Turn(life_file(places.run))
    assert life.take()
    assert installed_digest(places) == FILTERS["recovery_digest"](recovered)
    # Whatever is missing, it has to be installed; and whatever is left, it has to be removed.
    for path in (program, configuration, unit, link):
        hidden = path.rename(tmp_path / "hidden")
        assert installed_digest(places) == INCOMPLETE
        hidden.rename(path)
    assert installed_digest(places) == FILTERS["recovery_digest"](recovered)
    # A node_exporter that was installed later is to find the metrics.
    Path(places.textfiles).mkdir()
    assert installed_digest(places) == INCOMPLETE
    Path(places.textfile).symlink_to(places.metrics)
    assert installed_digest(places) == FILTERS["recovery_digest"](recovered)
    life.pass_on()
    assert installed_digest(places) == INCOMPLETE
    assert FILTERS["recovery_digest"]([]) != FILTERS["recovery_digest"](recovered)


@pytest.mark.parametrize(
    ("domain", "role", "kind"),
    [
        ({"name": "a", "image": "minimal"}, "domu", "auto"),
        ({"name": "a", "image": "minimal", "type": "pv"}, "domu", "pv"),
        ({"name": "a", "image": "minimal", "type": "auto"}, "domu", "auto"),
        ({"name": "a", "kernel": "/k"}, "domu", "pv"),
        ({"name": "a", "kernel": "/k", "type": "auto"}, "domu", "pv"),
        ({"name": "a", "image": "none"}, "domu", "pv"),
        ({"name": "a", "image": "none", "type": "auto"}, "domu", "pv"),
        ({"name": "a", "image": "foreign", "type": "auto"}, "domu", "pv"),
        ({"name": "a", "image": "none", "type": None}, "domu", "pv"),
        ({"name": "a", "kernel": "/k", "type": "pvh"}, "domu", "pvh"),
        ({"name": "a", "image": "minimal", "pci": ["uplink0"]}, "domu", "pv"),
        ({"name": "a", "image": "minimal", "pci": ["uplink0"], "type": "auto"}, "domu", "pv"),
        ({"name": "a", "image": "minimal", "pci": ["uplink0"], "type": "hvm"}, "domu", "hvm"),
        ({"name": "a", "image": "minimal", "pci": []}, "domu", "auto"),
        (NET, "driver_domain", "pv"),
    ],
)
def test_only_guests_with_our_kernels_get_what_the_host_runs_best(domain: dict[str, t.Any], role: str, kind: str) -> None:
    images = {name: {"kernel": "/k", "ramdisk": "/r", "disk": ""} for name in ("guest-minimal", "domain-net-dd", "domain-a")}
    (definition,) = FILTERS["domain_definitions"]([domain], role, images=images, devices=DEVICES)
    assert definition["type"] == kind
    # A PV guest with a PCI device needs the software IOTLB.
    assert ("iommu=soft" in definition["cmdline"].split() if definition["cmdline"] else False) == bool(kind == "pv" and domain.get("pci"))


def test_an_hvm_driver_domain_has_no_more_than_it_needs() -> None:
    definition = definitions({**NET, "type": "hvm", "vifs": [{"bridge": "br0"}, {"model": "e1000"}]}, "driver_domain")
    assert definition["options"] == {"vga": "none", "nographic": True, "vnc": False}
    assert definition["vifs"] == [{"type": "vif", "bridge": "br0"}, {"model": "e1000"}]
    assert "iommu=soft" not in definition["cmdline"] and "console=hvc0" in definition["cmdline"]
    own = definitions({**NET, "type": "hvm", "options": {"vga": "stdvga", "acpi": True}}, "driver_domain")["options"]
    assert own == {"vga": "stdvga", "nographic": True, "vnc": False, "acpi": True}


def test_an_hvm_guest_with_a_disk_of_its_own_keeps_its_screen() -> None:
    (definition,) = FILTERS["domain_definitions"]([{"name": "w", "image": "none", "type": "hvm", "vifs": [{"bridge": "b"}]}], "domu")
    assert ("options" in definition, definition["vifs"]) == (False, [{"bridge": "b"}])


@pytest.mark.parametrize(("kind", "bzimage"), [("hvm", True), ("pvh", False), ("pv", False)])
def test_the_image_for_a_type(kind: str, bzimage: bool) -> None:
    (image,) = FILTERS["domain_images"]([{"name": "a", "image": "minimal", "type": kind}], "domu")
    assert (image["name"], image.get("bzimage", False)) == (f"guest-minimal{'-hvm' if bzimage else ''}", bzimage)
    (image,) = FILTERS["domain_images"]([{**NET, "type": kind}], "driver_domain")
    assert (image["name"], image.get("bzimage", False)) == ("domain-net-dd", bzimage)


def test_which_types_need_more_of_the_host() -> None:
    domains = [
        {"name": "a"},
        {"name": "b", "type": "pvh"},
        {"name": "c", "type": "hvm", "pci": ["uplink0"]},
        {"name": "d", "type": "pvh", "state": "absent"},
        {"name": "e", "type": "hvm", "options": {"hap": False}},
        {"name": "f", "type": "auto"},
    ]
    assert FILTERS["domain_types"](domains, "domu") == [["b", "pvh"], ["c", "hvm"]]
    with pytest.raises(AnsibleFilterError, match=r"net-dd: type is pvh.*cannot own PCI devices up to Xen 4.22"):
        FILTERS["domain_types"]([{**NET, "type": "pvh"}], "driver_domain")


def test_volume_groups() -> None:
    """One domain can have bridges and volume groups; what it needs of its image follows from both."""
    groups = [
        {"name": "vg0", "disks": ["xvdb"], "volumes": [{"name": "root", "size": "1GiB"}]},
        {"name": "vg1", "disks": ["serial:DD1", "serial:DD2"]},
    ]
    storage = {"name": "net-dd", "pci": ["disk0"], "bridges": [{"name": "xenbr0"}], "volume_groups": groups}
    definition = definitions(storage, "driver_domain")
    words = definition["cmdline"].split()
    assert {"xendd.volumes=vg0,xvdb", "xendd.volumes=vg1,serial:DD1,serial:DD2", "xendd.bridge=xenbr0"} <= set(words)
    assert "volume_groups" not in definition
    (image,) = FILTERS["domain_images"]([storage], "driver_domain", devices=DEVICES)
    assert (image["backends"], image["modules"]) == (["vif", "vbd", "volumes"], ["nvme"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"volume_groups": [{"name": "vg0", "disks": ["sda"]}]}, "'sda' does not say"),
        ({"kernel": "/k"}, "image of the collection"),
        # What is cut off would be disks of the group.
        (
            {"volume_groups": [{"name": "vg0", "disks": [f"serial:{number:060}" for number in range(40)]}]},
            "net-dd, the kernel command line has [0-9]{4} bytes.*only the first 2047",
        ),
    ],
)
def test_volume_groups_that_cannot_be(change: dict[str, t.Any], problem: str) -> None:
    with pytest.raises(AnsibleFilterError, match=problem):
        definitions({"name": "net-dd", "volume_groups": [{"name": "vg0", "disks": ["xvdb"]}], **change}, "driver_domain")
