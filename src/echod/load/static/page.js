"use strict";
// Draws the charts from the numbers in #data, which has one object for each run. Times are milliseconds.
(() => {
  const runs = JSON.parse(document.getElementById("data").textContent);
  const several = runs.length > 1;
  const COLOURS = 6;
  const NARROW = 500;
  const DASHED = [6, 4];
  const QUANTILES = { p50: "p50", p99: "p99", p999: "p99.9", max: "max" };

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const runColour = (number) => colour(`run${number % COLOURS}`);
  const named = (run, what) => (several ? `${run.label} ${what}` : what);

  // Milliseconds with three significant digits, as many as the histograms have.
  const shown = (ms) => (ms == null ? "–" : Number(ms.toPrecision(3)).toLocaleString("en", { maximumFractionDigits: 3 }));

  // 1 in 100 is the p99: each power of ten adds a nine.
  const percentile = (oneIn) => {
    const percent = 100 - 100 / oneIn;
    return `${Number(percent.toFixed(Math.max(0, Math.ceil(Math.log10(oneIn)) - 1)))}%`;
  };
  const isPower = (value) => Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-9;

  // On a narrow chart only every other nine has a label: 90%, 99.9%, 99.999%.
  const isOddPower = (value) => isPower(value) && Math.round(Math.log10(value)) % 2 === 1;

  function percentiles() {
    const tables = [];
    const series = [{ label: "percentile", value: (u, v) => (v == null ? "–" : percentile(v)) }];
    runs.forEach((run, number) => {
      for (const [name, dash] of [["response", undefined], ["service", DASHED]]) {
        if (run[name].ms.length === 0) continue;
        tables.push([run[name].one_in, run[name].ms]);
        series.push({ label: named(run, name), stroke: runColour(number), dash, width: 2, unit: "ms" });
      }
    });
    return {
      data: tables,
      series,
      scales: { x: { time: false, distr: 3 }, y: { distr: 3 } },
      x: {
        values: (u, splits) => splits.map((v) => (u.width < NARROW ? isOddPower(v) : isPower(v) || v === 2) ? percentile(v) : null),
        filter: (u, splits) => splits,
      },
      y: { values: (u, splits) => splits.map((v) => (v != null && isPower(v) ? `${shown(v)} ms` : null)), size: 80 },
    };
  }

  function latency() {
    const tables = [];
    const series = [seconds()];
    const add = (run, name, quantile, stroke, dash) => {
      tables.push([run.until, run[name].over_time[quantile]]);
      const what = `${name} ${QUANTILES[quantile]}`;
      series.push({ label: named(run, what), stroke, dash, width: 2, unit: "ms", points: { show: run.until.length < 60 } });
    };
    runs.forEach((run, number) => {
      if (several) {
        add(run, "response", "p99", runColour(number));
        add(run, "service", "p99", runColour(number), DASHED);
        return;
      }
      Object.keys(QUANTILES).forEach((quantile, at) => add(run, "response", quantile, runColour(at)));
      add(run, "service", "p50", runColour(0), DASHED);
      add(run, "service", "p99", runColour(1), DASHED);
    });
    return {
      data: tables,
      series,
      scales: { x: { time: false }, y: { distr: 3 } },
      x: secondsAxis(),
      y: { values: (u, splits) => splits.map((v) => (v != null && isPower(v) ? `${shown(v)} ms` : null)), size: 80 },
    };
  }

  function throughput() {
    const tables = [];
    const series = [seconds()];
    runs.forEach((run, number) => {
      for (const [name, dash] of [["echoed", undefined], ["failed", DASHED]]) {
        if (name === "failed" && !run.failed.some((rate) => rate > 0)) continue;
        tables.push([run.until, run[name]]);
        const stroke = name === "failed" && !several ? colour("warn") : runColour(number);
        series.push({ label: named(run, name), stroke, dash, width: 2, unit: "/s" });
      }
    });
    return {
      data: tables,
      series,
      scales: { x: { time: false }, y: { range: (u, least, most) => [0, (most || 1) * 1.1] } },
      x: secondsAxis(),
      y: { values: (u, splits) => splits.map((v) => `${v.toLocaleString("en")}/s`), size: 90 },
    };
  }

  const seconds = () => ({ label: "time", value: (u, v) => (v == null ? "–" : `${v.toFixed(1)} s`) });
  const secondsAxis = () => ({ values: (u, splits) => splits.map((v) => `${Number(v.toFixed(2))} s`), space: 60 });

  function draw(id, chart) {
    const place = document.getElementById(id);
    place.textContent = "";
    if (!chart.data.some(([, ...lines]) => lines.some((line) => line.some((value) => value != null)))) {
      place.textContent = "No data.";
      place.style.minHeight = "0";
      return null;
    }
    const axis = (own) => ({
      stroke: colour("faint"),
      grid: { stroke: colour("rule"), width: 1 },
      ticks: { stroke: colour("rule"), width: 1 },
      font: "12px system-ui, sans-serif",
      ...own,
    });
    const series = chart.series.map(({ unit, ...one }) =>
      unit === undefined ? one : { value: (u, v) => (v == null ? "–" : `${shown(v)} ${unit}`), ...one });
    return new uPlot(
      { ...size(place), scales: chart.scales, series, axes: [axis(chart.x), axis(chart.y)], cursor: { drag: { x: true, y: false } } },
      uPlot.join(chart.data),
      place,
    );
  }

  const size = (place) => ({ width: Math.floor(place.clientWidth), height: place.clientWidth < NARROW ? 260 : 340 });
  let charts = [];
  function drawAll() {
    charts.forEach((chart) => chart.destroy());
    charts = [draw("percentiles", percentiles()), draw("latency", latency()), draw("throughput", throughput())].filter(Boolean);
  }

  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  addEventListener("resize", () => charts.forEach((chart) => chart.setSize(size(chart.root.parentNode))));
})();
