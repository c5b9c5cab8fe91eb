"""Facts that C, Python and the documents share stand once, in the C headers; here the others are held to them."""

from __future__ import annotations

import re
import struct
from dataclasses import fields

import pytest

from helpers import REPO, RUNTIME
from sparcl_mcu.learners.base import Importance, LearnSettings, Replay
from sparcl_mcu.link import messages
from sparcl_mcu.link.messages import (
    LINK_COUNTERS,
    STATUS_TEXT,
    Hello,
    Kind,
    LayerInfo,
    Nak,
    Stats,
    Status,
    StoreInfo,
)

INCLUDE = RUNTIME / "include/sparcl"
PROTOCOL = (REPO / "docs/protocol.md").read_text()
SIZES = {
    "u8": "B",
    "u16": "H",
    "u32": "I",
    "u64": "Q",
    "i8": "b",
    "i8[inputs]": "",
    "bits[classes]": "",
    "u8[64]": "64s",
}


def x_macro(header: str, name: str) -> list[list[str]]:
    """The arguments of every X(...) of a list macro, comments left out."""
    text = (INCLUDE / header).read_text()
    body = re.search(rf"#define {name}\(X\)((?:.*\\\n)*.*\n)", text)[1]
    body = re.sub(r"/\*.*?\*/", "", body)
    # adjacent strings are one, as in C
    body = re.sub(r'"\s*\\?\s*"', "", body)
    return [
        [argument.strip() for argument in re.findall(r'\s*("[^"]*"|[^,]+)', call)]
        for call in re.findall(r'X\(((?:"[^"]*"|[^)"])*)\)', body)
    ]


def macro(header: str, name: str) -> int:
    return int(re.search(rf"#define {name}\s+(\w+?)u?\s", (INCLUDE / header).read_text())[1], 0)


def table(heading: str) -> list[list[str]]:
    """The rows of the first table under a heading of docs/protocol.md."""
    section = PROTOCOL.split(f"\n{heading}\n", 1)[1]
    rows = re.search(r"((?:^\|.*\|\n)+)", section, re.MULTILINE)[1].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def payload_format(text: str) -> str:
    """`"label u8, x i8[inputs]"` -> struct format without the sample."""
    return "<" + "".join(SIZES[part.split()[-1]] for part in text.split(",") if part.strip())


def test_versions():
    assert macro("messages.h", "SCL_PROTOCOL_VERSION") == messages.PROTOCOL_VERSION
    assert macro("sparcl.h", "SCL_RUNTIME_VERSION") == messages.RUNTIME_VERSION
    assert f"# The link protocol, version {messages.PROTOCOL_VERSION}\n" in PROTOCOL
    assert macro("messages.h", "SCL_REPLY") == messages.REPLY


def test_errors():
    in_c = {name: (int(value), text.strip('"')) for name, value, text in x_macro("error.h", "SCL_ERR_LIST")}
    assert in_c == {status.name: (int(status), STATUS_TEXT[status]) for status in Status}
    assert [[str(value), name] for name, (value, _) in in_c.items()] == [row[:2] for row in table("### Errors")]


def test_message_kinds():
    in_c = {name: int(kind, 0) for name, kind, *_ in x_macro("messages.h", "SCL_MESSAGE_LIST")}
    assert in_c | {"NAK": 0xFF} == {kind.name: int(kind) for kind in Kind}
    assert [(int(row[0], 0), row[1]) for row in table("## Messages")] == [(kind, name) for name, kind in in_c.items()]
    assert max(in_c.values()) < 0x7F
    assert re.search(r"SCL_MSG_NAK = 0xFF\b", (INCLUDE / "messages.h").read_text())


def test_request_lengths():
    documented = {name: payload for _, name, payload, _ in table("## Messages")}
    for name, _, fixed, labels, sample in x_macro("messages.h", "SCL_MESSAGE_LIST"):
        assert struct.calcsize(payload_format(documented[name])) == int(fixed)
        assert ("bits[classes]" in documented[name]) == (labels == "1")
        assert ("i8[inputs]" in documented[name]) == (sample == "1")
    assert payload_format(documented["RESET"]) == messages.RESET.format
    assert payload_format(documented["HELLO"]) == messages.TOKEN.format
    assert payload_format(documented["BEGIN_TASK"]) == messages.BEGIN_TASK.format
    assert payload_format(documented["OBSERVE"]) == messages.OBSERVE.format
    assert payload_format(documented["WANTED"]) == messages.WANTED.format
    assert payload_format(documented["COMMIT"]) == messages.COMMIT.format
    assert payload_format(documented["READ_STATE"]) == messages.READ_STATE.format
    assert payload_format(documented["WRITE_STATE"]) == messages.WRITE_STATE.format
    assert payload_format(documented["SPEED"]) == messages.SPEED.format


