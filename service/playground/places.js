/** Where items lie on the map of the model that is asked, as far as they are known. */

import { Inquiry } from "./api.js";
import { toModel } from "./models.js";

// As many as a screen tells apart.
const POPULAR = 500;
// As many as GET /items/map takes by name.
const MOST_NAMED = 100;

const asking = new Inquiry();
let known = new Map(); // item_id -> item with x and y; null where the catalogue lacks it
let shares = [];

/** Forgets all of it: another model has another map. */
export function forgetPlaces() {
  asking.cancel();
  known = new Map();
  shares = [];
}

/** Learns where items lie, and at first the popular ones; a newer question takes its place. Throws a Problem. */
export async function learnPlaces(ids, wishes) {
  const missing = ids.filter((id) => !known.has(id)).slice(0, MOST_NAMED);
  const limit = known.size === 0 ? POPULAR : 0;
  if (missing.length === 0 && limit === 0) return;
  const named = missing.map((id) => `&items=${encodeURIComponent(id)}`).join("");
  const answer = await asking.ask(toModel(`items/map?limit=${limit}${named}`, wishes));
  if (!answer) return;
  for (const item of answer.items) known.set(item.item_id, item);
  for (const id of answer.unknown_items) known.set(id, null);
  shares = answer.shares;
}

/** How much of what tells items apart each of the two axes shows. */
export const sharesOfAxes = () => shares;

/** The items that have a place. */
export const placed = () => [...known.values()].filter(Boolean);

/** One of them; undefined where it has none. */
export const placeOf = (id) => known.get(id) ?? undefined;
