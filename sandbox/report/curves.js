// What became of ratings: means by round, alignment against engagement, and their distribution.

const WIDTH = 420, HEIGHT = 260, LEFT = 32, RIGHT = 14, TOP = 34, BOTTOM = 36;
const STEPS = [0.05, 0.1, 0.2, 0.5, 1];
const MANY = 20; // rounds from which on their dots and lines are drawn thinner
const NAMES = { before: "drafts", after: "final answers" };

const curvesNow = () => data.curves[data.observers[state.observer]];
const between = (share, from, to) => from + share * (to - from);
const yOf = (rating) => between((rating - LOWEST) / (HIGHEST - LOWEST), HEIGHT - BOTTOM, TOP);

const many = () => data.rounds.length > MANY;

function picture(label) {
  const about = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label, class: many() ? "many" : "" };
  return drawn("svg", about);
}

const line = (kind, x1, y1, x2, y2) => drawn("line", { class: kind, x1, y1, x2, y2 });
const words = (x, y, text, anchor = "start") => drawn("text", { x, y, "text-anchor": anchor }, text);
const path = (kind, points) => drawn("polyline", { class: kind, points: points.map((point) => point.join()).join(" ") });

function dot(kind, [cx, cy], about, r = many() ? 2 : 3) {
  return drawn("circle", { class: kind, cx, cy, r }, drawn("title", {}, about));
}

// --- means by round

function drawCurve() {
  const last = Math.max(1, data.rounds.length - 1);
  const xOf = (k) => between(k / last, LEFT + 6, WIDTH - RIGHT - 6);
  const curves = curvesNow();
  const inWords = DIMENSIONS.map((d) => `${d} of final answers: ${curves[d].after.map((mean) => told(mean)).join(", ")}`);
  const svg = picture(`Mean ratings by round. ${inWords.join("; ")}`);
  for (let rating = LOWEST; rating <= HIGHEST; rating++) {
    svg.append(line("axis", LEFT, yOf(rating), WIDTH - RIGHT, yOf(rating)), words(LEFT - 8, yOf(rating) + 4, String(rating), "end"));
  }
  const apart = [1, 2, 5, 10, 20, 50, 100].find((size) => data.rounds.length / size <= 10) ?? 1000;
  data.rounds.forEach(({ round }, k) => {
    if (round % apart === 0) svg.append(words(xOf(k), HEIGHT - 14, String(round), "middle"));
  });
  if (data.rounds.length) svg.append(line("now", xOf(state.k), TOP, xOf(state.k), HEIGHT - BOTTOM));
  DIMENSIONS.forEach((dimension) => MOMENTS.forEach((moment) => {
    const kind = `${dimension} ${moment}`;
    const means = curves[dimension][moment].map((mean, k) => [k, mean]).filter(([, mean]) => mean !== null);
    svg.append(path(kind, means.map(([k, mean]) => [xOf(k), yOf(mean)])));
    for (const [k, mean] of means) {
      svg.append(dot(kind, [xOf(k), yOf(mean)], `round ${data.rounds[k].round}: ${dimension} of ${NAMES[moment]} ${told(mean, 2)}`));
    }
  }));
  const keys = [["alignment", 0], ["engagement", 105], ["key before", 225], ["key", 312]];
  for (const [kind, x] of keys) svg.append(line(kind, x, 10, x + 18, 10));
  ["alignment", "engagement", "drafts", "final"].forEach((name, k) => svg.append(words(keys[k][1] + 24, 14, name)));
  $("curve").replaceChildren(svg);
}

// --- alignment against engagement

// Round numbers around `values`, which move little on a scale of 1 to 7.
function range(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const step = STEPS.find((size) => (high - low) / size <= 5) ?? 1;
  const from = Math.max(LOWEST, Math.floor(low / step - 0.5) * step);
  const to = Math.min(HIGHEST, Math.ceil(high / step + 0.5) * step);
  const ticks = Array.from({ length: Math.round((to - from) / step) + 1 }, (_, k) => from + k * step);
  return { from, to, ticks, digits: step < 0.1 ? 2 : 1 };
}

