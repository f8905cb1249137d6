"""What `bocage lora` and `collect` answer where there is nothing to show, or to write to."""

import pytest

from agent.cli import main

SITE = """\
version: 1
site: {id: radio, name: Radio, latitude: 47.32, longitude: 5.04, timezone: Europe/Paris}
"""
CHIRPSTACK = 'buses: {air: {type: lora_chirpstack, url: "mqtt://127.0.0.1:1", application: a}}\n'
SERVER = 'buses: {air: {type: lora_gwmp, listen: "127.0.0.1:1"}}\n'


@pytest.mark.parametrize(
    ("buses", "code", "said"),
    [
        ("", 1, "there is no LoRa bus in "),
        (CHIRPSTACK, 1, "devices are kept by a lora_gwmp bus, and "),
        (SERVER, 3, "no agent is running here, and none has kept anything in "),
    ],
)
def test_a_site_with_nothing_to_show(tmp_path, capsys, buses, code, said):
    site = tmp_path / "site.yaml"
    site.write_text(SITE + buses)
    places = ["--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run")]
    assert main(["lora", str(site), "devices", *places]) == code
    assert f"bocage: {said}" in capsys.readouterr().err


def test_what_is_kept_is_shown_after_a_kill_between_two_renames(tmp_path, capsys):
    site, state = tmp_path / "site.yaml", tmp_path / "state"
    site.write_text(SITE + SERVER)
    state.mkdir()
    (state / "state.previous.json").write_text("{}")
    places = ["--state-dir", str(state), "--runtime-dir", str(tmp_path / "run")]
    assert main(["lora", str(site), "devices", *places]) == 0, capsys.readouterr().err


def test_a_database_in_a_folder_that_is_none(tmp_path, capsys):
    pytest.importorskip("jsonschema")
    file = tmp_path / "none" / "region.db"
    assert main(["collect", "mqtt://127.0.0.1:1", "--sqlite", str(file), "--seconds", "1"]) == 1
    assert f"bocage: {file} cannot be opened" in capsys.readouterr().err
