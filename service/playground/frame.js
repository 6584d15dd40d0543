/** The page around its contents: its address, and what stays in sight while it is scrolled. */

// Long enough to be read, short enough to be offered again.
const SAID_MS = 2500;
const MARGIN_PX = 40;

/** Lets a button copy the address of the page, where the browser lets a page do so. */
export function sharing(button, status) {
  button.hidden = !navigator.clipboard; // it is there on https and on this very machine only
  const offer = button.textContent;
  let timer = 0;
  button.addEventListener("click", async () => {
    const said = await navigator.clipboard.writeText(location.href).then(
      () => "Link copied",
      () => "The browser does not let this page copy: take the address from its address bar",
    );
    button.textContent = status.textContent = said;
    clearTimeout(timer);
    timer = setTimeout(() => {
      button.textContent = offer;
      status.textContent = "";
    }, SAID_MS);
  });
}

/** Lets a column stay where it is once all of it was in sight, however tall it is. */
export function steadying(column) {
  const steady = () => {
    const top = Math.min(MARGIN_PX, innerHeight - column.offsetHeight - MARGIN_PX);
    column.style.setProperty("--top", `${top}px`);
  };
  new ResizeObserver(steady).observe(column);
  addEventListener("resize", steady);
}
