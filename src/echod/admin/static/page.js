"use strict";
// The live page of a service, of one process or several: it draws the events of /events, and sends nothing that could change the daemon.

const HISTORY = 300; // points, one per second: as many as the server keeps
const SILENCE = 5000; // ms without an event until the server is shown as gone; it sends one per second
const RETRY = 2000; // ms until the next connection attempt
const ROWS = 12; // in the table of a graph
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 400, HEIGHT = 140, LEFT = 62, BOTTOM = 22, TOP = 8; // about the width of a phone, so that the text keeps its size

const count = (n) => n === null ? "–" : n.toLocaleString("en", { maximumFractionDigits: n < 10 ? 1 : 0 });
const rate = (n) => count(n);
const seconds = (s) => {
  if (s === null) return "–";
  if (s === 0) return "0";
  if (s < 0.001) return `${(s * 1e6).toFixed(0)} µs`;
  return s < 1 ? `${(s * 1e3).toPrecision(3)} ms` : `${s.toPrecision(3)} s`;
};
const bytes = (n) => {
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) { n /= 1000; unit += 1; }
  return `${unit && n < 100 ? n.toPrecision(3) : Math.round(n)} ${units[unit]}/s`;
};
const duration = (s) => {
  const days = Math.floor(s / 86400), hours = Math.floor(s / 3600) % 24, minutes = Math.floor(s / 60) % 60;
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${Math.floor(s % 60)} s` : `${Math.floor(s)} s`;
};
const clock = (t) => new Date(t * 1000).toLocaleTimeString("en-GB");
const moment = (t) => new Date(t * 1000).toLocaleString("en-GB");

const GRAPHS = [
  { title: "Open connections", lines: [["active", "open"]], show: count },
  { title: "Rates per second", lines: [["records", "records"], ["accepted", "connections"]], show: rate },
  { title: "Record wait", lines: [["p50", "p50"], ["p99", "p99"]], show: seconds },
  { title: "Reactor lag", lines: [["lag", "lag"]], show: seconds },
];

const byId = (id) => document.getElementById(id);
const setText = (id, text) => { const node = byId(id); if (node.textContent !== text) node.textContent = text; };

function element(name, attributes = {}, text = "") {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  return node;
}

function svgElement(name, attributes, text = "") {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  return node;
}

function rows(body, pairs, show = count) {
  body.replaceChildren(...pairs.map(([name, value]) => {
    const row = element("tr");
    row.append(element("th", { scope: "row" }, name), element("td", {}, show(value)));
    return row;
  }));
}

class Graph {
  constructor(config) {
    this.config = config;
    const figure = element("figure");
    const caption = element("figcaption");
    caption.append(element("b", {}, config.title));
    config.lines.forEach(([, name], at) => caption.append(element("span", { class: at ? "key second" : "key" }, name)));
    this.svg = svgElement("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
    this.details = element("details");
    this.table = element("table");
    this.details.append(element("summary", {}, `${config.title} as a table`), this.table);
    this.details.addEventListener("toggle", () => this.tabulate(points));
    figure.append(caption, this.svg, this.details);
    byId("graphs").append(figure);
  }

  draw(points) {
    const { lines, show, title } = this.config;
    const values = points.flatMap((point) => lines.map(([key]) => point[key] ?? 0));
    const top = ceiling(Math.max(...values, 0));
    const x = (at) => LEFT + (WIDTH - LEFT - 4) * (at + HISTORY - points.length) / (HISTORY - 1);
    const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
    const parts = [0, top / 2, top].flatMap((value) => [
      svgElement("line", { class: "grid", x1: LEFT, x2: WIDTH - 4, y1: y(value), y2: y(value) }),
      svgElement("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, show(value)),
    ]);
    parts.push(svgElement("text", { x: LEFT, y: HEIGHT - 4 }, "5 min ago"));
    parts.push(svgElement("text", { x: WIDTH - 4, y: HEIGHT - 4, "text-anchor": "end" }, "now"));
    lines.forEach(([key], which) => {
      let path = "", penDown = false;
      points.forEach((point, at) => {
        const value = point[key];
        if (value === null) { penDown = false; return; }
        // A dot at the start of each line, so that a line of one point is visible.
        path += `${penDown ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}${penDown ? "" : "h.5"}`;
        penDown = true;
      });
      parts.push(svgElement("path", { class: "ab"[which], d: path }));
    });
    const last = points[points.length - 1];
    const latest = last ? lines.map(([key, name]) => `${name} ${show(last[key])}`).join(", ") : "no points yet";
    this.svg.setAttribute("aria-label", `${title} over the last five minutes; now ${latest}`);
    this.svg.replaceChildren(...parts);
    this.tabulate(points);
  }

  tabulate(points) {
    if (!this.details.open) return;
    const { lines, show } = this.config;
    const head = element("thead"), headings = element("tr"), body = element("tbody");
    headings.append(element("th", { scope: "col" }, "Time"));
    lines.forEach(([, name]) => headings.append(element("th", { scope: "col", class: "number" }, name)));
    head.append(headings);
    for (const point of points.slice(-ROWS).reverse()) {
      const row = element("tr");
      row.append(element("th", { scope: "row" }, clock(point.time)));
      lines.forEach(([key]) => row.append(element("td", {}, show(point[key]))));
      body.append(row);
    }
    this.table.replaceChildren(head, body);
  }
}

function ceiling(most) {
  if (most <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((times) => times * power).find((bound) => bound >= most);
}

let points = [], paused = false, source = null, timer = 0, goneSince = null;
const graphs = GRAPHS.map((config) => new Graph(config));

function showState(state, text = state) {
  byId("state").dataset.state = state;
  setText("state", text);
  document.body.classList.toggle("gone", state === "gone");
}

function show(state) {
  showState(state.state);
  if (paused) return;
  const last = points[points.length - 1];
  setText("version", state.version);
  setText("up", duration(state.now - state.since));
  setText("since", `since ${moment(state.since)}`);
  const [ready, running] = [state.processes_ready, state.processes];
  setText("processes", ready === running ? count(running) : `${count(running)}, ${count(ready)} ready`);
  setText("active", state.most === null ? count(state.active) : `${count(state.active)} of ${count(state.most)}`);
  setText("total-records", count(state.records));
  setText("overflows", count(state.overflows));
  const days = state.certificate_days;
  setText("certificate", days === null ? "no TLS" : days < 0 ? "expired" : days < 2 ? `${Math.round(days * 24)} hours` : `${Math.floor(days)} days`);
  byId("certificate").classList.toggle("bad", days !== null && days < 14);
  if (last) {
    for (const key of ["accepted", "records"]) setText(key, rate(last[key]));
    for (const key of ["received", "sent"]) setText(key, bytes(last[key]));
    for (const key of ["p50", "p99", "lag"]) setText(key, seconds(last[key]));
  }
  byId("listeners").replaceChildren(...(state.places.length ? state.places : ["none"]).map((address) => element("li", {}, address)));
  const closed = Object.entries(state.closed).sort((a, b) => b[1] - a[1]);
  rows(byId("reasons"), closed.length ? closed : [["none yet", 0]]);
  const failures = Object.entries(state.failures).map(([kind, n]) => [`failed: ${kind}`, n]);
  const handshakes = [...Object.entries(state.handshakes), ...failures];
  rows(byId("handshakes"), handshakes.length ? handshakes : [["none yet", 0]]);
  byId("tls").hidden = days === null;
  graphs.forEach((graph) => graph.draw(points));
}

function onGone() {
  clearTimeout(timer);
  if (source !== null) source.close();
  source = null;
  goneSince ??= Date.now() / 1000;
  showState("gone", `not reachable since ${clock(goneSince)}, trying again`);
  timer = setTimeout(listen, RETRY);
}

function onState(state) {
  goneSince = null;
  clearTimeout(timer);
  timer = setTimeout(onGone, SILENCE);
  show(state);
}

function listen() {
  source = new EventSource("/events");
  timer = setTimeout(onGone, SILENCE);
  source.addEventListener("error", onGone);
  source.addEventListener("history", (event) => {
    const history = JSON.parse(event.data);
    points = history.points;
    onState(history.state);
  });
  source.addEventListener("state", (event) => onState(JSON.parse(event.data).state));
  source.addEventListener("tick", (event) => {
    const tick = JSON.parse(event.data);
    points.push(tick.point);
    if (points.length > HISTORY) points.shift();
    onState(tick.state);
  });
}

byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
});
graphs.forEach((graph) => graph.draw(points));
listen();
