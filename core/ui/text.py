"""Text of users on a page: shown as it is, whatever it looks like.

Streamlit renders Markdown in labels, tables, metrics and messages, and adds to it: icons, emoji, arrows, bare
addresses are found in what the Markdown came to, where a backslash is gone already. An invisible joiner parts those.
"""

from __future__ import annotations

import re

JOINER = "\u2060"  # has no width and breaks no line
# Controls, and what turns the direction of the text that follows
_UNSEEN = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
_FOUND_LATER = re.compile(r":(?=[A-Za-z0-9/_+-])|(?i:www)(?=\.)|@(?=\w)|(?<!\S)[-<>~](?=[-=>])")
_MARKUP = "\\`*_{}[]()<>#+-.!|$:~&^="
_INLINE = re.compile(r"[\\`*{}\[\]<>#$~&|^]|(?<!\w)_|_(?!\w)")
_LIST = re.compile(r"^(\d*)([-+.)=])(?=\s|$|[-=])")  # at its beginning
_CODE = re.compile(r"(`[^`\n]+`)")


def plain(text: str) -> str:
    """Text of a user inside Markdown or a label: nothing in it is markup; one line, without what cannot be seen."""
    return "".join(f"\\{c}" if c in _MARKUP else c for c in _joined(_one_line(text)))


def _one_line(text: str) -> str:
    return " ".join(_UNSEEN.sub("", text).split())


def _joined(line: str) -> str:
    return _FOUND_LATER.sub(lambda found: found.group() + JOINER, line)


def said(message: str) -> str:
    """The same for a sentence of the app that quotes a user; `commands` in it stay commands.

    Only what would be markup inside a line is escaped, so that most sentences stay as they are written.
    """
    parts = _CODE.split(_one_line(message))
    text = "".join(part if k % 2 else _INLINE.sub(r"\\\g<0>", _joined(part)) for k, part in enumerate(parts))
    return _LIST.sub(r"\1\\\2", text)


def code(text: str) -> str:
    """Text inside a code span, where nothing is markup but its end."""
    return _one_line(text.replace("`", "'"))
