"""The example of drivers/lora/modem.md is a site that checks, and means what the page says of it."""

import re
from pathlib import Path

from agent.clock import SystemClock
from agent.site import build as wiring
from agent.site.loader import check, load
from drivers.registry import open_bus
from tests.fakes.store import FakeStore

PAGE = Path(__file__).parent.parent.parent / "drivers" / "lora" / "modem.md"


async def test_the_example_is_loaded_and_its_figures_are_right(tmp_path):
    for name, text in re.findall(r"```yaml\n# (\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    file = tmp_path / "site.yaml"
    assert [str(problem) for problem in check(file)] == []
    settings = wiring.build_settings(load(file))
    assert settings.idle_buses == ()
    wire = open_bus(settings.buses["radio"], SystemClock("always"), FakeStore())
    (one, _), (two, _) = (wire._named(bytes.fromhex(text)) for text in ("0104d200", "0204d200"))
    assert (one.name, two.name) == ("cistern-1", "cistern-2")
    assert (await two.encode("cistern-2.valve", True))[1] == bytes.fromhex("a001")
    assert wire._radio == ("868100000", "9", "0", "8", "14")
