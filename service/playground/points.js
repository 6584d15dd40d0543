/** The points of the map as they are drawn, and how one is found: under a pointer, or from another. */

import { labelOf } from "./lists.js";

const MARGIN_PX = 18; // room for a mark at the edge
const REACH_PX = 18; // from a pointer to its point: half of a finger
const LABEL_GAP_PX = 14;
const LETTER_PX = 9; // of a label: more than the average, so that it ends within the map
// A step sideways is a detour: among points ahead, one straight ahead comes first.
const DETOUR = 2;
const SVG = "http://www.w3.org/2000/svg";

// Around a centre at 0, 0; what stands out is told by its shape as well as by its colour.
const SHAPES = {
  popular: "M-2.5 0a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0 -5 0z",
  listed: "M0 -8L7.5 5.5H-7.5z",
  pick: "M-6 -6H6V6H-6z",
};

const at = (id) => document.getElementById(id);
let points = new Map(); // item_id -> { item, x, y } on the screen

/** Draws items with an x and a y; `kindOf(id)` names the shape of each, what stands out on top. */
export function drawPoints(items, kindOf) {
  const { clientWidth: width, clientHeight: height } = at("map");
  if (items.length === 0 || width === 0) return erase();
  const across = scale(items.map(({ x }) => x), width);
  const down = scale(items.map(({ y }) => -y), height);
  points = new Map(items.map((item) => [item.item_id, { item, x: across(item.x), y: down(-item.y) }]));
  at("map-drawing").setAttribute("viewBox", `0 0 ${width} ${height}`);
  const kinds = Object.keys(SHAPES);
  const inOrder = [...points].sort(([one], [other]) => kinds.indexOf(kindOf(one)) - kinds.indexOf(kindOf(other)));
  at("points").replaceChildren(...inOrder.map(([id, { x, y }]) => shapeOf(kindOf(id), x, y)));
}

/** Puts the name of an item beside its point, and a ring around it; of none, takes both away. */
export function inFront(id) {
  const point = points.get(id);
  at("ring").toggleAttribute("hidden", !point);
  at("point-label").textContent = "";
  if (!point) return;
  const width = at("map").clientWidth;
  const isLeft = point.x < width / 2;
  const room = Math.max(point.x, width - point.x) - LABEL_GAP_PX;
  at("point-label").textContent = shortened(labelOf(point.item), Math.floor(room / LETTER_PX));
  at("ring").setAttribute("transform", `translate(${point.x} ${point.y})`);
  at("point-label").setAttribute("x", point.x + (isLeft ? LABEL_GAP_PX : -LABEL_GAP_PX));
  at("point-label").setAttribute("y", point.y);
  at("point-label").setAttribute("text-anchor", isLeft ? "start" : "end");
}

/** The item under a pointer; empty where none is near. */
export function pointAt({ clientX, clientY }) {
  const { left, top } = at("map").getBoundingClientRect();
  return nearest({ x: clientX - left, y: clientY - top }, (x, y) => Math.hypot(x, y), REACH_PX);
}

/** The next item from one in a direction; itself where it is the last one. */
export function pointTowards(id, [right, below]) {
  const from = points.get(id);
  if (!from) return "";
  const effort = (x, y) => {
    const ahead = x * right + y * below;
    return ahead > 0 ? ahead + DETOUR * Math.abs(x * below - y * right) : Infinity;
  };
  return nearest(from, effort, Infinity) || id;
}

/** The items nearest to one on the map, the nearest first. */
export function pointsAround(id, count) {
  const from = points.get(id);
  if (!from) return [];
  const far = ({ x, y }) => Math.hypot(x - from.x, y - from.y);
  const others = [...points.values()].filter((point) => point !== from);
  return others.sort((one, other) => far(one) - far(other)).slice(0, count).map(({ item }) => item);
}

function nearest(from, effort, limit) {
  let [best, least] = ["", limit];
  for (const [id, { x, y }] of points) {
    const cost = effort(x - from.x, y - from.y);
    if (cost < least) [best, least] = [id, cost];
  }
  return best;
}

function shortened(text, letters) {
  return text.length > letters ? `${text.slice(0, letters - 1)}…` : text;
}

function erase() {
  points = new Map();
  at("points").replaceChildren();
}

/** Fits values into a length of the screen. */
function scale(values, length) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const span = high - low || 1;
  return (value) => MARGIN_PX + ((value - low) / span) * (length - 2 * MARGIN_PX);
}

function shapeOf(kind, x, y) {
  const shape = document.createElementNS(SVG, "path");
  shape.setAttribute("class", kind);
  shape.setAttribute("d", SHAPES[kind]);
  shape.setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
  return shape;
}
