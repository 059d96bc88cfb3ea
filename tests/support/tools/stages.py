# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run make targets in lanes and report where the time went: stages.py LANE... [--rest TARGETS]

A lane is one argument: targets that run one after the other. The lanes run side by side, the first with the priority of this
process and the others with a lower one. A lane that is done takes the next target of the rest, so that all end at about the same
time. The output of a target is printed when it ends, and kept in .build/logs. The last lines are a table of the lanes, the tests that
were skipped, each with its reason, what failed, and `N passed, N failed`.

Environment: KEEP_GOING=1 goes on with the targets that are left after one has failed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[3]
LOGS = ROOT / ".build" / "logs"
NICENESS = 19
POLL = 0.2
#: A lane is a list of targets.
Lane = Sequence[str]
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
#: `site ➜ converge: Executing`; older versions of molecule write `[site > converge] Executing`.
_MOLECULE = re.compile(r"(?:INFO|WARNING|ERROR) +\[?(?P<scenario>\S+) (?:>|➜) (?P<action>\w+)(?:\]|:) (?P<event>Executing$|Executed\b)")
_PYTEST = re.compile(r"(?P<file>tests/\S+)::(?P<test>.+?) (?:PASSED|FAILED|ERROR)")
_SAID = re.compile(r"==> (?P<text>.+)")
#: A task of Ansible lasts until the next such line.
_TASK = re.compile(r"(?:(?:TASK|RUNNING HANDLER) \[(?P<task>.+)\]|PLAY (?:\[.*\]|RECAP)) \*+$")
SLOWEST = 8
_FATAL = re.compile(r"(?:fatal|failed): \[")
#: So many lines are repeated of the error message of a task, and of another log.
_TOLD, _LAST = 30, 12
#: How pytest -rs and ansible-test report skipped tests.
_SKIPPED = (re.compile(r"SKIPPED \[\d+\] (?P<what>.+)"), re.compile(r"WARNING: Skipping (?P<what>.+)"))


