"""`tokenizer.json` of Hugging Face tokenizers.

Everything in the file that may change an id or a text is either understood or refused by name and JSON path; what
changes neither (truncation, padding, the offsets that post-processing trims) is kept in `TokenizerSpec.options`.

A BPE over the stand-ins of bytes becomes byte-level BPE where all of the file agrees (`byte_level.is_byte_level`), and
else what it literally is: a BPE over characters, with a ByteLevel before it.

Read and written as tokenizers 0.23.3 does; source: tokenizers/src.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace

import numpy as np

from lmfast.text.formats.huggingface import (
    added_tokens,
    byte_level,
    decoders,
    models,
    normalizers,
    post_processors,
    pre_tokenizers,
)
from lmfast.text.formats.huggingface.components import write_sequence
from lmfast.text.formats.strict_json import Node, parse, shown
from lmfast.text.spec import BPE, ByteLevel, Model, TokenizerFileError, TokenizerSpec

__all__ = ["read_bytes", "to_bytes"]


def read_bytes(data: bytes, *, where: str, name: str | None = None) -> TokenizerSpec:
    """The tokenizer in the contents of a `tokenizer.json`. `where` is the name of the file, for messages.

    Errors: TokenizerFileError for everything that is wrong with the file or not supported.
    """
    if found := byte_level.without_tables(data):
        rest, tables = found
        with suppress(TokenizerFileError):  # told below, with the place in the whole file
            if spec := _read(parse(rest, where), name, tables):
                return spec
    spec = _read(parse(data, where), name, None)
    assert spec is not None
    return spec


def _read(top: Node, name: str | None, tables: byte_level.Tables | None) -> TokenizerSpec | None:
    """The tokenizer in a file, or in one without its tables; None where the tables are not as usual."""
    top.object(
        ("model", "pre_tokenizer"),
        ("version", "truncation", "padding", "added_tokens", "normalizer", "post_processor", "decoder"),
    )
    if top.value.get("version", "1.0") != "1.0":
        top["version"].fail(f'want "1.0", got {shown(top["version"].value)}')
    model = top["model"]
    kind = models.check_keys(model)
    added = added_tokens.read(top["added_tokens"] if "added_tokens" in top.value else None)
    over_bytes = kind == "BPE" and byte_level.is_byte_level(top)
    read_model: Model
    if tables is not None:
        found = byte_level.read_tables(model, added, tables) if over_bytes else None
        if found is None:
            return None
        read_model, ids_of, ids = found
        taken = set(ids[np.isin(ids, [token.id for token in added])].tolist())
        added_tokens.check_ids(top, ids_of, taken, len(ids), read_model.vocab, added)
    else:
        read_model = byte_level.read(model, added) if over_bytes else models.read(model, kind, added)
        ids_of = models.ids_of(model, kind)
        added_tokens.check_ids(top, ids_of, set(ids_of.values()), len(ids_of), read_model.vocab, added)
    processor, trimming = post_processors.read(top.get("post_processor"), read_model.vocab, added)
    for key in ("truncation", "padding"):
        if (node := top.get(key)) and type(node.value) is not dict:
            node.fail(f"want an object or null, got {shown(node.value)}")
    options = {
        "truncation": top.get("truncation"),
        "padding": top.get("padding"),
        "post_processor.byte_level": trimming,
        "model.unk_token": model.get("unk_token"),
    }
    if not over_bytes and getattr(read_model, "unk_id", None) is not None:
        del options["model.unk_token"]
    spec = TokenizerSpec(
        model=read_model,
        pre_tokenizer=byte_level.read_pre_tokenizer(top["pre_tokenizer"]) if over_bytes else (),
        normalizer=normalizers.read(top.get("normalizer")),
        added_tokens=tuple(sorted(added, key=lambda token: token.id)),
        post_processor=processor,
        name=name,
        options=tuple((key, node.text()) for key, node in sorted(options.items()) if node),
    )
    if over_bytes:
        return spec
    return replace(
        spec, pre_tokenizer=pre_tokenizers.read(top.get("pre_tokenizer")), decoder=decoders.read(top.get("decoder"))
    )


def to_bytes(spec: TokenizerSpec) -> bytes:
    """The `tokenizer.json` of a tokenizer: tokenizers 0.23.3 loads it and gives the same ids.

    A rank file's merges are derived from its ranks (`merges_of_ranks`), `ignore_merges` stays true only where it is
    needed. Raises ValueError, with the reason, for a tokenizer that this format cannot hold.
    """
    options = {key: json.loads(text) for key, text in spec.options}
    over_bytes = isinstance(spec.model, BPE) and spec.model.byte_level
    if over_bytes:
        splits = byte_level.write_pre_tokenizer(spec.pre_tokenizer)
        found = decoders.write((ByteLevel(),))
        model = byte_level.write(spec, options.get("model.unk_token"))
    else:
        model = models.write(spec, options.get("model.unk_token"))
        splits = pre_tokenizers.write(spec.pre_tokenizer)
        found = decoders.write(spec.decoder)
    trimming = [options[key] for key in ("post_processor.byte_level",) if key in options]
    content = {
        "version": "1.0",
        "truncation": options.get("truncation"),
        "padding": options.get("padding"),
        "added_tokens": [added_tokens.write(token) for token in sorted(spec.added_tokens, key=lambda t: t.id)],
        "normalizer": write_sequence(normalizers.write(spec.normalizer), "normalizers"),
        "pre_tokenizer": write_sequence(splits, "pretokenizers"),
        "post_processor": write_sequence([*trimming, *post_processors.write(spec.post_processor)], "processors"),
        "decoder": write_sequence(found, "decoders"),
        "model": model,
    }
    return json.dumps(content, ensure_ascii=False).encode() + b"\n"
