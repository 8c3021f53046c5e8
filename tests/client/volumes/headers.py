"""Instances without files, for planning, which looks at headers alone."""

from __future__ import annotations

from typing import Any

from wardround_client.archive.files import ArchiveFile
from wardround_client.index.header import Header, Instance

_CT = "1.2.840.10008.5.1.4.1.1.2"


def instance_at(number: int, height: float, **texts: Any) -> Instance:
    """An axial CT slice of series ``1.2``; texts replace fields of its header."""
    blank: dict[str, Any] = dict.fromkeys(Header._fields, "")
    known = {
        "sop_instance_uid": f"2.25.{number}",
        "sop_class_uid": _CT,
        "study_uid": "1.1",
        "series_uid": "1.2",
        "frame_of_reference_uid": "1.3",
        "modality": "CT",
        "image_type": "ORIGINAL\\PRIMARY\\AXIAL",
        "photometric": "MONOCHROME2",
        "samples": "1",
        "rows": "16",
        "columns": "16",
        "orientation": "1\\0\\0\\0\\1\\0",
        "position": f"0\\0\\{height}",
        "pixel_spacing": "1\\1",
        "age_years": None,
    }
    path = texts.pop("path", f"{number:04}.dcm").encode()
    return Instance(ArchiveFile(path, 1000, 1), Header(**(blank | known | texts)))
