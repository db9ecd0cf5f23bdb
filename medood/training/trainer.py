"""Trains a detector: its phases in order, each run by an Ignite engine, resumable after any epoch."""

from __future__ import annotations

import logging
import math
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from ignite.engine import Engine, Events
from rich.progress import Progress

from medood.core.detector import Augment, Detector, Phase
from medood.core.errors import TrainingError
from medood.core.running import processes
from medood.recipe.recipe import Training
from medood.training.checkpoints.best_epoch import BestEpoch
from medood.training.checkpoints.checkpoint import Checkpoint, Checkpoints, discard_checkpoint, take_checkpoint
from medood.training.checkpoints.identity import identity
from medood.training.checkpoints.resuming import Plan, find_start, what_happens
from medood.training.checkpoints.weights import finite, restore
from medood.training.contrast import Against, Contrast, check_contrast, check_marginals, mixed
from medood.training.data import Batches, Images, InOrder, classes_of, patients_of
from medood.training.inputs import compute_inputs, has_inputs
from medood.training.losses import Losses, LossEvents, diverged
from medood.training.plan import check_classes, check_held_out, check_plan
from medood.training.processes import check_number
from medood.training.randomness import derived_seed
from medood.training.schedule import Schedule
from medood.training.update import step_function
from medood.training.validation import validation_loss
from medood.training.watching.forecast import Forecast
from medood.training.watching.history import History
from medood.training.watching.progress import Silence, reporting
from medood.training.watching.tensorboard import curves

_silent = logging.getLogger("medood.training.engine")
_silent.disabled = True  # Ignite reports every exception that passes through it, Ctrl-C among them, as an error of its own


def train(
    detector: Detector,
    images: Images,
    held_out: Images,
    plan: Training,
    folder: Path,
    *,
    seed: int,
    device: torch.device,
    augment: Augment | None = None,
    contrast: Against = None,
    resume: bool = False,
    progress: Progress | Silence | bool = True,
) -> None:
    """Train on normal images; afterwards the detector is on `device`, in eval mode and fitted.

    A phase with optimizers runs in train mode on augmented images and ends with the weights of the epoch that was best on `held_out`. A
    phase without them (a closed form) sees the images as scoring does: in eval mode, without gradients, in float32, not augmented.
    A detector that learns from a contrast gets it beside every batch; without one, or when another gets one, TrainingError is raised.
    `folder` receives `history.jsonl`, `tensorboard/` and `checkpoint/`. With `resume` a training that was killed goes on after its last
    whole epoch, and one with more `plan.epochs` than before, killed or complete, as `find_start` describes; on the same machine and with
    as many threads it ends with the same bits as in one go, unless a schedule follows the number of epochs and that changed. Call it with
    a new detector, built as the first one was. Call `discard_checkpoint` once the detector is saved.

    Several processes that call it together, with the same arguments but for the device, share every batch, and all end with the same
    detector: that of one process, but for the last bits and for what is drawn at random in training. The first one writes and reports.

    Raises TrainingError when there are no images, the plan does not fit the phases, the checkpoint is of another training, or a loss or a
    weight is no longer finite; the detector then holds the weights of the last good epoch.
    """
    if len(images) == 0:
        raise TrainingError("There are no normal images to train on: check the source's folder, the split and the transforms.")
    check_contrast(detector, contrast)
    check_number(len(images), plan.batch_size)
    rank = processes.rank()
    torch.manual_seed(derived_seed(seed, "process", rank) if rank else seed)
    detector.to(device)
    processes.agree(detector)
    if plan.channels_last:
        detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out
    _Trainer(detector, images, held_out, plan, folder, seed, device, augment, contrast).run(resume, progress)


