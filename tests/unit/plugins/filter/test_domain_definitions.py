# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the inventory's model to the modules' parameters."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.xen.driver_domains.plugins.filter.domain_definitions import FilterModule
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.files import (
    configuration_of,
    configuration_text,
    installed_digest,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.program import pack

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
    assert definition["vifs"] == [{"backend": "net-dd", "bridge": "xenbr0"}]
    assert "root=/dev/xvda rw" in definition["cmdline"]
    assert "xendd.address=eth0,10.0.3.5/24,10.0.3.2" in definition["cmdline"]
    assert "boot=xendd" not in definition["cmdline"]


def test_a_kernel_of_the_users_own_needs_no_image() -> None:
    definition = definitions({"name": "own", "kernel": "/k", "ramdisk": "/r", "cmdline": "quiet"}, "domu")
    assert (definition["kernel"], definition["ramdisk"]) == ("/k", "/r")
    assert "ready" not in definition
    assert definition["cmdline"].endswith(" quiet")


def test_files_of_the_users_own_are_booted_as_the_user_says() -> None:
    """Nothing is added but what was asked for."""
    assert definitions({"name": "own", "image": "none", "kernel": "/k", "cmdline": "quiet"}, "domu")["cmdline"] == "quiet"
    assert definitions({"name": "own", "image": "none", "options": {"bootloader": "pygrub"}}, "domu")["cmdline"] is None
    served = {"name": "own", "image": "none", "kernel": "/k", "vifs": [{"address": "10.0.3.5/24"}]}
    assert definitions(served, "domu")["cmdline"] == "xendd.address=eth0,10.0.3.5/24"
    driver = definitions({**NET, "image": "none", "kernel": "/k", "cmdline": "quiet"}, "driver_domain")
    assert driver["cmdline"] == "xendd.bridge=xenbr0,52:54:00:aa:00:02 xendd.address=xenbr0,10.0.3.9/24 quiet"


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


def test_the_digest_is_that_of_what_the_module_installs(tmp_path: Path) -> None:
    recovered = FILTERS["recovered_domains"]([NET])
    program, configuration = tmp_path / "recovery.pyz", tmp_path / "recovery.json"
    assert installed_digest(str(program), str(configuration)) == ""
    program.write_bytes(pack())
    # The module fills in what is missing.
    full = [{"definition": None, **domain, "ready": {**domain["ready"]}} for domain in recovered]
    configuration.write_text(configuration_text(configuration_of(full, 5)))
    assert installed_digest(str(program), str(configuration)) == FILTERS["recovery_digest"](recovered)
    assert FILTERS["recovery_digest"]([]) != FILTERS["recovery_digest"](recovered)
