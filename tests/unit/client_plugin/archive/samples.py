"""Instances to archive."""

from dataclasses import replace
from typing import Any

from client_plugin.archive.additions import NewInstance
from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.instance import ArchivedInstance, SegmentLabel
from client_plugin.archive.received import ReceivedRow

CT = "1.2.840.10008.5.1.4.1.1.2"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def ct(place: int = 1, *, study: int = 1, series: int = 1, pseudonym: str = "P1", **changes: Any) -> ArchivedInstance:
    """The axial slice at ``place`` of a CT series, 2.5 mm apart."""
    meta = ArchivedInstance(
        pseudonym=pseudonym,
        study_uid=f"2.25.{study}",
        series_uid=f"2.25.{study}.{series}",
        sop_instance_uid=f"2.25.{study}.{series}.{place}",
        sop_class_uid=CT,
        transfer_syntax_uid=EXPLICIT_LE,
        modality="CT",
        body_part="CHEST",
        frame_of_reference_uid=f"2.25.{study}.99",
        number=place,
        rows=512,
        columns=512,
        position=(0.0, 0.0, 2.5 * place),
        orientation=AXIAL,
        pixel_spacing=(0.7, 0.7),
        slice_thickness=2.5,
        location=2.5 * place,
    )
    return replace(meta, **changes)


def seg(*, study: int = 1, on: int = 1, pseudonym: str = "P1", names: tuple[str, ...] = ("liver",)) -> ArchivedInstance:
    """A segmentation of the CT series ``on``."""
    return ArchivedInstance(
        pseudonym=pseudonym,
        study_uid=f"2.25.{study}",
        series_uid=f"2.25.{study}.70",
        sop_instance_uid=f"2.25.{study}.70.{on}",
        sop_class_uid=SEG,
        transfer_syntax_uid=EXPLICIT_LE,
        modality="SEG",
        rows=512,
        columns=512,
        frames=20,
        referenced_series=(f"2.25.{study}.{on}",),
        labels=tuple(SegmentLabel(n, name) for n, name in enumerate(names, 1)),
    )


def catalogued(catalogue: Catalogue, *instances: ArchivedInstance) -> None:
    """Catalogue instances without their objects."""
    for meta in instances:
        catalogue.add_patient(meta.pseudonym, b"wrapped")
        add_instance(catalogue, meta, size=1000, sha256=f"{hash(meta.sop_instance_uid) & (1 << 64) - 1:064x}")


def add_instance(
    catalogue: Catalogue,
    meta: ArchivedInstance,
    *,
    size: int,
    sha256: str,
    received: ReceivedRow | None = None,
    target: bytes | None = None,
) -> bool:
    """Catalogue one instance; whether it is new. Raises what it is refused for."""
    new = NewInstance(meta=meta, size=size, sha256=sha256, received=received, target=target)
    (outcome,) = catalogue.add_instances([new])
    return outcome.check()
