"""``search``: a question, its answers, and what they cost."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from lib.cli.compare import print_comparison
from lib.cli.index_options import pop_search_parameters, search_parameter_options
from lib.cli.output import json_option, note, one_line, print_json
from lib.cli.session import find_searchable, open_session
from lib.cli.trec_run import ask_query_file
from lib.errors import InvalidInput, NotFound
from lib.search.bm25 import BM25
from lib.search.diagnosis.report import Diagnosis, explain_search
from lib.search.example import Example, find_ids, parse_vector
from lib.search.export import request_to_json
from lib.search.filters import parse_filter
from lib.search.request import Mode, SearchRequest
from lib.search.snippets import make_snippet
from lib.services import Services
from lib.store.collections import Collection, list_collections
from lib.vectors.hybrid import Fusion
from lib.vectors.index_methods import IterativeScan
from lib.vectors.search import Hit, SearchResult
from lib.vectors.statements import TextMethod, TextQuery
from lib.vectors.tuning import Scan, SearchSettings

SNIPPET_CHARACTERS = 240
_DEFAULTS = SearchRequest("")
_ITERATIVE = {
    "off": IterativeScan.OFF,
    "strict": IterativeScan.STRICT,
    "relaxed": IterativeScan.RELAXED,
}


@click.command()
@click.argument("query", required=False)
@click.option("--collection", "name", help="May be left out where there is only one.")
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode]),
    help="Semantic (similarity), keyword (text) or hybrid; hybrid, unless the collection has no "
    "model.",
)
@click.option(
    "--limit",
    type=int,
    default=_DEFAULTS.limit,
    show_default=True,
    help="How many documents.",
)
@click.option(
    "--max-distance", type=float, help="Distance threshold: only documents nearer than this."
)
@click.option("--category", help="Only documents of this category.")
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Only documents whose metadata is such: FIELD=VALUE, FIELD=A,B (any of these), FIELD>=3, "
    "FIELD<=9, or FIELD (it is there). Give it again to narrow further.",
)
@click.option(
    "--vector-weight",
    type=float,
    default=_DEFAULTS.vector_weight,
    show_default=True,
    help="hybrid: 0 ranks by keywords alone, 1 by vectors alone.",
)
@click.option(
    "--fusion",
    type=click.Choice([fusion.value for fusion in Fusion]),
    default=Fusion.WEIGHTED.value,
    show_default=True,
    help="hybrid: how the two orders become one.",
)
@click.option(
    "--text-query",
    type=click.Choice([kind.value for kind in TextQuery]),
    help='web: quotes, OR and minus; plain: every word; any: at least one. By default "web", for '
    'a hybrid "any".',
)
@click.option(
    "--text-method",
    type=click.Choice([method.value for method in TextMethod]),
    default=_DEFAULTS.text_method.value,
    show_default=True,
    help="How documents with the words are ranked. bm25 needs its index: bm25 build.",
)
@click.option(
    "--k1",
    type=float,
    default=_DEFAULTS.bm25.k1,
    show_default=True,
    help="bm25: term saturation, how soon more of the same word stops counting.",
)
@click.option(
    "--b",
    type=float,
    default=_DEFAULTS.bm25.b,
    show_default=True,
    help="bm25: length normalisation, how much a long document is held back, 0 to 1.",
)
@click.option(
    "--pool",
    type=int,
    default=_DEFAULTS.pool,
    show_default=True,
    help="hybrid: how many documents each leg fetches.",
)
@click.option("--exact", is_flag=True, help="Compare every row: short for --scan exact.")
@click.option(
    "--scan",
    type=click.Choice([scan.value for scan in Scan]),
    help="Who decides whether the vector index is used: the planner (auto), or you.",
)
@search_parameter_options(
    int, lambda method: f"{method.label}: {method.search_parameter.label}. Uses the index."
)
@click.option(
    "--iterative-scan",
    type=click.Choice(list(_ITERATIVE)),
    help="Whether the index goes on where a filter left too few. By default it does, strictly.",
)
@click.option("--max-scan-tuples", type=int, help="HNSW: how many rows it goes on to at most.")
@click.option(
    "--candidate",
    "candidate_id",
    type=click.UUID,
    metavar="ID",
    help="Search through this candidate's index (candidates list), not the collection's own.",
)
@click.option(
    "--compare",
    "compares",
    is_flag=True,
    help="Ask the exact scan, an IVFFlat and an HNSW candidate, and show what the two missed.",
)
@click.option(
    "--like",
    multiple=True,
    metavar="ID",
    help="Instead of QUERY: more like this document. Give it again for the mean of several.",
)
@click.option("--unlike", multiple=True, metavar="ID", help="And less like this one.")
@click.option("--vector", metavar="JSON", help="Instead of QUERY: a vector, as [0.1, -0.2, …].")
@click.option(
    "--queries",
    "queries_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.jsonl",
    help='Instead of QUERY: a question a line, as {"_id": …, "text": …}. Needs --run-out.',
)
@click.option(
    "--run-out",
    "run_path",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Where to write the answers of --queries, as a TREC run.",
)
@click.option(
    "--explain", "explains", is_flag=True, help="Say which index answered, or why none did."
)
@click.option("--content", is_flag=True, help="With --json: the documents' texts and metadata too.")
@json_option
def search(
    query: str | None,
    name: str | None,
    mode: str | None,
    like: tuple[str, ...],
    unlike: tuple[str, ...],
    vector: str | None,
    queries_path: Path | None,
    run_path: Path | None,
    compares: bool,
    explains: bool,
    content: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Ask a collection a question, for more like an example, or a whole file of questions.

    On a small table the server compares every row even where there is an index, and rightly so;
    --probes and --ef-search make it take the index all the same. The plan in the result says what
    really answered.

    \b
    Examples:
      python -m lib search "parse a date from a string"
      python -m lib search "csv dialect" --mode text --category stdlib --limit 5
      python -m lib search "wait for tasks" --mode similarity --ef-search 100 --json
      python -m lib search "lost in space" --filter "year>=1990" --filter genre=drama,comedy
      python -m lib search "lost in space" --compare --probes 1
      python -m lib search --like orbit --unlike reef --collection Films
      python -m lib search --queries queries.jsonl --limit 100 --run-out answers.run
    """
    if (queries_path is None) != (run_path is None):
        raise InvalidInput("--queries and --run-out need each other.")
    by_example = bool(like or unlike or vector)
    if (query is not None) + (queries_path is not None) + by_example != 1:
        raise InvalidInput(
            "Give either a question, or an example (--like, --vector), or a file of questions "
            "(--queries).",
            field="query",
        )
    if by_example and (mode not in (None, Mode.SIMILARITY.value) or compares):
        raise InvalidInput(
            "An example is searched for by similarity, and cannot be compared.",
            hint="Leave --mode and --compare out.",
        )
    request = _request(query or "", Mode.SIMILARITY.value if by_example else mode, **options)
    with open_session() as services:
        collection = _collection(services, name)
        if mode is None and not by_example and not collection.has_model:
            (words,) = Mode.possible(has_model=False)
            request = replace(request, mode=words)
            note("The vectors of this collection came without a model: searching by keywords.")
        if queries_path is not None and run_path is not None:
            ask_query_file(services, collection, request, queries_path, run_path, as_json=as_json)
            return
        if compares:
            print_comparison(services, collection, request, as_json=as_json)
            return
        if by_example:
            result = _search_like(services, collection, request, like, unlike, vector)
        else:
            result = services.database.run(services.search.search(collection, request))
        diagnosis = None
        if explains:
            diagnosis = services.database.query(explain_search, collection, request, result)
    if as_json:
        document = result_json(result, collection, request, with_content=content)
        print_json(document if diagnosis is None else {**document, "diagnosis": _json(diagnosis)})
    else:
        _print_result(result, collection, request)
        if diagnosis is not None:
            _print_diagnosis(diagnosis)
    asks_for_index = request.settings.scan is Scan.INDEX
    if asks_for_index and result.plan is not None and result.plan.vector_index is None:
        note("No vector index took part, so --probes and --ef-search had no effect.")


