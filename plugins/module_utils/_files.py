# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Files, written so that a power cut leaves the old one or the new one, and the new one once the function has returned.

The latter takes more than the content of the file on the disk: its name is in the directory, which is synchronised after each change.

What is read may come from files of others, and name what cannot be a path, because it holds a null character. No file is there.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import shutil
import tempfile
import typing as t

from ._errors import DriverDomainsError

#: What to do about an error of the operating system, by its number.
_REMEDIES = {
    errno.EACCES: "Run the task as root (become: true)",
    errno.EPERM: "Run the task as root (become: true)",
    errno.EISDIR: "It is a directory: name a file",
    errno.ENOENT: "Correct the path, or make the file first",
    errno.ENOTDIR: "A part of the path is a file and not a directory: correct the path",
    errno.EEXIST: "A part of the path is a file and not a directory: correct the path",
    errno.ENOSPC: "Make room on the disk",
    errno.EDQUOT: "Make room in the quota of the user",
    errno.EROFS: "The file system is read-only: choose another path",
    errno.ELOOP: "Its symbolic links form a circle: correct the path",
    errno.ENAMETOOLONG: "Choose a shorter name",
}


def file_remedy(error: OSError) -> str:
    """Return what to do about an error at a file; "" if that is not known."""
    return _REMEDIES.get(error.errno or 0, "")


def read_bytes(path: str) -> bytes | None:
    """Return the content of a file, or None when there is none.

    :raises DriverDomainsError: the file is there but cannot be read.
    """
    try:
        with open(path, "rb") as handle:
            return handle.read()
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError, ValueError):
        # The third: a file of /proc whose process ended after it was opened. The last: this cannot be a path.
        return None
    except OSError as exc:
        raise DriverDomainsError(f"Cannot read {path}: {exc.strerror}", remedy=file_remedy(exc)) from exc


def read_text(path: str) -> str | None:
    """Return the text of a file, or None when there is none.

    :raises DriverDomainsError: the file is there but cannot be read.
    """
    content = read_bytes(path)
    return None if content is None else content.decode("utf-8", "surrogateescape")


def write_bytes(path: str, content: bytes, mode: int = 0o644) -> None:
    """Write a file atomically (temporary file next to it, fsync, rename), creating its directories.

    :raises DriverDomainsError: it cannot be written.
    """
    try:
        with _replacement(path, mode) as handle:
            handle.write(content)
    except OSError as exc:
        raise DriverDomainsError(f"Cannot write {path}: {exc.strerror}", remedy=file_remedy(exc)) from exc


def write_text(path: str, text: str, mode: int = 0o644) -> None:
    """Write a text atomically, as `write_bytes` does."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"), mode)


def copy(source: str, target: str, mode: int = 0o644) -> None:
    """Copy a file of any size atomically, as `write_bytes` writes one.

    :raises DriverDomainsError: it cannot be read or written.
    """
    try:
        with open(source, "rb") as reading, _replacement(target, mode) as handle:
            shutil.copyfileobj(reading, handle, 1 << 20)
    except OSError as exc:
        raise DriverDomainsError(f"Cannot copy {source} to {target}: {exc.strerror}", remedy="Check that there is room for it") from exc


@contextlib.contextmanager
def _replacement(path: str, mode: int) -> t.Iterator[t.IO[bytes]]:
    """Open a file that takes the place of `path` in the end, if nothing is raised before."""
    make_directories(os.path.dirname(path))
    descriptor, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(path) or ".")
    try:
        with os.fdopen(descriptor, "wb") as handle:
            yield handle
            handle.flush()
            os.fchmod(handle.fileno(), mode)
            os.fsync(handle.fileno())
        rename(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def remove(path: str) -> None:
    """Remove a file; one that is not there is fine.

    :raises DriverDomainsError: it cannot be removed.
    """
    try:
        os.unlink(path)
        _sync_directory_of(path)
    except FileNotFoundError:
        pass
    except OSError as exc:
        raise DriverDomainsError(f"Cannot remove {path}: {exc.strerror}", remedy=file_remedy(exc)) from exc


def remove_directory(path: str) -> None:
    """Remove an empty directory; one that is not there is fine.

    :raises DriverDomainsError: it cannot be removed.
    """
    try:
        os.rmdir(path)
        _sync_directory_of(path)
    except FileNotFoundError:
        pass
    except OSError as exc:
        raise DriverDomainsError(f"Cannot remove {path}: {exc.strerror}", remedy=file_remedy(exc)) from exc


def link(path: str, target: str) -> None:
    """Make the symbolic link `path` point to `target`, whatever file or link it was before, creating its directories.

    :raises DriverDomainsError: it cannot be made.
    """
    # No program that reads drop-in directories takes a name that begins with a dot.
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.urandom(4).hex()}")
    try:
        make_directories(os.path.dirname(path))
        os.symlink(target, temporary)
        rename(temporary, path)
    except OSError as exc:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise DriverDomainsError(f"Cannot make the link {path}: {exc.strerror}", remedy=file_remedy(exc)) from exc


def hard_link(path: str, new: str) -> None:
    """Give a file a second name in the same directory.

    :raises OSError: it cannot be linked.
    """
    os.link(path, new)
    _sync_directory_of(new)


def rename(old: str, new: str) -> None:
    """Rename a file or directory. What `new` was before is replaced. The caller has synchronised the content of a new file.

    :raises OSError: it cannot be renamed.
    """
    os.replace(old, new)
    _sync_directory_of(new)
    if os.path.dirname(old) != os.path.dirname(new):
        _sync_directory_of(old)


def make_directories(path: str) -> None:
    """Make a directory and those above it, unless they exist.

    :raises OSError: one of them cannot be made.
    """
    if path and not os.path.isdir(path):
        make_directories(os.path.dirname(path))
        # Another run may make it at the same time.
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o755)
        _sync_directory_of(path)


def _sync_directory_of(path: str) -> None:
    """Have the names in the directory of `path` on the disk, as fsync(2) does: that of a file alone does not do it."""
    descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as exc:
        # Some file systems cannot synchronise directories, such as those of FUSE.
        if exc.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def list_directory(path: str) -> list[str]:
    """Return the sorted names in a directory; one that is not there has none."""
    try:
        return sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return []


def find(pattern: str) -> list[str]:
    """Return the sorted paths that a pattern matches (glob(7))."""
    try:
        return sorted(glob.glob(pattern))
    except ValueError:
        return []


def resolve(path: str) -> str:
    """Return where symbolic links lead to. What cannot be a path leads nowhere, and is returned as it is: nothing exists there."""
    try:
        return os.path.realpath(path)
    except ValueError:
        return path


def unescape(text: str) -> str:
    """Undo the octal escapes of proc(5) and fstab(5)."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), text)


def drop_ins(root: str, directories: t.Sequence[str], suffix: str) -> list[str]:
    """Return the files of drop-in directories in the order of their names, relative to `root`.

    A file shadows those of the same name in later directories (modprobe.d(5), systemd.network(5)).
    """
    files: dict[str, str] = {}
    for directory in directories:
        for name in list_directory(f"{root}/{directory}"):
            if name.endswith(suffix):
                files.setdefault(name, f"{directory}/{name}")
    return [files[name] for name in sorted(files)]
