# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of a made-up board, and a U-Boot that understands what a boot script uses."""

from __future__ import annotations

import copy
import gzip
import re
import shlex
import struct
import typing as t
from pathlib import Path

from ansible_collections.xen.driver_domains.plugins.module_utils._board.options import ARGUMENT_SPEC

MIB = 1 << 20
#: The build options of Debian's Xen for arm64 that matter here.
DEBIAN_XEN = ("CONFIG_ARM_64", "CONFIG_XSM_SILO_DEFAULT", "CONFIG_STATIC_EVTCHN", "CONFIG_XSM_FLASK")


def kernel(size: int = 4096, image_size: int = 8 * MIB) -> bytes:
    """An arm64 Image."""
    return struct.pack("<IIQQ", 0, 0, 0, image_size).ljust(56, b"\0") + b"ARM\x64" + bytes(size - 60)


def xen(*options: str, release: str = "4.20") -> bytes:
    """A Xen with these build options."""
    text = f"# Xen/arm {release} Configuration\n" + "".join(f"{option}=y\n" for option in options)
    return kernel(8192, MIB) + b"\x1f\x8b\x08 not it" + gzip.compress(text.encode(), mtime=0) + bytes(100)


def ramdisk(packed: bool = True) -> bytes:
    """A ramdisk with nothing in it."""
    archive = b"070701" + b"0" * 104 + b"TRAILER!!!\0"
    return gzip.compress(archive, mtime=0) if packed else archive


def cells(*numbers: int) -> bytes:
    """Numbers as a device tree has them."""
    return struct.pack(f">{len(numbers)}I", *numbers)


def dtb(tree: dict[str, t.Any]) -> bytes:
    """Pack nested dictionaries: a dictionary is a node, bytes, text or None is a property."""
    strings = bytearray()
    body = bytearray()

    def node(name: str, content: dict[str, t.Any]) -> None:
        body.extend(struct.pack(">I", 1) + _padded(name.encode() + b"\0"))
        for key, value in content.items():
            if isinstance(value, dict):
                continue
            data = b"" if value is None else value.encode() + b"\0" if isinstance(value, str) else value
            body.extend(struct.pack(">3I", 3, len(data), len(strings)) + _padded(data))
            strings.extend(key.encode() + b"\0")
        for key, value in content.items():
            if isinstance(value, dict):
                node(key, value)
        body.extend(struct.pack(">I", 2))

    node("", tree)
    body.extend(struct.pack(">2I", 4, 9))
    start = 40 + 16
    header = (0xD00DFEED, start + len(body) + len(strings), start, start + len(body), 40, 17, 16, 0, len(strings), len(body))
    return struct.pack(">10I", *header) + bytes(16) + bytes(body) + bytes(strings)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


#: A machine much like QEMU's virt, with 2 GiB of RAM.
VIRT: dict[str, t.Any] = {
    "#address-cells": cells(2),
    "#size-cells": cells(2),
    "memory@40000000": {"device_type": "memory", "reg": cells(0, 0x40000000, 0, 0x80000000)},
    "cpus": {"cpu@0": {"phandle": cells(0x8001)}, "cpu@1": {}},
    "pl031@9010000": {"compatible": "arm,pl031", "reg": cells(0, 0x9010000, 0, 0x1000)},
    "pl011@9000000": {"compatible": "arm,pl011", "reg": cells(0, 0x9000000, 0, 0x1000)},
    "virtio_mmio@a000000": {"compatible": "virtio,mmio", "dma-coherent": None, "reg": cells(0, 0xA000000, 0, 0x1000)},
    "smmu@9050000": {"compatible": "arm,smmu-v3", "#iommu-cells": cells(1), "phandle": cells(1)},
    "ethernet@b000000": {"compatible": "cdns,gem", "iommus": cells(1, 2), "reg": cells(0, 0xB000000, 0, 0x1000)},
    "codec@c000000": {"compatible": "test,codec", "reg": cells(0, 0xC000000, 0, 0x1000)},
    "soc": {"i2c@1": {"compatible": "x"}, "spi@2": {"compatible": "y", "dmas": cells(1)}},
    "aliases": {"serial0": "/pl011@9000000"},
    "chosen": {"stdout-path": "serial0:115200n8"},
}


def partial(path: str = "/pl031@9010000", **properties: t.Any) -> dict[str, t.Any]:
    """A partial device tree with one device; a property that is False is left out."""
    address = int(path.partition("@")[2] or "9010000", 16) if path.count("/") == 1 else 0x9010000
    device = {
        "reg": cells(0, address, 0, 0x1000),
        "xen,reg": cells(0, address, 0, 0x1000, 0, address),
        "xen,path": path,
        "xen,force-assign-without-iommu": None,
        **{key.replace("_", ","): value for key, value in properties.items()},
    }
    passthrough = {"compatible": "simple-bus", "ranges": None, "#address-cells": cells(2), "#size-cells": cells(2)}
    kept = {key: value for key, value in device.items() if value is not False}
    root = {"#address-cells": cells(2), "#size-cells": cells(2)}
    return {**root, "gic": {}, "passthrough": {**passthrough, "device@9010000": kept}}


def files(directory: Path) -> Path:
    """Write the files that `parameters` names, and some more."""
    content = {
        "xen": xen(*DEBIAN_XEN),
        "xen-static": xen(*DEBIAN_XEN, "CONFIG_STATIC_MEMORY", "CONFIG_SCHED_NULL", "CONFIG_LLC_COLORING"),
        "xen-silent": kernel(),
        "Image": kernel(3 * MIB),
        "Image.gz": gzip.compress(kernel(), mtime=0),
        "rd.cpio.gz": ramdisk(),
        "rd.cpio": ramdisk(packed=False),
        "rd.zst": b"\x28\xb5\x2f\xfd" + bytes(8),
        "virt.dtb": dtb(VIRT),
        "rtc.dtb": dtb(partial()),
        "overlay.dtbo": dtb({"fragment@0": {}}),
        "extra.txt": b"echo one\necho two\n",
    }
    for name, data in content.items():
        (directory / name).write_bytes(data)
    return directory


