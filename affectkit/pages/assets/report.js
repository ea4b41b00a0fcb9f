/* The page of `affectkit report`. Texts reach the page as textContent alone; numbers are those of the stored rows. */
(() => {
"use strict";

const page = JSON.parse(document.getElementById("page-data").textContent);
const root = document.documentElement;
const at = (id) => document.getElementById(id);
const MINUS = "\u2212";
const NONE = "\u2013";
const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3]];
const KEPT = 3; // clips whose rows stay in memory
const AXIS = 52, RIGHT = 24; // px beside a panel's plot
const SNAP = 4; // px that a click may move before it is a drag

function element(name, about = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(about)) {
    if (key in made && typeof value !== "string") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}
function number(value, digits) {
  return Number.isFinite(value) ? value.toFixed(digits).replace("-", MINUS) : NONE;
}
function clockOf(seconds, digits = 2) {
  if (seconds < 60) return `${Math.max(0, seconds).toFixed(digits)} s`;
  const whole = Math.floor(seconds), hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  const rest = (seconds - 60 * Math.floor(whole / 60)).toFixed(digits ? 1 : 0).padStart(digits ? 4 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

// ---- Parts of the page, by the address after #.

const parts = [...document.querySelectorAll("[data-part]")];
function show(name, focus) {
  root.dataset.showing = name;
  for (const part of parts) part.hidden = part.id !== name;
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.hash === `#${name === "clip" ? "clips" : name}`;
    if (here) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  if (focus) { at(name).focus({preventScroll: true}); scrollTo(0, 0); }
}
function route(focus = true) {
  const name = location.hash.slice(1);
  const key = name.startsWith("clip-") ? name.slice(5) : "";
  const place = page.clips.findIndex((each) => each.key === key);
  if (place >= 0) { show("clip", focus); openClip(page.clips[place]); return; }
  closeClip();
  show(parts.some((part) => part.id === name && name !== "clip") ? name : "clips", focus && name !== "");
}

// ---- The table of clips: sorting and searching.

const table = at("clip-table");
let lines = [];
function setUpTable() {
  if (!table) return;
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  lines = [...body.rows].map((row, place) => ({
    row, place, key: row.querySelector("a").hash.slice(6), text: row.cells[0].textContent.toLowerCase(),
    failed: row.classList.contains("failed"),
  }));
  heads.forEach((head, column) => {
    if (!head.dataset.sort) return;
    const button = element("button", {type: "button"});
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const isNumber = head.dataset.sort === "number";
      const before = head.getAttribute("aria-sort");
      const up = before === "none" ? !isNumber || head.dataset.first === "up" : before === "descending";
      for (const other of heads) if (other.dataset.sort) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const valueOf = (line) => isNumber ? parseFloat(line.row.cells[column].dataset.v) : line.row.cells[column].textContent.trim();
      const keys = new Map(lines.map((line) => [line, valueOf(line)]));
      lines.sort((a, b) => {
        const x = keys.get(a), y = keys.get(b);
        if (isNumber && (Number.isNaN(x) || Number.isNaN(y))) return Number.isNaN(x) - Number.isNaN(y) || a.place - b.place;
        const order = isNumber ? x - y : x.localeCompare(y, undefined, {numeric: true});
        return (up ? order : -order) || a.place - b.place;
      });
      body.append(...lines.map((line) => line.row));
      stepLinks();
    });
  });
  const search = at("search"), only = at("only-failed");
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const line of lines) {
      const fits = words.every((word) => line.text.includes(word)) && (!only || !only.checked || line.failed);
      line.row.hidden = !fits;
      count += fits;
    }
    at("count").textContent = `${count} of ${lines.length} clips`;
    at("nothing").hidden = count > 0;
    stepLinks();
  };
  search.addEventListener("input", filter);
  if (only) only.addEventListener("change", filter);
}

// ---- Rows of clips.

