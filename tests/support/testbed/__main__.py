# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Entry point of `python tests/support/testbed COMMAND`, and of `xen-testbed COMMAND`."""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

try:
    from testbed.cli import main
except ModuleNotFoundError as error:
    if error.name is None or not error.name.startswith("qemu"):
        raise
    sys.exit("testbed: the Python library qemu.qmp is missing; remedy: pip install qemu.qmp")

if __name__ == "__main__":
    sys.exit(main())
