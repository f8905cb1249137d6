"""Whose numbers they are: a state folder on another machine, a copied card, a restored one."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.errors import StorageError
from agent.lib.machine import Machine
from agent.model import Event
from agent.outbox import Outbox
from agent.outbox.blocks import decode
from agent.outbox.identity import Claim, Statement, parse_statement
from agent.outbox.store import Store, Work
from agent.uplink.dialects.native import encode

A, B = Machine("a" * 16), Machine("b" * 16)


def board(
    folder: Path, serial: str = "", adapters: dict[str, tuple[str, str]] | None = None, machine_id: str = ""
) -> Path:
    """What a kernel shows of a machine. An adapter is where it sits, and its address."""
    files = {
        "proc/device-tree/serial-number": serial and f"{serial}\0",
        "etc/machine-id": machine_id and machine_id + "\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if text:
            (folder / name).write_text(text)
    for name, (place, address) in (adapters or {}).items():
        adapter = folder / "sys/class/net" / name
        adapter.mkdir(parents=True)
        for file, text in {"address": address, "addr_assign_type": "0", "type": "1"}.items():
            (adapter / file).write_text(text + "\n")
        if place:
            (folder / "sys/devices" / place).mkdir(parents=True, exist_ok=True)
            (adapter / "device").symlink_to(folder / "sys/devices" / place)
    return folder


def test_a_machine_is_its_board_then_its_adapters_then_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BOCAGE_MACHINE", raising=False)

    def machine(name: str, **what: Any) -> Machine:
        return Machine.present(board(tmp_path / name, **what))

    lan, wifi, stick = (
        ("platform/eth", "dc:a6:32:00:00:01"),
        ("mmc1/wlan", "dc:a6:32:00:00:02"),
        ("usb1/1-1", "00:e0:4c:0:0:1"),
    )
    pi = machine("pi", serial="10000000abcdef01", adapters={"eth0": lan}, machine_id="1" * 32)
    clone = machine("clone", serial="10000000abcdef02", machine_id="1" * 32)
    assert clone.is_other(pi) and not machine("pi2", serial="10000000abcdef01").is_other(pi)
    pc = machine("pc", adapters={"eth0": lan, "wlan0": wifi, "eth1": stick, "veth0": ("", "3a:00:00:00:00:01")})
    assert len(pc.addresses) == 2, "neither what is on USB nor what is made up"
    assert not machine("late", adapters={"wlan0": wifi}).is_other(pc)
    assert machine("another", adapters={"eth0": ("platform/eth", "dc:a6:32:00:00:09")}).is_other(pc)
    assert not machine("blank", serial="0000000000000000", machine_id="").is_other(pc)
    plain = machine("plain", machine_id="2" * 32)
    assert machine("copied", machine_id="3" * 32).is_other(plain)
    assert Machine() == machine("nothing") and not Machine().is_other(pi) and Machine.parse(pi.text()) == pi
    monkeypatch.setenv("BOCAGE_MACHINE", "box-7")
    assert machine("container", machine_id="2" * 32).is_other(Machine.parse(pi.text()))


def keys(messages: list[Any], events: Callable[..., Any]) -> dict[tuple[str, int], Any]:
    found: dict[tuple[str, int], Any] = {}
    for message in messages:
        for row in decode(message.body) if message.kind == "readings" else ():
            found[row.store, row.seq] = row.value
    return found | {tuple(event["k"]): (event["code"], event["subject"]) for event in events(messages)}


def copied(box: Any, to: Path) -> Path:
    shutil.copytree(box.state, to)
    return to


def put_back(box: Any, backup: Path) -> None:
    """A copy of the card takes the place of the card, and the box is started with it."""
    shutil.rmtree(box.state)
    shutil.rmtree(box.stage)
    backup.rename(box.state)
    box.open()


def explained(sent: list[Any], later: list[Any], events: Callable[..., Any], *stores: str) -> None:
    """Each number of these stores came or is told as lost, from the first that came on."""
    gaps = [event["detail"] for event in events(later) if event["kind"] == "gap"]
    for store in stores:
        came = {seq for name, seq in (*keys(sent, events), *keys(later, events)) if name == store}
        told = {n for gap in gaps if gap["store"] == store for n in range(gap["first"], gap["last"] + 1)}
        assert set(range(min(came), max(came) + 1)) <= came | told


async def move_to_a(box: Any) -> None:
    """Start on machine A, at a broker that knows of no store."""
    box.options = {"machine": A}
    await box.out.close()
    box.open()
    await box.out.compare_claims(Statement({}, ""))


async def confirmed(box: Any, monkeypatch: pytest.MonkeyPatch) -> Claim:
    """The claim of a box that reserves 100 numbers at a time, started anew, at a broker that knows of none."""
    monkeypatch.setattr("agent.outbox.numbers.RANGE", 100)
    await box.out.close()
    box.open()
    claim: Claim = await box.out.compare_claims(Statement({}, ""))
    return claim


async def test_two_boxes_from_one_card_never_share_a_number(box: Any, events: Any, tmp_path: Path) -> None:
    await move_to_a(box)
    box.out.put(box.readings(10, value=1), 2)
    await box.tick(6)
    await box.out.put_event(Event("change", "x", "km1", box.clock.now()))
    state = copied(box, tmp_path / "card")
    clone = Outbox.open(state, tmp_path / "stage-b", box.clock, machine=B)
    assert clone.store != box.out.store
    clone.put(box.readings(10, value=2), 2)
    box.out.put(box.readings(10, value=3), 2)
    first = keys(await box.drain(), events)
    original, box.out = box.out, clone
    second = keys(await box.drain(), events)
    box.out = original
    shared = first.keys() & second.keys()
    assert {key: first[key] for key in shared} == {key: second[key] for key in shared}
    assert {value for key, value in second.items() if key[0] == original.store} == {1, ("x", "km1")}
    told = [value for key, value in second.items() if key[0] == clone.store]
    assert ("store_moved", "gateway") in told and told.count(2) == 10
    await clone.close()
    again = Outbox.open(state, tmp_path / "stage-b", box.clock, machine=B)
    assert again.store == clone.store
    assert Outbox.open(copied(box, tmp_path / "nobody"), tmp_path / "stage-c", box.clock).store == original.store


def retained(claim: Any, run: str = "r1") -> Statement:
    """Through the broker and back."""
    return parse_statement(encode(Statement({}, "").after(claim, run).body()))


async def test_a_restored_card_takes_another_store(box: Any, events: Any, tmp_path: Path) -> None:
    await move_to_a(box)
    box.out.put(box.readings(10, value=1), 2)
    await box.out.close()
    backup = copied(box, tmp_path / "backup")

    box.open()
    claim = await box.out.compare_claims(Statement({}, ""))
    box.out.put(box.readings(10, value=2), 2)
    await box.tick(6)
    await box.out.put_event(Event("change", "x", "later", box.clock.now()))
    sent = keys(await box.drain(), events)
    heard = retained(claim)
    assert await box.out.compare_claims(heard) == claim, "it is our own"
    await box.out.close()
    box.open()
    assert (await box.out.compare_claims(heard)).store == claim.store, "nobody went on from a later state"
    await box.out.close()

    shutil.rmtree(box.state)
    backup.rename(box.state)
    box.open()
    box.out.put(box.readings(10, value=3), 2)
    await box.tick(6)
    await box.out.put_event(Event("change", "x", "after", box.clock.now()))
    box.out.put(box.readings(5, value=4), 1)
    renewed = await box.out.compare_claims(heard)
    assert renewed is not None and renewed.store != claim.store
    box.out.put(box.readings(5, value=5), 1)
    await box.tick(6)
    box.open()
    came = keys(await box.drain(), events)
    assert all(sent[key] == came[key] for key in sent.keys() & came.keys())
    values = [value for key, value in came.items() if key[0] == renewed.store]
    assert [values.count(n) for n in (3, 4, 5)] == [10, 5, 5] and ("x", "after") in values
    assert ("store_moved", "gateway") in values
    assert [n for (store, n) in came if store == renewed.store and n <= 10] == []


async def test_a_copy_that_runs_elsewhere_is_found_by_its_machine(box: Any, tmp_path: Path) -> None:
    """A database of before machines were noted, copied: the broker's word is what tells them apart."""
    box.out.put(box.readings(10), 2)
    await box.out.close()
    clone = Outbox.open(copied(box, tmp_path / "card"), tmp_path / "stage-b", box.clock, machine=B)
    box.options = {"machine": A}
    box.open()
    claim = await box.out.compare_claims(Statement({}, ""))
    theirs = await clone.compare_claims(retained(claim))
    assert theirs is not None and theirs.store != claim.store


