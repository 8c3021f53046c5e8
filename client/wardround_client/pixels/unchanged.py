"""Makes sure that what is decoded is the file that the index knows, before, while and after.

SOPInstanceUID is not enough: a file of the same UID that took another's place since the scan may
show another patient, and would be learned under the first one's label.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wardround_client.archive.files import ArchiveFile
from wardround_client.index.header import Instance
from wardround_client.index.reader import read_header
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError


@contextmanager
def unchanged(path: Path, instance: Instance | None) -> Iterator[None]:
    """Refuses a file that is not that of ``instance``, or becomes another one meanwhile.

    Args:
        path: The file.
        instance: What the index knows; None checks nothing.

    Raises:
        DicomError: Size, time or header differ from the index's, or the file cannot be read.
    """
    if instance is None:
        yield
        return
    _require_facts(path, instance.file)
    try:
        yield
        if read_header(path) != instance.header:
            raise DicomError(Reason.CHANGED)
    finally:  # also after a refusal: a file that is being written has no reason of its own yet
        _require_facts(path, instance.file)


def _require_facts(path: Path, file: ArchiveFile) -> None:
    """Compares what every source promises of a file; inodes are not the same everywhere."""
    try:
        status = path.stat()
    except OSError:
        raise DicomError(Reason.UNREADABLE) from None
    if (status.st_size, status.st_mtime_ns) != (file.size_bytes, file.mtime_ns):
        raise DicomError(Reason.CHANGED)
