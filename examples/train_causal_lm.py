"""A small causal language model of Hugging Face transformers, random weights, trained with both losses of lmfast.

    python examples/train_causal_lm.py [--steps 30]

Two ways to the same gradient. `CrossEntropyLoss` takes the logits that the model gives, as torch's does. With
`LinearCrossEntropyLoss` the model's head and the loss are one: it takes the hidden states, and the logits of all tokens
never exist at once, which for a real vocabulary is most of the memory of a step. Both count the padding out.
"""

import argparse

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from lmfast.loss import CrossEntropyLoss, LinearCrossEntropyLoss

VOCAB, PAD = 211, 0


def make_model() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCAB, n_positions=32, n_embd=32, n_layer=1, n_head=2, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    )
    return GPT2LMHeadModel(config)


def batches(steps: int):
    """Texts that can be learned: each token is the one before it times 3 plus 1; the ends are padding."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        ids = torch.empty(8, 24, dtype=torch.long)
        ids[:, 0] = torch.randint(1, VOCAB, (8,), generator=generator)
        for t in range(1, 24):
            ids[:, t] = (3 * ids[:, t - 1] + 1) % (VOCAB - 1) + 1
        ids[torch.arange(24) >= torch.randint(12, 25, (8, 1), generator=generator)] = PAD
        yield ids


def train(way: str, steps: int) -> list[float]:
    """The loss of each step, by "logits" or by "hidden states"."""
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    of_logits = CrossEntropyLoss(ignore_index=PAD)
    of_hidden = LinearCrossEntropyLoss(
        linear=model.lm_head, ignore_index=PAD
    )  # tied to the embeddings, as it is in GPT-2
    losses = []
    for ids in batches(steps):
        inputs, labels = ids[:, :-1], ids[:, 1:]  # what follows each token
        if way == "logits":
            loss = of_logits(model(inputs).logits.flatten(0, 1), labels.flatten())
        else:
            loss = of_hidden(model.transformer(inputs).last_hidden_state, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main(steps: int) -> list[list[float]]:
    found = [train(way, steps) for way in ("logits", "hidden states")]
    print("step   of logits   of hidden states")
    for step, (a, b) in enumerate(zip(*found, strict=True)):
        print(f"{step:4} {a:11.5f} {b:18.5f}")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30)
    main(parser.parse_args().steps)
