# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""How a GRUB host boots: Xen as the default entry, its options, and the devices that pciback takes before any driver does.

Files of others are left alone: the options go into a file of our own that GRUB's configuration reads last, and the last
occurrence of an option is the one in effect. Options that the running host does not show to work are tried once first (`_boot_trial`).
"""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass
from functools import partial

from ._boot_options import check_options
from ._boot_trial import TRIAL_ENTRY, TRIAL_FILE, TRIAL_OPTION, BootTrial, default_without_xen, forget_trials, left_in_environment
from ._errors import DriverDomainsError, InvalidInput, NotOnThisHost
from ._files import list_directory, read_bytes, read_text, remove
from ._pci import foreign_hides as _foreign_hides
from ._pci import hide_list as _hide_list
from ._pci.check_unit import plan_check_unit
from ._pci.device import PCIBACK_MODULE, PciDevice
from ._pci.next_boot import GRUB_CONFIGURATION
from ._plan import Plan
from ._runner import Runner
from ._xen.host import xen_version

#: Sorts after Debian's own /etc/default/grub.d/xen.cfg.
GRUB_FILE = "/etc/default/grub.d/zz-xen-driver-domains.cfg"
MODPROBE_FILE = "/etc/modprobe.d/xen-driver-domains.conf"
MODULES_FILE = "/etc/modules-load.d/xen-driver-domains.conf"
#: The ID that 20_linux_xen gives to its first entry.
ENTRY_ID = "xen-gnulinux-simple-"

_HEADER = "# Managed by Ansible (xen.driver_domains.dom0_boot): changes made here are lost.\n"
_BDF = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")
_MODULE = re.compile(r"[A-Za-z0-9_-]+")
_KERNEL_LINE = re.compile(r"^\s*(?:module2?\s+\S*vmlinu\S*|xen_module\s+\S+|linux\s+\S+)(\s.*)$", re.MULTILINE)
#: Of entries that boot Xen: the lines with the options of Xen and of dom0's kernel.
_HYPERVISOR_LINE = re.compile(r"^\s*multiboot2?\s.*$|^\s*xen_hypervisor\s.*$", re.MULTILINE)
_DOM0_LINE = re.compile(r"^\s*module2?\s+\S*vmlinu\S*\s.*$|^\s*xen_module\s.*$", re.MULTILINE)
#: The characters of the command line that Xen passes to a PV dom0; it silently drops the rest (xen.h, MAX_GUEST_CMDLINE).
_MAX_KERNEL_LINE = 1023

#: EFI variables: whether Secure Boot is on, and whether shim ignores that (`mokutil --disable-validation`).
_SECURE_BOOT = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_SHIM_STATE = "MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23"

UPDATE_TIMEOUT = 600.0


@dataclass(frozen=True)
class BootOptions:
    """How the host is to boot next time."""

    hypervisor: tuple[str, ...] = ()
    kernel: tuple[str, ...] = ()
    hide: tuple[str, ...] = ()
    #: What others hide. Only the last list is in effect, so ours has to contain theirs as well.
    foreign_hides: tuple[str, ...] = ()
    #: Kernel modules that have to find the hidden devices already taken.
    load_after_pciback: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the values: one bad item in a hide list makes the kernel ignore the whole list.

        :raises InvalidInput: a value would be misread by GRUB or the kernel (pci_stub.c, pcistub_init).
        """
        check_options(self.hypervisor, self.kernel)
        for bdf in self.hide:
            if not _BDF.fullmatch(bdf):
                raise InvalidInput(
                    f"{bdf!r} cannot be hidden at boot",
                    rule="a full BDF in lower case such as 0000:03:00.0; one bad item makes the kernel ignore the whole list",
                )
        for module in self.load_after_pciback:
            if not _MODULE.fullmatch(module):
                raise InvalidInput(f"{module!r} is not the name of a kernel module", rule="letters, digits, '_' and '-'")
        if len(self.hide_option) > _hide_list.MAX_LENGTH:
            raise InvalidInput(
                f"{len(self.hide)} devices are too many to hide at boot",
                rule=f"the kernel reads a list of {_hide_list.MAX_LENGTH} characters",
            )

    @property
    def hide_option(self) -> str:
        """The kernel option. Its prefix is the module's name with a hyphen, whether pciback is built in or not."""
        return f"{PCIBACK_MODULE}.hide={_hide_list.render((*self.hide, *self.foreign_hides))}" if self.hide else ""

    @property
    def kernel_line(self) -> tuple[str, ...]:
        """All options of dom0's kernel."""
        return (*self.kernel, *([self.hide_option] if self.hide else ()))

    def grub_file(self) -> str:
        """Return our drop-in for /etc/default/grub (a shell fragment that grub-mkconfig reads)."""
        return _HEADER + 'GRUB_DEFAULT="' + ENTRY_ID + '${GRUB_DEVICE_UUID}"\n' + _grub_settings(self.hypervisor, self.kernel_line)

    def trial(self, runner: Runner, root: str = "") -> BootTrial:
        """Return the trial of these options."""
        return BootTrial(_grub_settings(self.hypervisor, self.kernel_line), runner, root)

    def trial_file(self, trial: BootTrial) -> str:
        """Return the script for /etc/grub.d that adds the entry of the trial."""
        first, last = trial.kernel_options
        settings = _grub_settings(self.hypervisor, (first, *self.kernel_line, last))
        return trial.script(_HEADER, settings, os.path.basename(GRUB_FILE))

    def modprobe_file(self) -> str:
        """Return our modprobe.d file, or "" if none is needed: pciback has to be there before the drivers."""
        modules = sorted(set(self.load_after_pciback)) if self.hide else []
        return _HEADER + "".join(f"softdep {module} pre: {PCIBACK_MODULE}\n" for module in modules) if modules else ""

    def modules_file(self) -> str:
        """Return our modules-load.d file, or "": nothing else loads pciback for devices without a driver of their own."""
        return f"{_HEADER}{PCIBACK_MODULE}\n" if self.hide and not self.load_after_pciback else ""


