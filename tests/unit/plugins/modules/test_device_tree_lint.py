# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""device_tree_lint: a file that breaks each rule, and generated files that break none."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dtb import to_dtb
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError, InvalidInput, NotOnThisHost
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Result, Runner
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xlcfg import render
from ansible_collections.xen.driver_domains.plugins.modules import device_tree_lint, microkit_system, passthrough_device_tree
from ansible_collections.xen.driver_domains.tests.unit.fakes.device_tree import Tree, board, build

SMMU = {"compatible": "arm,smmu-v3", "reg": [0x7E600000, 0x1000], "#iommu-cells": 1, "phandle": 60}
NIC = {"compatible": "test,nic", "reg": [0x7E580000, 0x2000], "interrupts": [0, 157, 4], "iommus": [60, 1]}
BOARD = board(smmu=SMMU, nic=NIC)


class Host:
    def __init__(self, path: Path, content: Tree | None = None) -> None:
        self.path = path
        self.tree = str(path / "board.dtb")
        (path / "board.dtb").write_bytes(to_dtb(build(content or BOARD)))

    def lint(self, **options: t.Any) -> list[dict[str, str]]:
        defaults = {name: argument.get("default") for name, argument in device_tree_lint.ARGUMENTS.items()}
        plan = device_tree_lint.prepare({**defaults, "device_tree": self.tree, **options})
        assert not plan.actions
        return t.cast("list[dict[str, str]]", plan.results["findings"])

    def rules(self, kind: str, content: str | bytes, **options: t.Any) -> list[str]:
        path = self.path / {"system": "vmm.system", "partial": "guest.dtb", "xl_config": "guest.cfg"}[kind]
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        findings = self.lint(**{kind: str(path)}, **options)
        for finding in findings:
            assert finding["fix"] and finding["problem"] and finding["place"].startswith(str(path) + ":")
        return [finding["rule"] for finding in findings]

    def make(self, module: t.Any, dest: str, **options: t.Any) -> str:
        defaults = {name: argument.get("default") for name, argument in module.ARGUMENTS.items()}
        plan = module.prepare({**defaults, "device_tree": self.tree, "dest": str(self.path / dest), **options})
        plan.apply({refusal.guard for refusal in plan.refusals})
        return str(self.path / dest)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


# --- generated files ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("node", ["/soc/nic", "test,rtc"])
def test_generated_files_have_no_findings(host: Host, node: str) -> None:
    device = {"node": node, "clock_rates": {}, "mac": "", "leave_out": []}
    assert host.lint(system=host.make(microkit_system, "vmm.system", devices=[node])) == []
    assert host.lint(partial=host.make(passthrough_device_tree, "dom0less.dtb", devices=[device])) == []
    assert host.lint(partial=host.make(passthrough_device_tree, "xl.dtb", devices=[device], flavour="xl")) == []


def test_the_sharers_of_a_forced_device_are_reported(host: Host) -> None:
    device = {"node": "serial0", "clock_rates": {"uartclk": 48000000}, "mac": "", "leave_out": []}
    findings = host.lint(partial=host.make(passthrough_device_tree, "x.dtb", devices=[device]))
    assert [(finding["rule"], finding["severity"]) for finding in findings] == [("shared-page", "warning"), ("shared-interrupt", "warning")]


# --- system descriptions --------------------------------------------------------------------------------------------
GICV = '<memory_region name="gic" size="0x2000" phys_addr="0xff846000" /><memory_region name="ram" size="0x1000" />'
GIC_MAP = '<map mr="gic" vaddr="0xff842000" cached="false" /><map mr="ram" vaddr="0x40000000" />'


def system(regions: str = "", maps: str = "", irqs: str = "", gic: str = GIC_MAP, after: str = "") -> str:
    vm = f'<virtual_machine name="linux"><vcpu id="0" />\n{gic}\n{maps}</virtual_machine>'
    domain = f'<protection_domain name="VMM"><program_image path="vmm.elf" />{vm}\n{irqs}</protection_domain>'
    return f"<system>{GICV}{regions}{domain}{after}</system>"


