
"use strict";
const root = document.documentElement;

function remembered() {
  try { return localStorage.getItem("kdanalysis-theme"); } catch { return null; }
}

function remember(theme) {
  try { localStorage.setItem("kdanalysis-theme", theme); } catch { /* private window: forget */ }
}

function setTheme(theme) {
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  else delete root.dataset.theme;
}

function themeButton() {
  const button = document.getElementById("theme");
  const themes = ["system", "light", "dark"];
  const label = () => { button.textContent = "Theme: " + (root.dataset.theme || "system"); };
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme || "system") + 1) % themes.length];
    setTheme(next);
    remember(next);
    label();
  });
  label();
  button.hidden = false;
}

/* A number as programs read it, with a hyphen for its minus sign. */
const plain = (text) => text.trim().replace(/^\u2212/, "-");

function sortKey(row, column) {
  const cell = row.cells[column];
  if (cell.classList.contains("t")) return cell.textContent;
  return Number(cell.dataset.rank ?? (plain(cell.textContent.replaceAll(",", "")) || NaN));
}

function compare(a, b) {
  if (typeof a === "number") return a - b;
  return a.localeCompare(b, undefined, { numeric: true });
}

function sortBy(table, column) {
  const heading = table.tHead.rows[0].cells[column];
  const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  const body = table.tBodies[0];
  const shown = [...body.rows].filter((row) => !row.classList.contains("more")).length;
  const rows = [...body.rows].map((row) => [sortKey(row, column), row]);
  const absent = (key) => Number.isNaN(key);
  rows.sort(([a], [b]) => absent(a) - absent(b) || (absent(a) ? 0 : sign * compare(a, b)));
  rows.forEach(([, row], index) => row.classList.toggle("more", index >= shown));
  body.append(...rows.map(([, row]) => row));
}

function sortable(table) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sortBy(table, column));
    heading.append(button);
  });
}

function foldable(table) {
  const count = table.tBodies[0].rows.length;
  const all = count.toLocaleString("en");
  const few = table.tBodies[0].querySelectorAll("tr:not(.more)").length;
  if (few === count) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "unfold";
  const fold = (folded) => {
    table.classList.toggle("folded", folded);
    button.setAttribute("aria-expanded", String(!folded));
    button.textContent = folded ? `Show all ${all} rows` : `Show the first ${few} rows`;
  };
  button.addEventListener("click", () => fold(!table.classList.contains("folded")));
  fold(true);
  table.closest(".table").append(button);
}

function followScrolling() {
  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((e) => e.isIntersecting)) {
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-10% 0px -75% 0px" });
  for (const name of links.keys()) {
    const place = document.getElementById(name);
    if (place) watch.observe(place);
  }
}

/* What lies beyond an edge fades towards it, where no bar may say that it can be scrolled to. */
function fadeEdges(box) {
  const look = () => {
    const beyond = box.scrollWidth - box.clientWidth - box.scrollLeft;
    box.classList.toggle("before", box.scrollLeft > 1);
    box.classList.toggle("beyond", beyond > 1);
  };
  box.addEventListener("scroll", look, { passive: true });
  new ResizeObserver(look).observe(box);
}

/* A link to what lies in something collapsed opens it. */
function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
}

/* Rows of tables over several runs, named for the picker. */
function nameRows(names) {
  for (const table of document.querySelectorAll("table")) {
    if (table.tHead.rows[0].cells[0].textContent !== "run") continue;
    for (const row of table.tBodies[0].rows) {
      const found = names.find((name) => [name, `run ${name}`, `student ${name}`].includes(row.cells[0].textContent));
      if (found) row.dataset.run = found;
    }
  }
}

/* Of many students, figures of one each are shown where that one is chosen; what is told of all stays. */
function tellOfFigures(names) {
  document.body.classList.toggle("many", names.length > 6);
  for (const figures of document.querySelectorAll(".cards .figures")) {
    const count = figures.querySelectorAll(":scope > figure[data-run]").length;
    if (!count) continue;
    const note = document.createElement("p");
    note.className = "apart";
    note.textContent = `${count} figures of one student each: choose a student to see its own.`;
    figures.after(note);
  }
}

