"""The processes that we start: whose modules they import, and what they may do."""

import os
import resource
import shutil
from pathlib import Path

import pytest

from agent.lib import ics
from agent.lib.ics import worker
from agent.settings import SettingsReader
from drivers.lora.codecs import javascript

ROOT = Path(__file__).parents[2]
MODULES = ("json", "pickle", "zlib", "re", "agent", "pydantic", "astral", "resource", "signal", "_quickjs")


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """We stand in a folder whose modules have the names of the library's and of ours."""
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write(__name__)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", os.environ.get("PYTHONPATH", "")]))
    yield tmp_path
    assert not (tmp_path / "imported").exists()


def test_the_reader_of_a_site_file_imports_nothing_from_where_we_stand(hostile):
    for path in (ROOT / "tests/cases/profiles", ROOT / "tests/cases/saint-seine.yaml"):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, hostile / path.name)
    assert SettingsReader(Path("saint-seine.yaml")).result().site == "saint-seine"


async def test_the_codec_process_has_no_environment_and_the_kernels_limits(hostile, monkeypatch):
    pytest.importorskip("_quickjs")
    monkeypatch.setenv("BOCAGE_MQTT_PASSWORD", "secret")
    codec = hostile / "codec.js"
    codec.write_text("function decodeUplink(input) { return { data: { n: input.bytes.length } }; }")
    asked = {"bytes": [1, 2], "fport": 1, "time": None}
    assert await javascript.run(str(codec), "decode", **asked) == (True, {"data": {"n": 2}})
    process = Path(f"/proc/{javascript._child()._process.pid}")
    assert b"secret" not in (process / "environ").read_bytes()
    assert (process / "environ").read_bytes().strip(b"\0") == b""
    limits = {
        line[:26].strip(): line[26:].split()[0] for line in (process / "limits").read_text().splitlines()[1:]
    }
    assert int(limits["Max address space"]) <= 256 << 20
    assert int(limits["Max cpu time"]) <= 8  # a file may take 2 s to load, a call 0.5 s
    assert int(limits["Max open files"]) <= 16
    assert (limits["Max file size"], limits["Max processes"], limits["Max core file size"]) == ("0", "0", "0")
    javascript._child().close()


def test_the_reader_of_calendars_has_no_secrets_and_the_kernels_limits(hostile, monkeypatch):
    monkeypatch.setenv("BOCAGE_MQTT_PASSWORD", "secret")
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ssl/cert.pem")
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    for name in ("icalendar", "recurring_ical_events", "dateutil", "zoneinfo"):
        (hostile / f"{name}.py").write_text(f"open({str(hostile / 'imported')!r}, 'a').write(__name__)\n")
    event = b"BEGIN:VEVENT\nDTSTART:20260310T170000Z\nDURATION:PT1H\nEND:VEVENT\n"
    text = b"BEGIN:VCALENDAR\n" + event + b"END:VCALENDAR\n"
    request = ics.IcsRequest("Europe/Paris", 1_772_000_000, 1_774_000_000, text)
    assert ics.read(request) == [(1_773_162_000, 1_773_165_600)]
    assert ics._environment() == {"SSL_CERT_FILE": "/etc/ssl/cert.pem"}
    assert worker.LIMITS[resource.RLIMIT_CPU] == 10 and worker.LIMITS[resource.RLIMIT_AS] <= 256 << 20
    none = (resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE)
    assert [worker.LIMITS[one] for one in none] == [0, 0, 0]
