# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands typed into a shell on a terminal, as on the console of a guest."""

from __future__ import annotations

import io
import sys
import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.plugin_utils import _console
from ansible_collections.xen.driver_domains.plugins.plugin_utils._console import Console, ConsoleError

#: A program that stands for `xl console`: a terminal with a shell on it. The terminal echoes, and so does the shell.
TERMINAL = [sys.executable, "-c", "import pty; pty.spawn(['sh', '-i'])"]


@pytest.fixture
def console() -> t.Iterator[Console]:
    opened = Console(TERMINAL, "web1", timeout=20)
    opened.open()
    yield opened
    opened.close()


def test_code_output_and_errors_are_kept_apart(console: Console) -> None:
    assert console.run("echo out; echo err >&2; exit 7") == (7, b"out\n", b"err\n")
    assert console.run("id -u; pwd")[0] == 0


def test_bytes_of_all_kinds_arrive_as_they_are(console: Console) -> None:
    every = bytes(range(256)) * 5
    assert console.run("cat", stdin=every) == (0, every, b"")


@pytest.mark.parametrize("script", ["echo '$M' \"`echo x`\" 'ä' \\\\ '!'", "printf 'no end of line'", "true", "cat <<EOF\n\n\nEOF\n"])
def test_a_script_is_taken_as_it_is(console: Console, script: str) -> None:
    expected = {"e": b"$M x \xc3\xa4 \\ !\n", "p": b"no end of line", "t": b"", "c": b"\n\n"}[script[0]]
    assert console.run(script) == (0, expected, b"")


def test_a_long_script_is_longer_than_a_line_of_a_terminal(console: Console) -> None:
    assert console.run(f"echo {'x' * 20000} | wc -c") == (0, b"20001\n", b"")


def test_a_command_that_reads_the_terminal_does_not_read_what_comes_next(console: Console) -> None:
    assert console.run("cat; echo done") == (0, b"done\n", b"")
    assert console.run("echo next") == (0, b"next\n", b"")


def test_files_go_there_and_back(console: Console, tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_console, "CHUNK", 1000)
    for size in (0, 999, 1000, 2500):
        content = bytes(number * 7 % 256 for number in range(size))
        path = tmp_path / f"it's {size}"
        console.put(io.BytesIO(content), str(path))
        assert path.read_bytes() == content
        back = io.BytesIO()
        console.fetch(str(path), back)
        assert back.getvalue() == content


def test_a_file_that_is_not_there_is_named(console: Console, tmp_path: t.Any) -> None:
    with pytest.raises(ConsoleError, match="web1: /no/such/file: "):
        console.fetch("/no/such/file", io.BytesIO())
    with pytest.raises(ConsoleError, match="no/such/directory"):
        console.put(io.BytesIO(b"x"), f"{tmp_path}/no/such/directory/file")