const opened = new Map();
const waiting = new Map();
window.affectkitClip = (key, content) => {
  if (waiting.has(key)) waiting.get(key)(content);
};
function load(key) {
  if (opened.has(key)) return Promise.resolve(opened.get(key));
  const inside = page.single ? at(`clip-${key}`) : null;
  const content = inside ? Promise.resolve(JSON.parse(inside.textContent)) : new Promise((done, failed) => {
    const script = element("script", {src: `data/${key}.js`});
    waiting.set(key, done);
    script.addEventListener("error", () => failed(new Error(`data/${key}.js is not beside this page`)));
    script.addEventListener("load", () => script.remove());
    document.head.append(script);
  });
  return content.then((raw) => {
    waiting.delete(key);
    const clip = decoded(raw);
    opened.set(key, clip);
    if (opened.size > KEPT) opened.delete(opened.keys().next().value);
    return clip;
  });
}
function bytesOf(text) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes.buffer;
}
function rowsOf(packed, duration) {
  const start = new Float64Array(bytesOf(packed.start)), end = new Float64Array(bytesOf(packed.end));
  const scores = new Float32Array(bytesOf(packed.scores)), n = packed.rows, middle = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    if (!Number.isFinite(end[i])) end[i] = Math.max(duration, start[i]);
    middle[i] = (start[i] + end[i]) / 2;
  }
  const steps = Float64Array.from({length: Math.max(0, n - 1)}, (_, i) => middle[i + 1] - middle[i]).sort();
  const step = steps.length ? steps[steps.length >> 1] : Infinity;
  return {start, end, middle, scores, n, columns: packed.columns, step};
}
function decoded(raw) {
  const rows = new Map();
  for (const packed of raw.sets) rows.set(packed.set, rowsOf(packed, raw.duration));
  page.families.forEach((family, number) => {
    const members = family.sets.map((set) => rows.get(set));
    const joined = members.every(Boolean) && joinedRows(members);
    if (joined) rows.set(`family-${number}`, joined);
  });
  const ends = [...rows.values()].map((each) => each.n ? each.end[each.n - 1] : 0);
  return {...raw, duration: Math.max(raw.duration, ...ends, 0.01), rows, labels: raw.labels && rowsOf(raw.labels, raw.duration)};
}
/* The mean of sets that differ in the seed, with the least and the greatest of them; null where their times differ. */
function joinedRows(members) {
  const [first] = members;
  if (members.some((each) => each.n !== first.n || each.columns !== first.columns)) return null;
  for (let row = 0; row < first.n; row++) if (members.some((each) => each.middle[row] !== first.middle[row])) return null;
  const size = first.scores.length, scores = new Float32Array(size), low = new Float32Array(size), high = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    let sum = 0, least = Infinity, most = -Infinity;
    for (const each of members) { const value = each.scores[i]; sum += value; least = Math.min(least, value); most = Math.max(most, value); }
    scores[i] = sum / members.length; low[i] = least; high[i] = most;
  }
  return {...first, scores, low: {...first, scores: low}, high: {...first, scores: high}};
}
const valueAt = (rows, column, row) => rows.scores[row * rows.columns + column];

/* The row that speaks for a time: the one with the nearest middle, where it holds the time or is a step away. */
function rowAt(rows, time) {
  let low = 0, high = rows.n;
  while (low < high) { const mid = (low + high) >> 1; if (rows.middle[mid] < time) low = mid + 1; else high = mid; }
  const near = low > 0 && (low === rows.n || time - rows.middle[low - 1] <= rows.middle[low] - time) ? low - 1 : low;
  if (near < 0 || near >= rows.n) return -1;
  const holds = time >= rows.start[near] - 1e-9 && time <= rows.end[near] + 1e-9;
  return holds || Math.abs(time - rows.middle[near]) <= rows.step ? near : -1;
}
function isGap(rows, row) {
  return rows.start[row + 1] - rows.end[row] > Math.max(1.5 * rows.step, 1e-6);
}
function rangeOf(rows, low, high) {
  let first = 0, last = rows.n;
  while (first < rows.n && rows.middle[first] < low) first++;
  while (last > first && rows.middle[last - 1] > high) last--;
  return [Math.max(0, first - 1), Math.min(rows.n, last + 1)];
}

/* What is drawn of curves between two times. Fewer rows than pixels: every row. Else of every pixel the least and the
   greatest value, the earlier first, so that no peak is lost. null ends a line; undefined is another curve's time. */
