"""Calendars of a running agent: fetched, kept without the network, given up after 30 days, read anew at a reload."""

from __future__ import annotations

import asyncio
import json
import stat
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agent.control.api import Now
from agent.control.named_calendars import Occurrences, held
from agent.lib.secret import Kept
from agent.runtime.calendars import DAY, LASTS, RETRY, Calendars
from agent.settings import CalendarSource, Settings
from tests.fakes.clock import EPOCH, FakeClock
from tests.fakes.https import https_server

PARIS = ZoneInfo("Europe/Paris")
HOUR = 3600.0


def calendar(*begins: str) -> bytes:
    """Events of an hour."""
    events = [
        f"BEGIN:VEVENT\r\nUID:{begin}\r\nSUMMARY:Mariage\r\nDTSTART:{begin}\r\nDURATION:PT1H\r\nEND:VEVENT\r\n"
        for begin in begins
    ]
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{''.join(events)}END:VCALENDAR\r\n".encode()


class Rig:
    """The keeper with a server, a clock that stands still, and what the engine is told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.pages, self.root = folder, {}, ""
        self.clock = FakeClock()
        self.told: list[dict] = []
        self.known = True

    def now(self) -> Now:
        civil = datetime.fromtimestamp(EPOCH + self.clock.monotonic(), PARIS) if self.known else None
        return Now(self.clock.monotonic(), civil, self.known)

    def settings(self, *sources: CalendarSource, **more) -> Settings:
        from dataclasses import replace

        return replace(Settings.bare(), timezone="Europe/Paris", calendar_sources=sources, **more)

    def source(self, path: str = "/hall.ics", **more) -> CalendarSource:
        return CalendarSource("hall", url=Kept("text", self.root + path), **{"refresh": HOUR, **more})

    def keeper(self, settings: Settings) -> Calendars:
        made = Calendars(self.folder / "state", self.folder, settings, self.now, self.clock)
        made.changed = lambda present: self.told.append(dict(present))
        return made

    async def turn(self, keeper: Calendars, hours: float = 0.0) -> object:
        """Let it do what is due in some hours; the calendar as it is known then."""
        self.clock.at += hours * HOUR
        for source in list(keeper._sources.values()):
            civil = self.now().civil
            if civil is not None and keeper._is_due(source, civil):
                await keeper._renew(source, int(civil.timestamp()))
        return keeper.present.get("hall")

    def held(self, keeper: Calendars) -> bool | None:
        return held(keeper.present["hall"], self.now().civil)[0]


@pytest.fixture
def rig(tmp_path, monkeypatch):
    made = Rig(tmp_path)
    (tmp_path / "state").mkdir()
    with https_server(tmp_path, made.pages) as (made.root, authority):
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        made.pages["/hall.ics"] = (200, {}, calendar("20251124T180000", "20251220T180000"))  # it is 17:16
        yield made


async def test_it_is_fetched_kept_and_asked_for_again(rig):
    keeper = rig.keeper(rig.settings(rig.source(before=600)))
    assert await rig.turn(keeper) is not None
    assert rig.held(keeper) is False
    rig.clock.at += 35 * 60
    assert rig.held(keeper) is True, "10 min early"
    path = rig.folder / "state/calendars/hall.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    text = path.read_text()
    assert "Mariage" not in text and "127.0.0.1" not in text, "neither titles nor the address are kept"
    assert len(json.loads(text)["spans"]) == 2
    rig.pages["/hall.ics"] = (200, {}, calendar("20251201T180000"))
    await rig.turn(keeper)
    assert rig.held(keeper) is True, "its hour has not come"
    await rig.turn(keeper, 0.5)
    assert rig.held(keeper) is False
    assert len(json.loads(path.read_text())["spans"]) == 1
    assert rig.told[-1] == keeper.present


async def test_the_flash_is_written_for_news_and_once_a_day(rig):
    keeper = rig.keeper(rig.settings(rig.source()))
    await rig.turn(keeper)
    path = rig.folder / "state/calendars/hall.json"
    written = path.stat().st_ino
    for _ in range(23):
        await rig.turn(keeper, 1)
    assert path.stat().st_ino == written
    await rig.turn(keeper, 1)
    assert path.stat().st_ino != written


async def test_the_last_good_copy_holds_for_30_days_also_after_a_start(rig, caplog):
    keeper = rig.keeper(rig.settings(rig.source()))
    await rig.turn(keeper)
    rig.pages.clear()
    await rig.turn(keeper, 1)
    await rig.turn(keeper, 1)
    assert [record.message for record in caplog.records if "not read" in record.message] == [
        'calendar not read calendar=hall reason="the server answers 404" '
        f"next=the copy of {int(EPOCH + 1000)} holds for 30 d"
    ], "once"
    again = rig.keeper(rig.settings(rig.source()))
    assert rig.held(again) is False, "known at once"
    rig.clock.at = 1000 + LASTS - 1
    assert again.present["hall"].knows(rig.now().civil)
    rig.clock.at += 1
    assert rig.held(again) is None
    rig.pages["/hall.ics"] = (200, {}, calendar("20260101T180000"))
    await rig.turn(again)
    assert rig.held(again) is False, "the server is back"


async def test_a_failure_is_tried_again_soon(rig):
    rig.pages.clear()
    keeper = rig.keeper(rig.settings(rig.source()))
    assert await rig.turn(keeper) is None
    rig.pages["/hall.ics"] = (200, {}, calendar())
    assert await rig.turn(keeper, (RETRY - 1) / HOUR) is None
    assert await rig.turn(keeper, 1 / HOUR) is not None


async def test_a_page_that_is_no_calendar_takes_nothing_away(rig):
    keeper = rig.keeper(rig.settings(rig.source()))
    await rig.turn(keeper)
    rig.pages["/hall.ics"] = (200, {}, b"<html>please log in</html>")
    await rig.turn(keeper, 1)
    assert rig.held(keeper) is True


async def test_while_the_time_is_not_known_nothing_is_asked(rig):
    rig.known = False
    keeper = rig.keeper(rig.settings(rig.source()))
    assert await rig.turn(keeper) is None
    task = asyncio.create_task(keeper.run())
    await asyncio.sleep(0.1)
    assert keeper.present == {}
    rig.known = True
    keeper.configure(rig.settings(rig.source()))
    async with asyncio.timeout(20):
        while "hall" not in keeper.present:
            await asyncio.sleep(0.05)
    task.cancel()


async def test_another_address_is_another_calendar(rig):
    await rig.turn(rig.keeper(rig.settings(rig.source())))
    other = rig.keeper(rig.settings(rig.source("/other.ics")))
    assert "hall" not in other.present
    gone = rig.keeper(rig.settings())
    assert gone.present == {} and list((rig.folder / "state/calendars").iterdir()) == []


async def test_a_copy_that_was_damaged_is_fetched_again(rig):
    await rig.turn(rig.keeper(rig.settings(rig.source())))
    path = rig.folder / "state/calendars/hall.json"
    path.write_text(path.read_text()[:-9])
    keeper = rig.keeper(rig.settings(rig.source()))
    assert "hall" not in keeper.present
    assert await rig.turn(keeper) is not None
    path.unlink()
    path.symlink_to(rig.folder / "authority.pem")
    assert "hall" not in rig.keeper(rig.settings(rig.source())).present, "no link is followed"


async def test_a_file_is_read_on_each_day_from_the_copy_that_was_applied(rig):
    now = int(EPOCH + 1000)
    source = CalendarSource("hall", file="hall.ics")
    settings = rig.settings(source, calendars={"hall": Occurrences((), now - DAY, now + 2 * DAY)})
    (rig.folder / "hall.ics").write_bytes(b"it is being edited")
    (rig.folder / "state/applied").mkdir()
    (rig.folder / "state/applied/hall.ics").write_bytes(calendar("20260102T180000"))
    keeper = rig.keeper(settings)
    await rig.turn(keeper, 23)
    assert keeper.present == settings.calendars, "it was read with the site file"
    found = await rig.turn(keeper, 1)
    assert found.knows(rig.now().civil + timedelta(days=61)) and len(found.spans) == 1
