# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""passthrough_device_tree: the trees that it writes, and what it refuses."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.analysis import Analysis
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dtb import read_device_tree, to_dtb
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.lint_xen_partial import lint_partial
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.tree import DeviceTree, Node
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError, InvalidInput, Refused
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.modules import passthrough_device_tree
from ansible_collections.xen.driver_domains.tests.unit.fakes.device_tree import Tree, board, build, pi5, virt

ALL = tuple(passthrough_device_tree.XEN_GUARDS)
RATES = {"uartclk": 48000000}
VIRT, PI5 = "/pcie@10000000", "/axi/pcie@1000120000"
RP1 = f"{PI5}/pci@0,0/dev@0,0/pci-ep-bus@1"


class Host:
    """A directory with a board's tree and the path for the partial one."""

    def __init__(self, path: Path, content: Tree) -> None:
        self.tree, self.dest = path / "board.dtb", path / "out/guest.dtb"
        self.tree.write_bytes(to_dtb(build(content)))

    def plan(self, *devices: t.Any, force: t.Sequence[str] = ALL, **options: t.Any) -> Plan:
        entries = [
            {"clock_rates": {}, "mac": "", "leave_out": [], **({"node": device} if isinstance(device, str) else device)}
            for device in devices
        ]
        plan = passthrough_device_tree.prepare(
            {
                "device_tree": str(self.tree),
                "devices": entries,
                "dest": str(self.dest),
                "flavour": "dom0less",
                "direct_map": False,
                "memory": 512,
                "force": list(force),
                **options,
            }
        )
        plan.apply(force, check_mode=True)
        return plan

    def made(self, *devices: t.Any, **options: t.Any) -> DeviceTree:
        self.plan(*devices, **options).apply(ALL)
        assert not self.plan(*devices, **options).actions, "a second run has nothing to do"
        return read_device_tree(str(self.dest))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    nic = {
        "compatible": "test,nic",
        "reg": [0x7E580000, 0x10000, 0x7E201FF8, 0x10],
        "reg-names": ["mac", "glue"],
        "interrupts": [0, 157, 4, 0, 158, 1],
        "interrupt-names": ["rx", "tx"],
        "phy-handle": 50,
        "resets": [3, 1],
        "reset-names": "mac",
        "iommus": [60, 1],
        "status": "disabled",
        "local-mac-address": bytes(6),
        "phandle": 49,
        "mdio": {
            "#address-cells": 1,
            "#size-cells": 0,
            "phy@1": {"reg": 1, "phandle": 50},
            "phy@2": {"reg": 2, "status": "disabled"},
        },
    }
    smmu = {"compatible": "arm,smmu-v3", "reg": [0x7E600000, 0x1000], "#iommu-cells": 1, "phandle": 60}
    pcie = {
        "device_type": "pci",
        "#address-cells": 3,
        "#size-cells": 2,
        "reg": [0x7E610000, 0x1000],
        "ranges": [0] * 3 + [0x7E620000, 0, 0x1000],
    }
    low = {"reg": [0, 0x03001000, 0x1000]}
    high = {"reg": [2, 0x40000000, 0x100000]}
    i2c = {"#address-cells": 1, "#size-cells": 0, "reg": [0x7E630000, 0x20], "chip@50": {"reg": 0x50}}
    content = {
        **board(ethernet__7e580000=nic, smmu__7e600000=smmu, pcie__7e610000=pcie, i2c__7e630000=i2c),
        # Elsewhere than the two devices below.
        "memory@0": {"device_type": "memory", "reg": [8, 0, 0x40000000]},
        "low@3001000": low,
        "high@240000000": high,
    }
    content["aliases"]["ethernet0"] = "/soc/ethernet@7e580000"
    return Host(tmp_path, content)


def node(tree: DeviceTree, path: str) -> Node:
    return tree.by_path[path]


def test_a_device_for_a_dom0less_guest(host: Host) -> None:
    tree = host.made({"node": "serial0", "clock_rates": RATES})
    uart = node(tree, "/passthrough/serial@fe201000")
    gic = node(tree, "/gic")
    assert gic.phandle == 1 and "interrupt-controller" in gic.properties
    assert uart.cells("reg") == [0, 0xFE201000, 0, 0x200]
    assert uart.cells("xen,reg") == [0, 0xFE201000, 0, 0x1000, 0, 0xFE201000]
    assert uart.text("xen,path") == "/soc/serial@7e201000"
    assert "xen,force-assign-without-iommu" in uart.properties
    assert (uart.cells("interrupts"), uart.number("interrupt-parent")) == ([0, 121, 4], 1)
    rates = [tree.by_phandle[phandle].number("clock-frequency") for phandle in uart.cells("clocks")]
    assert rates == [48000000, 24000000]
    assert uart.strings("clock-names") == ["uartclk", "apb_pclk"]
    # The guest's own console is serial0, ttyAMA0.
    assert {name: node(tree, "/aliases").text(name) for name in node(tree, "/aliases").properties} == {"serial1": uart.path}
    assert max(tree.by_phandle) < 65000


def test_what_goes_along_is_marked(host: Host) -> None:
    plan = host.plan({"node": "serial0", "clock_rates": RATES})
    assert plan.results["passthrough_paths"] == ["/soc/serial@7e201000", "/soc/ethernet@7e580000", "/soc/serial@7e201400"]
    assert plan.results["imagebuilder"] == {
        "DOMU_PASSTHROUGH_DTB": "guest.dtb",
        "DOMU_PASSTHROUGH_PATHS": "/soc/serial@7e201000 /soc/ethernet@7e580000 /soc/serial@7e201400",
    }
    assert host.plan("test,rtc", direct_map=True).results["imagebuilder"]["DOMU_DIRECT_MAP"] == 1


