/** The sliders on dimensions of the latent, each with what it raises to either side. */

import { labelOf, stamp } from "./lists.js";
import { showPlace } from "./sliders.js";
import { signed } from "./words.js";

// Titles that a side without a telling category is named by.
const NAMING_TITLES = 2;

const at = (id) => document.getElementById(id);
let rows = new Map(); // dimension, as text -> its row

/** Forgets all of them: another model has others. */
export function forgetDimensions() {
  rows = new Map();
}

/**
 * Takes the dimensions of GET /models/{name}/dimensions, and moves no other one.
 * `changed()` is told of every move.
 */
export function learnDimensions(dimensions, wishes, changed) {
  rows = new Map(dimensions.map((one) => [String(one.dimension), rowOf(one, wishes, changed)]));
  at("dimensions").replaceChildren(...rows.values());
  for (const dimension of wishes.steer.keys()) if (!rows.has(dimension)) wishes.steer.delete(dimension);
}

/** Whether the dimensions of the model are here. */
export const knowsDimensions = () => rows.size > 0;

/** Shows where the sliders are. */
export function drawDimensions(wishes) {
  const isAbsent = rows.size === 0 || wishes.refused.has("steer");
  if (isAbsent && at("steer").contains(document.activeElement)) at("tune").querySelector("summary").focus();
  at("steer").hidden = isAbsent;
  for (const [dimension, row] of rows) {
    const slider = row.querySelector("input");
    slider.value = wishes.steer.get(dimension) ?? 0;
    showPlace(slider, row.querySelector(".said"), signed(slider.valueAsNumber));
  }
}

function rowOf({ dimension, above, below }, wishes, changed) {
  const row = stamp("dimension", {
    label: `Dimension ${dimension}`,
    below: sideOf(below),
    above: sideOf(above),
    heard: `Less: ${titlesOf(below)}. More: ${titlesOf(above)}.`,
  });
  const slider = row.querySelector("input");
  slider.id = `dimension-${dimension}`;
  row.querySelector("label").htmlFor = slider.id;
  const hint = row.querySelector(".ends");
  hint.id = `${slider.id}-ends`;
  slider.setAttribute("aria-describedby", hint.id);
  slider.addEventListener("input", () => {
    wishes.move(String(dimension), slider.valueAsNumber);
    changed();
  });
  return row;
}

/** Names a side by its categories, or by titles where no category tells. */
const sideOf = (side) => side.categories.join(", ") || titlesOf(side);

const titlesOf = ({ items }) => items.slice(0, NAMING_TITLES).map(labelOf).join(", ");
