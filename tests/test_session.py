"""The C session, frame by frame: whatever is wrong is answered and counted, and never acted on."""

from __future__ import annotations

import random
import struct

import pytest

from link_harness import ALL, Board, Record, bitmap, packed, samples
from sparcl_mcu.learners.base import LearnSettings, TaskInfo
from sparcl_mcu.link.frames import encode
from sparcl_mcu.link.messages import LINK_COUNTERS, Kind, Nak, Stats, Status

INPUTS = 8
X, Y = samples(40, INPUTS)
TASK = TaskInfo(ALL.classes, 2000, 3)
RESET = packed(LearnSettings(seed=1))
BEGIN = struct.pack("<IH", TASK.samples, TASK.epochs) + bitmap(TASK.classes)


class Talk:
    """Raw frames to a board, in step."""

    conversations = 0

    def __init__(self, board: Board) -> None:
        self.board = board
        self.hello()

    def hello(self) -> None:
        Talk.conversations += 1
        self.board.ask(encode(Kind.HELLO, 0, struct.pack("<I", Talk.conversations)))
        self.seq = 1

    def done(self, kind: int, payload: bytes = b"") -> bytes:
        """Ask in order; returns status and the rest."""
        wire = encode(kind, self.seq, payload)
        answer = self.board.ask(wire)
        assert (answer.kind, answer.seq) == (kind | 0x80, self.seq)
        self.seq = (self.seq + 1) & 0xFF
        return answer.payload

    def observe(self, i: int) -> bytes:
        return self.done(Kind.OBSERVE, sample(i))

    def hash(self) -> int:
        return struct.unpack("<bI", self.done(Kind.STATE_HASH))[1]

    def stats(self) -> Stats:
        return Stats.unpack(self.done(Kind.STATS)[1:])


def sample(i: int) -> bytes:
    return struct.pack("<BH", Y[i], i) + X[i].tobytes()


@pytest.fixture(scope="module")
def board():
    board = Board(INPUTS)
    yield board
    board.close()


@pytest.fixture
def talk(board):
    talk = Talk(board)
    assert talk.done(Kind.RESET, RESET) == b"\0"
    assert talk.done(Kind.BEGIN_TASK, BEGIN) == b"\0"
    return talk


def refuse(talk: Talk, wire: bytes, reasons: set[Nak], counters: set[str]) -> None:
    """Each piece of `wire` brings one NAK and one count; nothing is acted on; the good frame is then accepted."""
    before_hash, before = talk.hash(), talk.stats()
    pieces = sum(bool(piece) for piece in wire.split(b"\0"))
    talk.board.write(wire)
    for answer in talk.board.answers(pieces):
        assert answer.kind == Kind.NAK
        reason, expected = answer.payload
        assert Nak(reason) in reasons
        assert expected == talk.seq
    assert talk.hash() == before_hash
    after = talk.stats()
    assert after.steps == before.steps
    assert sum(getattr(after, name) - getattr(before, name) for name in counters) == pieces
    assert talk.observe(0)[:1] == b"\0"


def test_a_flipped_byte_anywhere(talk):
    for position in range(len(encode(Kind.OBSERVE, 0, sample(0)))):
        for flip in (0x01, 0x80, 0xFF):
            wire = bytearray(encode(Kind.OBSERVE, talk.seq + 2 & 0xFF, sample(0)))
            wire[position] ^= flip
            # a zero made cuts the frame in two; the delimiter gone makes it longer
            reasons = {Nak.DAMAGED, Nak.SHORT, Nak.LONG}
            refuse(talk, bytes(wire) + b"\0", reasons, {"bad_crc", "too_short", "too_long"})


def test_a_cut_anywhere(talk):
    for length in range(1, len(encode(Kind.OBSERVE, 0, sample(0))) - 1):
        wire = encode(Kind.OBSERVE, talk.seq + 2 & 0xFF, sample(0))[:length] + b"\0"
        expected = ({Nak.DAMAGED}, {"bad_crc"}) if length > 6 else ({Nak.SHORT}, {"too_short"})
        refuse(talk, wire, *expected)


