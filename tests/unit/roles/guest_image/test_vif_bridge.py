# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hotplug script of the minimal images, run by their shell and by Debian's, with stubs for what it starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[4] / "roles/guest_image/files/minimal/vif-bridge"
SHELLS = (("dash",), ("busybox", "sh"))
BACKEND = "backend/vif/7/1"

#: Each logs its call. The file `fails` names one that does not work.
STUB = r"""#!/bin/sh
printf '%s\n' "${0##*/} $*" >>"$XENDD_ROOT/calls"
read -r fails <"$XENDD_ROOT/fails" || :
[ "$fails" != "${0##*/}" ] || exit 1
"""
EFFECTS = {
    "xenstore-list": "cd \"$XENDD_ROOT/store/$1\" && printf '%s\\n' *\n",
    "xenstore-read": 'cd "$XENDD_ROOT/store" && for key; do cat "$key" || exit 1; done\n',
    "xenstore-write": "",
    "ip": 'case $* in *master*) mkdir -p "$XENDD_ROOT/sys/class/net/$4/brport" ;; esac\n',
}


class Domain:
    """A driver domain with a bridge and a new vif."""

    def __init__(self, root: Path, shell: t.Sequence[str]) -> None:
        self.root, self.shell = root, shell
        self.environment = {"vif": "vif7.1", "XENBUS_PATH": BACKEND}
        for name, text in {
            "sys/class/net/xenbr0/mtu": "1500\n",
            "sys/class/net/xenbr0/bridge/state": "",
            "sys/class/net/vif7.1/mtu": "1500\n",
            f"store/{BACKEND}/bridge": "xenbr0\n",
            f"store/{BACKEND}/script": "/etc/xen/scripts/vif-bridge\n",
            "var/log/xen/xen-hotplug.log": "",
            "fails": "\n",
        }.items():
            self.write(name, text)
        for name, effect in EFFECTS.items():
            self.program(f"bin/{name}", STUB + effect)
        self.program("scripts/vif-bridge.xen", STUB)
        shutil.copy(SCRIPT, root / "scripts")

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text, encoding="utf-8")

    def program(self, name: str, text: str) -> None:
        self.write(name, text)
        (self.root / name).chmod(0o755)

    def run(self, *arguments: str) -> list[str]:
        """Run the script, and return what it started, apart from what only reads."""
        environment = {"PATH": f"{self.root}/bin:{os.environ['PATH']}", "XENDD_ROOT": str(self.root), **self.environment}
        subprocess.run([*self.shell, str(self.root / "scripts/vif-bridge"), *arguments], env=environment, check=True, timeout=30)
        calls = self.root / "calls"
        lines = calls.read_text(encoding="utf-8").splitlines() if calls.exists() else []
        return [line for line in lines if not line.startswith(("xenstore-list", "xenstore-read"))]


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def domain(tmp_path: Path, request: pytest.FixtureRequest) -> Domain:
    return Domain(tmp_path, request.param)


ONLINE, OFFLINE = ("online", "type_if=vif"), ("offline", "type_if=vif")


def written(mtu: str) -> str:
    return f"xenstore-write /local/domain/7/device/vif/1/mtu {mtu} {BACKEND}/hotplug-status connected"


def test_a_new_vif_becomes_a_port(domain: Domain) -> None:
    assert domain.run(*ONLINE) == ["ip link set dev vif7.1 address fe:ff:ff:ff:ff:ff mtu 1500 master xenbr0 up", written("1500")]
    assert "vif7.1 is a port of xenbr0" in (domain.root / "var/log/xen/xen-hotplug.log").read_text()


@pytest.mark.parametrize(("mtu", "expected"), [("9000", "9000"), (None, "1400")])
def test_its_mtu_is_that_of_the_device_or_of_the_bridge(domain: Domain, mtu: str | None, expected: str) -> None:
    domain.write("sys/class/net/xenbr0/mtu", "1400\n")
    if mtu:
        domain.write(f"store/{BACKEND}/mtu", f"{mtu}\n")
    assert domain.run(*ONLINE)[-1] == written(expected)


def test_a_vif_that_is_removed(domain: Domain) -> None:
    assert domain.run(*OFFLINE) == []
    domain.write("sys/class/net/vif7.1/brport/state", "")
    assert domain.run(*OFFLINE) == ["ip link set dev vif7.1 nomaster down"]


@pytest.mark.parametrize("what", ["a name", "no bridge", "another bridge", "hooks", "no directory"])
def test_what_is_unusual_is_left_to_xen(domain: Domain, what: str) -> None:
    if what == "a name":
        domain.write(f"store/{BACKEND}/vifname", "web1\n")
    elif what == "no bridge":
        (domain.root / f"store/{BACKEND}/bridge").unlink()
    elif what == "another bridge":
        domain.write(f"store/{BACKEND}/bridge", "xenbr1\n")
    elif what == "hooks":
        (domain.root / "scripts/vif-post.d").mkdir()
    else:
        shutil.rmtree(domain.root / f"store/{BACKEND}")
    assert domain.run(*ONLINE) == ["vif-bridge.xen online type_if=vif"]


@pytest.mark.parametrize("arguments", [("add", "type_if=tap"), ("online", "type_if=tap"), ("online",), ()])
def test_other_calls_are_left_to_xen(domain: Domain, arguments: tuple[str, ...]) -> None:
    assert [line.rstrip() for line in domain.run(*arguments)] == [" ".join(("vif-bridge.xen", *arguments))]


@pytest.mark.parametrize("missing", ["vif", "XENBUS_PATH"])
def test_without_its_environment(domain: Domain, missing: str) -> None:
    del domain.environment[missing]
    assert domain.run(*ONLINE) == ["vif-bridge.xen online type_if=vif"]


@pytest.mark.parametrize("program", sorted(EFFECTS))
def test_what_fails_is_left_to_xen_which_says_why(domain: Domain, program: str) -> None:
    domain.write("fails", f"{program}\n")
    assert domain.run(*ONLINE)[-1] == "vif-bridge.xen online type_if=vif"
