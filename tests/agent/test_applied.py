"""A bad file never costs control: the configuration that was applied last goes on."""

import hashlib
import json
import shutil
import stat
import subprocess
import sys

import pytest

from agent.runtime.applied import Applied
from tests.fakes.ports import free_port

pytestmark = pytest.mark.slow

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
    assert f"{site.path}:{line}:" in site.bocage("alarms").stdout, "a technician sees where it is"
    site.path.write_text(text)
    site.hup()
    wait_for(lambda: subscriber.events("config_invalid", "cleared"))
    assert invalid(site) is None


def test_a_file_that_was_cut_short_is_wrong_also_where_its_beginning_is_a_site(site, slave, wait_for):
    """A full disk or a power cut while it is saved: without its actuators it would be a site as well."""
    site.document["actuators"] = site.document.pop("actuators")  # the last section
    lines = [f"{key}: {json.dumps(value)}" for key, value in site.document.items()]
    lines[-1] = "actuators:\n" + "".join(f"  {k}: {json.dumps(v)}\n" for k, v in site.document["actuators"].items())
    whole = "\n".join(lines)
    type(site).write, write = lambda self: self.path.write_text(whole) and self, type(site).write
    try:
        site.start()
    finally:
        type(site).write = write
    site.bocage("write", "lamp", "on", "--for", "1h", check=0)
    cut = whole[: whole.index("actuators:") + len("actuators:")]
    site.path.write_text(cut)
    line = cut.count("\n") + 1
    assert f"{site.path}:{line}:11: error: the file ends here" in site.bocage("reload", check=1).stderr
    site.kill()
    site.launch()
    wait_for(lambda: site._answers() and is_read(site))
    assert (invalid(site)["line"], invalid(site)["column"]) == (line, 11)
    wait_for(lambda: slave.coils[0])
    site.path.write_text(whole.removesuffix("\n"))
    site.bocage("reload", check=0)
    site.path.write_text(whole[: whole.index("actuators:")])
    assert "changed: actuators" in site.bocage("reload", check=0).stdout, "whole lines were taken out on purpose"
    assert not slave.coils[0]


def test_only_where_nothing_was_ever_applied_a_wrong_file_ends_with_78(site):
    site.write()
    spoil_typo(site)
    assert site.bocage("run").returncode == 78
    spoil_missing(site)
    refused = site.bocage("run")
    assert (refused.returncode, "No such file" in refused.stderr) == (78, True)


def garble(site):
    for kept in (site.folder / "state").glob("applied*"):
        (kept / "site.yaml").write_bytes(b"\0" * 100)


def not_translated(site):
    """Whole, by its checksum, and of a shape that this program does not understand."""
    for kept in (site.folder / "state").glob("applied*"):
        for path in kept.rglob("*"):
            if path.suffix == ".yaml":
                path.write_text("version: 1\nsite: [\n")
        manifest = json.loads((kept / "applied.json").read_text())
        digests = {name: hashlib.sha256((kept / name).read_bytes()).hexdigest() for name in manifest["files"]}
        (kept / "applied.json").write_text(json.dumps({**manifest, "files": digests}))


@pytest.mark.parametrize("harm", [garble, not_translated])
def test_where_nothing_that_was_applied_can_be_read_outputs_are_made_safe_and_a_file_is_waited_for(
    site, slave, subscriber, wait_for, harm
):
    site.start()
    site.bocage("write", "lamp", "on", "--for", "1h", check=0)
    good = site.path.read_text()
    site.path.write_text(good + " ")  # another generation
    site.bocage("reload", check=0)
    site.kill()
    harm(site)
    spoil_typo(site)
    site.launch()
    wait_for(lambda: site._answers() and not slave.coils[0])
    assert invalid(site)["file"] == str(site.path)
    assert site.process.poll() is None
    site.kill()
    site.launch()  # again and again, never 78
    wait_for(lambda: site._answers())
    site.bocage("reload", check=1)
    site.path.write_text(good)
    site.bocage("reload", check=0)
    wait_for(lambda: is_read(site))
    assert invalid(site) is None
    site.bocage("write", "lamp", "on", "--for", "1h", check=0)
    assert slave.coils[0]
    wait_for(lambda: [one for one in subscriber.events("output", "audit") if one["subject"] == "lamp"
                      and one["detail"]["cause"] == "it left the site file"], 60)  # fmt: skip
    site.kill()
    site.launch()
    wait_for(lambda: site._answers() and is_read(site))
    assert site.status()["site"]["id"] == "test-village"


