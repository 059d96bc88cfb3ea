# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Plan which images to build or remove. An image that a domain uses is never removed."""

from __future__ import annotations

import json
import os
import time
import typing as t
from functools import partial

from .._plan import Plan
from .._secrets import hide_secrets
from .build import Builder
from .cache import ImageCache
from .specification import Image
from .uses import UsePlaces, image_users

#: An image that nothing uses is kept for this many days after it was built here or delivered, to go back to.
DAYS_KEPT = 30


def plan_images(images: t.Mapping[str, Image], state: str, cache: ImageCache, builder: Builder, places: UsePlaces | None = None) -> Plan:
    """Plan the builds (`state` present) or removals (absent) of the images that the cache lacks or has, or a cleaning (cleaned).

    :param images: the images by name.
    :raises NotOnThisHost: an image is missing, and this machine cannot build it.
    :raises DriverDomainsError: a definition of a domain cannot be read, so that it is not known which images are in use.
    """
    if state == "cleaned":
        return _plan_cleaning(images, cache, places or UsePlaces())
    plan = Plan()
    users = image_users({image.key for image in images.values()}, places or UsePlaces()) if state == "absent" else {}
    manifests = {image.key: cache.manifest(image.key) for image in images.values()}
    handled: set[str] = set()
    missing = [image for image in images.values() if manifests[image.key] is None]
    if state == "present" and missing:
        builder.check(missing)
    for name, image in images.items():
        if image.key in handled:
            continue
        handled.add(image.key)
        description = json.dumps(hide_secrets(image.describe()), indent=2, sort_keys=True)
        if state == "present" and manifests[image.key] is None:
            plan.add(f"Build image {name} ({image.key})", partial(builder.build, image), subject=f"{name} ({image.key})", after=description)
        elif state == "absent" and users.get(image.key):
            plan.warnings.append(f"Image {name} ({image.key}) is kept: it is used by {', '.join(users[image.key])}")
        elif state == "absent" and os.path.isdir(cache.path(image.key)):
            plan.add(
                f"Remove image {name} ({image.key})", partial(cache.remove, image.key), subject=f"{name} ({image.key})", before=description
            )
    plan.results = _results(images, cache)
    plan.conclude = lambda: _results(images, cache)
    return plan


def _plan_cleaning(images: t.Mapping[str, Image], cache: ImageCache, places: UsePlaces) -> Plan:
    plan = Plan()
    named = {image.key for image in images.values()}
    old = [key for key in cache.directories() if key not in named and _days_here(cache.path(key)) > DAYS_KEPT]
    users = image_users(old, places)
    for key in old:
        if key not in users:
            plan.add(f"Remove image {key}, which nothing uses", partial(cache.remove, key), subject=key, before="unused")
    plan.results = _results(images, cache)
    plan.conclude = lambda: _results(images, cache)
    return plan


def _days_here(directory: str) -> float:
    # The note of its verification is written last.
    return (time.time() - os.path.getmtime(directory)) / 86400


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
