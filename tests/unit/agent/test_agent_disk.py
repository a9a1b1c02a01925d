"""What the agent keeps on its disk: journal, blobs and spools, with torn writes and damage."""

from __future__ import annotations

import hashlib
import random
import resource
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge_agent import crashpoints
from edge_agent.errors import BlobMissingError, DigestMismatchError, DiskFullError, JournalError, SpoolError
from edge_agent.journal import Journal
from edge_agent.life import Assignment, Life, ModelRef, ProbationTerms, Report, State
from edge_agent.spool import Gap, Record, Spool
from edge_agent.store import BlobStore

digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
models = st.builds(ModelRef, digest=digests, size_bytes=st.integers(1, 1 << 40))
reports = st.builds(
    Report,
    action_id=st.text(max_size=20),
    generation=st.integers(0, 1 << 60),
    seq=st.integers(0, 1 << 30),
    state=st.sampled_from(State),
    detail=st.text(max_size=50),
    pairs=st.binary(max_size=50),
)
lives = st.builds(
    Life,
    state=st.sampled_from(State),
    entered_at=st.floats(0, 1e9),
    generation=st.integers(0, 1 << 60),
    assignment=st.none()
    | st.builds(
        Assignment,
        generation=st.integers(1, 1 << 60),
        action_id=st.text(max_size=20),
        model_name=st.text(max_size=20),
        model=models,
        probation=st.none() | st.builds(ProbationTerms, timeout_s=st.floats(0, 1e6)),
    ),
    current=st.none() | models,
    previous=st.none() | models,
    broken=st.none() | models,
    pairs=st.binary(max_size=100),
    outbox=st.lists(reports, max_size=5).map(tuple),
)


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def kill_at():
    """Have the named crash point end everything, as a kill would."""

    def arm(point: str) -> None:
        def hook(name: str) -> None:
            if name == point:
                raise Killed(name)

        crashpoints.install(hook)

    yield arm
    crashpoints.install(None)


# Journal.


@settings(max_examples=40, deadline=None)
@given(life=lives)
def test_a_life_survives_the_journal(tmp_path_factory, life):
    directory = tmp_path_factory.mktemp("journal")
    Journal(directory).write(life, life.entered_at + 12.5)
    entry = Journal(directory).read()
    assert entry.life == life
    assert entry.spent_s == pytest.approx(12.5)
    assert not entry.was_clean


def test_a_new_device_begins_with_an_empty_life(tmp_path):
    assert Journal(tmp_path).read().life == Life()


def test_a_clean_end_is_remembered(tmp_path):
    Journal(tmp_path).write(Life(), 0.0, is_clean_end=True)
    assert Journal(tmp_path).read().was_clean


