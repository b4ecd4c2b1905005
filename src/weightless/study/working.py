"""Floor 9.  Run what is missing of a study; any number of processes and machines on the same folder share the units.

    STUDY/study.toml    the study          STUDY/data/NAME-HASH/   each text, prepared once
    STUDY/cells/        the units          STUDY/study.json        what is known so far, after every unit

`claim` makes a folder this study's.  `work` takes one unit after the other that nobody else has, and at the end waits
for those that others still work on: should their machine be lost, it takes their units up.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from weightless.base.config import check_text, load_toml
from weightless.base.errors import ConfigError, WeightlessError, nearest
from weightless.base.files import atomic_write
from weightless.base.folder_lock import InUse, folder_lock, is_lock
from weightless.data.shards.corpus import Corpus
from weightless.data.text.sources import open_source
from weightless.lab.checks import check_on_machine, check_on_text, check_taken_on_text
from weightless.lab.corpora import prepared
from weightless.lab.prepared_source import is_prepared
from weightless.lab.recipe import DataRecipe, fingerprint
from weightless.study.arms import Arm, arms_of
from weightless.study.leases import BEAT, STALE, holder, lease
from weightless.study.prediction import check
from weightless.study.study_file import Study, load_study
from weightless.study.token_cuts import check_tokens
from weightless.study.units import Unit, do_unit, is_settled, units_of

STUDY = "study.toml"
POLL_SECONDS = 0.3
MOST_CHOICES = 1000


def check_question(study: Study, arms: Sequence[Arm]) -> None:
    """ConfigError for a prediction that cannot be read, or names what the study has not; for points likewise."""
    variants: dict[str, list[dict[str, Any]]] = {}
    for arm in arms:
        variants.setdefault(arm.of or arm.name, []).append(dict(arm.setting))
    chosen = itertools.islice(itertools.product(*variants.values()), MOST_CHOICES)  # whichever of its variants wins
    for settings in (dict(zip(variants, one, strict=True)) for one in chosen):
        for text in study.question.predictions:
            check(text, list(settings), settings=settings)
    check_tokens(study, arms)
    families = sorted({arm.model.family for arm in arms})
    for point in study.scaling.at:
        if point.family not in ("", *families):
            raise ConfigError(f"scaling.at: no arm is of family {point.family!r}: {nearest(point.family, families)}")


def claim(study: Study, arms: Sequence[Arm], folder: Path) -> None:
    """Write study.toml; WeightlessError for a folder of another study, or of anything else.

    A study that was changed goes on when every cell that it had is still one of its cells, made in the same way.
    """
    import tomli_w

    text, path = tomli_w.dumps(study.values), folder / STUDY
    check_text(text, str(path))
    with patient_lock(folder, "study"):
        refuse_other(study, arms, folder)
        if not path.exists() or load_toml(path) != study.values:
            atomic_write(path, text)


def refuse_other(study: Study, arms: Sequence[Arm], folder: Path) -> None:
    """WeightlessError for a folder of another study, or of anything else; nothing is written."""
    path = folder / STUDY
    if not path.exists():
        if folder.is_dir() and any(not is_lock(other) for other in folder.iterdir()):
            raise WeightlessError(f"{folder} is not empty and holds no study: give --out another folder")
    elif load_toml(path) != study.values:
        _refuse_changes(load_study(path), study, arms, folder)


def _refuse_changes(before: Study, study: Study, arms: Sequence[Arm], folder: Path) -> None:
    there = asked_of(before, arms_of(before)[0], folder)
    now = asked_of(study, arms, folder)
    odd = [name for name, asked in there.items() if now.get(name) != asked]
    if odd:
        kind = "is gone" if odd[0] not in now else "is made in another way"
        raise WeightlessError(
            f"{folder} holds another study: its cell {odd[0]} {kind} (and {len(odd) - 1} more); a study may gain cells "
            "and change its texts, for anything else give --out another folder"
        )
    if before.search != study.search:
        first, second = before.search, study.search
        if first is None or second is None or first.parameters != second.parameters or second.trials < first.trials:
            raise WeightlessError(f"{folder} holds another search: only more trials may be asked for")


def asked_of(study: Study, arms: Sequence[Arm], folder: Path) -> dict[str, str]:
    """{cell: what decides it}."""
    return {unit.name: unit.asked for unit in units_of(study, arms, folder)}


@contextmanager
def patient_lock(folder: Path, share: str) -> Iterator[None]:
    """A share of the folder; whoever has it is waited for, since it is theirs for a moment or to prepare a text."""
    told = False
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(folder_lock(folder, share))
                break
            except InUse as error:
                if not told and share == "data":
                    print(f"waiting: {error}", file=sys.stderr)
                    told = True
                time.sleep(POLL_SECONDS)
        yield


def check_before(arms: Sequence[Arm]) -> None:
    """WeightlessError for a text that is not there, or a model that this machine cannot train: nothing is written."""
    for arm in arms:
        try:
            check_on_machine(arm.model, arm.data.vocab_size)
        except ConfigError as error:
            raise ConfigError(f"arm {arm.name!r}: {str(error).removeprefix(f'model {arm.model.name!r}: ')}") from None
    for data in dict.fromkeys(arm.data for arm in arms):
        for text in filter(None, (data.source, data.validation)):
            if not is_prepared(text):
                open_source(text, data.field)


def corpora_of(units: Sequence[Unit], folder: Path) -> dict[DataRecipe, Corpus]:
    """Every text of these units, prepared once for all; ConfigError when a model cannot be made of its text."""
    found: dict[DataRecipe, Corpus] = {}
    for data in dict.fromkeys(unit.arm.data for unit in units):
        with patient_lock(folder, "data"):
            found[data] = prepared(data, folder / "data" / text_name(data), tell=not (folder / "study.json").exists())
    for arm in {unit.arm.name: unit.arm for unit in units}.values():
        try:
            check_on_text(arm.model, found[arm.data])
            check_taken_on_text(arm.model, found[arm.data], [])
        except ConfigError as error:
            raise ConfigError(f"arm {arm.name!r}: {str(error).removeprefix(f'model {arm.model.name!r}: ')}") from None
    return found


def text_name(data: DataRecipe) -> str:
    """A folder's name for a prepared text: what it is called, and what decides it."""
    stem = "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(data.source).name.partition(".")[0])
    return f"{stem[:40] or 'text'}-{fingerprint(data)[:8]}"


