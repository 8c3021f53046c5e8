"""What series planning hands on: which frames make which volume, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wardround_client.index.header import Instance
from wardround_client.quarantine import Reason
from wardround_client.volumes.geometry import Float

SINGLE_FRAME = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.128": "PT",
}
"""SOP classes of slices, with their modality."""
MULTI_FRAME = {
    "1.2.840.10008.5.1.4.1.1.2.1": "CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "CT",
    "1.2.840.10008.5.1.4.1.1.4.1": "MR",
    "1.2.840.10008.5.1.4.1.1.4.4": "MR",
    "1.2.840.10008.5.1.4.1.1.130": "PT",
    "1.2.840.10008.5.1.4.1.1.128.1": "PT",
}
"""SOP classes of enhanced and legacy converted images, with their modality."""


class FrameGeometry(NamedTuple):
    """Place and stack of one frame, texts as in the header; empty where absent.

    Single-frame instances have these elements in the header; enhanced ones in the functional
    groups, where `wardround_client.volumes.multiframe` reads them.
    """

    number: int
    """Counted from 1."""
    orientation: str
    position: str
    pixel_spacing: str
    image_type: str
    """ImageType, or FrameType of an enhanced frame."""
    kernel: str = ""
    stack_id: str = ""
    temporal_position: str = ""
    acquisition_number: str = ""
    acquisition_time: str = ""
    content_time: str = ""
    trigger_time: str = ""
    echo_time: str = ""
    echo_number: str = ""
    inversion_time: str = ""
    flip_angle: str = ""
    b_value: str = ""
    gradient: str = ""


class SliceRef(NamedTuple):
    """One slice of a volume: which frame of which instance."""

    instance: Instance
    frame: int
    """Counted from 1."""

    @property
    def path(self) -> bytes:
        """Path of the file below the archive's root."""
        return self.instance.path

    @property
    def sop_instance_uid(self) -> str:
        """SOPInstanceUID of the instance."""
        return self.instance.header.sop_instance_uid


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VolumePlan:
    """A volume as the headers describe it; nothing is decoded yet."""

    key: str
    """Stable identity: SeriesInstanceUID and a hash of the slices, in order."""
    slices: tuple[SliceRef, ...]
    """Slices along the normal of the first."""
    copies: tuple[tuple[int, SliceRef], ...] = ()
    """Frames at the place of another, with the other's place in ``slices``. Nothing in the
    header tells them apart, so their pixels must be equal; `read_volume` compares them."""
    kernel: str = ""
    """ConvolutionKernel, in capitals; of an enhanced image, what its frames say."""
    rows: int
    columns: int
    affine: Float
    """float64, shape (4, 4): (slice, row, column, 1) to mm, patient system (LPS)."""
    positions_mm: Float
    """float64, shape (slices, 3): true place of each slice's first voxel."""
    axes: Float
    """float64, shape (2, 3): unit vectors of growing row and growing column index."""
    spacing_mm: tuple[float, float, float]
    """Between slices (median), rows and columns."""
    flags: tuple[str, ...] = ()
    """As in `wardround_client.volumes.geometry.stack_planes`; ``split``: the series holds other
    volumes as well; ``frames-left-out``: some frames of an instance are in no volume."""

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The instances that hold the slices, each once, in order."""
        return tuple({ref.path: ref.instance for ref in self.slices}.values())

    @property
    def paths(self) -> tuple[bytes, ...]:
        """Paths of all files that have to be read, copies included; they share its fate."""
        copied = (ref for _, ref in self.copies)
        return tuple(dict.fromkeys(ref.path for ref in (*self.slices, *copied)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volume:
    """A decoded volume with its place in the patient."""

    values: NDArray[np.float32]
    """float32, shape (slices, rows, columns), after each slice's own rescale: Hounsfield units
    for CT, the header's Units for PET, stored or rescaled values for MR."""
    valid: NDArray[np.bool_]
    """bool, same shape; False where the stored value is padding. There, ``values`` mean nothing."""
    affine: Float
    positions_mm: Float
    axes: Float
    spacing_mm: tuple[float, float, float]
    flags: tuple[str, ...] = ()
    """These five as in `VolumePlan`."""
    digest: str = ""
    """xxh3 of values, padding and shape; equal for copies of one volume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedVolumes:
    """What became of some instances; each is in at least one volume or refused, never both."""

    volumes: tuple[VolumePlan, ...]
    refused: dict[bytes, Reason] = field(default_factory=dict)
    """Path of each instance that is in no volume, with the reason."""
