"""The account of training as tables for a terminal."""

from __future__ import annotations

from typing import Any

from rich.markup import escape

from weightless.base.units import human_bytes, human_seconds
from weightless.cli.tables import print_table


def show(name: str, about: str, result: dict[str, Any], flops: bool, training: bool) -> None:
    """Parameters and stored bytes always; FLOPs and training when asked for."""
    from rich.console import Console

    console = Console()
    console.print(f"[bold]{escape(name)}[/bold]: {escape(about)}", highlight=False, soft_wrap=True)
    for table, lines in _parts(result, flops, training):
        print_table(table)
        for line in lines:
            console.print(line, highlight=False, soft_wrap=True)
        console.print()


def _parts(result: dict[str, Any], flops: bool, training: bool):  # type: ignore[no-untyped-def]
    yield _parameters(result)
    if flops:
        yield _flops(result)
    if training:
        yield _memory(result)


def _shares(title: str, values: dict[str, int], unit: str):  # type: ignore[no-untyped-def]
    """One table of named amounts, their shares and their sum."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in ("component", unit, "share"):
        table.add_column(column, justify="left" if column == "component" else "right")
    total = sum(values.values())
    for key, value in values.items():
        table.add_row(escape(key), f"{value:,}", f"{100 * value / total:.1f} %")
    table.add_section()
    table.add_row("sum", f"{total:,}", "100 %", style="bold")
    return table


def _parameters(result: dict[str, Any]):  # type: ignore[no-untyped-def]
    p, stored = result["parameters"], result["stored"]
    sizes = "   ".join(f"{fmt} {human_bytes(n)}" for fmt, n in stored["formats"].items() if n is not None)
    lines = [
        f"without what is looked up: {p['without_lookups']:,}   without the head as well: {p['without_embeddings']:,}",
        f"stored (vectors in f32): {sizes}",
    ]
    if stored["kept"] is not None:
        lines.append(f"as floats, in the types it is trained in: {stored['kept']:,} bytes")
    if stored["shipped"] is not None:
        lines.append(f"as it is shipped: {stored['shipped']:,} bytes")
    return _shares("parameters", p["components"], "parameters"), lines


def _flops(result: dict[str, Any]):  # type: ignore[no-untyped-def]
    f = result["flops"]
    pairs = "T (T + 1) / 2 pairs" if result["causal"] else "T x T pairs"
    lines = [
        f"{f['forward_per_token']:,.0f} FLOPs per token forward, 3 times that in training",
        f"one training step of {result['memory']['batch_size']:,} x {f['context']:,} tokens: "
        f"{f['training_step']:,} FLOPs",
    ]
    if f["optimizer_step"] is not None:
        lines.append(f"one AdamW step: {f['optimizer_step']:,} FLOPs (14 per parameter)")
    title = f"forward FLOPs of {f['context']:,} tokens (2 m n p per matmul; attention over {pairs})"
    return _shares(title, f["components"], "FLOPs"), lines


def _memory(result: dict[str, Any]):  # type: ignore[no-untyped-def]
    m, B = result["memory"], result["memory"]["batch_size"]
    parts = {"parameters": m["parameters"], "gradients": m["gradients"], f"{result['optimizer']} state": m["optimizer"]}
    for name, nbytes in (m["activations"] or {}).items():
        parts[f"activations: {name}"] = B * nbytes
    lines = []
    if m["activations"] is None:
        lines.append("activations: not described for this family, so neither peak nor largest batch is known")
    else:
        lines.append(
            f"activations of one sequence: {human_bytes(m['activations_of_one_sequence'])}   "
            f"peak at batch {B:,}: {human_bytes(m['peak'])}"
        )
    if m["largest_batch"] is not None:
        lines.append(f"largest batch in {human_bytes(m['device'])}: {m['largest_batch']:,} sequences")
    time = result["time"]
    if time is not None:
        lines.append(f"one step: {human_seconds(time['seconds_per_step'])}")
        if time["steps"]:
            whole = f"{time['days']:,.1f} days" if time["days"] >= 2 else human_seconds(time["seconds"])
            lines.append(f"{time['tokens']:,} tokens in {time['steps']:,} steps: {whole}")
    return _shares(f"peak memory of training, float32, batch {B:,}", parts, "bytes"), lines
