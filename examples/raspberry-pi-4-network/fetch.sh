#!/bin/sh
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Unpacks Debian's kernel, device trees and U-Boot for arm64 into the directory arm64.
# Needs: apt-get install mmdebstrap
set -eu
cd "$(dirname "$0")"
mmdebstrap --variant=extract --architectures=arm64 --include=linux-image-arm64,u-boot-rpi bookworm arm64.tar
mkdir -p arm64
tar --extract --no-same-owner --exclude='./dev/*' --directory=arm64 --file=arm64.tar
rm arm64.tar
