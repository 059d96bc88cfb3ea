# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of variables that look like options."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.action.preflight import role_options
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.names import NO_OPTIONS, misspelt

ROOT = Path(__file__).resolve().parents[5]
OPTIONS = role_options(path.name for path in (ROOT / "roles").iterdir())


def shown(*names: str) -> tuple[list[str], list[str], list[str]]:
    """Errors, warnings, and names that are left alone."""
    findings, alone = misspelt(names, OPTIONS)
    texts: dict[bool, list[str]] = {False: [], True: []}
    for finding in findings:
        texts[finding.warning].append(str(finding))
    return texts[False], texts[True], alone


@pytest.mark.parametrize(
    ("name", "role", "option"),
    [
        ("dom0_pci_asignable", "dom0", "dom0_pci_assignable"),
        ("dom0_pci_assignables", "dom0", "dom0_pci_assignable"),
        ("dom0_mermory", "dom0", "dom0_memory"),
        ("dom0_vcpu", "dom0", "dom0_vcpus"),
        ("dom0_kernel_option", "dom0", "dom0_kernel_options"),
        ("driver_domain_domain", "driver_domain", "driver_domain_domains"),
        ("driver_domain_domians", "driver_domain", "driver_domain_domains"),
        ("driver_domain_restart_change", "driver_domain", "driver_domain_restart_changed"),
        ("domu_domain", "domu", "domu_domains"),
        ("domu_disks_dir", "domu", "domu_disk_dir"),
        ("guest_image_build_hosts", "guest_image", "guest_image_build_host"),
        ("guest_image_suit", "guest_image", "guest_image_suite"),
        ("board_kernell", "board", "board_kernel"),
        ("board_payload_directry", "board_payload", "board_payload_directory"),
    ],
)
def test_a_close_name_is_an_error(name: str, role: str, option: str) -> None:
    (error,), warnings, alone = shown(name)
    assert error.startswith(f"{name} is not an option of the role {role}: did you mean {option}?")
    assert (warnings, alone) == ([], [])


@pytest.mark.parametrize("name", ["driver_domains_domains", "drivr_domain_domains", "dom_pci_assignable", "guestimage_mirror"])
def test_a_close_name_with_another_prefix_is_a_warning(name: str) -> None:
    errors, (warning,), alone = shown(name)
    assert "is not an option of any role: did you mean " in warning
    assert (errors, alone) == ([], [])


@pytest.mark.parametrize(
    "name",
    [
        "dom0_ip",
        "dom0_packages_extra",
        "dom0_name",
        "driver_domain_network",
        "domu_defaults",
        "domu_base",
        "board_serial",
        "guest_image_url",
    ],
)
def test_what_only_has_the_prefix_is_left_alone(name: str) -> None:
    assert shown(name) == ([], [], [name])


@pytest.mark.parametrize("name", ["dom1_memory", "dom1_vcpus", "verify_pings", "inventory_hostname", "memory", "domains"])
def test_what_is_somebody_elses_is_not_mentioned(name: str) -> None:
    assert shown(name) == ([], [], [])


def test_every_option_and_every_fact_is_known() -> None:
    names = [*NO_OPTIONS, *(option for role in OPTIONS.values() for option in role)]
    assert len(names) > 60
    assert shown(*names) == ([], [], [])


def test_the_list_has_what_roles_and_playbooks_use() -> None:
    """Variables with the prefix of a role that are no option: the facts that roles export, and variables of playbooks."""
    prefixes = "|".join(sorted(OPTIONS, key=len, reverse=True))
    options = {option for role in OPTIONS.values() for option in role}
    files = [path for pattern in ("roles/*/tasks/*.yml", "playbooks/**/*.yml") for path in ROOT.glob(pattern)]
    texts = "".join(
        line for path in files for line in path.read_text(encoding="utf-8").splitlines(True) if not line.lstrip().startswith("#")
    )
    used = set(re.findall(rf"(?<![\w./])(?:{prefixes})_[a-z0-9_]+", texts)) - options
    filters = {path.stem for path in (ROOT / "plugins" / "filter").iterdir()}
    modules = {path.stem for path in (ROOT / "plugins" / "modules").iterdir()}
    strangers: t.Collection[str] = used - filters - modules - set(OPTIONS) - {path.stem for path in (ROOT / "playbooks").iterdir()}
    assert strangers == NO_OPTIONS


def test_our_own_variables_raise_no_alarm() -> None:
    """Neither those of the scenarios and examples, nor the results that they register."""
    paths = [path for folder in ("extensions", "examples", "tests") for path in (ROOT / folder).rglob("*.yml")]
    words = {word for path in paths for word in re.findall(r"(?<![\w./])[a-z][a-z0-9]*_[a-z0-9_]+", path.read_text(encoding="utf-8"))}
    assert len(paths) > 40 and len(words) > 200
    errors, warnings, _alone = shown(*words)
    assert (errors, warnings) == ([], [])
