"""Vectors that exist already: each format by a file made here, and what broken files end as."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lib.errors import ReadProblem
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingDocument, IncomingProblem
from lib.ingest.queries import IncomingQuery
from lib.ingest.read import read
from lib.ingest.read_options import ReadOptions
from lib.ingest.readers import vectors as reader
from lib.ingest.vectors import NEIGHBOURS, TEST, inspect_vectors, vector_queries
from lib.vectors.distance import Distance, Storage
from tests.unit.vector_files import RANDOM, ROWS, documents, problem_of, vectors_of


def fvecs(rows: Sequence[Any], number: str = "<f4") -> bytes:
    """As the format's definition has it, written by hand."""
    return b"".join(
        len(row).to_bytes(4, "little") + np.asarray(row, dtype=number).tobytes() for row in rows
    )


# --- the formats --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["<f4", ">f4", "f2", "f8", "i1", "u1", "<i8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_any_numbers_and_order(tmp_path: Path, number: str, order: str) -> None:
    rows = (RANDOM.random((23, 6)) * 100).astype(number)
    np.save(tmp_path / "a.npy", np.asarray(rows, order=order))  # type: ignore[call-overload]
    source = FileSource.from_path(tmp_path / "a.npy")
    found = list(read(source))
    np.testing.assert_array_equal(vectors_of(found), rows.astype(np.float32))
    assert [item.external_id for item in found][:2] == ["a.npy#1", "a.npy#2"]  # type: ignore[union-attr]
    assert source.bytes_read == source.size_bytes


def test_npz_takes_the_table_of_numbers(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", labels=np.arange(50), other=ROWS[:, :2], vectors=ROWS)
    np.testing.assert_array_equal(vectors_of(documents(tmp_path / "a.npz")), ROWS)
    chosen = documents(tmp_path / "a.npz", ReadOptions(dataset="other"))
    np.testing.assert_array_equal(vectors_of(chosen), ROWS[:, :2])
    assert "vectors" in problem_of(tmp_path / "a.npz", ReadOptions(dataset="x")).hint


@pytest.mark.parametrize(
    ("ending", "number"), [("fvecs", "<f4"), ("bvecs", "u1"), ("ivecs", "<i4")]
)
def test_fvecs_and_its_kin(tmp_path: Path, ending: str, number: str) -> None:
    rows = (RANDOM.random((23, 6)) * 100).astype(number)
    path = tmp_path / f"a.{ending}"
    path.write_bytes(fvecs(rows, number))
    source = FileSource.from_path(path)
    np.testing.assert_array_equal(vectors_of(list(read(source))), rows.astype(np.float32))
    assert source.array is not None
    assert source.array.rows == 23


def test_blocks_are_joined_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_BLOCK_BYTES", 64)  # two rows and a half
    files: dict[str, Callable[[Path], object]] = {
        "c.npy": lambda path: np.save(path, ROWS),
        "f.npy": lambda path: np.save(path, np.asfortranarray(ROWS)),
        "a.npz": lambda path: np.savez(path, x=ROWS),
        "a.fvecs": lambda path: path.write_bytes(fvecs(ROWS)),
    }
    for name, write in files.items():
        write(tmp_path / name)
        np.testing.assert_array_equal(vectors_of(documents(tmp_path / name)), ROWS, err_msg=name)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "large.npy"
    table = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(10_000, 1000))
    del table  # 40 MB, of holes
    tracemalloc.start()
    count = sum(1 for _ in read(FileSource.from_path(path)))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 10_000
    assert peak_bytes < 20_000_000


def ann_file(path: Path, **changes: Any) -> Path:
    """In the form of ann-benchmarks."""
    queries = ROWS[:4] + 0.01
    distances = np.linalg.norm(queries[:, None] - ROWS[None], axis=2)
    contents = {
        "train": ROWS,
        "test": queries,
        "neighbors": np.argsort(distances, axis=1)[:, :5].astype(np.int32),
        "distances": np.sort(distances, axis=1)[:, :5],
    } | changes
    with h5py.File(path, "w") as file:
        file.attrs["distance"] = "angular"
        for name, value in contents.items():
            if value is not None:
                file[name] = value
    return path