RTC = '<memory_region name="rtc" size="0x2000" phys_addr="0xfe300000" />'
RTC_MAP = '<map mr="rtc" vaddr="0xfe300000" cached="false" />'
RTC_IRQ = '<irq irq="34" id="0" trigger="edge" />'
OTHER = '<protection_domain name="other"><program_image path="x" />{}</protection_domain>'
SYSTEMS = [
    ([], system(RTC, RTC_MAP, RTC_IRQ)),
    (["wrong-trigger"], system(RTC, RTC_MAP, '<irq irq="34" id="0" />')),
    (["unknown-interrupt"], system(irqs='<irq irq="5" id="0" />')),
    (["unknown-interrupt"], system(irqs='<irq irq="27" id="0" />')),
    (["unknown-interrupt"], system(irqs='<irq irq="999" id="0" />')),
    (["unknown-interrupt"], system(irqs='<irq irq="157" id="0" />')),
    (["missing-map"], system(irqs=RTC_IRQ)),
    (["missing-map"], system(RTC.replace("0x2000", "0x1000"), RTC_MAP, RTC_IRQ)),
    (["cached-device"], system(RTC, RTC_MAP.replace(' cached="false"', ""), RTC_IRQ)),
    (["not-one-to-one"], system(RTC, RTC_MAP.replace("0xfe3", "0x103"), RTC_IRQ)),
    (["gic-interface"], system(gic=GIC_MAP.replace("0xff842000", "0xff846000"))),
    (["unused", "gic-interface"], system(gic='<map mr="ram" vaddr="0x40000000" />')),
    (
        ["gic"],
        system('<memory_region name="bus" size="0x1000" phys_addr="0xff841000" />', '<map mr="bus" vaddr="0xff841000" cached="false" />'),
    ),
    (["shared-page"], system(RTC, RTC_MAP, RTC_IRQ, after=OTHER.format(RTC_MAP))),
    (["attribute", "vcpu"], system().replace('name="linux"><vcpu id="0" />', 'name="linux" id="0">')),
]


@pytest.mark.parametrize(("rules", "text"), SYSTEMS, ids=[f"{index}-{'-'.join(rules)}" for index, (rules, _unused) in enumerate(SYSTEMS)])
def test_system(host: Host, rules: list[str], text: str) -> None:
    assert host.rules("system", text) == rules


def test_the_fix_knows_of_the_32(host: Host) -> None:
    host.rules("system", system(irqs='<irq irq="157" id="0" />'))
    assert "189 (/soc/nic)" in host.lint(system=str(host.path / "vmm.system"))[0]["fix"]


# --- partial trees --------------------------------------------------------------------------------------------------
def partial(device: Tree | None = None, root: Tree | None = None, passthrough: Tree | None = None) -> bytes:
    rtc = {
        "compatible": "test,rtc",
        "reg": [0, 0xFE300FC0, 0, 0x80],
        "interrupt-parent": 1,
        "interrupts": [0, 2, 1],
        "xen,reg": [0, 0xFE300000, 0, 0x2000, 0, 0xFE300000],
        "xen,path": "/soc/rtc@7e300000",
        "xen,force-assign-without-iommu": True,
        **(device or {}),
    }
    bus = {"compatible": "simple-bus", "#address-cells": 2, "#size-cells": 2, "ranges": True, "rtc@fe300fc0": rtc, **(passthrough or {})}
    content = {
        "#address-cells": 2,
        "#size-cells": 2,
        "gic": {"#interrupt-cells": 3, "interrupt-controller": True, "phandle": 1},
        "passthrough": bus,
        **(root or {}),
    }
    return to_dtb(build(_without_none(content)))


def _without_none(content: Tree) -> Tree:
    return {key: _without_none(value) if isinstance(value, dict) else value for key, value in content.items() if value is not None}


