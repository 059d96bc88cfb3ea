# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The schema of Microkit's system descriptions on AArch64, by version.

Source: Microkit's manual (System Description File) and tool/microkit/src/sdf.rs, tags 2.0.0 to 2.3.0.
"""

from __future__ import annotations

#: Versions whose schema is known. A version between two of them has the schema of the older one.
VERSIONS = ["2.0.0", "2.1.0", "2.2.0", "2.3.0"]
SMALL_PAGE, LARGE_PAGE = 0x1000, 0x200000
MAX_ID, MAX_PRIORITY, MAX_DOMAINS = 61, 254, 63
#: Microseconds.
DEFAULT_BUDGET = 1000
#: Addresses in a domain or a virtual machine have 40 bits.
ADDRESS_LIMIT = 1 << 40
#: Places for capabilities of the task that makes the objects, one for each page (KernelRootCNodeSizeBits in Microkit's build_sdk.py).
MAX_PAGES = 1 << 17
MIN_STACK, DEFAULT_STACK, MAX_STACK = 0x1000, 0x2000, 16 << 20
#: The name of Microkit's own protection domain.
MONITOR = "monitor"

#: element: {attribute: the version that introduced it, or an empty string for all of them}
ATTRIBUTES: dict[str, dict[str, str]] = {
    "system": {},
    "memory_region": {"name": "", "size": "", "page_size": "", "phys_addr": "", "prefill_path": "2.2.0", "prefill_bootinfo": "2.3.0"},
    "protection_domain": {
        "name": "",
        "priority": "",
        "budget": "",
        "period": "",
        "passive": "",
        "stack_size": "",
        "smc": "",
        "cpu": "2.1.0",
        "fpu": "2.3.0",
        "domain": "2.3.0",
    },
    "program_image": {"path": "", "path_for_symbols": "2.2.0"},
    "map": {"mr": "", "vaddr": "", "perms": "", "cached": "", "setvar_vaddr": "", "setvar_size": "", "setvar_prefill_size": "2.2.0"},
    "irq": {"irq": "", "id": "", "trigger": "", "setvar_id": "2.1.0"},
    "setvar": {"symbol": "", "region_paddr": ""},
    "virtual_machine": {"name": "", "priority": "", "budget": "", "period": ""},
    "vcpu": {"id": "", "cpu": "2.1.0", "setvar_id": "2.1.0"},
    "channel": {},
    "end": {"pd": "", "id": "", "pp": "", "notify": "", "setvar_id": "2.1.0"},
}
#: (element, attribute): what to do instead, for attributes of Microkit 1 and of other elements.
REPLACEMENTS = {
    ("virtual_machine", "id"): 'write <vcpu id="0" /> into the virtual_machine',
    ("protection_domain", "pp"): 'write pp="true" at the end of the channel from which the call comes',
    ("map", "setvar_vaddr"): "a virtual machine has no program whose symbols could be set",
}
REQUIRED = {
    "memory_region": ("name",),
    "protection_domain": ("name",),
    "program_image": ("path",),
    "map": ("mr", "vaddr"),
    "irq": ("irq", "id"),
    "setvar": ("symbol", "region_paddr"),
    "virtual_machine": ("name",),
    "vcpu": ("id",),
    "end": ("pd", "id"),
}
#: element: {child: the version that introduced it, or an empty string for all of them}
CHILDREN: dict[str, dict[str, str]] = {
    "system": {"memory_region": "", "protection_domain": "", "channel": "", "domains": "2.3.0"},
    "protection_domain": {
        "program_image": "",
        "map": "",
        "irq": "",
        "setvar": "",
        "protection_domain": "",
        "virtual_machine": "",
        "cspace": "2.3.0",
    },
    "virtual_machine": {"vcpu": "", "map": ""},
    "channel": {"end": ""},
}
ONLY_X86 = {"ioport", "io_address_space"}
#: Elements of the newest versions whose content is not checked, because a driver VM does not use them.
UNCHECKED = {"domains", "cspace"}
NUMBERS = {"size", "page_size", "phys_addr", "vaddr", "priority", "budget", "period", "stack_size", "cpu"}
#: The tool parses these without its own number format and panics on anything but decimal digits.
DECIMAL = {("irq", "irq"), ("irq", "id"), ("vcpu", "id"), ("end", "id")}
BOOLEAN = {"passive", "cached", "pp", "notify", "smc", "fpu"}
#: The values that the tool accepts (sdf.rs). Only the last one exists on AArch64.
BOOT_INFO = ("x86_vbe", "x86_mbmmap", "x86_acpi_rsdp", "x86_framebuffer", "x86_tsc_freq", "fdt")
