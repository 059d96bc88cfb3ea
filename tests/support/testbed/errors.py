# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one exception that a user of the test bed sees: a message without a traceback."""


class TestbedError(Exception):
    """Something the user can act on; the text names the value, the rule and the remedy."""

    __test__ = False  # not a test class, whatever pytest makes of the name
