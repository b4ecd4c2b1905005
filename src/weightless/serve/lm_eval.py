"""lm-eval's command line with packed models in it.  Floor 10.

    python -m weightless.serve.lm_eval --model weightless --model_args path=model.wl --tasks lambada_openai

lm-eval knows the models of its own package and those that somebody has registered in the same process: it looks for no
entry points of others.  So this registers `weightless` and hands the command line on.
"""

from __future__ import annotations

import sys

from weightless.base.errors import WeightlessError

MODEL = "weightless.serve.lm_eval_model:WeightlessLM"


def main() -> None:
    """Run lm-eval on `sys.argv`; leaves with 2 and one line where our part of it says no."""
    try:
        _run()
    except WeightlessError as error:
        print(f"weightless: {error}", file=sys.stderr)
        sys.exit(2)


def _run() -> None:
    try:
        from lm_eval.__main__ import cli_evaluate
        from lm_eval.api.registry import model_registry
    except ImportError as error:
        raise WeightlessError(f"lm-eval cannot be loaded ({error}): install the extra, ./do setup lm-eval") from error
    if "weightless" not in model_registry:
        model_registry.register("weightless", target=MODEL)
    cli_evaluate()


if __name__ == "__main__":
    main()
