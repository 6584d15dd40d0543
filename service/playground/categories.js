/** The categories of the items that were seen, each of which can be asked for or kept away. */

import { replaceRows, stamp } from "./lists.js";

// As many as one overlooks; of a catalogue of tags, those that most of the items seen have.
const MOST_SHOWN = 20;

const NEXT = { either: "any", any: "none", none: "either" };
const MARKS = { either: "", any: "✓ ", none: "✕ " };
const SAID = { either: "", any: ": only these", none: ": none of these" };

const at = (id) => document.getElementById(id);
let known = []; // in the order in which they stand on the page

/** Learns the categories of items. What stands on the page keeps its place, new ones follow. */
export function learnCategories(items) {
  const counts = new Map();
  for (const category of items.flatMap((item) => item.categories ?? [])) {
    counts.set(category, (counts.get(category) ?? 0) + 1);
  }
  const byCount = [...counts.keys()].sort((one, other) => counts.get(other) - counts.get(one));
  known = [...new Set([...known, ...byCount])].slice(0, MOST_SHOWN);
}

/** Forgets all of it: another model has another catalogue. */
export function forgetCategories() {
  known = [];
}

/** Shows a button for each category; `changed()` is told of every press. */
export function drawCategories(wishes, changed) {
  const names = [...new Set([...known, ...wishes.categories.keys()])];
  replaceRows(at("category-chips"), names.map((name) => chipOf(name, wishes, changed)), at("search"));
  at("categories").hidden = names.length === 0;
}

function chipOf(name, wishes, changed) {
  const choice = wishes.categories.get(name) ?? "either";
  const chip = stamp("category", { mark: MARKS[choice], label: name });
  const button = chip.querySelector("button");
  button.setAttribute("aria-label", name + SAID[choice]);
  button.dataset.choice = choice;
  button.addEventListener("click", () => {
    if (NEXT[choice] === "either") wishes.categories.delete(name);
    else wishes.categories.set(name, NEXT[choice]);
    changed();
  });
  return chip;
}
