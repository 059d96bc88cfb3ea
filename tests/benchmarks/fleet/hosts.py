# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Simulated Xen hosts that real ssh reaches: a directory as root, the system's own programs, a fake toolstack, a fake XenStore."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socketserver
import subprocess
import sys
import threading
import typing as t
from dataclasses import replace
from pathlib import Path

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import FakeHost
from ansible_collections.xen.driver_domains.tests.unit.fakes.xenstored import FakeXenstored

HERE = Path(__file__).parent
PROGRAMS = ("xl", "systemctl")
#: Of a root. The first three are those of this machine, the others are its own.
DIRECTORIES = (
    *("usr", "proc", "dev", "etc/ssh", "etc/xen", "etc/systemd/system", "root", "tmp", "toolstack", "var/lib", "var/log"),
    *("run/sshd", "run/systemd/system", "run/xenstored", "sys/class/net/xenbr0/bridge", "sys/hypervisor/version"),
)
USERS = """\
root:x:0:0:root:/root:/bin/sh
sshd:x:64999:65534::/run/sshd:/usr/sbin/nologin
"""
SSHD_CONFIG = """\
HostKey /etc/ssh/key
AuthorizedKeysFile /etc/ssh/authorized_keys
StrictModes no
LogLevel VERBOSE
Subsystem sftp internal-sftp
PidFile none
"""


class _Values(dict[str, str]):
    """What a toolstack writes; a XenStore that modules ask over its socket gets it, too."""

    def __init__(self, store: FakeXenstored) -> None:
        self._store = store

    def __setitem__(self, path: str, value: str) -> None:
        super().__setitem__(path, value)
        self._store.set(path, value)

    def update(self, *values: t.Any, **_keywords: str) -> None:
        for path, value in dict(*values).items():
            self[path] = value

    def drop(self, *tops: str) -> None:
        """Remove nodes with all that is below them."""
        for path in [path for path in self if f"{path}/".startswith(tuple(f"{top}/" for top in tops))]:
            del self[path]
        for top in tops:
            if top in self._store.tree:
                self._store.remove(top)


class SimulatedHost:
    """One host. Modules find in it what they find in dom0."""

    def __init__(self, name: str, directory: Path, store: FakeXenstored) -> None:
        self.name = name
        self.root = directory / "root"
        self._turn = threading.Lock()
        for part in DIRECTORIES:
            (self.root / part).mkdir(parents=True)
        for part in ("bin", "lib", "lib64", "sbin"):
            if os.path.islink(f"/{part}"):
                (self.root / part).symlink_to(os.readlink(f"/{part}"))
        shutil.copy("/etc/ld.so.cache", self.root / "etc")
        (self.root / "etc/passwd").write_text(USERS)
        (self.root / "etc/hostname").write_text(f"{name}\n")
        (self.root / "etc/xen/vmlinuz").write_text("")
        for part, text in (("type", "xen"), ("version/major", "4"), ("version/minor", "20")):
            (self.root / "sys/hypervisor" / part).write_text(f"{text}\n")
        self.toolstack = FakeHost(self.root / "toolstack")
        self.toolstack.free_memory = self.toolstack.total_memory = 1 << 20
        self.toolstack.paths = replace(self.toolstack.paths, active=str(self.root / "run/xen-driver-domains/units"))
        (self.root / "var/lib/xen").symlink_to("/toolstack/lib")
        fake: t.Any = self.toolstack.store
        fake.values = self._values = _Values(store)
        self._values["/local/domain/0/name"] = "Domain-0"

    def answer(self, argv: t.Sequence[str], definition: str) -> dict[str, object]:
        """Do what xl or systemctl does, and return what it prints and its exit code."""
        with self._turn:
            try:
                return {"rc": 0, "stdout": self._perform(argv, definition), "stderr": ""}
            except DriverDomainsError as exc:
                return {"rc": 1, "stdout": "", "stderr": f"{exc}\n"}

    def _perform(self, argv: t.Sequence[str], definition: str) -> str:
        words = [word for word in argv[1:] if not word.startswith("-")]
        if argv[0] == "systemctl":
            return self.toolstack.run(argv).stdout
        if words == ["list"]:
            lines = [f"{d.name:<40} {d.domid:5} {d.memory:5} {d.vcpus:5}     {d.flags:->6}      11.5\n" for d in self.toolstack.list()]
            return "Name                                        ID   Mem VCPUs\tState\tTime(s)\n" + "".join(lines)
        if words == ["info"]:
            return "".join(f"{key:<23}: {value}\n" for key, value in self.toolstack.info().items())
        if words[:1] == ["create"] and "--dryrun" in argv:
            return json.dumps(self.toolstack.parse_definition(definition))
        if words[:1] == ["create"]:
            uuid = words[2].removeprefix("uuid=").strip('"') if len(words) > 2 else ""
            self.toolstack.create(f"{self.root}{words[1]}", 1.0, uuid)
            return ""
        raise DriverDomainsError(f"the simulated host knows no {argv}")

    def runs(self, guest: str) -> bool:
        """Whether a guest runs."""
        return guest in self.toolstack.domains

    def lose(self, guest: str) -> None:
        """Let a guest be gone, with all that the host knew of it."""
        domid = self.toolstack.domains[guest].domid
        self.toolstack.domains.pop(guest)
        self._values.drop(f"/local/domain/{domid}", f"/libxl/{domid}", f"/local/domain/0/backend/vif/{domid}")
        next((self.root / "toolstack/lib").glob(f"userdata-d.{domid}.*")).unlink()
        for place in ("etc/xen", "etc/systemd", "run/xen-driver-domains"):
            for path in [path for path in (self.root / place).rglob("*") if guest in path.name]:
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()

    def sessions(self) -> int:
        """Return how many commands and transfers there were since the last call. Its sshd counts them."""
        log = self.root / "var/log/sshd.log"
        text = log.read_text() if log.exists() else ""
        log.unlink(missing_ok=True)
        return text.count("Starting session: ")


