"""What people do on the pages, in a real browser on a real server."""

from __future__ import annotations

import re

import requests
from playwright.sync_api import Page, expect

from tests.server import Server

KEY = re.compile(r"oag-\w{42}")


def mint(page: Page, name: str) -> str:
    """A key made by hand, as its page shows it."""
    page.goto("/console/keys/")
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Mint key").click()
    return page.locator("#minted-key").inner_text()


def clipboard(page: Page) -> str:
    return str(page.evaluate("navigator.clipboard.readText()"))


def status_of(server: Server, key: str) -> int:
    answer = requests.get(f"{server.url}/v1/models", headers={"Authorization": f"Bearer {key}"}, timeout=30)
    return answer.status_code


def complete(server: Server, key: str) -> requests.Response:
    return requests.post(
        f"{server.url}/v1/completions",
        headers={"Authorization": f"Bearer {key}"},
        json={"model": "open-autoglm-7b", "prompt": "Hello", "max_tokens": 4},
        timeout=60,
    )


def test_overview_leads_to_a_key_that_works_until_it_is_revoked(member: Page, server: Server) -> None:
    member.get_by_role("button", name="Mint my first key").click()
    key = member.locator("#minted-key").inner_text()
    assert KEY.fullmatch(key)
    member.get_by_role("button", name="Copy key").click()
    expect(member.get_by_role("button", name="Copied")).to_be_visible()
    assert clipboard(member) == key
    assert status_of(server, key) == 200

    member.get_by_role("button", name="Revoke “My first key”").click()
    dialog = member.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    dialog.get_by_role("button", name="Revoke key").click()
    expect(member.get_by_text("“My first key” is revoked")).to_be_visible()
    assert status_of(server, key) == 401


def test_dialog_closes_without_revoking(member: Page, server: Server) -> None:
    key = mint(member, "Kept")
    for way in ("Escape", "button"):
        member.get_by_role("button", name="Revoke “Kept”").click()
        if way == "Escape":
            member.keyboard.press("Escape")
        else:
            member.get_by_role("button", name="Keep it").click()
        expect(member.get_by_role("dialog")).to_be_hidden()
    assert status_of(server, key) == 200


def test_key_is_gone_after_a_reload_and_after_going_back(member: Page) -> None:
    key = mint(member, "Once")
    member.reload()
    assert key not in member.content()
    member.goto("/console/usage/")
    member.go_back()
    assert key not in member.content()


def test_copied_snippet_is_a_call_with_the_real_key_and_host(member: Page, server: Server) -> None:
    key = mint(member, "Snippet")
    member.get_by_role("tab", name="Python").click()
    member.locator(".code .copy").click()
    code = clipboard(member)
    assert f'url = "{server.url}/v1/completions"' in code
    assert f"Bearer {key}" in code
    compile(code, "snippet", "exec")


def test_tabs_follow_the_arrow_keys_and_are_remembered(page: Page) -> None:
    page.goto("/")
    page.get_by_role("tab", name="curl").focus()
    page.keyboard.press("ArrowRight")
    python = page.get_by_role("tab", name="Python")
    expect(python).to_be_focused()
    expect(python).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("tabpanel")).to_contain_text("import requests")
    page.reload()
    expect(page.get_by_role("tab", name="Python")).to_have_attribute("aria-selected", "true")


def test_chosen_theme_is_there_before_the_first_paint(page: Page) -> None:
    page.goto("/")
    page.get_by_role("button", name="Dark", exact=True).click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Light", exact=True).click()
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light != dark
    page.get_by_role("button", name="Dark", exact=True).click()
    page.add_init_script(
        "new MutationObserver(() => {"
        "  if (document.body) window.atFirst ??= document.documentElement.dataset.theme;"
        "}).observe(document, {childList: true, subtree: true})"
    )
    page.goto("/accounts/login/")
    assert page.evaluate("window.atFirst") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    page.get_by_role("button", name="Same as the system").click()
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") is None


def test_language_switch_stays_on_the_page(page: Page) -> None:
    page.goto("/accounts/login/?next=/console/usage/")
    page.get_by_role("button", name="中文").click()
    page.wait_for_load_state()
    assert page.url.endswith("/accounts/login/?next=/console/usage/")
    expect(page.get_by_role("heading", name="登录")).to_be_visible()
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_narrow_menu_opens_by_keyboard_and_closes_with_escape(member: Page) -> None:
    member.set_viewport_size({"width": 390, "height": 844})
    usage = member.get_by_role("link", name="Usage", exact=True)
    expect(usage).to_be_hidden()
    member.get_by_role("button", name="Menu").focus()
    member.keyboard.press("Enter")
    expect(usage).to_be_visible()
    member.keyboard.press("Escape")
    expect(usage).to_be_hidden()
    member.get_by_role("button", name="Menu").click()
    usage.click()
    member.wait_for_url("**/console/usage/")


def test_signing_out_from_the_account_menu(member: Page) -> None:
    member.get_by_role("button", name="Account:").click()
    member.get_by_role("button", name="Sign out").click()
    expect(member.get_by_role("link", name="Sign in")).to_be_visible()
    member.goto("/console/")
    assert "/accounts/login/" in member.url


def test_call_appears_on_the_usage_page_with_a_chart(member: Page, server: Server) -> None:
    key = mint(member, "Counted")
    answer = complete(server, key)
    used = answer.json()["usage"]
    request_id = answer.headers["x-request-id"]
    row = member.locator(f"tr:has(code[title='{request_id}'])")
    for _ in range(20):
        member.goto("/console/usage/?range=24h")
        if row.count():
            break
    expect(row).to_contain_text("Counted")
    cells = row.locator("td.number").all_inner_texts()
    assert cells[:2] == [str(used["prompt_tokens"]), str(used["completion_tokens"])]
    expect(member.locator(".chart canvas")).to_have_count(2)


ERRORS_RED_OTHERS_GREEN = """() => {
  const colors = { "--muted": "#00f", "--chart-grid": "#00f", "--chart-1": "#0f0", "--danger": "#f00" };
  for (const [name, color] of Object.entries(colors)) document.documentElement.style.setProperty(name, color);
  document.dispatchEvent(new Event("themechange"));
}"""
COUNT_RED_AND_GREEN = """canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return [0, 1].map((color) => data.filter((value, at) => at % 4 === color && value > 0).length);
}"""


def test_bars_without_errors_have_no_red_edges(member: Page, server: Server) -> None:
    complete(server, mint(member, "Drawn")).raise_for_status()
    chart = member.locator(".chart canvas").first
    member.set_viewport_size({"width": 390, "height": 844})
    for _ in range(20):
        member.goto("/console/usage/?range=90d")
        if chart.count():
            break
    member.evaluate(ERRORS_RED_OTHERS_GREEN)
    red, green = chart.evaluate(COUNT_RED_AND_GREEN)
    assert red == 0
    assert green > 0


def test_models_page_follows_what_the_engine_does(member: Page, server: Server, api_key: str) -> None:
    member.goto("/console/models/")
    expect(member.get_by_text("Ready")).to_be_visible()
    expect(member.locator("dt:has-text('Runner') + dd")).to_have_text("NativeRunner")
    expect(member.get_by_text("llama with int8 weights on a CPU")).to_be_visible()
    expect(member.locator("dt:has-text('Weights') + dd")).to_have_text(re.compile(r"1\d\d\.\d\sMB"))
    made = member.locator("dt:has-text('Tokens made') + dd")
    before = made.inner_text()
    complete(server, api_key)
    expect(made).not_to_have_text(before)
