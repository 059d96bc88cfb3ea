# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What `driver_domain_doctor` finds: each kind of trouble by a stable id. docs/troubleshooting.md has a section for each."""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass

#: What does not work or protects from nothing; what will not work when something happens; what is only said.
ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)


@dataclass(frozen=True)
class Trouble:
    """A kind of finding: the same words for each host."""

    severity: str
    meaning: str
    remedy: str


@dataclass(frozen=True)
class HostFinding:
    """Something that is wrong on a host; `object` is what it concerns, `problem` what was seen there."""

    id: str
    object: str
    problem: str

    @property
    def severity(self) -> str:
        """How bad it is."""
        return TROUBLES[self.id].severity

    def as_dict(self) -> dict[str, t.Any]:
        """Return it as a module's return value."""
        return {**asdict(self), **asdict(TROUBLES[self.id])}


#: By id. An id never changes its meaning: users ignore findings by it.
TROUBLES: dict[str, Trouble] = {
    # The host
    "not-readable": Trouble(
        WARNING,
        "Something could not be read, so nothing is known about what depends on it.",
        "Correct what the reason names, and run the doctor again as root.",
    ),
    "no-xen": Trouble(
        ERROR,
        "The host runs without Xen, so there are no domains.",
        "Apply the role dom0 and reboot, choose the Xen entry of the boot menu, or take the host out of the group.",
    ),
    "not-dom0": Trouble(
        ERROR,
        "The host is a guest of Xen. Domains are managed in dom0.",
        "Put the host's dom0 into the group instead of this guest.",
    ),
    "xenstore-silent": Trouble(
        ERROR,
        "XenStore does not answer. Every call of xl then hangs, and no device can be attached. Domains that run go on.",
        "Check that the root file system is writable and not full, and what the journal of xenstored says. xenstored cannot be "
        "restarted while domains run: shut them down from inside, and reboot the host.",
    ),
    "tools-missing": Trouble(
        ERROR,
        "The tools for the version of Xen that runs are not installed: Debian's xl runs those of exactly this version.",
        "Install xen-utils of the version that runs, or reboot into the Xen whose tools are installed.",
    ),
    "other-xen-next-boot": Trouble(
        WARNING,
        "A newer Xen is installed than the one that runs. It takes effect at the next boot, with other tools.",
        "Reboot at a time that suits you, and check the driver domains then. Images that hold tools of Xen must be built again.",
    ),
    "no-iommu": Trouble(
        ERROR,
        "Xen has no IOMMU, so no PCI device can be passed through, and nothing would keep a device from writing to all memory.",
        "Turn VT-d or AMD-Vi on in the firmware, and remove iommu=off from Xen's command line.",
    ),
    "no-interrupt-remapping": Trouble(
        ERROR,
        "Xen does not remap interrupts: a domain with a device can send any interrupt to Xen and to other domains.",
        "Turn interrupt remapping (and x2APIC) on in the firmware, and remove iommu=no-intremap from Xen's command line. Hardware "
        "without it cannot isolate a driver domain.",
    ),
    "interrupt-remapping-unknown": Trouble(
        NOTE,
        "Whether Xen remaps interrupts is not known: it says so only at boot, and newer lines have replaced that one in its log.",
        "Read it after the next boot, or make the log larger with conring_size=4M on Xen's command line (dom0_hypervisor_options).",
    ),
    "xsm-silo": Trouble(
        ERROR,
        "Xen runs in SILO mode: domains reach dom0, but not each other, so a driver domain cannot serve any guest.",
        "Add xsm=dummy to Xen's command line (dom0_hypervisor_options), and reboot.",
    ),
    "dma-fault": Trouble(
        WARNING,
        "The IOMMU has stopped a device that accessed memory which is not its domain's. Once, it may be left from a restart of its "
        "domain. Again and again, its driver or the device is broken or hostile, or the firmware uses the device as well.",
        "Look at the time of the lines in 'xl dmesg'. Update the device's firmware and driver, or check for reserved memory (rmrr).",
    ),
    "dom0-memory-not-fixed": Trouble(
        WARNING,
        "dom0 has all memory at first, and gives some up for each domain that starts. That takes time, fails when it is fragmented or "
        "in use, and leaves dom0 with tables for memory that it no longer has.",
        "Set dom0_memory (dom0_mem=2048M,max:2048M on Xen's command line), remove autoballoon=on from /etc/xen/xl.conf, and reboot.",
    ),
    "dom0-ballooned": Trouble(
        WARNING,
        "dom0 has less memory than it was booted with: it gave some up for domains, and does not get it back by itself.",
        "Set it back with 'xl mem-set Domain-0 SIZE' while there is free memory, and set autoballoon=off in /etc/xen/xl.conf.",
    ),
    "dom0-memory-low": Trouble(
        WARNING,
        "dom0 has little memory left. When it runs out, the kernel ends processes: xl, QEMU or xenstored may be among them.",
        "Raise dom0_memory and reboot, or stop what needs memory in dom0.",
    ),
    "not-enough-memory": Trouble(
        WARNING,
        "Domains that start with the host do not run, and Xen has not enough free memory for them.",
        "Make domains smaller, stop one, or add memory. 'xl info' shows free_memory.",
    ),
    "unit-failed": Trouble(
        ERROR,
        "A unit of Xen or of this collection has failed. The domain of xen-domain@NAME was not started, or not stopped.",
        "See 'systemctl status UNIT' and 'journalctl -t xen-domain'. When the reason is gone: 'systemctl reset-failed UNIT', then "
        "'systemctl start UNIT', or run site.yml.",
    ),
    "held-back": Trouble(
        ERROR,
        "The check at boot keeps this domain from starting: it would get another device than the one that was recorded.",
        "Run site.yml: it finds the device by its match, and writes its new address into the definition and the hide list.",
    ),
    # Devices
    "pciback-missing": Trouble(
        ERROR,
        "The driver xen-pciback is not loaded, so dom0 holds no device for its guests.",
        "Run 'modprobe xen-pciback', then site.yml. The kernel needs CONFIG_XEN_PCIDEV_BACKEND.",
    ),
    "hide-malformed": Trouble(
        ERROR,
        "The kernel could not read the list of hidden devices. One bad item disables all of it, and the devices went to dom0's drivers.",
        "Write the list as (0000:03:00.0)(0000:04:00.0), or let dom0_pci_assignable write it, and reboot.",
    ),
    "hide-overridden": Trouble(
        WARNING,
        "The kernel's command line has several lists of hidden devices. Only the last one is in effect.",
        "Declare all devices in dom0_pci_assignable, remove the other lists from GRUB's settings, and run update-grub.",
    ),
    "hide-not-taken": Trouble(
        ERROR,
        "A device that is hidden at boot is not held by pciback: its own driver was loaded first, or something has released it.",
        "Run site.yml, which binds it now. For the next boot, xen-pciback must be in the initramfs and loaded before that driver.",
    ),
    "hide-without-device": Trouble(
        WARNING,
        "There is no device at an address that is hidden at boot. Addresses move when hardware is added or removed.",
        "Run site.yml, which finds the device by its match and writes the list again, or remove the device from dom0_pci_assignable.",
    ),
    "device-lost": Trouble(
        ERROR,
        "A device that this collection has made assignable is not held by pciback any more, so no domain can get it.",
        "Run site.yml, which binds it again, or remove it from dom0_pci_assignable.",
    ),
    "record-mismatch": Trouble(
        ERROR,
        "At the address of a recorded device there is another one, or none. Definitions and the hide list still have that address.",
        "Run site.yml, which finds the device by its match. Remove the record if the hardware is gone.",
    ),
    "device-silent": Trouble(
        ERROR,
        "The device does not respond: its configuration space reads as all ones. It is dead, without power, or did not survive a reset.",
        "Stop its domain and cut the power of the host: a reboot alone may not be enough.",
    ),
    "no-reset": Trouble(
        WARNING,
        "The kernel cannot reset this device. The next domain, or dom0, gets it as the last one left it, and DMA that was under way may"
        " go on. It may not work again without a power cycle.",
        "Pass it to one domain only, which you do not replace by one that you trust less. Newer firmware or another slot may help.",
    ),
    "rmrr": Trouble(
        WARNING,
        "The firmware has reserved memory for this device (RMRR), and may use it for DMA behind its domain's back. Xen refuses it if "
        "another device shares that memory, and HVM domains may not start with it.",
        "Turn off in the firmware what uses it (legacy USB, management controller), or "
        "set rdm_policy: relaxed for the device of an HVM domain if you accept the risk.",
    ),
    "shared-interrupt": Trouble(
        WARNING,
        "A device for guests is on the same interrupt line as one that somebody else drives. The guest can block that line for both. "
        "Xen gives no security support for that.",
        "Move the card to another slot, or pass both devices to the same domain.",
    ),
    "shared-page": Trouble(
        WARNING,
        "A device for guests has registers in the same page of memory as a device of somebody else, which the guest can write to. Xen "
        "gives no security support for that.",
        "Pass both devices to the same domain. Some firmware places registers apart (option for 64-bit addresses, or above 4G).",
    ),
    "stale-owner": Trouble(
        WARNING,
        "xl still believes that a domain which has ended has this device, and leaves the device out of its lists.",
        "Run site.yml, which corrects it, or remove the key: xenstore-rm /libxl/pci/DDDD-BB-DD-F/domid.",
    ),
    # Domains
    "zombie-domain": Trouble(
        WARNING,
        "A domain is dying: '(null)' in 'xl list'. If it stays, another domain still uses pages of it, and its memory and devices are "
        "not free.",
        "Run the doctor again in a minute. If it is still there, restart the driver domain that served it, or detach what it served.",
    ),
    "domain-kept": Trouble(
        ERROR,
        "A domain has crashed or shut down, and is kept (on_crash: preserve, or no xl watches it). It serves nobody, and has its memory"
        " and devices. The recovery service does not start it again while it is there.",
        "Examine it ('xl dump-core NAME FILE'), then 'xl destroy NAME'. Its unit or the recovery service starts it again, or site.yml.",
    ),
    "domain-suspended": Trouble(
        WARNING,
        "The domain is suspended: 'xl save' or a migration is at work, or was cut off. It does nothing until it goes on.",
        "Wait until that has ended. If it was cut off, run 'xl resume NAME', or end the domain with 'xl destroy NAME'.",
    ),
    "domain-paused": Trouble(
        WARNING,
        "The domain is paused: it does nothing until it is unpaused. A driver domain that is paused serves nobody; one with our "
        "watchdog is restarted after 60 s.",
        "Run 'xl unpause NAME'. If something pauses it again, look for a debugger or a save that was cut off.",
    ),
    "domain-unfinished": Trouble(
        ERROR,
        "The domain is not complete: 'xl create' was cut off, or is still at work. It never runs.",
        "If no 'xl create' runs any more: 'xl destroy DOMID', then site.yml.",
    ),
    "domain-unwatched": Trouble(
        WARNING,
        "No process of xl watches the domain. When it shuts down, crashes or reboots, nobody removes it or starts it again: on_crash "
        "and on_reboot have no effect.",
        "Restart the domain at a time that suits you (restart_driver_domain.yml, 'systemctl restart xen-domain@NAME').",
    ),
    "domain-ended": Trouble(
        ERROR,
        "The unit of the domain is active, but the domain does not run: it has ended by itself, or xl has ended it.",
        "Find the reason in /var/log/xen/xl-NAME.log and guest-NAME.log, then 'systemctl restart xen-domain@NAME', or run site.yml.",
    ),
    "domain-error": Trouble(
        ERROR,
        "The domain reports that it cannot do what it is for, such as a bridge or a port that is missing.",
        "The reason is what the domain says. See its console ('xl console -t pv NAME'), and its logs in /var/log/xen inside.",
    ),
    "domain-not-ready": Trouble(
        ERROR,
        "The domain does not report that it is ready. It may be starting, devd has ended, or a bridge or port has gone.",
        "Run the doctor again in a minute. Then see its console ('xl console -t pv NAME'), and xendd.log in /var/log/xen inside.",
    ),
    "readiness-unknown": Trouble(
        NOTE,
        "The domain serves others and reports nothing, so whether its bridges and services work is not known. Images of this collection"
        " report it.",
        "Set ready for the domain (driver_domain_domains), with a key of XenStore that its own image writes.",
    ),
    "keeps-after-crash": Trouble(
        WARNING,
        "When this driver domain crashes, xl does not start it again but keeps it (on_crash), with its device. Its clients stay cut off.",
        "Set on_crash: restart, unless you are waiting for this crash in order to examine it.",
    ),
    "bridge-missing": Trouble(
        ERROR,
        "A vif names a bridge that its backend domain does not have. Its hotplug script fails there, or has put it nowhere.",
        "Correct bridge of the vif, or add the bridge to the backend domain (bridges), and run site.yml.",
    ),
    "stale-vif-backend": Trouble(
        ERROR,
        "The driver domain of this vif has ended. The guest's driver goes on saying that it is connected, but nothing arrives.",
        "The recovery service attaches it again when the driver domain is back. Without the service: site.yml, or xl_vif.",
    ),
    "stale-vbd-backend": Trouble(
        ERROR,
        "The driver domain of this disk has ended. The guest waits for the disk, or gets input/output errors.",
        "The recovery service attaches it again when the driver domain is back. Without the service: site.yml, or xl_vbd. File systems "
        "on it must be mounted again, or the guest restarted.",
    ),
    "stale-backend": Trouble(
        ERROR,
        "The domain that served this device has ended. Devices of this kind are not attached again by the recovery service.",
        "Restart the guest, or for a device of your own, run its xenbus_device again.",
    ),
    "hotplug-failed": Trouble(
        ERROR,
        "The script that connects the device in its backend domain has failed. The device does not work.",
        "Correct the reason. It is in xen-hotplug.log of /var/log/xen in the backend domain (for a driver domain: inside). Then "
        "site.yml, or detach and attach the device.",
    ),
    "not-connected": Trouble(
        WARNING,
        "The device is not connected. The guest may be booting or have no driver for it, or the backend does not answer.",
        "Run the doctor again in a minute. A frontend in state 1 waits for a driver in the guest, one in state 3 for its backend.",
    ),
    "left-behind": Trouble(
        WARNING,
        "A backend has a directory for a domain that does not exist any more. It counts for the quota of the backend in XenStore.",
        "After 45 s, the recovery service removes it if the backend is a driver domain that it knows. Otherwise "
        "remove it with xenstore_key (state: absent, force: [toolstack_nodes]).",
    ),
    "xenstore-quota": Trouble(
        WARNING,
        "The domain has nearly as many nodes in XenStore as it may have. At the limit, no device can be attached to it or served by it.",
        "Look for directories that were left behind ('xenstore-ls /local/domain/DOMID'). Raise the quota of xenstored, or spread the "
        "guests over more driver domains.",
    ),
    "definition-device": Trouble(
        ERROR,
        "The definition of a domain names a PCI device that pciback does not hold, so the domain does not start again.",
        "Run site.yml, which makes the device assignable and writes its address.",
    ),
    "definition-file": Trouble(
        ERROR,
        "The definition of a domain names a kernel or ramdisk that is not there, so the domain does not start again.",
        "Run site.yml, which delivers the images again.",
    ),
    # Recovery
    "no-recovery": Trouble(
        WARNING,
        "Domains are served by driver domains, and the recovery service is not installed. When a driver domain ends, its clients stay "
        "cut off until the next run of site.yml.",
        "Set driver_domain_recovery: true, which is the default, and run site.yml.",
    ),
    "recovery-stopped": Trouble(
        ERROR,
        "The recovery service is installed, but not whole, not enabled, or does not run. Nothing attaches devices again.",
        "See 'systemctl status xen-domain-recovery', and run site.yml, which restores and starts it.",
    ),
    "recovery-paused": Trouble(
        WARNING,
        "An operator has paused the recovery service for this domain. It is neither started again nor are its devices attached.",
        "When the work is done: '/usr/local/lib/xen-driver-domains/recovery.pyz resume NAME'.",
    ),
    "recovery-given-up": Trouble(
        ERROR,
        "The recovery service has tried this too often without success, and does not try it any more.",
        "'journalctl -u xen-domain-recovery' has the reason. Correct it, then '/usr/local/lib/xen-driver-domains/recovery.pyz resume'.",
    ),
    "recovery-waiting": Trouble(
        WARNING,
        "The recovery service has detached this device, and attaches it again when its backend reports that it serves. The guest is cut"
        " off.",
        "Find out why the backend is not ready: the findings of that domain, and its console.",
    ),
    "not-recovered": Trouble(
        NOTE,
        "This domain serves others, but the recovery service does not start it when it ends. Its clients are attached again when "
        "somebody has started it.",
        "Declare it in driver_domain_domains.",
    ),
}
