# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Which boot options users may write as free text: none that a guarded option stands for, and none with which the host cannot boot."""

from __future__ import annotations

import re
import typing as t

from ._errors import InvalidInput

#: The least memory of dom0 in MiB: Linux with its initramfs does not boot with less.
MIN_MEMORY = 256

#: GRUB's own language takes < for an operator: what Xen reads with it cannot be written.
_OPTION = re.compile(r"[A-Za-z0-9_.,:=/@+()*%\[\]-]+")
#: Options that keep devices from their drivers, whatever the module is called: its name, an alias, `-` or `_` (params.c, parameq; kmod).
_TAKES_DEVICES = re.compile(r".*\.hide|(?:pci_stub|vfio_pci|xen_pciback|pciback)\.(?:ids|hide)")
#: A size that begins with "-" is what dom0 leaves to others.
_SIZE = re.compile(r"(?:max:)?-?(\d+)([bkmgt]?)", re.IGNORECASE)
#: In MiB. Xen reads a number without a unit as KiB, Linux as bytes (parse_size_and_unit, memparse).
_UNITS = {"b": 1 / 1048576, "k": 1 / 1024, "m": 1, "g": 1024, "t": 1048576}


def check_options(hypervisor: t.Iterable[str], kernel: t.Iterable[str]) -> None:
    """Check the free text of boot options, one option each.

    :raises InvalidInput: an option would get past the guards, would be misread by GRUB or a shell, or makes the host unable to boot.
    """
    for option in hypervisor:
        _check(option, "hypervisor_options")
        _check_limits(option)
    for option in kernel:
        _check(option, "kernel_options")
        if option.startswith("mem="):
            _check_memory(option, option[len("mem=") :], "b")


def _check(option: str, name: str) -> None:
    words = re.sub(r"[\"'\\]", "", option).split()
    for word in words:
        if _TAKES_DEVICES.fullmatch(word.partition("=")[0].replace("-", "_").lower()):
            raise InvalidInput(
                f"{name} has {option!r}, which takes devices from dom0 without any guard",
                rule="devices are hidden with the option hide: only one list is in effect, and the guards check it",
                remedy="Write the devices into hide (in the role dom0: dom0_pci_assignable) instead",
            )
    if "--" in words:
        raise InvalidInput(
            f"{name} has '--'", rule="what follows it goes to another program: Xen passes it to dom0's kernel, the kernel passes it to init"
        )
    if not _OPTION.fullmatch(option):
        raise InvalidInput(
            f"The boot option {option!r} holds a character that GRUB's configuration or a shell would interpret",
            rule="letters, digits and _.,:=/@+()*%[]-",
            remedy="Write the option without quotes, spaces and $; one list item for each option",
        )


def _check_limits(option: str) -> None:
    key, _equals, value = option.partition("=")
    if key in ("dom0_mem", "mem", "availmem"):
        for part in value.split(","):
            # min: is only a wish.
            if not part.startswith("min:"):
                _check_memory(option, part, "k")
    elif key in ("dom0_max_vcpus", "maxcpus"):
        found = re.fullmatch(r"(\d+)(?:-(\d*))?", value)
        numbers = [int(number) for number in found.groups() if number] if found else [0]
        if 0 in numbers or numbers != sorted(numbers):
            raise InvalidInput(f"{option!r} is no number of processors", rule="it is N or MIN-MAX, each at least 1")


def mebibytes(text: str, unit: str) -> float | None:
    """Return a size of memory in MiB, with or without `max:` and a sign; None for anything else, such as a percentage.

    :param unit: that of a number without one: `k` for Xen, `b` for Linux.
    """
    found = _SIZE.fullmatch(text)
    return int(found.group(1)) * _UNITS[(found.group(2) or unit).lower()] if found else None


def _check_memory(option: str, text: str, unit: str) -> None:
    size = mebibytes(text, unit)
    if size is not None and size < MIN_MEMORY:
        raise InvalidInput(
            f"{option!r} gives {'others' if '-' in text else 'dom0'} {size:.3g} MiB",
            rule=f"dom0 and its domains need at least {MIN_MEMORY} MiB each; Xen reads a number without a unit as KiB, Linux as bytes",
            remedy="Write the number with its unit, such as 2048M (in the role dom0: dom0_memory, in MiB)",
        )
