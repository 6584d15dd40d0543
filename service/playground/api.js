/** The service as this page sees it: questions, answers and problems. */

// Longer than any deadline of the service: after this the network has lost the answer.
const PATIENCE_MS = 15_000;

// Until the page is left: it is written down nowhere.
let apiKey = "";

/** Sends a key with every question from now on. */
export function useKey(key) {
  apiKey = key.trim();
}

/**
 * The service refused, failed or did not answer; `retryAfterS` is 0 unless it said when to return.
 * `unsupported` is the control that the model has nothing for, where that is what is wrong.
 */
export class Problem extends Error {
  constructor(title, detail, { retryAfterS = 0, wantsKey = false, unsupported = "" } = {}) {
    super(title);
    this.detail = detail;
    this.retryAfterS = retryAfterS;
    this.wantsKey = wantsKey;
    this.unsupported = unsupported;
  }
}

/** Asks one kind of question: a newer one aborts the older, whose answer is never seen. */
export class Inquiry {
  #current = new AbortController();

  /** Drops the question that is under way. */
  cancel() {
    this.#current.abort();
  }

  /**
   * Resolves to the answer with the milliseconds it took, or to null when it came too late.
   * A question with a body is posted. Throws a Problem.
   */
  async ask(path, body) {
    this.cancel();
    const { signal } = (this.#current = new AbortController());
    const startedMs = performance.now();
    try {
      const response = await fetch(path, {
        signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]),
        headers: {
          ...(apiKey && { "X-API-Key": apiKey }),
          ...(body && { "Content-Type": "application/json" }),
        },
        ...(body && { method: "POST", body: JSON.stringify(body) }),
      });
      if (!response.ok) throw await problemOf(response);
      return { ...(await response.json()), tookMs: performance.now() - startedMs };
    } catch (error) {
      if (signal.aborted) return null;
      if (error instanceof Problem) throw error;
      throw new Problem("The service does not answer", "Is it running, and can you reach it?");
    }
  }
}

/** Reads an RFC 9457 body; a proxy in between may have sent anything else. */
async function problemOf(response) {
  const { title, detail, type, pointer } = await response.json().catch(() => ({}));
  const said = title ?? `The service failed (${response.status})`;
  return new Problem(said, detail ?? "", {
    retryAfterS: Number(response.headers.get("Retry-After")) || 0,
    wantsKey: response.status === 401,
    unsupported: type?.endsWith("/unsupported-control") ? (pointer ?? "").replace("/", "") : "",
  });
}
