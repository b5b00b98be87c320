"use strict";
// Curves can be explored: the evaluation nearest to the pointer, or the next one by arrow key, is marked and told.
const curves = JSON.parse(document.getElementById("curves").textContent);
const colours = JSON.parse(document.getElementById("colours").textContent);
const tip = document.getElementById("tip");
const percent = value => (100 * value).toFixed(2) + "%";
const told = [
  ["step", "step", value => value.toLocaleString("en")], ["epoch", "epoch", value => String(+value.toFixed(2))],
  ["probe_loss", "train loss", value => value.toPrecision(4)], ["probe_accuracy", "train accuracy", percent],
  ["test_accuracy", "test accuracy", percent], ["gap", "gap", value => (100 * value).toFixed(2) + " points"],
];

function element(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function place(axis, value) {  // a value's place in the figure, or null outside of the axis
  const scaled = axis.log ? Math.log : Number;
  const part = (scaled(value) - scaled(axis.limits[0])) / (scaled(axis.limits[1]) - scaled(axis.limits[0]));
  return value !== null && part >= 0 && part <= 1 ? axis.place[0] + part * (axis.place[1] - axis.place[0]) : null;
}

function tell(point, svg) {
  tip.replaceChildren(Object.assign(document.createElement("strong"), {
    textContent: `${point.run.variant} · seed ${point.run.seed}`,
  }));
  for (const [column, name, format] of told) {
    const value = point.run[column][point.at];
    const line = tip.appendChild(document.createElement("div"));
    line.appendChild(document.createElement("span")).textContent = name;
    line.append(value === null ? "not finite" : format(value));
  }
  tip.hidden = false;
  const spot = new DOMPoint(point.x, point.y).matrixTransform(svg.getScreenCTM());
  const left = spot.x + 14 + tip.offsetWidth < innerWidth ? spot.x + 14 : spot.x - 14 - tip.offsetWidth;
  tip.style.left = Math.max(4, left) + "px";
  tip.style.top = Math.max(4, Math.min(spot.y - 20, innerHeight - tip.offsetHeight - 4)) + "px";
}

for (const figure of document.querySelectorAll("figure[data-panels]")) {
  const svg = figure.querySelector("svg");
  const traces = JSON.parse(figure.dataset.panels).flatMap(panel => curves[figure.dataset.curves].map(run =>
    run.step.map((_, at) => ({
      run, at, x: place(panel.x, run[panel.x.column][at]), y: place(panel.y, run[panel.y.column][at]),
    })).filter(point => point.x !== null && point.y !== null)));
  const trace = svg.appendChild(element("polyline", { class: "trace" }));
  const mark = svg.appendChild(element("circle", { class: "mark", r: 2.6, visibility: "hidden" }));
  let shown = null;  // [trace, place in it]

  function show(found) {
    shown = found;
    tip.hidden = !found;
    trace.setAttribute("points", found ? traces[found[0]].map(point => `${point.x},${point.y}`).join(" ") : "");
    mark.setAttribute("visibility", found ? "visible" : "hidden");
    if (!found) return;
    const point = traces[found[0]][found[1]];
    trace.setAttribute("stroke", colours[point.run.variant]);
    for (const [key, value] of [["cx", point.x], ["cy", point.y], ["fill", colours[point.run.variant]]])
      mark.setAttribute(key, value);
    tell(point, svg);
  }

  function nearest(event) {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    let found = null, least = 12;  // points of the figure
    traces.forEach((points, i) => points.forEach((point, k) => {
      const distance = Math.hypot(point.x - at.x, point.y - at.y);
      if (distance < least) [found, least] = [[i, k], distance];
    }));
    show(found);
  }

  svg.tabIndex = 0;
  svg.addEventListener("pointermove", nearest);
  svg.addEventListener("pointerdown", nearest);
  svg.addEventListener("pointerleave", () => show(null));
  svg.addEventListener("blur", () => show(null));
  svg.addEventListener("keydown", event => {
    const [along, across] = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key] ?? [];
    if (along === undefined) return;
    event.preventDefault();
    const drawn = traces.map((points, i) => points.length ? i : -1).filter(i => i >= 0);
    const [i, k] = shown ?? [drawn[0], -along];
    const next = drawn[(drawn.indexOf(i) + across + drawn.length) % drawn.length];
    show([next, Math.max(0, Math.min(k + along, traces[next].length - 1))]);
  });
}
