# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Overlays, applied as `fdt apply` does: by path, by label, and with references into both directions."""

from __future__ import annotations

import contextlib
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.overlay import apply_overlay
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.tree import DeviceTree
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.tests.unit.fakes.device_tree import build

BASE: dict[str, t.Any] = {
    "soc": {"phandle": 5, "uart": {"status": "disabled"}, "clk": {"phandle": 7}},
    "__symbols__": {"soc": "/soc", "clk": "/soc/clk"},
}


def applied(overlay: dict[str, t.Any]) -> DeviceTree:
    root = build(BASE)
    apply_overlay(root, build(overlay), "x.dtbo")
    return DeviceTree(root)


def test_by_path() -> None:
    content = {"uart": {"status": "okay"}, "codec@1000": {"reg": [0x1000]}}
    tree = applied({"fragment@0": {"target-path": "/soc", "__overlay__": content}})
    assert tree.by_path["/soc/uart"].available
    assert tree.by_path["/soc/codec@1000"].cells("reg") == [0x1000]
    assert "/soc/clk" in tree.by_path


def test_by_label_with_references() -> None:
    codec = {"phandle": 1, "clocks": [0xFFFFFFFF], "partner": [1]}
    tree = applied(
        {
            "fragment@0": {"target": [0xFFFFFFFF], "__overlay__": {"codec": codec}},
            "__fixups__": {"soc": "/fragment@0:target:0", "clk": "/fragment@0/__overlay__/codec:clocks:0"},
            "__local_fixups__": {"fragment@0": {"__overlay__": {"codec": {"partner": [0]}}}},
            "__symbols__": {"codec": "/fragment@0/__overlay__/codec"},
        }
    )
    node = tree.labels["codec"]
    assert (node.path, node.phandle, node.cells("clocks"), node.cells("partner")) == ("/soc/codec", 8, [7], [8])


@pytest.mark.parametrize("path", ["/bus@1000/dev@1", "/bus/dev", "/bus/dev@1", "bus0/dev", "dev0"])
def test_paths_as_libfdt_reads_them(path: str) -> None:
    """Names need no unit address, and an alias can be the beginning."""
    content = {"aliases": {"bus0": "/bus@1000", "dev0": "/bus/dev@1"}, "bus@1000": {"dev@1": {"status": "disabled"}}}
    base = build(content)
    apply_overlay(base, build({"fragment@0": {"target-path": path, "__overlay__": {"status": "okay"}}}), "x.dtbo")
    assert DeviceTree(base).by_path["/bus@1000/dev@1"].available
    with pytest.raises(InvalidInput, match="has no target"):
        apply_overlay(base, build({"fragment@0": {"target-path": f"none{path}", "__overlay__": {}}}), "x.dtbo")


def test_what_is_no_fragment_is_left_out() -> None:
    assert list(applied({"fragment@0": {}}).by_path) == ["/", *(path for path in DeviceTree(build(BASE)).by_path if path != "/")]


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"fragment@0": {"target-path": "/nowhere", "__overlay__": {}}}, "/fragment@0 has no target"),
        ({"fragment@0": {"target": [99], "__overlay__": {}}}, "/fragment@0 has no target"),
        ({"fragment@0": {"target": [9], "__overlay__": {}}, "__fixups__": {"gone": "/fragment@0:target:0"}}, "no label 'gone'.*option -@"),
    ],
)
def test_what_does_not_apply(overlay: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        applied(overlay)


_NAMES = st.sampled_from(["fragment@0", "__overlay__", "__fixups__", "__local_fixups__", "__symbols__", "a", "soc", "clk"])
_PROPERTIES = st.sampled_from(["target", "target-path", "phandle", "clocks", "soc", "clk"])
_VALUES = st.binary(max_size=9) | st.sampled_from([b"/soc\0", b"/fragment@0:target:0\0", b"/a:clocks:x\0", b"\xff" * 8])
_TREES = st.recursive(
    st.dictionaries(_PROPERTIES, _VALUES, max_size=3),
    lambda below: st.tuples(st.dictionaries(_PROPERTIES, _VALUES, max_size=3), st.dictionaries(_NAMES, below, max_size=3)).map(
        lambda parts: {**parts[0], **{f"{name}": node for name, node in parts[1].items() if name not in parts[0]}}
    ),
    max_leaves=6,
)


@given(_TREES)
def test_any_overlay_applies_or_is_refused(overlay: dict[str, t.Any]) -> None:
    with contextlib.suppress(InvalidInput):
        assert "/soc" in applied(overlay).by_path
