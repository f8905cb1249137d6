"""Adaptive data rate, with a device that does what LoRaWAN 1.0.3, 4.3.1.1 and 5.3 say, in virtual time."""

import base64

import pytest

from agent.demo.lorawan import AbpNode
from tests.lora.test_gwmp import GATEWAY, HERE, KEY, SECOND, THERE, Site, abp, order

LIMIT, DELAY = 64, 32
"""ADR_ACK_LIMIT, ADR_ACK_DELAY."""
FLOOR = {7: -7.5, 8: -10.0, 9: -12.5, 10: -15.0, 11: -17.5, 12: -20.0}


class AdrNode(AbpNode):
    """`best_snr` is what the gateway hears at full power; `refuses` the bits of LinkADRAns that it never sets."""

    def __init__(self, sf=7, best_snr=8.0, refuses=0):
        super().__init__("01abcdef", KEY, KEY[::-1])
        self.sf, self.power, self.repeats, self.best_snr, self.refuses = sf, 0, 1, best_snr, refuses
        self.unanswered, self.requests, self.answers = 0, [], b""
        self.adr = True

    @property
    def snr(self):
        return self.best_snr - 2 * self.power

    def report(self, site, **more):
        """One uplink after another 10 minutes, and its answer."""
        self.unanswered += 1
        self.adr_ack_req = self.unanswered > LIMIT
        if self.unanswered > LIMIT + DELAY:
            self.unanswered -= DELAY
            self.power, self.sf = 0, self.sf if self.power else min(12, self.sf + 1)
        site.clock.at += 600
        site.pull(GATEWAY, HERE)
        site.pull(SECOND, THERE)
        answers, self.answers = self.answers, b""
        frame = self.uplink(1, b"x", commands=answers, **more)
        if self.snr < FLOOR[self.sf]:
            site.pass_time()
            return []
        return site.speak(self, frame, lsnr=self.snr, datr=f"SF{self.sf}BW125")

    def hear(self, frame):
        before, known = self.down, len(self.commands)
        super().hear(frame)
        if self.down > before:
            self.unanswered = 0
        for commands in self.commands[known:]:
            self._obey(commands)

    def _obey(self, commands):
        lengths = {0x02: 2, 0x03: 4, 0x06: 0, 0x0D: 5}
        while commands:
            command, body = commands[0], commands[1 : 1 + lengths[commands[0]]]
            commands = commands[1 + len(body) :]
            if command == 0x06:
                self.answers += b"\x06\xff\x0a"
            if command == 0x03:
                self.requests.append(body)
                self.answers += bytes([0x03, 7 & ~self.refuses])
                assert (body[3] >> 4, body[1:3]) in [(6, b"\0\0"), (0, b"\x07\0")]
                if not self.refuses:
                    self.sf, self.power, self.repeats = 12 - (body[0] >> 4), body[0] & 15, body[3] & 15


@pytest.mark.parametrize("adr", ["on", "off"])
def test_a_node_that_is_heard_well_stays_at_its_rate_for_a_month(adr):
    site, node = Site(abp(adr=adr)), AdrNode()
    slowest = 7
    for _ in range(30 * 144):
        node.report(site)
        slowest = max(slowest, node.sf)
    assert slowest == 7
    assert len(site.heard) == 30 * 144
    assert bool(node.requests) == (adr == "on")
    assert len(site.out) < 30 * 144 / LIMIT + 30 + 5  # a downlink where one is asked for, and the battery's


@pytest.mark.parametrize("adr_bit", [True, False])
def test_only_a_node_that_wants_adr_is_told_a_rate(adr_bit):
    site, node = Site(abp()), AdrNode(sf=12)
    node.adr = adr_bit
    for _ in range(60):
        node.report(site)
    assert node.sf == (7 if adr_bit else 12)


@pytest.mark.parametrize(("best_snr", "sf", "power"), [(8.0, 7, 2), (20.0, 7, 7), (-4.0, 10, 0), (-14.0, 12, 0)])
def test_the_rate_and_power_are_those_of_the_margin(best_snr, sf, power):
    """SF12 needs -20 dB; what is over that and 10 dB more is spent in steps of 3 dB."""
    site, node = Site(abp()), AdrNode(sf=12, best_snr=best_snr)
    for _ in range(400):
        node.report(site)
    assert (node.sf, node.power) == (sf, power)
    assert len(node.requests) <= 4
    assert len(site.heard) == 400


@pytest.mark.parametrize(("best_snr", "power"), [(8.0, 4), (2.0, 0)])
def test_a_node_that_moved_away_gets_its_power_back(best_snr, power):
    """By a request; one that is not heard at all any more takes it itself."""
    site, node = Site(abp()), AdrNode(sf=7, best_snr=20.0)
    for _ in range(60):
        node.report(site)
    assert node.power == 7
    node.best_snr = best_snr
    for _ in range(160):
        node.report(site)
    assert (node.sf, node.power) == (7, power)


@pytest.mark.parametrize("refuses", [1, 2, 4, 7])
def test_what_a_node_refuses_is_not_asked_for_ever(refuses):
    site, node = Site(abp()), AdrNode(sf=10, refuses=refuses)
    for _ in range(600):
        node.report(site)
    asked = len(node.requests)
    assert 0 < asked <= 10
    assert [one[1:3] for one in node.requests[1:2]] == ([b"\x07\0"] if refuses & 1 else [b"\0\0"])
    for _ in range(200):
        node.report(site)
        site.start()
    assert len(node.requests) == asked


def test_lost_frames_are_sent_more_often():
    site, node = Site(abp()), AdrNode(sf=7, best_snr=3.0)
    for number in range(60):
        if number % 5 == 4:
            node.up += 1
        node.report(site)
    assert node.repeats in (2, 3)


def test_a_request_takes_no_room_of_a_value():
    site, node = Site(abp()), AdrNode(sf=12)
    for number in range(30):
        if number == 19:
            order(site, payload=bytes(50))
        node.report(site)
    assert node.received == [(9, bytes(50))]
    assert node.requests


def test_the_request_is_one_of_the_specification():
    """0x03, DataRate_TXPower, ChMask (2), Redundancy: SF8 at full power, all channels, once."""
    site, node = Site(abp()), AdrNode(sf=10, best_snr=1.5)
    orders = [made for _ in range(20) for made in node.report(site)]
    frame = base64.b64decode(orders[-1]["data"])
    assert frame[5] & 0x80
    assert frame[8:13] == bytes([0x03, 0x40, 0, 0, 0x61])
