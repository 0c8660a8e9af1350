import { fromAddress, fromFiles } from "./classify.js";

const [folder, files, state, text, labels, note] = ["folder", "files", "state", "text", "labels", "note"].map((id) =>
  document.getElementById(id),
);
let student;
let turn = 0;

async function load(opening, name) {
  state.textContent = `Loading ${name} …`;
  folder.className = "folder";
  try {
    student = await opening;
  } catch (error) {
    state.textContent = error.message;
    folder.classList.add("wrong");
    return;
  }
  state.textContent = `${name}: ${student.manifest.label_names.join(", ")} (${student.chosen})`;
  folder.classList.add("ready");
  text.disabled = false;
  text.focus();
  await label();
}

function row({ label, score }) {
  const item = document.createElement("li");
  const name = document.createElement("span");
  const share = document.createElement("span");
  const bar = document.createElement("meter");
  name.textContent = label;
  share.textContent = `${(100 * score).toFixed(1)} %`;
  bar.value = score;
  item.append(name, share, bar);
  return item;
}

async function label() {
  const mine = ++turn;
  const typed = text.value.trim();
  if (!student || !typed) {
    labels.replaceChildren();
    note.textContent = "";
    return;
  }
  const start = performance.now();
  const found = await student.classify(typed);
  if (mine !== turn) return; // typed on meanwhile
  labels.replaceChildren(...found.map(row));
  note.textContent = `${(performance.now() - start).toFixed(0)} ms`;
}

text.addEventListener("input", label);
files.addEventListener("change", () => {
  if (files.files.length) load(fromFiles(files.files), files.files[0].webkitRelativePath.split("/")[0]);
});

const asked = new URLSearchParams(location.search);
if (asked.has("text")) text.value = asked.get("text");
if (asked.has("bundle")) load(fromAddress(asked.get("bundle")), asked.get("bundle"));
