"""Experiments in the database: made, saved as they go, read, renamed and deleted.

Every function takes the session first. How an experiment is going is its job's to say: nothing
here has to be tidied up after a process that was killed.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Row, Select, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from lib.actors import LOCAL, Actor, writes
from lib.errors import AlreadyExists, Busy, InvalidInput, NotFound
from lib.lab.experiment import (
    NAME_LENGTH,
    CandidateFacts,
    DataFacts,
    Experiment,
    ExperimentState,
    TargetResult,
)
from lib.lab.measurement import FIGURES, Figure, FigureValue, Measurement, SearchParameter
from lib.lab.queries import QueryBatch
from lib.lab.spec import ExperimentSpec
from lib.store.collections import Collection
from lib.store.jobs import JobStatus
from lib.store.names import NameLookup, free_name
from lib.store.records import CollectionRecord, ExperimentRecord, JobRecord, MeasurementRecord
from lib.vectors.index_methods import IterativeScan, get_method


@dataclass(frozen=True)
class ExperimentSummary:
    """An experiment in a list."""

    id: uuid.UUID
    name: str
    spec: ExperimentSpec
    state: ExperimentState
    stale: bool
    measured: int
    """How many measurements it has."""
    evaluated: int
    """How many candidates were held against the target."""
    built: int
    """How many candidates it has facts of."""
    created_at: datetime
    finished_at: datetime | None


# --- making and finding -------------------------------------------------------------------------


async def make_experiment(
    db: AsyncSession, collection: Collection, spec: ExperimentSpec, name: str | None = None
) -> tuple[uuid.UUID, str]:
    """A row for it, and its name: the one given, else one that says what is compared and when.

    Raises InvalidInput for a name that cannot be, AlreadyExists for one that is taken.
    """
    taken = set(
        await db.scalars(
            select(ExperimentRecord.name).where(ExperimentRecord.collection_id == collection.id)
        )
    )
    if name is not None:
        name = check_name(name)
        _check_free(name, taken)
    else:
        kinds = " and ".join(dict.fromkeys(each.index.method.label for each in spec.candidates))
        made = f"{kinds}, {datetime.now(UTC):%d %b %Y %H:%M}"
        name = free_name(made, taken.__contains__, lambda number: f"{made} ({number})")
    record = ExperimentRecord(collection_id=collection.id, name=name, spec=spec.to_json())
    db.add(record)
    await db.flush()
    return record.id, name


def check_name(name: str) -> str:
    """Raises InvalidInput for a name that is empty, too long or cannot be shown."""
    name = " ".join(name.split())
    if not name or len(name) > NAME_LENGTH or not name.isprintable():
        raise InvalidInput(
            f"An experiment's name has 1–{NAME_LENGTH} characters that can be shown.", field="name"
        )
    return name


def _check_free(name: str, taken: set[str]) -> None:
    if name.casefold() in {each.casefold() for each in taken}:
        raise AlreadyExists(
            f"There is an experiment called “{name}” already.",
            hint="Take another name.",
            field="name",
        )


async def list_experiments(db: AsyncSession, collection: Collection) -> list[ExperimentSummary]:
    """All of the collection's, the newest first."""
    measured = (
        select(func.count())
        .where(MeasurementRecord.experiment_id == ExperimentRecord.id)
        .correlate(ExperimentRecord)
        .scalar_subquery()
    )
    found = await db.execute(_of(collection, measured.label("measured")))
    return [
        ExperimentSummary(
            id=row.ExperimentRecord.id,
            name=row.ExperimentRecord.name,
            spec=ExperimentSpec.from_json(row.ExperimentRecord.spec),
            state=_state(row),
            stale=_stale(row),
            measured=row.measured,
            evaluated=len(row.ExperimentRecord.outcomes),
            built=len(row.ExperimentRecord.facts.get("candidates", ())),
            created_at=row.ExperimentRecord.created_at,
            finished_at=row.ExperimentRecord.finished_at,
        )
        for row in found
    ]


_LOOKUP = NameLookup("experiment", field="experiment", advice="Run one first.")


async def get_experiment(
    db: AsyncSession, collection: Collection, wanted: uuid.UUID | str | None = None
) -> Experiment:
    """By id, or by name (capitals do not matter); None is the newest. Raises NotFound, naming what
    there is."""
    row_of = {row.ExperimentRecord: row for row in await db.execute(_of(collection))}
    records = list(row_of)
    if wanted is not None:
        record = _LOOKUP.find(records, wanted, collection.name)
    elif records:
        record = records[0]
    else:
        raise NotFound(
            f"“{collection.name}” has no such experiment (any more).",
            hint=_LOOKUP.advice,
            field=_LOOKUP.field,
        )
    return await _experiment(db, row_of[record])


