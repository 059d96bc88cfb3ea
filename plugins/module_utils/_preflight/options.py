# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Compare values with the argument specs of the roles: all values, and all that is wrong with them."""

from __future__ import annotations

import typing as t

from .finding import Finding, meant

Spec = t.Mapping[str, t.Any]
Values = t.Mapping[str, t.Any]
#: Returns the values as they are after conversion, and the messages about those that cannot be used, as Ansible's validator does.
Validate = t.Callable[[dict[str, t.Any], dict[str, t.Any]], tuple[Values, t.Sequence[str]]]


def check_options(options: Spec, values: Values, where: str, validate: Validate, source: str) -> tuple[dict[str, t.Any], list[Finding]]:
    """Return the values of options after conversion, without those that have none, and what is wrong with them.

    :param options: the options of an argument spec.
    :param where: the place of the values, "" for the variables themselves.
    :param source: what documents the options.
    """
    findings = [
        Finding(f"{where}.{key}" if where else key, f"{key} is not an option", "what is no option is not read", meant(str(key), options))
        for key in values
        if key not in options
    ]
    given = {key: value for key, value in values.items() if key in options and value is not None}
    if not where:
        findings += [
            Finding(key, "has no value", "a variable that is there has a value", "Remove it, or write its value, such as [] for no items")
            for key, value in values.items()
            if value is None and options[key].get("type") in ("list", "dict")
        ]
    # What is inside is checked item by item, so that the place of each error is known.
    shallow = {key: {part: text for part, text in option.items() if part != "options"} for key, option in options.items()}
    converted, messages = validate(shallow, given)
    findings += [Finding(where or "variables", message, f"see {source}", "Correct the value") for message in messages]
    result = {key: converted.get(key, value) for key, value in given.items()}
    for key, value in result.items():
        inside = options[key].get("options")
        if not inside:
            continue
        path = f"{where}.{key}" if where else key
        if isinstance(value, dict):
            result[key], more = check_options(inside, value, path, validate, source)
            findings += more
        elif isinstance(value, list):
            items = [check_options(inside, item, label(path, index, item), validate, source) for index, item in _dictionaries(value)]
            result[key] = [item for item, _more in items]
            findings += [finding for _item, more in items for finding in more]
    return result, findings


def label(path: str, index: int, item: t.Any) -> str:
    """Return the place of an item of a list."""
    name = item.get("name") if isinstance(item, t.Mapping) else None
    return f"{path}[{index}]" + (f" ({name})" if name else "")


def _dictionaries(items: t.Sequence[t.Any]) -> t.Iterator[tuple[int, Values]]:
    """The items that are what they should be: the validator has a message about the others."""
    return ((index, item) for index, item in enumerate(items) if isinstance(item, t.Mapping))