PARTIALS: list[tuple[list[str], bytes]] = [
    ([], partial()),
    (["no-passthrough"], partial(root={"passthrough": None})),
    (["no-ranges"], partial(passthrough={"ranges": None})),
    (["no-bus"], partial(passthrough={"compatible": None})),
    ([], partial(root={"gic": None}, device={"interrupt-parent": None})),
    ([], partial(root={"gic": None}, device={"interrupt-parent": 65000})),
    (["no-gic"], partial(root={"gic": {"#interrupt-cells": 3, "interrupt-controller": True}}, device={"interrupt-parent": None})),
    # Xen then leaves it at 65000.
    ([], partial(root={"gic": {"#interrupt-cells": 3, "interrupt-controller": True}}, device={"interrupt-parent": 65000})),
    (["no-gic"], partial(root={"gic": None, "intc": {"interrupt-controller": True, "phandle": 1}})),
    (["phandle-range"], partial(root={"x": {"phandle": 65000}})),
    (["interrupt-parent"], partial(device={"interrupt-parent": 7})),
    (["missing-clock"], partial(device={"clocks": 9})),
    (["missing-clock"], partial(device={"clock-names": "apb_pclk"})),
    (["missing-provider"], partial(device={"resets": 9})),
    (["cells"], partial(passthrough={"#address-cells": 3})),
    (["cells"], partial(device={"xen,reg": [0, 0xFE300000]})),
    (["no-path"], partial(device={"xen,path": None, "xen,force-assign-without-iommu": None})),
    (["no-reg", "missing-map"], partial(device={"xen,reg": None})),
    (["not-assigned"], partial(passthrough={"second@1": {"reg": [0, 1, 0, 1]}})),
    (["alignment", "surplus-map"], partial(device={"xen,reg": [0, 0xFE300000, 0, 0x2080, 0, 0xFE300000]})),
    (["unknown-path"], partial(device={"xen,path": "/soc/rtc"})),
    (["missing-map"], partial(device={"xen,reg": [0, 0xFE300000, 0, 0x1000, 0, 0xFE300000]})),
    (["surplus-map"], partial(device={"xen,reg": [0, 0xFE300000, 0, 0x3000, 0, 0xFE300000]})),
    (["no-iommu"], partial(device={"xen,force-assign-without-iommu": None})),
    (["wrong-trigger"], partial(device={"interrupts": [0, 2, 4]})),
    (["missing-interrupt", "unknown-interrupt"], partial(device={"interrupts": [0, 34, 1]})),
    (
        ["needless-force", "missing-interrupt"],
        partial(
            device={
                "xen,path": "/soc/nic",
                "reg": [0, 0xFE580000, 0, 0x2000],
                "xen,reg": [0, 0xFE580000, 0, 0x2000, 0, 0xFE580000],
                "interrupts": None,
            }
        ),
    ),
    (
        ["overlap"],
        partial(
            passthrough={
                "x@1": {
                    "xen,reg": [0, 0xFE300000, 0, 0x2000, 0, 0xFE300000],
                    "xen,path": "/osc",
                    "xen,force-assign-without-iommu": True,
                }
            }
        ),
    ),
    (
        ["shared-page", "shared-interrupt"],
        partial(
            device={
                "xen,path": "/soc/serial@7e201000",
                "reg": [0, 0xFE201000, 0, 0x200],
                "xen,reg": [0, 0xFE201000, 0, 0x1000, 0, 0xFE201000],
                "interrupts": [0, 121, 4],
            }
        ),
    ),
]


@pytest.mark.parametrize(
    ("rules", "content"), PARTIALS, ids=[f"{index}-{'-'.join(rules)}" for index, (rules, _unused) in enumerate(PARTIALS)]
)
def test_partial(host: Host, rules: list[str], content: bytes) -> None:
    found = host.rules("partial", content)
    assert [rule for rule in found if not (rule == "surplus-map" and "surplus-map" not in rules)] == rules


class FakeDtc(Runner):
    """Replaces dtc with a known result."""

    def run(self, argv: t.Sequence[str], **options: t.Any) -> Result:
        assert argv[0] == "dtc" and Path(argv[-1]).read_text().startswith("/dts-v1/")
        Path(argv[argv.index("-o") + 1]).write_bytes(partial(device={"xen,path": "/no"}))
        return Result(tuple(argv), 0, "", "")


