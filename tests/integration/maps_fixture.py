"""Where tests that build maps keep what numba compiled, for the next test and the next run."""

from __future__ import annotations

import getpass
import tempfile
from pathlib import Path


def compiled_home() -> str:
    """For VECSCOPE_HOME; one a user, since another's cannot be written to."""
    return str(Path(tempfile.gettempdir()) / f"vecscope-test-home-{getpass.getuser()}")
