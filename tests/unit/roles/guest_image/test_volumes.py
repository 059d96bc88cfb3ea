# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The volume groups and volumes that xendd makes, with stubs for LVM that keep what they make in a directory."""

from __future__ import annotations

import time
import typing as t
from pathlib import Path

import pytest

from .test_xendd import SHELLS, STATUS, STUB, FakeDomain, until

TOP = "data/driver-domain"
#: A physical volume is a file `pv.DISK` with the name of its group, a volume a file `lv.GROUP.NAME` with its size, and its tags, if any. An
#: open one has a file `open.GROUP.NAME`, one that is not plain `type.GROUP.NAME` with its type. It sees no disk but those of the filter.
LVM = r"""
seen() { case $config in *"a|^$XENDD_ROOT/dev/$1\$|"*) return 0 ;; *) return 1 ;; esac; }
set +f
command=$1
shift
config=$2
shift 2
cd "$XENDD_ROOT/lvm" || exit 9
case $command in
pvs)
    for file in pv.*; do
        disk=${file#pv.}
        [ -e "$file" ] || continue
        if seen "$disk"; then printf '  %s|%s\n' "$XENDD_ROOT/dev/$disk" "$(cat "$file")"; fi
    done
    [ ! -e missing ] || printf '  [unknown]|%s\n' "$(cat missing)"
    ;;
vgcreate)
    group=$1
    shift
    for disk; do
        seen "${disk##*/}" || exit 5
        printf '%s' "$group" >"pv.${disk##*/}"
    done
    ;;
vgs) echo '  4194304' ;;
lvs)
    for last; do :; done
    case $last in
    */*)
        last=${last%/*}.${last#*/}
        [ -e "lv.$last" ] || { echo '  Failed to find it \o/' >&2; exit 5; }
        type=-
        [ ! -e "type.$last" ] || read -r type <"type.$last"
        if [ -e "open.$last" ]; then echo "  ${type}wi-ao----|open"; else echo "  ${type}wi-a-----|"; fi
        ;;
    *)
        for file in "lv.$last."*; do
            [ ! -e "$file" ] || printf '  %s|%s\n' "${file#"lv.$last."}" "$(cat "$file")"
        done
        ;;
    esac
    ;;
lvchange) printf '|%s' "$2" >>"lv.${3%/*}.${3#*/}" ;;
lvcreate)
    while [ $# -gt 1 ]; do
        case $1 in
        --size) size=${2%b} ;;
        --name) name=$2 ;;
        esac
        shift
    done
    [ ! -e "lv.$1.$name" ] || { echo "  Logical Volume \"$name\" already exists" >&2; exit 5; }
    printf '%s' "$size" >"lv.$1.$name"
    mkdir -p "$XENDD_ROOT/dev/$1"
    printf secret >"$XENDD_ROOT/dev/$1/$name"
    ;;
lvextend) printf '%s' "${2%b}" >"lv.${3%/*}.${3#*/}" ;;
lvrename)
    mv "lv.$1.$2" "lv.$1.$3"
    mv "$XENDD_ROOT/dev/$1/$2" "$XENDD_ROOT/dev/$1/$3"
    ;;
lvremove) rm "lv.${2%/*}.${2#*/}" ;;
esac
"""
WIPEFS = r"""
for last; do :; done
[ ! -e "$XENDD_ROOT/signatures/${last##*/}" ] || cat "$XENDD_ROOT/signatures/${last##*/}"
"""
#: Orders are files below orders/, and reports go to $STORE.
READ = r"""
case $1 in
volumes/*) cat "$XENDD_ROOT/orders/${1#volumes/}" 2>/dev/null ;;
*/orders/*) cat "$XENDD_ROOT/answered/${1##*/}" 2>/dev/null ;;
*) grep -q "^$1=" "$STORE" ;;
esac
"""


#: How a volume is marked that is to be overwritten.
TAG = "xendd.removed"


