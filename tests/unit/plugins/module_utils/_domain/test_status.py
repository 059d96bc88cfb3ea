# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What XenStore says about the vifs of a domain, half of it written by the domain itself."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.status import vif_status
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import FakeStore

FRONT = "/local/domain/7/device/vif/0"
BACK = "/local/domain/3/backend/vif/7/0"


def store(backend: str) -> t.Any:
    fake = FakeStore()
    others = "/local/domain/3/backend/vif/8/0"
    fake.values = {f"{path}/{key}": value for path in (BACK, others) for key, value in (("state", "4"), ("hotplug-status", "connected"))}
    fake.values.update({"/local/domain/3/name": "net-dd", f"{FRONT}/backend": backend, f"{FRONT}/backend-id": "x", f"{FRONT}/state": "4"})
    return fake


def test_a_vif_that_is_connected() -> None:
    (vif,) = vif_status(store(BACK), 7)
    assert (vif.connected, vif.backend, vif.backend_id, vif.backend_path) == (True, "net-dd", 3, BACK)


@pytest.mark.parametrize("backend", ["", "nonsense with blanks", "/local/domain/3/backend/vif/8/0", f"{BACK}\n"])
def test_a_domain_cannot_claim_what_is_not_its_backend(backend: str) -> None:
    (vif,) = vif_status(store(backend), 7)
    assert (vif.connected, vif.backend_path) == (False, "")
