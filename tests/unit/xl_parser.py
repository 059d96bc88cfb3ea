# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The parser of xl itself, on a machine without Xen.

`libxlutil` reads the syntax of definitions. The program `xl` then makes a domain configuration of them, and prints it with
`create --dryrun`. Before that it asks Xen a few questions, which a small library answers that is loaded before those of Xen.
`tests/support/tools/setup` puts Debian's packages where this looks for them.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import shutil
import subprocess
import tempfile
import typing as t
from pathlib import Path

import pytest

#: What `xl create --dryrun` asks Xen and xenstored before and while it parses.
_ANSWERS = """
#include <string.h>
static char handle[65536];
void *xc_interface_open(void *logger, void *other, unsigned flags) { return handle; }
int xc_interface_close(void *interface) { return 0; }
/* XENVER_compile_info: texts of 144 bytes in all (xen/include/public/version.h). */
int xc_version(void *interface, int command, char *texts) {
  for (int place = 0; command == 4 && place < 144; place++) texts[place] = 0;
  return 0;
}
/* Since Xen 4.20 these are asked for in other ways. */
char *xc_xenver_buildid(void *interface) { return strdup(""); }
char *xc_xenver_capabilities(void *interface) { return strdup(""); }
char *xc_xenver_changeset(void *interface) { return strdup(""); }
char *xc_xenver_commandline(void *interface) { return strdup(""); }
char *xc_xenver_extraversion(void *interface) { return strdup(""); }
void *xs_open(unsigned long flags) { return handle; }
void xs_close(void *store) { }
/* The number of NUMA nodes: struct libxl_physinfo in _libxl_types.h of Xen 4.17 to 4.20. */
int libxl_get_physinfo(void *context, unsigned *information) { information[20] = 1; return 0; }
int libxl_get_max_cpus(void *context) { return 8; }
int libxl_get_max_nodes(void *context) { return 1; }
"""


