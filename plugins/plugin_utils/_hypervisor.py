# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""How the controller runs commands in dom0 by itself: for the inventory, for consoles, and on the way to a guest by SSH."""

from __future__ import annotations

import json
import shlex
import subprocess
import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._printable import printable_message

#: The domains as the toolstack knows them, and the addresses that dom0 has seen. It prints one JSON object.
READ_SCRIPT = """\
PATH=$PATH:/usr/sbin:/sbin
printf '{"domains": '
xl list -l || exit
printf ', "neighbours": '
ip -json neigh 2>/dev/null || echo '[]'
printf '}'
"""
_BACKEND: dict[str, t.Any] = {"backend_domname": None, "backend_domid": None}
#: What is kept of it. The rest has passwords of consoles, and a cache of the inventory is a file that others can read.
_KEPT: dict[str, t.Any] = {
    "domains": [
        {
            "domid": None,
            "config": {
                "c_info": {"name": None, "type": None, "uuid": None, "driver_domain": None},
                "b_info": {"max_memkb": None, "target_memkb": None, "max_vcpus": None},
                "nics": [{"mac": None, "bridge": None, **_BACKEND}],
                "disks": [_BACKEND],
                "pcidevs": [{"domain": None, "bus": None, "dev": None, "func": None}],
            },
        }
    ],
    "neighbours": [{"dst": None, "lladdr": None, "state": None}],
}
_AS_ROOT = """if [ "$(id -u)" -eq 0 ]; then exec sh -c {script}; else exec sudo -n sh -c {script}; fi"""


class HypervisorError(Exception):
    """A host cannot be asked for its domains."""


def ssh_words(option: t.Callable[[str], t.Any]) -> list[str]:
    """Return the command that reaches a host by SSH, up to and with its name, from the options of Ansible's connection plugin `ssh`.

    Passwords are not used: nobody could be asked for one here. Nothing is shared with other connections: one that stays in the
    background would keep the streams of the command open.
    """
    words = [str(option("ssh_executable") or "ssh"), "-o", "BatchMode=yes", "-o", "ControlPath=none"]
    for name in ("ssh_args", "ssh_common_args", "ssh_extra_args"):
        words += shlex.split(option(name) or "")
    if option("host_key_checking") is False:
        words += ["-o", "StrictHostKeyChecking=no"]
    words += ["-o", f"ConnectTimeout={option('timeout') or 10}"]
    for flag, name in (("-p", "port"), ("-i", "private_key_file"), ("-l", "remote_user")):
        if option(name):
            words += [flag, str(option(name))]
    return [*words, str(option("host"))]


def in_dom0(jump: t.Sequence[str], script: str) -> list[str]:
    """Return the command that runs a shell script in dom0 as root, directly or by `sudo` without a password.

    :param jump: the command that reaches dom0; empty if this machine is dom0.
    """
    command = _AS_ROOT.format(script=shlex.quote(script))
    return [*jump, command] if jump else ["sh", "-c", command]


def proxy_arguments(jump: t.Sequence[str]) -> str:
    """Return the arguments of `ssh` that reach a guest through dom0, for `ansible_ssh_common_args`.

    It is what `ProxyJump` does, which however would take neither the key nor the options of the host (ssh_config(5), ProxyJump).
    """
    if not jump:
        return ""
    # ssh replaces what begins with a percent sign, and a shell runs the result.
    words = [shlex.quote(word.replace("%", "%%")) for word in [*jump[:-1], "-W"]]
    command = " ".join([*words, "'[%h]:%p'", shlex.quote(jump[-1].replace("%", "%%"))])
    return f"-o {shlex.quote(f'ProxyCommand={command}')}"


def read_host(jump: t.Sequence[str], timeout: float) -> dict[str, t.Any]:
    """Return what `READ_SCRIPT` says of a host.

    :param timeout: seconds for all of it.
    :raises HypervisorError: the host cannot be reached, or does not run Xen, or xenstored does not answer.
    """
    try:
        done = subprocess.run(
            in_dom0(jump, READ_SCRIPT),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
    except subprocess.TimeoutExpired as exc:
        raise HypervisorError(f"it did not answer within {timeout:g} s. If it can be reached, xenstored may be dead there") from exc
    except OSError as exc:
        raise HypervisorError(f"cannot run {(jump or ['sh'])[0]}: {exc}") from exc
    if done.returncode:
        raise HypervisorError(f"exit code {done.returncode}: {printable_message(done.stderr.strip()[-500:]) or 'no message'}")
    try:
        reading = json.loads(done.stdout)
    except (ValueError, RecursionError) as exc:
        raise HypervisorError(f"'xl list -l' printed something other than JSON: {done.stdout[-200:]!r}") from exc
    if not isinstance(reading, dict):
        raise HypervisorError(f"it sent something other than its domains and neighbours: {done.stdout[-200:]!r}")
    return {"domains": [], "neighbours": [], **_kept(reading, _KEPT)}


def _kept(value: t.Any, shape: t.Any) -> t.Any:
    """Return what a shape has of a value: of dictionaries the same keys, of lists all items; None stands for anything that is neither."""
    if isinstance(shape, dict):
        return {key: _kept(value[key], part) for key, part in shape.items() if key in value} if isinstance(value, dict) else {}
    if isinstance(shape, list):
        return [_kept(item, shape[0]) for item in value] if isinstance(value, list) else []
    return value