def work(
    units: Sequence[Unit],
    corpora: dict[DataRecipe, Corpus],
    after_each: Callable[[], Any] = lambda: None,
    stale: float = STALE,
    beat: float = BEAT,
) -> None:
    """Until every unit is settled, by this process or by others; `after_each` is called after each of its own."""
    waited: set[str] = set()
    while True:
        took = False
        for unit in units:
            if not is_settled(unit) and _done_by_us(unit, corpora[unit.arm.data], stale, beat):
                took = True
                after_each()
        left = [unit for unit in units if not is_settled(unit)]
        if not left:
            return
        if not took:
            _tell_of(left, waited, stale)
            time.sleep(POLL_SECONDS)


def _done_by_us(unit: Unit, corpus: Corpus, stale: float, beat: float) -> bool:
    """Whether nobody else had the unit, so that it was done here."""
    with lease(unit.leases, unit.name, stale, beat) as is_ours:
        if not is_ours or is_settled(unit):
            return False
        try:
            do_unit(unit, corpus)
        except InUse:  # its owner was asleep, and not lost
            return False
    return True


def _tell_of(left: Sequence[Unit], waited: set[str], stale: float) -> None:
    """Once for each unit: whom it waits for."""
    for unit in left:
        who = holder(unit.leases, unit.name, stale)
        if who is not None and unit.name not in waited:
            print(f"{unit.name}: waiting for {who.told}", file=sys.stderr)
            waited.add(unit.name)
