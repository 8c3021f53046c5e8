"""CT hospitals: valid DICOM, true geometry, nodules of the size and at the place of the truth."""

from __future__ import annotations

import csv
import dataclasses
import shutil
import subprocess
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from wardround_sim.synthetic.archive import WrittenHospital, write_hospital
from wardround_sim.synthetic.hospital import (
    Appearance,
    Dirt,
    SyntheticHospital,
    TransferSyntax,
)
from wardround_sim.synthetic.roster import planted_identifiers
from wardround_sim.synthetic.scanner import Scanner, Storage
from wardround_sim.synthetic.seeds import generator
from wardround_sim.synthetic.thorax import draw_thorax
from wardround_sim.synthetic.tomography import STORAGE, Tomogram, scan

COARSE = Scanner(slice_spacing_mm=12, coverage_mm=72)
HOSPITAL = SyntheticHospital(
    name="aspen_heights",
    modality="CT",
    patients=1,
    studies_per_patient_max=1,
    prevalence=1.0,
    rows=48,
    columns=48,
    scanner=COARSE,
)
FINE = dataclasses.replace(
    HOSPITAL, noise=0.0, rows=96, columns=96, scanner=Scanner(slice_spacing_mm=3, sharpness=0.0)
)
SCANNERS = [
    COARSE,
    dataclasses.replace(COARSE, patient_position="FFS", storage="unsigned"),
    dataclasses.replace(COARSE, head_first_instances=True, storage="signed_offset", padded=False),
    dataclasses.replace(COARSE, enhanced=True, storage="high_offset"),
    dataclasses.replace(COARSE, enhanced=True, patient_position="FFS", head_first_instances=True),
]


def take(spec: SyntheticHospital, *, number: int = 0, tilt_degrees: float = 0.0) -> Tomogram:
    draw = generator("test", number)
    thorax = draw_thorax(draw, female=number % 2 == 0, age_years=50)
    return scan(spec, thorax, draw, abnormal=True, tilt_degrees=tilt_degrees)


def hounsfield(tomogram: Tomogram, scanner: Scanner) -> NDArray[np.int32]:
    return tomogram.stored + STORAGE[scanner.storage].intercept


def nodule_share(values: NDArray[Any], without: NDArray[Any]) -> NDArray[np.float64]:
    """Share s of each lung voxel that a nodule replaced: values = without + s * (45 - without)."""
    share = np.zeros(values.shape)
    lung = without < -500
    share[lung] = (values[lung] - without[lung]) / (45.0 - without[lung])
    return share


