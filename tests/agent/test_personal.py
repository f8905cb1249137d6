"""What is about people leaves a whole agent as a fact, never as a figure."""

import json

import pytest


@pytest.mark.parametrize("personal", [[], ["ct"]])
def test_events_of_a_personal_water_point_go_out_without_litres(site, slave, subscriber, wait_for, personal):
    site.document["signals"]["ct"] = {"from": "m.count", "kind": "counter", "unit": "L", "per_pulse": 1}
    site.document["water"] = {"points": {"house": {"meter": "ct", "quota": {"daily": "3 L", "action": "alarm"}}}}
    site.document["privacy"] = {"personal": personal}
    slave.registers[0] = 30_000
    site.start()
    wait_for(lambda: subscriber.events("quota_exceeded"))
    assert "applied" in site.bocage("write", "ct.index", "31000").stdout  # another meter, at once
    wait_for(lambda: subscriber.events("meter_replaced"))
    wait_for(lambda: json.loads(site.bocage("read", "ct", "--json").stdout)["ct"]["value"] > 31_003)
    (quota,), (replaced,) = subscriber.events("quota_exceeded"), subscriber.events("meter_replaced")
    assert (quota["subject"], replaced["subject"]) == ("house", "house")
    told = subscriber.values("ct")
    if personal:
        assert quota["detail"] == {} and replaced["detail"].keys() <= {"meter", "by", "origin"} and not told
    else:
        assert quota["detail"]["litres"] > 3 and replaced["detail"]["from"] > 30_000
        assert told == sorted(told) and told[-1] >= 31_000


def test_who_asks_for_light_is_not_told(site, slave, subscriber, wait_for):
    """Readings, state topics, events, causes, outcomes, the log, and what waits on flash or in memory."""
    profile = site.folder / "profiles" / "bench8.yaml"
    profile.write_text(profile.read_text() + "  motion: {register: discrete, address: 3}\n")
    site.document["actuators"]["lamp"] |= {"min_on": "1s", "min_off": "1s", "max_starts_per_hour": 60}
    site.document["lighting"] = {
        "circuits": {
            "street": {
                "actuator": "lamp",
                "rated_power": "100 W",
                "switch_on": {"time": "12:00"},
                "switch_off": {"time": "11:59"},
                "part_night_off": [{"from": "12:01", "to": "11:58"}],
                "on_demand": {"triggers": ["m.motion"], "for": "3s", "at_most": "500/night", "only": "part_night_off"},
            }
        }
    }
    site.start()
    for _ in range(2):
        wait_for(lambda: not slave.coils[0])
        slave.coils[3] = True
        wait_for(lambda: slave.coils[0], what="light on request")
        slave.coils[3] = False
    wait_for(lambda: not slave.coils[0], what="the end of the light")
    subscriber.send("asked", point="street.on_demand", value=True)
    wait_for(lambda: "applied" in subscriber.states("asked"))
    wait_for(lambda: subscriber.events("output") and subscriber.on("state/m") and subscriber.values("street.starts"))
    assert json.loads(site.bocage("read", "m.motion", "--json").stdout)["m.motion"]["quality"] == "good"
    told = [one for one in subscriber.messages if "motion" in json.dumps(one)]
    assert not told
    assert {event["detail"]["cause"] for event in subscriber.events("output")} <= {
        "boot state", "street on request", "street part_night_off", "safe state",
    }  # fmt: skip
    assert not any(subscriber.values(f"street.{what}")[-1] for what in ("requests", "detections", "request_minutes"))
    assert "m.motion" not in site.log.read_text()
    waiting = [path for folder in ("state", "run") for path in (site.folder / folder).rglob("*") if path.is_file()]
    kept = [path.name for path in waiting if b"m.motion" in path.read_bytes()]
    last = {"state.json", "state.previous.json", "site.yaml"}
    assert set(kept) <= last, "the last moment alone, and the site file"
    subscriber.send("spy", point="street.baseline", value="reset", **{"if": {"point": "m.motion", "equals": True}})
    wait_for(lambda: "rejected" in subscriber.states("spy"))
    assert "stay on the gateway" in subscriber.results("spy")[0]["reason"]