def _grub_settings(hypervisor: t.Sequence[str], kernel: t.Sequence[str]) -> str:
    lines = []
    if hypervisor:
        lines.append(f'GRUB_CMDLINE_XEN_DEFAULT="${{GRUB_CMDLINE_XEN_DEFAULT}} {" ".join(hypervisor)}"\n')
    if kernel:
        lines.append(
            'GRUB_CMDLINE_LINUX_XEN_REPLACE_DEFAULT="${GRUB_CMDLINE_LINUX_XEN_REPLACE_DEFAULT:-${GRUB_CMDLINE_LINUX_DEFAULT}}'
            f' {" ".join(kernel)}"\n'
        )
    return "".join(lines)


def hidden_by_others(root: str = "", runner: Runner | None = None) -> tuple[tuple[str, ...], list[str]]:
    """Return what others hide at boot (in the settings of GRUB and modprobe), and warnings about lists that cannot be read.

    :param root: directory that stands for / (tests).
    """
    return _foreign_hides.hidden_by_others(root, GRUB_FILE, runner or Runner())


def proved_by_host(
    options: BootOptions, reasons: t.Sequence[str], missing: t.Sequence[PciDevice], kernel_line: str, *, over_ssh: bool = True
) -> bool:
    """Return whether this host, which is reached, runs as it would with these options: it was booted with them, or has all that they do.

    :param reasons: in what it differs (`reboot_reasons`).
    :param missing: the devices to hide that pciback does not hold (`not_hidden`).
    :param kernel_line: /proc/cmdline.
    :param over_ssh: whether the run came over SSH. One that did not says nothing about the host while a trial of other options runs.
    """
    if options.trial(Runner()).runs(kernel_line):
        return True
    others_are_tried = any(word.startswith(TRIAL_OPTION) for word in kernel_line.split())
    return not (reasons or missing or (others_are_tried and not over_ssh))


def refuse_local_proof(plan: Plan, options: BootOptions, kernel_line: str, over_ssh: bool) -> None:
    """Refuse to make permanent what is being tried if a host that is cut off would do the same: at its console, or in a job of its own.

    Nothing is written then, so the next boot takes the entry that was the default before.

    :param kernel_line: /proc/cmdline.
    :param over_ssh: whether the run came over SSH.
    """
    if over_ssh or not options.trial(Runner()).runs(kernel_line):
        return
    plan.refuse(
        "local_trial",
        "this host",
        "runs with boot options that are tried once, and this run did not come over SSH",
        rule="options become permanent when the host is reached while it runs with them, which a run on the host itself does not show",
        remedy="Run this over SSH before the next boot, which takes the former options again",
    )


