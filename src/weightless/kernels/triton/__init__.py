"""Floor 2: Triton kernels for GPUs, with the signatures of the NumPy twins over torch tensors; extra `gpu`.

layer_norm.py  softmax_topk.py  flash_attention.py  ternary.py      the kernels and what launches them
launch.py                                                           sizes of blocks and numbers of programs
python -m weightless.kernels.triton [sm_90]                         compiles every kernel ahead of time, without a GPU

Triton is imported by these modules alone, and by none of them before it is asked for (`kernels.dispatch`).  Without a
GPU they run under Triton's interpreter (TRITON_INTERPRET=1, set before Triton's first import), which is for tests: it
takes milliseconds where a GPU takes nanoseconds, and its products of bfloat16 matrices are wrong.
"""
