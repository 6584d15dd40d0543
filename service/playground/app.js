/** The playground: what the person asks for on one side, the list that follows it on the other. */

import { drawNotice, showAnswer, showFailure, showWaiting } from "./answer.js";
import { Inquiry, useKey } from "./api.js";
import { find, forgetTitles, learnPopular, nameChosen, popularTitles } from "./catalogue.js";
import { drawCategories } from "./categories.js";
import { drawChosen, drawSuggestions } from "./chips.js";
import { combobox } from "./combobox.js";
import { drawDimensions, forgetDimensions, knowsDimensions, learnDimensions } from "./dimensions.js";
import { sharing, steadying } from "./frame.js";
import { dropList, showMap, titleMap } from "./map.js";
import { cardOf, drawModels, learnModels, modelChoice, nameOfModel } from "./models.js";
import { forgetPlaces } from "./places.js";
import { drawSliders, limitToSliders, nameOf, sliders } from "./sliders.js";
import { Wishes } from "./wishes.js";
import { settingsOf } from "./words.js";

const K = 12;
const DIMENSIONS = 6;
// A slider on the move asks some ten times a second, not at every pixel.
const DEBOUNCE_MS = 80;

const at = (id) => document.getElementById(id);
const wishes = new Wishes();
const recommending = new Inquiry();
const meeting = new Inquiry();
const walking = new Inquiry();
let timer = 0;
let asked = ""; // the model that the page is about, with its version
let shown = null; // the latest answer

/** Asks for everything the page lacks, who is there to be asked before all else. */
async function start() {
  showWaiting();
  try {
    if (!(await meet())) return;
    if (wishes.steer.size > 0) await learnToSteer(); // an address may move what there is not
  } catch (problem) {
    return fail(problem);
  }
  recommend();
  learn();
}

/** Learns what makes the list easier to ask for; what fails here is shown by `recommend`, which fails too. */
function learn() {
  const missing = [nameChosen(wishes)];
  if (popularTitles().length === 0) missing.push(learnPopular(wishes));
  if (!knowsDimensions()) missing.push(learnToSteer());
  for (const lesson of missing) lesson.then(draw, () => {});
}

/** Learns which models there are; false where a newer question came in between. */
async function meet() {
  const answer = await meeting.ask("models");
  if (!answer) return false;
  learnModels(answer.models);
  turnTo(cardOf(wishes));
  return true;
}

/** Makes the page one about the model of a card. */
function turnTo(card) {
  const identity = `${card.name} ${card.version}`;
  if (wishes.model && wishes.model !== card.name) wishes.missed = wishes.model;
  wishes.model = nameOfModel(card); // an address may name one that is not served any more
  wishes.keepTo(card.controls);
  if (identity !== asked) {
    asked = identity;
    walking.cancel();
    forgetTitles();
    forgetPlaces();
    forgetDimensions();
    at("search-status").dataset.idle = `${card.num_items.toLocaleString("en")} titles`;
  }
  write();
  draw();
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
  write();
  draw();
  showWaiting();
  recommending.cancel(); // its answer is to another question
  clearTimeout(timer);
  timer = setTimeout(recommend, DEBOUNCE_MS);
}

/** Asks another model the same; what one dimension means to it, no other knows. */
function turned() {
  wishes.steer.clear();
  wishes.missed = "";
  turnTo(cardOf(wishes));
  changed();
  learn();
}

function write() {
  const { address } = wishes;
  history.replaceState(null, "", address ? `#${address}` : location.pathname);
}

function remove(kind, item) {
  wishes[kind].delete(item.item_id);
  changed();
}

function draw() {
  drawModels(wishes);
  drawChosen(wishes, remove);
  drawSuggestions(popularTitles(), wishes, acts.pick);
  drawSliders(wishes);
  drawDimensions(wishes);
  drawCategories(wishes, changed);
  if (shown) drawNotice(shown, wishes);
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
    if (problem.unsupported && wishes.refuse(problem.unsupported)) return changed();
    fail(problem);
  }
}

function fail(problem) {
  shown = null;
  showFailure(problem);
  dropList(wishes);
  clearTimeout(timer);
  if (problem.retryAfterS > 0) timer = setTimeout(start, problem.retryAfterS * 1000);
}

async function receive(answer) {
  shown = answer;
  showAnswer(answer, wishes, acts);
  if (asked !== `${answer.model.name} ${answer.model.version}`) await follow().catch(() => {});
  if (shown === answer) showMap(answer.items, wishes);
}

/** Learns of the bundle that has taken over: it may have other titles, controls and dimensions. */
async function follow() {
  wishes.steer.clear();
  if (await meet()) learn();
}

async function learnToSteer() {
  if (wishes.refused.has("steer")) return;
  const path = `models/${encodeURIComponent(cardOf(wishes).name)}/dimensions?limit=${DIMENSIONS}`;
  const answer = await walking.ask(path);
  if (answer) learnDimensions(answer.dimensions, wishes, changed);
}

/** Takes up what an address asks for. */
function enter() {
  wishes.address = location.hash.slice(1);
  limitToSliders(wishes);
  if (wishes.tuned) at("tune").open = true;
  if (wishes.steer.size > 0) at("steer").open = true;
  draw();
  start();
}

combobox(at("search"), at("options"), at("search-status"), {
  find: (text) => find(text, wishes),
  choose: acts.pick,
});
modelChoice(wishes, turned);
sliders(wishes, changed);
titleMap(wishes, acts.pick);
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
