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

/** Shows where the sliders are, and why one of them cannot be moved. */
export function drawSliders(wishes) {
  for (const name of CONTROLS) {
    const slider = at(name);
    const value = wishes.controls.get(name);
    const said = value > 0 ? String(value) : "off";
    const refusal = wishes.refused.has(name) ? `Not with this model: ${wishes.refused.get(name)}.` : "";
    if (refusal && document.activeElement === slider) at("tune").querySelector("summary").focus();
    slider.value = value;
    slider.disabled = refusal !== "";
    slider.setAttribute("aria-valuetext", said);
    slider.style.setProperty("--share", (value - slider.min) / (slider.max - slider.min));
    at(`${name}-said`).textContent = said;
    // Only when it changes: a live region may repeat what is written again.
    if (at(`${name}-refused`).textContent !== refusal) at(`${name}-refused`).textContent = refusal;
  }
  at("redraw").hidden = wishes.controls.get("exploration") === 0;
}
