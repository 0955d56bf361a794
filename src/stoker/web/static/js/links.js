/**
 * The ways from a tab to the hub that holds the stream: a worker that all tabs share, one of the tabs, or itself.
 *
 * A link says `opened` when a hub is there, and again when another one has taken its place; the tab then tells it what
 * it wants.
 */

import { BASE, VERSION } from "./common.js";
import { Http } from "./rest.js";
import { Hub } from "./hub.js";
import { LeaderLink } from "./leader.js";

/** @typedef {import("./types").ToHub} ToHub */
/** @typedef {import("./types").ToTab} ToTab */
/** @typedef {import("./types").Share} Share */

/**
 * @typedef {object} Link
 * @property {(message: ToHub) => void} post
 * @property {() => void} close
 */

/**
 * @typedef {object} LinkParts
 * @property {string} name what all tabs that share a line have in common
 * @property {string} tab
 * @property {(message: ToTab) => void} receive
 * @property {() => void} opened
 * @property {() => void} failed this way does not work here
 * @property {import("./common.js").Log} log
 */

const WELCOME_WITHIN = 10_000;
/** Milliseconds between questions whether the worker is alive, where its lock cannot tell. */
const ASK_EVERY = 2_000;

/** What this browser offers, the best first. @returns {Share[]} */
export function shares() {
  /** @type {Share[]} */
  const found = ["tab"];
  if ("BroadcastChannel" in globalThis) found.unshift("leader");
  if ("SharedWorker" in globalThis) found.unshift("worker");
  return found;
}

/**
 * @param {Share} share
 * @param {Omit<LinkParts, "name">} parts
 * @param {string} user whose line it is; two people in one browser have two
 * @returns {Link}
 */
export function openLink(share, parts, user) {
  const whole = { ...parts, name: `stoker ${VERSION} ${new URL(BASE).pathname} ${user}`.trim() };
  parts.log("sharing a line", { share, name: whole.name });
  if (share === "worker") return new WorkerLink(whole);
  if (share === "leader") return new LeaderLink(whole);
  return new OwnLink(whole);
}

/** A shared worker. When it dies (it may live in the process of a tab that crashes) the next one is started. */
class WorkerLink {
  /** @type {MessagePort | null} */
  #port = null;
  #closed = false;
  #answered = true;
  #asking = 0;
  #late = 0;

  /** @param {LinkParts} parts */
  constructor(parts) {
    this.#parts = parts;
    this.#connect();
  }

  #parts;

  /** @param {ToHub} message */
  post(message) {
    this.#port?.postMessage(message);
  }

  close() {
    this.#closed = true;
    clearInterval(this.#asking);
    clearTimeout(this.#late);
    this.#port?.close();
    this.#port = null;
  }

  #connect() {
    if (this.#closed) return;
    clearInterval(this.#asking);
    const worker = new SharedWorker(new URL("SharedWorker.js", import.meta.url), {
      type: "module",
      name: this.#parts.name,
    });
    worker.onerror = () => this.#fail("the worker cannot be started");
    worker.port.onmessage = ({ data }) => this.#hear(data, worker.port);
    this.#late = setTimeout(() => this.#fail("the worker does not answer"), WELCOME_WITHIN);
  }

  /**
   * @param {any} message
   * @param {MessagePort} port
   */
  #hear(message, port) {
    if (this.#closed) return;
    this.#answered = true;
    if (message.type !== "welcome") return this.#parts.receive(message);
    clearTimeout(this.#late);
    this.#port = port;
    this.#watch(message.lock);
    this.#parts.opened();
  }

  /** @param {string} lock that the worker holds while it lives */
  #watch(lock) {
    if (navigator.locks) {
      navigator.locks.request(lock, { mode: "shared" }, () => this.#lose());
      return;
    }
    this.#asking = setInterval(() => {
      if (!this.#answered) return this.#lose();
      this.#answered = false;
      this.post({ type: "alive", tab: this.#parts.tab });
    }, ASK_EVERY);
  }

  #lose() {
    if (this.#closed) return;
    this.#parts.log("the worker died; starting another");
    this.#port?.close();
    this.#port = null;
    this.#connect();
  }

  /** @param {string} why */
  #fail(why) {
    if (this.#closed) return;
    this.#parts.log(why);
    this.close();
    this.#parts.failed();
  }
}

/** A stream of this tab's own. */
class OwnLink {
  #hub;

  /** @param {LinkParts} parts */
  constructor({ tab, receive, opened, log }) {
    this.#hub = new Hub({ http: new Http(BASE), instance: tab, send: receive, gather: 0, log });
    queueMicrotask(opened);
  }

  /** @param {ToHub} message */
  post(message) {
    this.#hub.receive(message);
  }

  close() {
    this.#hub.close();
  }
}
