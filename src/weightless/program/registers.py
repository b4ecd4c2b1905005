"""The compiled engine's registers.

    ints   [T, TOKEN, TARGET, STATUS, EXIT, PATH, and eight of traffic]; STATUS != 0 stops the run: data points outside
           its table.  EXIT != 0: the operator exits; PATH says where that was since the last token (`flow.py`)
    floats uniforms in [0, 1): a draw takes those that its operators ask for (`Program.n_uniforms`)

The registers of traffic add up the bytes of operators whose cost the data decides (index probes), the compiled twin of
their `accesses`, by where they lie: operators say which tensors they count in which (`decided`).
"""

from __future__ import annotations

STATE, CONTEXT_INDEX, WORD_INDEX, PROBABILITY, SUFFIX, TEXT, WINDOW, HEAD = range(8)
N_TRAFFIC = 8

T, TOKEN, TARGET, STATUS, EXIT, PATH = 0, 1, 2, 3, 4, 5
IN_STATE = 6
IN_CONTEXT, IN_WORDS = IN_STATE + CONTEXT_INDEX, IN_STATE + WORD_INDEX
IN_CUM, IN_SUFFIXES, IN_TEXT = IN_STATE + PROBABILITY, IN_STATE + SUFFIX, IN_STATE + TEXT
IN_WINDOW, IN_HEAD = IN_STATE + WINDOW, IN_STATE + HEAD
N_REGISTERS = IN_STATE + N_TRAFFIC
USUAL_UNIFORMS, N_UNIFORMS = 8, 9
"""Uniforms that a draw takes, and that there are: a program with a window cache takes one more."""
