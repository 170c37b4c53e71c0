import { type Metric, Registry as PromRegistry } from 'prom-client'

/**
 * The only file that knows the metrics library. Numbers that change with every request are kept in plain objects whose
 * children are looked up when a route is built; prom-client sorts and hashes labels at each increment, which cost more than
 * the rest of the accounting. It still owns the registry and the exposition format: it asks our families at each scrape.
 */

/** One metric of the public interface; `docs/reference/metrics.md` is made from the catalogue. */
export interface MetricEntry {
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly labels: readonly string[]
  readonly help: string
}

/** Public interface: names and labels are added, never changed. Label `route` is the YAML name, or `none`. */
export const metricCatalogue = [
  entry(
    'requests_total',
    'counter',
    ['route', 'protocol', 'method', 'code'],
    'Requests by how they ended; code 499: the client left first.'
  ),
  entry(
    'request_duration_seconds',
    'histogram',
    ['route', 'protocol'],
    'From the head of the request to the end of the answer.'
  ),
  entry(
    'upstream_request_duration_seconds',
    'histogram',
    ['upstream'],
    'From dispatch to the end of the answer of the upstream.'
  ),
  entry('requests_in_flight', 'gauge', ['route'], 'Requests under way.'),
  entry(
    'decisions_total',
    'counter',
    ['route', 'plugin', 'verdict', 'reason'],
    'Decisions of plugins; verdict is allow, deny or shadow (would have been denied).'
  ),
  entry(
    'upstream_errors_total',
    'counter',
    ['upstream', 'reason'],
    'Requests that the upstream did not answer properly.'
  ),
  entry(
    'upstream_healthy',
    'gauge',
    ['upstream', 'endpoint'],
    '1 while the endpoint is well, 0 while others get its requests.'
  ),
  entry('circuit_breaker_state', 'gauge', ['upstream'], '0 closed, 1 half-open, 2 open.'),
  entry('retries_total', 'counter', ['upstream'], 'Second tries.'),
  entry('rate_limit_store_errors_total', 'counter', ['store'], 'Limits that the store could not count.'),
  entry(
    'jwks_fetches_total',
    'counter',
    ['issuer', 'result'],
    'Fetches of the keys of an issuer; result is success or error.'
  ),
  entry('jwks_age_seconds', 'gauge', ['issuer'], 'Since the keys of the issuer were last fetched.'),
  entry(
    'introspections_total',
    'counter',
    ['issuer', 'result'],
    'Questions about tokens to an issuer; result is active, refused or error (no answer to go by). What is remembered is not asked for.'
  ),
  entry(
    'sign_ins_total',
    'counter',
    ['issuer', 'result'],
    'Browsers that came back from an issuer; result is success, refused or error (the issuer did not answer).'
  ),
  entry(
    'session_refreshes_total',
    'counter',
    ['issuer', 'result'],
    'Refreshes of the tokens of sessions; result is success, refused (the session has ended) or error.'
  ),
  entry('config_reloads_total', 'counter', ['result'], 'Reloads; result is success or error.'),
  entry(
    'config_last_reload_successful',
    'gauge',
    [],
    '1 when the newest configuration is in force, 0 when an older one had to stay.'
  ),
  entry('config_info', 'gauge', ['hash'], 'Always 1; the hash of the configuration in force.'),
  entry('websocket_connections', 'gauge', ['route'], 'WebSocket connections that are open.'),
  entry(
    'websocket_messages_total',
    'counter',
    ['route', 'direction'],
    'WebSocket messages; direction is in (from the client) or out (to the client).'
  ),
  entry(
    'grpc_responses_total',
    'counter',
    ['route', 'grpc_status'],
    'gRPC calls by the status that the client got.'
  ),
  entry(
    'event_loop_lag_seconds',
    'gauge',
    [],
    '99th percentile of the lag of the event loop since the last scrape.'
  ),
  entry('build_info', 'gauge', ['version', 'node'], 'Always 1; the version of the gateway and of Node.')
] as const

export type MetricName = (typeof metricCatalogue)[number]['name']

function entry<Name extends string>(
  name: Name,
  type: MetricEntry['type'],
  labels: readonly string[],
  help: string
) {
  return { name, type, labels, help } as const
}

type Labels = Record<string, string>
type Sample = { metricName?: string; labels: Record<string, string | number>; value: number }

/** A number with labels; whoever counts keeps it and writes to `value`. */
export interface Cell {
  value: number
}

const separator = '\u0000'
const namePattern = /^[a-z][a-z0-9_]*$/

/** What counters, gauges and histograms have in common: children by label values, that go when their route goes. */
abstract class Family<Child> {
  readonly name: string
  readonly help: string
  readonly type: MetricEntry['type']
  readonly labelNames: readonly string[]
  readonly aggregator = 'sum'
  protected readonly children = new Map<string, { labels: Labels; child: Child }>()

  constructor(metric: MetricEntry) {
    this.name = `sallyport_${metric.name}`
    this.help = metric.help
    this.type = metric.type
    this.labelNames = metric.labels
  }

  /** The child of these label values, in the order of the catalogue's labels. */
  child(...values: readonly string[]): Child {
    const key = values.join(separator)
    const known = this.children.get(key)
    if (known !== undefined) return known.child
    const labels: Labels = {}
    for (const [i, name] of this.labelNames.entries()) labels[name] = values[i] ?? ''
    const child = this.make()
    this.children.set(key, { labels, child })
    return child
  }

