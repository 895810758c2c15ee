from __future__ import annotations

from django.utils import translation

from serving.engine.saying import say
from serving.sayings import translated


def test_a_saying_is_english_to_the_engine_and_any_language_on_a_page() -> None:
    reason = say("activation %(given)s is not silu", given="100 %s")
    saying = say("the native runner cannot: %(reason)s", reason=reason)
    assert saying == "the native runner cannot: activation 100 %s is not silu"
    with translation.override("zh-hans"):
        assert translated(saying) == "原生运行器不支持：激活函数 100 %s 不是 silu"
        assert translated("RuntimeError: 50 % of it") == "RuntimeError: 50 % of it"
