"""Tokenizer files that are wrong: each is refused by a TokenizerFileError that names the file and the place in it."""

import base64
import json
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmfast.text import formats
from lmfast.text.spec import TokenizerFileError

MAX_PEAK_BYTES = 40 << 20
"""What a small damaged file may cost at most; 16 MiB of it for the files below that are themselves large."""

ALPHABET = [chr(c) for c in (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100), *range(0x100, 0x144))]
LINES = [f"{base64.b64encode(bytes([b])).decode()} {b}" for b in range(256)] + ["YWI= 256", "YWJj 257"]


def lines(change: Callable[[list[str]], Any]) -> bytes:
    """A good rank file, changed."""
    copy = list(LINES)
    change(copy)
    return "\n".join(copy).encode() + b"\n"


def line(number: int, text: str) -> bytes:
    return lines(lambda copy: copy.__setitem__(number - 1, text))


RANK_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "blank": (b"\n \r\n\n", "the file is empty"),
    "binary": (bytes(range(256)) * 9, "byte offset 0: 0x00 is not ASCII"),
    "nul-inside": (lines(lambda c: c) + b"\0\0\0", "byte offset 2212: 0x00"),
    "utf-16": ("\n".join(LINES).encode("utf-16-le"), "byte offset 1: 0x00"),
    "utf-8-letter": (line(3, "Ä== 2"), "byte offset 14: 0xc3"),
    "byte-order-mark": (b"\xef\xbb\xbf" + lines(lambda c: c), "byte offset 0: 0xef"),
    "wrong-base64": (line(7, "B!== 6"), "line 7: 'B!==' is not base64"),
    "url-safe-base64": (line(7, "_w== 6"), "line 7: '_w==' is not base64"),
    "short-base64": (line(7, "Bg= 6"), "line 7: 'Bg=' is not base64"),
    "long-base64": (line(7, "Bg=== 6"), "line 7: 'Bg===' is not base64"),
    "padding-first": (line(7, "=Bg= 6"), "line 7: '=Bg=' is not base64"),
    "padding-inside": (line(7, "Bg==Bg== 6"), "line 7: 'Bg==Bg==' is not base64"),
    "three-paddings": (line(7, "B=== 6"), "line 7: 'B===' is not base64"),
    "left-over-bits": (line(7, "Bh== 6"), "line 7: 'Bh==' is not base64: bits are left over"),
    "left-over-bits-of-two": (line(257, "YWJ= 256"), "line 257: 'YWJ=' is not base64: bits are left over"),
    "empty-token": (line(258, " 257"), "line 258: the token is empty"),
    "padding-alone": (line(258, "==== 257"), "line 258: '====' is not base64"),
    "missing-rank": (line(258, "YWJj"), "line 258: want a token in base64, one space and its rank"),
    "space-for-rank": (line(258, "YWJj "), "line 258: rank '' is not an integer"),
    "truncated-in-token": ("\n".join(LINES).encode()[:-6], "line 258: want a token in base64"),
    "truncated-in-rank": (
        "\n".join([*LINES, "YWJjZA== 1258"]).encode()[:-1],
        "line 259: rank 125 is already on line 126",
    ),
    "two-spaces": (line(258, "YWJj  257"), "line 258: want a token"),
    "tab": (line(258, "YWJj\t257"), "line 258: want a token"),
    "third-word": (line(258, "YWJj 257 x"), "line 258: want a token"),
    "space-in-front": (line(258, " YWJj 257"), "line 258: want a token"),
    "empty-line": (lines(lambda c: c.insert(9, "")), "line 10: want a token"),
    "lone-return": (lines(lambda c: c).replace(b"\n", b"\r"), "line 1: want a token"),
    "negative-rank": (line(258, "YWJj -257"), "line 258: rank '-257' is not an integer in [0, 131588]"),
    "signed-rank": (line(258, "YWJj +257"), "line 258: rank '+257'"),
    "word-for-rank": (line(258, "YWJj abc"), "line 258: rank 'abc'"),
    "float-rank": (line(258, "YWJj 257.0"), "line 258: rank '257.0'"),
    "hexadecimal-rank": (line(258, "YWJj 0x101"), "line 258: rank '0x101'"),
    "large-rank": (line(258, "YWJj 131589"), "line 258: rank '131589' is not an integer in [0, 131588]"),
    "rank-of-32-bits": (line(258, "YWJj 4294967295"), "line 258: rank '4294967295'"),
    "endless-rank": (line(258, "YWJj " + "9" * 5000), "line 258: rank '999999"),
    "repeated-rank": (line(258, "YWJj 256"), "line 258: rank 256 is already on line 257"),
    "repeated-rank-with-zeros": (line(258, "YWJj 0256"), "line 258: rank 256 is already on line 257"),
    "repeated-token": (line(258, "YWI= 257"), "line 258: token 'YWI=' is already on line 257"),
    "repeated-line": (lines(lambda c: c.append(c[40])), "line 259: rank 40 is already on line 41"),
    "missing-byte": (lines(lambda c: c.pop(0x41)), "1 of the 256 single bytes have no line, the first is 0x41 (QQ==)"),
    "missing-bytes": (b"YWI= 256\n", "256 of the 256 single bytes have no line"),
    "half-a-file": ("\n".join(LINES[:128]).encode(), "128 of the 256 single bytes have no line, the first is 0x80"),
    "one-long-line": (b"A" * (2 << 20), "line 1: want a token"),
    "one-long-word": (b"A" * (2 << 20) + b"! 0", "line 1: 'AAAA"),
    "many-bad-lines": (b"x\n" * (1 << 20), "line 1: want a token"),
    "json-array": (b'[["a", 1]]', "line 1: '[[\"a\",' is not base64"),
    "web-page": (b"<!DOCTYPE html>\n<html>404</html>\n", "line 1: '<!DOCTYPE' is not base64"),
}


