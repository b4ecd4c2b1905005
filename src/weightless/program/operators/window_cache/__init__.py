"""A cache of the model's own window: what has followed the last words, mixed into the distribution."""

from weightless.program.operators.window_cache.layout import MAX_ORDERS, width_of_lines
from weightless.program.operators.window_cache.promise import CacheFull, CacheSample, CacheScore
from weightless.program.operators.window_cache.update import CacheUpdate

__all__ = ["MAX_ORDERS", "CacheFull", "CacheSample", "CacheScore", "CacheUpdate", "width_of_lines"]
