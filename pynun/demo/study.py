"""Two made-up studies for a DICOM viewer: geometric bodies, no patient.

Files are DICOM part 10, explicit VR little endian. The manifest is what OHIF's data source `dicomjson` reads. The same
call always makes the same bytes.
"""

from __future__ import annotations

import json
import struct
from array import array
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ROOT: Final = "2.25.207318246521864923"
"""The studies' UIDs begin so: an arc for UUIDs (ISO/IEC 9834-8), which needs no registration."""

_CT: Final = "1.2.840.10008.5.1.4.1.1.2"
_MR: Final = "1.2.840.10008.5.1.4.1.1.4"
_EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
_LONG_VALUES: Final = (b"OB", b"OW")
_TEXT_VALUES: Final = (b"CS", b"DS", b"DA", b"IS", b"LO", b"PN", b"TM", b"UI")

_ELEMENTS: Final[Mapping[str, tuple[int, int, bytes]]] = {
    "SOPClassUID": (0x0008, 0x0016, b"UI"),
    "SOPInstanceUID": (0x0008, 0x0018, b"UI"),
    "StudyDate": (0x0008, 0x0020, b"DA"),
    "StudyTime": (0x0008, 0x0030, b"TM"),
    "Modality": (0x0008, 0x0060, b"CS"),
    "StudyDescription": (0x0008, 0x1030, b"LO"),
    "SeriesDescription": (0x0008, 0x103E, b"LO"),
    "PatientName": (0x0010, 0x0010, b"PN"),
    "PatientID": (0x0010, 0x0020, b"LO"),
    "SliceThickness": (0x0018, 0x0050, b"DS"),
    "StudyInstanceUID": (0x0020, 0x000D, b"UI"),
    "SeriesInstanceUID": (0x0020, 0x000E, b"UI"),
    "SeriesNumber": (0x0020, 0x0011, b"IS"),
    "InstanceNumber": (0x0020, 0x0013, b"IS"),
    "ImagePositionPatient": (0x0020, 0x0032, b"DS"),
    "ImageOrientationPatient": (0x0020, 0x0037, b"DS"),
    "FrameOfReferenceUID": (0x0020, 0x0052, b"UI"),
    "SamplesPerPixel": (0x0028, 0x0002, b"US"),
    "PhotometricInterpretation": (0x0028, 0x0004, b"CS"),
    "Rows": (0x0028, 0x0010, b"US"),
    "Columns": (0x0028, 0x0011, b"US"),
    "PixelSpacing": (0x0028, 0x0030, b"DS"),
    "BitsAllocated": (0x0028, 0x0100, b"US"),
    "BitsStored": (0x0028, 0x0101, b"US"),
    "HighBit": (0x0028, 0x0102, b"US"),
    "PixelRepresentation": (0x0028, 0x0103, b"US"),
    "WindowCenter": (0x0028, 0x1050, b"DS"),
    "WindowWidth": (0x0028, 0x1051, b"DS"),
    "RescaleIntercept": (0x0028, 0x1052, b"DS"),
    "RescaleSlope": (0x0028, 0x1053, b"DS"),
}
"""Group, element and value representation of what a file has, in the order of the file."""


