"""Requests that wait to be ordered: a queue per client device, served in turn."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from crypto.signing import PublicKey
from pbft.core.effects import ExecutedRequest, IgnoreReason
from pbft.core.group import Parameters
from pbft.core.messages import SignedRequest
from pbft.core.rings import OWN, Ring, Rings, ring_of
from pbft.core.types import ClientSequence, Milliseconds, ReplicaId, SessionNumber

POOL_OPERATIONS_MAX = 65_536
POOL_BYTES_MAX = 128 * 1024 * 1024
POOL_STRANGERS_MAX = 4_096
"""Operations of devices that the application does not know: making keys costs nothing."""
PASSED_ON_DIVISOR = 2
"""Of operations and bytes, this part is for what replicas pass on, for each the same; the rest is for own clients."""
DEVICE_WINDOWS_MAX = 2


OperationName = tuple[PublicKey, SessionNumber, ClientSequence]


def names_of(request: SignedRequest) -> list[OperationName]:
    """Names of the operations of a request; the first is the request's own."""
    device, named = request.device, request.message
    numbers = range(named.first_client_sequence, named.first_client_sequence + len(named.operations))
    return [(device, named.session, ClientSequence(number)) for number in numbers]


def _name_of(request: SignedRequest) -> OperationName:
    return request.device, request.message.session, request.message.first_client_sequence


@dataclass(slots=True)
class _Way:
    """How a request came."""

    via: ReplicaId | None
    """The replica in whose part it is; None if its client brought it."""
    brought_by: set[ReplicaId]
    """All replicas that passed it on: each may move it into its own part once."""


@dataclass(slots=True)
class _Load:
    operations: int = 0
    bytes: int = 0

    def add(self, request: SignedRequest, sign: int = 1) -> None:
        self.operations += sign * len(request.message.operations)
        self.bytes += sign * len(request.wire)


@dataclass(slots=True)
class _Device:
    is_stranger: bool
    since: Milliseconds
    """When its first request here came, or one of its requests was executed: since then it waits."""
    waiting: deque[SignedRequest] = field(default_factory=deque)
    newest: tuple[int, int] = (-1, -1)
    """Session and client sequence of its newest operation that ran meanwhile."""
    operations: int = 0
    """Waiting and proposed together: what the device may have in here is bounded."""
    ring: Ring = OWN
    """Where it waits for its turn, if anything of it waits."""


