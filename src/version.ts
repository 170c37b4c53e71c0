import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** The folder of package.json: above `src/` in a checkout, two above `dist/src/` in a package. */
function findPackage(): { root: URL; version: string } {
  for (const path of ['../', '../../']) {
    const root = new URL(path, import.meta.url)
    const parsed = readPackage(root)
    if (parsed?.name === 'sallyport') return { root, version: parsed.version }
  }
  throw new Error('package.json of sallyport is missing')
}

function readPackage(root: URL): { name: string; version: string } | null {
  try {
    return JSON.parse(readFileSync(new URL('package.json', root), 'utf8'))
  } catch {
    return null
  }
}

const found = findPackage()

/** Version of the gateway, from its package.json. */
export const version = found.version

/** Path of a file that comes with the package, e.g. `routes/gateway.yaml`. */
export function packageFile(name: string): string {
  return fileURLToPath(new URL(name, found.root))
}
