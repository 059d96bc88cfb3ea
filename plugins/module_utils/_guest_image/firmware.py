# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The firmware of devices, which Debian has in its component non-free-firmware: from kernel modules to files to packages.

Which files a module may ask for is in its field `firmware` (MODULE_FIRMWARE in include/linux/module.h of Linux), and which package has a
file is in the archive's index `Contents`. Both are read while the image is built: of the kernel in the image, and of its suite.
"""

from __future__ import annotations

import typing as t

COMPONENT = "non-free-firmware"

#: Runs before apt reads the archive: lets it read the index, too. All packages of firmware are for all architectures.
SETUP_SCRIPT = (
    f"""printf '%s\\n' 'Acquire::IndexTargets::deb::Firmware {{ MetaKey "{COMPONENT}/Contents-all"; """
    """ShortDescription "Contents-all"; Description "$(SITE) $(RELEASE) Contents of firmware"; };' """
    """>"$1/etc/apt/apt.conf.d/98firmware\""""
)

#: Finds the files that the names in the first file ask for in the indexes that follow. A line of the result has a package and a file.
#:
#: - A name may be a pattern: brcm/brcmfmac*-pcie.txt.
#: - A driver that asks for API version 93 is content with an earlier one, and the newest kernel may know more than the archive
#:   (iwl_request_firmware in drivers/net/wireless/intel/iwlwifi/iwl-drv.c counts down). So the last earlier one takes the place of a file
#:   that the archive lacks.
#: - Packages of the section kernel are nothing but firmware. raspi-firmware, of another one, writes to the partition that a board boots.
#: - The kernel also loads compressed files (FW_LOADER_COMPRESS), which have the same name to a driver.
FIND_PROGRAM = r"""
FNR == 1 { files++ }
files == 1 {
    if ($0 ~ /[*?]/) {
        gsub(/[.+(){}|^$]/, "\\\\&")
        gsub(/[*]/, ".*")
        gsub(/[?]/, ".")
        patterns["^" $0 "$"]
    } else {
        asked[$0]
        if (match($0, /-[0-9]+[.][a-z]+$/))
            newest[substr($0, 1, RSTART) substr($0, match($0, /[.][a-z]+$/))] = $0
    }
    next
}
{
    file = $0
    if (!sub(/^(usr\/)?lib\/firmware\//, "", file)) next
    sub(/[ \t]+[^ \t]+$/, "", file)
    sub(/[.](xz|zst)$/, "", file)
    package = $NF
    sub(/,.*/, "", package)
    if (!sub(/^(.*\/)?kernel\//, "", package)) next
    if (file in asked) {
        found[file] = package
        next
    }
    for (pattern in patterns)
        if (file ~ pattern) found[file] = package
    if (match(file, /-[0-9]+[.][a-z]+$/)) {
        start = RSTART
        family = substr(file, 1, start) substr(file, match(file, /[.][a-z]+$/))
        version = substr(file, start + 1) + 0
        if (family in newest && version < substr(newest[family], start + 1) + 0 && version > best[family] + 0) {
            best[family] = version
            earlier[family] = file
            holder[family] = package
        }
    }
}
END {
    for (file in found) print found[file] "\t" file
    for (family in earlier) if (!(newest[family] in found)) print holder[family] "\t" earlier[family]
}
"""

#: Runs outside of the new system, with its directory as argument, before the image is finished. A ramdisk image gets only the files that
#: its modules ask for, a disk image gets their packages, which can be upgraded.
_SCRIPT = """\
root=$1
work=$root/.firmware
mkdir "$work"
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
export APT_CONFIG
for directory in "$root"/lib/modules/*; do
    [ -e "$directory/kernel" ] || continue
    version=${directory##*/}
    [ -e "$directory/modules.dep" ] || chroot "$root" depmod "$version"
    # shellcheck disable=SC2086 # one word for each module
    chroot "$root" modprobe --all --quiet --set-version "$version" --show-depends $modules |
        sed -n 's/^insmod \\([^ ]*\\).*/\\1/p' | sort -u | xargs -r chroot "$root" modinfo -F firmware >>"$work/asked"
done
if [ -s "$work/asked" ]; then
    apt-get indextargets --format '$(FILENAME)' 'Created-By: Firmware' >"$work/indexes"
    while read -r index; do
        /usr/lib/apt/apt-helper cat-file "$index"
    done <"$work/indexes" >"$work/contents"
    if [ ! -s "$work/contents" ]; then
        echo 'E: no mirror of this image has non-free-firmware/Contents-all, which says where firmware is' >&2
        exit 1
    fi
    awk "$program" "$work/asked" "$work/contents" | LC_ALL=C sort -u >"$work/found"
    packages=$(cut -f 1 "$work/found" | sort -u)
    echo "I: firmware for $modules: ${packages:-nothing}" >&2
    if [ -z "$packages" ]; then
        :
    elif [ "$MMDEBSTRAP_HOOK" = extract ]; then
        cd "$root/var/cache/apt/archives"
        # shellcheck disable=SC2086 # one word for each package
        apt-get --quiet download $packages
        for package in $packages; do
            dpkg-deb --fsys-tarfile "$package"_*.deb | tar --extract --keep-directory-symlink --directory "$root"
        done
        cut -f 2 "$work/found" >"$root/etc/initramfs-tools/firmware"
        # mkinitramfs takes what the modules name, but knows no earlier versions, and before Debian 13 no patterns.
        cat >"$root/etc/initramfs-tools/hooks/firmware" <<'EOF'
#!/bin/sh
[ "${1:-}" != prereqs ] || exit 0
. /usr/share/initramfs-tools/hook-functions
while read -r file; do
    add_firmware "$file" || echo "W: $file is not in its package" >&2
done </etc/initramfs-tools/firmware
EOF
        chmod 755 "$root/etc/initramfs-tools/hooks/firmware"
    else
        # shellcheck disable=SC2086 # one word for each package
        apt-get --yes -o DPkg::Chroot-Directory="$root" install $packages
    fi
fi
rm -r "$work" "$root/etc/apt/apt.conf.d/98firmware"
"""


def firmware_script(modules: t.Iterable[str]) -> str:
    """Return a hook for mmdebstrap that adds the firmware of kernel modules, and of those that they need.

    :param modules: names that are words of the kind module.
    """
    return f"set -eu\nmodules='{' '.join(modules)}'\nprogram='{FIND_PROGRAM}'\n{_SCRIPT}"
