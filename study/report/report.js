"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const tip = document.getElementById("tip");
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes))
    key in made ? made[key] = value : made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// ---------------------------------------------------------------- numbers

const plain = value => Math.abs(value) >= 1000 ? value.toLocaleString("en") : String(+value.toPrecision(4));
const percent = value => (100 * value).toFixed(2) + "%";
const short = value => {
  const [unit, name] = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]].find(([least]) => value >= least) ?? [1, ""];
  return +(value / (name === "k" ? 1e3 : unit)).toPrecision(3) + name;
};
const parts = value => +(100 * value).toFixed(4) + "%";
const columns = {  // name with its unit, how it is told, how it stands on an axis
  step: ["step", plain, short], epoch: ["epoch", plain, short], samples: ["samples seen", plain, short],
  seconds: ["training time (seconds)", plain, short], macs: ["forward multiply-adds of the samples seen", short, short],
  images: ["training images", plain, short],
  probe_loss: ["train loss (nats)", value => value.toPrecision(4), plain], probe_accuracy: ["train accuracy", percent, parts],
  test_loss: ["test loss (nats)", value => value.toPrecision(4), plain], test_accuracy: ["test accuracy", percent, parts],
  accuracy: ["test accuracy", percent, parts],
  gap: ["train − test accuracy (points)", value => (100 * value).toFixed(2), value => String(+(100 * value).toFixed(4))],
};
const column = (line, name) => name === "macs" ? line.samples.map(samples => samples * line.macs) : line[name];

function roundNumbers(low, high) {  // on a logarithmic axis: the finest of a few series with at most seven
  const decades = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) decades.push(power);
  let found = [];
  for (const digits of [[1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8], [1, 1.5, 2, 3, 4, 6, 8], [1, 2, 5], [1, 3], [1]]) {
    found = decades.flatMap(power => digits.map(digit => +`${digit}e${power}`)).filter(value => value >= low && value <= high);
    if (found.length <= 7) break;
  }
  if (found.length >= 3 || !(low < high)) return found;
  const least = (high - low) / 6, power = 10 ** Math.floor(Math.log10(least));  // so narrow that it is as good as linear
  const step = [1, 2, 5, 10].map(digit => digit * power).find(each => each >= least), first = Math.ceil(low / step);
  const even = [0, 1, 2, 3, 4, 5, 6].map(k => +((first + k) * step).toPrecision(6));
  return [...new Set(even)].filter(value => value >= low && value <= high);
}

// ---------------------------------------------------------------- figures

const states = {};  // by section: which variants are hidden, whether every seed is drawn, what is on the x axis
for (const [key, lines] of Object.entries(data.lines)) {
  const most = Math.max(0, ...Object.values(lines).flatMap(each => each.means.map(mean => mean.n)));
  states[key] = { hidden: [], seeds: most <= data.few, x: "" };  // the bands of so few seeds say little
}
const charts = [];

class Chart {
  constructor(figure) {
    this.figure = figure;
    this.spec = JSON.parse(figure.dataset.plot);
    this.lines = data.lines[figure.dataset.key][this.spec.of];
    this.state = states[figure.dataset.key];
    this.log = { x: !!this.spec.xlog, y: !!this.spec.ylog };
    const still = figure.querySelector(".still"), svg = still.querySelector("svg");
    this.box = make("div", { className: "live", tabIndex: 0, role: "application", "aria-roledescription": "chart",
      "aria-label": svg.getAttribute("aria-label") + " Arrow keys tell values; plus and minus zoom, Escape shows all." });
    this.reset = make("button", { type: "button", textContent: "reset zoom", hidden: true, onclick: () => this.draw() });
    const boxes = ["x", "y"].map(axis => make("label", {}, make("input", {
      type: "checkbox", checked: this.log[axis], onchange: event => { this.log[axis] = event.target.checked; this.draw(); },
    }), ` log ${axis}`));
    still.before(this.box);
    figure.querySelector("figcaption").before(make("div", { className: "bar" }, ...boxes, csvButton(() => this.csv(), figure), this.reset));
    this.mark = make("div", { className: "mark" });
    this.mark.style.cssText = "position:absolute;width:9px;height:9px;margin:-4.5px;border-radius:50%;pointer-events:none";
    this.box.addEventListener("keydown", event => this.key(event));
    this.box.addEventListener("blur", () => this.tell(null));
    this.box.addEventListener("mouseleave", () => this.tell(null));
    new ResizeObserver(() => this.plot && this.box.clientWidth && this.box.clientWidth !== this.plot.width
      && this.plot.setSize(this.size())).observe(this.box);
    this.draw();
  }

  size() { return { width: this.box.clientWidth, height: Math.round(Math.min(360, Math.max(225, 0.64 * this.box.clientWidth))) }; }

