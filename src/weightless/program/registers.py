"""The compiled engine's registers.

    ints   [T, TOKEN, TARGET, STATUS, and six of traffic]; STATUS != 0 stops the run: data points outside its table
    floats uniforms in [0, 1)

The registers of traffic add up the bytes of operators whose cost the data decides (index probes), the compiled twin of
their `accesses`, by where they lie: operators say which tensors they count in which (`decided`).
"""

from __future__ import annotations

STATE, CONTEXT_INDEX, WORD_INDEX, PROBABILITY, SUFFIX, TEXT = range(6)
N_TRAFFIC = 6

T, TOKEN, TARGET, STATUS = 0, 1, 2, 3
IN_STATE = 4
IN_CONTEXT, IN_WORDS = IN_STATE + CONTEXT_INDEX, IN_STATE + WORD_INDEX
IN_CUM, IN_SUFFIXES, IN_TEXT = IN_STATE + PROBABILITY, IN_STATE + SUFFIX, IN_STATE + TEXT
N_REGISTERS = IN_STATE + N_TRAFFIC
