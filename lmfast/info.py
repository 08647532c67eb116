"""What this installation of lmfast is made of and what it found on this machine."""

from __future__ import annotations

from typing import Any

__all__ = ["format_info", "info"]

OPTIONAL = (
    "torch",
    "tiktoken",
    "tokenizers",
    "gigatoken",
    "sentencepiece",
    "huggingface_hub",
    "pyarrow",
    "ray",
    "matplotlib",
)


def info() -> dict[str, Any]:
    """The facts to put into a bug report, ready for JSON.

    version, python, platform   text
    isa                         {"chosen": name, "available": [name, ...]}; `LMFAST_ISA` overrides the choice, and an
                                instruction set in it that is not available raises `ValueError`
    cuda                        {"library": path or None, "devices": [name, ...], "problem": text or None}
    packages                    {distribution: version or None} for the optional ones, none of which is imported
    """
    import platform  # everything is imported here, so that `import lmfast` can offer this function and stay quick

    import lmfast
    from lmfast import _cuda
    from lmfast.text import _text

    library = str(_cuda.LIBRARY) if _cuda.LIBRARY.exists() else None
    problem = _cuda.problem()
    return {
        "version": lmfast.__version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "isa": {"chosen": _text.isa_best(), "available": _text.isas()},
        "cuda": {"library": library, "devices": [] if problem else _cuda.device_names(), "problem": problem},
        "packages": {name: _version(name) for name in OPTIONAL},
    }


def format_info(facts: dict[str, Any]) -> str:
    """`info()` as a table of two columns for people."""
    isa, cuda = facts["isa"], facts["cuda"]
    rows = [
        ("lmfast", facts["version"]),
        ("python", facts["python"]),
        ("platform", facts["platform"]),
        ("isa", f"{isa['chosen']} (available: {', '.join(isa['available'])})"),
        ("cuda library", cuda["library"] or "none"),
        ("cuda devices", ", ".join(cuda["devices"]) or f"none ({cuda['problem']})"),
        *((name, found or "not installed") for name, found in facts["packages"].items()),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _version(distribution: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
