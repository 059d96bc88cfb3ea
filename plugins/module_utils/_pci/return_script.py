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

#: The arguments are an interface, the bridge or bond that it was a port of, and the root of sysfs. It does what `put_back` of
#: `_host_interfaces` does. It has no single quotes, because it becomes a word of `RETURN_SCRIPT`.
_CONFIGURE_SCRIPT = r"""
for second in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
  [ ! -e "$3/class/net/$1" ] || break
  sleep 1
done
[ -e "$3/class/net/$1" ] || exit 0
if command -v ifquery >/dev/null && ifquery "$1" >/dev/null; then
  ifdown --force "$1"
  ifup --force "$1"
fi
if [ -e "$3/class/net/$2/address" ] && [ ! -e "$3/class/net/$1/master" ]; then
  ip link set dev "$1" down
  ip link set dev "$1" master "$2"
  ip link set dev "$1" up
fi
"""

#: Arguments: the root of sysfs, the state file, the directory of the records, the BDFs. It returns the devices that the state file
#: still has then (all of them if it is empty), under the lock that `ConfirmTimer` takes. A device that xl cannot release is not in
#: quarantine, because taking it was interrupted: the script puts it there and tries again. One that xl cannot release even then stays
#: with pciback, because it could do no DMA outside of Xen's quarantine: its record and the state file stay, and the exit code makes
#: systemd try again. The interfaces that come back are those that the records name. Each is configured by a unit of its own, which may
#: leave a DHCP client: systemd would end that with this one, or not start another timer as long as it is there.
RETURN_SCRIPT = (
    r"""sysfs=$1 state=$2 records=$3 failed=0; shift 3
recorded() { sed -n "s/^ *\"$1\": \"\(.*\)\",\{0,1\}\$/\1/p" "$records/$bdf.json"; }
command -v flock >/dev/null && exec 9>>"$state.lock" && flock 9
[ -e "$state" ] || exit 0
cd "$sysfs/bus/pci" || exit 1
for bdf; do
  [ ! -s "$state" ] || grep -qF "$bdf" "$state" || continue
  returned=
  if [ -e drivers/pciback/$bdf ] || [ ! -e devices/$bdf/driver ]; then returned=1; fi
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
  if [ "$returned" ] && [ -e "$records/$bdf.json" ]; then
    interface=$(recorded ifname)
    [ -z "$interface" ] || systemd-run --quiet --collect --property=KillMode=process /bin/sh -c '"""
    + _CONFIGURE_SCRIPT
    + r"""' configure "$interface" "$(recorded master)" "$sysfs"
  fi
  [ ! -e devices/$bdf/driver ] || rm -f "$records/$bdf.json"
done
[ $failed = 1 ] || rm -f "$state"
exit $failed
"""
)
