"""What training leaves to look at: curves for TensorBoard and what a person sees."""

from __future__ import annotations

import io

import pytest
import torch
from rich.console import Console
from rich.progress import Progress
from training_toys import Collect, Reconstruct, Toy, plan, run, train_watched

from medood.core.running.memory import peak_memory
from medood.training.watching import forecast as forecast_module
from medood.training.watching import progress as progress_module
from medood.training.watching.history import History


class Validated(Reconstruct):
    def validate(self, batch):
        return (self.detector(batch.image) - batch.image.flatten(1)).square().mean(1)


class Stop(Exception):
    pass


@pytest.mark.slow
def test_tensorboard_curves_and_no_point_twice_after_resuming(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("medood.training.losses.SECONDS_BETWEEN_READS", -1)

    def stop_in_sphere(call: str) -> None:
        calls.append(call)
        if calls.count("step sphere") == 8:
            raise Stop

    calls: list[str] = []
    with pytest.raises(Stop):
        train_watched(tmp_path, tensorboard=True, watch=stop_in_sphere)
    train_watched(tmp_path, tensorboard=True, resume=True)

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert {"autoencoder/encoder", "autoencoder/validation", "autoencoder/learning_rate/decoder", "sphere/distance"} <= set(tags)
    steps = {tag: [point.step for point in events.Scalars(tag)] for tag in tags}
    assert steps["autoencoder/validation"] == [5, 10, 15]
    assert steps["sphere/validation"] == [25, 30, 35]  # after 15 iterations of the first phase and 5 of the second
    assert steps["autoencoder/decoder"] == list(range(1, 16))
    assert steps["sphere/distance"] == list(range(21, 36))


def test_history_keeps_the_lines_asked_for_and_goes_on_behind_them(tmp_path) -> None:
    for keep, value in ((0, 1), (1, 2), (2, 3), (1, 4)):
        with History(tmp_path, keep) as history:
            history.append({"value": value})
            assert history.lines == keep + 1
    (tmp_path / "history.jsonl").open("a").write('{"cut off')
    with History(tmp_path, 2):
        pass
    assert (tmp_path / "history.jsonl").read_text() == '{"value": 1}\n{"value": 4}\n'


def test_no_tensorboard_unless_wanted(tmp_path) -> None:
    (tmp_path / "tensorboard").mkdir()
    run(Toy(Reconstruct), tmp_path)
    assert not (tmp_path / "tensorboard").exists()


def console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=200)


def test_a_log_has_a_line_for_every_epoch(tmp_path) -> None:
    found = console(terminal=False)
    run(Toy(Validated, Collect), tmp_path, held_out=3, progress=Progress(console=found))
    lines = found.file.getvalue().splitlines()
    assert [line.split("  loss")[0] for line in lines[1:4]] == [f"reconstruct  epoch {epoch}/3" for epoch in (1, 2, 3)]
    assert all("validation 0." in line for line in lines[1:4])
    assert lines[3].endswith("images/s  0.0 s left")
    assert lines[5].startswith("collect  epoch 1/1  ")
    assert len(lines) == 6


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Slow(Validated):
    """Every batch takes two seconds, but the first takes nine."""

    clock = Clock()
    batches = 0

    def step(self, batch, update):
        self.batches += 1
        self.clock.now += 9 if self.batches == 1 else 2
        return super().step(batch, update)


@pytest.mark.parametrize(
    ("images", "said_before", "seconds"),
    [
        (40, 4, "20 s an epoch, 2 min for 6 epochs"),  # ten batches: after enough seconds
        (16, 3, "8 s an epoch, 48 s for 6 epochs"),  # four: while one is left
        (8, 2, "4 s an epoch, 24 s for 6 epochs"),  # two: after the epoch
        (4, 1, "9 s an epoch, 54 s for 6 epochs"),  # the first batch is all there is
    ],
)
def test_time_and_memory_are_said_before_the_first_epoch_ends(tmp_path, monkeypatch, images, said_before, seconds) -> None:
    monkeypatch.setattr(forecast_module, "time", Slow.clock)
    monkeypatch.setattr(forecast_module, "peak_memory", lambda: int(1.3 * 2**30))
    said: list[tuple[str, int]] = []
    phases: list[Slow] = []

    class Listening(progress_module.Silence):
        def say(self, sentence: str) -> None:
            said.append((sentence, phases[0].batches))

        def end_epoch(self, epoch, losses, validation) -> None:
            assert len(said) == 1

    detector = Toy(lambda toy: phases.append(Slow(toy)) or phases[-1])
    run(detector, tmp_path, plan(epochs=6), images=images, progress=Listening())
    assert said == [(f"reconstruct: about {seconds}; 1.3 GiB of memory", said_before)]


def test_a_forecast_says_nothing_of_memory_that_nobody_knows(monkeypatch) -> None:
    monkeypatch.setattr(forecast_module, "time", clock := Clock())
    monkeypatch.setattr(forecast_module, "peak_memory", lambda: None)
    said: list[str] = []
    forecast = forecast_module.Forecast("train", 1, 3, torch.device("cpu"), said.append)
    for _ in range(6):
        clock.now += 5
        forecast.collect(None)
    assert said == ["train: about 15 s"]


def test_the_memory_of_this_process_is_known() -> None:
    before = peak_memory()
    block = torch.ones(2**24)
    assert before is None or 2**26 < before <= peak_memory() < 2**45
    assert len(block)


def test_bars_on_a_terminal(tmp_path) -> None:
    found = Progress(console=console(terminal=True), auto_refresh=False)
    run(Toy(Validated, Collect), tmp_path, held_out=3, progress=found)
    first, second = found.tasks
    assert (first.total, first.completed) == (54, 54)
    assert first.description.startswith("reconstruct  epoch 3/3  loss 0.")
    assert "validation 0." in first.description
    assert (second.total, second.completed) == (18, 18)


def test_a_bar_goes_on_where_training_was_resumed() -> None:
    found = Progress(console=console(terminal=True), auto_refresh=False)
    progress_module.Bars(found).begin("train", 10, 50, 4)
    assert (found.tasks[0].total, found.tasks[0].completed) == (500, 200)


@pytest.mark.parametrize("wanted", [True, False])
def test_own_progress_goes_to_the_error_stream(tmp_path, capsys, wanted) -> None:
    run(Toy(Reconstruct), tmp_path, progress=wanted)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert ("epoch 3/3" in printed.err) is wanted


def test_losses_that_appear_in_some_iterations_only_are_averaged_over_those(tmp_path) -> None:
    class Sometimes(Reconstruct):
        epochs = 1
        iteration = 0

        def step(self, batch, update):
            self.iteration += 1
            values = {"always": torch.tensor(float(self.iteration))}
            return values | {"rare": torch.tensor(10.0 * self.iteration)} if self.iteration % 2 == 0 else values

    found = Progress(console=console(terminal=True), auto_refresh=False)
    run(Toy(Sometimes), tmp_path, plan(), progress=found)
    assert "always 3  rare 30" in found.tasks[0].description


def test_a_loss_that_is_a_buffer_is_taken_as_it_was_in_its_iteration(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("medood.training.losses.SECONDS_BETWEEN_READS", 1e9)

    class Moving(Reconstruct):
        epochs = 1
        buffer = torch.zeros(())

        def step(self, batch, update):
            return {"buffer": self.buffer.add_(1)}

    found = Progress(console=console(terminal=True), auto_refresh=False)
    run(Toy(Moving), tmp_path, progress=found)
    assert "buffer 3" in found.tasks[0].description
