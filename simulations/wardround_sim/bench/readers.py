"""How other libraries read a folder of slices as one volume: their array, their affine."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import SimpleITK
from monai.data.image_reader import ITKReader, PydicomReader
from numpy.typing import NDArray

_ITK: Any = SimpleITK  # half of it is typed
Affine = NDArray[np.float64]
ReadVolume = Callable[[Path], tuple[NDArray[Any], Affine]]
"""Array of any axes, and the affine from its indices to mm in the patient's system (LPS)."""


def _monai(make_reader: Callable[..., Any]) -> ReadVolume:
    def read(folder: Path) -> tuple[NDArray[Any], Affine]:
        reader = make_reader(affine_lps_to_ras=False)
        array, meta = reader.get_data(reader.read(str(folder)))
        return np.asarray(array), np.asarray(meta["affine"])

    return read


def _simpleitk(folder: Path) -> tuple[NDArray[Any], Affine]:
    """Reads the series of most files, as SimpleITK's own example does with a single one."""
    series = _ITK.ImageSeriesReader
    names = [
        series.GetGDCMSeriesFileNames(str(folder), one)
        for one in series.GetGDCMSeriesIDs(str(folder))
    ]
    reader = series()
    reader.SetFileNames(max(names, key=len))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return _ITK.GetArrayFromImage(image).T, affine


def _highdicom(folder: Path) -> tuple[NDArray[Any], Affine]:
    files = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    volume = highdicom.get_volume_from_series(files)
    return np.asarray(volume.array), np.asarray(volume.affine)


def other_readers() -> dict[str, ReadVolume]:
    """The readers that are installed, by name."""
    _ITK.ProcessObject.SetGlobalWarningDisplay(False)
    readers: dict[str, ReadVolume] = {"MONAI PydicomReader": _monai(PydicomReader)}
    if importlib.util.find_spec("itk"):  # large, and no dependency of ours
        readers["MONAI ITKReader"] = _monai(ITKReader)
    return readers | {"SimpleITK": _simpleitk, "highdicom": _highdicom}
