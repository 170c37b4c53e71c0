import t from 'tap'
import { CredentialWatch } from '../../src/credential-watch.ts'
import type { Refusal } from '../../src/errors.ts'
import type { Exchange } from '../../src/exchange.ts'
import type { UpstreamCall } from '../../src/exchange-parties.ts'
import type { Identity, IdentityKind } from '../../src/identity.ts'
import type { StillHolds } from '../../src/plugin/define.ts'
import { ManualTime } from '../fixtures/manual-time.ts'

const day = 86_400_000

interface Opened {
  readonly exchange: Exchange
  readonly ends: [Refusal, boolean][]
}

interface Settings {
  kind?: IdentityKind
  /** Milliseconds from now; null: it does not say. */
  endsIn?: number | null
  stillHolds?: StillHolds
  isWebSocket?: boolean
  isAnonymous?: boolean
  grace?: number
}

function watched() {
  const timers = new ManualTime()
  const exchanges: Exchange[] = []
  const waits: number[] = []
  const { setTimeout } = timers
  timers.setTimeout = (callback, milliseconds) => {
    waits.push(milliseconds)
    return setTimeout.call(timers, callback, milliseconds)
  }
  const watch = new CredentialWatch(() => exchanges, {
    timers,
    clock: timers.clock,
    calendar: timers.clock
  })
  watch.start()

  function open(settings: Settings = {}): Opened {
    const { kind = 'jwt', endsIn = null, stillHolds = null, grace } = settings
    const expiresAt = endsIn === null ? null : timers.clock() + endsIn
    const ends: [Refusal, boolean][] = []
    const call: UpstreamCall = {
      cancel() {},
      revoke(refusal, isWithdrawn) {
        ends.push([refusal, isWithdrawn])
        Object.assign(exchange, { call: null })
      }
    }
    const identity = settings.isAnonymous ? null : ({ kind, issuer: 'a', expiresAt } as Identity)
    const exchange = {
      identity,
      stillHolds,
      call,
      startTime: timers.clock(),
      upgrade: settings.isWebSocket ? {} : null,
      request: { headers: {} },
      observer: grace === undefined ? {} : { graceOf: () => grace }
    } as unknown as Exchange
    exchanges.push(exchange)
    return { exchange, ends }
  }
  return { watch, timers, open, waits }
}

async function turn(): Promise<void> {
  await new Promise(setImmediate)
}

t.test('it looks every five seconds, and sooner where an end is known of', async t => {
  const { timers, open, waits } = watched()
  const early = open({ endsIn: 11_500 })
  const forty = open({ endsIn: 40 * day })
  timers.advance(11_499)
  t.equal(early.ends.length, 0)
  timers.advance(1)
  t.equal(early.ends.length, 1)
  t.match(early.ends[0], [{ reason: 'token.expired', detail: 'the credential has run out' }, false])
  t.same(waits, [5000, 5000, 1500, 5000])
  timers.advance(2 * day)
  t.equal(forty.ends.length, 0)
})

t.test('the tolerance of clocks counts', async t => {
  const { timers, open } = watched()
  const stream = open({ endsIn: 10_000, grace: 30_000 })
  const late = open({ endsIn: -1000, grace: 30_000 })
  timers.advance(28_999)
  t.equal(late.ends.length, 0, 'who came within it is not thrown out at once')
  timers.advance(11_000)
  t.same([stream.ends.length, late.ends.length], [0, 1])
  timers.advance(1)
  t.equal(stream.ends.length, 1)
})

t.test(
  'a request that is short is never asked about, and neither is what nobody has signed in for',
  async t => {
    const { timers, open } = watched()
    let asked = 0
    const stillHolds = () => {
      asked++
      return false
    }
    timers.advance(4000)
    const short = open({ stillHolds, endsIn: 500 })
    const anonymous = open({ stillHolds, isAnonymous: true })
    const socket = open({ isWebSocket: true, endsIn: 500 })
    timers.advance(1000)
    await turn()
    t.equal(asked, 0)
    t.same([short.ends.length, socket.ends.length], [0, 1], 'a WebSocket is never short')
    Object.assign(short.exchange, { call: null })
    timers.advance(20_000)
    await turn()
    t.equal(asked, 0)
    t.equal(anonymous.ends.length, 0)
  }
)

