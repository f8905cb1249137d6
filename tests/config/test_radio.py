"""Point to point radio: what the modem takes, what the law allows, and which nodes need a name."""

from pathlib import Path

import pytest

from agent.site.loader import check

SITE = """\
site: {{id: a, timezone: Europe/Paris}}
uplink: {{url: "mqtts://h"}}
buses:
  rak: {{type: lora_rak_p2p, port: /dev/serial/by-id/x, frequency: {frequency}, bandwidth: {bandwidth}, power: {power}}}
  line: {{type: lora_line, port: /dev/serial/by-id/z, pattern: "^RX (?P<data>[0-9A-F]+)$"}}
devices:
{devices}
"""
A = "  a: {{bus: rak{node}, profile: milesight_em300_th}}"
B = "  b: {{bus: line{node}, profile: milesight_em300_th}}"
C = "  c: {{bus: line{node}, profile: milesight_em300_th}}"
GOOD = {"frequency": "868.1 MHz", "bandwidth": "125 kHz", "power": "14 dBm"}


def problems(tmp_path: Path, *devices: str, **radio: str) -> list[str]:
    path = tmp_path / "site.yaml"
    path.write_text(SITE.format(devices="\n".join(devices), **(GOOD | radio)))
    return [str(problem).partition("site.yaml:")[2] for problem in check(path)]


def test_a_radio_that_is_right_has_no_problem(tmp_path):
    named = A.format(node=', node: "01"')
    assert problems(tmp_path, named, B.format(node="")) == []
    assert problems(tmp_path, named, frequency="869.525 MHz", power="22 dBm", bandwidth="250 kHz") == []


@pytest.mark.parametrize(
    ("radio", "said"),
    [
        ({"bandwidth": "62.5 kHz"}, "error: 62.5 kHz is no bandwidth of this modem; write 125 kHz, 250 kHz or 500 kHz"),
        ({"power": "23 dBm"}, "error: 23 dBm is no power of this modem; write 5 to 22 dBm in whole steps"),
        ({"power": "13.5 dBm"}, "error: 13.5 dBm is no power of this modem; write 5 to 22 dBm in whole steps"),
        ({"power": "20 dBm"}, "warning: 20 dBm is above 14 dBm (25 mW), the most at 868.1 MHz (ERC/REC 70-03)"),
        ({"frequency": "915 MHz"}, "warning: 915 MHz is outside 863-870 MHz, the band of LoRa in Europe"),
    ],
)
def test_what_the_modem_or_the_law_refuses(radio, said, tmp_path):
    (found,) = problems(tmp_path, A.format(node=', node: "01"'), **radio)
    assert found.startswith("4:") and found.endswith(said)


def test_nodes_that_share_a_bus_are_named(tmp_path):
    (found,) = problems(tmp_path, A.format(node=""))
    assert found.endswith('error: "node" is missing in a (bus rak is lora_rak_p2p)')
    found = problems(tmp_path, B.format(node=""), C.format(node=', node: "02"'))
    assert [line.partition(": ")[2] for line in found] == ['error: "node" is missing in b (bus line is lora_line)']
