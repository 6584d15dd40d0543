/** The playground: what the person asks for on one side, the list that follows it on the other. */

import { showAnswer, showFailure, showWaiting } from "./answer.js";
import { Inquiry, useKey } from "./api.js";
import { drawCategories, learnCategories } from "./categories.js";
import { drawChosen, drawSuggestions } from "./chips.js";
import { combobox } from "./combobox.js";
import { sharing, steadying } from "./frame.js";
import { drawSliders, limitToSliders, nameOf, sliders } from "./sliders.js";
import { Wishes } from "./wishes.js";
import { settingsOf } from "./words.js";

const K = 12;
const OFFERED = 8;
// As many as GET /items gives at most.
const MOST_ITEMS = 100;
// A slider on the move asks some ten times a second, not at every pixel.
const DEBOUNCE_MS = 80;

const at = (id) => document.getElementById(id);
const wishes = new Wishes();
const recommending = new Inquiry();
const searching = new Inquiry();
const meeting = new Inquiry();
const counting = new Inquiry();
const naming = new Inquiry();
let popular = [];
let timer = 0;
let version = "";

/** Asks for everything the page lacks; what fails here is shown by `recommend`, which fails too. */
function start() {
  recommend();
  nameChosen().catch(() => {});
  if (popular.length > 0) return;
  suggest().catch(() => {});
  count().catch(() => {});
}

function tryAgain() {
  useKey(at("key").value);
  start();
}

const acts = {
  pick(item) {
    wishes.pick(item);
    changed();
  },
  dislike(item) {
    wishes.dislike(item);
    changed();
  },
};

/** Shows what is asked for now, and asks for it as soon as nothing else is changed. */
function changed() {
  const { address } = wishes;
  history.replaceState(null, "", address ? `#${address}` : location.pathname);
  draw();
  showWaiting();
  recommending.cancel(); // its answer is to another question
  clearTimeout(timer);
  timer = setTimeout(recommend, DEBOUNCE_MS);
}

function remove(kind, item) {
  wishes[kind].delete(item.item_id);
  changed();
}

function draw() {
  drawChosen(wishes, remove);
  drawSuggestions(popular, wishes, acts.pick);
  drawSliders(wishes);
  drawCategories(wishes, changed);
  at("settings").textContent = settingsOf(wishes, nameOf);
  at("untune").hidden = !wishes.tuned;
}

async function recommend() {
  clearTimeout(timer);
  showWaiting();
  try {
    const answer = await recommending.ask("recommend", wishes.request(K));
    if (answer) receive(answer);
  } catch (problem) {
    if (problem.unsupported && wishes.refuse(problem.unsupported, problem.detail)) return changed();
    showFailure(problem);
    if (problem.retryAfterS > 0) timer = setTimeout(start, problem.retryAfterS * 1000);
  }
}

function receive(answer) {
  if (version && version !== answer.model.version) wishes.refused.clear(); // of another model
  version = answer.model.version;
  drawSliders(wishes);
  showAnswer(answer, wishes, acts);
}

/** Gives a first visitor something to pick: the most popular titles. */
async function suggest() {
  const answer = await meeting.ask(`items?limit=${MOST_ITEMS}`);
  popular = answer?.items ?? [];
  learnCategories(popular);
  draw();
}

async function count() {
  const answer = await counting.ask("models");
  const numItems = answer?.models[0].num_items;
  if (numItems) at("search-status").dataset.idle = `${numItems.toLocaleString("en")} titles`;
}

/** Learns the titles of items that came as ids in an address: as candidates, they come back named. */
async function nameChosen() {
  const nameless = [...wishes.picks.values(), ...wishes.dislikes.values()].filter((item) => !("title" in item));
  const ids = nameless.slice(0, MOST_ITEMS).map((item) => item.item_id);
  if (ids.length === 0) return;
  const answer = await naming.ask("recommend", { history: [], candidate_items: ids, k: ids.length });
  for (const item of answer?.items ?? []) {
    for (const chosen of [wishes.picks, wishes.dislikes]) {
      if (chosen.has(item.item_id)) chosen.set(item.item_id, { title: "", ...item });
    }
  }
  draw();
}

async function find(text) {
  const limit = Math.min(OFFERED + wishes.picks.size, MOST_ITEMS);
  const answer = await searching.ask(`items?query=${encodeURIComponent(text)}&limit=${limit}`);
  const found = answer?.items ?? [];
  learnCategories(found);
  return found.filter((item) => !wishes.picks.has(item.item_id)).slice(0, OFFERED);
}

/** Takes up what an address asks for. */
function enter() {
  wishes.address = location.hash.slice(1);
  limitToSliders(wishes);
  if (wishes.tuned) at("tune").open = true;
  draw();
  start();
}

combobox(at("search"), at("options"), at("search-status"), { find, choose: acts.pick });
sliders(wishes, changed);
sharing(at("share"), at("shared"));
steadying(document.querySelector(".ask"));
at("clear").addEventListener("click", () => {
  wishes.picks.clear();
  changed();
  at("search").focus();
});
at("untune").addEventListener("click", () => {
  wishes.untune();
  changed();
  at("tune").querySelector("summary").focus();
});
at("retry").addEventListener("click", tryAgain);
at("key").addEventListener("keydown", (event) => {
  if (event.key === "Enter") tryAgain();
});
addEventListener("hashchange", enter);
at("tune").open = matchMedia("(min-width: 56rem)").matches;
enter();
