"""The page model that all pages have: the services behind a page, and what every page asks of them.

A page's own model (``lib/ui/<page>/model.py``) derives from it. Models are the only modules of
``lib.ui`` that call services; a page's body and its views get the model.
"""

from __future__ import annotations

from collections.abc import Sequence

from lib.services import Services
from lib.store.collections import Collection, list_collections


class PageModel:
    """What a page shows and does. Made anew at each run of the page; what is to outlive a run is in
    the session cache under typed keys."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.database = services.database
        self.jobs = services.jobs

    def list_collections(self) -> Sequence[Collection]:
        return self.database.query(list_collections)
