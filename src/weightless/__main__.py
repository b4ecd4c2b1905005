"""`python -m weightless VERB …`: what the script `weightless` does, where only the interpreter's path is known."""

from __future__ import annotations

import sys

from weightless.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
