"""Sixteen megabytes: folders that hold a trained model, its cost and the proof of both.  Floor 9."""
