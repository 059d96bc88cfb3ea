# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How dom0 is reached, asked and passed through. A script stands for ssh."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.plugin_utils import _hypervisor

OPTIONS: dict[str, t.Any] = {
    "ssh_executable": "ssh",
    "ssh_args": "-C",
    "ssh_common_args": "-o 'ProxyCommand=nc %h %p' -F '/a b/config'",
    "ssh_extra_args": None,
    "host_key_checking": False,
    "timeout": 7,
    "port": 2222,
    "private_key_file": "/keys/it's mine",
    "remote_user": "admin",
    "host": "xen1.example.org",
}


@pytest.fixture(name="dom0")
def make_dom0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[[str], list[str]]:
    """Returns the command that reaches a dom0 whose `xl` is this script."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "ssh").write_text('#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')
    # Whoever runs the tests is root in that dom0, by sudo or without.
    (binaries / "sudo").write_text('#!/bin/sh\n[ "$1" = -n ] || exit 99\nshift\nexec "$@"\n')
    (binaries / "ip").write_text('#!/bin/sh\necho \'[{"dst": "192.0.2.1"}]\'\n')
    monkeypatch.setenv("PATH", f"{binaries}:/usr/bin:/bin")

    def dom0(script: str) -> list[str]:
        (binaries / "xl").write_text(f"#!/bin/sh\n{script}\n")
        for name in ("ssh", "sudo", "ip", "xl"):
            (binaries / name).chmod(0o755)
        return [str(binaries / "ssh"), "root@dom0"]

    return dom0


def test_the_options_of_the_connection_are_used() -> None:
    words = _hypervisor.ssh_words(OPTIONS.get)
    assert words[-1] == "xen1.example.org"
    assert words[:5] == ["ssh", "-o", "BatchMode=yes", "-o", "ControlPath=none"]
    for pair in (
        ["-o", "ProxyCommand=nc %h %p"],
        ["-F", "/a b/config"],
        ["-o", "StrictHostKeyChecking=no"],
        ["-o", "ConnectTimeout=7"],
        ["-p", "2222"],
        ["-i", "/keys/it's mine"],
        ["-l", "admin"],
    ):
        assert any(words[place : place + 2] == pair for place in range(len(words))), pair


def test_what_is_not_set_is_left_to_ssh() -> None:
    assert _hypervisor.ssh_words({"host": "xen1"}.get) == [
        "ssh",
        "-o",
        "BatchMode=yes",
        "-o",
        "ControlPath=none",
        "-o",
        "ConnectTimeout=10",
        "xen1",
    ]


@pytest.mark.skipif(not shutil.which("ssh"), reason="needs ssh to read the options")
def test_ssh_reads_the_way_through_dom0_as_it_is_meant(tmp_path: Path) -> None:
    """ssh replaces what begins with a percent sign, Ansible splits the words, and a shell reads the command."""
    config = tmp_path / "config"
    config.touch()
    jump = ["ssh", "-o", "ProxyCommand=nc %h %p", "-i", "/keys/it's mine", "xen1"]
    words = shlex.split(_hypervisor.proxy_arguments(jump))
    shown = subprocess.run(["ssh", "-F", str(config), *words, "-G", "10.0.3.15"], capture_output=True, text=True, check=True).stdout
    command = next(line.partition(" ")[2] for line in shown.splitlines() if line.startswith("proxycommand "))
    expanded = command.replace("%%", "\0").replace("%h", "10.0.3.15").replace("%p", "22").replace("\0", "%")
    assert shlex.split(expanded) == [*jump[:-1], "-W", "[10.0.3.15]:22", "xen1"]


def test_dom0_itself_needs_no_way() -> None:
    assert _hypervisor.proxy_arguments([]) == ""
    assert _hypervisor.in_dom0([], "echo 'a b'")[:2] == ["sh", "-c"]


def test_a_host_is_read_in_one_go(dom0: t.Callable[[str], list[str]]) -> None:
    jump = dom0("""[ "$*" = "list -l" ] && echo '[{"domid": 0}]'""")
    assert _hypervisor.read_host(jump, 30) == {"domains": [{"domid": 0}], "neighbours": [{"dst": "192.0.2.1"}]}
    # Without a way, on this machine.
    assert _hypervisor.read_host([], 30)["domains"] == [{"domid": 0}]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo xencall: error >&2; exit 1", "exit code 1: xencall: error"),
        ("echo nothing of the kind", "printed something other than JSON"),
        ("exec sleep 60", "did not answer within 1 s.*xenstored may be dead"),
    ],
)
def test_a_host_that_cannot_be_read_says_why(dom0: t.Callable[[str], list[str]], script: str, message: str) -> None:
    with pytest.raises(_hypervisor.HypervisorError, match=message):
        _hypervisor.read_host(dom0(script), 1 if "sleep" in script else 30)


def test_a_missing_ssh_is_named() -> None:
    with pytest.raises(_hypervisor.HypervisorError, match="cannot run /no/such/ssh"):
        _hypervisor.read_host(["/no/such/ssh", "xen1"], 5)


def test_passwords_of_consoles_stay_in_dom0(dom0: t.Callable[[str], list[str]]) -> None:
    """What was read goes into the cache of the inventory, a file that others can read."""
    config = {
        "c_info": {"name": "win", "type": "hvm", "ssidref": 3},
        "b_info": {"max_vcpus": 2, "type.hvm": {"vnc": {"passwd": "secret"}, "spice": {"passwd": "secret"}}},
        "nics": [{"mac": "00:16:3e:00:00:11", "script": "x"}],
        "vfbs": [{"vnc": {"passwd": "secret"}}],
        "disks": "none",
    }
    found = _hypervisor.read_host(dom0(f"echo '{json.dumps([{'domid': 4, 'config': config}, 7])}'"), 30)["domains"]
    kept = {"c_info": {"name": "win", "type": "hvm"}, "b_info": {"max_vcpus": 2}, "nics": [{"mac": "00:16:3e:00:00:11"}], "disks": []}
    assert found == [{"domid": 4, "config": kept}, {}]


def test_an_error_of_a_host_holds_no_escapes_of_a_terminal(dom0: t.Callable[[str], list[str]]) -> None:
    with pytest.raises(_hypervisor.HypervisorError) as caught:
        _hypervisor.read_host(dom0(r"printf '\033[2Kred\nok: [xen1]' >&2; exit 1"), 30)
    assert str(caught.value) == "exit code 1: \\x1b[2Kred\n    ok: [xen1]"


def test_nesting_without_end_is_no_answer(dom0: t.Callable[[str], list[str]]) -> None:
    with pytest.raises(_hypervisor.HypervisorError, match="something other than JSON"):
        _hypervisor.read_host(dom0("head -c 100000 /dev/zero | tr '\\0' '['"), 30)
