/** The client of a page; see docs/browser.md. */

import type { JobRecord, Share, State, StokerEvent } from "./types";

export type { JobRecord, Progress, Share, State, StokerEvent } from "./types";

export class StokerError extends Error {
  constructor(code: string, message: string, status: number);
  /** The protocol's code: `unknown_job`, `invalid_input`, …; `unreachable` when no answer came. */
  code: string;
  /** Of the answer; 0 when there was none. */
  status: number;
}

export class JobFailed extends Error {
  constructor(record: JobRecord);
  /** How the job ended. */
  record: JobRecord;
}

export interface Subscription {
  readonly topic: string;
  /** The place of the last event that was heard. */
  readonly cursor: string;
  /** Hear no more. */
  close(): void;
}

export interface EventsClientOptions {
  /** Whose page this is: in a browser where two people work, each has a line of their own. */
  user?: string;
  /** Sent as a bearer; without one the browser's cookie speaks. Give `user`, too, or each tab has its own line. */
  token?: string;
  /** Use this way to share a line, or a lesser one. */
  share?: Share;
}

export class EventsClient extends EventTarget {
  /** The client that the elements of a page use; made when first asked for. */
  static shared(): EventsClient;
  constructor(options?: EventsClientOptions);

  /** The id of this tab, to address it alone. Another one each time the page is loaded. */
  readonly instance: string;
  /** A `state` event (`CustomEvent<{state, why}>`) tells when it changes. */
  readonly state: State;

  /** When events come. Rejects with a {@link StokerError} when the server does not let us in. */
  connect(): Promise<void>;
  /** Hang up. `connect` takes up the line again. */
  close(): void;

  /** Events pushed to this user, session or tab; `*` for every one. Returns what ends it. */
  on(event: string, fn: (data: any, event: StokerEvent) => void): () => void;
  /** A job from its first event on, then `end`; or the topics `jobs`, `sys-stats` and `workers`. */
  subscribe(
    topic: string | Job,
    fn: (event: StokerEvent) => void,
    options?: { after?: string | number },
  ): Subscription;

  /** Store a job; sent again under the same id when the line breaks. */
  submit(command: string, input?: any, options?: Record<string, any>): Promise<Job>;
  /** Submit, and wait for the value. Rejects with {@link JobFailed} or {@link StokerError}. */
  call(command: string, input?: any, options?: Record<string, any>): Promise<any>;
  /** A handle; nothing is asked yet. */
  job(id: string): Job;
  /** This user's jobs, newest first. */
  jobs(filters?: Record<string, string | number>): Promise<JobRecord[]>;
  cancel(id: string, reason?: string): Promise<JobRecord>;
  /** Any request of the bridge; `path` lies below the place where it is mounted. */
  request(method: string, path: string, body?: unknown): Promise<any>;
  /** End this session: here, in the other tabs, and at the server. */
  logout(): Promise<void>;
}

export class Job {
  constructor(client: EventsClient, id: string);
  readonly client: EventsClient;
  readonly id: string;
  record(): Promise<JobRecord>;
  cancel(reason?: string): Promise<JobRecord>;
  retry(): Promise<JobRecord>;
  /** When it has ended, however. */
  ended(): Promise<void>;
  /** Its value. Rejects with {@link JobFailed} when it did not complete. */
  result(): Promise<any>;
  /** What it streams, from its first piece on, until it has ended. */
  stream(): AsyncGenerator<any, void, void>;
}
