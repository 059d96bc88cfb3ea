# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two faults of QEMU 10.0, mended in the copy of the tool root: one instruction each. Without that, PVH and HVM domains die now and then.

An interrupt is delivered twice. When a hypervisor starts its guest with an interrupt to inject (VMRUN with EVENTINJ), QEMU delivers it at
once, and also notes it as an exception that is still to be delivered: `cs->exception_index = vector` in helper_vmrun, for
SVM_EVTINJ_TYPE_INTR (target/i386/tcg/system/svm_helper.c). The next VMEXIT clears that note. But if the processor is asked to stop before,
the interrupt is delivered a second time, into the first instruction of its own handler, which Linux does not survive. Nothing reads the
note, so it is not written.

A VMEXIT is taken twice. A processor that restores the state of its FPU clears IGNNE, which is a bit of the *first* processor's `hflags2`,
whichever thread that one is emulated in: cpu_clear_ignne (target/i386/tcg/system/fpu_helper.c). It is no atomic access. If the first
processor is in do_vmexit just then, which clears HF2_NPT_MASK in the same word, that flag comes back. Xen's next instruction is then looked
up in the page tables of the guest, does not exist there, and a second VMEXIT saves Xen's own registers as those of the guest. Its next
VMRUN ends with a triple fault. Only an operating system that handles errors of the FPU by IRQ 13 sets IGNNE, so it is not cleared.
"""

from __future__ import annotations

import re
import typing as t
from pathlib import Path


class Fault(t.NamedTuple):
    """A fault, and the instruction that makes it."""

    name: str
    #: Where it is, as machine code; the group is the instruction.
    place: re.Pattern[bytes]
    #: What does nothing instead, of the same length.
    nothing: bytes


FAULTS = (
    Fault(
        "an injected interrupt is delivered twice",
        # In this order: the vector is read, the error code is noted, the exception is noted, exception_is_int becomes 0 and
        # exception_next_eip -1.
        re.compile(
            rb"\x41\x0f\xb6\xf4"
            rb"\x44\x89\xab...\0"
            rb"(\x89\xb3..\xff\xff)"
            rb"\xc7\x83...\0\0\0\0\0"
            rb"\x48\xc7\x83...\0\xff\xff\xff\xff",
            re.DOTALL,
        ),
        bytes.fromhex("66 0f 1f 44 00 00"),
    ),
    Fault(
        "a VMEXIT is taken twice",
        # hflags2 &= ~HF2_IGNNE_MASK, and the end of the function.
        re.compile(rb"(\x81\xa0..\0\0\x7f\xff\xff\xff)\x48\x83\xc4\x08", re.DOTALL),
        bytes.fromhex("66 2e 0f 1f 84 00 00 00 00 00"),
    ),
)


def mend(program: Path) -> list[str]:
    """Mend the faults of an emulator.

    :returns: the names of those whose place was not found, or not once: this is another version, and the file stays as it is there.
    """
    code = program.read_bytes()
    unknown = []
    with program.open("r+b") as file:
        for fault in FAULTS:
            places = [found.start(1) for found in fault.place.finditer(code)]
            if len(places) == 1:
                file.seek(places[0])
                file.write(fault.nothing)
            else:
                unknown.append(fault.name)
    return unknown
