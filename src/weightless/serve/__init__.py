"""A packed model behind HTTP: completions as OpenAI speaks them, metrics, and X-rays.  Floor 10."""
