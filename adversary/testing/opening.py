"""How a test gets its group: awaited, as an asynchronous context, or as a plain one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from types import TracebackType
from typing import Any, NoReturn

from adversary.simulator.model import Model
from adversary.simulator.scenario import Network
from adversary.testing.behaviours import Wanted
from adversary.testing.group import SimulatedGroup, make_group
from adversary.testing.plain import PlainGroup


class Opening:
    """A group that is about to be: `await` it, or open it with `async with` or `with`.

    Awaited alone it has to be closed by whoever asked; the pytest fixture does so.
    """

    def __init__(self, make: Callable[[], SimulatedGroup], on_open: Callable[[SimulatedGroup], None] | None) -> None:
        self._make = make
        self._on_open = on_open
        self._made: SimulatedGroup | None = None
        self._was_tried = False

    @property
    def was_tried(self) -> bool:
        """Whether anybody opened it, or tried to."""
        return self._was_tried

    def __getattr__(self, name: str) -> NoReturn:
        """What a group has, and this has not: somebody forgot to await it."""
        msg = f"no {name!r} yet, this group is not open: `await` it, or open it with `async with` or `with`"
        raise AttributeError(msg)

    def open(self) -> SimulatedGroup:
        if self._made is not None:
            msg = "this group was opened before: ask for another one"
            raise RuntimeError(msg)
        self._was_tried = True
        self._made = self._make()
        if self._on_open is not None:
            self._on_open(self._made)
        return self._made

    def __await__(self) -> Generator[Any, Any, SimulatedGroup]:
        return self._opened().__await__()

    async def _opened(self) -> SimulatedGroup:
        return self.open()

    async def __aenter__(self) -> SimulatedGroup:
        return self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(error)

    def __enter__(self) -> PlainGroup:
        return PlainGroup(self.open())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(error)

    def _leave(self, error: BaseException | None) -> None:
        if self._made is not None:
            self._made.leave(error)


def simulated_group(
    *,
    f: int = 1,
    replicas: int | None = None,
    behaviours: Mapping[int, Wanted] | None = None,
    seed: int = 0,
    network: Network | None = None,
    parameters: Mapping[str, int] | None = None,
    real_signatures: bool = False,
    model: Model | None = None,
    on_open: Callable[[SimulatedGroup], None] | None = None,
) -> Opening:
    """A group of 3f + 1 replicas, or of `replicas`, in virtual time. Raises ValueError, and UnknownBehaviour.

    `behaviours`: who is no honest replica, see `adversary.testing.behaviours`; more than f may be given, to see what
    breaks. `network`: what every link does. `parameters`: fields of `pbft.core.group.Parameters`. `model`: says what
    operations must give, in place of the simulator's own, which knows rooms and messages only. `on_open`: told of the
    group when there is one.
    """
    return Opening(
        lambda: make_group(
            f=f,
            replicas=replicas,
            behaviours=behaviours or {},
            seed=seed,
            network=network or Network(),
            parameters=parameters or {},
            real_signatures=real_signatures,
            model=model,
        ),
        on_open,
    )


class Openings:
    """The groups of one test: made here, and closed when it is over."""

    def __init__(self) -> None:
        self._asked: list[Opening] = []
        self._groups: list[SimulatedGroup] = []

    def make(self, **wanted: Any) -> Opening:
        """See `simulated_group`."""
        opening = simulated_group(**wanted, on_open=self._groups.append)
        self._asked.append(opening)
        return opening

    def close(self) -> None:
        """Closes each, whatever is wrong with another. Raises what was; several as an ExceptionGroup."""
        problems: list[Exception] = []
        for group in self._groups:
            try:
                group.close()
            except Exception as error:  # noqa: BLE001 - raised below, when the others are closed too
                problems.append(error)
        if not all(opening.was_tried for opening in self._asked):
            problems.append(RuntimeError("a group was asked for and never opened: `await simulated_group(...)`"))
        if len(problems) == 1:
            raise problems[0]
        if problems:
            raise ExceptionGroup("simulated groups", problems)
