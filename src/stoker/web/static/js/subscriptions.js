/**
 * What one tab wants to hear, and how far each of its subscribers has come.
 *
 * A subscriber is deaf until the hub has granted its wish: what was already on its way belongs to somebody else's place
 * in the topic. From then on it takes each event that lies behind its cursor, once and in order, whoever sends it.
 */

import { tellAll } from "./common.js";
import { isAfter } from "./wire.js";

/** @typedef {import("./types").StokerEvent} StokerEvent */
/** @typedef {import("./types").ToTab} ToTab */

/** One subscriber of one topic. */
export class Subscription {
  /** The number of the wish that asks for it; 0 while none was sent. */
  wish = 0;
  granted = false;

  /**
   * @param {string} topic
   * @param {(event: StokerEvent) => void} fn
   * @param {string} cursor behind which it hears; "" is from now on
   * @param {(subscription: Subscription) => void} closed
   */
  constructor(topic, fn, cursor, closed) {
    this.topic = topic;
    this.fn = fn;
    this.cursor = cursor;
    this.#closed = closed;
  }

  #closed;

  /** Hear no more. */
  close() {
    this.#closed(this);
  }

  /** @param {StokerEvent} event */
  hear(event) {
    if (event.cursor) this.cursor = event.cursor;
    tellAll([this.fn], event);
  }
}

/** All subscribers of a tab. */
export class Subscriptions {
  /** @type {Map<string, Set<Subscription>>} */
  #topics = new Map();
  #wish = 0;
  #opened = false;
  #asking = false;

  /** @param {(wish: {n: number, topics: string[], from: Record<string, string>}) => void} ask tells the hub */
  constructor(ask) {
    this.#ask = ask;
  }

  #ask;

  /**
   * @param {string} topic
   * @param {(event: StokerEvent) => void} fn
   * @param {string} after
   * @returns {Subscription}
   */
  add(topic, fn, after) {
    const subscription = new Subscription(topic, fn, after, (one) => this.#remove(one));
    const others = this.#topics.get(topic);
    if (others) others.add(subscription);
    else this.#topics.set(topic, new Set([subscription]));
    this.ask();
    return subscription;
  }

  /** @param {Subscription} subscription */
  #remove(subscription) {
    const others = this.#topics.get(subscription.topic);
    if (!others?.delete(subscription) || others.size > 0) return;
    this.#topics.delete(subscription.topic);
    this.ask();
  }

  /** There is a hub, and it knows nothing of this tab. */
  opened() {
    this.#opened = true;
    for (const subscription of this.#all()) {
      subscription.granted = false;
      subscription.wish = 0;
    }
    this.ask();
  }

  /** There is none any more. */
  lost() {
    this.#opened = false;
  }

  /** Say what is wanted now; several calls at one time are one wish. */
  ask() {
    if (this.#asking || !this.#opened) return;
    this.#asking = true;
    queueMicrotask(() => {
      this.#asking = false;
      this.#ask({ n: ++this.#wish, topics: [...this.#topics.keys()], from: this.#from() });
    });
  }

  /** The places that the hub must go on from: of each topic the earliest of those who wait for it. */
  #from() {
    /** @type {Record<string, string>} */
    const from = {};
    for (const subscription of this.#all()) {
      if (subscription.granted) continue;
      subscription.wish ||= this.#wish;
      from[subscription.topic] = earlier(from[subscription.topic] ?? "", subscription.cursor);
    }
    return from;
  }

  /** @param {ToTab} message @returns {boolean} whether it was for subscribers */
  receive(message) {
    if (message.type === "granted") this.#grant(message.n, message.cursors);
    else if (message.type === "cursors") this.#place(message.cursors);
    else if (message.type === "message") this.#hear(message);
    else if (message.type === "reset") this.#reset(message);
    else if (message.type === "end") this.#end(message);
    else return false;
    return true;
  }

  /**
   * @param {number} n
   * @param {Record<string, string>} cursors
   */
  #grant(n, cursors) {
    for (const subscription of this.#all()) {
      if (subscription.granted || subscription.wish > n) continue;
      subscription.granted = true;
      subscription.wish = 0;
    }
    this.#place(cursors);
  }

  /** Whoever asked for "from now on" learns where that is. @param {Record<string, string>} cursors */
  #place(cursors) {
    for (const subscription of this.#all()) {
      if (subscription.granted && subscription.cursor === "") subscription.cursor = cursors[subscription.topic] ?? "";
    }
  }

  /** @param {import("./types").TopicEvent} message */
  #hear({ topic, event, data, at, attempt, cursor }) {
    for (const subscription of this.#of(topic)) {
      if (cursor !== "" && !isAfter(cursor, subscription.cursor)) continue;
      subscription.hear({ topic, event, data, at, attempt, cursor });
    }
  }

  /** @param {import("./types").End} message */
  #end({ topic, status, reason }) {
    const over = this.#of(topic);
    for (const subscription of over) this.#topics.get(topic)?.delete(subscription);
    if (this.#topics.get(topic)?.size === 0) this.#topics.delete(topic);
    for (const subscription of over) subscription.hear({ topic, event: "end", data: { status, reason }, cursor: "" });
  }

  /** @param {import("./types").Reset} message */
  #reset({ topic, reason, cursor }) {
    for (const subscription of this.#of(topic)) {
      subscription.cursor = cursor;
      subscription.hear({ topic, event: "reset", data: { reason }, cursor });
    }
  }

  /** @param {string} topic @returns {Subscription[]} those that hear what comes now */
  #of(topic) {
    return [...(this.#topics.get(topic) ?? [])].filter((subscription) => subscription.granted);
  }

  *#all() {
    for (const subscriptions of this.#topics.values()) yield* subscriptions;
  }
}

/**
 * @param {string} cursor
 * @param {string} other
 * @returns {string} the one that lies before the other; "", which is from now on, lies behind all
 */
function earlier(cursor, other) {
  if (cursor === "" || other === "") return cursor || other;
  return isAfter(cursor, other) ? other : cursor;
}
