"""A load from its start to its end, or not to its end: progress, cancel, resume, replace all."""

from __future__ import annotations

import asyncio
import csv
import io
import tracemalloc
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Screen

from lib.errors import InvalidInput, NotFound
from lib.ingest import pipeline
from lib.ingest.document_stream import DocumentStream, file_stream
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.jobs import can_resume, resume_load, start_backfill, start_load
from lib.ingest.missing import CUT, NOT_TRIED
from lib.ingest.pipeline import LoadOptions, LoadProgress
from lib.ingest.problems import MAX_LINES, ProblemFile, problems_path
from lib.ingest.read_options import ReadOptions
from lib.ingest.uploads import save_uploads
from lib.store.jobs import Job, JobStatus
from tests.integration.loading_fixture import ROWS, Shelf, Sql, given, table_of
from tests.unit.provider_server import Misbehaviour

EXTERNAL_IDS = "SELECT DISTINCT external_id FROM vecscope.documents_mine ORDER BY 1"
EMBEDDED = "SELECT count(*), count(embedding) FROM vecscope.documents_mine"


def write_table(path: Path, first: int, last: int) -> DocumentStream:
    lines = [f"{n},the text of number {n}" for n in range(first, last)]
    path.write_text("\n".join(["id,text", *lines]))
    return file_stream(FileSource.from_path(path))


def start(shelf: Shelf, *streams: DocumentStream, **options: bool) -> Job:
    return shelf.wait(
        start_load(shelf.jobs, shelf.documents, shelf.collection, streams, LoadOptions(**options))
    )


def resume(shelf: Shelf, job: Job) -> Job:
    return shelf.wait(resume_load(shelf.jobs, shelf.documents, job.id))


def cancelled_in_the_middle(shelf: Shelf, *streams: DocumentStream, **options: bool) -> Job:
    """A load that is cancelled when the provider has answered once and hangs."""
    shelf.provider.requests.clear()
    shelf.provider.plan(Misbehaviour(), Misbehaviour(hang=True))

    async def work() -> Job:
        job = await start_load(
            shelf.jobs, shelf.documents, shelf.collection, streams, LoadOptions(**options)
        )
        async with asyncio.timeout(60):
            while len(shelf.provider.requests) < 2:
                await asyncio.sleep(0.01)
        await shelf.jobs.cancel(job.id)
        return await shelf.jobs.wait(job.id)

    return shelf.run(work())


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "STORE_BATCH", 200)


# --- progress -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_batches")
def test_progress_tells_what_was_read_stored_embedded_and_failed(
    shelf: Shelf, tmp_path: Path
) -> None:
    stream = write_table(tmp_path / "many.csv", 0, 1200)
    bad = tmp_path / "bad.csv"
    bad.write_text("id,text\n1,\nbroken,row,of,five,fields\n")
    told: list[LoadProgress] = []

    async def watch(progress: LoadProgress) -> None:
        told.append(progress)

    streams = [stream, file_stream(FileSource.from_path(bad))]
    summary = shelf.run(shelf.documents.load(shelf.collection, streams, watch))
    assert (summary.stored.new, summary.embedded.embedded, summary.lost) == (1200, 1200, 2)
    size = (tmp_path / "many.csv").stat().st_size + bad.stat().st_size
    assert (summary.bytes_read, summary.bytes_total) == (size, size)
    assert (summary.sources_done, summary.sources) == (2, 2)

    shares = [progress.done / progress.total for progress in told]
    assert shares == sorted(shares)
    assert 0 <= shares[0] < 1
    assert any(0 < share < 1 for share in shares)
    assert shares[-1] == 1.0
    assert any(0 < p.summary.embedded.embedded < p.summary.stored.total for p in told)
    assert any("1,200 stored" in p.message and "2 failed" in p.message for p in told)


def test_a_load_of_unknown_length_has_no_share(shelf: Shelf) -> None:
    told: list[LoadProgress] = []

    async def watch(progress: LoadProgress) -> None:
        told.append(progress)

    stream = given([IncomingDocument(external_id="1", content="text")])
    shelf.run(shelf.documents.load(shelf.collection, [stream], watch))
    assert {progress.total for progress in told} == {0}