  draw() {
    const { spec, state } = this, x = spec.choose && state.x || spec.x, y = spec.y;
    this.x = x;
    const visible = line => !state.hidden.includes(line.variant);
    const valid = (value, axis) => value !== null && (!this.log[axis] || value > 0);
    const points = (line, xs, ys) => {
      const kept = xs.map((value, at) => at).filter(at => valid(xs[at], "x") && valid(ys[at], "y"));
      return { x: kept.map(at => xs[at]), y: kept.map(at => ys[at]), at: kept, line };
    };
    this.shown = [];
    const tables = [], series = [{}], bands = [];
    const add = (own, style) => {
      const sorted = own.x.map((value, at) => [value, own.y[at]]).sort((a, b) => a[0] - b[0]);
      tables.push([sorted.map(each => each[0]), sorted.map(each => each[1])]);
      series.push({ spanGaps: true, points: { show: false }, ...style });
    };
    for (const line of this.lines.means.filter(visible)) {
      const [colour, dash] = data.styles[line.variant], xs = column(line, x), [mean, low, high] = line[y];
      if (!state.seeds && line.n > 1) {
        add(points(line, xs, high), { width: 0, stroke: "transparent" });
        add(points(line, xs, low), { width: 0, stroke: "transparent" });
        bands.push({ series: [series.length - 2, series.length - 1], fill: colour + "2e" });
      }
      this.shown.push({ ...points(line, xs, mean), name: `${line.variant} · mean of ${line.n}`, low, high });
      add(this.shown.at(-1), { width: 2, stroke: colour, dash });
    }
    for (const line of state.seeds ? this.lines.runs.filter(visible) : []) {
      const [colour, dash] = data.styles[line.variant];
      this.shown.push({ ...points(line, column(line, x), column(line, y)), name: `${line.variant} · seed ${line.seed}` });
      add(this.shown.at(-1), { width: 0.8, stroke: colour, dash });
    }
    const muted = css("--muted"), rule = css("--rule");
    const axis = (name, which, more) => ({
      stroke: muted, font: "12px system-ui, sans-serif", grid: { show: false }, ticks: { stroke: rule, size: 5, width: 1 },
      border: { show: true, stroke: rule, width: 1 }, label: columns[name][0], labelFont: "12px system-ui, sans-serif",
      labelSize: 18, values: (_, values) => values.map(columns[name][2]), filter: (_, values) => values,
      ...(this.log[which] ? { splits: (plot, at, low, high) => roundNumbers(low, high) } : {}), ...more,
    });
    const scale = which => ({ time: false, distr: this.log[which] ? 3 : 1, dir: which === "x" && spec.flip ? -1 : 1,
      range: (plot, low, high) => this.range(which, low, high) });
    this.plot?.destroy();
    this.tell(null);
    this.reset.hidden = true;
    this.plot = new uPlot({
      ...this.size(), series, bands, legend: { show: false }, scales: { x: scale("x"), y: scale("y") },
      axes: [axis(x, "x", { size: 30, space: 60 }), axis(y, "y", { size: 52, space: 34 })],
      cursor: { drag: { x: true, y: true, uni: 40 }, points: { show: false }, x: false, y: false },
      hooks: { drawClear: [plot => this.shade(plot)], setCursor: [plot => this.point(plot)], setSelect: [plot => this.reset.hidden = plot.select.width <= 0] },
    }, tables.length ? uPlot.join(tables) : [[], ...series.slice(1).map(() => [])], this.box);
    this.plot.over.append(this.mark);
    this.plot.over.addEventListener("dblclick", () => this.reset.hidden = true);
  }

  shade(plot) {  // the matched region: the losses that all runs pass
    const region = this.lines.region?.map(loss => plot.valToPos(loss, "x", true));
    if (!region) return;
    const { left, top, width, height } = plot.bbox, ends = region.map(end => Math.max(left, Math.min(left + width, end)));
    plot.ctx.fillStyle = css("--raised");
    plot.ctx.fillRect(ends[0], top, ends[1] - ends[0], height);
  }

  range(which, low, high) {
    if (low === null || high === null) return this.log[which] ? [0.1, 1] : [0, 1];
    if (this.plot?.select.width > 0) return [low, high];  // zoomed: as it was dragged
    const [there, back] = this.log[which] ? [Math.log, Math.exp] : [Number, Number];
    const room = which === "y" ? 0.04 * (there(high) - there(low)) || 0.01 : 0;
    const start = which === "x" && !this.log.x && ["step", "epoch", "samples", "seconds", "macs"].includes(this.x) ? 0 : back(there(low) - room);
    return [start, back(there(high) + room)];
  }

  place(line, k) { return [this.plot.valToPos(line.x[k], "x"), this.plot.valToPos(line.y[k], "y")]; }

