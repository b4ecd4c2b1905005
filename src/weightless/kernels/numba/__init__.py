"""Floor 2: kernels that numba compiles for the processor, each the fast twin of a page in `ops/` or `quant/`."""
