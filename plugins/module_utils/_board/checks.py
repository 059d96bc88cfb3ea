# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The checks of a board that read its files: whether Xen, the device tree and the partial device trees agree with each other."""

from __future__ import annotations

import re
import typing as t

from .._device_tree.analysis import Analysis
from .._device_tree.dma import is_xen_iommu, unprotected
from .._device_tree.dtb import memory_reservations
from .._device_tree.findings import ERROR, WARNING
from .._device_tree.interrupts import GIC_V2, find_gic
from .._device_tree.lint_xen_partial import PartialUse, lint_partial
from .._device_tree.registers import memory_banks, registers, reserved_memory
from .._device_tree.tree import DeviceTree, Node
from .._device_tree.xen_reg import xen_reg
from .._errors import InvalidInput
from .._plan import Plan
from .._spans import MIB, PAGE, Span, pages
from .boot_files import Files, Kernel, xen_configuration
from .configuration import ALIGNMENT, Board, DomU
from .dma_reach import check_dma_reach
from .load_map import DEVICE_TREE, XEN, LoadMap

#: The least that Xen itself needs, in bytes.
XEN_MEMORY = 16 * MIB
#: Virtual processors of a domain, by the board's GIC (vgic_max_vcpus and MAX_VIRT_CPUS).
_VCPUS_GIC_V2, _VCPUS = 8, 128
#: Files for domains: 32, with Xen itself and the device tree (MAX_MODULES).
_MODULES = 30
_OVERLAY = re.compile(r"overlay \d+")
#: What a node of a domain, or of a file for one, is compatible with.
_PREPARED = {"xen,domain", "multiboot,module", "xen,multiboot-module", "xen,domain-shared-memory-v1"}
_SCHEDULERS = {"null": "CONFIG_SCHED_NULL", "rtds": "CONFIG_SCHED_RTDS", "arinc653": "CONFIG_SCHED_ARINC653"}
NO_IOMMU = (
    "An IOMMU translates the domain's addresses. Without one, the device reads and writes at the board's addresses, which are those of the "
    "domain only if it is mapped 1:1"
)


def check_files(board: Board, files: Files, plan: Plan, *, packed_ramdisks: bool) -> None:
    """Check every file of the board, and that they agree with each other; warnings and refusals go to `plan`.

    :param packed_ramdisks: whether ramdisks may be compressed with something other than gzip.
    :raises InvalidInput: a file is not what it must be, or breaks a rule.
    """
    files.kernel(board.xen, "xen", packed=False)
    _check_xen(board, files, plan)
    host = files.host_tree(board.device_tree, board.overlays)
    if board.extra_commands_file:
        files.text(board.extra_commands_file, "extra_commands_file")
    _check_unprepared(board, host)
    _check_vcpus(board, host)
    check_dma_reach(board, host)
    if "dtuart" in board.xen_words and _console(board, host) is None:
        plan.warnings.append(
            f"xen_cmdline has dtuart={board.xen_words['dtuart']}, and {board.device_tree} has neither such a path nor such an alias: Xen "
            "will have no console, and it is not checked whether a domain has its UART"
        )
    if board.dom0:
        kernel = files.kernel(board.dom0.kernel, "dom0.kernel")
        ramdisk = files.ramdisk(board.dom0.ramdisk, "dom0.ramdisk", packed_ramdisks) if board.dom0.ramdisk else 0
        _check_guest_memory("dom0", board.dom0.memory, kernel, ramdisk)
    for domu in board.booted:
        _check_emulated_uart(board, domu, host)
        kernel = files.kernel(domu.kernel, f"{domu.name}: kernel")
        ramdisk = files.ramdisk(domu.ramdisk, f"{domu.name}: ramdisk", packed_ramdisks) if domu.ramdisk else 0
        _check_guest_memory(domu.name, domu.memory, kernel, ramdisk)
    analysis = Analysis(host)
    for domu in board.domus:
        _check_passthrough(board, domu, analysis, files, plan)
    if board.dom0:
        _warn_of_users(board, analysis, plan)
    _check_pages(board, files)


