"""A packed model as a model of lm-eval (extra `lm_eval`): its tasks and metrics, our engine.  Floor 10.

    python -m weightless.serve.lm_eval --model weightless --model_args path=model.wl --tasks lambada_openai

Pairs of context and continuation are divided into tokens by lm-eval's own TemplateLM: trailing spaces of the context
move to the continuation, and both are encoded as one text.  Everything that is asked is checked before the first
request is answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model

from weightless.base.errors import ConfigError
from weightless.base.progress import progress
from weightless.export.packed import open_packed
from weightless.serve.harness_settings import Settings, sampling_of
from weightless.serve.scored_texts import Judged, ScoredTexts


@register_model("weightless")
class WeightlessLM(TemplateLM):
    """`--model_args path=model.wl,seed=0,max_gen_toks=256,scoring=auto,threads=2`; only `path` is required.

    `seed` is that of the first text drawn for a prompt, and the k-th for the same prompt has seed + k; `max_gen_toks`
    holds where a task says nothing.  `batch_size`, `max_batch_size` and `device`, which lm-eval adds of its
    own, change nothing: there are no batches, and the engine runs on the processor.  ConfigError for anything else,
    naming the nearest known.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.settings = Settings.of(given)
        packed = open_packed(self.settings.path)
        self._texts = ScoredTexts(packed, self.settings.scoring, self.settings.threads)
        self.max_length = self._texts.context
        self.max_gen_toks = self.settings.max_gen_toks
        packed.tokenizer  # noqa: B018  a model without one is told of now, not at the first request

    @property
    def eot_token_id(self) -> int:
        """The token that begins and ends documents."""
        return self._texts.mark

    @property
    def tokenizer_name(self) -> str:
        """Names the tokenizer in the keys of lm-eval's caches of requests."""
        return f"weightless-{self._texts.packed.tokenizer_sha256}"

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Ids of a text, behind the mark that begins a document unless `add_special_tokens` is False."""
        return self._texts.ids(string, begins=add_special_tokens is not False)

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[Judged]:
        """(log p in nats, is greedy) of every (context, continuation); an empty continuation is refused."""
        for request in requests:
            if not request.args[1]:
                self._texts.check_pair(1, 0, "")
        return super().loglikelihood(requests, disable_tqdm)

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[tuple[str, str], list[int], list[int]]], **kwargs: Any
    ) -> list[Judged]:
        for (_, continuation), before, behind in requests:
            self._texts.check_pair(len(before), len(behind), continuation)

        def keep(i: int, judged: Judged) -> None:
            self.cache_hook.add_partial("loglikelihood", requests[i][0], judged)

        return self._texts.judged([(before, behind) for _, before, behind in requests], keep)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """log p of every document in nats."""
        found = self._texts.rolled([request.args[0] for request in requests])
        for request, value in zip(requests, found):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, value)
        return found

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """The continuation of every context, up to one of its stop strings."""
        asked, before = [], Counter[str]()
        for prompt, wanted in (request.args for request in requests):
            sampling = sampling_of(wanted, self.settings)
            if not self._texts.ids(prompt):
                raise ConfigError("an empty context, and the model has no token that begins a text")
            asked.append(replace(sampling, seed=sampling.seed + before[prompt]))
            before[prompt] += 1
        found = []
        with progress("generate_until", len(requests), "texts") as tick:
            for request, sampling in zip(requests, asked):
                found.append(self._texts.written(request.args[0], sampling))
                self.cache_hook.add_partial("generate_until", request.args, found[-1])
                tick(1)
        return found
