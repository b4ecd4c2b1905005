"""What reads text: the sources and what enters them, documents, grams, the split."""
