"use strict";
// Draws the report. Everything models wrote goes through textContent: it is shown, never parsed.

const data = JSON.parse(document.getElementById("data").textContent);
const DIMENSIONS = ["alignment", "engagement"];
const LOWEST = 1, HIGHEST = 7, NEUTRAL = 4;
const MARKS = ["●", "▲", "■", "◆", "★", "✚"];
const MAX_RESULTS = 100;
const PLAY_MS = 1200;

const byPlace = new Map(data.interactions.map((said) => [`${said.round}:${said.agent}`, said]));
const stances = [...new Set(data.interactions.map((said) => said.stance))].sort();
const state = { round: data.rounds.length - 1, agent: 0, dimension: 0, part: "after", observer: 0, query: "" };
let timer = null;

const $ = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function drawn(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// --- what is asked of the data

const roundNumber = () => data.rounds[state.round];
const at = (agent, round = roundNumber()) => byPlace.get(`${round}:${agent}`);
const answerOf = (said, part) => (part === "before" ? said.answers[0] : said.answers.at(-1));

function ratingOf(said, part = state.part) {
  return said ? answerOf(said, part).ratings[state.observer][state.dimension] : null;
}

function textsOf(said) {
  const reasons = said.feedback.flat().map((given) => given.reason);
  return [said.question, ...said.answers.map((answer) => answer.text), ...reasons].filter((text) => text !== null);
}

function colour(rating) {
  if (rating === null) return "transparent";
  const share = Math.min(1, Math.abs(rating - NEUTRAL) / (HIGHEST - NEUTRAL)) * 100;
  return `color-mix(in oklab, var(--mid), var(${rating < NEUTRAL ? "--low" : "--high"}) ${share}%)`;
}

const told = (rating, digits = 1) => (rating === null ? "–" : rating.toFixed(digits));

// --- the grid

const markOf = (stance) => MARKS[stances.indexOf(stance) % MARKS.length];

function buildGrid() {
  const grid = $("grid");
  grid.style.gridTemplateColumns = `repeat(${data.size}, 1fr)`;
  for (let agent = 0; agent < data.size ** 2; agent++) {
    grid.append(element("button", { type: "button", onclick: () => show({ agent }) }));
  }
  if (stances.length > 1) {
    $("stances").append("Stances: ", stances.map((stance) => `${markOf(stance)} ${stance}`).join(", "));
  }
  grid.addEventListener("keydown", moveInGrid);
}

function moveInGrid(event) {
  const [row, column] = [Math.floor(state.agent / data.size), state.agent % data.size];
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const step = steps[event.key];
  if (!step) return;
  event.preventDefault();
  const place = [row + step[0], column + step[1]];
  if (place.some((index) => index < 0 || index >= data.size)) return;
  show({ agent: place[0] * data.size + place[1] });
  $("grid").children[state.agent].focus();
}

function drawGrid() {
  const raters = new Set((at(state.agent)?.feedback ?? []).flat().map((given) => given.peer));
  [...$("grid").children].forEach((cell, agent) => {
    const said = at(agent);
    const rating = ratingOf(said);
    cell.textContent = data.size <= 12 ? told(rating) : "";
    cell.dataset.mark = said && stances.length > 1 ? markOf(said.stance) : "";
    cell.style.background = rating === null ? "" : colour(rating);
    cell.classList.toggle("unrated", rating === null);
    cell.classList.toggle("rater", raters.has(agent));
    cell.classList.toggle("missed", Boolean(state.query) && !(said && matches(said)));
    cell.setAttribute("aria-pressed", String(agent === state.agent));
    cell.tabIndex = agent === state.agent ? 0 : -1;
    cell.title = `agent ${agent}${said ? `, ${said.stance}` : ""}: ${DIMENSIONS[state.dimension]} ${told(rating, 2)}`;
    cell.setAttribute("aria-label", cell.title);
  });
}

// --- one interaction

function chip(rating) {
  const node = element("span", { className: "chip", textContent: told(rating, 2) });
  node.style.background = colour(rating);
  return node;
}

function textOrOutcome(text, outcome) {
  if (text !== null) return element("p", { className: "said", textContent: text });
  return element("p", { className: "failed", textContent: `no text: ${outcome}` });
}

function ratingsOf(answer) {
  const rows = data.observers.flatMap((name, k) =>
    DIMENSIONS.map((dimension, d) => element("span", {}, `${name} ${dimension} `, chip(answer.ratings[k][d]))),
  );
  return element("div", { className: "ratings" }, ...rows);
}

function answerBlock(title, answer) {
  const cut = answer.text !== null && !answer.finished ? " (cut off)" : "";
  const body = element("div", { className: "answer" }, textOrOutcome(answer.text, answer.outcome), ratingsOf(answer));
  return [element("h3", { textContent: title + cut }), body];
}

function feedbackList(feedback) {
  const rows = feedback.map((given) => {
    const peer = element("button", { type: "button", textContent: `agent ${given.peer}` });
    peer.onclick = () => show({ agent: given.peer });
    const who = element("div", {}, peer, chip(given.rating));
    return element("li", {}, who, textOrOutcome(given.reason, given.outcome));
  });
  return element("ul", { className: "feedback" }, ...rows);
}

function recalledList(recalled) {
  const rows = recalled.map((memory) => {
    const words = element("p", { className: "said", textContent: `${memory.question}\n${memory.answer}` });
    return element("li", {}, element("span", { textContent: memory.similarity.toFixed(2) }), words);
  });
  return element("details", {},
    element("summary", { textContent: `Recalled: ${recalled.length}` }),
    element("ul", { className: "recalled" }, ...rows));
}

function drawChain() {
  const said = at(state.agent);
  $("chain-title").textContent = `Agent ${state.agent} in round ${roundNumber() ?? "–"}`;
  if (!said) {
    $("chain").replaceChildren(element("p", { textContent: "No interaction." }));
    return;
  }
  const about = [`${said.stance} stance`, said.model, said.topic].filter(Boolean).join(" · ");
  const parts = [element("p", { className: "about", textContent: about })];
  parts.push(element("h3", { textContent: "Question" }), element("p", { className: "said", textContent: said.question }));
  if (said.recalled.length) parts.push(recalledList(said.recalled));
  parts.push(...answerBlock("Draft", said.answers[0]));
  said.feedback.forEach((feedback, step) => {
    parts.push(element("h3", { textContent: "Feedback" }), feedbackList(feedback));
    parts.push(...answerBlock(said.feedback.length > 1 ? `Revision ${step + 1}` : "Revision", said.answers[step + 1]));
  });
  $("chain").replaceChildren(...parts);
}

// --- curves and distribution

const WIDTH = 560, HEIGHT = 240, LEFT = 28, RIGHT = 12, TOP = 26, BOTTOM = 24;
const yOf = (rating) => HEIGHT - BOTTOM - ((rating - LOWEST) / (HIGHEST - LOWEST)) * (HEIGHT - TOP - BOTTOM);

function drawCurve() {
  const last = Math.max(1, data.rounds.length - 1);
  const xOf = (k) => LEFT + 8 + (k / last) * (WIDTH - LEFT - RIGHT - 16);
  const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": curveInWords() });
  for (let rating = LOWEST; rating <= HIGHEST; rating++) {
    svg.append(drawn("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: yOf(rating), y2: yOf(rating) }));
    svg.append(drawn("text", { x: LEFT - 8, y: yOf(rating) + 4, "text-anchor": "end" }, String(rating)));
  }
  const every = Math.ceil(data.rounds.length / 12);
  data.rounds.forEach((round, k) => {
    if (k % every === 0) svg.append(drawn("text", { x: xOf(k), y: HEIGHT - 6, "text-anchor": "middle" }, String(round)));
  });
  if (data.rounds.length) {
    svg.append(drawn("line", { class: "now", x1: xOf(state.round), x2: xOf(state.round), y1: TOP, y2: HEIGHT - BOTTOM }));
  }
  DIMENSIONS.forEach((dimension, d) => {
    ["before", "after"].forEach((part, p) => {
      const name = `${dimension} ${part}`;
      const means = data.curves[data.observers[state.observer]][dimension][part];
      const points = means.map((mean, k) => [xOf(k), mean]).filter(([, mean]) => mean !== null);
      svg.append(drawn("polyline", { class: name, points: points.map(([x, mean]) => `${x},${yOf(mean)}`).join(" ") }));
      points.forEach(([x, mean]) => {
        const title = drawn("title", {}, `${dimension} ${part === "before" ? "of drafts" : "of final answers"}: ${mean.toFixed(2)}`);
        svg.append(drawn("circle", { class: name, cx: x, cy: yOf(mean), r: 3.5 }, title));
      });
      const x = LEFT + (2 * d + p) * 132;
      svg.append(drawn("line", { class: name, x1: x, x2: x + 18, y1: 8, y2: 8, "stroke-width": 2 }));
      svg.append(drawn("text", { x: x + 23, y: 12 }, `${dimension}, ${part === "before" ? "draft" : "final"}`));
    });
  });
  $("curve").replaceChildren(svg);
}

function curveInWords() {
  const curves = data.curves[data.observers[state.observer]];
  return DIMENSIONS.map((d) => `${d} of final answers by round: ${curves[d].after.map((mean) => told(mean)).join(", ")}`).join("; ");
}

function drawSpread() {
  const bins = { before: Array(12).fill(0), after: Array(12).fill(0) };
  for (const said of data.interactions.filter((one) => one.round === roundNumber())) {
    for (const part of Object.keys(bins)) {
      const rating = ratingOf(said, part);
      if (rating !== null) bins[part][Math.min(11, Math.floor((rating - LOWEST) * 2))]++;
    }
  }
  const most = Math.max(1, ...bins.before, ...bins.after);
  const width = (WIDTH - LEFT - RIGHT) / 12;
  const label = `Number of answers by ${DIMENSIONS[state.dimension]} in steps of a half; drafts: ${bins.before}; final: ${bins.after}`;
  const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
  ["before", "after"].forEach((part, p) => {
    bins[part].forEach((count, k) => {
      const height = (count / most) * (HEIGHT - TOP - BOTTOM);
      const x = LEFT + k * width + 2 + (p * (width - 4)) / 2;
      const bar = { class: `bar-${part}`, x, y: HEIGHT - BOTTOM - height, width: (width - 5) / 2, height };
      svg.append(drawn("rect", bar, drawn("title", {}, `${count}`)));
    });
    svg.append(drawn("rect", { class: `bar-${part}`, x: LEFT + p * 90, y: 3, width: 12, height: 10 }));
    svg.append(drawn("text", { x: LEFT + p * 90 + 17, y: 12 }, part === "before" ? "drafts" : "final answers"));
  });
  svg.append(drawn("text", { x: LEFT - 6, y: TOP + 4, "text-anchor": "end" }, String(most)));
  for (let rating = LOWEST; rating <= HIGHEST; rating++) {
    const x = LEFT + (rating - LOWEST) * 2 * width;
    svg.append(drawn("text", { x, y: HEIGHT - 6, "text-anchor": "middle" }, String(rating)));
  }
  svg.append(drawn("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }));
  $("spread-title").textContent = `Distribution of ${DIMENSIONS[state.dimension]} in round ${roundNumber() ?? "–"}`;
  $("spread").replaceChildren(svg);
}

// --- search

const matches = (said) => textsOf(said).some((text) => text.toLowerCase().includes(state.query));

function excerpt(said) {
  const text = textsOf(said).find((one) => one.toLowerCase().includes(state.query));
  const place = text.toLowerCase().indexOf(state.query);
  const start = Math.max(0, place - 60);
  const found = text.slice(place, place + state.query.length);
  return [start ? "…" : "", text.slice(start, place), element("mark", { textContent: found }),
    text.slice(place + found.length, place + found.length + 80)];
}

function drawResults() {
  const found = state.query ? data.interactions.filter(matches) : [];
  const shown = found.slice(0, MAX_RESULTS).map((said) => {
    const open = element("button", { type: "button", textContent: `round ${said.round}, agent ${said.agent}` });
    open.onclick = () => show({ round: data.rounds.indexOf(said.round), agent: said.agent });
    return element("li", {}, open, element("div", {}, ...excerpt(said)));
  });
  const more = found.length > MAX_RESULTS ? `; the first ${MAX_RESULTS} are shown` : "";
  $("found").textContent = state.query ? `${found.length} interactions${more}` : "";
  $("results").replaceChildren(...shown);
}

// --- control

function show(change) {
  Object.assign(state, change);
  $("round").value = state.round;
  $("round-number").textContent = `${roundNumber() ?? "–"} of ${data.rounds.at(-1) ?? "–"}`;
  drawGrid();
  drawChain();
  drawCurve();
  drawSpread();
  if ("query" in change) drawResults();
  history.replaceState(null, "", `#round=${roundNumber() ?? ""}&agent=${state.agent}`);
}

function fromAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const round = data.rounds.indexOf(Number(wanted.get("round")));
  const agent = Number(wanted.get("agent"));
  const known = Number.isInteger(agent) && agent >= 0 && agent < data.size ** 2;
  return { round: round >= 0 ? round : state.round, agent: known ? agent : 0 };
}

function stop() {
  clearInterval(timer);
  timer = null;
  $("play").textContent = "Play";
}

function play() {
  if (timer !== null) return stop();
  $("play").textContent = "Pause";
  if (state.round === data.rounds.length - 1) show({ round: 0 });
  timer = setInterval(() => {
    if (state.round >= data.rounds.length - 1) return stop();
    show({ round: state.round + 1 });
  }, PLAY_MS);
}

function listen() {
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("controls").addEventListener("change", () => {
    const chosen = new FormData($("controls"));
    show({ dimension: Number(chosen.get("dimension")), part: chosen.get("part"), observer: Number(chosen.get("observer")) });
  });
  $("round").addEventListener("input", (event) => { stop(); show({ round: Number(event.target.value) }); });
  $("play").addEventListener("click", play);
  $("play").disabled = data.rounds.length < 2;
  $("search").addEventListener("input", (event) => show({ query: event.target.value.trim().toLowerCase() }));
  window.addEventListener("hashchange", () => show(fromAddress()));
}

buildGrid();
listen();
show(fromAddress());
