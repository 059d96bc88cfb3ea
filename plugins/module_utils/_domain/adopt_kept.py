# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""From the configuration that libxl keeps of a running domain to the settings of a definition, for domains whose definition is gone.

The names are those of libxl_types.idl; what they stand for is in parse_config_data of tools/xl/xl_parse.c.
"""

from __future__ import annotations

import typing as t

from .._xen.xlcfg_reader import Value
from .kept import backend_of, entries, part

_TEXTS = {
    "kernel": "kernel",
    "ramdisk": "ramdisk",
    "cmdline": "cmdline",
    "bootloader": "bootloader",
    "bootloader_args": "bootloader_args",
    "device_tree": "device_tree",
    "device_model": "device_model_override",
    "tsc_mode": "tsc_mode",
    "max_grant_frames": "max_grant_frames",
    "max_maptrack_frames": "max_maptrack_frames",
    "rtc_timeoffset": "rtc_timeoffset",
}
#: What libxl fills in by itself, or what the running domain has done to it since.
FILLED = frozenset(
    ("type", "name", "uuid", "run_hotplug_scripts", "max_vcpus", "avail_vcpus", "max_memkb", "target_memkb", "shadow_memkb", "iommu_memkb")
) | {
    *("sched_params", "claim_mode", "device_model_version", "device_model_stubdomain", "event_channels", "video_memkb", "localtime"),
    *("disable_migrate", "numa_placement", "hap", "oos", "passthrough", "xend_suspend_evtchn_compat", "vpmu", "dm_restrict", "altp2m"),
    *("blkdev_start", "max_grant_version", "nested_hvm", "apic", "acpi", "arch_arm", "arch_x86", "tee", "vmtrace_buf_kb", "cpuid"),
    *("nodemap", "exec_ssid_label", "bootloader_restrict", "trap_unmapped_accesses", "sched", "vcpu_hard_affinity", "vcpu_soft_affinity"),
    *("pool_name", "ssidref", "driver_domain", "timer_mode", "vuart", "policy", "dm_runas", "stubdomain_memkb"),
}
_ACTIONS = ("on_poweroff", "on_reboot", "on_crash", "on_watchdog")
_DISK_WORDS = {"qdisk": "qdisk", "phy": "phy", "standalone": "standalone"}
_DEVICES = ("nics", "disks", "pcidevs")


def settings_of(kept: t.Mapping[str, t.Any]) -> tuple[dict[str, Value], list[str]]:
    """Return the settings of a definition, and the names of what is kept and has no setting here.

    :param kept: the configuration.
    """
    info, build = (part(kept, key) for key in ("c_info", "b_info"))
    kind = str(info.get("type") or "pv")
    found: dict[str, t.Any] = {
        "name": info.get("name"),
        "type": kind,
        "memory": int(build.get("target_memkb") or 0) // 1024 or None,
        "maxmem": int(build.get("max_memkb") or 0) // 1024 or None,
        "vcpus": len(build.get("avail_vcpus") or [0]),
        **{ours: build.get(libxl) for libxl, ours in _TEXTS.items()},
        # What is the first of its kind is not written down, and xl has another default for on_reboot.
        **{key: str(kept.get(key) or "destroy").replace("_", "-") for key in _ACTIONS},
        "driver_domain": 1 if info.get("driver_domain") == "True" else None,
        "pci": [_pci(device) for device in entries(kept, "pcidevs")],
        "vif": [_vif(device) for device in entries(kept, "nics")],
        "disk": [_disk(device) for device in entries(kept, "disks")],
    }
    if found["maxmem"] == found["memory"]:
        del found["maxmem"]
    vcpus = build.get("max_vcpus")
    if isinstance(vcpus, int) and vcpus > found["vcpus"]:
        found["maxvcpus"] = vcpus
    left = [key for own in (info, build) for key, value in own.items() if key not in FILLED and key not in _TEXTS and value]
    left += [key for key, value in kept.items() if key not in ("c_info", "b_info", *_DEVICES, *_ACTIONS, "on_soft_reset") and value]
    return {key: value for key, value in found.items() if value not in (None, [], "")}, sorted(set(left))


def _text(parts: t.Mapping[str, t.Any], words: t.Iterable[str] = ()) -> str:
    return ",".join([*words, *(f"{key}={value}" for key, value in parts.items() if value not in (None, "", "unknown"))])


def _vif(nic: t.Mapping[str, t.Any]) -> str:
    kinds = {"vif": "vif", "vif_ioemu": "ioemu"}
    parts = {key: nic.get(key) for key in ("mac", "bridge", "ip", "script", "gatewaydev", "vlan", "mtu")}
    parts |= {"vifname": nic.get("ifname"), "backend": backend_of(nic), "type": kinds.get(str(nic.get("nictype")))}
    parts["model"] = nic.get("model") if parts["type"] != "vif" else None
    # The default (libxl_nic.c); others are not those of the definition any more, either.
    parts["mtu"] = None if parts["mtu"] == 1500 else parts["mtu"]
    size, interval = nic.get("rate_bytes_per_interval"), nic.get("rate_interval_usecs")
    if size and interval:
        parts["rate"] = f"{-(-int(size) * 1000000 // int(interval))}B/s@{interval}us"
    return _text(parts, ["untrusted"] if nic.get("trusted") == "False" else [])


def _disk(disk: t.Mapping[str, t.Any]) -> str:
    parts = {
        "vdev": disk.get("vdev"),
        "format": disk.get("format"),
        "access": None if disk.get("readwrite") or disk.get("is_cdrom") else "ro",
        "backend": backend_of(disk),
        "backendtype": _DISK_WORDS.get(str(disk.get("backend"))),
        "script": disk.get("script"),
        "specification": "virtio" if disk.get("specification") == "virtio" else None,
    }
    words = ["devtype=cdrom"] if disk.get("is_cdrom") else []
    words += ["direct-io-safe"] if disk.get("direct_io_safe") else []
    words += {"True": ["discard"], "False": ["no-discard"]}.get(str(disk.get("discard_enable")), [])
    words += ["untrusted"] if disk.get("trusted") == "False" else []
    return ",".join(filter(None, [_text(parts, words), f"target={disk['pdev_path']}" if disk.get("pdev_path") else ""]))


def _pci(device: t.Mapping[str, t.Any]) -> str:
    domain, bus, slot, function = (int(device.get(key) or 0) for key in ("domain", "bus", "dev", "func"))
    bdf = f"{domain:04x}:{bus:02x}:{slot:02x}.{function}"
    words = [f"{key}=1" for key in ("permissive", "msitranslate", "seize", "power_mgmt") if device.get(key)]
    words += [f"vslot={int(device['vdevfn']) >> 3:x}"] if device.get("vdevfn") else []
    words += [f"rdm_policy={device['rdm_policy']}"] if device.get("rdm_policy") in ("strict", "relaxed") else []
    return ",".join([bdf, *words])
