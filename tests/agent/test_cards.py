"""Cards that are copied: one image in two boxes, and a backup that is put back. No number is ever given twice."""

import shutil

import pytest

from tests.fakes.gateway import Site, Slave

pytestmark = pytest.mark.slow


class Numbers:
    """Who gave which number of which store, by what went over the broker."""

    def __init__(self, subscriber):
        self.given, self.twice = {}, []
        subscriber.taken = self._take

    def _take(self, batch):
        store, seq, _ = batch["k"]
        for point, entries in batch["p"].items():
            number, at = seq, batch["t"]
            for later, value, step, *_ in entries:
                number, at = number + step, at + later
                if self.given.setdefault((store, number), (point, value, at)) != (point, value, at):
                    self.twice.append((store, number))

    @property
    def stores(self):
        return {store for store, _ in self.given}


@pytest.fixture
def numbers(subscriber):
    return Numbers(subscriber)


@pytest.fixture
def clone(site, link, tmp_path):
    """A second box, with a slave of its own."""
    (tmp_path / "other").mkdir()
    slave = Slave()
    slave.registers[0] = 5000  # none of the values of the first one's
    made = Site(tmp_path / "other", slave, link.port)
    made.env["BOCAGE_MACHINE"], site.env["BOCAGE_MACHINE"] = "box-b", "box-a"
    yield made, slave
    if made.process is not None and made.process.poll() is None:
        made.kill()
    slave.close()


def lives(box, slave, subscriber, numbers, wait_for, count=10):
    """This box runs until so many more of its readings have come, and is stopped."""
    box.start()
    last = slave.registers[0] + count
    wait_for(lambda: numbers.twice or last in subscriber.values("m.count"), 30, "its readings")
    assert numbers.twice == []
    assert box.stop()[0] == 0


def test_two_boxes_from_one_card_never_share_a_number_and_one_id_is_said(
    site, slave, clone, subscriber, numbers, wait_for
):
    box, its_slave = clone
    site.start()
    wait_for(lambda: len(subscriber.values("m.count")) > 10)
    site.kill()
    shutil.copytree(site.folder / "state", box.folder / "state")
    lives(box, its_slave, subscriber, numbers, wait_for)
    lives(site, slave, subscriber, numbers, wait_for, 40)
    assert len(numbers.stores) == 2
    wait_for(lambda: subscriber.events("store_moved"), what="the word of the second box")
    box.start()
    site.start()
    wait_for(lambda: subscriber.events("identity_taken", "alarm"), 60, "that there are two")


def test_a_card_that_is_put_back_gives_no_number_that_went_out_since(site, slave, subscriber, numbers, wait_for):
    state, backup = site.folder / "state", site.folder / "backup"
    lives(site, slave, subscriber, numbers, wait_for)
    shutil.copytree(state, backup)
    lives(site, slave, subscriber, numbers, wait_for, 20)
    shutil.rmtree(state)
    backup.rename(state)
    lives(site, slave, subscriber, numbers, wait_for, 20)
    assert len(numbers.stores) == 2
    wait_for(lambda: subscriber.events("store_moved"), what="the word of another store")
