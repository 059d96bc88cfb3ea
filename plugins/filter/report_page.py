# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turn what the modules say about hosts into one page of HTML that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import typing as t
from pathlib import Path

from ansible.errors import AnsibleFilterError
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ansible_collections.xen.driver_domains.plugins.module_utils._report import drawing, fleet

#: The template, the style sheet and the script.
_PARTS = Path(drawing.__file__).parent
_WORDS = {fleet.UNREACHED: "not reached", fleet.PROBLEM: "problem", fleet.WARNING: "attention", fleet.GOOD: "in order"}


def report_page(hosts: t.Mapping[str, t.Mapping[str, t.Any]], at: str) -> str:
    """Return the page.

    :param hosts: what `read_fleet` takes.
    :param at: the time as of which the page is, in words.
    """
    try:
        found, kinds = fleet.read_fleet(hosts)
    except (KeyError, TypeError, AttributeError) as exc:
        raise AnsibleFilterError(f"This is not what xl_info and xl_domain_info return: {exc!r}") from exc
    style, script = ((_PARTS / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    # A user agent may load nothing, and run and apply nothing but these two: what a guest wrote can be no script, whatever it is.
    policy = f"default-src 'none'; script-src {_source(script)}; style-src {_source(style)}; base-uri 'none'; form-action 'none'"
    environment = Environment(
        loader=FileSystemLoader(_PARTS), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    places = {host.name: place for place, host in enumerate(found)}
    drawings = [drawing.draw(host) for host in found]
    return environment.get_template("page.html.j2").render(
        at=at,
        counts={state: sum(host.state == state for host in found) for state in fleet.STATES},
        drawings=drawings,
        drawn=any(drawings),
        fleet=found,
        found={kind.id: [(h.name, places[h.name]) for h in found if any(f.id == kind.id for f in h.findings)] for kind in kinds},
        kinds=kinds,
        policy=policy,
        script=Markup(script),
        states=fleet.STATES,
        style=Markup(style),
        words=_WORDS,
    )


def _source(text: str) -> str:
    """Return a text as a source of a content security policy (CSP Level 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


class FilterModule:
    """The filters of the collection."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters by name."""
        return {"report_page": report_page}