class StorageDomain(FakeDomain):
    """A domain with disks."""

    def __init__(self, directory: Path, shell: t.Sequence[str]) -> None:
        super().__init__(directory, shell)
        for name, effect in {"lvm": LVM, "wipefs": WIPEFS, "xenstore-read": READ}.items():
            path = directory / "bin" / name
            path.write_text(STUB + effect, encoding="utf-8")
            path.chmod(0o755)
        (self.root / "usr/lib/xendd/volumes").write_text(
            (Path(__file__).resolve().parents[4] / "roles/guest_image/files/volumes").read_text(encoding="utf-8"), encoding="utf-8"
        )
        for name in ("lvm", "orders", "sys/block", "dev"):
            (self.root / name).mkdir(parents=True)
        self.add_backends()
        self.write("stay", "")
        self.write("open", "")
        self.write("events", "")

    def add_disk(self, name: str, serial: str = "", page: bytes = b"") -> None:
        (self.root / "sys/block" / name / "device").mkdir(parents=True)
        if serial:
            self.write(f"sys/block/{name}/device/serial", serial)
        if page:
            (self.root / f"sys/block/{name}/device/vpd_pg80").write_bytes(page)

    def lvm(self) -> dict[str, str]:
        """What LVM has."""
        return {
            path.name: path.read_text(encoding="utf-8")
            for path in (self.root / "lvm").iterdir()
            if not path.name.startswith(("open", "type"))
        }

    def order(self, identity: str, *texts: str) -> None:
        """What dom0 writes in one transaction."""
        for path in (self.root / "orders").iterdir():
            path.unlink()
        for number, text in enumerate(texts):
            self.write(f"orders/{number}", f"{text}\n")
        self.write("orders/id.new", f"{identity}\n")
        (self.root / "orders/id.new").rename(self.root / "orders/id")
        with (self.root / "events").open("a", encoding="utf-8") as events:
            events.write("volumes\n")

    def answers(self, identity: str, count: int) -> list[str]:
        """Wait until orders were carried out, and return the answers."""
        until(lambda: identity in self.reports(f"{TOP}/orders"), 60)
        return [self.reports(f"{TOP}/orders/{number}")[-1].removeprefix(f"{identity} ") for number in range(count)]

    def mutations(self) -> list[str]:
        read = ("lvm pvs ", "lvm vgs ", "lvm lvs ", "lvm vgchange ")
        return [line for line in self.calls if line.startswith("lvm ") and not line.startswith(read)]


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def domain(tmp_path: Path, request: pytest.FixtureRequest) -> StorageDomain:
    return StorageDomain(tmp_path, request.param)


def settle(domain: StorageDomain, *words: str) -> tuple[str, str]:
    """Start it, and return status and error when it serves or cannot."""
    domain.store_file.unlink(missing_ok=True)
    with domain.running(" ".join(["xendd.backend=1", *words])):
        until(lambda: domain.store_file.exists() and domain.reports(STATUS)[-1] in ("ready", "error"))
        return domain.status


def test_a_group_is_made_on_disks_that_hold_nothing_and_used_from_then_on(domain: StorageDomain) -> None:
    for disk in ("xvdb", "xvdc", "xvdd"):
        domain.add_disk(disk)
    words = ("xendd.volumes=vg0,xvdb,xvdc", "xendd.volumes=vg1,xvdd", "xendd.bridge=xenbr0")
    assert settle(domain, *words) == ("ready", "")
    assert domain.lvm() == {"pv.xvdb": "vg0", "pv.xvdc": "vg0", "pv.xvdd": "vg1"}
    assert (domain.reports(f"{TOP}/groups"), domain.reports(f"{TOP}/volumes")) == (["2"], ["0"])
    assert [domain.reports(f"{TOP}/groups/{number}") for number in (0, 1)] == [["vg0 4194304"], ["vg1 4194304"]]
    assert len(domain.mutations()) == 2
    # LVM sees the disks of one group at a time, and nothing else.
    (line,) = [line for line in domain.mutations() if "xvdd" in line]
    assert f'filter=["a|^{domain.root}/dev/xvdd$|","r|.*|"]' in line and "udev_rules=0" in line
    domain.calls_file.unlink()
    assert settle(domain, *words) == ("ready", "")
    assert domain.mutations() == []
    activated = [line for line in domain.calls if line.startswith("lvm vgchange ")]
    assert [line.rsplit(" ", 1)[1] for line in activated] == ["vg0", "vg1"]


@pytest.mark.parametrize("signature", ["ext4", "crypto_LUKS", "zfs_member", "gpt", "LVM2_member"])
def test_a_disk_with_a_signature_is_refused(domain: StorageDomain, signature: str) -> None:
    for disk in ("xvdb", "xvdc", "xvdd"):
        domain.add_disk(disk)
    domain.write("signatures/xvdc", f"{signature}\ndos\n")
    status, error = settle(domain, "xendd.volumes=vg0,xvdb,xvdc", "xendd.volumes=vg1,xvdd")
    assert status == "error"
    assert f"vg0: {domain.root}/dev/xvdc is not empty: it has the signature of {signature} dos" in error and "wipefs --all" in error
    # The other group is served.
    assert domain.lvm() == {"pv.xvdd": "vg1"}
    assert domain.reports(f"{TOP}/groups/0") == ["vg1 4194304"]


