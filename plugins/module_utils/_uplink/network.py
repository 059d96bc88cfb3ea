# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Interfaces of dom0 by their names, and the programs that configure them: ifupdown, systemd-networkd or NetworkManager.

Nothing of their configuration is read or written: the vif has the name and the MAC address of the card, so it applies to either. See
`_host_interfaces` for what each of them does by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import typing as t

from .._errors import DriverDomainsError, NotOnThisHost, TimedOut
from .._files import list_directory, read_text, resolve
from .._host_interfaces import CONFIGURE_LIMIT, bring_up, has_address, has_ifupdown, take_down
from .._polling import wait_until

if t.TYPE_CHECKING:
    from .._runner import Runner

#: The unit that configures the vif whenever udev reports it. What it has started, such as a DHCP client, outlives it.
UP_UNIT = "xen-driver-domains-uplink-up.service"
#: Seconds in which an interface appears after its device is connected, and udev renames it.
APPEAR_LIMIT = 15.0
#: What an interface is called that is in the way.
_ASIDE = "uplink-old"


class UplinkNetwork:
    """Reads and changes interfaces.

    :param sysfs: directory that stands for /sys (tests).
    :param patience: factor for all timeouts (tests).
    """

    def __init__(self, runner: Runner, sysfs: str = "/sys", patience: float = 1.0) -> None:
        self._runner = runner
        self._sysfs = sysfs
        self._patience = patience

    def on_top(self, name: str) -> list[str]:
        """Return the interfaces that stand on one: a bridge or bond that it is a port of, its VLANs."""
        directory = f"{self._sysfs}/class/net/{name}"
        upper = [entry[len("upper_") :] for entry in list_directory(directory) if entry.startswith("upper_")]
        master = [os.path.basename(resolve(f"{directory}/master"))] if os.path.islink(f"{directory}/master") else []
        return list(dict.fromkeys([*master, *upper]))

    def filtered_by_number(self, name: str) -> list[str]:
        """Return what nftables has that does not apply to another interface of the same name, as `table FAMILY NAME`.

        Rules with iif and oif, and sets of such interfaces, have its number; chains and flowtables of a device go with it (nft(8)).
        """
        printed = ""
        with contextlib.suppress(NotOnThisHost, TimedOut):
            printed = self._runner.run(["nft", "--json", "list", "ruleset"], check=False).stdout
        found = []
        with contextlib.suppress(ValueError, AttributeError):
            for item in json.loads(printed or "{}").get("nftables", ()):
                for kind, values in item.items():
                    if _is_bound(kind, values, name):
                        found.append(f"table {values.get('family')} {values.get('table')}")
        return list(dict.fromkeys(found))

    def take_down(self, name: str) -> None:
        """Let ifupdown forget an interface that is about to go; its DHCP client ends, too."""
        if has_ifupdown(self._runner, name):
            take_down(self._runner, name)

    def configure(self, name: str) -> None:
        """Have the unit configure an interface, once if udev has just started it as well.

        :raises DriverDomainsError: there is no such interface.
        """
        if self._runner.run(["systemctl", "start", UP_UNIT], timeout=3 * CONFIGURE_LIMIT, check=False).rc != 0:
            self.bring_up(name)

    def bring_up(self, name: str) -> None:
        """Have an interface configured, unless it has an address already.

        :raises DriverDomainsError: there is no such interface.
        """
        if has_address(self._runner, name):
            return
        if has_ifupdown(self._runner, name):
            bring_up(self._runner, name)
            return
        self._runner.run(["ip", "link", "set", "dev", name, "up"])
        # It has seen the interface; but before that had its name, perhaps.
        if self._runner.run(["systemctl", "is-active", "--quiet", "systemd-networkd.service"], check=False).rc == 0:
            self._runner.run(["networkctl", "reconfigure", name], check=False)

    def of_vif(self, devid: int) -> str:
        """Wait for the interface of a vif of dom0, and return its name.

        :raises TimedOut: it does not appear.
        """
        directory = f"{self._sysfs}/bus/xen/devices/vif-{devid}/net"
        if not wait_until(lambda: list_directory(directory), self._patience * APPEAR_LIMIT):
            raise TimedOut(
                f"vif {devid} of dom0 is connected, but there is no interface of it",
                remedy="dom0's kernel needs the driver xen-netfront; see 'dmesg'",
            )
        self._settle()
        return list_directory(directory)[0]

    def call(self, name: str, wanted: str) -> None:
        """Give an interface its name. Another one that has it makes way.

        :raises DriverDomainsError: the kernel refuses.
        """
        if name == wanted:
            return
        if os.path.exists(f"{self._sysfs}/class/net/{wanted}"):
            self._rename(wanted, _ASIDE)
        self._rename(name, wanted)

    def give_address(self, name: str, mac: str) -> None:
        """Give an interface back the MAC address that its card had, if it has the one that the hotplug script of a driver domain gave it.

        Some cards keep that when their driver domain crashes. Any other address is one that the configuration of the host may have set.
        """
        address = (read_text(f"{self._sysfs}/class/net/{name}/address") or "").strip()
        if address != mac and address in (f"02{mac[2:]}", f"06{mac[2:]}"):
            for words in (["down"], ["address", mac], ["up"]):
                self._runner.run(["ip", "link", "set", "dev", name, *words], check=False)

    def _rename(self, name: str, wanted: str) -> None:
        self._runner.run(["ip", "link", "set", "dev", name, "down"])
        self._runner.run(["ip", "link", "set", "dev", name, "name", wanted])

    def _settle(self) -> None:
        with contextlib.suppress(DriverDomainsError):
            self._runner.run(["udevadm", "settle", f"--timeout={APPEAR_LIMIT:g}"], timeout=APPEAR_LIMIT + 5, check=False)


def _is_bound(kind: str, values: dict[str, t.Any], name: str) -> bool:
    """Whether something of nftables is for an interface by its number, or goes with it (libnftables-json(5))."""
    if kind == "rule":
        return _has(values.get("expr"), lambda part: isinstance(part, dict) and part.get("key") in ("iif", "oif")) and _has(
            values.get("expr"), lambda part: part == name
        )
    if kind in ("set", "map"):
        return "iface_index" in str(values.get("type")) and _has(values.get("elem"), lambda part: part == name)
    return kind in ("chain", "flowtable") and _has(values.get("dev"), lambda part: part == name)


def _has(part: t.Any, wanted: t.Callable[[t.Any], bool]) -> bool:
    """Whether a part of a structure is what is wanted."""
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    return wanted(part) or any(_has(other, wanted) for other in inner)
