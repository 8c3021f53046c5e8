from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from wardround_client.archive.files import ArchiveFile
from wardround_client.cache import CachedPixels, CacheEntry, CacheKey, PixelCache, open_pixel_cache
from wardround_client.index.header import Header, Instance
from wardround_client.pixels.decode import DecodedImage
from wardround_client.pixels.radiograph import SCALE
from wardround_client.quarantine import Reason
from wardround_common.errors import StateError

SHAPE = (3, 4)


def _key(name: str, size: int = 1, mtime: int = 1) -> CacheKey:
    return CacheKey(name=name.encode(), facts=f"{size} {mtime}")


def _image(value: int) -> DecodedImage:
    return DecodedImage(pixels=np.full(SHAPE, value, np.int16), digest=f"{value}")


def _values(cache: PixelCache, *names: str) -> list[float]:
    """First pixel of each image, as stored."""
    entries = entries_of(cache, [_key(name) for name in names])
    rows = np.array([entries[name.encode()].row for name in names], np.int64)
    images = CachedPixels(cache.pixels_path, SHAPE).gather(rows)
    return [float(value) * SCALE for value in images[:, 0, 0, 0]]


def entries_of(cache: PixelCache, keys: Iterable[CacheKey]) -> dict[bytes, CacheEntry]:
    """What the cache knows, by name."""
    found = ((key.name, cache.find(key)) for key in keys)
    return {name: entry for name, entry in found if entry is not None}


def test_images_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    with open_pixel_cache(tmp_path, SHAPE) as cache:
        cache.add([(_key("a"), _image(-7)), (_key("b"), Reason.COLOUR), (_key("c"), _image(9))])
        assert _values(cache, "c", "a", "c") == [9, -7, 9]
        assert entries_of(cache, [_key("b")])[b"b"].reason == Reason.COLOUR


def test_gathered_images_are_float32_with_one_channel(tmp_path: Path) -> None:
    pixels = np.arange(-6, 6, dtype=np.int16).reshape(SHAPE) * 2000
    with open_pixel_cache(tmp_path, SHAPE) as cache:
        cache.add([(_key("a"), DecodedImage(pixels=pixels, digest=""))])
        found = CachedPixels(cache.pixels_path, SHAPE).gather(np.array([0, 0]))
    assert found.dtype == np.float32 and found.shape == (2, 1, *SHAPE)
    assert np.array_equal(found[1, 0], pixels.astype(np.float32) / SCALE)


@pytest.mark.parametrize("shape", [(5, 7), (3, 4, 5), (200, 200), (2, 181, 191)])
@pytest.mark.parametrize("count", [0, 1, 70])
def test_large_and_small_rows_are_gathered_alike(
    tmp_path: Path, shape: tuple[int, ...], count: int
) -> None:
    generator = np.random.default_rng(5)
    images = generator.integers(-32768, 32768, (9, *shape)).astype(np.int16)
    keys = [_key(f"{number}") for number in range(9)]
    with open_pixel_cache(tmp_path, shape) as cache:
        decoded = (DecodedImage(pixels=image, digest="") for image in images)
        cache.add(zip(keys, decoded, strict=True))
        rows = generator.integers(0, 9, count)
        found = CachedPixels(cache.pixels_path, shape).gather(rows)
    assert found.dtype == np.float32 and found.shape == (count, 1, *shape)
    assert np.array_equal(found[:, 0], images[rows] / np.float64(SCALE))


def test_an_interrupted_addition_leaves_nothing_behind(tmp_path: Path) -> None:
    def stream() -> Iterator[tuple[CacheKey, DecodedImage]]:
        yield _key("b"), _image(2)
        raise KeyboardInterrupt

    with open_pixel_cache(tmp_path, SHAPE) as cache:
        cache.add([(_key("a"), _image(1))])
        with pytest.raises(KeyboardInterrupt):
            cache.add(stream())
        assert not entries_of(cache, [_key("b")])
        cache.add([(_key("c"), _image(3))])
        assert _values(cache, "a", "c") == [1, 3]


def test_an_image_is_known_by_path_identity_size_time_and_inode() -> None:
    header = Header._make([""] * len(Header._fields))._replace(sop_instance_uid="2.25.1")
    file = ArchiveFile(path=b"a", size_bytes=5, mtime_ns=7)
    key = CacheKey.of_image(Instance(file, header))
    assert key.name == b"a"
    other = [
        Instance(file._replace(size_bytes=6), header),
        Instance(file._replace(mtime_ns=8), header),
        Instance(file._replace(inode=9), header),
        Instance(file, header._replace(sop_instance_uid="2.25.2")),
    ]
    assert key.facts not in {CacheKey.of_image(instance).facts for instance in other}
    assert key == CacheKey.of_image(Instance(file, header._replace(kernel="other")))


