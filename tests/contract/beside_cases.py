"""Mixtures whose trained part is an input of the counted part's mixers: small ones, and PyTorch as what they hear."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from contract.configurations.shared import EXACT, V

from weightless.countmix.counting import Beside
from weightless.countmix.reopening import packed_learner
from weightless.countmix.tree import Blocks, Tree
from weightless.models import mixture
from weightless.ops.count_mixing import MAX_DEPTH
from weightless.ops.node_odds import path_odds
from weightless.program.compose import COUNTED, NEURAL
from weightless.program.compose_inside import class_head
from weightless.quant.straight_through import fake_quantise

CASES = {
    "mixture": {
        "feather_in_countmix": mixture.Config(
            V,
            23,
            "feather",
            {"d_model": 40, "n_layers": 1, "n_heads": 2, "d_head": 14, "d_ff": 46, "rows_2": 97, "rows_3": 0},
            "countmix",
            {"stored_mb": 1.0},
        ),
        "three_levels_in_countmix": mixture.Config(
            V,
            17,
            "dense",
            {"d_model": 40, "n_layers": 1, "n_heads": 2, "head": "class3", "tied": False, **EXACT},
            "countmix",
            {"stored_mb": 0.5, "dense": ("o1",), "lists": (), "window": ("o1",), "mixers": ("node", "input")},
        ),
    }
}


def rounded(program: Any, arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Parameters as they are when packed."""
    formats = {t.name: t.format for t in program.stored()}
    return {
        name: fake_quantise(torch.from_numpy(a), formats[name]) if a.dtype == np.float32 else torch.from_numpy(a)
        for name, a in arrays.items()
    }


def said_by_torch(model: Any, p: Mapping[str, torch.Tensor]) -> Callable[[Tree], Callable[[np.ndarray], np.ndarray]]:
    """Odds on paths from the whole distribution."""

    def of(tree: Tree) -> Callable[[np.ndarray], np.ndarray]:
        def said(tokens: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                log_p = model.log_probs(p, torch.from_numpy(np.asarray(tokens[:-1], np.int64))[None])[0]
            by_rank = log_p.double().exp().numpy()[:, tree.token]
            out = np.zeros((len(by_rank), MAX_DEPTH), np.int64)
            for i, rank in enumerate(tree.rank[tokens[1:]].tolist()):
                path = path_odds(by_rank[i], tree.child, tree.root, rank)
                out[i, : len(path)] = path
            return out

        return said

    return of


def counted_beside(config: Any, neural: Mapping[str, np.ndarray], text: np.ndarray) -> tuple[Any, dict[str, Any]]:
    """(the counted part's configuration, its arrays), tuned on what PyTorch says."""
    (room, neural_config), (counted, counted_config) = (config.part(name) for name in (NEURAL, COUNTED))
    program = room.decode_program(neural_config)
    head, p = class_head(program), rounded(program, neural)
    blocks = Blocks(np.asarray(neural[head.slots]).reshape(-1), head.sizes)
    beside = Beside(blocks, said_by_torch(room.Model(neural_config), p), lambda nats: None, "torch")
    return counted.count(counted_config, text, beside=beside)


def reference(
    config: Any, arrays: Mapping[str, np.ndarray], neural: Mapping[str, np.ndarray], stream: np.ndarray
) -> np.ndarray:
    """Nats of stream[1:], what the trained part says being PyTorch's."""
    (room, neural_config), (_, c) = (config.part(name) for name in (NEURAL, COUNTED))
    own = {name.removeprefix("counted."): a for name, a in arrays.items() if name.startswith("counted.")}
    lines, bits = (list(c.node_lines), list(c.list_lines)), (c.node_bits, c.list_bits)
    learner = packed_learner(c.shape._replace(beside=True), own, c.root, lines, bits)
    tree = learner._tree
    whole = Tree(tree.rank, own["tree.token"][:, 0].astype(np.int64), tree.child, int(tree.root[0]))
    p = rounded(room.decode_program(neural_config), neural)
    return learner.score(stream, said_by_torch(room.Model(neural_config), p)(whole)(stream))
