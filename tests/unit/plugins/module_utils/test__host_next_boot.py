# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the next boot needs, and the running system does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.tests.unit.fakes.sysfs import FakeMachine, plain_server
from ansible_collections.xen.driver_domains.tests.unit.fakes.xen import FakeXen

CARD, FAR_CARD, DISK = "0000:00:04.0", "0000:03:00.0", "0000:00:1f.5"
NM = "etc/NetworkManager/system-connections"


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    """A second disk, and two cards that nobody uses now."""
    made = plain_server(tmp_path)
    made.pci(DISK, "8086:2926", "010601", driver="ahci")
    made.disk("sdb", "8:16", where="pci0000:00/0000:00:1f.5/ata2/block", partitions=["sdb1"])
    for link in ("by-uuid/2222", "by-label/data", "by-partuuid/abcd-01"):
        path = tmp_path / "dev/disk" / link
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to("../../sdb1")
    (tmp_path / "dev/sdb1").touch()
    return made


def guards(machine: FakeMachine) -> dict[str, list[str]]:
    """Return the guards of each device that is refused, apart from bridges."""
    xen = FakeXen(machine)
    devices = xen.host().devices()
    checked = xen.guards(devices)
    found = {str(device.bdf): [refusal.guard for refusal in checked.check(device)] for device in devices if not device.bridge}
    return {bdf: names for bdf, names in found.items() if names}


def write(machine: FakeMachine, name: str, text: str) -> None:
    path = machine.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("source", ["UUID=2222", 'UUID="2222"', "LABEL=data", "PARTUUID=abcd-01", "/dev/sdb1", "/dev/disk/by-uuid/2222"])
@pytest.mark.parametrize(
    ("rest", "guard"), [("/srv ext4 defaults 0 2", "mounted_disk"), ("/var ext4", "root_disk"), ("none swap sw", "root_disk")]
)
def test_fstab(machine: FakeMachine, source: str, rest: str, guard: str) -> None:
    write(machine, "etc/fstab", f"# comment\n{source} {rest}\n")
    assert guards(machine)[DISK] == [guard]


@pytest.mark.parametrize(
    "line",
    [
        "UUID=2222 /srv ext4 noauto 0 0",
        "UUID=2222 /srv ext4 rw,nofail 0 0",
        "UUID=2222 /srv ext4 x-systemd.automount,rw 0 0",
        "#UUID=2222 /srv ext4 rw 0 0",
        "tmpfs /tmp tmpfs rw 0 0",
        "/dev/sda1 / ext4 rw 0 1",
        # Mounted now, under a name that is not here.
        "UUID=4444 / ext4 rw 0 1",
        "UUID=4444 /a\\040b ext4 rw 0 1",
        "nas:/home /home nfs4 rw 0 0",
        "/etc /srv/etc none bind 0 0",
    ],
)
def test_lines_of_fstab_that_need_nothing_more(machine: FakeMachine, line: str) -> None:
    machine.ways[("", "203.0.113.9")] = "eth0"
    machine.mount("/a\\040b", "8:2")
    machine.mount("/home", "0:40", "nas:/home", "nfs4", "rw,addr=203.0.113.9")
    before = guards(machine)
    write(machine, "etc/fstab", f"{line}\n")
    # What is bound is on a disk that the host needs already.
    ignored = {"mounted_disk"} if "bind" in line else set()
    found = guards(machine)
    assert {bdf: set(names) - ignored for bdf, names in found.items()} == {bdf: set(names) - ignored for bdf, names in before.items()}


def test_a_device_of_fstab_that_is_not_there_may_be_anywhere(machine: FakeMachine) -> None:
    write(machine, "etc/fstab", "UUID=9999 /srv ext4 defaults 0 2\n")
    assert {DISK, CARD} <= {bdf for bdf, names in guards(machine).items() if "mounted_disk" in names}


def test_a_server_of_fstab(machine: FakeMachine) -> None:
    machine.ways[("", "203.0.113.9")] = "eth1"
    write(machine, "etc/fstab", "203.0.113.9:/home /home nfs4 rw,_netdev 0 0\n")
    found = guards(machine)
    assert (found[CARD], DISK in found) == (["mounted_disk"], False)


