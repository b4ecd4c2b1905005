"""The compiled engine's registers.

    ints   [T, TOKEN, TARGET, STATUS, and six of traffic]; STATUS != 0 stops the run: data points outside its table
    floats uniforms in [0, 1)

The registers of traffic add up the bytes of operators whose cost the data decides (index probes), the compiled twin of
their `accesses`, by where they lie: state, context index, word index, probabilities, suffix array, text.
"""

from __future__ import annotations

from weightless.program import opcodes as op

T, TOKEN, TARGET, STATUS = 0, 1, 2, 3
IN_STATE = 4
IN_CONTEXT, IN_WORDS = IN_STATE + op.CONTEXT_INDEX, IN_STATE + op.WORD_INDEX
IN_CUM, IN_SUFFIXES, IN_TEXT = IN_STATE + op.PROBABILITY, IN_STATE + op.SUFFIX, IN_STATE + op.TEXT
N_TRAFFIC = op.N_TRAFFIC
N_REGISTERS = IN_STATE + N_TRAFFIC
