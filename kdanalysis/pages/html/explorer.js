const TERMS = ["high", "low_top", "low_other", "ce"];
const REACH = { weight: 16, grain: 0.25, steps: [0.25, 64] };

/* Inner product of two terms at a place of (T, k): 0 of two that share no class; some do not depend on k. */
function product(run, place, a, b) {
  const names = a === b ? ["square_" + a] : [`inner_${a}_${b}`, `inner_${b}_${a}`];
  const values = names.map((name) => run.gram[name]).find(Boolean);
  if (!values) return 0;
  return values[values.length === run.temperatures.length ? Math.floor(place / run.ks.length) : place];
}

/* What weights make of the terms, from quadratic forms: of all samples' gradients laid end to end. */
function outcome(run, place, weights) {
  const used = TERMS.filter((term) => weights[term] > 0);
  const along = used.reduce((sum, a) => sum + weights[a] * product(run, place, a, "kd"), 0);
  let square = 0;
  for (const a of used) {
    for (const b of used) square += weights[a] * weights[b] * product(run, place, a, b);
  }
  const norm = Math.sqrt(Math.max(square, 0));
  const kd = Math.sqrt(product(run, place, "kd", "kd"));
  const found = { cosine: along / norm / kd, step: norm / kd, norm, norm_kd: kd };
  const parts = used.map((term) => weights[term] * Math.sqrt(product(run, place, term, term)));
  const whole = parts.reduce((sum, part) => sum + part, 0);
  for (const term of TERMS) {
    const part = parts[used.indexOf(term)] ?? 0;
    found["norm_" + term] = part;
    found["share_" + term] = part / whole;
  }
  return found;
}

function lossText(k, temperature, weights) {
  const [high, top, other, ce] = TERMS.map((term) => weights[term]);
  const parts = ce > 0 ? [ce === 1 ? "ce" : `ce:weight=${ce}`] : [];
  if (high + top + other > 0) {
    parts.push(`gdkd:k=${k},weights=${high}/${top}/${other},temperature=${temperature}`);
  }
  return parts.join("+");
}

const signed = (text) => text.replace("-", "\u2212");

function shown(name, value) {
  if (!Number.isFinite(value)) return "–";
  if (name.startsWith("share")) return `${(100 * value).toFixed(1)} %`;
  if (name === "cosine") return signed(value.toFixed(3));
  return value < 1000 ? value.toPrecision(3) : value.toFixed(0);
}

