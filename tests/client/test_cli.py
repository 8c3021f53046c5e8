"""The site's command line: exit codes, one line for an error, files for their owner alone."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from wardround_client import cli, commands
from wardround_client.quarantine import Reason
from wardround_common.intake_plan import CohortRule, DeclaredData
from wardround_common.study import Study

NewStudy = Callable[..., Study]
PLANTED = {
    "PatientName": "Phileak^Planted",
    "PatientID": "MRNPHI77",
    "PatientBirthDate": "19341123",
    "PatientAddress": "12 Secretlane",
    "StudyDate": "20210714",
    "AccessionNumber": "ACCPHI88",
    "StudyDescription": "Thorax of Phileak",
    "InstitutionName": "Wardhospital",
    "ReferringPhysicianName": "Drleak^Refleak",
    "OperatorsName": "Operleak",
    "SeriesDescription": "Seriesleak",
    "ProtocolName": "Protoleak",
    "ImageComments": "Commentleak",
    "StudyInstanceUID": "2.25.987654321",
    "SeriesInstanceUID": "2.25.987654322",
    "StudyID": "Studyleak",
    "Manufacturer": "MEIERLEAK HANS 19600101",
    "ManufacturerModelName": "MRN 7654321",
    "ConvolutionKernel": "SMITHLEAK",
    "ImageType": ["ORIGINAL", "PRIMARY", "DOELEAK"],
}
PLANTED_TEXTS = [value for value in PLANTED.values() if isinstance(value, str)]
SECRETS = (
    *(part for value in PLANTED_TEXTS for part in value.replace(" of ", "^").split("^")),
    "2.25.98765432",
    "^JOHN",
    *("MEIERLEAK", "19600101", "7654321", "DOELEAK"),
    "pathleak",
)


class Site:
    """A hospital with its configuration on disk; runs commands and keeps what they say."""

    def __init__(self, hospital: Any, study: Study, capsys: pytest.CaptureFixture[str]) -> None:
        self.hospital, self._capsys = hospital, capsys
        self.folder = hospital.archive.parent
        self.workspace: Path = hospital.config.workspace
        self.reports = self.workspace / "reports"
        self.config = self.folder / "site.yaml"
        self.write_config("archive: archive")
        self.study = self.folder / "study.json"
        self.write_study(study)

    def write_config(self, source: str) -> None:
        lines = ("site: hospital", source, "labels: labels.csv", "workspace: workspace")
        text = "\n".join((*lines, "intake: {processes: 0}", ""))
        self.config.write_text(text)

    def write_study(self, study: Study) -> None:
        self.study.write_bytes(study.canonical())

    def run(self, *arguments: object) -> tuple[int, str, str]:
        """Exit code, standard output and standard error; lines are not broken."""
        code = cli.main(["--config", str(self.config), *map(str, arguments)])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def written(self) -> list[Path]:
        found = (path for path in self.reports.rglob("*") if path.is_file())
        return [path for path in found if path.name != "releases.json"]


@pytest.fixture
def site(
    hospital: Any,
    new_study: NewStudy,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Site:
    monkeypatch.setenv("COLUMNS", "160")
    return Site(hospital, new_study(), capsys)


def _numbers(output: str) -> dict[str, int]:
    """Lines of a name and a number."""
    lines = (line.rsplit(maxsplit=1) for line in output.splitlines() if line.strip())
    return {words[0].strip(): int(words[1]) for words in lines if words[-1].isdigit()}


def test_index_says_what_is_new_changed_moved_and_gone(site: Site) -> None:
    site.hospital.fill(6)
    code, said, _ = site.run("index")
    assert code == 0
    assert _numbers(said)["new"] == 6
    archive = site.hospital.archive
    (archive / "000001.dcm").rename(archive / "moved.dcm")
    (archive / "000002.dcm").unlink()
    site.hospital.add(3, Modality="DX")
    site.hospital.add(8)
    found = _numbers(site.run("index")[1])
    counts = {name: found[name] for name in ("new", "changed", "moved", "deleted", "unchanged")}
    assert counts == {"new": 1, "changed": 1, "moved": 1, "deleted": 1, "unchanged": 3}


def test_index_names_each_reason_once_with_meaning_and_cure(site: Site) -> None:
    for number in range(3):
        (site.hospital.archive / f"{number}.txt").write_text("no image")
    site.hospital.add(1, StudyInstanceUID=None)
    _, said, _ = site.run("index")
    words = " ".join(said.split())
    for reason, count in ((Reason.NOT_DICOM, 3), (Reason.NO_IDENTITY, 1)):
        assert words.count(f"{reason.value} {count} ") == 1
        assert words.count(reason.value) == 1
        assert reason.explanation.split(".")[0][:20] in words
        assert reason.cure[:20] in words


def test_a_pacs_is_not_indexed_without_a_study(site: Site) -> None:
    site.write_config("dicomweb: {url: 'http://127.0.0.1:9/dicom-web'}")
    code, _, said = site.run("index")
    assert code == cli.USAGE_ERROR
    assert "--study: got none" in said


def test_the_archive_report_is_for_its_owner_alone(site: Site) -> None:
    site.hospital.fill(4)
    site.run("index")
    code, said, _ = site.run("archive", "report")
    assert code == 0
    page = site.reports / "archive.html"
    assert f"written: {page}" in said
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert stat.S_IMODE(site.reports.stat().st_mode) == 0o700
    assert page.read_text(encoding="utf-8").count("data:image/png;base64,") == 1


def test_the_report_of_an_empty_archive_says_so(site: Site) -> None:
    site.run("index")
    code, said, _ = site.run("archive", "report")
    assert code == 0
    assert "The archive holds no file." in said


def test_a_report_needs_an_index_of_this_very_archive(site: Site) -> None:
    assert "run wardround-site index first" in site.run("archive", "report")[2]
    site.hospital.fill(2)
    site.run("index")
    shutil.copytree(site.hospital.archive, site.folder / "other")
    site.write_config("archive: other")
    code, _, said = site.run("archive", "report")
    assert code == cli.USAGE_ERROR
    assert "run wardround-site index first" in said


@pytest.mark.parametrize("command", [("index",), ("archive", "report")])
def test_a_damaged_index_is_one_line(site: Site, command: tuple[str, ...]) -> None:
    site.hospital.fill(2)
    site.run("index")
    (site.workspace / commands.INDEX_FILE).write_bytes(b"no database" * 1000)
    code, said, error = site.run(*command)
    assert code == cli.USAGE_ERROR
    assert said == ""
    (line,) = error.strip().splitlines()
    assert "is damaged; delete it" in line


@pytest.mark.parametrize("text", ["", "site: [", "site: a\nsite: b\n", "archiv: here\n"])
def test_a_configuration_that_cannot_be_used_is_one_line(site: Site, text: str) -> None:
    site.config.write_text(text)
    code, _, said = site.run("index")
    assert code == cli.USAGE_ERROR
    assert len(said.strip().splitlines()) == 1
    assert not site.workspace.exists()


def test_a_missing_study_is_one_line(site: Site) -> None:
    code, _, said = site.run("prepare", site.folder / "none.yaml")
    assert code == cli.USAGE_ERROR
    assert "none.yaml: cannot be read" in said


def test_an_unknown_command_is_refused(site: Site) -> None:
    with pytest.raises(SystemExit) as ended:
        site.run("train")
    assert ended.value.code == cli.USAGE_ERROR


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (KeyboardInterrupt(), cli.INTERRUPTED, "stopped"),
        (OSError(28, os.strerror(28), "/archive/pathleak"), cli.USAGE_ERROR, "No space left"),
    ],
)
def test_what_ends_a_command_is_one_line_without_a_path(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, expected: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(commands, "index", fail)
    found, _, said = site.run("index")
    assert found == code
    assert expected in said
    assert "pathleak" not in said
    assert len(said.strip().splitlines()) == 1


def test_warnings_of_libraries_are_not_shown(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests turn warnings into errors: without its guard the command would end with one."""

    def warn(*_: object) -> None:
        warnings.warn("Invalid value for VR UI: Phileak", UserWarning, stacklevel=1)

    monkeypatch.setattr(commands, "index", warn)
    assert site.run("index") == (0, "", "")


