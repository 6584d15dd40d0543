/** The titles that the person chose, and some to begin with. */

import { labelOf, replaceRows, stamp } from "./lists.js";

const SUGGESTED = 6;
// Whoever has picked as many has begun, and the list itself offers more.
const ENOUGH_PICKS = 3;

const at = (id) => document.getElementById(id);

/** Shows picks and dislikes; `remove(kind, item)` is told which one is to go. */
export function drawChosen(wishes, remove) {
  for (const kind of ["picks", "dislikes"]) {
    const chips = [...wishes[kind].values()].map((item) => {
      const chip = stamp("pick", { label: labelOf(item) });
      chip.classList.toggle("away", kind === "dislikes");
      const button = chip.querySelector("button");
      button.setAttribute("aria-label", `${kind === "picks" ? "Remove" : "No longer dislike"} ${labelOf(item)}`);
      button.addEventListener("click", () => remove(kind, item));
      return chip;
    });
    replaceRows(at(kind), chips, at("search"));
  }
  at("picked").hidden = wishes.picks.size === 0;
  at("disliked").hidden = wishes.dislikes.size === 0;
}

/** Shows the first of `items` that are neither picked nor disliked, until there are enough picks. */
export function drawSuggestions(items, wishes, pick) {
  const open = items.filter(({ item_id: id }) => !wishes.picks.has(id) && !wishes.dislikes.has(id));
  const chips = open.slice(0, wishes.picks.size < ENOUGH_PICKS ? SUGGESTED : 0).map((item) => {
    const chip = stamp("suggestion", { label: labelOf(item) });
    chip.querySelector("button").addEventListener("click", () => pick(item));
    return chip;
  });
  replaceRows(at("suggestions"), chips, at("search"));
  at("trial").hidden = chips.length === 0;
}
