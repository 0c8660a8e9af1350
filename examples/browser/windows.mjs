// How `distilshift predict` reads a text that is too long for the model: the rules are those of windows.py and tokens.py in
// src/distilshift.

// A cut moves to the start of a word if one is within this share of the room.
const SLACK = 1 / 8;
const starts = new WeakMap(); // what `startingWords` found, by tokenizer

/** Runs [start, end) of a text of `size` tokens: as few as fit, of similar sizes, each from a word's start if one is near. */
export function cuts(size, room, most, startsWord) {
  const count = Math.max(1, Math.min(most, Math.ceil(size / room)));
  const slack = Math.trunc(room * SLACK);
  const runs = [];
  let start = 0;
  for (let left = count - 1; left > 0; left--) {
    const even = start + Math.min(room, Math.ceil((size - start) / (left + 1)));
    // The runs that are left must hold the rest, unless the text is too long for that anyway.
    const first = Math.max(even - slack, size <= most * room ? size - left * room : 0);
    const last = Math.min(even + slack, start + room);
    const near = Array.from({ length: slack + 1 }, (_, step) => [even - step, even + step]).flat();
    const end = near.find((place) => first <= place && place <= last && startsWord(place)) ?? even;
    runs.push([start, end]);
    start = end;
  }
  return [...runs, [start, Math.min(size, start + room)]];
}

/** Whether the piece of an id begins a word, as the vocabulary's most frequent mark has it. */
export function startingWords(vocabulary) {
  const pieces = [...vocabulary];
  const continues = new Set(pieces.filter(([piece]) => piece.length > 2 && piece.startsWith("##")).map(([, id]) => id));
  const [one, other] = ["▁", "Ġ"].map((mark) => new Set(pieces.filter(([piece]) => piece.startsWith(mark)).map(([, id]) => id)));
  const begins = other.size > one.size ? other : one;
  return begins.size > continues.size ? (id) => begins.has(id) : (id) => !continues.has(id);
}

function startsOf(tokenizer) {
  if (!starts.has(tokenizer)) starts.set(tokenizer, startingWords(tokenizer.get_vocab()));
  return starts.get(tokenizer);
}

/** The entries of a tensor of one row at these places, as such a tensor. */
function pick(tensor, places) {
  const data = tensor.data.constructor.from(places, (place) => tensor.data[place]);
  return new tensor.constructor(tensor.type, data, [1, places.length]);
}

const range = (first, last) => Array.from({ length: last - first }, (_, index) => first + index);

/** The model's inputs for each window of a text or a pair, in order, by the tokenizer of a transformers.js pipeline. */
export function windowsOf(tokenizer, maxLength, most, text, pair = null) {
  const whole = tokenizer(text, { text_pair: pair });
  const size = whole.input_ids.data.length;
  if (size <= maxLength) return [whole];
  const sides = (pair ? [text, pair] : [text]).map((side) => tokenizer.encode(side, { add_special_tokens: false }));
  const lengths = sides.map((side) => side.length);
  const room = maxLength - size + lengths.reduce((one, two) => one + two);
  const cut = pair && lengths[1] < lengths[0] ? 0 : sides.length - 1; // the longer one
  const kept = Math.min(lengths[1 - cut] ?? 0, Math.trunc(room / 2)); // of the other
  const startsWord = startsOf(tokenizer);
  const runs = cuts(lengths[cut], room - kept, most, (place) => startsWord(sides[cut][place]));
  // Where the sides are: after the special tokens that stand before a text, and before those at the end.
  const probe = tokenizer.pad_token;
  const framed = tokenizer.tokenize(probe, { pair: pair && probe, add_special_tokens: true });
  const end = size - (framed.length - 1 - framed.lastIndexOf(probe));
  const froms = [framed.indexOf(probe), ...(pair ? [end - lengths[1]] : [])];
  return runs.map((run) => {
    const spans = froms.map((from, side) => (side === cut ? run : [0, kept]).map((place) => from + place));
    const between = pair ? range(froms[0] + lengths[0], froms[1]) : [];
    const [own, second] = spans.map(([first, last]) => range(first, last));
    const places = [...range(0, froms[0]), ...own, ...between, ...(second ?? []), ...range(end, size)];
    return Object.fromEntries(Object.entries(whole).map(([name, tensor]) => [name, pick(tensor, places)]));
  });
}

function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = logits.map((each) => Math.exp(each - largest));
  const sum = powers.reduce((one, other) => one + other);
  return powers.map((each) => each / sum);
}

/**
 * Labels with their mean probability over the windows of a text or a pair, likeliest first, by the tokenizer and model of
 * a transformers.js pipeline of a bundle, and the bundle's distilshift.json.
 */
export async function classifyWhole({ tokenizer, model }, manifest, text, pair = null) {
  const windows = windowsOf(tokenizer, manifest.max_length, manifest.runtime.max_windows, text, pair);
  const scores = manifest.label_names.map(() => 0);
  for (const inputs of windows) {
    const { logits } = await model(inputs);
    softmax([...logits.data]).forEach((share, index) => (scores[index] += share / windows.length));
  }
  return scores
    .map((score, index) => ({ label: manifest.label_names[index], score }))
    .sort((one, other) => other.score - one.score);
}
