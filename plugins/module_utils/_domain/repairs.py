# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""How to make a device of a running domain once more: its settings as `xl` takes them, and why it has to be done."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from . import vbd_made, vif_made
from .device_text import device_text
from .devices import CLOSED, VIF, PvDevice, broken, kept_device, lost_backend


@dataclass(frozen=True)
class Repair:
    """A device to attach, after what is left of it was detached."""

    kind: str
    #: What is there of it, if anything.
    device: PvDevice | None
    #: Name of the domain that is to serve it; "" for dom0.
    backend: str
    #: The specification for xl.
    text: str
    why: str

    def __str__(self) -> str:
        return str(self.device) if self.device else f"{'vif' if self.kind == VIF else 'disk'} {self.text}"


def fault(device: PvDevice, running: t.Collection[int]) -> str:
    """Say why a device must be made once more, or "": what it is now will never work.

    :param running: the domids of the running domains.
    """
    reason = lost_backend(device, running) or broken(device)
    if not reason and device.frontend_state in CLOSED:
        reason = f"it is closed: {device.states}"
    return reason


def repair(device: PvDevice, kept: str | None, names: t.Mapping[int, str], why: str) -> Repair:
    """Return how to make a device once more.

    :param kept: what libxl keeps of its domain.
    :param names: names of domains that run, or ran, by their domids.
    """
    own = kept_device(kept, device)
    backend = backend_name(device, own, names)
    settings = (vif_made if device.kind == VIF else vbd_made).attach_settings(device, own, backend)
    return Repair(device.kind, device, backend, device_text(device.kind, settings), why)


def backend_name(device: PvDevice, own: t.Mapping[str, t.Any] | None, names: t.Mapping[int, str]) -> str:
    """Return the name of the domain that serves, or served, a device; "" for dom0, and "?" when nobody knows.

    That is the name which it has while it runs, and then the one that libxl keeps: it may have been renamed. A domid is the wrong name for
    one that was started again.
    """
    if device.backend_path and device.backend_id == 0:
        return ""
    if device.backend:
        return device.backend
    name = str((own or {}).get("backend_domname") or "")
    if not name or name.isdecimal():
        name = names.get(device.backend_id, "") if device.backend_path else ""
    return "" if name == "Domain-0" else name or "?"
