
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

function sortKey(row, column) {
  const cell = row.cells[column];
  if (cell.classList.contains("t")) return cell.textContent;
  return Number(cell.dataset.rank ?? (cell.textContent.replaceAll(",", "").trim() || NaN));
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
  const few = table.tBodies[0].querySelectorAll("tr:not(.more)").length;
  if (few === count) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "unfold";
  const fold = (folded) => {
    table.classList.toggle("folded", folded);
    button.setAttribute("aria-expanded", String(!folded));
    button.textContent = folded ? `Show all ${count} rows` : `Show the first ${few} rows`;
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
  document.querySelectorAll("main > section").forEach((section) => watch.observe(section));
}

setTheme(remembered());
document.addEventListener("DOMContentLoaded", () => {
  themeButton();
  for (const table of document.querySelectorAll("table")) {
    sortable(table);
    foldable(table);
  }
  followScrolling();
});
