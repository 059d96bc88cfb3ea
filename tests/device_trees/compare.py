# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares this collection with sdfgen and Lopper on the same devices: the numbers of the table in docs/device_trees.md.

``make compare-device-trees`` runs it, in an environment with the two. ``VIRT=FILE`` adds the tree of QEMU's virt board, which
``qemu-system-aarch64 -machine virt,acpi=off,dumpdtb=FILE`` writes.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.analysis import Analysis
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dtb import parse_dtb, read_device_tree, to_dtb
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.interrupts import specifiers
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.registers import registers
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.source import read_source
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.tree import DeviceTree, Node, join_cells
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner
from device_trees.debian import directory

PI4, C4 = "broadcom/bcm2711-rpi-4-b.dtb", "amlogic/meson-sm1-odroid-c4.dtb"
NODES = {
    PI4: ["/scb/ethernet@7d580000", "/soc/serial@7e201000", "/soc/hdmi@7ef00700"],
    C4: [
        "serial0",
        "ethernet0",
        "mmc0",
        "/soc/gpu@ffe40000",
        "/soc/vpu@ff900000",
        "/soc/bus@ff600000/hdmi-tx@0",
        "amlogic,meson-gpio-intc",
    ],
}
VIRT = ["arm,pl031", "arm,pl061"]
#: Seconds for one node with Lopper.
LIMIT = 120

#: Runs in a process of its own, because sdfgen ends the interpreter when it fails.
SDFGEN = """
import sys
from sdfgen import DeviceTree, SystemDescription, Vmm
tree = DeviceTree(open(sys.argv[1], "rb").read())
system = SystemDescription(SystemDescription.Arch.AARCH64, 0x80000000)
domain = SystemDescription.ProtectionDomain("vmm", "vmm.elf", priority=100)
machine = SystemDescription.VirtualMachine("linux", [SystemDescription.VirtualMachine.Vcpu(id=0)])
vmm = Vmm(system, domain, machine, tree)
vmm.add_passthrough_device(tree.node(sys.argv[2]))
system.add_pd(domain)
assert vmm.connect()
print(system.render())
"""


def describe(ranges: Iterable[tuple[int, int]], interrupts: Iterable[tuple[int, str]]) -> str:
    """Return addresses with sizes, and interrupts, on one line."""
    places = ", ".join(f"{address:#x}+{size:#x}" for address, size in ranges) or "no registers"
    lines = ", ".join(f"{number} {trigger}" for number, trigger in interrupts) or "no interrupts"
    return f"{places}; {lines}"


def ours(tree: DeviceTree, node: Node) -> str:
    """Return what this collection says, which devices share the pages, and what could not be resolved."""
    board = Analysis(tree)
    device = board.device(node)
    found = describe(
        [(span.start, span.size) for span in device.pages],
        [(line.number, line.trigger) for line in device.interrupts if line.number is not None],
    )
    sharers = board.page_sharers([device])
    notes = [f"{len(sharers)} others in the pages"] if sharers else []
    notes += [f"{len(device.problems)} interrupts or references that end elsewhere"] if device.problems else []
    return "; ".join([found, *notes])


