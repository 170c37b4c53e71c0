export type BreakerState = 'closed' | 'half-open' | 'open'

export interface BreakerOptions {
  /** Failures in a row that open it. */
  readonly failures: number
  /** Milliseconds that it then stays open. */
  readonly open: number
  /** Milliseconds; never goes back. */
  readonly clock: () => number
  readonly onChange?: (state: BreakerState) => void
}

/**
 * Stops asking an upstream that keeps failing. Closed, every call goes through; after `failures` failures in a row it
 * opens and every call is refused for `open`; then it is half-open: one call goes through as a probe, and its end closes or
 * opens the breaker.
 *
 * A call enters with a ticket and hands it back with its result. Results of calls that entered before the last change of
 * state say nothing about the upstream of now and are ignored.
 */
export class CircuitBreaker {
  readonly #options: BreakerOptions
  #state: BreakerState = 'closed'
  /** Counts changes of state: the ticket of calls that enter now. */
  #epoch = 0
  #failures = 0
  /** Open: when it becomes half-open. Half-open: when a probe that never came back stops being waited for. */
  #until = 0

  constructor(options: BreakerOptions) {
    this.#options = options
  }

  get state(): BreakerState {
    return this.#state
  }

  /** Milliseconds after which it is worth asking again; 0 when it is closed. */
  get retryAfter(): number {
    return this.#state === 'closed' ? 0 : Math.max(0, this.#until - this.#options.clock())
  }

  /** @returns the call's ticket; -1: refused */
  enter(): number {
    if (this.#state === 'closed') return this.#epoch
    const now = this.#options.clock()
    if (now < this.#until) return -1
    // Also when half-open: a probe whose end was never told must not keep the breaker from closing for ever.
    this.#until = now + this.#options.open
    this.#change('half-open')
    return this.#epoch
  }

  /** The head of a good answer. It is all that is asked of a probe: an answer may go on for hours. */
  answered(ticket: number): void {
    if (this.#state === 'half-open' && ticket === this.#epoch) this.#close()
  }

  /** The call ended well. */
  succeeded(ticket: number): void {
    if (ticket !== this.#epoch) return
    if (this.#state === 'half-open') this.#close()
    else this.#failures = 0
  }

  /** The upstream failed. */
  failed(ticket: number): void {
    if (ticket !== this.#epoch) return
    if (this.#state === 'half-open') this.#open()
    else if (++this.#failures >= this.#options.failures) this.#open()
  }

  /** The call ended without saying anything about the upstream: the client left, or sent too much. */
  released(ticket: number): void {
    if (this.#state === 'half-open' && ticket === this.#epoch) this.#until = 0
  }

  #open(): void {
    this.#until = this.#options.clock() + this.#options.open
    this.#change('open')
  }

  #close(): void {
    this.#failures = 0
    this.#change('closed')
  }

  #change(state: BreakerState): void {
    this.#epoch++
    if (this.#state === state) return
    this.#state = state
    this.#options.onChange?.(state)
  }
}