def test_a_disk_that_cannot_be_read_is_refused(domain: StorageDomain) -> None:
    domain.add_disk("xvdb")
    domain.fail = "wipefs *"
    status, error = settle(domain, "xendd.volumes=vg0,xvdb")
    assert (status, domain.lvm()) == ("error", {})
    assert "xvdb cannot be read: stub: no" in error


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"pv.xvdb": "other"}, "none belongs to it ({root}/dev/xvdb is of other)"),
        # As after a power cut, while it was made.
        (
            {"pv.xvdb": ""},
            "none belongs to it ({root}/dev/xvdb is of no volume group). If nothing on them is needed, remove that with wipefs",
        ),
        ({"pv.xvdb": "vg0"}, "1 belong to it, and it has 0 others"),
        ({"pv.xvdb": "vg0", "pv.xvdc": "vg0", "missing": "vg0"}, "2 belong to it, and it has 1 others"),
        ({"pv.xvdb": "vg0", "pv.xvdc": "vg1"}, "1 belong to it ({root}/dev/xvdc is of vg1)"),
    ],
)
def test_a_group_that_is_not_made_of_these_disks_is_not_guessed(domain: StorageDomain, state: dict[str, str], said: str) -> None:
    for disk in ("xvdb", "xvdc"):
        domain.add_disk(disk)
    for name, text in state.items():
        domain.write(f"lvm/{name}", text)
    status, error = settle(domain, "xendd.volumes=vg0,xvdb,xvdc")
    assert (status, domain.lvm(), domain.mutations()) == ("error", state, [])
    assert said.format(root=domain.root) in error
    assert not [line for line in domain.calls if "vgchange" in line]


@pytest.mark.parametrize("command", ["pvs", "vgcreate", "vgchange"])
def test_what_lvm_says_is_reported(domain: StorageDomain, command: str) -> None:
    domain.add_disk("xvdb")
    domain.fail = f"lvm {command} *"
    status, error = settle(domain, "xendd.volumes=vg0,xvdb")
    assert status == "error" and "vg0: " in error and "stub: no" in error
    assert domain.reports(f"{TOP}/groups") == ["0"]


def test_disks_by_their_serial_numbers(domain: StorageDomain) -> None:
    domain.add_disk("sda", page=b"\x00\x80\x00\x14          QEMU DD1  ")
    domain.add_disk("nvme0n1", serial="S4EW\n")
    domain.add_disk("nvme0c0n1", serial="S4EW\n")
    domain.write("sys/block/nvme0c0n1/hidden", "1\n")
    domain.add_disk("sdb", serial="")
    assert settle(domain, "xendd.volumes=vg0,serial:QEMU_DD1,serial:S4EW") == ("ready", "")
    assert domain.lvm() == {"pv.sda": "vg0", "pv.nvme0n1": "vg0"}


def test_a_serial_number_that_two_disks_have(domain: StorageDomain) -> None:
    for disk in ("sda", "sdb"):
        domain.add_disk(disk, serial="1")
    status, error = settle(domain, "xendd.volumes=vg0,serial:1")
    assert (status, domain.lvm()) == ("error", {})
    assert f"vg0: several disks are serial:1: {domain.root}/dev/sda {domain.root}/dev/sdb" in error


def test_two_names_of_one_disk(domain: StorageDomain) -> None:
    domain.add_disk("xvdb", serial="1")
    for words in (["xendd.volumes=vg0,xvdb,serial:1"], ["xendd.volumes=vg0,xvdb", "xendd.volumes=vg1,serial:1"]):
        status, error = settle(domain, *words)
        assert status == "error" and "serial:1 is" in error and "which is listed already" in error
        assert "vg1" not in domain.lvm().values()


def test_a_disk_that_does_not_come(domain: StorageDomain) -> None:
    with domain.fast_clock():
        status, error = settle(domain, "xendd.volumes=vg0,xvdb")
    assert (status, error) == ("error", "vg0: no disk xvdb appeared within 30 s")


