import type { PeerId, Quarantine, Quarantined, Schema } from "./contract.js";
import type { Raw } from "./core.js";
import type { Engine } from "./engine.js";
import { LiveValue } from "./live.js";
import { Looking } from "./looking.js";
import { fieldsOf } from "./schema.js";

type Told = NonNullable<Raw> & {
  readonly type: string; readonly id: string; readonly by: string; readonly commits: number; readonly requested: boolean;
  readonly texts: Record<string, string>;
};

/** What lies beyond the cuts of removals and demotions; read once somebody looks at it, and kept current from then on. */
export class QuarantineOf extends LiveValue<readonly Quarantined[]> implements Quarantine {
  readonly #engine: Engine;
  readonly #schema: Schema;
  readonly #looking: Looking;
  #value: readonly Quarantined[] = Object.freeze([]);
  #isRead = false;

  constructor(engine: Engine, schema: Schema) {
    super(engine.life);
    this.#engine = engine;
    this.#schema = schema;
    this.#looking = new Looking(() => this.#look(), () => engine.isClosed);
  }

  get current(): readonly Quarantined[] {
    if (!this.#isRead) void this.#looking.now().catch(() => {}); // closed, or the engine is being opened again
    return this.#value;
  }

  protected override async ready(): Promise<void> {
    if (!this.#isRead) await this.#looking.now();
  }

  async list(): Promise<readonly Quarantined[]> {
    await this.#engine.saved().catch(() => {}); // what was refused was told already
    await this.#looking.now();
    return this.#value;
  }

  /** Something may have come to it, or gone. */
  async moved(): Promise<void> {
    if (this.#isRead) await this.#looking.now();
  }

  ask(by: PeerId = this.#engine.device): Promise<void> {
    return this.#engine.ask<void>("change", { askToAccept: { peer: by } });
  }

  accept(by: PeerId): Promise<void> {
    return this.#engine.ask<void>("change", { accept: { peer: by } });
  }

  writeAgain(): Promise<void> {
    return this.#engine.ask<void>("writeAgain");
  }

  async #look(): Promise<void> {
    const told = await this.#engine.ask<Told[]>("quarantine").catch((error: { code?: string }) => {
      if (error.code === "no_vault") return [];
      throw error;
    });
    this.#isRead = true;
    const value = told.map(one => Object.freeze({
      type: one.type, id: one.id, by: one.by, commits: one.commits, requested: one.requested, deleted: one.deleted,
      fields: Object.freeze(fieldsOf(this.#schema[one.type], one)),
    }));
    if (value.length === 0 && this.#value.length === 0) return;
    this.#value = Object.freeze(value);
    this.notify();
  }
}
