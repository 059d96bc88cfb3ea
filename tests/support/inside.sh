#!/bin/sh
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Says which domain it runs in.
set -eu
[ "$(xenstore-read name)" = "$1" ]
xenstore-read name
xenstore-read domid
echo "without errors"
