# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Boot options of the host, in a fake root directory with a fake update-grub."""

from __future__ import annotations

import os
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._dom0_boot import (
    GRUB_CONFIGURATION,
    GRUB_FILE,
    MODPROBE_FILE,
    MODULES_FILE,
    BootOptions,
    hidden_at_boot,
    hidden_by_others,
    plan_boot,
    reboot_reasons,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError, InvalidInput, NotOnThisHost, Refused
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.hidden_at_boot import (
    check_hidden,
    not_hidden,
    outdated_hides,
    too_late_drivers,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.tests.unit.fakes.sysfs import plain_server
from ansible_collections.xen.driver_domains.tests.unit.fakes.xen import FakeXen

OPTIONS = BootOptions(
    hypervisor=("dom0_mem=768M,max:768M", "dom0_max_vcpus=1"), hide=("0000:00:06.0", "0000:00:04.0"), load_after_pciback=("igb", "e1000e")
)
HIDE = "xen-pciback.hide=(0000:00:04.0)(0000:00:06.0)"
#: The check at boot comes with a list of hidden devices.
CHECK = [
    "write /usr/local/lib/xen-driver-domains-check.pyz",
    "write /etc/systemd/system/xen-driver-domains-check.service",
    "enable xen-driver-domains-check.service",
]
OTHER_BOOT = "menuentry 'Debian' $menuentry_id_option 'gnulinux-simple-1' {\n linux /boot/vmlinuz-6 root=/dev/vda1 ro\n}\n"


def grub_configuration(hypervisor: str, kernel: str, default: str = "xen-gnulinux-simple-1") -> str:
    return (
        f'set default="{default}"\n{OTHER_BOOT}'
        "menuentry 'Xen' $menuentry_id_option 'xen-gnulinux-simple-1' {\n"
        f"\tmultiboot2\t/boot/xen-4.20.gz placeholder {hypervisor} ${{xen_rm_opts}}\n"
        f"\tmodule2\t/boot/vmlinuz-6 placeholder root=UUID=1 ro {kernel}\n"
        "\tmodule2 --nounzip /boot/initrd.img-6\n}\n"
    )


class FakeGrub:
    """Stands for the runner; update-grub writes what it is set to."""

    def __init__(self, root: Path, result: str) -> None:
        self.root = root
        self.configuration = root / GRUB_CONFIGURATION.lstrip("/")
        self.initramfs = root / "boot/initrd.img-6"
        self.configuration.parent.mkdir(parents=True, exist_ok=True)
        self.configuration.write_text(OTHER_BOOT)
        self.initramfs.write_text("")
        os.utime(self.initramfs, (1, 1))
        self.result = result
        self.calls: list[list[str]] = []
        #: The options of ours that update-grub saw last.
        self.options = ""

    def run(self, argv: list[str], **_options: t.Any) -> None:
        self.calls.append(argv)
        if argv == ["update-grub"]:
            self.options = self._text(GRUB_FILE)
            self.configuration.write_text(self.result)
        elif argv[0] != "sync":
            self.initramfs.write_text(self._text(MODPROBE_FILE))

    def _text(self, path: str) -> str:
        file = self.root / path[1:]
        return file.read_text() if file.exists() else ""


@pytest.fixture
def grub(tmp_path: Path) -> FakeGrub:
    return FakeGrub(tmp_path, grub_configuration("dom0_mem=1024M dom0_mem=768M,max:768M dom0_max_vcpus=1", f"quiet {HIDE}"))


def run(options: BootOptions | None, grub: FakeGrub, root: Path) -> list[str]:
    plan = plan_boot(options, grub, str(root))
    plan.apply()
    return [action.description.replace(str(root), "") for action in plan.actions]


def test_options_are_written_once_and_undone(grub: FakeGrub, tmp_path: Path) -> None:
    assert run(OPTIONS, grub, tmp_path) == [*CHECK, f"write {GRUB_FILE}", f"write {MODPROBE_FILE}", "update-initramfs -u", "update-grub"]
    assert (tmp_path / MODPROBE_FILE[1:]).read_text().splitlines()[1:] == [
        "softdep e1000e pre: xen-pciback",
        "softdep igb pre: xen-pciback",
    ]
    assert (tmp_path / GRUB_FILE[1:]).read_text().splitlines()[1:] == [
        'GRUB_DEFAULT="xen-gnulinux-simple-${GRUB_DEVICE_UUID}"',
        'GRUB_CMDLINE_XEN_DEFAULT="${GRUB_CMDLINE_XEN_DEFAULT} dom0_mem=768M,max:768M dom0_max_vcpus=1"',
        f'GRUB_CMDLINE_LINUX_XEN_REPLACE_DEFAULT="${{GRUB_CMDLINE_LINUX_XEN_REPLACE_DEFAULT:-${{GRUB_CMDLINE_LINUX_DEFAULT}}}} {HIDE}"',
    ]
    grub.calls.clear()
    assert run(OPTIONS, grub, tmp_path) == []
    assert grub.calls == []
    assert run(None, grub, tmp_path) == [
        "disable xen-driver-domains-check.service",
        "remove /etc/systemd/system/xen-driver-domains-check.service",
        "remove /usr/local/lib/xen-driver-domains-check.pyz",
        f"empty {GRUB_FILE}",
        f"empty {MODPROBE_FILE}",
        "update-initramfs -u",
        "update-grub",
        f"remove {GRUB_FILE}",
        f"remove {MODPROBE_FILE}",
    ]
    assert run(None, grub, tmp_path) == []


def test_devices_without_drivers_need_somebody_to_load_pciback(grub: FakeGrub, tmp_path: Path) -> None:
    options = BootOptions(hypervisor=OPTIONS.hypervisor, hide=OPTIONS.hide)
    assert run(options, grub, tmp_path) == [*CHECK, f"write {GRUB_FILE}", f"write {MODULES_FILE}", "update-grub"]
    assert (tmp_path / MODULES_FILE[1:]).read_text().splitlines()[1:] == ["xen-pciback"]
    assert run(OPTIONS, grub, tmp_path) == [
        f"write {MODPROBE_FILE}",
        f"empty {MODULES_FILE}",
        "update-initramfs -u",
        f"remove {MODULES_FILE}",
    ]


@pytest.mark.parametrize("wanted", [OPTIONS, None], ids=["present", "absent"])
@pytest.mark.parametrize(
    "before", [OPTIONS, replace(OPTIONS, hide=("0000:00:09.0",)), None], ids=["was there", "another list", "was not there"]
)
def test_the_next_run_completes_one_that_was_interrupted_anywhere(
    tmp_path: Path, before: BootOptions | None, wanted: BootOptions | None
) -> None:
    for number in range(10):
        root = tmp_path / str(number)
        grub = FakeGrub(root, "")
        if before:
            grub.result = grub_configuration("dom0_mem=768M,max:768M dom0_max_vcpus=1", f"quiet {before.hide_option}")
            run(before, grub, root)
        grub.result = grub_configuration("dom0_mem=768M,max:768M dom0_max_vcpus=1", f"quiet {HIDE}")
        for action in plan_boot(wanted, t.cast(t.Any, grub), str(root)).actions[:number]:
            action.apply()
        run(wanted, grub, root)
        assert [(root / name[1:]).exists() for name in (GRUB_FILE, MODPROBE_FILE)] == [wanted is not None] * 2
        if wanted:
            assert (root / "boot/initrd.img-6").read_text() == (root / MODPROBE_FILE[1:]).read_text()
            assert HIDE in grub.configuration.read_text()
        else:
            assert ("softdep" in grub.initramfs.read_text(), "GRUB_" in grub.options) == (False, False)
        assert hidden_by_others(str(root)) == ((), [])
        assert run(wanted, grub, root) == []


OTHERS = "(0000:00:1f.3)(02:00.*)"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("etc/default/grub", f'GRUB_CMDLINE_LINUX="quiet xen-pciback.hide={OTHERS}"\n'),
        ("etc/default/grub.d/theirs.cfg", f"GRUB_CMDLINE_LINUX_XEN_REPLACE='xen_pciback.hide={OTHERS} quiet'\n"),
        ("etc/modprobe.d/theirs.conf", f"options xen-pciback passthrough=1 hide={OTHERS}\noptions other hide=(00:09.0)\n"),
    ],
)
def test_what_others_hide_stays_hidden(grub: FakeGrub, tmp_path: Path, path: str, text: str) -> None:
    theirs = tmp_path / path
    theirs.parent.mkdir(parents=True, exist_ok=True)
    theirs.write_text(text)
    found, warnings = hidden_by_others(str(tmp_path))
    assert (found, warnings) == (("0000:00:1f.3", "0000:02:00.*"), [])
    options = replace(OPTIONS, foreign_hides=found)
    assert options.hide_option == "xen-pciback.hide=(0000:00:04.0)(0000:00:06.0)(0000:00:1f.3)(0000:02:00.*)"
    grub.result = grub_configuration("dom0_mem=768M,max:768M dom0_max_vcpus=1", f"quiet {options.hide_option}")
    run(options, grub, tmp_path)
    # Our own list, which now holds theirs, is not taken for somebody else's.
    assert hidden_by_others(str(tmp_path)) == (found, [])
    assert run(options, grub, tmp_path) == []
    assert theirs.read_text() == text


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("etc/default/grub", f'# GRUB_CMDLINE_LINUX="xen-pciback.hide={OTHERS}"\n'),
        ("etc/default/grub.d/theirs.cfg.bak", f'GRUB_CMDLINE_LINUX="xen-pciback.hide={OTHERS}"\n'),
        ("etc/modprobe.d/theirs.conf", f"# options xen-pciback hide={OTHERS}\n"),
        ("etc/modprobe.d/theirs.conf.bak", f"options xen-pciback hide={OTHERS}\n"),
    ],
)
def test_what_is_not_in_force_is_not_kept(tmp_path: Path, path: str, text: str) -> None:
    theirs = tmp_path / path
    theirs.parent.mkdir(parents=True, exist_ok=True)
    theirs.write_text(text)
    assert hidden_by_others(str(tmp_path)) == ((), [])


