"""A password without TLS stays on this machine, however the machine is written, and in no message about the file."""

import pytest

from agent.site.loader import check


@pytest.mark.parametrize("host", ["[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::1]", "127.3.2.1", "LOCALHOST"])
def test_this_machine_is_known_by_any_of_its_addresses(tmp_path, host):
    assert not refused(tmp_path, host)


@pytest.mark.parametrize("host", ["[::ffff:10.0.0.1]", "127.0.0.1.example.org", "localhost.example.org", "0.0.0.0"])
def test_another_one_is_none_by_a_name_that_looks_like_it(tmp_path, host):
    assert refused(tmp_path, host)


def refused(folder, host):
    text = f"site: {{id: a}}\nuplink: {{url: 'mqtt://{host}', username: u, password: {{env: P}}}}\n"
    (folder / "site.yaml").write_text(text)
    return [one for one in check(folder / "site.yaml") if "sends the password unencrypted" in one.message]


SLIPS = [
    "url: 'mqtts://u:SeCrEt@h:99999'",
    "url: 'mqtts://u:SeCrEt/x@h'",
    "url: 'mqtts://u:SeCrEt#x@h'",
    "url: 'mqtts://u:x@SeCrEt@h:port'",
    "url: 'mqtts://u:SeCrEt[x@h'",
    "url: 'u:SeCrEt@h'",
    "url: 'mqtts:u:SeCrEt@h'",
    "url: 'https://u:SeCrEt@h'",
    "url: 'mqtts://h/?password=SeCrEt'",
    "url: mqtts://h, fallback: ['mqtts://u:SeCrEt/@h']",
    "url: mqtts://h, fallback: 'mqtts://u:SeCrEt@h'",
    "url: mqtts://h, username: u, password: {SeCrEt}",
    "url: mqtts://h, username: u, password: {SeCrEt: file}",
    "url: mqtts://h, username: u, password: !SeCrEt",
    "url: mqtts://h, client_id: 'u:SeCrEt@h'",
    "url: mqtts://h, buffer: 'mqtts://u:SeCrEt@h'",
    "url: mqtts://h, commands: ['mqtts://u:SeCrEt@h']",
    "url: mqtts://h, will: 'mqtts://u:SeCrEt@h'",
]


@pytest.mark.parametrize("uplink", SLIPS)
def test_a_password_that_stands_in_the_file_by_a_slip_is_refused_and_not_said(tmp_path, uplink):
    (tmp_path / "site.yaml").write_text(f"site: {{id: a}}\nuplink: {{{uplink}}}\n")
    said = check(tmp_path / "site.yaml")
    assert any(one.severity == "error" and (one.line, one.column) > (2, 10) for one in said), said
    assert "SeCrEt" not in repr(said)


@pytest.mark.parametrize("whole", ["'mqtts://u:SeCrEt@h'", "['mqtts://u:SeCrEt@h']", "h: 'mqtts://u:SeCrEt@h'"])
def test_a_whole_uplink_that_is_an_address_is_refused_and_not_said(tmp_path, whole):
    (tmp_path / "site.yaml").write_text(f"site: {{id: a}}\nuplink:\n  {whole}\n")
    said = [one.message for one in check(tmp_path / "site.yaml")]
    assert said and "SeCrEt" not in repr(said), said
    if whole[0] == "'":
        assert 'expected keys with their values, found "mqtts://…@h"' in said, said


def test_no_message_is_longer_than_a_line_of_a_log(tmp_path):
    (tmp_path / "site.yaml").write_text(f"site: {{id: a, name: {'9' * 300_000}}}\n? {'k' * 300_000}\n: 1\n")
    said = [one.message for one in check(tmp_path / "site.yaml")]
    assert len(said) >= 2 and max(map(len, said)) < 600
