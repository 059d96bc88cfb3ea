# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Promises of the collection as a whole, checked on the real tree."""

from __future__ import annotations

import ast
import re
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path for path in (ROOT / "plugins" / "modules").glob("*.py") if path.name != "__init__.py")
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
SCENARIOS = sorted(path.parent for path in (ROOT / "extensions" / "molecule").glob("*/molecule.yml") if path.parent.name != "default")
SOURCES = sorted(
    path
    for folder in ("plugins", "tests/unit", "tests/support/testbed", "tests/support/tools", "tests/benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if path.stat().st_size
)
TASK_FILES = sorted(
    path for pattern in ("roles/*/tasks/**/*.yml", "roles/*/handlers/**/*.yml", "playbooks/**/*.yml") for path in ROOT.glob(pattern)
)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def load(path: Path) -> t.Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def constants(path: Path) -> dict[str, str]:
    """The module's top-level string constants."""
    return {
        target.id: node.value.value
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def tasks_of(node: t.Any) -> t.Iterator[dict[str, t.Any]]:
    """Every task of a loaded task file or playbook, through plays and blocks."""
    if isinstance(node, list):
        for item in node:
            yield from tasks_of(item)
    elif isinstance(node, dict):
        nested = [node[key] for key in ("pre_tasks", "tasks", "post_tasks", "handlers", "block", "rescue", "always") if key in node]
        if nested:
            yield from tasks_of(nested)
        else:
            yield node


def test_something_is_checked() -> None:
    assert MODULES and ROLES and SOURCES and TASK_FILES and SCENARIOS


def test_the_action_group_lists_every_module() -> None:
    groups = load(ROOT / "meta" / "runtime.yml")["action_groups"]
    assert groups == {"all": [path.stem for path in MODULES]}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_module_documentation(path: Path) -> None:
    texts = constants(path)
    documentation = yaml.safe_load(texts["DOCUMENTATION"])
    assert documentation["module"] == path.stem
    assert documentation["version_added"]
    fragments = documentation["extends_documentation_fragment"]
    info = path.stem.endswith("_info")
    assert f"xen.driver_domains.attributes{'.info_module' if info else ''}" in fragments, (
        "no attributes for check mode, diff mode, idempotence"
    )
    assert yaml.safe_load(texts["RETURN"])
    for task in tasks_of(yaml.safe_load(texts["EXAMPLES"])):
        short = [key for key in task if key in {path.stem for path in MODULES}]
        assert not short, f"examples name modules in full: {short}"


def test_every_module_is_run_by_something() -> None:
    """By its own unit tests, or for real: by a role, a playbook or a molecule scenario."""
    users = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("roles", "playbooks", "extensions", "tests")
        for path in (ROOT / folder).rglob("*.yml")
    )
    tests = ROOT / "tests" / "unit" / "plugins" / "modules"
    idle = [
        path.stem for path in MODULES if f"xen.driver_domains.{path.stem}:" not in users and not (tests / f"test_{path.stem}.py").is_file()
    ]
    assert not idle


@pytest.mark.parametrize("role", ROLES, ids=name)
def test_role_defaults_are_its_argument_specs(role: Path) -> None:
    options = load(role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = load(role / "defaults" / "main.yml") or {}
    optional = {key for key, option in options.items() if not option.get("required")}
    assert set(defaults) == optional
    documented = {key: options[key]["default"] for key in defaults if "default" in options[key]}
    assert documented == {key: defaults[key] for key in documented}


@pytest.mark.parametrize("role", ROLES, ids=name)
def test_role_variables_begin_with_its_name(role: Path) -> None:
    for folder in ("defaults", "vars"):
        path = role / folder / "main.yml"
        strangers = [key for key in (load(path) or {} if path.exists() else {}) if not re.match(rf"(__)?{role.name}_", key)]
        assert not strangers, f"{name(path)}: {strangers}"


@pytest.mark.parametrize("role", ROLES, ids=name)
def test_a_role_has_a_readme(role: Path) -> None:
    assert (role / "README.md").is_file()


@pytest.mark.parametrize("path", TASK_FILES, ids=name)
def test_no_module_call_is_looped(path: Path) -> None:
    """N items cost one call: modules take lists. A loop over include_tasks is as slow."""
    looped = [task.get("name", task) for task in tasks_of(load(path)) if any(key == "loop" or key.startswith("with_") for key in task)]
    assert not looped


def test_python_files_tell_their_licence() -> None:
    line = "\n# SPDX-License-Identifier: GPL-3.0-or-later\n"
    assert not [name(path) for path in SOURCES if line not in path.read_text(encoding="utf-8")]


def test_module_utils_are_private() -> None:
    """An underscore and a line say that other collections must not import them."""
    utils = [path for path in (ROOT / "plugins" / "module_utils").glob("*.py") if path.name != "__init__.py"]
    line = "\n# PRIVATE to this collection"
    assert not [name(path) for path in utils if not path.name.startswith("_") or line not in path.read_text(encoding="utf-8")]


def test_molecule_verifies_something() -> None:
    """Molecule takes a path without tests, as one through a directory that does not exist, for a success."""
    project = "${MOLECULE_PROJECT_DIRECTORY}/"
    for path in load(ROOT / "extensions" / "molecule" / "config.yml")["verifier"]["additional_files_or_dirs"]:
        assert path.startswith(project)
        assert list((ROOT / path[len(project) :]).glob("test_*.py"))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=name)
def test_a_molecule_scenario_inherits_what_it_verifies(scenario: Path) -> None:
    verifier = (load(scenario / "molecule.yml") or {}).get("verifier", {})
    assert "additional_files_or_dirs" not in verifier
    assert verifier.get("enabled", True)