  point(plot) {  // the evaluation nearest to the pointer
    const { left, top } = plot.cursor;
    let found = null, least = 24;
    if (left >= 0) this.shown.forEach((line, i) => line.x.forEach((_, k) => {
      const [x, y] = this.place(line, k), distance = Math.hypot(x - left, y - top);
      if (distance < least) [found, least] = [[i, k], distance];
    }));
    this.tell(found);
  }

  tell(found) {
    this.found = found;
    tip.hidden = this.mark.hidden = !found;
    if (!found) return;
    const [i, k] = found, line = this.shown[i], source = line.line, at = line.at[k];
    const [left, top] = this.place(line, k);
    Object.assign(this.mark.style, { left: left + "px", top: top + "px", background: data.styles[source.variant][0] });
    const names = Object.keys(columns).filter(name => (name === "macs" ? this.x === name : source[name]));
    tip.replaceChildren(make("strong", { textContent: line.name }), ...names.flatMap(name => {
      const values = column(source, name), value = (line.low && values.length === 3 && Array.isArray(values[0]) ? values[0] : values)[at];
      const told = value === null || value === undefined ? "not finite" : columns[name][1](value);
      const made = [make("div", {}, make("span", { textContent: columns[name][0] }), told)];
      if (line.low && name === this.spec.y && line.low[at] !== null)
        made.push(make("div", {}, make("span", { textContent: "95% interval" }), `${columns[name][1](line.low[at])} to ${columns[name][1](line.high[at])}`));
      return made;
    }));
    const box = this.plot.over.getBoundingClientRect(), x = box.left + left, y = box.top + top;
    tip.style.left = Math.max(4, x + 14 + tip.offsetWidth < innerWidth ? x + 14 : x - 14 - tip.offsetWidth) + "px";
    tip.style.top = Math.max(4, Math.min(y - 20, innerHeight - tip.offsetHeight - 4)) + "px";
  }

  zoom(by) {
    for (const which of ["x", "y"]) {
      const { min, max } = this.plot.scales[which], [there, back] = this.log[which] ? [Math.log, Math.exp] : [Number, Number];
      const on = this.found && this.shown[this.found[0]][which][this.found[1]];
      const middle = there(on || back((there(min) + there(max)) / 2)), half = (there(max) - there(min)) / 2 * by;
      this.plot.select.width = 1;  // as after dragging
      this.plot.setScale(which, { min: back(middle - half), max: back(middle + half) });
    }
    this.reset.hidden = false;
    this.tell(this.found);
  }

  key(event) {
    const [along, across] = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key] ?? [0, 0];
    if (event.key === "Escape") this.draw();
    else if (event.key === "+" || event.key === "-") this.zoom(event.key === "+" ? 0.5 : 2);
    else if ((along || across) && this.shown.length) {
      const [i, k] = this.found ?? [0, -1], next = (i + across + this.shown.length) % this.shown.length;
      this.tell([next, Math.max(0, Math.min(k + (this.found ? along : 1), this.shown[next].x.length - 1))]);
    } else return;
    event.preventDefault();
  }

  csv() {
    const names = Object.keys(this.lines.runs[0]).filter(name => name !== "macs");
    const long = names.find(name => Array.isArray(this.lines.runs[0][name]));
    return [names, ...this.lines.runs.flatMap(run => run[long].map((_, at) =>
      names.map(name => Array.isArray(run[name]) ? run[name][at] ?? "" : run[name])))];
  }
}

// ---------------------------------------------------------------- what can be downloaded