SSH = "(0000:00:03.0)"


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"etc/default/grub": f'GRUB_CMDLINE_LINUX="quiet" # xen-pciback.hide={SSH}\n'}, ()),
        ({"etc/default/grub": f"GRUB_CMDLINE_LINUX=xen-pciback.hide={SSH}\n".replace("(", "\\(").replace(")", "\\)")}, ("0000:00:03.0",)),
        (
            {
                "etc/default/grub": f'GRUB_CMDLINE_LINUX="xen-pciback.hide={SSH}"\n',
                "etc/default/grub.d/later.cfg": f'GRUB_CMDLINE_LINUX="xen-pciback.hide={OTHERS}"\n',
            },
            ("0000:00:1f.3", "0000:02:00.*"),
        ),
        ({"etc/default/grub": f'GRUB_CMDLINE_LINUX="xen-pciback.hide={SSH}"\nGRUB_CMDLINE_LINUX=\n'}, ()),
        ({"etc/default/grub": f'GRUB_CMDLINE_LINUX="xen-pciback.hide={SSH}"\nGRUB_CMDLINE_LINUX_XEN_REPLACE="quiet"\n'}, ()),
        ({"etc/default/grub": f'OTHER="xen-pciback.hide={SSH}"\n'}, ()),
        ({"etc/default/grub": f'OTHER="xen-pciback.hide={SSH}"\nGRUB_CMDLINE_LINUX_DEFAULT="quiet $OTHER"\n'}, ("0000:00:03.0",)),
        (
            {"etc/default/grub": f'GRUB_CMDLINE_LINUX="xen-pciback.hide={SSH}"\nGRUB_CMDLINE_LINUX_DEFAULT="xen_pciback.hide={OTHERS}"\n'},
            ("0000:00:1f.3", "0000:02:00.*"),
        ),
        ({"etc/default/grub": f"GRUB_CMDLINE_LINUX='\"xen-pciback.hide={SSH}\"'\n"}, ("0000:00:03.0",)),
        ({"etc/default/grub": f'echo hello\nGRUB_CMDLINE_LINUX="xen-pciback.hide={SSH}"\n'}, ("0000:00:03.0",)),
        (
            {
                "etc/default/grub": f'GRUB_CMDLINE_LINUX="xen-pciback.hide={OTHERS}"\n',
                "etc/modprobe.d/x.conf": f"options xen-pciback hide={SSH}\n",
            },
            ("0000:00:1f.3", "0000:02:00.*"),
        ),
        (
            {"etc/modprobe.d/x.conf": "# nothing\n", "usr/lib/modprobe.d/x.conf": f"options xen-pciback hide={SSH}\n"},
            (),
        ),
        ({"usr/lib/modprobe.d/x.conf": f'options xen_pciback \\\n hide="{SSH}"\n'}, ("0000:00:03.0",)),
    ],
)
def test_only_what_is_in_force_is_kept(tmp_path: Path, settings: dict[str, str], found: tuple[str, ...]) -> None:
    for name, text in settings.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert hidden_by_others(str(tmp_path)) == (found, [])


