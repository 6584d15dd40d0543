/** The answer of the service on the page: the list, where it came from, or why there is none. */

import { glideRows, labelOf, stamp } from "./lists.js";
import { moreLike } from "./similar.js";
import { becauseOf, changeOf, noticeOf, statusOf } from "./words.js";

// The last bar of a list is short, not absent: its item is still a recommendation.
const SHORTEST_BAR = 0.08;

const at = (id) => document.getElementById(id);
const rows = new Map(); // item_id -> its row, while it is shown
let shownSource = "";
let shownModel = "";

/** Says that an answer is on its way. */
export function showWaiting() {
  at("results").setAttribute("aria-busy", "true");
}

/** Shows a list; `acts` has what is done with an item of it: `pick` and `dislike`. */
export function showAnswer(answer, wishes, acts) {
  const { items, source, model } = answer;
  const who = `${model.name}, version ${model.version}`;
  if (who !== shownModel) rows.clear(); // what is like an item is another question now
  shownModel = who;
  const numNew = items.filter((item) => !rows.has(item.item_id)).length;
  showList(items, source, wishes, acts);
  at("answer-title").textContent = source === "model" ? "Recommended for you" : "Most popular";
  at("status").textContent = statusOf(answer, wishes);
  at("change").textContent = changeOf(answer, numNew);
  at("origin").textContent = who;
  // The retry button goes, and must not take the place of the keyboard with it.
  if (at("failure").contains(document.activeElement)) at("search").focus();
  at("failure").hidden = true;
  drawNotice(answer, wishes);
}

/** Shows what is not as the person may think. */
export function drawNotice(answer, wishes) {
  showNotice(noticeOf(answer, wishes));
}

/** Shows why there is no list. The old one goes: it belongs to other picks. */
export function showFailure(problem) {
  showList([], "", null, null);
  showNotice("");
  at("answer-title").textContent = "No recommendations";
  at("status").textContent = "";
  at("change").textContent = "";
  at("origin").textContent = "";
  at("failure-title").textContent = problem.message;
  at("failure-detail").textContent = problem.detail;
  at("key-field").hidden = !problem.wantsKey;
  at("failure").hidden = false;
}

function showList(items, source, wishes, acts) {
  const marksNew = source === "model" && shownSource === "model";
  const shareOf = shares(items, source);
  const shown = items.map((item, index) => {
    const row = rows.get(item.item_id) ?? rowOf(item, wishes, acts);
    row.querySelector(".fresh").hidden = rows.has(item.item_id) || !marksNew;
    row.querySelector("[data-slot=rank]").textContent = index + 1;
    row.querySelector("[data-slot=because]").textContent = becauseOf(item);
    row.querySelector("[data-slot=score]").textContent = scoreText(item.score, source);
    row.querySelector(".bar").style.setProperty("--share", shareOf(item.score));
    return row;
  });
  glideRows(at("results"), shown, at("search"));
  rows.clear();
  items.forEach((item, index) => rows.set(item.item_id, shown[index]));
  shownSource = source;
  at("results").setAttribute("aria-busy", "false");
}

function rowOf(item, wishes, { pick, dislike }) {
  const label = labelOf(item);
  const row = stamp("result", { label });
  const buttons = [
    [".add", `Add ${label} to your picks`, pick],
    [".dislike", `Dislike ${label}`, dislike],
  ];
  for (const [which, name, act] of buttons) {
    const button = row.querySelector(which);
    button.setAttribute("aria-label", name);
    button.addEventListener("click", () => act(item));
  }
  moreLike(row, item, wishes, pick);
  return row;
}

/** Gives the length of a score's bar. Counts start at 0; the zero of a model's scores means nothing. */
function shares(items, source) {
  const scores = items.map((item) => item.score);
  const low = source === "model" ? Math.min(...scores) : 0;
  const span = Math.max(...scores) - low || 1;
  return (score) => SHORTEST_BAR + (1 - SHORTEST_BAR) * ((score - low) / span);
}

function scoreText(score, source) {
  return source === "model" ? score.toPrecision(3) : score.toLocaleString("en");
}

function showNotice(text) {
  at("notice").textContent = text;
  at("notice").hidden = text === "";
}
