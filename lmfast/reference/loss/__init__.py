"""The truth of the loss domain, in float64.

cross_entropy   the loss of rows of logits, all its options, and its gradient written out
linear          the same of hidden states and the head of a model
"""

from lmfast.reference.loss.cross_entropy import Rows, cross_entropy, cross_entropy_rows, log_softmax, softmax
from lmfast.reference.loss.linear import linear_cross_entropy

__all__ = ["Rows", "cross_entropy", "cross_entropy_rows", "linear_cross_entropy", "log_softmax", "softmax"]
