# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From kernel modules to the files of firmware that an image gets, and the packages they are in.

The directory `firmware` holds what Debian 13 says of ten families of network cards. `fields.txt` has the fields `firmware` (modinfo) of the
modules of Linux 6.12.117, a line for each: the driver, a module that it needs, and the files. `Contents-all` is the part of the archive's
index that has their directories.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.firmware import FIND_PROGRAM, SETUP_SCRIPT, firmware_script
from ansible_collections.xen.driver_domains.tests.unit.fakes.images import image

DATA = Path(__file__).parent / "firmware"
FIELDS = [line.split(" ") for line in (DATA / "fields.txt").read_text(encoding="utf-8").splitlines()]
CONTENTS = DATA / "Contents-all"
#: That of the machine that builds, whichever it is, and another one.
AWKS = (("awk",), ("busybox", "awk"))


def asked_by(driver: str) -> list[str]:
    return [file for name, _module, *files in FIELDS if name == driver for file in files]


def find(tmp_path: Path, awk: t.Sequence[str], asked: t.Sequence[str], contents: Path = CONTENTS) -> list[tuple[str, str]]:
    (tmp_path / "asked").write_text("".join(f"{name}\n" for name in asked), encoding="utf-8")
    command = [*awk, FIND_PROGRAM, str(tmp_path / "asked"), str(contents)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    return sorted((package, file) for package, _tab, file in (line.partition("\t") for line in done.stdout.splitlines()))


@pytest.mark.parametrize("awk", AWKS, ids=" ".join)
@pytest.mark.parametrize(
    ("driver", "asked", "package", "found", "sample"),
    [
        ("r8169", 23, "firmware-realtek", 23, "rtl_nic/rtl8168g-2.fw"),
        ("bnx2x", 6, "firmware-bnx2x", 6, "bnx2x/bnx2x-e2-7.13.21.0.fw"),
        ("tg3", 4, "firmware-misc-nonfree", 4, "tigon/tg357766.bin"),
        ("ice", 1, "firmware-intel-misc", 1, "intel/ice/ddp/ice.pkg"),
        ("iwlwifi", 70, "firmware-iwlwifi", 42, "iwlwifi-ty-a0-gf-a0-89.ucode"),
        ("ath10k_pci", 23, "firmware-atheros", 15, "ath10k/QCA6174/hw3.0/firmware-6.bin"),
        ("mt7921e", 8, "firmware-mediatek", 6, "mediatek/WIFI_RAM_CODE_MT7961_1.bin"),
        ("brcmfmac", 76, "firmware-brcm80211", 107, "brcm/brcmfmac4356-pcie.Intel Corporation-CHERRYVIEW D1 PLATFORM.txt"),
    ],
)
def test_families_that_have_firmware(
    tmp_path: Path, awk: t.Sequence[str], driver: str, asked: int, package: str, found: int, sample: str
) -> None:
    assert len(asked_by(driver)) == asked
    result = find(tmp_path, awk, asked_by(driver))
    assert {name for name, _file in result} == {package}
    assert len(result) == found and (package, sample) in result


@pytest.mark.parametrize("driver", ["i40e", "mlx5_core"])
def test_families_that_keep_their_firmware_themselves(driver: str) -> None:
    assert [name for name, *_rest in FIELDS].count(driver) == 1 and asked_by(driver) == []


@pytest.mark.parametrize("awk", AWKS, ids=" ".join)
def test_the_kernel_knows_newer_versions_than_the_archive(tmp_path: Path, awk: t.Sequence[str]) -> None:
    """One earlier version takes the place of each, and only then."""
    asked = asked_by("iwlwifi")
    earlier = [file for _package, file in find(tmp_path, awk, asked) if file not in asked]
    assert earlier == ["iwlwifi-gl-c0-fm-c0-92.ucode", "iwlwifi-so-a0-jf-b0-77.ucode"]
    assert {"iwlwifi-gl-c0-fm-c0-93.ucode", "iwlwifi-so-a0-jf-b0-89.ucode"} <= set(asked)


@pytest.mark.parametrize("awk", AWKS, ids=" ".join)
@pytest.mark.parametrize(
    ("asked", "line", "found"),
    [
        (["a/b.bin"], "usr/lib/firmware/a/b.bin  non-free-firmware/kernel/firmware-a", [("firmware-a", "a/b.bin")]),
        # Debian 12 has no usr, and what is compressed has the name of what is not.
        (["a/b.bin"], "lib/firmware/a/b.bin.xz\tnon-free-firmware/kernel/firmware-a", [("firmware-a", "a/b.bin")]),
        (["a/b.bin"], "lib/firmware/a/b.bin.zst\tkernel/firmware-a,kernel/firmware-b", [("firmware-a", "a/b.bin")]),
        (["a/b c.bin"], "lib/firmware/a/b c.bin kernel/firmware-a", [("firmware-a", "a/b c.bin")]),
        (["a/b?.b*"], "lib/firmware/a/bc.bin kernel/firmware-a", [("firmware-a", "a/bc.bin")]),
        (["a+(b)*"], "lib/firmware/a+(b)c kernel/firmware-a", [("firmware-a", "a+(b)c")]),
        (["a/b.*"], "lib/firmware/a/bxc kernel/firmware-a", []),
        (["a/b*"], "lib/firmware/x/a/b kernel/firmware-a", []),
        (["a/b.bin"], "usr/share/firmware/a/b.bin kernel/firmware-a", []),
        (["a/b.bin"], "usr/lib/firmware/a/b.bin misc/raspi-firmware", []),
        (["a-9.bin"], "lib/firmware/a-8.bin kernel/firmware-a", [("firmware-a", "a-8.bin")]),
        (["a-100.bin"], "lib/firmware/a-99.bin kernel/firmware-a", [("firmware-a", "a-99.bin")]),
        (["a-9.bin"], "lib/firmware/a-10.bin kernel/firmware-a", []),
        (["a-9.bin"], "lib/firmware/a-8.fw kernel/firmware-a", []),
        (["a-9.bin"], "lib/firmware/b-8.bin kernel/firmware-a", []),
        (["a-7.1.bin"], "lib/firmware/a-7.0.bin kernel/firmware-a", []),
    ],
)
def test_one_line_of_the_index(tmp_path: Path, awk: t.Sequence[str], asked: list[str], line: str, found: list[tuple[str, str]]) -> None:
    (tmp_path / "Contents").write_text(f"{line}\n", encoding="utf-8")
    assert find(tmp_path, awk, asked, tmp_path / "Contents") == found


# The script that a build runs

CHROOT = """
shift
case $1 in
modprobe) printf 'insmod /lib/modules/6.12/kernel/%s.ko.xz \\n' mdio needed driver; echo 'builtin other' ;;
modinfo) shift 3; for module in "$@"; do case $module in *driver*) cat "$FIELDS" ;; esac; done ;;
esac
"""
APT_GET = """
case "$*" in
indextargets*) [ ! -e "$INDEX" ] || echo "$INDEX" ;;
*download*) shift 2; for package in "$@"; do echo deb >"${package}_1_all.deb"; done ;;
esac
"""


class Build:
    """The directory of a new system, and stubs for the programs that look into it."""

    def __init__(self, path: Path) -> None:
        self.path, self.root, self.calls = path, path / "root", path / "calls"
        for directory in ("lib/modules/6.12/kernel", "var/cache/apt/archives", "etc/apt/apt.conf.d", "etc/initramfs-tools/hooks"):
            (self.root / directory).mkdir(parents=True)
        tree = path / "deb"
        (tree / "lib/firmware/a").mkdir(parents=True)
        (tree / "lib/firmware/a/b.bin").write_text("firmware")
        self.program("chroot", CHROOT)
        self.program("apt-get", APT_GET)
        self.program("dpkg-deb", f"tar --create --directory '{tree}' .")
        (path / "fields").write_text("a/b.bin\na/none.bin\n")
        (path / "apt.conf").touch()
        (path / "index").write_text("usr/lib/firmware/a/b.bin  non-free-firmware/kernel/firmware-a\n")

    def program(self, name: str, text: str) -> None:
        file = self.path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f'#!/bin/sh\nprintf "%s\\n" "${{0##*/}} $*" >>"$CALLS"\n{text}\n')
        file.chmod(0o755)

    def run(self, hook: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.path / 'bin'}:{os.environ['PATH']}",
            "CALLS": str(self.calls),
            "FIELDS": str(self.path / "fields"),
            "INDEX": str(self.path / "index"),
            "MMDEBSTRAP_HOOK": hook,
            "MMDEBSTRAP_APT_CONFIG": str(self.path / "apt.conf"),
        }
        for script in (SETUP_SCRIPT, firmware_script(["driver", "e1000e"])):
            done = subprocess.run(
                ["sh", "-c", script, "exec", str(self.root)], env=environment, capture_output=True, text=True, timeout=30, check=False
            )
        return done

    @property
    def left(self) -> list[str]:
        """All files below the directory."""
        return sorted(str(file.relative_to(self.root)) for file in self.root.rglob("*") if file.is_file())


