"""House rules that a machine can hold: how sources are written, what compiled modules export, what an import loads."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lmfast

CHECKOUT = Path(__file__).resolve().parents[1]
HEADERS = sorted(CHECKOUT.glob("csrc/**/*.h"))
C_FILES = sorted(CHECKOUT.glob("csrc/**/*.[ch]")) + sorted(CHECKOUT.glob("csrc/**/*.cu*"))
PYTHON_FILES = sorted(path for path in CHECKOUT.glob("lmfast/**/*.py*") if path.suffix != ".pyc")
COMPILED = sorted(Path(lmfast.__file__).parent.glob("*/_*.so"))
HEAVY = ("torch", "click", "tqdm", "tokenizers", "tiktoken", "matplotlib", "hypothesis", "ctypes", "concurrent.futures")


def name(path: Path) -> str:
    return path.name


def code_of(path: Path) -> str:
    """C text with every comment replaced by an empty one."""
    return re.sub(r"/\*.*?\*/", "/**/", path.read_text(), flags=re.S)


@pytest.mark.parametrize("path", C_FILES + PYTHON_FILES, ids=name)
def test_unit_no_decorative_rules(path: Path) -> None:
    assert not re.findall(r"^\s*(?:/\*|\*|//|#)?\s*[-=*#~]{5,}.*", path.read_text(), flags=re.M)


@pytest.mark.parametrize("path", HEADERS, ids=name)
def test_unit_inline_is_static(path: Path) -> None:
    """A non-static inline function compiled for AVX-512 could be the one that the linker keeps for everybody."""
    lines = [line for line in code_of(path).splitlines() if re.search(r"\binline\b", line)]
    assert not [line for line in lines if "static" not in line]


@pytest.mark.parametrize("path", HEADERS, ids=name)
def test_unit_prototypes_are_described(path: Path) -> None:
    """A group of lines that declares functions begins with a comment, which says how to use them."""
    for group in re.split(r"\n\s*\n", code_of(path)):
        declared = re.search(r"^(?!typedef)\w[\w *]*\blf_\w+\([^;{]*\);", group, flags=re.M)
        assert declared is None or "/**/" in group[: declared.start()], declared.group()


@pytest.mark.parametrize("path", C_FILES, ids=name)
def test_unit_no_memory_but_the_owner_s(path: Path) -> None:
    """The caller owns memory: a file that takes some of its own gives it back too. A kernel prints and ends nothing."""
    code = code_of(path)
    assert not re.findall(r"\b(?:alloca|printf|puts|abort|exit|assert)\(", code)
    assert bool(re.search(r"\b(?:m|c|re|aligned_)alloc\(", code)) <= bool(re.search(r"\bfree\(", code))


@pytest.mark.skipif(not shutil.which("nm"), reason="needs nm")
@pytest.mark.parametrize("path", COMPILED, ids=name)
def test_unit_modules_export_only_their_init(path: Path) -> None:
    out = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True)
    names = {line.split()[-1] for line in out.stdout.splitlines()}
    names = {n for n in names if not n.startswith("__")}  # what sanitizers add
    assert names == {f"PyInit_{path.name.split('.')[0]}"}


def test_unit_import_is_light(tmp_path: Path) -> None:
    code = f"import sys, lmfast; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "[]\n"
