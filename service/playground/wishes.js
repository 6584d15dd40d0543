/** What the person asks for: picks, dislikes, sliders and categories; as a request and as an address. */

const FIRST_SEED = 1;
const MOST_SEEDS = 2 ** 32;

export const CONTROLS = ["diversity", "exploration", "popularity_penalty"];

/** An item of which only the id is known yet. */
const nameless = (item_id) => ({ item_id });

export class Wishes {
  picks = new Map(); // item_id -> item, in the order of picking
  dislikes = new Map(); // likewise
  controls = new Map(CONTROLS.map((name) => [name, 0]));
  categories = new Map(); // category -> "any" (only these) or "none" (not these)
  seed = FIRST_SEED; // of exploration's chance: the same address shows the same list
  refused = new Map(); // control -> why the model has nothing for it

  pick(item) {
    this.dislikes.delete(item.item_id);
    this.picks.set(item.item_id, item);
  }

  dislike(item) {
    this.picks.delete(item.item_id);
    this.dislikes.set(item.item_id, item);
  }

  /** Takes a control away that the model has nothing for; false if it was away already. */
  refuse(control, reason) {
    if (this.refused.has(control)) return false;
    this.refused.set(control, reason);
    if (this.controls.has(control)) this.controls.set(control, 0);
    return true;
  }

  redraw() {
    this.seed = (this.seed + 1) % MOST_SEEDS;
  }

  /** Puts sliders and categories back. */
  untune() {
    CONTROLS.forEach((name) => this.controls.set(name, 0));
    this.categories.clear();
    this.seed = FIRST_SEED;
  }

  get tuned() {
    return this.categories.size > 0 || [...this.controls.values()].some((value) => value > 0);
  }

  /** The categories with one choice. */
  chosen(choice) {
    return [...this.categories].filter(([, own]) => own === choice).map(([name]) => name);
  }

  /** The body of POST /recommend. */
  request(k) {
    const { controls, dislikes, refused, seed } = this;
    const body = { history: [...this.picks.keys()], k, explain: true };
    for (const [name, value] of controls) if (value > 0) body[name] = value;
    if (controls.get("exploration") > 0) body.seed = seed;
    // Where likeness means nothing to the model, the items themselves stay away all the same.
    if (dislikes.size > 0) body[refused.has("dislikes") ? "exclude_items" : "dislikes"] = [...dislikes.keys()];
    if (this.categories.size > 0) body.categories = { any: this.chosen("any"), none: this.chosen("none") };
    return body;
  }

  /** What stands behind the # of an address; empty where nothing is asked. */
  get address() {
    const pairs = [
      ...[...this.picks.keys()].map((id) => ["pick", id]),
      ...[...this.dislikes.keys()].map((id) => ["dislike", id]),
      ...[...this.controls].filter(([, value]) => value > 0),
      ...[...this.categories].map(([name, choice]) => [choice, name]),
    ];
    if (this.controls.get("exploration") > 0) pairs.push(["seed", this.seed]);
    return new URLSearchParams(pairs).toString();
  }

  /** Reads an address; what it cannot use is passed over. Titles and the ranges of sliders are not known here. */
  set address(text) {
    const said = new URLSearchParams(text);
    this.picks = new Map(said.getAll("pick").map((id) => [id, nameless(id)]));
    this.dislikes = new Map(said.getAll("dislike").map((id) => [id, nameless(id)]));
    for (const id of this.picks.keys()) this.dislikes.delete(id);
    for (const name of CONTROLS) this.controls.set(name, this.refused.has(name) ? 0 : Number(said.get(name)) || 0);
    this.categories = new Map(["none", "any"].flatMap((choice) => said.getAll(choice).map((name) => [name, choice])));
    const seed = Number(said.get("seed") ?? FIRST_SEED);
    this.seed = Number.isInteger(seed) && seed >= 0 && seed < MOST_SEEDS ? seed : FIRST_SEED;
  }
}
