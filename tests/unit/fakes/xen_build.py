# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A mmdebstrap that builds no Xen."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.build import Bootstrap
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.cache import ImageCache
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Result, Runner
from ansible_collections.xen.driver_domains.plugins.module_utils._xen_build.build import XenBuilder
from ansible_collections.xen.driver_domains.plugins.module_utils._xen_build.specification import XenSource

XEN = bytes(56) + b"ARM\x64" + bytes(1000)


def parameters(**changes: t.Any) -> dict[str, t.Any]:
    """The parameters of the module, as AnsibleModule hands them over."""
    return {
        "suite": "bookworm",
        "version": "4.17.5+72-g01140da4e8-1",
        "config": {"STATIC_MEMORY": True, "XSM": False},
        "mirror": [],
        "revision": None,
        **changes,
    }


def source(machine: str = "amd64", **changes: t.Any) -> XenSource:
    return XenSource.from_parameters(parameters(**changes), machine)


class FakeXenBuild(Runner):
    """Leaves what mmdebstrap and the scripts in it leave, and remembers every command and the requested options."""

    def __init__(self, rc: int = 0, stderr: str = "", xen: bytes = XEN) -> None:
        super().__init__()
        self.rc, self.stderr, self.xen = rc, stderr, xen
        self.commands: list[list[str]] = []
        self.requested = ""

    def run(self, argv: t.Sequence[str], **options: t.Any) -> Result:
        self.commands.append(list(argv))
        (directory,) = (Path(word.split()[-1]) for word in argv if "-hook=copy-out " in word)
        self.requested = (directory / "requested").read_text(encoding="utf-8")
        if self.rc == 0:
            result = directory / "result"
            result.mkdir()
            (result / "xen").write_bytes(self.xen)
            (result / "config").write_text("CONFIG_STATIC_MEMORY=y\n", encoding="utf-8")
            (directory / "packages").write_text("gcc-12\t12.2.0\nmake\t4.3\n", encoding="utf-8")
        return Result(tuple(argv), self.rc, "", self.stderr)


def xen_builder(cache: ImageCache, runner: Runner, **options: t.Any) -> XenBuilder:
    return XenBuilder(cache, Bootstrap(runner, 60, **{"which": lambda name: f"/usr/bin/{name}", "uid": 0, **options}))
