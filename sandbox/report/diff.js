// What a revision changed, word by word.

const LARGEST_TABLE = 4e6; // cells; beyond it (2,000 changed words on each side) all is told as changed

// Scripts that put no space between words: each of their letters counts as one.
const UNSPACED = "[\\p{scx=Han}\\p{scx=Hira}\\p{scx=Kana}\\p{sc=Thai}\\p{sc=Laoo}\\p{sc=Khmr}\\p{sc=Mymr}]";
const WORDS = new RegExp(`\\s+|${UNSPACED}\\p{M}*|(?:(?!${UNSPACED})\\S)+`, "gu");

const wordsOf = (text) => text.match(WORDS) ?? [];

// [kind, text] pairs in order, kind "same", "del" or "ins": without "ins" they make `before`, without "del" `after`.
function wordDiff(before, after) {
  const [old, fresh] = [wordsOf(before), wordsOf(after)];
  let start = 0;
  while (start < Math.min(old.length, fresh.length) && old[start] === fresh[start]) start++;
  let end = 0;
  while (end < Math.min(old.length, fresh.length) - start && old.at(-1 - end) === fresh.at(-1 - end)) end++;
  const changed = aligned(old.slice(start, old.length - end), fresh.slice(start, fresh.length - end));
  const same = (words) => words.map((word) => ["same", word]);
  return readable(joined([...same(old.slice(0, start)), ...changed, ...same(old.slice(old.length - end))]));
}

// By the longest common subsequence.
function aligned(old, fresh) {
  const gone = old.map((word) => ["del", word]), come = fresh.map((word) => ["ins", word]);
  if (!old.length || !fresh.length || old.length * fresh.length > LARGEST_TABLE) return [...gone, ...come];
  const width = fresh.length + 1;
  const longest = new Uint16Array((old.length + 1) * width); // of old[i:] and fresh[j:]
  for (let i = old.length - 1; i >= 0; i--) {
    for (let j = fresh.length - 1; j >= 0; j--) {
      const [down, right] = [longest[(i + 1) * width + j], longest[i * width + j + 1]];
      longest[i * width + j] = old[i] === fresh[j] ? longest[(i + 1) * width + j + 1] + 1 : Math.max(down, right);
    }
  }
  const steps = [];
  let i = 0, j = 0;
  while (i < old.length && j < fresh.length) {
    if (old[i] === fresh[j]) { steps.push(["same", old[i]]); i++; j++; }
    else if (longest[(i + 1) * width + j] >= longest[i * width + j + 1]) steps.push(gone[i++]);
    else steps.push(come[j++]);
  }
  return [...steps, ...gone.slice(i), ...come.slice(j)];
}

// Neighbours of a kind in one, and of a change what went before what came.
function joined(steps) {
  const runs = [];
  let change = { del: "", ins: "" };
  const close = () => {
    for (const kind of ["del", "ins"]) if (change[kind]) runs.push([kind, change[kind]]);
    change = { del: "", ins: "" };
  };
  for (const [kind, text] of steps) {
    if (kind !== "same") change[kind] += text;
    else if (!change.del && !change.ins && runs.at(-1)?.[0] === "same") runs.at(-1)[1] += text;
    else { close(); runs.push(["same", text]); }
  }
  close();
  return runs;
}

// A few words that stayed by chance between larger changes are told as changed, too: confetti is not readable.
function readable(runs) {
  const around = (k, step) => {
    let size = 0;
    for (let at = k + step; runs[at] && runs[at][0] !== "same"; at += step) size = Math.max(size, runs[at][1].length);
    return size;
  };
  const chance = ([kind, text], k) => kind === "same" && text.length <= Math.min(around(k, -1), around(k, 1));
  const merged = runs.flatMap((run, k) => (chance(run, k) ? [["del", run[1]], ["ins", run[1]]] : [run]));
  return merged.length === runs.length ? runs : readable(joined(merged));
}