def _search_like(
    services: Services,
    collection: Collection,
    request: SearchRequest,
    like: Sequence[str],
    unlike: Sequence[str],
    vector: str | None,
) -> SearchResult:
    example = Example(
        like=services.database.query(find_ids, collection, like),
        unlike=services.database.query(find_ids, collection, unlike),
        vector=None if vector is None else parse_vector(vector, collection),
    )
    return services.database.run(services.search.search_like(collection, example, request))


def _request(
    query: str,
    mode: str | None,
    *,
    fusion: str,
    text_query: str | None,
    text_method: str,
    k1: float,
    b: float,
    filters: Sequence[str],
    exact: bool,
    scan: str | None,
    iterative_scan: str | None,
    max_scan_tuples: int | None,
    **others: Any,
) -> SearchRequest:
    parameters = pop_search_parameters(others)
    asks_for_index = bool(parameters)
    if exact and scan not in (None, Scan.EXACT.value):
        raise InvalidInput(f"--exact and --scan {scan} contradict each other.")
    if exact and asks_for_index:
        raise InvalidInput(
            "--exact compares every row, so --probes and --ef-search mean nothing to it.",
            hint="Give either --exact or one of the two.",
        )
    return SearchRequest(
        query=query,
        mode=_DEFAULTS.mode if mode is None else Mode(mode),
        fusion=Fusion(fusion),
        text_query=None if text_query is None else TextQuery(text_query),
        text_method=TextMethod(text_method),
        bm25=BM25(k1, b),
        filters=tuple(map(parse_filter, filters)),
        settings=SearchSettings(
            parameters,
            iterative_scan=None if iterative_scan is None else _ITERATIVE[iterative_scan],
            max_scan_tuples=max_scan_tuples,
            scan=Scan(scan) if scan else _implied_scan(exact, asks_for_index),
        ),
        with_plan=True,
        **others,
    )


def _implied_scan(exact: bool, asks_for_index: bool) -> Scan:
    return Scan.EXACT if exact else Scan.INDEX if asks_for_index else Scan.AUTO


