"""How MONAI's users read images: the same steps as this project's, in MONAI's own words."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from monai.data.dataset import CacheDataset, PersistentDataset
from monai.data.image_reader import PydicomReader
from monai.data.utils import list_data_collate
from monai.transforms.compose import Compose
from monai.transforms.intensity.array import NormalizeIntensity
from monai.transforms.io.array import LoadImage
from monai.transforms.spatial.array import Resize
from monai.transforms.utility.array import EnsureChannelFirst
from numpy.typing import NDArray


def loading(shape: tuple[int, ...]) -> Any:
    """Reads and resizes one file."""
    return Compose([LoadImage(reader=PydicomReader(), image_only=True), *_shaped(shape)])


def loading_normalised(shape: tuple[int, ...]) -> Any:
    """Reads, resizes and standardises one file."""
    steps = [LoadImage(reader=PydicomReader(), image_only=True), *_shaped(shape)]
    return Compose([*steps, NormalizeIntensity()])


def cache_dataset(paths: Iterable[Path], transform: Any) -> Any:
    """Everything in memory."""
    with _unwarned():
        return CacheDataset(_names(paths), transform, num_workers=0, progress=False)


def persistent_dataset(paths: Iterable[Path], transform: Any, folder: Path) -> Any:
    """Everything as one file of a tensor each, written now."""
    with _unwarned():
        dataset = PersistentDataset(_names(paths), transform, folder)
        for index in range(len(dataset)):
            dataset[index]
    return dataset


def collated(dataset: Any, indices: NDArray[np.int64]) -> NDArray[np.float32]:
    """One batch as MONAI's DataLoader puts it together."""
    with _unwarned():
        batch = list_data_collate([dataset[int(index)] for index in indices])
    return np.asarray(batch, dtype=np.float32)


def _shaped(shape: tuple[int, ...]) -> list[Any]:
    return [EnsureChannelFirst(), Resize(shape)]


def _names(paths: Iterable[Path]) -> list[str]:
    return sorted(map(str, paths))


@contextmanager
def _unwarned() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
