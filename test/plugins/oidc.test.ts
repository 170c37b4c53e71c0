import t from 'tap'
import oidc from '../../plugins/oidc.ts'
import { checkSignIn } from '../../src/config/checks/sign-in.ts'
import type { Config } from '../../src/config/schema.ts'

type Parts = Record<string, unknown>

const sound: Parts = {
  externalUrl: 'https://a.example.com',
  session: { secret: { env: 'SESSION_SECRET' }, cookie: '__Host-sallyport', idle: 1000, lifetime: 2000 },
  issuers: {
    corp: { issuer: 'https://idp.example.com', client: { id: 'gateway' } },
    api: { issuer: 'https://b.example.com' }
  },
  routes: {}
}

t.test('what a sign-in needs is missed before the gateway starts', async t => {
  const rows: [string, string, Parts, string[]][] = [
    ['all is there', 'corp', {}, []],
    ['no such issuer', 'other', {}, ['there is no issuer other']],
    ['a name of every object', 'constructor', {}, ['there is no issuer constructor']],
    ['no client', 'api', {}, ['the gateway is no client of issuer api']],
    ['no session', 'corp', { session: undefined }, ['needs session: nobody stays signed in']],
    ['no externalUrl', 'corp', { externalUrl: undefined }, ['needs externalUrl: browsers come back to it']]
  ]
  for (const [what, issuer, changes, messages] of rows) {
    const config = { ...sound, ...changes } as unknown as Config
    t.same(
      oidc.check({ issuer }, config).map(({ message }) => message),
      messages,
      what
    )
  }
})

t.test('a secret that can be guessed and a cookie that others can set are refused', async t => {
  const long = 'x'.repeat(32)
  const rows: [string, string, string, string[]][] = [
    ['sound', long, '__Host-sallyport', []],
    ['short secret', 'x'.repeat(31), '__Host-sallyport', ['session.secret']],
    ['no prefix', long, 'sallyport', ['session.cookie']],
    ['the weaker prefix', long, '__Secure-sallyport', ['session.cookie']],
    ['the prefix in other letters', long, '__host-sallyport', ['session.cookie']],
    ['nothing but the prefix', long, '__Host-', ['session.cookie']],
    ['too short to be told apart', long, '__Host-a', ['session.cookie']],
    ['a second cookie', long, '__Host-a; domain', ['session.cookie']],
    ['a line', long, '__Host-a\r\nb', ['session.cookie']]
  ]
  for (const [what, secret, cookie, paths] of rows) {
    const found: string[] = []
    const session = { ...(sound.session as object), cookie }
    checkSignIn({
      config: { ...sound, session } as unknown as Config,
      surroundings: { env: {}, fileFault: () => null, secretText: () => secret },
      isSound: () => true,
      report: (path: (string | number)[]) => found.push(path.join('.'))
    } as never)
    t.same(found, paths, what)
  }
})