def test_a_disk_that_goes_away(domain: StorageDomain) -> None:
    domain.add_disk("xvdb")
    with domain.running("xendd.backend=1 xendd.volumes=vg0,xvdb"):
        until(lambda: domain.store_file.exists() and domain.reports(STATUS)[-1] == "ready")
        domain.devd_is("S")
        block = domain.root / "sys/block/xvdb"
        block.rename(domain.root / "aside")
        until(lambda: domain.status == ("error", f"the disk {domain.root}/dev/xvdb of vg0 is gone"))
        (domain.root / "aside").rename(block)
        until(lambda: domain.status == ("ready", ""))


def test_a_network_with_dhcp_is_no_disk(domain: StorageDomain) -> None:
    domain.add_disk("xvdb")
    with domain.running("xendd.backend=1 xendd.volumes=vg0,xvdb xendd.bridge=lan,dhcp=10.7.0.8-10.7.0.14"):
        until(lambda: domain.reports(STATUS)[-1:] == ["ready"])
        domain.devd_is("S")
        time.sleep(0.6)
        assert domain.status == ("ready", "")


# Orders


def test_orders(domain: StorageDomain) -> None:
    domain.add_disk("xvdb")
    domain.add_disk("xvdc")
    with domain.running("xendd.backend=1 xendd.volumes=vg0,xvdb xendd.volumes=vg1,xvdc"):
        domain.order("one", "make vg0 root 8388608", "make vg1 root 4194304", "make vg0 root 4194304", "burn vg0", "")
        answers = domain.answers("one", 5)
        assert answers[:2] == ["done", "done"]
        assert answers[2] == 'refused   Logical Volume "root" already exists'
        assert answers[3:] == ["refused there is no such order: burn vg0", "refused there is no such order: "]
        assert domain.reports(f"{TOP}/volumes")[-1] == "2"
        assert domain.reports(f"{TOP}/volumes/0") == ["vg0 root 8388608"]
        assert domain.reports(f"{TOP}/volumes/1") == ["vg1 root 4194304"]
        domain.order("two", "grow vg0 root 16777216")
        assert domain.answers("two", 1) == ["done"]
        assert domain.reports(f"{TOP}/volumes/0")[-1] == "vg0 root 16777216"
        # The same orders are not carried out twice.
        before = len(domain.calls)
        domain.order("two", "grow vg0 root 33554432")
        domain.order("three")
        domain.answers("three", 0)
        assert not [line for line in domain.calls[before:] if "lvextend" in line]


def test_a_removed_volume_is_overwritten(domain: StorageDomain) -> None:
    domain.add_disk("xvdb")
    with domain.running("xendd.backend=1 xendd.volumes=vg0,xvdb"):
        domain.order("one", "make vg0 root 2097152", "make vg0 busy 1048576")
        domain.answers("one", 2)
        domain.write("lvm/open.vg0.busy", "")
        domain.order("two", "remove vg0 root", "remove vg0 busy", "remove vg0 none")
        # A backslash would begin an escape sequence.
        assert domain.answers("two", 3) == ["done", "refused it is in use in this domain", "refused   Failed to find it /o/"]
        until(lambda: domain.lvm() == {"pv.xvdb": "vg0", "lv.vg0.busy": "1048576"})
        assert (domain.root / "dev/vg0/removed.root").read_bytes() == bytes(2097152)
        assert (domain.root / "dev/vg0/busy").read_text(encoding="utf-8") == "secret"
        assert domain.reports(f"{TOP}/volumes/0")[-1] == "vg0 busy 1048576"
        until(lambda: not (domain.root / "run/xendd/erasing").exists())


def test_a_volume_that_is_removed_while_another_is_overwritten(domain: StorageDomain) -> None:
    domain.add_disk("xvdb")
    dd = domain.directory / "bin" / "dd"
    dd.write_text(STUB + 'while [ -e "$XENDD_ROOT/slow" ]; do sleep 0.05; done\nPATH=${PATH#*:} exec dd "$@"\n', encoding="utf-8")
    dd.chmod(0o755)
    domain.write("slow", "")
    with domain.running("xendd.backend=1 xendd.volumes=vg0,xvdb"):
        domain.order("one", "make vg0 root 1048576", "make vg0 more 1048576")
        domain.answers("one", 2)
        domain.order("two", "remove vg0 root")
        domain.answers("two", 1)
        until(lambda: any(line.startswith("dd ") for line in domain.calls))
        domain.order("three", "remove vg0 more")
        domain.answers("three", 1)
        # The one that this order started has found the other at work, and has ended.
        time.sleep(1)
        (domain.root / "slow").unlink()
        until(lambda: domain.lvm() == {"pv.xvdb": "vg0"})
    for name in ("root", "more"):
        assert (domain.root / f"dev/vg0/removed.{name}").read_bytes() == bytes(1048576)


