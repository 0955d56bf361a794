/**
 * Messages from tab to tab of one browser. No server is asked.
 *
 *     const tabs = new TabClient();
 *     tabs.on("cart", (items, { from }) => show(items));
 *     tabs.send("cart", ["pear"]);
 */

import { BASE, makeLog, newId, tellAll } from "./common.js";

/** @typedef {{event: string, data: any, from: string, to: string | null}} TabMessage */

export class TabClient {
  /** @type {Map<string, Set<(data: any, message: TabMessage) => void>>} */
  #handlers = new Map();
  #channel;
  #log;

  /**
   * @param {object} [options]
   * @param {string} [options.user] only tabs with the same user hear each other
   * @param {string} [options.instance] the id of this tab; that of its `EventsClient`, say
   */
  constructor({ user = "", instance = newId() } = {}) {
    this.instance = instance;
    this.#log = makeLog(`tab ${instance.slice(0, 4)}`);
    this.#channel = new BroadcastChannel(`stoker tabs ${new URL(BASE).pathname} ${user}`.trim());
    this.#channel.onmessage = ({ data }) => this.#hear(data);
  }

  /**
   * Call `fn` with what other tabs send under this name.
   *
   * @param {string} event
   * @param {(data: any, message: TabMessage) => void} fn
   * @returns {() => void} ends it
   */
  on(event, fn) {
    const handlers = this.#handlers.get(event) ?? new Set();
    this.#handlers.set(event, handlers.add(fn));
    return () => void handlers.delete(fn);
  }

  /**
   * Send to all other tabs, or to one. It reaches those that are open now.
   *
   * @param {string} event
   * @param {any} [data] what `structuredClone` can copy
   * @param {{to?: string | null}} [options] the `instance` of one tab
   */
  send(event, data = null, { to = null } = {}) {
    this.#channel.postMessage({ event, data, from: this.instance, to });
  }

  /** Neither send nor hear any more. */
  close() {
    this.#channel.close();
  }

  /** @param {TabMessage} message */
  #hear(message) {
    if (message.to !== null && message.to !== this.instance) return;
    this.#log(`from another tab: ${message.event}`, message);
    tellAll(this.#handlers.get(message.event) ?? [], message.data, message);
  }
}
