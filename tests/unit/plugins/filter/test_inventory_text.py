# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file of variables that an import writes."""

from __future__ import annotations

import typing as t
from pathlib import Path

import yaml

from ansible_collections.xen.driver_domains.plugins.filter.inventory_text import inventory_text
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.adopt_host import import_domains
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import FakeHost


def test_the_file_of_variables(tmp_path: Path) -> None:
    """What looks like a template is none, and a note of several lines stays a comment."""
    host: t.Any = FakeHost(tmp_path)
    (tmp_path / "xen").mkdir(exist_ok=True)
    (tmp_path / "xen/web1.cfg").write_text(
        'name = "web1"\ntype = "pv"\nmemory = 128\nvcpus = 1\nkernel = "/k"\n'
        "extra = 'a={{ b }} ü'\nvif = ['mac=00:16:3e:5a:00:01,x\\ny']\n"
    )
    found = import_domains(host, host.store, [f"{tmp_path}/xen/*.cfg"], host.paths, "x86_64")
    text = inventory_text(found, "xen1")
    assert text.startswith(
        "---\n# From the definitions and the running domains of xen1.\n# Ansible does not read this file. Rename it to xen1.yml "
    )
    assert "\n# Not as they were:\n#   web1: " in text
    assert 'cmdline: !unsafe "a={{ b }} ü"' in text

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(t.cast("yaml.ScalarNode", node)))
    assert yaml.load(text, Loader) == found["variables"]
