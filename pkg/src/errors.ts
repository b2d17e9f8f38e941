import type { PeerId, SyncErrorCode } from "./contract.js";

/** What went wrong: a stable `code` for programs, a sentence for people that says what to do. */
export class SyncError extends Error {
  override readonly name = "SyncError";
  readonly code: SyncErrorCode;
  readonly retryable: boolean;
  readonly peer?: PeerId;

  constructor(code: SyncErrorCode, message: string, options: { retryable?: boolean; peer?: PeerId; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? false;
    if (options.peer !== undefined) this.peer = options.peer;
  }
}

/** What the engine threw, as a `SyncError`; whatever else was thrown stays as it is. */
export function syncError(thrown: unknown, peer?: PeerId): unknown {
  if (thrown instanceof SyncError || !(thrown instanceof Error) || !("code" in thrown)) return thrown;
  const { code, retryable } = thrown as unknown as { code: SyncErrorCode; retryable?: boolean };
  return new SyncError(code, thrown.message, { retryable: retryable ?? false, ...(peer === undefined ? {} : { peer }) });
}

/** Runs a call of the engine, and throws what it throws as a `SyncError`. */
export function call<T>(run: () => T): T {
  try {
    return run();
  } catch (thrown) {
    throw syncError(thrown);
  }
}

export function invalid(message: string): SyncError {
  return new SyncError("invalid", message);
}

export function unsupported(what: string): SyncError {
  return new SyncError("unsupported", `${what} is not available in this version of @privstack/sync`);
}

export function closed(): SyncError {
  return new SyncError("closed", "the store is closed; open it again");
}

/** Rejects like `promise`, or with `aborted` as soon as the signal says so. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined, gone: () => void = () => {}): Promise<T> {
  if (!signal) return promise;
  return new Promise<T>((resolve, reject) => {
    const abort = () => {
      gone();
      reject(new SyncError("aborted", "the call was given up", { retryable: true, cause: signal.reason }));
    };
    if (signal.aborted) {
      promise.catch(() => {});
      return abort();
    }
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

export function checkSecure(): void {
  if (globalThis.isSecureContext === false) {
    throw new SyncError("insecure_context", "browsers keep keys and locks for secure pages only: serve this page over https:// or from localhost");
  }
}
