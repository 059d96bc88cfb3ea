# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever files, the kernel, tools, guests and users say: an error of ours or a result, and never less protection than without it."""

from __future__ import annotations

import contextlib
import json
import tempfile
import typing as t
from pathlib import Path

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.analysis import Analysis
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.lint_xl_config import lint_xl_config
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.definition import definitions
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.devices import VIF, PvDevice, read_devices
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.disk import vdev_number
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.disks import Disks, open_disks
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.kept import (
    agrees,
    agrees_at_heart,
    returns_after_shutdown,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.kept import (
    settings as kept_settings,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.order import services
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.repairs import fault, repair
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.status import vif_status
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.vif_made import differences, made_settings
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.vif_options import vif_settings
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError
from ansible_collections.xen.driver_domains.plugins.module_utils._pci import hide_list
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.confirm_timer import ConfirmTimer
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.foreign_hides import hidden_by_others
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.records import Records
from ansible_collections.xen.driver_domains.plugins.module_utils._printable import printable_value
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner
from ansible_collections.xen.driver_domains.plugins.module_utils._secrets import hide_secrets, hide_secrets_in_text
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xl import has_interrupt_remapping
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.guards import owned_by_toolstack
from ansible_collections.xen.driver_domains.tests.unit.fakes.device_tree import board, tree
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import BLANK, FakeStore
from ansible_collections.xen.driver_domains.tests.unit.fakes.sysfs import FakeMachine, plain_server
from ansible_collections.xen.driver_domains.tests.unit.fakes.xen import FakeXen

#: How Hypothesis looks for what fails. What it finds it makes smaller, but does not explain.
_PHASES = (Phase.explicit, Phase.generate, Phase.shrink)
few = settings(max_examples=20, phases=_PHASES)
many = settings(max_examples=150, phases=_PHASES)

BYTES = st.binary(max_size=60)
TEXT = BYTES.map(lambda value: value.decode("utf-8", "surrogateescape"))


def soup(*words: str) -> st.SearchStrategy[bytes]:
    """Files made of words that mean something there, blanks, line breaks, comments and bytes that mean nothing."""
    known = st.sampled_from(
        [word.encode() for word in (*words, " ", "\t", "\n", "\\\n", "#", ";", '"', "'", "=", ",", ":", "/", "\x0b", "\u2028")]
    )
    return st.lists(known | known | known | st.binary(max_size=4), max_size=40).map(b"".join)


def soup_text(*words: str) -> st.SearchStrategy[str]:
    """The same, as it is read."""
    return soup(*words).map(lambda text: text.decode("utf-8", "surrogateescape"))


NAMES = (
    "eth1",
    "eth1.5",
    "br0",
    "wg0",
    "/dev/sda2",
    "/dev/sdb1",
    "UUID=2222",
    "/srv",
    "none",
    "192.0.2.5/24",
    "2001:db8::5",
    "52:54:00:aa:00:02",
)
FILES = {
    "etc/fstab": soup(
        *NAMES, "ext4", "nfs4", "nas:/x", "swap", "bind", "noauto", "nofail", "zfs", "\\040", "logdev=/dev/sdb1", "addr=203.0.113.9"
    ),
    "etc/crypttab": soup(*NAMES, "luks", "noauto", "header=/dev/sdb1", "/key:LABEL=x", "/dev/urandom"),
    "etc/network/interfaces": soup(
        *(
            *NAMES,
            "auto ",
            "iface ",
            "inet ",
            "dhcp",
            "static",
            "address ",
            "gateway ",
            "bridge_ports ",
            "regex ",
            "all",
            "[",
            "*",
            "(",
            "|",
        ),
        *("source interfaces", "source /etc/network/*", "source-directory /etc/network", "ppp"),
    ),
    "etc/systemd/network/a.network": soup(
        *NAMES, "[Match]\n", "[Network]\n", "Name=", "DHCP=yes", "Address=", "Bridge=br0", "[", "!", "*", "Path=", "Driver="
    ),
    "etc/NetworkManager/system-connections/a": soup(
        *NAMES, "[connection]\n", "[ipv4]\n", "interface-name=", "method=auto", "address1=", "master=", "[vlan]\n", "parent="
    ),
    "etc/default/grub": soup("GRUB_CMDLINE_LINUX=", "ip=", "eth1", "dhcp", "[", "]", ":", "off"),
    "etc/initramfs-tools/conf.d/a": soup(*NAMES, "IP=", "DEVICE=", "dhcp"),
    "proc/cmdline": soup("ip=", "eth1", "dhcp", "[", "]", ":", "quiet", "root=/dev/nfs", "xen-pciback.hide="),
}


def machine(root: Path) -> FakeMachine:
    made = plain_server(root)
    made.pci("0000:00:1f.5", "8086:2926", "010601", driver="ahci")
    made.disk("sdb", "8:16", where="pci0000:00/0000:00:1f.5/ata2/block", partitions=["sdb1"])
    made.ways[("", "203.0.113.9")] = "eth1"
    return made


def protected(made: FakeMachine, environment: dict[str, str] | None = None) -> set[tuple[str, str]]:
    """Return which devices are refused by which guards."""
    xen = FakeXen(made)
    xen.environment = environment or {}
    devices = xen.host().devices()
    guards = xen.guards(devices)
    return {(str(device.bdf), refusal.guard) for device in devices for refusal in guards.check(device)}


def test_files_of_the_next_boot_only_add_to_what_is_protected(tmp_path: Path) -> None:
    made = machine(tmp_path)
    before = protected(made)
    assert ("0000:00:03.0", "management_route") in before

    @many
    @given(st.sampled_from(sorted(FILES)).flatmap(lambda name: st.tuples(st.just(name), FILES[name] | BYTES)))
    def check(file: tuple[str, bytes]) -> None:
        path = tmp_path / file[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file[1])
        try:
            assert protected(made) >= before
        except DriverDomainsError:
            pass
        finally:
            path.unlink()

    check()


def kernel_name(name: bytes) -> bytes:
    """Return a name as the kernel prints it (fs/seq_file.c, mangle_path)."""
    return b"".join(b"\\%03o" % byte if bytes([byte]) in b" \t\n\\#" else bytes([byte]) for byte in name.replace(b"\0", b"")) or b"x"


@few
@given(
    st.lists(
        st.tuples(BYTES, st.sampled_from(["ext4", "nfs", "overlay", "btrfs", "zfs", "fuse.x", "tmpfs", "cifs"]), BYTES, BYTES), max_size=3
    )
)
def test_what_somebody_mounts_only_adds_to_what_is_protected(mounts: list[tuple[bytes, str, bytes, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        made = machine(Path(root))
        made.mount("/srv", "8:17")
        before = protected(made)
        lines = [
            b"99 1 0:99 / /%s rw shared:1 - %s %s rw,%s\n" % (kernel_name(point), kind.encode(), kernel_name(source), kernel_name(options))
            for point, kind, source, options in mounts
        ]
        path = made.proc / "self/mountinfo"
        path.write_bytes(b"".join(lines) + path.read_bytes())
        assert protected(made) >= before
        assert Disks(str(made.sys), str(made.proc))._mounts("8:17") == ["/srv"]


WORDS = st.sampled_from(["198.51.100.7", "192.0.2.5", "fe80::1%eth1", "50022", "22", "UNKNOWN", "65535", "\u00b2", "9" * 30, " ", ""])
VARIABLES = st.dictionaries(st.sampled_from(["SSH_CONNECTION", "SSH_CLIENT"]), st.lists(WORDS | TEXT, max_size=6).map(" ".join))


def test_what_the_environment_says_of_the_connection_only_adds(tmp_path: Path) -> None:
    made = machine(tmp_path)
    before = protected(made)

    @few
    @given(VARIABLES)
    def check(variables: dict[str, str]) -> None:
        assert protected(made, variables) >= before

    check()


#: Only words that do nothing when a shell reads them.
SETTINGS = soup(
    *('GRUB_CMDLINE_LINUX="', "GRUB_CMDLINE_LINUX_DEFAULT=", "GRUB_CMDLINE_LINUX_XEN_REPLACE=", "$GRUB_CMDLINE_LINUX", "xen-pciback.hide="),
    *("xen_pciback.hide=", "(0000:03:00.0)", "(03:00.*)", "exit", "false", "quiet", "options xen-pciback hide="),
).filter(lambda text: not set(text) & set(b"`|&<>;()$") - set(b"($)"))


@few
@given(SETTINGS, SETTINGS)
def test_what_others_hide_is_in_their_files(grub: bytes, modprobe: bytes) -> None:
    with tempfile.TemporaryDirectory() as root:
        for name, text in (("etc/default/grub", grub), ("etc/modprobe.d/a.conf", modprobe)):
            path = Path(root, name)
            path.parent.mkdir(parents=True)
            path.write_bytes(text)
        items, _warnings = hidden_by_others(root, "/etc/default/grub.d/ours.cfg", Runner(timeout=10))
        texts = (grub + modprobe).decode("utf-8", "replace")
        assert all("(0000:03:00.0)" in texts if item == "0000:03:00.0" else "(03:00.*)" in texts for item in items)


@many
@given(soup_text("xen-pciback.hide=", "(0000:03:00.0)", "(03:00.*)", "quiet", "--", "xen_pciback.hide"))
def test_lists_of_a_command_line(line: str) -> None:
    """Each list is a part of the line, quotes aside, and each device that it hides is in it."""
    for found in hide_list.lists_in(line):
        assert found in line.translate({ord(char): None for char in "\"'\\"})
        try:
            items = hide_list.parse(found)
        except DriverDomainsError:
            continue
        assert len(items) == found.count("(")


@many
@given(BYTES | soup("{", "}", '"devices"', '"0000:03:00.0"', '"name"', "[", "]", "null", "1"))
def test_records_and_the_state_of_the_timer(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as root:
        Path(root, "0000:03:00.0.json").write_bytes(content)
        for read in (Records(root).load, ConfirmTimer(t.cast(t.Any, None), f"{root}/0000:03:00.0.json").unconfirmed):
            with contextlib.suppress(DriverDomainsError):
                assert read() is not None


@few
@given(
    st.dictionaries(
        st.sampled_from(["class", "vendor", "irq", "modalias", "reset_method", "driver_override", "boot_vga", "config", "resource"]), BYTES
    )
)
def test_attributes_of_a_device_that_are_damaged(files: dict[str, bytes]) -> None:
    """The card that carries the connection is refused whatever else the host says about it."""
    with tempfile.TemporaryDirectory() as root:
        made = machine(Path(root))
        for name, content in files.items():
            (made.device("0000:00:03.0") / name).write_bytes(content)
        with contextlib.suppress(DriverDomainsError):
            assert ("0000:00:03.0", "management_route") in protected(made)


HOME, OWN = "/local/domain/7", "/libxl/7/device"
PATHS = st.sampled_from(
    [
        *(f"{OWN}/vif/0/{key}" for key in ("backend", "mac", "bridge", "script", "rate", "mtu", "trusted")),
        *(f"{OWN}/{kind}/1/backend" for kind in ("vbd", "9pfs", "x")),
        *(f"/local/domain/3/backend/vif/7/0/{key}" for key in ("state", "hotplug-status", "hotplug-error")),
        *(f"/local/domain/0/backend/vbd/7/51712/{key}" for key in ("params", "mode")),
        *(f"{HOME}/device/vif/0/{key}" for key in ("state", "mac", "backend")),
        *("/local/domain/3/backend/vif/x/y", "/local/domain/3/backend/x/7/1/z", f"{HOME}/data/driver-domain/error"),
    ]
)
VALUES = TEXT | st.sampled_from(
    ["/local/domain/3/backend/vif/7/0", "/local/domain/0/backend/vbd/7/51712", "00:16:3e:00:00:11", "4", "r", "w"]
)


def repair_text(device: PvDevice) -> str:
    try:
        again = repair(device, None, {3: "net-dd"}, "")
        return f"{again} {again.text} {again.backend}"
    except DriverDomainsError as exc:
        return str(exc)


@many
@given(st.dictionaries(PATHS, VALUES))
def test_values_of_xenstore(values: dict[str, str]) -> None:
    fake = FakeStore()
    fake.values = {**values, "/local/domain/0/name": "Domain-0", "/local/domain/3/name": "net-dd", f"{HOME}/name": "web1"}
    store: t.Any = fake
    found = [vif.as_dict() for vif in vif_status(store, 7)]
    devices = read_devices(store, [7])[7]
    result: dict[str, t.Any] = {"vifs": found, "faults": [fault(device, (0, 3, 7)) for device in devices]}
    result["repairs"] = [repair_text(device) for device in devices]
    made = [made_settings(device, None) for device in devices if device.kind == VIF]
    result["different"] = [differences({"bridge": "xenbr0", "rate": "1MB/s"}, settings) for settings in made]
    result["services"] = [tuple(service) for service in services(store, {0: "Domain-0", 3: "net-dd", 7: "web1"})]
    result["disks"] = [tuple(disk) for disk in open_disks(store, {7: "web1"})]
    printed = json.dumps(printable_value(result), ensure_ascii=False)
    printed.encode("utf-8")
    assert "\x1b" not in printed and all(service[0] in (0, 3) for service in result["services"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["nics", "disks", "pcidevs", "c_info", "b_info", "uuid", "on_poweroff", "mac"]), inner)
    ),
    max_leaves=8,
)


@many
@given(JSON, JSON)
def test_what_libxl_keeps(kept: t.Any, wanted: t.Any) -> None:
    actual = kept_settings(json.dumps(kept) + "\0")
    assert returns_after_shutdown(json.dumps(kept)) in ("", "restart", "rename-restart", "coredump-restart", "soft-reset")
    assert isinstance(agrees(wanted, actual), bool) if isinstance(wanted, dict) else True
    assert isinstance(agrees_at_heart(actual, actual), bool)


OPTION_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=5
)


@many
@given(
    st.fixed_dictionaries(
        {"name": st.just("web1") | st.text(max_size=10), "memory": st.just(256) | st.integers(), "kernel": st.just("/k") | st.text()},
        optional={
            "cmdline": st.text(),
            "options": st.dictionaries(st.sampled_from(["vnc", "vncpasswd", "p9", "vif", "uuid"]) | st.text(max_size=5), OPTION_VALUES),
            "vifs": st.lists(
                st.dictionaries(st.sampled_from(["mac", "bridge", "backend", "script", "ip"]), st.text(max_size=8)), max_size=2
            ),
            "disks": st.lists(
                st.fixed_dictionaries({"vdev": st.sampled_from(["xvda", "xvdb"]) | st.text(max_size=5), "target": st.text(max_size=8)}),
                max_size=2,
            ),
        },
    )
)
def test_definitions_are_refused_or_one_setting_a_line(parameters: dict[str, t.Any]) -> None:
    try:
        (found,) = definitions([{**BLANK, **parameters}], {})
    except DriverDomainsError:
        return
    comment, *lines = found.text.split("\n")
    assert comment.startswith("#") and lines.pop() == ""
    assert [line.split(" = ")[0] for line in lines].count("name") == 1
    for line in lines:
        # Outside of its quoted strings, a line holds nothing but a name, numbers and the signs of a list.
        outside, _quote, rest = line.partition('"')
        while rest:
            _inside, _quote, rest = rest.replace("\\\\", "").replace('\\"', "").partition('"')
            more, _quote, rest = rest.partition('"')
            outside += more
        assert set(outside.partition(" = ")[2]) <= set("-0123456789[], "), line


@many
@given(st.text(max_size=12), st.lists(st.dictionaries(st.sampled_from(["mac", "bridge", "backend"]), st.text(max_size=20)), max_size=3))
def test_vifs_and_vdevs(name: str, vifs: list[dict[str, str]]) -> None:
    assert vdev_number(name) is not None
    try:
        found = vif_settings("web1", vifs)
    except DriverDomainsError:
        return
    assert all(int(vif["mac"][:2], 16) % 2 == 0 for vif in found)
    assert all(vif.get("trusted") is False for vif in found if vif.get("backend") not in (None, "", "0", "Domain-0"))


@many
@given(
    st.text(st.sampled_from("passwdtokenkey=\"'\\ ,:/@a\n"), max_size=40),
    st.sampled_from(["vncpasswd={}", 'vncpasswd="{}"', "http://u:{}@h/", "x.token={}"]),
)
def test_secrets_among_other_text(around: str, form: str) -> None:
    text = f"{around}\n{form.format('GEHEIM')}\n{around}"
    assert "GEHEIM" not in hide_secrets_in_text(text)
    assert "GEHEIM" not in hide_secrets({"a": [text]})["a"][0]


@many
@given(soup_text("/", "local/domain/5", "device", "..", ".") | st.text())
def test_any_path_of_xenstore_is_guarded_or_not(path: str) -> None:
    assert isinstance(owned_by_toolstack(path), str)
    assert owned_by_toolstack(f"/libxl/{path}") and owned_by_toolstack(f"/local/domain/5/device/{path}")


@many
@given(soup_text("device_tree", "dtdev", "iomem", "irqs", "[", "]", "0,ffffffffffffffff", "0,0", "1,1@2", "/soc", "(", "-1"))
def test_definitions_of_others(text: str) -> None:
    """Their mistakes are found, or not; each in one of their lines."""
    for finding in lint_xl_config(text, "web1.cfg", Analysis(tree(board()))):
        assert 1 <= int(finding.place.split(":")[1]) <= text.count("\n") + 1


@many
@given(soup_text("(XEN) ", "Interrupt remapping ", "enabled", "disabled", "(d1) "))
def test_logs_of_xen(log: str) -> None:
    found = has_interrupt_remapping(log)
    assert found is None or "(XEN) Interrupt remapping " in log
    assert has_interrupt_remapping(f"(XEN) Interrupt remapping disabled\n{log}") is False