t.test('what is withdrawn ends with a challenge for its kind', async t => {
  const rows: [IdentityKind, RegExp][] = [
    ['session', /^Cookie realm="sallyport"/],
    ['api-key', /^ApiKey realm="sallyport"/],
    ['introspection', /^Bearer realm="sallyport"/],
    ['custom', /^Bearer realm="sallyport"/]
  ]
  for (const [kind, challenge] of rows) {
    const { timers, open } = watched()
    const stream = open({ kind, stillHolds: async () => false })
    timers.advance(5000)
    await turn()
    t.match(
      stream.ends,
      [
        [
          {
            reason: 'token.expired',
            detail: 'the credential was withdrawn',
            headers: { 'www-authenticate': challenge }
          },
          true
        ]
      ],
      kind
    )
  }
})

t.test('who cannot be asked has not said no', async t => {
  const { timers, open } = watched()
  const throws = open({
    endsIn: 60_000,
    stillHolds: () => {
      throw new Error('a')
    }
  })
  const rejects = open({ endsIn: 60_000, stillHolds: async () => Promise.reject(new Error('a')) })
  for (let i = 0; i < 11; i++) {
    timers.advance(5000)
    await turn()
  }
  t.same([throws.ends.length, rejects.ends.length], [0, 0])
  timers.advance(5000)
  t.same([throws.ends.length, rejects.ends.length], [1, 1], 'the end of its life ends it')
})

t.test(
  'at most 32 are asked about at a time, and one that does not answer holds nobody up for long',
  async t => {
    const { timers, open } = watched()
    let under = 0
    let most = 0
    for (let i = 0; i < 100; i++)
      open({
        async stillHolds() {
          most = Math.max(most, ++under)
          await turn()
          under--
          return true
        }
      })
    timers.advance(5000)
    for (let i = 0; i < 20; i++) await turn()
    t.same([under, most], [0, 32])

    for (let i = 0; i < 32; i++) open({ stillHolds: () => new Promise<boolean>(() => {}) })
    const unlucky = open({ stillHolds: () => false })
    timers.advance(5000)
    for (let i = 0; i < 20; i++) await turn()
    const behind = open({ endsIn: 10_000 })
    timers.advance(15_000)
    t.equal(behind.ends.length, 1, 'what runs out ends meanwhile')
    t.equal(unlucky.ends.length, 0)
  }
)

t.test('a question that is never answered is given up after a minute', async t => {
  const { timers, open } = watched()
  open({ stillHolds: () => new Promise<boolean>(() => {}) })
  timers.advance(5000)
  const later = open({ stillHolds: () => false })
  timers.advance(55_000)
  await turn()
  t.equal(later.ends.length, 0)
  timers.advance(5000)
  await turn()
  t.equal(later.ends.length, 1)
})

t.test('one that cannot be ended properly is broken off, and the others end', async t => {
  const { timers, open } = watched()
  const [broken, other] = [open({ endsIn: 6000 }), open({ endsIn: 6000 })]
  const said: string[] = []
  Object.assign(broken.exchange, {
    call: {
      revoke() {
        throw new Error('a')
      }
    },
    route: { name: 'all' },
    observer: { log: { error: (_fields: object, text: string) => said.push(text) } },
    abandon: () => Object.assign(broken.exchange, { call: null })
  })
  timers.advance(60_000)
  t.same(said, ['what was open could not be ended properly'])
  t.equal(other.ends.length, 1)
})

t.test('what has ended while somebody was asked is left alone', async t => {
  const { timers, open } = watched()
  let answer = (_holds: boolean): void => {}
  const stream = open({ stillHolds: () => new Promise(resolve => (answer = resolve)) })
  timers.advance(5000)
  Object.assign(stream.exchange, { call: null })
  answer(false)
  await turn()
  t.equal(stream.ends.length, 0)
})

t.test('what has run out was not withdrawn, whatever its plugin says of it then', async t => {
  const { timers, open } = watched()
  // As keys, opaque tokens and sessions have it: over is over.
  const stillHolds = async () => timers.clock() < end
  const end = timers.clock() + 6000
  const ends: boolean[] = []
  const revoke = (_refusal: Refusal, isWithdrawn: boolean) => ends.push(isWithdrawn)
  for (const grace of [undefined, 60_000]) {
    const { exchange } = open({ endsIn: 6000, stillHolds, ...(grace !== undefined && { grace }) })
    // A download: it has an end of its own, and goes on.
    Object.assign(exchange, { call: { cancel() {}, revoke } })
  }
  for (let i = 0; i < 20; i++) {
    timers.advance(5000)
    await turn()
  }
  t.ok(ends.length > 0)
  t.notOk(ends.includes(true))
})

t.test('it ends with its listener, and does not begin again', async t => {
  const { watch, timers, open, waits } = watched()
  const stream = open({ endsIn: 7000 })
  watch.stop()
  watch.start()
  timers.advance(day)
  t.equal(stream.ends.length, 0)
  t.equal(waits.length, 1)
})
