import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'

export interface GeneratedFile {
  /** Path from the root of the repository. */
  path: string
  /** The whole content; null while what it is made from does not exist. */
  render(): Promise<string | null> | string | null
}

/** Brings files up to date, or with `check` only looks. Resolves to the paths that were not up to date. */
export async function generate(
  files: readonly GeneratedFile[],
  root: string,
  { check }: { check: boolean }
): Promise<string[]> {
  const stale: string[] = []
  for (const file of files) {
    const wanted = await file.render()
    if (wanted === null) continue
    const path = join(root, file.path)
    const present = await readFile(path, 'utf8').catch(() => null)
    if (present === wanted) continue
    stale.push(file.path)
    if (check) continue
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, wanted)
  }
  return stale
}