function drawPlane() {
  const { alignment, engagement } = curvesNow();
  const tracks = MOMENTS.map((moment) =>
    alignment[moment].map((mean, k) => ({ k, at: [mean, engagement[moment][k]] })).filter(({ at }) => !at.includes(null)));
  const points = tracks.flat().map(({ at }) => at);
  if (!points.length) return void $("plane").replaceChildren(quiet("Nothing is rated."));
  const [across, up] = [0, 1].map((d) => range(points.map((point) => point[d])));
  const place = ([a, e]) => [
    between((a - across.from) / (across.to - across.from), LEFT + 6, WIDTH - RIGHT - 6),
    between((e - up.from) / (up.to - up.from), HEIGHT - BOTTOM, TOP),
  ];
  const svg = picture(`Mean alignment and engagement by round. ${inWords(tracks[1])}`);
  for (const tick of across.ticks) {
    const [x] = place([tick, up.from]);
    svg.append(line("axis", x, TOP, x, HEIGHT - BOTTOM), words(x, HEIGHT - 18, tick.toFixed(across.digits), "middle"));
  }
  for (const tick of up.ticks) {
    const [, y] = place([across.from, tick]);
    svg.append(line("axis", LEFT, y, WIDTH - RIGHT, y), words(LEFT - 6, y + 4, tick.toFixed(up.digits), "end"));
  }
  svg.append(words(WIDTH - RIGHT, HEIGHT - 3, "alignment →", "end"), words(0, 14, "engagement ↑"));
  const [draft, final] = tracks.map((track) => track.find(({ k }) => k === state.k));
  if (draft && final) svg.append(line("turn", ...place(draft.at), ...place(final.at)));
  tracks.forEach((track, m) => {
    const kind = `track ${MOMENTS[m]}`;
    svg.append(path(kind, track.map(({ at }) => place(at))));
    for (const { k, at } of track) {
      const about = `round ${data.rounds[k].round}, ${NAMES[MOMENTS[m]]}: alignment ${told(at[0], 2)}, engagement ${told(at[1], 2)}`;
      svg.append(dot(kind, place(at), about, k === state.k ? 6 : undefined));
      if (k === state.k) svg.append(words(place(at)[0], place(at)[1] - 10, String(data.rounds[k].round), "middle"));
    }
    svg.append(dot(kind, [150 + m * 80, 10], NAMES[MOMENTS[m]], 4), words(160 + m * 80, 14, NAMES[MOMENTS[m]]));
  });
  $("plane").replaceChildren(svg);
}

const inWords = (track) => track.map(({ k, at }) => `round ${data.rounds[k].round}: ${told(at[0])}, ${told(at[1])}`).join("; ");

// --- distribution

function bins(ratings) {
  const counts = Array(2 * (HIGHEST - LOWEST)).fill(0);
  for (const rating of ratings) if (rating !== null) counts[Math.min(counts.length - 1, Math.floor((rating - LOWEST) * 2))]++;
  return counts;
}

function drawSpread() {
  const [before, after] = MOMENTS.map((moment) => bins(data.rounds[state.k]?.ratings[moment][state.observer][state.dimension] ?? []));
  const most = Math.max(1, ...before, ...after);
  const width = (WIDTH - LEFT - RIGHT) / before.length;
  const about = `Answers by ${DIMENSIONS[state.dimension]} in steps of a half, from 1; drafts: ${before.join(", ")}; final: ${after.join(", ")}`;
  const svg = picture(about);
  [before, after].forEach((counts, m) => {
    const kind = `bar ${MOMENTS[m]}`;
    counts.forEach((count, k) => {
      const height = (count / most) * (HEIGHT - TOP - BOTTOM);
      const x = LEFT + k * width + 3 + (m * (width - 6)) / 2;
      const from = LOWEST + k / 2;
      const title = drawn("title", {}, `${count} ${NAMES[MOMENTS[m]]} from ${from} to ${from + 0.5}`);
      svg.append(drawn("rect", { class: kind, x, y: HEIGHT - BOTTOM - height, width: (width - 7) / 2, height }, title));
    });
    svg.append(drawn("rect", { class: kind, x: m * 80, y: 4, width: 12, height: 12, rx: 2 }));
    svg.append(words(18 + m * 80, 14, NAMES[MOMENTS[m]]));
  });
  svg.append(line("axis", LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM), words(LEFT - 8, TOP + 6, String(most), "end"));
  for (let rating = LOWEST; rating <= HIGHEST; rating++) {
    svg.append(words(LEFT + (rating - LOWEST) * 2 * width, HEIGHT - 14, String(rating), "middle"));
  }
  $("spread-title").textContent = `Distribution of ${DIMENSIONS[state.dimension]}${data.rounds[state.k] ? ` in round ${data.rounds[state.k].round}` : ""}`;
  $("spread").replaceChildren(svg);
}
