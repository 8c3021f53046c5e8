"""The contract that every source keeps, whichever archive is behind it."""

from __future__ import annotations

from pathlib import Path

from tests.contracts.archives import Archive, PacsArchive, stored_bytes
from tests.contracts.contents import WANTED, Item, contents, dataset_bytes, day_of, image

from wardround_client.archive.files import ArchiveFile
from wardround_client.archive.received import identify
from wardround_client.archive.source import Source, Wanted
from wardround_client.index.reader import read_header
from wardround_client.quarantine import Reason


def read(source: Source, files: list[ArchiveFile]) -> dict[str, bytes]:
    """The files by SOPInstanceUID."""
    found = {}
    for file in files:
        with source.local(file.path) as path:
            found[identify(path).sop_uid] = path.read_bytes()
    return found


def wanted_of(items: list[Item]) -> dict[str, bytes]:
    return {item.sop_uid: item.file for item in items if item.wanted}


def test_every_source_hands_over_the_same_datasets_byte_for_byte(
    archive: Archive, tmp_path: Path
) -> None:
    items = [item for item in contents() if item.wanted]
    archive.fill(items)
    with archive.open(tmp_path / "workspace") as source:
        files = list(source.refresh(WANTED))
        found = read(source, files)
    assert {file.reason for file in files} == {None}
    expected = {uid: dataset_bytes(file) for uid, file in wanted_of(items).items()}
    assert {uid: dataset_bytes(file) for uid, file in found.items()} == expected


def test_facts_and_order_stay_the_same_from_one_process_to_the_next(
    archive: Archive, tmp_path: Path
) -> None:
    archive.fill(contents())
    listings = []
    for _ in range(2):
        with archive.open(tmp_path / "workspace") as source:
            listings.append(list(source.refresh(WANTED)))
    assert listings[0] == listings[1]
    assert len({file.path for file in listings[0]}) == len(listings[0])


def test_the_facts_are_those_of_the_file_itself(archive: Archive, tmp_path: Path) -> None:
    archive.fill(contents())
    with archive.open(tmp_path / "workspace") as source:
        for file in source.refresh(WANTED):
            with source.local(file.path) as path:
                status = path.stat()
                assert (file.size_bytes, file.mtime_ns) == (status.st_size, status.st_mtime_ns)
                assert source.root in path.parents


def test_a_source_tells_the_header_of_each_file(archive: Archive, tmp_path: Path) -> None:
    archive.fill(contents())
    with archive.open(tmp_path / "workspace") as source:
        for file in source.refresh(WANTED):
            with source.local(file.path) as path:
                assert source.header(file.path) == read_header(path)


def test_new_and_deleted_instances_are_noticed(archive: Archive, tmp_path: Path) -> None:
    items = contents()
    archive.fill(items)
    with archive.open(tmp_path / "workspace") as source:
        before = {file.path for file in source.refresh(WANTED)}
        new = image("CT", (1, 1, 9), "explicit_little")
        archive.add(new)
        archive.remove(items[0].sop_uid)
        after = list(source.refresh(WANTED))
        found = read(source, after)
    assert new.sop_uid in found
    assert items[0].sop_uid not in found
    assert len(before & {file.path for file in after}) == len(before) - 1


def test_a_pacs_is_asked_for_the_wanted_modalities_alone(pacs: PacsArchive, tmp_path: Path) -> None:
    pacs.fill(contents())
    wanted = Wanted(modalities=("SR",), study_uids=WANTED.study_uids)
    with pacs.open(tmp_path / "workspace") as source:
        found = read(source, list(source.refresh(wanted)))
        assert found.keys() == {"2.25.4711.1.4.1"}
    assert stored_bytes(tmp_path / "workspace") == sum(len(file) for file in found.values())


def test_imaging_studies_are_found_by_accession_number(pacs: PacsArchive, tmp_path: Path) -> None:
    pacs.fill(contents())
    wanted = Wanted(modalities=("CT", "CR"), accessions=frozenset({"ACC2", "ACC5", "ACC9", "A*"}))
    with pacs.open(tmp_path / "workspace") as source:
        found = read(source, list(source.refresh(wanted)))
    assert found.keys() == {"2.25.4711.2.1.1", "2.25.4711.2.1.2", "2.25.4711.5.1.1"}


