"""The instruction numbers of the compiled engine, shared by operators (which emit them) and interpreter (which runs them)."""

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