def test_hdf5_gives_documents_queries_and_their_neighbours(tmp_path: Path) -> None:
    path = ann_file(tmp_path / "a.hdf5")
    found = documents(path)
    np.testing.assert_array_equal(vectors_of(found), ROWS)
    facts = inspect_vectors(FileSource.from_path(path))
    assert facts is not None
    assert (facts.rows, facts.dimensions, facts.distance) == (23, 6, Distance.COSINE)
    assert facts.has_queries
    stream = vector_queries(
        FileSource.from_path(path),
        dimensions=6,
        distance=Distance.COSINE,
        dataset=TEST,
        truth=FileSource.from_path(path),
        truth_dataset=NEIGHBOURS,
        base="a.hdf5",
    )
    queries = [item for item in stream.queries() if isinstance(item, IncomingQuery)]
    assert len(queries) == 4
    by_id = {document.external_id: document.embedding for document in found}
    for query, row in zip(queries, ROWS, strict=False):
        assert query.truth is not None
        np.testing.assert_array_equal(by_id[query.truth[0]], row)  # it is next to its own row


@pytest.mark.parametrize("kind", ["link", "external", "virtual", "group"])
def test_hdf5_that_points_elsewhere_is_not_followed(tmp_path: Path, kind: str) -> None:
    ann_file(tmp_path / "secret.hdf5")
    (tmp_path / "secret.bin").write_bytes(ROWS.tobytes())
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        if kind == "link":
            file["train"] = h5py.ExternalLink(str(tmp_path / "secret.hdf5"), "/train")
        elif kind == "external":
            outside = [(str(tmp_path / "secret.bin"), 0, ROWS.nbytes)]
            file.create_dataset("train", ROWS.shape, np.float32, external=outside)
        elif kind == "virtual":
            layout = h5py.VirtualLayout(ROWS.shape, np.float32)
            layout[:] = h5py.VirtualSource(str(tmp_path / "secret.hdf5"), "train", ROWS.shape)
            file.create_virtual_dataset("train", layout)
        else:
            file.create_group("train")
    assert "no table of numbers" in problem_of(tmp_path / "a.hdf5").reason


# --- files that are none ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: np.save(path, ROWS[0]), "an array of 6"),
        (lambda path: np.save(path, ROWS.reshape(23, 2, 3)), "an array of 23 × 2 × 3"),
        (lambda path: np.save(path, np.float32(3)), "a single number"),
        (lambda path: np.save(path, ROWS[:0]), "empty"),
        (lambda path: np.save(path, ROWS[:, :0]), "empty"),
        (lambda path: np.save(path, np.array([["a"]])), "no numbers"),
        (lambda path: np.save(path, ROWS.astype(complex)), "no numbers"),
        (lambda path: np.save(path, np.array([[{}]], dtype=object)), "no numbers"),
        (lambda path: np.save(path, np.zeros((2, 16_001), np.int8)), "16,001 numbers"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00\x10"), "damaged"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x09\x00" + bytes(200)), "damaged"),
        (lambda path: path.write_bytes(bytes(range(256)) * 4), "damaged"),
    ],
)
def test_npy_that_holds_no_vectors(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    make(tmp_path / "a.npy")
    assert reason in problem_of(tmp_path / "a.npy").reason


@pytest.mark.parametrize("name", ["a.npy", "f.npy", "a.npz", "a.fvecs", "a.hdf5"])
def test_a_file_that_breaks_off_gives_what_came_before(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("npy"):
        np.save(path, np.asfortranarray(ROWS) if name == "f.npy" else ROWS)
    elif name.endswith("npz"):
        np.savez(path, x=ROWS)
    elif name.endswith("fvecs"):
        path.write_bytes(fvecs(ROWS))
    else:
        ann_file(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.7)])
    *before, last = read(FileSource.from_path(path))
    assert isinstance(last, IncomingProblem)
    assert last.reason
    if name in {"a.npy", "a.fvecs"}:  # the others have what is needed at their end
        np.testing.assert_array_equal(vectors_of(before), ROWS[: len(before)])
        assert len(before) > 10
    else:
        assert [item for item in before if not getattr(item, "stored", False)] == []


