/** Looks at something that moves, one look at a time: what moves during a look is looked at after it. */
export class Looking {
  readonly #look: () => Promise<void>;
  readonly #isOver: () => boolean;
  #running: Promise<void> | undefined;
  #again = false;

  /** Stops without an error once `isOver`. */
  constructor(look: () => Promise<void>, isOver: () => boolean) {
    this.#look = look;
    this.#isOver = isOver;
  }

  /** Ends when a look that began after this call has, or throws what that threw. */
  now(): Promise<void> {
    this.again();
    return this.#running ??= this.#run();
  }

  /** Has the look that runs followed by another one. */
  again(): void {
    this.#again = true;
  }

  async #run(): Promise<void> {
    try {
      while (this.#again && !this.#isOver()) {
        this.#again = false;
        await this.#look();
      }
    } finally {
      this.#running = undefined; // in the step that has seen that nothing is new: what comes after it is looked at
    }
  }
}
