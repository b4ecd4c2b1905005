"""The compiled engine's instruction numbers: operators emit them, the interpreter runs them.

Also its registers of traffic, which add up bytes where the data decides the cost: operators say which tensors they
count in which (`decided`).
"""

from __future__ import annotations

ACCEPT_TOKEN = 1
GATHER_ROW = 2
GATHER_HASHED = 3
NORM_MATVEC = 4
ROPE_APPEND = 5
ATTEND = 6
MATVEC_ADD = 7
NORM_FFN_ADD = 8
LOGITS_SCORE = 9
LOGITS_SAMPLE = 10
LOGITS_FULL = 11
CLASS_SCORE = 12
CLASS_SAMPLE = 13
CLASS_FULL = 14
WORD_SCORE = 15
WORD_SAMPLE = 16
WORD_FULL = 17
NGRAM_CONTEXT = 18
NGRAM_SCORE = 19
NGRAM_SAMPLE = 20
NGRAM_FULL = 21
NGRAM_FINISH = 22
UNIGRAM_SAMPLE = 23
SUFFIX_EXTEND = 24
SUFFIX_SCORE = 25
SUFFIX_SAMPLE = 26
SUFFIX_FULL = 27
GATE_BY_LIST = 28
GATE_BY_MATCH = 29
MIX_SCORE = 30
MIX_SAMPLE = 31
MIX_FULL = 32

STATE, CONTEXT_INDEX, WORD_INDEX, PROBABILITY, SUFFIX, TEXT = range(6)
N_TRAFFIC = 6
