"""Floor 12: what `import weightless` offers, over the very functions that the command line calls (docs/api.md)."""

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError

__all__ = ["ConfigError", "CorruptFileError", "WeightlessError"]
