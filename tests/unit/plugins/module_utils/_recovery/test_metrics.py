# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the recovery service says to Prometheus."""

from __future__ import annotations

import re
import stat
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.devices import PvDevice
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.metrics import metrics_text
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.model import Configuration, Declared, Memory, Running, Snapshot
from ansible_collections.xen.driver_domains.tests.unit.fakes.recovery import FakeSite

VIF = "backend={},mac=00:16:3e:00:00:11,bridge=xenbr0,devid=0"
#: A line of a sample: the name, the labels and the value (Prometheus, exposition formats, text format 0.0.4).
_LABEL = r'[a-z_]+="(?:[^"\\\n]|\\["\\n])*"'
_SAMPLE = re.compile(rf"([a-z_]+)(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? ([0-9]+)")


@pytest.fixture(name="site")
def make_site(tmp_path: Path) -> t.Iterator[FakeSite]:
    with FakeSite(tmp_path) as site:
        yield site


def check(text: str) -> None:
    """Check what promtool does: names, types, help, the order of lines, and that no series is there twice."""
    assert text.endswith("\n")
    seen: set[str] = set()
    current = ""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("# HELP "):
            _hash, _help, current, words = line.split(" ", 3)
            assert words.endswith(".")
            assert re.fullmatch("xen_[a-z_]+", current)
            kind = lines[number + 1].removeprefix(f"# TYPE {current} ")
            assert kind == ("counter" if current.endswith("_total") else "gauge")
            assert not any(series.startswith(f"{current} ") for series in seen)
        elif not line.startswith("# TYPE "):
            match = _SAMPLE.fullmatch(line)
            assert match, line
            assert match[1] == current
            series = f"{match[1]} {match[2]}"
            assert series not in seen
            seen.add(series)


def test_an_outage_and_its_recovery(site: FakeSite) -> None:
    net = site.add("net-dd", ready="ready")
    web = site.add("web1")
    site.plug(web, "vif", VIF.format("net-dd"))
    service = site.service()
    site.settle(service)
    assert site.metrics == [
        'xen_domain_up{domain="Domain-0"} 1',
        'xen_domain_up{domain="net-dd"} 1',
        'xen_domain_up{domain="web1"} 1',
        'xen_domain_id{domain="Domain-0"} 0',
        f'xen_domain_id{{domain="net-dd"}} {net}',
        f'xen_domain_id{{domain="web1"}} {web}',
        'xen_driver_domain_ready{domain="net-dd"} 1',
        'xen_vif_connected{domain="web1",device="0",backend="net-dd"} 1',
        'xen_recoveries_total{domain="web1",kind="vif"} 0',
        "xen_recovery_given_up 0",
    ]
    site.destroy(net)
    site.settle(service)
    assert 'xen_domain_up{domain="net-dd"} 0' in site.metrics
    assert 'xen_driver_domain_ready{domain="net-dd"} 0' in site.metrics
    assert 'xen_vif_connected{domain="web1",device="0",backend="net-dd"} 0' in site.metrics
    site.add("net-dd", ready="ready")
    for _round in range(4):
        site.settle(service, 5.0)
    assert 'xen_vif_connected{domain="web1",device="0",backend="net-dd"} 1' in site.metrics
    assert 'xen_recoveries_total{domain="web1",kind="vif"} 1' in site.metrics
    # A new service goes on counting.
    site.settle(site.service())
    assert 'xen_recoveries_total{domain="web1",kind="vif"} 1' in site.metrics
    text = site.root / "metrics" / "xen_driver_domains.prom"
    check(text.read_text())
    assert stat.S_IMODE(text.stat().st_mode) == 0o644


def test_names_are_text_and_no_series_is_there_twice() -> None:
    """Two domains have the same name while one is made in the place of the other."""
    name = 'a"b\\c\nd{e="f"} 7'
    running = {0: Running(0, "Domain-0", "dom0"), 1: Running(1, name, "u1", True), 2: Running(2, name, "u2"), 3: Running(3, "web1", "u3")}
    devices = tuple(PvDevice(kind, 3, 0, name, 1, f"/local/domain/1/backend/{kind}/3/0", "4", "4", "connected") for kind in ("vif", "vbd"))
    snapshot = Snapshot(running, devices, aside=frozenset({"net-dd"}), ended={5: "off-dd"})
    memory = Memory(names={1: name}, ready={1: 1.0}, hopeless=frozenset({"x"}), recovered={"vif/gone1": 3})
    text = metrics_text(Configuration((Declared("net-dd", ""), Declared(name, ""))), snapshot, memory)
    check(text)
    shown = 'a\\"b\\\\c\\\\nd{e=\\"f\\"} 7'
    assert f'xen_vbd_connected{{domain="web1",device="0",backend="{shown}"}} 1\n' in text
    assert 'xen_domain_left_alone{domain="net-dd"} 1\n' in text
    assert 'xen_domain_up{domain="off-dd"} 0\n' in text
    assert 'xen_recoveries_total{domain="gone1",kind="vif"} 3\n' in text
    assert "xen_recovery_given_up 1\n" in text


def test_the_parser_of_prometheus_reads_it() -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="the Python package prometheus-client is missing")
    running = {1: Running(1, 'a"\\b', "u1", True)}
    text = metrics_text(Configuration((Declared("net-dd", ""),)), Snapshot(running), Memory())
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    assert {family.type for family in families.values()} == {"gauge"}
    up = {sample.labels["domain"]: sample.value for sample in families["xen_domain_up"].samples}
    assert up == {'a"\\b': 1.0, "net-dd": 0.0}
    assert all(family.documentation for family in families.values())