def plan_boot(options: BootOptions | None, runner: Runner, root: str = "", *, proved: bool = True, prepare: bool = False) -> Plan:
    """Plan the changes to the host's boot files.

    :param options: None removes everything that this module wrote.
    :param root: directory that stands for / (tests).
    :param proved: whether the running host shows that it can be reached with these options. Otherwise they are tried once.
    :param prepare: only keep Debian's package of Xen from making Xen the default, and report what blocks the options.
    :raises NotOnThisHost: the host does not boot through GRUB.
    """
    plan = Plan()
    configuration = read_text(root + GRUB_CONFIGURATION)
    if configuration is None:
        raise NotOnThisHost(
            f"There is no {GRUB_CONFIGURATION} on this host",
            rule="the boot options are set through GRUB",
            remedy="If the host uses another boot loader, set its boot options yourself, and dom0_manage_boot: false",
        )
    trial = None
    if options:
        _check_length(options, configuration)
        _refuse_secure_boot(plan, f"{root}/sys")
        trial = _trial(plan, options, runner, root, proved)
    plan.results["trial"] = "next_boot" if trial else "impossible" if options and not _settled(options, root, proved) else "none"
    if prepare:
        # The package runs update-grub itself when it is installed.
        if _plan_file(plan, root + GRUB_FILE, _settings_during_trial(root), False) and f"'{ENTRY_ID}" in configuration:
            plan.add("update-grub", lambda: _update("update-grub", runner))
        return plan
    texts = {
        root + GRUB_FILE: "" if not options else _settings_during_trial(root) if trial else options.grub_file(),
        root + TRIAL_FILE: options.trial_file(trial) if options and trial else "",
        root + MODPROBE_FILE: options.modprobe_file() if options else "",
        root + MODULES_FILE: options.modules_file() if options else "",
    }
    # Before the entry is gone: GRUB would boot the first one of its menu instead.
    left = [] if trial else left_in_environment(root)
    if left:
        plan.add("forget the boot options that were tried once", partial(forget_trials, left, runner, root))
    plan_check_unit(plan, bool(options and options.hide), root)
    # Files to remove are emptied first and deleted last, so that after an interrupted run the next one knows what is left to update.
    going = [path for path, text in texts.items() if not text and read_text(path) is not None]
    settings, script, modprobe, _modules = [_plan_file(plan, path, text, path in going) for path, text in texts.items()]
    if modprobe or (options and options.modprobe_file() and _initramfs_is_older(root)):
        plan.add("update-initramfs -u", partial(_update, "update-initramfs -u", runner))
    if settings or script or (options is not None and not _in_configuration(options, configuration, trial)):
        plan.add("update-grub", lambda: _update_grub(options, trial, runner, root))
    for path in going:
        plan.add(f"remove {path}", partial(remove, path))
    if trial and not trial.armed:
        plan.add("boot the new options once, at the next boot", trial.arm)
    return plan


def _settled(options: BootOptions, root: str, proved: bool) -> bool:
    """Whether there is nothing to try: the host shows that the options work, or they were made permanent before."""
    return proved or read_text(root + GRUB_FILE) == options.grub_file()


def _trial(plan: Plan, options: BootOptions, runner: Runner, root: str, proved: bool) -> BootTrial | None:
    """Return the trial of options that are to be tried, or None; one that failed is refused."""
    if _settled(options, root, proved):
        return None
    trial = options.trial(runner, root)
    if trial.armed:
        return trial
    if trial.tried:
        words = "; ".join(filter(None, [" ".join(options.hypervisor), " ".join(options.kernel_line)])) or "Xen as the default entry"
        plan.refuse(
            "failed_trial",
            "this host",
            f"came back as it was: new boot options ({words}) were tried once, and the host was not reached while it ran with them",
            rule="options become permanent only when the host is reached while it runs with them, and are not tried again by themselves",
            remedy="This host runs as before. Find out what went wrong (journalctl -b -1, the host's console), and change the options",
        )
    problem = trial.problem()
    if problem:
        plan.warnings.append(
            f"The new boot options are permanent at once, and not tried first, because {problem}: if the host does not come up with them, "
            "somebody has to choose another entry of GRUB's menu at its console"
        )
        return None
    return trial


