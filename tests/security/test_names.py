"""Names in a profile lead to files of its folder, and to nothing else on the box."""

import pytest

from agent.site.loader import check

SITE = """\
site: {id: v, name: V, timezone: Europe/Paris, latitude: 47.4, longitude: 4.7}
buses:
  air: {type: lora_line, port: /dev/serial/by-id/x, pattern: '(?P<data>[0-9A-F]+)'}
devices:
  n: {bus: air, node: "01", profile: %s}
"""
PROFILE = "lora: {codec: %s}\npoints: {t: {field: t, unit: degC}}\n"
CODEC = "function decodeUplink(i) { return {data: {t: 1}}; }"


@pytest.fixture
def problems(tmp_path):
    inside = tmp_path / "village"
    (inside / "profiles/codecs").mkdir(parents=True)
    (inside / "profiles/codecs/good.js").write_text(CODEC)
    (tmp_path / "secret.js").write_text(CODEC)
    (tmp_path / "secret.yaml").write_text(PROFILE % "codecs/good.js")
    (inside / "profiles/codecs/link.js").symlink_to(tmp_path / "secret.js")
    (inside / "profiles/codecs/near.js").symlink_to("good.js")
    (inside / "profiles/linked.yaml").symlink_to(tmp_path / "secret.yaml")
    (inside / "profiles/folder").symlink_to(tmp_path)

    def look(profile, codec):
        (inside / "profiles/mine.yaml").write_text(PROFILE % codec)
        (inside / "site.yaml").write_text(SITE % profile)
        found = check(inside / "site.yaml")
        return [str(one).removeprefix(f"{inside}/") for one in found if one.severity == "error"]

    return look


@pytest.mark.parametrize("codec", ["codecs/good.js", "codecs/near.js", "./codecs/good.js"])
def test_a_codec_in_the_folder_is_fine(problems, codec):
    assert problems("mine", codec) == []


ELSEWHERE = ["../../secret.js", "codecs/../../../secret.js", "/etc/passwd", "codecs/link.js", "folder/secret.js"]


@pytest.mark.parametrize("codec", ELSEWHERE)
def test_a_codec_elsewhere_is_an_error_with_its_place(problems, codec):
    here, *_ = [found for found in problems("mine", codec) if found.startswith("profiles/")]
    assert here.startswith("profiles/mine.yaml:1:15: error: ") and "out of profiles" in here


@pytest.mark.parametrize("name", ["../secret", "/etc/secret", "..", "folder/secret", '"a\\0b"'])
def test_a_name_of_a_profile_is_no_way(problems, name):
    (found,) = problems(name, "codecs/good.js")
    assert found.startswith("site.yaml:5:")


def test_a_name_that_no_file_can_have_is_said_with_its_place(problems, tmp_path):
    (found,) = problems("x" * 300, "codecs/good.js")
    assert found.startswith("site.yaml:5:") and "unknown profile" in found
    for codec in ("x" * 300 + ".js", "a/" * 3000 + "b.js"):
        assert problems("mine", codec) == []
        (warning,) = [one for one in check(tmp_path / "village/site.yaml") if "codec" in one.message]
        assert (warning.line, warning.severity) == (5, "warning") and "is not there" in warning.message


def test_a_profile_that_is_a_link_out_is_an_error(problems):
    assert any("link out of profiles" in found for found in problems("linked", "codecs/good.js"))
