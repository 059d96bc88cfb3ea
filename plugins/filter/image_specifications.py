# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turn the images of the role guest_image into the parameter of the module of the same name."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.ssh_keys import authorized_keys


def image_specifications(
    images: t.Sequence[dict[str, t.Any]],
    profiles: t.Mapping[str, dict[str, t.Any]],
    backends: t.Mapping[str, t.Any],
    xen_version: str,
    architecture: str,
    nonfree_firmware: bool = False,
) -> list[dict[str, t.Any]]:
    """Return the parameter `images` of the module guest_image, without the options that all images share.

    :param profiles: format, packages, modules and files of each profile.
    :param backends: packages and modules that all backends need, modules by kind of backend, and packages and modules by kind of network.
    :param architecture: the Debian architecture of the images.
    :param nonfree_firmware: whether images get the firmware of their devices from Debian's component non-free-firmware.
    :raises AnsibleFilterError: a profile or a kind of backend is unknown, an image with backends has no Xen version, or an authorized
        key is none.
    """
    return [_specification(image, profiles, backends, xen_version, architecture, nonfree_firmware) for image in images]


def image_paths(images: t.Sequence[dict[str, t.Any]], directory: str) -> dict[str, dict[str, str]]:
    """Return key and paths of each image by its name, for images in `directory`.

    :param images: as the module guest_image returns them.
    """
    return {
        image["name"]: {
            "key": image["key"],
            **{part: f"{directory}/{image['key']}/{part}" if image[part] else "" for part in ("kernel", "ramdisk", "disk")},
        }
        for image in images
    }


def _specification(
    image: dict[str, t.Any],
    profiles: t.Mapping[str, dict[str, t.Any]],
    backends: t.Mapping[str, t.Any],
    xen_version: str,
    architecture: str,
    nonfree_firmware: bool,
) -> dict[str, t.Any]:
    name = image["name"]
    profile = _known(profiles, image.get("profile", "minimal"), f"Image {name!r}: profile")
    packages = [*profile["packages"], *image.get("packages", [])]
    files = [*profile["files"], *image.get("files", [])]
    modules: list[str] = []
    if profile["format"] == "ramdisk":
        # A PV domain gets devices on a virtual PCI bus, an Arm domain in its device tree.
        bus = ["xen-pcifront"] if image.get("modules") and architecture == "amd64" else []
        modules = [*profile["modules"], *bus, *image.get("modules", [])]
    if image.get("backends"):
        if not xen_version:
            raise AnsibleFilterError(
                f"Image {name!r}: backends need the tools of the host's Xen version, which is unknown. Set guest_image_xen_version."
            )
        kinds = [_known(backends["modules"], kind, f"Image {name!r}: backend") for kind in image["backends"]]
        packages += [*backends["packages"], f"xen-utils-{xen_version}"]
        # The rules of vifs, LVM, and what the networks need that the domain makes.
        needs = {"rules": "vif", "volumes": "volumes"}
        wanted = [*(need for need, kind in needs.items() if kind in image["backends"]), *image.get("networks", [])]
        for network in [_known(backends["networks"], wish, f"Image {name!r}: network") for wish in wanted]:
            packages += network.get("packages", [])
            modules += network.get("modules", []) if profile["format"] == "ramdisk" else []
        needed = [*backends["common_modules"], *(module for kind in kinds for module in kind)]
        files.append({"path": "/usr/lib/xendd/modules", "content": " ".join(needed) + "\n"})
    if image.get("authorized_keys"):
        try:
            keys = authorized_keys(image["authorized_keys"], f"Image {name!r}")
        except InvalidInput as exc:
            raise AnsibleFilterError(str(exc)) from exc
        files.append({"path": "/root/.ssh/authorized_keys", "content": keys, "mode": "0600"})
    firmware = image.get("modules", []) if nonfree_firmware else []
    if firmware:
        # xendd says what to do when a file is missing, which depends on whether Debian's were added.
        files.append({"path": "/usr/lib/xendd/nonfree-firmware", "content": " ".join(firmware) + "\n"})
    return {
        "name": name,
        "format": profile["format"],
        "packages": packages,
        "modules": modules,
        "files": files,
        **({"size": image["size"]} if image.get("size") else {}),
        **({"bzimage": True} if image.get("bzimage") else {}),
        **({"nonfree_firmware": firmware} if firmware else {}),
    }


def _known(mapping: t.Mapping[str, t.Any], key: str, what: str) -> t.Any:
    if key not in mapping:
        raise AnsibleFilterError(f"{what} {key!r} is unknown. Use one of {', '.join(sorted(mapping))}.")
    return mapping[key]


class FilterModule:
    """The collection's filters for images."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters by name."""
        return {"image_paths": image_paths, "image_specifications": image_specifications}