def _collection(services: Services, name: str | None) -> Collection:
    if name is not None:
        return find_searchable(services, name)
    found = services.database.query(list_collections)
    if not found:
        raise NotFound("There is no collection yet.", hint="Load one: python -m lib sample.")
    if len(found) > 1:
        names = ", ".join(f"“{collection.name}”" for collection in found[:10])
        raise InvalidInput("Which collection?", hint=f"Give --collection: {names}.")
    return found[0]


def result_json(
    result: SearchResult, collection: Collection, request: SearchRequest, *, with_content: bool
) -> dict[str, Any]:
    plan = result.plan
    return {
        "collection": collection.name,
        "query": request.query,
        "mode": request.mode,
        "request": request_to_json(request),
        "hits": [_hit_json(hit, with_content=with_content) for hit in result],
        "sql": result.sql,
        "settings": dict(result.settings),
        "plan": plan
        and {
            "index": plan.vector_index,
            "indexes": plan.indexes,
            "sequential": plan.sequential,
            "summary": plan.summary,
        },
        "milliseconds": {
            "embedding": None if result.embedding_ms is None else round(result.embedding_ms, 3),
            "database": round(result.database_ms, 3),
        },
        "matches": result.matches,
        "more_match": result.more_match,
        "truncated_because": result.truncated_because,
    }


def _hit_json(hit: Hit, *, with_content: bool) -> dict[str, Any]:
    document = hit.document
    found = {
        "id": document.id,
        "external_id": document.external_id,
        "title": document.title,
        "distance": hit.distance,
        "similarity": hit.similarity,
        "vector_rank": hit.vector_rank,
        "text_rank": hit.text_rank,
        "fused": hit.fused,
    }
    if with_content:
        found["part"] = document.part
        found["category"] = document.category
        found["content"] = document.content
        found["metadata"] = document.metadata
    return found


def _json(diagnosis: Diagnosis) -> dict[str, Any]:
    return {
        "answered_by": diagnosis.answered_by,
        "sentence": diagnosis.sentence,
        "checks": [asdict(check) for check in diagnosis.checks],
        "figures": asdict(diagnosis.figures),
    }


# --- for people ---------------------------------------------------------------------------------


def _print_result(result: SearchResult, collection: Collection, request: SearchRequest) -> None:
    columns = min(shutil.get_terminal_size().columns, 110)
    for position, hit in enumerate(result, start=1):
        document = hit.document
        title = one_line(document.label)
        category = f"  [{one_line(document.category)}]" if document.category else ""
        click.echo(f"{position:>3}  {click.style(title, bold=True)}{category}")
        click.echo(click.style(f"     {_figures(hit, request)}", dim=True))
        for line in textwrap.wrap(
            _passage(document.content, request.query, collection), columns - 5
        ):
            click.echo(f"     {line}")
        click.echo()
    if not result:
        click.echo("Nothing was found.")
    words = "" if result.matches is None else f" · {result.matches:,} documents match the keywords"
    if result.more_match:
        words = words.replace(" · ", " · at least ")
    took = f"database {result.database_ms:.1f} ms"
    if result.embedding_ms is not None:
        took = f"embedding {result.embedding_ms:.1f} ms, {took}"
    note(f"{len(result):,} of {result.asked:,}{words} · {took}")
    if result.plan is not None:
        note(result.plan.summary)
    if result.truncated_because:
        note(result.truncated_because)


def _print_diagnosis(diagnosis: Diagnosis) -> None:
    click.echo(diagnosis.sentence)
    for check in diagnosis.checks:
        if check.ok:
            click.echo(f"  ✓ {check.name.label}: {check.words}")
        elif check.ok is False:
            click.echo(f"  ✗ {check.words}\n    {check.fix}")
    figures = diagnosis.figures
    click.echo(
        f"  {figures.rows_visited:,} rows visited, {figures.rows_removed_by_filter:,} removed by "
        f"filters, {figures.buffers_hit:,} + {figures.buffers_read:,} pages of 8 kB from memory "
        f"and from beyond it, {figures.execution_ms:.1f} ms on the server."
    )


def _figures(hit: Hit, request: SearchRequest) -> str:
    parts = []
    if hit.fused is not None:
        parts.append(f"fused {hit.fused:.4f}")
    if hit.distance is not None and hit.similarity is not None:
        parts.append(f"distance {hit.distance:.4f}")
        parts.append(f"similarity {hit.similarity:.4f}")
    if request.mode is Mode.HYBRID:
        ranks = ((hit.vector_rank, "vectors"), (hit.text_rank, "keywords"))
        parts += [f"{name} {'–' if rank is None else f'#{rank}'}" for rank, name in ranks]
    elif hit.text_value is not None:
        parts.append(f"{request.text_method.value} {hit.text_value:.4f}")
    return "  ".join(parts)


def _passage(content: str, query: str, collection: Collection) -> str:
    snippet = make_snippet(
        content, query, language=collection.text_config, characters=SNIPPET_CHARACTERS
    )
    return (
        ("" if snippet.begins else "… ") + one_line(snippet.text) + ("" if snippet.ends else " …")
    )
