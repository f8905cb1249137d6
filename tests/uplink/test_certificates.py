"""When certificates end, against what openssl says."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.uplink.certificates import AGAIN, Certificates, ends
from tests.fakes.clock import FakeClock
from tests.fakes.mosquitto import certificates


def by_openssl(path: Path) -> datetime:
    said = subprocess.run(["openssl", "x509", "-in", path, "-noout", "-enddate"], capture_output=True, text=True)
    text = said.stdout.strip().removeprefix("notAfter=")
    return datetime.strptime(text, "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)


@pytest.mark.parametrize("days", [10, 400, 20_000])  # the last one beyond 2049, which is another type of time
def test_the_end_is_what_openssl_says(tmp_path: Path, days: int) -> None:
    certificates(tmp_path, "village", days=days)
    assert ends(tmp_path / "village.pem") == by_openssl(tmp_path / "village.pem")
    both = tmp_path / "chain.pem"
    both.write_text((tmp_path / "village.pem").read_text() + (tmp_path / "ca.pem").read_text())
    assert ends(both) == min(by_openssl(tmp_path / "village.pem"), by_openssl(tmp_path / "ca.pem"))


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_for_connecting_to_say(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.pem").write_text(text)
    assert ends(tmp_path / "x.pem") is None
    assert ends(tmp_path / "missing.pem") is None


def test_thirty_days_before_and_until_it_is_replaced(tmp_path: Path) -> None:
    certificates(tmp_path, "village", days=40)
    (tmp_path / "ca.pem").unlink()
    clock: Any = FakeClock(0.0, epoch=datetime.now(UTC).timestamp())
    watched = Certificates([tmp_path / "village.pem", None, tmp_path / "ca.pem"], clock)
    assert watched.expiring() == {} and watched.not_known() == ["ca.pem"]
    clock.trusted = False
    assert watched.not_known() == ["village.pem", "ca.pem"], "an alarm of before is not over for want of the time"
    clock.trusted = True
    clock.epoch += 11 * 86_400
    assert watched.expiring() == {"village.pem": pytest.approx(29, abs=0.1)}
    clock.epoch += 30 * 86_400
    assert watched.expiring()["village.pem"] < 0
    clock.trusted = False
    assert watched.expiring() == {}
    clock.trusted = True
    certificates(tmp_path, "village", days=400)
    (tmp_path / "ca.pem").unlink()
    clock.at += AGAIN
    assert watched.expiring() == {}
