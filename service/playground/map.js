/** The map of titles: drawn for the eye, walked by the keyboard, and told as a list. */

import { labelOf, stamp } from "./lists.js";
import { learnPlaces, placed, placeOf, sharesOfAxes } from "./places.js";
import { drawPoints, inFront, pointAt, pointsAround, pointTowards } from "./points.js";

const NEIGHBOURS_TOLD = 3;
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const TURNS = { PageDown: 1, PageUp: -1 };
const SAID = { pick: "one of your picks", listed: "on the list", popular: "not on the list" };

const at = (id) => document.getElementById(id);
let listed = new Map(); // item_id -> item, of the list that is shown
let active = ""; // id of the item that the person is at

/** Joins the map to the wishes; `pick(item)` is told what the person took from it. */
export function titleMap(wishes, pick) {
  const take = () => {
    if (active && !wishes.picks.has(active)) pick(placeOf(active));
  };
  let isSure = true; // a finger sees what it points at only after it has done so

  at("map").addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key in STEPS) go(pointTowards(active, STEPS[event.key]) || markAfter("", 1, wishes), wishes);
    else if (event.key in TURNS) go(markAfter(active, TURNS[event.key], wishes), wishes);
    else if (event.key === "Enter" || event.key === " ") take();
    else return;
    event.preventDefault();
  });
  at("map").addEventListener("focus", () => {
    if (at("map").matches(":focus-visible")) go(active || markAfter("", 1, wishes), wishes);
  });
  at("map").addEventListener("blur", () => go("", wishes));
  at("map").addEventListener("pointerdown", (event) => {
    const found = pointAt(event);
    isSure = event.pointerType !== "touch" || found === active;
    go(found, wishes);
  });
  at("map").addEventListener("pointermove", (event) => {
    if (event.pointerType !== "touch") go(pointAt(event), wishes);
  });
  at("map").addEventListener("pointerleave", (event) => {
    if (event.pointerType !== "touch") go("", wishes);
  });
  at("map").addEventListener("click", () => {
    if (isSure) take();
  });
  new ResizeObserver(() => draw(wishes)).observe(at("map"));
}

/** Shows the picks and a list on the map of the model that is asked. */
export async function showMap(items, wishes) {
  listed = new Map(items.map((item) => [item.item_id, item]));
  const hasMap = !wishes.refused.has("diversity"); // which needs vectors of items, too
  at("map-body").hidden = !hasMap;
  at("map-none").hidden = hasMap;
  if (!hasMap) return;
  try {
    await learnPlaces([...wishes.picks.keys(), ...listed.keys()], wishes);
    at("map-failure").textContent = "";
  } catch (problem) {
    at("map-failure").textContent = `There is no map now: ${problem.message}.`;
  }
  draw(wishes);
}

/** Takes the list off the map: there is none. */
export function dropList(wishes) {
  listed = new Map();
  draw(wishes);
}

function draw(wishes) {
  drawPoints(placed(), (id) => kindOf(id, wishes));
  go(active, wishes);
  const shares = sharesOfAxes().map((share) => `${Math.round(share * 100)} %`);
  at("map-shares").textContent = shares.length > 0 ? `Shows ${shares.join(" + ")} of what tells titles apart` : "";
  at("map-told").replaceChildren(
    ...marks(wishes).map((id) => {
      const near = pointsAround(id, NEIGHBOURS_TOLD).map(labelOf).join(" · ");
      return stamp("told", { label: labelOf(placeOf(id)), kind: SAID[kindOf(id, wishes)], near });
    }),
  );
}

/** The items that stand out: the picks, then the list in its order. */
const marks = (wishes) => [...new Set([...wishes.picks.keys(), ...listed.keys()])].filter(placeOf);

function markAfter(id, step, wishes) {
  const ids = marks(wishes);
  const place = ids.indexOf(id);
  return ids.at(place < 0 ? Math.min(step, 0) : (place + step) % ids.length) ?? "";
}

function kindOf(id, wishes) {
  if (wishes.picks.has(id)) return "pick";
  return listed.has(id) ? "listed" : "popular";
}

/** Goes to an item, or away from all. */
function go(id, wishes) {
  active = placeOf(id) ? id : "";
  inFront(active);
  const said = active ? `${labelOf(placeOf(active))}: ${SAID[kindOf(active, wishes)]}` : "";
  if (at("map-said").textContent !== said) at("map-said").textContent = said;
}
