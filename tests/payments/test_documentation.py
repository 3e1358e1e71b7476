"""The page about payments, held against the code."""

from __future__ import annotations

import re
from pathlib import Path

from app.providers.sandbox import NUMBERS
from domain.payments import PaymentMethod

PAGE = (Path(__file__).parents[2] / "docs" / "payments.md").read_text()


def test_every_test_number_of_the_sandbox_is_documented_once() -> None:
    told = re.findall(r"^\| `(4\d{15})`", PAGE, flags=re.MULTILINE)
    assert sorted(told) == sorted(NUMBERS)


def test_every_payment_method_is_documented() -> None:
    missing = [method for method in PaymentMethod if f"`{method}`" not in PAGE]
    assert missing == []