async def test_a_box_that_gets_a_name_is_not_called_older(box: Any, events: Any) -> None:
    """BOCAGE_MACHINE is written for the first time: another store, to be safe, with the reason that it is."""
    box.options = {"machine": Machine(machine_id="c" * 16)}
    await box.out.close()
    box.open()
    box.out.put(box.readings(10), 2)
    claim = await box.out.compare_claims(Statement({}, ""))
    await box.out.close()
    box.options = {"machine": Machine("a" * 16, machine_id="c" * 16)}
    box.open()
    renewed = await box.out.compare_claims(retained(claim))
    assert renewed is not None and renewed.store != claim.store
    told = [event["detail"]["reason"] for event in events(await box.drain()) if event["code"] == "store_moved"]
    assert told == ["the machine had another name when its numbers went out last"]


async def test_what_is_retained_may_be_anything() -> None:
    for payload in (
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"store":1}',
        b"\xff",
        b'{"others":3,"store":"x","last":1,"epoch":"y"}',
        b"[" * 60_000,
        b'{"store":"x","last":1e999,"epoch":1,"machine":"m","run":"r","others":{}}',
        b'{"store":"x","last":1,"epoch":1' + b"0" * 300 + b',"machine":"m","run":"r","others":{}}',
        b'{"store":"x","last":-1,"epoch":true,"machine":"m","run":"r","others":{}}',
        b'{"store":"x","last":1,"epoch":1,"machine":null,"run":null,"others":{}}',
        b'{"store":"\\ud800","last":1,"epoch":1,"machine":"m","run":"r","others":{}}',
        b'{"store":"' + b"x" * 60_000 + b'","last":1,"epoch":1,"machine":"m","run":"r","others":{}}',
    ):
        assert parse_statement(payload) == Statement({}, "")


