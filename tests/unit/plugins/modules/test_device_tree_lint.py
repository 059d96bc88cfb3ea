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
from ansible_collections.xen.driver_domains.plugins.modules import device_tree_lint, microkit_system, passthrough_device_tree
from ansible_collections.xen.driver_domains.tests.unit.fakes.device_tree import Tree, board, build

SMMU = {"compatible": "arm,smmu-v3", "reg": [0x7E600000, 0x1000], "#iommu-cells": 1, "phandle": 60}
NIC = {"compatible": "test,nic", "reg": [0x7E580000, 0x2000], "interrupts": [0, 157, 4], "iommus": [60, 1]}
BOARD = board(smmu=SMMU, nic=NIC)


class Host:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = str(path / "board.dtb")
        (path / "board.dtb").write_bytes(to_dtb(build(BOARD)))

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
