import { test } from 'tap'
import { smoothTurns } from '../../../src/proxy/split.ts'

test('turns follow the weights, and are spread evenly', async t => {
  const next = smoothTurns([5, 1, 1])
  const round = Array.from({ length: 7 }, next)
  t.strictSame(round, [0, 0, 1, 0, 2, 0, 0])
  t.strictSame(Array.from({ length: 7 }, next), round, 'and so on')
})

test('any weights get what they ask for, in every round', async t => {
  for (let seed = 1; seed <= 200; seed++) {
    const weights = Array.from({ length: 1 + (seed % 6) }, (_, i) => ((seed * 7919 + i * 104_729) % 50) + 1)
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    const next = smoothTurns(weights)
    const counts = weights.map(() => 0)
    for (let i = 0; i < total; i++) {
      const turn = next()
      counts[turn] = (counts[turn] as number) + 1
    }
    t.strictSame(counts, weights)
  }
})
