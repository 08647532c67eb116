"""How a step of learning moves logits: against p - y, the difference between what was believed and what was true.

    python examples/logits_follow_p_minus_y.py

Three classes, and the second one is right. The model believes in it by p = softmax(z):

>>> import math
>>> import numpy as np
>>> from lmfast.loss import cross_entropy, cross_entropy_with_grad, entropy, information, softmax, softmax_jacobian
>>> z, y = np.array([2.0, 1.0, 0.1]), np.array([0.0, 1.0, 0.0])
>>> p = softmax(z)
>>> p.round(4)
array([0.659 , 0.2424, 0.0986])

The loss is how surprising the right class is, -log p[1], in nats; `information` gives it in bits unless told otherwise:

>>> loss, gradient = cross_entropy_with_grad(z, np.array(1))
>>> loss.round(4).item(), information(p[1], base=np.e).round(4).item(), information(p[1]).round(4).item()
(1.417, 1.417, 2.0443)

Its gradient by the logits is p - y. The chain rule says the same in two steps: through the Jacobian of softmax,
diag(p) - p p', and the gradient of -log p[1] by p, which is -1 / p[1] at the right class and 0 elsewhere.

>>> gradient.round(4)
array([ 0.659 , -0.7576,  0.0986])
>>> bool(np.allclose(gradient, p - y))
True
>>> bool(np.allclose(gradient, softmax_jacobian(z) @ (-y / p)))
True

What is pushed down is pushed down by as much as it was believed in; the right class is pulled up by what it lacks. The
numbers add up to 0: a constant added to all logits changes nothing. One step of gradient descent is z - (p - y):

>>> for step in range(5):
...     print(step, z.round(3).tolist(), softmax(z).round(3).tolist(), cross_entropy(z, np.array(1)).round(3).item())
...     z = z - (softmax(z) - y)
0 [2.0, 1.0, 0.1] [0.659, 0.242, 0.099] 1.417
1 [1.341, 1.758, 0.001] [0.36, 0.546, 0.094] 0.605
2 [0.981, 2.212, -0.093] [0.21, 0.718, 0.072] 0.331
3 [0.771, 2.493, -0.165] [0.143, 0.801, 0.056] 0.222
4 [0.628, 2.693, -0.221] [0.107, 0.847, 0.046] 0.167

The larger the mistake, the larger the step. The loss of a model that knows nothing is the entropy of an even guess:

>>> cross_entropy(np.zeros(8), np.array(3), reduction="sum").item() / math.log(2), entropy(logits=np.zeros(8)).item()
(3.0, 3.0)

torch's `nn.CrossEntropyLoss` gives these numbers, and so does ours for tensors:

>>> import torch
>>> from lmfast.loss import CrossEntropyLoss
>>> for criterion in torch.nn.CrossEntropyLoss(), CrossEntropyLoss():
...     logits = torch.tensor([[2.0, 1.0, 0.1]], requires_grad=True)
...     criterion(logits, torch.tensor([1])).backward()
...     print(logits.grad)
tensor([[ 0.6590, -0.7576,  0.0986]])
tensor([[ 0.6590, -0.7576,  0.0986]])
"""

if __name__ == "__main__":
    import doctest

    print(__doc__)
    raise SystemExit(doctest.testmod().failed)
