# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The units of systemd that start domains with the host and stop them with it.

A domain that starts with the host has a unit of its own. It is active when the domain serves; units of other domains that it serves come
after it, and all others start at the same time. What starts are definitions, so the order of starting follows from these.

What stops are running domains, and devices are attached and detached while they run. So one unit for the whole host stops them all in the
order that follows from XenStore, before anything else of the host stops that they need (`unit_program`). xendomains of Debian asks all
domains at once, whoever started them: it has to come later, for domains of others. Driver domains are started before it, because domains
of others may be their clients, and systemd stops in the reverse order of starting: hence two units.

That unit stops nothing that dom0 needs, and nothing at all when the host shuts down before it was started, which takes until all driver
domains are ready: systemd runs ExecStop= only after a successful start, and cancels a start that is queued (systemd.service(5)). The units
of domains stop these.
"""

from __future__ import annotations

import contextlib
import os
import typing as t
from functools import partial

from .._archive import interpreter, pack
from .._errors import CommandFailed, DriverDomainsError
from .._files import link as make_link
from .._files import read_bytes, read_text, remove, write_text
from .._plan import Plan
from .._runner import Runner
from .order import start_order
from .paths import MARKER, SHUTDOWN, Paths, unit_name
from .stopping import LIMIT
from .unit_program import CREATE_LIMIT, NOT_AGAIN, main

if t.TYPE_CHECKING:
    from .definition import Definition

#: What the units run. It is not called here, but goes with a module to the host.
UNIT_PROGRAM = main

#: Stops all domains.
SHUTDOWN_UNIT = "xen-driver-domains-shutdown.service"
_XENDOMAINS = "xendomains.service"
#: So often systemd tries to start a domain that fails, within an hour.
_ATTEMPTS = 5
#: Xen's own services, as Debian and as Xen call them.
_XEN = "xen.service xenstored.service xenconsoled.service xen-init-dom0.service xen-qemu-dom0-disk-backend.service"
#: What may provide the bridges and the block devices of dom0 (the latter as Debian's xendomains has them, and more of the kind).
_BRIDGES = "network-online.target openvswitch-switch.service"
_BLOCK_DEVICES = (
    "blk-availability.service drbd.service iscsi.service open-iscsi.service multipathd.service rbdmap.service nfs-server.service zfs.target"
)

_UNIT = """\
{marker}[Unit]
Description=Xen domain {name}
Documentation=man:xl(1)
After={after}
{more}ConditionPathExists=/proc/xen
StartLimitIntervalSec=3600
StartLimitBurst={attempts}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={python} -ISB {program} start {arguments}
# xl may fail while the host boots and is busy.
Restart=on-failure
RestartSec=10
RestartPreventExitStatus={not_again}
ExecStop={python} -ISB {program} stop {name}
# For a client, or for xl that is at work, and for the domain. What xl leaves behind watches over the domain.
TimeoutStopSec={stop:g}
KillMode=process
RuntimeDirectory=xen-driver-domains/units/{name}
SyslogIdentifier=xen-domain

[Install]
WantedBy=multi-user.target
"""
_SHUTDOWN_TEXT = """\
{marker}[Unit]
Description=Stop Xen domains with the host, clients before their backends
Documentation=man:xl(1)
After={after}
ConditionPathExists=/proc/xen

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop={python} -ISB {program} stop-all
# For backends that are clients themselves, one after the other.
TimeoutStopSec={stop:g}
KillMode=process
RuntimeDirectory=xen-driver-domains/units/{directory}
SyslogIdentifier=xen-domain

