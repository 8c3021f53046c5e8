"""Traps of files: what lies among the slices and is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pydicom.uid import MediaStorageDirectoryStorage

from wardround_client.quarantine import Reason
from wardround_sim.traps.case import Case, Make
from wardround_sim.traps.geometry import stack
from wardround_sim.traps.phantom import AXIAL, CT, along_normal, make_slice, write

_REPORT = "1.2.840.10008.5.1.4.1.1.88.33"


def _beside(add: Callable[[Path], None]) -> Make:
    """A complete stack, and one more file."""

    def make(folder: Path, axis: int) -> None:
        for number, dataset in enumerate(stack(axis)):
            write(dataset, folder / f"{number:03}.dcm")
        add(folder / "zzz")

    return make


def _text(path: Path) -> None:
    path.write_text("root:x:0:0:root:/root:/bin/sh\n" * 20)


def _empty(path: Path) -> None:
    path.touch()


def _only_prefix(path: Path) -> None:
    path.write_bytes(bytes(128) + b"DICM")


def _directory(path: Path) -> None:
    dataset = make_slice(90, along_normal(AXIAL, 1.0)[0], 0, PixelData=None)
    dataset.SOPClassUID = MediaStorageDirectoryStorage
    write(dataset, path)


def _report(path: Path) -> None:
    dataset = make_slice(91, along_normal(AXIAL, 1.0)[0], 0, PixelData=None)
    dataset.SOPClassUID, dataset.Modality = _REPORT, "SR"
    write(dataset, path)


def _nameless(path: Path) -> None:
    write(make_slice(92, along_normal(AXIAL, 1.0)[0], 0, SOPInstanceUID=None), path)


def _half_a_header(path: Path) -> None:
    write(make_slice(93, along_normal(AXIAL, 1.0)[0], 0), path)
    path.write_bytes(path.read_bytes()[:420])


def _another_series(path: Path) -> None:
    write(make_slice(94, along_normal(AXIAL, 2.5)[5], 0, series=3, kind=CT), path)


def _case(name: str, add: Callable[[Path], None], refused: Mapping[Reason, int]) -> Case:
    return Case(name=name, make=_beside(add), volumes=(12,), refused=refused)


CASES = (
    _case("text file beside", _text, {Reason.NOT_DICOM: 1}),
    _case("empty file beside", _empty, {Reason.NOT_DICOM: 1}),
    _case("preamble and nothing else", _only_prefix, {Reason.NO_IDENTITY: 1}),
    _case("DICOMDIR beside", _directory, {Reason.DICOMDIR: 1}),
    _case("report in the series", _report, {Reason.NOT_A_VOLUME: 1}),
    _case("instance without SOPInstanceUID", _nameless, {Reason.NO_IDENTITY: 1}),
    _case("file that ends within its header", _half_a_header, {Reason.NO_IDENTITY: 1}),
    _case("single slice of another series", _another_series, {Reason.TOO_FEW_SLICES: 1}),
)
