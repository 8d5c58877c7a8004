/** What is done at a step of a machine's life, as named handlers in order: each can be replaced, and others put around it. */

/** subject: the machine it is done for. */
export type Handler<T> = (subject: T) => Promise<void> | void;

export class HandlerList<T> {
  readonly #handlers: { name: string; run: Handler<T> }[] = [];

  get names(): string[] {
    return this.#handlers.map((h) => h.name);
  }

  append(name: string, run: Handler<T>): this {
    return this.#put(this.#handlers.length, name, run);
  }

  prepend(name: string, run: Handler<T>): this {
    return this.#put(0, name, run);
  }

  insertBefore(other: string, name: string, run: Handler<T>): this {
    return this.#put(this.#at(other), name, run);
  }

  insertAfter(other: string, name: string, run: Handler<T>): this {
    return this.#put(this.#at(other) + 1, name, run);
  }

  /** In its place, under its name. */
  replace(name: string, run: Handler<T>): this {
    this.#handlers[this.#at(name)] = { name, run };
    return this;
  }

  remove(name: string): this {
    this.#handlers.splice(this.#at(name), 1);
    return this;
  }

  /** One after the other; the first that throws ends it, and is named in the error. */
  async run(subject: T): Promise<void> {
    for (const { name, run } of [...this.#handlers])
      try {
        await run(subject);
      } catch (cause) {
        throw new Error(`${name}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
      }
  }

  #put(at: number, name: string, run: Handler<T>): this {
    if (this.names.includes(name)) throw new Error(`There is a handler "${name}" already: replace it, or choose another name.`);
    this.#handlers.splice(at, 0, { name, run });
    return this;
  }

  #at(name: string): number {
    const at = this.names.indexOf(name);
    if (at < 0) throw new Error(`There is no handler "${name}". There are: ${this.names.join(", ") || "none"}.`);
    return at;
  }
}

/** validation: what can be known to be wrong before anything is made. init: what makes and starts it. */
export type Handlers<T> = { readonly validation: HandlerList<T>; readonly init: HandlerList<T> };
