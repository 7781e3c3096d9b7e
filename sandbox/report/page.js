// What is chosen, and everything that changes it.

const PLAY_MS = 1200;
const ADDRESS_MS = 150; // browsers refuse an address that changes too often

const state = { k: data.rounds.length - 1, agent: 0, dimension: 0, moment: "after", observer: 0, marks: true, recalled: false };
let timer = null;
let addressDue = null;

function show(change) {
  Object.assign(state, change);
  const round = data.rounds[state.k]?.round;
  $("round").value = state.k;
  $("round").ariaValueText = $("round-number").textContent = data.rounds.length ? `${round} of ${data.rounds.at(-1).round}` : "–";
  const others = Object.keys(change).some((name) => name !== "agent");
  if (others) {
    drawGrid();
    drawCurve();
    drawPlane();
    drawSpread();
  }
  drawChoice();
  drawChain();
  clearTimeout(addressDue);
  addressDue = setTimeout(() => history.replaceState(null, "", addressOf(state.k, state.agent)), ADDRESS_MS);
}

const addressOf = (k, agent) => `#round=${data.rounds[k]?.round ?? ""}&agent=${agent}`;

// A link, so that the browser's Back leads to where its reader came from.
const linkTo = (k, agent, textContent) => element("a", { className: "link", href: addressOf(k, agent), textContent });

function fromAddress(address) {
  const wanted = new URLSearchParams(new URL(address).hash.slice(1));
  const k = data.rounds.findIndex(({ round }) => round === Number(wanted.get("round")));
  const agent = Number(wanted.get("agent"));
  const known = Number.isInteger(agent) && agent >= 0 && agent < data.size ** 2;
  return { k: k >= 0 ? k : state.k, agent: known ? agent : 0 };
}

function stop() {
  clearInterval(timer);
  timer = null;
  $("play").textContent = "Play";
}

function play() {
  if (timer !== null) return stop();
  $("play").textContent = "Pause";
  if (state.k === data.rounds.length - 1) show({ k: 0 });
  timer = setInterval(() => {
    show({ k: state.k + 1 });
    if (state.k >= data.rounds.length - 1) stop();
  }, PLAY_MS);
}

function listen() {
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("controls").addEventListener("change", (event) => {
    if (event.target === $("round")) return;
    const chosen = new FormData($("controls"));
    show({ dimension: Number(chosen.get("dimension")), moment: chosen.get("moment"), observer: Number(chosen.get("observer")) });
  });
  $("round").addEventListener("input", (event) => { stop(); show({ k: Number(event.target.value) }); });
  $("play").addEventListener("click", play);
  $("play").disabled = data.rounds.length < 2;
  // The event's address: that of the page may meanwhile have been put back by the one still due.
  window.addEventListener("hashchange", ({ newURL }) => show(fromAddress(newURL)));
}

buildGrid();
buildSearch();
listen();
show(fromAddress(location.href));
