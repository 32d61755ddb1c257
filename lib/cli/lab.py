"""``lab run | list | show | compare | export | drop``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from lib.cli.collections import confirm
from lib.cli.index_options import pop_search_parameters, search_parameter_options
from lib.cli.lab_tables import diff_json, print_experiment
from lib.cli.output import collection_option, json_option, note, one_line, print_json, print_table
from lib.cli.session import find_collection, follow, open_session
from lib.errors import AlreadyExists, InvalidInput, NotFound
from lib.formats import format_ms, format_percent
from lib.ingest.file_source import FileSource
from lib.lab.artifacts import index_artifacts
from lib.lab.candidates import default_candidates
from lib.lab.diff import compare_experiments
from lib.lab.experiment import Experiment
from lib.lab.measurement import CLIENTS, ROUNDS, Protocol
from lib.lab.queries import QUERY_COUNT, QueryBatch, file_batch
from lib.lab.recommend import recommend
from lib.lab.report import experiment_csv, experiment_json, experiment_json_file
from lib.lab.report_page import experiment_page
from lib.lab.repository import delete_experiment, get_experiment, list_experiments
from lib.lab.run import check_experiment, resume_experiment, start_experiment
from lib.lab.spec import ExperimentSpec, K, Priority, QueryKind, QuerySource, Target
from lib.search.filters import CATEGORY, Filter, FilterOp, parse_filter
from lib.services import Services
from lib.store.candidates import CandidateSpec, parse_candidate
from lib.store.collections import Collection, summarise
from lib.vectors.index_methods import IterativeScan
from lib.vectors.tuning import OVERSAMPLING, BuildSettings

BELOW = 1
"""The exit code of --fail-under."""
_INDEX_FORMATS = ("sql", "sqlalchemy", "migration", "query")
_FORMATS = ("json", "csv", "html", *_INDEX_FORMATS)
_ENDINGS = {".json": "json", ".csv": "csv", ".html": "html", ".htm": "html", ".sql": "sql"}


@click.group()
def lab() -> None:
    """Find out which vector index, with which settings, gives the recall that is needed.

    An experiment builds candidates on copies, measures recall against the exact truth and latency
    under settings from quick to thorough, and looks for the smallest setting that reaches the
    target. The collection itself stays as it is.
    """


class _Numbers(click.ParamType[tuple[int, ...]]):
    """Such as 1,5,10."""

    name = "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(each) for each in str(value).split(","))
        except ValueError:
            self.fail(f"“{value}” is no list of numbers, such as 1,5,10.", param, ctx)


@lab.command()
@collection_option
@click.option(
    "--index",
    "indexes",
    multiple=True,
    help="Such as hnsw:m=16,ef_construction=64, ivfflat:lists=100, hnsw@halfvec or hnsw@bit; may "
    "be given several times. By default IVFFlat and HNSW as the guidelines have them.",
)
@click.option("--queries", type=int, help=f"How many; by default {QUERY_COUNT.default}.")
@click.option("--query-set", help="Ask the queries of this query set, not rows of the collection.")
@click.option(
    "--query-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Ask what is in this file: vectors (npy, fvecs, HDF5, csv, jsonl, parquet) or texts.",
)
@click.option("--k", type=int, help=f"Neighbours wanted; by default {K.default}.")
@click.option("--category", help="Only rows of this category, as the application asks.")
@click.option("--filter", "filters", multiple=True, help="As for search: FIELD=VALUE and the like.")
@click.option(
    "--target-recall",
    type=float,
    default=0.95,
    show_default=True,
    help="The share of the true neighbours to find, 0 to 1.",
)
@click.option("--target-p95-ms", type=float, help="A latency to keep, in milliseconds.")
@click.option(
    "--priority",
    type=click.Choice([each.value for each in Priority]),
    default=Priority.LATENCY.value,
    show_default=True,
    help="What decides between those that reach the target.",
)
@click.option("--no-target", is_flag=True, help="Measure, and look for no target.")
@click.option(
    "--protocol",
    type=click.Choice([each.value for each in Protocol]),
    default=Protocol.VECSCOPE.value,
    show_default=True,
    help="How recall and latency are counted: to decide, or as a published benchmark does.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sampling.")
@click.option(
    "--rounds",
    type=int,
    default=ROUNDS.default,
    show_default=True,
    help="How often each setting is measured.",
)
@click.option("--clients", type=_Numbers(), help=f"At once, 1–{CLIENTS.high}; such as 1,4.")
@search_parameter_options(
    _Numbers(),
    lambda method: (
        f"Only these values, of {method.label} candidates; such as "
        f"{method.search_parameter.example.replace(' ', '')}."
    ),
)
@click.option(
    "--iterative-scan",
    "scans",
    multiple=True,
    type=click.Choice([each.value for each in IterativeScan]),
    help="Under a filter, by default each of them; may be given several times.",
)
@click.option(
    "--oversampling",
    type=int,
    default=OVERSAMPLING.default,
    show_default=True,
    help="Rows taken by their bits for each row wanted.",
)
@click.option("--maintenance-work-mem-mb", type=int, help="Memory for each build, in MB.")
@click.option("--parallel-workers", type=int, help="Processes that help with each build.")
@click.option("--name", "title", help="The experiment's name.")
@click.option("--resume", metavar="NAME", help="Go on with an experiment that was broken off.")
@click.option(
    "--fail-under",
    type=float,
    help="Exit with 1 where the best certified recall of a candidate is below this, for one's own "
    "CI; name the values that the application uses by --probes and --ef-search.",
)
@json_option
def run(
    name: str,
    resume: str | None,
    fail_under: float | None,
    query_file: Path | None,
    title: str | None,
    maintenance_work_mem_mb: int | None,
    parallel_workers: int | None,
    as_json: bool,
    **asked: Any,
) -> int:
    """Run an experiment.

    \b
    Examples:
      python -m lib lab run --collection Films
      python -m lib lab run --collection Films --index hnsw --index hnsw@bit --target-recall 0.99
      python -m lib lab run --collection Films --index hnsw --ef-search 40 --fail-under 0.95 --json
    """
    if fail_under is not None and not 0 <= fail_under <= 1:
        raise InvalidInput(
            f"--fail-under is {fail_under:g}, outside 0–1.",
            hint="Write 95 % as 0.95.",
            field="fail_under",
        )
    build_settings = BuildSettings(maintenance_work_mem_mb, parallel_workers)
    with open_session() as services:
        collection = find_collection(services, name)
        common = (services.jobs, services.database, services.settings, collection)
        if resume is not None:
            experiment = services.database.query(get_experiment, collection, resume)
            started = resume_experiment(*common, experiment, build_settings)
        else:
            spec = _spec(services, collection, query_file, **asked)
            file_queries = _file_queries(services, collection, query_file, spec)
            for warning in services.database.run(
                check_experiment(services.database, collection, spec, build_settings)
            ):
                note(one_line(warning))
            started = start_experiment(
                *common, spec, name=title, file_queries=file_queries, build_settings=build_settings
            )
        job = services.database.run(started)
        follow(
            services,
            job,
            if_stopped="What was measured is kept: go on with --resume and the experiment's name.",
        )
        wanted = job.parameters["experiment_id"]
        experiment = services.database.query(get_experiment, collection, wanted)
    if as_json:
        print_json(experiment_json(experiment, collection.name))
    else:
        print_experiment(experiment)
    return 0 if fail_under is None else _fail_under(experiment, fail_under)


def _spec(
    services: Services,
    collection: Collection,
    query_file: Path | None,
    *,
    indexes: Sequence[str],
    queries: int | None,
    query_set: str | None,
    k: int | None,
    category: str | None,
    filters: Sequence[str],
    target_recall: float,
    target_p95_ms: float | None,
    priority: str,
    no_target: bool,
    protocol: str,
    seed: int,
    rounds: int,
    clients: tuple[int, ...] | None,
    scans: Sequence[str],
    oversampling: int,
    **values: tuple[int, ...] | None,
) -> ExperimentSpec:
    if query_set is not None and query_file is not None:
        raise InvalidInput("Queries come from a query set or from a file.", field="query_file")
    wanted = tuple(map(parse_filter, filters))
    if category is not None:
        wanted += (Filter(CATEGORY, FilterOp.EQUALS, category),)
    every = tuple(IterativeScan) if wanted else (IterativeScan.OFF,)
    count = QUERY_COUNT.default if queries is None else queries
    if query_set is not None:
        source = QuerySource(QueryKind.QUERY_SET, count, name=query_set)
    elif query_file is not None:
        source = QuerySource(QueryKind.FILE, count, name=query_file.name)
    else:
        source = QuerySource(QueryKind.SAMPLE, count, seed)
    target = Target(target_recall, target_p95_ms, Priority(priority))
    return ExperimentSpec.for_protocol(
        Protocol(protocol),
        _candidates(services, collection, indexes),
        k=k,
        clients=clients,
        queries=source,
        filters=wanted,
        target=None if no_target else target,
        rounds=rounds,
        values=pop_search_parameters(dict(values)),
        iterative_scans=tuple(map(IterativeScan, scans)) or every,
        oversampling=oversampling,
    )


def _candidates(
    services: Services, collection: Collection, indexes: Sequence[str]
) -> tuple[CandidateSpec, ...]:
    rows = services.database.query(summarise, collection).embedded
    if not indexes:
        return default_candidates(rows, collection.dimensions, collection.storage)
    return tuple(parse_candidate(each, rows, collection.storage) for each in indexes)


def _file_queries(
    services: Services, collection: Collection, query_file: Path | None, spec: ExperimentSpec
) -> QueryBatch | None:
    if query_file is None:
        return None
    source = FileSource.from_path(query_file)
    count, settings = spec.queries.count, services.settings
    return services.database.run(file_batch(source, collection, count, settings))


def _fail_under(experiment: Experiment, level: float) -> int:
    """Each candidate has to reach it, by what the protocol calls recall."""
    by_id = experiment.spec.rules.by_id
    below = []
    for facts in experiment.facts:
        certified = [each for each in experiment.measurements_of(facts.name) if each.certified]
        best = max(
            (each.recall.id_mean if by_id else each.recall.mean.value for each in certified),
            default=None,
        )
        if best is None or best < level:
            found = "nothing certified" if best is None else f"at most {format_percent(best)}"
            below.append(f"{one_line(facts.name)}: {found}")
    for line in below:
        note(f"Below {format_percent(level)}: {line}.")
    return BELOW if below else 0


# --- looking at them ----------------------------------------------------------------------------


@lab.command("list")
@collection_option
@json_option
def list_(name: str, as_json: bool) -> None:
    """Show a collection's experiments, the newest first."""
    with open_session() as services:
        collection = find_collection(services, name)
        found = services.database.query(list_experiments, collection)
    if as_json:
        listed = [
            {
                "id": each.id,
                "name": each.name,
                "state": each.state.value,
                "stale": each.stale,
                "measurements": each.measured,
                "candidates": [str(candidate) for candidate in each.spec.candidates],
                "protocol": each.spec.protocol.value,
                "created_at": each.created_at,
                "finished_at": each.finished_at,
            }
            for each in found
        ]
        print_json({"collection": collection.name, "experiments": listed})
    elif not found:
        note(f"“{one_line(collection.name)}” has no experiments.")
    else:
        print_table(
            ("name", "state", "candidates", "settings", "protocol", "begun"),
            [
                (
                    each.name,
                    each.state.value + (", stale" if each.stale else ""),
                    len(each.spec.candidates),
                    each.measured,
                    each.spec.protocol.value,
                    f"{each.created_at:%Y-%m-%d %H:%M}",
                )
                for each in found
            ],
        )


