"""One cohort, read from a folder and from a real PACS by each protocol: the same examples."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from tests.contracts.archives import Archive, FolderArchive, PacsArchive
from tests.contracts.contents import Item

from wardround_client.examples import cache_folder, read_example_facts
from wardround_client.prepare import prepare_site
from wardround_client.pseudonym import SECRET_FILE
from wardround_common.intake_plan import CohortRule, Preprocessing, VolumePreprocessing
from wardround_common.study import Member, Study
from wardround_sim.synthetic.archive import write_hospital
from wardround_sim.synthetic.hospital import Dirt, SyntheticHospital
from wardround_sim.synthetic.scanner import Scanner

RADIOGRAPHS = SyntheticHospital(
    name="larch_valley",
    patients=12,
    studies_per_patient_max=1,
    rows=96,
    columns=96,
    transfer_syntax="jpeg_ls",
    photometric="MONOCHROME1",
    dirt=Dirt(secondary_capture=2, missing_label=1),
)
SCANS = SyntheticHospital(
    name="maple_hill",
    modality="CT",
    patients=6,
    studies_per_patient_max=1,
    rows=32,
    columns=32,
    transfer_syntax="rle",
    scanner=Scanner(coverage_mm=60, slice_spacing_mm=6),
    dirt=Dirt(localizer=2, missing_slice=1),
)
GRID = VolumePreprocessing(spacing_mm=(6, 12, 12), shape=(8, 24, 24), window=(-1000, 100))


def _study(spec: SyntheticHospital) -> Study:
    volumes = spec.modality == "CT"
    return Study(
        name="same",
        purpose="a test",
        expires="2099-12-31",
        seed=1,
        coordinator_key="ed25519:" + "f" * 64,
        members=tuple(Member(site=f"s{n}", key=f"ed25519:{n + 1:064x}") for n in range(3)),
        cohort=CohortRule(modalities=("CT",) if volumes else ("CR", "DX")),
        preprocessing=Preprocessing(rows=32, columns=32, volume=GRID if volumes else None),
    )


def _items(archive: Path) -> list[Item]:
    """The DICOM files of a folder that a PACS would take."""
    items = []
    for folder, _, names in os.walk(archive):
        for name in sorted(names):
            file = (Path(folder) / name).read_bytes()
            try:
                header = pydicom.dcmread(Path(folder) / name, stop_before_pixels=True)
            except pydicom.errors.InvalidDicomError:
                continue
            items.append(Item(str(header.SOPInstanceUID), str(header.Modality), file))
    return items


def _examples(archive: Archive, labels: Path, folder: Path, study: Study) -> tuple[object, ...]:
    """Pixels and facts of a site that reads ``archive``; every site has one secret here."""
    config = replace(archive.config(folder / "workspace"), labels=labels)
    config = replace(config, intake=replace(config.intake, processes=0))
    config.workspace.mkdir(parents=True)
    (config.workspace / SECRET_FILE).write_text("ab" * 32)
    report = prepare_site(config, study)
    (pixels,) = cache_folder(config, study).glob("pixels-*.i16")
    return pixels.read_bytes(), read_example_facts(config, study), report.usable


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("spec", [RADIOGRAPHS, SCANS], ids=["radiographs", "volumes"])
def test_every_source_gives_the_same_examples_byte_for_byte(
    pacs: PacsArchive, tmp_path: Path, spec: SyntheticHospital
) -> None:
    written = write_hospital(spec, tmp_path / "hospital", seed=3)
    items = _items(written.archive)
    folder = FolderArchive(tmp_path / "flat")
    folder.fill(items)
    pacs.fill(items)
    study = _study(spec)
    expected = _examples(folder, written.labels, tmp_path / "a", study)
    assert _examples(pacs, written.labels, tmp_path / "b", study) == expected
    assert expected[2] == spec.patients
