/** The answer of the service on the page: the list, where it came from, or why there is none. */

import { glideRows, labelOf, stamp } from "./lists.js";

// The last bar of a list is short, not absent: its item is still a recommendation.
const SHORTEST_BAR = 0.08;

const REASONS = {
  empty_history: "You have picked nothing yet, so these are the most popular titles.",
  no_known_items: "The model knows none of your picks, so these are the most popular titles.",
  no_liked_items: "None of your picks counts as liked, so these are the most popular titles.",
};

const at = (id) => document.getElementById(id);
const rows = new Map(); // item_id -> its row, while it is shown
let shownSource = "";

/** Says that an answer is on its way. */
export function showWaiting() {
  at("results").setAttribute("aria-busy", "true");
}

/** Shows a list; `pick` is told of the items that the person adds from it. */
export function showAnswer(answer, numPicks, pick) {
  const { items, source, model } = answer;
  showList(items, source, pick);
  at("answer-title").textContent = source === "model" ? "Recommended for you" : "Most popular";
  at("status").textContent = statusOf(items.length, numPicks, answer.tookMs);
  at("origin").textContent = `${model.name}, version ${model.version}`;
  // The retry button goes, and must not take the place of the keyboard with it.
  if (at("failure").contains(document.activeElement)) at("search").focus();
  at("failure").hidden = true;
  showNotice(noticeOf(answer));
}

/** Shows why there is no list. The old one goes: it belongs to other picks. */
export function showFailure(problem) {
  showList([], "", null);
  showNotice("");
  at("answer-title").textContent = "No recommendations";
  at("status").textContent = "";
  at("origin").textContent = "";
  at("failure-title").textContent = problem.message;
  at("failure-detail").textContent = problem.detail;
  at("key-field").hidden = !problem.wantsKey;
  at("failure").hidden = false;
}

function showList(items, source, pick) {
  const marksNew = source === "model" && shownSource === "model";
  const shareOf = shares(items, source);
  const shown = items.map((item, index) => {
    const row = rows.get(item.item_id) ?? rowOf(item, pick);
    row.querySelector(".fresh").hidden = rows.has(item.item_id) || !marksNew;
    row.querySelector("[data-slot=rank]").textContent = index + 1;
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

function rowOf(item, pick) {
  const row = stamp("result", { label: labelOf(item) });
  const button = row.querySelector("button");
  button.setAttribute("aria-label", `Add ${labelOf(item)} to your picks`);
  button.addEventListener("click", () => pick(item));
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
  return source === "model" ? score.toFixed(2) : score.toLocaleString("en");
}

function statusOf(count, numPicks, tookMs) {
  if (count === 0) return "Nothing is left to recommend";
  const picks = numPicks === 1 ? "1 pick" : `${numPicks || "no"} picks`;
  return `From ${picks} in ${tookMs < 1 ? "under 1" : Math.round(tookMs)} ms`;
}

function noticeOf({ source, reason, unknown_items: unknown }) {
  const fallback = `${REASONS[reason] ?? "These are the most popular titles."} They do not come from the model.`;
  const parts = source === "model" ? [] : [fallback];
  if (unknown.length > 0) parts.push(`Unknown to the model: ${unknown.join(", ")}.`);
  return parts.join(" ");
}

function showNotice(text) {
  at("notice").textContent = text;
  at("notice").hidden = text === "";
}
