/** The playground: picks on one side, the list that follows them on the other. */

import { showAnswer, showFailure, showWaiting } from "./answer.js";
import { Inquiry, useKey } from "./api.js";
import { combobox } from "./combobox.js";
import { labelOf, replaceRows, stamp } from "./lists.js";

const K = 12;
const OFFERED = 8;
const SUGGESTED = 6;
// As many as GET /items gives at most.
const MOST_ITEMS = 100;

const at = (id) => document.getElementById(id);
const picks = new Map(); // item_id -> item, in the order of picking
const recommending = new Inquiry();
const searching = new Inquiry();
const meeting = new Inquiry();
const counting = new Inquiry();
let popular = [];
let returning = 0;

/** Asks for everything the page lacks; what fails here is shown by `recommend`, which fails too. */
function start() {
  recommend();
  if (popular.length > 0) return;
  suggest().catch(() => {});
  count().catch(() => {});
}

function tryAgain() {
  useKey(at("key").value);
  start();
}

function pick(item) {
  picks.set(item.item_id, item);
  refresh();
}

function unpick(item) {
  picks.delete(item.item_id);
  refresh();
}

function refresh() {
  drawPicks();
  drawSuggestions();
  recommend();
}

async function recommend() {
  clearTimeout(returning);
  showWaiting();
  try {
    const answer = await recommending.ask("recommend", { history: [...picks.keys()], k: K });
    if (answer) showAnswer(answer, picks.size, pick);
  } catch (problem) {
    showFailure(problem);
    if (problem.retryAfterS > 0) returning = setTimeout(start, problem.retryAfterS * 1000);
  }
}

/** Gives a first visitor something to pick: the most popular titles. */
async function suggest() {
  const answer = await meeting.ask(`items?limit=${MOST_ITEMS}`);
  popular = answer?.items ?? [];
  drawSuggestions();
}

async function count() {
  const answer = await counting.ask("models");
  const numItems = answer?.models[0].num_items;
  if (numItems) at("search-status").dataset.idle = `${numItems.toLocaleString("en")} titles`;
}

async function find(text) {
  const limit = Math.min(OFFERED + picks.size, MOST_ITEMS);
  const answer = await searching.ask(`items?query=${encodeURIComponent(text)}&limit=${limit}`);
  return unpicked(answer?.items ?? []).slice(0, OFFERED);
}

const unpicked = (items) => items.filter((item) => !picks.has(item.item_id));

function drawPicks() {
  const chips = [...picks.values()].map((item) => {
    const chip = stamp("pick", { label: labelOf(item) });
    const button = chip.querySelector("button");
    button.setAttribute("aria-label", `Remove ${labelOf(item)}`);
    button.addEventListener("click", () => unpick(item));
    return chip;
  });
  replaceRows(at("picks"), chips, at("search"));
  at("picked").hidden = chips.length === 0;
}

function drawSuggestions() {
  const chips = unpicked(popular).slice(0, SUGGESTED).map((item) => {
    const chip = stamp("suggestion", { label: labelOf(item) });
    chip.querySelector("button").addEventListener("click", () => pick(item));
    return chip;
  });
  replaceRows(at("suggestions"), chips, at("search"));
  at("trial").hidden = chips.length === 0;
}

combobox(at("search"), at("options"), at("search-status"), { find, choose: pick });
at("clear").addEventListener("click", () => {
  picks.clear();
  refresh();
  at("search").focus();
});
at("retry").addEventListener("click", tryAgain);
at("key").addEventListener("keydown", (event) => {
  if (event.key === "Enter") tryAgain();
});
start();
