# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Property tests have the same examples in each run, and no time limit for each: on a busy machine the first call may take long.

The tests of a pytest process share it. `ansible-test` would fork one for each of thousands, which takes as long as the tests.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("unit", derandomize=True, deadline=None)
settings.load_profile("unit")


def pytest_configure(config: pytest.Config) -> None:
    if plugin := config.pluginmanager.get_plugin("ansible_forked"):
        config.pluginmanager.unregister(plugin)
