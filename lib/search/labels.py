"""Labels: what each setting of a search, and each of its values, is called on pages, in charts and
in the terminal.

One table for each thing, so that one thing has one name everywhere. An index's build options and
its search parameter are labelled by its method (:mod:`lib.vectors.index_methods`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lib.search.request import Mode
from lib.vectors.hybrid import Fusion
from lib.vectors.index_methods import IterativeScan
from lib.vectors.statements import TextMethod, TextQuery
from lib.vectors.tuning import Scan


@dataclass(frozen=True, slots=True)
class Label:
    """How a setting or one of its values is called."""

    name: str
    technical: str = ""
    """The name in formulas, in PostgreSQL or in the literature, where there is one."""
    help: str = ""
    """What it means, as a sentence or two of Markdown."""

    def __str__(self) -> str:
        """Such as “Term saturation (k1)”."""
        return f"{self.name} ({self.technical})" if self.technical else self.name

    @property
    def short(self) -> str:
        """Where there is little room, or the reader knows the field: “ts_rank”."""
        return self.technical or self.name


# --- settings -----------------------------------------------------------------------------------

MODE_LABEL = Label("Search by")
LIMIT_LABEL = Label("Results", "k", "The most documents to show.")
VECTOR_WEIGHT_LABEL = Label(
    "Vector weight",
    help="The weight of the vectors in a hybrid: 0 ranks by keywords alone, 1 by vectors alone.",
)
FUSION_LABEL = Label("Fusion")
POOL_LABEL = Label(
    "Candidates of each side",
    "pool",
    "The best of each side that are then fused. More finds more that both sides rank high, and "
    "takes longer.",
)
DISTANCE_THRESHOLD_LABEL = Label(
    "Distance threshold", help="Leaves out what is farther from the question than a distance."
)
MAX_DISTANCE_LABEL = Label("Farthest distance")
CATEGORY_LABEL = Label(
    "Category", help="Only documents of one category; in brackets how many there are."
)
FILTERS_LABEL = Label("Filters")
TEXT_QUERY_LABEL = Label("Keyword matching")
TEXT_METHOD_LABEL = Label("Keyword ranking")
K1_LABEL = Label(
    "Term saturation",
    "k1",
    "How soon more of the same word stops counting. 0: once is as good as ten times.",
)
B_LABEL = Label(
    "Length normalisation",
    "b",
    "How much long documents are held back. 0: length does not matter. 1: a word in a text twice "
    "as long counts half.",
)
SCAN_LABEL = Label("Index use", "scan")
ITERATIVE_SCAN_LABEL = Label(
    "Iterative scan",
    help="An index finds first and filters then. Without an iterative scan, a filtered search may "
    "come back with fewer documents than there are.",
)

# --- their values -------------------------------------------------------------------------------

MODES: Mapping[Mode, Label] = {
    Mode.SIMILARITY: Label(
        "Semantic",
        help="by vectors: documents whose embedding is nearest to the question's, whatever their "
        "words.",
    ),
    Mode.TEXT: Label(
        "Keyword",
        help="by full text: documents that have the words of the question, in any of their forms.",
    ),
    Mode.HYBRID: Label("Hybrid", help="the best of the two, fused."),
}

FUSIONS: Mapping[Fusion, Label] = {
    Fusion.WEIGHTED: Label(
        "Weighted sum",
        help="each side's values are scaled to 0–1 over what was fetched, then added by weight.",
    ),
    Fusion.RRF: Label(
        "Reciprocal rank",
        "RRF",
        "1 / (60 + rank) of each side, added by weight; the values themselves do not count.",
    ),
    Fusion.RAW: Label(
        "Raw sum",
        "textbook",
        "weight · similarity + (1 − weight) · ts_rank, only documents with the words. Its two "
        "scales are not comparable, so the weight does little until it is near 1.",
    ),
}

TEXT_METHODS: Mapping[TextMethod, Label] = {
    TextMethod.TS_RANK: Label(
        "PostgreSQL rank",
        "ts_rank",
        "sums the weights of the words that occur; knows nothing of how rare they are.",
    ),
    TextMethod.TS_RANK_CD: Label(
        "Cover density", "ts_rank_cd", "how near each other the words stand."
    ),
    TextMethod.BM25: Label(
        "BM25",
        help="Σ idf · tf · (k1 + 1) / (tf + k1 · (1 − b + b · length / average)). Rare words count "
        "more, long documents less. Best for questions; it needs the collection's BM25 index, "
        "built on the Collections page.",
    ),
}

TEXT_QUERIES: Mapping[TextQuery, Label] = {
    TextQuery.WEB: Label(
        "Web style",
        "quotes, OR, minus",
        'like a web search: "exact phrase", OR, -without; all other words must occur.',
    ),
    TextQuery.PLAIN: Label(
        "All words", help="every word must occur. Strict: questions rarely find anything."
    ),
    TextQuery.ANY: Label(
        "Any word", help="at least one word must occur; more and rarer words rank higher."
    ),
}

SCANS: Mapping[Scan, Label] = {
    Scan.AUTO: Label(
        "PostgreSQL decides",
        help="on a small collection it prefers to compare every document.",
    ),
    Scan.INDEX: Label("Own index", help="shows what the index would find even so."),
    Scan.EXACT: Label("Exact", "compare all", "compares every document, and misses nothing."),
}

ITERATIVE_SCANS: Mapping[IterativeScan, Label] = {
    IterativeScan.STRICT: Label("Strict order", help="goes on, each row in its place."),
    IterativeScan.RELAXED: Label(
        "Relaxed order", help="goes on, a later row may be nearer than one before it."
    ),
    IterativeScan.OFF: Label("Off", help="ends with what the first scan brought."),
}
