"""A bad file never costs control: the configuration that was applied last goes on."""

import json
import shutil
import stat
import subprocess
import sys

import pytest

TYPO = "version: 1\nsite: {id: test-village\nbuses: [\n"


def invalid(site):
    return site.status()["config"]["invalid"]


def is_read(site):
    return site.quality("m.fixed") == "good"


def spoil_typo(site):
    site.path.write_text(TYPO)


def spoil_missing(site):
    site.path.unlink()


def spoil_binary(site):
    site.path.write_bytes(bytes(range(256)) * 4)


def spoil_empty(site):
    site.path.write_text("")


def spoil_folder(site):
    site.path.unlink()
    site.path.mkdir()


def spoil_profile(site):
    (site.folder / "profiles" / "bench8.yaml").write_text("points: {fixed: {register: holding, adress: 1}}\n")


def spoil_missing_profile(site):
    (site.folder / "profiles" / "bench8.yaml").unlink()


def spoil_key(site):
    site.document["actuators"]["lamp"]["outptu"] = site.document["actuators"]["lamp"].pop("output")
    site.write()


SPOILS = [
    spoil_typo, spoil_missing, spoil_binary, spoil_empty, spoil_folder, spoil_profile, spoil_missing_profile, spoil_key
]  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda spoil: spoil.__name__)
def test_a_wrong_file_at_the_start_goes_on_with_what_was_applied(site, slave, wait_for, spoil):
    site.start()
    site.kill()
    spoil(site)
    site.launch()
    wait_for(lambda: site._answers() and is_read(site))
    wrong = invalid(site)
    assert wrong["file"].startswith(str(site.folder)) and wrong["line"] >= 1 and wrong["column"] >= 1
    assert wrong["message"]
    site.bocage("write", "lamp", "on", check=0)
    assert slave.coils[0] is True
    shown = site.bocage("watch", "--once", check=0).stdout
    assert "config_invalid" in shown
    site.kill()
    assert "safe state" in site.bocage("stop-outputs", check=0).stdout
    assert slave.coils[0] is False


def test_a_wrong_file_is_an_alarm_until_a_good_one_is_applied(site, subscriber, wait_for):
    site.start()
    site.stop()
    text = site.path.read_text()
    site.path.write_text(text.replace('"bench8"', '"bench9"'))
    site.launch()
    wait_for(lambda: subscriber.events("config_invalid", "alarm"))
    alarm = subscriber.events("config_invalid", "alarm")[0]
    assert (alarm["severity"], alarm["subject"]) == ("major", "gateway")
    line = 1 + text[: text.index('"bench8"')].count("\n")
    assert (alarm["detail"]["file"], alarm["detail"]["line"]) == (str(site.path), line)
    assert 'unknown profile "bench9"' in alarm["detail"]["message"]
    assert alarm["detail"]["column"] > 1
    site.path.write_text(text)
    site.hup()
    wait_for(lambda: subscriber.events("config_invalid", "cleared"))
    assert invalid(site) is None


def test_only_where_nothing_was_ever_applied_a_wrong_file_ends_with_78(site):
    site.write()
    spoil_typo(site)
    assert site.bocage("run").returncode == 78
    spoil_missing(site)
    refused = site.bocage("run")
    assert (refused.returncode, "No such file" in refused.stderr) == (78, True)


def test_what_is_kept_is_ours_alone_and_whole(site, wait_for):
    site.start()
    site.document["devices"]["n"] = {"bus": "plant", "unit_id": 2, "profile": "bench8"}
    before = site.path.read_bytes()
    site.write().hup()
    folder = site.folder / "state" / "applied"
    wait_for(lambda: (folder / "site.yaml").exists() and (folder / "site.yaml").read_bytes() == site.path.read_bytes())
    assert (folder.with_name("applied.previous") / "site.yaml").read_bytes() == before
    assert (folder / "profiles" / "bench8.yaml").read_bytes() == (site.folder / "profiles/bench8.yaml").read_bytes()
    for path in folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    site.kill()
    (folder / "profiles" / "bench8.yaml").write_text("torn")
    spoil_missing(site)
    site.launch()
    wait_for(lambda: site._answers() and is_read(site), what="the generation before")
    assert [point for point in site.status()["points"] if point["device"] == "n"] == []


@pytest.mark.parametrize("what", ["edited", "broken", "gone"])
def test_outputs_are_stopped_by_what_was_applied_and_not_by_the_file(site, slave, what):
    site.start()
    site.bocage("write", "lamp", "on", check=0)
    site.kill()
    assert slave.coils[0] is True
    if what == "edited":
        site.document["actuators"] = {"other": {"output": "m.relay3"}}
        site.write()
    elif what == "broken":
        spoil_typo(site)
    else:
        shutil.rmtree(site.folder / "profiles")
        spoil_missing(site)
    site.bocage("stop-outputs", check=0)
    assert slave.coils[0] is False


def test_outputs_are_stopped_without_naming_a_file(site, slave):
    site.start()
    site.bocage("write", "lamp", "on", check=0)
    site.kill()
    spoil_missing(site)
    subprocess.run([sys.executable, "-m", "agent", "stop-outputs", *site.folders], check=True, env=site.env)
    assert slave.coils[0] is False


def test_a_site_of_the_users_own_is_found_without_its_file(site, wait_for, tmp_path):
    """No --state-dir, no unit: the state folder is named after the site, whose id is in the file that is gone."""
    site.env |= {"XDG_STATE_HOME": str(tmp_path / "home")}
    for name in ("BOCAGE_STATE_DIR", "STATE_DIRECTORY"):
        site.env.pop(name, None)
    type(site).folders, whole = property(lambda self: ["--runtime-dir", str(self.folder / "run")]), type(site).folders
    try:
        site.start()
        site.kill()
        spoil_missing(site)
        site.launch()
        wait_for(lambda: site._answers() and is_read(site))
        assert json.loads(site.bocage("watch", "--json", check=0).stdout)["config"]["invalid"]["line"] == 1
    finally:
        type(site).folders = whole
    assert [path.name for path in (tmp_path / "home" / "bocage").iterdir()] == ["test-village"]
