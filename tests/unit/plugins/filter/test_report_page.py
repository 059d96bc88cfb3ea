# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of the report as a text: what it contains, and that nothing in it comes from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
import typing as t
from html.parser import HTMLParser

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.xen.driver_domains.plugins.filter.report_page import FilterModule
from ansible_collections.xen.driver_domains.tests.unit.fakes import fleet

AT = "2026-11-26 14:40 UTC"
HOSTILE = """</td></script><script>alert(1)</script><img src=x onerror=alert(1)>"' onfocus=alert(1) x="&amp;&lt;{{ 6 * 7 }}{% raw %}"""


class Skeleton(HTMLParser):
    """What a page consists of: its tags with the names of their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, ...]] = []
        self.text = ""
        self.values: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, *(name for name, _value in attrs)))
        self.values += [value or "" for _name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        self.tags.append((f"/{tag}",))

    def handle_data(self, data: str) -> None:
        self.text += data


def page(hosts: dict[str, t.Any]) -> str:
    text: str = FilterModule().filters()["report_page"](hosts, AT)
    return text


def hostile_page(text: str) -> str:
    """Return a page in which a domain or a host wrote a text wherever it can."""
    raw = fleet.troubled_host(text)
    raw["domains"]["domains"].append(fleet.domain(f"zz{text}", 44, fleet.device("vif", 0, "net-dd", 1, mac=f"{text}x", bridge=f"{text}x")))
    raw["domains"]["recovery"]["recoveries"].append(text)
    return page({f"{text}x": raw, "xen2": {"info": {"unreachable": True, "msg": f"{text}x"}}})


def test_what_domains_write_is_text() -> None:
    hostile, harmless = Skeleton(hostile_page(HOSTILE)), Skeleton(hostile_page("harmless"))
    assert hostile.tags == harmless.tags
    assert hostile.text.count(HOSTILE) == harmless.text.count("harmless") > 5
    assert any(HOSTILE in value for value in hostile.values), "in the names of the domains in the drawing"


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1))
def test_whatever_domains_write_is_text(text: str) -> None:
    assert Skeleton(hostile_page(text)).tags == Skeleton(hostile_page("harmless")).tags


def test_the_policy_allows_the_script_and_the_style_of_the_page_and_nothing_else() -> None:
    text = page({"xen1": fleet.serving_host()})
    found = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)
    assert found
    policy = found[1].replace("&#39;", "'")
    expected = {"default-src": "'none'", "base-uri": "'none'", "form-action": "'none'"}
    for tag, name in (("script", "script-src"), ("style", "style-src")):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        expected[name] = f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
    assert dict(part.split(" ", 1) for part in policy.split("; ")) == expected
    assert text.index("Content-Security-Policy") < text.index("<style")


def test_the_page_refers_to_nothing_but_itself() -> None:
    text = page({"xen1": fleet.troubled_host()})
    targets = re.findall(r'(?:href|src|action|data|poster)="([^"]*)"', text)
    identifiers = re.findall(r' id="([^"]*)"', text)
    assert targets and not [target for target in targets if target[1:] not in identifiers or target[0] != "#"]
    assert len(identifiers) == len(set(identifiers))
    assert not re.search(r"url\(|@import|<link|<img|<iframe| style=| on\w+=", text)


def test_all_is_in_the_table_and_in_the_drawing() -> None:
    text = page({"xen1": fleet.troubled_host()})
    table = text.partition('<tr id="d0-0"')[2].partition("</table>")[0]
    drawing = text.partition('<svg class="map"')[2].partition("<table>")[0]
    for name in ("net-dd", "wifi-dd", "usb-dd", "domain 9", "web1", "web5", "db1"):
        assert f">{name}<small>" in table
        assert f">{name}</text>" in drawing
    assert drawing.count(" cut") == drawing.count('"#cut"') == 3
    assert "vif 1 at net-dd (xenbr0, 00:16:3e:00:01:01): <b>hotplug script failed: no such bridge: xenbr7</b>" in table


def test_two_hundred_hosts_take_less_than_two_megabytes() -> None:
    text = page(fleet.mixed_fleet(200))
    assert text.count('<section class="host"') == 200
    assert text.count('<tr id="d') > 2000
    assert len(text.encode()) < 2_000_000


def test_what_no_module_returns() -> None:
    with pytest.raises(AnsibleFilterError, match="not what xl_info and xl_domain_info return"):
        page({"xen1": {"info": fleet.INFO, "domains": {"domains": [{}]}}})