@pytest.fixture(name="build")
def make_build(tmp_path: Path) -> Build:
    if not os.path.exists("/usr/lib/apt/apt-helper"):
        pytest.skip("images are built where apt is")
    return Build(tmp_path)


def test_a_ramdisk_gets_the_files(build: Build) -> None:
    done = build.run("extract")
    assert (done.returncode, done.stderr) == (0, "I: firmware for driver e1000e: firmware-a\n")
    assert build.left == [
        "etc/initramfs-tools/firmware",
        "etc/initramfs-tools/hooks/firmware",
        "lib/firmware/a/b.bin",
        "var/cache/apt/archives/firmware-a_1_all.deb",
    ]
    assert (build.root / "etc/initramfs-tools/firmware").read_text() == "a/b.bin\n"
    assert os.access(build.root / "etc/initramfs-tools/hooks/firmware", os.X_OK)
    assert f"chroot {build.root} modprobe --all --quiet --set-version 6.12 --show-depends driver e1000e" in build.calls.read_text()


def test_a_disk_gets_the_packages(build: Build) -> None:
    done = build.run("customize")
    assert (done.returncode, build.left) == (0, [])
    assert build.calls.read_text().splitlines()[-1] == f"apt-get --yes -o DPkg::Chroot-Directory={build.root} install firmware-a"


