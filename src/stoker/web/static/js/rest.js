/** Requests to the bridge: who asks, what came back, what went wrong; and jobs, as far as they are asked for. */

import { Pause } from "./common.js";

/** @typedef {import("./types").JobRecord} JobRecord */
/** @typedef {import("./types").StokerEvent} StokerEvent */

/** What the bridge refused, or could not do. `code` is the protocol's (`unknown_job`, `invalid_input`, …). */
export class StokerError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {number} status of the answer; 0 when there was none
   */
  constructor(code, message, status) {
    super(message);
    this.name = "StokerError";
    this.code = code;
    this.status = status;
  }
}

/** A job that did not complete; `record` says how it ended. */
export class JobFailed extends Error {
  /** @param {JobRecord} record */
  constructor(record) {
    super(record.error ?? `the job was ${record.status}`);
    this.name = "JobFailed";
    this.record = record;
  }
}

/** One bridge, seen by one caller. */
export class Http {
  /** @type {Promise<number | null> | null} */
  #renewing = null;
  /** @type {(token: string) => void} is called with each new token */
  renewed = () => {};

  /**
   * @param {string} base where the bridge is mounted, with a slash at the end
   * @param {string} [token] sent as a bearer; without one the browser's cookie speaks
   */
  constructor(base, token = "") {
    this.base = base;
    this.token = token;
  }

  /**
   * Ask, and read the answer.
   *
   * @param {string} method
   * @param {string} path below the base, with its query
   * @param {unknown} [body] sent as JSON
   * @param {AbortSignal} [signal]
   * @returns {Promise<any>} the JSON of the answer; null when it has none
   * @throws {StokerError} for every answer that is not 2xx, and when none came
   */
  async request(method, path, body, signal) {
    const response = await this.open(method, path, body, signal);
    const text = await response.text();
    return text === "" ? null : JSON.parse(text);
  }

  /**
   * Ask, and hand out the answer unread. A credential that has ended is renewed once, silently.
   *
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   * @param {AbortSignal} [signal]
   * @returns {Promise<Response>}
   * @throws {StokerError}
   */
  async open(method, path, body, signal) {
    let response = await this.#fetch(method, path, body, signal);
    if (response.status === 401) {
      await this.renew();
      response = await this.#fetch(method, path, body, signal);
    }
    if (!response.ok) throw await failure(response);
    return response;
  }

  /**
   * Have the credential renewed. Asked several times at once, it is done once.
   *
   * @returns {Promise<number | null>} for how many seconds the new one is good; null when that was not said
   * @throws {StokerError} when it is too late for that
   */
  renew() {
    this.#renewing ??= this.#renew().finally(() => (this.#renewing = null));
    return this.#renewing;
  }

  async #renew() {
    const response = await this.#fetch("POST", "auth/token", {}, undefined);
    if (!response.ok) throw await failure(response);
    const { token, expires } = await response.json();
    if (this.token) this.renewed((this.token = token));
    return expires ?? null;
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {unknown} body
   * @param {AbortSignal | undefined} signal
   * @returns {Promise<Response>}
   */
  async #fetch(method, path, body, signal) {
    /** @type {Record<string, string>} */
    const headers = {};
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (this.token) headers["Authorization"] = `Bearer ${this.token}`;
    try {
      return await fetch(new URL(path, this.base), {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: "no-store",
        credentials: "same-origin",
        signal,
      });
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw new StokerError("unreachable", `the server does not answer: ${error}`, 0);
    }
  }
}

/**
 * @param {Response} response
 * @returns {Promise<StokerError>}
 */
async function failure(response) {
  const said = await response.json().catch(() => null);
  return new StokerError(
    said?.error ?? "http",
    said?.message ?? `${response.status} ${response.statusText}`,
    response.status,
  );
}

/** A handle of one job. */
export class Job {
  /**
   * @param {import("./EventsClient.js").EventsClient} client
   * @param {string} id
   */
  constructor(client, id) {
    this.client = client;
    this.id = id;
  }

  /** @returns {Promise<JobRecord>} how it is now */
  record() {
    return this.client.request("GET", `jobs/${encodeURIComponent(this.id)}`);
  }

  /** @param {string} [reason] @returns {Promise<JobRecord>} a running job is told to stop and ends soon after */
  cancel(reason) {
    return this.client.request("POST", `jobs/${encodeURIComponent(this.id)}/cancel`, reason ? { reason } : {});
  }

  /** @returns {Promise<JobRecord>} new again */
  retry() {
    return this.client.request("POST", `jobs/${encodeURIComponent(this.id)}/retry`, {});
  }

  /** @returns {Promise<void>} when it has ended, however */
  ended() {
    return new Promise((resolve) => {
      const heard = (/** @type {StokerEvent} */ { event }) => void (event === "end" && resolve());
      this.client.subscribe(this, heard, { after: "" });
    });
  }

  /** @returns {Promise<any>} its value, when it has completed; raises {@link JobFailed} when it has not */
  async result() {
    let record = await this.record();
    if (record.status === "new" || record.status === "running") {
      await this.ended();
      record = await this.record();
    }
    if (record.status !== "completed") throw new JobFailed(record);
    return record.output;
  }

  /**
   * What it streams, from its first piece on, until it has ended.
   *
   * @returns {AsyncGenerator<any, void, void>}
   * @throws {StokerError} `gone`: we were away for longer than its pieces are kept, and some are missing
   */
  async *stream() {
    /** @type {StokerEvent[]} */
    const heard = [];
    const more = new Pause();
    const subscription = this.client.subscribe(this, (event) => {
      heard.push(event);
      more.end();
    });
    try {
      for (;;) {
        const event = heard.shift();
        if (event === undefined) await more.wait(60_000);
        else if (event.event === "chunk") yield event.data;
        else if (event.event === "reset") throw new StokerError("gone", "some of what it streamed is not kept", 0);
        else if (event.event === "end") return;
      }
    } finally {
      subscription.close();
    }
  }
}
