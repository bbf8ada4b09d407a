"""Epochs of steps, with metrics, evaluations and checkpoints at their places.

A run is a function of its recipe: killed at any moment and resumed from its last checkpoint, it ends with the same
weights bit for bit. See :mod:`refconv.engine.stepping` and :mod:`refconv.models.checkpoint` for why.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
import time
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from refconv.data import Batch
from refconv.engine.metrics import Metrics
from refconv.engine.remembering import last_step_again, load_optimizer
from refconv.engine.run_record import Course, ValidationPoint, by_field
from refconv.engine.setup import Setup
from refconv.engine.start import at_chance, course_from, evaluate_start, exploded, said
from refconv.engine.stepping import Stepper
from refconv.errors import CheckpointError, DataError, RunError, TrainingError, in_one_line
from refconv.methods.method import inner_optimizer
from refconv.models.checkpoint import Checkpoint, load_model_state
from refconv.models.run_folder import RunFolder, write_whole, writing
from refconv.models.weight_files import snapshot_bytes, some
from refconv.models.weights import not_finite
from refconv.named_code import resuming
from refconv.process.interruption import PATIENCE, Interruption, StoppedError, leave
from refconv.process.progress import StepDisplay
from refconv.process.shortage import SHORTAGES, shortage
from refconv.surgery import plain_state_dict, refocused_state_dict
from refconv.tasks.evaluation import Evaluation

_STEPS_BETWEEN_CHECKS = 10
"""How long losses stay on an accelerator before the processor waits for them; on a CPU there is nothing to wait for."""

_SHORT_STEP = 0.5
"""Seconds; steps that take longer may be given up: before them the buffers are copied, which costs about a millisecond,
and after them the processor waits for the loss, which the checkpoint of a step that is given up holds."""


class Loop:
    """The loop of one session: from the start, or from a checkpoint, to the end or an interruption."""

    def __init__(self, setup: Setup, stepper: Stepper, folder: RunFolder, checkpoint: Checkpoint | None = None) -> None:
        self.setup, self.stepper, self.folder = setup, stepper, folder
        self.recipe, self.processes = setup.recipe, setup.processes
        self.step = 0
        self.total = stepper.epochs * setup.steps_per_epoch
        self.train_loss: float | None = None  # mean over the last log interval and all processes
        self.validation: list[ValidationPoint] = []
        self.course: Course | None = None  # the measured start; None where the measure has no value
        self._losses: list[float] = []
        self.seconds_before = 0.0
        if checkpoint is not None:
            if not 0 <= checkpoint.step <= self.total:
                what, expected, found = "its step is none of this run", f"0 to {self.total}", str(checkpoint.step)
                where, remedy = str(folder.checkpoint_file), "copy the file again, or start the run anew"
                raise CheckpointError(what, where=where, expected=expected, found=found, remedy=remedy)
            self.step, self.seconds_before = checkpoint.step, checkpoint.seconds
            self.train_loss, self._losses = checkpoint.train_loss, list(checkpoint.losses)
            # What optimizers and losses of other packages say about states that are not theirs is manifold.
            with in_one_line(CheckpointError, "does not fit the run", where=str(folder.checkpoint_file)):
                self.validation = [ValidationPoint.from_dict(point) for point in checkpoint.validation]
                self.course = None if checkpoint.course is None else Course.from_dict(checkpoint.course)
                if stepper.trained_loss is not None and checkpoint.loss is not None:
                    stepper.trained_loss.load_state_dict(checkpoint.loss)
            load_optimizer(stepper, setup, checkpoint, where=str(folder.checkpoint_file))
            if stepper.average is not None:
                load_model_state(stepper.average.module, checkpoint.model_ema or {}, where=str(folder.checkpoint_file))
            if self.step and not self.processes.alone:
                last_step_again(stepper, setup, self.step)
        self._check_interval = 1 if self.processes.device.type == "cpu" else _STEPS_BETWEEN_CHECKS
        self._pending: list[Tensor] = []
        self._step_seconds: list[float] = []
        self._window: list[float] = []
        self._saved_step = self.step
        self._buffers: dict[str, Tensor] | None = {}

    @property
    def samples(self) -> int:
        """Samples that the whole run trains on, over all processes."""
        return self.total * self.setup.samples_per_step

    @property
    def seconds(self) -> float:
        """Seconds of training until now, all sessions included."""
        return self.seconds_before + time.perf_counter() - self._since

    @property
    def step_ms(self) -> float | None:
        """Median time of a step in this session, in milliseconds."""
        return 1000 * statistics.median(self._step_seconds) if self._step_seconds else None

    def run(self, metrics: Metrics, display: StepDisplay) -> None:
        """Train to the end; leave with an error at what is not finite, and at Ctrl-C with a checkpoint."""
        self._since = time.perf_counter()
        self._metrics, self._display = metrics, display
        if self.step == 0:
            self._save()
        with Interruption(patient=not self.processes.alone, patience=PATIENCE, overdue=self._leave) as interruption:
            self._interruption = interruption
            if self.step == 0 and self.course is None:
                self._measure_start()
                self._save()
            if self.step and self.step % self.setup.steps_per_epoch == 0:
                self._validate(self.step // self.setup.steps_per_epoch)  # if that was left out for a signal
            try:
                for epoch in range(self.step // self.setup.steps_per_epoch, self.stepper.epochs):
                    self._run_epoch(epoch)
            except KeyboardInterrupt:  # a second Ctrl-C
                remedy = f"the checkpoint of step {self._saved_step} is whole: continue with {resuming()}"
                what = f"{self._stopped}, without waiting"
                raise StoppedError(what, where=str(self.folder.path), remedy=remedy) from None
            except DataError as error:
                raise self._without_data(error) from error
            except SHORTAGES as error:
                if (lack := shortage(error)) is None:
                    raise
                remedy = f"{lack.remedy}; the checkpoint of step {self._saved_step} is kept: continue with {resuming()}"
                what = f"{lack.what} at step {self.step} of {self.total}"
                raise RunError(what, where=str(self.folder.path), found=lack.found, remedy=remedy) from error

    def _without_data(self, error: DataError) -> DataError:
        """Return the error for data that cannot be read any more, after a checkpoint of the last whole step.

        Of several processes the others are in the middle of a step, so that the last checkpoint is what there is.
        """
        if self._saved_step != self.step and self.processes.alone:
            if self._pending:
                self._check()
            self._save()
        kept = f"the checkpoint of step {self._saved_step} is written: continue with {resuming()}"
        remedy = "; ".join(filter(None, (error.remedy, kept)))
        return DataError(error.what, where=error.where, expected=error.expected, found=error.found, remedy=remedy)

    def _run_epoch(self, epoch: int) -> None:
        recipe, check_interval = self.recipe, self._check_interval
        last = (epoch + 1) * self.setup.steps_per_epoch
        batches = self.setup.train_batches(epoch, self.step - epoch * self.setup.steps_per_epoch)
        started = time.perf_counter()
        while self.step < last:
            self._pending.append(self._step(batches))
            self.step += 1
            self._display.move(self.step)
            logs = self.step % recipe.log_interval == 0
            saves = recipe.checkpoint_interval and self.step % recipe.checkpoint_interval == 0
            ends = self.step == last
            if ends:
                batches = iter(())  # whoever makes batches is free for the validation split
                self.stepper.end_epoch()
            if not (logs or saves or ends or self.step % check_interval == 0 or not self._steps_are_short):
                continue
            steps = len(self._pending)
            stop = self._check()
            duration = (time.perf_counter() - started) / steps
            self._step_seconds.append(duration)
            self._window.extend([duration] * steps)
            if logs or self.step == self.total:
                self._log()
            if ends:
                self._keep(epoch + 1)
            if ends and not stop:
                self._validate(epoch + 1)
            if self.step == self.total:
                self._check_end()
            if saves or (ends and (not recipe.checkpoint_interval or self.step == self.total)):
                self._save()
            if stop:
                self._stop()
            started = time.perf_counter()

    def _step(self, batches: Iterator[Batch]) -> Tensor:
        """Take one step. Until its optimizer begins to change weights, the process may be left."""
        with self._interruption.may_be_left() as keep:
            parts = list(itertools.islice(batches, self.recipe.grad_accum_steps))
            self._buffers = self._buffers_before()
            handle = inner_optimizer(self.stepper.optimizer).register_step_pre_hook(lambda *_: keep())
            try:
                return self.stepper.step(self.step, parts)
            finally:
                handle.remove()
                keep()
                self._buffers = {}

    @property
    def _steps_are_short(self) -> bool:
        return bool(self._step_seconds) and self._step_seconds[-1] < _SHORT_STEP

    def _buffers_before(self) -> dict[str, Tensor] | None:
        """Return copies of the buffers that a forward changes, to go back to if the step is given up.

        None where steps are so short that they are always waited for, and where a step begins with a new round, which
        changes more than buffers.
        """
        if self._steps_are_short or self.stepper.begins_round(self.step):
            return None
        return {name: buffer.clone() for name, buffer in self.stepper.model.named_buffers()}

    def _leave(self) -> None:
        """Leave in the middle of a step or an evaluation, with a checkpoint of the last whole step if that can be."""
        lost = self.step - self._saved_step
        what = f"{self._stopped}, in the middle of the next one"
        remedy = f"continue with {resuming()} from the checkpoint of step {self._saved_step}"
        if lost:
            remedy += f"; {lost} steps are lost"
        try:
            if lost and self.processes.alone and self._buffers is not None and not self._pending:
                self._save(self._buffers)
                remedy = f"the checkpoint is written: continue with {resuming()}"
        except (RunError, TrainingError) as error:
            what = f"{what}, and {error}"
        finally:
            words = StoppedError(what, where=str(self.folder.path), remedy=remedy)
            leave(str(words) if self.processes.first else None)

    @property
    def _stopped(self) -> str:
        return f"stopped by {self._interruption.word} at step {self.step} of {self.total}"

    def _measure_start(self) -> None:
        """Evaluate the model before its first step, so that what cannot work is seen before it costs time."""
        with self._interruption.may_be_left():
            split, result = evaluate_start(self.stepper.result, self.setup, seen=self.samples)
        self.course = course_from(split, result, self.setup.task.primary)
        if not result.finite:
            raise self.processes.agreed(self._not_finite("the loss", 0))
        self._metrics.write("start", step=0, epoch=0, **result.measures())
        for line in filter(None, (said(split, result), result.absurd, at_chance(result, self.setup))):
            self._display.say(line)

    def _check(self) -> bool:
        """Wait for the losses of the last steps; return whether a process was asked to stop."""
        first = self.step - len(self._pending) + 1
        losses = [float(loss) for loss in torch.stack(self._pending).tolist()]
        self._pending = []
        self._losses.extend(losses)
        bad = next((first + i for i, loss in enumerate(losses) if not math.isfinite(loss)), 0)
        asked = self._interruption.signal is not None
        # The earliest bad step of all processes is the largest distance from the end, which cannot be zero.
        stop, distance = self.processes.maxima([float(asked), float(self.total + 1 - bad) if bad else 0.0])
        if distance:
            raise self.processes.agreed(self._not_finite("the loss", self.total + 1 - int(distance)))
        return bool(stop)

    def _check_end(self) -> None:
        """Check on a few samples that the last steps did not spoil the result, before it replaces a good checkpoint."""
        self._share_buffers()
        with self._interruption.may_be_left():
            split, end = evaluate_start(self.stepper.result, self.setup, seen=0)
        self.check_finite(end, split)
        if (found := exploded(self.course, end)) is not None:
            remedy = self._not_finite("", self.step, updates=self.step)
            error = TrainingError("the loss exploded", where=f"step {self.step}", found=found, remedy=remedy.remedy)
            raise self.processes.agreed(error)

    def _not_finite(self, what: str, step: int, *, updates: int | None = None) -> TrainingError:
        """Return the error for what is not finite, with a remedy that fits the number of updates so far."""
        updates = max(0, step - 1) if updates is None else updates
        advice = "lower the learning rate, lengthen the warm-up or clip gradients"
        if not updates or not self.recipe.lr:
            advice = "training has not changed the weights: look at the weights, the data and their normalisation"
        spoilt = ", but its weights give this loss" if updates and updates == self._saved_step else ""
        written = self.folder.checkpoint_file.is_file()
        kept = f"the checkpoint of step {self._saved_step} is kept{spoilt}; " if written else ""
        return TrainingError(f"{what} is not finite", where=f"step {step}", remedy=f"{kept}{advice}")

    def check_finite(self, result: Evaluation, split: str) -> None:
        """Check the loss of an evaluation: weights that are finite may still give outputs that are not."""
        if not result.finite:
            what = f"the loss on the {'validation' if split == 'val' else split} split"
            raise self.processes.agreed(self._not_finite(what, self.step, updates=self.step))

    def _log(self) -> None:
        """Write and show the mean loss since the last time."""
        self.train_loss = self.processes.sums([statistics.fmean(self._losses)])[0] / self.processes.world_size
        rate = self.setup.samples_per_step * len(self._window) / sum(self._window)
        epoch, lr = self.step / self.setup.steps_per_epoch, self.stepper.lr
        self._losses, self._window = [], []
        self._metrics.write("train", step=self.step, epoch=epoch, loss=self.train_loss, lr=lr, samples_per_second=rate)
        self._display.train(step=self.step, epoch=epoch, loss=self.train_loss, lr=lr, rate=rate)

    def _validate(self, epoch: int) -> None:
        """Evaluate on the validation split, if there is one and it is time."""
        due = epoch % self.recipe.eval_interval == 0 or epoch == self.stepper.epochs
        done = any(point.step == self.step for point in self.validation)
        if done or not (due and self.setup.data.info.val_size):
            return
        self._share_buffers()
        with self._interruption.may_be_left():
            result = self.setup.evaluate(self.stepper.result, "val")
        self.check_finite(result, "val")
        measures = result.measures()
        self.validation.append(ValidationPoint(self.step, epoch, **by_field(ValidationPoint, measures)))
        self._metrics.write("val", step=self.step, epoch=epoch, **measures)
        self._display.say(f"epoch {epoch}: validation {result}")

    def _keep(self, epoch: int) -> None:
        """Keep the plain weights at the end of an epoch, if it is one of the last ones that the recipe asks for.

        They are those of the model in training, not of its average.

        Raises:
            RunError: if they cannot be written.
        """
        if epoch <= self.stepper.epochs - self.recipe.snapshots:
            return
        self._share_buffers()
        with self.processes.together():
            if self.processes.first:
                with writing(self.folder.snapshots_folder):
                    self.folder.snapshots_folder.mkdir(exist_ok=True)
                content = snapshot_bytes(plain_state_dict(self.stepper.model))
                write_whole(self.folder.snapshots_folder / f"epoch-{epoch:04}.pth", content)

    def _share_buffers(self) -> None:
        self.processes.share_buffers(self.stepper.model)
        if self.stepper.average is not None:
            self.processes.share_buffers(self.stepper.average.module)

    def _save(self, buffers: Mapping[str, Tensor] | None = None) -> None:
        """Write a checkpoint, with the buffers from before a step that is given up, by name."""
        self._share_buffers()
        losses = [loss / self.processes.world_size for loss in self.processes.sums(self._losses)]
        state = refocused_state_dict(self.stepper.model)
        state.update({name: buffer for name, buffer in (buffers or {}).items() if name in state})
        if broken := not_finite(self.stepper.model, state):
            raise self.processes.agreed(self._not_finite(f"a weight ({some(broken)})", self.step, updates=self.step))
        with self.processes.together():
            if self.processes.first:
                average = self.stepper.average
                Checkpoint(
                    step=self.step,
                    recipe=self.recipe.to_dict(),
                    info=self.setup.info.to_dict(),
                    preprocessing=self.setup.data.preprocessing.to_dict(),
                    model=state,
                    model_ema=None if average is None else refocused_state_dict(average.module),
                    optimizer=self.stepper.optimizer.state_dict(),
                    loss=None if self.stepper.trained_loss is None else self.stepper.trained_loss.state_dict(),
                    seconds=self.seconds,
                    metrics_length=self._metrics.saved_length(),
                    metrics_hash=self._metrics.hash(),
                    train_loss=self.train_loss,
                    losses=losses,
                    validation=[dataclasses.asdict(point) for point in self.validation],
                    course=None if self.course is None else self.course.to_dict(),
                ).save(self.folder.checkpoint_file)
        self._saved_step = self.step

    def _stop(self) -> None:
        """Write a checkpoint, if the last one is older, and leave."""
        if self._saved_step != self.step:
            self._save()
        remedy = f"the checkpoint is written: continue with {resuming()}"
        raise self.processes.agreed(StoppedError(self._stopped, where=str(self.folder.path), remedy=remedy))
