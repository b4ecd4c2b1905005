"""The training loop: one for all families, resumable at every step, honest about time.

Step s (from 0) learns from batch number s * grad_accumulation and those after it, which are a pure function of the
number, at a learning rate that is a pure function of progress; random numbers, if a model draws any, are seeded per
step.  So a run of num_steps that was killed and resumed ends with the same bits as one that was not (same device,
threads and versions).  With a budget of seconds the schedule follows the clock, and no two runs are bit-identical.

Seconds are training seconds (fetching batches, forward, backward, update) of the clock that the configuration names.
Evaluation and checkpoints are timed apart, and so is the warm-up: one step before the first, which is undone
(rehearsal.py).  A budget of seconds is kept to the last whole step that fits (clock.py).
A training that diverges ends there, and says so in its result and its checkpoint (divergence.py).
Errors: WeightlessError on a full disk or a checkpoint of another run;
KeyboardInterrupt on Ctrl-C and SystemExit on SIGTERM, after the step is finished and saved.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from weightless.base.errors import WeightlessError
from weightless.base.interrupts import Interrupts
from weightless.base.progress import progress, told_if_slow
from weightless.base.random import seed_for
from weightless.data.batches.packing import Batch
from weightless.train.averages import Averages
from weightless.train.averages import told as average_told
from weightless.train.checkpoint import (
    Checkpoint,
    amend_checkpoint,
    copy_into,
    forget_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from weightless.train.clock import StepClock
from weightless.train.config import TrainConfig
from weightless.train.device import check_device, threads
from weightless.train.distilling import ALONE, DISTILLATION, START, Distilling, Lineage
from weightless.train.divergence import Diverged, Divergence, check_weights, is_sound
from weightless.train.fastest import passes_for
from weightless.train.feeding import TextSource, ahead, feeding
from weightless.train.initialise import initial_parameters
from weightless.train.learned_clips import LearnedClips, clips_in
from weightless.train.metrics import AUXILIARY, TEACHER_KL, MetricsLog
from weightless.train.optimizers.groups import grouped_optimizer
from weightless.train.processes import current
from weightless.train.rehearsal import Rehearsal
from weightless.train.result import TrainResult
from weightless.train.run_state import Counters, observations, schedule_factor
from weightless.train.same_run import check_same, identity
from weightless.train.schedules import qat_strength
from weightless.train.settling import Settling, settle
from weightless.train.shares import Share, lessons_of
from weightless.train.sharing import PROCESSES, Sharing, digest_of, writing
from weightless.train.step import constant_tensor, train_step
from weightless.train.usage import Usage
from weightless.train.validation import Validation
from weightless.train.working_weights import WorkingWeights


def train(
    model: Any,
    train_tokens: Any,
    val_tokens: Any,
    config: TrainConfig,
    out_dir: str | Path,
    label: str = "training",
    constants: Mapping[str, np.ndarray] | None = None,
    resume: bool = True,
    on_metrics: Callable[[dict[str, Any]], None] | None = None,
    source: TextSource | None = None,
    origin: Mapping[str, Any] | None = None,
    on_begin: Callable[[], None] | None = None,
    settling: Settling | None = None,
    lineage: Lineage = ALONE,
) -> TrainResult:
    """Train until the budget is used; out_dir receives metrics.jsonl, metrics.csv and checkpoint/.

    `constants` default to model.prepare(train_tokens, seed).  With `resume` a checkpoint in out_dir is continued (a
    finished or diverged one is returned as it is); without, it is deleted.  `source` (a corpus) says where documents
    begin.  `origin` (same_run.py) is kept in the checkpoint and compared when one is continued.  `on_begin` is called
    when nothing is left that could refuse the training, before the first byte is written.  `settling` is text that is
    none of train_tokens, to fit at the end what a model chooses instead of learning it.  `lineage` is what the training
    takes from other models: initial weights, a teacher (distilling.py).
    """
    together = current()
    check_device(config.device, together.local_rank, together.world)
    with writing(out_dir, together), threads(config.threads), torch.random.fork_rng(devices=[]):
        out, more = Path(out_dir), (constants, resume, on_metrics, source, origin, lineage)
        run = _Run(model, train_tokens, val_tokens, config, out, *more)
        rates = ", ".join(f"{group} {rate:g}" for group, rate in run.optimizer.rates(1.0).items())
        print(f"{label}: {run.feeding.description}\n{label}: peak learning rates: {rates}", file=sys.stderr)
        total, unit = (config.num_steps, "steps") if config.num_steps else (config.step_seconds, "s")
        if not run.is_over:
            with told_if_slow(f"{label}: warming up, outside the clock"):
                run.warm_up()
        if on_begin is not None:
            on_begin()
        run.begin(label)
        with run.feed(), Interrupts(together.echo) as interrupts, progress(label, total, unit, run.done()) as tick:
            while not run.is_over:
                before = run.done()
                note = run.advance()
                tick(run.done() - before, note)
                interrupts.agree(together.any_signal(interrupts.requested))
                if interrupts.requested is not None and not run.is_over:
                    run.save()
                    interrupts.stop_if_requested()
            run.finish(settling)
            interrupts.stop_if_requested()
        return run.result()


class _Run:
    """The moving parts of one call of `train`."""

    def __init__(
        self,
        model: Any,
        train_tokens: Any,
        val_tokens: Any,
        config: TrainConfig,
        out_dir: Path,
        constants: Mapping[str, np.ndarray] | None,
        resume: bool,
        on_metrics: Callable[[dict[str, Any]], None] | None,
        source: TextSource | None,
        origin: Mapping[str, Any] | None,
        lineage: Lineage,
    ) -> None:
        self.model, self.config, self.on_metrics = model, config, on_metrics
        self.out_dir, self.folder = out_dir, out_dir / "checkpoint"
        self.specs = list(model.tensors())
        self.together = current()
        self.share = Share.of(config, self.together.rank, self.together.world)
        self.feeding = feeding(train_tokens, config, source)
        self.lineage, scores = lineage, self.feeding.scores_sha256
        self.identity = identity(config, self.specs, train_tokens, scores, origin, lineage.to_plain())
        saved = load_checkpoint(self.folder) if resume else None
        if saved is not None:
            check_same(saved.state, self.identity, out_dir)
            constants = {name: tensor.numpy() for name, tensor in saved.constants.items()}
        elif constants is None:
            constants = lineage.start.constants if lineage.start else model.prepare(train_tokens, config.seed)
        self.diverged = Divergence.from_plain(saved.state["diverged"]) if saved and "diverged" in saved.state else None
        self.constants: dict[str, np.ndarray] = dict(constants or {})
        self.masters = initial_parameters(self.specs, config.seed, config.device)
        self.began = None if lineage.start is None else lineage.start.put_into(self.masters)
        self.passes = passes_for(model, config, lineage.teacher is not None, self.share, saved.state if saved else None)
        self.optimizer = grouped_optimizer(self.specs, self.masters, self.passes.config)
        self.averages = Averages(config, self.masters, self.specs)
        self.clips = None if config.qat_clip == "rule" else LearnedClips(config, self.specs, config.device)
        self.counters = self._restore(saved) if saved else Counters()
        tensors = {name: constant_tensor(value, config.device) for name, value in self.constants.items()}
        self.weights = WorkingWeights(self.specs, self.masters, tensors, self.clips)
        if self.counters.qat_step is not None:
            at = self.counters.progress(config)
            self.weights.round_by(qat_strength(at, config.qat_start, config.qat_warmup))
        self.next_batch = self.batch
        state = saved.state if saved else {}
        self.sharing = Sharing.of(self.together, self.share, config.device, self.counters.step, state.get(PROCESSES))
        end_of_text = source.end_of_text if source is not None and config.document_mask else None
        self.validation = Validation(
            val_tokens, config.context, config.batch_size, config.eval_tokens, config.device, end_of_text
        )
        self.with_gradient: set[str] = set()
        self.settled: dict[str, str] = {}
        self.auxiliary: float | None = None
        self.kl: float | None = None
        self.used = Usage.from_plain(state.get("used"))
        self.distilling = Distilling.of(lineage, self.feeding, train_tokens, config, state.get("distilled"))
        self.clock = StepClock(config, self.together)
        self.saved_at = time.monotonic()
        self.sharing.meet(digest_of(self.identity, self.counters.step), "training")

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to train: the budget is used, or the training has diverged."""
        return self.diverged is not None or self.counters.is_over(self.config)

    def warm_up(self) -> None:
        """One step outside the clock, undone; ConfigError when not one step fits into a budget of seconds."""
        config, counters, began = self.config, self.counters, time.perf_counter()
        batch = self.batch(self.share.indexes(counters.step)[0])
        step = Rehearsal(self.passes, self.weights, self.optimizer, batch, config)
        counters.full = not step.fits(self.clock, counters.seconds, self.share.per_step)
        counters.warm_up_seconds += time.perf_counter() - began
        if counters.full and not counters.step:
            raise self.clock.refusal()

    def begin(self, label: str) -> None:
        """The first writing: what is done again, or replaced, goes; a teacher is asked ahead of the clock."""
        if self.counters.step == 0 and self.together.is_first:
            forget_checkpoint(self.folder)
        self.metrics = MetricsLog(self.out_dir, self.counters.step, self.together.is_first)
        if (taught := self.distilling) is not None and not self.is_over:
            first = self.counters.step * self.config.grad_accumulation
            self.together.after_first(lambda: taught.prepare(label, first))

    def done(self) -> float:
        """How much of the budget is used, in its own unit."""
        return self.counters.step if self.config.num_steps is not None else self.counters.seconds

    def batch(self, index: int) -> Batch:
        """This process's share of the index-th of its batches."""
        return self.share.cut(self.feeding.batches.batch(self.share.number(index)))

    @contextmanager
    def feed(self) -> Iterator[None]:
        """Prepare batches ahead while this is open, if the configuration asks for it."""
        with ahead(self.batch, self.config.prefetch, self.share.indexes(self.counters.step)[0]) as self.next_batch:
            yield

    def advance(self) -> str:
        """One step and what is due after it, or the record that there can be no further one; the note for the bar."""
        try:
            return self._advance()
        except Diverged as error:
            self._record(error)
            return f"diverged at step {self.counters.step}"

    def _advance(self) -> str:
        """One step, and the report, evaluation and checkpoint that are due after it."""
        config, counters = self.config, self.counters
        lessons = lessons_of(self.distilling, self.share, counters.step, lambda: self.together.total(0.0))
        start, at = self.clock.now(), counters.progress(config)
        if (strength := qat_strength(at, config.qat_start, config.qat_warmup)) != self.weights.strength:
            counters.round_by(strength, *self.weights.round_by(strength))
        counters.last_factor = schedule_factor(config, at, counters.mean_seconds)
        torch.manual_seed(seed_for(config.seed, "step", counters.step))
        report = train_step(
            self.passes,
            self.weights,
            self.optimizer,
            [self.next_batch(i) for i in self.share.indexes(counters.step)],
            step=counters.step,
            factor=counters.last_factor,
            max_norm=config.grad_clip,
            device=config.device,
            lessons=lessons,
            together=self.together,
            n_batches=config.grad_accumulation,
        )
        self.with_gradient |= report.with_gradient
        self.auxiliary, self.kl = report.auxiliary, report.kl
        if self.distilling is not None and report.kl is not None:
            self.distilling.count(counters.step, report.kl, report.n_targets)
        self.used.add(report.counts)
        self.averages.follow(self.masters, at, counters)
        self.clock.recent.append(self.clock.since(start))
        counters.after_step(report.loss, report.n_targets, config, self.clock.recent[-1])
        counters.full = not self.clock.fits(counters.seconds)
        self._report(at, report.norm)
        if self.is_over:
            check_weights(self.masters, [(s.name, s.format) for s in self.specs], report.loss, report.norm)
        if time.monotonic() - self.saved_at >= config.checkpoint_every and not self.is_over:  # `finish` saves then
            self.save()
        rate = counters.tokens / max(counters.seconds, 1e-9)
        return f"loss {report.loss:.3f}, {rate:,.0f} tokens/s"

    def _report(self, before: float, norm: float) -> None:
        """Write a line of metrics if one is due after a step that began at progress `before`."""
        due = self.counters.is_evaluation_due(before, self.config)
        if not due and self.counters.step % self.config.log_every:
            return
        self._write_metrics(self._validated(norm) if due else None)

    def _validated(self, norm: float) -> float:
        """The validation loss, outside the clock; Diverged when it is none."""
        start = time.perf_counter()
        inputs = self.averages.inputs(self.weights, self.counters)
        val_loss = self.validation.loss(self.model, inputs, together=self.together)
        self.counters.evaluation_seconds += time.perf_counter() - start
        self.used.close()
        if not is_sound(val_loss, norm):
            raise Diverged("validation loss", val_loss, norm, (), "")
        return val_loss

    def _write_metrics(self, val_loss: float | None) -> None:
        factor = self.counters.last_factor
        line = self.counters.metrics_line(self.config.max_lr * factor, self.optimizer.rates(factor), val_loss)
        beside = ((AUXILIARY, self.auxiliary), (TEACHER_KL, self.kl))
        line |= {name: value for name, value in beside if value is not None}
        self.metrics.append(line)
        if self.on_metrics is not None:
            self.on_metrics(line)

    def _record(self, error: Diverged) -> None:
        """The curve up to here, and the divergence in the checkpoint."""
        counters = self.counters
        if counters.window_tokens:
            self._write_metrics(None)
        self.diverged = Divergence.of(error, counters.step, counters.tokens, counters.seconds)
        self.save()
        if self.together.is_first:
            amend_checkpoint(self.folder, {"diverged": self.diverged.to_plain()})

    def finish(self, settling: Settling | None) -> None:
        """Checkpoint; first the loss where a run was resumed that had no step left, then what is fitted at the end."""
        last = self.metrics.lines[-1] if self.metrics.lines else {"step": -1, "val_loss": None}
        is_due = last["val_loss"] is None or last["step"] != self.counters.step
        if self.diverged is None and self.together.first_says(is_due):
            try:
                val_loss = self._validated(norm=0.0)
                if last["step"] == self.counters.step:
                    self.metrics.amend(val_loss)
                else:
                    self._write_metrics(val_loss)
            except Diverged as error:
                self._record(error)
        if self.diverged is None:
            self.averages.adopt(self.weights, self.counters)
        self.sharing.close({**self._kept(), **self.weights.inputs, **{f"{k}/": w for k, w in self.masters.items()}})
        if settling is not None and self.diverged is None and self.together.is_first:
            self.settled = self.counters.fitted(self.clock.now, lambda: settle(self.model, self.weights, settling))
        self.save()

    def save(self) -> None:
        """Checkpoint now; of several processes the first one does."""
        if not self.together.is_first:
            return
        start = time.perf_counter()
        self.metrics.write_csv()
        self.constants |= self.weights.changed_constants()
        constants = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in self.constants.items()}
        state = {**self.identity, "counters": dataclasses.asdict(self.counters), "used": self.used.to_plain()}
        state |= self.sharing.to_plain() | self.passes.to_plain()
        if self.distilling is not None:
            state |= {"distilled": dataclasses.asdict(self.distilling.seen), "teacher": self.distilling.to_plain()}
        save_checkpoint(self.folder, self.counters.step, self.masters, self._kept(), constants, state)
        self.counters.checkpoint_seconds += time.perf_counter() - start
        self.saved_at = time.monotonic()

    def result(self) -> TrainResult:
        """Everything a run record needs."""
        self.constants |= self.weights.changed_constants()
        by_group, counters = self.optimizer.state_bytes() | self.averages.state_bytes(), self.counters
        by_group |= self.clips.state_bytes() if self.clips else {}
        names = set(self.masters)
        silent = names - self.with_gradient if self.with_gradient else set()
        return TrainResult(
            params={name: master.detach() for name, master in self.masters.items()},
            constants=self.constants,
            tokens_seen=counters.tokens,
            wasted_share=counters.wasted,
            batches=self.feeding.description,
            steps=counters.step,
            seconds=counters.seconds,
            evaluation_seconds=counters.evaluation_seconds,
            checkpoint_seconds=counters.checkpoint_seconds,
            optimizer_bytes=sum(by_group.values()),
            optimizer_bytes_by_group=by_group,
            curve=list(self.metrics.lines),
            observed=self._observed(names, silent),
            used=self.used.shares(),
            diverged=self.diverged,
            teacher=None if self.distilling is None else self.distilling.to_plain(),
            clips=clips_in(self._kept()),
        )

    def _observed(self, names: set[str], silent: set[str]) -> dict[str, dict[str, Any]]:
        """The assertions of the run; under a document mask also what the engine, which knows none, will see."""
        groups = self.optimizer.membership()
        found = observations(self.config, self.counters, groups, names, silent, self.feeding.description)
        found |= average_told(self.config, self.counters, self.specs) | self.passes.told() | self.used.told()
        found |= self.clips.told() if self.clips else {}
        found |= self.sharing.told()
        if self.began is not None:
            found[START] = self.began
        if self.distilling is not None:
            found[DISTILLATION] = self.distilling.told(self.counters.step)
        found |= {name: {"ok": True, "detail": told} for name, told in self.settled.items()}
        if self.config.document_mask and self.together.is_first:
            detail = self.validation.apart_and_across(self.model, self.weights.inputs)
            found["document mask"] = {"ok": True, "detail": detail}
        return found

    def _kept(self) -> dict[str, torch.Tensor]:
        """What a resume needs beside the masters, live."""
        return self.optimizer.state() | self.averages.state() | (self.clips.state() if self.clips else {})

    def _restore(self, saved: Checkpoint) -> Counters:
        copy_into(self.masters, saved.parameters, "parameter")
        copy_into(self._kept(), saved.optimizer, "optimizer")
        counters = Counters.from_json(saved.state.get("counters"))
        if counters.step != saved.state.get("next_step"):
            raise WeightlessError(f"the checkpoint in {self.folder} contradicts itself about its step; start anew")
        if self.diverged is None and not counters.is_over(self.config):
            counters.n_resumes += 1
        return counters
