"""Counters and report by exception in a whole agent: from the wire to the subscriber, across a kill."""

import json


def index(site):
    return json.loads(site.bocage("read", "ct", "--json").stdout)["ct"]["value"]


def test_every_of_one_poll_sends_each_poll(site, slave, subscriber, wait_for):
    """The slave counts its answers in register 0: a hole in that count is a poll that was not sent."""
    site.document["devices"]["m"]["publish"] = {"every": "200ms"}
    site.start()
    counts = wait_for(lambda: (found := subscriber.values("m.count")) and len(found) > 25 and found)
    assert counts == list(range(counts[0], counts[0] + len(counts)))


def test_a_0_among_good_polls_adds_nothing_also_where_the_agent_is_killed_on_it(site, slave, subscriber, wait_for):
    site.document["signals"]["ct"] = {"from": "m.count", "kind": "counter", "unit": "L", "per_pulse": 1}
    slave.registers[0] = 30_000
    site.start()
    wait_for(lambda: any(subscriber.values("ct")))
    slave.registers[0] = 0
    wait_for(lambda: 0 < subscriber.values("m.count")[-1] < 1000)
    assert 30_000 < index(site) < 31_000
    site.kill()
    slave.registers[0] = 31_000
    site.start()
    wait_for(lambda: index(site) > 31_000)
    told = wait_for(lambda: (found := subscriber.values("ct")) and found[-1] > 31_000 and found)
    assert told == sorted(told) and told[-1] < 32_000
    assert subscriber.events("meter_replaced") == []
