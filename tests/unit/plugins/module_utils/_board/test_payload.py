# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gzip
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._board.payload import find_payload, under_xen
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dtb import to_dtb
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import CommandFailed, DriverDomainsError, NotOnThisHost
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Result, Runner
from ansible_collections.xen.driver_domains.tests.unit.fakes.device_tree import board, build

RELEASE = "6.12.1-arm64"
KERNEL = b"MZ\0\0code Linux version 6.12.1-arm64 (builder) more"


class FakeRunner(Runner):
    """Lists a ramdisk; None: the program is not installed, an exception: it fails."""

    def __init__(self, listing: str | Exception | None) -> None:
        super().__init__()
        self.listing = listing

    def run(self, argv: t.Sequence[str], **options: t.Any) -> Result:
        if self.listing is None:
            raise NotOnThisHost("not installed")
        if isinstance(self.listing, Exception):
            raise self.listing
        return Result(tuple(argv), 0, self.listing, "")


LISTING = "usr/lib/modules/6.12.1-arm64/kernel/x.ko\ninit\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("boot", "proc/device-tree", "sys/firmware"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / f"boot/vmlinuz-{RELEASE}").write_bytes(KERNEL)
    (tmp_path / f"boot/initrd.img-{RELEASE}").write_bytes(b"ramdisk")
    (tmp_path / "proc/device-tree/compatible").write_bytes(b"test,board\0")
    (tmp_path / "proc/device-tree/model").write_bytes(b"Test board\0")
    (tmp_path / "sys/firmware/fdt").write_bytes(to_dtb(build(board())))
    return tmp_path


def test_what_belongs_together(root: Path) -> None:
    found = find_payload(FakeRunner(LISTING), str(root), RELEASE)
    assert (found.release, found.model, found.compatible) == (RELEASE, "Test board", ["test,board"])
    assert found.ramdisk is not None
    for part, name in ((found.kernel, "vmlinuz"), (found.ramdisk, "initrd.img"), (found.device_tree, "fdt")):
        assert name in part.path and part.size and len(part.sha256) == 64 and part.checked


def test_packed_kernels(root: Path) -> None:
    kernel = root / f"boot/vmlinuz-{RELEASE}"
    kernel.write_bytes(gzip.compress(KERNEL))
    assert find_payload(FakeRunner(LISTING), str(root), RELEASE).kernel.checked
    kernel.write_bytes(b"MZ\0\0zimg")
    assert not find_payload(FakeRunner(LISTING), str(root), RELEASE).kernel.checked


def test_without_a_ramdisk_and_without_a_way_to_look_into_it(root: Path) -> None:
    found = find_payload(FakeRunner(None), str(root), RELEASE)
    assert found.ramdisk is not None and not found.ramdisk.checked
    (root / f"boot/initrd.img-{RELEASE}").unlink()
    assert find_payload(FakeRunner(None), str(root), RELEASE).ramdisk is None


@pytest.mark.parametrize(
    ("path", "content", "listing", "message"),
    [
        (f"boot/vmlinuz-{RELEASE}", None, LISTING, "no kernel 6.12.1-arm64 in /boot"),
        (f"boot/vmlinuz-{RELEASE}", b"Linux version 6.12.10-arm64 ", LISTING, "is not the running kernel 6.12.1-arm64"),
        (f"boot/vmlinuz-{RELEASE}", b"\x1f\x8bnonsense", LISTING, "is damaged"),
        ("boot/x", b"", "lib/modules/6.1.0/x.ko", "has modules of 6.1.0, not of the running kernel 6.12.1-arm64"),
        ("boot/x", b"", CommandFailed("rc 1"), "ramdisk .* is damaged"),
        ("sys/firmware/fdt", None, LISTING, "does not exist or is no device tree"),
        ("sys/firmware/fdt", b"nonsense", LISTING, "is no device tree"),
        ("sys/firmware/fdt", b"\xd0\x0d\xfe\xed", LISTING, "is not the device tree of test,board"),
        ("proc/device-tree/compatible", None, LISTING, "has no device tree"),
    ],
)
def test_what_does_not(root: Path, path: str, content: bytes | None, listing: t.Any, message: str) -> None:
    if content is None:
        (root / path).unlink()
    else:
        (root / path).write_bytes(content)
    with pytest.raises(DriverDomainsError, match=message):
        find_payload(FakeRunner(listing), str(root), RELEASE)


def test_what_xen_made_is_not_the_boards_own(root: Path) -> None:
    assert not under_xen(str(root))
    (root / "proc/device-tree/hypervisor").mkdir()
    (root / "proc/device-tree/hypervisor/compatible").write_bytes(b"xen,xen-4.20\0xen,xen\0")
    assert under_xen(str(root))