function drawn(curves, low, high, pixels) {
  if (!curves.length) return [[low, high]];
  const ranges = curves.map((curve) => rangeOf(curve.rows, low, high));
  const most = Math.max(0, ...ranges.map(([first, last]) => last - first));
  return most > 2 * pixels ? decimated(curves, ranges, low, high, pixels) : exact(curves, ranges);
}
function exact(curves, ranges) {
  const points = curves.map((curve, place) => {
    const {rows, column} = curve, [first, last] = ranges[place], xs = [], ys = [];
    if (rows.n === 1) {
      const value = valueAt(rows, column, 0), y = Number.isFinite(value) ? value : null;
      return [[rows.start[0], rows.end[0]], [y, y]];
    }
    for (let row = first; row < last; row++) {
      const value = valueAt(rows, column, row);
      xs.push(rows.middle[row]);
      ys.push(Number.isFinite(value) ? value : null);
      if (row + 1 < last && isGap(rows, row)) { xs.push((rows.middle[row] + rows.middle[row + 1]) / 2); ys.push(null); }
    }
    return [xs, ys];
  });
  const all = Float64Array.from(points.flatMap(([xs]) => xs)).sort();
  const xs = [];
  for (const x of all) if (!xs.length || x > xs[xs.length - 1]) xs.push(x);
  const columns = points.map(([own, ys]) => {
    const column = new Array(xs.length).fill(undefined);
    let place = 0;
    own.forEach((x, i) => { while (xs[place] < x) place++; column[place] = ys[i]; });
    return column;
  });
  return [xs, ...columns];
}
function decimated(curves, ranges, low, high, pixels) {
  const count = Math.max(1, Math.floor(pixels)), width = (high - low) / count, xs = new Array(2 * count);
  for (let i = 0; i < count; i++) { xs[2 * i] = low + (i + .25) * width; xs[2 * i + 1] = low + (i + .75) * width; }
  const columns = curves.map((curve, place) => {
    const {rows, column} = curve, [first, last] = ranges[place], ys = new Array(2 * count).fill(undefined);
    let bucket = -1, least = 0, most = 0, leastFirst = true, some = false, any = false;
    const close = () => {
      if (bucket < 0 || !any) return;
      ys[2 * bucket] = some ? (leastFirst ? least : most) : null;
      ys[2 * bucket + 1] = some ? (leastFirst ? most : least) : null;
    };
    for (let row = first; row < last; row++) {
      const here = Math.min(count - 1, Math.max(0, Math.floor((rows.middle[row] - low) / width)));
      if (here !== bucket) { close(); bucket = here; some = any = false; }
      any = true;
      const value = valueAt(rows, column, row);
      if (Number.isFinite(value)) {
        if (!some) { least = most = value; leastFirst = true; some = true; }
        else if (value < least) { least = value; leastFirst = false; }
        else if (value > most) { most = value; leastFirst = true; }
      }
      if (row + 1 < last && isGap(rows, row) && here + 1 < count) ys[2 * (here + 1)] = null;
    }
    close();
    return ys;
  });
  return [xs, ...columns];
}
window.affectkitDrawn = drawn; // for tests: what would be drawn of given rows

// ---- The clip that is open.

let clip = null, current = null, panels = [], view = {low: 0, high: 1}, hover = null, time = 0;
const video = at("video"), frame = at("frame"), slider = at("time");

function stepLinks() {
  const order = lines.filter((line) => !line.row.hidden || (current && line.key === current.key)).map((line) => line.key);
  const place = current ? order.indexOf(current.key) : -1;
  for (const [id, key] of [["previous", order[place - 1]], ["next", place >= 0 ? order[place + 1] : undefined]]) {
    const link = at(id);
    if (key === undefined) { link.setAttribute("aria-disabled", "true"); link.removeAttribute("href"); }
    else { link.removeAttribute("aria-disabled"); link.href = `#clip-${key}`; }
  }
}
function closeClip() {
  clock.pause();
  for (const panel of panels) panel.plot.destroy();
  panels = [];
  clip = current = null;
  if (video.hasAttribute("src")) { video.removeAttribute("src"); video.load(); }
}
function openClip(entry) {
  if (current && current.key === entry.key) return;
  closeClip();
  current = entry;
  const title = at("clip-title").firstElementChild;
  title.textContent = entry.id;
  at("clip-title").title = entry.id.slice(0, 300);
  at("clip-state").textContent = "Reading the rows of this clip …";
  at("clip-body").hidden = true;
  at("clip-notes").hidden = true;
  stepLinks();
  load(entry.key).then((content) => {
    if (current !== entry) return;
    clip = content;
    at("clip-state").textContent = "";
    at("clip-body").hidden = false;
    const notes = at("clip-notes");
    notes.replaceChildren(...clip.notes.map((note) => element("li", {class: "long"}, element("bdi", {}, note))));
    notes.hidden = !clip.notes.length;
    setUp();
  }).catch((error) => {
    if (current === entry) at("clip-state").textContent = `The rows of this clip cannot be read: ${error.message}.`;
  });
}
function setUp() {
  const start = clip.duration;
  slider.max = String(start);
  slider.step = String(Math.min(0.1, start / 1000));
  hover = null;
  time = 0;
  view = {low: 0, high: clip.duration};
  const hasVideo = clip.video.startsWith("./");
  video.hidden = !hasVideo;
  frame.hidden = hasVideo || !clip.frames.length;
  at("no-picture").hidden = hasVideo || clip.frames.length > 0;
  frame.alt = clip.frames.length ? `Pictures of ${current.id.slice(0, 120)}, ${clip.frames.length} through the clip` : "";
  if (hasVideo) { video.src = clip.video; video.setAttribute("aria-label", `Video of ${current.id.slice(0, 120)}`); }
  clock.use(hasVideo);
  makePanels();
  makeShades();
  makeCrops();
  makeSummary();
  seen(0);
}

