# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Device trees as files: blobs, live trees and source text."""

from __future__ import annotations

import os
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.analysis import Analysis
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dtb import (
    check_outputs,
    parse_dtb,
    read_device_tree,
    to_dtb,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.report import report
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.source import to_dts
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.tree import DeviceTree, Node
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.tests.unit.fakes.device_tree import board, build


def same(one: Node, other: Node) -> bool:
    children = sorted(one.children, key=lambda node: node.name), sorted(other.children, key=lambda node: node.name)
    return (
        one.name == other.name
        and one.properties == other.properties
        and len(children[0]) == len(children[1])
        and all(same(left, right) for left, right in zip(*children))
    )


def write_live(node: Node, path: Path) -> None:
    """Write a tree as the kernel exports it."""
    path.mkdir()
    (path / "name").write_bytes(node.name.encode() + b"\0")
    for name, value in node.properties.items():
        (path / name).write_bytes(value)
    for child in node.children:
        write_live(child, path / child.name)


def test_a_dtb_and_a_live_tree_say_the_same(tmp_path: Path) -> None:
    root = build(board())
    (tmp_path / "board.dtb").write_bytes(to_dtb(root))
    write_live(root, tmp_path / "live")
    for path in ("board.dtb", "live"):
        assert same(read_device_tree(str(tmp_path / path)).root, root)
    assert [node.path for node in read_device_tree(str(tmp_path / "board.dtb")).nodes] == [node.path for node in root.subtree()]


def test_source_text_holds_every_kind_of_value() -> None:
    text = to_dts(build({"a": "x", "b": ["x", 'y"'], "c": [1, 0xFF], "d": True, "e": b"\1\2\3", "node@1": {"reg": 1}}))
    lines = ['a = "x";', 'b = "x", "y\\"";', "c = <0x1 0xff>;", "d;", "e = [01 02 03];", "node@1 {", "\treg = <0x1>;", "};"]
    assert text == "/dts-v1/;\n\n/ {\n" + "".join(f"\t{line}\n" for line in lines) + "};\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"/dts-v1/;", "is not a device tree blob.*dtc -I dts"),
        (b"", "is not a device tree blob"),
        (b"\xd0\x0d\xfe\xed", "damaged"),
        (b"\xd0\x0d\xfe\xed" + b"\0" * 100, "damaged"),
    ],
)
def test_what_is_no_dtb(content: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse_dtb(content, "board.dtb")


def test_a_truncated_dtb_is_refused() -> None:
    data = to_dtb(build(board()))
    for length in range(4, len(data), 97):
        with pytest.raises(InvalidInput, match="damaged"):
            parse_dtb(data[:length], "board.dtb")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file"):
        read_device_tree(str(tmp_path / "none.dtb"))
    with pytest.raises(InvalidInput, match="is not a device tree"):
        read_device_tree(str(tmp_path))


def test_a_damaged_dtb_is_refused_or_read() -> None:
    """Whichever word of it is wrong: no other exception, and no crash."""
    data = to_dtb(build(board()))
    refused, refusals = 0, set()
    for at in range(4, len(data) - 3, 4):
        for word in (0, 1, 2, 9, 0x7FFFFFFF, 0xFFFFFFF0, 0xFFFFFFFF):
            try:
                root = parse_dtb(data[:at] + word.to_bytes(4, "big") + data[at + 4 :], "board.dtb")
                tree_of = Analysis(DeviceTree(root))
                assert all(report(tree_of)["devices"])
            except InvalidInput as exc:
                refused += 1
                refusals.add((exc.problem.partition(" damaged")[0], bool(exc.rule), bool(exc.remedy)))
    assert refused > 1000 and refusals == {("The device tree blob board.dtb is", True, True)}


def dtc(data: bytes, *options: str) -> bytes:
    """Compile source text, or a blob, with the device tree compiler, which uses libfdt."""
    return subprocess.run(["dtc", "-q", *options, "-O", "dtb", "-"], input=data, stdout=subprocess.PIPE, check=True).stdout


def test_the_compiler_agrees() -> None:
    root = build({**board(), "a": {"b": {"empty": b"", "odd": b"12345"}}})
    assert same(parse_dtb(dtc(to_dts(root).encode(), "-I", "dts"), "x"), root)
    # As a boot loader leaves it: with room to grow.
    grown = dtc(to_dtb(root), "-I", "dtb", "-p", "4096")
    assert len(grown) > len(to_dtb(root)) + 4000 and same(parse_dtb(grown, "x"), root)


def test_a_tree_that_is_too_deep_is_refused() -> None:
    content: dict[str, t.Any] = {"compatible": "test"}
    for _unused in range(63):
        content = {"x": content}
    assert parse_dtb(to_dtb(build(content)), "x").children
    with pytest.raises(InvalidInput, match="below 64 others"):
        parse_dtb(to_dtb(build({"x": content})), "x")


def test_a_directory_that_is_no_tree_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless")
    with pytest.raises(InvalidInput, match="is not a device tree"):
        read_device_tree(str(tmp_path))


def test_outputs_have_places_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "a")
    check_outputs([str(tmp_path / "a"), str(tmp_path / "b")], str(tmp_path / "c"))
    for outputs in (["a", "link"], ["c"]):
        with pytest.raises(InvalidInput, match="would be written over"):
            check_outputs([str(tmp_path / name) for name in outputs], str(tmp_path / "c"))
