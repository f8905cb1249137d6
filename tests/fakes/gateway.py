"""One whole gateway for tests: the agent as a process of its own, a Modbus slave, a broker, a link, a subscriber."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from multiprocessing.connection import wait  # select.select ends at 1,024 files
from pathlib import Path

import paho.mqtt.client as mqtt

from tests.fakes.ports import free_port
from tests.fakes.waiting import wait_for

PROFILE = """\
name: bench8
points:
  count: {register: holding, address: 0, type: u16}
  level: {register: holding, address: 1, type: u16, unit: uA}
  fixed: {register: holding, address: 2, type: f32, unit: W}
  relay1: {register: coil, address: 0, writable: true}
  relay2: {register: coil, address: 1, writable: true}
  dimmer: {register: holding, address: 8, type: u16, writable: true, low: 0, high: 100, unit: "%"}
  di1: {register: discrete, address: 0}
"""


@contextlib.contextmanager
def makes(kind, end):
    """Yield what makes one of a kind, as often as it is called; each is ended afterwards."""
    made = []

    def make(*args, **options):
        made.append(kind(*args, **options))
        return made[-1]

    yield make
    for one in made:
        end(one)


class Slave:
    """A Modbus TCP slave with 16 holding registers, 8 coils and 8 discrete inputs that follow the coils.

    Register 0 counts how often it was read; `ends` holds what it was when each connection ended. `writes` are all coil
    writes seen, in order, `moments` when each came (monotonic, in s), `registered` those of registers. `deaf` units are
    not answered.
    `drops_after`: seconds without a question after which its outputs fall, as modules with an output watchdog do.
    """

    def __init__(self):
        self.registers, self.coils = [0] * 16, [False] * 8
        self.registers[1] = 12_000
        self.registers[2:4] = struct.unpack(">HH", struct.pack(">f", 61.2))
        self.ends, self.writes, self.moments, self.registered, self.deaf, self.stuck = [], [], [], [], set(), False
        self.drops_after, self._asked = None, time.monotonic()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        count = None
        with connection, contextlib.suppress(OSError):
            stream = connection.makefile("rb")
            while head := stream.read(7):
                tid, _, length, unit = struct.unpack(">HHHB", head)
                pdu = stream.read(length - 1)
                if unit in self.deaf:
                    continue
                self._watchdog()
                answer, count = self._answer(pdu), self.registers[0]
                connection.sendall(struct.pack(">HHHB", tid, 0, len(answer) + 1, unit) + answer)
        self.ends.append(count)

    def _watchdog(self):
        asked, self._asked = self._asked, time.monotonic()
        if self.drops_after is not None and self._asked - asked > self.drops_after:
            self.coils = [False] * 8

    def _answer(self, pdu):
        function, address, count = struct.unpack(">BHH", pdu[:5])
        if function in (3, 4):
            if address + count > 16:
                return bytes([function | 0x80, 2])
            if address == 0:
                self.registers[0] = (self.registers[0] + 1) % 65536
            return struct.pack(f">BB{count}H", function, count * 2, *self.registers[address : address + count])
        if function in (1, 2):
            bits = sum(bit << i for i, bit in enumerate(self.coils[address : address + count]))
            return struct.pack(">BB", function, 1) + bytes([bits])
        if function == 5:
            self.writes.append((address, count == 0xFF00))
            self.moments.append(time.monotonic())
            if not self.stuck:
                self.coils[address] = count == 0xFF00
            return pdu
        if function == 6:
            self.registers[address] = count
            self.registered.append((address, count))
            return pdu
        return bytes([function | 0x80, 1])

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread, which else serves whoever has the number next
        self._listener.close()


class Mosquitto:
    """Debian's broker on a port of its own; it can be stopped and started again. `lines` say who may come in."""

    def __init__(self, folder, *lines):
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        always = ["persistence false", "max_queued_messages 0", *(["user root"] if os.geteuid() == 0 else [])]
        lines = lines or ("allow_anonymous true",)
        self._config.write_text("\n".join([*always, f"listener {self.port} 127.0.0.1", *lines, ""]))
        self.process = None

    def start(self):
        path = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        self.process = subprocess.Popen(
            [path, "-c", self._config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

        def answers():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return True
            return False

        wait_for(answers, what="mosquitto's port")
        return self

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Link:
    """The rural link: a TCP proxy in front of the broker that can be cut, while the broker and its subscribers stay."""

    def __init__(self, broker_port):
        self._to, self._open, self._up = broker_port, set(), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._up.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._up.is_set():
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._to))
                threading.Thread(target=self._serve, args=(near, far), daemon=True).start()

    def _serve(self, near, far):
        """One connection, both ways, until either end is through."""
        with near, far:
            self._open |= {near, far}
            back = threading.Thread(target=self._copy, args=(far, near), daemon=True)
            back.start()
            self._copy(near, far)
            back.join()
            self._open -= {near, far}

    def _copy(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self):
        self._up.clear()
        for end in self._open.copy():
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self):
        self._up.set()

    def close(self):
        self.cut()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class Subscriber:
    """Everything the site sends, readings counted by their key (store, seq)."""

    def __init__(self, port, prefix="bocage/v1", tls=None, login=None):
        self.messages, self.readings, self.deliveries = [], {}, 0
        self.compressed = []
        """The content type of each compressed body."""
        self.taken = lambda batch: None
        """Called with each batch of readings."""
        self.disorder = []
        """(point, number) of each reading that came after a later one of its point and lane."""
        self._newest = {}
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        if tls is not None:
            self.client.tls_set_context(tls)
        if login is not None:
            self.client.username_pw_set(*login)
        self.client.on_connect = lambda client, *_: client.subscribe(f"{prefix}/#", 1)
        self.client.on_message = self._take
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        wait_for(self.client.is_connected, what="the subscriber's connection")

    def _take(self, client, userdata, message):
        body = message.payload
        if body[:1] == b"\x78":
            self.compressed.append(getattr(message.properties, "ContentType", ""))
            body = zlib.decompress(body)
        topic = message.topic.split("/", 3)[3]
        if topic.startswith("cmd/") and not topic.endswith("/result"):
            return  # our own, and perhaps not even JSON
        document = json.loads(body) if body else None
        self.messages.append((topic, document, message.retain))
        if topic == "telemetry":
            self._count(document)

    def _count(self, batch):
        store, first, _ = batch["k"]
        self.taken(batch)
        for point, entries in batch["p"].items():
            seq, at = first, batch["t"]
            for dt, value, dseq, *quality in entries:
                seq, at = seq + dseq, None if at is None else at + dt
                self.deliveries += 1
                lane = store, point, "h" in batch
                if (store, seq) not in self.readings:
                    if seq < self._newest.get(lane, 0):
                        self.disorder.append((point, seq))
                    self._newest[lane] = seq
                known = self.readings.setdefault((store, seq), (point, value, at, *quality))
                assert known == (point, value, at, *quality), "one key, two readings"

    def on(self, topic):
        return [document for name, document, _ in list(self.messages) if name == topic]

    def send(self, name, payload=None, retain=False, **body):
        """A command; `payload` in place of a JSON body."""
        payload = json.dumps({"id": name, **body}) if payload is None else payload
        self.client.publish(f"bocage/v1/test-village/cmd/{name}", payload, qos=1, retain=retain)

    def results(self, name):
        return self.on(f"cmd/{name}/result")

    def states(self, name):
        return [result["state"] for result in self.results(name)]

    def events(self, code, kind=None):
        return [event for event in self.on("event") if event["code"] == code and kind in (None, event["kind"])]

    def values(self, point):
        readings = sorted(self.readings.copy().items(), key=lambda item: item[0][1])
        return [row[1] for _, row in readings if row[0] == point]

    def has_all(self, first, last, point="m.count", but=()):
        """Whether all counts of this range came, but for some. The newest reading comes before the backlog has."""
        return set(range(first, last + 1)) <= {*self.values(point), *but}

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


