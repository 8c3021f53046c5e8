"""Logs: the standard library's logging, one JSON object a line.

Only named fields are written, never a message built from data: no tag values, no paths below an
archive, no keys, no array contents.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path

_FIELDS = (
    "site",
    "run",
    "round",
    "attempt",
    "leg",
    "seconds",
    "sent_bytes",
    "received_bytes",
    "error",
    "reason",
    "loss",
    "examples",
)


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object of known fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, event and those known fields that are set."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": moment, "level": record.levelname.lower(), "event": record.getMessage()}
        known = {name: record.__dict__[name] for name in _FIELDS if name in record.__dict__}
        return json.dumps(line | known)


class _PrivateFile(logging.FileHandler):
    """A log file that only its owner may read."""

    def _open(self) -> TextIOWrapper:
        handle = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return TextIOWrapper(os.fdopen(handle, "ab"), encoding=self.encoding)


def open_log(name: str, path: Path) -> logging.Logger:
    """The logger ``wardround.<name>``, writing to ``path`` and nowhere else."""
    logger = logging.getLogger(f"wardround.{name}")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for old in list(logger.handlers):
        logger.removeHandler(old)
        old.close()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = _PrivateFile(path, delay=True, encoding="utf-8")
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    return logger