def test_nothing_is_left_in_the_guest(tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    console = Console(TERMINAL, "web1", timeout=20)
    console.open()
    try:
        first, second = (console.run(f"ls -A {tmp_path}")[1].split() for _call in range(2))
    finally:
        console.close()
    assert len(first) == len(second) == 1
    assert first != second


def noisy(tmp_path: t.Any, damage: str) -> list[str]:
    """A console on which something else is printed: `damage` is an expression of Python for what is shown, of `data` and `count`."""
    program = tmp_path / "console.py"
    program.write_text(f"""
import os, pty
count = 0
def read(fd):
    global count
    data = os.read(fd, 1024)
    count += data.count(b' o>')
    return {damage}
pty.spawn(['sh', '-i'], read)
""")
    return [sys.executable, str(program)]


def test_messages_of_the_kernel_do_no_harm(tmp_path: t.Any) -> None:
    """The first answer is damaged, the second one is not; the command runs once."""
    damage = "data.replace(b'QUJD', b'QU[  12.3] xen: a message') if count == 1 else data"
    console = Console(noisy(tmp_path, damage), "web1", timeout=20)
    console.open()
    try:
        assert console.run(f"echo once >>{tmp_path}/runs; printf ABC") == (0, b"ABC", b"")
    finally:
        console.close()
    assert (tmp_path / "runs").read_text() == "once\n"


def test_a_console_that_always_damages_is_given_up(tmp_path: t.Any) -> None:
    console = Console(noisy(tmp_path, "data.replace(b'QUJD', b'QUJE')"), "web1", timeout=20)
    console.open()
    try:
        with pytest.raises(ConsoleError, match="damaged the output of a command 4 times"):
            console.run("printf ABC")
    finally:
        console.close()


def test_what_an_interrupted_session_left_does_not_disturb(tmp_path: t.Any) -> None:
    """The terminal stays, and the next one who opens it finds a program there that waits for more."""
    fifo = tmp_path / "leftover"
    # The shell is first in the middle of what a session has begun, with the echo switched off.
    waiting = f"sed /^$/q >{fifo}; while read -r W; do case $W in run) ;; *) break;; esac; done"
    program = f"import pty; pty.spawn(['sh', '-c', 'stty -echo; {waiting}; exec sh -i'])"
    console = Console([sys.executable, "-c", program], "web1", timeout=20)
    console.open()
    try:
        assert console.run("echo works") == (0, b"works\n", b"")
    finally:
        console.close()


def test_a_console_that_asks_for_a_login_says_so() -> None:
    console = Console([sys.executable, "-c", "import time; print('web1 login: ', end='', flush=True); time.sleep(60)"], "web1", timeout=1)
    with pytest.raises(ConsoleError, match="No shell answered within 1 s. It asks for a login"):
        console.open()
    console.close()


def test_what_the_command_says_when_it_ends_is_in_the_message() -> None:
    console = Console(["sh", "-c", "echo 'web1 is an invalid domain identifier' >&2; exit 1"], "web1", timeout=20)
    with pytest.raises(ConsoleError, match="The console of web1: It ended.*invalid domain identifier"):
        console.open()
    console.close()


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(ConsoleError, match="Cannot run /no/such/ssh"):
        Console(["/no/such/ssh"], "web1").open()


def test_a_command_has_its_time(console: Console) -> None:
    with pytest.raises(ConsoleError, match=r"did not end within 0\.5 s"):
        console.run("sleep 5", timeout=0.5)


#: A guest that answers as a shell does, up to a place where it does what it likes.
LIAR = """
import base64, hashlib, sys, time
def say(text):
    print(f"<{mark} {text}>", flush=True)
def part():
    return base64.b64decode("".join(iter(lambda: sys.stdin.readline().strip(), "")))
def print_on(pause):
    while True:
        print("QUJD" * 200, flush=True)
        time.sleep(pause)
for line in iter(sys.stdin.readline, ""):
    mark = line.partition("M=")[2].partition(";")[0]
    if "here>" in line:
        say("here")
    elif "stty" in line:
        say("load")
        LOADED
        _server, code, data = part(), part(), part()
        say("got " + hashlib.sha256(code + data).hexdigest())
        sys.stdin.readline()
        say("ended STATUS")
        sys.stdin.readline()
        say("o")
        OUTPUT
"""


@pytest.mark.parametrize(
    ("lies", "stdin", "message"),
    [
        ({"LOADED": "print_on(0)"}, b"x" * 500_000, "It does not take what is typed"),
        ({"OUTPUT": "print_on(0)"}, b"", "has more than 100000 bytes"),
        ({"OUTPUT": "print_on(0.1)"}, b"", "did not arrive within 2 s"),
        ({"STATUS": "9" * 5000}, b"", "did not end within 2 s"),
    ],
    ids=["reads nothing", "prints much", "prints slowly", "its exit code is none"],
)
def test_a_guest_that_prints_without_an_end_is_given_up(
    lies: dict[str, str], stdin: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_console, "LARGEST", 100_000)
    monkeypatch.setattr(_console, "PACE", 1_000_000)
    program = LIAR
    for place, honest in (("LOADED", "pass"), ("OUTPUT", "pass"), ("STATUS", "0")):
        program = program.replace(place, lies.get(place, honest))
    console = Console([sys.executable, "-c", program], "web1", timeout=20)
    console.open()
    console._timeout = 2
    try:
        with pytest.raises(ConsoleError, match=message) as caught:
            console.run("true", stdin, timeout=2)
    finally:
        console.close()
    # The message shows only the last of it.
    assert len(str(caught.value)) < 1000


def test_errors_of_a_guest_hold_no_escapes_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console([], "web1")
    monkeypatch.setattr(console, "run", lambda *_arguments, **_options: (1, b"", b"\x1b[2K\rok: [web1]\nchanged: [web1]\n"))
    with pytest.raises(ConsoleError) as caught:
        console.fetch("/etc/motd", io.BytesIO())
    assert str(caught.value) == "web1: /etc/motd: \\x1b[2K\\x0dok: [web1]\\nchanged: [web1]"


def test_long_output_arrives(console: Console) -> None:
    assert console.run("head -c 300000 /dev/zero") == (0, bytes(300_000), b"")
