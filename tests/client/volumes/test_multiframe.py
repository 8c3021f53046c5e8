from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence as Items

from wardround_client.archive.files import ArchiveFile
from wardround_client.index.header import Instance
from wardround_client.index.reader import read_header
from wardround_client.quarantine import Reason
from wardround_client.volumes.multiframe import read_frames
from wardround_client.volumes.plan import FrameGeometry
from wardround_sim.traps.enhanced import ENHANCED_MR, enhanced, frame, item
from wardround_sim.traps.geometry import STEP_MM
from wardround_sim.traps.phantom import AXIAL, along_normal, write

PLACES = along_normal(AXIAL, STEP_MM, 3)


def frames_of(dataset: Dataset, folder: Path) -> tuple[FrameGeometry, ...] | Reason:
    path = folder / "enhanced.dcm"
    write(dataset, path)
    instance = Instance(ArchiveFile(b"enhanced.dcm", 1, 1), read_header(path))
    return read_frames(instance, lambda name: folder / name.decode())


def test_a_frames_own_groups_come_before_the_shared_ones(tmp_path: Path) -> None:
    echoes = [{}, {"MREchoSequence": item(EffectiveEchoTime=90.0)}, {}]
    dataset = enhanced(
        [frame(place, 0, **own) for place, own in zip(PLACES, echoes, strict=True)],
        kind=ENHANCED_MR,
        MREchoSequence=item(EffectiveEchoTime=4.0),
    )
    frames = frames_of(dataset, tmp_path)
    assert not isinstance(frames, Reason)
    assert [one.echo_time for one in frames] == ["4.0", "90.0", "4.0"]
    assert [one.number for one in frames] == [1, 2, 3]
    assert frames[0].orientation.split("\\")[0].startswith("1.0")
    assert frames[0].image_type == "ORIGINAL\\PRIMARY\\VOLUME\\NONE"


def test_a_kernel_of_the_frames_comes_before_the_instances(tmp_path: Path) -> None:
    kernel = {"CTReconstructionSequence": item(ConvolutionKernel="Br40d")}
    dataset = enhanced([frame(PLACES[0], 0, **kernel), *[frame(p, 0) for p in PLACES[1:]]])
    dataset.ConvolutionKernel = "B70f"
    frames = frames_of(dataset, tmp_path)
    assert not isinstance(frames, Reason)
    assert [one.kernel for one in frames] == ["BR40D", "B70F", "B70F"]


def test_gradients_lie_one_sequence_deeper(tmp_path: Path) -> None:
    direction = item(DiffusionGradientOrientation=[0.0, 0.0, 1.0])
    diffusion = item(DiffusionBValue=800.0, DiffusionGradientDirectionSequence=direction)
    dataset = enhanced(
        [frame(place, 0, MRDiffusionSequence=diffusion) for place in PLACES], kind=ENHANCED_MR
    )
    frames = frames_of(dataset, tmp_path)
    assert not isinstance(frames, Reason)
    assert {(one.b_value, one.gradient) for one in frames} == {("800.0", "0.0\\0.0\\1.0")}


def test_without_a_frame_type_the_images_type_counts(tmp_path: Path) -> None:
    dataset = enhanced([frame(place, 0) for place in PLACES], CTImageFrameTypeSequence=None)
    dataset.ImageType = ["DERIVED", "PRIMARY", "MIP", "MAX"]
    frames = frames_of(dataset, tmp_path)
    assert not isinstance(frames, Reason)
    assert {one.image_type for one in frames} == {"DERIVED\\PRIMARY\\MIP\\MAX"}


@pytest.mark.parametrize(("count", "reason"), [(0, "NO_GEOMETRY"), (2, "BROKEN_HEADER")])
def test_groups_must_be_one_for_each_frame(count: int, reason: str, tmp_path: Path) -> None:
    dataset = enhanced([frame(place, 0) for place in PLACES])
    dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:count]
    assert frames_of(dataset, tmp_path) is Reason[reason]


def test_shared_groups_are_one_item(tmp_path: Path) -> None:
    dataset = enhanced([frame(place, 0) for place in PLACES])
    shared = dataset.SharedFunctionalGroupsSequence
    dataset.SharedFunctionalGroupsSequence = Items([shared[0], shared[0]])
    assert frames_of(dataset, tmp_path) is Reason.BROKEN_HEADER


def test_a_file_that_was_replaced_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "enhanced.dcm"
    write(enhanced([frame(place, 0) for place in PLACES]), path)
    instance = Instance(ArchiveFile(b"enhanced.dcm", 1, 1), read_header(path))
    write(enhanced([frame(place, 0) for place in PLACES], number=2), path)
    assert read_frames(instance, lambda _: path) is Reason.CHANGED
    path.unlink()
    assert read_frames(instance, lambda _: path) is Reason.UNREADABLE
