"""Tiny CT series of one patient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CT = "1.2.840.10008.5.1.4.1.1.2"
NewSeries = Callable[..., list[Path]]


@pytest.fixture
def new_series(hospital: Any, new_picture: Any, new_image: Any, save_image: Any) -> NewSeries:
    """Writes slices at some heights into the hospital's archive, ``tilt`` mm aside each mm."""

    def write(
        heights_mm: Sequence[float], *, number: int = 1, tilt: float = 0.0, **elements: Any
    ) -> list[Path]:
        paths = []
        for place, height_mm in enumerate(heights_mm):
            facts: dict[str, Any] = {
                "Modality": "CT",
                "SOPClassUID": CT,
                "SOPInstanceUID": f"2.25.4{number:03}{place:04}",
                "SeriesInstanceUID": f"2.25.5{number:03}",
                "FrameOfReferenceUID": f"2.25.6{number:03}",
                "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
                "ImagePositionPatient": [0, tilt * height_mm, height_mm],
                "PixelSpacing": [0.5, 0.5],
                "InstanceNumber": str(place + 1),
                "RescaleSlope": "1",
                "RescaleIntercept": "-1000",
            }
            pixels = new_picture(place)
            dataset = new_image(pixels.astype(np.uint16), number, **(facts | elements))
            name = f"series{number}/{place:04}.dcm"
            paths.append(save_image(dataset, hospital.archive / name))
        return paths

    return write
