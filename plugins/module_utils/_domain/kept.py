# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The configuration that libxl keeps of a running domain, and whether it is the one that a definition describes.

libxl creates a domain from it again when the domain reboots, whatever the definition file says by then. A definition can only be compared
with it after xl has parsed it, which costs a process. So a file in /run says of which two texts it is known that they agree.
"""

from __future__ import annotations

import hashlib
import json
import typing as t

from .._files import read_text, write_text


def settings(kept: str) -> dict[str, t.Any]:
    """Return the settings in a configuration that libxl keeps, which ends in a 0 byte. One that is damaged has none."""
    try:
        found = json.loads(kept.rstrip("\0"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def part(configuration: t.Mapping[str, t.Any], key: str) -> dict[str, t.Any]:
    """Return a part of a configuration, such as `b_info`; an empty one if it is not there."""
    found = configuration.get(key)
    return found if isinstance(found, dict) else {}


def entries(configuration: t.Mapping[str, t.Any], key: str) -> list[dict[str, t.Any]]:
    """Return the devices of a kind, such as `nics`, in a configuration."""
    found = configuration.get(key)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def backend_of(device: t.Mapping[str, t.Any]) -> str:
    """Return the name of the domain that serves a device; "" for dom0."""
    name = str(device.get("backend_domname") or "")
    return "" if name in ("0", "Domain-0") else name


#: The devices that the collection has parameters for. Their order says nothing: one that was detached and attached again comes last.
_DEVICES = ("nics", "disks", "pcidevs")
#: What libxl takes for a setting that is not there, by its name there; it does not always keep that (libxl__update_domain_configuration).
DEFAULTS = {"trusted": "True", "max_vcpus": 1, "avail_vcpus": [0], "mtu": 1500}
#: What xl generates each time that it parses a definition that asks for it: ms_vm_genid is "generate" or "none" (xl_parse.c).
GENERATED = frozenset({"ms_vm_genid"})


def agrees(wanted: t.Mapping[str, t.Any], actual: t.Mapping[str, t.Any], further: bool = False) -> bool:
    """Whether all that is wanted is there. What is not mentioned may have any value.

    :param further: whether there may be further devices.
    """
    if any(not _has_devices(wanted.get(kind) or [], actual.get(kind) or [], further) for kind in _DEVICES):
        return False
    return _has({key: value for key, value in wanted.items() if key not in _DEVICES}, actual)


def _has_devices(wanted: t.Any, actual: t.Any, further: bool) -> bool:
    if not (isinstance(wanted, list) and isinstance(actual, list)):
        return bool(wanted == actual)
    left = list(actual)
    for device in wanted:
        found = next((other for other in left if _has(device, other)), None)
        if found is None:
            return False
        left.remove(found)
    return further or not left


def _has(wanted: t.Any, actual: t.Any) -> bool:
    if isinstance(wanted, dict) and isinstance(actual, dict):
        return all(
            key == "uuid" or (key in GENERATED and actual.get(key)) or _has_setting(key, value, actual)
            for key, value in wanted.items()
            if value not in ({}, [])
        )
    if isinstance(wanted, list) and isinstance(actual, list):
        return len(wanted) == len(actual) and all(_has(one, other) for one, other in zip(wanted, actual))
    return bool(wanted == actual)


def _has_setting(key: str, wanted: t.Any, actual: t.Mapping[str, t.Any]) -> bool:
    """Whether a setting is there. A device that was attached again has it as libxl wrote it to XenStore."""
    found = actual.get(key, DEFAULTS.get(key))
    if key == "script" and isinstance(found, str):
        return found == wanted or found.endswith(f"/{wanted}")
    if key == "backend_domname":
        return backend_of({key: wanted}) == backend_of(actual)
    # A CD is changed while the domain runs.
    return bool(key in ("pdev_path", "format") and actual.get("is_cdrom")) or _has(wanted, found)


def agrees_at_heart(wanted: t.Mapping[str, t.Any], actual: t.Mapping[str, t.Any]) -> bool:
    """Whether they agree but for the devices, which can be attached to a running domain and detached from it."""
    return _has({key: wanted.get(key, {}) for key in ("c_info", "b_info")}, actual)


def returns_after_shutdown(kept: str) -> str:
    """Return what xl does when the domain shuts down, if it then runs again; else "".

    xl carries it out after each shutdown, whoever asked for it (xl_vmcontrol.c, domain_wait_event and handle_domain_death).
    """
    action = str(settings(kept).get("on_poweroff", "")).replace("_", "-")
    return action if action in ("restart", "rename-restart", "coredump-restart", "soft-reset") else ""


def is_known(record: str, definition: str, kept: str) -> bool:
    """Whether it is on record that the text of a definition and a kept configuration agree."""
    return (read_text(record) or "").startswith(_digests(definition, kept))


def was_started_from(record: str, definition: str, kept: str) -> bool:
    """Whether it is on record that the domain was started from this very text.

    What it has beyond that was attached since (xl_vif), so it is no change of the definition.
    """
    return (read_text(record) or "").startswith(_digests(definition)) and is_ours(record, kept)


def make_known(record: str, definition: str, kept: str) -> None:
    """Put on record that they agree, and that the domain was started from a definition of ours."""
    write_text(record, _digests(definition, kept) + _uuid(kept), mode=0o600)


def is_ours(record: str, kept: str) -> bool:
    """Whether it is on record that the domain was started from a definition of ours. Its UUID stays when it reboots."""
    uuid = _uuid(kept)
    return bool(uuid) and (read_text(record) or "").endswith(uuid)


def make_ours(record: str, kept: str) -> None:
    """Put that on record, whether the domain still agrees with the definition or not."""
    if not is_ours(record, kept):
        write_text(record, _uuid(kept), mode=0o600)


def _uuid(kept: str) -> str:
    info = settings(kept).get("c_info")
    return f"uuid {info['uuid']}\n" if isinstance(info, dict) and info.get("uuid") else ""


def _digests(*texts: str) -> str:
    return "".join(hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest() + "\n" for text in texts)
