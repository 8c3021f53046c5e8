"""Checks of configuration values, with a message in the project's one form."""

from __future__ import annotations

import math
from datetime import date

from wardround_common.errors import ConfigError


def require(condition: bool, key: str, got: object, expected: str) -> None:
    """Raises ConfigError in the project's form unless ``condition`` holds."""
    if not condition:
        raise ConfigError(f"{key}: got {got!r}, expected {expected}")


def require_date(key: str, text: str) -> None:
    """Raises ConfigError unless ``text`` is a day as YYYY-MM-DD."""
    try:
        fits = date.fromisoformat(text).isoformat() == text
    except ValueError:
        fits = False
    require(fits, key, text, "a date as YYYY-MM-DD")


def require_range(
    key: str,
    found: tuple[float, float] | None,
    *,
    least: float = -math.inf,
    largest: float = math.inf,
) -> None:
    """Raises ConfigError unless ``found`` is None or an ordered pair within the bounds."""
    fits = found is None or least <= found[0] <= found[1] <= largest
    bounds = f" within {least:g} to {largest:g}" if math.isfinite(least) else ""
    require(fits, key, found, f"two numbers, the smaller first{bounds}")
