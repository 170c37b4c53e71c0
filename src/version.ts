import { readFileSync } from 'node:fs'

/** package.json stands two folders up from `src/` in a checkout and three from `dist/src/` in a package. */
function findPackage(): { version: string } {
  for (const path of ['../package.json', '../../package.json']) {
    const parsed = readPackage(new URL(path, import.meta.url))
    if (parsed !== null) return parsed
  }
  throw new Error('package.json of sallyport is missing')
}

function readPackage(url: URL): { name: string; version: string } | null {
  try {
    const parsed = JSON.parse(readFileSync(url, 'utf8')) as { name: string; version: string }
    return parsed.name === 'sallyport' ? parsed : null
  } catch {
    return null
  }
}

/** Version of the gateway, from its package.json. */
export const version = findPackage().version