def test_source_text(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    path = host.path / "guest.dts"
    path.write_text("/dts-v1/; / { };")
    monkeypatch.setattr(device_tree_lint, "Runner", FakeDtc)
    findings = host.lint(partial=str(path))
    assert [(finding["rule"], finding["place"]) for finding in findings] == [("unknown-path", f"{path}:/passthrough/rtc@fe300fc0")]
    monkeypatch.setattr(device_tree_lint, "Runner", lambda timeout: Runner(path=str(host.path)))
    monkeypatch.setenv("PATH", str(host.path))
    with pytest.raises(NotOnThisHost, match="'dtc' is not installed.*device-tree-compiler"):
        host.lint(partial=str(path))
    with pytest.raises(InvalidInput, match="no file"):
        host.lint(partial=str(host.path / "none.dts"))


def test_interrupts_of_a_tree_for_xl(host: Host) -> None:
    """The interrupt controller is not in it, and a controller in between has other cells."""
    gpio = {"interrupt-controller": True, "#interrupt-cells": 2, "phandle": 9}
    device: Tree = {"xen,reg": None, "xen,path": None, "xen,force-assign-without-iommu": None, "interrupt-parent": 65000}
    content = partial(root={"gic": None}, device=device, passthrough={"gpio": gpio})
    assert host.rules("partial", content) == []


@pytest.mark.parametrize(
    ("interrupts", "rules"),
    [
        ({"interrupts-extended": [1, 0, 2, 1, 9, 5, 4]}, []),
        ({"interrupts-extended": [9, 2, 1, 9, 0, 2]}, ["missing-interrupt"]),
        ({"interrupts": [5, 4, 6, 4], "interrupt-parent": 9}, ["missing-interrupt"]),
    ],
)
def test_interrupts_of_several_controllers(host: Host, interrupts: Tree, rules: list[str]) -> None:
    gpio = {"interrupt-controller": True, "#interrupt-cells": 2, "phandle": 9}
    device = {"interrupts": None, "interrupt-parent": None, **interrupts}
    assert host.rules("partial", partial(device=device, passthrough={"gpio": gpio})) == rules


def test_a_bus_without_addresses(host: Host) -> None:
    mdio = {"#address-cells": 0, "#size-cells": 0, "phy": {"compatible": "test,phy"}}
    assert host.rules("partial", partial(device={"mdio": mdio})) == []


def test_a_macro_as_a_trigger(host: Host) -> None:
    assert host.rules("system", system(RTC, RTC_MAP, '<irq irq="34" id="0" trigger=RTC_TRIGGER />')) == ["unquoted-value"]


# --- xl.cfg ---------------------------------------------------------------------------------------------------------
NIC_CONFIG = 'device_tree = "x.dtb"\ndtdev = [ "/soc/nic" ]\niomem = [ "0xfe580,2" ]\nirqs = [ 189 ]\n'
CONFIGS = [
    ([], 'name = "x"\n'),
    ([], NIC_CONFIG),
    ([], NIC_CONFIG.replace('"0xfe580,2"', '"fe580,0x1@0x10000", "0xfe581,1"')),
    (["no-device-tree"], NIC_CONFIG.split("\n", 1)[1]),
    (["unknown-path"], NIC_CONFIG.replace('"/soc/nic"', '"/soc/nic", "/nic"')),
    (["no-iommu"], NIC_CONFIG.replace("/soc/nic", "/soc/rtc@7e300000").replace("fe580", "fe300").replace("189", "34")),
    (["syntax", "missing-interrupt"], NIC_CONFIG.replace("[ 189 ]", "[ 189")),
    (["syntax"], NIC_CONFIG.replace('"0xfe580,2"', '"0xfe580,2", "0xfe580"')),
    (["syntax", "missing-interrupt"], NIC_CONFIG.replace("[ 189 ]", '[ "0xbd" ]')),
    (["empty"], NIC_CONFIG.replace('"0xfe580,2"', '"0xfe580,2", "0xfe580,0"')),
    (["overlap"], NIC_CONFIG.replace('"0xfe580,2"', '"0xfe580,2", "0xfe581,1"')),
    (["unknown-range"], NIC_CONFIG.replace('"0xfe580,2"', '"0xfe580,2", "0xfe580000,2"')),
    (["missing-map"], NIC_CONFIG.replace(",2", ",1")),
    (["missing-interrupt"], NIC_CONFIG.replace("189", "157")),
    (["missing-interrupt", "unknown-interrupt"], NIC_CONFIG.replace("189", "188")),
    (["unknown-interrupt", "vuart-interrupt"], NIC_CONFIG.replace("189", "189, 32")),
    (["missing-interrupt"], 'device_tree = "x.dtb"\niomem = [ "0xfe300,2" ]\n'),
    (["shared-page"], NIC_CONFIG.replace('"0xfe580,2"', '"0xfe580,2", "0xfe300,1"')),
    (["syntax", "missing-interrupt"], NIC_CONFIG.replace("189", '"\u00b2"')),
    (["syntax", "missing-interrupt"], NIC_CONFIG.replace("189", '"' + "9" * 5000 + '"')),
    (["syntax", "missing-interrupt"], NIC_CONFIG.replace("189", "{[]: 1}")),
    (["syntax", "missing-interrupt"], NIC_CONFIG.replace("[ 189 ]", "[" * 5000 + "]" * 5000)),
]


@pytest.mark.parametrize(("rules", "text"), CONFIGS, ids=[f"{index}-{'-'.join(rules)}" for index, (rules, _unused) in enumerate(CONFIGS)])
def test_xl_config(host: Host, rules: list[str], text: str) -> None:
    found = host.rules("xl_config", text)
    assert [rule for rule in found if not (rule == "unknown-range" and "unknown-range" not in rules)] == rules


def test_the_32_is_named(host: Host) -> None:
    host.rules("xl_config", NIC_CONFIG.replace("189", "157"))
    assert "the 32 of the GIC are missing" in host.lint(xl_config=str(host.path / "guest.cfg"))[0]["problem"]


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ([], NIC_CONFIG.replace("[ 189 ]", "[\n# the card\n189, # its only one\n]")),
        ([], NIC_CONFIG.replace("\n", "; ")),
        ([], NIC_CONFIG.replace("[ 189 ]", "[ ]") + "irqs += [ 189 ]\n"),
        ([], 'extra = "a # b"\n' + NIC_CONFIG),
        # An entry of its own speaks of another device, whether dtdev is there or not.
        ([], NIC_CONFIG.replace('"0xfe580,2"', '"0xfe580,2", "0xfe300,2"').replace("189", "189, 34")),
        (["missing-interrupt"], NIC_CONFIG.replace('"0xfe580,2"', '"0xfe580,2", "0xfe300,2"')),
        (["missing-interrupt"], NIC_CONFIG.replace('"0xfe580,2"', '"0xfe580,2", "0xfe300,2"').replace("189", "189, 2")),
        (["unknown-interrupt"], NIC_CONFIG + "irqs += [ 99 ]\n"),
        (["forbidden-map"], NIC_CONFIG.replace('"0xfe580,2"', '"0xfe580,2", "0xff841,1"')),
        (["console"], NIC_CONFIG.replace('"0xfe580,2"', '"0xfe580,2", "0xfe215,1"').replace("189", "189, 125")),
        ([], NIC_CONFIG.replace('"0xfe580,2"', '" fe580, 2"')),
        (["syntax"], NIC_CONFIG.replace('"0xfe580,2"', '"0xfe580,2", "0xfe580 ,2"')),
        (["guest-layout"], NIC_CONFIG.replace('"0xfe580,2"', '"0xfe580,2@0x50000"')),
        ([], "memory = 128\n" + NIC_CONFIG.replace('"0xfe580,2"', '"0xfe580,2@0x50000"')),
        (["guest-layout"], "memory = 128\n" + NIC_CONFIG.replace('"0xfe580,2"', '"0xfe580,2@0x38000"')),
        (["syntax", "missing-interrupt"], NIC_CONFIG.replace("[ 189 ]", "189")),
        (["syntax", "missing-interrupt"], NIC_CONFIG.replace("[ 189 ]", "[ 189 ] [ 190 ]")),
        # Three of five in one page: the one that irqs speaks of is meant, the others share its page.
        (
            ["shared-page", "shared-page", "shared-interrupt", "shared-interrupt"],
            'device_tree = "x.dtb"\niomem = [ "0xfe201,1" ]\nirqs = [ 160 ]\n',
        ),
    ],
)
def test_xl_config_in_all_its_forms(tmp_path: Path, rules: list[str], text: str) -> None:
    more = {f"serial@7e201{at}00": {"reg": [0x7E201000 + 0x100 * at, 0x10], "interrupts": [0, 128, 4]} for at in (6, 8)}
    host = Host(tmp_path, board(smmu=SMMU, nic=NIC, **{name.replace("@", "__"): node for name, node in more.items()}))
    found = host.rules("xl_config", text)
    if "0xfe201" in text:
        assert found.count("shared-page") == 2 and not {"missing-interrupt", "unknown-interrupt"} & set(found)
    else:
        assert [rule for rule in found if not (rule == "unknown-range" and "unknown-range" not in rules)] == rules


