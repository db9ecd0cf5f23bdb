/* The table of the cohort, and the histogram of its scores. Texts of the data only ever become text. */

const PAGE = 100;
const HEADS = { level: "Level", id: "Id", slice: "Slice", score: "Score", p: "p-value", decision: "Decision", domain: "In domain", why: "Why not, or reason", issues: "Issues", examined: "Examined" };
const NUMBERS = new Set(["slice", "score", "p", "examined"]);
const TEXTS = new Set(["id", "why", "issues"]);
const WHOLE = "series, images and files";

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  if (className) made.className = className;
  return made;
}

class CohortTable {
  constructor(data, onOpen, cases) {
    this.columns = Object.keys(HEADS).map((name) => [name, data.columns.indexOf(name)]);
    this.at = Object.fromEntries(data.columns.map((name, i) => [name, i]));
    this.rows = data.rows;
    this.texts = data.rows.map((row) => `${row[this.at.id]} ${row[this.at.issues]} ${row[this.at.why]}`.toLowerCase());
    this.order = { name: "score", down: true };
    this.page = 0;
    this.onOpen = onOpen;
    this.cases = cases;
    this.filters = Object.fromEntries(["search", "filter-level", "filter-decision", "filter-domain"].map((id) => [id, document.getElementById(id)]));
    this.offer("filter-level", [WHOLE, ...this.values("level")], false);
    this.offer("filter-decision", this.values("decision"), true);
    this.offer("filter-domain", this.values("domain"), true);
    for (const filter of Object.values(this.filters)) filter.addEventListener("input", () => { this.page = 0; this.show(); });
    document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
    document.getElementById("previous").addEventListener("click", () => { this.page -= 1; this.show(); });
    document.getElementById("next").addEventListener("click", () => { this.page += 1; this.show(); });
    window.addEventListener("beforeprint", () => this.show(true));
    window.addEventListener("afterprint", () => this.show());
    this.head();
    this.show();
  }

  values(name) { return [...new Set(this.rows.map((row) => row[this.at[name]]).filter((value) => value !== ""))].sort(); }

  offer(id, values, any) {
    const select = this.filters[id];
    if (any) select.append(new Option("any", ""));
    for (const value of values) select.append(new Option(value.replaceAll("_", " "), value));
    if (!any) select.append(new Option("all", ""));
  }

  head() {
    const line = document.querySelector("#rows thead tr");
    for (const [name] of this.columns) {
      const cell = element("th"), button = element("button", HEADS[name]);
      cell.scope = "col";
      button.type = "button";
      button.addEventListener("click", () => this.sort(name));
      cell.append(button);
      line.append(cell);
    }
  }

  sort(name) {
    const down = this.order.name === name ? !this.order.down : NUMBERS.has(name) && name !== "p" && name !== "slice";
    this.order = { name, down };
    this.page = 0;
    this.show();
  }

  chosen() {
    const words = this.filters.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const level = this.filters["filter-level"].value, decision = this.filters["filter-decision"].value, domain = this.filters["filter-domain"].value;
    const found = [];
    this.rows.forEach((row, i) => {
      if (level === WHOLE ? row[this.at.level] === "slice" : level && row[this.at.level] !== level) return;
      if (decision && row[this.at.decision] !== decision) return;
      if (domain && row[this.at.domain] !== domain) return;
      if (words.every((word) => this.texts[i].includes(word))) found.push(row);
    });
    const at = this.at[this.order.name], sign = this.order.down ? -1 : 1;
    const empty = (value) => value === null || value === "";
    return found.sort((a, b) => {
      if (empty(a[at]) || empty(b[at])) return empty(a[at]) - empty(b[at]);
      return sign * (a[at] < b[at] ? -1 : a[at] > b[at] ? 1 : 0);
    });
  }

  show(all = false) {
    const found = this.chosen(), pages = Math.max(1, Math.ceil(found.length / PAGE));
    this.page = Math.min(Math.max(0, this.page), pages - 1);
    const shown = all ? found : found.slice(this.page * PAGE, (this.page + 1) * PAGE);
    document.querySelector("#rows tbody").replaceChildren(...shown.map((row) => this.line(row)));
    document.querySelectorAll("#rows th").forEach((cell, i) => {
      const mine = this.columns[i][0] === this.order.name;
      cell.setAttribute("aria-sort", mine ? (this.order.down ? "descending" : "ascending") : "none");
      cell.firstChild.textContent = HEADS[this.columns[i][0]] + (mine ? (this.order.down ? " \u2193" : " \u2191") : "");
    });
    document.getElementById("count").textContent = `${found.length} of ${this.rows.length} rows`;
    document.getElementById("page-said").textContent = `Page ${this.page + 1} of ${pages}`;
    document.getElementById("previous").disabled = this.page === 0;
    document.getElementById("next").disabled = this.page === pages - 1;
  }

