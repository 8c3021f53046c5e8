from __future__ import annotations

import re

import pytest

from wardround_client.quarantine import Reason


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_stable_code_a_meaning_and_a_cure(reason: Reason) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", reason.value)
    assert reason.explanation.endswith(".") and "\n" not in reason.explanation
    assert reason.cure.endswith(".") and "\n" not in reason.cure
    assert Reason(reason.value) is reason