@pytest.mark.parametrize(
    "command", [("archive", "report"), ("data-report", "study.json"), ("deidentify", "x")]
)
def test_nothing_is_written_into_the_archive(
    site: Site, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(site.folder)
    site.hospital.fill(2)
    site.run("index")
    code, _, said = site.run(*command, "--out", site.hospital.archive / "reports")
    assert code == cli.USAGE_ERROR
    assert "--out: got a folder in the archive" in said
    assert not (site.hospital.archive / "reports").exists()


def test_prepare_and_data_report_give_both_forms(site: Site, new_study: NewStudy) -> None:
    declared = DeclaredData(positive_fraction=(0.4, 0.6))
    site.write_study(new_study(cohort=CohortRule(declared=declared)))
    site.hospital.fill(60)
    site.hospital.add(90, 1, Modality="CT")
    site.hospital.write_labels()
    code, said, _ = site.run("prepare", site.study)
    assert code == 0
    assert _numbers(said)["examples"] == 60
    assert "other-modality" in said
    code, said, _ = site.run("data-report", site.study)
    assert code == 0
    assert "as declared" in said
    names = {path.name: path for path in site.written()}
    assert names.keys() == {"site.html", "site.json", "release.html", "release.json"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in names.values()} == {0o600}
    full = json.loads(names["site.json"].read_bytes())
    assert full["left_out_files"] == {"other-modality": 1}
    assert full["tables"]["label"]["normal"] == {"examples": 30, "patients": 30}
    form = json.loads(names["release.json"].read_bytes())
    assert form["tables"]["label"]["examples"] == {"normal": 30, "abnormal": 30}
    assert form["left_out_files"] == {}


def test_no_form_for_release_remains_where_none_may_leave(site: Site) -> None:
    site.hospital.fill(40)
    site.run("prepare", site.study)
    site.run("data-report", site.study)
    for number in range(4, 40):
        (site.hospital.archive / f"{number:06}.dcm").unlink()
    site.run("prepare", site.study)
    code, _, said = site.run("data-report", site.study)
    assert code == cli.USAGE_ERROR
    assert "fewer than 5 patients" in said
    assert {path.name for path in site.written()} == {"site.html", "site.json"}


def test_no_two_forms_differ_by_few_patients(site: Site) -> None:
    """Removing a few patients gives no second form; removing as many as the least number does."""
    site.hospital.fill(60)
    site.run("prepare", site.study)
    assert [site.run("data-report", site.study)[0] for _ in range(2)] == [0, 0]
    ledger = site.reports / "releases.json"
    assert stat.S_IMODE(ledger.stat().st_mode) == 0o600
    assert len(json.loads(ledger.read_bytes())["releases"]) == 1
    for number in range(4):
        (site.hospital.archive / f"{number:06}.dcm").unlink()
    site.run("prepare", site.study)
    code, _, said = site.run("data-report", site.study)
    assert code == cli.USAGE_ERROR
    assert "wait for more patients" in said
    assert {path.name for path in site.written()} == {"site.html", "site.json"}
    (site.hospital.archive / "000004.dcm").unlink()
    site.run("prepare", site.study)
    assert site.run("data-report", site.study)[0] == 0
    ledger.write_text("[]")
    code, _, said = site.run("data-report", site.study)
    assert code == cli.USAGE_ERROR
    assert "releases.json: is damaged" in said


def test_the_same_patients_give_no_other_form(site: Site) -> None:
    site.hospital.fill(60)
    site.run("prepare", site.study)
    site.run("data-report", site.study)
    site.hospital.add(3, PatientAge="090Y")
    site.run("prepare", site.study)
    code, _, said = site.run("data-report", site.study)
    assert code == cli.USAGE_ERROR
    assert "another form of the same patients" in said


def test_a_data_report_needs_prepared_examples(site: Site) -> None:
    code, _, said = site.run("data-report", site.study)
    assert code == cli.USAGE_ERROR
    assert "prepare" in said


def test_damaged_counts_of_the_last_preparation_are_one_line(site: Site) -> None:
    site.hospital.fill(12)
    site.run("prepare", site.study)
    (counts,) = site.workspace.rglob("counts.json")
    for text in ("{", "[]", '{"refused": {"no-such-reason": 1}}'):
        counts.write_text(text)
        code, _, said = site.run("data-report", site.study)
        assert code == cli.USAGE_ERROR
        assert "is damaged; prepare the site again" in said


def test_deidentify_writes_new_files_and_counts_the_others(site: Site) -> None:
    image = site.hospital.add(1)
    (site.folder / "note.txt").write_text("no image")
    out = site.folder / "rebuilt"
    code, said, _ = site.run("deidentify", image, site.folder / "note.txt", "--out", out)
    assert code == 0
    assert "1 files written" in said
    assert "not-dicom" in said
    (made,) = out.rglob("*.dcm")
    assert "Phileak" not in str(pydicom.dcmread(made))


def test_explain_follows_a_file_through_a_study(site: Site) -> None:
    image = site.hospital.add(3, 1)
    site.hospital.write_labels()
    site.run("index")
    code, said, _ = site.run("archive", "explain", image, "--study", site.study)
    assert code == 0
    assert "label 1, abnormal" in said
    assert "Verdict: usable" in said


def test_explain_with_a_study_needs_an_index(site: Site) -> None:
    image = site.hospital.add(3, 1)
    site.hospital.write_labels()
    code, _, said = site.run("archive", "explain", image, "--study", site.study)
    assert code == cli.USAGE_ERROR
    assert "run wardround-site index first" in said


def test_explain_works_without_an_index(site: Site) -> None:
    code, said, _ = site.run("archive", "explain", site.hospital.add(3))
    assert code == 0
    assert "Verdict: usable" in said
    assert "name one with --study" in said
    assert not (site.workspace / commands.INDEX_FILE).exists()


def test_a_file_is_opened_in_worker_processes_alone(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file may hang or fill its reader; this process, which is patched here, reads none."""
    enhanced = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1", "Modality": "CT"}
    image = site.hospital.add(3, NumberOfFrames=2, **enhanced)
    site.run("index")
    config = site.config.read_text().replace("processes: 0", "processes: 1")
    site.config.write_text(config)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    for place in ("explain.read_header", "explain.walk_header", "frames.read_frames"):
        monkeypatch.setattr(f"wardround_client.reports.{place}", fail)
    monkeypatch.setattr("wardround_client.reports.volume_check.read_frames", fail)
    code, said, _ = site.run("archive", "explain", image)
    assert code == 0
    assert Reason.NO_GEOMETRY in said
    code, said, _ = site.run("archive", "report")
    assert code == 0
    assert Reason.NO_GEOMETRY in said


def test_identifiers_are_in_nothing_said_or_written(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.hospital.fill(12)
    folder = site.hospital.archive / "pathleak^PLANTED"
    folder.mkdir()
    ct = {"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}
    geometry = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [1, 1]}
    for number in range(50, 55):
        place = {"ImagePositionPatient": [0, 0, 5 * number], "SOPInstanceUID": f"2.25.{number}"}
        image = site.hospital.add(number, **PLANTED, **ct, **geometry, **place)
        image.rename(folder / f"pathleak{number}.dcm")
    odd = site.hospital.add(62, **(PLANTED | {"StudyInstanceUID": "2.25.2000062"}))
    uid = b"1.2.840.10008.5.1.4.1.1.1\0"
    odd.write_bytes(odd.read_bytes().replace(uid, b"1.2.DOE^JOHN".ljust(len(uid), b"\0")))
    broken = site.hospital.add(60, **PLANTED, BitsStored=99)
    lone = site.hospital.add(61, 1, **(PLANTED | {"StudyInstanceUID": "2.25.2000061"}))
    (folder / "pathleak.txt").write_text("Phileak")
    site.hospital.write_labels()
    said = [site.run("index"), site.run("archive", "report"), site.run("prepare", site.study)]
    said.append(site.run("data-report", site.study))
    files = (folder / "pathleak52.dcm", folder / "pathleak.txt", broken, lone, odd)
    for file in files:
        said.append(site.run("archive", "explain", file))
        said.append(site.run("archive", "explain", file, "--study", site.study))
    assert {code for code, _, _ in said} == {0}
    words = "".join(out + error for _, out, error in said) + caplog.text
    words += "".join(path.read_text(encoding="utf-8") for path in site.written())
    counts = [path.read_text() for path in site.workspace.rglob("counts.json")]
    words = (words + "".join(counts)).lower()
    assert len(site.written()) == 5
    assert [secret for secret in SECRETS if secret.lower() in words] == []


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import wardround_client.commands", {"torch", "monai"}),
        ("import wardround_client.cli", {"torch", "pydicom", "numpy", "jinja2"}),
    ],
)
def test_commands_load_only_what_they_need(statement: str, absent: set[str]) -> None:
    check = f"import sys; {statement}; print(*sys.modules)"
    loaded = subprocess.run(  # noqa: S603  (our own interpreter)
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    )
    assert not absent & set(loaded.stdout.split())
