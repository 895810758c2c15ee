// Evaluated in a page by test_accessibility.py: what is wrong with it for those who see little, use a
// keyboard or a phone. Returns sentences; none when all is well.
async () => {
  // Colours that change are transitions, and what inherits them follows a frame later.
  const frame = () => new Promise(requestAnimationFrame);
  for (let still = 0; still < 3; still += 1) {
    await frame();
    if (document.getAnimations().length) still = -1;
  }

  const problems = [];
  const about = (element) => element.outerHTML.replace(/\s+/g, " ").slice(0, 120);
  const shown = (element) => element.checkVisibility({ visibilityProperty: true });

  const headings = [...document.querySelectorAll("h1")].filter(shown);
  if (headings.length !== 1) problems.push(`${headings.length} h1`);
  if (document.documentElement.scrollWidth > innerWidth) problems.push("wider than the window");
  if (!document.title.trim() || !document.documentElement.lang) problems.push("no title or language");

  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of ids.filter((id, at) => ids.indexOf(id) !== at)) problems.push(`two elements with the id ${id}`);

  const texts = (idlist) => (idlist ?? "").split(/\s+/).map((id) => document.getElementById(id)?.textContent ?? "").join("");
  for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
    const label = [...(field.labels ?? [])].map((label) => label.textContent).join("");
    if (!(label + (field.ariaLabel ?? "") + texts(field.getAttribute("aria-labelledby"))).trim()) problems.push(`no label: ${about(field)}`);
    const hints = (field.getAttribute("aria-describedby") ?? "").split(/\s+/).filter(Boolean);
    for (const hint of hints) if (!document.getElementById(hint)) problems.push(`described by nothing: ${about(field)}`);
  }
  for (const control of [...document.querySelectorAll("button, a[href], summary, dialog, [role=tab]")].filter((control) => shown(control))) {
    const name = control.textContent + (control.ariaLabel ?? "") + texts(control.getAttribute("aria-labelledby"));
    if (!name.trim()) problems.push(`no name: ${about(control)}`);
  }

  // -- Contrast, as WCAG 2 has it (AA) ----------------------------------------------------
  const parse = (color) => {
    const numbers = color.match(/[\d.]+/g).map(Number);
    const scale = color.startsWith("color(") ? 255 : 1;
    return { rgb: numbers.slice(0, 3).map((value) => value * scale), alpha: numbers[3] ?? 1 };
  };
  const over = (top, below) => top.rgb.map((value, at) => value * top.alpha + below[at] * (1 - top.alpha));
  const behind = (element) => {
    if (!element) return [255, 255, 255];
    const own = parse(getComputedStyle(element).backgroundColor);
    return own.alpha === 1 ? own.rgb : over(own, behind(element.parentElement));
  };
  const luminance = (rgb) => {
    const [red, green, blue] = rgb.map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const contrast = (color, ground) => {
    const [darker, lighter] = [luminance(over(color, ground)), luminance(ground)].sort((a, b) => a - b);
    return (lighter + 0.05) / (darker + 0.05);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !shown(element) || element.closest(":disabled, option, script, template")) continue;
    const style = getComputedStyle(element);
    const ratio = contrast(parse(style.color), behind(element));
    const large = parseFloat(style.fontSize) >= (style.fontWeight >= 700 ? 18.66 : 24);
    if (ratio < (large ? 3 : 4.5)) problems.push(`contrast ${ratio.toFixed(2)}: ${about(element)}`);
  }
  for (const field of [...document.querySelectorAll("input:not([type=checkbox], [type=radio], [type=range]), select, textarea")].filter(shown)) {
    const style = getComputedStyle(field);
    if (style.borderTopWidth === "0px") continue; // its frame is another element's
    const ratio = contrast(parse(style.borderTopColor), behind(field.parentElement));
    if (ratio < 3) problems.push(`border ${ratio.toFixed(2)}: ${about(field)}`);
  }
  return problems;
}