[Install]
WantedBy=multi-user.target
"""


#: needrestart restarts the services that run old libraries, and finds them by the cgroup of each process: what xl leaves behind would have
#: it shut a domain down after an upgrade (its own configuration has the same line for xendomains). The recovery service may be restarted,
#: and the unit that stops all domains has no process.
_NEEDRESTART = """\
{marker}$nrconf{{override_rc}}->{{qr(^xen-domain\\@)}} = 0;
"""


def unit_texts(wanted: t.Sequence[Definition], paths: Paths) -> dict[str, str]:
    """Return the unit files of the domains that are to start with the host, by name.

    :raises InvalidInput: domains wait for each other.
    """
    own = {domain.name: domain for domain in wanted if domain.autostart}
    texts: dict[str, str] = {}
    for name in start_order(list(own), {name: domain.backends for name, domain in own.items()}):
        backends = sorted(own[name].backends)
        known = {backend: texts.get(backend) or _installed(paths, wanted, backend) for backend in backends}
        texts[name] = _unit_text(own[name], known, paths)
    return texts


def _installed(paths: Paths, wanted: t.Sequence[Definition], name: str) -> str:
    """The unit file of a domain that is left as it is, among them those whose definition is the one that the host has."""
    text = "" if any(domain.name == name and not domain.verb for domain in wanted) else read_text(paths.unit(name)) or ""
    return text if text.startswith(MARKER) else ""


def _unit_text(domain: Definition, backends: t.Mapping[str, str], paths: Paths) -> str:
    """:param backends: the unit files of its backends by name, "" for one that has none of ours."""
    # Domains of others may need it, so it starts before them, unless it needs one of them.
    first = domain.driver_domain and all(f"Before={SHUTDOWN_UNIT} {_XENDOMAINS}\n" in text for text in backends.values())
    targets = [disk.target for disk in domain.local_disks]
    after = [_XEN, "xen-driver-domains-check.service"]
    after += [_BRIDGES if any(not vif.backend for vif in domain.vifs) else "network.target"]
    after += [_BLOCK_DEVICES] if any(path.startswith("/dev/") for path in targets) else []
    after += [unit_name(backend) for backend in backends if backends[backend]]
    after += [_XENDOMAINS] if not all(backends.values()) else []
    files = sorted({path for path in [*domain.files, *targets] if path.startswith("/") and not path.startswith("/dev/")})
    more = f"Wants={_BRIDGES.split()[0]}\n" if _BRIDGES in after else ""
    if domain.driver_domain:
        more += f"Before={SHUTDOWN_UNIT}{' ' + _XENDOMAINS if first else ''}\n"
    more += f"RequiresMountsFor={' '.join(_quoted(path) for path in files)}\n" if files else ""
    arguments = [domain.name, f"limit={domain.wait_timeout:g}"]
    if domain.ready:
        arguments += [f"ready={domain.ready.key}={domain.ready.value}"]
        arguments += [f"error={domain.ready.error_key}"] if domain.ready.error_key else []
    arguments += [f"emulated={mac}" for mac in sorted(domain.emulated)]
    arguments += [f"backend={backend}" for backend in backends]
    return _UNIT.format(
        marker=MARKER,
        name=domain.name,
        after=" ".join(after),
        more=more,
        python=interpreter(),
        program=paths.program,
        arguments=" ".join(_quoted(argument.replace("$", "$$")) for argument in arguments),
        stop=CREATE_LIMIT + LIMIT + 60,
        attempts=_ATTEMPTS,
        not_again=NOT_AGAIN,
    )


def _quoted(text: str) -> str:
    """Return a text as one word of a unit file (systemd.syntax(7), systemd.unit(5) on specifiers)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", "\\n")
    return escaped if escaped == text and not set(text) & set(" '\t;") else f'"{escaped}"'


def _shutdown_text(paths: Paths) -> str:
    after = " ".join([_XEN, _XENDOMAINS, "network.target", _BRIDGES, "remote-fs.target", _BLOCK_DEVICES])
    return _SHUTDOWN_TEXT.format(
        marker=MARKER,
        after=after,
        python=interpreter(),
        program=paths.program,
        stop=4 * LIMIT + 60,
        directory=SHUTDOWN,
    )