def test_a_npz_of_zeros_is_not_unpacked_at_once(tmp_path: Path) -> None:
    """50 MB of zeros in 50 kB: a block at a time, and the first rows at once."""
    path = tmp_path / "a.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w") as member,
    ):
        header = {"descr": "|u1", "fortran_order": False, "shape": (50_000, 1000)}
        np.lib.format.write_array_header_1_0(member, header)
        for _ in range(50):
            member.write(bytes(1_000_000))
    assert path.stat().st_size < 100_000
    incoming = read(FileSource.from_path(path))
    assert isinstance(next(incoming), IncomingDocument)
    incoming.close()  # type: ignore[attr-defined]


def test_fvecs_with_rows_of_other_lengths(tmp_path: Path) -> None:
    rows = [[1, 2, 3], [4, 5, 6], [7, 8], [9, 10, 11]]
    (tmp_path / "a.fvecs").write_bytes(fvecs(rows))
    found = documents(tmp_path / "a.fvecs")
    assert [list(item.embedding) for item in found] == rows  # type: ignore[arg-type]
    facts = inspect_vectors(FileSource.from_path(tmp_path / "a.fvecs"))
    assert facts is not None
    assert (facts.dimensions, facts.other_dimensions) == (3, 1)


@pytest.mark.parametrize("count", [0, -5, 2**31 - 1])
def test_fvecs_with_an_impossible_length_ends_there(tmp_path: Path, count: int) -> None:
    content = fvecs(ROWS[:3]) + count.to_bytes(4, "little", signed=True) + bytes(40)
    (tmp_path / "a.fvecs").write_bytes(content)
    *before, last = read(FileSource.from_path(tmp_path / "a.fvecs"))
    assert len(before) == 3
    assert isinstance(last, IncomingProblem)
    assert last.place == "row 4"


# --- texts beside them --------------------------------------------------------------------------


def beside(tmp_path: Path, **files: str) -> Path:
    """ROWS in vectors.npy, and files by their names, with ``_`` before the ending."""
    np.save(tmp_path / "vectors.npy", ROWS)
    for name, content in files.items():
        (tmp_path / ".".join(name.rsplit("_", 1))).write_text(content, encoding="utf-8")
    return tmp_path / "vectors.npy"


def test_texts_in_lines(tmp_path: Path) -> None:
    lines = [f"emoji {number}" for number in range(23)]
    lines[4] = ""
    found = documents(beside(tmp_path, labels_txt="\n".join(lines) + "\n"))
    assert [item.content for item in found[3:6]] == ["emoji 3", "vectors.npy#5", "emoji 5"]
    np.testing.assert_array_equal(vectors_of(found), ROWS)


def test_texts_in_json_lines_are_mapped_as_a_table_is(tmp_path: Path) -> None:
    rows = [{"id": f"d{n}", "text": f"words of {n}", "year": n} for n in range(23)]
    found = documents(beside(tmp_path, vectors_jsonl="\n".join(map(json.dumps, rows))))
    assert (found[7].external_id, found[7].content) == ("d7", "words of 7")
    assert found[7].metadata == {"year": 7}
    np.testing.assert_array_equal(vectors_of(found), ROWS)


def test_ids_alone_become_the_content(tmp_path: Path) -> None:
    ids = "\n".join(json.dumps({"row": n, "id": f"a_{n}"}) for n in range(23))
    found = documents(beside(tmp_path, ids_jsonl=ids))
    assert (found[2].external_id, found[2].content) == ("a_2", "a_2")


