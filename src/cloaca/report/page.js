"use strict";
// Zooms, searches, and shows the details of marks: the elements of pictures that have `data-of` (what they stand for)
// and `data-n` (its number in what is told). All that users have named goes into the page as text.

const told = JSON.parse(document.getElementById("told").textContent);
const byId = (id) => document.getElementById(id);
const made = (tag, text) => Object.assign(document.createElement(tag), { textContent: text ?? "" });
const marksIn = (picture) => [...picture.querySelectorAll("[data-of]")];
const rowOf = (mark) => told[mark.dataset.of].rows[mark.dataset.n];

// ---- details ------------------------------------------------------------------------------------------------------

const details = made("aside");
details.id = "details";
details.hidden = true;
details.setAttribute("aria-live", "polite");
const tip = made("div");
tip.id = "tip";
tip.hidden = true;
document.body.append(details, tip);

function show(title, pairs) {
  const list = made("dl");
  for (const [what, text] of pairs) if (text) list.append(made("dt", what), made("dd", text));
  const close = made("button", "\u00d7");
  close.setAttribute("aria-label", "Close");
  close.addEventListener("click", hide);
  details.replaceChildren(made("h3", title), close, list);
  details.hidden = false;
}

function hide() {
  details.hidden = true;
  choose(null);
}

let chosen = null;

function choose(mark) {
  chosen?.classList.remove("chosen");
  chosen = mark;
  chosen?.classList.add("chosen");
  const node = mark?.dataset.of === "node" ? +mark.dataset.n : null;
  for (const task of time?.marks ?? []) {
    task.classList.toggle("of-chosen", told["node of task"][task.dataset.n] === node);
  }
}

function tell(mark) {
  choose(mark);
  const [title, ...cells] = rowOf(mark);
  const pairs = cells.map((cell, place) => [told[mark.dataset.of].head[place + 1], cell]);
  show(title, [...pairs, ...Object.entries(told.notes[title] ?? {})]);
}

function point(event) {
  const mark = event.target.closest?.("[data-of]");
  tip.hidden = !mark;
  if (!mark) return;
  tip.textContent = rowOf(mark).slice(0, 4).join(", ");
  const below = event.clientY + 18;
  const hasRoom = below + tip.offsetHeight <= innerHeight;
  tip.style.left = `${Math.max(0, Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${hasRoom ? below : event.clientY - tip.offsetHeight - 8}px`;
}

// ---- pictures -----------------------------------------------------------------------------------------------------
//
// Each has a `frame`, in widths of which it is told where to `zoom`, and how far to `move`; `all` shows all of it, and
// `reveal` a mark.

class Time {
  // `left` and `width` are the part of the time that is shown, in cells of the pictures.
  constructor(element) {
    this.element = element;
    this.pictures = [...element.querySelectorAll("svg")];
    this.groups = [...element.querySelectorAll("[data-level]")];
    this.ticks = [...element.querySelectorAll(".axis span")];
    this.frame = this.pictures[0];
    this.whole = this.frame.viewBox.baseVal.width;
    this.left = 0;
    this.width = this.whole;
  }
  zoom(factor, at = 0.5) {
    const width = Math.max(this.whole / 65536, Math.min(this.whole, this.width / factor));
    this.show(this.left + at * (this.width - width), width);
  }
  move(part) {
    this.show(this.left + part * this.width, this.width);
  }
  all() {
    this.show(0, this.whole);
  }
  show(left, width) {
    this.left = Math.max(0, Math.min(this.whole - width, left));
    this.width = width;
    for (const picture of this.pictures) {
      picture.viewBox.baseVal.x = this.left;
      picture.viewBox.baseVal.width = width;
    }
    const level = Math.log(this.whole / width) / Math.log(4);
    for (const group of this.groups) group.classList.toggle("near", group.dataset.level > level + 1e-9);
    const seconds = told.seconds / this.whole;
    this.ticks.forEach((tick, place) => {
      tick.textContent = moment((this.left + (place / (this.ticks.length - 1)) * width) * seconds, width * seconds);
    });
  }
  reveal(mark) {
    const [left, wide] = [mark.x.baseVal.value, mark.width.baseVal.value];
    const isNarrow = mark.getBoundingClientRect().width < 4;
    const isOutside = left + wide < this.left || left > this.left + this.width;
    const width = isNarrow ? Math.min(Math.max(wide * 20, this.whole / 65536), this.whole) : this.width;
    if (isNarrow || isOutside) this.show(left + (wide - width) / 2, width);
  }
}

