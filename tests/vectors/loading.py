"""The two documents of vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent


def published() -> dict[str, Any]:
    """Vectors of RFCs and drafts, with their sources."""
    return dict(json.loads((FOLDER / "published.json").read_bytes()))


def ours() -> dict[str, Any]:
    """Vectors that make_vectors.py writes."""
    return dict(json.loads((FOLDER / "ours.json").read_bytes()))
