"""weightless audit MODEL.wl --ternary: is every weight -1, 0 or +1 times its scale, and what is the model worth?

    --tensors PATTERN …    which matrices have to be ternary (all, when nothing is said; "block.*" leaves out the rest)
    --twin OTHER.wl        the model in full precision beside which its perplexity stands
    --data DIR, --tokens N      the corpus, and about how many held-out targets

Exit code 0 when every named tensor is ternary, 2 otherwise.  Perplexity and samples are told, not judged; without a
corpus they are left out, and that is said.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightless.base.errors import ConfigError, WeightlessError
from weightless.cli.tables import print_table

if TYPE_CHECKING:
    from weightless.cli.audit import Audit
    from weightless.data.shards.corpus import Corpus
    from weightless.export.packed import Packed

ARTIFACT = "model.wl"


def audit_ternary(options: Audit) -> int:
    """What `weightless audit --ternary` does; the exit code."""
    from weightless.export.packed import open_packed
    from weightless.lab.ternary_audit import check_twin, perplexities, report, samples

    path = _artifact(options.what)
    packed, twin = open_packed(path), open_packed(_artifact(options.twin)) if options.twin else None
    data, why = _data(options, path)
    if data is not None:
        check_twin(packed, twin or packed, data)
    elif twin is not None:
        raise WeightlessError(f"--twin is compared on held-out text, and there is none ({why}): name one with --data")
    found: dict[str, Any] = report(str(path), packed, options.tensors)
    if data is None:
        found["perplexity_refused"] = why
    else:
        found |= perplexities(packed, data, twin, options.tokens)
        found["samples"] = samples(packed, data, options.seed)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        _print(found, packed, options)
    return 0 if found["ok"] else 2


def _artifact(named: str) -> Path:
    from weightless.export.hub_artifact import is_artifact_on_hub, local_path

    path = local_path(named) if is_artifact_on_hub(named) else Path(named)
    if path.is_dir() and not (path / ARTIFACT).exists():
        raise ConfigError(f"{named} holds no {ARTIFACT}: --ternary looks at one packed model, so name one")
    if not path.exists():
        raise WeightlessError(f"{named}: no such file or folder (--ternary looks at packed models)")
    return path / ARTIFACT if path.is_dir() else path


def _data(options: Audit, path: Path) -> tuple[Corpus | None, str]:
    """The corpus that was named or that the model's folder knows; or why there is none."""
    from weightless.cli.artifact import corpus_of
    from weightless.data.shards.corpus import corpus

    if options.data:
        return corpus(options.data), ""
    try:
        return corpus_of(path), ""
    except WeightlessError as error:
        return None, str(error)


def _print(found: dict[str, Any], packed: Packed, options: Audit) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(found["name"]), title_justify="left")
    for column in ("tensor", "format"):
        table.add_column(column, overflow="fold")
    for column in ("weights", "-1", "0", "+1", "bits per weight"):
        table.add_column(column, justify="right")
    for t in found["tensors"]:
        shares = [f"{t['fractions'][key]:.1%}" if t["groups"] else "" for key in ("minus", "zero", "plus")]
        table.add_row(escape(t["name"]), t["format"], f"{t['weights']:,}", *shares, f"{t['bits_per_weight']:.3f}")
    print_table(table)
    for finding in found["findings"]:
        print(f"{finding['verdict']:6} {finding['name']}: {finding['detail']}")
    if found["others"]:
        told = ", ".join(f"{name} ({fmt})" for name, fmt in list(found["others"].items())[:4])
        print(f"not asked for: {told}{' …' if len(found['others']) > 4 else ''}")
    _print_worth(found)
    print("every named weight is ternary" if found["ok"] else "FAILED: not ternary")


def _print_worth(found: dict[str, Any]) -> None:
    """Perplexity beside the others, and samples."""
    if "perplexity" not in found:
        print(f"no perplexity and no samples: {found['perplexity_refused']}", file=sys.stderr)
        return
    nats = found["nats_per_token"]
    each = "; ".join(f"{name} {value:.2f} ({nats[name]:.4f})" for name, value in found["perplexity"].items())
    print(f"perplexity (nats per token) on {found['targets']:,} held-out targets: {each}")
    if "above_twin" in found:
        print(f"loss above the twin's: {found['above_twin']:+.2%}")
    for sample in found["samples"]:
        print(f"> {sample['prompt']}|{sample['text']}")