function pickRuns() {
  const picker = document.querySelector("nav .picker");
  if (!picker) return;
  const names = JSON.parse(picker.dataset.runs);
  nameRows(names);
  document.body.dataset.picked = "all";
  tellOfFigures(names);
  fillPicker(picker, names, "run", (name) => {
    document.body.dataset.picked = name;
    showRun(document, name);
  });
}

function download(name, kind, text) {
  const link = document.createElement("a");
  link.href = `data:${kind};charset=utf-8,${encodeURIComponent(text)}`;
  link.download = name;
  link.click();
}

/* The picture as a file of its own: with the colours of the light theme written into it. */
function svgText(figure) {
  const image = figure.querySelector("img");
  if (image) {
    const size = `width="${image.naturalWidth}" height="${image.naturalHeight}"`;
    const parsed = new DOMParser().parseFromString(`<svg ${size}><image ${size}/></svg>`, "text/html");
    parsed.querySelector("image").setAttribute("href", image.src);
    return new XMLSerializer().serializeToString(parsed.querySelector("svg"));
  }
  const theme = root.dataset.theme;
  root.dataset.theme = "light";
  const svg = figure.querySelector("svg");
  const copy = svg.cloneNode(true);
  const copies = [copy, ...copy.querySelectorAll("*")];
  [svg, ...svg.querySelectorAll("*")].forEach((part, i) => {
    const look = getComputedStyle(part);
    const written = [...part.attributes].filter((a) => /currentColor|var\(/.test(a.value)).map((a) => a.name);
    if (part.classList.length) written.push("fill", "stroke", "stroke-width", "stroke-opacity");
    for (const name of written) copies[i].setAttribute(name, look.getPropertyValue(name));
    if (part.tagName === "text" && !part.hasAttribute("font-size")) copies[i].setAttribute("font-size", look.fontSize);
    copies[i].removeAttribute("class");
  });
  setTheme(theme);
  copy.setAttribute("font-family", "DejaVu Sans, Verdana, sans-serif");
  copy.removeAttribute("aria-hidden");
  return new XMLSerializer().serializeToString(copy);
}

function csvText(tables) {
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const line = (row) => [...row.cells].map((cell) => quoted(plain(cell.textContent))).join(",");
  return tables.map((table) => [...table.rows].map(line).join("\n")).join("\n\n") + "\n";
}

function tablesOf(figure) {
  const inside = figure.querySelector("table");
  if (inside) return [inside];
  return [...document.querySelectorAll(`[id^="${figure.dataset.table}-table-"]`)].map((c) => c.closest("table"));
}

/* Files of a figure, made when they are asked for; the arrows go from one button to the next. */
function savable(figure) {
  const bar = document.createElement("div");
  bar.className = "save";
  bar.setAttribute("role", "toolbar");
  const name = figure.dataset.name;
  bar.setAttribute("aria-label", `Save ${name}`);
  const kinds = { SVG: () => download(`${name}.svg`, "image/svg+xml", svgText(figure)) };
  const tables = tablesOf(figure);
  if (tables.length) kinds.CSV = () => download(`${name}.csv`, "text/csv", csvText(tables));
  const buttons = Object.entries(kinds).map(([kind, act], i) => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: kind, tabIndex: i ? -1 : 0 });
    button.title = `Save as ${kind}${kind === "CSV" ? ", the numbers as this page writes them" : ""}`;
    button.addEventListener("click", act);
    return button;
  });
  bar.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = buttons[(buttons.indexOf(event.target) + step + buttons.length) % buttons.length];
    buttons.forEach((button) => { button.tabIndex = button === next ? 0 : -1; });
    next.focus();
  });
  bar.append(...buttons);
  const caption = figure.querySelector("figcaption");
  if (caption) caption.prepend(bar); // its text flows around
  else figure.append(bar);
}

setTheme(remembered());
document.addEventListener("DOMContentLoaded", () => {
  themeButton();
  if (typeof startExplorers === "function") startExplorers();
  document.querySelectorAll("figure[data-name]").forEach(savable);
  pickRuns();
  for (const table of document.querySelectorAll("main table:not(.numbers)")) {
    sortable(table);
    foldable(table);
  }
  followScrolling();
  document.querySelectorAll(".scroll, .picture, nav ol, nav .picker").forEach(fadeEdges);
  addEventListener("hashchange", openTarget);
  openTarget();
});