function drawn(tag, attributes, parent, text) {
  const made = document.createElementNS(parent.namespaceURI, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

/* Cosine across, step upwards on a logarithmic axis; what lies beyond stands at the edge. */
function scatterAxes(svg) {
  const box = { left: 52, right: 448, top: 12, bottom: 256 };
  const [low, high] = REACH.steps.map(Math.log2);
  const within = (value, from, to) => Math.min(Math.max(value, from), to);
  const x = (cosine) => box.left + within((cosine + 1) / 2, 0, 1) * (box.right - box.left);
  const y = (step) =>
    box.bottom - within((Math.log2(step) - low) / (high - low), 0, 1) * (box.bottom - box.top);
  for (const cosine of [-1, -0.5, 0, 0.5, 1]) {
    drawn("path", { d: `M${x(cosine)} ${box.top}V${box.bottom}`, class: "grid" }, svg);
    drawn("text", { x: x(cosine), y: 272, "text-anchor": "middle" }, svg, signed(String(cosine)));
  }
  for (const step of [0.25, 1, 4, 16, 64]) {
    drawn("path", { d: `M${box.left} ${y(step)}H${box.right}`, class: "grid" }, svg);
    drawn("text", { x: 46, y: y(step) + 4, "text-anchor": "end" }, svg, String(step));
  }
  drawn("text", { x: 250, y: 292, "text-anchor": "middle" }, svg, "cosine to KD at the same T");
  const turned = { transform: "translate(12 134) rotate(-90)", "text-anchor": "middle" };
  drawn("text", turned, svg, "step: norm over that of KD");
  drawn("path", { d: `M${x(1) - 6} ${y(1)}h12m-6 -6v12`, class: "kd" }, svg);
  drawn("text", { x: x(1) - 10, y: y(1) + 16, "text-anchor": "end" }, svg, "KD");
  return { x, y };
}

/* A row of the table, a dot and a path of one student, each named for the picker. */
function addRun(panel, run, columns) {
  const row = panel.body.insertRow();
  const line = drawn("path", { class: "path", stroke: run.colour }, panel.svg);
  const dot = drawn("circle", { r: 6, fill: run.colour }, panel.svg);
  drawn("title", {}, dot, run.name);
  for (const part of [row, line, dot]) part.dataset.run = run.name;
  const name = document.createElement("th");
  name.scope = "row";
  name.className = "t";
  const mark = document.createElement("span");
  mark.className = "mark";
  mark.style.background = run.colour;
  name.append(mark, run.name);
  row.append(name);
  const cells = columns.map(() => row.insertCell());
  return (state, weights) => {
    const place = (k) => state.temperature * run.ks.length + k;
    const found = outcome(run, place(state.k), weights);
    columns.forEach((column, i) => {
      cells[i].textContent = shown(column, found[column]);
      cells[i].dataset.value = found[column];
    });
    const known = Number.isFinite(found.cosine);
    dot.setAttribute("cx", known ? panel.axes.x(found.cosine) : -99);
    dot.setAttribute("cy", known ? panel.axes.y(found.step) : -99);
    const whole = run.ks.map((_, k) => place(k)).filter((at) => // both groups have a gradient inside
      product(run, at, "low_top", "low_top") > 0 && product(run, at, "low_other", "low_other") > 0);
    const points = whole.map((at) => outcome(run, at, weights)).filter((p) => Number.isFinite(p.cosine));
    const ends = points.map((p) => `${panel.axes.x(p.cosine).toFixed(1)} ${panel.axes.y(p.step).toFixed(1)}`);
    line.setAttribute("d", ends.length ? `M${ends.join("L")}` : "");
  };
}

function setUp(input, most, grain, start) {
  Object.assign(input, { min: 0, max: most, step: grain });
  input.value = start;
}

function copyText(button, text) {
  const said = (word) => {
    button.textContent = word;
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };
  const byHand = () => {
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    said(document.execCommand("copy") ? "Copied" : "Not copied");
    field.remove();
    button.focus();
  };
  if (navigator.clipboard) navigator.clipboard.writeText(text).then(() => said("Copied"), byHand);
  else byHand();
}

function startExplorer(root) {
  root.dataset.started = "";
  const told = JSON.parse(root.querySelector("script").textContent);
  const { ks, temperatures } = told.runs[0];
  const inputs = Object.fromEntries([...root.querySelectorAll("input[type=range]")].map((i) => [i.name, i]));
  const svg = root.querySelector(".live svg");
  const panel = { svg, axes: scatterAxes(svg), body: root.querySelector(".numbers tbody") };
  const updates = told.runs.map((run) => addRun(panel, run, told.columns));
  setUp(inputs.k, ks.length - 1, 1, ks.indexOf(told.start.k));
  setUp(inputs.temperature, temperatures.length - 1, 1, temperatures.indexOf(told.start.temperature));
  for (const term of TERMS) {
    if (inputs[term]) setUp(inputs[term], REACH.weight, REACH.grain, told.start[term]);
  }
  const code = root.querySelector(".loss code");
  const update = () => {
    const state = { k: Number(inputs.k.value), temperature: Number(inputs.temperature.value) };
    const weights = Object.fromEntries(TERMS.map((term) => [term, Number(inputs[term]?.value ?? 0)]));
    const texts = { k: ks[state.k], temperature: temperatures[state.temperature], ...weights };
    for (const [name, input] of Object.entries(inputs)) {
      input.nextElementSibling.textContent = String(texts[name]);
      input.setAttribute("aria-valuetext", String(texts[name]));
    }
    updates.forEach((one) => one(state, weights));
    code.textContent = lossText(texts.k, texts.temperature, weights) || "no term has a weight";
  };
  for (const input of Object.values(inputs)) input.addEventListener("input", update);
  const button = root.querySelector(".loss button");
  button.addEventListener("click", () => copyText(button, code.textContent));
  const picker = root.querySelector(".picker");
  const names = told.runs.map((run) => run.name);
  if (picker) fillPicker(picker, names, "run-of-explorer", (name) => showRun(root, name));
  root.querySelector(".static").hidden = true;
  root.querySelector(".live").hidden = false;
  update();
}

function startExplorers() {
  document.querySelectorAll(".explorer:not([data-started])").forEach(startExplorer);
}
