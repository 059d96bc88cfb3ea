# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The syntax of domain definitions."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xlcfg import quote, render, specification


def test_a_0_byte_is_refused() -> None:
    with pytest.raises(InvalidInput, match="0 byte"):
        quote("a\0b")


def test_render() -> None:
    settings = {
        "name": "a",
        "memory": 256,
        "driver_domain": True,
        "nothing": None,
        "pci": ["0000:03:00.0"],
        "cpus": [1, 2],
        "rtc_timeoffset": -3600,
    }
    assert (
        render(settings) == 'name = "a"\nmemory = 256\ndriver_domain = 1\npci = ["0000:03:00.0"]\ncpus = [1, 2]\nrtc_timeoffset = "-3600"\n'
    )


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"a b": 1}, "not the name of a setting"),
        ({"1a": 1}, "not the name of a setting"),
        ({"Name": 1}, "not the name of a setting"),
        ({"a": 1.5}, "cannot be written"),
        ({"a": {}}, "cannot be written"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, t.Any], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        render(settings)


def test_specification_puts_the_free_form_value_last_and_booleans_as_numbers() -> None:
    parts = {"target": "/a,b c", "vdev": "xvda", "trusted": False, "mtu": 1400, "none": None}
    assert specification("disk", parts, last="target") == "vdev=xvda,untrusted,mtu=1400,target=/a,b c"
    # The words of xl (parse_nic_config, libxlu_disk_l.l): it accepts no "trusted=0". To trust is the default.
    assert specification("vif", {"mac": "x", "trusted": True}) == "mac=x"


@pytest.mark.parametrize("value", ["a,b", " a", "a ", "", "a\nb", "a\tb", "a\x1b[2Jb", "a\0b", "a\u2028b", "\udcff"])
def test_specification_refuses_what_would_be_read_as_something_else(value: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be expressed"):
        specification("vif", {"bridge": value})


@pytest.mark.parametrize("value", ["/a\nb", "/a\x1b", "/a\0"])
def test_not_even_the_last_value_holds_a_control_character(value: str) -> None:
    with pytest.raises(InvalidInput, match="no control character"):
        specification("disk", {"vdev": "xvda", "target": value}, last="target")
