"""Vector search on PostgreSQL and pgvector: what this package offers the outside.

A :class:`VectorTable` says which table and columns to search; :func:`search_similar_documents`,
:func:`search_in_category`, :func:`search_with_threshold`, :func:`search_text` and
:func:`hybrid_search` search it; :func:`build_index` builds an index by a method of
:mod:`lib.vectors.index_methods`, whose registry is ``index_methods()`` there. The package knows
nothing of the application around it. A name is loaded when it is first asked for, so that
``lib.vectors.distance`` alone does not load all of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lib.vectors.build import BuildProgress as BuildProgress
    from lib.vectors.build import BuiltIndex as BuiltIndex
    from lib.vectors.build import build_index as build_index
    from lib.vectors.build import drop_index as drop_index
    from lib.vectors.catalog import IndexDescription as IndexDescription
    from lib.vectors.catalog import choose_index as choose_index
    from lib.vectors.catalog import list_indexes as list_indexes
    from lib.vectors.code import StatementCode as StatementCode
    from lib.vectors.code import statement_code as statement_code
    from lib.vectors.ddl import create_statement as create_statement
    from lib.vectors.ddl import index_name as index_name
    from lib.vectors.distance import Distance as Distance
    from lib.vectors.distance import ElementType as ElementType
    from lib.vectors.distance import FloatArray as FloatArray
    from lib.vectors.distance import IndexedAs as IndexedAs
    from lib.vectors.distance import Storage as Storage
    from lib.vectors.distance import check_embedding as check_embedding
    from lib.vectors.exact import ExactSearch as ExactSearch
    from lib.vectors.exact import Neighbours as Neighbours
    from lib.vectors.exact import exact_neighbours as exact_neighbours
    from lib.vectors.exact import exact_neighbours_in as exact_neighbours_in
    from lib.vectors.hybrid import Fusion as Fusion
    from lib.vectors.hybrid import HybridQuery as HybridQuery
    from lib.vectors.hybrid import hybrid_statement as hybrid_statement
    from lib.vectors.index_methods import HNSW as HNSW
    from lib.vectors.index_methods import IVFFLAT as IVFFLAT
    from lib.vectors.index_methods import BuildOption as BuildOption
    from lib.vectors.index_methods import IndexMethod as IndexMethod
    from lib.vectors.index_methods import IndexSpec as IndexSpec
    from lib.vectors.index_methods import IterativeScan as IterativeScan
    from lib.vectors.index_methods import SearchParameterSpec as SearchParameterSpec
    from lib.vectors.index_methods import get_method as get_method
    from lib.vectors.index_methods import parse_spec_text as parse_spec_text
    from lib.vectors.index_methods import recommended_method as recommended_method
    from lib.vectors.index_methods import registered as registered
    from lib.vectors.migration import index_migration as index_migration
    from lib.vectors.migration import migration_text as migration_text
    from lib.vectors.plans import Certificate as Certificate
    from lib.vectors.plans import Plan as Plan
    from lib.vectors.plans import explain as explain
    from lib.vectors.recall import missed_neighbours as missed_neighbours
    from lib.vectors.recall import recall_by_distance as recall_by_distance
    from lib.vectors.search import Document as Document
    from lib.vectors.search import Hit as Hit
    from lib.vectors.search import SearchResult as SearchResult
    from lib.vectors.search import hybrid_search as hybrid_search
    from lib.vectors.search import search_in_category as search_in_category
    from lib.vectors.search import search_similar_documents as search_similar_documents
    from lib.vectors.search import search_text as search_text
    from lib.vectors.search import search_with_threshold as search_with_threshold
    from lib.vectors.statements import AccessPath as AccessPath
    from lib.vectors.statements import TextMethod as TextMethod
    from lib.vectors.statements import TextQuery as TextQuery
    from lib.vectors.statements import nearest_statement as nearest_statement
    from lib.vectors.statements import text_statement as text_statement
    from lib.vectors.statements import threshold_statement as threshold_statement
    from lib.vectors.stream import stream_vectors as stream_vectors
    from lib.vectors.table import VectorTable as VectorTable
    from lib.vectors.tuning import BuildSettings as BuildSettings
    from lib.vectors.tuning import Scan as Scan
    from lib.vectors.tuning import SearchSettings as SearchSettings
    from lib.vectors.tuning import apply_settings as apply_settings

_NAMES = {
    "build": (
        "BuildProgress",
        "BuiltIndex",
        "build_index",
        "drop_index",
    ),
    "catalog": (
        "IndexDescription",
        "choose_index",
        "list_indexes",
    ),
    "code": (
        "StatementCode",
        "statement_code",
    ),
    "ddl": (
        "create_statement",
        "index_name",
    ),
    "distance": (
        "Distance",
        "ElementType",
        "FloatArray",
        "IndexedAs",
        "Storage",
        "check_embedding",
    ),
    "exact": (
        "ExactSearch",
        "Neighbours",
        "exact_neighbours",
        "exact_neighbours_in",
    ),
    "hybrid": (
        "Fusion",
        "HybridQuery",
        "hybrid_statement",
    ),
    "index_methods": (
        "HNSW",
        "IVFFLAT",
        "BuildOption",
        "IndexMethod",
        "IndexSpec",
        "IterativeScan",
        "SearchParameterSpec",
        "get_method",
        "parse_spec_text",
        "recommended_method",
        "registered",
    ),
    "migration": (
        "index_migration",
        "migration_text",
    ),
    "plans": (
        "Certificate",
        "Plan",
        "explain",
    ),
    "recall": (
        "missed_neighbours",
        "recall_by_distance",
    ),
    "search": (
        "Document",
        "Hit",
        "SearchResult",
        "hybrid_search",
        "search_in_category",
        "search_similar_documents",
        "search_text",
        "search_with_threshold",
    ),
    "statements": (
        "AccessPath",
        "TextMethod",
        "TextQuery",
        "nearest_statement",
        "text_statement",
        "threshold_statement",
    ),
    "stream": ("stream_vectors",),
    "table": ("VectorTable",),
    "tuning": (
        "BuildSettings",
        "Scan",
        "SearchSettings",
        "apply_settings",
    ),
}
"""Module → the names that it offers."""
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"lib.vectors has no name {name}")
    return getattr(import_module(f"lib.vectors.{_MODULE_OF[name]}"), name)
