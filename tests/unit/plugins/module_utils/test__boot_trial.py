# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Boot options that are tried once, on a fake host whose shell files run in a shell."""

from __future__ import annotations

import typing as t
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._boot_trial import TRIAL_FILE
from ansible_collections.xen.driver_domains.plugins.module_utils._dom0_boot import (
    GRUB_FILE,
    BootOptions,
    plan_boot,
    proved_by_host,
    reboot_reasons,
    refuse_local_proof,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import Refused
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.tests.unit.fakes.grub import Booted, FakeGrubHost

OPTIONS = BootOptions(hypervisor=("dom0_mem=768M,max:768M",), kernel=("nosmt",), hide=("0000:00:04.0",))
OTHERS = replace(OPTIONS, hide=("0000:00:06.0",))
HIDE = "xen-pciback.hide=(0000:00:04.0)"
PLAIN = "Debian GNU/Linux"
XEN = "Debian GNU/Linux, with Xen hypervisor"
TRIAL = "Xen, tried once (xen.driver_domains)"


def apply(grub: FakeGrubHost, options: BootOptions | None, *, booted: Booted | None = None, force: t.Sequence[str] = ()) -> Plan:
    """Plan and apply on a host that runs what was booted, and has nothing of the options in effect otherwise."""
    proved = options is not None and booted is not None and proved_by_host(options, ["something"], [], booted.kernel)
    fake: t.Any = grub
    plan = plan_boot(options, fake, str(grub.root), proved=proved)
    plan.results = plan.apply(force)
    return plan


def trial_options(booted: Booted) -> list[str]:
    return [word for word in booted.kernel.split() if word.startswith("xen_driver_domains.trial=")]


@pytest.fixture
def grub(tmp_path: Path) -> FakeGrubHost:
    return FakeGrubHost(tmp_path)


def permanent(grub: FakeGrubHost) -> FakeGrubHost:
    """A host that runs Xen, with other options than those to be tried."""
    fake: t.Any = grub
    plan_boot(OTHERS, fake, str(grub.root)).apply()
    assert grub.boot().entry == XEN
    return grub


@pytest.mark.parametrize("distributor", ["Debian", "Bob'\\\\''s own"])
def test_what_the_user_has_added_to_the_entries_stays(grub: FakeGrubHost, distributor: str) -> None:
    """Such as `--unrestricted`, without which a host with `superusers` waits for a password. The title is quoted as GRUB does."""
    script = grub.root / "etc/grub.d/20_linux_xen"
    text = script.read_text().replace("--class xen", "--class xen --unrestricted").replace("'Debian GNU", f"'{distributor} GNU")
    script.write_text(text.replace("-1' {", "-1' --users root {"))
    apply(grub, OPTIONS)
    words = "--class debian --class xen --unrestricted --id xen-driver-domains-trial --users root"
    assert f"\nmenuentry '{TRIAL}' {words} {{\n" in grub.configuration
    assert grub.boot().entry == TRIAL


def test_debian_boots_xen_by_default_once_it_is_installed(grub: FakeGrubHost) -> None:
    assert grub.boot().entry == XEN


def test_a_prepared_host_keeps_its_default_when_xen_is_installed(tmp_path: Path) -> None:
    grub = FakeGrubHost(tmp_path, xen=False)
    fake: t.Any = grub
    plan = plan_boot(OPTIONS, fake, str(tmp_path), proved=False, prepare=True)
    plan.apply()
    assert [action.description for action in plan.actions] == [f"write {tmp_path}{GRUB_FILE}"]
    grub.install_xen()
    assert (grub.boot().entry, grub.boot().entry) == (PLAIN, PLAIN)
    assert plan_boot(OPTIONS, fake, str(tmp_path), proved=False, prepare=True).actions == []
    apply(grub, OPTIONS)
    assert (grub.boot().entry, grub.boot().entry) == (TRIAL, PLAIN)
    apply(grub, None)
    assert not (tmp_path / GRUB_FILE[1:]).exists()


def test_a_host_that_has_xen_installed_is_prepared_at_once(grub: FakeGrubHost) -> None:
    fake: t.Any = grub
    plan_boot(OPTIONS, fake, str(grub.root), proved=False, prepare=True).apply()
    assert grub.boot().entry == PLAIN


def test_a_host_that_has_booted_xen_needs_no_preparation(grub: FakeGrubHost) -> None:
    fake: t.Any = permanent(grub)
    assert plan_boot(OPTIONS, fake, str(grub.root), proved=False, prepare=True).actions == []


def test_the_first_boot_into_xen_is_tried_once(grub: FakeGrubHost) -> None:
    assert apply(grub, OPTIONS).results["trial"] == "next_boot"
    tried = grub.boot()
    assert (tried.entry, "dom0_mem=768M,max:768M" in tried.xen.split()) == (TRIAL, True)
    words = tried.kernel.split()
    assert words[words.index("quiet") :] == ["quiet", "panic=10", "nosmt", HIDE, *trial_options(tried)]
    for _boot in range(2):
        assert grub.boot() == Booted(PLAIN, "", "/boot/vmlinuz-6 root=UUID=1 ro  quiet")


def test_a_power_cut_right_after_a_run_loses_nothing_of_it(grub: FakeGrubHost) -> None:
    apply(grub, OPTIONS)
    grub.cut_power()
    tried = grub.boot()
    assert tried.entry == TRIAL
    apply(grub, OPTIONS, booted=tried)
    grub.cut_power()
    assert grub.boot().entry == XEN
    apply(grub, None)
    grub.cut_power()
    assert HIDE not in grub.configuration


def test_what_was_reached_becomes_permanent(grub: FakeGrubHost) -> None:
    apply(grub, OPTIONS)
    plan = apply(grub, OPTIONS, booted=grub.boot())
    assert plan.results["trial"] == "none"
    assert (grub.root / GRUB_FILE[1:]).read_text() == OPTIONS.grub_file()
    assert not (grub.root / TRIAL_FILE[1:]).exists()
    assert grub.environment == {"next_entry": ""}
    for _boot in range(2):
        now = grub.boot()
        assert (now.entry, HIDE in now.kernel.split(), trial_options(now)) == (XEN, True, [])
    assert apply(grub, OPTIONS).actions == []


def test_a_pending_trial_is_not_planned_again(grub: FakeGrubHost) -> None:
    apply(grub, OPTIONS)
    again = apply(grub, OPTIONS)
    assert (again.actions, again.results["trial"]) == ([], "next_boot")


def test_planning_a_trial_writes_nothing(grub: FakeGrubHost) -> None:
    before = {path: path.read_bytes() for path in grub.root.rglob("*") if path.is_file()}
    fake: t.Any = grub
    plan = plan_boot(OPTIONS, fake, str(grub.root), proved=False)
    assert [action.description for action in plan.actions][-1] == "boot the new options once, at the next boot"
    assert {path: path.read_bytes() for path in grub.root.rglob("*") if path.is_file()} == before


def test_a_failed_trial_is_refused_and_not_repeated(grub: FakeGrubHost) -> None:
    apply(grub, OPTIONS)
    grub.boot()
    back = grub.boot()
    with pytest.raises(Refused, match=r"came back as it was.*dom0_mem=768M.*hide=\(0000:00:04.0\).*\[failed_trial\].*runs as before"):
        apply(grub, OPTIONS, booted=back)
    assert grub.boot().entry == PLAIN


def test_a_failed_trial_is_repeated_when_the_options_change(grub: FakeGrubHost) -> None:
    apply(grub, OPTIONS)
    grub.boot()
    grub.boot()
    assert apply(grub, OTHERS).results["trial"] == "next_boot"
    tried = grub.boot()
    assert (tried.entry, "(0000:00:06.0)" in tried.kernel, HIDE in tried.kernel) == (TRIAL, True, False)
    assert grub.boot().entry == PLAIN


def test_a_failed_trial_is_repeated_when_the_user_says_so(grub: FakeGrubHost) -> None:
    apply(grub, OPTIONS)
    grub.boot()
    grub.boot()
    plan = apply(grub, OPTIONS, force=["failed_trial"])
    assert "Forced" in plan.warnings[0]
    assert (grub.boot().entry, grub.boot().entry) == (TRIAL, PLAIN)


def test_changed_options_of_a_host_that_runs_xen_are_tried_beside_the_old_ones(grub: FakeGrubHost) -> None:
    permanent(grub)
    before = (grub.root / GRUB_FILE[1:]).read_text()
    apply(grub, OPTIONS)
    assert (grub.root / GRUB_FILE[1:]).read_text() == before
    tried, back = grub.boot(), grub.boot()
    assert (tried.entry, back.entry) == (TRIAL, XEN)
    assert tried.kernel.count("hide=") == 1
    assert ("(0000:00:04.0)" in tried.kernel, "(0000:00:06.0)" in back.kernel) == (True, True)


def test_a_trial_that_is_no_longer_wanted_is_forgotten(grub: FakeGrubHost) -> None:
    permanent(grub)
    apply(grub, OPTIONS)
    plan = apply(grub, OTHERS)
    assert [action.description.replace(str(grub.root), "") for action in plan.actions] == [
        "forget the boot options that were tried once",
        f"empty {TRIAL_FILE}",
        "update-grub",
        f"remove {TRIAL_FILE}",
    ]
    assert (grub.boot().entry, grub.environment) == (XEN, {})
    assert apply(grub, OTHERS).actions == []


def test_undoing_everything_takes_back_a_trial(grub: FakeGrubHost) -> None:
    apply(grub, OPTIONS)
    apply(grub, None)
    assert [(grub.root / name[1:]).exists() for name in (GRUB_FILE, TRIAL_FILE)] == [False, False]
    assert grub.environment == {}
    assert apply(grub, None).actions == []


def test_an_entry_that_somebody_else_boots_once_is_left_alone(grub: FakeGrubHost) -> None:
    permanent(grub)
    grub._edit("set", ["next_entry=gnulinux-simple-1"])
    assert apply(grub, OTHERS).actions == []
    assert grub.boot().entry == PLAIN


@pytest.mark.parametrize(
    ("settings", "saved", "entry"),
    [
        ("GRUB_DEFAULT=saved\n", "gnulinux-simple-1", PLAIN),
        ("GRUB_DEFAULT='Debian GNU/Linux'\n", "", PLAIN),
        ("GRUB_DEFAULT=1\n", "", XEN),
        ("", "", PLAIN),
    ],
    ids=["saved", "by name", "by number", "none"],
)
def test_the_default_that_the_user_chose_comes_back(tmp_path: Path, settings: str, saved: str, entry: str) -> None:
    grub = FakeGrubHost(tmp_path, settings)
    if saved:
        grub._edit("set", [f"saved_entry={saved}"])
    apply(grub, OPTIONS)
    assert (grub.boot().entry, grub.boot().entry) == (TRIAL, entry)


@pytest.mark.parametrize(
    ("kind", "abstraction", "reason"),
    [
        ("ext2", "lvm", "on lvm"),
        ("ext2", "diskfilter\nmdraid1x", "on diskfilter"),
        ("ext2", "cryptodisk luks2", "on cryptodisk luks2"),
        ("btrfs", "", "on btrfs"),
        ("zfs", "", "on zfs"),
        ("unknown", "", "it is not known whether GRUB can write"),
    ],
)
def test_where_grub_cannot_write_nothing_is_booted_once(tmp_path: Path, kind: str, abstraction: str, reason: str) -> None:
    grub = FakeGrubHost(tmp_path, kind=kind, abstraction=abstraction)
    plan = apply(grub, OPTIONS)
    assert plan.results["trial"] == "impossible"
    assert reason in plan.warnings[0]
    assert (grub.environment, (grub.root / TRIAL_FILE[1:]).exists()) == ({}, False)
    assert grub.boot().entry == XEN
    assert apply(grub, OPTIONS).actions == []


@pytest.mark.parametrize("kind", ["ext2", "xfs", "fat"])
def test_where_grub_can_write(tmp_path: Path, kind: str) -> None:
    assert apply(FakeGrubHost(tmp_path, kind=kind), OPTIONS).results["trial"] == "next_boot"


@pytest.mark.parametrize("step", ["try", "confirm", "undo"])
@pytest.mark.parametrize("before", ["debian", "xen"])
def test_the_next_run_completes_one_that_was_interrupted_anywhere(tmp_path: Path, step: str, before: str) -> None:
    for number in range(14):
        grub = FakeGrubHost(tmp_path / str(number))
        if before == "xen":
            permanent(grub)
        booted = None
        if step != "try":
            apply(grub, OPTIONS)
            booted = grub.boot() if step == "confirm" else None
        options = None if step == "undo" else OPTIONS
        fake: t.Any = grub
        for action in plan_boot(options, fake, str(grub.root), proved=step == "confirm").actions[:number]:
            action.apply()
        apply(grub, options, booted=booted)
        assert apply(grub, options, booted=booted).actions == []
        first, second = grub.boot(), grub.boot()
        if step == "try":
            assert (first.entry, second.entry) == (TRIAL, XEN if before == "xen" else PLAIN)
            assert HIDE in first.kernel.split()
        elif step == "confirm":
            assert (first.entry, second.entry, HIDE in first.kernel.split()) == (XEN, XEN, True)
        else:
            assert (first.entry, "hide=" in first.kernel) == (XEN, False)


@pytest.mark.parametrize(
    ("tag", "reasons", "missing", "proved"),
    [
        (True, ["Xen runs without dom0_mem=768M,max:768M"], [], True),
        (False, [], [], True),
        (False, ["Xen runs without dom0_mem=768M,max:768M"], [], False),
        (False, [], ["0000:00:04.0"], False),
    ],
    ids=["booted by the trial", "has everything", "lacks an option", "a device is not held"],
)
def test_what_a_host_shows(grub: FakeGrubHost, tag: bool, reasons: list[str], missing: list[t.Any], proved: bool) -> None:
    apply(grub, OPTIONS)
    line = grub.boot().kernel if tag else "quiet"
    assert proved_by_host(OPTIONS, reasons, missing, line) is proved
    assert not proved_by_host(OTHERS, ["something"], [], line)


def run(grub: FakeGrubHost, options: BootOptions, booted: Booted, *, over_ssh: bool = True, force: t.Sequence[str] = ()) -> list[str]:
    """Do what the module does, on a host whose devices are all held, and return the reasons for a reboot."""
    fake: t.Any = grub
    reasons = reboot_reasons(options, booted.xen, booted.kernel, str(grub.root))
    proved = proved_by_host(options, reasons, [], booted.kernel, over_ssh=over_ssh)
    plan = plan_boot(options, fake, str(grub.root), proved=proved)
    refuse_local_proof(plan, options, booted.kernel, over_ssh)
    plan.apply(force)
    return reasons


def settled(grub: FakeGrubHost, options: BootOptions) -> Booted:
    """Boot Xen with permanent options."""
    for _boot in range(2):
        run(grub, options, grub.boot())
    return grub.boot()


@pytest.mark.parametrize(
    ("now", "reasons"),
    [
        (replace(OPTIONS, kernel=()), ["dom0's kernel runs with nosmt, which is no longer requested"]),
        (replace(OPTIONS, hypervisor=()), ["Xen runs with dom0_mem=768M,max:768M, which is no longer requested"]),
        (replace(OPTIONS, hypervisor=("dom0_mem=1G",)), ["Xen runs without dom0_mem=1G"]),
    ],
)
def test_a_boot_without_an_option_is_tried_once(grub: FakeGrubHost, now: BootOptions, reasons: list[str]) -> None:
    before = settled(grub, OPTIONS)
    assert [run(grub, now, before), run(grub, now, before)] == [reasons, reasons]
    tried, back = grub.boot(), grub.boot()
    assert (tried.entry, back) == (TRIAL, before)
    with pytest.raises(Refused, match="came back as it was"):
        run(grub, now, back)
    assert run(grub, now, tried) == []
    permanently = grub.boot()
    assert (permanently.entry, permanently.kernel == before.kernel, permanently.xen == before.xen) == (
        XEN,
        now.kernel == OPTIONS.kernel,
        now.hypervisor == OPTIONS.hypervisor,
    )
    assert (run(grub, now, permanently), apply(grub, now).actions) == ([], [])


def test_an_option_that_others_set_as_well_is_still_there(tmp_path: Path) -> None:
    grub = FakeGrubHost(tmp_path, "GRUB_CMDLINE_LINUX=nosmt\nGRUB_CMDLINE_XEN=iommu=on\n")
    now = replace(OPTIONS, kernel=())
    before = settled(grub, replace(OPTIONS, hypervisor=(*OPTIONS.hypervisor, "iommu=on")))
    assert run(grub, now, before) == []
    after = grub.boot()
    assert (after.entry, "nosmt" in after.kernel, "iommu=on" in after.xen) == (XEN, True, True)
    assert (run(grub, now, after), apply(grub, now).actions) == ([], [])


def test_what_others_set_only_now_does_not_ask_for_another_reboot(grub: FakeGrubHost) -> None:
    before, now = settled(grub, OPTIONS), replace(OPTIONS, kernel=())
    with (grub.root / "etc/default/grub").open("a") as settings:
        settings.write("GRUB_CMDLINE_LINUX=nosmt\n")
    assert run(grub, now, before) != []
    tried = grub.boot()
    assert (tried.entry, run(grub, now, tried)) == (TRIAL, [])
    assert run(grub, now, grub.boot()) == []


def test_a_shorter_list_of_hidden_devices_is_permanent_at_once(grub: FakeGrubHost) -> None:
    before = settled(grub, replace(OPTIONS, hide=("0000:00:04.0", "0000:00:06.0")))
    assert run(grub, OPTIONS, before) == []
    assert HIDE in grub.boot().kernel.split()


def test_a_host_that_is_cut_off_does_not_prove_its_own_trial(grub: FakeGrubHost) -> None:
    apply(grub, OPTIONS)
    tried = grub.boot()
    with pytest.raises(Refused, match=r"did not come over SSH \[local_trial\].*Run this over SSH before the next boot"):
        run(grub, OPTIONS, tried, over_ssh=False)
    assert grub.boot().entry == PLAIN


def test_a_host_without_ssh_proves_a_trial_by_force(grub: FakeGrubHost) -> None:
    apply(grub, OPTIONS)
    run(grub, OPTIONS, grub.boot(), over_ssh=False, force=["local_trial"])
    booted = grub.boot()
    assert booted.entry == XEN
    assert run(grub, OPTIONS, booted, over_ssh=False) == []


def test_other_options_that_are_set_at_the_console_are_tried(grub: FakeGrubHost) -> None:
    apply(grub, OPTIONS)
    run(grub, replace(OPTIONS, hide=()), grub.boot(), over_ssh=False)
    tried = grub.boot()
    assert (tried.entry, HIDE in tried.kernel.split(), grub.boot().entry) == (TRIAL, False, PLAIN)