class Site:
    """A site file, its agent as a process, and its command line."""

    def __init__(self, folder, slave, broker_port):
        self.folder, self.path = folder, folder / "site.yaml"
        self.log = folder / "agent.log"
        (folder / "profiles").mkdir()
        (folder / "profiles" / "bench8.yaml").write_text(PROFILE)
        self.document = {
            "version": 1,
            "site": {
                "id": "test-village",
                "name": "Test",
                "latitude": 47.3,
                "longitude": 5.0,
                "timezone": "Europe/Paris",
            },
            "uplink": {"url": f"mqtt://127.0.0.1:{broker_port}", "prefix": "bocage/v1"},
            "buses": {"plant": {"type": "modbus_tcp", "host": "127.0.0.1", "port": slave.port, "timeout": "300ms"}},
            "devices": {"m": {"bus": "plant", "unit_id": 1, "profile": "bench8", "poll": "200ms"}},
            "signals": {"tank": {"from": "m.level", "signal": "4-20mA", "scale": [0, 100], "unit": "%"}},
            "actuators": {
                "lamp": {"output": "m.relay1", "feedback": "m.di1", "safe_state": "off", "boot_state": "off"}
            },
        }
        self.env = {**os.environ, "BOCAGE_CLOCK": "trusted"}
        self.sabotage = ""
        """Python that is run in the agent's process before the agent."""
        self.process = None

    def allow(self, *names):
        """Outputs that are no actuator's may be commanded over MQTT too."""
        self.document["uplink"]["commands"] = {"allow": ["*", *names]}

    def write(self):
        self.path.write_text(json.dumps(self.document, indent=1))  # JSON is YAML 1.2
        return self

    @property
    def folders(self):
        return ["--state-dir", str(self.folder / "state"), "--runtime-dir", str(self.folder / "run")]

    def launch(self):
        """Start the agent's process, and do not wait for anything."""
        program = ["-m", "agent"]
        if self.sabotage:
            program = ["-c", f"{self.sabotage}\nimport sys\nfrom agent.cli import main\nsys.exit(main())"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *program, "run", str(self.path), *self.folders],
                stdout=log, stderr=log, env=self.env,
            )  # fmt: skip
        return self

    def start(self):
        self.write().launch()
        wait_for(lambda: self._answers() or self.process.poll() is not None, what="the agent's socket")
        assert self.process.poll() is None, self.log.read_text()
        return self

    def bocage(self, command, *arguments, check=None):
        done = subprocess.run(
            [sys.executable, "-m", "agent", command, str(self.path), *arguments, *self.folders],
            capture_output=True, text=True, env=self.env, timeout=30, check=False,
        )  # fmt: skip
        if check is not None:
            assert done.returncode == check, (done.stdout, done.stderr, self.log.read_text()[-3000:])
        return done

    def _answers(self):
        with contextlib.suppress(OSError, ValueError):
            return self.status()

    def ask(self, **request):
        """The agent's answer on its socket, as the command line asks it."""
        folder = os.open(self.folder / "run", os.O_PATH)
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(20)
                sock.connect(f"/proc/self/fd/{folder}/agent.sock")
                sock.sendall(json.dumps(request).encode() + b"\n")
                return json.loads(sock.makefile().readline())
        finally:
            os.close(folder)

    def status(self):
        """What the live view is drawn from."""
        return self.ask(do="status")

    def quality(self, point):
        return self.ask(do="read", points=[point])["points"][point]["quality"]

    def order(self, point, value):
        """A technician's write: (state, reason)."""
        answer = self.ask(do="write", point=point, value=value, hold_ms=None)
        return answer["state"], answer["reason"]

    def facts(self):
        """The newest state on flash, as text. While a newer one takes its place, its name is gone for a moment."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "state" / "state.json").read_text()
        previous = self.folder / "state" / "state.previous.json"
        return previous.read_text() if previous.exists() else ""

    def rss_mb(self):
        return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())[1]) / 1000

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        for name in ("faketime_shm", "sem.faketime_sem"):  # under libfaketime: it takes them away at an orderly end
            Path(f"/dev/shm/{name}_{self.process.pid}").unlink(missing_ok=True)

    def stop(self):
        """SIGTERM; returns (exit code, seconds it took)."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(10)
        return code, time.monotonic() - started

    def hup(self):
        self.process.send_signal(signal.SIGHUP)