def test_a_generation_that_cannot_be_translated_gives_way_to_the_one_before(site, slave, wait_for):
    site.start()
    site.path.write_text(site.path.read_text() + " ")
    site.bocage("reload", check=0)
    site.kill()
    before = (site.folder / "state" / "applied.previous").rename(site.folder / "state" / "aside")
    not_translated(site)
    before.rename(site.folder / "state" / "applied.previous")
    spoil_typo(site)
    site.launch()
    wait_for(lambda: site._answers() and is_read(site))
    assert site.status()["site"]["id"] == "test-village"


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


def test_an_output_that_cannot_be_reached_is_not_called_safe(site, slave):
    site.start()
    site.bocage("write", "lamp", "on", "--for", "1h", check=0)
    site.kill()
    slave.deaf.add(1)
    done = site.bocage("stop-outputs", check=1)
    assert "lamp is NOT in its safe state: no answer within" in done.stderr
    del site.document["actuators"]["lamp"]
    site.start()
    site.stop()
    assert "lamp is NOT in its safe state: no answer within" in site.bocage("stop-outputs", check=1).stderr
    slave.deaf.clear()
    site.bocage("stop-outputs", check=0)
    assert slave.coils[0] is False


def test_outputs_are_stopped_without_naming_a_file(site, slave):
    site.start()
    site.bocage("write", "lamp", "on", check=0)
    site.kill()
    spoil_missing(site)
    subprocess.run([sys.executable, "-m", "agent", "stop-outputs", *site.folders], check=True, env=site.env)
    assert slave.coils[0] is False


def spoil_site_id(site):
    site.write()
    site.path.write_text(site.path.read_text().replace('"test-village"', '"test village!"'))


@pytest.mark.parametrize("spoil", [spoil_missing, spoil_site_id], ids=lambda spoil: spoil.__name__)
def test_a_site_of_the_users_own_is_found_without_its_file(site, wait_for, tmp_path, spoil):
    """No --state-dir, no unit: the state folder is named after the site, whose id is in the file that is gone."""
    site.env |= {"XDG_STATE_HOME": str(tmp_path / "home")}
    for name in ("BOCAGE_STATE_DIR", "STATE_DIRECTORY"):
        site.env.pop(name, None)
    type(site).folders, whole = property(lambda self: ["--runtime-dir", str(self.folder / "run")]), type(site).folders
    try:
        site.start()
        site.kill()
        spoil(site)
        site.launch()
        wait_for(lambda: site._answers() and is_read(site))
        assert json.loads(site.bocage("watch", "--json", check=0).stdout)["config"]["invalid"]["line"] >= 1
    finally:
        type(site).folders = whole
    assert [path.name for path in (tmp_path / "home" / "bocage").iterdir()] == ["test-village"]


NEWER = """
import agent.site.checks.site as checks

of_before = checks.check_actuators


def newer(at):
    of_before(at)
    if at.site.devices["m"].poll < 1:
        at.error(("devices", "m", "poll"), "polls of less than 1 s wear the relays; write 1s")


checks.check_actuators = newer
"""