@lab.command()
@click.argument("experiment", required=False)
@collection_option
@json_option
def show(experiment: str | None, name: str, as_json: bool) -> None:
    """Show an experiment, by its name or id; without one the newest."""
    collection, found = _find(name, experiment)
    if as_json:
        print_json(experiment_json(found, collection.name))
    else:
        print_experiment(found)


@lab.command()
@click.argument("before")
@click.argument("after")
@collection_option
@json_option
def compare(before: str, after: str, name: str, as_json: bool) -> None:
    """Show what changed between two experiments: environment, data, recall and latency."""
    with open_session() as services:
        collection = find_collection(services, name)
        one, other = (
            services.database.query(get_experiment, collection, each) for each in (before, after)
        )
    compared = compare_experiments(one, other)
    if as_json:
        print_json(diff_json(compared))
        return
    for title, differences in (
        ("environment", compared.environment),
        ("data", compared.data),
        ("setup", compared.setup),
    ):
        if differences:
            click.echo(click.style(f"Another {title}:", bold=True))
            print_table(("", "before", "after"), [(d.name, d.before, d.after) for d in differences])
            click.echo()
    if not compared.measurements:
        note("Nothing was measured in both.")
    else:
        print_table(
            ("setting", "recall before", "after", "p50 before", "after", "p95 after / before"),
            [
                (
                    each.label,
                    format_percent(each.before.recall.mean.value),
                    format_percent(each.after.recall.mean.value)
                    + (" *" if each.recall_apart else ""),
                    format_ms(each.before.latency.p50_ms),
                    format_ms(each.after.latency.p50_ms),
                    round(each.p95_ratio, 2),
                )
                for each in compared.measurements
            ],
        )
        if any(each.recall_apart for each in compared.measurements):
            click.echo("* the 95 % intervals do not meet")
    for when, texts in (("before", compared.only_before), ("after", compared.only_after)):
        if texts:
            click.echo(f"Only {when}: {', '.join(texts)}.")
    click.echo(f"Before: {one_line(compared.recommendation.before)}")
    click.echo(f"After: {one_line(compared.recommendation.after)}")


