"""`bocage reload`, which `systemctl reload` runs: it waits for the agent's verdict, and reads secrets anew."""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.fakes.gateway import Manager
from tests.fakes.ports import free_port

UNIT = (Path(__file__).parents[2] / "systemd" / "bocage.service").read_text()


@pytest.fixture
def manager(site):
    made = Manager(site)
    yield made
    made.close()


def heard(manager, *parts):
    """The first STATUS line from now on that says all this."""
    while True:
        for line in manager.hear(20):
            if line.startswith("STATUS=") and all(part in line for part in parts):
                return line


def changed(site, *arguments):
    return json.loads(site.bocage("reload", *arguments, "--json", check=0).stdout)["changed"]


def test_a_reload_fails_with_the_place_of_the_mistake_and_says_so_everywhere(site, subscriber, manager, wait_for):
    site.start()
    wait_for(lambda: subscriber.on("status"))
    good = site.path.read_text()
    site.path.write_text(good.replace('"safe_state"', '"safe_sate"'))
    line = 1 + good[: good.index('"safe_state"')].count("\n")
    refused = site.bocage("reload", check=1)
    assert "config_invalid" in site.bocage("alarms").stdout, "at once"
    assert f"{site.path}:{line}:" in refused.stderr
    assert 'unknown key "safe_sate"; did you mean "safe_state"?' in refused.stderr
    assert heard(manager, f"{site.path}:{line}:", 'unknown key "safe_sate"')
    wait_for(lambda: subscriber.on("status")[-1].get("config_problem"), what="the problem on the topic status")
    said = subscriber.on("status")[-1]["config_problem"]
    assert (said["code"], said["file"], said["line"]) == ("config_invalid", str(site.path), line)
    assert f"site.yaml:{line}:" in site.bocage("watch", "--once", check=0).stdout
    wait_for(lambda: subscriber.events("config_invalid", "alarm"))

    site.document["devices"]["n"] = {"bus": "plant", "unit_id": 2, "profile": "bench8", "poll": "200ms"}
    site.write()
    assert "changed: plant" in site.bocage("reload", check=0).stdout
    assert "config_invalid" not in site.bocage("alarms").stdout, "at once"
    wait_for(lambda: subscriber.values("n.fixed"))
    wait_for(lambda: "config_problem" not in subscriber.on("status")[-1])
    wait_for(lambda: subscriber.events("config_invalid", "cleared"))
    assert subscriber.on("status")[-1]["config"] == site.status()["config"]["hash"]
    assert site.status()["config"]["invalid"] is None
    site.stop()
    assert site.bocage("reload").returncode == 3


def test_a_start_with_a_wrong_file_says_so_everywhere_too(site, subscriber, manager, wait_for):
    site.start()
    wait_for(lambda: subscriber.on("status"))
    site.kill()
    site.path.write_text("version: 1\nsite: {id: test-village\n")
    site.launch()
    assert heard(manager, f"{site.path}:2:7:", 'this "{" is never closed')
    wait_for(lambda: subscriber.on("status")[-1].get("config_problem"))
    assert subscriber.on("status")[-1]["config_problem"]["line"] == 2
    wait_for(lambda: subscriber.events("config_invalid", "alarm"))
    site.kill()
    site.write().launch()
    wait_for(lambda: "config_problem" not in subscriber.on("status")[-1])
    wait_for(lambda: subscriber.events("config_invalid", "cleared"))


def test_a_reload_of_a_file_that_is_a_link_to_itself_is_refused_with_its_place(site):
    site.start()
    site.path.unlink()
    site.path.symlink_to(site.path)
    assert f"{site.path}:1:1: error: " in site.bocage("reload", check=1).stderr
    assert site.status()["config"]["invalid"]["file"] == str(site.path)


def test_a_reload_of_another_file_than_the_agents_is_refused(site, tmp_path):
    site.start()
    mine, site.path = site.path, site.folder / "copy.yaml"
    site.write()
    assert str(mine) in site.bocage("reload", check=1).stderr
    site.path = mine


