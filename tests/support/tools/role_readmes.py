# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the tables of variables in the READMEs of the roles from their argument specs; with --check, only compare them.

The part of a README between the two markers is generated. Everything else in it is written by hand.
"""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

import yaml
from antsibull_docs_parser import dom, md, parser

BEGIN = "<!-- generated from meta/argument_specs.yml by `make docs` -->\n"
END = "<!-- end of the generated part -->\n"


class Backticks(md.MDFormatter):
    """Ansible's markup as plain Markdown for a table cell: code in backticks, all other text as it is."""

    def format_text(self, part: dom.TextPart) -> str:
        return part.text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")

    def format_code(self, part: dom.CodePart) -> str:
        return f"`{part.text}`"

    def format_option_value(self, part: dom.OptionValuePart) -> str:
        return f"`{part.value}`"

    def format_option_name(self, part: dom.OptionNamePart, url: str | None) -> str:
        name = f"`{part.name}`" if part.value is None else f"`{part.name}: {part.value}`"
        return f"{name} of `{part.plugin.fqcn}`" if part.plugin and part.plugin.type != "role" else name

    def format_link(self, part: dom.LinkPart) -> str:
        return f"[{part.text}]({part.url})"

    def format_module(self, part: dom.ModulePart, url: str | None) -> str:
        return f"`{part.fqcn}`"

    def format_plugin(self, part: dom.PluginPart, url: str | None) -> str:
        return f"`{part.plugin.fqcn}`"


def cell(text: str | list[str]) -> str:
    """Return a description, a text or a list of paragraphs, as the content of a table cell."""
    paragraphs = parser.parse([text] if isinstance(text, str) else text, parser.Context())
    return md.to_md(paragraphs, Backticks(), par_sep="<br>", par_empty="").replace("\n", " ")


def value(default: t.Any) -> str:
    """Return a default as the user would write it."""
    return default if isinstance(default, str) and default else json.dumps(default)


def rows(options: dict[str, dict[str, t.Any]], prefix: str = "") -> t.Iterator[str]:
    """One row for each option, the suboptions below theirs."""
    for name, option in options.items():
        kind = option.get("type", "str") + (f" of {option['elements']}" if "elements" in option else "")
        default = "required" if option.get("required") else f"`{value(option['default'])}`" if "default" in option else ""
        choices = f"<br>One of {', '.join(f'`{choice}`' for choice in option['choices'])}." if "choices" in option else ""
        yield f"| `{prefix}{name}` | {kind} | {default} | {cell(option['description'])}{choices} |\n"
        yield from rows(option.get("options", {}), f"{prefix}{name}{'[]' if option.get('type') == 'list' else ''}.")


def generated(entry_point: dict[str, t.Any]) -> str:
    """Return the generated part of a README."""
    return "".join(["| variable | type | default | |\n", "|---|---|---|---|\n", *rows(entry_point["options"])])


def main() -> int:
    """Write or compare every README; return the exit code."""
    different = []
    for specification in sorted((Path(__file__).resolve().parents[3] / "roles").glob("*/meta/argument_specs.yml")):
        readme = specification.parents[1] / "README.md"
        old = readme.read_text(encoding="utf-8")
        before, begin, rest = old.partition(BEGIN)
        _old, end, after = rest.partition(END)
        if not begin or not end:
            print(f"{readme} lacks the markers: {BEGIN}{END}", file=sys.stderr)
            return 1
        new = before + begin + generated(yaml.safe_load(specification.read_text(encoding="utf-8"))["argument_specs"]["main"]) + end + after
        if new != old:
            different.append(f"{readme.parent.name}/{readme.name}")
            if "--check" not in sys.argv[1:]:
                readme.write_text(new, encoding="utf-8")
    if different and "--check" in sys.argv[1:]:
        print(f"These do not match meta/argument_specs.yml, run 'make docs': {', '.join(different)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
