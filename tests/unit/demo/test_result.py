"""The schema of result.json: what is computed, what is refused, what survives a round trip."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from demo.result import CROPS_FILE, RESULT_FILE, Crop, DemoResult, Evaluation, ModelResult, Score, Verdict
from tests.unit.demo.sample import make_result


def score(slab: str, *rows: tuple[int, ...]) -> Score:
    return Score(slab=slab, patients=1, confusion=rows)


def model(kind: str, *scores: Score) -> ModelResult:
    return ModelResult.model_validate({"name": kind, "kind": kind, "trained_on": ["a"], "scores": scores})


def test_balanced_accuracy_is_the_mean_recall_over_the_classes_that_occur() -> None:
    result = score("a", (9, 1, 0), (1, 1, 0), (0, 0, 0))
    assert result.images == 12
    assert result.balanced_accuracy == pytest.approx((0.9 + 0.5) / 2)


def test_an_empty_slab_scores_zero() -> None:
    assert score("a", (0, 0), (0, 0)).balanced_accuracy == 0.0


def test_the_mean_over_slabs_does_not_weigh_by_images() -> None:
    result = model("alone", score("a", (100, 0), (0, 100)), score("b", (1, 1), (1, 1)))
    assert result.mean_balanced_accuracy == pytest.approx(0.75)


def test_a_matrix_must_be_square() -> None:
    with pytest.raises(ValidationError, match="square"):
        score("a", (1, 2), (3,))


@pytest.mark.parametrize(("skill", "beats"), [((4, 0), True), ((2, 2), False)])
def test_the_verdict_compares_the_federation_with_the_mean_of_the_hospitals_alone(
    skill: tuple[int, int], beats: bool
) -> None:
    alone = [model("alone", score("a", (3, 1), (1, 3))), model("alone", score("a", (2, 2), (2, 2)))]
    federation = model("federation", score("a", skill, skill[::-1]))
    verdict = Verdict.of((*alone, federation))
    assert verdict is not None
    assert verdict.alone == pytest.approx(0.625)
    assert verdict.best_alone == pytest.approx(0.75)
    assert verdict.pooled is None
    assert verdict.federation_beats_alone is beats


def test_there_is_no_verdict_without_a_comparison() -> None:
    assert Verdict.of((model("federation", score("a", (1, 0), (0, 1))),)) is None


def test_models_must_share_their_slabs_and_classes() -> None:
    one = model("alone", score("a", (1, 0), (0, 1)))
    with pytest.raises(ValidationError, match="other slabs"):
        Evaluation(classes=("x", "y"), models=(one, model("pooled", score("b", (1, 0), (0, 1)))))
    with pytest.raises(ValidationError, match="does not fit"):
        Evaluation(classes=("x", "y", "z"), models=(one,))


def test_a_crop_is_a_png_of_a_known_class() -> None:
    result = make_result()
    with pytest.raises(ValidationError, match="not a PNG"):
        Crop(slab="a", plane="axial", truth="liver", prediction="liver", png="AAAA")
    stranger = result.crops[0].model_copy(update={"truth": "tail"})
    with pytest.raises(ValidationError, match="unknown classes: tail"):
        Evaluation(classes=result.classes, models=result.models, crops=(stranger,))


def test_a_result_survives_the_disk(tmp_path: Path) -> None:
    result = make_result(missing=("hospital-b",))
    result.save(tmp_path)
    assert DemoResult.load(tmp_path) == result


def test_the_file_holds_the_derived_figures_and_no_images(tmp_path: Path) -> None:
    result = make_result()
    path = result.save(tmp_path)
    data = json.loads(path.read_text())
    assert path.name == RESULT_FILE
    assert "crops" not in data
    assert data["verdict"]["federation_beats_alone"] is True
    assert data["update_bytes_up"] == 131_072
    assert data["network"]["plain_bytes"] == 4 * 20_074
    assert data["models"][0]["scores"][0]["balanced_accuracy"] == result.models[0].scores[0].balanced_accuracy
    assert len(json.loads((tmp_path / CROPS_FILE).read_text())) == len(result.crops)


def test_an_evaluation_goes_from_one_process_to_another_with_its_crops() -> None:
    result = make_result()
    evaluation = Evaluation(classes=result.classes, models=result.models, crops=result.crops)
    assert Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation


def test_a_row_of_a_matrix_is_one_line(tmp_path: Path) -> None:
    result = make_result()
    row = ", ".join(map(str, result.models[0].scores[0].confusion[0]))
    assert f"[{row}]" in result.save(tmp_path).read_text()


def test_derived_figures_are_not_believed_on_reading(tmp_path: Path) -> None:
    path = make_result().save(tmp_path)
    data = json.loads(path.read_text())
    data["verdict"]["federation"] = 1.0
    data["models"][0]["scores"][0]["balanced_accuracy"] = 1.0
    path.write_text(json.dumps(data))
    assert DemoResult.load(tmp_path).verdict == make_result().verdict


def test_another_schema_version_or_an_unknown_key_is_refused(tmp_path: Path) -> None:
    path = make_result().save(tmp_path)
    data = json.loads(path.read_text())
    for change in ({"schema_version": 2}, {"acuracy": 1.0}):
        path.write_text(json.dumps(data | change))
        with pytest.raises(ValidationError):
            DemoResult.load(tmp_path)


def test_a_diverged_loss_is_refused_by_name() -> None:
    part = make_result().rounds[0].contributions[0]
    with pytest.raises(ValidationError, match="loss"):
        type(part).model_validate(part.model_dump() | {"loss": float("nan")})