def test_findings_name_the_line_of_the_entry(host: Host) -> None:
    path = host.path / "guest.cfg"
    path.write_text(NIC_CONFIG.replace("[ 189 ]", "[\n189,\n190,\n]"))
    assert [finding["place"] for finding in host.lint(xl_config=str(path))] == [f"{path}:6"]


@pytest.mark.parametrize("devices", [["/soc/nic"], ["test,rtc"], ["/soc/nic", "test,rtc"]])
def test_our_own_settings_are_right(host: Host, devices: list[str]) -> None:
    """The generator's settings, written by our writer, with the tree that they name."""
    requests = [{"node": node, "clock_rates": {}, "mac": "", "leave_out": []} for node in devices]
    defaults = {name: argument.get("default") for name, argument in passthrough_device_tree.ARGUMENTS.items()}
    options = {**defaults, "device_tree": host.tree, "devices": requests, "dest": str(host.path / "dd.dtb"), "flavour": "xl"}
    plan = passthrough_device_tree.prepare(options)
    plan.apply({refusal.guard for refusal in plan.refusals})
    settings = {"name": "dd", **plan.results["xl_config"], "device_tree": "dd.dtb"}
    (host.path / "guest.cfg").write_text(render(settings))
    assert host.lint(xl_config=str(host.path / "guest.cfg")) == []
    # The tree is read where it is: it describes what is no longer passed through.
    (host.path / "guest.cfg").write_text(render({**settings, "irqs": []}))
    assert {finding["rule"] for finding in host.lint(xl_config=str(host.path / "guest.cfg"))} == {"missing-interrupt"}
    (host.path / "guest.cfg").write_text(render({**settings, "iomem": [f"{entry}@0x100000" for entry in settings["iomem"]]}))
    assert {finding["rule"] for finding in host.lint(xl_config=str(host.path / "guest.cfg"))} == {"missing-map"}