class RequestPool:
    """Holds each request from its admission until it is executed, whether it was proposed or not.

    No two requests in it share the name of an operation. A device may hold two client windows of operations; the
    pool as a whole is bounded in operations and bytes, and so is what each of the `peers` may pass on.
    """

    def __init__(self, parameters: Parameters, peers: int = 3) -> None:
        self._parameters = parameters
        self._peers = peers
        self._requests: OrderedDict[OperationName, SignedRequest] = OrderedDict()
        self._holders: dict[OperationName, OperationName] = {}
        """Of every operation in here: the request that it came with."""
        self._proposed: set[OperationName] = set()
        self._devices: OrderedDict[PublicKey, _Device] = OrderedDict()
        """Those that wait longest come first."""
        self._rings = Rings(peers)
        self._ways: dict[OperationName, _Way] = {}
        self._loads: dict[ReplicaId | None, _Load] = {None: _Load()}
        """Of own clients, and of each replica that passes on."""
        self._operations = 0
        self._strangers_operations = 0
        self._bytes = 0
        self._waiting_operations = 0

    def __len__(self) -> int:
        return len(self._requests)

    @property
    def operations(self) -> int:
        """Operations not yet executed."""
        return self._operations

    @property
    def own_operations(self) -> int:
        """Those of them that clients brought themselves."""
        return self._loads[None].operations

    @property
    def own_bytes(self) -> int:
        """Of the requests with these operations."""
        return self._loads[None].bytes

    @property
    def dilution(self) -> int:
        """How many operations a primary may order for each that waits at one backup."""
        return self._rings.dilution

    @property
    def waiting_operations(self) -> int:
        """Operations not yet proposed."""
        return self._waiting_operations

    def contradicted_by(self, request: SignedRequest) -> SignedRequest | None:
        """The request in here that holds another operation under a name that `request` uses too."""
        for operation, name in zip(request.message.operations, names_of(request), strict=True):
            holder = self._holders.get(name)
            if holder is not None:
                held = self._requests[holder]
                if held.message.operations[name[2] - holder[2]] != operation:
                    return held
        return None

    def oldest(self) -> Iterator[SignedRequest]:
        """Requests in order of admission."""
        return iter(self._requests.values())

    def has_no_room(self, request: SignedRequest) -> bool:
        """Whether the device has so much in here that this would be refused, whatever its signature. Never so of
        what contradicts something in here: that may be evidence."""
        device = self._devices.get(request.device)
        if device is None:
            return False
        most = DEVICE_WINDOWS_MAX * self._parameters.client_window
        return device.operations >= most and self.why_refuse(request) is IgnoreReason.DEVICE_FULL

    def why_refuse(
        self, request: SignedRequest, *, is_stranger: bool = False, via: ReplicaId | None = None
    ) -> IgnoreReason | None:
        """`via`: the replica that passed it on; None if its client brought it."""
        names = names_of(request)
        known = self._requests.get(names[0])
        if known is not None and known.digest == request.digest:
            return IgnoreReason.DUPLICATE
        if any(name in self._holders for name in names):
            return IgnoreReason.NAME_IN_USE
        count = len(request.message.operations)
        device = self._devices.get(request.device)
        if device is not None and device.operations + count > DEVICE_WINDOWS_MAX * self._parameters.client_window:
            return IgnoreReason.DEVICE_FULL
        if is_stranger and self._strangers_operations + count > POOL_STRANGERS_MAX:
            return IgnoreReason.POOL_FULL
        if self._operations + count > POOL_OPERATIONS_MAX or self._bytes + len(request.wire) > POOL_BYTES_MAX:
            return IgnoreReason.POOL_FULL
        return None if via is None or self._has_part(via, request) else IgnoreReason.POOL_FULL

    def _has_part(self, via: ReplicaId, request: SignedRequest) -> bool:
        load, parts = self._loads.get(via, _Load()), PASSED_ON_DIVISOR * self._peers
        is_few = load.operations + len(request.message.operations) <= POOL_OPERATIONS_MAX // parts
        return is_few and load.bytes + len(request.wire) <= POOL_BYTES_MAX // parts

    def add(
        self,
        request: SignedRequest,
        now: Milliseconds,
        *,
        is_stranger: bool = False,
        via: ReplicaId | None = None,
    ) -> None:
        """Admit a request that `why_refuse` does not refuse."""
        names = names_of(request)
        count = len(names)
        self._requests[names[0]] = request
        self._holders.update(dict.fromkeys(names, names[0]))
        self._operations += count
        self._bytes += len(request.wire)
        device = self._devices.setdefault(request.device, _Device(is_stranger=is_stranger, since=now))
        device.operations += count
        self._strangers_operations += count if device.is_stranger else 0
        self._ways[names[0]] = _Way(via=via, brought_by=set() if via is None else {via})
        self._loads.setdefault(via, _Load()).add(request)
        device.waiting.append(request)
        if len(device.waiting) == 1:
            self._line_up(request.device, device)
        self._waiting_operations += count

    def come_again(self, request: SignedRequest, via: ReplicaId | None) -> None:
        """A request that is in here came by another way: it waits where fewer are before it.

        Its client's own way is always better. A replica may move it once: liars that take turns in passing it on
        would put it at the end of their rings for ever."""
        name = _name_of(request)
        held, way = self._requests.get(name), self._ways.get(name)
        if held is None or way is None or held.digest != request.digest or way.via is None or via in way.brought_by:
            return
        if via is not None:
            way.brought_by.add(via)
            load = self._loads.get(via, _Load())
            if load.operations >= self._loads[way.via].operations or not self._has_part(via, held):
                return
        self._loads[way.via].add(held, -1)
        self._loads.setdefault(via, _Load()).add(held)
        way.via = via
        device = self._devices[held.device]
        if device.waiting and device.waiting[0] is held and not device.is_stranger:
            self._rings.leave(device.ring, held.device)
            self._line_up(held.device, device)

    def _line_up(self, key: PublicKey, device: _Device) -> None:
        via = self._ways[_name_of(device.waiting[0])].via
        device.ring = ring_of(is_stranger=device.is_stranger, via=via)
        self._rings.line_up(device.ring, key)

    @property
    def round_operations(self) -> int:
        """Operations that are served until it is a device's turn again: the next request of each that waits."""
        return sum(len(device.waiting[0].message.operations) for device in self._devices.values() if device.waiting)

    def take(self) -> tuple[SignedRequest, ...]:
        """The next batch: one request of each device in turn (`Rings`), within the group's batch limits.

        They stay in the pool, as proposed, until `remove`.
        """
        taken: list[SignedRequest] = []
        operations = 0
        size = 0
        while (first := self._rings.first()) is not None:
            ring, key = first
            device = self._devices[key]
            request = device.waiting[0]
            count = len(request.message.operations)
            operations += count
            size += len(request.wire)
            too_much = operations > self._parameters.batch_operations_max or size > self._parameters.batch_bytes_max
            if taken and too_much:
                break
            device.waiting.popleft()
            self._waiting_operations -= count
            self._rings.serve(ring, key, count)
            if device.waiting:
                self._line_up(key, device)
            self._proposed.add(_name_of(request))
            taken.append(request)
        return tuple(taken)

    def remove(self, request: SignedRequest, now: Milliseconds) -> bool:
        """Its operations were executed: whatever waits under one of their names would only wait for ever.

        Says whether anything did."""
        is_held = False
        for name in names_of(request):
            holder = self._holders.get(name)
            if holder is not None:
                self._drop(holder)
                is_held = True
        if is_held:
            self._begin_to_wait(request.device, now)
        return is_held

    def on_served(self, executed: ExecutedRequest, now: Milliseconds) -> None:
        """Operations of a device ran, whether they were held here or not. What is older than what ran before says
        nothing: a primary may order an operation that leaves no trace again and again."""
        device = self._devices.get(executed.device)
        ran = [result.client_sequence for result in executed.results if not result.refused]
        if device is None or not ran or (executed.session, max(ran)) <= device.newest:
            return
        device.newest = (executed.session, max(ran))
        self._begin_to_wait(executed.device, now)

    def _begin_to_wait(self, key: PublicKey, now: Milliseconds) -> None:
        device = self._devices.get(key)
        if device is not None:
            device.since = now
            self._devices.move_to_end(key)

    def longest_wait(self, now: Milliseconds) -> int:
        """Milliseconds since the device that waits longest was served; of those that the application knows."""
        for device in self._devices.values():
            if not device.is_stranger:
                return now - device.since
        return 0

    def serve_all(self, now: Milliseconds) -> None:
        """Count all waiting from now on: there is another primary to serve them."""
        for device in self._devices.values():
            device.since = now

    # -- view change

    def return_proposed(self) -> None:
        """What was proposed in a view that is given up waits again, in the order of admission."""
        if not self._proposed:
            return
        self._proposed.clear()
        self._rings.clear()
        for device in self._devices.values():
            device.waiting.clear()
        for request in self._requests.values():
            device = self._devices[request.device]
            device.waiting.append(request)
            if len(device.waiting) == 1:
                self._line_up(request.device, device)
        self._waiting_operations = self._operations

    def mark_proposed(self, requests: Iterable[SignedRequest]) -> None:
        """These stand in a proposal of the new view: they need not be proposed once more."""
        for request in requests:
            name = names_of(request)[0]
            held = self._requests.get(name)
            if held is not None and held.digest == request.digest and name not in self._proposed:
                self._unqueue(held)
                self._proposed.add(name)

    def _unqueue(self, held: SignedRequest) -> None:
        device = self._devices[held.device]
        was_first = device.waiting[0] is held
        device.waiting.remove(held)
        self._waiting_operations -= len(held.message.operations)
        if was_first:
            self._rings.leave(device.ring, held.device)
            if device.waiting:
                self._line_up(held.device, device)

    def _drop(self, name: OperationName) -> None:
        held = self._requests.pop(name)
        for each in names_of(held):
            del self._holders[each]
        count = len(held.message.operations)
        self._operations -= count
        self._bytes -= len(held.wire)
        device = self._devices[held.device]
        device.operations -= count
        self._strangers_operations -= count if device.is_stranger else 0
        self._loads[self._ways.pop(name).via].add(held, -1)
        if name in self._proposed:
            self._proposed.discard(name)
        else:
            self._unqueue(held)
        if not device.operations:
            del self._devices[held.device]
