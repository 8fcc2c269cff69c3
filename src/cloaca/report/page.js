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
}

function open(mark) {
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
  tip.style.left = `${Math.max(0, Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${event.clientY + 18 + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 8 : event.clientY + 18}px`;
}

// ---- pictures: each has a `zoom` by a factor around a point of its width, from 0 to 1, a `move`, and `all` ------------

class Time {
  // The part of the time that is shown, in cells of the pictures.
  constructor(element) {
    this.element = element;
    this.pictures = [...element.querySelectorAll("svg")];
    this.groups = [...element.querySelectorAll("[data-level]")];
    this.ticks = [...element.querySelectorAll(".axis span")];
    this.whole = this.pictures[0].viewBox.baseVal.width;
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
    const { x, width } = mark;
    const [left, wide] = [x.baseVal.value, width.baseVal.value];
    if (mark.getBoundingClientRect().width < 4) {
      const shown = Math.max(wide * 20, this.whole / 65536);
      this.show(left + wide / 2 - shown / 2, Math.min(shown, this.whole));
    } else if (left + wide < this.left || left > this.left + this.width) this.show(left - this.width / 2, this.width);
  }
}

class Graph {
  constructor(element) {
    this.element = element;
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
  move(part) {
    this.element.scrollLeft += part * this.element.clientWidth;
  }
  all() {
    this.zoom(Math.min(1, (this.element.clientWidth - 2) / this.natural) / this.scale);
  }
  reveal(mark) {
    mark.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}

function moment(seconds, shown) {
  const [unit, times] = shown < 0.001 ? ["us", 1e6] : shown < 1 ? ["ms", 1e3] : shown < 600 ? ["s", 1] : ["min", 1 / 60];
  return `${(seconds * times).toFixed(Math.max(0, Math.ceil(1 - Math.log10(shown * times))))} ${unit}`;
}

function listen(picture) {
  const { element } = picture;
  const marks = marksIn(element).sort((one, other) => one.dataset.n - other.dataset.n);
  const go = (steps) => {
    const at = marks.indexOf(chosen);
    const mark = marks[(at + steps + marks.length + (at < 0 && steps < 0)) % marks.length];
    if (mark) open(mark), picture.reveal(mark);
  };
  const keys = {
    "+": () => picture.zoom(2),
    "=": () => picture.zoom(2),
    "-": () => picture.zoom(0.5),
    0: () => picture.all(),
    ArrowLeft: () => picture.move(-0.2),
    ArrowRight: () => picture.move(0.2),
    n: () => go(1),
    p: () => go(-1),
  };
  const press = (key) => keys[key]?.();
  element.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    event.preventDefault();
    press(event.key);
  });
  element.addEventListener("click", (event) => {
    const mark = event.target.closest("[data-of]");
    if (mark && !wasDragged) open(mark);
  });
  element.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== element) return;
    event.preventDefault();
    const box = (event.target.closest("svg") ?? element).getBoundingClientRect();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) picture.move(event.deltaX / box.width);
    else picture.zoom(2 ** (-event.deltaY / 200), (event.clientX - box.left) / box.width);
  }, { passive: false });
  let from = null;
  let wasDragged = false;
  element.addEventListener("pointerdown", (event) => {
    from = event.button === 0 ? event.clientX : null;
    wasDragged = false;
  });
  element.addEventListener("pointermove", (event) => {
    if (from === null || !event.buttons || (!wasDragged && Math.abs(event.clientX - from) < 4)) return;
    wasDragged = true;
    picture.move((from - event.clientX) / (element.querySelector("svg").parentElement.clientWidth));
    from = event.clientX;
  });
  const tools = document.querySelector(`.tools[data-for="${element.id}"]`);
  tools.hidden = false;
  for (const button of tools.querySelectorAll("button")) button.addEventListener("click", () => press(button.dataset.key));
  element.addEventListener("pointermove", point);
  element.addEventListener("pointerleave", () => (tip.hidden = true));
  return { marks, picture };
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
  const nodes = new Set([...tasks.map((n) => told["node of task"][n]), ...ranks.map((rank) => told["node of name"][rank])]);
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
  const entries = [
    ...tasks.map((n) => [nameOf(told.task.rows[n]), time.marks[n], time.picture]),
    ...ranks.filter((rank) => !ran.has(told.names[rank])).map((rank) => [told.names[rank], graph.marks[told["node of name"][rank]], graph.picture]),
  ];
  byId("count").textContent = wanted === "" ? "" : `${entries.length.toLocaleString("en")} found`;
  byId("matches").replaceChildren(...entries.slice(0, most).map(([name, mark, picture]) => {
    const entry = made("li");
    const button = made("button", name);
    button.addEventListener("click", () => {
      open(mark);
      picture.reveal(mark);
      picture.element.scrollIntoView({ block: "nearest" });
    });
    entry.append(button);
    return entry;
  }));
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
