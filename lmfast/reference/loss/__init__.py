"""The truth of the loss domain, in float64.

cross_entropy   the loss of rows of logits, all its options, and its gradient written out
"""

from lmfast.reference.loss.cross_entropy import Rows, cross_entropy, cross_entropy_rows, log_softmax, softmax

__all__ = ["Rows", "cross_entropy", "cross_entropy_rows", "log_softmax", "softmax"]
