/** The sliders that say what a list should be like. */

import { CONTROLS } from "./wishes.js";

const at = (id) => document.getElementById(id);

/** What a slider is called on the page, within a sentence. */
export const nameOf = (control) => document.querySelector(`label[for=${control}]`).textContent.toLowerCase();

/** Joins the sliders to the wishes; `changed()` is told of every move. */
export function sliders(wishes, changed) {
  for (const name of CONTROLS) {
    at(name).addEventListener("input", () => {
      wishes.controls.set(name, at(name).valueAsNumber);
      changed();
    });
  }
  at("redraw").addEventListener("click", () => {
    wishes.redraw();
    changed();
  });
}

/** Takes the wishes into the range of their sliders: an address may ask for anything. */
export function limitToSliders(wishes) {
  for (const name of CONTROLS) {
    at(name).value = wishes.controls.get(name);
    wishes.controls.set(name, at(name).valueAsNumber);
  }
}

/** Shows where the sliders are, without those that the model has nothing for. */
export function drawSliders(wishes) {
  const absent = CONTROLS.filter((name) => wishes.refused.has(name));
  for (const name of CONTROLS) {
    const slider = at(name);
    const place = wishes.placeOf(name);
    slider.value = place;
    showPlace(slider, at(`${name}-said`), place > 0 ? String(place) : "off");
    const row = slider.closest(".slider");
    if (absent.includes(name) && row.contains(document.activeElement)) at("tune").querySelector("summary").focus();
    row.hidden = absent.includes(name);
  }
  const said = absent.length > 0 ? `Not with this model: ${absent.map(nameOf).join(", ")}.` : "";
  // Only when it changes: a live region may repeat what is written again.
  if (at("refused").textContent !== said) at("refused").textContent = said;
  at("redraw").hidden = wishes.placeOf("exploration") === 0;
}

/** Shows the place of one slider: in words, and as a bar from its zero. */
export function showPlace(slider, said, text) {
  const share = (value) => (value - slider.min) / (slider.max - slider.min);
  const ends = [share(0), share(slider.valueAsNumber)];
  slider.setAttribute("aria-valuetext", text);
  slider.style.setProperty("--low", Math.min(...ends));
  slider.style.setProperty("--high", Math.max(...ends));
  said.textContent = text;
}
