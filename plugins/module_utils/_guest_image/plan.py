# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Plan which images to build or remove."""

from __future__ import annotations

import json
import os
import typing as t
from functools import partial

from .._plan import Plan
from .build import Builder
from .cache import ImageCache
from .specification import Image


def plan_images(images: t.Mapping[str, Image], state: str, cache: ImageCache, builder: Builder) -> Plan:
    """Plan the builds (`state` present) or removals (absent) of the images that the cache lacks or has.

    :param images: the images by name.
    :raises NotOnThisHost: an image is missing, and this machine cannot build it.
    """
    plan = Plan()
    manifests = {image.key: cache.manifest(image.key) for image in images.values()}
    handled: set[str] = set()
    missing = [image for image in images.values() if manifests[image.key] is None]
    if state == "present" and missing:
        builder.check(missing)
    for name, image in images.items():
        if image.key in handled:
            continue
        handled.add(image.key)
        description = json.dumps(image.describe(), indent=2, sort_keys=True)
        if state == "present" and manifests[image.key] is None:
            plan.add(f"Build image {name} ({image.key})", partial(builder.build, image), subject=f"{name} ({image.key})", after=description)
        elif state == "absent" and os.path.isdir(cache.path(image.key)):
            plan.add(
                f"Remove image {name} ({image.key})", partial(cache.remove, image.key), subject=f"{name} ({image.key})", before=description
            )
    plan.results = _results(images, cache)
    plan.conclude = lambda: _results(images, cache)
    return plan


def _results(images: t.Mapping[str, Image], cache: ImageCache) -> dict[str, t.Any]:
    """Return the module's results. The paths of an image are known before it is built, its sizes are not."""
    results = []
    for name, image in images.items():
        directory = cache.path(image.key)
        manifest = cache.manifest(image.key)
        files: dict[str, t.Any] = manifest["files"] if manifest else {}
        results.append(
            {
                "name": name,
                "key": image.key,
                "directory": directory,
                **{part: os.path.join(directory, part) if part in image.parts else "" for part in ("kernel", "ramdisk", "disk")},
                "present": manifest is not None,
                "size_bytes": sum(file["size"] for file in files.values()),
                "files": files,
            }
        )
    return {"images": results}
