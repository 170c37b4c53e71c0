import { hostname } from '../route/match.ts'

/** Whether a host (`hostname`) is one of a pattern: `a.example.com`, `*.example.com`. */
export function isOf(pattern: string, name: string): boolean {
  return pattern.startsWith('*.') ? name.endsWith(pattern.slice(1)) : name === pattern
}

/** Under what names browsers know the gateway. */
export class Origins {
  /** What they reach every host of the gateway by: `https://`. */
  readonly scheme: string
  readonly #external: string
  readonly #externalHost: string
  readonly #hosts: readonly string[]

  constructor(externalUrl: string, hosts: readonly string[]) {
    const { origin, host, protocol } = new URL(externalUrl)
    this.scheme = `${protocol}//`
    this.#external = origin
    this.#externalHost = host
    this.#hosts = hosts
  }

  /** Scheme and host of a Host header; null for one that the configuration does not name. */
  at(host: string | undefined): string | null {
    if (host === undefined) return null
    if (host.toLowerCase() === this.#externalHost) return this.#external
    const name = hostname(host)
    return this.#hosts.some(one => isOf(one, name)) ? this.scheme + host.toLowerCase() : null
  }
}