@pytest.fixture
def newer(site, tmp_path):
    """From now on the program is a newer one, with a rule that the site's file breaks."""

    def upgrade():
        folder = tmp_path / "newer"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(NEWER)
        site.env["PYTHONPATH"] = str(folder)

    return upgrade


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "state folder of a program that kept nothing"])
def test_a_rule_of_a_newer_program_stops_nothing_that_ran_before(site, slave, subscriber, wait_for, newer, kept):
    site.start()
    site.stop()
    if not kept:
        state = site.folder / "state"
        shutil.rmtree(state / "applied")
        (state / "state.json").replace(state / "state.previous.json")  # as a kill between two renames leaves it
    newer()
    site.launch()
    wait_for(lambda: site._answers() and is_read(site))
    wait_for(lambda: subscriber.events("config_outdated", "alarm"))
    alarm = subscriber.events("config_outdated", "alarm")[0]
    assert (alarm["severity"], alarm["detail"]["message"][:11]) == ("minor", "polls of le")
    assert not subscriber.events("config_invalid")
    for command in ("check", "reload"):
        done = subprocess.run(
            [sys.executable, "-m", "agent", command, str(site.path), *site.folders],
            capture_output=True, text=True, env=site.env, check=False,
        )  # fmt: skip
        assert (done.returncode, "polls of less than 1 s" in done.stdout + done.stderr) == (1, True)
    assert invalid(site) is None, "what runs is what the file says"
    site.bocage("write", "lamp", "on", check=0)
    site.kill()
    site.bocage("stop-outputs", check=0)
    assert slave.coils[0] is False
    site.document["devices"]["m"]["poll"] = "1s"
    site.write().launch()
    wait_for(lambda: subscriber.events("config_outdated", "cleared"))


def test_a_rule_of_a_newer_program_is_an_error_for_a_file_that_never_ran(site, newer):
    newer()
    site.write()
    assert site.bocage("run").returncode == 78


def test_a_typo_after_an_upgrade_says_both(site, wait_for, newer):
    site.start()
    site.stop()
    newer()
    spoil_typo(site)
    site.launch()
    wait_for(lambda: site._answers() and is_read(site))
    assert "polls of less" in site.status()["config"]["outdated"]["message"]
    assert "line 2" in invalid(site)["message"]


def test_a_codec_that_is_gone_is_a_wrong_file_where_it_was_there_before(site, wait_for):
    """Its own copy goes on; at `check` it stays a warning, since makers' codecs are not ours to ship."""
    (site.folder / "profiles" / "own.yaml").write_text(
        "lora: {codec: own.js}\npoints: {temperature: {unit: degC}}\n"
    )
    codec = site.folder / "profiles" / "own.js"
    codec.write_text("function decodeUplink(input) { return {data: {temperature: 1}}; }\n")
    site.document["buses"]["radio"] = {"type": "lora_gwmp", "listen": f"127.0.0.1:{free_port()}"}
    (site.folder / "room.key").write_text("00" * 16)
    site.document["devices"]["room"] = {
        "bus": "radio", "dev_eui": "a840410000000001", "join_eui": "a840410000000000", "app_key": {"file": "room.key"},
        "profile": "own",
    }  # fmt: skip
    site.start()
    codec.unlink()
    assert f"{codec}:1:1: error: this codec is missing" in site.bocage("reload", check=1).stderr
    site.kill()
    site.launch()
    wait_for(lambda: site._answers() and is_read(site))
    assert invalid(site)["file"] == str(codec)
    assert (site.folder / "state" / "applied" / "profiles" / "own.js").read_bytes()


def test_a_key_that_is_gone_from_a_newer_program_is_left_out_and_the_rest_runs(site, slave, wait_for):
    """As if an older program, which knew `obsolete`, had applied this very file."""
    site.start()
    site.stop()
    site.document["devices"]["m"]["obsolete"] = "10s"
    site.write()
    profile = (site.folder / "profiles" / "bench8.yaml").read_bytes()
    files = {"site.yaml": site.path.read_bytes(), "profiles/bench8.yaml": profile}
    Applied.keep(site.folder / "state", site.path, "test-village", files)
    site.launch()
    wait_for(lambda: site._answers() and is_read(site))
    config = site.status()["config"]
    assert (config["invalid"], config["outdated"]["message"][:22]) == (None, 'unknown key "obsolete"')
    site.bocage("write", "lamp", "on", check=0)
    assert slave.coils[0] is True
