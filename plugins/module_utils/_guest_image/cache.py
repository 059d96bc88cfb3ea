# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Built images below one directory, each in a directory named by its key."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import typing as t

from .._files import list_directory, read_text

MANIFEST = "manifest.json"


class ImageCache:
    """Built images below one directory, each in a directory named by its key."""

    def __init__(self, directory: str) -> None:
        self.directory = os.path.expanduser(directory)

    def path(self, key: str) -> str:
        """The directory of an image, whether or not it exists."""
        return os.path.join(self.directory, key)

    def manifest(self, key: str) -> dict[str, t.Any] | None:
        """Return the manifest of an image, or None if the image is missing or incomplete, as after a power cut."""
        directory = self.path(key)
        text = read_text(os.path.join(directory, MANIFEST))
        if text is None:
            return None
        try:
            manifest: dict[str, t.Any] = json.loads(text)
            complete = all(os.path.getsize(f"{directory}/{name}") == file["size"] for name, file in manifest["files"].items())
        except (ValueError, LookupError, AttributeError, TypeError, FileNotFoundError):
            return None
        return manifest if complete else None

    def keys(self) -> list[str]:
        """The keys of all complete images."""
        return [name for name in list_directory(self.directory) if self.manifest(name) is not None]

    def remove(self, key: str) -> None:
        """Remove an image. Its manifest goes first, so that a half-removed image never counts as complete."""
        directory = self.path(key)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, MANIFEST))
        shutil.rmtree(directory)
