import type { IncomingMessage, ServerResponse } from 'node:http'
import { buildApp } from '../app.ts'
import { withholdBody } from '../body/withheld.ts'
import type { Config } from '../config/schema.ts'
import type { Reason, Refusal } from '../errors.ts'
import { type Exchange, exchangeOf } from '../exchange.ts'
import type { Upgrade } from '../exchange-parties.ts'
import type { Generation } from '../generation.ts'
import { PublicListener } from '../listener.ts'
import type { GatewayPlugin } from '../plugin/define.ts'
import type { GenerationServices } from '../services.ts'
import type { Limit, LimitResult } from '../store/contract.ts'
import { type Explanation, explanationOf, type Sighting } from './explanation.ts'
import type { Question } from './question.ts'
import { rehearsals } from './rehearsal.ts'
import { ExplainingServices, type Witness } from './services.ts'
import { wireFor } from './wire.ts'

/** What a configuration is explained with. */
export interface ExplainerOptions {
  readonly config: Config
  readonly hash: string
  readonly plugins: ReadonlyMap<string, GatewayPlugin>
  readonly services: GenerationServices
}

/** Milliseconds that a chain has to come to its end: as long as fetching keys may take, and more. */
const patience = 15_000

const cutOff = { status: 400, reason: 'request.malformed', remoteAddress: undefined } as const

const noLoad = { isOverloaded: false }

/**
 * Says what a configuration does with a request, by doing it: the request goes over a wire in memory into the listener, the gate,
 * the routes and the plugins that a live one meets, and only the proxies at the end are others. One at a time, so that whatever
 * is seen meanwhile belongs to the one that is explained.
 */
export class Explainer {
  readonly #generation: Generation
  readonly #listener: PublicListener
  readonly #stage: Stage
  #turn: Promise<unknown> = Promise.resolve()

  private constructor(generation: Generation, listener: PublicListener, stage: Stage) {
    this.#generation = generation
    this.#listener = listener
    this.#stage = stage
  }

  /** Builds the generation: plugins are registered once more. Rejects where one cannot be. */
  static async create({ config, hash, plugins, services }: ExplainerOptions): Promise<Explainer> {
    const stage = new Stage()
    const own = new ExplainingServices(
      services,
      rehearsals((_exchange, forwarded) => {
        if (stage.sighting !== null) stage.sighting.forwarded = forwarded
      }),
      stage
    )
    const generation = await buildApp(config, hash, plugins, own)
    stage.generation = generation
    const listener = new PublicListener({
      limits: config.limits,
      current: () => stage,
      overload: noLoad,
      registry: own.registry,
      log: own.log,
      onRefused: refused => {
        if (stage.sighting === null) return
        stage.sighting.refused = refused
        stage.ended()
      }
    })
    return new Explainer(generation, listener, stage)
  }

  /** Rejects where the request cannot be put on a wire, or its chain does not come to an end. */
  explain(question: Question): Promise<Explanation> {
    const mine = this.#turn.then(() => this.#run(question))
    this.#turn = mine.catch(() => undefined)
    return mine
  }

  async close(): Promise<void> {
    await this.#turn
    this.#listener.destroy()
    await this.#listener.close()
    await this.#generation.retire()
  }

  async #run(question: Question): Promise<Explanation> {
    const { http, h2c, https } = this.#generation.config.listeners
    const listener = (question.protocol === 'grpc' ? h2c : http) ?? https
    const wire = wireFor(question, listener?.port ?? 0)
    const sighting: Sighting = { exchange: null, refused: null, forwarded: null, limits: [], shadows: [] }
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const timer = setTimeout(() => reject(new Error('the plugins did not come to an end in time')), patience)
    this.#stage.begin(sighting, resolve, question.body !== undefined)
    try {
      this.#listener.takeConnection(wire.socket, question.protocol === 'grpc' ? 'http2' : 'http1')
      wire.send(detail => {
        // What a library of HTTP refuses never becomes a request: its client sees its stream cut off.
        if (sighting.exchange === null) sighting.refused ??= { ...cutOff, detail }
        if (sighting.exchange === null) resolve()
      })
      await promise
      return explanationOf(question, sighting, this.#generation.routes)
    } finally {
      clearTimeout(timer)
      this.#stage.end()
      wire.close()
    }
  }
}

/** Where the one request that is being explained is watched. */
class Stage implements Witness {
  #request: IncomingMessage | null = null
  #bringsBody = false
  generation: Generation | null = null
  sighting: Sighting | null = null
  ended: () => void = ignore

  begin(sighting: Sighting, ended: () => void, bringsBody: boolean): void {
    this.#bringsBody = bringsBody
    this.sighting = sighting
    this.ended = ended
  }

  end(): void {
    this.sighting = null
    this.ended = ignore
    this.#request = null
  }

  handle(request: IncomingMessage, response: ServerResponse, refusal: Refusal | null): Exchange {
    this.#request = request
    if (!this.#bringsBody) withholdBody(request)
    return this.#watch((this.generation as Generation).handle(request, response, refusal))
  }

  handleUpgrade(
    request: IncomingMessage,
    response: ServerResponse,
    refusal: Refusal | null,
    upgrade: Upgrade
  ): Exchange {
    this.#request = request
    return this.#watch((this.generation as Generation).handleUpgrade(request, response, refusal, upgrade))
  }

  limit(limit: Limit, result: LimitResult): void {
    const limits = this.sighting?.limits
    if (limits === undefined) return
    // Several limits are each looked at twice.
    const known = limits.findIndex(one => one.limit === limit)
    limits.splice(known === -1 ? limits.length : known, 1, { at: this.#passed, limit, result })
  }

  shadow(plugin: string, reason: Reason): void {
    this.sighting?.shadows.push({ at: this.#passed, plugin, reason })
  }

  /** The position of the plugin that runs. The exchange has not been handed out yet while the chain runs in one go. */
  get #passed(): number {
    return this.#request === null ? 0 : exchangeOf(this.#request).passed
  }

  #watch(exchange: Exchange): Exchange {
    if (this.sighting === null) return exchange
    this.sighting.exchange = exchange
    const { ended } = this
    exchange.onEnd(() => ended())
    return exchange
  }
}

function ignore(): void {}