@lab.command()
@click.argument("experiment", required=False)
@collection_option
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="By default it is printed.",
)
@click.option(
    "--as",
    "form",
    type=click.Choice(_FORMATS),
    help="By default what FILE's ending says, else json. html is one page that needs nothing else; "
    "sql, sqlalchemy, migration and query are those of the recommended index.",
)
@click.option("--with-queries", is_flag=True, help="json: recall and latency of each query too.")
@click.option("--overwrite", is_flag=True, help="Replace FILE where it is there already.")
def export(
    experiment: str | None,
    name: str,
    out: Path | None,
    form: str | None,
    with_queries: bool,
    overwrite: bool,
) -> None:
    """Write an experiment, or the index that it recommends, to a file.

    \b
    Examples:
      python -m lib lab export --collection Films --out films.html
      python -m lib lab export --collection Films --as migration --out versions/add_index.py
    """
    if out is not None and out.exists() and not overwrite:
        raise AlreadyExists(
            f"{out} is there already.", hint="Take another name, or give --overwrite.", field="out"
        )
    ending = "" if out is None else out.suffix.lower()
    if form is None and ending and ending not in _ENDINGS:
        raise InvalidInput(
            f"{ending} is no ending of an export.",
            hint=f"Take {', '.join(_ENDINGS)}, or say --as.",
            field="out",
        )
    form = form or _ENDINGS.get(ending, "json")
    collection, found = _find(name, experiment)
    if form == "json":
        if out is None:
            print_json(experiment_json(found, collection.name, with_queries=with_queries))
            return
        written = experiment_json_file(found, collection.name, with_queries=with_queries)
    elif form == "csv":
        written = experiment_csv(found)
    elif form == "html":
        written = experiment_page(found, collection.name).encode()
    else:
        written = _index_text(collection, found, form).encode()
    if out is None:
        click.echo(written.decode("utf-8-sig"), nl=False)
    else:
        out.write_bytes(written)
        note(f"Wrote {out}.")


