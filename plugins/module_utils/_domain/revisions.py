# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Domains as they are defined on the host, and the definitions that they had before.

Beside `/etc/xen/NAME.cfg` there may be two more files. `NAME.cfg.previous` is the definition with which the domain ran before, to go back
to. `NAME.cfg.withdrawn` is the one that it was taken back from. Both name their images, so these are kept (`_guest_image/uses.py`).
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .._errors import InvalidInput
from .._files import read_text
from .._xen.xl import Xl
from .definition import PREVIOUS, RESTARTED, Attachment, Definition
from .disk import Disk
from .kept import backend_of, entries, part

#: The name by which `force` allows to use a definition again that the domain was taken back from.
GUARD = "withdrawn_definition"


def previous_of(path: str) -> str:
    """The file with the definition that a domain had before, for the one with its definition."""
    return f"{path}.previous"


def withdrawn_of(path: str) -> str:
    """The file with the definition that a domain was taken back from."""
    return f"{path}.withdrawn"


def on_host(
    wanted: t.Sequence[Definition],
    path: t.Callable[[str], str],
    xl: Xl,
    again: bool,
    warnings: list[str] | None = None,
    requested: t.Mapping[str, str] | None = None,
) -> list[Definition]:
    """Return the requested domains, those among them completed that are requested as the host has them.

    :param path: returns the file with the definition of a domain.
    :param again: whether definitions that were withdrawn may be used again. Otherwise the domains keep those that they have.
    :param requested: the definitions as they were requested of domains that keep an older image instead (`disk_units`), by name: they were
        withdrawn together with their images.
    :raises InvalidInput: a domain has no such definition, or xl does not accept it.
    """
    found = []
    for domain in wanted:
        file = path(domain.name)
        if domain.verb == RESTARTED:
            domain = _parsed(domain, _needed(domain, read_text(file), f"{file} does not exist"), xl)
        elif domain.verb == PREVIOUS:
            text = read_text(previous_of(file))
            if text is None and read_text(withdrawn_of(file)) is not None:
                # It has been taken back already.
                text = read_text(file)
            domain = _parsed(domain, _needed(domain, text, f"{previous_of(file)} does not exist"), xl)
        elif domain.text and not again and read_text(withdrawn_of(file)) in (domain.text, (requested or {}).get(domain.name, domain.text)):
            kept = read_text(file)
            if kept is not None and kept != domain.text:
                if warnings is not None:
                    warnings.append(
                        f"Domain {domain.name} keeps the definition in {file}: it was taken back from the requested one, which is in "
                        f"{withdrawn_of(file)}. To use that again, set force: [{GUARD}] or run the playbook update_driver_domain"
                    )
                # With it come its backends, files and devices.
                domain = _parsed(domain, kept, xl)
        found.append(domain)
    return found


def as_defined(domain: Definition, text: str, parsed: t.Mapping[str, t.Any]) -> Definition:
    """Return a domain with another definition.

    :param parsed: what xl makes of the text, which is libxl's configuration of a domain.
    """
    info, boot = part(parsed, "c_info"), part(parsed, "b_info")
    disks = [
        Disk(str(disk.get("pdev_path") or ""), bool(disk.get("readwrite")), backend_of(disk), _is_path(disk))
        for disk in entries(parsed, "disks")
    ]
    files = [str(boot[key]) for key in ("kernel", "ramdisk") if boot.get(key)]
    return replace(
        domain,
        text=text,
        kind=str(info.get("type") or "pv"),
        without_hap=info.get("hap") == "False",
        memory=int(boot.get("target_memkb") or 0) // 1024,
        vcpus=int(boot.get("max_vcpus") or 1),
        device_model=str(boot.get("device_model") or ""),
        driver_domain=info.get("driver_domain") == "True",
        kernel=str(boot.get("kernel") or ""),
        files=(*files, *(disk.target for disk in disks if disk.local)),
        copies=(),
        disks=tuple(disks),
        specifications={},
        pci=(),
        vifs=tuple(
            Attachment(
                str(vif.get("mac")),
                backend_of(vif),
                str(vif.get("bridge") or ""),
                str(vif.get("script") or ""),
                emulated=info.get("type") == "hvm" and vif.get("nictype") != "vif",
            )
            for vif in entries(parsed, "nics")
        ),
        backends=frozenset(backend_of(device) for kind in parsed for device in entries(parsed, kind)) - {""},
    )


def _parsed(domain: Definition, text: str, xl: Xl) -> Definition:
    try:
        return as_defined(domain, text, xl.parse_definition(text))
    except InvalidInput as exc:
        raise InvalidInput(f"Domain {domain.name}: {exc.problem}", exc.rule, exc.remedy) from exc


def _needed(domain: Definition, text: str | None, problem: str) -> str:
    if text is None:
        raise InvalidInput(
            f"Domain {domain.name}: {problem}",
            rule=f"the state {domain.verb} uses a definition that the host has, for which the name of the domain is enough",
            remedy="Correct the name"
            if domain.verb == RESTARTED
            else "There is one after the definition of the running domain was changed, until the next time",
        )
    return text


def _is_path(disk: t.Mapping[str, t.Any]) -> bool:
    return not backend_of(disk) and not disk.get("script") and str(disk.get("pdev_path")).startswith("/")
