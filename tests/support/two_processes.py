"""Trains cases of the contract of detectors on phantoms, alone or in several processes: python two_processes.py FOLDER CASE CASE ...

A case is a number among `ALL_CASES`, or a name of `EXACT`; after "again-" it is trained for an epoch, then goes on to the next one.
FOLDER/CASE then holds the history, and the detector that process R ended with in R.safetensors. Before all that, what the processes know
together is held against what one of them computes of everything.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

sys.path.append(str(Path(__file__).parents[1] / "detectors"))
from detector_trials import brighter_side, pasted, phantoms
from test_detector_contract import ALL_CASES, GREYS, HISTOGRAMS, SMALL_FLOW, SMALL_MIXTURE, SMALL_SPHERE, Case, make, spec_of

from medood.core.running import processes
from medood.recipe.recipe import Training
from medood.training.batch_norm import WholeBatchNorm
from medood.training.contrast import Contrast
from medood.training.processes import joined
from medood.training.trainer import train
from medood.transforms.mask_boxes import MaskBoxes

STILL = {"noise": 0.0, "learning_rate": 1e-3}
EXACT = {
    "autoencoder": Case("autoencoder", {"architecture": "medianomaly", "width": 4}),
    "classifier_guard": Case("classifier_guard", {"classes": 2, "width": 8, "score": "mahalanobis"}),
    "contrastive_flow": Case("contrastive_flow", SMALL_FLOW | STILL, HISTOGRAMS),
    "dagmm": Case("dagmm", SMALL_MIXTURE | {"dropout": 0.0}),
    "deep_svdd": Case("deep_svdd", SMALL_SPHERE | {"objective": "soft_boundary", "warmup_epochs": 1}),
    "dsebm": Case("dsebm", {"width": 8, "noise": 1e-6}),
    "ensemble": Case("ensemble", members=({"name": "intensity"}, {"name": "autoencoder", "width": 4})),
    "flow": Case("flow", SMALL_FLOW | STILL, HISTOGRAMS),
    "ganomaly": Case("ganomaly", {"width": 8, "code": 32}),
    "goad": Case("goad", {"width": 1, "transforms": "shifts", "images": 3, "learning_rate": 1e-4}),
    "goad_affine": Case("goad_affine", {"transforms": 8, "size": 32, "learning_rate": 1e-4}, HISTOGRAMS),
    "mahalanobis": Case("mahalanobis", {}, HISTOGRAMS),
    "one_class_svm": Case("one_class_svm", {"input": "crop32", "min_foreground": 0.75, "gamma": "auto", "variance": 1.0}),
    "padim": Case("padim", {"channels": 4, "reduce": "choice"}, GREYS),
    "patch_core": Case("patch_core", {"bank": 60, "candidates": 500, "by_place": True}, GREYS),
    "patch_gan": Case("patch_gan", {"width": 8, "discriminator_width": 8, "reading": "crop32", "loss_region": "hidden"}, tile=32),
    "knn": Case("knn", {"level": "location", "most": 8}, GREYS),
}
"""Detectors that draw nothing at random while they train, or next to nothing, so that two processes can be held against one."""


SINGLE = ("goad", "goad_affine", "padim", "patch_core")
"""Those of them that compute in single precision whatever they are given."""


class Phantoms:
    def __init__(self, images: Tensor) -> None:
        """In double precision where a case is EXACT, so that sums in another order stay far below what is measured."""
        self.images, self.classes = images, brighter_side(images).numpy()
        self.groups = [f"patient {number // 2}" for number in range(len(images))]

    def __len__(self) -> int:
        return len(self.images)

    def gather(self, numbers: np.ndarray) -> Tensor:
        return self.images[torch.from_numpy(numbers)]


def train_case(
    name: str, folder: Path, *, images: int = 11, held_out: int = 25, epochs: int = 2, batch_size: int = 4, **options: Any
) -> None:
    """Batches of 4, 4 and 3 images, and held-out ones of six times 4 and 1."""
    case = case_of(name)
    spec = spec_of(case)
    detector, hide = make(case, spec), MaskBoxes(tile=case.tile)
    kind = torch.float64 if name in EXACT and name not in SINGLE else torch.float32
    detector.to(kind)

    def augment(sample: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
        hide.set_random_state(seed=seed)
        return hide(sample)

    parts = phantoms(spec, images, seed=1).to(kind), phantoms(spec, held_out, seed=9).to(kind)
    contrast = Contrast(*(Phantoms(pasted(spec)(part)) for part in parts)) if detector.learns_from_contrast else None
    plan = Training(epochs=epochs, batch_size=batch_size, tensorboard=False)
    options = {"seed": 5, "device": torch.device("cpu"), "augment": augment, "contrast": contrast, "progress": False} | options
    train(detector, *(Phantoms(part) for part in parts), plan, folder, **options)
    save_file({key: value.contiguous() for key, value in detector.state_dict().items()}, folder / f"{processes.rank()}.safetensors")


def case_of(name: str) -> Case:
    return EXACT[name] if name in EXACT else ALL_CASES[int(name)]


def train_cases(names: Sequence[str], folder: Path, **options: Any) -> None:
    for name in names:
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        case = name.removeprefix("again-")
        if case != name:
            train_case(case, place, epochs=1, **options)
        train_case(case, place, resume=case != name, **options)


def check_sums() -> None:
    """Rows, sums, batch norm and their gradients of a batch in uneven parts against those of the whole batch."""
    random = torch.Generator().manual_seed(0)
    whole = torch.randn((5, 3, 4, 4), generator=random, dtype=torch.float64)
    mine = processes.part(len(whole))
    assert mine == (slice(0, 3) if processes.leads() else slice(3, 5))
    assert processes.together(whole[mine]).equal(whole[mine])  # nothing is shared yet
    norms = [nn.BatchNorm2d(3).double() for _ in range(2)]
    part = whole[mine].clone().requires_grad_()
    with processes.sharing(len(part) / len(whole)), WholeBatchNorm():
        assert processes.together(whole[mine] > 0).equal(whole > 0)
        assert processes.together(whole[mine][: processes.rank()]).equal(whole[3:4])  # one has no rows
        assert torch.allclose(processes.mean(whole[mine]), whole.mean(0), rtol=1e-12)
        assert processes.together(part.bfloat16()).equal(whole.bfloat16())
        found = _of_all(norms[0], processes.together, part)
        (found * processes.weight()).backward()
    whole.requires_grad_()
    wanted = _of_all(norms[1], lambda rows: rows, whole)
    wanted.backward()
    assert torch.allclose(found, wanted, rtol=1e-12)
    assert part.grad is not None
    assert whole.grad is not None
    assert torch.allclose(part.grad, whole.grad[mine], rtol=1e-9, atol=1e-12)
    for one, other in zip(norms[0].state_dict().values(), norms[1].state_dict().values(), strict=True):
        assert torch.allclose(one.double(), other.double(), rtol=1e-9, atol=1e-12)


def _of_all(norm: nn.Module, together: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """(): the slopes of an energy with batch norm, and how alike images are: no mean of what each image is by itself."""
    energy = norm(images).pow(3).sum()
    (slope,) = torch.autograd.grad(energy, images, create_graph=True)
    rows = together((images + slope).flatten(1))
    return (rows @ rows.T).logsumexp(1).mean()


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined("cpu"):
        check_sums()
        train_cases(sys.argv[2:], Path(sys.argv[1]))