def directory() -> Path:
    """Return where the packages are unpacked, see tests/support/tools/setup."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "xen-driver-domains" / "xl"


def _newest(pattern: str) -> Path | None:
    """Return the file of the newest Xen."""
    found = [path for root in (directory(), Path("/")) for path in root.glob(pattern)]
    return max(found, key=lambda path: [int(word) for word in path.name.split(".") if word.isdecimal()], default=None)


class LibXlu:
    """libxlutil through its public functions (libxlutil.h)."""

    def __init__(self, path: Path) -> None:
        waiting = sorted(path.parent.glob("libxen*.so.*")) + sorted(path.parent.glob("libyajl.so.*"))
        # Each one needs others, which the loader does not look for in this place: they are loaded before it.
        for _round in waiting:
            waiting = [library for library in waiting if not _loads(library)]
        self._library = ctypes.CDLL(str(path))
        libc = ctypes.CDLL(None)
        libc.fopen.restype = self._library.xlu_cfg_init.restype = ctypes.c_void_p
        self._null = ctypes.c_void_p(libc.fopen(b"/dev/null", b"w"))
        for name in ("xlu_cfg_value_get_list", "xlu_cfg_value_get_string", "xlu_cfg_get_list", "xlu_cfg_get_string", "xlu_cfg_get_long"):
            getattr(self._library, name).restype = ctypes.c_int
        self._library.xlu_cfg_get_listitem2.restype = ctypes.c_void_p
        self._light = ctypes.CDLL(str(next(path.parent.glob("libxenlight.so.*.*"))))
        for kind in ("disk", "pci"):
            getattr(self._light, f"libxl_device_{kind}_to_json").restype = ctypes.c_void_p
        self._configuration = ctypes.c_void_p()

    def read(self, text: str, names: t.Iterable[str]) -> dict[str, t.Any] | None:
        """Return the texts and lists of texts that settings have; None when the text is not accepted."""
        data = text.encode("utf-8", "surrogateescape")
        self._configuration = ctypes.c_void_p(self._library.xlu_cfg_init(self._null, b"test"))
        try:
            if self._library.xlu_cfg_readdata(self._configuration, data, len(data)):
                return None
            found = {name: self._setting(name.encode()) for name in names}
            return {name: value for name, value in found.items() if value is not None}
        finally:
            self._library.xlu_cfg_destroy(self._configuration)

    def number(self, text: str, name: str) -> int | None:
        """Return the number that xl reads from a setting; None when it is not one."""
        data = text.encode("utf-8", "surrogateescape")
        configuration = ctypes.c_void_p(self._library.xlu_cfg_init(self._null, b"test"))
        try:
            assert not self._library.xlu_cfg_readdata(configuration, data, len(data))
            value = ctypes.c_long()
            return None if self._library.xlu_cfg_get_long(configuration, name.encode(), ctypes.byref(value), 1) else value.value
        finally:
            self._library.xlu_cfg_destroy(configuration)

    def disk(self, text: str) -> dict[str, t.Any] | None:
        """Return what xl makes of the description of a disk, None when it accepts none."""
        specifications = (ctypes.c_char_p * 1)(text.encode("utf-8", "surrogateescape"))
        return self._device("disk", lambda configuration, disk: self._library.xlu_disk_parse(configuration, 1, specifications, disk))

    def pci(self, text: str) -> dict[str, t.Any] | None:
        """Return what xl makes of the description of a PCI device, None when it accepts none."""
        specification = text.encode("utf-8", "surrogateescape")
        return self._device("pci", lambda configuration, pci: self._library.xlu_pci_parse_spec_string(configuration, pci, specification))

    def _device(self, kind: str, parse: t.Callable[..., int]) -> dict[str, t.Any] | None:
        # Larger than the structs. Of its context, libxl uses nothing here.
        device, context = ctypes.create_string_buffer(4096), ctypes.create_string_buffer(65536)
        getattr(self._light, f"libxl_device_{kind}_init")(device)
        configuration = ctypes.c_void_p(self._library.xlu_cfg_init(self._null, b"test"))
        try:
            if parse(configuration, device):
                return None
            text = getattr(self._light, f"libxl_device_{kind}_to_json")(context, device)
            return dict(json.loads(ctypes.string_at(text)))
        finally:
            self._library.xlu_cfg_destroy(configuration)

    def _setting(self, name: bytes) -> t.Any:
        text, items, count = ctypes.c_char_p(), ctypes.c_void_p(), ctypes.c_int()
        if not self._library.xlu_cfg_get_string(self._configuration, name, ctypes.byref(text), 1):
            return _text(text)
        if not self._library.xlu_cfg_get_list(self._configuration, name, ctypes.byref(items), ctypes.byref(count), 1):
            return self._items(items, count.value)
        return None

    def _items(self, items: ctypes.c_void_p, count: int) -> list[t.Any]:
        return [self._value(ctypes.c_void_p(self._library.xlu_cfg_get_listitem2(items, place))) for place in range(count)]

    def _value(self, value: ctypes.c_void_p) -> t.Any:
        text, items = ctypes.c_char_p(), ctypes.c_void_p()
        if not self._library.xlu_cfg_value_get_string(self._configuration, value, ctypes.byref(text), 1):
            return _text(text)
        assert not self._library.xlu_cfg_value_get_list(self._configuration, value, ctypes.byref(items), 1)
        found: list[t.Any] = []
        while True:
            # There is no public function for the length of an inner list.
            item = self._library.xlu_cfg_get_listitem2(items, len(found))
            if not item:
                return found
            found.append(self._value(ctypes.c_void_p(item)))


def _text(pointer: ctypes.c_char_p) -> str:
    return (pointer.value or b"").decode("utf-8", "surrogateescape")


def _loads(library: Path) -> bool:
    try:
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True


class XlProgram:
    """`xl create --dryrun`."""

    def __init__(self, executable: Path, answers: Path) -> None:
        self._executable = executable
        root = executable.parents[4]
        libraries = ":".join(str(path) for path in root.glob("usr/lib/*-linux-gnu")) if root != Path("/") else ""
        self._environment = {"LD_PRELOAD": str(answers), "LD_LIBRARY_PATH": libraries, "LC_ALL": "C", "PATH": os.environ["PATH"]}
        self.version = executable.parent.parent.name.rpartition("-")[2]

    def parse(self, text: str) -> dict[str, t.Any] | None:
        """Return the configuration that xl makes of a definition, None when it accepts none."""
        with tempfile.NamedTemporaryFile(suffix=".cfg") as file:
            file.write(text.encode("utf-8", "surrogateescape"))
            file.flush()
            command = [str(self._executable), "create", "--quiet", "--dryrun", file.name]
            done = subprocess.run(command, env=self._environment, capture_output=True, timeout=60, check=False)
        self.errors = done.stderr.decode("utf-8", "replace")
        return dict(json.loads(done.stdout)) if done.returncode == 0 else None


@functools.cache
def libxlu() -> LibXlu:
    """Return libxlutil, or skip the test."""
    path = _newest("usr/lib/*-linux-gnu/libxlutil.so.*.*")
    if path is None:
        pytest.skip("libxlutil (Debian: libxenmisc4.x) is not on this machine; tests/support/tools/setup fetches it")
    return LibXlu(path)


@functools.cache
def xl_program() -> XlProgram:
    """Return the program xl, or skip the test."""
    found = [path for root in (directory(), Path("/")) for path in root.glob("usr/lib/xen-4.*/bin/xl")]
    compiler = shutil.which("cc")
    if not found:
        pytest.skip("the program xl (Debian: xen-utils-4.x) is not on this machine; tests/support/tools/setup fetches it")
    if not compiler:
        pytest.skip("there is no C compiler to build what answers xl instead of Xen")
    executable = max(found, key=lambda path: int(path.parent.parent.name.rpartition(".")[2]))
    answers = Path(tempfile.mkdtemp(prefix="xl-parser-")) / "answers.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-x", "c", "-o", answers, "-"], input=_ANSWERS.encode(), check=True, timeout=60)
    return XlProgram(executable, answers)
