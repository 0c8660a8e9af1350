// Labels and scores of texts by transformers.js, as JSON: node classify.mjs FOLDER BUNDLE DTYPE < texts.json
import { readFileSync } from "node:fs";
import { env, pipeline } from "@huggingface/transformers";
import { classifyWhole } from "../../examples/browser/windows.mjs";

const [folder, bundle, dtype] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = folder;
const classify = await pipeline("text-classification", bundle, { dtype });
const manifest = JSON.parse(readFileSync(`${folder}/${bundle}/distilshift.json`, "utf8"));
const rows = [];
for (const text of JSON.parse(readFileSync(0, "utf8"))) rows.push(await classifyWhole(classify, manifest, text));
console.log(JSON.stringify(rows));
