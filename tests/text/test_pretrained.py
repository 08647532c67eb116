"""Tokenizers by name: where a file is looked for, what is downloaded, what is said when it cannot be had."""

import base64
import hashlib
import http.server
import os
import stat
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmfast.text import pretrained
from lmfast.text.formats.published import DOWNLOADS
from lmfast.text.patterns import PATTERNS
from lmfast.text.spec import TokenizerFileError, TokenizerSpec

CONTENT = b"".join(b"%b %d\n" % (base64.b64encode(bytes([byte])), byte) for byte in range(256))


class Server(http.server.ThreadingHTTPServer):
    """Serves one content under every name, and counts."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content: bytes | None = CONTENT
        self.asked: list[str] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.content is None:
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Published(types.SimpleNamespace):
    file: str
    url: str
    sha256: str


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on this machine that all encodings are downloaded from, and an empty cache."""
    for variable in ("LMFAST_VOCAB_DIR", "LMFAST_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(pretrained, "Tokenizer", lambda spec: spec)
    with Server() as running:
        address = f"http://127.0.0.1:{running.server_port}"
        for name, real in DOWNLOADS.items():
            here = Published(file=real.file, url=f"{address}/{real.file}", sha256=hashlib.sha256(CONTENT).hexdigest())
            monkeypatch.setitem(pretrained.DOWNLOADS, name, here)
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def cached(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


def test_unit_names() -> None:
    names = "cl100k_base gpt2 o200k_base o200k_harmony p50k_base p50k_edit r50k_base"
    assert pretrained.list_encoding_names() == names.split()
    with pytest.raises(ValueError, match=r"'cl100k' is not known: want one of cl100k_base, gpt2, "):
        pretrained.get_encoding("cl100k")


def test_unit_downloaded_once(server: Server, tmp_path: Path) -> None:
    for name in ("gpt2", "r50k_base"):
        spec: Any = pretrained.get_encoding(name)
        assert isinstance(spec, TokenizerSpec)
        assert spec.name == name
        assert spec.pre_tokenizer[0].pattern == PATTERNS["gpt2"]  # type: ignore[union-attr]
        assert len(spec.model.vocab) == 256
    assert server.asked == ["/r50k_base.tiktoken"]
    folder = tmp_path / "cache" / "lmfast" / "vocab"
    assert (folder / "r50k_base.tiktoken").read_bytes() == CONTENT
    assert cached(tmp_path) == ["r50k_base.tiktoken"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_unit_vocab_dir_comes_first(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMFAST_VOCAB_DIR", str(tmp_path))
    monkeypatch.setenv("LMFAST_OFFLINE", "1")
    (tmp_path / "o200k_base.tiktoken").write_bytes(CONTENT)
    for name in ("o200k_base", "o200k_harmony"):
        pretrained.get_encoding(name)
    assert server.asked == []


def test_unit_offline_says_what_to_do(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMFAST_OFFLINE", "1")
    with pytest.raises(FileNotFoundError) as caught:
        pretrained.get_encoding("cl100k_base")
    message = str(caught.value)
    for part in (
        "cl100k_base.tiktoken is neither in LMFAST_VOCAB_DIR (not set) nor in",
        str(tmp_path / "cache" / "lmfast" / "vocab"),
        "LMFAST_OFFLINE is set",
        DOWNLOADS["cl100k_base"].url,
        DOWNLOADS["cl100k_base"].sha256,
    ):
        assert part in message
    assert server.asked == []


def test_unit_server_down_says_what_to_do(server: Server, tmp_path: Path) -> None:
    server.content = None
    with pytest.raises(ConnectionError, match=r"downloading failed: HTTP Error 503.*LMFAST_VOCAB_DIR"):
        pretrained.get_encoding("p50k_edit")
    assert server.asked == ["/p50k_base.tiktoken"]
    assert cached(tmp_path) == []


def test_safety_wrong_download_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT.replace(b"IQ==", b"IQ=A")
    with pytest.raises(TokenizerFileError) as caught:
        pretrained.get_encoding("cl100k_base")
    assert hashlib.sha256(server.content).hexdigest() in str(caught.value)
    assert hashlib.sha256(CONTENT).hexdigest() in str(caught.value)
    assert cached(tmp_path) == []


def test_safety_cut_download_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-100]
    with pytest.raises(ConnectionError, match="downloading failed"):
        pretrained.get_encoding("cl100k_base")
    assert cached(tmp_path) == []


def test_safety_large_download_is_cut_off(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "MAX_FILE_BYTES", 100)
    with pytest.raises(ConnectionError, match="sends more than 100 bytes"):
        pretrained.get_encoding("cl100k_base")


@pytest.mark.parametrize("where", ["cache/lmfast/vocab", "named"])
def test_safety_changed_file(where: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / where / "cl100k_base.tiktoken"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT + b"YWI= 256\n")
    monkeypatch.setenv("LMFAST_VOCAB_DIR", str(tmp_path / "named"))
    with pytest.raises(TokenizerFileError) as caught:
        pretrained.get_encoding("cl100k_base")
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert hashlib.sha256(path.read_bytes()).hexdigest() in message
    assert hashlib.sha256(CONTENT).hexdigest() in message
    assert server.asked == []


def test_unit_cache_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.warns(RuntimeWarning, match=r"r50k_base\.tiktoken cannot be written"):
        assert isinstance(pretrained.get_encoding("gpt2"), TokenizerSpec)


def test_peer_cl100k(data_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The published file and the published hash, and the ranks that tiktoken reads from it."""
    load = pytest.importorskip("tiktoken.load")
    path = data_dir / "vocab" / "cl100k_base.tiktoken"
    monkeypatch.setenv("LMFAST_VOCAB_DIR", str(path.parent))
    monkeypatch.setenv("LMFAST_OFFLINE", "1")
    monkeypatch.setattr(pretrained, "Tokenizer", lambda spec: spec)
    spec: Any = pretrained.get_encoding("cl100k_base")
    assert dict(spec.model.vocab) == load.load_tiktoken_bpe(str(path))
    assert spec.added_tokens[0].content == "<|endoftext|>"


def tokenizer_json() -> str:
    pytest.importorskip("tokenizers")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    theirs = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(characters)}, merges=[]))
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.decoder = decoders.ByteLevel()
    return str(theirs.to_str())


def test_peer_from_pretrained_folder(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(tokenizer_json())
    assert pretrained.from_pretrained(str(tmp_path)).vocab_size == 256


def test_peer_from_pretrained_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tokenizer.json").write_text(tokenizer_json())
    asked: list[tuple[Any, ...]] = []

    def hf_hub_download(*args: Any, **options: Any) -> str:
        asked.append((*args, options))
        return os.fspath(tmp_path / "tokenizer.json")

    hub = types.ModuleType("huggingface_hub")
    hub.hf_hub_download = hf_hub_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setenv("LMFAST_OFFLINE", "1")
    assert pretrained.from_pretrained("someone/model", revision="main", token="t").vocab_size == 256
    options = {"revision": "main", "token": "t", "local_files_only": True}
    assert asked == [("someone/model", "tokenizer.json", options)]


def test_unit_from_pretrained_without_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r'pip install "lmfast-kernels\[hub\]"'):
        pretrained.from_pretrained("someone/model")
