"""Secrets of the site's PACS, each in a file of its own.

Errors name the key and never its value: that may be a secret, written where its file belongs.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from wardround_common.errors import ConfigError

_MAXIMUM_BYTES = 1 << 16


def require_private(path: Path, key: str) -> None:
    """Raises ConfigError unless ``path`` is a file that only its owner may open."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        hint = "expected the path of a file that this account may read"
        raise ConfigError(f"{key}: its file cannot be opened, {hint}") from None
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
        mode = f"mode {stat.S_IMODE(status.st_mode):04o}"
        raise ConfigError(f"{key}: its file has {mode}, expected a file of mode 0600; chmod it")
    if status.st_uid != os.geteuid():
        raise ConfigError(
            f"{key}: its file belongs to another account, expected this one; chown it"
        )


def read_secret(path: Path, key: str) -> str:
    """The one line of a secret's file, without the line's end.

    Raises:
        ConfigError: The file is missing, open to others, empty, or holds more than one line.
    """
    require_private(path, key)
    try:
        with path.open("rb") as file:
            text = file.read(_MAXIMUM_BYTES).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{key}: its file cannot be read as UTF-8 text") from None
    if not text or not text.isprintable():
        raise ConfigError(f"{key}: its file is empty or has several lines, expected one")
    return text
