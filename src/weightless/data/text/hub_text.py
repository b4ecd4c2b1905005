"""Text of a data set on the Hugging Face hub as documents, for `data prepare --text hub:OWNER/NAME:config`.

One row of the column (`field`, default text) is one document.  The manifest records the commit, so that a corpus says
which state of the data set it was made from; name a revision (hub:OWNER/NAME@COMMIT) to make it again later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from weightless.data.text import hub
from weightless.data.text.left_out import LeftOut
from weightless.data.text.source import Opener, Source
from weightless.data.text.split_names import chosen
from weightless.data.text.text_rows import documents_of


def source(spec: str, field: str = "text") -> Source:
    """The documents of a split (train, unless the name says #another)."""
    name = hub.parse(spec)
    repository = hub.repository(name)
    paths = chosen(repository.splits(), name.split or "train", str(name))
    description = {
        "kind": "hub",
        "repository": name.repo,
        "config": name.config,
        "split": name.split or "train",
        "commit": repository.commit,
        "field": field,
    }

    left_out = LeftOut()

    def read() -> Iterator[bytes]:
        for path in paths:
            yield from documents_of(repository.fetch(path), "parquet", field, left_out)

    own = re.sub(r"[^A-Za-z0-9-]+", "_", name.repo.split("/")[1])
    return Source(own, description, read, left_out=left_out)


OPENER = Opener(hub.PREFIX, source, has_rows=True)
