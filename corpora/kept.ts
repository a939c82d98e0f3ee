/** Answers of a pure function, kept by the exact content of its question: most machine types show a model alike. */

/** Most answers kept: more than a release has tables. */
const MOST = 1000;

export class Kept<T> {
  readonly #answers = new Map<string, T>();

  /** `make` is called where no question of this content was asked before. Precondition: its answer follows from `content` alone. */
  answer(content: string, make: () => T): T {
    const known = this.#answers.get(content);
    if (known !== undefined) return known;
    const answer = make();
    if (this.#answers.size >= MOST) this.#answers.clear();
    this.#answers.set(content, answer);
    return answer;
  }
}

/** One `Kept` for each of some objects, and for as long as there is the object. */
export class KeptOf<K extends object, T> {
  readonly #kept = new WeakMap<K, Kept<T>>();

  of(key: K): Kept<T> {
    const known = this.#kept.get(key) ?? new Kept<T>();
    this.#kept.set(key, known);
    return known;
  }
}
