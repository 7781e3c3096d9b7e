// One interaction, read from top to bottom: what was asked, recalled, answered, criticised and revised.

let asked = 0; // how many chains were asked for: one that comes late is not shown

async function drawChain() {
  const mine = ++asked;
  const { k, agent } = state;
  const place = placeOf(k, agent);
  $("chain-title").textContent = data.rounds[k] ? `Agent ${agent} in round ${data.rounds[k].round}` : `Agent ${agent}`;
  $("chain").setAttribute("aria-busy", "true");
  const parts = place === undefined ? [quiet("No interaction.")] : await partsAt(k, place);
  if (mine !== asked) return;
  const within = $("chain").contains(document.activeElement); // a link that led here goes; its reader stays
  $("chain").replaceChildren(...parts);
  if (within) $("chain").focus();
  $("chain").scrollTop = 0;
  $("chain").setAttribute("aria-busy", "false");
}

const partsAt = (k, place) =>
  chainAt(k, place).then((chain) => chainParts(k, place, chain), (error) => [quiet(error.message)]);

function chainParts(k, place, chain) {
  const question = questionAt(k, place);
  const several = chain.feedback.length > 1;
  return [
    aboutLine(k, place, question.topic),
    element("h3", { textContent: "Question" }), said(question.text, "question"),
    ...(chain.recalled.length ? [recalledList(chain.recalled)] : []),
    ...answerParts("Draft", chain.answers[0]),
    ...chain.feedback.flatMap((feedback, step) => [
      element("h3", { textContent: several ? `Feedback ${step + 1}` : "Feedback" }), feedbackList(feedback),
      ...answerParts(several ? `Revision ${step + 1}` : "Revision", chain.answers[step + 1], chain.answers[step]),
    ]),
    element("h3", { textContent: "Ratings" }), ratingsTable(chain.answers),
  ];
}

function aboutLine(k, place, topic) {
  const { models, outcomes } = data.rounds[k];
  const stance = stanceAt(k, place);
  const outcome = data.outcomes[outcomes[place]];
  const mark = stances.length > 1 ? `${markOf(stance)} ` : "";
  const told = [`${mark}${stance}`, data.models[models[place]], topic, outcome === "ok" ? "" : outcome];
  return element("p", { className: "about" }, ...told.filter(Boolean).map((word) => element("span", { textContent: word })));
}

const said = (text, kind = "") => element("p", { className: `said ${kind}`, textContent: text });
const quiet = (text) => element("p", { className: "quiet", textContent: text });
const textOrOutcome = (text, outcome) => (text === null ? quiet(`no text: ${outcome}`) : said(text));

function chip(rating) {
  const node = element("span", { className: "chip", textContent: told(rating, 2) });
  if (rating === null) node.classList.add("unrated");
  else node.style.background = colour(rating);
  return node;
}

// With `before`, the answer that this one revises, what changed is marked.
function answerParts(title, answer, before = null) {
  const head = element("h3", { textContent: title });
  const marked = before !== null && before.text !== null && answer.text !== null;
  if (answer.text !== null && !answer.finished) head.append(element("span", { className: "note", textContent: "cut off" }));
  if (marked) head.append(marksSwitch());
  const text = marked ? differenceOf(before.text, answer.text) : textOrOutcome(answer.text, answer.outcome);
  return [head, element("div", { className: "answer" }, text)];
}

function marksSwitch() {
  const box = element("input", { type: "checkbox", checked: state.marks });
  box.addEventListener("change", () => mark(box.checked));
  return element("label", { className: "note" }, box, " mark changes");
}

// By style alone: drawn anew, the chain would lose its reader's place.
function mark(marks) {
  state.marks = marks;
  $("chain").classList.toggle("unmarked", !marks);
  for (const box of $("chain").querySelectorAll("h3 input")) box.checked = marks;
}

function differenceOf(before, after) {
  const runs = wordDiff(before, after);
  if (runs.every(([kind]) => kind === "same")) return element("div", {}, said(after), quiet("unchanged"));
  const tags = { same: "span", del: "del", ins: "ins" };
  return element("p", { className: "said" }, ...runs.map(([kind, text]) => element(tags[kind], { textContent: text })));
}

function feedbackList(feedback) {
  const rows = feedback.map((given) => {
    const peer = linkTo(state.k, given.peer, `agent ${given.peer}`);
    return element("li", {}, chip(given.rating), element("div", {}, peer, textOrOutcome(given.reason, given.outcome)));
  });
  return rows.length ? element("ul", { className: "rows" }, ...rows) : quiet("No neighbour was asked.");
}

function recalledList(recalled) {
  const rows = recalled.map((memory) => {
    const words = element("div", {}, said(memory.question, "quiet"), said(memory.answer));
    return element("li", {}, element("span", { className: "similarity", textContent: memory.similarity.toFixed(2) }), words);
  });
  return element("details", { open: state.recalled, ontoggle: (event) => { state.recalled = event.target.open; } },
    element("summary", { textContent: `Recalled: ${recalled.length}` }),
    element("ul", { className: "rows" }, ...rows));
}

function ratingsTable(answers) {
  const names = answers.map((_, step) => (step === 0 ? "draft" : answers.length > 2 ? `revision ${step}` : "revision"));
  const head = element("tr", {}, element("td"), ...names.map((name) => element("th", { scope: "col", textContent: name })));
  const rows = data.observers.flatMap((name, o) => DIMENSIONS.map((dimension, d) =>
    element("tr", {},
      element("th", { scope: "row", textContent: `${dimension} by ${name}` }),
      ...answers.map((answer) => element("td", {}, chip(answer.ratings[o][d])))),
  ));
  return element("table", { className: "ratings" }, element("thead", {}, head), element("tbody", {}, ...rows));
}
