// The package's surface and the contract, each assignable to the other: nothing is renamed, nothing is missing.
import type * as Contract from "./contract.js";
import * as Package from "@privstack/sync";
import * as Inline from "@privstack/sync/inline";

type Schema = {
  note: { title: Package.Field<string>; done: Package.Field<boolean>; tags: Package.Field<ReadonlySet<string>>; body: Package.Field<Package.Text> };
};

/** The package may give more than the contract says. */
type Keeps<Theirs, Ours extends Theirs> = Ours;
/** For what an app gives: the package takes all that the contract says. */
type Takes<Ours, Theirs extends Ours> = Theirs;
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : never;

export type Kept = [
  // Its generic methods are compared by use.ts: conditional types of two files are not compared while they are open.
  Keeps<Omit<Contract.Store<Schema>, "collection" | "batch" | "events">, Omit<Package.Store<Schema>, "collection" | "batch" | "events">>,
  Same<keyof Contract.Store<Schema>, keyof Package.Store<Schema>>, Takes<Package.OpenOptions<Schema>, Contract.OpenOptions<Schema>>,
  Keeps<Contract.Collection<Schema, "note">, Package.Collection<Schema, "note">>,
  Keeps<Contract.Entity<Schema, "note">, Package.Entity<Schema, "note">>,
  Keeps<Contract.Text, Package.Text>, Keeps<Contract.TextDelta, Package.TextDelta>, Keeps<Contract.Change, Package.Change>,
  Keeps<Contract.Device, Package.Device>, Keeps<Contract.Peer, Package.Peer>, Keeps<Contract.Pairing, Package.Pairing>,
  Keeps<Contract.PairingOffer, Package.PairingOffer>, Keeps<Contract.PairingSession, Package.PairingSession>,
  Keeps<Contract.PolicyControl, Package.PolicyControl>, Keeps<Contract.AuditEntry, Package.AuditEntry>,
  Keeps<Contract.SyncStatus, Package.SyncStatus>, Keeps<Contract.NotSynced, Package.NotSynced>, Keeps<Contract.SyncReport, Package.SyncReport>,
  Keeps<Contract.VectorClock, Package.VectorClock>, Keeps<Contract.Live<number>, Package.Live<number>>,
  Takes<Package.Query<Schema, "note">, Contract.Query<Schema, "note">>, Takes<Package.Patch<Schema, "note">, Contract.Patch<Schema, "note">>,
  Takes<Package.CloudOptions, Contract.CloudOptions>, Takes<Package.Policy, Contract.Policy>, Takes<Package.SyncErrorCode, Contract.SyncErrorCode>,
  Takes<Package.SyncRole, Contract.SyncRole>, Takes<Package.EntityAcl, Contract.EntityAcl>, Takes<Package.Abortable, Contract.Abortable>,
  Same<Contract.EntityId<"note">, Package.EntityId<"note">>, Same<Contract.PeerId, Package.PeerId>, Same<Contract.Unsubscribe, Package.Unsubscribe>,
];

export const values: Pick<typeof Contract, "open" | "t" | "schema"> = { open: Package.open as never, t: Package.t, schema: Package.schema };
export const same: [typeof Package.t, typeof Package.schema, typeof Package.open] = [Inline.t, Inline.schema, Inline.open];
export const error: Omit<Contract.SyncError, "code"> & { code: Contract.SyncErrorCode } = new Package.SyncError("closed", "closed") as Package.SyncError & { code: Contract.SyncErrorCode };
/** Every event and every name of the contract. */
export const names: Record<keyof typeof Contract, unknown> = { open: 0, schema: 0, t: 0, SyncError: 0 };
type Event = Exclude<Package.SyncEvent, { type: "syncError" }>;
export const event: Exclude<Contract.SyncEvent, { type: "syncError" }> = {} as Event;