@pytest.mark.parametrize("last", ["exit 1", "exit 0", "if"])
def test_settings_that_cannot_be_read_keep_every_list(tmp_path: Path, last: str) -> None:
    theirs = tmp_path / "etc/default/grub"
    theirs.parent.mkdir(parents=True)
    theirs.write_text(f'GRUB_CMDLINE_LINUX="xen-pciback.hide={SSH}"\nGRUB_CMDLINE_LINUX="xen-pciback.hide={OTHERS}"\n{last}\n')
    found, warnings = hidden_by_others(str(tmp_path))
    assert found == ("0000:00:03.0", "0000:00:1f.3", "0000:02:00.*")
    assert "cannot be read as GRUB does" in warnings[0]


def test_a_list_of_others_that_the_kernel_cannot_read_is_warned_about(tmp_path: Path) -> None:
    theirs = tmp_path / "etc/default/grub"
    theirs.parent.mkdir(parents=True)
    theirs.write_text('GRUB_CMDLINE_LINUX="xen-pciback.hide=(0b::00.1)"\n')
    found, warnings = hidden_by_others(str(tmp_path))
    assert found == ()
    assert "(0b::00.1)" in warnings[0]


def test_too_many_devices_are_refused() -> None:
    with pytest.raises(InvalidInput, match="74 devices are too many"):
        BootOptions(hide=tuple(f"0000:{bus:02x}:00.0" for bus in range(74)))
    BootOptions(hide=tuple(f"0000:{bus:02x}:00.0" for bus in range(64)))


