# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Build the site of the documentation into .build/site, without a network. Any warning is an error.

Its pages are the Markdown files of the checkout, with the navigation that the lists in docs/index.md make, and what antsibull-docs
writes about each plugin and role. Files of other kinds that a page links to are downloads.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import SphinxError
from sphinx.util.docutils import docutils_namespace, patch_docutils

ROOT = Path(__file__).resolve().parents[3]
INDEX = ROOT / "docs" / "index.md"
PAGES = ("*.md", "docs/**/*.md", "roles/*/README.md", "examples/*/README.md", "tests/support/testbed/README.md")
REFERENCE = "reference"
#: The target of a link that is no address, and no place on the same page.
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")
ITEM = re.compile(r"^- \[[^]]*\]\(([^)#]+)\.md\)", re.MULTILINE)
#: Pages of Ansible's documentation that antsibull-docs refers to.
ANSIBLE = "https://docs.ansible.com/ansible/latest"
PAGES_OF_ANSIBLE = {
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}
SETTINGS = {
    "extensions": ["myst_parser", "sphinx_antsibull_ext"],
    "html_theme": "furo",
    "myst_heading_anchors": 4,
    # Programs that the console blocks show answer in forms that no lexer knows.
    "suppress_warnings": ["misc.highlighting_failure"],
}


def navigation(text: str) -> str:
    """Return the index as the first page: its links lead from the root, and each list becomes a part of the navigation."""
    text = LINK.sub(lambda link: f"]({os.path.normpath(INDEX.parent.relative_to(ROOT) / link[1])}", text)
    parts = []
    for part in re.split(r"^(?=## )", text, flags=re.MULTILINE):
        caption = part.partition("\n")[0].removeprefix("## ")
        pages = ITEM.findall(part)
        parts.append(part + ("\n```{toctree}\n:hidden:\n:caption: " + "\n".join([caption, "", *pages]) + "\n```\n\n" if pages else ""))
    return "".join(parts) + f"```{{toctree}}\n:hidden:\n:caption: Reference\n\nModules and other plugins <{REFERENCE}/index>\n```\n"


def to_index(page: Path, link: str) -> str:
    """Return a link of a page; one to the index leads to the first page."""
    return os.path.relpath(ROOT / INDEX.name, page.parent) if (page.parent / link).resolve() == INDEX else link


def collect(source: Path) -> None:
    """Copy the pages, and the files that they link to.

    :raises SystemExit: a link leads nowhere, or to a directory.
    """
    pages = {page for pattern in PAGES for page in ROOT.glob(pattern)} - {INDEX}
    linked = {(page.parent / link).resolve() for page in [*pages, INDEX] for link in LINK.findall(page.read_text(encoding="utf-8"))}
    for path in sorted(pages | linked - {INDEX}):
        if not path.is_file():
            raise SystemExit(f"docs_site: a page links to {path.relative_to(ROOT)}, which is not a file.")
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path in pages:
            text = path.read_text(encoding="utf-8")
            copy.write_text(LINK.sub(lambda link, page=path: f"]({to_index(page, link[1])}", text), encoding="utf-8")
        else:
            shutil.copy(path, copy)
    (source / INDEX.name).write_text(navigation(INDEX.read_text(encoding="utf-8")), encoding="utf-8")


def describe_plugins(destination: Path) -> None:
    """Let antsibull-docs write a page for each plugin and role.

    :raises CalledProcessError: something in their documentation is wrong.
    """
    destination.mkdir(parents=True)
    command = ["antsibull-docs", "collection", "--use-current", "--squash-hierarchy", "--no-breadcrumbs", "--fail-on-error"]
    subprocess.run(
        [*command, f"--dest-dir={destination}", "xen.driver_domains"],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections")},
        check=True,
        timeout=900,
    )
    # The theme shows what is on a page beside it.
    for page in destination.glob("*.rst"):
        page.write_text(re.sub(r"^\.\. contents::\n(   .*\n)+", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE), encoding="utf-8")


def page_of_ansible(_app: t.Any, _env: t.Any, node: nodes.Element, content: nodes.TextElement) -> nodes.Element | None:
    """Return a link to a page of Ansible's documentation, which is known without asking for its list of pages."""
    target = str(node.get("reftarget"))
    module = re.fullmatch(r"ansible_collections\.ansible\.builtin\.(\w+)_module", target)
    page = f"collections/ansible/builtin/{module[1]}_module.html" if module else PAGES_OF_ANSIBLE.get(target)
    return nodes.reference("", "", content, refuri=f"{ANSIBLE}/{page}", internal=False) if page else None


def main() -> int:
    """Build the site; return the exit code."""
    build = ROOT / ".build"
    source, site = build / "site-source", build / "site"
    for directory in (source, site):
        shutil.rmtree(directory, ignore_errors=True)
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
    name = f"{galaxy['namespace']}.{galaxy['name']}"
    collect(source)
    describe_plugins(source / REFERENCE)
    settings = {
        **SETTINGS,
        "project": name,
        "html_title": f"Xen driver domains {galaxy['version']}",
        "copyright": "2026, the xen.driver_domains authors",
    }
    try:
        with patch_docutils(), docutils_namespace():
            app = Sphinx(source, None, site, build / "site-doctrees", "html", settings, freshenv=True, warningiserror=True, status=None)
            app.connect("missing-reference", page_of_ansible)
            app.build(force_all=True)
    except SphinxError as exc:
        print(exc, file=sys.stderr)
        return 1
    if not app.statuscode:
        print(f"The site is in {site / 'index.html'}")
    return app.statuscode


if __name__ == "__main__":
    sys.exit(main())
