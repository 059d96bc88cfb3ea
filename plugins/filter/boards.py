# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the variables of the role `board` to the options of the modules."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.xen.driver_domains.plugins.module_utils._board.options import BOARD_OPTIONS, DOMU_OPTIONS, named_files

_BOARD_FILES = named_files(BOARD_OPTIONS)
_DOMAIN_FILES = named_files(DOMU_OPTIONS)

Board = dict[str, t.Any]


def board_names(domus: t.Sequence[Board]) -> list[str]:
    """Return the names of the domains that Xen starts, in order; dom0 starts the others."""
    return [domu["name"] for domu in domus if domu.get("boot", True)]


def board_images(domus: t.Sequence[Board]) -> list[Board]:
    """Return the option `guest_image_images` of the role guest_image, for the domains that have an image built."""
    return [{"name": domu["name"], **domu["image"]} for domu in domus if domu.get("image") is not None]


def board_with_images(board: Board, images: t.Mapping[str, Board], kernel: str) -> Board:
    """Return the board with kernels and ramdisks of the images that were built.

    :param images: the fact `guest_image_result`.
    :param kernel: the kernel of domains that have neither one of their own nor an image.
    """

    def domain(domu: Board) -> Board:
        found = {key: value for key, value in domu.items() if key != "image"}
        if domu.get("image") is not None:
            if domu["name"] not in images:
                raise AnsibleFilterError(f"Domain {domu['name']!r}: its image was not built")
            image = images[domu["name"]]
            found = {"kernel": image["kernel"], "ramdisk": image["ramdisk"], "cmdline": "console=ttyAMA0 boot=xendd", **found}
            minimal = domu["image"].get("profile", "minimal") == "minimal"
            if minimal and "boot=xendd" not in found["cmdline"].split():
                raise AnsibleFilterError(
                    f"Domain {domu['name']!r}: its cmdline lacks boot=xendd, and its ramdisk is its only root file system. "
                    "Begin it with console=ttyAMA0 boot=xendd."
                )
        if kernel:
            found.setdefault("kernel", kernel)
        return found

    return {**board, "domus": [domain(domu) for domu in board["domus"]]}


def board_sources(board: Board) -> dict[str, str]:
    """Return the path of each file that a board has, by that path."""
    paths = [board.get(name) for name in _BOARD_FILES] + list(board.get("overlays") or [])
    for domain in (board.get("dom0") or {}, *board["domus"]):
        paths += [domain.get(name) for name in _DOMAIN_FILES]
    return {path: path for path in paths if path}


def board_with_files(board: Board, files: t.Mapping[str, str]) -> Board:
    """Return the board with the stored names of its files.

    :param files: what the module boot_set_files returns for `board_sources`.
    """

    def renamed(options: Board, names: t.Sequence[str]) -> Board:
        return {**options, **{name: files[options[name]] for name in names if options.get(name)}}

    return {
        **renamed(board, _BOARD_FILES),
        "overlays": [files[path] for path in board.get("overlays") or []],
        "dom0": renamed(board["dom0"], _DOMAIN_FILES) if board.get("dom0") else None,
        "domus": [renamed(domu, _DOMAIN_FILES) for domu in board["domus"]],
    }


class FilterModule:
    """The collection's filters for boards."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters by name."""
        return {
            "board_images": board_images,
            "board_names": board_names,
            "board_sources": board_sources,
            "board_with_files": board_with_files,
            "board_with_images": board_with_images,
        }