def all_bytes(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def slices_of(
    written: WrittenHospital,
) -> list[tuple[NDArray[np.float64], NDArray[np.float64], int]]:
    """Affine (column, row) to mm, Hounsfield units and InstanceNumber of every slice, by PS3.3
    equation C.7.6.2.1-1; independent of what the generator and the intake compute."""
    found = []
    for path in sorted((written.archive).rglob("series/*.dcm")):
        dataset = pydicom.dcmread(path)
        if "PerFrameFunctionalGroupsSequence" in dataset:
            shared = dataset.SharedFunctionalGroupsSequence[0]
            rescale = shared.PixelValueTransformationSequence[0]
            for number, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
                plane = Dataset()
                for item in (groups.PlanePositionSequence, shared.PlaneOrientationSequence):
                    plane.update(item[0])
                plane.update(shared.PixelMeasuresSequence[0])
                found.append((*_placed(plane, dataset.pixel_array[number], rescale), number + 1))
        else:
            found.append((*_placed(dataset, dataset.pixel_array, dataset), dataset.InstanceNumber))
    return found


def _placed(plane: Dataset, stored: NDArray[Any], rescale: Dataset) -> tuple[Any, Any]:
    direction = np.array(plane.ImageOrientationPatient, float).reshape(2, 3)
    between_rows, between_columns = map(float, plane.PixelSpacing)
    affine = np.stack(
        [direction[0] * between_columns, direction[1] * between_rows, plane.ImagePositionPatient],
        axis=1,
    ).astype(float)
    return affine, stored * float(rescale.RescaleSlope) + float(rescale.RescaleIntercept)


@pytest.mark.parametrize("scanner", SCANNERS)
def test_dciodvfy_finds_no_error(tmp_path: Path, scanner: Scanner) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    dirt = Dirt(secondary_capture=1, localizer=1)
    spec = dataclasses.replace(HOSPITAL, scanner=scanner, dirt=dirt, label_objects=("sr", "seg"))
    written = write_hospital(spec, tmp_path / "site", seed=1)
    files = sorted(written.archive.rglob("*.dcm"))
    assert len(files) == 4 + (1 if scanner.enhanced else scanner.slices)
    for path in files:
        result = subprocess.run(  # noqa: S603  # the path is ours
            [program, "-new", str(path)], capture_output=True, text=True, check=False
        )
        assert "Error" not in result.stderr + result.stdout
        iod = ("Image", "Segmentation", "Comprehensive3DSR")
        assert any(word in result.stderr + result.stdout for word in iod)


@pytest.mark.parametrize("syntax", get_args(TransferSyntax))
def test_equal_seeds_give_equal_bytes(tmp_path: Path, syntax: TransferSyntax) -> None:
    kinds = {field.name: 1 for field in dataclasses.fields(Dirt)}
    spec = dataclasses.replace(HOSPITAL, transfer_syntax=syntax, dirt=Dirt(**kinds))
    if syntax == "rle":
        spec = dataclasses.replace(spec, label_objects=("sr", "seg"))
    write_hospital(spec, tmp_path / "one", seed=7)
    write_hospital(spec, tmp_path / "two", seed=7)
    assert all_bytes(tmp_path / "one") == all_bytes(tmp_path / "two")


@pytest.mark.parametrize("storage", get_args(Storage))
@pytest.mark.parametrize("syntax", get_args(TransferSyntax))
def test_every_syntax_and_storage_holds_the_same_hounsfield_units(
    tmp_path: Path, syntax: TransferSyntax, storage: Storage
) -> None:
    plain = dataclasses.replace(HOSPITAL, scanner=dataclasses.replace(COARSE, padded=False))
    other = dataclasses.replace(
        plain,
        transfer_syntax=syntax,
        scanner=dataclasses.replace(plain.scanner, storage=storage),
    )
    expected = slices_of(write_hospital(plain, tmp_path / "plain", seed=1))
    found = slices_of(write_hospital(other, tmp_path / "other", seed=1))
    for (_, one, _), (_, two, _) in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, two)


def test_an_enhanced_instance_holds_what_the_slices_hold(tmp_path: Path) -> None:
    enhanced = dataclasses.replace(HOSPITAL, scanner=dataclasses.replace(COARSE, enhanced=True))
    one = slices_of(write_hospital(HOSPITAL, tmp_path / "one", seed=1))
    two = slices_of(write_hospital(enhanced, tmp_path / "two", seed=1))
    assert len(one) == len(two) == COARSE.slices
    for (affine, values, number), (other_affine, other_values, other_number) in zip(
        one, two, strict=True
    ):
        np.testing.assert_array_equal(affine, other_affine)
        np.testing.assert_array_equal(values, other_values)
        assert number == other_number


@pytest.mark.parametrize("position", ["HFS", "FFS"])
@pytest.mark.parametrize("enhanced", [False, True])
def test_the_truth_says_where_in_the_patient_the_nodules_are_and_how_large(
    tmp_path: Path, position: Any, enhanced: bool
) -> None:
    scanner = dataclasses.replace(FINE.scanner, patient_position=position, enhanced=enhanced)
    spec = dataclasses.replace(FINE, scanner=scanner, patients=2, nodule_mm=(18, 40))
    with_nodules = write_hospital(spec, tmp_path / "with", seed=3)
    faint = dataclasses.replace(spec, lesion_contrast=0.0)
    without = write_hospital(faint, tmp_path / "without", seed=3)
    total, weighted = 0.0, np.zeros(3)
    for (affine, values, _), (_, other, _) in zip(
        slices_of(with_nodules), slices_of(without), strict=True
    ):
        share = nodule_share(values, other)
        rows, columns = np.nonzero(share)
        places = affine @ np.stack([columns, rows, np.ones_like(rows)])
        area = np.prod(np.linalg.norm(affine[:, :2], axis=0))
        total += share.sum() * area * scanner.slice_spacing_mm / 1000
        weighted += (places * share[rows, columns]).sum(axis=1) * area * scanner.slice_spacing_mm
    with with_nodules.truth.open() as file:
        lines = list(csv.DictReader(file))
    volumes = np.array([float(line["volume_ml"]) for line in lines])
    centres = np.array([[float(line[key]) for key in ("x_mm", "y_mm", "z_mm")] for line in lines])
    # Nodules may reach beyond the lung, where they do not show, or overlap.
    assert 0.75 < total / volumes.sum() < 1.05
    centre = weighted / total / 1000
    assert centre == pytest.approx(volumes @ centres / volumes.sum(), abs=4)