def test_a_device_with_everything(host: Host) -> None:
    tree = host.made({"node": "ethernet0", "mac": "DC:A6:32:00:00:01"})
    nic = node(tree, "/passthrough/ethernet@fe580000")
    assert sorted(zip(nic.cells("xen,reg")[1::6], nic.cells("xen,reg")[3::6])) == [(0xFE201000, 0x2000), (0xFE580000, 0x10000)]
    assert nic.strings("reg-names") == ["mac", "glue"]
    assert nic.cells("interrupts") == [0, 157, 4, 0, 158, 1]
    assert nic.strings("interrupt-names") == ["rx", "tx"]
    assert nic.properties["local-mac-address"].hex() == "dca632000001"
    assert tree.by_phandle[nic.number("phy-handle")].path == "/passthrough/ethernet@fe580000/mdio/phy@1"
    assert node(tree, "/aliases").text("ethernet0") == nic.path
    assert [child.name for child in node(tree, nic.path + "/mdio").children] == ["phy@1"]
    absent = {"status", "resets", "reset-names", "iommus", "phandle", "xen,force-assign-without-iommu"}
    assert not absent & set(nic.properties)
    plan = host.plan("ethernet0")
    assert [(entry["kind"], entry["provider"]) for entry in plan.results["missing"]] == [("reset", "/soc/cprman@7e101000")]
    assert any("reset (resets: /soc/cprman@7e101000)" in warning for warning in plan.warnings)


def test_what_is_left_out(host: Host) -> None:
    tree = host.made({"node": "ethernet0", "leave_out": ["mdio/phy@1"]})
    nic = node(tree, "/passthrough/ethernet@fe580000")
    assert node(tree, nic.path + "/mdio").children == []
    assert "phy-handle" not in nic.properties, "it would refer to nothing"
    with pytest.raises(InvalidInput, match="no node '/soc/ethernet@7e580000/phy'"):
        host.plan({"node": "ethernet0", "leave_out": ["phy"]})


def test_no_page_is_mapped_twice(host: Host) -> None:
    tree = host.made({"node": "serial0", "clock_rates": RATES}, "/soc/serial@7e201400")
    assert node(tree, "/passthrough/serial@fe201000").cells("xen,reg")
    second = node(tree, "/passthrough/serial@fe201400")
    assert (second.properties["xen,reg"], second.text("xen,path")) == (b"", "/soc/serial@7e201400")


def test_the_xl_flavour(host: Host) -> None:
    tree = host.made("ethernet0", flavour="xl")
    nic = node(tree, "/passthrough/ethernet@fe580000")
    assert nic.number("interrupt-parent") == 65000
    assert not [name for part in tree.nodes for name in part.properties if name.startswith("xen,")]
    assert "/gic" not in tree.by_path
    plan = host.plan("ethernet0", flavour="xl")
    assert plan.results["xl_config"] == {
        "device_tree": str(host.dest),
        "dtdev": ["/soc/ethernet@7e580000"],
        "iomem": ["0xfe201,0x2", "0xfe580,0x10"],
        "irqs": [189, 190],
    }
    assert "imagebuilder" not in plan.results
    assert "dtdev" not in host.plan("test,rtc", flavour="xl").results["xl_config"], "without IOMMU xl refuses it"


@pytest.mark.parametrize(
    ("device", "options", "guard", "message"),
    [
        ({"node": "serial0", "clock_rates": RATES}, {}, "shared_page", "/soc/serial@7e201400: has registers in the pages"),
        ({"node": "serial0", "clock_rates": RATES}, {}, "shared_interrupt", "raises interrupt 153"),
        ("/soc/serial@7e215000", {}, "console", "is the console"),
        ("test,rtc", {}, "no_iommu", "no IOMMU"),
        ("/low@3001000", {}, "guest_layout", "0x3001000-0x3001fff is where the guest's interrupt controller is"),
        ("test,rtc", {"memory": 3100}, "guest_layout", "is where the guest's memory is"),
        ("/high@240000000", {"memory": 4097}, "guest_layout", "0x240000000-0x2400fffff is where the guest's memory is"),
    ],
)
def test_guards(host: Host, device: t.Any, options: dict[str, t.Any], guard: str, message: str) -> None:
    with pytest.raises(Refused, match=message) as caught:
        host.plan(device, force=[name for name in ALL if name != guard], **options)
    assert {refusal["guard"] for refusal in caught.value.details["refusals"]} == {guard}
    assert not host.dest.exists()


def test_memory_above_three_gibibytes_begins_at_eight(host: Host) -> None:
    """Addresses between the two banks and after the second one are free."""
    assert host.plan("/high@240000000", memory=4096, force=["no_iommu"]).actions
    with pytest.raises(Refused, match="guest_layout"):
        host.plan("/high@240000000", memory=8192, force=["no_iommu"])


