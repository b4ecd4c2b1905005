"""Floor 1: the readable NumPy truth of every building block; engines, kernels and layers are tested against it."""