def test_a_log_on_another_disk(machine: FakeMachine) -> None:
    (machine.root / "dev/sda2").touch()
    write(machine, "etc/fstab", "/dev/sda2 /srv xfs rw,logdev=/dev/sdb1 0 0\n")
    assert guards(machine)[DISK] == ["mounted_disk"]


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("data /dev/sda2 /dev/sdb1 luks,keyfile-size=4096", True),
        ("data /dev/sda2 /dev/urandom swap", False),
        ("data /dev/sda2 none luks,header=/dev/sdb1", True),
        ("data /dev/sda2 none luks,header=/header:LABEL=data", True),
        ("data UUID=2222 none luks", True),
        ("data /dev/sdb1", True),
        ("data UUID=2222 none luks,noauto", False),
        ("root /dev/sda2 /dev/disk/by-label/data:/key luks", False),
        ("root /dev/sda2 /key:LABEL=data luks", True),
    ],
)
def test_crypttab(machine: FakeMachine, line: str, counts: bool) -> None:
    (machine.root / "dev/sda2").touch()
    write(machine, "etc/crypttab", f"{line}\n")
    assert (DISK in guards(machine)) is counts


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("etc/crypttab", "data /dev/\0 none luks\n", "for the encrypted volume data (crypttab): /dev/\0: what it stands on is not known"),
        ("etc/crypttab", "data UUID=\0 none luks\n", "by-uuid/\0: what it stands on is not known"),
        ("etc/crypttab", "data /dev/sda2 /key:/dev/\0 luks\n", "its key: /dev/\0: what it stands on is not known"),
        ("etc/fstab", "/dev/a\0b /srv ext4 rw 0 2\n", "for /srv (fstab): /dev/a\0b: what it stands on is not known"),
        ("etc/fstab", "/dev/\\000 /srv ext4 rw 0 2\n", "for /srv (fstab): /dev/\0: what it stands on is not known"),
        ("etc/fstab", "a\0b /srv zfs rw 0 2\n", "for /srv (fstab): zfs a\0b: what it stands on is not known"),
        ("etc/network/interfaces", "auto a\0b\niface a\0b inet ppp\n", "management address: a\0b: what it stands on is not known"),
        # Which name nothing that is there; what is no disk of /dev counts no more than /dev/urandom.
        ("etc/crypttab", "data /dev/sda2 none luks,header=/dev/\0\n", ""),
        ("etc/network/interfaces", "source /etc/\0/*\nsource-directory \0\nsource \0\n", ""),
        ("etc/initramfs-tools/conf.d/ip", "IP=:::::a\0b:dhcp\n", "initramfs: a\0b: what it stands on is not known"),
        ("etc/systemd/network/a.network", "[Match]\nName=a\0b\n[Network]\nDHCP=yes\n", ""),
    ],
)
def test_what_files_name_cannot_be_a_path(machine: FakeMachine, name: str, text: str, named: str) -> None:
    """With a null character in it. Like everything else that is not known, it may be anywhere."""
    (machine.root / "dev/sda2").touch()
    before = guards(machine)
    write(machine, name, text)
    found = guards(machine)
    assert all(set(before[bdf]) <= set(found[bdf]) for bdf in before)
    assert (found != before) is bool(named)
    xen = FakeXen(machine)
    devices = xen.host().devices()
    reasons = [refusal.reason for device in devices for refusal in xen.guards(devices).check(device)]
    assert not named or [reason for reason in reasons if reason.endswith(named)], reasons


@pytest.mark.parametrize(
    ("files", "refused"),
    [
        ({"proc/cmdline": "quiet ip=192.0.2.5::192.0.2.1:255.255.255.0:host:eth1:off"}, {CARD}),
        ({"proc/cmdline": "quiet ip=:::::eth1:dhcp"}, {CARD}),
        ({"proc/cmdline": "quiet ip=eth1:dhcp"}, {CARD}),
        ({"proc/cmdline": "quiet ip=dhcp"}, {CARD, FAR_CARD}),
        ({"proc/cmdline": "quiet ip=off"}, set()),
        ({"etc/default/grub": 'GRUB_CMDLINE_LINUX="quiet ip=:::::eth1:dhcp"\n'}, {CARD}),
        ({"etc/default/grub": '#GRUB_CMDLINE_LINUX="ip=:::::eth1:dhcp"\n'}, set()),
        ({"etc/initramfs-tools/conf.d/ip": "IP=:::::eth1:dhcp\n"}, {CARD}),
        ({"etc/dropbear/initramfs/authorized_keys": "ssh-ed25519 AAAA\n"}, {CARD, FAR_CARD}),
        ({"etc/dropbear/initramfs/authorized_keys": "ssh-ed25519 AAAA\n", "etc/initramfs-tools/initramfs.conf": "DEVICE=eth1\n"}, {CARD}),
        ({"etc/initramfs-tools/initramfs.conf": "DEVICE=eth1\n"}, set()),
        ({"proc/cmdline": "quiet ip=:::::eth9:dhcp"}, {CARD, FAR_CARD}),
        ({"proc/cmdline": "quiet ip=[2001:db8::5]::[2001:db8::1]:64::eth1:none"}, {CARD}),
        ({"etc/tinyssh/root_authorized_keys": "ssh-ed25519 AAAA\n"}, {CARD, FAR_CARD}),
        ({"usr/share/initramfs-tools/hooks/clevis": "", "etc/crypttab": "root /dev/sda2 none luks\n"}, {CARD, FAR_CARD}),
        ({"usr/share/initramfs-tools/hooks/mandos": "", "etc/crypttab": "root /dev/sda2 none luks\n"}, {CARD, FAR_CARD}),
        ({"usr/share/initramfs-tools/hooks/clevis": ""}, set()),
    ],
)
def test_the_network_of_the_initramfs(machine: FakeMachine, files: dict[str, str], refused: set[str]) -> None:
    for name, text in files.items():
        write(machine, name, text)
    found = {bdf for bdf, names in guards(machine).items() if "management_route" in names}
    assert found - {"0000:00:03.0"} == refused