def test_settings():
    """RESET, scl_config and LearnSettings have the same members; RESET those of scl_config, in order."""
    body = re.search(r"typedef struct scl_config \{(.*?)\}", (INCLUDE / "sparcl.h").read_text(), re.DOTALL)[1]
    in_c = re.findall(r"(u?int\d+)_t (\w+);", body)
    assert {name for _, name in in_c} == {field.name for field in fields(LearnSettings)}
    documented = {name: payload for _, name, payload, _ in table("## Messages")}["RESET"]
    wire = [part.split() for part in documented.split(",")]
    assert wire == [[name, kind.replace("uint", "u").replace("int", "i")] for kind, name in in_c]


def test_enumerations():
    header = (INCLUDE / "sparcl.h").read_text()
    for prefix, kinds in (("SCL_REPLAY", Replay), ("SCL_IMPORTANCE", Importance)):
        assert dict(re.findall(rf"{prefix}_(\w+) = (\d+),", header)) == {kind.name: str(kind.value) for kind in kinds}


def test_long_answers():
    reply = {name: text for _, name, _, text in table("## Messages")}
    assert f"up to {messages.WANTED_SAMPLES} samples" in reply["WANTED"]
    assert f"up to {messages.BUFFER_CLASSES} classes" in reply["BUFFER"]
    assert macro("messages.h", "SCL_WANTED_SAMPLES") == messages.WANTED_SAMPLES
    assert macro("messages.h", "SCL_BUFFER_CLASSES") == messages.BUFFER_CLASSES
    assert f"within {macro('messages.h', 'SCL_SPEED_TRIAL')} bytes" in PROTOCOL
    assert macro("frame.h", "SCL_STATE_PIECE") == messages.STATE_PIECE
    layer = ", ".join(f"{field.name} u32" for field in fields(LayerInfo))
    assert reply["LAYER"] == layer


def test_nak_reasons():
    in_c = {name: int(value) for name, value in x_macro("messages.h", "SCL_NAK_LIST")}
    assert in_c == {nak.name: int(nak) for nak in Nak}
    assert [(row[1], int(row[0])) for row in table("### NAK")] == list(in_c.items())


@pytest.mark.parametrize(
    ("heading", "python", "layout"),
    [
        ("### HELLO", Hello, messages._HELLO),
        ("### STATS", Stats, messages._STATS),
        ("### STORE", StoreInfo, messages._STORE),
    ],
)
def test_layouts_of_long_replies(heading, python, layout):
    rows = table(heading)
    assert [row[0] for row in rows] == [field.name for field in fields(python)]
    sized = "".join(SIZES[row[1]] for row in rows if row[1] != "rest")
    assert struct.calcsize("<" + sized) == layout.size
    expanded = re.sub(r"(\d+)(\w)", lambda match: match[2] * int(match[1]), layout.format)
    assert expanded == "<" + sized


def test_counters():
    in_c = [name for (name,) in x_macro("messages.h", "SCL_LINK_COUNTER_LIST")]
    assert in_c == list(LINK_COUNTERS)
    struct_body = re.search(r"typedef struct scl_counters \{(.*?)\}", (INCLUDE / "sparcl.h").read_text(), re.DOTALL)[1]
    work = re.findall(r"uint(32|64)_t (\w+);", struct_body)
    stats = [(row[1][1:], row[0]) for row in table("### STATS")]
    assert stats[: len(work)] == work
    assert stats[len(work)] == ("64", "instructions")
    assert stats[len(work) + 1] == ("32", "stack_bytes")
    assert stats[len(work) + 2 :] == [("32", name) for name in in_c]


def test_window():
    assert f"1..{macro('session.h', 'SCL_WINDOW_MAX')} |" in PROTOCOL
    assert f"its last {macro('session.h', 'SCL_WINDOW_MAX')} replies" in PROTOCOL
    assert f"at most {macro('session.h', 'SCL_BOARD_NAME_MAX')} bytes" in PROTOCOL
