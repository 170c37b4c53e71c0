import type { RawData } from 'ws'
import { InflationGate } from './inflation-gate.ts'
import type { Side } from './side.ts'

/** Bytes that may wait for a sink before its source is paused. A message is never split, so one more may be on its way. */
const highWater = 4096

const binary = { binary: true }
const text = { binary: false }

/** What hears of each frame; false: it goes no further. */
export type Meter = (bytes: number, isMessage: boolean) => boolean

/** The frames of one direction: from `source` to `sink`, as fast as the sink takes them. */
export class Flow {
  readonly #source: Side
  readonly #sink: Side
  readonly #meter: Meter
  readonly #gate: InflationGate
  #isPaused = false
  #isStopped = false

  constructor(source: Side, sink: Side, meter: Meter) {
    this.#source = source
    this.#sink = sink
    this.#meter = meter
    this.#gate = new InflationGate(source.webSocket)
    source.webSocket.on('message', this.#pass)
    source.webSocket.on('ping', this.#ping)
    source.webSocket.on('pong', this.#pong)
  }

  /** Nothing more is passed on; what still comes is read and thrown away, up to the close frame. */
  stop(): void {
    this.#isStopped = true
    this.#goOn()
  }

  readonly #pass = (data: RawData, isBinary: boolean): void => {
    const { length } = data as Buffer
    if (!this.#takes(length, true)) return
    this.#sink.webSocket.send(data as Buffer, isBinary ? binary : text, this.#sent)
    this.#judge()
  }

  readonly #ping = (data: Buffer): void => {
    if (!this.#takes(data.length, false)) return
    this.#sink.webSocket.ping(data, undefined, this.#sent)
    this.#judge()
  }

  readonly #pong = (data: Buffer): void => {
    if (!this.#takes(data.length, false)) return
    this.#sink.webSocket.pong(data, undefined, this.#sent)
    this.#judge()
  }

  readonly #sent = (): void => {
    const { waiting, isDropped, webSocket } = this.#sink
    if (isDropped && waiting === 0) webSocket.terminate()
    if (this.#isPaused && waiting <= highWater) this.#goOn()
  }

  #takes(bytes: number, isMessage: boolean): boolean {
    return !this.#isStopped && this.#sink.isOpen && this.#meter(bytes, isMessage)
  }

  #judge(): void {
    if (this.#isPaused || this.#sink.waiting <= highWater) return
    this.#isPaused = true
    this.#gate.close()
    this.#source.webSocket.pause()
  }

  #goOn(): void {
    this.#isPaused = false
    this.#gate.open()
    // Messages that the gate let through may have filled the sink again.
    if (!this.#isPaused) this.#source.webSocket.resume()
  }
}
