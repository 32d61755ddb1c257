"""Precomputed vectors among the files of a load, and the collection that they fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib.cli.collections import CollectionOptions
from lib.cli.output import note, one_line
from lib.cli.session import find_collection
from lib.errors import DimensionMismatch, InvalidInput, NotFound, ReadProblem
from lib.ingest.file_source import FileSource
from lib.ingest.incoming import IncomingProblem
from lib.ingest.queries import QueryStream
from lib.ingest.read_options import ReadOptions
from lib.ingest.vectors import (
    VectorFileFacts,
    inspect_vectors,
    is_vector_file,
    queries_of_vector_file,
)
from lib.services import Services, make_collection
from lib.settings import NO_MODEL
from lib.store.collections import Collection
from lib.vectors.distance import Distance, Storage


@dataclass(frozen=True)
class PrecomputedVectors:
    """The vectors among the sources of a load."""

    files: tuple[VectorFileFacts, ...] = ()
    """Facts about files of vectors."""

    tables: tuple[VectorFileFacts, ...] = ()
    """Facts about tables with a column of vectors."""

    sources: tuple[FileSource, ...] = ()
    """All that is to be loaded: without the texts that belong to a file of vectors, and without
    the files in ``problems``."""

    problems: tuple[IncomingProblem, ...] = ()
    """Files that cannot be read."""

    def first(self, *, with_tables: bool) -> VectorFileFacts | None:
        """The facts that a new collection is made by."""
        vectors = (*self.files, *self.tables) if with_tables else self.files
        return vectors[0] if vectors else None

    def query_streams(self, collection: Collection) -> list[QueryStream]:
        """The queries in the files that are in ann-benchmarks' form."""
        sources = {source.name: source for source in self.sources}
        return [
            queries_of_vector_file(
                sources[facts.name],
                facts,
                dimensions=collection.dimensions,
                distance=collection.distance,
            )
            for facts in self.files
            if facts.has_queries
        ]


def find_precomputed_vectors(
    sources: Sequence[FileSource], options: ReadOptions
) -> PrecomputedVectors:
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
    return PrecomputedVectors(
        tuple(files),
        tuple(tables),
        # Reopened: how far these were read here is not the load's progress.
        tuple(source.reopened() for source in left if source.name not in problems),
        tuple(problems[source.name] for source in left if source.name in problems),
    )


def find_or_create(
    services: Services,
    name: str,
    options: CollectionOptions,
    vectors: PrecomputedVectors,
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
        named = options.model not in {None, NO_MODEL}
        with_tables = not named if embedding_column is None else bool(embedding_column)
        facts = vectors.first(with_tables=with_tables)
        created = _create(services, name, options, facts)
        model = (
            created.model if created.has_model else f"no model, {created.dimensions:,} dimensions"
        )
        note(f"Made the collection “{one_line(created.name)}” ({model}).")
        return created
    _check_fits(collection, options, vectors)
    return collection


def _create(
    services: Services, name: str, options: CollectionOptions, facts: VectorFileFacts | None
) -> Collection:
    if facts is None:
        return options.make(services, name)
    distance = None if options.distance is None else Distance(options.distance)
    if options.model is None:
        distance = distance or facts.distance
        note(f"Taking the {distance.label}: {facts.distance_reason}.")
    return services.database.run(
        make_collection(
            services,
            name,
            model=options.model or NO_MODEL,
            dimensions=facts.dimensions,
            distance=distance,
            storage=None if options.storage is None else Storage(options.storage),
            text_config=options.text_config,
        )
    )


def _check_fits(
    collection: Collection, options: CollectionOptions, vectors: PrecomputedVectors
) -> None:
    for setting, asked, is_now in (
        ("model", options.model, collection.model),
        ("distance", options.distance, collection.distance.value),
        ("storage", options.storage, collection.storage.value),
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
    if collection.has_model and options.model is None:
        raise InvalidInput(
            f"“{collection.name}” is embedded by {collection.model}, and {facts.name} does not "
            "tell what made its vectors.",
            hint=f"If it was the same model, say so: --model {collection.model}.",
            field="model",
        )


def with_embedding_column(
    options: ReadOptions,
    collection: Collection,
    vectors: PrecomputedVectors,
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
