# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guides say what is true: each of their code blocks is checked against the collection, and the inventories in examples/ are valid.

A block of YAML that begins with `# examples/FILE` is a part of that file. Others are variables, tasks, or the file of an inventory plugin.
In a console, `$` is the controller, in a copy of the directory below examples/ that the guide names, and `#` is dom0.
"""

from __future__ import annotations

import importlib
import json
import re
import shlex
import textwrap
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.xen.driver_domains.plugins.action import preflight
from ansible_collections.xen.driver_domains.plugins.filter.domain_definitions import FilterModule
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.adopt import Address, Devices, adopt
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.definition import definitions
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.equality import same
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.model import declared
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.names import misspelt
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.options import check_options
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xlcfg_reader import read

from .fakes.domains import BLANK
from .test_collection_meta import ROOT, constants, name, tasks_of
from .test_release import targets
from .xl_parser import xl_program

GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
EXAMPLES = ROOT / "examples"
INVENTORIES = sorted(EXAMPLES.glob("*/inventory.yml"))
OPTIONS = preflight.role_options(path.name for path in (ROOT / "roles").iterdir())
SITE_OPTIONS = {role: OPTIONS[role] for role in preflight.SITE}
PLAYBOOKS = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "playbooks").glob("*.yml")}
TASKS = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "playbooks").rglob("*.yml"))
PLUGINS = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "plugins").rglob("*.py"))
GROUPS = {"xen_hosts", "boards", "guests", "driver_domains", "all"}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f someone"
#: What the templates of the examples are on some host.
VALUES = {"{{ lookup('ansible.builtin.file', '~/.ssh/id_ed25519.pub') }}": KEY, "{{ inventory_hostname }}": "xen1"}
#: Programs of others on the controller, and what the guides use of xl.
OTHERS = {"ansible-vault", "mv"}
OF_XL = {"console", "destroy", "info", "list", "network-list", "shutdown"}
#: A guide is one screen or two.
MOST_LINES = 150


class Block(t.NamedTuple):
    """A fenced block of a guide."""

    guide: Path
    line: int
    language: str
    text: str


def blocks_of(guide: Path) -> list[Block]:
    text = guide.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(guide, text.count("\n", 0, match.start()) + 1, match[1], match[2]) for match in found]


def in_language(language: str) -> list[Block]:
    return [block for guide in GUIDES for block in blocks_of(guide) if block.language == language]


def place(block: Block) -> str:
    return f"{block.guide.name}:{block.line}"


def directories(guide: Path) -> list[Path]:
    """The directories below examples/ that a guide names."""
    names = re.findall(r"\bexamples/([a-z0-9-]+)/", guide.read_text(encoding="utf-8"))
    return [EXAMPLES / found for found in dict.fromkeys(names)]


def plain(text: str) -> str:
    for template, value in VALUES.items():
        text = text.replace(template, value)
    return text


def variables_of(inventory: Path) -> dict[str, t.Any]:
    """The variables of the one host of an inventory, with those in host_vars."""
    found: dict[str, t.Any] = yaml.safe_load(plain(inventory.read_text(encoding="utf-8")))
    group = found.get("xen_hosts") or found.get("boards") or {}
    ((host, own),) = (group.get("hosts") or {"": {}}).items()
    more = inventory.parent / "host_vars" / f"{host}.yml"
    return {**own, **(yaml.safe_load(more.read_text(encoding="utf-8")) if more.exists() else {})}


def names_in(guide: Path) -> set[str]:
    """The hosts and domains that a guide speaks of: those of its inventories, and of the variables in its blocks."""
    hosts: set[str] = set()
    sources = []
    for inventory in [directory / "inventory.yml" for directory in directories(guide)]:
        found = yaml.safe_load(plain(inventory.read_text(encoding="utf-8")))
        hosts |= {host for group in found.values() for host in group.get("hosts") or {}}
        sources.append(variables_of(inventory))
    loaded = [yaml.safe_load(plain(block.text)) for block in blocks_of(guide) if block.language == "yaml"]
    sources += [content for content in loaded if isinstance(content, dict)]
    keys = ("driver_domain_domains", "domu_domains", "board_domus")
    return hosts | {domain["name"] for source in sources for key in keys for domain in source.get(key) or []}


def problems(variables: dict[str, t.Any]) -> list[str]:
    """Everything that preflight says about the variables of the host xen1, if it has no other domains."""
    values, findings = preflight.read_variables(variables, SITE_OPTIONS)
    facts = preflight.HostFacts(unread="")
    return [str(finding) for finding in findings + preflight.check_values(declared(values, SITE_OPTIONS), values, "xen1", facts, variables)]


def check_module(module: str, arguments: dict[str, t.Any]) -> None:
    """Fail if a module of the collection is not there, or does not take these arguments."""
    assert (ROOT / "plugins" / "modules" / f"{module}.py").is_file(), module
    specification = importlib.import_module(f"ansible_collections.xen.driver_domains.plugins.modules.{module}").ARGUMENTS
    assert ArgumentSpecValidator(specification).validate(arguments).error_messages == [], module


def check_tasks(content: t.Any) -> int:
    """Check the tasks of a playbook or a list that use the collection; return how many there are."""
    count = 0
    for task in tasks_of(content):
        assert re.match(r"[A-Z]", task["name"])
        for key, arguments in task.items():
            if key.startswith("xen.driver_domains."):
                check_module(key.rpartition(".")[2], arguments)
                count += 1
    return count


def test_something_is_checked() -> None:
    assert len(GUIDES) >= 10
    assert {"yaml", "console", "cfg", "text"} == {block.language for guide in GUIDES for block in blocks_of(guide)}
    assert {name(guide) for guide in GUIDES} <= {
        f"docs/{link}" for link in re.findall(r"\((guides/[^)]+)\)", (ROOT / "docs/index.md").read_text(encoding="utf-8"))
    }


def test_the_index_lists_every_document() -> None:
    """It makes the navigation of the site."""
    index = ROOT / "docs" / "index.md"
    linked = {
        (index.parent / link).resolve() for link in re.findall(r"^- \[[^]]*\]\(([^)#]+)", index.read_text(encoding="utf-8"), re.MULTILINE)
    }
    documents = {path for pattern in ("docs/**/*.md", "roles/*/README.md", "examples/*/README.md") for path in ROOT.glob(pattern)}
    assert documents - {index} <= linked


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_guide_is_short_and_has_an_inventory_and_says_what_is_tested(guide: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert directories(guide) and all((directory / "inventory.yml").is_file() for directory in directories(guide))
    assert "\n## What is tested\n" in text


@pytest.mark.parametrize("block", in_language("yaml"), ids=place)
def test_yaml(block: Block) -> None:
    first, _newline, rest = block.text.partition("\n")
    if first.startswith("# examples/"):
        lines = textwrap.dedent(rest).splitlines()
        whole = (ROOT / first.removeprefix("# ")).read_text(encoding="utf-8").splitlines()
        parts = (textwrap.dedent("\n".join(whole[start : start + len(lines)])).splitlines() for start in range(len(whole)))
        assert lines and lines in parts, f"{first} has no such lines"
        return
    content = yaml.safe_load(plain(block.text))
    if isinstance(content, list):
        assert check_tasks(content) > 0
    elif "plugin" in content:
        plugin = content["plugin"].removeprefix("xen.driver_domains.")
        options = yaml.safe_load(constants(ROOT / "plugins" / "inventory" / f"{plugin}.py")["DOCUMENTATION"])["options"]
        assert set(content) <= set(options)
    else:
        assert set(content) <= {option for spec in SITE_OPTIONS.values() for option in spec}
        assert problems(content) == []


@pytest.mark.parametrize("path", [path for path in INVENTORIES if "xen_hosts" in path.read_text(encoding="utf-8")], ids=name)
def test_inventories_of_xen_hosts_pass_preflight(path: Path) -> None:
    variables = variables_of(path)
    assert problems(variables) == []
    assert misspelt([key for key in variables if not key.startswith("ansible_")], OPTIONS) == ([], [])
    assert path.parent.name == "testbed" or variables.get("domu_domains")


@pytest.mark.parametrize("path", [path for path in INVENTORIES if "\nboards:" in path.read_text(encoding="utf-8")], ids=name)
def test_inventories_of_boards_have_options_that_exist(path: Path) -> None:
    variables = {key: value for key, value in variables_of(path).items() if not key.startswith(("ansible_", "pi4_"))}
    # This one is of the playbook board_running.
    vifs = variables.pop("board_vifs", [])
    values, findings = check_options(OPTIONS["board"], variables, "", preflight._validate, "role board")
    assert findings == [] and (values or not variables)
    domains = {domain["name"] for domain in variables.get("board_domus", [])} | {"Domain-0"}
    assert all({vif["domain"], vif["backend"]} <= domains for vif in vifs)


@pytest.mark.parametrize("path", [path for path in EXAMPLES.glob("*/*.yml") if path.name != "inventory.yml"], ids=name)
def test_playbooks_of_examples_use_modules_as_they_are(path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if isinstance(content, dict):
        assert content["plugin"] == "xen.driver_domains.xl"
        return
    roles = [role["role"].removeprefix("xen.driver_domains.") for play in content for role in play.get("roles", [])]
    assert set(roles) <= set(OPTIONS)
    others = [task for task in tasks_of([play for play in content if "tasks" in play]) if any(key.startswith("ansible.") for key in task)]
    assert check_tasks([play for play in content if "tasks" in play]) or roles or others


def commands(block: Block, prompt: str) -> list[list[str]]:
    return [shlex.split(line.removeprefix(f"{prompt} ")) for line in block.text.splitlines() if line.startswith(f"{prompt} ")]


def file_exists(guide: Path, file: str) -> bool:
    """Whether a file is in the directory that the guide copies, or is a path in a checkout."""
    return (ROOT / file).is_file() if "/" in file.removeprefix("./") else any((place / file).is_file() for place in directories(guide))


def check_variable(guide: Path, assignment: str) -> None:
    """Check what follows `-e`: a file of the user's own, or a variable of a role or a playbook."""
    if not assignment.startswith("@"):
        key, _equals, value = assignment.partition("=")
        known = any(key in options for options in OPTIONS.values()) or re.search(rf"\b{key}\b", TASKS)
        assert known or key == "ansible_connection", key
        if key in ("driver_domain", "driver_domain_drain"):
            assert set(value.split(",")) <= names_in(guide), value


