# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Built images below one directory, each in a directory named by its key."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import typing as t

from .._errors import DriverDomainsError
from .._files import list_directory, read_text, remove, write_text

MANIFEST = "manifest.json"
#: Which files of an image were found to have the checksums in the manifest, and what the file system said of them at that time.
VERIFIED = ".verified.json"
#: All that an image may consist of.
PARTS = ("kernel", "ramdisk", "disk")
_KEY = re.compile(r"[0-9a-f]{16}")


class ImageCache:
    """Built images below one directory, each in a directory named by its key."""

    def __init__(self, directory: str, parts: t.Collection[str] = PARTS) -> None:
        self.directory = os.path.expanduser(directory)
        self.parts = set(parts)

    def path(self, key: str) -> str:
        """The directory of an image, whether or not it exists."""
        return os.path.join(self.directory, key)

    def manifest(self, key: str) -> dict[str, t.Any] | None:
        """Return the manifest of an image, or None if the image is missing, incomplete (as after a power cut) or altered.

        The checksums of its files are compared. To read them again each time would take seconds for a disk, so this remembers what
        the file system says of a file that was right. It is read again when that differs.

        :raises DriverDomainsError: a file must be read and may not be.
        """
        directory = self.path(key)
        text = read_text(os.path.join(directory, MANIFEST))
        if text is None:
            return None
        try:
            manifest: dict[str, t.Any] = json.loads(text)
            files: dict[str, dict[str, t.Any]] = manifest["files"]
            known = manifest.get("key") == key and bool(files) and set(files) <= self.parts
            genuine = known and self._genuine(key, files)
        except (ValueError, LookupError, AttributeError, TypeError, FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError as exc:
            raise DriverDomainsError(f"Cannot read the image in {directory}: {exc}", remedy="Run the task as root (become: true)") from exc
        return manifest if genuine else None

    def keys(self) -> list[str]:
        """The keys of all complete images."""
        return [name for name in self.directories() if self.manifest(name) is not None]

    def directories(self) -> list[str]:
        """The keys of all images, complete or not."""
        return [name for name in list_directory(self.directory) if _KEY.fullmatch(name)]

    def remember(self, key: str, files: t.Mapping[str, t.Mapping[str, t.Any]]) -> None:
        """Note that the files of an image have the checksums in `files`. A directory that cannot be written to forgets it."""
        seen = {name: _identity(f"{self.path(key)}/{name}", file["sha256"]) for name, file in files.items()}
        with contextlib.suppress(DriverDomainsError):
            write_text(os.path.join(self.path(key), VERIFIED), json.dumps(seen, indent=2, sort_keys=True) + "\n")

    def remove(self, key: str) -> None:
        """Remove an image. Its manifest goes first, so that a half-removed image never counts as complete."""
        directory = self.path(key)
        remove(os.path.join(directory, MANIFEST))
        shutil.rmtree(directory)

    def _genuine(self, key: str, files: t.Mapping[str, t.Mapping[str, t.Any]]) -> bool:
        seen = self._verified(key)
        unread = False
        for name, file in files.items():
            path = f"{self.path(key)}/{name}"
            identity = _identity(path, file["sha256"])
            if identity["size"] != file["size"] or not stat.S_ISREG(os.lstat(path).st_mode):
                return False
            if seen.get(name) != identity:
                unread = True
                if sha256(path) != file["sha256"]:
                    return False
        if unread:
            self.remember(key, files)
        return True

    def _verified(self, key: str) -> dict[str, t.Any]:
        try:
            seen = json.loads(read_text(os.path.join(self.path(key), VERIFIED)) or "{}")
        except ValueError:
            return {}
        return seen if isinstance(seen, dict) else {}


def _identity(path: str, digest: str) -> dict[str, t.Any]:
    """What changes with a file: its time of change cannot be set, as that of its modification can."""
    found = os.lstat(path)
    return {"sha256": digest, "size": found.st_size, "inode": found.st_ino, "modified": found.st_mtime_ns, "changed": found.st_ctime_ns}


def sha256(path: str) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
