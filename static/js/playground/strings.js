// The page's words, translated by the server. No other module holds language.

const words = JSON.parse(document.getElementById("playground-strings").textContent);
const language = document.documentElement.lang || "en";

/** The string called `name`, with each {key} in it replaced from `values`. */
export function text(name, values = {}) {
  return words[name].replace(/\{(\w+)\}/g, (_, key) => values[key]);
}

const whole = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat(language, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const percent = new Intl.NumberFormat(language, { style: "percent" });
const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });

export const formatCount = (count) => whole.format(count);
export const formatRate = (perSecond) => tenths.format(perSecond);
export const formatShare = (share) => percent.format(share);

/** Milliseconds as people read them: "85 ms", "1.4 s". */
export function formatDuration(milliseconds) {
  if (milliseconds < 1000) return text("milliseconds", { value: whole.format(milliseconds) });
  return text("seconds", { value: tenths.format(milliseconds / 1000) });
}

/** How long ago a time (ms since 1970) was: "2 hr. ago". */
export function formatAge(time) {
  const seconds = (time - Date.now()) / 1000;
  for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit);
  }
  return relative.format(0, "minute");
}
