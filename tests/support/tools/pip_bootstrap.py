# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Let ansible-test make its virtual environments without a download from a host that may not be reachable.

For each of its environments ansible-test runs a script that installs pip, which it downloads once into the user's cache.
Python brings the same thing along as `ensurepip`, so a script that calls it is put into the cache where none is.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ansible_test._internal.host_configs import NativePythonConfig
from ansible_test._internal.python_requirements import get_venv_packages

SCRIPT = """\
# Written by the tests of xen.driver_domains in place of a download; delete it to have ansible-test download its own.
import ensurepip

ensurepip.bootstrap()
"""


def main() -> None:
    """Write the script under the name that the installed ansible-test looks for."""
    version = "{}.{}".format(*sys.version_info[:2])
    pip = get_venv_packages(NativePythonConfig(version=version, path=sys.executable))["pip"]
    script = Path.home() / ".ansible" / "test" / "cache" / f"get_pip_{pip.replace('.', '_')}.py"
    if not script.exists():
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(SCRIPT, encoding="utf-8")


if __name__ == "__main__":
    main()
