"""Which commands may be carried out at all: by the site file's list and by the condition that they bring."""

import pytest

from agent.arbiter.authorization import Authorization
from agent.errors import Rejected
from agent.model import Command, Instant, Origin, Quality, Reading

NOW = Instant("boot", 1, 1)
OUTPUTS = {"km1": "io.relay1"}


def command(point="km1", condition=None, origin=Origin.MQTT):
    return Command("c", point, True, NOW, origin=origin, condition=condition)


def guard(allow=None, **values):
    last = {name.replace("_", "."): Reading(name, value, NOW) for name, value in values.items()}
    return Authorization(allow, OUTPUTS, last)


@pytest.mark.parametrize(
    ("allow", "point", "may"),
    [
        (None, "km1", True),
        ((), "km1", False),
        (("km1",), "km1", True),
        (("km1",), "io.relay1", True),
        (("io.relay1",), "km1", True),
        (("km1",), "km2", False),
        (("alarm.*",), "alarm.burst.fountain", True),
        (("*.latch",), "fountain.latch", True),
        (("*.latch",), "fountain.index", False),
        (("KM1",), "km1", False),
    ],
)
def test_the_list_of_the_site_file(allow, point, may):
    if may:
        guard(allow)(command(point))
    else:
        with pytest.raises(Rejected, match="not among"):
            guard(allow)(command(point))


@pytest.mark.parametrize("point", ["fountain.index", "io.relay2"])
def test_an_index_and_an_output_without_an_actuator_are_named_or_refused(point):
    """A pattern, or no list at all, is meant for actuators, not for these."""

    def watch(allow):
        return Authorization(allow, OUTPUTS, {}, writable=("io.relay1", "io.relay2"))

    for allow in (None, ("*",), ("*.index", "io.*"), (point + "*",)):
        with pytest.raises(Rejected, match="does not name"):
            watch(allow)(command(point))
    watch((point,))(command(point))
    watch(None)(command(point, origin=Origin.LOCAL))
    watch(None)(command("km1"))
    watch(None)(command("io.relay1"))


def test_a_command_on_the_gateway_needs_no_list():
    guard(())(command(origin=Origin.LOCAL))


@pytest.mark.parametrize(
    ("value", "wanted", "holds"),
    [
        (True, True, True), (True, 1, True), (False, 0, True), (True, False, False), (0.1 + 0.2, 0.3, True),
        (5, 6, False), ("open", "open", True), ("open", True, False), (None, 0, False), (1e9, 1e9 + 2, False),
    ],
)  # fmt: skip
def test_the_condition_of_a_command(value, wanted, holds):
    watch = guard(io_relay1=value)
    for name in ("km1", "io.relay1"):
        if holds:
            watch(command(condition=(name, wanted)))
        else:
            with pytest.raises(Rejected, match=f"{name} is .*, and the condition wants"):
                watch(command(condition=(name, wanted)))


def test_a_condition_on_an_unknown_value_does_not_hold():
    with pytest.raises(Rejected, match="which has no value"):
        guard()(command(condition=("tank", 1)))
    stale = Authorization(None, {}, {"tank": Reading("tank", 1, NOW, Quality.STALE)})
    with pytest.raises(Rejected, match="which is stale"):
        stale(command(condition=("tank", 1)))


def test_a_condition_knows_what_was_written_since_the_last_poll():
    last = {"io.relay1": Reading("io.relay1", False, NOW)}
    watch = Authorization(None, OUTPUTS, last, {"km1": True}.get)
    watch(command(condition=("km1", True)))
    with pytest.raises(Rejected, match="km1 is on, and the condition wants off"):
        watch(command(condition=("km1", False)))
    Authorization(None, OUTPUTS, {}, {"km1": True}.get)(command(condition=("km1", True)))


def test_no_condition_by_mqtt_asks_for_what_stays_on_the_gateway():
    last = {name: Reading(name, True, NOW) for name in ("pir.motion", "button", "io.di1")}
    watch = Authorization(None, OUTPUTS, last, personal=("pir", "button"))
    for name in ("pir.motion", "button"):
        with pytest.raises(Rejected, match="whose values stay on the gateway"):
            watch(command(condition=(name, True)))
        watch(command(condition=(name, True), origin=Origin.LOCAL))
    watch(command(condition=("io.di1", True)))