def test_overwriting_begins_again_after_a_restart(domain: StorageDomain) -> None:
    domain.add_disk("xvdb")
    domain.write("lvm/pv.xvdb", "vg0")
    domain.write("lvm/lv.vg0.removed.root", f"1536|other,{TAG}")
    domain.write("dev/vg0/removed.root", "secret")
    (domain.root / "run/xendd/erasing").mkdir(parents=True)
    with domain.running("xendd.backend=1 xendd.volumes=vg0,xvdb"):
        until(lambda: domain.lvm() == {"pv.xvdb": "vg0"})
    assert (domain.root / "dev/vg0/removed.root").read_bytes() == bytes(1536)
    # Guests are not told of it.
    assert domain.reports(f"{TOP}/volumes") == ["0"]


def test_a_volume_that_cannot_be_overwritten_stays(domain: StorageDomain) -> None:
    """Its device is not there: a file in its place would fill the memory."""
    domain.add_disk("xvdb")
    domain.write("lvm/pv.xvdb", "vg0")
    domain.write("lvm/lv.vg0.removed.root", f"1048576|{TAG}")
    with domain.running("xendd.backend=1 xendd.volumes=vg0,xvdb"):
        domain.order("one")
        domain.answers("one", 0)
        until(lambda: not (domain.root / "run/xendd/erasing").exists())
    assert domain.lvm() == {"pv.xvdb": "vg0", "lv.vg0.removed.root": f"1048576|{TAG}"}
    assert not (domain.root / "dev/vg0/removed.root").exists()


def test_only_what_was_removed_here_is_overwritten(domain: StorageDomain) -> None:
    """A group that was made elsewhere may have volumes of such names, and with such tags."""
    domain.add_disk("xvdb")
    state = {"pv.xvdb": "vg0", "lv.vg0.removed.root": "1048576", "lv.vg0.removed.more": "1048576|removed", "lv.vg0.root": f"1048576|{TAG}"}
    for name, text in state.items():
        domain.write(f"lvm/{name}", text)
        if name.startswith("lv."):
            domain.write(f"dev/vg0/{name.removeprefix('lv.vg0.')}", "theirs")
    with domain.running("xendd.backend=1 xendd.volumes=vg0,xvdb"):
        domain.order("one", "remove vg0 root")
        assert domain.answers("one", 1) == [
            "refused it would be called removed.root until it is overwritten, and there is a volume of that name already"
        ]
        domain.order("two")
        domain.answers("two", 0)
        time.sleep(0.5)
    assert domain.lvm() == state
    assert {path.read_text(encoding="utf-8") for path in (domain.root / "dev/vg0").iterdir()} == {"theirs"}


@pytest.mark.parametrize("kind", ["o", "s", "t", "V", "C"])
def test_what_others_go_with_is_not_removed(domain: StorageDomain, kind: str) -> None:
    """LVM would remove the snapshots of a volume with it."""
    domain.add_disk("xvdb")
    domain.write("lvm/pv.xvdb", "vg0")
    domain.write("lvm/lv.vg0.old", "1048576")
    domain.write("lvm/type.vg0.old", f"{kind}\n")
    # It got a snapshot after it was removed.
    domain.write("lvm/lv.vg0.removed.root", f"1048576|{TAG}")
    domain.write("lvm/type.vg0.removed.root", f"{kind}\n")
    domain.write("dev/vg0/removed.root", "secret")
    state = domain.lvm()
    with domain.running("xendd.backend=1 xendd.volumes=vg0,xvdb"):
        domain.order("one", "remove vg0 old")
        (answer,) = domain.answers("one", 1)
        assert answer.startswith("refused it is a snapshot, has snapshots, or is a pool or a part of one: remove it by hand")
        time.sleep(0.5)
    assert (domain.lvm(), domain.mutations()) == (state, [])
    assert (domain.root / "dev/vg0/removed.root").read_text(encoding="utf-8") == "secret"


