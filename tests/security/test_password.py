"""A password without TLS stays on this machine, however the machine is written."""

import pytest

from agent.config.loader import check


@pytest.mark.parametrize("host", ["[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::1]", "127.3.2.1", "LOCALHOST"])
def test_this_machine_is_known_by_any_of_its_addresses(tmp_path, host):
    assert not refused(tmp_path, host)


@pytest.mark.parametrize("host", ["[::ffff:10.0.0.1]", "127.0.0.1.example.org", "localhost.example.org", "0.0.0.0"])
def test_another_one_is_none_by_a_name_that_looks_like_it(tmp_path, host):
    assert refused(tmp_path, host)


def refused(folder, host):
    text = f"site: {{id: a}}\nuplink: {{url: 'mqtt://{host}', username: u, password: {{env: P}}}}\n"
    (folder / "site.yaml").write_text(text)
    return [one for one in check(folder / "site.yaml") if "shows the password" in one.message]
