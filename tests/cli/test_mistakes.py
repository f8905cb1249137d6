"""A user's mistake is answered with what is wrong and where, never with a traceback."""

import errno
import os
import subprocess
import sys

import pytest

from agent.cli import buffer, main

SITE = """\
version: 1
site: {id: mistakes, name: Mistakes, latitude: 47.32, longitude: 5.04, timezone: Europe/Paris}
buses:
  plant: {type: modbus_tcp, host: 127.0.0.1, port: 9}
devices:
  io-1: {bus: plant, unit_id: 1, profile: relay8_di8}
actuators:
  km1: {output: io-1.relay1, safe_state: off, boot_state: off}
uplink: {url: "mqtt://127.0.0.1:9", prefix: bocage/v1}
"""


@pytest.fixture
def site(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text(SITE)
    return path


@pytest.mark.parametrize("command", [["run"], ["write", "km1", "on", "--direct"], ["stop-outputs"]])
@pytest.mark.parametrize("option", ["--state-dir", "--runtime-dir"])
def test_a_folder_that_is_none(site, tmp_path, command, option, capsys):
    folders = {"--state-dir": str(tmp_path / "state"), "--runtime-dir": str(tmp_path / "run")}
    folders[option] = str(site)
    name, *rest = command
    assert main([name, str(site), *rest, *(word for pair in folders.items() for word in pair)]) == 1
    assert capsys.readouterr().err.endswith(f"bocage: {site} cannot be used as a folder of the agent: File exists\n")


@pytest.mark.parametrize("command", [["run"], ["stop-outputs"], ["write", "km1", "on", "--direct"]])
def test_a_folder_that_cannot_be_entered(site, tmp_path, command, capsys):
    state = tmp_path / "state"
    state.symlink_to(state)  # root may enter everything but this
    name, *rest = command
    folders = ["--state-dir", str(state), "--runtime-dir", str(tmp_path / "run")]
    assert main([name, str(site), *rest, *folders]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"bocage: {state}")
    assert len(said.splitlines()) == 1


def test_a_buffer_that_may_not_be_read(site, tmp_path, monkeypatch, capsys):
    def read_status(state, *others, **bounds):
        raise PermissionError(errno.EACCES, "Permission denied", str(state / "outbox.db"))

    monkeypatch.setattr(buffer, "read_status", read_status)
    assert main(["buffer", str(site), "--state-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"bocage: {tmp_path}/outbox.db: Permission denied\n"


@pytest.mark.parametrize(
    "command", [["run"], ["read"], ["write", "km1", "on"], ["release", "km1"], ["watch"], ["buffer"]]
)
def test_no_file(tmp_path, command, capsys):
    name, *rest = command
    path = tmp_path / "none.yaml"
    assert main([name, str(path), *rest]) == (78 if name == "run" else 1)
    assert capsys.readouterr().err == f"{path}:1:1: error: cannot be read: No such file or directory\n"


def test_a_point_of_a_bus_that_comes_later(site, tmp_path, capsys):
    site.write_text(
        SITE.replace(
            "devices:", "  old: {type: lora_rn2483, port: /dev/serial/by-id/r, frequency: 868.1 MHz}\ndevices:"
        ).replace("actuators:", "  room: {bus: old, profile: milesight_em300_th}\nactuators:")
    )
    assert main(["read", str(site), "room.temperature", "--runtime-dir", str(tmp_path / "run")]) == 1
    shown = capsys.readouterr().err
    assert "bocage: room.temperature cannot be read: its bus old (lora_rn2483) is not driven yet\n" in shown


@pytest.mark.parametrize("command", [["write", "km1", "on"], ["release", "km1"], ["watch"], ["watch", "--json"]])
def test_no_agent_is_3(site, tmp_path, command, capsys):
    name, *rest = command
    assert main([name, str(site), *rest, "--runtime-dir", str(tmp_path / "run")]) == 3
    assert capsys.readouterr().err == (
        f"bocage: no agent is running here (no answer at {tmp_path / 'run' / 'agent.sock'})\n"
        f"to start it: bocage run {site} --runtime-dir={tmp_path / 'run'}\n"
    )


def test_a_slip_in_the_file_does_not_come_between_a_technician_and_the_running_agent(
    site, agent_that_says, tmp_path, capsys
):
    site.write_text(SITE.replace("relay8_di8", "relay8_di9"))
    runtime = ["--runtime-dir", str(tmp_path / "run")]
    assert main(["write", str(site), "km1", "on", *runtime]) == 3
    outcome = {"id": "local-1", "point": "km1", "value": True, "state": "verified", "reason": ""}
    points = {"points": {}, "unknown": {"nix": ""}}
    with agent_that_says(tmp_path / "run", "mistakes", write=outcome, status={"x": 1}, read=points):
        assert main(["write", str(site), "km1", "on", *runtime]) == 0
        assert main(["watch", str(site), "--json", *runtime]) == 0
        assert main(["read", str(site), "nix", *runtime]) == 1
    assert capsys.readouterr().err.endswith('bocage: unknown point "nix"\n')
    assert main(["read", str(site), "io-1.relay1", *runtime]) == 1
    assert "did you mean" in capsys.readouterr().err


def test_the_agent_of_another_site_is_not_asked(site, agent_that_says, tmp_path, capsys):
    with agent_that_says(tmp_path / "run", "another", write={}):
        assert main(["write", str(site), "km1", "on", "--runtime-dir", str(tmp_path / "run")]) == 3
    assert capsys.readouterr().err == "bocage: no agent runs the site mistakes here: it runs the site another\n"


def test_a_terminal_without_accents(tmp_path):
    path = tmp_path / "école.yaml"
    path.write_text(SITE.replace("Mistakes", "[").replace("km1", "kmé"))
    done = subprocess.run(
        [sys.executable, "-m", "agent", "check", str(path)],
        env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "?cole.yaml:2:" in done.stdout
    assert "Traceback" not in done.stderr
