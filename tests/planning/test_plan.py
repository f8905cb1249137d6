"""`bocage plan`: the numbers of a year before the box leaves the workshop, as JSON, CSV, text and a picture."""

import csv
import io
import json
import shutil
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from agent.cli import main
from agent.planning.picture import GREYS
from agent.planning.site import site_plan
from agent.site.loader import load

SITE = Path(__file__).parent.parent / "cases" / "saint-seine.yaml"
NIGHTLY = 'part_night_off: [{from: "23:00", to: "05:00"}]'


@pytest.fixture
def plan(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*options: str, site: Path = SITE) -> str:
        assert main(["plan", str(site), *options]) == 0
        return capsys.readouterr().out

    return run


def changed(folder: Path, *changes: tuple[str, str]) -> Path:
    text = SITE.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / "site.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_night_as_json(plan: Any) -> None:
    found = json.loads(plan("--from", "2026-01-15", "--days", "1", "--json"))
    assert found["site"] == "saint-seine" and found["from"] == "2026-01-15" and found["days"] == 1
    assert found["circuits"]["main-street"] == {
        "nights": [
            {
                "night": "2026-01-15",
                "segments": [
                    {"on": "2026-01-15T17:51:21+01:00", "off": "2026-01-15T23:00:00+01:00"},
                    {"on": "2026-01-16T05:00:00+01:00", "off": "2026-01-16T07:46:56+01:00"},
                ],
                "minutes": 475.6,
                "kwh": 14.27,
            }
        ],
        "minutes": 475.6,
        "kwh": 14.27,
        "all_night": {"minutes": 835.6, "kwh": 25.07},
    }
    assert found["circuits"]["church"]["nights"][0]["segments"] == [
        {"on": "2026-01-15T17:16:20+01:00", "off": "2026-01-15T23:00:00+01:00"}  # its start_delay is in it
    ]
    assert found["water"] == {"fountain": [{"from": "2026-01-15T07:00:00+01:00", "to": "2026-01-15T21:00:00+01:00"}]}
    assert found["heating"]["school"][1] == {
        "from": "2026-01-15T07:30:00+01:00", "to": "2026-01-15T17:00:00+01:00", "mode": "comfort", "setpoint": 19,
    }  # fmt: skip


def test_totals_are_of_the_nights(plan: Any) -> None:
    found = json.loads(plan("--from", "2026-03-20", "--days", "14", "--json"))["circuits"]["main-street"]
    assert len(found["nights"]) == 14
    assert found["minutes"] == pytest.approx(sum(night["minutes"] for night in found["nights"]), abs=0.7)
    assert found["kwh"] == pytest.approx(1.8 * found["minutes"] / 60, abs=0.01)
    assert found["all_night"]["minutes"] > found["minutes"]


def test_holidays_of_the_school(plan: Any) -> None:
    found = json.loads(plan("--from", "2026-02-06", "--days", "5", "--json"))["heating"]["school"]
    assert [(one["from"][8:16], one["mode"]) for one in found] == [
        ("06T00:00", "reduced"), ("06T07:30", "comfort"), ("06T17:00", "reduced"), ("07T00:00", "frost"),
    ]  # fmt: skip


def test_public_holidays_of_the_commune(plan: Any, tmp_path: Path) -> None:
    """In 57 Good Friday is a holiday only where a temple stands (Code du travail, L3134-13); 26 December always is."""
    more = "no_holidays: [good_friday], more_holidays: [06-24, 2027-03-30]"
    site = changed(tmp_path, ("public_holidays: FR", f"public_holidays: FR-57, {more}"))

    def late(night: str) -> bool:
        """The cut of the eve of a public holiday begins at 01:00, that of the week at 23:00."""
        printed = plan("--from", night, "--days", "1", "--json", site=site)
        (found,) = json.loads(printed)["circuits"]["main-street"]["nights"]
        return all("T23:00" not in one["off"] for one in found["segments"])

    eves = {"2027-03-25": False, "2028-04-13": False, "2028-12-25": True}
    eves |= {"2027-06-23": True, "2027-03-29": True, "2028-03-29": False}
    assert {night: late(night) for night in eves} == eves


def test_beyond_the_table_of_school_holidays_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(SITE), "--from", "2027-05-01", "--days", "9"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["plan", str(SITE), "--from", "2027-05-01", "--days", "10"]) == 0
    assert "ends on 2027-05-09" in capsys.readouterr().err


