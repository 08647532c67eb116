import base64
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import lmfast
from lmfast import demo


def test_unit_a_small_run(tmp_path, capsys):
    facts = demo.run(tmp_path / "out", max_bytes=200_000, train_bytes=20_000, vocab_size=300)
    said = capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["demo.svg", "demo.tiktoken", "tokenizer.json"]
    assert max(len(line) for line in said.splitlines() if str(tmp_path) not in line) <= 90
    assert f"{facts['files']:,} of {facts['files']:,} files come back byte for byte" in said
    assert 0 < facts["bytes"] <= 200_000
    assert 0 < facts["entropy"] < np.log2(300)
    assert facts["rows"][0]["name"] == f"lmfast {lmfast.__version__}"
    assert all(row["first"] > 0 and row["repeat"] > 0 for row in facts["rows"])

    ranks = (tmp_path / "out" / "demo.tiktoken").read_bytes().split()
    assert len(ranks) == 2 * 300
    assert [len(base64.b64decode(token)) for token in ranks[0:512:2]] == [1] * 256
    one = lmfast.Tokenizer.from_file(tmp_path / "out" / "tokenizer.json")
    other = lmfast.Tokenizer.from_file(tmp_path / "out" / "demo.tiktoken", pattern="gpt2")
    text = "import os\n\nclass A:\n    pass\n"
    assert one.encode(text).tolist() == other.encode(text).tolist()
    assert len(one.encode(text)) < len(text)

    tree = ElementTree.parse(tmp_path / "out" / "demo.svg")
    assert tree.getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_unit_the_corpus_is_the_same_every_time():
    texts = demo.standard_library(300_000)
    assert texts == demo.standard_library(300_000)
    assert 100_000 < sum(len(text.encode()) for text in texts) <= 300_000


def test_unit_other_ids_of_a_peer_are_an_error(tmp_path, monkeypatch):
    def wrong(spec, folder):
        return (lambda texts: [[0] for _ in texts]), demo.flatten, None

    monkeypatch.setattr(demo, "PEERS", {"json": wrong})
    with pytest.raises(RuntimeError, match="json gives other ids"):
        demo.run(tmp_path, max_bytes=50_000, train_bytes=5_000, vocab_size=260)


def test_unit_a_bad_round_trip_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(lmfast.Tokenizer, "decode_bytes", lambda self, ids: b"")
    with pytest.raises(RuntimeError, match="round trip"):
        demo.run(tmp_path, max_bytes=50_000, train_bytes=5_000, vocab_size=260)


def test_unit_table_and_chart_without_peers(capsys):
    rows = [{"name": "lmfast 0", "bytes": 1_000_000, "first": 2.0, "repeat": 4.0}]
    assert re.search(r"lmfast 0 +1\.0 MB +2\.0 +4\.0  [█#]+$", demo.table(rows))
    ElementTree.fromstring(demo.svg([{**rows[0], "name": "<&>"}], np.array([0, 5, 3])))
