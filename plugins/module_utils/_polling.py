# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Wait for what reports no event and has to be read again and again. For XenStore there is `XenStore.wait_for`."""

from __future__ import annotations

import time
import typing as t

#: Seconds that somebody may wish to wait at most: a week. The kernel cannot wait forever.
LONGEST_TIMEOUT = 604800.0


def wait_until(condition: t.Callable[[], object], timeout: float, interval: float = 0.2) -> bool:
    """Call `condition` until it returns something true, and return whether it did within `timeout` seconds.

    It is called at least once, and once more at the end of the time.

    :param interval: seconds between two calls.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return False
        time.sleep(min(interval, remaining))
    return True
