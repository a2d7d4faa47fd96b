from __future__ import annotations

import torch

from client_plugin.learning.segments import Segment
from client_plugin.learning.tasks import open_task
from client_plugin.learning.tasks.classification import OrganClassification, class_map, pool
from tests.unit.client_plugin.learning import phantom


def _task() -> OrganClassification:
    task = open_task(phantom.config())
    assert isinstance(task, OrganClassification)
    return task


def test_left_and_right_are_two_structures_of_one_class_and_others_are_ignored() -> None:
    structures = _task().structures(phantom.case().segments)
    assert [(s.label, s.numbers) for s in structures] == [(0, (1,)), (1, (3,)), (1, (2,))]
    foreign = Segment(9, "liver", "10200004", "99LOCAL")
    assert not _task().structures([foreign])


def test_lobes_of_one_side_make_one_structure() -> None:
    lobes = [Segment(n, f"lobe {n}", "64033007", "SCT", "left") for n in (4, 5)]
    assert [s.numbers for s in _task().structures(lobes)] == [(4, 5)]


def test_labels_become_classes() -> None:
    found = class_map(phantom.case().labels, _task().structures(phantom.case().segments))
    assert set(found.ravel().tolist()) == {0, 1, 2}
    assert ((found == 1) == (phantom.case().labels == 1)).all()


def test_one_patient_is_split_by_slab() -> None:
    data = phantom.data(phantom.config())
    assert len(data.training) > 20
    assert len(data.held_out) > 5
    assert data.training.patients == data.held_out.patients == 1
    assert data.training.images.shape[1:] == (1, 24, 24)
    assert len(data.training.planes) == len(data.training)


def test_held_out_patients_are_held_out_whole() -> None:
    cases = [phantom.case(f"P{n}", seed=n) for n in range(3)]
    data = phantom.data(phantom.config(), *cases, held_out=frozenset({"P1"}))
    assert (data.training.patients, data.held_out.patients) == (2, 1)
    assert len(data.training) == 2 * len(data.held_out)


def test_classes_are_drawn_equally_often() -> None:
    samples = phantom.data(phantom.config()).training
    share = [samples.weights[samples.targets == label].sum() for label in (0, 1)]
    torch.testing.assert_close(share[0], share[1])
    both = pool([samples, samples])
    assert len(both) == 2 * len(samples)
    assert both.patients == 2
    torch.testing.assert_close(both.weights.sum(), torch.tensor(2.0))


def test_a_case_without_any_of_the_classes_gives_no_samples() -> None:
    case = phantom.case()
    bare = type(case)(case.pseudonym, case.image, case.labels, (phantom.OTHER,), case.spacing)
    data = phantom.data(phantom.config(), bare)
    assert (len(data.training), len(data.held_out), data.training.patients) == (0, 0, 0)
