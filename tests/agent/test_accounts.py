"""The accounts of circuits and water points in a whole agent: read, seen live, told upstream, and kept."""

import json

HURRY = (
    "import time, agent.control.engine as r; from agent.app import Agent; from agent.control.civil import Pace; "
    "pace = Pace(1000, time.clock_gettime(time.CLOCK_BOOTTIME)); "
    "Agent.__init__.__defaults__ = (pace, *Agent.__init__.__defaults__[1:]); r.KEEP = 0.3"
)
"""The state is written every 10 s by itself: what is told before that was flushed for it."""
NAMES = ["street.run_hours", "street.starts", "street.energy", "fountain.today"]


def read(site):
    return json.loads(site.bocage("read", *NAMES, "--json").stdout)


def test_accounts_are_points_like_any_other(site, slave, subscriber, wait_for):
    site.document["uplink"]["state_interval"] = "1s"
    site.document["signals"]["ct"] = {"from": "m.count", "kind": "counter", "unit": "L", "per_pulse": 1}
    site.document["water"] = {"points": {"fountain": {"meter": "ct"}}}
    site.document["lighting"] = {
        "circuits": {
            "street": {
                "actuator": "lamp", "rated_power": "500 W",
                "switch_on": {"event": "civil_dusk"}, "switch_off": {"event": "civil_dawn"},
            }
        }
    }  # fmt: skip
    site.sabotage = HURRY
    site.start()
    wait_for(lambda: subscriber.values("m.fixed"))
    assert site.order("lamp", True)[0] == "verified"
    wait_for(lambda: any(subscriber.values("street.run_hours")))
    wait_for(lambda: any((state or {}).get("run_hours") for state in subscriber.on("state/street")))
    found = read(site)
    assert [found[name]["unit"] for name in NAMES] == ["h", "", "kWh", "L"]
    hours, energy = found["street.run_hours"]["value"], found["street.energy"]["value"]
    assert hours > 0 and abs(energy - hours / 2) < 0.05 * hours + 0.02 and found["street.starts"]["value"] == 1
    live = {one["id"]: one for one in json.loads(site.bocage("watch", "--json").stdout)["points"]}
    assert live["street.run_hours"]["value"] >= hours and live["fountain.today"]["device"] == "fountain"
    site.kill()
    site.start()
    assert wait_for(lambda: read(site)["street.run_hours"]["value"]) >= hours
    wait_for(lambda: len(subscriber.values("street.starts")) > 2)
    for name in ("street.run_hours", "street.energy", "street.starts"):
        assert subscriber.values(name) == sorted(subscriber.values(name)), "what was told never goes back"
