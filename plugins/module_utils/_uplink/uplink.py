# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""How dom0 moves from its network card to a vif of the driver domain that gets the card, and back."""

from __future__ import annotations

import contextlib
import time
import typing as t

from .._domain.aside import ORDERS, WaitingDevice, give_up_waiting, set_stopped
from .._domain.attacher import Attacher
from .._domain.device_text import device_text
from .._domain.devices import VIF, PvDevice, read_devices
from .._domain.paths import unit_name
from .._domain.stopping import stop_domains
from .._domain.unit_program import READY, STATUS
from .._errors import DriverDomainsError, TimedOut
from .._files import remove
from .._held_back import HELD_BACK, HOLD_REASON, held_back, hold_back
from .._polling import wait_until

if t.TYPE_CHECKING:
    from .._pci.device import PciDevice
    from .._pci.host import PciHost
    from .._pci.steps import DeviceSteps
    from .._runner import Runner
    from .._uplink_record import UplinkRecord
    from .._xen.xl import Xl
    from .._xenstore.client import XenStore
    from .network import UplinkNetwork

#: Dom0, as commands and XenStore name it.
_DOM0, _DOM0_NAME = "0", "Domain-0"
#: Seconds until a domain that is destroyed has let go of its devices.
RELEASE_LIMIT = 60.0
#: How often the card is taken from pciback, and the seconds between that.
_ATTEMPTS, _PAUSE = 3, 2.0


def find_card(record: UplinkRecord, devices: t.Sequence[PciDevice]) -> PciDevice:
    """Return the card; new hardware may have moved it to another address.

    :raises DriverDomainsError: it is not there any more.
    """
    recorded = [device for device in devices if device.record and device.record.name == record.name]
    for device in recorded or [device for device in devices if str(device.bdf) == record.bdf]:
        return device
    raise DriverDomainsError(f"{record.name} ({record.bdf}), the network card of dom0, is not there any more", remedy="See 'lspci'")


def return_plainly(record: UplinkRecord, host: PciHost, network: UplinkNetwork, patience: float = 1.0, mac: str = "") -> None:
    """Have dom0 use the card, which is taken from pciback without xl if need be.

    Xen has nothing in quarantine that no domain has had since the host booted, and then this is enough.

    :param mac: the MAC address of the card, when its record is already gone.
    :raises DriverDomainsError: a domain has the card, or it gets no driver or no interface.
    """
    card = find_card(record, host.devices())
    mac = mac or (card.record.mac if card.record else "")
    if (card.pciback or not card.driver) and card.owner_domid is None:
        if card.pciback:
            host.release(card.bdf)
        host.clear_claims(card.bdf)
        host.probe(card.bdf)
        card = find_card(record, host.devices())
    if not card.driver or card.pciback:
        raise DriverDomainsError(f"{record.name} ({card.bdf}) has not got its driver back", remedy="See 'dmesg' and 'xl list'")
    if not wait_until(lambda: host.interface_names(card.bdf), patience * RELEASE_LIMIT):
        raise TimedOut(f"{card.bdf} has its driver {card.driver} again, but no interface", remedy="The kernel's reason is in 'dmesg'")
    names = host.interface_names(card.bdf)
    if record.ifname not in names:
        network.call(names[0], record.ifname)
    network.give_address(record.ifname, mac)
    network.configure(record.ifname)


def vifs_of_dom0(store: XenStore, mac: str) -> list[PvDevice]:
    """Return the vifs of dom0 that have a MAC address."""
    return [device for device in read_devices(store, [0], [VIF])[0] if device.mac == mac]