def test_all_problems_are_kept_in_a_file(shelf: Shelf, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("id,text\n" + "1,text\n2,\n" * 2500)  # each second row has no text
    job = start(shelf, file_stream(FileSource.from_path(path)))
    assert job.status is JobStatus.DONE
    assert job.result["problem_count"] == 2500
    assert len(job.result["problems"]) == 1000
    with problems_path(shelf.documents.settings.home, job.id).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2500
    assert rows[-1] == {
        "file": "bad.csv",
        "place": "row 5,000 (line 5,001)",
        "reason": 'There is no text in "text".',
        "hint": "Check the quotes and delimiters of this row.",
        "stored": "no",
        "count": "1",
    }


def test_the_file_of_problems_ends_somewhere(tmp_path: Path) -> None:
    file = ProblemFile(tmp_path / "jobs" / "problems.csv")
    for _ in range(11):
        file.write([IncomingProblem("a", "", "b")] * (MAX_LINES // 10))
    assert (tmp_path / "jobs" / "problems.csv").read_text().count("\n") == MAX_LINES + 1


def test_small_files_share_a_batch(shelf: Shelf, sql: Sql, tmp_path: Path) -> None:
    paths = [tmp_path / f"{n:03}.txt" for n in range(120)]
    for number, path in enumerate(paths):
        path.write_text("" if number == 7 else f"file {number}")
    told: list[LoadProgress] = []

    async def watch(progress: LoadProgress) -> None:
        told.append(progress)

    streams = [file_stream(FileSource.from_path(path)) for path in paths]
    summary = shelf.run(shelf.documents.load(shelf.collection, streams, watch))
    assert (summary.stored.new, summary.sources_done) == (119, 120)
    assert [problem.source for problem in summary.problems] == ["007.txt"]
    assert sql(EMBEDDED) == [(119, 119)]
    assert len({text for request in shelf.provider.requests for text in request.texts}) == 119
    assert len(shelf.provider.requests) < 10


def test_the_planner_knows_what_was_loaded(shelf: Shelf, sql: Sql) -> None:
    rows = [(n, f"the text of number {n}", f"kind {n % 5}") for n in range(1000)]
    shelf.load(table_of(rows), embed=False)
    assert sql("SELECT reltuples FROM pg_class WHERE relname = 'documents_mine'") == [1000]


# --- texts only -----------------------------------------------------------------------------------


def test_texts_alone_are_embedded_by_a_backfill(shelf: Shelf, sql: Sql) -> None:
    summary = shelf.load(table_of(ROWS), embed=False)
    assert (summary.stored.new, summary.embedded.embedded) == (40, 0)
    assert shelf.texts_sent() == []
    again = shelf.load(table_of([(1, "changed", "odd"), *ROWS[1:]]), embed=False)
    assert (again.stored.changed, again.stored.unchanged) == (1, 39)
    assert sql(EMBEDDED) == [(40, 0)]
    shelf.wait(start_backfill(shelf.jobs, shelf.documents, shelf.collection))
    assert sql(EMBEDDED) == [(40, 40)]


@pytest.mark.usefixtures("small_batches")
def test_a_provider_that_fails_does_not_stop_the_texts(
    shelf: Shelf, sql: Sql, tmp_path: Path
) -> None:
    shelf.provider.always = Misbehaviour(status=401, body="no")
    streams = [write_table(tmp_path / f"{n}.csv", n * 500, n * 500 + 500) for n in range(3)]
    job = start(shelf, *streams)
    assert job.status is JobStatus.FAILED
    assert "HTTP 401" in (job.error or "")
    assert sql(EMBEDDED) == [(1500, 0)]
    assert job.result["stored"]["new"] == 1500
    assert len(shelf.provider.requests) < 20  # it was not asked for every batch

    shelf.provider.always = None
    done = resume(shelf, job)
    assert done.status is JobStatus.DONE
    assert sql(EMBEDDED) == [(1500, 1500)]


# --- cancel and resume ----------------------------------------------------------------------------


def test_a_cancelled_load_goes_on_where_it_was(shelf: Shelf, sql: Sql, tmp_path: Path) -> None:
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    streams = [write_table(first, 0, 32), write_table(second, 32, 400)]
    job = cancelled_in_the_middle(shelf, *streams)
    assert job.status is JobStatus.CANCELLED
    assert can_resume(job)
    assert job.result["embedded"]["embedded"] == 32
    assert sql(EMBEDDED) == [(400, 32)]
    shelf.texts_sent()

    done = resume(shelf, job)
    assert done.status is JobStatus.DONE
    assert sql(EMBEDDED) == [(400, 400)]
    assert len(set(shelf.texts_sent())) == 368  # nothing twice
    with pytest.raises(InvalidInput, match="this load is done"):
        resume(shelf, done)


def test_resuming_skips_files_that_were_done_and_did_not_change(
    shelf: Shelf, sql: Sql, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{n}.csv" for n in range(4)]
    streams = [write_table(path, n * 32, n * 32 + 32) for n, path in enumerate(paths)]
    job = cancelled_in_the_middle(shelf, *streams)
    undone = [path.name for path in paths[job.result["sources_done"] :]] or ["3.csv"]
    assert "0.csv" not in undone
    write_table(paths[0], 1000, 1032)  # changed since
    done = resume(shelf, job)
    assert [file[0] for file in done.parameters["files"]] == ["0.csv", *undone]
    assert done.result["stored"]["new"] >= 32
    assert sql(EMBEDDED) == [(160, 160)]


def test_choices_of_reading_survive_in_the_record(shelf: Shelf, sql: Sql, tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("Größe und Weite. " * 1600, encoding="cp1252")
    options = ReadOptions(encoding="cp1252", part_tokens=120, overlap_tokens=20)
    job = cancelled_in_the_middle(shelf, file_stream(FileSource.from_path(path), options))
    stored = "SELECT part, content FROM vecscope.documents_mine ORDER BY part"
    before = sql(stored)
    done = resume(shelf, job)
    assert done.result["stored"]["unchanged"] == len(before) > 40
    assert sql(stored) == before
    assert "Größe" in before[0][1]


def test_what_is_gone_cannot_be_resumed(shelf: Shelf, tmp_path: Path) -> None:
    path = tmp_path / "gone.csv"
    job = cancelled_in_the_middle(shelf, write_table(path, 0, 100))
    path.unlink()
    with pytest.raises(NotFound, match=r"gone\.csv is not there any more"):
        resume(shelf, job)
    with pytest.raises(NotFound):
        shelf.wait(resume_load(shelf.jobs, shelf.documents, uuid.uuid4()))
    in_memory = cancelled_in_the_middle(shelf, table_of(ROWS))
    assert not can_resume(in_memory)
    with pytest.raises(InvalidInput, match="files are not known"):
        resume(shelf, in_memory)


class Upload(io.BytesIO):
    def __init__(self, name: str, content: bytes) -> None:
        super().__init__(content)
        self.name = name


def test_uploads_stay_until_their_load_is_done(shelf: Shelf, sql: Sql) -> None:
    home = shelf.documents.settings.home
    rows = "\n".join(f"{n},text {n}" for n in range(100))
    uploads = [Upload("folder/a.csv", f"id,text\n{rows}".encode()), Upload("b.txt", b"some text")]
    sources = save_uploads(home, uploads)
    assert [source.name for source in sources] == ["folder/a.csv", "b.txt"]
    kept = [source.path for source in sources if source.path]
    job = cancelled_in_the_middle(shelf, *map(file_stream, sources))
    assert all(path.exists() for path in kept)
    done = resume(shelf, job)
    assert done.status is JobStatus.DONE
    assert sql("SELECT count(embedding) FROM vecscope.documents_mine") == [101]
    assert list((home / "uploads").iterdir()) == []


# --- replace all ----------------------------------------------------------------------------------


def test_replace_all_removes_what_did_not_come_again(shelf: Shelf, sql: Sql) -> None:
    shelf.load(table_of(ROWS))
    changed = [(1, "something else", "odd"), *ROWS[1:10], (99, "new", "odd")]
    summary = shelf.load(table_of(changed), replace_all=True)
    counts = summary.stored
    assert (counts.new, counts.changed, counts.unchanged, summary.removed) == (1, 1, 9, 30)
    assert sorted(sql(EXTERNAL_IDS), key=int) == [str(row[0]) for row in changed]
    assert sql(EMBEDDED) == [(11, 11)]
    assert sql("SELECT to_regclass('pg_temp.seen') IS NULL") == [True]


def test_replace_all_counts_by_parts(shelf: Shelf, sql: Sql) -> None:
    documents = [
        IncomingDocument(external_id=name, part=part, content=f"{name} {part}")
        for name in ("a", "b")
        for part in range(3)
    ]
    shelf.load(given(documents))
    summary = shelf.load(given([documents[0], documents[1], documents[4]]), replace_all=True)
    assert summary.removed == 3
    query = "SELECT external_id, part FROM vecscope.documents_mine ORDER BY 1, 2"
    assert sql(query) == [("a", 0), ("a", 1), ("b", 1)]


def test_replace_all_removes_nothing_before_the_end(shelf: Shelf, sql: Sql, tmp_path: Path) -> None:
    shelf.load(table_of(ROWS))
    stream = write_table(tmp_path / "others.csv", 1000, 1100)
    job = cancelled_in_the_middle(shelf, stream, replace_all=True)
    assert job.status is JobStatus.CANCELLED
    assert len(sql(EXTERNAL_IDS)) == 140
    shelf.provider.always = Misbehaviour(status=401, body="no")
    (tmp_path / "others.csv").touch()
    assert resume(shelf, job).status is JobStatus.FAILED
    assert len(sql(EXTERNAL_IDS)) == 140
    shelf.provider.always = None
    done = resume(shelf, job)
    assert done.result["removed"] == 40
    assert len(sql(EXTERNAL_IDS)) == 100


def test_replace_all_removes_nothing_where_a_file_could_not_be_read(
    shelf: Shelf, sql: Sql, tmp_path: Path
) -> None:
    shelf.load(table_of(ROWS))
    empty = tmp_path / "empty.csv"
    empty.touch()
    bad_row = tmp_path / "bad_row.csv"
    bad_row.write_text("id,text\n1000,good\n1001,bad,row\n")
    streams = [file_stream(FileSource.from_path(path)) for path in (bad_row, empty)]
    summary = shelf.load(*streams, replace_all=True)
    assert summary.removed == 0
    assert summary.kept_because == "empty.csv could not be read whole, so nothing was removed."
    assert len(sql(EXTERNAL_IDS)) == 41
    summary = shelf.load(streams[0], replace_all=True)  # one bad row does not keep all others
    assert (summary.removed, summary.kept_because) == (40, "")


# --- which parts are complete ---------------------------------------------------------------------


def part(name: str, number: int) -> IncomingDocument:
    return IncomingDocument(external_id=name, part=number, content=f"{name} {number}")


@pytest.mark.parametrize(
    ("problem_at", "left"),
    [
        (None, {"a": 2, "b": 2, "c": 2}),
        (0, {"a": 3, "b": 2, "c": 2}),  # before a: its first part may be missing
        (1, {"a": 3, "b": 2, "c": 2}),
        (2, {"a": 3, "b": 3, "c": 2}),  # between a and b: of either
        (6, {"a": 2, "b": 2, "c": 3}),
    ],
)
def test_later_parts_go_where_the_document_was_read_whole(
    shelf: Shelf, sql: Sql, problem_at: int | None, left: dict[str, int]
) -> None:
    def stream(parts: int, problem_at: int | None) -> DocumentStream:
        items: list[IncomingDocument | IncomingProblem] = [
            part(name, number) for name in "abc" for number in range(parts)
        ]
        if problem_at is not None:
            items.insert(problem_at, IncomingProblem("archive.zip", "somewhere", "lost"))
        return DocumentStream(
            "archive.zip", lambda: iter(items), None, lambda: 0, replaces_parts=True
        )

    shelf.load(stream(3, None), embed=False)
    summary = shelf.load(stream(2, problem_at), embed=False)
    query = "SELECT external_id, count(*) FROM vecscope.documents_mine GROUP BY 1"
    assert dict(sql(query)) == left
    assert summary.removed_parts == 9 - sum(left.values())


# --- what is missing ------------------------------------------------------------------------------


def test_the_report_says_what_is_missing_and_why(shelf: Shelf) -> None:
    shelf.provider.refuse = lambda text: text.endswith(("number 7", "number 8"))
    shelf.load(table_of(ROWS))
    shelf.load(given([part("later", 0)]), embed=False)
    report = shelf.run(shelf.documents.missing_report(shelf.collection))
    assert [(item.count, item.examples) for item in report] == [(2, ("7", "8")), (1, ("later",))]
    assert "refused the input" in report[0].reason
    assert report[1].reason == NOT_TRIED
    shelf.provider.refuse = lambda _text: False
    shelf.wait(start_backfill(shelf.jobs, shelf.documents, shelf.collection))
    assert shelf.run(shelf.documents.missing_report(shelf.collection)) == []


def test_the_report_names_texts_that_were_cut(shelf: Shelf) -> None:
    shelf.collection = shelf.create("Cut", model="local/wordllama-256", dimensions=256)
    texts = {"short": "some words", "fits": "word " * 8000, "cut": "word " * 9000}
    shelf.load(
        given([IncomingDocument(external_id=key, content=text) for key, text in texts.items()])
    )
    (cut,) = shelf.run(shelf.documents.missing_report(shelf.collection))
    assert (cut.reason, cut.count, cut.examples, cut.is_embedded) == (CUT, 1, ("cut",), True)


# --- memory ---------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_what_is_loaded(
    shelf: Shelf, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "STORE_CHARACTERS", 400_000)

    def documents(count: int) -> Iterator[IncomingDocument]:
        for number in range(count):
            yield IncomingDocument(external_id=str(number), content=f"{number} " + "word " * 8000)

    def peak_bytes(count: int) -> int:
        tracemalloc.start()
        try:
            shelf.load(
                DocumentStream("made", lambda: documents(count), None, lambda: 0), embed=False
            )
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    small, large = peak_bytes(50), peak_bytes(400)  # 2 MB and 16 MB of text
    assert sql("SELECT count(*) FROM vecscope.documents_mine") == [400]
    assert large < small + 2_000_000


# --- on the command line --------------------------------------------------------------------------


def test_texts_only_then_what_is_missing_then_replace_all(screen: Screen, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("".join(f"Sentence {number} of the notes. " for number in range(300)))
    choices = ("--part-tokens", "100", "--overlap-tokens", "10")
    load = ("ingest", path, "--collection", "Notes", *choices)
    first = screen.json(*load, "--no-embed")
    parts = first["stored"]["new"]
    assert parts > 20
    assert first["embedded"]["embedded"] == 0
    (missing,) = screen.json("backfill", "--collection", "Notes", "--dry-run")["missing"]
    assert (missing["count"], missing["reason"]) == (parts, NOT_TRIED)
    assert screen.json(*load)["embedded"]["embedded"] == parts
    assert screen.json("backfill", "--collection", "Notes", "--dry-run")["missing"] == []

    other = tmp_path / "other.txt"
    other.write_text("Something else.")
    replaced = screen.json("ingest", other, "--collection", "Notes", "--replace-all")
    assert (replaced["stored"]["new"], replaced["removed"]) == (1, parts)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("ingest --collection Notes", "Give a PATH and --collection, or --resume."),
        ("ingest . --resume 0123", "--resume takes no PATH"),
        ("ingest --resume 0123", "0 jobs have an id that begins with “0123”."),
        ("ingest . --collection Notes --overlap-tokens 200", "less than half a part"),
        ("ingest . --collection Notes --part-tokens 49", "49 is not in the range"),
    ],
)
def test_what_cannot_be_asked_for(
    screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = screen.run(*arguments.split())
    assert code != 0
    assert out == ""
    assert said in err