@pytest.mark.parametrize(("length", "refused"), [(700, False), (1000, True)])
def test_a_command_line_that_xen_would_cut_off_is_refused_before_anything_is_written(
    grub: FakeGrub, tmp_path: Path, length: int, refused: bool
) -> None:
    grub.configuration.write_text(grub_configuration("", "x" * length))
    if refused:
        with pytest.raises(InvalidInput, match="would have 1[01]\\d\\d characters.*1023"):
            run(OPTIONS, grub, tmp_path)
        assert not (tmp_path / GRUB_FILE[1:]).exists()
    else:
        run(OPTIONS, grub, tmp_path)


@pytest.fixture
def xen(tmp_path: Path) -> FakeXen:
    return FakeXen(plain_server(tmp_path))


class TestDevices:
    """What the host's devices say about the list."""

    @staticmethod
    def check(xen: FakeXen, *hide: str) -> Plan:
        devices, plan = xen.host().devices(), Plan()
        check_hidden(plan, BootOptions(hide=hide), devices, xen.host(), xen.guards(devices), "/nonexistent")
        return plan

    def test_guard_rails_hold_at_boot_too(self, xen: FakeXen) -> None:
        assert [refusal.guard for refusal in self.check(xen, "0000:00:03.0").refusals] == ["management_route", "default_route"]
        assert self.check(xen, "0000:00:04.0", "0000:03:00.0").refusals == []

    @pytest.mark.parametrize("item", ["0000:00:03.0", "0000:00:03.*", "0000:00:*.*"])
    def test_guard_rails_hold_for_what_others_hide(self, xen: FakeXen, item: str) -> None:
        devices, plan = xen.host().devices(), Plan()
        check_hidden(plan, BootOptions(foreign_hides=(item,)), devices, xen.host(), xen.guards(devices), "/nonexistent")
        found = {(refusal.guard, refusal.subject) for refusal in plan.refusals}
        assert {(guard, "0000:00:03.0, which the boot options of others hide") for guard in ("management_route", "default_route")} <= found

    def test_what_is_held_already_is_not_refused(self, xen: FakeXen) -> None:
        xen.machine.hold("0000:00:1c.0")
        assert self.check(xen, "0000:00:1c.0").refusals == []

    def test_an_address_without_a_device_would_hide_something_else_one_day(self, xen: FakeXen) -> None:
        with pytest.raises(InvalidInput, match="no PCI device at 0000:09:00.0"):
            self.check(xen, "0000:00:04.0", "0000:09:00.0")

    def test_devices_that_are_not_hidden(self, xen: FakeXen) -> None:
        xen.machine.hold("0000:00:04.0")
        options = BootOptions(hide=("0000:00:04.0", "0000:03:00.0"))
        assert [str(device.bdf) for device in not_hidden(options, xen.host().devices())] == ["0000:03:00.0"]

    def test_devices_that_came_to_the_addresses_of_others(self, tmp_path: Path) -> None:
        xen = FakeXen(plain_server(tmp_path))
        xen.apply("recorded", [{"name": "uplink1", "match": {"ifname": "eth2"}}])
        xen.reboot("0000:00:04.0", "0000:03:00.0", "0000:00:1d.0")
        devices = xen.host().devices()
        line = "quiet xen-pciback.hide=(0000:00:04.0)(0000:03:00.0)"
        nothing = BootOptions()
        # The one that was recorded is somebody's, the other one of the list is not, and the third one is not in the list.
        assert outdated_hides(nothing, line, devices) == [{"name": "stray0", "match": {"bdf": "0000:00:04.0"}}]
        assert outdated_hides(BootOptions(hide=("0000:00:04.0",)), line, devices) == []
        assert outdated_hides(BootOptions(foreign_hides=("0000:00:04.0",)), line, devices) == []
        assert outdated_hides(nothing, "quiet", devices) == []
        assert outdated_hides(nothing, "xen-pciback.hide=(0b::00.1)", devices) == []

    @pytest.mark.parametrize(
        ("driver", "pciback", "late"),
        [("loaded", "module", False), ("built in", "module", True), ("built in", "built in", False), ("loaded", "built in", False)],
    )
    def test_drivers_that_are_there_before_pciback(self, tmp_path: Path, driver: str, pciback: str, late: bool) -> None:
        xen = FakeXen(plain_server(tmp_path))
        modules = tmp_path / "modules"
        modules.mkdir()
        (modules / "modules.builtin").write_text("kernel/drivers/xen/xen-pciback/xen-pciback.ko\n" if pciback == "built in" else "")
        state = xen.machine.sys / "bus/pci/drivers/e1000e/module"
        state.mkdir()
        if driver == "loaded":
            (state / "initstate").write_text("live\n")
        card = next(device for device in xen.host().devices() if str(device.bdf) == "0000:00:04.0")
        assert (too_late_drivers([card], str(modules), xen.host()) == [card]) is late


