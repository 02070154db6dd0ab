"""Connectors by ridge regression: scikit-learn's own, in pieces or whole, and left models alone."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score

from kdanalysis import Ladder, fit_connectors
from kdanalysis.networks.zoo import build_model
from kdanalysis.stones.ridge import Regression
from tests.stones.pairs import CLASSES, PAIRS, images, pair
from tests.stones.test_ladder import assert_same, hooks, parts

BATCHES = [images(seed, 16) for seed in range(5)]


def fit(name: str, batches=BATCHES, **options):
    made = pair(name)
    return made, fit_connectors(made.student, made.teacher, batches, **made.blocks, **options)


def features(model, block: str, x: torch.Tensor) -> torch.Tensor:
    seen = []
    handle = model.get_submodule(block).register_forward_hook(lambda *all_: seen.append(all_[-1]))
    with torch.no_grad():
        model.eval()(x)
    handle.remove()
    return seen[0]


def rows(values: torch.Tensor) -> np.ndarray:
    values = values.movedim(1, -1) if values.dim() == 4 else values
    return values.reshape(-1, values.shape[-1]).double().numpy()


@pytest.mark.parametrize("strength", [0.0, 0.1])
@pytest.mark.parametrize("name", ["resnet", "encoder"])
def test_weights_and_r2_are_those_of_scikit_learn(name, strength):
    made, fitted = fit(name, strength=strength)
    for i, connector in enumerate(fitted.connectors):
        ours = (made.student_blocks or made.student.block_names)[i]
        theirs = (made.teacher_blocks or made.teacher.block_names)[i]
        x, y = (
            rows(torch.cat([features(model, block, batch) for batch in BATCHES]))
            for model, block in ((made.student, ours), (made.teacher, theirs))
        )
        assert fitted.rows[i] == len(x)
        alpha = strength * x.var(0).mean() * len(x)
        model = (Ridge(alpha, solver="cholesky") if strength else LinearRegression()).fit(x, y)
        layer = connector[0]
        atol = 1e-4 * np.abs(model.coef_).max()
        np.testing.assert_allclose(
            layer.weight.detach().double().flatten(1).numpy(), model.coef_, rtol=1e-3, atol=atol
        )
        np.testing.assert_allclose(layer.bias.detach().double(), model.intercept_, atol=1e-4)
        expected = 1 - ((y - model.predict(x)) ** 2).sum() / ((y - y.mean(0)) ** 2).sum()
        assert fitted.r2[i] == pytest.approx(expected, abs=1e-6)
        weighted = r2_score(y, model.predict(x), multioutput="variance_weighted")
        assert fitted.r2[i] == pytest.approx(weighted, abs=1e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_pieces_give_the_whole_and_the_connectors_fit_a_ladder(name):
    made, fitted = fit(name)
    again = fit(name, [torch.cat(BATCHES)])[1]
    np.testing.assert_allclose(fitted.r2, again.r2, atol=1e-6)
    ladder = Ladder(
        made.student, made.teacher, images(), **made.blocks, connectors=fitted.connectors
    ).eval()
    assert ladder(images()).student.isfinite().all()


def test_maps_of_other_sizes_are_regressed_where_the_teacher_has_them():
    torch.manual_seed(0)
    student, teacher = build_model("resnet8", CLASSES), build_model("vgg8", CLASSES).eval()
    names = (None, ("block1", "block2", "block3"))
    fitted = fit_connectors(student, teacher, BATCHES, *names, strength=0)
    assert fitted.rows[0] == 80 * 8 * 8
    ladder = Ladder(student, teacher, images(), *names, connectors=fitted.connectors)
    x = torch.cat(BATCHES)
    ours, theirs = features(student, "layer1", x), features(teacher, "block1", x)
    with torch.no_grad():
        left = rows(theirs - ladder.connectors[0](ours))
    y = rows(theirs)
    expected = 1 - (left**2).sum() / ((y - y.mean(0)) ** 2).sum()
    assert fitted.r2[0] == pytest.approx(expected, abs=1e-5)


def test_a_student_that_is_its_own_teacher_is_explained_whole():
    made = pair("resnet")
    fitted = fit_connectors(made.teacher, made.teacher, BATCHES, strength=0)
    np.testing.assert_allclose(fitted.r2, 1.0, atol=1e-6)
    ladder = Ladder(made.teacher, made.teacher, images(), connectors=fitted.connectors)
    logits, taught = ladder(images())
    for column in logits.unbind(-1):
        torch.testing.assert_close(column, taught, rtol=1e-3, atol=1e-3)


def test_both_models_and_the_random_state_are_left_alone():
    made = pair("encoder")
    before = parts(made.student), parts(made.teacher), torch.get_rng_state()
    fit_connectors(made.student, made.teacher, BATCHES, **made.blocks)
    assert_same(before[0], parts(made.student))
    assert_same(before[1], parts(made.teacher))
    assert torch.equal(before[2], torch.get_rng_state())
    assert hooks(made.student) == hooks(made.teacher) == 0


def test_features_that_do_not_vary_have_no_r2():
    made = pair("resnet")
    with torch.no_grad():
        made.teacher.bn1.weight.zero_()
        made.teacher.bn1.bias.zero_()
        for p in made.teacher.layer1.parameters():
            p.zero_()
    fitted = fit_connectors(made.student, made.teacher, BATCHES, stones=(1, 2))
    assert np.isnan(fitted.r2[0])


def test_channels_of_unlike_size_far_from_zero_weigh_what_least_squares_gives_them():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 4, generator=generator, dtype=torch.float64)
    y = x @ torch.randn(4, 3, generator=generator, dtype=torch.float64)
    y += torch.randn(400, 3, generator=generator, dtype=torch.float64)
    x, y = x * torch.tensor([1.0, 1e-6, 1e3, 1.0]) + 1e4, y + 1e5
    x[:, 3] = 7.0  # a dead channel
    one = Regression(1)
    for ours, theirs in zip(x.split(150), y.split(150), strict=True):
        one.add(ours, theirs)
    weight, bias, r2 = one.solve(0)
    alive = x[:, :3] - x[:, :3].mean(0)
    expected = torch.linalg.lstsq(alive, y - y.mean(0)).solution
    found = 1 - (y - y.mean(0) - alive @ expected).square().sum() / (y - y.mean(0)).square().sum()
    assert r2 == pytest.approx(float(found), abs=1e-8)
    torch.testing.assert_close(weight[:3], expected, rtol=1e-6, atol=1e-9)
    assert not weight[3].any()
    torch.testing.assert_close(bias, y.mean(0) - x.mean(0) @ weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": -1.0}, "strength must be a finite number from 0, got -1.0"),
        ({"batches": []}, "there are no images to fit connectors on"),
        (
            {"batches": iter([[BATCHES[0], 1]])},
            "without labels, got a list: a DataLoader's images are",
        ),
        ({"batches": [float("nan") * BATCHES[0]]}, "of stone 1 hold NaN or infinite values"),
        ({"stones": (4,)}, "stones must rise within 1 to 3"),
        ({"student_blocks": ("layer1", "layer2")}, "has 2 blocks and the teacher 3"),
        ({"teacher_blocks": ("layer2", "layer1", "layer3")}, "runs its blocks in the order layer1"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(options, message):
    made = pair("resnet")
    with pytest.raises(ValueError, match=message):
        fit_connectors(made.student, made.teacher, **({"batches": BATCHES} | options))


def test_a_teacher_in_training_mode_is_refused():
    made = pair("resnet")
    with pytest.raises(ValueError, match="the teacher is in training mode"):
        fit_connectors(made.student, made.teacher.train(), BATCHES)
