// What was said: parcels, unpacked when they are asked for.

const KEPT = 12; // parcels that stay unpacked

const firstParcels = [0];
for (const { agents } of data.rounds) firstParcels.push(firstParcels.at(-1) + Math.ceil(agents.length / data.parcel));

const unpacked = new Map(); // parcel number → promise of its chains, the last used at the end
const arrivals = new Map(); // parcel number → what takes in the file that was asked for

async function chainAt(k, place) {
  const chains = await chainsOf(firstParcels[k] + Math.floor(place / data.parcel));
  return chains[place % data.parcel];
}

function chainsOf(number) {
  const chains = unpacked.get(number) ?? packedOf(number).then(unpack);
  unpacked.delete(number);
  unpacked.set(number, chains);
  chains.catch(() => unpacked.delete(number)); // so that it is asked for again
  if (unpacked.size > KEPT) unpacked.delete(unpacked.keys().next().value);
  return chains;
}

async function packedOf(number) {
  return data.beside.length ? loaded(number) : $(`parcel-${number}`).textContent;
}

async function unpack(packed) {
  const letters = atob(packed);
  const bytes = new Uint8Array(letters.length);
  for (let k = 0; k < letters.length; k++) bytes[k] = letters.charCodeAt(k);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

// --- files beside the page: a page that was opened as a file may load scripts, but not fetch

const besideOnly = {
  createScriptURL(name) {
    if (!/^round-[\w-]+\.js$/.test(name)) throw new TypeError(`${name} is no file of this report`);
    return `report/${name}`;
  },
};
const beside = data.beside.length ? (window.trustedTypes?.createPolicy("beside", besideOnly) ?? besideOnly) : null;

function loaded(number) {
  return new Promise((resolve, reject) => {
    const script = element("script", { src: beside.createScriptURL(data.beside[number]) });
    const lost = new Error(`report/${data.beside[number]} is not beside this page, or is of another one: write the report again with \`replay show\``);
    arrivals.set(number, resolve);
    script.onload = () => { script.remove(); reject(lost); }; // no effect where it came
    script.onerror = () => { script.remove(); reject(lost); };
    document.head.append(script);
  });
}

function receive(number, packed) {
  arrivals.get(number)?.(packed);
  arrivals.delete(number);
}
