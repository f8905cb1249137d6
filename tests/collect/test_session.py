"""The broker's side: which protocol it knows, and how soon a collector with much to do ends."""

import contextlib
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.cli import main
from agent.collect.store import CollectStore
from agent.errors import BocageError
from tests.collect.messages import STORE
from tests.fakes.mosquitto import certificates
from tests.fakes.waiting import wait_for

HURRY = "import agent.collect.collector as s; s._ANSWER = 1.0; from agent.cli import main; raise SystemExit(main())"


def program(port, file, *more):
    return [sys.executable, "-m", "agent", "collect", f"mqtt://127.0.0.1:{port}", "--sqlite", str(file), *more]


def batch(first, n):
    entries = [[1000 if i else 0, i, 1 if i else 0] for i in range(n)]
    body = {"k": [STORE, first, first + n - 1], "t": 1_764_000_000_000, "clock": "synced", "p": {"m.v": entries}}
    return json.dumps(body, separators=(",", ":")).encode()


def publish(topic, payload, mid):
    name = topic.encode(errors="surrogateescape")
    rest = len(name).to_bytes(2) + name + mid.to_bytes(2) + payload
    size, length = len(rest), b""
    while True:
        size, digit = divmod(size, 128)
        length += bytes([digit | 0x80 * (size > 0)])
        if not size:
            return b"\x32" + length + rest


class Broker:
    """Speaks MQTT 3.1.1; to whoever comes with 5 it says `to_five`, and closes. Sends `messages` after SUBSCRIBE."""

    def __init__(self, to_five, messages=()):
        self.to_five, self.messages, self.levels, self.sent = to_five, messages, [], threading.Event()

    @contextmanager
    def running(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            threading.Thread(target=self._serve, args=(server,), daemon=True).start()
            yield server.getsockname()[1]

    def _serve(self, server):
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection):
        with connection:
            connect = connection.recv(4096)
            self.levels.append(connect[8])
            if connect[8] == 5:
                if self.to_five is None:
                    connection.recv(4096)  # not a word until it hangs up, as the demo's broker does
                else:
                    connection.sendall(self.to_five)
                return
            connection.sendall(b"\x20\x02\x00\x00")
            subscribe = connection.recv(4096)
            connection.sendall(b"\x90\x05" + subscribe[2:4] + b"\x01\x01\x01")
            try:
                for message in self.messages:
                    connection.sendall(message)
                    self.sent.set()
                while connection.recv(4096):
                    pass
            except OSError:
                return


@pytest.mark.parametrize("to_five", [b"\x20\x02\x00\x01", b"\x20\x03\x00\x84\x00", b"\x20\x02\x00\x84", b"", None])
def test_a_broker_that_knows_no_mqtt_5_is_found_out(to_five, tmp_path):
    broker = Broker(to_five, [publish("bocage/v1/village/telemetry", batch(1, 5), 1)])
    with broker.running() as port:
        process = subprocess.Popen(program(port, tmp_path / "r.db"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert broker.sent.wait(25), process.stderr.read() if process.poll() is not None else "not in time"
        wait_for(lambda: readings(tmp_path / "r.db") == 5, 60)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert (out.startswith(b"collected 5 readings in 1 message of 1 site"), broker.levels) == (True, [5, 4]), out
    assert b"Traceback" not in err, err.decode()


@pytest.mark.parametrize("to_five", [b"\x20\x02\x00\x01", b"\x20\x03\x00\x84\x00", b""])
def test_a_protocol_that_is_asked_for_and_refused_is_an_error(to_five, tmp_path):
    broker = Broker(to_five)
    with broker.running() as port:
        asked = program(port, tmp_path / "r.db", "--protocol", "5")
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, broker.levels) == (1, [5])
    assert "protocol" in done.stderr and f"127.0.0.1:{port}" in done.stderr and "Traceback" not in done.stderr


CONNACK = b"\x20\x03\x00\x00\x00"


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([], "does not answer"),
        ([None], "ends the connection without an answer"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "does not answer"),
        ([b"\x20\x03\x00\x87\x00"], "Not authorized"),
        ([b"\x20\x03\x00\x89\x00"], "Server busy"),
        ([CONNACK], "does not answer"),
        ([CONNACK, None], "ended the connection"),
        ([CONNACK, b"\x90\x06\x00\x01\x00\x87\x87\x87"], "refuses the subscription"),
    ],
)
@pytest.mark.parametrize("ended", ["--seconds", "SIGTERM"])
def test_a_collector_that_never_had_a_session_ends_with_an_error(answers, reason, ended, tmp_path):
    """`answers`: to each packet in turn; None hangs up. Then the broker is silent."""
    met = threading.Event()

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection = server.accept()[0]
                for answer in answers:
                    connection.recv(4096)
                    connection.close() if answer is None else connection.sendall(answer)
                kept.append(connection)
                met.set()

    kept = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        port = server.getsockname()[1]
        seconds = ["--seconds", "3"] if ended == "--seconds" else []
        process = subprocess.Popen(
            program(port, tmp_path / "r.db", "--protocol", "5", *seconds),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert met.wait(30)
        if not seconds:
            process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, "Traceback" in err) == (1, "", False), err
    assert f"127.0.0.1:{port}" in err and "expected an MQTT broker" in err
    assert reason in err or not seconds, err


