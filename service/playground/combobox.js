/** A text field with a list of suggestions, by the ARIA combobox pattern. */

import { labelOf, replaceRows, stamp } from "./lists.js";

// Shorter than a pause between words, longer than one between letters.
const DEBOUNCE_MS = 120;

/**
 * Joins an input to its list.
 *
 * `find(text)` resolves to the items to offer, or rejects with an error whose message can be
 * shown; `choose(item)` is told what the person took.
 */
export function combobox(input, list, status, { find, choose }) {
  let items = [];
  let active = -1;
  let timer = 0;
  let turn = 0;

  function activate(index) {
    active = index;
    [...list.children].forEach((option, at) => option.setAttribute("aria-selected", at === active));
    const option = list.children[active];
    option?.scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", option?.id ?? "");
  }

  function show(found) {
    items = found;
    replaceRows(list, items.map(optionOf), input);
    list.hidden = items.length === 0;
    input.setAttribute("aria-expanded", !list.hidden);
    activate(list.hidden ? -1 : 0);
  }

  function optionOf(item, at) {
    const option = stamp("option", {
      label: labelOf(item),
      categories: (item.categories ?? []).join(", "),
    });
    option.id = `option-${at}`;
    option.addEventListener("click", () => take(at));
    return option;
  }

  function close() {
    clearTimeout(timer);
    turn += 1; // a search under way comes too late now
    show([]);
    status.textContent = "";
  }

  function take(at) {
    const item = items[at];
    if (!item) return;
    input.value = "";
    close();
    choose(item);
  }

  async function search() {
    const text = input.value.trim();
    if (!text) return close();
    const mine = ++turn;
    const { found, message } = await find(text).then(
      (found) => ({ found, message: found.length ? `${found.length} found` : `No other title has “${text}”` }),
      (problem) => ({ found: [], message: problem.message }),
    );
    if (mine !== turn) return;
    show(found);
    status.textContent = message;
  }

  const keys = {
    ArrowDown: () => activate((active + 1) % items.length),
    ArrowUp: () => activate((active - 1 + items.length) % items.length),
    Enter: () => take(active),
    Escape: close,
  };

  input.addEventListener("keydown", (event) => {
    // While an input method composes a word, Enter and the arrows are its own.
    if (event.isComposing || !(event.key in keys)) return;
    if (!list.hidden) {
      event.preventDefault();
      keys[event.key]();
    } else if (event.key === "ArrowDown") {
      search();
    }
  });
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, DEBOUNCE_MS);
  });
  input.addEventListener("blur", close);
  list.addEventListener("pointerdown", (event) => event.preventDefault()); // keeps the focus
}