def test_a_nodule_inside_the_lung_has_its_volume_within_three_percent() -> None:
    for number in range(30):
        spec = dataclasses.replace(FINE, scanner=dataclasses.replace(FINE.scanner, padded=False))
        tomogram = take(spec, number=number)
        faint = take(dataclasses.replace(spec, lesion_contrast=0.0), number=number)
        other = hounsfield(faint, spec.scanner).astype(float)
        share = nodule_share(hounsfield(tomogram, spec.scanner), other)
        touched = other[share > 0.02]
        if len(tomogram.nodules) > 1 or touched.max() > -700 or tomogram.nodules[0].volume_ml < 1:
            continue
        grid = tomogram.grid
        voxel_ml = abs(grid.column_mm * grid.row_mm[0] * grid.slice_mm) / 1000
        assert share.sum() * voxel_ml == pytest.approx(tomogram.nodules[0].volume_ml, rel=0.03)
        index = np.argwhere(share > 0)
        weights = share[share > 0]
        centre = (grid.position(index.T.astype(float)) * weights).sum(axis=1) / weights.sum()
        assert centre == pytest.approx(tomogram.nodules[0].centre_mm, abs=0.3)
        return
    pytest.fail("no scan with a single nodule well inside a lung")


def test_tissues_have_the_hounsfield_units_of_textbooks() -> None:
    spec = dataclasses.replace(FINE, scanner=dataclasses.replace(FINE.scanner, padded=False))
    values = hounsfield(take(spec, number=1), spec.scanner)
    counts, edges = np.histogram(values, bins=np.arange(-1024, 600, 16))
    share = counts / counts.sum()

    def between(low: int, high: int) -> float:
        return float(share[(edges[:-1] >= low) & (edges[1:] <= high)].sum())

    assert between(-1024, -976) > 0.1, "air around the patient"
    assert 0.06 < between(-930, -760) < 0.4, "lungs"
    assert between(-124, -72) > 0.02, "fat"
    assert between(16, 80) > 0.1, "muscle and blood"
    assert 0.002 < between(200, 592) < 0.1, "bones"
    assert share[(edges[:-1] > -700) & (edges[1:] < -200)].sum() < 0.1, "edges"


def test_kernels_noise_and_thickness_do_what_they_say() -> None:
    def grain(**changes: Any) -> float:
        scanner = dataclasses.replace(FINE.scanner, **changes)
        loud = dataclasses.replace(FINE, noise=1.0, scanner=scanner)
        quiet = dataclasses.replace(FINE, noise=0.0, scanner=scanner)
        return float((take(loud).stored - take(quiet).stored).std())

    assert grain(sharpness=1.0) > 2 * grain(sharpness=0.0) > 2

    def edge(**changes: Any) -> float:
        scanner = dataclasses.replace(FINE.scanner, **changes)
        stored = take(dataclasses.replace(FINE, scanner=scanner)).stored
        return float(np.abs(np.diff(stored, axis=0)).max())

    assert edge(slice_thickness_mm=9) < edge()


def test_lying_feet_first_turns_columns_to_the_right_and_slices_to_the_feet(
    tmp_path: Path,
) -> None:
    scanner = dataclasses.replace(COARSE, patient_position="FFS")
    spec = dataclasses.replace(HOSPITAL, scanner=scanner)
    head_first = slices_of(write_hospital(HOSPITAL, tmp_path / "one", seed=1))
    feet_first = slices_of(write_hospital(spec, tmp_path / "two", seed=1))
    assert head_first[0][0][0, 0] > 0 > feet_first[0][0][0, 0]
    for found in (head_first, feet_first):
        heights = {number: affine[2, 2] for affine, _, number in found}
        ordered = [heights[number] for number in sorted(heights)]
        assert ordered == sorted(ordered), "instance 1 is nearest to the feet"


