/** The models that are served: which of them is asked, and what it has something for. */

const at = (id) => document.getElementById(id);
let cards = []; // the default one first

/** Takes the cards of GET /models. */
export function learnModels(models) {
  cards = models;
}

/** The card of the model that is asked; undefined while none is known. */
export const cardOf = (wishes) => cards.find(({ name }) => name === wishes.model) ?? cards[0];

/** What a question calls the model of a card; the default one needs no name. */
export const nameOfModel = (card) => (card === cards[0] ? "" : card.name);

/** What a question calls each of them. */
export const namesOfModels = () => cards.map(nameOfModel);

/** Addresses a question to the model that is asked. */
export function toModel(path, { model }) {
  if (!model) return path;
  return `${path}${path.includes("?") ? "&" : "?"}model=${encodeURIComponent(model)}`;
}

/** Lets the person choose among models; `changed()` is told of every choice. */
export function modelChoice(wishes, changed) {
  at("model").addEventListener("change", () => {
    wishes.model = at("model").value;
    changed();
  });
}

/** Shows which models there are, where there is a choice. */
export function drawModels(wishes) {
  at("which").hidden = cards.length < 2;
  const options = cards.map((card) => {
    const { name, architecture } = card;
    return new Option(name === architecture ? name : `${name} (${architecture})`, nameOfModel(card));
  });
  // Only when they change: a browser closes the list that a person is looking at.
  if (!sameTexts(options, at("model").options)) at("model").replaceChildren(...options);
  at("model").value = wishes.model;
}

const sameTexts = (one, other) => textsOf(one) === textsOf(other);
const textsOf = (options) => [...options].map((option) => option.text).join("\n");
