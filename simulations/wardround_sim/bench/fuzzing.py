"""Damages DICOM files at random and judges what a site's reader makes of them.

A damaged file may be refused under any code. Where it is read, the values must be those that a
second, independent way of reading finds in the same bytes, or those of the file before. Imports
neither torch nor MONAI, as workers load it.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import JPEGLossless, JPEGLosslessSV1, RLELossless

from wardround_client.index.reader import quiet, read_header
from wardround_client.pixels.codecs import PLUGINS
from wardround_client.pixels.decode import StoredFrames, decode_file, decode_frames, rescaled_frames
from wardround_common.errors import DicomError
from wardround_common.intake_plan import Preprocessing

Verdict = Literal["right", "unchecked", "wrong", ""]
"""What was read is right, cannot be checked by a second reader, or is wrong; empty if refused."""

_HEADER_BYTES = 4096
_MOST_BYTES = 8
_LOSSY = frozenset({"1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.203"})
_LOSSY_DIFFERENCE = 8
"""Grey levels by which decoders of lossy syntaxes may differ."""
_RAW: dict[str, Any] = {"raw": True, "correct_unused_bits": False}
_OTHER_PLUGINS = ("gdcm", "pydicom", "pyjpegls", "pylibjpeg")


class Damage(NamedTuple):
    """One file to damage and to read."""

    path: Path
    seed: int
    number: int


class Outcome(NamedTuple):
    """What became of it."""

    what: str
    """``read``, or the code of the reason for refusing it."""
    verdict: Verdict


def damaged(content: bytes, seed: int, number: int) -> bytes:
    """Changes one to eight bytes, half of the time within the first few thousand."""
    generator = np.random.default_rng((seed, number))
    changed = bytearray(content)
    end = min(len(content), _HEADER_BYTES) if generator.random() < 0.5 else len(content)
    for place in generator.integers(0, end, generator.integers(1, _MOST_BYTES + 1)):
        changed[place] ^= int(generator.integers(1, 256))
    return bytes(changed)


def read_damaged(folder: Path, damage: Damage) -> Outcome:
    """Damages a copy in ``folder``, reads it as a site does, and checks what was read."""
    path = folder / f"{damage.number}.dcm"
    content = damaged(damage.path.read_bytes(), damage.seed, damage.number)
    path.write_bytes(content)
    try:
        found = _read(path)
    except DicomError as error:
        return Outcome(error.reason, "")
    finally:
        path.unlink()
    return Outcome("read", judge(found, content, damage.path))


def _read(path: Path) -> StoredFrames:
    header = read_header(path)
    found = decode_frames(path, sop_instance_uid=header.sop_instance_uid)
    decode_file(path, Preprocessing(), sop_instance_uid=header.sop_instance_uid)
    return found


def judge(found: StoredFrames, content: bytes, original: Path) -> Verdict:
    """Compares what was read from ``content`` with a second reading, else with the original."""
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            second = _second_reading(content)
        except Exception:  # the second reader may refuse in any way
            second = None
        if second is not None and _agree(found, *second):
            return "right"
        try:
            before = _read(original)
        except DicomError:
            before = None
    if before is not None and np.array_equal(before.values, found.values):
        return "right"
    return "unchecked" if second is None else "wrong"


def _second_reading(content: bytes) -> tuple[NDArray[np.int64], NDArray[np.float64] | None, str]:
    """Stored values and, where it is simple, rescaled values, by pydicom and plain arithmetic."""
    dataset = pydicom.dcmread(BytesIO(content), force=True)
    syntax = dataset.file_meta.TransferSyntaxUID
    decoder = get_decoder(syntax)
    options = dict(_RAW)
    if syntax in (JPEGLossless, JPEGLosslessSV1):
        array = _by_dcmtk(content)
    else:
        if syntax in PLUGINS:
            others = [p for p in _OTHER_PLUGINS if p in decoder.available_plugins]
            options["decoding_plugin"] = next(p for p in others if p != PLUGINS[syntax])
        array, _ = decoder.as_array(dataset, **options)
    values = _stored_values(array, dataset, packed=syntax not in PLUGINS or syntax == RLELossless)
    return values, _rescaled(values, dataset), str(syntax)


def _by_dcmtk(content: bytes) -> NDArray[Any]:
    """Decodes JPEG Lossless, for which Python has one decoder alone, by dcmtk's ``dcmdjpeg``."""
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "in", Path(name) / "out"
        source.write_bytes(content)
        command = [shutil.which("dcmdjpeg") or "dcmdjpeg", str(source), str(target)]
        subprocess.run(command, check=True, capture_output=True, timeout=10)  # noqa: S603
        dataset = pydicom.dcmread(target)
        decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
        array, _ = decoder.as_array(dataset, **_RAW)
    return array


def _stored_values(array: NDArray[Any], dataset: Dataset, *, packed: bool) -> NDArray[np.int64]:
    """Bits from HighBit downwards, as DICOM PS3.5 chapter 8 draws them, one by one the same."""
    stored, allocated = int(dataset.BitsStored), int(dataset.BitsAllocated)
    values = array.astype(np.int64)
    if packed:
        values = (values & ((1 << allocated) - 1)) >> (int(dataset.HighBit) + 1 - stored)
    values &= (1 << stored) - 1
    if dataset.PixelRepresentation == 1:
        values -= (values >> (stored - 1)) << stored
    return values


def _rescaled(values: NDArray[np.int64], dataset: Dataset) -> NDArray[np.float64] | None:
    complicated = ("ModalityLUTSequence", "SharedFunctionalGroupsSequence")
    if any(keyword in dataset for keyword in complicated):
        return None
    try:
        slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
        if slope is None or intercept is None:
            return values.astype(np.float64)
        return np.asarray(values * float(slope) + float(intercept), np.float64)
    except (TypeError, ValueError):
        return None  # no numbers; stored values are still compared


def _agree(
    found: StoredFrames,
    values: NDArray[np.int64],
    rescaled: NDArray[np.float64] | None,
    syntax: str,
) -> bool:
    if values.size != found.values.size:
        return False
    difference = np.abs(values.reshape(found.values.shape) - found.values)
    if int(difference.max()) > (_LOSSY_DIFFERENCE if syntax in _LOSSY else 0):
        return False
    if rescaled is None or syntax in _LOSSY:
        return True
    try:
        own = rescaled_frames(found).values
    except DicomError:
        return True  # refused in the end
    return bool(np.allclose(own, rescaled.reshape(own.shape), rtol=1e-5, atol=1e-5))