def test_instance_numbers_may_count_from_the_head(tmp_path: Path) -> None:
    scanner = dataclasses.replace(COARSE, head_first_instances=True)
    spec = dataclasses.replace(HOSPITAL, scanner=scanner)
    found = slices_of(write_hospital(spec, tmp_path / "site", seed=1))
    ordered = sorted((number, -affine[2, 2]) for affine, _, number in found)
    assert [height for _, height in ordered] == sorted(height for _, height in ordered)


@pytest.mark.parametrize("storage", get_args(Storage))
def test_padding_lies_outside_the_round_field_of_view_and_nowhere_else(
    tmp_path: Path, storage: Storage
) -> None:
    scanner = dataclasses.replace(COARSE, storage=storage)
    written = write_hospital(dataclasses.replace(HOSPITAL, scanner=scanner), tmp_path / "s", seed=1)
    row, column = np.indices((48, 48)) - 23.5
    outside = np.hypot(row, column) > 24
    for path in written.archive.rglob("series/*.dcm"):
        dataset = pydicom.dcmread(path)
        padded = dataset.pixel_array == dataset.PixelPaddingValue
        np.testing.assert_array_equal(padded, outside)


@pytest.mark.parametrize("enhanced", [False, True])
def test_the_planted_identifiers_are_exactly_those_in_the_files(
    tmp_path: Path, enhanced: bool
) -> None:
    spec = dataclasses.replace(
        HOSPITAL,
        scanner=dataclasses.replace(COARSE, enhanced=enhanced),
        dirt=Dirt(secondary_capture=1, localizer=1, ambiguous_label=1),
        label_objects=("sr", "seg"),
    )
    written = write_hospital(spec, tmp_path / "site", seed=2)
    found: set[str] = set()
    for path in written.archive.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        keywords = ("PatientName", "PatientID", "IssuerOfPatientID", "AccessionNumber")
        found |= {str(dataset[word].value) for word in keywords if word in dataset}
        if "InstitutionName" in dataset:  # reports and segmentations come from elsewhere
            found.add(dataset.InstitutionName)
        found |= {
            str(e.value) for e in dataset.iterall() if e.VR == "UI" and "2.25." in str(e.value)
        }
    assert found == planted_identifiers(spec, seed=2)


def test_a_tilted_gantry_keeps_the_anatomy_in_place() -> None:
    """A tilted scan, read at its own true positions, shows the same patient."""
    spec = dataclasses.replace(
        FINE, appearance=Appearance(field_of_view_mm=500), lesion_contrast=0.0
    )
    straight, leaning = take(spec), take(spec, tilt_degrees=14.0)
    grid = leaning.grid
    index = np.argwhere(np.ones(grid.shape))[::97].T.astype(float)
    places = grid.position(index)
    other = straight.grid
    back = np.stack(
        [
            (places[2] - other.origin_mm[2]) / other.slice_mm,
            (places[1] - other.origin_mm[1]) / other.row_mm[0],
            (places[0] - other.origin_mm[0]) / other.column_mm,
        ]
    )
    nearest = np.rint(back).astype(int)
    inside = ((nearest >= 0) & (nearest < np.array(other.shape)[:, None])).all(axis=0)
    one = leaning.stored[tuple(index.astype(int))][inside]
    two = straight.stored[tuple(nearest[:, inside])]
    assert np.median(np.abs(one - two)) < 20
    assert np.mean(np.abs(one - two) > 200) < 0.1


@pytest.mark.parametrize("counts", [(1, 1), (2, 4)])
def test_abnormal_scans_have_as_many_nodules_as_described(counts: tuple[int, int]) -> None:
    spec = dataclasses.replace(HOSPITAL, nodules=counts, nodule_mm=(10.0, 12.0))
    found = [take(spec, number=number).nodules for number in range(20)]
    assert {len(nodules) for nodules in found} == set(range(counts[0], counts[1] + 1))
    assert all(10 <= n.diameter_mm <= 12 for nodules in found for n in nodules)
