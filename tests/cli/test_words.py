"""What is told of an alarm is in the words of the site, in `bocage alarms` and in `bocage simulate` alike."""

from agent.cli import alarms, simulate

DETAIL = {"points": ["tank-level", "sump"], "latched": False, "room": None, "setpoint": 16.0}
TOLD = ["points tank-level sump", "latched off", "room unknown", "setpoint 16.0"]


def test_lists_and_switches_are_words():
    alarm = {"kind": "alarm", "code": "sensor_fault", "subject": "reservoir", "severity": "minor", "detail": DETAIL}
    assert list(alarms._reasons({}, alarm)) == [one.replace(" ", ": ", 1) for one in TOLD]
    assert simulate._event(alarm) == f"alarm sensor_fault reservoir (minor) {', '.join(TOLD)}"
