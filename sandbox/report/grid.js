// The society: a cell an agent, and lines to the neighbours who spoke.

const MARKS = ["●", "▲", "■", "◆", "★", "✚"];
const NUMBERED = 12; // agents a side up to which a cell has room for its rating
const CLEAR = 0.3; // cells that a line keeps from the middle of the cells it joins, where their ratings are
const BEND = 0.45; // cells that a long one is pulled aside, to pass by the ratings between

const stances = [...data.stances].sort();
const markOf = (stance) => MARKS[stances.indexOf(stance) % MARKS.length];
const rowOf = (agent) => Math.floor(agent / data.size);
const columnOf = (agent) => agent % data.size;

function buildGrid() {
  const grid = $("grid");
  grid.style.gridTemplateColumns = `repeat(${data.size}, 1fr)`;
  grid.parentElement.style.setProperty("--gap", data.size <= 20 ? "3px" : data.size <= 50 ? "1px" : "0px");
  grid.classList.toggle("numbered", data.size <= NUMBERED);
  const cell = () => element("button", { type: "button", tabIndex: -1, ariaPressed: "false" });
  grid.append(...Array.from({ length: data.size ** 2 }, cell));
  grid.addEventListener("click", (event) => {
    const agent = [...grid.children].indexOf(event.target);
    if (agent >= 0) show({ agent });
  });
  grid.addEventListener("pointerover", ({ target }) => { if (target !== grid) target.title = target.ariaLabel; });
  grid.addEventListener("keydown", moveInGrid);
  $("lines").setAttribute("viewBox", `0 0 ${data.size} ${data.size}`);
  if (stances.length > 1) $("stances").append(stances.map((stance) => `${markOf(stance)} ${stance}`).join("   "));
}

function moveInGrid(event) {
  const [row, column, last] = [rowOf(state.agent), columnOf(state.agent), data.size - 1];
  const moves = {
    ArrowUp: { row: row - 1 }, ArrowDown: { row: row + 1 }, ArrowLeft: { column: column - 1 }, ArrowRight: { column: column + 1 },
    Home: { column: 0 }, End: { column: last }, PageUp: { k: state.k - 1 }, PageDown: { k: state.k + 1 },
  };
  const move = moves[event.key];
  if (!move || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  const to = { row, column, k: state.k, ...move };
  if ([to.row, to.column].some((index) => index < 0 || index > last) || !data.rounds[to.k]) return;
  show({ agent: to.row * data.size + to.column, k: to.k });
  $("grid").children[state.agent].focus();
}

function drawGrid() {
  const found = foundIn(state.k);
  [...$("grid").children].forEach((cell, agent) => {
    const place = placeOf(state.k, agent);
    const stance = place === undefined ? "" : stanceAt(state.k, place);
    const rating = ratingAt(state.k, place);
    const label = `agent ${agent}${stance && `, ${stance}`}: ${DIMENSIONS[state.dimension]} ${told(rating, 2)}`;
    if (data.size <= NUMBERED) cell.textContent = told(rating);
    cell.dataset.mark = stance && stances.length > 1 ? markOf(stance) : "";
    cell.style.background = rating === null ? "" : colour(rating);
    cell.classList.toggle("unrated", rating === null);
    cell.classList.toggle("missed", found !== null && !found.has(place));
    cell.ariaLabel = label;
  });
}

function drawChoice() {
  const place = placeOf(state.k, state.agent);
  const peers = [...new Set(place === undefined ? [] : data.rounds[state.k].peers[place])];
  const cells = $("grid").children;
  for (const cell of $("grid").querySelectorAll('.peer, [aria-pressed="true"]')) {
    cell.classList.remove("peer");
    Object.assign(cell, { ariaPressed: "false", tabIndex: -1 });
  }
  for (const peer of peers) cells[peer].classList.add("peer");
  Object.assign(cells[state.agent], { ariaPressed: "true", tabIndex: 0 });
  const ends = peers.map(lineTo);
  $("lines").replaceChildren(
    ...ends.map((d) => drawn("path", { d, class: "halo" })),
    ...ends.map((d) => drawn("path", { d })),
  );
}

// An arc, in cells, from near the middle of the chosen one to near the middle of the peer's.
function lineTo(peer) {
  const [x, y] = [columnOf(state.agent) + 0.5, rowOf(state.agent) + 0.5];
  const [right, down] = [columnOf(peer) + 0.5 - x, rowOf(peer) + 0.5 - y];
  const length = Math.hypot(right, down);
  const bend = BEND * Math.min(1, length - 1);
  const at = (share, aside = 0) =>
    `${(x + share * right - (aside * down) / length).toFixed(3)} ${(y + share * down + (aside * right) / length).toFixed(3)}`;
  return `M ${at(CLEAR / length)} Q ${at(0.5, bend)} ${at(1 - CLEAR / length)}`;
}
