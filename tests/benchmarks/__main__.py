# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Performance budgets, measured side by side: `make bench`. Prints ratios and asserts no times; fails only when something does not work.

* A run of site.yml that changes nothing costs the same for 1 guest and for 50.
* A module costs little more than one that does nothing.
* One module call costs the same for one domain and for many.
* Clients of a driver domain that is destroyed work soon after it serves again, 20 as well as 1. Restarts leave nothing behind.
* What a driver domain costs as a PV and as an HVM domain.
"""

from __future__ import annotations

import loops
import no_op
import payloads
import recovery
import types_of_domains


def main() -> None:
    """Measure and print."""
    for part in (payloads, no_op, loops, recovery, types_of_domains):
        print(f"\n{part.__doc__}", flush=True)
        part.main()


if __name__ == "__main__":
    main()
