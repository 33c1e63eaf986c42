// The page: what a user brings, and the results of it.

import { ask } from "./ask.js";
import { Card, nameOf } from "./card.js";
import { complain, element, make, pictured } from "./show.js";
import { prepareSlides } from "./slide.js";

const MOST = 100; // images at once

const form = element("settings");
const cards = new Set();
let run;
let firstExample = 0;

function settings() {
  const { kind, alpha, method } = form.elements;
  return { kind: kind.value, alpha: alpha?.value, method: method.value };
}

function add(sources) {
  const some = sources.slice(0, MOST);
  complain(
    element("problem"),
    sources.length > MOST
      ? `Only the first ${MOST} of ${sources.length} images are taken.`
      : "",
  );
  for (const source of some) {
    const card = new Card(run, source, settings, removed);
    cards.add(card);
    element("results").prepend(card.place);
    card.load().then((line) => {
      element("status").textContent = line;
    });
  }
  form.hidden = !cards.size;
}

function removed(card) {
  cards.delete(card);
  form.hidden = !cards.size;
}

function addFiles(files) {
  add([...files].map((file) => ({ name: file.name, file, fields: {} })));
}

async function showExamples() {
  if (!run.examples) return;
  try {
    const images = await ask("/examples", { start: firstExample });
    firstExample = (firstExample + images.length) % run.examples;
    element("strip").replaceChildren(...images.map(exampleOf));
    element("examples").hidden = false;
  } catch (error) {
    complain(element("problem"), error.message);
  }
}

function exampleOf({ row, name, label, image }) {
  const button = make("button", "", { type: "button", title: name });
  button.setAttribute("aria-label", `Classify ${name}, ${label}`);
  button.append(...pictured(image, label));
  button.onclick = () => add([{ name, fields: { example: row } }]);
  const item = make("li");
  item.append(button);
  return item;
}

function prepareSettings() {
  element("probabilities").hidden = !run.calibrated;
  const alphas = element("alphas");
  alphas.hidden = !run.alphas.length;
  const usual = run.alphas.includes(0.1) ? 0.1 : run.alphas[0];
  for (const alpha of run.alphas) {
    const label = make("label");
    const button = make("input", "", { type: "radio", name: "alpha" });
    button.value = alpha;
    button.checked = alpha === usual;
    label.append(button, make("span", `${Math.round(100 * alpha)} %`));
    alphas.append(label);
  }
  const { method, opacity } = form.elements;
  method.replaceChildren(
    ...run.methods.map((x) => make("option", nameOf(x), { value: x })),
  );
  form.onchange = ({ target }) => {
    for (const card of cards) {
      if (target === method) card.explain();
      else card.show();
    }
  };
  const lay = () =>
    element("results").style.setProperty("--opacity", opacity.value / 100);
  opacity.oninput = lay;
  lay();
  form.onsubmit = (event) => event.preventDefault();
  element("clear").onclick = () => {
    cards.clear();
    element("results").replaceChildren();
    form.hidden = true;
    element("files").focus();
  };
}

function prepareFiles() {
  const input = element("files");
  input.accept = run.accept;
  input.onchange = () => {
    addFiles(input.files);
    input.value = ""; // so that the same file may be chosen again
  };
  const isOfFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!isOfFiles(event)) return;
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dragging");
  });
  document.addEventListener("drop", (event) => {
    if (!isOfFiles(event)) return;
    event.preventDefault();
    document.body.classList.remove("dragging");
    addFiles(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    const { files } = event.clipboardData;
    if (files.length) addFiles(files);
  });
}

function describe() {
  document.title = `${run.title} – mn-jax demo`;
  element("title").textContent = run.title;
  const facts = [run.results, `step ${run.step}`, run.workdir];
  element("about").textContent = facts.filter(Boolean).join(" · ");
  const missing = element("missing");
  missing.hidden = !run.missing.length;
  for (const { what, why } of run.missing) {
    missing.querySelector("dl").append(make("dt", what), make("dd", why));
  }
}

try {
  run = await ask("/run");
  describe();
  prepareSettings();
  prepareFiles();
  prepareSlides(run);
  await showExamples();
  element("others").onclick = showExamples;
} catch (error) {
  complain(element("problem"), error.message);
}