def test_a_broken_line_among_the_texts_costs_its_text_alone(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"words of {n}"}) for n in range(23)]
    lines[5] = "{broken"
    found = list(read(FileSource.from_path(beside(tmp_path, texts_jsonl="\n".join(lines)))))
    (problem,) = [item for item in found if isinstance(item, IncomingProblem)]
    assert (problem.place, problem.stored) == ("row 6", True)
    np.testing.assert_array_equal(vectors_of(found), ROWS)
    assert [i.content for i in found if isinstance(i, IncomingDocument)][4:7] == [
        "words of 4",
        "vectors.npy#6",
        "words of 6",
    ]


@pytest.mark.parametrize("header", ["name,kind\n", ""])
def test_texts_in_a_table_with_or_without_a_header(tmp_path: Path, header: str) -> None:
    rows = "".join(f'"the {n}, or so",{"even" if n % 2 == 0 else "odd"}\n' for n in range(23))
    found = documents(beside(tmp_path, names_csv=header + rows))
    assert found[4].content == "the 4, or so"
    assert found[4].category == ("even" if header else None)


def test_labels_in_an_npy_are_the_category(tmp_path: Path) -> None:
    path = beside(tmp_path)
    np.save(tmp_path / "labels.npy", np.arange(23, dtype=np.uint8) % 3)
    found = documents(path)
    assert [(item.category, item.content) for item in found[:4]] == [
        ("0", "0"),
        ("1", "1"),
        ("2", "2"),
        ("0", "0"),
    ]


def test_of_several_the_one_that_fits_is_taken(tmp_path: Path) -> None:
    path = beside(
        tmp_path,
        texts_txt="too\nfew\n",
        readme_txt="\n".join(map(str, range(23))),
        labels_txt="\n".join(f"label {n}" for n in range(23)),
    )
    assert documents(path)[0].content == "label 0"
    assert documents(path, ReadOptions(texts=""))[0].content == "vectors.npy#1"
    readme = str(tmp_path / "readme.txt")
    assert documents(path, ReadOptions(texts=readme))[0].content == "0"


def test_texts_that_do_not_fit_are_told(tmp_path: Path) -> None:
    path = beside(tmp_path, texts_txt="too\nfew\n")
    first, *rest = read(FileSource.from_path(path))
    assert isinstance(first, IncomingProblem)
    assert "“texts.txt” has 2 rows, and there are 23 vectors" in first.reason
    assert first.stored
    assert len(rest) == 23
    chosen = problem_of(path, ReadOptions(texts=str(tmp_path / "texts.txt")))
    assert "“texts.txt” has 2 rows" in chosen.reason


# --- what is found out beforehand ---------------------------------------------------------------


def facts_of(tmp_path: Path, rows: Any, **options: Any) -> Any:
    np.save(tmp_path / "a.npy", np.asarray(rows))
    return inspect_vectors(FileSource.from_path(tmp_path / "a.npy"), **options)


def test_facts_count_what_a_collection_would_refuse(tmp_path: Path) -> None:
    rows = ROWS.copy()
    rows[1, 2], rows[2, 0], rows[3, 1], rows[3, 2] = np.nan, np.inf, -np.inf, np.nan
    rows[4] = 0
    facts = facts_of(tmp_path, rows)
    assert (facts.nan, facts.infinite, facts.zero, facts.inspected) == (2, 1, 1, 23)
    norms = np.linalg.norm(np.delete(rows, [1, 2, 3], axis=0).astype(np.float64), axis=1)
    assert facts.norm_min == 0
    assert facts.norm_mean == pytest.approx(norms.mean(), rel=1e-9)
    assert facts.norm_max == pytest.approx(norms.max(), rel=1e-9)


@pytest.mark.parametrize(
    ("scale", "distance"), [(1.0, Distance.COSINE), (1.005, Distance.COSINE), (1.1, Distance.L2)]
)
def test_the_distance_follows_the_norms(tmp_path: Path, scale: float, distance: Distance) -> None:
    unit = ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True) * scale
    assert facts_of(tmp_path, unit).distance is distance