def check_controller(guide: Path, words: list[str]) -> None:
    program, *rest = words
    arguments = iter(rest)
    for word in arguments:
        if word == "-i":
            assert file_exists(guide, next(arguments))
        elif word == "-e":
            check_variable(guide, next(arguments))
        elif program == "ansible" and word == "-m":
            module = next(arguments)
            options = dict(zip(rest, rest[1:]))
            if module.startswith("xen.driver_domains."):
                check_module(module.rpartition(".")[2], json.loads(options.get("-a", "{}")))
            else:
                assert module.startswith("ansible.builtin.")
        elif program == "ansible" and word == "-a":
            next(arguments)
        elif program == "ansible" and not word.startswith("-"):
            assert set(word.split(":")) <= GROUPS | names_in(guide), word
        elif program == "ansible-playbook" and word.startswith("xen.driver_domains."):
            assert word.rpartition(".")[2] in PLAYBOOKS
        elif program == "ansible-playbook" and not word.startswith("-"):
            assert file_exists(guide, word)
        elif program == "make":
            assert word in targets()
        else:
            assert not word.startswith("-") or word in ("--check", "--diff", "--ask-vault-pass", "-b"), word
    if program not in ("ansible", "ansible-playbook", "make"):
        assert program in OTHERS or file_exists(guide, program), program


