# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.xen.driver_domains.plugins.modules import imagebuilder_config, uboot_script
from ansible_collections.xen.driver_domains.tests.unit.fakes import board as fake_board
from ansible_collections.xen.driver_domains.tests.unit.fakes.board import cells, domu, dtb, partial

RTC = {"passthrough_dtb": "rtc.dtb", "passthrough_paths": ["/pl031@9010000"]}


def run(module: t.Any, capsys: pytest.CaptureFixture[str], directory: Path, **changes: t.Any) -> dict[str, t.Any]:
    arguments = {
        "directory": str(directory),
        "memory_start": 0x40000000,
        "memory_end": "0xC0000000",
        "device_tree": "virt.dtb",
        "xen": "xen",
        "dom0": {"kernel": "Image", "ramdisk": "rd.cpio.gz", "memory": 512},
        **({"path": str(directory / "config")} if module is imagebuilder_config else {"source": "boot.source"}),
        **changes,
    }
    with patch_module_args(arguments), pytest.raises(SystemExit):
        module.main()
    return t.cast("dict[str, t.Any]", json.loads(capsys.readouterr().out))


@pytest.fixture(params=[uboot_script, imagebuilder_config], ids=["uboot_script", "imagebuilder_config"])
def module(request: pytest.FixtureRequest) -> t.Any:
    return request.param


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_check_write_and_repeat(module: t.Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = names(fake_board.files(tmp_path))
    domus = [domu("rtc-dd", **RTC)]
    predicted = run(module, capsys, tmp_path, domus=domus, _ansible_check_mode=True, _ansible_diff=True)
    assert predicted["changed"] is True
    assert "0x0040400000      4 MiB  dom0 kernel: Image" in predicted["diff"][0]["after"]
    assert predicted["domids"] == {"dom0": 0, "rtc-dd": 1}
    assert predicted["memory_left"] > 0
    assert [entry["what"] for entry in predicted["load_map"]][:3] == ["boot script", "dom0 kernel", "dom0 ramdisk"]
    assert names(tmp_path) == before

    done = run(module, capsys, tmp_path, domus=domus)
    assert done["changed"] is True
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.name not in before}
    assert len(written) == len(done["actions"])

    again = run(module, capsys, tmp_path, domus=domus, _ansible_diff=True)
    assert (again["changed"], again["actions"], again["diff"]) == (False, [], [])
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_a_changed_file_changes_the_script(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fake_board.files(tmp_path)
    run(uboot_script, capsys, tmp_path)
    (tmp_path / "Image").write_bytes(fake_board.kernel(5000))
    changed = run(uboot_script, capsys, tmp_path, _ansible_diff=True)
    assert changed["changed"] is True
    assert '"300000"' in changed["diff"][0]["before"] and '"1388"' in changed["diff"][0]["after"]


def test_a_device_that_accesses_memory(module: t.Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fake_board.files(tmp_path)
    nic = "/virtio_mmio@a000000"
    (tmp_path / "nic.dtb").write_bytes(dtb(partial(nic)))
    domus = [domu("net-dd", passthrough_dtb="nic.dtb", passthrough_paths=[nic])]
    before = names(tmp_path)
    refused = run(module, capsys, tmp_path, domus=domus)
    assert refused["failed"] is True
    assert refused["refusals"][0]["guard"] == "dma_without_iommu"
    assert "force: [dma_without_iommu]" in refused["msg"]
    assert names(tmp_path) == before
    assert "failed" not in run(module, capsys, tmp_path, domus=domus, force=["dma_without_iommu"])


#: What someone does who follows the well-known walk-through for the Raspberry Pi 4, step by step, and what is said of it.
MISTAKES: dict[str, tuple[dict[str, t.Any], str]] = {
    "a kernel that was never made": ({"kernel": "Image-domU"}, "dd: kernel: cannot read .*Image-domU.*Build it"),
    "a ramdisk under another name": ({"ramdisk": "domU-ramdisk.cpio"}, "There is domU-ramdisk.cpio.gz beside it: is that meant"),
    "a partial tree that was never made": (
        {"passthrough_dtb": "passthrough-example-part.dtb", "passthrough_paths": ["/pl031@9010000"]},
        "A partial device tree is made for each device that is given away",
    ),
    "no node marked": ({"passthrough_dtb": "rtc.dtb"}, "passthrough_dtb without passthrough_paths.*List the nodes"),
    "no memory for a whole distribution": ({"ramdisk": "big.cpio.gz", "memory": None}, "dd: 512 MiB of memory are not enough"),
    "a network card without 1:1 memory": (
        {"passthrough_dtb": "nic.dtb", "passthrough_paths": ["/virtio_mmio@a000000"]},
        "no IOMMU watches it.*static_memory with direct_map",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_mistakes_of_the_walk_through(module: t.Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, mistake: str) -> None:
    fake_board.files(tmp_path)
    (tmp_path / "domU-ramdisk.cpio.gz").write_bytes(fake_board.ramdisk())
    (tmp_path / "nic.dtb").write_bytes(dtb(partial("/virtio_mmio@a000000")))
    with (tmp_path / "big.cpio.gz").open("wb") as handle:
        handle.write(fake_board.ramdisk())
        handle.truncate(520 << 20)
    changes, message = MISTAKES[mistake]
    result = run(module, capsys, tmp_path, domus=[domu("dd", **changes)])
    assert result["failed"] is True
    assert re.search(message, result["msg"]), result["msg"]


def test_a_window_too_small_for_the_walk_through(module: t.Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fake_board.files(tmp_path)
    (tmp_path / "virt.dtb").write_bytes(dtb({**fake_board.VIRT, "memory@40000000": {"device_type": "memory", "reg": cells(0, 0, 1, 0)}}))
    for name in ("dom0", "domu"):
        with (tmp_path / f"{name}.cpio").open("wb") as handle:
            handle.write(fake_board.ramdisk(packed=False))
            handle.truncate(300 << 20)
    result = run(
        module,
        capsys,
        tmp_path,
        memory_start="0x0",
        memory_end="0x20000000",
        dom0={"kernel": "Image", "ramdisk": "dom0.cpio", "memory": 1024},
        domus=[domu("dd", ramdisk="domu.cpio", memory=1024)],
    )
    assert "MiB are missing" in result["msg"] and "Raise memory_end" in result["msg"]


def test_a_checkout_that_would_ignore_variables(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fake_board.files(tmp_path)
    checkout = tmp_path / "imagebuilder"
    domus = [domu("a", nr_spis=64)]
    assert "ImageBuilder 2023.2 ignores DOMU_NR_SPIS" in str(run(imagebuilder_config, capsys, tmp_path, domus=domus)["warnings"])
    result = run(imagebuilder_config, capsys, tmp_path, domus=domus, checkout=str(checkout))
    assert "There is no" in result["msg"]
    (checkout / "scripts").mkdir(parents=True)
    script = checkout / "scripts" / "uboot-script-gen"
    script.write_text("source config\n")
    assert "does not know DOMU_NR_SPIS" in run(imagebuilder_config, capsys, tmp_path, domus=domus, checkout=str(checkout))["msg"]
    script.write_text('test "${DOMU_NR_SPIS[$i]}"\n')
    assert run(imagebuilder_config, capsys, tmp_path, domus=domus, checkout=str(checkout))["variables"]["DOMU_NR_SPIS[0]"] == "64"
