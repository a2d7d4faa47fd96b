from __future__ import annotations

from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import JPEG2000Lossless

from demo.data import DataFolder
from demo.people import IDENTITIES, PLANTED
from demo.studies import SITES, count, instances, read_volume


def _reread(dataset: FileDataset) -> FileDataset:
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return pydicom.dcmread(BytesIO(buffer.getvalue()))


@pytest.fixture(scope="module", params=("b", "c"))
def study(request: pytest.FixtureRequest, data: DataFolder) -> tuple[str, list[FileDataset]]:
    return request.param, [_reread(dataset) for dataset in instances(request.param, data)]


def test_a_study_is_one_ct_series_and_its_segmentation(study: tuple[str, list[FileDataset]], data: DataFolder) -> None:
    site, datasets = study
    assert len(datasets) == count(site, data)
    assert [ds.Modality for ds in datasets] == ["CT"] * (len(datasets) - 1) + ["SEG"]
    assert len({ds.SOPInstanceUID for ds in datasets}) == len(datasets)
    assert len({ds.StudyInstanceUID for ds in datasets}) == 1
    assert len({ds.SeriesInstanceUID for ds in datasets}) == 2
    assert len({ds.FrameOfReferenceUID for ds in datasets}) == 1


def test_uids_are_the_same_on_every_run(data: DataFolder) -> None:
    first, second = (next(iter(instances("b", data))) for _ in range(2))
    assert first.SOPInstanceUID == second.SOPInstanceUID
    assert first.StudyInstanceUID == second.StudyInstanceUID


def test_every_identifier_is_in_the_study(study: tuple[str, list[FileDataset]]) -> None:
    site, datasets = study
    buffer = BytesIO()
    datasets[0].save_as(buffer, enforce_file_format=True)
    missing = [text for text in PLANTED[site] if text.encode() not in buffer.getvalue()]
    assert not missing


def test_identities_differ_between_hospitals() -> None:
    everything = [text for site in SITES for text in PLANTED[site] if IDENTITIES[site].age != text]
    assert len(everything) == len(set(everything))


def test_wrapped_voxels_are_where_the_nifti_has_them(data: DataFolder) -> None:
    source = nibabel.load(data.image("b"))
    values = np.asarray(source.dataobj)
    index = (37, 61, 40)
    right, anterior, superior, _ = source.affine @ (*index, 1)
    for dataset in instances("b", data):
        if dataset.InstanceNumber == index[2] + 1:
            break
    x, y, z = (float(v) for v in dataset.ImagePositionPatient)
    row_step, column_step = (float(v) for v in dataset.PixelSpacing)
    column, row = round((-right - x) / column_step), round((-anterior - y) / row_step)
    assert int(dataset.pixel_array[row, column]) + int(dataset.RescaleIntercept) == values[index]
    assert z == pytest.approx(superior, abs=1e-4)


def test_the_segmentation_lies_on_the_images_it_was_drawn_on(
    study: tuple[str, list[FileDataset]], data: DataFolder
) -> None:
    """Liver is soft tissue: 0 to 250 HU wherever its segment says so."""
    site, datasets = study
    seg = datasets[-1]
    slices = {str(ds.SOPInstanceUID): ds for ds in datasets[:-1]}
    liver = next(s.SegmentNumber for s in seg.SegmentSequence if s.SegmentLabel == "liver")
    inside, frames = [], seg.pixel_array
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        if groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber == liver:
            uid = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
            image = slices[uid].pixel_array.astype(int) + int(slices[uid].RescaleIntercept)
            inside.append(image[frame > 0])
    voxels = np.concatenate(inside)
    expected = int((read_volume(data.labels(site)).values == 5).sum())
    assert len(voxels) == expected
    assert np.mean((voxels > 0) & (voxels < 250)) > 0.97


def test_site_c_keeps_its_scanners_compressed_pixels(data: DataFolder) -> None:
    dataset = next(iter(instances("c", data)))
    assert dataset.file_meta.TransferSyntaxUID == JPEG2000Lossless
    assert dataset.Manufacturer == "SIEMENS"
    assert any(element.tag.is_private for element in dataset)


def test_an_oblique_volume_is_refused(tmp_path: Path) -> None:
    tilted = np.eye(4)
    tilted[0, 1] = 0.4
    path = tmp_path / "oblique.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3), np.int16), tilted), path)
    with pytest.raises(ValueError, match="oblique"):
        read_volume(path)
