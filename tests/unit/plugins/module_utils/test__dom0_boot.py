# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Boot options of the host, in a fake root directory with a fake update-grub."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._dom0_boot import (
    GRUB_CONFIGURATION,
    GRUB_FILE,
    MODPROBE_FILE,
    BootOptions,
    hidden_at_boot,
    plan_boot,
    reboot_reasons,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError, InvalidInput, NotOnThisHost

OPTIONS = BootOptions(
    hypervisor=("dom0_mem=768M,max:768M", "dom0_max_vcpus=1"), hide=("0000:00:06.0", "0000:00:04.0"), load_after_pciback=("igb", "e1000e")
)
HIDE = "xen-pciback.hide=(0000:00:04.0)(0000:00:06.0)"
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
    """Stands for the runner; update-grub writes what it is told to."""

    def __init__(self, root: Path, result: str) -> None:
        self.configuration = root / GRUB_CONFIGURATION.lstrip("/")
        self.configuration.parent.mkdir(parents=True, exist_ok=True)
        self.configuration.write_text(OTHER_BOOT)
        self.result = result
        self.calls: list[list[str]] = []

    def run(self, argv: list[str], **_options: t.Any) -> None:
        self.calls.append(argv)
        if argv == ["update-grub"]:
            self.configuration.write_text(self.result)


@pytest.fixture
def grub(tmp_path: Path) -> FakeGrub:
    return FakeGrub(tmp_path, grub_configuration("dom0_mem=1024M dom0_mem=768M,max:768M dom0_max_vcpus=1", f"quiet {HIDE}"))


def run(options: BootOptions | None, grub: FakeGrub, root: Path) -> list[str]:
    plan = plan_boot(options, grub, str(root))
    for action in plan.actions:
        action.apply()
    return [action.description.replace(str(root), "") for action in plan.actions]


def test_options_are_written_once_and_undone(grub: FakeGrub, tmp_path: Path) -> None:
    assert run(OPTIONS, grub, tmp_path) == [f"write {GRUB_FILE}", f"write {MODPROBE_FILE}", "update-initramfs -u", "update-grub"]
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
    assert run(None, grub, tmp_path) == [f"remove {GRUB_FILE}", f"remove {MODPROBE_FILE}", "update-initramfs -u", "update-grub"]
    assert run(None, grub, tmp_path) == []


def test_planning_writes_nothing(grub: FakeGrub, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    plan = plan_boot(OPTIONS, grub, str(tmp_path))
    assert [diff["before"] for diff in plan.diffs] == ["", ""]
    assert sorted(tmp_path.rglob("*")) == before
    assert grub.calls == []


def test_a_run_that_was_cut_off_before_update_grub_is_finished(grub: FakeGrub, tmp_path: Path) -> None:
    for action in plan_boot(OPTIONS, grub, str(tmp_path)).actions[:3]:
        action.apply()
    assert run(OPTIONS, grub, tmp_path) == ["update-grub"]


@pytest.mark.parametrize(
    "result",
    [
        OTHER_BOOT,
        grub_configuration("dom0_mem=768M,max:768M dom0_max_vcpus=1", HIDE, default="gnulinux-simple-1"),
        grub_configuration("dom0_mem=768M,max:768M dom0_max_vcpus=1 dom0_mem=1G", HIDE),
        grub_configuration("dom0_mem=768M,max:768M dom0_max_vcpus=1", "quiet"),
    ],
    ids=["no Xen entry", "another default", "somebody else's option is last", "hide list missing"],
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


@pytest.fixture
def xen_sysfs(tmp_path: Path) -> str:
    (tmp_path / "hypervisor/version").mkdir(parents=True)
    for name, text in {"type": "xen", "version/major": "4", "version/minor": "20"}.items():
        (tmp_path / "hypervisor" / name).write_text(f"{text}\n")
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
def test_reboot_reasons(line: str, reasons: list[str], xen_sysfs: str) -> None:
    assert reboot_reasons(OPTIONS, line, "quiet", xen_sysfs) == reasons


def test_a_host_without_xen_has_to_reboot(tmp_path: Path) -> None:
    assert reboot_reasons(BootOptions(), "", "", str(tmp_path)) == ["the host does not run under Xen yet"]


@pytest.mark.parametrize(("line", "hidden"), [(f"quiet {HIDE}", True), ("quiet xen-pciback.hide=(0000:00:04.0)", False), ("quiet", False)])
def test_hidden_at_boot(line: str, hidden: bool) -> None:
    assert hidden_at_boot(OPTIONS, line) is hidden
    assert hidden_at_boot(BootOptions(), line)
