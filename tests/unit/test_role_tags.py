# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every task of a role is reached by the tag of its role, and by one of install, configure and run."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
STAGES = {"install", "configure", "run"}
ALWAYS = frozenset({"always"})

#: A task by its file and name, and the tags that reach it.
Reached = tuple[str, frozenset[str]]


def tags_of(node: dict[str, t.Any]) -> frozenset[str]:
    """The tags of a task, a block or an `apply`."""
    tags = node.get("tags", [])
    return frozenset([tags] if isinstance(tags, str) else tags)


def reached(tasks_dir: Path, name: str, inherited: frozenset[str], entered: frozenset[str] | None, seen: set[t.Any]) -> t.Iterator[Reached]:
    """Follow the tasks of a file through blocks, imports and includes.

    :param inherited: tags that the tasks get from outside.
    :param entered: the tags with which Ansible gets as far as this file, None for any.
    """
    if (name, inherited, entered) in seen:
        return
    seen.add((name, inherited, entered))
    yield from through(yaml.safe_load((tasks_dir / name).read_text(encoding="utf-8")), tasks_dir, name, inherited, entered, seen)


def through(
    node: t.Any, tasks_dir: Path, name: str, inherited: frozenset[str], entered: frozenset[str] | None, seen: set[t.Any]
) -> t.Iterator[Reached]:
    """The same for a part of a file."""
    if isinstance(node, list):
        for item in node:
            yield from through(item, tasks_dir, name, inherited, entered, seen)
        return
    tags = inherited | tags_of(node)
    blocks = [node[key] for key in ("block", "rescue", "always") if key in node]
    if blocks:
        yield from through(blocks, tasks_dir, name, tags, entered, seen)
        return
    reaching = tags if entered is None or tags & ALWAYS else tags & entered
    # Static imports are no tasks: what they import has their tags.
    imported, included = node.get("ansible.builtin.import_tasks"), node.get("ansible.builtin.include_tasks")
    if imported:
        yield from reached(tasks_dir, imported["file"], tags, entered, seen)
    elif "ansible.builtin.import_role" not in node:
        yield f"{name}: {node.get('name')}", reaching
    if included:
        # What a dynamic include includes gets the tags of its `apply` and of what is around it, not its own.
        applied = inherited | tags_of(included.get("apply", {}))
        for file in included_files(tasks_dir, name, included["file"]):
            yield from reached(tasks_dir, file, applied, reaching, seen)


def included_files(tasks_dir: Path, name: str, file: str) -> list[str]:
    """The files that an include may mean: any other one where its name is a template."""
    return [file] if "{{" not in file else sorted(path.name for path in tasks_dir.glob("*.yml") if path.name not in (name, "main.yml"))


def used_by_others(role: str) -> dict[str, tuple[str, frozenset[str]]]:
    """The files of a role that other roles include by themselves: each with the other role, and the tags that its tasks get."""
    found = {}
    for other in ROLES:
        for path in (other / "tasks").glob("*.yml"):
            for task in yaml.safe_load(path.read_text(encoding="utf-8")):
                included = task.get("ansible.builtin.include_role", {})
                if included.get("name") == f"xen.driver_domains.{role}" and "tasks_from" in included:
                    found[included["tasks_from"]] = (other.name, tags_of(included.get("apply", {})))
    return found


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_tags_reach_every_task(role: Path) -> None:
    seen: set[t.Any] = set()
    tasks = [(role.name, *task) for task in reached(role / "tasks", "main.yml", frozenset(), None, seen)]
    for file, (other, applied) in used_by_others(role.name).items():
        tasks += [(other, *task) for task in reached(role / "tasks", file, applied, None, seen)]
    assert {name for name, _inherited, _entered in seen} == {path.name for path in (role / "tasks").glob("*.yml")}
    unreached = [(name, sorted(tags)) for owner, name, tags in tasks if not tags & ALWAYS and not (owner in tags and tags & STAGES)]
    assert not unreached


@pytest.mark.parametrize("role", ["driver_domain", "domu"])
def test_images_are_reached_in_the_roles_that_use_them(role: str) -> None:
    """Their tasks and those that they depend on have the tag of the role guest_image, too."""
    tasks = dict(reached(ROOT / "roles" / role / "tasks", "main.yml", frozenset(), None, set()))
    needed = {
        name
        for name in tasks
        if name.endswith(("Read what the host can run", "Check that the host can run domains of these types", "Find the devices"))
    }
    assert needed
    assert all("guest_image" in tasks[name] for name in needed)
    (build,) = [
        task
        for task in yaml.safe_load((ROOT / "roles" / role / "tasks/present.yml").read_text(encoding="utf-8"))
        if "ansible.builtin.import_role" in task
    ]
    assert build["ansible.builtin.import_role"]["name"] == "xen.driver_domains.guest_image"


@pytest.mark.parametrize("role", ["driver_domain", "domu"])
@pytest.mark.parametrize(
    ("run_tags", "skip_tags", "runs"),
    [
        (["all"], [], True),
        (["run"], [], True),
        (["configure"], [], False),
        (["install", "configure"], [], False),
        (["configure", "run"], [], True),
        (["all"], ["run"], False),
    ],
)
def test_without_the_tag_run_domains_are_only_defined(role: str, run_tags: list[str], skip_tags: list[str], runs: bool) -> None:
    variables = yaml.safe_load((ROOT / "roles" / role / "vars/main.yml").read_text(encoding="utf-8"))
    expression = trust_as_template(variables[f"__{role}_runs"])
    templar = Templar(loader=DataLoader(), variables={"ansible_run_tags": run_tags, "ansible_skip_tags": skip_tags})
    assert templar.template(expression) is runs


def test_undoing_dom0_can_be_repeated_wherever_it_ends() -> None:
    """Otherwise a boot may hide devices whose records are gone. No tag chooses one task alone."""
    tasks = yaml.safe_load((ROOT / "roles/dom0/tasks/absent.yml").read_text(encoding="utf-8"))
    assert [next(key for key in task if key.startswith("xen.")) for task in tasks] == [
        "xen.driver_domains.dom0_boot",
        "xen.driver_domains.xl_pci_assignable",
    ]
    assert all(tags_of(task) == {"configure", "run"} for task in tasks)