def check_memory(board: Board, files: Files, load_map: LoadMap, plan: Plan) -> None:
    """Check that the board has enough RAM, and that no file is loaded into memory that is reserved for a domain.

    :raises InvalidInput: the RAM does not suffice, or a file is in the way.
    """
    host = files.host_tree(board.device_tree, board.overlays)
    # Two banks can be one range of addresses.
    banks = pages(memory_banks(host))
    window = board.memory
    if banks and not any(bank.contains(window) for bank in banks):
        raise InvalidInput(
            f"memory_start..memory_end is {window}, and {board.device_tree} has no such RAM",
            rule="the window lies within one range of RAM",
            remedy="The tree has " + ", ".join(map(str, banks)),
        )
    owned = [("static_heap", region) for region in board.static_heap]
    owned += [(domu.name, region) for domu in board.booted for region in domu.static_memory]
    kept = [(path, span) for path, span in reserved_memory(host) if "reusable" not in host.by_path[path].properties]
    kept += [("/memreserve/", span) for span in memory_reservations(files.read(board.device_tree, "device_tree"))]
    for owner, region in owned:
        for slot in load_map.slots:
            if region.overlaps(slot.span):
                raise InvalidInput(
                    f"{owner}: its memory {region} overlaps {slot.span}, where {slot.what} is loaded",
                    remedy=f"Choose memory outside of {window}",
                )
        if banks and not any(bank.contains(region) for bank in banks):
            raise InvalidInput(f"{owner}: its memory {region} is not RAM of the board", remedy="The tree has " + ", ".join(map(str, banks)))
    for owner, region in [*owned, *((f"the load map ({slot.what})", slot.span) for slot in load_map.slots)]:
        for path, span in kept:
            if region.overlaps(span):
                raise InvalidInput(
                    f"{owner}: {region} overlaps {span}, which {path} of {board.device_tree} sets aside",
                    rule="such memory belongs to the firmware or to a device",
                    remedy="Choose other memory: for the load map by memory_start and memory_end",
                )
    _check_xen_limits(board, files, load_map)
    ram = board.ram or sum(bank.size for bank in banks)
    if not ram:
        plan.warnings.append(
            f"{board.device_tree} does not say how much RAM the board has (its firmware fills it in), so it is not checked whether all "
            "domains fit. Set ram to have it checked"
        )
        return
    loaded = sum({slot.address: slot.room for slot in load_map.slots}.values())
    domains = ([("dom0", board.dom0.memory)] if board.dom0 else []) + [(domu.name, domu.memory) for domu in board.booted]
    heap = sum(region.size for region in board.static_heap) // MIB
    domains += [("static_heap", heap)] if heap else []
    needed = sum(memory for _name, memory in domains) * MIB + loaded + XEN_MEMORY
    if needed > ram:
        raise InvalidInput(
            f"The domains need {needed // MIB} MiB of RAM and the board has {ram // MIB} MiB",
            rule=f"all memory together: {', '.join(f'{name} {memory}' for name, memory in domains)}, "
            f"{loaded // MIB} MiB of files until all domains are built, {XEN_MEMORY // MIB} MiB for Xen",
            remedy="Give domains less memory, or start fewer",
        )


def _check_unprepared(board: Board, host: DeviceTree) -> None:
    """Check that nobody has put domains into the board's tree already: they would be started as well, or be in the way."""
    chosen = host.root.child("chosen")
    found = [node.path for node in chosen.children if _PREPARED.intersection(node.compatible)] if chosen else []
    if found:
        raise InvalidInput(
            f"{board.device_tree} has been prepared for Xen already: {', '.join(found)}",
            rule="the boot script puts the domains into the device tree of the board itself",
            remedy="Use the tree that the kernel's package or the board's vendor has",
        )


def _check_vcpus(board: Board, host: DeviceTree) -> None:
    """Check the numbers of virtual processors: Xen stops during boot at more than its virtual GIC has (arch_sanitise_domain_config)."""
    gic = find_gic(host)
    most = _VCPUS_GIC_V2 if gic is not None and set(GIC_V2).intersection(gic.compatible) else _VCPUS
    domains = [("dom0", board.dom0.vcpus)] if board.dom0 else []
    for name, vcpus in [*domains, *((domu.name, domu.vcpus) for domu in board.booted)]:
        if vcpus > most:
            kind = "a GICv2" if most == _VCPUS_GIC_V2 else "Xen"
            raise InvalidInput(f"{name}: vcpus is {vcpus}", rule=f"a domain on {kind} has at most {most}", remedy="Give it fewer")


