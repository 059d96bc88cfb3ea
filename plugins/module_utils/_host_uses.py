# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What this host depends on: the devices that carry its SSH connections, its routes, its file systems and its swap space.

It knows no buses: the caller says which devices a path of sysfs leads through. What leads neither to a device nor to a known harmless
end counts as a use of every device that could be at the end of it.
"""

from __future__ import annotations

import os
import typing as t
from functools import cached_property

from ._files import list_directory, read_text, resolve
from ._host_chains import DISK, INTERFACE, NETWORK, SERVER, Footing, Thing, Use, follow, lost
from ._host_console import HostConsole
from ._host_disks import HostDisks
from ._host_network import HostNetwork, is_address
from ._host_next_boot import NextBoot
from ._runner import Runner

#: The guard rails, as `force` names them, that stand for something the host uses.
HOST_GUARDS = ("management_route", "default_route", "root_disk", "mounted_disk", "guest_network", "guest_disk", "console", "keyboard")

#: File systems that the host cannot run without.
_SYSTEM_MOUNTS = ("/", "/boot", "/boot/efi", "/efi", "/etc", "/usr", "/var", "/var/lib")


class HostUses:
    """Reads what this host needs to run and to be reached, once, when first asked."""

    def __init__(
        self,
        runner: Runner,
        devices_in_path: t.Callable[[str], list[str]],
        sysfs: str = "/sys",
        procfs: str = "/proc",
        environment: t.Mapping[str, str] | None = None,
    ) -> None:
        """Set where to read.

        :param devices_in_path: names the devices that a resolved path of sysfs leads through, from the top down; none if it leads
            through no device of the caller's kind.
        :param environment: the variables that sshd sets, for tests.
        """
        sysfs = resolve(sysfs)
        environment = os.environ if environment is None else environment
        self._sysfs = sysfs
        self._network = HostNetwork(runner, devices_in_path, sysfs, procfs, environment)
        self._disks = HostDisks(runner, devices_in_path, sysfs, procfs)
        # The file systems of a host lie beside its /sys.
        root = os.path.dirname(sysfs).rstrip("/")
        self._console = HostConsole(devices_in_path, sysfs, root)
        self._boot = NextBoot(root, sysfs, procfs, self._network, self._disks, _SYSTEM_MOUNTS)

    @cached_property
    def uses(self) -> list[Use]:
        """What this host needs to run and to be reached.

        :raises DriverDomainsError: it could not be read: without it a guard rail would protect nothing.
        """
        now = [*self._management(), *self._default_routes(), *self._file_systems()]
        return [*now, *self._next_boot(now), *self._guests(), *self._people()]

    def _management(self) -> t.Iterator[Use]:
        """SSH connections into this host: the interfaces that have their local addresses, and those that their answers leave by."""
        for local, peer in self._network.ssh_connections():
            owners = self._network.owners(local)
            # Rules may send the answers another way than the main table says.
            answers = self._network.way_to(peer, local)
            ways = {**dict.fromkeys(answers or (), f"the route from {local} to it: "), **dict.fromkeys(owners, f"{local} on ")}
            # A loopback address or one of a dummy is reached through whatever the answers leave by.
            carrying = {name: what for name, what in ways.items() if not self._network.is_passive(name)}
            reason = f"carries the management connection from {peer}: "
            if answers is None or not carrying:
                yield lost("management_route", f"{reason}to {local}", self._candidates, (NETWORK,))
            for name, what in sorted(carrying.items(), key=lambda item: item[0] not in owners):
                yield from self._follow("management_route", reason + what, Thing(INTERFACE, name))

    def _default_routes(self) -> t.Iterator[Use]:
        reason = "carries the default route: "
        routes = self._network.default_routes()
        for name in dict.fromkeys(name for route in routes for name in route):
            yield from self._follow("default_route", reason, Thing(INTERFACE, name))
        if not all(routes):
            yield lost("default_route", f"{reason}one without an interface", self._candidates, (NETWORK,))

    def _file_systems(self) -> t.Iterator[Use]:
        """The disks and servers of swap space and of mounted file systems; those of the system come first."""
        system = [mount for point in _SYSTEM_MOUNTS for mount in self._disks.mounts if mount.point == point]
        others = [mount for mount in self._disks.mounts if mount.point not in _SYSTEM_MOUNTS]
        needs = [("root_disk", f"holds {mount.point}: ", thing) for mount in system for thing in self._disks.of_mount(mount)]
        needs += [("root_disk", "holds swap: ", thing) for thing in self._disks.swaps()]
        known = {thing for _guard, _what, thing in needs}
        for mount in others:
            things = [thing for thing in self._disks.of_mount(mount) if thing not in known]
            needs += [("mounted_disk", f"holds the mounted file system {mount.point}: ", thing) for thing in things]
            known.update(things)
        for guard, what, thing in needs:
            yield from self._follow(guard, what, thing)

    def _next_boot(self, now: t.Sequence[Use]) -> t.Iterator[Use]:
        """What the next boot needs beyond what the host needs now."""
        known: dict[str, set[str]] = {}
        for use in now:
            known.setdefault(use.guard, set()).update(use.devices)
        for need in self._boot.needs([local for local, _peer in self._network.ssh_connections()]):
            for use in self._follow(need.guard, need.reason, need.thing):
                if not set(use.devices[-1:]) <= known.get(use.guard, set()) or (
                    use.unknown and not set(use.devices) <= known.get(use.guard, set())
                ):
                    yield use

    def _guests(self) -> t.Iterator[Use]:
        """What dom0 itself serves running guests with: the ports of its bridges, and its disks."""
        bridges: dict[str, str] = {}
        for vif, bridge in self._network.serving():
            bridges.setdefault(bridge, vif)
        for bridge, vif in bridges.items():
            reason = f"serves running guests: {vif} on "
            # A bridge whose ports lead nowhere needs no device.
            yield from (use for use in self._follow("guest_network", reason, Thing(INTERFACE, bridge)) if not use.unknown)
        backends = f"{self._sysfs}/bus/xen-backend/devices"
        for name in list_directory(backends):
            number = (read_text(f"{backends}/{name}/physical_device") or "").strip() if name.startswith("vbd-") else ""
            if ":" in number:
                yield from self._follow("guest_disk", f"serves a running guest ({name}): ", self._disks.of_backend(number))
        for program, thing in self._disks.served_by_programs():
            yield from self._follow("guest_disk", f"serves a running guest ({program}): ", thing)

    def _people(self) -> t.Iterator[Use]:
        """What somebody in front of the host needs."""
        for name, way in self._console.consoles():
            yield Use("console", f"is a console of this host: {name} -> {way[-1]}", tuple(way))
        keyboards = self._console.keyboards()
        unlocks = self._console.asks_for_a_passphrase()
        if not unlocks and not all(way for _name, way in keyboards):
            return  # another one remains, whatever becomes of these
        what = "has a keyboard that may be needed to unlock a disk" if unlocks else "has the only keyboard"
        for name, way in keyboards:
            if way:
                yield Use("keyboard", f"{what}: {name} -> {way[-1]}", tuple(way), group="" if unlocks else "keyboard")

    def _follow(self, guard: str, reason: str, top: Thing) -> t.Iterator[Use]:
        return follow(guard, reason, top, self._footing, self._candidates)

    def _footing(self, thing: Thing) -> Footing:
        if thing.kind == INTERFACE:
            return self._network.footing(thing.name)
        if thing.kind == DISK:
            return self._disks.footing(thing.name)
        if thing.kind == SERVER and is_address(thing.name):
            # A server on this host is the end of a tunnel, or has a disk of its own: where that leads is not known.
            ways = [name for name in self._network.way_to(thing.name) or () if not self._network.is_passive(name)]
            return Footing(below=[Thing(INTERFACE, name) for name in ways])
        return Footing()

    def _candidates(self, device_class: str) -> t.Iterable[str]:
        ways = self._network.ways() if device_class == NETWORK else self._disks.ways()
        return dict.fromkeys(device for way in ways for device in way)