class Manager:
    """What systemd is to the unit: owns NOTIFY_SOCKET, kills who is silent for too long, runs ExecStopPost."""

    def __init__(self, site):
        self.site, self.lines = site, []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = f"bocage-test-{os.getpid()}-{id(self)}"
        self._socket.bind("\0" + name)
        site.env["NOTIFY_SOCKET"] = "@" + name

    def hear(self, seconds):
        """Everything said within so many seconds, or until WATCHDOG."""
        heard, deadline = [], time.monotonic() + seconds
        while (rest := deadline - time.monotonic()) > 0 and "WATCHDOG=1" not in heard:
            if wait([self._socket], rest):
                heard += self._socket.recv(4096).decode().splitlines()
        self.lines += heard
        return heard

    def watch(self, seconds):
        """As WatchdogSec=seconds; returns when the agent was silent for so long, killed and cleaned up after."""
        while "WATCHDOG=1" in self.hear(seconds):
            pass
        self.site.process.send_signal(signal.SIGABRT)
        if not self.site.process.poll():
            self.site.process.kill()  # TimeoutAbortSec
        self.site.process.wait()
        unit = (Path(__file__).parents[2] / "systemd" / "bocage.service").read_text()
        (stop_post,) = re.findall(r"^ExecStopPost=-(.+)$", unit, re.MULTILINE)
        _, command, _ = shlex.split(stop_post)
        return self.site.bocage(command, check=0)

    def close(self):
        self._socket.close()
