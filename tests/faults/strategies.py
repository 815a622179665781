"""Hypothesis strategies: valid files that were damaged, and text that only looks like one."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

CANARY = "subhull-canary"  # a file of this name appears where an input was executed
CODE = f"__import__('pathlib').Path('{CANARY}').touch()"
JUNK = [
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"nan", b"1e999", b"-", b"'", b'"', b"{", b"\n", b"\r", b"=", b"loop_\n"),
    *(b"[" * 50, b"[" * 5000, b"9" * 400, b"9" * 5000, b"{\"a\":" * 2000, b"((" * 40, b";\n", b"data_\n", b"#"),
    *(text.encode() for text in ("Å", "٣", "²", "\u202e", "é" * 30, "\U0001f9ca", "\u2028", "𝟑", "−1", "½")),
    *(CODE.encode(), b"!!python/object/apply:os.system", b"$(touch x)", b"<!ENTITY a SYSTEM 'file:///etc/passwd'>"),
]  # fmt: skip
NUMBERS = [
    *(b"0", b"-1", b"1e308", b"-1e308", b"1e-320", b"99999999999", b"-9223372036854775809", b"18446744073709551616"),
    *(b"NaN", b"Infinity", b"-inf", b"1e400", b"0x10", b"1_000", b"999999999*9", b"1/0", b"1000000", b"2147483648"),
]  # fmt: skip
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1e308, -1e-320, 10**30, -(10**18), "", "x", "NaN", [], {}, [[]], [None], {"": {}}),
    *(["a"] * 300, {"a": {"b": {"c": []}}}, "\x00", "\u202e", "9" * 5000, [1e308] * 6, [[1, 2], [3]], [0.0] * 3),
    {"@module": "os", "@class": "system", "@version": "1"}, CODE, float("nan"), float("inf"),
]  # fmt: skip
_NUMBER = re.compile(rb"\d+(\.\d+)?")


@st.composite
def damaged(draw: st.DrawFn, samples: Sequence[bytes]) -> bytes:
    """One of the samples after up to six cuts, repeats, flips, insertions, odd numbers; sometimes half of two."""
    text = bytearray(draw(st.sampled_from(samples)))
    if len(samples) > 1 and draw(st.integers(0, 9)) == 0:
        other = draw(st.sampled_from(samples))
        text = text[: draw(st.integers(0, len(text)))] + other[draw(st.integers(0, len(other))) :]
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(text)))
        end = min(len(text), at + draw(st.integers(1, 60)))
        match draw(st.integers(0, 6)):
            case 0:
                del text[at:end]
            case 1:
                text[at:at] = text[at:end] * draw(st.sampled_from([1, 3, 50]))
            case 2 if at < len(text):
                text[at] = draw(st.integers(0, 255))
            case 3:
                _put_number(draw, text, at)
            case 4:
                other_at = draw(st.integers(0, len(text)))
                text[at:end] = text[other_at : other_at + end - at]
            case 5 if draw(st.integers(0, 3)) == 0:
                del text[at:]
            case _:
                text[at:at] = draw(st.sampled_from(JUNK))
    return bytes(text) or b"x"


def _put_number(draw: st.DrawFn, text: bytearray, at: int) -> None:
    """Another number where the next one stands."""
    found = _NUMBER.search(text, at) or _NUMBER.search(text)
    if found:
        text[found.start() : found.end()] = draw(st.sampled_from(NUMBERS))


@st.composite
def odd_json(draw: st.DrawFn, values: Sequence[Any]) -> bytes:
    """One of the values with up to four of its parts replaced, doubled, renamed or taken away."""
    value = json.loads(json.dumps(draw(st.sampled_from(values))))
    for _ in range(draw(st.integers(1, 4))):
        value = _changed(draw, value, 0)
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    return text.encode("utf-8", "surrogatepass")


def _changed(draw: st.DrawFn, value: Any, depth: int) -> Any:
    if depth == 12 or not isinstance(value, dict | list) or not value or draw(st.integers(0, 3 + depth)) == 0:
        return draw(st.sampled_from(ODD))
    if isinstance(value, dict):
        key = draw(st.sampled_from(sorted(value)))
        match draw(st.integers(0, 5)):
            case 0:
                return {k: v for k, v in value.items() if k != key}
            case 1:
                return {**value, draw(st.sampled_from(["", "x", "@class", "energies", "cif", "9" * 50])): value[key]}
        return {**value, key: _changed(draw, value[key], depth + 1)}
    at = draw(st.integers(0, len(value) - 1))
    match draw(st.integers(0, 5)):
        case 0:
            return value[:at]
        case 1:
            return value + value[at:] * draw(st.sampled_from([1, 2, 40]))
    return [*value[:at], _changed(draw, value[at], depth + 1), *value[at + 1 :]]


def worded(words: Sequence[str], longest: int = 40) -> st.SearchStrategy[bytes]:
    """Words of a format in any order, with numbers and other things between them."""
    token = st.one_of(
        st.sampled_from(words),
        st.sampled_from([" ", "\n", "\t", ",", "'", '"', "_", "-", "(", ")"]),
        st.sampled_from(NUMBERS).map(bytes.decode),
        st.floats(width=32).map(repr),
        st.text(max_size=4),
    )
    return st.lists(token, min_size=1, max_size=longest).map(lambda parts: "".join(parts).encode("utf-8", "replace"))
