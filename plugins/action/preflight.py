# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check the variables of a host before anything is changed, on the controller. The host is asked only for what variables cannot say."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.yaml import yaml_load
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.xen.driver_domains.plugins.filter.domain_definitions import (
    DEFAULTS,
    domain_definitions,
    domain_types,
    image_name,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.definition import Definition, definitions, refuse_shared_disks
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError, InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.ssh_keys import authorized_keys
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.bdf import Bdf
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.device import PciDevice
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.guards import PCI_GUARDS
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.uplinks import is_replaced
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.capacity import check_memory, only_the_host_knows
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.finding import InputFinding, found, meant
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.model import (
    ASSIGNABLE,
    DOMAINS,
    DeclaredDomain,
    DeclaredHost,
    declared,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.names import misspelt
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.networks import check_networks
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.options import Spec, Values, check_options
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.proposal import propose
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.references import check_references, undeclared_backends
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.uplinks import check_uplinks
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.volumes import check_volumes
from ansible_collections.xen.driver_domains.plugins.module_utils._secrets import hide_secrets
from ansible_collections.xen.driver_domains.plugins.module_utils._words import check_word
from ansible_collections.xen.driver_domains.plugins.modules.xl_domain import ARGUMENTS

#: The roles that site.yml applies, directly or through others.
SITE = ("dom0", "driver_domain", "domu", "guest_image")

_XL_DOMAIN: dict[str, t.Any] = dict(ARGUMENTS)
#: The default of the devices of a role.
DEVICES_OF_DOM0 = "{{ dom0_pci_assignable | default([]) }}"
_ROLES = Path(__file__).parents[2] / "roles"
_ARGUMENTS: dict[str, t.Any] = {
    "roles": {"type": "list", "elements": "str", "choices": list(SITE), "default": list(SITE)},
    "read_host": {"type": "bool", "default": False},
}
#: What `force` of each role can name.
_FORCE: dict[str, t.Sequence[str]] = {
    "dom0_force": PCI_GUARDS,
    "driver_domain_force": _XL_DOMAIN["force"]["choices"],
    "domu_force": _XL_DOMAIN["force"]["choices"],
}


class HostFacts(t.NamedTuple):
    """What was read from the host."""

    #: Names and domids of its domains.
    domains: t.Collection[str] = ()
    #: Why these are not known.
    unread: str = "not read"
    #: In MiB; 0 if it is not known.
    memory: int = 0


def role_options(roles: t.Iterable[str]) -> dict[str, dict[str, t.Any]]:
    """Return the options of each role."""
    paths = {role: _ROLES / role / "meta" / "argument_specs.yml" for role in roles}
    return {role: yaml_load(path.read_text(encoding="utf-8"))["argument_specs"]["main"]["options"] for role, path in paths.items()}


def read_variables(values: Values, options: t.Mapping[str, Spec]) -> tuple[dict[str, t.Any], list[InputFinding]]:
    """Return the values of all options of roles after conversion, and what is wrong with them."""
    variables: dict[str, t.Any] = {}
    findings: list[InputFinding] = []
    for role, spec in options.items():
        given = {name: values[name] for name in spec if name in values}
        converted, more = check_options(spec, given, "", _validate, f"ansible-doc -t role xen.driver_domains.{role}")
        variables |= converted
        findings += more
    return variables, findings


def check_values(host: DeclaredHost, variables: Values, hostname: str, facts: HostFacts, given: Values | None = None) -> list[InputFinding]:
    """Return what is wrong with values that have the right form.

    :param given: the variables before conversion.
    """
    findings = [*check_references(host, facts.domains, facts.unread), *check_networks(host.domains), *check_volumes(host)]
    findings += check_uplinks(host, variables.get("dom0_vifs", []), variables.get("driver_domain_recovery", True))
    for name, guards in _FORCE.items():
        unknown = [guard for guard in variables.get(name, []) if guard not in guards]
        findings += [
            InputFinding(name, f"there is no guard rail {guard!r}", "each item names one", meant(guard, guards)) for guard in unknown
        ]
    builder = variables.get("guest_image_build_host", "localhost")
    if builder not in ("localhost", hostname):
        findings.append(
            InputFinding(
                "guest_image_build_host",
                f"it is {builder!r}",
                "images are built on the controller or on the Xen host itself",
                f"Use localhost or {hostname}",
            )
        )
    findings += check_memory(host, int(variables.get("dom0_memory", 0)), facts.memory)
    # What one call of a module would refuse, for the domains that are right so far: it says one thing at a time.
    wrong = {finding.where for finding in findings if not finding.warning}
    right: list[Definition] = []
    for domain in host.domains:
        if not any(where == domain.where or where.startswith(f"{domain.where}.") for where in wrong):
            findings += _check_definition(host, domain, right) or _check_as_given(host, domain, given or {})
    return findings


def _check_definition(host: DeclaredHost, domain: DeclaredDomain, others: list[Definition]) -> list[InputFinding]:
    """Define a domain after conversion of its values, as far as that needs no host.

    :param others: the definitions of domains before it, to which its own is added.
    """
    try:
        if domain.claims:
            _image_words(domain)
        definition = _define(host, domain, domain.given)
        if domain.claims:
            refuse_shared_disks([*others, definition])
            others.append(definition)
    except DriverDomainsError as exc:
        return [found(domain.where, exc)]
    except AnsibleError as exc:
        cause = exc.__cause__
        return [found(domain.where, cause) if isinstance(cause, DriverDomainsError) else InputFinding(domain.where, exc.message)]
    return []


def _check_as_given(host: DeclaredHost, domain: DeclaredDomain, given: Values) -> list[InputFinding]:
    """Do the same without the conversion: the argument spec of a role checks values, and the role takes them as they are."""
    items = given.get(DOMAINS[domain.role])
    for item in items if isinstance(items, (list, tuple)) else ():
        if isinstance(item, t.Mapping) and str(item.get("name")) == domain.name:
            try:
                _define(host, domain, item)
            except (DriverDomainsError, AnsibleError, AttributeError, TypeError, ValueError, KeyError) as exc:
                rule = "what is inside of an item is taken as it is written"
                return [InputFinding(domain.where, f"{exc}".rstrip("."), rule, "Write a list as a list, such as [a], and a text in quotes")]
    return []


def _define(host: DeclaredHost, domain: DeclaredDomain, given: Values) -> Definition:
    """Do with a domain what its role and the module xl_domain do.

    :param given: its values.
    """
    devices = [*_devices(host, domain)]
    settings = dict(given)
    image = image_name({**DEFAULTS[domain.role], **settings})
    disk = "/disk" if domain.settings.get("image") == "debian" else ""
    domain_types([settings], domain.role)
    (parameters,) = domain_definitions(
        [settings],
        domain.role,
        images={image: {"kernel": "/kernel", "ramdisk": "/ramdisk", "disk": disk}},
        devices=[{"name": name, "mac": "00:16:3e:00:00:01", "kernel_modules": []} for name in devices],
        state=domain.state,
    )
    if parameters.get("type") == "auto":
        # Which of the two it becomes depends on the host.
        parameters["type"] = "pv" if parameters.get("pci") else "pvh"
    converted, messages = _validate({"domains": _XL_DOMAIN["domains"]}, {"domains": [parameters]})
    if messages:
        raise InvalidInput("; ".join(messages), rule="see ansible-doc xen.driver_domains.xl_domain", remedy="Correct it")
    (definition,) = definitions(converted["domains"], {name: _device(index) for index, name in enumerate(devices)})
    return definition


def _devices(host: DeclaredHost, domain: DeclaredDomain) -> list[str]:
    """The names of the devices that a domain may use: those that have entries of their own, and those of entries for several."""
    names = [str(entry.get("name")) for entry in host.devices[host.devices_of[domain.role]] if not entry.get("match_all")]
    return [*names, *sorted({name for _where, name in domain.pci()} - set(names))]


def _device(number: int) -> PciDevice:
    """Some device: definitions need an address."""
    blank: dict[str, t.Any] = dict.fromkeys(("slot", "vendor_device", "subsystem", "class_code", "modalias", "driver"), "")
    blank |= dict.fromkeys(("in_pciback_slots", "boot_vga", "bridge"), False)
    return PciDevice(bdf=Bdf(0, number // 32, number % 32, 0), interfaces=(), iommu_group=None, reset_methods=(), responds=True, **blank)


def _image_words(domain: DeclaredDomain) -> None:
    """:raises InvalidInput: a key or package cannot be in an image."""
    for package in domain.given.get("packages") or []:
        check_word("package", package, "packages")
    keys = domain.given.get("authorized_keys")
    if keys and domain.own_image:
        authorized_keys(keys, "image")


def _validate(spec: dict[str, t.Any], values: dict[str, t.Any]) -> tuple[Values, t.Sequence[str]]:
    result = ArgumentSpecValidator(spec).validate(values)
    return result.validated_parameters, result.error_messages


def check_devices(
    devices: t.Sequence[t.Mapping[str, t.Any]], forced: t.Collection[str], uplinks: t.Collection[str] = ()
) -> list[InputFinding]:
    """Return the guard rails that would keep the host's devices from being made assignable; those that are assignable passed them.

    :param uplinks: the names of cards in the place of which dom0 gets a vif.
    """
    return [
        InputFinding(
            f"{ASSIGNABLE} ({device['name']})",
            f"{device['bdf']} {guard['reason']}",
            f"guard rail {guard['guard']}",
            f"Choose another device, or see docs/pci-devices.md before you add {guard['guard']} to dom0_force",
        )
        for device in devices
        for guard in device["guards"]
        if not device["pciback"]
        and guard["guard"] not in forced
        and not (device["name"] in uplinks and is_replaced(guard["guard"], guard["reason"]))
    ]


def _plain(value: t.Any) -> t.Any:
    """Return a copy in which everything has been evaluated."""
    if isinstance(value, t.Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _is_variable(name: t.Any, value: t.Any) -> bool:
    """Whether a name may be that of a variable that a user sets: not one of Ansible's or private, and not a registered result."""
    if not isinstance(name, str) or name.startswith(("_", "ansible_")):
        return False
    return not (isinstance(value, t.Mapping) and "changed" in value and ("failed" in value or "skipped" in value))


class ActionModule(ActionBase):
    """Checks, and changes nothing."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Check all variables of the roles, and report everything that is wrong."""
        super().run(tmp, task_vars)
        known = task_vars or {}
        _result, arguments = self.validate_argument_spec(_ARGUMENTS)
        roles = arguments["roles"]
        every = set(roles) == set(SITE)
        options = role_options(path.name for path in _ROLES.iterdir() if every or path.name in roles)
        specs = {role: options[role] for role in SITE if role in roles}
        findings, alone = misspelt((name for name in known if _is_variable(name, known[name])), options)
        values, failed = self._evaluate({name for spec in specs.values() for name in spec}, known)
        variables, more = read_variables(values, specs)
        findings += failed + more
        host = declared(variables, specs)
        # With values of a wrong form, no other check would be of use.
        facts, read = HostFacts(), {"proposal": ""}
        if arguments["read_host"]:
            facts, read, more = self._read_host(variables, bool(more), known)
            findings += more
        elif undeclared_backends(host):
            facts = self._read_domains(facts, known)
        findings += check_values(host, variables, str(known.get("inventory_hostname", "")), facts, values)
        errors = [hide_secrets(str(finding)) for finding in findings if not finding.warning]
        result = {
            "changed": False,
            "errors": errors,
            "warnings": [hide_secrets(str(finding)) for finding in findings if finding.warning],
            "no_options": alone,
            "not_known": only_the_host_knows(host, bool(facts.memory)) if "domu" in roles else [],
            **read,
        }
        if read["proposal"]:
            Display().display(f"\n{read['proposal']}\n")
        if errors:
            count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
            title = f"{count} in the variables of {known.get('inventory_hostname')}; nothing was changed:"
            return {**result, "failed": True, "msg": "\n".join([title, *(f"- {error}" for error in errors)])}
        return {**result, "msg": "No errors in the variables"}

    def _evaluate(self, names: t.Iterable[str], known: Values) -> tuple[dict[str, t.Any], list[InputFinding]]:
        values: dict[str, t.Any] = {}
        findings = []
        for name in sorted(names):
            # The defaults of a play's roles are among its variables. What is wrong with the devices is said once.
            if name in known and known[name] != DEVICES_OF_DOM0:
                try:
                    values[name] = _plain(self._templar.template(known[name]))
                except AnsibleError as exc:
                    rule = "the variables of all roles are evaluated before the first role"
                    findings.append(
                        InputFinding(name, f"it cannot be evaluated: {exc}", rule, "Correct the template, or what it refers to")
                    )
        return values, findings

    def _module(self, name: str, arguments: dict[str, t.Any], known: Values) -> dict[str, t.Any]:
        """Run a module on the host. One that cannot be reached must not hide what is wrong with the variables."""
        try:
            return dict(self._execute_module(module_name=f"xen.driver_domains.{name}", module_args=arguments, task_vars=known))
        except AnsibleConnectionFailure as exc:
            return {"failed": True, "msg": f"The host cannot be reached: {exc}"}

    def _read_domains(self, facts: HostFacts, known: Values) -> HostFacts:
        result = self._module("xl_domain_info", {}, known)
        if result.get("failed"):
            return facts._replace(unread=f"not known ({str(result.get('msg')).partition('. ')[0]})")
        return facts._replace(domains=[str(item) for domain in result["domains"] for item in (domain["name"], domain["domid"])], unread="")

    def _read_host(self, variables: Values, wrong: bool, known: Values) -> tuple[HostFacts, dict[str, t.Any], list[InputFinding]]:
        """Read what the host has. Returns findings about its devices, and the proposal.

        :param wrong: whether the variables have the wrong form.
        """
        host = self._module("xl_info", {}, known)
        pci = host if host.get("failed") else self._module("xl_pci_info", {}, known)
        if pci.get("failed"):
            return HostFacts(), {"proposal": ""}, [InputFinding("host", str(pci["msg"]))]
        facts = self._read_domains(HostFacts(memory=host["total_memory"]), known)
        findings: list[InputFinding] = []
        chosen: list[dict[str, t.Any]] = []
        if variables.get(ASSIGNABLE) and not wrong:
            result = self._module("xl_pci_info", {"devices": variables[ASSIGNABLE]}, known)
            if result.get("failed"):
                findings.append(InputFinding(ASSIGNABLE, str(result["msg"]).replace("devices[", f"{ASSIGNABLE}[")))
            else:
                chosen = result["devices"]
        uplinks = [entry.get("device") for entry in variables.get("dom0_vifs", [])]
        findings += check_devices(chosen, variables.get("dom0_force", []), uplinks)
        text = propose(pci["devices"], pci["iommu"], {device["bdf"]: device["name"] for device in chosen})
        return facts, {"proposal": text, "xen": host["xen"]}, findings
