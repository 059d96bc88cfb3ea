# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What may stand in `authorized_keys`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.ssh_keys import authorized_keys
from ansible_collections.xen.driver_domains.tests.unit.fakes.images import public_key

KEY = public_key()


@pytest.mark.parametrize(
    "line",
    [
        KEY,
        f"{KEY} me@host, at home",
        public_key("ssh-rsa"),
        public_key("ecdsa-sha2-nistp256"),
        public_key("sk-ssh-ed25519@openssh.com"),
        public_key("ssh-ed25519-cert-v01@openssh.com"),
        f"restrict {KEY}",
        f'from="10.0.0.0/8,192.0.2.1",no-pty,command="echo \\"hello world\\"" {KEY} me',
    ],
)
def test_keys(line: str) -> None:
    assert authorized_keys([f" {line}\n"], "Image 'a'") == f"{line}\n"


def test_a_file_of_keys() -> None:
    assert authorized_keys([f"# mine\n{KEY} a\r\n\n{KEY} b\n", KEY], "Image 'a'") == f"{KEY} a\n{KEY} b\n{KEY}\n"


@pytest.mark.parametrize(
    "item",
    [
        "",
        "# nothing",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-ed25519 AAAA... you@example.org",
        "-----BEGIN OPENSSH PRIVATE KEY-----\ns3cret\n-----END OPENSSH PRIVATE KEY-----",
        "~/.ssh/id_ed25519.pub",
        "{{ lookup('file', 'key.pub') }}",
        f"{KEY}\njunk s3cret",
        f"{KEY[:-8]}",
        KEY.replace("ssh-ed25519", "ssh-rsa"),
        public_key("ssh-unknown"),
        f"{KEY} a\x1b[2J",
        f"{KEY} a\0",
        f"no such option {KEY}",
        f'command="open {KEY}',
        f"{KEY},{KEY}",
        None,
        ["a"],
    ],
)
def test_junk_is_refused_and_not_repeated(item: object) -> None:
    with pytest.raises(InvalidInput, match=r"Image 'a': item 2 of authorized_keys is not an SSH public key") as caught:
        authorized_keys([KEY, item], "Image 'a'")
    assert "s3cret" not in str(caught.value)


@given(st.text())
def test_any_text_is_refused_or_stays_one_key_a_line(text: str) -> None:
    try:
        content = authorized_keys([text], "")
    except InvalidInput:
        return
    assert all(KEY.split()[0] in line for line in content.splitlines())