def document(change: Callable[[Any], Any]) -> bytes:
    """A good tokenizer.json, changed."""
    content = {
        "version": "1.0",
        "added_tokens": [
            {
                "id": 258,
                "content": "<s>",
                "special": True,
                "normalized": False,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
            }
        ],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [258], "tokens": ["<s>"]}},
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True},
        "model": {
            "type": "BPE",
            "vocab": {c: i for i, c in enumerate(ALPHABET)} | {"ab": 256, "abc": 257},
            "merges": ["a b", "ab c"],
        },
    }
    change(content)
    return json.dumps(content).encode()


def put(value: Any, *path: str | int) -> bytes:
    """A good tokenizer.json with one value changed."""

    def change(content: Any) -> None:
        for step in path[:-1]:
            content = content[step]
        content[path[-1]] = value

    return document(change)


def drop(*path: str | int) -> bytes:
    def change(content: Any) -> None:
        for step in path[:-1]:
            content = content[step]
        del content[path[-1]]

    return document(change)


GOOD = document(lambda content: content)
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
SPLIT = {"type": "Split", "pattern": {"Regex": "x"}, "behavior": "Isolated", "invert": False}


def steps(*components: Any) -> bytes:
    return put({"type": "Sequence", "pretokenizers": list(components)}, "pre_tokenizer")


def nested(depth: int) -> Any:
    component: Any = BYTE_LEVEL
    for _ in range(depth):
        component = {"type": "Sequence", "pretokenizers": [component]}
    return component


TOKEN, TEMPLATE, VOCAB, MERGES = ("added_tokens", 0), ("post_processor",), ("model", "vocab"), ("model", "merges")

