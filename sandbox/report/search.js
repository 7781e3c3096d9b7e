// Search by words and topic. Rounds are unpacked one after the other, and the page stays alive meanwhile.

const MAX_RESULTS = 100;
const WAIT_MS = 200; // after a key, for the next one
const BREATH_MS = 12; // of work before the page may draw

let searches = 0; // how many were begun: a later one ends those before
let hits = null; // a set of places a round, or null where nothing is searched for
let due = null;

const foundIn = (k) => (hits === null ? null : hits[k] ?? new Set());
const literal = (text) => new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "iu");

function buildSearch() {
  const topics = [...new Set(data.questions.map(({ topic }) => topic))].filter(Boolean).sort();
  $("topic").append(...topics.map((topic) => element("option", { value: topic, textContent: topic })));
  $("find").addEventListener("submit", (event) => event.preventDefault());
  $("find").addEventListener("input", () => {
    clearTimeout(due);
    due = setTimeout(search, WAIT_MS, $("words").value.trim(), $("topic").value);
  });
}

async function search(text, topic) {
  const mine = ++searches;
  hits = text || topic ? [] : null;
  $("results").replaceChildren();
  $("found").textContent = "";
  drawGrid();
  if (hits === null) return;
  let count = 0, breath = performance.now();
  try {
    for (let k = 0; k < data.rounds.length; k++) {
      hits[k] = new Set();
      for (const place of data.rounds[k].agents.keys()) {
        const found = topic && questionAt(k, place).topic !== topic ? null : await match(k, place, text);
        if (performance.now() - breath > BREATH_MS) {
          await new Promise((resume) => setTimeout(resume));
          breath = performance.now();
        }
        if (mine !== searches) return;
        if (found === null) continue;
        hits[k].add(place);
        if (++count <= MAX_RESULTS) $("results").append(result(k, place, found));
      }
      $("found").textContent = `${counted(count)} · searched ${k + 1} of ${data.rounds.length} rounds`;
      if (k === state.k) drawGrid();
    }
    $("found").textContent = `${counted(count)}${count > MAX_RESULTS ? `; the first ${MAX_RESULTS} are shown` : ""}`;
  } catch (error) {
    if (mine === searches) $("found").textContent = error.message;
  }
}

const counted = (count) => `${count} interaction${count === 1 ? "" : "s"} found`;

// The text that holds the words, cut where they stand: [before, the words, after]; null where none does.
async function match(k, place, text) {
  const question = questionAt(k, place).text;
  if (!text) return ["", "", question];
  const pattern = literal(text);
  return cut(question, pattern) ?? cutAny(await chainAt(k, place), pattern);
}

function cutAny({ answers, feedback }, pattern) {
  const texts = [...answers.map((answer) => answer.text), ...feedback.flat().map((given) => given.reason)];
  for (const text of texts) {
    const found = text === null ? null : cut(text, pattern);
    if (found !== null) return found;
  }
  return null;
}

function cut(text, pattern) {
  const found = pattern.exec(text);
  return found && [text.slice(0, found.index), found[0], text.slice(found.index + found[0].length)];
}

function result(k, place, [before, found, after]) {
  const { round, agents } = data.rounds[k];
  const open = linkTo(k, agents[place], `round ${round}, agent ${agents[place]}`);
  open.addEventListener("click", () => $("chain").focus());
  const excerpt = [before.length > 60 ? `…${before.slice(-60)}` : before, element("mark", { textContent: found }), after.slice(0, 90)];
  return element("li", {}, open, element("div", {}, ...excerpt, after.length > 90 ? "…" : ""));
}
