/** Lists of data on the page: stamped from templates, replaced without losing the keyboard's place. */

/** What an item is called: its title, or its id where it has none. */
export const labelOf = (item) => item.title || item.item_id;

/** Copies a template and fills its slots. Titles are data: they enter as text, never as markup. */
export function stamp(templateId, texts) {
  const copy = document.getElementById(templateId).content.firstElementChild.cloneNode(true);
  for (const [slot, text] of Object.entries(texts)) {
    const place = copy.matches(`[data-slot=${slot}]`) ? copy : copy.querySelector(`[data-slot=${slot}]`);
    place.textContent = text;
  }
  return copy;
}

/** Shows `rows` in `list`; if the row with the focus goes, the same button of the row in its place takes it. */
export function replaceRows(list, rows, otherwise) {
  const focused = document.activeElement;
  const place = [...list.children].findIndex((row) => row.contains(focused));
  const button = buttonsOf(list.children[place]).indexOf(focused);
  list.replaceChildren(...rows);
  if (place < 0) return;
  const heir = buttonsOf(rows[Math.min(place, rows.length - 1)]).at(button);
  (focused.isConnected ? focused : (heir ?? otherwise)).focus({ preventScroll: true });
}

const buttonsOf = (row) => [...(row?.querySelectorAll("button") ?? [])];

/** Shows `rows` in `list`, the ones that were there before gliding to their new places. */
export function glideRows(list, rows, otherwise) {
  const oldTop = new Map([...list.children].map((row) => [row, row.offsetTop]));
  replaceRows(list, rows, otherwise);
  if (!matchMedia("(prefers-reduced-motion: no-preference)").matches) return;
  for (const row of rows) {
    const from = oldTop.has(row)
      ? { transform: `translateY(${oldTop.get(row) - row.offsetTop}px)` }
      : { opacity: 0 };
    row.animate([from, {}], { duration: 260, easing: "cubic-bezier(.2, 0, 0, 1)" });
  }
}
