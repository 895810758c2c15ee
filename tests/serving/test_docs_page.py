from playwright.sync_api import Page, expect


def test_the_api_can_be_browsed_and_tried(page: Page, api_key: str) -> None:
    paths = page.request.get("/v1/openapi.json").json()["paths"]
    page.goto("/docs/")
    expect(page.locator(".opblock")).to_have_count(sum(map(len, paths.values())))
    page.locator(".auth-wrapper .authorize").first.click()
    page.locator(".modal-ux input").first.fill(api_key)
    page.locator(".modal-ux .authorize").first.click()
    page.locator(".modal-ux .btn-done").first.click()
    page.locator("#operations-Models-list_models .opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    expect(page.locator(".live-responses-table")).to_contain_text("open-autoglm-7b")
