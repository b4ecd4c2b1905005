"""Floor 2: fast twins. Every loop here has a slow, readable twin in `ops` or `quant` that is its oracle."""