@pytest.mark.parametrize("point", ["journal-written", "journal-renamed"])
def test_a_kill_while_journalling_leaves_the_old_or_the_new_life(tmp_path, kill_at, point):
    journal = Journal(tmp_path)
    journal.write(Life(generation=1), 0.0)
    kill_at(point)
    with pytest.raises(Killed):
        journal.write(Life(generation=2), 0.0)
    assert Journal(tmp_path).read().life.generation == (1 if point == "journal-written" else 2)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_journal_steps_back_by_one_and_never_invents_a_life(tmp_path_factory, data):
    directory = tmp_path_factory.mktemp("journal")
    journal = Journal(directory)
    before, after = Life(generation=1), Life(generation=2)
    journal.write(before, 0.0)
    journal.write(after, 0.0)
    path = directory / "journal.json"
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 2))]
    else:
        content[data.draw(st.integers(0, len(content) - 2))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    assert Journal(directory).read().life in (before, after)


def test_a_journal_that_cannot_be_read_at_all_is_an_error_and_not_a_new_life(tmp_path):
    (tmp_path / "journal.json").write_text("00000000\n{}\n")
    with pytest.raises(JournalError, match="start this device afresh"):
        Journal(tmp_path).read()


# Blobs.


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(store: BlobStore, data: bytes) -> str:
    with store.open_part(sha256(data), len(data)) as part:
        part.write(0, data)
        part.finish()
    return sha256(data)


@given(data=st.binary(min_size=1, max_size=2000), cuts=st.lists(st.integers(1, 500), max_size=6))
@settings(max_examples=40, deadline=None)
def test_a_blob_may_be_taken_up_at_any_offset(tmp_path_factory, data, cuts):
    store = BlobStore(tmp_path_factory.mktemp("blobs"))
    for cut in [*cuts, len(data)]:
        offset = store.part_size(sha256(data), len(data))
        with store.open_part(sha256(data), len(data)) as part:
            assert part.offset == offset
            part.write(offset, data[offset : offset + cut])
    with store.open_part(sha256(data), len(data)) as part:
        part.finish()
    assert store.read(sha256(data), len(data)) == data


@pytest.mark.parametrize("point", ["part-written", "blob-verified", "blob-renamed"])
def test_a_kill_during_a_download_loses_no_byte_and_keeps_no_wrong_name(tmp_path, kill_at, point):
    data = random.Random(1).randbytes(500)
    kill_at(point)
    with pytest.raises(Killed):
        put(BlobStore(tmp_path), data)
    crashpoints.install(None)
    store = BlobStore(tmp_path)
    if not store.has(sha256(data), len(data)):
        assert store.part_size(sha256(data), len(data)) == len(data)
        with store.open_part(sha256(data), len(data)) as part:
            part.finish()
    assert store.read(sha256(data), len(data)) == data


def test_wrong_bytes_never_get_the_name_they_claim(tmp_path):
    store = BlobStore(tmp_path)
    with store.open_part(sha256(b"right"), 5) as part:
        part.write(0, b"wrong")
        with pytest.raises(DigestMismatchError):
            part.finish()
    assert not store.has(sha256(b"right"), 5)
    assert store.part_size(sha256(b"right"), 5) == 0


def test_a_chunk_that_does_not_follow_or_goes_too_far_is_refused(tmp_path):
    with BlobStore(tmp_path).open_part("a" * 64, 4) as part:
        with pytest.raises(DigestMismatchError, match="offset"):
            part.write(1, b"x")
        with pytest.raises(DigestMismatchError, match="4 bytes"):
            part.write(0, b"12345")


def test_a_part_larger_than_the_blob_is_of_no_use(tmp_path):
    store = BlobStore(tmp_path)
    (tmp_path / ("a" * 64 + ".part")).write_bytes(b"12345")
    assert store.part_size("a" * 64, 4) == 0


@pytest.mark.parametrize("change", ["flip", "cut", "grow"])
def test_damage_on_the_disk_is_found_and_removed(tmp_path, change):
    store = BlobStore(tmp_path)
    data = random.Random(2).randbytes(100)
    path = tmp_path / put(store, data)
    path.write_bytes({"flip": bytes([data[0] ^ 1]) + data[1:], "cut": data[:50], "grow": data + b"x"}[change])
    with pytest.raises(BlobMissingError, match="damaged"):
        store.read(sha256(data), len(data))
    assert not path.exists()


def test_collection_keeps_what_is_named_and_removes_the_rest(tmp_path):
    store = BlobStore(tmp_path)
    kept, dropped = put(store, b"kept"), put(store, b"dropped")
    with store.open_part("a" * 64, 10) as part:
        part.write(0, b"half")
    with store.open_part("b" * 64, 10) as part:
        part.write(0, b"half")
    assert store.collect({kept, "a" * 64}) == len(b"dropped") + len(b"half")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([kept, "a" * 64 + ".part"])
    assert not store.has(dropped, 7)


def test_more_than_the_disk_has_is_refused_before_a_byte_is_written(tmp_path):
    with pytest.raises(DiskFullError, match="free"):
        BlobStore(tmp_path).check_room(1 << 60)


@pytest.mark.parametrize("name", ["../escape", "A" * 64, "a" * 63, ""])
def test_only_digests_become_file_names(tmp_path, name):
    with pytest.raises(ValueError, match="digest"):
        BlobStore(tmp_path).has(name, 1)


# Spool.


def everything(spool: Spool) -> list[Record | Gap]:
    return spool.read(max_records=10_000, max_bytes=1 << 30)


def reopened(spool: Spool, max_bytes: int = 1 << 20) -> Spool:
    spool.close()
    return Spool(spool._directory, max_bytes=max_bytes)


@pytest.fixture
def spool(tmp_path):
    opened = Spool(tmp_path / "spool", max_bytes=1 << 20)
    yield opened
    opened.close()


def test_records_come_back_in_order_after_a_restart(spool):
    for i in range(10):
        assert spool.append(bytes([i])) == i + 1
    spool.acknowledge(4)
    again = reopened(spool)
    assert everything(again) == [Record(i + 1, bytes([i])) for i in range(3, 10)]
    assert again.append(b"next") == 11
    assert again.spool_id == spool.spool_id
    again.close()


def test_a_batch_is_bounded_in_number_and_bytes_but_never_empty(spool):
    for _ in range(10):
        spool.append(bytes(100))
    assert len(spool.read(max_records=3, max_bytes=10_000)) == 3
    assert len(spool.read(max_records=10, max_bytes=250)) == 2
    assert len(spool.read(max_records=10, max_bytes=1)) == 1


def test_a_full_spool_drops_the_oldest_and_says_which(tmp_path):
    spool = Spool(tmp_path, max_bytes=4096)
    for _ in range(200):
        spool.append(bytes(100))
    assert spool.size_bytes <= 4096
    gap, first, *_ = everything(spool)
    assert gap == Gap(1, first.seq - 1, "the spool was full")
    assert everything(spool)[-1].seq == 200
    spool.close()


def test_what_a_server_forgot_is_sent_again_or_named_as_gone(tmp_path):
    spool = Spool(tmp_path, max_bytes=1 << 14)
    for _ in range(100):
        spool.append(bytes(100))
    spool.acknowledge(90)
    spool.acknowledge(5)
    gap, first, *_ = everything(spool)
    assert gap.first_seq == 5
    assert "no longer kept" in gap.reason
    assert first.seq == gap.last_seq + 1 <= 90
    spool.close()


def test_acknowledging_what_was_never_given_out_is_an_error(spool):
    with pytest.raises(SpoolError, match="given out"):
        spool.acknowledge(2)


def test_a_lost_folder_comes_back_under_a_new_id(tmp_path):
    ids = set()
    for name in ("one", "two"):
        spool = Spool(tmp_path / name, max_bytes=1 << 16)
        ids.add(spool.spool_id)
        spool.close()
    assert len(ids) == 2


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=30),
    acknowledged=st.integers(0, 30),
    data=st.data(),
)
def test_damage_anywhere_loses_records_only_as_explicit_gaps(tmp_path_factory, sizes, acknowledged, data):
    """Every number is a record as it was written, or lies in a gap; and no number is given out twice."""
    directory = tmp_path_factory.mktemp("spool")
    spool = Spool(directory, max_bytes=1 << 12)
    written = {spool.append(bytes([i]) * size): bytes([i]) * size for i, size in enumerate(sizes)}
    spool.acknowledge(min(acknowledged, len(sizes)) + 1)
    spool.close()
    path = data.draw(st.sampled_from(sorted(directory.glob("*.log"))))
    content = bytearray(path.read_bytes())
    cut = data.draw(st.integers(0, len(content)))
    torn = data.draw(st.booleans()) or cut == len(content)
    if torn:
        content = content[:cut]
    else:
        content[cut] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    again = Spool(directory, max_bytes=1 << 12)
    new = again.append(b"new")
    assert new >= again.cursor
    if not torn:
        assert new > len(sizes)
    expected = again.cursor
    for item in everything(again):
        if isinstance(item, Gap):
            assert item.first_seq == expected <= item.last_seq
            expected = item.last_seq + 1
        else:
            assert item.seq == expected
            assert item.payload == (b"new" if item.seq == new else written[item.seq])
            expected += 1
    assert expected == new + 1
    again.close()