async def test_what_a_restored_card_lost_is_told_under_its_new_store(
    box: Any, events: Any, flash: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gap record itself had to take a number of a store without durable ones: the flash failed.

    A later state may have sent such a record, so it stays as it is, and another one tells the same of the new store.
    """
    bounds = {"messages.MOST": 100, "numbers.RANGE": 100, "stage._SEGMENT": 500}
    for name, value in bounds.items():
        monkeypatch.setattr(f"agent.outbox.{name}", value)
    await move_to_a(box)
    box.out.put(box.readings(10), 2)
    await box.out.close()
    backup = copied(box, tmp_path / "backup")
    box.open()
    box.out.put(box.readings(10), 2)
    await box.tick(6)
    claim = await box.out.compare_claims(Statement({}, ""))
    await box.out.close()

    shutil.rmtree(box.state)
    backup.rename(box.state)
    box.open()
    flash(False)
    for _ in range(260):
        box.out.put(box.readings(1), 2)
    await box.tick(6)
    box.open()
    flash(True)
    box.clock.at += 60
    kept = [entry.message.body for entry in box.out._writer.events.unsaved]
    renewed = await box.out.compare_claims(retained(claim))
    assert renewed.store != claim.store
    messages = await box.drain()
    records = [event for event in events(messages) if event["code"] == "memory"]
    assert {record["k"][0] for record in records} - {claim.store, renewed.store}, "under a name without durable numbers"
    assert kept and set(kept) <= {message.body for message in messages}
    told: dict[str, list[tuple[int, int]]] = {}
    for detail in (record["detail"] for record in records):
        told.setdefault(detail["store"], []).append((detail["first"], detail["last"]))
    assert told[renewed.store] == told[claim.store]


async def test_what_the_stage_sends_without_a_database_is_claimed(
    box: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unreadable: Any
) -> None:
    """It was numbered after the last claim, by a process that was killed; then an older card is put back."""
    box.options = {"machine": A}
    claim = await confirmed(box, monkeypatch)
    backup = copied(box, tmp_path / "backup")
    while box.out._writer.numbers.next <= claim.last:
        box.out.put(box.readings(10), 2)
        await box.drain()
        await box.tick(6)
    box.out.put(box.readings(10), 2)

    with unreadable():
        box.open()
        assert box.out.is_unsure, "what is retained is waited for"
        said = await box.out.compare_claims(retained(claim))
        assert said is not None and (said.store, box.out.claim) == (claim.store, said)
        assert said.last >= max(row.seq for m in await box.drain() for row in decode(m.body))
    box.open()
    assert (await box.out.compare_claims(retained(said))).store == claim.store, "nobody went on from a later state"

    put_back(box, backup)
    renewed = await box.out.compare_claims(retained(said))
    assert renewed is not None and renewed.store != claim.store


async def number_beyond(box: Any, claim: Claim) -> None:
    """Put readings until what was claimed is not enough for them, while there is no link."""
    while box.out._writer.numbers.next <= claim.last:
        box.out.put(box.readings(10), 2)
        await box.tick(50)
    box.out.put(box.readings(10), 2)


async def unconfirmed(box: Any, monkeypatch: pytest.MonkeyPatch) -> Claim:
    """What the broker confirmed last, of machine A; more is numbered since and on flash, which nobody confirmed."""
    box.options = {"machine": A}
    claim = await confirmed(box, monkeypatch)
    box.open()
    await number_beyond(box, claim)
    await box.tick(60)
    return claim


async def older_card(box: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Claim, Claim]:
    """A copy of the card is put back: what it claimed, and what a later state of the box claimed since."""
    claim = await confirmed(box, monkeypatch)
    backup = copied(box, tmp_path / "backup")
    box.open()
    await number_beyond(box, claim)
    later: Claim = await box.out.compare_claims(retained(claim))
    put_back(box, backup)
    return claim, later


@pytest.mark.parametrize("ends", ["killed", "in order", "power cut"])
async def test_a_box_knows_its_own_claim_without_a_database(
    box: Any, monkeypatch: pytest.MonkeyPatch, ends: str, unreadable: Any, events: Any
) -> None:
    """Numbered since the last confirmation, and sent from the stage by a process that could not open the flash."""
    claim = await confirmed(box, monkeypatch)
    box.open()  # from here on nobody confirms it
    await number_beyond(box, claim)

    with unreadable():
        box.open()
        said = await box.out.compare_claims(retained(claim))
        sent = {(row.store, row.seq) for m in await box.drain() for row in decode(m.body)}
        assert said is not None and said.epoch > claim.epoch and sent
        box.open()
        assert await box.out.compare_claims(retained(said)) == said, "once more, with nothing new to claim"
    if ends == "power cut":
        shutil.rmtree(box.stage)
    box.open()
    if ends == "in order":
        await box.tick(50)
        await box.out.close()
        box.open()
    after = await box.out.compare_claims(retained(said))
    assert after is not None and after.store == claim.store, "nobody went on from a later state"
    assert after.epoch >= said.epoch
    messages = await box.drain()
    sent |= {(row.store, row.seq) for m in messages if m.kind == "readings" for row in decode(m.body)}
    assert {store for store, _ in sent} == {claim.store}
    told = [event for event in events(messages) if event["kind"] == "gap"]
    known = {n for _, n in sent} | {event["k"][1] for event in events(messages)}
    known |= {n for event in told for n in range(event["detail"]["first"], event["detail"]["last"] + 1)}
    assert known >= set(range(1, box.out._writer.numbers.next)) and (ends == "power cut" or not told)


@pytest.mark.parametrize("ends", ["killed", "power cut"])
async def test_what_is_sent_while_a_confirmation_cannot_be_noted_is_claimed(
    box: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str, flash: Any
) -> None:
    """The flash fails when the link comes: the next start knows the claim for its own, an older card does not."""
    claim = await confirmed(box, monkeypatch)
    backup = copied(box, tmp_path / "backup")
    box.open()  # from here on nobody confirms it
    await number_beyond(box, claim)

    flash(False)
    said = await box.out.compare_claims(retained(claim))
    sent = {row.seq for m in await box.drain() for row in decode(m.body)}
    assert said is not None and (said.store, box.out.claim) == (claim.store, said)
    assert said.epoch > claim.epoch and said.last >= max(sent)
    if ends == "power cut":
        shutil.rmtree(box.stage)
    box.open()
    again = await box.out.compare_claims(retained(said))
    assert (again.store, again.epoch) == (said.store, said.epoch), "nobody went on from a later state"
    flash(True)

    put_back(box, backup)
    renewed = await box.out.compare_claims(retained(said))
    assert renewed is not None and renewed.store != claim.store


@pytest.mark.parametrize("starts", [0, 1])
async def test_what_was_confirmed_while_the_flash_was_dead_keeps_its_keys(
    box: Any, events: Any, monkeypatch: pytest.MonkeyPatch, starts: int, flash: Any
) -> None:
    """A part of it was sent, and a later process brings to flash that this is done with; then the card is moved."""
    claim = await unconfirmed(box, monkeypatch)
    flash(False)
    box.out.put(box.readings(10), 2)
    await box.tick(60)
    said = await box.out.compare_claims(retained(claim))
    sent = await box.drain()
    on_flash = set(range(min(number for _, number in keys(sent, events))))
    for _ in range(starts):
        box.open()
        box.out.put(box.readings(10), 2)
    flash(True)
    box.open()
    box.out.put(box.readings(10), 2)
    await box.tick(60)

    box.options = {"machine": B}
    shutil.rmtree(box.stage)
    box.open()
    moved = await box.out.compare_claims(retained(said))
    assert moved is not None and moved.store != said.store
    later = await box.drain()
    explained(sent, later, events, said.store, moved.store)
    assert {name for name, number in keys(later, events) if number in on_flash} == {said.store}


@pytest.mark.parametrize("goes", ["moved", "put back"])
async def test_what_nobody_could_compare_is_told_of_where_its_store_ends(
    box: Any, events: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, goes: str
) -> None:
    """A broker that does not retain took a record of it; the readings beside go on under another store."""
    claim = await unconfirmed(box, monkeypatch)
    await box.out.put_event(Event("change", "x", "km1", box.clock.now()))
    sent = [await box.take()]
    box.out.accepted(sent[0])
    box.out.put(box.readings(10), 2)
    await box.tick(60)
    if goes == "put back":
        later = claim._replace(epoch=99, reservation="another")
        put_back(box, copied(box, tmp_path / "backup"))
        moved = await box.out.compare_claims(retained(later))
    else:
        shutil.rmtree(box.stage)
        box.options = {"machine": B}
        box.open()
        moved = await box.out.compare_claims(retained(claim))
    assert moved is not None and moved.store != claim.store
    explained(sent, await box.drain(), events, claim.store, moved.store)


async def test_what_a_start_deletes_as_delivered_was_confirmed(
    box: Any, events: Any, monkeypatch: pytest.MonkeyPatch, flash: Any, kept_flash: Any
) -> None:
    """The flash had kept them although its sync failed, and fails again behind the transaction that deletes some."""
    claim = await unconfirmed(box, monkeypatch)
    for boot in ("a", "b", "a"):  # two blocks: one begins before the other, and ends behind it
        box.out.put([one._replace(at=one.at._replace(boot=boot)) for one in box.readings(10)], 2)
    kept_flash(False)
    await box.tick(60)
    flash(False)
    said = await box.out.compare_claims(retained(claim))
    sent = [await box.take(), await box.take()]
    for message in sent:
        box.out.accepted(message)
    flash(True)
    commit, commits = Store.commit, []

    def first_only(db: Store, work: Work) -> None:
        commits.append(work)
        if len(commits) > 1:
            raise sqlite3.OperationalError("disk I/O error")
        commit(db, work)

    monkeypatch.setattr(Store, "commit", first_only)
    box.open()
    assert commits[0].done_blocks
    flash(True)

    box.options = {"machine": B}
    shutil.rmtree(box.stage)
    box.open()
    moved = await box.out.compare_claims(retained(said))
    assert moved is not None and moved.store != said.store
    explained(sent, await box.drain(), events, said.store, moved.store)


async def test_an_older_card_is_found_without_its_database(
    box: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unreadable: Any
) -> None:
    """It numbered as far as the later state had, and then could not be read: what it has on the stage waits."""
    claim, later = await older_card(box, tmp_path, monkeypatch)
    await number_beyond(box, later)
    with unreadable():
        box.open()
        with pytest.raises(StorageError):
            await box.out.compare_claims(retained(later))
    renewed = await box.out.compare_claims(retained(later))
    assert renewed is not None and renewed.store != claim.store


async def test_a_database_that_opens_late_goes_on_where_the_stage_was_compared(
    box: Any, unreadable: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = await confirmed(box, monkeypatch)
    box.out.put(box.readings(10), 2)
    with unreadable():
        box.open()
        assert await box.out.compare_claims(retained(claim)) == claim
    while box.out.claim.epoch == claim.epoch:
        box.out.put(box.readings(10), 2)
        await box.tick(60)
    assert box.out.claim.store == claim.store and not box.out.is_unsure


async def test_what_waits_to_be_sent_when_another_store_begins_is_sent(
    box: Any, events: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flash: Any, alarm: Any
) -> None:
    """Records that could not be written at first: they are on flash by then, and read again."""
    claim = await confirmed(box, monkeypatch)
    await box.drain()
    await box.out.close()
    backup = copied(box, tmp_path / "backup")
    box.open()
    await number_beyond(box, claim)
    later = await box.out.compare_claims(retained(claim))

    put_back(box, backup)
    flash(False)
    for number in range(3):
        await box.out.put_event(alarm(number))
    flash(True)
    renewed = await box.out.compare_claims(retained(later))
    assert renewed.store != claim.store
    assert [one["subject"] for one in events(await box.drain()) if one["kind"] == "alarm"] == ["km0", "km1", "km2"]


@pytest.mark.parametrize("then", ["killed again", "unreadable at first"])
async def test_what_was_put_while_an_older_card_took_another_store_goes_under_that(
    box: Any, events: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unreadable: Any, then: str
) -> None:
    """The process was killed just then: only the flash knows of the new store, and tells it once."""
    claim, later = await older_card(box, tmp_path, monkeypatch)
    await number_beyond(box, claim)
    await killed_at_a_new_store(box, later, monkeypatch, put=5)
    if then == "killed again":
        box.open()
        box.open()
    else:
        with unreadable():
            box.open()
            with pytest.raises(StorageError):
                await box.out.compare_claims(retained(later))
    renewed = await box.out.compare_claims(retained(later))
    came = await box.drain()
    assert {store for (store, _), value in keys(came, events).items() if value == 7} == {renewed.store}
    assert not [gap for gap in events(came) if gap["code"] == "stage_cut"]


async def test_a_record_that_waited_for_the_flash_goes_out_under_a_new_name_whose_sync_failed(
    box: Any, events: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flash: Any
) -> None:
    claim, later = await older_card(box, tmp_path, monkeypatch)
    await number_beyond(box, claim)
    await killed_at_a_new_store(box, later, monkeypatch)
    flash(False)
    await box.out.put_event(Event("alarm", "test", "km1", box.clock.now()))
    flash(True)
    renewed = await box.out.compare_claims(retained(later))
    assert [one["k"][0] for one in events(await box.drain()) if one["code"] == "test"] == [renewed.store]


async def killed_at_a_new_store(box: Any, claim: Claim, monkeypatch: pytest.MonkeyPatch, put: int = 0) -> None:
    """When it is noted on flash that others went on from there, and before that is told; so many are put meanwhile."""
    renew = Store.renew

    def dies(db: Store, *arguments: Any) -> None:
        renew(db, *arguments)
        box.out.put(box.readings(put, value=7), 2)
        raise OSError("killed")

    with monkeypatch.context() as patch, pytest.raises(StorageError):
        patch.setattr(Store, "renew", dies)
        await box.out.compare_claims(retained(claim))


@pytest.mark.parametrize("killed", [False, True])
async def test_what_a_newer_card_had_not_sent_is_told(
    box: Any, events: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    """A consumer misses numbers between those that came of it, and nobody else knows of them any more."""
    await move_to_a(box)
    box.out.put(box.readings(10), 2)
    sent = await box.drain()
    await box.out.close()
    backup = copied(box, tmp_path / "backup")
    box.open()
    claim = await box.out.compare_claims(Statement({}, ""))
    box.out.put(box.readings(10), 2)
    await box.tick(6)
    box.out.put(box.readings(10), 2)
    live = await box.take()
    box.out.accepted(live)
    assert live.lane == "live"

    put_back(box, backup)
    box.out.put(box.readings(10), 2)
    await box.tick(6)
    if killed:
        await killed_at_a_new_store(box, claim, monkeypatch)
        box.open()
    await box.out.compare_claims(retained(claim))
    later = await box.drain()
    came = {seq for store, seq in keys([*sent, live, *later], events) if store == claim.store}
    gaps = [event["detail"] for event in events(later) if event["kind"] == "gap"]
    told = {seq for gap in gaps if gap["store"] == claim.store for seq in range(gap["first"], gap["last"] + 1)}
    assert set(range(1, max(came))) <= came | told
    assert max(told) <= claim.last


@pytest.mark.parametrize("killed", [False, True])
async def test_a_gap_record_over_two_stores_tells_each_of_its_part(
    box: Any, events: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    """One drop takes what the card had when it was copied, and what it numbered since: that has another store then."""
    rng = random.Random(3)

    async def fill() -> None:
        box.out.put(box.readings(5), 2)
        for _ in range(40):
            box.out.put([one._replace(value=round(rng.uniform(0, 1000), 3)) for one in box.readings(300)], 3)
            await box.tick(6)
        box.out.put(box.readings(5), 2)
        await box.tick(6)

    await move_to_a(box)
    await fill()
    await box.out.close()
    backup = copied(box, tmp_path / "backup")
    box.open()
    claim = await box.out.compare_claims(Statement({}, ""))

    put_back(box, backup)
    await fill()
    box.options = {"machine": A, "max_bytes": 400_000}
    box.open()
    await box.tick(6)
    if killed:
        await killed_at_a_new_store(box, claim, monkeypatch)
        box.open()
    await box.out.compare_claims(retained(claim))
    messages = await box.drain()
    gaps = [event["detail"] for event in events(messages) if event["kind"] == "gap"]
    came = keys(messages, events).keys()
    for store in (claim.store, box.out.store):
        numbers = {number for name, number in came if name == store}
        told = {n for gap in gaps if gap["store"] == store for n in range(gap["first"], gap["last"] + 1)}
        assert set(range(min(numbers), max(numbers))) <= numbers | told
    parts = {gap["store"]: gap for gap in gaps if gap["reason"] == "quota" and gap["count"] is None}
    assert parts.keys() == {claim.store, box.out.store}, "nobody knows how many are on either side"
    assert parts[claim.store]["last"] + 1 == parts[box.out.store]["first"]


@pytest.mark.parametrize("then", ["it goes on", "it is killed", "a write fails and is kept"])
@pytest.mark.parametrize("named", [False, True])
async def test_a_block_over_two_stores_is_told_of_in_both(
    box: Any, events: Any, monkeypatch: pytest.MonkeyPatch, named: bool, then: str
) -> None:
    """It goes whole with the new one; what lay between its numbers, of another class, keeps its keys."""
    box.options = {"machine": Machine(machine_id="c" * 16)}
    await box.out.close()
    box.open()
    claim = await box.out.compare_claims(Statement({}, ""))
    for cls in (2, 1, 2, 1):
        box.out.put(box.readings(5), cls)
    box.options = {"machine": Machine("a" * 16 if named else "", machine_id="c" * 16)}
    box.open()
    box.out.put(box.readings(5), 2)
    await box.tick(6)
    heard = claim if named else claim._replace(epoch=claim.epoch + 3, reservation="another's")
    if then != "it goes on":
        await killed_at_a_new_store(box, heard, monkeypatch)
    if then == "it is killed":
        box.open()
    await box.out.compare_claims(retained(heard))
    messages = await box.drain()
    gaps = [event["detail"] for event in events(messages) if event["kind"] == "gap"]
    came = keys(messages, events).keys()
    assert {name for name, _ in came} == {claim.store, box.out.store}
    for store in (claim.store, box.out.store):
        numbers = {number for name, number in came if name == store}
        told = {n for gap in gaps if gap["store"] == store for n in range(gap["first"], gap["last"] + 1)}
        assert set(range(min(numbers), max(numbers))) <= numbers | told


@pytest.mark.parametrize("ends", ["in order", "killed", "power cut"])
async def test_an_older_card_that_is_moved_before_anybody_compared_it(
    box: Any, events: Any, tmp_path: Path, ends: str
) -> None:
    """What it numbered since it was put back cannot keep its keys: a later state has sent others under these."""
    await move_to_a(box)
    box.out.put(box.readings(10, value=1), 2)
    sent = await box.drain()
    await box.out.close()
    backup = copied(box, tmp_path / "backup")
    box.open()
    claim = await box.out.compare_claims(Statement({}, ""))
    box.out.put(box.readings(10, value=2), 2)
    sent += await box.drain()

    put_back(box, backup)
    box.out.put(box.readings(10, value=3), 2)
    await box.tick(6)
    await box.out.put_event(Event("change", "x", "km1", box.clock.now()))
    box.out.put(box.readings(5, value=4), 2)
    await box.out.put_event(Event("change", "x", "km2", box.clock.now()))
    if ends == "in order":
        await box.out.close()
    if ends == "power cut":
        shutil.rmtree(box.stage)
    box.options = {"machine": B}
    box.open()
    moved = await box.out.compare_claims(retained(claim))
    assert moved is not None and moved.store != claim.store
    later = await box.drain()
    first, second = keys(sent, events), keys(later, events)
    assert all(first[key] == second[key] for key in first.keys() & second.keys())
    of_new = [value for (store, _), value in second.items() if store == moved.store]
    assert of_new.count(3) == 10 and of_new.count(4) == (0 if ends == "power cut" else 5)
    assert ("x", "km1") in of_new and ("x", "km2") in of_new and ("store_moved", "gateway") in of_new

    explained(sent, later, events, claim.store, moved.store)
    gaps = [event["detail"] for event in events(later) if event["kind"] == "gap"]
    assert claim.store in {gap["store"] for gap in gaps}, "nobody knows what else a later state sent"
