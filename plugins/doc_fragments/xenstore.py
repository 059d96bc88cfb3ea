# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The connection to XenStore of modules that talk to nothing else."""

    DOCUMENTATION = r"""
options:
  timeout:
    description: Seconds that a reply of xenstored may take, and for which a transaction is retried if other clients change the same nodes.
    type: float
    default: 10
"""