def _settings_during_trial(root: str) -> str:
    """Return our file of settings as it is. Before the first one, what was the default before Xen was installed stays the default."""
    text = read_text(root + GRUB_FILE) or ""
    if text not in ("", _HEADER) or xen_version(f"{root}/sys") is not None:
        return text if text != _HEADER else ""
    return _HEADER + default_without_xen(os.path.basename(GRUB_FILE))


def _check_length(options: BootOptions, configuration: str) -> None:
    mine = {*options.kernel_line, *options.trial(Runner()).kernel_options}
    for line in _KERNEL_LINE.findall(configuration):
        # Our own list of an earlier run is replaced, and so is an earlier trial.
        others = [word for word in line.split() if word not in mine and not word.startswith((f"{PCIBACK_MODULE}.hide=", TRIAL_OPTION))]
        length = len(" ".join((*others, *sorted(mine))))
        if length > _MAX_KERNEL_LINE:
            raise InvalidInput(
                f"The command line of dom0's kernel would have {length} characters",
                rule=f"Xen passes {_MAX_KERNEL_LINE} of them to dom0 and cuts off the rest, which would disable the list of hidden devices",
                remedy="Hide fewer devices at boot, or remove other kernel options",
            )


def _refuse_secure_boot(plan: Plan, sysfs: str) -> None:
    """GRUB under Secure Boot starts nothing by multiboot: a host that does not run Xen yet would not boot any more."""
    variables = f"{sysfs}/firmware/efi/efivars"
    if xen_version(sysfs) is not None or not os.path.isdir(f"{sysfs}/firmware/efi"):
        return
    enabled, ignored = (_efi_flag(f"{variables}/{name}") for name in (_SECURE_BOOT, _SHIM_STATE))
    if enabled is None and not list_directory(variables):
        problem, remedy = "may boot with Secure Boot: its EFI variables cannot be read", "Mount efivarfs on /sys/firmware/efi/efivars"
    elif enabled and not ignored:
        problem, remedy = "boots with Secure Boot, under which GRUB does not start Xen", "Switch Secure Boot off in the firmware"
    else:
        return
    plan.refuse("", "this host", problem, rule="with Xen as the default entry, the host would not boot any more", remedy=remedy)


def _efi_flag(path: str) -> bool | None:
    """Return an EFI variable of one byte, which follows four bytes of attributes, or None if there is none."""
    content = read_bytes(path)
    return None if not content else content[4:5] == b"\x01"


def _initramfs_is_older(root: str) -> bool:
    """Return whether an earlier run was interrupted before it put our module order into the initramfs."""
    images = [f"{root}/boot/{name}" for name in list_directory(f"{root}/boot") if name.startswith("initrd.img-")]
    return bool(images) and max(map(os.path.getmtime, images)) < os.path.getmtime(root + MODPROBE_FILE)


def reboot_reasons(options: BootOptions, hypervisor_line: str, kernel_line: str, root: str = "") -> list[str]:
    """Return in what the running system differs from the options, in words.

    :param hypervisor_line: the running Xen's command line (`xl info`, xen_commandline).
    :param kernel_line: /proc/cmdline.
    :param root: directory that stands for / (tests).
    """
    if xen_version(f"{root}/sys") is None:
        return ["the host does not run under Xen yet"]
    settings = read_text(root + GRUB_FILE) or ""
    configuration = read_text(root + GRUB_CONFIGURATION) or ""
    # The trial of the options runs without what they have no longer, unless others set that, too.
    tried = options.trial(Runner()).runs(kernel_line)
    reasons = []
    for subject, wanted, line, setting, entry in (
        ("Xen", options.hypervisor, hypervisor_line, "GRUB_CMDLINE_XEN_DEFAULT", _HYPERVISOR_LINE),
        ("dom0's kernel", options.kernel, kernel_line, "GRUB_CMDLINE_LINUX_XEN_REPLACE_DEFAULT", _DOM0_LINE),
    ):
        missing = _missing(wanted, line)
        reasons += [f"{subject} runs without {option}" for option in missing]
        former = [] if tried else _former(setting, settings, entry, configuration)
        # Another value of an option that is missing is not a reason of its own.
        said = {_key(option) for option in missing}
        left = [option for option in former if option in line.split() and option not in wanted and _key(option) not in said]
        reasons += [f"{subject} runs with {option}, which is no longer requested" for option in left]
    return reasons


