"""The blind-spot VAE's statistics, densities and rule, by hand, by brute force and by other libraries; what its reference gets wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detector_trials import Training, build, phantoms, plant
from scipy import ndimage, stats
from sklearn.svm import OneClassSVM

from medood.core.detector import Batch, ImageSpec
from medood.core.errors import MedoodError
from medood.detectors.combination.image_keys import keys_of
from medood.detectors.reconstruction.blind_spot_normals import JUDGEMENTS, STATISTICS, Normals, judged_by_others, log_density, p_values
from medood.detectors.reconstruction.blind_spot_statistics import compressed_bits, eroded, residual_entropy, residual_map
from medood.detectors.reconstruction.blind_spot_vae import BlindSpotVAE

SPEC = ImageSpec(1, 32, 32, background=0.0)
SMALL = {"width": 4, "latent": 8, "warmup": 10}


def small(seed: int = 0, spec: ImageSpec = SPEC, **parameters: object) -> BlindSpotVAE:
    detector = build(lambda: BlindSpotVAE(spec, **{**SMALL, **parameters}), seed)
    assert isinstance(detector, BlindSpotVAE)
    return detector


def fitted(**parameters: object) -> BlindSpotVAE:
    detector = small(**parameters)
    Training(1).fit(detector, phantoms(SPEC, 32, seed=1), phantoms(SPEC, 30, seed=2))
    return detector


def everywhere(side: int) -> torch.Tensor:
    return torch.ones((1, 1, side, side), dtype=torch.bool)


@pytest.mark.parametrize("side", [8, 77, 128])
def test_the_entropy_is_exact_at_both_ends_whatever_the_size(side: int) -> None:
    """An epsilon of 1e-4 inside the logarithm would give 0.95 and 0.90 for a flat residual of 77 x 77 and 128 x 128 pixels."""
    flat, point = torch.full((1, 1, side, side), 0.3), torch.zeros(1, 1, side, side)
    point[0, 0, 2, 3] = 5.0
    assert residual_entropy(flat, everywhere(side)).item() == pytest.approx(1.0, abs=1e-5)
    assert residual_entropy(point, everywhere(side)).item() == 0.0


def test_the_entropy_is_that_of_the_pixels_that_count() -> None:
    """What lies outside does not matter, half of the pixels alike have log(n / 2) / log(n), and the unit of the map is of no concern."""
    heat = torch.rand((1, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    where = torch.zeros((1, 1, 16, 16), dtype=torch.bool)
    where[..., 4:12, 4:12] = True
    heat[where] = torch.tensor([1.0, 0.0]).repeat(32)
    given = heat.clone()
    assert residual_entropy(heat, where).item() == pytest.approx(np.log(32) / np.log(64), abs=1e-6)
    assert residual_entropy(1000 * heat, where).item() == pytest.approx(np.log(32) / np.log(64), abs=1e-6)
    assert torch.equal(heat, given), "the map is measured and not normalised in place"


def test_without_a_residual_nothing_is_concentrated() -> None:
    heat = torch.zeros((2, 1, 8, 8))
    where = torch.stack([everywhere(8)[0], ~everywhere(8)[0]])
    assert residual_entropy(heat, where).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("times", [0, 1, 3])
def test_the_body_loses_its_rim_and_not_that_of_the_image(times: int) -> None:
    inside = phantoms(SPEC, 3, seed=4) > 0
    inside[0, 0, :, 10:20] = True  # reaches the rim of the image
    expected = [ndimage.binary_erosion(each[0].numpy(), iterations=times, border_value=1) if times else each[0].numpy() for each in inside]
    np.testing.assert_array_equal(eroded(inside, times)[:, 0].numpy(), np.stack(expected))
    thin = torch.zeros((1, 1, 32, 32), dtype=torch.bool)
    thin[..., 15:17, 4:28] = True
    assert torch.equal(eroded(thin, 3), thin), "a body that is all rim counts as a whole"


def test_the_residual_is_the_median_of_what_is_brighter() -> None:
    random = torch.Generator().manual_seed(1)
    image, made = (torch.rand((2, 3, 20, 20), generator=random) for _ in range(2))
    where = torch.zeros((2, 1, 20, 20), dtype=torch.bool)
    where[..., 3:18, 2:19] = True
    for side, signed in (("higher", image - made), ("lower", made - image), ("both", (image - made).abs())):
        heat = (signed.clamp(min=0).mean(1) * where[:, 0]).numpy()
        expected = np.stack([ndimage.median_filter(each, 5, mode="mirror") for each in heat]) * where[:, 0].numpy()
        np.testing.assert_allclose(residual_map(image, made, where, side, 5)[:, 0].numpy(), expected, atol=1e-6)  # type: ignore[arg-type]


def test_a_lesion_is_concentrated_and_a_shift_is_diffuse() -> None:
    normal = phantoms(SPEC, 6, seed=5)
    made, where = normal.clone(), normal > 0
    ill, _ = plant(SPEC, normal, "bright", 3)
    brighter = torch.where(where, normal + 0.1, normal)
    lesion = residual_entropy(residual_map(ill, made, where, "higher", 5), where)
    shift = residual_entropy(residual_map(brighter, made, where, "higher", 5), where)
    assert lesion.max() < 0.85
    assert shift.min() > 0.98


def test_the_elbo_is_the_sum_of_both_terms() -> None:
    detector = fitted(beta=0.5)
    parts = detector.score(phantoms(SPEC, 4, seed=6)).parts
    assert torch.allclose(parts["elbo"], parts["rec"] + 0.5 * parts["kl"], rtol=1e-6)
    assert bool((parts["kl"] > 0).all())


def test_the_error_is_that_inside_the_body_in_the_unit_of_the_scale() -> None:
    detector = fitted(scale=0.1)
    image = phantoms(SPEC, 3, seed=6)
    inside = image > 0
    with detector.at_rest():
        made, divergence = detector.rebuild(0, image)
    by_hand = torch.stack([(image[i] - made[i]).abs()[inside[i]].mean() / 0.1 for i in range(3)])
    parts = detector.score(image).parts
    assert torch.allclose(parts["rec"], by_hand, rtol=1e-5)
    assert torch.allclose(parts["kl"], divergence / 8, rtol=1e-5)
    detector.reduction = "sum"
    parts = detector.score(image).parts
    assert torch.allclose(parts["rec"], (by_hand + np.log(2)) * inside.sum((1, 2, 3)), rtol=1e-5)
    assert torch.allclose(parts["kl"], divergence, rtol=1e-5)


def test_the_gradient_is_that_of_the_elbo() -> None:
    """By moving every pixel a little up and down."""
    detector = small(spec=ImageSpec(1, 32, 32)).double().eval()
    image = phantoms(SPEC, 1, seed=7).double()
    steps = 1e-6 * torch.eye(32 * 32, dtype=torch.float64).view(-1, 1, 32, 32)
    with torch.no_grad():
        ahead, behind = (detector.loss(0, image + sign * steps, 1.0, masked=True)[0] for sign in (1, -1))
        size = detector.measure(image)[0][0, STATISTICS.index("gradient")]
    assert size.item() == pytest.approx(((ahead - behind) / 2e-6).norm().item(), rel=1e-3)


def test_waic_is_the_mean_of_the_models_plus_their_variance() -> None:
    detector = fitted(ensemble=3, reduction="sum")
    image = phantoms(SPEC, 4, seed=8)
    with detector.at_rest():
        each = torch.stack([detector.loss(number, image, 1.0, masked=True)[0] for number in range(3)])
    scores = detector.score(image)
    assert torch.allclose(scores.parts["waic"], each.mean(0) + each.var(0), rtol=1e-4)
    assert torch.allclose(scores.parts["elbo"], each.mean(0), rtol=1e-4)
    assert not torch.allclose(each[0], each[1], rtol=1e-3), "the models differ"
    assert "waic" not in fitted().score(image).parts


def test_noise_takes_more_bits_than_a_flat_image_and_the_model_knows_no_better() -> None:
    noise = torch.rand((1, 1, 32, 32), generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    flat = torch.full_like(noise, 0.5)
    bits = compressed_bits(torch.cat([noise, flat]), SPEC)
    assert bits[0] > 7 * 32 * 32
    assert bits[1] < 0.2 * bits[0]
    detector = fitted()
    parts = detector.score(torch.cat([noise, flat])).parts
    with detector.at_rest():
        made, divergence = detector.rebuild(0, noise)
    nats = (noise - made).abs().sum() / detector.unit + 32 * 32 * np.log(2 * 0.07 * 255) + divergence
    assert parts["complexity"][0].item() == pytest.approx(((nats / np.log(2) - bits[0]) / (32 * 32)).item(), rel=1e-4)


def test_the_weight_of_the_divergence_rises() -> None:
    detector = small()
    (phase, _), batch = detector.phases(), Batch(phantoms(SPEC, 8, seed=1))
    phase.begin()
    detector.train()
    for number in range(12):
        found = phase.step(batch, phase.update)
        expected = found["rec"] + min(1.0, number / 10) * found["kl"]
        assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert detector.steps_.tolist() == [12]


def test_a_training_that_goes_on_knows_how_far_the_weight_had_risen() -> None:
    detector, batch = small(), Batch(phantoms(SPEC, 8, seed=1))
    phase = detector.phases()[0]
    phase.begin()
    detector.steps_[0] = 5  # as the trainer puts buffers back after `begin`
    found = phase.step(batch, phase.update)
    assert found["loss"].item() == pytest.approx((found["rec"] + 0.5 * found["kl"]).item(), rel=1e-5)


def test_outside_the_body_counts_only_before_the_mask() -> None:
    detector = small(mask_from=1).eval()
    image = phantoms(SPEC, 2, seed=1)
    inside = image > 0
    with torch.no_grad():
        made, _ = detector.rebuild(0, image)
        whole, body = (detector.loss(0, image, 0.0, masked=masked)[1] for masked in (False, True))
    error = (image - made).abs() / detector.unit
    assert torch.allclose(whole, error.mean((1, 2, 3)), rtol=1e-5)
    assert torch.allclose(body, (error * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3)), rtol=1e-5)


def test_the_density_is_scipys_and_finite_far_out() -> None:
    normal = np.random.default_rng(0).gamma(3.0, size=50)
    near = np.linspace(0, 10, 40)
    np.testing.assert_allclose(log_density(near, normal), stats.gaussian_kde(normal).logpdf(near), rtol=1e-9)
    further = log_density(np.array([1e4, 1e6]), normal)
    assert np.isfinite(further).all()
    assert further[1] < further[0] < -1e6
    assert np.isfinite(log_density(near, np.full(5, 2.0))).all(), "also where all normal values are the same"


def statistics(random: np.random.Generator, count: int) -> np.ndarray:
    """Statistics of normal images, each of its own scale."""
    return random.normal(size=(count, len(STATISTICS))) * 10.0 ** -np.arange(len(STATISTICS)) + 5


def test_a_statistic_of_large_scale_counts_as_much_as_one_of_small_scale() -> None:
    """A sum of densities would move from 38.9 to 38.5 for ten deviations in the first of two, where the sum of logarithms falls by 700."""
    random = np.random.default_rng(0)
    normal = statistics(random, 100)
    normals = Normals.of(normal, ("rec", "kl"), 0.1)
    usual = normal.mean(0)
    for number in range(2):
        far = usual.copy()
        far[number] += 10 * normal[:, number].std()
        dose = normals.judge(np.stack([usual, far]))[:, JUDGEMENTS.index("dose")]
        assert dose[1] - dose[0] > 100


def test_typicality_and_the_svm_are_what_they_say() -> None:
    random = np.random.default_rng(1)
    normal, asked = statistics(random, 60), statistics(random, 7)
    found = Normals.of(normal, ("rec", "entropy", "kl"), 0.2).judge(asked)
    elbo = STATISTICS.index("elbo")
    np.testing.assert_allclose(found[:, 0], np.abs(asked[:, elbo] - normal[:, elbo].mean()))
    columns = [STATISTICS.index(name) for name in ("rec", "entropy", "kl")]
    centre, spread = normal[:, columns].mean(0), normal[:, columns].std(0, ddof=1)
    svm = OneClassSVM(nu=0.2, gamma=1 / 3).fit((normal[:, columns] - centre) / spread)
    expected = -svm.decision_function((asked[:, columns] - centre) / spread)
    np.testing.assert_allclose(found[:, JUDGEMENTS.index("dose_svm")], expected, atol=1e-9)


def test_held_out_images_are_judged_by_other_patients_alone() -> None:
    random = np.random.default_rng(2)
    rows, patients = statistics(random, 30), np.repeat(np.arange(10), 3)
    rows[patients == 4] += 8 * rows.std(0)  # three images of one strange patient, all alike
    among_themselves = Normals.of(rows, ("rec", "kl"), 0.1).judge(rows)
    by_others = judged_by_others(rows, patients, ("rec", "kl"), 0.1)
    dose = JUDGEMENTS.index("dose")
    strange = patients == 4
    assert by_others[strange, dose].min() > among_themselves[strange, dose].max() + 5
    fresh = Normals.of(rows[~strange], ("rec", "kl"), 0.1).judge(rows[strange])
    np.testing.assert_allclose(by_others[strange], fresh)


def test_a_held_out_image_is_known_again() -> None:
    detector, held_out = small(), phantoms(SPEC, 30, seed=2)
    Training(1).fit(detector, phantoms(SPEC, 32, seed=1), held_out)
    parts = detector.score(held_out[:4]).parts
    known = dict(zip(detector.keys_.tolist(), detector.judged_, strict=True))
    for number, key in enumerate(keys_of(held_out[:4]).tolist()):
        for column, name in enumerate(JUDGEMENTS):
            assert parts[name][number] == known[key][column]


def test_no_more_normal_images_are_called_shifted_or_ill_than_stated() -> None:
    """Exchangeable statistics, many repeats: the mean rate stays at or below the stated one, within three standard errors."""
    random = np.random.default_rng(3)
    columns = [JUDGEMENTS.index(name) for name in ("shift", "lesion")]
    p = []
    for _ in range(80):
        normal, new = statistics(random, 40), statistics(random, 10)
        judged = judged_by_others(normal, np.arange(40), ("rec",), 0.1)
        fresh = Normals.of(normal, ("rec",), 0.1).judge(new)
        p.append(np.stack([p_values(fresh[:, at], judged[:, at]) for at in columns]))
    for rate in (0.05, 0.2):
        found = (np.stack(p) <= rate).mean(2)
        mean, error = found.mean(0), found.std(0) / np.sqrt(len(found))
        assert (mean <= rate + 3 * error).all(), mean
        assert (mean >= rate / 3).all(), "it does refuse some"


def test_concentrated_is_a_lesion_and_diffuse_is_a_shift() -> None:
    random = np.random.default_rng(4)
    normal = statistics(random, 60)
    spread, usual = normal.std(0), np.median(normal, 0)
    normals = Normals.of(normal, ("rec",), 0.1)
    judged = judged_by_others(normal, np.arange(60), ("rec",), 0.1)

    def p(**moved: float) -> tuple[float, float]:
        row = usual.copy()
        for name, deviations in moved.items():
            row[STATISTICS.index(name)] += deviations * spread[STATISTICS.index(name)]
        found = normals.judge(row[None])
        shift, lesion = (p_values(found[:, at], judged[:, at])[0] for at in map(JUDGEMENTS.index, ("shift", "lesion")))
        return float(shift), float(lesion)

    assert min(p()) > 0.2
    for lesion in ({"entropy": -5.0}, {"peak": 5.0}, {"entropy": -4.0, "peak": 4.0}):
        assert p(**lesion)[1] < 0.05 < 0.2 < p(**lesion)[0], lesion
    for shift in ({"level": 5.0}, {"level": -5.0}, {"kl": -5.0}, {"kl": 5.0}, {"bits": 5.0}, {"entropy": 5.0}):
        assert p(**shift)[0] < 0.05, shift


def test_the_outcome_follows_from_the_p_values() -> None:
    detector = fitted(shift_rate=0.1, lesion_rate=0.2)
    normal = phantoms(SPEC, 20, seed=9)
    images = torch.cat([normal, plant(SPEC, normal, "bright", 1)[0], 1 - normal, torch.rand(normal.shape)])
    parts = detector.score(images).parts
    expected = torch.where(parts["shift_p"] <= 0.1, 2.0, torch.where(parts["lesion_p"] <= 0.2, 1.0, 0.0))
    assert torch.equal(parts["outcome"], expected)
    assert (parts["outcome"][40:] == 2).float().mean() > 0.9, "inverted images and noise are no lesions"


def test_what_cannot_be_is_refused_in_a_sentence() -> None:
    for wrong in ({"median": 4}, {"statistics": ()}, {"nu": 0.0}, {"shift_rate": 0.0}, {"lesion_rate": 1.0}):
        with pytest.raises(MedoodError, match=r"\.$"):
            small(**wrong)
    assert small(shift_rate=0.01).phases()[-1].held_out == 99, "a p-value of .01 needs 99 held-out images"