def check_dom0(guide: Path, words: list[str]) -> None:
    program, *rest = words
    if program == "xl":
        assert rest[0] in OF_XL
        assert not rest[1:] or rest[-1] in names_in(guide) | {"virt_caps"}
    elif program in ("systemctl", "journalctl"):
        unit, _at, domain = rest[-1].partition("@")
        assert (f"{unit}@" if domain else f"{unit}.service") in PLUGINS
        assert not domain or domain in names_in(guide)
    else:
        assert program in PLUGINS and program.startswith("/"), program
        assert rest[0] in ("pause", "resume", "status") and set(rest[1:]) <= names_in(guide)


@pytest.mark.parametrize("block", in_language("console"), ids=place)
def test_commands(block: Block) -> None:
    assert all(line.startswith(("$ ", "# ")) for line in block.text.splitlines())
    for words in commands(block, "$"):
        check_controller(block.guide, words)
    for words in commands(block, "#"):
        check_dom0(block.guide, words)


def test_definitions_are_imported_as_the_example_says() -> None:
    """The guide shows the files in examples/migration/before; xl reads what becomes of them in the same way."""
    directory = EXAMPLES / "migration" / "before"
    shown = {}
    for block in in_language("cfg"):
        first, _newline, text = block.text.partition("\n")
        shown[first.removeprefix("# /etc/xen/")] = text
    assert shown == {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.cfg")}
    variables = variables_of(EXAMPLES / "migration" / "inventory.yml")
    devices = Devices("/nonexistent")
    for text in shown.values():
        found = adopt(read(text), devices)
        assert found.lost == []
        assert found.domain in variables[f"{found.role}_domains"]
        by_role = FilterModule().filters()["domain_definitions"]([found.domain], found.role, devices=[{"name": "net-dd.0"}])
        known: t.Any = {device: Address(bdf) for bdf, device in devices.names.items()}
        (ours,) = definitions([{**BLANK, **by_role[0]}], known)
        program = xl_program()
        theirs_parsed, ours_parsed = program.parse(text), program.parse(ours.text)
        assert theirs_parsed and ours_parsed
        assert same(theirs_parsed, ours_parsed, text) == []
    assert [device["name"] for device in variables["dom0_pci_assignable"]] == [device["name"] for device in devices.variable]
