"""weightless: language models that weigh almost nothing, and the truth about what they cost.

The floors of the house, lowest first (a file imports only from below, or from its own folder):
0 base scratch · 1 ops artifact · 2 kernels quant tokenizer · 3 program ngram data · 4 layers ·
5 models · 6 train export · 7 decode evals audit · 8 lab ·
9 deck golf study xray · 10 serve · 11 cli.  `docs/tour.md` walks through them.
"""

__version__ = "0.1.0"
