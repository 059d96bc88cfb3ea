# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host that boots through GRUB: the shell files that it reads run in a shell, and GRUB boots what they made."""

from __future__ import annotations

import re
import subprocess
import typing as t
from pathlib import Path

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import CommandFailed
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Result

#: Of Debian's xen.cfg: it makes Xen the default, and warns with a function that only grub-mkconfig has.
_XEN_CFG = """\
echo "Including Xen overrides" >&2
if [ "$XEN_OVERRIDE_GRUB_DEFAULT" = "" ]; then
  grub_warn "GRUB_DEFAULT changed to boot into Xen by default!"
  XEN_OVERRIDE_GRUB_DEFAULT=1
fi
if [ "$XEN_OVERRIDE_GRUB_DEFAULT" = "1" ]; then
  GRUB_DEFAULT="$GRUB_DISTRIBUTOR GNU/Linux, with Xen hypervisor"
fi
"""
#: Of GRUB's grub-mkconfig and 00_header.
_MKCONFIG = """\
set -e
grub_warn() { echo "$*" >&2; }
GRUB_DEVICE_UUID=1
. ETC/default/grub
for x in ETC/default/grub.d/*.cfg; do . "$x"; done
export GRUB_DEFAULT GRUB_DEVICE_UUID GRUB_CMDLINE_LINUX GRUB_CMDLINE_LINUX_DEFAULT GRUB_CMDLINE_LINUX_XEN_REPLACE \\
  GRUB_CMDLINE_LINUX_XEN_REPLACE_DEFAULT GRUB_CMDLINE_XEN GRUB_CMDLINE_XEN_DEFAULT
echo 'set default="${next_entry}"'
[ "$GRUB_DEFAULT" != saved ] || GRUB_DEFAULT='${saved_entry}'
echo "set default=\\"$GRUB_DEFAULT\\""
for i in ETC/grub.d/*; do [ ! -x "$i" ] || "$i"; done
"""
_LINUX = """\
#!/bin/sh
echo "menuentry 'Debian GNU/Linux' --class debian \\$menuentry_id_option 'gnulinux-simple-1' {"
echo "	linux	/boot/vmlinuz-6 root=UUID=1 ro $GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT"
echo "}"
"""
_LINUX_XEN = """\
#!/bin/sh
[ -z "$GRUB_CMDLINE_LINUX_XEN_REPLACE" ] || GRUB_CMDLINE_LINUX=$GRUB_CMDLINE_LINUX_XEN_REPLACE
[ -z "$GRUB_CMDLINE_LINUX_XEN_REPLACE_DEFAULT" ] || GRUB_CMDLINE_LINUX_DEFAULT=$GRUB_CMDLINE_LINUX_XEN_REPLACE_DEFAULT
entry() {
  echo "$1menuentry 'Debian GNU/Linux, with $2' --class debian --class xen \\$menuentry_id_option '$3-1' {"
  echo "$1	multiboot2	/boot/xen-4.20-amd64.gz placeholder $GRUB_CMDLINE_XEN $GRUB_CMDLINE_XEN_DEFAULT \\${xen_rm_opts}"
  echo "$1	module2	/boot/vmlinuz-6 placeholder root=UUID=1 ro $GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT"
  echo "$1	module2	--nounzip   /boot/initrd.img-6"
  echo "$1}"
}
entry "" "Xen hypervisor" xen-gnulinux-simple
echo "submenu 'Advanced' \\$menuentry_id_option 'gnulinux-advanced-1' {"
entry "	" "Xen 4.20" xen-gnulinux-6-advanced
echo "}"
echo ""
"""


class Booted(t.NamedTuple):
    """What runs on the host."""

    entry: str
    #: Command lines of Xen ("" without) and of the kernel.
    xen: str
    kernel: str


