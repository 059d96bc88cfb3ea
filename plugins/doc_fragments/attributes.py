# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What every module of the collection promises about check mode, diff mode and repeated runs."""

    DOCUMENTATION = r"""
options: {}
requirements:
  - Python 3.9 or newer on the host
attributes:
  platform:
    description: Systems on which this runs, which is where the module runs and not what it makes.
    support: full
    platforms: debian
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: full
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second run changes nothing and issues no mutating call.
    support: full
"""

    INFO_MODULE = r"""
options: {}
requirements:
  - Python 3.9 or newer on the host
attributes:
  platform:
    description: Systems on which this runs, which is where the module runs and not what it makes.
    support: full
    platforms: debian
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details:
      - This module does not modify state.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: N/A
    details:
      - This module does not modify state.
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second run changes nothing and issues no mutating call.
    support: full
    details:
      - This module does not modify state.
"""
