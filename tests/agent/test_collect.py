"""`bocage collect` beside a whole agent and a real broker: killed on the way, and every number accounted for."""

import json
import signal
import subprocess
import sys

import paho.mqtt.client as mqtt
import pytest


class Collector:
    """The collector as a process."""

    def __init__(self, broker, protocol, file):
        self.file, self._port, self._protocol, self.process = file, broker.port, protocol, None

    def start(self):
        arguments = [f"mqtt://127.0.0.1:{self._port}", "--sqlite", str(self.file), "--protocol", self._protocol]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agent", "collect", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out.decode(), err.decode()

    def report(self):
        """(exit code, the account of the one store, what else it says)."""
        done = subprocess.run(
            [sys.executable, "-m", "agent", "collect", "report", str(self.file), "--json"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode not in (0, 1) or not done.stdout:
            return done.returncode, None, done.stderr
        found = json.loads(done.stdout)
        return done.returncode, (found["stores"] or [None])[0], found["refused"]


@pytest.fixture
def publisher(broker):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    yield client
    client.disconnect()
    client.loop_stop()


@pytest.fixture(params=["5", "3.1.1"])
def collector(request, broker, publisher, tmp_path, wait_for):
    made = Collector(broker, request.param, tmp_path / "region.db")
    made.start()

    def listens():
        publisher.publish("bocage/v1/nobody/event", b"{}", qos=1)  # refused, so it listens
        return made.file.exists() and made.report()[2]

    wait_for(listens)
    yield made
    if made.process.poll() is None:
        made.end(signal.SIGKILL)


@pytest.mark.slow
def test_a_collector_that_is_killed_misses_nothing(site, subscriber, collector, link, wait_for):
    def has(readings):
        _, account, _ = collector.report()
        return account and account["readings"] >= readings

    site.start()
    wait_for(lambda: has(50))
    collector.end(signal.SIGKILL)
    already = len(subscriber.readings)
    wait_for(lambda: len(subscriber.readings) > already + 50)  # the broker keeps them for the collector
    link.cut()
    wait_for(lambda: site.status()["outbox"]["rows"] > 30)
    link.mend()
    collector.start()
    site.order("lamp", "on")
    before = len(subscriber.readings)
    wait_for(lambda: len(subscriber.readings) > before + 60, 40)
    site.stop()
    wait_for(lambda: has(len(subscriber.readings)))
    code, _, err = collector.end()
    assert code == 0, err
    code, account, _ = collector.report()
    assert code == 0, account
    assert account["missing"] == account["conflicts"] == 0
    assert account["readings"] == len(subscriber.readings)
    assert account["site"] == "test-village"


def test_messages_that_are_no_records_are_kept_apart(publisher, collector, wait_for):
    before = collector.report()[2]
    rubbish = (b"rubbish", b"\x78\x9cxx", b"[]", b'{"k":1}', b"\xff" * 1000)
    for payload in rubbish:
        publisher.publish("bocage/v1/x/telemetry", payload, qos=1)
    publisher.publish("bocage/v1/x/cmd/c1/result", b"{}", qos=1)
    wait_for(lambda: collector.report()[2] >= before + len(rubbish) + 1)
    assert collector.process.poll() is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["http://x", "--sqlite", "f"], "not a broker's address"),
        (["mqtt://127.0.0.1:1", "--sqlite", "f"], "127.0.0.1:1: "),
        (["mqtt://user:pw@h", "--sqlite", "f"], "a secret on the command line"),
        (["mqtts://user:p/w@h", "--sqlite", "f"], "a secret on the command line"),
        (["mqtt://127.0.0.1"], "--sqlite FILE is missing"),
        (["mqtt://127.0.0.1", "two", "--sqlite", "f"], "expected one broker's URL, or: report FILE"),
        (["mqtt://127.0.0.1:1", "--sqlite", "f", "--prefix", "a/#"], "'a/#' is not the beginning of a topic"),
        (["mqtt://127.0.0.1:1", "--sqlite", "f", "--client-id", ""], "--client-id: '' is no name"),
        (["mqtt://127.0.0.1:1", "--sqlite", "f", "--username", "x" * 70_000], "--username: it is longer than"),
        (["mqtt://127.0.0.1:1", "--sqlite", "f", "--password-file", "latin"], "latin: it is no UTF-8 text"),
        (["report", "none.db"], "there is no such file"),
        (["mqtt://127.0.0.1", "--sqlite", "f", "--password-file", sys.executable], "it is no UTF-8 text"),
        (["report"], "expected one broker's URL, or: report FILE"),
        (["erase", "--sqlite", "f", "--site", "s"], "--sqlite is not for erase"),
        (["mqtt://127.0.0.1", "--sqlite", "f", "--seconds", "nan"], "'nan' is no number of seconds"),
        (["mqtts://127.0.0.1", "--sqlite", "f", "--ca", "none.pem"], "none.pem: there is no such file"),
    ],
)
def test_wrong_use_is_said(arguments, says, tmp_path):
    (tmp_path / "latin").write_bytes("mot de passé".encode("latin-1"))
    program = [sys.executable, "-m", "agent", "collect", *arguments]
    done = subprocess.run(program, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode in (1, 2)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