class _Body(NamedTuple):
    """An ellipsoid of one value; all lengths in millimetres."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    value: int


class _Series(NamedTuple):
    number: int
    modality: str
    description: str
    slices: int
    size: int
    spacing: float
    thickness: float
    window: tuple[int, int]
    bodies: tuple[_Body, ...]


_CHEST: Final = (
    _Body((0, 0, 0), (110, 80, 90), 40),
    _Body((-52, -8, 0), (38, 52, 75), -820),
    _Body((52, -8, 0), (38, 52, 75), -800),
    _Body((8, -22, -6), (26, 24, 34), 130),
    _Body((0, 52, 0), (15, 15, 88), 620),
    _Body((58, -20, 14), (7, 7, 7), 90),
    _Body((-46, 16, -24), (5, 5, 5), 300),
)
_HEAD: Final = (
    _Body((0, 0, 0), (72, 90, 80), 900),
    _Body((0, 0, 0), (66, 84, 74), 420),
    _Body((-14, 4, 0), (9, 26, 22), 120),
    _Body((14, 4, 0), (9, 26, 22), 120),
    _Body((30, -38, 18), (10, 9, 10), 760),
)

_STUDIES: Final = (
    ("Made-up chest", (
        _Series(1, "CT", "Axial", 40, 128, 2.0, 4.5, (40, 400), _CHEST),
        _Series(2, "CT", "Axial, lung", 24, 96, 2.6, 7.5, (-600, 1500), _CHEST),
    )),
    ("Made-up head", (
        _Series(1, "MR", "Axial T1", 24, 96, 2.0, 6.5, (450, 900), _HEAD),
    )),
)  # fmt: skip


class Study(NamedTuple):
    """One study: its UID, its files by name, and what its manifest says, with the names for addresses."""

    uid: str
    files: Mapping[str, bytes]
    about: Mapping[str, Any]

    def manifest(self, folder_url: str) -> bytes:
        """The manifest for `dicomjson`, if the files are at this address (with a `/` at its end)."""
        study = dict(self.about)
        study["series"] = [
            {
                **series,
                "instances": [{**one, "url": f"dicomweb:{folder_url}{one['url']}"} for one in series["instances"]],
            }
            for series in study["series"]
        ]
        return json.dumps({"studies": [study]}).encode()


def make_studies() -> list[Study]:
    """Make all studies. It takes a second."""
    return [_study(number, name, series) for number, (name, series) in enumerate(_STUDIES, 1)]


def _study(number: int, name: str, all_series: tuple[_Series, ...]) -> Study:
    uid = f"{_ROOT}.{number}"
    about = {
        "StudyInstanceUID": uid,
        "StudyDate": "20240102",
        "StudyTime": "030405",
        "PatientName": "Nobody^Made-up",
        "PatientID": f"MADE-UP-{number}",
        "StudyDescription": name,
    }
    files: dict[str, bytes] = {}
    listed = []
    for series in all_series:
        of_series = {
            "SeriesInstanceUID": f"{uid}.{series.number}",
            "SeriesNumber": series.number,
            "Modality": series.modality,
            "SeriesDescription": series.description,
        }
        instances = []
        for index, pixels in enumerate(_pictures(series)):
            metadata = about | of_series | _of_image(uid, series, index)
            path = f"{series.number}/{index + 1}.dcm"
            files[path] = _file(metadata, pixels)
            instances.append({"metadata": metadata, "url": path})
        listed.append({**of_series, "instances": instances})
    modalities = "/".join(sorted({series.modality for series in all_series}))
    count = sum(series.slices for series in all_series)
    return Study(uid, files, {**about, "NumInstances": count, "Modalities": modalities, "series": listed})


def _of_image(study_uid: str, series: _Series, index: int) -> dict[str, Any]:
    half = (series.size - 1) * series.spacing / 2
    return {
        "SOPClassUID": _CT if series.modality == "CT" else _MR,
        "SOPInstanceUID": f"{study_uid}.{series.number}.{index + 1}",
        "SliceThickness": series.thickness,
        "InstanceNumber": index + 1,
        "ImagePositionPatient": [-half, -half, _height(series, index)],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "FrameOfReferenceUID": f"{study_uid}.0",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": series.size,
        "Columns": series.size,
        "PixelSpacing": [series.spacing, series.spacing],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "WindowCenter": series.window[0],
        "WindowWidth": series.window[1],
        "RescaleIntercept": 0,
        "RescaleSlope": 1,
    }


def _height(series: _Series, index: int) -> float:
    return (index - (series.slices - 1) / 2) * series.thickness


def _pictures(series: _Series) -> Iterator[bytes]:
    """The pixels of each slice: air, then every body over those before it."""
    size, spacing = series.size, series.spacing
    middle = (size - 1) / 2
    for index in range(series.slices):
        pixels = array("h", [-1000 if series.modality == "CT" else 0]) * (size * size)
        for (x, y, z), (across, down, along), value in series.bodies:
            share = 1 - ((_height(series, index) - z) / along) ** 2
            for row in range(size) if share > 0 else ():
                rest = share - (((row - middle) * spacing - y) / down) ** 2
                if rest > 0:
                    half = across * rest**0.5
                    first = max(0, round((x - half) / spacing + middle))
                    end = min(size, round((x + half) / spacing + middle) + 1)
                    pixels[row * size + first : row * size + end] = array("h", [value]) * (end - first)
        yield pixels.tobytes()


def _file(metadata: Mapping[str, Any], pixels: bytes) -> bytes:
    head = b"".join(
        (
            _element(0x0002, 0x0001, b"OB", b"\0\1"),
            _element(0x0002, 0x0002, b"UI", metadata["SOPClassUID"]),
            _element(0x0002, 0x0003, b"UI", metadata["SOPInstanceUID"]),
            _element(0x0002, 0x0010, b"UI", _EXPLICIT_LITTLE_ENDIAN),
            _element(0x0002, 0x0012, b"UI", f"{_ROOT}.0"),
        )
    )
    body = b"".join(_element(*where, metadata[name]) for name, where in _ELEMENTS.items())
    return b"".join(
        (
            bytes(128),
            b"DICM",
            _element(0x0002, 0x0000, b"UL", struct.pack("<I", len(head))),
            head,
            body,
            _element(0x7FE0, 0x0010, b"OW", pixels),
        )
    )


def _element(group: int, number: int, kind: bytes, value: Any) -> bytes:  # noqa: ANN401 (text, number, list or bytes)
    """A data element (DICOM part 5, section 7.1.2)."""
    if isinstance(value, bytes):
        content = value
    elif kind == b"US":
        content = struct.pack("<H", value)
    else:
        assert kind in _TEXT_VALUES
        content = "\\".join(map(str, value if isinstance(value, list) else [value])).encode("ascii")
        if len(content) % 2:
            content += b"\0" if kind == b"UI" else b" "
    if kind in _LONG_VALUES:
        return struct.pack("<HH2sHI", group, number, kind, 0, len(content)) + content
    return struct.pack("<HH2sH", group, number, kind, len(content)) + content
