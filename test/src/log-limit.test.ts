import t from 'tap'
import { LogLimit } from '../../src/log-limit.ts'

t.test('so many lines a second, and then the number of those that were not written', async t => {
  let now = 5000
  const limit = new LogLimit(2, () => now)
  t.same(
    [1, 2, 3, 4].map(() => limit.take()),
    [0, 0, null, null]
  )
  now = 5999
  t.equal(limit.take(), null)
  now = 6000
  t.same(
    [1, 2, 3].map(() => limit.take()),
    [3, 0, null]
  )
})
