import { hostname } from '../route/match.ts'
import { isOf } from './hosts.ts'

interface Offering {
  /** `api.example.com`, `*.example.com`; empty: any host. */
  readonly hosts: readonly string[]
  readonly signInIssuers: readonly string[]
}

/** Issuers that some route of that host has people sign in with, in the order of the routes. */
export function signInIssuersAt(routes: readonly Offering[], host: string | undefined): string[] {
  const name = hostname(host)
  const here = routes.filter(({ hosts }) => hosts.length === 0 || hosts.some(one => isOf(one, name)))
  return [...new Set(here.flatMap(({ signInIssuers }) => signInIssuers))]
}
