# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The devices that pciback takes at boot: which of them may be hidden, and which are hidden only because addresses have moved."""

from __future__ import annotations

import re
import typing as t

from .._errors import InvalidInput
from .._files import read_text
from .._plan import Plan
from . import hide_list as _hide_list
from .device import PCIBACK_MODULE, PciDevice
from .guards import Guards
from .host import PciHost


class Hides(t.Protocol):
    """What is to be hidden at boot, as the boot options have it."""

    @property
    def hide(self) -> tuple[str, ...]:
        """The PCI addresses that we hide."""

    @property
    def foreign_hides(self) -> tuple[str, ...]:
        """What others hide."""


def check_hidden(plan: Plan, options: Hides, devices: t.Sequence[PciDevice], host: PciHost, guards: Guards, modules: str) -> None:
    """Refuse to hide a device that is not there, or that this host needs.

    :param modules: directory of the running kernel's modules.
    :raises InvalidInput: there is no such device.
    """
    missing = sorted(set(options.hide) - {str(device.bdf) for device in devices})
    if missing:
        raise InvalidInput(
            f"There is no PCI device at {', '.join(missing)}",
            rule="a device that is hidden at boot has to be present now, because another one may get that address later",
            remedy="The module xl_pci_info finds devices by stable identifiers",
        )
    to_take = not_hidden(options, devices)
    # Whoever hides a device: the next boot takes it from the host.
    theirs = [device for device in hidden_elsewhere(options, devices) if device not in to_take]
    for device in to_take:
        plan.refusals += guards.check(device, taking=[*to_take, *theirs])
    for device in theirs:
        plan.refusals += guards.check(device, f"{device.bdf}, which the boot options of others hide", [*to_take, *theirs])
    for device in too_late_drivers(to_take, modules, host):
        plan.warnings.append(
            f"{device.bdf} cannot be hidden at boot: its driver {device.driver} is built into the kernel, and {PCIBACK_MODULE} is a module"
        )


def not_hidden(options: Hides, devices: t.Sequence[PciDevice]) -> list[PciDevice]:
    """Return the devices to hide that pciback does not hold now."""
    return [device for device in devices if str(device.bdf) in options.hide and not device.pciback]


def hidden_elsewhere(options: Hides, devices: t.Sequence[PciDevice]) -> list[PciDevice]:
    """Return the devices that others hide at boot and that pciback does not hold now."""
    return [device for device in devices if not device.pciback and _hide_list.covers(options.foreign_hides, str(device.bdf))]


def outdated_hides(options: Hides, kernel_line: str, devices: t.Sequence[PciDevice]) -> list[dict[str, t.Any]]:
    """Return the devices that pciback holds only because new hardware moved them to an address that the running kernel hides.

    They are entries for the option `devices` of xl_pci_assignable, to return them.

    A device that was ever taken on purpose has a record, which stays with the device and not with the address.
    """
    try:
        hidden = [item for text in _hide_list.lists_in(kernel_line)[-1:] for item in _hide_list.parse(text)]
    except InvalidInput:
        return []
    wanted = {*options.hide, *options.foreign_hides}
    strays = (device for device in devices if device.pciback and not device.record)
    moved = [bdf for bdf in (str(device.bdf) for device in strays) if bdf in hidden and bdf not in wanted]
    return [{"name": f"stray{number}", "match": {"bdf": bdf}} for number, bdf in enumerate(moved)]


def too_late_drivers(devices: t.Iterable[PciDevice], modules: str, host: PciHost) -> list[PciDevice]:
    """Return the devices that cannot be hidden at boot: their drivers are built into the kernel while pciback is a module.

    :param modules: directory of the running kernel's modules.
    """
    if re.search(rf"/{PCIBACK_MODULE}\.ko", read_text(f"{modules}/modules.builtin") or ""):
        return []
    return [device for device in devices if device.driver and not device.pciback and not host.is_module(device.driver)]
