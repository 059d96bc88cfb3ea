# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the world outside reads of the collection: Galaxy, builders of execution environments, CI, the readers of documentation."""

from __future__ import annotations

import re
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml

from .test_collection_meta import MODULES, ROOT, constants, load, name

#: Until there is a public home, which takes its place in galaxy.yml and in the commands of the README.
ADDRESS = "example.org/xen.driver_domains"
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
#: YAML that programs of others read: what must be there for them.
FOREIGN = {
    ".github/workflows/ci.yml": {"name", "on", "permissions", "jobs"},
    ".github/ISSUE_TEMPLATE/bug_report.yml": {"name", "description", "body"},
    ".github/ISSUE_TEMPLATE/idea.yml": {"name", "description", "body"},
    ".github/ISSUE_TEMPLATE/config.yml": {"blank_issues_enabled"},
    ".pre-commit-config.yaml": {"repos"},
}


def cores() -> dict[str, list[str]]:
    """Return the versions of ansible-core that tests/support/tools/cores knows, with their Pythons."""
    text = (ROOT / "tests" / "support" / "tools" / "cores").read_text(encoding="utf-8")
    return {version: pythons.split() for version, pythons in re.findall(r"\[([\d.]+)\]='([\d. ]+)'", text)}


def number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def targets() -> set[str]:
    """Return the targets of the Makefile."""
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def commands(node: t.Any) -> t.Iterator[str]:
    """Yield what a workflow or a hook runs."""
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key in ("run", "entry"))
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from commands(child)


def test_the_address_is_in_one_place() -> None:
    """Apart from the commands that a user copies."""
    galaxy = load(ROOT / "galaxy.yml")
    keys = ("repository", "homepage", "documentation", "issues")
    assert all(galaxy[key].startswith(galaxy["repository"]) for key in keys)
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    paths = [ROOT / file for file in files if file]
    having = {
        name(path)
        for path in paths
        if path.is_file() and not path.is_symlink() and ADDRESS in path.read_text(encoding="utf-8", errors="replace")
    }
    assert having - {name(Path(__file__).resolve())} == {"galaxy.yml", "README.md"}
    found = re.findall(rf"\S*{re.escape(ADDRESS)}", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert found and all(item.endswith(galaxy["repository"]) for item in found)


def test_an_execution_environment_finds_its_files() -> None:
    """Both are files: ansible-builder and galaxy-importer end with a TypeError where a list is."""
    dependencies = load(ROOT / "meta" / "execution-environment.yml")["dependencies"]
    assert set(dependencies) == {"python", "system"}
    for file in dependencies.values():
        assert (ROOT / file).is_file()
        # All that a user installs has this folder, also without tests and documents.
        assert file.startswith("meta/")
    lines = (ROOT / dependencies["system"]).read_text(encoding="utf-8").splitlines()
    assert {"openssh-client [platform:dpkg]", "mmdebstrap [platform:dpkg]"} <= set(lines)
    assert not [line for line in lines if line and not re.fullmatch(r"#.*|[a-z0-9-]+ \[platform:\w+\]", line)]


@pytest.mark.parametrize("file", FOREIGN)
def test_files_for_other_programs_are_what_these_expect(file: str) -> None:
    assert FOREIGN[file] <= set(load(ROOT / file))


def test_what_ci_and_hooks_run_exists() -> None:
    found = [word for file in FOREIGN for command in commands(load(ROOT / file)) for word in re.findall(r"^make (.+)", command)]
    assert len(found) > 3
    assert not [target for words in found for target in words.split() if target not in targets()]


def test_ci_has_every_version_that_is_supported() -> None:
    required = load(ROOT / "meta" / "runtime.yml")["requires_ansible"]
    supported = cores()
    assert required == f">={min(supported, key=number)}.0"
    jobs = load(WORKFLOW)["jobs"]
    assert jobs["sanity"]["strategy"]["matrix"]["core"] == sorted(supported, key=number)
    pairs = [(item["core"], item["python"]) for item in jobs["units"]["strategy"]["matrix"]["include"]]
    oldest = ("2.19", "3.9")
    assert pairs == [oldest, *((core, python) for core in sorted(supported, key=number) for python in supported[core])]
    assert f"Python {oldest[1]} or newer" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"ansible-core {min(supported, key=number)} or newer" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_ci_runs_each_week_and_has_one_check_for_all() -> None:
    workflow = load(WORKFLOW)
    minute, hour, day, month, weekday = workflow["on"]["schedule"][0]["cron"].split()
    assert (day, month) == ("*", "*") and minute.isdigit() and hour.isdigit() and weekday.isdigit()
    jobs = workflow["jobs"]
    assert set(jobs["all_green"]["needs"]) == set(jobs) - {"all_green", "everything"}
    assert all("timeout-minutes" in job for key, job in jobs.items() if key != "all_green")


def entries(values: dict[str, t.Any], path: str = "") -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    for key, value in values.items():
        yield f"{path}{key}", value
        yield from entries(value.get("contains") or {}, f"{path}{key}.")


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_return_values_are_described_to_the_last_key(path: Path) -> None:
    """A dictionary has `contains`, unless its keys are data, which the description says, or described where it refers to."""
    returned = yaml.safe_load(constants(path)["RETURN"])
    assert not [key for key, value in returned.items() if "sample" not in value]
    dictionaries = [(key, value) for key, value in entries(returned) if "dict" in (value["type"], value.get("elements"))]
    vague = [
        key for key, value in dictionaries if not value.get("contains") and not re.search(r"\bby\b|\b(RV|O)\(", str(value["description"]))
    ]
    assert not vague
    for key, value in entries(returned):
        sample = value.get("sample")
        item = sample[0] if isinstance(sample, list) and sample and value.get("elements") == "dict" else sample
        if isinstance(item, dict) and value.get("contains") and path.stem != "xl_pci_assignable":
            assert set(item) <= set(value["contains"]), key


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_return_value_has_a_name_that_ansible_gives_a_meaning(path: Path) -> None:
    """A list that is called `skipped` makes a task look skipped, and ansible-core 2.21 removes it."""
    taken = {
        "ansible_facts",
        "changed",
        "deprecations",
        "exception",
        "failed",
        "invocation",
        "msg",
        "rc",
        "skipped",
        "unreachable",
        "warnings",
    }
    assert not taken & set(yaml.safe_load(constants(path)["RETURN"]))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_documentation_has_no_parentheses_inside_of_code_markup(path: Path) -> None:
    """There is no escape for them: a closing one ends the markup."""
    texts = constants(path)
    assert not re.findall(r"\bC\([^()]*\([^()]*\\?\)", texts["DOCUMENTATION"] + texts["RETURN"])


def test_the_first_release_fixes_nothing() -> None:
    """Nobody had what would be fixed."""
    changelog = load(ROOT / "changelogs" / "changelog.yaml")
    changes = changelog["releases"]["0.1.0"]["changes"]
    assert "release_summary" in changes
    assert not {"bugfixes", "breaking_changes", "security_fixes", "deprecated_features", "removed_features"} & set(changes)
    assert (ROOT / "CHANGELOG.md").is_file()
