# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fault of QEMU, mended in the copy of the tool root.

When a hypervisor starts its guest with an interrupt to inject (VMRUN with EVENTINJ), QEMU 10.0 delivers it at once, and also notes it as an
exception that is still to be delivered: `cs->exception_index = vector` in helper_vmrun, for SVM_EVTINJ_TYPE_INTR
(target/i386/tcg/system/svm_helper.c). The next VMEXIT clears that note. But if the processor is asked to stop before, the interrupt is
delivered a second time, into the first instruction of its own handler, which Linux does not survive. With one thread for all processors,
that happened in each boot of an HVM domain; with one for each, now and then. Nothing reads the note, so it is not written.
"""

from __future__ import annotations

import re
from pathlib import Path

#: In this order: the vector is read, the error code is noted, the exception is noted, exception_is_int becomes 0 and exception_next_eip -1.
_NOTES = re.compile(
    rb"\x41\x0f\xb6\xf4"
    rb"\x44\x89\xab...\0"
    rb"(\x89\xb3..\xff\xff)"
    rb"\xc7\x83...\0\0\0\0\0"
    rb"\x48\xc7\x83...\0\xff\xff\xff\xff",
    re.DOTALL,
)
#: One instruction of six bytes that does nothing.
_NOTHING = b"\x66\x0f\x1f\x44\x00\x00"


def mend_injection(program: Path) -> bool:
    """Let an emulator deliver each injected interrupt once.

    :returns: False if the place was not found: this is another version, and the file stays as it is.
    """
    code = program.read_bytes()
    places = [found.start(1) for found in _NOTES.finditer(code)]
    if len(places) != 1:
        return False
    with program.open("r+b") as file:
        file.seek(places[0])
        file.write(_NOTHING)
    return True