@pytest.mark.parametrize(
    ("irqs", "wanted"),
    [
        ("101", []),
        ("101, 110", []),
        ("110", []),
        ("", [("missing-interrupt", "warning")]),
        ("69", [("missing-interrupt", "error")]),
    ],
)
def test_which_of_the_devices_in_a_page_is_meant(tmp_path: Path, irqs: str, wanted: list[tuple[str, str]]) -> None:
    """One below another one, without interrupts; and one of its own, with an interrupt in common and one of its own."""
    inner = {"reg": [0x7E400838, 0x100]}
    outer = {"reg": [0x7E400000, 0x700], "interrupts": [0, 69, 4], "#address-cells": 1, "#size-cells": 1, "ranges": True, "csi@838": inner}
    other = {"reg": [0x7E400C00, 0x100], "interrupts": [0, 78, 4], "status": "disabled"}
    host = Host(tmp_path, board(vi=outer, other=other))
    (host.path / "x.cfg").write_text(f'device_tree = "x.dtb"\niomem = [ "0xfe400,1" ]\nirqs = [ {irqs} ]\n')
    found = [(finding["rule"], finding["severity"]) for finding in host.lint(xl_config=str(host.path / "x.cfg"))]
    assert [finding for finding in found if finding[0] not in ("shared-page", "shared-interrupt")] == wanted


# --- hand-written partial trees are held to the rules of generated ones -------------------------------------------------------
def entry(machine: int, pages: int = 1, guest: int | None = None) -> list[int]:
    return [0, machine, 0, 0x1000 * pages, 0, machine if guest is None else guest]


