/** Messages from tab to tab; see docs/browser.md. */

export interface TabMessage {
  event: string;
  data: any;
  /** The `instance` of the tab that sent it. */
  from: string;
  /** The one that it is for; null for all. */
  to: string | null;
}

export class TabClient {
  constructor(options?: { user?: string; instance?: string });
  /** The id of this tab. */
  readonly instance: string;
  /** What other tabs send under this name. Returns what ends it. */
  on(event: string, fn: (data: any, message: TabMessage) => void): () => void;
  /** To all other tabs that are open now, or to one. */
  send(event: string, data?: any, options?: { to?: string | null }): void;
  close(): void;
}
