# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The boot script and ImageBuilder's configuration, from the options of the modules to files."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._board.imagebuilder import plan_configuration
from ansible_collections.xen.driver_domains.plugins.module_utils._board.uboot_script import plan_script
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError, InvalidInput, Refused
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.tests.unit.fakes import board as fake_board
from ansible_collections.xen.driver_domains.tests.unit.fakes.board import cells, domu, dtb, partial

RTC = {"passthrough_dtb": "rtc.dtb", "passthrough_paths": ["/pl031@9010000"]}
Prepare = t.Callable[..., Plan]


def script(directory: Path, **changes: t.Any) -> Plan:
    """The plan of uboot_script."""
    return plan_script({"path": "boot.scr", "source": "boot.source", **fake_board.parameters(directory, **changes)})


def configuration(directory: Path, checkout: Path | None = None, **changes: t.Any) -> Plan:
    """The plan of imagebuilder_config."""
    own = {"path": str(directory / "config"), "checkout": checkout and str(checkout), "fit": None}
    own |= {"uboot_source": "boot.source", "uboot_script": "boot.scr"}
    return plan_configuration({**own, **fake_board.parameters(directory, **changes)})


@pytest.fixture(params=[script, configuration], ids=["uboot_script", "imagebuilder_config"])
def prepare(request: pytest.FixtureRequest) -> Prepare:
    return t.cast(Prepare, request.param)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_check_write_and_repeat(prepare: Prepare, tmp_path: Path) -> None:
    before = names(fake_board.files(tmp_path))
    domus = [domu("rtc-dd", **RTC)]
    plan = prepare(tmp_path, domus=domus)
    predicted = plan.apply(check_mode=True)
    assert predicted["changed"] is True
    assert "0x0040400000      4 MiB  dom0 kernel: Image" in plan.diffs[0]["after"]
    assert predicted["domids"] == {"dom0": 0, "rtc-dd": 1}
    assert predicted["memory_left"] > 0
    assert [entry["what"] for entry in predicted["load_map"]][:3] == ["boot script", "dom0 kernel", "dom0 ramdisk"]
    assert names(tmp_path) == before

    done = prepare(tmp_path, domus=domus).apply()
    assert done["changed"] is True
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.name not in before}
    assert len(written) == len(done["actions"])

    again = prepare(tmp_path, domus=domus)
    assert (again.apply()["changed"], again.done, again.diffs) == (False, [], [])
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_files_that_are_still_to_be_copied(prepare: Prepare, tmp_path: Path) -> None:
    """Check mode reads them where they are, and plans exactly what it plans once they are copied."""
    sources, board = tmp_path / "sources", tmp_path / "board"
    sources.mkdir()
    board.mkdir()
    pending = {name: str(sources / name) for name in names(fake_board.files(sources))}
    domus = [domu("rtc-dd", **RTC)]
    predicted = prepare(board, pending=pending, domus=domus)
    assert predicted.apply(check_mode=True)["changed"] and names(board) == []
    with pytest.raises(InvalidInput, match=f"cannot read {board}/"):
        prepare(board, domus=domus)

    fake_board.files(board)
    assert prepare(board, domus=domus).diffs == predicted.diffs
    # A file that is already there counts, not its source.
    (sources / "Image").unlink()
    assert prepare(board, pending=pending, domus=domus).diffs == predicted.diffs


def test_a_changed_file_changes_the_script(tmp_path: Path) -> None:
    fake_board.files(tmp_path)
    script(tmp_path).apply()
    (tmp_path / "Image").write_bytes(fake_board.kernel(5000))
    changed = script(tmp_path)
    assert changed.apply(check_mode=True)["changed"] is True
    assert '"300000"' in changed.diffs[0]["before"] and '"1388"' in changed.diffs[0]["after"]


def test_a_device_that_accesses_memory(prepare: Prepare, tmp_path: Path) -> None:
    fake_board.files(tmp_path)
    nic = "/virtio_mmio@a000000"
    (tmp_path / "nic.dtb").write_bytes(dtb(partial(nic)))
    domus = [domu("net-dd", passthrough_dtb="nic.dtb", passthrough_paths=[nic])]
    before = names(tmp_path)
    with pytest.raises(Refused, match=r"force: \[dma_without_iommu\]") as refused:
        prepare(tmp_path, domus=domus).apply()
    assert refused.value.details["refusals"][0]["guard"] == "dma_without_iommu"
    assert names(tmp_path) == before
    assert prepare(tmp_path, domus=domus).apply(["dma_without_iommu"])["changed"]