class Graph {
  constructor(element) {
    this.element = element;
    this.frame = element;
    this.picture = element.querySelector("svg");
    this.natural = this.picture.width.baseVal.value;
    this.scale = 1;
  }
  zoom(factor, at = 0.5) {
    const point = this.element.scrollLeft + at * this.element.clientWidth;
    const scale = Math.max(0.1, Math.min(8, this.scale * factor));
    this.picture.style.width = `${this.natural * scale}px`;
    this.element.scrollLeft += point * (scale / this.scale - 1);
    this.element.scrollTop *= scale / this.scale;
    this.scale = scale;
  }
  move(right, down = 0) {
    this.element.scrollLeft += right * this.element.clientWidth;
    this.element.scrollTop += down * this.element.clientWidth;
  }
  all() {
    this.zoom(Math.min(1, (this.element.clientWidth - 2) / this.natural) / this.scale);
  }
  reveal(mark) {
    mark.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}

const units = [[0.001, "us", 1e6], [1, "ms", 1e3], [600, "s", 1], [Infinity, "min", 1 / 60]];

// A moment, as exactly as it can be told apart where so many seconds are shown.
function moment(seconds, shown) {
  const [, unit, times] = units.find(([below]) => shown < below);
  const digits = Math.ceil(1 - Math.log10(shown * times));
  return `${(seconds * times).toFixed(Math.max(0, Math.min(9, digits)))} ${unit}`;
}

function listen(picture) {
  const marks = marksIn(picture.element).sort((one, other) => one.dataset.n - other.dataset.n);
  const keys = keysOf(picture, marks);
  picture.element.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
  const tools = document.querySelector(`.tools[data-for="${picture.element.id}"]`);
  tools.hidden = false;
  for (const button of tools.querySelectorAll("button")) button.addEventListener("click", keys[button.dataset.key]);
  listenToWheel(picture);
  listenToPointer(picture);
  return { marks, picture };
}

function keysOf(picture, marks) {
  const go = (at) => {
    if (!marks.length) return;
    const mark = marks[(at + marks.length) % marks.length];
    tell(mark);
    picture.reveal(mark);
  };
  return {
    "+": () => picture.zoom(2),
    "=": () => picture.zoom(2),
    "-": () => picture.zoom(0.5),
    0: () => picture.all(),
    ArrowLeft: () => picture.move(-0.2),
    ArrowRight: () => picture.move(0.2),
    n: () => go(marks.indexOf(chosen) + 1),
    p: () => go(Math.max(marks.indexOf(chosen), 0) - 1),
  };
}

function listenToWheel(picture) {
  const turn = (event) => {
    if (!event.ctrlKey && document.activeElement !== picture.element) return;
    event.preventDefault();
    const box = picture.frame.getBoundingClientRect();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) picture.move(event.deltaX / box.width);
    else picture.zoom(2 ** (-event.deltaY / 200), (event.clientX - box.left) / box.width);
  };
  picture.element.addEventListener("wheel", turn, { passive: false });
}

function listenToPointer(picture) {
  let from = null; // where the pointer was when the picture moved last
  let wasDragged = false;
  picture.element.addEventListener("pointerdown", (event) => {
    from = event.button === 0 ? event : null;
    wasDragged = false;
  });
  picture.element.addEventListener("pointermove", (event) => {
    point(event);
    if (from === null || !event.buttons) return;
    const [right, down] = [from.clientX - event.clientX, from.clientY - event.clientY];
    if (!wasDragged && Math.hypot(right, down) < 4) return;
    const { width } = picture.frame.getBoundingClientRect();
    picture.move(right / width, down / width);
    [from, wasDragged] = [event, true];
  });
  picture.element.addEventListener("pointerleave", () => (tip.hidden = true));
  picture.element.addEventListener("click", (event) => {
    const mark = event.target.closest("[data-of]");
    if (mark && !wasDragged) tell(mark);
  });
}

const graph = listen(new Graph(byId("workflow")));
const time = byId("time") && listen(new Time(byId("time")));

// ---- search -------------------------------------------------------------------------------------------------------

const query = byId("query");
byId("search").hidden = false;
const rows = [...document.querySelectorAll("table.tasks tbody tr")];
const most = 20;

function search() {
  const wanted = query.value.trim().toLowerCase();
  const fits = (name) => wanted !== "" && name.toLowerCase().includes(wanted);
  const tasks = told.task.rows.flatMap(([name], n) => (fits(name) ? [n] : []));
  const ranks = told.names.flatMap((name, rank) => (fits(name) ? [rank] : []));
  const nodesOfTasks = tasks.map((n) => told["node of task"][n]);
  const nodes = new Set([...nodesOfTasks, ...ranks.map((rank) => told["node of name"][rank])]);
  const found = new Set(tasks);
  for (const mark of graph.marks) mark.classList.toggle("found", nodes.has(+mark.dataset.n));
  for (const mark of time?.marks ?? []) mark.classList.toggle("found", found.has(+mark.dataset.n));
  for (const row of rows) row.hidden = wanted !== "" && !fits(row.cells[0].textContent);
  document.body.classList.toggle("searching", wanted !== "");
  list(tasks, ranks, wanted);
}

function nameOf([name, status, , , , , nth]) {
  return nth === "1" && status !== "Retried" ? name : `${name}, try ${nth}`;
}

function list(tasks, ranks, wanted) {
  const ran = new Set(tasks.map((n) => told.task.rows[n][0]));
  const others = ranks.filter((rank) => !ran.has(told.names[rank]));
  const entries = [
    ...tasks.map((n) => [nameOf(told.task.rows[n]), time.marks[n], time.picture]),
    ...others.map((rank) => [told.names[rank], graph.marks[told["node of name"][rank]], graph.picture]),
  ];
  byId("count").textContent = wanted === "" ? "" : `${entries.length.toLocaleString("en")} found`;
  byId("matches").replaceChildren(...entries.slice(0, most).map((entry) => link(...entry)));
}

function link(name, mark, picture) {
  const button = made("button", name);
  button.addEventListener("click", () => {
    tell(mark);
    picture.reveal(mark);
    picture.element.scrollIntoView({ block: "nearest" });
  });
  const entry = made("li");
  entry.append(button);
  return entry;
}

query.addEventListener("input", search);
query.addEventListener("keydown", (event) => {
  if (event.key === "Enter") byId("matches").querySelector("button")?.click();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hide();
  if (event.key === "/" && document.activeElement !== query) {
    event.preventDefault();
    query.focus();
  }
});