DOCUMENTS: dict[str, tuple[bytes, str]] = {
    # The text.
    "truncated": (GOOD[:-40], f"byte offset {len(GOOD) - 40}: not JSON"),
    "truncated-in-a-string": (GOOD[:20], "not JSON: Unterminated string"),
    "only-a-brace": (b"{", "byte offset 1: not JSON"),
    "more-after-the-end": (GOOD + b"{}", f"byte offset {len(GOOD)}: not JSON: Extra data"),
    "byte-order-mark": (b"\xef\xbb\xbf" + GOOD, "byte offset 0: a byte order mark"),
    "not-utf-8": (GOOD[:50] + b"\xff" + GOOD[50:], "byte offset 50: 0xff is not UTF-8"),
    "surrogate-in-utf-8": (GOOD.replace(b'"<s>"', b'"\xed\xa0\x80"', 1), "0xed is not UTF-8"),
    "utf-16": (GOOD.decode().encode("utf-16"), "byte offset 0: 0xff is not UTF-8"),
    "control-character": (GOOD.replace(b"NFC", b"NF\x01"), "not JSON: Invalid control character"),
    "bad-escape": (GOOD.replace(b"NFC", b"NF\\x"), "not JSON: Invalid \\escape"),
    "comment": (b"{ // x\n" + GOOD[1:], "byte offset 2: not JSON"),
    "deep-arrays": (b'{"model": ' + b"[" * 100_000, "nested 100001 deep; at most 64"),
    "deep-objects": (b'{"a": ' * 100_000, "nested 100000 deep; at most 64"),
    "deep-and-whole": (put(nested(40), "pre_tokenizer"), "nested 82 deep; at most 64"),
    "nan": (GOOD.replace(b'"1.0"', b"NaN"), "NaN is not a JSON number"),
    "infinity": (GOOD.replace(b'"ab": 256', b'"ab": -Infinity'), "-Infinity is not a JSON number"),
    "endless-number": (GOOD.replace(b'"ab": 256', b'"ab": ' + b"2" * 9999), "9999 digits"),
    "repeated-key": (GOOD.replace(b'{"version"', b'{"model": 1, "version"'), "model: the key stands twice"),
    "repeated-token": (GOOD.replace(b'"abc"', b'"ab"'), "model.vocab.ab: the key stands twice"),
    "repeated-key-in-array": (GOOD.replace(b'[{"id"', b'[{"id": 1, "id"'), "added_tokens[0].id: the key stands twice"),
    # The top.
    "array": (b"[1]", "want an object, got an array of 1"),
    "missing-model": (drop("model"), "top level: the key 'model' is missing"),
    "missing-pre-tokenizer": (drop("pre_tokenizer"), "top level: the key 'pre_tokenizer' is missing"),
    "unknown-key": (put(1, "extra"), "top level: key 'extra' is not supported; supported: model, "),
    "version": (put("2.0", "version"), "version: want \"1.0\", got '2.0'"),
    "version-number": (put(1.0, "version"), 'version: want "1.0", got 1.0'),
    "truncation": (put(512, "truncation"), "truncation: want an object or null, got 512"),
    # The model.
    "model-array": (put([], "model"), "model: want an object, got an array of 0"),
    "unigram": (
        put("Unigram", "model", "type"),
        "model: key 'merges' is not supported; supported: vocab, type, unk_id",
    ),
    "type-unknown": (put("Trie", "model", "type"), "model.type: 'Trie' is not supported; supported: BPE, Unigram"),
    "type-number": (put(3, "model", "type"), "model.type: want a string, got 3"),
    "word-piece-of-old": (
        put({"vocab": {}, "unk_token": "[UNK]", "max_input_chars_per_word": 100}, "model"),
        "model: the key 'continuing_subword_prefix' is missing",
    ),
    "no-keys": (put({"vocab": {}}, "model"), "model: neither a type nor the keys of a model"),
    "no-vocab": (drop(*VOCAB), "model: the key 'vocab' is missing"),
    "no-merges": (drop(*MERGES), "model: the key 'merges' is missing"),
    "model-key": (put(1, "model", "max_input_chars"), "model: key 'max_input_chars' is not supported"),
    "dropout": (put(1.1, "model", "dropout"), "model.dropout: want a number in [0, 1] or null, got 1.1"),
    "dropout-true": (put(True, "model", "dropout"), "model.dropout: want a number in [0, 1] or null, got true"),
    "suffix-number": (put(1, "model", "end_of_word_suffix"), "model.end_of_word_suffix: want a string, got 1"),
    "ignore-merges": (put("yes", "model", "ignore_merges"), "model.ignore_merges: want true or false, got 'yes'"),
    "fuse-unk": (put(1, "model", "fuse_unk"), "model.fuse_unk: want true or false, got 1"),
    "unk-token": (put(["x"], "model", "unk_token"), "model.unk_token: want a string, got an array of 1"),
    # The vocabulary.
    "vocab-array": (put(["a"], *VOCAB), "model.vocab: want an object, got an array of 1"),
    "vocab-empty": (put({}, *VOCAB), "model.merges[0]: 'a' is not in model.vocab"),
    "missing-byte": (
        drop(*VOCAB, "Ċ"),
        "model.vocab: 1 of the 243 bytes that UTF-8 has are no tokens, the first is 0x0a",
    ),
    "no-bytes-at-all": (
        document(lambda c: c["model"].update(vocab={"ab": 0}, merges=[])),
        "model.vocab: 243 of the 243 bytes that UTF-8 has are no tokens",
    ),
    "nothing-at-all": (document(lambda c: c["model"].update(vocab={}, merges=[])), "model.vocab: 243 of the 243 bytes"),
    "only-a-heading-of-merges": (
        document(lambda c: c["model"].update(vocab={}, merges=["#version: 0.2"])),
        "model.vocab: 243 of the 243 bytes",
    ),
    "empty-token": (put(259, *VOCAB, ""), "model.vocab['']: not a byte-level token"),
    "not-byte-level": (put(259, *VOCAB, "a b"), "model.vocab['a b']: not a byte-level token"),
    "not-byte-level-high": (put(259, *VOCAB, "\u4e2d"), "model.vocab['\\u4e2d']: not a byte-level token"),
    "half-a-surrogate": (put(259, *VOCAB, "\ud800"), "model.vocab['\\ud800']: not a byte-level token"),
    "id-string": (put("256", *VOCAB, "ab"), "model.vocab.ab: want an integer in [0, 268435455], got '256'"),
    "id-float": (put(256.0, *VOCAB, "ab"), "model.vocab.ab: want an integer in [0, 268435455], got 256.0"),
    "id-bool": (put(True, *VOCAB, "ab"), "model.vocab.ab: want an integer in [0, 268435455], got true"),
    "id-null": (put(None, *VOCAB, "ab"), "model.vocab.ab: want an integer in [0, 268435455], got null"),
    "id-object": (put({}, *VOCAB, "ab"), "model.vocab.ab: want an integer in [0, 268435455], got an object of 0"),
    "id-negative": (put(-1, *VOCAB, "ab"), "model.vocab.ab: want an integer in [0, 268435455], got -1"),
    "id-huge": (put(2**32 - 1, *VOCAB, "ab"), "model.vocab.ab: want an integer in [0, 268435455], got 4294967295"),
    "id-of-1000-bits": (put(2**999, *VOCAB, "ab"), "got an integer of 1000 bits"),
    "id-too-large-for-the-count": (put(131_591, *VOCAB, "ab"), "model.vocab: id 131591 is too large for 259 tokens"),
    "repeated-id": (put(97, *VOCAB, "ab"), "model.vocab.ab: 97 is already the id of"),
    # The merges.
    "merges-object": (put({}, *MERGES), "model.merges: want an array, got an object of 0"),
    "merges-mixed": (put(["a b", ["ab", "c"]], *MERGES), "model.merges: want strings or arrays of two strings"),
    "merges-numbers": (put([1, 2], *MERGES), "model.merges: want strings or arrays of two strings"),
    "merge-of-one": (put(["a b", "ab"], *MERGES), "model.merges[1]: want two tokens, got 'ab'"),
    "merge-of-three": (put(["a b", "a b c"], *MERGES), "model.merges[1]: want two tokens, got 'a b c'"),
    "merges-of-one-and-three": (put(["ab", "a b c"], *MERGES), "model.merges[0]: want two tokens, got 'ab'"),
    "merge-empty": (put(["a b", ""], *MERGES), "model.merges[1]: want two tokens, got ''"),
    "merge-of-nothing": (put(["a b", "ab "], *MERGES), "model.merges[1]: '' is not in model.vocab"),
    "merge-array-of-one": (put([["a", "b"], ["ab"]], *MERGES), "model.merges[1]: want two tokens, got an array of 1"),
    "merge-array-of-numbers": (put([["a", 1]], *MERGES), "model.merges[0]: want two tokens, got an array of 2"),
    "merge-array-of-arrays": (put([["a", ["b"]]], *MERGES), "model.merges[0]: want two tokens, got an array of 2"),
    "merge-absent-part": (put(["a b", "xy z"], *MERGES), "model.merges[1]: 'xy' is not in model.vocab"),
    "merge-absent-result": (put(["a b", "x y"], *MERGES), "model.merges[1]: 'xy' is not in model.vocab"),
    "merge-longer-than-any-token": (put([["ab", "abc" * 99]], *MERGES), "model.merges[0]: 'abcabc"),
    "merge-repeated": (put(["a b", "ab c", "a b"], *MERGES), "model.merges[2]: the same pair as model.merges[0]"),
    # Added tokens.
    "added-object": (put({}, "added_tokens"), "added_tokens: want an array, got an object of 0"),
    "added-string": (put("<s>", *TOKEN), "added_tokens[0]: want an object, got '<s>'"),
    "added-no-id": (drop(*TOKEN, "id"), "added_tokens[0]: the key 'id' is missing"),
    "added-no-flag": (drop(*TOKEN, "lstrip"), "added_tokens[0]: the key 'lstrip' is missing"),
    "added-key": (put(1, *TOKEN, "weight"), "added_tokens[0]: key 'weight' is not supported"),
    "added-flag": (put(1, *TOKEN, "rstrip"), "added_tokens[0].rstrip: want true or false, got 1"),
    "added-empty": (put("", *TOKEN, "content"), "added_tokens[0].content: an added token is empty"),
    "added-number": (put(7, *TOKEN, "content"), "added_tokens[0].content: want a string, got 7"),
    "added-surrogate": (put("\udc00", *TOKEN, "content"), "added_tokens[0].content: '\\udc00' holds half a surrogate"),
    "added-id": (put("258", *TOKEN, "id"), "added_tokens[0].id: want an integer"),
    "added-id-negative": (put(-1, *TOKEN, "id"), "added_tokens[0].id: want an integer"),
    "added-id-elsewhere": (
        put(300, *TOKEN, "id"),
        "added_tokens[0].id: 300 for '<s>', which tokenizers would give the id 258",
    ),
    "added-id-of-another": (
        document(
            lambda c: (c["model"]["vocab"].update(abcd=258), c["model"]["vocab"].pop("abc"), c["model"]["merges"].pop())
        ),
        "added_tokens[0].id: 258 is already the id of another token",
    ),
    "added-twice": (
        document(lambda c: c["added_tokens"].append(c["added_tokens"][0])),
        "added_tokens[1].content: '<s>' is already",
    ),
    # The normalizer.
    "twice-and-unended": (GOOD.replace(b'{"type"', b'{"type": 1, "type"', 1)[:-9], "byte offset"),
    "normalizer-type": (
        put({"type": "NFX"}, "normalizer"),
        "normalizer: type 'NFX' is not supported; supported: NFC, NFD, NFKC",
    ),
    "normalizer-no-type": (put({}, "normalizer"), "normalizer: the key 'type' is missing"),
    "normalizer-string": (put("NFC", "normalizer"), "normalizer: want an object, got 'NFC'"),
    "normalizer-key": (put({"type": "NFC", "x": 1}, "normalizer"), "normalizer: key 'x' is not supported"),
    "normalizer-nested": (
        put({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase", "x": 1}]}, "normalizer"),
        "normalizer.normalizers[1]: key 'x' is not supported",
    ),
    "charsmap-letters": (
        put({"type": "Precompiled", "precompiled_charsmap": "!"}, "normalizer"),
        "normalizer.precompiled_charsmap: not base64",
    ),
    "charsmap-short": (
        put({"type": "Precompiled", "precompiled_charsmap": "AAA="}, "normalizer"),
        "normalizer.precompiled_charsmap: 2 bytes; want at least 4",
    ),
    "charsmap-size": (
        put({"type": "Precompiled", "precompiled_charsmap": "/////wAAAAAA"}, "normalizer"),
        "normalizer.precompiled_charsmap: a trie of 4294967295 bytes in a table of 9",
    ),
    # The pre-tokenizer.
    "pre-tokenizer-type": (
        put({"type": "Words"}, "pre_tokenizer"),
        "pre_tokenizer: type 'Words' is not supported; supported: BertPreTokenizer",
    ),
    "pre-tokenizer-type-list": (
        put({"type": []}, "pre_tokenizer"),
        "pre_tokenizer.type: want a string, got an array of 0",
    ),
    "metaspace": (
        steps(BYTE_LEVEL, {"type": "Metaspace"}),
        "pre_tokenizer.pretokenizers[1]: the key 'replacement' is missing",
    ),
    "metaspace-scheme": (
        steps({"type": "Metaspace", "replacement": "_", "prepend_scheme": "last"}),
        "pretokenizers[0].prepend_scheme: want one of always, first, never, got 'last'",
    ),
    "metaspace-two": (
        steps({"type": "Metaspace", "replacement": "__"}),
        "pretokenizers[0].replacement: want one character, got '__'",
    ),
    "fixed-length": (steps({"type": "FixedLength", "length": 0}), "pretokenizers[0].length: want 1 or more, got 0"),
    "null-in-sequence": (steps(None), "pretokenizers[0]: null in a sequence"),
    "sequence-object": (
        put({"type": "Sequence", "pretokenizers": {}}, "pre_tokenizer"),
        "pre_tokenizer.pretokenizers: want an array",
    ),
    "byte-level-key": (put(1, "pre_tokenizer", "prepend"), "pre_tokenizer: key 'prepend' is not supported"),
    "byte-level-flag": (
        put("no", "pre_tokenizer", "use_regex"),
        "pre_tokenizer.use_regex: want true or false, got 'no'",
    ),
    "byte-level-incomplete": (
        drop("pre_tokenizer", "add_prefix_space"),
        "pre_tokenizer: the key 'add_prefix_space' is missing",
    ),
    "split-behavior": (
        steps(SPLIT | {"behavior": "isolated"}),
        "pretokenizers[0].behavior: want one of Isolated, Removed",
    ),
    "split-pattern-string": (steps(SPLIT | {"pattern": "x"}), "pretokenizers[0].pattern: want an object, got 'x'"),
    "split-two-patterns": (
        steps(SPLIT | {"pattern": {"Regex": "x", "String": "x"}}),
        "pretokenizers[0].pattern: want {",
    ),
    "split-empty-pattern": (steps(SPLIT | {"pattern": {"Regex": ""}}), "pattern.Regex: a pattern of 0 characters"),
    "split-long-pattern": (
        steps(SPLIT | {"pattern": {"Regex": "x" * 70_000}}),
        "pattern.Regex: a pattern of 70000 characters",
    ),
    "split-bad-regex": (steps(SPLIT | {"pattern": {"Regex": "(x"}}), "pattern.Regex: not a regular expression"),
    "split-deep-regex": (
        steps(SPLIT | {"pattern": {"Regex": "(" * 9_000 + "x" + ")" * 9_000}}),
        "pattern.Regex: not a regular expression",
    ),
    "split-other-regex": (steps(SPLIT | {"pattern": {"Regex": r"\d{1,3}+"}}), "pattern.Regex: '{1,3}+' at character 2"),
    "split-invert": (steps(SPLIT | {"invert": 0}), "pretokenizers[0].invert: want true or false, got 0"),
    # What comes after the model.
    "post-processor-type": (
        put({"type": "BertProcessing"}, *TEMPLATE),
        "post_processor: the key 'sep' is missing",
    ),
    "two-templates": (
        document(lambda c: c.update(post_processor={"type": "Sequence", "processors": [c["post_processor"]] * 2})),
        "post_processor.processors[1]: a TemplateProcessing after another post-processor",
    ),
    "template-string": (put("$A", *TEMPLATE, "single"), "post_processor.single: want an array, got '$A'"),
    "template-absent-token": (
        put("</s>", *TEMPLATE, "single", 0, "SpecialToken", "id"),
        "post_processor.single[0].SpecialToken.id: '</s>' is not in post_processor.special_tokens",
    ),
    "template-sequence-c": (
        put("C", *TEMPLATE, "pair", 1, "Sequence", "id"),
        "post_processor.pair[1].Sequence.id: want one of A, B, got 'C'",
    ),
    "template-b-in-single": (
        put("B", *TEMPLATE, "single", 1, "Sequence", "id"),
        "post_processor.single[1].Sequence.id: want one of A",
    ),
    "template-two-kinds": (put(1, *TEMPLATE, "single", 0, "Sequence"), "post_processor.single[0]: want {"),
    "template-no-kind": (put({}, *TEMPLATE, "single", 0), "post_processor.single[0]: want {"),
    "template-type-id": (
        put(-1, *TEMPLATE, "single", 1, "Sequence", "type_id"),
        "single[1].Sequence.type_id: want an integer",
    ),
    "template-unknown-id": (
        put([9999], *TEMPLATE, "special_tokens", "<s>", "ids"),
        "['<s>'].ids[0]: no token has the id 9999",
    ),
    "template-huge-id": (put([2**40], *TEMPLATE, "special_tokens", "<s>", "ids"), "['<s>'].ids[0]: want an integer"),
    "template-lengths": (put([], *TEMPLATE, "special_tokens", "<s>", "tokens"), "['<s>']: 1 ids and 0 tokens"),
    "template-other-name": (
        put("x", *TEMPLATE, "special_tokens", "<s>", "id"),
        "['<s>'].id: want the key that leads here",
    ),
    "decoder-type": (put({"type": "WordPiece"}, "decoder"), "decoder: the key 'prefix' is missing"),
    "decoder-strip": (
        put({"type": "Strip", "content": "ab", "start": 0, "stop": 0}, "decoder"),
        "decoder.content: want one character, got 'ab'",
    ),
}


def refuse(path: Path, data: bytes, place: str, max_peak: int = MAX_PEAK_BYTES, **options: Any) -> None:
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(TokenizerFileError) as caught:
            formats.read(path, **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert place in message
    assert len(message) < 500 + len(str(path))
    assert peak < max_peak


@pytest.mark.parametrize("case", RANK_FILES)
def test_safety_rank_file(case: str, tmp_path: Path) -> None:
    refuse(tmp_path / "damaged.tiktoken", *RANK_FILES[case], pattern="cl100k_base")


@pytest.mark.parametrize("case", DOCUMENTS)
def test_safety_tokenizer_json(case: str, tmp_path: Path) -> None:
    refuse(tmp_path / "damaged.json", *DOCUMENTS[case])


def test_unit_the_undamaged_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_bytes(GOOD)
    assert len(formats.read(tmp_path / "good.json").model.vocab) == 258
    (tmp_path / "good.tiktoken").write_bytes(lines(lambda copy: copy))
    assert len(formats.read(tmp_path / "good.tiktoken", pattern="cl100k_base").model.vocab) == 258


@pytest.mark.parametrize(
    ("special_tokens", "place"),
    [
        ({"<s>": 97}, "special token '<s>': id 97 is already the rank of b'a'"),
        ({"<s>": 258, "</s>": 258}, "special token '</s>': id 258 is already the id of '<s>'"),
        ({"<s>": -1}, "special token '<s>': id -1 is not an integer in [0, 131590]"),
        ({"<s>": True}, "special token '<s>': id True is not an integer"),
        ({"<s>": 2**28 - 1}, "special token '<s>': id 268435455 is not an integer in [0, 131590]"),
        ({"": 258}, "special token '': want a string"),
        ({"\ud800": 258}, "special token '\\ud800': half a surrogate pair"),
    ],
)
def test_safety_special_tokens(special_tokens: dict[str, int], place: str, tmp_path: Path) -> None:
    data = lines(lambda copy: copy)
    refuse(tmp_path / "x.tiktoken", data, place, pattern="cl100k_base", special_tokens=special_tokens)


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"", "the file is empty; want a .tiktoken rank file, a Hugging Face tokenizer.json or a sentencepiece .model"),
        (b" \n\n", "the file is empty"),
        (b"\n\x0e\n\x05<unk>\x15\0\0\0\0", "byte offset 0: field 1 has 14 bytes, and 12 are left"),
        (b"PK\x03\x04", "begins with b'PK\\x03\\x04', which is neither"),
        (b"\x80\x04\x95", "which is neither"),
        (b"version https://git-lfs.github.com/spec/v1", "which is neither"),
        (b"\xef\xbb\xbf{}", "byte offset 0: a byte order mark"),
    ],
)
def test_safety_unknown_format(data: bytes, place: str, tmp_path: Path) -> None:
    refuse(tmp_path / "model.bin", data, place, pattern=None)


