/* Puts the page together. */

(function start() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const palette = Uint8Array.from(atob(data.palette), (letter) => letter.charCodeAt(0));
  const at = Object.fromEntries(data.columns.map((name, i) => [name, i]));
  const numbers = new Map(data.cases.map((found, number) => [found.id, number]));
  const whole = new Map(data.rows.filter((row) => row[at.level] !== "slice").map((row) => [row[at.id], row]));
  const slices = new Map();
  for (const row of data.rows) if (row[at.level] === "slice") slices.set(`${row[at.slice]} ${row[at.id]}`, row);
  let open = null;

  const viewer = new Viewer(palette, data.opacity, (number) => facts(number));
  const table = new CohortTable(data, show, numbers);
  viewer.bar(document.getElementById("bar"));

  function facts(number) {
    const row = whole.get(open) || [], slice = slices.get(`${number} ${open}`);
    const told = { Score: short(row[at.score]), "p-value": short(row[at.p]), Decision: (row[at.decision] || "").replaceAll("_", " "), "In domain": row[at.domain], "Why not": row[at.domain] === "no" ? row[at.why] : "", Issues: row[at.issues] };
    if (slice) told["This slice"] = `score ${short(slice[at.score]) || "none"}${slice[at.p] === null ? "" : `, p ${short(slice[at.p])}`}`;
    if (row[at.examined] !== null && row[at.examined] !== undefined) told.Examined = `${(100 * row[at.examined]).toFixed(1)} % of the body`;
    document.getElementById("case-facts").replaceChildren(...Object.entries(told).filter((each) => each[1]).map(([name, text]) => {
      const pair = element("div");
      pair.append(element("dt", name), element("dd", text));
      return pair;
    }));
  }

  async function show(id, slice) {
    open = id;
    const number = numbers.get(id), found = data.cases[number], section = document.getElementById("case");
    document.getElementById("case-title").textContent = `Case ${id}`;
    section.hidden = false;
    document.querySelectorAll("#hottest button").forEach((button, i) => button.setAttribute("aria-pressed", String(i === number)));
    try {
      await viewer.open(found, number);
    } catch (error) {
      document.getElementById("under").textContent = "This browser cannot unpack the volume: it has to know DecompressionStream (2023 or later).";
      return;
    }
    if (slice !== null && slice !== undefined && found.numbers.includes(slice)) viewer.go(found.numbers.indexOf(slice));
    section.scrollIntoView({ block: "start" });
    document.getElementById("view").focus({ preventScroll: true });
    document.body.dataset.open = String(number);
  }

  document.getElementById("hottest").replaceChildren(...data.cases.map((found) => {
    const item = element("li"), button = element("button"), picture = element("img"), row = whole.get(found.id) || [];
    button.type = "button";
    picture.src = found.picture;
    picture.alt = "";
    const said = [short(row[at.score]) && `score ${short(row[at.score])}`, row[at.p] === null || row[at.p] === undefined ? "" : `p ${short(row[at.p])}`, (row[at.decision] || "").replaceAll("_", " ")];
    button.append(picture, element("strong", found.id), element("br"), element("span", said.filter(Boolean).join(", ")));
    button.addEventListener("click", () => show(found.id));
    item.append(button);
    return item;
  }));

  const levels = [...new Set(data.rows.filter((row) => row[at.score] !== null).map((row) => row[at.level]))];
  const select = document.getElementById("histogram-level");
  for (const level of levels.sort((a, b) => (a === "slice") - (b === "slice"))) select.append(new Option(level, level));
  const kindOf = (level) => level === "series" ? "series" : "image";
  select.value = levels.find((level) => (data.normals[kindOf(level)] || []).length) || levels[0];
  const draw = () => {
    const level = select.value, kind = kindOf(level);
    const scores = data.rows.filter((row) => row[at.level] === level && row[at.score] !== null).map((row) => row[at.score]);
    histogram(document.getElementById("histogram"), scores, data.normals[kind] || [], data.thresholds[kind], kind);
  };
  select.addEventListener("input", draw);
  draw();

  document.getElementById("issue-words").replaceChildren(...Object.entries(data.issues).map(([code, words]) => {
    const pair = element("div");
    pair.append(element("dt", `${code}: `), element("dd", words));
    return pair;
  }));

  for (const button of document.querySelectorAll("button.copy")) {
    button.addEventListener("click", async () => {
      const text = button.previousElementSibling.querySelector("textarea");
      text.select();
      try { await navigator.clipboard.writeText(text.value); } catch (error) { document.execCommand("copy"); }
      button.textContent = "Copied";
    });
  }
  document.body.dataset.ready = "yes";
}());