def _warn_of_users(board: Board, analysis: Analysis, plan: Plan) -> None:
    """Say what no longer works in dom0 because it needs a device that a domain has."""
    given = [path for domu in board.domus for path in domu.passthrough_paths]
    for path in given:
        users = dict.fromkeys(
            f"{user.path} ({name})"
            for part in analysis.tree.by_path[path].subtree()
            for user, name in analysis.users(part)
            if not any(user.path == other or user.path.startswith(f"{other}/") for other in given)
        )
        if users:
            plan.warnings.append(f"dom0 loses {path}, or a node below it, which others need: {', '.join(users)}")


def _check_xen_limits(board: Board, files: Files, load_map: LoadMap) -> None:
    """Check what Xen finds in memory when it starts."""
    xen = load_map[XEN]
    taken = Span.sized(xen.address, files.kernel(board.xen, "xen", packed=False).image_size)
    behind = next((slot for slot in load_map.slots if slot is not xen and slot.span.overlaps(taken)), None)
    if behind is not None:
        raise InvalidInput(
            f"{board.xen} takes up {taken} in memory, and {behind.what} is loaded to {behind.address:#x}",
            rule="Xen clears what is behind its file, up to the size in its header (image_size)",
            remedy="Use the module uboot_script, which leaves room for that, or a Xen that was built without options for debugging",
        )
    if load_map[DEVICE_TREE].room > ALIGNMENT:
        raise InvalidInput(
            f"{board.device_tree} has {load_map[DEVICE_TREE].size} bytes, and more with what the boot script adds",
            rule="Xen takes a device tree of at most 2 MiB (MAX_FDT_SIZE)",
            remedy="Start fewer domains, or use a smaller tree, such as one without labels (compiled without dtc's option -@)",
        )
    others = [slot for slot in load_map.slots if slot.file and slot.what not in (XEN, DEVICE_TREE) and not _OVERLAY.fullmatch(slot.what)]
    modules = {(slot.what.rpartition(" ")[2], slot.address) for slot in others}
    if len(modules) > _MODULES:
        raise InvalidInput(
            f"The domains have {len(modules)} different kernels, ramdisks and partial device trees",
            rule=f"Xen takes {_MODULES} of them, and ignores the others (MAX_MODULES)",
            remedy="Start fewer domains from here, or let more of them have the same kernel and ramdisk",
        )


def _check_guest_memory(name: str, memory: int, kernel: Kernel, ramdisk: int) -> None:
    needed = kernel.image_size + ramdisk + 2 * MIB
    if needed > memory * MIB:
        raise InvalidInput(
            f"{name}: {memory} MiB of memory are not enough: kernel and ramdisk alone need {-(-needed // MIB)} MiB",
            rule="Xen stops during boot if a domain's kernel, ramdisk and device tree do not fit into its memory",
            remedy="Give it more memory",
        )


def _xen_needs(board: Board) -> dict[str, list[str]]:
    """The build options that Xen needs for this board, each with the options that need it."""
    needs: dict[str, list[str]] = {}

    def need(option: str, why: str) -> None:
        needs.setdefault(option, []).append(why)

    for domu in board.booted:
        if domu.static_memory:
            need("CONFIG_STATIC_MEMORY", f"static_memory of {domu.name}")
        if domu.shared_memory:
            need("CONFIG_STATIC_SHM", f"shared_memory of {domu.name}")
        if domu.colors:
            need("CONFIG_LLC_COLORING", f"colors of {domu.name}")
    if board.static_heap:
        need("CONFIG_STATIC_MEMORY", "static_heap")
    for word in ("xen-llc-colors", "dom0-llc-colors"):
        if word in board.xen_words:
            need("CONFIG_LLC_COLORING", f"{word}= in xen_cmdline")
    scheduler = board.xen_words.get("sched", "")
    if scheduler in _SCHEDULERS:
        need(_SCHEDULERS[scheduler], f"sched={scheduler} in xen_cmdline")
    return needs