// ---- The clock: that of the video, else one that runs by itself.

const clock = (() => {
  let follows = false, runs = false, began = 0, from = 0;
  const mark = () => {
    const on = clock.isRunning();
    at("play").textContent = on ? "Pause" : "Play";
    at("play").setAttribute("aria-pressed", String(on));
  };
  const tick = () => {
    if (!runs || follows) return;
    const now = from + (performance.now() - began) / 1000;
    if (now >= clip.duration) { runs = false; seen(clip.duration); mark(); return; }
    seen(now);
    requestAnimationFrame(tick);
  };
  /* The time of the picture on show, where the browser says it; else the video's clock. */
  const followed = (_, about) => {
    if (!follows || !clip) return;
    if (!video.seeking) seen((about && !video.paused ? about.mediaTime : video.currentTime) - clip.offset);
    next();
  };
  const next = () => {
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(followed);
    else if (!video.paused) requestAnimationFrame(followed);
  };
  for (const event of ["play", "pause", "ended"]) video.addEventListener(event, () => { mark(); if (event === "play" && !video.requestVideoFrameCallback) next(); });
  for (const event of ["seeked", "timeupdate"]) {
    video.addEventListener(event, () => { if (follows && clip && (event === "seeked" || video.paused || clip.isAudio)) seen(video.currentTime - clip.offset); });
  }
  // A clip may be a part of its video: it begins where the clip does, and stops where the clip ends.
  video.addEventListener("loadedmetadata", () => { if (follows && clip && clip.offset > 0) video.currentTime = clip.offset; });
  video.addEventListener("timeupdate", () => {
    if (follows && clip && !video.paused && video.currentTime - clip.offset > clip.duration + 0.3) video.pause();
  });
  video.addEventListener("error", () => {
    if (!follows || !clip) return;
    at("no-picture").textContent = "This browser cannot show the video, or it is not where it was.";
    at("no-picture").hidden = false;
    video.hidden = true;
    clock.use(false);
  });
  return {
    use(withVideo) {
      follows = withVideo; runs = false; from = 0;
      if (withVideo && video.requestVideoFrameCallback) next();
      mark();
    },
    isRunning: () => follows ? !video.paused && !video.ended : runs,
    seek(to) {
      const bounded = Math.min(clip.duration, Math.max(0, to));
      if (follows) { video.currentTime = bounded + clip.offset; seen(bounded); return; }
      from = bounded; began = performance.now();
      seen(bounded);
    },
    toggle() {
      if (!clip) return;
      if (follows) { if (video.paused) video.play().catch(() => mark()); else video.pause(); return; }
      if (runs) { from = time; runs = false; mark(); return; }
      if (time >= clip.duration - 1e-3) from = 0; else from = time;
      began = performance.now(); runs = true; mark();
      requestAnimationFrame(tick);
    },
    pause() {
      runs = false;
      if (follows) video.pause();
      mark();
    },
  };
})();

/* Show a moment: the line on every panel, the picture, the values. */
function seen(now) {
  if (!clip) return;
  time = Math.min(clip.duration, Math.max(0, now));
  slider.value = String(time);
  slider.setAttribute("aria-valuetext", clockOf(time));
  at("clock").textContent = clockOf(time);
  const span = view.high - view.low;
  if (clock.isRunning() && span < clip.duration && (time > view.high || time < view.low)) setView(time, time + span);
  for (const panel of panels) movePlayhead(panel);
  if (clip.frames.length && !frame.hidden) {
    let place = 0;
    while (place + 1 < clip.frames.length && clip.frames[place + 1].t <= time + 1e-6) place++;
    if (frame.dataset.place !== `${current.key}-${place}`) {
      frame.src = clip.frames[place].src;
      frame.dataset.place = `${current.key}-${place}`;
    }
  }
  values(hover === null ? time : hover);
}
function movePlayhead(panel) {
  const x = panel.plot.valToPos(time, "x"), inside = time >= view.low - 1e-9 && time <= view.high + 1e-9;
  panel.playhead.hidden = !inside;
  if (inside) panel.playhead.style.transform = `translateX(${x - 1}px)`;
  panel.stage.setAttribute("aria-valuenow", time.toFixed(2));
  if (document.activeElement === panel.stage) panel.stage.setAttribute("aria-valuetext", spoken(panel));
}
function spoken(panel) {
  const told = panel.curves.filter((curve) => curve.visible).map((curve) => {
    const row = rowAt(curve.rows, time);
    return `${curve.name} ${row < 0 ? "no score" : number(valueAt(curve.rows, curve.column, row), 2)}`;
  });
  return `${clockOf(time)}: ${told.join(", ")}`;
}