def _former(setting: str, settings: str, entry: re.Pattern[str], configuration: str) -> list[str]:
    """Return the options of our settings that only these set. A list of hidden devices is not among them: `not_hidden` is about that.

    :param entry: matches the line of GRUB's configuration that has them, and those of others.
    """
    found = re.search(rf'^{setting}="\S+ (.*)"$', settings, re.MULTILINE)
    ours = found.group(1).split() if found else []
    words = " ".join(entry.findall(configuration)[:1]).split()
    return [
        option
        for option in dict.fromkeys(ours)
        if not option.startswith(f"{PCIBACK_MODULE}.hide=") and words.count(option) <= ours.count(option)
    ]


def _key(option: str) -> str:
    return option.split("=", 1)[0]


def hidden_at_boot(options: BootOptions, kernel_line: str) -> bool:
    """Return whether exactly these devices are in the list of the running kernel."""
    return not options.hide or options.hide_option in kernel_line.split()


def _missing(options: t.Iterable[str], line: str) -> list[str]:
    """Return the options that are not in effect: the last occurrence of a key counts, even if several are requested (console)."""
    wanted, words = list(options), line.split()
    last_wanted, in_force = ({_key(word): word for word in of} for of in (wanted, words))
    return [option for option in wanted if option not in words or in_force[_key(option)] != last_wanted[_key(option)]]


def _plan_file(plan: Plan, path: str, text: str, going: bool) -> bool:
    """Plan one of our files; return whether what is made from it has to be updated."""
    if going:
        plan.write_file(path, _HEADER, description=f"empty {path}", after="")
        return True
    return bool(text) and plan.write_file(path, text, 0o755 if path.endswith(TRIAL_FILE) else 0o644)


def _in_configuration(options: BootOptions, configuration: str, trial: BootTrial | None) -> bool:
    """Return whether GRUB's generated configuration has our entry and options: an earlier run may have been interrupted.

    :param trial: set if it is the entry that is tried once; otherwise it is the default.
    """
    if trial:
        _before, entry, configuration = configuration.partition(f" --id {TRIAL_ENTRY} ")
    else:
        default = re.search(r'set default="(' + ENTRY_ID + '[^"]*)"', configuration)
        entry = default.group(1) if default and f"'{default.group(1)}'" in configuration else ""
    if not entry:
        return False
    hypervisor_lines = _HYPERVISOR_LINE.findall(configuration)
    kernel_lines = _DOM0_LINE.findall(configuration)
    return (
        bool(hypervisor_lines and kernel_lines)
        and not _missing(options.hypervisor, hypervisor_lines[0])
        and all(option in kernel_lines[0].split() for option in options.kernel_line)
        and (not trial or trial.runs(kernel_lines[0]))
        # The last list is the one in effect.
        and (not options.hide or f"{PCIBACK_MODULE}.hide={_hide_list.lists_in(kernel_lines[0])[-1]}" == options.hide_option)
    )


def _update(command: str, runner: Runner) -> None:
    """Run a command that makes what GRUB reads, and have it where GRUB finds it.

    GRUB does not replay journals. Until Linux has written what the journal holds to its final place, which takes up to half a minute,
    GRUB boots the files that were there before: whoever cuts the power in that time boots the old options. `sync` has it written at once.
    """
    runner.run(command.split(), timeout=UPDATE_TIMEOUT)
    runner.run(["sync", "--file-system", os.path.dirname(GRUB_CONFIGURATION)], timeout=UPDATE_TIMEOUT)


def _update_grub(options: BootOptions | None, trial: BootTrial | None, runner: Runner, root: str) -> None:
    _update("update-grub", runner)
    if options is not None and not _in_configuration(options, read_text(root + GRUB_CONFIGURATION) or "", trial):
        what = "has no entry that boots Xen" if trial else "does not boot Xen by default"
        raise DriverDomainsError(
            f"update-grub ran but {GRUB_CONFIGURATION} {what} with the requested options",
            rule="20_linux_xen writes an entry for /boot/xen-*, and the last file of /etc/default/grub.d that sets an option wins",
            remedy="Check that a Xen hypervisor package is installed, that GRUB_DISABLE_SUBMENU is not set, and which file of "
            f"/etc/default/grub.d sorts after {GRUB_FILE.rsplit('/', 1)[1]}",
        )
