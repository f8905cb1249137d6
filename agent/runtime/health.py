"""The gateway itself, for the `health` topic: what the kernel knows of this process and of the box.

Everything is a file of /proc or /sys (proc(5)); what a box does not have is None, never an error.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

__all__ = ["Health"]

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MB = 1_000_000
_NO_LIMIT = 1 << 62  # bytes; what version 1 says where there is none, less some pages

# Bits of the Raspberry Pi firmware's answer to GET_THROTTLED: low half now, high half since boot
# (raspberrypi.com documentation, vcgencmd get_throttled).
_UNDERVOLTAGE, _THROTTLED = 0x1, 0x4
_SINCE_BOOT = 16


class Health:
    """Samples of this process and its box. `proc` and `sys` are elsewhere in tests only."""

    def __init__(self, state_folder: Path, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        self._state_folder = state_folder
        self._proc = proc
        self._zones = [zone / "temp" for zone in sorted(sys.glob("class/thermal/thermal_zone*"))]
        self._throttled = next(iter(sorted(sys.glob("devices/platform/soc*/soc*firmware/get_throttled"))), None)
        self._cgroups = sys / "fs/cgroup"
        self._volt_alarms = [
            name.with_name("in0_lcrit_alarm")
            for name in sorted(sys.glob("class/hwmon/hwmon*/name"))
            if _text(name) == "rpi_volt"
        ]
        self._before = (time.monotonic(), self._cpu_seconds())

    def sample(self) -> dict[str, Any]:
        """One look; CPU use is since the last one (or since the start).

        cpu_percent (of one core), load_1min, rss_mb, memory_limit_mb (the unit's MemoryMax as the kernel enforces it;
        None: it enforces none, docs/install.md says where to switch it on), bytes_written (by this process to its
        disks, since its start; None where the kernel does not count it), disk_free_mb and disk_used_percent (of the
        state folder's file system), temperature_c (the hottest zone), undervoltage and throttled (now),
        undervoltage_since_boot and throttled_since_boot: True, False, or None where the box cannot tell. MB are 10^6
        bytes.
        """
        return {
            "cpu_percent": self._cpu_percent(),
            "load_1min": self._load(),
            "rss_mb": self._rss_mb(),
            "memory_limit_mb": self._memory_limit(),
            "bytes_written": self._bytes_written(),
            **self._disk(),
            "temperature_c": self._temperature(),
            **self._power(),
        }

    def _cpu_seconds(self) -> float:
        """utime + stime of all threads: fields 14 and 15 of /proc/PID/stat, counted after the name in brackets."""
        text = _text(self._proc / "self/stat")
        if text is None:
            return 0.0
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def _cpu_percent(self) -> float | None:
        at, used = time.monotonic(), self._cpu_seconds()
        before_at, before_used = self._before
        self._before = (at, used)
        return round(100 * (used - before_used) / (at - before_at), 1) if at > before_at else None

    def _load(self) -> float | None:
        text = _text(self._proc / "loadavg")
        return float(text.split()[0]) if text else None

    def _rss_mb(self) -> float | None:
        text = _text(self._proc / "self/statm")
        return round(int(text.split()[1]) * _PAGE / _MB, 1) if text else None

    def _memory_limit(self) -> float | None:
        """The least limit of our cgroup and of those above it; where the kernel has no memory controller there is none.

        Version 2 has memory.max; a box that still has version 1 (cgroups(7)) keeps a tree for each controller.
        """
        limits: list[float] = []
        for line in (_text(self._proc / "self/cgroup") or "").splitlines():
            _, controllers, own = (*line.split(":", 2), "", "")[:3]
            if not controllers:
                limits += _limits(self._cgroups, own, "memory.max")
            elif "memory" in controllers.split(","):
                limits += _limits(self._cgroups / "memory", own, "memory.limit_in_bytes")
        return min((round(limit / _MB, 1) for limit in limits if limit < _NO_LIMIT), default=None)

    def _bytes_written(self) -> int | None:
        text = _text(self._proc / "self/io") or ""
        for line in text.splitlines():
            name, _, value = line.partition(":")
            if name == "write_bytes":
                return int(value)
        return None

    def _disk(self) -> dict[str, float | None]:
        try:
            disk = os.statvfs(self._state_folder)
        except OSError:
            return {"disk_free_mb": None, "disk_used_percent": None}
        used = 1 - disk.f_bavail / disk.f_blocks if disk.f_blocks else None
        return {
            "disk_free_mb": round(disk.f_bavail * disk.f_frsize / _MB, 1),
            "disk_used_percent": None if used is None else round(100 * used, 1),
        }

    def _temperature(self) -> float | None:
        """The kernel's thermal ABI gives thousandths of a degree Celsius."""
        found = [_number(zone) for zone in self._zones]
        return max((round(value / 1000, 1) for value in found if value is not None), default=None)

    def _power(self) -> dict[str, bool | None]:
        """Raspberry Pi OS answers with the firmware's bits; a mainline kernel knows undervoltage only."""
        bits = _number(self._throttled, base=16) if self._throttled else None
        if bits is None:
            alarms = [value for value in map(_number, self._volt_alarms) if value is not None]
            return {
                "undervoltage": any(alarms) if alarms else None,
                "throttled": None,
                "undervoltage_since_boot": None,
                "throttled_since_boot": None,
            }
        return {
            "undervoltage": bool(bits & _UNDERVOLTAGE),
            "throttled": bool(bits & _THROTTLED),
            "undervoltage_since_boot": bool(bits >> _SINCE_BOOT & _UNDERVOLTAGE),
            "throttled_since_boot": bool(bits >> _SINCE_BOOT & _THROTTLED),
        }


def _limits(tree: Path, own: str, name: str) -> list[float]:
    folder = tree / own.strip("/")
    found = [_number(each / name) for each in (folder, *folder.parents) if tree in (each, *each.parents)]
    return [limit for limit in found if limit is not None]


def _text(path: Path) -> str | None:
    """Return the content of the file, or None: a zone of a sleeping sensor answers with an error (EAGAIN, EINVAL)."""
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _number(path: Path, base: int = 10) -> int | None:
    text = _text(path)
    try:
        return int(text, base) if text else None
    except ValueError:
        return None
