# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for the collection as a whole, checked on the real files."""

from __future__ import annotations

import ast
import re
import tokenize
import typing as t
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path for path in (ROOT / "plugins" / "modules").glob("*.py") if path.name != "__init__.py")
UTILS = ROOT / "plugins" / "module_utils"
UTIL_FILES = sorted(UTILS.rglob("*.py"))
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
SCENARIOS = sorted(path.parent for path in (ROOT / "extensions" / "molecule").glob("*/molecule.yml") if path.parent.name != "default")
SOURCES = sorted(
    path
    for folder in ("plugins", "tests/unit", "tests/support/testbed", "tests/support/tools", "tests/benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if path.stat().st_size
)
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "roles/*/README.md", "examples/*/README.md", "tests/**/README.md")
    for path in ROOT.glob(pattern)
)
TASK_FILES = sorted(
    path for pattern in ("roles/*/tasks/**/*.yml", "roles/*/handlers/**/*.yml", "playbooks/**/*.yml") for path in ROOT.glob(pattern)
)
#: The packages that each package of module_utils may import, apart from itself. The other flat files may be imported by all, and
#: import only each other. Everything that a module imports is sent to the host with it, so think twice before you add an edge.
EDGES: dict[str, set[str]] = {
    "_pci": {"_xen"},
    "_domain": {"_pci", "_xen", "_xenstore"},
    "_preflight": {"_domain", "_pci"},
    "_doctor": {"_domain", "_pci", "_recovery", "_xen", "_xenstore"},
    "_recovery": {"_domain", "_xen", "_xenstore"},
    "_microkit": {"_device_tree"},
    "_board": {"_device_tree"},
    "_dom0_boot": {"_pci", "_xen"},
    "_storage": {"_domain", "_xenstore"},
    "_xen_build": {"_guest_image"},
    "_uplink": {"_domain", "_pci", "_xen", "_xenstore"},
}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def load(path: Path) -> t.Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def constants(path: Path) -> dict[str, str]:
    """Return the top-level string constants of a module by name."""
    return {
        target.id: node.value.value
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def imported(path: Path) -> set[str]:
    """Return the full names of all that a Python file imports."""
    here = ["ansible_collections", "xen", "driver_domains", *path.relative_to(ROOT).parent.parts]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) + 1 - node.level] if node.level else []
            names |= {".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names}
    return names


def utils_imported(path: Path) -> set[str]:
    """Return the packages and flat files of module_utils that a Python file imports."""
    names = (re.match(r"ansible_collections\.xen\.driver_domains\.plugins\.module_utils\.(\w+)", name) for name in imported(path))
    return {match[1] for match in names if match}


def tasks_of(node: t.Any) -> t.Iterator[dict[str, t.Any]]:
    """Yield every task of a loaded task file or playbook, including those in plays and blocks."""
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
    """Either by its own unit tests, or by a role, a playbook or a molecule scenario."""
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
    """Modules take lists, so that N items cost one call. A loop over include_tasks is just as slow."""
    looped = [task.get("name", task) for task in tasks_of(load(path)) if any(key == "loop" or key.startswith("with_") for key in task)]
    assert not looped


def test_python_files_state_their_licence() -> None:
    line = "\n# SPDX-License-Identifier: GPL-3.0-or-later\n"
    assert not [name(path) for path in SOURCES if line not in path.read_text(encoding="utf-8")]


def test_module_utils_are_private() -> None:
    """An underscore and a comment say that other collections must not import them."""
    line = "\n# PRIVATE to this collection"
    public = [path for path in UTIL_FILES if not path.relative_to(UTILS).parts[0].startswith("_")]
    assert not [name(path) for path in [*public, *(path for path in UTIL_FILES if line not in path.read_text(encoding="utf-8"))]]


def test_packages_of_module_utils_have_no_init() -> None:
    """It would be sent to the host with every module that imports anything from the package."""
    assert not [name(path) for path in UTIL_FILES if path.name == "__init__.py"]


def test_packages_of_module_utils_import_only_what_they_may() -> None:
    TopologicalSorter(EDGES).prepare()  # raises CycleError
    core = {path.stem for path in UTILS.glob("*.py")} - set(EDGES) - {"_module"}
    forbidden = []
    for path in UTIL_FILES:
        own = path.relative_to(UTILS).parts[0].removesuffix(".py")
        forbidden += [f"{name(path)} imports {other}" for other in utils_imported(path) - core - EDGES.get(own, set()) - {own}]
    assert not forbidden


def test_only_one_file_of_what_runs_on_hosts_imports_ansible() -> None:
    """Everything else can be used and tested without Ansible."""
    importers = [path for path in [*UTIL_FILES, *MODULES] if any(re.match(r"ansible(\.|$)", imports) for imports in imported(path))]
    assert importers == [UTILS / "_module.py"]
    users = [path for path in (ROOT / "plugins").rglob("*.py") if "_module" in utils_imported(path)]
    assert not [name(path) for path in users if path not in MODULES]


def test_tests_of_what_runs_on_hosts_import_nothing_else() -> None:
    """ansible-test runs them without the rest of Ansible: what also needs a plugin of the controller is tested beside that plugin."""
    controller = re.compile(
        r"^\s*(?:from|import) (?:ansible_collections\.xen\.driver_domains\.plugins|ansible)\.(?!modules|module_utils|doc_fragments)",
        re.MULTILINE,
    )
    found = [
        name(path)
        for part in ("modules", "module_utils")
        for path in (ROOT / "tests/unit/plugins" / part).rglob("*.py")
        for source in [re.sub(r'""".*?"""', "", path.read_text(encoding="utf-8"), flags=re.DOTALL)]
        if controller.search(source)
    ]
    assert found == []


def test_class_names_are_unique() -> None:
    """Across all packages, so that each name means one thing."""
    count = Counter(
        node.name for path in UTIL_FILES for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ClassDef)
    )
    assert not [f"{found} x {class_name}" for class_name, found in count.items() if found > 1]