def test_planning_writes_nothing(grub: FakeGrub, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    plan = plan_boot(OPTIONS, grub, str(tmp_path))
    assert [diff["before"] for diff in plan.diffs] == ["", "", ""]
    assert sorted(tmp_path.rglob("*")) == before
    assert grub.calls == []


def test_the_next_run_completes_one_that_was_interrupted_before_update_grub(grub: FakeGrub, tmp_path: Path) -> None:
    for action in plan_boot(OPTIONS, grub, str(tmp_path)).actions[:-1]:
        action.apply()
    assert run(OPTIONS, grub, tmp_path) == ["update-grub"]


@pytest.mark.parametrize(
    "result",
    [
        OTHER_BOOT,
        grub_configuration("dom0_mem=768M,max:768M dom0_max_vcpus=1", HIDE, default="gnulinux-simple-1"),
        grub_configuration("dom0_mem=768M,max:768M dom0_max_vcpus=1 dom0_mem=1G", HIDE),
        grub_configuration("dom0_mem=768M,max:768M dom0_max_vcpus=1", "quiet"),
        grub_configuration("dom0_mem=768M,max:768M dom0_max_vcpus=1", f"{HIDE} xen_pciback.hide=(0000:00:03.0)"),
    ],
    ids=["no Xen entry", "another default", "somebody else's option is last", "hide list missing", "somebody else's list is last"],
)
def test_a_configuration_without_the_options_is_an_error(result: str, tmp_path: Path) -> None:
    with pytest.raises(DriverDomainsError, match="does not boot Xen by default"):
        run(OPTIONS, FakeGrub(tmp_path, result), tmp_path)


def test_a_host_without_grub_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(NotOnThisHost, match="grub.cfg"):
        plan_boot(OPTIONS, t.cast(t.Any, None), str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        {"hypervisor": ("a b",)},
        {"kernel": ('x="1"',)},
        {"kernel": ("$(reboot)",)},
        {"hide": ("00:04.0",)},
        {"hide": ("0000:00:04.0)x",)},
        {"load_after_pciback": ("a b",)},
    ],
)
def test_bad_values_are_refused(options: dict[str, t.Any]) -> None:
    with pytest.raises(InvalidInput):
        BootOptions(**options)


