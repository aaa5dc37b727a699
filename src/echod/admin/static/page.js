"use strict";
// The page of one daemon: it listens to /events and draws. It has nothing with which it could change anything.

const HISTORY = 300; // points, one a second: as many as the server keeps
const SILENCE = 5000; // ms without an event after which the server counts as gone: it sends one a second
const RETRY = 2000; // ms
const ROWS = 12; // of a graph's table
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 400, HEIGHT = 140, LEFT = 62, BOTTOM = 22, TOP = 8; // near the pixels of a phone, for the text's sake

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
  { title: "Connections open", lines: [["active", "open"]], show: count },
  { title: "Rates, a second", lines: [["records", "records"], ["accepted", "connections"]], show: rate },
  { title: "Record wait", lines: [["p50", "p50"], ["p99", "p99"]], show: seconds },
  { title: "Reactor lag", lines: [["lag", "lag"]], show: seconds },
];

const byId = (id) => document.getElementById(id);
const say = (id, text) => { const node = byId(id); if (node.textContent !== text) node.textContent = text; };

function made(name, attributes = {}, text = "") {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  return node;
}

function drawn(name, attributes, text = "") {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  return node;
}

function rows(body, pairs, show = count) {
  body.replaceChildren(...pairs.map(([name, value]) => {
    const row = made("tr");
    row.append(made("th", { scope: "row" }, name), made("td", {}, show(value)));
    return row;
  }));
}

class Graph {
  constructor(about) {
    this.about = about;
    const figure = made("figure");
    const caption = made("figcaption");
    caption.append(made("b", {}, about.title));
    about.lines.forEach(([, name], at) => caption.append(made("span", { class: at ? "key second" : "key" }, name)));
    this.svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
    this.details = made("details");
    this.table = made("table");
    this.details.append(made("summary", {}, `${about.title} as a table`), this.table);
    this.details.addEventListener("toggle", () => this.tabulate(points));
    figure.append(caption, this.svg, this.details);
    byId("graphs").append(figure);
  }

  draw(points) {
    const { lines, show, title } = this.about;
    const values = points.flatMap((point) => lines.map(([key]) => point[key] ?? 0));
    const top = ceiling(Math.max(...values, 0));
    const x = (at) => LEFT + (WIDTH - LEFT - 4) * (at + HISTORY - points.length) / (HISTORY - 1);
    const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
    const parts = [0, top / 2, top].flatMap((value) => [
      drawn("line", { class: "grid", x1: LEFT, x2: WIDTH - 4, y1: y(value), y2: y(value) }),
      drawn("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, show(value)),
    ]);
    parts.push(drawn("text", { x: LEFT, y: HEIGHT - 4 }, "5 min ago"));
    parts.push(drawn("text", { x: WIDTH - 4, y: HEIGHT - 4, "text-anchor": "end" }, "now"));
    lines.forEach(([key], which) => {
      let path = "", down = false;
      points.forEach((point, at) => {
        const value = point[key];
        if (value === null) { down = false; return; }
        // A dot where a line has but one point: what is there is to be seen.
        path += `${down ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}${down ? "" : "h.5"}`;
        down = true;
      });
      parts.push(drawn("path", { class: "ab"[which], d: path }));
    });
    const last = points[points.length - 1];
    const told = last ? lines.map(([key, name]) => `${name} ${show(last[key])}`).join(", ") : "no points yet";
    this.svg.setAttribute("aria-label", `${title} over the last five minutes; now ${told}`);
    this.svg.replaceChildren(...parts);
    this.tabulate(points);
  }

  tabulate(points) {
    if (!this.details.open) return;
    const { lines, show } = this.about;
    const head = made("thead"), headings = made("tr"), body = made("tbody");
    headings.append(made("th", { scope: "col" }, "Time"));
    lines.forEach(([, name]) => headings.append(made("th", { scope: "col", class: "number" }, name)));
    head.append(headings);
    for (const point of points.slice(-ROWS).reverse()) {
      const row = made("tr");
      row.append(made("th", { scope: "row" }, clock(point.time)));
      lines.forEach(([key]) => row.append(made("td", {}, show(point[key]))));
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

let points = [], paused = false, source = null, watch = 0, goneSince = null;
const graphs = GRAPHS.map((about) => new Graph(about));

function showState(state, words = state) {
  byId("state").dataset.state = state;
  say("state", words);
  document.body.classList.toggle("gone", state === "gone");
}

function show(state) {
  showState(state.state);
  if (paused) return;
  const last = points[points.length - 1];
  say("version", state.version);
  say("up", duration(state.now - state.since));
  say("since", `since ${moment(state.since)}`);
  say("active", state.most === null ? count(state.active) : `${count(state.active)} of ${count(state.most)}`);
  say("total-records", count(state.records));
  say("overflows", count(state.overflows));
  const days = state.certificate_days;
  say("certificate", days === null ? "no TLS" : days < 0 ? "expired" : days < 2 ? `${Math.round(days * 24)} hours` : `${Math.floor(days)} days`);
  byId("certificate").classList.toggle("bad", days !== null && days < 14);
  if (last) {
    for (const key of ["accepted", "records"]) say(key, rate(last[key]));
    for (const key of ["received", "sent"]) say(key, bytes(last[key]));
    for (const key of ["p50", "p99", "lag"]) say(key, seconds(last[key]));
  }
  byId("listeners").replaceChildren(...(state.places.length ? state.places : ["none"]).map((at) => made("li", {}, at)));
  const closed = Object.entries(state.closed).sort((a, b) => b[1] - a[1]);
  rows(byId("reasons"), closed.length ? closed : [["none yet", 0]]);
  const failures = Object.entries(state.failures).map(([kind, n]) => [`failed: ${kind}`, n]);
  const handshakes = [...Object.entries(state.handshakes), ...failures];
  rows(byId("handshakes"), handshakes.length ? handshakes : [["none yet", 0]]);
  byId("tls").hidden = days === null;
  graphs.forEach((graph) => graph.draw(points));
}

function gone() {
  clearTimeout(watch);
  if (source !== null) source.close();
  source = null;
  goneSince ??= Date.now() / 1000;
  showState("gone", `not reachable since ${clock(goneSince)}, trying again`);
  watch = setTimeout(listen, RETRY);
}

function heard(state) {
  goneSince = null;
  clearTimeout(watch);
  watch = setTimeout(gone, SILENCE);
  show(state);
}

function listen() {
  source = new EventSource("/events");
  watch = setTimeout(gone, SILENCE);
  source.addEventListener("error", gone);
  source.addEventListener("history", (event) => {
    const told = JSON.parse(event.data);
    points = told.points;
    heard(told.state);
  });
  source.addEventListener("state", (event) => heard(JSON.parse(event.data).state));
  source.addEventListener("beat", (event) => {
    const told = JSON.parse(event.data);
    points.push(told.point);
    if (points.length > HISTORY) points.shift();
    heard(told.state);
  });
}

byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
});
graphs.forEach((graph) => graph.draw(points));
listen();