class _Trainer:
    """What stays the same over the phases of one training."""

    def __init__(
        self,
        detector: Detector,
        images: Images,
        held_out: Images,
        plan: Training,
        folder: Path,
        seed: int,
        device: torch.device,
        augment: Augment | None,
        contrast: Against,
    ) -> None:
        self.detector, self.held_out, self.plan, self.seed, self.device = detector, held_out, plan, seed, device
        self.folder, self.contrast = folder, contrast
        self.phases = list(detector.phases())
        self.epochs = check_plan(self.phases, plan)
        check_held_out(self.phases, len(held_out))
        check_classes(self.phases, classes_of(images))
        check_marginals(self.phases, contrast)
        numbers = {"training images": len(images), "held-out images": len(held_out), "images to contrast with": _size(contrast)}
        numbers["processes"] = processes.count()
        self.files = Checkpoints(folder, identity(detector, self.phases, plan, seed=seed, numbers=numbers))
        self.batches = [self._batches(phase, images, augment) for phase in self.phases]
        self.schedules = [
            Schedule(plan, phase.name, phase.optimizers, epochs, len(batches))
            for phase, epochs, batches in zip(self.phases, self.epochs, self.batches, strict=True)
        ]

    def _batches(self, phase: Phase, images: Images, augment: Augment | None) -> Batches:
        changed = augment if phase.optimizers and not has_inputs(phase) else None
        size, channels_last, pin = self.plan.batch_size, self.plan.channels_last, self.device.type == "cuda"

        def batches(of: Images) -> Batches:
            return Batches(of, size, self.seed, phase.name, changed, channels_last, pin)

        if phase.held_out:
            return replace(batches(self.held_out), patients=patients_of(self.held_out))
        made = batches(images)
        if self.contrast is not None:
            made.contrast = batches(self.contrast.images) if isinstance(self.contrast, Contrast) else mixed
        return made

    def run(self, resume: bool, progress: Progress | Silence | bool) -> None:
        plan = Plan(self.phases, self.epochs, self.plan)
        start = find_start(self.files, plan) if resume else None
        processes.wait_for_all()  # all have read what is there, before it changes
        if start is None:
            self.detector.fitted_.fill_(False)
        else:
            start.apply(self.detector, self.device)
        with ExitStack() as stack:
            if not processes.leads():  # what this process notes is for nobody else
                self.folder = Path(stack.enter_context(TemporaryDirectory(prefix=".part-", dir=self.folder, ignore_cleanup_errors=True)))
            elif start is None:
                discard_checkpoint(self.folder)
            else:
                self.files.forget_ends(start.phase)
            self.history = stack.enter_context(History(self.folder, keep=start.history_lines if start else 0))
            self.curves = stack.enter_context(
                curves(self.folder, self.plan.tensorboard and processes.leads(), self._iterations_done(start))
            )
            self.report = stack.enter_context(reporting(progress if processes.leads() else False))
            if start is None:
                self.files.write(self._checkpoint(0, 0, BestEpoch()))
            for sentence in what_happens(start, plan) if start else ():
                self.report.say(sentence)
            for number in range(start.phase if start else 0, len(self.phases)):
                self._run_phase(number, start if start and start.phase == number else None)
        self.detector.mark_fitted()

    def _run_phase(self, number: int, start: Checkpoint | None) -> None:
        """One phase from its beginning, or from where `start` left it."""
        phase, epochs, best, done = self.phases[number], self.epochs[number], BestEpoch(), 0
        self.detector.train(bool(phase.optimizers))
        with torch.no_grad():
            phase.begin()
            processes.agree(self.detector)
        self._compute_inputs(number)
        if start is not None and start.epoch > 0:  # what `begin` computed from weights of another time is replaced
            start.apply(self.detector, self.device)
            start.apply_to_optimizers(phase.optimizers)
            best, done = start.best, start.epoch
        if done < epochs and not best.exhausted(self.plan.patience):  # Ignite would begin a finished run anew
            self._fit(number, best, done)
        restore(self.detector, best.weights)
        with torch.no_grad():
            phase.finish()
            processes.agree(self.detector)
        self.files.write(self._checkpoint(number + 1, 0, BestEpoch()))

    def _compute_inputs(self, number: int) -> None:
        """Once per image what the phase wants once per image, for the training and the held-out images and those of the contrast."""
        self._forget_inputs(number)
        batches = self.batches[number]
        batches.inputs = self._inputs(number, "train", batches.images)
        held_out, contrast = self._held_out(number, "held_out", self.held_out), None
        if isinstance(self.contrast, Contrast) and isinstance(batches.contrast, Batches):
            batches.contrast.inputs = self._inputs(number, "contrast", self.contrast.images)
            contrast = self._held_out(number, "contrast_held_out", self.contrast.held_out)
        self.validated = replace(held_out, contrast=contrast)

    def _forget_inputs(self, number: int) -> None:
        """Those of the phases before, which may be large."""
        for batches in self.batches[:number]:
            batches.inputs = None
            if isinstance(batches.contrast, Batches):
                batches.contrast.inputs = None
        for path in (self.folder / "checkpoint").glob("inputs_*.npy"):
            with suppress(OSError):  # a system that keeps what is still open
                path.unlink()

    def _held_out(self, number: int, part: str, images: Images) -> InOrder:
        inputs = self._inputs(number, part, images)
        return InOrder(images, self.plan.batch_size, self.plan.channels_last, self.device.type == "cuda", inputs)

    def _inputs(self, number: int, part: str, images: Images) -> np.ndarray | None:
        path = self.folder / "checkpoint" / f"inputs_{number}_{part}.npy"
        return compute_inputs(self.detector, self.phases[number], images, self.plan, path, seed=self.seed, device=self.device)

    def _fit(self, number: int, best: BestEpoch, done: int) -> None:
        """The epochs after `done`. A loss or weight that is no number brings the last good epoch back, then raises TrainingError."""
        phase, epochs, batches = self.phases[number], self.epochs[number], self.batches[number]
        engine = self._engine(number, best, done)
        engine.load_state_dict({"epoch": done, "max_epochs": epochs, "epoch_length": len(batches)})
        self.report.begin(phase.name, epochs, len(batches.images), done)
        try:
            with closing(batches.stream(done + 1, epochs)) as stream:
                engine.run(stream)
        except TrainingError:
            last = self.files.read()
            if last is not None:
                restore(self.detector, last.weights)
            raise
        finally:
            self.report.end()

    def _engine(self, number: int, best: BestEpoch, done: int) -> Engine:
        """An engine with everything attached that happens in a phase, in the order in which it happens."""
        phase = self.phases[number]
        losses = Losses(phase.name)
        forecast = Forecast(phase.name, self.epochs[number] - done, len(self.batches[number]), self.device, self.report.say)
        engine = Engine(step_function(phase, self.plan, self.device, losses))
        engine.logger = _silent
        engine.register_events(*LossEvents)
        for event, handler in (
            (Events.EPOCH_STARTED, losses.start),
            (Events.ITERATION_STARTED, self.schedules[number]),
            (Events.ITERATION_COMPLETED, losses.collect),
            (Events.ITERATION_COMPLETED, lambda engine: self.report.advance(engine.state.batch.whole)),
            (LossEvents.LOSSES_READ, lambda engine: self._show(engine, number)),
            (Events.ITERATION_COMPLETED, forecast.collect),
            (Events.EPOCH_COMPLETED, losses.read),
            (Events.EPOCH_COMPLETED, forecast.end_epoch),
            (Events.EPOCH_COMPLETED, lambda engine: self._end_epoch(engine, number, best)),
        ):
            engine.add_event_handler(event, handler)
        return engine

    def _show(self, engine: Engine, number: int) -> None:
        self.report.show(engine.state.epoch, engine.state.metrics)
        self.curves.add(self.phases[number].name, engine.state.metrics, self._iterations_before(number) + engine.state.iteration)

    def _end_epoch(self, engine: Engine, number: int, best: BestEpoch) -> None:
        phase, state = self.phases[number], engine.state
        with torch.no_grad():
            processes.agree(self.detector)
        if not finite(self.detector):
            raise diverged("a weight is not finite", phase.name, state.epoch, state.iteration)
        validation = self._validation(number, state.epoch)
        if validation is not None and not math.isfinite(validation):
            raise diverged(f"the validation loss became {validation}", phase.name, state.epoch, state.iteration)
        only_as_last = state.epoch % self.plan.validate_every != 0  # a longer training would not validate here
        if validation is not None and not only_as_last:
            best.consider(state.epoch, validation, self.detector)
        self._record(engine, number, validation)
        if phase.optimizers and (state.epoch == self.epochs[number] or best.exhausted(self.plan.patience)):
            self.files.write_end(self._checkpoint(number, state.epoch, best))
        if validation is not None and only_as_last:
            best.consider(state.epoch, validation, self.detector)
        if phase.optimizers:
            self.files.write(self._checkpoint(number, state.epoch, best))
        self.report.end_epoch(state.epoch, state.metrics, validation)
        if best.exhausted(self.plan.patience):
            engine.terminate()

    def _validation(self, number: int, epoch: int) -> float | None:
        phase = self.phases[number]
        if not phase.optimizers or (epoch % self.plan.validate_every and epoch < self.epochs[number]):
            return None
        return validation_loss(self.detector, phase, self.validated, seed=self.seed, device=self.device)

    def _record(self, engine: Engine, number: int, validation: float | None) -> None:
        phase, state = self.phases[number], engine.state
        rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in phase.optimizers.items()}
        self.history.append(
            {
                "phase": phase.name,
                "epoch": state.epoch,
                "iteration": state.iteration,
                "seconds": round(state.times[Events.EPOCH_COMPLETED.name] or 0.0, 3),
                "learning_rate": rates,
                "losses": state.metrics,
                "validation": validation,
            }
        )
        step = self._iterations_before(number) + state.iteration
        self.curves.add(f"{phase.name}/learning_rate", rates, step)
        self.curves.add(phase.name, {} if validation is None else {"validation": validation}, step)

    def _checkpoint(self, number: int, epoch: int, best: BestEpoch) -> Checkpoint:
        """The state after `epoch` epochs of phase `number`; one past the last phase when training is complete."""
        optimizers, planned = (self.phases[number].optimizers, self.epochs[number]) if number < len(self.phases) else ({}, 0)
        return take_checkpoint(
            self.detector,
            self.device,
            optimizers,
            phase=number,
            epoch=epoch,
            planned=planned,
            best=best,
            history_lines=self.history.lines,
        )

    def _iterations_before(self, number: int) -> int:
        """Iterations of all phases before this one, had none been stopped early."""
        return sum(epochs * len(batches) for epochs, batches in zip(self.epochs[:number], self.batches[:number], strict=True))

    def _iterations_done(self, start: Checkpoint | None) -> int:
        if start is None:
            return 0
        return self._iterations_before(start.phase) + (start.epoch * len(self.batches[start.phase]) if start.epoch else 0)


def _size(contrast: Against) -> int | str | None:
    """How many images there are to contrast with, or how the contrast is made."""
    return len(contrast.images) if isinstance(contrast, Contrast) else contrast
