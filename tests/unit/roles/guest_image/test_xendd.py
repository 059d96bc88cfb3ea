# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""xendd, run by the shells of both image profiles in a directory that looks like the root of a domain."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
import typing as t
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[4] / "roles" / "guest_image" / "files"
#: Debian's /bin/sh, and the shell of an initramfs.
SHELLS = (("dash",), ("busybox", "sh"))
MAC, OTHER_MAC = "52:54:00:aa:00:02", "52:54:00:aa:00:03"
STATUS, ERROR, BRIDGES = "data/driver-domain/status", "data/driver-domain/error", "data/driver-domain/bridges"

#: Every stub logs its call. It fails if the call matches the shell pattern in $FAIL.
STUB = r"""#!/bin/sh
printf '%s\n' "${0##*/} $*" >>"$CALLS"
# shellcheck disable=SC2254
case "${0##*/} $*" in $FAIL) echo 'stub: no' >&2; exit 1 ;; esac
"""
EFFECTS = {
    "ip": r"""
case "$*" in
"link add name "*" type bridge") mkdir -p "$XENDD_ROOT/sys/class/net/$4/bridge" ;;
"link add name "*" type bond")
    mkdir -p "$XENDD_ROOT/sys/class/net/$4/bonding"
    # A kernel that does not know an option.
    [ ! -e "$XENDD_ROOT/lacks" ] || mkdir "$XENDD_ROOT/sys/class/net/$4/bonding/$(cat "$XENDD_ROOT/lacks")"
    ;;
"link add link "*" type vlan "*) mkdir -p "$XENDD_ROOT/sys/class/net/$6" ;;
"link set dev "*" master "*)
    port=$XENDD_ROOT/sys/class/net/$4 master=$XENDD_ROOT/sys/class/net/$6
    # As bond_enslave() does it: the bond takes the address of its first port, and gives it to the others, unless fail_over_mac is set.
    if [ -d "$master/bonding" ]; then
        mkdir -p "$port/bonding_slave"
        cat "$port/address" >"$port/bonding_slave/perm_hwaddr"
        [ -e "$master/address" ] || cat "$port/address" >"$master/address"
        [ -f "$master/bonding/fail_over_mac" ] || cat "$master/address" >"$port/address"
    fi
    ;;
esac
""",
    "xenstore-write": r"""
while [ $# -gt 0 ]; do
    printf '%s=%s\n' "$1" "$2" >>"$STORE"
    shift 2
done
""",
    # Reports an event for each line that is put into the file, as long as that is there.
    "xenstore-watch": r"""
lines=0
while [ -e "$XENDD_ROOT/events" ]; do
    all=$(wc -l <"$XENDD_ROOT/events")
    [ "$all" -le "$lines" ] || tail -n "$((all - lines))" "$XENDD_ROOT/events"
    lines=$all
    sleep 0.05
done
""",
    "xenstore-read": """
grep -q "^$1=" "$STORE"
""",
    "modprobe": "",
    "dmesg": """
[ ! -e "$XENDD_ROOT/log" ] || cat "$XENDD_ROOT/log"
""",
    "mount": "",
    "pidof": "",
    "bridge": "",
    # It goes into the background, and the kernel says that it runs. It ends at once as long as there is a file `brief`.
    "dnsmasq": r"""
echo 4242 >"$XENDD_ROOT/run/xendd/dnsmasq.pid"
[ -e "$XENDD_ROOT/brief" ] || { mkdir -p "$XENDD_ROOT/proc/4242"; echo '4242 (dnsmasq) S 1' >"$XENDD_ROOT/proc/4242/stat"; }
""",
    "udhcpc": "",
    "dpkg-divert": """
mv "$6" "$4"
""",
    "ovs-vsctl": "",
    "nft": """
cat >"$XENDD_ROOT/nft"
""",
}
#: Runs as long as there is a file `stay`, opens XenStore once there is a file `open`, and then prints the file `says` once.
#: Its hotplug script runs as long as there is a file `script`.
XL = r"""
trap 'exit 9' USR1
echo "$$" >"$XENDD_ROOT/pid"
script() { while [ -e "$XENDD_ROOT/script" ]; do sleep 0.05; done; printf 'script ended\n' >>"$CALLS"; }
mkdir -p "$XENDD_ROOT/proc/$$/fd"
while [ ! -e "$XENDD_ROOT/open" ]; do sleep 0.05; done
ln -s /dev/xen/xenbus "$XENDD_ROOT/proc/$$/fd/5"
if [ -e "$XENDD_ROOT/script" ]; then
    script &
    mkdir -p "$XENDD_ROOT/proc/$$/task/$$"
    printf '%s ' "$!" >"$XENDD_ROOT/proc/$$/task/$$/children"
fi
if [ -e "$XENDD_ROOT/says" ]; then
    # Removed first: xendd may end this program as soon as it reads the first line.
    lines=$(cat "$XENDD_ROOT/says")
    rm "$XENDD_ROOT/says"
    printf '%s\n' "$lines" >&2
fi
while [ -e "$XENDD_ROOT/stay" ]; do sleep 0.05; done
exit 3
"""