def test_csv_has_a_line_a_segment(plan: Any) -> None:
    rows = list(csv.DictReader(io.StringIO(plan("--from", "2026-06-21", "--days", "2", "--csv"))))
    lamps = [row for row in rows if row["name"] == "main-street"]
    assert [(row["night"], row["from"], row["minutes"]) for row in lamps] == [
        ("2026-06-21", "2026-06-21T22:20:49+02:00", "39.2"), ("2026-06-22", "2026-06-22T22:20:59+02:00", "39.0"),
    ]  # fmt: skip
    assert {row["service"] for row in rows} == {"lighting", "water", "heating"}


def test_text_for_people(plan: Any) -> None:
    text = plan("--from", "2026-01-15", "--days", "2")
    assert "  Thu 15 Jan 2026   475.6 min   14.27 kWh  17:51:21-23:00:00  05:00:00-07:46:56" in text
    assert "saved" in text and "open" in text and "comfort 19 degC" in text


def test_a_circuit_without_power_has_no_energy(plan: Any, tmp_path: Path) -> None:
    site = changed(tmp_path, ("      rated_power: 1800 W\n", ""))
    found = json.loads(plan("--from", "2026-01-15", "--days", "1", "--json", site=site))["circuits"]["main-street"]
    assert found["kwh"] is None and found["all_night"]["kwh"] is None and found["minutes"] == 475.6
    assert "475.6 min  17:51:21" in plan("--from", "2026-01-15", "--days", "1", site=site)


def test_a_year_as_a_picture(plan: Any, tmp_path: Path) -> None:
    path = tmp_path / "year.svg"
    assert plan("--from", "2026-01-01", "--plot", str(path)) == ""
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    fills = {one.get("fill") for one in root.iter() if one.get("fill")}
    assert all(fill == "none" or fill[1:3] in fill[3:] or fill == "#fff" for fill in fills if fill), "greys alone"
    text = " ".join(one.text or "" for one in root.iter() if one.tag.endswith("text"))
    assert all(
        word in text for word in ("main-street", "church", "Jan 2026", "Dec", "00:00", "saved", "night, not lit")
    )


def test_the_picture_shows_the_hours(tmp_path: Path) -> None:
    """The columns of one night, measured: dusk, cut and dawn where they belong."""
    site = site_plan(load(SITE))
    root = ElementTree.fromstring(site.draw(date(2026, 1, 15), 1))
    lit = next(one for one in root.iter() if one.get("fill") == "#101010" and one.tag.endswith("path"))
    tops = [float(box.split()[1].split("h")[0]) for box in (lit.get("d") or "").split("M")[1:]]
    assert tops == pytest.approx([216 * (5 * 60 + 51) / 1440, 216 * 17 / 24], abs=0.2)


VILLAGE = Path(__file__).parents[2] / "config" / "village.yaml"


def lanes(picture: str, days: int) -> dict[str, dict[str, set[tuple[int, float, float]]]]:
    """What is drawn of each control, by its shade: the column, and the hours after noon of its begin and end."""
    found: dict[str, dict[str, set[tuple[int, float, float]]]] = {}
    for group in (one for one in ElementTree.fromstring(picture) if one.tag.endswith("}g")):
        name = next(one.text or "" for one in group if one.get("font-weight") == "bold")
        for path in (one for one in group if one.tag.endswith("path") and one.get("fill")):
            boxes = found.setdefault(name, {}).setdefault(path.get("fill") or "", set())
            for box in (path.get("d") or "").split("M")[1:]:
                left, rest = box.split(" ")
                top, bottom = float(rest.split("h")[0]), float(rest.split("V")[1].split("h")[0])
                boxes.add((round(float(left) / 876 * days), round(top / 9, 1), round(bottom / 9, 1)))
    return found