class FakeGrubHost:
    """Stands for the runner of a host below `root`, which has Debian's package of Xen.

    :param settings: /etc/default/grub.
    :param kind: type of the file system with /boot/grub.
    :param abstraction: what that is on, other than a partition.
    :param xen: whether it has the package already; otherwise `install_xen` installs it.
    """

    def __init__(self, root: Path, settings: str = "GRUB_DEFAULT=0\n", kind: str = "ext2", abstraction: str = "", xen: bool = True) -> None:
        self.root = root
        self.kind, self.abstraction = kind, abstraction
        self.environment: dict[str, str] = {}
        #: Called before every command; a test that raises from it kills the run there.
        self.step: t.Callable[[], None] = lambda: None
        files = {
            "etc/default/grub": f"GRUB_DISTRIBUTOR=Debian\nGRUB_CMDLINE_LINUX_DEFAULT=quiet\n{settings}",
            "etc/default/grub.d/init-select.cfg": "",
            "etc/grub.d/10_linux": _LINUX,
            "boot/initrd.img-6": "",
        }
        self._write(files)
        (root / "boot/grub").mkdir()
        self.install_xen() if xen else self.update_grub()
        #: What GRUB would read after a power cut, since it does not replay the journal.
        self.configuration_on_disk = self.configuration

    @property
    def configuration(self) -> str:
        """What update-grub wrote."""
        return (self.root / "boot/grub/grub.cfg").read_text()

    def _write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)

    def install_xen(self) -> None:
        """Install Debian's packages of Xen, which run update-grub."""
        # GRUB's own package has this script, but without Xen it writes nothing.
        self._write({"etc/default/grub.d/xen.cfg": _XEN_CFG, "etc/grub.d/20_linux_xen": _LINUX_XEN})
        self.update_grub()

    def run(self, argv: list[str], **_options: t.Any) -> Result:
        """Do what the command does."""
        self.step()
        output = ""
        if argv == ["update-grub"]:
            self.update_grub()
        elif argv[0] == "grub-editenv":
            assert argv[1] == f"{self.root}/boot/grub/grubenv"
            self._edit(argv[2], argv[3:])
        elif argv[0] == "sync":
            assert argv[1:] == ["--file-system", "/boot/grub"]
            self.configuration_on_disk = self.configuration
        elif argv[0] == "grub-probe":
            assert argv[2] == "/boot/grub"
            if self.kind == "unknown":
                raise CommandFailed("'grub-probe' failed")
            output = {"--target=fs": self.kind, "--target=abstraction": self.abstraction}[argv[1]]
        else:
            assert argv == ["update-initramfs", "-u"]
        return Result(tuple(argv), 0, f"{output}\n", "")

    def update_grub(self) -> None:
        """Run our files in a shell, as grub-mkconfig does, but below `root`."""
        etc = self.root / "etc"
        copy = self.root / "copy"
        for path in [*etc.rglob("*.cfg"), etc / "default/grub", *(etc / "grub.d").iterdir()]:
            target = copy / path.relative_to(self.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(path.read_text().replace("/etc/", f"{copy}/etc/"))
            target.chmod(path.stat().st_mode)
        script = _MKCONFIG.replace("ETC", f"{copy}/etc")
        done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=60, check=True)
        subprocess.run(["rm", "-r", str(copy)], check=True)
        (self.root / "boot/grub/grub.cfg").write_text(done.stdout)

    def cut_power(self) -> None:
        """Lose what has not reached its place on the disk."""
        (self.root / "boot/grub/grub.cfg").write_text(self.configuration_on_disk)

    def boot(self) -> Booted:
        """Boot as GRUB does: `next_entry` once, then the default; an entry that does not exist is the first one."""
        default = re.findall(r'^set default="(.*)"$', self.configuration, re.MULTILINE)[-1]
        default = self.environment.get("saved_entry", "0") if default == "${saved_entry}" else default
        if self.environment.get("next_entry"):
            default = self.environment["next_entry"]
            self._edit("set", ["next_entry="])
        entries = re.findall(r"^menuentry (.*)\n((?:\t.*\n)*)\}$", self.configuration, re.MULTILINE)
        names = [{line.split("'")[1], line.split("'")[-2], *re.findall(r"--id (\S+)", line)} for line, _body in entries]
        number = next((i for i, known in enumerate(names) if default in known), int(default) if default.isdigit() else 0)
        line, body = entries[number]
        words = [row.split(None, 1) for row in body.splitlines()]
        xen = next((rest for key, rest in words if key == "multiboot2"), "")
        kernel = next(rest for key, rest in words if "vmlinuz" in rest)
        self._run_xen(bool(xen))
        return Booted(line.split("'")[1], xen, kernel)

    def _run_xen(self, runs: bool) -> None:
        hypervisor = self.root / "sys/hypervisor"
        (hypervisor / "version").mkdir(parents=True, exist_ok=True)
        for name, text in {"type": "xen" if runs else "", "version/major": "4", "version/minor": "20"}.items():
            (hypervisor / name).write_text(f"{text}\n")

    def _edit(self, command: str, words: list[str]) -> None:
        if command == "set":
            self.environment.update(word.split("=", 1) for word in words)
        else:
            assert command == "unset"
            for name in words:
                self.environment.pop(name, None)
        text = "# GRUB Environment Block\n" + "".join(f"{name}={value}\n" for name, value in self.environment.items())
        (self.root / "boot/grub/grubenv").write_text(text.ljust(1024, "#"))
