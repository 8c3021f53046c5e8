from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from wardround_client.pixels.decode import decode_frames
from wardround_client.quarantine import Reason
from wardround_sim.bench.fuzz import Sizes, fuzz
from wardround_sim.bench.fuzzing import damaged, judge
from wardround_sim.bench.radiographs import write_radiographs


@pytest.mark.slow
def test_damaged_real_files_are_read_right_or_refused(shared_data: Path, tmp_path: Path) -> None:
    sizes = Sizes(files=150, seed=7, corpus=str(shared_data / "dicom_corpus"))
    found = fuzz(tmp_path, sizes)
    assert len(found.outcomes) == 150
    assert [d for d, outcome in found.outcomes.items() if outcome.verdict == "wrong"] == []
    refused = {outcome.what for outcome in found.outcomes.values() if not outcome.verdict}
    assert refused <= {reason.value for reason in Reason} - {Reason.READ_FAILED.value}
    assert sum(outcome.verdict == "right" for outcome in found.outcomes.values()) > 20
    assert (found.open_files, found.processes) == (0, 0)
    assert list((tmp_path / "damaged").iterdir()) == []


def test_damage_depends_on_seed_and_number_alone() -> None:
    content = bytes(10_000)
    assert damaged(content, 1, 2) == damaged(content, 1, 2) != damaged(content, 1, 3)
    assert 1 <= sum(byte != 0 for byte in damaged(content, 1, 2)) <= 8


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
def test_the_judge_sees_a_single_wrong_value(tmp_path: Path, syntax: UID) -> None:
    ((path, uid),) = write_radiographs(tmp_path / "files", 1, syntax)
    found = decode_frames(path, sop_instance_uid=uid)
    assert judge(found, path.read_bytes(), path) == "right"
    wrong = found.values.copy()
    wrong[0, 100, 100] ^= 1
    assert judge(replace(found, values=wrong), path.read_bytes(), path) == "wrong"
