"""What a load may bring besides texts: vectors that exist already, and judged queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib.cli.collections import CollectionOptions
from lib.cli.output import note, one_line
from lib.cli.session import find_collection
from lib.errors import DimensionMismatch, InvalidInput, NotFound, ReadProblem
from lib.evaluation.query_sets import SavedQuerySet, save_query_set
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingProblem
from lib.ingest.queries import QueryStream
from lib.ingest.read_options import ReadOptions
from lib.ingest.vectors import (
    NEIGHBOURS,
    TEST,
    VectorFileFacts,
    inspect_vectors,
    is_vector_file,
    vector_queries,
)
from lib.services import Services, make_collection
from lib.settings import NO_MODEL
from lib.store.collections import Collection
from lib.vectors.distance import Distance, Storage


@dataclass(frozen=True)
class GivenVectors:
    """The vectors among the sources of a load.

    files, tables: what was found out about files of vectors, and about tables with a column of
    them. sources: all that is to be loaded: without the texts that belong to a file of vectors, and
    without what cannot be read, which is in ``problems``.
    """

    files: tuple[VectorFileFacts, ...] = ()
    tables: tuple[VectorFileFacts, ...] = ()
    sources: tuple[FileSource, ...] = ()
    problems: tuple[IncomingProblem, ...] = ()

    def first(self, *, with_tables: bool) -> VectorFileFacts | None:
        return next(iter((*self.files, *(self.tables if with_tables else ()))), None)


def look_for_vectors(sources: Sequence[FileSource], options: ReadOptions) -> GivenVectors:
    """Raises InvalidInput where two files of vectors have the same texts: one would hide the
    other's model."""
    files: list[VectorFileFacts] = []
    tables: list[VectorFileFacts] = []
    problems: dict[str, IncomingProblem] = {}
    texts: dict[Path, str] = {}
    for source in sources:
        try:
            facts = inspect_vectors(source, options)
        except ReadProblem as exc:
            problem = IncomingProblem(source.name, exc.place, exc.message, exc.hint)
            problems[source.name] = problem
            continue
        if facts is None:
            continue
        (files if is_vector_file(source.name) else tables).append(facts)
        if facts.texts is not None:
            path = Path(facts.texts).resolve()
            if path in texts:
                raise InvalidInput(
                    f"{texts[path]} and {source.name} are vectors of the same texts ({path.name}).",
                    hint="Load each into a collection of its own.",
                )
            texts[path] = source.name
    # Labels in an npy are no vectors, which is no problem where they are another file's texts.
    left = [source for source in sources if source.path and source.path.resolve() not in texts]
    return GivenVectors(
        tuple(files),
        tuple(tables),
        # Opened anew: how far these were read was the look's progress, not the load's.
        tuple(source_again(source) for source in left if source.name not in problems),
        tuple(problems[source.name] for source in left if source.name in problems),
    )


def find_or_make(
    services: Services,
    name: str,
    wanted: CollectionOptions,
    vectors: GivenVectors,
    embedding_column: str | None = None,
) -> Collection:
    """The collection to load into; a new one is made as the vectors ask for, without a model
    unless one is named.

    Raises InvalidInput where the collection is there and does not fit.
    """
    try:
        collection = find_collection(services, name)
    except NotFound:
        # A table's vectors that nobody asked for give way to a model that somebody named.
        named = wanted.model not in {None, NO_MODEL}
        with_tables = not named if embedding_column is None else bool(embedding_column)
        facts = vectors.first(with_tables=with_tables)
        made = _make(services, name, wanted, facts)
        model = made.model if made.has_model else f"no model, {made.dimensions:,} dimensions"
        note(f"Made the collection “{one_line(made.name)}” ({model}).")
        return made
    _check_fits(collection, wanted, vectors)
    return collection


