import type { PeerId, Policy, PolicyControl, SyncRole, SyncStatus } from "./contract.js";
import { AuditOf } from "./audit.js";
import type { Engine } from "./engine.js";
import { invalid, SyncError } from "./errors.js";
import { LiveValue } from "./live.js";
import type { AskChange, PolicyInfo } from "../wasm/privstack_sync.js";

const PERSONAL: Policy = Object.freeze({ kind: "personal" });
const ROLES: readonly SyncRole[] = ["admin", "member", "readOnly"];

/** Who may do what in the vault. */
export class PolicyOf extends LiveValue<Policy> implements PolicyControl {
  readonly audit: AuditOf;
  readonly #engine: Engine;
  readonly #told: (role: SyncStatus["role"]) => void;
  /** What a vault that is made here is to follow, until one is there. */
  #wanted: Policy | undefined;
  #value: Policy;
  #looking: Promise<void> | undefined;
  #again = false;

  /** `told` hears what this device may do. */
  constructor(engine: Engine, wanted: Policy | undefined, told: (role: SyncStatus["role"]) => void) {
    super();
    this.audit = new AuditOf(engine);
    this.#told = told;
    this.#value = wanted?.kind === "enterprise" ? frozen({ ...wanted, roles: {}, teams: {} }) : PERSONAL;
    this.#engine = engine;
    this.#wanted = wanted?.kind === "enterprise" ? wanted : undefined;
  }

  get current(): Policy {
    return this.#value;
  }

  /** Makes the vault's rules these, and the vault where there is none. It is some operations; an error says how many of
   *  them were made. */
  async set(policy: Policy): Promise<void> {
    const now = await this.#ask();
    const changes = difference(policy, now ?? { enterprise: false, members: [], acls: [] }, this.#engine.device);
    for (const [done, change] of changes.entries()) {
      try {
        await this.#engine.ask<void>("change", change);
      } catch (error) {
        if (done === 0 || !(error instanceof SyncError)) throw error;
        throw new SyncError(error.code, `${done} of ${changes.length} changes of the policy were made, then: ${error.message}`, { cause: error });
      } finally {
        await this.moved();
      }
    }
  }

  /** Who may do what may have changed. */
  moved(): Promise<void> {
    this.#again = true;
    this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
    return this.#looking;
  }

  async #look(): Promise<void> {
    while (this.#again && !this.#engine.isClosed) {
      this.#again = false;
      const info = await this.#ask();
      if (!info) continue;
      this.#told(info.members.find(member => member.id === this.#engine.device)?.role ?? "removed");
      await this.#begin(info);
      const policy = shown(info);
      if (JSON.stringify(policy) !== JSON.stringify(this.#value)) {
        this.#value = policy;
        this.notify();
      }
    }
  }

  /** A vault that this device has just made gets the rules that it was opened with. */
  async #begin(info: PolicyInfo): Promise<void> {
    const wanted = this.#wanted;
    this.#wanted = undefined;
    const isNew = info.members.length === 1 && info.members[0]?.id === this.#engine.device && info.acls.length === 0;
    if (!wanted || !isNew) return;
    for (const change of difference(wanted, info, this.#engine.device)) await this.#engine.ask<void>("change", change);
    this.#again = true;
  }

  /** `undefined` while there is no vault. */
  async #ask(): Promise<PolicyInfo | undefined> {
    try {
      return await this.#engine.ask<PolicyInfo>("policy");
    } catch (error) {
      if (error instanceof SyncError && (error.code as string) === "no_vault") return undefined;
      throw error;
    }
  }
}

function shown({ enterprise, members, acls }: PolicyInfo): Policy {
  if (!enterprise) return PERSONAL;
  const roles: Record<PeerId, SyncRole> = {};
  const teams: Record<string, PeerId[]> = {};
  for (const { id, role, teams: own } of members) {
    roles[id] = role;
    for (const team of own) (teams[team] ??= []).push(id);
  }
  return frozen({ kind: "enterprise", acls: acls.map(({ entityType, allowedRoles, teamId }) => ({ entityType, allowedRoles, ...(teamId == null ? {} : { teamId }) })), roles, teams });
}

/** What leads from the rules there are to those wanted: first who may read and write what, demotions last. */
function difference(wanted: Policy, now: PolicyInfo, me: PeerId): AskChange[] {
  if (wanted.kind === "personal") return now.enterprise ? [{ policy: { enterprise: false } }] : [];
  if (wanted.kind !== "enterprise") throw invalid("a policy's `kind` is \"personal\" or \"enterprise\"");
  const changes: AskChange[] = [];
  for (const entityType of new Set([...now.acls, ...wanted.acls].map(acl => acl.entityType))) {
    const entries = wanted.acls.filter(acl => acl.entityType === entityType);
    const unknown = entries.flatMap(acl => acl.allowedRoles).find(role => !ROLES.includes(role));
    if (unknown !== undefined) throw invalid(`\`${unknown}\` is no role; roles are ${ROLES.join(", ")}`);
    if (listOf(entries) !== listOf(now.acls.filter(acl => acl.entityType === entityType))) {
      changes.push({ acl: { entityType, entries: entries.map(acl => ({ entityType, allowedRoles: [...acl.allowedRoles], teamId: acl.teamId ?? null })) } });
    }
  }
  const members = new Map(now.members.map(member => [member.id, member] as const));
  const stranger = [...Object.keys(wanted.roles), ...Object.values(wanted.teams).flat()].find(id => !members.has(id) && !(now.members.length === 0 && id === me));
  if (stranger !== undefined) throw invalid(`${stranger} is no member of this vault; pair it first`);
  if (!now.enterprise) changes.push({ policy: { enterprise: true } });
  const demotions: AskChange[] = [];
  for (const { id, role, teams } of now.members) {
    const wantedTeams = Object.keys(wanted.teams).filter(team => wanted.teams[team]?.includes(id)).sort();
    if (wantedTeams.join("\n") !== [...teams].sort().join("\n")) changes.push({ teams: { peer: id, teams: wantedTeams } });
    const wantedRole = wanted.roles[id] ?? role;
    if (!ROLES.includes(wantedRole)) throw invalid(`\`${wantedRole}\` is no role; roles are ${ROLES.join(", ")}`);
    if (wantedRole === role) continue;
    const change: AskChange = { role: { peer: id, role: wantedRole } };
    if (ROLES.indexOf(wantedRole) < ROLES.indexOf(role)) changes.push(change);
    else if (id === me) demotions.push(change); // after it this device may change nothing more
    else demotions.unshift(change);
  }
  return [...changes, ...demotions];
}

function listOf(entries: readonly { allowedRoles: readonly string[]; teamId?: string | null }[]): string {
  return JSON.stringify(entries.map(({ allowedRoles, teamId }) => [[...allowedRoles].sort(), teamId ?? null]).sort());
}

function frozen(policy: Policy & { kind: "enterprise" }): Policy {
  for (const part of [policy.acls, policy.roles, policy.teams]) Object.freeze(part);
  return Object.freeze(policy);
}
