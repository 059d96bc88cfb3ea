# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a diff or a journal shows of secrets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.driver_domains.plugins.module_utils._secrets import HIDDEN, hide_secrets, hide_secrets_in_text
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xlcfg import render


@pytest.mark.parametrize("key", ["vncpasswd", "spicepasswd", "passwd", "password"])
@given(secret=st.text(min_size=4, alphabet=st.characters(exclude_categories=["Cc", "Cs"])))
def test_a_password_in_a_definition(key: str, secret: str) -> None:
    text = render({"name": "web1", key: f"<{secret}>", "memory": 256})
    assert hide_secrets_in_text(text) == f'name = "web1"\n{key} = "{HIDDEN}"\nmemory = 256\n'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('vfb = ["type=vnc,vncpasswd=a b,vnclisten=::"]\n', f'vfb = ["type=vnc,vncpasswd={HIDDEN},vnclisten=::"]\n'),
        ('vfb = ["type=vnc, vncpasswd = a"]\n', f'vfb = ["type=vnc, vncpasswd = {HIDDEN}"]\n'),
        ('VNCPASSWD = "a b"\n', f'VNCPASSWD = "{HIDDEN}"\n'),
        ("vncpasswd='a'\n", f'vncpasswd="{HIDDEN}"\n'),
        ("  spicepasswd = 'a' # old\n", f'  spicepasswd = "{HIDDEN}"\n'),
        ('kernel = "/passwd/vmlinuz"\n', 'kernel = "/passwd/vmlinuz"\n'),
        ('disk = ["vdev=xvda,target=iscsi://u:geheim@nas/1"]\n', f'disk = ["vdev=xvda,target=iscsi://u:{HIDDEN}@nas/1"]\n'),
        ('disk = ["target=rbd:pool/a:id=x:key=AQ==:conf=/c"]\n', f'disk = ["target=rbd:pool/a:id=x:key={HIDDEN}:conf=/c"]\n'),
        ('cmdline = "a.token=geheim"\n', f'cmdline = "a.token={HIDDEN}"\n'),
        ("wpa_psk=geheim\n", f'wpa_psk="{HIDDEN}"\n'),
        ('vncpasswd += "abc"\n', f'vncpasswd += "{HIDDEN}"\n'),
        ("spicepasswd+='abc'\n", f'spicepasswd+="{HIDDEN}"\n'),
        ('vnc=1; vncpasswd += "abc"\n', f"vnc=1; vncpasswd += {HIDDEN}\n"),
    ],
)
def test_where_a_password_can_stand(text: str, shown: str) -> None:
    assert hide_secrets_in_text(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('vncpasswd = "a b"', f"vncpasswd = {HIDDEN}"),
        ("vncpasswd='a,b' x", f"vncpasswd={HIDDEN} x"),
        ('vncpasswd="unclosed', f"vncpasswd={HIDDEN}"),
        (r'vncpasswd="a\"b" x', f"vncpasswd={HIDDEN} x"),
        ("http://user:geheim@deb.example.org/debian", f"http://user:{HIDDEN}@deb.example.org/debian"),
        ("http://deb.example.org:80/a@b", "http://deb.example.org:80/a@b"),
        ("api_key=geheim,x=1", f"api_key={HIDDEN},x=1"),
        ("key=value", "key=value"),
    ],
)
def test_text_of_parameters(text: str, shown: str) -> None:
    assert hide_secrets([text]) == [shown]


def test_long_text_takes_no_time() -> None:
    text = "a.b-c_" * 20000
    assert hide_secrets(text) == text


def test_parameters() -> None:
    parameters = {
        "files": [{"path": "/a", "content": "x", "mode": "0600"}],
        "vncpasswd": "x",
        "vncpasswd_set": True,
        "content": "y",
        "n": 1,
    }
    shown = {
        "files": [{"path": "/a", "content": HIDDEN, "mode": "0600"}],
        "vncpasswd": HIDDEN,
        "vncpasswd_set": True,
        "content": "y",
        "n": 1,
    }
    assert hide_secrets(parameters) == shown
    assert parameters["vncpasswd"] == "x"