def _make(
    services: Services, name: str, wanted: CollectionOptions, facts: VectorFileFacts | None
) -> Collection:
    if facts is None:
        return wanted.make(services, name)
    distance = None if wanted.distance is None else Distance(wanted.distance)
    if wanted.model is None:
        distance = distance or facts.distance
        note(f"Taking the {distance.label}: {facts.distance_reason}.")
    return services.database.run(
        make_collection(
            services,
            name,
            model=wanted.model or NO_MODEL,
            dimensions=facts.dimensions,
            distance=distance,
            storage=None if wanted.storage is None else Storage(wanted.storage),
            text_config=wanted.text_config,
        )
    )


def _check_fits(collection: Collection, wanted: CollectionOptions, vectors: GivenVectors) -> None:
    for setting, asked, is_now in (
        ("model", wanted.model, collection.model),
        ("distance", wanted.distance, collection.distance.value),
        ("storage", wanted.storage, collection.storage.value),
    ):
        if asked is not None and asked != is_now:
            verb = "is embedded by" if setting == "model" else f"has the {setting}"
            raise InvalidInput(
                f"“{collection.name}” {verb} {is_now}, not {asked}.",
                hint=f"Leave --{setting} out, or load into another collection.",
                field=setting,
            )
    facts = vectors.first(with_tables=False)
    if facts is None:
        return
    if facts.dimensions != collection.dimensions:
        raise DimensionMismatch(
            f"The vectors of {facts.name} have {facts.dimensions:,} dimensions, those of "
            f"“{collection.name}” {collection.dimensions:,}.",
            hint="Load them into another collection.",
        )
    if collection.has_model and wanted.model is None:
        raise InvalidInput(
            f"“{collection.name}” is embedded by {collection.model}, and {facts.name} does not "
            "tell what made its vectors.",
            hint=f"If it was the same model, say so: --model {collection.model}.",
            field="model",
        )


def read_options(
    options: ReadOptions,
    collection: Collection,
    vectors: GivenVectors,
    embedding_column: str | None,
) -> ReadOptions:
    """With the column of the embeddings: the one that was named, or a guess where the collection
    has no model to embed by."""
    guess = None if not collection.has_model else ""
    columns = replace(
        options.columns, embedding=guess if embedding_column is None else embedding_column
    )
    for table in vectors.tables if columns.embedding == "" else ():
        if table.column is not None:
            note(
                f"The vectors in the column “{one_line(table.column)}” of {one_line(table.name)} "
                f"become metadata, as {collection.model} embeds the texts. To store them as they "
                "are, name the column: --embedding-column."
            )
    return replace(options, columns=columns)


# --- queries ------------------------------------------------------------------------------------


def queries_of(vectors: GivenVectors, collection: Collection) -> list[QueryStream]:
    """The queries in the files that are in ann-benchmarks' form."""
    sources = {source.name: source for source in vectors.sources}
    return [
        vector_queries(
            source_again(sources[facts.name]),
            dimensions=collection.dimensions,
            distance=collection.distance,
            dataset=TEST,
            truth=source_again(sources[facts.name]) if NEIGHBOURS in facts.datasets else None,
            truth_dataset=NEIGHBOURS,
            base=facts.name,
            name=Path(facts.name).stem,
        )
        for facts in vectors.files
        if facts.has_queries
    ]


def source_again(source: FileSource) -> FileSource:
    """The same file on disk, with a progress of its own."""
    assert source.path is not None
    return FileSource.from_path(source.path, name=source.name)


def save_queries(
    services: Services,
    collection: Collection,
    streams: Sequence[QueryStream],
    name: str | None = None,
) -> tuple[list[SavedQuerySet], list[IncomingProblem]]:
    """What was saved, and what could not be read."""
    saved: list[SavedQuerySet] = []
    problems: list[IncomingProblem] = []
    for stream in streams:
        try:
            found = services.database.query(save_query_set, collection, stream, name=name)
        except InvalidInput as exc:
            problems.append(IncomingProblem(stream.name, "", exc.message, exc.hint))
            continue
        saved.append(found)
        problems.extend(found.problems)
    return saved, problems
