"""`python -m study.cli` is `study`."""

from study.cli import main

main()
