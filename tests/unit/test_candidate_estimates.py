"""What a candidate is expected to take, against tables worked by hand; what is refused, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lib.errors import IndexRefused, InvalidInput, LimitExceeded
from lib.lab.build_progress import BuildStep, rows_per_second
from lib.lab.candidates import default_candidates
from lib.lab.collection_stats import CollectionStats, EarlierBuild
from lib.lab.estimates import (
    MIB,
    chosen_settings,
    disk_warning,
    estimate,
    table_bytes,
)
from lib.store.candidates import CandidateSpec, parse_candidate
from lib.vectors.distance import Distance, ElementType, Storage
from lib.vectors.index_costs import hnsw_memory_bytes, ivfflat_index_bytes, ivfflat_memory_bytes
from lib.vectors.index_methods import HNSW, IVFFLAT
from lib.vectors.tuning import BuildSettings

VECTOR, HALFVEC, BIT = ElementType
PAGE = 8192

FACTS = CollectionStats(
    rows=20_000,
    usable=20_000,
    dimensions=256,
    column=Storage.VECTOR,
    distance=Distance.COSINE,
    maintenance_work_mem_bytes=64 * MIB,
    workers=1,
)


# --- specifications -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        (
            "hnsw:m=8,ef_construction=32@halfvec",
            CandidateSpec(HNSW.spec(m=8, ef_construction=32), HALFVEC),
        ),
        ("hnsw@bit", CandidateSpec(HNSW.spec(), BIT)),
        ("hnsw", CandidateSpec(HNSW.spec(), VECTOR)),
        ("IVFFlat@BIT", CandidateSpec(IVFFLAT.spec(lists=250), BIT)),
        (" ivfflat:lists=7 @ vector ", CandidateSpec(IVFFLAT.spec(lists=7), VECTOR)),
    ],
)
def test_a_spec_is_read_from_text_and_written_again(text: str, spec: CandidateSpec) -> None:
    assert parse_candidate(text, 250_000, Storage.VECTOR) == spec
    assert parse_candidate(str(spec), 0, BIT) == spec


def test_what_is_no_spec_is_refused() -> None:
    with pytest.raises(InvalidInput, match="“bytes” is no storage") as refused:
        parse_candidate("hnsw@bytes", 10, Storage.VECTOR)
    assert "vector, halfvec, bit" in refused.value.hint
    with pytest.raises(InvalidInput):
        parse_candidate("@bit", 10, Storage.VECTOR)
    with pytest.raises(LimitExceeded):
        parse_candidate("ivfflat:lists=0@bit", 10, Storage.VECTOR)


@pytest.mark.parametrize(
    ("dimensions", "storage", "held"),
    [
        (256, Storage.VECTOR, VECTOR),
        (3072, Storage.HALFVEC, HALFVEC),
        (2001, Storage.VECTOR, HALFVEC),
        (4001, Storage.HALFVEC, BIT),
        (256, BIT, BIT),
    ],
)
def test_the_two_to_begin_with(
    dimensions: int, storage: Storage | ElementType, held: ElementType
) -> None:
    assert default_candidates(50_000, dimensions, storage) == (
        CandidateSpec(IVFFLAT.spec(lists=50), held),
        CandidateSpec(HNSW.spec(m=16, ef_construction=64), held),
    )


# --- sizes ----------------------------------------------------------------------------------------


def test_one_embedding_in_an_index() -> None:
    assert [storage.bytes_per_value(1000) for storage in ElementType] == [4008, 2008, 133]


def test_a_table_of_short_rows() -> None:
    """24 (header) + 16 (id) + 72 = 112 bytes and 4 of pointer, 70 on the 8,168 of a page: 15 pages,
    and 5 of the small files."""
    assert table_bytes(1000, 16, 72) == (15 + 5) * PAGE


def test_a_table_whose_vectors_are_moved_out() -> None:
    """1,536 × 4 + 8 bytes make three chunks of 1,996 and one of 160, in four pages a three rows;
    58 bytes of row, 64 aligned, are 120 on a page; a key takes 22.5 bytes."""
    rows = 3000
    three_and_rest = 3 * (2032 + 4) + (200 + 4)
    assert three_and_rest <= PAGE - 24  # one row leaves no room for another's whole chunk
    expected = rows * PAGE + (rows // 120) * PAGE + rows * 4 * 22.5
    assert table_bytes(rows, 16, 6152) == pytest.approx(expected, rel=0.01)


def test_an_ivfflat_index_has_pages_of_its_own_for_each_list() -> None:
    """Entries of 8 + 72 bytes and 4: 97 on 8,160. 9,700 rows are 100 pages and 10 lists half a page
    more each; a page for the ten centres and one before all."""
    assert ivfflat_index_bytes(9_700, 72, 10) == (1 + 1 + 100 + 5) * PAGE
    assert ivfflat_index_bytes(100, 72, 50) == (1 + 1 + 50) * PAGE  # a page for each list


def test_memory_grows_with_what_it_is_needed_for() -> None:
    """m = 16: 128 + the vector + 528 for the lowest layer, and 1/15 of 272 for those above."""
    assert hnsw_memory_bytes(15_000, 1032, 16) == 15_000 * (128 + 1032 + 528) + 1_000 * 272
    # 50,000 samples of 1,032 bytes, two times 1,000 centres, and bounds for each pair
    bounds = 4 * (50_000 * 1000 + 2 * 50_000 + 1000 * 1000 + 3 * 1000)
    assert ivfflat_memory_bytes(90_000, 1032, 1000) == 52_000 * 1032 + bounds


# --- estimates ------------------------------------------------------------------------------------


def spec(text: str) -> CandidateSpec:
    return parse_candidate(text, FACTS.rows, Storage.VECTOR)


def test_bits_keep_the_full_vectors_in_the_table() -> None:
    full, bits = (estimate(FACTS, spec(text)) for text in ("hnsw", "hnsw@bit"))
    assert bits.table_bytes == full.table_bytes
    assert bits.index_bytes < full.index_bytes / 2
    assert bits.memory_bytes < full.memory_bytes


def test_more_of_anything_takes_longer() -> None:
    many = replace(FACTS, rows=100_000, maintenance_work_mem_bytes=512 * MIB)
    usual = spec("hnsw:m=8,ef_construction=32")
    base = estimate(many, usual)
    assert base.workers == 1
    for text in ("hnsw:m=16,ef_construction=32", "hnsw:m=8,ef_construction=64"):
        assert estimate(many, spec(text)).build_seconds > base.build_seconds
    assert estimate(replace(many, dimensions=1024), usual).build_seconds > base.build_seconds
    alone = estimate(many, usual, BuildSettings(None, 0))
    assert alone.build_seconds > base.build_seconds
    short = estimate(many, usual, BuildSettings(32, 0))
    assert not short.fits_memory
    assert short.build_seconds > 2 * alone.build_seconds


def test_no_process_is_started_for_a_short_build() -> None:
    assert estimate(replace(FACTS, rows=1000), spec("hnsw")).workers == 0


def test_earlier_builds_set_the_seconds_right() -> None:
    """Two that took three times as long as the formulas say; none of the others counts."""
    wanted = spec("hnsw")
    of_then = replace(FACTS, rows=5000)
    then = estimate(of_then, wanted, BuildSettings(None, 0)).build_seconds
    like = EarlierBuild(wanted, 5000, FACTS.dimensions, 0, 3 * then, outgrew=False)
    others = (
        replace(like, spec=spec("hnsw@bit"), build_seconds=100.0),
        replace(like, spec=spec("ivfflat"), build_seconds=100.0),
        replace(like, outgrew=True, build_seconds=100.0),
        replace(like, rows=10, build_seconds=100.0),
    )
    plain = estimate(FACTS, wanted)
    found = estimate(replace(FACTS, built=(*others, like, like)), wanted)
    assert found.calibrated_by == 2
    assert found.build_seconds == pytest.approx(3 * plain.build_seconds)
    assert plain.calibrated_by == 0


def test_memory_is_chosen_where_the_machine_is_known() -> None:
    million = replace(FACTS, rows=1_000_000)
    wanted = hnsw_memory_bytes(1_000_000, 1032, 16)
    assert chosen_settings(FACTS, spec("hnsw")) == BuildSettings()  # it fits as it is
    assert chosen_settings(million, spec("hnsw")) == BuildSettings()  # nobody knows its RAM
    large = chosen_settings(replace(million, ram_bytes=64 * 1024 * MIB), spec("hnsw"))
    assert large.maintenance_work_mem_mb == pytest.approx(1.1 * wanted / MIB, abs=1)
    small = chosen_settings(replace(million, ram_bytes=2 * 1024 * MIB), spec("hnsw"))
    assert small.maintenance_work_mem_mb == 512  # a quarter, and no more


def test_the_disk_is_looked_at_before() -> None:
    found = [estimate(FACTS, spec(text)) for text in ("hnsw", "ivfflat")]
    kept = sum(each.disk_bytes for each in found)
    assert "cannot be asked" in (disk_warning(FACTS, found) or "")
    assert disk_warning(replace(FACTS, free_bytes=10 * kept + 2048 * MIB), found) is None
    nearly = disk_warning(replace(FACTS, free_bytes=kept + 500 * MIB), found)
    assert "nearly full" in (nearly or "")
    with pytest.raises(IndexRefused, match=f"has {kept // MIB - 1:,} MB free"):
        disk_warning(replace(FACTS, free_bytes=(kept // MIB - 1) * MIB), found)


# --- what a build says ----------------------------------------------------------------------------


def test_rows_a_second() -> None:
    assert rows_per_second([]) is None
    assert rows_per_second([(10.0, 0)]) is None
    assert rows_per_second([(10.0, 0), (12.0, 50), (14.0, 1000)]) == 250.0


def test_a_step_in_one_line() -> None:
    step = BuildStep("HNSW", "Loading rows", 0.5, 1000, 20_000, 250.4, 76.0, ("it is full",))
    assert step.message == (
        "HNSW: Loading rows · 1,000 of 20,000 rows · 250 rows/s · the server says: it is full"
    )
    assert step.as_json()["notices"] == ["it is full"]
    assert BuildStep("HNSW", "Preparing", 0.0).message == "HNSW: Preparing"