#: Mistakes of someone who follows the well-known walk-through for the Raspberry Pi 4 step by step, and the messages for them.
MISTAKES: dict[str, tuple[dict[str, t.Any], str]] = {
    "a kernel that was never made": ({"kernel": "Image-domU"}, "dd: kernel: cannot read .*Image-domU.*Build it"),
    "a ramdisk under another name": ({"ramdisk": "domU-ramdisk.cpio"}, "The directory has domU-ramdisk.cpio.gz: did you mean that"),
    "a partial tree that was never made": (
        {"passthrough_dtb": "passthrough-example-part.dtb", "passthrough_paths": ["/pl031@9010000"]},
        "Make the partial device tree with the module passthrough_device_tree",
    ),
    "no node marked": ({"passthrough_dtb": "rtc.dtb"}, "passthrough_dtb without passthrough_paths.*List the nodes"),
    "no memory for a whole distribution": ({"ramdisk": "big.cpio.gz", "memory": None}, "dd: 512 MiB of memory are not enough"),
    "a network card without 1:1 memory": (
        {"passthrough_dtb": "nic.dtb", "passthrough_paths": ["/virtio_mmio@a000000"]},
        "there is no IOMMU in front of it.*static_memory with direct_map",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_mistakes_of_the_walk_through(prepare: Prepare, tmp_path: Path, mistake: str) -> None:
    fake_board.files(tmp_path)
    (tmp_path / "domU-ramdisk.cpio.gz").write_bytes(fake_board.ramdisk())
    (tmp_path / "nic.dtb").write_bytes(dtb(partial("/virtio_mmio@a000000")))
    with (tmp_path / "big.cpio.gz").open("wb") as handle:
        handle.write(fake_board.ramdisk())
        handle.truncate(520 << 20)
    changes, message = MISTAKES[mistake]
    with pytest.raises(DriverDomainsError, match=message):
        prepare(tmp_path, domus=[domu("dd", **changes)]).apply()


def test_a_window_too_small_for_the_walk_through(prepare: Prepare, tmp_path: Path) -> None:
    fake_board.files(tmp_path)
    (tmp_path / "virt.dtb").write_bytes(dtb({**fake_board.VIRT, "memory@40000000": {"device_type": "memory", "reg": cells(0, 0, 1, 0)}}))
    for name in ("dom0", "domu"):
        with (tmp_path / f"{name}.cpio").open("wb") as handle:
            handle.write(fake_board.ramdisk(packed=False))
            handle.truncate(300 << 20)
    with pytest.raises(InvalidInput, match="MiB are missing.*Raise memory_end"):
        prepare(
            tmp_path,
            memory_start="0x0",
            memory_end="0x20000000",
            dom0={"kernel": "Image", "ramdisk": "dom0.cpio", "memory": 1024},
            domus=[domu("dd", ramdisk="domu.cpio", memory=1024)],
        )


def test_a_checkout_that_would_ignore_variables(tmp_path: Path) -> None:
    fake_board.files(tmp_path)
    checkout = tmp_path / "imagebuilder"
    domus = [domu("a", grant_frames=64)]
    assert configuration(tmp_path, domus=domus).warnings == [
        "ImageBuilder 2023.2 ignores DOMU_GRANT_FRAMES: use a newer one, and set checkout to it"
    ]
    with pytest.raises(InvalidInput, match="There is no"):
        configuration(tmp_path, checkout, domus=domus)
    (checkout / "scripts").mkdir(parents=True)
    generator = checkout / "scripts" / "uboot-script-gen"
    generator.write_text("source config\n")
    with pytest.raises(InvalidInput, match="does not know DOMU_GRANT_FRAMES"):
        configuration(tmp_path, checkout, domus=domus)
    generator.write_text('test "${DOMU_GRANT_FRAMES[$i]}"\n')
    assert configuration(tmp_path, checkout, domus=domus).results["variables"]["DOMU_GRANT_FRAMES[0]"] == "64"