@pytest.mark.parametrize("where", ["file", "credential"])
def test_a_changed_password_reconnects_though_the_file_is_the_same(site, tmp_path, make_broker, wait_for, where):
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "test-village", "sesame-8"], check=True)
    broker = make_broker("allow_anonymous false", f"password_file {passwords}")
    secret = site.folder / "mqtt-password"
    secret.write_text("sesame-7\n")
    site.env["CREDENTIALS_DIRECTORY"] = str(site.folder)
    site.document["uplink"] |= {
        "url": f"mqtt://127.0.0.1:{broker.port}", "username": "test-village", "password": {where: "mqtt-password"},
    }  # fmt: skip
    site.start()
    wait_for(lambda: site.status()["uplink"]["error"])
    assert changed(site) == []
    secret.write_text("sesame-8\n")
    assert changed(site) == ["uplink"]
    wait_for(lambda: site.status()["uplink"]["state"] == "connected")
    secret.write_text("sesame-9\n")
    assert changed(site) == ["uplink"], "the link that is up is made anew"
    wait_for(lambda: site.status()["uplink"]["error"])
    assert "sesame" not in site.log.read_text() + json.dumps(site.status())


def test_the_unit_hands_credentials_over_that_systemd_read_at_the_start_only(site, tmp_path, make_broker, wait_for):
    (command,) = re.findall(r"^ExecReload=\+/opt/bocage/bin/bocage reload (.+) /etc/bocage/site.yaml$", UNIT, re.M)
    option, secrets = command.split()
    assert secrets == "/etc/bocage/secrets"
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "test-village", "sesame-8"], check=True)
    broker = make_broker("allow_anonymous false", f"password_file {passwords}")
    for folder, word in (("secrets", "sesame-8\n"), ("given", "sesame-7\n")):
        (tmp_path / folder / "lorawan").mkdir(parents=True)
        (tmp_path / folder / "mqtt-password").write_text(word)
    (tmp_path / "given" / "lorawan_room").write_text("00" * 16)
    (tmp_path / "secrets" / "lorawan" / "room").write_text("00" * 16)
    site.env["CREDENTIALS_DIRECTORY"] = str(tmp_path / "given")
    site.document["uplink"] |= {
        "url": f"mqtt://127.0.0.1:{broker.port}", "username": "test-village",
        "password": {"credential": "mqtt-password"},
    }  # fmt: skip
    add_radio(site, {"credential": "lorawan_room"})
    site.start()
    wait_for(lambda: site.status()["uplink"]["error"])
    assert changed(site, option, str(tmp_path / "secrets")) == ["uplink"]
    wait_for(lambda: site.status()["uplink"]["state"] == "connected")
    (tmp_path / "secrets" / "lorawan" / "room").write_text("01" * 16)
    assert "radio" in changed(site, option, str(tmp_path / "secrets"))
    assert "sesame" not in site.log.read_text() + json.dumps(site.status())


def test_the_units_environment_is_read_anew(site, tmp_path, make_broker, wait_for):
    """systemd reads EnvironmentFile= for each command of the unit, so the one that reloads has the new one."""
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "test-village", "sesame-8"], check=True)
    broker = make_broker("allow_anonymous false", f"password_file {passwords}")
    site.env["BROKER_PASSWORD"] = "sesame-7"
    site.document["uplink"] |= {
        "url": f"mqtt://127.0.0.1:{broker.port}", "username": "test-village", "password": {"env": "BROKER_PASSWORD"},
    }  # fmt: skip
    site.start()
    wait_for(lambda: site.status()["uplink"]["error"])
    site.env["BROKER_PASSWORD"] = "sesame-8"
    assert changed(site, "--credentials", str(tmp_path / "none")) == ["uplink"]
    wait_for(lambda: site.status()["uplink"]["state"] == "connected")


def place(site, part):
    """Where a value stands in the site file, as messages begin."""
    text = site.path.read_text()
    before = text[: text.index(part)]
    return f"{site.path}:{1 + before.count(chr(10))}:{len(before) - before.rfind(chr(10))}: warning: "