class FakeDomain:
    """The root of a domain, stubs in PATH, and what xendd did with them."""

    def __init__(self, directory: Path, shell: t.Sequence[str]) -> None:
        assert shutil.which(shell[0]), f"{shell[0]} is not installed; make setup installs it"
        self.directory, self.shell = directory, shell
        self.root = directory / "root"
        self.calls_file, self.store_file = directory / "calls", directory / "store"
        self.fail = ""
        self.environment: dict[str, str] = {}
        for path, text in {
            "proc/cmdline": "",
            "proc/interrupts": "  1:  0  xen-percpu  timer0\n",
            "proc/uptime": "100.00 200.00\n",
            "proc/sys/kernel/hostname": "(none)\n",
            "sys/hypervisor/version/major": "4\n",
            "sys/hypervisor/version/minor": "20\n",
        }.items():
            self.write(path, text)
        (self.root / "sys/class/net").mkdir(parents=True)
        (self.root / "usr/lib/xendd").mkdir(parents=True)
        shutil.copy(FILES / "networks", self.root / "usr/lib/xendd")
        for name, effect in EFFECTS.items():
            self._program(directory / "bin" / name, effect)
        (directory / "work").mkdir()

    def write(self, path: str, text: str) -> None:
        """Write a file at once: what runs reads the old text or the new one."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        unseen = self.directory / f"unseen-{threading.get_ident()}"
        unseen.write_text(text, encoding="utf-8")
        unseen.rename(self.root / path)

    def read(self, path: str) -> str:
        return (self.root / path).read_text(encoding="utf-8")

    def add_interface(self, name: str, mac: str, device: bool = True) -> None:
        """Make it appear at once, with its address."""
        unseen = self.directory / name
        unseen.mkdir()
        (unseen / "address").write_text(f"{mac}\n", encoding="utf-8")
        if device:
            (unseen / "device").mkdir()
        self.write(f"proc/sys/net/ipv6/conf/{name}/disable_ipv6", "0\n")
        unseen.rename(self.root / "sys/class/net" / name)

    def add_vif(self, number: int, name: str, mac: str, index: int) -> None:
        """Attach a virtual network interface, which the kernel gives a name and an index."""
        self.add_interface(name, mac)
        self.write(f"sys/class/net/{name}/ifindex", f"{index}\n")
        (self.root / f"sys/bus/xen/devices/vif-{number}/net/{name}").mkdir(parents=True)

    def add_pci(self, device: str, interface: str = "", pci_class: str = "0x028000") -> None:
        """Pass a PCI device through, which has an interface if its driver made one."""
        self.write(f"sys/bus/pci/devices/{device}/class", f"{pci_class}\n")
        if interface:
            (self.root / f"sys/bus/pci/devices/{device}/net/{interface}").mkdir(parents=True)

    def log_missing(self, *files: tuple[str, str]) -> None:
        """What Debian's kernel says when there is no file for the device of a driver."""
        self.write(
            "log",
            "[    0.000000] Linux version 6.12.118\n[    3.1] i40e 0000:00:00.0: fw 9.1 api 1.15\n"
            + "".join(
                f"[    4.123456] {device}: firmware: failed to load {file} (-2)\n"
                f"[    4.123457] {device}: Direct firmware load for {file} failed with error -2\n"
                for device, file in files
            ),
        )

    def remove_vif(self, number: int, name: str) -> None:
        shutil.rmtree(self.root / "sys/class/net" / name)
        shutil.rmtree(self.root / f"sys/bus/xen/devices/vif-{number}")

    def devd_is(self, letter: str) -> None:
        """Let the kernel report a state of devd."""
        self.write(f"proc/{self.read('pid').strip()}/stat", f"77 (x (y) z) {letter} 1 2 3\n")

    def add_backends(self, version: str = "4.20") -> None:
        self.write("usr/lib/xendd/modules", "xen-netback bridge\n")
        self._program(self.root / f"usr/lib/xen-{version}/bin/xenwatchdogd", "")
        self._program(self.root / f"usr/lib/xen-{version}/bin/xl", XL)

    @staticmethod
    def _program(path: Path, effect: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STUB + effect, encoding="utf-8")
        path.chmod(0o755)

    @contextlib.contextmanager
    def running(self, command_line: str, *arguments: str) -> t.Iterator[subprocess.Popen[str]]:
        """Start xendd, and end it with all that it started."""
        self.write("proc/cmdline", f"{command_line}\n")
        environment = {
            "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}",
            "XENDD_ROOT": str(self.root),
            "CALLS": str(self.calls_file),
            "STORE": str(self.store_file),
            "FAIL": self.fail,
            "XENDD_INTERVAL": "0.2",
            **self.environment,
        }
        process = subprocess.Popen(
            [*self.shell, str(FILES / "xendd"), *arguments],
            env=environment,
            cwd=self.directory / "work",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def run(self, command_line: str, *arguments: str) -> int:
        """Run xendd to its end and return its exit code."""
        with self.running(command_line, *arguments) as process:
            self.output = process.communicate(timeout=30)
            return process.returncode

    @property
    def calls(self) -> list[str]:
        """All calls of stubs but the reports to XenStore, in order."""
        lines = self.calls_file.read_text(encoding="utf-8").splitlines() if self.calls_file.exists() else []
        return [line for line in lines if not line.startswith(("xenstore-write ", "xenstore-watch ", "xenstore-read ", "dmesg "))]

    @property
    def log_was_read(self) -> bool:
        return self.calls_file.exists() and "dmesg " in self.calls_file.read_text(encoding="utf-8").splitlines()

    def reports(self, key: str) -> list[str]:
        """All values that a key in XenStore had, in order."""
        lines = self.store_file.read_text(encoding="utf-8").splitlines() if self.store_file.exists() else []
        return [value for name, _unused, value in (line.partition("=") for line in lines) if name == key]

    @property
    def status(self) -> tuple[str, str]:
        """The last status and error."""
        return self.reports(STATUS)[-1], self.reports(ERROR)[-1]

    @contextlib.contextmanager
    def fast_clock(self) -> t.Iterator[None]:
        """Let 10 s of uptime go by in every 50 ms."""
        stop = threading.Event()

        def advance() -> None:
            uptime = 100
            while not stop.wait(0.05):
                uptime += 10
                self.write("proc/uptime", f"{uptime}.00 0.00\n")

        thread = threading.Thread(target=advance)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def until(condition: t.Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def domain(tmp_path: Path, request: pytest.FixtureRequest) -> FakeDomain:
    return FakeDomain(tmp_path, request.param)


def test_a_domain_without_parameters_is_ready(domain: FakeDomain) -> None:
    assert domain.run("console=hvc0 boot=xendd quiet") == 0
    assert (domain.calls, domain.read("proc/sys/kernel/hostname")) == ([], "(none)\n")
    assert (domain.reports(STATUS), domain.reports(ERROR), domain.reports(BRIDGES)) == (["starting", "ready"], ["", ""], [""])


# Bridges and addresses


def test_bridges_and_addresses(domain: FakeDomain) -> None:
    domain.add_interface("enX0", MAC)
    domain.add_interface("enX1", OTHER_MAC)
    assert (
        domain.run(
            f"xendd.hostname=net-dd xendd.bridge=xenbr0,{MAC},{OTHER_MAC} xendd.bridge=inner "
            "xendd.address=xenbr0,10.0.3.9/24,10.0.3.1 xendd.address=xenbr0,2001:db8::9/64"
        )
        == 0
    )
    assert domain.calls == [
        "ip link add name xenbr0 type bridge",
        "ip link set dev xenbr0 up",
        "ip link set dev enX0 master xenbr0",
        "ip link set dev enX0 up",
        "ip link set dev enX1 master xenbr0",
        "ip link set dev enX1 up",
        "ip link add name inner type bridge",
        "ip link set dev inner up",
        "ip address replace 10.0.3.9/24 dev xenbr0",
        "ip link set dev xenbr0 up",
        "ip route replace default via 10.0.3.1 dev xenbr0",
        "ip address replace 2001:db8::9/64 dev xenbr0",
        "ip link set dev xenbr0 up",
    ]
    assert domain.read("proc/sys/kernel/hostname") == "net-dd\n"
    assert domain.read("sys/class/net/xenbr0/bridge/forward_delay") == "0\n"
    assert (domain.status, domain.reports(BRIDGES)) == (("ready", ""), ["xenbr0 inner"])


def test_a_second_run_keeps_the_bridge(domain: FakeDomain) -> None:
    domain.run("xendd.bridge=xenbr0")
    domain.calls_file.unlink()
    domain.run("xendd.bridge=xenbr0")
    assert (domain.calls, domain.status) == (["ip link set dev xenbr0 up"], ("ready", ""))


def test_only_an_interface_with_an_address_of_its_own_has_ipv6(domain: FakeDomain) -> None:
    domain.add_interface("enX0", MAC)
    for bridge in ("with", "without", "old"):
        domain.write(f"proc/sys/net/ipv6/conf/{bridge}/disable_ipv6", "0\n")
    domain.run(f"xendd.bridge=with,{MAC} xendd.bridge=without xendd.bridge=old xendd.address=with,fd00::9/64 xendd.address=old,10.0.3.9/24")
    values = {name: domain.read(f"proc/sys/net/ipv6/conf/{name}/disable_ipv6").strip() for name in ("enX0", "with", "without", "old")}
    assert values == {"enX0": "1", "with": "0", "without": "1", "old": "1"}


def test_an_address_by_mac(domain: FakeDomain) -> None:
    """Only the device counts, not the bridge that copied its address."""
    domain.add_interface("abridge", MAC, device=False)
    domain.add_interface("enX0", MAC)
    domain.run(f"xendd.address={MAC},10.0.3.5/24")
    assert domain.calls[0] == "ip address replace 10.0.3.5/24 dev enX0"


@pytest.mark.parametrize("first", ["02", "06"])
def test_a_card_that_kept_the_address_it_had_in_another_domain(domain: FakeDomain, first: str) -> None:
    domain.add_interface("enX0", first + MAC[2:])
    domain.run(f"xendd.address={MAC},10.0.3.5/24")
    assert domain.calls[0] == "ip address replace 10.0.3.5/24 dev enX0"
    # One that has the address itself comes first.
    domain.add_interface("enX1", MAC)
    domain.run(f"xendd.address={MAC},10.0.3.6/24")
    assert "ip address replace 10.0.3.6/24 dev enX1" in domain.calls


@pytest.mark.parametrize("mac", [MAC, MAC.upper()])
def test_a_network_card_that_appears_late(domain: FakeDomain, mac: str) -> None:
    with domain.running(f"xendd.bridge=xenbr0,{mac}") as process:
        until(lambda: "ip link set dev xenbr0 up" in domain.calls)
        time.sleep(0.3)
        assert domain.reports(STATUS) == ["starting"]
        domain.add_interface("enX7", MAC)
        assert process.wait(timeout=20) == 0
    assert "ip link set dev enX7 master xenbr0" in domain.calls
    assert domain.status == ("ready", "")


def test_interfaces_that_never_appear(domain: FakeDomain) -> None:
    domain.add_interface("enX1", OTHER_MAC)
    with domain.fast_clock():
        assert domain.run(f"xendd.bridge=xenbr0,{MAC},{OTHER_MAC} xendd.address=eth7,10.0.3.5/24") == 0
    assert domain.status == (
        "error",
        f"no network interface with MAC address {MAC} appeared within 30 s; no network interface 'eth7' appeared within 30 s",
    )
    assert "ip link set dev enX1 master xenbr0" in domain.calls


# Firmware

IWLWIFI = [("iwlwifi 0000:00:05.0", f"iwlwifi-ty-a0-gf-a0-{version}.ucode") for version in (89, 88, 87)]
ASKED = "iwlwifi of 0000:00:05.0 asks for iwlwifi-ty-a0-gf-a0-89.ucode: it is not in the image"


@pytest.mark.parametrize("pci_class", ["0x020000", "0x028000"])
@pytest.mark.parametrize(
    ("image", "remedy"),
    [(False, "set guest_image_nonfree_firmware: true"), (True, "non-free-firmware of its Debian suite does not have it")],
)
def test_a_card_without_firmware_is_an_error(domain: FakeDomain, image: bool, remedy: str, pci_class: str) -> None:
    """Even if no bridge has it for a port: one message for each card, with the first file, after some time."""
    domain.add_pci("0000:00:05.0", pci_class=pci_class)
    domain.add_pci("0000:00:06.0")
    domain.log_missing(*IWLWIFI, ("mt7921e 0000:00:06.0", "mediatek/a b.bin"), *IWLWIFI)
    if image:
        domain.write("usr/lib/xendd/nonfree-firmware", "iwlwifi\n")
    with domain.fast_clock():
        assert domain.run("xendd.bridge=xenbr0") == 0
    mediatek = f"mt7921e of 0000:00:06.0 asks for mediatek/a b.bin: it is not in the image; {remedy}"
    assert domain.status == ("error", f"{ASKED}; {remedy}; {mediatek}")


def test_a_port_that_does_not_appear_for_want_of_firmware(domain: FakeDomain) -> None:
    domain.add_pci("0000:00:05.0")
    domain.log_missing(*IWLWIFI)
    with domain.fast_clock():
        domain.run(f"xendd.bridge=xenbr0,{MAC}")
    absent = f"no network interface with MAC address {MAC} appeared within 30 s"
    assert domain.status == ("error", f"{absent}; {ASKED}; set guest_image_nonfree_firmware: true")


def test_a_card_that_does_not_come_up_for_want_of_firmware(domain: FakeDomain) -> None:
    """bnx2x asks when its interface is set up, and not before."""
    domain.add_interface("enX0", MAC)
    domain.add_pci("0000:00:05.0", "enX0", "0x020000")
    domain.log_missing(("bnx2x 0000:00:05.0", "bnx2x/bnx2x-e2-7.13.21.0.fw"))
    domain.fail = "ip link set dev enX0 up"
    domain.run(f"xendd.bridge=xenbr0,{MAC}")
    status, error = domain.status
    assert status == "error" and error == (
        "'ip link set dev enX0 up' failed: stub: no; bnx2x of 0000:00:05.0 asks for bnx2x/bnx2x-e2-7.13.21.0.fw: it is not in the image; "
        "set guest_image_nonfree_firmware: true"
    )


def test_a_usb_device_only_if_an_interface_is_missing(domain: FakeDomain) -> None:
    domain.add_pci("0000:00:05.0", pci_class="0x0c0330")
    domain.write("sys/bus/usb/devices/1-1/idVendor", "0cf3\n")
    domain.log_missing(
        ("platform regulatory.0", "regulatory.db"), ("usb 1-1", "ath9k_htc/htc_9271-1.4.0.fw"), ("xhci_hcd 0000:00:05.0", "renesas.mem")
    )
    domain.run("xendd.bridge=xenbr0")
    assert domain.status == ("ready", "")
    with domain.fast_clock():
        domain.run(f"xendd.bridge=xenbr0,{MAC}")
    assert domain.status[1].split("; ")[1:] == [
        "usb of 1-1 asks for ath9k_htc/htc_9271-1.4.0.fw: it is not in the image",
        "set guest_image_nonfree_firmware: true",
    ]


def test_files_that_a_driver_can_do_without(domain: FakeDomain) -> None:
    """These cards have their interfaces, the error is another one, or the driver said itself that it does not matter."""
    domain.add_interface("enX0", MAC)
    domain.add_pci("0000:00:05.0", "wlan0")
    domain.add_pci("0000:00:06.0", "enX0", "0x020000")
    domain.add_pci("0000:00:07.0", pci_class="0x030000")
    domain.add_pci("0000:00:08.0")
    domain.add_pci("0000:00:09.0")
    domain.log_missing(*IWLWIFI, ("r8169 0000:00:06.0", "rtl_nic/rtl8168g-2.fw"), ("amdgpu 0000:00:07.0", "amdgpu/x.bin"))
    domain.write(
        "log",
        domain.read("log")
        + "[ 5.1] x 0000:00:08.0: Direct firmware load for x.bin failed with error -110\n"
        + "[ 5.2] iwlwifi 0000:00:09.0: firmware: failed to load iwl-debug-yoyo.bin (-2)\n",
    )
    domain.run(f"xendd.bridge=xenbr0,{MAC}")
    assert domain.status == ("ready", "")


def test_a_driver_that_finds_its_file_at_last(domain: FakeDomain) -> None:
    domain.add_pci("0000:00:05.0")
    domain.log_missing(*IWLWIFI)
    with domain.running("xendd.bridge=xenbr0") as process:
        until(lambda: domain.log_was_read)
        assert domain.reports(STATUS) == ["starting"]
        domain.add_pci("0000:00:05.0", "wlan0")
        assert process.wait(timeout=20) == 0
    assert domain.status == ("ready", "")


def test_the_log_is_not_read_while_all_cards_work(domain: FakeDomain) -> None:
    domain.add_pci("0000:00:05.0", "wlan0")
    domain.add_pci("0000:00:06.0", pci_class="0x030000")
    domain.run("xendd.bridge=xenbr0")
    assert not domain.log_was_read and domain.calls


@pytest.mark.parametrize(
    ("fail", "then", "error"),
    [
        ("ip link add name one *", "ip link set dev two up", "'ip link add name one type bridge' failed: stub: no"),
        ("ip link set dev one up", "ip link set dev two up", "'ip link set dev one up' failed: stub: no"),
        ("*master one", "ip link set dev enX0 up", "'ip link set dev enX0 master one' failed: stub: no"),
        ("ip address*", "ip route replace default via 10.0.3.1 dev two", "'ip address replace 10.0.3.9/24 dev two' failed: stub: no"),
        ("ip route*", "ip link set dev two up", "'ip route replace default via 10.0.3.1 dev two' failed: stub: no"),
    ],
)
def test_a_failed_step_does_not_stop_the_others(domain: FakeDomain, fail: str, then: str, error: str) -> None:
    domain.add_interface("enX0", MAC)
    domain.fail = fail
    assert domain.run(f"xendd.bridge=one,{MAC} xendd.bridge=two xendd.address=two,10.0.3.9/24,10.0.3.1") == 0
    assert then in domain.calls
    assert domain.status == ("error", error)


@pytest.mark.parametrize("systemd", [True, False])
def test_dhcp_is_for_networkd_where_it_runs(domain: FakeDomain, systemd: bool) -> None:
    domain.add_interface("eth0", MAC)
    if systemd:
        (domain.root / "run/systemd/system").mkdir(parents=True)
    domain.run("xendd.address=eth0,dhcp")
    assert domain.status == ("ready", "")
    asks = ["ip link set dev eth0 up", f"udhcpc -f -i eth0 -s {FILES}/xendd"]
    until(lambda: systemd or len(domain.calls) == 2)
    assert domain.calls == ([] if systemd else asks)


def test_what_udhcpc_got(domain: FakeDomain) -> None:
    domain.environment = {"interface": "eth0", "ip": "10.0.3.7", "mask": "24", "router": "10.0.3.2 10.0.3.4", "dns": "10.0.3.3 10.0.3.5"}
    (domain.root / "etc").mkdir()
    assert domain.run("", "bound") == 0
    assert domain.calls == ["ip address replace 10.0.3.7/24 dev eth0", "ip route replace default via 10.0.3.2 dev eth0"]
    assert domain.read("run/xendd/resolv.conf") == "nameserver 10.0.3.3\nnameserver 10.0.3.5\n"
    assert domain.run("", "deconfig") == 0
    assert domain.calls[-1] == "ip -4 address flush dev eth0 scope global"


def test_what_networkd_leaves_alone(domain: FakeDomain) -> None:
    """Before networkd starts, so without waiting for interfaces or XenStore."""
    assert (
        domain.run(f"xendd.bridge=xenbr0,{MAC} xendd.address=xenbr0,10.0.3.9/24 xendd.address={OTHER_MAC},dhcp", "write-network-units") == 0
    )
    directory = domain.root / "run/systemd/network"
    assert {path.name: path.read_text(encoding="utf-8") for path in directory.iterdir()} == {
        "11-xendd.network": "[Match]\nName=xenbr0\n\n[Link]\nUnmanaged=yes\n",
        "12-xendd.network": "[Match]\nName=xenbr0\n\n[Link]\nUnmanaged=yes\n",
        "13-xendd.network": f"[Match]\nMACAddress={OTHER_MAC}\nKind=!bridge bond\n\n[Network]\nDHCP=yes\n",
    }
    assert (domain.calls, domain.reports(STATUS)) == ([], [])


def test_networkd_leaves_a_bond_and_its_ports_alone(domain: FakeDomain) -> None:
    assert domain.run("xendd.bond=bond0,10.0.3.1,eth0,eth1 xendd.address=eth2,dhcp", "write-network-units") == 0
    found = [path.read_text(encoding="utf-8").split("\n\n") for path in sorted((domain.root / "run/systemd/network").iterdir())]
    unmanaged, dhcp = "[Link]\nUnmanaged=yes\n", "[Network]\nDHCP=yes\n"
    assert found == [
        ["[Match]\nName=bond0", unmanaged],
        ["[Match]\nPath=xen-vif-0", unmanaged],
        ["[Match]\nName=eth0\nPath=!xen-vif-0 xen-vif-1 xen-vif-2", unmanaged],
        ["[Match]\nPath=xen-vif-1", unmanaged],
        ["[Match]\nName=eth1\nPath=!xen-vif-0 xen-vif-1 xen-vif-2", unmanaged],
        ["[Match]\nPath=xen-vif-2", dhcp],
        ["[Match]\nName=eth2\nPath=!xen-vif-0 xen-vif-1 xen-vif-2", dhcp],
    ]


def test_networkd_knows_the_vifs_of_the_definition(domain: FakeDomain) -> None:
    """One that has a number of its own is not another one that has its name for a while."""
    for number in range(3):
        (domain.root / f"sys/bus/xen/devices/vif-{number}").mkdir(parents=True)
    assert domain.run("xendd.address=eth0,10.0.3.5/24", "write-network-units") == 0
    text = domain.read("run/systemd/network/12-xendd.network")
    assert text == "[Match]\nName=eth0\nPath=!xen-vif-0 xen-vif-1 xen-vif-2\n\n[Link]\nUnmanaged=yes\n"


# Bonds


BOND = "xendd.bond=bond0,10.0.3.1/10.0.3.2,eth0,eth1 xendd.address=bond0,10.0.3.5/24,10.0.3.1"


@contextlib.contextmanager
def watching(domain: FakeDomain, command_line: str) -> t.Iterator[t.Callable[[str], None]]:
    """Let a domain run that follows its interfaces; the function reports a change of a key below `device`."""
    events = domain.root / "events"
    events.write_text("device/vif\n")

    def report(path: str) -> None:
        with events.open("a") as file:
            file.write(f"{path}\n")

    with domain.running(command_line):
        until(lambda: domain.reports(STATUS) == ["starting", "ready"])
        # The first event, that of the watch itself.
        time.sleep(0.3)
        domain.calls_file.unlink()
        yield report
        events.unlink()


def ports(*names: str) -> list[str]:
    return [line for name in names for line in (f"ip link set dev {name} down", f"ip link set dev {name} master bond0")]


def test_a_bond_has_its_address_before_its_ports(domain: FakeDomain) -> None:
    domain.add_vif(0, "eth0", MAC, 2)
    domain.add_vif(1, "eth1", OTHER_MAC, 3)
    assert domain.run(BOND) == 0
    assert domain.calls == [
        "modprobe bonding max_bonds=0",
        "ip link add name bond0 type bond",
        "ip link set dev bond0 up",
        "ip address replace 10.0.3.5/24 dev bond0",
        "ip link set dev bond0 up",
        "ip route replace default via 10.0.3.1 dev bond0",
        *ports("eth0", "eth1"),
    ]
    options = {path.name: path.read_text(encoding="utf-8") for path in (domain.root / "sys/class/net/bond0/bonding").iterdir()}
    assert options == {
        "mode": "active-backup\n",
        "fail_over_mac": "active\n",
        "arp_interval": "200\n",
        # The kernel adds each.
        "arp_ip_target": "+10.0.3.2\n",
        "arp_validate": "all\n",
    }
    assert domain.status == ("ready", "")


def test_a_second_run_keeps_the_bond(domain: FakeDomain) -> None:
    domain.add_vif(0, "eth0", MAC, 2)
    domain.add_vif(1, "eth1", OTHER_MAC, 3)
    domain.run(BOND)
    domain.calls_file.unlink()
    domain.run(BOND)
    assert not [line for line in domain.calls if "add" in line.split()[2:3] or " master " in line or " down" in line]
    assert domain.status == ("ready", "")


def test_a_bond_works_with_what_there_is(domain: FakeDomain) -> None:
    domain.add_vif(1, "eth0", OTHER_MAC, 2)
    with domain.fast_clock():
        assert domain.run(BOND) == 0
    assert domain.calls[-2:] == ports("eth0")
    assert domain.status == ("error", "no network interface 'eth0' appeared within 30 s")


def test_an_option_that_the_kernel_does_not_take(domain: FakeDomain) -> None:
    domain.add_vif(0, "eth0", MAC, 2)
    domain.write("lacks", "fail_over_mac")
    assert domain.run("xendd.bond=bond0,10.0.3.1,eth0") == 0
    status, error = domain.status
    assert status == "error" and error.startswith("fail_over_mac=active of bond0 failed: ")
    assert domain.read("sys/class/net/bond0/bonding/arp_validate") == "all\n"
    assert domain.calls[-2:] == ports("eth0")


def test_a_bond_that_cannot_be_made(domain: FakeDomain) -> None:
    domain.fail = "ip link add *"
    assert domain.run("xendd.bond=bond0,10.0.3.1 xendd.bridge=br0") == 0
    assert domain.status[1].endswith("'ip link add name bond0 type bond' failed: stub: no")


def test_a_port_that_was_attached_again_is_a_port_again(domain: FakeDomain) -> None:
    domain.add_vif(0, "eth0", MAC, 2)
    domain.add_vif(1, "eth1", OTHER_MAC, 3)
    with watching(domain, BOND) as report:
        report("device/vif/0/state")
        time.sleep(0.3)
        assert domain.calls == []
        domain.remove_vif(0, "eth0")
        report("device/vif/0/state")
        time.sleep(0.3)
        assert domain.calls == []
        domain.add_vif(0, "eth0", MAC, 7)
        report("device/vif/0/state")
        until(lambda: domain.calls == ports("eth0"))


def test_interfaces_that_come_back_in_another_order_are_still_known(domain: FakeDomain) -> None:
    """The kernel gives the first name that is free, so that both have the name of the other afterwards."""
    domain.add_vif(0, "eth0", MAC, 2)
    domain.add_vif(1, "eth1", OTHER_MAC, 3)
    with watching(domain, "xendd.address=eth0,10.0.3.5/24 xendd.address=eth1,10.0.5.5/24") as report:
        domain.remove_vif(0, "eth0")
        domain.remove_vif(1, "eth1")
        domain.add_vif(1, "eth0", OTHER_MAC, 8)
        report("device/vif/1/state")
        expected = ["ip address replace 10.0.5.5/24 dev eth0", "ip link set dev eth0 up"]
        until(lambda: domain.calls == expected)
        domain.add_vif(0, "eth1", MAC, 9)
        report("device/vif/0/state")
        until(lambda: domain.calls == [*expected, "ip address replace 10.0.3.5/24 dev eth1", "ip link set dev eth1 up"])


def test_detaching_one_of_two_changes_nothing_for_the_other(domain: FakeDomain) -> None:
    domain.add_vif(0, "eth0", MAC, 2)
    domain.add_vif(1, "eth1", OTHER_MAC, 3)
    with watching(domain, "xendd.address=eth0,10.0.3.5/24 xendd.address=eth1,10.0.5.5/24") as report:
        domain.remove_vif(0, "eth0")
        report("device/vif/0/state")
        report("device/vif/1/state")
        time.sleep(0.5)
        assert domain.calls == []


ADDRESSES = "xendd.address=eth0,10.0.3.5/24 xendd.address=eth1,10.0.5.5/24"


def address(cidr: str, name: str) -> list[str]:
    return [f"ip address replace {cidr} dev {name}", f"ip link set dev {name} up"]


@pytest.mark.parametrize(
    ("command_line", "lost", "number", "expected"),
    [
        (BOND, 0, 2, ports("eth0")),
        (BOND, 1, 7, ports("eth1")),
        (ADDRESSES, 0, 2, address("10.0.3.5/24", "eth0")),
        (ADDRESSES, 1, 12, address("10.0.5.5/24", "eth1")),
    ],
)
def test_a_vif_that_comes_back_with_another_number(
    domain: FakeDomain, command_line: str, lost: int, number: int, expected: list[str]
) -> None:
    """`xl network-attach` without a number takes one more than the highest."""
    domain.add_vif(0, "eth0", MAC, 2)
    domain.add_vif(1, "eth1", OTHER_MAC, 3)
    with watching(domain, command_line) as report:
        domain.remove_vif(lost, f"eth{lost}")
        report(f"device/vif/{lost}/state")
        time.sleep(0.3)
        assert domain.calls == []
        domain.add_vif(number, f"eth{lost}", MAC, 7)
        report(f"device/vif/{number}/state")
        until(lambda: domain.calls == expected)
        report(f"device/vif/{1 - lost}/state")
        time.sleep(0.3)
        assert domain.calls == expected


def test_both_vifs_come_back_with_other_numbers(domain: FakeDomain) -> None:
    domain.add_vif(2, "eth0", MAC, 7)
    domain.add_vif(3, "eth1", OTHER_MAC, 8)
    assert domain.run(ADDRESSES) == 0
    assert domain.calls == [*address("10.0.3.5/24", "eth0"), *address("10.0.5.5/24", "eth1")]
    assert domain.status == ("ready", "")


@pytest.mark.parametrize("added", [False, True], ids=["defined", "added later"])
def test_a_vif_without_a_parameter_is_never_another_one(domain: FakeDomain, added: bool) -> None:
    """Both were attached again, and the one that nothing is set for has the name of the other until that is there."""
    domain.add_vif(0, "eth0", MAC, 2)
    if not added:
        domain.add_vif(1, "eth1", OTHER_MAC, 3)
    with watching(domain, "xendd.address=eth0,10.0.3.5/24") as report:
        if added:
            domain.add_vif(1, "eth1", OTHER_MAC, 3)
            report("device/vif/1/state")
            time.sleep(0.3)
        domain.remove_vif(0, "eth0")
        domain.remove_vif(1, "eth1")
        domain.add_vif(1, "eth0", OTHER_MAC, 8)
        report("device/vif/1/state")
        time.sleep(0.5)
        assert domain.calls == []
        domain.add_vif(0, "eth1", MAC, 9)
        report("device/vif/0/state")
        until(lambda: domain.calls == address("10.0.3.5/24", "eth1"))


# The command line


def test_an_unknown_parameter(domain: FakeDomain) -> None:
    domain.run("xendd.brdige=xenbr0 xendd.backend=yes xendd.bridge=br1")
    problem = "the kernel command line has '{}', which is unknown"
    assert domain.status == ("error", f"{problem.format('xendd.brdige=xenbr0')}; {problem.format('xendd.backend=yes')}")
    assert domain.reports(BRIDGES) == ["br1"]


@pytest.mark.parametrize(
    "value",
    [
        "$(touch${IFS}made)",
        "`touch${IFS}made`",
        ";touch${IFS}made",
        "*",
        "[a-z]*",
        "-n",
        "-e",
        r"a\nb\c",
        "'\"",
        "../../work",
    ],
)
def test_a_value_is_never_more_than_a_value(domain: FakeDomain, value: str) -> None:
    (domain.directory / "work/file").touch()
    with domain.fast_clock():
        assert domain.run(f"xendd.hostname={value} xendd.bridge={value} xendd.address={value},{value},{value} xendd.{value}") == 0
    assert [path.name for path in (domain.directory / "work").iterdir()] == ["file"]
    assert domain.read("proc/sys/kernel/hostname") == f"{value}\n"
    assert domain.calls[0] == f"ip link add name {value} type bridge"
    assert domain.reports(BRIDGES) == [value]
    assert f"'xendd.{value}', which is unknown" in domain.status[1]
    assert f"'xendd.{value}', which is unknown" in domain.output[1]


# XenStore


def test_xenstore_that_comes_late(domain: FakeDomain) -> None:
    domain.write("proc/interrupts", " 30:  0  xen-dyn  xenstore_late_init\n")
    with domain.running("xendd.bridge=xenbr0") as process:
        time.sleep(0.3)
        assert (domain.reports(STATUS), domain.calls) == ([], [])
        domain.write("proc/interrupts", "")
        assert process.wait(timeout=20) == 0
    assert domain.status == ("ready", "")


def test_xenstore_that_refuses(domain: FakeDomain) -> None:
    domain.fail = "xenstore-write *"
    assert domain.run("xendd.bridge=xenbr0") == 0
    assert "ip link set dev xenbr0 up" in domain.calls
    assert "xendd: cannot write to XenStore" in domain.output[1]


# Backends


def test_an_image_without_backends(domain: FakeDomain) -> None:
    assert domain.run("xendd.backend=1 xendd.bridge=xenbr0") == 1
    assert domain.status == ("error", "the kernel command line asks for backends, but this image was built without them")


def test_an_image_for_another_hypervisor(domain: FakeDomain) -> None:
    domain.add_backends("4.17")
    assert domain.run("xendd.backend=1") == 1
    status, error = domain.status
    assert status == "error" and error.startswith("the hypervisor is Xen 4.20, but this image has no ")
    assert error.endswith("build it with xen-utils-4.20")


@pytest.mark.parametrize("mounted", [True, False])
def test_ready_when_devd_has_opened_xenstore(domain: FakeDomain, mounted: bool) -> None:
    domain.add_backends()
    domain.write("stay", "")
    if mounted:
        domain.write("proc/xen/capabilities", "")
    with domain.running("xendd.backend=1 xendd.bridge=xenbr0"):
        until(lambda: "xl devd -F" in domain.calls)
        time.sleep(0.3)
        assert domain.reports(STATUS) == ["starting", "attachable"]
        domain.write("open", "")
        until(lambda: domain.reports(STATUS) == ["starting", "attachable", "ready"])
    mount = [] if mounted else [f"mount -t xenfs xenfs {domain.root}/proc/xen"]
    assert domain.calls == [
        "modprobe -a xen-netback bridge",
        *mount,
        "ip link add name xenbr0 type bridge",
        "ip link set dev xenbr0 up",
        "xl devd -F",
    ]
    assert domain.reports(BRIDGES) == ["xenbr0"]
    assert (domain.root / "run/xen").is_dir() and (domain.root / "var/log/xen").is_dir()


def test_devices_can_be_attached_before_the_bridges_are_there(domain: FakeDomain) -> None:
    """Attaching one takes as long as the rest of the start."""
    domain.add_backends()
    domain.write("open", "")
    domain.write("stay", "")
    with domain.running(f"xendd.backend=1 xendd.bridge=xenbr0,{MAC}"):
        until(lambda: domain.reports(STATUS) == ["starting", "attachable"])
        time.sleep(0.3)
        assert "xl devd -F" not in domain.calls
        domain.add_interface("eth0", MAC)
        until(lambda: domain.reports(STATUS) == ["starting", "attachable", "ready"])


def test_devd_is_restarted(domain: FakeDomain) -> None:
    domain.add_backends()
    domain.write("open", "")
    domain.write("stay", "")
    with domain.running("xendd.backend=1"):
        until(lambda: domain.reports(STATUS) == ["starting", "attachable", "ready"])
        (domain.root / "stay").unlink()
        until(lambda: domain.status == ("error", "xl devd ended with exit code 3; restarting it"))
        domain.write("stay", "")
        until(lambda: domain.reports(STATUS) == ["starting", "attachable", "ready", "error", "ready"])
    assert domain.calls.count("xl devd -F") == 2


TOO_LATE = [
    "libxl: error: libxl_aoutils.c:539:async_exec_timeout: killing execution of /etc/xen/scripts/vif-bridge online because of timeout",
    "libxl: error: libxl_aoutils.c:539:async_exec_timeout: killing execution of /etc/xen/scripts/block add because of timeout",
    "libxl: error: libxl_device.c:1194:x: Domain 3:unable to add device with path /local/domain/1/backend/vif/3/0 - rc -9",
]


@pytest.mark.parametrize("message", TOO_LATE)
def test_devices_that_devd_gave_up_are_served_by_a_new_devd(domain: FakeDomain, message: str) -> None:
    domain.add_backends()
    for name in ("open", "stay", "script"):
        domain.write(name, "")
    # The second one comes when devd is being ended already, and ends none of those that follow.
    domain.write("says", f"{message}\n{message}\n")
    with domain.running("xendd.backend=1"):
        until(lambda: not (domain.root / "says").exists())
        time.sleep(0.5)
        assert domain.calls.count("xl devd -F") == 1, "the scripts that still run come first"
        (domain.root / "script").unlink()
        until(lambda: domain.calls.count("xl devd -F") == 2)
        until(lambda: domain.reports(STATUS) == ["starting", "attachable", "ready", "ready"])
        time.sleep(0.5)
    assert domain.calls.count("xl devd -F") == 2
    assert domain.calls.index("script ended") < len(domain.calls) - 1
    assert "error" not in domain.reports(STATUS)


@pytest.mark.parametrize(
    "message",
    [
        "libxl: error: libxl_aoutils.c:539:async_exec_timeout: killing execution of /etc/xen/scripts/vif-bridge offline because of timeout",
        "libxl: error: libxl_device.c:1194:x: Domain 2:unable to add device with path /local/domain/1/backend/vif/2/0 - rc -6",
        "libxl: error: libxl_device.c:1348:device_hotplug_child_death_cb: script: Could not find bridge device xenbr9",
    ],
)
def test_what_a_new_devd_would_not_change_restarts_none(domain: FakeDomain, message: str) -> None:
    domain.add_backends()
    for name in ("open", "stay"):
        domain.write(name, "")
    domain.write("says", f"{message}\n")
    with domain.running("xendd.backend=1") as process:
        assert process.stderr is not None
        assert "".join(process.stderr.readline() for _line in range(2)).endswith(f"{message}\n"), "the log has it"
        time.sleep(0.5)
    assert domain.calls.count("xl devd -F") == 1


def test_devd_that_ends_before_it_is_ready(domain: FakeDomain) -> None:
    domain.add_backends()
    xl = domain.root / "usr/lib/xen-4.20/bin/xl"
    xl.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    with domain.running("xendd.backend=1"):
        until(lambda: "error" in domain.reports(STATUS))
    assert domain.reports(STATUS)[:3] == ["starting", "attachable", "error"]
    assert domain.reports(BRIDGES) == [""]


@pytest.mark.parametrize("script", ["vif-bridge", "vif-bridge.xen"])
def test_the_hotplug_script_is_in_the_place_of_xens(domain: FakeDomain, script: str) -> None:
    """Even if an earlier start ended when it had moved that of Xen."""
    domain.add_backends()
    domain.write(f"etc/xen/scripts/{script}", "xen")
    domain.write("usr/lib/xendd/vif", "")
    for name in ("open", "stay"):
        domain.write(name, "")
    for _start in range(2):
        with domain.running("xendd.backend=1"):
            until(lambda: domain.reports(STATUS)[-1:] == ["ready"])
        domain.store_file.unlink()
        assert (domain.root / "etc/xen/scripts/vif-bridge").readlink() == domain.root / "usr/lib/xendd/vif"
        assert domain.read("etc/xen/scripts/vif-bridge.xen") == "xen"


def test_modules_that_cannot_be_loaded(domain: FakeDomain) -> None:
    domain.add_backends()
    domain.fail = "modprobe *"
    for name in ("open", "stay"):
        domain.write(name, "")
    with domain.running("xendd.backend=1"):
        until(lambda: len(domain.reports(STATUS)) == 2)
    assert domain.status == ("error", "'modprobe -a xen-netback bridge' failed: stub: no")
    assert "attachable" not in domain.reports(STATUS)
    assert "xl devd -F" in domain.calls


# While it serves


@contextlib.contextmanager
def serving(domain: FakeDomain, command_line: str) -> t.Iterator[None]:
    """Let a domain serve that has a card `enX0`, and that the kernel says runs."""
    domain.add_backends()
    domain.add_interface("enX0", MAC)
    domain.write("sys/class/net/enX0/brport/state", "3\n")
    for name in ("open", "stay"):
        domain.write(name, "")
    with domain.running(f"xendd.backend=1 {command_line}"):
        until(lambda: domain.reports(STATUS) == ["starting", "attachable", "ready"])
        domain.devd_is("S")
        yield


def test_what_is_no_longer_true_is_withdrawn(domain: FakeDomain) -> None:
    with serving(domain, f"xendd.bridge=xenbr0,{MAC.upper()}"):
        time.sleep(0.6)
        assert domain.reports(STATUS) == ["starting", "attachable", "ready"]
        bridge = domain.root / "sys/class/net/xenbr0"
        bridge.rename(domain.root / "aside")
        until(lambda: domain.status == ("error", "the bridge xenbr0 is gone"))
        (domain.root / "aside").rename(bridge)
        until(lambda: domain.reports(STATUS) == ["starting", "attachable", "ready", "error", "ready"])
        shutil.rmtree(domain.root / "sys/class/net/enX0/brport")
        until(lambda: domain.status == ("error", "enX0 is no longer a port of xenbr0"))
        shutil.rmtree(domain.root / "sys/class/net/enX0")
        until(lambda: domain.status == ("error", f"the port {MAC} of xenbr0 is gone"))
        time.sleep(0.6)
        assert domain.reports(STATUS).count("error") == 3
    assert domain.calls.count("xl devd -F") == 1


def test_a_devd_that_is_stopped_is_killed_and_started_again(domain: FakeDomain) -> None:
    with serving(domain, "xendd.bridge=xenbr0"):
        domain.devd_is("T")
        until(lambda: domain.calls.count("xl devd -F") == 2)
        assert "xl devd ended with exit code 137; restarting it" in domain.reports(ERROR)
        until(lambda: domain.reports(STATUS)[-1] == "ready")


def test_a_devd_that_is_stopped_for_a_moment_is_left_alone(domain: FakeDomain) -> None:
    # Long, so that a busy machine does not make the moment last for two looks.
    domain.environment["XENDD_INTERVAL"] = "2"
    with serving(domain, "xendd.bridge=xenbr0"):
        domain.devd_is("T")
        time.sleep(1)
        domain.devd_is("S")
        time.sleep(2.2)
    assert domain.calls.count("xl devd -F") == 1


def test_what_was_wrong_from_the_beginning_stays_the_reason(domain: FakeDomain) -> None:
    domain.add_backends()
    for name in ("open", "stay"):
        domain.write(name, "")
    domain.fail = "ip link add*"
    with domain.running("xendd.backend=1 xendd.bridge=xenbr0"):
        until(lambda: "error" in domain.reports(STATUS))
        domain.devd_is("S")
        time.sleep(0.6)
    assert domain.reports(ERROR) == ["", "", "'ip link add name xenbr0 type bridge' failed: stub: no"]


def test_the_watchdog_of_xen(domain: FakeDomain) -> None:
    with serving(domain, "xendd.watchdog=60"):
        assert domain.calls.index("xenwatchdogd 60 16") < domain.calls.index("pidof xenwatchdogd")


def test_a_watchdog_that_has_ended_is_in_the_log(domain: FakeDomain) -> None:
    domain.add_backends()
    for name in ("open", "stay"):
        domain.write(name, "")
    domain.fail = "pidof xenwatchdogd"
    with domain.running("xendd.backend=1 xendd.watchdog=60") as process:
        assert process.stderr is not None
        until(lambda: domain.reports(STATUS) == ["starting", "attachable", "ready"])
        assert any("xenwatchdogd has ended" in process.stderr.readline() for _line in range(3))


@pytest.mark.parametrize(
    ("parameter", "error"),
    [
        ("xendd.watchdog=soon", "xendd.watchdog=soon is not a number of seconds"),
        ("xendd.watchdog=0", "xendd.watchdog=0 is not a number of seconds"),
        ("xendd.watchdog=60", "xenwatchdogd 60 16' failed: stub: no"),
    ],
)
def test_a_watchdog_that_cannot_be_started(domain: FakeDomain, parameter: str, error: str) -> None:
    domain.add_backends()
    for name in ("open", "stay"):
        domain.write(name, "")
    domain.fail = "xenwatchdogd*"
    with domain.running(f"xendd.backend=1 {parameter}"):
        until(lambda: "error" in domain.reports(STATUS))
        assert domain.status[0] == "error" and domain.status[1].endswith(error)


def test_an_interface_that_was_attached_again_gets_its_addresses_back(domain: FakeDomain) -> None:
    domain.add_interface("eth0", MAC)
    domain.add_interface("eth1", OTHER_MAC)
    for number, name in enumerate(("eth0", "eth1"), 2):
        domain.write(f"sys/class/net/{name}/ifindex", f"{number}\n")
    events = domain.root / "events"
    events.write_text("device/vif\n")
    addresses = f"xendd.address=eth0,10.0.3.5/24,10.0.3.1 xendd.address=eth0,2001:db8::5/64 xendd.address={OTHER_MAC},10.0.5.5/24"
    with domain.running(f"{addresses} xendd.bridge=inner"):
        until(lambda: domain.reports(STATUS) == ["starting", "ready"])

        def report(path: str) -> None:
            with events.open("a") as file:
                file.write(f"{path}\n")
            time.sleep(0.3)

        domain.calls_file.unlink()
        report("device/vif/0/state")
        report("device/vif/0/mac")
        assert domain.calls == []
        shutil.rmtree(domain.root / "sys/class/net/eth0")
        report("device/vif/0/state")
        assert domain.calls == []
        domain.write("sys/class/net/eth0/ifindex", "7\n")
        report("device/vif/0/state")
        expected = [
            "ip address replace 10.0.3.5/24 dev eth0",
            "ip link set dev eth0 up",
            "ip route replace default via 10.0.3.1 dev eth0",
            "ip address replace 2001:db8::5/64 dev eth0",
            "ip link set dev eth0 up",
        ]
        until(lambda: domain.calls == expected)
        report("device/vif/0/state")
        assert domain.calls == expected
        events.unlink()


# Saved and restored


def restore(domain: FakeDomain) -> None:
    """Give it another home in XenStore, where nothing is; the kernel sets its watches again."""
    domain.store_file.write_text("")
    with (domain.root / "events").open("a") as file:
        file.write("data/driver-domain/status\n")


@pytest.mark.parametrize("address", ["", "xendd.address=enX0,10.0.3.5/24"])
def test_a_domain_that_was_restored_reports_again(domain: FakeDomain, address: str) -> None:
    domain.add_interface("enX0", MAC)
    domain.write("events", "data/driver-domain/status\n")
    with domain.running(address):
        until(lambda: domain.reports(STATUS) == ["starting", "ready"])
        time.sleep(0.3)
        # What it has reported itself is nothing new.
        assert domain.reports(STATUS) == ["starting", "ready"]
        restore(domain)
        until(lambda: domain.reports(STATUS) == ["ready"])
        (domain.root / "events").unlink()
    assert domain.reports(BRIDGES) == [""]


def test_a_driver_domain_that_was_restored_has_a_new_devd(domain: FakeDomain) -> None:
    domain.write("events", "data/driver-domain/status\n")
    with serving(domain, "xendd.bridge=xenbr0"):
        restore(domain)
        until(lambda: domain.calls.count("xl devd -F") == 2)
        until(lambda: domain.reports(STATUS)[-1] == "ready")
        (domain.root / "events").unlink()
    assert domain.reports(BRIDGES)[-1] == "xenbr0"
