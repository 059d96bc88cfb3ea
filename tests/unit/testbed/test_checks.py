# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each check names the value, the rule and the remedy."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from testbed import checks
from testbed.errors import TestbedError


def test_programs_that_are_missing() -> None:
    with pytest.raises(TestbedError, match="no-such-program, /no/such/file; remedy: apt-get install one two$"):
        checks.programs({"sh": "dash", "no-such-program": "one", "/no/such/file": "two"})
    checks.programs({"sh": "dash", "/etc/passwd": "base-passwd"})


def test_disk(tmp_path: Path) -> None:
    checks.free_disk(tmp_path / "not" / "yet", 1, "")
    with pytest.raises(TestbedError, match=r"MiB free, 1000000000 MiB needed; remedy: free some, or buy one$"):
        checks.free_disk(tmp_path / "not" / "yet", 10**9, "buy one")


def test_memory() -> None:
    meminfo = "MemTotal: 9999999 kB\nMemAvailable:    2097152 kB\n"
    checks.free_memory(meminfo, 2048)
    with pytest.raises(TestbedError, match="^2048 MiB of memory available, the machine needs 2049 MiB; remedy: "):
        checks.free_memory(meminfo, 2049)


def test_port() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(TestbedError, match=f"^port {port} on 127.0.0.1: .* remedy: another --port"):
            checks.free_port(port)
    checks.free_port(checks.any_free_port())


def test_another_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(TestbedError, match="this machine is aarch64"):
        checks.before_build(tmp_path)