def test_a_record_that_left_the_device_keeps_its_number_through_a_kill(tmp_path, kill_at):
    spool = Spool(tmp_path, max_bytes=1 << 16)
    spool.append(b"one")
    assert [item.seq for item in everything(spool)] == [1]
    kill_at("spool-appended")
    with pytest.raises(Killed):
        spool.append(b"two")
    crashpoints.install(None)
    again = reopened(spool)
    assert [item.seq for item in everything(again)] == [1, 2]
    again.close()


def test_foreign_files_in_a_spool_are_an_error_that_names_them(tmp_path):
    (tmp_path / "notes.log").write_text("hello")
    with pytest.raises(SpoolError, match=r"notes\.log"):
        Spool(tmp_path, max_bytes=1 << 16)


class SpoolModel(RuleBasedStateMachine):
    """A spool against a list in memory, with restarts, acknowledgements and forgetful servers."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.spool = Spool(Path(self.folder.name), max_bytes=2048)
        self.records: dict[int, bytes] = {}
        self.server: dict[int, bytes | None] = {}
        self.cursor = 1

    @rule(payload=st.binary(max_size=200))
    def append(self, payload: bytes) -> None:
        self.records[self.spool.append(payload)] = payload

    @rule(max_records=st.integers(1, 5), answer_is_lost=st.booleans())
    def push(self, max_records: int, answer_is_lost: bool) -> None:
        for item in self.spool.read(max_records=max_records, max_bytes=500):
            first, last = (item.first_seq, item.last_seq) if isinstance(item, Gap) else (item.seq, item.seq)
            if first <= self.cursor <= last:
                for seq in range(self.cursor, last + 1):
                    self.server[seq] = None if isinstance(item, Gap) else item.payload
                self.cursor = last + 1
        if not answer_is_lost:
            self.spool.acknowledge(self.cursor)

    @rule(back=st.integers(0, 10))
    def server_forgets(self, back: int) -> None:
        self.cursor = max(1, self.cursor - back)
        self.server = {seq: payload for seq, payload in self.server.items() if seq < self.cursor}
        self.spool.acknowledge(self.cursor)

    @rule()
    def restart(self) -> None:
        self.spool = reopened(self.spool, 2048)

    @invariant()
    def the_server_has_every_number_up_to_its_cursor_and_only_true_records(self) -> None:
        assert sorted(self.server) == list(range(1, self.cursor))
        assert all(payload is None or payload == self.records[seq] for seq, payload in self.server.items())

    @invariant()
    def it_stays_within_its_size(self) -> None:
        assert self.spool.size_bytes <= 2048

    def teardown(self) -> None:
        self.spool.close()
        self.folder.cleanup()


SpoolModel.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestSpoolModel = SpoolModel.TestCase


# A full disk, imitated by the limit on file sizes: writes come short, then fail.


@pytest.fixture
def small_files():
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_download_onto_a_full_disk_keeps_what_fits_and_goes_on_later(tmp_path, small_files):
    data = random.Random(3).randbytes(1000)
    store = BlobStore(tmp_path)
    small_files(600)
    with store.open_part(sha256(data), len(data)) as part, pytest.raises(DiskFullError):
        part.write(0, data)
    small_files(1 << 20)
    with store.open_part(sha256(data), len(data)) as part:
        assert part.offset == 600
        part.write(600, data[600:])
        part.finish()
    assert store.read(sha256(data), len(data)) == data


def test_a_record_that_did_not_fit_is_an_explicit_hole(tmp_path, small_files):
    spool = Spool(tmp_path, max_bytes=1 << 16)
    spool.append(b"one")
    small_files(30)
    with pytest.raises(DiskFullError):
        spool.append(bytes(100))
    small_files(1 << 20)
    spool.append(b"three")
    assert everything(spool) == [Record(1, b"one"), Gap(2, 2, "the disk was full"), Record(3, b"three")]
    again = reopened(spool, 1 << 16)
    assert everything(again) == [Record(1, b"one"), Gap(2, 2, "the disk was full"), Record(3, b"three")]
    again.close()