@dataclass
class Steps:
    """How long the steps in a log took: actions of molecule's scenarios, tests of pytest, and what our scripts announce with `==>`."""

    clock: Callable[[], float] = time.monotonic
    #: (group, name, seconds), such as ("site", "converge", 61.2), in the order of their end.
    done: list[tuple[str, str, float]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    #: Seconds by the name of the task, for all of its runs.
    tasks: dict[str, float] = field(default_factory=dict)
    _task: tuple[str, float] | None = None
    _said: tuple[str, float] | None = None
    _since: float = 0.0

    def __post_init__(self) -> None:
        self._since = self.clock()

    def line(self, raw: str) -> str | None:
        """Process a line of the log; return a report if a step has ended with it."""
        line = _COLOURS.sub("", raw).strip()
        for pattern in _SKIPPED:
            if (found := pattern.match(line)) and found["what"] not in self.skipped:
                self.skipped.append(found["what"])
        if found := _TASK.match(line):
            self._end_task(found["task"])
            return None
        if found := _MOLECULE.match(line):
            self._end_task()
            if found["event"] == "Executing":
                self._since = self.clock()
                return None
            return self._end(found["scenario"], found["action"], self._since)
        if found := _PYTEST.match(line):
            return self._end(Path(found["file"]).stem, found["test"], self._since)
        if found := _SAID.match(line):
            report = self.finish()
            self._said = (found["text"], self.clock())
            return report
        return None

    def finish(self) -> str | None:
        """End what `==>` began last, and the last task."""
        self._end_task()
        if self._said is None:
            return None
        (text, since), self._said = self._said, None
        return self._end(text, "", since)

    def _end_task(self, following: str | None = None) -> None:
        now = self.clock()
        if self._task:
            name, since = self._task
            self.tasks[name] = self.tasks.get(name, 0.0) + now - since
        self._task = (following, now) if following else None

    def _end(self, group: str, name: str, since: float) -> str:
        self._since = self.clock()
        self.done.append((group, name, self._since - since))
        return f"{' > '.join(filter(None, (group, name)))}: {self._since - since:.0f} s"

    def table(self) -> list[str]:
        """Return a line for each group that took a second or more: its time and that of its steps."""
        groups: dict[str, list[tuple[str, float]]] = {}
        for group, name, seconds in self.done:
            groups.setdefault(group, []).append((name, seconds))
        lines = []
        for group, steps in groups.items():
            if (total := sum(seconds for _name, seconds in steps)) >= 1:
                parts = ", ".join(f"{name} {seconds:.0f}" for name, seconds in steps if name)
                lines.append(f"{group:<24.60} {total:7.0f} s  {parts}".rstrip())
        slow = sorted(self.tasks.items(), key=lambda item: item[1], reverse=True)
        slowest = [f"{name} {seconds:.0f}" for name, seconds in slow[:SLOWEST] if seconds >= 1]
        return [*lines, *(["slowest tasks: " + "; ".join(slowest)] if slowest else [])]


def failure(log: str) -> list[str]:
    """Return those lines of a log that say why it ended: the last task of Ansible that failed, or its last lines."""
    lines = [line.rstrip() for line in _COLOURS.sub("", log).splitlines()]
    for number, line in reversed(list(enumerate(lines))):
        if _FATAL.match(line):
            text = lines[number : lines.index("", number) if "" in lines[number:] else None]
            if "...ignoring" not in text:
                tasks = [line.rstrip(" *") for line in lines[:number] if _TASK.match(line)]
                return [*tasks[-1:], *text[:_TOLD]]
    return lines[-_LAST:]


@dataclass
class Stage:
    """A make target and its result."""

    name: str
    status: int | None = None
    seconds: float = 0.0
    steps: Steps = field(default_factory=Steps)

    @property
    def log(self) -> Path:
        """The file that keeps its output."""
        return LOGS / f"{self.name}.log"

    @property
    def outcome(self) -> str:
        """One word. A scenario that was left out is a stage that has not passed."""
        if self.status is None:
            return "not run"
        left_out = f"the scenario {self.name.partition('-')[2]}:"
        if self.status == 0 and any(what.startswith(left_out) for what in self.steps.skipped):
            return "skipped"
        return "FAILED" if self.status else "passed"


class Run:
    """The lanes of one call."""

    def __init__(
        self, lanes: Iterable[Lane], keep_going: bool, rest: Lane = (), make: Sequence[str] = ("make", "--no-print-directory")
    ) -> None:
        self.lanes = [[Stage(name) for name in lane] for lane in lanes]
        #: What no lane has taken yet.
        self.rest = [Stage(name) for name in rest]
        self._keep_going, self._make = keep_going, make
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._interrupted = False

    @property
    def stages(self) -> list[Stage]:
        """All stages."""
        return [stage for lane in (*self.lanes, self.rest) for stage in lane]

    def run(self) -> None:
        """Run all lanes to their end."""
        LOGS.mkdir(parents=True, exist_ok=True)
        threads = [threading.Thread(target=self._lane, args=(number, lane)) for number, lane in enumerate(self.lanes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def interrupt(self, *_: object) -> None:
        """Interrupt the stages that run, so that they clean up."""
        self._interrupted = True
        for process in list(self._running):
            os.killpg(process.pid, signal.SIGINT)

    def _stages_of(self, lane: list[Stage]) -> Iterator[Stage]:
        yield from tuple(lane)
        while True:
            with self._lock:
                if not self.rest or self._must_end():
                    return
                lane.append(self.rest.pop(0))
            yield lane[-1]

    def _must_end(self) -> bool:
        failed = any(stage.status for stage in self.stages)
        return self._interrupted or (failed and not self._keep_going)

    def _lane(self, number: int, lane: list[Stage]) -> None:
        for stage in self._stages_of(lane):
            if self._must_end():
                return
            self._say(f"{stage.name} begins")
            self._stage(stage, NICENESS if number else 0)
            with self._lock:
                print(f"\n===== {stage.name} =====\n{stage.log.read_text(errors='replace')}", end="")
                print(f"===== {stage.name}: {stage.outcome}, {stage.seconds:.0f} s =====\n", flush=True)

    def _stage(self, stage: Stage, niceness: int) -> None:
        started = time.monotonic()
        stage.steps = Steps()
        command = ["nice", "-n", str(niceness), *self._make, stage.name]
        # Into a file, not a pipe: a connection of Ansible's that is kept open would hold that for a minute.
        with stage.log.open("w") as output, stage.log.open(errors="replace") as log:
            # A session of its own: a Ctrl-C at the terminal comes to us, and we pass it on.
            process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
            self._running.add(process)
            # The kernel shares processors among sessions first, and then asks for niceness (sched(7), autogroup).
            with contextlib.suppress(OSError):
                Path(f"/proc/{process.pid}/autogroup").write_text(str(niceness))
            rest = ""
            while True:
                status = process.poll()
                *lines, rest = (rest + log.read()).split("\n")
                for report in filter(None, map(stage.steps.line, lines)):
                    self._say(f"{stage.name}: {report}")
                if status is not None:
                    break
                time.sleep(POLL)
        stage.status = status
        self._running.discard(process)
        stage.steps.finish()
        stage.seconds = time.monotonic() - started

    def _say(self, text: str) -> None:
        with self._lock:
            print(f"[{time.monotonic() - self._started:5.0f} s] {text}", flush=True)

    def report(self) -> str:
        """Return the table, and the count as its last line."""
        lines = ["===== where the time went ====="]
        for number, lane in enumerate(self.lanes, 1):
            lines.append(f"lane {number}: {sum(stage.seconds for stage in lane):.0f} s")
            for stage in lane:
                lines.append(f"  {stage.name:<22} {stage.outcome:<8} {stage.seconds:7.0f} s")
                lines += [f"    {line}" for line in stage.steps.table()]
        lines += [f"{stage.name:<24} {stage.outcome}" for stage in self.rest]
        skipped = [f"  {stage.name}: {what}" for stage in self.stages for what in stage.steps.skipped]
        if skipped:
            lines += ["skipped:", *skipped]
        for stage in self.stages:
            if stage.status:
                lines += [f"{stage.name} failed:", *(f"  {line}" for line in failure(stage.log.read_text(errors="replace")))]
        lines.append(f"all of it took {time.monotonic() - self._started:.0f} s")
        outcomes = [stage.outcome for stage in self.stages]
        count = f"{outcomes.count('passed')} passed, {outcomes.count('FAILED')} failed"
        if skipped_stages := outcomes.count("not run") + outcomes.count("skipped"):
            count += f", {skipped_stages} skipped"
        return "\n".join([*lines, count])

    @property
    def passed(self) -> bool:
        """Whether every stage ran, and those passed that were not left out for lack of time."""
        return all(stage.outcome in ("passed", "skipped") for stage in self.stages)


def main(arguments: list[str]) -> int:
    """Run the lanes that are named; return the exit status."""
    parser = argparse.ArgumentParser(description="Run make targets in lanes and report where the time went.")
    parser.add_argument("lanes", nargs="+", type=str.split, metavar="LANE", help="targets that run one after the other")
    parser.add_argument("--rest", default=[], type=str.split, metavar="TARGETS", help="what the lanes take when they are done")
    options = parser.parse_args(arguments)
    run = Run(options.lanes, bool(os.environ.get("KEEP_GOING")), options.rest)
    ended: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        ended.append(number)
        run.interrupt()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    run.run()
    print(run.report(), flush=True)
    if ended:
        return 128 + ended[0]
    return 0 if run.passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