@writes("experiments.rename")
async def rename_experiment(
    db: AsyncSession, experiment: Experiment, name: str, *, actor: Actor = LOCAL
) -> str:
    """Returns the name as it is stored. Raises InvalidInput, AlreadyExists, NotFound."""
    name = check_name(name)
    others = await db.scalars(
        select(ExperimentRecord.name).where(
            ExperimentRecord.collection_id == experiment.collection_id,
            ExperimentRecord.id != experiment.id,
        )
    )
    _check_free(name, set(others))
    await _note(db, experiment.id, name=name)
    return name


@writes("experiments.delete")
async def delete_experiment(
    db: AsyncSession, experiment: Experiment, *, actor: Actor = LOCAL
) -> None:
    """With its measurements; the candidates stay. Raises Busy while it runs, NotFound."""
    if experiment.state is ExperimentState.RUNNING:
        raise Busy(f"“{experiment.name}” is running.", hint="Cancel it first.")
    gone = await db.execute(
        delete(ExperimentRecord)
        .where(ExperimentRecord.id == experiment.id)
        .returning(ExperimentRecord.id)
    )
    if gone.first() is None:
        raise NotFound(f"“{experiment.name}” is gone already.")


# --- noting down --------------------------------------------------------------------------------


async def save_job(db: AsyncSession, experiment_id: uuid.UUID, job_id: uuid.UUID) -> None:
    await _note(db, experiment_id, job_id=job_id)


async def save_queries(db: AsyncSession, experiment_id: uuid.UUID, batch: QueryBatch) -> None:
    """The queries, so that a run that goes on asks the same, and the worst can be looked at."""
    await _note(
        db,
        experiment_id,
        vectors=np.ascontiguousarray(batch.vectors, dtype="<f4").tobytes(),
        queries={
            "labels": list(batch.labels),
            "own_ids": [None if id_ is None else str(id_) for id_ in batch.own_ids],
            "source": batch.source,
            "notes": list(batch.notes),
        },
    )


async def save_setup(
    db: AsyncSession,
    experiment_id: uuid.UUID,
    *,
    environment: Mapping[str, Any],
    data: DataFacts,
    facts: Sequence[CandidateFacts],
) -> None:
    """What it is measured on."""
    await _note(
        db,
        experiment_id,
        environment=dict(environment),
        facts={"data": data.to_json(), "candidates": [each.to_json() for each in facts]},
    )


async def save_target_results(
    db: AsyncSession, experiment_id: uuid.UUID, target_results: Sequence[TargetResult]
) -> None:
    await _note(db, experiment_id, outcomes=[result.to_json() for result in target_results])


async def save_change_notice(db: AsyncSession, experiment_id: uuid.UUID, changed: str) -> None:
    await _note(db, experiment_id, changed=changed)


async def save_finished(
    db: AsyncSession, experiment_id: uuid.UUID, environment: Mapping[str, Any]
) -> None:
    """It is done. environment: with what is only known now."""
    await _note(db, experiment_id, finished_at=func.now(), environment=dict(environment))


async def save_measurement(
    db: AsyncSession, experiment_id: uuid.UUID, measurement: Measurement
) -> None:
    """In place of the one of that candidate and setting. Raises NotFound where the experiment was
    deleted, alone or with its collection."""
    held = select(ExperimentRecord.id).where(ExperimentRecord.id == experiment_id)
    if await db.scalar(held.with_for_update(key_share=True)) is None:
        raise _deleted()
    setting = measurement.setting
    values: dict[str, Any] = {
        **_figure_columns(measurement),
        "kind": setting.method and setting.method.name,
        "qps": {str(clients): rate for clients, rate in measurement.qps.items()},
        "recalls": measurement.recalls.astype("<f8").tobytes(),
        "latencies_ms": measurement.latencies_ms.astype("<f8").tobytes(),
    }
    await db.execute(
        insert(MeasurementRecord)
        .values(
            experiment_id=experiment_id,
            candidate=measurement.candidate,
            value=setting.value or 0,
            iterative_scan=setting.iterative_scan.value,
            **values,
        )
        .on_conflict_do_update(
            index_elements=["experiment_id", "candidate", "value", "iterative_scan"], set_=values
        )
    )


def _figure_columns(measurement: Measurement) -> dict[str, Any]:
    """The figures by the columns that hold them."""
    columns: dict[str, Any] = {"figures": {}}
    for figure in FIGURES:
        if _has_column(figure):
            columns[figure.column_name] = figure.value(measurement)
        else:
            columns["figures"][figure.name] = figure.value(measurement)
    return columns


def _has_column(figure: Figure) -> bool:
    return figure.column_name in MeasurementRecord.__table__.columns


async def delete_measurements_except(
    db: AsyncSession, experiment_id: uuid.UUID, keep: Sequence[str] = ()
) -> None:
    """Those of candidates that are not named: they are of an index that is no more."""
    await db.execute(
        delete(MeasurementRecord).where(
            MeasurementRecord.experiment_id == experiment_id,
            MeasurementRecord.candidate.not_in(list(keep)),
        )
    )


