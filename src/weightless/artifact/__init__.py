"""Floor 1: one file that holds arrays of bytes and a description of them, checked on every reading; knows no models."""

from weightless.artifact.file import Artifact, StoredTensor, open_artifact, write_artifact
from weightless.artifact.sections import ALIGNMENT, Entry, align_up

__all__ = ["ALIGNMENT", "Artifact", "Entry", "StoredTensor", "align_up", "open_artifact", "write_artifact"]
