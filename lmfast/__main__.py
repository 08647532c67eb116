"""`python -m lmfast` is the command `lmfast`."""

from lmfast.cli import main

main(prog_name="lmfast")
