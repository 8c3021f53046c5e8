"""How the pixels of one file are decoded and what they hold, in words; runs in a worker."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from wardround_client.index.reader import open_dataset, quiet, text_of
from wardround_client.pixels.codecs import PLUGINS
from wardround_client.pixels.decode import decode_frames, rescaled_frames
from wardround_client.pixels.layout import layout_of
from wardround_client.pixels.luts import voi_values
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError

_NATIVE = frozenset(
    {
        DeflatedExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
    }
)


class PixelTask(NamedTuple):
    """One file whose pixels are to be described."""

    path: Path
    sop_instance_uid: str


class PixelWords(NamedTuple):
    """What was found, and the reason why the pixels cannot be used, if so."""

    lines: tuple[str, ...]
    reason: Reason | None


def describe_pixels(task: PixelTask) -> PixelWords:
    """Decodes the middle frame step by step and says what each step found."""
    lines: list[str] = []
    try:
        with quiet(), np.errstate(all="ignore"):
            _describe(task, lines)
    except DicomError as error:
        return PixelWords(tuple(lines), Reason(error.reason))
    return PixelWords(tuple(lines), None)


def _describe(task: PixelTask, lines: list[str]) -> None:
    """Appends to ``lines`` what is found, up to the step that fails.

    Raises:
        DicomError: A step fails.
    """
    dataset = open_dataset(task.path)
    lines.append(f"decoder: {decoder_of(str(dataset.file_meta.TransferSyntaxUID))}")
    layout = layout_of(dataset)
    kind = "signed" if layout.signed else "unsigned"
    size = f"{layout.rows} x {layout.columns} pixels, {layout.bits_stored} of "
    lines.append(f"{size}{layout.bits_allocated} bits, {kind}, frames: {layout.frames}")
    del dataset
    frame = layout.frames // 2
    stored = decode_frames(task.path, sop_instance_uid=task.sop_instance_uid, frames=(frame,))
    low, high = int(stored.values.min()), int(stored.values.max())
    where = f" in frame {frame + 1}" if layout.frames > 1 else ""
    lines.append(f"decoded{where}: stored values {low} to {high}")
    padding = int((~stored.valid).sum())
    if padding:
        lines.append(f"{padding} pixels are padding and count nowhere")
    lines += _tables_of(stored.dataset)
    rescaled = rescaled_frames(stored)
    valid = rescaled.values[rescaled.valid]
    if not valid.size or float(valid.min()) == float(valid.max()):
        raise DicomError(Reason.CONSTANT)
    lines.append(f"values after rescale: {valid.min():.6g} to {valid.max():.6g}")
    voi_values(stored.dataset, rescaled.values[0])


def decoder_of(syntax: str) -> str:
    """Names the decoder that is pinned for a transfer syntax."""
    plugins = {str(uid): name for uid, name in PLUGINS.items()}
    if syntax in plugins:
        return f"{plugins[syntax]}, pinned for this transfer syntax"
    return "none needed, not compressed" if syntax in _NATIVE else "none is pinned"


def _tables_of(dataset: Dataset) -> list[str]:
    """Names what turns stored values into shown ones; sequences are only counted."""
    lines = []
    if dataset.get("ModalityLUTSequence"):
        lines.append("modality: LUT sequence, applied")
    elif dataset.get("RescaleSlope") is not None:
        lines.append("modality: rescale slope and intercept, applied")
    else:
        lines.append("modality: no rescale at this level of the header")
    if dataset.get("VOILUTSequence"):
        lines.append("shown values: VOI LUT sequence, applied to single images")
    elif dataset.get("WindowWidth") is not None:
        lines.append("shown values: window, applied to single images")
    else:
        lines.append("shown values: no VOI LUT and no window")
    inverse = text_of(dataset, "PhotometricInterpretation").upper() == "MONOCHROME1"
    lines.append(
        "polarity: MONOCHROME1, inverted once after the LUTs"
        if inverse
        else "polarity: MONOCHROME2, bright means high"
    )
    return lines
