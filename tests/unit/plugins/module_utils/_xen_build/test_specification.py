# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What determines a build of Xen, and what its scripts do."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._xen_build import specification
from ansible_collections.xen.driver_domains.plugins.module_utils._xen_build.specification import REPORT, XenSource
from ansible_collections.xen.driver_domains.tests.unit.fakes.xen_build import parameters, source


def test_options_become_lines_of_a_configuration() -> None:
    config = {"CONFIG_STATIC_MEMORY": True, "XSM": False, "NR_CPUS": 8, "DOM0_MEM": "1G", "BASE": "0x4000", "EMPTY": ""}
    assert source(config=config).options == (
        "# CONFIG_XSM is not set",
        "CONFIG_BASE=0x4000",
        'CONFIG_DOM0_MEM="1G"',
        'CONFIG_EMPTY=""',
        "CONFIG_NR_CPUS=8",
        "CONFIG_STATIC_MEMORY=y",
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": {"static memory": True}}, "is not the name of an option"),
        ({"config": {"A=y\nCONFIG_B": True}}, "is not the name of an option"),
        ({"config": {"A": 'x"\nCONFIG_B=y'}}, "without double quotes"),
        ({"config": {"A": None}}, "has the value None"),
        ({"config": {"A": 1.5}}, "has the value 1.5"),
        ({"suite": "--include=x"}, "not a valid suite"),
        ({"version": "4.17'; reboot; '"}, "not the version of a source package"),
        ({"mirror": ["--setup-hook=reboot"]}, "the mirror .* is not valid"),
        ({"machine": "riscv64"}, r"This machine \(riscv64\) cannot build Xen"),
    ],
)
def test_values_that_cannot_be_used(changes: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        source(**changes)


def test_the_key_is_that_of_all_that_goes_into_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    first = source().key
    assert first == source(config=dict(reversed(parameters()["config"].items()))).key
    changed = [
        source(config={}),
        source(version="4.17.7+13-g2445b30a44-0+deb12u1"),
        source(suite="trixie"),
        source(revision="2"),
        source(mirror=["deb http://mirror.example.org/debian bookworm main"]),
    ]
    assert len({first, *(other.key for other in changed)}) == 6
    monkeypatch.setattr(specification, "BUILD_SCRIPT", "true")
    assert source().key != first


@pytest.mark.parametrize(
    ("version", "tools"),
    [("4.17.5+72-g01140da4e8-1", "4.17"), ("4.20.4+63-g7abfd2bce2-0+deb13u1", "4.20"), ("4.21-1", "4.21"), ("4.20~rc1-1", "4.20~rc1")],
)
def test_version_of_the_tools(version: str, tools: str) -> None:
    assert source(version=version).xen_version == tools


@pytest.mark.parametrize(("machine", "compiler"), [("amd64", "gcc-aarch64-linux-gnu"), ("arm64", "gcc")])
def test_compiler_is_one_that_runs_on_the_machine_that_builds(machine: str, compiler: str) -> None:
    command = source(machine=machine).build_command("/d")
    (packages,) = (word.partition("=")[2].split(",") for word in command if word.startswith("--include="))
    assert compiler in packages and f"--architectures={machine}" in command


def test_sources_are_signed_archives_unless_others_are_named() -> None:
    assert [line for line in source().sources if line.startswith("deb-src")] == [
        "deb-src http://deb.debian.org/debian bookworm main",
        "deb-src http://deb.debian.org/debian-security bookworm-security main",
    ]
    assert not any("trusted" in word or "unauthenticated" in word.lower() for word in source().build_command("/d"))
    assert source(mirror=["deb-src http://m/debian bookworm main"]).sources == ("deb-src http://m/debian bookworm main",)


APT_CACHE = """\
#!/bin/sh
echo 'Package: xen
Version: 4.17.5+72-g01140da4e8-1
Package-List:
Version: 4.17.7-1'
"""


@pytest.mark.parametrize(
    ("version", "apt_get", "kind", "text"),
    [
        ("4.18-1", "exit 0", "unlisted", "4.17.5+72-g01140da4e8-1 4.17.7-1"),
        ("4.17.5+72-g01140da4e8", "exit 0", "unlisted", "4.17.5+72-g01140da4e8-1 4.17.7-1"),
        ("4.17.7-1", "echo 'E: Failed to fetch http://d/x.dsc  404  Not Found'; exit 100", "missing", None),
        ("4.17.7-1", "echo 'E: Failed to fetch http://d/x.dsc  Hash Sum mismatch'; exit 100", "", None),
        ("4.17.7-1", "exit 0", None, None),
    ],
    ids=["unlisted", "prefix", "missing", "checksum", "there"],
)
def test_fetching(tmp_path: Path, version: str, apt_get: str, kind: str | None, text: str | None) -> None:
    """Only what the archive lacks is reported as missing, and not, for example, a file with another checksum."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in (("apt-cache", APT_CACHE), ("apt-get", f"#!/bin/sh\n{apt_get}\n")):
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "MMDEBSTRAP_APT_CONFIG": "/none"}
    command = ["sh", "-c", specification.FETCH_SCRIPT, "sh", str(tmp_path / "root"), version]
    (tmp_path / "root").mkdir()
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)
    report = REPORT.search(finished.stderr)
    assert (finished.returncode == 0) is (kind is None)
    assert (report["kind"] if report else "") == (kind or "")
    assert not report or report["text"] == text


def test_a_value_is_no_part_of_a_script() -> None:
    """Not even the version, which mmdebstrap hands to a shell, can end its quotes."""
    assert isinstance(source(), XenSource)
    hooks = [word for word in source(version="4.17.5+a~b:c.d-1").build_command("/d") if "extract-hook" in word]
    assert hooks[0].startswith("--extract-hook=set -- \"$1\" '4.17.5+a~b:c.d-1'\nset -eu\n")