@pytest.mark.parametrize("fields", ["", "a/none.bin\n"])
@pytest.mark.parametrize("hook", ["extract", "customize"])
def test_devices_for_which_there_is_none(build: Build, hook: str, fields: str) -> None:
    (build.path / "fields").write_text(fields)
    assert (build.run(hook).returncode, build.left) == (0, [])
    assert "firmware-a" not in build.calls.read_text()


def test_a_mirror_without_the_component(build: Build) -> None:
    (build.path / "index").unlink()
    done = build.run("extract")
    assert done.returncode == 1 and done.stderr.startswith("E: no mirror of this image has non-free-firmware/Contents-all")


def test_the_files_get_into_the_initramfs(build: Build, tmp_path: Path) -> None:
    """The hook asks initramfs-tools for each file. The index may be of another version of the package than apt takes."""
    (build.path / "index").write_text("".join(f"lib/firmware/{name} kernel/firmware-a\n" for name in ("a/b.bin", "a/none.bin")))
    build.run("extract")
    hook = (build.root / "etc/initramfs-tools/hooks/firmware").read_text()
    functions = tmp_path / "functions"
    functions.write_text('add_firmware() { echo "$1"; [ "$1" = a/b.bin ]; }\n')
    hook = hook.replace("/usr/share/initramfs-tools/hook-functions", str(functions)).replace("/etc/", f"{build.root}/etc/")
    for shell in ("dash", "bash"):
        assert shutil.which(shell)
        done = subprocess.run([shell, "-c", hook], capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stdout) == (0, "a/b.bin\na/none.bin\n")
        assert done.stderr == "W: a/none.bin is not in its package\n"
        assert subprocess.run([shell, "-c", hook, "hook", "prereqs"], capture_output=True, text=True, timeout=30, check=True).stdout == ""


# The build


def test_only_who_asks_for_it_gets_it() -> None:
    plain = image().build_command("/x")
    command = image(nonfree_firmware=["e1000e", "bnx2x"]).build_command("/x")
    assert [word for word in plain if "firmware" in word] == []
    assert command[4] == "--components=main,non-free-firmware"
    hooks = [word for word in command if word.startswith(("--extract-hook=", "--setup-hook="))]
    assert hooks[1] == f"--setup-hook={SETUP_SCRIPT}"
    assert hooks[2] == f"--extract-hook={firmware_script(['bnx2x', 'e1000e'])}"
    assert hooks[3].startswith("--extract-hook=set -eu\nroot=$1\nout=$root/.guest-image\n")


@pytest.mark.parametrize(
    ("mirror", "used"),
    [
        ("deb http://a/debian trixie main", "deb http://a/debian trixie main non-free-firmware"),
        (
            "deb [trusted=yes] http://a/debian trixie main contrib",
            "deb [trusted=yes] http://a/debian trixie main contrib non-free-firmware",
        ),
        ("deb http://a/debian trixie main non-free-firmware", "deb http://a/debian trixie main non-free-firmware"),
        ("deb http://a/own ./", "deb http://a/own ./"),
        ("deb-src http://a/debian trixie main", "deb-src http://a/debian trixie main"),
        ("http://a/debian", "http://a/debian"),
    ],
)
def test_mirrors(mirror: str, used: str) -> None:
    assert image(mirror=[mirror], nonfree_firmware=["e1000e"]).build_command("/x")[-1] == used
    assert image(mirror=[mirror]).build_command("/x")[-1] == mirror
