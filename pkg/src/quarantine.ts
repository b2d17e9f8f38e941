import type { PeerId, Quarantine, Quarantined, Schema } from "./contract.js";
import type { Raw } from "./core.js";
import type { Engine } from "./engine.js";
import { fieldsOf } from "./schema.js";

type Told = NonNullable<Raw> & {
  readonly type: string; readonly id: string; readonly by: string; readonly commits: number; readonly requested: boolean;
  readonly texts: Record<string, string>;
};

/** What lies beyond the cuts of removals and demotions. */
export class QuarantineOf implements Quarantine {
  readonly #engine: Engine;
  readonly #schema: Schema;

  constructor(engine: Engine, schema: Schema) {
    this.#engine = engine;
    this.#schema = schema;
  }

  async list(): Promise<readonly Quarantined[]> {
    await this.#engine.saved().catch(() => {}); // what was refused was told already
    const told = await this.#engine.ask<Told[]>("quarantine");
    return Object.freeze(told.map(one => Object.freeze({
      type: one.type, id: one.id, by: one.by, commits: one.commits, requested: one.requested, deleted: one.deleted,
      fields: Object.freeze(fieldsOf(this.#schema[one.type], one)),
    })));
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
}