def test_docstrings_and_comments_have_no_markup_of_ansible() -> None:
    """Nothing renders it there. Use backticks."""
    markup = re.compile(r"(?<!\w)(RV|[BCEILMOV])\((?!1|n|log)[^)]")
    found = []
    for path in SOURCES:
        with path.open("rb") as file:
            texts = [token.string for token in tokenize.tokenize(file.readline) if token.type == tokenize.COMMENT]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                texts.append(ast.get_docstring(node) or "")
        found += [f"{name(path)}: {text}" for text in texts if markup.search(text)]
    assert not found


def test_the_readme_lists_every_role_and_module() -> None:
    rows = "".join(line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("|"))
    assert not [role.name for role in ROLES if f"(roles/{role.name}/README.md)" not in rows]
    assert not [path.stem for path in MODULES if f"`{path.stem}`" not in rows]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_documents_name_what_exists(path: Path) -> None:
    """Linked files, and the modules, roles, filters and playbooks that are mentioned, exist."""
    text = path.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert not [link for link in links if not (path.parent / link).exists()]
    contents = {found.stem for folder in ("plugins", "playbooks") for found in (ROOT / folder).rglob("*")}
    assert not set(re.findall(r"\bxen\.driver_domains\.(\w+)", text)) - contents - {role.name for role in ROLES}


def test_the_guide_lists_messages_as_they_are() -> None:
    """In the error table of docs/pci-devices.md, "..." and N stand for variable parts. Messages in backticks come from other programs."""
    nodes = [node for path in [*UTIL_FILES, *MODULES] for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    messages = "\n".join(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
    table = (ROOT / "docs" / "pci-devices.md").read_text(encoding="utf-8").partition("| message |")[2]
    rows = re.findall(r"^\| (\w.+?) \|", table, re.MULTILINE)
    parts = [part.strip() for row in rows for part in re.split(r"\.\.\.|\bN\b", row) if part.strip()]
    assert parts and not [part for part in parts if part not in messages]


def test_molecule_verifies_something() -> None:
    """Molecule reports success for a path without tests, such as one through a directory that does not exist."""
    project = "${MOLECULE_PROJECT_DIRECTORY}/"
    for path in load(ROOT / "extensions" / "molecule" / "config.yml")["verifier"]["additional_files_or_dirs"]:
        assert path.startswith(project)
        assert list((ROOT / path[len(project) :]).glob("test_*.py"))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=name)
def test_a_molecule_scenario_inherits_what_it_verifies(scenario: Path) -> None:
    """Unless it is about other hosts, for which it has tests of its own."""
    verifier = (load(scenario / "molecule.yml") or {}).get("verifier", {})
    if verifier.get("options", {}).get("hosts", "ansible://xen_hosts") != "ansible://xen_hosts":
        assert verifier["additional_files_or_dirs"] == [] and list(scenario.glob("tests/test_*.py"))
    else:
        assert "additional_files_or_dirs" not in verifier
    assert verifier.get("enabled", True)