class DomainUnits:
    """Plans which units there are, and which of them are active."""

    def __init__(self, runner: Runner, paths: Paths) -> None:
        self._runner = runner
        self._paths = paths
        #: Whether systemd knows another unit file.
        self._stale = False

    def plan_files(self, plan: Plan, name: str, text: str) -> None:
        """Plan the unit file of a domain; without a text, there is to be none."""
        self._plan_unit(plan, self._paths.unit(name), self._paths.wants(unit_name(name)), unit_name(name), text)

    def starts_with_host(self, domain: Definition) -> bool:
        """Whether a domain has a unit, or gets one. One whose definition is the one that the host has keeps what it has."""
        return os.path.islink(self._paths.wants(unit_name(domain.name))) if domain.verb else domain.autostart

    def plan_common(self, plan: Plan, remaining: bool) -> None:
        """Plan what the units of all domains share; `remaining`: whether this collection has a definition on this host."""
        if remaining and not self._paths.has_systemd():
            return
        paths, unit = self._paths, f"{self._paths.units}/{SHUTDOWN_UNIT}"
        if remaining:
            plan.write_file(paths.program, pack("_domain.unit_program"), mode=0o755, before="an older program", after="the program")
            plan.write_file(paths.needrestart, _NEEDRESTART.format(marker=MARKER))
        elif paths.is_active(SHUTDOWN):
            plan.add(
                f"systemctl stop {SHUTDOWN_UNIT}", partial(self._systemctl, "stop", SHUTDOWN_UNIT), subject=SHUTDOWN_UNIT, before="active"
            )
        self._plan_unit(plan, unit, paths.wants(SHUTDOWN_UNIT), SHUTDOWN_UNIT, _shutdown_text(paths) if remaining else "")
        for path, before, levels in ((paths.program, "the program", 1), (paths.needrestart, "what it is not to restart", 2)):
            if not remaining and os.path.exists(path):
                plan.add(f"remove {path}", partial(_remove, path, levels), subject=path, before=before)

    def _plan_unit(self, plan: Plan, path: str, link: str, name: str, text: str) -> None:
        before = read_bytes(path)
        if text:
            changed = plan.write_file(path, text)
            if not os.path.islink(link):
                plan.add(f"enable {name}", partial(make_link, link, path), subject=link, after=f"-> {path}")
        else:
            if os.path.islink(link):
                plan.add(f"disable {name}", partial(remove, link), subject=link, before=f"-> {path}")
            changed = plan.remove_file(path)
        self._stale = self._stale or (changed and before is not None)

    def plan_reload(self, plan: Plan) -> None:
        """Plan that systemd knows the unit files that have been planned so far."""
        if self._stale:
            plan.add("systemctl daemon-reload", partial(self._systemctl, "daemon-reload"))
            self._stale = False

    def put_back(self, domain: Definition) -> None:
        """Write the unit file of a domain that got its previous definition back while a plan was applied, if it has a unit."""
        path, text = self._paths.unit(domain.name), unit_texts([domain], self._paths).get(domain.name, "")
        if text and read_text(path) not in (None, text):
            write_text(path, text)
            self._systemctl("daemon-reload")

    def plan_stops(self, plan: Plan, names: t.Sequence[str]) -> None:
        """Plan that the units of domains that have been stopped are not active, and start none of them later."""
        active = {unit_name(name) for name in names if self._paths.is_active(name)}
        active |= self._busy([unit_name(name) for name in names if not self._paths.is_active(name)])
        units = [unit for unit in map(unit_name, names) if unit in active]
        self._plan_call(plan, "stop", units, partial(self._systemctl, "stop", *units))

    def plan_starts(self, plan: Plan, names: t.Sequence[str], remaining: bool) -> None:
        """Plan that the units of domains that run are active."""
        inactive = [unit_name(name) for name in names if not self._paths.is_active(name)]
        common = remaining and self._paths.has_systemd()
        inactive += [SHUTDOWN_UNIT] if common and not self._paths.is_active(SHUTDOWN) else []
        busy = self._busy(inactive)
        units = [unit for unit in inactive if unit not in busy]
        self._plan_call(plan, "start", units, partial(self._start, units))

    def _busy(self, units: t.Sequence[str]) -> set[str]:
        """Return those of some units that systemd is starting or stopping, is about to, or will try to start again."""
        there = [unit for unit in units if os.path.lexists(f"{self._paths.units}/{unit}")]
        if not there:
            return set()
        shown = self._runner.run(["systemctl", "show", "--property=ActiveState,Job", *there], check=False).stdout
        # A paragraph for each, in the same order (systemctl(1), show). A job is a number, which may be 0 or left out when there is none.
        states = [dict(line.partition("=")[::2] for line in paragraph.splitlines()) for paragraph in shown.strip().split("\n\n")]
        return {
            unit
            for unit, state in zip(there, states)
            if state.get("Job", "") not in ("", "0") or state.get("ActiveState", "inactive") not in ("inactive", "failed")
        }

    def _plan_call(self, plan: Plan, verb: str, units: t.Sequence[str], call: t.Callable[[], None]) -> None:
        if units:
            states = {"start": ("inactive", "active"), "stop": ("active", "inactive")}[verb]
            plan.add(f"systemctl {verb} {' '.join(units)}", call, subject=" ".join(units), before=states[0], after=states[1])

    def _start(self, units: t.Sequence[str]) -> None:
        # Starts that have failed count for the limit, whoever wanted them, and with --no-block nobody hears of it. Fails for a unit that
        # systemd has not read yet.
        self._runner.run(["systemctl", "reset-failed", *units], check=False)
        # They find their domains running. This process has the turn that they need to start one.
        self._systemctl("start", "--no-block", *units)

    def _systemctl(self, *words: str) -> None:
        try:
            self._runner.run(["systemctl", *words], timeout=LIMIT)
        except CommandFailed as exc:
            raise DriverDomainsError(exc.problem, remedy="See 'journalctl -t xen-domain'", **exc.details) from exc


def _remove(path: str, levels: int) -> None:
    """Remove a file, and up to so many directories above it, unless they have something of others, such as the recovery service."""
    remove(path)
    with contextlib.suppress(OSError):
        for _level in range(levels):
            path = os.path.dirname(path)
            os.rmdir(path)
