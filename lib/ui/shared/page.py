"""The frame of every page: navigation, header, services, and the one error boundary."""

from __future__ import annotations

import functools
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import streamlit as st
import structlog

from lib.errors import DatabaseUnreachable, VecscopeError, from_exception
from lib.log import configure_logging
from lib.services import Services, open_services, warm_up
from lib.settings import load_settings
from lib.store.database import Database
from lib.store.jobs import Job
from lib.ui.shared.jobs import show_running
from lib.ui.shared.markdown import escape
from lib.ui.shared.url_state import begin_page_run, end_page_run

P = ParamSpec("P")
Model = TypeVar("Model")

log = structlog.get_logger(__name__)

RETRY_SECONDS = 3.0
LIVE_SECONDS = 1.0
_WAITING = "waiting_for_database"
_STARTED = "page:started"


@dataclass(frozen=True)
class Screen:
    """One page: its file, its name, and the question that it answers. is_hidden: links lead
    there, but not the navigation."""

    path: str
    title: str
    question: str
    icon: str
    is_hidden: bool = False


COLLECTIONS = Screen(
    "pages/collections.py",
    "Collections",
    "What is in here, and is it healthy?",
    ":material/database:",
)
UPLOAD = Screen(
    "pages/upload.py",
    "Upload",
    "What will be stored, and what could not be?",
    ":material/upload_file:",
)
BROWSE = Screen(
    "pages/browse.py",
    "Browse",
    "What exactly is stored, and what is next to it?",
    ":material/table_rows:",
)
SEARCH = Screen(
    "pages/search.py", "Search", "What are the answers, and why these?", ":material/search:"
)
COMPARE = Screen(
    "pages/compare.py",
    "Compare",
    "How do the answers differ, and what does each index miss?",
    ":material/compare_arrows:",
)
INDEX_LAB = Screen(
    "pages/index_lab.py",
    "Index Lab",
    "Which index, which settings?",
    ":material/science:",
)
MAP = Screen(
    "pages/map.py",
    "Map",
    "What is in there, and where does a question land?",
    ":material/scatter_plot:",
)
REEMBED = Screen(
    "pages/reembed.py",
    "Re-embed",
    "What would another model take, and is it the better one?",
    ":material/swap_horiz:",
    is_hidden=True,
)
SCREENS = (COLLECTIONS, UPLOAD, BROWSE, SEARCH, COMPARE, INDEX_LAB, MAP, REEMBED)

_run = threading.local()


def run_app() -> None:
    """What app.py does: navigation, nothing else."""
    _run.has_navigation = True
    try:
        _navigation().run()
    finally:
        _run.has_navigation = False


def _navigation() -> Any:
    pages = [
        st.Page(
            screen.path,
            title=screen.title,
            icon=screen.icon,
            default=screen is COLLECTIONS,
            visibility="hidden" if screen.is_hidden else "visible",
        )
        for screen in SCREENS
    ]
    return st.navigation(pages, position="top")


def start_page(
    screen: Screen, open_model: Callable[[Services], Model], body: Callable[[Model], None]
) -> None:
    """Draws a page: what every page's file ends with. The body gets the page's model.

    On a server that has not run app.py yet, Streamlit runs the file of a deep link by itself, so
    a page brings its own navigation then (docs/decisions/008-every-page-starts-itself.md).
    """
    st.set_page_config(page_title=f"{screen.title} · Vecscope", page_icon="🔭", layout="wide")
    if not getattr(_run, "has_navigation", False):
        _navigation()
        if _STARTED not in st.session_state:
            st.session_state[_STARTED] = True
            st.rerun()  # by way of app.py now, so that the widgets keep their ids
    st.session_state[_STARTED] = True
    begin_page_run(screen.path)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.title(screen.title, anchor=False, width="content")
        st.caption(screen.question, width="content")
    try:
        guarded(lambda: body(open_model(services())))()
    finally:  # also where a click ends this run before its time
        end_page_run()


@st.cache_resource(show_spinner="Opening the database …", on_release=lambda s: s.database.close())
def _open_services() -> Services:
    settings = load_settings()
    configure_logging(settings.log_level)
    found = open_services(settings)
    found.database.submit(warm_up(settings))
    return found


def services() -> Services:
    """The process's services; opened with the first page. An error is not kept: the next run
    tries again."""
    return _open_services()


def guarded(draw: Callable[P, None]) -> Callable[P, None]:
    """The error boundary, around a page's body, every fragment's and every dialog's, and around
    what may fail by itself: an error becomes a sentence, the rest of the page goes on, and what
    is not known gets a number that the log has too."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            draw(*args, **kwargs)
        except Exception as exc:  # noqa: BLE001 — the boundary: nothing may reach the page raw
            show_error(exc)

    return drawn


def refresh() -> None:
    """Draws the whole page again, with what is now in the database."""
    st.rerun(scope="app")


def live(look: Callable[[], None], *, active: bool) -> None:
    """Draws a part of the page; while active, again every second, apart from the rest."""
    st.fragment(guarded(look), run_every=LIVE_SECONDS if active else None)()


def watch_jobs(
    running: Sequence[Job], show: Callable[[Sequence[Job]], Job | None] = show_running
) -> None:
    """Draws running jobs as they go on, lets them be cancelled, and draws the whole page again
    when one has ended. show: draws them, and gives the one to be cancelled."""
    jobs, run = services().jobs, services().database.run

    def look() -> None:
        now = [run(jobs.get(job.id)) for job in running]
        if not all(job.active for job in now):
            refresh()
        cancelled = show(now)
        if cancelled is not None:
            run(jobs.cancel(cancelled.id))

    live(look, active=bool(running))


def show_error(exc: Exception) -> None:
    """An error as a person should see it."""
    known = from_exception(exc)
    if known is None:
        error_id = secrets.token_hex(4)
        log.error("page.unexpected_error", error_id=error_id, exc_info=exc)
        st.error(
            f"Something went wrong that Vecscope did not expect. The log has the details under "
            f"the number **{error_id}**.",
            icon=":material/error:",
        )
        return
    log.warning("page.error", kind=type(known).__name__, message=known.message)
    if isinstance(known, DatabaseUnreachable):
        _wait_for_database(known)
        return
    st.error(_sentence(known), icon=":material/error:")


def _sentence(error: VecscopeError) -> str:
    """Escaped: a message names files, columns and what people typed."""
    return f"{escape(error.message)}\n\n{escape(error.hint)}".strip()


def _wait_for_database(error: VecscopeError) -> None:
    """Says what is the matter, and comes back by itself."""
    st.warning(
        f"**{escape(error.message)}** {escape(error.hint)}\n\nThis page looks again every "
        f"{RETRY_SECONDS:.0f} seconds and goes on by itself.",
        icon=":material/cloud_off:",
    )

    @st.fragment(run_every=RETRY_SECONDS)
    def look_again() -> None:
        # The first run is the page's own; a later one is the timer's. Only this part of the page
        # waits for an answer: drawing the page again each time would make it flicker.
        if st.session_state.pop(_WAITING, False) and _database_answers():
            refresh()
        st.session_state[_WAITING] = True

    look_again()


def _database_answers() -> bool:
    """Or has another problem than being unreachable, which the page then shows."""

    async def connect(database: Database) -> None:
        async with database.session():
            pass

    try:
        database = services().database
        database.run(connect(database))
    except Exception as exc:  # noqa: BLE001 — any other error is the page's to show
        return not isinstance(from_exception(exc), DatabaseUnreachable)
    return True
