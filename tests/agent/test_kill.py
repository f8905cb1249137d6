"""kill -9 in an outage, twenty times: every reading arrives, and no relay moves but once, to its safe state."""

import json
import random

import pytest

pytestmark = pytest.mark.slow

ROUNDS = 20


def test_twenty_kills_in_an_outage_lose_nothing_and_move_nothing(site, slave, link, subscriber, wait_for):
    site.document["devices"]["m"]["poll"] = "50ms"
    site.document["buses"]["plant"]["timeout"] = "5s"  # on a busy machine too, no answer is given up
    moments = random.Random(20)
    site.start()
    site.bocage("write", "lamp", "on", check=0)
    wait_for(lambda: subscriber.values("m.count"), what="the first reading")
    first = subscriber.values("m.count")[0]
    link.cut()
    for _ in range(ROUNDS):
        target = slave.registers[0] + moments.randrange(1, 12)
        wait_for(lambda target=target: slave.registers[0] >= target, what="some polls")
        site.kill()
        site.start()
    wait_for(lambda asked=slave.registers[0]: slave.registers[0] > asked + 5)
    link.mend()
    last = slave.registers[0]
    # A kill may fall between the slave's answer and the hub: that reading was never accepted. One question is open at
    # a time, so it can only be the last one of its connection.
    wait_for(lambda: subscriber.has_all(first, last, but=slave.ends), 30, "every reading")
    assert len(slave.ends) <= ROUNDS
    counts = subscriber.values("m.count")
    assert counts == sorted(counts), "in order, with one value each"

    def missing():
        told = [document for topic, document, _ in subscriber.messages if topic == "event" or "/result" in topic]
        taken = {seq for _, seq in subscriber.readings.copy()} | {document["k"][1] for document in told}
        return set(range(min(taken), max(taken))) - taken

    wait_for(lambda: json.loads(site.bocage("buffer", "status", "--json", check=0).stdout)["rows"] < 20)
    wait_for(lambda: not missing(), what="every number, for no gap record explains one")
    assert len({store for store, _ in subscriber.readings}) == 1
    # The third crash in ten minutes ends the override, for good.
    assert slave.writes == [(0, True), (0, False)], "carried out once, ended once, and restarts moved nothing"
