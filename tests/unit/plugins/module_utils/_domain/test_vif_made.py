# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What libxl makes of the settings of a vif."""

from __future__ import annotations

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.vif_made import differences, rate_of
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput


@pytest.mark.parametrize(
    ("rate", "written"),
    [
        # The examples of xl-network-configuration(5), and those of tools/xl/check-xl-vif-parse.
        ("10Mb/s", "62500,50000"),
        ("250KB/s", "12500,50000"),
        ("1MB/s@20ms", "20000,20000"),
        ("1GB/s", "50000000,50000"),
        ("512B/s", "25,50000"),
        ("8b/s@1s", "1,1000000"),
        ("1MB/s@2", "2000000,2000000"),
        ("1MB/s@500us", "500,500"),
        ("1MB/s@500u", "500,500"),
        ("1MB/s@20m", "20000,20000"),
        # strtoull takes it for octal.
        ("010MB/s", "400000,50000"),
    ],
)
def test_rates(rate: str, written: str) -> None:
    assert rate_of(rate) == written
    assert differences({"rate": rate}, {"rate": written}) == []


@pytest.mark.parametrize("rate", ["", "10", "10MB", "MB/s", "10TB/s", "10MB/s@", "10MB/s@5h", " 10MB/s", "10MB/s\n"])
def test_what_is_no_rate(rate: str) -> None:
    with pytest.raises(InvalidInput):
        rate_of(rate)


@pytest.mark.parametrize(
    ("script", "made", "same"),
    [
        ("vif-route", "/etc/xen/scripts/vif-route", True),
        ("vif-route", "/usr/local/etc/xen/scripts/vif-route", True),
        ("vif-route", "/etc/xen/scripts/other-vif-route", False),
        ("/etc/xen/scripts/vif-route", "/etc/xen/scripts/vif-route", True),
        ("/opt/vif-route", "/etc/xen/scripts/vif-route", False),
    ],
)
def test_scripts(script: str, made: str, same: bool) -> None:
    assert (differences({"script": script}, {"script": made}) == []) is same


def test_what_is_not_known_is_not_compared() -> None:
    assert differences({"trusted": False, "model": "e1000", "mtu": 9000}, {}) == []
