/** A check of the whole tree that `npm run check` runs: what types and linters do not see. */
export interface Check {
  /** What holds where it finds nothing. */
  readonly name: string;
  /** One line per problem. */
  readonly run: () => readonly string[] | Promise<readonly string[]>;
}
