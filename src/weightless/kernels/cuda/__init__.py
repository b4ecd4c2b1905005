"""Floor 2: CUDA C++ kernels and what builds them, on request only.

softmax_topk.cu  layer_norm_backward.cu     sources with an extern "C" launcher each
cpu_shim.h                                  runs the very same sources on the CPU, for tests
torch_calls.py                              the libraries called with torch tensors
build.py                                    nvcc -> cubin or shared library, g++ -> the CPU twin, ctypes signatures
python -m weightless.kernels.cuda           the explicit command; nothing is built at import
"""
