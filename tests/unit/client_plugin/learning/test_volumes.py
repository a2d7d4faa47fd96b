from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from client_plugin.archive.archive import Archive
from client_plugin.learning.config import LearningConfig
from client_plugin.learning.segments import UnusableStudy
from client_plugin.learning.training import LocalTrainer, NotTrainable
from client_plugin.learning.volumes import Case, load_case
from tests.unit.client_plugin.learning import phantom
from tests.unit.client_plugin.learning.archived import add, add_case, node, open_archive, segmentation, slices


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    opened = open_archive(node(tmp_path / "kit"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def case() -> Case:
    """Small, and different along every axis."""
    whole = phantom.case(depth=12)
    return Case(whole.pseudonym, np.round(whole.image), whole.labels, whole.segments, whole.spacing)


def test_a_case_comes_back_as_it_was(archive: Archive, case: Case) -> None:
    """Archived last slice first, with instance numbers that run the wrong way."""
    (study,) = add_case(archive, case).studies
    found = load_case(archive, study)
    np.testing.assert_allclose(found.image, case.image, atol=0.25)
    np.testing.assert_array_equal(found.labels, case.labels)
    assert found.segments == case.segments
    assert found.label_names == {1: "liver", 2: "kidney_right", 3: "kidney_left", 4: "gallbladder"}
    assert found.spacing == pytest.approx(case.spacing)
    assert found.pseudonym == case.pseudonym
    assert (found.image.dtype, found.labels.dtype) == (np.float32, np.uint8)


@pytest.mark.parametrize(
    ("orientation", "axes", "backwards"),
    [
        # How the stack is cut from the patient's (z, y, x) so that slices, rows and columns run as DICOM says.
        ((1, 0, 0, 0, -1, 0), (0, 1, 2), (0, 1)),  # axial, upside down: the normal points to the feet
        ((1, 0, 0, 0, 0, -1), (1, 0, 2), (1,)),  # coronal, head at the top
        ((0, 1, 0, 0, 0, -1), (2, 0, 1), (0, 1)),  # sagittal, head at the top
    ],
    ids=("upside down", "coronal", "sagittal"),
)
def test_every_orientation_becomes_the_patients_axes(
    archive: Archive, case: Case, orientation: tuple[int, ...], axes: tuple[int, int, int], backwards: tuple[int, ...]
) -> None:
    spacing = (case.spacing[axes[0]], case.spacing[axes[1]], case.spacing[axes[2]])
    image, labels = (np.flip(v.transpose(axes), backwards) for v in (case.image, case.labels))
    images = slices(case, orientation, stack=image, spacing=spacing)
    (study,) = add(archive, case.pseudonym, *images, segmentation(case, images, np.ascontiguousarray(labels))).studies
    found = load_case(archive, study)
    np.testing.assert_allclose(found.image, case.image, atol=0.25)
    np.testing.assert_array_equal(found.labels, case.labels)
    assert found.spacing == pytest.approx(case.spacing)


def test_a_gap_is_refused(archive: Archive, case: Case) -> None:
    images = slices(case)
    seg = segmentation(case, images)
    (study,) = add(archive, case.pseudonym, *images[:5], *images[6:], seg).studies
    with pytest.raises(UnusableStudy, match="1 gaps"):
        load_case(archive, study)


def test_two_slices_in_one_place_are_refused(archive: Archive, case: Case) -> None:
    images = slices(case)
    seg = segmentation(case, images)
    images[5].ImagePositionPatient = images[4].ImagePositionPatient
    images[5].SOPInstanceUID = images[5].file_meta.MediaStorageSOPInstanceUID
    (study,) = add(archive, case.pseudonym, *images, seg).studies
    with pytest.raises(UnusableStudy, match="1 slices in the place of another"):
        load_case(archive, study)


def test_mixed_orientations_are_refused(archive: Archive, case: Case) -> None:
    images = slices(case)
    seg = segmentation(case, images)
    images[3].ImageOrientationPatient = [1, 0, 0, 0, 0.8, 0.6]
    (study,) = add(archive, case.pseudonym, *images, seg).studies
    with pytest.raises(UnusableStudy, match="mixed orientations"):
        load_case(archive, study)


def test_a_segmentation_of_other_slices_is_refused(archive: Archive, case: Case) -> None:
    images, others = slices(case), slices(case)
    seg = segmentation(case, others)
    seg.StudyInstanceUID = images[0].StudyInstanceUID
    seg.ReferencedSeriesSequence[0].SeriesInstanceUID = images[0].SeriesInstanceUID
    (study,) = add(archive, case.pseudonym, *images, seg).studies
    with pytest.raises(UnusableStudy, match="drawn on 12 instances that are not in the series"):
        load_case(archive, study)


def test_two_segmentations_are_not_chosen_between(archive: Archive, case: Case) -> None:
    images = slices(case)
    (study,) = add(archive, case.pseudonym, *images, segmentation(case, images), segmentation(case, images)).studies
    with pytest.raises(UnusableStudy, match="2 label objects"):
        load_case(archive, study)


def test_a_trainer_opens_on_a_cohort(archive: Archive) -> None:
    whole = phantom.case()
    snapshot = add_case(archive, whole)
    trainer = LocalTrainer.open(archive, snapshot.studies, phantom.config())
    direct = phantom.data(phantom.config(), whole)
    assert len(trainer.data.training) == len(direct.training)
    assert len(trainer.data.held_out) == len(direct.held_out)


def test_a_cohort_without_any_of_the_classes_is_refused(archive: Archive, case: Case) -> None:
    snapshot = add_case(archive, case)
    brains = LearningConfig.from_job({"task": {"classes": {"brain": "12738006", "eye": "81745001"}}})
    with pytest.raises(NotTrainable, match="none of the 1 studies shows one of brain, eye"):
        LocalTrainer.open(archive, snapshot.studies, brains)
