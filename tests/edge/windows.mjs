// Windows of texts by a tokenizer that answers from a table, as JSON: node windows.mjs < cases.json
import { readFileSync } from "node:fs";
import { cuts, windowsOf } from "../../examples/browser/windows.mjs";

const { runs, vocabulary, pad, framed, rows, texts, length, most } = JSON.parse(readFileSync(0, "utf8"));

class Tensor {
  constructor(type, data, dims) {
    Object.assign(this, { type, data, dims });
  }
}

function tokenizer(text, { text_pair = null } = {}) {
  const tensors = Object.entries(rows[JSON.stringify(text_pair === null ? [text] : [text, text_pair])].inputs).map(
    ([name, values]) => [name, new Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length])],
  );
  return Object.fromEntries(tensors);
}

tokenizer.pad_token = pad;
tokenizer.get_vocab = () => new Map(Object.entries(vocabulary));
tokenizer.encode = (text) => rows[JSON.stringify([text])].bare;
tokenizer.tokenize = (text, { pair }) => framed[pair ? 1 : 0];

const plain = (inputs) => Object.fromEntries(Object.entries(inputs).map(([name, { data }]) => [name, Array.from(data, Number)]));
const windows = texts.map((sides) => windowsOf(tokenizer, length, most, ...sides).map(plain));
console.log(JSON.stringify({ runs: runs.map(([size, room, many, starts]) => cuts(size, room, many, (at) => starts[at])), windows }));