@pytest.mark.parametrize(
    "option",
    [
        "xen-pciback.hide=(0000:00:03.0)",
        "xen_pciback.hide=(0000:00:03.0)",
        "xen-pciback.hide",
        "pciback.hide=(0000:00:03.0)",
        '"xen-pciback.hide=(0000:00:03.0)"',
        'xen-pciback.hide="(0000:00:03.0)"',
        "xen\\-pciback.hide=(0000:00:03.0)",
        "quiet xen-pciback.hide=(0000:00:03.0)",
        "xen-backend:pci.hide=(0000:00:03.0)",
        "pci-stub.ids=8086:100e",
        "pci_stub.ids=8086:100e",
        "vfio-pci.ids=8086:100e",
    ],
)
@pytest.mark.parametrize("where", ["kernel", "hypervisor"])
def test_free_text_does_not_get_past_the_guards(option: str, where: str) -> None:
    with pytest.raises(InvalidInput, match="into hide .*dom0_pci_assignable"):
        BootOptions(**t.cast(t.Any, {where: (option,)}))


@pytest.mark.parametrize("where", ["kernel", "hypervisor"])
def test_what_follows_two_dashes_is_for_others(where: str) -> None:
    with pytest.raises(InvalidInput, match="has '--'"):
        BootOptions(**t.cast(t.Any, {where: ("--", "quiet")}))


@pytest.mark.parametrize(
    ("option", "bad"),
    [
        ("dom0_mem=4M,max:4M", True),
        ("dom0_mem=4", True),
        ("dom0_mem=2048", True),
        ("dom0_mem=255M", True),
        ("dom0_mem=1G,max:8M", True),
        ("dom0_mem=131072K", True),
        ("mem=64M", True),
        ("dom0_mem=256M", False),
        ("dom0_mem=min:64M,max:2G,1G", False),
        ("dom0_mem=1048576", False),
        ("dom0_mem=-1G", False),
        ("dom0_mem=-5M,max:-5M", True),
        ("dom0_max_vcpus=0", True),
        ("dom0_max_vcpus=-1", True),
        ("dom0_max_vcpus=many", True),
        ("dom0_max_vcpus=4-2", True),
        ("dom0_max_vcpus=1", False),
        ("dom0_max_vcpus=2-4", False),
        ("dom0_max_vcpus=2-", False),
    ],
)
def test_values_that_no_host_boots_with(option: str, bad: bool) -> None:
    if bad:
        with pytest.raises(InvalidInput, match=r"MiB|number of processors"):
            BootOptions(hypervisor=(option,))
    else:
        BootOptions(hypervisor=(option,))