def parameters(directory: Path, **changes: t.Any) -> dict[str, t.Any]:
    """Options as Ansible passes them: those of a valid board with dom0, and `changes`."""
    given = {
        "directory": str(directory),
        "memory_start": "0x40000000",
        "memory_end": "0xC0000000",
        "device_tree": "virt.dtb",
        "xen": "xen",
        "dom0": {"kernel": "Image", "ramdisk": "rd.cpio.gz", "memory": 512},
        "domus": [],
        **changes,
    }
    return t.cast("dict[str, t.Any]", _filled(ARGUMENT_SPEC, given))


def domu(name: str, **changes: t.Any) -> dict[str, t.Any]:
    """A domain with a kernel and a ramdisk."""
    return {"name": name, "kernel": "Image", "ramdisk": "rd.cpio.gz", "memory": 64, **changes}


def _filled(spec: t.Mapping[str, t.Any], given: t.Any) -> t.Any:
    """Add defaults, as AnsibleModule does."""
    filled = dict(given)
    for name, option in spec.items():
        value = filled.get(name, copy.copy(option.get("default")))
        if value is not None and "options" in option:
            value = [_filled(option["options"], item) for item in value] if option["type"] == "list" else _filled(option["options"], value)
        filled[name] = value
    return filled


class FakeUboot:
    """Runs a boot script on a device tree, as U-Boot would: new nodes come first, and what fails is noticed.

    :ivar tree: the device tree, nested dictionaries; the text and the numbers of a property are lists.
    :ivar exits: whether `exit` ends a script; in U-Boot 2023.01 it does not.
    """

    def __init__(self, sizes: t.Mapping[str, int], exits: bool = True) -> None:
        self.sizes, self.exits = sizes, exits
        self.tree: dict[str, t.Any] = {}
        self.loaded: dict[str, int] = {}
        self.printed: list[str] = []
        self.booted = ""
        self.environment: dict[str, str] = {"filesize": ""}

    def run(self, script: str) -> bool:
        """Run it to its end, or to `exit`; return whether it started something."""
        blocks: list[bool] = []
        for line in script.splitlines():
            if not line or line.startswith("#"):
                continue
            block = re.fullmatch(r'if test -([nz]) "\$\{(\w+)\}"; then', line)
            if block:
                blocks.append(bool(self.environment.get(block[2])) == (block[1] == "n"))
            elif line == "else":
                blocks[-1] = not blocks[-1]
            elif line == "fi":
                blocks.pop()
            elif all(blocks) and not self._line(line):
                break
            if self.booted:
                return True
        return False

    def _line(self, line: str) -> bool:
        """Run one line; return whether the script goes on."""
        failing = re.fullmatch(r"if (.*?); then true; else (.*); fi", line)
        asking = re.fullmatch(r'if test -n "\$\{(\w+)\}"; then (.*); fi', line)
        if failing:
            return bool(self._command(failing[1])) or self._list(failing[2])
        if asking:
            return not self.environment.get(asking[1]) or self._list(asking[2])
        if " || " in line:
            command, _separator, otherwise = line.rpartition(" || ")
            if not self._command(command):
                self._command(otherwise)
            return True
        return self._list(line)

    def _list(self, commands: str) -> bool:
        for command in re.split(r"; (?=setenv|echo|exit)", commands):
            if command.startswith("exit"):
                if self.exits:
                    return False
            elif not self._command(command) and not command.startswith("echo"):
                return True
        return True

    def _command(self, line: str) -> bool:
        words = shlex.split(line.replace("\\#", "'#'"))
        if words[0] in ("tftpb", "load", "fatload"):
            address, name = words[-2:]
            self.environment["filesize"] = f"{self.sizes[name]:x}" if name in self.sizes else ""
            self.loaded[name] = int(address, 0)
            return name in self.sizes
        if words[0] == "test":
            return words[1].replace("${filesize}", self.environment["filesize"]) == words[3]
        if words[0] == "setenv":
            self.environment[words[1]] = " ".join(words[2:])
        elif words[:2] == ["fdt", "mknod"]:
            return self._make(words[2], words[3])
        elif words[:2] == ["fdt", "set"]:
            node = self._find(words[2])
            if node is None:
                return False
            value = " ".join(words[4:])
            numbers = [int(cell, 0) for cell in value[1:-1].split()] if value.startswith("<") else None
            node[words[3]] = numbers if numbers is not None else words[4:]
        elif words[0] in ("booti", "bootefi"):
            self.booted = line
        elif words[0] == "echo":
            text = " ".join(words[1:])
            self.printed.append(re.sub(r"\$\{(\w+)\}", lambda match: self.environment.get(match[1], ""), text))
        elif words[0] not in ("fdt", "true"):
            raise AssertionError(f"U-Boot has no {line!r}")
        return True

    def _find(self, path: str) -> dict[str, t.Any] | None:
        node: t.Any = self.tree
        for name in path.strip("/").split("/") if path != "/" else []:
            node = node.get(name)
            if not isinstance(node, dict):
                return None
        return t.cast("dict[str, t.Any]", node)

    def _make(self, parent: str, name: str) -> bool:
        node = self._find(parent)
        if node is None or name in node:
            return False
        before = dict(node)
        node.clear()
        node.update({name: {}, **before})
        return True