@pytest.mark.slow
def test_a_secret_that_is_lost_is_said_and_the_link_goes_on_with_the_one_before(
    site, tmp_path, make_broker, wait_for
):  # fmt: skip
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "test-village", "sesame-8"], check=True)
    rules = ("allow_anonymous false", f"password_file {passwords}")
    broker = make_broker(*rules)
    secret = site.folder / "mqtt-password"
    secret.write_text("sesame-8\n")
    site.document["uplink"] |= {
        "url": f"mqtt://127.0.0.1:{broker.port}", "username": "test-village", "password": {"file": "mqtt-password"},
    }  # fmt: skip
    site.start()
    wait_for(lambda: site.status()["uplink"]["state"] == "connected")
    at = place(site, '{\n   "file": "mqtt-password"')
    for lost, why in (
        (secret.unlink, "No such file or directory"),
        (lambda: secret.write_text(""), "is empty"),
        (lambda: secret.write_bytes(b"\xff\xfe"), "is not UTF-8"),
    ):
        lost()
        said = site.bocage("reload", check=0)
        assert "changed: nothing that runs" in said.stdout
        assert said.stderr.startswith(at), said.stderr
        assert why in said.stderr
        assert site.bocage("check", check=0).stdout == said.stderr
        assert site.status()["uplink"]["state"] == "connected"
    broker.stop()
    wait_for(lambda: site.status()["uplink"]["state"] != "connected")
    broker.start()
    wait_for(lambda: site.status()["uplink"]["state"] == "connected", what="the link with the secret of before")
    secret.write_text("sesame-8\n")
    done = site.bocage("reload", check=0)
    assert (done.stderr, changed(site)) == ("", [])


def test_what_waits_for_the_next_start_is_told(site):
    site.start()
    before = site.document.get("clock")
    site.document["clock"] = {"trust": "never" if before == {"trust": "always"} else "always"}
    site.document["uplink"]["buffer"] = {"days": 3}
    site.write()
    said = site.bocage("reload", check=0)
    assert said.stderr.splitlines() == [
        f"{part} changed: it takes effect at the next start" for part in ("clock", "buffer")
    ]
    assert "is applied; changed: nothing that runs" in said.stdout
    assert site.bocage("reload", check=0).stderr == ""


def test_a_credential_that_is_not_handed_over_any_more_is_said(site, tmp_path, make_broker):
    for folder in ("secrets", "given"):
        (tmp_path / folder).mkdir()
    (tmp_path / "given" / "mqtt-password").write_text("sesame-8\n")
    site.env["CREDENTIALS_DIRECTORY"] = str(tmp_path / "given")
    site.document["uplink"] |= {"username": "test-village", "password": {"credential": "mqtt-password"}}
    site.start()
    said = site.bocage("reload", "--credentials", str(tmp_path / "secrets"), check=0)
    assert said.stderr.startswith(place(site, '{\n   "credential"'))
    assert "the credential mqtt-password was not handed over at this reload; the one before is used" in said.stderr
    assert site.bocage("reload", check=0).stderr == said.stderr
    (tmp_path / "secrets" / "mqtt-password").write_text("sesame-8\n")
    assert site.bocage("reload", "--credentials", str(tmp_path / "secrets"), check=0).stderr == ""


def test_certificates_that_are_lost_or_do_not_fit_are_said_and_the_link_stays(
    site, tmp_path, certificates, make_broker, wait_for
):  # fmt: skip
    certificates(tmp_path, "broker", "mine", "other")
    broker = make_broker(
        "require_certificate true", "use_identity_as_username true", "allow_anonymous true",
        f"cafile {tmp_path / 'ca.pem'}", f"certfile {tmp_path / 'broker.pem'}", f"keyfile {tmp_path / 'broker.key'}",
    )  # fmt: skip
    files = {name: site.folder / f"site-{name}" for name in ("ca.pem", "mine.pem", "mine.key")}
    good = {path: (tmp_path / name).read_bytes() for name, path in files.items()}
    for path, content in good.items():
        path.write_bytes(content)
    site.document["uplink"] |= {
        "url": f"mqtts://127.0.0.1:{broker.port}",
        "ca": "site-ca.pem", "cert": "site-mine.pem", "key": "site-mine.key",
    }  # fmt: skip
    site.start()
    wait_for(lambda: site.status()["uplink"]["state"] == "connected")
    ca, cert, key = files.values()
    for path, content, part, why in (
        (ca, None, "site-ca.pem", "No such file or directory"),
        (ca, b"nothing\n", "site-ca.pem", "cannot be used"),
        (key, None, "site-mine.pem", "No such file or directory"),
        (key, (tmp_path / "other.key").read_bytes(), "site-mine.pem", "KEY VALUES MISMATCH"),
        (cert, good[cert][:300], "site-mine.pem", "cannot be used"),
    ):
        path.unlink() if content is None else path.write_bytes(content)
        said = site.bocage("reload", check=0)
        assert said.stderr.startswith(place(site, f'"{part}"')), said.stderr
        assert why in said.stderr
        assert site.bocage("check", check=0).stdout == said.stderr
        wait_for(lambda: site.status()["uplink"]["state"] == "connected", what=f"the link without {path}, {why}")
        path.write_bytes(good[path])
        assert site.bocage("reload", check=0).stderr == ""