@pytest.mark.parametrize("extra", [1, 2, 300, 10_000])
def test_a_frame_longer_than_the_buffer(talk, extra):
    refuse(talk, encode(Kind.OBSERVE, talk.seq + 2 & 0xFF, b"\1" * (66 + extra)), {Nak.LONG}, {"too_long"})


@pytest.mark.parametrize("ahead", [1, 5, 100, 200])
def test_a_frame_out_of_order(talk, ahead):
    # refuse() asks for hash and stats first, which moves the expected number by two
    refuse(talk, encode(Kind.OBSERVE, talk.seq + 2 + ahead & 0xFF, sample(0)), {Nak.ORDER}, {"out_of_order"})


@pytest.mark.parametrize(
    ("kind", "payload", "status", "counter"),
    [
        (0x7E, b"", Status.KIND, "unknown_kind"),
        (0x00, b"\0\0", Status.KIND, "unknown_kind"),
        (0x84, sample(0), Status.KIND, "unknown_kind"),
        (Kind.NAK, b"\4\0", Status.KIND, "unknown_kind"),
        (Kind.OBSERVE, b"\12" + sample(0)[1:], Status.LABEL, "refused"),
        (Kind.OBSERVE, sample(0)[:-1], Status.LENGTH, "refused"),
        (Kind.OBSERVE, b"", Status.LENGTH, "refused"),
        (Kind.PREDICT, sample(0), Status.LENGTH, "refused"),
        (Kind.HELLO, b"", Status.LENGTH, "refused"),
        (Kind.RESET, b"", Status.LENGTH, "refused"),
        (Kind.RESET, struct.pack("<IB", 1, 2) + RESET[5:], Status.CONFIG, "refused"),
        (Kind.BEGIN_TASK, BEGIN, Status.TASK, "refused"),
        (Kind.BEGIN_TASK, BEGIN[:-1], Status.LENGTH, "refused"),
        (Kind.REMEMBER, sample(0)[:1] + sample(0)[3:], Status.TASK, "refused"),
        (Kind.PREDICT_AMONG, b"\1" + X[0].tobytes(), Status.LENGTH, "refused"),
        (Kind.WANTED, struct.pack("<H", 2000), Status.SAMPLE, "refused"),
        (Kind.LAYER, b"\3", Status.ARG, "refused"),
        (Kind.BUFFER, b"\12", Status.LABEL, "refused"),
        (Kind.STATE_HASH, b"\0", Status.LENGTH, "refused"),
        (Kind.COMMIT, bytes(4), Status.STORE, "refused"),
        (Kind.STORE, b"", Status.STORE, "refused"),
        (Kind.READ_STATE, b"\2\0", Status.ARG, "refused"),
        (Kind.SPEED, struct.pack("<I", 460800), Status.ARG, "refused"),
        (Kind.WRITE_STATE, b"\0\0" + bytes(64), Status.STATE, "refused"),
        (Kind.WRITE_STATE, b"\1\0" + bytes(64), Status.STATE, "refused"),
    ],
)
def test_a_whole_frame_that_asks_for_the_impossible(talk, kind, payload, status, counter):
    talk.observe(1)
    before_hash, before = talk.hash(), talk.stats()
    wire = encode(kind, talk.seq, payload)
    answer = talk.board.ask(wire)
    assert (answer.kind, answer.seq, answer.payload) == (kind | 0x80, talk.seq, struct.pack("b", status))
    assert talk.board.ask(wire) == answer, "a refusal is repeated as it was"
    talk.seq += 1
    assert talk.hash() == before_hash
    after = talk.stats()
    assert getattr(after, counter) == getattr(before, counter) + 1
    assert after.repeated == before.repeated + 1


def test_a_repeated_frame_is_answered_from_memory(talk):
    sent = []
    for i in range(36):
        sent.append((wire := encode(Kind.OBSERVE, talk.seq, sample(i)), talk.board.ask(wire)))
        talk.seq += 1
    before_hash, before = talk.hash(), talk.stats()
    # HASH and STATS took two of the 32 kept replies
    for wire, answer in sent[-30:] + sent[-30:]:
        assert talk.board.ask(wire) == answer
    for wire, _ in sent[:-30]:
        assert talk.board.ask(wire).payload == bytes([Nak.ORDER, talk.seq])
    assert talk.hash() == before_hash
    after = talk.stats()
    assert after.steps == before.steps == 36
    assert after.repeated == before.repeated + 60
    assert after.out_of_order == before.out_of_order + 6


