/** The titles of the model that is asked: the popular ones, those found, and the names of those chosen. */

import { Inquiry } from "./api.js";
import { forgetCategories, learnCategories } from "./categories.js";
import { namesOfModels, toModel } from "./models.js";

const OFFERED = 8;
// As many as GET /items gives at most.
const MOST_ITEMS = 100;

const suggesting = new Inquiry();
const searching = new Inquiry();
const naming = new Inquiry();
let popular = [];

/** The most popular titles, as far as they are known. */
export const popularTitles = () => popular;

/** Forgets all of it: another model has another catalogue. */
export function forgetTitles() {
  for (const inquiry of [suggesting, searching, naming]) inquiry.cancel();
  popular = [];
  forgetCategories();
}

/** Learns the most popular titles, to give a first visitor something to pick. */
export async function learnPopular(wishes) {
  const answer = await suggesting.ask(toModel(`items?limit=${MOST_ITEMS}`, wishes));
  popular = answer?.items ?? popular;
  learnCategories(popular);
}

/** Learns the titles of items that came as ids in an address: of the model that is asked, else of any that knows them. */
export async function nameChosen(wishes) {
  for (const model of new Set([wishes.model, ...namesOfModels()])) {
    const nameless = [...wishes.picks.values(), ...wishes.dislikes.values()].filter((item) => !("title" in item));
    const ids = nameless.slice(0, MOST_ITEMS).map((item) => item.item_id);
    if (ids.length === 0) return;
    // As candidates, they come back named.
    const body = { history: [], candidate_items: ids, k: ids.length, ...(model && { model }) };
    const answer = await naming.ask("recommend", body);
    if (!answer) return; // a newer question has come
    for (const item of answer.items) {
      for (const chosen of [wishes.picks, wishes.dislikes]) {
        if (chosen.has(item.item_id)) chosen.set(item.item_id, { title: "", ...item });
      }
    }
  }
}

/** Finds titles that are not picked yet. */
export async function find(text, wishes) {
  const limit = Math.min(OFFERED + wishes.picks.size, MOST_ITEMS);
  const path = toModel(`items?query=${encodeURIComponent(text)}&limit=${limit}`, wishes);
  const found = (await searching.ask(path))?.items ?? [];
  learnCategories(found);
  return found.filter((item) => !wishes.picks.has(item.item_id)).slice(0, OFFERED);
}