def add_radio(site, app_key):
    site.document["buses"]["radio"] = {
        "type": "lora_gwmp", "listen": f"127.0.0.1:{free_port()}", "gateways": ["0102030405060708"],
    }  # fmt: skip
    site.document["devices"]["room"] = {
        "bus": "radio", "dev_eui": "a840410000000001", "join_eui": "a840410000000000", "app_key": app_key,
        "profile": "milesight_em300_th",
    }  # fmt: skip


def test_a_certificate_and_a_radio_key_are_used_at_once(site, tmp_path, certificates):
    certificates(tmp_path, "old", "new")
    for kind in ("pem", "key"):
        (site.folder / f"mine.{kind}").write_bytes((tmp_path / f"old.{kind}").read_bytes())
    (site.folder / "ca.pem").write_bytes((tmp_path / "ca.pem").read_bytes())
    (site.folder / "room.key").write_text("00" * 16)
    (site.folder / "room.key").chmod(0o600)
    site.document["uplink"] |= {"url": "mqtts://127.0.0.1:9", "ca": "ca.pem", "cert": "mine.pem", "key": "mine.key"}
    add_radio(site, {"file": "room.key"})
    site.start()
    assert changed(site) == []
    for kind in ("pem", "key"):
        (site.folder / f"mine.{kind}").write_bytes((tmp_path / f"new.{kind}").read_bytes())
    assert changed(site) == ["uplink"]
    (site.folder / "room.key").write_text("01" * 16)
    assert "radio" in changed(site)
    assert changed(site) == []
    (site.folder / "room.key").write_text("01" * 8)
    said = site.bocage("reload", check=0)
    assert "{file: room.key} has no AES-128 key in it; write 32 hexadecimal digits" in said.stderr
    assert said.stderr.startswith(place(site, '{\n    "file": "room.key"'))


def test_a_command_on_a_slow_wire_ends_once_though_a_reload_comes(site, slave, subscriber, wait_for):
    """The arbiter that the reload makes takes what has no end for left by a crash, and tells so."""
    answer, asked = slave._answer, []

    def slowly(pdu):
        if pdu[0] == 5 and not asked:
            asked.append(pdu)
            time.sleep(9)
        return answer(pdu)

    slave._answer = slowly
    site.document["buses"]["plant"]["timeout"] = "20s"
    site.start()
    wait_for(lambda: subscriber.values("m.fixed"))
    subscriber.send("c1", point="lamp", value="on", ttl_ms=60_000)
    wait_for(lambda: asked, what="the write on the wire")
    site.document["actuators"]["lamp"]["min_on"] = "1s"
    site.write()
    assert "changed: actuators" in site.bocage("reload", check=0).stdout
    wait_for(lambda: "failed" in subscriber.states("c1"), what="its end")
    subscriber.send("c2", point="lamp", value="off", ttl_ms=60_000)
    wait_for(lambda: subscriber.states("c2")[-1:] == ["verified"], what="the next one")
    assert subscriber.states("c1") == ["accepted", "failed"]


@pytest.mark.parametrize("how", ["reload", "kill"])
def test_a_pump_whose_tank_left_the_file_goes_to_its_safe_state(site, slave, wait_for, how):
    """The level is 50 %, so it fills. Without a control, nothing would ever stop it."""
    site.document["actuators"]["pump"] = {"output": "m.relay2", "safe_state": "off", "boot_state": "off"}
    site.document["water"] = {"tanks": {"reservoir": {"level": "tank", "pump": "pump", "start": "60 %"}}}
    site.start()
    wait_for(lambda: slave.coils[1], what="the pump's start")
    wait_for(lambda: "filling" in site.facts() or '"ruled":true' in site.facts(), what="the pump on record")
    del site.document["water"]
    if how == "kill":
        site.kill()
        site.start()
    else:
        site.write().bocage("reload", check=0)
    wait_for(lambda: not slave.coils[1], what="the pump's stop")
    line = next(one for one in site.status()["actuators"] if one["name"] == "pump")
    assert line["priority"] == 16