  /** Forgets the children whose `label` is not one of `values`. */
  retain(label: string, values: ReadonlySet<string>): void {
    for (const [key, { labels }] of this.children) {
      const value = labels[label]
      if (value !== undefined && !values.has(value)) this.children.delete(key)
    }
  }

  remove(...values: readonly string[]): void {
    this.children.delete(values.join(separator))
  }

  /** Asked by prom-client at each scrape. */
  async get() {
    const values: Sample[] = []
    for (const { labels, child } of this.children.values()) this.sample(labels, child, values)
    return { name: this.name, help: this.help, type: this.type, aggregator: this.aggregator, values }
  }

  reset(): void {
    this.children.clear()
  }

  protected abstract make(): Child
  protected abstract sample(labels: Labels, child: Child, into: Sample[]): void
}

/** A counter or a gauge. */
export class NumberFamily extends Family<Cell> {
  protected make(): Cell {
    return { value: 0 }
  }

  protected sample(labels: Labels, child: Cell, into: Sample[]): void {
    into.push({ labels, value: child.value })
  }
}

/** Seconds, from a millisecond to a minute. */
const bounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]

/** Counts per bucket; not cumulative until it is scraped. */
export class Histogram {
  readonly buckets = new Float64Array(bounds.length + 1)
  sum = 0

  observe(seconds: number): void {
    let i = 0
    while (i < bounds.length && seconds > (bounds[i] as number)) i++
    this.buckets[i]!++
    this.sum += seconds
  }
}

export class HistogramFamily extends Family<Histogram> {
  protected make(): Histogram {
    return new Histogram()
  }

  protected sample(labels: Labels, child: Histogram, into: Sample[]): void {
    let total = 0
    for (const [i, count] of child.buckets.entries()) {
      total += count
      const le = i < bounds.length ? (bounds[i] as number) : '+Inf'
      into.push({ metricName: `${this.name}_bucket`, labels: { ...labels, le }, value: total })
    }
    into.push({ metricName: `${this.name}_sum`, labels, value: child.sum })
    into.push({ metricName: `${this.name}_count`, labels, value: total })
  }
}

/** Every number of the process. One per process: it outlives generations, so that a reload resets nothing. */
export class Registry {
  readonly #registry = new PromRegistry()
  readonly #families = new Map<string, Family<unknown>>()
  readonly #onScrape: (() => void)[] = []

  constructor() {
    for (const metric of metricCatalogue) this.declare(metric)
    // A counter that appears with its first increase hides that increase from `rate()`.
    for (const result of ['success', 'error']) this.number('config_reloads_total').child(result)
    for (const metric of ['config_last_reload_successful', 'event_loop_lag_seconds'] as const)
      this.number(metric).child()
    this.number('rate_limit_store_errors_total').child('memory')
  }

  /** A counter or gauge of the catalogue. */
  number(name: MetricName): NumberFamily {
    return this.#families.get(name) as NumberFamily
  }

  histogram(name: MetricName): HistogramFamily {
    return this.#families.get(name) as HistogramFamily
  }

  /** Called before each scrape: for gauges that are read, not counted. */
  onScrape(read: () => void): void {
    this.#onScrape.push(read)
  }

  /**
   * A counter or gauge by name: one of the catalogue, or one that a plugin brings (declared by its first caller; the same
   * name gives the same metric, for a plugin is registered on many routes).
   */
  declare(metric: MetricEntry): Family<unknown> {
    const known = this.#families.get(metric.name)
    if (known !== undefined) {
      if (known.type !== metric.type) {
        throw new Error(`the metric ${known.name} is a ${known.type}, not a ${metric.type}`)
      }
      if (known.labelNames.join() !== metric.labels.join()) {
        throw new Error(`the metric ${known.name} has the labels ${known.labelNames.join(', ') || '(none)'}`)
      }
      return known
    }
    // One bad name would make the whole scrape unreadable.
    const bad = [metric.name, ...metric.labels].find(name => !namePattern.test(name))
    if (bad !== undefined) throw new Error(`"${bad}" is no name for a metric or a label`)
    const family = metric.type === 'histogram' ? new HistogramFamily(metric) : new NumberFamily(metric)
    this.#families.set(metric.name, family)
    // prom-client asks a metric for nothing but `name`, `get` and `reset`; its types say more.
    this.#registry.registerMetric(family as unknown as Metric)
    return family
  }

  /** Series of routes that are gone go too. `none` stays. */
  retainRoutes(names: Iterable<string>): void {
    this.#retain('route', new Set(names).add('none'))
  }

  retainUpstreams(names: Iterable<string>): void {
    this.#retain('upstream', new Set(names))
  }

  retainIssuers(names: Iterable<string>): void {
    this.#retain('issuer', new Set(names))
  }

  #retain(label: string, values: ReadonlySet<string>): void {
    for (const family of this.#families.values()) {
      if (family.labelNames.includes(label)) family.retain(label, values)
    }
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  /** The exposition format, for a scrape. */
  expose(): Promise<string> {
    for (const read of this.#onScrape) read()
    return this.#registry.metrics()
  }
}
