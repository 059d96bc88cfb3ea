# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write variables as a file of an inventory, which Ansible reads as templates."""

from __future__ import annotations

import typing as t

import yaml
from ansible.errors import AnsibleFilterError

#: What begins a template.
_MARKS = ("{{", "{%", "{#")


class _Dumper(yaml.SafeDumper):
    """Indents lists, and marks texts that must not be taken for templates."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: t.Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    tag = "!unsafe" if any(mark in text for mark in _MARKS) else "tag:yaml.org,2002:str"
    return dumper.represent_scalar(tag, str(text), style='"' if tag == "!unsafe" else None)


_Dumper.add_representer(str, _text)


def inventory_text(imported: t.Mapping[str, t.Any], host: str) -> str:
    """Return the content of a file of variables, with what was not expressed as comments at its beginning.

    :param imported: what the module xl_config_info returned.
    :param host: name of the host that the variables are of.
    """
    try:
        domains, left_out = imported["domains"], imported["left_out"]
        variables = _plain(imported["variables"])
    except KeyError as exc:
        raise AnsibleFilterError(f"This is not what xl_config_info returns: there is no {exc}.") from exc
    notes = [f"{domain['name']}: {note}" for domain in domains for note in [*domain["not_expressed"], *domain["differences"]]]
    notes += [f"left out: {item['path']} {item['reason']}" for item in left_out]
    lines = [
        f"From the definitions and the running domains of {host}.",
        f"Ansible does not read this file. Rename it to {host}.yml if there is no such file, or copy its items to the lists there:",
        "a list in one file replaces that of the same name in another one.",
        *(["Not as they were:"] if notes else []),
        *(f"  {note}" for note in notes),
    ]
    comments = "".join(f"# {line}".rstrip() + "\n" for text in lines for line in text.splitlines())
    body = yaml.dump(variables, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120) if variables else "{}\n"
    return f"---\n{comments}\n{body}"


def _plain(value: t.Any) -> t.Any:
    """Return a copy without the types that Ansible gives to what it has from a host."""
    if isinstance(value, t.Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    return int(value) if isinstance(value, int) else float(value) if isinstance(value, float) else str(value)


class FilterModule:
    """The filters of the collection."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters by name."""
        return {"inventory_text": inventory_text}