def test_the_layout_is_the_boards_with_a_direct_map(host: Host) -> None:
    assert host.plan("/low@3001000", direct_map=True, force=["no_iommu"]).actions


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ([], "devices is empty"),
        (["wifi"], "no node 'wifi'"),
        (["serial0"], r"Clocks with unknown rates: clock 'uartclk' \(position 0\).*clock_rates"),
        ([{"node": "serial0", "clock_rates": {"uartclk": "fast"}}], "'fast' is not the rate"),
        ([{"node": "serial0", "clock_rates": {"uartclk": True}}], "True is not the rate"),
        ([{"node": "ethernet0", "mac": "dc:a6"}], "'dc:a6' is not a MAC address"),
        (["arm,gic-400"], "the interrupt controller of the board.*hypervisor drives"),
        (["/soc"], "/soc is not a PCI host bridge, but contains one.*Name /soc/pcie@7e610000"),
        ([{"node": "serial0", "clock_rates": {"uartclk": "\u00b2"}}], "is not the rate"),
        ([{"node": "serial0", "clock_rates": {"uartclk": 1 << 32}}], "is not the rate"),
        (["/osc"], "no registers or interrupts"),
        (["/soc/i2c@7e630000/chip@50"], "pass the controller of that bus through"),
        (["test,rtc", "/soc/rtc@7e300000"], "passed through twice"),
    ],
)
def test_bad_input(host: Host, devices: list[t.Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        host.plan(*devices)


def test_the_boards_tree_is_not_written_over(host: Host) -> None:
    with pytest.raises(InvalidInput, match="written over a file that it is made from"):
        host.plan("test,rtc", dest=str(host.tree))


def test_what_cannot_be_written(host: Host) -> None:
    with pytest.raises(DriverDomainsError, match="Cannot read .*Is a directory"):
        host.plan("test,rtc", dest=str(host.tree.parent))
    (action,) = host.plan("test,rtc", dest=str(host.tree / "x.dtb")).actions
    with pytest.raises(DriverDomainsError, match="Cannot write .*board.dtb"):
        action.apply()


def test_a_relative_destination(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(host.tree.parent)
    (action,) = host.plan("test,rtc", dest="here.dtb").actions
    action.apply()
    assert not host.plan("test,rtc", dest="here.dtb").actions


@pytest.mark.parametrize(
    ("chosen", "device"),
    [("/soc/wrapper/serial@7e400000", "/soc/wrapper"), ("/soc/wrapper/serial@7e400000", "/soc/beside"), ("/soc/wrapper", "/soc/wrapper")],
)
def test_the_console_below_a_device_or_beside_it(tmp_path: Path, chosen: str, device: str) -> None:
    serial = {"reg": [0x7E400000, 0x10]}
    wrapper = {"#address-cells": 1, "#size-cells": 1, "ranges": True, "reg": [0x7E401000, 4], "serial@7e400000": serial}
    content = {**board(wrapper=wrapper, beside={"reg": [0x7E400800, 4]}), "chosen": {"stdout-path": chosen}}
    with pytest.raises(Refused, match="is the console"):
        Host(tmp_path, content).plan(device, force=[name for name in ALL if name != "console"])


def test_a_file_that_is_no_device_tree_is_replaced(host: Host) -> None:
    host.dest.parent.mkdir()
    host.dest.write_text("nonsense")
    plan = host.plan("test,rtc")
    assert "is not a device tree blob" in plan.diffs[0]["before"]
    assert 'compatible = "test,rtc"' in plan.diffs[0]["after"]


def test_a_board_without_gic(tmp_path: Path) -> None:
    content = board()
    del content["interrupt-controller@ff841000"]
    with pytest.raises(InvalidInput, match="has no GIC"):
        Host(tmp_path, content).plan("test,rtc")


def test_an_empty_place_among_the_clocks_stays_empty(tmp_path: Path) -> None:
    content = board(dev={"reg": [0x7E400000, 4], "clocks": [2, 0, 2], "clock-names": ["a", "b", "c"]})
    clocks = node(Host(tmp_path, content).made("/soc/dev"), "/passthrough/dev@fe400000").cells("clocks")
    assert (bool(clocks[0]), clocks[1], clocks[2]) == (True, 0, clocks[0])


def test_lost_interrupts_and_other_views_of_memory(tmp_path: Path) -> None:
    gpio = {"compatible": "test,gpio", "interrupt-controller": True, "#interrupt-cells": 2, "reg": [0x7E400000, 0x1000], "phandle": 10}
    key = {"reg": [0x7E500000, 0x1000], "interrupts": [5, 4], "interrupt-parent": 10}
    intc = {"reg": [0x7E501000, 4], "amlogic,channel-interrupts": [64]}
    content = board(gpio=gpio, key=key, intc=intc)
    content["soc"]["dma-ranges"] = [0xC0000000, 0, 0, 0x40000000]
    host = Host(tmp_path, content)
    assert "does not get an interrupt of /soc/key: it goes to /soc/gpio" in host.plan("/soc/key").warnings[0]
    assert "does not get an interrupt of /soc/intc" in host.plan("/soc/intc").warnings[0]
    tree = host.made("/soc/key", "/soc/gpio")
    assert node(tree, "/passthrough/bus-c0000000").cells("dma-ranges") == [0, 0xC0000000, 0, 0, 0, 0x40000000]
    key_node = node(tree, "/passthrough/bus-c0000000/key@fe500000")
    controller, *cells = key_node.cells("interrupts-extended")
    assert (tree.by_phandle[controller].path, cells) == ("/passthrough/bus-c0000000/gpio@fe400000", [5, 4])


def test_interrupts_keep_their_places(tmp_path: Path) -> None:
    """A driver may ask for its second interrupt by position, not by name."""
    gpio = {"compatible": "test,gpio", "interrupt-controller": True, "#interrupt-cells": 2, "phandle": 10}
    lines = {"interrupts-extended": [1, 0, 1, 4, 10, 5, 4, 1, 0, 3, 1, 10, 6, 4]}
    host = Host(tmp_path, board(gpio=gpio, dev={"reg": [0x7E400000, 4], **lines}))
    tree = host.made("/soc/dev")
    assert node(tree, "/passthrough/dev@fe400000").cells("interrupts-extended") == [1, 0, 1, 4, 0, 1, 0, 3, 1]
    linter = Analysis(read_device_tree(str(host.tree)))
    assert lint_partial(tree, "x", linter) == []


@pytest.mark.parametrize(("flags", "wanted"), [(1, 1), (2, 1), (4, 4), (8, 4), (0, 4)])
def test_triggers_are_those_that_a_gic_takes(tmp_path: Path, flags: int, wanted: int) -> None:
    tree = Host(tmp_path, board(dev={"reg": [0x7E400000, 4], "interrupts": [0, 2, flags]})).made("/soc/dev")
    assert node(tree, "/passthrough/dev@fe400000").cells("interrupts") == [0, 2, wanted]


def test_what_goes_through_another_controller(tmp_path: Path) -> None:
    """Xen's dom0less code reads the host's tree, and passes on only what goes to the GIC directly. For xl, the config has the number."""
    sysirq = {"compatible": "mediatek,mt6577-sysirq", "interrupt-controller": True, "#interrupt-cells": 3, "phandle": 15}
    content = board(sysirq=sysirq, dev={"reg": [0x7E400000, 4], "interrupts": [0, 5, 8], "interrupt-parent": 15})
    host = Host(tmp_path, content)
    assert any("it goes through /soc/sysirq" in warning for warning in host.plan("/soc/dev").warnings)
    tree = host.made("/soc/dev")
    assert "interrupts" not in node(tree, "/passthrough/dev@fe400000").properties
    assert lint_partial(tree, "x", Analysis(read_device_tree(str(host.tree)))) == []
    assert host.plan("/soc/dev", flavour="xl").results["xl_config"]["irqs"] == [37]


def test_the_iommu_is_that_of_the_node(tmp_path: Path) -> None:
    """Xen assigns node by node, and stops at one with neither an IOMMU nor the flag."""
    smmu = {"compatible": "arm,smmu-v3", "reg": [0x7E600000, 0x1000], "#iommu-cells": 1, "phandle": 60}
    core = {"reg": [0x7E402000, 0x1000], "iommus": [60, 1]}
    glue = {"reg": [0x7E401000, 0x1000], "#address-cells": 1, "#size-cells": 1, "ranges": True, "core@7e402000": core}
    host = Host(tmp_path, board(smmu=smmu, glue=glue))
    tree = host.made("/soc/glue")
    flag = "xen,force-assign-without-iommu"
    assert flag in node(tree, "/passthrough/glue@fe401000").properties
    assert flag not in node(tree, "/passthrough/glue@fe401000/core@fe402000").properties
    assert lint_partial(tree, "x", Analysis(read_device_tree(str(host.tree)))) == []
    assert host.plan("/soc/glue", flavour="xl").results["xl_config"]["dtdev"] == ["/soc/glue/core@7e402000"]


def test_different_views_of_memory_are_different_buses(tmp_path: Path) -> None:
    def bus(at: int, size: int) -> Tree:
        dev = {f"dev@{at:x}": {"reg": [at, 4]}}
        return {"#address-cells": 1, "#size-cells": 1, "ranges": True, "dma-ranges": [0, 0, size], **dev}

    host = Host(tmp_path, board(a=bus(0x7E400000, 0x40000000), b=bus(0x7E500000, 0x80000000), c=bus(0x7E600000, 0x40000000)))
    tree = host.made("/soc/a/dev@7e400000", "/soc/b/dev@7e500000", "/soc/c/dev@7e600000")
    found = {part.path: [child.name for child in part.children] for part in tree.nodes if "dma-ranges" in part.properties}
    assert found == {"/passthrough/bus-0": ["dev@fe400000", "dev@fe600000"], "/passthrough/bus-0-2": ["dev@fe500000"]}
    assert node(tree, "/passthrough/bus-0-2").cells("dma-ranges") == [0, 0, 0, 0, 0, 0x80000000]


def test_a_clock_that_is_too_fast_for_its_property(tmp_path: Path) -> None:
    fast = {"compatible": "fixed-factor-clock", "#clock-cells": 0, "clocks": 2, "clock-mult": 1000, "clock-div": 1, "phandle": 30}
    with pytest.raises(InvalidInput, match="unknown rates.*from /soc/fast"):
        Host(tmp_path, board(fast=fast, dev={"reg": [0x7E400000, 4], "clocks": [30]})).plan("/soc/dev")


# --- what is below a device, and what can be passed through of it --------------------------------------------------------------
SMMU = {"compatible": "arm,smmu-v3", "reg": [0x7E600000, 0x1000], "#iommu-cells": 1, "phandle": 60}


def glue(**below: Tree) -> Tree:
    bus = {"reg": [0x7E401000, 0x1000], "#address-cells": 1, "#size-cells": 1, "ranges": True}
    return {**bus, **{name.replace("__", "@"): content for name, content in below.items()}}


def refusals(path: Path, content: Tree, device: str, **options: t.Any) -> list[tuple[str, str]]:
    return [(refusal.guard, refusal.subject) for refusal in Host(path, content).plan(device, **options).refusals]


@pytest.mark.parametrize("flavour", ["dom0less", "xl"])
def test_interrupts_below_a_device_are_shared_as_well(tmp_path: Path, flavour: str) -> None:
    core = {"reg": [0x7E402000, 0x1000], "interrupts": [0, 50, 4], "iommus": [60, 1]}
    other = {"reg": [0x7E500000, 0x1000], "interrupts": [0, 50, 4]}
    content = board(smmu=SMMU, wrapper=glue(between=glue(core__7e402000=core)), other=other)
    assert ("shared_interrupt", "/soc/other") in refusals(tmp_path, content, "/soc/wrapper", flavour=flavour)
    assert "/soc/other" in Host(tmp_path, content).plan("/soc/wrapper", flavour=flavour).results["passthrough_paths"]


@pytest.mark.parametrize(
    ("below", "refused"),
    [
        ({"a__7e402000": {"reg": [0x7E402000, 0x1000], "iommus": [60, 1]}}, False),
        ({"a__7e402000": {"reg": [0x7E402000, 0x1000], "iommus": [60, 1]}, "b__7e403000": {"reg": [0x7E403000, 0x1000]}}, True),
        ({"a__7e402000": {"compatible": "arm,pl031", "reg": [0x7E402000, 0x1000]}}, False),
        ({"a__7e402000": {"compatible": "vendor,codec", "reg": [0x7E402000, 0x1000]}}, True),
        ({"a__7e402000": {"compatible": "vendor,codec", "reg": [0x7E402000, 0x1000], "status": "disabled"}}, False),
    ],
)
def test_each_master_below_a_device_needs_an_iommu(tmp_path: Path, below: dict[str, Tree], refused: bool) -> None:
    found = refusals(tmp_path, board(smmu=SMMU, wrapper=glue(**below)), "/soc/wrapper")
    assert ("no_iommu" in {guard for guard, _subject in found}) is refused


GPIO = {"compatible": "test,gpio", "interrupt-controller": True, "#interrupt-cells": 2, "reg": [0x7E400000, 0x1000], "phandle": 10}
I2C = {"#address-cells": 1, "#size-cells": 0, "reg": [0x7E630000, 0x20]}
NOTHING: list[tuple[str, Tree, str]] = [
    ("/soc/i2c/touch@5d", {"gpio": GPIO, "i2c": {**I2C, "touch@5d": {"reg": 0x5D, "interrupt-parent": 10, "interrupts": [3, 2]}}}, "gpio"),
    ("/soc/i2c/chip@50", {"i2c": {**I2C, "chip@50": {"reg": 0x50}}}, "on another kind of bus"),
    ("/soc/timer", {"timer": {"compatible": "arm,armv8-timer", "interrupts": [1, 13, 4, 1, 14, 4]}}, "no registers or interrupts"),
    ("/soc/keys", {"gpio": GPIO, "keys": {"compatible": "gpio-keys", "interrupt-parent": 10, "interrupts": [3, 2]}}, "gpio"),
    ("/soc/wrong", {"wrong": {"reg": [0x7F842000, 4]}}, "not in a window"),
    ("/soc/far", {"far": {"reg": [0x80000000, 0x1000]}}, "not in a window of /soc"),
]


@pytest.mark.parametrize(("device", "nodes", "message"), NOTHING, ids=[device for device, _nodes, _message in NOTHING])
@pytest.mark.parametrize("flavour", ["dom0less", "xl"])
def test_nothing_of_it_can_be_passed_through(tmp_path: Path, device: str, nodes: Tree, message: str, flavour: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Host(tmp_path, board(**nodes)).plan(device, flavour=flavour)


def test_only_what_xen_itself_cannot_pass_on(tmp_path: Path) -> None:
    """An interrupt alone, through a controller in between: xl can, Xen cannot."""
    sysirq = {"compatible": "allwinner,sun50i-h6-r-intc", "interrupt-controller": True, "#interrupt-cells": 3, "phandle": 15}
    host = Host(tmp_path, board(sysirq=sysirq, pmu={"interrupts": [0, 5, 4], "interrupt-parent": 15}))
    assert host.plan("/soc/pmu", flavour="xl").results["xl_config"]["irqs"] == [37]
    with pytest.raises(InvalidInput, match="no registers or interrupts"):
        host.plan("/soc/pmu")


def test_registers_that_are_lost_are_said(tmp_path: Path) -> None:
    host = Host(tmp_path, board(dev={"reg": [0x7E400000, 4, 0x80000000, 4]}))
    assert any("does not get register 1 of /soc/dev" in warning for warning in host.plan("/soc/dev").warnings)


# --- PCI host bridges ----------------------------------------------------------------------------------------------------------
def test_a_device_behind_a_bridge_gives_the_bridge(tmp_path: Path) -> None:
    host = Host(tmp_path, pi5())
    named = {"node": "raspberrypi,rp1-gem", "mac": "2c:cf:67:00:00:01"}
    plan = host.plan(named, "cdns,rp1-usb", direct_map=True)
    assert plan.results["passthrough_paths"] == [PI5]
    [entry] = plan.results["host_bridges"]
    assert entry["requested"] == ["raspberrypi,rp1-gem", "cdns,rp1-usb"] and f"{RP1}/usb@40200000" in entry["behind"]
    [whole] = [warning for warning in plan.warnings if "as a whole" in warning]
    assert "because raspberrypi,rp1-gem, cdns,rp1-usb cannot be" in whole and f"{RP1}/ethernet@40100000" in whole
    assert any("(MSI) behind /axi/pcie@1000120000 go to /axi/msi-controller@1000130000" in warning for warning in plan.warnings)
    assert any("Add interrupts = <0 229 4 0 230 4 0 231 4 0 232 4>;" in warning for warning in plan.warnings)
    tree = host.made(named, direct_map=True)
    bridge = node(tree, "/passthrough/pcie@1000120000")
    assert bridge.text("xen,path") == PI5 and "xen,force-assign-without-iommu" in bridge.properties
    assert bridge.cells("interrupts") == [0, 223, 4, 0, 224, 4] and bridge.strings("interrupt-names") == ["pcie", "msi"]
    ethernet = node(tree, f"{bridge.path}/pci@0,0/dev@0,0/pci-ep-bus@1/ethernet@40100000")
    assert ethernet.properties["local-mac-address"] == bytes.fromhex("2ccf67000001")
    assert not [part for part in tree.nodes if part.name.startswith("off@")]


def test_a_bridge_for_xl(tmp_path: Path) -> None:
    host = Host(tmp_path, virt())
    config = host.plan(VIRT, flavour="xl").results["xl_config"]
    assert config == {
        "device_tree": str(host.dest),
        "iomem": ["0x10000,0x2f000", "0x4010000,0x10000", "0x8000000,0x8000000"],
        "irqs": [35, 36, 37, 38],
    }


def test_a_bridge_whose_devices_could_not_raise_interrupts(tmp_path: Path) -> None:
    (tmp_path / "with").mkdir()
    others = ["no_iommu", "guest_layout"]
    with pytest.raises(Refused, match=r"35, 36, 37, 38 are only in its interrupt-map.*Add interrupts = <0 3 4 0 4 4 0 5 4 0 6 4>;"):
        Host(tmp_path, virt()).plan(VIRT, force=others)
    with pytest.raises(Refused, match="the tree has none that leads to the GIC"):
        Host(tmp_path, virt(**{"interrupt-map": True})).plan(VIRT, force=others, flavour="xl")
    # Done as it says.
    host = Host(tmp_path / "with", virt(interrupts=[0, 3, 4, 0, 4, 4, 0, 5, 4, 0, 6, 4]))
    assert node(host.made(VIRT, force=others), "/passthrough/pcie@4010000000").cells("interrupt-map")


def test_the_grant_table_of_a_guest_that_is_mapped_one_to_one(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is where the guest's grant table is"):
        Host(tmp_path, virt()).plan(VIRT, force=["no_iommu", "no_interrupts"], direct_map=True)


def test_an_iommu_that_xen_would_not_open(tmp_path: Path) -> None:
    content = virt(**{"iommu-map": [0, 70, 0, 0x10000]})
    content["smmu"] = {"compatible": "arm,smmu-v3", "#iommu-cells": 1, "phandle": 70}
    plan = Host(tmp_path, content).plan(VIRT)
    assert any("leads to /smmu, which Xen does not set up" in warning for warning in plan.warnings)
    with pytest.raises(Refused, match="has no IOMMU in front of it"):
        Host(tmp_path, content).plan(VIRT, force=["no_interrupts", "guest_layout"])


def test_a_node_below_that_raises_interrupts_is_marked(tmp_path: Path) -> None:
    """Xen looks for xen,passthrough node by node, and would route the interrupt of one without it to dom0."""
    wifi = {"compatible": "test,wifi", "reg": [0x800, 0, 0, 0, 0], "interrupts": [2]}
    host = Host(tmp_path, virt(**{"wifi@1,0": wifi, "off@2,0": {**wifi, "status": "disabled"}}))
    assert host.plan(VIRT).results["passthrough_paths"] == [VIRT, f"{VIRT}/wifi@1,0", f"{VIRT}/off@2,0"]


def test_a_window_that_leads_nowhere_is_said(tmp_path: Path) -> None:
    content = {**board(), "bus": {"#address-cells": 1, "#size-cells": 1, "ranges": [0, 0, 0x50000000, 0x1000]}}
    own = {"reg": [0, 0x1000], "ranges": [0x02000000, 0, 0, 0x800, 0, 0x800, 0x02000000, 0, 0x100000, 0x100000, 0, 0x1000]}
    content["bus"]["pcie@0"] = {"device_type": "pci", "#address-cells": 3, "#size-cells": 2, **own}
    plan = Host(tmp_path, content).plan("/bus/pcie@0")
    assert any("does not get window 1 of /bus/pcie@0" in warning for warning in plan.warnings)


def test_registers_in_the_pages_of_the_gic(tmp_path: Path) -> None:
    content = {**board(), "wrong@ff842800": {"reg": [0, 0xFF842800, 4]}}
    with pytest.raises(InvalidInput, match="in the pages of the interrupt controller"):
        Host(tmp_path, content).plan("/wrong@ff842800")


@pytest.mark.parametrize("leave_out", [[], ["dev@7e402000"]])
def test_nothing_is_left_of_it(tmp_path: Path, leave_out: list[str]) -> None:
    status = {} if leave_out else {"status": "disabled"}
    bus = {"#address-cells": 1, "#size-cells": 1, "ranges": True, "dev@7e402000": {"reg": [0x7E402000, 0x1000], **status}}
    host = Host(tmp_path, board(bus=bus))
    with pytest.raises(InvalidInput, match="Nothing of /soc/bus can be passed through.*disabled or left out"):
        host.plan({"node": "/soc/bus", "leave_out": leave_out})
    if leave_out:
        assert host.plan("/soc/bus").actions


def test_interrupts_on_a_bus_without_addresses(tmp_path: Path) -> None:
    """As of a PHY in a system controller: Xen passes the interrupt on if the node names the host's, without registers."""
    phy = {"compatible": "test,phy", "reg": [0x10, 4], "interrupts": [0, 60, 4]}
    chip = {"compatible": "test,chip", "reg": 0x50, "interrupts": [0, 61, 4]}
    syscon = {"reg": [0x7E400000, 0x1000], "#address-cells": 1, "#size-cells": 1, "phy@10": phy}
    host = Host(tmp_path, board(syscon=syscon, i2c={"reg": [0x7E500000, 0x1000], "#address-cells": 1, "#size-cells": 0, "chip@50": chip}))
    tree = host.made("/soc/syscon")
    found = node(tree, "/passthrough/syscon@fe400000/phy@10")
    assert (found.text("xen,path"), found.properties["xen,reg"]) == ("/soc/syscon/phy@10", b"")
    assert lint_partial(tree, "x", Analysis(read_device_tree(str(host.tree)))) == []
    assert host.plan("/soc/syscon", flavour="xl").results["xl_config"]["irqs"] == [92]
    # Xen refuses cells other than 1 and 2.
    assert any("does not get an interrupt of /soc/i2c/chip@50" in warning for warning in host.plan("/soc/i2c").warnings)
    assert host.plan("/soc/i2c", flavour="xl").results["xl_config"]["irqs"] == [93]


@pytest.mark.parametrize("address", [0x10000000, 0x20000000])
def test_what_only_some_guests_have_at_an_address(tmp_path: Path, address: int) -> None:
    content = {**board(), f"dev@{address:x}": {"compatible": "arm,pl031", "reg": [0, address, 0x1000]}}
    content["memory@0"] = {"device_type": "memory", "reg": [0, 0x80000000, 0x40000000]}
    host = Host(tmp_path, content)
    with pytest.raises(Refused, match="guest_layout"):
        host.plan(f"/dev@{address:x}", force=[])
    findings = lint_partial(host.made(f"/dev@{address:x}"), "x", Analysis(read_device_tree(str(host.tree))))
    assert [(finding.rule, finding.severity) for finding in findings] == [("guest-layout", "warning")]


#: Two network cards, the first of which has the MDIO bus of both; a clock and GPIO controller; and what is no device to pass through.
SHARING = {
    "eth__7e500000": {
        "compatible": "test,nic",
        "reg": [0x7E500000, 0x1000],
        "interrupts": [0, 5, 4],
        "phy-handle": 70,
        "mdio": {"#address-cells": 1, "#size-cells": 0, "phy@0": {"reg": 0, "phandle": 70}, "phy@1": {"reg": 1, "phandle": 71}},
    },
    "eth__7e501000": {"compatible": "test,nic", "reg": [0x7E501000, 0x1000], "interrupts": [0, 6, 4], "phy-handle": 71},
    "gpio__7e502000": {
        "compatible": "arm,pl061",
        "reg": [0x7E502000, 0x1000],
        "#gpio-cells": 2,
        "interrupt-controller": True,
        "#interrupt-cells": 2,
        "phandle": 72,
    },
    "key__7e503000": {"compatible": "test,key", "reg": [0x7E503000, 0x1000], "interrupt-parent": 72, "interrupts": [1, 2]},
    "sd__7e504000": {"compatible": "test,sd", "reg": [0x7E504000, 0x1000], "cd-gpios": [72, 1, 0], "clocks": [3, 7]},
    "off__7e505000": {"compatible": "test,sd", "reg": [0x7E505000, 0x1000], "reset-gpios": [72, 2, 0], "status": "disabled"},
}


def test_what_others_need_is_not_taken_from_them(tmp_path: Path) -> None:
    host = Host(tmp_path, board(**SHARING))
    force = ["no_iommu"]
    for device, users in (
        ("/soc/eth@7e500000", r"/soc/eth@7e501000 \(phy-handle\) \[shared_provider"),
        ("/soc/gpio@7e502000", r"/soc/key@7e503000 \(interrupts\), /soc/sd@7e504000 \(cd-gpios\) \[shared_provider"),
        ("/soc/cprman@7e101000", r"/soc/serial@7e201000 \(clocks\), /soc/sd@7e504000 \(clocks\) \[shared_provider"),
    ):
        with pytest.raises(Refused, match=f"{device}: others that are not passed through need it or a node below it: {users}"):
            host.plan(device, force=force)
        assert host.plan(device, force=[*force, "shared_provider"]).actions
    assert host.plan("/soc/eth@7e501000", force=force).actions, "it needs another one, but nobody needs it"
    assert host.plan("/soc/eth@7e500000", "/soc/eth@7e501000", force=force).actions, "both go"


def test_what_goes_along_is_not_taken_from_others_either(tmp_path: Path) -> None:
    """The clock is in the page of the requested device."""
    clock = {"compatible": "test,clock", "reg": [0x7E506800, 0x100], "#clock-cells": 0, "phandle": 80}
    user = {"compatible": "test,nic", "reg": [0x7E507000, 0x1000], "clocks": 80}
    device = {"compatible": "arm,pl031", "reg": [0x7E506000, 0x100]}
    host = Host(tmp_path, board(a__7e506000=device, b__7e506800=clock, c__7e507000=user))
    with pytest.raises(Refused, match=r"/soc/b@7e506800: others that .*: /soc/c@7e507000 \(clocks\) \[shared_provider"):
        host.plan("/soc/a@7e506000", force=["shared_page"])


def test_a_refusal_does_not_name_everybody(tmp_path: Path) -> None:
    many = {f"sd__7e5{number:02}000": {"compatible": "x", "reg": [0x7E500000, 0x1000], "resets": [3, number]} for number in range(9)}
    with pytest.raises(Refused, match=r"\(resets\) and 5 more \[shared_provider"):
        Host(tmp_path, board(**many)).plan("/soc/cprman@7e101000", force=["no_iommu"])


NO_DEVICES = {
    "memory": ("/memory@0", "/memory@0 is memory of the machine, not a device"),
    "firmware's memory": ("/reserved-memory/atf@3f000000", "/reserved-memory/atf@3f000000 is memory of the machine"),
    "all set aside": ("/reserved-memory", "/reserved-memory is memory of the machine"),
    "registers in memory": ("/screen@3e000000", "has registers at 0x3e000000-0x3e0fffff, which is memory of the machine"),
    "firmware's device": ("/firm@80000000", 'belongs to the firmware: status = "reserved" in /firm@80000000'),
    "below the firmware's": ("/firm@80000000/part@80000000", 'status = "reserved" in /firm@80000000'),
    "IOMMU": ("/iommu@80001000", r"/iommu@80001000 is an IOMMU \(arm,smmu-v3\). Rule: Xen drives it"),
}


@pytest.mark.parametrize(("device", "message"), NO_DEVICES.values(), ids=list(NO_DEVICES))
def test_what_is_no_device_of_a_guest(tmp_path: Path, device: str, message: str) -> None:
    part = {"compatible": "arm,pl031", "reg": [0, 0x80000000, 0x1000]}
    content = {
        **board(),
        "reserved-memory": {
            "#address-cells": 2,
            "#size-cells": 1,
            "ranges": True,
            "atf@3f000000": {"reg": [0, 0x3F000000, 0x200000], "no-map": True},
        },
        "screen@3e000000": {"compatible": "simple-framebuffer", "reg": [0, 0x3E000000, 0x100000]},
        "kept@3f000000": {"compatible": "arm,pl031", "reg": [0, 0x3F000000, 0x1000]},
        "firm@80000000": {"#address-cells": 2, "#size-cells": 1, "ranges": True, "status": "reserved", "part@80000000": part},
        "iommu@80001000": {"compatible": "arm,smmu-v3", "reg": [0, 0x80001000, 0x1000], "#iommu-cells": 1},
    }
    host = Host(tmp_path, content)
    with pytest.raises(InvalidInput, match=message):
        host.plan(device)
    assert host.plan("/kept@3f000000").actions, "this memory is set aside for the device"


def test_a_device_that_is_off_is_said_to_be(host: Host) -> None:
    said = '/soc/ethernet@7e580000 is not in use in the board\'s tree (status = "disabled" in /soc/ethernet@7e580000)'
    assert any(warning.startswith(said) for warning in host.plan("ethernet0").warnings)


def test_an_unknown_reference_leads_nowhere(tmp_path: Path) -> None:
    """Which cells of a property that is not known here are phandles, nobody can tell; none of them gets the number of another node."""
    usb = {"compatible": "test,usb", "reg": [0x7E500000, 0x1000], "clocks": 2, "vendor,misc": [2, 0]}
    tree = Host(tmp_path, board(usb__7e500000=usb)).made("/soc/usb@7e500000")
    copy = node(tree, "/passthrough/usb@fe500000")
    assert copy.cells("vendor,misc") == [2, 0] and 2 not in tree.by_phandle
    assert tree.by_phandle[copy.number("clocks")].number("clock-frequency") == 24000000


WRONG_VALUES = {
    "no memory": ({"memory": 0}, {}, "memory is 0 MiB. Rule: a guest has at least 1"),
    "xl maps nothing 1:1": ({"flavour": "xl", "direct_map": True}, {}, "direct_map is set for a guest that xl starts"),
    "a group": ({}, {"mac": "01:00:5e:00:00:01"}, "01:00:5e:00:00:01 is not the MAC address of one card"),
    "no address": ({}, {"mac": "00:00:00:00:00:00"}, "is not the MAC address of one card"),
    "unknown clock": (
        {},
        {"clock_rates": {**RATES, "uart": 1}},
        "/soc/serial@7e201000 has no clock 'uart'.*The clocks are 0, 1, apb_pclk, uartclk",
    ),
}


@pytest.mark.parametrize(("options", "entry", "message"), WRONG_VALUES.values(), ids=list(WRONG_VALUES))
def test_values_that_cannot_be(host: Host, options: dict[str, t.Any], entry: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        host.plan({"node": "serial0", "clock_rates": RATES, **entry}, **options)


def test_what_follows_a_reference_to_a_part_of_the_device(tmp_path: Path) -> None:
    """The registers of the system controller that are meant; and settings in a node below, which has another phandle in the guest."""
    nic = {
        "compatible": "snps,dwmac",
        "reg": [0x7E500000, 0x1000],
        "snps,axi-config": 71,
        "fsl,stop-mode": [70, 0x10, 3],
        "fsl,usbmisc": [3, 0],
        "axi": {"phandle": 71},
    }
    controller = {"compatible": "syscon", "reg": [0x7E501000, 0x1000], "phandle": 70}
    host = Host(tmp_path, board(nic__7e500000=nic, syscon__7e501000=controller))
    tree = host.made("/soc/nic@7e500000", "/soc/syscon@7e501000")
    copy = node(tree, "/passthrough/nic@fe500000")
    assert tree.by_phandle[copy.number("snps,axi-config")].name == "axi"
    assert tree.by_phandle[copy.cells("fsl,stop-mode")[0]].name == "syscon@fe501000" and copy.cells("fsl,stop-mode")[1:] == [0x10, 3]
    assert "fsl,usbmisc" not in copy.properties
    assert host.plan("/soc/nic@7e500000", "/soc/syscon@7e501000").results["missing"] == [
        {"consumer": "/soc/nic@7e500000", "kind": "other device", "property": "fsl,usbmisc", "provider": "/soc/cprman@7e101000"}
    ]
