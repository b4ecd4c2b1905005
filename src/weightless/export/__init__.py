"""Floor 6: from a trained or counted model to one artifact file, and back to something that runs."""