@pytest.mark.parametrize(
    ("named", "distance"),
    [
        ("euclidean", Distance.L2),
        ("angular", Distance.COSINE),
        ("dot", Distance.INNER_PRODUCT),
        ("jaccard", Distance.COSINE),  # pgvector has none for it; the norms are 1
    ],
)
def test_the_distance_that_the_file_names_goes_first(
    tmp_path: Path, named: str, distance: Distance
) -> None:
    unit = ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)
    path = ann_file(tmp_path / "a.hdf5", train=unit)
    with h5py.File(path, "a") as file:
        file.attrs["distance"] = named
    facts = inspect_vectors(FileSource.from_path(path))
    assert facts is not None
    assert facts.distance is distance
    assert named in facts.distance_reason


def test_only_the_first_rows_are_looked_at(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, ROWS, most_rows=10)
    assert (facts.inspected, facts.rows) == (10, 23)


def test_storage_follows_the_dimensions(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, np.ones((3, 3072), np.uint8))
    assert (facts.storage, facts.dtype) == (Storage.HALFVEC, "uint8")


def test_a_file_that_has_no_vectors_is_none_or_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words")
    (tmp_path / "a.csv").write_text("id,text\n1,words\n")
    (tmp_path / "a.npy").write_bytes(b"no npy")
    assert inspect_vectors(FileSource.from_path(tmp_path / "a.txt")) is None
    assert inspect_vectors(FileSource.from_path(tmp_path / "a.csv")) is None
    with pytest.raises(ReadProblem, match="damaged, or no npy file"):
        inspect_vectors(FileSource.from_path(tmp_path / "a.npy"))


# --- queries ------------------------------------------------------------------------------------


def queries_in(
    tmp_path: Path, rows: Any, truth: Any = None
) -> list[IncomingQuery | IncomingProblem]:
    (tmp_path / "q.fvecs").write_bytes(fvecs(rows))
    answers = None
    if truth is not None:
        (tmp_path / "t.ivecs").write_bytes(fvecs(truth, "<i4"))
        answers = FileSource.from_path(tmp_path / "t.ivecs")
    stream = vector_queries(
        FileSource.from_path(tmp_path / "q.fvecs"),
        dimensions=3,
        distance=Distance.COSINE,
        truth=answers,
        base="base.fvecs",
    )
    return list(stream.queries())


def test_neighbours_are_named_as_the_rows_of_the_base_are(tmp_path: Path) -> None:
    first, second = queries_in(tmp_path, [[1, 2, 3], [4, 5, 6]], [[0, 9], [3, -1]])
    assert isinstance(first, IncomingQuery)
    assert first.truth == ("base.fvecs#1", "base.fvecs#10")
    assert isinstance(second, IncomingQuery)
    assert second.truth == ("base.fvecs#4",)  # -1: there were no more


def test_awkward_queries_are_told_and_the_next_ones_keep_their_neighbours(tmp_path: Path) -> None:
    rows = [[1, 2, np.nan], [0, 0, 0], [1, 2], [7, 8, 9], [4, 5, 6]]
    found = queries_in(tmp_path, rows, [[1], [2], [3], [-7], [5]])
    problems = [(i.place, i.stored) for i in found if isinstance(i, IncomingProblem)]
    assert problems == [("row 1", False), ("row 2", False), ("row 3", False), ("row 4", True)]
    kept = [(i.external_id, i.truth) for i in found if isinstance(i, IncomingQuery)]
    assert kept == [("q.fvecs#4", None), ("q.fvecs#5", ("base.fvecs#6",))]


def test_queries_without_the_neighbours_that_should_be_there(tmp_path: Path) -> None:
    path = ann_file(tmp_path / "a.hdf5", neighbors=None)
    stream = vector_queries(
        FileSource.from_path(path),
        dimensions=6,
        distance=Distance.COSINE,
        dataset=TEST,
        truth=FileSource.from_path(path),
        truth_dataset=NEIGHBOURS,
    )
    found = list(stream.queries())
    assert [i.truth for i in found if isinstance(i, IncomingQuery)] == [None] * 4
    (problem,) = [i for i in found if isinstance(i, IncomingProblem)]
    assert "no array “neighbors”" in problem.reason