async def _note(db: AsyncSession, experiment_id: uuid.UUID, **values: Any) -> None:
    noted = await db.execute(
        update(ExperimentRecord)
        .where(ExperimentRecord.id == experiment_id)
        .values(**values)
        .returning(ExperimentRecord.id)
    )
    if noted.first() is None:
        raise _deleted()


def _deleted() -> NotFound:
    return NotFound("The experiment was deleted meanwhile, or its collection dropped.")


# --- reading ------------------------------------------------------------------------------------


async def load_queries(
    db: AsyncSession, collection: Collection, experiment_id: uuid.UUID
) -> QueryBatch | None:
    """The experiment's queries; None where it has not got as far."""
    row = (
        await db.execute(
            select(ExperimentRecord.vectors, ExperimentRecord.queries).where(
                ExperimentRecord.collection_id == collection.id,
                ExperimentRecord.id == experiment_id,
            )
        )
    ).first()
    if row is None or row.vectors is None:
        return None
    stored = row.queries
    return QueryBatch(
        # By their number: the collection may have another model by now, of other dimensions.
        vectors=np.frombuffer(row.vectors, dtype="<f4")
        .reshape(len(stored["labels"]), -1)
        .astype(np.float32),
        labels=tuple(stored["labels"]),
        own_ids=tuple(id_ and uuid.UUID(id_) for id_ in stored["own_ids"]),
        source=stored["source"],
        notes=tuple(stored["notes"]),
    )


def _of(collection: Collection, *columns: ColumnElement[Any]) -> Select[Any]:
    # The mark is the row's of now: the caller's Collection may be older.
    return (
        select(
            ExperimentRecord,
            JobRecord.status.label("job_status"),
            JobRecord.error.label("job_error"),
            JobRecord.hint.label("job_hint"),
            CollectionRecord.revision,
            *columns,
        )
        .join(CollectionRecord, CollectionRecord.id == ExperimentRecord.collection_id)
        .outerjoin(JobRecord, JobRecord.id == ExperimentRecord.job_id)
        .where(ExperimentRecord.collection_id == collection.id)
        .order_by(ExperimentRecord.created_at.desc(), ExperimentRecord.id)
        .execution_options(populate_existing=True)
    )


def _state(row: Row[Any]) -> ExperimentState:
    """By its job: nobody has to note that a process was killed."""
    if row.ExperimentRecord.finished_at is not None:
        return ExperimentState.DONE
    status = row.job_status
    if status is None:
        return ExperimentState.INTERRUPTED
    if status in (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.DONE):
        return ExperimentState.RUNNING
    return ExperimentState(status)


def _stale(row: Row[Any]) -> bool:
    data = row.ExperimentRecord.facts.get("data")
    return data is not None and data["change_mark"] != row.revision


async def _experiment(db: AsyncSession, row: Row[Any]) -> Experiment:
    record = row.ExperimentRecord
    measured = await db.scalars(
        select(MeasurementRecord)
        .where(MeasurementRecord.experiment_id == record.id)
        .order_by(MeasurementRecord.id)
        .execution_options(populate_existing=True)
    )
    state = _state(row)
    failed = state in (ExperimentState.FAILED, ExperimentState.INTERRUPTED)
    data = record.facts.get("data")
    return Experiment(
        id=record.id,
        collection_id=record.collection_id,
        job_id=record.job_id,
        name=record.name,
        spec=ExperimentSpec.from_json(record.spec),
        state=state,
        error=(row.job_error or "") if failed else "",
        hint=(row.job_hint or "") if failed else "",
        environment=record.environment,
        data=data and DataFacts.from_json(data),
        facts=tuple(CandidateFacts.from_json(each) for each in record.facts.get("candidates", ())),
        target_results=tuple(TargetResult.from_json(stored) for stored in record.outcomes),
        measurements=tuple(_measurement(each) for each in measured),
        changed=record.changed,
        stale=_stale(row),
        created_at=record.created_at,
        finished_at=record.finished_at,
    )


def _measurement(record: MeasurementRecord) -> Measurement:
    method = None if record.kind is None else get_method(record.kind)
    return Measurement.from_figures(
        _figure_values(record),
        candidate=record.candidate,
        setting=SearchParameter(
            method,
            None if method is None else record.value,
            IterativeScan(record.iterative_scan),
        ),
        qps={int(clients): float(rate) for clients, rate in record.qps.items()},
        recalls=np.frombuffer(record.recalls, dtype="<f8").astype(np.float64),
        latencies_ms=np.frombuffer(record.latencies_ms, dtype="<f8").astype(np.float64),
    )


def _figure_values(record: MeasurementRecord) -> dict[str, FigureValue]:
    """By the figures' names; those that were not measured yet when the row was written are left
    out."""
    values: dict[str, FigureValue] = {}
    for figure in FIGURES:
        if _has_column(figure):
            values[figure.name] = getattr(record, figure.column_name)
        elif figure.name in record.figures:
            values[figure.name] = record.figures[figure.name]
    return values