def test_a_broker_with_a_certificate_that_nobody_knows_is_an_error(tmp_path):
    certificates(tmp_path, "broker")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "broker.pem", tmp_path / "broker.key")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.suppress(OSError):
                context.wrap_socket(server.accept()[0], server_side=True)

        threading.Thread(target=serve, daemon=True).start()
        port = server.getsockname()[1]
        asked = [*program(port, tmp_path / "r.db")[:-3], f"mqtts://127.0.0.1:{port}", "--sqlite", tmp_path / "r.db"]
        done = subprocess.run([*asked, "--seconds", "5"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert f"127.0.0.1:{port}" in done.stderr and "certificate" in done.stderr and "Traceback" not in done.stderr


def test_a_collector_with_much_to_do_ends_soon_and_has_acknowledged_what_it_kept(tmp_path):
    much = [publish("bocage/v1/village/telemetry", batch(1 + 5000 * n, 5000), 1 + n) for n in range(400)]
    broker = Broker(b"\x20\x02\x00\x01", much)
    with broker.running() as port:
        process = subprocess.Popen(program(port, tmp_path / "r.db"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_for(lambda: readings(tmp_path / "r.db"), 60)  # in pieces: the first are on disk before the last have come
        before = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert time.monotonic() - before < 20, "5 s on a machine that has nothing else to do"
    assert process.returncode == 0, err
    found = readings(tmp_path / "r.db")
    assert 0 < found < 2_000_000 and found % 5000 == 0


def test_what_was_being_dated_at_the_end_is_dated_at_the_next_start(tmp_path):
    store, boot = CollectStore(tmp_path / "r.db"), "aaaaaaaa-2222-4333-8444-555555555555"
    for first in range(1, 25_001, 5000):
        body = {**json.loads(batch(first, 5000)), "t": None, "clock": "unsynced", "boot": boot, "boottime_ms": 5}
        store.take("telemetry", "village", body)
    clock = {"kind": "clock", "code": "dated", "subject": "x", "severity": "info"}
    detail = {"boot": boot, "offset_ms": 1_764_000_000_000}
    store.take("event", "village", {"k": [STORE, 25_001], "t": 1_764_000_000_000, **clock, "detail": detail})
    assert store.accounts()[0].undated > 0
    store.close()
    with Broker(b"\x20\x02\x00\x01").running() as port:
        process = subprocess.Popen(program(port, tmp_path / "r.db"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_for(lambda: count(tmp_path / "r.db", "undated") == 0, 60)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert count(tmp_path / "r.db", "reading WHERE t IS NULL") == 0


def test_a_broker_that_is_mute_after_its_connack_is_not_waited_for(tmp_path):
    """Nobody ends it and no time is set: a collector that is left alone must not look healthy and collect nothing."""
    kept = []

    def serve():
        connection = server.accept()[0]
        connection.recv(4096)
        connection.sendall(CONNACK)
        kept.append(connection)  # it stays open, and SUBSCRIBE is never answered

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        asked = program(server.getsockname()[1], tmp_path / "r.db", "--protocol", "5")
        done = subprocess.run(
            [sys.executable, "-c", HURRY, *asked[3:]], capture_output=True, text=True, check=False, timeout=60
        )
    assert done.returncode == 1 and "does not answer" in done.stderr, done.stderr


def test_messages_that_nobody_could_hold_are_skipped_and_counted(tmp_path):
    topic = "bocage/v1/village/telemetry"
    huge = [publish(topic, bytes(size), n) for n, size in enumerate((60_000_000, 393_000, 262_145), 1)]
    sent = [*huge, publish(topic, batch(1, 5), 9), huge[0], publish(topic, batch(6, 5), 10)]
    broker = Broker(b"\x20\x02\x00\x01", sent)
    with broker.running() as port:
        process = subprocess.Popen(program(port, tmp_path / "r.db"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_for(lambda: readings(tmp_path / "r.db") == 10, 60)
        peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())[1]) / 1000
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, b"4 refused" in out, len(broker.levels)) == (0, True, 2), (out, err)
    assert peak < 80, "a collector is some 35 MB; one such message is held twice by paho"


def test_a_topic_that_is_no_text_costs_itself(tmp_path):
    """It ended the collector, and came again."""
    broken, topic = "bocage/v1/vill\udce9age/telemetry", "bocage/v1/village/telemetry"
    broker = Broker(b"\x20\x02\x00\x01", [publish(broken, batch(1, 5), 1), publish(topic, batch(1, 5), 2)])
    with broker.running() as port:
        process = subprocess.Popen(program(port, tmp_path / "r.db"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_for(lambda: readings(tmp_path / "r.db") == 5 or process.poll() is not None, 60)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, b"1 refused" in out, b"Traceback" in err) == (0, True, False), (out, err)


def readings(file):
    return count(file, "reading")


def count(file, rows):
    if not file.exists():
        return 0
    try:
        store = CollectStore(file, create=False)
    except BocageError:  # it is being made
        return 0
    try:
        return store.db.execute(f"SELECT count(*) FROM {rows}").fetchone()[0]
    finally:
        store.db.close()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--ca", "text"], "text: no certificates in PEM format"),
        (["--ca", "ca.pem", "--cert", "text", "--key", "broker.key"], "text, broker.key: not a certificate"),
        (["--cert", "broker.pem", "--key", "text"], "broker.pem, text: not a certificate and its key"),
        (["--cert", "broker.pem"], "broker.pem, and no --key: not a certificate and its key"),
        (["--cert", "ca.pem", "--key", "broker.key"], "ca.pem, broker.key: not a certificate and its key"),
        (["--key", "broker.key"], "--key broker.key without --cert"),
    ],
)
def test_a_file_that_tls_cannot_use_is_named(given, says, tmp_path, monkeypatch, capsys):
    certificates(tmp_path, "broker")
    (tmp_path / "text").write_text("no PEM at all")
    monkeypatch.chdir(tmp_path)
    assert main(["collect", "mqtts://127.0.0.1:1", "--sqlite", "r.db", *given]) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "r.db").exists()
