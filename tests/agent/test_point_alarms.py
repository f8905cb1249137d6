"""Alarms on points of a whole agent: over a kill, a reload, and what of a personal point leaves the box."""

import pytest

FULL, HALF = 20_000, 12_000
"""The register of the level at 100 % and 50 %."""


def known(site, subject):
    """Whether the state on flash knows of the alarm: a kill before that tells it a second time."""
    return f'"{subject}", "alarms.{subject}", "critical", true' in site.facts()


@pytest.fixture
def tank(site):
    """A site with an alarm on its tank."""
    entry = {"point": "tank", "above": 80, "for": "1s", "severity": "critical", "text": "Niveau {value} {unit}"}
    site.document["alarms"] = {"overflow": entry}
    return site


def test_an_alarm_is_told_once_over_a_kill_and_cleared_by_the_next_process(tank, slave, subscriber, wait_for):
    tank.start()
    slave.registers[1] = FULL
    wait_for(lambda: subscriber.events("point_alarm"), what="the alarm")
    (told,) = subscriber.events("point_alarm")
    assert (told["kind"], told["subject"], told["severity"]) == ("alarm", "overflow", "critical")
    assert {key: told["detail"][key] for key in ("point", "value", "unit", "text")} == {
        "point": "tank", "value": 100.0, "unit": "%", "text": "Niveau 100 %",
    }  # fmt: skip
    assert told["detail"]["since"].endswith("Z")
    wait_for(lambda: known(tank, "overflow"))
    tank.kill()
    tank.start()
    wait_for(lambda: tank.quality("tank") == "good")
    assert "point_alarm overflow" in tank.bocage("alarms", check=0).stdout
    assert "Niveau 100 %" in tank.bocage("alarms", check=0).stdout
    tank.kill()
    slave.registers[1] = HALF
    tank.start()
    wait_for(lambda: subscriber.events("point_alarm", "cleared"), what="its end")
    assert [one["kind"] for one in subscriber.events("point_alarm")] == ["alarm", "cleared"]
    assert tank.bocage("alarms", check=0).stdout.strip() == "no alarm is open"


def test_an_alarm_that_gets_another_name_or_leaves_the_file_is_cleared(tank, slave, subscriber, wait_for):
    tank.start()
    slave.registers[1] = FULL
    wait_for(lambda: subscriber.events("point_alarm"), what="the alarm")
    alarms = tank.document["alarms"]
    alarms["full"] = alarms.pop("overflow")
    tank.write()
    tank.bocage("reload", check=0)
    wait_for(lambda: len(subscriber.events("point_alarm")) == 3, what="the end of one and the other")
    assert [(one["kind"], one["subject"]) for one in subscriber.events("point_alarm")] == [
        ("alarm", "overflow"), ("cleared", "overflow"), ("alarm", "full"),
    ]  # fmt: skip
    alarms["full"]["above"] = 101
    tank.write()
    tank.bocage("reload", check=0)
    wait_for(lambda: subscriber.events("point_alarm")[-1]["kind"] == "cleared", what="the end by another limit")
    alarms["full"]["above"] = 80
    tank.write()
    tank.bocage("reload", check=0)
    wait_for(lambda: subscriber.events("point_alarm")[-1]["kind"] == "alarm", what="the alarm again")
    tank.document["alarms"] = {}
    tank.write()
    tank.kill()
    tank.start()
    wait_for(lambda: subscriber.events("point_alarm")[-1]["kind"] == "cleared", what="the end with the entry")
    told = {tuple(one["k"]): one for one in subscriber.events("point_alarm")}  # a kill may send one of them once more
    assert [one["subject"] for one in told.values()][3:] == ["full"] * 3
    assert "no alarm is open" in tank.bocage("alarms", check=0).stdout


def test_of_a_personal_point_value_and_words_stay_in_the_box(tank, slave, subscriber, wait_for):
    tank.document["privacy"] = {"personal": ["tank"]}
    tank.start()
    slave.registers[1] = FULL
    wait_for(lambda: subscriber.events("point_alarm"), what="the alarm")
    (told,) = subscriber.events("point_alarm")
    assert told["detail"].keys() == {"since", "point", "unit"}
    assert "Niveau 100 %" in tank.bocage("alarms", check=0).stdout, "a technician on the box reads it"