def test_memory_of_the_kernel_is_in_bytes() -> None:
    with pytest.raises(InvalidInput, match="MiB"):
        BootOptions(kernel=("mem=1048576",))


@pytest.mark.parametrize(
    ("secure", "shim", "xen", "refused"),
    [
        (1, None, False, True),
        (1, 1, False, False),
        (1, 0, False, True),
        (0, None, False, False),
        (1, None, True, False),
        (None, None, False, True),
    ],
    ids=["on", "shim does not validate", "shim validates", "off", "runs Xen already", "cannot be read"],
)
def test_secure_boot(grub: FakeGrub, tmp_path: Path, secure: int | None, shim: int | None, xen: bool, refused: bool) -> None:
    variables = tmp_path / "sys/firmware/efi/efivars"
    variables.mkdir(parents=True)
    for name, value in (
        ("SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", secure),
        ("MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23", shim),
    ):
        if value is not None:
            (variables / name).write_bytes(bytes([6, 0, 0, 0, value]))
    if xen:
        (tmp_path / "sys/hypervisor/version").mkdir(parents=True)
        for name, text in {"type": "xen", "version/major": "4", "version/minor": "20"}.items():
            (tmp_path / "sys/hypervisor" / name).write_text(text)
    if not refused:
        assert run(OPTIONS, grub, tmp_path)
        return
    with pytest.raises(Refused, match="Secure Boot"):
        run(OPTIONS, grub, tmp_path)
    assert not (tmp_path / GRUB_FILE[1:]).exists()
    assert plan_boot(None, grub, str(tmp_path)).refusals == []


@pytest.fixture
def xen_root(tmp_path: Path) -> str:
    (tmp_path / "sys/hypervisor/version").mkdir(parents=True)
    for name, text in {"type": "xen", "version/major": "4", "version/minor": "20"}.items():
        (tmp_path / "sys/hypervisor" / name).write_text(f"{text}\n")
    return str(tmp_path)


@pytest.mark.parametrize(
    ("line", "reasons"),
    [
        ("placeholder dom0_mem=768M,max:768M dom0_max_vcpus=1", []),
        ("dom0_mem=1G dom0_mem=768M,max:768M dom0_max_vcpus=1", []),
        ("dom0_mem=768M,max:768M dom0_mem=1G dom0_max_vcpus=1", ["Xen runs without dom0_mem=768M,max:768M"]),
        ("dom0_mem=768M,max:768M", ["Xen runs without dom0_max_vcpus=1"]),
    ],
)
def test_reboot_reasons(line: str, reasons: list[str], xen_root: str) -> None:
    assert reboot_reasons(OPTIONS, line, "quiet", xen_root) == reasons


@pytest.mark.parametrize(
    ("line", "reasons"),
    [
        ("console=tty0 quiet console=hvc0", []),
        ("console=tty0 console=hvc0 console=ttyS0", ["console=tty0", "console=hvc0"]),
        ("console=hvc0", ["console=tty0"]),
    ],
)
def test_an_option_that_is_requested_several_times(line: str, reasons: list[str], xen_root: str) -> None:
    options = BootOptions(kernel=("console=tty0", "console=hvc0"))
    assert reboot_reasons(options, "", line, xen_root) == [f"dom0's kernel runs without {option}" for option in reasons]


def test_a_host_without_xen_has_to_reboot(tmp_path: Path) -> None:
    assert reboot_reasons(BootOptions(), "", "", str(tmp_path)) == ["the host does not run under Xen yet"]


@pytest.mark.parametrize(("line", "hidden"), [(f"quiet {HIDE}", True), ("quiet xen-pciback.hide=(0000:00:04.0)", False), ("quiet", False)])
def test_hidden_at_boot(line: str, hidden: bool) -> None:
    assert hidden_at_boot(OPTIONS, line) is hidden
    assert hidden_at_boot(BootOptions(), line)
