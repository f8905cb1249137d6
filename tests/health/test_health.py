"""The sampler against a box made of files, and against this one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.runtime.health import Health

STAT = "77 (bocage (run)) S 1 77 77 0 -1 4194560 900 0 0 0 {utime} {stime} 0 0 20 0 3 0 5000 1000 900"


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A Raspberry Pi: 42.3 degC, undervoltage since boot but not now, throttled now."""
    files = {
        "proc/self/stat": STAT.format(utime=0, stime=0),
        "proc/self/statm": "5000 2000 900 1 0 600 0",
        "proc/self/io": "rchar: 9\nwchar: 8\nread_bytes: 7\nwrite_bytes: 4096\ncancelled_write_bytes: 0",
        "proc/loadavg": "0.42 0.30 0.25 1/95 77",
        "sys/class/thermal/thermal_zone0/temp": "42345",
        "sys/class/thermal/thermal_zone1/temp": "41000",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "10004",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return tmp_path


def health(box: Path) -> Health:
    return Health(box, box / "proc", box / "sys")


def test_a_pi_tells_its_temperature_and_its_power(box: Path) -> None:
    sample = health(box).sample()
    assert sample["temperature_c"] == 42.3
    assert (sample["undervoltage"], sample["throttled"]) == (False, True)
    assert (sample["undervoltage_since_boot"], sample["throttled_since_boot"]) == (True, False)


def test_the_process_is_measured(box: Path) -> None:
    sample = health(box).sample()
    assert sample["bytes_written"] == 4096
    assert sample["load_1min"] == 0.42
    assert sample["rss_mb"] == round(2000 * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def test_cpu_use_is_since_the_last_look(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([100.0, 110.0, 120.0])
    monkeypatch.setattr("agent.runtime.health.time.monotonic", lambda: next(now))
    sampler = health(box)
    ticks = os.sysconf("SC_CLK_TCK")
    (box / "proc/self/stat").write_text(STAT.format(utime=2 * ticks, stime=ticks))
    assert sampler.sample()["cpu_percent"] == 30.0
    assert sampler.sample()["cpu_percent"] == 0.0


def test_a_mainline_kernel_knows_undervoltage_only(box: Path) -> None:
    (box / "sys/devices/platform/soc/soc:firmware/get_throttled").unlink()
    hwmon = box / "sys/class/hwmon/hwmon1"
    hwmon.mkdir(parents=True)
    (hwmon / "name").write_text("rpi_volt\n")
    (hwmon / "in0_lcrit_alarm").write_text("1\n")
    sample = health(box).sample()
    assert (sample["undervoltage"], sample["throttled"]) == (True, None)


def test_what_the_box_does_not_have_is_none(tmp_path: Path) -> None:
    sample = Health(tmp_path / "gone", tmp_path, tmp_path).sample()
    for name in ("rss_mb", "bytes_written", "disk_free_mb", "temperature_c", "undervoltage", "throttled", "load_1min"):
        assert sample[name] is None, name


@pytest.mark.parametrize("text", ["", "not a number"])
def test_a_sensor_that_talks_nonsense_is_none(box: Path, text: str) -> None:
    for zone in (0, 1):
        (box / f"sys/class/thermal/thermal_zone{zone}/temp").write_text(text)
    assert health(box).sample()["temperature_c"] is None


def test_this_machine_answers(tmp_path: Path) -> None:
    sample = Health(tmp_path).sample()
    assert sample["rss_mb"] > 5
    assert sample["disk_free_mb"] > 0
    assert 0 <= sample["disk_used_percent"] <= 100


def test_the_memory_limit_is_the_kernels_not_the_units(box: Path) -> None:
    """Raspberry Pi OS switches the memory controller off: MemoryMax is then written down, and nothing enforces it."""
    (box / "proc/self/cgroup").write_text("0::/system.slice/bocage.service\n")
    assert health(box).sample()["memory_limit_mb"] is None
    for name, text in (("system.slice", "max"), ("system.slice/bocage.service", "314572800")):
        (box / "sys/fs/cgroup" / name).mkdir(parents=True, exist_ok=True)
        (box / "sys/fs/cgroup" / name / "memory.max").write_text(text)
    assert health(box).sample()["memory_limit_mb"] == 314.6
    (box / "sys/fs/cgroup/system.slice/memory.max").write_text("100000000")
    assert health(box).sample()["memory_limit_mb"] == 100.0


def test_so_it_is_with_the_older_cgroups(box: Path) -> None:
    (box / "proc/self/cgroup").write_text("4:memory:/system.slice/bocage.service\n2:cpu,cpuacct:/\n0::/\n")
    assert health(box).sample()["memory_limit_mb"] is None
    unit = box / "sys/fs/cgroup/memory/system.slice/bocage.service"
    unit.mkdir(parents=True)
    (unit.parent.parent / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert health(box).sample()["memory_limit_mb"] is None
    (unit / "memory.limit_in_bytes").write_text("314572800\n")
    assert health(box).sample()["memory_limit_mb"] == 314.6
