"""`python -m study.cli` is `study`."""

from study.cli import main

if __name__ == "__main__":
    main()
