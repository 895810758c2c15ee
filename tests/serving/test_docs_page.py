"""The page of API docs, in a real browser."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, Page, expect

from tests.server import Server

HAN = re.compile(r"[一-鿿]")


def test_the_api_can_be_browsed_and_tried(page: Page, api_key: str) -> None:
    paths = page.request.get("/v1/openapi.json").json()["paths"]
    page.goto("/docs/")
    expect(page.locator(".opblock")).to_have_count(sum(map(len, paths.values())))
    page.locator(".auth-wrapper .authorize").first.click()
    expect(page.locator(".modal-ux input")).to_have_count(1)  # a cookie cannot be typed in
    page.locator(".modal-ux input").fill(api_key)
    page.locator(".modal-ux .authorize").first.click()
    page.locator(".modal-ux .btn-done").first.click()
    page.locator("#operations-Models-list_models .opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    expect(page.locator(".live-responses-table")).to_contain_text("open-autoglm-7b")


def test_a_body_tells_of_its_fields_and_no_script_fails(page: Page) -> None:
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto("/docs/")
    operation = page.locator("#operations-Text-completions_create")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("tab", name="Schema").first.click()
    expect(operation.locator(".model-box").first).to_contain_text("Put the prompt before the text.")
    assert failures == []


def test_the_page_speaks_the_readers_language(browser: Browser, server: Server) -> None:
    page = browser.new_context(base_url=server.url, locale="zh-CN").new_page()
    page.goto("/docs/")
    page.locator(".opblock").first.wait_for()
    summaries = page.locator(".opblock-summary-description").all_inner_texts()
    assert [text for text in summaries if not HAN.search(text)] == []
    expect(page.locator("#operations-Models-list_models")).to_contain_text("列出模型及其别名")
    operation = page.locator("#operations-Text-completions_create")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("tab", name="Schema").first.click()
    expect(operation.locator(".model-box").first).to_contain_text("将提示词放在文本之前。")
    assert "List models and their aliases" in page.request.get("/v1/openapi.json").text()
    page.context.close()
