"""What training logs of the field call their final metric, their sizes and the rest: names only, by what they mean.

A metric's name is what stands before its `val_loss` or `val_bpb`, without `_exact` (more digits of the same) and `_s64`
(a stride).  KINDS orders what a log may end with, the last first: a score of adapted weights is printed beside one of
sliding windows, which stands beside that of windows side by side.
"""

from __future__ import annotations

ADAPTED, SLIDING, ROUNDTRIP, OTHER, BEFORE, STEP = "adapted", "sliding", "roundtrip", "final", "before", "step"
KINDS = (ADAPTED, SLIDING, ROUNDTRIP, OTHER, BEFORE, STEP)

FINALS = {
    ADAPTED: (
        "legal_ttt",
        "legal_ttt_ngram",
        "quantized_ttt",
        "quantized_ttt_lora",
        "quantized_ttt_phased",
        "ttt_sliding",
        "final_int8_ttt_lora",
        "final_int6_ttt",
        "final_ttt",
        "final_int6_slot",
        "final_hedge_mixer",
        "final_ngram_oracle",
    ),
    SLIDING: (
        "final_sliding_window",
        "final_sliding_window_eval",
        "final_int8_sliding_window",
        "final_int6_sliding_window",
        "quantized_sliding_window",
        "quantized_sliding_no_ttt",
    ),
    ROUNDTRIP: (
        "final_int8_zlib_roundtrip",
        "final_int6_zlib_roundtrip",
        "final_int6_zstd_roundtrip",
        "final_int6_lzma_roundtrip",
        "final_int6_roundtrip",
        "final_int5_roundtrip",
        "final_quant_roundtrip",
        "final_quantized_roundtrip",
        "final_mixed_roundtrip",
        "final_ternary_roundtrip",
        "final_ternary_zlib_roundtrip",
        "final_roundtrip",
        "quantized",
    ),
    BEFORE: (
        "pre_quant",
        "pre-quantization",
        "pre-quantization post-ema",
        "diagnostic post_ema",
        "post_ema",
        "post_swa",
    ),
}
"""Names in small letters; one that stands in no list is judged by the words in it."""

WORDS = (
    (BEFORE, ("pre_quant", "pre-quant", "diagnostic", "post_ema", "post-ema", "best_")),
    (ADAPTED, ("ttt", "slot", "ngram")),
)
WORDS += ((SLIDING, ("sliding", "stride")), (ROUNDTRIP, ("roundtrip", "quantized", "int8", "int6")))

TOTALS = (
    "total submission size",
    "total submission bytes",
    "total artifact size",
    "total artifact bytes",
    "submission size",
    "submission bytes",
    "artifact size",
    "artifact bytes",
    "total size",
    "bytes total",
    "total bytes",
)
WEIGHTS = (
    "serialized model int8",
    "serialized model int6",
    "serialized model int5",
    "serialized model mixed",
    "serialized model ternary",
    "serialized model quantized",
    "serialized model wlz",
    "compressed size",
    "compressed model size",
    "bytes model",
    "model bytes",
    "bytes weights",
)
CODES = ("code size", "code bytes", "bytes code")
"""How labels of sizes begin, with blanks for underscores; the label is what stands before the colon."""

PARAMETERS = (
    "model_params",
    "n_parameters",
    "num_parameters",
    "num_params",
    "n_params",
    "total_params",
    "model_parameters",
    "parameters",
    "params",
)
"""Keys of the number of parameters, in logs and in submission.json."""
TOKENS = ("eval_tokens", "target_tokens", "val_tokens", "scored_tokens")
BYTES = ("eval_bytes", "val_bytes", "target_bytes")


def kind_of(name: str) -> str:
    """Which of KINDS a metric is."""
    for kind, names in FINALS.items():
        if name in names:
            return kind
    for kind, words in WORDS:
        if any(word in name for word in words):
            return kind
    return OTHER