def _check_xen(board: Board, files: Files, plan: Plan) -> None:
    """Check Xen's build options; Debian's Xen lacks most of what boards without an IOMMU need."""
    needs = _xen_needs(board)
    configuration = xen_configuration(files.read(board.xen, "xen"))
    if configuration is None:
        if needs:
            plan.warnings.append(f"{board.xen} does not contain its build options; it must have {_listed(needs)}")
        return
    if configuration.get("CONFIG_ARM_64") != "y":
        raise InvalidInput(f"xen: {board.xen} is not built for 64-bit Arm")
    missing = {option: why for option, why in needs.items() if configuration.get(option) != "y"}
    if missing:
        raise InvalidInput(
            f"This Xen ({board.xen}) lacks what this board needs: it was built without {_listed(missing)}",
            rule="Debian's Xen for arm64 has no static memory, null scheduler or cache colouring",
            remedy="Build Xen with these options (make menuconfig, 'Configure EXPERT'), or leave out the options that need them",
        )
    default = "silo" if configuration.get("CONFIG_XSM_SILO_DEFAULT") == "y" else ""
    silo = board.xen_words.get("xsm", default) == "silo"
    if silo and len(board.booted) > 1:
        plan.warnings.append(
            "Xen runs with xsm=silo, which lets domains communicate with dom0 alone: no other domain can use a backend in a domU. "
            "Add xsm=dummy to xen_cmdline for driver domains"
        )


def _listed(needs: t.Mapping[str, t.Sequence[str]]) -> str:
    return ", ".join(f"{option} (for {', '.join(why)})" for option, why in needs.items())


def _check_passthrough(board: Board, domu: DomU, analysis: Analysis, files: Files, plan: Plan) -> None:
    host = analysis.tree
    for path in domu.passthrough_paths:
        node = host.by_path.get(path)
        if node is None:
            raise InvalidInput(
                f"{domu.name}: {board.device_tree} has no node {path}",
                remedy=f"List its nodes with dtc -I dtb -O dts; similar ones: {_similar(host, path)}",
            )
        _check_console(board, domu, host, node)
        iommu = next((part for part in node.subtree() if is_xen_iommu(part)), None)
        if iommu is not None:
            raise InvalidInput(
                f"{domu.name}: {iommu.path} is an IOMMU ({iommu.compatible[0]})",
                rule="Xen drives it, but not if it is marked with xen,passthrough: then nothing protects memory from any device",
                remedy=f"Remove {path} from passthrough_paths",
            )
        if domu.boot and not domu.direct_map:
            for device in unprotected(host, node.subtree())[:1]:
                plan.refuse(
                    "dma_without_iommu",
                    f"{domu.name}: {device.path}",
                    f"it can access memory by itself (DMA) and there is no IOMMU in front of it. {NO_IOMMU}. That needs static_memory with "
                    "direct_map, and a Xen that is built with static memory",
                )
    if not domu.passthrough_dtb:
        if domu.passthrough_paths and domu.boot:
            raise InvalidInput(
                f"{domu.name}: passthrough_paths without passthrough_dtb",
                rule="the paths take the devices from dom0; the domain finds them by the partial device tree",
                remedy="Set passthrough_dtb to its partial device tree",
            )
        return
    if not domu.passthrough_paths:
        raise InvalidInput(
            f"{domu.name}: passthrough_dtb without passthrough_paths",
            rule="only nodes that are marked with xen,passthrough in the board's device tree can be assigned, and the paths mark them",
            remedy="List the nodes in passthrough_paths: " + ", ".join(_assigned(domu, files)),
        )
    _check_partial_tree(board, domu, analysis, files, plan)


def _console(board: Board, host: DeviceTree) -> Node | None:
    """Return the node of Xen's own console."""
    dtuart = board.xen_words.get("dtuart", "").partition(":")[0]
    return (host.by_path.get(dtuart) or host.aliases.get(dtuart)) if dtuart else host.console


def _check_console(board: Board, domu: DomU, host: DeviceTree, node: Node) -> None:
    console = _console(board, host)
    if console is not None and console in node.subtree():
        raise InvalidInput(
            f"{domu.name}: {console.path} is Xen's own console",
            rule="a device has one owner",
            remedy="Give Xen another one (dtuart=/path/of/node in xen_cmdline), or leave the device out",
        )


