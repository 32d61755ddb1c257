"""The shared widgets: their values are in the URL, a default is not."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest


def script() -> None:
    from enum import StrEnum

    import streamlit as st

    from lib.ui.shared.url_state import begin_page_run, by_value, end_page_run
    from lib.ui.shared.widgets import (
        choice,
        number_field,
        number_slider,
        optional_choice,
        segmented,
        switch,
    )

    class View(StrEnum):
        LIST = "list"
        PLAN = "plan"

    begin_page_run("here")
    values = (
        segmented("View", by_value(list(View)), str.title, key="view", default=View.LIST),
        choice("Order", {"up": 1, "down": -1}, str, key="order", default=1),
        optional_choice("Category", by_value(["a", "b"]), str, key="category"),
        switch("Aim", key="aim", default=True, options={"no": False, "yes": True}),
        number_slider("Weight", 0.0, 1.0, 0.5, 0.25, key="w"),
        number_field("Rows", 1, 9, 4, 1, key="rows"),
    )
    end_page_run()
    st.text(repr([str(values[0]), *values[1:]]))


def drawn(**query: str) -> AppTest:
    app = AppTest.from_function(script)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def url(app: AppTest) -> dict[str, str]:
    """AppTest gives what the test set as a text, and what the script set as a list."""
    return {
        name: value if isinstance(value, str) else value[-1]
        for name, value in app.query_params.items()
    }


def shown(app: AppTest) -> str:
    return str(app.text[0].value)


def test_without_a_url_all_are_defaults_and_none_is_in_the_url() -> None:
    app = drawn()
    assert shown(app) == "['list', 1, None, True, 0.5, 4]"
    assert not url(app)


def test_a_link_sets_each() -> None:
    link = {"view": "plan", "order": "down", "category": "b", "aim": "no", "w": "0.75", "rows": "7"}
    app = drawn(**link)
    assert shown(app) == "['plan', -1, 'b', False, 0.75, 7]"
    assert url(app) == link


@pytest.mark.parametrize(
    "link",
    [{"view": "no view"}, {"order": "sideways"}, {"category": "c"}, {"w": "7"}, {"rows": "many"}],
    ids=lambda link: next(iter(link)),
)
def test_what_is_no_option_falls_back_to_the_default(link: dict[str, str]) -> None:
    app = drawn(**link)
    assert shown(app) == "['list', 1, None, True, 0.5, 4]"
    assert not url(app)


def test_a_click_is_in_the_url_and_the_default_leaves_it() -> None:
    app = drawn()
    app.toggle(key="aim").set_value(False).run()
    app.selectbox(key="category").select("a").run()
    app.number_input(key="rows").set_value(5).run()
    assert shown(app) == "['list', 1, 'a', False, 0.5, 5]"
    assert url(app) == {"aim": "no", "category": "a", "rows": "5"}
    app.toggle(key="aim").set_value(True).run()
    assert url(app) == {"category": "a", "rows": "5"}


def test_one_of_the_segments_is_always_pressed() -> None:
    app = drawn()
    (buttons,) = app.get("button_group")
    buttons.set_value("plan").run()
    assert shown(app).startswith("['plan'")
    assert url(app) == {"view": "plan"}
