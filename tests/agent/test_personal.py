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
