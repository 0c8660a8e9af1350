// How `distilshift predict` reads a text that is too long for the model: the rules are those of windows.py and words.py in
// src/distilshift/data.

const WORDS_A_TOKEN = 0.7;
// What Python's str.split() takes for white space.
const SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;

// Scripts without spaces between words, of which each character is one.
const UNSPACED =
  "\\u0e00-\\u0eff\\u1000-\\u109f\\u1780-\\u17ff" +
  "\\u2e80-\\u2fff\\u3001-\\u312f\\u3190-\\u9fff\\uf900-\\ufaff\\uff00-\\uffef\\u{20000}-\\u{3ffff}";
const WORD = new RegExp(` ?(?:[${UNSPACED}]|[^${UNSPACED}]+)`, "gu");

/** The text's words in order; one that has white space before it, or nothing, begins with a space. */
function wordsOf(text) {
  const words = text.split(SPACE).filter(Boolean);
  return words.flatMap((word) => ` ${word}`.match(WORD));
}

/** The text cut into windows of equal numbers of words; of a text with more than `most` of them, the first ones. */
export function windowsOf(text, maxLength, most) {
  const words = wordsOf(text);
  const count = Math.min(most, Math.max(1, Math.ceil(words.length / (WORDS_A_TOKEN * maxLength))));
  if (count === 1) return [text];
  const kept = words.slice(0, Math.trunc(most * WORDS_A_TOKEN * maxLength));
  const step = kept.length / count;
  const edge = (index) => (index === count ? kept.length : Math.trunc(index * step));
  return Array.from({ length: count }, (_, index) => kept.slice(edge(index), edge(index + 1)).join("").replace(/^ /, ""));
}

/** A row of token ids, or of what goes with them, cut as Python does: the closing token stays. */
function cut(tensor, length) {
  if (tensor.data.length <= length) return tensor;
  const kept = tensor.data.slice(0, length);
  kept[length - 1] = tensor.data.at(-1);
  return new tensor.constructor(tensor.type, kept, [1, length]);
}

function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = logits.map((each) => Math.exp(each - largest));
  const sum = powers.reduce((one, other) => one + other);
  return powers.map((each) => each / sum);
}

/**
 * Labels with their mean probability over a text's windows, likeliest first, by the tokenizer and model of a
 * transformers.js pipeline of a bundle, and the bundle's distilshift.json.
 */
export async function classifyWhole({ tokenizer, model }, manifest, text) {
  const windows = windowsOf(text, manifest.max_length, manifest.runtime.max_windows);
  const scores = manifest.label_names.map(() => 0);
  for (const part of windows) {
    const inputs = Object.entries(await tokenizer(part)).map(([name, ids]) => [name, cut(ids, manifest.max_length)]);
    const { logits } = await model(Object.fromEntries(inputs));
    softmax([...logits.data]).forEach((share, index) => (scores[index] += share / windows.length));
  }
  return scores
    .map((score, index) => ({ label: manifest.label_names[index], score }))
    .sort((one, other) => other.score - one.score);
}