OWN = entry(0xFE300000, 2)
HAND_WRITTEN: list[tuple[list[tuple[str, str]], bytes]] = [
    # The registers of the interrupt controller, and of what is below it.
    ([("forbidden-map", "error")], partial(device={"xen,reg": OWN + entry(0xFF842000)})),
    ([("forbidden-map", "error")], partial(device={"xen,reg": OWN + entry(0xFF841000, 2)})),
    # Xen's console; a device that dom0 uses, and one that it does not use.
    ([("forbidden-map", "error")], partial(device={"xen,reg": OWN + entry(0xFE215000)})),
    ([("foreign-map", "error")], partial(device={"xen,reg": OWN + entry(0xFE580000)})),
    ([("surplus-map", "warning")], partial(device={"xen,reg": OWN + entry(0xFE700000)})),
    # The console on purpose: Xen may have been told of another one.
    (
        [("console", "warning")],
        partial(
            device={
                "xen,path": "/soc/serial@7e215000",
                "reg": [0, 0xFE215000, 0, 0x100],
                "xen,reg": entry(0xFE215000),
                "interrupts": [0, 93, 4],
            }
        ),
    ),
    # Memory of the machine.
    ([("forbidden-map", "error")], partial(device={"xen,reg": OWN + entry(0x10000000, 1, 0xFE700000)})),
    # Elsewhere in the guest than reg says, by a page, by an offset, or the wrong way round.
    ([("guest-address", "error")], partial(device={"xen,reg": entry(0xFE300000, 2, 0xFE400000)})),
    ([("guest-address", "error")], partial(device={"reg": [0, 0xFE302FC0, 0, 0x80]})),
    ([("guest-address", "error")], partial(device={"reg": [0, 0xFE300000, 0, 0x80]})),
    ([], partial(device={"reg": [0, 0x3A000FC0, 0, 0x80], "xen,reg": entry(0xFE300000, 2, 0x3A000000)})),
    # Two pages of the machine at one address of the guest, beyond all addresses, and two nodes with one phandle.
    ([("guest-address", "error"), ("surplus-map", "warning")], partial(device={"xen,reg": OWN + entry(0xFE700000, 1, 0xFE300000)})),
    (
        [("range", "error"), ("surplus-map", "warning")],
        partial(device={"xen,reg": [*OWN, 0xFFFFFFFF, 0xFFFFF000, 0, 0x2000, 0, 0xFE700000]}),
    ),
    ([("phandle", "error")], partial(passthrough={"a": {"phandle": 7}, "b": {"phandle": 7}})),
    ([("phandle", "error")], partial(passthrough={"a": {"phandle": 1}})),
    # What the guest does not use.
    ([("status", "warning")], partial(device={"status": "disabled"})),
    ([("status", "warning")], partial(passthrough={"status": "disabled"})),
    ([("wrong-trigger", "warning")], partial(device={"interrupts": [0, 2, 0]})),
    # Where the guest has something of its own.
    ([("guest-layout", "error")], partial(device={"reg": [0, 0x48000FC0, 0, 0x80], "xen,reg": entry(0xFE300000, 2, 0x48000000)})),
    ([("guest-layout", "error")], partial(device={"reg": [0, 0x22000FC0, 0, 0x80], "xen,reg": entry(0xFE300000, 2, 0x22000000)})),
    # Where a guest with more memory has some.
    ([("guest-layout", "warning")], partial(device={"reg": [0, 0xA0000FC0, 0, 0x80], "xen,reg": entry(0xFE300000, 2, 0xA0000000)})),
    # Nothing for anybody.
    ([("no-xen", "error")], partial(device=dict.fromkeys(("xen,reg", "xen,path", "xen,force-assign-without-iommu")))),
    ([("no-xen", "error")], partial(device=dict.fromkeys(("xen,reg", "xen,path", "xen,force-assign-without-iommu", "interrupts")))),
    # The property counts by being there.
    ([], partial(device={"xen,force-assign-without-iommu": [1]})),
    ([], partial(device={"xen,force-assign-without-iommu": [0]})),
]


@pytest.mark.parametrize(("wanted", "content"), HAND_WRITTEN, ids=[str(index) for index in range(len(HAND_WRITTEN))])
def test_hand_written(host: Host, wanted: list[tuple[str, str]], content: bytes) -> None:
    (host.path / "guest.dtb").write_bytes(content)
    found = host.lint(partial=str(host.path / "guest.dtb"))
    assert [(finding["rule"], finding["severity"]) for finding in found] == wanted


def test_two_registers_the_wrong_way_round(tmp_path: Path) -> None:
    host = Host(tmp_path, board(pair={"reg": [0x7E400000, 0x1000, 0x7E500000, 0x1000]}))
    device: Tree = {
        "reg": [0, 0xFE400000, 0, 0x1000, 0, 0xFE500000, 0, 0x1000],
        "interrupts": None,
        "xen,path": "/soc/pair",
        "xen,reg": entry(0xFE400000, 1, 0xFE500000) + entry(0xFE500000, 1, 0xFE400000),
    }
    assert host.rules("partial", partial(device=device)) == ["guest-address", "guest-address"]
    assert host.rules("partial", partial(device={**device, "xen,reg": entry(0xFE400000) + entry(0xFE500000)})) == []


def test_a_tree_for_xl_beside_its_settings(host: Host) -> None:
    """With the settings beside it, it is one for xl, whatever it refers to."""
    bare = dict.fromkeys(("xen,reg", "xen,path", "xen,force-assign-without-iommu", "interrupt-parent"))
    (host.path / "guest.dtb").write_bytes(partial(device=bare, root={"gic": None}))
    (host.path / "guest.cfg").write_text('device_tree = "/etc/xen/guest.dtb"\niomem = [ "0xfe300,2" ]\nirqs = [ 34 ]\n')
    assert [finding["rule"] for finding in host.lint(partial=str(host.path / "guest.dtb"))] == ["no-xen"]
    assert host.lint(partial=str(host.path / "guest.dtb"), xl_config=str(host.path / "guest.cfg")) == []


