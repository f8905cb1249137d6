"""A key that was renamed is understood for one more minor version: a file that runs must not stop at an upgrade."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest

import agent.services
import agent.site
from agent import VERSION
from agent.site.language.base import Model, Retired
from agent.site.loader import read_site
from agent.site.models.devices import Device, Publish
from agent.site.models.site import UplinkConfig

SITE = """\
version: 1
site: {id: village, latitude: 47.3, longitude: 5.0, timezone: Europe/Paris}
uplink:
  url: mqtt://127.0.0.1:1883
  silence: 45s
buses:
  plant: {type: modbus_tcp, host: 127.0.0.1}
devices:
  io-1:
    bus: plant
    unit_id: 1
    profile: relay8_di8
    report: {least: 10s, quiet: 5 s}
"""


@pytest.fixture(autouse=True)
def _renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if `keepalive`, `publish`, `every` and `max_silence` had other names in the version before."""
    monkeypatch.setattr(UplinkConfig, "retired", {"silence": Retired("keepalive", "0.3")})
    monkeypatch.setattr(Device, "retired", {"report": Retired("publish", "0.3")})
    monkeypatch.setattr(Publish, "retired", {"least": Retired("every", "0.4"), "quiet": Retired("max_silence", "0.4")})


def read(tmp_path: Path, text: str) -> tuple[Any, list[str]]:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    site, problems = read_site(path, "site.yaml")
    return site, [str(problem) for problem in problems]


def test_a_retired_key_does_what_it_did_and_warns_where_it_stands(tmp_path: Path) -> None:
    site, problems = read(tmp_path, SITE.replace("quiet: 5 s", "quiet: 50s"))
    assert site.uplink.keepalive == 45
    publish = site.devices["io-1"].publish
    assert (publish.every, publish.max_silence) == (10, 50)
    gone = "now, and is not understood any more from version"
    assert problems == [
        f'site.yaml:5:3: warning: "silence" is called "keepalive" {gone} 0.3',
        f'site.yaml:13:5: warning: "report" is called "publish" {gone} 0.3',
        f'site.yaml:13:14: warning: "least" is called "every" {gone} 0.4',
        f'site.yaml:13:26: warning: "quiet" is called "max_silence" {gone} 0.4',
    ]


def test_what_is_wrong_with_its_value_is_said_at_its_place(tmp_path: Path) -> None:
    site, problems = read(tmp_path, SITE.replace("quiet: 5 s", "quiet: 5s").replace("silence: 45s", "silence: 45"))
    assert site is None
    errors = [problem for problem in problems if ": error: " in problem]
    assert [error.partition(": error: ")[0] for error in errors] == ["site.yaml:5:12", "site.yaml:13:33"]
    assert "45" in errors[0] and "is shorter than every" in errors[1]


def test_both_names_at_once_are_an_error(tmp_path: Path) -> None:
    text = SITE.replace("silence: 45s", "silence: 45s\n  keepalive: 30s").replace("5 s", "50s")
    site, problems = read(tmp_path, text)
    assert site is None
    assert 'site.yaml:5:3: error: unknown key "silence"' in problems[0]


def test_no_alias_outlives_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a version without it is released as, this refuses to be."""
    monkeypatch.undo()
    for package in (agent.site, agent.services):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):  # the reader of a site file sets an alarm for its own process
                importlib.import_module(module.name)

    def models(one: type[Model]) -> list[type[Model]]:
        return [one, *(found for below in one.__subclasses__() for found in models(below))]

    number = [int(part) for part in VERSION.split(".")]
    for model in models(Model):
        known = {field.alias or name for name, field in model.model_fields.items()}
        for key, retired in model.retired.items():
            assert [int(part) for part in retired.goes_in.split(".")] > number, (model, key)
            assert retired.now in known and key not in known, (model, key)
