# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What XenStore says about the vifs of a domain, half of it written by the domain itself."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.status import not_connected, vif_status
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import FakeStore

OWN = "/libxl/7/device/vif/0"
FRONT = "/local/domain/7/device/vif/0"
BACK = "/local/domain/3/backend/vif/7/0"


def store(**front: str) -> t.Any:
    """A host on which domain 7 has a vif at net-dd; `front` is what the guest wrote."""
    fake = FakeStore()
    others = "/local/domain/3/backend/vif/8/0"
    fake.values = {f"{path}/{key}": value for path in (BACK, others) for key, value in (("state", "4"), ("hotplug-status", "connected"))}
    fake.values.update({"/local/domain/3/name": "net-dd", "/local/domain/0/name": "Domain-0", f"{OWN}/backend": BACK})
    fake.values.update({f"{OWN}/mac": "00:16:3E:00:00:11", f"{OWN}/bridge": "xenbr0"})
    fake.values.update({f"{FRONT}/{key}": value for key, value in {"backend": BACK, "state": "4", **front}.items()})
    return fake


def test_a_vif_that_is_connected() -> None:
    (vif,) = vif_status(store(), 7)
    assert (vif.connected, vif.backend, vif.backend_id, vif.backend_path) == (True, "net-dd", 3, BACK)
    assert (vif.mac, vif.bridge) == ("00:16:3e:00:00:11", "xenbr0")


@pytest.mark.parametrize(
    "front",
    [
        {"mac": "00:16:3e:66:66:66"},
        {"backend": ""},
        {"backend": "nonsense with blanks"},
        {"backend": "/local/domain/3/backend/vif/8/0"},
        {"backend": "/local/domain/0/backend/vif/7/0", "backend-id": "0"},
        {"bridge": "xenbr9", "hotplug-status": "error"},
    ],
    ids=str,
)
def test_a_guest_decides_about_none_of_it(front: dict[str, str]) -> None:
    assert vif_status(store(**front), 7) == vif_status(store(), 7)


def test_a_guest_cannot_make_up_vifs() -> None:
    fake = store()
    fake.values.update({"/local/domain/7/device/vif/1/backend": BACK, "/local/domain/7/device/vif/1/state": "4"})
    assert [vif.devid for vif in vif_status(fake, 7)] == [0]


@pytest.mark.parametrize("backend", ["", "nonsense", "/local/domain/3/backend/vif/8/0", f"{BACK}\n", "/local/domain/3/backend/vbd/7/0"])
def test_a_path_that_is_not_a_backend_of_the_vif(backend: str) -> None:
    fake = store()
    fake.values[f"{OWN}/backend"] = backend
    (vif,) = vif_status(fake, 7)
    assert (vif.connected, vif.backend_path) == (False, "")


@pytest.mark.parametrize("key", ["hotplug-error", "hotplug-status", "state"])
def test_what_a_driver_domain_reports_is_one_line(key: str) -> None:
    fake = store()
    fake.values[f"{BACK}/{key}"] = "x\n\x1b[2Jok: [host]\udcff"
    (vif,) = vif_status(fake, 7)
    assert "x\\n\\x1b[2Jok: [host]\\xff" in vif.as_dict().values()


FOREIGN = st.binary(max_size=40).map(lambda value: value.decode("utf-8", "surrogateescape"))


@given(
    front=st.dictionaries(st.sampled_from(["mac", "backend", "backend-id", "state", "bridge", "handle"]), FOREIGN),
    back=st.dictionaries(st.sampled_from(["mac", "frontend", "state", "bridge", "hotplug-status", "hotplug-error"]), FOREIGN),
)
def test_whatever_both_sides_write(front: dict[str, str], back: dict[str, str]) -> None:
    """It changes neither which vif this is nor where it is served, and all of it can be printed on one line."""
    fake = store(**front)
    fake.values.update({f"{BACK}/{key}": value for key, value in back.items()})
    (vif,) = vif_status(fake, 7)
    assert (vif.devid, vif.mac, vif.bridge, vif.backend, vif.backend_path) == (0, "00:16:3e:00:00:11", "xenbr0", "net-dd", BACK)
    try:
        said = not_connected("web", [vif], 1)
    except DriverDomainsError as exc:
        said = str(exc)
    for text in (said, *map(str, vif.as_dict().values())):
        text.encode("utf-8")
        assert len(text.splitlines()) <= 1
