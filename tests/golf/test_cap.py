"""Bytes against the cap.  Oracle: the file system's sizes, and by hand."""

from __future__ import annotations

import pytest

from weightless.base.errors import ConfigError, WeightlessError
from weightless.golf.cap import CAP, Totals, code_bytes


def test_the_cap_is_sixteen_million_decimal_bytes():
    assert CAP == 16_000_000
    at = Totals(47_642, 15_952_358)
    assert at.total == CAP and at.margin == 0 and at.fits and at.verdict.startswith("fits: 0 bytes below")
    over = Totals(47_642, 15_952_359)
    assert over.total == 16_000_001 and not over.fits
    assert over.verdict == ("does not fit: 16,000,001 bytes are one byte over the cap of 16,000,000 (decimal, no MiB)")
    assert "2 bytes over" in Totals(2, CAP).verdict and "1 byte below" in Totals(0, CAP - 1).verdict


def test_all_three_are_printed():
    told = "\n".join(Totals(47_642, 15_815_847).lines())
    for number in ("47,642", "15,815,847", "15,863,489", "136,511"):  # the published baseline's
        assert number in told


def test_code_is_counted_as_it_lies_on_the_disk(tmp_path):
    script = tmp_path / "train.py"
    script.write_bytes("# é\r\nprint(1)\r\n".encode())
    assert code_bytes(script) == script.stat().st_size == 16
    for content, told in ((b" \n", "is empty"), (b"\xff\xfe", "no UTF-8")):
        script.write_bytes(content)
        with pytest.raises(ConfigError, match=told):
            code_bytes(script)
    with pytest.raises(WeightlessError, match="cannot read the script"):
        code_bytes(tmp_path / "none.py")
