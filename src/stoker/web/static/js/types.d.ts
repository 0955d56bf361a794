/** The shapes that the modules exchange. */

/** How it goes: `live` over a stream, `polling` where one is held back, `offline` while it tries again. */
export type State = "connecting" | "live" | "polling" | "offline" | "unauthorized" | "closed";

/** One thing that happened, as a subscriber gets it. */
export interface StokerEvent {
  topic: string;
  /**
   * Of a job: `log`, `stdout`, `stderr`, `chunk`, `emit`, `progress`, `attempt`, and at last `end`. Of `audience`: the
   * name that it was sent with. `reset`: what lies between the last event and the next is not kept any more.
   */
  event: string;
  data: any;
  /** When it was said, ISO 8601 in UTC or seconds since 1970, if it is told. */
  at?: string | number;
  attempt?: number;
  /** The place of this event in its topic, to go on from. */
  cursor: string;
}

/** A job as the daemon shows it; see "Records" in the protocol. */
export interface JobRecord {
  id: string;
  app: string;
  command: string;
  status: "new" | "running" | "completed" | "failed" | "cancelled";
  user: string | null;
  attempt: number;
  progress: Progress | null;
  error: string | null;
  input: any;
  output: any;
  [field: string]: any;
}

export interface Progress {
  percent?: number | null;
  message?: string | null;
  step?: string | null;
}

/** How tabs share a line: one worker for all, one tab for all, or each its own. */
export type Share = "worker" | "leader" | "tab";

/** From the bridge to whoever reads a stream. */
export type ServerEvent = Hello | TopicEvent | Reset | End;

export interface Hello {
  type: "hello";
  stream: string;
  user?: string;
  /** Seconds that the credential is still good for. */
  expires?: number | null;
  polled: boolean;
  cursors: Map<string, string>;
}

export interface TopicEvent {
  type: "message";
  topic: string;
  event: string;
  data: any;
  offset: number | null;
  at?: string | number;
  attempt?: number;
  to?: { user: string; session: string | null; instance: string | null };
  cursor: string;
}

export interface Reset {
  type: "reset";
  topic: string;
  reason: string;
  cursor: string;
}

export interface End {
  type: "end";
  topic: string;
  status?: string;
  reason?: string;
  cursor: string;
}

/** From a tab to the hub that holds its stream. */
export type ToHub =
  | {
      type: "want";
      tab: string;
      /** Numbers the wishes of a tab; the answer carries it. */
      n: number;
      /** Everything that the tab wants from now on. */
      topics: string[];
      /** Of those that are new: where to go on from. */
      from: Record<string, string>;
      visible: boolean;
      token: string;
      /** The tab holds the lock of its name for as long as it lives. */
      locked: boolean;
    }
  | { type: "bye" | "alive" | "wake" | "signout"; tab: string };

/** From the hub to its tabs. */
export type ToTab =
  | { type: "granted"; n: number; cursors: Record<string, string> }
  | { type: "cursors"; cursors: Record<string, string> }
  | { type: "state"; state: State; why: string }
  | { type: "stop"; why: string }
  | { type: "token"; token: string }
  | { type: "alive" | "unknown" }
  | { type: "log"; line: string; details: unknown }
  | TopicEvent
  | Reset
  | End;
