import type { Path } from '../config-problem.ts'
import type { CheckedUse } from '../plugin-uses.ts'
import type { Config, SecretRef } from '../schema.ts'

/** What a configuration refers to outside of itself. */
export interface Surroundings {
  env: Readonly<Record<string, string | undefined>>
  /** Null when the file can be read and is not empty, else why not. */
  fileFault(path: string): string | null
  /** The secret behind a reference; null when there is none that can be read, which is a fault of its own. */
  secretText(ref: SecretRef): string | null
}

/**
 * What a check may look at. Parts that break the schema are already reported and no longer in `config`: a check that
 * concludes something from an absence asks `isSound` first.
 */
export interface CheckContext {
  readonly config: Config
  readonly secrets: readonly { ref: SecretRef; path: Path }[]
  readonly surroundings: Surroundings | undefined
  /** The names that are written down, also those whose definition is faulty. */
  readonly names: { readonly upstreams: ReadonlySet<string>; readonly issuers: ReadonlySet<string> }
  /** The uses of a route's own list that were understood; those of the whole gateway for `''`. */
  uses(route: string): readonly CheckedUse[]
  /** Whether nothing at, above or below the path is faulty. */
  isSound(path: Path): boolean
  /** `file:line:col` of a path, to cite a second place. */
  place(path: Path): string
  report(path: Path, message: string, remedy: string): void
}

/** One rule that no schema can state. */
export type Check = (context: CheckContext) => void
