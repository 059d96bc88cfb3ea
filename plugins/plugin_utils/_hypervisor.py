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

#: The domains as the toolstack knows them, and the addresses that dom0 has seen. It prints one JSON object.
READ_SCRIPT = """\
PATH=$PATH:/usr/sbin:/sbin
printf '{"domains": '
xl list -l || exit
printf ', "neighbours": '
ip -json neigh 2>/dev/null || echo '[]'
printf '}'
"""
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
        raise HypervisorError(f"exit code {done.returncode}: {done.stderr.strip()[-500:] or 'no message'}")
    try:
        reading = json.loads(done.stdout)
    except ValueError as exc:
        raise HypervisorError(f"'xl list -l' printed something other than JSON: {done.stdout[-200:]!r}") from exc
    return {"domains": reading["domains"], "neighbours": reading["neighbours"]}