class Uplink:
    """Changes by which interface dom0 is reached.

    :param say: gets each event in words, as one line.
    :param patience: factor for all timeouts (tests).
    """

    def __init__(
        self,
        record: UplinkRecord,
        host: PciHost,
        steps: DeviceSteps,
        xl: Xl,
        store: XenStore,
        runner: Runner,
        network: UplinkNetwork,
        say: t.Callable[[str], None],
        *,
        held: str = HELD_BACK,
        patience: float = 1.0,
    ) -> None:
        self._record = record
        self._host = host
        self._steps = steps
        self._xl = xl
        self._store = store
        self._runner = runner
        self._network = network
        self._say = say
        self._held = held
        self._patience = patience

    def card(self) -> PciDevice:
        """Return the card as it is now.

        :raises DriverDomainsError: it is not there any more.
        """
        return find_card(self._record, self._host.devices())

    @property
    def works(self) -> bool:
        """Whether dom0 has a vif that is connected."""
        return any(vif.connected and vif.backend for vif in vifs_of_dom0(self._store, self._record.mac))

    def switch(self) -> None:
        """Take the card from dom0, start the driver domain with it, and connect dom0's vif.

        :raises DriverDomainsError: a step failed, or all of it took longer than the limit.
        """
        record, began = self._record, time.monotonic()
        card = self.card()
        if not card.pciback:
            self._steps.load_pciback()
            self._network.take_down(record.ifname)
            self._steps.take(record.name, card)
        self._allow_start()
        if self._store.domid_of(record.backend) is None:
            unit = unit_name(record.backend)
            self._runner.run(["systemctl", "reset-failed", unit], check=False)
            # It may be active although its domain was destroyed.
            self._runner.run(["systemctl", "restart", unit], timeout=self._left(began), remedy="See 'journalctl -t xen-domain'")
        self._connect(began)

    def connect(self) -> None:
        """Wait until the driver domain, which something else starts, serves, and connect dom0's vif.

        :raises DriverDomainsError: a step failed, or all of it took longer than the limit.
        """
        self._connect(time.monotonic())

    def give_back(self, gently: bool = False) -> None:
        """Stop the driver domain and return the card to dom0, which gets its old interface.

        :param gently: whether the driver domain shuts down, and may start again afterwards. Otherwise it is destroyed, and stays away until
            the card is handed over again or the host reboots.
        :raises DriverDomainsError: the card cannot be returned.
        """
        record = self._record
        with self._tolerated():
            if not held_back(record.backend, self._held):
                hold_back(record.backend, HOLD_REASON, self._held)
        with self._tolerated():
            self._network.take_down(record.ifname)
        with self._tolerated():
            self._end_backend(gently)
        with self._tolerated():
            if self._store.read_text(ORDERS) is not None:
                give_up_waiting(self._store, [WaitingDevice(_DOM0_NAME, VIF, record.mac)])
            self._detach(vifs_of_dom0(self._store, record.mac))
        self._return_card()
        if gently:
            self._allow_start()

    def _return_card(self) -> None:
        mac = self.card().mac
        for attempt in range(_ATTEMPTS):
            card = self.card()
            if card.driver and not card.pciback:
                break
            if card.owner_domid is not None:
                # xl starts a domain that crashes again, as another one.
                with self._tolerated():
                    self._xl.destroy(str(card.owner_domid))
                wait_until(lambda: self.card().owner_domid is None, self._patience * RELEASE_LIMIT)
                card = self.card()
            try:
                self._steps.give_back(card)
            except DriverDomainsError as exc:
                self._say(f"{card.bdf} is not returned yet: {exc}")
                time.sleep(self._patience * _PAUSE if attempt + 1 < _ATTEMPTS else 0)
        return_plainly(self._record, self._host, self._network, self._patience, mac)

    def _connect(self, began: float) -> None:
        record = self._record
        if not wait_until(self._serves, self._left(began), 0.5):
            raise TimedOut(
                f"{record.backend} did not report within {record.limit} s that it serves",
                remedy=f"See its console (xl console -t pv {record.backend}) and 'journalctl -t xen-domain'",
            )
        attacher = Attacher(self._xl, self._store, self._left(began))
        domid = self._store.domid_of(record.backend)
        old = vifs_of_dom0(self._store, record.mac)
        good = [vif for vif in old if vif.backend_id == domid and vif.bridge == record.bridge and vif.connected]
        if not good:
            self._detach(old, attacher)
            settings = {"mac": record.mac, "bridge": record.bridge, "backend": record.backend, "trusted": False}
            attacher.attach(_DOM0, VIF, device_text(VIF, settings))
            wanted = f"vif at {record.bridge} of {record.backend}"
            made = attacher.wait_connected(_DOM0_NAME, 0, VIF, lambda vif: vif.mac == record.mac, wanted)
            good = [made] if made else []
        for vif in good[:1]:
            self._network.call(self._network.of_vif(vif.devid), record.ifname)
        self._network.configure(record.ifname)

    def _serves(self) -> bool:
        domid = self._store.domid_of(self._record.backend)
        return domid is not None and self._store.read_text(f"/local/domain/{domid}/{STATUS}") == READY

    def _left(self, began: float) -> float:
        return max(1.0, began + self._record.limit - time.monotonic()) * self._patience

    def _detach(self, vifs: t.Sequence[PvDevice], attacher: Attacher | None = None) -> None:
        attacher = attacher or Attacher(self._xl, self._store, 20.0 * self._patience)
        for vif in vifs:
            attacher.detach(_DOM0, vif, useless=True)

    def _end_backend(self, gently: bool) -> None:
        backend = self._record.backend
        set_stopped(self._store, add=[backend])
        if gently:
            stop_domains(self._store, self._xl, [backend], self._say, self._patience * RELEASE_LIMIT)
        elif self._store.domid_of(backend) is not None:
            self._xl.destroy(backend)
        # It must not start the domain, and not count as active either. It may wait for others, which is nothing to wait for.
        self._runner.run(["systemctl", "stop", "--no-block", unit_name(backend)], check=False)

    def _allow_start(self) -> None:
        """Let the driver domain start again, unless something else holds it back."""
        if held_back(self._record.backend, self._held) == HOLD_REASON:
            remove(f"{self._held}/{self._record.backend}")

    @contextlib.contextmanager
    def _tolerated(self) -> t.Iterator[None]:
        """Go on after an error: the card is to come back whatever else fails."""
        try:
            yield
        except (DriverDomainsError, OSError) as exc:
            self._say(str(exc))
