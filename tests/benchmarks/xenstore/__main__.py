# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure what a XenStore key costs with the module xenstore_key and with other methods, on the test bed's Xen: `make bench-xenstore`.

Fails if the module misses one of its targets.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import ansible.release

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
COUNTS = (1, 10, 100, 1000)
#: A loop of 1000 would take three quarters of an hour, so its time is extrapolated from these.
LOOP_COUNTS = (1, 10)
ROUNDS = 5
WAYS = {
    "task": "(a) xenstore_key, one task",
    "task, no change": "    the same again, no change",
    "module": "    the module's part of it, in dom0",
    "module, no change": "    the same again, no change",
    "loop": "(b) loop of command: xenstore-write",
    "xenstore-write": "(c) one xenstore-write, many pairs",
    "pyxs": "(d) pyxs",
    "floor": "(e) raw socket writes, the baseline",
}


def pack(directory: Path) -> str:
    """Return an archive of what in_dom0.py imports: pyxs, the module, and what of Ansible it needs."""
    pyxs = ROOT / ".build/pyxs"
    if not (pyxs / "pyxs").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(pyxs), "pyxs==0.4.1"]
        subprocess.run(pip, check=True)
    core = Path(ansible.__file__).parent
    libraries = directory / "libraries"
    plugins = libraries / "ansible_collections/xen/driver_domains/plugins"
    no_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(pyxs / "pyxs", libraries / "pyxs", ignore=no_caches)
    shutil.copytree(core / "module_utils", libraries / "ansible/module_utils", ignore=no_caches)
    # The real one needs all of Ansible; Ansible sends modules one like this, too.
    (libraries / "ansible/__init__.py").write_text(f"__version__ = {ansible.release.__version__!r}\n")
    for part in ("module_utils", "modules"):
        shutil.copytree(ROOT / "plugins" / part, plugins / part, ignore=no_caches)
    return shutil.make_archive(str(libraries), "zip", libraries)


def measure() -> list[dict[str, float | str]]:
    """Run the playbook and return its measurements."""
    print("measuring, which takes some minutes\n", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        into = Path(directory) / "results.json"
        variables = {
            "bench_libraries": pack(Path(directory)),
            "bench_counts": COUNTS,
            "bench_loop_counts": LOOP_COUNTS,
            "bench_rounds": ROUNDS,
            "bench_into": str(into),
        }
        argv = ["ansible-playbook", f"--inventory={os.environ['HOSTS_INVENTORY']}", str(HERE / "measure.yml")]
        done = subprocess.run([*argv, f"--extra-vars={json.dumps(variables)}"], capture_output=True, text=True, check=False)
        if done.returncode or not into.exists():
            sys.exit(done.stdout + done.stderr)
        return json.loads(into.read_text())


def main() -> None:
    """Measure, print the table, and compare with the targets."""
    results = measure()
    best: dict[str, dict[int, float]] = {way: {} for way in WAYS}
    for result in results:
        way, count = str(result["way"]), int(result["count"])
        best[way][count] = min(float(result["seconds"]), best[way].get(count, float("inf")))
    slope = {way: (of[max(of)] - of[1]) / (max(of) - 1) for way, of in best.items()}

    print(f"| {'seconds, by number of keys':<36} |" + "".join(f" {count:>7} |" for count in COUNTS) + " ms per key    | / baseline   |")
    print("|" + "-" * 38 + "|" + "--------:|" * len(COUNTS) + "--------------:|-------------:|")
    for way, title in WAYS.items():
        more = ("-", "-") if way.startswith("task") else (f"{slope[way] * 1000:.2f}", f"{slope[way] / slope['floor']:.2f}")
        cells = "".join(f" {_seconds(best[way], slope[way], count):>7} |" for count in COUNTS)
        print(f"| {title:<36} |{cells} {more[0]:>13} | {more[1]:>12} |")
    print(
        "\nTasks were measured once each; the time of a task varies by more than what 1000 keys cost. (b): values with ~ are extrapolated"
    )
    print(f"from {LOOP_COUNTS[-1]} keys. The other methods were run in rotation in dom0; the best of {ROUNDS} rounds is shown.\n")

    targets = {
        "(a) takes at most 1.15 times as long as the baseline": slope["module"] <= 1.15 * slope["floor"],
        "(a) is at least 100 times faster than (b)": slope["module"] * 100 <= slope["loop"],
        "(a) is at least 1.7 times faster than (d)": slope["module"] * 1.7 <= slope["pyxs"],
        "a run without changes takes no longer than one that writes": slope["module, no change"] <= slope["module"],
    }
    for target, met in targets.items():
        print(f"{'ok    ' if met else 'MISSED'} {target}")
    sys.exit(0 if all(targets.values()) else 1)


def _seconds(measured: dict[int, float], slope: float, count: int) -> str:
    return f"{measured[count]:.3f}" if count in measured else f"~{measured[1] + slope * (count - 1):.0f}"


if __name__ == "__main__":
    main()
