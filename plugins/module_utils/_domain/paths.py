# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Where the host keeps what belongs to domains."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .._files import list_directory, read_text, resolve
from .._held_back import HELD_BACK
from .userdata import USERDATA, kept_configuration

#: The first line of every file that the collection writes for a domain.
MARKER = "# Managed by Ansible (xen.driver_domains.xl_domain): changes made here are lost.\n"
#: Stands for the unit that stops all domains, where names of domains stand for their units.
SHUTDOWN = "_shutdown"
#: What a unit's name has for a plus sign.
_PLUS = "\\x2b"


@dataclass(frozen=True)
class Paths:
    """Where the host keeps what belongs to domains; tests put it elsewhere."""

    definitions: str = "/etc/xen"
    autostart: str = "/etc/xen/auto"
    userdata: str = USERDATA
    sysfs: str = "/sys"
    #: What is known of running domains; gone with them when the host reboots.
    run: str = "/run/xen-driver-domains/definitions"
    #: Where xendomains saves domains, and restores them from (XENDOMAINS_SAVE of Debian).
    saved: str = "/var/lib/xen/save"
    #: Where units of systemd are.
    units: str = "/etc/systemd/system"
    #: Systemd keeps a directory there for each unit of a domain that is active, or runs its program; gone when the host reboots.
    active: str = "/run/xen-driver-domains/units"
    #: The program of these units.
    program: str = "/usr/local/lib/xen-driver-domains/domain.pyz"
    procfs: str = "/proc"
    #: Patterns of the device models that libxl may start; without any, those of `_xen.host`.
    device_models: tuple[str, ...] = ()
    #: What keeps needrestart from restarting domains. It reads what its package has not installed, too.
    needrestart: str = "/etc/needrestart/conf.d/xen-driver-domains.conf"
    #: The domains that are not to start at this boot.
    held_back: str = HELD_BACK
    #: There while systemd runs the host (sd_booted(3)).
    systemd: str = "/run/systemd/system"

    def definition(self, name: str) -> str:
        """The definition file of a domain."""
        return f"{self.definitions}/{name}.cfg"

    def aside(self, name: str) -> str:
        """Where the definition of others is kept that was replaced by ours."""
        return f"{self.definition(name)}.taken-over"

    def links(self, name: str) -> list[str]:
        """The links that are there, whatever they are called, that let xendomains start a domain with the host."""
        definition = resolve(self.definition(name))
        links = [f"{self.autostart}/{file}" for file in list_directory(self.autostart)]
        return [link for link in links if os.path.islink(link) and resolve(link) == definition]

    def kept(self, domid: int, uuid: str) -> str | None:
        """What libxl keeps of a running domain; None when the domain is not complete, or its UUID is not known."""
        return kept_configuration(self.userdata, domid, uuid)

    def record(self, name: str) -> str:
        """The file that says which definition a running domain is known to agree with."""
        return f"{self.run}/{name}"

    def unit(self, name: str) -> str:
        """The unit file that lets systemd start and stop a domain with the host."""
        return f"{self.units}/{unit_name(name)}"

    def wants(self, unit: str) -> str:
        """The link that lets a unit start with the host."""
        return f"{self.units}/multi-user.target.wants/{unit}"

    def has_systemd(self) -> bool:
        """Whether systemd runs the host: without it there are no units."""
        return os.path.isdir(self.systemd)

    def is_active(self, name: str) -> bool:
        """Whether the unit of a domain is active, or about to be."""
        return os.path.isdir(f"{self.active}/{name}")

    def own(self) -> list[str]:
        """Names of the domains whose definitions this collection wrote."""
        files = [file for file in list_directory(self.definitions) if file.endswith(".cfg")]
        return [file[: -len(".cfg")] for file in files if (read_text(f"{self.definitions}/{file}") or "").startswith(MARKER)]


def unit_name(name: str) -> str:
    """Return the name of the unit of a domain. Of all characters in names of domains, systemd takes only the plus sign for none of its own
    (systemd.unit(5))."""
    return f"xen-domain@{name.replace('+', _PLUS)}.service"
