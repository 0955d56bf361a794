/** What every module needs: the version, ids, a log, handlers, and waiting. */

/** Tabs and workers of two versions never talk to each other: it is part of every name that they share. */
export const VERSION = "0.1.0";

/** Where the bridge is mounted: these modules lie in its folder `js`. */
export const BASE = import.meta.url.slice(0, import.meta.url.lastIndexOf("/js/") + 1);

/**
 * An id that nobody guesses, 32 hexadecimal digits. Works on plain `http://` too, where `crypto.randomUUID` is missing.
 *
 * @returns {string}
 */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * @typedef {(what: string, details?: unknown) => void} Log
 */

/**
 * A log for the console at its debug level; every line begins with `stoker:`.
 *
 * @param {string} where the part that speaks
 * @param {(line: string, details: unknown) => void} [relay] is given each line too
 * @returns {Log}
 */
export function makeLog(where, relay) {
  return (what, details) => {
    print(`${where}: ${what}`, details);
    relay?.(`${where}: ${what}`, details);
  };
}

/**
 * One line in this console.
 *
 * @param {string} line
 * @param {unknown} [details]
 */
export function print(line, details) {
  if (details === undefined) console.debug(`stoker: ${line}`);
  else console.debug(`stoker: ${line}`, details);
}

/**
 * Call one after the other. A mistake in one is shown in the console, and is not the others' loss.
 *
 * @template {unknown[]} T
 * @param {Iterable<(...args: T) => void>} handlers
 * @param {T} args
 */
export function tellAll(handlers, ...args) {
  for (const handler of handlers) {
    try {
      handler(...args);
    } catch (error) {
      reportError(error);
    }
  }
}

/** A pause that can be ended before its time. */
export class Pause {
  /** @type {(() => void) | null} */
  #end = null;

  /**
   * @param {number} milliseconds
   * @returns {Promise<void>} when the time is over, or {@link end} was called
   */
  wait(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.end(), milliseconds);
      this.#end = () => {
        clearTimeout(timer);
        this.#end = null;
        resolve();
      };
    });
  }

  /** Go on now, if it is waiting. */
  end() {
    this.#end?.();
  }
}

/**
 * A random time below a bound that doubles with each failure (full jitter), so that many clients never come at once.
 *
 * @param {number} failures how often it went wrong in a row
 * @returns {number} milliseconds, at most 30,000
 */
export function jitter(failures) {
  return Math.random() * Math.min(30_000, 500 * 2 ** failures);
}

/**
 * An id for a new job: a UUID of version 7, which begins with the time.
 *
 * @returns {string}
 */
export function jobId() {
  const random = newId();
  const variant = "89ab"[Number.parseInt(random[0], 16) % 4];
  return `${Date.now().toString(16).padStart(12, "0")}7${random.slice(1, 4)}${variant}${random.slice(5, 20)}`;
}
