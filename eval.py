"""Measure a trained model: the same as `weightless eval`, for those who expect a script."""

import sys

from weightless.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["eval", *sys.argv[1:]]))
