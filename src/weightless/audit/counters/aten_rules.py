"""What each operation of PyTorch reads and writes: one explicit rule for every operation that a decode step may use.

    view        the result is another look at the same memory: nothing is read or written
    compute     every element of every tensor operand is read, results are new memory
    update      as compute, and the operand that the schema marks as mutated is read and written
    overwrite   the mutated operand is written without being read, the others are read
    create      new memory, nothing read
    rows        of the first operand only the rows that the indices name are read
    put_rows    of the first operand only the rows that the indices name are written

An operation without a rule raises UnknownOperationError with its name: counting it as zero, as PyTorch's own FLOP
counter does, would make the trace agree with anything.
"""

from __future__ import annotations

from types import MappingProxyType

from weightless.base.errors import WeightlessError

VIEW, COMPUTE, UPDATE, OVERWRITE = "view", "compute", "update", "overwrite"
CREATE, ROWS, PUT_ROWS = "create", "rows", "put_rows"

_NAMES = {
    VIEW: (
        "alias detach expand permute select.int slice.Tensor split.Tensor split_with_sizes squeeze squeeze.dim "
        "squeeze_.dim t transpose.int unbind.int unsqueeze view _unsafe_view _reshape_alias as_strided"
    ),
    COMPUTE: (
        "add.Tensor sub.Tensor mul.Tensor div.Tensor neg reciprocal pow.Scalar pow.Tensor_Scalar sqrt rsqrt exp "
        "log cos sin sigmoid silu relu gelu tanh abs round clamp maximum minimum eq.Scalar le.Scalar lt.Scalar "
        "floor_divide remainder.Scalar mm bmm addmm mv dot sum sum.dim_IntList mean mean.dim amax amin argmax max "
        "min nonzero sort linalg_vector_norm _log_softmax _softmax logsumexp gather cat stack clone _to_copy "
        "constant_pad_nd where.self masked_fill.Scalar _scaled_dot_product_flash_attention_for_cpu "
        "native_layer_norm _local_scalar_dense"
    ),
    UPDATE: (
        "add_.Tensor sub_.Tensor mul_.Tensor div_.Tensor neg_ pow_.Scalar rsqrt_ sqrt_ exp_ square_ round_ clamp_ "
        "addcmul_ addmm_ masked_fill_.Scalar scatter_.value"
    ),
    OVERWRITE: "copy_ fill_.Scalar fill_.Tensor zero_ mul.out mm.out add.out",
    CREATE: (
        "arange arange.start arange.start_step empty.memory_format zeros ones full new_empty new_zeros new_full "
        "zeros_like lift_fresh scalar_tensor"
    ),
    ROWS: "embedding index.Tensor index_select",
    PUT_ROWS: "index_put_",
}
RULES = MappingProxyType({f"aten.{name}": rule for rule, names in _NAMES.items() for name in names.split()})


class UnknownOperationError(WeightlessError):
    """The step used an operation whose bytes nobody has stated."""


def rule_of(operation: object) -> str:
    """The rule of an `OpOverload`; its default overload goes by the bare name."""
    name = str(operation).removesuffix(".default")
    if name not in RULES:
        raise UnknownOperationError(
            f"the traced step uses {name}, for which no rule says what it reads and writes: add one to audit/aten_rules"
        )
    return RULES[name]
