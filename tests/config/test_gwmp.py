"""Our own network server: who can reach its port, and which keys go together."""

import pytest

SITE = """\
site: {{id: a, timezone: Europe/Paris}}
uplink: {{url: "mqtts://h"}}
buses:
  air: {{type: lora_gwmp{bus}}}
devices:
  a: {{bus: air, profile: milesight_em300_th, {device}}}
"""
OTAA = 'dev_eui: "24e124136b316001", join_eui: "24e124c0002a0001", app_key: {file: a.key}'
ABP = 'dev_addr: "01abcdef", nwk_s_key: {file: n.key}, app_s_key: {credential: s}'
GATEWAYS = ', gateways: ["0102030405060708"]'


@pytest.mark.parametrize("device", [OTAA, ABP, f"{ABP}, skip_fcnt_check: true", f'{ABP}, dev_eui: "24e124136b316001"'])
@pytest.mark.parametrize(
    "bus", ["", ', listen: "127.0.0.1:1701"', ', listen: "[::1]:1700"', f', listen: "0.0.0.0:1700"{GATEWAYS}']
)
def test_what_is_right(said, bus, device):
    assert said(SITE.format(bus=bus, device=device)) == []


@pytest.mark.parametrize("listen", ["0.0.0.0:1700", "192.168.1.5:1700", "[::]:1700", "gateway.local:1700"])
def test_a_port_for_everybody_needs_the_list(said, listen):
    (found,) = said(SITE.format(bus=f', listen: "{listen}"', device=OTAA))
    assert found == (
        f"4:34: error: {listen} can be reached from other machines, and the protocol has no passwords; "
        'write the EUIs that may speak: gateways: ["0102030405060708"]'
    )


@pytest.mark.parametrize(
    ("text", "said_of_it"),
    [
        ("00112233445566778899aabbccddeeff\n", None),
        ("00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF", None),
        ("\ufeff00112233445566778899aabbccddeeff\r\n", None),
        ("0011", "32 hexadecimal digits, not 4 characters"),
        ("zz" * 16, "32 hexadecimal digits, not 32 characters"),
        ("", "32 hexadecimal digits, not 0 characters"),
        ("\xff\xfe", "32 hexadecimal digits, not 2 characters"),
    ],
)
def test_a_key_file_that_is_there_is_looked_at(said, tmp_path, text, said_of_it):
    (tmp_path / "a.key").write_text(text)
    (tmp_path / "a.key").chmod(0o600)
    found = said(SITE.format(bus="", device=OTAA))
    assert [line.partition(": ")[2] for line in found] == (
        [f"warning: {{file: a.key}} has no AES-128 key in it; {said_of_it}"] if said_of_it else []
    )
    assert all(line.startswith("6:") for line in found)
    assert not text.strip() or all(text.strip() not in line for line in found)


def test_a_key_that_everybody_can_read(said, tmp_path):
    (tmp_path / "a.key").write_text("00112233445566778899aabbccddeeff")
    (tmp_path / "a.key").chmod(0o644)
    (found,) = said(SITE.format(bus="", device=OTAA))
    mend = f"chmod 600 {tmp_path / 'a.key'}"
    assert found.endswith(f"warning: {{file: a.key}} can be read by every user of this machine; {mend}")


def test_skip_fcnt_check_is_for_abp(said):
    (found,) = said(SITE.format(bus="", device=f"{OTAA}, skip_fcnt_check: true"))
    assert found.endswith("skip_fcnt_check is for a device by ABP; one that joins begins at 0 by itself")


def test_one_port_one_bus(said):
    text = SITE.format(bus="", device=OTAA).replace("devices:", "  more: {type: lora_gwmp}\ndevices:")
    (found,) = said(text.replace("more: {", 'more: {listen: "127.0.0.1:1700", '))
    assert found == "5:18: error: 127.0.0.1:1700 is already used by bus air (line 4)"


def test_a_key_in_the_file_is_refused(said):
    (found,) = said(SITE.format(bus="", device=OTAA.replace("{file: a.key}", '"0102030405060708090a0b0c0d0e0f10"')))
    assert "secret" in found
    assert "0102030405" not in found


@pytest.mark.parametrize("delay", ["1500ms", "20s"])
def test_a_receive_delay_is_one_of_the_specification(said, delay):
    (found,) = said(SITE.format(bus="", device=f"{OTAA}, rx1_delay: {delay}"))
    assert found.endswith("LoRaWAN knows 1s to 15s, whole seconds")


def test_the_receive_windows_and_adr_may_be_set(said):
    assert said(SITE.format(bus="", device=f"{OTAA}, rx1_delay: 5s, rx2_spreading_factor: 9, adr: off")) == []


@pytest.mark.parametrize("key", ["adr: off", "rx1_delay: 5s", "rx2_spreading_factor: 9"])
def test_what_is_chirpstacks_to_say(said, key):
    bus = "{type: lora_chirpstack, url: \"mqtt://127.0.0.1\", application: \"52f14cd4-c6f1-4fbd-8f87-4025e1d49242\"}"
    device = '{bus: cloud, dev_eui: "24e124136b316001", profile: milesight_em300_th, ' + key + "}"
    text = SITE.format(bus="", device=OTAA).replace("devices:", f"  cloud: {bus}\ndevices:") + f"  far: {device}\n"
    (found,) = said(text)
    assert "is ChirpStack's to say, in its device profile" in found
