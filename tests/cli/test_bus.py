"""`check --bus`: each device that cannot be read is a problem at its place in the file."""

import json

import pytest

from agent.cli import main

SITE = """\
version: 1
site: {id: bus, name: Bus, latitude: 47.32, longitude: 5.04, timezone: Europe/Paris}
buses:
  plant: {type: modbus_tcp, host: 127.0.0.1, port: 9}
devices:
  io-1: {bus: plant, unit_id: 1, profile: relay8_di8}
  io-2: {bus: plant, unit_id: 2, profile: relay8_di8}
uplink: {url: "mqtt://127.0.0.1:9", prefix: bocage/v1}
"""


@pytest.fixture
def site(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text(SITE)
    return path


def test_a_host_that_is_not_there(site, tmp_path, capsys):
    assert main(["check", "--bus", str(site), "--runtime-dir", str(tmp_path / "run"), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert list(document) == ["problems", "lines"]
    assert [(found["line"], found["column"]) for found in document["problems"]] == [(6, 9), (7, 9)]
    assert document["problems"][0]["message"] == "io-1: 127.0.0.1:9: Connection refused"


def test_the_running_agent_is_asked(site, agent_that_says, tmp_path, capsys):
    points = [
        {"id": "io-1.relay1", "device": "io-1", "quality": "good"},
        {"id": "io-1.modbus.timeouts", "device": "io-1", "quality": "bad"},
        {"id": "io-2.relay1", "device": "io-2", "quality": "bad"},
    ]
    buses = [{"name": "plant", "error": ""}]
    with agent_that_says(tmp_path / "run", status={"points": points, "buses": buses}):
        assert main(["check", "--bus", str(site), "--runtime-dir", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{site}:7:9: error: io-2: the agent cannot read it (io-2.relay1)",
        "io-1: ok: 1 point read by the running agent",
    ]
