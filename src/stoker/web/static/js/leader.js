/**
 * Without a shared worker the tabs of a browser choose one of them to hold the stream; it passes everything on over a
 * BroadcastChannel. When the leader is closed, crashes, or stays hidden, another one takes over; every tab then tells
 * the new one how far it has come, so nothing is lost and nothing comes twice.
 */

import { BASE, newId } from "./common.js";
import { Http } from "./rest.js";
import { Hub } from "./hub.js";

/** @typedef {import("./types").ToHub} ToHub */
/** @typedef {import("./types").ToTab} ToTab */

/** Milliseconds that a new leader waits for the wishes of the others before it connects. */
const GATHER = 20;
/** A leader that nobody has looked at for so long hands over to a tab that somebody does: browsers slow it down. */
const HIDDEN_FOR = 30_000;
const BEAT = 1_000;
const SILENT_BEATS = 3;

/**
 * @typedef {{kind: "hub", message: ToHub}
 *   | {kind: "tab", message: ToTab, tabs: string[]}
 *   | {kind: "who"}
 *   | {kind: "lead", leader: string, term: number}
 *   | {kind: "gone", leader: string}
 *   | {kind: "take", tab: string}} Call what is said between tabs
 */

/** A tab among others of which one leads. */
export class LeaderLink {
  /** @type {Hub | null} there while this tab leads */
  #hub = null;
  #leader = "";
  #term = 0;
  #hidden = 0;
  #channel;
  #election;

  /** @param {import("./links.js").LinkParts} parts */
  constructor(parts) {
    this.#parts = parts;
    this.#channel = new BroadcastChannel(parts.name);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    /** @type {Duties} */
    const duties = { tab: parts.tab, lead: (term) => this.#lead(term), follow: () => this.#follow() };
    this.#election = navigator.locks ? new LockElection(parts.name, duties) : new BeatElection(duties);
    document.addEventListener("visibilitychange", this.#seen);
    this.#say({ kind: "who" });
  }

  #parts;

  /** @param {ToHub} message */
  post(message) {
    if (this.#hub) this.#hub.receive(message);
    else this.#say({ kind: "hub", message });
  }

  close() {
    document.removeEventListener("visibilitychange", this.#seen);
    clearTimeout(this.#hidden);
    this.#election.close();
    if (this.#hub) this.#say({ kind: "gone", leader: this.#parts.tab });
    this.#follow();
    this.#channel.close();
  }

  /** @param {Call} call */
  #say(call) {
    this.#channel.postMessage(call);
  }

  /** @param {Call} call */
  #hear(call) {
    if (call.kind === "hub") this.#hub?.receive(call.message);
    else if (call.kind === "tab") call.tabs.includes(this.#parts.tab) && this.#parts.receive(call.message);
    else if (call.kind === "who") this.#hub && this.#announce();
    else if (call.kind === "take") call.tab === this.#parts.tab && this.#election.take();
    else if (call.kind === "gone") this.#election.gone(call.leader);
    else if (this.#election.accepts(call)) this.#obey(call.leader);
    else if (this.#hub) this.#announce();
  }

  /** @param {string} leader */
  #obey(leader) {
    if (leader === this.#leader) return;
    this.#follow();
    this.#leader = leader;
    this.#parts.log("following", { leader });
    this.#parts.opened();
  }

  /** @param {number} term */
  #lead(term) {
    this.#term = term;
    if (this.#hub) return this.#announce();
    this.#leader = this.#parts.tab;
    this.#parts.log("leading", { tab: this.#parts.tab });
    this.#hub = new Hub({
      http: new Http(BASE),
      instance: newId(),
      send: (message, tabs) => this.#send(message, tabs),
      gather: GATHER,
      log: this.#parts.log,
    });
    this.#announce();
    this.#parts.opened();
    return this.#seen();
  }

  #follow() {
    this.#hub?.close();
    this.#hub = null;
  }

  #announce() {
    this.#say({ kind: "lead", leader: this.#parts.tab, term: this.#term });
  }

  /**
   * @param {ToTab} message
   * @param {string[]} tabs
   */
  #send(message, tabs) {
    const others = tabs.filter((tab) => tab !== this.#parts.tab);
    if (others.length) this.#say({ kind: "tab", message, tabs: others });
    if (others.length < tabs.length) this.#parts.receive(message);
  }

  #seen = () => {
    clearTimeout(this.#hidden);
    if (this.#hub && document.hidden) this.#hidden = setTimeout(() => this.#handOver(), HIDDEN_FOR);
  };

  #handOver() {
    const tab = this.#hub?.visibleTab;
    if (tab !== undefined && tab !== this.#parts.tab) {
      this.#parts.log("handing over", { tab });
      this.#say({ kind: "take", tab });
    }
    this.#seen(); // and again, should it not be taken
  }
}

/**
 * @typedef {object} Duties
 * @property {string} tab
 * @property {(term: number) => void} lead this tab is to lead now
 * @property {() => void} follow it leads no more
 */

/** Whoever holds the lock leads; the browser gives it on when the holder goes, however it goes. */
class LockElection {
  #closed = false;
  /** @type {AbortController} ends waiting for the lock */
  #waiting = new AbortController();
  /** @type {() => void} */
  #release = () => {};

  /**
   * @param {string} name
   * @param {Duties} duties
   */
  constructor(name, duties) {
    this.#name = name;
    this.#duties = duties;
    this.#stand({ signal: this.#waiting.signal });
  }

  #name;
  #duties;

  /** Lead now, whoever does. */
  take() {
    this.#waiting.abort();
    this.#stand({ steal: true });
  }

  /** Whoever announces itself has the lock. */
  accepts() {
    return true;
  }

  gone() {}

  close() {
    this.#closed = true;
    this.#waiting.abort();
    this.#release();
  }

  /** @param {LockOptions} options */
  async #stand(options) {
    let held = false;
    try {
      await navigator.locks.request(this.#name, options, () => {
        if (this.#closed) return undefined;
        held = true;
        this.#duties.lead(0);
        return new Promise((resolve) => (this.#release = () => resolve(undefined)));
      });
    } catch {
      if (this.#closed || !held) return;
      this.#duties.follow(); // another tab took it
      this.#waiting = new AbortController();
      this.#stand({ signal: this.#waiting.signal });
    }
  }
}

/**
 * Where there are no locks: the leader gives a beat, and when that is missing another one leads. Two that do so at the
 * same time hear of each other; the newer term stays, of two in one term the lower id.
 */
class BeatElection {
  #term = 0;
  #leader = "";
  #timer = 0;
  #patience = BEAT * (SILENT_BEATS + Math.random() / 10);

  /** @param {Duties} duties */
  constructor(duties) {
    this.#duties = duties;
    this.#takeIn(BEAT / 2); // a leader answers a newcomer before that
  }

  #duties;

  take() {
    this.#term += 1;
    this.#leader = this.#duties.tab;
    this.#beat();
  }

  /** @param {{leader: string, term: number}} call */
  accepts({ leader, term }) {
    if (term < this.#term || (term === this.#term && this.#leader !== "" && leader > this.#leader)) return false;
    this.#term = term;
    this.#leader = leader;
    this.#takeIn(this.#patience);
    return true;
  }

  /** @param {string} leader */
  gone(leader) {
    if (leader === this.#leader) this.#takeIn(50 * Math.random());
  }

  close() {
    clearTimeout(this.#timer);
  }

  #beat() {
    this.#duties.lead(this.#term);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#beat(), BEAT);
  }

  /** @param {number} milliseconds without a word of any leader */
  #takeIn(milliseconds) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.take(), milliseconds);
  }
}
