import type { UpstreamConfig } from '../config/schema.ts'

/** What a balancer needs to know of an endpoint. */
export interface Candidate {
  readonly inFlight: number
}

/** Chooses among endpoints. Made anew when the endpoints in rotation change, which is rare; asked for every request. */
export interface Balancer<Endpoint extends Candidate> {
  /** `avoid` is where the request has just failed: another one is taken if there is one. */
  pick(avoid: Endpoint | null): Endpoint
}

/** A balancer over at least one endpoint. */
export function createBalancer<Endpoint extends Candidate>(
  kind: UpstreamConfig['balance'],
  endpoints: readonly Endpoint[]
): Balancer<Endpoint> {
  if (endpoints.length === 1) return new OnlyOne(endpoints[0] as Endpoint)
  return kind === 'round-robin' ? new RoundRobin(endpoints) : new LeastRequests(endpoints)
}

class OnlyOne<Endpoint extends Candidate> implements Balancer<Endpoint> {
  readonly #endpoint: Endpoint

  constructor(endpoint: Endpoint) {
    this.#endpoint = endpoint
  }

  pick(): Endpoint {
    return this.#endpoint
  }
}

class RoundRobin<Endpoint extends Candidate> implements Balancer<Endpoint> {
  readonly #endpoints: readonly Endpoint[]
  #turn = -1

  constructor(endpoints: readonly Endpoint[]) {
    this.#endpoints = endpoints
  }

  pick(avoid: Endpoint | null): Endpoint {
    const next = this.#next()
    return next === avoid ? this.#next() : next
  }

  #next(): Endpoint {
    this.#turn = this.#turn + 1 === this.#endpoints.length ? 0 : this.#turn + 1
    return this.#endpoints[this.#turn] as Endpoint
  }
}

/** Fewest requests under way. Each search begins one place later, so that equals take turns. */
class LeastRequests<Endpoint extends Candidate> implements Balancer<Endpoint> {
  readonly #endpoints: readonly Endpoint[]
  #turn = -1

  constructor(endpoints: readonly Endpoint[]) {
    this.#endpoints = endpoints
  }

  pick(avoid: Endpoint | null): Endpoint {
    const endpoints = this.#endpoints
    const count = endpoints.length
    this.#turn = this.#turn + 1 === count ? 0 : this.#turn + 1
    let least: Endpoint | null = null
    for (let i = 0; i < count; i++) {
      const at = this.#turn + i
      const one = endpoints[at < count ? at : at - count] as Endpoint
      if (one !== avoid && (least === null || one.inFlight < least.inFlight)) least = one
    }
    return least as Endpoint
  }
}