def test_compaction_keeps_runs_and_gaps_apart(tmp_path: Path) -> None:
    names = [f"{number:02}" for number in range(30)]
    kept = [name for number, name in enumerate(names) if number % 7 not in (0, 3)]
    with open_pixel_cache(tmp_path, SHAPE) as cache:
        # Named against the order of their rows, so that both orders must be told apart.
        cache.add([(_key(name), _image(n)) for n, name in enumerate(reversed(names))])
        cache.keep_only(name.encode() for name in kept)
        assert _values(cache, *kept) == [29 - int(name) for name in kept]
        assert sorted(e.row for e in entries_of(cache, map(_key, kept)).values() if e.row) == list(
            range(1, len(kept))
        )


@pytest.mark.parametrize("changed", [_key("a", size=2), _key("a", mtime=2)])
def test_a_changed_file_is_not_known(tmp_path: Path, changed: CacheKey) -> None:
    with open_pixel_cache(tmp_path, SHAPE) as cache:
        cache.add([(_key("a"), _image(1))])
        assert not entries_of(cache, [changed])
        assert entries_of(cache, [_key("a")])


def test_reasons_that_may_pass_are_tried_again(tmp_path: Path) -> None:
    with open_pixel_cache(tmp_path, SHAPE) as cache:
        cache.add([(_key("a"), Reason.NO_DECODER)])
        assert not entries_of(cache, [_key("a")])


def test_removed_images_leave_the_disk(tmp_path: Path) -> None:
    with open_pixel_cache(tmp_path, SHAPE) as cache:
        cache.add([(_key(name), _image(n)) for n, name in enumerate("abcd")])
        cache.keep_only([b"b", b"d"])
        cache.remove_old_files()
        assert _values(cache, "d", "b") == [3, 1]
        assert not entries_of(cache, [_key("a")])
    assert [path.stat().st_size for path in tmp_path.glob("*.i16")] == [2 * 2 * 3 * 4]


def test_a_reader_of_the_old_file_still_sees_the_old_images(tmp_path: Path) -> None:
    with open_pixel_cache(tmp_path, SHAPE) as cache:
        cache.add([(_key(name), _image(n)) for n, name in enumerate("abc")])
        reader = CachedPixels(cache.pixels_path, SHAPE)
        cache.keep_only([b"c"])
        cache.add([(_key("x"), _image(77))])
        assert reader.gather(np.array([1]))[0, 0, 0, 0] * SCALE == 1


def test_bytes_of_an_interrupted_write_are_dropped(tmp_path: Path) -> None:
    with open_pixel_cache(tmp_path, SHAPE) as cache:
        cache.add([(_key("a"), _image(1))])
        path = cache.pixels_path
    with path.open("ab") as file:
        file.write(b"half an image")
    with open_pixel_cache(tmp_path, SHAPE) as cache:
        cache.add([(_key("b"), _image(2))])
        assert _values(cache, "a", "b") == [1, 2]


def test_a_cut_pixel_file_is_made_anew(tmp_path: Path) -> None:
    with open_pixel_cache(tmp_path, SHAPE) as cache:
        cache.add([(_key("a"), _image(1))])
        path = cache.pixels_path
    os.truncate(path, 5)
    with open_pixel_cache(tmp_path, SHAPE) as cache:
        assert not entries_of(cache, [_key("a")])
        cache.add([(_key("a"), _image(4))])
        assert _values(cache, "a") == [4]


def test_a_row_number_is_never_used_twice_in_one_file(tmp_path: Path) -> None:
    with open_pixel_cache(tmp_path, SHAPE) as cache:
        cache.add([(_key("a"), _image(1))])
        cache.add([(_key("a"), Reason.COLOUR)])
        path = cache.pixels_path
    with open_pixel_cache(tmp_path, SHAPE) as cache:
        cache.add([(_key("b"), _image(2))])
        assert cache.pixels_path == path
        assert entries_of(cache, [_key("b")])[b"b"].row == 1


def test_an_image_of_another_shape_is_our_own_mistake(tmp_path: Path) -> None:
    wrong: NDArray[np.int16] = np.zeros((2, 2), np.int16)
    with open_pixel_cache(tmp_path, SHAPE) as cache, pytest.raises(ValueError, match="shape"):
        cache.add([(_key("a"), DecodedImage(pixels=wrong, digest=""))])


def test_a_missing_pixel_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="prepare the site again"):
        CachedPixels(tmp_path / "pixels-0.i16", SHAPE)