def test_the_picture_has_all_that_has_times(tmp_path: Path) -> None:
    """From a Wednesday in January: the market on Saturday, cheap current each night, school, and the hall's choir."""
    rules = '  fair: {if: {times: "23:00-01:00", days: [sat]}, then: {actuator: trace, value: on}}\n'
    site = tmp_path / "site.yaml"
    site.write_text(VILLAGE.read_text(encoding="utf-8").replace("rules:\n", "rules:\n" + rules), encoding="utf-8")
    for beside in ("profiles", "village"):
        shutil.copytree(VILLAGE.parent / beside, tmp_path / beside)
    picture = site_plan(load(site)).draw(date(2027, 1, 13), 7)
    found = lanes(picture, 7)
    assert list(found) == ["main-street", "lane", "stars", "market-tap", "reservoir", "school", "hall", "fair"]
    black, grey, pale, _ = GREYS
    assert found["market-tap"] == {black: {(2, 18, 24), (3, 0, 2)}}, "Saturday from six to two, cut at noon"
    assert found["reservoir"] == {black: {(night, 10.5, 18.5) for night in range(7)}}
    assert found["fair"] == {black: {(3, 11, 13)}}
    assert {(0, 19.5, 24), (1, 0, 5)} <= found["school"][black], "Thursday from half past seven to five"
    assert (1, 5, 19.5) in found["school"][grey] and (3, 0, 24) in found["school"][pale]
    assert (1, 8, 10.5) in found["hall"][black] and len(found["hall"][black]) == 1
    assert "open, 8 h" in picture and "cheap, 56 h" in picture and "comfort 19 degC" in picture


def test_a_site_without_lamps_has_its_picture_too(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(
        "version: 1\nsite: {id: tap, timezone: Europe/Paris}\n"
        "buses: {plant: {type: modbus_tcp, host: 192.168.1.20}}\n"
        "devices: {io-1: {bus: plant, unit_id: 1, profile: relay8_di8}}\n"
        "signals: {ct: {from: io-1.di1, kind: counter, unit: L, per_pulse: 10}}\n"
        "actuators: {ev1: {output: io-1.relay1}}\n"
        'water: {points: {tap: {meter: ct, valve: ev1, opening_hours: {all: ["07:00-21:00"]}}}}\n',
        encoding="utf-8",
    )
    picture = site_plan(load(path)).draw(date(2027, 3, 27), 2)
    assert lanes(picture, 2) == {"tap": {GREYS[0]: {(0, 0, 9), (0, 19, 24), (1, 0, 9), (1, 19, 24)}}}
    assert "not lit" not in picture


def test_levels_have_their_shade_and_their_energy(tmp_path: Path) -> None:
    site = site_plan(
        load(changed(
            tmp_path,
            ("      switch_on:  {event: civil_dusk, offset: 0min}\n",
             "      switch_on:  {event: civil_dusk, offset: 0min}\n"
             '      dimming: {actuator: dim1, levels: [{from: "20:00", to: "22:00", level: 50 %}]}\n'),
            ("  burner: {", "  dim1: {output: io-3.relay2}\n  burner: {"),
        ))
    )  # fmt: skip
    picture = site.draw(date(2026, 1, 15), 3)
    assert "lit at 50 %" in picture and picture.count("#585858") == 2
    night = site.document(date(2026, 1, 15), 1)["circuits"]["main-street"]["nights"][0]
    assert (night["minutes"], night["kwh"]) == (475.6, 12.47)


@pytest.mark.parametrize(
    "options",
    [["--from", "2026-02-30"], ["--from", "15.1.2026"], ["--days", "0"], ["--days", "-1"], ["--days", "x"],
     ["--days", "99999"], ["--from", "0001-01-01"], ["--json", "--csv"], ["--plot", "year.png"]],
)  # fmt: skip
def test_wrong_use(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plan", str(SITE), *options])
    assert ended.value.code == 2 and options[1] in capsys.readouterr().err


def test_a_picture_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["plan", str(SITE), "--plot", str(tmp_path / "no" / "year.svg")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_a_site_without_services(plan: Any, tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("version: 1\nsite: {id: empty}\n", encoding="utf-8")
    found = json.loads(plan("--from", "2026-01-15", "--json", site=path))
    assert (found["circuits"], found["water"], found["heating"], found["days"]) == ({}, {}, {}, 7)
    assert plan("--from", "2026-01-15", site=path).startswith("empty, 7 days")


def test_a_year_in_a_moment() -> None:
    site = site_plan(load(SITE))
    found = site.document(date(2026, 1, 1), 365)["circuits"]["main-street"]
    assert 3800 < found["all_night"]["minutes"] / 60 < 3950 and found["minutes"] < found["all_night"]["minutes"] / 1.8
    assert found["nights"][-1]["night"] == (date(2026, 1, 1) + timedelta(364)).isoformat()