  line(row) {
    const line = element("tr");
    for (const [name, at] of this.columns) {
      const value = row[at];
      const text = name === "examined" && value !== null ? `${(100 * value).toFixed(1)} %` : name !== "slice" && NUMBERS.has(name) ? short(value) : value;
      const kind = NUMBERS.has(name) ? "number" : TEXTS.has(name) ? "text" : "word";
      const cell = element("td", String(text ?? "").replaceAll("out_of_domain", "out of domain"), kind);
      if (name === "issues") cell.textContent = cell.textContent.replaceAll(";", "; ");
      if (name === "decision" && value) cell.classList.add(value === "anomalous" || value === "out_of_domain" ? value : "plain");
      if (name === "id" && this.cases.has(value)) this.openable(line, cell, row);
      line.append(cell);
    }
    return line;
  }

  openable(line, cell, row) {
    const button = element("button", cell.textContent);
    button.type = "button";
    button.title = "Show the slices";
    cell.replaceChildren(button);
    button.addEventListener("click", () => this.onOpen(row[this.at.id], row[this.at.slice]));
    line.className = "open";
  }
}

function drawing(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function histogram(place, scores, normals, threshold, kind) {
  /* Two histograms over one axis, each as a share of its own; told apart by hatching and place of the line, not by colour alone. */
  const all = [...scores, ...normals];
  place.replaceChildren();
  if (!all.length) { place.append(element("p", "There are no scores of this level.", "note")); return; }
  let low = Infinity, high = -Infinity;
  for (const value of all) { low = Math.min(low, value); high = Math.max(high, value); }
  if (low === high) { low -= 0.5; high += 0.5; }
  const sorted = Float64Array.from(all).sort(), middle = sorted[Math.floor(sorted.length / 2)];
  const logarithmic = low > 0 && high > 20 * middle, bins = 40;
  const position = (value) => (logarithmic ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low));
  const counted = (values) => {
    const shares = new Float64Array(bins);
    for (const value of values) shares[Math.min(bins - 1, Math.floor(position(value) * bins))] += 1 / values.length;
    return shares;
  };
  const groups = [[`held-out normal ${kind === "series" ? "series" : "images"}`, normals, "#0072b2", "plain"], ["this cohort", scores, "#b34700", "hatched"]].filter((group) => group[1].length);
  const tallest = Math.max(...groups.map((group) => Math.max(...counted(group[1]))));
  const wide = 640, tall = 240, left = 46, right = 10, top = 34, bottom = 40;
  const x = (share) => left + share * (wide - left - right), y = (share) => tall - bottom - share / tallest * (tall - top - bottom);
  const svg = drawing("svg", { viewBox: `0 0 ${wide} ${tall}`, role: "img" });
  const summary = `${scores.length} scores of this cohort and ${normals.length} of held-out normals, from ${short(low)} to ${short(high)}`;
  svg.append(drawing("title", {}, `Histogram: ${summary}`));
  const pattern = drawing("pattern", { id: "hatched", width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
  pattern.append(drawing("line", { x1: 0, y1: 0, x2: 0, y2: 5, stroke: "#b34700", "stroke-width": 2 }));
  const definitions = drawing("defs", {});
  definitions.append(pattern);
  svg.append(definitions);
  groups.forEach(([name, values, colour, fill], number) => {
    let path = `M ${x(0)} ${y(0)}`;
    counted(values).forEach((share, bin) => { path += ` L ${x(bin / bins)} ${y(share)} L ${x((bin + 1) / bins)} ${y(share)}`; });
    svg.append(drawing("path", { d: `${path} L ${x(1)} ${y(0)} Z`, fill: fill === "plain" ? colour : "url(#hatched)", "fill-opacity": fill === "plain" ? 0.3 : 0.7, stroke: colour, "stroke-width": 1.5 }));
    svg.append(drawing("rect", { x: left + 6 + 230 * number, y: 8, width: 14, height: 12, fill: fill === "plain" ? colour : "url(#hatched)", "fill-opacity": fill === "plain" ? 0.3 : 0.7, stroke: colour }));
    svg.append(drawing("text", { x: left + 26 + 230 * number, y: 18 }, `${name} (n = ${values.length})`));
  });
  if (threshold !== null && threshold !== undefined && position(threshold) >= 0 && position(threshold) <= 1) {
    const at = x(position(threshold));
    svg.append(drawing("line", { x1: at, y1: top, x2: at, y2: tall - bottom, stroke: "#000", "stroke-width": 1.5, "stroke-dasharray": "5 3" }));
    svg.append(drawing("text", { x: Math.min(at + 4, wide - 120), y: top + 10 }, `threshold ${short(threshold)}`));
  }
  svg.append(drawing("line", { x1: left, y1: tall - bottom, x2: wide - right, y2: tall - bottom, stroke: "#555" }));
  for (let tick = 0; tick <= 4; tick += 1) {
    const value = logarithmic ? low * (high / low) ** (tick / 4) : low + tick / 4 * (high - low);
    svg.append(drawing("text", { x: x(tick / 4), y: tall - bottom + 16, "text-anchor": tick === 0 ? "start" : tick === 4 ? "end" : "middle" }, short(value)));
  }
  svg.append(drawing("text", { x: x(0.5), y: tall - 6, "text-anchor": "middle" }, "score (higher is more anomalous)"));
  svg.append(drawing("text", { x: 12, y: tall / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${tall / 2})` }, "share of its group"));
  place.append(svg);
}
