"""The API of a control: `step(state, view, now) -> Step`. Values in, values out: no I/O, no clock, no sleep.

The engine calls a control when one of its inputs changes or its `due` comes, hands its wishes to the arbiter and its
happenings to the outbox, and keeps what must outlive the process. The simulator and `bocage plan` call the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

from agent.model import Point, Quality, Severity, Value

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from agent.control.named_calendars import NamedCalendar

__all__ = [
    "NEVER", "Accounts", "Alarming", "Commanded", "Control", "Count", "Counting", "Discreet", "Exact",
    "Factual", "Filling", "Happening", "Indifferent", "Input", "Issued", "Latching", "Metered", "Now", "Output",
    "Overridden", "Pressed", "Priced", "Ruling", "Sparing", "Step", "Telling", "Timed", "View", "Wish", "Worded",
    "check_reset", "fields", "good", "lost_points", "updated",
]  # fmt: skip

NEVER = float("inf")
"""A `due` that never comes: only an input wakes the control."""

TICK = timedelta(milliseconds=1)
"""A moment nearer than this counts as reached: two clocks differ by their rounding."""

_GOOD = Quality.GOOD  # looked up once: this is asked ten times a step

S = TypeVar("S")
D = TypeVar("D", bound="DataclassInstance | NamedTuple")


class _LookedUp(NamedTuple):
    """A moment, and what is worked out of it: a look into the tables of the timezone costs as much as a small step."""

    civil: datetime | None
    unix: float
    reached: datetime


_last_moment = _LookedUp(None, 0.0, datetime.min)
"""All controls of a turn ask of one and the same moment."""


def _looked_up(civil: datetime) -> _LookedUp:
    """By the object itself: the two equal hours in October compare as equal."""
    global _last_moment
    found = _last_moment
    if found.civil is not civil:
        found = _last_moment = _LookedUp(civil, civil.timestamp(), civil.astimezone(UTC) + TICK)
    return found


class Now(NamedTuple):
    """This moment. Timers count on `monotonic` (s); calendars ask `civil` (aware, in the site's timezone).

    `trusted` is whether the wall clock may be believed. While it is not, `civil` is the last trusted time plus
    monotonic time, as well as it is known, or None if there never was one. `sure`: it was trusted in this boot, and is
    good to seconds all the same.
    """

    monotonic: float
    civil: datetime | None
    trusted: bool
    sure: bool = False

    @property
    def reached(self) -> datetime | None:
        """Up to when (UTC) all has come: a tick after `civil`. To add to `civil` itself would count by the hands of the
        clock, and take the second of two equal hours in October for the first."""
        return None if self.civil is None else _looked_up(self.civil).reached

    @property
    def unix(self) -> float | None:
        """`civil` in Unix seconds."""
        return None if self.civil is None else _looked_up(self.civil).unix

    @property
    def known(self) -> bool:
        """Whether hours that the law or a programme gives can be held by `civil`."""
        return self.trusted or self.sure


class Input(NamedTuple):
    """The last reading of a point or signal. Bad and stale drive nothing: `at` is when the last good one was read
    (monotonic s). `doubted`: a counter whose index does not move until it is known whether the meter was replaced."""

    value: Value
    quality: Quality
    at: float
    doubted: bool = False


class Output(NamedTuple):
    """An actuator as it is now: what holds it, and since when (monotonic s).

    `feedback` is what its feedback reads; None if there is none, or it was not read. `waits` is until when a limit
    (min_off, starts an hour, stagger) keeps it from what is wanted of it (monotonic s); in the past: none does.
    `unread` is since when the output itself cannot be read, and `value` is what was known before; NEVER: it is read.
    """

    value: Value
    priority: int
    cause: str
    since: float
    feedback: bool | None
    waits: float = -NEVER
    unread: float = NEVER


class View(NamedTuple):
    """Everything a control may look at."""

    points: Mapping[str, Input]
    outputs: Mapping[str, Output]
    calendars: Mapping[str, NamedCalendar] = MappingProxyType({})
    """The calendars of the site, by name: ask by `is_on` or `held` of `agent.control.named_calendars`."""


class Wish(NamedTuple):
    """The value that a control wishes for an actuator, its priority (1 to 15), and the cause in a few words."""

    actuator: str
    priority: int
    value: Value
    cause: str


class Happening(NamedTuple):
    """An alarm raised or cleared, or another event: the engine gives it a time and sends it on.

    `kind` is alarm, cleared or change; `code` is from the closed list in docs/alarms.md.
    """

    kind: str
    code: str
    subject: str
    severity: Severity = Severity.MAJOR
    detail: Mapping[str, Any] | None = None


class Step(NamedTuple, Generic[S]):
    """The result of a step. `wishes` are all wishes of the control: one that is missing is relinquished.

    `due` (monotonic s) is when it next has something to decide by itself.
    """

    state: S
    wishes: Sequence[Wish]
    happenings: Sequence[Happening]
    due: float


class Control(Protocol[S]):
    """One circuit, water point, tank, zone … Specifications are frozen values made from the site file."""

    @property
    def name(self) -> str:
        """Its subject, unique among controls: "main-street"."""

    @property
    def inputs(self) -> frozenset[str]:
        """The points, signals and actuators on whose change the control is called; calendars by `calendar_input`."""

    def initial(self) -> S: ...

    def step(self, state: S, view: View, now: Now) -> Step[S]: ...

    def dump(self, state: S) -> dict[str, Any]:
        """The state that must survive a restart, as JSON values."""

    def load(self, kept: Mapping[str, Any]) -> S:
        """The state from what survived; ValueError or KeyError if it cannot be used."""


@runtime_checkable
class Commanded(Protocol):
    """A control with points of its own that take a command: a latch that is reset."""

    @property
    def commands(self) -> Sequence[str]:
        """The ids of these points: `fountain.latch`."""

    def command(self, state: Any, point: str, value: Value, now: Now) -> Any:
        """The state after a command on one of `commands`; ValueError with the reason if the value is wrong."""


class Issued(NamedTuple):
    """How a command was given: `age` seconds ago, for `hold` seconds (None: it does not say for how long)."""

    age: float = 0.0
    hold: float | None = None


@runtime_checkable
class Timed(Protocol):
    """A control with commands that last for a time, and can come too late. It has `commands` as well."""

    def timed_command(self, state: Any, point: str, value: Value, now: Now, given: Issued) -> Any:
        """As `Commanded.command`, which is not called."""


@runtime_checkable
class Accounts(Protocol):
    """A control with points of its own that it counts: run-hours, energy, starts."""

    @property
    def points(self) -> Sequence[Point]: ...

    def figures(self, state: Any) -> Mapping[str, float]:
        """The value of each of `points` that is known, by id."""


@runtime_checkable
class Factual(Protocol):
    """A control with points of its own that other controls may look at: the mode of a zone. They are told at once."""

    @property
    def points(self) -> Sequence[Point]: ...

    def facts(self, state: Any) -> Mapping[str, Value]:
        """The value of each of these points, by id; one that is missing is not known."""


@runtime_checkable
class Counting(Protocol):
    """A control that counts towards a latch: a crash must not reset the count."""

    def mark(self, state: Any) -> object:
        """When this changes, the state is written to flash at once."""


@runtime_checkable
class Latching(Protocol):
    """A control with alarms that only a `reset` ends, once they are latched."""

    def latched(self, state: Any) -> Sequence[tuple[str, str]]:
        """The code and the subject of each that is latched now."""


@runtime_checkable
class Priced(Protocol):
    """A control whose outputs take current at one tariff or another."""

    @property
    def powers(self) -> Mapping[str, float]:
        """W of each output while it is on, by actuator; empty: there is one tariff, or no power is known."""

    def tariff_now(self, state: Any) -> str:
        """The tariff that holds, as far as is known."""


@runtime_checkable
class Worded(Protocol):
    """A control that reads words at some of its inputs, such as the name of a tariff."""

    @property
    def words(self) -> frozenset[str]:
        """These inputs."""


@runtime_checkable
class Exact(Protocol):
    """A control that tells some figures at full hours only, so that they do not show when a person came by."""

    def figures_now(self, state: Any) -> Mapping[str, float]:
        """These figures as they are now. They do not leave the box."""


@runtime_checkable
class Pressed(Protocol):
    """A control with inputs of which each good reading that is on counts, also one that says the same as the last: a
    radio button tells its presses, and never their end."""

    @property
    def pressed(self) -> frozenset[str]: ...


@runtime_checkable
class Overridden(Protocol):
    """A control that takes commands which hold for a time."""

    def holding(self, state: Any) -> Sequence[tuple[str, Value, float]]:
        """The commands that hold: the point, the value, and until when (monotonic s)."""


class Count(NamedTuple):
    """A time that a condition counts: `seconds` so far of those that it `needs`, begun at `since` (monotonic s)."""

    seconds: float
    needs: float
    since: float


@runtime_checkable
class Alarming(Protocol):
    """A control that tells an alarm, or moves an actuator, when its condition has held for a time."""

    def counting(self, state: Any, view: View, now: Now) -> Sequence[Count]:
        """The times that are counted now."""


@runtime_checkable
class Ruling(Alarming, Protocol):
    """A control that moves an actuator while its condition holds, and wishes nothing of it before."""

    @property
    def actuator(self) -> str: ...


@runtime_checkable
class Filling(Protocol):
    """A control that fills a tank between two levels."""

    def fills(self, state: Any) -> tuple[float, float, str | None]:
        """The levels (percent) at which a fill starts and stops now, and the tariff that decides it, if one does."""


@runtime_checkable
class Indifferent(Protocol):
    """A control that many readings say nothing new to: a limit is a side, not a number."""

    def alike(self, state: Any, view: View) -> bool:
        """Whether a step before its `due` would do nothing that the one at its `due` does not do as well."""


@runtime_checkable
class Sparing(Protocol):
    """A control whose state changes more often than what is kept of it."""

    def kept(self, state: Any) -> object:
        """All that `dump` is made of: where it is the same as before, so is the dump."""


@runtime_checkable
class Discreet(Protocol):
    """A control with inputs that tell when people come by. Their readings do not leave the box, nor does anything else
    of a radio node that sends them."""

    @property
    def private(self) -> frozenset[str]: ...


@runtime_checkable
class Metered(Protocol):
    """A control that follows the indexes of meters."""

    @property
    def name(self) -> str: ...

    @property
    def meters(self) -> Sequence[str]:
        """The signals or points that have the indexes."""

    def swapped(self, state: Any, meter: str, index: float, before: float | None = None) -> Any:
        """The state after `meter` was set from `before` to `index`, which is no consumption; None if `meter` is none of
        its own."""


@runtime_checkable
class Telling(Protocol):
    """A control with events that tell values of points: of a personal point they leave the box without."""

    @property
    def subject(self) -> str:
        """The subject of these events."""

    @property
    def told(self) -> frozenset[str]:
        """The points."""


def check_reset(point: str, value: Value) -> None:
    """ValueError unless the value of a command on a point that is only ever reset is "reset"."""
    if value != "reset":
        raise ValueError(f'{point} takes "reset", not {value!r}')


def fields(state: DataclassInstance | NamedTuple) -> dict[str, Any]:
    """The fields of a state by name, and those of dataclasses in it. Values are not copied: states are frozen."""
    found = {}
    for name in state._fields if isinstance(state, tuple) else state.__dataclass_fields__:
        value = getattr(state, name)
        found[name] = fields(value) if hasattr(value, "__dataclass_fields__") else value
    return found


def updated(state: D, **to: Any) -> D:
    """`state` with other values. Returns the same object if nothing changes: most steps change nothing."""
    for key, value in to.items():
        before = getattr(state, key)
        if before is not value and before != value:
            return state._replace(**to) if isinstance(state, tuple) else replace(state, **to)  # type: ignore
    return state


def lost_points(view: View, names: Sequence[str]) -> list[str]:
    """Find the points that have no good value."""
    points = view.points
    return [name for name in names if name not in points or points[name].quality is not _GOOD]


def good(view: View, name: str | None) -> float | None:
    """The number of a point, if it is there and good; None otherwise: the caller's fallback decides."""
    if name is None:
        return None
    found = view.points.get(name)
    if found is None or found.quality is not _GOOD:
        return None
    value = found.value
    return None if value is None or isinstance(value, str) else float(value)
