/** What is like an item of the list, on request, below its row. */

import { Inquiry } from "./api.js";
import { labelOf, stamp } from "./lists.js";
import { toModel } from "./models.js";

const SHOWN = 6;

const asking = new Inquiry();

/** Lets the button of a row show what is like its item, and `pick` what is found. */
export function moreLike(row, item, wishes, pick) {
  const button = row.querySelector(".like");
  const panel = row.querySelector(".near");
  const list = panel.querySelector("ul");
  const said = panel.querySelector("p");

  button.setAttribute("aria-label", `Similar to ${labelOf(item)}`);
  list.setAttribute("aria-label", `Similar to ${labelOf(item)}`);
  button.addEventListener("click", async () => {
    const opens = panel.hidden;
    show(opens, [], opens ? "Looking…" : "");
    if (!opens) return asking.cancel();
    const path = toModel(`items/${encodeURIComponent(item.item_id)}/similar?k=${SHOWN}`, wishes);
    try {
      const answer = await asking.ask(path);
      // Another row's question has taken the place of this one.
      if (!answer) return show(false, [], "");
      show(true, answer.items, answer.items.length > 0 ? "" : "Nothing is like it");
    } catch (problem) {
      show(true, [], problem.message);
    }
  });

  function show(open, items, text) {
    panel.hidden = !open;
    button.setAttribute("aria-expanded", open);
    said.textContent = text;
    list.replaceChildren(...items.map(chipOf));
  }

  function chipOf(other) {
    const chip = stamp("suggestion", { label: labelOf(other) });
    const act = chip.querySelector("button");
    act.setAttribute("aria-label", `Add ${labelOf(other)} to your picks`);
    act.addEventListener("click", () => {
      // The keyboard goes on from where it was.
      const heir = (chip.nextElementSibling ?? chip.previousElementSibling)?.querySelector("button");
      (heir ?? button).focus();
      chip.remove();
      pick(other);
    });
    return chip;
  }
}