const quoted = cell => /[",\n]/.test(cell) ? `"${String(cell).replaceAll('"', '""')}"` : String(cell);

function csvButton(rows, near) {
  const name = near.dataset.name ?? near.querySelector("caption")?.textContent ?? "table";
  return make("button", { type: "button", className: "csv", textContent: "CSV", "aria-label": `Download ${name} as CSV`, onclick: () => {
    const found = rows(), text = typeof found === "string" ? found : found.map(row => row.map(quoted).join(",") + "\n").join("");
    const link = make("a", { download: name.toLowerCase().replace(/[^a-z0-9]+/g, "-") + ".csv",
      href: URL.createObjectURL(new Blob([text], { type: "text/csv" })) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  } });
}

for (const figure of all("figure"))
  if (data.csv[figure.dataset.name])
    figure.querySelector("figcaption").before(make("div", { className: "bar" }, csvButton(() => data.csv[figure.dataset.name], figure)));

// ---------------------------------------------------------------- tables

const written = cell => cell.textContent.trim().replace(/\s+/g, " ").replaceAll("−", "-");
const asNumber = text => parseFloat(text.replace(/^[^\d+.<-]*</, "").replaceAll(",", ""));

function sortBy(table, place, header) {
  const body = table.tBodies[0], was = header.getAttribute("aria-sort");
  const now = { ascending: "descending", descending: "none" }[was] ?? "ascending";
  all("th[aria-sort]", table.tHead).forEach(each => each.removeAttribute("aria-sort"));
  if (now !== "none") header.setAttribute("aria-sort", now);
  const rows = [...table.rowsAsPrinted], sign = now === "descending" ? -1 : 1;
  const texts = new Map(rows.map(row => [row, written(row.cells[place])])), empty = text => text === "–" || text === "";
  const numeric = [...texts.values()].every(text => empty(text) || !Number.isNaN(asNumber(text)));
  if (now !== "none") rows.sort((a, b) => {
    const [first, second] = [texts.get(a), texts.get(b)];
    if (empty(first) || empty(second)) return empty(first) - empty(second);
    return sign * (numeric ? asNumber(first) - asNumber(second) : first.localeCompare(second, "en", { numeric: true }));
  });
  body.append(...rows);
}

for (const table of all("table")) {
  table.rowsAsPrinted = [...table.tBodies[0].rows];
  if (table.rowsAsPrinted.length > 1) [...table.tHead.rows[0].cells].forEach((header, place) => {
    const button = make("button", { type: "button", title: "Sort", onclick: () => sortBy(table, place, header) });
    button.append(...header.childNodes);
    header.append(button);
  });
  table.closest(".scroll").after(make("div", { className: "bar" },
    csvButton(() => [...table.rows].map(row => [...row.cells].map(written)), table)));
}

// ---------------------------------------------------------------- controls of a section's figures

function refresh(key) {
  for (const group of all(`.controls[data-key="${key}"]`)) {
    for (const chip of all("[data-variant]", group)) chip.setAttribute("aria-pressed", !states[key].hidden.includes(chip.dataset.variant));
    group.querySelector("[data-seeds]").checked = states[key].seeds;
    if (group.querySelector("[data-x]")) group.querySelector("[data-x]").value = states[key].x;
  }
  charts.filter(chart => chart.figure.dataset.key === key).forEach(chart => chart.draw());
}

for (const group of all(".controls")) {
  const key = group.dataset.key, state = states[key];
  group.hidden = false;
  group.addEventListener("click", event => {
    const variant = event.target.closest("[data-variant]")?.dataset.variant;
    if (!variant) return;
    state.hidden = state.hidden.includes(variant) ? state.hidden.filter(each => each !== variant) : [...state.hidden, variant];
    refresh(key);
  });
  group.addEventListener("change", event => {
    if (event.target.matches("[data-seeds]")) state.seeds = event.target.checked;
    if (event.target.matches("[data-x]")) state.x = event.target.value;
    refresh(key);
  });
  for (const option of all("[data-x] option", group)) {
    const run = data.lines[key].time?.runs[0] ?? {};
    if (option.value && !run[option.value]) option.remove();
  }
}

// ---------------------------------------------------------------- the page

function unfold(hash) {
  for (let at = hash && document.getElementById(hash.slice(1)); at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
}
addEventListener("hashchange", () => { unfold(location.hash); document.getElementById(location.hash.slice(1))?.scrollIntoView(); });
unfold(location.hash);

let folded = [];
addEventListener("beforeprint", () => { folded = all("details:not([open])"); folded.forEach(each => each.open = true); });
addEventListener("afterprint", () => { folded.forEach(each => each.open = false); folded = []; });

for (const key of Object.keys(states)) refresh(key);
const draw = figure => { seen.unobserve(figure); charts.push(new Chart(figure)); };
const seen = new IntersectionObserver(entries => entries.filter(entry => entry.isIntersecting).forEach(entry => draw(entry.target)),
  { rootMargin: "200px" });  // a chart is made when it comes near the screen
all("figure[data-plot]").forEach(figure => seen.observe(figure));

// While a sweep runs the page asks for itself again: what was unfolded, chosen and scrolled to stays.
if (document.querySelector("meta[http-equiv=refresh]")) {
  const key = "study " + location.pathname, was = JSON.parse(sessionStorage.getItem(key) ?? "null");
  if (was) {
    was.open.forEach(id => document.getElementById(id)?.setAttribute("open", ""));
    for (const [section, state] of Object.entries(was.states)) if (states[section]) { Object.assign(states[section], state); refresh(section); }
    all("figure[data-plot]").filter(figure => figure.checkVisibility()).forEach(draw);  // before scrolling: they move what is below
    addEventListener("load", () => scrollTo(0, was.scroll));
  }
  addEventListener("pagehide", () => sessionStorage.setItem(key, JSON.stringify({
    scroll: scrollY, states, open: all("details[open][id]").map(each => each.id) })));
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach(chart => chart.draw()));