# --- what running systems do is not an error ------------------------------------------------------------------------------------
GICV3 = {
    "compatible": "arm,gic-v3",
    "interrupt-controller": True,
    "#interrupt-cells": 3,
    "#redistributor-regions": 2,
    "reg": [cell for at in (0x1000000, 0x1080000, 0x1100000, 0x1200000, 0x1210000, 0x1220000) for cell in (0, at, 0x10000)],
    "phandle": 1,
}


@pytest.mark.parametrize(
    ("physical", "address", "wanted"),
    [
        (0x1220000, 0x1200000, []),
        (0x1220000, 0x1220000, [("gic-interface", "note")]),
        (0x1200000, 0x1200000, [("gic", "error")]),
        (0x1080000, 0x1080000, [("gic", "error")]),
    ],
)
def test_the_older_interfaces_of_a_gicv3(tmp_path: Path, physical: int, address: int, wanted: list[tuple[str, str]]) -> None:
    host = Host(tmp_path, {**board(), "interrupt-controller@ff841000": GICV3})
    region = f'<memory_region name="v" size="0x1000" phys_addr="{physical:#x}" />'
    text = system(region, f'<map mr="v" vaddr="{address:#x}" cached="false" />', gic='<map mr="ram" vaddr="0x40000000" />')
    (host.path / "vmm.system").write_text(text.replace(GICV, '<memory_region name="ram" size="0x1000" />'))
    found = host.lint(system=str(host.path / "vmm.system"))
    assert [(finding["rule"], finding["severity"]) for finding in found] == wanted


def test_two_domains_that_share_a_page_on_purpose(host: Host) -> None:
    """One has the interrupt and the first page, the other one the second page: one warning, not two that contradict each other."""
    first = '<memory_region name="a" size="0x1000" phys_addr="0xfe300000" />'
    second = '<memory_region name="b" size="0x1000" phys_addr="0xfe301000" />'
    other = OTHER.format('<map mr="b" vaddr="0x2000000" cached="false" />')
    (host.path / "vmm.system").write_text(system(first + second, '<map mr="a" vaddr="0xfe300000" cached="false" />', RTC_IRQ, after=other))
    found = host.lint(system=str(host.path / "vmm.system"), fail_on="error")
    assert [(finding["rule"], finding["severity"]) for finding in found] == [("shared-page", "warning")]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (system(RTC, RTC_MAP, '<irq irq="34" id="0" />'), "wrong-trigger"),
        (system(irqs=RTC_IRQ), "missing-map"),
        (system(RTC, after=OTHER.format('<map mr="rtc" vaddr="0x2000000" cached="false" />'), irqs=RTC_IRQ), "shared-page"),
    ],
)
def test_warnings_of_running_systems(host: Host, text: str, rule: str) -> None:
    (host.path / "vmm.system").write_text(text)
    found = host.lint(system=str(host.path / "vmm.system"), fail_on="error")
    assert [(finding["rule"], finding["severity"]) for finding in found] == [(rule, "warning")]


def test_a_description_for_the_preprocessor(host: Host) -> None:
    text = system(RTC, RTC_MAP, RTC_IRQ).replace('size="0x1000"', "size=RAM_SIZE").replace("<system>", "<system>\n/* <off /> */\n")
    (host.path / "vmm.system").write_text('#include "ram.h"\n' + text)
    assert [finding["severity"] for finding in host.lint(system=str(host.path / "vmm.system"), fail_on="warning")] == ["note"]
    (host.path / "ram.h").write_text('#define RAM_SIZE "0x1000"\n')
    assert host.lint(system=str(host.path / "vmm.system")) == []


# --- the module -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("fail_on", "fails"), [("never", False), ("error", False), ("warning", True)])
def test_failing(host: Host, fail_on: str, fails: bool) -> None:
    path = host.path / "vmm.system"
    path.write_text(system(irqs='<irq irq="5" id="0" />'))
    if fails:
        with pytest.raises(DriverDomainsError, match="1 of 1 findings are not acceptable.*no device raises it") as caught:
            host.lint(system=str(path), fail_on=fail_on)
        assert caught.value.details["findings"]
    else:
        assert len(host.lint(system=str(path), fail_on=fail_on)) == 1


def test_a_file_that_is_not_there(host: Host) -> None:
    with pytest.raises(InvalidInput, match="no file"):
        host.lint(system=str(host.path / "none"))
