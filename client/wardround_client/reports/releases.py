"""The site's own list of the forms that it made for release, so that no two differ by few patients.

Threat stopped: whoever holds two forms of one site subtracts them and reads what the few patients
are who came or went. Not stopped: combinations of three forms and more; two studies of the same
patients, whose forms differ by their labels; a list that somebody deletes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wardround_client.reports.page import write_private
from wardround_common.errors import PolicyError, StateError
from wardround_common.study import canonical_json

RELEASES_FILE = "releases.json"


def record_release(path: Path, form: dict[str, Any], patients: AbstractSet[str]) -> None:
    """Checks a form against the earlier ones and adds it to the list, before it is written.

    Args:
        path: The list; it stays at the site, for its owner alone.
        form: What may leave.
        patients: Pseudonyms of all patients whom the form counts.

    Raises:
        PolicyError: Its patients differ from an earlier form's by some, and by fewer than the
            least number; or the same patients of the same study now give another form.
        StateError: The list is damaged.
    """
    entry = {
        "study_sha256": form["study_sha256"],
        "day": datetime.now(UTC).date().isoformat(),
        "minimum_count": form["minimum_count"],
        "form_sha256": hashlib.sha256(canonical_json(form)).hexdigest(),
        "patients": sorted(patients),
    }
    earlier = _read(path)
    for old in earlier:
        _require_apart(form["site"], old, entry)
    known = ("study_sha256", "form_sha256", "patients")
    if not any(all(old[key] == entry[key] for key in known) for old in earlier):
        write_private(path, json.dumps({"releases": [*earlier, entry]}, indent=1) + "\n")


def _require_apart(site: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    k = max(old["minimum_count"], new["minimum_count"])
    different = len(set(old["patients"]) ^ set(new["patients"]))
    if 0 < different < k:
        raise PolicyError(
            f"site {site}: got patients who differ from those of a form of {old['day']} by fewer "
            f"than {k}; the two forms' difference would tell of them: wait for more patients"
        )
    changed = old["form_sha256"] != new["form_sha256"]
    if not different and changed and old["study_sha256"] == new["study_sha256"]:
        raise PolicyError(
            f"site {site}: got another form of the same patients as on {old['day']}; the two "
            "forms' difference would tell of few of them: hand out the earlier one, or wait for "
            "more patients"
        )


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        found = json.loads(path.read_bytes())["releases"]
        return [
            {
                "study_sha256": str(one["study_sha256"]),
                "day": str(one["day"]),
                "minimum_count": int(one["minimum_count"]),
                "form_sha256": str(one["form_sha256"]),
                "patients": [str(name) for name in one["patients"]],
            }
            for one in found
        ]
    except (OSError, ValueError, KeyError, TypeError):
        raise StateError(f"{path}: is damaged; restore it from a backup") from None