class Fleet:
    """A context manager: `hosts` by name, and what Ansible needs to reach them.

    :param variables: of all hosts.
    """

    def __init__(self, directory: Path, names: t.Sequence[str], variables: t.Mapping[str, object]) -> None:
        self._directory = directory
        self._names = names
        self._variables = variables
        self.hosts: dict[str, SimulatedHost] = {}
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Fleet:
        with self._open:
            self._serve()
            self._key()
            for name in self._names:
                self._add(name)
            self._open = self._open.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._open.close()

    def _serve(self) -> None:
        """Answer the programs of all hosts."""
        hosts = self.hosts

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                request = json.load(self.rfile)
                self.wfile.write(json.dumps(hosts[request["host"]].answer(request["argv"], request["definition"])).encode())

        class Server(socketserver.ThreadingUnixStreamServer):
            request_queue_size = 256

        server = self._open.enter_context(Server(str(self._directory / "toolstack"), Handler))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self._open.callback(server.shutdown)

    def _key(self) -> None:
        for name in ("key", "host"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._directory / name)]
            subprocess.run(command, check=True, timeout=60)

    def _add(self, name: str) -> None:
        directory = self._directory / name
        store = self._open.enter_context(FakeXenstored({"/libxl": "", "/tool": ""}))
        host = self.hosts[name] = SimulatedHost(name, directory, store)
        # A link is as good as the socket, wherever the root is.
        os.link(store.path, host.root / "run/xenstored/socket")
        os.link(self._directory / "toolstack", host.root / "run/toolstack")
        (host.root / "etc/ssh/sshd_config").write_text(SSHD_CONFIG)
        shutil.copy(self._directory / "host", host.root / "etc/ssh/key")
        shutil.copy(self._directory / "key.pub", host.root / "etc/ssh/authorized_keys")
        for part in ("sbin", "lib"):
            (directory / "local" / part).mkdir(parents=True)
        for program in PROGRAMS:
            path = directory / "local/sbin" / program
            path.write_text("#!/usr/bin/env python3\n" + (HERE / "program.py").read_text())
            path.chmod(0o755)
        for path in unpacked_sshd():
            shutil.copy(path, directory / "local" / ("sbin" if path.name == "sshd" else "lib"))

    @contextlib.contextmanager
    def reached(self, names: t.Sequence[str], milliseconds: float) -> t.Iterator[tuple[Path, dict[str, str]]]:
        """Return an inventory with some of the hosts, and variables of the environment for Ansible.

        Connections are shared as ever, but no longer than in this context.

        :param milliseconds: from each of them, and back.
        """
        config, sockets = self._directory / "ssh_config", self._directory / "sockets"
        connect = f"{sys.executable} {HERE / 'connect.py'} {self._directory}/%n {milliseconds:g}"
        config.write_text(
            f"Host *\n  User root\n  IdentityFile {self._directory / 'key'}\n  IdentitiesOnly yes\n  BatchMode yes\n"
            f"  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n  ProxyCommand {connect}\n"
        )
        inventory = self._directory / "inventory.json"
        variables = {"ansible_python_interpreter": "/usr/bin/python3", "ansible_ssh_common_args": f"-F {config}", **self._variables}
        inventory.write_text(json.dumps({"fleet": {"hosts": dict.fromkeys(names), "vars": variables}}))
        environment = {"ANSIBLE_SSH_CONTROL_PATH_DIR": str(sockets), "ANSIBLE_SSH_CONTROL_PATH": "%(directory)s/%%h"}
        try:
            # A machine that is busy with hundreds of hosts takes a while to let ssh in.
            yield inventory, {**environment, "ANSIBLE_TIMEOUT": "300"}
        finally:
            for path in sockets.glob("*"):
                command = ["ssh", "-F", str(config), "-S", str(path), "-O", "exit", path.name]
                subprocess.run(command, check=False, capture_output=True, timeout=60)


def unpacked_sshd() -> list[Path]:
    """Return an sshd and a library that it needs, from Debian's packages; nothing where it is installed. No service is started.

    :raises SystemExit: there is none, and it cannot be fetched.
    """
    if os.path.exists("/usr/sbin/sshd"):
        return []
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xen-driver-domains/sshd"
    if not (cache / ".complete").exists():
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir(parents=True)
        done = subprocess.run(["apt-get", "-qq", "download", "openssh-server", "libwrap0"], cwd=cache, check=False, timeout=600)
        packages = list(cache.glob("*.deb"))
        if done.returncode or len(packages) != 2:
            sys.exit("The simulated hosts need sshd. Install openssh-server.")
        for package in packages:
            subprocess.run(["dpkg-deb", "--extract", package, cache], check=True, timeout=60)
            package.unlink()
        (cache / ".complete").touch()
    return [cache / "usr/sbin/sshd", *(path for path in cache.glob("usr/lib/*/libwrap.so.0"))]
