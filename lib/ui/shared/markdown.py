"""Texts of documents and numbers, as Streamlit's Markdown shows them unchanged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_SPECIAL = re.compile(r"[\\`*_{}\[\]()#+\-.!|<>~$&:^]")
# What Streamlit and GitHub's Markdown look for in the text after it was parsed, where a backslash
# is of no use any more: :smile:, :material/home:, arrows (->), and addresses. An empty
# coloured span parts the text there; unlike an invisible character it is not copied along
# (docs/decisions/015-an-empty-span-parts-a-text.md).
_NOTHING = ":gray[]"
_PARTS = re.compile(r"(?<=:)(?=\S)|(?<=[-<>~])(?=[->=])|(?<=www)(?=\.)|(?<=\S)(?=@)", re.IGNORECASE)


def escape(text: str) -> str:
    """The text on one line, with nothing in it that Markdown or Streamlit gives a meaning."""
    one_line = " ".join(text.split())
    return _NOTHING.join(_SPECIAL.sub(r"\\\g<0>", part) for part in _PARTS.split(one_line))


SQL_WIDTH = 88
# A line break, or a run without spaces outside of quotes.
_SQL_WORD = re.compile(r"""\n|(?:'(?:[^']|'')*'|"(?:[^"]|"")*"|\S)+""")


def laid_out(sql: str) -> str:
    """The same SQL in lines of at most SQL_WIDTH characters, as far as its words allow: a long
    literal, such as a vector, gets a line of its own and pushes nothing else out of sight."""
    lines = [""]
    for word in _SQL_WORD.findall(sql):
        if word == "\n":
            lines.append("")
        elif not lines[-1]:
            lines[-1] = word
        elif len(lines[-1]) + 1 + len(word) > SQL_WIDTH:
            lines.append(f"    {word}")
        else:
            lines[-1] += f" {word}"
    return "\n".join(lines)


# What readers note of a part's place in its file.
PLACE_FIELDS = ("page", "slide", "sheet", "row", "line", "chapter")
HEADINGS_FIELD = "heading_path"


def place_words(metadata: Mapping[str, Any]) -> str:
    """Where in its file a part is, as its reader noted it: page 3, Results › Recall."""
    words = [
        f"{name} {metadata[name]}"
        for name in PLACE_FIELDS
        if isinstance(metadata.get(name), str | int)
    ]
    path = metadata.get(HEADINGS_FIELD)
    if isinstance(path, list):
        words.append(" › ".join(str(heading) for heading in path))
    return ", ".join(words)
