# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of the report in a headless Chromium: the filter, the keyboard, accessibility, and how long it takes to open."""

from __future__ import annotations

import json
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.filter.report_page import report_page
from ansible_collections.xen.driver_domains.tests.unit.fakes import fleet

sync_api = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is missing")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the Python package axe-playwright-python is missing")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: Debian's package is chromium-headless-shell")
#: Hosts, and the names of their sections in the page that are shown.
SHOWN = "[...document.querySelectorAll('.host:not([hidden]) h2')].map(node => node.firstChild.textContent.trim())"
ROWS = "[...document.querySelectorAll('.host:not([hidden]) tr[id]:not([hidden]) th')].map(node => node.firstChild.textContent)"
ACTIVE = "document.activeElement.getAttribute('aria-label')"


@pytest.fixture(name="chromium", scope="module")
def start_chromium() -> t.Iterator[t.Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(name="open_page")
def make_open_page(chromium: t.Any, tmp_path: Path) -> t.Iterator[t.Callable[..., t.Any]]:
    """Opens the page of some hosts. It fails if the page says anything on the console, or asks for anything but itself."""
    said: list[str] = []
    asked: list[str] = []
    file = tmp_path / "page.html"

    def open_page(hosts: dict[str, t.Any], **options: t.Any) -> t.Any:
        file.write_text(report_page(hosts, "2026-11-26 14:40 UTC"), encoding="utf-8")
        page = chromium.new_context(**{"viewport": {"width": 1100, "height": 900}, **options}).new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        return page

    yield open_page
    assert said == []
    assert set(asked) <= {file.as_uri()}


def await_count(page: t.Any, text: str) -> None:
    """Wait until the page says how many hosts it shows. Not with wait_for_function: that evaluates text, which the page forbids."""
    sync_api.expect(page.locator("#shown")).to_contain_text(text, timeout=30_000)


def choose(page: t.Any, state: str) -> None:
    page.locator(f"input[name=state][value='{state}']").check(force=True)


def test_one_host(open_page: t.Callable[..., t.Any]) -> None:
    page = open_page({"xen1": fleet.troubled_host()})
    assert page.evaluate(SHOWN) == ["xen1"]
    page.fill("#text", "WEB2")
    # The findings of a host are about all of it.
    await_count(page, "Shown: 1 of 1 host, ")
    page.fill("#text", "51712 nowhere")
    await_count(page, "Shown: 0 of 1 host, 0 of 11 domains")
    assert page.evaluate(SHOWN) == []
    page.fill("#text", "")
    choose(page, "warning")
    await_count(page, "Shown: 1 of 1 host, 1 of 11 domains")
    assert page.evaluate(ROWS) == ["web4"]
    assert page.evaluate("document.querySelectorAll('.map a.off').length") == 10


def test_two_hundred_hosts(open_page: t.Callable[..., t.Any]) -> None:
    hosts = fleet.mixed_fleet(200)
    page = open_page(hosts)
    assert page.evaluate(SHOWN) == list(hosts)
    page.fill("#text", "xen77.example.org web3")
    await_count(page, "Shown: 1 of 200 hosts")
    assert page.evaluate(SHOWN) == ["xen77.example.org"]
    assert page.evaluate(ROWS) == ["net-dd", "store-dd", "web3"]
    assert page.evaluate("[...document.querySelectorAll('tr[data-h]:not([hidden])')].length") == 1
    page.fill("#text", "")
    choose(page, "unreached")
    await_count(page, " 0 of ")
    assert page.evaluate(SHOWN) == [name for name, raw in hosts.items() if raw["info"].get("unreachable")]
    choose(page, "")
    await_count(page, "Shown: 200 of 200 hosts")


def test_two_hundred_hosts_open_in_less_than_a_second(chromium: t.Any, open_page: t.Callable[..., t.Any], tmp_path: Path) -> None:
    """In processor time of the page's own thread, as the machine may be busy with other tests."""
    page = open_page({"xen1": fleet.serving_host()})
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def used() -> float:
        return float(next(item["value"] for item in session.send("Performance.getMetrics")["metrics"] if item["name"] == "TaskDuration"))

    before = used()
    (tmp_path / "page.html").write_text(report_page(fleet.mixed_fleet(200), "2026-11-26 14:40 UTC"), encoding="utf-8")
    page.reload()
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert 0.0 < used() - before < 1.0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1100, 320])
def test_accessibility(open_page: t.Callable[..., t.Any], scheme: str, width: int) -> None:
    hosts = {**fleet.mixed_fleet(3), "xen4": {"info": {**fleet.INFO, "xen": False}}}
    page = open_page(hosts, color_scheme=scheme, viewport={"width": width, "height": 900})
    found = axe.Axe().run(page).response["violations"]
    assert not [(rule["id"], [node["html"] for node in rule["nodes"]][:3]) for rule in found], json.dumps(found)[:4000]
    # Nothing has to be scrolled sideways (WCAG 2.2, 1.4.10).
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_keyboard_goes_through_a_drawing(open_page: t.Callable[..., t.Any]) -> None:
    page = open_page({"xen1": fleet.serving_host(guests=3)})
    assert page.evaluate("document.querySelectorAll('.map a:not([tabindex])').length") == 1
    page.focus(".map a:not([tabindex])")
    assert page.evaluate(ACTIVE) == "Domain-0, dom0, running"
    page.keyboard.press("ArrowDown")
    assert page.evaluate(ACTIVE) == "net-dd, driver domain, running, ready"
    # Its own lines are lit, to three guests and to dom0, which has its disk.
    assert page.evaluate("document.querySelectorAll('.map .e.on').length") == 4
    page.keyboard.press("ArrowRight")
    assert page.evaluate(ACTIVE) == "web1, guest, running"
    page.keyboard.press("End")
    assert page.evaluate(ACTIVE) == "web3, guest, running"
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector(':target th').firstChild.textContent") == "web3"


def test_without_scripts_all_is_there(open_page: t.Callable[..., t.Any]) -> None:
    page = open_page({"xen1": fleet.troubled_host()}, java_script_enabled=False)
    assert not page.is_visible("#filter")
    assert page.locator(".host tr[id]").count() == 11
    assert page.locator(".map a").count() == 11


def test_it_prints(open_page: t.Callable[..., t.Any], tmp_path: Path) -> None:
    page = open_page({"xen1": fleet.troubled_host()}, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.is_visible("#filter")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('.host')).contentVisibility") == "visible"
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF-")
