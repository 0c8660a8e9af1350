// A student bundle in the browser: transformers.js on onnxruntime's WebAssembly, nothing sent anywhere.
import { env, pipeline } from "./lib/transformers.min.js";
import { classifyWhole } from "./windows.mjs";

env.allowRemoteModels = false;
env.allowLocalModels = true;
env.useBrowserCache = false;
env.backends.onnx.wasm.wasmPaths = new URL("./lib/", import.meta.url).href;
env.backends.onnx.wasm.numThreads = 1; // more need a server that isolates the page

const DTYPES = { int8: "q8", fp32: "fp32" };

async function open(manifest, name, choice) {
  const chosen = choice === "auto" ? manifest.runtime.default : choice;
  const run = await pipeline("text-classification", name, { dtype: DTYPES[chosen], device: "wasm" });
  return { manifest, chosen, classify: (text) => classifyWhole(run, manifest, text) };
}

/** A bundle that the page's own server has, by its path, which ends in a slash. */
export async function fromAddress(address, choice = "auto") {
  const url = new URL(address, location.href);
  const manifest = await (await fetch(new URL("distilshift.json", url))).json();
  env.useCustomCache = false;
  env.localModelPath = new URL("..", url).pathname; // a whole address would count as remote
  return open(manifest, url.pathname.split("/").at(-2), choice);
}

/** A bundle in a folder of this computer: the files of an <input webkitdirectory>. */
export async function fromFiles(files, choice = "auto") {
  const root = files[0].webkitRelativePath.split("/")[0];
  const held = new Map([...files].map((file) => [file.webkitRelativePath, file]));
  const file = held.get(`${root}/distilshift.json`);
  if (!file) throw new Error(`${root} is no bundle: it holds no distilshift.json`);
  // transformers.js asks this cache before it asks a server.
  env.useCustomCache = true;
  env.localModelPath = "/folder/";
  env.customCache = {
    match: async (key) => {
      const found = held.get(decodeURIComponent(new URL(key, location.href).pathname).replace("/folder/", ""));
      return found && new Response(found, { headers: { "content-length": String(found.size) } });
    },
    put: async () => {},
  };
  return open(JSON.parse(await file.text()), root, choice);
}
