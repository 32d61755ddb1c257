"""Texts of documents reach the page as they are; SQL stays the same when it is laid out."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from lib.ui.shared.markdown import SQL_WIDTH, escape, laid_out

# An independent parser of CommonMark with GitHub's tables and strikethrough.
MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
# The empty span that parts a text node; here a character that no parser gives a meaning.
SPAN, MARK = ":gray[]", "\ue000"

# What Streamlit 1.67 looks for in each text node after parsing (its StreamlitMarkdown bundle:
# remark-emoji, its own symbols, and the transform of mdast-util-gfm-autolink-literal).
AFTER_PARSING = (
    re.compile(r":[\w+-]+:"),
    re.compile(r":material_\w+:"),
    re.compile(r"(^|\s)(<->|->|<-|--|>=|<=|~=)(\s|$)"),
    re.compile(r"https?://[-.\w]", re.IGNORECASE),
    re.compile(r"www\.", re.IGNORECASE),
    re.compile(r"[-.\w+]+@[-\w]+\.[-\w]"),
)

SNIPPETS = (
    *(":smile:", ":+1:", ":material/home:", ":streamlit:", ":red[x]", ":red", "a:b", "::: note"),
    *("->", "<-", "<->", "--", ">=", "<=", "~=", "http://a.b/c_d", "HTTPS://A.B", "www.a.b"),
    *("me@a.b", "<b>", "&amp;", "&#58;", "$x$", "$$x$$", "`c`", "```", "*a*", "__b__", "~~c~~"),
    *("[a](b)", "![a](b)", "[^1]", "# a", "1. a", "- a", "+ a", "> a", "| a |", "---", "===", "\\"),
)
TEXTS = st.lists(
    st.sampled_from(SNIPPETS)
    | st.sampled_from([" ", "\n", "\t", "x"])
    | st.characters(exclude_categories=["Cs", "Co"], exclude_characters="\x00"),
    max_size=12,
).map("".join)


@given(TEXTS)
@example("std::vector<int> a->b; x:100:y")
@example(" ".join(SNIPPETS))
def test_a_text_is_shown_as_it_is(text: str) -> None:
    one_line = " ".join(text.split())
    escaped = escape(text).replace(SPAN, MARK)
    # Before parsing: Streamlit rewrites this name, and a colon or dollar sign that no backslash
    # stands before begins a directive or a formula.
    assert ":material/" not in escape(text)
    unescaped = re.sub(r"\\.", "", escaped)
    assert ":" not in unescaped
    assert "$" not in unescaped

    tokens = MARKDOWN.parse(escaped)
    if not one_line:
        assert tokens == []
        return
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    children = tokens[1].children or []
    assert {child.type for child in children} == {"text"}
    shown = "".join(child.content for child in children)
    # A parser strips more kinds of space at the ends than Python does.
    assert shown.replace(MARK, "").strip() == one_line.strip("\ufeff").strip()
    for node in shown.split(MARK):
        for rule in AFTER_PARSING:
            assert not rule.search(node), (node, rule.pattern)


LITERALS = st.text(alphabet="ab '\n,", max_size=8).map(
    lambda text: f"""'{text.replace("'", "''")}'"""
)
SQL = st.lists(
    st.sampled_from(["SELECT", "a,", "FROM", '"x  y".t', "<=>", "(", "ORDER", "\n"]) | LITERALS
).map(" ".join)


@given(SQL)
def test_sql_is_the_same_when_it_is_laid_out(sql: str) -> None:
    def words(text: str) -> list[str]:
        """Quoted parts as they are, all else without its spaces."""
        parts = re.split(r"""('(?:[^']|'')*'|"[^"]*")""", text)
        return [part if i % 2 else "".join(part.split()) for i, part in enumerate(parts)]

    assert [word for word in words(laid_out(sql)) if word] == [word for word in words(sql) if word]


def test_a_long_literal_has_a_line_of_its_own() -> None:
    vector = f"'[{','.join(['0.125'] * 100)}]'"
    sql = f"SELECT a, b <=> {vector} AS distance FROM t ORDER BY b <=> {vector} LIMIT 3;"
    lines = laid_out(f"BEGIN;\n{sql}\nCOMMIT;").splitlines()
    assert [line.strip() for line in lines if len(line) > SQL_WIDTH] == [vector, vector]
    assert lines[0] == "BEGIN;"
    assert lines[-1] == "COMMIT;"