def sdfgen(blob: bytes, path: str, work: Path) -> str:
    """Return what sdfgen writes into a system description."""
    source = work / "sdfgen.dtb"
    source.write_bytes(blob)
    done = subprocess.run([sys.executable, "-c", SDFGEN, str(source), path[1:]], capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode:
        return f"fails: {_last_line(done.stderr)}"
    # Memory for the guest has no address.
    regions = [dict(re.findall(r'(\w+)="([^"]*)"', tag)) for tag in re.findall("<memory_region[^>]*>", done.stdout)]
    ranges = sorted((int(region["phys_addr"], 0), int(region["size"], 0)) for region in regions if "phys_addr" in region)
    lines = [(int(irq), trigger) for irq, trigger in re.findall(r'<irq irq="(\d+)"[^>]*trigger="(\w+)"', done.stdout)]
    return describe(ranges, lines)


def lopper(blob: bytes, node: Node, work: Path) -> str:
    """Return what Lopper's extract and extract-xen pass to the guest; interrupts without a controller count as the GIC's."""
    source, result = work / "host.dtb", work / "lopper.dts"
    source.write_bytes(blob)
    result.unlink(missing_ok=True)
    extract = ["--", "extract", "-t", node.path, "-p", "--", "extract-xen", "-t", node.name, "-o", str(result)]
    command = [
        str(Path(sys.executable).with_name("lopper")),
        "--permissive",
        "-f",
        "--enhanced",
        str(source),
        str(work / "rest.dts"),
        *extract,
    ]
    try:
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return f"no result in {LIMIT} s"
    if not result.exists():
        return f"fails: {_last_line(done.stderr or done.stdout)}"
    try:
        tree = read_source(str(result), Runner(timeout=LIMIT))
    except DriverDomainsError as exc:
        return f"dtc does not take it: {_last_line(str(exc))}"
    ranges, lines = [], []
    for part in tree.nodes:
        ranges += list(_given(part))
        if "xen,path" in part.properties or "xen,reg" in part.properties:
            for _controller, cells, _problem in specifiers(tree, part):
                lines += [
                    (line + (16 if kind else 32), "edge" if flags & 3 else "level")
                    for kind, line, flags in zip(*[iter(cells)] * 3, strict=False)
                ]
    lacking = "" if "/gic" in tree.by_path else "; no /gic"
    return describe(ranges, lines) + lacking


def _given(part: Node) -> Iterator[tuple[int, int]]:
    parent = part.parent
    if parent is None or "xen,reg" not in part.properties:
        return
    width, size_width = parent.address_cells, parent.size_cells
    cells, step = part.cells("xen,reg"), 2 * width + size_width
    for at in range(0, len(cells) - step + 1, step):
        yield join_cells(cells[at : at + width]), join_cells(cells[at + width : at + width + size_width])


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1][:120]


def _as_booted(root: Node) -> Node:
    """Add what a boot loader would, and sdfgen needs: memory, and an initial ramdisk in it."""
    memory = next(child for child in root.children if child.text("device_type") == "memory")
    if not any(memory.cells("reg")):
        memory.set_cells("reg", *memory.cells("reg")[:-1], 0x40000000)
    ramdisk = 0xD700000 + (registers(memory)[0].address or 0)
    chosen = root.child("chosen") or Node("chosen", root)
    chosen.set_cells("linux,initrd-start", ramdisk)
    chosen.set_cells("linux,initrd-end", ramdisk + 0x1000)
    return root


def rows(name: str, path: Path, nodes: list[str]) -> Iterator[list[str]]:
    """Yield (device, ours, sdfgen's, Lopper's) for each node."""
    blob = path.read_bytes()
    tree = read_device_tree(str(path))
    booted = _as_booted(parse_dtb(blob, str(path)))
    plain = _as_booted(parse_dtb(blob, str(path)))
    plain.children = [child for child in plain.children if child.name != "__symbols__"]
    with tempfile.TemporaryDirectory() as directory_name:
        work = Path(directory_name)
        for wanted in nodes:
            node = tree.find(wanted)
            theirs = sdfgen(to_dtb(booted), node.path, work)
            if theirs.startswith("fails") and tree.labels:
                theirs += "; without `__symbols__`: " + sdfgen(to_dtb(plain), node.path, work)
            yield [f"{name} `{node.name}`", ours(tree, node), theirs, lopper(blob, node, work)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--virt", type=Path, help="the device tree of QEMU's virt board")
    virt = parser.parse_args().virt
    boards = [("Pi 4", directory() / PI4, NODES[PI4]), ("C4", directory() / C4, NODES[C4])]
    boards += [("virt", virt, VIRT)] if virt else []
    sys.stdout.write("| node | here | sdfgen | Lopper |\n|---|---|---|---|\n")
    for board in boards:
        for row in rows(*board):
            sys.stdout.write(f"| {' | '.join(row)} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
