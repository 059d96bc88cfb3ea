# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Network interfaces of this host that go with their device and come back with it.

systemd-networkd and NetworkManager configure an interface when it appears. ifupdown may leave that to others, and does not notice when one
goes. What a script of theirs put into a bridge or a bond is not put there again.
"""

from __future__ import annotations

import contextlib
import json
import os
import typing as t

from ._errors import DriverDomainsError, NotOnThisHost, TimedOut

if t.TYPE_CHECKING:
    from ._runner import Runner

#: Seconds that configuring an interface may take: DHCP has its own patience.
CONFIGURE_LIMIT = 90.0


def has_ifupdown(runner: Runner, name: str) -> bool:
    """Return whether ifupdown has a configuration for an interface (interfaces(5))."""
    with contextlib.suppress(NotOnThisHost):
        return runner.run(["ifquery", name], check=False).rc == 0
    return False


def has_address(runner: Runner, name: str) -> bool:
    """Return whether an interface has an address that others can reach.

    :raises DriverDomainsError: there is no such interface.
    """
    printed = runner.run(["ip", "-json", "address", "show", "dev", name, "scope", "global"]).stdout
    with contextlib.suppress(ValueError, AttributeError):
        return any(link.get("addr_info") for link in json.loads(printed or "[]"))
    return False


def take_down(runner: Runner, name: str) -> None:
    """Let ifupdown forget an interface that it has configured; its DHCP client ends, too."""
    with contextlib.suppress(TimedOut):
        runner.run(["ifdown", "--force", name], timeout=CONFIGURE_LIMIT, check=False)


def bring_up(runner: Runner, name: str) -> None:
    """Let ifupdown configure an interface, whatever it believes that it has done."""
    take_down(runner, name)
    with contextlib.suppress(TimedOut):
        runner.run(["ifup", "--force", name], timeout=CONFIGURE_LIMIT, check=False)


def put_back(runner: Runner, sysfs: str, name: str, master: str) -> None:
    """Have an interface that has just come back used as before; one that is used already is left alone.

    :param master: the bridge or bond that it was a port of, or "".
    """
    with contextlib.suppress(DriverDomainsError):
        if has_ifupdown(runner, name) and not has_address(runner, name):
            bring_up(runner, name)
        directory = f"{sysfs}/class/net"
        if master and os.path.exists(f"{directory}/{master}") and not os.path.lexists(f"{directory}/{name}/master"):
            # A bond takes only one that is down.
            for words in (["down"], ["master", master], ["up"]):
                runner.run(["ip", "link", "set", "dev", name, *words], check=False)
