# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.
"""The shell script with which a host returns devices by itself when nobody has confirmed in time that it can be reached without them.

Shell, because it has to run when the connection, and with it Python and this code, is gone. It is a string, because Ansible sends
only the Python files of module_utils to a host. It is the one place outside of _xen/xl.py that runs xl, and the one outside of
_pci/host.py that writes to sysfs.
"""

from __future__ import annotations

#: Arguments: the root of sysfs, the state file, the directory of the records, the BDFs. It returns the devices that the state file
#: still has then (all of them if it is empty), under the lock that `ConfirmTimer` takes. A device that xl cannot release is not in
#: quarantine, because taking it was interrupted: the script puts it there and tries again. One that xl cannot release even then stays
#: with pciback, because it could do no DMA outside of Xen's quarantine: its record and the state file stay, and the exit code makes
#: systemd try again.
RETURN_SCRIPT = """\
sysfs=$1 state=$2 records=$3 failed=0; shift 3
command -v flock >/dev/null && exec 9>>"$state.lock" && flock 9
[ -e "$state" ] || exit 0
cd "$sysfs/bus/pci" || exit 1
for bdf; do
  [ ! -s "$state" ] || grep -qF "$bdf" "$state" || continue
  for attempt in 1 2; do
    [ -e drivers/pciback/$bdf ] || break
    timeout 30 xl pci-assignable-remove -r $bdf && break
    timeout 30 xl pci-assignable-add $bdf
  done
  if [ -e drivers/pciback/$bdf ]; then failed=1; continue; fi
  if [ ! -e devices/$bdf/driver ]; then
    grep -qx $bdf drivers/pciback/slots && echo $bdf > drivers/pciback/remove_slot
    echo $bdf > drivers_probe
  fi
  [ ! -e devices/$bdf/driver ] || rm -f "$records/$bdf.json"
done
[ $failed = 1 ] || rm -f "$state"
exit $failed
"""