def test_a_removed_volume_that_is_in_use_is_not_overwritten(domain: StorageDomain) -> None:
    domain.add_disk("xvdb")
    domain.write("lvm/pv.xvdb", "vg0")
    domain.write("lvm/lv.vg0.removed.root", f"1048576|{TAG}")
    domain.write("lvm/open.vg0.removed.root", "")
    domain.write("dev/vg0/removed.root", "secret")
    with domain.running("xendd.backend=1 xendd.volumes=vg0,xvdb"):
        domain.order("one")
        domain.answers("one", 0)
        until(lambda: not (domain.root / "run/xendd/erasing").exists())
        assert (domain.root / "dev/vg0/removed.root").read_text(encoding="utf-8") == "secret"
        (domain.root / "lvm/open.vg0.removed.root").unlink()
        domain.order("two")
        until(lambda: domain.lvm() == {"pv.xvdb": "vg0"})


def test_orders_that_were_carried_out_before_a_restart_are_not_carried_out_again(domain: StorageDomain) -> None:
    domain.add_disk("xvdb")
    domain.write("lvm/pv.xvdb", "vg0")
    domain.write("lvm/lv.vg0.a", "4194304")
    domain.write("answered/0", "one done\n")
    domain.write("answered/1", "older done\n")
    with domain.running("xendd.backend=1 xendd.volumes=vg0,xvdb"):
        domain.order("one", "remove vg0 a", "make vg0 b 4194304")
        until(lambda: "one" in domain.reports(f"{TOP}/orders"), 60)
    assert domain.lvm() == {"pv.xvdb": "vg0", "lv.vg0.a": "4194304", "lv.vg0.b": "4194304"}
    assert (domain.reports(f"{TOP}/orders/0"), domain.reports(f"{TOP}/orders/1")) == ([], ["one done"])


def test_a_group_whose_volumes_cannot_be_listed_is_not_reported_as_empty(domain: StorageDomain) -> None:
    domain.add_disk("xvdb")
    domain.write("lvm/pv.xvdb", "vg0")
    domain.write("lvm/lv.vg0.a", "4194304")
    domain.fail = "lvm lvs *"
    settle(domain, "xendd.volumes=vg0,xvdb")
    assert (domain.reports(f"{TOP}/groups"), domain.reports(f"{TOP}/volumes")) == (["0"], ["0"])


def test_orders_do_not_end_without_a_report(domain: StorageDomain) -> None:
    """As when a quota of XenStore is used up: dom0 would compare with what was reported before."""
    domain.add_disk("xvdb")
    domain.fail = f"xenstore-write *{TOP}/volumes 1 *"
    with domain.running("xendd.backend=1 xendd.volumes=vg0,xvdb"):
        domain.order("one", "make vg0 a 4194304")
        until(lambda: domain.reports(f"{TOP}/orders/0") == ["one done"])
        time.sleep(0.5)
        assert domain.reports(f"{TOP}/orders") == []


def test_orders_that_were_withdrawn_are_not_carried_out(domain: StorageDomain) -> None:
    domain.add_disk("xvdb")
    # The first order takes until dom0 has withdrawn the others.
    lvm = domain.directory / "bin" / "lvm"
    text = lvm.read_text(encoding="utf-8")
    slow = 'case $1 in lvcreate) while [ -e "$XENDD_ROOT/slow" ]; do sleep 0.05; done ;; esac\n'
    lvm.write_text(text.replace(STUB, STUB + slow), encoding="utf-8")
    domain.write("slow", "")
    with domain.running("xendd.backend=1 xendd.volumes=vg0,xvdb"):
        domain.order("one", "make vg0 a 4194304", "make vg0 b 4194304")
        until(lambda: [line for line in domain.calls if "lvcreate" in line])
        domain.order("two")
        (domain.root / "slow").unlink()
        domain.answers("two", 0)
        assert domain.lvm() == {"pv.xvdb": "vg0", "lv.vg0.a": "4194304"}
        assert domain.reports(f"{TOP}/orders/1") == []
        assert domain.reports(f"{TOP}/orders") == ["two"]


def test_a_long_reason_fits_into_xenstore(domain: StorageDomain) -> None:
    domain.add_disk("xvdb")
    with domain.running("xendd.backend=1 xendd.volumes=vg0,xvdb"):
        domain.order("one", "burn " + "x" * 3000)
        (answer,) = domain.answers("one", 1)
    assert 900 < len(answer) < 1100
