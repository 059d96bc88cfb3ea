# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""From the configuration that libxl keeps of a running domain to the settings of a definition, for domains whose definition is gone.

The names are those of libxl_types.idl; what they stand for is in parse_config_data of tools/xl/xl_parse.c.
"""

from __future__ import annotations

import re
import typing as t

from .._xen.xlcfg_reader import Value
from .equality import differences
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
#: What libxl fills in where a definition says nothing, by the name in libxl_types.idl (libxl__domain_config_setdefault in libxl_create.c
#: and its parts in libxl_x86.c and libxl_arm.c). It keeps that if the toolstack asked how much memory a domain needs.
_FILLED: dict[str, tuple[t.Any, ...]] = {
    **dict.fromkeys(("hap", "oos", "run_hotplug_scripts", "numa_placement", "pae", "acpi_s3", "acpi_s4", "nx", "hpet"), ("True",)),
    **dict.fromkeys(("vpt_align", "vkb_device", "xen_platform_pci", "vnc.enable", "vnc.findunused", "apic", "acpi"), ("True",)),
    **dict.fromkeys(("driver_domain", "xend_suspend_evtchn_compat", "vpmu", "device_model_stubdomain", "localtime"), ("False",)),
    **dict.fromkeys(("disable_migrate", "dm_restrict", "acpi_laptop_slate", "viridian", "usb", "pirq", "spice.enable"), ("False",)),
    **dict.fromkeys(("sdl.enable", "sdl.opengl", "nographic", "gfx_passthru", "e820_host", "pvshim", "nested_hvm"), ("False",)),
    **dict.fromkeys(("bootloader_restrict", "arch_x86.msr_relaxed", "trap_unmapped_accesses"), ("False",)),
    **dict.fromkeys(("mmio_hole_memkb", "slack_memkb", "vmtrace_buf_kb"), (0,)),
    **dict.fromkeys(("tee", "arch_arm.vuart"), ("none", "unknown")),
    "altp2m": ("disabled", "False"),
    "blkdev_start": ("xvda",),
    "bios": ("seabios",),
    "boot": ("cda",),
    "event_channels": (1023,),
    "hdtype": ("ide",),
    "max_grant_version": (2,),
    "rdm.policy": ("relaxed",),
    "rdm_mem_boundary_memkb": (2 << 20,),
    "stubdomain_memkb": (0, 28 << 10, 128 << 10),
    "timer_mode": ("no_delay_for_missed_ticks",),
    "vga.kind": ("cirrus",),
    "vnc.listen": ("127.0.0.1",),
}
#: What is different at each start, follows from the host or from other settings, or is a setting of xl.conf(5).
_STATE = frozenset(
    ("uuid", "ssidref", "exec_ssidref", "device_model_ssidref", "poolid", "iommu_memkb", "arch_arm.gic_version", "claim_mode")
)
#: In KiB, by the kind of an emulated graphics card.
_VIDEO: dict[str, tuple[int, ...]] = {"none": (0,), "std": (8 << 10, 16 << 10), "qxl": (128 << 10,), "cirrus": (4 << 10, 8 << 10)}
#: What is read of a device, and what libxl fills in.
_READ = {
    "nics": {"backend_domid", "backend_domname", "devid", "mtu", "model", "mac", "ip", "bridge", "ifname", "script", "nictype"}
    | {"rate_bytes_per_interval", "rate_interval_usecs", "gatewaydev", "trusted", "vlan"},
    "disks": {"backend_domid", "backend_domname", "pdev_path", "vdev", "backend", "format", "script", "removable", "readwrite"}
    | {"is_cdrom", "direct_io_safe", "discard_enable", "specification", "trusted", "transport", "irq", "base"},
    "pcidevs": {"func", "dev", "bus", "domain", "vdevfn", "vfunc_mask", "msitranslate", "power_mgmt", "permissive", "seize", "rdm_policy"},
}
_ACTIONS = ("on_poweroff", "on_reboot", "on_crash", "on_watchdog")
_DISK_WORDS = {"qdisk": "qdisk", "phy": "phy", "standalone": "standalone"}


def settings_of(kept: t.Mapping[str, t.Any]) -> dict[str, Value]:
    """Return the settings of a definition. Not all of what is kept has one here: see `lost_settings`.

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
    # What libxl fills in depends on the host, and may be set as well.
    if kind != "pv":
        found.update({key: 0 for key, own in (("hap", info), ("acpi", build)) if own.get(key) == "False"})
    if build.get("max_grant_version") == 1:
        found["max_grant_version"] = 1
    return {key: value for key, value in found.items() if value not in (None, [], "")}


def lost_settings(kept: t.Mapping[str, t.Any], ours: t.Mapping[str, t.Any]) -> list[str]:
    """Return what is kept of a domain and is neither in our definition of it nor filled in by libxl, in words.

    Devices are compared as `kept.agrees` does; here it is only looked for settings of them that are not read.

    :param ours: what xl makes of our definition.
    """
    found: list[str] = []
    for kind, read in _READ.items():
        for place, device in enumerate(entries(kept, kind)):
            rest = {key: value for key, value in device.items() if key not in read and value not in (0, "False", "<default>", "unknown")}
            found += differences(rest, {}, f"{kind}[{place}]")
    filled = {**_FILLED, **_derived(kept)}
    return found + _lost({key: value for key, value in kept.items() if key not in _READ}, ours, filled, "")


def _lost(kept: t.Any, ours: t.Any, filled: t.Mapping[str, tuple[t.Any, ...]], place: str) -> list[str]:
    if isinstance(kept, dict):
        others = ours if isinstance(ours, dict) else {}
        found = [_lost(kept[key], others.get(key), filled, f"{place}.{key}".lstrip(".")) for key in sorted(kept)]
        return [text for texts in found for text in texts]
    name = re.sub(r"^[bc]_info\.(?:type\.[a-z]+\.)?", "", place)
    known = name in _STATE or kept == "<default>" or (ours is None and kept in filled.get(name, ()))
    return [] if known else differences(kept, ours, place)


def _derived(kept: t.Mapping[str, t.Any]) -> dict[str, tuple[t.Any, ...]]:
    """What libxl fills in that depends on other settings."""
    info, build = (part(kept, key) for key in ("c_info", "b_info"))
    kind = str(info.get("type") or "pv")
    memory, vcpus = int(build.get("max_memkb") or 0) // 1024, int(build.get("max_vcpus") or 1)
    card = str(part(part(build, "type.hvm"), "vga").get("kind") or "cirrus")
    given = bool(kept.get("pcidevs") or kept.get("dtdevs"))
    # libxl__get_required_paging_memory; on Arm, there are 128 MiB for what is mapped beside the memory.
    paging = tuple(4 * (256 * vcpus + times * memory + more) for times in (0, 1, 2) for more in (0, 128))
    versions = ("qemu_xen",) if kind == "hvm" else ("qemu_xen", "qemu_xen_traditional")
    return {
        "video_memkb": _VIDEO.get(card, ()) if kind == "hvm" else (0,),
        "shadow_memkb": (0, *paging),
        "passthrough": (("sync_pt",) if kind == "pv" else ("share_pt", "sync_pt")) if given else ("disabled",),
        "device_model_version": versions,
    }


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
