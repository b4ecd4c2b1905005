"""Train a model: the same as `weightless train`, for those who expect a script."""

import sys

from weightless.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
