# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks that restart and update driver domains, run by ansible-playbook on two hosts whose `xl_domain` only notes its calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: It changes nothing. On the host `xen1` it cannot restart `net-dd`, nor start `web3`. The name of the host comes with the devices.
MODULE = """#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule

OPTIONS = ("domains", "pci_devices", "restart_changed", "rollback", "force")
module = AnsibleModule({name: {"type": "raw"} for name in OPTIONS}, supports_check_mode=True)
host = module.params["pci_devices"][0]["name"]
if not module.check_mode:
    with open(CALLS, "a") as calls:
        calls.write(module.jsonify([host, module.params["domains"], module.params["force"]]) + "\\n")
    names = {domain["name"] for domain in module.params["domains"]}
    if host == "xen1" and names & {"net-dd", "web3"}:
        module.fail_json(msg="Domain net-dd went away." if "net-dd" in names else "There is no bridge.")
backends = {name: "dmz-dd" if name == "web4" else "net-dd" for name in CLIENTS}
clients = [{"domain": name, "backend": backends[name], "kinds": ["vif"], "other_backends": []} for name in backends]
module.exit_json(changed=True, actions=["start domain net-dd"], cut_off=clients)
"""
#: Of the clients, `web2` runs, and those that were started; of the driver domains, all but `dmz-dd`.
INFO = """#!/usr/bin/python
import json
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({}, supports_check_mode=True)
started = [[domain["name"] for domain in json.loads(line)[1]] for line in open(CALLS)]
alive = ["net-dd", "web2"] + [name for names in started if not {"net-dd", "web3"} & set(names) for name in names]
module.exit_json(recovery=None, domains=[{"name": name, "alive": True} for name in alive] + [{"name": "web3", "alive": False}])
"""


@pytest.fixture(name="play")
def make_play(tmp_path: Path) -> t.Callable[..., tuple[int, str, list[t.Any]]]:
    """Runs a playbook: returns its exit code, its output and the calls that would have changed a host."""
    collection = tmp_path / "collections/ansible_collections/xen/driver_domains"
    calls = tmp_path / "calls"
    (collection / "plugins/modules").mkdir(parents=True)
    for part in ("galaxy.yml", "playbooks", "roles", "plugins/filter", "plugins/module_utils"):
        (collection / part).symlink_to(ROOT / part)
    for module in (ROOT / "plugins/modules").glob("*.py"):
        if module.stem not in ("xl_domain", "xl_domain_info"):
            (collection / "plugins/modules" / module.name).symlink_to(module)
    (collection / "plugins/modules/xl_domain_info.py").write_text(INFO.replace("CALLS", repr(str(calls))))
    host = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable}
    hosts = {
        name: {**host, "driver_domain_domains": [{"name": "net-dd"}], "driver_domain_pci_devices": [{"name": name}]}
        for name in ("xen1", "xen2")
    }
    inventory = tmp_path / "inventory.json"
    inventory.write_text(json.dumps({"xen_hosts": {"hosts": {**hosts, "xen0": host}}}))

    def play(name: str, clients: t.Sequence[str] = ("web1",), **variables: str) -> tuple[int, str, list[t.Any]]:
        text = MODULE.replace("CALLS", repr(str(calls))).replace("CLIENTS", repr([*clients]))
        (collection / "plugins/modules/xl_domain.py").write_text(text)
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections"),
            "ANSIBLE_LOCAL_TEMP": str(tmp_path / "local"),
            # Otherwise it is looked for in the home directory of the user database, and written in that of the environment.
            "ANSIBLE_ASYNC_DIR": str(tmp_path / "async"),
        }
        result = subprocess.run(
            ["ansible-playbook", f"--inventory={inventory}", f"--extra-vars={json.dumps(variables)}", f"xen.driver_domains.{name}"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**environment, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_PIPELINING": "1"},
            timeout=600,
            check=False,
        )
        made = [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []
        return result.returncode, result.stdout + result.stderr, made

    return play


def test_the_first_host_that_does_not_come_back_stops_the_run(play: t.Callable[..., tuple[int, str, list[t.Any]]]) -> None:
    code, output, calls = play(
        "restart_driver_domain", driver_domain="net-dd", driver_domain_drain="web2, web1", driver_domain_force="destroy"
    )
    assert code != 0, output
    assert "Domain net-dd went away." in output, output
    assert "Hosts that were not touched: xen2" in output
    (host, domains, force), *started = calls
    assert host == "xen1"
    # Of the guests that may be drained, web2 is not cut off there.
    assert [(domain["name"], domain["state"]) for domain in domains] == [("net-dd", "restarted"), ("web1", "restarted")]
    assert set(force) == {"serves_clients", "destroy"}
    assert [call[:2] for call in started] == [["xen1", [{"name": "web1", "state": "restarted"}]]]
    assert "Drained guests that do not run" not in output


@pytest.mark.parametrize(
    ("clients", "started", "down"),
    [
        (["web1", "web2", "web3"], ["web1", "web3"], "web1, web3. There is no bridge."),
        (["web1", "web4"], ["web1"], "web4."),
    ],
    ids=["one cannot be started", "the backend of one does not run"],
)
def test_drained_guests_that_do_not_run_are_started_again(
    clients: list[str], started: list[str], down: str, play: t.Callable[..., tuple[int, str, list[t.Any]]]
) -> None:
    code, output, calls = play(
        "update_driver_domain", clients, driver_domain="net-dd", driver_domain_previous="true", driver_domain_drain=",".join(clients)
    )
    assert code != 0, output
    first, *others = [sorted(domain["name"] for domain in domains) for _host, domains, _force in calls]
    assert (first, others) == (["net-dd", *clients], [started])
    assert "Domain net-dd went away." in output
    said = output.partition("Drained guests that do not run: ")[2].partition(" Hosts that were not touched")[0]
    assert (sorted(said.partition(".")[0].split(", ")), said.partition(".")[2].strip()) == (
        sorted(down.partition(".")[0].split(", ")),
        down.partition(".")[2].strip(),
    )


def test_clients_are_named_and_nothing_happens(play: t.Callable[..., tuple[int, str, list[t.Any]]]) -> None:
    code, output, calls = play("update_driver_domain", driver_domain="net-dd", driver_domain_previous="true")
    assert (code != 0, calls) == (True, [])
    assert "without their driver domain while it restarts: web1 (of net-dd)" in output
    assert "-e driver_domain_restart_ok=true" in output


def test_a_name_that_no_host_has(play: t.Callable[..., tuple[int, str, list[t.Any]]]) -> None:
    code, output, calls = play("restart_driver_domain", driver_domain="net-dd,dmz-dd", driver_domain_restart_ok="true")
    assert (code != 0, calls) == (True, [])
    assert "Unknown: dmz-dd. Declared in driver_domain_domains: net-dd." in output
