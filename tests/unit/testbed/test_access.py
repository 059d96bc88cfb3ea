# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the machine is reached: SSH, its configuration file, the inventory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import yaml
from testbed.errors import TestbedError
from testbed.inventory import inventory, to_yaml
from testbed.runtime import make_runtime_dir
from testbed.ssh import Ssh

SSH = Ssh(2222, Path("/s t/key"), Path("/r/ssh"))


def test_inventory_is_what_it_was_written_from() -> None:
    text = to_yaml(inventory(SSH, "plain"))
    assert yaml.safe_load(text) == inventory(SSH, "plain")
    assert text.startswith("---\nxen_hosts:\n  hosts:\n    dom0:\n")


def test_inventory_reaches_dom0() -> None:
    host = yaml.safe_load(to_yaml(inventory(SSH, "plain")))["xen_hosts"]["hosts"]["dom0"]
    assert (host["ansible_host"], host["ansible_port"], host["ansible_user"]) == ("127.0.0.1", 2222, "root")
    assert host["ansible_ssh_private_key_file"] == "/s t/key"
    assert host["ansible_ssh_pipelining"] is True
    assert host["ansible_python_interpreter"] == "/usr/bin/python3"
    assert "-o UserKnownHostsFile=/dev/null" in host["ansible_ssh_common_args"]
    assert "-o LogLevel=ERROR" in host["ansible_ssh_common_args"]
    assert "-o ControlPath=/r/ssh" in host["ansible_ssh_args"]
    assert {"model", "mac", "bdf", "gateway", "network"} == set(host["testbed_nics"][0])


def test_ssh_command_line() -> None:
    argv = SSH.argv("xl", "list", flags=("-O", "exit"))
    assert argv[0] == "ssh"
    assert argv[-3:] == ["root@127.0.0.1", "xl", "list"]
    assert argv.index("exit") < argv.index("root@127.0.0.1")


def test_ssh_configuration() -> None:
    lines = SSH.config().splitlines()
    assert lines[0] == "Host dom0"
    assert '    IdentityFile "/s t/key"' in lines
    assert "    Port 2222" in lines


def test_nobody_answers_on_a_closed_port() -> None:
    assert not Ssh(1, Path("key"), Path("control")).answers(timeout=0.5)


def test_each_state_directory_has_a_private_runtime_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        monkeypatch.setenv("XDG_RUNTIME_DIR", base)
        one, two = make_runtime_dir(Path("/one")), make_runtime_dir(Path("/two"))
        assert one != two
        assert one == make_runtime_dir(Path("/one"))
        assert one.stat().st_mode & 0o777 == 0o700


def test_socket_paths_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/" + "x" * 80)
    with pytest.raises(TestbedError, match="remedy: set XDG_RUNTIME_DIR or TMPDIR to a shorter directory"):
        make_runtime_dir(Path("/one"))
