// The charts of the usage page. The same numbers stand in the tables, for those who cannot see them.
import uPlot from "../vendor/uplot/uPlot.esm.js";

const data = JSON.parse(document.getElementById("chart-data").textContent);
const HEIGHT = 190; // pixels
const WIDEST = 36; // pixels of a bar
const language = document.documentElement.lang;
const SECOND = { "succeeded errors": "--danger" }; // colour of the second series; else --chart-2

// Canvas knows no light-dark(): ask an element which colour the theme makes of it.
function color(name) {
  const probe = document.createElement("span");
  probe.className = "chart-probe";
  document.body.append(probe);
  probe.style.color = `var(${name})`;
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

const compact = new Intl.NumberFormat(language, { notation: "compact" });
const whole = new Intl.NumberFormat(language);
const day = new Intl.DateTimeFormat(language, { month: "short", day: "numeric", timeZone: "UTC" });
const hour = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: "UTC" });
const SECONDS = { minute: 60, hour: 3600, day: 86400 }; // of one point
const tick = data.step === "day" ? day : hour;

// Bars on top of each other: the second series comes first, and is as high as both together.
function stacked(first, second) {
  return [data.times, first.map((value, at) => value + second[at]), first];
}

function axis(values) {
  return {
    stroke: color("--muted"),
    grid: { stroke: color("--chart-grid"), width: 1 },
    ticks: { show: false },
    font: "12px sans-serif",
    ...values,
  };
}

// uPlot's own bars smooth their edges where they are narrow, and colours run into each other there.
function bars(chart, index, from, to) {
  const pixel = (value, scale) => Math.round(chart.valToPos(value, scale, true));
  const column = (chart.bbox.width * SECONDS[data.step]) / (chart.scales.x.max - chart.scales.x.min);
  const width = Math.max(1, Math.floor(Math.min(0.65 * column, WIDEST * devicePixelRatio)));
  const fill = new Path2D();
  for (let at = from; at <= to; at++) {
    const top = pixel(chart.data[index][at], "y");
    const bottom = pixel(index === 1 ? chart.data[2][at] : 0, "y");
    fill.rect(pixel(data.times[at], "x") - Math.floor(width / 2), top, width, bottom - top);
  }
  return { fill };
}

function series(label, name, value) {
  const paint = color(name);
  return { label, fill: paint, stroke: paint, width: 0, points: { show: false }, paths: bars, value };
}

function options(element, names) {
  const [first, second] = element.dataset.labels.split("|");
  const step = SECONDS[data.step];
  return {
    width: element.clientWidth,
    height: HEIGHT,
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    scales: { x: { time: true, range: [data.times[0] - step / 2, data.times.at(-1) + step / 2] }, y: { range: (_chart, _low, high) => [0, Math.max(high * 1.1, 1)] } },
    axes: [
      axis({ values: (_chart, times) => times.map((time) => tick.format(time * 1000)), space: 64, size: 34, gap: 8, grid: { show: false } }),
      axis({ values: (_chart, values) => values.map((value) => (Number.isInteger(value) ? compact.format(value) : "")), size: 52 }),
    ],
    series: [
      { label: "UTC", value: (_chart, time) => (time == null ? "—" : `${day.format(time * 1000)}${data.step === "day" ? "" : ` ${hour.format(time * 1000)}`}`) },
      series(second, SECOND[names] ?? "--chart-2", (_chart, _value, _series, at) => (at == null ? "—" : whole.format(data[names.split(" ")[1]][at]))),
      series(first, "--chart-1", (_chart, value) => (value == null ? "—" : whole.format(value))),
    ],
  };
}

function draw(element) {
  element.replaceChildren();
  const names = element.dataset.chart;
  const [first, second] = names.split(" ").map((name) => data[name]);
  return new uPlot(options(element, names), stacked(first, second), element);
}

const elements = [...document.querySelectorAll("[data-chart]")];
let charts = elements.map(draw);

function redraw() {
  charts.forEach((chart) => chart.destroy());
  charts = elements.map(draw);
}

new ResizeObserver(() => {
  charts.forEach((chart, at) => chart.setSize({ width: elements[at].clientWidth, height: HEIGHT }));
}).observe(elements[0]);
document.addEventListener("themechange", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
