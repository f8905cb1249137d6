"""Every night has its dusk and its dawn, wherever France is: also where they cross 00:00 UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from agent.control.calendar import Calendar
from agent.services.lighting.sun import EVENTS, SunEvent, night_sun

PLACES = {
    "Europe/Paris": (47.32, 5.04),
    "America/Miquelon": (46.78, -56.17),
    "America/Cayenne": (4.93, -52.33),
    "America/Martinique": (14.60, -61.07),
    "Indian/Reunion": (-20.88, 55.45),
    "Indian/Mayotte": (-12.78, 45.23),
    "Indian/Kerguelen": (-49.35, 70.22),
    "Pacific/Noumea": (-22.27, 166.44),
    "Pacific/Wallis": (-13.28, -176.17),
    "Pacific/Tahiti": (-17.53, -149.57),
    "Pacific/Marquesas": (-8.90, -140.10),
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("timezone", PLACES)
def test_a_year_of_nights(timezone: str, event: SunEvent) -> None:
    """One each, and each within four minutes of the one of the night before: none is lost, none is of another night."""
    calendar, nights = Calendar(timezone), (date(2026, 1, 1) + timedelta(number) for number in range(366))
    before = None
    for night in nights:
        found = night_sun(*PLACES[timezone], calendar, night, event)
        assert found is not None, f"{night} has none"
        if before is not None:
            assert abs((found - before).total_seconds() - 86400) < 240, night
        before = found


@pytest.mark.parametrize(
    ("night", "event", "wanted"),
    [
        (date(2027, 2, 18), "civil_dawn", "2027-02-18T23:58:52"),
        (date(2027, 1, 29), "sunrise", "2027-01-29T23:58:45"),
    ],
)
def test_the_event_beside_00_00_utc_is_as_good_as_any(night: date, event: SunEvent, wanted: str) -> None:
    """By the sun's place after Meeus (Astronomical Algorithms, chapter 25): within a minute also in that night."""
    found = night_sun(*PLACES["Indian/Kerguelen"], Calendar("Indian/Kerguelen"), night, event)
    assert found is not None
    assert abs((found - datetime.fromisoformat(wanted).replace(tzinfo=UTC)).total_seconds()) < 60


@pytest.mark.parametrize("longitude", range(-180, 180, 15))
def test_any_longitude_in_any_zone(longitude: int) -> None:
    """The site's zone says where a night begins, not where the event falls in the day of UTC."""
    hours = round(longitude / 15)
    calendar = Calendar(f"Etc/GMT{-hours:+d}" if hours else "Etc/GMT")
    for event in EVENTS:
        for number in range(365):
            assert night_sun(-49.0, longitude + 0.3, calendar, date(2026, 1, 1) + timedelta(number), event) is not None
