"""A maker's codec that cannot be loaded: said with its place, refused at a reload, and the one before goes on."""

import pytest

from agent.site.loader import read_copy

pytestmark = pytest.mark.broker

ROOM = "24e124136b316001"
GOOD = "function decodeUplink(input) { return {data: {temperature: input.bytes[0]}}; }\n"
BETTER = GOOD.replace("input.bytes[0]", "input.bytes[0] + 100")
BROKEN = "function decodeUplink(input) {\n  return {data: {temperature: 1};\n}\n"
THROWS = f"var table = lookup.first;\n{GOOD}"
EMPTY = "// to be written\n"


@pytest.fixture
def codec(site):
    """Of the one node of this site."""
    (site.folder / "profiles" / "own.yaml").write_text("lora: {codec: own.js}\npoints: {temperature: {unit: degC}}\n")
    site.document["devices"]["room"] = {"bus": "lora-1", "dev_eui": ROOM, "profile": "own"}
    found = site.folder / "profiles" / "own.js"
    found.write_text(GOOD)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "place", "words"),
    [(BROKEN, (2, 33), "SyntaxError"), (THROWS, (1, 13), "lookup is not defined"), (EMPTY, (1, 1), "no function")],
)
def test_a_codec_that_cannot_be_loaded_is_refused_and_the_applied_one_goes_on(
    site, codec, server, wait_for, source, place, words
):
    def hears(byte):
        server.up(ROOM, bytes([byte]))
        return lambda: site.ask(do="read", points=["room.temperature"])["points"]["room.temperature"]["value"]

    def invalid():
        return site.status()["config"]["invalid"]

    def is_up():
        return [one for one in site.status()["buses"] if one["name"] == "lora-1" and one["state"] == "up"]

    said = f"{codec}:{place[0]}:{place[1]}: error: this codec cannot be loaded: "
    site.start()
    wait_for(is_up)
    heard = hears(7)
    wait_for(lambda: heard() == 7)

    codec.write_text(source)
    checked = site.bocage("check", check=1).stdout
    assert said in checked and words in checked
    heard = hears(8)  # what was edited and never applied is not used
    wait_for(lambda: heard() == 8)
    assert said in site.bocage("reload", check=1).stderr
    assert words in invalid()["message"]
    site.kill()
    site.start()
    wait_for(is_up)
    assert (invalid()["file"], invalid()["line"], invalid()["column"]) == (str(codec), *place)
    heard = hears(9)
    wait_for(lambda: heard() == 9)

    codec.write_text(BETTER)
    site.bocage("reload", check=0)
    assert invalid() is None
    heard = hears(10)
    wait_for(lambda: heard() == 110)


def test_without_the_engine_it_is_said_that_nobody_looked(site, codec, monkeypatch):
    monkeypatch.setattr("drivers.lora.codecs.look.ENGINE", "no_such_engine")
    codec.write_text(BROKEN)
    site.write()
    (said,) = [problem for problem in read_copy(site.path, codecs=True).problems if problem.file == str(codec)]
    assert str(said).startswith(f"{codec}:1:1: warning: this codec cannot be looked at: JavaScript codecs need quickjs")