PAYLOADS = {
    Kind.RESET: packed(LearnSettings(seed=7)),
    Kind.BEGIN_TASK: BEGIN,
    Kind.PREDICT: X[0].tobytes(),
    Kind.PREDICT_AMONG: bitmap((1, 2)) + X[0].tobytes(),
    Kind.REMEMBER: bytes([Y[0]]) + X[0].tobytes(),
    Kind.WANTED: struct.pack("<H", 24),
    Kind.LAYER: b"\1",
    Kind.BUFFER: b"\5",
    Kind.READ_STATE: b"\1\0",
    Kind.OBSERVE: sample(3),
}


# The last four: tests/test_power_cut.py, tests/test_travel.py, tests/test_link_speed.py
NOT_HERE = (Kind.NAK, Kind.HELLO, Kind.STATS, Kind.COMMIT, Kind.STORE, Kind.WRITE_STATE, Kind.SPEED)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in NOT_HERE])
def test_every_message_repeated_at_once_is_acted_on_once(talk, kind):
    payload = PAYLOADS.get(kind, b"")
    talk.observe(0)
    if kind in (Kind.BEGIN_TASK, Kind.REMEMBER):
        talk.done(Kind.END_TASK)
    wire = encode(kind, talk.seq, payload)
    first = talk.board.ask(wire)
    talk.seq += 1
    after_one = talk.hash()
    assert first.payload[:1] == b"\0"
    assert talk.board.ask(wire) == first
    assert talk.hash() == after_one
    assert talk.stats().predictions == (kind in (Kind.PREDICT, Kind.PREDICT_AMONG))


def test_what_the_board_tells_in_pieces(talk):
    """WANTED, LAYER and BUFFER: as many as a reply holds, and the rest in the next."""
    wanted = [i % 3 != 0 for i in range(TASK.samples)]
    first, rest = (talk.done(Kind.WANTED, struct.pack("<H", at)) for at in (0, 1024))
    assert (len(first), len(rest)) == (1 + 128, 1 + 122)
    bits = "".join(f"{byte:08b}"[::-1] for byte in first[1:] + rest[1:])
    assert [bit == "1" for bit in bits] == wanted
    assert talk.done(Kind.LAYER, b"\2") == b"\0" + struct.pack("<4I", 3, 4, 5, 0x12345678)
    assert talk.done(Kind.BUFFER, b"\4") == b"\0" + struct.pack("<6H", *range(1004, 1010))
    talk.done(Kind.END_TASK)
    assert talk.done(Kind.WANTED, b"\0\0") == struct.pack("b", Status.TASK)


def test_a_sample_is_classified_among_the_classes_asked_for(talk):
    assert talk.done(Kind.PREDICT_AMONG, bitmap((1, 2)) + X[0].tobytes()) == bytes([0, 0b110])


def test_hello_resets_the_numbers_and_nothing_learnt(talk):
    talk.observe(0)
    before = talk.hash()
    for seq in (0, 9, 200, 255):  # the same HELLO, nothing in between
        answer = talk.board.ask(encode(Kind.HELLO, seq, b"abcd"))
        assert answer.seq == seq
        assert answer.payload[:8] == b"\0abcd\6\0" + bytes([seq + 1 & 0xFF])
    talk.seq = 0
    # an old number is forgotten: not a repetition any more
    assert talk.board.ask(encode(Kind.OBSERVE, 250, sample(1))).kind == Kind.NAK
    assert talk.hash() == before


def test_a_late_copy_of_hello_turns_no_number_back(talk):
    token = struct.pack("<I", Talk.conversations)
    talk.observe(0)
    talk.observe(1)
    before, steps = talk.hash(), talk.stats().steps
    assert talk.board.ask(encode(Kind.HELLO, 0, token)).payload[1:5] == token, "answered as any repetition"
    assert talk.board.ask(encode(Kind.OBSERVE, 3, sample(0))).payload[:1] == b"\0", "an old one, answered again"
    assert (talk.hash(), talk.stats().steps) == (before, steps)


