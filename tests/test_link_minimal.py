"""A client written from docs/protocol.md alone, sharing no code with ours: the document is enough."""

from __future__ import annotations

import inspect
import struct
import zlib

from link_harness import Board, Record, classes_of, samples
from sparcl_mcu.learners.base import LearnSettings, TaskInfo


class MinimalClient:
    """Stop and wait: a window of 1."""

    def __init__(self, read_byte, write):
        self.read_byte, self.write = read_byte, write
        self.seq = 0
        hello = self.ask(0x01, b"\x01\x02\x03\x04")
        fields = struct.unpack_from("<IHBHIIHHHBHIIIIHHBIIBII", hello)
        assert fields[0] == 0x04030201
        assert fields[1] == 6, "another protocol version"
        self.seq, self.inputs = fields[2], fields[6]

    def stuff(self, raw):
        out, run = bytearray(), bytearray()
        for byte in raw:
            if byte:
                run.append(byte)
            if not byte or len(run) == 254:
                out += bytes([len(run) + 1]) + run
                run.clear()
        return bytes(out) + bytes([len(run) + 1]) + run + b"\0"

    def unstuff(self, wire):
        out, at = bytearray(), 0
        while at < len(wire):
            code = wire[at]
            out += wire[at + 1 : at + code]
            at += code
            if code < 0xFF and at < len(wire):
                out.append(0)
        return bytes(out)

    def ask(self, kind, payload=b""):
        body = bytes([kind, self.seq]) + payload
        self.write(self.stuff(body + struct.pack("<I", zlib.crc32(body))))
        wire = bytearray()
        while byte := self.read_byte():
            wire.append(byte)
        raw = self.unstuff(wire)
        assert struct.unpack("<I", raw[-4:])[0] == zlib.crc32(raw[:-4])
        assert raw[0] != 0xFF, f"NAK, reason {raw[2]}"
        assert (raw[0], raw[1]) == (kind | 0x80, self.seq)
        assert raw[2] == 0, f"refused with {raw[2] - 256}"
        self.seq = (self.seq + 1) % 256
        return raw[3:-4]


def test_a_minimal_client_teaches_the_board():
    assert len(inspect.getsource(MinimalClient).splitlines()) <= 60
    board = Board(300, 4)
    buffer = bytearray()

    def read_byte():
        while not buffer:
            buffer.extend(board.read(5))
        return buffer.pop(0)

    client = MinimalClient(read_byte, board.write)
    x, y = samples(300, client.inputs)
    client.ask(0x02, struct.pack("<IBb6B5HB", 5, 1, -7, *[0] * 12))
    client.ask(0x09, bytes([y[0]]) + x[0].tobytes())
    client.ask(0x03, struct.pack("<IHH", 300, 2, 0x3FF))
    predicted = [
        client.ask(0x04, struct.pack("<BH", label, i) + sample.tobytes())[0]
        for i, (sample, label) in enumerate(zip(x, y, strict=True))
    ]
    client.ask(0x0A)
    assert client.ask(0x0B, struct.pack("<H", 0))[:1] == b"\xb6", "samples 1, 2, 4, 5, 7 are wanted"
    client.ask(0x05)
    assert predicted == list(classes_of(x))
    assert client.ask(0x06, x[7].tobytes()) == bytes([classes_of(x)[7]])
    record = Record()
    record.reset(LearnSettings(seed=5, alpha_shift=0))
    record.remember(x[:1], y[:1])
    record.begin_task(TaskInfo(tuple(range(10)), 300, 2))
    record.observe(x, y)
    record.end_epoch()
    record.end_task()
    assert struct.unpack("<I", client.ask(0x07)) == (record.hash,)
    stats = struct.unpack("<7I8QI8I", client.ask(0x08))
    assert stats[:2] == (300, 1)
    assert stats[-8:] == (309, 0, 0, 0, 0, 0, 0, 0)
    board.close()
