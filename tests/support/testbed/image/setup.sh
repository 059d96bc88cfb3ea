#!/bin/sh
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Runs inside the new root, as its root, after all packages are configured.
# Input: ROOT_UUID (of the file system to come), XEN_OPTIONS (empty: no Xen here).
set -eu

echo dom0 > /etc/hostname
echo nameserver 10.0.2.3 > /etc/resolv.conf
# "rw" is not decoration: on a read-only root oxenstored dies, and every xl then hangs.
echo "UUID=$ROOT_UUID / ext4 rw,errors=remount-ro 0 0" > /etc/fstab
[ -z "$XEN_OPTIONS" ] || echo "GRUB_CMDLINE_XEN_DEFAULT=\"$XEN_OPTIONS\"" >> /etc/default/grub

systemctl enable systemd-networkd.service
# Each of these costs seconds to tens of seconds of every emulated boot, or of a test
# that happens to run beside it, and nothing here needs it.
systemctl mask \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer getty@tty1.service grub-common.service \
    serial-getty@hvc0.service serial-getty@ttyS0.service systemd-binfmt.service \
    systemd-hwdb-update.service systemd-journal-catalog-update.service \
    systemd-journal-flush.service systemd-networkd-wait-online.service systemd-pcrphase.service \
    systemd-pstore.service systemd-tmpfiles-clean.timer systemd-update-utmp.service \
    systemd-update-utmp-runlevel.service
# What update-initramfs and update-grub run, a process for each line of theirs, and nothing here needs: the role and reboots run
# them a dozen times in all tests.
for script in \
    /usr/share/initramfs-tools/hooks/dmsetup /usr/share/initramfs-tools/hooks/fsck /usr/share/initramfs-tools/hooks/keymap \
    /usr/share/initramfs-tools/hooks/resume /usr/share/initramfs-tools/hooks/thermal \
    /etc/grub.d/05_debian_theme /etc/grub.d/25_bli /etc/grub.d/30_os-prober /etc/grub.d/30_uefi-firmware /etc/grub.d/41_custom
do
    [ ! -e $script ] || chmod -x $script
done
# The names of all vendors' devices: 12 MB that would go into every initramfs.
rm -f /usr/lib/udev/hwdb.bin /etc/udev/hwdb.bin
# Say that nothing below /etc and /var waits for an update since /usr changed.
touch /etc/.updated /var/.updated

# GRUB. The disk does not exist yet, so grub-install cannot run: do its file work, and leave
# core.img to the image builder. gzio must be in the core, or GRUB cannot read Debian's
# compressed hypervisor ("no multiboot header found").
modules=/boot/grub/i386-pc
mkdir -p $modules
cp /usr/lib/grub/i386-pc/*.mod /usr/lib/grub/i386-pc/*.lst /usr/lib/grub/i386-pc/boot.img $modules/
# GRUB's own variable, not the shell's.
# shellcheck disable=SC2016
printf 'search.fs_uuid %s root\nset prefix=($root)/boot/grub\n' "$ROOT_UUID" > $modules/load.cfg
grub-mkimage -O i386-pc -p /boot/grub -c $modules/load.cfg -o $modules/core.img \
    biosdisk part_msdos ext2 normal gzio search_fs_uuid

# update-grub as Debian ships it, with the answers that grub-probe will give on that disk.
mv /usr/sbin/grub-probe /usr/sbin/grub-probe.real
cat > /usr/sbin/grub-probe <<EOF
#!/bin/sh
case " \$* " in
    *fs_uuid*) echo $ROOT_UUID ;;
    *target=device*) echo /dev/vda1 ;;
    *target=fs* | *" -t fs "*) echo ext2 ;;
    *target=drive* | *" -t drive "*) echo '(hd0,msdos1)' ;;
    *target=partmap*) echo msdos ;;
    *target=compatibility_hint*) echo hd0,msdos1 ;;
    *target=hints_string*) echo --hint-bios=hd0,msdos1 ;;
esac
EOF
chmod +x /usr/sbin/grub-probe
mkdir -p /dev/disk/by-uuid
touch "/dev/disk/by-uuid/$ROOT_UUID"
update-grub
rm -r /dev/disk
mv /usr/sbin/grub-probe.real /usr/sbin/grub-probe
