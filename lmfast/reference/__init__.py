"""The slow truth that the kernels are held to: plain Python, numpy and torch, no cleverness.

Each module has the name of the domain it is the truth of. Nothing outside `lmfast.checking`, the tests and the demo
imports it, and torch is imported only inside the functions that say something best in tensors.
"""
