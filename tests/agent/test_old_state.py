"""What an older program left in the state folder is opened and drained by this one (tests/outbox/fixtures)."""

import json
import re
import shutil
import time
import uuid
import zlib
from pathlib import Path

FIXTURES = Path(__file__).parents[1] / "outbox/fixtures"
FIXTURE = FIXTURES / "state-1446ca4"
SERVICES = FIXTURES / "state-51fdbb0"
BURST, INDEX = "2026-11-30T12:15:48.541+00:00", 1_254_770
"""When the fountain burst in it, and how far its index had come, in L."""


def records_of_then(waiting):
    """(store, number) of each event and outcome that waits in a fixture."""
    return {tuple(record) for record in waiting["records"]}


def records_told(subscriber):
    bodies = [body for topic, body, _ in list(subscriber.messages) if topic == "event" or "/result" in topic]
    return {tuple(body["k"][:2]) for body in bodies}


def test_the_state_folder_of_1446ca4_is_opened_and_drained(site, subscriber, wait_for):
    state = site.folder / "state"
    shutil.copytree(FIXTURE, state)
    waiting = json.loads((state / "waiting.json").read_text())
    (store,) = {store for store, *_ in waiting["blocks"]}
    site.start()

    def old():
        return [number for name, number in subscriber.readings if name == store]

    highest = max(last for _, _, last, _ in waiting["blocks"])
    wait_for(lambda: len([number for number in old() if number <= highest]) == waiting["readings"])
    wait_for(lambda: records_of_then(waiting) <= records_told(subscriber), what="events and outcomes of then")
    results = [body for topic, body, _ in subscriber.messages if topic.endswith("/result")]
    (result,) = [body for body in results if body["state"] == "verified"]
    assert result["point"] == "lamp"
    wait_for(lambda: json.loads(site.bocage("buffer", "status", "--json", check=0).stdout)["rows"] < 20)
    assert not list(state.glob("*unreadable*")) + list(state.glob("*corrupt*"))
    assert not subscriber.events("store_corrupt")
    assert '"arbiter.lamp"' in site.facts(), "what was known of the lamp is known"


def brought_here(state, port):
    """Its facts as if it had been left a minute ago, in another boot, by an agent whose slave was at this port."""
    text = (state / "state.json").read_text()
    later = round(time.time() * 1000) - 60_000 - max(int(moment) for moment in re.findall(r'"wall_ms": ([0-9]+)', text))
    text = re.sub(r'"wall_ms": ([0-9]+)', lambda found: f'"wall_ms": {int(found[1]) + later}', text)
    text = re.sub(r'"port": [0-9]+', f'"port": {port}', text)
    for boot in set(re.findall(r'"boot": "([^"]+)"', text)):
        text = text.replace(boot, str(uuid.uuid4()))
    facts = json.loads(text)["facts"]
    crc = zlib.crc32(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode())
    (state / "state.json").write_text(json.dumps({"format": 1, "crc32": crc, "facts": facts}))


def test_the_state_folder_of_51fdbb0_with_three_services_is_taken_up(site, slave, subscriber, wait_for):
    state = site.folder / "state"
    shutil.copytree(SERVICES, state)
    brought_here(state, slave.port)
    waiting = json.loads((state / "waiting.json").read_text())
    left = json.loads((state / "applied/site.yaml").read_text())
    for section in ("signals", "actuators", "lighting", "water", "heating"):
        site.document[section] = left[section]
    shutil.copy(state / "applied/profiles/bench8.yaml", site.folder / "profiles/bench8.yaml")
    site.start()

    (store,) = {store for store, *_ in waiting["blocks"]}
    highest = max(last for _, _, last, _ in waiting["blocks"])
    wait_for(lambda: sum(key <= (store, highest) for key in list(subscriber.readings)) == waiting["readings"])
    wait_for(lambda: any(key > (store, highest) for key in list(subscriber.readings)), what="numbers that go on")
    wait_for(lambda: records_of_then(waiting) <= records_told(subscriber), what="events and outcomes of then")

    status = site.status()
    outputs = {actuator["name"]: actuator for actuator in status["actuators"]}
    lamp = outputs["lamp"]
    assert (lamp["value"], lamp["mode"], lamp["by"]) == (True, "manual", "uid 0 (root)")
    assert (outputs["ev1"]["value"], outputs["ev1"]["cause"]) == (False, "burst"), "the latch holds"
    assert {(alarm["code"], alarm["since"]) for alarm in status["alarms"]} == {("burst", BURST)}
    indexes = [value for value in subscriber.values("fountain-ct") if value is not None]
    assert indexes[-1] >= INDEX, "the counter's index goes on"
    assert not list(state.glob("*unreadable*")) + list(state.glob("*corrupt*"))
    assert len(subscriber.events("burst", "alarm")) == 1, "as it was raised then, and not again"
    site.document["signals"] = "nothing that can be read"
    site.write().stop()
    site.launch()
    wait_for(lambda: site._answers(), what="the configuration that was applied")
    wait_for(lambda: "config_invalid" in {alarm["code"] for alarm in site.status()["alarms"]})
