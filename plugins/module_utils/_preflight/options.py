# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Compare values with the argument specs of the roles: all values, and all that is wrong with them."""

from __future__ import annotations

import typing as t

from .finding import InputFinding, meant

Spec = t.Mapping[str, t.Any]
Values = t.Mapping[str, t.Any]
#: Returns the values as they are after conversion, and the messages about those that cannot be used, as Ansible's validator does.
Validate = t.Callable[[dict[str, t.Any], dict[str, t.Any]], tuple[Values, t.Sequence[str]]]


def check_options(
    options: Spec, values: Values, where: str, validate: Validate, source: str
) -> tuple[dict[str, t.Any], list[InputFinding]]:
    """Return the values of options after conversion, those that are right, and what is wrong with the others.

    :param options: the options of an argument spec.
    :param where: the place of the values, "" for the variables themselves.
    :param source: what documents the options.
    """
    findings = [
        InputFinding(where, f"{key} is not an option", "what is no option is not read", meant(str(key), options))
        for key in values
        if key not in options
    ]
    given = {key: value for key, value in values.items() if key in options and value is not None}
    if not where:
        findings += [
            InputFinding(
                key, "has no value", "a variable that is there has a value", "Remove it, or write its value, such as [] for no items"
            )
            for key, value in values.items()
            if value is None and options[key].get("type") in ("list", "dict")
        ]
    result: dict[str, t.Any] = {}
    for key, option in options.items():
        path = f"{where}.{key}" if where else key
        value, inside = given.get(key), option.get("options")
        if inside and isinstance(value, list):
            result[key], more = _check_items(inside, value, path, validate, source)
            findings += more
        elif key in given or option.get("required"):
            # One by one, so that the place of each error is known, and right values are used.
            shallow = {key: {part: text for part, text in option.items() if part != "options"}}
            converted, messages = validate(shallow, {key: value} if key in given else {})
            findings += [InputFinding(path if key in given else where, text, f"see {source}", "Correct the value") for text in messages]
            if not messages:
                result[key] = converted[key]
            if inside and isinstance(result.get(key), dict):
                result[key], more = check_options(inside, result[key], path, validate, source)
                findings += more
    return result, findings


def _check_items(
    options: Spec, values: t.Sequence[t.Any], path: str, validate: Validate, source: str
) -> tuple[list[dict[str, t.Any]], list[InputFinding]]:
    """Return the items of a list of dictionaries after conversion, and what is wrong with them."""
    items: list[dict[str, t.Any]] = []
    findings: list[InputFinding] = []
    for index, value in enumerate(values):
        if isinstance(value, t.Mapping):
            item, more = check_options(options, value, label(path, index, value), validate, source)
            items.append(item)
            findings += more
        else:
            keys = ", ".join(options)
            findings.append(
                InputFinding(f"{path}[{index}]", f"{value!r} is no dictionary", f"an item has some of the keys {keys}", f"See {source}")
            )
    return items, findings


def label(path: str, index: int, item: t.Any) -> str:
    """Return the place of an item of a list."""
    name = item.get("name") if isinstance(item, t.Mapping) else None
    return f"{path}[{index}]" + (f" ({name})" if name else "")
