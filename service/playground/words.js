/** What the page says about an answer, in words. */

import { labelOf } from "./lists.js";

const REASONS = {
  empty_history: "You have picked nothing yet",
  no_known_items: "The model knows none of your picks",
  no_liked_items: "None of your picks counts as liked",
};

// More than two read like a list, not like a reason.
const NAMED_CAUSES = 2;

const plural = (count, one) => (count === 1 ? `1 ${one}` : `${count || "no"} ${one}s`);

/** Whether there is a list, from what, and how long it took. */
export function statusOf({ items, tookMs }, wishes) {
  if (items.length > 0) {
    return `From ${plural(wishes.picks.size, "pick")} in ${tookMs < 1 ? "under 1" : Math.round(tookMs)} ms`;
  }
  return wishes.categories.size > 0 ? "No title fits your categories" : "Nothing is left to recommend";
}

/** The change of a list, for those who do not see it. */
export function changeOf({ items }, numNew) {
  if (items.length === 0) return "";
  return `. ${plural(items.length, "title")}, ${numNew} of them new. First: ${labelOf(items[0])}.`;
}

/** Why an item is on the list; empty where the model names no pick. */
export function becauseOf({ because }) {
  if (!because?.length) return "";
  return `Because you picked ${because.slice(0, NAMED_CAUSES).map(labelOf).join(" and ")}`;
}

/** What is not as the person may think: another model, a list that is not its own, items that it does not know. */
export function noticeOf({ source, reason, model, unknown_items: unknown }, wishes) {
  const parts = source === "model" ? [] : [fallbackOf(reason, wishes)];
  if (wishes.missed) parts.unshift(`The link asks for “${wishes.missed}”, which is not served here: this list is that of ${model.name}.`);
  if (unknown.length > 0) parts.push(`Unknown to the model: ${unknown.map((id) => labelOf(wishes.itemOf(id))).join("; ")}.`);
  if (wishes.dislikes.size > 0 && wishes.refused.has("dislikes")) {
    parts.push("Your dislikes only stay off the list themselves: this model does not know what is like them.");
  }
  return parts.join(" ");
}

function fallbackOf(reason, wishes) {
  const which = wishes.categories.size > 0 ? "the most popular titles of your categories" : "the most popular titles";
  const still = wishes.slid ? " and the sliders do not move them" : "";
  return `${REASONS[reason] ?? "The model has nothing to go on"}, so these are ${which}. They do not come from the model${still}.`;
}

/** A move of a dimension, with its sign: a minus that is as wide as a plus. */
export const signed = (offset) => (offset === 0 ? "off" : `${offset > 0 ? "+" : "−"}${Math.abs(offset)}`);

/** The settings of the list in a line, to be read where they are folded away. */
export function settingsOf(wishes, nameOf) {
  const sliders = wishes.moved.map(([name, place]) => `${nameOf(name)} ${place}`);
  const moves = [...wishes.steer].map(([dimension, offset]) => `dimension ${dimension} ${signed(offset)}`);
  const [any, none] = ["any", "none"].map((choice) => wishes.chosen(choice).join(", "));
  return [...sliders, ...moves, any && `only ${any}`, none && `without ${none}`].filter(Boolean).join(" · ");
}