def _index_text(collection: Collection, experiment: Experiment, form: str) -> str:
    recommendation = recommend(experiment)
    if recommendation is None:
        raise NotFound(
            f"“{experiment.name}” recommends nothing: it had no target, or did not get as far.",
            hint="Run it with a target.",
        )
    artifacts = index_artifacts(collection, experiment, recommendation)
    for each in artifacts.notes:
        note(each)
    return {
        "sql": artifacts.sql,
        "sqlalchemy": artifacts.sqlalchemy,
        "migration": artifacts.migration,
        "query": artifacts.query,
    }[form]


@lab.command()
@click.argument("experiment")
@collection_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def drop(experiment: str, name: str, yes: bool, as_json: bool) -> None:
    """Drop an experiment, by its name or id. Asks first. Its candidates stay."""
    with open_session() as services:
        collection = find_collection(services, name)
        found = services.database.query(get_experiment, collection, experiment)
        if not yes:
            confirm(f"Drop the experiment “{found.name}” with its measurements?")
        services.database.query(delete_experiment, found)
    if as_json:
        print_json({"collection": collection.name, "dropped": found.name})
    else:
        click.echo(f"Dropped “{one_line(found.name)}”. Its candidates stay: see candidates list.")


def _find(name: str, experiment: str | None) -> tuple[Collection, Experiment]:
    with open_session() as services:
        collection = find_collection(services, name)
        return collection, services.database.query(get_experiment, collection, experiment)