// ---- Panels.

const colours = () => { const style = getComputedStyle(root); return (name) => style.getPropertyValue(name).trim(); };
function curvesOf(panel) {
  const joined = new Set(page.families.flatMap((family, number) => clip.rows.has(`family-${number}`) ? family.sets : []));
  const curves = panel.curves.filter((about) => clip.rows.has(about.set)).map((about) => ({
    ...about, rows: clip.rows.get(about.set), visible: about.shown && !joined.has(about.set), ink: `--c${about.colour}`, mark: `k${about.colour}`,
  }));
  if (curves.length && panel.label !== null && clip.labels && panel.label < clip.labels.columns) {
    curves.push({name: "label", column: panel.label, rows: clip.labels, visible: true, ink: "--ink", mark: "klabel", dash: 1});
  }
  return curves;
}
function makePanels() {
  for (const panel of panels) panel.plot.destroy();
  const place = at("panels");
  place.replaceChildren();
  panels = [];
  const about = page.panels.map((panel) => ({...panel, lines: curvesOf(panel)})).filter((panel) => panel.lines.length);
  const hasCurves = about.length > 0, shaded = clip.unseen.length > 0 || (clip.speech || []).length > 0;
  if (!hasCurves && shaded) about.push({title: "faces and speech", unit: "", low: 0, high: 1, lines: [], classes: null});
  about.forEach((panel, index) => panels.push(makePanel(place, panel, index === about.length - 1)));
  if (!hasCurves) place.append(element("p", {class: "none"}, "No scores of this clip are in what the report was made of."));
  const body = at("clip-body").classList;
  body.toggle("no-curves", !hasCurves);
  body.toggle("no-time", !about.length && !clip.crops.length);
  body.toggle("no-stage", !about.length && video.hidden && frame.hidden);
  setView(view.low, view.high);
}
function swatch(curve) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [key, value] of [["width", 22], ["height", 8], ["aria-hidden", "true"]]) svg.setAttribute(key, value);
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", "M0 4H22");
  path.setAttribute("class", `line ${curve.mark}`);
  if (DASHES[curve.dash % 4].length) path.setAttribute("stroke-dasharray", DASHES[curve.dash % 4].join(" "));
  svg.append(path);
  return svg;
}
function makePanel(place, about, isLast) {
  const ink = colours(), curves = about.lines;
  const caption = element("figcaption", {}, element("h3", {}, element("bdi", {}, about.title), about.unit ? element("span", {class: "quiet"}, `  ${about.unit}`) : ""));
  const stage = element("div", {
    class: "plotted", role: "slider", tabindex: "0", "aria-label": `${about.title} over time`, "aria-valuemin": "0",
    "aria-valuemax": clip.duration.toFixed(2), "aria-valuenow": "0", "aria-valuetext": "0 s", title: "",
  });
  stage.removeAttribute("title");
  const figure = element("figure", {class: "panel"}, caption, stage);
  place.append(figure);
  const bands = curves.filter((curve) => curve.rows.low).map((curve) => ({
    curve, sides: [{...curve, rows: curve.rows.low}, {...curve, rows: curve.rows.high}],
  }));
  const panel = {about, curves, stage, figure, height: isLast ? 172 : 146, all: [...curves, ...bands.flatMap((band) => band.sides)]};
  let low = about.low, high = about.high;
  for (const curve of curves) for (let row = 0; row < curve.rows.n; row++) {
    const value = valueAt(curve.rows, curve.column, row);
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const grid = {stroke: ink("--rule"), width: 1};
  let pressed = null;
  const options = {
    width: widthOf(), height: panel.height, padding: [8, RIGHT, isLast ? 0 : 4, 0], legend: {show: false},
    scales: {x: {time: false, auto: false, range: () => [view.low, view.high]}, y: {auto: false, range: [low, high]}},
    axes: [
      {show: true, stroke: ink("--quiet"), grid, ticks: {...grid, size: 4}, size: isLast ? 30 : 0, font: "12px system-ui, sans-serif", space: 72, incrs: [.01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400],
        values: isLast ? (_, splits, __, ___, step) => splits.map((each) => clockOf(each, step < 1 ? (step < 0.1 ? 2 : 1) : 0)) : (_, splits) => splits.map(() => "")},
      {stroke: ink("--quiet"), grid, ticks: {...grid, size: 4}, size: AXIS, font: "12px system-ui, sans-serif", space: 20, incrs: [.01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 20, 50, 100, 1000],
        values: (_, splits) => splits.map((each) => !curves.length ? "" : number(each, Math.max(1, splits.length > 1 && splits[1] - splits[0] < 0.1 ? 2 : 1)))},
    ],
    series: [{}, ...curves.map((curve) => ({
      stroke: ink(curve.ink), width: curve.mark === "klabel" ? 1.4 : 1.6, dash: DASHES[curve.dash % 4], show: curve.visible, spanGaps: false,
      points: {size: 4, fill: ink(curve.ink), width: 0, filter: (plot, series, shown) => shown ? null : lonely(plot, series)},
    })), ...bands.flatMap(({curve}) => [0, 1].map(() => ({stroke: "transparent", width: 0, show: curve.visible, points: {show: false}})))],
    bands: bands.map(({curve}, place) => ({series: [curves.length + 2 + 2 * place, curves.length + 1 + 2 * place], fill: faint(ink(curve.ink))})),
    cursor: {sync: {key: "affectkit"}, y: false, points: {show: false}, drag: {x: true, y: false, setScale: false, dist: SNAP + 1},
      bind: {dblclick: () => () => { setView(0, clip.duration); }}},
    hooks: {
      drawClear: [(plot) => shade(plot, about, ink)],
      setSelect: [(plot) => {
        if (plot.select.width <= SNAP) return;
        const from = plot.posToVal(plot.select.left, "x"), to = plot.posToVal(plot.select.left + plot.select.width, "x");
        plot.setSelect({left: 0, top: 0, width: 0, height: 0}, false);
        setView(from, to);
      }],
      setCursor: [(plot) => {
        if (pressed === null && plot.cursor.event === undefined && plot.cursor.left < 0) return;
        const to = plot.cursor.left >= 0 ? plot.posToVal(plot.cursor.left, "x") : null;
        if (to !== hover) { hover = to; values(hover === null ? time : hover); }
      }],
    },
  };
  panel.plot = new uPlot(options, [[0, 1], ...panel.all.map(() => [null, null])], stage);
  panel.playhead = element("div", {class: "playhead"});
  panel.plot.over.append(panel.playhead);
  panel.plot.over.addEventListener("mousedown", (event) => { pressed = event.button === 0 ? event.clientX : null; });
  panel.plot.over.addEventListener("mouseup", (event) => {
    if (pressed !== null && Math.abs(event.clientX - pressed) <= SNAP) {
      const box = panel.plot.over.getBoundingClientRect();
      clock.seek(panel.plot.posToVal(event.clientX - box.left, "x"));
    }
    pressed = null;
  });
  panel.plot.over.addEventListener("mouseleave", () => { hover = null; values(time); });
  stage.addEventListener("keydown", (event) => keys(event));
  stage.addEventListener("focus", () => stage.setAttribute("aria-valuetext", spoken(panel)));
  curves.forEach((curve, number) => {
    const box = element("input", {type: "checkbox", checked: curve.visible});
    box.addEventListener("change", () => {
      curve.visible = box.checked;
      panel.plot.setSeries(number + 1, {show: box.checked});
      const band = bands.findIndex((each) => each.curve === curve);
      if (band >= 0) for (const side of [1, 2]) panel.plot.setSeries(curves.length + 2 * band + side, {show: box.checked});
      values(time);
    });
    caption.append(element("label", {class: "toggle"}, box, swatch(curve), element("bdi", {}, curve.name)));
  });
  if (bands.length) caption.append(element("span", {class: "quiet"}, "band: from the least to the greatest seed"));
  if (about.classes && clip.labels) {
    caption.append(element("span", {class: "quiet"}, "labels: the ribbon above the curves"));
  }
  return panel;
}
function faint(colour) {
  const digits = colour.match(/^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i);
  return digits ? `rgba(${digits.slice(1).map((each) => parseInt(each, 16)).join(", ")}, .22)` : colour;
}
/* Places of values without a neighbour, which no line would show. */
function lonely(plot, series) {
  const ys = plot.data[series], places = [];
  let before = null;
  for (let i = 0; i < ys.length; i++) {
    if (ys[i] === undefined) continue;
    if (ys[i] !== null && before === null) {
      let j = i + 1;
      while (j < ys.length && ys[j] === undefined) j++;
      if (j === ys.length || ys[j] === null) places.push(i);
    }
    before = ys[i];
  }
  return places.length ? places : null;
}
function keys(event) {
  const step = event.shiftKey ? (view.high - view.low) / 10 : Math.max(0.04, (view.high - view.low) / 200);
  const moves = {ArrowLeft: time - step, ArrowRight: time + step, Home: 0, End: clip.duration, PageDown: time + 10 * step, PageUp: time - 10 * step};
  if (event.key in moves && !event.ctrlKey && !event.metaKey && !event.altKey) clock.seek(moves[event.key]);
  else if (event.key === " ") clock.toggle();
  else if (event.key === "+" || event.key === "=") zoom(0.5);
  else if (event.key === "-") zoom(2);
  else if (event.key === "0") setView(0, clip.duration);
  else return;
  event.preventDefault();
}
function zoom(factor) {
  const span = Math.min(clip.duration, (view.high - view.low) * factor);
  const share = Math.min(1, Math.max(0, (time - view.low) / (view.high - view.low)));
  const middle = time >= view.low && time <= view.high ? time - share * span : (view.low + view.high - span) / 2;
  setView(middle, middle + span);
}
function widthOf() { return Math.max(240, at("panels").clientWidth); }
function setView(low, high) {
  const least = Math.min(clip.duration, Math.max(clip.duration / 5000, 0.05));
  const span = Math.min(clip.duration, Math.max(high - low, least));
  const from = Math.min(Math.max(0, low), clip.duration - span);
  view = {low: from, high: from + span};
  for (const panel of panels) {
    const pixels = Math.max(50, panel.plot.width - AXIS - RIGHT);
    panel.plot.batch(() => {
      panel.plot.setData(drawn(panel.all, view.low, view.high, pixels), false);
      panel.plot.setScale("x", {min: view.low, max: view.high});
    });
    movePlayhead(panel);
  }
  placeCrops();
}
const hatches = new Map();
function hatch(colour, scale) {
  const name = `${colour} ${scale}`;
  if (!hatches.has(name)) {
    const side = Math.round(7 * scale), canvas = element("canvas"), pen = canvas.getContext("2d");
    canvas.width = canvas.height = side;
    const sized = canvas.getContext("2d");
    sized.strokeStyle = colour;
    sized.globalAlpha = .55;
    sized.lineWidth = scale;
    sized.beginPath();
    for (const shift of [-side, 0, side]) { sized.moveTo(shift, side); sized.lineTo(shift + side, 0); }
    sized.stroke();
    hatches.set(name, pen.createPattern(canvas, "repeat"));
  }
  return hatches.get(name);
}
function shade(plot, about, ink) {
  const pen = plot.ctx, box = plot.bbox, scale = devicePixelRatio || 1;
  const place = (seconds) => Math.min(box.left + box.width, Math.max(box.left, plot.valToPos(seconds, "x", true)));
  pen.save();
  pen.fillStyle = hatch(ink("--unseen"), scale);
  for (const [from, to] of clip.unseen) {
    if (to > view.low && from < view.high) pen.fillRect(place(from), box.top, place(to) - place(from), box.height);
  }
  pen.fillStyle = ink("--speech");
  for (const [from, to] of clip.speech || []) {
    if (to > view.low && from < view.high) pen.fillRect(place(from), box.top + box.height - 4 * scale, place(to) - place(from), 4 * scale);
  }
  if (about.classes && clip.labels) {
    const rows = clip.labels, [first, last] = rangeOf(rows, view.low, view.high);
    for (let row = first; row < last; row++) {
      const value = valueAt(rows, 0, row);
      if (!Number.isFinite(value)) continue;
      const curve = about.lines.find((each) => each.name === about.classes[value]);
      if (!curve) continue;
      pen.fillStyle = ink(curve.ink);
      pen.fillRect(place(rows.start[row]), box.top - 6 * scale, Math.max(1, place(rows.end[row]) - place(rows.start[row])), 5 * scale);
    }
  }
  pen.restore();
}
function makeShades() {
  const told = [];
  const add = (name, text) => told.push(element("span", {}, element("span", {class: `swatch ${name}`, "aria-hidden": "true"}), text));
  const length = (pairs) => pairs.reduce((sum, [from, to]) => sum + to - from, 0);
  if (clip.unseen.length) add("unseen", `${clip.unseenIs}: ${clockOf(length(clip.unseen), 1)}`);
  if (clip.speech && clip.speech.length) add("speech", `speech: ${clockOf(length(clip.speech), 1)}`);
  at("shades").replaceChildren(...told);
}

// ---- Faces under the time axis.

let crops = [];
function makeCrops() {
  const box = at("crops");
  crops = clip.crops.map((each) => {
    const button = element("button", {type: "button", title: `Face at ${clockOf(each.t)}`},
      element("img", {src: each.src, alt: `Face at ${clockOf(each.t)}`, width: "42", height: "42"}));
    button.addEventListener("click", () => clock.seek(each.t));
    return {t: each.t, button, item: element("div", {role: "listitem"}, button)};
  });
  box.replaceChildren(...crops.map((each) => each.item));
  box.hidden = !crops.length;
  placeCrops();
}
function placeCrops() {
  if (!crops.length) return;
  const width = Math.max(100, widthOf() - AXIS - RIGHT);
  let last = -Infinity;
  for (const each of crops) {
    const x = AXIS + (each.t - view.low) / (view.high - view.low) * width;
    const fits = each.t >= view.low && each.t <= view.high && x - last >= 48;
    each.item.hidden = !fits;
    if (fits) { last = x; each.button.style.left = `${Math.min(x - 24, widthOf() - 48)}px`; }
  }
}

// ---- Values at a moment, and figures of all of a clip.

let valueRows = [];
function values(moment) {
  if (!clip) return;
  at("values-title").textContent = `At ${clockOf(moment)}${hover === null ? "" : " (pointer)"}`;
  const wanted = panels.flatMap((panel) => panel.curves.filter((curve) => curve.visible).map((curve) => ({panel, curve})));
  const body = at("values").tBodies[0];
  if (wanted.length !== valueRows.length || wanted.some((each, i) => each.curve !== valueRows[i].curve)) {
    valueRows = wanted.map(({panel, curve}) => {
      const cell = element("td", {class: "num"});
      const name = panel.curves.length === 1 || panel.about.title === curve.name ? panel.about.title : `${panel.about.unit ? "" : `${panel.about.title}, `}${curve.name}`;
      return {curve, cell, row: element("tr", {}, element("th", {scope: "row"}, swatch(curve), " ", element("bdi", {}, name)), cell)};
    });
    body.replaceChildren(...valueRows.map((each) => each.row));
  }
  for (const {curve, cell} of valueRows) {
    const row = rowAt(curve.rows, moment);
    let text = row < 0 ? NONE : number(valueAt(curve.rows, curve.column, row), 3);
    if (row >= 0 && curve.rows.low && text !== NONE) {
      text += ` (${number(valueAt(curve.rows.low, curve.column, row), 2)} to ${number(valueAt(curve.rows.high, curve.column, row), 2)})`;
    }
    if (cell.textContent !== text) cell.textContent = text;
  }
}
function makeSummary() {
  const body = document.querySelector("#summary tbody");
  body.replaceChildren(...panels.flatMap((panel) => panel.curves.map((curve) => {
    let count = 0, sum = 0, squares = 0, least = Infinity, most = -Infinity;
    for (let row = 0; row < curve.rows.n; row++) {
      const value = valueAt(curve.rows, curve.column, row);
      if (!Number.isFinite(value)) continue;
      count++; sum += value; squares += value * value; least = Math.min(least, value); most = Math.max(most, value);
    }
    const mean = count ? sum / count : NaN, deviation = count ? Math.sqrt(Math.max(0, squares / count - mean * mean)) : NaN;
    const cells = [String(curve.rows.n), String(count), number(mean, 3), number(deviation, 3), number(count ? least : NaN, 3), number(count ? most : NaN, 3)];
    return element("tr", {}, element("th", {scope: "row"}, element("bdi", {}, `${panel.about.title}, ${curve.name}`)), ...cells.map((text) => element("td", {class: "num"}, text)));
  })));
}

// ---- Set up.

at("play").addEventListener("click", () => clock.toggle());
slider.addEventListener("input", () => clock.seek(parseFloat(slider.value)));
at("zoom-in").addEventListener("click", () => zoom(0.5));
at("zoom-out").addEventListener("click", () => zoom(2));
at("zoom-all").addEventListener("click", () => setView(0, clip.duration));
let lastWidth = 0;
new ResizeObserver(() => {
  const width = widthOf();
  if (!clip || !panels.length || Math.abs(width - lastWidth) < 2) return;
  lastWidth = width;
  for (const panel of panels) panel.plot.setSize({width, height: panel.height});
  setView(view.low, view.high);
}).observe(at("panels"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (clip) { const keep = {...view}; makePanels(); setView(keep.low, keep.high); seen(time); } });
let before = null;
addEventListener("beforeprint", () => {
  before = parts.map((part) => part.hidden);
  for (const part of parts) part.hidden = part.id === "clip" && !clip;
});
addEventListener("afterprint", () => { if (before) parts.forEach((part, i) => { part.hidden = before[i]; }); before = null; });
addEventListener("hashchange", () => route());
root.classList.add("js");
setUpTable();
route(false);
addEventListener("load", () => scrollTo(0, 0));
})();