def test_safety_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.json"
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    monkeypatch.setattr(formats, "MAX_FILE_BYTES", 1 << 20)
    with pytest.raises(TokenizerFileError, match=r"large\.json: larger than 1048576 bytes"):
        formats.read(path)


@pytest.mark.parametrize("name", ["x.tiktoken", "x.json"])
def test_safety_random_damage(name: str, tmp_path: Path, rng: Any) -> None:
    """Bytes changed, cut out, doubled: a spec or a TokenizerFileError, nothing else."""
    draw = random.Random(int(rng.integers(2**32)))
    good = GOOD if name == "x.json" else lines(lambda copy: copy)
    path = tmp_path / name
    refused = 0
    for _ in range(300):
        data = bytearray(good)
        for _ in range(draw.choice([1, 1, 1, 2, 5])):
            at = draw.randrange(len(data))
            end = min(len(data), at + draw.choice([0, 1, 1, 2, 9, 300]))
            data[at:end] = draw.choice(
                [b"", draw.randbytes(1), b'"', b" ", b"\n", b"9", b"{", b"]", bytes(data[at:end]) * 2]
            )
        path.write_bytes(data)
        try:
            formats.read(path, pattern="gpt2" if name == "x.tiktoken" and data.lstrip()[:1] != b"{" else None)
        except TokenizerFileError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017
            refused += 1
    assert refused > 100
