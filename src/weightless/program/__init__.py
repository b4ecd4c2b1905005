"""Floor 3: the decode program — named operators over named tensors — its engine, its audit and its cost.

Nothing here imports PyTorch: what is trained there is shipped as a program and runs from this room.
"""
