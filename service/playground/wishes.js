/** What the person asks for: picks, dislikes, a model, sliders and categories; as a request and as an address. */

const FIRST_SEED = 1;
const MOST_SEEDS = 2 ** 32;
// Of a slider on a dimension, to both sides: the prior has nearly everybody within.
export const FARTHEST = 3;

export const CONTROLS = ["diversity", "exploration", "popularity_penalty", "calibration"];
const GRANTED = [...CONTROLS, "dislikes", "steer", "explain"];

/** An item of which only the id is known yet. */
const nameless = (item_id) => ({ item_id });

export class Wishes {
  picks = new Map(); // item_id -> item, in the order of picking
  dislikes = new Map(); // likewise
  controls = new Map(CONTROLS.map((name) => [name, 0])); // also of those refused: another model may take them
  steer = new Map(); // dimension, as text -> by how much it is moved, never 0
  categories = new Map(); // category -> "any" (only these) or "none" (not these)
  model = ""; // its name; empty: the default one
  missed = ""; // the model that an address names and that is not served
  seed = FIRST_SEED; // of exploration's chance: the same address shows the same list
  refused = new Set(); // controls that the model has nothing for

  pick(item) {
    this.dislikes.delete(item.item_id);
    this.picks.set(item.item_id, item);
  }

  dislike(item) {
    this.picks.delete(item.item_id);
    this.dislikes.set(item.item_id, item);
  }

  /** What is known of a chosen item. */
  itemOf(id) {
    return this.picks.get(id) ?? this.dislikes.get(id) ?? nameless(id);
  }

  /** Keeps to the controls that the model grants. */
  keepTo(granted) {
    this.refused = new Set(GRANTED.filter((name) => !granted.includes(name)));
    if (this.refused.has("steer")) this.steer.clear();
  }

  /** Takes a control away that the model has nothing for; false if it was away already. */
  refuse(control) {
    if (this.refused.has(control)) return false;
    this.keepTo(GRANTED.filter((name) => name !== control && !this.refused.has(name)));
    return true;
  }

  /** Where a slider is; of a control that the model has nothing for, at 0. */
  placeOf(control) {
    return this.refused.has(control) ? 0 : this.controls.get(control);
  }

  /** The sliders that are not at 0, with their places. */
  get moved() {
    return CONTROLS.map((name) => [name, this.placeOf(name)]).filter(([, place]) => place > 0);
  }

  /** Moves a dimension of the latent; by 0, it is where it was. */
  move(dimension, offset) {
    if (offset === 0) this.steer.delete(dimension);
    else this.steer.set(dimension, offset);
  }

  redraw() {
    this.seed = (this.seed + 1) % MOST_SEEDS;
  }

  /** Puts sliders and categories back. */
  untune() {
    CONTROLS.forEach((name) => this.controls.set(name, 0));
    this.steer.clear();
    this.categories.clear();
    this.seed = FIRST_SEED;
  }

  /** Whether any slider is moved. */
  get slid() {
    return this.steer.size > 0 || this.moved.length > 0;
  }

  get tuned() {
    return this.categories.size > 0 || this.slid;
  }

  /** The categories with one choice. */
  chosen(choice) {
    return [...this.categories].filter(([, own]) => own === choice).map(([name]) => name);
  }

  /** The body of POST /recommend. */
  request(k) {
    const { dislikes, model, moved, refused, seed, steer } = this;
    const body = { history: [...this.picks.keys()], k, explain: !refused.has("explain") };
    if (model) body.model = model;
    Object.assign(body, Object.fromEntries(moved));
    if (body.exploration) body.seed = seed;
    if (steer.size > 0) body.steer = Object.fromEntries(steer);
    // Where likeness means nothing to the model, the items themselves stay away all the same.
    if (dislikes.size > 0) body[refused.has("dislikes") ? "exclude_items" : "dislikes"] = [...dislikes.keys()];
    if (this.categories.size > 0) body.categories = { any: this.chosen("any"), none: this.chosen("none") };
    return body;
  }

  /** What stands behind the # of an address; empty where nothing is asked. */
  get address() {
    const pairs = [
      ...(this.model ? [["model", this.model]] : []),
      ...[...this.picks.keys()].map((id) => ["pick", id]),
      ...[...this.dislikes.keys()].map((id) => ["dislike", id]),
      ...this.moved,
      ...[...this.steer].map((move) => ["steer", move.join(":")]),
      ...[...this.categories].map(([name, choice]) => [choice, name]),
    ];
    if (this.placeOf("exploration") > 0) pairs.push(["seed", this.seed]);
    return new URLSearchParams(pairs).toString();
  }

  /** Reads an address; what it cannot use is passed over. Titles, models and the ranges of sliders are not known here. */
  set address(text) {
    const said = new URLSearchParams(text);
    this.model = said.get("model") ?? "";
    this.missed = "";
    this.picks = new Map(said.getAll("pick").map((id) => [id, nameless(id)]));
    this.dislikes = new Map(said.getAll("dislike").map((id) => [id, nameless(id)]));
    for (const id of this.picks.keys()) this.dislikes.delete(id);
    for (const name of CONTROLS) this.controls.set(name, Number(said.get(name)) || 0);
    this.steer.clear();
    for (const [dimension, offset] of said.getAll("steer").map((move) => move.split(":"))) {
      const within = Math.max(-FARTHEST, Math.min(FARTHEST, Number(offset) || 0));
      if (/^\d{1,5}$/.test(dimension)) this.move(String(Number(dimension)), within);
    }
    this.categories = new Map(["none", "any"].flatMap((choice) => said.getAll(choice).map((name) => [name, choice])));
    const seed = Number(said.get("seed") ?? FIRST_SEED);
    this.seed = Number.isInteger(seed) && seed >= 0 && seed < MOST_SEEDS ? seed : FIRST_SEED;
  }
}
