"""How times and long names are written."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone, translation

from console.templatetags.console import moment, short


@pytest.mark.parametrize(
    ("ago", "english", "chinese"),
    [
        (timedelta(hours=23, minutes=59), "23\xa0hours ago", "23 小时前"),
        (timedelta(days=1, hours=1), "1 day ago", "1 天前"),
        (timedelta(days=29), "29 days ago", "29 天前"),
        (timedelta(days=61), "2 months ago", "2 个月前"),
        (timedelta(days=400), "1 year ago", "1 年前"),
    ],
)
def test_a_past_time_is_told_in_one_unit(ago: timedelta, english: str, chinese: str) -> None:
    for language, text in (("en", english), ("zh-hans", chinese)):
        with translation.override(language):
            found = re.search(r">(.*)<", moment(timezone.now() - ago))
            assert found is not None
            assert found[1] == text


def test_what_is_cut_ends_alike_in_every_language() -> None:
    for language in ("en", "zh-hans"):
        with translation.override(language):
            assert short("batch_0123456789abcdef", 16) == "batch_012345678…"
            assert short("batch_0123456789", 16) == "batch_0123456789"
