import { AuditOf } from "./audit.js";
import type { PeerId, Policy, PolicyControl, SyncRole, SyncStatus } from "./contract.js";
import type { Engine } from "./engine.js";
import { invalid, SyncError } from "./errors.js";
import { LiveValue } from "./live.js";
import { Looking } from "./looking.js";
import type { AskChange, PolicyInfo } from "../wasm/privstack_sync.js";

type Acl = { readonly entityType: string; readonly allowedRoles: readonly string[]; readonly teamId?: string | null };

const NO_VAULT: PolicyInfo = { enterprise: false, members: [], acls: [] };
const PERSONAL: Policy = Object.freeze({ kind: "personal" });
const ROLES: readonly SyncRole[] = ["admin", "member", "readOnly"];

/** Who may do what in the vault. */
export class PolicyOf extends LiveValue<Policy> implements PolicyControl {
  readonly audit: AuditOf;
  readonly #engine: Engine;
  readonly #looking: Looking;
  readonly #told: (role: SyncStatus["role"]) => void;
  /** What a vault that is made here is to follow, until one is there. */
  #wanted: Policy | undefined;
  #value: Policy;

  /** `told` hears what this device may do. */
  constructor(engine: Engine, wanted: Policy | undefined, told: (role: SyncStatus["role"]) => void) {
    super(engine.life);
    this.audit = new AuditOf(engine);
    this.#told = told;
    this.#value = wanted?.kind === "enterprise" ? frozen({ ...wanted, roles: {}, teams: {} }) : PERSONAL;
    this.#engine = engine;
    this.#wanted = wanted;
    this.#looking = new Looking(() => this.#look(), () => engine.isClosed);
  }

  get current(): Policy {
    return this.#value;
  }

  /** Makes the vault's rules these, and the vault where there is none. It is some operations; an error says how many of
   *  them were made. */
  async set(policy: Policy): Promise<void> {
    const now = await this.#ask();
    try {
      await this.#apply(policy, now ?? NO_VAULT);
    } finally {
      await this.moved();
    }
  }

  async #apply(policy: Policy, now: PolicyInfo): Promise<void> {
    const changes = difference(policy, now, this.#engine.device);
    for (const [done, change] of changes.entries()) {
      try {
        await this.#engine.ask<void>("change", change);
      } catch (error) {
        if (done === 0 || !(error instanceof SyncError)) throw error;
        throw new SyncError(error.code, `${done} of ${changes.length} changes of the policy were made, then: ${error.message}`, { cause: error });
      }
    }
  }

  /** Who may do what may have changed. */
  moved(): Promise<void> {
    return this.#looking.now();
  }

  async #look(): Promise<void> {
    const info = await this.#ask();
    if (!info) return;
    this.#told(info.members.find(member => member.id === this.#engine.device)?.role ?? "removed");
    await this.#begin(info);
    const policy = shown(info);
    if (JSON.stringify(policy) !== JSON.stringify(this.#value)) {
      this.#value = policy;
      this.notify();
    }
  }

  /** A vault that this device has made, and that nobody else is in yet, gets the rules that it was opened with; also what
   *  is left of them after a crash, but not where others were set since. */
  async #begin(info: PolicyInfo): Promise<void> {
    const wanted = this.#wanted;
    this.#wanted = undefined;
    if (wanted?.kind !== "enterprise" || info.members.length !== 1 || info.members[0]?.id !== this.#engine.device) return;
    const listed = (acls: readonly Acl[], type: string) => listOf(acls.filter(acl => acl.entityType === type));
    if (info.acls.some(({ entityType }) => listed(info.acls, entityType) !== listed(wanted.acls, entityType))) return;
    try {
      await this.#apply(wanted, info);
    } catch (error) {
      this.#engine.fail(error);
    }
    this.#looking.again();
  }

  /** `undefined` while there is no vault. */
  async #ask(): Promise<PolicyInfo | undefined> {
    try {
      return await this.#engine.ask<PolicyInfo>("policy");
    } catch (error) {
      if (error instanceof SyncError && error.code === "no_vault") return undefined;
      throw error;
    }
  }
}

/** Throws where this is no policy, whoever is in the vault. */
export function checkPolicy(policy: Policy): void {
  if (policy.kind === "personal") return;
  if (policy.kind !== "enterprise") throw invalid("a policy's `kind` is \"personal\" or \"enterprise\"");
  for (const role of [...policy.acls.flatMap(acl => acl.allowedRoles), ...Object.values(policy.roles)]) checkRole(role);
}

/** Throws where this is no role. */
export function checkRole(role: SyncRole): void {
  if (!ROLES.includes(role)) throw invalid(`\`${role}\` is no role; roles are ${ROLES.join(", ")}`);
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
  checkPolicy(wanted);
  if (wanted.kind === "personal") return now.enterprise ? [{ policy: { enterprise: false } }] : [];
  const changes: AskChange[] = [];
  for (const entityType of new Set([...now.acls, ...wanted.acls].map(acl => acl.entityType))) {
    const entries = wanted.acls.filter(acl => acl.entityType === entityType);
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
    if (wantedRole === role) continue;
    const change: AskChange = { role: { peer: id, role: wantedRole } };
    if (ROLES.indexOf(wantedRole) < ROLES.indexOf(role)) changes.push(change);
    else if (id === me) demotions.push(change); // after it this device may change nothing more
    else demotions.unshift(change);
  }
  return [...changes, ...demotions];
}

function listOf(entries: readonly Acl[]): string {
  return JSON.stringify(entries.map(({ allowedRoles, teamId }) => [[...allowedRoles].sort(), teamId ?? null]).sort());
}

function frozen(policy: Policy & { kind: "enterprise" }): Policy {
  for (const part of [policy.acls, policy.roles, policy.teams]) Object.freeze(part);
  return Object.freeze(policy);
}
