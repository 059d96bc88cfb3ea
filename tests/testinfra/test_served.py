# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check that guests are served by the driver domains that the inventory names: from dom0, inside the domains, and on the wire."""

from __future__ import annotations

import re
import typing as t

if t.TYPE_CHECKING:
    from testinfra.host import Host

    Site = dict[str, t.Any]
    Devices = dict[str, dict[str, t.Any]]
    Console = t.Callable[..., str]


def domids(host: Host) -> dict[str, int]:
    rows = [line.split() for line in host.check_output("timeout 30 xl list").splitlines()[1:]]
    return {row[0]: int(row[1]) for row in rows}


def vifs(site: Site) -> list[tuple[str, int, dict[str, t.Any]]]:
    found = [(guest["name"], index, vif) for guest in site["domu_domains"] for index, vif in enumerate(guest["vifs"])]
    assert found, "no guest has a vif: nothing would be tested"
    return found


def counters(names: list[str], site: Site, devices: Devices, console: Console) -> tuple[int, int]:
    """Return how many packets these devices have sent and received, in the driver domains that own them."""
    sent = received = 0
    for name in names:
        (backend,) = [domain["name"] for domain in site["driver_domain_domains"] if name in domain["pci"]]
        output = console(
            backend,
            f"for n in /sys/class/net/*; do if [ -e $n/device/vendor ] && grep -qi {devices[name]['mac']} $n/address; then "
            "cat $n/statistics/tx_packets $n/statistics/rx_packets; fi; done",
        )
        sent, received = sent + int(output.split()[0]), received + int(output.split()[1])
    return sent, received


def test_devices_are_bound_to_pciback(host: Host, devices: Devices) -> None:
    for name, device in devices.items():
        assert host.file(f"/sys/bus/pci/devices/{device['bdf']}/driver").linked_to.endswith("/pciback"), name


def test_driver_domains_run_their_backends(host: Host, site: Site, console: Console) -> None:
    for domain in site["driver_domain_domains"]:
        assert domain["name"] in domids(host)
        assert "devd" in console(domain["name"], "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")


def test_vifs_are_ports_of_the_bridges_inside_the_driver_domains(host: Host, site: Site, console: Console) -> None:
    numbers = domids(host)
    for guest, index, vif in vifs(site):
        assert f"vif{numbers[guest]}.{index}" in console(vif["backend"], f"ls /sys/class/net/{vif['bridge']}/brif").split()


def test_the_toolstack_names_the_driver_domain_as_backend(host: Host, site: Site) -> None:
    numbers = domids(host)
    for guest, index, vif in vifs(site):
        rows = [line.split() for line in host.check_output(f"timeout 30 xl network-list {guest}").splitlines()[1:]]
        (row,) = [row for row in rows if row[0] == str(index)]
        _index, backend, mac, _handle, state, *_rest = row
        assert (int(backend), mac.lower(), state) == (numbers[vif["backend"]], vif["mac"].lower(), "4")


def test_guests_reach_what_only_the_devices_reach_and_the_devices_count_it(site: Site, devices: Devices, console: Console) -> None:
    pings = site["verify_pings"]
    assert {ping["guest"] for ping in pings} == {guest["name"] for guest in site["domu_domains"]}
    for ping in pings:
        # The ports of a bond may take turns, and what is on its way then gets lost.
        bond = isinstance(ping["device"], list)
        names = ping["device"] if bond else [ping["device"]]
        sent, received = counters(names, site, devices, console)
        output = console(ping["guest"], f"ping -c 5 {ping['address']}")
        (answers,) = re.findall(r"5 packets transmitted, (\d) packets received", output)
        assert int(answers) >= (4 if bond else 5), output
        sent_then, received_then = counters(names, site, devices, console)
        assert sent_then - sent >= int(answers)
        assert received_then - received >= int(answers)


def test_dom0_takes_no_part(host: Host) -> None:
    assert host.check_output("ls -d /sys/class/net/*/bridge 2>/dev/null | wc -l") == "0"
    assert host.check_output("ls /sys/class/net | grep -c ^vif || true") == "0"
    management = host.check_output("ip -o route show default").split()[4]
    assert host.file(f"/sys/class/net/{management}/operstate").content_string.strip() == "up"


def test_domains_start_with_the_host(host: Host, site: Site) -> None:
    """By units, which start after those of their backends; xendomains starts none of them."""
    wants = "/etc/systemd/system/multi-user.target.wants"
    for domain in [*site["driver_domain_domains"], *site["domu_domains"]]:
        unit = f"xen-domain@{domain['name']}.service"
        assert host.file(f"{wants}/{unit}").linked_to == f"/etc/systemd/system/{unit}"
        after = host.check_output(f"systemctl show --property=After --value {unit}").split()
        assert {f"xen-domain@{vif['backend']}.service" for vif in domain.get("vifs", []) if vif.get("backend")} <= set(after)
    assert host.check_output("find /etc/xen -path '/etc/xen/auto/*'") == ""
    # A driver domain that is saved comes back without its device, and guests come back before their backends.
    assert host.check_output(". /etc/default/xendomains; echo save=$XENDOMAINS_SAVE") == "save="
