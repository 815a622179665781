"""Text of users on a page: shown as it is, whatever it looks like.

Streamlit renders Markdown in labels, tables, metrics and messages, and adds to it: icons, emoji, arrows, bare
addresses are found in what the Markdown came to, where a backslash is gone already. An invisible joiner parts those.
"""

from __future__ import annotations

import re

JOINER = "\u2060"  # has no width and breaks no line
# Controls, and what turns the direction of the text that follows
_UNSEEN = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
_FOUND_LATER = re.compile(r":(?=material/|//|[A-Za-z0-9_+-]+:)|(?i:www)(?=\.)|@(?=\w)|(?<!\S)[-<>~](?=[-=>])")
_INLINE = re.compile(r"[\\`*{}\[\]<>#$~&|^]|(?<!\w)_|_(?!\w)|:(?=[A-Za-z])")
_LIST = re.compile(r"^(\d*)([-+.)=])(?=\s|$|[-=])")  # at its beginning
_CODE = re.compile(r"(`[^`\n]+`)")


def plain(text: str) -> str:
    """Text of a user inside Markdown or a label: nothing in it is markup; one line, without what cannot be seen.

    Only what would be markup inside a line is escaped, so that most text stays as it is written.
    """
    return _LIST.sub(r"\1\\\2", _escaped(_one_line(text)))


def said(message: str) -> str:
    """The same for a sentence of the app that quotes a user; `commands` in it stay commands."""
    parts = _CODE.split(_one_line(message))
    return _LIST.sub(r"\1\\\2", "".join(part if k % 2 else _escaped(part) for k, part in enumerate(parts)))


def _one_line(text: str) -> str:
    return " ".join(_UNSEEN.sub("", text).split())


def _escaped(line: str) -> str:
    return _INLINE.sub(r"\\\g<0>", _FOUND_LATER.sub(lambda found: found.group() + JOINER, line))


def code(text: str) -> str:
    """Text inside a code span, where nothing is markup but its end."""
    return _one_line(text.replace("`", "'"))


def signed(value: float | None, digits: int = 3) -> str:
    """A number with its sign, +0.000 rather than −0.000; a dash for none."""
    return "–" if value is None else f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")
