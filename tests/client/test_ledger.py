"""A site's durable facts: the last save holds, a cut-off one never counts, damage stops the run."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from wardround_client import ledger as module
from wardround_client.ledger import FileLedger
from wardround_common.errors import StateError
from wardround_common.secagg.records import Facts

RUN = b"r" * 16


def _facts(number: int) -> Facts:
    return Facts(round=number, signed_round=number, signed_sites=("oak", "yew"))


def test_a_new_run_has_no_facts(tmp_path: Path) -> None:
    assert FileLedger(tmp_path).load(RUN) == Facts()


def test_the_last_of_many_saves_holds_for_each_run(tmp_path: Path) -> None:
    for number in range(1, 6):
        FileLedger(tmp_path).save(RUN, _facts(number))
        FileLedger(tmp_path).save(b"s" * 16, _facts(10 * number))
    assert FileLedger(tmp_path).load(RUN) == _facts(5)
    assert FileLedger(tmp_path).load(b"s" * 16) == _facts(50)


def test_a_save_that_was_cut_off_anywhere_never_counts_and_the_next_one_does(
    tmp_path: Path,
) -> None:
    ledger = FileLedger(tmp_path)
    ledger.save(RUN, _facts(1))
    (path,) = tmp_path.iterdir()
    before = path.read_bytes()
    ledger.save(RUN, _facts(2))
    after = path.read_bytes()
    for size in range(len(before), len(after)):
        path.write_bytes(after[:size])
        assert ledger.load(RUN) == _facts(1)
        ledger.save(RUN, _facts(3))
        assert ledger.load(RUN) == _facts(3)


def test_any_changed_byte_of_a_whole_record_stops_the_run(tmp_path: Path) -> None:
    ledger = FileLedger(tmp_path)
    for number in (1, 2, 3):
        ledger.save(RUN, _facts(number))
    (path,) = tmp_path.iterdir()
    good = path.read_bytes()
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(StateError, match="damaged"):
            ledger.load(RUN)


def test_a_tail_of_zeros_is_damage(tmp_path: Path) -> None:
    ledger = FileLedger(tmp_path)
    ledger.save(RUN, _facts(1))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes() + bytes(12))
    with pytest.raises(StateError, match="damaged"):
        ledger.load(RUN)


def test_an_emptied_file_is_damage_and_not_a_new_run(tmp_path: Path) -> None:
    ledger = FileLedger(tmp_path)
    ledger.save(RUN, _facts(1))
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"")
    with pytest.raises(StateError, match="damaged"):
        ledger.load(RUN)


def test_the_file_is_flushed_before_a_save_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, flushed = FileLedger(tmp_path), list[int]()
    ledger.save(RUN, _facts(1))
    monkeypatch.setattr(module.os, "fsync", flushed.append)
    ledger.save(RUN, _facts(2))
    assert len(flushed) == 1


def test_the_file_is_private_and_stays_small(tmp_path: Path) -> None:
    ledger = FileLedger(tmp_path / "ledger")
    ledger.save(RUN, _facts(1))
    (path,) = (tmp_path / "ledger").iterdir()
    with path.open("ab") as file:
        while os.fstat(file.fileno()).st_size <= 1 << 16:
            file.write(module._record(_facts(2)))
            file.flush()
    ledger.save(RUN, _facts(3))
    assert path.stat().st_size < 1000
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ledger.load(RUN) == _facts(3)
