# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Which devices of a host can go to driver domains, as variables that are ready to paste, and why others cannot."""

from __future__ import annotations

import typing as t

from .._printable import printable_line

#: What devices are proposed, by the digits that their class begins with, and what their names begin with.
KINDS = {"02": "nic", "0d": "radio", "01": "disk", "0c03": "usb"}
#: What can be the port of a bridge.
_CARD = "nic"


def propose(devices: t.Sequence[t.Mapping[str, t.Any]], iommu: bool, names: t.Mapping[str, str] | None = None) -> str:
    """Return YAML text for `host_vars`, with what cannot go in comments.

    :param devices: as the module xl_pci_info returns them.
    :param iommu: whether the host has an IOMMU, as far as it knows.
    :param names: the names that the variables already give to devices, by BDF.
    """
    names = names or {}
    kinds = [(kind, device) for device in devices for kind in [_kind(device)] if kind]
    free = [(kind, device) for kind, device in kinds if not device["guards"] and not _taken(device, names)]
    lines = ["# Which devices can go to a driver domain."]
    if not iommu:
        lines += [
            "# No IOMMU is in use, which passing devices through needs: VT-d or AMD-Vi must be on in the firmware. Xen uses it by default;",
            "# a Linux without Xen may have it off.",
        ]
    numbers = dict.fromkeys(KINDS.values(), 0)
    called: list[tuple[str, str]] = []
    entries = []
    for kind, device in free:
        name = f"{kind}{numbers[kind]}"
        numbers[kind] += 1
        called.append((kind, name))
        entries.append(f"  - {{name: {name}, match: {{{_match(device)}}}}}    # {_text(device)}")
    lines += ["dom0_pci_assignable:", *entries] if entries else ["# None of them can."]
    cards = [name for kind, name in called if kind == _CARD]
    if cards:
        lines.append("driver_domain_domains:")
        lines += [f"  - {{name: net-{name}, pci: [{name}], bridges: [{{name: xenbr0, ports: [{name}]}}]}}" for name in cards]
    for title, chosen in (
        ("Already made assignable", [(device, "") for _kind, device in kinds if _taken(device, names)]),
        (
            "Cannot go",
            [
                (device, "; ".join(f"[{guard['guard']}] {guard['reason']}" for guard in device["guards"]))
                for _kind, device in kinds
                if device["guards"] and not _taken(device, names)
            ],
        ),
    ):
        lines += [f"# {title}:"] if chosen else []
        lines += [f"#   {_text(device)}" + (f": {reason}" if reason else "") for device, reason in chosen]
    # It is shown on a terminal, and pasted.
    return "\n".join(map(printable_line, lines)) + "\n"


def _taken(device: t.Mapping[str, t.Any], names: t.Mapping[str, str]) -> bool:
    return bool(device["pciback"] or device["bdf"] in names)


def _kind(device: t.Mapping[str, t.Any]) -> str:
    # A virtual function comes and goes with its physical one.
    if device["bridge"] or device["physical_function"]:
        return ""
    return next((kind for digits, kind in KINDS.items() if device["class"].startswith(digits)), "")


def _match(device: t.Mapping[str, t.Any]) -> str:
    """What does not move: the MAC address of a card, or where the device is plugged in."""
    return f'mac: "{device["mac"]}"' if device["mac"] else f'slot: "{device["slot"]}"'


def _text(device: t.Mapping[str, t.Any]) -> str:
    interfaces = ", ".join(interface["name"] for interface in device["interfaces"])
    words = [device["bdf"], device["vendor_device"], device["driver"] and f"driver {device['driver']}", interfaces, device["mac"]]
    return " ".join(word for word in words if word)