@pytest.mark.parametrize(
    ("files", "refused"),
    [
        ({"etc/network/interfaces": "auto eth1\niface eth1 inet static\n address 192.0.2.9/24\n gateway 192.0.2.1\n"}, {CARD}),
        ({"etc/network/interfaces": "allow-hotplug eth1\niface eth1 inet dhcp\n"}, {CARD}),
        ({"etc/network/interfaces.d/a": "auto eth1\niface eth1 inet static\n address 192.0.2.5/24\n"}, {CARD}),
        ({"etc/network/interfaces": "auto eth1\niface eth1 inet static\n address 10.0.0.1/24\n"}, set()),
        ({"etc/network/interfaces": "iface eth1 inet dhcp\n"}, set()),
        ({"etc/network/interfaces": "auto br0\niface br0 inet dhcp\n bridge_ports eth1 eth2\n"}, {CARD, FAR_CARD}),
        ({"etc/network/interfaces": "auto br0 eth1.5\niface br0 inet dhcp\n bridge-ports eth1.5\niface eth1.5 inet manual\n"}, {CARD}),
        ({"etc/network/interfaces": "auto bond0\niface bond0 inet dhcp\n bond-slaves eth1\n"}, {CARD}),
        ({"etc/network/interfaces": "auto br0\niface br0 inet dhcp\n bridge_ports all\n"}, {CARD, FAR_CARD}),
        ({"etc/network/interfaces": "auto br0\niface br0 inet dhcp\n bridge_ports regex eth[12] noregex\n"}, {CARD, FAR_CARD}),
        ({"etc/network/interfaces": "auto br0\niface br0 inet dhcp\n bridge_ports regex eth[1\n"}, {CARD, FAR_CARD}),
        ({"etc/network/interfaces": "auto br0\niface br0 inet dhcp\n bridge_ports none\n"}, set()),
        ({"etc/network/interfaces": "auto br0\niface br0 inet dhcp\n bridge_ports eth1.7\n"}, {CARD}),
        ({"etc/network/interfaces": "auto vlan7\niface vlan7 inet dhcp\n vlan-raw-device eth1\n"}, {CARD}),
        ({"etc/network/interfaces": "auto eth1:0\niface eth1:0 inet static\n address 192.0.2.5/24\n"}, {CARD}),
        ({"etc/network/interfaces": "auto /eth1\niface eth1 inet dhcp\n"}, {CARD}),
        ({"etc/network/interfaces": "auto /eth1=up\niface up inet dhcp\n"}, {CARD}),
        ({"etc/network/interfaces": "auto eth1=up\niface up inet dhcp\n"}, {CARD}),
        ({"etc/network/interfaces": "auto /eth*=up\niface up inet dhcp\n"}, set()),
        ({"etc/network/interfaces": "auto ppp0\niface ppp0 inet ppp\n provider isp\n"}, {CARD, FAR_CARD}),
        ({"etc/network/interfaces": "auto gre1\niface gre1 inet tunnel\n gateway 10.0.0.1\n"}, {CARD, FAR_CARD}),
        ({"etc/network/interfaces": "auto eth7\niface eth7 inet dhcp\n"}, set()),
        ({"etc/network/interfaces": "source more\n", "etc/network/more": "auto eth1\niface eth1 inet dhcp\nsource more\n"}, {CARD}),
        ({"etc/network/interfaces": "source-directory /etc/if\n", "etc/if/a": "auto eth1\niface eth1 inet dhcp\n"}, {CARD}),
        ({"etc/systemd/network/a.network": "[Match]\nName=eth1\n[Network]\nDHCP=yes\n"}, {CARD}),
        ({"usr/lib/systemd/network/a.network": "[Match]\nName=eth1\n[Network]\nDHCP=yes\n"}, {CARD}),
        (
            {
                "usr/lib/systemd/network/a.network": "[Match]\nName=eth1\n[Network]\nDHCP=yes\n",
                "etc/systemd/network/a.network": "[Match]\nName=eth1\n",
            },
            set(),
        ),
        (
            {
                "etc/systemd/network/a.network": "[Match]\nName=eth1\n",
                "run/systemd/network/a.network.d/b.conf": "[Network]\nDHCP=yes\n",
            },
            {CARD},
        ),
        ({"etc/systemd/network/a.network": "[Match]\nPath=pci-0000:00:04.0\n[Network]\nDHCP=yes\n"}, {CARD}),
        ({"etc/systemd/network/a.network": "[Match]\nDriver=e1000e\nName=eth1\n[Network]\nDHCP=yes\n"}, {CARD}),
        ({"etc/systemd/network/a.network": "[Match]\nName=eth1\n[Route]\nDestination=::/0\n"}, {CARD}),
        ({f"{NM}/a": "[connection]\ninterface-name=eth1\n[ipv4]\nmethod=auto\n"}, {CARD}),
        ({f"{NM}/a": "[connection]\ninterface-name=eth1\n[ipv4]\nmethod=manual\naddress1=10.0.0.2/24,10.0.0.1\n"}, {CARD}),
        ({f"{NM}/a": "[connection]\ninterface-name=eth1\n[ipv6]\nmethod=manual\naddress1=2001:DB8::5/64\n"}, {CARD}),
        ({f"{NM}/a": "[connection]\ninterface-name=eth1\n[ipv4]\nmethod=manual\naddress1=10.0.0.2/24\n"}, set()),
        ({f"{NM}/a": "[connection]\ninterface-name=eth1\nautoconnect=false\n[ipv4]\nmethod=auto\n"}, set()),
        ({f"{NM}/a": "[connection]\ninterface-name=eth1\n[ipv4]\nmethod=auto\nnever-default=true\n"}, set()),
        ({f"{NM}/a": "[ethernet]\nmac-address=52:54:00:AA:00:02\n[ipv4]\nmethod=auto\n"}, {CARD}),
        ({f"{NM}/a": "[connection]\ntype=vpn\ninterface-name=tun0\n[ipv4]\nmethod=auto\n"}, {CARD, FAR_CARD}),
        (
            {
                f"{NM}/a": "[connection]\ntype=bridge\ninterface-name=br0\n[ipv4]\nmethod=auto\n",
                f"{NM}/b": "[connection]\ninterface-name=eth1\nmaster=br0\nslave-type=bridge\n",
            },
            {CARD},
        ),
        ({f"{NM}/a": "[connection]\ninterface-name=v7\n[vlan]\nparent=eth1\n[ipv4]\nmethod=auto\n"}, {CARD}),
        ({"run/systemd/network/a.network": "[Match]\nName=eth1\n[Network]\nAddress=192.0.2.5/24\n"}, {CARD}),
        ({"etc/systemd/network/a.network": "[Match]\nMACAddress=52:54:00:AA:00:02\n[Network]\nGateway=192.0.2.1\n"}, {CARD}),
        ({"etc/systemd/network/a.network": "[Match]\nName=eth*\n[Network]\nDHCP=yes\n"}, set()),
        ({"etc/systemd/network/a.network": "[Match]\nName=eth1\n[Network]\nDHCP=no\nAddress=10.0.0.1/24\n"}, set()),
        (
            {
                "etc/systemd/network/a.network": "[Match]\nName=eth1\n[Network]\nBridge=br0\n",
                "etc/systemd/network/b.network": "[Match]\nName=br0\n[Network]\nDHCP=ipv4\n",
            },
            {CARD},
        ),
        (
            {
                "etc/systemd/network/a.network": "[Match]\nName=eth1\n[Network]\nVLAN=eth1.5\n",
                "etc/systemd/network/b.network": "[Match]\nName=eth1.5\n[Network]\nAddress=192.0.2.9/24\n[Route]\nGateway=192.0.2.1\n",
            },
            {CARD},
        ),
    ],
)
def test_the_network_of_the_next_boot(machine: FakeMachine, files: dict[str, str], refused: set[str]) -> None:
    machine.connection("2001:db8::5", "2001:db8::7")
    for name, text in files.items():
        write(machine, name, text)
    found = {bdf for bdf, names in guards(machine).items() if "default_route" in names}
    assert found - {"0000:00:03.0"} == refused


def test_what_the_host_needs_now_is_not_said_twice(machine: FakeMachine) -> None:
    before = guards(machine)
    write(machine, "etc/fstab", "/dev/sda1 / ext4 defaults 0 1\n")
    write(machine, "etc/systemd/network/a.network", "[Match]\nMACAddress=52:54:00:aa:00:01\n[Network]\nGateway=192.0.2.1\n")
    assert guards(machine) == before