def _check_emulated_uart(board: Board, domu: DomU, host: DeviceTree) -> None:
    """Check that the emulated UART of a domain that is mapped 1:1 has a place: that of Xen's own (vpl011.c, domain_vpl011_init).

    Without one, a newer Xen fails to construct the domain (dom0less-build.c), and Xen 4.17 starts it without a UART that works.

    :raises InvalidInput: it has none.
    """
    if not (domu.vpl011 and domu.direct_map):
        return
    console = _console(board, host)
    span = next((register.span for register in registers(console)), None) if console is not None else None
    if span is not None and span.size >= PAGE:
        return
    why = f"{console.path} has only {span.size:#x} bytes of registers" if console is not None and span else "Xen has no UART as its console"
    raise InvalidInput(
        f"{domu.name}: {why}, so the domain cannot have an emulated UART (vpl011)",
        rule="in a domain that is mapped 1:1, the emulated UART has the addresses of Xen's own, which must be at least 4 KiB (0x1000)",
        remedy="Set vpl011: false in the domain, which then has no console; or give Xen another UART (dtuart= in xen_cmdline)",
    )


def _partial_nodes(domu: DomU, files: Files) -> tuple[Node, list[Node]]:
    tree = files.device_tree(domu.passthrough_dtb, f"{domu.name}: passthrough_dtb")
    passthrough = tree.root.child("passthrough")
    if passthrough is None:
        raise InvalidInput(
            f"{domu.name}: {domu.passthrough_dtb} has no node /passthrough",
            rule="Xen copies what is below /passthrough into the domain's device tree",
            remedy="Use a partial device tree, not a whole one; it has /gic and /passthrough, with the devices below the latter",
        )
    return passthrough, [node for node in passthrough.subtree() if node is not passthrough]


def _assigned(domu: DomU, files: Files) -> list[str]:
    return [node.text("xen,path") for node in _partial_nodes(domu, files)[1] if "xen,path" in node.properties]


def _check_partial_tree(board: Board, domu: DomU, analysis: Analysis, files: Files, plan: Plan) -> None:
    """Hold a partial tree to the rules of device_tree_lint, knowing what boots it."""
    _passthrough, nodes = _partial_nodes(domu, files)
    where = f"{domu.name}: {domu.passthrough_dtb}"
    for path in (node.text("xen,path") for node in nodes):
        known = not path or path not in analysis.tree.by_path
        if not known and not any(path == allowed or path.startswith(allowed + "/") for allowed in domu.passthrough_paths):
            raise InvalidInput(
                f"{where} assigns {path}, which is not in passthrough_paths",
                rule="Xen refuses to assign what is not marked with xen,passthrough",
                remedy=f"Add {path} to passthrough_paths",
            )
    use = PartialUse(
        dom0less=True if domu.boot else None,
        console=_console(board, analysis.tree),
        memory=domu.memory,
        direct_map=domu.direct_map,
        marked=domu.passthrough_paths,
    )
    tree = files.device_tree(domu.passthrough_dtb, f"{domu.name}: passthrough_dtb")
    findings = lint_partial(tree, where, analysis, use)
    wrong = [finding for finding in findings if finding.severity == ERROR]
    if wrong:
        raise InvalidInput(
            "; ".join(f"{finding.place}: {finding.problem}" for finding in wrong),
            rule="a partial tree that is written by hand keeps to the rules of one made by passthrough_device_tree",
            remedy="; ".join(dict.fromkeys(finding.fix for finding in wrong))
            + ". passthrough_paths are the nodes that get xen,passthrough",
        )
    plan.warnings += [f"{finding.place}: {finding.problem} ({finding.fix})" for finding in findings if finding.severity == WARNING]


def _check_pages(board: Board, files: Files) -> None:
    """Check that no page is mapped into two domains."""
    taken: list[tuple[str, Span]] = []
    for domu in board.booted:
        if not domu.passthrough_dtb:
            continue
        own = [entry.machine for node in _partial_nodes(domu, files)[1] for entry in xen_reg(node) or []]
        for span in own:
            for owner, other in taken:
                if span.overlaps(other):
                    raise InvalidInput(
                        f"{domu.name}: {domu.passthrough_dtb} maps {span}, which overlaps {other} of {owner}",
                        rule="a page of registers is mapped into one domain",
                        remedy="Pass what shares a page to the same domain",
                    )
        taken += [(domu.name, span) for span in own]


def _similar(host: DeviceTree, path: str) -> str:
    base = path.rpartition("/")[2].partition("@")[0]
    return ", ".join([node.path for node in host.nodes if node.name.partition("@")[0] == base][:5]) or "none"
