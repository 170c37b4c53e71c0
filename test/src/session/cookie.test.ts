import t from 'tap'
import { cookieNames, cookieShape, cookieValues, withoutOwnCookies } from '../../../src/session/cookie.ts'

t.test('the prefix of the cookie needs TLS, and goes only without it', async t => {
  t.same(cookieShape('__Host-sallyport', 'https://a.example.com'), { name: '__Host-sallyport', secure: true })
  t.same(cookieShape('__Host-sallyport', 'http://127.0.0.1:8080'), { name: 'sallyport', secure: false })
})

t.test('a cookie is found by its exact name, as often as it is there', async t => {
  const rows: [string | undefined, string[]][] = [
    [undefined, []],
    ['a=b', []],
    ['sp=1', ['1']],
    ['a=b; sp=1', ['1']],
    ['a=b;sp=1;', ['1']],
    ['sp=1; sp=2', ['1', '2']],
    ['sp=', ['']],
    ['sp', []],
    ['xsp=1; spx=2; SP=3', []],
    ['a="sp=1"', []],
    ['sp=a=b', ['a=b']],
    ['sp;a=sp', []],
    [' sp\t=\t1 ', ['1']],
    ['=sp=1', []],
    ['"sp"=1', []],
    ['$Version=1, sp=1', []]
  ]
  for (const [header, values] of rows) t.same(cookieValues(header, 'sp'), values, String(header))
})

t.test('white space that browsers take for a part of the name is one', async t => {
  // Browsers keep the rules of `__Host-` for names that begin so: another host of the domain may set these.
  for (const space of ['\u00a0', '\v', '\f', '\ufeff', '\u2000', '\u0085']) {
    t.same(cookieValues(`${space}__Host-sp=1`, '__Host-sp'), [], JSON.stringify(space))
    t.same(cookieValues(`__Host-sp${space}=1`, '__Host-sp'), [], JSON.stringify(space))
    t.same(cookieNames(`${space}__Host-sp-sign-in-0123456789abcdef=1`, '__Host-sp-sign-in-'), [])
  }
})

t.test('no upstream gets a cookie of ours, in any spelling, and every other one as it was', async t => {
  const rows: [string, string | undefined][] = [
    ['a=b', 'a=b'],
    ['a=b; c="d; e', 'a=b; c="d; e'],
    ['__Host-sp=1', undefined],
    ['a=b; __Host-sp=1', 'a=b'],
    ['__Host-sp=1; a=b', 'a=b'],
    ['a=b; __Host-sp=1; c=d', 'a=b; c=d'],
    ['a=b;__Host-sp=1;c=d', 'a=b;c=d'],
    ['__HOST-SP=1; a=b', 'a=b'],
    ['__Host-sp=1; __Host-sp=2', undefined],
    ['__Host-sp-sign-in-0123=1; a=b', 'a=b'],
    ['\t__Host-sp =1; a=b', 'a=b'],
    ['a=__Host-sp', 'a=__Host-sp']
  ]
  for (const [header, rest] of rows) t.equal(withoutOwnCookies(header, '__Host-sp'), rest, header)
})
