import t from 'tap'
import { safeReturnUrl } from '../../../src/session/return-url.ts'
import { hostileReturnUrls as hostile } from '../../fixtures/return-urls.ts'

const fine = [
  '/',
  '/a',
  '/a/',
  '/a/b?c=d&e=f',
  '/a?next=https://evil.example/',
  '/a?q=%20%2F%2F',
  '/caf%C3%A9',
  '/@user',
  '/a:b',
  '/oauth2',
  '/oauth2-docs/'
]

t.test('a path of this host is where a person gets back to', async t => {
  for (const url of fine) t.equal(safeReturnUrl(url), url)
})

t.test('every other return URL leads to the front page', async t => {
  t.ok(hostile.length >= 60)
  for (const [row, url] of hostile.entries()) t.equal(safeReturnUrl(url), '/', `row ${row}`)
  t.equal(safeReturnUrl(null), '/')
})
