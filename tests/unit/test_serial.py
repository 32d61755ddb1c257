"""Stored JSON: what earlier versions wrote is read, and what is written now they could read.

``rows/stored_json.json`` was written by the code of commit 8f89244.
"""

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import pytest

from lib.errors import InvalidInput
from lib.ingest.jobs import _file
from lib.lab.experiment import CandidateFacts, DataFacts, TargetResult
from lib.lab.spec import ExperimentSpec
from lib.projection.settings import ClusterMethod, ClusterSettings, Method, ProjectionSettings
from lib.search.export import (
    example_from_json,
    example_to_json,
    request_from_json,
    request_to_json,
)
from lib.search.request import Mode
from lib.serial import from_json, to_json
from lib.store.collections import Reembedding
from lib.vectors.distance import Distance, Storage
from lib.vectors.index_methods import IterativeScan
from lib.vectors.tuning import Scan

ROWS = json.loads((Path(__file__).parent / "rows" / "stored_json.json").read_text("utf-8"))


def rows_of(*path):
    rows = ROWS
    for name in path:
        rows = rows[name]
    return rows


@pytest.mark.parametrize("row", rows_of("searches"))
def test_a_saved_search_comes_back_as_it_was(row):
    assert request_to_json(request_from_json(row)) == row


def test_what_a_saved_search_said_is_what_is_asked():
    request = request_from_json(ROWS["searches"][1])
    assert (request.query, request.mode, request.limit) == ("é “x”", Mode.SIMILARITY, 7)
    assert (request.max_distance, request.category) == (0.25, "a, b")
    assert (
        request.settings.parameters.get("probes"),
        request.settings.parameters.get("ef_search"),
    ) == (12, None)
    assert request.settings.iterative_scan is IterativeScan.RELAXED
    assert request.settings.scan is Scan.INDEX
    assert [str(condition) for condition in request.filters] == [
        "metadata.year>=2020",
        "category=a",
    ]
    assert request.candidate_id == uuid.UUID(int=7)
    assert request.leave_out == (uuid.UUID(int=1), uuid.UUID(int=2))


def test_a_saved_example_comes_back_as_it_was():
    (row,) = ROWS["examples"]
    example = example_from_json(row)
    assert example.vector == (0.5, -1.0)
    assert example_to_json(example) == row


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("specs", ExperimentSpec),
        ("candidates", CandidateFacts),
        ("data", DataFacts),
        ("outcomes", TargetResult),
    ],
)
def test_a_stored_experiment_comes_back_as_it_was(name, kind):
    for row in rows_of("experiments", name):
        assert kind.from_json(row).to_json() == row


@pytest.mark.parametrize(
    ("name", "kind"), [("settings", ProjectionSettings), ("clusters", ClusterSettings)]
)
def test_the_settings_of_a_map_come_back_as_they_were(name, kind):
    for row in rows_of("projections", name):
        assert kind.from_json(row).to_json() == row


def test_what_a_maps_settings_said_is_what_it_is_built_by():
    plain, flat, _ = map(ProjectionSettings.from_json, rows_of("projections", "settings"))
    assert plain == ProjectionSettings()
    assert (flat.method, flat.dimensions, flat.limit, flat.seed) == (Method.PCA, 3, 500, 9)
    _, kmeans, _ = map(ClusterSettings.from_json, rows_of("projections", "clusters"))
    assert (kmeans.method, kmeans.count, kmeans.seed) == (ClusterMethod.KMEANS, 12, 5)


def test_a_reembedding_under_way_goes_on():
    (row,) = ROWS["reembeddings"]
    reembedding = Reembedding.from_json(row)
    assert reembedding == Reembedding(
        "openai/text-embedding-3-small",
        1536,
        Distance.COSINE,
        Storage.HALFVEC,
        datetime(2026, 11, 30, 23, 5, 1, 250_000, tzinfo=UTC),
    )
    assert reembedding.to_json() == row


def test_a_load_that_was_broken_off_knows_its_files():
    parameters = rows_of("jobs", "load_parameters")
    (entry,) = parameters["files"]
    file = _file(entry, parameters["read"])
    assert (file.name, file.path, file.size_bytes) == ("rows.csv", Path("/data/rows.csv"), 8)
    assert (file.options.encoding, file.options.delimiter) == ("cp1252", ";")
    assert file.options.columns.text == ("a", "b")


# --- the module itself --------------------------------------------------------------------------


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    id: uuid.UUID
    colours: tuple[Colour, ...] = ()


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    share: float = 0.5
    names: tuple[str, ...] = field(default=())
    secret: bool = False


VALUE = Outer("a", Inner(uuid.UUID(int=1), (Colour.RED,)), 1.0, ("x",))
DOCUMENT = {
    "name": "a",
    "inner": {"id": "00000000-0000-0000-0000-000000000001", "colours": ["red"]},
    "share": 1.0,
    "names": ["x"],
    "secret": False,
}


def test_a_value_goes_there_and_back():
    assert to_json(VALUE) == DOCUMENT
    assert json.loads(json.dumps(to_json(VALUE))) == DOCUMENT
    assert from_json(Outer, DOCUMENT) == VALUE


def test_a_missing_name_takes_the_default_and_a_field_can_stay_out():
    less = {"name": "a", "inner": {"id": str(uuid.UUID(int=1))}}
    assert from_json(Outer, less) == Outer("a", Inner(uuid.UUID(int=1)))
    assert "secret" not in to_json(VALUE, without={"secret"})
    with pytest.raises(InvalidInput, match="has no setting “secret”"):
        from_json(Outer, DOCUMENT, without={"secret"})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "The settings of a thing are a JSON object."),
        ({**DOCUMENT, "more": 1}, "A thing has no setting “more”."),
        ({**DOCUMENT, "share": "much"}, "The setting “share” of the thing cannot be used: "),
        ({**DOCUMENT, "inner": {"id": "?"}}, "The setting “inner.id” of the thing cannot be used"),
        ({"name": "a"}, "The setting “inner” of the thing cannot be used: Field required."),
    ],
)
def test_what_does_not_fit_is_said_by_its_name(document, message):
    with pytest.raises(InvalidInput) as caught:
        from_json(Outer, document, what="thing")
    assert caught.value.message.startswith(message)
