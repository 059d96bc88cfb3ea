# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Programs for hosts, made of module_utils: what a module does and what a program does is the same code.

A program is an archive that Python runs (PEP 441): as it is, or with `python3 ARCHIVE`. On the host nothing else of the collection is
installed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import re
import sys
import typing as t
import zipfile

from ._errors import DriverDomainsError

#: Debian's, which stays when the host gets another version.
PYTHON = "/usr/bin/python3"
_PACKAGE = "xen_driver_domains"
_IMPORT = re.compile(r"^from (\.+)(\S*) import (?:\(([^)]*)\)|([^(\n]*))", re.MULTILINE)


def interpreter() -> str:
    """Return the interpreter that is to run programs on this host: without Debian's, the one of this run has to do."""
    return PYTHON if os.path.exists(PYTHON) else sys.executable


def pack(entry: str, note: str = "") -> bytes:
    """Return a program: the module `entry` of module_utils, which has a function `main`, and all others that it imports, as an archive.

    The same sources give the same bytes.

    :param note: makes a program another one.
    :raises DriverDomainsError: the source of a module cannot be read.
    """
    root = __name__.rpartition(".")[0]
    sources: dict[str, str] = {}
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        if name not in sources:
            sources[name] = _source(f"{root}.{name}")
            waiting += _imported(name, sources[name], root)
    packages = {""} | {name.rpartition(".")[0] for name in sources}
    files = {f"{_PACKAGE}/{name.replace('.', '/')}.py": text for name, text in sources.items()}
    files.update({"/".join(filter(None, [_PACKAGE, package.replace(".", "/"), "__init__.py"])): "" for package in packages})
    digest = hashlib.sha256(note.encode()).hexdigest()
    files["__main__.py"] = f"# {digest}\nimport sys\n\nfrom {_PACKAGE}.{entry} import main\n\nsys.exit(main())\n"
    content = io.BytesIO()
    # For people; the unit names its own Python.
    content.write(f"#!{PYTHON} -ISB\n".encode())
    with zipfile.ZipFile(content, "w") as archive:
        for path, text in sorted(files.items()):
            # Not compressed: how well differs between hosts, and it starts faster.
            archive.writestr(zipfile.ZipInfo(path), text)
    return content.getvalue()


def _source(name: str) -> str:
    found = importlib.util.find_spec(name)
    loader: t.Any = found.loader if found else None
    text = loader.get_source(name) if loader and hasattr(loader, "get_source") else None
    # On the controller, the loader of Ansible returns bytes.
    text = text.decode() if isinstance(text, bytes) else text
    if not isinstance(text, str):
        raise DriverDomainsError(
            f"The source of {name} cannot be read", rule="what is installed is made of the modules that this one consists of"
        )
    return text


def _imported(name: str, source: str, root: str) -> list[str]:
    """Return the modules of module_utils that a module imports, outside of functions and type checking."""
    found = []
    for dots, module, several, names in _IMPORT.findall(source):
        parts = name.split(".")[: -len(dots)]
        base = ".".join([*parts, *filter(None, module.split("."))])
        inside = [".".join(filter(None, [base, word.split(" as ")[0].strip()])) for word in (several or names).split(",") if word.strip()]
        # What is imported from a package is a module, what is imported from a module is not.
        found += [base] if module and _is_module(f"{root}.{base}") else [other for other in inside if _is_module(f"{root}.{other}")]
    return found


def _is_module(name: str) -> bool:
    found = importlib.util.find_spec(name)
    # A package has no source of its own.
    return found is not None and found.submodule_search_locations is None
