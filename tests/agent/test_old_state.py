"""What an older program left in the state folder is opened and drained by this one (tests/outbox/fixtures)."""

import json
import shutil
from pathlib import Path

FIXTURE = Path(__file__).parents[1] / "outbox/fixtures/state-1446ca4"


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
    records = {tuple(record) for record in waiting["records"]}

    def told():
        bodies = [body for topic, body, _ in subscriber.messages if topic == "event" or "/result" in topic]
        return {tuple(body["k"][:2]) for body in bodies}

    wait_for(lambda: records <= told(), what="events and outcomes of then")
    results = [body for topic, body, _ in subscriber.messages if topic.endswith("/result")]
    (result,) = [body for body in results if body["state"] == "verified"]
    assert result["point"] == "lamp"
    wait_for(lambda: json.loads(site.bocage("buffer", "status", "--json", check=0).stdout)["rows"] < 20)
    assert not list(state.glob("*unreadable*")) + list(state.glob("*corrupt*"))
    assert not subscriber.events("store_corrupt")
    assert '"arbiter.lamp"' in site.facts(), "what was known of the lamp is known"