def test_half_a_state_is_not_told_and_not_left_behind(talk):
    """What was asked before the first piece came is not answered from what the piece made of the learner."""
    talk.observe(0)
    asked = {talk.seq: encode(Kind.LAYER, talk.seq, b"\2")}
    assert talk.done(Kind.LAYER, b"\2")[:1] == b"\0"
    first = talk.done(Kind.READ_STATE, bytes(2))[1:]
    assert talk.done(Kind.WRITE_STATE, bytes(2) + first) == b"\0"
    for wire in asked.values():
        answer = talk.board.ask(wire)
        assert (answer.kind, answer.payload) == (Kind.LAYER | 0x80, struct.pack("<b", Status.STATE))
    talk.hello()  # another host: whoever wrote the piece is gone
    assert talk.done(Kind.STATE_HASH)[:1] == b"\0"
    assert talk.stats().steps == 0


def test_instructions_are_summed_over_the_wrap():
    board = Board(INPUTS)
    talk = Talk(board)
    talk.done(Kind.BEGIN_TASK, BEGIN)
    for i in range(10):
        talk.observe(i)
    talk.done(Kind.PREDICT, X[0].tobytes())
    assert talk.stats().instructions == 7 * 11
    assert talk.stats().stack_bytes == 1234
    talk.done(Kind.END_EPOCH)
    talk.done(Kind.END_TASK)
    assert talk.stats().instructions == 7 * 13
    talk.done(Kind.RESET, RESET)
    assert talk.stats().instructions == 0
    board.close()


@pytest.mark.parametrize("seed", range(5))
def test_garbage_is_answered_piece_by_piece_and_then_all_is_well(talk, seed):
    source = random.Random(seed)
    before_hash, before = talk.hash(), talk.stats()
    total = 0
    for _ in range(50):
        garbage = (
            bytes(source.choice([0, 1, 2, 5, source.randrange(256)]) for _ in range(source.randrange(200))) + b"\0"
        )
        pieces = sum(bool(piece) for piece in garbage.split(b"\0"))
        talk.board.write(garbage)
        assert {answer.kind for answer in talk.board.answers(pieces)} <= {Kind.NAK}
        total += pieces
    assert talk.hash() == before_hash
    after = talk.stats()
    counted = sum(getattr(after, name) for name in LINK_COUNTERS) - sum(getattr(before, name) for name in LINK_COUNTERS)
    assert counted == total + 2  # STATS before, and the hash
    assert talk.observe(0)[:1] == b"\0"


def test_bytes_may_come_one_at_a_time(talk):
    record = Record()
    record.reset(LearnSettings(seed=1))
    record.begin_task(TASK)
    record.observe(X[:3], Y[:3])
    for i in range(3):
        for byte in encode(Kind.OBSERVE, talk.seq, sample(i)):
            talk.board.write(bytes([byte]))
        assert talk.board.answers(1)[0].payload[:1] == b"\0"
        talk.seq += 1
    assert talk.hash() == record.hash


def read_text(board: Board) -> str:
    text = b""
    while not text.endswith(b"\0"):
        data = board.read(5)
        assert data
        text += data
    return text[:-1].decode("ascii")


@pytest.mark.parametrize("typed", [b"help\r", b"help\n", b"what?\r\nhelp\r\n", b"hel\rhelp\r", b"\0help\r"])
def test_a_person_who_types_help_gets_an_answer(talk, typed):
    talk.observe(0)
    before = talk.hash()
    talk.board.write(typed)
    text = read_text(talk.board)
    assert "sparcl-mcu on test board" in text
    assert "sparcl run --port PORT" in text
    assert all(line.isprintable() for line in text.split("\r\n"))
    if typed.endswith(b"\r\n"):
        talk.board.write(b"\0")
        talk.board.answers(1)  # a NAK for the second of two line ends
    assert talk.hash() == before, "and frames go on"


def test_a_sample_that_says_help_is_a_sample(talk):
    x = b"\nhelp\n\r!"
    assert talk.done(Kind.PREDICT, x)[:1] == b"\0"
    for kind in (9, 10, 13):  # kinds that are white space
        assert talk.board.ask(encode(kind, 104, b"help\n")).kind == Kind.NAK
    talk.board.write(b"helpme\rhel\rp\r\0")
    assert talk.board.answers(1)[0].kind == Kind.NAK