def test_imaging_studies_are_found_from_a_day_on(pacs: PacsArchive, tmp_path: Path) -> None:
    pacs.fill(contents())
    wanted = Wanted(modalities=("CR", "DX"), studies_from=day_of(4).isoformat())
    with pacs.open(tmp_path / "workspace") as source:
        found = read(source, list(source.refresh(wanted)))
    assert found.keys() == {"2.25.4711.4.1.1", "2.25.4711.5.1.1"}


def test_what_was_fetched_once_is_not_fetched_again(pacs: PacsArchive, tmp_path: Path) -> None:
    pacs.fill(contents())
    workspace = tmp_path / "workspace"
    with pacs.open(workspace) as source:
        files = list(source.refresh(WANTED))
        inodes = {file.path: _inode(source, file) for file in files}
    with pacs.open(workspace) as source:
        again = list(source.refresh(WANTED))
        assert {file.path: _inode(source, file) for file in again} == inodes


def test_what_is_deleted_at_the_pacs_leaves_the_disk(pacs: PacsArchive, tmp_path: Path) -> None:
    items = contents()
    pacs.fill(items)
    with pacs.open(tmp_path / "workspace") as source:
        list(source.refresh(WANTED))
        for item in items:
            pacs.remove(item.sop_uid)
        assert list(source.refresh(WANTED)) == []
    assert stored_bytes(tmp_path / "workspace") == 0


def test_a_small_store_evicts_and_fetches_again_the_same_bytes(
    pacs: PacsArchive, tmp_path: Path
) -> None:
    pacs.fill(contents())
    with pacs.open(tmp_path / "large") as source:
        files = list(source.refresh(WANTED))
        whole = read(source, files)
    bound = 20_000  # the largest series takes about 18 kB, all together 50 kB
    with pacs.open(tmp_path / "small", store_gb=bound / 1e9) as source:
        small = []
        for file in source.refresh(WANTED):
            small.append(file)
            assert stored_bytes(tmp_path / "small") <= bound
        assert small == files
        assert read(source, small) == whole
        assert read(source, small[::-1]) == whole
        assert stored_bytes(tmp_path / "small") <= bound


def test_the_header_of_an_evicted_file_is_known_without_fetching_it(
    pacs: PacsArchive, tmp_path: Path
) -> None:
    pacs.fill(contents())
    with pacs.open(tmp_path / "large") as source:
        files = list(source.refresh(WANTED))
        headers = {}
        for file in files:
            with source.local(file.path) as path:
                headers[file.path] = read_header(path)
    with pacs.open(tmp_path / "small", store_gb=20_000 / 1e9) as source:
        list(source.refresh(WANTED))
        before = stored_bytes(tmp_path / "small")
        assert {file.path: source.header(file.path) for file in files} == headers
        assert stored_bytes(tmp_path / "small") == before


def test_a_series_larger_than_the_store_is_refused_and_the_others_are_not(
    pacs: PacsArchive, tmp_path: Path
) -> None:
    pacs.fill(contents())
    bound = 10_000  # less than the four slices of the first series take
    with pacs.open(tmp_path / "workspace", store_gb=bound / 1e9) as source:
        files = list(source.refresh(WANTED))
        assert stored_bytes(tmp_path / "workspace") <= bound
        refused = [file for file in files if file.reason]
        usable = [file for file in files if not file.reason]
        found = read(source, usable)
    assert {file.reason for file in refused} == {Reason.STORE_TOO_SMALL}
    assert len({file.path.rpartition(b"/")[0] for file in refused}) == 2
    assert "2.25.4711.1.1.1" not in found
    assert {"2.25.4711.2.1.1", "2.25.4711.3.1.1", "2.25.4711.1.4.1"} <= found.keys()


def test_a_pinned_series_is_never_evicted(pacs: PacsArchive, tmp_path: Path) -> None:
    pacs.fill(contents())
    with pacs.open(tmp_path / "workspace", store_gb=24_000 / 1e9) as source:
        files = list(source.refresh(WANTED))
        with source.local(files[0].path) as pinned:
            read(source, files)
            assert pinned.stat().st_size == files[0].size_bytes


def test_progress_counts_imaging_studies_and_instances(pacs: PacsArchive, tmp_path: Path) -> None:
    pacs.fill(contents())
    seen: list[tuple[str, int, int]] = []
    with pacs.open(tmp_path / "workspace") as source:
        files = list(source.refresh(WANTED, on_progress=lambda *step: seen.append(step)))
    assert ("query", 5, 5) in seen
    assert seen[-1] == ("fetch", len(files), len(files))


def _inode(source: Source, file: ArchiveFile) -> int:
    with source.local(file.path) as path:
        return path.stat().st_ino
