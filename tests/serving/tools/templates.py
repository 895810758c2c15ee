"""What families of models have as their chat templates, told in few words."""

from __future__ import annotations

_TURNS = """\
{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}{% if m.tool_calls %}{% for c in m.tool_calls %}CALL{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
_TOLD = "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
_BODY = '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}'

QWEN = _TOLD + _TURNS.replace("CALL", f"<tool_call>\n{_BODY}}}\n</tool_call>")
MISTRAL = _TOLD + _TURNS.replace(
    "CALL",
    "{% if c.id | length != 9 %}{{ raise_exception('Ids have nine letters.') }}{% endif %}"
    f'{{{{ "[TOOL_CALLS] [" if loop.first else ", " }}}}{_BODY}, "id": "{{{{ c.id }}}}"}}'
    '{{ "]" if loop.last }}',
)
MISTRAL_ARGS = _TOLD + _TURNS.replace(
    "CALL", "[TOOL_CALLS]{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}"
)
LLAMA = _TOLD + _TURNS.replace("CALL", _BODY.replace("arguments", "parameters", 1) + "}").replace(
    "function.parameters", "function.arguments"
)
UNKNOWN = _TOLD + _TURNS.replace("CALL", "call:{{ c.function.name }}{{ c.function.arguments | tojson }}")
"""Tells of tools, but in words that no format has."""
